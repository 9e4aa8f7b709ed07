/* grad_direct: the gradient of a convolution's weights, a product of two matrices whose common axis is the pixels.
 *
 *   dW[o, c, a] = sum over n, p of dY[n, o, p] * x[n, c, s p - before + d a]
 *
 * Output channels are in the lanes. A strip of dY, some hundred pixels, is turned once to [vector][pixel][lane]; x goes
 * into a padded tile, or stays where it is if no tap leaves it. A row of the product is one (c, kd, kh, kw): it reads the
 * tile from an offset of its own, one element a pixel, so any stride and dilation reads the same tile and nothing is
 * copied kh * kw times. The register tile is PC_ROWS rows x PC_VECTORS vectors, for each pixel PC_VECTORS loads of dY and
 * PC_ROWS broadcasts of x; its sums stay in registers for a whole strip and are then added to the block's.
 *
 *   for each part and block (a task): for each strip of the part: turn dY, load x,
 *     for each PC_VECTORS vectors of dY (24 KiB of a strip, in L1): for each PC_ROWS rows: the register tile
 *
 * A block's sums and a strip of both arrays share L2. Blocks are tasks; where they are few the strips are dealt to parts,
 * whose sums are added up in the order of the parts. How many there are depends on the problem alone.
 *
 * flops: 2 c_out c_in kd kh kw for each pixel; moved: dY once for each block of input channels, x once for each block of
 * output channels, the sums once a strip. Error: (K + 2) eps sum |dY| |x| for K pixels, in practice that of sums of some
 * hundred, of which there are K / hundred. */

#if !PC_WIDENED

typedef struct NAME(grad_tile_args) {
    int64_t images, rows, cols; /* pixels of the strip */
    const REAL *x;
    const int64_t *off; /* of each row of the product */
    int64_t x_image, x_row, x_step;
    const REAL *y; /* its pixels follow each other */
    int64_t y_vector;
    REAL *c;
    int64_t c_vector;
    int add; /* to what c holds */
} NAME(grad_tile_args);

typedef void (*NAME(grad_tile_function))(const NAME(grad_tile_args) *);

INLINE void NAME(grad_tile_body)(const int rows, const int vectors, const NAME(grad_tile_args) *t) {
    VEC acc[8][3];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            acc[i][j] = (VEC){0};
    const REAL *y = t->y;
    const int64_t y_vector = t->y_vector, step = t->x_step;
    for (int64_t n = 0; n < t->images; n++)
        for (int64_t h = 0; h < t->rows; h++) {
            const REAL *x[8];
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                x[i] = t->x + t->off[i] + n * t->x_image + h * t->x_row;
            const REAL *const end = y + t->cols * LANES;
            for (int64_t q = 0; y != end; y += LANES, q += step) {
                VEC v[3];
#pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    v[j] = *(const VEC *)(y + j * y_vector);
#pragma GCC unroll 8
                for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
                    for (int j = 0; j < vectors; j++)
                        acc[i][j] += v[j] * x[i][q];
            }
        }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) {
            VEC *const c = (VEC *)(t->c + j * t->c_vector + i * LANES);
            *c = t->add ? *c + acc[i][j] : acc[i][j];
        }
}

