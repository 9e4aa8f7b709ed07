/* conv_depthwise_channels: conv_depthwise with channels in the lanes, for maps whose rows do not fill a vector and for
 * channels-last memory.
 *
 * A task is one image, one output depth and LANES groups. Its whole plane is turned into tile[d][h][w][lane], padded
 * (planes with contiguous rows by LANES x LANES transposes in registers), the weights into taps[tap][lane]. A register
 * tile is up to MAX_PIXELS neighbouring output pixels: every FMA takes an aligned vector of the tile straight from
 * memory, and one vector of weights serves them all. The results are turned back on their way out.
 *
 * flops: those of depthwise.inc.c, no lane idle but for groups beyond a multiple of LANES; moved besides x and y: both
 * once more, within L2. The order of each sum is depthwise.inc.c's. */

enum { NAME(max_pixels) = 14 }; /* accumulators; with the weights they fit 16 registers */

typedef struct NAME(pixel_run) {
    const REAL *x;           /* first pixel's first tap */
    int64_t step;            /* between pixels, in elements: stride * LANES */
    const int64_t *off;      /* of each tap, in elements */
    int64_t taps, n_d, ld_d; /* taps of a plane; planes and the distance between them */
    const REAL *w;           /* taps[d][tap][lane] */
    VEC bias;
    REAL *y;                 /* LANES elements a pixel */
} NAME(pixel_run);

INLINE void NAME(pixel_body)(const int pixels, const int unit, const NAME(pixel_run) *r) {
    VEC acc[14];
#pragma GCC unroll 14
    for (int j = 0; j < pixels; j++)
        acc[j] = r->bias;
    const int64_t step = unit ? LANES : r->step;
    const REAL *w = r->w;
    for (int64_t d = 0; d < r->n_d; d++)
        for (int64_t t = 0; t < r->taps; t++, w += LANES) {
            const REAL *x = r->x + d * r->ld_d + r->off[t];
            const VEC tap = *(const VEC *)w;
#pragma GCC unroll 14
            for (int j = 0; j < pixels; j++)
                acc[j] += *(const VEC *)(x + j * step) * tap;
        }
#pragma GCC unroll 14
    for (int j = 0; j < pixels; j++)
        *(VEC *)(r->y + j * LANES) = acc[j];
}

#define PC_PIXELS(n)                                                                                                   \
    static __attribute__((noinline)) void NAME(pixels_##n)(const NAME(pixel_run) * r) {                                \
        if (r->step == LANES)                                                                                          \
            NAME(pixel_body)(n, 1, r);                                                                                 \
        else                                                                                                           \
            NAME(pixel_body)(n, 0, r);                                                                                 \
    }
PC_PIXELS(1) PC_PIXELS(2) PC_PIXELS(3) PC_PIXELS(4) PC_PIXELS(5) PC_PIXELS(6) PC_PIXELS(7)
PC_PIXELS(8) PC_PIXELS(9) PC_PIXELS(10) PC_PIXELS(11) PC_PIXELS(12) PC_PIXELS(13) PC_PIXELS(14)
#undef PC_PIXELS
static void (*const NAME(pixel_kernels)[])(const NAME(pixel_run) *) = {
    NAME(pixels_1), NAME(pixels_2), NAME(pixels_3),  NAME(pixels_4),  NAME(pixels_5),  NAME(pixels_6),  NAME(pixels_7),
    NAME(pixels_8), NAME(pixels_9), NAME(pixels_10), NAME(pixels_11), NAME(pixels_12), NAME(pixels_13), NAME(pixels_14),
};

