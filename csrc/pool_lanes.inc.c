/* Adaptive windows of small planes: LANES planes at a time, one a lane.
 *
 * A plane of a few hundred elements has rows that hardly fill a vector, and windows of a few elements that begin anywhere.
 * LANES neighbouring planes are turned into pixels of LANES channels, where every join is one of whole vectors: the rows
 * under an output's window first, into v, then v's columns; results are turned back.
 *
 * Loads and joins: (pixels + rows joined again + a column's taps) / LANES a plane, and two transposes. A task is a vector of
 * planes. The order of a sum is that of the rows and columns. */
#if !PC_INTEGERS

INLINE void STORED(pool_lanes_of)(const STORED(pool_job) *job, int64_t task, int worker, const int total) {
    const pc_pool *p = job->p;
    const int64_t block = task % p->n_w_tiles, image = task / p->n_w_tiles, c0 = block * LANES;
    const int64_t n_lanes = pc_min(LANES, p->c - c0), width = p->w.in, height = p->h.in;
    const STORAGE *x = (const STORAGE *)job->arrays->x + image * p->ld_x.n + c0 * p->ld_x.c;
    STORAGE *out = (STORAGE *)job->arrays->out + image * p->ld_out.n + c0 * p->ld_out.c;
    REAL *const map = (REAL *)(job->arrays->scratch + worker * p->scratch_bytes);
    REAL *const v = map + height * width * LANES, *const y = v + width * LANES;
    if (p->ld_x.h == width)
        STORED(lanes_load)(x, p->ld_x.c, 1, n_lanes, height * width, map);
    else
        for (int64_t h = 0; h < height; h++)
            STORED(lanes_load)(x + h * p->ld_x.h, p->ld_x.c, 1, n_lanes, width, map + h * width * LANES);
    pc_pool_taps rows[PC_POOL_LANES_OUT], columns[PC_POOL_LANES_OUT];
    pc_pool_taps_from(&p->h, 0, 1, 0, p->h.out, rows);
    pc_pool_taps_from(&p->w, 0, 1, 0, p->w.out, columns);
    REAL *to = y;
    for (int64_t h = 0; h < p->h.out; h++) {
        const REAL *const top = map + rows[h].first * width * LANES;
        for (int64_t w = 0; w < width; w++) {
            VEC sum = *(const VEC *)(top + w * LANES);
            for (int64_t r = 1; r < rows[h].n; r++)
                sum = NAME(pool_join)(sum, *(const VEC *)(top + (r * width + w) * LANES), total);
            *(VEC *)(v + w * LANES) = sum;
        }
        for (int64_t w = 0; w < p->w.out; w++, to += LANES) {
            const REAL *const left = v + columns[w].first * LANES;
            VEC sum = *(const VEC *)left;
            for (int64_t k = 1; k < columns[w].n; k++)
                sum = NAME(pool_join)(sum, *(const VEC *)(left + k * LANES), total);
            *(VEC *)to = total ? sum / (REAL)(rows[h].n * columns[w].n) : sum;
        }
    }
    if (p->ld_out.h == p->w.out)
        STORED(lanes_save)(y, p->ld_out.c, 1, n_lanes, p->h.out * p->w.out, out);
    else
        for (int64_t h = 0; h < p->h.out; h++)
            STORED(lanes_save)(y + h * p->w.out * LANES, p->ld_out.c, 1, n_lanes, p->w.out, out + h * p->ld_out.h);
}

static void STORED(pool_lanes_max_task)(void *ctx, int64_t task, int worker) {
    STORED(pool_lanes_of)(ctx, task, worker, 0);
}

static void STORED(pool_lanes_sum_task)(void *ctx, int64_t task, int worker) {
    STORED(pool_lanes_of)(ctx, task, worker, 1);
}

#endif