#define PC_GRAD_TILE(rows, vectors)                                                                                    \
    static __attribute__((noinline)) void NAME(PC_CONCAT(grad_tile_##rows##x, vectors))(const NAME(grad_tile_args) *   \
                                                                                        t) {                           \
        if (rows <= PC_ROWS && vectors <= PC_VECTORS)                                                                  \
            NAME(grad_tile_body)(rows, vectors, t);                                                                    \
    }
#define PC_GRAD_TILES(rows) PC_GRAD_TILE(rows, 1) PC_GRAD_TILE(rows, 2) PC_GRAD_TILE(rows, 3)
PC_GRAD_TILES(1) PC_GRAD_TILES(2) PC_GRAD_TILES(3) PC_GRAD_TILES(4)
PC_GRAD_TILES(5) PC_GRAD_TILES(6) PC_GRAD_TILES(7) PC_GRAD_TILES(8)
#define PC_GRAD_NAMES(rows) {NAME(grad_tile_##rows##x1), NAME(grad_tile_##rows##x2), NAME(grad_tile_##rows##x3)}
static const NAME(grad_tile_function) NAME(grad_tiles)[8][3] = {
    PC_GRAD_NAMES(1), PC_GRAD_NAMES(2), PC_GRAD_NAMES(3), PC_GRAD_NAMES(4),
    PC_GRAD_NAMES(5), PC_GRAD_NAMES(6), PC_GRAD_NAMES(7), PC_GRAD_NAMES(8),
};
#undef PC_GRAD_TILE
#undef PC_GRAD_TILES
#undef PC_GRAD_NAMES

/* The product of one strip: c[vector][row][lane] (+)= y[vector][pixel][lane] * x[off[row] + pixel]. */
static void NAME(grad_product)(NAME(grad_tile_args) t, int64_t vectors, int64_t n_rows) {
    const REAL *const y = t.y;
    REAL *const c = t.c;
    const int64_t *const off = t.off;
    if (t.x_row == t.cols * t.x_step) { /* one long row */
        t.cols *= t.rows;
        t.rows = 1;
    }
    const pc_panels across = pc_panels_of(vectors, PC_VECTORS), down = pc_panels_of(n_rows, PC_ROWS);
    for (int64_t j = 0; j < across.n; j++)
        for (int64_t i = 0; i < down.n; i++) {
            const int64_t vector = pc_panel_start(across, j), row = pc_panel_start(down, i);
            t.y = y + vector * t.y_vector;
            t.off = off + row;
            t.c = c + vector * t.c_vector + row * LANES;
            NAME(grad_tiles)[pc_panel_rows(down, i) - 1][pc_panel_rows(across, j) - 1](&t);
        }
}

#endif

typedef struct STORED(grad_job) {
    const pc_grad *g;
    const STORAGE *x, *y;
    STORAGE *out;
    char *scratch;
    int mend;       /* sums that are not finite are made again: they may be others' */
    pc_conv conv_y; /* dY as an input without border, for load_channels */
} STORED(grad_job);

static STORED(grad_job) STORED(grad_job_of)(const pc_grad *g, const pc_grad_arrays *arrays) {
    STORED(grad_job) job = {g, arrays->x, arrays->y, arrays->out, arrays->scratch, 0, g->conv};
    job.conv_y.ld_x = g->conv.ld_out;
    job.conv_y.h.in = g->conv.h.out;
    job.conv_y.w.in = g->conv.w.out;
    job.conv_y.padding_mode = PC_PAD_ZEROS;
    return job;
}

/* The sums of one part and block: shared by the workers where there are several parts. */
INLINE REAL *STORED(grad_sums)(const STORED(grad_job) *job, int64_t part, int64_t block, REAL *own) {
    const pc_grad_cut *k = &job->g->cut;
    return k->parts > 1 ? (REAL *)job->scratch + (part * k->n_blocks + block) * k->block_elems : own;
}

INLINE REAL *STORED(grad_local)(const STORED(grad_job) *job, int worker) {
    return (REAL *)(job->scratch + job->g->shared_bytes + worker * job->g->scratch_bytes);
}

/* c[row][lane] -> the result, n_lanes output channels from o on; rows are those of the block. */
static void STORED(grad_store)(const STORED(grad_job) *job, const pc_grad_block *b, int64_t o, const REAL *c,
                               int64_t n_lanes) {
    const pc_conv *p = &job->g->conv;
    const pc_ld *ld = &job->g->ld_w;
    STORAGE *out = job->out + o * ld->n + b->c0 * ld->c + b->kh0 * ld->h;
    const int taps_follow = (p->w.k == 1 || ld->w == 1) && (p->h.k == 1 || ld->h == p->w.k);
    const int all_follow = taps_follow && b->n_kh == p->h.k && (p->d.k == 1 || ld->d == p->h.k * p->w.k) &&
                           (b->n_c == 1 || ld->c == p->d.k * p->h.k * p->w.k);
    if (all_follow) {
        STORED(turn_out)(p, c, n_lanes, b->n_c * p->d.k * p->h.k * p->w.k, PC_ACT_NONE, out, ld->n, NULL, 0);
        return;
    }
    for (int64_t i = 0; i < b->n_c; i++)
        for (int64_t d = 0; d < p->d.k; d++) {
            STORAGE *to = out + i * ld->c + d * ld->d;
            if (taps_follow) {
                STORED(turn_out)(p, c, n_lanes, b->n_kh * p->w.k, PC_ACT_NONE, to, ld->n, NULL, 0);
                c += b->n_kh * p->w.k * LANES;
                continue;
            }
            for (int64_t h = 0; h < b->n_kh; h++)
                for (int64_t w = 0; w < p->w.k; w++, c += LANES)
                    for (int64_t lane = 0; lane < n_lanes; lane++)
                        STORED(put)(to + h * ld->h + w * ld->w + lane * ld->n, c[lane]);
        }
}

/* One element of the result by the definition. */
static REAL STORED(grad_again)(const STORED(grad_job) *job, int64_t group, int64_t o, int64_t c, int64_t a_d, int64_t a_h,
                               int64_t a_w) {
    const pc_conv *p = &job->g->conv;
    const pc_ld *lx = &p->ld_x, *ly = &p->ld_out;
    const STORAGE *x = job->x + (group * p->c_in + c) * lx->c, *y = job->y + (group * p->c_out + o) * ly->c;
    REAL sum = 0;
    for (int64_t n = 0; n < p->n; n++)
        for (int64_t d = 0; d < p->d.out; d++)
            for (int64_t h = 0; h < p->h.out; h++)
                for (int64_t w = 0; w < p->w.out; w++) {
                    const int64_t x_d = pc_map_index(d * p->d.stride - p->d.pad + a_d * p->d.dilation, p->d.in, p->padding_mode);
                    const int64_t x_h = pc_map_index(h * p->h.stride - p->h.pad + a_h * p->h.dilation, p->h.in, p->padding_mode);
                    const int64_t x_w = pc_map_index(w * p->w.stride - p->w.pad + a_w * p->w.dilation, p->w.in, p->padding_mode);
                    const int outside = x_d < 0 || x_h < 0 || x_w < 0;
                    sum += STORED(get)(y + n * ly->n + d * ly->d + h * ly->h + w * ly->w) *
                           (outside ? 0 : STORED(get)(x + n * lx->n + x_d * lx->d + x_h * lx->h + x_w * lx->w));
                }
    return sum;
}

/* Sums again what is not finite of c[row][lane], the block's output channels from o of its group on. */
static __attribute__((noinline)) void STORED(grad_mend)(const STORED(grad_job) *job, const pc_grad_block *b, int64_t o,
                                                        REAL *c, int64_t n_lanes) {
    const pc_conv *p = &job->g->conv;
    for (int64_t i = 0; i < b->n_c; i++)
        for (int64_t d = 0; d < p->d.k; d++)
            for (int64_t h = 0; h < b->n_kh; h++)
                for (int64_t w = 0; w < p->w.k; w++, c += LANES)
                    for (int64_t lane = 0; lane < n_lanes; lane++)
                        if (c[lane] - c[lane] != 0)
                            c[lane] = STORED(grad_again)(job, b->g, o + lane, b->c0 + i, d, b->kh0 + h, w);
}

/* The sums c[row][lane] of a block's vector, whole at last, into the result. */
static void STORED(grad_finish)(const STORED(grad_job) *job, const pc_grad_block *b, int64_t vector, REAL *c) {
    const pc_conv *p = &job->g->conv;
    const int64_t o = (b->m0 + vector) * LANES, n_lanes = pc_min(LANES, p->c_out - o);
    if (job->mend) {
        const int64_t n = pc_grad_rows(job->g, b) * LANES;
        VEC finite = {0}; /* stays zero until something is not */
        for (int64_t i = 0; i < n; i += LANES) {
            const VEC s = *(const VEC *)(c + i);
            finite += s - s;
        }
        for (int i = 0; i < LANES; i++)
            if (finite[i] != 0) {
                STORED(grad_mend)(job, b, o, c, n_lanes);
                break;
            }
    }
    STORED(grad_store)(job, b, b->g * p->c_out + o, c, n_lanes);
}

/* Some LANES output channels of a block: the sums of all parts, and out with them. */
static void STORED(grad_gather)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(grad_job) *job = ctx;
    const pc_grad_cut *k = &job->g->cut;
    const pc_grad_block b = pc_grad_block_of(job->g, LANES, task / k->m_block);
    const int64_t vector = task % k->m_block, rows = pc_grad_rows(job->g, &b);
    if (vector >= b.n_m)
        return;
    REAL *c = STORED(grad_sums)(job, 0, task / k->m_block, NULL) + vector * rows * LANES;
    const int64_t part = k->n_blocks * k->block_elems;
    for (int64_t r = 0; r < rows * LANES; r += LANES) {
        VEC sum = *(const VEC *)(c + r);
        for (int64_t i = 1; i < k->parts; i++)
            sum += *(const VEC *)(c + i * part + r);
        *(VEC *)(c + r) = sum;
    }
    STORED(grad_finish)(job, &b, vector, c);
}

