"""The GPU kernels as machine code: registers, spills, stack and shared memory, for three architectures, and budgets.

numba-cuda makes PTX without a GPU, and ptxas machine code of that (`pip install 'pyconv-kernels[cuda]'
nvidia-cuda-nvcc==13.0.*`, or NVIDIA's toolkit); nvdisasm shows the final instructions (nvidia-cuda-nvdisasm==13.2.*).
``python tests/test_cuda_ptx.py`` prints the table of docs/cuda.md.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ARCHITECTURES = ((8, 0), (9, 0), (12, 0))
#: Registers, threads and shared memory of a multiprocessor; threads and blocks differ on sm_120.
REGISTERS, SHARED_BYTES = 1 << 16, {(8, 0): 164 << 10, (9, 0): 228 << 10, (12, 0): 100 << 10}
THREADS = {(8, 0): 2048, (9, 0): 2048, (12, 0): 1536}


def tool(name: str) -> str | None:
    """Where a program of NVIDIA's is: on the path, or in its package."""
    inside = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    packaged = sorted(inside.glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(packaged[0]) if packaged else None)


if importlib.util.find_spec("numba_cuda") is None:
    MISSING = "numba-cuda is not installed; pip install 'pyconv-kernels[cuda]'"
elif tool("ptxas") is None:
    MISSING = "ptxas is not installed; it comes in the package nvidia-cuda-nvcc, or with NVIDIA's toolkit"
else:
    MISSING = ""
NO_DISASSEMBLER = (
    ""
    if tool("nvdisasm")
    else ("nvdisasm is not installed; it comes in the package nvidia-cuda-nvdisasm, or with NVIDIA's toolkit")
)


@dataclass(frozen=True)
class Budgeted:
    """A kernel, its arguments' types, its block, the blocks promised to fit a multiprocessor, and its registers."""

    make: Callable[[], Any]
    #: 3: three integers, n: one, s: a sum's type, d: float64; arrays x: of elements, r: of sums, i: of int64, f: of
    #: int32, b: of float64.
    arguments: str
    threads: int
    blocks: int
    registers: int
    dtype: str = "f32"
    wide: bool = False  # 128-bit loads, and products at least half of the main loop


