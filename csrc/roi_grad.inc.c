/* roi_scatter: the gradients of roi_separable with respect to the maps.
 *
 *   grad[n, c, i] = sum over the boxes k of image n, their bins o and samples s of  w[s, i] g[k, c, o]
 *
 * A task owns some rows of one image's map for a block of channels, and goes through the boxes of that image in their
 * order: nobody else writes there, so no atomics, and every sum has one order whatever the number of threads. Channels
 * are in the lanes; the rows lie in scratch as pixels of LANES channels and are turned once at the end.
 *
 * A mean's gradient is separable as the mean is: the taps are ordered by pixels ("lines"), a line of rows gathers the
 * bins that it belongs to, a pixel of the row gathers those, and is added to once. A maximum's gradient goes to the
 * pixels of the sample, or to the pixel, that is the maximum: these are looked for again, the first of equal ones, the
 * last NaN, nothing where a sample outside the map, which is zero, is as large.
 *
 * Errors: (boxes + bins of a row and column + 4) eps of the sum of magnitudes. */

#if !PC_WIDENED

/* The gradient of a box's means, rows r0 .. r1 of the map (planes and rows counted together). g[vector][bin]. */
INLINE void NAME(roi_spread)(const pc_roi *p, const NAME(roi_box) *box, const REAL *g, int64_t r0, int64_t r1, const int nv,
                             REAL *tmp, REAL *map, int64_t ld_v) {
    const int64_t width = p->w.out, plane = p->h.out * width, bins = p->d.out * plane;
    REAL *const t1 = tmp, *const t2 = tmp + nv * width * LANES;
    for (int64_t ld = 0; ld < box->d.lines; ld++) {
        const int64_t d = box->d.line[ld];
        if ((d + 1) * p->h.in <= r0 || d * p->h.in >= r1)
            continue;
        const REAL *from = g;
        int64_t ld_g = bins * LANES;
        if (p->rank == 3) {
            for (int v = 0; v < nv; v++)
                for (int64_t q = 0; q < plane; q++) {
                    VEC sum = {0};
                    for (int64_t i = box->d.line_begin[ld]; i < box->d.line_begin[ld + 1]; i++)
                        sum += *(const VEC *)(g + (v * bins + box->d.line_bin[i] * plane + q) * LANES) *
                               box->d.line_weight[i];
                    *(VEC *)(t2 + (v * plane + q) * LANES) = sum;
                }
            from = t2;
            ld_g = plane * LANES;
        }
        for (int64_t lh = 0; lh < box->h.lines; lh++) {
            const int64_t r = d * p->h.in + box->h.line[lh];
            if (r < r0 || r >= r1)
                continue;
            for (int64_t q = 0; q < width; q++)
                for (int v = 0; v < nv; v++) {
                    VEC sum = {0};
                    for (int64_t i = box->h.line_begin[lh]; i < box->h.line_begin[lh + 1]; i++)
                        sum += *(const VEC *)(from + v * ld_g + (box->h.line_bin[i] * width + q) * LANES) *
                               box->h.line_weight[i];
                    *(VEC *)(t1 + (q * nv + v) * LANES) = sum;
                }
            REAL *const row = map + (r - r0) * p->w.in * LANES;
            for (int64_t lw = 0; lw < box->w.lines; lw++) {
                REAL *const pixel = row + box->w.line[lw] * LANES;
                VEC a = {0}, b = a;
                for (int64_t i = box->w.line_begin[lw]; i < box->w.line_begin[lw + 1]; i++) {
                    const REAL *const t = t1 + box->w.line_bin[i] * nv * LANES;
                    const REAL weight = box->w.line_weight[i];
                    a += *(const VEC *)t * weight;
                    if (nv == 2)
                        b += *(const VEC *)(t + LANES) * weight;
                }
                *(VEC *)pixel += a;
                if (nv == 2)
                    *(VEC *)(pixel + ld_v) += b;
            }
        }
    }
}

/* The same of one bin. */
INLINE void NAME(roi_spread_bin)(const pc_roi *p, const NAME(roi_box) *box, pc_roi_part part, const REAL *g, int64_t r0,
                                 int64_t r1, const int nv, REAL *map, int64_t ld_v) {
    for (int64_t i = box->d.begin[part.d0]; i < box->d.begin[part.d1]; i++)
        for (int64_t j = box->h.begin[part.h0]; j < box->h.begin[part.h1]; j++) {
            const int64_t r = box->d.index[i] * p->h.in + box->h.index[j];
            if (r < r0 || r >= r1)
                continue;
            const REAL weight = box->d.weight[i] * box->h.weight[j];
            for (int64_t l = box->w.begin[part.w0]; l < box->w.begin[part.w1]; l++)
                for (int v = 0; v < nv; v++) {
                    REAL *const pixel = map + v * ld_v + ((r - r0) * p->w.in + box->w.index[l]) * LANES;
                    *(VEC *)pixel += *(const VEC *)(g + v * LANES) * (weight * box->w.weight[l]);
                }
        }
}

