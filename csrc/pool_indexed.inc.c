/* pool_indexed: maxima and where they lie; pool_scatter: what goes back there.
 *
 *   indices[n, c, p] = the offset in x's plane (n, c) of the window's first maximum in the order of (d, h, w); of a window
 *   with NaN in it, of the last NaN (torch's meaning)
 *
 * pool_separable's two steps on pairs of a value and an offset. Rows come in ascending order, so one that is larger, or
 * NaN, replaces what was there. Columns do not: of two equal values the smaller offset stays, of two NaN the larger.
 * Offsets count from the window's first row and column, so that they fit a lane. Columns outside x hold the least value
 * and an offset that no other one reaches: a window of nothing but these has an index inside x all the same.
 *
 * pool_scatter goes through the outputs of one plane in order: each adds to, is put to, or is read from, the element of
 * the other array that its index names. A plane belongs to one task, so no two threads write one element. Indices come
 * from the caller, and are all checked before anything is written, or from pool_indexed's rows, one at a time. */

#ifndef PC_INDEXED_CONSTANTS
#define PC_INDEXED_CONSTANTS
/* windows reach less far, and the sum of both fits 32 bits */
enum { PC_NO_INDEX = 0x3f000000, PC_ABREAST = 4 };
#endif

#if !PC_WIDENED && !PC_INTEGERS

#define INDICES(p) ((MASK)NAME(load)((const REAL *)(p)))

/* b instead of a where it is greater, or as great and earlier, or a NaN and later. */
INLINE void NAME(pool_better)(VEC *a, MASK *at, VEC b, MASK b_at) {
    const MASK b_nan = b != b, a_nan = *a != *a;
    const MASK take = (b > *a) | ((b == *a) & (b_at < *at)) | (b_nan & (~a_nan | (b_at > *at)));
    *a = NAME(select)(take, b, *a);
    *at = (MASK)NAME(select)(take, (VEC)b_at, (VEC)*at);
}

/* The windows of a row: values y and offsets y_at of v and v_at. */
static __attribute__((noinline)) void NAME(pool_columns_at)(const pc_pool *p, const REAL *v, const INTEGER *v_at,
                                                            int64_t from, int64_t w0, int64_t n, REAL *y,
                                                            INTEGER *y_at) {
    const int64_t k = p->w.k, stride = p->w.stride, inner = p->inner, dilation = p->w.dilation, step = dilation * inner;
    if (!p->adaptive && stride <= 2 && (inner == 1 || stride == 1)) {
        for (int64_t i = 0; i < n * inner; i += LANES) {
            VEC best = {0};
            MASK at = {0};
            for (int64_t a = 0; a < k; a++) {
                const REAL *const tap = v + i * stride + a * step;
                const INTEGER *const tap_at = v_at + i * stride + a * step;
                VEC b = NAME(load)(tap);
                MASK b_at = INDICES(tap_at);
                if (stride == 2) {
                    b = NAME(every_second)(b, NAME(load)(tap + LANES), 0);
                    b_at = (MASK)NAME(every_second)((VEC)b_at, (VEC)INDICES(tap_at + LANES), 0);
                }
                b_at += (INTEGER)(a * dilation);
                if (a == 0) {
                    best = b;
                    at = b_at;
                } else {
                    NAME(pool_better)(&best, &at, b, b_at);
                }
            }
            NAME(store)(y + i, best);
            NAME(store)((REAL *)(y_at + i), (VEC)at);
        }
        return;
    }
    for (int64_t o = 0; o < n; o++, y += inner, y_at += inner) {
        int64_t first = o * stride, taps = k;
        if (p->adaptive) {
            const pc_pool_taps t = pc_pool_taps_of(&p->w, 0, 1, w0 + o);
            first = t.first - from;
            taps = t.n;
        }
        const REAL *const tap = v + first * inner;
        const INTEGER *const tap_at = v_at + first * inner;
        if (inner == 1) {
            REAL best = tap[0];
            INTEGER at = tap_at[0];
            for (int64_t a = 1; a < taps; a++) {
                const REAL b = tap[a * dilation];
                const INTEGER b_at = tap_at[a * dilation] + (INTEGER)(a * dilation);
                if (b > best || (b == best && b_at < at) || (b != b && (best == best || b_at > at))) {
                    best = b;
                    at = b_at;
                }
            }
            *y = best;
            *y_at = at;
            continue;
        }
        for (int64_t c = 0; c < inner; c += LANES) { /* what is beyond `inner` the next column writes again */
            VEC best = NAME(load)(tap + c);
            MASK at = INDICES(tap_at + c);
            for (int64_t a = 1; a < taps; a++)
                NAME(pool_better)(&best, &at, NAME(load)(tap + c + a * step),
                                  INDICES(tap_at + c + a * step) + (INTEGER)(a * dilation));
            NAME(store)(y + c, best);
            NAME(store)((REAL *)(y_at + c), (VEC)at);
        }
    }
}

