/* How a convolution is cut into tasks, tiles and reduction blocks.
 *
 * It is found by trying the sensible tile sizes and counting, for each, the cycles of the slowest thread. The counts
 * need to rank cuts of one kernel, not to predict seconds (pyconv/cost.py does that). Where the order of a sum depends
 * on the cut, the cut is a function of the problem and the register tile alone, never of the number of threads; the
 * implicit GEMM and Winograd sum in one order whatever the cut, and are cut for the threads that will run them.
 */
#include "pyconv.h"

enum {
    NOMINAL_THREADS = 8,       /* cuts that balance on 8 balance on 1, 2 and 4 */
    MIN_TASK_CYCLES = 12000,   /* less than this is not worth handing to another thread */
    TILE_BYTES = 320 * 1024,   /* input tile: half of a small L2, the weights and sums take the rest */
    PART_BYTES = 1024 * 1024,  /* partial sums: streamed, L2 or L3 */
    DIRECT_K = 576,            /* reduction block: 8 rows of it are 18 KiB, in L1 beside the tile's lines */
    IM2COL_K = 256,            /* a packed panel of 192 bytes a step: 48 KiB */
    IMPLICIT_K = 1280,         /* the longer the fewer sums pass through memory; longer still gains nothing */
    IMPLICIT_FAR_BYTES = 10 * 1024 * 1024, /* weights that L3 does not hold beside everything else */
    WINOGRAD_TILES = 64,       /* tiles of small images in one block: eight register tiles */
    WINOGRAD_STRIP_BYTES = 32 * 1024,  /* rows of tiles transformed together: L1 */
    WINOGRAD_BLOCK_BYTES = 1280 * 1024,    /* transformed tiles and products of a block in L2 and little beyond */
    WINOGRAD_L3_BYTES = 4 * 1024 * 1024,   /* the same in one thread's part of L3 */
    WINOGRAD_FAR_BYTES = 6 * 1024 * 1024,  /* transformed weights that a network's other layers push out of L3 */
};

typedef struct cut {
    pc_blocking blk;
    int64_t scratch_bytes;
    double cycles;
} cut;

/* Cycles of a processor, for n_tasks of `each` cycles, shared by so many threads; with threads = 0 the mean over several
 * numbers of them, so that a cut is even for few and enough for many. Work too small for so many stays on fewer. */
static double shared_cycles(double each, int64_t n_tasks, int64_t threads) {
    const int64_t first = threads ? threads : 2, last = threads ? threads : NOMINAL_THREADS;
    double sum = 0;
    int n = 0;
    for (int64_t t = first; t <= last; t *= 2, n++) {
        const int64_t useful = pc_max(1, pc_min(t, (int64_t)(each * (double)n_tasks / MIN_TASK_CYCLES)));
        sum += each * (double)(pc_ceil_div(n_tasks, useful) * t);
    }
    return sum / n;
}

static void keep_better(cut *best, cut c) {
    if (c.cycles >= 0 && (best->cycles < 0 || c.cycles < best->cycles))
        *best = c;
}

/* Writes the best cut down; 0 where none was found. */
static int take(pc_conv *p, cut best) {
    if (best.cycles < 0)
        return 0;
    p->blk = best.blk;
    p->scratch_bytes = best.scratch_bytes;
    return 1;
}

/* A task: one image, output depth and group, a tile of pixels, m_block panels of output channels. */
static void deal_tasks(const pc_conv *p, pc_blocking *b, int64_t h_tile, int64_t w_tile, int64_t n_panels,
                       int64_t m_block) {
    b->h_tile = h_tile;
    b->w_tile = w_tile;
    b->m_block = m_block;
    b->n_h_tiles = pc_ceil_div(p->h.out, h_tile);
    b->n_w_tiles = pc_ceil_div(p->w.out, w_tile);
    b->n_m_blocks = pc_ceil_div(n_panels, pc_max(1, m_block));
    b->n_tasks = p->n * p->d.out * p->groups * b->n_h_tiles * b->n_w_tiles * b->n_m_blocks;
}

static int64_t grid_elems(pc_grid_axis gh, pc_grid_axis gw) { return gh.phases * gw.phases * gh.length * gw.length; }

/* 1 x 1, stride 1, no padding, rows that follow each other in every array: the image is one long row. */
static int fold_rows(pc_conv *p, int with_residual) {
    if (p->phases.count) /* its rows lie apart */
        return 0;
    const pc_axis *axes[] = {&p->h, &p->w};
    for (int i = 0; i < 2; i++)
        if (axes[i]->k != 1 || axes[i]->stride != 1 || axes[i]->pad != 0 || axes[i]->out != axes[i]->in)
            return 0;
    if (p->d.k != 1 || p->d.pad != 0 || (p->d.out - 1) * p->d.stride >= p->d.in || p->ld_x.w != 1)
        return 0;
    if (p->h.in == 1)
        return 1;
    int64_t w = p->w.in;
    if (p->ld_x.h != w || p->ld_out.h != w * p->ld_out.w || (with_residual && p->ld_res.h != w * p->ld_res.w))
        return 0;
    p->w.in = p->w.out = w * p->h.in;
    p->h.in = p->h.out = 1;
    return 1;
}