/* Loads the strip of dY: y[vector][pixel][lane], pixels of one image after the other. */
static void STORED(grad_load_y)(const STORED(grad_job) *job, const pc_grad_block *b, const pc_grad_strip *s,
                                int64_t y_vector, REAL *y) {
    const pc_conv *p = &job->g->conv;
    const pc_ld *ld = &p->ld_out;
    for (int64_t j = 0; j < b->n_m; j++)
        for (int64_t i = 0; i < s->images; i++) {
            const int64_t o = (b->m0 + j) * LANES;
            STORED(load_channels)(&job->conv_y,
                                  job->y + (s->n + i) * ld->n + (b->g * p->c_out + o) * ld->c + s->d * ld->d,
                                  pc_min(LANES, p->c_out - o), (pc_window){s->h, s->w, s->rows, s->cols, 1},
                                  y + j * y_vector + i * s->rows * s->cols * LANES);
        }
}

/* Asks for the dY of a strip, which is read from as many places as there are channels. */
static void STORED(grad_expect_y)(const STORED(grad_job) *job, const pc_grad_block *b, const pc_grad_strip *s) {
    const pc_conv *p = &job->g->conv;
    const pc_ld *ld = &p->ld_out;
    for (int64_t j = 0; j < b->n_m; j++)
        for (int64_t i = 0; i < s->images; i++) {
            const int64_t o = (b->m0 + j) * LANES;
            STORED(prefetch_window)(job->y + (s->n + i) * ld->n + (b->g * p->c_out + o) * ld->c + s->d * ld->d,
                                    pc_min(LANES, p->c_out - o), ld, p->h.out, p->w.out,
                                    (pc_window){s->h, s->w, s->rows, s->cols, 1}, 0);
        }
}

