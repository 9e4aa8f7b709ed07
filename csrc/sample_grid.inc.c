/* sample_grid: maps sampled at places of the caller's choice, and the gradients with respect to maps and places.
 *
 *   out[n, c, p] = sum over taps i_d, i_h, i_w of  w_d w_h w_w x[n, c, i_d, i_h, i_w],  taps and weights of point p
 *
 * The taps of a point are a product of those of its axes: one element (nearest), two (linear) or four (cubic), each with a
 * weight. Tables of them are made for a block of points at a time, points in the lanes, and serve all channels. The taps of
 * an axis are neighbours always: they are moved inside, and each takes the weights that belong to its element, those of
 * elements outside included where the border stands for them. An element that weighs nothing is not counted, for it may be
 * infinite.
 *
 * Places are computed step by step in the arithmetic's type, without fused multiplication, so that every instruction set
 * and the definition in Python agree where rounding decides: which pixel is nearest, which pair a point is between.
 *
 * By channels: a block of channels of the map is turned into pixels of whole vectors, or read in place where memory is so;
 * a point costs a load and an FMA for each tap and vector, and its sums are turned back. By points: the neighbours that
 * a point reads in a row of a channel's plane are copied side by side, point after point, and loaded as vectors of points. The second where channels are few or
 * maps too large for the cache.
 *
 * The gradient of x adds to a map in scratch, or to a plane of the result; a task has channels of its own, and takes all
 * points in their order; few channels lie four side by side in that map. That of the places sums over channels, in whole
 * vectors of them where they are neighbours in memory, else in their order; a task has points of its own.
 *
 * flops: 2 a tap and channel. Errors: one rounding a weight, product and sum; (taps of all axes + 12) eps.
 * Places as in torch; cubic weights after Keys (1981), a = -0.75. */

#if defined(__clang__)
#define PC_EXACT __attribute__((noinline))
#else
#define PC_EXACT __attribute__((noinline, optimize("fp-contract=off")))
#endif

#if !PC_WIDENED

/* The taps of a block of points. */
typedef struct NAME(grid_table) {
    REAL at[3][PC_GRID_BLOCK]; /* coordinates, d h w */
    INTEGER index[3][4][PC_GRID_BLOCK];
    REAL weight[3][4][PC_GRID_BLOCK], slope[3][4][PC_GRID_BLOCK]; /* slope: derivatives of weights by the coordinate */
    /* rows are the taps of d and h, columns those of w: steps from the map's first element */
    int64_t row[4][PC_GRID_BLOCK], column[4][PC_GRID_BLOCK];
    REAL row_weight[4][PC_GRID_BLOCK];
    REAL stage[16][PC_GRID_BLOCK]; /* elements of a plane, point by point */
    uint8_t whole[PC_GRID_BLOCK]; /* by vectors of points: no tap weighs nothing */
} NAME(grid_table);

/* The nearest integer, the even one of two; what is larger than the last fraction is one already. */
INLINE VEC NAME(grid_rint)(VEC x) {
    const REAL big = sizeof(REAL) == 4 ? (REAL)0x1p23 : (REAL)0x1p52;
    const MASK sign = (MASK) - (VEC){0}, size = (MASK)x & ~sign;
    const VEC rounded = (VEC)size + big - big;
    return (VEC)((MASK)NAME(select)((VEC)size < big, rounded, (VEC)size) | ((MASK)x & sign));
}

INLINE VEC NAME(grid_floor)(VEC x) {
    const VEC r = NAME(grid_rint)(x);
    return NAME(select)(r > x, r - 1, r);
}

/* Cut to [0, last]; a NaN becomes 0. */
INLINE VEC NAME(grid_inside)(VEC at, REAL last) {
    at = NAME(select)(at > 0, at, (VEC){0});
    return NAME(select)(at < last, at, NAME(splat)(last));
}

/* Places folded and cut to [0, max]; a NaN becomes 0. Returns the derivative too: 1, -1, or 0 where it was cut. */
INLINE VEC NAME(grid_bounded)(VEC at, int64_t padding, int64_t align_corners, REAL size, VEC *slope) {
    const REAL max = size - 1;
    VEC sign = NAME(splat)(1);
    if (padding == PC_GRID_REFLECTION) {
        const REAL low = align_corners ? 0 : (REAL)-0.5, twice = align_corners ? 2 * max : 2 * size;
        const VEC from = at - low, away = (VEC)((MASK)from & ~(MASK) - (VEC){0});
        const VEC over = away - NAME(grid_floor)(away / twice) * twice, back = twice - over;
        sign = NAME(select)((MASK)(from < 0) ^ (MASK)(over > back), -sign, sign);
        at = NAME(select)(over > back, back, over) + low;
    }
    *slope = NAME(select)((MASK)(at > 0) & (MASK)(at < max), sign, (VEC){0});
    return NAME(grid_inside)(at, max);
}