static double step_cycles(int64_t rows, int64_t vectors) {
    double fmas = (double)(rows * vectors) / 2, loads = (double)rows / 2 + (double)vectors;
    double longest = fmas > loads ? fmas : loads;
    return vectors == 0 ? 0 : longest > 4 ? longest : 4;
}

/* The cut with these tiles; cycles < 0 where it does not fit. */
static cut try_dense(const pc_conv *p, pc_tile_shape tile, int im2col, int in_place, int64_t kh_block, int64_t kw_block,
                     int64_t h_tile, int64_t w_tile, int64_t m_block, int64_t max_scratch_bytes) {
    const pc_panels panels = pc_panels_of(p->c_out, tile.rows);
    const int64_t width = tile.lanes * (panels.rows <= tile.wide_rows ? tile.wide_vectors : tile.vectors);
    const int64_t channels = pc_max(1, p->c_in * p->d.k), taps = kh_block * kw_block;
    const int split_taps = kh_block < p->h.k || kw_block < p->w.k;
    cut c = {.cycles = -1};
    pc_blocking *b = &c.blk;

    /* Channels in equal blocks of about the target; split taps take one channel at a time in im2col, where the
     * weights of a block must be one run. */
    int64_t target = pc_max(1, (im2col ? IM2COL_K : DIRECT_K) / taps);
    int64_t blocks = pc_ceil_div(channels, pc_max(1, target + target / 4));
    b->c_block = im2col && split_taps ? 1 : pc_ceil_div(channels, blocks);
    b->kh_block = kh_block;
    b->kw_block = kw_block;
    b->in_place = in_place;
    deal_tasks(p, b, h_tile, w_tile, panels.n, m_block);

    const pc_grid_axis gh = pc_grid_axis_of(&p->h, kh_block, h_tile), gw = pc_grid_axis_of(&p->w, kw_block, w_tile);
    const int64_t n_blocks =
        pc_ceil_div(channels, b->c_block) * pc_ceil_div(p->h.k, kh_block) * pc_ceil_div(p->w.k, kw_block);
    const int64_t k_block = b->c_block * taps;
    const int64_t pitch = im2col ? w_tile : gw.length;
    const int64_t pixels = (h_tile - 1) * pitch + w_tile, pixel_panels = pc_ceil_div(pixels, width);

    b->tile_elems = in_place ? 0 : pc_round_up(b->c_block * grid_elems(gh, gw) + tile.lanes, 16);
    b->panel_elems = im2col ? k_block * width : in_place ? b->c_block * width : 0;
    b->part_elems = n_blocks > 1 ? m_block * pixel_panels * tile.rows * width : 0;
    c.scratch_bytes = pc_round_up((b->tile_elems + b->panel_elems + b->part_elems) * tile.item_bytes + taps * 8, 64);
    if (c.scratch_bytes > max_scratch_bytes)
        return c;

    /* A step of a register tile takes its FMAs (two a cycle), its loads (two a cycle, those of x cross a line and
     * count twice) or the latency of an accumulator, whichever is longest. */
    const pc_panels vectors = pc_panels_of(pc_ceil_div(pixels, tile.lanes), width / tile.lanes);
    double steps = (double)vectors.tall * step_cycles(panels.rows, vectors.rows) +
                   (double)(vectors.n - vectors.tall) * step_cycles(panels.rows, vectors.rows - 1);
    double reduce = steps * (double)(m_block * n_blocks * k_block);
    double tiles = (double)(m_block * pixel_panels * n_blocks);
    double rows_in_task = (double)(m_block * panels.rows), whole_vectors = (double)pc_ceil_div(pixels, tile.lanes);
    double epilogue = tiles * 60 + rows_in_task * (whole_vectors * 4 + (double)h_tile * 12);
    double copied_rows = in_place ? 0 : (double)(b->c_block * gh.phases * gw.phases * gh.length);
    double copy = copied_rows * (24 + (double)gw.length / (double)tile.lanes * (p->w.stride == 1 ? 4 : 16));
    double pack = im2col ? (double)k_block * ((double)h_tile * 8 + whole_vectors * 3) : 0;
    /* weights come from L3 or beyond where they do not fit, half hidden behind the arithmetic */
    double weight_bytes = (double)(m_block * panels.rows * n_blocks * k_block * tile.item_bytes);
    double all_weights = (double)(panels.n * panels.rows * n_blocks * k_block * tile.item_bytes);
    double reads = im2col || weight_bytes / (double)n_blocks <= PC_RESIDENT_WEIGHT_BYTES ? (double)pixel_panels : 1;
    double weights = all_weights > PC_RESIDENT_WEIGHT_BYTES ? weight_bytes * reads / 16 : 0;
    double each = reduce + epilogue + (copy + pack) * (double)n_blocks + weights + 300;
    /* beyond the budgets every re-read comes from further away */
    if (b->tile_elems * tile.item_bytes > TILE_BYTES)
        each *= 1.25;
    if (b->part_elems * tile.item_bytes > PART_BYTES)
        each *= 1.25;
    c.cycles = shared_cycles(each, b->n_tasks, 0);
    return c;
}

