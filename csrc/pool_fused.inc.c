/* pool_separable's and pool_indexed's small windows: 2 x 2, 3 x 3 and 5 x 5, strides 1 and 2, rows in memory.
 *
 * Nothing is put aside: the rows under the windows of one row of outputs are joined in registers, a vector of columns at
 * a time, and these columns joined with the next vector's, shifted by 1, 2, ... lanes, or, with stride 2, drawn apart
 * into even and odd ones first. The order of joins is that of the other bodies, so sums have the same bits. Columns and
 * rows outside x are the identity: lanes are chosen by their column, rows are those of a border in the scratch.
 *
 * Maxima are the processor's own, one instruction, which loses a NaN. So everything that is loaded is also added up, once: a
 * box whose sum is a NaN (an element was one, or both infinities or an overflow met in it, which is rare) is done again
 * by the other bodies.
 *
 * flops: kh + kw - 2 an output; moved: x and the output once, and kh loads an element of x / stride. */

#if !PC_WIDENED

/* Which lanes of a vector of columns from c on lie in x. */
INLINE MASK NAME(pool_inside)(int64_t c, int64_t width) {
    MASK lane;
    for (int l = 0; l < LANES; l++)
        lane[l] = (INTEGER)l;
    return (lane >= (INTEGER)pc_max(0, -c)) & (lane < (INTEGER)pc_min(LANES, width - c));
}

/* The identity of sums in the border: it leaves the sign of a zero alone. */
INLINE VEC NAME(pool_outside)(const int total) { return total ? NAME(splat)((REAL)-0.0) : NAME(pool_identity)(0); }

#endif

/* What a row of outputs reads. */
typedef struct STORED(pool_view) {
    const STORAGE *begin, *end; /* of the array */
    int64_t width;
    int safe; /* whole vectors may be read from `pad` before the rows to LANES - 1 behind them */
} STORED(pool_view);

/* Elements c .. c + LANES of a row, zeros where the array has none. */
static __attribute__((noinline)) VEC STORED(pool_near_end)(const STORED(pool_view) *view, const STORAGE *row,
                                                           int64_t c) {
    STORAGE part[LANES];
    memset(part, 0, sizeof part);
    const int64_t lo = pc_max(0, view->begin - row - c), hi = pc_min(LANES, view->end - row - c);
    if (lo < hi)
        memcpy(part + lo, row + c + lo, (size_t)(hi - lo) * sizeof *part);
    return STORED(load)(part);
}

/* Columns c .. c + LANES of `rows` rows joined where not all of that may be read, and all of it added up. */
static __attribute__((noinline)) VEC STORED(pool_block_near_end)(const STORED(pool_view) *view,
                                                                 const STORAGE *const *row, int64_t rows,
                                                                 const STORAGE *border, int64_t c, VEC *seen,
                                                                 int total) {
    VEC v = {0};
    for (int64_t r = 0; r < rows; r++) {
        const VEC x = row[r] == border ? STORED(load)(row[r] + c) : STORED(pool_near_end)(view, row[r], c);
        v = r == 0 ? x : total ? v + x : NAME(pool_larger)(v, x);
        *seen = r == 0 ? x : *seen + x;
    }
    return v;
}

/* Columns c .. c + LANES of `rows` rows joined; the last `fresh` rows are added to `seen`. `border` is safe to read. */
INLINE VEC STORED(pool_block)(const STORED(pool_view) *view, const STORAGE *const *row, const int rows,
                              const STORAGE *border, int64_t c, VEC *seen, const int fresh, const int total) {
    const int whole = c >= 0 && c + LANES <= view->width;
    const VEC outside = NAME(pool_outside)(total);
    if (c >= view->width || c + LANES <= 0)
        return outside;
    VEC v = {0};
    if (__builtin_expect(whole || view->safe, 1)) {
        for (int r = 0; r < rows; r++) {
            const VEC x = STORED(load)(row[r] + c);
            v = r == 0 ? x : NAME(pool_quick)(v, x, total);
            if (r >= rows - fresh)
                *seen += x;
        }
    } else {
        VEC all;
        v = STORED(pool_block_near_end)(view, row, rows, border, c, &all, total);
        if (fresh)
            *seen += all;
    }
    return whole ? v : NAME(select)(NAME(pool_inside)(c, view->width), v, outside);
}

