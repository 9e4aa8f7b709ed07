/* pool_separable: maxima, averages and norms of windows.
 *
 *   out[n, c, p] = join over a of x[n, c, s p - before + d a], the taps inside x only; one, two or three axes.
 *
 * A maximum and a sum over a box are those of its rows, joined column by column, and then of the columns: kd kh + kw
 * steps an output and not kd kh kw. One row of outputs at a time: the rows of x under its windows are joined in whole
 * vectors into v, which lies in L1 with the border around it, and v's columns are joined into the row. Arrays whose
 * channels are fastest in memory are the same with `inner` elements in place of one: rows of w * inner elements, columns
 * `inner` apart. So one body serves both orders, and the lanes are full in both.
 *
 * Columns: up to PC_POOL_TAPS taps are joined in registers; more by doubling, windows of 2, 4, 8 ... columns from two of
 * half the width (a maximum may use two that overlap, a sum takes those of k's binary digits). With stride 2 two vectors
 * are drawn apart; windows further apart, and adaptive ones, are a vector each, LANES of which fold into one (and small
 * planes with adaptive windows are turned first, pool_lanes.inc.c). Rows: with 7 taps and more, close together, by van
 * Herk's and by Gil and Werman's method (1992, 1993): the joins from each row of a block of k rows to its end, and from its
 * begin; a window is one of the first kind and one of the second, whatever k is. Nothing is ever subtracted, so a sum has
 * its usual error, and a NaN or an infinity stays in its own windows.
 *
 * A norm is the root of a sum: elements are raised to its power as their rows are loaded (powers.inc.c), and outputs take
 * the root where an average is divided.
 *
 * flops: at most kd kh + kw an output, moved: x and the output once. A task is a tile of output rows and columns of one
 * plane; every output is joined in an order that its tile's place decides, and the cut is plan's. */

typedef struct STORED(pool_job) {
    const pc_pool *p;
    const pc_pool_arrays *arrays;
} STORED(pool_job);

/* What a row's elements are joined as: themselves, squares, or powers. */
#if PC_INTEGERS
#define RAISED(x) ((void)raise, (void)power, (x))
#else
#define RAISED(x) NAME(pool_raised)(x, raise, power)
#endif

/* v[0..n) = join of n_rows rows of n elements each and, unless `fresh`, of what v holds. Elements of v behind n up to the
 * next whole vector, and that vector, may be written, with the identity; `end` is where the array ends that the rows
 * are of. Elements are squared with `raise` 1, raised to `power` with 2. */
INLINE void STORED(pool_rows_of)(const STORAGE *const *row, const int64_t n_rows, int64_t n, const int fresh,
                                 const STORAGE *end, REAL *v, const int total, const int raise, double power) {
    int64_t i = 0;
    /* four at a time, and so nearly in the order of memory, as long as whole vectors may be read */
    const int64_t readable = n_rows > 3 && fresh && !raise && !PC_INTEGERS ? pc_min(end - row[0], end - row[n_rows - 1]) : 0;
    for (; i + 2 * LANES < n && i + 4 * LANES <= readable; i += 4 * LANES) {
        VEC sum[4];
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++)
            sum[l] = STORED(load)(row[0] + i + l * LANES);
        for (int64_t r = 1; r < n_rows; r++)
#pragma GCC unroll 4
            for (int l = 0; l < 4; l++)
                sum[l] = NAME(pool_join)(sum[l], STORED(load)(row[r] + i + l * LANES), total);
#pragma GCC unroll 4
        for (int l = 0; l < 4; l++) {
            const int64_t left = n - i - l * LANES;
            NAME(store)(v + i + l * LANES,
                        left >= LANES ? sum[l] : NAME(pool_first)(sum[l], left, NAME(pool_identity)(total)));
        }
    }
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        VEC a = RAISED(STORED(load)(row[0] + i)), b = RAISED(STORED(load)(row[0] + i + LANES));
        if (!fresh) {
            a = NAME(pool_join)(NAME(load)(v + i), a, total);
            b = NAME(pool_join)(NAME(load)(v + i + LANES), b, total);
        }
        for (int64_t r = 1; r < n_rows; r++) {
            a = NAME(pool_join)(a, RAISED(STORED(load)(row[r] + i)), total);
            b = NAME(pool_join)(b, RAISED(STORED(load)(row[r] + i + LANES)), total);
        }
        NAME(store)(v + i, a);
        NAME(store)(v + i + LANES, b);
    }
    for (; i < n; i += LANES) {
        const int64_t left = n - i;
        VEC sum = fresh ? NAME(pool_identity)(total) : NAME(load)(v + i);
        for (int64_t r = 0; r < n_rows; r++) {
            VEC x = {0};
            if (left >= LANES || end - row[r] >= i + LANES)
                x = STORED(load)(row[r] + i);
            else
                STORED(read)((REAL *)&x, row[r] + i, left);
            x = RAISED(x);
            sum = r == 0 && fresh ? x : NAME(pool_join)(sum, x, total);
        }
        NAME(store)(v + i, left < LANES ? NAME(pool_first)(sum, left, NAME(pool_identity)(total)) : sum);
    }
}
#undef RAISED

