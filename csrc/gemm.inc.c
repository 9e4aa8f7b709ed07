/* The register tile that every dense kernel is built on:
 *
 *   c[i][j] = init[i][j] + sum over k = (channel, tap) of a[k][i] * x[channel * plane + off[tap] + j]
 *
 * i < rows output channels (broadcast from the packed weights a), j < vectors * LANES neighbouring pixels. With one
 * tap and plane = the width of a packed panel this is the inner kernel of a GEMM; with off[] the taps of a kernel it
 * is a direct convolution that reads its shifted operand from the input tile itself, so no element is copied kh * kw
 * times. The sum runs over k in order, in one accumulator per output: the order is a function of the problem alone.
 *
 * Registers: rows * vectors accumulators, the vectors of x, one broadcast (see isa_*.h). The loads of x are unaligned.
 * Error: |c - exact| <= (K + 1) eps sum |a| |x|, eps half a unit in the last place (Higham 2002, eq. 3.3). */

typedef struct NAME(tile_args) {
    int64_t n_c, n_taps;
    const int64_t *off;
    int64_t plane;          /* from channel to channel in x */
    const REAL *x;
    const REAL *a;
    int64_t ld_a;           /* from channel to channel in a */
    const REAL *init;       /* NULL: zero */
    int64_t ld_init;        /* 0: init[i] for the whole row (a bias) */
    const REAL *residual;   /* added to the sums; NULL: none */
    int64_t ld_residual;
    REAL *c;
    int64_t ld_c;
    int relu;               /* applied on the way out */
} NAME(tile_args);

typedef void (*NAME(tile_function))(const NAME(tile_args) *);

#define PC_TILE_EXISTS(rows, vectors)                                                                                  \
    ((rows) <= PC_ROWS && (vectors) <= ((rows) <= PC_WIDE_ROWS ? PC_WIDE_VECTORS : PC_VECTORS))

INLINE void NAME(tile_body)(const int rows, const int vectors, const NAME(tile_args) *t) {
    VEC acc[8][6];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; v++) {
            if (!t->init)
                acc[i][v] = (VEC){0};
            else if (t->ld_init == 0)
                acc[i][v] = NAME(splat)(t->init[i]);
            else
                acc[i][v] = NAME(load)(t->init + i * t->ld_init + v * LANES);
        }
    const int64_t *off = t->off;
    int64_t n_taps = t->n_taps;
    const REAL *xc = t->x, *ac = t->a;
    for (int64_t c = 0; c < t->n_c; c++, xc += t->plane, ac += t->ld_a) {
        const REAL *a = ac;
        for (int64_t k = 0; k < n_taps; k++, a += rows) {
            const REAL *xk = xc + off[k];
            VEC x[6];
#pragma GCC unroll 6
            for (int v = 0; v < vectors; v++)
                x[v] = NAME(load)(xk + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
#pragma GCC unroll 6
                for (int v = 0; v < vectors; v++)
                    acc[i][v] += x[v] * a[i];
            }
        }
    }
    if (t->residual) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
            for (int v = 0; v < vectors; v++)
                acc[i][v] += NAME(load)(t->residual + i * t->ld_residual + v * LANES);
    }
    if (t->relu) {
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
            for (int v = 0; v < vectors; v++)
                acc[i][v] = NAME(relu)(acc[i][v]);
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 6
        for (int v = 0; v < vectors; v++)
            NAME(store)(t->c + i * t->ld_c + v * LANES, acc[i][v]);
}

/* tile_<rows>x<vectors> for every shape that the instruction set's registers hold; the others are never called. */
#define PC_TILE(rows, vectors)                                                                                         \
    static __attribute__((noinline)) void NAME(PC_CONCAT(tile_##rows##x, vectors))(const NAME(tile_args) * t) {        \
        if (PC_TILE_EXISTS(rows, vectors))                                                                             \
            NAME(tile_body)(rows, vectors, t);                                                                         \
    }
#define PC_TILES(rows)                                                                                                 \
    PC_TILE(rows, 1) PC_TILE(rows, 2) PC_TILE(rows, 3) PC_TILE(rows, 4) PC_TILE(rows, 5) PC_TILE(rows, 6)
PC_TILES(1) PC_TILES(2) PC_TILES(3) PC_TILES(4) PC_TILES(5) PC_TILES(6) PC_TILES(7) PC_TILES(8)

#define PC_TILE_NAMES(rows)                                                                                            \
    {NAME(tile_##rows##x1), NAME(tile_##rows##x2), NAME(tile_##rows##x3),                                              \
     NAME(tile_##rows##x4), NAME(tile_##rows##x5), NAME(tile_##rows##x6)}
static const NAME(tile_function) NAME(tiles)[8][6] = {
    PC_TILE_NAMES(1), PC_TILE_NAMES(2), PC_TILE_NAMES(3), PC_TILE_NAMES(4),
    PC_TILE_NAMES(5), PC_TILE_NAMES(6), PC_TILE_NAMES(7), PC_TILE_NAMES(8),
};
#undef PC_TILE
#undef PC_TILES
#undef PC_TILE_NAMES

/* One vector of zeros if n weights are finite, of NaN if not. */
static void NAME(mark_finite)(const REAL *w, int64_t n, REAL *mark, int64_t threads) {
    const int finite = pc_all_finite(w, n, sizeof(REAL), (int)threads);
    NAME(store)(mark, NAME(splat)(finite ? 0 : (REAL)NAN));
}

/* Whether taps that meet nothing but zeros may be left out: no weight times zero is NaN. */
INLINE int NAME(may_skip)(const pc_conv *p, const REAL *mark) {
    return p->padding_mode == PC_PAD_ZEROS && *mark == 0;
}

typedef struct NAME(panels_job) {
    const REAL *w;
    REAL *packed;
    pc_panels panels;
    int64_t c_out, k_all;
} NAME(panels_job);

static void NAME(pack_panel)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(panels_job) *job = ctx;
    const int64_t g = task / job->panels.n, q = task % job->panels.n, rows = pc_panel_rows(job->panels, q);
    const int64_t at = (g * job->c_out + pc_panel_start(job->panels, q)) * job->k_all;
    const REAL *src = job->w + at;
    REAL *dst = job->packed + at;
    for (int64_t k = 0; k < job->k_all; k++, dst += rows)
        for (int64_t i = 0; i < rows; i++)
            dst[i] = src[i * job->k_all + k];
}

/* Weights (groups * c_out, k) -> [group][panel][k][row of the panel]. */
static int64_t NAME(pack_panels)(const pc_conv *p, const void *w, void *packed) {
    const int64_t k_all = p->c_in * p->d.k * p->h.k * p->w.k;
    if (packed) {
        NAME(panels_job) job = {w, packed, pc_panels_of(p->c_out, PC_ROWS), p->c_out, k_all};
        pc_parallel(NAME(pack_panel), &job, p->groups * job.panels.n, (int)p->threads);
    }
    return p->groups * p->c_out * k_all;
}