/* Adds n rows, which may be outside x, to `seen`. */
static __attribute__((noinline)) VEC STORED(pool_see)(const STORED(pool_view) *view, const STORAGE *const *row,
                                                      int64_t n, const STORAGE *border) {
    VEC seen = {0};
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < view->width && row[r] != border; c += LANES)
            seen += view->safe || c + LANES <= view->width ? STORED(load)(row[r] + c)
                                                           : STORED(pool_near_end)(view, row[r], c);
    return seen;
}

static __attribute__((noinline)) void STORED(pool_put_part)(STORAGE *to, VEC v, int64_t n) {
    STORAGE part[LANES];
    STORED(store)(part, v);
    STORED(copy_part)(to, part, n);
}

/* to[0..n) = v, up to LANES of them; elements before `limit`, which may be NULL, may be written over. */
INLINE void STORED(pool_put)(STORAGE *to, VEC v, int64_t n, const STORAGE *limit) {
    if (n >= LANES || to + LANES <= limit)
        STORED(store)(to, v);
    else
        STORED(pool_put_part)(to, v, n);
}

/* What sums become: times a number where that is exact, else over one count, or over counts of rows and columns. */
typedef struct STORED(pool_shares) {
    REAL inverse, uniform, rows; /* the first two: 0 for none */
    const REAL *columns;
} STORED(pool_shares);

INLINE VEC STORED(pool_share)(const STORED(pool_shares) *shares, int64_t i, VEC sum) {
    if (shares->inverse != 0)
        return sum * shares->inverse;
    return sum / (shares->uniform != 0 ? NAME(splat)(shares->uniform) : NAME(load)(shares->columns + i) * shares->rows);
}

/* Outputs i .. i + LANES from their columns: with stride 1 these and the next ones as they come, with stride 2 the even
 * ones, and the odd ones beside them. */
INLINE VEC STORED(pool_fused_columns)(VEC now, VEC odd, VEC next, const STORED(pool_shares) *shares, int64_t i,
                                      const int k, const int stride, const int total) {
    VEC y = NAME(pool_quick)(now, stride == 1 ? NAME(shifted)(now, next, 1) : odd, total);
    if (k > 2)
        y = NAME(pool_quick)(y, NAME(shifted)(now, next, stride == 1 ? 2 : 1), total);
    if (k > 3)
        y = NAME(pool_quick)(y, NAME(shifted)(now, next, 3), total);
    if (k > 4)
        y = NAME(pool_quick)(y, NAME(shifted)(now, next, 4), total);
    return total ? STORED(pool_share)(shares, i, y) : y;
}

/* n outputs of one row of windows of k x k from column c on. */
INLINE void STORED(pool_fused_row)(const STORED(pool_view) *view, const STORAGE *const *row, const STORAGE *border,
                                   int64_t c, int64_t n, const STORED(pool_shares) *shares, STORAGE *out,
                                   const STORAGE *limit, VEC *seen, const int k, const int stride, const int total) {
    const int fresh = total ? 0 : stride;
    VEC now = {0}, odd = {0};
    for (int64_t i = -LANES; i < n; i += LANES) {
        const int more = i + LANES < n, step = i + LANES; /* the last vector may need the first columns behind it */
        VEC next = now, next_odd = odd;
        if (stride == 1 && step < n + k - 1) {
            next = STORED(pool_block)(view, row, k, border, c + step, seen, fresh, total);
        } else if (stride == 2 && step <= n - (k == 2)) {
            const VEC a = STORED(pool_block)(view, row, k, border, c + 2 * step, seen, fresh, total);
            VEC b = a;
            if (more)
                b = STORED(pool_block)(view, row, k, border, c + 2 * step + LANES, seen, fresh, total);
            next = NAME(every_second)(a, b, 0);
            next_odd = NAME(every_second)(a, b, 1);
        }
        if (i >= 0) {
            const VEC y = STORED(pool_fused_columns)(now, odd, next, shares, i, k, stride, total);
            STORED(pool_put)(out + i, y, n - i, limit);
        }
        now = next;
        odd = next_odd;
    }
}

/* The same where columns c .. c + LANES, `inside` of them in x, are all that a row has, and may be read. */
INLINE void STORED(pool_fused_narrow)(const STORAGE *const *row, int64_t c, MASK inside, int64_t n,
                                      const STORED(pool_shares) *shares, STORAGE *out, const STORAGE *limit, VEC *seen,
                                      const int k, const int stride, const int total) {
    const VEC outside = NAME(pool_outside)(total);
    VEC v = STORED(load)(row[0] + c);
    if (!total && k == stride)
        *seen += v;
    for (int r = 1; r < k; r++) {
        const VEC x = STORED(load)(row[r] + c);
        v = NAME(pool_quick)(v, x, total);
        if (!total && r >= k - stride)
            *seen += x;
    }
    v = NAME(select)(inside, v, outside);
    VEC odd = {0};
    if (stride == 2) {
        odd = NAME(every_second)(v, outside, 1);
        v = NAME(every_second)(v, outside, 0);
    }
    STORED(pool_put)(out, STORED(pool_fused_columns)(v, odd, outside, shares, 0, k, stride, total), n, limit);
}