/* Keys' function of a = -0.75 at distances p and p + 1, q = 1 - p: factors, so that small weights are as exact as large
 * ones; and its derivatives by p. */
INLINE VEC NAME(grid_near)(VEC p, VEC q) { return q * (p * (1 - p * (REAL)1.25) + 1); }
INLINE VEC NAME(grid_far)(VEC p, VEC q) { return q * q * p * (REAL)-0.75; }
INLINE VEC NAME(grid_near_slope)(VEC p) { return (p * (REAL)3.75 - (REAL)4.5) * p; }
INLINE VEC NAME(grid_far_slope)(VEC p, VEC q) { return (p * 3 - 1) * q * (REAL)0.75; }

/* The taps of an axis of `size` elements for n points; slopes where they are wanted. */
static PC_EXACT void NAME(grid_axis)(const pc_grid *p, int64_t size, int64_t n, const REAL *at,
                                     INTEGER (*index)[PC_GRID_BLOCK], REAL (*weight)[PC_GRID_BLOCK],
                                     REAL (*slope)[PC_GRID_BLOCK]) {
#if defined(__clang__)
#pragma clang fp contract(off)
#endif
    const int64_t padding = p->padding, align = p->align_corners, taps = p->taps;
    const REAL max = (REAL)(size - 1), scale = (align ? max : (REAL)size) / 2;
    const REAL last = size > taps ? (REAL)(size - taps) : 0; /* where neighbours begin that all lie inside */
    const VEC none = {0}, one = none + 1;
    for (int64_t i = 0; i < n; i += LANES) {
        VEC place = (*(const NAME(vec_unaligned) *)(at + i) + 1) * scale;
        if (!align)
            place = place - (REAL)0.5;
        VEC turns = one;
        VEC taken[4], share[4], change[4] = {none, none, none, none};
        if (taps != 4 && padding != PC_GRID_ZEROS)
            place = NAME(grid_bounded)(place, padding, align, (REAL)size, &turns);
        if (taps == 1) {
            const VEC nearest = NAME(grid_rint)(place);
            taken[0] = NAME(grid_inside)(nearest, max);
            share[0] = NAME(select)(nearest == taken[0], one, none);
        } else if (taps == 2) {
            const VEC low = NAME(grid_floor)(place), part = place - low, first = NAME(grid_inside)(low, last);
            if (slope)
                turns = turns * scale;
            for (int t = 0; t < 2; t++) {
                const VEC mine = first + (REAL)t;
                const MASK inside = mine <= max, is_low = (MASK)(mine == low) & inside;
                const MASK is_high = (MASK)(mine == low + 1) & inside;
                taken[t] = NAME(select)(inside, mine, first);
                share[t] = NAME(select)(is_low, 1 - part, NAME(select)(is_high, part, none));
                if (slope)
                    change[t] = NAME(select)(is_low, -turns, NAME(select)(is_high, turns, none));
            }
        } else {
            const VEC low = NAME(grid_floor)(place), part = place - low, rest = 1 - part;
            share[0] = NAME(grid_far)(part, rest);
            share[1] = NAME(grid_near)(part, rest);
            share[2] = NAME(grid_near)(rest, part);
            share[3] = NAME(grid_far)(rest, part);
            if (slope) {
                change[0] = NAME(grid_far_slope)(part, rest) * scale;
                change[1] = NAME(grid_near_slope)(part) * scale;
                change[2] = -NAME(grid_near_slope)(rest) * scale;
                change[3] = -NAME(grid_far_slope)(rest, part) * scale;
            }
            VEC first = none, at_tap[4], ignored;
            for (int t = 0; t < 4; t++) {
                at_tap[t] = low + (REAL)(t - 1);
                if (padding != PC_GRID_ZEROS)
                    at_tap[t] = NAME(grid_bounded)(at_tap[t], padding, align, (REAL)size, &ignored);
                first = t == 0 ? at_tap[t] : NAME(select)(at_tap[t] < first, at_tap[t], first);
            }
            first = NAME(grid_inside)(first, last);
            VEC sum[4], slopes[4];
            for (int e = 0; e < 4; e++) {
                const VEC mine = first + (REAL)e;
                sum[e] = slopes[e] = none;
                for (int t = 0; t < 4; t++) {
                    const MASK is = (MASK)(mine == at_tap[t]) & (MASK)(mine <= max);
                    sum[e] += NAME(select)(is, share[t], none);
                    if (slope)
                        slopes[e] += NAME(select)(is, change[t], none);
                }
                taken[e] = NAME(select)(mine < max, mine, none + max);
            }
            for (int e = 0; e < 4; e++) {
                share[e] = sum[e];
                change[e] = slopes[e];
            }
        }
        for (int64_t t = 0; t < taps; t++) {
            *(MASK *)(index[t] + i) = __builtin_convertvector(taken[t], MASK);
            *(VEC *)(weight[t] + i) = share[t];
            if (slope)
                *(VEC *)(slope[t] + i) = change[t];
        }
    }
}

