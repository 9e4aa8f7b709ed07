/* deform_outer, deform_scatter and deform_slopes: the gradients of deform_sampled with respect to the weights, to x, and to
 * offset and mask.
 *
 *   dW[o, c, a]    = sum over n, p of  g[n, o, p] sample[n, c, a, p]
 *   dcol[c, a, p]  = sum over o of  w[o, c, a] g[n, o, p]
 *   dx[n, c, i]    = sum over a, p of  m[a, p] B(at[a, p] - i) dcol[c, a, p]          B the bilinear hat
 *   dm[a, p]       = sum over c of  x(at[a, p]) dcol[c, a, p]
 *   doffset[a, p]  = m[a, p] sum over c of  x'(at[a, p]) dcol[c, a, p]                x' between pixels, to the right on them
 *
 * dcol is the product of deform_sampled with weights and columns changed: pixels of LANES output channels are broadcast,
 * taps of LANES input channels are in the lanes. It exists for a strip of pixels and a chunk of channels only.
 *
 * outer: a task is a chunk of channels and a part of the strips. The samples of a strip, [panel of taps][pixel][channel],
 *   are the right operand of a product over its pixels whose left one is g[output channel][pixel]; sums stay in shared
 *   memory, one array a part, and are added in the order of the parts.
 * scatter: a task is an image, a chunk of channels and a band of rows of dx, which lies in scratch as pixels of LANES
 *   channels. It goes through all strips, leaves out those that have no sample on the band, and adds four pixels for each
 *   sample: nobody else writes there.
 * slopes: a task is an image, an offset group and a strip. Sums over the channels of the group of dcol times each of a
 *   sample's four pixels give all three gradients, with factors that are the same for all channels.
 *
 * flops: 2 c_out c_in kh kw a pixel each, and 8 to 16 c_in kh kw for samples. Errors: (n pixels + 10) eps of the sum of
 * |g| times the samples' magnitudes for dW; (c_out + samples of a pixel + 10) eps and (c_out + c_in + 16) eps for the
 * others. */

#if !PC_WIDENED

static int64_t NAME(deform_pack_nothing)(const pc_deform *p, const void *w, void *packed) {
    (void)p;
    (void)w;
    (void)packed;
    return 0;
}

static void NAME(deform_pack_chunk)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(deform_weights) *job = ctx;
    const pc_conv *c = &job->p->conv;
    const int64_t taps = pc_deform_taps(job->p), k_all = c->c_in * taps, c_out = pc_round_up(c->c_out, LANES);
    const int64_t all = c->groups * c->c_in, each = all / job->p->offset_groups;
    int64_t c0 = 0, depth = 0;
    for (int64_t i = 0; i <= task; i++) {
        c0 += depth;
        depth = pc_min(pc_min(LANES, c->c_in - c0 % c->c_in), each - c0 % each);
    }
    const REAL *const from = job->w + c0 / c->c_in * c->c_out * k_all + c0 % c->c_in * taps;
    REAL *to = job->packed + task * taps * c_out * LANES;
    const pc_panels panels = pc_panels_of(taps, PC_VECTORS);
    for (int64_t q = 0; q < panels.n; q++)
        for (int64_t o = 0; o < c_out; o++)
            for (int64_t v = 0; v < pc_panel_rows(panels, q); v++, to += LANES)
                for (int64_t i = 0; i < LANES; i++)
                    to[i] = o < c->c_out && i < depth ? from[o * k_all + i * taps + pc_panel_start(panels, q) + v] : 0;
}

/* Weights (groups * c_out, c_in, taps) -> [chunk][panel of taps][output channel][tap][channel of the chunk]; output channels
 * up to whole vectors, and channels beyond the chunk, are zero. */
static int64_t NAME(deform_pack_turned)(const pc_deform *p, const void *w, void *packed) {
    const int64_t n = pc_deform_cut(p, LANES, NULL);
    if (packed) {
        NAME(deform_weights) job = {p, w, packed};
        pc_parallel(NAME(deform_pack_chunk), &job, n, (int)p->conv.threads);
    }
    return n * pc_deform_taps(p) * pc_round_up(p->conv.c_out, LANES) * LANES;
}

