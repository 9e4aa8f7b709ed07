/* conv_fft: large kernels by tiles in the frequency domain (overlap-save; CS231n's F(w) o F(x)).
 *
 *   y[m] = F^-1 [ sum over k of F(x[k]) F(w[m][k]) ] + bias + residual,   k an input channel or a part of the kernel
 *
 * Two tiles share one complex transform, one as its real part and one as its imaginary part: kernels are real, so
 * nothing has to be separated, and no half of a spectrum is treated apart. Lanes are independent transforms all the way:
 *   along h (and d)   LANES neighbouring columns, rows read where x lies
 *   along w           LANES rows, turned by LANES x LANES transposes
 *   product           LANES frequencies
 * Passes of radix 8, 4 and 3, decimating frequency on the way there and time on the way back, leave the frequencies
 * in the order of reversed digits; weights are in the same order, so nothing is ever sorted. A line of h * w samples is
 * the tile of h rows with twiddles between the two axes (Bailey 1990, "FFTs in external or hierarchical memory").
 *
 * A block is a few pairs of tiles, so that weights are read once for all of them. It goes through forward transforms,
 * product and inverse transforms on one worker; where fewer blocks than threads are left each stage is shared.
 *
 * flops of a pair: (n_k + c_out) 5 N log2 N + 8 N n_k c_out for N points and N - (k - 1) ... outputs of each tile.
 * The order of every sum is a function of the problem.
 *
 * Error: backends/fft.py. Whatever is not finite spreads over both tiles: outputs that are not finite are summed again
 * directly, so NaN and Inf are where direct summation puts them. (None is missed: every pass adds or multiplies, and
 * each input reaches each output.) */

#if !PC_WIDENED

/* Points of a transform: real parts, imaginary parts, and the elements between neighbours of each. */
typedef struct NAME(fft_points) {
    REAL *re, *im;
    int64_t ld_re, ld_im;
} NAME(fft_points);

/* What knows the type of the arrays. fetch returns n_h rows of n_w samples of a tile, *ld elements apart: where x lies,
 * or copied to `pad` with the padding. */
typedef struct NAME(fft_io) {
    const REAL *(*fetch)(const pc_conv *p, const pc_fft *s, const void *x, int64_t k, int64_t tile, int64_t g,
                         int64_t d, REAL *pad, int64_t *ld);
    NAME(getter) get;
    void (*finish)(const pc_conv *p, const pc_arrays *arrays, REAL *y, int64_t ld_y, int64_t rows,
                   const pc_segment *segments, int n_segments, pc_place at, int activated);
} NAME(fft_io);

typedef struct NAME(fft_job) {
    const pc_conv *p;
    const pc_arrays *arrays;
    NAME(fft_io) io;
    pc_fft s;
    pc_fft_passes d, h, w;
    const REAL *twiddles_d, *twiddles_h, *twiddles_w, *turns; /* turns: between the axes of a line */
    const REAL *spectra, *weights;
    int64_t block, m0, m1, k0, k1; /* where a stage is shared: the part of the work in hand */
} NAME(fft_job);

/* Elements in front of the spectra: the twiddles of each axis, then those between the axes of a line: w^(f r) and
 * w^(f LANES c) for the frequencies f of LANES rows, r < LANES and each vector c of columns. */
static __attribute__((noinline, cold)) int64_t NAME(fft_tables)(const pc_fft *s, int64_t at[5]) {
    at[0] = 0;
    at[1] = at[0] + pc_fft_passes_of(s->n_d).n_twiddles;
    at[2] = at[1] + pc_fft_passes_of(s->n_h).n_twiddles;
    at[3] = pc_round_up(at[2] + pc_fft_passes_of(s->n_w).n_twiddles, LANES);
    at[4] = at[3] + (s->line ? 2 * s->n_h * (LANES + s->n_w / LANES) : 0);
    return at[4];
}

INLINE int64_t NAME(fft_spectra)(const pc_conv *p, const pc_fft *s) {
    return p->groups * p->c_out * s->n_k * 2 * s->points;
}

static __attribute__((noinline)) NAME(fft_job) NAME(fft_job_of)(const pc_conv *p, const pc_arrays *arrays, NAME(fft_io) io, const REAL *packed) {
    NAME(fft_job) job = {.p = p, .arrays = arrays, .io = io, .s = pc_fft_of(p, LANES)};
    int64_t at[5];
    job.d = pc_fft_passes_of(job.s.n_d);
    job.h = pc_fft_passes_of(job.s.n_h);
    job.w = pc_fft_passes_of(job.s.n_w);
    job.spectra = packed + NAME(fft_tables)(&job.s, at);
    job.twiddles_d = packed + at[0];
    job.twiddles_h = packed + at[1];
    job.twiddles_w = packed + at[2];
    job.turns = packed + at[3];
    job.weights = job.spectra + NAME(fft_spectra)(p, &job.s);
    return job;
}

/* ---- one pass ---- */

INLINE void NAME(fft_3)(VEC *r, VEC *i) {
    const REAL half_root = (REAL)0.86602540378443864676;
    const VEC sr = r[1] + r[2], si = i[1] + i[2], dr = (r[1] - r[2]) * half_root, di = (i[1] - i[2]) * half_root;
    const VEC mr = r[0] - sr * (REAL)0.5, mi = i[0] - si * (REAL)0.5;
    r[0] += sr;
    i[0] += si;
    r[1] = mr + di;
    i[1] = mi - dr;
    r[2] = mr - di;
    i[2] = mi + dr;
}

/* Of elements 0, step, 2 step, 3 step. */
INLINE void NAME(fft_4)(VEC *r, VEC *i, const int step) {
    const VEC ar = r[0] + r[2 * step], ai = i[0] + i[2 * step], br = r[0] - r[2 * step], bi = i[0] - i[2 * step];
    const VEC cr = r[step] + r[3 * step], ci = i[step] + i[3 * step];
    const VEC dr = r[step] - r[3 * step], di = i[step] - i[3 * step];
    r[0] = ar + cr;
    i[0] = ai + ci;
    r[step] = br + di;
    i[step] = bi - dr;
    r[2 * step] = ar - cr;
    i[2 * step] = ai - ci;
    r[3 * step] = br - di;
    i[3 * step] = bi + dr;
}