/* The gradient of a box's maxima: which sample or pixel is one, by its number among all of the box, and its share. */
static __attribute__((noinline)) void NAME(roi_spread_max)(const pc_roi *p, const NAME(roi_box) *box,
                                                           const NAME(roi_view) *view, const REAL *g, int64_t r0,
                                                           int64_t r1, REAL *map) {
    const int samples = p->join == PC_ROI_MAX_SAMPLE, step = samples ? 2 : 1, planes = p->rank == 3 ? 2 : 1;
    const int64_t n_h = box->h.begin[p->h.out], n_w = box->w.begin[p->w.out];
    for (int64_t od = 0; od < p->d.out; od++)
        for (int64_t oh = 0; oh < p->h.out; oh++)
            for (int64_t ow = 0; ow < p->w.out; ow++, g += LANES) {
                const int zero = box->d.zero[od] | box->h.zero[oh] | box->w.zero[ow];
                VEC best = zero ? (VEC){0} : NAME(roi_start)(1);
                MASK at = (MASK){0} - 1;
                int none = !zero;
                for (int64_t d = box->d.begin[od]; d < box->d.begin[od + 1]; d += step)
                    for (int64_t h = box->h.begin[oh]; h < box->h.begin[oh + 1]; h += step)
                        for (int64_t w = box->w.begin[ow]; w < box->w.begin[ow + 1]; w += step) {
                            VEC value;
                            if (samples)
                                value = NAME(roi_sample)(box, view, d, h, w, planes);
                            else
                                value = NAME(load)(view->pixels + box->d.index[d] * view->ld_d +
                                                   box->h.index[h] * view->ld_h + box->w.index[w] * view->ld_w) *
                                        (box->d.weight[d] * box->h.weight[h] * box->w.weight[w]);
                            const MASK take = none ? ~(MASK){0} : (MASK)(value > best) | (MASK)(value != value);
                            none = 0;
                            best = NAME(select)(take, value, best);
                            at = (MASK)NAME(select)(take, (VEC)((MASK){0} + (INTEGER)((d * n_h + h) * n_w + w)), (VEC)at);
                        }
                for (int l = 0; l < LANES; l++) {
                    if (at[l] < 0)
                        continue;
                    const int64_t w = at[l] % n_w, h = at[l] / n_w % n_h, d = at[l] / n_w / n_h;
                    for (int a = 0; a < (samples ? planes : 1); a++)
                        for (int b = 0; b < step; b++) {
                            const int64_t r = box->d.index[d + a] * p->h.in + box->h.index[h + b];
                            if (r < r0 || r >= r1)
                                continue;
                            for (int e = 0; e < step; e++)
                                map[((r - r0) * p->w.in + box->w.index[w + e]) * LANES + l] +=
                                    g[l] * (box->d.weight[d + a] * box->h.weight[h + b] * box->w.weight[w + e]);
                        }
                }
            }
}

static __attribute__((noinline)) void NAME(roi_add)(const pc_roi *p, const NAME(roi_box) *box, const NAME(roi_view) *view,
                                                    pc_roi_part part, const REAL *g, int64_t r0, int64_t r1, REAL *tmp,
                                                    REAL *map, int64_t ld_v) {
    if (p->join != PC_ROI_MEAN)
        NAME(roi_spread_max)(p, box, view, g, r0, r1, map);
    else if (p->slices > 1 && p->vectors == 2)
        NAME(roi_spread_bin)(p, box, part, g, r0, r1, 2, map, ld_v);
    else if (p->slices > 1)
        NAME(roi_spread_bin)(p, box, part, g, r0, r1, 1, map, ld_v);
    else if (p->vectors == 2)
        NAME(roi_spread)(p, box, g, r0, r1, 2, tmp, map, ld_v);
    else
        NAME(roi_spread)(p, box, g, r0, r1, 1, tmp, map, ld_v);
}

#endif