#endif

#if !PC_INTEGERS

/* v[i], v_at[i]: the greatest of a column's elements, and its offset from the window's first row. */
static __attribute__((noinline)) void STORED(pool_rows_at)(const pc_pool *p, const pc_ld *ld, const STORAGE *x,
                                                           pc_pool_taps d, pc_pool_taps h, int64_t n,
                                                           const STORAGE *end, REAL *v, INTEGER *v_at) {
    for (int64_t i = 0; i < n; i += LANES) {
        const int64_t left = n - i;
        VEC best = NAME(pool_identity)(0);
        MASK at = (MASK){0} + (INTEGER)PC_NO_INDEX;
        for (int64_t a = 0; a < d.n; a++)
            for (int64_t b = 0; b < h.n; b++) {
                const STORAGE *const row = x + (d.first + a * d.step) * ld->d + (h.first + b * h.step) * ld->h;
                const INTEGER offset = (INTEGER)((a * d.step * p->h.in + b * h.step) * p->w.in);
                VEC value = {0};
                if (left >= LANES || end - row >= i + LANES)
                    value = STORED(load)(row + i);
                else
                    STORED(read)((REAL *)&value, row + i, left);
                const MASK take = a + b == 0 ? ~(MASK){0} : (MASK)(value > best) | (MASK)(value != value);
                best = NAME(select)(take, value, best);
                at = (MASK)NAME(select)(take, (VEC)((MASK){0} + offset), (VEC)at);
            }
        if (left < LANES) {
            best = NAME(pool_first)(best, left, NAME(pool_identity)(0));
            at = (MASK)NAME(pool_first)((VEC)at, left, (VEC)((MASK){0} + (INTEGER)PC_NO_INDEX));
        }
        NAME(store)(v + i, best);
        NAME(store)((REAL *)(v_at + i), (VEC)at);
    }
}

/* indices of a row from offsets; where a window holds no element of x, the index of the nearest one. */
static void STORED(pool_indices)(const pc_pool *p, const INTEGER *y_at, pc_pool_taps d, pc_pool_taps h, int64_t w0,
                                 int64_t n, int64_t *indices) {
    const int64_t inner = p->inner;
    const int64_t plane = (pc_min(d.first, p->d.in - 1) * p->h.in + pc_min(h.first, p->h.in - 1)) * p->w.in;
    if (inner == 1 && !p->adaptive) {
        const int64_t begin = w0 * p->w.stride - p->w.pad, last = p->w.in - 1;
        for (int64_t o = 0; o < n; o++) {
            const int64_t first = begin + o * p->w.stride, at = y_at[o];
            const int64_t inside = first < 0 ? 0 : first > last ? last : first;
            indices[o] = plane + (at >= PC_NO_INDEX ? inside : first + at);
        }
        return;
    }
    for (int64_t o = 0; o < n; o++) {
        const int64_t first =
            p->adaptive ? pc_pool_taps_of(&p->w, 0, 1, w0 + o).first : (w0 + o) * p->w.stride - p->w.pad;
        const int64_t nearest = plane + pc_max(0, pc_min(first, p->w.in - 1));
        for (int64_t i = o * inner; i < (o + 1) * inner; i++)
            indices[i] = y_at[i] >= PC_NO_INDEX ? nearest : plane + first + y_at[i];
    }
}

