/* conv_winograd_f<m>x<r>: stride 1, kernels of r taps along h, w or both, by minimal filtering:
 *
 *   y = A^T [ sum over c of (G w[c] G^T) * (B^T x[c] B) ] A + bias + residual        (Lavin and Gray 2016, section 4)
 *
 * An output tile of m x m costs alpha x alpha multiplications a channel instead of m m r r, alpha = m + r - 1. The
 * matrices come from kernels/winograd_matrices.py; along an axis whose kernel has one tap nothing is transformed.
 *
 * Channels are in the lanes from the first transform to the last, tiles are rows, so no tile count is ragged:
 *   input    LANES channels of some rows of tiles -> B^T x B -> v[xi][tile][channel]
 *   product  c[tile][c_out] = v[xi] u[xi], for each of the alpha^2 points xi: register tiles of gemm.inc.c's size
 *   output   m[xi][tile][c_out] -> A^T m A + bias -> pixels of LANES channels -> the output (channels.inc.c)
 * A depth tap of a 3-D kernel is one more input channel; with a dilation of s, every s-th row and column is an image of
 * its own. A block of tiles goes through the three stages on one worker,
 * without a barrier; where there are fewer blocks than threads each stage of a block is shared by all of them.
 * u[group][xi][panel][channel][lane] is transformed in float64 and rounded once.
 *
 * flops: 2 alpha^2 c_in c_out for each tile, and the transforms; moved: v and m twice, within L2 or L3, and u once for
 * each block. The order of every sum is a function of the problem.
 *
 * Error: kernels/winograd_matrices.py, error_factor. Where x, w or an intermediate is not finite whole tiles would
 * become NaN; those outputs are summed again directly, so NaN and Inf are where direct summation puts them. (No such
 * output is missed: for each tap and output some point q has A^T[i][q] G[q][j] B^T[q][i + j] != 0.) */

#if !PC_WIDENED

/* What knows the type of the arrays; an int64_t `at` counts elements of x from its start. */
typedef struct NAME(winograd_io) {
    void (*expect)(const pc_conv *p, const pc_arrays *arrays, int64_t at, int64_t n_lanes, pc_window box);
    void (*expect_out)(const pc_conv *p, const pc_arrays *arrays, int64_t n_lanes, pc_window box, pc_place at);
    void (*load)(const pc_conv *p, const pc_arrays *arrays, int64_t at, int64_t n_lanes, pc_window box, REAL *tile);
    NAME(getter) get;
    void (*store)(const pc_conv *p, const pc_arrays *arrays, REAL *y, int64_t n_lanes, int64_t ld_m, pc_window box,
                  pc_place at);
} NAME(winograd_io);

typedef struct NAME(winograd_job) {
    const pc_conv *p;
    const pc_arrays *arrays;
    NAME(winograd_io) io;
    pc_winograd s;
    int64_t block; /* where a stage is shared: the block in hand */
} NAME(winograd_job);

/* The tiles of one block: all of `slices` slices, or a rectangle of one; n_cols counts one phase of the columns. */
typedef struct NAME(winograd_block) {
    int64_t g, slice, n_slices, row, n_rows, col, n_cols, n_tiles;
    REAL *v, *m;
} NAME(winograd_block);

static NAME(winograd_block) NAME(winograd_block_of)(const NAME(winograd_job) *job, int64_t task, int worker) {
    const pc_blocking *b = &job->p->blk;
    const pc_winograd *s = &job->s;
    NAME(winograd_block) k;
    k.col = task % b->n_w_tiles * b->w_tile;
    task /= b->n_w_tiles;
    k.row = task % b->n_h_tiles * b->h_tile;
    task /= b->n_h_tiles;
    const int64_t groups_of_slices = pc_ceil_div(s->slices, b->slices);
    k.slice = task % groups_of_slices * b->slices;
    k.g = task / groups_of_slices;
    k.n_slices = pc_min(b->slices, s->slices - k.slice);
    k.n_rows = pc_min(b->h_tile, s->h_tiles - k.row);
    k.n_cols = pc_min(b->w_tile, s->w_tiles - k.col);
    k.n_tiles = k.n_slices * k.n_rows * k.n_cols * s->step_w;
    k.v = (REAL *)(job->arrays->scratch + worker * job->p->scratch_bytes);
    k.m = k.v + b->panel_elems;
    return k;
}

INLINE REAL *NAME(winograd_local)(const NAME(winograd_job) *job, int worker) {
    const pc_blocking *b = &job->p->blk;
    return (REAL *)(job->arrays->scratch + worker * job->p->scratch_bytes) + b->panel_elems + b->part_elems;
}

