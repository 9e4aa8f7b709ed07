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
/* Bytes moved by a task of several boxes. */
#define TASK_BYTES (32 * 1024)

/* Planes are turned into lanes for a fraction of a cycle an element; a window of its own vector costs tens. */
#define PIXELS_A_RESULT 40

/* Channels of a block of a gradient that may be fewer than a line's. */
enum { LEAST_CHANNELS = 8 };
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
    p->n_boxes = p->n_tasks = planes * p->n_h_tiles;
    p->run = 1;
    p->scratch_bytes = fixed * real + rows * row_bytes;
    return p->scratch_bytes <= max_scratch_bytes;
}

/* What every average divides by, 0 where they differ. */
static double uniform_count(const pc_pool *p) {
    if (p->divisor != 0)
        return p->divisor;
    const int64_t before = p->include_pad ? 0 : p->h.pad, after = p->include_pad ? p->pad_after_h : 0;
    const int64_t last = (p->h.out - 1) * p->h.stride + p->h.k - p->h.pad;
    const int whole = p->whole_from <= 0 && p->whole_to >= p->w.out && before <= 0 && last <= p->h.in + after;
    return whole ? (double)(p->h.k * p->w.k) : 0;
}

/* Small windows in registers (pool_fused.inc.c); `elems`, of the scratch, grows by what they need. */
static void plan_fused(pc_pool *p, int role, int64_t lanes, int64_t most, int64_t *elems) {
    const int64_t k = p->w.k, stride = p->w.stride;
    const int spread = role == PC_POOL_SPREAD, indexed = role == PC_POOL_INDEXED;
    const pc_ld *const read = spread ? &p->ld_out : &p->ld_x;
    p->x_begin = pc_min(0, (p->n - 1) * read->n) + pc_min(0, (p->c - 1) * read->c) +
                 pc_min(0, ((spread ? p->d.out : p->d.in) - 1) * read->d) +
                 pc_min(0, ((spread ? p->h.out : p->h.in) - 1) * read->h);
    p->uniform = uniform_count(p);
    const int known = (k == 2 && stride == 2) || (k == 3 && stride == 2) || (!spread && stride == 1 && (k == 3 || k == 5));
    const int plain = !p->adaptive && p->inner == 1 && p->d.k == 1 && p->d.stride == 1 && p->d.pad == 0 &&
                      p->pad_after_d == 0 && p->w.dilation == 1 && p->h.dilation == 1 && p->norm == 0 && p->power == 0;
    if (!known || !plain || p->h.k != k || p->h.stride != stride || k > lanes || p->lines || p->w.pad >= k || p->h.pad >= k)
        return;
    if (spread && p->uniform == 0)
        return;
    /* every window has an element of x: joins of indices begin with one */
    if ((p->w.out - 1) * stride - p->w.pad >= p->w.in || (p->h.out - 1) * p->h.stride - p->h.pad >= p->h.in)
        return;
    if (indexed && p->d.in * p->h.in * p->w.in >= INT32_MAX / 2)
        return;
    p->fused_at = *elems;
    p->count_elems = indexed || spread ? 0 : pc_round_up(p->w_tile, lanes) + lanes;
    const int64_t more = indexed ? 0 : p->count_elems + pc_round_up(spread ? p->w.out : p->w.in, lanes) + 4 * lanes;
    if (*elems + more > most)
        return;
    *elems += more;
    p->fused = k;
}

/* Small planes with adaptive windows, a vector of planes a task (pool_lanes.inc.c). */
static int plan_lanes(const pc_pool_kernel *kernel, pc_pool *p, int64_t max_scratch_bytes) {
    const int64_t pixels = p->h.in * p->w.in, results = p->h.out * p->w.out, lanes = kernel->lanes;
    if (kernel->role != PC_POOL_SEPARABLE || !kernel->is_float || !p->adaptive || p->inner != 1 || p->d.in != 1)
        return 0;
    if (results == 1 || p->h.out > PC_POOL_LANES_OUT || p->w.out > PC_POOL_LANES_OUT || p->c < lanes / 2)
        return 0;
    const int64_t bytes = (pixels + p->w.in + results) * lanes * kernel->real_bytes;
    if (pixels > PIXELS_A_RESULT * results || bytes > pc_min(BLOCK_BYTES, max_scratch_bytes))
        return 0;
    p->turned = 1;
    p->n_w_tiles = pc_ceil_div(p->c, lanes);
    p->n_boxes = p->n_tasks = p->n * p->n_w_tiles;
    p->run = p->h_tile = p->n_h_tiles = 1;
    p->scratch_bytes = bytes;
    return 1;
}

