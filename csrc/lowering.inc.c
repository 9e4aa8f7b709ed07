/* lowering_im2col: the windows of images as columns of a matrix; lowering_col2im: such columns summed into images.
 *
 *   column[n, (c kh + i) kw + j, p w_out + q] = x[n, c, p s_h - pad_h + i d_h, q s_w - pad_w + j d_w], zero outside
 *   image[n, c, h, w] = sum over (i, j) of column[n, (c kh + i) kw + j, p w_out + q] where h = p s_h - pad_h + i d_h and
 *                       w = q s_w - pad_w + j d_w
 *
 * Both are described by a pc_conv of one output channel: ld_x is the image's, ld_out.c lies between rows of the matrix,
 * whose columns are neighbours. pyconv/backends/lowering.py cuts the tasks.
 *
 * im2col. A task is some rows of windows of some channels. Their part of x becomes a tile in L1 or L2, with its border,
 * columns of a stride dealt out to phases (tile.inc.c): each element of x is loaded, tested and shuffled once, and the
 * kh kw rows of the matrix are copies of whole vectors. Whatever a row of windows writes beyond its end the next row
 * writes again; only where none follows in this task are ends written exactly. Where channels are neighbours, blocks of
 * LANES x LANES are transposed on the way into the tile. Where windows hold no border and have stride 1 along w, x is its
 * own tile.
 *
 * col2im. A pixel gathers what it sums: the taps that hold it, in the order of (i, j), lanes along w. With stride s
 * along w, pixels s apart see the same taps and neighbouring columns; each of these s phases is a row of sums, and they
 * are interleaved when they are stored. Vectors of columns are loaded wherever they begin, and what belongs to other
 * rows is masked out: the masks are a tap's and a vector's, made once a task. Small planes whose windows are as many a row
 * as they have pixels, with stride 1, are one row: neighbouring pixels see neighbouring columns there beyond the ends of
 * rows as well, and the masks say which of them count. Only vectors that begin before the array or
 * end behind it are put together element by element.
 *
 * Memory: the image once, the columns once; they are kh kw / (s_h s_w) times as many and bound the speed. flops: one
 * addition an element of the columns. Sums are chains of at most kh kw terms. Scratch: tile, planes of channels, offsets;
 * or masks, sums, taps. */

/* The first n elements of src to dst, where up to LANES - 1 more may be read and written. */
INLINE void STORED(spill)(STORAGE *dst, const REAL *src, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        STORED(store)(dst + i, NAME(load)(src + i));
}

/* rows x cols elements, rows `pitch` apart in src, to rows `ld` apart. */
static __attribute__((noinline)) void STORED(put_rows)(STORAGE *dst, const REAL *src, int64_t rows, int64_t cols,
                                                       int64_t pitch, int64_t ld) {
    if (pitch == cols && ld == cols) {
        STORED(write)(dst, src, rows * cols);
        return;
    }
    /* these leave room for a vector in rows of their own */
    const int64_t free = ld == cols ? pc_max(0, rows - pc_ceil_div(LANES, cols)) : 0;
    int64_t r = 0;
    if (cols <= LANES) {
        for (; r < free; r++)
            STORED(store)(dst + r * ld, NAME(load)(src + r * pitch));
    } else {
        for (; r < free; r++)
            STORED(spill)(dst + r * ld, src + r * pitch, cols);
    }
    for (; r < rows; r++)
        STORED(write)(dst + r * ld, src + r * pitch, cols);
}

typedef struct STORED(lowering) {
    const pc_conv *p;
    const STORAGE *src;
    STORAGE *dst;
    char *scratch;
} STORED(lowering);

#if !PC_WIDENED

/* What a task computes: image n, channels, rows and columns of windows, or of pixels. */
typedef struct NAME(lowered) {
    int64_t n, c0, n_c, h0, rows, w0, cols;
} NAME(lowered);

