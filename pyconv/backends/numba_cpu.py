"""The Numba kernels of the CPU as algorithms: the twins of csrc/, where no C compiler was there to build those."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

try:
    import numba
except ImportError as error:
    raise ImportError(f"numba is not installed or does not load ({error}); pip install numba") from None

from .. import cost
from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.cpu import (
    blocking,
    depthwise,
    depthwise_channels,
    direct,
    gemm,
    grouped_channels,
    implicit_gemm,
    simd,
    threads,
    tile,
)
from ..kernels.cpu import fft as fft_kernels
from ..kernels.cpu import math as vector_math
from ..kernels.cpu import phases as phase_kernels
from ..kernels.cpu import winograd as winograd_kernels
from ..kernels.winograd_matrices import VARIANTS, Variant
from ..problem import ITEM_BYTES, ConvProblem, PhaseAxis, TransposedPart, TransposedProblem
from . import fft, fft_grad, summation, transposed, winograd

__all__ = [
    "EPSILON",
    "REAL",
    "SCALAR",
    "WORKERS_IN_LIMIT",
    "address",
    "algorithms",
    "axes_of",
    "last_kernel",
    "machine",
    "note_kernel",
    "scratch",
    "steps_of",
    "useful_threads",
]

EPSILON = {"f32": 2.0**-24, "f64": 2.0**-53}
REAL: dict[str, Any] = {"f32": numba.float32, "f64": numba.float64}
SCALAR = {"f32": np.float32, "f64": np.float64}
#: Scratch of one worker is at most this share of the call's limit, whatever the number of threads: how a problem is
#: cut, and so every bit of the result, must not depend on them.
WORKERS_IN_LIMIT = 8
#: Less work than this stays on the caller's thread: to wake another and to meet it, handing Python's lock over each
#: time, costs some ten microseconds, and sixty where it sleeps.
_FLOPS_PER_THREAD = 3_000_000
#: The same in bytes, for kernels that have little to compute.
_BYTES_PER_THREAD = 256 << 10


class _Local(threading.local):
    """What each Python thread keeps: its scratch memory, grown on demand, and the kernel that it ran last."""

    buffer: Array | None = None
    kernel = ""

    def scratch(self, size: int) -> Array:
        """Return at least ``size`` bytes from an address that is a multiple of 64 on, contents arbitrary."""
        if self.buffer is None or self.buffer.nbytes < size:
            self.buffer = None
            try:
                memory = np.empty(size + 64, dtype=np.uint8)
            except MemoryError:
                raise MemoryError(f"no memory for {size} bytes of scratch; options(max_workspace=) limits it") from None
            self.buffer = memory[-address(memory) % 64 :]
        return self.buffer


_local = _Local()


def last_kernel() -> str:
    """Return the name of the kernel that this thread ran last, noted after its compiled function did all its tasks."""
    return _local.kernel


def note_kernel(name: str) -> None:
    """Note that this thread's kernel has done all its tasks."""
    _local.kernel = name


def scratch(size: int) -> Array:
    """Return the calling thread's scratch memory of at least ``size`` bytes, contents arbitrary."""
    return _local.scratch(size)


def address(array: Array | None) -> int:
    """Return where an array's first element lies; 0 for none."""
    return 0 if array is None else int(array.__array_interface__["data"][0])


