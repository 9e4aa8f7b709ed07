/* The gradients of convolutions with respect to weights and bias on one instruction set, and the table of them. */
#include "isa_begin.h"
/* the words of tile.inc.c and channels.inc.c that only convolutions use */
#pragma GCC diagnostic ignored "-Wunused-function"
#include "winograd_matrices.h"
#define PC_TRANSFORMS_ONLY 1
#define PC_BODIES "grad_bodies.inc.h"
#include "floats.inc.h"

#define PC_GRAD_KERNEL(name, role, alpha, dtype, real_dtype)                                                           \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     role,                                                                                                             \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                                                       \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     alpha,                                                                                                            \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_GRAD_TYPES(name, role, alpha)                                                                               \
    PC_GRAD_KERNEL(name, role, alpha, f32, f32), PC_GRAD_KERNEL(name, role, alpha, f64, f64),                          \
        PC_GRAD_KERNEL(name, role, alpha, f16, f32)
#define PC_GRAD_KERNELS(name, role) PC_GRAD_TYPES(name, role, 0)
#define PC_GRAD_WINOGRAD(name, alpha) PC_GRAD_TYPES(name, PC_GRAD_WINOGRAD_TILES, alpha)

static const pc_grad_kernel kernels[] = {
    PC_GRAD_KERNELS(grad_direct, PC_GRAD_DIRECT),
    PC_GRAD_WINOGRAD(grad_winograd_f2x3, 4), PC_GRAD_WINOGRAD(grad_winograd_f4x3, 6),
    PC_GRAD_KERNELS(grad_planar, PC_GRAD_PLANAR),
    PC_GRAD_KERNELS(grad_depthwise_channels, PC_GRAD_CHANNELS),
    PC_GRAD_KERNELS(grad_pairwise, PC_GRAD_BIAS),
};

const pc_grad_table PC_CONCAT(pc_grad_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