INLINE void NAME(fft_8)(VEC *r, VEC *i) {
    const REAL root = (REAL)0.70710678118654752440;
    NAME(fft_4)(r, i, 2);
    NAME(fft_4)(r + 1, i + 1, 2);
    /* odd elements times the eighth roots: 1, (1 - i) / sqrt 2, -i, -(1 + i) / sqrt 2 */
    const VEC r3 = (r[3] + i[3]) * root, i3 = (i[3] - r[3]) * root, r7 = (i[7] - r[7]) * root;
    const VEC i7 = (r[7] + i[7]) * -root, r5 = i[5], i5 = -r[5];
    const VEC er[4] = {r[0], r[2], r[4], r[6]}, ei[4] = {i[0], i[2], i[4], i[6]};
    const VEC or_[4] = {r[1], r3, r5, r7}, oi[4] = {i[1], i3, i5, i7};
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        r[k] = er[k] + or_[k];
        i[k] = ei[k] + oi[k];
        r[k + 4] = er[k] - or_[k];
        i[k + 4] = ei[k] - oi[k];
    }
}

/* Transforms of `radix` elements m apart, for each of the m residues of each block. Decimating frequency, twiddles come
 * behind them, decimating time in front. */
INLINE void NAME(fft_pass_body)(const int radix, const int in_front, const int behind, int64_t blocks, int64_t m,
                                const REAL *twiddles, const NAME(fft_points) *from, const NAME(fft_points) *to) {
    const int64_t from_re = m * from->ld_re, from_im = m * from->ld_im, to_re = m * to->ld_re, to_im = m * to->ld_im;
    for (int64_t b = 0; b < blocks; b++) {
        const int64_t first = b * radix * m;
        const REAL *t = twiddles;
        for (int64_t j = first; j < first + m; j++, t += 2 * (radix - 1)) {
            VEC r[8], i[8];
            const REAL *sr = from->re + j * from->ld_re, *si = from->im + j * from->ld_im;
#pragma GCC unroll 8
            for (int q = 0; q < radix; q++) {
                r[q] = NAME(load)(sr + q * from_re);
                i[q] = NAME(load)(si + q * from_im);
                if (in_front && q) {
                    const VEC a = r[q];
                    r[q] = a * t[2 * q - 2] - i[q] * t[2 * q - 1];
                    i[q] = a * t[2 * q - 1] + i[q] * t[2 * q - 2];
                }
            }
            if (radix == 8)
                NAME(fft_8)(r, i);
            else if (radix == 4)
                NAME(fft_4)(r, i, 1);
            else
                NAME(fft_3)(r, i);
            REAL *dr = to->re + j * to->ld_re, *di = to->im + j * to->ld_im;
#pragma GCC unroll 8
            for (int q = 0; q < radix; q++) {
                if (behind && q) {
                    const VEC a = r[q];
                    r[q] = a * t[2 * q - 2] - i[q] * t[2 * q - 1];
                    i[q] = a * t[2 * q - 1] + i[q] * t[2 * q - 2];
                }
                *(VEC *)(dr + q * to_re) = r[q];
                *(VEC *)(di + q * to_im) = i[q];
            }
        }
    }
}

typedef void (*NAME(fft_pass))(int64_t blocks, int64_t m, const REAL *twiddles, const NAME(fft_points) *from,
                               const NAME(fft_points) *to);
#define PC_FFT_PASS(radix)                                                                                             \
    static __attribute__((noinline)) void NAME(fft_plain_##radix)(                                                     \
        int64_t blocks, int64_t m, const REAL *twiddles, const NAME(fft_points) * from, const NAME(fft_points) * to) { \
        NAME(fft_pass_body)(radix, 0, 0, blocks, m, twiddles, from, to);                                               \
    }                                                                                                                  \
    static __attribute__((noinline)) void NAME(fft_front_##radix)(                                                     \
        int64_t blocks, int64_t m, const REAL *twiddles, const NAME(fft_points) * from, const NAME(fft_points) * to) { \
        NAME(fft_pass_body)(radix, 1, 0, blocks, m, twiddles, from, to);                                               \
    }                                                                                                                  \
    static __attribute__((noinline)) void NAME(fft_behind_##radix)(                                                    \
        int64_t blocks, int64_t m, const REAL *twiddles, const NAME(fft_points) * from, const NAME(fft_points) * to) { \
        NAME(fft_pass_body)(radix, 0, 1, blocks, m, twiddles, from, to);                                               \
    }
PC_FFT_PASS(3) PC_FFT_PASS(4) PC_FFT_PASS(8)
#undef PC_FFT_PASS
/* [radix][no twiddles, in front, behind] */
static const NAME(fft_pass) NAME(fft_table)[9][3] = {
    [3] = {NAME(fft_plain_3), NAME(fft_front_3), NAME(fft_behind_3)},
    [4] = {NAME(fft_plain_4), NAME(fft_front_4), NAME(fft_behind_4)},
    [8] = {NAME(fft_plain_8), NAME(fft_front_8), NAME(fft_behind_8)},
};

INLINE NAME(fft_points) NAME(fft_swapped)(NAME(fft_points) a) {
    return (NAME(fft_points)){a.im, a.re, a.ld_im, a.ld_re};
}

/* All passes of LANES transforms. The first reads `from`, the last writes `to`, those between are in `local`, which is
 * in L1. The inverse is not divided by n, and is the forward transform with real and imaginary parts exchanged. */
