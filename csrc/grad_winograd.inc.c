/* grad_winograd_f<m>x3: the gradient of the weights of 3 x 3 kernels with stride 1, by minimal filtering.
 *
 *   dW = G^T [ sum over tiles of (B^T x B) * (A dY A^T) ] G
 *
 * with the matrices of the forward F(m, 3), whose bilinear form this is, read for another of its three arguments (Lavin
 * and Gray 2016, section 4; kernels/winograd_matrices.py): a tile of m x m pixels of dY and of alpha x alpha of x costs
 * alpha^2 multiplications for each pair of channels instead of 9 m^2.
 *
 * A task is a block of input channels x output channels, and a part of the strips of tiles:
 *   x strip   -> B^T x B   -> v[xi][tile][channel]
 *   dY strip  -> A dY A^T  -> z[xi][vector][tile][lane]
 *   product   m[xi][vector][channel][lane] += v z for each of the alpha^2 points: the register tile of grad_direct, tiles
 *             in the place of pixels
 * and, when the strips are done, G^T m G -> the block's sums, which go the way of grad_direct's. A depth tap is one more
 * input channel. Both transforms are done again for each block of the other side; a square block makes that least.
 *
 * flops: 2 alpha^2 / m^2 c_in c_out a pixel, and the transforms. Error: kernels/winograd_matrices.py,
 * gradient_error_factor. What comes out not finite is summed again directly (grad_mend). */

#if !PC_WIDENED

/* o = A y: alpha points of m pixels. */
INLINE void NAME(winograd_a)(const int alpha, const int m, const VEC *y, VEC *o) {
    o[0] = y[0];
    o[alpha - 1] = y[m - 1];
#pragma GCC unroll 4
    for (int q = 1; q < alpha - 1; q += 2) {
        VEC even = y[0], odd = {0};
#pragma GCC unroll 4
        for (int i = 1; i < m; i++) {
            const REAL c = (REAL)pc_winograd_powers[alpha / 2 - 2][q][i];
            if (i % 2)
                odd += y[i] * c;
            else
                even += y[i] * c;
        }
        o[q] = even + odd;
        o[q + 1] = even - odd;
    }
}

/* o = G^T x: 3 taps of alpha points. */
INLINE void NAME(winograd_gt)(const int alpha, const VEC *x, VEC *o) {
    VEC scaled[8];
#pragma GCC unroll 8
    for (int q = 0; q < alpha; q++)
        scaled[q] = q == alpha - 1 ? x[q] : x[q] * (REAL)pc_winograd_scales[alpha / 2 - 2][0][q];
    NAME(winograd_at)(alpha, 3, scaled, o);
}

/* rows x cols tiles of one image: local[row][col][lane] -> v[xi][tile], `step` elements from tile to tile. */
INLINE void NAME(grad_input)(const int alpha, int64_t rows, int64_t cols, REAL *local, REAL *v, int64_t ld_xi,
                             int64_t step) {
    const int m = alpha - 2;
    const int64_t width = cols * m + 2;
    REAL *const turned = local + (rows * m + 2) * width * LANES;
    for (int64_t r = 0; r < rows; r++) {
        const REAL *row = local + r * m * width * LANES;
        for (int64_t c = 0; c < width; c++) {
            VEC in[8], o[8];
#pragma GCC unroll 8
            for (int i = 0; i < alpha; i++)
                in[i] = *(const VEC *)(row + (i * width + c) * LANES);
            NAME(winograd_bt)(alpha, in, o);
#pragma GCC unroll 8
            for (int i = 0; i < alpha; i++)
                *(VEC *)(turned + (i * width + c) * LANES) = o[i];
        }
        for (int64_t c = 0; c < cols; c++, v += step)
            for (int i = 0; i < alpha; i++) {
                const REAL *from = turned + (i * width + c * m) * LANES;
                VEC in[8], o[8];
#pragma GCC unroll 8
                for (int j = 0; j < alpha; j++)
                    in[j] = *(const VEC *)(from + j * LANES);
                NAME(winograd_bt)(alpha, in, o);
#pragma GCC unroll 8
                for (int j = 0; j < alpha; j++)
                    *(VEC *)(v + (i * alpha + j) * ld_xi) = o[j];
            }
    }
}

