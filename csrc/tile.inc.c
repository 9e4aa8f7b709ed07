/* What lies between arrays of any strides and the register tiles: the input tile on the way in, the epilogue on the
 * way out. Both are the same for every convolution kernel. */

#if !PC_WIDENED

/* One row of one phase of the tile. Inside [lo, hi) lie elements of x, outside padding. */
typedef struct NAME(tile_row) {
    int64_t first, stride; /* input column of element 0, and between elements */
    int64_t lo, hi, n;
} NAME(tile_row);

INLINE NAME(tile_row) NAME(tile_row_of)(const pc_conv *p, int64_t first, pc_grid_axis gw) {
    int64_t before = -first, inside = p->w.in - first;
    if (gw.stride != 1) {
        before = before > 0 ? pc_ceil_div(before, gw.stride) : 0;
        inside = inside > 0 ? pc_ceil_div(inside, gw.stride) : 0;
    }
    int64_t lo = pc_min(gw.length, pc_max(0, before));
    int64_t hi = pc_max(lo, pc_min(gw.length, inside));
    return (NAME(tile_row)){first, gw.stride, lo, hi, gw.length};
}

/* Offsets within a tile's channel of the taps h0 .. h0 + n_h, w0 .. w0 + n_w, row by row. */
INLINE void NAME(tap_offsets)(pc_grid_axis gh, pc_grid_axis gw, int64_t n_h, int64_t n_w, int64_t *off) {
    for (int64_t a = 0; a < n_h; a++)
        for (int64_t b = 0; b < n_w; b++)
            *off++ = ((a % gh.period * gw.phases + b % gw.period) * gh.length + a * gh.dilation / gh.stride) * gw.length +
                     b * gw.dilation / gw.stride;
}

/* The output rows that lanes [0, lanes) of a pixel panel belong to. Pixel j stands at row j / pitch, column j % pitch
 * of the tile; columns from `width` on are nobody's (pitch > width where the input tile carries a border). */
INLINE int NAME(segments_of)(int64_t first, int64_t lanes, int64_t pitch, int64_t width, int64_t height,
                             pc_segment *segments) {
    int n = 0;
    for (int64_t lane = 0; lane < lanes;) {
        int64_t h = (first + lane) / pitch, w = (first + lane) % pitch;
        if (h >= height)
            break;
        if (w < width) {
            int64_t length = pc_min(width - w, lanes - lane);
            segments[n++] = (pc_segment){lane, length, h, w};
        }
        lane += pitch - w;
    }
    return n;
}

typedef REAL (*NAME(getter))(const pc_arrays *arrays, int64_t at);

/* One output by direct summation from the weights as they came. What is NaN stays so: summing ends there. */
static __attribute__((noinline, cold)) REAL NAME(sum_again)(const pc_conv *p, const pc_arrays *arrays, NAME(getter) get,
                                                      const REAL *weights, int64_t g, int64_t m, int64_t n, int64_t d,
                                                      int64_t h, int64_t w) {
    weights += (g * p->c_out + m) * p->c_in * p->d.k * p->h.k * p->w.k;
    REAL sum = arrays->bias ? ((const REAL *)arrays->bias)[g * p->c_out + m] : 0;
    for (int64_t c = 0; c < p->c_in; c++)
        for (int64_t a = 0; a < p->d.k; a++) {
            const int64_t d_in = pc_map_index(d * p->d.stride - p->d.pad + a * p->d.dilation, p->d.in, p->padding_mode);
            for (int64_t i = 0; i < p->h.k; i++) {
                const int64_t h_in = pc_map_index(h * p->h.stride - p->h.pad + i * p->h.dilation, p->h.in,
                                                  p->padding_mode);
                const int64_t row = n * p->ld_x.n + (g * p->c_in + c) * p->ld_x.c + d_in * p->ld_x.d + h_in * p->ld_x.h;
                for (int64_t j = 0; j < p->w.k; j++, weights++) {
                    const int64_t w_in = pc_map_index(w * p->w.stride - p->w.pad + j * p->w.dilation, p->w.in,
                                                      p->padding_mode);
                    const int outside = d_in < 0 || h_in < 0 || w_in < 0;
                    sum += *weights * (outside ? 0 : get(arrays, row + w_in * p->ld_x.w));
                }
                if (sum != sum)
                    return sum;
            }
        }
    return sum;
}

#endif

static REAL STORED(get_x)(const pc_arrays *arrays, int64_t at) { return STORED(get)((const STORAGE *)arrays->x + at); }