/* sums[i] = the lanes of v[i] added up, for a whole number of LANES vectors. */
static __attribute__((noinline)) void NAME(deform_add_lanes)(const REAL *v, int64_t n, REAL *sums) {
    for (int64_t i = 0; i < n; i += LANES, v += LANES * LANES) {
        VEC t[LANES];
#pragma GCC unroll 16
        for (int j = 0; j < LANES; j++)
            t[j] = *(const VEC *)(v + j * LANES);
        NAME(transpose)(t);
#pragma GCC unroll 8
        for (int step = LANES / 2; step > 0; step /= 2)
            for (int j = 0; j < step; j++)
                t[j] += t[j + step];
        *(VEC *)(sums + i) = t[0];
    }
}

/* Adds dcol times its weight to the four pixels of each sample of a tap, where they lie in places [from, to) of the map. */
static __attribute__((noinline)) void NAME(deform_add)(NAME(deform_tap) t, int64_t pixels, const REAL *dcol, INTEGER from,
                                                       INTEGER to, REAL *map) {
    for (int64_t i = 0; i < pixels; i++, dcol += LANES) {
        if (t.at[0][i] == PC_OUTSIDE)
            continue;
        const VEC v = *(const VEC *)dcol;
        for (int j = 0; j < 4; j++) {
            const INTEGER at = t.at[j][i];
            if (at >= from && at < to)
                *(VEC *)(map + at - from) += v * t.weight[j][i];
        }
    }
}

/* The gradients of one tap's offsets and mask, into mem->h and w (as REAL) and mem->m, from mem->dy, dx and m, and the sums
 * over channels of dcol times a sample's pixels, [4][pitch]. */
static __attribute__((noinline)) void NAME(deform_slope)(const pc_deform *p, const NAME(deform_memory) *mem, int64_t tap,
                                                         const REAL *sums, REAL *d_h, REAL *d_w, REAL *d_m) {
    const pc_conv *c = &p->conv;
    const INTEGER down = (INTEGER)(tap / c->w.k * c->h.dilation), right = (INTEGER)(tap % c->w.k * c->w.dilation);
    const VEC zero = {0};
    for (int64_t i = 0; i < p->pitch; i += LANES) {
        const NAME(deform_axis) h = NAME(deform_axis_of)(NAME(load)(mem->dy + i), NAME(deform_integers)(mem->h + i) + down,
                                                         (INTEGER)c->h.in);
        const NAME(deform_axis) w = NAME(deform_axis_of)(NAME(load)(mem->dx + i),
                                                         NAME(deform_integers)(mem->w + i) + right, (INTEGER)c->w.in);
        const VEC m = p->has_mask ? NAME(load)(mem->m + i) : NAME(splat)(1);
        const MASK touches = h.touches & w.touches, inside = h.inside & w.inside;
        const MASK top = touches & (MASK)(h.low >= 0), bottom = touches & (MASK)(h.low < (INTEGER)c->h.in - 1);
        const MASK left = (MASK)(w.low >= 0), behind = (MASK)(w.low < (INTEGER)c->w.in - 1);
        const VEC a = NAME(select)(top & left, NAME(load)(sums + i), zero);
        const VEC b = NAME(select)(top & behind, NAME(load)(sums + p->pitch + i), zero);
        const VEC e = NAME(select)(bottom & left, NAME(load)(sums + 2 * p->pitch + i), zero);
        const VEC f = NAME(select)(bottom & behind, NAME(load)(sums + 3 * p->pitch + i), zero);
        const VEC rest_h = 1 - h.fraction, rest_w = 1 - w.fraction;
        const VEC along_h = ((e - a) * rest_w + (f - b) * w.fraction) * m;
        const VEC along_w = ((b - a) * rest_h + (f - e) * h.fraction) * m;
        const VEC value = (a * rest_w + b * w.fraction) * rest_h + (e * rest_w + f * w.fraction) * h.fraction;
        NAME(store)(d_h + i, NAME(select)(touches, along_h, zero));
        NAME(store)(d_w + i, NAME(select)(touches, along_w, zero));
        NAME(store)(d_m + i, NAME(select)(inside, value, zero));
    }
}

#endif

/* ---- weights ---- */

/* g[output channel][pixel] of a strip, zeros up to whole register tiles. */
static void STORED(deform_load_rows)(const STORED(deform_job) *job, const pc_deform_strip *s, int64_t group, REAL *to) {
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const STORAGE *y = (const STORAGE *)job->arrays->y + pc_deform_at(&c->ld_out, s, group * c->c_out);
    const int64_t rows = pc_round_up(c->c_out, PC_ROWS);
    if (c->ld_out.w == 1) {
        for (int64_t o = 0; o < c->c_out; o++)
            STORED(deform_read)(to + o * p->pitch, y + o * c->ld_out.c, 1, s->pixels);
    } else { /* channels are the neighbours, most likely */
        for (int64_t i = 0; i < s->pixels; i++)
            for (int64_t o = 0; o < c->c_out; o++)
                to[o * p->pitch + i] = STORED(get)(y + o * c->ld_out.c + i * c->ld_out.w);
    }
    for (int64_t o = c->c_out; o < rows; o++)
        NAME(clear_over)(to + o * p->pitch, p->pitch);
}

