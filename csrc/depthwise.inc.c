/* conv_depthwise: pixels in the lanes. One input channel a group, y[g m + o, p] = act(sum over taps of w[o, tap] x[g, p + tap] + ...).
 *
 * A task is one image, one output depth, a few groups, a tile of pixels. For each group the input tile is copied once
 * (padded, phases apart: tile.inc.c), then register tiles of `rows` output rows x `vectors` vectors along the row sweep
 * it. With stride 1 along h each loaded vector of input row i serves every output row r with 0 <= i - r < kh:
 * (rows + kh - 1) kw loads of x for rows kh kw FMAs, so that unaligned loads do not bound it. Rows of a tile are
 * `dilation` apart, which makes a dilated kernel a dense one. Other strides take one load a FMA.
 *
 * Two cases have register tiles of their own. 3x3, 5x5 and 7x7 with stride 1 or 2, dense along the row: no tile is copied,
 * rows are read where they lie in x, and shifted (and split into even and odd elements) in registers. An output of one
 * row by kernels of one row: neighbouring vectors of the row stand in for rows.
 *
 * Rows of a tall kernel that meet nothing but zero padding are left out.
 *
 * flops: 2 n c_out h_out w_out kd kh kw; x, y and the weights pass once. Sums run over (kd, kh, kw) in order. */

#if !PC_WIDENED

typedef struct NAME(strip) {
    const REAL *x;          /* first row of the tile, first column of the strip */
    const REAL *const *row; /* for the dense body, instead: where the rows are, */
    int64_t first;          /* the strip's first element of them, */
    const MASK *inside;     /* and which of its elements are no padding */
    int64_t n_c, ld_c;      /* depth taps */
    int64_t ld_row;         /* between the rows that neighbouring taps (and outputs) use */
    const int64_t *off;     /* column offset of each kw tap; for the strided body: offset of each (kh, kw) tap */
    int64_t kh, kw;
    pc_taps live;           /* for the tall body: input rows of the strip that are more than padding */
    int64_t rest;           /* for the row body: taps beyond kh rows of kw */
    const REAL *w;
    REAL bias;
    REAL *c;
    int64_t ld_out;         /* between output rows in c */
    int64_t tail;           /* lanes of the last vector that are stored; 0: all */
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

/* The same for a row of kw neighbouring elements a stride apart, kw and the stride known: whole vectors of the row, and
 * shifted copies of them by shuffles. A 64-byte load that crosses a line costs as much as two that do not, a shuffle
 * less than one. */
INLINE void NAME(dense_row)(const int vectors, const int stride, const int kw, const int lo, const int hi,
                            VEC acc[8][3], const REAL *x, const MASK *inside, const REAL *w) {
    VEC phase[2][3];
#pragma GCC unroll 3
    for (int j = 0; j <= vectors; j++) {
        VEC v[2];
#pragma GCC unroll 2
        for (int i = 0; i < stride; i++)
            v[i] = (VEC)((MASK)NAME(load)(x + (j * stride + i) * LANES) & inside[j * stride + i]);
        /* of the last vector of a row of three taps only the first element counts, and it is in place */
        const int as_is = stride == 1 || (j == vectors && kw == 3);
        phase[0][j] = as_is ? v[0] : NAME(every_second)(v[0], v[1], 0);
        if (stride == 2)
            phase[1][j] = NAME(every_second)(v[0], v[1], 1);
    }
#pragma GCC unroll 8
    for (int k = 0; k < kw; k++) {
        VEC v[2];
#pragma GCC unroll 2
        for (int j = 0; j < vectors; j++)
            v[j] = NAME(shifted)(phase[k % stride][j], phase[k % stride][j + 1], k / stride);
#pragma GCC unroll 8
        for (int r = lo; r <= hi; r++) {
            REAL tap = w[k - stride * r * kw];
#pragma GCC unroll 2
            for (int j = 0; j < vectors; j++)
                acc[r][j] += v[j] * tap;
        }
    }
}

INLINE void NAME(strip_begin)(const int rows, const int vectors, const NAME(strip) *s, VEC acc[8][3]) {
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            acc[r][j] = NAME(splat)(s->bias);
}

INLINE void NAME(strip_store)(const int rows, const int vectors, const NAME(strip) *s, VEC acc[8][3]) {
    REAL *const c = s->c;
    const int64_t ld = s->ld_out, tail = s->tail;
    if (s->relu)
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++)
                acc[r][j] = NAME(relu)(acc[r][j]);
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 3
        for (int j = 0; j < vectors - 1; j++)
            NAME(store)(c + r * ld + j * LANES, acc[r][j]);
        const VEC v = acc[r][vectors - 1];
        REAL *const last = c + r * ld + (vectors - 1) * LANES;
        if (tail == 0)
            NAME(store)(last, v);
        else
            NAME(copy_part)(last, (const REAL *)&v, tail);
    }
}