/* dst[q] = src[q * step] */
INLINE void STORED(copy_strided)(REAL *restrict dst, const STORAGE *restrict src, int64_t step, int64_t n) {
    int64_t q = 0;
    if (step == 2 && n > LANES) {
        for (; q + LANES < n; q += LANES) /* the odd element behind the last even one may not exist: < and not <= */
            NAME(store)(dst + q, NAME(every_second)(STORED(load)(src + 2 * q), STORED(load)(src + 2 * q + LANES), 0));
        q = n - LANES; /* the last vector once more, from loads that end with the last even element */
        NAME(store)(dst + q, NAME(evens_odds)(STORED(load)(src + 2 * q), STORED(load)(src + 2 * q + LANES - 1)));
        return;
    }
    for (; q < n; q++)
        dst[q] = STORED(get)(src + q * step);
}

/* Where the tile of one reduction block begins: input coordinates of output (0, 0)'s first tap. */
typedef struct STORED(tile_origin) {
    const STORAGE *x;     /* image n, first channel of the group */
    int64_t d, h, w;
    int64_t c0, n_c;      /* virtual channels c * kd + tap: a slice of depth is one more channel */
} STORED(tile_origin);

/* dst[q] = row[map(first + q * stride)], q < n. Rows are written in the order of their addresses, so what is written
 * beyond n is overwritten by the next row; behind the last row the tile has LANES elements to spare. `readable` is how
 * many elements from row[0] on belong to x. */
INLINE void STORED(load_row)(const pc_conv *p, NAME(tile_row) t, const STORAGE *row, int64_t readable, REAL *dst) {
    const int64_t ld_w = p->ld_x.w, step = t.stride * ld_w, start = t.first + t.lo * t.stride;
    if (p->padding_mode == PC_PAD_ZEROS)
        NAME(clear_over)(dst, t.lo);
    else
        for (int64_t q = 0; q < t.lo; q++)
            dst[q] = STORED(get)(row + pc_map_index(t.first + q * t.stride, p->w.in, p->padding_mode) * ld_w);
    if (step != 1)
        STORED(copy_strided)(dst + t.lo, row + start * ld_w, step, t.hi - t.lo);
    else if (start + (t.hi - t.lo) + LANES <= readable)
        STORED(read_over)(dst + t.lo, row + start, t.hi - t.lo);
    else
        STORED(read)(dst + t.lo, row + start, t.hi - t.lo);
    if (p->padding_mode == PC_PAD_ZEROS)
        NAME(clear_over)(dst + t.hi, t.n - t.hi);
    else
        for (int64_t q = t.hi; q < t.n; q++)
            dst[q] = STORED(get)(row + pc_map_index(t.first + q * t.stride, p->w.in, p->padding_mode) * ld_w);
}

/* The common case of a whole phase in a tight loop: zeros around rows that are copied as they are, all but the last
 * ones, behind which x may end. Returns how many rows of the phase are done, and moves *tile on. */
INLINE int64_t STORED(load_rows)(const pc_conv *p, NAME(tile_row) t, const STORAGE *slice, int64_t h_in,
                                 pc_grid_axis gh, REAL **tile) {
    const int64_t above = h_in >= 0 ? 0 : pc_min(gh.length, pc_ceil_div(-h_in, gh.stride));
    const int64_t left = t.lo, n = t.hi - t.lo, right = t.n - t.hi, ld = gh.stride * p->ld_x.h;
    NAME(clear_over)(*tile, above * t.n);
    REAL *dst = *tile + above * t.n;
    const int64_t h0 = h_in + above * gh.stride;
    const STORAGE *src = slice + h0 * p->ld_x.h + t.first + t.lo;
    /* row h may be read over while (h_in - 1 - h) rows and what is left of its own lie behind it */
    const int64_t spare = pc_max(0, t.first + t.hi + LANES - p->w.in);
    const int64_t last = p->h.in - 1 - pc_ceil_div(spare, p->ld_x.h);
    const int64_t rows = h0 > last ? 0 : pc_min(gh.length - above, (last - h0) / gh.stride + 1);
    for (int64_t q = 0; q < rows; q++, src += ld, dst += t.n) {
        if (left)
            NAME(clear_over)(dst, left);
        STORED(read_over)(dst + left, src, n);
        if (right)
            NAME(clear_over)(dst + t.hi, right);
    }
    *tile = dst;
    return above + rows;
}

