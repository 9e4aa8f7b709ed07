/* Every kernel of the small layers, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL, REAL_DTYPE) on
 * one instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#endif
#include "storage.h"
#include "elementwise.inc.c"
#include "channelwise.inc.c"
#include "response.inc.c"
#include "nearest.inc.c"
#include "dot.inc.c"
#include "tile.inc.c"
#include "lowering.inc.c"
