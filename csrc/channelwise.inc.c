/* layers_channelwise: batch normalisation, its statistics and its gradients, and sums over all but the channels.
 *
 *   mean[c] = sum x / N,  var[c] = sum (x - mean)^2 / N
 *   y = (x - mean) s + bias,  s = weight / sqrt(var + eps)
 *   gradients: weight: sum g (x - mean) / sqrt(var + eps);  bias: sum g
 *              x, mean and variance given: g s
 *              x, of its own: (g - sum g / N) s - (x - mean) s sum(g (x - mean)) / (N (var + eps))
 *
 * Up to three stages, each a job of all threads: sums of blocks, then what they make, channel by channel, then one pass
 * of an affine map. A block is so small (16 KiB, or 256 pixels) that it is in L1 or L2 when it is read for the second
 * time, about its own mean: nothing cancels however far the mean is from zero, and x comes from memory once. What the
 * deviations from that mean, which was rounded, leave over corrects it. Blocks' sums are float64, joined in the order of the blocks: var = (sum over blocks of M2[b] + n[b] (mean[b] - mean)^2) / N
 * (Chan, Golub and LeVeque 1983, eq. 2.1, without its running mean, so that an infinity stays one). The blocks, and so
 * all bits, are a function of the problem.
 *
 * Two forms. Where neighbours belong to one channel, lanes run along them. Where channels are neighbours (`pixels`), they
 * are the lanes: sums of up to four vectors of channels, pixel by pixel; and the affine map goes through rows of pixels
 * as through one long row, with coefficients that come back after `channels` elements.
 *
 * flops: 3 an element for the sums, 2 to 4 for the map. Error: a block's sum in REAL, (elements / accumulators + 8) eps. */
#ifndef PC_CHANNELWISE_CONSTANTS
#define PC_CHANNELWISE_CONSTANTS
enum { PC_SUM, PC_SQUARES, PC_PRODUCTS };
enum { PC_MAP_AFFINE, PC_MAP_SCALE, PC_MAP_GRADIENT };
/* The order of the arrays. */
enum { PC_X, PC_G, PC_MEAN, PC_VAR, PC_WEIGHT, PC_BIAS, PC_OUT, PC_FIRST, PC_SECOND };

/* A block of one channel: rows [row, row_end), elements [from, from + n) of each. */
typedef struct pc_block {
    int64_t row, row_end, from, n;
} pc_block;

static inline pc_block pc_block_of(const pc_channelwise *p, int64_t b) {
    /* divisions take as long as a short run */
    const int64_t all = p->size[0] * p->size[1] * p->size[2], from = p->n_pieces == 1 ? 0 : b % p->n_pieces * p->piece;
    const int64_t row = p->n_blocks == 1 ? 0 : b / p->n_pieces * p->rows;
    return (pc_block){row, pc_min(all, row + p->rows), from, pc_min(p->piece, p->size[3] - from)};
}

static inline double pc_block_count(const pc_channelwise *p, int64_t b) {
    const pc_block block = pc_block_of(p, b);
    return (double)((block.row_end - block.row) * block.n);
}

/* Two sums of each channel of each block of each group. */
static inline int64_t pc_partial_at(const pc_channelwise *p, int64_t group, int64_t block, int64_t c) {
    return 2 * ((group * p->n_blocks + block) * p->group + c);
}

static inline int pc_norm_own(const pc_channelwise *p) {
    return p->what == PC_NORM_TRAIN || p->what == PC_NORM_STATS || p->what == PC_NORM_GRAD_TRAIN;
}
#endif

#if !PC_WIDENED
/* Coefficients of each channel, and LANES more that begin again with the first: mean, factor, summand, slope of x. */
typedef struct NAME(coefficients) {
    REAL *mean, *scale, *shift, *slope;
} NAME(coefficients);

INLINE VEC NAME(part_of)(const REAL *p, int64_t n, VEC rest) {
    REAL part[LANES];
    NAME(store)(part, rest);
    NAME(copy_part)(part, p, n);
    return NAME(load)(part);
}

/* The last n < LANES elements of a run that ends at `end`, in the upper lanes, `rest` in the others; a run that has
 * another vector before them is read in one piece. */
