/* What the pooling kernels are made of: where windows lie, and rows of them joined, divided and rooted in whole vectors.
 *
 * Tasks, taps and columns are numbers alone and the same for every type; the rest is of REAL, as rows lie in scratch.
 * pool.inc.c has the formula and the reasons for the order of its steps. */

#ifndef PC_POOL_CONSTANTS
#define PC_POOL_CONSTANTS
enum { PC_POOL_TAPS = 8, PC_POOL_HERK = 7, PC_POOL_LIST = 32 };

/* Taps of output o of one axis that lie in x: `n` of them from index `first` on, `step` apart; `all` of them count for
 * an average that counts the border. */
typedef struct pc_pool_taps {
    int64_t first, n, step, all;
} pc_pool_taps;

static inline pc_pool_taps pc_pool_taps_of(const pc_axis *a, int64_t pad_after, int64_t adaptive, int64_t o) {
    if (adaptive) {
        /* o * in / out without the product, which may not fit */
        const int64_t whole = a->in / a->out, rest = a->in % a->out;
        const int64_t first = o * whole + o * rest / a->out, end = (o + 1) * whole + pc_ceil_div((o + 1) * rest, a->out);
        return (pc_pool_taps){first, end - first, 1, end - first};
    }
    const int64_t start = o * a->stride - a->pad;
    if (a->dilation == 1) {
        const int64_t end = start + a->k, from = pc_max(0, start);
        return (pc_pool_taps){from, pc_max(0, pc_min(end, a->in) - from), 1, pc_min(end, a->in + pad_after) - start};
    }
    const int64_t skip = start < 0 ? pc_ceil_div(-start, a->dilation) : 0;
    const int64_t end = pc_min(a->k, start < a->in ? (a->in - 1 - start) / a->dilation + 1 : 0);
    return (pc_pool_taps){start + skip * a->dilation, pc_max(0, end - skip), a->dilation, a->k};
}

/* The taps of n outputs from o on: those of an adaptive axis by steps, without a division for each. */
static inline void pc_pool_taps_from(const pc_axis *a, int64_t pad_after, int64_t adaptive, int64_t o, int64_t n,
                                     pc_pool_taps *taps) {
    if (!adaptive || n == 0) {
        for (int64_t i = 0; i < n; i++)
            taps[i] = pc_pool_taps_of(a, pad_after, 0, o + i);
        return;
    }
    const int64_t whole = a->in / a->out, rest = a->in % a->out;
    int64_t first = o * whole + o * rest / a->out, over = o * rest % a->out;
    for (int64_t i = 0; i < n; i++) {
        const int64_t carry = over + rest >= a->out, next = first + whole + carry;
        over += rest - carry * a->out;
        const int64_t length = next + (over > 0) - first;
        taps[i] = (pc_pool_taps){first, length, 1, length};
        first = next;
    }
}

/* The lowest digit of a number whose base there is n; most bases are 1, and a division takes as long as a short row. */
static inline int64_t pc_pool_digit(int64_t *number, int64_t n) {
    if (n == 1)
        return 0;
    const int64_t digit = *number % n;
    *number /= n;
    return digit;
}

/* A task: rows h0 .. h1 and n columns from w0 on of the outputs of one plane. */
typedef struct pc_pool_box {
    int64_t image, c, d, h0, h1, w0, n;
} pc_pool_box;

static inline pc_pool_box pc_pool_box_of(const pc_pool *p, int64_t task) {
    pc_pool_box box;
    int64_t rest = task;
    box.w0 = pc_pool_digit(&rest, p->n_w_tiles) * p->w_tile;
    box.h0 = pc_pool_digit(&rest, p->n_h_tiles) * p->h_tile;
    box.d = pc_pool_digit(&rest, p->d.out);
    box.c = pc_pool_digit(&rest, p->c);
    box.image = rest;
    box.h1 = pc_min(p->h.out, box.h0 + p->h_tile);
    box.n = pc_min(p->w_tile, p->w.out - box.w0);
    return box;
}

/* Elements from a box's first output on that are its task's, and each written later than any before it; 0 where outputs
 * do not follow each other. */
