/* How a pooling problem is cut into tasks, and what a worker's scratch holds. */
#include "pyconv.h"

/* A row of v stays in L1 beside the rows that it is joined from, the block of rows of van Herk's method in L2. */
#define ROW_BYTES (16 * 1024)
#define BLOCK_BYTES (256 * 1024)
/* Short rows are joined as one long one, as long as their plane stays in L1. */
#define SHORT_ROW 5
#define PLANE_BYTES (20 * 1024)
/* Tasks that keep a few threads busy, if the problem has as much work. */
#define TASKS 32

enum { HERK_TAPS = 7, DIRECT_TAPS = 8 };

/* Columns of x under n neighbouring outputs of a row, at most. */
static int64_t columns_of(const pc_pool *p, int64_t n) {
    if (p->adaptive)
        return pc_min(p->w.in, n * (p->w.in / p->w.out) + pc_ceil_div(n * (p->w.in % p->w.out), p->w.out) + 2);
    return (n - 1) * p->w.stride + (p->w.k - 1) * p->w.dilation + 1;
}

static int64_t levels_of(int64_t k) {
    int64_t n = 1; /* one for the sum */
    while (k > 1) {
        k /= 2;
        n++;
    }
    return n;
}

/* A norm's gradient: as many rows of a task as leave the slopes of all outputs that meet them in L2. */
static int plan_norm_spread(pc_pool *p, int64_t real, int64_t lanes, int64_t row, int64_t max_scratch_bytes) {
    p->v_elems = pc_max(row, p->v_elems);
    p->y_elems += lanes;
    p->level_elems = pc_max(row, p->level_elems);
    p->q_elems = pc_round_up(p->w.out * p->inner, lanes) + lanes;
    const int64_t fixed = p->v_elems + 3 * p->y_elems + p->n_levels * p->level_elems + p->herk_elems;
    const int64_t depths = pc_min(p->d.out, pc_ceil_div(p->d.k, p->d.stride));
    const int64_t row_bytes = depths * (1 + p->signs) * p->q_elems * real, room = max_scratch_bytes - fixed * real;
    const int64_t planes = p->n * p->c * p->d.in, tiles = pc_max(1, pc_ceil_div(TASKS, pc_max(1, planes)));
    p->h_tile = pc_min(p->h.in, pc_max(4, pc_ceil_div(p->h.in, tiles)));
    int64_t rows; /* of outputs */
    for (;; p->h_tile = pc_max(1, p->h_tile / 2)) {
        rows = pc_min(p->h.out, (p->h_tile + p->h.k - 2) / p->h.stride + 1);
        if (p->h_tile == 1 || rows * row_bytes <= pc_min(room, BLOCK_BYTES))
            break;
    }
    p->n_h_tiles = pc_ceil_div(p->h.in, p->h_tile);
    p->n_tasks = planes * p->n_h_tiles;
    p->scratch_bytes = fixed * real + rows * row_bytes;
    return p->scratch_bytes <= max_scratch_bytes;
}

