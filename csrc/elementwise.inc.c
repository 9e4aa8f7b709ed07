/* layers_elementwise: the activations on their own, and their gradients, in one pass over arrays of any strides.
 *
 *   out[i] = f(x[i])        or        out[i] = f'(x[i]) grad_output[i]
 *
 * f is that of math.inc.c, so that conv2d(activation="silu") and silu(conv2d()) are the same bits. f' is written so that
 * nothing cancels: with e = exp(-|x|), which never overflows, sigmoid' = e / (1 + e)^2, and tanh' = 4 e / (1 + e)^2 with
 * e = exp(-2 |x|). At the kinks and for NaN the derivative is torch's (its vector and scalar loops disagree for NaN; here
 * both are one function): relu and relu6 hand on grad_output at NaN, and have 0 at 0 and at 6; leaky_relu has its slope at
 * 0 and NaN; elu, hardswish and the smooth ones have NaN at NaN.
 *
 * The caller has merged the axes into at most four loops, the last of them a run. Runs of neighbours are read where they
 * lie; others, and float16, go through a stretch of values on the stack. A task is a number of rows or a piece of one
 * row; each element is computed by itself, so neither strides nor the cut change a bit. Memory: each array once. */
#ifndef PC_ELEMENTWISE_CONSTANTS
#define PC_ELEMENTWISE_CONSTANTS
enum { PC_STRETCH = 256 };

/* Where row `row` of the outer loops begins in an array. */
static inline int64_t pc_row_offset(const int64_t *size, const int64_t *step, int64_t row) {
    if (size[0] == 1 && size[1] == 1) /* divisions take as long as a short run */
        return row * step[2];
    const int64_t i2 = row % size[2], rest = row / size[2];
    return i2 * step[2] + rest % size[1] * step[1] + rest / size[1] * step[0];
}
#endif

#if !PC_WIDENED
INLINE VEC NAME(magnitude)(VEC x) { return NAME(select)(x < 0, -x, x); }

/* sigmoid(x) sigmoid(-x) */
INLINE VEC NAME(sigmoid_slope)(VEC x) {
    const VEC e = NAME(exp)(-NAME(magnitude)(x)), sum = 1 + e;
    return e / (sum * sum);
}

/* f'(x) g */
INLINE VEC NAME(activation_gradient)(VEC x, VEC g, const int64_t activation, REAL slope) {
    switch (activation) {
    case PC_ACT_RELU: return NAME(select)(x <= 0, (VEC){0}, g);
    case PC_ACT_RELU6: return NAME(select)((x <= 0) | (x >= 6), (VEC){0}, g);
    case PC_ACT_LEAKY_RELU: return NAME(select)(x > 0, g, g * slope);
    case PC_ACT_ELU: return NAME(select)(x > 0, g, g * slope * NAME(exp)(x));
    case PC_ACT_SIGMOID: return g * NAME(sigmoid_slope)(x);
    case PC_ACT_TANH: return g * (4 * NAME(sigmoid_slope)(x + x));
    case PC_ACT_SILU: {
        const VEC e = NAME(exp)(-NAME(magnitude)(x)), larger = 1 / (1 + e), smaller = e * larger;
        const MASK below = x < 0;
        const VEC s = NAME(select)(below, smaller, larger), rest = NAME(select)(below, larger, smaller);
        return g * (s * (1 + x * rest));
    }
    case PC_ACT_HARDSWISH:
        return NAME(select)(x <= -3, (VEC){0}, NAME(select)(x >= 3, g, g * (x / 3 + (REAL)0.5)));
    default: return g;
    }
}

INLINE VEC NAME(elementwise_vec)(VEC x, VEC g, const int64_t activation, const int gradient, REAL slope) {
    return gradient ? NAME(activation_gradient)(x, g, activation, slope) : NAME(activate_vec)(x, activation, slope);
}

