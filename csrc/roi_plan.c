/* How boxes are cut: the pixels that each bin of a box reads along each axis, with their weights, and the cut into tasks.
 *
 * Everything here is computed in double and without fused multiplication, so that every instruction set, and the
 * definition in Python, finds the same samples: how many there are in a bin is ceil(size / bins), which jumps.
 *
 * The bins of a box are a product of those of its axes, and so are the samples of a bin and their bilinear weights:
 * a table of a few pixels and weights an axis says all. An adaptive bin has a sample a pixel or more, so that of a box of
 * any size no more than about two a pixel of the map lie inside; the others are zeros and are counted, never visited. */
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include "pyconv.h"

#include <math.h>

/* A worker's map block stays in L2 where it can; a gradient's band is at most so large. */
#define BAND_BYTES (1024 * 1024)
/* Tasks that keep a few threads busy, if the problem has as much work. */
#define TASKS 32
/* Corners of windows of whole pixels are clipped here before they become integers. */
#define FAR 1e9

typedef struct axis_table {
    const pc_roi_axis *a;
    pc_roi_lists lists;
    int64_t real_bytes, n; /* taps so far */
} axis_table;

static void put(void *reals, int64_t real_bytes, int64_t i, double value) {
    if (real_bytes == sizeof(float))
        ((float *)reals)[i] = (float)value;
    else
        ((double *)reals)[i] = value;
}

static double get(const void *reals, int64_t real_bytes, int64_t i) {
    return real_bytes == sizeof(float) ? (double)((const float *)reals)[i] : ((const double *)reals)[i];
}

static void add_tap(axis_table *t, int64_t index, double weight) {
    if (t->n == t->a->taps)
        return;
    t->lists.index[t->n] = (int32_t)index;
    put(t->lists.weight, t->real_bytes, t->n, weight);
    t->n++;
}

/* The same pixel once: neighbouring samples are neighbours on the map, in either direction, so that a pixel that comes
 * again is among the last three. */
static void add_weight(axis_table *t, int64_t from, int64_t index, double weight) {
    for (int64_t i = t->n - 1; i >= from && i >= t->n - 3; i--)
        if (t->lists.index[i] == index) {
            put(t->lists.weight, t->real_bytes, i, get(t->lists.weight, t->real_bytes, i) + weight);
            return;
        }
    add_tap(t, index, weight);
}

/* Samples of one axis: pixel indices lo and hi of each that lies on the map, with 1 - f and f. A pixel that weighs nothing
 * is left out: it is zero, also where it is infinite or NaN. */
static void align_axis(const pc_roi *p, axis_table *t, double low, double high) {
    const pc_roi_axis *a = t->a;
    const double offset = p->aligned || p->rule == PC_ROI_PS_ALIGN ? 0.5 : 0.0, in = (double)a->in;
    const double start = low * p->scale - offset, end = high * p->scale - offset;
    double size = end - start;
    if (!p->aligned && p->rule == PC_ROI_ALIGN && !(size >= 1.0))
        size = 1.0;
    const double bin = size / (double)a->out;
    const double count = p->ratio ? (double)p->ratio : ceil(bin);
    for (int64_t o = 0; o < a->out; o++) {
        const int64_t from = t->n;
        t->lists.begin[o] = (int32_t)from;
        const double base = start + (double)o * bin;
        /* samples first .. last hold all that are on the map, and perhaps some more */
        double first = 0, last = count - 1;
        if (bin > 0) {
            first = fmax(first, floor((-1.0 - base) * count / bin) - 2);
            last = fmin(last, ceil((in - base) * count / bin) + 2);
        } else if (bin < 0) {
            first = fmax(first, floor((in - base) * count / bin) - 2);
            last = fmin(last, ceil((-1.0 - base) * count / bin) + 2);
        }
        double inside = 0;
        int zero = 0;
        const double most = 4 * in + 16 + (double)p->ratio;
        const int64_t visits = last >= first ? (int64_t)fmin(last - first + 1, most) : 0;
        for (int64_t v = 0; v < visits; v++) {
            const double s = first + (double)v;
            double at = base + (s + 0.5) * bin / count;
            if (!(at >= -1.0 && at <= in))
                continue;
            inside++;
            at = at <= 0 ? 0 : at;
            int64_t lo = (int64_t)at, hi = lo + 1;
            if (lo >= a->in - 1) {
                lo = hi = a->in - 1;
                at = (double)lo;
            }
            const double f = at - (double)lo;
            if (p->join == PC_ROI_MEAN) {
                add_weight(t, from, lo, (1.0 - f) / count);
                if (f > 0)
                    add_weight(t, from, hi, f / count);
            } else if (p->join == PC_ROI_MAX_SAMPLE) {
                /* halves of one pixel make the sample that it is alone in */
                add_tap(t, lo, f > 0 ? 1.0 - f : 0.5);
                add_tap(t, f > 0 ? hi : lo, f > 0 ? f : 0.5);
            } else {
                add_tap(t, lo, 1.0 - f);
                if (f > 0)
                    add_tap(t, hi, f);
                else
                    zero = 1;
            }
        }
        t->lists.zero[o] = zero || inside < count || !(count > 0);
    }
    t->lists.begin[a->out] = (int32_t)t->n;
}