INLINE VEC NAME(tail_of)(const REAL *end, int64_t n, VEC rest, int longer) {
    if (!longer)
        return NAME(part_of)(end - n, n, rest);
    MASK lane;
    for (int l = 0; l < LANES; l++)
        lane[l] = (INTEGER)l;
    return NAME(select)(lane >= (INTEGER)(LANES - n), NAME(load)(end - LANES), rest);
}

/* The term of one vector added to a first and a second sum: x; (x - mean)^2 and x - mean; g and g (x - mean). */
INLINE void NAME(sum_term)(const int kind, VEC x, VEC g, VEC mean, VEC *first, VEC *second) {
    const VEC d = x - mean;
    if (kind == PC_SUM)
        *first += x;
    if (kind == PC_SQUARES) {
        *first += d * d;
        *second += d;
    }
    if (kind == PC_PRODUCTS) {
        *first += g;
        *second += g * d;
    }
}

/* Rows of neighbours of one channel: four vectors of sums, of which those of a row that fill no four vectors, and what is
 * left of it, have one each: short rows do not wait for each other's additions. */
INLINE void NAME(sum_rows)(const int kind, const REAL *x, int64_t x_step, const REAL *g, int64_t g_step, int64_t n,
                           int64_t rows, VEC mean, VEC first[4], VEC second[4]) {
    const VEC zero = {0};
    for (int64_t row = 0; row < rows; row++, x += x_step, g += kind == PC_PRODUCTS ? g_step : 0) {
        int64_t i = 0;
        for (; i + 4 * LANES <= n; i += 4 * LANES)
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++)
                NAME(sum_term)(kind, NAME(load)(x + i + u * LANES),
                               kind == PC_PRODUCTS ? NAME(load)(g + i + u * LANES) : zero, mean, first + u, second + u);
#pragma GCC unroll 3
        for (int u = 0; u < 3; u++)
            if (i + LANES <= n) {
                NAME(sum_term)(kind, NAME(load)(x + i), kind == PC_PRODUCTS ? NAME(load)(g + i) : zero, mean, first + u,
                               second + u);
                i += LANES;
            }
        if (i < n)
            NAME(sum_term)(kind, NAME(tail_of)(x + n, n - i, kind == PC_SUM ? zero : mean, i > 0),
                           kind == PC_PRODUCTS ? NAME(tail_of)(g + n, n - i, zero, i > 0) : zero, mean, first + 3,
                           second + 3);
    }
}

/* n pixels of nv vectors of channels, nv 1 (four pixels at a time) or 4. */
INLINE void NAME(sum_pixels)(const int kind, const int nv, const REAL *x, int64_t x_step, const REAL *g, int64_t g_step,
                             int64_t n, const VEC *mean, VEC first[4], VEC second[4]) {
    const int pixels = 4 / nv;
    int64_t i = 0;
    for (; i + pixels <= n; i += pixels)
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            const int64_t pixel = i + u / nv, at = u % nv * LANES;
            NAME(sum_term)(kind, NAME(load)(x + pixel * x_step + at),
                           kind == PC_PRODUCTS ? NAME(load)(g + pixel * g_step + at) : (VEC){0}, mean[u % nv], first + u,
                           second + u);
        }
    for (; i < n; i++)
        NAME(sum_term)(kind, NAME(load)(x + i * x_step), kind == PC_PRODUCTS ? NAME(load)(g + i * g_step) : (VEC){0},
                       mean[0], first, second);
}

/* Inlined, so that a short block's sums stay in registers. */
INLINE void NAME(sum_rows_of)(int kind, const REAL *x, int64_t x_step, const REAL *g, int64_t g_step, int64_t n,
                              int64_t rows, REAL mean, VEC first[4], VEC second[4]) {
    const VEC about = NAME(splat)(mean);
    if (kind == PC_SUM)
        NAME(sum_rows)(PC_SUM, x, x_step, g, g_step, n, rows, about, first, second);
    else if (kind == PC_SQUARES)
        NAME(sum_rows)(PC_SQUARES, x, x_step, g, g_step, n, rows, about, first, second);
    else
        NAME(sum_rows)(PC_PRODUCTS, x, x_step, g, g_step, n, rows, about, first, second);
}

