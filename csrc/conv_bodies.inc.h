/* Every convolution kernel, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL, REAL_DTYPE) on one
 * instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#include "gemm.inc.c"
#include "implicit_tile.inc.c"
#endif
#include "storage.h"
#include "tile.inc.c"
#include "turn.inc.c"
#include "channels.inc.c"
#include "direct.inc.c"
#include "implicit_gemm.inc.c"
#include "im2col.inc.c"
#include "depthwise.inc.c"
#include "depthwise_channels.inc.c"
#include "grouped_channels.inc.c"
#include "winograd.inc.c"
#include "fft.inc.c"
