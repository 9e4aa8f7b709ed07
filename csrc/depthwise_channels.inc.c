/* conv_depthwise_channels: conv_depthwise with channels in the lanes, for maps whose rows do not fill a vector and for
 * channels-last memory.
 *
 * A task is one image, one output depth and LANES groups. Its whole plane is turned into tile[d][h][w][lane], padded
 * (planes with contiguous rows by LANES x LANES transposes in registers), the weights into taps[tap][lane]. A register
 * tile is up to MAX_PIXELS neighbouring output pixels: every FMA takes an aligned vector of the tile straight from
 * memory, and one vector of weights serves them all. 3x3, 5x5 and 7x7 with stride 1 or 2 have windows where there are 32
 * registers: two output rows at a time, a loaded pixel serving all their products. The results are turned back on their
 * way out.
 *
 * flops: those of depthwise.inc.c, no lane idle but for groups beyond a multiple of LANES; moved besides x and y: both
 * once more, within L2. The order of each sum is depthwise.inc.c's. */

#ifndef PC_MAX_PIXELS
#define PC_MAX_PIXELS 14 /* accumulators; with the weights they fit 16 registers */
#define PC_PAIR_PIXELS 7
#endif

#if !PC_WIDENED

typedef struct NAME(pixel_run) {
    const REAL *x;           /* first pixel's first tap */
    int64_t step;            /* between pixels, in elements: stride * LANES */
    int64_t ld_row;          /* between the two rows of a pair */
    int64_t ld_in;           /* between rows of the tile */
    const int64_t *off;      /* of each tap, in elements */
    int64_t taps, n_d, ld_d; /* taps of a plane; planes and the distance between them */
    MASK first;              /* grouped: the first lane of each lane's group */
    const REAL *w;           /* [d][tap][lane] */
    VEC bias;
    REAL *y;                 /* LANES elements a pixel */
    int64_t ld_y;
} NAME(pixel_run);

INLINE void NAME(pixel_body)(const int rows, const int pixels, const int unit, const NAME(pixel_run) *r) {
    VEC acc[2][14];
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 14
        for (int j = 0; j < pixels; j++)
            acc[i][j] = r->bias;
    const int64_t step = unit ? LANES : r->step;
    const REAL *w = r->w;
    for (int64_t d = 0; d < r->n_d; d++)
        for (int64_t t = 0; t < r->taps; t++, w += LANES) {
            const REAL *x = r->x + d * r->ld_d + r->off[t];
            const VEC tap = NAME(load)(w);
#pragma GCC unroll 2
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 14
                for (int j = 0; j < pixels; j++)
                    acc[i][j] += *(const VEC *)(x + i * r->ld_row + j * step) * tap;
        }
#pragma GCC unroll 2
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 14
        for (int j = 0; j < pixels; j++)
            *(VEC *)(r->y + i * r->ld_y + j * LANES) = acc[i][j];
}

/* pixels_<rows>x<pixels>: two rows at a time where one has too few accumulators to hide the latency of an FMA. */
#define PC_PIXELS(rows, n)                                                                                             \
    static __attribute__((noinline)) void NAME(pixels_##rows##x##n)(const NAME(pixel_run) * r) {                       \
        if (r->step == LANES)                                                                                          \
            NAME(pixel_body)(rows, n, 1, r);                                                                           \
        else                                                                                                           \
            NAME(pixel_body)(rows, n, 0, r);                                                                           \
    }
PC_PIXELS(1, 1) PC_PIXELS(1, 2) PC_PIXELS(1, 3) PC_PIXELS(1, 4) PC_PIXELS(1, 5) PC_PIXELS(1, 6) PC_PIXELS(1, 7)
PC_PIXELS(1, 8) PC_PIXELS(1, 9) PC_PIXELS(1, 10) PC_PIXELS(1, 11) PC_PIXELS(1, 12) PC_PIXELS(1, 13) PC_PIXELS(1, 14)
PC_PIXELS(2, 1) PC_PIXELS(2, 2) PC_PIXELS(2, 3) PC_PIXELS(2, 4) PC_PIXELS(2, 5) PC_PIXELS(2, 6) PC_PIXELS(2, 7)
#undef PC_PIXELS

