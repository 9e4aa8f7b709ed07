"""Builds ``pyconv._ffi``: cuts the cffi declarations out of ``pyconv.h``, declares nothing itself."""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
#: Longest first: they are compiled side by side.
SOURCES = ["conv_avx512.c", "conv_avx2.c", "conv_baseline.c", "pool_avx512.c", "pool_avx2.c", "pool_baseline.c"]
SOURCES += ["roi_avx512.c", "roi_avx2.c", "roi_baseline.c"]
SOURCES += ["sample_avx512.c", "sample_avx2.c", "sample_baseline.c"]
SOURCES += ["deform_avx512.c", "deform_avx2.c", "deform_baseline.c"]
SOURCES += ["grad_avx512.c", "grad_avx2.c", "grad_baseline.c", "layers_avx512.c", "layers_avx2.c", "layers_baseline.c"]
SOURCES += ["blocking.c", "phases.c", "pool_plan.c", "grad_plan.c", "roi_plan.c", "deform_plan.c"]
SOURCES += ["finite.c", "dispatch.c", "threadpool.c"]
# -std=gnu11 and not c11: c11 silently turns FMA contraction off. Never -ffast-math (NaN, Inf and signed zeros
# matter) and never -march=native (the instruction set is chosen when the program runs).
FLAGS = ["-std=gnu11", "-O3", "-ffp-contract=fast", "-fno-math-errno", "-fvisibility=hidden", "-g0"]
# short loops over a few vectors stay loops: a call of memset or memcpy costs more than they do
FLAGS += ["-fno-tree-loop-distribute-patterns"]
# nothing here unwinds, and the tables for it would be a fortieth of the wheel
FLAGS += ["-fno-asynchronous-unwind-tables"]


def declarations() -> str:
    """Everything between the two cffi marks of ``pyconv.h``."""
    text = (HERE / "pyconv.h").read_text()
    return text.split("/* cffi: begin */")[1].split("/* cffi: end */")[0]


ffi = FFI()
ffi.cdef(declarations())
# Paths relative to the project: setuptools refuses absolute ones, and records them in the sdist.
_root = HERE.name
ffi.set_source(
    "pyconv._ffi",
    '#include "pyconv.h"',
    sources=[f"{_root}/{name}" for name in SOURCES],
    include_dirs=[_root],
    # an edited header or kernel body has to rebuild the extension
    depends=sorted(f"{_root}/{path.name}" for path in HERE.iterdir() if path.suffix in {".h", ".c"}),
    extra_compile_args=FLAGS + os.environ.get("PYCONV_CFLAGS", "").split(),
    libraries=["pthread", "m"],
    py_limited_api=True,
)
