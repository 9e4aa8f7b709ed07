/* conv_depthwise: pixels in the lanes. One input channel a group, y[g m + o, p] = act(sum over taps of w[o, tap] x[g, p + tap] + ...).
 *
 * A task is one image, one output depth, a few groups, a tile of pixels. For each group the input tile is copied once
 * (padded, phases apart: tile.inc.c), then register tiles of `rows` output rows x `vectors` vectors along the row sweep
 * it. With stride 1 along h each loaded vector of input row i serves every output row r with 0 <= i - r < kh:
 * (rows + kh - 1) kw loads of x for rows kh kw FMAs, so that unaligned loads do not bound it. Rows of a tile are
 * `dilation` apart, which makes a dilated kernel a dense one. Other strides take one load a FMA.
 *
 * flops: 2 n c_out h_out w_out kd kh kw; x, y and the weights pass once. Sums run over (kd, kh, kw) in order. */

typedef struct NAME(strip) {
    const REAL *x;          /* first row of the tile, first column of the strip */
    int64_t n_c, ld_c;      /* depth taps */
    int64_t ld_row;         /* between the rows that neighbouring taps (and outputs) use */
    const int64_t *off;     /* column offset of each kw tap; for the strided body: offset of each (kh, kw) tap */
    int64_t kh, kw;
    const REAL *w;
    REAL bias;
    REAL *c;
    int64_t ld_out;         /* between output rows in c */
    int relu;
} NAME(strip);

/* Input row i of the strip: output rows lo .. hi use it with tap row i - r. */
INLINE void NAME(strip_row)(const int vectors, const int lo, const int hi, VEC acc[8][3], const REAL *x, const REAL *w,
                            const int64_t *off, int64_t kw) {
    for (int64_t k = 0; k < kw; k++) {
        const REAL *xk = x + off[k];
        VEC v[3];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            v[j] = NAME(load)(xk + j * LANES);
#pragma GCC unroll 8
        for (int r = lo; r <= hi; r++) {
            REAL tap = w[k - r * kw];
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                acc[r][j] += v[j] * tap;
        }
    }
}

INLINE void NAME(strip_store)(const int rows, const int vectors, const NAME(strip) *s, VEC acc[8][3]) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            NAME(store)(s->c + r * s->ld_out + j * LANES, s->relu ? NAME(relu)(acc[r][j]) : acc[r][j]);
}

/* Stride 1 along h. kh is a constant below `rows`, or 0 for any kh >= rows. Row i - r of the kernel belongs to output
 * row r, so w is handed over shifted by i rows. */
INLINE void NAME(strip_body)(const int rows, const int vectors, const int kh_const, const NAME(strip) *s) {
    VEC acc[8][3];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            acc[r][j] = NAME(splat)(s->bias);
    const int64_t kw = s->kw, kh = kh_const ? kh_const : s->kh;
    for (int64_t c = 0; c < s->n_c; c++) {
        const REAL *x = s->x + c * s->ld_c, *w = s->w + c * kh * kw;
        if (kh_const) {
#pragma GCC unroll 16
            for (int i = 0; i < rows + kh_const - 1; i++)
                NAME(strip_row)(vectors, i - kh_const + 1 > 0 ? i - kh_const + 1 : 0, i < rows - 1 ? i : rows - 1, acc,
                                x + i * s->ld_row, w + i * kw, s->off, kw);
        } else {
#pragma GCC unroll 8
            for (int i = 0; i < rows - 1; i++)
                NAME(strip_row)(vectors, 0, i, acc, x + i * s->ld_row, w + i * kw, s->off, kw);
            for (int64_t i = rows - 1; i < kh; i++)
                NAME(strip_row)(vectors, 0, rows - 1, acc, x + i * s->ld_row, w + i * kw, s->off, kw);
#pragma GCC unroll 8
            for (int i = 0; i < rows - 1; i++)
                NAME(strip_row)(vectors, i + 1, rows - 1, acc, x + (kh + i) * s->ld_row, w + (kh + i) * kw, s->off, kw);
        }
    }
    NAME(strip_store)(rows, vectors, s, acc);
}

/* Any stride: off[] holds every tap, each output row has its own loads. */
INLINE void NAME(strided_body)(const int rows, const int vectors, const NAME(strip) *s) {
    VEC acc[8][3];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            acc[r][j] = NAME(splat)(s->bias);
    const int64_t taps = s->kh * s->kw;
    for (int64_t c = 0; c < s->n_c; c++)
        for (int64_t k = 0; k < taps; k++) {
            const REAL *x = s->x + c * s->ld_c + s->off[k];
            REAL tap = s->w[c * taps + k];
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
                for (int j = 0; j < vectors; j++)
                    acc[r][j] += NAME(load)(x + r * s->ld_row + j * LANES) * tap;
        }
    NAME(strip_store)(rows, vectors, s, acc);
}

