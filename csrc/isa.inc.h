/* One instruction set: every kernel body for arrays of float32, float16 and float64, and the table of them. The
 * including file says which (PC_ISA, PC_TARGET, PC_VEC_BYTES, and PC_F16C where it converts float16) and how large its
 * register tiles are: PC_ROWS output channels x PC_VECTORS vectors of pixels, or PC_WIDE_VECTORS of them where there
 * are at most PC_WIDE_ROWS channels; PC_TALL_ROWS rows where there are fewer vectors than PC_VECTORS. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#if PC_F16C
#include <immintrin.h>
#endif
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

/* REAL is the type of the arithmetic, STORAGE that of the arrays. Where they differ (PC_WIDENED) only what loads and
 * stores is compiled again: what computes is there already. */
#define PC_INTEGERS 0
#define REAL float
#define INTEGER int32_t
#define REAL_DTYPE f32
#define STORAGE float
#define DTYPE f32
#define PC_WIDENED 0
#include "kernels.inc.h"
#undef STORAGE
#undef DTYPE
#undef PC_WIDENED

#define STORAGE pc_half
#define DTYPE f16
#define PC_WIDENED 1
#include "kernels.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#undef STORAGE
#undef DTYPE
#undef PC_WIDENED

#define REAL double
#define INTEGER int64_t
#define REAL_DTYPE f64
#define STORAGE double
#define DTYPE f64
#define PC_WIDENED 0
#include "kernels.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#undef STORAGE
#undef DTYPE
#undef PC_WIDENED

#undef PC_INTEGERS

/* Integers are compared and moved, and nothing else. */
#define PC_INTEGERS 1
#define PC_WIDENED 0
#define REAL int8_t
#define INTEGER int8_t
#define REAL_DTYPE i8
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint8_t
#define INTEGER int8_t
#define REAL_DTYPE u8
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL int16_t
#define INTEGER int16_t
#define REAL_DTYPE i16
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint16_t
#define INTEGER int16_t
#define REAL_DTYPE u16
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL int32_t
#define INTEGER int32_t
#define REAL_DTYPE i32
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint32_t
#define INTEGER int32_t
#define REAL_DTYPE u32
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL int64_t
#define INTEGER int64_t
#define REAL_DTYPE i64
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint64_t
#define INTEGER int64_t
#define REAL_DTYPE u64
#include "integers.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#undef PC_WIDENED
#undef PC_INTEGERS

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

static const pc_kernel PC_CONCAT(kernels_, PC_ISA)[] = {
    PC_KERNELS(conv_direct),    PC_KERNELS(conv_im2col),             PC_KERNELS(conv_implicit_gemm),
    PC_KERNELS(conv_depthwise), PC_KERNELS(conv_depthwise_channels),
#if PC_PIXEL_WINDOWS
    PC_KERNELS(conv_grouped_channels),
#endif
    PC_KERNELS(conv_winograd_f2x3), PC_KERNELS(conv_winograd_f4x3), PC_KERNELS(conv_winograd_f6x3),
    PC_KERNELS(conv_winograd_f2x5), PC_KERNELS(conv_winograd_f4x5), PC_KERNELS(conv_winograd_f2x7),
    PC_KERNELS(conv_fft),
};

#define PC_POOL_KERNEL(name, role, dtype, real_dtype)                                                                  \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     role,                                                                                                             \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                                                       \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_POOL_MOVING(dtype, real_dtype)                                                                              \
    PC_POOL_KERNEL(pool_separable, PC_POOL_SEPARABLE, dtype, real_dtype),                                              \
        PC_POOL_KERNEL(pool_indexed, PC_POOL_INDEXED, dtype, real_dtype),                                              \
        PC_POOL_KERNEL(pool_scatter, PC_POOL_SCATTER, dtype, real_dtype)
#define PC_POOL_FLOATS(dtype, real_dtype)                                                                              \
    PC_POOL_MOVING(dtype, real_dtype), PC_POOL_KERNEL(pool_spread, PC_POOL_SPREAD, dtype, real_dtype)

static const pc_pool_kernel PC_CONCAT(pool_kernels_, PC_ISA)[] = {
    PC_POOL_FLOATS(f32, f32), PC_POOL_FLOATS(f64, f64), PC_POOL_FLOATS(f16, f32),
    PC_POOL_MOVING(i8, i8),   PC_POOL_MOVING(u8, u8),   PC_POOL_MOVING(i16, i16), PC_POOL_MOVING(u16, u16),
    PC_POOL_MOVING(i32, i32), PC_POOL_MOVING(u32, u32), PC_POOL_MOVING(i64, i64), PC_POOL_MOVING(u64, u64),
};

const pc_isa PC_CONCAT(pc_isa_, PC_ISA) = {
    PC_STRING(PC_ISA),
    sizeof PC_CONCAT(kernels_, PC_ISA) / sizeof *PC_CONCAT(kernels_, PC_ISA),
    PC_CONCAT(kernels_, PC_ISA),
    sizeof PC_CONCAT(pool_kernels_, PC_ISA) / sizeof *PC_CONCAT(pool_kernels_, PC_ISA),
    PC_CONCAT(pool_kernels_, PC_ISA),
};

#if defined(PC_TARGET) && defined(__clang__)
#pragma clang attribute pop
#endif