static __attribute__((noinline)) void STORED(pool_rows_max)(const STORAGE *const *row, int64_t n_rows, int64_t n,
                                                            int fresh, const STORAGE *end, REAL *v) {
    if (fresh && n_rows == 2)
        STORED(pool_rows_of)(row, 2, n, 1, end, v, 0, 0, 0);
    else if (fresh && n_rows == 3)
        STORED(pool_rows_of)(row, 3, n, 1, end, v, 0, 0, 0);
    else if (fresh)
        STORED(pool_rows_of)(row, n_rows, n, 1, end, v, 0, 0, 0);
    else
        STORED(pool_rows_of)(row, n_rows, n, 0, end, v, 0, 0, 0);
}

#if !PC_INTEGERS
static __attribute__((noinline)) void STORED(pool_rows_sum)(const STORAGE *const *row, int64_t n_rows, int64_t n,
                                                            int fresh, const STORAGE *end, REAL *v) {
    if (fresh && n_rows == 2)
        STORED(pool_rows_of)(row, 2, n, 1, end, v, 1, 0, 0);
    else if (fresh && n_rows == 3)
        STORED(pool_rows_of)(row, 3, n, 1, end, v, 1, 0, 0);
    else if (fresh)
        STORED(pool_rows_of)(row, n_rows, n, 1, end, v, 1, 0, 0);
    else
        STORED(pool_rows_of)(row, n_rows, n, 0, end, v, 1, 0, 0);
}

static __attribute__((noinline)) void STORED(pool_rows_raised)(const STORAGE *const *row, int64_t n_rows, int64_t n,
                                                               int fresh, const STORAGE *end, REAL *v, double power) {
    if (power == 2 && fresh)
        STORED(pool_rows_of)(row, n_rows, n, 1, end, v, 1, 1, power);
    else if (power == 2)
        STORED(pool_rows_of)(row, n_rows, n, 0, end, v, 1, 1, power);
    else if (fresh)
        STORED(pool_rows_of)(row, n_rows, n, 1, end, v, 1, 2, power);
    else
        STORED(pool_rows_of)(row, n_rows, n, 0, end, v, 1, 2, power);
}
#endif

INLINE void STORED(pool_rows)(const STORAGE *const *row, int64_t n_rows, int64_t n, int fresh, const STORAGE *end,
                              REAL *v, const int total, double power) {
#if !PC_INTEGERS
    if (total && power != 0) {
        STORED(pool_rows_raised)(row, n_rows, n, fresh, end, v, power);
        return;
    }
    if (total) {
        STORED(pool_rows_sum)(row, n_rows, n, fresh, end, v);
        return;
    }
#endif
    (void)total;
    (void)power;
    STORED(pool_rows_max)(row, n_rows, n, fresh, end, v);
}

