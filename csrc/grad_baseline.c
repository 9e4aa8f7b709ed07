#include "pyconv.h"
#include "isa_baseline.h"
#include "grad_unit.inc.h"