/* Whether n rows from `row` on, `ld` apart, are `safe`. */
INLINE int STORED(pool_is_safe)(const STORED(pool_view) *view, const STORAGE *row, int64_t n, int64_t ld, int64_t pad) {
    const int64_t reach = (n - 1) * ld, at = row - view->begin;
    return at + pc_min(0, reach) >= pad && view->end - view->begin - at - pc_max(0, reach) >= view->width + LANES - 1;
}

/* A box of outputs, x at its plane; 0 where a NaN may have been lost. */
INLINE int STORED(pool_fused_box)(const pc_pool *p, const STORAGE *array, const STORAGE *x, pc_pool_box box,
                                  REAL *scratch, STORAGE *out, const STORAGE *limit, const int k, const int stride,
                                  const int total) {
    STORED(pool_view) view = {array + p->x_begin, array + p->x_end, p->w.in, 0};
    REAL *const counts = scratch;
    STORAGE *const border = (STORAGE *)(scratch + p->count_elems) + LANES;
    const int64_t c = box.w0 * stride - p->w.pad;
    STORED(pool_shares) shares = {0, (REAL)p->uniform, 0, counts};
    if (total && p->uniform != 0)
        shares.inverse = NAME(pool_exact_inverse)(shares.uniform);
    else if (total)
        NAME(pool_column_counts)(p, box.w0, box.n, counts);
    const int64_t first = box.h0 * p->h.stride - p->h.pad, last = (box.h1 - 1) * p->h.stride - p->h.pad + k;
    if (first < 0 || last > p->h.in)
        for (int64_t i = -LANES; i < p->w.in + LANES; i += LANES)
            STORED(store)(border + i, NAME(pool_outside)(total));
    const int64_t ld = p->ld_x.h, lowest = pc_max(0, first), highest = pc_min(p->h.in, last);
    const int safe = STORED(pool_is_safe)(&view, x + lowest * ld, highest - lowest, ld, p->w.pad);
    const int narrow = safe && c + LANES >= p->w.in && box.n <= LANES / stride;
    const MASK inside = NAME(pool_inside)(c, p->w.in);
    VEC seen = {0};
    int64_t top = first;
    for (int64_t h_out = box.h0; h_out < box.h1; h_out++, out += p->ld_out.h, top += stride) {
        const STORAGE *row[5];
        view.safe = safe;
        if (safe && top >= 0 && top + k <= p->h.in) { /* the usual row */
            const STORAGE *at = x + top * ld;
            for (int r = 0; r < k; r++, at += ld)
                row[r] = at;
        } else {
            const int64_t from = pc_max(0, top), to = pc_min(p->h.in, top + k);
            for (int r = 0; r < k; r++)
                row[r] = top + r < 0 || top + r >= p->h.in ? border : x + (top + r) * ld;
            view.safe = STORED(pool_is_safe)(&view, x + from * ld, to - from, ld, p->w.pad);
        }
        if (total && p->uniform == 0) {
            const pc_pool_taps h = pc_pool_taps_of(&p->h, p->pad_after_h, 0, h_out);
            shares.rows = p->divisor != 0 ? (REAL)p->divisor : (REAL)pc_max(1, p->include_pad ? h.all : h.n);
        }
        if (!total && h_out == box.h0) /* later rows of outputs have seen all rows but their last ones before */
            seen = STORED(pool_see)(&view, row, k - stride, border);
        if (narrow)
            STORED(pool_fused_narrow)(row, c, inside, box.n, &shares, out, limit, &seen, k, stride, total);
        else
            STORED(pool_fused_row)(&view, row, border, c, box.n, &shares, out, limit, &seen, k, stride, total);
    }
    return total || NAME(pool_across)(seen, 1) == NAME(pool_across)(seen, 1);
}