typedef void (*NAME(strip_function))(const NAME(strip) *);

/* strip_<rows>x<vectors>k<kh>; kh = 0 is "any kh >= rows", s is the strided body. */
#define PC_STRIP(tag, rows, vectors, kh)                                                                               \
    static __attribute__((noinline)) void NAME(strip_##tag##x##vectors##k##kh)(const NAME(strip) * s) {                \
        if ((vectors) <= PC_DEPTHWISE_VECTORS && (kh) < (rows))                                                        \
            NAME(strip_body)(rows, vectors, kh, s);                                                                    \
    }
#define PC_STRIDED(tag, rows, vectors)                                                                                 \
    static __attribute__((noinline)) void NAME(strip_##tag##x##vectors##s)(const NAME(strip) * s) {                    \
        if ((vectors) <= PC_DEPTHWISE_VECTORS)                                                                         \
            NAME(strided_body)(rows, vectors, s);                                                                      \
    }
#define PC_STRIPS(tag, rows, vectors)                                                                                  \
    PC_STRIP(tag, rows, vectors, 0) PC_STRIP(tag, rows, vectors, 1) PC_STRIP(tag, rows, vectors, 2)                    \
    PC_STRIP(tag, rows, vectors, 3) PC_STRIP(tag, rows, vectors, 4) PC_STRIP(tag, rows, vectors, 5)                    \
    PC_STRIP(tag, rows, vectors, 6) PC_STRIP(tag, rows, vectors, 7) PC_STRIDED(tag, rows, vectors)
