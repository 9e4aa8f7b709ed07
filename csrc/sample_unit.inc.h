/* The sampling kernels of one instruction set, and the table of them. */
#include "isa_begin.h"

#define PC_BODIES "sample_bodies.inc.h"
#include "floats.inc.h"

#define PC_SAMPLE(name, dtype, real_dtype)                                                                             \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_SAMPLES(name) PC_SAMPLE(name, f32, f32), PC_SAMPLE(name, f64, f64), PC_SAMPLE(name, f16, f32)

static const pc_layer_kernel kernels[] = {PC_SAMPLES(sample_separable), PC_SAMPLES(sample_grid), PC_SAMPLES(sample_affine)};
const pc_layer_table PC_CONCAT(pc_sample_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
