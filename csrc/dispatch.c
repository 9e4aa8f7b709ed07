/* Which instruction sets this build holds, which of them this processor runs, and the way into the kernels. */
#include "pyconv.h"

#include <stddef.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const pc_isa *const isas[] = {
#if defined(__x86_64__)
    &pc_isa_avx512,
    &pc_isa_avx2,
#endif
    &pc_isa_baseline,
};

int pc_n_isas(void) { return (int)(sizeof isas / sizeof *isas); }
const char *pc_isa_name(int isa) { return isas[isa]->name; }
int pc_n_kernels(int isa) { return isas[isa]->n_kernels; }
const pc_kernel *pc_kernel_at(int isa, int index) { return &isas[isa]->kernels[index]; }
const char *pc_kernel_name(const pc_kernel *kernel) { return kernel->name; }

#if defined(__x86_64__)
/* clang 16's __builtin_cpu_supports does not know the word. */
static int has_f16c(void) {
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

int pc_isa_runs_here(int isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (isas[isa] == &pc_isa_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("fma");
    if (isas[isa] == &pc_isa_avx2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
    return isas[isa] == &pc_isa_baseline;
}

void pc_kernel_tile(const pc_kernel *kernel, int64_t *lanes, int64_t *rows, int64_t *vectors) {
    *lanes = kernel->lanes;
    *rows = kernel->rows;
    *vectors = kernel->vectors;
}

int pc_conv_plan(const pc_kernel *kernel, pc_conv *p, int64_t max_scratch_bytes) {
    return kernel->plan(p, max_scratch_bytes);
}

int64_t pc_conv_pack(const pc_kernel *kernel, const pc_conv *p, const void *w, void *packed) {
    return kernel->pack(p, w, packed);
}

int pc_n_pool_kernels(int isa) { return isas[isa]->n_pool_kernels; }
const pc_pool_kernel *pc_pool_kernel_at(int isa, int index) { return &isas[isa]->pool_kernels[index]; }
const char *pc_pool_kernel_name(const pc_pool_kernel *kernel) { return kernel->name; }
int pc_pool_kernel_role(const pc_pool_kernel *kernel) { return kernel->role; }

static _Thread_local const char *last_kernel = "";

void pc_set_last_kernel(const char *name) { last_kernel = name; }
const char *pc_last_kernel(void) { return last_kernel; }

int pc_conv_run(const pc_kernel *kernel, const pc_conv *p, const void *x, const void *packed, const void *bias,
                const void *residual, void *out, void *scratch, int threads) {
    uintptr_t addresses = (uintptr_t)x | (uintptr_t)packed | (uintptr_t)bias | (uintptr_t)residual | (uintptr_t)out;
    if (addresses % (uintptr_t)kernel->item_bytes != 0)
        return PC_MISALIGNED;
    pc_arrays arrays = {x, packed, bias, residual, out, scratch};
    kernel->run(p, &arrays, threads);
    return PC_OK;
}

int pc_pool_run(const pc_pool_kernel *kernel, const pc_pool *p, void *x, void *out, int64_t *indices,
                const void *forward, void *scratch, int threads) {
    const uintptr_t addresses = (uintptr_t)x | (uintptr_t)out | (uintptr_t)forward;
    if (addresses % (uintptr_t)kernel->item_bytes != 0 || (uintptr_t)indices % sizeof(int64_t) != 0)
        return PC_MISALIGNED;
    int status = PC_OK;
    pc_pool_arrays arrays = {x, out, indices, forward, &status, scratch};
    return kernel->run(p, &arrays, threads);
}
