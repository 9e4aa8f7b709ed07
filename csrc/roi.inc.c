/* roi_separable: the bins of boxes, each the mean of its samples or the largest of its pixels or samples.
 *
 *   out[k, c, o] = join over the samples s of bin o of box k of  sum over the pixels i of s of w[s, i] x[image k, c, i]
 *
 * Samples and their bilinear weights are products of those of each axis. So a mean is separable: out = Wy X Wx^T, and so
 * is a maximum of weighted pixels, for weights are not negative. roi_plan.c folds the samples of a bin into a short list
 * of pixels an axis; two samples of a bin read up to four pixels, neighbours share them.
 *
 * Channels are in the lanes. One row of the map after the other is reduced to the box's columns of bins, and the reduced
 * row is added to the rows of bins that it belongs to: the last reduced rows are kept, and since rows that two bins share
 * are neighbours, none is reduced twice. Where bins have few taps all are given as many, and the loops are unrolled. With three axes the same is done once more with planes. Largest samples
 * are interpolated one by one: there the order of maximum and sum matters.
 *
 * Where channels are fastest in memory, pixels are read where they lie. Else a block of channels of the whole map is
 * turned into pixels of LANES channels once, and stays in L2 for all boxes of its image; where the boxes are few and read
 * little of the map, only the parts of rows that they read. A task is a block of channels and some boxes; the worker
 * remembers which map it holds.
 *
 * flops: 2 a tap; for b bins of t taps an axis b t (t b) + b b t, and not b b t t. Errors: one rounding a weight, product
 * and sum, (2 taps an axis + 4) eps of the sum of magnitudes.
 *
 * After He, Gkioxari, Dollar and Girshick (2017), section 3; Girshick (2015); Dai, Li, He and Sun (2016). */

#ifndef PC_ROI_CONSTANTS
#define PC_ROI_CONSTANTS
/* The bins that a task computes of a box: all of them, or one. */
typedef struct pc_roi_part {
    int64_t d0, d1, h0, h1, w0, w1;
} pc_roi_part;

static inline pc_roi_part pc_roi_part_of(const pc_roi *p, int64_t slice) {
    if (p->slices == 1)
        return (pc_roi_part){0, p->d.out, 0, p->h.out, 0, p->w.out};
    const int64_t w = slice % p->w.out, h = slice / p->w.out % p->h.out, d = slice / p->w.out / p->h.out;
    return (pc_roi_part){d, d + 1, h, h + 1, w, w + 1};
}

/* What a worker's scratch begins with: the map that it holds. */
typedef struct pc_roi_held {
    int64_t image, block, slice;
} pc_roi_held;
#endif

#if !PC_WIDENED

/* One axis of a box's table. */
typedef struct NAME(roi_axis) {
    const int32_t *begin, *index, *zero;
    const REAL *weight;
    const int32_t *line, *line_begin, *line_bin;
    const REAL *line_weight;
    int64_t lines, even;
} NAME(roi_axis);

typedef struct NAME(roi_box) {
    NAME(roi_axis) d, h, w;
    int64_t image, first_w, last_w;
} NAME(roi_box);

INLINE NAME(roi_axis) NAME(roi_axis_of)(const pc_roi_axis *a, int lines, int which, void *table) {
    const pc_roi_lists s = pc_roi_lists_of(a, lines, sizeof(REAL), table);
    const pc_roi_head *head = table;
    return (NAME(roi_axis)){s.begin, s.index, s.zero, s.weight, s.line, s.line_begin, s.line_bin, s.line_weight,
                            head->lines[which], head->even[which]};
}

