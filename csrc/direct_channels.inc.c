/* conv_direct_channels: conv_direct with output channels in the lanes and pixels broadcast, for maps so small that a
 * vector of pixels would be half empty (7 x 7: 49 of 64 lanes), and for results with channels fastest in memory.
 *
 *   c[i][v] = init[v] + sum over k = (channel, tap) of x[channel * plane + off[tap] + i] * w[k][v]
 *
 * i < rows neighbouring pixels of one output row, read from the same input tile as direct.inc.c's, v < vectors * LANES
 * output channels. Loops of a task: reduction block (its panel of weights about 48 KiB), input tile, panel of channels,
 * run of pixels, register tile. The results are turned on their way out. Sums have the order of conv_direct. */

#if !PC_WIDENED

typedef struct NAME(channels_args) {
    int64_t n_c, n_taps;
    const int64_t *off;
    int64_t plane;
    const REAL *x;
    const REAL *w;
    int64_t ld_w;           /* from channel to channel in w */
    const REAL *init;
    int64_t ld_init;        /* 0: the same for every pixel (a bias) */
    REAL *c;
    int64_t ld_c;
} NAME(channels_args);

INLINE void NAME(channels_body)(const int rows, const int vectors, const NAME(channels_args) *t) {
    VEC acc[8][3];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            acc[i][v] = NAME(load)(t->init + i * t->ld_init + v * LANES);
    const int64_t *off = t->off;
    const int64_t n_taps = t->n_taps;
    const REAL *xc = t->x, *wc = t->w;
    for (int64_t c = 0; c < t->n_c; c++, xc += t->plane, wc += t->ld_w) {
        const REAL *w = wc;
        for (int64_t k = 0; k < n_taps; k++, w += vectors * LANES) {
            const REAL *x = xc + off[k];
            VEC taps[3];
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                taps[v] = NAME(load)(w + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++)
                    acc[i][v] += taps[v] * x[i];
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            NAME(store)(t->c + i * t->ld_c + v * LANES, acc[i][v]);
}

#define PC_CHANNELS(rows, vectors)                                                                                     \
    static __attribute__((noinline)) void NAME(channels_##rows##x##vectors)(const NAME(channels_args) * t) {           \
        if ((rows) <= PC_ROWS && (vectors) <= PC_VECTORS)                                                              \
            NAME(channels_body)(rows, vectors, t);                                                                     \
    }
#define PC_CHANNELS_ROW(rows) PC_CHANNELS(rows, 1) PC_CHANNELS(rows, 2) PC_CHANNELS(rows, 3)
PC_CHANNELS_ROW(1) PC_CHANNELS_ROW(2) PC_CHANNELS_ROW(3) PC_CHANNELS_ROW(4)
PC_CHANNELS_ROW(5) PC_CHANNELS_ROW(6) PC_CHANNELS_ROW(7) PC_CHANNELS_ROW(8)
#define PC_CHANNELS_NAMES(rows) {NAME(channels_##rows##x1), NAME(channels_##rows##x2), NAME(channels_##rows##x3)}
typedef void (*NAME(channels_function))(const NAME(channels_args) *);
static const NAME(channels_function) NAME(channels)[8][3] = {
    PC_CHANNELS_NAMES(1), PC_CHANNELS_NAMES(2), PC_CHANNELS_NAMES(3), PC_CHANNELS_NAMES(4),
    PC_CHANNELS_NAMES(5), PC_CHANNELS_NAMES(6), PC_CHANNELS_NAMES(7), PC_CHANNELS_NAMES(8),
};
#undef PC_CHANNELS
#undef PC_CHANNELS_ROW
#undef PC_CHANNELS_NAMES

#endif

/* The epilogue of c[pixel][channel] for neighbouring pixels of one row; out and residual point at its first pixel. */
static __attribute__((noinline)) void STORED(finish_channels)(const pc_conv *p, REAL *c, int64_t ld_c, int64_t pixels,
                                                              int64_t channels, STORAGE *out,
                                                              const STORAGE *residual) {
    const pc_ld *lo = &p->ld_out, *lr = &p->ld_res;
    if (residual)
        for (int64_t i = 0; i < pixels; i++)
            for (int64_t m = 0; m < channels; m++)
                c[i * ld_c + m] += STORED(get)(residual + i * lr->w + m * lr->c);
    if (p->activation != PC_ACT_NONE)
        NAME(activate)(c, pixels * ld_c, p->activation, (REAL)p->slope);
    if (lo->c == 1) {
        for (int64_t i = 0; i < pixels; i++)
            STORED(write)(out + i * lo->w, c + i * ld_c, channels);
    } else {
        const STORAGE *narrow = STORED(narrow)(c, pixels * ld_c);
        for (int64_t m = 0; m < channels; m++)
            for (int64_t i = 0; i < pixels; i++)
                out[m * lo->c + i * lo->w] = narrow[i * ld_c + m];
    }
}

static void STORED(conv_direct_channels_task)(void *ctx, int64_t task, int worker) {
    const NAME(dense_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    /* channels are dealt to panels by whole vectors */
    const pc_panels panels = pc_panels_of(pc_ceil_div(p->c_out, LANES), PC_VECTORS);
    const int64_t width = PC_VECTORS * LANES;
    const NAME(dense_task_box) box = NAME(dense_box)(p, task, panels.n);
    const int64_t taps = p->h.k * p->w.k, n_channels = p->c_in * p->d.k, k_all = n_channels * taps;
    const int64_t lanes_in_group = pc_ceil_div(p->c_out, LANES) * LANES;

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *part = tile + b->tile_elems;
    REAL *first_sum = part + b->part_elems;
    int64_t *off = (int64_t *)(first_sum + b->panel_elems);
    const STORAGE *x = (const STORAGE *)job->arrays->x + box.n * p->ld_x.n + box.g * p->c_in * p->ld_x.c;
    const REAL *w = (const REAL *)job->arrays->packed + box.g * lanes_in_group * k_all;
    const int64_t m_first = box.g * p->c_out;
    STORAGE *out = (STORAGE *)job->arrays->out + box.n * p->ld_out.n + m_first * p->ld_out.c + box.d * p->ld_out.d +
                   box.h0 * p->ld_out.h + box.w0 * p->ld_out.w;
    const STORAGE *residual = job->arrays->residual;
    if (residual)
        residual += box.n * p->ld_res.n + m_first * p->ld_res.c + box.d * p->ld_res.d + box.h0 * p->ld_res.h +
                    box.w0 * p->ld_res.w;
    /* the bias, padded to whole vectors */
    for (int64_t m = 0; m < lanes_in_group; m++)
        first_sum[m] = job->arrays->bias && m < p->c_out ? ((const REAL *)job->arrays->bias)[m_first + m] : 0;

    const pc_panels runs = pc_panels_of(box.w_tile, PC_ROWS);
    _Alignas(64) REAL c_tile[(PC_ROWS * PC_VECTORS + 1) * LANES];

    for (int64_t c0 = 0; c0 == 0 || c0 < n_channels; c0 += b->c_block) {
        const int64_t n_c = pc_min(b->c_block, n_channels - c0);
        for (int64_t a0 = 0; a0 < p->h.k; a0 += b->kh_block) {
            const int64_t n_a = pc_min(b->kh_block, p->h.k - a0);
            const int first = c0 == 0 && a0 == 0, last = c0 + n_c >= n_channels && a0 + n_a >= p->h.k;
            const pc_grid_axis gh = pc_grid_axis_of(&p->h, n_a, box.h_tile);
            const pc_grid_axis gw = pc_grid_axis_of(&p->w, p->w.k, box.w_tile);
            const STORED(tile_origin) origin = {
                x, box.d * p->d.stride - p->d.pad, box.h0 * p->h.stride - p->h.pad + a0 * p->h.dilation,
                box.w0 * p->w.stride - p->w.pad, c0, n_c};
            NAME(tap_offsets)(gh, gw, n_a, p->w.k, off);
            STORED(load_tile)(p, &origin, gh, gw, tile);
            NAME(channels_args) t = {.n_c = n_c, .n_taps = n_a * p->w.k, .off = off,
                                     .plane = gh.phases * gw.phases * gh.length * gw.length};
            for (int64_t q = box.q0; q < box.q1; q++) {
                const int64_t vectors = pc_panel_rows(panels, q), m = pc_panel_start(panels, q) * LANES;
                const int64_t channels = pc_min(vectors * LANES, p->c_out - m);
                t.w = w + m * k_all + (c0 * taps + a0 * p->w.k) * vectors * LANES;
                t.ld_w = taps * vectors * LANES;
                for (int64_t h = 0; h < box.h_tile; h++)
                    for (int64_t r = 0; r < runs.n; r++) {
                        const int64_t pixels = pc_panel_rows(runs, r), col = pc_panel_start(runs, r);
                        REAL *partial = part + (((q - box.q0) * box.h_tile + h) * runs.n + r) * PC_ROWS * width;
                        t.x = tile + h * gw.length + col;
                        t.init = first ? first_sum + m : partial;
                        t.ld_init = first ? 0 : width;
                        t.c = last ? c_tile : partial;
                        t.ld_c = width;
                        NAME(channels)[pixels - 1][vectors - 1](&t);
                        if (last)
                            STORED(finish_channels)(p, c_tile, width, pixels, channels,
                                                    out + m * p->ld_out.c + h * p->ld_out.h + col * p->ld_out.w,
                                                    residual ? residual + m * p->ld_res.c + h * p->ld_res.h +
                                                                 col * p->ld_res.w
                                                           : NULL);
                    }
            }
        }
    }
}

static void STORED(conv_direct_channels_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_direct_channels, DTYPE, PC_ISA)));
    NAME(dense_job) job = {p, arrays};
    pc_parallel(STORED(conv_direct_channels_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_direct_channels_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_direct_channels(p, PC_TILE_SHAPE, max_scratch_bytes);
}

#if !PC_WIDENED
/* [group][panel][k][lane]; lanes beyond c_out hold zeros. */
static int64_t NAME(conv_direct_channels_pack)(const pc_conv *p, const void *w, void *packed) {
    const int64_t k_all = p->c_in * p->d.k * p->h.k * p->w.k, vectors = pc_ceil_div(p->c_out, LANES);
    const pc_panels panels = pc_panels_of(vectors, PC_VECTORS);
    if (!packed)
        return p->groups * vectors * LANES * k_all;
    REAL *dst = packed;
    for (int64_t g = 0; g < p->groups; g++) {
        const REAL *src = (const REAL *)w + g * p->c_out * k_all;
        for (int64_t q = 0; q < panels.n; q++) {
            const int64_t m0 = pc_panel_start(panels, q) * LANES, lanes = pc_panel_rows(panels, q) * LANES;
            for (int64_t i = 0; i < lanes; i++)
                for (int64_t k = 0; k < k_all; k++)
                    dst[k * lanes + i] = m0 + i < p->c_out ? src[(m0 + i) * k_all + k] : 0;
            dst += lanes * k_all;
        }
    }
    return p->groups * vectors * LANES * k_all;
}
#endif
