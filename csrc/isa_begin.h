/* What every translation unit of one instruction set begins with, after its isa_<name>.h: the words that kernels are named
 * by, and the processor that gcc compiles for. */
#include <math.h>
#include <stddef.h>
#include <string.h>
#if PC_F16C
#include <immintrin.h>
#endif

#define PC_STRING_(text) #text
#define PC_STRING(text) PC_STRING_(text)

#if defined(PC_TARGET) && defined(__clang__)
#define PC_PRAGMA(text) _Pragma(#text)
#define PC_ATTRIBUTE(target_text) PC_PRAGMA(clang attribute push(__attribute__((target(target_text))), apply_to = function))
PC_ATTRIBUTE(PC_TARGET)
#elif defined(PC_TARGET)
#define PC_PRAGMA(text) _Pragma(#text)
#define PC_GCC_TARGET(target_text) PC_PRAGMA(GCC target(target_text))
PC_GCC_TARGET(PC_TARGET)
#endif
