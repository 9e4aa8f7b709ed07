/* The whole C interface of pyconv, read by gcc and, between the two marks, by cffi. */
#ifndef PYCONV_H
#define PYCONV_H

#include <stdint.h>

/* cffi: begin */
enum pc_status {
    PC_OK = 0,
    PC_MISALIGNED = 1, /* an array does not start at a multiple of its item size: the caller copies it */
    PC_BAD_INDEX = 2,  /* an index from the caller lies outside its plane; nothing was written */
};

/* What an index outside the input means; the words are numpy.pad's, but for PC_PAD_ZEROS ("constant"). */
enum pc_padding_mode { PC_PAD_ZEROS, PC_PAD_REFLECT, PC_PAD_REPLICATE, PC_PAD_CIRCULAR, PC_PAD_SYMMETRIC };

enum pc_activation {
    PC_ACT_NONE, PC_ACT_RELU, PC_ACT_RELU6, PC_ACT_LEAKY_RELU, PC_ACT_ELU,
    PC_ACT_SIGMOID, PC_ACT_TANH, PC_ACT_SILU, PC_ACT_HARDSWISH,
};

/* One spatial axis: out = (in + pad + pad_after - dilation * (k - 1) - 1) / stride + 1; pad_after is implied. */
typedef struct pc_axis {
    int64_t in, k, out, stride, dilation, pad;
} pc_axis;

/* Leading dimensions: the distance, in elements, between neighbours along each axis of one array. */
typedef struct pc_ld {
    int64_t n, c, d, h, w;
} pc_ld;

/* How a kernel cuts the problem; filled by the kernel's plan(), a function of the problem alone. */
typedef struct pc_blocking {
    int64_t c_block, kh_block, kw_block;        /* one reduction block: channels x kernel rows x kernel columns */
    int64_t h_tile, w_tile;                     /* one task's output rows and columns */
    int64_t m_block;                            /* one task's output channels, in panels (depthwise: groups) */
    int64_t rows;                               /* depthwise: output rows in a register tile; Winograd: rows of tiles
                                                 * transformed together; FFT: output channels of one product */
    int64_t slices;                             /* Winograd: images and output depths of one block; FFT: pairs of
                                                 * tiles */
    int64_t ld_v, ld_m;                         /* Winograd: elements of the transformed tiles at one point */
    int64_t n_h_tiles, n_w_tiles, n_m_blocks;
    int64_t n_tasks;
    int64_t in_place;                           /* the kernel reads x itself, no copied tile */
    int64_t tile_elems, panel_elems, part_elems; /* what the scratch of one worker holds */
} pc_blocking;

/* The tile of conv_fft: lengths of its transforms, and the taps of one part of the kernel, which is cut where it is too
 * long for a tile. Chosen by the caller from the problem alone, since packed weights depend on it. */
typedef struct pc_fft_tile {
    int64_t d, h, w;
    int64_t part_d, part_h, part_w;
    int64_t line; /* a tile is h * w neighbours of one row */
} pc_fft_tile;

/* A convolution of any rank up to three (axes that do not exist have k = in = out = 1).
 * c_in and c_out are channels per group; out = activation(conv(x, w) + bias + residual). */
typedef struct pc_conv {
    int64_t n, groups, c_in, c_out;
    pc_axis d, h, w;
    pc_ld ld_x, ld_out, ld_res;
    int64_t padding_mode, activation;
    double slope;
    pc_fft_tile fft;
    int64_t threads; /* that will run it; only a kernel whose every bit is the same for any cut may ask (blocking.c) */
    pc_blocking blk;
    int64_t scratch_bytes; /* of one worker, filled by plan() */
} pc_conv;

typedef struct pc_kernel pc_kernel;

/* The instruction sets in this build, best first. */
int pc_n_isas(void);
const char *pc_isa_name(int isa);
int pc_isa_runs_here(int isa);
int pc_n_kernels(int isa);
const pc_kernel *pc_kernel_at(int isa, int index);
const char *pc_kernel_name(const pc_kernel *kernel);
/* Vector elements, rows and vectors of the kernel's register tile, for the cost model. */
void pc_kernel_tile(const pc_kernel *kernel, int64_t *lanes, int64_t *rows, int64_t *vectors);

/* Chooses the blocking and the scratch of one worker, at most max_scratch_bytes; returns 0 where none is that small. */
int pc_conv_plan(const pc_kernel *kernel, pc_conv *p, int64_t max_scratch_bytes);
/* Reorders contiguous weights (groups * c_out, c_in, kd, kh, kw) into the kernel's order and returns how many elements
 * that takes; with packed = NULL it only counts. */