#define PC_STRIP_NAMES(tag, vectors)                                                                                   \
    {NAME(strip_##tag##x##vectors##k0), NAME(strip_##tag##x##vectors##k1), NAME(strip_##tag##x##vectors##k2),          \
     NAME(strip_##tag##x##vectors##k3), NAME(strip_##tag##x##vectors##k4), NAME(strip_##tag##x##vectors##k5),          \
     NAME(strip_##tag##x##vectors##k6), NAME(strip_##tag##x##vectors##k7), NAME(strip_##tag##x##vectors##s)}
PC_STRIPS(a, PC_DEPTHWISE_ROWS, 1) PC_STRIPS(a, PC_DEPTHWISE_ROWS, 2) PC_STRIPS(a, PC_DEPTHWISE_ROWS, 3)
PC_STRIPS(b, PC_DEPTHWISE_ROWS_2, 1) PC_STRIPS(b, PC_DEPTHWISE_ROWS_2, 2) PC_STRIPS(b, PC_DEPTHWISE_ROWS_2, 3)
static const NAME(strip_function) NAME(strips)[2][3][9] = {
    {PC_STRIP_NAMES(a, 1), PC_STRIP_NAMES(a, 2), PC_STRIP_NAMES(a, 3)},
    {PC_STRIP_NAMES(b, 1), PC_STRIP_NAMES(b, 2), PC_STRIP_NAMES(b, 3)},
};
#undef PC_STRIP
#undef PC_STRIDED
#undef PC_STRIPS
#undef PC_STRIP_NAMES

typedef struct NAME(depthwise_job) {
    const pc_conv *p;
    const pc_arrays *arrays;
} NAME(depthwise_job);

static void NAME(conv_depthwise_task)(void *ctx, int64_t task, int worker) {
    const NAME(depthwise_job) *job = ctx;
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    int64_t rest = task;
    int64_t w_index = rest % b->n_w_tiles;
    rest /= b->n_w_tiles;
    int64_t h_index = rest % b->n_h_tiles;
    rest /= b->n_h_tiles;
    int64_t d_out = rest % p->d.out;
    rest /= p->d.out;
    int64_t g0 = rest % b->n_m_blocks * b->m_block, n = rest / b->n_m_blocks;
    int64_t g1 = pc_min(p->groups, g0 + b->m_block);

    const int64_t h0 = h_index * b->h_tile, w0 = w_index * b->w_tile;
    const int64_t h_tile = pc_min(b->h_tile, p->h.out - h0), w_tile = pc_min(b->w_tile, p->w.out - w0);
    const int64_t rows = b->rows, kh = p->h.k, kw = p->w.k, k_all = p->d.k * kh * kw;
    const int reuse = p->h.stride == 1;
    /* Output rows r, r + step, r + 2 step ... make a register tile; the last one may hang over the tile's end. */
    const int64_t step = reuse ? p->h.dilation : 1;
    const pc_grid_axis gh = pc_grid_axis_of(&p->h, kh, pc_round_up(h_tile, rows * step));
    const pc_grid_axis gw = pc_grid_axis_of(&p->w, kw, w_tile);

    REAL *tile = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    int64_t *off = (int64_t *)(tile + b->tile_elems);
    NAME(tap_offsets)(gh, gw, reuse ? 1 : kh, kw, off);

    const int relu_in_tile = p->activation == PC_ACT_RELU && !job->arrays->residual;
    const int activated = p->activation == PC_ACT_NONE || relu_in_tile;
    _Alignas(64) REAL c_tile[8 * 3 * LANES];
    const int which = rows == PC_DEPTHWISE_ROWS ? 0 : 1;
    const int kind = !reuse ? 8 : kh < rows ? (int)kh : 0;
    const pc_panels strips = pc_panels_of(pc_ceil_div(w_tile, LANES), PC_DEPTHWISE_VECTORS);
    /* Register tiles that would hang over the edge move back inside and compute a few outputs twice, to the same bits,
     * where these go straight to memory. */
    const int direct_store = p->ld_out.w == 1 && !job->arrays->residual && activated;

    for (int64_t g = g0; g < g1; g++) {
        const NAME(tile_origin) origin = {
            (const REAL *)job->arrays->x + n * p->ld_x.n + g * p->ld_x.c, d_out * p->d.stride - p->d.pad,
            h0 * p->h.stride - p->h.pad, w0 * p->w.stride - p->w.pad, 0, p->d.k};
        NAME(load_tile)(p, &origin, gh, gw, tile);
        for (int64_t m = g * p->c_out; m < (g + 1) * p->c_out; m++) {
            REAL *out = (REAL *)job->arrays->out + n * p->ld_out.n + m * p->ld_out.c + d_out * p->ld_out.d +
                        h0 * p->ld_out.h + w0 * p->ld_out.w;
            const REAL *residual = job->arrays->residual;
            if (residual)
                residual += n * p->ld_res.n + m * p->ld_res.c + d_out * p->ld_res.d + h0 * p->ld_res.h + w0 * p->ld_res.w;
            NAME(strip) s = {.n_c = p->d.k, .ld_c = gh.phases * gw.phases * gh.length * gw.length,
                             .ld_row = step * gw.length, .off = off, .kh = kh, .kw = kw,
                             .w = (const REAL *)job->arrays->packed + m * k_all,
                             .bias = job->arrays->bias ? ((const REAL *)job->arrays->bias)[m] : 0,
                             .relu = relu_in_tile};
            for (int64_t base = 0; base < h_tile; base += rows * step)
                for (int64_t phase = 0; phase < step && base + phase < h_tile; phase++) {
                    const int64_t r0 =
                        direct_store && step == 1 && h_tile >= rows ? pc_min(base, h_tile - rows) : base + phase;
                    const int64_t n_rows = pc_min(rows, pc_ceil_div(h_tile - r0, step));
                    for (int64_t v = 0; v < strips.n; v++) {
                        const int64_t vectors = pc_panel_rows(strips, v);
                        int64_t col = pc_panel_start(strips, v) * LANES;
                        if (direct_store && w_tile >= vectors * LANES)
                            col = pc_min(col, w_tile - vectors * LANES);
                        const int64_t lanes = pc_min(vectors * LANES, w_tile - col);
                        const int whole = direct_store && n_rows == rows && lanes == vectors * LANES;
                        s.x = tile + r0 * gw.length + col;
                        s.c = whole ? out + r0 * p->ld_out.h + col : c_tile;
                        s.ld_out = whole ? step * p->ld_out.h : vectors * LANES;
                        NAME(strips)[which][vectors - 1][kind](&s);
                        if (!whole) {
                            pc_segment segments[8];
                            for (int64_t r = 0; r < n_rows; r++)
                                segments[r] = (pc_segment){r * vectors * LANES, lanes, r0 + r * step, col};
                            NAME(finish)(p, c_tile, rows * vectors * LANES, 1, segments, (int)n_rows, out, residual,
                                         activated);
                        }
                    }
                }
        }
    }
}

static void NAME(conv_depthwise_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_depthwise, DTYPE, PC_ISA)));
    NAME(depthwise_job) job = {p, arrays};
    pc_parallel(NAME(conv_depthwise_task), &job, p->blk.n_tasks, threads);
}

static int NAME(conv_depthwise_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    const pc_tile_shape tile = {sizeof(REAL), LANES, PC_DEPTHWISE_ROWS, PC_DEPTHWISE_VECTORS, PC_DEPTHWISE_ROWS_2, 0};
    return pc_plan_depthwise(p, tile, max_scratch_bytes);
}

static void NAME(conv_depthwise_pack)(const pc_conv *p, const void *w, void *packed) {
    memcpy(packed, w, (size_t)(p->groups * p->c_out * p->d.k * p->h.k * p->w.k) * sizeof(REAL));
}
