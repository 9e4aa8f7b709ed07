/* Every sampling kernel, for one type of the arrays (STORAGE, DTYPE) and of the arithmetic (REAL, REAL_DTYPE) on one
 * instruction set. */
#if !PC_WIDENED
#include "vec.h"
#endif
#include "storage.h"
#include "sample_separable.inc.c"
