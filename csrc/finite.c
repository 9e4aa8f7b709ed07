/* Whether an array is finite: what decides if taps over a border of zeros may be left out, and if weights may be padded. */
#include "pyconv.h"

#include <stdatomic.h>

enum { PIECE = 1 << 15 }; /* elements of a task */

typedef struct finite_job {
    const void *w;
    int64_t n, item_bytes;
    _Atomic int found; /* something that is not finite */
} finite_job;

static void finite_task(void *ctx, int64_t task, int worker) {
    (void)worker;
    finite_job *job = ctx;
    const int64_t first = task * PIECE, n = pc_min(PIECE, job->n - first);
    int bad = 0; /* an exponent of ones, whatever the sign */
    if (job->item_bytes == 4) {
        const int32_t *w = (const int32_t *)job->w + first;
        for (int64_t i = 0; i < n; i++)
            bad |= (w[i] & 0x7fffffff) > 0x7f7fffff;
    } else {
        const int64_t *w = (const int64_t *)job->w + first;
        for (int64_t i = 0; i < n; i++)
            bad |= (w[i] & 0x7fffffffffffffff) > 0x7fefffffffffffff;
    }
    if (bad)
        atomic_store_explicit(&job->found, 1, memory_order_relaxed);
}

int pc_all_finite(const void *w, int64_t n, int64_t item_bytes, int threads) {
    finite_job job = {.w = w, .n = n, .item_bytes = item_bytes};
    pc_parallel(finite_task, &job, pc_ceil_div(n, PIECE), threads);
    return !atomic_load_explicit(&job.found, memory_order_relaxed);
}