static int64_t candidates(int64_t extent, const int64_t *sizes, int n_sizes, int max_parts, int64_t *found) {
    int64_t n = 0;
    for (int64_t parts = 1; parts <= max_parts && parts <= extent; parts++)
        found[n++] = pc_ceil_div(extent, parts);
    for (int i = 0; i < n_sizes; i++)
        if (sizes[i] < extent)
            found[n++] = sizes[i];
    return n;
}

static int plan_dense(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes, int im2col) {
    const int folded = fold_rows(p, p->ld_res.n | p->ld_res.c | p->ld_res.d | p->ld_res.h | p->ld_res.w ? 1 : 0);
    const int in_place = folded && !tile.widened;
    const pc_panels panels = pc_panels_of(p->c_out, tile.rows);
    const int64_t width = tile.lanes * (panels.rows <= tile.wide_rows ? tile.wide_vectors : tile.vectors);
    static const int64_t row_sizes[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64};
    int64_t h_tiles[48], w_tiles[16];
    const int64_t column_sizes[] = {width, 2 * width, 4 * width, 8 * width, 16 * width, 32 * width};
    const int64_t n_h = candidates(p->h.out, row_sizes, 12, p->h.out > 1 ? 16 : 1, h_tiles);
    const int64_t n_w = candidates(p->w.out, column_sizes, 6, p->w.out > 4 * width ? 8 : 1, w_tiles);

    /* A kernel too large for one block is cut by rows, then along the row. */
    int64_t kh_block = p->h.k, kw_block = p->w.k;
    cut best = {.cycles = -1};
    for (;;) {
        int64_t kh_options[] = {kh_block, 1};
        int n_options = kh_block > 1 && p->h.dilation > 2 * p->h.stride ? 2 : 1;
        if (im2col && kh_block > 1 && kh_block * kw_block > IM2COL_K) {
            kh_options[0] = pc_max(1, IM2COL_K / kw_block);
            n_options = 1;
        }
        for (int option = 0; option < n_options; option++)
            for (int64_t ih = 0; ih < n_h; ih++)
                for (int64_t iw = 0; iw < n_w; iw++)
                    for (int64_t parts = 1; parts <= 32; parts *= 2) {
                        int64_t m_block = pc_ceil_div(panels.n, parts);
                        if (parts > 1 && m_block * panels.rows < 16)
                            break;
                        keep_better(&best, try_dense(p, tile, im2col, in_place, kh_options[option], kw_block,
                                                     h_tiles[ih], w_tiles[iw], m_block, max_scratch_bytes));
                    }
        if (best.cycles >= 0)
            break;
        if (kh_block > 1)
            kh_block = pc_ceil_div(kh_block, 2);
        else if (kw_block > 1)
            kw_block = pc_ceil_div(kw_block, 2);
        else
            return 0;
    }
    return take(p, best);
}

int pc_plan_direct(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    return plan_dense(p, tile, max_scratch_bytes, 0);
}

int pc_plan_im2col(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    return plan_dense(p, tile, max_scratch_bytes, 1);
}

