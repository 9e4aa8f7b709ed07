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

/* Where a transposed convolution's results go: it is a convolution of stride 1 that has `count` output channels, its
 * phases, for each channel of the output array (pyconv/problem/transposed.py). Phase (a_d, a_h, a_w) of result u
 * is element first + stride u + step a of the array along each axis, where there is one. Phases of a channel are
 * neighbours among the c_out channels of a group, a_w fastest; with channels_inner, channels of a phase are. */
typedef struct pc_phase_axis {
    int64_t n, stride, step, first, size;
} pc_phase_axis;
typedef struct pc_phases {
    int64_t count; /* 0: an ordinary convolution, whose results are the output array's elements */
    int64_t channels_inner;
    pc_phase_axis d, h, w;
} pc_phases;

/* A convolution of any rank up to three (axes that do not exist have k = in = out = 1).
 * c_in and c_out are channels per group; out = activation(conv(x, w) + bias + residual). */
typedef struct pc_conv {
    int64_t n, groups, c_in, c_out;
    pc_axis d, h, w;
    pc_ld ld_x, ld_out, ld_res;
    int64_t padding_mode, activation;
    double slope;
    pc_fft_tile fft;
    pc_phases phases;
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
/* Reorders contiguous weights (groups * c_out, c_in, kd, kh, kw) into the kernel's order, on up to p->threads threads,
 * and returns how many elements that takes; with packed = NULL it only counts. */
int64_t pc_conv_pack(const pc_kernel *kernel, const pc_conv *p, const void *w, void *packed);
/* Runs on up to `threads` threads; scratch holds threads * p->scratch_bytes bytes, aligned to 64; bias and residual
 * may be NULL. */
int pc_conv_run(const pc_kernel *kernel, const pc_conv *p, const void *x, const void *packed, const void *bias,
                const void *residual, void *out, void *scratch, int threads);

/* The weights of one part of a transposed convolution, from (groups * c_in, c_out, k) to (groups * c_out * count, c_in,
 * taps): tap j of phase a is tap first + a + step (taps - 1 - j) of the kernel, along each axis in the order of memory;
 * its number is the sum of a * rank. */
typedef struct pc_part {
    int64_t groups, c_in, c_out, channels_inner; /* channels of a group */
    int64_t k[3], n[3], rank[3], taps[3], first[3], step[3];
} pc_part;
void pc_part_weights(const pc_part *part, int64_t item_bytes, const void *w, void *to, int threads);
/* Whether n elements of 4 or 8 bytes are finite. */
int pc_all_finite(const void *w, int64_t n, int64_t item_bytes, int threads);

enum pc_pool_kind { PC_POOL_MAX, PC_POOL_AVG, PC_POOL_LP };
/* Most rows of windows whose columns are joined together. */
enum { PC_POOL_BATCH = 8 };
/* Most rows and columns of results of planes that are turned into lanes. */
enum { PC_POOL_LANES_OUT = 32 };
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
    double norm;         /* p of PC_POOL_LP, the p-th root of a sum of p-th powers */
    double power;        /* what its elements are raised to: 0: to nothing; > 0: x^power, a whole one; < 0: |x|^-power */
    int64_t signs;       /* where sums of x^power are negative they are to be those of |x|^power */
    pc_ld ld_x, ld_out, ld_idx, ld_forward;
    int64_t x_end, out_end, forward_end; /* elements of each array from its first element to its end in memory */
    int64_t own_indices;                 /* a gradient finds the maxima of `forward` itself */
    /* filled by plan() */
    int64_t h_tile, w_tile, inner_tile, n_h_tiles, n_w_tiles, n_tasks;
    int64_t whole_from, whole_to;        /* outputs of a row whose windows count all of their columns */
    int64_t plane_pitch;                 /* not 0: whole planes at once, rows so far apart */
    int64_t lines;                       /* rows are one window each */
    int64_t turned;                      /* a vector of planes a task, one plane a lane */
    int64_t narrow;                      /* windows of neighbours, at most a vector wide, each loaded as one */
    int64_t fused;                       /* not 0: windows of so many rows and columns, joined in registers */
    double uniform;                      /* what every average divides by; 0: they differ */
    int64_t n_boxes, run;                /* pieces of the work, and how many of them a task has */
    int64_t planes_follow;               /* outputs of all planes are one run of memory */
    int64_t x_begin;                     /* elements of x before its first one, with steps below 0 */
    int64_t fused_at, count_elems;       /* where the scratch of `fused` begins, and its counts of columns */
    int64_t chunk;                       /* elements of a plane whose sums the scratch holds at once */
    int64_t batch;                       /* rows of v that are joined one after the other */
    int64_t herk;                                              /* rows by blocks of a window's height */
    int64_t v_elems, y_elems, level_elems, n_levels, herk_elems, q_elems; /* what the scratch of one worker holds */
    int64_t scratch_bytes;
} pc_pool;