#if PC_PIXEL_WINDOWS
/* Lane i of the result is lane from[i] of v. */
INLINE VEC NAME(gathered)(VEC v, MASK from) {
#if defined(__clang__)
    VEC r;
    for (int i = 0; i < LANES; i++)
        r[i] = v[from[i]];
    return r;
#else
    return __builtin_shuffle(v, from);
#endif
}

/* One row of x, for the upper or the lower output row or both; w is the row of taps that it meets in the upper one. */
INLINE void NAME(window_row)(const int pixels, const int k, const int stride, const int upper, const int lower,
                             VEC acc[2][7], const REAL *x, const REAL *w, const int grouped, MASK from) {
    VEC tap[2][7];
#pragma GCC unroll 7
    for (int b = 0; b < k; b++) {
        if (upper)
            tap[0][b] = *(const VEC *)(w + b * LANES);
        if (lower)
            tap[1][b] = *(const VEC *)(w + (b - stride * k) * LANES);
    }
#pragma GCC unroll 19
    for (int j = 0; j < (pixels - 1) * stride + k; j++) {
        VEC v = *(const VEC *)(x + j * LANES);
        if (grouped)
            v = NAME(gathered)(v, from);
#pragma GCC unroll 7
        for (int q = 0; q < pixels; q++)
            if (j >= q * stride && j < q * stride + k) {
                if (upper)
                    acc[0][q] += v * tap[0][j - q * stride];
                if (lower)
                    acc[1][q] += v * tap[1][j - q * stride];
            }
    }
}

/* Two output rows of k x k taps, k and the stride known: each pixel is loaded once for all the products of its row, the
 * taps of two rows stay in registers. With `grouped` the planes are the channels of each lane's group, in turn. */
