/* AVX-512 (F, VL, DQ, BW) with FMA: 32 registers of 64 bytes. */
#define PC_TARGET "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma"
#define PC_ISA avx512
#define PC_VEC_BYTES 64
#define PC_F16C 1
/* 8 x 3 = 24 accumulators, 3 vectors of x and a broadcast: a step is 24 FMAs (12 cycles on two ports) against
 * 3 loads that may cross a line and 8 broadcasts (7 cycles). Channel counts are multiples of 8 more often than of 12. */
#define PC_ROWS 8
#define PC_VECTORS 3
#define PC_WIDE_ROWS 4
#define PC_WIDE_VECTORS 6
#define PC_TALL_ROWS 14
/* Depthwise: output rows x vectors; 7 rows fit the 7, 14, 28, 56 rows of the networks. */
#define PC_DEPTHWISE_ROWS 8
#define PC_DEPTHWISE_ROWS_2 7
#define PC_DEPTHWISE_VECTORS 2
/* Depthwise, channels in the lanes: the taps of two rows of 7 and 14 sums fit the registers. */
#define PC_PIXEL_WINDOWS 1