/* o = B^T x. The rows of a pair +p, -p are even half +- odd half. */
INLINE void NAME(winograd_bt)(const int alpha, const VEC *x, VEC *o) {
    if (alpha == 1) {
        o[0] = x[0];
        return;
    }
#pragma GCC unroll 8
    for (int q = 0; q < alpha; q++) {
        if (q % 2 == 0 && q > 0)
            continue;
        VEC half[2] = {{0}, {0}};
        int empty[2] = {1, 1};
#pragma GCC unroll 8
        for (int j = alpha - 1; j >= 0; j--) {
            const REAL c = (REAL)pc_winograd_bt[alpha / 2 - 2][q][j];
            if (c == 0)
                continue;
            const VEC term = c == 1 ? x[j] : c == -1 ? -x[j] : x[j] * c;
            half[j % 2] = empty[j % 2] ? term : c == 1 ? half[j % 2] + x[j] : half[j % 2] + x[j] * c;
            empty[j % 2] = 0;
        }
        if (q == 0) {
            o[0] = half[0];
        } else if (q == alpha - 1) {
            o[q] = half[1];
        } else {
            o[q] = half[0] + half[1];
            o[q + 1] = half[0] - half[1];
        }
    }
}

/* o = A^T x, m outputs. */
INLINE void NAME(winograd_at)(const int alpha, const int m, const VEC *x, VEC *o) {
    if (alpha == 1) {
        o[0] = x[0];
        return;
    }
    VEC sum[3], difference[3];
#pragma GCC unroll 3
    for (int q = 0; q < alpha / 2 - 1; q++) {
        sum[q] = x[2 * q + 1] + x[2 * q + 2];
        difference[q] = x[2 * q + 1] - x[2 * q + 2];
    }
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) {
        VEC y = i == 0 ? x[0] : (VEC){0};
        if (i == m - 1)
            y = i == 0 ? y + x[alpha - 1] : x[alpha - 1];
#pragma GCC unroll 3
        for (int q = 0; q < alpha / 2 - 1; q++) {
            const VEC half = i % 2 ? difference[q] : sum[q];
            const REAL c = (REAL)pc_winograd_powers[alpha / 2 - 2][2 * q + 1][i];
            const int first = q == 0 && i != 0 && i != m - 1;
            y = first ? (c == 1 ? half : half * c) : c == 1 ? y + half : y + half * c;
        }
        o[i] = y;
    }
}

#endif
#if !PC_WIDENED && !PC_TRANSFORMS_ONLY

/* ---- input ---- */

/* One item: one slice, some rows of tiles, one depth tap, LANES channels. */
INLINE void NAME(winograd_input)(const int ah, const int aw, const NAME(winograd_job) *job,
                                 const NAME(winograd_block) *k, int64_t item, REAL *local) {
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const pc_winograd *s = &job->s;
    const int64_t chunks = pc_ceil_div(p->c_in, LANES), strips = pc_ceil_div(k->n_rows, b->rows);
    const int64_t chunk = item % chunks, tap = item / chunks % p->d.k;
    const int64_t strip = item / chunks / p->d.k % strips, slice = item / chunks / p->d.k / strips;
    const int64_t first_row = strip * b->rows, n_rows = pc_min(b->rows, k->n_rows - first_row);
    const int64_t phase = (k->slice + slice) % s->step_h, plane = (k->slice + slice) / s->step_h;
    const int64_t n = plane / p->d.out, d_out = plane % p->d.out, n_tiles = n_rows * k->n_cols * s->step_w;
    const int64_t ld_t = s->c_lanes, ld_xi = b->ld_v;
    REAL *v = k->v + (slice * k->n_rows + first_row) * k->n_cols * s->step_w * ld_t + (tap * chunks + chunk) * LANES;

    const int64_t d = pc_map_index(d_out * p->d.stride - p->d.pad + tap * p->d.dilation, p->d.in, p->padding_mode);
    if (d < 0) {
        for (int64_t xi = 0; xi < ah * aw; xi++)
            for (int64_t t = 0; t < n_tiles; t++)
                *(VEC *)(v + xi * ld_xi + t * ld_t) = (VEC){0};
        return;
    }
    const pc_window box = {(k->row + first_row) * s->m_h * s->step_h + phase - p->h.pad,
                           k->col * s->m_w * s->step_w - p->w.pad, (n_rows - 1) * s->m_h + ah,
                           ((k->n_cols - 1) * s->m_w + aw) * s->step_w, s->step_h};
    const int64_t at = n * p->ld_x.n + d * p->ld_x.d + (k->g * p->c_in + chunk * LANES) * p->ld_x.c;
    if (chunk + 1 < chunks)
        job->io.expect(p, job->arrays, at + LANES * p->ld_x.c, pc_min(LANES, p->c_in - (chunk + 1) * LANES), box);
    job->io.load(p, job->arrays, at, pc_min(LANES, p->c_in - chunk * LANES), box, local);
    REAL *const turned = local + box.rows * box.cols * LANES;
    for (int64_t r = 0; r < n_rows; r++) {
        const REAL *row = local + r * s->m_h * box.cols * LANES;
        if (ah > 1) {
            for (int64_t c = 0; c < box.cols; c++) {
                VEC in[8], o[8];
#pragma GCC unroll 8
                for (int i = 0; i < ah; i++)
                    in[i] = *(const VEC *)(row + (i * box.cols + c) * LANES);
                NAME(winograd_bt)(ah, in, o);
#pragma GCC unroll 8
                for (int i = 0; i < ah; i++)
                    *(VEC *)(turned + (i * box.cols + c) * LANES) = o[i];
            }
            row = turned;
        }
        const int64_t step = s->step_w * LANES;
        for (int64_t c = 0; c < k->n_cols * s->step_w; c++, v += ld_t)
            for (int i = 0; i < ah; i++) {
                const REAL *from = row + (i * box.cols + c) * LANES + c / s->step_w * (s->m_w - 1) * step;
                VEC in[8], o[8];
#pragma GCC unroll 8
                for (int j = 0; j < aw; j++)
                    in[j] = *(const VEC *)(from + j * step);
                NAME(winograd_bt)(aw, in, o);
#pragma GCC unroll 8
                for (int j = 0; j < aw; j++)
                    *(VEC *)(v + (i * aw + j) * ld_xi) = o[j];
            }
    }
}

