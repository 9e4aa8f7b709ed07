/* One instruction set: every kernel body for float32 and float64, and the table of them. The including file says
 * which (PC_ISA, PC_TARGET, PC_VEC_BYTES) and how large its register tiles are: PC_ROWS output channels x PC_VECTORS
 * vectors of pixels, or PC_WIDE_VECTORS of them where there are at most PC_WIDE_ROWS channels; PC_TALL_ROWS rows where
 * there are fewer vectors than PC_VECTORS. */
#include <stddef.h>
#include <string.h>
#include "winograd_matrices.h"

#define PC_STRING_(text) #text
#define PC_STRING(text) PC_STRING_(text)

#if defined(PC_TARGET) && defined(__clang__)
#define PC_PRAGMA(text) _Pragma(#text)
#define PC_ATTRIBUTE(target_text) PC_PRAGMA(clang attribute push(__attribute__((target(target_text))), apply_to = function))
PC_ATTRIBUTE(PC_TARGET)
#elif defined(PC_TARGET)
#define PC_PRAGMA(text) _Pragma(#text)
#define PC_GCC_TARGET(target_text) PC_PRAGMA(GCC target(target_text))
PC_GCC_TARGET(PC_TARGET)
#endif

#define REAL float
#define INTEGER int32_t
#define DTYPE f32
#include "kernels.inc.h"
#undef REAL
#undef INTEGER
#undef DTYPE

#define REAL double
#define INTEGER int64_t
#define DTYPE f64
#include "kernels.inc.h"
#undef REAL
#undef INTEGER
#undef DTYPE

#define PC_KERNEL(op_algo, dtype, plan_function)                                                                       \
    {PC_STRING(PC_PASTE(op_algo, dtype, PC_ISA)),                                                                      \
     sizeof(PC_PASTE(real, dtype, PC_ISA)),                                                                            \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, dtype, PC_ISA)),                                                    \
     PC_ROWS,                                                                                                          \
     PC_VECTORS,                                                                                                       \
     PC_PASTE(plan_function, dtype, PC_ISA),                                                                           \
     PC_PASTE(PC_CONCAT(op_algo, _pack), dtype, PC_ISA),                                                               \
     PC_PASTE(PC_CONCAT(op_algo, _run), dtype, PC_ISA)}

#define PC_KERNELS_WINOGRAD(variant)                                                                                   \
    PC_KERNEL(conv_winograd_##variant, f32, conv_winograd_##variant##_plan),                                           \
    PC_KERNEL(conv_winograd_##variant, f64, conv_winograd_##variant##_plan),

static const pc_kernel PC_CONCAT(kernels_, PC_ISA)[] = {
    PC_KERNEL(conv_direct, f32, conv_direct_plan),       PC_KERNEL(conv_direct, f64, conv_direct_plan),
    PC_KERNEL(conv_direct_channels, f32, conv_direct_channels_plan),
    PC_KERNEL(conv_direct_channels, f64, conv_direct_channels_plan),
    PC_KERNEL(conv_implicit_gemm, f32, conv_implicit_gemm_plan),
    PC_KERNEL(conv_implicit_gemm, f64, conv_implicit_gemm_plan),
    PC_KERNEL(conv_im2col, f32, conv_im2col_plan),       PC_KERNEL(conv_im2col, f64, conv_im2col_plan),
    PC_KERNEL(conv_depthwise, f32, conv_depthwise_plan), PC_KERNEL(conv_depthwise, f64, conv_depthwise_plan),
    PC_KERNEL(conv_depthwise_channels, f32, conv_depthwise_channels_plan),
    PC_KERNEL(conv_depthwise_channels, f64, conv_depthwise_channels_plan),
    PC_KERNELS_WINOGRAD(f2x3) PC_KERNELS_WINOGRAD(f4x3) PC_KERNELS_WINOGRAD(f6x3)
    PC_KERNELS_WINOGRAD(f2x5) PC_KERNELS_WINOGRAD(f4x5) PC_KERNELS_WINOGRAD(f2x7)
};

const pc_isa PC_CONCAT(pc_isa_, PC_ISA) = {
    PC_STRING(PC_ISA),
    sizeof PC_CONCAT(kernels_, PC_ISA) / sizeof *PC_CONCAT(kernels_, PC_ISA),
    PC_CONCAT(kernels_, PC_ISA),
};

#if defined(PC_TARGET) && defined(__clang__)
#pragma clang attribute pop
#endif