INLINE int STORED(pool_fused_of)(const pc_pool *p, const STORAGE *array, const STORAGE *x, pc_pool_box box, REAL *scratch,
                                 STORAGE *out, const STORAGE *limit, const int total) {
    switch (p->fused) {
    case 2: return STORED(pool_fused_box)(p, array, x, box, scratch, out, limit, 2, 2, total);
    case 3:
        return p->w.stride == 1 ? STORED(pool_fused_box)(p, array, x, box, scratch, out, limit, 3, 1, total)
                                : STORED(pool_fused_box)(p, array, x, box, scratch, out, limit, 3, 2, total);
    default: return STORED(pool_fused_box)(p, array, x, box, scratch, out, limit, 5, 1, total);
    }
}

static __attribute__((noinline)) int STORED(pool_fused_max)(const pc_pool *p, const STORAGE *array, const STORAGE *x,
                                                            pc_pool_box box, REAL *scratch, STORAGE *out,
                                                            const STORAGE *limit) {
    return STORED(pool_fused_of)(p, array, x, box, scratch, out, limit, 0);
}

static __attribute__((noinline)) int STORED(pool_fused_sum)(const pc_pool *p, const STORAGE *array, const STORAGE *x,
                                                            pc_pool_box box, REAL *scratch, STORAGE *out,
                                                            const STORAGE *limit) {
    return STORED(pool_fused_of)(p, array, x, box, scratch, out, limit, 1);
}

/* pool_spread with stride 2 along the rows, windows of k = 2 or 3 that all count the same: row `to` of grad_x from the
 * two rows of g under it, v[t] their sum over the count. Column i, `pad` after the first window's begin, has v[t] and, of
 * three, every second time v[t - 1] or v[t + 1] as well. */
INLINE void STORED(pool_fused_spread_row)(const STORED(pool_view) *view, const STORAGE *const *row,
                                          const STORAGE *border, int64_t pad, int64_t n, REAL inverse, REAL count,
                                          STORAGE *to, const STORAGE *limit, const int k) {
    const int even = pad % 2 == 0;
    const int64_t c = pad / 2 - (k == 3 && even);
    VEC now = {0}, unused = {0};
    for (int64_t i = -2 * LANES; i < n; i += 2 * LANES) {
        VEC next = STORED(pool_block)(view, row, 2, border, c + i / 2 + LANES, &unused, 0, 1);
        next = inverse != 0 ? next * inverse : next / count;
        const VEC neighbour = NAME(shifted)(now, next, 1), both = now + neighbour;
        if (i >= 0) {
            VEC pair[2];
            if (k == 2)
                NAME(zip)(now, even ? now : neighbour, pair);
            else
                NAME(zip)(even ? both : now, even ? neighbour : both, pair);
            STORED(pool_put)(to + i, pair[0], n - i, limit);
            if (i + LANES < n)
                STORED(pool_put)(to + i + LANES, pair[1], n - i - LANES, limit);
        }
        now = next;
    }
}

static __attribute__((noinline)) void STORED(pool_fused_spread)(const pc_pool *p, const STORAGE *array,
                                                                const STORAGE *g, pc_spread_box box, REAL *scratch,
                                                                STORAGE *x, const STORAGE *limit) {
    STORED(pool_view) view = {array + p->x_begin, array + p->out_end, p->w.out, 0};
    STORAGE *const border = (STORAGE *)scratch + LANES;
    for (int64_t i = -LANES; i < p->w.out + LANES; i += LANES)
        STORED(store)(border + i, NAME(pool_outside)(1));
    const REAL count = (REAL)p->uniform, inverse = NAME(pool_exact_inverse)(count);
    pc_columns before = {-1, 0};
    for (int64_t h_in = box.h0; h_in < box.h1; h_in++, x += p->ld_x.h) {
        const pc_columns h = pc_covering(&p->h, 0, h_in);
        if (h.first == before.first && h.n == before.n) {
            memcpy(x, x - p->ld_x.h, (size_t)p->w.in * sizeof(STORAGE));
            continue;
        }
        before = h;
        if (h.n == 0) {
            memset(x, 0, (size_t)p->w.in * sizeof(STORAGE));
            continue;
        }
        const STORAGE *const first = g + h.first * p->ld_out.h;
        const STORAGE *const row[2] = {first, h.n == 2 ? first + p->ld_out.h : border};
        view.safe = STORED(pool_is_safe)(&view, first, h.n, p->ld_out.h, 1);
        if (p->fused == 2)
            STORED(pool_fused_spread_row)(&view, row, border, p->w.pad, p->w.in, inverse, count, x, limit, 2);
        else
            STORED(pool_fused_spread_row)(&view, row, border, p->w.pad, p->w.in, inverse, count, x, limit, 3);
    }
}