static __attribute__((noinline)) void NAME(fft_lanes)(const pc_fft_passes *s, const REAL *twiddles, int inverse, NAME(fft_points) from,
                            NAME(fft_points) to, NAME(fft_points) local) {
    if (inverse) {
        from = NAME(fft_swapped)(from);
        to = NAME(fft_swapped)(to);
        local = NAME(fft_swapped)(local);
    }
    for (int i = 0; i < s->n_passes; i++) {
        const int pass = inverse ? s->n_passes - 1 - i : i;
        const int twiddled = s->m[pass] == 1 ? 0 : inverse ? 1 : 2;
        NAME(fft_table)[s->radix[pass]][twiddled](s->blocks[pass], s->m[pass], twiddles + s->twiddles[pass],
                                                  i == 0 ? &from : &local, i == s->n_passes - 1 ? &to : &local);
    }
}

/* ---- what a worker has ---- */

typedef struct NAME(fft_work) {
    REAL *z, *sums;          /* of the block: spectra of inputs, and sums between reduction blocks */
    REAL *planes, *pad[2];
    NAME(fft_points) local;  /* LANES transforms of the longest axis */
    REAL *product;           /* LANES rows of each product, real and imaginary vectors in turn */
} NAME(fft_work);

static NAME(fft_work) NAME(fft_work_of)(const NAME(fft_job) *job, int shared, int worker) {
    const pc_conv *p = job->p;
    const pc_blocking *b = &p->blk;
    const pc_fft *s = &job->s;
    REAL *own = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    NAME(fft_work) k;
    k.z = shared ? (REAL *)job->arrays->scratch : own;
    k.sums = k.z + b->panel_elems;
    k.planes = own + b->panel_elems + b->part_elems;
    k.pad[0] = k.planes + b->rows * b->slices * 2 * s->plane;
    k.pad[1] = k.pad[0] + s->n_h * s->n_w + LANES;
    const int64_t longest = pc_max(s->n_d, pc_max(s->n_h, s->n_w)) * LANES;
    REAL *local = k.pad[1] + s->n_h * s->n_w + LANES;
    k.local = (NAME(fft_points)){local, local + longest, LANES, LANES};
    k.product = local + 2 * longest;
    return k;
}

INLINE NAME(fft_points) NAME(fft_plane)(const pc_fft *s, REAL *plane, int64_t at, int64_t ld) {
    return (NAME(fft_points)){plane + at, plane + s->plane + at, ld, ld};
}

/* ---- forward ---- */

/* Of a line: LANES columns from vector c of them on, at LANES frequencies f, times w^(f column). */
static __attribute__((noinline)) void NAME(fft_turn)(const REAL *turns, int64_t c, NAME(fft_points) a) {
    const REAL *first = turns + 2 * (LANES + c) * LANES;
    const VEC cr = *(const VEC *)first, ci = *(const VEC *)(first + LANES);
    for (int l = 0; l < LANES; l++, turns += 2 * LANES) {
        VEC *re = (VEC *)(a.re + (c * LANES + l) * a.ld_re), *im = (VEC *)(a.im + (c * LANES + l) * a.ld_im);
        const VEC lr = *(const VEC *)turns, li = *(const VEC *)(turns + LANES);
        const VEC tr = cr * lr - ci * li, ti = cr * li + ci * lr, r = *re;
        *re = r * tr - *im * ti;
        *im = r * ti + *im * tr;
    }
}

/* Rows of a plane along w: LANES of them turned, transformed, and written vector by vector. */
static __attribute__((noinline)) void NAME(fft_rows)(const NAME(fft_job) *job, const NAME(fft_work) *k, REAL *plane, REAL *z) {
    const pc_fft *s = &job->s;
    const int64_t row_blocks = s->n_d * s->n_h / LANES, columns = s->n_w / LANES;
    for (int64_t rb = 0; rb < row_blocks; rb++, z += 2 * s->n_w * LANES) {
        const NAME(fft_points) to = {z, z + LANES, 2 * LANES, 2 * LANES};
        const NAME(fft_points) turned = s->transform_w ? k->local : to;
        const REAL *turns = job->turns + 2 * rb * (LANES + columns) * LANES;
        for (int64_t c = 0; c < columns; c++) {
            VEC r[LANES], i[LANES];
            const REAL *row = plane + rb * LANES * s->pitch + c * LANES;
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                r[l] = *(const VEC *)(row + l * s->pitch);
            NAME(transpose)(r);
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                *(VEC *)(turned.re + (c * LANES + l) * turned.ld_re) = r[l];
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                i[l] = *(const VEC *)(row + s->plane + l * s->pitch);
            NAME(transpose)(i);
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                *(VEC *)(turned.im + (c * LANES + l) * turned.ld_im) = i[l];
            if (s->line)
                NAME(fft_turn)(turns, c, turned);
        }
        if (s->transform_w)
            NAME(fft_lanes)(&job->w, job->twiddles_w, 0, k->local, to, k->local);
    }
}

/* The spectrum of one channel and part of the kernel, of one pair of tiles; `second` may be NULL. From `first` and
 * `second`, n_d planes of n_h rows that `fetch` would give. */
static __attribute__((noinline)) void NAME(fft_forward)(const NAME(fft_job) *job, const NAME(fft_work) *k, int64_t g, int64_t pair, int64_t channel,
                              REAL *z) {
    const pc_fft *s = &job->s;
    REAL *plane = k->planes;
    for (int64_t d = 0; d < s->n_d; d++) {
        const REAL *src[2];
        int64_t ld[2];
        for (int t = 0; t < 2; t++)
            src[t] = job->io.fetch(job->p, s, job->arrays->x, channel, 2 * pair + t, g, d, k->pad[t], &ld[t]);
        for (int64_t c = 0; c < s->n_w; c += LANES) {
            const NAME(fft_points) to = NAME(fft_plane)(s, plane, d * s->n_h * s->pitch + c, s->pitch);
            /* (nothing writes through `from`) */
            const NAME(fft_points) from = {(REAL *)(uintptr_t)(src[0] + c), (REAL *)(uintptr_t)(src[1] + c), ld[0], ld[1]};
            if (s->transform_h) {
                NAME(fft_lanes)(&job->h, job->twiddles_h, 0, from, to, k->local);
            } else {
                for (int64_t h = 0; h < s->n_h; h++) {
                    *(VEC *)(to.re + h * s->pitch) = NAME(load)(from.re + h * ld[0]);
                    *(VEC *)(to.im + h * s->pitch) = NAME(load)(from.im + h * ld[1]);
                }
            }
        }
    }
    if (s->transform_d)
        for (int64_t h = 0; h < s->n_h; h++)
            for (int64_t c = 0; c < s->n_w; c += LANES) {
                const NAME(fft_points) along = NAME(fft_plane)(s, plane, h * s->pitch + c, s->n_h * s->pitch);
                NAME(fft_lanes)(&job->d, job->twiddles_d, 0, along, along, k->local);
            }
    NAME(fft_rows)(job, k, plane, z);
}