int pc_plan_depthwise(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    const int64_t step = p->h.stride == 1 ? p->h.dilation : 1, taps = p->d.k * p->h.k * p->w.k;
    const int dense = pc_depthwise_dense(p, tile.lanes), single = pc_depthwise_single(p);
    static const int64_t row_groups[] = {1, 2, 4, 8, 16};
    static const int64_t column_sizes[] = {48, 96, 192, 384, 768, 1536, 3072};
    int64_t w_tiles[16];
    const int64_t n_w = candidates(p->w.out, column_sizes, 7, p->w.out > 192 ? 8 : 1, w_tiles);
    cut best = {.cycles = -1};
    for (int odd = 0; odd < 2; odd++) {
        const int64_t rows = odd ? tile.wide_rows : tile.rows;
        for (int64_t ih = 0; ih <= 5; ih++)
            for (int64_t iw = 0; iw < n_w; iw++) {
                cut c = {.cycles = -1};
                pc_blocking *b = &c.blk;
                b->rows = rows;
                b->h_tile = ih == 5 ? p->h.out : rows * step * row_groups[ih];
                if (ih < 5 && b->h_tile >= p->h.out)
                    continue;
                b->w_tile = w_tiles[iw];
                b->kh_block = p->h.k;
                b->kw_block = p->w.k;
                b->c_block = p->d.k;
                b->n_h_tiles = pc_ceil_div(p->h.out, b->h_tile);
                b->n_w_tiles = pc_ceil_div(p->w.out, b->w_tile);
                const int64_t hung = single ? 1 : pc_round_up(b->h_tile, rows * step);
                const pc_grid_axis gh = pc_grid_axis_of(&p->h, p->h.k, hung);
                const pc_grid_axis gw = pc_grid_axis_of(&p->w, p->w.k, b->w_tile);
                int64_t n_pointers = p->h.k * p->w.k;
                b->tile_elems = pc_round_up(p->d.k * grid_elems(gh, gw) + tile.lanes, 16);
                if (single) /* the last register tile may read beyond the row */
                    b->tile_elems += tile.rows * tile.vectors * tile.lanes;
                if (dense) {
                    const pc_dense s = pc_dense_of(p, tile.lanes, hung, b->w_tile);
                    n_pointers = p->d.k * s.rows;
                    b->tile_elems = pc_round_up((n_pointers + 1) * s.reach + tile.lanes, 16) +
                                    pc_ceil_div(b->w_tile, tile.lanes) * s.masks * tile.lanes;
                }
                c.scratch_bytes = pc_round_up(b->tile_elems * tile.item_bytes + n_pointers * 8, 64);
                if (c.scratch_bytes > max_scratch_bytes)
                    continue;
                const double row_tiles = (double)(pc_ceil_div(b->h_tile, rows * step) * step);
                const double vectors = (double)pc_ceil_div(b->w_tile, tile.lanes);
                double each;
                if (dense) {
                    /* each register tile and each row has a fixed cost; results that hang over go through memory */
                    const double strips = (double)pc_ceil_div((int64_t)vectors, tile.vectors);
                    each = row_tiles * (double)p->c_out *
                           (strips * (b->h_tile < rows ? 150 : 30) + vectors * (double)(rows * taps) * 0.6);
                    each += (double)(p->d.k * ((b->h_tile - 1) * p->h.stride + p->h.k)) * (6 + vectors * 2) + 60;
                } else if (single) {
                    const double tiles = (double)pc_ceil_div(b->w_tile, rows * tile.vectors * tile.lanes);
                    each = tiles * (double)(p->c_out * rows * tile.vectors * taps) * (p->w.k < 256 ? 1 : 0.6);
                    each += tiles * 60 + (double)(gw.phases * gw.length) / (double)tile.lanes * (p->w.stride == 1 ? 2 : 12);
                } else {
                    const double loads = p->h.stride == 1 ? (double)(rows + p->h.k - 1) / (double)(rows * p->h.k) : 1;
                    each = row_tiles * (double)(p->c_out * rows) * vectors * ((double)taps * (0.5 + loads / 2) + 4);
                    each += row_tiles * (double)p->c_out * 60;
                    each += (double)(p->d.k * gh.phases * gw.phases * gh.length) *
                            (14 + (double)gw.length / (double)tile.lanes * (p->w.stride == 1 ? 2 : 12));
                }
                if (!dense && c.scratch_bytes > TILE_BYTES)
                    each *= 1.25;
                /* groups to a task: as many as keep eight threads busy, of at least MIN_TASK_CYCLES */
                const int64_t spatial = p->n * p->d.out * b->n_h_tiles * b->n_w_tiles;
                int64_t wanted = pc_max(1, pc_ceil_div(4 * NOMINAL_THREADS, pc_max(1, spatial)));
                b->m_block = pc_max(1, p->groups / wanted);
                b->m_block = pc_min(p->groups, pc_max(b->m_block, (int64_t)(MIN_TASK_CYCLES / each)));
                b->n_m_blocks = pc_ceil_div(p->groups, b->m_block);
                if (b->n_m_blocks < NOMINAL_THREADS) /* few blocks: a number that threads can share */
                    b->n_m_blocks = b->n_m_blocks >= 4 ? 4 : b->n_m_blocks >= 2 ? 2 : 1;
                b->m_block = pc_ceil_div(p->groups, b->n_m_blocks);
                b->n_m_blocks = pc_ceil_div(p->groups, b->m_block);
                b->n_tasks = spatial * b->n_m_blocks;
                c.cycles = shared_cycles(each * (double)b->m_block + 300, b->n_tasks, 0);
                keep_better(&best, c);
            }
    }
    return take(p, best);
}