/* Where a row of the product reads x: its offset, and the steps between pixels. */
typedef struct STORED(grad_source) {
    pc_span h, w;
    int64_t image, row, step; /* of the tile, or of x */
    int64_t plane;            /* of the tile, of one channel or of LANES of them */
    int64_t chunks;
} STORED(grad_source);

static STORED(grad_source) STORED(grad_source_of)(const pc_grad *g, const pc_grad_block *b, int64_t *off) {
    const pc_conv *p = &g->conv;
    const pc_grad_cut *k = &g->cut;
    const int order = (int)k->tile_order;
    STORED(grad_source) s = {.h = pc_span_of(&p->h, b->n_kh, k->h_tile, 1),
                             .w = pc_span_of(&p->w, p->w.k, k->w_tile, order == PC_GRAD_ROWS)};
    const int64_t size = order == PC_GRAD_CHANNEL_TILES ? LANES : 1;
    s.chunks = pc_ceil_div(b->n_c, LANES);
    s.plane = s.h.grid.length * s.w.grid.length * size;
    s.image = (size == 1 ? b->n_c : s.chunks) * p->d.k * s.plane;
    s.row = s.h.step * s.w.grid.length * size;
    s.step = s.w.step * size;
    if (order == PC_GRAD_IN_PLACE) {
        s.image = p->ld_x.n;
        s.row = p->h.stride * p->ld_x.h;
        s.step = p->w.stride * p->ld_x.w;
    }
    for (int64_t c = 0; c < b->n_c; c++)
        for (int64_t d = 0; d < p->d.k; d++)
            for (int64_t h = 0; h < b->n_kh; h++)
                for (int64_t w = 0; w < p->w.k; w++) {
                    const int64_t in_h = h * p->h.dilation, in_w = w * p->w.dilation;
                    if (order == PC_GRAD_IN_PLACE)
                        *off++ = c * p->ld_x.c + d * p->d.dilation * p->ld_x.d + (b->kh0 * p->h.dilation + in_h) * p->ld_x.h +
                                 in_w * p->ld_x.w;
                    else if (order == PC_GRAD_ROWS)
                        *off++ = (c * p->d.k + d) * s.plane + in_h * s.w.grid.length + in_w;
                    else
                        *off++ = (d * s.chunks + c / LANES) * s.plane + (in_h * s.w.grid.length + in_w) * LANES + c % LANES;
                }
    return s;
}

