/* How a gradient of weights or bias is cut into blocks, strips and parts. Every cut decides the order of sums, so it is
 * a function of the problem and the register tile alone, never of the number of threads. */
#include "pyconv.h"

enum {
    STRIP_PIXELS = 160,            /* three vectors of them are 30 KiB: L1, beside what the rows read */
    BLOCK_BYTES = 256 * 1024,      /* a block's sums, and as much for a strip of x: L2 holds both beside dY */
    BLOCK_VECTORS = 12,
    TASKS = 16,                    /* what keeps 2, 4 and 8 threads evenly busy */
    WINOGRAD_TILES = 32,           /* of a strip */
    WINOGRAD_BYTES = 640 * 1024,   /* the sums of a block */
    PLANAR_BYTES = 24 * 1024,      /* pixels in the lanes: a strip of every channel of a block, in L1 */
    PLANAR_CHANNELS = 8,
    PLANAR_PIXELS = 4096,          /* a part's sums are a vector for each tap */
    PART_PIXELS = 256,             /* a part's sums are written and read once: that is to be little beside their making */
};

/* 1 x 1, stride 1, no border, planes that are one run in every array: the plane is one long row. */
static void fold_plane(pc_conv *p) {
    const pc_axis *axes[] = {&p->h, &p->w};
    for (int i = 0; i < 2; i++)
        if (axes[i]->k != 1 || axes[i]->stride != 1 || axes[i]->pad != 0 || axes[i]->out != axes[i]->in)
            return;
    if (p->h.in == 1 || p->ld_x.h != p->w.in * p->ld_x.w || p->ld_out.h != p->w.in * p->ld_out.w)
        return;
    p->w.in = p->w.out = p->w.in * p->h.in;
    p->h.in = p->h.out = 1;
}

/* Whether no tap of any output leaves x. */
static int stays_inside(const pc_axis *a) {
    return a->pad == 0 && (a->out - 1) * a->stride + (a->k - 1) * a->dilation < a->in;
}

/* Strips of about so many pixels, or tiles of m x m of them. */
static void cut_strips(const pc_conv *p, pc_grad_cut *k, int64_t m, int64_t pixels) {
    k->h_out = pc_ceil_div(p->h.out, m);
    k->w_out = pc_ceil_div(p->w.out, m);
    k->images = 1;
    k->h_tile = 1;
    k->w_tile = k->w_out;
    if (2 * k->w_out >= 3 * pixels) {
        k->w_tile = pc_ceil_div(k->w_out, pc_ceil_div(k->w_out, pixels));
    } else {
        const int64_t most = pc_max(1, pc_min(k->h_out, pixels / k->w_out));
        k->h_tile = pc_ceil_div(k->h_out, pc_ceil_div(k->h_out, most));
        if (k->h_tile == k->h_out) {
            const int64_t together = pc_max(1, pc_min(p->n, pixels / (k->w_out * k->h_out)));
            k->images = pc_ceil_div(pc_max(1, p->n), pc_ceil_div(pc_max(1, p->n), together));
        }
    }
    k->n_h_tiles = pc_ceil_div(k->h_out, k->h_tile);
    k->n_w_tiles = pc_ceil_div(k->w_out, k->w_tile);
    k->n_strips = pc_ceil_div(p->n, k->images) * p->d.out * k->n_h_tiles * k->n_w_tiles;
}

/* Equal blocks of at most `most`. */
static int64_t even(int64_t all, int64_t most, int64_t *n) {
    *n = pc_max(1, pc_ceil_div(all, pc_max(1, most)));
    const int64_t each = pc_max(1, pc_ceil_div(all, *n));
    *n = pc_max(1, pc_ceil_div(all, each));
    return each;
}

/* The same in whole units. */
static int64_t even_units(int64_t all, int64_t most, int64_t unit, int64_t *n) {
    const int64_t each = even(pc_ceil_div(all, unit), most / unit, n) * unit;
    *n = pc_max(1, pc_ceil_div(all, each));
    return pc_min(each, pc_max(1, all));
}

static int64_t taps_of(const pc_conv *p, const pc_grad_cut *k) { return p->d.k * k->kh_block * p->w.k; }