int pc_plan_depthwise_channels(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    pc_blocking *b = &p->blk;
    /* all that a window reads, and all of x, so that what the border repeats is there */
    const int64_t h_reach = (p->h.out - 1) * p->h.stride + (p->h.k - 1) * p->h.dilation + 1;
    const int64_t w_reach = (p->w.out - 1) * p->w.stride + (p->w.k - 1) * p->w.dilation + 1;
    const int64_t h_tile = pc_max(h_reach, p->h.pad + p->h.in), w_tile = pc_max(w_reach, p->w.pad + p->w.in);
    /* the limit comes before the products, so that they cannot overflow */
    const int64_t most = max_scratch_bytes / (tile.item_bytes * tile.lanes);
    if (h_tile > most || w_tile > most || p->d.k > most || h_tile * w_tile > most / p->d.k)
        return 0;
    b->h_tile = h_tile;
    b->w_tile = w_tile;
    b->tile_elems = p->d.k * h_tile * w_tile * tile.lanes;
    b->panel_elems = p->h.out * p->w.out * tile.lanes;
    b->n_m_blocks = pc_ceil_div(p->groups, tile.lanes);
    b->n_tasks = p->n * p->d.out * b->n_m_blocks;
    p->scratch_bytes =
        pc_round_up((b->tile_elems + b->panel_elems) * tile.item_bytes + p->h.k * p->w.k * 8, 64);
    return p->scratch_bytes <= max_scratch_bytes;
}

int pc_plan_grouped_channels(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    if (!pc_plan_depthwise_channels(p, tile, max_scratch_bytes))
        return 0;
    p->blk.n_m_blocks = pc_ceil_div(p->groups * p->c_out, tile.lanes);
    p->blk.n_tasks = p->n * p->d.out * p->blk.n_m_blocks;
    return 1;
}

/* Cycles to turn rows of `width` pixels of a window into pixels of channels or back, LANES channels. */
static double turn_cycles(pc_tile_shape tile, int64_t rows, int64_t width, int64_t whole_width, int channels_last) {
    if (channels_last)
        return (double)(rows * width) * 2;
    if (width >= whole_width) {
        width *= rows;
        rows = 1;
    }
    const double each = width < tile.lanes ? (double)(width * tile.lanes) : (double)(pc_ceil_div(width, tile.lanes) * tile.lanes * 4);
    return (double)rows * (each + 30);
}

/* Share of an axis's taps that tiles of so many outputs do not leave out. */
static double live_share(const pc_conv *p, const pc_axis *axis, int64_t outputs) {
    if (p->padding_mode != PC_PAD_ZEROS || axis->out == 0)
        return 1;
    int64_t taps = 0, tiles = 0;
    for (int64_t first = 0; first < axis->out; first += outputs, tiles++) {
        const pc_taps live = pc_live_taps(axis, first, pc_min(outputs, axis->out - first), 1);
        taps += live.end - live.begin;
    }
    return (double)taps / (double)(tiles * axis->k);
}

/* live_d, live_h, live_w: shares of the taps that are not left out. */
static cut try_implicit(const pc_conv *p, pc_tile_shape tile, int64_t h_tile, int64_t w_tile, int64_t m_block,
                        double live_d, double live_h, double live_w, int64_t max_scratch_bytes) {
    const pc_implicit s = pc_implicit_of(p, tile.lanes, h_tile, w_tile, p->h.k, p->w.k);
    const double rows = (double)s.rows - (1 - live_h) * (double)(p->h.k * p->h.dilation);
    const double cols = (double)s.cols - (1 - live_w) * (double)(p->w.k * p->w.dilation);
    const int64_t all_vectors = pc_ceil_div(p->c_out, tile.lanes), taps = p->h.k * p->w.k;
    const int64_t depth = pc_min(tile.lanes, p->c_in), n_pixels = h_tile * w_tile;
    const pc_panels panels = pc_panels_of(all_vectors, tile.vectors), groups = pc_panels_of(n_pixels, tile.rows);
    cut c = {.cycles = -1};
    pc_blocking *b = &c.blk;
    const int64_t target = pc_max(1, IMPLICIT_K / (taps * depth));
    b->c_block = pc_ceil_div(s.n_chunks, pc_ceil_div(s.n_chunks, target));
    deal_tasks(p, b, h_tile, w_tile, panels.n, m_block);
    const int64_t vectors = pc_min(all_vectors, m_block * tile.vectors), window = s.rows * s.cols;
    b->tile_elems = pc_round_up(b->c_block * window * depth + tile.lanes, 16);
    b->panel_elems = p->c_in % tile.lanes ? window * tile.lanes : 0;
    b->part_elems = vectors * n_pixels * tile.lanes;
    const int64_t n_runs = b->c_block * p->h.k * s.runs_in_row;
    c.scratch_bytes = pc_round_up((b->tile_elems + b->panel_elems + b->part_elems) * tile.item_bytes +
                                      n_pixels * (int64_t)sizeof(int64_t) + n_runs * (int64_t)sizeof(pc_run), 64);
    if (c.scratch_bytes > max_scratch_bytes)
        return c;
    const double blocks = (double)pc_ceil_div(s.n_chunks, b->c_block);
    const double k_all = (double)(p->c_in * p->d.k * taps) * live_d * live_h * live_w;
    const double steps = (double)groups.tall * step_cycles(groups.rows, pc_min(tile.vectors, all_vectors)) +
                         (double)(groups.n - groups.tall) *
                             step_cycles(groups.rows - 1, pc_min(tile.vectors, all_vectors));
    const double full = (double)vectors / (double)pc_min(tile.vectors, all_vectors);
    double each = steps * full * k_all + (double)(m_block * groups.n) * blocks * 60 + full * k_all / 8;
    each += (double)s.n_chunks * live_d * turn_cycles(tile, (int64_t)rows, (int64_t)cols, p->w.in, p->ld_x.c == 1);
    each += (double)vectors * turn_cycles(tile, h_tile, w_tile, p->w.out, p->ld_out.c == 1);
    each += (double)n_pixels * 2 * blocks + (p->c_in % tile.lanes ? (double)(window * s.n_chunks) * 2 : 0);
    const double weight_bytes = full * (double)(tile.vectors * tile.lanes * tile.item_bytes) * k_all;
    const double all_bytes = (double)(p->groups * all_vectors * tile.lanes * tile.item_bytes) * k_all;
    if (weight_bytes > PC_RESIDENT_WEIGHT_BYTES)
        each += weight_bytes / (all_bytes > IMPLICIT_FAR_BYTES ? 20 : 80);
    const double held = (double)b->c_block * rows * cols * (double)depth + (double)b->part_elems;
    if (held * (double)tile.item_bytes > 2 * TILE_BYTES)
        each *= 1.2;
    c.cycles = shared_cycles(each + 300, b->n_tasks, p->threads);
    return c;
}

