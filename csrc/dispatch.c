/* Which instruction sets this build holds, which of them this processor runs, and the way into the kernels. */
#include "pyconv.h"

#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

typedef struct pc_isa {
    const char *name;
    const pc_conv_table *conv;
    const pc_pool_table *pool;
    const pc_grad_table *grad;
    const pc_layer_table *layers;
    const pc_roi_table *roi;
    const pc_layer_table *sample;
    const pc_deform_table *deform;
} pc_isa;

/* Every family of kernels on every instruction set, best first. */
#if defined(__x86_64__)
#define PC_FOR_ISAS(entry) entry(avx512) entry(avx2) entry(baseline)
#else
#define PC_FOR_ISAS(entry) entry(baseline)
#endif
#define PC_DECLARE(isa)                                                                                                \
    extern const pc_conv_table pc_conv_##isa;                                                                          \
    extern const pc_pool_table pc_pool_##isa;                                                                          \
    extern const pc_grad_table pc_grad_##isa;                                                                          \
    extern const pc_layer_table pc_layers_##isa;                                                                       \
    extern const pc_roi_table pc_roi_##isa;                                                                            \
    extern const pc_layer_table pc_sample_##isa;                                                                       \
    extern const pc_deform_table pc_deform_##isa;
#define PC_ENTRY(isa)                                                                                                  \
    {#isa,             &pc_conv_##isa, &pc_pool_##isa,   &pc_grad_##isa,                                               \
     &pc_layers_##isa, &pc_roi_##isa,  &pc_sample_##isa, &pc_deform_##isa},
PC_FOR_ISAS(PC_DECLARE)
static const pc_isa isas[] = {PC_FOR_ISAS(PC_ENTRY)};

int pc_n_isas(void) { return (int)(sizeof isas / sizeof *isas); }
const char *pc_isa_name(int isa) { return isas[isa].name; }
int pc_n_kernels(int isa) { return isas[isa].conv->n; }
const pc_kernel *pc_kernel_at(int isa, int index) { return &isas[isa].conv->kernels[index]; }
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
    if (strcmp(isas[isa].name, "avx512") == 0)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("fma");
    if (strcmp(isas[isa].name, "avx2") == 0)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
#endif
    (void)isa;
    return 1;
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

int pc_n_pool_kernels(int isa) { return isas[isa].pool->n; }
const pc_pool_kernel *pc_pool_kernel_at(int isa, int index) { return &isas[isa].pool->kernels[index]; }
const char *pc_pool_kernel_name(const pc_pool_kernel *kernel) { return kernel->name; }
int pc_pool_kernel_role(const pc_pool_kernel *kernel) { return kernel->role; }

int pc_n_layer_kernels(int isa) { return isas[isa].layers->n; }
const pc_layer_kernel *pc_layer_kernel_at(int isa, int index) { return &isas[isa].layers->kernels[index]; }
const char *pc_layer_kernel_name(const pc_layer_kernel *kernel) { return kernel->name; }
int64_t pc_layer_kernel_lanes(const pc_layer_kernel *kernel) { return kernel->lanes; }
int pc_n_sample_kernels(int isa) { return isas[isa].sample->n; }
const pc_layer_kernel *pc_sample_kernel_at(int isa, int index) { return &isas[isa].sample->kernels[index]; }
int pc_n_roi_kernels(int isa) { return isas[isa].roi->n; }
const pc_roi_kernel *pc_roi_kernel_at(int isa, int index) { return &isas[isa].roi->kernels[index]; }
const char *pc_roi_kernel_name(const pc_roi_kernel *kernel) { return kernel->name; }
int pc_n_deform_kernels(int isa) { return isas[isa].deform->n; }
const pc_deform_kernel *pc_deform_kernel_at(int isa, int index) { return &isas[isa].deform->kernels[index]; }
const char *pc_deform_kernel_name(const pc_deform_kernel *kernel) { return kernel->name; }
int pc_deform_kernel_role(const pc_deform_kernel *kernel) { return kernel->role; }
int64_t pc_deform_kernel_lanes(const pc_deform_kernel *kernel) { return kernel->lanes; }
const char *pc_nms_name(int isa) { return isas[isa].roi->nms_name; }

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

int pc_pool_run(const pc_pool_kernel *kernel, const pc_pool *p, void *x, void *out, void *indices,
                const void *forward, void *scratch, int threads) {
    const uintptr_t addresses = (uintptr_t)x | (uintptr_t)out | (uintptr_t)forward;
    if (addresses % (uintptr_t)kernel->item_bytes != 0 || (uintptr_t)indices % sizeof(int64_t) != 0)
        return PC_MISALIGNED;
    int status = PC_OK;
    pc_pool_arrays arrays = {x, out, indices, forward, &status, scratch};
    return kernel->run(p, &arrays, threads);
}

int pc_n_grad_kernels(int isa) { return isas[isa].grad->n; }
const pc_grad_kernel *pc_grad_kernel_at(int isa, int index) { return &isas[isa].grad->kernels[index]; }
const char *pc_grad_kernel_name(const pc_grad_kernel *kernel) { return kernel->name; }

int pc_grad_run(const pc_grad_kernel *kernel, const pc_grad *p, const void *grad_output, const void *x, void *out,
                void *scratch, int threads) {
    const uintptr_t addresses = (uintptr_t)grad_output | (uintptr_t)x | (uintptr_t)out;
    if (addresses % (uintptr_t)kernel->item_bytes != 0)
        return PC_MISALIGNED;
    const pc_grad_arrays arrays = {grad_output, x, out, scratch};
    kernel->run(p, &arrays, threads);
    return PC_OK;
}
int pc_grad_kernel_lanes(const pc_grad_kernel *kernel) { return (int)kernel->lanes; }
int pc_layer_run(const pc_layer_kernel *kernel, const void *problem, void *a0, void *a1, void *a2, void *a3, void *a4,
                 void *a5, void *a6, void *a7, void *a8, void *scratch, int threads) {
    void *const arrays[PC_LAYER_ARRAYS] = {a0, a1, a2, a3, a4, a5, a6, a7, a8};
    uintptr_t addresses = 0;
    for (int i = 0; i < PC_LAYER_ARRAYS; i++)
        addresses |= (uintptr_t)arrays[i];
    if (addresses % (uintptr_t)kernel->item_bytes != 0)
        return PC_MISALIGNED;
    kernel->run(problem, arrays, scratch, threads);
    return PC_OK;
}

int pc_roi_run(const pc_roi_kernel *kernel, const pc_roi *p, void *x, void *out, const double *boxes,
               const void *forward, void *scratch, int threads) {
    const uintptr_t addresses = (uintptr_t)x | (uintptr_t)out | (uintptr_t)forward;
    if (addresses % (uintptr_t)kernel->item_bytes != 0 || (uintptr_t)boxes % sizeof(double) != 0)
        return PC_MISALIGNED;
    const pc_roi_arrays arrays = {x, out, boxes, forward, scratch};
    kernel->run(p, &arrays, threads);
    return PC_OK;
}

int64_t pc_deform_pack(const pc_deform_kernel *kernel, const pc_deform *p, const void *w, void *packed) {
    return kernel->pack(p, w, packed);
}

int pc_deform_run(const pc_deform_kernel *kernel, const pc_deform *p, void *x, void *y, const void *packed,
                  const void *bias, const void *offset, const void *mask, void *first, void *second, void *scratch,
                  int threads) {
    const uintptr_t addresses = (uintptr_t)x | (uintptr_t)y | (uintptr_t)packed | (uintptr_t)bias | (uintptr_t)offset |
                                (uintptr_t)mask | (uintptr_t)first | (uintptr_t)second;
    if (addresses % (uintptr_t)kernel->item_bytes != 0)
        return PC_MISALIGNED;
    const pc_deform_arrays arrays = {x, y, packed, bias, offset, mask, first, second, scratch};
    kernel->run(p, &arrays, threads);
    return PC_OK;
}

void pc_nms_run(int isa, const double *corners, int64_t n, const int64_t *runs, int64_t n_runs, double threshold,
                uint8_t *keep, double *scratch, int threads) {
    pc_set_last_kernel(isas[isa].roi->nms_name);
    const double *const x1 = corners, *const y1 = x1 + n, *const x2 = y1 + n, *const y2 = x2 + n;
    for (int64_t i = 0; i < n; i++)
        scratch[i] = (x2[i] - x1[i]) * (y2[i] - y1[i]);
    pc_nms_job job = {corners, scratch, n, runs, threshold, keep};
    pc_parallel(isas[isa].roi->nms, &job, n_runs, threads);
}