/* ---- product ---- */

typedef struct NAME(fft_product_args) {
    int64_t n_f, n_k, k_all;      /* frequencies; terms of this reduction block, of all */
    int64_t ld_k, ld_pair;        /* elements of z between terms and between pairs */
    const REAL *w, *z;
    REAL *sums;                   /* [m][pair][frequency]: added to where `more` says so */
    int64_t ld_sums;              /* between products */
    int more;
} NAME(fft_product_args);

/* For each frequency: sums[m][pair] (+)= sum over k of w[k][m] z[k][pair], all complex. */
INLINE void NAME(fft_product_body)(const int rows, const int pairs, const NAME(fft_product_args) *t) {
    const REAL *w = t->w, *z = t->z;
    REAL *sums = t->sums;
    for (int64_t f = 0; f < t->n_f; f++, z += 2 * LANES, w += t->k_all * rows * 2 * LANES, sums += 2 * LANES) {
        VEC re[2][4], im[2][4];
#pragma GCC unroll 2
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
            for (int b = 0; b < pairs; b++) {
                REAL *sum = sums + (m * pairs + b) * t->ld_sums;
                re[m][b] = t->more ? *(VEC *)sum : (VEC){0};
                im[m][b] = t->more ? *(VEC *)(sum + LANES) : (VEC){0};
            }
        const REAL *wk = w, *zk = z;
        for (int64_t k = 0; k < t->n_k; k++, wk += rows * 2 * LANES, zk += t->ld_k) {
            VEC wr[2], wi[2];
#pragma GCC unroll 2
            for (int m = 0; m < rows; m++) {
                wr[m] = *(const VEC *)(wk + 2 * m * LANES);
                wi[m] = *(const VEC *)(wk + (2 * m + 1) * LANES);
            }
#pragma GCC unroll 4
            for (int b = 0; b < pairs; b++) {
                const VEC zr = *(const VEC *)(zk + b * t->ld_pair), zi = *(const VEC *)(zk + b * t->ld_pair + LANES);
#pragma GCC unroll 2
                for (int m = 0; m < rows; m++) {
                    re[m][b] += wr[m] * zr;
                    re[m][b] -= wi[m] * zi;
                    im[m][b] += wr[m] * zi;
                    im[m][b] += wi[m] * zr;
                }
            }
        }
#pragma GCC unroll 2
        for (int m = 0; m < rows; m++)
#pragma GCC unroll 4
            for (int b = 0; b < pairs; b++) {
                REAL *sum = sums + (m * pairs + b) * t->ld_sums;
                *(VEC *)sum = re[m][b];
                *(VEC *)(sum + LANES) = im[m][b];
            }
    }
}

typedef void (*NAME(fft_product))(const NAME(fft_product_args) *);
#define PC_FFT_PRODUCT(rows, pairs)                                                                                    \
    static __attribute__((noinline)) void NAME(fft_product_##rows##x##pairs)(const NAME(fft_product_args) * t) {       \
        NAME(fft_product_body)(rows, pairs, t);                                                                        \
    }
PC_FFT_PRODUCT(1, 1) PC_FFT_PRODUCT(1, 2) PC_FFT_PRODUCT(1, 3) PC_FFT_PRODUCT(1, 4)
PC_FFT_PRODUCT(2, 1) PC_FFT_PRODUCT(2, 2) PC_FFT_PRODUCT(2, 3) PC_FFT_PRODUCT(2, 4)
#undef PC_FFT_PRODUCT
static const NAME(fft_product) NAME(fft_products)[2][4] = {
    {NAME(fft_product_1x1), NAME(fft_product_1x2), NAME(fft_product_1x3), NAME(fft_product_1x4)},
    {NAME(fft_product_2x1), NAME(fft_product_2x2), NAME(fft_product_2x3), NAME(fft_product_2x4)},
};

/* ---- inverse ---- */

/* The rows of a plane back from LANES rows of frequencies. */
static __attribute__((noinline)) void NAME(fft_rows_back)(const NAME(fft_job) *job, const NAME(fft_work) *k, int64_t rb, REAL *sums, REAL *plane) {
    const pc_fft *s = &job->s;
    const int64_t columns = s->n_w / LANES;
    NAME(fft_points) from = {sums, sums + LANES, 2 * LANES, 2 * LANES};
    if (s->transform_w) {
        NAME(fft_lanes)(&job->w, job->twiddles_w, 1, from, k->local, k->local);
        from = k->local;
    }
    const REAL *turns = job->turns + 2 * rb * (LANES + columns) * LANES;
    for (int64_t c = 0; c < columns; c++) {
        if (s->line)
            NAME(fft_turn)(turns, c, NAME(fft_swapped)(from));
        for (int half = 0; half < 2; half++) {
            const REAL *turned = half ? from.im : from.re;
            const int64_t ld = half ? from.ld_im : from.ld_re;
            REAL *row = plane + half * s->plane + rb * LANES * s->pitch + c * LANES;
            VEC v[LANES];
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                v[l] = *(const VEC *)(turned + (c * LANES + l) * ld);
            NAME(transpose)(v);
#pragma GCC unroll 16
            for (int l = 0; l < LANES; l++)
                *(VEC *)(row + l * s->pitch) = v[l];
        }
    }
}

