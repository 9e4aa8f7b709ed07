/* deform_sampled: deformable convolution, as a matrix product whose left operand is sampled while it is multiplied.
 *
 *   y[n, o, p] = bias[o] + sum over c, a of  w[o, c, a] m[a, p] x[n, c, s p - pad + d a + offset[a, p]]
 *
 * x between pixels is bilinear, outside the map it is zero; m and the offset are those of c's offset group. Axes p and a
 * have two components.
 *
 * Channels are in the lanes: x is turned into pixels of LANES channels once for each image (channels-last arrays of whole
 * vectors are read where they lie), so that a sample of LANES channels is four loads, each times a weight. Where a sample
 * lies and what its four pixels weigh is the same for all channels of an offset group: a table, made for a strip of pixels
 * with pixels in the lanes. The samples of a reduction block (one or two vectors of channels x all taps) go to
 * col[pixel][chunk][tap][channel] in L2, which the register tile of implicit_tile.inc.c broadcasts from, against weights
 * with output channels in the lanes. No more than that of the columns ever exists.
 *
 *   turn x: for each image and chunk of channels
 *   for each image, group and strip of the output (a task):
 *     for each reduction block: table, samples
 *       for each panel of output channels: for each PC_ROWS pixels: the register tile
 *     y[vector][pixel][lane] is turned back into rows
 *
 * The table is exact to a rounding: whole pixels and fractions of an offset are taken apart before places are added, so that
 * neither grows with the map. A fraction stays below 1. Of the four pixels of a sample on the border those that are outside
 * are taken from inside at half the weight each, which changes nothing and reads nothing else; a sample outside is zero, and
 * so is one whose offset is no number.
 *
 * flops: 2 c_out c_in kh kw a pixel, and 8 c_in kh kw for the samples; moved: x twice, offset and mask once for each group,
 * weights once a strip. Error: (c_in kh kw + 10) eps of the sum of |w| |m| times the four pixels' magnitudes.
 *
 * After Dai et al. (2017), equations 2 to 4, and Zhu, Hu, Lin and Dai (2019), equation 1. */

#ifndef PC_DEFORM_STRIPS
#define PC_DEFORM_STRIPS
/* `pixels` of the output from pixel `first` of a line on. */
typedef struct pc_deform_strip {
    int64_t n, line, first, pixels;
} pc_deform_strip;

static inline pc_deform_strip pc_deform_strip_of(const pc_deform *p, int64_t number) {
    pc_deform_strip s;
    s.first = number % p->n_strips * p->strip;
    number /= p->n_strips;
    s.line = number % p->lines;
    s.n = number / p->lines;
    s.pixels = pc_min(p->strip, p->line - s.first);
    return s;
}

static inline int64_t pc_deform_at(const pc_ld *ld, const pc_deform_strip *s, int64_t c) {
    return s->n * ld->n + c * ld->c + s->line * ld->h + s->first * ld->w;
}
#endif

#if !PC_WIDENED

/* A sample that lies outside, in place of its first pixel. */
#define PC_OUTSIDE ((INTEGER)(sizeof(INTEGER) == 4 ? INT32_MIN : INT64_MIN))

typedef struct NAME(deform_axis) {
    VEC fraction;
    MASK low;           /* the pixel at or before the sample */
    MASK touches;       /* it, or the one behind it, is on the map */
    MASK inside;        /* the sample is on the map, which ends one pixel outside its first and last ones */
    MASK from, to;      /* the two pixels, or the one that exists twice */
    VEC w_from, w_to;
} NAME(deform_axis);