INLINE NAME(lowered) NAME(lowered_of)(const pc_conv *p, int64_t task, int64_t height, int64_t width) {
    const pc_blocking *b = &p->blk;
    NAME(lowered) t;
    t.w0 = task % b->n_w_tiles * b->w_tile;
    task /= b->n_w_tiles;
    t.h0 = task % b->n_h_tiles * b->h_tile;
    task /= b->n_h_tiles;
    t.c0 = task % b->n_m_blocks * b->c_block;
    t.n = task / b->n_m_blocks;
    t.n_c = pc_min(b->c_block, p->c_in - t.c0);
    t.rows = pc_min(b->h_tile, height - t.h0);
    t.cols = pc_min(b->w_tile, width - t.w0);
    return t;
}

/* Where integers begin in scratch. */
INLINE int64_t *NAME(lowered_integers)(const pc_conv *p, REAL *scratch) {
    const int64_t bytes = (p->blk.tile_elems + p->blk.panel_elems) * (int64_t)sizeof(REAL);
    return (int64_t *)((char *)scratch + pc_round_up(bytes, 64));
}

#endif

/* planes[lane][pixel] = src[pixel * ld + lane], n_lanes <= LANES; up to LANES - 1 elements more of a plane are written. */
static __attribute__((noinline)) void STORED(turn_apart)(const STORAGE *src, int64_t ld, int64_t n_lanes, int64_t pixels,
                                                         REAL *planes, int64_t ld_plane) {
    for (int64_t first = 0; first < pixels; first += LANES) {
        VEC v[LANES];
        const int64_t n = pc_min(LANES, pixels - first);
        for (int64_t i = 0; i < LANES; i++) {
            v[i] = (VEC){0};
            if (i >= n)
                continue;
            if (n_lanes == LANES)
                v[i] = STORED(load)(src + (first + i) * ld);
            else
                STORED(read)((REAL *)&v[i], src + (first + i) * ld, n_lanes);
        }
        NAME(transpose)(v);
        for (int64_t i = 0; i < n_lanes; i++)
            NAME(store)(planes + i * ld_plane + first, v[i]);
    }
}

/* The tile of a task, from channels that are neighbours in memory. */
static void STORED(lowering_turn)(const pc_conv *p, const STORAGE *x, const NAME(lowered) * t, pc_grid_axis gh,
                                  pc_grid_axis gw, REAL *planes, REAL *tile) {
    const int64_t h = t->h0 * p->h.stride - p->h.pad, w = t->w0 * p->w.stride - p->w.pad;
    const int64_t h_reach = (t->rows - 1) * p->h.stride + (p->h.k - 1) * p->h.dilation + 1;
    const int64_t w_reach = (t->cols - 1) * p->w.stride + (p->w.k - 1) * p->w.dilation + 1;
    const int64_t top = pc_min(p->h.in, pc_max(0, h)), bottom = pc_max(top, pc_min(p->h.in, h + h_reach));
    const int64_t left = pc_min(p->w.in, pc_max(0, w)), right = pc_max(left, pc_min(p->w.in, w + w_reach));
    const int64_t height = bottom - top, width = right - left, ld_plane = height * width + LANES;
    pc_conv turned = *p; /* the planes as an image of their own */
    turned.h.in = height;
    turned.w.in = width;
    turned.ld_x = (pc_ld){0, ld_plane, 0, width, 1};
    for (int64_t c = 0; c < t->n_c; c += LANES) {
        const int64_t n_lanes = pc_min(LANES, t->n_c - c);
        const STORAGE *from = x + c + top * p->ld_x.h + left * p->ld_x.w;
        if (p->ld_x.h == width * p->ld_x.w)
            STORED(turn_apart)(from, p->ld_x.w, n_lanes, height * width, planes, ld_plane);
        else
            for (int64_t r = 0; r < height; r++)
                STORED(turn_apart)(from + r * p->ld_x.h, p->ld_x.w, n_lanes, width, planes + r * width, ld_plane);
        const NAME(tile_origin) origin = {planes, 0, h - top, w - left, 0, n_lanes};
        NAME(load_tile)(&turned, &origin, gh, gw, tile + c * gh.phases * gw.phases * gh.length * gw.length);
    }
}