/* One row of maxima in y and of their indices; ld is of the array that `plane` is in. */
INLINE void STORED(pool_row_at)(const pc_pool *p, const pc_ld *ld, const STORAGE *plane, const STORAGE *end,
                                int64_t d_out, int64_t h_out, int64_t w0, int64_t n, REAL *v, REAL *y, int64_t *indices) {
    INTEGER *const v_at = (INTEGER *)(v + p->v_elems), *const y_at = (INTEGER *)(y + p->y_elems);
    const pc_columns columns = pc_columns_of(p, w0, n);
    const int64_t left = pc_max(0, -columns.first), first = columns.first + left;
    const int64_t inside = pc_max(0, pc_min(p->w.in, columns.first + columns.n) - first);
    const pc_pool_taps d = pc_pool_taps_of(&p->d, 0, p->adaptive, d_out);
    const pc_pool_taps h = pc_pool_taps_of(&p->h, 0, p->adaptive, h_out);
    STORED(pool_rows_at)(p, ld, plane + first * p->inner, d, h, inside * p->inner, end, v + left * p->inner,
                         v_at + left * p->inner);
    NAME(pool_columns_at)(p, v, v_at, columns.first, w0, n, y, y_at);
    STORED(pool_indices)(p, y_at, d, h, w0, n, indices);
}

/* The border of v and v_at, once for all rows of a tile. */
INLINE void STORED(pool_border_at)(const pc_pool *p, REAL *v) {
    NAME(pool_fill)(v, p->v_elems, NAME(pool_identity)(0));
    NAME(pool_fill)(v + p->v_elems, p->v_elems, (VEC)((MASK){0} + (INTEGER)PC_NO_INDEX));
}

#if !PC_WIDENED
typedef int64_t NAME(wide) __attribute__((vector_size(8 * LANES)));
typedef int64_t NAME(wide_unaligned) __attribute__((vector_size(8 * LANES), aligned(8), may_alias));

static __attribute__((noinline)) void NAME(pool_put_part_of_indices)(int64_t *to, MASK v, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        to[i] = v[i];
}

/* v's lanes as indices, up to LANES of them; those before `limit` may be written over. */
INLINE void NAME(pool_put_indices)(int64_t *to, MASK v, int64_t n, const int64_t *limit) {
    if (n >= LANES || to + LANES <= limit)
        *(NAME(wide_unaligned) *)to = __builtin_convertvector(v, NAME(wide));
    else
        NAME(pool_put_part_of_indices)(to, v, n);
}

/* The better one of two where neither is a NaN: pool_better without that question. */
INLINE void NAME(pool_quick_better)(VEC *a, MASK *at, VEC b, MASK b_at) {
    const MASK take = (b > *a) | ((b == *a) & (b_at < *at));
    *a = NAME(select)(take, b, *a);
    *at = (MASK)NAME(select)(take, (VEC)b_at, (VEC)*at);
}
#endif

/* A value and its offset from the window's first row and column, a vector of each. */
typedef struct STORED(pool_found) {
    VEC value;
    MASK at;
} STORED(pool_found);

/* The larger ones of a row's elements b and of those before, the first ones where they are equal. */
INLINE void STORED(pool_next_row)(STORED(pool_found) *found, VEC b, INTEGER offset) {
    const MASK take = (MASK)(b > found->value);
    found->value = NAME(select)(take, b, found->value);
    found->at = (MASK)NAME(select)(take, (VEC)((MASK){0} + offset), (VEC)found->at);
}

/* pool_block_near_end with offsets. */
static __attribute__((noinline)) void STORED(pool_block_at_near_end)(const STORED(pool_view) *view,
                                                                     const STORAGE *const *row, const INTEGER *offset,
                                                                     int64_t rows, int64_t c, STORED(pool_found) *found,
                                                                     VEC *seen) {
    for (int64_t r = 0; r < rows; r++) {
        const VEC b = STORED(pool_near_end)(view, row[r], c);
        *seen = r == 0 ? b : *seen + b;
        if (r == 0)
            *found = (STORED(pool_found)){b, {0}};
        else
            STORED(pool_next_row)(found, b, offset[r]);
    }
}

