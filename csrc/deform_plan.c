/* How deformable convolution is cut. Every cut is a function of the problem alone, never of the number of threads. */
#include "pyconv.h"

#include <stddef.h>

enum {
    STRIP = 96,                       /* pixels of a task: what a reduction block samples of them stays in L2 */
    STRIP_OF_WEIGHTS = 192,           /* pixels that one pass over the gradient of weights sums */
    BLOCK_BYTES = 56 * 1024,          /* a panel of weights of one reduction block */
    BAND_BYTES = 512 * 1024,          /* rows of the gradient of x that a task adds to */
    TASKS = 16,                       /* what keeps 2, 4 and 8 threads busy */
    TURNED_BYTES = 16 * 1024 * 1024,  /* of a round of images */
    TURNED_PIXELS = 2048,
};
/* Offsets up to 2^29 and places along an axis are added in 32 bits; so are elements from the first one of an image. */
#define MOST_SIZE ((int64_t)1 << 28)

int64_t pc_deform_cut(const pc_deform *p, int64_t lanes, pc_deform_chunk *chunks) {
    const int64_t all = p->conv.groups * p->conv.c_in, each = all / p->offset_groups;
    int64_t n = 0;
    for (int64_t c = 0; c < all; n++) {
        const int64_t group = c / p->conv.c_in, offset_group = c / each;
        const int64_t end = pc_min(pc_min((group + 1) * p->conv.c_in, (offset_group + 1) * each), c + lanes);
        if (chunks)
            chunks[n] = (pc_deform_chunk){c, end - c, group, offset_group};
        c = end;
    }
    return n;
}

/* Whether the pixels of the output's planes follow each other in an array. */
static int is_one_line(const pc_conv *p, const pc_ld *ld) { return p->h.out == 1 || ld->h == p->w.out * ld->w; }

static int64_t reach(int64_t size, int64_t step) { return (size - 1) * (step < 0 ? -step : step); }

/* How x is read, and how many images are turned at once. */
static void choose_source(const pc_deform_kernel *kernel, pc_deform *p, int64_t max_shared_bytes) {
    const pc_conv *c = &p->conv;
    const int64_t pixels = c->h.in * c->w.in, lanes = kernel->lanes;
    const int64_t whole = c->c_in % lanes == 0 && c->groups * c->c_in / p->offset_groups % lanes == 0;
    const int64_t image = p->n_chunks * pixels * lanes * kernel->real_bytes;
    p->images = pc_min(c->n, pc_min(TURNED_BYTES, max_shared_bytes) / pc_max(1, image));
    p->source = PC_DEFORM_TURNED;
    if (c->ld_x.c == 1 && whole && kernel->item_bytes == kernel->real_bytes)
        p->source = PC_DEFORM_VECTORS;
    else if (p->images == 0)
        p->source = PC_DEFORM_ELEMENTS;
    if (p->source != PC_DEFORM_TURNED)
        p->images = c->n;
    p->turned_rows = pc_min(c->h.in, pc_max(1, TURNED_PIXELS / c->w.in));
    p->n_turned = pc_ceil_div(c->h.in, p->turned_rows);
    if (p->source == PC_DEFORM_TURNED)
        p->shared_bytes += pc_max(1, p->images) * image;
}

static void cut_line(const pc_deform_kernel *kernel, pc_deform *p, int64_t pixels) {
    p->n_strips = pc_max(1, pc_ceil_div(p->line, pixels));
    p->strip = pc_round_up(pc_max(1, pc_ceil_div(p->line, p->n_strips)), kernel->rows);
    p->n_strips = pc_max(1, pc_ceil_div(p->line, p->strip));
    p->pitch = pc_round_up(p->strip, kernel->lanes);
}

