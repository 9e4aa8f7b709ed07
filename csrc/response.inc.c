/* layers_response: local response normalisation across channels, and its gradient.
 *
 *   D[c] = k + alpha sum of x[j]^2, j in [c - before, c + after];  y[c] = x[c] / D[c]^beta
 *   gx[i] = g[i] / D[i]^beta - 2 alpha beta x[i] sum of T[c], c in [i - after, i + before];  T[c] = g x D^(-beta - 1)
 *
 * A tile of x lies in scratch with zeros around its channels, and a window's sum is a sum of shifted vectors of it: by
 * whole rows where pixels are neighbours (a tile is channels x pixels), by single elements where channels are (pixels x
 * channels, `pixels`). One loop serves both, from the first element of the tile to the last; what it makes of the zeros in
 * between is not stored. The gradient needs its windows' neighbours: tiles overlap by before + after channels on each
 * side. Powers of a quarter, a half, three quarters and one are square roots, others are libm's.
 *
 * flops: 2 (before + after + 1) an element and two square roots; memory: each array once. Error: before + after + 8
 * roundings. A task is a tile; elements do not know of each other's tiles. */
#if !PC_WIDENED
/* d[0..n) = d^beta, n a multiple of LANES */
static __attribute__((noinline)) void NAME(power)(REAL *d, int64_t n, double beta, int positive) {
    const int quarters = beta == 0.25 ? 1 : beta == 0.5 ? 2 : beta == 0.75 ? 3 : beta == 1 ? 4 : 0;
    if (quarters == 4)
        return;
    if (quarters == 0 || !positive) {
        for (int64_t i = 0; i < n; i++)
            d[i] = (REAL)pow((double)d[i], beta);
        return;
    }
    for (int64_t i = 0; i < n; i += LANES) {
        VEC root = NAME(load)(d + i), fourth = root;
        for (int l = 0; l < LANES; l++)
            root[l] = (REAL)(sizeof(REAL) == 4 ? sqrtf((float)root[l]) : sqrt((double)root[l]));
        if (quarters != 2) {
            for (int l = 0; l < LANES; l++)
                fourth[l] = (REAL)(sizeof(REAL) == 4 ? sqrtf((float)root[l]) : sqrt((double)root[l]));
            root = quarters == 3 ? root * fourth : fourth;
        }
        NAME(store)(d + i, root);
    }
}

/* sums[i] = sum of v[i + j step], j in [0, width), n a multiple of LANES */
static __attribute__((noinline)) void NAME(window_sums)(REAL *sums, const REAL *v, int64_t step, int64_t width, int64_t n) {
    int64_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        VEC s[4] = {{0}};
        for (int64_t j = 0; j < width; j++)
#pragma GCC unroll 4
            for (int u = 0; u < 4; u++)
                s[u] += NAME(load)(v + i + j * step + u * LANES);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++)
            NAME(store)(sums + i + u * LANES, s[u]);
    }
    for (; i < n; i += LANES) {
        VEC s = {0};
        for (int64_t j = 0; j < width; j++)
            s += NAME(load)(v + i + j * step);
        NAME(store)(sums + i, s);
    }
}
#endif

typedef struct STORED(response) {
    const pc_response *p;
    const STORAGE *x, *g;
    STORAGE *out;
    char *scratch;
} STORED(response);

/* One tile: channels [c0, c0 + n_c) of n elements of a run. */
typedef struct STORED(response_tile) {
    int64_t row, from, n, c0, n_c;
} STORED(response_tile);

/* Channels of an array from c0 - lead on into rows of a tile, as many as fit, zeros where there are none. */
static void STORED(response_read)(const pc_response *p, STORED(response_tile) t, int wide, const STORAGE *src,
                                  int64_t lead, REAL *tile) {
    const int64_t *step = p->step[wide];
    src += pc_row_offset(p->size, step, t.row) + t.from * step[3];
    for (int64_t i = 0; i < p->elems; i += LANES)
        NAME(store)(tile + i, (VEC){0});
    const int64_t first = pc_max(0, t.c0 - lead), end = pc_min(p->channels, t.c0 + t.n_c + lead);
    if (p->pixels) {
        for (int64_t i = 0; i < t.n; i++) {
            REAL *to = tile + i * p->pitch + first - (t.c0 - lead);
            STORED(read)(to, src + i * step[3] + first, end - first);
            /* up to the next row's first channel: the last vector may have reached so far */
            for (int64_t j = end - first; j < p->pitch; j++)
                to[j] = 0;
        }
    } else {
        for (int64_t c = first; c < end; c++) {
            REAL *to = tile + (c - (t.c0 - lead)) * p->pitch;
            STORED(read)(to, src + c * p->c_step[wide], t.n);
            for (int64_t j = t.n; j < p->pitch; j++)
                to[j] = 0;
        }
    }
}

