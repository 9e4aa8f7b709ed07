/* layers_nearest: nearest-neighbour resizing along up to three axes, and its gradient.
 *
 *   out[n, c, o] = x[n, c, at[o]]           gx[n, c, i] = sum of g[n, c, o], o from from[i] up to from[i + 1]
 *
 * The caller has made the tables, one an axis; they do not fall, so that an element goes to a run of outputs and its
 * gradient is the sum of a box. Rows of the output that read the same row of x are copies of the first of them. Along a
 * row: a copy where nothing changes, each element twice in whole vectors, any other by its table. Arrays whose channels are
 * neighbours are the same with `inner` elements in place of one. The gradient adds the rows of its box in scratch, then
 * neighbours, always in ascending order.
 *
 * A task is a number of rows of one plane, each element written by one task. Memory: x once, out once and, where rows
 * repeat, once more from the cache. */
typedef struct STORED(nearest) {
    const pc_nearest *p;
    const STORAGE *src; /* x, or grad_output */
    STORAGE *dst;
    char *scratch;
} STORED(nearest);

/* One row of outputs from one row of x. */
INLINE void STORED(nearest_row)(const pc_nearest *p, STORAGE *out, const STORAGE *x) {
    const int64_t n = p->out[2], inner = p->inner, from = p->ld_x[4], to = p->ld_out[4];
    const int64_t *at = p->at[2];
    if (inner > 1) {
        for (int64_t i = 0; i < n; i++)
            memcpy(out + i * to, x + at[i] * from, (size_t)inner * sizeof(STORAGE));
    } else if (from != 1 || to != 1) {
        for (int64_t i = 0; i < n; i++)
            out[i * to] = x[at[i] * from];
    } else if (p->repeat == 1) {
        memcpy(out, x, (size_t)n * sizeof(STORAGE));
    } else if (p->repeat == 2) {
        for (int64_t i = 0; i < n / 2; i++) {
            out[2 * i] = x[i];
            out[2 * i + 1] = x[i];
        }
    } else if (p->repeat > 2) {
        for (int64_t i = 0; i < n / p->repeat; i++)
            for (int64_t j = 0; j < p->repeat; j++)
                *out++ = x[i];
    } else {
        for (int64_t i = 0; i < n; i++)
            out[i] = x[at[i]];
    }
}

static void STORED(nearest_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(nearest) *job = ctx;
    const pc_nearest *p = job->p;
    const int64_t rows = p->out[0] * p->out[1], tasks = pc_ceil_div(rows, p->rows);
    const int64_t plane = task / tasks, first = task % tasks * p->rows;
    const STORAGE *x = job->src + plane / p->c * p->ld_x[0] + plane % p->c * p->ld_x[1];
    STORAGE *out = job->dst + plane / p->c * p->ld_out[0] + plane % p->c * p->ld_out[1];
    const int neighbours = p->inner > 1 ? p->ld_out[4] == p->inner : p->ld_out[4] == 1;
    const STORAGE *last = NULL;
    const STORAGE *last_out = NULL;
    for (int64_t row = first; row < pc_min(rows, first + p->rows); row++) {
        const int64_t d = row / p->out[1], h = row % p->out[1];
        const STORAGE *from = x + p->at[0][d] * p->ld_x[2] + p->at[1][h] * p->ld_x[3];
        STORAGE *to = out + d * p->ld_out[2] + h * p->ld_out[3];
        if (from == last && neighbours)
            memcpy(to, last_out, (size_t)(p->out[2] * p->inner) * sizeof(STORAGE));
        else
            STORED(nearest_row)(p, to, from);
        last = from;
        last_out = to;
    }
}

static void STORED(nearest_gradient_task)(void *ctx, int64_t task, int worker) {
    const STORED(nearest) *job = ctx;
    const pc_nearest *p = job->p;
    const int64_t rows = p->in[0] * p->in[1], tasks = pc_ceil_div(rows, p->rows), inner = p->inner;
    const int64_t plane = task / tasks, first = task % tasks * p->rows, width = p->out[2] * inner;
    const STORAGE *g = job->src + plane / p->c * p->ld_out[0] + plane % p->c * p->ld_out[1];
    STORAGE *gx = job->dst + plane / p->c * p->ld_x[0] + plane % p->c * p->ld_x[1];
    /* a row of sums, a row of results and room for one more vector behind each */
    REAL *const sums = (REAL *)(job->scratch + worker * p->scratch_bytes);
    REAL *const result = sums + pc_round_up(width, LANES) + LANES; /* of in[2] * inner */
    const int neighbours = inner > 1 ? p->ld_out[4] == inner : p->ld_out[4] == 1;
    for (int64_t row = first; row < pc_min(rows, first + p->rows); row++) {
        const int64_t d = row / p->in[1], h = row % p->in[1];
        for (int64_t i = 0; i < width; i += LANES)
            NAME(store)(sums + i, (VEC){0});
        for (int64_t i = p->at[0][d]; i < p->at[0][d + 1]; i++)
            for (int64_t j = p->at[1][h]; j < p->at[1][h + 1]; j++) {
                const STORAGE *from = g + i * p->ld_out[2] + j * p->ld_out[3];
                if (neighbours)
                    STORED(add)(sums, from, 1, width);
                else
                    for (int64_t w = 0; w < p->out[2]; w++)
                        STORED(add)(sums + w * inner, from + w * p->ld_out[4], 1, inner);
            }
        const int64_t *begin = p->at[2];
        if (inner > 1) {
            for (int64_t w = 0; w < p->in[2]; w++) {
                REAL *to = result + w * inner;
                for (int64_t c = 0; c < inner; c++)
                    to[c] = begin[w] < begin[w + 1] ? sums[begin[w] * inner + c] : 0;
                for (int64_t i = begin[w] + 1; i < begin[w + 1]; i++)
                    NAME(add)(to, sums + i * inner, 1, inner);
            }
        } else if (p->repeat == 2) {
            int64_t w = 0;
            for (; w + LANES <= p->in[2]; w += LANES) {
                const VEC a = NAME(load)(sums + 2 * w), b = NAME(load)(sums + 2 * w + LANES);
                NAME(store)(result + w, NAME(every_second)(a, b, 0) + NAME(every_second)(a, b, 1));
            }
            for (; w < p->in[2]; w++)
                result[w] = sums[2 * w] + sums[2 * w + 1];
        } else {
            for (int64_t w = 0; w < p->in[2]; w++) {
                REAL sum = begin[w] < begin[w + 1] ? sums[begin[w]] : 0;
                for (int64_t i = begin[w] + 1; i < begin[w + 1]; i++)
                    sum += sums[i];
                result[w] = sum;
            }
        }
        STORAGE *to = gx + d * p->ld_x[2] + h * p->ld_x[3];
        if (p->ld_x[4] == inner)
            STORED(write)(to, result, p->in[2] * inner);
        else
            for (int64_t w = 0; w < p->in[2]; w++)
                STORED(write)(to + w * p->ld_x[4], result + w * inner, inner);
    }
}

static void STORED(layers_nearest_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_nearest *p = problem;
    STORED(nearest) job = {p, arrays[0], arrays[1], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(layers_nearest, DTYPE, PC_ISA)));
    pc_parallel(p->gradient ? STORED(nearest_gradient_task) : STORED(nearest_task), &job, p->n_tasks, threads);
}