/* A kernel at least as tall as the strip. Row i - r of it belongs to output row r, so w is handed over shifted by i
 * rows. Input rows that are not live are left out. */
INLINE void NAME(strip_tall)(const int rows, const int vectors, const NAME(strip) *s, pc_taps live, const REAL *x,
                             const REAL *w, int64_t ld_row, VEC acc[8][3]) {
    const int64_t kh = s->kh, kw = s->kw;
#pragma GCC unroll 8
    for (int i = 0; i < rows - 1; i++)
        if (live.begin <= i && i < live.end)
            NAME(strip_row)(vectors, 0, i, acc, x + i * ld_row, w + i * kw, s->off, kw);
    for (int64_t i = pc_max(rows - 1, live.begin); i < pc_min(kh, live.end); i++)
        NAME(strip_row)(vectors, 0, rows - 1, acc, x + i * ld_row, w + i * kw, s->off, kw);
#pragma GCC unroll 8
    for (int i = 0; i < rows - 1; i++)
        if (live.begin <= kh + i && kh + i < live.end)
            NAME(strip_row)(vectors, i + 1, rows - 1, acc, x + (kh + i) * ld_row, w + (kh + i) * kw, s->off, kw);
}

/* Stride 1 along h. kh is a constant below `rows`, or 0 for any kh >= rows. */
INLINE void NAME(strip_body)(const int rows, const int vectors, const int kh_const, const NAME(strip) *s) {
    VEC acc[8][3];
    NAME(strip_begin)(rows, vectors, s, acc);
    const int64_t kw = s->kw, kh = kh_const ? kh_const : s->kh;
    for (int64_t c = 0; c < s->n_c; c++) {
        const REAL *x = s->x + c * s->ld_c, *w = s->w + c * kh * kw;
        if (kh_const) {
#pragma GCC unroll 16
            for (int i = 0; i < rows + kh_const - 1; i++)
                NAME(strip_row)(vectors, i - kh_const + 1 > 0 ? i - kh_const + 1 : 0, i < rows - 1 ? i : rows - 1, acc,
                                x + i * s->ld_row, w + i * kw, s->off, kw);
        } else {
            NAME(strip_tall)(rows, vectors, s, s->live, x, w, s->ld_row, acc);
        }
    }
    NAME(strip_store)(rows, vectors, s, acc);
}

/* k x k with one stride, 1 or 2, dense along the row. The rows are where they lie, in x or in a padded copy; what a
 * vector of x holds beyond the row's ends counts as zero. */
INLINE void NAME(dense_body)(const int rows, const int vectors, const int k, const int stride, const NAME(strip) *s) {
    VEC acc[8][3];
    NAME(strip_begin)(rows, vectors, s, acc);
    for (int64_t c = 0; c < s->n_c; c++)
#pragma GCC unroll 24
        for (int i = 0; i < stride * (rows - 1) + k; i++) {
            if (k > 3) /* reload the taps: all of them at once would not fit the registers */
                __asm__ volatile("" ::: "memory");
            NAME(dense_row)(vectors, stride, k, i - k + 1 > 0 ? (i - k + stride) / stride : 0,
                            i / stride < rows - 1 ? i / stride : rows - 1, acc,
                            s->row[c * s->ld_c + i * s->ld_row] + s->first, s->inside, s->w + (c * k + i) * k);
        }
    NAME(strip_store)(rows, vectors, s, acc);
}

