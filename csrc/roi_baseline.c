#include "pyconv.h"
#include "isa_baseline.h"
#include "roi_unit.inc.h"