/* Where a tile's outputs begin, and how many there are. */
typedef struct NAME(fft_box) {
    int64_t n, d, h, w, n_d, n_h, n_w; /* n_d is 0 where there is no such tile */
} NAME(fft_box);

static __attribute__((noinline)) NAME(fft_box) NAME(fft_box_of)(const pc_conv *p, const pc_fft *s, int64_t tile) {
    NAME(fft_box) o = {0};
    if (tile >= s->tiles)
        return o;
    o.w = tile % s->w.tiles * s->w.step;
    tile /= s->w.tiles;
    o.h = tile % s->h.tiles * s->h.step;
    tile /= s->h.tiles;
    o.d = tile % s->d.tiles * s->d.step;
    o.n = tile / s->d.tiles;
    o.n_d = pc_min(s->d.step, p->d.out - o.d);
    o.n_h = pc_min(s->h.step, p->h.out - o.h);
    o.n_w = pc_min(s->w.step, p->w.out - o.w);
    return o;
}

/* The element of x that a part of the kernel reads first for an output. */
INLINE int64_t NAME(fft_first)(const pc_axis *axis, const pc_fft_axis *s, int64_t output, int64_t part) {
    return (output + part % s->segments * s->part) * s->stride + part / s->segments * s->dilation % s->stride - axis->pad;
}

/* Hands LANES columns of a tile's outputs of one depth on: rows of y, `columns` of them counted from column c. */
static __attribute__((noinline)) void NAME(fft_store)(const NAME(fft_job) *job, REAL *y, int64_t g, int64_t m, const NAME(fft_box) *o, int64_t d,
                            int64_t c) {
    const pc_conv *p = job->p;
    const pc_fft *s = &job->s;
    const int64_t rows = s->line ? pc_ceil_div(o->n_w - c, s->n_w) : o->n_h, m_all = g * p->c_out + m;
    const VEC bias = NAME(splat)(job->arrays->bias ? ((const REAL *)job->arrays->bias)[m_all] : 0);
    enum { CHUNK = 64 };
    pc_segment segments[CHUNK];
    for (int64_t first = 0; first < rows; first += CHUNK, y += CHUNK * LANES) {
        const int n = (int)pc_min(CHUNK, rows - first);
        VEC finite = {0}; /* stays zero until something is not */
        for (int r = 0; r < n; r++) {
            const VEC v = *(VEC *)(y + r * LANES) + bias;
            *(VEC *)(y + r * LANES) = v;
            finite += v - v;
            const int64_t before = s->line ? (first + r) * s->n_w + c : c;
            segments[r] = (pc_segment){r * LANES, pc_min(LANES, o->n_w - before), s->line ? 0 : o->h + first + r,
                                       o->w + before};
        }
        int broken = 0;
        for (int l = 0; l < LANES; l++)
            broken |= finite[l] != 0;
        if (broken)
            for (int r = 0; r < n; r++)
                for (int64_t e = 0; e < segments[r].length; e++) {
                    REAL *v = y + r * LANES + e;
                    if (*v - *v != 0)
                        *v = NAME(sum_again)(p, job->arrays, job->io.get, job->weights, g, m, o->n, o->d + d,
                                             segments[r].h, segments[r].w + e);
                }
        job->io.finish(p, job->arrays, y, n * LANES, 1, segments, n, (pc_place){o->n, m_all, o->d + d, 0, 0}, 0);
    }
}

/* Both tiles of a pair out of their plane. */
static __attribute__((noinline)) void NAME(fft_backward)(const NAME(fft_job) *job, const NAME(fft_work) *k, int64_t g, int64_t m, int64_t pair,
                               REAL *plane) {
    const pc_fft *s = &job->s;
    const NAME(fft_box) o[2] = {NAME(fft_box_of)(job->p, s, 2 * pair), NAME(fft_box_of)(job->p, s, 2 * pair + 1)};
    const int64_t columns = s->line ? pc_min(s->n_w, pc_max(o[0].n_w, o[1].n_w)) : pc_max(o[0].n_w, o[1].n_w);
    if (s->transform_d)
        for (int64_t h = 0; h < s->n_h; h++)
            for (int64_t c = 0; c < columns; c += LANES) {
                const NAME(fft_points) along = NAME(fft_plane)(s, plane, h * s->pitch + c, s->n_h * s->pitch);
                NAME(fft_lanes)(&job->d, job->twiddles_d, 1, along, along, k->local);
            }
    for (int64_t d = 0; d < pc_max(o[0].n_d, o[1].n_d); d++)
        for (int64_t c = 0; c < columns; c += LANES) {
            const NAME(fft_points) from = NAME(fft_plane)(s, plane, d * s->n_h * s->pitch + c, s->pitch);
            if (s->transform_h) {
                NAME(fft_lanes)(&job->h, job->twiddles_h, 1, from, k->local, k->local);
            } else {
                for (int64_t h = 0; h < s->n_h; h++) {
                    *(VEC *)(k->local.re + h * LANES) = *(const VEC *)(from.re + h * s->pitch);
                    *(VEC *)(k->local.im + h * LANES) = *(const VEC *)(from.im + h * s->pitch);
                }
            }
            for (int t = 0; t < 2; t++)
                if (d < o[t].n_d && c < o[t].n_w)
                    NAME(fft_store)(job, t ? k->local.im : k->local.re, g, m, &o[t], d, c);
        }
}

/* ---- the stages of a block ---- */

typedef struct NAME(fft_block) {
    int64_t g, pair, n_pairs;
} NAME(fft_block);

INLINE NAME(fft_block) NAME(fft_block_of)(const NAME(fft_job) *job, int64_t task) {
    const int64_t slices = job->p->blk.slices, blocks = pc_ceil_div(job->s.pairs, slices);
    const int64_t pair = task % blocks * slices;
    return (NAME(fft_block)){task / blocks, pair, pc_min(slices, job->s.pairs - pair)};
}