/* ---- product ---- */

/* c[i][j] = sum over k of a[i * ld_a + k] * b[k][j], i < rows, j < vectors * LANES, in chains of at most PC_CHAIN
 * products that are then added up: the error of a sum of n grows with sqrt(n), that of this one with the square root
 * of PC_CHAIN + n / PC_CHAIN (Higham 2002, section 4.2). */
#ifndef PC_CHAIN
#define PC_CHAIN 40
#endif
typedef struct NAME(rows_args) {
    int64_t n_k, ld_a, ld_c;
    const REAL *a, *b;
    REAL *c;
} NAME(rows_args);

INLINE void NAME(rows_body)(const int rows, const int vectors, const NAME(rows_args) *t) {
    const REAL *a = t->a, *b = t->b;
    const int64_t ld_a = t->ld_a, blocks = pc_max(1, pc_ceil_div(t->n_k, PC_CHAIN));
    VEC total[14][3];
    for (int64_t block = 0; block < blocks; block++) {
        VEC acc[14][3];
#pragma GCC unroll 14
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                acc[i][j] = (VEC){0};
        const int64_t n_k = (block + 1) * t->n_k / blocks - block * t->n_k / blocks;
        for (const REAL *end = b + n_k * vectors * LANES; b != end; b += vectors * LANES, a++) {
            VEC v[3];
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                v[j] = NAME(load)(b + j * LANES);
#pragma GCC unroll 14
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    acc[i][j] += v[j] * a[i * ld_a];
        }
        if (block + 1 == blocks) {
#pragma GCC unroll 14
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    *(VEC *)(t->c + i * t->ld_c + j * LANES) = block ? total[i][j] + acc[i][j] : acc[i][j];
        } else {
#pragma GCC unroll 14
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    total[i][j] = block ? total[i][j] + acc[i][j] : acc[i][j];
        }
    }
}

/* Rows of a register tile of so many vectors: the fewer vectors, the more rows it takes to keep the FMAs busy. */
#define PC_PRODUCT_ROWS(vectors) ((vectors) < PC_VECTORS ? PC_TALL_ROWS : PC_ROWS)