INLINE NAME(deform_axis) NAME(deform_axis_of)(VEC offset, MASK place, INTEGER size) {
    const REAL far = sizeof(REAL) == 4 ? 0x1p29f : 0x1p60, below_one = sizeof(REAL) == 4 ? 1 - 0x1p-24 : 1 - 0x1p-53;
    const MASK near = (MASK)(offset > -far) & (MASK)(offset < far);
    offset = NAME(select)(near, offset, (VEC){0});
    MASK whole = __builtin_convertvector(offset, MASK);
    whole += (MASK)(__builtin_convertvector(whole, VEC) > offset);
    NAME(deform_axis) a;
    a.fraction = offset - __builtin_convertvector(whole, VEC);
    a.fraction = NAME(select)((MASK)(a.fraction < below_one), a.fraction, NAME(splat)(below_one));
    a.low = place + whole;
    a.touches = near & (MASK)(a.low >= -1) & (MASK)(a.low < size);
    const MASK before = (MASK)(a.low < 0), behind = (MASK)(a.low >= size - 1);
    a.inside = a.touches & ~(before & (MASK)(a.fraction == 0));
    a.from = a.low & ~before;
    a.to = (behind & a.low) | (~behind & (a.low + 1));
    const VEC rest = 1 - a.fraction, half = NAME(select)(before, a.fraction, rest) * (REAL)0.5;
    a.w_from = NAME(select)(before | behind, half, rest);
    a.w_to = NAME(select)(before | behind, half, a.fraction);
    return a;
}

