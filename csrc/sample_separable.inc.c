/* sample_separable: resizing by sums of neighbours along up to three axes, and its gradient.
 *
 *   out[n, c, o_d, o_h, o_w] = sum over taps i of  Wd[o_d, i_d] Wh[o_h, i_h] Ww[o_w, i_w] x[n, c, i_d, i_h, i_w]
 *
 * The caller has made the tables: for each output of an axis the elements that it is a sum of, and their weights. The
 * gradient is the same with the tables transposed: for each element the outputs that it is a part of. So linear and cubic
 * modes, antialiasing, their gradients and every rank are this one kernel.
 *
 * Rows of outputs come one after the other. A row is combined from a few rows of x in whole vectors, and columns are
 * combined within rows; whichever of the two is less work when it is first. Where columns are first, rows of combined
 * columns are kept for the next row of outputs, `kept` of them, row i in place i % kept. Rows that no vector can read in
 * place, or that are themselves sums over planes, are made and kept likewise.
 *
 * Columns: LANES outputs read elements of a short stretch of the row. It is loaded in 2 or 4 vectors, and each tap of the
 * LANES outputs is a permutation of these: 2 loads, and for each tap a permutation and an FMA, for LANES outputs of an
 * enlargement. Longer stretches are gathered element by element. Pixels of many neighbouring channels are combined as
 * rows are; a few channels make the row longer and its tables with it.
 *
 * A tap that weighs nothing is not in a table: 0 * Inf must not count. Columns have equally many taps nevertheless: a
 * missing one is half of another one, exactly. Outputs without taps are zero.
 *
 * A task is a number of rows of outputs, each written by one task. flops: 2 a tap and axis. Memory: x once, out once.
 * Errors: one rounding for each weight, product and sum, (taps of all axes + 6) eps of the sum of magnitudes. */

#if !PC_WIDENED

/* dst[0..n) = or += sum over t of weight[t] rows[t][0..n); rows and dst hold LANES elements at least. */
static __attribute__((noinline)) void NAME(resample_rows)(const REAL *const *rows, const REAL *weight, int64_t taps,
                                                          int64_t n, int more, REAL *dst) {
    int64_t i = 0;
    if (taps == 2 && !more) {
        const REAL *const a = rows[0], *const b = rows[1];
        const REAL wa = weight[0], wb = weight[1];
        for (; i + LANES <= n; i += LANES)
            NAME(store)(dst + i, NAME(load)(a + i) * wa + NAME(load)(b + i) * wb);
    } else {
        for (; i + 4 * LANES <= n; i += 4 * LANES) {
            VEC s[4];
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++)
                s[v] = more ? NAME(load)(dst + i + v * LANES) : (VEC){0};
            for (int64_t t = 0; t < taps; t++)
#pragma GCC unroll 4
                for (int v = 0; v < 4; v++)
                    s[v] += NAME(load)(rows[t] + i + v * LANES) * weight[t];
#pragma GCC unroll 4
            for (int v = 0; v < 4; v++)
                NAME(store)(dst + i + v * LANES, s[v]);
        }
        for (; i + LANES <= n; i += LANES) {
            VEC s = more ? NAME(load)(dst + i) : (VEC){0};
            for (int64_t t = 0; t < taps; t++)
                s += NAME(load)(rows[t] + i) * weight[t];
            NAME(store)(dst + i, s);
        }
    }
    if (i == n)
        return;
    if (n < LANES || more) { /* element by element what must not be added twice */
        for (; i < n; i++) {
            REAL s = more ? dst[i] : 0;
            for (int64_t t = 0; t < taps; t++)
                s += rows[t][i] * weight[t];
            dst[i] = s;
        }
        return;
    }
    VEC s = (VEC){0};
    for (int64_t t = 0; t < taps; t++)
        s += NAME(load)(rows[t] + n - LANES) * weight[t];
    NAME(store)(dst + n - LANES, s);
}

/* Columns from stretches of the row in registers. */
INLINE void NAME(resample_stretches)(const pc_resample *p, const REAL *row, REAL *dst, const int vectors,
                                     const int64_t taps) {
    const REAL *weight = p->column_weight, *place = p->column_place; /* places are integers; only their bits are moved */
    for (int64_t b = 0; b < p->blocks; b++) {
        const REAL *const from = row + p->base[b];
        const VEC v0 = NAME(load)(from), v1 = NAME(load)(from + LANES);
        VEC v2 = {0}, v3 = {0}, sum = {0};
        if (vectors == 4) {
            v2 = NAME(load)(from + 2 * LANES);
            v3 = NAME(load)(from + 3 * LANES);
        }
        for (int64_t t = 0; t < taps; t++, weight += LANES, place += LANES) {
            const MASK at = (MASK)NAME(load)(place);
            const VEC share = NAME(load)(weight);
            VEC a;
            if (vectors == 2) {
                PC_SHUFFLE(a, v0, v1, at);
            } else {
                const MASK within = at & (2 * LANES - 1);
                VEC far;
                PC_SHUFFLE(a, v0, v1, within);
                PC_SHUFFLE(far, v2, v3, within);
                a = NAME(select)(at >= 2 * LANES, far, a);
            }
            sum = t ? sum + a * share : a * share;
        }
        NAME(store)(dst + p->start[b], sum);
    }
}