/* The table of n points, whose coordinates are there; elements of the map are `ld` apart. Vectors are filled up. */
static __attribute__((noinline)) void NAME(grid_fill)(const pc_grid *p, int64_t n, const pc_ld *ld,
                                                      NAME(grid_table) *t) {
    const int64_t wide = pc_round_up(n, LANES), planes = p->rank == 3 ? p->taps : 1;
    for (int64_t i = n; i < wide; i++)
        for (int a = 0; a < 3; a++)
            t->at[a][i] = 0;
    for (int a = p->rank == 3 ? 0 : 1; a < 3; a++)
        NAME(grid_axis)(p, p->in[a], wide, t->at[a], t->index[a], t->weight[a],
                        p->what == PC_GRID_GRAD_GRID ? t->slope[a] : NULL);
    for (int64_t k = 0; k < p->taps; k++) {
        if (ld->w == 1)
            for (int64_t i = 0; i < wide; i++)
                t->column[k][i] = t->index[2][k][i];
        else
            for (int64_t i = 0; i < wide; i++)
                t->column[k][i] = t->index[2][k][i] * ld->w;
    }
    for (int64_t a = 0; a < planes; a++)
        for (int64_t b = 0; b < p->taps; b++)
            for (int64_t i = 0; i < wide; i++) {
                const int64_t h = t->index[1][b][i] * ld->h;
                t->row[a * p->taps + b][i] = p->rank == 3 ? t->index[0][a][i] * ld->d + h : h;
                t->row_weight[a * p->taps + b][i] = p->rank == 3 ? t->weight[0][a][i] * t->weight[1][b][i]
                                                                 : t->weight[1][b][i];
            }
    for (int64_t i = 0; p->by_channels && i < wide; i += LANES) {
        MASK zero = {0};
        for (int64_t k = 0; k < p->taps; k++)
            zero |= (MASK)(*(const VEC *)(t->weight[2][k] + i) == 0);
        for (int64_t r = 0; r < planes * p->taps; r++)
            zero |= (MASK)(*(const VEC *)(t->row_weight[r] + i) == 0);
        int64_t halves[PC_VEC_BYTES / 8], any = 0;
        memcpy(halves, &zero, sizeof zero);
        for (int l = 0; l < PC_VEC_BYTES / 8; l++)
            any |= halves[l];
        t->whole[i / LANES] = !any;
    }
}

/* Lanes that weigh nothing are zero, whatever they hold. */
INLINE VEC NAME(grid_counted)(VEC v, VEC weight) { return (VEC)((MASK)v & (MASK)(weight != 0)); }

/* One point's sum from a map of pixels of whole vectors. */
INLINE void NAME(grid_point)(const NAME(grid_table) *t, int64_t i, const REAL *map, int64_t ld_v, const int64_t rows,
                             const int64_t taps, const int nv, const int whole, VEC sum[2]) {
    for (int v = 0; v < nv; v++)
        sum[v] = (VEC){0};
    for (int64_t r = 0; r < rows; r++) {
        const REAL down = t->row_weight[r][i];
        if (!whole && down == 0)
            continue;
        VEC part[2] = {{0}, {0}};
        for (int64_t k = 0; k < taps; k++) {
            const REAL across = t->weight[2][k][i];
            if (!whole && across == 0)
                continue;
            const REAL *const from = map + t->row[r][i] + t->column[k][i];
            for (int v = 0; v < nv; v++)
                part[v] += NAME(load)(from + v * ld_v) * across;
        }
        for (int v = 0; v < nv; v++)
            sum[v] += part[v] * down;
    }
}

/* n points into y[vector][point]. */
INLINE void NAME(grid_points)(const NAME(grid_table) *t, int64_t n, const REAL *map, int64_t ld_v, const int64_t rows,
                              const int64_t taps, const int nv, REAL *y) {
    for (int64_t i = 0; i < n; i++) {
        VEC sum[2];
        if (t->whole[i / LANES])
            NAME(grid_point)(t, i, map, ld_v, rows, taps, nv, 1, sum);
        else
            NAME(grid_point)(t, i, map, ld_v, rows, taps, nv, 0, sum);
        for (int v = 0; v < nv; v++)
            *(VEC *)(y + (v * PC_GRID_BLOCK + i) * LANES) = sum[v];
    }
}

static __attribute__((noinline)) void NAME(grid_sample_map)(const pc_grid *p, const NAME(grid_table) *t, int64_t n,
                                                            const REAL *map, int64_t ld_v, int64_t nv, REAL *y) {
    const int64_t rows = p->rank == 3 ? p->taps * p->taps : p->taps;
    if (p->taps == 2 && rows == 2 && nv == 2)
        NAME(grid_points)(t, n, map, ld_v, 2, 2, 2, y);
    else if (p->taps == 2 && rows == 2)
        NAME(grid_points)(t, n, map, ld_v, 2, 2, 1, y);
    else if (nv == 2)
        NAME(grid_points)(t, n, map, ld_v, rows, p->taps, 2, y);
    else
        NAME(grid_points)(t, n, map, ld_v, rows, p->taps, 1, y);
}