static void STORED(response_task)(void *ctx, int64_t task, int worker) {
    const STORED(response) *job = ctx;
    const pc_response *p = job->p;
    STORED(response_tile) t;
    const int64_t blocks = task / p->n_pieces;
    t.from = task % p->n_pieces * p->piece;
    t.n = pc_min(p->piece, p->size[3] - t.from);
    t.c0 = blocks % p->n_c_blocks * p->c_block;
    t.n_c = pc_min(p->c_block, p->channels - t.c0);
    t.row = blocks / p->n_c_blocks;
    const int64_t width = p->before + p->after + 1, step = p->pixels ? 1 : p->pitch;
    /* a gradient's windows of windows begin before + after channels earlier */
    const int64_t lead = p->gradient ? width - 1 : pc_max(p->before, p->after);
    const int64_t n = p->elems - pc_round_up((width - 1) * step, LANES) - LANES;
    const int positive = p->k >= 0 && p->alpha >= 0;
    const REAL alpha = (REAL)p->alpha, k = (REAL)p->k;
    REAL *const x = (REAL *)(job->scratch + worker * p->scratch_bytes);
    REAL *const squares = x + p->elems, *const d = squares + p->elems, *const g = d + p->elems, *const t_of = g + p->elems;
    STORED(response_read)(p, t, 0, job->x, lead, x);
    for (int64_t i = 0; i < p->elems; i += LANES)
        NAME(store)(squares + i, NAME(load)(x + i) * NAME(load)(x + i));
    /* d[i] belongs to the channel `before` after i's */
    NAME(window_sums)(d, squares, step, width, n);
    for (int64_t i = 0; i < n; i += LANES)
        NAME(store)(d + i, NAME(load)(d + i) * alpha + k);
    const REAL *at = x + p->before * step; /* the channel that d belongs to */
    REAL *result = squares;
    int64_t result_lead = lead - p->before; /* rows of the result before the tile's first */
    if (!p->gradient) {
        NAME(power)(d, n, p->beta, positive);
        for (int64_t i = 0; i < n; i += LANES)
            NAME(store)(result + i, NAME(load)(at + i) / NAME(load)(d + i));
    } else {
        STORED(response_read)(p, t, 1, job->g, lead, g);
        const REAL *g_at = g + p->before * step;
        REAL *const power = squares;
        for (int64_t i = 0; i < n; i += LANES)
            NAME(store)(power + i, NAME(load)(d + i));
        NAME(power)(power, n, p->beta, positive);
        for (int64_t i = 0; i < p->elems; i += LANES)
            NAME(store)(t_of + i, (VEC){0});
        for (int64_t i = 0; i < n; i += LANES)
            NAME(store)(t_of + i, NAME(load)(g_at + i) * NAME(load)(at + i) / (NAME(load)(power + i) * NAME(load)(d + i)));
        /* only channels that exist have a T; 0 / 0 is none */
        const int64_t before_first = pc_max(0, lead - t.c0) - p->before, rows = p->pixels ? t.n : 1;
        const int64_t behind_last = p->channels - (t.c0 - lead) - p->before;
        const int64_t row_end = p->pixels ? p->pitch : p->elems / p->pitch;
        for (int64_t r = 0; r < rows; r++) {
            REAL *row = t_of + (p->pixels ? r * p->pitch : 0);
            for (int64_t i = 0; i < before_first * step; i++)
                row[i] = 0;
            for (int64_t i = pc_max(0, behind_last) * step; i < row_end * step; i++)
                row[i] = 0;
        }
        /* T begins `before` channels later than the tile; the window of i begins `after` before i */
        NAME(window_sums)(d, t_of, step, width, n);
        const int64_t shift = p->after; /* from the channel of a sum's first T to its own */
        const REAL *own_x = at + shift * step, *own_g = g_at + shift * step, *own_power = power + shift * step;
        const REAL factor = (REAL)(2 * p->alpha * p->beta);
        const int64_t limit = n - pc_round_up(shift * step, LANES);
        result = t_of;
        for (int64_t i = 0; i < limit; i += LANES)
            NAME(store)(result + i, NAME(load)(own_g + i) / NAME(load)(own_power + i) -
                                        factor * NAME(load)(own_x + i) * NAME(load)(d + i));
        result_lead = lead - p->before - shift;
    }
    STORAGE *out = job->out + pc_row_offset(p->size, p->step[2], t.row) + t.from * p->step[2][3];
    if (p->pixels)
        for (int64_t i = 0; i < t.n; i++)
            STORED(write)(out + i * p->step[2][3] + t.c0, result + i * p->pitch + result_lead, t.n_c);
    else
        for (int64_t c = 0; c < t.n_c; c++)
            STORED(write)(out + (t.c0 + c) * p->c_step[2], result + (c + result_lead) * p->pitch, t.n);
}

static void STORED(layers_response_run)(const void *problem, void *const *arrays, char *scratch, int threads) {
    const pc_response *p = problem;
    STORED(response) job = {p, arrays[0], arrays[1], arrays[2], scratch};
    pc_set_last_kernel(PC_STRING(PC_PASTE(layers_response, DTYPE, PC_ISA)));
    pc_parallel(STORED(response_task), &job, p->n_tasks, threads);
}