static void STORED(im2col_task)(void *ctx, int64_t task, int worker) {
    const STORED(lowering) *job = ctx;
    const pc_conv *p = job->p;
    const NAME(lowered) t = NAME(lowered_of)(p, task, p->h.out, p->w.out);
    const STORAGE *x = job->src + t.n * p->ld_x.n + t.c0 * p->ld_x.c;
    const int64_t taps = p->h.k * p->w.k;
    STORAGE *out = job->dst + t.n * p->ld_out.n + t.c0 * taps * p->ld_out.c + t.h0 * p->w.out + t.w0;
#if !PC_WIDENED
    if (p->blk.in_place) {
        for (int64_t c = 0; c < t.n_c; c++)
            for (int64_t i = 0; i < p->h.k; i++)
                for (int64_t j = 0; j < p->w.k; j++, out += p->ld_out.c) {
                    const STORAGE *from = x + c * p->ld_x.c + (t.h0 * p->h.stride + i * p->h.dilation) * p->ld_x.h;
                    NAME(put_rows)(out, from + t.w0 + j * p->w.dilation, t.rows, t.cols, p->h.stride * p->ld_x.h,
                                   p->w.out);
                }
        return;
    }
#endif
    REAL *tile = (REAL *)(job->scratch + worker * p->scratch_bytes);
    int64_t *off = NAME(lowered_integers)(p, tile);
    const pc_grid_axis gh = pc_grid_axis_of(&p->h, p->h.k, t.rows), gw = pc_grid_axis_of(&p->w, p->w.k, t.cols);
    NAME(tap_offsets)(gh, gw, p->h.k, p->w.k, off);
    if (p->blk.panel_elems) {
        STORED(lowering_turn)(p, x, &t, gh, gw, tile + p->blk.tile_elems, tile);
    } else {
        const STORED(tile_origin) origin = {x, 0, t.h0 * p->h.stride - p->h.pad, t.w0 * p->w.stride - p->w.pad, 0, t.n_c};
        STORED(load_tile)(p, &origin, gh, gw, tile);
    }
    for (int64_t c = 0; c < t.n_c; c++, tile += gh.phases * gw.phases * gh.length * gw.length)
        for (int64_t a = 0; a < taps; a++, out += p->ld_out.c)
            STORED(put_rows)(out, tile + off[a], t.rows, t.cols, gw.length, p->w.out);
}

static void STORED(lowering_im2col_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_conv *p = problem;
    STORED(lowering) job = {p, arrays[0], arrays[1], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(lowering_im2col, DTYPE, PC_ISA)));
    pc_parallel(STORED(im2col_task), &job, p->blk.n_tasks, threads);
}

#if !PC_WIDENED

/* The taps of a task, those of each phase together in ascending order, and what they read. */
typedef struct NAME(col2im) {
    int64_t phases, vectors;  /* of a row of sums */
    int64_t *begin;           /* of each phase's taps, and the end */
    int64_t *off;             /* a tap's window - the pixel's number in its phase */
    int64_t *at;              /* the same with the row of the matrix that the tap is, in elements */
    int64_t *live;            /* pairs of a tap i and a row of windows p that hold a row of pixels */
    int64_t n_live;
    int64_t low, high;        /* least and greatest of at, or of off where rows of the matrix lie apart */
    MASK *masks;              /* [tap][vector] */
    REAL *y;                  /* [phase][vector], and as much again for interleaving */
} NAME(col2im);

/* The phase of all pixels that tap j holds. */
INLINE int64_t NAME(col2im_phase)(const pc_axis *w, int64_t j) {
    return (j * w->dilation % w->stride + w->stride - w->pad % w->stride) % w->stride;
}

/* How pixel `pixel` lies to `outputs` windows after tap j: what is to be added to it, but no more than says that none of
 * them holds it, so that vectors of integers can count it. */
INLINE INTEGER NAME(col2im_shift)(const pc_axis *axis, int64_t j) {
    return (INTEGER)pc_max(-axis->in, pc_min(axis->out, axis->pad - j * axis->dilation));
}