/* Columns gathered one by one. */
INLINE void NAME(resample_gathered)(const pc_resample *p, const REAL *row, REAL *dst) {
    const REAL *weight = p->column_weight, *place = p->column_place; /* places are integers; only their bits are moved */
    for (int64_t b = 0; b < p->blocks; b++) {
        const REAL *const from = row + p->base[b];
        VEC sum = {0};
        for (int64_t t = 0; t < p->taps; t++, weight += LANES, place += LANES) {
            const MASK at = (MASK)NAME(load)(place);
            const VEC share = NAME(load)(weight);
            VEC a = {0};
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                a[l] = from[at[l]];
            sum = t ? sum + a * share : a * share;
        }
        NAME(store)(dst + p->start[b], sum);
    }
}

/* All columns of a row of outputs; dst holds LANES elements at least. */
static __attribute__((noinline)) void NAME(resample_columns)(const pc_resample *p, const REAL *row, REAL *dst) {
    if (p->column_begin) {
        const REAL *const weight = p->column_weight;
        const int64_t *const index = p->column_place;
        for (int64_t o = 0; o < p->out[2]; o++) {
            const int64_t begin = p->column_begin[o], end = p->column_begin[o + 1];
            REAL *const to = dst + o * p->inner;
            for (int64_t t = begin; t < end; t += PC_RESAMPLE_KEPT) {
                const REAL *pixels[PC_RESAMPLE_KEPT];
                const int64_t n = pc_min(PC_RESAMPLE_KEPT, end - t);
                for (int64_t i = 0; i < n; i++)
                    pixels[i] = row + index[t + i] * p->inner;
                NAME(resample_rows)(pixels, weight + t, n, p->inner, t > begin, to);
            }
        }
    } else if (p->vectors == 2) {
        switch (p->taps) {
        case 2: NAME(resample_stretches)(p, row, dst, 2, 2); break;
        case 4: NAME(resample_stretches)(p, row, dst, 2, 4); break;
        default: NAME(resample_stretches)(p, row, dst, 2, p->taps); break;
        }
    } else if (p->vectors == 4) {
        switch (p->taps) {
        case 4: NAME(resample_stretches)(p, row, dst, 4, 4); break;
        default: NAME(resample_stretches)(p, row, dst, 4, p->taps); break;
        }
    } else {
        NAME(resample_gathered)(p, row, dst);
    }
    for (int64_t i = 0; i < p->n_empty; i++)
        for (int64_t j = 0; j < p->empty_length; j++)
            dst[p->empty[i] * p->empty_length + j] = 0;
}

#endif

typedef struct STORED(resample) {
    const pc_resample *p;
    const STORAGE *src;
    STORAGE *dst;
    char *scratch;
} STORED(resample);

/* What a worker has at hand: a plane of the output, and rows that are kept for it. */
typedef struct STORED(resample_view) {
    const pc_resample *p;
    const STORAGE *x; /* the image and channel */
    int64_t depth;    /* of the output */
    REAL *kept, *line, *spare;
    int64_t have[PC_RESAMPLE_KEPT];
} STORED(resample_view);

/* One row of x in memory as values, neighbours. */
static __attribute__((noinline)) void STORED(resample_load)(const pc_resample *p, const STORAGE *row, REAL *to) {
    const int64_t step = p->ld_x[4], inner = p->inner;
    if (step == inner) {
        STORED(read)(to, row, p->in[2] * inner);
        return;
    }
    for (int64_t w = 0; w < p->in[2]; w++)
        for (int64_t c = 0; c < inner; c++)
            to[w * inner + c] = STORED(get)(row + w * step + c);
}