typedef struct pc_pool_kernel pc_pool_kernel;

int pc_n_pool_kernels(int isa);
const pc_pool_kernel *pc_pool_kernel_at(int isa, int index);
const char *pc_pool_kernel_name(const pc_pool_kernel *kernel);
int pc_pool_kernel_role(const pc_pool_kernel *kernel);
int pc_pool_plan(const pc_pool_kernel *kernel, pc_pool *p, int64_t max_scratch_bytes);
/* indices and forward may be NULL where the role does without. */
int pc_pool_run(const pc_pool_kernel *kernel, const pc_pool *p, void *x, void *out, void *indices,
                const void *forward, void *scratch, int threads);

/* What a kernel of the gradients computes. */
enum pc_grad_role { PC_GRAD_DIRECT, PC_GRAD_PLANAR, PC_GRAD_CHANNELS, PC_GRAD_WINOGRAD_TILES, PC_GRAD_BIAS };

/* How the gradient of a convolution with respect to its weights is cut; a function of the problem alone. A block is some
 * channels of each side, a strip some pixels of the output; a part sums its share of the strips for one block. */
typedef struct pc_grad_cut {
    int64_t h_out, w_out;                /* what a plane of the output is counted in: pixels, or tiles of them */
    int64_t h_tile, w_tile, images;      /* of a strip; more than one image only where it holds them whole */
    int64_t n_h_tiles, n_w_tiles, n_strips;
    int64_t m_block, c_block, kh_block;  /* of a block: output channels (in vectors), input channels, kernel rows */
    int64_t n_m_blocks, n_c_blocks, n_kh_blocks, n_blocks, parts;
    int64_t tile_order;                  /* how x lies in a tile: 0 where it is, 1 rows of a plane, 2 channels */
    int64_t ld_x, ld_y, ld_m;            /* Winograd: elements of both sides and of their product at one point */
    int64_t tile_elems, y_elems, block_elems;
} pc_grad_cut;

/* The gradient of the weights of `conv`, whose ld_out is that of the output's gradient; ld_w is the result's, n and c
 * its output and input channels. The gradient of the bias reads conv's output alone and writes along ld_w.n. */
typedef struct pc_grad {
    pc_conv conv;
    pc_ld ld_w;
    pc_grad_cut cut;
    int64_t shared_bytes, scratch_bytes; /* of all workers together, of one; filled by plan() */
    int64_t n_tasks;
} pc_grad;

typedef struct pc_grad_kernel pc_grad_kernel;

int pc_n_grad_kernels(int isa);
const pc_grad_kernel *pc_grad_kernel_at(int isa, int index);
const char *pc_grad_kernel_name(const pc_grad_kernel *kernel);
int pc_grad_kernel_lanes(const pc_grad_kernel *kernel);
/* What is shared is at most four times the scratch of one worker, which is at most half of max_scratch_bytes. */
int pc_grad_plan(const pc_grad_kernel *kernel, pc_grad *p, int64_t max_scratch_bytes);
/* scratch holds shared_bytes + threads * scratch_bytes bytes, aligned to 64; x is NULL for the bias. */
int pc_grad_run(const pc_grad_kernel *kernel, const pc_grad *p, const void *grad_output, const void *x, void *out,
                void *scratch, int threads);
/* ---- small layers ---- */

/* size and step: loops over arrays of any strides, outermost first, as pyconv/backends/layers.py has merged their axes; the
 * last one is a run. step[a][i] is array a's in loop i. That module cuts the tasks as well. */
/* out = f(x), or with `gradient` f'(x) grad_output; arrays: x, grad_output (or NULL), out. */
typedef struct pc_elementwise {
    int64_t size[4], step[3][4];
    int64_t activation, gradient;
    double slope;
    int64_t rows, piece; /* a task: rows, and elements of their runs */
    int64_t n_pieces, n_tasks;
} pc_elementwise;

enum pc_channelwise_what {
    PC_NORM_INFER,      /* out = (x - mean) weight / sqrt(var + eps) + bias, of given mean and variance */
    PC_NORM_TRAIN,      /* the same of x's own, which are written too */
    PC_NORM_STATS,      /* only these */
    PC_NORM_GRAD_INFER, /* gradients of the first, with respect to x, weight and bias, as far as there are arrays for them */
    PC_NORM_GRAD_TRAIN, /* of the second */
    PC_CHANNEL_SUM,     /* sum of grad_output */
};