INLINE MASK NAME(deform_integers)(const INTEGER *p) {
    MASK v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* The memory of a worker. A table has, for each tap, four rows of a strip's places in x and four of weights. */
typedef struct NAME(deform_memory) {
    REAL *table, *dy, *dx, *m;
    INTEGER *h, *w; /* where tap (0, 0) of each pixel lies without an offset */
    REAL *col, *y, *sums;
} NAME(deform_memory);

static NAME(deform_memory) NAME(deform_memory_of)(const pc_deform *p, char *scratch) {
    NAME(deform_memory) s;
    s.table = (REAL *)scratch;
    s.dy = s.table + 8 * pc_deform_taps(p) * p->pitch;
    s.dx = s.dy + p->pitch;
    s.m = s.dx + p->pitch;
    s.h = (INTEGER *)(s.m + p->pitch);
    s.w = s.h + p->pitch;
    s.col = (REAL *)(s.w + p->pitch);
    s.y = s.col + pc_round_up(p->col_elems, LANES);
    s.sums = s.y + p->y_elems;
    return s;
}

typedef struct NAME(deform_tap) {
    const INTEGER *at[4];
    const REAL *weight[4];
} NAME(deform_tap);

INLINE NAME(deform_tap) NAME(deform_tap_of)(const pc_deform *p, const REAL *table, int64_t tap) {
    NAME(deform_tap) t;
    for (int i = 0; i < 4; i++) {
        t.at[i] = (const INTEGER *)(table + (tap * 8 + i) * p->pitch);
        t.weight[i] = table + (tap * 8 + 4 + i) * p->pitch;
    }
    return t;
}

static void NAME(deform_places)(const pc_deform *p, const pc_deform_strip *s, const NAME(deform_memory) *mem) {
    const pc_conv *c = &p->conv;
    for (int64_t i = 0; i < p->pitch; i++) {
        const int64_t q = s->first + pc_min(i, s->pixels - 1);
        const int64_t h = p->lines == 1 ? q / c->w.out : s->line, w = p->lines == 1 ? q % c->w.out : q;
        mem->h[i] = (INTEGER)(h * c->h.stride - c->h.pad);
        mem->w[i] = (INTEGER)(w * c->w.stride - c->w.pad);
    }
}

/* One tap's rows of the table from mem->dy, dx and m (NULL: ones). Pixels lie ld_h and ld_w apart. With `slopes` samples on
 * the edge of the outside count. */
static __attribute__((noinline)) void NAME(deform_fill)(const pc_deform *p, const NAME(deform_memory) *mem, int64_t tap,
                                                        int with_mask, int slopes, int64_t ld_h, int64_t ld_w) {
    const pc_conv *c = &p->conv;
    const INTEGER down = (INTEGER)(tap / c->w.k * c->h.dilation), right = (INTEGER)(tap % c->w.k * c->w.dilation);
    INTEGER *at = (INTEGER *)(mem->table + tap * 8 * p->pitch);
    REAL *weight = mem->table + (tap * 8 + 4) * p->pitch;
    for (int64_t i = 0; i < p->pitch; i += LANES, at += LANES, weight += LANES) {
        const NAME(deform_axis) h = NAME(deform_axis_of)(NAME(load)(mem->dy + i), NAME(deform_integers)(mem->h + i) + down,
                                                         (INTEGER)c->h.in);
        const NAME(deform_axis) w = NAME(deform_axis_of)(NAME(load)(mem->dx + i),
                                                         NAME(deform_integers)(mem->w + i) + right, (INTEGER)c->w.in);
        const VEC m = with_mask ? NAME(load)(mem->m + i) : NAME(splat)(1);
        const MASK counts = slopes ? h.touches & w.touches : h.inside & w.inside;
        const MASK rows[2] = {h.from * (INTEGER)ld_h, h.to * (INTEGER)ld_h};
        const MASK cols[2] = {w.from * (INTEGER)ld_w, w.to * (INTEGER)ld_w};
        const VEC w_rows[2] = {h.w_from * m, h.w_to * m}, w_cols[2] = {w.w_from, w.w_to};
        for (int j = 0; j < 4; j++) {
            const MASK place = (counts & (rows[j / 2] + cols[j % 2])) | (~counts & PC_OUTSIDE);
            memcpy(at + j * p->pitch, &place, sizeof place);
            NAME(store)(weight + j * p->pitch, w_rows[j / 2] * w_cols[j % 2]);
        }
    }
}

/* to[pixel * ld_p + chunk * ld_v + lane]: samples of one tap of nv chunks that lie `plane` apart, of `depth` channels. */
static __attribute__((noinline)) void NAME(deform_sample)(NAME(deform_tap) t, int64_t pixels, const REAL *x, int64_t plane,
                                                          int64_t nv, int64_t depth, REAL *to, int64_t ld_p,
                                                          int64_t ld_v) {
    for (int64_t i = 0; i < pixels; i++, to += ld_p) {
        const int outside = t.at[0][i] == PC_OUTSIDE;
        const REAL *const a = x + (outside ? 0 : t.at[0][i]), *const b = x + (outside ? 0 : t.at[1][i]);
        const REAL *const c = x + (outside ? 0 : t.at[2][i]), *const d = x + (outside ? 0 : t.at[3][i]);
        const REAL wa = t.weight[0][i], wb = t.weight[1][i], wc = t.weight[2][i], wd = t.weight[3][i];
        for (int64_t v = 0; v < nv; v++) {
            VEC sample = {0};
            if (!outside)
                sample = NAME(load)(a + v * plane) * wa + NAME(load)(b + v * plane) * wb +
                         NAME(load)(c + v * plane) * wc + NAME(load)(d + v * plane) * wd;
            if (depth == LANES)
                NAME(store)(to + v * ld_v, sample);
            else
                NAME(copy_part)(to + v * ld_v, (const REAL *)&sample, depth);
        }
    }
}

typedef void (*NAME(deform_function))(const NAME(implicit_args) *);
#define PC_DEFORM_TILE(vectors)                                                                                        \
    static __attribute__((noinline)) void NAME(PC_CONCAT(deform_tile, vectors))(const NAME(implicit_args) * t) {       \
        if (vectors <= PC_VECTORS)                                                                                     \
            NAME(implicit_body)(PC_ROWS, vectors, t);                                                                  \
    }
PC_DEFORM_TILE(1) PC_DEFORM_TILE(2) PC_DEFORM_TILE(3)
#undef PC_DEFORM_TILE
static const NAME(deform_function) NAME(deform_tiles)[3] = {
    NAME(deform_tile1), NAME(deform_tile2), NAME(deform_tile3),
};

/* The product for `rows` rows of x that lie `pitch` apart, rounded up to register tiles, against one panel. */
static void NAME(deform_product)(NAME(implicit_args) t, int64_t rows, int64_t pitch, int64_t vectors) {
    int64_t at[8];
    for (int i = 0; i < PC_ROWS; i++)
        at[i] = i * pitch;
    t.pixels = at;
    for (int64_t i = 0; i < rows; i += PC_ROWS, t.x += PC_ROWS * pitch, t.y += PC_ROWS * LANES)
        NAME(deform_tiles)[vectors - 1](&t);
}

typedef struct NAME(deform_weights) {
    const pc_deform *p;
    const REAL *w;
    REAL *packed;
} NAME(deform_weights);

static void NAME(deform_pack_panel)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(deform_weights) *job = ctx;
    const pc_conv *c = &job->p->conv;
    const int64_t taps = pc_deform_taps(job->p), k_all = c->c_in * taps, vectors = pc_ceil_div(c->c_out, LANES);
    const int64_t each = c->groups * c->c_in / job->p->offset_groups;
    const pc_panels panels = pc_panels_of(vectors, PC_VECTORS);
    const int64_t g = task / panels.n, q = task % panels.n, first = pc_panel_start(panels, q), wide = pc_panel_rows(panels, q);
    const REAL *const from = job->w + (g * c->c_out + first * LANES) * k_all;
    REAL *to = job->packed + (g * vectors + first) * LANES * k_all;
    for (int64_t c0 = 0, depth; c0 < c->c_in; c0 += depth, to += depth * taps * wide * LANES) {
        depth = pc_min(pc_min(LANES, c->c_in - c0), each - (g * c->c_in + c0) % each);
        for (int64_t v = 0; v < wide; v++)
            for (int64_t e = 0; e < depth * taps; e += LANES) {
                VEC turned[LANES];
                const int64_t n = pc_min(LANES, depth * taps - e);
                STORED(lanes_load)(from + v * LANES * k_all + c0 * taps + e, k_all, 1,
                                 pc_min(LANES, c->c_out - (first + v) * LANES), n, (REAL *)turned);
                for (int64_t i = 0; i < n; i++)
                    *(VEC *)(to + (((e + i) % taps * depth + (e + i) / taps) * wide + v) * LANES) = turned[i];
            }
    }
}

