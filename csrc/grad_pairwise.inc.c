/* grad_pairwise: the gradient of a convolution's bias, db[o] = sum over n, p of dY[n, o, p].
 *
 * Where the elements of a row are neighbours, pixels are in the lanes and a task is a channel; where channels are
 * fastest in memory these are, PC_BIAS_VECTORS vectors of them a task. Blocks of PC_BIAS_BLOCK vectors are summed one
 * after the other and then pairwise, as a counter in binary carries: two sums of 2^i blocks become one of 2^(i + 1).
 * Where there are few channels the images or rows are dealt to parts, summed in their order.
 *
 * moved: dY once. Error: (PC_BIAS_BLOCK + 2 log2 K + parts) eps sum |dY| at most (Higham 2002, section 4.2). */

#ifndef PC_BIAS_BLOCK
#define PC_BIAS_BLOCK 16
#define PC_BIAS_VECTORS 4
#endif

#if !PC_WIDENED

/* level[i] holds the sum of 2^i blocks where bit i of count is set. */
typedef struct NAME(pairwise) {
    VEC level[48];
    uint64_t count;
} NAME(pairwise);

INLINE void NAME(pairwise_add)(NAME(pairwise) *s, VEC block) {
    int i = 0;
    for (; s->count >> i & 1; i++)
        block = s->level[i] + block;
    s->level[i] = block;
    s->count++;
}

INLINE VEC NAME(pairwise_total)(const NAME(pairwise) *s) {
    VEC sum = {0};
    int empty = 1;
    for (int i = 0; i < 48; i++)
        if (s->count >> i & 1) {
            sum = empty ? s->level[i] : s->level[i] + sum;
            empty = 0;
        }
    return sum;
}

#endif

/* Rows of pixels that are neighbours in memory, from the first image to the last. */
typedef struct STORED(bias_rows) {
    int64_t n, d, h, w;
} STORED(bias_rows);

static STORED(bias_rows) STORED(bias_rows_of)(const pc_conv *p) {
    STORED(bias_rows) r = {p->n, p->d.out, p->h.out, p->w.out};
    if (r.h == 1 || p->ld_out.h == r.w * p->ld_out.w) {
        r.w *= r.h;
        r.h = 1;
        if (r.d == 1 || p->ld_out.d == r.w * p->ld_out.w) {
            r.w *= r.d;
            r.d = 1;
        }
    }
    return r;
}

static void STORED(bias_task)(void *ctx, int64_t task, int worker) {
    (void)worker;
    const STORED(grad_job) *job = ctx;
    const pc_grad_cut *k = &job->g->cut;
    const pc_conv *p = &job->g->conv;
    const pc_ld *ld = &p->ld_out;
    const STORED(bias_rows) rows = STORED(bias_rows_of)(p);
    const int64_t part = task / k->n_blocks, block = task % k->n_blocks, n_rows = rows.n * rows.d * rows.h;
    const int64_t first = part * n_rows / k->parts, last = (part + 1) * n_rows / k->parts;
    REAL *sums = (REAL *)job->scratch + part * p->c_out + block * k->m_block;
    if (k->m_block > 1) {
        const int64_t n_c = pc_min(k->m_block, p->c_out - block * k->m_block), vectors = pc_ceil_div(n_c, LANES);
        NAME(pairwise) s[PC_BIAS_VECTORS];
        VEC acc[PC_BIAS_VECTORS];
        for (int64_t j = 0; j < vectors; j++) {
            s[j].count = 0;
            acc[j] = (VEC){0};
        }
        int64_t pixels = 0;
        for (int64_t row = first; row < last; row++) {
            const STORAGE *y = job->y + block * k->m_block + row % rows.h * ld->h + row / rows.h % rows.d * ld->d +
                               row / rows.h / rows.d * ld->n;
            for (int64_t w = 0; w < rows.w; w++, y += ld->w) {
                for (int64_t j = 0; j < vectors; j++) {
                    VEC v = {0};
                    if ((j + 1) * LANES <= n_c)
                        v = STORED(load)(y + j * LANES);
                    else
                        STORED(read)((REAL *)&v, y + j * LANES, n_c - j * LANES);
                    acc[j] += v;
                }
                if (++pixels % PC_BIAS_BLOCK == 0)
                    for (int64_t j = 0; j < vectors; j++) {
                        NAME(pairwise_add)(&s[j], acc[j]);
                        acc[j] = (VEC){0};
                    }
            }
        }
        for (int64_t j = 0; j < vectors; j++) {
            NAME(pairwise_add)(&s[j], acc[j]);
            const VEC total = NAME(pairwise_total)(&s[j]);
            for (int64_t i = 0; i < pc_min(LANES, n_c - j * LANES); i++)
                sums[j * LANES + i] = total[i];
        }
        return;
    }
    NAME(pairwise) s = {.count = 0};
    VEC acc[4] = {{0}};
    int64_t vectors = 0;
    for (int64_t row = first; row < last; row++) {
        const STORAGE *y = job->y + block * ld->c + row % rows.h * ld->h + row / rows.h % rows.d * ld->d +
                           row / rows.h / rows.d * ld->n;
        for (int64_t w = 0; w < rows.w;) {
            if (ld->w == 1 && w + 4 * LANES <= rows.w) {
                for (int j = 0; j < 4; j++)
                    acc[j] += STORED(load)(y + w + j * LANES);
                w += 4 * LANES;
            } else {
                _Alignas(64) REAL some[LANES] = {0};
                const int64_t n = pc_min(LANES, rows.w - w);
                if (ld->w == 1)
                    STORED(read)(some, y + w, n);
                else
                    for (int64_t i = 0; i < n; i++)
                        some[i] = STORED(get)(y + (w + i) * ld->w);
                acc[0] += NAME(load)(some);
                w += n;
            }
            if (++vectors % (PC_BIAS_BLOCK / 4) == 0) {
                NAME(pairwise_add)(&s, (acc[0] + acc[1]) + (acc[2] + acc[3]));
                acc[0] = acc[1] = acc[2] = acc[3] = (VEC){0};
            }
        }
    }
    NAME(pairwise_add)(&s, (acc[0] + acc[1]) + (acc[2] + acc[3]));
    VEC total = NAME(pairwise_total)(&s);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            total[i] += total[i + half];
    *sums = total[0];
}

static void STORED(grad_pairwise_run)(const pc_grad *g, const pc_grad_arrays *arrays, int threads) {
    pc_set_last_kernel(PC_STRING(PC_PASTE(grad_pairwise, DTYPE, PC_ISA)));
    STORED(grad_job) job = STORED(grad_job_of)(g, arrays);
    pc_parallel(STORED(bias_task), &job, g->n_tasks, threads);
    for (int64_t o = 0; o < g->conv.c_out; o++) {
        REAL sum = ((const REAL *)job.scratch)[o];
        for (int64_t part = 1; part < g->cut.parts; part++)
            sum += ((const REAL *)job.scratch)[part * g->conv.c_out + o];
        STORED(put)(job.out + o * g->ld_w.n, sum);
    }
}
