/* Every pooling kernel of floats, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL, REAL_DTYPE) on
 * one instruction set. */
#if !PC_WIDENED
#include "vec.h"
#include "math.inc.c"
#include "powers.inc.c"
#endif
#include "storage.h"
#include "turn.inc.c"
#include "lanes.inc.c"
#include "pool_words.inc.c"
#include "pool.inc.c"
#include "pool_spread.inc.c"
#include "pool_fused.inc.c"
#include "pool_lanes.inc.c"
#include "pool_indexed.inc.c"
#include "pool_norm.inc.c"