/* v[0..n) = join of the rows under the windows of output (d_out, h_out); x points at column `first` of the plane. */
INLINE void STORED(pool_window_rows)(const pc_ld *ld, const STORAGE *x, pc_pool_taps d, pc_pool_taps h, int64_t n,
                                     const STORAGE *end, REAL *v, const int total, double power) {
    const STORAGE *row[PC_POOL_LIST];
    int64_t listed = 0;
    int fresh = 1;
    for (int64_t a = 0; a < d.n; a++)
        for (int64_t b = 0; b < h.n; b++) {
            row[listed++] = x + (d.first + a * d.step) * ld->d + (h.first + b * h.step) * ld->h;
            if (listed == PC_POOL_LIST) {
                STORED(pool_rows)(row, listed, n, fresh, end, v, total, power);
                listed = fresh = 0;
            }
        }
    if (listed)
        STORED(pool_rows)(row, listed, n, fresh, end, v, total, power);
    else if (fresh)
        NAME(pool_fill)(v, n, NAME(pool_identity)(total));
}

/* One row of outputs out of its v: columns joined, averaged, stored. */
INLINE void STORED(pool_finish)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0, int64_t n, pc_pool_taps d,
                                pc_pool_taps h, REAL *level, REAL *y, STORAGE *out, int64_t room, const int total) {
#if PC_WIDENED
    REAL *const to = y;
    room = LANES;
#else
    REAL *const to = out;
    (void)y;
#endif
    NAME(pool_columns)(p, v, from, w0, n, level, to, room, total);
#if !PC_INTEGERS
    if (total && p->norm != 0)
        NAME(pool_norms)(p, to, w0, n, d, h);
    else if (total)
        NAME(pool_average)(p, to, w0, n, d, h);
#endif
    (void)d;
    (void)h;
#if PC_WIDENED
    STORED(write)(out, y, n * p->inner);
#endif
}

#if !PC_INTEGERS
/* Windows of at most LANES neighbouring columns, anywhere: a vector each, LANES of which fold into one of results. v:
 * `rows` rows, of windows h. */
INLINE void STORED(pool_windows_of)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0, int64_t n,
                                    const pc_pool_taps *h, int64_t rows, pc_pool_taps d, STORAGE *out, const int total) {
    enum { MOST = 64 };
    pc_pool_taps w[MOST];
    int64_t at[MOST], taps[MOST];
    REAL across[MOST], down[PC_POOL_BATCH], count[LANES];
    INTEGER ones[2 * LANES]; /* LANES - n elements from its begin: n ones, and then zeros */
    for (int l = 0; l < 2 * LANES; l++)
        ones[l] = l < LANES ? -1 : 0;
    for (int64_t r = 0; r < rows; r++)
        down[r] = (REAL)(p->include_pad ? d.all * h[r].all : d.n * h[r].n);
    const VEC identity = NAME(pool_identity)(total);
    for (int64_t o0 = 0; o0 < n; o0 += MOST) {
        const int64_t columns = pc_min(MOST, n - o0);
        pc_pool_taps_from(&p->w, p->pad_after_w, p->adaptive, w0 + o0, columns, w);
        for (int64_t o = 0; o < columns; o++) {
            at[o] = p->adaptive ? w[o].first - from : (o0 + o) * p->w.stride;
            taps[o] = p->adaptive ? w[o].n : p->w.k;
            across[o] = (REAL)(p->include_pad ? w[o].all : w[o].n);
        }
        int64_t r = 0, o = 0;
        for (int64_t left = rows * columns; left > 0; left -= LANES) {
            VEC line[LANES], seen = {0};
            const int64_t these = pc_min(LANES, left);
            STORAGE *to[LANES];
            for (int64_t l = 0; l < LANES; l++) { /* the last one again, where there are no more */
                MASK inside;
                memcpy(&inside, ones + LANES - taps[o], sizeof inside);
                const VEC x = (VEC)((MASK)NAME(load)(v + r * p->v_elems + at[o]) & inside);
                if (!total)
                    seen += x;
                line[l] = total ? x : (VEC)((MASK)x | ((MASK)identity & ~inside));
                count[l] = down[r] * across[o] != 0 ? down[r] * across[o] : 1;
                to[l] = out + r * p->ld_out.h + o0 + o;
                if (l < these - 1 || these == LANES) {
                    o = o + 1 == columns ? 0 : o + 1;
                    r += o == 0;
                }
            }
            VEC y = {0};
            if (!total && NAME(pool_across)(seen, 1) != NAME(pool_across)(seen, 1)) {
                for (int64_t l = 0; l < LANES; l++)
                    y[l] = NAME(pool_across)(line[l], 0);
            } else {
                y = NAME(pool_across_each)(line, total);
            }
            if (total)
                y /= p->divisor != 0 ? NAME(splat)((REAL)p->divisor) : NAME(load)(count);
            if (these == LANES && to[LANES - 1] == to[0] + LANES - 1)
                STORED(write)(to[0], (const REAL *)&y, LANES);
            else
                for (int64_t l = 0; l < these; l++)
                    STORED(put)(to[l], y[l]);
        }
    }
}