static void STORED(deform_outer_task)(void *ctx, int64_t task, int worker) {
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const int64_t taps = pc_deform_taps(p), rows = pc_round_up(p->conv.c_out, PC_ROWS);
    const NAME(deform_memory) mem = NAME(deform_memory_of)(p, job->scratch + worker * p->scratch_bytes);
    const pc_deform_chunk *chunk = job->chunks + task % p->n_chunks;
    const int64_t part = task / p->n_chunks, strips = job->images * p->lines * p->n_strips;
    REAL *const sums = job->sums + task * p->sum_elems;
    if (job->first_image == 0)
        NAME(clear_over)(sums, p->sum_elems);
    const pc_panels panels = pc_panels_of(taps, PC_VECTORS);
    for (int64_t i = part * strips / p->parts; i < (part + 1) * strips / p->parts; i++) {
        pc_deform_strip s = pc_deform_strip_of(p, i);
        s.n += job->first_image;
        NAME(deform_places)(p, &s, &mem);
        STORED(deform_tabulate)(job, &s, chunk->offset_group, 0, &mem);
        STORED(deform_load_rows)(job, &s, chunk->group, mem.y);
        if (chunk->depth < LANES)
            NAME(clear_over)(mem.col, p->col_elems);
        const pc_run run = {0, 0};
        NAME(implicit_args) t = {.n_runs = 1, .run_length = s.pixels, .runs = &run, .x = mem.y, .ld_y = rows * LANES};
        for (int64_t q = 0; q < panels.n; q++) {
            const int64_t wide = pc_panel_rows(panels, q), first = pc_panel_start(panels, q);
            REAL *const col = mem.col + first * p->strip * LANES;
            for (int64_t v = 0; v < wide; v++)
                STORED(deform_sample_chunks)(job, s.n, chunk, 1, s.pixels, first + v, mem.table, col + v * LANES,
                                             wide * LANES, 0);
            t.w = col;
            t.y = sums + first * rows * LANES;
            NAME(deform_product)(t, rows, p->pitch, wide);
        }
    }
}

/* The parts of one chunk added up, and put where they belong. */
static void STORED(deform_outer_finish)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const int64_t taps = pc_deform_taps(p), rows = pc_round_up(c->c_out, PC_ROWS);
    const pc_deform_chunk *chunk = job->chunks + task;
    REAL *const sums = job->sums + task * p->sum_elems;
    for (int64_t part = 1; part < p->parts; part++) {
        const REAL *more = job->sums + (part * p->n_chunks + task) * p->sum_elems;
        for (int64_t i = 0; i < p->sum_elems; i += LANES)
            *(VEC *)(sums + i) += *(const VEC *)(more + i);
    }
    STORAGE *const w = (STORAGE *)job->arrays->first + chunk->group * c->c_out * p->ld_w.n +
                       (chunk->c - chunk->group * c->c_in) * p->ld_w.c;
    for (int64_t o = 0; o < c->c_out; o++)
        for (int64_t i = 0; i < chunk->depth; i++)
            for (int64_t tap = 0; tap < taps; tap++)
                STORED(put)(w + o * p->ld_w.n + i * p->ld_w.c + tap / c->w.k * p->ld_w.h + tap % c->w.k * p->ld_w.w,
                            sums[(tap * rows + o) * LANES + i]);
}

static void STORED(deform_outer_run)(const pc_deform *p, const pc_deform_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(deform_outer, DTYPE, PC_ISA)));
    STORED(deform_job) job = STORED(deform_job_of)(p, arrays, p->parts * p->n_chunks * p->sum_elems);
    STORED(deform_rounds)(&job, STORED(deform_outer_task), 0, p->n_chunks * p->parts, threads);
    pc_parallel(STORED(deform_outer_finish), &job, p->n_chunks, threads);
}

/* ---- columns, and what becomes of them ---- */