/* Fills in what follows from the blocks and the strips; 0 where a worker needs more than `most` bytes. */
static int fits(const pc_grad_kernel *kernel, pc_grad *g, int64_t most) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    const int64_t lanes = kernel->lanes, rows = k->c_block * taps_of(p, k);
    const pc_span h = pc_span_of(&p->h, k->kh_block, k->h_tile, 1);
    const pc_span w = pc_span_of(&p->w, p->w.k, k->w_tile, k->tile_order == PC_GRAD_ROWS);
    const int64_t channels = k->tile_order == PC_GRAD_ROWS ? k->c_block : pc_round_up(k->c_block, lanes);
    k->n_blocks = p->groups * k->n_m_blocks * k->n_c_blocks * k->n_kh_blocks;
    k->y_elems = k->m_block * k->images * k->h_tile * k->w_tile * lanes;
    k->tile_elems = 0;
    if (k->tile_order != PC_GRAD_IN_PLACE)
        k->tile_elems = pc_round_up(k->images * channels * p->d.k * h.grid.length * w.grid.length + lanes, 16);
    k->block_elems = k->m_block * rows * lanes;
    const int64_t own = k->parts > 1 ? 0 : k->block_elems;
    g->scratch_bytes = pc_round_up((k->y_elems + k->tile_elems + own + lanes) * kernel->real_bytes +
                                       rows * (int64_t)sizeof(int64_t), 64);
    g->shared_bytes = k->parts > 1 ? pc_round_up(k->parts * k->n_blocks * k->block_elems * kernel->real_bytes + 64, 64) : 0;
    g->n_tasks = k->n_blocks * k->parts;
    return g->scratch_bytes <= most;
}

/* Few blocks: parts, where a part is worth its sums. */
static void split_parts(pc_grad *g, int64_t real_bytes, int64_t max_scratch_bytes, int64_t least) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    const int64_t all = p->n * p->d.out * k->h_out * k->w_out, part_bytes = k->n_blocks * k->block_elems * real_bytes;
    k->parts = 1;
    if (k->n_blocks < TASKS && part_bytes > 0)
        k->parts = pc_min(pc_min(pc_ceil_div(TASKS, k->n_blocks), all / least),
                          pc_min(k->n_strips, 4 * max_scratch_bytes / part_bytes - 1));
    k->parts = pc_max(1, k->parts);
    g->shared_bytes = k->parts > 1 ? pc_round_up(k->parts * part_bytes + 64, 64) : 0;
    g->n_tasks = k->n_blocks * k->parts;
}

static int plan_direct(const pc_grad_kernel *kernel, pc_grad *g, int64_t max_scratch_bytes) {
    pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    fold_plane(p);
    const int64_t lanes = kernel->lanes, vectors = pc_ceil_div(p->c_out, lanes), most = max_scratch_bytes / 2;
    const int widened = kernel->real_bytes != kernel->item_bytes;
    const int by_channels = p->ld_x.c == 1 && p->c_in > 1 && p->ld_x.w != 1;
    const int short_rows = p->c_in >= lanes && p->w.in < 3 * lanes && p->h.in * p->w.in >= lanes &&
                           p->ld_x.w == 1 && p->ld_x.h == p->w.in;
    k->tile_order = by_channels ? PC_GRAD_CHANNEL_TILES : PC_GRAD_ROWS;
    if (!widened && !by_channels && stays_inside(&p->d) && stays_inside(&p->h) && stays_inside(&p->w))
        k->tile_order = PC_GRAD_IN_PLACE;
    else if (short_rows) /* turned plane by plane, not copied row by row */
        k->tile_order = PC_GRAD_CHANNEL_TILES;
    const int64_t unit = k->tile_order == PC_GRAD_CHANNEL_TILES ? lanes : 1;
    k->kh_block = even(p->h.k, p->h.k, &k->n_kh_blocks);
    k->m_block = even(vectors, BLOCK_VECTORS, &k->n_m_blocks);
    int64_t pixels = STRIP_PIXELS;
    cut_strips(p, k, 1, pixels);
    /* the sums of a block and its tile of x within their share of L2; none larger than the scratch there is */
    k->parts = 1;
    for (k->c_block = even(p->c_in, p->c_in, &k->n_c_blocks);;) {
        const int roomy = fits(kernel, g, most);
        if (roomy && k->block_elems * kernel->real_bytes <= BLOCK_BYTES && k->tile_elems * kernel->real_bytes <= BLOCK_BYTES)
            break;
        if (k->c_block > unit)
            k->c_block = even_units(p->c_in, k->c_block / 2, unit, &k->n_c_blocks);
        else if (k->c_block > 1 && !roomy && k->m_block <= 3)
            k->c_block = even(p->c_in, k->c_block / 2, &k->n_c_blocks);
        else if (k->m_block > 3 || (!roomy && k->m_block > 1))
            k->m_block = even(vectors, k->m_block / 2, &k->n_m_blocks);
        else if (roomy)
            break;
        else if (k->kh_block > 1)
            k->kh_block = even(p->h.k, k->kh_block / 2, &k->n_kh_blocks);
        else if (pixels > 1)
            cut_strips(p, k, 1, pixels /= 2);
        else
            return 0;
    }
    split_parts(g, kernel->real_bytes, max_scratch_bytes, PART_PIXELS);
    while (k->n_blocks * k->parts < TASKS / 2 && k->c_block * taps_of(p, k) >= 64 && k->c_block > unit) {
        k->c_block = even_units(p->c_in, k->c_block / 2, unit, &k->n_c_blocks);
        k->n_blocks = p->groups * k->n_m_blocks * k->n_c_blocks * k->n_kh_blocks;
    }
    return fits(kernel, g, most);
}

