/* Every kernel body, for one element type (REAL, DTYPE) on one instruction set. */
#include "vec.h"
#include "math.inc.c"
#include "tile.inc.c"
#include "gemm.inc.c"
#include "direct.inc.c"
#include "im2col.inc.c"
#include "depthwise.inc.c"
#include "depthwise_channels.inc.c"