typedef void (*NAME(rows_function))(const NAME(rows_args) *);
#define PC_ROWS_TILE(rows, vectors)                                                                                    \
    static __attribute__((noinline)) void NAME(PC_CONCAT(rows_##rows##x, vectors))(const NAME(rows_args) * t) {        \
        if (vectors <= PC_VECTORS && rows <= PC_PRODUCT_ROWS(vectors))                                                 \
            NAME(rows_body)(rows, vectors, t);                                                                         \
    }
#define PC_ROWS_TILES(rows) PC_ROWS_TILE(rows, 1) PC_ROWS_TILE(rows, 2) PC_ROWS_TILE(rows, 3)
PC_ROWS_TILES(1) PC_ROWS_TILES(2) PC_ROWS_TILES(3) PC_ROWS_TILES(4) PC_ROWS_TILES(5) PC_ROWS_TILES(6) PC_ROWS_TILES(7)
PC_ROWS_TILES(8) PC_ROWS_TILES(9) PC_ROWS_TILES(10) PC_ROWS_TILES(11) PC_ROWS_TILES(12) PC_ROWS_TILES(13)
PC_ROWS_TILES(14)
#define PC_ROWS_NAMES(rows) {NAME(rows_##rows##x1), NAME(rows_##rows##x2), NAME(rows_##rows##x3)}
static const NAME(rows_function) NAME(rows)[14][3] = {
    PC_ROWS_NAMES(1), PC_ROWS_NAMES(2),  PC_ROWS_NAMES(3),  PC_ROWS_NAMES(4),  PC_ROWS_NAMES(5),
    PC_ROWS_NAMES(6), PC_ROWS_NAMES(7),  PC_ROWS_NAMES(8),  PC_ROWS_NAMES(9),  PC_ROWS_NAMES(10),
    PC_ROWS_NAMES(11), PC_ROWS_NAMES(12), PC_ROWS_NAMES(13), PC_ROWS_NAMES(14),
};
#undef PC_ROWS_TILE
#undef PC_ROWS_TILES
#undef PC_ROWS_NAMES

/* One item: one point xi, one panel of output channels, every tile of the block. The panel of u is read once from
 * where it lies and stays in L1 or L2; PC_ROWS rows of v are in L1. */
static void NAME(winograd_product)(const NAME(winograd_job) *job, const NAME(winograd_block) *k, int64_t item) {
    const pc_blocking *b = &job->p->blk;
    const pc_winograd *s = &job->s;
    const pc_panels panels = pc_panels_of(s->m_lanes / LANES, PC_VECTORS);
    const int64_t xi = item / panels.n, q = item % panels.n, m = pc_panel_start(panels, q) * LANES;
    const int64_t vectors = pc_panel_rows(panels, q);
    const pc_panels runs = pc_panels_of(k->n_tiles, PC_PRODUCT_ROWS(vectors));
    const REAL *u = (const REAL *)job->arrays->packed + ((k->g * s->n_xi + xi) * s->m_lanes + m) * s->n_k;
    NAME(rows_args) t = {.n_k = s->n_k, .ld_a = s->c_lanes, .ld_c = s->m_lanes, .b = u};
    for (int64_t r = 0; r < runs.n; r++) {
        const int64_t tile = pc_panel_start(runs, r);
        t.a = k->v + xi * b->ld_v + tile * s->c_lanes;
        t.c = k->m + xi * b->ld_m + tile * s->m_lanes + m;
        NAME(rows)[pc_panel_rows(runs, r) - 1][vectors - 1](&t);
    }
}

/* ---- output ---- */

static __attribute__((noinline)) void NAME(winograd_mend)(const NAME(winograd_job) *job, int64_t g, int64_t slice,
                                                          int64_t m, int64_t n_lanes, pc_window box, REAL *y) {
    const pc_conv *p = job->p;
    const pc_winograd *s = &job->s;
    const int64_t n = slice / s->step_h / p->d.out, d = slice / s->step_h % p->d.out;
    /* as they came, behind u */
    const REAL *weights = (const REAL *)job->arrays->packed + p->groups * s->n_xi * s->m_lanes * s->n_k;
    for (int64_t r = 0; r < box.rows; r++)
        for (int64_t c = 0; c < box.cols; c++, y += LANES)
            for (int64_t i = 0; i < n_lanes; i++)
                if (y[i] - y[i] != 0)
                    y[i] = NAME(sum_again)(p, job->arrays, job->io.get, weights, g, m + i, n, d,
                                           box.h + r * box.step, box.w + c);
}

/* One item: one slice, some rows of tiles, LANES output channels. */
INLINE void NAME(winograd_output)(const int ah, const int mh, const int aw, const int mw,
                                  const NAME(winograd_job) *job, const NAME(winograd_block) *k, int64_t item,
                                  REAL *y) {
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const pc_winograd *s = &job->s;
    const int64_t chunks = s->m_lanes / LANES, strips = pc_ceil_div(k->n_rows, b->rows);
    const int64_t chunk = item % chunks, strip = item / chunks % strips, slice = item / chunks / strips;
    const int64_t first_row = strip * b->rows, n_rows = pc_min(b->rows, k->n_rows - first_row);
    const int64_t phase = (k->slice + slice) % s->step_h, plane = (k->slice + slice) / s->step_h;
    const int64_t n = plane / p->d.out, d_out = plane % p->d.out;
    const int64_t m0 = chunk * LANES, n_lanes = pc_min(LANES, p->c_out - m0), m_all = k->g * p->c_out + m0;
    const int64_t ld_t = s->m_lanes, ld_xi = b->ld_m;
    const REAL *from = k->m + (slice * k->n_rows + first_row) * k->n_cols * s->step_w * ld_t + m0;
    pc_window box = {(k->row + first_row) * mh * s->step_h + phase, k->col * mw * s->step_w, 0, 0, s->step_h};
    box.rows = pc_min(n_rows * mh, pc_ceil_div(p->h.out - box.h, s->step_h));
    box.cols = pc_min(k->n_cols * mw * s->step_w, p->w.out - box.w);
    if (box.rows <= 0) /* a phase with fewer rows than the others */
        return;

    const pc_place at = {n, m_all, d_out, 0, 0};
    job->io.expect_out(p, job->arrays, n_lanes, box, at);
    VEC bias = {0};
    if (job->arrays->bias)
        for (int64_t i = 0; i < n_lanes; i++)
            bias[i] = ((const REAL *)job->arrays->bias)[m_all + i];
    VEC finite = {0}; /* stays zero until something is not */
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t c = 0; c < k->n_cols * s->step_w; c++, from += ld_t) {
            VEC half[8][6];
            /* the prologue of a column of points is the same for each: one copy of the code */
            for (int j = 0; j < aw; j++) {
                VEC in[8], o[8];
#pragma GCC unroll 8
                for (int i = 0; i < ah; i++)
                    in[i] = *(const VEC *)(from + (i * aw + j) * ld_xi);
                NAME(winograd_at)(ah, mh, in, o);
#pragma GCC unroll 6
                for (int i = 0; i < mh; i++)
                    half[j][i] = o[i];
            }
            const int64_t col = c + c / s->step_w * (mw - 1) * s->step_w, step = s->step_w * LANES;
            const int64_t rows = pc_min(mh, box.rows - r * mh);
            const int64_t cols = pc_min(mw, pc_ceil_div(box.cols - col, s->step_w));
            REAL *to = y + (r * mh * box.cols + col) * LANES;
            for (int i = 0; i < rows; i++, to += box.cols * LANES) {
                VEC in[8], o[8];
#pragma GCC unroll 8
                for (int j = 0; j < aw; j++)
                    in[j] = half[j][i];
                NAME(winograd_at)(aw, mw, in, o);
                if (cols == mw) {
#pragma GCC unroll 6
                    for (int j = 0; j < mw; j++) {
                        o[j] += bias;
                        finite += o[j] - o[j];
                        *(VEC *)(to + j * step) = o[j];
                    }
                } else {
                    for (int j = 0; j < cols; j++) {
                        o[j] += bias;
                        finite += o[j] - o[j];
                        *(VEC *)(to + j * step) = o[j];
                    }
                }
            }
        }
    for (int i = 0; i < LANES; i++)
        if (finite[i] != 0) {
            NAME(winograd_mend)(job, k->g, k->slice + slice, m0, n_lanes, box, y);
            break;
        }
    job->io.store(p, job->arrays, y, n_lanes, 1, box, at);
}