/* Loads x for a strip, and returns where its first pixel's first tap lies. */
static const REAL *STORED(grad_load_x)(const STORED(grad_job) *job, const pc_grad_block *b, const pc_grad_strip *s,
                                       const STORED(grad_source) *source, REAL *tile) {
    const pc_conv *p = &job->g->conv;
    const int64_t d0 = s->d * p->d.stride - p->d.pad;
    const int64_t h0 = s->h * p->h.stride - p->h.pad + b->kh0 * p->h.dilation, w0 = s->w * p->w.stride - p->w.pad;
    const int64_t group = b->g * p->c_in * p->ld_x.c;
#if !PC_WIDENED
    if (job->g->cut.tile_order == PC_GRAD_IN_PLACE)
        return job->x + s->n * p->ld_x.n + group + b->c0 * p->ld_x.c + d0 * p->ld_x.d +
               (h0 - b->kh0 * p->h.dilation) * p->ld_x.h + w0 * p->ld_x.w;
#endif
    for (int64_t i = 0; i < s->images; i++) {
        const STORAGE *x = job->x + (s->n + i) * p->ld_x.n + group;
        REAL *to = tile + i * source->image;
        if (job->g->cut.tile_order == PC_GRAD_ROWS) {
            const STORED(tile_origin) origin = {x, d0, h0, w0, b->c0 * p->d.k, b->n_c * p->d.k};
            STORED(load_tile)(p, &origin, source->h.grid, source->w.grid, to);
            continue;
        }
        const pc_window box = {h0, w0, source->h.grid.length, source->w.grid.length, source->h.grid.stride};
        for (int64_t tap = 0; tap < p->d.k; tap++) {
            const int64_t d = pc_map_index(d0 + tap * p->d.dilation, p->d.in, p->padding_mode);
            for (int64_t chunk = 0; chunk < source->chunks; chunk++, to += source->plane) {
                const int64_t c = chunk * LANES;
                if (d < 0)
                    NAME(clear_over)(to, source->plane);
                else
                    STORED(load_channels)(p, x + d * p->ld_x.d + (b->c0 + c) * p->ld_x.c, pc_min(LANES, b->n_c - c), box, to);
            }
        }
    }
    return tile;
}

static void STORED(grad_direct_task)(void *ctx, int64_t task, int worker) {
    const STORED(grad_job) *job = ctx;
    const pc_grad *g = job->g;
    const pc_grad_cut *k = &g->cut;
    const int64_t block = task % k->n_blocks, part = task / k->n_blocks;
    const pc_grad_block b = pc_grad_block_of(g, LANES, block);
    const int64_t n_rows = pc_grad_rows(g, &b);
    REAL *const y = STORED(grad_local)(job, worker), *const tile = y + k->y_elems;
    REAL *const own = tile + k->tile_elems;
    REAL *const c = STORED(grad_sums)(job, part, block, own);
    int64_t *const off = (int64_t *)(own + (k->parts > 1 ? 0 : k->block_elems));
    const STORED(grad_source) source = STORED(grad_source_of)(g, &b, off);
    const int64_t first = part * k->n_strips / k->parts, last = (part + 1) * k->n_strips / k->parts;
    const int64_t y_vector = k->images * k->h_tile * k->w_tile * LANES;
    for (int64_t strip = first; strip < last; strip++) {
        const pc_grad_strip s = pc_grad_strip_of(g, strip);
        STORED(grad_load_y)(job, &b, &s, y_vector, y);
        const REAL *x = STORED(grad_load_x)(job, &b, &s, &source, tile);
        if (strip + 1 < last) {
            const pc_grad_strip next = pc_grad_strip_of(g, strip + 1);
            STORED(grad_expect_y)(job, &b, &next);
        }
        NAME(grad_product)((NAME(grad_tile_args)){s.images, s.rows, s.cols, x, off, source.image, source.row, source.step,
                                                  y, y_vector, c, n_rows * LANES, strip > first}, b.n_m, n_rows);
    }
    if (first == last)
        NAME(clear_over)(c, b.n_m * n_rows * LANES);
    if (k->parts > 1)
        return;
    for (int64_t j = 0; j < b.n_m; j++)
        STORED(grad_finish)(job, &b, j, c + j * n_rows * LANES);
}

static void STORED(grad_direct_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(grad_direct, DTYPE, PC_ISA)));
    STORED(grad_job) job = STORED(grad_job_of)(g, arrays);
    pc_parallel(STORED(grad_direct_task), &job, g->n_tasks, threads);
    if (g->cut.parts > 1)
        pc_parallel(STORED(grad_gather), &job, g->cut.n_blocks * g->cut.m_block, threads);
}
