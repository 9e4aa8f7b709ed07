/* The vector words that kernels may use: GCC vector extensions, no intrinsics. Included once for each element type
 * and instruction set; NAME(x) is x_<dtype>__<isa>, so perf, gdb and objdump say which copy ran. */
#define PC_CONCAT_(a, b) a##b
#define PC_CONCAT(a, b) PC_CONCAT_(a, b)
#define PC_PASTE_(name, dtype, isa) name##_##dtype##__##isa
#define PC_PASTE(name, dtype, isa) PC_PASTE_(name, dtype, isa)
#define NAME(name) PC_PASTE(name, DTYPE, PC_ISA)

#define INLINE static inline __attribute__((always_inline))
#define LANES (PC_VEC_BYTES / (int)sizeof(REAL))

typedef REAL NAME(real);
typedef REAL NAME(vec) __attribute__((vector_size(PC_VEC_BYTES)));
typedef REAL NAME(vec_unaligned) __attribute__((vector_size(PC_VEC_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAME(mask) __attribute__((vector_size(PC_VEC_BYTES)));
#define VEC NAME(vec)
#define MASK NAME(mask)

INLINE VEC NAME(load)(const REAL *p) { return *(const NAME(vec_unaligned) *)p; }
INLINE void NAME(store)(REAL *p, VEC v) { *(NAME(vec_unaligned) *)p = v; }
INLINE VEC NAME(splat)(REAL s) { return (VEC){0} + s; }
/* Lanes of a where m is set (all ones), of b elsewhere. */
INLINE VEC NAME(select)(MASK m, VEC a, VEC b) { return (VEC)(((MASK)a & m) | ((MASK)b & ~m)); }

/* The first n < LANES elements; nothing beyond them is touched. */
INLINE void NAME(copy_part)(REAL *dst, const REAL *src, int64_t n) {
#pragma GCC unroll 8
    for (int step = LANES / 2; step > 0; step /= 2) {
        if (n & step) {
            memcpy(dst, src, (size_t)step * sizeof(REAL));
            dst += step;
            src += step;
        }
    }
}

/* dst[0..n) = src[0..n), without a call. */
INLINE void NAME(copy)(REAL *dst, const REAL *src, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        NAME(store)(dst + i, NAME(load)(src + i));
    NAME(copy_part)(dst + i, src + i, n - i);
}

/* The same where up to LANES - 1 elements more may be read and written. */
INLINE void NAME(copy_over)(REAL *dst, const REAL *src, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(dst + i, NAME(load)(src + i));
}

/* dst[0..n) = 0, where up to LANES - 1 elements more may be written. */
INLINE void NAME(clear_over)(REAL *dst, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(dst + i, (VEC){0});
}

/* Elements 0, 2, 4, ... of a, then elements `odd`, odd + 2, ... of b. */
INLINE VEC NAME(alternate)(VEC a, VEC b, const int odd) {
#if defined(__clang__)
    VEC r;
    for (int i = 0; i < LANES / 2; i++) {
        r[i] = a[2 * i];
        r[LANES / 2 + i] = b[2 * i + odd];
    }
    return r;
#else
    MASK from;
    for (int i = 0; i < LANES / 2; i++) {
        from[i] = 2 * i;
        from[LANES / 2 + i] = LANES + 2 * i + odd;
    }
    return __builtin_shuffle(a, b, from);
#endif
}
INLINE VEC NAME(evens)(VEC a, VEC b) { return NAME(alternate)(a, b, 0); }
INLINE VEC NAME(evens_odds)(VEC a, VEC b) { return NAME(alternate)(a, b, 1); }

/* LANES elements from element k on of a and b joined. */
INLINE VEC NAME(shifted)(VEC a, VEC b, const int k) {
    if (k == 0)
        return a;
#if defined(__clang__)
    VEC r;
    for (int i = 0; i < LANES; i++)
        r[i] = i + k < LANES ? a[i + k] : b[i + k - LANES];
    return r;
#else
    MASK from;
    for (int i = 0; i < LANES; i++)
        from[i] = i + k;
    return __builtin_shuffle(a, b, from);
#endif
}

/* v[i][j] <-> v[j][i]: for each power of two s, the off-diagonal s x s blocks of every 2s x 2s block change places. */
INLINE void NAME(transpose)(VEC v[LANES]) {
#pragma GCC unroll 4
    for (int s = LANES / 2; s > 0; s /= 2) {
        MASK upper, lower;
        for (int i = 0; i < LANES; i++) {
            upper[i] = i & s ? LANES + i - s : i;
            lower[i] = i & s ? LANES + i : i + s;
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
            if (i & s)
                continue;
            VEC a = v[i], b = v[i + s];
#if defined(__clang__)
            for (int l = 0; l < LANES; l++) {
                v[i][l] = upper[l] < LANES ? a[upper[l]] : b[upper[l] - LANES];
                v[i + s][l] = lower[l] < LANES ? a[lower[l]] : b[lower[l] - LANES];
            }
#else
            v[i] = __builtin_shuffle(a, b, upper);
            v[i + s] = __builtin_shuffle(a, b, lower);
#endif
        }
    }
}