/* g[vector][pixel][lane] of a strip and group. */
static void STORED(deform_load_pixels)(const STORED(deform_job) *job, const pc_deform_strip *s, int64_t group, REAL *to) {
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const STORAGE *y = (const STORAGE *)job->arrays->y + pc_deform_at(&c->ld_out, s, group * c->c_out);
    for (int64_t o = 0; o < c->c_out; o += LANES, to += p->strip * LANES)
        STORED(lanes_load)(y + o * c->ld_out.c, c->ld_out.c, c->ld_out.w, pc_min(LANES, c->c_out - o), s->pixels, to);
}

#if !PC_WIDENED
/* dcol[tap][pixel][lane] of a strip for one chunk, from g[vector][pixel][lane]. */
static void NAME(deform_columns)(const pc_deform *p, const REAL *packed, int64_t number, int64_t pixels, const REAL *g,
                                 REAL *dcol) {
    const int64_t taps = pc_deform_taps(p), c_out = pc_round_up(p->conv.c_out, LANES);
    const pc_panels panels = pc_panels_of(taps, PC_VECTORS);
    _Alignas(64) REAL zeros[PC_VECTORS * LANES] = {0};
    for (int64_t o = 0; o < c_out; o += LANES) {
        const pc_run run = {0, 0};
        NAME(implicit_args) t = {.n_runs = 1, .run_length = LANES, .runs = &run, .x = g + o * p->strip,
                                 .bias = o == 0 ? zeros : NULL, .ld_y = p->strip * LANES};
        for (int64_t q = 0; q < panels.n; q++) {
            const int64_t wide = pc_panel_rows(panels, q), first = pc_panel_start(panels, q);
            t.w = packed + ((number * taps + first) * c_out + o * wide) * LANES;
            t.y = dcol + first * p->strip * LANES;
            NAME(deform_product)(t, pixels, LANES, wide);
        }
    }
}

/* Whether a table has a place in [from, to). */
static int NAME(deform_meets)(const pc_deform *p, const REAL *table, int64_t pixels, INTEGER from, INTEGER to) {
    for (int64_t tap = 0; tap < pc_deform_taps(p); tap++) {
        const NAME(deform_tap) t = NAME(deform_tap_of)(p, table, tap);
        int meets = 0;
        for (int64_t i = 0; i < pixels; i++)
            meets |= (t.at[0][i] != PC_OUTSIDE) & (t.at[0][i] < to) & (t.at[3][i] >= from);
        if (meets)
            return 1;
    }
    return 0;
}
#endif

static void STORED(deform_scatter_task)(void *ctx, int64_t task, int worker) {
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const int64_t taps = pc_deform_taps(p), row = c->w.in * LANES;
    const NAME(deform_memory) mem = NAME(deform_memory_of)(p, job->scratch + worker * p->scratch_bytes);
    const int64_t number = task / p->n_bands % p->n_chunks, n = task / p->n_bands / p->n_chunks;
    const pc_deform_chunk *chunk = job->chunks + number;
    const int64_t h0 = task % p->n_bands * p->band, rows = pc_min(p->band, c->h.in - h0);
    const INTEGER from = (INTEGER)(h0 * row), to = (INTEGER)((h0 + rows) * row);
    NAME(clear_over)(mem.sums, rows * row);
    const int64_t each = p->lines * p->n_strips;
    for (int64_t i = n * each; i < (n + 1) * each; i++) {
        const pc_deform_strip s = pc_deform_strip_of(p, i);
        NAME(deform_places)(p, &s, &mem);
        STORED(deform_tabulate)(job, &s, chunk->offset_group, 0, &mem);
        if (!NAME(deform_meets)(p, mem.table, s.pixels, from, to))
            continue;
        STORED(deform_load_pixels)(job, &s, chunk->group, mem.y);
        NAME(deform_columns)(p, job->arrays->packed, number, s.pixels, mem.y, mem.col);
        for (int64_t tap = 0; tap < taps; tap++)
            NAME(deform_add)(NAME(deform_tap_of)(p, mem.table, tap), s.pixels, mem.col + tap * p->strip * LANES, from, to,
                             mem.sums);
    }
    STORAGE *x = (STORAGE *)job->arrays->x + n * c->ld_x.n + chunk->c * c->ld_x.c;
    STORED(deform_move_rows)(&c->ld_x, x + h0 * c->ld_x.h, chunk->depth, 0, rows, c->w.in, mem.sums, 1);
}

static void STORED(deform_scatter_run)(const pc_deform *p, const pc_deform_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(deform_scatter, DTYPE, PC_ISA)));
    STORED(deform_job) job = STORED(deform_job_of)(p, arrays, 0);
    pc_parallel(STORED(deform_scatter_task), &job, p->n_tasks, threads);
}

