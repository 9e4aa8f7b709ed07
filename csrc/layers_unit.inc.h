/* The small layers' kernels of one instruction set, and the table of them. */
#include "isa_begin.h"
/* the words of tile.inc.c that only convolutions use */
#pragma GCC diagnostic ignored "-Wunused-function"

#define PC_BODIES "layers_bodies.inc.h"
#include "floats.inc.h"

#define PC_LAYER(name, dtype, real_dtype)                                                                              \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_LAYERS(name) PC_LAYER(name, f32, f32), PC_LAYER(name, f64, f64), PC_LAYER(name, f16, f32)

static const pc_layer_kernel kernels[] = {
    PC_LAYERS(layers_elementwise), PC_LAYERS(layers_channelwise), PC_LAYERS(layers_response),
    PC_LAYERS(layers_nearest),     PC_LAYERS(layers_dot),      PC_LAYERS(lowering_im2col),  PC_LAYERS(lowering_col2im),
};
const pc_layer_table PC_CONCAT(pc_layers_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
