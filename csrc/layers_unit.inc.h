/* The small layers' kernels of one instruction set, and the table of them. */
#include "isa_begin.h"
/* the words of tile.inc.c that only convolutions use */
#pragma GCC diagnostic ignored "-Wunused-function"

#define PC_BODIES "layers_bodies.inc.h"
#include "floats.inc.h"

/* What only moves elements knows no more of their type than its size. */
#define REAL uint8_t
#define INTEGER int8_t
#define REAL_DTYPE b8
#include "moves.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint16_t
#define INTEGER int16_t
#define REAL_DTYPE b16
#include "moves.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint32_t
#define INTEGER int32_t
#define REAL_DTYPE b32
#include "moves.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#define REAL uint64_t
#define INTEGER int64_t
#define REAL_DTYPE b64
#include "moves.inc.h"
#undef REAL
#undef INTEGER
#undef REAL_DTYPE

#define PC_INTERLEAVE(dtype, bits)                                                                                     \
    static void PC_PASTE(layers_interleave_run, dtype, PC_ISA)(const void *problem, void *const *arrays,               \
                                                               char *scratch, int threads) {                           \
        (void)scratch;                                                                                                 \
        pc_set_last_kernel(PC_STRING(PC_PASTE(layers_interleave, dtype, PC_ISA)));                                     \
        PC_PASTE(interleave_all, bits, PC_ISA)(problem, arrays, threads);                                                  \
    }
PC_INTERLEAVE(f16, b16) PC_INTERLEAVE(f32, b32) PC_INTERLEAVE(f64, b64)
PC_INTERLEAVE(i8, b8) PC_INTERLEAVE(i16, b16) PC_INTERLEAVE(i32, b32) PC_INTERLEAVE(i64, b64)
PC_INTERLEAVE(u8, b8) PC_INTERLEAVE(u16, b16) PC_INTERLEAVE(u32, b32) PC_INTERLEAVE(u64, b64)

#define PC_MOVE(name, dtype, item_bytes)                                                                               \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)), item_bytes, PC_VEC_BYTES / (item_bytes),                                \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_MOVES(name)                                                                                                 \
    PC_MOVE(name, f16, 2), PC_MOVE(name, f32, 4), PC_MOVE(name, f64, 8), PC_MOVE(name, i8, 1), PC_MOVE(name, u8, 1),   \
        PC_MOVE(name, i16, 2), PC_MOVE(name, u16, 2), PC_MOVE(name, i32, 4), PC_MOVE(name, u32, 4),                    \
        PC_MOVE(name, i64, 8), PC_MOVE(name, u64, 8)

#define PC_LAYER(name, dtype, real_dtype)                                                                              \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_LAYERS(name) PC_LAYER(name, f32, f32), PC_LAYER(name, f64, f64), PC_LAYER(name, f16, f32)

static const pc_layer_kernel kernels[] = {
    PC_LAYERS(layers_elementwise), PC_LAYERS(layers_channelwise), PC_LAYERS(layers_response),
    PC_LAYERS(layers_nearest),     PC_LAYERS(layers_dot),         PC_LAYERS(lowering_im2col),
    PC_LAYERS(lowering_col2im),    PC_MOVES(layers_interleave),
};
const pc_layer_table PC_CONCAT(pc_layers_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
