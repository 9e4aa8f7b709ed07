/* What lies between arrays of any strides and the register tiles: the input tile on the way in, the epilogue on the
 * way out. Both are the same for every convolution kernel. */

/* dst[q] = src[q * step] */
INLINE void NAME(copy_strided)(REAL *restrict dst, const REAL *restrict src, int64_t step, int64_t n) {
    if (step == 1) {
        NAME(copy)(dst, src, n);
    } else if (step == 2) { /* constant steps let the compiler shuffle whole vectors */
        for (int64_t q = 0; q < n; q++)
            dst[q] = src[2 * q];
    } else if (step == 4) {
        for (int64_t q = 0; q < n; q++)
            dst[q] = src[4 * q];
    } else {
        for (int64_t q = 0; q < n; q++)
            dst[q] = src[q * step];
    }
}

INLINE void NAME(clear)(REAL *dst, int64_t n) {
    for (int64_t q = 0; q < n; q++)
        dst[q] = 0;
}

/* One row of one phase: dst[q] = row[map(first + q * stride)], q < n. */
INLINE void NAME(load_row)(REAL *dst, const REAL *row, int64_t ld_w, int64_t width, int64_t first, int64_t stride,
                           int64_t n, int64_t mode) {
    int64_t lo = first >= 0 ? 0 : pc_min(n, pc_ceil_div(-first, stride));
    int64_t hi = first >= width ? lo : pc_max(lo, pc_min(n, pc_ceil_div(width - first, stride)));
    if (mode == PC_PAD_ZEROS) {
        NAME(clear)(dst, lo);
        NAME(clear)(dst + hi, n - hi);
    } else {
        for (int64_t q = 0; q < lo; q++)
            dst[q] = row[pc_map_index(first + q * stride, width, mode) * ld_w];
        for (int64_t q = hi; q < n; q++)
            dst[q] = row[pc_map_index(first + q * stride, width, mode) * ld_w];
    }
    NAME(copy_strided)(dst + lo, row + (first + lo * stride) * ld_w, stride * ld_w, hi - lo);
}

/* Where the tile of one reduction block begins: input coordinates of output (0, 0)'s first tap. */
typedef struct NAME(tile_origin) {
    const REAL *x;        /* image n, first channel of the group */
    int64_t d, h, w;
    int64_t c0, n_c;      /* virtual channels c * kd + tap: a slice of depth is one more channel */
} NAME(tile_origin);

/* Copies x into tile[c][h phase][w phase][h][w], padding included; the layout is pc_grid_axis's. */
static __attribute__((noinline)) void NAME(load_tile)(const pc_conv *p, const NAME(tile_origin) *o, pc_grid_axis gh,
                                                      pc_grid_axis gw, REAL *tile) {
    int64_t plane = gh.length * gw.length;
    for (int64_t c = o->c0; c < o->c0 + o->n_c; c++) {
        int64_t d = pc_map_index(o->d + c % p->d.k * p->d.dilation, p->d.in, p->padding_mode);
        if (d < 0) {
            NAME(clear)(tile, gh.phases * gw.phases * plane);
            tile += gh.phases * gw.phases * plane;
            continue;
        }
        const REAL *slice = o->x + c / p->d.k * p->ld_x.c + d * p->ld_x.d;
        for (int64_t fh = 0; fh < gh.phases; fh++) {
            int64_t h0 = o->h + fh * gh.dilation % gh.stride;
            for (int64_t q = 0; q < gh.length; q++) {
                int64_t h = pc_map_index(h0 + q * gh.stride, p->h.in, p->padding_mode);
                const REAL *row = slice + h * p->ld_x.h;
                for (int64_t fw = 0; fw < gw.phases; fw++) {
                    REAL *dst = tile + (fh * gw.phases + fw) * plane + q * gw.length;
                    if (h < 0)
                        NAME(clear)(dst, gw.length);
                    else
                        NAME(load_row)(dst, row, p->ld_x.w, p->w.in, o->w + fw * gw.dilation % gw.stride, gw.stride,
                                       gw.length, p->padding_mode);
                }
            }
        }
        tile += gh.phases * gw.phases * plane;
    }
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

/* The epilogue of one register tile in memory, c[rows][ld_c]: adds the residual, applies the activation, and hands
 * each segment to the output. out and residual point at the tile's first channel, row and column. */
static __attribute__((noinline)) void NAME(finish)(const pc_conv *p, REAL *c, int64_t ld_c, int64_t rows,
                                                   const pc_segment *segments, int n_segments, REAL *out,
                                                   const REAL *residual, int activated) {
    const pc_ld *lo = &p->ld_out, *lr = &p->ld_res;
    if (residual) {
        for (int64_t i = 0; i < rows; i++)
            for (int s = 0; s < n_segments; s++) {
                const REAL *r = residual + i * lr->c + segments[s].h * lr->h + segments[s].w * lr->w;
                REAL *dst = c + i * ld_c + segments[s].lane;
                for (int64_t e = 0; e < segments[s].length; e++)
                    dst[e] += r[e * lr->w];
            }
    }
    if (!activated && p->activation != PC_ACT_NONE)
        NAME(activate)(c, rows * ld_c, p->activation, (REAL)p->slope);
    for (int s = 0; s < n_segments; s++) {
        const REAL *src = c + segments[s].lane;
        REAL *dst = out + segments[s].h * lo->h + segments[s].w * lo->w;
        int64_t length = segments[s].length;
        if (lo->w == 1) {
            for (int64_t i = 0; i < rows; i++)
                NAME(copy)(dst + i * lo->c, src + i * ld_c, length);
        } else {
            for (int64_t e = 0; e < length; e++)
                for (int64_t i = 0; i < rows; i++)
                    dst[e * lo->w + i * lo->c] = src[i * ld_c + e];
        }
    }
}