static __attribute__((noinline)) void STORED(pool_windows_max)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0,
                                                               int64_t n, const pc_pool_taps *h, int64_t rows,
                                                               pc_pool_taps d, STORAGE *out) {
    STORED(pool_windows_of)(p, v, from, w0, n, h, rows, d, out, 0);
}

static __attribute__((noinline)) void STORED(pool_windows_sum)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0,
                                                               int64_t n, const pc_pool_taps *h, int64_t rows,
                                                               pc_pool_taps d, STORAGE *out) {
    STORED(pool_windows_of)(p, v, from, w0, n, h, rows, d, out, 1);
}
#endif

/* A plane of short rows, strides 1 or 2: with the border between the rows (that behind one is that before the next) it is
 * one long row, in which the taps of a window's rows are a row apart. Every window of stride 1 is made; of stride 2 every
 * second one is taken. */
INLINE void STORED(pool_plane)(const pc_pool *p, const STORAGE *x, const STORAGE *end, pc_pool_taps d, REAL *padded,
                               STORAGE *out, const int total) {
    REAL *const v = padded + p->v_elems, *const level = v + p->v_elems;
    const int64_t pitch = p->plane_pitch, n = ((p->h.out - 1) * p->h.stride + 1) * pitch;
    REAL *const drawn = level + p->n_levels * p->v_elems;
    NAME(pool_fill)(padded, p->v_elems, NAME(pool_identity)(total));
    if (d.n)
        for (int64_t h = 0; h < p->h.in; h++) {
            const STORAGE *const row[1] = {x + d.first * p->ld_x.d + h * p->ld_x.h};
            REAL *const to = padded + (h + p->h.pad) * pitch + p->w.pad;
#if !PC_INTEGERS
            if (p->power != 0) {
                STORED(pool_rows_raised)(row, 1, p->w.in, 1, end, to, p->power);
                continue;
            }
#endif
            STORED(pool_rows_of)(row, 1, p->w.in, 1, end, to, total, 0, 0);
        }
    NAME(pool_dense)(padded, n + (p->w.k - 1) * p->w.dilation, p->h.k, pitch * p->h.dilation, level, p->v_elems, v,
                     LANES, total);
    NAME(pool_dense)(v, n, p->w.k, p->w.dilation, level, p->v_elems, padded, LANES, total);
#if !PC_INTEGERS
    REAL *const counts = v; /* of each column */
    if (total && p->norm == 0)
        NAME(pool_column_counts)(p, 0, p->w.out, counts);
#endif
    for (int64_t h_out = 0; h_out < p->h.out; h_out++, out += p->ld_out.h) {
        REAL *row = padded + h_out * p->h.stride * pitch;
        if (p->w.stride == 2) {
            for (int64_t o = 0; o < p->w.out; o += LANES)
                NAME(store)(drawn + o, NAME(every_second)(NAME(load)(row + 2 * o), NAME(load)(row + 2 * o + LANES), 0));
            row = drawn;
        }
#if !PC_INTEGERS
        if (total && p->norm != 0) {
            NAME(pool_norms)(p, row, 0, p->w.out, d, pc_pool_taps_of(&p->h, 0, 0, h_out));
        } else if (total) {
            const pc_pool_taps h = pc_pool_taps_of(&p->h, p->pad_after_h, 0, h_out);
            const REAL rows = p->divisor != 0 ? (REAL)p->divisor
                                              : (REAL)pc_max(1, p->include_pad ? d.all * h.all : d.n * h.n);
            /* the last vector takes what the next row begins with along, and gives it back */
            const int64_t rest = p->w.out % LANES;
            const VEC behind = NAME(load)(row + p->w.out);
            for (int64_t o = 0; o < p->w.out; o += LANES)
                NAME(store)(row + o, NAME(load)(row + o) / (NAME(load)(counts + o) * rows));
            if (rest)
                NAME(store)(row + p->w.out, behind);
        }
#endif
#if PC_WIDENED
        STORED(write)(out, row, p->w.out);
#else
        if (p->ld_out.h == p->w.out && (p->h.out - 1 - h_out) * p->w.out >= LANES)
            NAME(copy_over)(out, row, p->w.out);
        else
            NAME(copy)(out, row, p->w.out);
#endif
    }
}