/* What is the same for all elements of a channel. Wide arrays: x, grad_output, out; vectors of one value a channel: mean,
 * variance, weight, bias, and the results `first` (mean, gradient of weight) and `second` (variance, gradient of bias). */
typedef struct pc_channelwise {
    int64_t what, channels, count;          /* count: elements of a channel */
    int64_t pixels;                         /* channels are neighbours in memory, lanes run over them */
    int64_t size[4], step[3][4];            /* all axes but the channels' */
    int64_t c_step[3], vector_step[6];
    double eps;
    int64_t group, n_groups;                /* channels that are summed together */
    int64_t rows, piece, n_pieces, n_blocks; /* a block: rows, and elements of their runs; n_blocks of a channel */
    int64_t units, n_tasks;                 /* a task of sums: blocks of a group */
    int64_t apply_rows, apply_piece, n_apply_pieces, n_apply_tasks;
    int64_t shared_bytes, scratch_bytes;    /* of all workers together, and of each */
} pc_channelwise;

/* out[c] = x[c] / (k + alpha sum of x[j]^2, j in [c - before, c + after])^beta, or its gradient; wide arrays: x,
 * grad_output, out. */
typedef struct pc_response {
    int64_t channels, before, after, pixels, gradient;
    int64_t size[4], step[3][4], c_step[3];
    double k, alpha, beta;
    int64_t c_block, piece, n_c_blocks, n_pieces, n_tasks; /* a task: channels x elements of a run */
    int64_t pitch, rows, elems;                            /* its tile in scratch: rows `pitch` apart, elements in all */
    int64_t scratch_bytes;
} pc_response;

/* out[n, c, o] = x[n, c, at[o]] along each axis, or with `gradient` the sum of grad_output over the outputs that an
 * element went to, from[i] up to from[i + 1]. x is the array of the smaller index space in both. */
typedef struct pc_nearest {
    int64_t n, c, inner; /* inner: channels, where these are neighbours, and then c is 1 */
    int64_t in[3], out[3], ld_x[5], ld_out[5]; /* d, h, w; n, c, d, h, w */
    const int64_t *at[3];                      /* or `from`, of in + 1 entries */
    int64_t repeat;                            /* each element of a row this often, if that is so; else 0 */
    int64_t gradient, rows, n_tasks;           /* rows of a task */
    int64_t scratch_bytes;
} pc_nearest;

/* large[n, c, h r + i, w r + j] = small[n, (c r + i) r + j, h, w], or with `gather` the other way round; arrays: what is
 * read, what is written. */
typedef struct pc_interleave {
    int64_t n, c, h, w, factor;        /* channels of the large image, rows and columns of the small one, r */
    int64_t gather;
    int64_t channels;                  /* lines are rows of pixels of the small image, not rows of the large one */
    int64_t ld_small[4], ld_large[4];  /* n, c, h, w */
    int64_t rows, n_tasks;             /* lines of a task */
} pc_interleave;

/* out[m, n] = sum of x[m, k] w[n, k] + bias[n]; elements of a row of x and of w are neighbours. */
typedef struct pc_dot {
    int64_t m, n, k, ld_x, ld_w, ld_out, out_step;
    int64_t columns, n_tasks; /* outputs of a row in a task */
} pc_dot;

/* Windows as columns of a matrix and back (lowering.inc.c) are described by a pc_conv; arrays: what is read, and what is
 * written. ld_x is the images' and ld_out.n, ld_out.c the matrix's. Of its blocking, a task is c_block channels (n_m_blocks
 * of them), h_tile rows and w_tile columns; in_place: x is its own tile, or the matrix has no gaps; rows: of pixels that are summed as one, 1 or all. */
typedef struct pc_layer_kernel pc_layer_kernel;

int pc_n_layer_kernels(int isa);
const pc_layer_kernel *pc_layer_kernel_at(int isa, int index);
const char *pc_layer_kernel_name(const pc_layer_kernel *kernel);
/* Elements of a vector of the arithmetic's type. */
int64_t pc_layer_kernel_lanes(const pc_layer_kernel *kernel);
/* problem: the family's struct from above; the arrays in its order, NULL for what it does without. */
int pc_layer_run(const pc_layer_kernel *kernel, const void *problem, void *a0, void *a1, void *a2, void *a3, void *a4,
                 void *a5, void *a6, void *a7, void *a8, void *scratch, int threads);

