/* The pooling kernels of one instruction set, and the table of them. */
#include "isa_begin.h"
#define PC_BODIES "pool_bodies.inc.h"
#include "floats.inc.h"

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

#define PC_POOL_KERNEL(name, role, dtype, real_dtype)                                                                  \
    {PC_STRING(PC_PASTE(name, dtype, PC_ISA)),                                                                         \
     role,                                                                                                             \
     sizeof(PC_PASTE(storage, dtype, PC_ISA)),                                                                         \
     sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                                                       \
     PC_VEC_BYTES / (int64_t)sizeof(PC_PASTE(real, real_dtype, PC_ISA)),                                               \
     (PC_PASTE(real, real_dtype, PC_ISA))0.5 != 0,                                                                     \
     PC_PASTE(PC_CONCAT(name, _run), dtype, PC_ISA)}
#define PC_POOL_MOVING(dtype, real_dtype)                                                                              \
    PC_POOL_KERNEL(pool_separable, PC_POOL_SEPARABLE, dtype, real_dtype),                                              \
        PC_POOL_KERNEL(pool_indexed, PC_POOL_INDEXED, dtype, real_dtype),                                              \
        PC_POOL_KERNEL(pool_scatter, PC_POOL_SCATTER, dtype, real_dtype)
#define PC_POOL_FLOATS(dtype, real_dtype)                                                                              \
    PC_POOL_MOVING(dtype, real_dtype), PC_POOL_KERNEL(pool_spread, PC_POOL_SPREAD, dtype, real_dtype)

static const pc_pool_kernel kernels[] = {
    PC_POOL_FLOATS(f32, f32), PC_POOL_FLOATS(f64, f64), PC_POOL_FLOATS(f16, f32),
    PC_POOL_MOVING(i8, i8),   PC_POOL_MOVING(u8, u8),   PC_POOL_MOVING(i16, i16), PC_POOL_MOVING(u16, u16),
    PC_POOL_MOVING(i32, i32), PC_POOL_MOVING(u32, u32), PC_POOL_MOVING(i64, i64), PC_POOL_MOVING(u64, u64),
};

const pc_pool_table PC_CONCAT(pc_pool_, PC_ISA) = {sizeof kernels / sizeof *kernels, kernels};

#include "isa_end.h"