/* A window of n neighbours of one row, a vector of joins of every LANES-th of them; `quick`: a NaN may be lost, and what
 * is loaded is added to `seen`. */
INLINE VEC STORED(pool_line)(const STORAGE *x, int64_t n, const STORAGE *end, const int total, const int quick,
                             VEC *seen) {
    const VEC identity = NAME(pool_identity)(total);
    VEC a = identity, b = identity;
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        const VEC c = STORED(load)(x + i), d = STORED(load)(x + i + LANES);
        if (quick)
            *seen += c + d;
        a = quick ? NAME(pool_larger)(a, c) : NAME(pool_join)(a, c, total);
        b = quick ? NAME(pool_larger)(b, d) : NAME(pool_join)(b, d, total);
    }
    for (; i < n; i += LANES) {
        const int64_t left = n - i;
        VEC last = {0};
        if (left >= LANES || end - x >= i + LANES)
            last = STORED(load)(x + i);
        else
            STORED(read)((REAL *)&last, x + i, left);
        if (quick)
            *seen += left >= LANES ? last : NAME(pool_first)(last, left, (VEC){0});
        last = left >= LANES ? last : NAME(pool_first)(last, left, identity);
        a = quick ? NAME(pool_larger)(a, last) : NAME(pool_join)(a, last, total);
    }
    return quick ? NAME(pool_larger)(a, b) : NAME(pool_join)(a, b, total);
}

/* LANES rows, `step` apart, of which each is one window, those behind `rows` the same as the last one. */
INLINE VEC STORED(pool_some_lines)(const pc_pool *p, const STORAGE *x, int64_t step, int64_t rows, const STORAGE *end,
                                   const int total) {
    VEC line[LANES] = {{0}}, seen = {0};
    (void)seen;
    for (int64_t i = 0; i < rows; i++)
        line[i] = STORED(pool_line)(x + i * step, p->w.k, end, total, !PC_INTEGERS && !total, &seen);
#if !PC_INTEGERS
    if (!total && NAME(pool_across)(seen, 1) != NAME(pool_across)(seen, 1)) {
        VEC y = {0};
        for (int64_t i = 0; i < rows; i++)
            y[i] = NAME(pool_across)(STORED(pool_line)(x + i * step, p->w.k, end, 0, 0, &seen), 0);
        return y;
    }
#endif
    for (int64_t i = rows; i < LANES; i++)
        line[i] = line[rows - 1];
    return NAME(pool_across_each)(line, total);
}