INLINE void NAME(window_body)(const int pixels, const int k, const int stride, const int grouped,
                              const NAME(pixel_run) *r) {
    VEC acc[2][7];
#pragma GCC unroll 7
    for (int j = 0; j < pixels; j++)
        acc[0][j] = acc[1][j] = r->bias;
    for (int64_t d = 0; d < r->n_d; d++) {
        const REAL *x = r->x + (grouped ? 0 : d * r->ld_d), *w = r->w + d * k * k * LANES;
        const MASK from = grouped ? r->first + (INTEGER)d : (MASK){0};
        int i = 0;
        for (; i < stride; i++, x += r->ld_in, w += k * LANES)
            NAME(window_row)(pixels, k, stride, 1, 0, acc, x, w, grouped, from);
        for (; i < k; i++, x += r->ld_in, w += k * LANES)
            NAME(window_row)(pixels, k, stride, 1, 1, acc, x, w, grouped, from);
        for (; i < k + stride; i++, x += r->ld_in, w += k * LANES)
            NAME(window_row)(pixels, k, stride, 0, 1, acc, x, w, grouped, from);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
#pragma GCC unroll 7
        for (int j = 0; j < pixels; j++)
            *(VEC *)(r->y + i * r->ld_y + j * LANES) = acc[i][j];
}

#define PC_WINDOW(name, grouped, k, stride, pixels)                                                                    \
    static __attribute__((noinline)) void NAME(name##_##k##s##stride##x##pixels)(const NAME(pixel_run) * r) {          \
        NAME(window_body)(pixels, k, stride, grouped, r);                                                              \
    }
#define PC_WINDOWS(name, grouped, k, stride)                                                                           \
    PC_WINDOW(name, grouped, k, stride, 4) PC_WINDOW(name, grouped, k, stride, 5)                                      \
    PC_WINDOW(name, grouped, k, stride, 6) PC_WINDOW(name, grouped, k, stride, 7)
#define PC_WINDOW_NAMES(name, k, stride)                                                                               \
    {NAME(name##_##k##s##stride##x4), NAME(name##_##k##s##stride##x5), NAME(name##_##k##s##stride##x6),                \
     NAME(name##_##k##s##stride##x7)}
/* name##s[(k - 3) / 2][stride - 1][pixels - 4] */
#define PC_WINDOW_TABLE(name, grouped)                                                                                 \
    PC_WINDOWS(name, grouped, 3, 1) PC_WINDOWS(name, grouped, 3, 2) PC_WINDOWS(name, grouped, 5, 1)                    \
    PC_WINDOWS(name, grouped, 5, 2) PC_WINDOWS(name, grouped, 7, 1) PC_WINDOWS(name, grouped, 7, 2)                    \
    static void (*const NAME(name##s)[3][2][4])(const NAME(pixel_run) *) = {                                           \
        {PC_WINDOW_NAMES(name, 3, 1), PC_WINDOW_NAMES(name, 3, 2)},                                                    \
        {PC_WINDOW_NAMES(name, 5, 1), PC_WINDOW_NAMES(name, 5, 2)},                                                    \
        {PC_WINDOW_NAMES(name, 7, 1), PC_WINDOW_NAMES(name, 7, 2)},                                                    \
    };
PC_WINDOW_TABLE(window, 0)
PC_WINDOW_TABLE(grouped_window, 1)
#undef PC_WINDOW
#undef PC_WINDOWS
#undef PC_WINDOW_NAMES
#undef PC_WINDOW_TABLE
#endif

typedef void (*NAME(pixel_kernel))(const NAME(pixel_run) *);
static const NAME(pixel_kernel) NAME(pixel_rows)[] = {
    NAME(pixels_1x1), NAME(pixels_1x2),  NAME(pixels_1x3),  NAME(pixels_1x4),  NAME(pixels_1x5),
    NAME(pixels_1x6), NAME(pixels_1x7),  NAME(pixels_1x8),  NAME(pixels_1x9),  NAME(pixels_1x10),
    NAME(pixels_1x11), NAME(pixels_1x12), NAME(pixels_1x13), NAME(pixels_1x14),
};
static const NAME(pixel_kernel) NAME(pixel_pairs)[] = {
    NAME(pixels_2x1), NAME(pixels_2x2), NAME(pixels_2x3), NAME(pixels_2x4),
    NAME(pixels_2x5), NAME(pixels_2x6), NAME(pixels_2x7),
};

#endif

static void STORED(conv_depthwise_channels_task)(void *ctx, int64_t task, int worker) {
    const NAME(depthwise_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const int64_t block = task % b->n_m_blocks, d_out = task / b->n_m_blocks % p->d.out;
    const int64_t n = task / b->n_m_blocks / p->d.out;
    const int64_t g0 = block * LANES, n_lanes = pc_min(LANES, p->groups - g0), taps = p->h.k * p->w.k;
    const int64_t k_all = p->d.k * taps, plane = b->h_tile * b->w_tile * LANES;

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *y = tile + b->tile_elems;
    int64_t *off = (int64_t *)(y + b->panel_elems);
    for (int64_t a = 0; a < p->h.k; a++)
        for (int64_t c = 0; c < p->w.k; c++)
            off[a * p->w.k + c] = (a * p->h.dilation * b->w_tile + c * p->w.dilation) * LANES;
    const pc_window box = {-p->h.pad, -p->w.pad, b->h_tile, b->w_tile, 1};
    for (int64_t a = 0; a < p->d.k; a++) {
        const int64_t d = pc_map_index(d_out * p->d.stride - p->d.pad + a * p->d.dilation, p->d.in, p->padding_mode);
        if (d < 0)
            NAME(clear_over)(tile + a * plane, plane);
        else
            STORED(load_channels)(p, (const STORAGE *)job->arrays->x + n * p->ld_x.n + g0 * p->ld_x.c + d * p->ld_x.d,
                                  n_lanes, box, tile + a * plane);
    }
#if PC_PIXEL_WINDOWS
    const int windows = pc_depthwise_dense(p, LANES) && p->h.dilation == 1 && p->w.out >= 4;
#else
    const int windows = 0;
#endif
    const REAL *packed = job->arrays->packed;
    /* the taps of several depths do not follow each other, so that rows of them cannot be left out */
    const int skip = p->d.k == 1 && NAME(may_skip)(p, packed + pc_round_up(p->groups, LANES) * p->c_out * k_all);
    const pc_panels runs = pc_panels_of(p->w.out, windows ? PC_PAIR_PIXELS : PC_MAX_PIXELS);
    for (int64_t o = 0; o < p->c_out; o++) {
        const int64_t m0 = g0 * p->c_out + o;
        const REAL *bias = job->arrays->bias;
        const REAL *w = packed + (block * p->c_out + o) * k_all * LANES;
        NAME(pixel_run) run = {
            .step = p->w.stride * LANES, .ld_row = p->h.stride * b->w_tile * LANES, .ld_in = b->w_tile * LANES,
            .n_d = p->d.k, .ld_d = plane, .bias = (VEC){0}, .ld_y = p->w.out * LANES};
        if (bias)
            for (int64_t i = 0; i < LANES; i++)
                run.bias[i] = bias[m0 + pc_min(i, n_lanes - 1) * p->c_out];
        for (int64_t h = 0; h < p->h.out;) {
            const int pair = runs.rows <= PC_PAIR_PIXELS && h + 1 < p->h.out;
            const pc_taps live = pc_live_taps(&p->h, h, pair ? 2 : 1, skip);
            run.off = off + live.begin * p->w.k;
            run.w = w + live.begin * p->w.k * LANES;
            run.taps = (live.end - live.begin) * p->w.k;
            for (int64_t v = 0; v < runs.n; v++) {
                const int64_t col = pc_panel_start(runs, v), n_pixels = pc_panel_rows(runs, v);
                run.x = tile + (h * p->h.stride * b->w_tile + col * p->w.stride) * LANES;
                run.y = y + (h * p->w.out + col) * LANES;
#if PC_PIXEL_WINDOWS
                if (pair && windows) {
                    run.w = w;
                    NAME(windows)[(p->h.k - 3) / 2][p->h.stride - 1][n_pixels - 4](&run);
                    continue;
                }
#endif
                (pair ? NAME(pixel_pairs) : NAME(pixel_rows))[n_pixels - 1](&run);
            }
            h += pair ? 2 : 1;
        }
        STORED(store_channels)(p, job->arrays, y, n_lanes, p->c_out, (pc_window){0, 0, p->h.out, p->w.out, 1},
                               (pc_place){n, m0, d_out, 0, 0});
    }
}

static void STORED(conv_depthwise_channels_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_depthwise_channels, DTYPE, PC_ISA)));
    NAME(depthwise_job) job = {p, arrays};
    pc_parallel(STORED(conv_depthwise_channels_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_depthwise_channels_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_depthwise_channels(p, (pc_tile_shape){sizeof(REAL), LANES, 1, PC_MAX_PIXELS, 0, 0, PC_WIDENED},
                                      max_scratch_bytes);
}

#if !PC_WIDENED
/* count members of `all` weights -> [block of LANES members][weight][lane]; lanes beyond the members hold zeros. Behind
 * all of them the mark of finite weights. */
static int64_t NAME(pack_lanes)(const REAL *w, int64_t count, int64_t all, REAL *packed) {
    const int64_t elems = pc_round_up(count, LANES) * all;
    if (!packed)
        return elems + LANES;
    NAME(mark_finite)(w, count * all, packed + elems, 1);
    for (int64_t first = 0; first < count; first += LANES)
        for (int64_t r = 0; r < all; r++)
            for (int64_t i = 0; i < LANES; i++)
                *packed++ = first + i < count ? w[(first + i) * all + r] : 0;
    return elems + LANES;
}

static int64_t NAME(conv_depthwise_channels_pack)(const pc_conv *p, const void *w, void *packed) {
    return NAME(pack_lanes)(w, p->groups, p->c_out * p->d.k * p->h.k * p->w.k, packed);
}
#endif