/* How many boxes a task has: a few microseconds' work, and enough tasks for a few threads. */
static void group_boxes(pc_pool *p, int64_t n_boxes, int64_t item_bytes, int indexed) {
    const int64_t outputs = p->n * p->c * p->d.out * p->h.out * p->w.out * p->inner;
    const int64_t inputs = p->n * p->c * p->d.in * p->h.in * p->w.in * p->inner;
    const int64_t bytes = pc_max(1, (inputs + outputs) / pc_max(1, n_boxes) * item_bytes);
    p->n_boxes = n_boxes;
    p->run = pc_max(1, pc_min(n_boxes / TASKS, TASK_BYTES / bytes));
    p->n_tasks = pc_ceil_div(n_boxes, p->run);
    const int64_t row = p->w.out, plane = p->h.out * row, volume = p->d.out * plane;
    p->planes_follow = p->n_h_tiles == 1 && p->n_w_tiles == 1 && p->inner == 1 && p->ld_out.h == row &&
                       (p->d.out == 1 || p->ld_out.d == plane) && (p->c == 1 || p->ld_out.c == volume) &&
                       (p->n == 1 || p->ld_out.n == p->c * volume);
    if (indexed)
        p->planes_follow = p->planes_follow && p->ld_idx.h == row && (p->d.out == 1 || p->ld_idx.d == plane) &&
                           (p->c == 1 || p->ld_idx.c == volume) && (p->n == 1 || p->ld_idx.n == p->c * volume);
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
    p->plane_pitch = p->lines = p->fused = p->planes_follow = p->narrow = p->turned = 0;
    p->level_elems = p->n_levels = p->herk_elems = p->q_elems = 0;
    if (plan_lanes(kernel, p, max_scratch_bytes))
        return 1;
    int64_t elems;
    if (scatter || kernel->role == PC_POOL_INDEXED) {
        p->v_elems = row;
        p->y_elems = out_row;
        elems = scatter && !p->own_indices ? 0 : 2 * (p->v_elems + p->y_elems);
        if (scatter && p->own_indices)
            elems += p->w.out * p->inner * (int64_t)sizeof(int64_t) / real + lanes;
        const int64_t plane = p->d.in * p->h.in * p->w.in;
        p->chunk = plane;
        if (scatter && widened && p->scatter == PC_SCATTER_ADD) {
            /* sums of a plane, of fewer channels where they are many, and else of a piece of it */
            const int64_t room = pc_max(0, max_scratch_bytes / real - elems - 2 * lanes);
            while (!p->own_indices && p->inner_tile > LEAST_CHANNELS && plane * p->inner_tile > room)
                p->inner_tile = pc_ceil_div(p->inner_tile, 2);
            p->chunk = pc_max(1, pc_min(plane, room / p->inner_tile));
            elems += pc_round_up(p->chunk * p->inner_tile, lanes) + lanes;
        }
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
        p->lines = p->w.out == 1 && p->inner == 1 && p->h.k == 1 && p->d.k == 1 && !p->adaptive && p->w.dilation == 1 &&
                   p->w.pad == 0 && p->w.k <= p->w.in && p->power == 0;
        p->batch = p->signs ? 1 : pc_max(1, pc_min(PC_POOL_BATCH, ROW_BYTES / 2 / (real * row)));
        const int64_t widest_window = p->adaptive ? p->w.in / p->w.out + (p->w.in % p->w.out ? 2 : 0) : p->w.k;
        /* (a few elements are added faster one by one) */
        const int apart = p->w.stride > 2 && (p->kind == PC_POOL_MAX || p->w.k > 4);
        p->narrow = (p->adaptive || apart) && p->inner == 1 && p->w.dilation == 1 && p->norm == 0 &&
                    p->power == 0 && widest_window <= lanes;
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
        if (!p->adaptive && !p->signs && !p->lines && p->inner == 1 && p->d.k == 1 && p->h.stride <= 2 &&
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
    if (!scatter)
        plan_fused(p, kernel->role, lanes, max_scratch_bytes / real, &elems);
    p->scratch_bytes = elems * real;
    if (p->scratch_bytes > max_scratch_bytes)
        return 0;
    p->run = 1;
    if (scatter) {
        p->n_boxes = p->n * p->c * pc_ceil_div(p->inner, p->inner_tile);
        p->run = pc_max(1, pc_min(4, p->n_boxes / (TASKS / 4)));
        p->n_tasks = pc_ceil_div(p->n_boxes, p->run);
        p->h_tile = p->n_h_tiles = 1;
        return 1;
    }
    const int64_t planes = p->n * p->c * depth * p->n_w_tiles;
    const int64_t tiles = pc_max(1, pc_ceil_div(TASKS, pc_max(1, planes)));
    /* a tile reads the rows over its end once more */
    if (p->plane_pitch) {
        p->h_tile = height;
        p->n_h_tiles = 1;
        group_boxes(p, planes, kernel->item_bytes, kernel->role == PC_POOL_INDEXED);
        return 1;
    }
    const int64_t least = p->herk ? 2 * p->h.k : 4;
    p->h_tile = pc_min(height, pc_max(least, pc_ceil_div(height, tiles)));
    p->n_h_tiles = pc_ceil_div(height, p->h_tile);
    group_boxes(p, planes * p->n_h_tiles, kernel->item_bytes, kernel->role == PC_POOL_INDEXED);
    return 1;
}