/* The table of a box, shared or made in the worker's own memory. */
static __attribute__((noinline)) NAME(roi_box) NAME(roi_box_of)(const pc_roi *p, int role, const double *boxes,
                                                                pc_roi_shared shared, int64_t k, void *own) {
    void *table = own;
    if (p->n_tables)
        table = shared.tables + k * p->table_bytes;
    else
        pc_roi_make_table(p, role, sizeof(REAL), boxes + k * (1 + 2 * p->rank), own);
    const pc_roi_head *head = table;
    const int lines = pc_roi_has_lines(p, role);
    return (NAME(roi_box)){NAME(roi_axis_of)(&p->d, lines, 0, table),
                           NAME(roi_axis_of)(&p->h, lines, 1, table),
                           NAME(roi_axis_of)(&p->w, lines, 2, table),
                           head->image, head->first[2], head->last[2]};
}

/* Pixels of a block of channels: vector v of pixel (d, h, w) lies at d * ld_d + h * ld_h + w * ld_w + v * ld_v. Where rows
 * are turned one at a time, turn() does it into `row` and returns where its pixel 0 would lie. */
typedef struct NAME(roi_view) {
    const REAL *pixels;
    int64_t ld_d, ld_h, ld_w, ld_v;
    REAL *row;
    const REAL *(*turn)(const void *source, int64_t d, int64_t h, int64_t first, int64_t n, REAL *row, int64_t ld_v);
    const void *source;
    int64_t first, n; /* columns that are turned */
} NAME(roi_view);

INLINE const REAL *NAME(roi_row)(const NAME(roi_view) *view, int64_t d, int64_t h) {
    if (view->turn)
        return view->turn(view->source, d, h, view->first, view->n, view->row, view->ld_v);
    return view->pixels + d * view->ld_d + h * view->ld_h;
}

/* The larger one, a NaN before any number. */
INLINE VEC NAME(roi_larger)(VEC a, VEC b) { return NAME(select)((MASK)(a >= b) | (MASK)(a != a), a, b); }

INLINE VEC NAME(roi_joined)(VEC a, VEC b, const int maximum) { return maximum ? NAME(roi_larger)(a, b) : a + b; }

INLINE VEC NAME(roi_start)(const int maximum) {
    return maximum ? NAME(splat)(-(REAL)__builtin_inf()) : (VEC){0};
}

/* A row of the map reduced to columns of bins: h[bin][vector]. `even` taps a bin where that is not 0. */
INLINE void NAME(roi_reduce)(const NAME(roi_axis) *w, const REAL *row, int64_t ld_w, int64_t ld_v, int64_t w0, int64_t w1,
                             const int nv, const int maximum, const int even, REAL *h) {
    for (int64_t o = w0; o < w1; o++, h += nv * LANES) {
        const int64_t begin = even ? o * even : w->begin[o], n = even ? even : w->begin[o + 1] - begin;
        /* a bin without pixels is zero, whatever its rows weigh */
        VEC a = NAME(roi_start)(maximum && n > 0), b = a;
        for (int64_t i = begin; i < begin + n; i++) {
            const REAL *const from = row + w->index[i] * ld_w;
            const REAL weight = w->weight[i];
            a = NAME(roi_joined)(a, NAME(load)(from) * weight, maximum);
            if (nv == 2)
                b = NAME(roi_joined)(b, NAME(load)(from + ld_v) * weight, maximum);
        }
        *(VEC *)h = a;
        if (nv == 2)
            *(VEC *)(h + LANES) = b;
    }
}

INLINE void NAME(roi_columns)(const NAME(roi_axis) *w, const REAL *row, int64_t ld_w, int64_t ld_v, int64_t w0, int64_t w1,
                              const int nv, const int maximum, REAL *h) {
    switch (maximum ? 0 : w->even) {
    case 2: NAME(roi_reduce)(w, row, ld_w, ld_v, w0, w1, nv, maximum, 2, h); break;
    case 3: NAME(roi_reduce)(w, row, ld_w, ld_v, w0, w1, nv, maximum, 3, h); break;
    case 4: NAME(roi_reduce)(w, row, ld_w, ld_v, w0, w1, nv, maximum, 4, h); break;
    default: NAME(roi_reduce)(w, row, ld_w, ld_v, w0, w1, nv, maximum, 0, h); break;
    }
}

