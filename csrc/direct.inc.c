/* conv_direct and conv_im2col: dense convolution, y[o, p] = act(sum over k of w[o, k] x[k, p] + bias[o] + res[o, p]).
 *
 * Loops of a task (one image, output depth, group, tile of output pixels, block of output channels):
 *   reduction block (channels x taps)     so that a panel of weights is about 16 KiB: L1
 *     copy the input tile                 padded, phases apart: at most half of L2
 *     panel of pixels x panel of channels either may be the outer loop: the larger operand is read once
 *       register tile                     gemm.inc.c
 * Between reduction blocks partial sums stay in scratch; after the last one the tile goes through the epilogue.
 *
 * direct numbers the pixels of a tile by the *input* tile's pitch: the operand of tap (a, b) is then the tile shifted
 * by one constant, and nothing is ever lowered. It pays with a few lanes at the end of each row that belong to nobody
 * ((kw - 1) of w_out + kw - 1). im2col numbers output pixels only and copies the operand of each pixel panel out of
 * the tile into [k][pixel] (the "packing of B" of a GEMM): no lane is wasted, and L1 holds one dense panel.
 *
 * flops: 2 n c_out h_out w_out c_in kd kh kw. bytes from memory: x once for each block of output channels, the weights
 * once for each tile, y once. */

#if !PC_WIDENED

typedef struct NAME(dense_job) {
    const pc_conv *p;
    const pc_arrays *arrays;
} NAME(dense_job);

/* What one task of a dense kernel computes. */
typedef struct NAME(dense_task_box) {
    int64_t n, g, d;             /* image, group, output depth */
    int64_t h0, w0, h_tile, w_tile;
    int64_t q0, q1;              /* panels of output channels */
} NAME(dense_task_box);

INLINE NAME(dense_task_box) NAME(dense_box)(const pc_conv *p, int64_t task, int64_t n_panels) {
    const pc_blocking *b = &p->blk;
    NAME(dense_task_box) box;
    int64_t rest = task;
    box.q0 = rest % b->n_m_blocks * b->m_block;
    box.q1 = pc_min(n_panels, box.q0 + b->m_block);
    rest /= b->n_m_blocks;
    box.w0 = rest % b->n_w_tiles * b->w_tile;
    rest /= b->n_w_tiles;
    box.h0 = rest % b->n_h_tiles * b->h_tile;
    rest /= b->n_h_tiles;
    box.d = rest % p->d.out;
    rest /= p->d.out;
    box.g = rest % p->groups;
    box.n = rest / p->groups;
    box.h_tile = pc_min(b->h_tile, p->h.out - box.h0);
    box.w_tile = pc_min(b->w_tile, p->w.out - box.w0);
    return box;
}

/* panel[k][lane] for the pixels of `segments`; lanes outside them keep what they had, and nobody reads the result. */
static void NAME(pack_pixels)(const NAME(tile_args) *t, int64_t width, const pc_segment *segments, int n_segments,
                              int64_t pitch, REAL *panel) {
    for (int64_t c = 0; c < t->n_c; c++)
        for (int64_t k = 0; k < t->n_taps; k++, panel += width) {
            const REAL *src = t->x + c * t->plane + t->off[k];
            for (int s = 0; s < n_segments; s++)
                NAME(copy)(panel + segments[s].lane, src + segments[s].h * pitch + segments[s].w, segments[s].length);
        }
}

#endif

