/* conv_implicit_gemm: dense convolution as a matrix product whose left operand is never lowered.
 *
 *   y[p][o] = bias[o] + sum over (chunk, a, b, c) of x[h(p) + a][w(p) + b][c] w[chunk][a][b][c][o]
 *
 * Output channels are in the lanes and any `rows` pixels are the rows of a register tile, each by its own offset in the
 * input tile: neither ragged rows of pixels nor strides cost anything. The input tile holds `depth` channels of a pixel
 * side by side, [chunk][row][column][channel] with depth = LANES, or what is left of c_in: one row of the kernel is then
 * one run of kw * depth neighbours (where the dilation is 1), broadcast element by element.
 *
 * Loops of a task (one image, output depth, group, tile of output pixels, block of output channels):
 *   reduction block of chunks           a panel of weights for it is some 50 KiB: L1 and L2
 *     turn the input tile               channels.inc.c; L2
 *     panel of output channels
 *       rows of pixels                  accumulators in registers; sums of earlier blocks are added at the end
 * and at last the sums, y[vector][pixel][lane], are turned into rows of pixels. A depth tap is more channels. Taps that
 * read nothing but zero padding for all pixels of the tile are left out.
 *
 * flops: 2 n c_out h_out w_out c_in kd kh kw; moved: x once for each block of output channels, the weights once for each
 * tile of pixels, y once, and both turned within L2. Sums are chains of one reduction block that are then added up, so
 * the error grows with the square root of its length and not of the whole sum's (Higham 2002, section 4.2). */

#if !PC_WIDENED

