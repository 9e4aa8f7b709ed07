/* The kernel bodies that only move elements, for elements of one size (REAL, REAL_DTYPE, and INTEGER, the signed type of its
 * width) on one instruction set. */
#include "vec.h"
#include "interleave.inc.c"
