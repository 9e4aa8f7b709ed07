#include "pyconv.h"
#include "isa_baseline.h"
#include "deform_unit.inc.h"
