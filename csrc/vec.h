/* The vector words that kernels may use: GCC vector extensions, no intrinsics. Included once for each type of the
 * arithmetic (REAL) and instruction set; NAME(x) is x_<type>__<isa>, so perf, gdb and objdump say which copy ran. */
#define PC_CONCAT_(a, b) a##b
#define PC_CONCAT(a, b) PC_CONCAT_(a, b)
#define PC_PASTE_(name, dtype, isa) name##_##dtype##__##isa
#define PC_PASTE(name, dtype, isa) PC_PASTE_(name, dtype, isa)
#define NAME(name) PC_PASTE(name, REAL_DTYPE, PC_ISA)

#define INLINE static inline __attribute__((always_inline))
#define LANES (PC_VEC_BYTES / (int)sizeof(REAL))

typedef REAL NAME(vec) __attribute__((vector_size(PC_VEC_BYTES)));
typedef REAL NAME(vec_unaligned) __attribute__((vector_size(PC_VEC_BYTES), aligned(sizeof(REAL)), may_alias));
typedef INTEGER NAME(mask) __attribute__((vector_size(PC_VEC_BYTES)));
#define VEC NAME(vec)
#define MASK NAME(mask)

INLINE VEC NAME(load)(const REAL *p) { return *(const NAME(vec_unaligned) *)p; }
INLINE void NAME(store)(REAL *p, VEC v) { *(NAME(vec_unaligned) *)p = v; }
INLINE VEC NAME(splat)(REAL s) { return (VEC){0} + s; }
/* Lanes of a where m is set (all ones), of b elsewhere. */
#ifndef PC_COPY_PART
#define PC_COPY_PART
/* n < most elements of so many bytes, most a power of two. */
INLINE void pc_copy_part(void *dst, const void *src, int64_t n, const int most, const size_t item_bytes) {
    char *to = dst;
    const char *from = src;
#pragma GCC unroll 8
    for (int step = most / 2; step > 0; step /= 2) {
        if (n & step) {
            memcpy(to, from, (size_t)step * item_bytes);
            to += (size_t)step * item_bytes;
            from += (size_t)step * item_bytes;
        }
    }
}
#endif

INLINE VEC NAME(select)(MASK m, VEC a, VEC b) { return (VEC)(((MASK)a & m) | ((MASK)b & ~m)); }

/* The first n < LANES elements; nothing beyond them is touched. */
INLINE void NAME(copy_part)(REAL *dst, const REAL *src, int64_t n) { pc_copy_part(dst, src, n, LANES, sizeof(REAL)); }

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

/* Elements of a and b joined, as `from` says; `from` must be constant. */
#if defined(__clang__)
#define PC_SHUFFLE(r, a, b, from)                                                                                      \
    do {                                                                                                               \
        for (int l_ = 0; l_ < LANES; l_++)                                                                             \
            (r)[l_] = (from)[l_] < LANES ? (a)[(from)[l_]] : (b)[(from)[l_] - LANES];                                  \
    } while (0)
#else
#define PC_SHUFFLE(r, a, b, from) ((r) = __builtin_shuffle(a, b, from))
#endif

/* Elements first, first + 2, ... of a and b joined. */
INLINE VEC NAME(every_second)(VEC a, VEC b, const int first) {
    MASK from;
    for (int i = 0; i < LANES; i++)
        from[i] = 2 * i + first;
    VEC r;
    PC_SHUFFLE(r, a, b, from);
    return r;
}

/* Elements 0, 2, 4, ... of a, then elements 1, 3, ... of b. */
INLINE VEC NAME(evens_odds)(VEC a, VEC b) {
    MASK from;
    for (int i = 0; i < LANES; i++)
        from[i] = 2 * i + i / (LANES / 2);
    VEC r;
    PC_SHUFFLE(r, a, b, from);
    return r;
}

/* LANES elements from element k on of a and b joined. */
INLINE VEC NAME(shifted)(VEC a, VEC b, const int k) {
    MASK from;
    for (int i = 0; i < LANES; i++)
        from[i] = i + k;
    VEC r;
    PC_SHUFFLE(r, a, b, from);
    return r;
}

