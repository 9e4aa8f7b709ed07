/* What every processor of the family has: SSE2 on x86-64, NEON on aarch64. Vectors of 16 bytes. */
#define PC_ISA baseline
#define PC_VEC_BYTES 16
#define PC_F16C 0
#if defined(__aarch64__)
#define PC_ROWS 8 /* 32 registers */
#define PC_VECTORS 3
#define PC_WIDE_ROWS 4
#define PC_WIDE_VECTORS 6
#define PC_TALL_ROWS 14
#define PC_DEPTHWISE_ROWS 8
#define PC_DEPTHWISE_ROWS_2 7
#define PC_DEPTHWISE_VECTORS 2
#define PC_PIXEL_WINDOWS 1
#else
#define PC_ROWS 6 /* 16 registers */
#define PC_VECTORS 2
#define PC_WIDE_ROWS 2
#define PC_WIDE_VECTORS 4
#define PC_TALL_ROWS 6
#define PC_DEPTHWISE_ROWS 4
#define PC_DEPTHWISE_ROWS_2 4
#define PC_DEPTHWISE_VECTORS 2
#endif