/* A row of bins from `even` reduced rows. */
INLINE void NAME(roi_combine)(const REAL *const rows[PC_ROI_EVEN], const REAL *weight, int64_t width, const int nv,
                              const int even, REAL *y, int64_t ld_y) {
    for (int64_t q = 0; q < width; q++)
        for (int v = 0; v < nv; v++) {
            VEC sum = *(const VEC *)(rows[0] + (q * nv + v) * LANES) * weight[0];
            for (int i = 1; i < even; i++)
                sum += *(const VEC *)(rows[i] + (q * nv + v) * LANES) * weight[i];
            *(VEC *)(y + v * ld_y + q * LANES) = sum;
        }
}

/* Rows h0 .. h1 of bins from one plane of the map into y[vector][bin], whose vectors lie ld_y apart. */
INLINE void NAME(roi_plane)(const NAME(roi_box) *box, const NAME(roi_view) *view, pc_roi_part part, int64_t d, const int nv,
                            const int maximum, REAL *kept, REAL *y, int64_t ld_y) {
    const int64_t width = part.w1 - part.w0, pitch = width * nv * LANES, even = maximum ? 0 : box->h.even;
    int64_t have[PC_ROI_KEPT];
    for (int i = 0; i < PC_ROI_KEPT; i++)
        have[i] = -1;
    int next = 0;
    for (int64_t o = part.h0; o < part.h1; o++, y += width * LANES) {
        const int64_t begin = box->h.begin[o], end = box->h.begin[o + 1];
        const REAL *rows[PC_ROI_EVEN];
        if (begin == end)
            for (int64_t q = 0; q < width; q++)
                for (int v = 0; v < nv; v++)
                    *(VEC *)(y + v * ld_y + q * LANES) = (VEC){0};
        for (int64_t i = begin; i < end; i++) {
            const int64_t row = box->h.index[i];
            int slot = 0;
            while (slot < PC_ROI_KEPT && have[slot] != row)
                slot++;
            if (slot == PC_ROI_KEPT) {
                slot = next;
                next = (next + 1) % PC_ROI_KEPT;
                have[slot] = row;
                NAME(roi_columns)(&box->w, NAME(roi_row)(view, d, row), view->ld_w, view->ld_v, part.w0, part.w1, nv,
                                  maximum, kept + slot * pitch);
            }
            const REAL *const h = kept + slot * pitch;
            if (even) {
                rows[i - begin] = h;
                continue;
            }
            const REAL weight = box->h.weight[i];
            for (int64_t q = 0; q < width; q++)
                for (int v = 0; v < nv; v++) {
                    const VEC value = *(const VEC *)(h + (q * nv + v) * LANES) * weight;
                    VEC *const to = (VEC *)(y + v * ld_y + q * LANES);
                    *to = i == begin ? value : NAME(roi_joined)(*to, value, maximum);
                }
        }
        const REAL *const weights = box->h.weight + begin;
        switch (even) {
        case 1: NAME(roi_combine)(rows, weights, width, nv, 1, y, ld_y); break;
        case 2: NAME(roi_combine)(rows, weights, width, nv, 2, y, ld_y); break;
        case 3: NAME(roi_combine)(rows, weights, width, nv, 3, y, ld_y); break;
        case 4: NAME(roi_combine)(rows, weights, width, nv, 4, y, ld_y); break;
        default: break;
        }
    }
}

/* Bins where a sample is missing are at least zero: there the map is zero. */
INLINE void NAME(roi_missing)(const NAME(roi_box) *box, pc_roi_part part, const int nv, REAL *y, int64_t ld_y) {
    for (int64_t d = part.d0; d < part.d1; d++)
        for (int64_t h = part.h0; h < part.h1; h++)
            for (int64_t w = part.w0; w < part.w1; w++, y += LANES)
                if (box->d.zero[d] | box->h.zero[h] | box->w.zero[w])
                    for (int v = 0; v < nv; v++) {
                        VEC *const to = (VEC *)(y + v * ld_y);
                        *to = NAME(roi_larger)(*to, (VEC){0});
                    }
}

