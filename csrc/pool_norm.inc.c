/* pool_spread: the gradients of averages and of norms.
 *
 *   norm: y[o] = s[o]^(1/p), s[o] = sum over o's window of x[i]^p, or of |x[i]|^p where that is negative or no number
 *   grad_x[i] = x[i]^(p-1) sum over o with i in its window of q[o], q[o] = g[o] y[o]^(1-p); 0 for o with y[o] = 0
 *
 * where s[o] of a window that hangs over the end counts as a whole one's, and so does q[o]. |x|^p has the slope
 * sign(x) |x|^(p-1), so the outputs of sums of |x|^p are spread on their own.
 *
 * A task is a tile of rows of one plane of grad_x. Rows of q of all outputs whose windows meet it are computed first, by
 * pool_separable's steps, and kept in L2; the rest is the gradient of sums (pool_spread.inc.c), of q. */

#if !PC_WIDENED && !PC_INTEGERS

/* |x|^less, or x^less where that is whole and not the `size` alone is asked for; less > -1. */
INLINE VEC NAME(pool_less)(VEC x, double less, int size) {
    const VEC power = NAME(raised)(x, !size && pc_is_whole(less) ? less : -fabs(less));
    return less < 0 ? 1 / power : power;
}

/* q[i] = g[i] y^(1-p) / shares for y^p = sums[i], which are whole windows' and are lost; `rows` times the share of a
 * column are a window's share of a whole one. */
static void NAME(pool_slopes)(const pc_pool *p, REAL *sums, const REAL *g, pc_pool_taps d, pc_pool_taps h, REAL *q) {
    const int64_t n = p->w.out * p->inner;
    const double less = p->norm - 1;
    NAME(root)(sums, n, p->norm);
    for (int64_t i = 0; i < n; i += LANES) {
        const VEC y = NAME(load)(sums + i);
        const VEC slope = NAME(load)(g + i) / NAME(pool_less)(y, less, 0);
        NAME(store)(q + i, NAME(select)(y == 0, (VEC){0}, slope));
    }
    NAME(pool_whole_sums)(p, q, 0, p->w.out, d, h);
}

#endif

#if !PC_INTEGERS

/* Rows of q of outputs [h.first, h.first + h.n) of depths [d.first, d.first + d.n), p->q_elems apart; with p->signs those
 * of the outputs whose sums are of |x|^p are other_at further on. Returns whether there are any of these. */
static int STORED(pool_slope_rows)(const pc_pool *p, const STORAGE *x, const STORAGE *end, const STORAGE *g,
                                   pc_columns d, pc_columns h, REAL *v, REAL *level, REAL *sums, REAL *q,
                                   int64_t other_at) {
    REAL *const other = sums + p->y_elems, *const row = other + p->y_elems;
    const pc_columns columns = pc_columns_of(p, 0, p->w.out);
    const int64_t n = p->w.out * p->inner;
    int any = 0;
    NAME(clear_over)(v, p->v_elems);
    for (int64_t a = 0; a < d.n; a++)
        for (int64_t b = 0; b < h.n; b++, q += p->q_elems) {
            const pc_pool_taps d_taps = pc_pool_taps_of(&p->d, 0, 0, d.first + a);
            const pc_pool_taps h_taps = pc_pool_taps_of(&p->h, 0, 0, h.first + b);
            const int negative = STORED(pool_power_sums)(p, &p->ld_forward, x, end, columns, 0, p->w.out, d_taps, h_taps,
                                                         v, level, sums, other);
            STORED(read)(row, g + (d.first + a) * p->ld_out.d + (h.first + b) * p->ld_out.h, n);
            if (p->signs) {
                if (!negative)
                    NAME(clear_over)(other, n);
                for (int64_t i = 0; i < n; i += LANES) { /* each sum in one of the two, a zero in the other */
                    const VEC sum = NAME(load)(sums + i);
                    NAME(store)(other + i, NAME(select)(sum < 0, NAME(load)(other + i), (VEC){0}));
                    NAME(store)(sums + i, NAME(select)(sum < 0, (VEC){0}, sum));
                }
                if (negative) {
                    NAME(pool_whole_sums)(p, other, 0, p->w.out, d_taps, h_taps);
                    NAME(pool_slopes)(p, other, row, d_taps, h_taps, q + other_at);
                } else {
                    NAME(clear_over)(q + other_at, n);
                }
                any |= negative;
            }
            NAME(pool_whole_sums)(p, sums, 0, p->w.out, d_taps, h_taps);
            NAME(pool_slopes)(p, sums, row, d_taps, h_taps, q);
        }
    return any;
}