static inline int64_t pc_pool_own(const pc_pool *p, pc_pool_box box, int64_t later, int64_t ld_h) {
    if (ld_h != box.n)
        return 0;
    return (box.h1 - box.h0) * ld_h + (p->planes_follow ? later * p->h.out * p->w.out : 0);
}

/* Columns of x that the outputs [w0, w0 + n) of a row read, from `first` on, which may lie before x. */
typedef struct pc_columns {
    int64_t first, n;
} pc_columns;

static inline pc_columns pc_columns_of(const pc_pool *p, int64_t w0, int64_t n) {
    if (p->adaptive) {
        const pc_pool_taps a = pc_pool_taps_of(&p->w, 0, 1, w0), b = pc_pool_taps_of(&p->w, 0, 1, w0 + n - 1);
        return (pc_columns){a.first, b.first + b.n - a.first};
    }
    return (pc_columns){w0 * p->w.stride - p->w.pad, (n - 1) * p->w.stride + (p->w.k - 1) * p->w.dilation + 1};
}

/* How many outputs' windows hold index i of an axis, and the first of them. */
static inline pc_columns pc_covering(const pc_axis *a, int64_t adaptive, int64_t i) {
    int64_t first, end;
    if (adaptive) {
        first = i * a->out / a->in;
        end = pc_ceil_div((i + 1) * a->out, a->in);
    } else {
        const int64_t last = i + a->pad - a->k + 1; /* of the padded axis, the first place where such a window begins */
        first = last > 0 ? pc_ceil_div(last, a->stride) : 0;
        end = (i + a->pad) / a->stride + 1;
    }
    first = pc_min(first, a->out);
    return (pc_columns){first, pc_max(0, pc_min(end, a->out) - first)};
}

/* A task of a gradient: rows h0 .. h1 of depth d of one plane of grad_x. */
typedef struct pc_spread_box {
    int64_t image, c, d, h0, h1;
} pc_spread_box;

static inline pc_spread_box pc_spread_box_of(const pc_pool *p, int64_t task) {
    pc_spread_box box;
    int64_t rest = task;
    box.h0 = pc_pool_digit(&rest, p->n_h_tiles) * p->h_tile;
    box.d = pc_pool_digit(&rest, p->d.in);
    box.c = pc_pool_digit(&rest, p->c);
    box.image = rest;
    box.h1 = pc_min(p->h.in, box.h0 + p->h_tile);
    return box;
}
#endif

#if !PC_WIDENED

/* What a join begins with: the least value there is, or zero. */
INLINE VEC NAME(pool_identity)(const int total) {
    if (total)
        return (VEC){0};
#if PC_INTEGERS
    const REAL ones = (REAL)-1;
    const REAL least = ones > 0 ? 0 : (REAL)((REAL)1 << (8 * sizeof(REAL) - 1));
#else
    const REAL least = -(REAL)__builtin_inf();
#endif
    return NAME(splat)(least);
}

/* Where gcc 12 finds a maximum of the processor's own: in a loop over elements that it makes vectors of itself. Of vectors'
 * comparisons it makes three instructions, of their lanes scalars; unrolled before it sees the loop it is these again. */
typedef union NAME(elements) {
    VEC vec;
    REAL element[LANES];
} NAME(elements);

/* The larger one, a where they are equal or one is a NaN. */
INLINE VEC NAME(pool_larger)(VEC a, VEC b) {
    NAME(elements) x = {a}, y = {b};
#pragma GCC unroll 1
    for (int l = 0; l < LANES; l++)
        x.element[l] = y.element[l] > x.element[l] ? y.element[l] : x.element[l];
    return x.vec;
}

/* The sum, or the larger one, a NaN before any number. */
INLINE VEC NAME(pool_join)(VEC a, VEC b, const int total) {
    if (total)
        return a + b;
#if PC_INTEGERS
    return NAME(pool_larger)(a, b);
#else
    return NAME(select)((MASK)(a == a), NAME(pool_larger)(b, a), a);
#endif
}

/* All lanes of v joined; lane 0 with lane LANES / 2 and so on. Not a loop, in which gcc makes the patterns of the shuffles
 * anew each time. */