/* Copies x into tile[c][h phase][w phase][h][w], padding included; the layout is pc_grid_axis's. */
static __attribute__((noinline)) void STORED(load_tile)(const pc_conv *p, const STORED(tile_origin) *o, pc_grid_axis gh,
                                                        pc_grid_axis gw, REAL *tile) {
    const int64_t plane = gh.length * gw.length;
    for (int64_t c = o->c0; c < o->c0 + o->n_c; c++) {
        const STORAGE *slice = o->x + c * p->ld_x.c;
        int64_t d = o->d;
        if (p->d.k > 1) {
            slice = o->x + c / p->d.k * p->ld_x.c;
            d += c % p->d.k * p->d.dilation;
        }
        d = pc_map_index(d, p->d.in, p->padding_mode);
        if (d < 0) {
            NAME(clear_over)(tile, gh.phases * gw.phases * plane);
            tile += gh.phases * gw.phases * plane;
            continue;
        }
        slice += d * p->ld_x.d;
        for (int64_t fh = 0; fh < gh.phases; fh++)
            for (int64_t fw = 0; fw < gw.phases; fw++) {
                const NAME(tile_row) row = NAME(tile_row_of)(p, o->w + fw * gw.dilation % gw.stride, gw);
                int64_t h_in = o->h + fh * gh.dilation % gh.stride;
                int64_t q = 0;
                if (p->padding_mode == PC_PAD_ZEROS && gw.stride * p->ld_x.w == 1 && p->ld_x.h > 0)
                    q = STORED(load_rows)(p, row, slice, h_in, gh, &tile);
                h_in += q * gh.stride;
                for (; q < gh.length; q++, h_in += gh.stride, tile += gw.length) {
                    const int64_t h = pc_map_index(h_in, p->h.in, p->padding_mode);
                    if (h < 0) {
                        NAME(clear_over)(tile, gw.length);
                    } else {
                        const int64_t rest = p->ld_x.h > 0 ? (p->h.in - 1 - h) * p->ld_x.h : 0;
                        STORED(load_row)(p, row, slice + h * p->ld_x.h, p->w.in + rest, tile);
                    }
                }
            }
    }
}

/* Asks for the lines that the tile's epilogue will read or write, so that they arrive while it is computed: rows of
 * many channels are too many streams for the processor to foresee, and it would wait for each line at the end. */
INLINE void STORED(prefetch_tile)(const pc_ld *ld, const STORAGE *array, int64_t rows, const pc_segment *segments,
                                  int n_segments, const int written) {
    if (ld->w != 1)
        return;
    for (int s = 0; s < n_segments; s++) {
        const STORAGE *line = array + segments[s].h * ld->h + segments[s].w;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t e = 0; e < segments[s].length; e += 64 / (int64_t)sizeof(STORAGE))
                __builtin_prefetch(line + i * ld->c + e, written);
    }
}

/* n results of one row to their phase, to + stride e. With stride 2 whole vectors go between the other phase's elements
 * where as many follow in the row, if no other worker writes these at that time: `alone`. */
INLINE void STORED(store_phase)(const pc_conv *p, const REAL *c, const pc_phase_place *place, int64_t w, int64_t n,
                                int alone, STORAGE *out) {
    const pc_phase_axis *const axis = &p->phases.w;
    const int64_t step = axis->stride * p->ld_out.w, first = axis->first + place->a_w * axis->step + w * axis->stride;
    const pc_range run = pc_phase_range(axis, place->a_w, w, n);
    STORAGE *const to = out + place->row + first * p->ld_out.w;
    int64_t e = run.begin;
    if (step == 1) {
        STORED(write)(to + e, c + e, run.end - e);
        return;
    }
    if (step == 2 && p->ld_out.w == 1 && alone) {
        MASK even;
        for (int i = 0; i < LANES; i++)
            even[i] = -(i % 2 == 0);
        for (; e + LANES <= run.end && first + 2 * (e + LANES) <= axis->size; e += LANES) {
            const VEC v = NAME(load)(c + e);
            VEC twice[2];
            NAME(zip)(v, v, twice);
            for (int i = 0; i < 2; i++) {
                STORAGE *at = to + 2 * e + i * LANES;
                STORED(store)(at, NAME(select)(even, twice[i], STORED(load)(at)));
            }
        }
    }
    for (; e < run.end; e++)
        STORED(put)(to + e * step, c[e]);
}

/* Row i of c[rows][ld_c], n results from column w on, goes to places[i]. Two phases that are neighbours in memory are
 * interleaved in registers. `alone`: all phases of a channel are this worker's. */