/* y[i] times the slope of x[i]^p over p, or of |x[i]|^p with `size`; added to what `to` holds unless `fresh`. */
static void STORED(pool_times_slopes)(const pc_pool *p, const STORAGE *x, const STORAGE *end, const REAL *y, int size,
                                      int fresh, REAL *to) {
    const int64_t n = p->w.in * p->inner;
    const double less = p->norm - 1;
    for (int64_t i = 0; i < n; i += LANES) {
        VEC values = {0};
        if (n - i >= LANES || end - x >= i + LANES)
            values = STORED(load)(x + i);
        else
            STORED(read)((REAL *)&values, x + i, n - i);
        VEC slope = NAME(pool_less)(values, less, size);
        if (size || !pc_is_whole(less)) {
            slope = NAME(select)(values < 0, -slope, slope);
            slope = NAME(select)(values == 0, (VEC){0}, slope);
        }
        const VEC part = NAME(load)(y + i) * slope;
        NAME(store)(to + i, fresh ? part : NAME(load)(to + i) + part);
    }
}

static void STORED(pool_norm_spread_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const pc_pool *p = job->p;
    const pc_spread_box box = pc_spread_box_of(p, task);
    const STORAGE *const forward = job->arrays->forward, *const end = forward + p->forward_end;
    const STORAGE *const x = forward + box.image * p->ld_forward.n + box.c * p->ld_forward.c;
    const STORAGE *const g = (const STORAGE *)job->arrays->out + box.image * p->ld_out.n + box.c * p->ld_out.c;
    STORAGE *out = (STORAGE *)job->arrays->x + box.image * p->ld_x.n + box.c * p->ld_x.c + box.d * p->ld_x.d +
                   box.h0 * p->ld_x.h;

    REAL *const v = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *const level = v + p->v_elems, *const sums = level + p->n_levels * p->level_elems;
    REAL *const apart = sums + 3 * p->y_elems, *const q = apart + p->herk_elems;
    const pc_columns d = pc_covering(&p->d, 0, box.d), first = pc_covering(&p->h, 0, box.h0);
    const pc_columns last = pc_covering(&p->h, 0, box.h1 - 1);
    const pc_columns h = {first.first, last.first + last.n - first.first};
    const int64_t other_at = d.n * h.n * p->q_elems;
    const int any = STORED(pool_slope_rows)(p, x, end, g, d, h, v, level, sums, q, other_at);
    REAL *const spread = sums, *const result = sums + p->y_elems;
    NAME(clear_over)(apart, p->herk_elems);
    for (int64_t h_in = box.h0; h_in < box.h1; h_in++, out += p->ld_x.h) {
        const pc_columns covering = pc_covering(&p->h, 0, h_in);
        const pc_pool_taps depths = {0, d.n, 1, d.n}, rows = {covering.first - h.first, covering.n, 1, covering.n};
        const pc_ld ld = {.d = h.n * p->q_elems, .h = p->q_elems};
        for (int part = 0; part <= any; part++) {
            const REAL *const from = q + part * other_at;
            NAME(pool_window_rows)(&ld, from, depths, rows, p->w.out * p->inner, from + other_at, v, 1, 0);
            NAME(pool_spread_columns)(p, v, apart, level, spread, spread);
            STORED(pool_times_slopes)(p, x + box.d * p->ld_forward.d + h_in * p->ld_forward.h, end, spread, part, !part,
                                      result);
        }
        STORED(write)(out, result, p->w.in * p->inner);
    }
}

static int STORED(pool_spread_run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(pool_spread, DTYPE, PC_ISA)));
    STORED(pool_job) job = {p, arrays};
    pc_parallel(p->kind == PC_POOL_LP ? STORED(pool_norm_spread_task) : STORED(pool_spread_task), &job, p->n_tasks,
                threads);
    return PC_OK;
}

#endif
