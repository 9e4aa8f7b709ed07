/* The words between arrays of STORAGE and values of REAL. Nothing else reads x and the residual or writes the output:
 * arrays of another type take these words and a second copy of the functions that use them, and no arithmetic.
 * Included once for each type of the arrays and instruction set; STORED(x) is x_<dtype>__<isa>. */
#define STORED(name) PC_PASTE(name, DTYPE, PC_ISA)

typedef STORAGE STORED(storage);

#if !PC_WIDENED

typedef REAL NAME(real);

/* dst[0..n) = src[0..n), where up to LANES - 1 elements more of dst may be written. */
INLINE void NAME(read)(REAL *dst, const REAL *src, int64_t n) { NAME(copy)(dst, src, n); }
/* The same where as many more of src may be read. */
INLINE void NAME(read_over)(REAL *dst, const REAL *src, int64_t n) { NAME(copy_over)(dst, src, n); }
INLINE REAL NAME(get)(const REAL *p) { return *p; }
INLINE void NAME(put)(REAL *p, REAL s) { *p = s; }
/* dst[i] += src[i * step], i < n */
INLINE void NAME(add)(REAL *dst, const REAL *src, int64_t step, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        dst[i] += src[i * step];
}
/* dst[0..n) = src[0..n), where up to LANES - 1 elements more of src may be read. */
INLINE void NAME(write)(REAL *dst, const REAL *src, int64_t n) { NAME(copy)(dst, src, n); }
/* c[0..n) as STORAGE, in c's own memory; n is a multiple of LANES. */
INLINE const REAL *NAME(narrow)(REAL *c, int64_t n) {
    (void)n;
    return c;
}

#else

/* float16 in memory, float32 in registers. Every float16 is a float32; the way back rounds once, to nearest even,
 * whatever the processor is told to do with denormals. */
typedef int16_t STORED(bits) __attribute__((vector_size(PC_VEC_BYTES / 2)));
typedef int16_t STORED(bits_unaligned) __attribute__((vector_size(PC_VEC_BYTES / 2), aligned(2), may_alias));

#if PC_F16C && PC_VEC_BYTES == 64
INLINE VEC STORED(widen)(STORED(bits) h) { return (VEC)_mm512_cvtph_ps((__m256i)h); }
INLINE STORED(bits) STORED(round)(VEC v) {
    return (STORED(bits))_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
}
#elif PC_F16C
INLINE VEC STORED(widen)(STORED(bits) h) { return (VEC)_mm256_cvtph_ps((__m128i)h); }
INLINE STORED(bits) STORED(round)(VEC v) {
    return (STORED(bits))_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
}
#else
INLINE VEC STORED(widen)(STORED(bits) h) {
    const MASK wide = __builtin_convertvector(h, MASK), size = wide & 0x7fff;
    MASK bits = (size << 13) + (112 << 23);        /* the exponent counts from 127, not from 15 */
    bits += (size >= 0x7c00) & (112 << 23);        /* infinities and NaN keep the largest */
    const VEC subnormal = __builtin_convertvector(size, VEC) * 0x1p-24f;
    return (VEC)(((MASK)NAME(select)(size < 0x400, subnormal, (VEC)bits)) | ((wide & 0x8000) << 16));
}
INLINE STORED(bits) STORED(round)(VEC v) {
    const MASK wide = (MASK)v, size = wide & 0x7fffffff;
    MASK bits = (size - (112 << 23) + 0xfff + ((size >> 13) & 1)) >> 13; /* carries into the exponent, up to infinity */
    /* beside 0.5 a unit in the last place is 2^-24, as it is among the subnormal float16: the sum rounds */
    const MASK subnormal = (MASK)((VEC)size + 0.5f) - (MASK)NAME(splat)(0.5f);
    bits = (MASK)NAME(select)(size < 113 << 23, (VEC)subnormal, (VEC)bits);
    const MASK beyond = (MASK)NAME(select)(size > 255 << 23, (VEC)((MASK){0} + 0x7e00), (VEC)((MASK){0} + 0x7c00));
    bits = (MASK)NAME(select)(size >= 143 << 23, (VEC)beyond, (VEC)bits);
    return __builtin_convertvector(bits | ((wide >> 16) & 0x8000), STORED(bits));
}
#endif

INLINE VEC STORED(load)(const STORAGE *p) { return STORED(widen)(*(const STORED(bits_unaligned) *)p); }
INLINE void STORED(store)(STORAGE *p, VEC v) { *(STORED(bits_unaligned) *)p = STORED(round)(v); }
INLINE REAL STORED(get)(const STORAGE *p) { return STORED(widen)((STORED(bits)){p->bits})[0]; }
INLINE void STORED(put)(STORAGE *p, REAL s) { p->bits = (uint16_t)STORED(round)((VEC){s})[0]; }

INLINE void STORED(copy_part)(STORAGE *dst, const STORAGE *src, int64_t n) {
    pc_copy_part(dst, src, n, LANES, sizeof(STORAGE));
}
INLINE void STORED(read)(REAL *dst, const STORAGE *src, int64_t n) {
    if (n < LANES) {
        STORAGE part[LANES] = {{0}};
        STORED(copy_part)(part, src, n);
        NAME(store)(dst, STORED(load)(part));
        return;
    }
    for (int64_t i = 0; i < n; i += LANES) { /* the last vector once more, from its end */
        const int64_t base = pc_min(i, n - LANES);
        NAME(store)(dst + base, STORED(load)(src + base));
    }
}
INLINE void STORED(read_over)(REAL *dst, const STORAGE *src, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(dst + i, STORED(load)(src + i));
}
INLINE void STORED(add)(REAL *dst, const STORAGE *src, int64_t step, int64_t n) {
    int64_t i = 0;
    if (step == 1)
        for (; i + LANES <= n; i += LANES)
            NAME(store)(dst + i, NAME(load)(dst + i) + STORED(load)(src + i));
    for (; i < n; i++)
        dst[i] += STORED(get)(src + i * step);
}
INLINE void STORED(write)(STORAGE *dst, const REAL *src, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        STORED(store)(dst + i, NAME(load)(src + i));
    if (i < n) {
        STORAGE part[LANES];
        STORED(store)(part, NAME(load)(src + i));
        STORED(copy_part)(dst + i, part, n - i);
    }
}
INLINE const STORAGE *STORED(narrow)(REAL *c, int64_t n) {
    STORAGE *narrow = (STORAGE *)c; /* each vector lands at or before its own place */
    for (int64_t i = 0; i < n; i += LANES)
        STORED(store)(narrow + i, NAME(load)(c + i));
    return narrow;
}

#endif