/* Winograd: the sums of both sides' points, a block as square as it goes, and two strips of tiles in scratch. */
static int plan_winograd(const pc_grad_kernel *kernel, pc_grad *g, int64_t max_scratch_bytes) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    const int64_t lanes = kernel->lanes, vectors = pc_ceil_div(p->c_out, lanes), alpha = kernel->alpha;
    const int64_t m = alpha - 2, xi = alpha * alpha, line = 64 / kernel->real_bytes;
    k->kh_block = even(p->h.k, p->h.k, &k->n_kh_blocks);
    int64_t tiles = WINOGRAD_TILES, sums = WINOGRAD_BYTES / (xi * kernel->real_bytes);
    k->parts = 1;
    for (int first = 1;; first = 0) {
        if (!first) {
            if (k->m_block > 1 || k->c_block > lanes)
                sums /= 2;
            else if (tiles > 1)
                tiles /= 2;
            else
                return 0;
        }
        cut_strips(p, k, m, tiles);
        int64_t side = lanes; /* of a square block */
        while ((side + lanes) * (side + lanes) * p->d.k <= sums)
            side += lanes;
        k->m_block = even(vectors, pc_max(1, pc_min(vectors, side / lanes)), &k->n_m_blocks);
        const int64_t other = pc_max(lanes, sums / (k->m_block * lanes * p->d.k) / lanes * lanes);
        k->c_block = even(p->c_in, other, &k->n_c_blocks);
        if (k->c_block < p->c_in)
            k->c_block = pc_round_up(k->c_block, lanes);
        k->n_c_blocks = pc_ceil_div(p->c_in, k->c_block);
        k->n_blocks = p->groups * k->n_m_blocks * k->n_c_blocks;
        const int64_t rows = k->c_block * p->d.k, strip = k->images * k->h_tile * k->w_tile;
        k->ld_x = strip * pc_round_up(k->c_block, lanes) * p->d.k + line;
        k->ld_y = strip * k->m_block * lanes + line;
        k->ld_m = rows * k->m_block * lanes + line;
        k->block_elems = k->m_block * rows * p->h.k * p->w.k * lanes;
        /* the sums of taps lie where the strips were */
        k->y_elems = pc_max(xi * (k->ld_x + k->ld_y), k->block_elems);
        const int64_t x_pixels = (k->h_tile * m + 2 + alpha) * (k->w_tile * m + 2);
        k->tile_elems = pc_max(x_pixels, (k->h_tile * m + alpha) * k->w_tile * m) * lanes;
        g->scratch_bytes = pc_round_up((xi * k->ld_m + k->y_elems + k->tile_elems) * kernel->real_bytes +
                                           rows * (int64_t)sizeof(int64_t), 64);
        if (g->scratch_bytes <= max_scratch_bytes / 2)
            break;
    }
    split_parts(g, kernel->real_bytes, max_scratch_bytes, 4 * WINOGRAD_TILES);
    return 1;
}