static __attribute__((noinline)) void NAME(sum_pixels_of)(int kind, int nv, const REAL *x, int64_t x_step, const REAL *g,
                                                          int64_t g_step, int64_t n, const VEC *mean, VEC first[4],
                                                          VEC second[4]) {
#define PC_APPLY(kind_, nv_)                                                                                           \
    if (kind == kind_ && nv == nv_)                                                                                    \
        NAME(sum_pixels)(kind_, nv_, x, x_step, g, g_step, n, mean, first, second);
    PC_APPLY(PC_SUM, 1)
    PC_APPLY(PC_SUM, 4)
    PC_APPLY(PC_SQUARES, 1)
    PC_APPLY(PC_SQUARES, 4)
    PC_APPLY(PC_PRODUCTS, 1)
    PC_APPLY(PC_PRODUCTS, 4)
#undef PC_APPLY
}

/* All lanes of the four vectors, half to half, so that a short block does not wait for one addition after the other. */
INLINE double NAME(sum_across)(const VEC v[4]) {
    const VEC sum = (v[0] + v[1]) + (v[2] + v[3]);
    double total[LANES];
#pragma GCC unroll 16
    for (int l = 0; l < LANES; l++)
        total[l] = (double)sum[l];
#pragma GCC unroll 4
    for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int l = 0; l < half; l++)
            total[l] += total[l + half];
    return total[0];
}

INLINE VEC NAME(map_vec)(const int map, VEC x, VEC g, VEC mean, VEC scale, VEC shift, VEC slope) {
    if (map == PC_MAP_SCALE)
        return g * scale;
    if (map == PC_MAP_AFFINE)
        return (x - mean) * scale + shift;
    return (g - shift) * scale - (x - mean) * slope;
}

/* n elements of a run whose first has the coefficients at `r`; they stay the same, or (`many`) are those of `channels`
 * neighbours in turn. */
INLINE void NAME(map_loop)(const int map, const int many, REAL *out, const REAL *x, const REAL *g, int64_t n,
                           const NAME(coefficients) *k, int64_t r, int64_t channels) {
    VEC mean = NAME(splat)(k->mean[r]), scale = NAME(splat)(k->scale[r]), shift = NAME(splat)(k->shift[r]);
    VEC slope = NAME(splat)(k->slope[r]);
    const int64_t turn = LANES % channels;
    /* the last vector of a run once more, from its end, where nothing that was read is overwritten */
    const int apart = !many && n >= LANES && out != x && out != g;
    for (int64_t i = 0; i < n; i += LANES) {
        if (apart)
            i = pc_min(i, n - LANES);
        if (many) {
            mean = NAME(load)(k->mean + r);
            scale = NAME(load)(k->scale + r);
            shift = NAME(load)(k->shift + r);
            slope = NAME(load)(k->slope + r);
            r += turn;
            r -= r >= channels ? channels : 0;
        }
        if (i + LANES <= n) {
            NAME(store)(out + i, NAME(map_vec)(map, map == PC_MAP_SCALE ? (VEC){0} : NAME(load)(x + i),
                                               map == PC_MAP_AFFINE ? (VEC){0} : NAME(load)(g + i), mean, scale, shift,
                                               slope));
        } else {
            REAL part[LANES];
            const VEC zero = {0};
            NAME(store)(part, NAME(map_vec)(map, map == PC_MAP_SCALE ? zero : NAME(part_of)(x + i, n - i, zero),
                                            map == PC_MAP_AFFINE ? zero : NAME(part_of)(g + i, n - i, zero), mean, scale,
                                            shift, slope));
            NAME(copy_part)(out + i, part, n - i);
        }
    }
}