/* Windows of whole pixels: floor(o n / out) up to ceil((o + 1) n / out), of n pixels. */
static void pool_axis(const pc_roi *p, axis_table *t, double low, double high) {
    const pc_roi_axis *a = t->a;
    const int64_t start = (int64_t)round(fmax(-FAR, fmin(FAR, low * p->scale)));
    const int64_t end = (int64_t)round(fmax(-FAR, fmin(FAR, high * p->scale)));
    const int maxima = p->rule == PC_ROI_POOL;
    const int64_t n = pc_max(1, end - start + maxima);
    /* the last row and column are out of reach of position-sensitive pooling, as its authors wrote it */
    const int64_t limit = maxima ? a->in : a->in - 1;
    for (int64_t o = 0; o < a->out; o++) {
        t->lists.begin[o] = (int32_t)t->n;
        /* o n / out without the product, which may not fit */
        const int64_t whole = n / a->out, rest = n % a->out;
        const int64_t first = start + o * whole + o * rest / a->out;
        const int64_t last = start + (o + 1) * whole + pc_ceil_div((o + 1) * rest, a->out);
        const int64_t from = pc_max(0, pc_min(limit, first)), to = pc_max(0, pc_min(limit, last));
        for (int64_t i = from; i < to; i++)
            add_tap(t, i, maxima ? 1.0 : 1.0 / (double)(to - from));
        t->lists.zero[o] = to <= from;
    }
    t->lists.begin[a->out] = (int32_t)t->n;
}

/* Taps of all bins by pixels, in falling order where the box is the wrong way round. A pixel is among the last two lines
 * or a new one, as in add_weight. */
static int64_t make_lines(axis_table *t) {
    const pc_roi_lists *s = &t->lists;
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++) {
        int64_t l = n - 1;
        while (l >= 0 && l >= n - 3 && s->line[l] != s->index[i])
            l--;
        if (l < 0 || l < n - 3) {
            l = n++;
            s->line[l] = s->index[i];
            s->line_begin[l] = 0;
        }
        s->owner[i] = (int32_t)l;
        s->line_begin[l]++;
    }
    int32_t before = 0;
    for (int64_t l = 0; l < n; l++) {
        const int32_t here = s->line_begin[l];
        s->line_begin[l] = before;
        before += here;
    }
    s->line_begin[n] = before;
    for (int64_t o = 0; o < t->a->out; o++)
        for (int64_t i = s->begin[o]; i < s->begin[o + 1]; i++) {
            const int32_t to = s->line_begin[s->owner[i]]++;
            s->line_bin[to] = (int32_t)o;
            put(s->line_weight, t->real_bytes, to, get(s->weight, t->real_bytes, i));
        }
    for (int64_t l = n; l > 0; l--)
        s->line_begin[l] = s->line_begin[l - 1];
    if (n > 0)
        s->line_begin[0] = 0;
    return n;
}

/* Gives all bins as many taps, where they are few, so that the kernels' loops have one length for a box: the last tap in
 * halves, which changes no sum, and no infinity. */