INLINE void STORED(dense_task)(const NAME(dense_job) *job, int64_t task, int worker, const int im2col) {
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const pc_panels panels = pc_panels_of(p->c_out, PC_ROWS);
    const int64_t max_vectors = panels.rows <= PC_WIDE_ROWS ? PC_WIDE_VECTORS : PC_VECTORS;
    const int64_t width = max_vectors * LANES;

    const NAME(dense_task_box) box = NAME(dense_box)(p, task, panels.n);
    const int64_t n = box.n, g = box.g, d_out = box.d, h0 = box.h0, w0 = box.w0, q0 = box.q0, q1 = box.q1;
    const int64_t h_tile = box.h_tile, w_tile = box.w_tile;
    const int64_t taps = p->h.k * p->w.k, n_channels = p->c_in * p->d.k, k_all = n_channels * taps;

    REAL *scratch = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *tile = scratch;
    REAL *panel = tile + b->tile_elems;
    REAL *part = panel + b->panel_elems;
    int64_t *off = (int64_t *)(part + b->part_elems);

    const STORAGE *x = (const STORAGE *)job->arrays->x + n * p->ld_x.n + g * p->c_in * p->ld_x.c;
    const REAL *a = (const REAL *)job->arrays->packed + g * p->c_out * k_all;
    const REAL *bias = job->arrays->bias ? (const REAL *)job->arrays->bias + g * p->c_out : NULL;
    const int64_t m0 = g * p->c_out;
    STORAGE *out = (STORAGE *)job->arrays->out + n * p->ld_out.n + m0 * p->ld_out.c + d_out * p->ld_out.d +
                   h0 * p->ld_out.h + w0 * p->ld_out.w;
    const STORAGE *residual = job->arrays->residual;
    if (residual)
        residual += n * p->ld_res.n + m0 * p->ld_res.c + d_out * p->ld_res.d + h0 * p->ld_res.h + w0 * p->ld_res.w;

    /* ReLU rides on the register tile, and a residual too where the tile is whole; other activations, and tiles with a
     * residual that are not, go through the epilogue. */
    const int relu = p->activation == PC_ACT_RELU;
    const int in_tile = !PC_WIDENED && (relu || p->activation == PC_ACT_NONE) && p->ld_out.w == 1 && !p->phases.count &&
                        (!residual || p->ld_res.w == 1);
    const int64_t out_elems = p->n * p->groups * p->c_out * p->d.out * p->h.out * p->w.out;
    const int far = !p->phases.count && out_elems * (int64_t)sizeof(STORAGE) > PC_FAR_OUTPUT_BYTES;
    _Alignas(64) REAL c_tile[PC_ROWS * PC_VECTORS > PC_WIDE_ROWS * PC_WIDE_VECTORS
                                 ? (PC_ROWS * PC_VECTORS + 1) * LANES
                                 : (PC_WIDE_ROWS * PC_WIDE_VECTORS + 1) * LANES];
    pc_segment segments[PC_WIDE_VECTORS * LANES];

    /* (without any channel the sum is empty, but bias and activation still apply) */
    for (int64_t c0 = 0; c0 == 0 || c0 < n_channels; c0 += b->c_block) {
        const int64_t n_c = pc_min(b->c_block, n_channels - c0);
        for (int64_t a0 = 0; a0 < p->h.k; a0 += b->kh_block) {
            const int64_t n_a = pc_min(b->kh_block, p->h.k - a0);
            for (int64_t b0 = 0; b0 < p->w.k; b0 += b->kw_block) {
                const int64_t n_b = pc_min(b->kw_block, p->w.k - b0);
                const int first = c0 == 0 && a0 == 0 && b0 == 0;
                const int last = c0 + n_c >= n_channels && a0 + n_a >= p->h.k && b0 + n_b >= p->w.k;
                const pc_grid_axis gh = pc_grid_axis_of(&p->h, n_a, h_tile), gw = pc_grid_axis_of(&p->w, n_b, w_tile);

                NAME(tile_args) t = {.n_c = n_c, .n_taps = n_a * n_b, .off = off, .ld_residual = p->ld_res.c};
                NAME(tap_offsets)(gh, gw, n_a, n_b, off);
                const STORED(tile_origin) origin = {
                    x, d_out * p->d.stride - p->d.pad, h0 * p->h.stride - p->h.pad + a0 * p->h.dilation,
                    w0 * p->w.stride - p->w.pad + b0 * p->w.dilation, c0, n_c};
                const REAL *source = tile;
                int64_t plane = gh.phases * gw.phases * gh.length * gw.length;
                if (!PC_WIDENED && b->in_place) { /* 1 x 1, one row of pixels: x is its own tile */
                    source = (const REAL *)(x + c0 * p->ld_x.c + d_out * p->d.stride * p->ld_x.d + w0);
                    plane = p->ld_x.c;
                } else {
                    STORED(load_tile)(p, &origin, gh, gw, tile);
                }

                const int64_t pitch = im2col ? w_tile : gw.length;
                const int64_t pixels = (h_tile - 1) * pitch + w_tile;
                const pc_panels pixel_panels = pc_panels_of(pc_ceil_div(pixels, LANES), max_vectors);
                const int64_t weight_bytes = (q1 - q0) * panels.rows * n_c * n_a * n_b * (int64_t)sizeof(REAL);
                const int channels_outer = !im2col && weight_bytes > PC_RESIDENT_WEIGHT_BYTES;
                const int64_t n_outer = channels_outer ? q1 - q0 : pixel_panels.n;
                const int64_t n_inner = channels_outer ? pixel_panels.n : q1 - q0;
                int n_segments = 0;
                if (b->in_place && !im2col && pixels % LANES) { /* the last vector must not read past the end of x */
                    const int64_t start = pc_panel_start(pixel_panels, pixel_panels.n - 1) * LANES;
                    for (int64_t c = 0; c < n_c; c++)
                        NAME(copy)(panel + c * width, source + c * plane + start, pixels - start);
                }

                for (int64_t u = 0; u < n_outer; u++)
                    for (int64_t v = 0; v < n_inner; v++) {
                        const int64_t q = q0 + (channels_outer ? u : v), j = channels_outer ? v : u;
                        const int64_t first_pixel = pc_panel_start(pixel_panels, j) * LANES;
                        const int64_t vectors = pc_panel_rows(pixel_panels, j);
                        const int64_t lanes = pc_min(vectors * LANES, pixels - first_pixel);
                        if (channels_outer || v == 0)
                            n_segments = NAME(segments_of)(first_pixel, lanes, pitch, w_tile, h_tile, segments);
                        if (im2col && v == 0) {
                            t.x = source;
                            t.n_c = n_c;
                            t.n_taps = n_a * n_b;
                            t.off = off;
                            t.plane = plane;
                            NAME(pack_pixels)(&t, width, segments, n_segments, b->in_place ? 0 : gw.length, panel);
                            static const int64_t no_offset[1] = {0};
                            t.x = panel;
                            t.n_c = n_c * n_a * n_b;
                            t.n_taps = 1;
                            t.off = no_offset;
                            t.plane = width;
                        } else if (!im2col) {
                            const int is_copy = b->in_place && lanes % LANES;
                            t.x = is_copy ? panel : source + first_pixel;
                            t.plane = is_copy ? width : plane;
                        }
                        const int64_t rows = pc_panel_rows(panels, q), m = pc_panel_start(panels, q);
                        t.a = a + m * k_all + (c0 * taps + a0 * p->w.k + b0) * rows;
                        t.ld_a = im2col ? rows : taps * rows;
                        REAL *partial = part + ((q - q0) * pixel_panels.n + j) * PC_ROWS * width;
                        if (first) {
                            t.init = bias ? bias + m : NULL;
                            t.ld_init = 0;
                        } else {
                            t.init = partial;
                            t.ld_init = width;
                        }
                        const int whole =
                            in_tile && last && n_segments == 1 && segments[0].length == vectors * LANES;
                        t.relu = last && relu && (whole || !residual);
                        t.residual = NULL;
                        if (whole) {
                            if (residual)
                                t.residual = (const REAL *)(residual + m * p->ld_res.c + segments[0].h * p->ld_res.h +
                                                            segments[0].w);
                            t.c = (REAL *)(out + m * p->ld_out.c + segments[0].h * p->ld_out.h + segments[0].w);
                            t.ld_c = p->ld_out.c;
                        } else {
                            t.c = last ? c_tile : partial;
                            t.ld_c = width;
                        }
                        if (last && far)
                            STORED(prefetch_tile)(&p->ld_out, out + m * p->ld_out.c, rows, segments, n_segments, 1);
                        if (last && residual)
                            STORED(prefetch_tile)(&p->ld_res, residual + m * p->ld_res.c, rows, segments, n_segments, 0);
                        NAME(tiles)[rows - 1][vectors - 1](&t);
                        if (last && !whole)
                            STORED(finish)(p, job->arrays, c_tile, width, rows, segments, n_segments,
                                           (pc_place){n, m0 + m, d_out, h0, w0}, t.relu);
                    }
            }
        }
    }
}

static void STORED(conv_direct_task)(void *ctx, int64_t task, int worker) { STORED(dense_task)(ctx, task, worker, 0); }

static void STORED(conv_direct_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_direct, DTYPE, PC_ISA)));
    NAME(dense_job) job = {p, arrays};
    pc_parallel(STORED(conv_direct_task), &job, p->blk.n_tasks, threads);
}

#define PC_TILE_SHAPE                                                                                                  \
    ((pc_tile_shape){sizeof(REAL), LANES, PC_ROWS, PC_VECTORS, PC_WIDE_ROWS, PC_WIDE_VECTORS, PC_WIDENED})

static int STORED(conv_direct_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_direct(p, PC_TILE_SHAPE, max_scratch_bytes);
}

#if !PC_WIDENED
static int64_t NAME(conv_direct_pack)(const pc_conv *p, const void *w, void *packed) {
    return NAME(pack_panels)(p, w, packed);
}
#endif