static __attribute__((noinline)) void NAME(map_run)(int map, int many, REAL *out, const REAL *x, const REAL *g, int64_t n,
                                                    const NAME(coefficients) *k, int64_t r, int64_t channels) {
#define PC_APPLY(map_, many_)                                                                                          \
    if (map == map_ && many == many_)                                                                                  \
        NAME(map_loop)(map_, many_, out, x, g, n, k, r, channels);
    PC_APPLY(PC_MAP_AFFINE, 0)
    PC_APPLY(PC_MAP_AFFINE, 1)
    PC_APPLY(PC_MAP_SCALE, 0)
    PC_APPLY(PC_MAP_SCALE, 1)
    PC_APPLY(PC_MAP_GRADIENT, 0)
    PC_APPLY(PC_MAP_GRADIENT, 1)
#undef PC_APPLY
}
#endif

typedef struct STORED(channelwise) {
    const pc_channelwise *p;
    const STORAGE *x, *g, *mean, *var, *weight, *bias;
    STORAGE *out, *first, *second;
    NAME(coefficients) k;
    double *partial;
    char *scratch; /* of the workers */
    int kind;      /* of the sums that are taken */
    int map;
} STORED(channelwise);

/* A run, or the pixels of one, as REAL: where it lies, or copied, `pitch` apart, behind what is in `copy` already. */
INLINE const REAL *STORED(as_real)(const STORAGE *src, int64_t step, int64_t n, int64_t group, int64_t *pitch,
                                   REAL *copy) {
#if !PC_WIDENED
    if (group % LANES == 0 || (group == 1 && step == 1)) {
        *pitch = step;
        return src;
    }
#endif
    if (group == 1 && step == 1) {
        *pitch = 1;
        STORED(read)(copy, src, n);
        return copy;
    }
    *pitch = pc_round_up(group, LANES);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = group / LANES * LANES; c < *pitch; c += LANES)
            NAME(store)(copy + i * *pitch + c, (VEC){0});
        STORED(read)(copy + i * *pitch, src + i * step, group);
    }
    return copy;
}

/* The sums of `kind` over a block of one channel, the mean that they are about given. */
static __attribute__((noinline)) void STORED(sum_block)(const STORED(channelwise) *job, int64_t c, pc_block block,
                                                        int kind, REAL mean, REAL *copy, double sums[2]) {
    const pc_channelwise *p = job->p;
    const int of_g = p->what == PC_CHANNEL_SUM;
    const STORAGE *const wide = of_g ? job->g : job->x;
    const int64_t *const step = p->step[of_g];
    VEC first[4] = {{0}}, second[4] = {{0}};
    /* rows that lie evenly apart are summed in one go, unless they have to be widened */
    const int64_t together = !PC_WIDENED && p->size[0] == 1 && p->size[1] == 1 ? block.row_end - block.row : 1;
    for (int64_t row = block.row; row < block.row_end; row += together) {
        int64_t pitch;
        const REAL *x = NULL, *g = NULL;
        x = STORED(as_real)(wide + pc_row_offset(p->size, step, row) + block.from * step[3] + c * p->c_step[of_g], 1,
                            block.n, 1, &pitch, copy);
        if (kind == PC_PRODUCTS)
            g = STORED(as_real)(job->g + pc_row_offset(p->size, p->step[1], row) + block.from + c * p->c_step[1], 1,
                                block.n, 1, &pitch, copy + pc_round_up(block.n, LANES));
        NAME(sum_rows_of)(kind, x, step[2], g, p->step[1][2], block.n, together, mean, first, second);
    }
    sums[0] = NAME(sum_across)(first);
    sums[1] = kind == PC_SUM ? 0 : NAME(sum_across)(second);
}

