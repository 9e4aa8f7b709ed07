#include "pyconv.h"
#include "isa_baseline.h"
#include "pool_unit.inc.h"