INLINE int64_t NAME(fft_ld_pair)(const pc_fft *s) { return 2 * (s->points + LANES); }

static void NAME(fft_input)(const NAME(fft_job) *job, const NAME(fft_work) *k, int64_t block, int64_t item) {
    const NAME(fft_block) b = NAME(fft_block_of)(job, block);
    const int64_t ld = NAME(fft_ld_pair)(&job->s);
    REAL *z = k->z + (item / b.n_pairs * job->p->blk.slices + item % b.n_pairs) * ld;
    NAME(fft_forward)(job, k, b.g, b.pair + item % b.n_pairs, job->k0 + item / b.n_pairs, z);
}

/* One panel of output channels, all pairs of the block. */
static void NAME(fft_output)(const NAME(fft_job) *job, const NAME(fft_work) *k, int64_t block, int64_t item) {
    const pc_conv *p = job->p;
    const pc_fft *s = &job->s;
    const NAME(fft_block) b = NAME(fft_block_of)(job, block);
    const int64_t m = job->m0 + item * p->blk.rows, rows = pc_min(p->blk.rows, p->c_out - m);
    const int64_t ld = NAME(fft_ld_pair)(s), row_blocks = s->n_d * s->n_h / LANES, chunk = 2 * s->n_w * LANES;
    const int last = job->k1 == s->n_k, split = p->blk.part_elems > 0;
    const REAL *w = job->spectra + b.g * p->c_out * s->n_k * 2 * s->points + job->k0 * rows * 2 * LANES;
    for (int64_t rb = 0; rb < row_blocks; rb++) {
        NAME(fft_product_args) t = {.n_f = s->n_w, .n_k = job->k1 - job->k0, .k_all = s->n_k,
                                    .ld_k = p->blk.slices * ld, .ld_pair = ld, .more = job->k0 > 0};
        t.w = w + (rb * p->c_out + m) * s->n_k * chunk;
        t.z = k->z + rb * chunk;
        t.sums = split ? k->sums + (m - job->m0) * b.n_pairs * ld + rb * chunk : k->product;
        t.ld_sums = split ? ld : chunk;
        NAME(fft_products)[rows - 1][b.n_pairs - 1](&t);
        for (int64_t i = 0; last && i < rows * b.n_pairs; i++)
            NAME(fft_rows_back)(job, k, rb, t.sums + i * t.ld_sums, k->planes + i * 2 * s->plane);
    }
    for (int64_t i = 0; last && i < rows * b.n_pairs; i++)
        NAME(fft_backward)(job, k, b.g, m + i / b.n_pairs, b.pair + i % b.n_pairs, k->planes + i * 2 * s->plane);
}

static void NAME(fft_task)(void *ctx, int64_t block, int worker) {
    NAME(fft_job) job = *(const NAME(fft_job) *)ctx; /* each worker is at a place of its own */
    const pc_conv *p = job.p;
    const NAME(fft_work) k = NAME(fft_work_of)(&job, 0, worker);
    const int64_t n_pairs = NAME(fft_block_of)(&job, block).n_pairs;
    for (job.m0 = 0; job.m0 < p->c_out; job.m0 = job.m1) {
        job.m1 = pc_min(p->c_out, job.m0 + p->blk.m_block);
        for (job.k0 = 0; job.k0 < job.s.n_k; job.k0 = job.k1) {
            job.k1 = pc_min(job.s.n_k, job.k0 + p->blk.c_block);
            if (job.m0 == 0 || p->blk.c_block < job.s.n_k)
                for (int64_t i = 0; i < (job.k1 - job.k0) * n_pairs; i++)
                    NAME(fft_input)(&job, &k, block, i);
            for (int64_t i = 0; i < pc_ceil_div(job.m1 - job.m0, p->blk.rows); i++)
                NAME(fft_output)(&job, &k, block, i);
        }
    }
}

static void NAME(fft_input_task)(void *ctx, int64_t item, int worker) {
    const NAME(fft_job) *job = ctx;
    const NAME(fft_work) k = NAME(fft_work_of)(job, 1, worker);
    NAME(fft_input)(job, &k, job->block, item);
}

static void NAME(fft_output_task)(void *ctx, int64_t item, int worker) {
    const NAME(fft_job) *job = ctx;
    const NAME(fft_work) k = NAME(fft_work_of)(job, 1, worker);
    NAME(fft_output)(job, &k, job->block, item);
}

/* As many blocks in parallel as keep every thread busy; then the stages of each of the rest, where these are enough
 * for all threads. */
static __attribute__((noinline)) void NAME(fft_blocks)(NAME(fft_job) *job, int threads) {
    const pc_conv *p = job->p;
    const int64_t n_blocks = p->groups * pc_ceil_div(job->s.pairs, p->blk.slices);
    const int64_t shared = pc_ceil_div(p->c_out, p->blk.rows) < threads ? 0 : n_blocks % threads;
    if (n_blocks > shared)
        pc_parallel(NAME(fft_task), job, n_blocks - shared, threads);
    for (job->block = n_blocks - shared; job->block < n_blocks; job->block++) {
        const int64_t n_pairs = NAME(fft_block_of)(job, job->block).n_pairs;
        for (job->m0 = 0; job->m0 < p->c_out; job->m0 = job->m1) {
            job->m1 = pc_min(p->c_out, job->m0 + p->blk.m_block);
            for (job->k0 = 0; job->k0 < job->s.n_k; job->k0 = job->k1) {
                job->k1 = pc_min(job->s.n_k, job->k0 + p->blk.c_block);
                if (job->m0 == 0 || p->blk.c_block < job->s.n_k)
                    pc_parallel(NAME(fft_input_task), job, (job->k1 - job->k0) * n_pairs, threads);
                pc_parallel(NAME(fft_output_task), job, pc_ceil_div(job->m1 - job->m0, p->blk.rows), threads);
            }
        }
    }
}