static int64_t make_even(axis_table *t) {
    const pc_roi_lists *s = &t->lists;
    int64_t most = 0, least = PC_ROI_EVEN;
    for (int64_t o = 0; o < t->a->out; o++) {
        const int64_t n = s->begin[o + 1] - s->begin[o];
        most = pc_max(most, n);
        least = pc_min(least, n);
    }
    if (least == 0 || most > PC_ROI_EVEN || most * t->a->out > t->a->taps)
        return 0;
    for (int64_t o = t->a->out - 1; o >= 0; o--) {
        const int64_t from = s->begin[o], n = (o == t->a->out - 1 ? t->n : s->begin[o + 1]) - from, to = o * most;
        double last = get(s->weight, t->real_bytes, from + n - 1);
        const int32_t pixel = s->index[from + n - 1];
        for (int64_t i = n - 1; i >= 0; i--) {
            s->index[to + i] = s->index[from + i];
            put(s->weight, t->real_bytes, to + i, get(s->weight, t->real_bytes, from + i));
        }
        for (int64_t i = n; i < most; i++) {
            last /= 2;
            put(s->weight, t->real_bytes, to + i - 1, last);
            put(s->weight, t->real_bytes, to + i, last);
            s->index[to + i] = pixel;
        }
    }
    for (int64_t o = 0; o <= t->a->out; o++)
        s->begin[o] = (int32_t)(o * most);
    return most;
}

void pc_roi_make_table(const pc_roi *p, int role, int64_t real_bytes, const double *box, void *table) {
    pc_roi_head *head = table;
    const pc_roi_axis *axes[3] = {&p->d, &p->h, &p->w};
    const int lines = pc_roi_has_lines(p, role);
    head->image = (int64_t)box[0];
    for (int i = 0; i < 3; i++) {
        axis_table t = {axes[i], pc_roi_lists_of(axes[i], lines, real_bytes, table), real_bytes, 0};
        const int corner = 3 - i; /* boxes have x first */
        if (corner > p->rank) {
            t.lists.begin[0] = t.lists.zero[0] = 0;
            add_tap(&t, 0, 1.0);
            if (p->join == PC_ROI_MAX_SAMPLE)
                add_tap(&t, 0, 0.0);
            t.lists.begin[1] = (int32_t)t.n;
        } else if (p->rule == PC_ROI_ALIGN || p->rule == PC_ROI_PS_ALIGN) {
            align_axis(p, &t, box[corner], box[p->rank + corner]);
        } else {
            pool_axis(p, &t, box[corner], box[p->rank + corner]);
        }
        int64_t first = axes[i]->in, last = -1;
        for (int64_t j = 0; j < t.n; j++) {
            first = pc_min(first, t.lists.index[j]);
            last = pc_max(last, t.lists.index[j]);
        }
        head->first[i] = first;
        head->last[i] = last;
        head->lines[i] = lines ? make_lines(&t) : 0;
        head->even[i] = role == PC_ROI_FORWARD && p->join == PC_ROI_MEAN && corner <= p->rank ? make_even(&t) : 0;
    }
}

void pc_roi_sort(const pc_roi *p, const double *boxes, pc_roi_shared s) {
    const int64_t step = 1 + 2 * p->rank;
    for (int64_t i = 0; i <= p->n; i++)
        s.first[i] = 0;
    for (int64_t k = 0; k < p->boxes; k++)
        if (boxes[k * step] >= 0)
            s.first[(int64_t)boxes[k * step] + 1]++;
    for (int64_t i = 0; i < p->n; i++)
        s.first[i + 1] += s.first[i];
    for (int64_t k = 0; k < p->boxes; k++)
        if (boxes[k * step] >= 0)
            s.order[s.first[(int64_t)boxes[k * step]]++] = k;
    for (int64_t i = p->n; i > 0; i--)
        s.first[i] = s.first[i - 1];
    s.first[0] = 0;
}

/* Most taps of an axis: a bin's samples are no further apart than a pixel where they are adaptive, and then the bins
 * share the map; else each sample has two. */
static int64_t most_taps(const pc_roi *p, const pc_roi_axis *a) {
    if (p->rule == PC_ROI_POOL || p->rule == PC_ROI_PS_POOL)
        return a->in + 2 * a->out;
    if (p->join == PC_ROI_MEAN)
        return p->ratio ? a->out * pc_min(2 * p->ratio, a->in) : a->in + 2 + PC_ROI_EVEN * a->out;
    return p->ratio ? 2 * p->ratio * a->out : 4 * (a->in + 2) + 2 * a->out;
}

/* Bytes of a worker with so many vectors of channels, or -1 where a part alone is too large; `whole` and bands say what
 * of the map it holds. */