def useful_threads(flops: int, n_bytes: int) -> int:
    """Return how many threads have enough to do."""
    return max(flops // _FLOPS_PER_THREAD, n_bytes // _BYTES_PER_THREAD)


def _variant(family: str) -> Variant | None:
    return VARIANTS.get(family.removeprefix("winograd-"))


def axes_of(problem: ConvProblem) -> dict[str, tile.Axis]:
    """Return the three axes that kernels know; those that the problem lacks have one element."""
    found = {name: tile.Axis() for name in "dhw"}
    for i, name in enumerate(problem.kernel_axes):
        found[name] = tile.Axis(
            size=problem.spatial[i],
            k=problem.kernel[i],
            out=problem.out_spatial[i],
            stride=problem.stride[i],
            dilation=problem.dilation[i],
            pad=problem.padding[i][0],
        )
    return found


def steps_of(problem: ConvProblem, strides: tuple[int, ...] | None) -> tile.Strides:
    """Return the steps, in elements, of one of a convolution's arrays, whose strides are in bytes."""
    if strides is None:
        return tile.Strides()
    item, names = ITEM_BYTES[problem.dtype], ("n", "c", *problem.kernel_axes)
    return tile.Strides(**{name: s // item for name, s in zip(names, strides, strict=True)})


def _fft_tile(problem: ConvProblem) -> fft.Tile:
    """Return the FFT's tile."""
    return fft.tile(problem, simd.VECTOR_BYTES // ITEM_BYTES[problem.dtype], cost.NOMINAL_THREADS)


def _phases(problem: ConvProblem, axes: tuple[PhaseAxis, ...] | None) -> tile.Phases:
    if axes is None:
        return tile.Phases()
    named = {name: tile.PhaseAxis(*axis) for name, axis in zip(problem.kernel_axes, axes, strict=True)}
    return tile.Phases(math.prod(axis.n for axis in axes), int(problem.channels_last), **named)


@lru_cache(maxsize=256)
def _cut(call: Call, family: str, phases: tuple[PhaseAxis, ...] | None = None) -> Any:
    """Return the kernel's record of the call with its blocking, or None where the scratch limit is too small.

    With ``phases`` it is a part of a transposed convolution, and the strides of "out" are those of its output.
    """
    problem, item = call.problem, ITEM_BYTES[call.problem.dtype]
    conv = blocking.Conv(
        n=problem.n,
        groups=problem.groups,
        c_in=problem.c_in // problem.groups,
        c_out=problem.c_out // problem.groups,
        **axes_of(problem),
        ld_x=steps_of(problem, call.strides("x")),
        ld_out=steps_of(problem, call.strides("out")),
        ld_res=steps_of(problem, call.strides("residual")),
        padding_mode=tile.PADDING_MODES.index(problem.padding_mode),
        activation=tile.ACTIVATIONS.index(problem.activation),
        residual=problem.residual,
        threads=call.threads,
        phases=_phases(problem, phases),
    )
    limit = call.max_workspace // WORKERS_IN_LIMIT
    if family == "implicit-gemm":
        return blocking.plan_implicit_gemm(conv, item, limit)
    if family == "depthwise":
        return blocking.plan_depthwise(conv, item, limit)
    if family == "depthwise-channels":
        return blocking.plan_depthwise_channels(conv, item, limit)
    if family == "grouped-channels":
        return blocking.plan_grouped_channels(conv, item, limit)
    if family == "fft":
        return blocking.plan_fft(conv, item, _fft_tile(problem), limit)
    if (variant := _variant(family)) is not None:
        return blocking.plan_winograd(conv, item, variant.alpha, limit)
    return blocking.plan_dense(conv, item, family == "im2col", limit)


@dataclass(frozen=True, slots=True)
class NumbaConv:
    """A convolution kernel of kernels/cpu/."""

    op: str
    family: str
    dtype: str
    backend: str = "numba"
    preferred: bool = True

    @property
    def variant(self) -> Variant | None:
        """Return which of Winograd's algorithms it is, if one."""
        return _variant(self.family)

    @property
    def id(self) -> str:
        """Return op.family.dtype@numba."""
        return f"{self.op}.{self.family}.{self.dtype}@numba"

    @property
    def kernel_name(self) -> str:
        """Return what :func:`last_kernel` says after this algorithm has run."""
        return f"conv_{self.family.replace('-', '_')}_{self.dtype}__numba"

    def supports(self, problem: ConvProblem) -> Support:
        """Whether the kernel can do it."""
        if self.variant is not None:
            return winograd.supports(problem, self.variant)
        if self.family == "fft":
            return fft.supports(problem)
        return summation.supports(problem, self.family, self.lanes)

    tile = staticmethod(_fft_tile)

    @property
    def lanes(self) -> int:
        """Return the elements of a vector."""
        return simd.VECTOR_BYTES // ITEM_BYTES[self.dtype]

    @staticmethod
    def _threads(call: Call, record: Any) -> int:
        by_memory = call.max_workspace // max(1, int(record["scratch_bytes"]))
        by_work = useful_threads(summation.work(call.problem), call.problem.bytes)
        return int(max(1, min(call.threads, by_memory, by_work, int(record["n_tasks"]))))

    def workspace(self, call: Call, phases: tuple[PhaseAxis, ...] | None = None) -> int | None:
        """Return the scratch of all threads together."""
        params = _cut(call, self.family, phases)
        return None if params is None else int(params[0]["scratch_bytes"]) * self._threads(call, params[0])

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        if self.variant is not None:
            return cost.winograd_seconds(problem, machine, self.variant.m, self.variant.r)
        if self.family == "fft":
            cycles = fft.cycles(problem, _fft_tile(problem), self.lanes, cost.NOMINAL_THREADS)
            return cost.fft_seconds(problem, machine, cycles)
        return cost.conv_seconds(problem, machine, self.family)

    def accuracy(self, problem: ConvProblem) -> str:
        """Return "strict" for direct sums."""
        if self.family == "fft":
            return "standard"
        return "strict" if self.variant is None else winograd.accuracy(problem, self.variant)

    def error_reach(self, problem: ConvProblem) -> int:
        """Return how far beyond an output's window the error bound looks for the largest |x|."""
        if self.family == "fft":
            return fft.error_reach(problem)
        return 0 if self.variant is None else winograd.error_reach(problem, self.variant)

    def error_bound(self, problem: ConvProblem) -> float:
        """(K + 2) eps for K products summed in one order, the bias and the residual; transforms have their own."""
        if self.variant is not None:
            return winograd.error_bound(problem, self.variant, EPSILON[self.dtype])
        if self.family == "fft":
            return fft.error_bound(problem, _fft_tile(problem), EPSILON[self.dtype])
        return (problem.reduction + 2) * EPSILON[self.dtype]

    def packing(self, problem: ConvProblem) -> str:
        """Return panels of as many rows as the register tile, or the family's lanes; depthwise's stay in order."""
        if self.family in ("direct", "im2col"):
            return f"panels{gemm.max_rows()}"
        if self.family == "fft":
            return f"fft-lanes{self.lanes}-{_fft_tile(problem)}"
        return "plain" if self.family == "depthwise" else f"{self.family}-lanes{self.lanes}"

    def prepare(self, problem: ConvProblem, w: Array, bias: Array | None) -> Packed:
        """Return the addresses of the reordered weights and the bias (0 for none), and the arrays."""
        if self.family == "depthwise":
            packed = np.array(w, order="C").reshape(-1)
        elif self.variant is not None or self.family in ("implicit-gemm", "fft"):
            planes = np.require(w, requirements=["C", "A"])
            taps = dict(zip(problem.kernel_axes, problem.kernel, strict=True))
            planes = planes.reshape(*w.shape[:2], *(taps.get(axis, 1) for axis in "dhw"))
            if self.variant is not None:
                packed = winograd_kernels.pack_winograd(planes, problem.groups, self.variant)
            elif self.family == "fft":
                real = REAL[self.dtype]
                packed = fft_kernels.pack_fft(planes, problem.groups, axes_of(problem), _fft_tile(problem), real)
            else:
                packed = implicit_gemm.pack_chunks(planes, problem.groups)
        else:
            pack, groups = gemm.pack_panels, problem.groups
            if self.family.endswith("-channels"):
                pack = depthwise_channels.pack_lanes
            if self.family == "grouped-channels":  # each channel's taps of all of its group are one kernel
                groups = problem.c_out
            packed = pack(np.require(w, requirements=["C", "A"]), groups)
        bias = None if bias is None else np.array(bias)
        return address(packed), address(bias), (packed, bias)

    def _functions(self) -> tuple[Any, Any]:
        """Return the kernel, and what links a record to the functions that it calls."""
        if self.family == "implicit-gemm":
            return implicit_gemm.conv_implicit_gemm, implicit_gemm.link_implicit_gemm
        if self.family == "depthwise":
            return depthwise.conv_depthwise, depthwise.link_depthwise
        if self.family == "depthwise-channels":
            return depthwise_channels.conv_depthwise_channels, depthwise_channels.link_depthwise_channels
        if self.family == "grouped-channels":
            return grouped_channels.conv_grouped_channels, grouped_channels.link_grouped_channels
        if self.family == "fft":
            return fft_kernels.conv_fft, fft_kernels.link_fft
        if self.variant is not None:
            return winograd_kernels.conv_winograd, winograd_kernels.link_winograd
        return direct.conv_dense, direct.link_dense

    @staticmethod
    def all_finite(w: Array) -> bool:
        """Whether there is neither an infinity nor a NaN."""
        return bool(np.isfinite(w).all())

    @staticmethod
    def part_weights(problem: TransposedProblem, part: TransposedPart, w: Array) -> Array:
        """Return the weights of a part of a transposed convolution."""
        return transposed.part_weights(problem, part, w)

    def compile(self, call: Call, phases: tuple[PhaseAxis, ...] | None = None) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs.

        Compiles the register tiles that this cut needs, where no earlier one did.
        """
        params = _cut(call, self.family, phases).copy()
        record, real = params[0], REAL[self.dtype]
        function, link = self._functions()
        link(record, real)
        kind = int(record["activation"])
        in_tile = kind == tile.RELU and not record["residual"] and self.family != "fft"
        record["activate"] = vector_math.activation(real, kind) if kind and not in_tile else 0
        if phases is not None:
            record["store_phases"], record["store_box"] = (
                phase_kernels.phase_storer(real),
                phase_kernels.box_storer(real),
            )
        slope = SCALAR[self.dtype](call.problem.slope)
        n_threads = self._threads(call, record)
        size, item, name = int(record["scratch_bytes"]), ITEM_BYTES[self.dtype], self.kernel_name
        stages = [threads.Phase((), int(record["n_tasks"]), n_threads)]
        if self.variant is not None:
            stages = winograd_kernels.phases(record, real, n_threads)
        elif self.family == "fft":
            stages = fft_kernels.phases(record, n_threads)

        def run(packed: Packed, x: Array, residual: Array | None, out: Array) -> bool:
            x_at, residual_at, out_at = address(x), address(residual), address(out)
            if (x_at | residual_at | out_at) % item:
                return False
            weights_at, bias_at, _ = packed
            memory = _local.scratch(size * n_threads)
            scratch = address(memory)
            arrays = x_at, weights_at, bias_at, residual_at, out_at
            for words, n_tasks, shares in stages:
                more = (*words, scratch) if words else ()

                def work(share: int, first: int, last: int, more: Any = more) -> Any:
                    return function(params, first, last, *arrays, scratch + share * size, slope, *more)

                threads.run_tasks(name, n_tasks, shares, work)
            _local.kernel = name
            return True

        return run


def algorithms() -> Iterator[Algorithm]:
    """Every kernel, for each operation and element type."""
    from . import (  # which import this module
        numba_deform,
        numba_grad,
        numba_layers,
        numba_lowering,
        numba_pool,
        numba_roi,
        numba_sample,
    )

    kernels = list(_kernels())
    yield from kernels
    yield from transposed.algorithms(kernels)
    yield from numba_layers.algorithms(kernels)
    yield from numba_grad.algorithms()
    yield from fft_grad.algorithms(kernels)
    yield from numba_pool.algorithms()
    yield from numba_lowering.algorithms()
    yield from numba_roi.algorithms(note_kernel)
    yield from numba_sample.algorithms(note_kernel)
    yield from numba_deform.algorithms(note_kernel)


def _kernels() -> Iterator[NumbaConv]:
    """Every kernel of ordinary convolution."""
    families = ("direct", "implicit-gemm", "im2col", "depthwise", "depthwise-channels", "fft")
    for op in ("conv1d", "conv2d", "conv3d"):
        grouped = ("grouped-channels",) if depthwise_channels.WINDOWS and op != "conv1d" else ()
        for family in (*families, *grouped, *(f"winograd-{name}" for name in VARIANTS)):
            for dtype in REAL:
                yield NumbaConv(op, family, dtype)


@cache
def machine() -> Machine:
    """Return the cost model's view of this processor."""
    return Machine.of_lanes(simd.VECTOR_BYTES // 4)