INLINE REAL NAME(pool_across)(VEC v, const int total) {
    if (LANES > 32)
        v = NAME(pool_join)(v, NAME(shifted)(v, v, 32), total);
    if (LANES > 16)
        v = NAME(pool_join)(v, NAME(shifted)(v, v, 16), total);
    if (LANES > 8)
        v = NAME(pool_join)(v, NAME(shifted)(v, v, 8), total);
    if (LANES > 4)
        v = NAME(pool_join)(v, NAME(shifted)(v, v, 4), total);
    if (LANES > 2)
        v = NAME(pool_join)(v, NAME(shifted)(v, v, 2), total);
    return NAME(pool_join)(v, NAME(shifted)(v, v, 1), total)[0];
}

/* The sum, or the larger one: the processor's own maximum, which loses a NaN. */
INLINE VEC NAME(pool_quick)(VEC a, VEC b, const int total) {
    return total ? a + b : NAME(pool_larger)(a, b);
}

/* Vectors of groups of 2 half lanes, n of each: v[i]'s halves of groups joined, and v[i + n / 2]'s beside them. */
INLINE void NAME(pool_fold)(VEC *v, const int n, const int half, const int total) {
    MASK low, high;
    for (int l = 0; l < LANES; l++) {
        low[l] = l / half % 2 * LANES + l / half / 2 * 2 * half + l % half;
        high[l] = low[l] + half;
    }
#pragma GCC unroll 8
    for (int i = 0; i < n / 2; i++) {
        VEC a, b;
        PC_SHUFFLE(a, v[i], v[i + n / 2], low);
        PC_SHUFFLE(b, v[i], v[i + n / 2], high);
        v[i] = NAME(pool_quick)(a, b, total);
    }
}

/* Lane i: all lanes of v[i] joined, in pool_across's order. */
INLINE VEC NAME(pool_across_each)(VEC *v, const int total) {
#if !PC_INTEGERS
    if (LANES >= 16)
        NAME(pool_fold)(v, 16, 8, total);
    if (LANES >= 8)
        NAME(pool_fold)(v, 8, 4, total);
    if (LANES >= 4)
        NAME(pool_fold)(v, 4, 2, total);
    NAME(pool_fold)(v, 2, 1, total);
    return v[0];
#else
    VEC r = {0};
    for (int i = 0; i < LANES; i++)
        r[i] = NAME(pool_across)(v[i], total);
    return r;
#endif
}

/* The first n < LANES lanes of v, others `rest`. */
INLINE VEC NAME(pool_first)(VEC v, int64_t n, VEC rest) {
    MASK lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = (INTEGER)i;
    return NAME(select)(lane < (INTEGER)n, v, rest);
}

/* Windows of k columns: y[i] = join over a < k of v[i + a * step], i < n; `room` elements behind them may be written. */
INLINE void NAME(pool_taps)(const REAL *v, int64_t n, const int64_t k, int64_t step, REAL *y, int64_t room,
                            const int total) {
    for (int64_t i = 0; i < n; i += LANES) {
        VEC sum = NAME(load)(v + i);
        for (int64_t a = 1; a < k; a++)
            sum = NAME(pool_join)(sum, NAME(load)(v + i + a * step), total);
        if (i + LANES <= n + room)
            NAME(store)(y + i, sum);
        else
            NAME(copy_part)(y + i, (const REAL *)&sum, n - i);
    }
}

/* The same with stride 2. */
INLINE void NAME(pool_pairs)(const REAL *v, int64_t n, const int64_t k, int64_t step, REAL *y, int64_t room,
                             const int total) {
    for (int64_t i = 0; i < n; i += LANES) {
        const REAL *at = v + 2 * i;
        VEC sum = NAME(every_second)(NAME(load)(at), NAME(load)(at + LANES), 0);
        for (int64_t a = 1; a < k; a++) {
            const REAL *tap = at + a * step;
            if (step == 1 && a % 2 == 1) /* both halves of the vectors before */
                sum = NAME(pool_join)(sum, NAME(every_second)(NAME(load)(tap - 1), NAME(load)(tap - 1 + LANES), 1), total);
            else
                sum = NAME(pool_join)(sum, NAME(every_second)(NAME(load)(tap), NAME(load)(tap + LANES), 0), total);
        }
        if (i + LANES <= n + room)
            NAME(store)(y + i, sum);
        else
            NAME(copy_part)(y + i, (const REAL *)&sum, n - i);
    }
}

