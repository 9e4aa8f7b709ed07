/* The kernel bodies that integers take part in, for one type of integer (REAL, REAL_DTYPE, and INTEGER, the signed type of
 * its width) on one instruction set. */
#define STORAGE REAL
#define DTYPE REAL_DTYPE
#include "vec.h"
#include "storage.h"
#include "pool_words.inc.c"
#include "pool.inc.c"
#include "pool_indexed.inc.c"
#undef STORAGE
#undef DTYPE