/* Any stride: off[] holds every tap, each output row has its own loads. */
INLINE void NAME(strided_body)(const int rows, const int vectors, const NAME(strip) *s) {
    VEC acc[8][3];
    NAME(strip_begin)(rows, vectors, s, acc);
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

/* One output row, h_out = kh = kd = 1: neighbouring pairs of vectors of the row stand in for rows. Taps apart by the
 * width of such a pair are then taps of one column: a long dense kernel is a tall one, `kw` = that width taps a row and
 * `rest` taps in the last one. All others take one load a FMA. */
INLINE void NAME(row_body)(const int rows, const NAME(strip) *s) {
    enum { VECTORS = 2 };
    const int64_t width = VECTORS * LANES, kh = s->kh, kw = s->kw;
    VEC acc[8][3];
    NAME(strip_begin)(rows, VECTORS, s, acc);
    const REAL *x = s->x, *w = s->w;
    if (kh > 0) {
        NAME(strip_tall)(rows, VECTORS, s, (pc_taps){0, kh + rows - 1}, x, w, width, acc);
    }
    x += kh * width;
    w += kh * kw;
    for (int64_t k = 0; k < s->rest; k++) {
        const REAL *xk = x + s->off[k];
        const REAL tap = w[k];
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
            for (int j = 0; j < VECTORS; j++)
                acc[r][j] += NAME(load)(xk + r * width + j * LANES) * tap;
    }
    NAME(strip_store)(rows, VECTORS, s, acc);
}

/* Which body a strip takes: kh where the body is made for one kernel height below `rows`, or one of these. */
typedef void (*NAME(strip_function))(const NAME(strip) *);
#ifndef PC_STRIP_KINDS
#define PC_STRIP_KINDS
enum { STRIP_TALL = 0, STRIP_STRIDED = 8, STRIP_DENSE, STRIP_N_KINDS = STRIP_DENSE + 6 };
#endif

#define PC_STRIP(tag, rows, vectors, suffix, body)                                                                     \
    static __attribute__((noinline)) void NAME(strip_##tag##x##vectors##suffix)(const NAME(strip) * s) { body; }
#define PC_STRIP_K(tag, rows, vectors, k)                                                                              \
    PC_STRIP(tag, rows, vectors, _h##k, if ((k) < (rows)) NAME(strip_body)(rows, vectors, k, s))
#define PC_STRIP_DENSE(tag, rows, vectors, k, stride)                                                                  \
    PC_STRIP(tag, rows, vectors, _dense##k##s##stride,                                                                 \
             if (((k) - 1) / (stride) <= LANES) NAME(dense_body)(rows, vectors, k, stride, s))
#define PC_STRIPS(tag, rows, vectors)                                                                                  \
    PC_STRIP_K(tag, rows, vectors, 0) PC_STRIP_K(tag, rows, vectors, 1) PC_STRIP_K(tag, rows, vectors, 2)              \
    PC_STRIP_K(tag, rows, vectors, 3) PC_STRIP_K(tag, rows, vectors, 4) PC_STRIP_K(tag, rows, vectors, 5)              \
    PC_STRIP_K(tag, rows, vectors, 6) PC_STRIP_K(tag, rows, vectors, 7)                                                \
    PC_STRIP(tag, rows, vectors, _strided, NAME(strided_body)(rows, vectors, s))                                       \
    PC_STRIP_DENSE(tag, rows, vectors, 3, 1) PC_STRIP_DENSE(tag, rows, vectors, 3, 2)                                  \
    PC_STRIP_DENSE(tag, rows, vectors, 5, 1) PC_STRIP_DENSE(tag, rows, vectors, 5, 2)                                  \
    PC_STRIP_DENSE(tag, rows, vectors, 7, 1) PC_STRIP_DENSE(tag, rows, vectors, 7, 2)
#define PC_STRIP_NAMES(tag, vectors)                                                                                   \
    {NAME(strip_##tag##x##vectors##_h0), NAME(strip_##tag##x##vectors##_h1), NAME(strip_##tag##x##vectors##_h2),       \
     NAME(strip_##tag##x##vectors##_h3), NAME(strip_##tag##x##vectors##_h4), NAME(strip_##tag##x##vectors##_h5),       \
     NAME(strip_##tag##x##vectors##_h6), NAME(strip_##tag##x##vectors##_h7), NAME(strip_##tag##x##vectors##_strided),  \
     NAME(strip_##tag##x##vectors##_dense3s1), NAME(strip_##tag##x##vectors##_dense3s2),                               \
     NAME(strip_##tag##x##vectors##_dense5s1), NAME(strip_##tag##x##vectors##_dense5s2),                               \
     NAME(strip_##tag##x##vectors##_dense7s1), NAME(strip_##tag##x##vectors##_dense7s2)}
PC_STRIPS(a, PC_DEPTHWISE_ROWS, 1) PC_STRIPS(a, PC_DEPTHWISE_ROWS, 2)
PC_STRIPS(b, PC_DEPTHWISE_ROWS_2, 1) PC_STRIPS(b, PC_DEPTHWISE_ROWS_2, 2)
static const NAME(strip_function) NAME(strips)[2][2][STRIP_N_KINDS] = {
    {PC_STRIP_NAMES(a, 1), PC_STRIP_NAMES(a, 2)},
    {PC_STRIP_NAMES(b, 1), PC_STRIP_NAMES(b, 2)},
};
PC_STRIP(row, PC_DEPTHWISE_ROWS, 2, , NAME(row_body)(PC_DEPTHWISE_ROWS, s))
#undef PC_STRIP
#undef PC_STRIP_K
#undef PC_STRIP_DENSE
#undef PC_STRIPS
#undef PC_STRIP_NAMES

typedef struct NAME(depthwise_job) {
    const pc_conv *p;
    const pc_arrays *arrays;
} NAME(depthwise_job);

/* Which of the columns first .. first + LANES of x are no zeros of the border. */
INLINE MASK NAME(inside)(const pc_conv *p, int64_t first) {
    const int64_t lo = pc_max(0, pc_min(LANES, -first)), hi = pc_max(0, pc_min(LANES, p->w.in - first));
    MASK lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    if (p->padding_mode != PC_PAD_ZEROS)
        return lane >= 0;
    return (lane >= (INTEGER)lo) & (lane < (INTEGER)hi);
}

/* First column of strip v of a tile; the last one may move left over its neighbour. */
INLINE int64_t NAME(strip_start)(pc_panels strips, int64_t v, int64_t w_tile, int may_overlap) {
    const int64_t start = pc_panel_start(strips, v) * LANES, width = pc_panel_rows(strips, v) * LANES;
    return may_overlap && w_tile >= width ? pc_min(start, w_tile - width) : start;
}

#endif

/* row[depth tap][i]: rows of one channel from origin o on, `reach` elements of each that may be read. Rows of x itself
 * where all of that lies within x; the others are copied, padded, into copies[][pitch] behind a row of zeros. */
static void STORED(dense_rows)(const pc_conv *p, const STORED(tile_origin) *o, int64_t n_rows, int64_t length,
                               int64_t reach, const STORAGE *x, REAL *copies, const REAL **row) {
    const pc_ld *ld = &p->ld_x;
    const int64_t last = (p->n - 1) * ld->n + (p->groups - 1) * ld->c + (p->d.in - 1) * ld->d + (p->h.in - 1) * ld->h +
                         p->w.in;
    const int ascending = (ld->n >= 0 || p->n == 1) && (ld->c >= 0 || p->groups == 1) && (ld->d >= 0 || p->d.in == 1) &&
                          (ld->h >= 0 || p->h.in == 1);
    const int in_place = !PC_WIDENED && p->padding_mode == PC_PAD_ZEROS && ld->w == 1 && ascending;
    const NAME(tile_row) t = NAME(tile_row_of)(p, o->w, (pc_grid_axis){1, 1, 1, 1, length});
    const int64_t channel = o->x - x;
    REAL *copy = copies + reach;
    for (int64_t a = 0; a < p->d.k; a++) {
        const int64_t d = pc_map_index(o->d + a * p->d.dilation, p->d.in, p->padding_mode);
        for (int64_t i = 0; i < n_rows;) {
            const int64_t h = d < 0 ? -1 : pc_map_index(o->h + i, p->h.in, p->padding_mode);
            const int64_t start = channel + d * ld->d + h * ld->h, from = start + o->w;
            if (h < 0) {
                row[i++] = copies;
            } else if (in_place && from >= 0 && from + reach <= last) {
                const int64_t room = ld->h > 0 ? (last - reach - from) / ld->h + 1 : 1;
                const int64_t end = i + pc_min(pc_min(n_rows - i, p->h.in - h), room);
                for (const STORAGE *at = x + from; i < end; i++, at += ld->h)
                    row[i] = (const REAL *)at;
            } else {
                STORED(load_row)(p, t, x + start, p->w.in, copy);
                row[i++] = copy;
                copy += reach;
            }
        }
        row += n_rows;
    }
}

/* One output row of a channel, out of its tile. */
static void STORED(depthwise_row)(const pc_conv *p, const pc_arrays *arrays, NAME(strip) s, const REAL *tile,
                                  int64_t w_tile, int direct_store, int activated, pc_place at) {
    const int64_t width = 2 * LANES, all = PC_DEPTHWISE_ROWS * width, kw = p->w.k;
    _Alignas(64) REAL c_tile[(8 * 2 + 1) * LANES];
    const int tall = p->w.stride == 1 && p->w.dilation == 1 && kw >= all;
    s.kw = width;
    s.kh = tall ? kw / width : 0;
    s.rest = kw - s.kh * width;
    s.ld_out = width;
    s.tail = 0;
    for (int64_t base = 0; base < w_tile; base += all) {
        const int whole = direct_store && w_tile >= all;
        const int64_t col = whole ? pc_min(base, w_tile - all) : base;
        s.x = tile + col;
        s.c = whole ? (REAL *)((STORAGE *)arrays->out + pc_at(&p->ld_out, at) + col) : c_tile;
        NAME(strip_rowx2)(&s);
        if (!whole) {
            const pc_segment segment = {0, pc_min(all, w_tile - col), 0, col};
            STORED(finish)(p, arrays, c_tile, all, 1, &segment, 1, at, activated);
        }
    }
}

static void STORED(conv_depthwise_task)(void *ctx, int64_t task, int worker) {
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
    const int64_t dense = pc_depthwise_dense(p, LANES);
    const int single = pc_depthwise_single(p);
    /* Output rows r, r + step, r + 2 step ... make a register tile; the last one may hang over the tile's end. */
    const int64_t step = reuse ? p->h.dilation : 1;
    const int64_t hung = single ? 1 : pc_round_up(h_tile, rows * step);
    const pc_grid_axis gh = pc_grid_axis_of(&p->h, kh, hung), gw = pc_grid_axis_of(&p->w, kw, w_tile);
    const int kind = dense ? STRIP_DENSE + (int)(kh - 3 + p->h.stride - 1)
                           : !reuse ? STRIP_STRIDED : kh < rows ? (int)kh : STRIP_TALL;

    const int relu_in_tile = p->activation == PC_ACT_RELU && !job->arrays->residual;
    const int activated = p->activation == PC_ACT_NONE || relu_in_tile;
    _Alignas(64) REAL c_tile[(8 * PC_DEPTHWISE_VECTORS + 1) * LANES];
    const int which = rows == PC_DEPTHWISE_ROWS ? 0 : 1;
    const pc_panels strips = pc_panels_of(pc_ceil_div(w_tile, LANES), PC_DEPTHWISE_VECTORS);
    /* Register tiles that would hang over the lower or the right edge move inwards and compute a few outputs twice, to
     * the same bits, where these go straight to memory. */
    const int direct_store = !PC_WIDENED && p->ld_out.w == 1 && !job->arrays->residual && activated &&
                             !p->phases.count;

    const REAL *weights = job->arrays->packed;
    const int skip = NAME(may_skip)(p, weights + p->groups * p->c_out * k_all);
    pc_axis reach = p->h; /* all input rows of a register tile as the taps of its first row */
    reach.k = kh + rows - 1;

    const STORAGE *const x = job->arrays->x;
    const pc_dense s_dense = pc_dense_of(p, LANES, hung, w_tile);
    MASK *inside = (MASK *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *tile = dense ? (REAL *)(inside + strips.n * s_dense.masks) : (REAL *)inside;
    int64_t *off = (int64_t *)((REAL *)inside + b->tile_elems);
    const REAL **row = (const REAL **)off;
    if (dense) {
        NAME(clear_over)(tile, s_dense.reach);
        for (int64_t v = 0; v < strips.n; v++) {
            const int64_t col = NAME(strip_start)(strips, v, w_tile, direct_store);
            const int64_t first = (w0 + col) * p->w.stride - p->w.pad;
            for (int64_t j = 0; j < s_dense.masks; j++)
                inside[v * s_dense.masks + j] = NAME(inside)(p, first + j * LANES);
        }
    } else {
        NAME(tap_offsets)(gh, gw, reuse ? 1 : kh, kw, off);
    }

    for (int64_t g = g0; g < g1; g++) {
        const STORED(tile_origin) origin = {
            x + n * p->ld_x.n + g * p->ld_x.c, d_out * p->d.stride - p->d.pad,
            h0 * p->h.stride - p->h.pad, w0 * p->w.stride - p->w.pad, 0, p->d.k};
        if (dense)
            STORED(dense_rows)(p, &origin, s_dense.rows, s_dense.length, s_dense.reach, x, tile, row);
        else
            STORED(load_tile)(p, &origin, gh, gw, tile);
        for (int64_t m = g * p->c_out; m < (g + 1) * p->c_out; m++) {
            const pc_place at = {n, m, d_out, h0, w0};
            STORAGE *const out = (STORAGE *)job->arrays->out + pc_at(&p->ld_out, at);
            NAME(strip) s = {.n_c = p->d.k,
                             .ld_c = dense ? s_dense.rows : gh.phases * gw.phases * gh.length * gw.length,
                             .ld_row = dense ? step : step * gw.length, .off = off, .kh = kh, .kw = kw,
                             .w = weights + m * k_all,
                             .bias = job->arrays->bias ? ((const REAL *)job->arrays->bias)[m] : 0,
                             .relu = relu_in_tile};
            if (single) {
                STORED(depthwise_row)(p, job->arrays, s, tile, w_tile, direct_store, activated, at);
                continue;
            }
            for (int64_t base = 0; base < h_tile; base += rows * step)
                for (int64_t phase = 0; phase < step && base + phase < h_tile; phase++) {
                    const int64_t r0 =
                        direct_store && step == 1 && h_tile >= rows ? pc_min(base, h_tile - rows) : base + phase;
                    const int64_t n_rows = pc_min(rows, pc_ceil_div(h_tile - r0, step));
                    s.live = pc_live_taps(&reach, h0 + r0, 1, skip);
                    for (int64_t v = 0; v < strips.n; v++) {
                        const int64_t vectors = pc_panel_rows(strips, v);
                        const int64_t col = NAME(strip_start)(strips, v, w_tile, direct_store);
                        const int64_t lanes = pc_min(vectors * LANES, w_tile - col);
                        const int whole = direct_store && n_rows == rows;
                        if (dense) {
                            s.row = row + r0 * p->h.stride;
                            s.first = col * p->w.stride;
                            s.inside = inside + v * s_dense.masks;
                        } else {
                            s.x = tile + r0 * gw.length + col;
                        }
                        s.c = whole ? (REAL *)(out + r0 * p->ld_out.h + col) : c_tile;
                        s.ld_out = whole ? step * p->ld_out.h : vectors * LANES;
                        s.tail = whole ? lanes % LANES : 0;
                        NAME(strips)[which][vectors - 1][kind](&s);
                        if (!whole) {
                            pc_segment segments[8];
                            for (int64_t r = 0; r < n_rows; r++)
                                segments[r] = (pc_segment){r * vectors * LANES, lanes, r0 + r * step, col};
                            STORED(finish)(p, job->arrays, c_tile, rows * vectors * LANES, 1, segments, (int)n_rows, at,
                                           activated);
                        }
                    }
                }
        }
    }
}

static void STORED(conv_depthwise_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_depthwise, DTYPE, PC_ISA)));
    NAME(depthwise_job) job = {p, arrays};
    pc_parallel(STORED(conv_depthwise_task), &job, p->blk.n_tasks, threads);
}

static int STORED(conv_depthwise_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    const pc_tile_shape tile = {sizeof(REAL), LANES, PC_DEPTHWISE_ROWS, PC_DEPTHWISE_VECTORS, PC_DEPTHWISE_ROWS_2, 0,
                                PC_WIDENED};
    return pc_plan_depthwise(p, tile, max_scratch_bytes);
}

#if !PC_WIDENED
/* As they are, and behind them the mark of finite weights. */
static int64_t NAME(conv_depthwise_pack)(const pc_conv *p, const void *w, void *packed) {
    const int64_t elems = p->groups * p->c_out * p->d.k * p->h.k * p->w.k;
    if (packed) {
        memcpy(packed, w, (size_t)elems * sizeof(REAL));
        NAME(mark_finite)(w, elems, (REAL *)packed + elems, p->threads);
    }
    return elems + LANES;
}
#endif