@cache
def budgets() -> dict[str, Budgeted]:
    """Every kernel in the forms that are used most, with its budget."""
    from numba import float32, float64

    from pyconv.kernels.cuda import (
        affine,
        border,
        channel_sums,
        deform,
        depthwise,
        direct,
        elementwise,
        fft,
        fft_cufft,
        fft_product,
        grad_weight,
        implicit_gemm,
        linear,
        lowering,
        nms,
        norm,
        pool,
        pool_norm,
        response,
        roi,
        sample,
        shuffle,
        transposed,
        winograd,
    )
    from pyconv.kernels.winograd_matrices import VARIANTS

    conv = "sxxxxx"
    found = {
        "direct f32": Budgeted(lambda: direct.conv_direct(float32, "relu", True, True), f"21 18 {conv}", 128, 1, 80),
        "direct f16": Budgeted(
            lambda: direct.conv_direct(float32, "silu", True, True), f"21 18 {conv}", 128, 1, 80, dtype="f16"
        ),
        "direct f64": Budgeted(
            lambda: direct.conv_direct(float64, None, True, False), f"21 18 {conv}", 128, 1, 96, dtype="f64"
        ),
    }
    for kh, stride in ((3, 1), (3, 2), (5, 1), (7, 1)):
        found[f"depthwise {kh}x{kh} s{stride} f32"] = Budgeted(
            lambda kh=kh, stride=stride: depthwise.conv_depthwise(float32, kh, stride, 1, "relu", True, False),  # type: ignore[misc]
            f"18 18 {conv}", 128, 1, 72,
        )  # fmt: skip
    one = (1, 1, 1)
    for name, tile in implicit_gemm.TILES.items():
        for window, kernel, stride in (("1x1", one, one), ("3x3", (1, 3, 3), one), ("3x3 s2", (1, 3, 3), (1, 2, 2))):
            found[f"implicit GEMM {name} {window} f32"] = Budgeted(
                lambda tile=tile, kernel=kernel, stride=stride: implicit_gemm.conv_implicit_gemm(  # type: ignore[misc]
                    float32, kernel, stride, one, tile, "relu", True, False
                ),
                f"13 18 {conv}", tile.threads, tile.blocks, REGISTERS // (tile.threads * tile.blocks), wide=True,
            )  # fmt: skip
        # the longest epilogue that the tile is taken for
        any_epilogue = tile.tm * tile.tn <= implicit_gemm.MOST_SUMS
        long = "silu" if any_epilogue else "relu6"
        found[f"implicit GEMM {name} 3x3 {'residual ' if any_epilogue else ''}{long} f32"] = Budgeted(
            lambda tile=tile, long=long, residual=any_epilogue: implicit_gemm.conv_implicit_gemm(  # type: ignore[misc]
                float32, (1, 3, 3), one, one, tile, long, True, residual
            ),
            f"13 18 {conv}", tile.threads, tile.blocks, REGISTERS // (tile.threads * tile.blocks), wide=True,
        )  # fmt: skip
        found[f"implicit GEMM {name} 3x3 f64"] = Budgeted(
            lambda tile=tile: implicit_gemm.conv_implicit_gemm(float64, (1, 3, 3), one, one, tile, None, True, False),  # type: ignore[misc]
            f"13 18 {conv}", tile.threads, 1, 255, dtype="f64", wide=True,
        )  # fmt: skip
        found[f"implicit GEMM {name} 3x3 f16"] = Budgeted(
            lambda tile=tile: implicit_gemm.conv_implicit_gemm(  # type: ignore[misc]
                float32, (1, 3, 3), one, one, tile, "relu", True, False, False, False, True
            ),
            "13 18 sxrxxx", tile.threads, tile.blocks, REGISTERS // (tile.threads * tile.blocks), dtype="f16",
            wide=True,
        )  # fmt: skip
    found |= {
        "max_pool f32": Budgeted(lambda: pool.max_pool(float32, False, False, False), "20 18 xxi", 128, 1, 64),
        "max_pool with indices f32": Budgeted(
            lambda: pool.max_pool(float32, True, False, False), "20 18 xxi", 128, 1, 64
        ),
        "max_pool gradient f32": Budgeted(lambda: pool.grad_max(float32, False, False), "20 18 xix", 128, 1, 64),
        "max_pool gradient, any indices f32": Budgeted(
            lambda: pool.grad_max_anywhere(float32, False), "20 18 xix", 128, 1, 64
        ),
        "check of indices": Budgeted(lambda: pool.check_indices(False, False), "20 6 if", 128, 1, 64),
        "avg_pool f32": Budgeted(lambda: pool.avg_pool(float32, True, False, False, False), "20 12 sxx", 128, 1, 80),
        "avg_pool f16": Budgeted(
            lambda: pool.avg_pool(float32, True, False, True, False), "20 12 sxx", 128, 1, 80, dtype="f16"
        ),
        "avg_pool gradient f32": Budgeted(
            lambda: pool.grad_avg(float32, True, False, False, False), "20 12 sxx", 128, 1, 80
        ),
    }
    three, two = (1, 3, 3), (1, 2, 2)
    for name, tile in implicit_gemm.TENSOR_TILES.items():
        found[f"implicit GEMM tf32 {name} 3x3 f32"] = Budgeted(
            lambda tile=tile: implicit_gemm.conv_implicit_gemm(  # type: ignore[misc]
                float32, (1, 3, 3), one, one, tile, "relu", True, False, True
            ),
            f"13 18 {conv}", tile.threads, tile.blocks, REGISTERS // (tile.threads * tile.blocks),
        )  # fmt: skip
    for name, tile in implicit_gemm.TILES.items():
        found[f"Winograd product {name} f32"] = Budgeted(
            lambda tile=tile: implicit_gemm.conv_implicit_gemm(  # type: ignore[misc]
                float32, one, one, one, tile, None, False, False, False, True
            ),
            "13 18 srrrrr", tile.threads, tile.blocks, REGISTERS // (tile.threads * tile.blocks), wide=True,
        )  # fmt: skip
    for word in ("f2x3", "f4x3"):
        variant = VARIANTS[word]
        for dtype, real in (("f32", float32), ("f64", float64), ("f16", float32)):
            registers = 168 if dtype == "f64" and word == "f4x3" else 128
            of_weights = 168 if word == "f4x3" else 128
            name = f"Winograd {word.replace('f', 'F(').replace('x', ',')})"
            found |= {
                f"{name} weights {dtype}": Budgeted(
                    lambda variant=variant: winograd.weight_tiles(variant, False),  # type: ignore[misc]
                    "4 xr", 128, 1, of_weights, dtype=dtype,
                ),
                f"{name} input {dtype}": Budgeted(
                    lambda real=real, variant=variant: winograd.input_tiles(real, variant),  # type: ignore[misc]
                    "9 6 xr", 128, 1, registers, dtype=dtype,
                ),
                f"{name} output residual silu {dtype}": Budgeted(
                    lambda real=real, variant=variant: winograd.output_tiles(  # type: ignore[misc]
                        real, variant, "silu", True, True, False
                    ),
                    "13 18 srxxxxx", 128, 1, registers, dtype=dtype,
                ),
            }  # fmt: skip
    for lengths in (fft.Lengths(1, 64, 64), fft.Lengths(1, 32, 32), fft.Lengths(1, 1, 1024)):
        size = "x".join(str(n) for n in lengths if n > 1)
        for dtype, real in (("f32", float32), ("f64", float64), ("f16", float32)):
            if dtype != "f32" and lengths.h != 32:
                continue
            long, threads, registers = ("silu", True, True), lengths.threads, 104 if dtype == "f64" else 80
            found |= {
                f"FFT {size} input {dtype}": Budgeted(
                    lambda real=real, lengths=lengths: fft.input_spectra(real, lengths),  # type: ignore[misc]
                    "39 6 xrfr", threads, 1, registers, dtype=dtype,
                ),
                f"FFT {size} weights {dtype}": Budgeted(
                    lambda real=real, lengths=lengths: fft.weight_spectra(real, lengths),  # type: ignore[misc]
                    "39 sxrfr", threads, 1, registers, dtype=dtype,
                ),
                f"FFT {size} output residual silu {dtype}": Budgeted(
                    lambda real=real, lengths=lengths, long=long: fft.outputs(real, lengths, *long),  # type: ignore[misc]
                    "39 18 srrfxxxxx", threads, 1, registers, dtype=dtype,
                ),
                f"FFT {size} depthwise residual silu {dtype}": Budgeted(
                    lambda real=real, lengths=lengths, long=long: fft.conv_fft(real, lengths, *long),  # type: ignore[misc]
                    "39 18 srrfxxxxx", threads, 1, registers, dtype=dtype,
                ),
            }  # fmt: skip
    for real, dtype in ((float32, "f32"), (float64, "f64")):
        for tile in fft_product.TILES[real.bitwidth // 8]:
            found[f"FFT product {tile.bm}x{tile.bn} {dtype}"] = Budgeted(
                lambda real=real, tile=tile: fft_product.multiply_spectra(real, tile),  # type: ignore[misc]
                "4 rrr", tile.threads, 1, 136 if dtype == "f64" else 104, dtype=dtype,
            )  # fmt: skip
    found |= {
        "FFT by cuFFT: tiles f32": Budgeted(lambda: fft_cufft.gather_tiles(float32), "n 39 3 6 xr", 128, 1, 80),
        "FFT by cuFFT: weights f32": Budgeted(lambda: fft_cufft.spread_weights(float32), "n 39 3 sxr", 128, 1, 80),
        "FFT by cuFFT: outputs f32": Budgeted(
            lambda: fft_cufft.cut_outputs(float32, "silu", True, True), "n 39 3 18 srxxxxx", 128, 1, 80
        ),
    }
    for dtype, real in (("f32", float32), ("f64", float64), ("f16", float32)):
        found |= {
            f"transposed {dtype}": Budgeted(
                lambda real=real: transposed.conv_transposed(real, "relu", True),  # type: ignore[misc]
                "24 12 sxxxx", 128, 1, 96, dtype=dtype,
            ),
            f"gradient of weights 3x3 s2 {dtype}": Budgeted(
                lambda real=real: grad_weight.grad_weight(real, three, two, one),  # type: ignore[misc]
                "14 12 xxr", 128, 1, 168, dtype=dtype, wide=dtype == "f32",
            ),
            f"sums of channels {dtype}": Budgeted(
                lambda real=real: channel_sums.channel_sums(real, "products"),  # type: ignore[misc]
                "6 12 xxrr", 128, 1, 64, dtype=dtype,
            ),
        }  # fmt: skip
    for join, kind in (("mean", "roi_align"), ("max sample", "roi_align"), ("max pixel", "roi_pool")):
        how = (False, True)
        found |= {
            f"{kind} {join} f32": Budgeted(
                lambda kind=kind, join=join, how=how: roi.forward(float32, kind, join, 2, *how, False, join != "mean"),  # type: ignore[misc]
                "10 12 3 d x b x i r", 128, 1, 168,
            ),
            f"{kind} {join} gradient f32": Budgeted(
                (lambda kind=kind, how=how: roi.grad_mean(float32, kind, 2, *how))  # type: ignore[misc]
                if join == "mean"
                else (lambda kind=kind, join=join, how=how: roi.grad_max(float32, kind, join, 2, *how)),  # type: ignore[misc]
                "11 6 3 d x b r" if join == "mean" else "11 6 3 d x b i r r", 128, 1, 168,
            ),
        }  # fmt: skip
    for mode in ("nearest", "bilinear", "bicubic"):
        for rank in (2, 3) if mode == "bilinear" else (2,):
            words = (float32, mode, "zeros" if rank == 3 else "reflection", False, rank)
            name = f"grid_sample {mode}{' 3-D' if rank == 3 else ''}"
            found |= {
                f"{name} f32": Budgeted(
                    lambda words=words: sample.grid_forward(*words), "8 12 6 xxx", 128, 1, 128  # type: ignore[misc]
                ),
                f"{name} gradient of x f32": Budgeted(
                    lambda words=words: sample.grad_x(*words), "8 6 6 xxr", 128, 1, 128  # type: ignore[misc]
                ),
                f"{name} gradient of grid f32": Budgeted(
                    lambda words=words: sample.grad_grid(*words), "8 12 6 6 xxxx", 128, 1, 168  # type: ignore[misc]
                ),
            }  # fmt: skip
    for dtype, real in (("f32", float32), ("f64", float64), ("f16", float32)):
        more = 32 if dtype == "f64" else 0
        found |= {
            f"deform_conv2d samples {dtype}": Budgeted(
                lambda real=real: deform.samples(real, True),  # type: ignore[misc]
                "15 15 xxxr", 128, 1, 80 + more, dtype=dtype,
            ),
            f"deform_conv2d gradient of offset and mask {dtype}": Budgeted(
                lambda real=real: deform.grad_offset(real, True, True, True),  # type: ignore[misc]
                "15 15 10 xxxrxx", 128, 1, 96 + more, dtype=dtype,
            ),
            f"deform_conv2d gradient of x {dtype}": Budgeted(
                lambda real=real: deform.grad_x(real, True),  # type: ignore[misc]
                "15 10 xxrr", 128, 1, 80 + more, dtype=dtype,
            ),
        }  # fmt: skip
    for dtype, real in (("f32", float32), ("f64", float64), ("f16", float32)):
        found[f"few rows times a matrix {dtype}"] = Budgeted(
            lambda real=real: linear.dot(real, True),  # type: ignore[misc]
            "3 11 xxxx", 128, 1, 120 if dtype == "f64" else 80, dtype=dtype,
        )  # fmt: skip
    found |= {
        "lp_pool p=2 f32": Budgeted(lambda: pool_norm.lp_pool(float32, 2.0, False, False), "14 12 xx", 128, 1, 80),
        "lp_pool p=3 f16": Budgeted(
            lambda: pool_norm.lp_pool(float32, 3.0, False, False), "14 12 xx", 128, 1, 80, dtype="f16"
        ),
        "lp_pool p=2.5 f64": Budgeted(
            lambda: pool_norm.lp_pool(float64, 2.5, False, False), "14 12 xx", 128, 1, 96, dtype="f64"
        ),
        "lp_pool p=2 gradient f32": Budgeted(lambda: pool_norm.grad_lp(float32, 2.0, False), "14 24 xxrx", 128, 1, 112),
        "lp_pool p=3 gradient f64": Budgeted(
            lambda: pool_norm.grad_lp(float64, 3.0, False), "14 24 xxrx", 128, 1, 128, dtype="f64"
        ),
        "local_response_norm f32": Budgeted(lambda: response.forward(float32), "7 12 sss xx", 128, 1, 64),
        "local_response_norm f16": Budgeted(lambda: response.forward(float32), "7 12 sss xx", 128, 1, 64, dtype="f16"),
        "local_response_norm shares f32": Budgeted(lambda: response.shares(float32), "7 12 sss xxr", 128, 1, 64),
        "local_response_norm gradient f32": Budgeted(lambda: response.grad_x(float32), "7 18 sss xxrx", 128, 1, 64),
        "local_response_norm gradient f64": Budgeted(
            lambda: response.grad_x(float64), "7 18 sss xxrx", 128, 1, 96, dtype="f64"
        ),
        "unfold f32": Budgeted(lowering.unfold, "14 9 xx", 128, 1, 48),
        "unfold f16": Budgeted(lowering.unfold, "14 9 xx", 128, 1, 48, dtype="f16"),
        "fold f32": Budgeted(lambda: lowering.fold(float32), "14 9 xx", 128, 1, 80),
        "fold f64": Budgeted(lambda: lowering.fold(float64), "14 9 xx", 128, 1, 80, dtype="f64"),
        "pixel_shuffle f32": Budgeted(lambda: shuffle.interleave(False, False), "7 14 xx", 128, 1, 48),
        "pixel_unshuffle f16": Budgeted(lambda: shuffle.interleave(True, False), "7 14 xx", 128, 1, 48, dtype="f16"),
        "affine_grid f32": Budgeted(lambda: affine.forward(float32, False, 2), "4 10 xx", 128, 1, 48),
        "affine_grid 3-D f64": Budgeted(lambda: affine.forward(float64, True, 3), "4 10 xx", 128, 1, 64, dtype="f64"),
        "affine_grid gradient f32": Budgeted(lambda: affine.grad_theta(float32, False, 2), "5 6 xr", 128, 1, 64),
        "affine_grid gradient 3-D f16": Budgeted(
            lambda: affine.grad_theta(float32, True, 3), "5 6 xr", 128, 1, 80, dtype="f16"
        ),
        "matrix turned f32": Budgeted(linear.transpose, "3 4 xx", 128, 1, 40),
        "interpolate f32": Budgeted(lambda: sample.resample(float32), "5 12 xffrx", 128, 1, 96),
        "interpolate f16": Budgeted(lambda: sample.resample(float32), "5 12 xffrx", 128, 1, 96, dtype="f16"),
        "nms: ranks f32": Budgeted(nms.ranks, "n 2 x f", 128, 1, 40),
        "nms: overlaps f32": Budgeted(lambda: nms.overlaps(True), "2 3 2 d x i f i", 128, 1, 80),
        "nms: greedy": Budgeted(nms.greedy, "2 2 i f i i", 128, 1, 40),
        "boxes: check": Budgeted(lambda: roi.check_boxes(2, True), "2 3 d b f", 128, 1, 48),
        "activation silu f32": Budgeted(lambda: elementwise.forward(float32, "silu"), "5 12 sxx", 128, 1, 64),
        "activation silu gradient f32": Budgeted(
            lambda: elementwise.backward(float32, "silu"), "5 18 sxxx", 128, 1, 64
        ),
        "batch_norm f32": Budgeted(lambda: norm.normalize(float32, True, True), "5 12 8 d xxxxxx", 128, 1, 64),
        "batch_norm gradient f32": Budgeted(
            lambda: norm.grad_x(float32, True, True), "5 18 6 d d xxbbxbbx", 128, 1, 80
        ),
        "batch_norm sums f32": Budgeted(
            lambda: channel_sums.channel_sums(float64, "products"), "6 12 xxbb", 128, 1, 64
        ),
        "running statistics f32": Budgeted(norm.update, "3 d d b x", 128, 1, 40),
        "sums of parts f32": Budgeted(lambda: grad_weight.sum_parts(float32), "6 6 rx", 128, 1, 40),
        "border f32": Budgeted(lambda: border.pad("reflect"), "11 6 xx", 128, 1, 64),
        "border gradient f32": Budgeted(lambda: border.fold(float32, "reflect"), "11 6 rx", 128, 1, 80),
        "un-pooling: owners": Budgeted(pool.unpool_owners, "3 4 6 iff", 128, 1, 40),
        "un-pooling f32": Budgeted(lambda: pool.unpool(float32), "n 4 4 12 fxx", 128, 1, 48),
        "un-pooling gradient f32": Budgeted(lambda: pool.grad_unpool(float32), "n 4 4 18 xifx", 128, 1, 48),
        "adaptive max_pool f32": Budgeted(lambda: pool.max_pool(float32, False, False, True), "20 18 xxi", 128, 1, 64),
        "adaptive max_pool gradient f32": Budgeted(
            lambda: pool.grad_max(float32, False, True), "20 18 xix", 128, 1, 64
        ),
        "adaptive avg_pool f32": Budgeted(
            lambda: pool.avg_pool(float32, True, False, False, True), "20 12 sxx", 128, 1, 80
        ),
        "adaptive avg_pool gradient f32": Budgeted(
            lambda: pool.grad_avg(float32, True, False, False, True), "20 12 sxx", 128, 1, 80
        ),
    }
    return found


@dataclass(frozen=True)
class Report:
    """What ptxas says of a kernel, and what its PTX holds."""

    registers: int
    spilled: int
    stack: int
    shared: int
    wide_loads: int
    mix: Mix | None  # where the products matter, and the disassembler is there
    blocks: int  # that fit a multiprocessor
    occupancy: float


class Mix(NamedTuple):
    """Instructions of a main loop's machine code, and wide loads of the kernel's."""

    instructions: int
    products: int
    shared_loads: int  # LDS.128
    global_loads: int  # LDG.128, LDGSTS.128

    @property
    def share(self) -> float:
        return self.products / max(1, self.instructions)


def mix_of(machine_code: str) -> Mix:
    """Count what nvdisasm shows. The main loop is the straight run of instructions with the most products in it.

    Runs end at labels, branches and barriers. What fills the next stage is another run: where the loop over a stage is
    not unrolled, it is outside that loop.
    """
    runs: list[list[str]] = [[]]
    for line in machine_code.splitlines():
        found = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z].*?)\s*;", line)
        if found:
            runs[-1].append(found[1])
        if re.match(r"\.L_\w+:", line) or (found and re.match(r"BRA|BAR", found[1])):
            runs.append([])

    def count(code: list[str], pattern: str) -> int:
        return sum(bool(re.match(pattern, text)) for text in code)

    products = r"FFMA|DFMA"
    loop = max(runs, key=lambda run: count(run, products))
    code = [text for run in runs for text in run]
    return Mix(
        len(loop),
        count(loop, products),
        shared_loads=count(code, r"LDS(\.\w+)*\.128"),
        global_loads=count(code, r"LDG(STS)?(\.\w+)*\.128"),
    )


