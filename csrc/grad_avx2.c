#include "pyconv.h"
#if defined(__x86_64__)
#include "isa_avx2.h"
#include "grad_unit.inc.h"
#endif
