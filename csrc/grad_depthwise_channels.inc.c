/* grad_depthwise_channels: the gradient of the weights of a depthwise convolution with one output channel each.
 *
 *   dW[c, a] = sum over n, p of dY[n, c, p] * x[n, c, s p - before + d a]
 *
 * Channels are in the lanes: strips of dY and of x, border included, become pixels of LANES channels (channels.inc.c),
 * copied where channels are fastest in memory and turned where they are not. PC_TAPS_AT_ONCE taps are summed in registers
 * over a strip: for each pixel one load of dY and one of x a tap. A task is some vectors of channels and a part of the
 * strips; where channels are fastest in memory these vectors share its pages, and dY is read where it is.
 *
 * flops: 2 kd kh kw for each output; moved: dY and x once. Error: (K + 2) eps sum |dY| |x|. */

#ifndef PC_TAPS_AT_ONCE
#define PC_TAPS_AT_ONCE 9
#endif

#if !PC_WIDENED

typedef struct NAME(taps_args) {
    int64_t images, rows, cols;
    const REAL *y, *x;
    const int64_t *off;
    int64_t x_image, x_row, x_step, y_image, y_row, y_step;
    REAL *c;
} NAME(taps_args);

INLINE void NAME(taps_body)(const int taps, const NAME(taps_args) *t) {
    VEC acc[9];
#pragma GCC unroll 9
    for (int j = 0; j < taps; j++)
        acc[j] = *(const VEC *)(t->c + j * LANES);
    for (int64_t n = 0; n < t->images; n++)
        for (int64_t h = 0; h < t->rows; h++) {
            const REAL *x[9];
#pragma GCC unroll 9
            for (int j = 0; j < taps; j++)
                x[j] = t->x + t->off[j] + n * t->x_image + h * t->x_row;
            const REAL *y = t->y + n * t->y_image + h * t->y_row, *const end = y + t->cols * t->y_step;
            for (int64_t q = 0; y != end; y += t->y_step, q += t->x_step) {
                const VEC v = NAME(load)(y);
#pragma GCC unroll 9
                for (int j = 0; j < taps; j++)
                    acc[j] += v * *(const VEC *)(x[j] + q);
            }
        }
#pragma GCC unroll 9
    for (int j = 0; j < taps; j++)
        *(VEC *)(t->c + j * LANES) = acc[j];
}