/* The taps and masks of a plane that is one row. */
static __attribute__((noinline)) void NAME(col2im_plane)(const pc_conv *p, const NAME(lowered) * t, NAME(col2im) * s) {
    const int64_t k = p->h.k * p->w.k;
    s->begin[0] = 0;
    s->begin[1] = k;
    s->low = INT64_MAX;
    s->high = INT64_MIN;
    for (int64_t a = 0; a < k; a++) {
        s->off[a] = (p->h.pad - a / p->w.k * p->h.dilation) * p->w.out + p->w.pad - a % p->w.k * p->w.dilation;
        s->at[a] = a * p->ld_out.c + s->off[a];
        const int64_t reach = p->blk.in_place ? s->at[a] : s->off[a];
        s->low = pc_min(s->low, reach);
        s->high = pc_max(s->high, reach);
    }
    int64_t row = t->w0 / p->w.in, col = t->w0 % p->w.in;
    for (int64_t v = 0; v < s->vectors; v++) {
        MASK h, w;
        for (int i = 0; i < LANES; i++) {
            h[i] = (INTEGER)row;
            w[i] = (INTEGER)col;
            if (++col == p->w.in) {
                col = 0;
                row++;
            }
        }
        MASK *mask = s->masks + v;
        for (int64_t i = 0; i < p->h.k; i++) {
            const MASK window = h + NAME(col2im_shift)(&p->h, i);
            const MASK holds = (h < (INTEGER)p->h.in) & (window >= 0) & (window < (INTEGER)p->h.out);
            for (int64_t j = 0; j < p->w.k; j++, mask += s->vectors) {
                const MASK column = w + NAME(col2im_shift)(&p->w, j);
                *mask = holds & (column >= 0) & (column < (INTEGER)p->w.out);
            }
        }
    }
}

static __attribute__((noinline)) NAME(col2im)
    NAME(col2im_of)(const pc_conv *p, const NAME(lowered) * t, REAL *scratch) {
    NAME(col2im) s;
    const int64_t k = p->blk.rows > 1 ? p->h.k * p->w.k : p->w.k;
    s.phases = p->blk.rows > 1 ? 1 : pc_min(p->w.stride, p->w.in);
    s.vectors = pc_ceil_div(t->cols, LANES);
    s.masks = (MASK *)scratch;
    s.y = scratch + p->blk.tile_elems;
    s.begin = NAME(lowered_integers)(p, scratch);
    s.off = s.begin + s.phases + 1;
    s.at = s.off + k;
    s.live = s.at + k;
    if (p->blk.rows > 1) {
        NAME(col2im_plane)(p, t, &s);
        return s;
    }
    for (int64_t r = 0; r < s.phases; r++)
        s.begin[r] = 0;
    for (int64_t j = 0; j < k; j++) {
        const int64_t r = NAME(col2im_phase)(&p->w, j);
        if (r < s.phases)
            s.begin[r]++;
    }
    int64_t end = 0;
    for (int64_t r = 0; r < s.phases; r++)
        s.begin[r] = end += s.begin[r];
    s.begin[s.phases] = end;
    s.low = end ? INT64_MAX : 0;
    s.high = end ? INT64_MIN : 0;
    for (int64_t j = k - 1; j >= 0; j--) {
        const int64_t r = NAME(col2im_phase)(&p->w, j);
        if (r >= s.phases)
            continue;
        const int64_t a = --s.begin[r]; /* from the end of the phase's places; its begin when all are filled */
        s.off[a] = (r + p->w.pad - j * p->w.dilation) / p->w.stride;
        s.at[a] = j * p->ld_out.c + s.off[a];
        const int64_t reach = p->blk.in_place ? s.at[a] : s.off[a];
        s.low = pc_min(s.low, reach);
        s.high = pc_max(s.high, reach);
        for (int64_t v = 0; v < s.vectors; v++) {
            MASK lane, from = {0}, to = {0};
            for (int i = 0; i < LANES; i++)
                lane[i] = i;
            const int64_t column = t->w0 + v * LANES + s.off[a];
            from += (INTEGER)pc_min(LANES, pc_max(0, -column));
            to += (INTEGER)pc_min(LANES, pc_max(0, p->w.out - column));
            s.masks[a * s.vectors + v] = (lane >= from) & (lane < to);
        }
    }
    return s;
}