typedef void (*NAME(implicit_function))(const NAME(implicit_args) *);
#define PC_IMPLICIT(rows, vectors)                                                                                     \
    static __attribute__((noinline)) void NAME(PC_CONCAT(implicit_##rows##x, vectors))(const NAME(implicit_args) * t) { \
        if (rows <= PC_ROWS && vectors <= PC_VECTORS)                                                                  \
            NAME(implicit_body)(rows, vectors, t);                                                                     \
    }
#define PC_IMPLICITS(rows) PC_IMPLICIT(rows, 1) PC_IMPLICIT(rows, 2) PC_IMPLICIT(rows, 3)
PC_IMPLICITS(1) PC_IMPLICITS(2) PC_IMPLICITS(3) PC_IMPLICITS(4)
PC_IMPLICITS(5) PC_IMPLICITS(6) PC_IMPLICITS(7) PC_IMPLICITS(8)
#define PC_IMPLICIT_NAMES(rows) {NAME(implicit_##rows##x1), NAME(implicit_##rows##x2), NAME(implicit_##rows##x3)}
static const NAME(implicit_function) NAME(implicit)[8][3] = {
    PC_IMPLICIT_NAMES(1), PC_IMPLICIT_NAMES(2), PC_IMPLICIT_NAMES(3), PC_IMPLICIT_NAMES(4),
    PC_IMPLICIT_NAMES(5), PC_IMPLICIT_NAMES(6), PC_IMPLICIT_NAMES(7), PC_IMPLICIT_NAMES(8),
};
#undef PC_IMPLICIT
#undef PC_IMPLICITS
#undef PC_IMPLICIT_NAMES

#endif

/* One chunk of the input tile, [row][column][depth]; `turned` is scratch for a chunk that does not fill its lanes. */
static void STORED(implicit_load)(const pc_conv *p, const STORAGE *x, int64_t d_in, int64_t depth, pc_window box,
                                  REAL *turned, REAL *tile) {
    const int64_t pixels = box.rows * box.cols;
    const int64_t d = pc_map_index(d_in, p->d.in, p->padding_mode);
    if (d < 0) {
        NAME(clear_over)(tile, pixels * depth);
        return;
    }
    x += d * p->ld_x.d;
    if (depth == LANES) {
        STORED(load_channels)(p, x, depth, box, tile);
        return;
    }
    STORED(load_channels)(p, x, depth, box, turned);
    for (int64_t i = 0; i < pixels; i++) /* in the order of the addresses, so that what is too much is overwritten */
        NAME(store)(tile + i * depth, *(const VEC *)(turned + i * LANES));
}

static void STORED(conv_implicit_gemm_task)(void *ctx, int64_t task, int worker) {
    const NAME(dense_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const int64_t all_vectors = pc_ceil_div(p->c_out, LANES);
    const pc_panels panels = pc_panels_of(all_vectors, PC_VECTORS);
    const NAME(dense_task_box) box = NAME(dense_box)(p, task, panels.n);
    const int64_t n_pixels = box.h_tile * box.w_tile, taps = p->h.k * p->w.k;
    const REAL *packed = job->arrays->packed;
    const int skip = NAME(may_skip)(p, packed + p->groups * all_vectors * LANES * p->c_in * p->d.k * taps);
    const pc_taps live_d = pc_live_taps(&p->d, box.d, 1, skip), live_h = pc_live_taps(&p->h, box.h0, box.h_tile, skip),
                  live_w = pc_live_taps(&p->w, box.w0, box.w_tile, skip);
    const pc_implicit s = pc_implicit_of(p, LANES, box.h_tile, box.w_tile, live_h.end - live_h.begin,
                                         live_w.end - live_w.begin);

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *turned = tile + b->tile_elems;
    REAL *y = turned + b->panel_elems;
    int64_t *offsets = (int64_t *)(y + b->part_elems);
    pc_run *runs = (pc_run *)(offsets + b->h_tile * b->w_tile);
    const STORAGE *x = (const STORAGE *)job->arrays->x + box.n * p->ld_x.n + box.g * p->c_in * p->ld_x.c;
    const REAL *w = packed + box.g * all_vectors * LANES * p->c_in * p->d.k * taps;
    const int64_t m_first = box.g * p->c_out;
    const pc_window window = {box.h0 * p->h.stride - p->h.pad + live_h.begin * p->h.dilation,
                              box.w0 * p->w.stride - p->w.pad + live_w.begin * p->w.dilation, s.rows, s.cols, s.row_step};
    const int64_t first_vector = pc_panel_start(panels, box.q0), ld_y = n_pixels * LANES;
    const int64_t c_first = live_d.begin * s.chunks, c_end = live_d.end * s.chunks;

    for (int64_t c0 = c_first, n_c; c0 < c_end; c0 += n_c) {
        n_c = pc_min(pc_min(b->c_block, c_end - c0), pc_implicit_alike(p, LANES, c0));
        const int64_t depth = pc_min(LANES, p->c_in - c0 % s.chunks * LANES);
        for (int64_t c = 0; c < n_c; c++) {
            const int64_t chunk = (c0 + c) % s.chunks, tap = (c0 + c) / s.chunks;
            STORED(implicit_load)(p, x + chunk * LANES * p->ld_x.c,
                                box.d * p->d.stride - p->d.pad + tap * p->d.dilation, depth, window, turned,
                                tile + c * s.rows * s.cols * depth);
        }
        for (int64_t h = 0, i = 0; h < box.h_tile; h++)
            for (int64_t col = 0; col < box.w_tile; col++, i++)
                offsets[i] = (h * s.row_stride * s.cols + col * p->w.stride) * depth;
        int64_t n_runs = 0;
        const int64_t run_taps = p->w.dilation == 1 ? live_w.end - live_w.begin : 1;
        for (int64_t c = 0; c < n_c; c++)
            for (int64_t i = live_h.begin; i < live_h.end; i++)
                for (int64_t j = live_w.begin; j < live_w.end; j += run_taps)
                    runs[n_runs++] =
                        (pc_run){((c * s.rows + (i - live_h.begin) * p->h.dilation) * s.cols +
                                  (j - live_w.begin) * p->w.dilation) * depth,
                                 ((c * p->h.k + i) * p->w.k + j) * depth};
        NAME(implicit_args) t = {.n_runs = n_runs, .run_length = run_taps * depth, .runs = runs, .x = tile,
                                 .ld_y = ld_y};
        /* channels of all chunks before this block */
        const int64_t before = c0 / s.chunks * p->c_in + c0 % s.chunks * LANES;
        const pc_panels groups = pc_panels_of(n_pixels, PC_ROWS);
        for (int64_t q = box.q0; q < box.q1; q++) {
            const int64_t vectors = pc_panel_rows(panels, q), v0 = pc_panel_start(panels, q);
            t.w = w + (v0 * p->c_in * p->d.k + before * vectors) * taps * LANES;
            _Alignas(64) REAL bias[PC_VECTORS * LANES];
            if (c0 == c_first) {
                for (int64_t i = 0; i < vectors * LANES; i++)
                    bias[i] = job->arrays->bias && v0 * LANES + i < p->c_out
                                  ? ((const REAL *)job->arrays->bias)[m_first + v0 * LANES + i]
                                  : 0;
                t.bias = bias;
            }
            for (int64_t r = 0; r < groups.n; r++) {
                const int64_t first = pc_panel_start(groups, r);
                t.pixels = offsets + first;
                t.y = y + (v0 - first_vector) * ld_y + first * LANES;
                NAME(implicit)[pc_panel_rows(groups, r) - 1][vectors - 1](&t);
            }
        }
    }
    const int64_t end_vector = pc_panel_start(panels, box.q1 - 1) + pc_panel_rows(panels, box.q1 - 1);
    const pc_window out_box = {box.h0, box.w0, box.h_tile, box.w_tile, 1};
    for (int64_t v = first_vector; v < end_vector; v++) {
        STORED(store_channels)(p, job->arrays, y + (v - first_vector) * ld_y, pc_min(LANES, p->c_out - v * LANES), 1,
                               out_box, (pc_place){box.n, m_first + v * LANES, box.d, 0, 0});
    }
}

static void STORED(conv_implicit_gemm_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_implicit_gemm, DTYPE, PC_ISA)));
    NAME(dense_job) job = {p, arrays};
    pc_parallel(STORED(conv_implicit_gemm_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_implicit_gemm_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_implicit_gemm(p, PC_TILE_SHAPE, max_scratch_bytes);
}

#if !PC_WIDENED
typedef struct NAME(implicit_weights) {
    const pc_conv *p;
    pc_panels panels;
    const REAL *w;
    REAL *packed;
} NAME(implicit_weights);

/* One tap of n_c channels for a vector of output channels: dst[c * lanes + i] = w[i * k_all + c * step], zeros from `rows`
 * on. Rows are a power of two apart too often, and then share a few lines of the cache: each is read in one piece. */
static void NAME(pack_chunk)(REAL *dst, int64_t lanes, const REAL *w, int64_t k_all, int64_t step, int64_t n_c,
                             int64_t rows) {
    if (step == 1 && n_c == LANES && rows >= LANES) {
        VEC v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            v[i] = NAME(load)(w + i * k_all);
        NAME(transpose)(v);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            NAME(store)(dst + i * lanes, v[i]);
        return;
    }
    for (int64_t c = 0; c < n_c; c++)
        for (int64_t i = 0; i < LANES; i++)
            dst[c * lanes + i] = i < rows ? w[i * k_all + c * step] : 0;
}

static void NAME(implicit_pack_panel)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(implicit_weights) *job = ctx;
    const pc_conv *p = job->p;
    const int64_t taps = p->h.k * p->w.k, k_all = p->c_in * p->d.k * taps, vectors = pc_ceil_div(p->c_out, LANES);
    const int64_t g = task / job->panels.n, q = task % job->panels.n;
    const int64_t m0 = pc_panel_start(job->panels, q) * LANES, lanes = pc_panel_rows(job->panels, q) * LANES;
    const int64_t rows = pc_min(lanes, p->c_out - m0);
    const REAL *src = job->w + (g * p->c_out + m0) * k_all;
    REAL *dst = job->packed + (g * vectors * LANES + m0) * k_all;
    for (int64_t d = 0; d < p->d.k; d++)
        for (int64_t c0 = 0; c0 < p->c_in; c0 += LANES)
            for (int64_t tap = 0; tap < taps; tap++) {
                const int64_t n_c = pc_min(LANES, p->c_in - c0);
                const REAL *from = src + (c0 * p->d.k + d) * taps + tap;
                for (int64_t i = 0; i < lanes; i += LANES)
                    NAME(pack_chunk)(dst + i, lanes, from + i * k_all, k_all, p->d.k * taps, n_c, rows - i);
                dst += n_c * lanes;
            }
}

/* [group][panel][depth tap][chunk][kh][kw][channel of the chunk][lane]; lanes beyond c_out hold zeros. Behind all of them
 * the mark of finite weights. */
static int64_t NAME(conv_implicit_gemm_pack)(const pc_conv *p, const void *w, void *packed) {
    const int64_t k_all = p->c_in * p->d.k * p->h.k * p->w.k, vectors = pc_ceil_div(p->c_out, LANES);
    const int64_t elems = p->groups * vectors * LANES * k_all;
    if (packed) {
        NAME(implicit_weights) job = {p, pc_panels_of(vectors, PC_VECTORS), w, packed};
        pc_parallel(NAME(implicit_pack_panel), &job, p->groups * job.panels.n, (int)p->threads);
        NAME(mark_finite)(w, p->groups * p->c_out * k_all, (REAL *)packed + elems, p->threads);
    }
    return elems + LANES;
}
#endif
