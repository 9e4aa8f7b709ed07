/* grad_planar: the gradient of the weights of convolutions with few channels a group, depthwise ones first.
 *
 *   dW[o, c, a] = sum over n, p of dY[n, o, p] * x[n, c, s p - before + d a]
 *
 * Pixels are in the lanes: x lies in the padded tile of the forward kernels, one plane for each residue of the stride
 * (pc_grid_axis), dY in rows of the same pitch with zeros between them, so that a tap is one offset for all pixels of a
 * strip. The register tile is R rows of dY x T taps, a vector of partial sums each: R + T loads for R T FMAs. The vectors
 * are added up over the strips of a task, and their lanes at the very end.
 *
 *   for each part and block of channels (a task): for each strip: load dY and x (L1),
 *     for each R rows of dY: for each T rows of (c, kd, kh, kw): the register tile
 *
 * flops: 2 c_out c_in kd kh kw for each pixel, and those of the gaps; moved: dY and x once for each block of the other.
 * Error: (K / LANES + LANES + 2) eps sum |dY| |x|. What a gap makes of an infinity is summed again (grad_mend). */

#ifndef PC_PLANAR_TAPS
/* Sums in registers beside R of dY and one of x: 32 registers, or 16. */
#define PC_PLANAR_TAPS(rows) (PC_VECTORS == 3 ? ((rows) <= 2 ? 9 : (rows) == 3 ? 8 : 6) : (rows) == 1 ? 9 : (rows) == 2 ? 6 : 12 / (rows))
#define PC_PLANAR_ROWS 4
#endif

#if !PC_WIDENED

typedef struct NAME(planar_args) {
    int64_t n;    /* elements, in whole vectors */
    const REAL *y, *x;
    int64_t ld_y; /* between rows of dY */
    const int64_t *off;
    REAL *c;
    int64_t ld_c;
} NAME(planar_args);

typedef void (*NAME(planar_function))(const NAME(planar_args) *);

INLINE void NAME(planar_body)(const int rows, const int taps, const NAME(planar_args) *t) {
    VEC acc[4][9];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++)
            acc[i][j] = NAME(load)(t->c + i * t->ld_c + j * LANES);
    const REAL *x[9];
#pragma GCC unroll 9
    for (int j = 0; j < taps; j++)
        x[j] = t->x + t->off[j];
    for (int64_t q = 0; q < t->n; q += LANES) {
        VEC y[4];
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            y[i] = NAME(load)(t->y + i * t->ld_y + q);
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++) {
            const VEC v = NAME(load)(x[j] + q);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++)
                acc[i][j] += y[i] * v;
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 9
        for (int j = 0; j < taps; j++)
            NAME(store)(t->c + i * t->ld_c + j * LANES, acc[i][j]);
}