/* sums[corner][pixel][lane] += dcol * x of one tap and chunk. */
static __attribute__((noinline)) void STORED(deform_dots)(const STORED(deform_job) *job, NAME(deform_tap) t, int64_t pixels,
                                                          const REAL *x, int64_t depth, const REAL *dcol, REAL *sums) {
    const pc_deform *p = job->p;
    const int64_t ld = p->pitch * LANES, ld_c = p->conv.ld_x.c;
    const int elements = p->source == PC_DEFORM_ELEMENTS;
    for (int64_t i = 0; i < pixels; i++, dcol += LANES, sums += LANES) {
        if (t.at[0][i] == PC_OUTSIDE)
            continue;
        const VEC v = *(const VEC *)dcol;
        for (int j = 0; j < 4; j++) {
            const INTEGER at = t.at[j][i];
            const VEC pixel = elements ? STORED(deform_gather)((const STORAGE *)x + at, ld_c, depth) : NAME(load)(x + at);
            *(VEC *)(sums + j * ld) += v * pixel;
        }
    }
}

INLINE void STORED(deform_write)(STORAGE *dst, int64_t step, const REAL *src, int64_t n) {
    if (step == 1) {
        STORED(write)(dst, src, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        STORED(put)(dst + i * step, src[i]);
}

static void STORED(deform_slopes_task)(void *ctx, int64_t task, int worker) {
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const int64_t taps = pc_deform_taps(p), each = p->lines * p->n_strips, corners = 4 * p->pitch;
    const NAME(deform_memory) mem = NAME(deform_memory_of)(p, job->scratch + worker * p->scratch_bytes);
    const int64_t offset_group = task / each % p->offset_groups;
    pc_deform_strip s = pc_deform_strip_of(p, task / each / p->offset_groups * each + task % each);
    s.n += job->first_image;
    REAL *const dots = mem.sums, *const sums = dots + taps * corners * LANES;
    NAME(deform_places)(p, &s, &mem);
    STORED(deform_tabulate)(job, &s, offset_group, 1, &mem);
    NAME(clear_over)(dots, taps * corners * LANES);
    int64_t group = -1;
    for (int64_t i = 0; i < p->n_chunks; i++) {
        const pc_deform_chunk *chunk = job->chunks + i;
        if (chunk->offset_group != offset_group)
            continue;
        if (chunk->group != group) {
            group = chunk->group;
            STORED(deform_load_pixels)(job, &s, group, mem.y);
        }
        NAME(deform_columns)(p, job->arrays->packed, i, s.pixels, mem.y, mem.col);
        for (int64_t tap = 0; tap < taps; tap++)
            STORED(deform_dots)(job, NAME(deform_tap_of)(p, mem.table, tap), s.pixels, STORED(deform_plane)(job, s.n, chunk),
                                chunk->depth, mem.col + tap * p->strip * LANES, dots + tap * corners * LANES);
    }
    NAME(deform_add_lanes)(dots, taps * corners, sums);
    /* the columns are not needed any more */
    REAL *const d_h = dots, *const d_w = d_h + p->pitch, *const d_m = d_w + p->pitch;
    for (int64_t tap = 0; tap < taps; tap++) {
        const int64_t at = offset_group * taps + tap;
        STORED(deform_load_offsets)(job, &s, at, &mem);
        NAME(deform_slope)(p, &mem, tap, sums + tap * corners, d_h, d_w, d_m);
        STORAGE *const first = job->arrays->first, *const second = job->arrays->second;
        if (first) {
            STORAGE *const to = first + pc_deform_at(&p->ld_grad_offset, &s, 2 * at);
            STORED(deform_write)(to, p->ld_grad_offset.w, d_h, s.pixels);
            STORED(deform_write)(to + p->ld_grad_offset.c, p->ld_grad_offset.w, d_w, s.pixels);
        }
        if (second)
            STORED(deform_write)(second + pc_deform_at(&p->ld_grad_mask, &s, at), p->ld_grad_mask.w, d_m, s.pixels);
    }
}

static void STORED(deform_slopes_run)(const pc_deform *p, const pc_deform_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(deform_slopes, DTYPE, PC_ISA)));
    STORED(deform_job) job = STORED(deform_job_of)(p, arrays, 0);
    STORED(deform_rounds)(&job, STORED(deform_slopes_task), p->offset_groups * p->lines * p->n_strips, 0, threads);
}