int pc_pool_plan(const pc_pool_kernel *kernel, pc_pool *p, int64_t max_scratch_bytes) {
    const int64_t real = kernel->real_bytes, lanes = kernel->lanes;
    const int widened = kernel->real_bytes != kernel->item_bytes;
    const int spread = kernel->role == PC_POOL_SPREAD, scatter = kernel->role == PC_POOL_SCATTER;
    /* rows that are written, one by one */
    const int64_t depth = spread ? p->d.in : p->d.out, height = spread ? p->h.in : p->h.out;
    const int64_t before = p->include_pad ? 0 : p->w.pad, after = p->include_pad ? p->pad_after_w : 0;
    p->whole_from = pc_ceil_div(before, p->w.stride);
    p->whole_to = p->w.in + after + p->w.pad >= p->w.k ? (p->w.in + after + p->w.pad - p->w.k) / p->w.stride + 1 : 0;
    p->w_tile = p->w.out;
    if (!spread && !scatter) {
        const int64_t room = pc_max(1, ROW_BYTES / (real * p->inner));
        if (columns_of(p, p->w.out) > room) {
            const int64_t reach = p->adaptive ? p->w.in / p->w.out + 2 : (p->w.k - 1) * p->w.dilation + 1;
            const int64_t step = p->adaptive ? p->w.in / p->w.out + 1 : p->w.stride;
            const int64_t wanted = pc_max(pc_max(1, lanes / p->inner), (room - reach) / step);
            p->n_w_tiles = pc_ceil_div(p->w.out, wanted);
            p->w_tile = pc_ceil_div(p->w.out, p->n_w_tiles);
        }
    }
    p->n_w_tiles = pc_ceil_div(p->w.out, p->w_tile);
    p->inner_tile = p->inner == 1 || p->own_indices ? p->inner : pc_min(p->inner, 64 / kernel->item_bytes);

    const int64_t columns = columns_of(p, p->w_tile), slack = 3 * lanes;
    const int64_t row = pc_round_up(columns * p->inner, lanes) + slack;
    const int64_t out_row = pc_round_up(p->w_tile * p->inner, lanes) + lanes;
    const int doubling = !p->adaptive && p->w.k > DIRECT_TAPS && (spread || p->w.stride == 1);
    p->herk = 0;
    p->batch = 1;
    p->plane_pitch = p->lines = p->squares = 0;
    p->level_elems = p->n_levels = p->herk_elems = p->q_elems = 0;
    int64_t elems;
    if (scatter || kernel->role == PC_POOL_INDEXED) {
        p->v_elems = row;
        p->y_elems = out_row;
        elems = scatter && !p->own_indices ? 0 : 2 * (p->v_elems + p->y_elems);
        if (scatter && p->own_indices)
            elems += p->w.out * p->inner * (int64_t)sizeof(int64_t) / real + lanes;
        if (scatter && widened)
            elems += pc_round_up(p->d.in * p->h.in * p->w.in * p->inner_tile, lanes) + lanes;
    } else if (spread) {
        p->v_elems = pc_round_up(p->w.out * p->inner, lanes) + lanes;
        p->y_elems = pc_round_up(pc_max(p->w.out, p->w.in) * p->inner, lanes) + lanes;
        p->herk_elems = pc_round_up((p->w.in + p->w.k - 1) * p->inner, lanes) + slack;
        if (p->adaptive)
            p->herk_elems = 0;
        if (doubling) {
            p->level_elems = p->herk_elems;
            p->n_levels = levels_of(p->w.k);
        }
        if (p->kind == PC_POOL_LP)
            return plan_norm_spread(p, real, lanes, row, max_scratch_bytes);
        elems = p->v_elems + p->y_elems + p->n_levels * p->level_elems + p->herk_elems;
    } else {
        p->v_elems = row;
        p->y_elems = widened || p->signs ? out_row : 0;
        if (doubling) {
            p->level_elems = row;
            p->n_levels = levels_of(p->w.k);
        }
        p->squares = p->w.k == 2 && p->h.k == 2 && p->d.k == 1 && p->w.stride == 2 && p->inner == 1 && !p->adaptive &&
                     p->power == 0 && p->w.dilation == 1 && p->h.dilation == 1 && p->w.pad == 0 && p->h.pad == 0 &&
                     p->d.pad == 0 && 2 * p->w.out <= p->w.in && (p->h.out - 1) * p->h.stride + 2 <= p->h.in &&
                     p->w.out - (p->n_w_tiles - 1) * p->w_tile >= lanes;
        p->lines = p->w.out == 1 && p->inner == 1 && p->h.k == 1 && p->d.k == 1 && !p->adaptive && p->w.dilation == 1 &&
                   p->w.pad == 0 && p->w.k <= p->w.in && p->power == 0;
        p->batch = p->signs ? 1 : pc_max(1, pc_min(8, ROW_BYTES / 2 / (real * row)));
        elems = p->batch * p->v_elems + (1 + p->signs) * p->y_elems + p->n_levels * p->level_elems;
        const int64_t block = (p->h.k + 1) * row;
        if (!p->adaptive && !p->signs && p->h.k >= HERK_TAPS && p->h.dilation == 1 && p->d.k == 1 &&
            p->h.stride * 3 <= p->h.k && block * real <= BLOCK_BYTES && (elems + block) * real <= max_scratch_bytes) {
            p->herk = 1;
            p->herk_elems = row;
            elems += block;
        }
        /* what is behind a row, and before the next, and the rows that windows reach */
        const int64_t reach_w = (p->w.out - 1) * p->w.stride + (p->w.k - 1) * p->w.dilation + 1;
        const int64_t reach_h = (p->h.out - 1) * p->h.stride + (p->h.k - 1) * p->h.dilation + 1;
        const int64_t pitch = pc_max(p->w.in + pc_max(p->w.pad, p->pad_after_w), reach_w - p->w.pad);
        const int64_t plane_rows = pc_max(p->h.in + p->h.pad + p->pad_after_h, reach_h) + 1;
        const int64_t plane = pc_round_up(plane_rows * pitch + p->w.k * p->w.dilation, lanes) + slack;
        const int64_t widest = pc_max(p->h.k, p->w.k), levels = widest > DIRECT_TAPS ? levels_of(widest) : 0;
        const int64_t plane_elems = (2 + levels) * plane + (p->w.stride == 2 ? out_row : 0);
        /* (of stride 2, which throws away three windows of four, only where a row is hardly a vector) */
        const int64_t most = p->w.stride == 2 || p->h.stride == 2 ? 2 * lanes : SHORT_ROW * lanes;
        if (!p->adaptive && !p->signs && !p->squares && !p->lines && p->inner == 1 && p->d.k == 1 && p->h.stride <= 2 &&
            p->w.stride <= 2 && p->h.out > 1 && p->w.in < most && plane * real <= PLANE_BYTES &&
            plane_elems * real <= max_scratch_bytes) {
            p->plane_pitch = pitch;
            p->herk = 0;
            p->batch = 1;
            p->v_elems = plane;
            p->w_tile = p->w.out;
            p->n_w_tiles = 1;
            p->n_levels = levels;
            elems = plane_elems;
        }
    }
    p->scratch_bytes = elems * real;
    if (p->scratch_bytes > max_scratch_bytes)
        return 0;
    if (scatter) {
        p->n_tasks = p->n * p->c * pc_ceil_div(p->inner, p->inner_tile);
        p->h_tile = p->n_h_tiles = 1;
        return 1;
    }
    const int64_t planes = p->n * p->c * depth * p->n_w_tiles;
    const int64_t tiles = pc_max(1, pc_ceil_div(TASKS, pc_max(1, planes)));
    /* a tile reads the rows over its end once more */
    if (p->plane_pitch) {
        p->h_tile = height;
        p->n_h_tiles = 1;
        p->n_tasks = planes;
        return 1;
    }
    const int64_t least = p->herk ? 2 * p->h.k : 4;
    p->h_tile = pc_min(height, pc_max(least, pc_ceil_div(height, tiles)));
    p->n_h_tiles = pc_ceil_div(height, p->h_tile);
    p->n_tasks = planes * p->n_h_tiles;
    return 1;
}