/* Columns c .. c + LANES of `rows` rows, of which some may be one: pool_block with offsets, those of the rows' begins. */
INLINE STORED(pool_found) STORED(pool_block_at)(const STORED(pool_view) *view, const STORAGE *const *row,
                                                const INTEGER *offset, const int rows, int64_t c, VEC *seen,
                                                const int fresh) {
    const STORED(pool_found) none = {NAME(pool_identity)(0), (MASK){0} + (INTEGER)PC_NO_INDEX};
    if (c >= view->width || c + LANES <= 0)
        return none;
    const int whole = c >= 0 && c + LANES <= view->width;
    STORED(pool_found) found = {{0}, {0}};
    if (__builtin_expect(whole || view->safe, 1)) {
        for (int r = 0; r < rows; r++) {
            const VEC b = STORED(load)(row[r] + c);
            if (r >= rows - fresh)
                *seen += b;
            if (r == 0)
                found.value = b;
            else
                STORED(pool_next_row)(&found, b, offset[r]);
        }
    } else {
        STORED(pool_found) there;
        VEC all;
        STORED(pool_block_at_near_end)(view, row, offset, rows, c, &there, &all);
        found = there;
        *seen += all;
    }
    if (!whole) {
        const MASK inside = NAME(pool_inside)(c, view->width);
        found.value = NAME(select)(inside, found.value, none.value);
        found.at = (MASK)NAME(select)(inside, (VEC)found.at, (VEC)none.at);
    }
    return found;
}

/* Tap a of windows that begin in the columns of `now`: so many lanes further on. */
#define PC_TAP(lanes, a)                                                                                               \
    NAME(pool_quick_better)(&value, &at, NAME(shifted)(now.value, next.value, lanes),                                  \
                            (MASK)NAME(shifted)((VEC)now.at, (VEC)next.at, lanes) + (INTEGER)(a))

/* A row of n windows of k x k from column c on; `index` is that of column c in their first row. */
INLINE void STORED(pool_fused_row_at)(const STORED(pool_view) *view, const STORAGE *const *row,
                                      const INTEGER *offset, int64_t c, int64_t n, int64_t index, STORAGE *out, const STORAGE *limit,
                                      int64_t *indices, const int64_t *indices_limit, VEC *seen, const int k,
                                      const int stride) {
    MASK lane;
    for (int l = 0; l < LANES; l++)
        lane[l] = (INTEGER)(l * stride);
    STORED(pool_found) now = {{0}, {0}}, odd = now;
    for (int64_t i = -LANES; i < n; i += LANES) {
        const int64_t step = i + LANES;
        STORED(pool_found) next = now, next_odd = odd;
        if (stride == 1 && step < n + k - 1) {
            next = STORED(pool_block_at)(view, row, offset, k, c + step, seen, stride);
        } else if (stride == 2 && step <= n - (k == 2)) {
            const STORED(pool_found) a = STORED(pool_block_at)(view, row, offset, k, c + 2 * step, seen, stride);
            STORED(pool_found) b = a;
            if (step < n)
                b = STORED(pool_block_at)(view, row, offset, k, c + 2 * step + LANES, seen, stride);
            next.value = NAME(every_second)(a.value, b.value, 0);
            next.at = (MASK)NAME(every_second)((VEC)a.at, (VEC)b.at, 0);
            next_odd.value = NAME(every_second)(a.value, b.value, 1);
            next_odd.at = (MASK)NAME(every_second)((VEC)a.at, (VEC)b.at, 1);
        }
        if (i >= 0) {
            VEC value = now.value;
            MASK at = now.at;
            if (stride == 2)
                NAME(pool_quick_better)(&value, &at, odd.value, odd.at + 1);
            else
                PC_TAP(1, 1);
            if (k > 2)
                PC_TAP(stride == 1 ? 2 : 1, 2);
            if (k > 3)
                PC_TAP(3, 3);
            if (k > 4)
                PC_TAP(4, 4);
            STORED(pool_put)(out + i, value, n - i, limit);
            NAME(pool_put_indices)(indices + i, at + lane + (INTEGER)(index + i * stride), n - i, indices_limit);
        }
        now = next;
        odd = next_odd;
    }
}
#undef PC_TAP

