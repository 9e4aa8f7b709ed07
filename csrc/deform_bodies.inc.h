/* Every kernel of deformable convolution, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL,
 * REAL_DTYPE) on one instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#include "implicit_tile.inc.c"
#endif
#include "storage.h"
#include "turn.inc.c"
#include "lanes.inc.c"
#include "deform.inc.c"
#include "deform_grad.inc.c"
