"""The kernels of the small layers in csrc/ as algorithms; linear layers on the convolutions' dense kernels as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from .. import cost
from .._ffi import ffi, lib
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..problem import (
    ACTIVATIONS,
    ITEM_BYTES,
    ConvProblem,
    LinearProblem,
    NormProblem,
)
from . import c, layers

__all__ = ["algorithms"]

#: Bytes moved, and operations, below which a call stays on the caller's thread: waking another costs microseconds.
_BYTES_PER_THREAD = 256 << 10
_FLOPS_PER_THREAD = 400_000
#: The dense kernels that do a linear layer.
_DENSE = ("direct", "im2col", "implicit-gemm")
_WHAT = {
    "infer": lib.PC_NORM_INFER,
    "train": lib.PC_NORM_TRAIN,
    "stats": lib.PC_NORM_STATS,
    "grad-infer": lib.PC_NORM_GRAD_INFER,
    "grad-train": lib.PC_NORM_GRAD_TRAIN,
}
#: The kernels' order of arrays, by the names of the operations; the first of several that is there.
_ORDER: dict[str, tuple[tuple[str, ...], ...]] = {
    "elementwise": (("x",), ("grad_output",), ("out",)),
    "response": (("x",), ("grad_output",), ("out",)),
    "nearest": (("x", "grad_output"), ("out",)),
    "interleave": (("x",), ("out",)),
    "dot": (("x",), ("w",), ("bias",), ("out",)),
}
_NORM_INPUTS = (("x",), ("grad_output",), ("running_mean",), ("running_var",), ("weight",), ("bias",))


def _order_of(problem: Any, family: str) -> tuple[tuple[str, ...], ...]:
    """Return the names of a kernel's arrays, in its order."""
    if family != "channelwise":
        return _ORDER[family]
    if isinstance(problem, LinearProblem) or problem.kind == "stats" or not problem.wants_x:
        return (*_NORM_INPUTS, (), ("out",), ("var", "grad_bias"))
    return (*_NORM_INPUTS, ("out",), ("mean", "grad_weight"), ("var", "grad_bias"))