/* pool_fused_box with indices; x: the plane that they count in. */
INLINE int STORED(pool_fused_box_at)(const pc_pool *p, const STORAGE *array, const STORAGE *x, pc_pool_box box,
                                     STORAGE *out, const STORAGE *limit, int64_t *indices,
                                     const int64_t *indices_limit, const int k, const int stride) {
    const pc_pool_taps d = pc_pool_taps_of(&p->d, 0, 0, box.d);
    STORED(pool_view) view = {array + p->x_begin, array + p->x_end, p->w.in, 0};
    const int64_t c = box.w0 * stride - p->w.pad;
    const int64_t ld = p->ld_x.h, lowest = pc_max(0, box.h0 * stride - p->h.pad);
    const int64_t highest = pc_min(p->h.in, (box.h1 - 1) * stride - p->h.pad + k);
    const STORAGE *const plane = x + d.first * p->ld_x.d;
    const int safe = STORED(pool_is_safe)(&view, plane + lowest * ld, highest - lowest, ld, p->w.pad);
    VEC seen = {0};
    for (int64_t h_out = box.h0; h_out < box.h1; h_out++, out += p->ld_out.h, indices += p->ld_idx.h) {
        const pc_pool_taps h = pc_pool_taps_of(&p->h, 0, 0, h_out);
        const STORAGE *const first = plane + h.first * ld, *row[5];
        INTEGER offset[5];
        for (int r = 0; r < k; r++) { /* the last row again for those behind it: it does not win against itself */
            const int64_t at = pc_min(r, h.n - 1);
            row[r] = first + at * ld;
            offset[r] = (INTEGER)(at * p->w.in);
        }
        view.safe = safe || STORED(pool_is_safe)(&view, first, h.n, ld, p->w.pad);
        if (h_out == box.h0)
            seen = STORED(pool_see)(&view, row, k - stride, NULL);
        STORED(pool_fused_row_at)(&view, row, offset, c, box.n,
                                  (d.first * p->h.in + h.first) * p->w.in + c, out, limit, indices, indices_limit,
                                  &seen, k, stride);
    }
    return NAME(pool_across)(seen, 1) == NAME(pool_across)(seen, 1);
}

static __attribute__((noinline)) int STORED(pool_fused_at)(const pc_pool *p, const STORAGE *array, const STORAGE *x,
                                                           pc_pool_box box, STORAGE *out, const STORAGE *limit,
                                                           int64_t *indices, const int64_t *indices_limit) {
    switch (p->fused) {
    case 2: return STORED(pool_fused_box_at)(p, array, x, box, out, limit, indices, indices_limit, 2, 2);
    case 3:
        return p->w.stride == 1
                   ? STORED(pool_fused_box_at)(p, array, x, box, out, limit, indices, indices_limit, 3, 1)
                   : STORED(pool_fused_box_at)(p, array, x, box, out, limit, indices, indices_limit, 3, 2);
    default: return STORED(pool_fused_box_at)(p, array, x, box, out, limit, indices, indices_limit, 5, 1);
    }
}

static void STORED(pool_indexed_box)(const pc_pool *p, const pc_pool_arrays *arrays, pc_pool_box box, int64_t later,
                                     int worker) {
    const int64_t image = box.image, c = box.c, d_out = box.d, h0 = box.h0, h1 = box.h1, w0 = box.w0, n = box.n;
    const STORAGE *const x = (const STORAGE *)arrays->x + image * p->ld_x.n + c * p->ld_x.c;
    const STORAGE *const end = (const STORAGE *)arrays->x + p->x_end;
    REAL *const v = (REAL *)(arrays->scratch + worker * p->scratch_bytes), *const y = v + 2 * p->v_elems;
    STORAGE *out = (STORAGE *)arrays->out + image * p->ld_out.n + c * p->ld_out.c + d_out * p->ld_out.d +
                   h0 * p->ld_out.h + w0 * p->inner;
    int64_t *indices = arrays->indices + image * p->ld_idx.n + c * p->ld_idx.c + d_out * p->ld_idx.d +
                       h0 * p->ld_idx.h + w0 * p->inner;
    if (p->fused) {
        const int64_t own = pc_pool_own(p, box, later, p->ld_out.h);
        const int64_t own_indices = pc_pool_own(p, box, later, p->ld_idx.h);
        if (STORED(pool_fused_at)(p, arrays->x, x, box, out, own ? out + own : NULL, indices,
                                  own_indices ? indices + own_indices : NULL))
            return;
    }
    STORED(pool_border_at)(p, v);
    for (int64_t h_out = h0; h_out < h1; h_out++, out += p->ld_out.h, indices += p->ld_idx.h) {
        STORED(pool_row_at)(p, &p->ld_x, x, end, d_out, h_out, w0, n, v, y, indices);
        STORED(write)(out, y, n * p->inner);
    }
}

