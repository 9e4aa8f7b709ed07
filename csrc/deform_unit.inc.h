/* The kernels of deformable convolution of one instruction set, and the table of them. */
#include "isa_begin.h"
#define PC_BODIES "deform_bodies.inc.h"
#include "floats.inc.h"

#define PC_DEFORM_KERNEL(name, role, pack, dtype, real_dtype)                                                          \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     role,                                                                                                             \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                                                       \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_ROWS,                                                                                                          \
     PC_VECTORS,                                                                                                       \
     PC_PASTE(pack, real_dtype, PC_ISA),                                                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_DEFORM_KERNELS(dtype, real_dtype)                                                                           \
    PC_DEFORM_KERNEL(deform_sampled, PC_DEFORM_FORWARD, deform_pack, dtype, real_dtype),                               \
        PC_DEFORM_KERNEL(deform_outer, PC_DEFORM_WEIGHTS, deform_pack_nothing, dtype, real_dtype),                     \
        PC_DEFORM_KERNEL(deform_scatter, PC_DEFORM_X, deform_pack_turned, dtype, real_dtype),                          \
        PC_DEFORM_KERNEL(deform_slopes, PC_DEFORM_OFFSET, deform_pack_turned, dtype, real_dtype)

static const pc_deform_kernel kernels[] = {
    PC_DEFORM_KERNELS(f32, f32), PC_DEFORM_KERNELS(f64, f64), PC_DEFORM_KERNELS(f16, f32),
};

const pc_deform_table PC_CONCAT(pc_deform_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