/* Rows of which each is one window, a vector of them at a time; v holds that. */
static __attribute__((noinline)) void STORED(pool_lines)(const pc_pool *p, const STORAGE *x, const STORAGE *end,
                                                         int64_t n, REAL *v, STORAGE *out, const int total) {
    for (int64_t first = 0; first < n; first += LANES) {
        const int64_t rows = pc_min(LANES, n - first), step = p->h.stride * p->ld_x.h;
        NAME(store)(v, STORED(pool_some_lines)(p, x + first * step, step, rows, end, total));
#if !PC_INTEGERS
        if (total && p->norm != 0)
            NAME(root)(v, rows, p->norm);
        else if (total)
            NAME(pool_divide)(v, rows, p->divisor != 0 ? (REAL)p->divisor : (REAL)p->w.k);
#endif
        STORAGE *const to = out + first * p->ld_out.h;
        if (p->ld_out.h == 1)
            STORED(write)(to, v, rows);
        else
            for (int64_t i = 0; i < rows; i++)
                STORED(put)(to + i * p->ld_out.h, v[i]);
    }
}

#if !PC_INTEGERS
/* sums[0..n) = sums of powers over the windows of outputs from w0 on of row (d, h), of |x|^p where those of x^p are
 * negative. x: the first column of the plane that they read; v: with zeros around that; left of them: nothing. `other`:
 * as long as `sums`; returns whether any were negative. */
static int STORED(pool_power_sums)(const pc_pool *p, const pc_ld *ld, const STORAGE *x, const STORAGE *end,
                                   pc_columns columns, int64_t w0, int64_t n, pc_pool_taps d, pc_pool_taps h, REAL *v,
                                   REAL *level, REAL *sums, REAL *other) {
    const int64_t inside = pc_max(0, pc_min(p->w.in, columns.first + columns.n) - columns.first) * p->inner;
    STORED(pool_window_rows)(ld, x, d, h, inside, end, v, 1, p->power);
    NAME(pool_columns)(p, v, columns.first, w0, n, level, sums, LANES, 1);
    int negative = 0;
    if (p->signs)
        for (int64_t i = 0; i < n * p->inner; i++)
            negative |= sums[i] < 0;
    if (!negative)
        return 0;
    STORED(pool_window_rows)(ld, x, d, h, inside, end, v, 1, -p->power);
    NAME(pool_columns)(p, v, columns.first, w0, n, level, other, LANES, 1);
    return 1;
}

/* Rows of norms whose sums may be negative. */
static __attribute__((noinline)) void STORED(pool_signed_rows)(const pc_pool *p, const STORAGE *x, const STORAGE *end,
                                                               pc_pool_box box, REAL *v, STORAGE *out) {
    REAL *const sums = v + p->v_elems, *const other = sums + p->y_elems, *const level = other + p->y_elems;
    const pc_columns columns = pc_columns_of(p, box.w0, box.n);
    const pc_pool_taps d = pc_pool_taps_of(&p->d, 0, 0, box.d);
    NAME(clear_over)(v, p->v_elems);
    for (int64_t h_out = box.h0; h_out < box.h1; h_out++, out += p->ld_out.h) {
        const pc_pool_taps h = pc_pool_taps_of(&p->h, 0, 0, h_out);
        if (STORED(pool_power_sums)(p, &p->ld_x, x, end, columns, box.w0, box.n, d, h, v, level, sums, other))
            for (int64_t i = 0; i < box.n * p->inner; i += LANES) {
                const VEC sum = NAME(load)(sums + i);
                NAME(store)(sums + i, NAME(select)(sum < 0, NAME(load)(other + i), sum));
            }
        NAME(pool_norms)(p, sums, box.w0, box.n, d, h);
        STORED(write)(out, sums, box.n * p->inner);
    }
}
#endif

#if !PC_INTEGERS
/* pool_fused.inc.c */
static int STORED(pool_fused_max)(const pc_pool *p, const STORAGE *array, const STORAGE *x, pc_pool_box box, REAL *scratch,
                                  STORAGE *out, const STORAGE *limit);