/* The same over a block of up to four vectors of channels; sums[0] and [1] of channel c at 2 c. */
static __attribute__((noinline)) void STORED(sum_pixel_block)(const STORED(channelwise) *job, int64_t c,
                                                              int64_t n_channels, pc_block block, int kind,
                                                              const REAL *mean, REAL *copy, double *sums) {
    const pc_channelwise *p = job->p;
    const int of_g = p->what == PC_CHANNEL_SUM;
    const STORAGE *const wide = of_g ? job->g : job->x;
    const int64_t *const step = p->step[of_g];
    const int nv = n_channels == 4 * LANES ? 4 : 1;
    for (int64_t at = 0; at < n_channels; at += nv * LANES) {
        const int64_t here = pc_min(nv * LANES, n_channels - at);
        VEC first[4] = {{0}}, second[4] = {{0}}, about[4] = {{0}};
        for (int64_t i = 0; i < here; i++)
            about[i / LANES][i % LANES] = mean[at + i];
        for (int64_t row = block.row; row < block.row_end; row++) {
            int64_t x_pitch, g_pitch = 0;
            const REAL *x = NULL, *g = NULL;
            x = STORED(as_real)(wide + pc_row_offset(p->size, step, row) + block.from * step[3] + c + at, step[3],
                                block.n, here, &x_pitch, copy);
            if (kind == PC_PRODUCTS)
                g = STORED(as_real)(job->g + pc_row_offset(p->size, p->step[1], row) + block.from * p->step[1][3] + c + at,
                                    p->step[1][3], block.n, here, &g_pitch, copy + block.n * nv * LANES);
            NAME(sum_pixels_of)(kind, nv, x, x_pitch, g, g_pitch, block.n, about, first, second);
        }
        if (nv == 1)
            for (int u = 1; u < 4; u++) {
                first[0] += first[u];
                second[0] += second[u];
            }
        for (int64_t i = 0; i < here; i++) {
            sums[2 * (at + i)] = (double)first[i / LANES][i % LANES];
            sums[2 * (at + i) + 1] = (double)second[i / LANES][i % LANES];
        }
    }
}

/* Blocks of a group: their sums, or the sum and the squares about the block's own mean. */
static void STORED(sums_task)(void *ctx, int64_t task, int worker) {
    const STORED(channelwise) *job = ctx;
    const pc_channelwise *p = job->p;
    REAL *const copy = (REAL *)(job->scratch + worker * p->scratch_bytes);
    const int64_t end = pc_min(p->n_groups * p->n_blocks, (task + 1) * p->units);
    for (int64_t unit = task * p->units; unit < end; unit++) {
        const int64_t group = p->n_blocks == 1 ? unit : unit / p->n_blocks, b = unit - group * p->n_blocks;
        const int64_t c = group * p->group;
        const int64_t n_channels = pc_min(p->group, p->channels - c);
        const pc_block block = pc_block_of(p, b);
        const double count = pc_block_count(p, b);
        double *const sums = job->partial + pc_partial_at(p, group, b, 0);
        const int moments = job->kind == PC_SQUARES;
        REAL mean[4 * LANES];
        for (int64_t i = 0; i < n_channels; i++)
            mean[i] = job->kind == PC_PRODUCTS ? job->k.mean[c + i] : 0;
        double squares[8 * LANES];
        if (!p->pixels) {
            STORED(sum_block)(job, c, block, moments ? PC_SUM : job->kind, mean[0], copy, sums);
            if (moments) {
                mean[0] = (REAL)(sums[0] / count);
                STORED(sum_block)(job, c, block, PC_SQUARES, mean[0], copy, squares);
            }
        } else {
            STORED(sum_pixel_block)(job, c, n_channels, block, moments ? PC_SUM : job->kind, mean, copy, sums);
            if (moments) {
                for (int64_t i = 0; i < n_channels; i++)
                    mean[i] = (REAL)(sums[2 * i] / count);
                STORED(sum_pixel_block)(job, c, n_channels, block, PC_SQUARES, mean, copy, squares);
            }
        }
        if (moments) /* so far about a rounded mean; deviations say how far it is off, unless they are none */
            for (int64_t i = 0; i < n_channels; i++) {
                const double off = squares[2 * i + 1] / count;
                sums[2 * i + 1] = squares[2 * i] - count * off * off;
                if (off == off)
                    sums[2 * i] = count * ((double)mean[i] + off);
            }
    }
}

/* Mean and variance of a channel from those of its blocks. */
static void STORED(moments_of)(const STORED(channelwise) *job, int64_t c, double *mean, double *var) {
    const pc_channelwise *p = job->p;
    double sum = 0, squares = 0;
    for (int64_t b = 0; b < p->n_blocks; b++)
        sum += job->partial[pc_partial_at(p, c / p->group, b, c % p->group)];
    *mean = sum / (double)p->count;
    for (int64_t b = 0; b < p->n_blocks; b++) {
        const double *block = job->partial + pc_partial_at(p, c / p->group, b, c % p->group);
        const double n = pc_block_count(p, b), off = block[0] / n - *mean;
        squares += block[1] + n * off * off;
    }
    *var = squares / (double)p->count;
    if (*var < 0)
        *var = 0;
}

