"""The C kernels as algorithms: one for each operation, kernel body, element type and instruction set of the build."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Algorithm, Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.winograd_matrices import VARIANTS, Variant
from ..options import current
from ..problem import ITEM_BYTES, ConvProblem, PhaseAxis, TransposedPart, TransposedProblem
from . import fft, fft_grad, summation, transposed, winograd
from .memory import aligned

__all__ = [
    "ACTIVATIONS",
    "EPSILON",
    "ROUNDING",
    "WORKERS_IN_LIMIT",
    "address",
    "algorithms",
    "is_contiguous",
    "isa_in_use",
    "isas",
    "join_team",
    "last_kernel",
    "machine",
    "pool_workers",
    "scratch",
    "set_axes",
    "set_steps",
]

#: Half a unit in the last place of the sums; float16 arrays are summed in float32 and rounded once, when stored.
EPSILON = {"f16": 2.0**-24, "f32": 2.0**-24, "f64": 2.0**-53}
ROUNDING = {"f16": 2.0**-11, "f32": 0.0, "f64": 0.0}
_PADDING_MODES = {
    "zeros": lib.PC_PAD_ZEROS,
    "reflect": lib.PC_PAD_REFLECT,
    "replicate": lib.PC_PAD_REPLICATE,
    "circular": lib.PC_PAD_CIRCULAR,
    "symmetric": lib.PC_PAD_SYMMETRIC,
}
ACTIVATIONS = {
    None: lib.PC_ACT_NONE,
    "relu": lib.PC_ACT_RELU,
    "relu6": lib.PC_ACT_RELU6,
    "leaky_relu": lib.PC_ACT_LEAKY_RELU,
    "elu": lib.PC_ACT_ELU,
    "sigmoid": lib.PC_ACT_SIGMOID,
    "tanh": lib.PC_ACT_TANH,
    "silu": lib.PC_ACT_SILU,
    "hardswish": lib.PC_ACT_HARDSWISH,
}
#: Scratch of one worker is at most this share of the call's limit, whatever the number of threads: how a problem is
#: cut, and so every bit of the result, must not depend on them.
WORKERS_IN_LIMIT = 8
#: Less work than this stays on the caller's thread: waking another costs some microseconds.
_FLOPS_PER_THREAD = 400_000
_WEIGHTS_PER_THREAD = 100_000
_from_buffer = ffi.from_buffer


class _Scratch(threading.local):
    """One buffer for each Python thread, grown on demand, aligned to a cache line."""

    size = -1
    pointer: Any = None

    def grow(self, size: int) -> None:
        self.size, self.pointer = -1, None
        buffer = np.empty(size + 64, dtype=np.uint8)
        keep = ffi.from_buffer(buffer)
        skip = -int(ffi.cast("uintptr_t", keep)) % 64
        self.keep = keep
        self.pointer, self.size = keep + skip, size


_local = _Scratch()


def scratch(size: int) -> Any:
    """Return the calling thread's scratch memory of at least ``size`` bytes, contents arbitrary."""
    if _local.size < size:
        try:
            _local.grow(size)
        except MemoryError:
            raise MemoryError(f"no memory for {size} bytes of scratch; options(max_workspace=) limits it") from None
    return _local.pointer


def _isas() -> dict[str, int]:
    """Instruction sets of this build, best first, and their numbers."""
    return {ffi.string(lib.pc_isa_name(i)).decode(): i for i in range(lib.pc_n_isas())}


def isa_in_use() -> str:
    """Return the instruction set that "auto" runs on: the best that this processor has, or ``PYCONV_FORCE_ISA``."""
    isas = _isas()
    forced = os.environ.get("PYCONV_FORCE_ISA", "").strip()
    if forced:
        if forced not in isas:
            raise ImportError(f"PYCONV_FORCE_ISA={forced!r}: this build has {', '.join(isas)}")
        if not lib.pc_isa_runs_here(isas[forced]):
            raise ImportError(f"PYCONV_FORCE_ISA={forced!r}: this processor does not have it")
        return forced
    return next(name for name, number in isas.items() if lib.pc_isa_runs_here(number))


def last_kernel() -> str:
    """Return the name of the C function that this thread ran last, as that function itself reported it."""
    return str(ffi.string(lib.pc_last_kernel()).decode())


def pool_workers() -> int:
    """Threads that the pool has started so far."""
    return int(lib.pc_pool_workers())