/* Means and maxima of pixels: y[vector][bin] of a part of a box. */
INLINE void NAME(roi_bins)(const pc_roi *p, const NAME(roi_box) *box, const NAME(roi_view) *view, pc_roi_part part,
                           const int nv, const int maximum, REAL *cache, REAL *y) {
    const int64_t plane = (part.h1 - part.h0) * (part.w1 - part.w0), ld_y = (part.d1 - part.d0) * plane * LANES;
    if (p->rank == 2) {
        NAME(roi_plane)(box, view, part, 0, nv, maximum, cache, y, ld_y);
    } else {
        REAL *const kept = cache + PC_ROI_KEPT * (part.w1 - part.w0) * nv * LANES;
        int64_t have[PC_ROI_KEPT];
        for (int i = 0; i < PC_ROI_KEPT; i++)
            have[i] = -1;
        int next = 0;
        REAL *to = y;
        for (int64_t o = part.d0; o < part.d1; o++, to += plane * LANES) {
            const int64_t begin = box->d.begin[o], end = box->d.begin[o + 1];
            if (begin == end)
                for (int64_t q = 0; q < plane; q++)
                    for (int v = 0; v < nv; v++)
                        *(VEC *)(to + v * ld_y + q * LANES) = (VEC){0};
            for (int64_t i = begin; i < end; i++) {
                const int64_t d = box->d.index[i];
                int slot = 0;
                while (slot < PC_ROI_KEPT && have[slot] != d)
                    slot++;
                if (slot == PC_ROI_KEPT) {
                    slot = next;
                    next = (next + 1) % PC_ROI_KEPT;
                    have[slot] = d;
                    NAME(roi_plane)(box, view, part, d, nv, maximum, cache, kept + slot * plane * nv * LANES,
                                    plane * LANES);
                }
                const REAL *const from = kept + slot * plane * nv * LANES;
                const REAL weight = box->d.weight[i];
                for (int v = 0; v < nv; v++)
                    for (int64_t q = 0; q < plane; q++) {
                        const VEC value = *(const VEC *)(from + (v * plane + q) * LANES) * weight;
                        VEC *const at = (VEC *)(to + v * ld_y + q * LANES);
                        *at = i == begin ? value : NAME(roi_joined)(*at, value, maximum);
                    }
            }
        }
    }
    if (maximum)
        NAME(roi_missing)(box, part, nv, y, ld_y);
}

/* One sample: the pixels i and i + 1 of each axis' taps. */
INLINE VEC NAME(roi_sample)(const NAME(roi_box) *box, const NAME(roi_view) *view, int64_t d, int64_t h, int64_t w,
                            int planes) {
    VEC value = {0};
    for (int a = 0; a < planes; a++)
        for (int b = 0; b < 2; b++) {
            const REAL *const row = view->pixels + box->d.index[d + a] * view->ld_d + box->h.index[h + b] * view->ld_h;
            const VEC columns = NAME(load)(row + box->w.index[w] * view->ld_w) * box->w.weight[w] +
                                NAME(load)(row + box->w.index[w + 1] * view->ld_w) * box->w.weight[w + 1];
            value += columns * (box->d.weight[d + a] * box->h.weight[h + b]);
        }
    return value;
}