#define PC_TAPS(n)                                                                                                     \
    static __attribute__((noinline)) void NAME(taps_##n)(const NAME(taps_args) * t) { NAME(taps_body)(n, t); }
PC_TAPS(1) PC_TAPS(2) PC_TAPS(3) PC_TAPS(4) PC_TAPS(5) PC_TAPS(6) PC_TAPS(7) PC_TAPS(8) PC_TAPS(9)
#undef PC_TAPS
static void (*const NAME(taps)[9])(const NAME(taps_args) *) = {NAME(taps_1), NAME(taps_2), NAME(taps_3),
                                                              NAME(taps_4), NAME(taps_5), NAME(taps_6),
                                                              NAME(taps_7), NAME(taps_8), NAME(taps_9)};

#endif

/* One vector of channels as a block whose output channels are the groups. */
INLINE pc_grad_block STORED(taps_block)(const pc_grad *g, int64_t vector) {
    return (pc_grad_block){.g = vector * LANES, .n_m = 1, .n_c = 1, .n_kh = g->conv.h.k};
}

static void STORED(taps_finish)(const STORED(grad_job) *job, int64_t vector, const REAL *c) {
    const pc_grad_block b = STORED(taps_block)(job->g, vector);
    STORED(grad_store)(job, &b, b.g, c, pc_min(LANES, job->g->conv.groups - b.g));
}

static void STORED(taps_gather)(void *ctx, int64_t vector, int worker) {
    (void)worker;
    const STORED(grad_job) *job = ctx;
    const pc_grad_cut *k = &job->g->cut;
    const int64_t taps = k->block_elems / k->m_block;
    REAL *const c = STORED(grad_sums)(job, 0, vector / k->m_block, NULL) + vector % k->m_block * taps;
    for (int64_t i = 0; i < taps; i += LANES) {
        VEC sum = *(const VEC *)(c + i);
        for (int64_t part = 1; part < k->parts; part++)
            sum += *(const VEC *)(c + part * k->n_blocks * k->block_elems + i);
        *(VEC *)(c + i) = sum;
    }
    STORED(taps_finish)(job, vector, c);
}

/* One strip of one vector of channels. */
static void STORED(taps_strip)(const STORED(grad_job) *job, const pc_grad_strip *s, int64_t channel, const int64_t *off,
                               REAL *y, REAL *tile, REAL *c) {
    const pc_conv *p = &job->g->conv;
    const pc_grad_cut *k = &job->g->cut;
    const pc_ld *ly = &p->ld_out;
    const int64_t n_lanes = pc_min(LANES, p->groups - channel), taps = p->d.k * p->h.k * p->w.k;
    const pc_span h = pc_span_of(&p->h, p->h.k, k->h_tile, 1), w = pc_span_of(&p->w, p->w.k, k->w_tile, 0);
    const int64_t plane = h.grid.length * w.grid.length * LANES;
    const pc_window in = {s->h * p->h.stride - p->h.pad, s->w * p->w.stride - p->w.pad, h.grid.length, w.grid.length,
                          h.grid.stride};
    NAME(taps_args) t = {.images = s->images, .rows = s->rows, .cols = s->cols, .x = tile, .x_image = p->d.k * plane,
                         .x_row = h.step * w.grid.length * LANES, .x_step = w.step * LANES, .y = y,
                         .y_image = s->rows * s->cols * LANES, .y_row = s->cols * LANES, .y_step = LANES};
    const STORAGE *from = job->y + s->n * ly->n + channel * ly->c + s->d * ly->d;
    int y_in_place = 0;
#if !PC_WIDENED
    if (ly->c == 1 && n_lanes == LANES && ly->w > 0) { /* where it is: each pixel is read once for some taps */
        y_in_place = 1;
        t.y = from + s->h * ly->h + s->w * ly->w;
        t.y_image = ly->n;
        t.y_row = ly->h;
        t.y_step = ly->w;
    }
#endif
    for (int64_t i = 0; i < s->images; i++) {
        if (!y_in_place)
            STORED(load_channels)(&job->conv_y, from + i * ly->n, n_lanes, (pc_window){s->h, s->w, s->rows, s->cols, 1},
                                  y + i * t.y_image);
        const STORAGE *x = job->x + (s->n + i) * p->ld_x.n + channel * p->ld_x.c;
        for (int64_t tap = 0; tap < p->d.k; tap++) {
            const int64_t d = pc_map_index(s->d * p->d.stride - p->d.pad + tap * p->d.dilation, p->d.in, p->padding_mode);
            REAL *to = tile + (i * p->d.k + tap) * plane;
            if (d < 0)
                NAME(clear_over)(to, plane);
            else
                STORED(load_channels)(p, x + d * p->ld_x.d, n_lanes, in, to);
        }
    }
    const pc_panels panels = pc_panels_of(taps, PC_TAPS_AT_ONCE);
    for (int64_t j = 0; j < panels.n; j++) {
        const int64_t r = pc_panel_start(panels, j);
        t.off = off + r;
        t.c = c + r * LANES;
        NAME(taps)[pc_panel_rows(panels, j) - 1](&t);
    }
}

static void STORED(taps_task)(void *ctx, int64_t task, int worker) {
    const STORED(grad_job) *job = ctx;
    const pc_grad *g = job->g;
    const pc_conv *p = &g->conv;
    const pc_grad_cut *k = &g->cut;
    const int64_t block = task % k->n_blocks, part = task / k->n_blocks, taps = p->d.k * p->h.k * p->w.k;
    const int64_t first_vector = block * k->m_block;
    const int64_t vectors = pc_min(k->m_block, pc_ceil_div(p->groups, LANES) - first_vector);
    const pc_span h = pc_span_of(&p->h, p->h.k, k->h_tile, 1), w = pc_span_of(&p->w, p->w.k, k->w_tile, 0);
    REAL *const y = STORED(grad_local)(job, worker), *const tile = y + k->y_elems, *const own = tile + k->tile_elems;
    REAL *const c = STORED(grad_sums)(job, part, block, own);
    int64_t *const off = (int64_t *)(own + (k->parts > 1 ? 0 : k->block_elems));
    for (int64_t r = 0; r < taps; r++)
        off[r] = (r / p->w.k / p->h.k * h.grid.length * w.grid.length +
                  r / p->w.k % p->h.k * p->h.dilation * w.grid.length + r % p->w.k * p->w.dilation) * LANES;
    NAME(clear_over)(c, vectors * taps * LANES);
    const int64_t first = part * k->n_strips / k->parts, last = (part + 1) * k->n_strips / k->parts;
    for (int64_t strip = first; strip < last; strip++) {
        const pc_grad_strip s = pc_grad_strip_of(g, strip);
        for (int64_t j = 0; j < vectors; j++)
            STORED(taps_strip)(job, &s, (first_vector + j) * LANES, off, y, tile, c + j * taps * LANES);
    }
    if (k->parts == 1)
        for (int64_t j = 0; j < vectors; j++)
            STORED(taps_finish)(job, first_vector + j, c + j * taps * LANES);
}

static void STORED(grad_depthwise_channels_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(grad_depthwise_channels, DTYPE, PC_ISA)));
    STORED(grad_job) job = STORED(grad_job_of)(g, arrays);
    pc_parallel(STORED(taps_task), &job, g->n_tasks, threads);
    if (g->cut.parts > 1)
        pc_parallel(STORED(taps_gather), &job, pc_ceil_div(g->conv.groups, LANES), threads);
}
