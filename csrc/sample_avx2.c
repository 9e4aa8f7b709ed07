#include "pyconv.h"
#if defined(__x86_64__)
#include "isa_avx2.h"
#include "sample_unit.inc.h"
#endif