/* The same for dY: local[row][col][lane] -> z[xi][tile][lane]. */
INLINE void NAME(grad_output)(const int alpha, int64_t rows, int64_t cols, REAL *local, REAL *z, int64_t ld_xi) {
    const int m = alpha - 2;
    const int64_t width = cols * m;
    REAL *const turned = local + rows * m * width * LANES;
    for (int64_t r = 0; r < rows; r++) {
        const REAL *row = local + r * m * width * LANES;
        for (int64_t c = 0; c < width; c++) {
            VEC in[4], o[8];
#pragma GCC unroll 4
            for (int i = 0; i < m; i++)
                in[i] = *(const VEC *)(row + (i * width + c) * LANES);
            NAME(winograd_a)(alpha, m, in, o);
#pragma GCC unroll 8
            for (int i = 0; i < alpha; i++)
                *(VEC *)(turned + (i * width + c) * LANES) = o[i];
        }
        for (int64_t c = 0; c < cols; c++, z += LANES)
            for (int i = 0; i < alpha; i++) {
                const REAL *from = turned + (i * width + c * m) * LANES;
                VEC in[4], o[8];
#pragma GCC unroll 4
                for (int j = 0; j < m; j++)
                    in[j] = *(const VEC *)(from + j * LANES);
                NAME(winograd_a)(alpha, m, in, o);
#pragma GCC unroll 8
                for (int j = 0; j < alpha; j++)
                    *(VEC *)(z + (i * alpha + j) * ld_xi) = o[j];
            }
    }
}

/* m[xi][row][lane] -> c[row][tap][lane] */
INLINE void NAME(grad_taps)(const int alpha, int64_t rows, const REAL *m, int64_t ld_m, REAL *c) {
    for (int64_t r = 0; r < rows; r++, m += LANES, c += 9 * LANES) {
        VEC half[8][3];
        for (int j = 0; j < alpha; j++) {
            VEC in[8], o[3];
#pragma GCC unroll 8
            for (int i = 0; i < alpha; i++)
                in[i] = *(const VEC *)(m + (i * alpha + j) * ld_m);
            NAME(winograd_gt)(alpha, in, o);
#pragma GCC unroll 3
            for (int i = 0; i < 3; i++)
                half[j][i] = o[i];
        }
        for (int i = 0; i < 3; i++) {
            VEC in[8], o[3];
#pragma GCC unroll 8
            for (int j = 0; j < alpha; j++)
                in[j] = half[j][i];
            NAME(winograd_gt)(alpha, in, o);
#pragma GCC unroll 3
            for (int j = 0; j < 3; j++)
                *(VEC *)(c + (i * 3 + j) * LANES) = o[j];
        }
    }
}

typedef struct NAME(grad_transforms) {
    void (*input)(int64_t rows, int64_t cols, REAL *local, REAL *v, int64_t ld_xi, int64_t step);
    void (*output)(int64_t rows, int64_t cols, REAL *local, REAL *z, int64_t ld_xi);
    void (*taps)(int64_t rows, const REAL *m, int64_t ld_m, REAL *c);
    int64_t alpha;
} NAME(grad_transforms);