/* ---- weights ---- */

/* exp(-2 pi i k / n), by one octant's sine and cosine, in more digits than REAL has. */
static __attribute__((noinline, cold)) void NAME(fft_root)(int64_t k, int64_t n, REAL *re, REAL *im) {
    int64_t eighths = 8 * (k % n);
    const int64_t octant = eighths / n;
    eighths -= octant * n;
    if (octant % 2)
        eighths = n - eighths;
    const long double angle = 0.78539816339744830961566084581987572L * (long double)eighths / (long double)n;
    const REAL c = sizeof(REAL) == 4 ? (REAL)cos((double)angle) : (REAL)cosl(angle);
    const REAL s = sizeof(REAL) == 4 ? (REAL)sin((double)angle) : (REAL)sinl(angle);
    const int swap = ((octant + 1) / 2) % 2;
    const REAL a = swap ? s : c, b = swap ? c : s;
    *re = octant >= 2 && octant < 6 ? -a : a;
    *im = octant >= 4 ? b : -b;
}

static __attribute__((noinline, cold)) void NAME(fft_twiddles)(int64_t n, REAL *to) {
    const pc_fft_passes s = pc_fft_passes_of(n);
    for (int i = 0; i < s.n_passes; i++)
        for (int64_t j = 0; s.m[i] > 1 && j < s.m[i]; j++)
            for (int q = 1; q < s.radix[i]; q++, to += 2)
                NAME(fft_root)(j * q, s.m[i] * s.radix[i], to, to + 1);
}

/* The frequency that stands at `position` behind a forward transform. */
static __attribute__((noinline, cold)) int64_t NAME(fft_frequency)(const pc_fft_passes *s, int64_t position) {
    int64_t frequency = 0;
    for (int i = 0; i < s->n_passes; i++) {
        frequency += position / s->m[i] * s->blocks[i];
        position %= s->m[i];
    }
    return frequency;
}

/* The taps of one axis that a part of the kernel has: n of them from `first` on, `step` apart, at places of the tile that
 * are place_step apart. */
typedef struct NAME(fft_taps) {
    int64_t first, n, step, place, place_step;
} NAME(fft_taps);

static NAME(fft_taps) NAME(fft_taps_of)(const pc_fft_axis *s, int64_t k, int64_t part) {
    const int64_t residue = part / s->segments, from = part % s->segments * s->part;
    const int64_t place = residue * s->dilation / s->stride - from, step = s->period * s->dilation / s->stride;
    const int64_t begin = place < 0 ? pc_ceil_div(-place, step) : 0;
    const int64_t end = pc_min(pc_ceil_div(k - residue, s->period), pc_ceil_div(pc_max(0, s->part - place), step));
    return (NAME(fft_taps)){residue + begin * s->period, pc_max(0, end - begin), s->period, place + begin * step, step};
}

/* One depth of a part of the kernel as a tile, turned round, so that a product of spectra correlates; nothing for the
 * second tile of a pair. Along an axis that is not transformed every place has the tap. */
static const REAL *NAME(fft_fetch_weights)(const pc_conv *p, const pc_fft *s, const void *w, int64_t k, int64_t tile,
                                           int64_t g, int64_t d, REAL *pad, int64_t *ld) {
    memset(pad, 0, (size_t)(s->n_h * s->n_w) * sizeof(REAL));
    *ld = s->n_w;
    if (tile % 2)
        return pad;
    const int64_t iw = k % s->w.parts, ih = k / s->w.parts % s->h.parts, id = k / s->w.parts / s->h.parts % s->d.parts;
    const int64_t c = k / (s->w.parts * s->h.parts * s->d.parts);
    const REAL *kernel = (const REAL *)w + ((g * p->c_out + tile / 2) * p->c_in + c) * p->d.k * p->h.k * p->w.k;
    const REAL scale = (REAL)(1.0L / (long double)((s->transform_d ? s->n_d : 1) * (s->transform_h ? s->n_h : 1) *
                                                   (s->transform_w ? s->n_w : 1)));
    const NAME(fft_taps) of_d = NAME(fft_taps_of)(&s->d, p->d.k, id), of_h = NAME(fft_taps_of)(&s->h, p->h.k, ih),
                         of_w = NAME(fft_taps_of)(&s->w, p->w.k, iw);
    for (int64_t a = 0; a < of_d.n; a++) {
        if ((s->n_d - of_d.place - a * of_d.place_step) % s->n_d != d)
            continue;
        for (int64_t i = 0; i < of_h.n; i++) {
            const REAL *from = kernel + ((of_d.first + a * of_d.step) * p->h.k + of_h.first + i * of_h.step) * p->w.k;
            const int64_t h = s->transform_h && !s->line ? (s->n_h - of_h.place - i * of_h.place_step) % s->n_h : 0;
            REAL *const row = pad + h * s->n_w;
            from += of_w.first;
            for (int64_t j = 0, place = of_w.place; j < of_w.n; j++, place += of_w.place_step)
                row[place == 0 ? 0 : s->w.n - place] = from[j * of_w.step] * scale;
            for (int64_t e = 1; e < s->n_w && !s->transform_w; e++)
                row[e] = row[0];
            for (int64_t r = 1; r < s->n_h && !s->transform_h; r++)
                NAME(copy)(row + r * s->n_w, row, s->n_w);
        }
    }
    return pad;
}

/* Twiddles, spectra[group][row block][panel of channels][frequency][k][channel][real, imaginary][lane], then w as it
 * came, and behind it the memory that packing itself needs. */
