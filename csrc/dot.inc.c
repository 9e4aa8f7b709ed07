/* layers_dot: a linear layer of few rows, straight from weights as they are.
 *
 *   out[m, n] = sum over k of x[m, k] w[n, k] + bias[n]
 *
 * Packing weights for the dense kernels reads and writes them once more, which few rows do not pay for. Here four rows of
 * w meet up to PC_DOT_ROWS rows of x in registers, lanes along k: a step of one row of x is 5 loads for 4 FMAs, which is
 * bound by memory, as it should be for a product of a matrix and a vector; of four rows 8 loads for 16. Weights pass once
 * for each PC_DOT_ROWS rows of x, from the cache after the first time. Sums across lanes by halves.
 *
 * flops: 2 m n k; memory: w once. Error: (k / LANES + LANES + log2(LANES) + 2) eps. A task is a stretch of outputs, for all rows. */
#ifndef PC_DOT_CONSTANTS
#define PC_DOT_CONSTANTS
enum { PC_DOT_WEIGHTS = 4 };
#endif
#ifndef PC_DOT_ROWS
#define PC_DOT_ROWS (PC_VEC_BYTES == 64 ? 4 : 2)
#endif

#if !PC_WIDENED
INLINE REAL NAME(dot_across)(VEC v) {
    _Alignas(64) REAL lanes[2 * LANES] = {0};
    NAME(store)(lanes, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        NAME(store)(lanes, NAME(load)(lanes) + NAME(load)(lanes + half));
    return lanes[0];
}
#endif

typedef struct STORED(dot) {
    const pc_dot *p;
    const STORAGE *x, *w, *bias;
    STORAGE *out;
} STORED(dot);

/* The sums of a tile, LANES parts each, with the products from k on, the bias, and the way out. */
static __attribute__((noinline)) void STORED(dot_finish)(const STORED(dot) *job, int64_t m, int64_t n, int64_t rows,
                                                         int64_t columns, int64_t k, const VEC *sums) {
    const pc_dot *p = job->p;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            const STORAGE *x = job->x + (m + i) * p->ld_x, *w = job->w + (n + j) * p->ld_w;
            REAL sum = NAME(dot_across)(sums[i * PC_DOT_WEIGHTS + j]);
            for (int64_t l = k; l < p->k; l++)
                sum += STORED(get)(x + l) * STORED(get)(w + l);
            if (job->bias)
                sum += STORED(get)(job->bias + n + j);
            STORED(put)(job->out + (m + i) * p->ld_out + (n + j) * p->out_step, sum);
        }
}

/* `rows` rows of x by `columns` rows of w. */
INLINE void STORED(dot_tile)(const STORED(dot) *job, int64_t m, int64_t n, const int rows, const int columns) {
    const pc_dot *p = job->p;
    const STORAGE *x = job->x + m * p->ld_x, *w = job->w + n * p->ld_w;
    VEC sums[PC_DOT_ROWS][PC_DOT_WEIGHTS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            sums[i][j] = (VEC){0};
    int64_t k = 0;
    for (; k + LANES <= p->k; k += LANES) {
        VEC v[PC_DOT_ROWS];
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++)
            v[i] = STORED(load)(x + i * p->ld_x + k);
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++) {
            const VEC weights = STORED(load)(w + j * p->ld_w + k);
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++)
                sums[i][j] += v[i] * weights;
        }
    }
    VEC parts[PC_DOT_ROWS * PC_DOT_WEIGHTS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            parts[i * PC_DOT_WEIGHTS + j] = sums[i][j];
    STORED(dot_finish)(job, m, n, rows, columns, k, parts);
}

static void STORED(dot_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(dot) *job = ctx;
    const pc_dot *p = job->p;
    const int64_t first = task * p->columns, end = pc_min(p->n, first + p->columns);
    for (int64_t n = first; n < end;) {
        const int four = n + PC_DOT_WEIGHTS <= end;
        for (int64_t m = 0; m < p->m;) {
            const int many = m + PC_DOT_ROWS <= p->m;
            if (four && many)
                STORED(dot_tile)(job, m, n, PC_DOT_ROWS, PC_DOT_WEIGHTS);
            else if (four)
                STORED(dot_tile)(job, m, n, 1, PC_DOT_WEIGHTS);
            else
                STORED(dot_tile)(job, m, n, 1, 1);
            m += four && many ? PC_DOT_ROWS : 1;
        }
        n += four ? PC_DOT_WEIGHTS : 1;
    }
}

static void STORED(layers_dot_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    (void)scratch;
    const pc_dot *p = problem;
    STORED(dot) job = {p, arrays[0], arrays[1], arrays[2], arrays[3]};
    pc_set_last_kernel(PC_STRING(PC_PASTE(layers_dot, DTYPE, PC_ISA)));
    pc_parallel(STORED(dot_task), &job, p->n_tasks, threads);
}