static void STORED(pool_indexed_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const int64_t last = pc_min(job->p->n_boxes, (task + 1) * job->p->run);
    for (int64_t i = task * job->p->run; i < last; i++)
        STORED(pool_indexed_box)(job->p, job->arrays, pc_pool_box_of(job->p, i), last - 1 - i, worker);
}

static int STORED(pool_indexed_run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(pool_indexed, DTYPE, PC_ISA)));
    STORED(pool_job) job = {p, arrays};
    pc_parallel(STORED(pool_indexed_task), &job, p->n_tasks, threads);
    return PC_OK;
}

#else

/* Integers have no NaN, and too narrow lanes for an offset: one output after the other. */
static void NAME(pool_indexed_box)(const pc_pool *p, const pc_pool_arrays *arrays, pc_pool_box box) {
    const int64_t image = box.image, c = box.c, d_out = box.d, h0 = box.h0, h1 = box.h1, inner = p->inner;
    const int64_t w0 = box.w0, w1 = box.w0 + box.n;
    const REAL *const x = (const REAL *)arrays->x + image * p->ld_x.n + c * p->ld_x.c;
    const REAL least = NAME(pool_identity)(0)[0];
    const pc_pool_taps d = pc_pool_taps_of(&p->d, 0, p->adaptive, d_out);
    for (int64_t h_out = h0; h_out < h1; h_out++) {
        REAL *const out = (REAL *)arrays->out + image * p->ld_out.n + c * p->ld_out.c + d_out * p->ld_out.d +
                          h_out * p->ld_out.h;
        int64_t *const indices = arrays->indices + image * p->ld_idx.n + c * p->ld_idx.c + d_out * p->ld_idx.d +
                                 h_out * p->ld_idx.h;
        const pc_pool_taps h = pc_pool_taps_of(&p->h, 0, p->adaptive, h_out);
        for (int64_t o = w0; o < w1; o++) {
            const pc_pool_taps w = pc_pool_taps_of(&p->w, 0, p->adaptive, o);
            const int64_t nearest = (pc_min(d.first, p->d.in - 1) * p->h.in + pc_min(h.first, p->h.in - 1)) * p->w.in +
                                    pc_min(w.first, p->w.in - 1);
            for (int64_t j = 0; j < inner; j++) {
                REAL best = least;
                int64_t at = nearest;
                for (int64_t a = 0; a < d.n; a++)
                    for (int64_t b = 0; b < h.n; b++)
                        for (int64_t e = 0; e < w.n; e++) {
                            const int64_t z = d.first + a * d.step, y = h.first + b * h.step, i = w.first + e * w.step;
                            const REAL value = x[z * p->ld_x.d + y * p->ld_x.h + i * inner + j];
                            if (value > best) {
                                best = value;
                                at = (z * p->h.in + y) * p->w.in + i;
                            }
                        }
                out[o * inner + j] = best;
                indices[o * inner + j] = at;
            }
        }
    }
}

static void NAME(pool_indexed_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(pool_job) *job = ctx;
    const int64_t last = pc_min(job->p->n_boxes, (task + 1) * job->p->run);
    for (int64_t i = task * job->p->run; i < last; i++)
        NAME(pool_indexed_box)(job->p, job->arrays, pc_pool_box_of(job->p, i));
}

static int NAME(pool_indexed_run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(pool_indexed, DTYPE, PC_ISA)));
    NAME(pool_job) job = {p, arrays};
    pc_parallel(NAME(pool_indexed_task), &job, p->n_tasks, threads);
    return PC_OK;
}

#endif

/* A box of pool_scatter: one plane, or a block of the channels that are fastest in memory. */
typedef struct STORED(scatter_place) {
    int64_t image, c, j0, n; /* channels j0 .. j0 + n of the inner ones */
} STORED(scatter_place);

