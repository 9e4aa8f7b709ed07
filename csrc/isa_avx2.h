/* AVX2 with FMA: 16 registers of 32 bytes. */
#define PC_TARGET "avx2,fma,f16c"
#define PC_ISA avx2
#define PC_VEC_BYTES 32
#define PC_F16C 1
/* 6 x 2 = 12 accumulators leave four registers for x and the broadcast; 4 x 3 would spill. */
#define PC_ROWS 6
#define PC_VECTORS 2
#define PC_WIDE_ROWS 2
#define PC_WIDE_VECTORS 4
#define PC_TALL_ROWS 6
#define PC_DEPTHWISE_ROWS 4
#define PC_DEPTHWISE_ROWS_2 4
#define PC_DEPTHWISE_VECTORS 2