@cache
def report(name: str, cc: tuple[int, int]) -> Report:
    """Compile a kernel for an architecture."""
    from numba import cuda, float32, float64, int32, int64, types, uint16

    budget = budgets()[name]
    real = float64 if budget.dtype == "f64" else float32
    stored = uint16 if budget.dtype == "f16" else real

    def flat(element: Any) -> Any:
        return types.Array(element, 1, "C")

    kinds = {"n": int32, "s": real, "x": flat(stored), "r": flat(real), "i": flat(int64), "f": flat(int32)}
    kinds |= {"b": flat(float64), "d": float64}
    signature = tuple(
        types.UniTuple(int32, int(word)) if word.isdigit() else kinds[word]
        for word in re.findall(r"\d+|[a-z]", budget.arguments)
    )
    ptx, _ = cuda.compile_ptx(budget.make(), signature, cc=cc, launch_bounds=(budget.threads, budget.blocks))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [
            tool("ptxas") or "",
            "-v",
            f"-arch=sm_{cc[0]}{cc[1]}",
            str(source),
            "-o",
            str(Path(folder, "kernel.cubin")),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        mix = None
        if budget.wide and not NO_DISASSEMBLER:
            command = [tool("nvdisasm") or "", "-c", str(Path(folder, "kernel.cubin"))]
            shown = subprocess.run(command, capture_output=True, text=True)
            assert shown.returncode == 0, shown.stderr
            mix = mix_of(shown.stdout)

    def number(pattern: str) -> int:
        match = re.search(pattern, done.stderr)
        return int(match[1]) if match else 0

    registers, shared = number(r"Used (\d+) registers"), number(r"(\d+) bytes smem")
    spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    # registers are dealt to warps in portions of 256
    warps = budget.threads // 32
    by_registers = REGISTERS // (-(-registers * 32 // 256) * 256 * warps)
    # a block takes 1 KB of shared memory besides its own
    by_shared = SHARED_BYTES[cc] // (shared + 1024)
    blocks = min(by_registers, by_shared, THREADS[cc] // budget.threads)
    return Report(
        registers=registers,
        spilled=spilled,
        stack=number(r"(\d+) bytes stack frame"),
        shared=shared,
        wide_loads=len(re.findall(r"ld\.shared\.v4\.f32|ld\.shared\.v2\.f64", ptx)),
        mix=mix,
        blocks=blocks,
        occupancy=blocks * budget.threads / THREADS[cc],
    )


def names() -> list[str]:
    return [] if MISSING else list(budgets())


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
@pytest.mark.parametrize("cc", ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", names())
def test_kernels_keep_their_budgets(name: str, cc: tuple[int, int]) -> None:
    budget, found = budgets()[name], report(name, cc)
    assert found.stack == 0, "arrays of a thread lie in memory instead of registers"
    assert found.spilled == 0
    assert found.registers <= budget.registers
    assert found.blocks >= budget.blocks
    if budget.wide:
        assert found.wide_loads > 0, "shared memory is read in 128 bits"


@pytest.mark.skipif(bool(MISSING or NO_DISASSEMBLER), reason=MISSING or NO_DISASSEMBLER)
@pytest.mark.parametrize("cc", ARCHITECTURES, ids=lambda cc: f"sm_{cc[0]}{cc[1]}")
@pytest.mark.parametrize("name", [name for name in names() if budgets()[name].wide])
def test_final_instructions_are_mostly_products(name: str, cc: tuple[int, int]) -> None:
    budget, mix = budgets()[name], report(name, cc).mix
    assert mix is not None
    assert mix.shared_loads > 0, "shared memory is read in 128 bits"
    if "weights" not in name:  # whose elements are pixels, one by one
        assert mix.global_loads > 0, "packed weights come in 128 bits"
    if budget.dtype != "f64":  # there the products' own rate decides
        assert mix.share >= 0.5, f"{mix.products} of {mix.instructions} instructions of the main loop are products"


def test_the_mix_of_a_loop() -> None:
    code = """
.text.kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
.L_x_0:
        /*0010*/                   LDGSTS.E.BYPASS.128 [R2], [R4.64], P0 ;
        /*0020*/              @!P0 BRA `(.L_x_2) ;
.L_x_1:
        /*0030*/                   LDS.128 R8, [R6] ;
        /*0040*/                   FFMA R0, R8, R9, R0 ;
        /*0050*/                   FFMA R1, R8, R10, R1 ;
        /*0060*/               @P1 BRA `(.L_x_1) ;
.L_x_2:
        /*0070*/               @P2 BRA `(.L_x_0) ;
        /*0080*/                   FFMA R3, R3, R3, R3 ;
        /*0090*/                   EXIT ;
.L_x_3:
        /*00a0*/                   BRA `(.L_x_3) ;
"""
    assert mix_of(code) == Mix(instructions=4, products=2, shared_loads=1, global_loads=1)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_copies_are_asynchronous_and_wide() -> None:
    from numba import cuda, float32, int32, types

    budget = next(b for name, b in budgets().items() if name.startswith("implicit GEMM"))
    array = types.Array(float32, 1, "C")
    signature = types.UniTuple(int32, 13), types.UniTuple(int32, 18), float32, *(array,) * 5
    ptx, _ = cuda.compile_ptx(budget.make(), signature, cc=(8, 0))
    assert re.search(r"cp\.async\.cg\.shared\.global \[a \+ 0\], \[g \+ 0\], 16", ptx)
    assert re.search(r"cp\.async\.ca\.shared\.global \[a \+ 0\], \[g \+ 0\], 4", ptx)
    assert "cp.async.wait_group 1;" in ptx


def table() -> str:
    """Return the table of docs/cuda.md."""
    heads = [f"sm_{cc[0]}{cc[1]}" for cc in ARCHITECTURES]
    columns = " | ".join(f"{head} registers, occupancy" for head in heads)
    lines = [
        f"| kernel | block | shared bytes | products | 128-bit loads | {columns} |",
        "|---|---|---|---|---|" + "---|" * len(heads),
    ]
    for name, budget in budgets().items():
        found = [report(name, cc) for cc in ARCHITECTURES]
        cells = [f"{r.registers}, {r.occupancy:.0%}" + (f", {r.spilled} B spilled" if r.spilled else "") for r in found]
        mixes = [r.mix for r in found if r.mix is not None]
        shares = ", ".join(f"{mix.share:.2f}" for mix in mixes)
        wide = ", ".join(f"{mix.shared_loads}+{mix.global_loads}" for mix in mixes)
        cells = [name, str(budget.threads), str(found[1].shared or ""), shares, wide, *cells]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(MISSING) if MISSING else print(table())