INLINE STORED(scatter_place) STORED(scatter_place_of)(const pc_pool *p, int64_t box) {
    const int64_t blocks = pc_ceil_div(p->inner, p->inner_tile), j0 = box % blocks * p->inner_tile;
    const int64_t c = box / blocks % p->c, image = box / blocks / p->c;
    return (STORED(scatter_place)){image, c, j0, pc_min(p->inner_tile, p->inner - j0)};
}

/* Whether every index of a task's planes lies in the other array's plane: of none that does not, and of no index below 0,
 * is the sign of what is joined here. */
static void STORED(pool_check_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(pool_job) *job = ctx;
    const pc_pool *p = job->p;
    const uint64_t last = (uint64_t)(p->d.in * p->h.in * p->w.in) - 1;
    uint64_t bad = 0;
    for (int64_t box = task * p->run; box < pc_min(p->n_boxes, (task + 1) * p->run); box++) {
        const STORED(scatter_place) s = STORED(scatter_place_of)(p, box);
        for (int64_t d = 0; d < p->d.out; d++)
            for (int64_t h = 0; h < p->h.out; h++) {
                const int64_t *row = job->arrays->indices + s.image * p->ld_idx.n + s.c * p->ld_idx.c +
                                     d * p->ld_idx.d + h * p->ld_idx.h + s.j0;
                const int64_t runs = s.n == p->inner ? 1 : p->w.out, n = s.n == p->inner ? p->w.out * s.n : s.n;
                for (int64_t o = 0; o < runs; o++)
                    for (int64_t j = 0; j < n; j++)
                        bad |= (uint64_t)row[o * p->inner + j] | (last - (uint64_t)row[o * p->inner + j]);
            }
    }
    if (bad >> 63)
        __atomic_store_n(job->arrays->status, PC_BAD_INDEX, __ATOMIC_RELAXED);
}

#if !PC_WIDENED
/* x += out at the indices, in PC_ABREAST planes at once: neighbouring windows often have one maximum, and each of these
 * sums waits for the one before it. */
static void STORED(pool_add_planes)(const pc_pool *p, const pc_pool_arrays *arrays, int64_t first) {
    const int64_t plane = p->d.in * p->h.in * p->w.in;
    REAL *x[PC_ABREAST];
    const REAL *small[PC_ABREAST];
    const int64_t *at[PC_ABREAST];
    for (int i = 0; i < PC_ABREAST; i++) {
        const STORED(scatter_place) s = STORED(scatter_place_of)(p, first + i);
        x[i] = (REAL *)arrays->x + s.image * p->ld_x.n + s.c * p->ld_x.c;
        small[i] = (const REAL *)arrays->out + s.image * p->ld_out.n + s.c * p->ld_out.c;
        at[i] = arrays->indices + s.image * p->ld_idx.n + s.c * p->ld_idx.c;
        memset(x[i], 0, (size_t)plane * sizeof(REAL));
    }
    for (int64_t d = 0; d < p->d.out; d++)
        for (int64_t h = 0; h < p->h.out; h++) {
            const int64_t row = d * p->ld_out.d + h * p->ld_out.h, at_row = d * p->ld_idx.d + h * p->ld_idx.h;
            for (int64_t o = 0; o < p->w.out; o++)
                for (int i = 0; i < PC_ABREAST; i++)
                    x[i][at[i][at_row + o]] += small[i][row + o];
        }
}
#endif