def join_team(parallel: int, number: int) -> None:
    """Run the calling thread's jobs on the team of an OpenMP run time that is in this process; 0, 0: on the pool again.

    The arguments are the addresses of its ``GOMP_parallel`` and ``omp_get_thread_num``. A forked child is back on the
    pool.
    """
    lib.pc_join_team(ffi.cast("void *", parallel), ffi.cast("void *", number))


def address(array: Array) -> Any:
    """Return a pointer to the array's first element; a buffer costs a fifth of the description of the array."""
    if array.flags.c_contiguous:
        return _from_buffer(array)
    return ffi.cast("void *", array.__array_interface__["data"][0])


def is_contiguous(call: Call, name: str, item: int) -> bool:
    """Whether an array of the call is C-contiguous."""
    strides = call.strides(name)
    assert strides is not None
    for size, stride in zip(reversed(call.shape(name)), reversed(strides), strict=True):
        if size != 1 and stride != item:
            return False
        item *= size
    return True


def as_summed(array: Array) -> Array:
    """Return a contiguous array of the type that kernels sum in: float32 for float16."""
    return np.ascontiguousarray(array, np.float32 if array.dtype == np.float16 else array.dtype)


def set_axes(p: Any, problem: ConvProblem) -> None:
    """Write a convolution's axes and padding mode into its C description."""
    axes = problem.kernel_axes
    for name in "dhw":
        axis = getattr(p, name)
        if name in axes:
            i = axes.index(name)
            setattr(axis, "in", problem.spatial[i])
            axis.k, axis.out = problem.kernel[i], problem.out_spatial[i]
            axis.stride, axis.dilation, axis.pad = problem.stride[i], problem.dilation[i], problem.padding[i][0]
        else:
            setattr(axis, "in", 1)
            axis.k = axis.out = axis.stride = axis.dilation = 1
    p.padding_mode = _PADDING_MODES[problem.padding_mode]


