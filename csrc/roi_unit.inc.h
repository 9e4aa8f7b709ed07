/* The kernels of regions of interest of one instruction set, and the table of them. */
#include "isa_begin.h"
#define PC_BODIES "roi_bodies.inc.h"
#include "floats.inc.h"

/* Boxes against boxes, in double; the words for it are there. */
#define REAL double
#define INTEGER int64_t
#define REAL_DTYPE f64
#include "nms.inc.c"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE

#define PC_ROI_KERNEL(name, role, dtype, real_dtype)                                                                   \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     role,                                                                                                             \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                                                       \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_ROI_BOTH(dtype, real_dtype)                                                                                 \
    PC_ROI_KERNEL(roi_separable, PC_ROI_FORWARD, dtype, real_dtype),                                                   \
        PC_ROI_KERNEL(roi_scatter, PC_ROI_GRADIENT, dtype, real_dtype)

static const pc_roi_kernel kernels[] = {PC_ROI_BOTH(f32, f32), PC_ROI_BOTH(f64, f64), PC_ROI_BOTH(f16, f32)};

const pc_roi_table PC_CONCAT(pc_roi_, PC_ISA) = {
    sizeof kernels / sizeof *kernels,
    kernels,
    PC_STRING(PC_PASTE(nms_greedy, f64, PC_ISA)),
    PC_PASTE(nms_run, f64, PC_ISA),
};

#include "isa_end.h"
