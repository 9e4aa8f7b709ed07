/* layers_interleave: pixels out of channels and back into them (pixel_shuffle, pixel_unshuffle).
 *
 *   large[n, c, h r + i, w r + j] = small[n, (c r + i) r + j, h, w]          or the other way round
 *
 * Both are a number of runs that are dealt element by element to one dense run: dense[e k + j] = part[j][e]. Where rows are
 * contiguous a row of the large image is the dense run of r rows of the small one (k = r); where channels are, a pixel of
 * the small image is the dense run of r x r pixels of the large one (k = r r). Two and four parts are zipped in registers,
 * LANES of each at a time, the last ones once more from the end; others go one by one.
 *
 * A task is a number of lines: rows of the large image, or rows of pixels of the small one. Every element is read and
 * written once; it is a move, so the type is only its size. */
typedef struct NAME(weave) {
    REAL *dense, *part;      /* which of them is written, `apart` says */
    int64_t n, k, across;    /* part j begins at part + j / across * ld_down + j % across * ld_across */
    int64_t ld_down, ld_across;
    int64_t dense_step, part_step; /* between elements */
    int apart;               /* from the dense run to the parts */
} NAME(weave);

INLINE REAL *NAME(weave_part)(const NAME(weave) *s, int64_t j) {
    return s->part + j / s->across * s->ld_down + j % s->across * s->ld_across;
}

/* Whole vectors of two or four parts; n >= LANES. */
INLINE void NAME(weave_vectors)(const NAME(weave) *s, const int k) {
    REAL *part[4];
    for (int j = 0; j < k; j++)
        part[j] = NAME(weave_part)(s, j);
    for (int64_t first = 0; first < s->n; first += LANES) {
        const int64_t e = pc_min(first, s->n - LANES);
        REAL *const dense = s->dense + e * k;
        VEC v[4], t[4];
        if (s->apart) {
            for (int j = 0; j < k; j++)
                t[j] = NAME(load)(dense + j * LANES);
            if (k == 4) {
                for (int j = 0; j < 2; j++) {
                    v[j] = NAME(every_second)(t[0], t[1], j);
                    v[j + 2] = NAME(every_second)(t[2], t[3], j);
                }
                for (int j = 0; j < 2; j++) {
                    NAME(store)(part[j] + e, NAME(every_second)(v[j], v[j + 2], 0));
                    NAME(store)(part[j + 2] + e, NAME(every_second)(v[j], v[j + 2], 1));
                }
            } else {
                for (int j = 0; j < 2; j++)
                    NAME(store)(part[j] + e, NAME(every_second)(t[0], t[1], j));
            }
            continue;
        }
        for (int j = 0; j < k; j++)
            v[j] = NAME(load)(part[j] + e);
        if (k == 4) {
            NAME(zip)(v[0], v[2], t);
            NAME(zip)(v[1], v[3], t + 2);
            VEC low[2], high[2];
            NAME(zip)(t[0], t[2], low);
            NAME(zip)(t[1], t[3], high);
            for (int j = 0; j < 2; j++) {
                NAME(store)(dense + j * LANES, low[j]);
                NAME(store)(dense + (j + 2) * LANES, high[j]);
            }
        } else {
            NAME(zip)(v[0], v[1], t);
            for (int j = 0; j < 2; j++)
                NAME(store)(dense + j * LANES, t[j]);
        }
    }
}

static __attribute__((noinline)) void NAME(weave_run)(const NAME(weave) *s) {
    const int whole = s->dense_step == 1 && s->part_step == 1 && s->n >= LANES;
    if (whole && s->k == 2) {
        NAME(weave_vectors)(s, 2);
    } else if (whole && s->k == 4) {
        NAME(weave_vectors)(s, 4);
    } else {
        for (int64_t j = 0; j < s->k; j++) {
            REAL *dense = s->dense + j * s->dense_step, *part = NAME(weave_part)(s, j);
            for (int64_t e = 0; e < s->n; e++, dense += s->k * s->dense_step, part += s->part_step) {
                if (s->apart)
                    *part = *dense;
                else
                    *dense = *part;
            }
        }
    }
}

typedef struct NAME(interleave_job) {
    const pc_interleave *p;
    REAL *small, *large;
} NAME(interleave_job);

static void NAME(interleave_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const NAME(interleave_job) *job = ctx;
    const pc_interleave *p = job->p;
    const int64_t r = p->factor, *ls = p->ld_small, *ll = p->ld_large;
    const int64_t height = p->channels ? p->h : p->h * r, planes = p->channels ? p->n : p->n * p->c;
    const int64_t end = pc_min(planes * height, (task + 1) * p->rows);
    for (int64_t line = task * p->rows; line < end; line++) {
        const int64_t plane = line / height, row = line % height;
        if (p->channels) {
            NAME(weave) s = {job->small + plane * ls[0] + row * ls[2], job->large + plane * ll[0] + row * r * ll[2],
                             p->c, r * r, r, ll[2], ll[3], ls[1], ll[1], !p->gather};
            for (int64_t w = 0; w < p->w; w++, s.dense += ls[3], s.part += r * ll[3])
                NAME(weave_run)(&s);
        } else {
            const int64_t n = plane / p->c, c = plane % p->c, h = row / r, i = row % r;
            const NAME(weave) s = {job->large + n * ll[0] + c * ll[1] + row * ll[2],
                                   job->small + n * ls[0] + (c * r + i) * r * ls[1] + h * ls[2],
                                   p->w, r, r, 0, ls[1], ll[3], ls[3], p->gather};
            NAME(weave_run)(&s);
        }
    }
}

static void NAME(interleave_all)(const pc_interleave *p, void *const *arrays, int threads) {
    NAME(interleave_job) job = {p, arrays[p->gather], arrays[!p->gather]};
    pc_parallel(NAME(interleave_task), &job, p->n_tasks, threads);
}