/* Maxima of samples. */
static __attribute__((noinline)) void NAME(roi_samples)(const pc_roi *p, const NAME(roi_box) *box,
                                                        const NAME(roi_view) *view, pc_roi_part part, REAL *y) {
    const int planes = p->rank == 3 ? 2 : 1;
    REAL *to = y;
    for (int64_t od = part.d0; od < part.d1; od++)
        for (int64_t oh = part.h0; oh < part.h1; oh++)
            for (int64_t ow = part.w0; ow < part.w1; ow++, to += LANES) {
                VEC best = NAME(roi_start)(1);
                for (int64_t d = box->d.begin[od]; d < box->d.begin[od + 1]; d += 2)
                    for (int64_t h = box->h.begin[oh]; h < box->h.begin[oh + 1]; h += 2)
                        for (int64_t w = box->w.begin[ow]; w < box->w.begin[ow + 1]; w += 2)
                            best = NAME(roi_larger)(best, NAME(roi_sample)(box, view, d, h, w, planes));
                *(VEC *)to = best;
            }
    NAME(roi_missing)(box, part, 1, y, 0);
}

/* Means and maxima for one and two vectors. */
static __attribute__((noinline)) void NAME(roi_compute)(const pc_roi *p, const NAME(roi_box) *box,
                                                        const NAME(roi_view) *view, pc_roi_part part, REAL *cache,
                                                        REAL *y) {
    if (p->join == PC_ROI_MAX_SAMPLE)
        NAME(roi_samples)(p, box, view, part, y);
    else if (p->join == PC_ROI_MAX_PIXEL && p->vectors == 2)
        NAME(roi_bins)(p, box, view, part, 2, 1, cache, y);
    else if (p->join == PC_ROI_MAX_PIXEL)
        NAME(roi_bins)(p, box, view, part, 1, 1, cache, y);
    else if (p->vectors == 2)
        NAME(roi_bins)(p, box, view, part, 2, 0, cache, y);
    else
        NAME(roi_bins)(p, box, view, part, 1, 0, cache, y);
}

#endif

typedef struct STORED(roi_job) {
    const pc_roi *p;
    const pc_roi_arrays *arrays;
    pc_roi_shared shared;
    int role;
} STORED(roi_job);

/* Channels c0 .. c0 + n of a slice, of one image of an array of maps. */
typedef struct STORED(roi_source) {
    const pc_roi *p;
    const STORAGE *x;
    const pc_ld *ld;
    int64_t n;
} STORED(roi_source);

INLINE STORED(roi_source) STORED(roi_source_of)(const pc_roi *p, const void *x, const pc_ld *ld, int64_t image,
                                                int64_t block, int64_t slice) {
    const int64_t c0 = block * p->vectors * LANES, n = pc_min(p->vectors * LANES, p->c - c0);
    return (STORED(roi_source)){p, (const STORAGE *)x + image * ld->n + (c0 * p->slices + slice) * ld->c, ld, n};
}

/* Some pixels of all vectors of the block. */
static void STORED(roi_load_block)(const STORED(roi_source) *s, const STORAGE *src, int64_t n, REAL *dst, int64_t ld_v) {
    const int64_t ld_c = s->ld->c * s->p->slices;
    for (int64_t c = 0, v = 0; c < s->n; c += LANES, v++)
        STORED(lanes_load)(src + c * ld_c, ld_c, s->ld->w, pc_min(LANES, s->n - c), n, dst + v * ld_v);
}

static const REAL *STORED(roi_turn_row)(const void *source, int64_t d, int64_t h, int64_t first, int64_t n, REAL *row,
                                        int64_t ld_v) {
    const STORED(roi_source) *s = source;
    STORED(roi_load_block)(s, s->x + d * s->ld->d + h * s->ld->h + first * s->ld->w, n, row, ld_v);
    return row - first * LANES;
}

