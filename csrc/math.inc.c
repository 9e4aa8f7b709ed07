/* exp and the activations on whole vectors.
 *
 * exp(x) = 2^k * exp(r), k = round(x / ln 2), r = x - k ln 2 in two parts (Cody and Waite 1980), |r| <= ln(2) / 2, and
 * exp(r) by its Taylor polynomial: degree 7 in float32 (remainder 1.1e-8 relative to 2^-24 = 6.0e-8), degree 13 in
 * float64 (4e-18). Measured against libm: at most 2 units in the last place. NaN gives NaN, +Inf gives +Inf; results
 * below the smallest normal number are 0. */

#ifndef PC_EXP_CONSTANTS
#define PC_EXP_CONSTANTS
static const double pc_inverse_factorials[] = {
    1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
    1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0,
};
#endif

INLINE VEC NAME(exp)(VEC x) {
    enum { IS_F32 = sizeof(REAL) == 4, DEGREE = IS_F32 ? 7 : 13, MANTISSA = IS_F32 ? 23 : 52, BIAS = IS_F32 ? 127 : 1023 };
    const REAL overflow = (REAL)(IS_F32 ? 88.722 : 709.782);
    const REAL underflow = (REAL)(IS_F32 ? -87.336 : -708.396);
    const REAL inverse_ln2 = (REAL)1.4426950408889634;
    /* ln 2 in two parts; the first has enough trailing zeros for k * ln2_high to be exact. */
    const REAL ln2_high = (REAL)(IS_F32 ? 0.693359375 : 0x1.62e42fefa0000p-1);
    const REAL ln2_low = (REAL)(IS_F32 ? -2.12194440e-4 : 0x1.cf79abc9e3b3ap-40);
    /* Adding 1.5 * 2^MANTISSA rounds to the nearest integer and leaves it in the low bits. */
    const REAL rounder = (REAL)(IS_F32 ? 12582912.0 : 6755399441055744.0);

    VEC in_range = NAME(select)((x < overflow) & (x > underflow), x, (VEC){0});
    VEC shifted = in_range * inverse_ln2 + rounder;
    VEC k = shifted - rounder;
    VEC r = (in_range - k * ln2_high) - k * ln2_low;
    VEC sum = NAME(splat)((REAL)pc_inverse_factorials[DEGREE]);
    for (int i = DEGREE - 1; i >= 0; i--)
        sum = sum * r + (REAL)pc_inverse_factorials[i];
    MASK integer = (MASK)shifted - (MASK)NAME(splat)(rounder);
    VEC scale = (VEC)((integer + BIAS) << MANTISSA);
    VEC y = sum * scale;
    y = NAME(select)(x >= overflow, NAME(splat)((REAL)__builtin_inf()), y);
    y = NAME(select)(x <= underflow, (VEC){0}, y);
    return NAME(select)(x == x, y, x);
}

/* expm1 by its own series near zero, where exp(x) - 1 would cancel. */
INLINE VEC NAME(expm1)(VEC x) {
    enum { IS_F32 = sizeof(REAL) == 4, DEGREE = IS_F32 ? 8 : 13 };
    VEC sum = NAME(splat)((REAL)pc_inverse_factorials[DEGREE]);
    for (int i = DEGREE - 1; i >= 1; i--)
        sum = sum * x + (REAL)pc_inverse_factorials[i];
    MASK small = (x > (REAL)-0.35) & (x < (REAL)0.35);
    return NAME(select)(small, sum * x, NAME(exp)(x) - 1);
}

INLINE VEC NAME(sigmoid)(VEC x) { return 1 / (1 + NAME(exp)(-x)); }

/* tanh(x) = expm1(2x) / (expm1(2x) + 2), on |x| capped where the quotient is 1 already. */
INLINE VEC NAME(tanh)(VEC x) {
    const REAL cap = (REAL)20;
    VEC capped = NAME(select)(x > cap, NAME(splat)(cap), NAME(select)(x < -cap, NAME(splat)(-cap), x));
    VEC e = NAME(expm1)(capped + capped);
    return e / (e + 2);
}

/* (comparisons with NaN are false, so that each form below hands a NaN on) */
INLINE VEC NAME(relu)(VEC x) { return NAME(select)(x < 0, (VEC){0}, x); }

INLINE VEC NAME(relu6)(VEC x) { return NAME(select)(x > 6, NAME(splat)(6), NAME(relu)(x)); }

INLINE VEC NAME(activate_vec)(VEC x, int64_t activation, REAL slope) {
    switch (activation) {
    case PC_ACT_RELU: return NAME(relu)(x);
    case PC_ACT_RELU6: return NAME(relu6)(x);
    case PC_ACT_LEAKY_RELU: return NAME(select)(x < 0, x * slope, x);
    case PC_ACT_ELU: return NAME(select)(x < 0, NAME(expm1)(x) * slope, x);
    case PC_ACT_SIGMOID: return NAME(sigmoid)(x);
    case PC_ACT_TANH: return NAME(tanh)(x);
    case PC_ACT_SILU: return x / (1 + NAME(exp)(-x));
    case PC_ACT_HARDSWISH:
        return NAME(select)(x < -3, (VEC){0}, NAME(select)(x > 3, x, x * (x + 3) / 6));
    default: return x;
    }
}

/* c[0..n) = activation(c[0..n)) for n a multiple of LANES; one switch a call, not one a vector. Not every family has
 * register tiles to finish. */
static __attribute__((noinline, unused)) void NAME(activate)(REAL *c, int64_t n, int64_t activation, REAL slope) {
#define PC_APPLY(kind)                                                                                                 \
    case kind:                                                                                                         \
        for (int64_t i = 0; i < n; i += LANES)                                                                         \
            NAME(store)(c + i, NAME(activate_vec)(NAME(load)(c + i), kind, slope));                                    \
        break;
    switch (activation) {
        PC_APPLY(PC_ACT_RELU)
        PC_APPLY(PC_ACT_RELU6)
        PC_APPLY(PC_ACT_LEAKY_RELU)
        PC_APPLY(PC_ACT_ELU)
        PC_APPLY(PC_ACT_SIGMOID)
        PC_APPLY(PC_ACT_TANH)
        PC_APPLY(PC_ACT_SILU)
        PC_APPLY(PC_ACT_HARDSWISH)
    }
#undef PC_APPLY
}