/* to = a[0] b[0] a[1] b[1] ... */
INLINE void NAME(zip)(VEC a, VEC b, VEC to[2]) {
    MASK low, high;
    for (int i = 0; i < LANES; i++) {
        low[i] = i / 2 + i % 2 * LANES;
        high[i] = low[i] + LANES / 2;
    }
    PC_SHUFFLE(to[0], a, b, low);
    PC_SHUFFLE(to[1], a, b, high);
}

/* Pieces of 16 bytes are what x86 shuffles in one cheap instruction. */
#define PC_PIECE (16 / (int)sizeof(REAL))

/* In each piece: runs of s elements of a and of b in turn, from the low or the high halves of their pieces. */
INLINE VEC NAME(interleave)(VEC a, VEC b, const int s, const int high) {
    MASK from;
    for (int l = 0; l < LANES; l++) {
        const int at = l % PC_PIECE, run = at / s;
        from[l] = l - at + run / 2 * s + at % s + run % 2 * LANES + high * PC_PIECE / 2;
    }
    VEC r;
    PC_SHUFFLE(r, a, b, from);
    return r;
}

/* The even (odd) pieces of a, then those of b. */
INLINE VEC NAME(pieces)(VEC a, VEC b, const int odd) {
    MASK from;
    for (int l = 0; l < LANES; l++)
        from[l] = (2 * (l / PC_PIECE) + odd) * PC_PIECE + l % PC_PIECE;
    VEC r;
    PC_SHUFFLE(r, a, b, from);
    return r;
}

/* v[i][j] <-> v[j][i]: pieces are transposed by interleaving neighbouring rows, single elements and then pairs; then
 * rows a piece's size apart are dealt out piece by piece. */
INLINE void NAME(transpose)(VEC v[LANES]) {
    VEC t[LANES];
    if (PC_PIECE == 4) {
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i += 2) {
            t[i] = NAME(interleave)(v[i], v[i + 1], 1, 0);
            t[i + 1] = NAME(interleave)(v[i], v[i + 1], 1, 1);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i += 4) {
            v[i] = NAME(interleave)(t[i], t[i + 2], 2, 0);
            v[i + 1] = NAME(interleave)(t[i], t[i + 2], 2, 1);
            v[i + 2] = NAME(interleave)(t[i + 1], t[i + 3], 2, 0);
            v[i + 3] = NAME(interleave)(t[i + 1], t[i + 3], 2, 1);
        }
    } else {
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i += 2) {
            t[i] = NAME(interleave)(v[i], v[i + 1], 1, 0);
            t[i + 1] = NAME(interleave)(v[i], v[i + 1], 1, 1);
        }
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i++)
            v[i] = t[i];
    }
    if (LANES == 2 * PC_PIECE) {
#pragma GCC unroll 4
        for (int i = 0; i < PC_PIECE; i++) {
            t[i] = NAME(pieces)(v[i], v[i + PC_PIECE], 0);
            t[i + PC_PIECE] = NAME(pieces)(v[i], v[i + PC_PIECE], 1);
        }
    } else if (LANES == 4 * PC_PIECE) {
#pragma GCC unroll 4
        for (int i = 0; i < PC_PIECE; i++) {
            VEC *const r = v + i;
            const VEC even = NAME(pieces)(r[0], r[PC_PIECE], 0), odd = NAME(pieces)(r[0], r[PC_PIECE], 1);
            const VEC even2 = NAME(pieces)(r[2 * PC_PIECE], r[3 * PC_PIECE], 0);
            const VEC odd2 = NAME(pieces)(r[2 * PC_PIECE], r[3 * PC_PIECE], 1);
            t[i] = NAME(pieces)(even, even2, 0);
            t[i + PC_PIECE] = NAME(pieces)(odd, odd2, 0);
            t[i + 2 * PC_PIECE] = NAME(pieces)(even, even2, 1);
            t[i + 3 * PC_PIECE] = NAME(pieces)(odd, odd2, 1);
        }
    } else {
        return;
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        v[i] = t[i];
}