int pc_plan_implicit_gemm(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    fold_rows(p, p->ld_res.n | p->ld_res.c | p->ld_res.d | p->ld_res.h | p->ld_res.w ? 1 : 0);
    const int64_t panels = pc_ceil_div(pc_ceil_div(p->c_out, tile.lanes), tile.vectors);
    static const int64_t row_sizes[] = {1, 2, 3, 4, 6, 8, 14, 16, 32}, column_sizes[] = {8, 16, 32, 48, 64, 96, 128, 256};
    int64_t h_tiles[32], w_tiles[32];
    const int64_t n_h = candidates(p->h.out, row_sizes, 9, p->h.out > 1 ? 8 : 1, h_tiles);
    const int64_t n_w = candidates(p->w.out, column_sizes, 8, p->w.out > 32 ? 8 : 1, w_tiles);
    cut best = {.cycles = -1};
    const double live_d = live_share(p, &p->d, 1);
    for (int64_t ih = 0; ih < n_h; ih++) {
        const double live_h = live_share(p, &p->h, h_tiles[ih]);
        for (int64_t iw = 0; iw < n_w; iw++) {
            const double live_w = live_share(p, &p->w, w_tiles[iw]);
            for (int64_t parts = 1; parts <= 32 && parts <= panels; parts *= 2)
                keep_better(&best, try_implicit(p, tile, h_tiles[ih], w_tiles[iw], pc_ceil_div(panels, parts), live_d,
                                                live_h, live_w, max_scratch_bytes));
        }
    }
    return take(p, best);
}

/* Cycles of a block's three stages and what they move. */
static double winograd_cycles(const pc_conv *p, const pc_winograd *s, pc_tile_shape tile, const pc_blocking *b) {
    const int64_t tiles = b->slices * b->h_tile * b->w_tile * s->step_w;
    const int64_t in_rows = (b->rows - 1) * s->m_h + s->a_h;
    const int64_t in_columns = ((b->w_tile - 1) * s->m_w + s->a_w) * s->step_w;
    const int64_t out_rows = b->rows * s->m_h, out_columns = pc_min(b->w_tile * s->m_w * s->step_w, p->w.out);
    const double in_lanes = (double)s->c_lanes / (double)tile.lanes, out_lanes = (double)s->m_lanes / (double)tile.lanes;
    const double strips = (double)(b->slices * pc_ceil_div(b->h_tile, b->rows));

    const pc_panels runs = pc_panels_of(tiles, tile.rows), panels = pc_panels_of(s->m_lanes / tile.lanes, tile.vectors);
    double steps = 0;
    for (int64_t q = 0; q < panels.n; q++)
        steps += (double)runs.tall * step_cycles(runs.rows, pc_panel_rows(panels, q)) +
                 (double)(runs.n - runs.tall) * step_cycles(runs.rows - 1, pc_panel_rows(panels, q));
    double cycles = (double)s->n_xi * (steps * (double)s->n_k + (double)(panels.n * runs.n) * 40);
    cycles += strips * in_lanes * (turn_cycles(tile, in_rows, in_columns, p->w.in, p->ld_x.c == 1) +
                                   (double)((s->a_h > 1 ? s->a_h * b->rows : 0) * in_columns) * 2);
    cycles += strips * out_lanes * turn_cycles(tile, out_rows, out_columns, p->w.out, p->ld_out.c == 1);
    cycles += (double)(tiles * s->n_xi) * (in_lanes * 2.5 + out_lanes * 2);
    const double u_bytes = (double)(s->n_xi * s->n_k * s->m_lanes * tile.item_bytes);
    const double vm_bytes = (double)((b->panel_elems + b->part_elems) * tile.item_bytes);
    /* u streams in behind the arithmetic, from memory more slowly than that; so do v and m from L3, unless the blocks
     * of all threads outgrow it */
    cycles += u_bytes > WINOGRAD_FAR_BYTES ? u_bytes / 8 : u_bytes > PC_RESIDENT_WEIGHT_BYTES ? u_bytes / 100 : 0;
    cycles += vm_bytes > WINOGRAD_L3_BYTES ? vm_bytes / 12 : vm_bytes > WINOGRAD_BLOCK_BYTES ? vm_bytes / 40 : 0;
    return cycles + 300;
}

