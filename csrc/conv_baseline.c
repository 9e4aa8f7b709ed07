#include "pyconv.h"
#include "isa_baseline.h"
#include "conv_unit.inc.h"