@dataclass(frozen=True, slots=True)
class CLayer:
    """A kernel of the small layers, for one operation, on one instruction set."""

    op: str
    family: str
    dtype: str
    isa: str
    preferred: bool
    runs_here: bool
    kernel: Any
    lanes: int
    backend: str = "c"

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run."""
        return f"layers_{self.family}_{self.dtype}__{self.isa}"

    def supports(self, problem: Any) -> Support:
        """Whether the kernel runs here."""
        return Support("" if self.runs_here else f"this processor does not have {self.isa}")

    def accuracy(self, problem: Any) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: Any) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: Any) -> float:
        """Return the bound of sums in blocks; nothing for what only moves."""
        return layers.error_bound(problem)

    def estimate(self, problem: Any, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        if self.family == "dot":
            return cost.dot_seconds(problem, machine)
        return cost.pool_seconds(problem, machine)

    def packing(self, problem: Any) -> str:
        """Return "plain": weights are read as they are."""
        return "plain"

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return pointers to weights and bias, contiguous (they keep their arrays alive); linear layers have them."""
        return tuple(
            ffi.NULL
            if a is None
            else ffi.from_buffer(
                a if a.flags.c_contiguous and a.flags.aligned else np.require(a, requirements=["C", "A"])
            )
            for a in weights
        )

    def _cut(self, call: Call) -> layers.Cut | None:
        if self.family == "elementwise":
            return layers.elementwise(call)
        if self.family == "dot":
            return layers.dot(call)
        cut: Callable[[Call, int], layers.Cut | None] = getattr(layers, self.family)
        return cut(call, self.lanes)

    def _fits(self, call: Call, cut: layers.Cut) -> bool:
        limit = call.max_workspace // c.WORKERS_IN_LIMIT
        return cut.scratch_bytes <= limit and cut.shared_bytes <= call.max_workspace // 2

    @staticmethod
    def _threads(call: Call, cut: layers.Cut) -> int:
        by_memory = (call.max_workspace - cut.shared_bytes) // max(1, cut.scratch_bytes)
        by_work = max(call.problem.bytes // _BYTES_PER_THREAD, call.problem.flops // _FLOPS_PER_THREAD)
        return int(max(1, min(call.threads, by_memory, by_work, cut.n_tasks)))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        cut = self._cut(call)
        if cut is None:
            cut = self._cut(Call.typical(call.problem, call.threads, call.max_workspace))
            assert cut is not None
        if not self._fits(call, cut):
            return None
        return cut.shared_bytes + cut.scratch_bytes * self._threads(call, cut)

    def _described(self, problem: Any, cut: layers.Cut) -> tuple[Any, Any]:
        """Return the kernel's description of the call, and what it keeps alive."""
        p = ffi.new(f"pc_{self.family} *")
        keep = []
        for name, value in cut.fields.items():
            if name == "at":
                for i, table in enumerate(value):
                    keep.append(ffi.from_buffer("int64_t[]", table))
                    p.at[i] = keep[-1]
            elif name == "step":
                for i, steps in enumerate(value):
                    p.step[i] = steps
            else:
                setattr(p, name, value)
        if self.family == "elementwise":
            p.activation = c.ACTIVATIONS[problem.activation]
        if self.family == "channelwise":
            p.what = _WHAT[problem.kind] if isinstance(problem, NormProblem) else lib.PC_CHANNEL_SUM
        return p, keep

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, cut = call.problem, self._cut(call)
        if cut is None:
            return _elsewhere
        p, keep = self._described(problem, cut)
        threads = self._threads(call, cut)
        size = cut.shared_bytes + cut.scratch_bytes * threads
        order = _order_of(problem, self.family)
        names = [a.name for a in (*problem.inputs, *problem.outputs)]
        places = []
        for slot, wanted in enumerate(order):
            for name in (name for name in wanted if name in names):
                contiguous = c.is_contiguous(call, name, ITEM_BYTES[problem.dtype])
                places.append((slot, names.index(name), ffi.from_buffer if contiguous else c.address))
        kernel, run_kernel, null, scratch = self.kernel, lib.pc_layer_run, ffi.NULL, c.scratch
        weighted = self.family == "dot"

        def run(packed: Packed, *given: Array | None, keep: Any = keep) -> bool:
            arrays = [a for a in given if a is not None]
            a = [null] * 9
            for slot, place, point in places:
                a[slot] = point(arrays[place])
            if weighted:
                a[1], a[2] = packed
            memory = scratch(size) if size else null
            status = run_kernel(kernel, p, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], memory, threads)
            return bool(status == 0)

        return run


def _elsewhere(packed: Packed, *arrays: Array | None) -> bool:
    """Return False: these strides are read and written from copies."""
    return False


@lru_cache(maxsize=256)
def _as_convolution(problem: LinearProblem) -> ConvProblem:
    """Return the pointwise convolution of a linear layer: the rows that stay in place are its pixels.

    ``y = x w^T`` has the rows of x as pixels, channels fastest. Its gradients are turned so that nothing is transposed
    but what is packed: with the columns of w as pixels and grad_output as weights, ``gx = grad_output w``; with those
    of x, ``gw = grad_output^T x``.
    """
    c_in, pixels, c_out = {
        "": (problem.c_in, problem.rows, problem.c_out),
        "x": (problem.c_out, problem.c_in, problem.rows),
        "w": (problem.rows, problem.c_in, problem.c_out),
    }[problem.argument]
    return ConvProblem(
        n=1,
        c_in=c_in,
        c_out=c_out,
        spatial=(pixels,),
        kernel=(1,),
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        dtype=problem.dtype,
        channels_last=problem.argument == "",
        bias=problem.bias,
    )


def _turned(strides: tuple[int, ...] | None, pixels_first: bool) -> tuple[int, ...]:
    """Return a matrix's strides as (image, channel, pixel)."""
    assert strides is not None
    rows, columns = strides
    return (0, columns, rows) if pixels_first else (0, rows, columns)