/* ---- sampling: kernels of their own, described and run as the small layers' are ---- */

int pc_n_sample_kernels(int isa);
const pc_layer_kernel *pc_sample_kernel_at(int isa, int index);

/* Rows that a worker of sample_separable keeps at most, and combines at once. */
enum { PC_RESAMPLE_KEPT = 16 };

/* out = Wd Wh Ww x along three axes, as pyconv/backends/sampling.py has cut it; x is the array that is read. Taps
 * begin[a][o] .. begin[a][o + 1] of axis a (d, h) belong to output o: element index[a][t] times weight[a][t], elements
 * ascending, weights in the type of the arithmetic. Columns: block b is the outputs from start[b] on, as many as a vector
 * has lanes; its taps are vectors of weights and of places (integers of the weights' size) from element base[b] on. With
 * column_begin, columns are pixels of `inner` channels, and have taps as rows do. */
typedef struct pc_resample {
    int64_t n, c, inner;
    int64_t in[3], out[3], ld_x[5], ld_out[5]; /* d, h, w; n, c, d, h, w */
    const int64_t *begin[2], *index[2];
    const void *weight[2];
    int64_t blocks, taps, vectors; /* vectors that a block's elements lie in, 2 or 4; 0: more */
    const int64_t *start, *base, *column_begin;
    const void *column_place, *column_weight;
    const int64_t *empty; /* columns without taps: stretches of empty_length elements */
    int64_t n_empty, empty_length;
    int64_t columns_same, columns_first; /* there is nothing to combine in a row; or it comes first */
    int64_t in_place, out_in_place;      /* whole vectors may be read and written where the arrays are */
    int64_t kept, kept_pitch, in_pitch, out_pitch;
    int64_t rows, n_tasks; /* rows of a task */
    int64_t scratch_bytes;
} pc_resample;

/* What sample_grid does with its points: samples x, adds to the gradient of x, or finds that of the points. */
enum pc_grid_what { PC_GRID_FORWARD, PC_GRID_GRAD_X, PC_GRID_GRAD_GRID };
enum pc_grid_padding { PC_GRID_ZEROS, PC_GRID_BORDER, PC_GRID_REFLECTION };

/* Points that a table is made for at once: a multiple of every number of lanes. */
enum { PC_GRID_BLOCK = 128 };

/* Maps x (or their gradient) sampled at `points` places each, which lie n by n as (x, y) or (x, y, z) behind each other;
 * out (or its gradient) has a step for points. taps: elements of x that a sample has along each axis: 1 nearest, 2 linear,
 * 4 cubic. */
typedef struct pc_grid {
    int64_t n, c, rank, points, what, taps, padding, align_corners;
    int64_t in[3]; /* d, h, w */
    pc_ld ld_x;
    int64_t ld_out[3]; /* n, c, point */
    int64_t by_channels;          /* channels in the lanes, from a map of them in scratch or in place; or points */
    int64_t in_place;             /* the map is x itself; of the gradient of places: channels are neighbours */
    int64_t vectors;              /* of channels of a task; of a gradient of x by points its channels, 4 or 1 */
    int64_t chunk, n_chunks;      /* points of a task */
    int64_t band, n_bands;        /* rows of the map of a task of a gradient of x by points */
    int64_t n_blocks, n_tasks;    /* blocks of channels */
    int64_t map_elems, scratch_bytes;
} pc_grid;

/* Places of affine transforms of a grid, all arrays contiguous; along: the coordinates of d, h and w. */
typedef struct pc_affine {
    int64_t n, rank, gradient;
    int64_t in[3];
    const double *along[3];
    int64_t rows, n_tasks; /* rows of a task; the gradient's are images */
} pc_affine;

/* Regions of interest. What a box is cut into: bins with bilinear samples (roi_align, ps_roi_align) or windows of whole
 * pixels (roi_pool, ps_roi_pool). */
enum pc_roi_rule { PC_ROI_ALIGN, PC_ROI_PS_ALIGN, PC_ROI_POOL, PC_ROI_PS_POOL };
/* What becomes of a bin: the mean of its samples, the largest weighted pixel, the largest sample. */
enum pc_roi_join { PC_ROI_MEAN, PC_ROI_MAX_PIXEL, PC_ROI_MAX_SAMPLE };
enum pc_roi_role { PC_ROI_FORWARD, PC_ROI_GRADIENT };