/* Weights (groups * c_out, c_in, taps) -> [group][panel][chunk][tap][channel of the chunk][output channel]; lanes beyond
 * c_out hold zeros. */
static int64_t NAME(deform_pack)(const pc_deform *p, const void *w, void *packed) {
    const pc_conv *c = &p->conv;
    const int64_t vectors = pc_ceil_div(c->c_out, LANES);
    if (packed) {
        NAME(deform_weights) job = {p, w, packed};
        pc_parallel(NAME(deform_pack_panel), &job, c->groups * pc_panels_of(vectors, PC_VECTORS).n, (int)c->threads);
    }
    return c->groups * vectors * LANES * c->c_in * pc_deform_taps(p);
}

#endif

typedef struct STORED(deform_job) {
    const pc_deform *p;
    const pc_deform_arrays *arrays;
    const pc_deform_chunk *chunks;
    REAL *turned, *sums;     /* shared */
    char *scratch;           /* of the workers */
    int64_t first_image, images; /* of the round */
    int64_t ld_h, ld_w;      /* of places in a table */
} STORED(deform_job);

static STORED(deform_job) STORED(deform_job_of)(const pc_deform *p, const pc_deform_arrays *arrays, int64_t sum_elems) {
    STORED(deform_job) job = {.p = p, .arrays = arrays};
    char *at = arrays->scratch;
    pc_deform_cut(p, LANES, (pc_deform_chunk *)at);
    job.chunks = (const pc_deform_chunk *)at;
    at += pc_round_up(p->n_chunks * (int64_t)sizeof(pc_deform_chunk), 64);
    job.sums = (REAL *)at;
    job.turned = job.sums + sum_elems;
    job.scratch = arrays->scratch + p->shared_bytes;
    const int lies = p->source != PC_DEFORM_TURNED;
    job.ld_h = lies ? p->conv.ld_x.h : p->conv.w.in * LANES;
    job.ld_w = lies ? p->conv.ld_x.w : LANES;
    return job;
}