static int64_t worker_elems(pc_roi *p, const pc_roi_kernel *kernel) {
    const int64_t block = p->vectors * kernel->lanes, bins = p->d.out * p->h.out * p->w.out;
    const int64_t pixels = p->d.in * p->h.in * p->w.in;
    const int gradient = kernel->role == PC_ROI_GRADIENT;
    p->bins_elems = bins * block;
    p->row_elems = p->w.in * block;
    if (gradient) {
        p->cache_elems = (p->w.out + (p->rank == 3 ? p->h.out * p->w.out : 0)) * block;
        p->map_elems = (p->band * p->w.in + (p->join != PC_ROI_MEAN ? pixels : 0)) * block;
        p->row_elems = 0;
    } else {
        p->cache_elems = PC_ROI_KEPT * (p->w.out + (p->rank == 3 ? p->h.out * p->w.out : 0)) * block;
        p->map_elems = p->whole ? pixels * block : 0;
    }
    return p->bins_elems + p->row_elems + p->cache_elems + p->map_elems + kernel->lanes;
}

int pc_roi_plan(const pc_roi_kernel *kernel, pc_roi *p, int64_t max_scratch_bytes) {
    const int gradient = kernel->role == PC_ROI_GRADIENT;
    const int64_t real = kernel->real_bytes, lanes = kernel->lanes, rows = p->d.in * p->h.in;
    const int64_t bins = p->d.out * p->h.out * p->w.out, pixels = rows * p->w.in, most = max_scratch_bytes / real;
    const int lines = pc_roi_has_lines(p, kernel->role);
    pc_roi_axis *axes[3] = {&p->d, &p->h, &p->w};
    p->table_bytes = pc_round_up((int64_t)sizeof(pc_roi_head), 64);
    for (int i = 0; i < 3; i++) {
        pc_roi_axis *a = axes[i];
        a->taps = i < 3 - p->rank ? 2 : most_taps(p, a);
        a->begin = p->table_bytes;
        if (a->taps > INT32_MAX / 4 || a->out > INT32_MAX / 4 || a->in > INT32_MAX / 4)
            return 0;
        const int64_t words = 2 * a->out + 2 + a->taps + (lines ? 3 * a->taps + a->taps + 1 : 0);
        p->table_bytes += pc_round_up(a->taps * real * (1 + lines) + words * (int64_t)sizeof(int32_t), 64);
    }
    if (p->table_bytes > max_scratch_bytes || bins > most || pixels > INT32_MAX / 2)
        return 0;
    /* a gradient numbers the pixels or samples that it looks through */
    if (gradient && p->join != PC_ROI_MEAN && (double)p->d.taps * (double)p->h.taps * (double)p->w.taps > INT32_MAX)
        return 0;
    /* two vectors of channels share the addresses and weights of a tap */
    const int needs_map = p->join == PC_ROI_MAX_SAMPLE || (gradient && p->join != PC_ROI_MEAN);
    const int64_t room = max_scratch_bytes - p->table_bytes - 64;
    p->vectors = p->c > lanes && !needs_map ? 2 : 1;
    for (;; p->vectors--) {
        if (p->vectors == 0)
            return 0;
        p->whole = 1;
        const int64_t row_bytes = p->w.in * p->vectors * lanes * real;
        p->band = pc_max(1, pc_min(rows, BAND_BYTES / row_bytes));
        if (worker_elems(p, kernel) * real <= room)
            break;
        p->whole = 0;
        p->band = 1;
        if (!needs_map && p->vectors == 1 && worker_elems(p, kernel) * real <= room)
            break;
    }
    p->n_blocks = pc_ceil_div(p->c, p->vectors * lanes);
    const int64_t planes = pc_max(1, p->n_blocks * p->slices * (gradient ? p->n : 1));
    if (gradient) {
        /* a box on the border of two bands is turned for both of them */
        const int64_t wanted = pc_min(pc_ceil_div(TASKS / 2, planes), pc_ceil_div(rows, 16));
        p->band = pc_min(p->band, pc_ceil_div(rows, pc_max(1, wanted)));
        p->n_bands = pc_ceil_div(rows, p->band);
    }
    p->n_chunks = pc_max(1, pc_min(pc_ceil_div(2 * TASKS, planes), p->boxes / 8));
    p->chunk = pc_ceil_div(pc_max(1, p->boxes), p->n_chunks);
    p->n_chunks = pc_ceil_div(p->boxes, p->chunk);
    p->n_tables = p->boxes * p->table_bytes <= 2 * max_scratch_bytes ? p->boxes : 0;
    p->shared_bytes = pc_roi_lists_bytes(p) + p->n_tables * p->table_bytes;
    p->scratch_bytes = 64 + pc_round_up(worker_elems(p, kernel) * real, 64) + (p->n_tables ? 0 : p->table_bytes);
    return 1;
}