static cut try_winograd(const pc_conv *p, const pc_winograd *s, pc_tile_shape tile, int64_t h_tile, int64_t w_tile,
                        int64_t slices, int64_t max_scratch_bytes) {
    cut c = {.cycles = -1};
    pc_blocking *b = &c.blk;
    b->h_tile = h_tile;
    b->w_tile = w_tile;
    b->n_h_tiles = pc_ceil_div(s->h_tiles, h_tile);
    b->n_w_tiles = pc_ceil_div(s->w_tiles, w_tile);
    b->slices = slices;
    const int64_t tiles = slices * h_tile * w_tile * s->step_w;
    const int64_t in_columns = ((w_tile - 1) * s->m_w + s->a_w) * s->step_w;
    /* one line more, so that the points of a tile do not meet in one set of the cache */
    b->ld_v = tiles * s->c_lanes + 64 / tile.item_bytes;
    b->ld_m = tiles * s->m_lanes + 64 / tile.item_bytes;
    b->panel_elems = s->n_xi * b->ld_v;
    b->part_elems = s->n_xi * b->ld_m;
    const int64_t row_bytes = in_columns * s->m_h * tile.lanes * tile.item_bytes;
    b->rows = pc_max(1, pc_min(h_tile, WINOGRAD_STRIP_BYTES / row_bytes));
    const int64_t blocks = pc_winograd_blocks(p, s, b);
    const int whole_blocks = pc_winograd_whole_blocks(blocks, p->threads);
    if (!whole_blocks) { /* strips enough that every thread has its share of both transforms */
        const int64_t vectors = pc_min(s->c_lanes, s->m_lanes) / tile.lanes;
        b->rows = pc_min(b->rows, pc_ceil_div(h_tile, pc_ceil_div(2 * p->threads, slices * vectors)));
    }
    const int64_t in_rows = (b->rows - 1) * s->m_h + s->a_h + (s->a_h > 1 ? s->a_h : 0);
    b->tile_elems = pc_max(in_rows * in_columns, b->rows * s->m_h * w_tile * s->m_w * s->step_w) * tile.lanes;
    c.scratch_bytes = pc_round_up((b->panel_elems + b->part_elems + b->tile_elems) * tile.item_bytes, 64);
    if (c.scratch_bytes > max_scratch_bytes)
        return c;
    c.cycles = winograd_cycles(p, s, tile, b) * (double)blocks;
    if (!whole_blocks) /* blocks shared stage by stage go through L3, and all threads wait for the last one three times */
        c.cycles = c.cycles * 1.06 + (double)(blocks * p->threads * 3) * 3000;
    b->n_tasks = pc_max(blocks, s->n_xi);
    return c;
}

int pc_plan_winograd(pc_conv *p, pc_tile_shape tile, int alpha, int64_t max_scratch_bytes) {
    const pc_winograd s = pc_winograd_of(p, alpha, tile.lanes);
    static const int64_t row_sizes[] = {1, 2, 3, 4, 6, 8}, column_sizes[] = {8, 16, 32, 64};
    int64_t h_tiles[32], w_tiles[32];
    const int64_t n_h = candidates(s.h_tiles, row_sizes, 6, 16, h_tiles);
    const int64_t n_w = candidates(s.w_tiles, column_sizes, 4, 4, w_tiles);
    cut best = {.cycles = -1};
    for (int64_t ih = 0; ih < n_h; ih++)
        for (int64_t iw = 0; iw < n_w; iw++) {
            const int whole = h_tiles[ih] == s.h_tiles && w_tiles[iw] == s.w_tiles;
            const int64_t each = h_tiles[ih] * w_tiles[iw] * s.step_w;
            int64_t slices = whole ? pc_max(1, pc_min(s.slices, WINOGRAD_TILES / each)) : 1;
            for (;; slices = pc_ceil_div(slices, 2)) {
                keep_better(&best, try_winograd(p, &s, tile, h_tiles[ih], w_tiles[iw], slices, max_scratch_bytes));
                if (slices == 1)
                    break;
            }
        }
    return take(p, best);
}