/* The whole map, plane by plane, as one run of pixels where it is one. */
static __attribute__((noinline)) void STORED(roi_turn_map)(const STORED(roi_source) *s, REAL *map, int64_t ld_v) {
    const pc_roi *p = s->p;
    const int64_t depth = p->d.in, height = p->h.in, width = p->w.in;
    const int planes = height == 1 || s->ld->h == width * s->ld->w;
    const int one = planes && (depth == 1 || s->ld->d == height * width * s->ld->w);
    if (one) {
        STORED(roi_load_block)(s, s->x, depth * height * width, map, ld_v);
        return;
    }
    for (int64_t d = 0; d < depth; d++)
        for (int64_t h = 0; h < height; h += planes ? height : 1)
            STORED(roi_load_block)(s, s->x + d * s->ld->d + h * s->ld->h, planes ? height * width : width,
                                   map + (d * height + h) * width * LANES, ld_v);
}

INLINE NAME(roi_view) STORED(roi_map_view)(const pc_roi *p, const REAL *map) {
    const int64_t row = p->w.in * LANES, plane = p->h.in * row;
    return (NAME(roi_view)){.pixels = map, .ld_d = plane, .ld_h = row, .ld_w = LANES, .ld_v = p->d.in * plane};
}

static void STORED(roi_forward_task)(void *ctx, int64_t task, int worker) {
    const STORED(roi_job) *job = ctx;
    const pc_roi *p = job->p;
    const pc_roi_arrays *arrays = job->arrays;
    char *const scratch = arrays->scratch + p->shared_bytes + worker * p->scratch_bytes;
    pc_roi_held *const held = (pc_roi_held *)scratch;
    void *const table = scratch + 64;
    REAL *const y = (REAL *)(scratch + 64 + (p->n_tables ? 0 : p->table_bytes));
    REAL *const cache = y + p->bins_elems, *const row = cache + p->cache_elems, *const map = row + p->row_elems;
    const int64_t chunk = task % p->n_chunks, slice = task / p->n_chunks % p->slices;
    const int64_t block = task / p->n_chunks / p->slices;
    const pc_roi_part part = pc_roi_part_of(p, slice);
    const int64_t bins = (part.d1 - part.d0) * (part.h1 - part.h0) * (part.w1 - part.w0);
    const int64_t first = ((part.d0 * p->h.out) + part.h0) * p->w.out + part.w0;
    const int64_t end = pc_min(job->shared.first[p->n], (chunk + 1) * p->chunk);
    const int one_run = p->ld_out.h == p->w.out * p->ld_out.w && p->ld_out.d == p->h.out * p->ld_out.h;
    STORED(roi_source) source = {0};
    NAME(roi_view) view = {0};
    int64_t image = -1;
    for (int64_t i = chunk * p->chunk; i < end; i++) {
        const int64_t k = job->shared.order[i];
        const NAME(roi_box) box = NAME(roi_box_of)(p, PC_ROI_FORWARD, arrays->boxes, job->shared, k, table);
        if (box.image != image) {
            image = box.image;
            source = STORED(roi_source_of)(p, arrays->x, &p->ld_x, image, block, slice);
            const int direct = !PC_WIDENED && p->ld_x.c * p->slices == 1 && source.n == p->vectors * LANES;
            if (direct) {
                view = (NAME(roi_view)){.pixels = (const REAL *)source.x, .ld_d = p->ld_x.d, .ld_h = p->ld_x.h,
                                        .ld_w = p->ld_x.w, .ld_v = LANES};
            } else if (job->shared.whole[image]) {
                view = STORED(roi_map_view)(p, map);
                if (held->image != image || held->block != block || held->slice != slice)
                    STORED(roi_turn_map)(&source, map, view.ld_v);
                *held = (pc_roi_held){image, block, slice};
            } else {
                view = (NAME(roi_view)){.ld_w = LANES, .ld_v = p->w.in * LANES, .row = row,
                                        .turn = STORED(roi_turn_row), .source = &source};
            }
        }
        view.first = box.first_w;
        view.n = box.last_w - box.first_w + 1;
        NAME(roi_compute)(p, &box, &view, part, cache, y);
        STORAGE *const out = (STORAGE *)arrays->out + k * p->ld_out.n + block * p->vectors * LANES * p->ld_out.c;
        for (int64_t c = 0, v = 0; c < source.n; c += LANES, v++) {
            const int64_t n_lanes = pc_min(LANES, source.n - c);
            STORAGE *const to = out + c * p->ld_out.c;
            const REAL *const from = y + v * bins * LANES;
            if (bins == 1 || one_run) {
                const int64_t at = bins == 1 ? part.d0 * p->ld_out.d + part.h0 * p->ld_out.h + part.w0 * p->ld_out.w
                                             : first * p->ld_out.w;
                STORED(lanes_save)(from, p->ld_out.c, p->ld_out.w, n_lanes, bins, to + at);
                continue;
            }
            for (int64_t r = 0; r < p->d.out * p->h.out; r++)
                STORED(lanes_save)(from + r * p->w.out * LANES, p->ld_out.c, p->ld_out.w, n_lanes, p->w.out,
                                 to + r / p->h.out * p->ld_out.d + r % p->h.out * p->ld_out.h);
        }
    }
}