/* One plane of n_lanes channels into tile[h][w][lane]; lanes beyond repeat the last channel. */
static __attribute__((noinline)) void NAME(load_channels)(const pc_conv *p, const REAL *x, int64_t n_lanes,
                                                          REAL *tile) {
    const int64_t h_tile = p->blk.h_tile, w_tile = p->blk.w_tile, ld_c = p->ld_x.c;
    const int64_t top = p->h.pad, left = p->w.pad;
    const int64_t h_end = pc_min(h_tile - top, p->h.in), w_end = pc_min(w_tile - left, p->w.in);
#define PC_AT(h, w) (tile + (((h) + top) * w_tile + (w) + left) * LANES)
    if (p->ld_x.w == 1 && p->ld_x.h == p->w.in) {
        /* the plane is one run of pixels: LANES of them at a time, the last ones again where they do not fill a vector */
        const int64_t pixels = p->h.in * p->w.in;
        for (int64_t first = 0; first < pixels; first += LANES) {
            const int64_t base = pixels >= LANES ? pc_min(first, pixels - LANES) : 0;
            VEC v[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++) {
                const REAL *src = x + pc_min(i, n_lanes - 1) * ld_c + base;
                if (pixels >= LANES) {
                    v[i] = NAME(load)(src);
                } else {
                    v[i] = (VEC){0};
                    NAME(copy_part)((REAL *)&v[i], src, pixels);
                }
            }
            NAME(transpose)(v);
            int64_t h = base / p->w.in, w = base % p->w.in;
            const int64_t n = pc_min(LANES, pixels - base);
            for (int64_t i = 0; i < n; i++) {
                if (h < h_end && w < w_end)
                    *(VEC *)PC_AT(h, w) = v[i];
                if (++w == p->w.in) {
                    w = 0;
                    h++;
                }
            }
        }
    } else {
        for (int64_t h = 0; h < h_end; h++)
            for (int64_t w = 0; w < w_end; w++) {
                const REAL *src = x + h * p->ld_x.h + w * p->ld_x.w;
                REAL *dst = PC_AT(h, w);
                if (ld_c == 1 && n_lanes == LANES)
                    *(VEC *)dst = NAME(load)(src);
                else
                    for (int64_t i = 0; i < LANES; i++)
                        dst[i] = src[pc_min(i, n_lanes - 1) * ld_c];
            }
    }
    /* the border: zeros, or copies of the pixels that stand for it */
    for (int64_t h = -top; h < h_tile - top; h++) {
        const int64_t from_h = pc_map_index(h, p->h.in, p->padding_mode);
        for (int64_t w = -left; w < w_tile - left; w++) {
            if (h >= 0 && h < p->h.in && w == 0 && w_end > 0) {
                w = w_end - 1; /* over the inside in one step */
                continue;
            }
            const int64_t from_w = pc_map_index(w, p->w.in, p->padding_mode);
            VEC v = {0};
            if (from_h >= 0 && from_w >= 0) {
                if (from_h < h_end && from_w < w_end)
                    v = *(const VEC *)PC_AT(from_h, from_w);
                else /* a pixel that no window reads where it is, only through the border */
                    for (int64_t i = 0; i < LANES; i++)
                        v[i] = x[pc_min(i, n_lanes - 1) * ld_c + from_h * p->ld_x.h + from_w * p->ld_x.w];
            }
            *(VEC *)PC_AT(h, w) = v;
        }
    }
#undef PC_AT
}

/* y[pixel][lane] of output channels m0, m0 + ld_m, ... through the epilogue and out. */
static __attribute__((noinline)) void NAME(store_channels)(const pc_conv *p, REAL *y, int64_t n_lanes, int64_t ld_m,
                                                           REAL *out, const REAL *residual) {
    const int64_t pixels = p->h.out * p->w.out;
    pc_conv lanes = *p; /* channels ld_m apart */
    lanes.ld_out.c *= ld_m;
    lanes.ld_res.c *= ld_m;
    if (lanes.ld_out.c == 1 && n_lanes == LANES && !residual) {
        if (p->activation != PC_ACT_NONE)
            NAME(activate)(y, pixels * LANES, p->activation, (REAL)p->slope);
        for (int64_t h = 0, i = 0; h < p->h.out; h++)
            for (int64_t w = 0; w < p->w.out; w++, i++)
                NAME(store)(out + h * p->ld_out.h + w * p->ld_out.w, *(const VEC *)(y + i * LANES));
        return;
    }
    for (int64_t first = 0; first < pixels; first += LANES) {
        const int64_t n = pc_min(LANES, pixels - first);
        VEC v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            v[i] = *(const VEC *)(y + pc_min(first + i, pixels - 1) * LANES);
        NAME(transpose)(v);
        if (n == LANES && p->ld_out.w == 1 && p->ld_out.h == p->w.out && !residual &&
            (p->activation == PC_ACT_NONE || p->activation == PC_ACT_RELU)) {
            const int relu = p->activation == PC_ACT_RELU;
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (i < n_lanes)
                    NAME(store)(out + i * lanes.ld_out.c + first, relu ? NAME(relu)(v[i]) : v[i]);
            continue;
        }
        pc_segment segments[LANES];
        int n_segments = NAME(segments_of)(first, n, p->w.out, p->w.out, p->h.out, segments);
        NAME(finish)(&lanes, (REAL *)v, LANES, n_lanes, segments, n_segments, out, residual, 0);
    }
}

