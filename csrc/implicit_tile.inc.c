/* The register tile with output channels in its lanes: rows are any pixels, each by its own offset.
 *
 *   y[i][v] (+)= sum over the runs r, e < run_length of  x[pixels[i] + runs[r].x + e] * w[runs[r].w + e][v]
 *
 * i < rows, broadcast from x; v < vectors of w. Registers: rows * vectors accumulators, the vectors of w, one broadcast. */

typedef struct NAME(implicit_args) {
    int64_t n_runs, run_length; /* runs of neighbours in the tile */
    const pc_run *runs;
    const int64_t *pixels;      /* offset of each row's pixel */
    const REAL *x, *w;
    const REAL *bias;           /* in the first block; NULL where y holds the sums of earlier ones */
    REAL *y;
    int64_t ld_y;               /* between the vectors of a pixel */
} NAME(implicit_args);

INLINE void NAME(implicit_body)(const int rows, const int vectors, const NAME(implicit_args) *t) {
    VEC acc[8][3];
    int64_t at[8];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        at[i] = t->pixels[i];
#pragma GCC unroll 3
        for (int v = 0; v < vectors; v++)
            acc[i][v] = (VEC){0};
    }
    const int64_t length = t->run_length * vectors * LANES;
    for (int64_t r = 0; r < t->n_runs; r++) {
        const REAL *x = t->x + t->runs[r].x, *w = t->w + t->runs[r].w * vectors * LANES;
        for (const REAL *end = w + length; w != end; w += vectors * LANES, x++) {
            VEC taps[3];
#pragma GCC unroll 3
            for (int v = 0; v < vectors; v++)
                taps[v] = *(const VEC *)(w + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
                for (int v = 0; v < vectors; v++)
                    acc[i][v] += taps[v] * x[at[i]];
        }
    }
#pragma GCC unroll 3
    for (int v = 0; v < vectors; v++) {
        REAL *y = t->y + v * t->ld_y;
        if (t->bias) {
            const VEC bias = *(const VEC *)(t->bias + v * LANES);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                *(VEC *)(y + i * LANES) = acc[i][v] + bias;
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++)
                *(VEC *)(y + i * LANES) += acc[i][v];
        }
    }
}