@dataclass(frozen=True, slots=True)
class CLinear:
    """A linear layer, or a gradient of it, on a dense kernel of the convolutions."""

    op: str
    inner: c.CConv
    backend: str = "c"

    @property
    def family(self) -> str:
        """Return the convolution's."""
        return self.inner.family

    @property
    def dtype(self) -> str:
        """Return the element type."""
        return self.inner.dtype

    @property
    def isa(self) -> str:
        """Return the instruction set."""
        return self.inner.isa

    @property
    def runs_here(self) -> bool:
        """Whether this processor has it."""
        return self.inner.runs_here

    @property
    def preferred(self) -> bool:
        """Whether "auto" may take it."""
        return self.inner.preferred

    @property
    def id(self) -> str:
        """Return op.family.dtype@c-isa."""
        return f"{self.op}.{self.family}.{self.dtype}@c-{self.isa}"

    @property
    def kernel_name(self) -> str:
        """Return what ``last_kernel`` says after this algorithm has run: the convolution's name."""
        return self.inner.kernel_name

    def supports(self, problem: LinearProblem) -> Support:
        """Whether the kernel can do it; a convolution has at least one pixel and one output channel."""
        if min(problem.rows, problem.c_in, problem.c_out) < 1:
            return Support("needs at least one row, input and output feature")
        return self.inner.supports(_as_convolution(problem))

    def accuracy(self, problem: LinearProblem) -> str:
        """Return "strict"."""
        return "strict"

    def error_reach(self, problem: LinearProblem) -> int:
        """Return 0."""
        return 0

    def error_bound(self, problem: LinearProblem) -> float:
        """(K + 2) eps for K products."""
        return layers.error_bound(problem)

    def estimate(self, problem: LinearProblem, machine: Machine) -> float:
        """Return the convolution's seconds, and those of packing."""
        return self.inner.estimate(_as_convolution(problem), machine) + cost.packing_seconds(problem, machine)

    def packing(self, problem: LinearProblem) -> str:
        """Return the convolution's order."""
        return self.inner.packing(_as_convolution(problem))

    def prepare(self, problem: LinearProblem, w: Array, bias: Array | None = None) -> Packed:
        """Return the convolution's packed weights, of w or of grad_output."""
        if problem.argument == "w":
            w = w.T
        return self.inner.prepare(_as_convolution(problem), w[:, :, None], bias)

    def _turned(self, call: Call) -> Call:
        problem = call.problem
        first, out = problem.inputs[0].name, "out"
        rows_are_pixels = problem.argument == ""
        arrays = (
            ("x", _turned(call.strides(first), rows_are_pixels)),
            (out, _turned(call.strides(out), rows_are_pixels)),
        )
        return Call(_as_convolution(problem), arrays, call.threads, call.max_workspace)

    def workspace(self, call: Call) -> int | None:
        """Return the convolution's scratch."""
        return self.inner.workspace(self._turned(call))

    def compile(self, call: Call) -> Runner:
        """Return the convolution on the matrices as they lie."""
        convolve = self.inner.compile(self._turned(call))

        def run(packed: Packed, x: Array, out: Array) -> bool:
            return convolve(packed, x, None, out)

        def run_turned(packed: Packed, x: Array, out: Array) -> bool:
            return convolve(packed, x.T, None, out.T)

        if call.problem.argument == "":
            return run_turned

        return run


#: The operations of each family of kernels.
_OPS: dict[str, tuple[str, ...]] = {
    "elementwise": tuple(f"{name}{what}" for name in ACTIVATIONS for what in ("", "-grad-x")),
    "channelwise": (
        "batch_norm",
        "batch_norm_stats",
        "batch_norm-grad-x",
        "batch_norm-grad-weight",
        "linear-grad-bias",
    ),
    "response": ("local_response_norm", "local_response_norm-grad-x"),
    "nearest": ("interpolate", "interpolate-grad-x"),
    "interleave": ("pixel_shuffle", "pixel_unshuffle"),
    "dot": ("linear",),
}


def algorithms(isas: dict[str, int], best: str, convolutions: list[c.CConv]) -> Iterator[CLayer | CLinear]:
    """Every kernel of the small layers in the build, for each operation that it serves."""
    for isa, number in isas.items():
        runs_here = bool(lib.pc_isa_runs_here(number))
        for index in range(lib.pc_n_layer_kernels(number)):
            kernel = lib.pc_layer_kernel_at(number, index)
            what, _, _ = ffi.string(lib.pc_layer_kernel_name(kernel)).decode().partition("__")
            _, family, dtype = what.split("_")
            assert dtype in ITEM_BYTES
            for op in _OPS[family]:
                lanes = int(lib.pc_layer_kernel_lanes(kernel))
                yield CLayer(op, family, dtype, isa, isa == best, runs_here, kernel, lanes)
    for convolution in convolutions:
        if convolution.op == "conv1d" and convolution.family in _DENSE:
            for op in ("linear", "linear-grad-x", "linear-grad-w"):
                yield CLinear(op, convolution)
