/* The convolutions of one instruction set, and the table of them. */
#include "isa_begin.h"
#include "winograd_matrices.h"
#define PC_BODIES "conv_bodies.inc.h"
#include "floats.inc.h"

#define PC_KERNEL(op_algo, dtype, real_dtype)                                                                          \
    {PC_STRING(PC_PASTE(op_algo, dtype, PC_ISA)),                                                                      \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_ROWS,                                                                                                          \
     PC_VECTORS,                                                                                                       \
     PC_PASTE(PC_CONCAT(op_algo, _plan), dtype, PC_ISA),                                                               \
     PC_PASTE(PC_CONCAT(op_algo, _pack), real_dtype, PC_ISA),                                                          \
     PC_PASTE(PC_CONCAT(op_algo, _run), dtype, PC_ISA)}
#define PC_KERNELS(op_algo) PC_KERNEL(op_algo, f32, f32), PC_KERNEL(op_algo, f64, f64), PC_KERNEL(op_algo, f16, f32)

static const pc_kernel kernels[] = {
    PC_KERNELS(conv_direct),    PC_KERNELS(conv_im2col),             PC_KERNELS(conv_implicit_gemm),
    PC_KERNELS(conv_depthwise), PC_KERNELS(conv_depthwise_channels),
#if PC_PIXEL_WINDOWS
    PC_KERNELS(conv_grouped_channels),
#endif
    PC_KERNELS(conv_winograd_f3x2), PC_KERNELS(conv_winograd_f5x2),
    PC_KERNELS(conv_winograd_f2x3), PC_KERNELS(conv_winograd_f4x3), PC_KERNELS(conv_winograd_f6x3),
    PC_KERNELS(conv_winograd_f2x5), PC_KERNELS(conv_winograd_f4x5), PC_KERNELS(conv_winograd_f2x7),
    PC_KERNELS(conv_fft),
};

const pc_conv_table PC_CONCAT(pc_conv_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