enum { STORED(CHANNELS_OF_A_TASK) = 64 };

/* What the first sums make of a stretch of channels: statistics and coefficients. */
static void STORED(moments_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(channelwise) *job = ctx;
    const pc_channelwise *p = job->p;
    const int own = pc_norm_own(p);
    const int64_t *const step = p->vector_step, first = task * STORED(CHANNELS_OF_A_TASK);
    for (int64_t c = first; c < pc_min(p->channels, first + STORED(CHANNELS_OF_A_TASK)); c++) {
        double mean, var;
        if (own) {
            STORED(moments_of)(job, c, &mean, &var);
        } else {
            mean = (double)STORED(get)(job->mean + c * step[0]);
            var = (double)STORED(get)(job->var + c * step[1]);
        }
        if (p->what == PC_NORM_TRAIN || p->what == PC_NORM_STATS) {
            STORED(put)(job->first + c * step[4], (REAL)mean);
            STORED(put)(job->second + c * step[5], (REAL)var);
        }
        const double weight = job->weight ? (double)STORED(get)(job->weight + c * step[2]) : 1;
        const double scale = 1 / sqrt(var + p->eps);
        job->k.mean[c] = (REAL)mean;
        job->k.scale[c] = (REAL)(weight * scale);
        job->k.shift[c] = job->bias ? STORED(get)(job->bias + c * step[3]) : 0;
        job->k.slope[c] = (REAL)scale; /* of gradients, until the second sums are known */
    }
}

/* What the second sums make of a stretch of channels: gradients of weight and bias, coefficients of x's. */
static void STORED(products_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(channelwise) *job = ctx;
    const pc_channelwise *p = job->p;
    const int64_t first = task * STORED(CHANNELS_OF_A_TASK);
    for (int64_t c = first; c < pc_min(p->channels, first + STORED(CHANNELS_OF_A_TASK)); c++) {
        double sum = 0, products = 0;
        for (int64_t b = 0; b < p->n_blocks; b++) {
            const double *block = job->partial + pc_partial_at(p, c / p->group, b, c % p->group);
            sum += block[0];
            products += block[1];
        }
        if (p->what == PC_CHANNEL_SUM) {
            STORED(put)(job->first + c * p->vector_step[4], (REAL)sum);
            continue;
        }
        const double scale = (double)job->k.slope[c], n = (double)p->count;
        if (job->first)
            STORED(put)(job->first + c * p->vector_step[4], (REAL)(products * scale));
        if (job->second)
            STORED(put)(job->second + c * p->vector_step[5], (REAL)sum);
        job->k.shift[c] = (REAL)(sum / n);
        job->k.slope[c] = (REAL)((double)job->k.scale[c] * scale * (products * scale / n));
    }
}