/* The gradient's map: y[vector][point] times weights is added to it. */
static __attribute__((noinline)) void NAME(grid_add_map)(const pc_grid *p, const NAME(grid_table) *t, int64_t n, REAL *map,
                                                         int64_t ld_v, int64_t nv, const REAL *y) {
    const int64_t rows = p->rank == 3 ? p->taps * p->taps : p->taps;
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < rows; r++) {
            const REAL down = t->row_weight[r][i];
            if (down == 0)
                continue;
            for (int64_t k = 0; k < p->taps; k++) {
                const REAL across = t->weight[2][k][i];
                if (across == 0)
                    continue;
                REAL *const to = map + t->row[r][i] + t->column[k][i];
                for (int64_t v = 0; v < nv; v++)
                    *(VEC *)(to + v * ld_v) += *(const VEC *)(y + (v * PC_GRID_BLOCK + i) * LANES) * (down * across);
            }
        }
}

/* y[point][channel] of `side` channels, 1 or 4, times weights added to map[pixel][channel], where rows of the map from
 * element `begin` up to `end` are wanted; the map begins with them. */
static __attribute__((noinline)) void NAME(grid_scatter)(const pc_grid *p, const NAME(grid_table) *t, int64_t n,
                                                         int64_t side, const REAL *y, int64_t begin, int64_t end,
                                                         REAL *map) {
    typedef REAL quad __attribute__((vector_size(4 * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));
    const int64_t rows = p->rank == 3 ? p->taps * p->taps : p->taps;
    for (int64_t i = 0; i < n; i++)
        for (int64_t r = 0; r < rows; r++) {
            const REAL down = t->row_weight[r][i];
            const int64_t row = t->row[r][i];
            if (down == 0 || row < begin || row >= end)
                continue;
            for (int64_t k = 0; k < p->taps; k++) {
                const REAL across = t->weight[2][k][i];
                if (across == 0)
                    continue;
                REAL *const to = map + (row - begin) + t->column[k][i];
                if (side == 4)
                    *(quad *)to += *(const quad *)(y + i * 4) * (down * across);
                else
                    *to += y[i] * (down * across);
            }
        }
}

/* One point's gradient: products of pixels of neighbouring channels with g, tap by tap, along each axis. */
static __attribute__((noinline)) void NAME(grid_dots)(const pc_grid *p, const NAME(grid_table) *t, int64_t n,
                                                      const REAL *map, const REAL *g, int64_t ld_g, REAL *sums) {
    const int64_t planes = p->rank == 3 ? p->taps : 1, taps = p->taps;
    for (int64_t i = 0; i < n; i++, g += ld_g) {
        REAL along[3] = {0, 0, 0};
        for (int64_t a = 0; a < planes; a++)
            for (int64_t b = 0; b < taps; b++) {
                const REAL depth = p->rank == 3 ? t->weight[0][a][i] : 1, down = t->weight[1][b][i];
                for (int64_t k = 0; k < taps; k++) {
                    const REAL across = t->weight[2][k][i];
                    const REAL by[3] = {depth * down * t->slope[2][k][i], depth * t->slope[1][b][i] * across,
                                        p->rank == 3 ? t->slope[0][a][i] * down * across : 0};
                    if (by[0] == 0 && by[1] == 0 && by[2] == 0)
                        continue;
                    const REAL *const pixel = map + t->row[a * taps + b][i] + t->column[k][i];
                    VEC sum[2] = {{0}, {0}};
                    int64_t c = 0;
                    for (; c + 2 * LANES <= p->c; c += 2 * LANES) {
                        sum[0] += NAME(load)(pixel + c) * NAME(load)(g + c);
                        sum[1] += NAME(load)(pixel + c + LANES) * NAME(load)(g + c + LANES);
                    }
                    for (; c + LANES <= p->c; c += LANES)
                        sum[0] += NAME(load)(pixel + c) * NAME(load)(g + c);
                    sum[0] += sum[1];
                    REAL lanes[LANES], dot = 0;
                    NAME(store)(lanes, sum[0]);
                    for (int half = LANES / 2; half > 0; half /= 2)
                        for (int l = 0; l < half; l++)
                            lanes[l] += lanes[l + half];
                    for (; c < p->c; c++)
                        dot += pixel[c] * g[c];
                    dot += lanes[0];
                    for (int axis = 0; axis < 3; axis++)
                        if (by[axis] != 0)
                            along[axis] += dot * by[axis];
                }
            }
        for (int64_t axis = 0; axis < p->rank; axis++)
            sums[axis * PC_GRID_BLOCK + i] = along[axis];
    }
}

#endif

typedef struct STORED(grid_job) {
    const pc_grid *p;
    STORAGE *x, *out;
    const STORAGE *grid;
    STORAGE *grad_grid;
    char *scratch;
} STORED(grid_job);

/* Coordinates of n points from `first` on of an image. */
static void STORED(grid_read)(const STORED(grid_job) *job, int64_t image, int64_t first, int64_t n,
                              NAME(grid_table) *t) {
    const pc_grid *p = job->p;
    const STORAGE *const from = job->grid + (image * p->points + first) * p->rank;
    for (int64_t a = 0; a < p->rank; a++)
        for (int64_t i = 0; i < n; i++)
            t->at[2 - a][i] = STORED(get)(from + i * p->rank + a);
}

/* All pixels of n_lanes channels of a map to pixels of LANES channels, or back. */
static void STORED(grid_turn)(const pc_grid *p, STORAGE *x, int64_t n_lanes, REAL *map, int back) {
    const int64_t width = p->in[2], h = p->in[1], d = p->in[0];
    const int planes = h == 1 || p->ld_x.h == width * p->ld_x.w;
    const int one = planes && (d == 1 || p->ld_x.d == h * width * p->ld_x.w);
    const int64_t run = one ? d * h * width : planes ? h * width : width, runs = one ? 1 : planes ? d : d * h;
    for (int64_t i = 0; i < runs; i++, map += run * LANES) {
        STORAGE *const row = x + (planes ? i * p->ld_x.d : i / h * p->ld_x.d + i % h * p->ld_x.h);
        if (back)
            STORED(lanes_save)(map, p->ld_x.c, p->ld_x.w, n_lanes, run, row);
        else
            STORED(lanes_load)(row, p->ld_x.c, p->ld_x.w, n_lanes, run, map);
    }
}

/* What a worker's scratch begins with: the block of channels whose map it holds. */
#ifndef PC_GRID_HELD
#define PC_GRID_HELD
typedef struct pc_grid_held {
    int64_t block;
} pc_grid_held;
#endif

/* Scratch: 64 bytes, the table, y, the map. */
INLINE NAME(grid_table) *STORED(grid_scratch)(const STORED(grid_job) *job, int worker, REAL **y, REAL **map) {
    char *const at = job->scratch + worker * job->p->scratch_bytes + 64;
    *y = (REAL *)(at + pc_round_up(sizeof(NAME(grid_table)), 64));
    *map = *y + 2 * PC_GRID_BLOCK * LANES;
    return (NAME(grid_table) *)at;
}

/* Forward and gradient of x, channels in the lanes: a block of channels of an image, and some points; for the gradient,
 * all of them. */
static void STORED(grid_channels_task)(void *ctx, int64_t task, int worker) {
    const STORED(grid_job) *job = ctx;
    const pc_grid *p = job->p;
    REAL *y, *map;
    NAME(grid_table) *const table = STORED(grid_scratch)(job, worker, &y, &map);
    pc_grid_held *const held = (pc_grid_held *)(job->scratch + worker * p->scratch_bytes);
    const int64_t block = task / p->n_chunks, image = block / p->n_blocks;
    const int64_t c0 = block % p->n_blocks * p->vectors * LANES, channels = pc_min(p->c - c0, p->vectors * LANES);
    const int64_t vectors = pc_ceil_div(channels, LANES), pixels = p->in[0] * p->in[1] * p->in[2];
    const int gradient = p->what == PC_GRID_GRAD_X;
    STORAGE *const x = job->x + image * p->ld_x.n + c0 * p->ld_x.c;
    STORAGE *const out = job->out + image * p->ld_out[0] + c0 * p->ld_out[1];
    int64_t ld_v = pixels * LANES;
    pc_ld ld = {.d = p->in[1] * p->in[2] * LANES, .h = p->in[2] * LANES, .w = LANES};
    if (p->in_place && channels % LANES == 0) {
        map = (REAL *)x;
        ld = p->ld_x;
        ld_v = LANES;
    } else if (gradient) {
        for (int64_t i = 0; i < vectors * ld_v; i += LANES)
            *(VEC *)(map + i) = (VEC){0};
    } else if (held->block != block) {
        for (int64_t v = 0; v < vectors; v++)
            STORED(grid_turn)(p, x + v * LANES * p->ld_x.c, pc_min(LANES, channels - v * LANES), map + v * ld_v, 0);
    }
    held->block = block;
    const int64_t end = pc_min(p->points, (task % p->n_chunks + 1) * p->chunk);
    for (int64_t first = task % p->n_chunks * p->chunk; first < end; first += PC_GRID_BLOCK) {
        const int64_t n = pc_min(PC_GRID_BLOCK, end - first);
        STORED(grid_read)(job, image, first, n, table);
        NAME(grid_fill)(p, n, &ld, table);
        if (!gradient)
            NAME(grid_sample_map)(p, table, n, map, ld_v, vectors, y);
        for (int64_t v = 0; v < vectors; v++) {
            STORAGE *const to = out + v * LANES * p->ld_out[1] + first * p->ld_out[2];
            REAL *const values = y + v * PC_GRID_BLOCK * LANES;
            const int64_t n_lanes = pc_min(LANES, channels - v * LANES);
            if (gradient)
                STORED(lanes_load)(to, p->ld_out[1], p->ld_out[2], n_lanes, n, values);
            else
                STORED(lanes_save)(values, p->ld_out[1], p->ld_out[2], n_lanes, n, to);
        }
        if (gradient)
            NAME(grid_add_map)(p, table, n, map, ld_v, vectors, y);
    }
    if (gradient)
        for (int64_t v = 0; v < vectors; v++)
            STORED(grid_turn)(p, x + v * LANES * p->ld_x.c, pc_min(LANES, channels - v * LANES), map + v * ld_v, 1);
}

/* Elements of a plane for n points: the taps of a row and point are neighbours, or lie point by point. From there they are
 * loaded in whole vectors; an element moved to its lane in registers would cost several operations. Planes lie too far
 * apart for the processor to see what comes next: the lines of the one `ahead` are fetched. */
INLINE void STORED(grid_stage)(NAME(grid_table) *t, int64_t n, const STORAGE *x, int64_t ahead, const int64_t rows,
                               const int64_t taps, const int neighbours) {
    STORAGE *const to = (STORAGE *)t->stage;
    for (int64_t r = 0; r < rows; r++) {
        if (neighbours)
            for (int64_t i = 0; i < n; i++) {
                const STORAGE *const from = x + t->row[r][i];
                __builtin_prefetch(from + ahead);
                memcpy(to + (r * PC_GRID_BLOCK + i) * taps, from, (size_t)taps * sizeof(STORAGE));
            }
        else
            for (int64_t k = 0; k < taps; k++)
                for (int64_t i = 0; i < n; i++)
                    to[(r * taps + k) * PC_GRID_BLOCK + i] = x[t->row[r][i] + t->column[k][i]];
    }
}

/* The taps of row r of LANES points from i on. */
INLINE void STORED(grid_staged)(const NAME(grid_table) *t, int64_t r, int64_t i, const int64_t taps,
                                const int neighbours, VEC v[4]) {
    const STORAGE *const from = (const STORAGE *)t->stage;
    VEC a[4];
    for (int64_t k = 0; k < taps; k++)
        v[k] = STORED(load)(from + (neighbours ? (r * PC_GRID_BLOCK + i) * taps + k * LANES
                                               : (r * taps + k) * PC_GRID_BLOCK + i));
    if (!neighbours || taps == 1)
        return;
    for (int64_t k = 0; k < taps; k++)
        a[k] = NAME(every_second)(v[k % (taps / 2) * 2], v[k % (taps / 2) * 2 + 1], (int)(k / (taps / 2)));
    if (taps == 2) {
        v[0] = a[0];
        v[1] = a[1];
        return;
    }
    /* a: elements 0 and 2 of the first half of the points, of the second; elements 1 and 3 likewise */
    v[0] = NAME(every_second)(a[0], a[1], 0);
    v[2] = NAME(every_second)(a[0], a[1], 1);
    v[1] = NAME(every_second)(a[2], a[3], 0);
    v[3] = NAME(every_second)(a[2], a[3], 1);
}

/* n points of a channel by points. */
INLINE void STORED(grid_sample_plane)(NAME(grid_table) *t, int64_t n, const STORAGE *x, int64_t ahead,
                                      const int64_t rows, const int64_t taps, const int neighbours, STORAGE *out,
                                      int64_t step) {
    if (taps == 1 && rows == 1 && step == 1) { /* nothing is added: whole elements, or zeros */
        for (int64_t i = 0; i < n; i++) {
            const STORAGE *const from = x + t->row[0][i];
            __builtin_prefetch(from + ahead);
            const int counts = t->weight[2][0][i] != 0 && t->row_weight[0][i] != 0;
            out[i] = counts ? *from : (STORAGE){0};
        }
        return;
    }
    STORED(grid_stage)(t, n, x, ahead, rows, taps, neighbours);
    for (int64_t i = 0; i < n; i += LANES) {
        VEC sum = {0};
        for (int64_t r = 0; r < rows; r++) {
            VEC v[4], part = {0};
            STORED(grid_staged)(t, r, i, taps, neighbours, v);
            for (int64_t k = 0; k < taps; k++) {
                const VEC across = *(const VEC *)(t->weight[2][k] + i);
                part += NAME(grid_counted)(v[k], across) * across;
            }
            const VEC down = *(const VEC *)(t->row_weight[r] + i);
            sum += NAME(grid_counted)(part, down) * down;
        }
        if (step == 1 && i + LANES <= n)
            STORED(store)(out + i, sum);
        else if (step == 1)
            STORED(write)(out + i, (const REAL *)&sum, n - i);
        else
            for (int64_t l = 0; l < pc_min(LANES, n - i); l++)
                STORED(put)(out + (i + l) * step, sum[l]);
    }
}

/* A channel's part of the gradient of n points: along each axis, sums of the map times derivatives of weights. */
INLINE void STORED(grid_slopes_of_plane)(NAME(grid_table) *t, int64_t n, const STORAGE *x, int64_t ahead,
                                         int64_t rank, const int64_t taps, const int neighbours, const STORAGE *g, int64_t step,
                                         REAL *sums) {
    const int64_t planes = rank == 3 ? taps : 1;
    STORED(grid_stage)(t, n, x, ahead, planes * taps, taps, neighbours);
    for (int64_t i = 0; i < n; i += LANES) {
        VEC given = {0};
        if (step == 1 && i + LANES <= n)
            given = STORED(load)(g + i);
        else
            for (int64_t l = 0; l < pc_min(LANES, n - i); l++)
                given[l] = STORED(get)(g + (i + l) * step);
        VEC along[3] = {{0}, {0}, {0}};
        for (int64_t a = 0; a < planes; a++) {
            const VEC depth = rank == 3 ? *(const VEC *)(t->weight[0][a] + i) : (VEC){0} + 1;
            const VEC depth_slope = rank == 3 ? *(const VEC *)(t->slope[0][a] + i) : (VEC){0};
            for (int64_t b = 0; b < taps; b++) {
                VEC v[4], value = {0}, change = {0};
                STORED(grid_staged)(t, a * taps + b, i, taps, neighbours, v);
                for (int64_t k = 0; k < taps; k++) {
                    const VEC across = *(const VEC *)(t->weight[2][k] + i), slope = *(const VEC *)(t->slope[2][k] + i);
                    value += NAME(grid_counted)(v[k], across) * across;
                    change += NAME(grid_counted)(v[k], slope) * slope;
                }
                const VEC down = *(const VEC *)(t->weight[1][b] + i), down_slope = *(const VEC *)(t->slope[1][b] + i);
                const VEC both = depth * down, by_h = depth * down_slope, by_d = depth_slope * down;
                along[0] += NAME(grid_counted)(change, both) * both;
                along[1] += NAME(grid_counted)(value, by_h) * by_h;
                if (rank == 3)
                    along[2] += NAME(grid_counted)(value, by_d) * by_d;
            }
        }
        for (int64_t a = 0; a < rank; a++)
            *(VEC *)(sums + a * PC_GRID_BLOCK + i) += along[a] * given;
    }
}

/* Whether the taps of a point in a row are neighbours in memory. */
INLINE int STORED(grid_neighbours)(const pc_grid *p) {
    return p->taps == 1 || (p->ld_x.w == 1 && p->in[2] >= p->taps);
}

static __attribute__((noinline)) void STORED(grid_plane)(const pc_grid *p, NAME(grid_table) *t, int64_t n,
                                                         const STORAGE *x, int64_t ahead, STORAGE *out, REAL *sums) {
    const int64_t rows = p->rank == 3 ? p->taps * p->taps : p->taps, step = p->ld_out[2];
    const int neighbours = STORED(grid_neighbours)(p);
    if (p->what == PC_GRID_GRAD_GRID) {
        if (neighbours && p->taps == 2)
            STORED(grid_slopes_of_plane)(t, n, x, ahead, p->rank, 2, 1, out, step, sums);
        else if (neighbours && p->taps == 4)
            STORED(grid_slopes_of_plane)(t, n, x, ahead, 2, 4, 1, out, step, sums);
        else if (p->taps > 1)
            STORED(grid_slopes_of_plane)(t, n, x, ahead, p->rank, p->taps, 0, out, step, sums);
    } else if (neighbours && p->taps == 2 && rows == 2) {
        STORED(grid_sample_plane)(t, n, x, ahead, 2, 2, 1, out, step);
    } else if (neighbours && p->taps == 2) {
        STORED(grid_sample_plane)(t, n, x, ahead, rows, 2, 1, out, step);
    } else if (neighbours && p->taps == 4) {
        STORED(grid_sample_plane)(t, n, x, ahead, 4, 4, 1, out, step);
    } else if (p->taps == 1) {
        STORED(grid_sample_plane)(t, n, x, ahead, 1, 1, 1, out, step);
    } else {
        STORED(grid_sample_plane)(t, n, x, ahead, rows, p->taps, 0, out, step);
    }
}

/* Forward and gradient of places, points in the lanes: some points of an image, all channels. */
static void STORED(grid_points_task)(void *ctx, int64_t task, int worker) {
    const STORED(grid_job) *job = ctx;
    const pc_grid *p = job->p;
    REAL *y, *map;
    NAME(grid_table) *const table = STORED(grid_scratch)(job, worker, &y, &map);
    const int64_t image = task / p->n_chunks, end = pc_min(p->points, (task % p->n_chunks + 1) * p->chunk);
    for (int64_t first = task % p->n_chunks * p->chunk; first < end; first += PC_GRID_BLOCK) {
        const int64_t n = pc_min(PC_GRID_BLOCK, end - first);
        STORED(grid_read)(job, image, first, n, table);
        NAME(grid_fill)(p, n, &p->ld_x, table);
        STORAGE *const x = job->x + image * p->ld_x.n;
        STORAGE *const out = job->out + image * p->ld_out[0] + first * p->ld_out[2];
        if (p->in_place) {
            NAME(grid_dots)(p, table, n, (const REAL *)x, (const REAL *)out, p->ld_out[2], y);
        } else {
            for (int64_t i = 0; i < p->rank * PC_GRID_BLOCK; i += LANES)
                *(VEC *)(y + i) = (VEC){0};
            const int64_t rows = p->rank == 3 ? p->taps * p->taps : p->taps;
            for (int64_t r = 0; STORED(grid_neighbours)(p) && r < rows; r++)
                for (int64_t i = 0; i < n; i++)
                    table->row[r][i] += table->column[0][i];
            for (int64_t c = 0; c < p->c; c++)
                STORED(grid_plane)(p, table, n, x + c * p->ld_x.c, c + 1 < p->c ? p->ld_x.c : 0, out + c * p->ld_out[1],
                                   y);
        }
        if (p->what == PC_GRID_GRAD_GRID) {
            STORAGE *const to = job->grad_grid + (image * p->points + first) * p->rank;
            for (int64_t i = 0; i < n; i++)
                for (int64_t a = 0; a < p->rank; a++)
                    STORED(put)(to + i * p->rank + a, y[a * PC_GRID_BLOCK + i]);
        }
    }
}

/* Gradient of x by points: up to four channels of a band of rows of an image side by side in a map in scratch, or one,
 * added up in its place or, where that is of another type, in scratch. Every band looks at all points. */
static void STORED(grid_scatter_task)(void *ctx, int64_t task, int worker) {
    const STORED(grid_job) *job = ctx;
    const pc_grid *p = job->p;
    REAL *y, *map;
    NAME(grid_table) *const table = STORED(grid_scratch)(job, worker, &y, &map);
    const int64_t band = task % p->n_bands, block = task / p->n_bands, image = block / p->n_blocks;
    const int64_t side = p->vectors; /* channels side by side: 4 or 1 */
    const int64_t c0 = block % p->n_blocks * side, channels = pc_min(side, p->c - c0);
    const int64_t h0 = band * p->band, h1 = pc_min(p->in[0] * p->in[1], h0 + p->band), row = p->in[2] * side;
    STORAGE *const x = job->x + image * p->ld_x.n + c0 * p->ld_x.c;
    const STORAGE *const g = job->out + image * p->ld_out[0] + c0 * p->ld_out[1];
    const pc_ld ld = {.d = p->in[1] * row, .h = row, .w = side};
    if (p->in_place)
        map = (REAL *)x + h0 * row;
    for (int64_t i = 0; i < (h1 - h0) * row; i++)
        map[i] = 0;
    for (int64_t first = 0; first < p->points; first += PC_GRID_BLOCK) {
        const int64_t n = pc_min(PC_GRID_BLOCK, p->points - first);
        STORED(grid_read)(job, image, first, n, table);
        NAME(grid_fill)(p, n, &ld, table);
        for (int64_t c = 0; c < side; c++)
            for (int64_t i = 0; i < n; i++)
                y[i * side + c] = c < channels ? STORED(get)(g + c * p->ld_out[1] + (first + i) * p->ld_out[2]) : 0;
        NAME(grid_scatter)(p, table, n, side, y, h0 * row, h1 * row, map);
    }
    if (p->in_place)
        return;
    for (int64_t h = h0; h < h1; h++, map += row)
        for (int64_t c = 0; c < channels; c++) {
            STORAGE *const to = x + c * p->ld_x.c + h / p->in[1] * p->ld_x.d + h % p->in[1] * p->ld_x.h;
            for (int64_t w = 0; w < p->in[2]; w++)
                STORED(put)(to + w * p->ld_x.w, map[w * side + c]);
        }
}

static void STORED(sample_grid_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_grid *p = problem;
    STORED(grid_job) job = {p, arrays[0], arrays[1], arrays[2], arrays[3], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(sample_grid, DTYPE, PC_ISA)));
    for (int t = 0; t < threads; t++)
        ((pc_grid_held *)(scratch + t * p->scratch_bytes))->block = -1;
    pc_parallel(p->by_channels                  ? STORED(grid_channels_task)
                : p->what == PC_GRID_GRAD_X ? STORED(grid_scatter_task)
                                            : STORED(grid_points_task),
                &job, p->n_tasks, threads);
}