INLINE void NAME(elementwise_loop)(REAL *out, const REAL *x, const REAL *g, int64_t n, const int64_t activation,
                                   const int gradient, REAL slope) {
    VEC gv = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        if (gradient)
            gv = NAME(load)(g + i);
        NAME(store)(out + i, NAME(elementwise_vec)(NAME(load)(x + i), gv, activation, gradient, slope));
    }
    if (i < n) {
        REAL part[LANES] = {0}, g_part[LANES] = {0};
        NAME(copy_part)(part, x + i, n - i);
        if (gradient) {
            NAME(copy_part)(g_part, g + i, n - i);
            gv = NAME(load)(g_part);
        }
        NAME(store)(part, NAME(elementwise_vec)(NAME(load)(part), gv, activation, gradient, slope));
        NAME(copy_part)(out + i, part, n - i);
    }
}

/* One run of neighbours; out may be x or g. One switch a run. */
static __attribute__((noinline)) void NAME(elementwise_run_of)(REAL *out, const REAL *x, const REAL *g, int64_t n,
                                                               int64_t activation, REAL slope) {
#define PC_APPLY(kind)                                                                                                 \
    case kind:                                                                                                         \
        if (g)                                                                                                         \
            NAME(elementwise_loop)(out, x, g, n, kind, 1, slope);                                                      \
        else                                                                                                           \
            NAME(elementwise_loop)(out, x, g, n, kind, 0, slope);                                                      \
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
#endif

/* dst[0..n) = src[i * step]; LANES - 1 elements more of dst may be written. */
INLINE void STORED(gather)(REAL *dst, const STORAGE *src, int64_t step, int64_t n) {
    if (step == 1) {
        STORED(read)(dst, src, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = STORED(get)(src + i * step);
}

/* dst[i * step] = src[0..n); LANES - 1 elements more of src may be read. */
INLINE void STORED(scatter)(STORAGE *dst, const REAL *src, int64_t step, int64_t n) {
    if (step == 1) {
        STORED(write)(dst, src, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        STORED(put)(dst + i * step, src[i]);
}

typedef struct STORED(elementwise) {
    const pc_elementwise *p;
    const STORAGE *x, *g;
    STORAGE *out;
} STORED(elementwise);

static void STORED(elementwise_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(elementwise) *job = ctx;
    const pc_elementwise *p = job->p;
    const int64_t from = task % p->n_pieces * p->piece, n = pc_min(p->piece, p->size[3] - from);
    const int64_t rows = p->size[0] * p->size[1] * p->size[2], first = task / p->n_pieces * p->rows;
    const int64_t x_step = p->step[0][3], g_step = p->step[1][3], out_step = p->step[2][3];
    for (int64_t row = first; row < pc_min(rows, first + p->rows); row++) {
        const STORAGE *x = job->x + pc_row_offset(p->size, p->step[0], row) + from * x_step;
        const STORAGE *g = p->gradient ? job->g + pc_row_offset(p->size, p->step[1], row) + from * g_step : NULL;
        STORAGE *out = job->out + pc_row_offset(p->size, p->step[2], row) + from * out_step;
#if !PC_WIDENED
        if (x_step == 1 && out_step == 1 && (!g || g_step == 1)) {
            NAME(elementwise_run_of)(out, x, g, n, p->activation, (REAL)p->slope);
            continue;
        }
#endif
        for (int64_t i = 0; i < n; i += PC_STRETCH) {
            _Alignas(64) REAL values[PC_STRETCH + LANES], g_values[PC_STRETCH + LANES];
            const int64_t m = pc_min(PC_STRETCH, n - i);
            STORED(gather)(values, x + i * x_step, x_step, m);
            if (g)
                STORED(gather)(g_values, g + i * g_step, g_step, m);
            NAME(elementwise_run_of)(values, values, g ? g_values : NULL, m, p->activation, (REAL)p->slope);
            STORED(scatter)(out + i * out_step, values, out_step, m);
        }
    }
}

static void STORED(layers_elementwise_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    (void)scratch;
    const pc_elementwise *p = problem;
    STORED(elementwise) job = {p, arrays[0], arrays[1], arrays[2]};
    pc_set_last_kernel(PC_STRING(PC_PASTE(layers_elementwise, DTYPE, PC_ISA)));
    pc_parallel(STORED(elementwise_task), &job, p->n_tasks, threads);
}