static void NAME(conv_depthwise_channels_task)(void *ctx, int64_t task, int worker) {
    const NAME(depthwise_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const int64_t block = task % b->n_m_blocks, d_out = task / b->n_m_blocks % p->d.out;
    const int64_t n = task / b->n_m_blocks / p->d.out;
    const int64_t g0 = block * LANES, n_lanes = pc_min(LANES, p->groups - g0), taps = p->h.k * p->w.k;
    const int64_t k_all = p->d.k * taps, plane = b->h_tile * b->w_tile * LANES;

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *y = tile + b->tile_elems, *w = y + b->panel_elems;
    int64_t *off = (int64_t *)(w + b->part_elems);
    for (int64_t a = 0; a < p->h.k; a++)
        for (int64_t c = 0; c < p->w.k; c++)
            off[a * p->w.k + c] = (a * p->h.dilation * b->w_tile + c * p->w.dilation) * LANES;
    for (int64_t a = 0; a < p->d.k; a++) {
        const int64_t d = pc_map_index(d_out * p->d.stride - p->d.pad + a * p->d.dilation, p->d.in, p->padding_mode);
        if (d < 0)
            NAME(clear_over)(tile + a * plane, plane);
        else
            NAME(load_channels)(p, (const REAL *)job->arrays->x + n * p->ld_x.n + g0 * p->ld_x.c + d * p->ld_x.d,
                                n_lanes, tile + a * plane);
    }
    const pc_panels runs = pc_panels_of(p->w.out, NAME(max_pixels));
    for (int64_t o = 0; o < p->c_out; o++) {
        const int64_t m0 = g0 * p->c_out + o;
        const REAL *weights = (const REAL *)job->arrays->packed + m0 * k_all, *bias = job->arrays->bias;
        NAME(pixel_run) run = {.step = p->w.stride * LANES, .off = off, .taps = taps, .n_d = p->d.k, .ld_d = plane,
                               .w = w, .bias = (VEC){0}};
        for (int64_t i = 0; i < LANES; i++) {
            const int64_t m = pc_min(i, n_lanes - 1) * p->c_out;
            if (bias)
                run.bias[i] = bias[m0 + m];
            for (int64_t t = 0; t < k_all; t++)
                w[t * LANES + i] = weights[m * k_all + t];
        }
        for (int64_t h = 0; h < p->h.out; h++)
            for (int64_t v = 0; v < runs.n; v++) {
                const int64_t col = pc_panel_start(runs, v);
                run.x = tile + (h * p->h.stride * b->w_tile + col * p->w.stride) * LANES;
                run.y = y + (h * p->w.out + col) * LANES;
                NAME(pixel_kernels)[pc_panel_rows(runs, v) - 1](&run);
            }
        const REAL *residual = job->arrays->residual;
        if (residual)
            residual += n * p->ld_res.n + m0 * p->ld_res.c + d_out * p->ld_res.d;
        NAME(store_channels)(p, y, n_lanes, p->c_out,
                             (REAL *)job->arrays->out + n * p->ld_out.n + m0 * p->ld_out.c + d_out * p->ld_out.d,
                             residual);
    }
}

static void NAME(conv_depthwise_channels_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_depthwise_channels, DTYPE, PC_ISA)));
    NAME(depthwise_job) job = {p, arrays};
    pc_parallel(NAME(conv_depthwise_channels_task), &job, p->blk.n_tasks, threads);
}

static int NAME(conv_depthwise_channels_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_depthwise_channels(p, (pc_tile_shape){sizeof(REAL), LANES, 1, NAME(max_pixels), 0, 0},
                                      max_scratch_bytes);
}

static void NAME(conv_depthwise_channels_pack)(const pc_conv *p, const void *w, void *packed) {
    NAME(conv_depthwise_pack)(p, w, packed);
}