def set_steps(ld: Any, problem: ConvProblem, strides: tuple[int, ...], item: int) -> None:
    """Write the steps of one of a convolution's arrays, given in bytes, into its C description."""
    ld.n, ld.c = strides[0] // item, strides[1] // item
    for axis, stride in zip(problem.kernel_axes, strides[2:], strict=True):
        setattr(ld, axis, stride // item)


def packing_threads(w: Array) -> int:
    return current().threads if w.size > _WEIGHTS_PER_THREAD else 1


@dataclass(frozen=True, slots=True)
class CConv:
    """A convolution kernel of csrc/, on one instruction set."""

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    rows: int
    vectors: int
    variant: Variant | None = None
    backend: str = "c"

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"

    @property
    def kernel_name(self) -> str:
        """Return what :func:`last_kernel` says after this algorithm has run."""
        return f"conv_{self.family.replace('-', '_')}_{self.dtype}__{self.isa}"

    def supports(self, problem: ConvProblem) -> Support:
        """Whether the kernel can do it."""
        if not self.runs_here:
            return Support(f"this processor does not have {self.isa}")
        if self.variant is not None:
            return winograd.supports(problem, self.variant)
        if self.family == "fft":
            return fft.supports(problem)
        return summation.supports(problem, self.family, self.lanes)

    def accuracy(self, problem: ConvProblem) -> str:
        """Return "strict" for direct sums."""
        if self.family == "fft":
            return "standard"
        return "strict" if self.variant is None else winograd.accuracy(problem, self.variant)

    def _blocked(self, call: Call, phases: tuple[PhaseAxis, ...] | None = None) -> Any:
        """Return the C description of the call with its blocking, or None where the scratch limit is too small.

        With ``phases`` it is a part of a transposed convolution, and the strides of "out" are those of its output.
        """
        problem = call.problem
        p = ffi.new("pc_conv *")
        p.n, p.groups = problem.n, problem.groups
        p.c_in, p.c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
        set_axes(p, problem)
        item = ITEM_BYTES[problem.dtype]
        for ld, name in ((p.ld_x, "x"), (p.ld_out, "out"), (p.ld_res, "residual")):
            strides = call.strides(name)
            if strides is not None:
                set_steps(ld, problem, strides, item)
        if phases is not None:
            p.phases.count = math.prod(axis.n for axis in phases)
            p.phases.channels_inner = problem.channels_last
            for name in "dhw":
                there = dict(zip(problem.kernel_axes, phases, strict=True)).get(name, PhaseAxis(1, 1, 1, 0, 1))
                axis = getattr(p.phases, name)
                axis.n, axis.stride, axis.step, axis.first, axis.size = there
        self._set_tile(p, problem)
        p.threads = call.threads
        p.activation, p.slope = ACTIVATIONS[problem.activation], problem.slope
        return p if lib.pc_conv_plan(self.kernel, p, call.max_workspace // WORKERS_IN_LIMIT) else None

    def tile(self, problem: ConvProblem) -> fft.Tile:
        """Return the FFT's tile."""
        return fft.tile(problem, self.lanes, cost.NOMINAL_THREADS)

    def _set_tile(self, p: Any, problem: ConvProblem) -> None:
        if self.family == "fft":
            tile = self.tile(problem)
            for name, value in tile._asdict().items():
                setattr(p.fft, name, value)

    @staticmethod
    def _threads(call: Call, p: Any) -> int:
        by_memory = call.max_workspace // max(1, p.scratch_bytes)
        by_work = summation.work(call.problem) // _FLOPS_PER_THREAD
        return int(max(1, min(call.threads, by_memory, by_work, p.blk.n_tasks)))

    def workspace(self, call: Call, phases: tuple[PhaseAxis, ...] | None = None) -> int | None:
        """Return the scratch of all threads together."""
        p = self._blocked(call, phases)
        return None if p is None else int(p.scratch_bytes) * self._threads(call, p)

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        if self.variant is not None:
            return cost.winograd_seconds(problem, machine, self.variant.m, self.variant.r)
        if self.family == "fft":
            return cost.fft_seconds(
                problem, machine, fft.cycles(problem, self.tile(problem), self.lanes, cost.NOMINAL_THREADS)
            )
        return cost.conv_seconds(problem, machine, self.family)

    def error_bound(self, problem: ConvProblem) -> float:
        """(K + 2) eps for K products summed in one order, bias and residual, or Winograd's; and a result's rounding."""
        if self.variant is not None:
            return winograd.error_bound(problem, self.variant, EPSILON[self.dtype]) + ROUNDING[self.dtype]
        if self.family == "fft":
            return fft.error_bound(problem, self.tile(problem), EPSILON[self.dtype]) + ROUNDING[self.dtype]
        return (problem.reduction + 2) * EPSILON[self.dtype] + ROUNDING[self.dtype]

    def error_reach(self, problem: ConvProblem) -> int:
        """Return how far beyond an output's window the error bound looks for the largest |x|."""
        if self.family == "fft":
            return fft.error_reach(problem)
        return 0 if self.variant is None else winograd.error_reach(problem, self.variant)

    def packing(self, problem: ConvProblem) -> str:
        """Return panels of as many rows as the register tile, or the family's lanes; depthwise's stay in order."""
        if self.family in ("direct", "im2col"):
            return f"panels{self.rows}"
        if self.family == "fft":
            return f"fft-lanes{self.lanes}-{self.tile(problem)}"
        return "plain" if self.family == "depthwise" else f"{self.family}-lanes{self.lanes}"

    def prepare(self, problem: ConvProblem, w: Array, bias: Array | None) -> Packed:
        """Return pointers to reordered weights and bias in the sums' type (they keep their arrays alive)."""
        w = as_summed(w)
        p = ffi.new("pc_conv *")
        p.groups, p.c_in, p.c_out = problem.groups, problem.c_in // problem.groups, problem.c_out // problem.groups
        for name, axis in zip("dhw", (p.d, p.h, p.w), strict=True):
            axis.k = axis.stride = axis.dilation = 1
            if name in problem.kernel_axes:
                i = problem.kernel_axes.index(name)
                axis.k, axis.stride, axis.dilation = problem.kernel[i], problem.stride[i], problem.dilation[i]
        self._set_tile(p, problem)
        p.threads = packing_threads(w)
        packed = aligned(lib.pc_conv_pack(self.kernel, p, ffi.NULL, ffi.NULL), w.dtype)
        lib.pc_conv_pack(self.kernel, p, ffi.from_buffer(w), ffi.from_buffer(packed))
        return ffi.from_buffer(packed), ffi.NULL if bias is None else ffi.from_buffer(as_summed(bias))

    @staticmethod
    def all_finite(w: Array) -> bool:
        """Whether there is neither an infinity nor a NaN."""
        w = as_summed(w)
        return bool(lib.pc_all_finite(ffi.from_buffer(w), w.size, w.itemsize, packing_threads(w)))

    def part_weights(self, problem: TransposedProblem, part: TransposedPart, w: Array) -> Array:
        """Return the weights of a part of a transposed convolution, in the type that sums are in."""
        w = as_summed(w)
        p = ffi.new("pc_part *")
        p.groups, p.channels_inner = problem.groups, problem.channels_last
        p.c_in, p.c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
        counts = dict(zip(part.conv.kernel_axes, (axis.n for axis in part.phases), strict=True))
        ranks = {"w": 1, "h": counts["w"], "d": counts["w"] * counts.get("h", 1)}
        axes = zip(
            problem.kernel,
            (axis.n for axis in part.phases),
            (ranks[name] for name in part.conv.kernel_axes),
            part.conv.kernel,
            part.first_tap,
            part.tap_step,
            strict=True,
        )
        found = [(1, 1, 0, 1, 0, 1)] * (3 - problem.rank) + list(axes)
        p.k, p.n, p.rank, p.taps, p.first, p.step = map(list, zip(*found, strict=True))
        out = aligned(part.conv.w_shape, w.dtype)
        lib.pc_part_weights(p, w.itemsize, ffi.from_buffer(w), ffi.from_buffer(out), packing_threads(w))
        return out

    def compile(self, call: Call, phases: tuple[PhaseAxis, ...] | None = None) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        p = self._blocked(call, phases)
        threads = self._threads(call, p)
        size = int(p.scratch_bytes) * threads
        kernel, run_kernel, null, from_buffer = self.kernel, lib.pc_conv_run, ffi.NULL, ffi.from_buffer
        item = ITEM_BYTES[call.problem.dtype]
        point_x = from_buffer if is_contiguous(call, "x", item) else address
        point_out = from_buffer if phases is None and is_contiguous(call, "out", item) else address

        def run(packed: Packed, x: Array, residual: Array | None, out: Array) -> bool:
            status = run_kernel(
                kernel,
                p,
                point_x(x),
                packed[0],
                packed[1],
                null if residual is None else address(residual),
                point_out(out),
                scratch(size),
                threads,
            )
            return bool(status == 0)

        return run


def isas() -> dict[str, bool]:
    """Instruction sets of this build, best first, and whether this processor has them."""
    return {name: bool(lib.pc_isa_runs_here(number)) for name, number in _isas().items()}


def algorithms() -> Iterator[Algorithm]:
    """Every kernel of the build."""
    from . import c_deform, c_grad, c_layers, c_lowering, c_pool, c_roi, c_sample

    kernels = list(_kernels())
    yield from kernels
    yield from transposed.algorithms(kernels)
    yield from fft_grad.algorithms(kernels)
    yield from c_grad.algorithms(_isas(), isa_in_use())
    yield from c_pool.algorithms(_isas(), isa_in_use())
    yield from c_layers.algorithms(_isas(), isa_in_use(), kernels)
    yield from c_lowering.algorithms(_isas(), isa_in_use())
    yield from c_roi.algorithms(_isas(), isa_in_use())
    yield from c_sample.algorithms(_isas(), isa_in_use())
    yield from c_deform.algorithms(_isas(), isa_in_use())


def _kernels() -> Iterator[CConv]:
    """Every kernel of the build; its name, ``conv_<family>_<dtype>__<isa>``, says what it is."""
    best = isa_in_use()
    for isa, number in _isas().items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_kernels(number)):
            kernel = lib.pc_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_kernel_name(kernel)).decode().partition("__")
            _, *words, dtype = what.split("_")
            family = "-".join(words)
            shape = ffi.new("int64_t[3]")
            lib.pc_kernel_tile(kernel, shape, shape + 1, shape + 2)
            lanes, rows, vectors = shape
            variant = VARIANTS.get(family.removeprefix("winograd-"))
            for op in ("conv2d", "conv3d") if family == "grouped-channels" else ("conv1d", "conv2d", "conv3d"):
                yield CConv(op, family, dtype, isa, isa == best, runs_here, kernel, lanes, rows, vectors, variant)


@cache
def _lanes(isa: str | None) -> int:
    return next(a.lanes for a in _kernels() if (a.preferred if isa is None else a.isa == isa) and a.dtype == "f32")


def machine(isa: str | None = None) -> Machine:
    """Return the cost model's view of this processor, with the instruction set in use or another one."""
    return Machine.of_lanes(_lanes(isa))