enum { STORED(roi_tables_of_a_task) = 16 };

static void STORED(roi_table_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(roi_job) *job = ctx;
    const pc_roi *p = job->p;
    const int64_t step = STORED(roi_tables_of_a_task), end = pc_min(p->boxes, (task + 1) * step);
    for (int64_t k = task * step; k < end; k++)
        if (job->arrays->boxes[k * (1 + 2 * p->rank)] >= 0)
            pc_roi_make_table(p, job->role, sizeof(REAL), job->arrays->boxes + k * (1 + 2 * p->rank),
                              job->shared.tables + k * p->table_bytes);
}

/* Boxes by images, and their tables. */
static void STORED(roi_begin)(STORED(roi_job) *job, int threads) {
    const pc_roi *p = job->p;
    pc_roi_sort(p, job->arrays->boxes, job->shared);
    if (p->n_tables)
        pc_parallel(STORED(roi_table_task), job, pc_ceil_div(p->boxes, STORED(roi_tables_of_a_task)), threads);
    for (int t = 0; t < threads; t++)
        *(pc_roi_held *)(job->arrays->scratch + p->shared_bytes + t * p->scratch_bytes) = (pc_roi_held){-1, -1, -1};
}

/* Whether an image's map is turned at once: its boxes read more LANES x LANES tiles of it, row by row. */
static void STORED(roi_choose_maps)(STORED(roi_job) *job) {
    const pc_roi *p = job->p;
    const int must = p->join == PC_ROI_MAX_SAMPLE || (p->whole && !p->n_tables);
    const int64_t tiles = p->d.in * p->h.in * pc_ceil_div(p->w.in, LANES);
    for (int64_t image = 0; image < p->n; image++) {
        int64_t read = 0;
        for (int64_t i = job->shared.first[image]; p->n_tables && i < job->shared.first[image + 1]; i++) {
            const pc_roi_head *head = (const pc_roi_head *)(job->shared.tables + job->shared.order[i] * p->table_bytes);
            int64_t rows = 1;
            const pc_roi_axis *axes[2] = {&p->d, &p->h};
            for (int a = 0; a < 2; a++)
                rows *= pc_max(0, pc_min(axes[a]->taps, head->last[a] - head->first[a] + 1));
            read += rows * pc_max(0, pc_ceil_div(head->last[2] - head->first[2] + 1, LANES));
        }
        job->shared.whole[image] = must || (p->whole && read > tiles);
    }
}

static void STORED(roi_separable_run)(const pc_roi *p, const pc_roi_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(roi_separable, DTYPE, PC_ISA)));
    STORED(roi_job) job = {p, arrays, pc_roi_shared_of(p, arrays->scratch), PC_ROI_FORWARD};
    STORED(roi_begin)(&job, threads);
    STORED(roi_choose_maps)(&job);
    pc_parallel(STORED(roi_forward_task), &job, p->n_blocks * p->slices * p->n_chunks, threads);
}