/* Rows of a plane of x to pixels of LANES channels, map[row][column][lane], or back. */
static void STORED(deform_move_rows)(const pc_ld *ld, STORAGE *x, int64_t depth, int64_t first, int64_t rows,
                                     int64_t width, REAL *map, int back) {
    const int64_t run = ld->h == width * ld->w ? rows * width : width;
    for (int64_t h = first; h < first + rows; h += run / width) {
        REAL *const pixels = map + h * width * LANES;
        if (back)
            STORED(lanes_save)(pixels, ld->c, ld->w, depth, run, x + h * ld->h);
        else
            STORED(lanes_load)(x + h * ld->h, ld->c, ld->w, depth, run, pixels);
    }
}

static void STORED(deform_turn)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const int64_t plane = task / p->n_turned, row = task % p->n_turned * p->turned_rows;
    const pc_deform_chunk *chunk = job->chunks + plane % p->n_chunks;
    const int64_t n = job->first_image + plane / p->n_chunks;
    STORAGE *x = (STORAGE *)job->arrays->x + n * c->ld_x.n + chunk->c * c->ld_x.c;
    STORED(deform_move_rows)(&c->ld_x, x, chunk->depth, row, pc_min(p->turned_rows, c->h.in - row), c->w.in,
                             job->turned + plane * c->h.in * c->w.in * LANES, 0);
}

/* Runs the tasks of each round of images, whose x is turned first; each image has as many. */
static void STORED(deform_rounds)(STORED(deform_job) *job, pc_task task, int64_t tasks_of_image, int64_t tasks_of_round,
                                  int threads) {
    const pc_deform *p = job->p;
    for (int64_t first = 0; first < p->conv.n; first += p->images) {
        job->first_image = first;
        job->images = pc_min(p->images, p->conv.n - first);
        if (p->source == PC_DEFORM_TURNED)
            pc_parallel(STORED(deform_turn), job, job->images * p->n_chunks * p->n_turned, threads);
        pc_parallel(task, job, tasks_of_round ? tasks_of_round : job->images * tasks_of_image, threads);
    }
}

