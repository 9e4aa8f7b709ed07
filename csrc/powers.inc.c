/* Powers of whole vectors, and roots of rows: what norms are made of.
 *
 * A whole power p is products of squares, at most p - 1 of them that round. Its root, for p <= PC_ROOT_MOST: the bits of
 * a float are a line through its logarithm, so that a p-th of them, counted from 1's, is the root within a tenth; each of
 * Newton's steps y += y (s / y^p - 1) / p squares the error, (p - 1) / 2 times. Powers on the way have to be numbers: rows
 * with sums beyond 2^+-PC_ROOT_REACH, and all other p, go through the library's pow in double, one element at a time. */

#ifndef PC_POWER_CONSTANTS
#define PC_POWER_CONSTANTS
enum { PC_ROOT_MOST = 8 };

/* Whether p is an integer, and all of its neighbours too. */
static inline int pc_is_whole(double p) { return p < 0x1p53 && p == (double)(int64_t)p; }
#endif

INLINE VEC NAME(absolute)(VEC x) { return (VEC)((MASK)x & (INTEGER)(UINT64_MAX >> (65 - 8 * sizeof(REAL)))); }

/* x^p for a whole p >= 0. */
INLINE VEC NAME(whole_power)(VEC x, int64_t p) {
    VEC power = NAME(splat)(1);
    for (; p; p >>= 1, x *= x)
        if (p & 1)
            power *= x;
    return power;
}

/* |x|^p */
static __attribute__((noinline)) void NAME(any_power)(REAL *x, double p) {
    for (int l = 0; l < LANES; l++)
        x[l] = (REAL)pow(fabs((double)x[l]), p);
}

/* x^power for power > 0, which is whole then; |x|^-power for power < 0. */
INLINE VEC NAME(raised)(VEC x, double power) {
    const double p = fabs(power);
    if (power < 0)
        x = NAME(absolute)(x);
    if (pc_is_whole(p))
        return NAME(whole_power)(x, (int64_t)p);
    _Alignas(64) REAL lanes[LANES];
    NAME(store)(lanes, x);
    NAME(any_power)(lanes, p);
    return NAME(load)(lanes);
}

INLINE VEC NAME(whole_root)(VEC s, int64_t p) {
    enum { STEPS = sizeof(REAL) == 4 ? 4 : 6 };
    const REAL inverse = 1 / (REAL)p;
    const MASK one = (MASK)NAME(splat)(1);
    VEC y = (VEC)(__builtin_convertvector(__builtin_convertvector((MASK)s - one, VEC) * inverse, MASK) + one);
    for (int step = 0; step < STEPS; step++)
        y += y * (s / NAME(whole_power)(y, p) - 1) * inverse;
    return NAME(select)(s == 0, s, y);
}

/* y[i] = y[i]^(1/p), i < n; nothing is negative, unless p is 1. */
static __attribute__((noinline)) void NAME(root)(REAL *y, int64_t n, double p) {
    if (p == 1)
        return;
    if (p == 2) {
        for (int64_t i = 0; i < n; i++)
            y[i] = sizeof(REAL) == 4 ? (REAL)__builtin_sqrtf((float)y[i]) : (REAL)__builtin_sqrt((double)y[i]);
        return;
    }
    int64_t i = 0;
    const REAL reach = (REAL)(sizeof(REAL) == 4 ? 0x1p100 : 0x1p900), least = 1 / reach;
    if (p <= PC_ROOT_MOST && pc_is_whole(p)) {
        for (; i + LANES <= n; i += LANES) {
            const VEC s = NAME(load)(y + i);
            const MASK beyond = ~(((s > least) & (s < reach)) | (s == 0));
            int any = 0;
            for (int l = 0; l < LANES; l++)
                any |= beyond[l] != 0;
            if (any)
                break;
            NAME(store)(y + i, NAME(whole_root)(s, (int64_t)p));
        }
        for (; i < n && n - i < LANES; i++) {
            const REAL s = y[i];
            if (!((s > least && s < reach) || s == 0))
                break;
            y[i] = NAME(whole_root)(NAME(splat)(s), (int64_t)p)[0];
        }
    }
    for (; i < n; i++)
        y[i] = (REAL)pow((double)y[i], 1 / p);
}