static inline pc_fft_axis pc_fft_axis_of(const pc_axis *axis, int64_t n, int64_t part, int64_t lanes) {
    int64_t a = axis->stride, b = axis->dilation;
    while (b != 0) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    pc_fft_axis s = {.stride = axis->stride, .dilation = axis->dilation, .period = axis->stride / a, .part = part, .n = n};
    const int64_t reach = (axis->k - 1) * axis->dilation / axis->stride + 1;
    s.segments = (reach + part - 1) / part;
    s.parts = s.segments * (axis->k < s.period ? axis->k : s.period);
    s.step = n - part + 1;
    /* rows of outputs that begin with a vector, where that costs little */
    const int64_t whole = s.step / lanes * lanes;
    if (16 * whole >= 15 * s.step)
        s.step = whole;
    s.tiles = (axis->out + s.step - 1) / s.step;
    return s;
}

pc_fft pc_fft_of(const pc_conv *p, int64_t lanes) {
    const pc_fft_tile *t = &p->fft;
    pc_fft s;
    s.line = t->line;
    s.n_d = t->d;
    s.n_h = t->h;
    s.n_w = t->w;
    s.points = s.n_d * s.n_h * s.n_w;
    s.d = pc_fft_axis_of(&p->d, t->d, t->part_d, 1);
    s.h = pc_fft_axis_of(&p->h, t->line ? 1 : t->h, t->part_h, 1);
    s.w = pc_fft_axis_of(&p->w, t->line ? t->h * t->w : t->w, t->part_w, lanes);
    s.transform_d = t->part_d > 1;
    s.transform_h = t->line || t->part_h > 1;
    s.transform_w = t->line || t->part_w > 1;
    s.n_k = p->c_in * s.d.parts * s.h.parts * s.w.parts;
    s.tiles = p->n * s.d.tiles * s.h.tiles * s.w.tiles;
    s.pairs = (s.tiles + 1) / 2;
    /* an odd number of vectors, so that a column of them spreads over the sets of a cache */
    s.pitch = (s.n_w / lanes | 1) * lanes;
    s.plane = s.n_d * s.n_h * s.pitch;
    return s;
}

pc_fft_passes pc_fft_passes_of(int64_t n) {
    pc_fft_passes s = {0};
    int64_t rest = n, blocks = 1;
    while (rest > 1) {
        /* two passes of radix 4 do what a radix 8 and a radix 2 would, so that no power of two needs the latter */
        const int radix = rest % 3 == 0 ? 3 : rest == 4 || rest == 16 ? 4 : 8;
        const int i = s.n_passes++;
        rest /= radix;
        s.radix[i] = radix;
        s.blocks[i] = blocks;
        s.m[i] = rest;
        s.twiddles[i] = s.n_twiddles;
        s.n_twiddles += rest > 1 ? 2 * rest * (radix - 1) : 0;
        blocks *= radix;
    }
    return s;
}

/* Pairs of tiles of one block: weights are read once for them. */
#define FFT_PAIRS 4

int pc_plan_fft(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes) {
    const pc_fft s = pc_fft_of(p, tile.lanes);
    pc_blocking *b = &p->blk;
    const int64_t longest = pc_max(s.n_d, pc_max(s.n_h, s.n_w)) * tile.lanes, ld_pair = 2 * (s.points + tile.lanes);
    b->rows = pc_min(2, p->c_out);
    b->slices = s.n_k * p->c_out == 1 ? 1 : FFT_PAIRS;
    b->slices = pc_ceil_div(s.pairs, pc_ceil_div(s.pairs, b->slices)); /* blocks of one size */
    for (;; b->slices = pc_ceil_div(b->slices, 2)) {
        const int64_t products = b->rows * b->slices;
        const int64_t fixed = products * (2 * s.plane + 2 * s.n_w * tile.lanes) + 2 * (s.n_h * s.n_w + tile.lanes) +
                              2 * longest;
        const int64_t room = max_scratch_bytes / tile.item_bytes - fixed, each = b->slices * ld_pair;
        b->c_block = s.n_k;
        b->m_block = p->c_out;
        if (room < s.n_k * each) { /* sums wait in memory between reduction blocks, half of what there is */
            b->m_block = pc_min(p->c_out, pc_max(b->rows, room / 2 / each / b->rows * b->rows));
            b->c_block = pc_min(s.n_k, (room - b->m_block * each) / each);
        }
        b->panel_elems = b->c_block * each;
        b->part_elems = b->c_block < s.n_k ? b->m_block * each : 0;
        if (room >= 0 && b->c_block > 0 && b->panel_elems + b->part_elems <= room) {
            b->n_tasks = p->groups * pc_ceil_div(s.pairs, b->slices);
            if (b->n_tasks < 2) /* stages are shared */
                b->n_tasks = pc_max(s.n_k * b->slices, pc_ceil_div(p->c_out, b->rows));
            p->scratch_bytes = pc_round_up((fixed + b->panel_elems + b->part_elems) * tile.item_bytes, 64);
            return 1;
        }
        if (b->slices == 1)
            return 0;
    }
}