static int STORED(pool_fused_sum)(const pc_pool *p, const STORAGE *array, const STORAGE *x, pc_pool_box box, REAL *scratch,
                                  STORAGE *out, const STORAGE *limit);
static void STORED(pool_fused_spread)(const pc_pool *p, const STORAGE *array, const STORAGE *g, pc_spread_box box,
                                      REAL *scratch, STORAGE *x, const STORAGE *limit);
#endif

/* One box of outputs; the same task goes on with `later` boxes. */
INLINE void STORED(pool_tile)(const pc_pool *p, const pc_pool_arrays *arrays, pc_pool_box box, int64_t later, int worker,
                              const int total) {
    const int64_t image = box.image, c = box.c, d_out = box.d, h0 = box.h0, h1 = box.h1, w0 = box.w0, n = box.n;
    const STORAGE *const base = arrays->x;
    STORAGE *out = (STORAGE *)arrays->out + image * p->ld_out.n + c * p->ld_out.c + d_out * p->ld_out.d +
                   h0 * p->ld_out.h + w0 * p->inner;
    REAL *const v = (REAL *)(arrays->scratch + worker * p->scratch_bytes);
#if !PC_INTEGERS
    if (p->fused) { /* one depth a window, in x */
        const STORAGE *const plane = base + image * p->ld_x.n + c * p->ld_x.c + d_out * p->ld_x.d;
        const int64_t own = pc_pool_own(p, box, later, p->ld_out.h);
        const STORAGE *const limit = own ? out + own : NULL;
        if ((total ? STORED(pool_fused_sum) : STORED(pool_fused_max))(p, base, plane, box, v + p->fused_at, out, limit))
            return;
    }
#endif
    (void)later;
    const pc_columns columns = pc_columns_of(p, w0, n);
    const int64_t left = pc_max(0, -columns.first), first = columns.first + left;
    const int64_t inside = pc_max(0, pc_min(p->w.in, columns.first + columns.n) - first);
    const STORAGE *const end = base + p->x_end;
    const STORAGE *const x = base + image * p->ld_x.n + c * p->ld_x.c + first * p->inner;
    REAL *const y = v + p->batch * p->v_elems, *const level = y + p->y_elems;
    REAL *const suffix = level + p->n_levels * p->level_elems;
    REAL *const prefix = suffix + p->h.k * p->herk_elems;
    const pc_pool_taps d = pc_pool_taps_of(&p->d, p->pad_after_d, p->adaptive, d_out);
    if (p->plane_pitch) {
        STORED(pool_plane)(p, x, end, d, v, out, total);
        return;
    }
    if (p->lines) {
        STORED(pool_lines)(p, x + d.first * p->ld_x.d + h0 * p->h.stride * p->ld_x.h, end, h1 - h0, v, out, total);
        return;
    }
#if !PC_INTEGERS
    if (total && p->signs) {
        STORED(pool_signed_rows)(p, x, end, box, v, out);
        return;
    }
#endif
    const VEC identity = NAME(pool_identity)(total);
    const int64_t length = inside * p->inner;
    /* the border right of x, before each row of it: whole vectors of a row may reach over it */
    NAME(pool_fill)(v, p->batch * p->v_elems, identity);
    REAL *const middle = v + left * p->inner;

    /* rows of this task that follow each other: one may write over the next, which is written later */
    const int one_run = p->ld_out.h == n * p->inner;

    if (!p->herk) {
        /* several rows of v, all of them before any of their columns: a processor is slow to read what it has just
         * written in other pieces */
        for (int64_t first_row = h0; first_row < h1; first_row += p->batch) {
            const int64_t rows = pc_min(p->batch, h1 - first_row);
            pc_pool_taps h[PC_POOL_BATCH];
            pc_pool_taps_from(&p->h, p->pad_after_h, p->adaptive, first_row, rows, h);
            for (int64_t b = 0; b < rows; b++)
                STORED(pool_window_rows)(&p->ld_x, x, d, h[b], length, end, middle + b * p->v_elems, total, p->power);
#if !PC_INTEGERS
            if (p->narrow) {
                (total ? STORED(pool_windows_sum) : STORED(pool_windows_max))(p, v, columns.first, w0, n, h, rows, d, out);
                out += rows * p->ld_out.h;
                continue;
            }
#endif
            for (int64_t b = 0; b < rows; b++, out += p->ld_out.h)
                STORED(pool_finish)(p, v + b * p->v_elems, columns.first, w0, n, d, h[b], level, y, out,
                                    one_run ? (h1 - 1 - first_row - b) * p->ld_out.h : 0, total);
        }
        return;
    }
    const int64_t k = p->h.k, start = h0 * p->h.stride - p->h.pad;
    int64_t h_out = h0;
    for (int64_t block = start; h_out < h1; block += k) {
        int64_t next = h_out * p->h.stride - p->h.pad; /* the first row of the next window */
        for (int64_t t = k - 1; t >= pc_max(0, next - block); t--) {
            REAL *const to = suffix + t * p->herk_elems;
            const int64_t i = block + t;
            if (t < k - 1)
                NAME(copy_over)(to, to + p->herk_elems, length);
            else
                NAME(pool_fill)(to, length, identity);
            if (i >= 0 && i < p->h.in) {
                const STORAGE *const row[1] = {x + d.first * p->ld_x.d + i * p->ld_x.h};
                if (d.n)
                    STORED(pool_rows)(row, 1, length, 0, end, to, total, p->power);
            }
        }
        NAME(pool_fill)(prefix, length, identity);
        for (int64_t t = 0; t < k && h_out < h1; t++) {
            if (t > 0) {
                const int64_t i = block + k + t - 1;
                if (i >= 0 && i < p->h.in && d.n) {
                    const STORAGE *const row[1] = {x + d.first * p->ld_x.d + i * p->ld_x.h};
                    STORED(pool_rows)(row, 1, length, 0, end, prefix, total, p->power);
                }
            }
            if (block + t != next)
                continue;
            const pc_pool_taps h = pc_pool_taps_of(&p->h, p->pad_after_h, 0, h_out);
            const REAL *const from = suffix + t * p->herk_elems;
            NAME(pool_both)(from, prefix, length, middle, total); /* beyond `length` both hold the identity */
            STORED(pool_finish)(p, v, columns.first, w0, n, d, h, level, y, out,
                                one_run ? (h1 - 1 - h_out) * p->ld_out.h : 0, total);
            out += p->ld_out.h;
            h_out++;
            next += p->h.stride;
        }
    }
}