int64_t pc_conv_pack(const pc_kernel *kernel, const pc_conv *p, const void *w, void *packed);
/* Runs on up to `threads` threads; scratch holds threads * p->scratch_bytes bytes, aligned to 64; bias and residual
 * may be NULL. */
int pc_conv_run(const pc_kernel *kernel, const pc_conv *p, const void *x, const void *packed, const void *bias,
                const void *residual, void *out, void *scratch, int threads);

enum pc_pool_kind { PC_POOL_MAX, PC_POOL_AVG };
/* What a kernel of the pooling family computes. */
enum pc_pool_role { PC_POOL_SEPARABLE, PC_POOL_SPREAD, PC_POOL_INDEXED, PC_POOL_SCATTER };
/* x[i] += out[o], x[i] = out[o] or out[o] = x[i], where i is o's index. */
enum pc_pool_scatter { PC_SCATTER_ADD, PC_SCATTER_PUT, PC_SCATTER_GET };

/* Pooling of any rank up to three. x is the array whose planes are windowed and out the one with an element a window,
 * whichever of them is read; elements of a row are neighbours, `inner` of them to a column: channels, where these are
 * fastest in memory, and then c is 1. With `adaptive`, output o of an axis covers the elements from floor(o in / out) to
 * ceil((o + 1) in / out). */
typedef struct pc_pool {
    int64_t n, c, inner;
    pc_axis d, h, w;
    int64_t pad_after_d, pad_after_h, pad_after_w;
    int64_t adaptive, kind, scatter;
    int64_t include_pad; /* averages count the border */
    double divisor;      /* what they divide by; 0: by their number of elements */
    pc_ld ld_x, ld_out, ld_idx, ld_forward;
    int64_t x_end, out_end, forward_end; /* elements of each array from its first element to its end in memory */
    int64_t own_indices;                 /* a gradient finds the maxima of `forward` itself */
    /* filled by plan() */
    int64_t h_tile, w_tile, inner_tile, n_h_tiles, n_w_tiles, n_tasks;
    int64_t whole_from, whole_to;        /* outputs of a row whose windows count all of their columns */
    int64_t plane_pitch;                 /* not 0: whole planes at once, rows so far apart */
    int64_t batch;                       /* rows of v that are joined one after the other */
    int64_t herk;                                              /* rows by blocks of a window's height */
    int64_t v_elems, y_elems, level_elems, n_levels, herk_elems; /* what the scratch of one worker holds */
    int64_t scratch_bytes;
} pc_pool;

typedef struct pc_pool_kernel pc_pool_kernel;

int pc_n_pool_kernels(int isa);
const pc_pool_kernel *pc_pool_kernel_at(int isa, int index);
const char *pc_pool_kernel_name(const pc_pool_kernel *kernel);
int pc_pool_kernel_role(const pc_pool_kernel *kernel);
int pc_pool_plan(const pc_pool_kernel *kernel, pc_pool *p, int64_t max_scratch_bytes);
/* indices and forward may be NULL where the role does without. */
int pc_pool_run(const pc_pool_kernel *kernel, const pc_pool *p, void *x, void *out, int64_t *indices,
                const void *forward, void *scratch, int threads);
/* The name of the kernel that this thread ran last, written by the kernel itself: what tests ask. */
const char *pc_last_kernel(void);

/* Threads in the pool at the moment, the caller's not counted. */
int pc_pool_workers(void);
int pc_pool_max_threads(void);
/* cffi: end */

/* ---- between the C files ---- */

typedef struct pc_arrays {
    const void *x, *packed, *bias, *residual;
    void *out;
    char *scratch;
} pc_arrays;

struct pc_kernel {
    const char *name; /* op_algo_dtype__isa */
    int64_t item_bytes, lanes, rows, vectors;
    int (*plan)(pc_conv *p, int64_t max_scratch_bytes);
    int64_t (*pack)(const pc_conv *p, const void *w, void *packed);
    void (*run)(const pc_conv *p, const pc_arrays *arrays, int threads);
};

typedef struct pc_pool_arrays {
    void *x, *out;
    int64_t *indices;
    const void *forward;
    int *status;
    char *scratch;
} pc_pool_arrays;

struct pc_pool_kernel {
    const char *name; /* pool_role_dtype__isa */
    int role;
    int64_t item_bytes, real_bytes, lanes;
    int (*run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads);
};

typedef struct pc_isa {
    const char *name;
    int n_kernels;
    const pc_kernel *kernels;
    int n_pool_kernels;
    const pc_pool_kernel *pool_kernels;
} pc_isa;

