/* Every kernel of the gradients, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL, REAL_DTYPE) on
 * one instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#endif
#include "storage.h"
#include "tile.inc.c"
#include "turn.inc.c"
#include "channels.inc.c"
#include "winograd.inc.c"
#include "grad_direct.inc.c"
#include "grad_winograd.inc.c"
#include "grad_planar.inc.c"
#include "grad_depthwise_channels.inc.c"
#include "grad_pairwise.inc.c"
