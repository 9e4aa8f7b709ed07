/* The end of what isa_begin.h began. */
#if defined(PC_TARGET) && defined(__clang__)
#pragma clang attribute pop
#endif