/* The rows of windows that hold row h of the image. */
INLINE void NAME(col2im_rows)(const pc_conv *p, NAME(col2im) * s, int64_t h) {
    if (p->blk.rows > 1) {
        s->live[0] = s->live[1] = 0;
        s->n_live = 1;
        return;
    }
    s->n_live = 0;
    int64_t row = h + p->h.pad;
    for (int64_t i = 0; i < p->h.k && row >= 0; i++, row -= p->h.dilation) {
        const int64_t window = p->h.stride == 1 ? row : row / p->h.stride;
        if (window >= p->h.out || window * p->h.stride != row)
            continue;
        s->live[2 * s->n_live] = i;
        s->live[2 * s->n_live + 1] = window;
        s->n_live++;
    }
}

#endif

/* A vector of which elements before `begin` and from `end` on, counted from x, do not exist. */
static __attribute__((noinline)) VEC STORED(load_near_end)(const STORAGE *x, int64_t begin, int64_t end) {
    if (begin <= 0 && end >= LANES)
        return STORED(load)(x);
    REAL part[LANES] = {0};
    for (int64_t i = pc_max(0, begin); i < pc_min(LANES, end); i++)
        part[i] = STORED(get)(x + i);
    return NAME(load)(part);
}

/* `vectors` vectors of sums of a phase from vector v on. Not `whole`: the array may begin or end within what is read;
 * `begin` and `end` are where, in elements from `from`. */
INLINE void STORED(col2im_sums)(const pc_conv *p, const NAME(col2im) * s, int64_t phase, int64_t v, const int vectors,
                                const int whole, const STORAGE *from, int64_t begin, int64_t end) {
    VEC sum[4];
#pragma GCC unroll 4
    for (int e = 0; e < vectors; e++)
        sum[e] = (VEC){0};
    for (int64_t i = 0; i < s->n_live; i++) {
        const int64_t row = s->live[2 * i] * p->w.k * p->ld_out.c + s->live[2 * i + 1] * p->w.out + v * LANES;
        for (int64_t a = s->begin[phase]; a < s->begin[phase + 1]; a++) {
            const MASK *mask = s->masks + a * s->vectors + v;
            const int64_t at = row + s->at[a];
            /* where rows of the matrix lie apart, each is an array of its own */
            const int64_t within = p->blk.in_place ? at : at - s->live[2 * i] * p->w.k * p->ld_out.c - s->at[a] + s->off[a];
#pragma GCC unroll 4
            for (int e = 0; e < vectors; e++) {
                const VEC x = whole ? STORED(load)(from + at + e * LANES)
                                    : STORED(load_near_end)(from + at + e * LANES, begin - within - e * LANES,
                                                            end - within - e * LANES);
                sum[e] += (VEC)((MASK)x & mask[e]);
            }
        }
    }
    REAL *y = s->y + (phase * s->vectors + v) * LANES;
#pragma GCC unroll 4
    for (int e = 0; e < vectors; e++)
        *(VEC *)(y + e * LANES) = sum[e];
}

/* One row of sums, all phases. `from` is the channel's first row of the matrix, column w0. */
static __attribute__((noinline)) void STORED(col2im_row)(const pc_conv *p, const NAME(col2im) * s, const STORAGE *from,
                                                         int64_t begin, int64_t end) {
    /* every vector of every tap lies between these */
    int whole = 1;
    for (int64_t i = 0; i < s->n_live; i++) {
        const int64_t matrix_row = p->blk.in_place ? s->live[2 * i] * p->w.k * p->ld_out.c : 0;
        const int64_t at = matrix_row + s->live[2 * i + 1] * p->w.out;
        whole &= at + s->low >= begin && at + s->high + s->vectors * LANES <= end;
    }
    for (int64_t phase = 0; phase < s->phases; phase++) {
        int64_t v = 0;
        if (!whole) {
            for (; v < s->vectors; v++)
                STORED(col2im_sums)(p, s, phase, v, 1, 0, from, begin, end);
            continue;
        }
        for (; v + 4 <= s->vectors; v += 4)
            STORED(col2im_sums)(p, s, phase, v, 4, 1, from, begin, end);
        if (v + 2 <= s->vectors) {
            STORED(col2im_sums)(p, s, phase, v, 2, 1, from, begin, end);
            v += 2;
        }
        if (v < s->vectors)
            STORED(col2im_sums)(p, s, phase, v, 1, 1, from, begin, end);
    }
}