#define PC_PLANAR(rows, taps)                                                                                          \
    static __attribute__((noinline)) void NAME(PC_CONCAT(planar_##rows##x, taps))(const NAME(planar_args) * t) {       \
        if (taps <= PC_PLANAR_TAPS(rows))                                                                              \
            NAME(planar_body)(rows, taps, t);                                                                          \
    }
#define PC_PLANAR_OF(rows)                                                                                             \
    PC_PLANAR(rows, 1) PC_PLANAR(rows, 2) PC_PLANAR(rows, 3) PC_PLANAR(rows, 4) PC_PLANAR(rows, 5) PC_PLANAR(rows, 6)  \
    PC_PLANAR(rows, 7) PC_PLANAR(rows, 8) PC_PLANAR(rows, 9)
PC_PLANAR_OF(1) PC_PLANAR_OF(2) PC_PLANAR_OF(3) PC_PLANAR_OF(4)
#define PC_PLANAR_NAMES(rows)                                                                                          \
    {NAME(planar_##rows##x1), NAME(planar_##rows##x2), NAME(planar_##rows##x3),                                        \
     NAME(planar_##rows##x4), NAME(planar_##rows##x5), NAME(planar_##rows##x6),                                        \
     NAME(planar_##rows##x7), NAME(planar_##rows##x8), NAME(planar_##rows##x9)}
static const NAME(planar_function) NAME(planar_tiles)[4][9] = {PC_PLANAR_NAMES(1), PC_PLANAR_NAMES(2),
                                                               PC_PLANAR_NAMES(3), PC_PLANAR_NAMES(4)};
#undef PC_PLANAR
#undef PC_PLANAR_OF
#undef PC_PLANAR_NAMES

INLINE REAL NAME(sum_lanes)(VEC v) {
    _Alignas(64) REAL lanes[LANES];
    NAME(store)(lanes, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

#endif

/* The sums of one output channel over all parts, and their lanes, into the result. */
static void STORED(planar_finish)(const STORED(grad_job) *job, const pc_grad_block *b, int64_t row, REAL *c, int64_t part) {
    const pc_conv *p = &job->g->conv;
    const pc_ld *ld = &job->g->ld_w;
    const int64_t o = b->m0 + row;
    STORAGE *out = job->out + (b->g * p->c_out + o) * ld->n + b->c0 * ld->c;
    for (int64_t i = 0; i < b->n_c; i++)
        for (int64_t d = 0; d < p->d.k; d++)
            for (int64_t h = 0; h < p->h.k; h++)
                for (int64_t w = 0; w < p->w.k; w++, c += LANES) {
                    VEC sum = NAME(load)(c);
                    for (int64_t k = 1; k < job->g->cut.parts; k++)
                        sum += NAME(load)(c + k * part);
                    REAL total = NAME(sum_lanes)(sum);
                    if (total - total != 0)
                        total = STORED(grad_again)(job, b->g, o, b->c0 + i, d, h, w);
                    STORED(put)(out + i * ld->c + d * ld->d + h * ld->h + w * ld->w, total);
                }
}

static void STORED(planar_gather)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(grad_job) *job = ctx;
    const pc_grad_cut *k = &job->g->cut;
    const pc_grad_block b = pc_grad_block_of(job->g, 1, task / k->m_block);
    const int64_t row = task % k->m_block;
    if (row < b.n_m)
        STORED(planar_finish)(job, &b, row,
                              STORED(grad_sums)(job, 0, task / k->m_block, NULL) + row * pc_grad_rows(job->g, &b) * LANES,
                              k->n_blocks * k->block_elems);
}

static void STORED(planar_task)(void *ctx, int64_t task, int worker) {
    const STORED(grad_job) *job = ctx;
    const pc_grad *g = job->g;
    const pc_conv *p = &g->conv;
    const pc_ld *ly = &p->ld_out;
    const pc_grad_cut *k = &g->cut;
    const int64_t block = task % k->n_blocks, part = task / k->n_blocks;
    const pc_grad_block b = pc_grad_block_of(g, 1, block);
    const int64_t n_rows = pc_grad_rows(g, &b);
    const pc_grid_axis gh = pc_grid_axis_of(&p->h, p->h.k, k->h_tile), gw = pc_grid_axis_of(&p->w, p->w.k, k->w_tile);
    const int64_t plane = gh.phases * gw.phases * gh.length * gw.length, taps = p->h.k * p->w.k;
    const int64_t ld_y = k->y_elems / k->m_block;
    REAL *const y = STORED(grad_local)(job, worker), *const tile = y + k->y_elems, *const own = tile + k->tile_elems;
    REAL *const c = STORED(grad_sums)(job, part, block, own);
    int64_t *const off = (int64_t *)(own + (k->parts > 1 ? 0 : k->block_elems));
    NAME(tap_offsets)(gh, gw, p->h.k, p->w.k, off);
    for (int64_t r = taps; r < n_rows; r++)
        off[r] = off[r - taps] + plane;
    NAME(clear_over)(c, b.n_m * n_rows * LANES);
    const int64_t first = part * k->n_strips / k->parts, last = (part + 1) * k->n_strips / k->parts;
    for (int64_t strip = first; strip < last; strip++) {
        const pc_grad_strip s = pc_grad_strip_of(g, strip);
        const int64_t n = pc_round_up((s.rows - 1) * gw.length + s.cols, LANES);
        for (int64_t i = 0; i < b.n_m; i++) {
            const STORAGE *from = job->y + s.n * ly->n + (b.g * p->c_out + b.m0 + i) * ly->c + s.d * ly->d;
            const NAME(tile_row) row = {s.w, 1, 0, s.cols, gw.length};
            REAL *to = y + i * ld_y;
            for (int64_t h = s.h; h < s.h + s.rows; h++, to += gw.length)
                STORED(load_row)(&job->conv_y, row, from + h * ly->h,
                                 p->w.out + (ly->h > 0 ? (p->h.out - 1 - h) * ly->h : 0), to);
            NAME(clear_over)(to, LANES);
        }
        const STORED(tile_origin) origin = {job->x + s.n * p->ld_x.n + b.g * p->c_in * p->ld_x.c,
                                            s.d * p->d.stride - p->d.pad, s.h * p->h.stride - p->h.pad,
                                            s.w * p->w.stride - p->w.pad, b.c0 * p->d.k, b.n_c * p->d.k};
        STORED(load_tile)(p, &origin, gh, gw, tile);
        NAME(clear_over)(tile + b.n_c * p->d.k * plane, LANES);
        for (int64_t i = 0; i < b.n_m; i += PC_PLANAR_ROWS) {
            const int64_t rows = pc_min(PC_PLANAR_ROWS, b.n_m - i);
            const pc_panels panels = pc_panels_of(n_rows, PC_PLANAR_TAPS(rows));
            for (int64_t j = 0; j < panels.n; j++) {
                const int64_t r = pc_panel_start(panels, j);
                const NAME(planar_args) t = {n, y + i * ld_y, tile, ld_y, off + r, c + (i * n_rows + r) * LANES,
                                             n_rows * LANES};
                NAME(planar_tiles)[rows - 1][pc_panel_rows(panels, j) - 1](&t);
            }
        }
    }
    if (k->parts > 1)
        return;
    for (int64_t i = 0; i < b.n_m; i++)
        STORED(planar_finish)(job, &b, i, c + i * n_rows * LANES, 0);
}

static void STORED(grad_planar_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(grad_planar, DTYPE, PC_ISA)));
    STORED(grad_job) job = STORED(grad_job_of)(g, arrays);
    pc_parallel(STORED(planar_task), &job, g->n_tasks, threads);
    if (g->cut.parts > 1)
        pc_parallel(STORED(planar_gather), &job, g->cut.n_blocks * g->cut.m_block, threads);
}