typedef struct pc_roi_axis {
    int64_t in, out;
    /* filled by plan() */
    int64_t taps;  /* most pixels that all bins of a box read along this axis */
    int64_t begin; /* where the axis begins in a box's table, in bytes */
} pc_roi_axis;

/* x is the array of maps and out the one with the boxes' bins, whichever of them is read. With slices > 1 each bin reads
 * channels of its own: channel c of bin b is channel c * slices + b of x. */
typedef struct pc_roi {
    int64_t n, c, boxes, rank, slices; /* images, channels of out, boxes */
    pc_roi_axis d, h, w;
    int64_t rule, join, ratio, aligned; /* ratio: samples of a bin along an axis, 0: as many as it has pixels */
    double scale;
    pc_ld ld_x, ld_out, ld_forward;
    /* filled by plan() */
    int64_t vectors, n_blocks;    /* of channels that a task has in its lanes */
    int64_t chunk, n_chunks;      /* boxes of a task */
    int64_t band, n_bands;        /* rows of the map of a task of a gradient */
    int64_t whole;                /* a worker's scratch has room for a whole map */
    int64_t table_bytes, n_tables; /* tables that all tasks share; where 0, each task makes its own */
    int64_t map_elems, row_elems, cache_elems, bins_elems; /* what the scratch of one worker holds */
    int64_t scratch_bytes, shared_bytes; /* of one worker, and for all of them */
} pc_roi;

typedef struct pc_roi_kernel pc_roi_kernel;

int pc_n_roi_kernels(int isa);
const pc_roi_kernel *pc_roi_kernel_at(int isa, int index);
const char *pc_roi_kernel_name(const pc_roi_kernel *kernel);
int pc_roi_plan(const pc_roi_kernel *kernel, pc_roi *p, int64_t max_scratch_bytes);
/* boxes: p->boxes rows of an image's index and, along x, y and z, the first and then the last corners. A box of image -1
 * is left out. forward: x, where the gradient of a maximum has to look for it. scratch holds shared_bytes and threads *
 * scratch_bytes. */
int pc_roi_run(const pc_roi_kernel *kernel, const pc_roi *p, void *x, void *out, const double *boxes,
               const void *forward, void *scratch, int threads);

/* Marks in keep[] the boxes that no better one of their run overlaps by more than `threshold`. Boxes lie in four rows of
 * n corners (x1, y1, x2, y2), each run in falling order of its scores; runs[0 .. n_runs] are their bounds. scratch holds
 * n doubles. */
const char *pc_nms_name(int isa);
void pc_nms_run(int isa, const double *corners, int64_t n, const int64_t *runs, int64_t n_runs, double threshold,
                uint8_t *keep, double *scratch, int threads);

/* Deformable convolution: what a kernel of it computes; the gradients of the offset and the mask come together. */
enum pc_deform_role { PC_DEFORM_FORWARD, PC_DEFORM_WEIGHTS, PC_DEFORM_X, PC_DEFORM_OFFSET };
/* How x is read: from pixels of LANES channels that were turned first, whole vectors of channels or single elements where
 * they lie. */
enum pc_deform_source { PC_DEFORM_TURNED, PC_DEFORM_VECTORS, PC_DEFORM_ELEMENTS };

/* Tap a of output (h, w) of an offset group reads x at (h stride - pad + a dilation) + offset, bilinearly; channel
 * 2 (group * taps + tap) of the offset is along h, the next one along w; channel group * taps + tap of the mask is the
 * sample's factor. conv.ld_out is the output's, or its gradient's. */
typedef struct pc_deform {
    pc_conv conv;
    int64_t offset_groups, has_mask;
    pc_ld ld_offset, ld_mask, ld_w, ld_grad_offset, ld_grad_mask; /* the last three of gradients, written */
    /* filled by plan() */
    int64_t n_chunks;                  /* of channels that share a vector, a group and an offset group */
    int64_t lines, line;               /* the output's pixels: one line of all, or a line for each row */
    int64_t strip, n_strips, pitch;    /* pixels of a task, strips of a line; the strip in whole vectors */
    int64_t c_block;                   /* chunks of a reduction block */
    int64_t source, images;            /* of a round: their x is turned, then used */
    int64_t turned_rows, n_turned;     /* rows that are turned in one task, tasks of a plane */
    int64_t parts;                     /* of the gradient of weights, each summed for itself */
    int64_t band, n_bands;             /* rows of x of a task of its gradient */
    int64_t col_elems, y_elems, sum_elems; /* what the scratch of one worker holds beside a table */
    int64_t shared_bytes, scratch_bytes, n_tasks;
} pc_deform;