int pc_deform_plan(const pc_deform_kernel *kernel, pc_deform *p, int64_t max_scratch_bytes) {
    const pc_conv *c = &p->conv;
    const int role = kernel->role;
    const int64_t lanes = kernel->lanes, real = kernel->real_bytes, taps = pc_deform_taps(p);
    const int64_t pixels = c->h.in * c->w.in, vectors = pc_ceil_div(c->c_out, lanes);
    const int64_t span_h = (c->h.out - 1) * c->h.stride + c->h.k * c->h.dilation + c->h.pad;
    const int64_t span_w = (c->w.out - 1) * c->w.stride + c->w.k * c->w.dilation + c->w.pad;
    if (pc_max(pc_max(span_h, span_w), pc_max(c->h.in, c->w.in)) > MOST_SIZE || pixels * lanes > INT32_MAX / 2 ||
        reach(c->h.in, c->ld_x.h) + reach(c->w.in, c->ld_x.w) > INT32_MAX / 2)
        return 0;
    p->n_chunks = pc_deform_cut(p, lanes, NULL);
    p->shared_bytes = pc_round_up(p->n_chunks * (int64_t)sizeof(pc_deform_chunk), 64);
    const int flat = is_one_line(c, &c->ld_out) && is_one_line(c, &p->ld_offset) &&
                     (!p->has_mask || is_one_line(c, &p->ld_mask)) &&
                     (role != PC_DEFORM_OFFSET ||
                      (is_one_line(c, &p->ld_grad_offset) && (!p->has_mask || is_one_line(c, &p->ld_grad_mask))));
    p->lines = flat ? 1 : c->h.out;
    p->line = flat ? c->h.out * c->w.out : c->w.out;
    p->col_elems = p->y_elems = p->sum_elems = 0;
    p->parts = p->n_bands = 1;
    p->c_block = 1;
    cut_line(kernel, p, role == PC_DEFORM_WEIGHTS ? STRIP_OF_WEIGHTS : STRIP);
    if (role == PC_DEFORM_FORWARD) {
        p->c_block = pc_max(1, BLOCK_BYTES / (taps * lanes * kernel->vectors * lanes * real));
        p->col_elems = p->strip * p->c_block * taps * lanes + lanes;
        p->y_elems = vectors * p->strip * lanes;
        p->n_tasks = c->n * c->groups * p->lines * p->n_strips;
    } else if (role == PC_DEFORM_WEIGHTS) {
        p->col_elems = taps * p->strip * lanes;
        p->y_elems = pc_round_up(c->c_out, kernel->rows) * p->pitch;
        p->sum_elems = taps * pc_round_up(c->c_out, kernel->rows) * lanes; /* of a chunk, shared */
        const int64_t strips = pc_max(1, c->n * p->lines * p->n_strips), bytes = p->n_chunks * p->sum_elems * real;
        p->parts = pc_min(pc_ceil_div(TASKS, p->n_chunks), pc_min(strips, 2 * max_scratch_bytes / pc_max(1, bytes)));
        if (p->parts < 1)
            return 0;
        p->shared_bytes += p->parts * bytes;
        p->n_tasks = p->n_chunks * p->parts;
    } else {
        p->col_elems = taps * p->strip * lanes;
        p->y_elems = vectors * p->strip * lanes;
        if (role == PC_DEFORM_X) {
            const int64_t row = c->w.in * lanes * real, planes = pc_max(1, c->n * p->n_chunks);
            const int64_t wanted = pc_ceil_div(TASKS, planes);
            p->band = pc_max(1, pc_min(BAND_BYTES / row, pc_ceil_div(c->h.in, wanted)));
            p->n_bands = pc_ceil_div(c->h.in, p->band);
            p->sum_elems = p->band * c->w.in * lanes;
            p->n_tasks = planes * p->n_bands;
        } else {
            p->sum_elems = taps * 4 * p->pitch * (lanes + 1);
            p->n_tasks = c->n * p->offset_groups * p->lines * p->n_strips;
        }
    }
    if (role != PC_DEFORM_X)
        choose_source(kernel, p, 4 * max_scratch_bytes - p->shared_bytes);
    const int64_t own = role == PC_DEFORM_WEIGHTS ? 0 : p->sum_elems;
    const int64_t elems = (8 * taps + 5) * p->pitch + pc_round_up(p->col_elems, lanes) + p->y_elems + own + lanes;
    p->scratch_bytes = pc_round_up(elems * real, 64);
    p->shared_bytes = pc_round_up(p->shared_bytes, 64);
    return p->scratch_bytes <= max_scratch_bytes && p->shared_bytes <= 4 * max_scratch_bytes;
}