static void STORED(roi_gradient_task)(void *ctx, int64_t task, int worker) {
    const STORED(roi_job) *job = ctx;
    const pc_roi *p = job->p;
    const pc_roi_arrays *arrays = job->arrays;
    char *const scratch = arrays->scratch + p->shared_bytes + worker * p->scratch_bytes;
    pc_roi_held *const held = (pc_roi_held *)scratch;
    void *const table = scratch + 64;
    REAL *const g = (REAL *)(scratch + 64 + (p->n_tables ? 0 : p->table_bytes));
    const int64_t band = task % p->n_bands, slice = task / p->n_bands % p->slices;
    const int64_t block = task / p->n_bands / p->slices % p->n_blocks, image = task / p->n_bands / p->slices / p->n_blocks;
    const int64_t r0 = band * p->band, r1 = pc_min(p->d.in * p->h.in, r0 + p->band);
    const int64_t row = p->w.in * LANES, ld_v = p->band * row;
    REAL *const tmp = g + p->bins_elems, *const map = tmp + p->cache_elems, *const forward = map + p->vectors * ld_v;
    const pc_roi_part part = pc_roi_part_of(p, slice);
    const int64_t bins = (part.d1 - part.d0) * (part.h1 - part.h0) * (part.w1 - part.w0);
    const int64_t first = part.d0 * p->ld_out.d + part.h0 * p->ld_out.h + part.w0 * p->ld_out.w;
    const int one_run = p->ld_out.h == p->w.out * p->ld_out.w && p->ld_out.d == p->h.out * p->ld_out.h;
    const STORED(roi_source) target = STORED(roi_source_of)(p, arrays->x, &p->ld_x, image, block, slice);
    for (int64_t v = 0; v < p->vectors; v++)
        NAME(clear_over)(map + v * ld_v, (r1 - r0) * row);
    const int64_t begin = job->shared.first[image], end = job->shared.first[image + 1];
    NAME(roi_view) view = {0};
    if (p->join != PC_ROI_MEAN) {
        view = STORED(roi_map_view)(p, forward);
        if (begin < end && (held->image != image || held->block != block)) {
            const STORED(roi_source) source = STORED(roi_source_of)(p, arrays->forward, &p->ld_forward, image, block, 0);
            STORED(roi_turn_map)(&source, forward, view.ld_v);
            *held = (pc_roi_held){image, block, 0};
        }
    }
    for (int64_t i = begin; i < end; i++) {
        const int64_t k = job->shared.order[i];
        if (p->n_tables) {
            const pc_roi_head *head = (const pc_roi_head *)(job->shared.tables + k * p->table_bytes);
            if (head->last[0] * p->h.in + head->last[1] < r0 || head->first[0] * p->h.in + head->first[1] >= r1)
                continue;
        }
        const NAME(roi_box) box = NAME(roi_box_of)(p, PC_ROI_GRADIENT, arrays->boxes, job->shared, k, table);
        const STORAGE *const out = (const STORAGE *)arrays->out + k * p->ld_out.n +
                                   block * p->vectors * LANES * p->ld_out.c + first;
        for (int64_t c = 0, v = 0; c < target.n; c += LANES, v++) {
            const STORAGE *const from = out + c * p->ld_out.c;
            const int64_t n_lanes = pc_min(LANES, target.n - c);
            REAL *const to = g + v * bins * LANES;
            if (bins == 1 || one_run) {
                STORED(lanes_load)(from, p->ld_out.c, p->ld_out.w, n_lanes, bins, to);
                continue;
            }
            for (int64_t r = 0; r < p->d.out * p->h.out; r++)
                STORED(lanes_load)(from + r / p->h.out * p->ld_out.d + r % p->h.out * p->ld_out.h, p->ld_out.c, p->ld_out.w,
                                 n_lanes, p->w.out, to + r * p->w.out * LANES);
        }
        NAME(roi_add)(p, &box, &view, part, g, r0, r1, tmp, map, ld_v);
    }
    const int64_t ld_c = p->ld_x.c * p->slices;
    const int rows_in_order = p->ld_x.h == p->w.in * p->ld_x.w && (p->d.in == 1 || p->ld_x.d == p->h.in * p->ld_x.h);
    for (int64_t c = 0, v = 0; c < target.n; c += LANES, v++) {
        STORAGE *const to = (STORAGE *)arrays->x + (target.x - (const STORAGE *)arrays->x) + c * ld_c;
        const REAL *const from = map + v * ld_v;
        const int64_t n_lanes = pc_min(LANES, target.n - c);
        if (rows_in_order) {
            STORED(lanes_save)(from, ld_c, p->ld_x.w, n_lanes, (r1 - r0) * p->w.in, to + r0 * p->ld_x.h);
            continue;
        }
        for (int64_t r = r0; r < r1; r++)
            STORED(lanes_save)(from + (r - r0) * row, ld_c, p->ld_x.w, n_lanes, p->w.in,
                             to + r / p->h.in * p->ld_x.d + r % p->h.in * p->ld_x.h);
    }
}

static void STORED(roi_scatter_run)(const pc_roi *p, const pc_roi_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(roi_scatter, DTYPE, PC_ISA)));
    STORED(roi_job) job = {p, arrays, pc_roi_shared_of(p, arrays->scratch), PC_ROI_GRADIENT};
    STORED(roi_begin)(&job, threads);
    pc_parallel(STORED(roi_gradient_task), &job, p->n * p->n_blocks * p->slices * p->n_bands, threads);
}