typedef struct pc_deform_kernel pc_deform_kernel;

int pc_n_deform_kernels(int isa);
const pc_deform_kernel *pc_deform_kernel_at(int isa, int index);
const char *pc_deform_kernel_name(const pc_deform_kernel *kernel);
int pc_deform_kernel_role(const pc_deform_kernel *kernel);
int64_t pc_deform_kernel_lanes(const pc_deform_kernel *kernel);
/* Fills the cut; returns 0 where the scratch of a worker would be too large. What is shared is at most four times
 * max_scratch_bytes. */
int pc_deform_plan(const pc_deform_kernel *kernel, pc_deform *p, int64_t max_scratch_bytes);
/* As pc_conv_pack. */
int64_t pc_deform_pack(const pc_deform_kernel *kernel, const pc_deform *p, const void *w, void *packed);
/* y is the output or its gradient; `first` the gradient of weights, or of the offset, `second` that of the mask. With
 * PC_DEFORM_X x is written. What a role does without may be NULL. scratch holds shared_bytes + threads * scratch_bytes. */
int pc_deform_run(const pc_deform_kernel *kernel, const pc_deform *p, void *x, void *y, const void *packed,
                  const void *bias, const void *offset, const void *mask, void *first, void *second, void *scratch,
                  int threads);

/* The name of the kernel that this thread ran last, written by the kernel itself: what tests ask. */
const char *pc_last_kernel(void);

/* Threads in the pool at the moment, the caller's not counted. */
int pc_pool_workers(void);
int pc_pool_max_threads(void);

/* From now on the calling thread's jobs run on the team of an OpenMP run time that is in the process already, given by
 * the addresses of its GOMP_parallel and omp_get_thread_num; NULL brings them back to the pool. In a process that was
 * forked after the first such call they stay on the pool. */
void pc_join_team(void *parallel, void *self);
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
    int is_float;
    int (*run)(const pc_pool *p, const pc_pool_arrays *arrays, int threads);
};

typedef struct pc_grad_arrays {
    const void *y, *x; /* the gradient of the output, and the input */
    void *out;
    char *scratch;
} pc_grad_arrays;

struct pc_grad_kernel {
    const char *name; /* grad_algo_dtype__isa */
    int role;
    int64_t item_bytes, real_bytes, lanes;
    int64_t alpha; /* of Winograd's transforms */
    void (*run)(const pc_grad *p, const pc_grad_arrays *arrays, int threads);
};

enum { PC_LAYER_ARRAYS = 9 };

struct pc_layer_kernel {
    const char *name; /* layers_family_dtype__isa, lowering_family_dtype__isa */
    int64_t item_bytes, lanes;
    void (*run)(const void *problem, void *const *arrays, char *scratch, int threads);
};

typedef struct pc_roi_arrays {
    void *x, *out;
    const double *boxes;
    const void *forward;
    char *scratch;
} pc_roi_arrays;

struct pc_roi_kernel {
    const char *name; /* roi_role_dtype__isa */
    int role;
    int64_t item_bytes, real_bytes, lanes;
    void (*run)(const pc_roi *p, const pc_roi_arrays *arrays, int threads);
};

typedef struct pc_deform_arrays {
    void *x, *y;
    const void *packed, *bias, *offset, *mask;
    void *first, *second;
    char *scratch;
} pc_deform_arrays;

struct pc_deform_kernel {
    const char *name; /* deform_role_dtype__isa */
    int role;
    int64_t item_bytes, real_bytes, lanes, rows, vectors;
    int64_t (*pack)(const pc_deform *p, const void *w, void *packed);
    void (*run)(const pc_deform *p, const pc_deform_arrays *arrays, int threads);
};

/* Channels c .. c + depth of x, of one group and one offset group. */
typedef struct pc_deform_chunk {
    int64_t c, depth, group, offset_group;
} pc_deform_chunk;

/* Cuts the channels; chunks may be NULL. Returns how many there are. */
int64_t pc_deform_cut(const pc_deform *p, int64_t lanes, pc_deform_chunk *chunks);

static inline int64_t pc_deform_taps(const pc_deform *p) { return p->conv.h.k * p->conv.w.k; }

/* The kernels of one family on one instruction set: pc_<family>_<isa>. */
typedef struct pc_conv_table {
    int n;
    const pc_kernel *kernels;
} pc_conv_table;
typedef struct pc_pool_table {
    int n;
    const pc_pool_kernel *kernels;
} pc_pool_table;
typedef struct pc_grad_table {
    int n;
    const pc_grad_kernel *kernels;
} pc_grad_table;
typedef struct pc_layer_table {
    int n;
    const pc_layer_kernel *kernels;
} pc_layer_table;