static void STORED(pool_max_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const int64_t last = pc_min(job->p->n_boxes, (task + 1) * job->p->run);
    for (int64_t i = task * job->p->run; i < last; i++)
        STORED(pool_tile)(job->p, job->arrays, pc_pool_box_of(job->p, i), last - 1 - i, worker, 0);
}

#if !PC_INTEGERS
static void STORED(pool_sum_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const int64_t last = pc_min(job->p->n_boxes, (task + 1) * job->p->run);
    for (int64_t i = task * job->p->run; i < last; i++)
        STORED(pool_tile)(job->p, job->arrays, pc_pool_box_of(job->p, i), last - 1 - i, worker, 1);
}
#endif

#if !PC_INTEGERS
/* pool_lanes.inc.c */
static void STORED(pool_lanes_max_task)(void *ctx, int64_t task, int worker);
static void STORED(pool_lanes_sum_task)(void *ctx, int64_t task, int worker);
#endif

static int STORED(pool_separable_run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(pool_separable, DTYPE, PC_ISA)));
    STORED(pool_job) job = {p, arrays};
    pc_task task = STORED(pool_max_task);
#if !PC_INTEGERS
    if (p->turned)
        task = p->kind == PC_POOL_MAX ? STORED(pool_lanes_max_task) : STORED(pool_lanes_sum_task);
    else if (p->kind != PC_POOL_MAX)
        task = STORED(pool_sum_task);
#endif
    pc_parallel(task, &job, p->n_tasks, threads);
    return PC_OK;
}