#define PC_GRAD_TRANSFORMS(alpha)                                                                                      \
    static __attribute__((noinline)) void NAME(grad_input_##alpha)(int64_t rows, int64_t cols, REAL *local, REAL *v,   \
                                                                   int64_t ld_xi, int64_t step) {                      \
        NAME(grad_input)(alpha, rows, cols, local, v, ld_xi, step);                                                    \
    }                                                                                                                  \
    static __attribute__((noinline)) void NAME(grad_output_##alpha)(int64_t rows, int64_t cols, REAL *local, REAL *z,  \
                                                                    int64_t ld_xi) {                                   \
        NAME(grad_output)(alpha, rows, cols, local, z, ld_xi);                                                         \
    }                                                                                                                  \
    static __attribute__((noinline)) void NAME(grad_taps_##alpha)(int64_t rows, const REAL *m, int64_t ld_m,           \
                                                                  REAL *c) {                                           \
        NAME(grad_taps)(alpha, rows, m, ld_m, c);                                                                      \
    }                                                                                                                  \
    static const NAME(grad_transforms) NAME(grad_transforms_##alpha) = {                                               \
        NAME(grad_input_##alpha), NAME(grad_output_##alpha), NAME(grad_taps_##alpha), alpha};
PC_GRAD_TRANSFORMS(4) PC_GRAD_TRANSFORMS(6)
#undef PC_GRAD_TRANSFORMS

#endif

typedef struct STORED(grad_winograd_job) {
    STORED(grad_job) common;
    const NAME(grad_transforms) * transforms;
} STORED(grad_winograd_job);

/* Loads and transforms a strip of both sides. */
static void STORED(grad_winograd_strip)(const STORED(grad_winograd_job) *job, const pc_grad_block *b,
                                        const pc_grad_strip *s, REAL *v, REAL *z, REAL *local) {
    const STORED(grad_job) *common = &job->common;
    const pc_grad *g = common->g;
    const pc_conv *p = &g->conv;
    const pc_grad_cut *k = &g->cut;
    const int64_t alpha = job->transforms->alpha, m = alpha - 2, tiles = s->rows * s->cols;
    const int64_t chunks = pc_ceil_div(b->n_c, LANES), strip = k->images * k->h_tile * k->w_tile;
    const int64_t step = chunks * p->d.k * LANES;
    const pc_window in = {s->h * m - p->h.pad, s->w * m - p->w.pad, s->rows * m + 2, s->cols * m + 2, 1};
    const pc_window out = {s->h * m, s->w * m, s->rows * m, s->cols * m, 1};
    for (int64_t i = 0; i < s->images; i++) {
        const STORAGE *x = common->x + (s->n + i) * p->ld_x.n + (b->g * p->c_in + b->c0) * p->ld_x.c;
        for (int64_t tap = 0; tap < p->d.k; tap++) {
            const int64_t d = pc_map_index(s->d * p->d.stride - p->d.pad + tap * p->d.dilation, p->d.in, p->padding_mode);
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                REAL *to = v + i * tiles * step + (tap * chunks + chunk) * LANES;
                if (d < 0)
                    NAME(clear_over)(local, in.rows * in.cols * LANES);
                else
                    STORED(load_channels)(p, x + d * p->ld_x.d + chunk * LANES * p->ld_x.c,
                                          pc_min(LANES, b->n_c - chunk * LANES), in, local);
                job->transforms->input(s->rows, s->cols, local, to, k->ld_x, step);
            }
        }
        for (int64_t j = 0; j < b->n_m; j++) {
            const int64_t o = (b->m0 + j) * LANES;
            STORED(load_channels)(&common->conv_y,
                                  common->y + (s->n + i) * p->ld_out.n + (b->g * p->c_out + o) * p->ld_out.c +
                                      s->d * p->ld_out.d,
                                  pc_min(LANES, p->c_out - o), out, local);
            job->transforms->output(s->rows, s->cols, local, z + (j * strip + i * tiles) * LANES, k->ld_y);
        }
    }
}

static void STORED(grad_winograd_task)(void *ctx, int64_t task, int worker) {
    const STORED(grad_winograd_job) *job = ctx;
    const STORED(grad_job) *common = &job->common;
    const pc_grad *g = common->g;
    const pc_conv *p = &g->conv;
    const pc_grad_cut *k = &g->cut;
    const int64_t n_xi = job->transforms->alpha * job->transforms->alpha;
    const int64_t block = task % k->n_blocks, part = task / k->n_blocks;
    const pc_grad_block b = pc_grad_block_of(g, LANES, block);
    const int64_t chunks = pc_ceil_div(b.n_c, LANES), rows = b.n_c * p->d.k, strip = k->images * k->h_tile * k->w_tile;
    REAL *const m = STORED(grad_local)(common, worker), *const v = m + n_xi * k->ld_m, *const z = v + n_xi * k->ld_x;
    REAL *const local = v + k->y_elems;
    int64_t *const off = (int64_t *)(local + k->tile_elems);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t c = r / p->d.k, tap = r % p->d.k;
        off[r] = (tap * chunks + c / LANES) * LANES + c % LANES;
    }
    const int64_t first = part * k->n_strips / k->parts, last = (part + 1) * k->n_strips / k->parts;
    for (int64_t i = first; i < last; i++) {
        const pc_grad_strip s = pc_grad_strip_of(g, i);
        STORED(grad_winograd_strip)(job, &b, &s, v, z, local);
        for (int64_t xi = 0; xi < n_xi; xi++)
            NAME(grad_product)((NAME(grad_tile_args)){1, 1, s.images * s.rows * s.cols, v + xi * k->ld_x, off, 0, 0,
                                                      chunks * p->d.k * LANES, z + xi * k->ld_y, strip * LANES,
                                                      m + xi * k->ld_m, rows * LANES, i > first}, b.n_m, rows);
    }
    REAL *const c = STORED(grad_sums)(common, part, block, v);
    for (int64_t j = 0; j < b.n_m; j++)
        job->transforms->taps(rows, m + j * rows * LANES, k->ld_m, c + j * rows * 9 * LANES);
    if (k->parts > 1)
        return;
    for (int64_t j = 0; j < b.n_m; j++)
        STORED(grad_finish)(common, &b, j, c + j * rows * 9 * LANES);
}

static void STORED(grad_winograd_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads,
                                      const NAME(grad_transforms) *transforms) {
    STORED(grad_winograd_job) job = {STORED(grad_job_of)(g, arrays), transforms};
    job.common.mend = 1;
    pc_parallel(STORED(grad_winograd_task), &job, g->n_tasks, threads);
    if (g->cut.parts > 1)
        pc_parallel(STORED(grad_gather), &job.common, g->cut.n_blocks * g->cut.m_block, threads);
}

#define PC_GRAD_VARIANT(m, alpha)                                                                                      \
    static void STORED(grad_winograd_f##m##x3_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads) {      \
        pc_set_last_kernel(PC_STRING(PC_PASTE(grad_winograd_f##m##x3, DTYPE, PC_ISA)));                                \
        STORED(grad_winograd_run)(g, arrays, threads, &NAME(grad_transforms_##alpha));                                 \
    }
PC_GRAD_VARIANT(2, 4) PC_GRAD_VARIANT(4, 6)
#undef PC_GRAD_VARIANT