/* Pixels in the lanes: a strip of every channel of a block in L1. */
static int plan_planar(const pc_grad_kernel *kernel, pc_grad *g, int64_t max_scratch_bytes) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    const int64_t lanes = kernel->lanes, most = max_scratch_bytes / 2, taps = p->d.k * p->h.k * p->w.k;
    int64_t pixels = PLANAR_BYTES / kernel->real_bytes / 2;
    k->kh_block = even(p->h.k, p->h.k, &k->n_kh_blocks);
    k->m_block = even(p->c_out, PLANAR_CHANNELS, &k->n_m_blocks);
    k->c_block = even(p->c_in, PLANAR_CHANNELS, &k->n_c_blocks);
    k->parts = 1;
    for (;;) {
        cut_strips(p, k, 1, pixels);
        if (k->images > 1) { /* planes follow each other in no tile */
            k->images = 1;
            k->n_strips = p->n * p->d.out * k->n_h_tiles * k->n_w_tiles;
        }
        const pc_grid_axis h = pc_grid_axis_of(&p->h, p->h.k, k->h_tile), w = pc_grid_axis_of(&p->w, p->w.k, k->w_tile);
        const int64_t x = k->c_block * p->d.k * h.phases * w.phases * h.length * w.length;
        const int64_t ld_y = pc_round_up(k->h_tile * w.length, lanes) + lanes;
        k->n_blocks = p->groups * k->n_m_blocks * k->n_c_blocks;
        k->y_elems = k->m_block * ld_y;
        k->tile_elems = pc_round_up(x + 2 * lanes, 16);
        k->block_elems = k->m_block * k->c_block * taps * lanes;
        g->scratch_bytes = pc_round_up((k->y_elems + k->tile_elems + k->block_elems + lanes) * kernel->real_bytes +
                                           k->c_block * taps * (int64_t)sizeof(int64_t), 64);
        const int roomy = g->scratch_bytes <= most;
        if (roomy && (k->y_elems + k->tile_elems) * kernel->real_bytes <= PLANAR_BYTES)
            break;
        if (pixels > 4 * lanes)
            pixels /= 2;
        else if (k->c_block > 1)
            k->c_block = even(p->c_in, k->c_block / 2, &k->n_c_blocks);
        else if (k->m_block > 1)
            k->m_block = even(p->c_out, k->m_block / 2, &k->n_m_blocks);
        else if (roomy)
            break;
        else if (pixels > 1)
            pixels /= 2;
        else
            return 0;
    }
    split_parts(g, kernel->real_bytes, max_scratch_bytes, PLANAR_PIXELS);
    return 1;
}

/* Depthwise, channels in the lanes. */
static int plan_channels(const pc_grad_kernel *kernel, pc_grad *g, int64_t max_scratch_bytes) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    const int64_t lanes = kernel->lanes, taps = p->d.k * p->h.k * p->w.k;
    int64_t pixels = 2 * STRIP_PIXELS;
    k->kh_block = even(p->h.k, p->h.k, &k->n_kh_blocks);
    k->c_block = k->n_m_blocks = k->n_c_blocks = 1;
    k->m_block = p->ld_out.c == 1 && p->ld_x.c == 1 ? even(pc_ceil_div(p->groups, lanes), 4, &k->n_blocks) : 1;
    k->n_blocks = pc_ceil_div(pc_ceil_div(p->groups, lanes), k->m_block);
    k->block_elems = k->m_block * taps * lanes;
    for (;; pixels /= 2) {
        if (pixels == 0)
            return 0;
        cut_strips(p, k, 1, pixels);
        const pc_span h = pc_span_of(&p->h, p->h.k, k->h_tile, 1), w = pc_span_of(&p->w, p->w.k, k->w_tile, 0);
        k->y_elems = k->images * k->h_tile * k->w_tile * lanes;
        k->tile_elems = k->images * p->d.k * h.grid.length * w.grid.length * lanes;
        g->scratch_bytes = pc_round_up((k->y_elems + k->tile_elems + k->block_elems) * kernel->real_bytes +
                                           taps * (int64_t)sizeof(int64_t), 64);
        if (g->scratch_bytes <= max_scratch_bytes / 2)
            break;
    }
    split_parts(g, kernel->real_bytes, max_scratch_bytes, PART_PIXELS);
    return 1;
}

static int plan_bias(const pc_grad_kernel *kernel, pc_grad *g) {
    const pc_conv *p = &g->conv;
    pc_grad_cut *k = &g->cut;
    k->m_block = p->ld_out.c == 1 && p->c_out > 1 && p->ld_out.w != 1 ? 4 * kernel->lanes : 1;
    k->n_blocks = pc_ceil_div(p->c_out, k->m_block);
    k->parts = k->n_blocks < TASKS ? pc_min(pc_ceil_div(TASKS, pc_max(1, k->n_blocks)), p->n * p->d.out * p->h.out) : 1;
    k->parts = pc_max(1, k->parts);
    g->shared_bytes = pc_round_up((k->parts * p->c_out + kernel->lanes) * kernel->real_bytes, 64);
    g->scratch_bytes = 0;
    g->n_tasks = k->n_blocks * k->parts;
    return 1;
}

int pc_grad_plan(const pc_grad_kernel *kernel, pc_grad *g, int64_t max_scratch_bytes) {
    switch (kernel->role) {
    case PC_GRAD_BIAS:
        return plan_bias(kernel, g);
    case PC_GRAD_WINOGRAD_TILES:
        return plan_winograd(kernel, g, max_scratch_bytes);
    case PC_GRAD_PLANAR:
        return plan_planar(kernel, g, max_scratch_bytes);
    case PC_GRAD_CHANNELS:
        return plan_channels(kernel, g, max_scratch_bytes);
    default:
        return plan_direct(kernel, g, max_scratch_bytes);
    }
}