/* ---- the three stages of one variant ---- */

typedef void (*NAME(winograd_stage))(const NAME(winograd_job) *, const NAME(winograd_block) *, int64_t item,
                                     REAL *local);

/* [alpha_h > 1][alpha_w > 1] */
#define PC_WINOGRAD_INPUT(alpha)                                                                                       \
    static void NAME(winograd_input_w_##alpha)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,         \
                                               int64_t item, REAL *local) {                                            \
        NAME(winograd_input)(1, alpha, job, k, item, local);                                                           \
    }                                                                                                                  \
    static void NAME(winograd_input_h_##alpha)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,         \
                                               int64_t item, REAL *local) {                                            \
        NAME(winograd_input)(alpha, 1, job, k, item, local);                                                           \
    }                                                                                                                  \
    static void NAME(winograd_input_hw_##alpha)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,        \
                                                int64_t item, REAL *local) {                                           \
        NAME(winograd_input)(alpha, alpha, job, k, item, local);                                                       \
    }                                                                                                                  \
    static const NAME(winograd_stage) NAME(winograd_inputs_##alpha)[2][2] = {                                          \
        {NULL, NAME(winograd_input_w_##alpha)}, {NAME(winograd_input_h_##alpha), NAME(winograd_input_hw_##alpha)}};
PC_WINOGRAD_INPUT(4) PC_WINOGRAD_INPUT(6) PC_WINOGRAD_INPUT(8)
#undef PC_WINOGRAD_INPUT

static int64_t NAME(winograd_n_input)(const NAME(winograd_job) *job, const NAME(winograd_block) *k) {
    const pc_conv *p = job->p;
    return k->n_slices * pc_ceil_div(k->n_rows, p->blk.rows) * p->d.k * pc_ceil_div(p->c_in, LANES);
}
static int64_t NAME(winograd_n_product)(const NAME(winograd_job) *job) {
    return job->s.n_xi * pc_panels_of(job->s.m_lanes / LANES, PC_VECTORS).n;
}
static int64_t NAME(winograd_n_output)(const NAME(winograd_job) *job, const NAME(winograd_block) *k) {
    return k->n_slices * pc_ceil_div(k->n_rows, job->p->blk.rows) * (job->s.m_lanes / LANES);
}

static void NAME(winograd_product_task)(void *ctx, int64_t item, int worker) {
    (void)worker;
    const NAME(winograd_job) *job = ctx;
    const NAME(winograd_block) k = NAME(winograd_block_of)(job, job->block, 0);
    NAME(winograd_product)(job, &k, item);
}

/* Blocks in parallel where they keep every thread busy, else the stages of one block after the other. */
static void NAME(winograd_blocks)(NAME(winograd_job) *job, int threads, pc_task whole, pc_task input, pc_task output) {
    const int64_t n_blocks = pc_winograd_blocks(job->p, &job->s, &job->p->blk);
    if (pc_winograd_whole_blocks(n_blocks, threads)) {
        pc_parallel(whole, job, n_blocks, threads);
        return;
    }
    for (job->block = 0; job->block < n_blocks; job->block++) {
        const NAME(winograd_block) k = NAME(winograd_block_of)(job, job->block, 0);
        pc_parallel(input, job, NAME(winograd_n_input)(job, &k), threads);
        pc_parallel(NAME(winograd_product_task), job, NAME(winograd_n_product)(job), threads);
        pc_parallel(output, job, NAME(winograd_n_output)(job, &k), threads);
    }
}

/* ---- weights ---- */

typedef struct NAME(winograd_weights) {
    const pc_conv *p;
    pc_winograd s;
    pc_panels panels;
    double g_h[8][8], g_w[8][8];
    const REAL *w;
    REAL *packed;
} NAME(winograd_weights);

/* to[j] = sum over r of g[r] * from[r * step + j], j < LANES */
#define PC_COMBINE(type)                                                                                               \
    INLINE void NAME(winograd_combine_taps_##type)(const int taps, const double *g, const double *from, int64_t step,  \
                                                   type *to) {                                                         \
        for (int j = 0; j < LANES; j++) {                                                                              \
            double sum = 0;                                                                                            \
            _Pragma("GCC unroll 8")                                                                                    \
            for (int r = 0; r < taps; r++)                                                                             \
                sum += g[r] * from[r * step + j];                                                                      \
            to[j] = (type)sum;                                                                                         \
        }                                                                                                              \
    }                                                                                                                  \
    INLINE void NAME(winograd_combine_##type)(const double *g, const int taps, const double *from, int64_t step,       \
                                              type *to) {                                                              \
        if (taps == 3)                                                                                                 \
            NAME(winograd_combine_taps_##type)(3, g, from, step, to);                                                  \
        else if (taps == 2)                                                                                            \
            NAME(winograd_combine_taps_##type)(2, g, from, step, to);                                                  \
        else if (taps == 5)                                                                                            \
            NAME(winograd_combine_taps_##type)(5, g, from, step, to);                                                  \
        else if (taps == 7)                                                                                            \
            NAME(winograd_combine_taps_##type)(7, g, from, step, to);                                                  \
        else                                                                                                           \
            NAME(winograd_combine_taps_##type)(1, g, from, step, to);                                                  \
    }
PC_COMBINE(double) PC_COMBINE(REAL)
#undef PC_COMBINE

/* The kernels w[tap][lane] of one channel into u, points ld_xi apart. */
INLINE void NAME(winograd_pack_kernels)(const NAME(winograd_weights) *job, const int k_h, const int k_w, const REAL *w,
                                        REAL *to, int64_t ld_xi) {
    const int a_h = (int)job->s.a_h, a_w = (int)job->s.a_w;
    double in[7][7][LANES], half[8][7][LANES];
    for (int a = 0; a < k_h; a++)
        for (int t = 0; t < k_w; t++, w += LANES)
            for (int i = 0; i < LANES; i++)
                in[a][t][i] = (double)w[i];
    for (int a = 0; a < a_h; a++)
        for (int t = 0; t < k_w; t++)
            NAME(winograd_combine_double)(job->g_h[a], k_h, in[0][t], 7 * LANES, half[a][t]);
    for (int a = 0; a < a_h; a++)
        for (int t = 0; t < a_w; t++, to += ld_xi)
            NAME(winograd_combine_REAL)(job->g_w[t], k_w, half[a][0], LANES, to);
}

/* u of LANES output channels of one group. */
static void NAME(winograd_pack_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(winograd_weights) *job = ctx;
    const pc_conv *p = job->p;
    const pc_winograd *s = &job->s;
    const int64_t vectors = s->m_lanes / LANES, g = task / vectors, vector = task % vectors;
    int64_t q = 0; /* the panel that the vector is in */
    while (q + 1 < job->panels.n && pc_panel_start(job->panels, q + 1) <= vector)
        q++;
    const int64_t first = pc_panel_start(job->panels, q), width = pc_panel_rows(job->panels, q) * LANES;
    const int64_t taps = p->h.k * p->w.k, kernels = p->c_in * p->d.k, k_all = kernels * taps;
    const int64_t chunk = pc_ceil_div(p->c_in, LANES) * LANES, ld_xi = s->m_lanes * s->n_k;
    const int64_t n_lanes = pc_min(LANES, p->c_out - vector * LANES);
    const REAL *w = job->w + (g * p->c_out + vector * LANES) * k_all;
    REAL *const u = job->packed + (g * s->n_xi * s->m_lanes + first * LANES) * s->n_k + (vector - first) * LANES;
    enum { RUN = LANES / 2 }; /* of two taps each at least: a vector */
    _Alignas(64) REAL turned[RUN * 49 * LANES];
    for (int64_t r0 = 0; r0 < kernels; r0 += RUN) {
        const int64_t n = pc_min(RUN, kernels - r0), elems = n * taps;
        const REAL *from = w + r0 * taps;
        if (elems >= LANES)
            NAME(turn_in)(from, k_all, n_lanes, elems, elems, 0, turned);
        else
            for (int64_t e = 0; e < elems; e++)
                for (int64_t i = 0; i < LANES; i++)
                    turned[e * LANES + i] = i < n_lanes ? from[i * k_all + e] : 0;
        for (int64_t r = r0; r < r0 + n; r++) {
            const REAL *kernel = turned + (r - r0) * taps * LANES;
            REAL *to = u + (r % p->d.k * chunk + r / p->d.k) * width;
            if (p->h.k == 3 && p->w.k == 3)
                NAME(winograd_pack_kernels)(job, 3, 3, kernel, to, ld_xi);
            else if (p->h.k == 2 && p->w.k == 2)
                NAME(winograd_pack_kernels)(job, 2, 2, kernel, to, ld_xi);
            else
                NAME(winograd_pack_kernels)(job, (int)p->h.k, (int)p->w.k, kernel, to, ld_xi);
        }
    }
    const int64_t n_u = p->groups * s->n_xi * s->m_lanes * s->n_k;
    memcpy(job->packed + n_u + (w - job->w), w, (size_t)(n_lanes * k_all) * sizeof(REAL));
    for (int64_t k = 0; k < s->n_k; k++) /* channels that only fill a vector */
        if (k % chunk >= p->c_in)
            for (int64_t xi = 0; xi < s->n_xi; xi++)
                memset(u + k * width + xi * ld_xi, 0, LANES * sizeof(REAL));
}

/* u, then w as it came. */
static int64_t NAME(winograd_pack)(const pc_conv *p, int alpha, const REAL *w, REAL *packed) {
    NAME(winograd_weights) job = {.p = p, .s = pc_winograd_of(p, alpha, LANES), .g_h = {{1}}, .g_w = {{1}}, .w = w,
                                  .packed = packed};
    const pc_winograd *s = &job.s;
    const int64_t n_u = p->groups * s->n_xi * s->m_lanes * s->n_k;
    const int64_t n_w = p->groups * p->c_out * p->c_in * p->d.k * p->h.k * p->w.k;
    if (!packed)
        return n_u + n_w;
    const double(*powers)[8] = pc_winograd_powers[alpha / 2 - 2], *scales = pc_winograd_scales[alpha / 2 - 2][0];
    job.panels = pc_panels_of(s->m_lanes / LANES, PC_VECTORS);
    for (int q = 0; q < alpha; q++)
        for (int j = 0; j < 8; j++) {
            const int last = q == alpha - 1;
            if (p->h.k > 1)
                job.g_h[q][j] = last ? j == p->h.k - 1 : powers[q][j] * scales[q];
            if (p->w.k > 1)
                job.g_w[q][j] = last ? j == p->w.k - 1 : powers[q][j] * scales[q];
        }
    pc_parallel(NAME(winograd_pack_task), &job, p->groups * (s->m_lanes / LANES), (int)p->threads);
    return n_u + n_w;
}

#define PC_WINOGRAD(m, r, alpha)                                                                                       \
    static void NAME(winograd_output_w_f##m##x##r)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,     \
                                                   int64_t item, REAL *local) {                                        \
        NAME(winograd_output)(1, 1, alpha, m, job, k, item, local);                                                    \
    }                                                                                                                  \
    static void NAME(winograd_output_h_f##m##x##r)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,     \
                                                   int64_t item, REAL *local) {                                        \
        NAME(winograd_output)(alpha, m, 1, 1, job, k, item, local);                                                    \
    }                                                                                                                  \
    static void NAME(winograd_output_hw_f##m##x##r)(const NAME(winograd_job) * job, const NAME(winograd_block) * k,    \
                                                    int64_t item, REAL *local) {                                       \
        NAME(winograd_output)(alpha, m, alpha, m, job, k, item, local);                                                \
    }                                                                                                                  \
    static const NAME(winograd_stage) NAME(winograd_outputs_f##m##x##r)[2][2] = {                                      \
        {NULL, NAME(winograd_output_w_f##m##x##r)},                                                                    \
        {NAME(winograd_output_h_f##m##x##r), NAME(winograd_output_hw_f##m##x##r)}};                                    \
    static void NAME(winograd_input_task_f##m##x##r)(void *ctx, int64_t item, int worker) {                            \
        const NAME(winograd_job) *job = ctx;                                                                           \
        const NAME(winograd_block) k = NAME(winograd_block_of)(job, job->block, 0);                                    \
        NAME(winograd_inputs_##alpha)[job->s.a_h > 1][job->s.a_w > 1](job, &k, item, NAME(winograd_local)(job, worker)); \
    }                                                                                                                  \
    static void NAME(winograd_output_task_f##m##x##r)(void *ctx, int64_t item, int worker) {                           \
        const NAME(winograd_job) *job = ctx;                                                                           \
        const NAME(winograd_block) k = NAME(winograd_block_of)(job, job->block, 0);                                    \
        NAME(winograd_outputs_f##m##x##r)[job->s.a_h > 1][job->s.a_w > 1](job, &k, item,                               \
                                                                          NAME(winograd_local)(job, worker));          \
    }                                                                                                                  \
    static void NAME(winograd_task_f##m##x##r)(void *ctx, int64_t task, int worker) {                                  \
        const NAME(winograd_job) *job = ctx;                                                                           \
        const NAME(winograd_block) k = NAME(winograd_block_of)(job, task, worker);                                     \
        REAL *local = NAME(winograd_local)(job, worker);                                                               \
        for (int64_t i = 0; i < NAME(winograd_n_input)(job, &k); i++)                                                  \
            NAME(winograd_inputs_##alpha)[job->s.a_h > 1][job->s.a_w > 1](job, &k, i, local);                          \
        for (int64_t i = 0; i < NAME(winograd_n_product)(job); i++)                                                    \
            NAME(winograd_product)(job, &k, i);                                                                        \
        for (int64_t i = 0; i < NAME(winograd_n_output)(job, &k); i++)                                                 \
            NAME(winograd_outputs_f##m##x##r)[job->s.a_h > 1][job->s.a_w > 1](job, &k, i, local);                      \
    }                                                                                                                  \
    static int64_t NAME(conv_winograd_f##m##x##r##_pack)(const pc_conv *p, const void *w, void *packed) {              \
        return NAME(winograd_pack)(p, alpha, w, packed);                                                               \
    }
PC_WINOGRAD(3, 2, 4) PC_WINOGRAD(5, 2, 6) PC_WINOGRAD(2, 3, 4) PC_WINOGRAD(4, 3, 6) PC_WINOGRAD(6, 3, 8)
PC_WINOGRAD(2, 5, 6) PC_WINOGRAD(4, 5, 8) PC_WINOGRAD(2, 7, 8)
#undef PC_WINOGRAD

#endif
#if !PC_TRANSFORMS_ONLY

static void STORED(winograd_expect)(const pc_conv *p, const pc_arrays *arrays, int64_t at, int64_t n_lanes,
                                    pc_window box) {
    STORED(prefetch_window)((const STORAGE *)arrays->x + at, n_lanes, &p->ld_x, p->h.in, p->w.in, box, 0);
}
static void STORED(winograd_expect_out)(const pc_conv *p, const pc_arrays *arrays, int64_t n_lanes, pc_window box,
                                        pc_place at) {
    if (!p->phases.count)
        STORED(prefetch_window)((const STORAGE *)arrays->out + pc_at(&p->ld_out, at), n_lanes, &p->ld_out, p->h.out,
                                p->w.out, box, 1);
}
static void STORED(winograd_load)(const pc_conv *p, const pc_arrays *arrays, int64_t at, int64_t n_lanes,
                                  pc_window box, REAL *tile) {
    STORED(load_channels)(p, (const STORAGE *)arrays->x + at, n_lanes, box, tile);
}

#define PC_WINOGRAD(m, r, alpha)                                                                                       \
    static void STORED(conv_winograd_f##m##x##r##_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {       \
        pc_set_last_kernel(PC_STRING(PC_PASTE(conv_winograd_f##m##x##r, DTYPE, PC_ISA)));                              \
        const NAME(winograd_io) io = {STORED(winograd_expect), STORED(winograd_expect_out), STORED(winograd_load),     \
                                      STORED(get_x), STORED(store_channels)};                                          \
        NAME(winograd_job) job = {p, arrays, io, pc_winograd_of(p, alpha, LANES), 0};                                  \
        NAME(winograd_blocks)(&job, threads, NAME(winograd_task_f##m##x##r), NAME(winograd_input_task_f##m##x##r),     \
                              NAME(winograd_output_task_f##m##x##r));                                                  \
    }                                                                                                                  \
    static int STORED(conv_winograd_f##m##x##r##_plan)(pc_conv *p, int64_t max_scratch_bytes) {                        \
        return pc_plan_winograd(p, PC_TILE_SHAPE, alpha, max_scratch_bytes);                                           \
    }
PC_WINOGRAD(3, 2, 4) PC_WINOGRAD(5, 2, 6) PC_WINOGRAD(2, 3, 4) PC_WINOGRAD(4, 3, 6) PC_WINOGRAD(6, 3, 8)
PC_WINOGRAD(2, 5, 6) PC_WINOGRAD(4, 5, 8) PC_WINOGRAD(2, 7, 8)
#undef PC_WINOGRAD

#endif