typedef struct pc_nms_job {
    const double *corners, *area;
    int64_t n;
    const int64_t *runs;
    double threshold;
    uint8_t *keep;
} pc_nms_job;
typedef struct pc_roi_table {
    int n;
    const pc_roi_kernel *kernels;
    const char *nms_name;
    void (*nms)(void *job, int64_t run, int worker);
} pc_roi_table;

typedef struct pc_deform_table {
    int n;
    const pc_deform_kernel *kernels;
} pc_deform_table;

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

/* What a box's table says of one axis, in int32_t and, on request, float or double. Taps begin[o] .. begin[o + 1] belong
 * to bin o: pixel index[i] times weight[i]. For PC_ROI_MAX_SAMPLE they are pairs, the two pixels of a sample. zero[o]: a
 * sample of the bin lies outside the map, where everything is zero, or the bin has none at all, or a pixel weighs nothing. For the gradient of a
 * mean the same taps are ordered by pixels ("lines"): those of line l are line_begin[l] .. line_begin[l + 1], each a bin
 * and a weight. */
typedef struct pc_roi_lists {
    int32_t *begin, *index, *zero;
    void *weight;
    int32_t *line, *line_begin, *line_bin;
    void *line_weight;
    int32_t *owner; /* while the table is made: the line of each tap */
} pc_roi_lists;

/* The head of a table: the box's image, and of d, h and w the first and last pixel that it reads, its lines, and the
 * taps of a bin where all bins have as many, at most PC_ROI_EVEN; else 0. */
#define PC_ROI_EVEN 4
/* Reduced rows that are kept: those of a bin, and of the bin before. */
#define PC_ROI_KEPT 8
typedef struct pc_roi_head {
    int64_t image, first[3], last[3], lines[3], even[3];
} pc_roi_head;

static inline pc_roi_lists pc_roi_lists_of(const pc_roi_axis *a, int lines, int64_t real_bytes, void *table) {
    char *at = (char *)table + a->begin;
    pc_roi_lists s = {0};
    s.weight = at;
    at += a->taps * real_bytes;
    if (lines) {
        s.line_weight = at;
        at += a->taps * real_bytes;
    }
    s.begin = (int32_t *)at;
    s.zero = s.begin + a->out + 1;
    s.index = s.zero + a->out;
    if (lines) {
        s.line = s.index + a->taps;
        s.line_begin = s.line + a->taps;
        s.line_bin = s.line_begin + a->taps + 1;
        s.owner = s.line_bin + a->taps;
    }
    return s;
}

static inline int pc_roi_has_lines(const pc_roi *p, int role) {
    return role == PC_ROI_GRADIENT && p->join == PC_ROI_MEAN && p->slices == 1;
}

/* Makes the table of a box. */
void pc_roi_make_table(const pc_roi *p, int role, int64_t real_bytes, const double *box, void *table);

/* What all tasks of a call share, behind each other in shared memory: boxes in the order of their images, where each
 * image's begin, whether its whole map is turned at once, and tables. */
typedef struct pc_roi_shared {
    int64_t *order, *first, *whole;
    char *tables;
} pc_roi_shared;

static inline int64_t pc_roi_lists_bytes(const pc_roi *p) { return (2 * p->n + 1 + p->boxes + 7) / 8 * 64; }

static inline pc_roi_shared pc_roi_shared_of(const pc_roi *p, char *scratch) {
    pc_roi_shared s;
    s.order = (int64_t *)scratch;
    s.first = s.order + p->boxes;
    s.whole = s.first + p->n + 1;
    s.tables = scratch + pc_roi_lists_bytes(p);
    return s;
}

void pc_roi_sort(const pc_roi *p, const double *boxes, pc_roi_shared s);

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

/* The same axis for kernels that read the tile element by element: neighbouring outputs are `step` elements apart, and
 * columns that no tap reads are left out only where there is one tap. */
typedef struct pc_span {
    pc_grid_axis grid;
    int64_t step;
} pc_span;

static inline pc_span pc_span_of(const pc_axis *axis, int64_t taps, int64_t outputs, int may_skip) {
    if (axis->k == 1 && may_skip)
        return (pc_span){{axis->stride, 1, 1, 1, outputs}, 1};
    return (pc_span){{1, axis->dilation, 1, 1, (outputs - 1) * axis->stride + (taps - 1) * axis->dilation + 1},
                     axis->stride};
}

