/* sample_affine: the places of affine transforms of a grid, and the gradient with respect to the transforms.
 *
 *   out[n, d, h, w, j] = sum over k of  theta[n, j, k] base_k,   base = (x_w, y_h, z_d, 1) or (x_w, y_h, 1)
 *   gtheta[n, j, k]    = sum over d, h, w of  g[n, d, h, w, j] base_k
 *
 * The caller has made x, y and z, in double. What is the same in a row is added once a row. The gradient sums rows in
 * double and in their order. A task is some rows, or for the gradient an image. Errors: (axes + 3) eps of the sum of
 * magnitudes. */

typedef struct STORED(affine_job) {
    const pc_affine *p;
    const STORAGE *src; /* theta, or grad_output */
    STORAGE *dst;
} STORED(affine_job);

static void STORED(affine_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(affine_job) *job = ctx;
    const pc_affine *p = job->p;
    const int64_t rank = p->rank, width = p->in[2], rows = p->in[0] * p->in[1];
    for (int64_t r = task * p->rows; r < pc_min(p->n * rows, (task + 1) * p->rows); r++) {
        const STORAGE *const theta = job->src + r / rows * rank * (rank + 1);
        STORAGE *const out = job->dst + r * width * rank;
        for (int64_t j = 0; j < rank; j++) {
            const STORAGE *const line = theta + j * (rank + 1);
            double same = (double)STORED(get)(line + 1) * p->along[1][r % p->in[1]] + (double)STORED(get)(line + rank);
            if (rank == 3)
                same += (double)STORED(get)(line + 2) * p->along[0][r % rows / p->in[1]];
            const double slope = (double)STORED(get)(line);
            for (int64_t w = 0; w < width; w++)
                STORED(put)(out + w * rank + j, (REAL)(p->along[2][w] * slope + same));
        }
    }
}

static void STORED(affine_gradient_task)(void *ctx, int64_t image, int worker) {
    (void)worker;
    const STORED(affine_job) *job = ctx;
    const pc_affine *p = job->p;
    const int64_t rank = p->rank, width = p->in[2], rows = p->in[0] * p->in[1];
    double sums[3][4] = {{0}};
    for (int64_t r = 0; r < rows; r++) {
        const STORAGE *const g = job->src + (image * rows + r) * width * rank;
        for (int64_t j = 0; j < rank; j++) {
            double all = 0, by_x = 0;
            for (int64_t w = 0; w < width; w++) {
                const double value = (double)STORED(get)(g + w * rank + j);
                all += value;
                by_x += value * p->along[2][w];
            }
            sums[j][0] += by_x;
            sums[j][1] += all * p->along[1][r % p->in[1]];
            if (rank == 3)
                sums[j][2] += all * p->along[0][r / p->in[1]];
            sums[j][rank] += all;
        }
    }
    STORAGE *const out = job->dst + image * rank * (rank + 1);
    for (int64_t j = 0; j < rank; j++)
        for (int64_t k = 0; k <= rank; k++)
            STORED(put)(out + j * (rank + 1) + k, (REAL)sums[j][k]);
}

static void STORED(sample_affine_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    (void)scratch;
    const pc_affine *p = problem;
    STORED(affine_job) job = {p, arrays[0], arrays[1]};
    pc_set_last_kernel(PC_STRING(PC_PASTE(sample_affine, DTYPE, PC_ISA)));
    pc_parallel(p->gradient ? STORED(affine_gradient_task) : STORED(affine_task), &job, p->n_tasks, threads);
}
