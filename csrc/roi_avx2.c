#include "pyconv.h"
#if defined(__x86_64__)
#include "isa_avx2.h"
#include "roi_unit.inc.h"
#endif