/* How x lies in the tile of a gradient of weights. */
enum { PC_GRAD_IN_PLACE, PC_GRAD_ROWS, PC_GRAD_CHANNEL_TILES };

/* One block: output channels m0 .. m0 + n_m in vectors, input channels, kernel rows. */
typedef struct pc_grad_block {
    int64_t g, m0, n_m, c0, n_c, kh0, n_kh;
} pc_grad_block;

static inline pc_grad_block pc_grad_block_of(const pc_grad *g, int64_t lanes, int64_t block) {
    const pc_grad_cut *k = &g->cut;
    const pc_conv *p = &g->conv;
    const int64_t vectors = (p->c_out + lanes - 1) / lanes;
    pc_grad_block b;
    b.m0 = block % k->n_m_blocks * k->m_block;
    block /= k->n_m_blocks;
    b.kh0 = block % k->n_kh_blocks * k->kh_block;
    block /= k->n_kh_blocks;
    b.c0 = block % k->n_c_blocks * k->c_block;
    b.g = block / k->n_c_blocks;
    b.n_m = vectors - b.m0 < k->m_block ? vectors - b.m0 : k->m_block;
    b.n_kh = p->h.k - b.kh0 < k->kh_block ? p->h.k - b.kh0 : k->kh_block;
    b.n_c = p->c_in - b.c0 < k->c_block ? p->c_in - b.c0 : k->c_block;
    return b;
}

/* Rows of a block's product: its input channels and taps. */
static inline int64_t pc_grad_rows(const pc_grad *g, const pc_grad_block *b) {
    return b->n_c * g->conv.d.k * b->n_kh * g->conv.w.k;
}

/* One strip: images from n on, output depth d, rows and columns. */
typedef struct pc_grad_strip {
    int64_t n, images, d, h, rows, w, cols;
} pc_grad_strip;

static inline pc_grad_strip pc_grad_strip_of(const pc_grad *g, int64_t strip) {
    const pc_grad_cut *k = &g->cut;
    const pc_conv *p = &g->conv;
    pc_grad_strip s;
    s.w = strip % k->n_w_tiles * k->w_tile;
    strip /= k->n_w_tiles;
    s.h = strip % k->n_h_tiles * k->h_tile;
    strip /= k->n_h_tiles;
    s.d = strip % p->d.out;
    s.n = strip / p->d.out * k->images;
    s.images = p->n - s.n < k->images ? p->n - s.n : k->images;
    s.rows = k->h_out - s.h < k->h_tile ? k->h_out - s.h : k->h_tile;
    s.cols = k->w_out - s.w < k->w_tile ? k->w_out - s.w : k->w_tile;
    return s;
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

/* The image, channel (of all groups), depth, row and column of a result. */
typedef struct pc_place {
    int64_t n, m, d, h, w;
} pc_place;

static inline int64_t pc_at(const pc_ld *ld, pc_place at) {
    return at.n * ld->n + at.m * ld->c + at.d * ld->d + at.h * ld->h + at.w * ld->w;
}

/* The phase that result channel m (of all groups) is, and the channel of the output array it belongs to. */
typedef struct pc_phase {
    int64_t m, a_d, a_h, a_w, channel;
} pc_phase;

pc_phase pc_phase_of(const pc_conv *p, int64_t m);
/* That of channel m + step. */
pc_phase pc_phase_next(const pc_conv *p, pc_phase phase, int64_t step);
/* Whether the output array has a phase's row; the element that its column 0 stands at. */
int pc_phase_row(const pc_conv *p, const pc_phase *phase, pc_place at, int64_t *row);

/* Where n rows of results go, of channels at.m, at.m + step, ... */
typedef struct pc_phase_place {
    int64_t row, a_w;
    int exists;
} pc_phase_place;

void pc_phase_places(const pc_conv *p, pc_place at, int64_t step, int64_t n, pc_phase_place *places);

/* Results [begin, end) of a run of n from column w on have an element for phase column a. */
typedef struct pc_range {
    int64_t begin, end;
} pc_range;

static inline pc_range pc_phase_range(const pc_phase_axis *axis, int64_t a, int64_t w, int64_t n) {
    const int64_t at = axis->first + axis->step * a + axis->stride * w, left = axis->size - at;
    pc_range r = {at < 0 ? (-at + axis->stride - 1) / axis->stride : 0,
                  left > 0 ? (left + axis->stride - 1) / axis->stride : 0};
    r.end = r.end < n ? r.end : n;
    r.begin = r.begin < r.end ? r.begin : r.end;
    return r;
}

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
