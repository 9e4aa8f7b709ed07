/* pool_spread: the gradient of averages.
 *
 *   grad_x[n, c, i] = sum over the outputs o whose windows hold i of g[n, c, o] / (what output o was divided by)
 *
 * A sum over windows of outputs, of rows and then of columns as in pool.inc.c: rows of g are divided and summed into v,
 * whose columns are put `stride` apart between zeros and joined as windows of k neighbours.
 *
 * flops: kd kh + kw an element of grad_x at most; moved: g and grad_x once. A task is some rows of one plane. */

#if !PC_INTEGERS

/* What an average of output o divides by along one axis. */
INLINE int64_t STORED(pool_count)(const pc_pool *p, const pc_axis *a, int64_t pad_after, int64_t o) {
    const pc_pool_taps t = pc_pool_taps_of(a, pad_after, p->adaptive, o);
    return p->divisor != 0 ? 1 : pc_max(1, p->include_pad ? t.all : t.n);
}

#if !PC_WIDENED
/* to[i] = the sum of v's columns whose windows cover column i. y: as long, and may be `to`; apart: holds zeros but where
 * earlier calls put what this one overwrites. */
static void NAME(pool_spread_columns)(const pc_pool *p, const REAL *v, REAL *apart, REAL *level, REAL *y, REAL *to) {
    const int64_t inner = p->inner, k = p->w.k, stride = p->w.stride;
    if (p->adaptive) {
        NAME(clear_over)(y, p->w.in * inner);
        for (int64_t o = 0; o < p->w.out; o++) {
            const pc_pool_taps t = pc_pool_taps_of(&p->w, 0, 1, o);
            for (int64_t i = t.first * inner; i < (t.first + t.n) * inner; i += inner)
                for (int64_t j = 0; j < inner; j++)
                    y[i + j] += v[o * inner + j];
        }
        if (to != y)
            NAME(copy)(to, y, p->w.in * inner);
        return;
    }
    /* output o begins to count for the columns from o * stride - pad on: k - 1 places before them in `apart` */
    const int64_t first = k - 1 - p->w.pad;
    const int64_t n = pc_min(p->w.out, (p->w.in + k - 2 - first) / stride + 1);
    if (stride == 1)
        NAME(copy)(apart + first * inner, v, n * inner);
    else if (inner == 1)
        for (int64_t o = 0; o < n; o++)
            apart[first + o * stride] = v[o];
    else
        for (int64_t o = 0; o < n; o++)
            NAME(copy)(apart + (first + o * stride) * inner, v + o * inner, inner);
    NAME(pool_dense)(apart, p->w.in * inner, k, inner, level, p->level_elems, to, 0, 1);
}
#endif

/* One tile of rows of grad_x: the rows of grad_output whose windows cover it, each over what its outputs divided by,
 * summed into v; v over what its columns divided by, apart by the stride; and windows of k columns of that. */
static void STORED(pool_spread_rows)(const pc_pool *p, const pc_pool_arrays *arrays, pc_spread_box box, int worker) {
    const int64_t image = box.image, c = box.c, d_in = box.d, h0 = box.h0, h1 = box.h1, inner = p->inner;
    const STORAGE *const g = (const STORAGE *)arrays->out + image * p->ld_out.n + c * p->ld_out.c;
    const STORAGE *const end = (const STORAGE *)arrays->out + p->out_end;
    STORAGE *x = (STORAGE *)arrays->x + image * p->ld_x.n + c * p->ld_x.c + d_in * p->ld_x.d + h0 * p->ld_x.h;

    REAL *const v = (REAL *)(arrays->scratch + worker * p->scratch_bytes);
    REAL *const y = v + p->v_elems, *const level = y + p->y_elems, *const apart = level + p->n_levels * p->level_elems;
    if (p->fused) {
        STORED(pool_fused_spread)(p, arrays->out, g + pc_covering(&p->d, 0, d_in).first * p->ld_out.d, box,
                                  v + p->fused_at, x, p->ld_x.h == p->w.in ? x + (h1 - h0) * p->w.in : NULL);
        return;
    }
    const int64_t length = p->w.out * inner;
    NAME(clear_over)(apart, p->herk_elems);
    const pc_columns d = pc_covering(&p->d, p->adaptive, d_in);
    pc_columns before = {-1, 0};
    for (int64_t h_in = h0; h_in < h1; h_in++, x += p->ld_x.h) {
        const pc_columns h = pc_covering(&p->h, p->adaptive, h_in);
        if (h.first == before.first && h.n == before.n) { /* the same windows as the row before */
            memcpy(x, x - p->ld_x.h, (size_t)(p->w.in * inner) * sizeof(STORAGE));
            continue;
        }
        before = h;
        int same = 1;
        const int64_t count = d.n * h.n == 0 ? 1 : STORED(pool_count)(p, &p->d, p->pad_after_d, d.first) *
                                                       STORED(pool_count)(p, &p->h, p->pad_after_h, h.first);
        for (int64_t a = 0; a < d.n && same; a++)
            for (int64_t b = 0; b < h.n && same; b++)
                same = count == STORED(pool_count)(p, &p->d, p->pad_after_d, d.first + a) *
                                    STORED(pool_count)(p, &p->h, p->pad_after_h, h.first + b);
        const STORAGE *row[PC_POOL_LIST];
        int64_t listed = 0;
        int fresh = 1;
        NAME(clear_over)(v, length);
        for (int64_t a = 0; a < d.n; a++)
            for (int64_t b = 0; b < h.n; b++) {
                row[listed++] = g + (d.first + a) * p->ld_out.d + (h.first + b) * p->ld_out.h;
                if (!same) {
                    STORED(pool_rows)(row, 1, length, 1, end, y, 1, 0);
                    NAME(pool_divide)(y, length, (REAL)(STORED(pool_count)(p, &p->d, p->pad_after_d, d.first + a) *
                                                        STORED(pool_count)(p, &p->h, p->pad_after_h, h.first + b)));
                    NAME(pool_both)(v, y, length, v, 1);
                    listed = 0;
                } else if (listed == PC_POOL_LIST) {
                    STORED(pool_rows)(row, listed, length, fresh, end, v, 1, 0);
                    listed = fresh = 0;
                }
            }
        if (listed)
            STORED(pool_rows)(row, listed, length, fresh, end, v, 1, 0);
        /* runs of columns that divide by one number */
        const REAL rows = p->divisor != 0 ? (REAL)p->divisor : same ? (REAL)count : 1;
        for (int64_t o = 0, next; o < p->w.out; o = next) {
            const int64_t columns = STORED(pool_count)(p, &p->w, p->pad_after_w, o);
            next = o >= p->whole_from && !p->adaptive ? pc_max(o + 1, pc_min(p->whole_to, p->w.out)) : o + 1;
            if (p->divisor != 0)
                next = p->w.out;
            while (next < p->w.out && STORED(pool_count)(p, &p->w, p->pad_after_w, next) == columns)
                next++;
            NAME(pool_divide)(v + o * inner, (next - o) * inner, rows * (REAL)columns);
        }
#if PC_WIDENED
        REAL *const to = y;
#else
        REAL *const to = x;
#endif
        NAME(pool_spread_columns)(p, v, apart, level, y, to);
#if PC_WIDENED
        STORED(write)(x, y, p->w.in * inner);
#endif
    }
}

static void STORED(pool_spread_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const int64_t last = pc_min(job->p->n_boxes, (task + 1) * job->p->run);
    for (int64_t i = task * job->p->run; i < last; i++)
        STORED(pool_spread_rows)(job->p, job->arrays, pc_spread_box_of(job->p, i), worker);
}

#endif