static void STORED(map_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(channelwise) *job = ctx;
    const pc_channelwise *p = job->p;
    const int needs_x = job->map != PC_MAP_SCALE, needs_g = job->map != PC_MAP_AFFINE;
    const int64_t c_in_row = p->pixels ? 1 : p->channels;
    const int64_t all = p->size[0] * p->size[1] * p->size[2] * c_in_row;
    const int64_t from = task % p->n_apply_pieces * p->apply_piece, first = task / p->n_apply_pieces * p->apply_rows;
    const int64_t n = pc_min(p->apply_piece, p->size[3] - from);
    /* rows of pixels without gaps are one run */
    int dense = p->pixels && p->step[2][3] == p->channels;
    dense = dense && (!needs_x || p->step[0][3] == p->channels) && (!needs_g || p->step[1][3] == p->channels);
    const int64_t runs = p->pixels && !dense ? n : 1, length = !p->pixels ? n : dense ? n * p->channels : p->channels;
    int64_t c = first % c_in_row, outer = first / c_in_row;
    for (int64_t row = first; row < pc_min(all, first + p->apply_rows); row++) {
        const STORAGE *x = NULL, *g = NULL;
        if (needs_x)
            x = job->x + pc_row_offset(p->size, p->step[0], outer) + from * p->step[0][3] + c * p->c_step[0];
        if (needs_g)
            g = job->g + pc_row_offset(p->size, p->step[1], outer) + from * p->step[1][3] + c * p->c_step[1];
        STORAGE *out = job->out + pc_row_offset(p->size, p->step[2], outer) + from * p->step[2][3] +
                       c * p->c_step[2];
        for (int64_t run = 0; run < runs; run++) {
            const STORAGE *x_run = needs_x ? x + run * p->step[0][3] : NULL;
            const STORAGE *g_run = needs_g ? g + run * p->step[1][3] : NULL;
            STORAGE *const out_run = out + run * p->step[2][3];
#if !PC_WIDENED
            NAME(map_run)(job->map, p->pixels != 0, out_run, x_run, g_run, length, &job->k, c, p->channels);
#else
            for (int64_t i = 0; i < length; i += PC_STRETCH) {
                _Alignas(64) REAL x_part[PC_STRETCH + LANES], g_part[PC_STRETCH + LANES];
                const int64_t m = pc_min(PC_STRETCH, length - i);
                if (needs_x)
                    STORED(read)(x_part, x_run + i, m);
                if (needs_g)
                    STORED(read)(g_part, g_run + i, m);
                NAME(map_run)(job->map, p->pixels != 0, x_part, x_part, g_part, m, &job->k,
                              p->pixels ? i % p->channels : c, p->channels);
                STORED(write)(out_run + i, x_part, m);
            }
#endif
        }
        if (++c == c_in_row) {
            c = 0;
            outer++;
        }
    }
}

static void STORED(layers_channelwise_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_channelwise *p = problem;
    const int64_t n = p->channels, length = pc_round_up(n, LANES) + LANES;
    const int64_t tasks = pc_ceil_div(n, STORED(CHANNELS_OF_A_TASK));
    STORED(channelwise) job = {
        p, arrays[PC_X], arrays[PC_G], arrays[PC_MEAN], arrays[PC_VAR], arrays[PC_WEIGHT], arrays[PC_BIAS], arrays[PC_OUT],
        arrays[PC_FIRST], arrays[PC_SECOND], {NULL, NULL, NULL, NULL}, NULL, scratch + p->shared_bytes, PC_SQUARES, 0,
    };
    REAL **const vectors[4] = {&job.k.mean, &job.k.scale, &job.k.shift, &job.k.slope};
    for (int i = 0; i < 4; i++)
        *vectors[i] = (REAL *)scratch + i * length;
    job.partial = (double *)(scratch + pc_round_up(4 * length * (int64_t)sizeof(REAL), 64));
    pc_set_last_kernel(PC_STRING(PC_PASTE(layers_channelwise, DTYPE, PC_ISA)));
    const int gradient = p->what == PC_NORM_GRAD_INFER || p->what == PC_NORM_GRAD_TRAIN;
    if (pc_norm_own(p))
        pc_parallel(STORED(sums_task), &job, p->n_tasks, threads);
    if (p->what != PC_CHANNEL_SUM)
        pc_parallel(STORED(moments_task), &job, tasks, threads);
    if (p->what == PC_CHANNEL_SUM || p->what == PC_NORM_GRAD_TRAIN || (gradient && (job.first || job.second))) {
        job.kind = p->what == PC_CHANNEL_SUM ? PC_SUM : PC_PRODUCTS;
        pc_parallel(STORED(sums_task), &job, p->n_tasks, threads);
        pc_parallel(STORED(products_task), &job, tasks, threads);
    }
    if (!job.out)
        return;
    job.map = !gradient ? PC_MAP_AFFINE : p->what == PC_NORM_GRAD_INFER ? PC_MAP_SCALE : PC_MAP_GRADIENT;
    if (p->pixels) /* coefficients come back after the last channel */
        for (int i = 0; i < 4; i++)
            for (int64_t c = 0; c < LANES; c++)
                (*vectors[i])[n + c] = (*vectors[i])[c % n];
    pc_parallel(STORED(map_task), &job, p->n_apply_tasks, threads);
}