/* Windows of k columns by doubling, n of them, into y; level[] of `pitch` elements each holds those of 2, 4, 8 ... */
INLINE void NAME(pool_doubled)(const REAL *v, int64_t n, int64_t k, int64_t step, REAL *level, int64_t pitch, REAL *y,
                                  const int total) {
    const REAL *from = v;
    int64_t width = 1, taken = 0;
    const REAL *sum = NULL;
    int64_t sum_at = 0;
    REAL *next = level + pitch;
    for (;; width *= 2) {
        const int last = 2 * width > k;
        if (total && (k & width)) {
            /* the digits of k, lowest first: `taken` columns are in the sum already */
            if (!sum) {
                sum = from;
                sum_at = 0;
            } else {
                REAL *const to = last ? y : level;
                for (int64_t i = 0; i < n; i += LANES) {
                    const VEC both = NAME(load)(sum + sum_at + i) + NAME(load)(from + taken * step + i);
                    if (i + LANES <= n || !last)
                        NAME(store)(to + i, both);
                    else
                        NAME(copy_part)(to + i, (const REAL *)&both, n - i);
                }
                sum = level;
                sum_at = 0;
            }
            taken += width;
        }
        if (last)
            break;
        /* what later levels and the digits read of this one */
        const int64_t length = n + (k - 2 * width) * step;
        for (int64_t i = 0; i < length; i += LANES)
            NAME(store)(next + i, NAME(pool_join)(NAME(load)(from + i), NAME(load)(from + width * step + i), total));
        from = next;
        next += pitch;
    }
    if (total && sum != level && sum != NULL) {
        NAME(copy)(y, sum, n); /* k is a power of two */
    } else if (!total) {
        for (int64_t i = 0; i < n; i += LANES) {
            const VEC both = NAME(pool_join)(NAME(load)(from + i), NAME(load)(from + (k - width) * step + i), 0);
            if (i + LANES <= n)
                NAME(store)(y + i, both);
            else
                NAME(copy_part)(y + i, (const REAL *)&both, n - i);
        }
    }
}

/* Every window of k columns, n of them; one copy for maxima, one for sums, as of pool_columns: both are large. */
INLINE void NAME(pool_dense_of)(const REAL *v, int64_t n, int64_t k, int64_t step, REAL *level, int64_t pitch, REAL *y,
                             int64_t room, const int total) {
    switch (k) {
    case 1: NAME(copy)(y, v, n); return;
    case 2: NAME(pool_taps)(v, n, 2, step, y, room, total); return;
    case 3: NAME(pool_taps)(v, n, 3, step, y, room, total); return;
    case 5: NAME(pool_taps)(v, n, 5, step, y, room, total); return;
    default: break;
    }
    if (k > PC_POOL_TAPS)
        NAME(pool_doubled)(v, n, k, step, level, pitch, y, total);
    else
        NAME(pool_taps)(v, n, k, step, y, room, total);
}

static __attribute__((noinline)) void NAME(pool_dense_max)(const REAL *v, int64_t n, int64_t k, int64_t step,
                                                           REAL *level, int64_t pitch, REAL *y, int64_t room) {
    NAME(pool_dense_of)(v, n, k, step, level, pitch, y, room, 0);
}

#if !PC_INTEGERS
static __attribute__((noinline)) void NAME(pool_dense_sum)(const REAL *v, int64_t n, int64_t k, int64_t step,
                                                           REAL *level, int64_t pitch, REAL *y, int64_t room) {
    NAME(pool_dense_of)(v, n, k, step, level, pitch, y, room, 1);
}
#endif

INLINE void NAME(pool_dense)(const REAL *v, int64_t n, int64_t k, int64_t step, REAL *level, int64_t pitch, REAL *y,
                             int64_t room, const int total) {
#if !PC_INTEGERS
    if (total) {
        NAME(pool_dense_sum)(v, n, k, step, level, pitch, y, room);
        return;
    }
#endif
    (void)total;
    NAME(pool_dense_max)(v, n, k, step, level, pitch, y, room);
}

/* One window of n neighbouring elements. */
INLINE REAL NAME(pool_run)(const REAL *v, int64_t n, const int total) {
    int64_t i = 0;
    VEC sum = NAME(pool_identity)(total);
    for (; i + LANES <= n; i += LANES)
        sum = NAME(pool_join)(sum, NAME(load)(v + i), total);
    if (i < n)
        sum = NAME(pool_join)(sum, NAME(pool_first)(NAME(load)(v + i), n - i, NAME(pool_identity)(total)), total);
    return NAME(pool_across)(sum, total);
}