extern const pc_isa pc_isa_baseline;
extern const pc_isa pc_isa_avx2;
extern const pc_isa pc_isa_avx512;

/* Calls run(ctx, task, worker) once for each task in [0, n_tasks), worker in [0, threads). */
typedef void (*pc_task)(void *ctx, int64_t task, int worker);
void pc_parallel(pc_task run, void *ctx, int64_t n_tasks, int threads);

void pc_set_last_kernel(const char *name);

/* A block of weights larger than this does not stay in L2 beside the input tile: it had better be read only once. */
#define PC_RESIDENT_WEIGHT_BYTES (384 * 1024)
/* An output larger than this is written to memory: its lines are fetched ahead, which costs 2 to 8 % where the last
 * cache holds them. */
#define PC_FAR_OUTPUT_BYTES (24 * 1024 * 1024)

/* An IEEE binary16 in memory; a struct, so that nobody computes with its bits by mistake. */
typedef struct pc_half {
    uint16_t bits;
} __attribute__((may_alias)) pc_half;

/* The register tile that a blocking is chosen for; widened: x has another type and cannot be read in place. */
typedef struct pc_tile_shape {
    int64_t item_bytes, lanes, rows, vectors, wide_rows, wide_vectors, widened;
} pc_tile_shape;

int pc_plan_direct(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
int pc_plan_im2col(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
/* Here tile.rows output rows (or tile.wide_rows, where that wastes fewer) x tile.vectors. */
int pc_plan_depthwise(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
int pc_plan_depthwise_channels(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
int pc_plan_grouped_channels(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
int pc_plan_winograd(pc_conv *p, pc_tile_shape tile, int alpha, int64_t max_scratch_bytes);
int pc_plan_implicit_gemm(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);
int pc_plan_fft(pc_conv *p, pc_tile_shape tile, int64_t max_scratch_bytes);

/* The input tile of the implicit GEMM for kh x kw taps: rows x columns of pixels, in chunks of at most `lanes`
 * channels. */
typedef struct pc_implicit {
    int64_t rows, cols;
    int64_t row_step;             /* rows of x between rows of the tile: those that no tap reads are left out */
    int64_t row_stride;           /* rows of the tile between output rows */
    int64_t runs_in_row;          /* of the kernel: one run of kw taps, or kw runs of one */
    int64_t chunks, n_chunks;     /* of one depth tap, of all */
} pc_implicit;

static inline pc_implicit pc_implicit_of(const pc_conv *p, int64_t lanes, int64_t h_tile, int64_t w_tile, int64_t kh,
                                         int64_t kw) {
    pc_implicit s;
    s.row_step = p->h.k == 1 ? p->h.stride : 1;
    s.row_stride = p->h.k == 1 ? 1 : p->h.stride;
    s.rows = (h_tile - 1) * s.row_stride + (kh - 1) * p->h.dilation + 1;
    s.cols = (w_tile - 1) * p->w.stride + (kw - 1) * p->w.dilation + 1;
    s.runs_in_row = p->w.dilation == 1 ? 1 : p->w.k;
    s.chunks = (p->c_in + lanes - 1) / lanes;
    s.n_chunks = s.chunks * p->d.k;
    return s;
}

/* A run of the reduction: where it begins in the input tile, for a pixel at offset 0, and in the weights, in rows of
 * them. */
typedef struct pc_run {
    int64_t x, w;
} pc_run;

/* Chunks from i on that hold as many channels as it does: a reduction block is of one depth, so that the pixels of its
 * tile keep one distance. */
static inline int64_t pc_implicit_alike(const pc_conv *p, int64_t lanes, int64_t i) {
    const int64_t chunks = (p->c_in + lanes - 1) / lanes, whole = p->c_in / lanes;
    if (chunks == whole || whole == 0)
        return chunks * p->d.k - i;
    return i % chunks < whole ? whole - i % chunks : 1;
}

/* The sizes of a Winograd transform of a problem: tiles of m_h x m_w outputs from a_h x a_w inputs (1 along an axis
 * whose kernel has one tap). With a dilation of s, every s-th row is an image of its own, and so is every s-th column. */
typedef struct pc_winograd {
    int64_t a_h, a_w, m_h, m_w;
    int64_t step_h, step_w;   /* dilations of the transformed axes */
    int64_t n_xi;             /* points of a tile */
    int64_t slices;           /* images, output depths and phases of rows, those fastest */
    int64_t h_tiles, w_tiles; /* of one phase of a slice */
    int64_t n_k;              /* input channels and depth taps of the product; each tap's channels fill whole vectors */
    int64_t c_lanes, m_lanes; /* the same for all taps, and output channels, in whole vectors */
} pc_winograd;

static inline pc_winograd pc_winograd_of(const pc_conv *p, int64_t alpha, int64_t lanes) {
    pc_winograd s;
    const int64_t chunk = (p->c_in + lanes - 1) / lanes * lanes;
    s.a_h = p->h.k > 1 ? alpha : 1;
    s.a_w = p->w.k > 1 ? alpha : 1;
    s.m_h = s.a_h - p->h.k + 1;
    s.m_w = s.a_w - p->w.k + 1;
    s.step_h = s.a_h > 1 ? p->h.dilation : 1;
    s.step_w = s.a_w > 1 ? p->w.dilation : 1;
    s.n_xi = s.a_h * s.a_w;
    s.slices = p->n * p->d.out * s.step_h;
    s.h_tiles = ((p->h.out + s.step_h - 1) / s.step_h + s.m_h - 1) / s.m_h;
    s.w_tiles = ((p->w.out + s.step_w - 1) / s.step_w + s.m_w - 1) / s.m_w;
    s.n_k = (p->d.k - 1) * chunk + p->c_in;
    s.c_lanes = p->d.k * chunk;
    s.m_lanes = (p->c_out + lanes - 1) / lanes * lanes;
    return s;
}

static inline int64_t pc_winograd_blocks(const pc_conv *p, const pc_winograd *s, const pc_blocking *b) {
    return p->groups * ((s->slices + b->slices - 1) / b->slices) * b->n_h_tiles * b->n_w_tiles;
}

/* Whether threads take whole blocks, because these keep all of them busy but for a sixteenth of the time; if not, they
 * share the stages of one block after the other. */
static inline int pc_winograd_whole_blocks(int64_t n_blocks, int64_t threads) {
    return 16 * ((n_blocks + threads - 1) / threads) * threads <= 17 * n_blocks;
}

/* One axis of conv_fft. Tap a of output o reads s (o + q) + r - pad, where a * dilation = s q + r: the taps of each
 * residue r are a (sparse) kernel of stride 1 on every s-th element of x, and each part of such a kernel is one more
 * input channel. A tile of n elements gives `step` outputs from the taps of one part. */
typedef struct pc_fft_axis {
    int64_t stride, dilation, period; /* taps `period` apart have the same residue */
    int64_t part, segments, parts;    /* taps of a part; parts of a residue; of all residues */
    int64_t n, step, tiles;
} pc_fft_axis;

typedef struct pc_fft {
    pc_fft_axis d, h, w;
    int64_t line;
    int64_t n_d, n_h, n_w, points; /* of the transforms; n_h and n_w are whole vectors */
    int transform_d, transform_h, transform_w;
    int64_t n_k;                   /* input channels and parts of the kernel */
    int64_t tiles, pairs;          /* of a group, all images */
    int64_t pitch, plane;          /* elements between rows, and of the real or imaginary half of a tile */
} pc_fft;

pc_fft pc_fft_of(const pc_conv *p, int64_t lanes);

/* Twiddles of a transform of n points, pass by pass, each pass's last residues apart. */
#define PC_FFT_PASSES 8
typedef struct pc_fft_passes {
    int n_passes;
    int radix[PC_FFT_PASSES];
    int64_t blocks[PC_FFT_PASSES], m[PC_FFT_PASSES], twiddles[PC_FFT_PASSES]; /* where each pass's begin, in elements */
    int64_t n_twiddles;
} pc_fft_passes;

/* n = 3^i 2^j, i <= 1 and j != 1: a pass of radix 3 first, then radix 8 and 4. */
pc_fft_passes pc_fft_passes_of(int64_t n);

/* One axis of an input tile, for one block of kernel taps. With stride s and dilation d, tap a of output r reads
 * s * (r + a d / s) + (a d) % s: the tile keeps each residue ("phase") that a tap asks for as a plane of its own, so
 * that neighbouring outputs read neighbouring elements whatever the stride. Residues come back after `period` taps. */
typedef struct pc_grid_axis {
    int64_t stride, dilation, period, phases, length;
} pc_grid_axis;

static inline pc_grid_axis pc_grid_axis_of(const pc_axis *axis, int64_t taps, int64_t outputs) {
    int64_t a = axis->stride, b = axis->dilation;
    while (b != 0) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    int64_t period = axis->stride / a;
    return (pc_grid_axis){axis->stride, axis->dilation, period, taps < period ? taps : period,
                          outputs + (taps - 1) * axis->dilation / axis->stride};
}

/* Taps of an axis that read more than padding for any of `outputs` neighbouring outputs; never none. All of them where
 * none is to be left out. */
typedef struct pc_taps {
    int64_t begin, end;
} pc_taps;

static inline pc_taps pc_live_taps(const pc_axis *axis, int64_t first, int64_t outputs, int skip) {
    if (!skip)
        return (pc_taps){0, axis->k};
    /* tap a of an output o reads o * stride - pad + a * dilation */
    const int64_t before = axis->pad - (first + outputs - 1) * axis->stride;
    const int64_t within = axis->in + axis->pad - first * axis->stride;
    int64_t begin = before > 0 ? (before + axis->dilation - 1) / axis->dilation : 0;
    int64_t end = within > 0 ? (within + axis->dilation - 1) / axis->dilation : 0;
    begin = begin < axis->k ? begin : axis->k - 1;
    end = end < axis->k ? end : axis->k;
    return (pc_taps){begin, end > begin ? end : begin + 1};
}

/* Where index i of an axis of n elements lies under a padding mode; -1 for a zero. */
static inline int64_t pc_map_index(int64_t i, int64_t n, int64_t mode) {
    if (i >= 0 && i < n)
        return i;
    if (mode == PC_PAD_ZEROS)
        return -1;
    if (mode == PC_PAD_REPLICATE || n == 1)
        return i < 0 ? 0 : n - 1;
    int64_t period = mode == PC_PAD_CIRCULAR ? n : mode == PC_PAD_REFLECT ? 2 * (n - 1) : 2 * n;
    int64_t r = i % period;
    if (r < 0)
        r += period;
    if (r < n)
        return r;
    return mode == PC_PAD_REFLECT ? period - r : period - 1 - r;
}

/* c_out channels of a group are dealt to panels of at most `rows`, as evenly as possible, the taller ones first;
 * vectors of pixels to register tiles of at most `rows` vectors likewise. */
typedef struct pc_panels {
    int64_t n, tall, rows; /* `tall` panels of `rows` channels, then n - tall of rows - 1 */
} pc_panels;

static inline pc_panels pc_panels_of(int64_t c_out, int64_t rows) {
    int64_t n = (c_out + rows - 1) / rows;
    if (n == 0)
        return (pc_panels){0, 0, 0};
    int64_t each = (c_out + n - 1) / n;
    return (pc_panels){n, c_out - n * (each - 1), each};
}

static inline int64_t pc_panel_rows(pc_panels panels, int64_t q) { return panels.rows - (q >= panels.tall); }
static inline int64_t pc_panel_start(pc_panels panels, int64_t q) {
    return q * panels.rows - (q > panels.tall ? q - panels.tall : 0);
}

/* Columns from w on of every step-th row from h on; they may lie outside the image. */
typedef struct pc_window {
    int64_t h, w, rows, cols, step;
} pc_window;

/* A run of lanes of a register tile that are neighbours in one output row. */
typedef struct pc_segment {
    int64_t lane, length, h, w;
} pc_segment;

static inline int64_t pc_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t pc_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t pc_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static inline int64_t pc_round_up(int64_t a, int64_t b) { return pc_ceil_div(a, b) * b; }

/* Whether a depthwise kernel is one row, and the output too: parts of it stand in for the rows of a register tile. */
static inline int pc_depthwise_single(const pc_conv *p) { return p->h.out == 1 && p->h.k == 1 && p->d.k == 1; }

/* Whether a depthwise kernel is small, square and dense along the row: its own register tiles read rows of x where they
 * lie, and shift them in registers. */
static inline int pc_depthwise_dense(const pc_conv *p, int64_t lanes) {
    const int64_t k = p->h.k, stride = p->h.stride;
    return k == p->w.k && (k == 3 || k == 5 || k == 7) && stride == p->w.stride && stride <= 2 && p->w.dilation == 1 &&
           (stride == 1 || p->h.dilation == 1) && (k - 1) / stride <= lanes;
}

/* What such a tile of output rows x columns reads. */
typedef struct pc_dense {
    int64_t rows, length; /* input rows of one depth tap; elements of one that count */
    int64_t reach;        /* elements of a row that whole vectors may touch */
    int64_t masks;        /* of one strip of two vectors: a vector for each that it loads */
} pc_dense;

static inline pc_dense pc_dense_of(const pc_conv *p, int64_t lanes, int64_t h_tile, int64_t w_tile) {
    pc_dense s;
    s.rows = (h_tile - 1) * p->h.stride + (p->h.k - 1) * p->h.dilation + 1;
    s.length = (w_tile - 1) * p->w.stride + p->w.k;
    s.reach = (pc_round_up(w_tile, lanes) + lanes) * p->w.stride;
    s.masks = 3 * p->w.stride;
    return s;
}

#endif
