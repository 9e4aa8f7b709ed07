#include "pyconv.h"
#include "isa_baseline.h"
#include "layers_unit.inc.h"