static __attribute__((noinline)) void STORED(store_phases)(const pc_conv *p, const REAL *c, int64_t ld_c, int64_t rows,
                                                           const pc_phase_place *places, int64_t w, int64_t n,
                                                           int alone, STORAGE *out) {
    const pc_phase_axis *const axis = &p->phases.w;
    alone |= axis->n == 1; /* another part of the convolution computes the others, at another time */
    const int pairs = axis->n == 2 && axis->stride == 2 && axis->step == 1 && p->ld_out.w == 1;
    const int64_t first = axis->first + 2 * w;
    /* results whose two phases both exist; at an end of the row there may be one of a pair */
    const int64_t begin = pairs && first < 0 ? (1 - first) / 2 : 0;
    const int64_t end = pairs ? pc_min(n, (axis->size - first) / 2) : 0;
    for (int64_t i = 0; i < rows; i++, c += ld_c, places++) {
        if (!places->exists)
            continue;
        if (!pairs || i + 1 == rows || places[0].a_w != 0 || places[1].row != places[0].row || begin >= end) {
            STORED(store_phase)(p, c, places, w, n, alone, out);
            continue;
        }
        STORAGE *const to = out + places->row + first;
        int64_t e = begin;
        for (; e + LANES <= end; e += LANES) {
            VEC v[2];
            NAME(zip)(NAME(load)(c + e), NAME(load)(c + ld_c + e), v);
            STORED(store)(to + 2 * e, v[0]);
            STORED(store)(to + 2 * e + LANES, v[1]);
        }
        for (; e < end; e++) {
            STORED(put)(to + 2 * e, c[e]);
            STORED(put)(to + 2 * e + 1, c[ld_c + e]);
        }
        for (int a = 0; a < 2 && end - begin < n; a++) { /* what the ends have besides */
            const pc_range run = pc_phase_range(axis, a, w, n);
            const REAL *row = c + a * ld_c;
            for (e = run.begin; e < begin; e++)
                STORED(put)(to + 2 * e + a, row[e]);
            for (e = end; e < run.end; e++)
                STORED(put)(to + 2 * e + a, row[e]);
        }
        c += ld_c;
        places++;
        i++;
    }
}

/* The epilogue of one register tile in memory, c[rows][ld_c]: adds the residual, applies the activation, and hands
 * each segment to the output. c has LANES elements to spare; segments count from `at`, the tile's first result. */
static __attribute__((noinline)) void STORED(finish)(const pc_conv *p, const pc_arrays *arrays, REAL *c, int64_t ld_c,
                                                     int64_t rows, const pc_segment *segments, int n_segments,
                                                     pc_place at, int activated) {
    const pc_ld *lo = &p->ld_out, *lr = &p->ld_res;
    STORAGE *out = arrays->out;
    const STORAGE *residual = arrays->residual;
    if (p->phases.count) {
        if (!activated && p->activation != PC_ACT_NONE)
            NAME(activate)(c, rows * ld_c, p->activation, (REAL)p->slope);
        for (int s = 0; s < n_segments; s++) {
            pc_phase_place places[16];
            pc_place from = at;
            from.h += segments[s].h;
            pc_phase_places(p, from, 1, rows, places);
            STORED(store_phases)(p, c + segments[s].lane, ld_c, rows, places, at.w + segments[s].w, segments[s].length,
                                 0, out);
        }
        return;
    }
    out += pc_at(lo, at);
    if (residual)
        residual += pc_at(lr, at);
    if (residual) {
        for (int64_t i = 0; i < rows; i++)
            for (int s = 0; s < n_segments; s++) {
                const STORAGE *r = residual + i * lr->c + segments[s].h * lr->h + segments[s].w * lr->w;
                STORED(add)(c + i * ld_c + segments[s].lane, r, lr->w, segments[s].length);
            }
    }
    if (!activated && p->activation != PC_ACT_NONE)
        NAME(activate)(c, rows * ld_c, p->activation, (REAL)p->slope);
    const STORAGE *narrow = lo->w == 1 ? NULL : STORED(narrow)(c, rows * ld_c);
    for (int s = 0; s < n_segments; s++) {
        STORAGE *dst = out + segments[s].h * lo->h + segments[s].w * lo->w;
        int64_t length = segments[s].length;
        if (lo->w == 1) {
            for (int64_t i = 0; i < rows; i++)
                STORED(write)(dst + i * lo->c, c + i * ld_c + segments[s].lane, length);
        } else {
            for (int64_t e = 0; e < length; e++)
                for (int64_t i = 0; i < rows; i++)
                    dst[e * lo->w + i * lo->c] = narrow[i * ld_c + segments[s].lane + e];
        }
    }
}
