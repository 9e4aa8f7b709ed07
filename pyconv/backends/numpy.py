"""The reference as an algorithm: float64 sums, any problem, the last candidate of every list."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import reference
from ..algorithm import Algorithm, Array, Call, Packed, Runner
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import (
    ACTIVATIONS,
    FLOATS,
    ITEM_BYTES,
    AffineGridProblem,
    ConvBiasProblem,
    ConvProblem,
    ConvWeightProblem,
    DeformProblem,
    ElementwiseProblem,
    GridSampleProblem,
    LinearProblem,
    LoweringProblem,
    NmsProblem,
    NormProblem,
    PoolProblem,
    ResizeProblem,
    ResponseProblem,
    RoiProblem,
    ShuffleProblem,
    TransposedProblem,
    UnpoolProblem,
)
from . import layers, sampling
from .plain import Plain

__all__ = ["algorithms"]

EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}


@dataclass(frozen=True, slots=True)
class _Reference(Plain):
    """What all definitions answer alike."""

    op: str
    dtype: str
    family: str = "reference"
    backend: str = "numpy"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@backend."""
        return f"{self.op}.reference.{self.dtype}@numpy"


@dataclass(frozen=True, slots=True)
class ReferenceConv(_Reference):
    """float64 accumulation in NumPy, rounded once at the end."""

    def workspace(self, call: Call) -> int | None:
        """Return the block of float64 values that it works on."""
        return min(call.max_workspace // 2, 16 << 20)

    def estimate(self, problem: ConvProblem | TransposedProblem, machine: Machine) -> float:
        """Return a gigaflop a second and a NumPy call for each tap."""
        return problem.flops / 1e9 + 40e-6 * problem.n * problem.groups * int(np.prod(problem.kernel)) + 50e-6

    def error_bound(self, problem: ConvProblem | TransposedProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        border = 1 if problem.padding_mode == "zeros" else math.prod(1 + sum(pads) for pads in problem.padding)
        return EPSILON[self.dtype] + (problem.reduction * border + 4) * EPSILON["f64"]

    def prepare(self, problem: ConvProblem | TransposedProblem, *weights: Array | None) -> Packed:
        """Return copies of w and, where there is one, bias."""
        w, bias = (*weights, None)[:2]
        assert w is not None
        return w.copy(), None if bias is None else bias.copy()

    def compile(self, call: Call) -> Runner:
        """Return the loop over blocks."""
        limit = self.workspace(call) or 0

        def run(packed: Packed, x: Array, residual: Array | None, out: Array) -> bool:
            w, bias = packed
            for where, values in reference.conv_blocks(call.problem, x, w, bias, residual, limit):
                with np.errstate(over="ignore", invalid="ignore"):
                    out[where] = values
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferenceTransposed(ReferenceConv):
    """The same for transposed convolutions, which have no residual."""

    def compile(self, call: Call) -> Runner:
        """Return the loop over blocks."""
        limit = self.workspace(call) or 0

        def run(packed: Packed, x: Array, out: Array) -> bool:
            w, bias = packed
            for where, values in reference.conv_transpose_blocks(call.problem, x, w, bias, limit):
                with np.errstate(over="ignore", invalid="ignore"):
                    out[where] = values
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferencePool(_Reference):
    """Pooling and un-pooling by their definitions, window by window."""

    def workspace(self, call: Call) -> int | None:
        """Return the results in float64."""
        return 8 * sum(int(np.prod(a.shape, dtype=object)) for a in call.problem.outputs)

    def estimate(self, problem: PoolProblem | UnpoolProblem, machine: Machine) -> float:
        """Return some microseconds a window."""
        return problem.flops / 1e9 + 20e-6 * float(np.prod(problem.out_shape, dtype=object)) + 50e-6

    def error_bound(self, problem: PoolProblem | UnpoolProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        if isinstance(problem, UnpoolProblem) or (problem.kind == "max" and not problem.gradient):
            return 0.0
        more = 0.0 if problem.kind != "lp" else 3 * problem.norm + (problem.window if problem.gradient else 0)
        return EPSILON[self.dtype] + (problem.overlap + more + 4) * EPSILON["f64"]

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem = call.problem

        def run(packed: Packed, *given: Array | None) -> bool:
            names = [a.name for a in (*problem.inputs, *problem.outputs)]
            arrays = dict(zip(names, (a for a in given if a is not None), strict=True))
            indices = arrays.get("indices")
            reads = "indices" in [a.name for a in problem.inputs]
            if reads and indices is not None and indices.size:
                plane = int(np.prod(problem.spatial))
                if indices.min() < 0 or indices.max() >= plane:
                    raise InvalidProblem(f"{problem.op}: an index lies outside its plane of {plane} elements")
            found = None
            if isinstance(problem, UnpoolProblem):
                if problem.gradient:
                    values = reference.unpool_grad(arrays["grad_output"], arrays["indices"])
                else:
                    values = reference.unpool(arrays["x"], arrays["indices"], problem.spatial)
            elif problem.gradient:
                values = reference.pool_grad(problem, arrays["grad_output"], arrays.get("x"), indices)
            else:
                values, found = reference.pool(problem, arrays["x"])
            with np.errstate(over="ignore", invalid="ignore"):
                arrays["out"][...] = values
            if found is not None:
                arrays["indices"][...] = found
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferenceConvGradient(_Reference):
    """The gradients of weights and bias by their definitions."""

    def workspace(self, call: Call) -> int | None:
        """Return the block of float64 values that it works on, and the result."""
        return min(call.max_workspace // 2, 16 << 20)

    def estimate(self, problem: ConvWeightProblem | ConvBiasProblem, machine: Machine) -> float:
        """Return a gigaflop a second and a NumPy call for each tap."""
        calls = 1
        if isinstance(problem, ConvWeightProblem):
            calls = problem.conv.n * problem.conv.groups * math.prod(problem.conv.kernel)
        return problem.flops / 1e9 + 40e-6 * calls + 50e-6

    def error_bound(self, problem: ConvWeightProblem | ConvBiasProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        return EPSILON[self.dtype] + (problem.reduction + 4) * EPSILON["f64"]

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem, limit = call.problem, self.workspace(call) or 0

        def run(packed: Packed, grad_output: Array, *others: Array) -> bool:
            if isinstance(problem, ConvWeightProblem):
                values = reference.conv_grad_w(problem, grad_output, others[0], limit)
            else:
                values = reference.conv_grad_bias(grad_output)
            with np.errstate(over="ignore", invalid="ignore"):
                others[-1][...] = values
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferenceLayer(_Reference):
    """Activations, linear layers, normalisations, resizing and lowering by their definitions, in float64."""

    def workspace(self, call: Call) -> int | None:
        """Return the results in float64."""
        return 8 * sum(int(np.prod(a.shape, dtype=object)) for a in call.problem.outputs)

    def estimate(self, problem: Any, machine: Machine) -> float:
        """Return a pass of NumPy for each of some steps."""
        return float(problem.bytes) / 1e8 + float(problem.flops) / 1e9 + 50e-6

    def error_bound(self, problem: Any) -> float:
        """Return one rounding to the output type, and the float64 arithmetic's."""
        if layers.only_moves(problem):
            return 0.0
        return EPSILON[self.dtype] + (layers.terms(problem) + 16) * EPSILON["f64"]

    def prepare(self, problem: Any, *weights: Array | None) -> Packed:
        """Return copies."""
        return tuple(None if a is None else a.copy() for a in weights)

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem = call.problem
        names = [a.name for a in (*problem.inputs, *problem.outputs)]

        def run(packed: Packed, *given: Array | None) -> bool:
            arrays: dict[str, Any] = dict(zip(names, (a for a in given if a is not None), strict=True))
            if isinstance(problem, LinearProblem):
                weights = {"": ("w", "bias"), "x": ("grad_output",), "w": ("grad_output",), "bias": ()}
                arrays |= zip(weights[problem.argument], packed or (), strict=True)
            results = _results(problem, arrays)
            with np.errstate(over="ignore", invalid="ignore"):
                for operand, result in zip(problem.outputs, results, strict=True):
                    arrays[operand.name][...] = result
            return True

        return run


def _results(problem: Any, arrays: dict[str, Any]) -> tuple[Array, ...]:
    """Return every output of a small layer's problem."""
    if isinstance(problem, LinearProblem):
        return (reference.linear(problem, arrays),)
    if isinstance(problem, ElementwiseProblem):
        x, how = arrays["x"], (problem.activation, problem.slope)
        if problem.gradient:
            return (reference.activation_grad(arrays["grad_output"], x, *how),)
        return (reference.activate(x.astype(np.float64), *how),)
    if isinstance(problem, LoweringProblem):
        return ((reference.fold if problem.fold else reference.unfold)(problem, arrays["x"]),)
    if isinstance(problem, ResizeProblem):
        if not problem.is_nearest:
            return (reference.resize(problem, arrays["grad_output" if problem.gradient else "x"]),)
        if problem.gradient:
            return (reference.nearest_grad(problem, arrays["grad_output"]),)
        return (reference.nearest(problem, arrays["x"]),)
    if isinstance(problem, ShuffleProblem):
        return (reference.pixel_shuffle(problem, arrays["x"]),)
    if isinstance(problem, ResponseProblem):
        if problem.gradient:
            return (reference.local_response_norm_grad(problem, arrays["grad_output"], arrays["x"]),)
        return (reference.local_response_norm(problem, arrays["x"]),)
    assert isinstance(problem, NormProblem)
    x, weight = arrays["x"], arrays.get("weight")
    mean, var = reference.moments(x) if problem.own else (arrays["running_mean"], arrays["running_var"])
    if problem.kind == "stats":
        return mean, var
    if not problem.gradient:
        y = reference.batch_norm(problem, x, mean, var, weight, arrays.get("bias"))
        return (y, mean, var) if problem.own else (y,)
    found = reference.batch_norm_grad(problem, arrays["grad_output"], x, mean, var, weight)
    return found[0 if problem.wants_x else 1 :][: len(problem.outputs)]


@dataclass(frozen=True, slots=True)
class ReferenceRoi(_Reference):
    """Boxes on maps by their definitions, bin by bin; and non-maximum suppression."""

    def workspace(self, call: Call) -> int | None:
        """Return the result in float64."""
        return 8 * sum(int(np.prod(a.shape, dtype=object)) for a in call.problem.outputs)

    def estimate(self, problem: RoiProblem | NmsProblem, machine: Machine) -> float:
        """Return some microseconds a sample."""
        return problem.flops / 1e9 + 50e-6

    def error_bound(self, problem: RoiProblem | NmsProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        if isinstance(problem, NmsProblem) or (problem.kind == "roi_pool" and not problem.gradient):
            return 0.0
        terms = int(np.prod(problem.taps)) + (
            problem.boxes * int(np.prod(problem.out_spatial)) if problem.gradient else 0
        )
        return EPSILON[self.dtype] + (terms + 4) * EPSILON["f64"]

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem = call.problem

        def forward(packed: Packed, x: Array, boxes: Array, out: Array) -> bool:
            with np.errstate(over="ignore", invalid="ignore"):
                out[...] = reference.roi(problem, x, boxes, out.astype(np.float64))
            return True

        def backward(packed: Packed, grad_output: Array, boxes: Array, x: Array | None, out: Array) -> bool:
            with np.errstate(over="ignore", invalid="ignore"):
                out[...] = reference.roi_grad(problem, grad_output, boxes, x)
            return True

        def suppress(packed: Packed, boxes: Array, runs: Array, out: Array) -> bool:
            out[...] = reference.nms(boxes, runs, problem.threshold)
            return True

        if isinstance(problem, NmsProblem):
            return suppress
        return backward if problem.gradient else forward


@dataclass(frozen=True, slots=True)
class ReferenceSample(_Reference):
    """Maps sampled at places, and the places of affine transforms, by their definitions."""

    def workspace(self, call: Call) -> int | None:
        """Return the result in float64."""
        return 8 * sum(int(np.prod(a.shape, dtype=object)) for a in call.problem.outputs)

    def estimate(self, problem: GridSampleProblem | AffineGridProblem, machine: Machine) -> float:
        """Return a NumPy operation a tap."""
        return problem.flops / 1e8 + 1e-3

    def error_bound(self, problem: GridSampleProblem | AffineGridProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        return EPSILON[self.dtype] + (sampling.terms(problem) + 12) * EPSILON["f64"]

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem = call.problem
        if isinstance(problem, AffineGridProblem):
            define: Any = reference.affine_grid_grad if problem.gradient else reference.affine_grid
        else:
            define = {
                "": reference.grid_sample,
                "x": reference.grid_sample_grad_x,
                "grid": reference.grid_sample_grad_grid,
            }[problem.argument]

        def run(packed: Packed, *arrays: Array) -> bool:
            values = define(problem, *arrays[:-1])
            with np.errstate(over="ignore", invalid="ignore"):
                arrays[-1][...] = values
            return True

        return run


@dataclass(frozen=True, slots=True)
class ReferenceDeform(_Reference):
    """Deformable convolution and its gradients by their definitions, some output rows at a time."""

    def workspace(self, call: Call) -> int | None:
        """Return the block of float64 values that it works on."""
        return min(call.max_workspace // 2, 64 << 20)

    def estimate(self, problem: DeformProblem, machine: Machine) -> float:
        """Return a tenth of a gigaflop a second: samples are picked one by one."""
        return problem.flops / 1e8 + 200e-6

    def error_bound(self, problem: DeformProblem) -> float:
        """Return one rounding to the output type, and the float64 sum's."""
        return EPSILON[self.dtype] + (problem.reduction + 16) * EPSILON["f64"]

    def prepare(self, problem: DeformProblem, *weights: Array | None) -> Packed:
        """Return copies."""
        return tuple(None if a is None else a.copy() for a in weights)

    def compile(self, call: Call) -> Runner:
        """Return the definition."""
        problem, limit = call.problem, self.workspace(call) or 0
        names = [a.name for a in (*problem.inputs, *problem.outputs)]

        def run(packed: Packed, *given: Array | None) -> bool:
            arrays: dict[str, Any] = dict(zip(names, (a for a in given if a is not None), strict=True))
            w, bias = (*(packed or ()), None, None)[:2]
            if problem.argument:
                results = reference.deform_grad(problem, arrays, w, limit)
            else:
                results = (reference.deform_conv(problem, arrays, w, bias, limit),)
            with np.errstate(over="ignore", invalid="ignore"):
                for operand, result in zip(problem.outputs, results, strict=True):
                    arrays[operand.name][...] = result
            return True

        return run


def _layer_ops() -> Iterator[str]:
    for name in (*ACTIVATIONS, "local_response_norm", "interpolate", "linear", "batch_norm"):
        yield name
        yield f"{name}-grad-x"
    yield from ("linear-grad-w", "linear-grad-bias", "batch_norm_stats", "batch_norm-grad-weight", "unfold", "fold")


def _pool_ops() -> Iterator[tuple[str, str]]:
    for rank in (1, 2, 3):
        for dtype in ITEM_BYTES:
            moved = [f"max_pool{rank}d", f"adaptive_max_pool{rank}d", f"max_unpool{rank}d"]
            summed = [f"avg_pool{rank}d", f"adaptive_avg_pool{rank}d", f"lp_pool{rank}d"]
            if dtype in FLOATS:
                moved += [*summed, *(f"{op}-grad-x" for op in (*moved, *summed))]
            for op in moved:
                yield op, dtype


def algorithms() -> Iterator[Algorithm]:
    """Return the reference for each operation and element type."""
    for op, dtype in _pool_ops():
        yield ReferencePool(op, dtype)
    for op in _layer_ops():
        for dtype in EPSILON:
            yield ReferenceLayer(op, dtype)
    for argument in ("", "-grad-x", "-grad-offset", "-grad-w", "-grad-mask"):
        for dtype in EPSILON:
            yield ReferenceDeform(f"deform_conv2d{argument}", dtype)
    for op in ("pixel_shuffle", "pixel_unshuffle"):
        for dtype in ITEM_BYTES:
            yield ReferenceLayer(op, dtype)
    for op in ("roi_align", "roi_align3d", "roi_pool", "ps_roi_align", "ps_roi_pool"):
        for dtype in EPSILON:
            yield ReferenceRoi(op, dtype)
            yield ReferenceRoi(f"{op}-grad-x", dtype)
    yield ReferenceRoi("nms", "f64")
    for op in ("grid_sample", "grid_sample-grad-x", "grid_sample-grad-grid", "affine_grid", "affine_grid-grad-theta"):
        for dtype in EPSILON:
            yield ReferenceSample(op, dtype)
    for rank in (1, 2, 3):
        for dtype in EPSILON:
            yield ReferenceConv(f"conv{rank}d", dtype)
            yield ReferenceTransposed(f"conv_transpose{rank}d", dtype)
            yield ReferenceTransposed(f"conv{rank}d-grad-x", dtype)
            for op in (f"conv{rank}d", f"conv_transpose{rank}d"):
                yield ReferenceConvGradient(f"{op}-grad-w", dtype)
                yield ReferenceConvGradient(f"{op}-grad-bias", dtype)
