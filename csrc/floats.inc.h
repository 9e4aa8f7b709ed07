/* PC_BODIES, a list of kernel bodies, for arrays of float32, float16 and float64.
 *
 * REAL is the type of the arithmetic, STORAGE that of the arrays. Where they differ (PC_WIDENED) only what loads and
 * stores is compiled again: what computes is there already. */
#define PC_INTEGERS 0
#define REAL float
#define INTEGER int32_t
#define REAL_DTYPE f32
#define STORAGE float
#define DTYPE f32
#define PC_WIDENED 0
#include PC_BODIES
#undef STORAGE
#undef DTYPE
#undef PC_WIDENED

#define STORAGE pc_half
#define DTYPE f16
#define PC_WIDENED 1
#include PC_BODIES
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
#include PC_BODIES
#undef REAL
#undef INTEGER
#undef REAL_DTYPE
#undef STORAGE
#undef DTYPE
#undef PC_WIDENED
#undef PC_INTEGERS