/* x: the array of the larger planes, out: of the smaller ones. */
static void STORED(pool_scatter_box)(const pc_pool *p, const pc_pool_arrays *arrays, int64_t box, int worker) {
    const STORED(scatter_place) s = STORED(scatter_place_of)(p, box);
    const int64_t inner = p->inner, columns = p->d.in * p->h.in * p->w.in;
    const int add = p->scatter == PC_SCATTER_ADD;
    STORAGE *const x = (STORAGE *)arrays->x + s.image * p->ld_x.n + s.c * p->ld_x.c + s.j0;
    REAL *const scratch = (REAL *)(arrays->scratch + worker * p->scratch_bytes);
#if PC_WIDENED
    /* sums are float32's: a plane of them, or as much of it as the scratch holds, all outputs once for each piece */
    REAL *const sums = scratch;
    REAL *const rest = sums + (add ? pc_round_up(p->chunk * p->inner_tile, LANES) : 0);
    const int64_t pitch = s.n, chunk = add ? p->chunk : columns;
#else
    REAL *const sums = x;
    REAL *const rest = scratch;
    const int64_t pitch = inner, chunk = columns;
#endif
    if (p->scatter == PC_SCATTER_PUT || (add && !PC_WIDENED)) {
        const int64_t run = s.n == inner ? columns : 1;
        for (int64_t i = 0; i < columns; i += run)
            memset(x + i * inner, 0, (size_t)(run * s.n) * sizeof(STORAGE));
    }
#if !PC_INTEGERS
    REAL *const v = rest, *const y = v + 2 * p->v_elems;
    int64_t *const own = (int64_t *)(y + 2 * p->y_elems);
    if (!arrays->indices)
        STORED(pool_border_at)(p, v);
#else
    (void)rest;
#endif
    for (int64_t begin = 0; begin < columns; begin += chunk) {
        const int64_t length = pc_min(chunk, columns - begin);
        if (PC_WIDENED && add)
            memset(sums, 0, (size_t)(length * s.n) * sizeof(REAL));
        for (int64_t d = 0; d < p->d.out; d++)
            for (int64_t h = 0; h < p->h.out; h++) {
                STORAGE *const small = (STORAGE *)arrays->out + s.image * p->ld_out.n + s.c * p->ld_out.c +
                                       d * p->ld_out.d + h * p->ld_out.h + s.j0;
                const int64_t *row;
#if !PC_INTEGERS
                if (!arrays->indices) {
                    const STORAGE *const forward = (const STORAGE *)arrays->forward;
                    STORED(pool_row_at)(p, &p->ld_forward, forward + s.image * p->ld_forward.n + s.c * p->ld_forward.c,
                                        forward + p->forward_end, d, h, 0, p->w.out, v, y, own);
                    row = own + s.j0;
                } else
#endif
                    row = arrays->indices + s.image * p->ld_idx.n + s.c * p->ld_idx.c + d * p->ld_idx.d +
                          h * p->ld_idx.h + s.j0;
                if (add && inner == 1 && length == columns) { /* the usual gradient, without a question an element */
                    for (int64_t o = 0; o < p->w.out; o++)
                        sums[row[o]] += STORED(get)(small + o);
                    continue;
                }
                for (int64_t o = 0; o < p->w.out; o++, row += inner)
                    for (int64_t j = 0; j < s.n; j++) {
                        STORAGE *const element = small + o * inner + j;
                        if (p->scatter == PC_SCATTER_PUT)
                            x[row[j] * inner + j] = *element;
                        else if (p->scatter == PC_SCATTER_GET)
                            *element = x[row[j] * inner + j];
                        else if ((uint64_t)(row[j] - begin) < (uint64_t)length)
                            sums[(row[j] - begin) * pitch + j] += STORED(get)(element);
                    }
            }
#if PC_WIDENED
        if (add) {
            const int64_t run = s.n == inner ? length : 1;
            for (int64_t i = 0; i < length; i += run)
                STORED(write)(x + (begin + i) * inner, sums + i * s.n, run * s.n);
        }
#endif
    }
}

static void STORED(pool_scatter_task)(void *ctx, int64_t task, int worker) {
    const STORED(pool_job) *job = ctx;
    const pc_pool *p = job->p;
    int64_t box = task * p->run;
    const int64_t last = pc_min(p->n_boxes, box + p->run);
#if !PC_WIDENED
    const int abreast = p->scatter == PC_SCATTER_ADD && p->inner == 1 && job->arrays->indices;
    for (; abreast && box + PC_ABREAST <= last; box += PC_ABREAST)
        STORED(pool_add_planes)(p, job->arrays, box);
#endif
    for (; box < last; box++)
        STORED(pool_scatter_box)(p, job->arrays, box, worker);
}

static int STORED(pool_scatter_run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(pool_scatter, DTYPE, PC_ISA)));
    STORED(pool_job) job = {p, arrays};
    if (arrays->indices) {
        pc_parallel(STORED(pool_check_task), &job, p->n_tasks, threads);
        if (*arrays->status != PC_OK)
            return *arrays->status;
    }
    pc_parallel(STORED(pool_scatter_task), &job, p->n_tasks, threads);
    return PC_OK;
}
