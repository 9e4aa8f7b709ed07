/* Every kernel of regions of interest, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL,
 * REAL_DTYPE) on one instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#endif
#include "storage.h"
#include "turn.inc.c"
#include "lanes.inc.c"
#include "roi.inc.c"
#include "roi_grad.inc.c"