/* Row h of x at the output's depth: where it is, or made in `to`. */
static const REAL *STORED(resample_source)(STORED(resample_view) *view, int64_t h, REAL *to) {
    const pc_resample *p = view->p;
    const STORAGE *const x = view->x + h * p->ld_x[3];
    const int64_t begin = p->begin[0][view->depth], end = p->begin[0][view->depth + 1];
    const REAL *const weight = (const REAL *)p->weight[0] + begin;
    const int64_t *const index = p->index[0] + begin;
    const int64_t width = p->in[2] * p->inner;
    if (end - begin == 1 && weight[0] == 1) {
        if (p->in_place)
            return (const REAL *)(x + index[0] * p->ld_x[2]);
        STORED(resample_load)(p, x + index[0] * p->ld_x[2], to);
        return to;
    }
    if (begin == end)
        for (int64_t i = 0; i < width; i++)
            to[i] = 0;
    for (int64_t t = 0; t < end - begin; t++) {
        const STORAGE *const from = x + index[t] * p->ld_x[2];
        const REAL *row = (const REAL *)from;
        if (!p->in_place) {
            STORED(resample_load)(p, from, view->spare);
            row = view->spare;
        }
        NAME(resample_rows)(&row, weight + t, 1, width, t > 0, to);
    }
    return to;
}

/* Row h as rows of outputs are combined from it. */
static const REAL *STORED(resample_row)(STORED(resample_view) *view, int64_t h) {
    const pc_resample *p = view->p;
    const int64_t slot = h % p->kept;
    REAL *const mine = view->kept + slot * p->kept_pitch;
    if (view->have[slot] == h)
        return mine;
    const REAL *const row = STORED(resample_source)(view, h, p->columns_first ? view->line : mine);
    if (!p->columns_first)
        if (row != mine)
            return row;
    if (p->columns_first)
        NAME(resample_columns)(p, row, mine);
    view->have[slot] = h;
    return mine;
}

static void STORED(resample_task)(void *ctx, int64_t task, int worker) {
    const STORED(resample) *job = ctx;
    const pc_resample *p = job->p;
    const int64_t rows = p->out[0] * p->out[1], last = pc_min(p->n * p->c * rows, (task + 1) * p->rows);
    const int64_t width = p->out[2] * p->inner, combined = p->columns_first || p->columns_same ? width
                                                                                               : p->in[2] * p->inner;
    STORED(resample_view) view = {.p = p, .depth = -1};
    view.kept = (REAL *)(job->scratch + worker * p->scratch_bytes);
    view.line = view.kept + p->kept * p->kept_pitch;
    view.spare = view.line + p->in_pitch;
    REAL *const mix = view.spare + p->in_pitch, *const result = mix + pc_max(p->in_pitch, p->out_pitch);
    int64_t plane = -1;
    for (int64_t r = task * p->rows; r < last; r++) {
        const int64_t d = r % rows / p->out[1], h = r % p->out[1];
        if (r / rows != plane || d != view.depth) {
            plane = r / rows;
            view.x = job->src + plane / p->c * p->ld_x[0] + plane % p->c * p->ld_x[1];
            view.depth = d;
            for (int i = 0; i < PC_RESAMPLE_KEPT; i++)
                view.have[i] = -1;
        }
        STORAGE *const out =
            job->dst + plane / p->c * p->ld_out[0] + plane % p->c * p->ld_out[1] + d * p->ld_out[2] + h * p->ld_out[3];
        REAL *const target = p->out_in_place ? (REAL *)out : result;
        const int columns_last = !p->columns_first && !p->columns_same;
        REAL *const sum = columns_last ? mix : target;
        const REAL *combination = sum;
        const int64_t begin = p->begin[1][h], end = p->begin[1][h + 1];
        const REAL *const weight = p->weight[1];
        const int64_t *const index = p->index[1];
        if (begin == end)
            for (int64_t i = 0; i < width; i++)
                target[i] = 0;
        if (end - begin == 1 && weight[begin] == 1 && columns_last) {
            combination = STORED(resample_row)(&view, index[begin]);
        } else {
            for (int64_t t = begin; t < end;) {
                const REAL *some[PC_RESAMPLE_KEPT];
                int64_t n = 0;
                for (; t + n < end && n < PC_RESAMPLE_KEPT && index[t + n] - index[t] < p->kept; n++)
                    some[n] = STORED(resample_row)(&view, index[t + n]);
                NAME(resample_rows)(some, weight + t, n, combined, t > begin, sum);
                t += n;
            }
        }
        if (columns_last && begin < end)
            NAME(resample_columns)(p, combination, target);
        if (p->out_in_place)
            continue;
        if (p->ld_out[4] == p->inner)
            STORED(write)(out, result, width);
        else
            for (int64_t w = 0; w < p->out[2]; w++)
                for (int64_t c = 0; c < p->inner; c++)
                    STORED(put)(out + w * p->ld_out[4] + c, result[w * p->inner + c]);
    }
}

static void STORED(sample_separable_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_resample *p = problem;
    STORED(resample) job = {p, arrays[0], arrays[1], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(sample_separable, DTYPE, PC_ISA)));
    pc_parallel(STORED(resample_task), &job, p->n_tasks, threads);
}