/* dst[i] = src[i * step], i < n; up to LANES - 1 elements more of dst may be written. */
INLINE void STORED(deform_read)(REAL *dst, const STORAGE *src, int64_t step, int64_t n) {
    if (step == 1) {
        STORED(read)(dst, src, n);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        dst[i] = STORED(get)(src + i * step);
}

/* Offsets and mask of one tap of an offset group, into the worker's memory. */
static void STORED(deform_load_offsets)(const STORED(deform_job) *job, const pc_deform_strip *s, int64_t tap,
                                        const NAME(deform_memory) *mem) {
    const pc_deform *p = job->p;
    const STORAGE *offset = (const STORAGE *)job->arrays->offset + pc_deform_at(&p->ld_offset, s, 2 * tap);
    STORED(deform_read)(mem->dy, offset, p->ld_offset.w, s->pixels);
    STORED(deform_read)(mem->dx, offset + p->ld_offset.c, p->ld_offset.w, s->pixels);
    if (p->has_mask)
        STORED(deform_read)(mem->m, (const STORAGE *)job->arrays->mask + pc_deform_at(&p->ld_mask, s, tap), p->ld_mask.w,
                            s->pixels);
}

/* The table of an offset group for a strip. */
static __attribute__((noinline)) void STORED(deform_tabulate)(const STORED(deform_job) *job, const pc_deform_strip *s,
                                                              int64_t offset_group, int slopes,
                                                              const NAME(deform_memory) *mem) {
    const pc_deform *p = job->p;
    const int64_t taps = pc_deform_taps(p);
    for (int64_t tap = 0; tap < taps; tap++) {
        STORED(deform_load_offsets)(job, s, offset_group * taps + tap, mem);
        NAME(deform_fill)(p, mem, tap, p->has_mask != 0, slopes, job->ld_h, job->ld_w);
    }
}

/* The first pixel of a chunk's plane in image n, as numbers or as what the array holds. */
INLINE const REAL *STORED(deform_plane)(const STORED(deform_job) *job, int64_t n, const pc_deform_chunk *chunk) {
    const pc_conv *c = &job->p->conv;
    if (job->p->source == PC_DEFORM_TURNED)
        return job->turned + ((n - job->first_image) * job->p->n_chunks + (chunk - job->chunks)) * c->h.in * c->w.in * LANES;
    return (const REAL *)((const STORAGE *)job->arrays->x + n * c->ld_x.n + chunk->c * c->ld_x.c);
}

/* LANES channels of a pixel, element by element. */
INLINE VEC STORED(deform_gather)(const STORAGE *x, int64_t ld_c, int64_t depth) {
    VEC v = {0};
    for (int64_t i = 0; i < depth; i++)
        v[i] = STORED(get)(x + i * ld_c);
    return v;
}

/* deform_sample where x is read element by element. */
static __attribute__((noinline)) void STORED(deform_sample_elements)(NAME(deform_tap) t, int64_t pixels, const STORAGE *x,
                                                                     int64_t ld_c, int64_t depth, REAL *to, int64_t ld_p) {
    for (int64_t i = 0; i < pixels; i++, to += ld_p) {
        VEC sample = {0};
        if (t.at[0][i] != PC_OUTSIDE)
            for (int j = 0; j < 4; j++)
                sample += STORED(deform_gather)(x + t.at[j][i], ld_c, depth) * t.weight[j][i];
        if (depth == LANES)
            NAME(store)(to, sample);
        else
            NAME(copy_part)(to, (const REAL *)&sample, depth);
    }
}

/* Samples one tap of nv chunks that are alike, of whole vectors if there are several. */
INLINE void STORED(deform_sample_chunks)(const STORED(deform_job) *job, int64_t n, const pc_deform_chunk *chunk, int64_t nv,
                                         int64_t pixels, int64_t tap, const REAL *table, REAL *to, int64_t ld_p,
                                         int64_t ld_v) {
    const pc_deform *p = job->p;
    const NAME(deform_tap) t = NAME(deform_tap_of)(p, table, tap);
    const REAL *x = STORED(deform_plane)(job, n, chunk);
    if (p->source != PC_DEFORM_ELEMENTS) {
        const int64_t plane = p->source == PC_DEFORM_TURNED ? p->conv.h.in * p->conv.w.in * LANES : LANES;
        NAME(deform_sample)(t, pixels, x, plane, nv, chunk->depth, to, ld_p, ld_v);
        return;
    }
    for (int64_t v = 0; v < nv; v++)
        STORED(deform_sample_elements)(t, pixels, (const STORAGE *)x + v * LANES * p->conv.ld_x.c, p->conv.ld_x.c,
                                       chunk->depth, to + v * ld_v, ld_p);
}

/* The chunks of a group. */
INLINE void STORED(deform_chunks_of)(const STORED(deform_job) *job, int64_t group, int64_t *begin, int64_t *end) {
    int64_t i = 0;
    while (job->chunks[i].group < group)
        i++;
    *begin = i;
    while (i < job->p->n_chunks && job->chunks[i].group == group)
        i++;
    *end = i;
}

static void STORED(deform_sampled_task)(void *ctx, int64_t task, int worker) {
    const STORED(deform_job) *job = ctx;
    const pc_deform *p = job->p;
    const pc_conv *c = &p->conv;
    const int64_t taps = pc_deform_taps(p), k_all = c->c_in * taps, vectors = pc_ceil_div(c->c_out, LANES);
    const NAME(deform_memory) mem = NAME(deform_memory_of)(p, job->scratch + worker * p->scratch_bytes);
    const int64_t each = p->lines * p->n_strips, g = task / each % c->groups;
    pc_deform_strip s = pc_deform_strip_of(p, task / each / c->groups * each + task % each);
    s.n += job->first_image;
    const pc_panels panels = pc_panels_of(vectors, PC_VECTORS);
    const REAL *packed = (const REAL *)job->arrays->packed + g * vectors * LANES * k_all;
    const REAL *bias = job->arrays->bias ? (const REAL *)job->arrays->bias + g * c->c_out : NULL;
    int64_t begin, end, tabulated = -1;
    STORED(deform_chunks_of)(job, g, &begin, &end);
    NAME(deform_places)(p, &s, &mem);
    for (int64_t c0 = begin, n_c, k = 0; c0 < end; c0 += n_c) {
        n_c = pc_min(p->c_block, end - c0);
        const int64_t last = c0 + n_c - 1;
        const int64_t depth = job->chunks[last].c + job->chunks[last].depth - job->chunks[c0].c, length = depth * taps;
        REAL *col = mem.col;
        for (int64_t i = c0, nv; i <= last; i += nv) {
            const pc_deform_chunk *chunk = job->chunks + i;
            if (chunk->offset_group != tabulated) {
                tabulated = chunk->offset_group;
                STORED(deform_tabulate)(job, &s, tabulated, 0, &mem);
            }
            for (nv = 1; i + nv <= last && chunk[nv].depth == LANES && chunk->depth == LANES &&
                         chunk[nv].offset_group == tabulated;)
                nv++;
            for (int64_t tap = 0; tap < taps; tap++)
                STORED(deform_sample_chunks)(job, s.n, chunk, nv, s.pixels, tap, mem.table, col + tap * chunk->depth, length,
                                             taps * LANES);
            col += nv * taps * chunk->depth;
        }
        const pc_run run = {0, 0};
        NAME(implicit_args) t = {.n_runs = 1, .run_length = length, .runs = &run, .x = mem.col, .ld_y = p->strip * LANES};
        for (int64_t q = 0; q < panels.n; q++) {
            const int64_t wide = pc_panel_rows(panels, q), v0 = pc_panel_start(panels, q);
            _Alignas(64) REAL start[PC_VECTORS * LANES];
            t.w = packed + (v0 * k_all + k * wide) * LANES;
            t.y = mem.y + v0 * p->strip * LANES;
            if (c0 == begin) {
                for (int64_t i = 0; i < wide * LANES; i++)
                    start[i] = bias && v0 * LANES + i < c->c_out ? bias[v0 * LANES + i] : 0;
                t.bias = start;
            }
            NAME(deform_product)(t, s.pixels, length, wide);
        }
        k += length;
    }
    for (int64_t v = 0; v < vectors; v++)
        STORED(lanes_save)(mem.y + v * p->strip * LANES, c->ld_out.c, c->ld_out.w, pc_min(LANES, c->c_out - v * LANES),
                         s.pixels,
                         (STORAGE *)job->arrays->y + pc_deform_at(&c->ld_out, &s, g * c->c_out + v * LANES));
}

static void STORED(deform_sampled_run)(const pc_deform *p, const pc_deform_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(deform_sampled, DTYPE, PC_ISA)));
    STORED(deform_job) job = STORED(deform_job_of)(p, arrays, 0);
    STORED(deform_rounds)(&job, STORED(deform_sampled_task), p->conv.groups * p->lines * p->n_strips, 0, threads);
}
