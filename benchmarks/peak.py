"""The processor's peak of fused multiply-adds, measured by a loop in C that touches no memory.

Nominal peaks need a clock frequency, which virtual machines hide and processors vary with the vector width; so it is
measured, with every thread at work, where there is a C compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

__all__ = ["fma_gflops"]

#: Twelve independent chains keep two ports of a latency of up to six cycles busy, and fit into 16 registers.
SOURCE = r"""
#include <omp.h>
#include <stdio.h>
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
// The constraint by which an asm statement names a vector register.
#if defined(__x86_64__)
#define REGISTER "v"
#else
#define REGISTER "w"
#endif
typedef REAL vector __attribute__((vector_size(BYTES)));
enum { CHAINS = 12, LANES = BYTES / sizeof(REAL) };

// The empty asm keeps the compiler from merging steps.
static REAL chains(long steps, REAL start) {
    vector a[CHAINS], m = {0}, c = {0};
    m += (REAL)0.999;
    c += start;
#pragma GCC unroll 16
    for (int i = 0; i < CHAINS; i++) a[i] = c + (REAL)i;
    for (long step = 0; step < steps; step++) {
#pragma GCC unroll 16
        for (int i = 0; i < CHAINS; i++) {
            a[i] = a[i] * m + c;
            __asm__ volatile("" : "+" REGISTER (a[i]));
        }
    }
#pragma GCC unroll 16
    for (int i = 1; i < CHAINS; i++) a[0] += a[i];
    return a[0][0];
}

// Each core's best of many rounds shorter than a time slice, so that other programs spoil some and not all.
int main(void) {
    const long steps = 100000;
    double gflops = 0, sum = 0;
#pragma omp parallel reduction(+ : gflops, sum)
    {
        double best = 1e30;
        for (int round = 0; round < 100; round++) {
            const double began = omp_get_wtime();
            sum += chains(steps, (REAL)round);
            const double took = omp_get_wtime() - began;
            best = took < best ? took : best;
        }
        gflops += 2.0 * CHAINS * LANES * steps / best / 1e9;
    }
    printf("%.6g\n", gflops);
    return sum == 0.5;
}
"""
#: For the compiler, and for the program.
LIMIT_S = 30.0


def fma_gflops(threads: int, dtype: str) -> float | None:
    """Return the GFLOP/s of ``threads`` cores that do nothing but multiply-add, or None where no C compiler works.

    Parameters
    ----------
    threads : int
    dtype : {"float16", "float32", "float64"}
        float16 arrays are computed in float32.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    real = {"float16": "float", "float32": "float", "float64": "double"}[dtype]
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "peak.c"), Path(folder, "peak")
        source.write_text(f"#define REAL {real}\n" + SOURCE)
        try:
            subprocess.run(
                [compiler, "-O3", "-march=native", "-fopenmp", "-o", program, source],
                check=True,
                capture_output=True,
                timeout=LIMIT_S,
            )
            done = subprocess.run(
                [program],
                check=True,
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                env={"OMP_NUM_THREADS": str(threads)},
            )
        except (OSError, subprocess.SubprocessError):
            return None
    return float(done.stdout)