static __attribute__((cold)) int64_t NAME(conv_fft_pack)(const pc_conv *p, const void *w, void *packed) {
    const pc_fft s = pc_fft_of(p, LANES);
    int64_t at[5];
    const int64_t taps = p->d.k * p->h.k * p->w.k, n_w = p->groups * p->c_out * p->c_in * taps;
    const int64_t tables = NAME(fft_tables)(&s, at), used = tables + NAME(fft_spectra)(p, &s) + n_w;
    const int64_t longest = pc_max(s.n_d, pc_max(s.n_h, s.n_w)) * LANES, pad = s.n_h * s.n_w + LANES;
    const int64_t first = pc_round_up(used, LANES);
    if (!packed)
        return first + 2 * s.points + 2 * s.plane + 2 * pad + 2 * longest;
    REAL *to = packed;
    NAME(fft_twiddles)(s.n_d, to + at[0]);
    NAME(fft_twiddles)(s.n_h, to + at[1]);
    NAME(fft_twiddles)(s.n_w, to + at[2]);
    const NAME(fft_io) io = {.fetch = NAME(fft_fetch_weights)};
    const pc_arrays arrays = {.x = w};
    const NAME(fft_job) job = NAME(fft_job_of)(p, &arrays, io, packed);
    for (int64_t i = 0; s.line && i < s.n_h; i++) {
        const int64_t f = NAME(fft_frequency)(&job.h, i), columns = s.n_w / LANES;
        REAL *turns = to + at[3] + 2 * (i / LANES) * (LANES + columns) * LANES + i % LANES;
        for (int64_t c = 0; c < LANES + columns; c++) {
            const int64_t x = c < LANES ? c : (c - LANES) * LANES;
            NAME(fft_root)(f * x, s.points, turns + 2 * c * LANES, turns + (2 * c + 1) * LANES);
        }
    }
    REAL *z = to + first, *planes = z + 2 * s.points, *pads = planes + 2 * s.plane, *local = pads + 2 * pad;
    const NAME(fft_work) work = {.planes = planes, .pad = {pads, pads + pad},
                                 .local = {local, local + longest, LANES, LANES}};
    const int64_t row_blocks = s.n_d * s.n_h / LANES, chunk = 2 * s.n_w * LANES;
    for (int64_t g = 0; g < p->groups; g++)
        for (int64_t m = 0; m < p->c_out; m++)
            for (int64_t k = 0; k < s.n_k; k++) {
                NAME(fft_forward)(&job, &work, g, m, k, z);
                const int64_t panel = m / 2 * 2, rows = pc_min(2, p->c_out - panel);
                for (int64_t rb = 0; rb < row_blocks; rb++) {
                    REAL *u = to + tables + g * p->c_out * s.n_k * 2 * s.points + (rb * p->c_out + panel) * s.n_k * chunk;
                    for (int64_t f = 0; f < s.n_w; f++)
                        memcpy(u + ((f * s.n_k + k) * rows + m % 2) * 2 * LANES, z + rb * chunk + f * 2 * LANES,
                               2 * LANES * sizeof(REAL));
                }
            }
    memcpy(to + used - n_w, w, (size_t)n_w * sizeof(REAL));
    return used;
}

#endif

static const REAL *STORED(fft_fetch)(const pc_conv *p, const pc_fft *s, const void *x, int64_t k, int64_t tile,
                                     int64_t g, int64_t d, REAL *pad, int64_t *ld) {
    const NAME(fft_box) o = NAME(fft_box_of)(p, s, tile);
    const int64_t iw = k % s->w.parts, ih = k / s->w.parts % s->h.parts, id = k / s->w.parts / s->h.parts % s->d.parts;
    const int64_t c = g * p->c_in + k / (s->w.parts * s->h.parts * s->d.parts);
    const int64_t depth = pc_map_index(NAME(fft_first)(&p->d, &s->d, o.d, id) + d * s->d.stride, p->d.in, p->padding_mode);
    int64_t h = NAME(fft_first)(&p->h, &s->h, o.h, ih);
    const int64_t first = NAME(fft_first)(&p->w, &s->w, o.w, iw);
    if (o.n_d == 0 || depth < 0) {
        NAME(clear_over)(pad, s->n_w);
        *ld = 0;
        return pad;
    }
    const STORAGE *slice = (const STORAGE *)x + o.n * p->ld_x.n + c * p->ld_x.c + depth * p->ld_x.d;
    const int64_t rows = s->h.n;
#if !PC_WIDENED
    if (p->ld_x.w == 1 && s->w.stride == 1 && first >= 0 && first + s->w.n <= p->w.in && h >= 0 &&
        h + (rows - 1) * s->h.stride < p->h.in) {
        *ld = s->line ? s->n_w : s->h.stride * p->ld_x.h;
        return slice + h * p->ld_x.h + first;
    }
#endif
    *ld = s->n_w;
    const int64_t n = pc_min(s->w.n, s->w.step + s->w.part - 1), live = pc_min(rows, s->h.step + s->h.part - 1);
    const NAME(tile_row) row = NAME(tile_row_of)(p, first, (pc_grid_axis){.stride = s->w.stride, .length = n});
    REAL *to = pad;
    for (int64_t r = 0; r < rows; r++, h += s->h.stride, to += s->w.n) {
        const int64_t at = r < live ? pc_map_index(h, p->h.in, p->padding_mode) : -1;
        if (at < 0) {
            NAME(clear_over)(to, s->w.n);
        } else {
            const int64_t rest = p->ld_x.h > 0 ? (p->h.in - 1 - at) * p->ld_x.h : 0;
            STORED(load_row)(p, row, slice + at * p->ld_x.h, p->w.in + rest, to);
            NAME(clear_over)(to + n, s->w.n - n);
        }
    }
    return pad;
}

static void STORED(conv_fft_run)(const pc_conv *p, const pc_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(conv_fft, DTYPE, PC_ISA)));
    const NAME(fft_io) io = {STORED(fft_fetch), STORED(get_x), STORED(finish)};
    NAME(fft_job) job = NAME(fft_job_of)(p, arrays, io, arrays->packed);
    NAME(fft_blocks)(&job, threads);
}

static int STORED(conv_fft_plan)(pc_conv *p, int64_t max_scratch_bytes) {
    return pc_plan_fft(p, PC_TILE_SHAPE, max_scratch_bytes);
}