/* y[o][c] = join over the columns of output w0 + o of v[column][c], o < n; v begins with column `from`. LANES elements
 * beyond v's end may be read, `room` behind y's written. */
INLINE void NAME(pool_columns_of)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0, int64_t n, REAL *level,
                               REAL *y, int64_t room, const int total) {
    const int64_t k = p->w.k, stride = p->w.stride, step = p->w.dilation * p->inner, inner = p->inner;
    if (!p->adaptive && stride == 1) {
        NAME(pool_dense)(v, n * inner, k, step, level, p->level_elems, y, room, total);
        return;
    }
    if (!p->adaptive && stride == 2 && inner == 1) {
        switch (k) {
        case 2: NAME(pool_pairs)(v, n, 2, step, y, room, total); return;
        case 3: NAME(pool_pairs)(v, n, 3, step, y, room, total); return;
        default: NAME(pool_pairs)(v, n, k, step, y, room, total); return;
        }
    }
    for (int64_t o = 0; o < n; o++, y += inner) {
        int64_t first = o * stride, taps = k;
        if (p->adaptive) {
            const pc_pool_taps t = pc_pool_taps_of(&p->w, 0, 1, w0 + o);
            first = t.first - from;
            taps = t.n;
        }
        const REAL *at = v + first * inner;
        if (inner == 1) {
            if (step == 1 && (taps >= LANES || (!total && taps > 3))) { /* the order of maxima is of no account */
                *y = NAME(pool_run)(at, taps, total);
            } else {
                REAL sum = *at;
                for (int64_t a = 1; a < taps; a++) {
                    const REAL s = at[a * step];
#if !PC_INTEGERS
                    sum = total ? sum + s : sum >= s || sum != sum ? sum : s;
#else
                    sum = sum >= s ? sum : s;
#endif
                }
                *y = sum;
            }
            continue;
        }
        for (int64_t c = 0; c < inner; c += LANES) {
            VEC sum = NAME(load)(at + c);
            for (int64_t a = 1; a < taps; a++)
                sum = NAME(pool_join)(sum, NAME(load)(at + c + a * step), total);
            if (c + LANES <= inner)
                NAME(store)(y + c, sum);
            else
                NAME(copy_part)(y + c, (const REAL *)&sum, inner - c);
        }
    }
}

static __attribute__((noinline)) void NAME(pool_columns_max)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0,
                                                             int64_t n, REAL *level, REAL *y, int64_t room) {
    NAME(pool_columns_of)(p, v, from, w0, n, level, y, room, 0);
}

#if !PC_INTEGERS
static __attribute__((noinline)) void NAME(pool_columns_sum)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0,
                                                             int64_t n, REAL *level, REAL *y, int64_t room) {
    NAME(pool_columns_of)(p, v, from, w0, n, level, y, room, 1);
}
#endif

INLINE void NAME(pool_columns)(const pc_pool *p, const REAL *v, int64_t from, int64_t w0, int64_t n, REAL *level,
                               REAL *y, int64_t room, const int total) {
#if !PC_INTEGERS
    if (total) {
        NAME(pool_columns_sum)(p, v, from, w0, n, level, y, room);
        return;
    }
#endif
    (void)total;
    NAME(pool_columns_max)(p, v, from, w0, n, level, y, room);
}

/* to[i] = join(a[i], b[i]) for i < n, and up to LANES - 1 elements more; a or b may be `to`. */
INLINE void NAME(pool_both)(const REAL *a, const REAL *b, int64_t n, REAL *to, const int total) {
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(to + i, NAME(pool_join)(NAME(load)(a + i), NAME(load)(b + i), total));
}

INLINE void NAME(pool_fill)(REAL *v, int64_t n, VEC with) {
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(v + i, with);
}