/* A row of sums to a row of pixels; of phase r there are as many columns as the row has pixels r, r + phases, ... */
static __attribute__((noinline)) void STORED(put_pixels)(const pc_conv *p, const NAME(col2im) * s, int64_t w0,
                                                         int64_t cols, STORAGE *out) {
    const int64_t stride = s->phases == 1 ? 1 : p->w.stride, ld = p->ld_x.w, first = w0 * stride;
    const int64_t pixels = pc_min(cols * stride, p->w.in * p->blk.rows - first);
    out += first * ld;
    if (stride == 1 && ld == 1) {
        STORED(write)(out, s->y, pixels);
    } else if (stride == 2 && ld == 1) {
        REAL *zipped = s->y + 2 * s->vectors * LANES;
        for (int64_t v = 0; v < s->vectors; v++) {
            VEC two[2];
            NAME(zip)(NAME(load)(s->y + v * LANES), NAME(load)(s->y + (s->vectors + v) * LANES), two);
            *(VEC *)(zipped + 2 * v * LANES) = two[0];
            *(VEC *)(zipped + (2 * v + 1) * LANES) = two[1];
        }
        STORED(write)(out, zipped, pixels);
    } else {
        for (int64_t phase = 0; phase < s->phases; phase++) {
            const REAL *y = s->y + phase * s->vectors * LANES;
            for (int64_t w = phase; w < pixels; w += stride)
                STORED(put)(out + w * ld, *y++);
        }
    }
}

static void STORED(col2im_task)(void *ctx, int64_t task, int worker) {
    const STORED(lowering) *job = ctx;
    const pc_conv *p = job->p;
    const int64_t taps = p->h.k * p->w.k, length = p->h.out * p->w.out;
    /* columns of a task are those of a phase */
    const int64_t joined = p->blk.rows;
    const NAME(lowered) t =
        NAME(lowered_of)(p, task, p->h.in / joined, pc_ceil_div(p->w.in * joined, p->w.stride));
    NAME(col2im) s = NAME(col2im_of)(p, &t, (REAL *)(job->scratch + worker * p->scratch_bytes));
    STORAGE *image = job->dst + t.n * p->ld_x.n + t.c0 * p->ld_x.c + t.h0 * p->ld_x.h;
    /* one channel after the other, or one row after the other where channels are neighbours */
    const int64_t inner = p->ld_x.c == 1 ? t.n_c : t.rows;
    for (int64_t u = 0; u < t.n_c * t.rows; u++) {
        const int64_t c = p->ld_x.c == 1 ? u % inner : u / inner, h = p->ld_x.c == 1 ? u / inner : u % inner;
        const int64_t row = t.n * p->ld_out.n + (t.c0 + c) * taps * p->ld_out.c;
        const int64_t begin = p->blk.in_place ? -row : 0;
        const int64_t end = p->blk.in_place ? p->n * p->c_in * taps * length - row : length;
        NAME(col2im_rows)(p, &s, t.h0 + h);
        STORED(col2im_row)(p, &s, job->src + row + t.w0, begin - t.w0, end - t.w0);
        STORED(put_pixels)(p, &s, t.w0, t.cols, image + c * p->ld_x.c + h * p->ld_x.h);
    }
}

static void STORED(lowering_col2im_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_conv *p = problem;
    STORED(lowering) job = {p, arrays[0], arrays[1], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(lowering_col2im, DTYPE, PC_ISA)));
    pc_parallel(STORED(col2im_task), &job, p->blk.n_tasks, threads);
}
