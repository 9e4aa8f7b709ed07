#include "pyconv.h"
#include "isa_baseline.h"
#include "sample_unit.inc.h"