#if !PC_INTEGERS
/* 1 / x where that is exact, else 0. */
INLINE REAL NAME(pool_exact_inverse)(REAL x) {
    INTEGER bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & (((INTEGER)1 << (sizeof(REAL) == 4 ? 23 : 52)) - 1)) == 0 ? 1 / x : 0;
}
/* Counts of the columns of outputs w0 .. w0 + n, and up to LANES - 1 ones behind them. */
static __attribute__((noinline)) void NAME(pool_column_counts)(const pc_pool *p, int64_t w0, int64_t n, REAL *counts) {
    NAME(pool_fill)(counts, n, NAME(splat)(p->divisor != 0 ? 1 : (REAL)p->w.k));
    for (int64_t o = 0; o < n && p->divisor == 0; o++) {
        if (w0 + o == p->whole_from)
            o = pc_max(o, p->whole_to - w0);
        if (o >= n)
            break;
        const pc_pool_taps t = pc_pool_taps_of(&p->w, p->pad_after_w, 0, w0 + o);
        counts[o] = (REAL)pc_max(1, p->include_pad ? t.all : t.n);
    }
}

/* y[i] /= divisor, i < n; by a power of two times its inverse, which is as exact. */
INLINE void NAME(pool_divide)(REAL *y, int64_t n, REAL divisor) {
    int64_t i = 0;
    const REAL inverse = NAME(pool_exact_inverse)(divisor);
    if (inverse != 0) {
        for (; i + LANES <= n; i += LANES)
            NAME(store)(y + i, NAME(load)(y + i) * inverse);
        for (; i < n; i++)
            y[i] *= inverse;
        return;
    }
    for (; i + LANES <= n; i += LANES)
        NAME(store)(y + i, NAME(load)(y + i) / divisor);
    for (; i < n; i++)
        y[i] /= divisor;
}

INLINE VEC NAME(pool_raised)(VEC x, const int raise, double power) {
    return raise == 0 ? x : raise == 1 ? x * x : NAME(raised)(x, power);
}

/* A row of sums of powers of outputs from w0 on becomes one of sums over whole windows: those that hang over the end
 * count as much as the others. */
static void NAME(pool_whole_sums)(const pc_pool *p, REAL *to, int64_t w0, int64_t n, pc_pool_taps d, pc_pool_taps h) {
    const REAL rows = (REAL)(d.n * h.n) / (REAL)(p->d.k * p->h.k);
    const int64_t whole = pc_min(n, pc_max(0, p->whole_to - w0));
    if (rows != 1)
        NAME(pool_divide)(to, whole * p->inner, rows);
    for (int64_t o = whole; o < n; o++) {
        const pc_pool_taps t = pc_pool_taps_of(&p->w, 0, 0, w0 + o);
        NAME(pool_divide)(to + o * p->inner, p->inner, rows * (REAL)t.n / (REAL)p->w.k);
    }
}

/* The same, and then one of norms. */
static void NAME(pool_norms)(const pc_pool *p, REAL *to, int64_t w0, int64_t n, pc_pool_taps d, pc_pool_taps h) {
    NAME(pool_whole_sums)(p, to, w0, n, d, h);
    NAME(root)(to, n * p->inner, p->norm);
}

/* A row of sums of outputs from w0 on becomes one of averages. */
static void NAME(pool_average)(const pc_pool *p, REAL *to, int64_t w0, int64_t n, pc_pool_taps d, pc_pool_taps h) {
    const REAL rows = (REAL)(p->include_pad ? d.all * h.all : d.n * h.n);
    const REAL whole = p->divisor != 0 ? (REAL)p->divisor : rows * (REAL)p->w.k;
    int64_t lo = n, hi = n; /* between them windows are whole */
    if (p->divisor != 0) {
        lo = 0;
    } else if (!p->adaptive) {
        lo = pc_min(n, pc_max(0, p->whole_from - w0));
        hi = pc_min(n, pc_max(lo, p->whole_to - w0));
    }
    NAME(pool_divide)(to + lo * p->inner, (hi - lo) * p->inner, whole);
    for (int64_t o = 0; o < n; o++) {
        if (o == lo)
            o = hi;
        if (o == n)
            break;
        const pc_pool_taps t = pc_pool_taps_of(&p->w, p->pad_after_w, p->adaptive, w0 + o);
        const REAL count = rows * (REAL)(p->include_pad ? t.all : t.n);
        NAME(pool_divide)(to + o * p->inner, p->inner, count != 0 ? count : 1);
    }
}
#endif

#endif
