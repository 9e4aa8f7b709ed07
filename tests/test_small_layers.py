"""The small layers: every registered algorithm, by its name, against the definition, NumPy and torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from checker import EPSILON, compare, in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel, restride
from hypothesis import given
from hypothesis import strategies as st

import pyconv
from pyconv import (
    ElementwiseProblem,
    InvalidProblem,
    LinearProblem,
    NormProblem,
    ResizeProblem,
    ResponseProblem,
    Unsupported,
    reference,
    registry,
)
from pyconv.algorithm import Algorithm, Call
from pyconv.backends.numpy import _results
from pyconv.problem import ACTIVATIONS, DEFAULT_SLOPES, DTYPES, RESIZE_MODES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
FUNCTIONS = (*ACTIVATIONS, "linear", "batch_norm", "batch_norm_stats", "local_response_norm", "interpolate")
pyconv.algorithms()
LAYERS = {id: registry.find(id) for id in pyconv.algorithms() if id.partition(".")[0].partition("-")[0] in FUNCTIONS}
BUILT = registry.why_missing("c") is None
COMPILED = registry.why_missing("numba") is None
SHAPES = ((), (1,), (7,), (0, 3), (1000,), (2, 3, 5, 7), (2, 33, 4, 5), (3, 1, 40000), (1, 2, 3, 2, 5, 4, 2))


def _elementwise() -> list[ElementwiseProblem]:
    found = []
    for i, (name, gradient) in enumerate(itertools.product(ACTIVATIONS, (False, True))):
        for j, dtype in enumerate(("f32", "f64", "f16")):
            slope = 0.3 if (i + j) % 2 else DEFAULT_SLOPES.get(name, 0.0)
            slope = slope if name in DEFAULT_SLOPES else 0.0
            for shape in SHAPES[(i + j) % 3 :: 3]:
                last = len(shape) == 4
                found.append(ElementwiseProblem(name, shape, slope, gradient, dtype, channels_last=last))
    return found


NORM_SHAPES = (
    ((2, 3, 5, 7), False), ((4, 5, 6, 1), False), ((9, 40), False), ((3, 2, 5000), False), ((2, 70, 3, 4), True),
    ((2, 3, 20, 30), True), ((1, 130, 300), True), ((300, 5), False), ((0, 3, 4), False), ((2, 0, 3), False),
    ((2, 1, 3, 5), False), ((2, 17, 2, 3, 2), False), ((1, 1, 9), False), ((3, 16, 700), True),
)  # fmt: skip


def _norms() -> list[NormProblem]:
    found = []
    for i, (shape, last) in enumerate(NORM_SHAPES):
        for j, kind in enumerate(("infer", "train", "stats", "grad-infer", "grad-train")):
            for k, dtype in enumerate(("f32", "f64", "f16")):
                scaled, biased = (i + j + k) % 3 != 0, (i + j) % 2 == 0
                gradient, wants_x = kind.startswith("grad"), (i + k) % 3 != 1
                if kind == "stats" and 0 in shape:
                    continue
                biased = biased or (gradient and not wants_x and not scaled)
                found.append(
                    NormProblem(
                        kind,
                        shape,
                        scaled if kind != "stats" else False,
                        biased if kind != "stats" else False,
                        1e-5 if kind != "stats" else 0.0,
                        wants_x if gradient else True,
                        scaled and gradient,
                        dtype,
                        last,
                    )
                )
    return found


def _responses() -> list[ResponseProblem]:
    shapes = ((2, 7, 33), (1, 70, 5, 6), (2, 5, 3, 3, 2), (1, 200, 130), (1, 1, 4), (0, 3, 4), (2, 3, 0))
    settings = ((1, 1e-4, 0.75, 1.0), (5, 0.3, 0.75, 1.0), (4, 1.0, 0.5, 2.0), (3, 0.7, 1.3, 0.5), (40, 0.2, 0.25, 1.0),
                (2, 0.1, 1.0, 1.0))  # fmt: skip
    return [
        ResponseProblem(shape, *setting, gradient, dtype, last)
        for i, (shape, setting, gradient) in enumerate(itertools.product(shapes, settings, (False, True)))
        for dtype in (("f32", "f64", "f16")[i % 3], ("f32", "f64", "f16")[(i + 1) % 3])
        for last in ((False, True) if shape[1] > 1 and min(shape) > 0 else (False,))
    ]


def _resizes() -> list[ResizeProblem]:
    sizes = (((5,), (10,)), ((7,), (3,)), ((40,), (120,)), ((6, 5), (12, 10)), ((6, 50), (13, 100)), ((9, 8), (4, 3)),
             ((3, 4), (3, 17)), ((2, 3, 4), (4, 6, 8)), ((3, 2, 5), (2, 5, 9)), ((30, 33), (60, 66)))  # fmt: skip
    found = []
    for i, ((small, large), gradient, mode) in enumerate(
        itertools.product(sizes, (False, True), ("nearest", "nearest-exact"))
    ):
        for j, dtype in enumerate(("f32", "f64", "f16")):
            c, last = (3, 17, 1)[(i + j) % 3], (i + j) % 2 == 0
            scales = tuple(b / a + 0.01 for a, b in zip(small, large, strict=True)) if i % 5 == 4 else None
            if scales is not None:
                large = tuple(math.floor(a * s) for a, s in zip(small, scales, strict=True))
            found.append(ResizeProblem(2, c, small, large, scales, mode, False, False, gradient, dtype, last and c > 1))
    return [*found, ResizeProblem(0, 2, (3, 3), (6, 6)), *_resamplings()]


def _resamplings() -> list[ResizeProblem]:
    """Sums of neighbours: enlarged and reduced, rows in place or copied, columns in 2, 4 and more vectors."""
    sizes = {
        "linear": (((23,), (50,)), ((150,), (7,)), ((1,), (9,)), ((64,), (64,))),
        "bilinear": (((13, 17), (26, 34)), ((40, 70), (13, 20)), ((21, 300), (3, 5)), ((5, 1), (9, 1)),
                     ((1, 5), (1, 40)),
                     ((20, 40), (50, 40)), ((33, 50), (40, 21)), ((60, 20), (7, 45))),
        "bicubic": (((13, 17), (29, 31)), ((33, 90), (12, 40)), ((2, 3), (5, 40)), ((9, 200), (9, 30))),
        "trilinear": (((5, 6, 9), (10, 12, 20)), ((5, 9, 40), (3, 20, 9)), ((4, 1, 6), (4, 3, 3))),
    }  # fmt: skip
    found = []
    cases = [(mode, *pair) for mode, pairs in sizes.items() for pair in pairs]
    for i, ((mode, small, large), gradient) in enumerate(itertools.product(cases, (False, True))):
        for j, dtype in enumerate(("f32", "f64", "f16")):
            c, last = (3, 40, 1)[(i // 2 + j) % 3], (i + j) % 2 == 0
            antialias = mode in ("bilinear", "bicubic") and (i // 2 + j) % 2 == 0
            corners = not antialias and (i + j) % 3 == 0
            scales = tuple((b + 0.3) / a for a, b in zip(small, large, strict=True)) if (i + j) % 4 == 3 else None
            found.append(ResizeProblem(2, c, small, large, scales, mode, corners, antialias, gradient, dtype,
                                       last and c > 1 and math.prod(small) > 1))  # fmt: skip
    return found


def _linears() -> list[LinearProblem]:
    sizes = ((1, 64, 33), (1, 1000, 7), (3, 17, 5), (8, 100, 130), (70, 33, 40), (1, 1, 1), (5, 0, 3), (0, 4, 3),
             (4, 3, 0), (33, 256, 64))  # fmt: skip
    return [
        LinearProblem(*size, argument, bias, dtype)
        for i, (size, argument) in enumerate(itertools.product(sizes, ("", "x", "w", "bias")))
        for dtype in ("f32", "f64", "f16")
        for bias in ((i % 2 == 0,) if argument == "" else (argument == "bias",))
    ]


PROBLEMS: list[Any] = [*_elementwise(), *_norms(), *_responses(), *_resizes(), *_linears()]


def vectors_of(problem: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of what a problem's kernels take packed."""
    if not isinstance(problem, LinearProblem):
        return {}
    shapes = {
        "": {"w": problem.w_shape},
        "x": {"grad_output": problem.out_shape},
        "w": {"grad_output": problem.out_shape},
    }
    found = dict(shapes.get(problem.argument, {}))
    if problem.bias and not problem.argument:
        found["bias"] = (problem.c_out,)
    return found


def make(problem: Any, integers: bool, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    dtype = NUMPY[problem.dtype]

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
        return np.asarray(values).astype(dtype)

    arrays = {a.name: in_memory_order(draw(a.shape), a.channels_last) for a in problem.inputs}
    arrays |= {name: draw(shape) for name, shape in vectors_of(problem).items()}
    if "running_var" in arrays:
        arrays["running_var"] = np.abs(arrays["running_var"]) + dtype.type(0.5)
    return arrays


def call_of(problem: Any, arrays: dict[str, np.ndarray]) -> Callable[..., Any]:
    """The public call of a problem: a function of ``out`` and ``algorithm`` that returns the problem's outputs."""
    a = arrays
    if isinstance(problem, LinearProblem):
        # values of arrays that the gradient does not read; their shapes matter
        dtype = NUMPY[problem.dtype]
        x, w = a.get("x", np.zeros(problem.x_shape, dtype)), a.get("w", np.zeros(problem.w_shape, dtype))
        if not problem.argument:
            return lambda out=(None,), **how: (pyconv.linear(x, w, a.get("bias"), out=out[0], **how),)
        at = ("x", "w", "bias").index(problem.argument)
        bias = np.zeros(problem.c_out, dtype)
        mask = tuple(i == at for i in range(3))

        def gradient(out: Any = (None,), **how: Any) -> tuple[Any, ...]:
            outs = tuple(out[0] if i == at else None for i in range(3))
            return (pyconv.grad.linear(a["grad_output"], x, w, bias, output_mask=mask, out=outs, **how)[at],)

        return gradient
    if isinstance(problem, NormProblem):
        return _norm_call(problem, a)
    settings: dict[str, Any] = {}
    if isinstance(problem, ElementwiseProblem):
        name = {"leaky_relu": "negative_slope", "elu": "alpha"}.get(problem.activation)
        settings = {} if name is None else {name: problem.slope}
    elif isinstance(problem, ResponseProblem):
        settings = {"size": problem.size, "alpha": problem.alpha, "beta": problem.beta, "k": problem.k}
    else:
        assert isinstance(problem, ResizeProblem)
        settings = {"mode": problem.mode}
        if not problem.is_nearest:
            settings |= {"align_corners": problem.align_corners, "antialias": problem.antialias}
        settings |= {"size": problem.out_spatial} if problem.scales is None else {"scale_factor": problem.scales}
    function = problem.op.removesuffix("-grad-x")
    if not problem.gradient:
        return lambda out=(None,), **how: (getattr(pyconv, function)(a["x"], **settings, out=out[0], **how),)
    x = a.get("x")
    if x is None:
        x = in_memory_order(np.zeros(problem.x_shape, NUMPY[problem.dtype]), problem.channels_last)
    return lambda out=(None,), **how: getattr(pyconv.grad, function)(a["grad_output"], x, **settings, out=out[0], **how)


def _norm_call(problem: NormProblem, a: dict[str, np.ndarray]) -> Callable[..., Any]:
    if problem.kind == "stats":
        return lambda out=None, **how: pyconv.batch_norm_stats(a["x"], out=out, **how)
    channels, dtype = problem.channels, NUMPY[problem.dtype]
    if not problem.gradient:
        given = a["x"], a.get("running_mean"), a.get("running_var"), a.get("weight"), a.get("bias")
        if problem.kind == "infer":
            return lambda out=(None,), **how: (pyconv.batch_norm(*given, eps=problem.eps, out=out[0], **how),)

        def train(out: Any = (None,) * 3, **how: Any) -> tuple[Any, ...]:
            mean, var = np.zeros(channels, dtype), np.zeros(channels, dtype)
            y = pyconv.batch_norm(
                a["x"], mean, var, *given[3:], training=True, momentum=1, eps=problem.eps, out=out[0], **how
            )
            unbias = (problem.count - 1) / problem.count if problem.count else 1
            return y, mean, (var.astype(np.float64) * unbias).astype(dtype)

        return train
    weight = a.get("weight", np.ones(channels, dtype) if problem.weight else None)
    bias = np.zeros(channels, dtype) if problem.bias else None
    mask = problem.wants_x, False, False, problem.weight, problem.bias

    def gradients(out: Any = None, **how: Any) -> tuple[Any, ...]:
        outs: list[Any] = [None] * 5
        places = [place for place, wanted in ((0, problem.wants_x), (3, problem.weight), (4, problem.bias)) if wanted]
        names = _norm_results(problem)
        if out is not None:
            for place, array in zip(
                (0, 3, 4), (dict(zip(names, out, strict=True)).get(n) for n in (0, 3, 4)), strict=True
            ):
                outs[place] = array if place in places else None
        got = pyconv.grad.batch_norm(
            a["grad_output"], a["x"], a.get("running_mean"), a.get("running_var"), weight, bias,
            training=problem.own, eps=problem.eps, output_mask=mask, out=tuple(outs), **how,
        )  # fmt: skip
        assert got[1] is None
        assert got[2] is None
        return tuple(got[place] for place in names)

    return gradients


def _norm_results(problem: NormProblem) -> tuple[int, ...]:
    """Which of grad.batch_norm's five results the problem's outputs are."""
    if not problem.wants_x:
        return 3, 4
    return (0, 3, 4) if len(problem.outputs) == 3 else (0,)


def magnitudes(problem: Any, arrays: dict[str, np.ndarray], expected: list[np.ndarray]) -> list[Any]:
    """What each output's error bound is relative to (docs/accuracy.md)."""
    size = {name: np.abs(a.astype(np.float64)) for name, a in arrays.items()}
    if isinstance(problem, ElementwiseProblem):
        return [size["grad_output"] * max(1, abs(problem.slope)) if problem.gradient else np.abs(expected[0])]
    if isinstance(problem, LinearProblem):
        return [reference.linear(problem, dict(size))]
    if isinstance(problem, ResizeProblem) and not problem.is_nearest:
        return [reference.resize(problem, size["grad_output" if problem.gradient else "x"], absolute=True)]
    if isinstance(problem, ResizeProblem):
        return [reference.nearest_grad(problem, size["grad_output"]) if problem.gradient else 0.0]
    if isinstance(problem, ResponseProblem):
        if not problem.gradient:
            return [np.abs(expected[0])]
        own = reference.local_response_norm_grad(problem, size["grad_output"], size["x"])
        power = size["grad_output"] / (
            problem.k + problem.alpha / problem.size * reference._window_sums(size["x"] ** 2, *problem.window)
        ) ** problem.beta  # fmt: skip
        return [np.abs(own) + 2 * np.abs(power)]
    return _norm_magnitudes(problem, arrays)


def _norm_magnitudes(problem: NormProblem, arrays: dict[str, np.ndarray]) -> list[Any]:
    x = arrays["x"].astype(np.float64)
    if not x.size:
        return [0.0] * 3

    def wide(v: np.ndarray) -> np.ndarray:
        return v.reshape(-1, *(1,) * (x.ndim - 2))

    mean, var = reference.moments(x) if problem.own else (arrays["running_mean"], arrays["running_var"])
    mean, var = mean.astype(np.float64), var.astype(np.float64)
    axes = (0, *range(2, x.ndim))
    typical = np.abs(x).mean(axis=axes)
    if problem.kind == "stats":
        return [typical, var + 4 * np.sqrt(var) * typical]
    scale = 1 / np.sqrt(var + problem.eps)
    weight = np.abs(arrays["weight"].astype(np.float64)) if "weight" in arrays else np.ones_like(mean)
    offset = (np.abs(x) + wide(np.abs(mean) + typical)) * wide(scale)  # how far x - mean may be off, in deviations
    normal = np.abs(x - wide(mean)) * wide(scale)
    spread = 1 + wide((np.abs(mean) + typical) * scale)
    if not problem.gradient:
        y = (offset + normal * spread) * wide(weight)
        if "bias" in arrays:
            y = y + wide(np.abs(arrays["bias"].astype(np.float64)))
        return [y, typical, var + 4 * np.sqrt(var) * typical]
    g = np.abs(arrays["grad_output"].astype(np.float64))
    sums = [(g * (offset + normal * spread)).sum(axis=axes), g.sum(axis=axes)]
    gx = g * wide(scale * weight)
    if problem.own:
        count = max(1, problem.count)
        gx = (g + wide(sums[1] / count) + (offset + normal) * wide(sums[0] / count)) * wide(scale * weight) * spread
    return [gx, *sums] if problem.wants_x else sums


def supporting(problem: Any) -> list[Algorithm]:
    able = [a for a in LAYERS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    call = Call.typical(problem, 2, 64 << 20)
    return [a for a in able if a.workspace(call) is not None]


def check(problem: Any, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into poisoned outputs, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, integers, seed)
    with np.errstate(all="ignore"):
        expected = [np.asarray(e, np.float64) for e in _results(problem, dict(arrays))]
    copies = {name: a.copy() for name, a in arrays.items()}
    poison = [in_memory_order(np.full(a.shape, np.nan, NUMPY[a.dtype]), a.channels_last) for a in problem.outputs]
    forget_last_kernel(algorithm)
    call = call_of(problem, arrays)
    with guarded_scratch(algorithm, fill=0xA5):
        result = call(out=tuple(poison), algorithm=algorithm.id)
    if algorithm.backend != "numpy" and all(0 not in a.shape for a in problem.outputs):
        assert last_kernel(algorithm) == algorithm.kernel_name
    sizes = magnitudes(problem, arrays, expected)
    trained = isinstance(problem, NormProblem) and problem.kind == "train"
    for i, (got, target) in enumerate(zip(result, expected, strict=True)):
        if got is None:
            assert isinstance(problem, NormProblem)
            continue
        if trained and not problem.count and i:
            continue
        allowed = algorithm.error_bound(problem) * sizes[i] + EPSILON[problem.dtype] * (1 + 2 * trained) * np.abs(
            target
        )
        allowed = allowed + {"f16": 2.0**-24, "f32": 2.0**-126, "f64": 0.0}[problem.dtype]
        compare(np.asarray(got), target, np.where(np.isfinite(allowed), allowed, np.inf), NUMPY[problem.dtype])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, copies[name], "an input was changed")
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = call(algorithm=algorithm.id)
    for got, again in zip(result, fresh, strict=True):
        if got is not None:
            np.testing.assert_array_equal(got, again)
    first = problem.outputs[0]
    if first.channels_last and first.shape[1] > 1 and math.prod(first.shape[2:]) > 1 and fresh[0].size:
        assert np.moveaxis(fresh[0], 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.op}-{p}")
def test_every_algorithm_on_the_table(problem: Any) -> None:
    asked = supporting(problem)
    nothing = isinstance(problem, LinearProblem) and min(problem.rows, problem.c_in, problem.c_out) == 0
    wanted = {"numpy"} | ({"c"} if BUILT else set()) | ({"numba"} if COMPILED and problem.dtype != "f16" else set())
    assert {a.backend for a in asked} >= ({"numpy"} if nothing else wanted)
    for algorithm in asked:
        check(problem, algorithm, integers=True)
        if algorithm.backend != "numpy":
            check(problem, algorithm, integers=False)


@pytest.mark.parametrize("id", LAYERS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = LAYERS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    asked = [p for p in PROBLEMS if p.op == algorithm.op and p.dtype == algorithm.dtype]
    assert any(map(algorithm.supports, asked)), id


#: Some of each kind: problems with more than a few elements.
SAMPLE = [p for i, p in enumerate(PROBLEMS) if i % 5 == 0 and all(math.prod(a.shape) > 20 for a in p.outputs[:1])]


@pytest.mark.parametrize("problem", SAMPLE, ids=lambda p: f"{p.op}-{p}")
def test_any_strides(problem: Any) -> None:
    """Inputs and outputs of any strides give what contiguous ones do, and nothing between the elements is written."""
    rng = np.random.default_rng(1)
    arrays = make(problem, integers=False)
    for algorithm in supporting(problem):
        if not algorithm.preferred or algorithm.backend == "numpy":
            continue
        expected = call_of(problem, arrays)(algorithm=algorithm.id)
        for _ in range(3):
            strided = {name: restride(a, rng) for name, a in arrays.items()}
            outs = tuple(restride(np.zeros(a.shape, NUMPY[a.dtype]), rng) for a in problem.outputs)
            got = call_of(problem, strided)(out=outs, algorithm=algorithm.id)
            for result, target, operand in zip(got, expected, problem.outputs, strict=True):
                if result is not None:
                    bound = 4 * algorithm.error_bound(problem) * (1 + np.abs(target.astype(np.float64)).max())
                    np.testing.assert_allclose(result.astype(np.float64), target.astype(np.float64), rtol=0, atol=bound,
                                               err_msg=f"{algorithm.id} {operand.name}")  # fmt: skip


@pytest.mark.parametrize("problem", SAMPLE, ids=lambda p: f"{p.op}-{p}")
def test_nothing_outside_is_touched(problem: Any) -> None:
    """Arrays that begin or end where unreadable memory does."""
    arrays = make(problem, integers=True)
    for algorithm, at_end in itertools.product(supporting(problem), (False, True)):
        if algorithm.backend == "numpy":
            continue
        guarded = {name: copy_between_guards(a, at_end) for name, a in arrays.items()}
        outs = tuple(copy_between_guards(np.zeros(a.shape, NUMPY[a.dtype]), at_end) for a in problem.outputs)
        got = call_of(problem, guarded)(out=outs, algorithm=algorithm.id)
        plain = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
        for result, target in zip(got, call_of(problem, plain)(algorithm=algorithm.id), strict=True):
            if result is not None:
                np.testing.assert_array_equal(result, target)


THREADED: tuple[Any, ...] = (
    ElementwiseProblem("silu", (3, 500_000), dtype="f32"),
    ElementwiseProblem("tanh", (700, 1100), gradient=True, dtype="f64"),
    NormProblem("train", (4, 33, 120, 130), True, True),
    NormProblem("train", (4, 70, 60, 61), channels_last=True),
    NormProblem("grad-train", (3, 5, 300, 301), True, True, scaled=True),
    NormProblem("grad-train", (5, 130, 50, 51), True, True, scaled=True, channels_last=True),
    NormProblem("stats", (2, 300, 4000), eps=0.0, dtype="f16"),
    ResponseProblem((2, 96, 80, 81), 5, 0.1),
    ResponseProblem((2, 96, 80, 81), 5, 0.1, gradient=True, channels_last=True),
    ResizeProblem(2, 40, (60, 61), (120, 122), gradient=True),
    ResizeProblem(2, 40, (60, 61), (120, 122), channels_last=True),
    LinearProblem(1, 4000, 1000),
    LinearProblem(300, 500, 600),
    LinearProblem(300, 500, 600, "w"),
    LinearProblem(30_000, 20, 70, "bias"),
)


@pytest.mark.parametrize("problem", THREADED, ids=lambda p: f"{p.op}-{p}")
def test_the_same_bits_for_any_number_of_threads(problem: Any) -> None:
    arrays = make(problem, integers=False)
    for algorithm in supporting(problem):
        if algorithm.backend == "numpy" or not algorithm.preferred:
            continue
        call, found = call_of(problem, arrays), []
        for threads in (1, 2, 5):
            with pyconv.options(threads=threads):
                found.append(call(algorithm=algorithm.id))
        for results in zip(*found, strict=True):
            for other in results[1:]:
                assert other.tobytes() == results[0].tobytes(), algorithm.id


@pytest.mark.parametrize("problem", SAMPLE, ids=lambda p: f"{p.op}-{p}")
def test_the_backends_have_the_same_bits(problem: Any) -> None:
    """The Numba kernels do the C kernels' steps, in their order."""
    if not (BUILT and COMPILED) or problem.dtype == "f16":
        pytest.skip("needs both kernels")
    from pyconv.backends import c, numba_cpu

    if c.isa_in_use() == "baseline" or c.machine().lanes != numba_cpu.machine().lanes:
        pytest.skip("the two have other vectors, or sums and products of one do not fuse")
    arrays = make(problem, integers=False)
    able = [a for a in supporting(problem) if a.preferred]
    families = {a.family for a in able if a.backend == "numba"}
    assert families
    families.discard("separable")  # resizing by tables has its order of sums, and each backend its fused products
    if isinstance(problem, LinearProblem) and problem.c_in % 16:
        families.discard("dot")  # products that fill no vector: gcc may take them apart from their sum
    for family in families:
        c_kernel, numba_kernel = (
            next(a for a in able if a.family == family and a.backend == backend) for backend in ("c", "numba")
        )
        pair = zip(*(call_of(problem, arrays)(algorithm=a.id) for a in (c_kernel, numba_kernel)), strict=True)
        for one, other in pair:
            if one is not None:
                np.testing.assert_array_equal(one, other, family)


@pytest.mark.skipif(not COMPILED, reason="a check of the Numba backend")
@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        ("elementwise.layers_elementwise", ElementwiseProblem("relu", (50, 40))),
        ("channelwise.channelwise_sums", NormProblem("train", (3, 5, 7))),
        ("channelwise.channelwise_moments", NormProblem("infer", (3, 5, 7))),
        ("channelwise.channelwise_products", LinearProblem(30, 20, 7, "bias")),
        ("channelwise.channelwise_map", NormProblem("infer", (3, 5, 7))),
        ("response.layers_response", ResponseProblem((2, 7, 33), 3)),
        ("nearest.layers_nearest", ResizeProblem(2, 3, (5,), (10,))),
        ("nearest.layers_nearest_gradient", ResizeProblem(2, 3, (5,), (10,), gradient=True)),
        ("dot.layers_dot", LinearProblem(2, 20, 7)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_kernel_that_does_less_than_all_of_it_is_noticed(
    kernel: str, problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"pyconv.kernels.cpu.{kernel}", lambda *arguments: 0)
    numba = next(a for a in supporting(problem) if a.backend == "numba" and "layers_" in a.kernel_name)
    with pytest.raises(RuntimeError, match="did 0 of"):
        call_of(problem, make(problem, integers=True))(algorithm=numba.id)


SPECIAL = np.array([-np.inf, -1e30, -4, -3, -1, -0.0, 0.0, 1e-30, 2, 3, 6, 7, 100, 1e30, np.inf, np.nan])


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_special_values(activation: str, dtype: str) -> None:
    """Kinks, infinities and NaN, the same in whole vectors and in what is left of them."""
    with np.errstate(over="ignore"):
        x = SPECIAL.astype(NUMPY[dtype])
    slope = DEFAULT_SLOPES.get(activation, 0.0)
    g = np.full_like(x, 2)
    with np.errstate(all="ignore"):
        forward = reference.activate(x.astype(np.float64), activation, slope)
        backward = reference.activation_grad(g, x, activation, slope)
    for algorithm in LAYERS.values():
        if algorithm.dtype != dtype or not getattr(algorithm, "runs_here", True):
            continue
        size = 8 * EPSILON[dtype] + (2.0**-24 if dtype == "f16" else 2.0**-120)
        for at in range(0, 40, 3):
            long_x, long_g = np.zeros(at + x.size, x.dtype), np.zeros(at + x.size, x.dtype)
            long_x[at:], long_g[at:] = x, g
            if algorithm.op == activation:
                got = getattr(pyconv, activation)(long_x, algorithm=algorithm.id)[at:]
                compare(got, forward, size * (1 + np.abs(np.where(np.isfinite(forward), forward, 0))), x.dtype)
            elif algorithm.op == f"{activation}-grad-x":
                got = getattr(pyconv.grad, activation)(long_g, long_x, algorithm=algorithm.id)[0][at:]
                compare(got, backward, 4 * size * (1 + np.abs(np.where(np.isfinite(backward), backward, 0))), x.dtype)


@pytest.mark.parametrize("backend", ["c", "numba"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_convolutions_arithmetic(activation: str, dtype: type, backend: str) -> None:
    """conv2d(activation=f) and f(conv2d()) are the same bits."""
    if registry.why_missing(backend) is not None:
        pytest.skip("one arithmetic is the compiled kernels' promise")
    rng = np.random.default_rng(2)
    x, w = rng.standard_normal((2, 5, 9, 31)).astype(dtype) * 3, rng.standard_normal((7, 5, 3, 3)).astype(dtype)
    with pyconv.options(backend=backend):
        apart = getattr(pyconv, activation)(pyconv.conv2d(x, w, algorithm="direct"))
        fused = pyconv.conv2d(x, w, activation=activation, algorithm="direct")
    assert apart.tobytes() == fused.tobytes()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_in_place(activation: str) -> None:
    for dtype, shape in itertools.product((np.float32, np.float16), ((3, 70), (70, 3))):
        x = np.linspace(-8, 8, 210).astype(dtype).reshape(shape)
        g = np.ones_like(x)
        y, gx = getattr(pyconv, activation)(x), getattr(pyconv.grad, activation)(g, x)[0]
        for view in (lambda a: a, lambda a: a[:, ::2], lambda a: a.T, lambda a: a[::-1]):
            a, b, c = x.copy(), x.copy(), g.copy()
            assert np.shares_memory(getattr(pyconv, activation)(view(a), out=view(a)), a)
            np.testing.assert_array_equal(view(a), view(y))
            getattr(pyconv.grad, activation)(view(c), view(b), out=view(c))
            np.testing.assert_array_equal(view(c), view(gx))
            np.testing.assert_array_equal(b, x)
        overlapping = x.copy().ravel()
        getattr(pyconv, activation)(overlapping[:-1], out=overlapping[1:])
        np.testing.assert_array_equal(overlapping[1:], y.ravel()[:-1])


def test_statistics_far_from_zero() -> None:
    """The variance of data whose mean is a million standard deviations away, in both memory orders."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((4, 6, 50, 51))
    for offset, dtype, allowed in ((3e3, np.float32, 2e-6), (1e7, np.float64, 1e-8)):
        x = (noise + offset).astype(dtype)
        exact_mean, exact = reference.moments(x)
        for order in (x, in_memory_order(x, True)):
            mean, var = pyconv.batch_norm_stats(order)
            np.testing.assert_allclose(var, exact, rtol=allowed)
            np.testing.assert_allclose(mean, exact_mean, rtol=4 * np.finfo(dtype).eps)


def test_a_value_that_is_not_finite_stays_in_its_channel() -> None:
    for value, order in itertools.product((np.nan, np.inf, -np.inf), (False, True)):
        x = np.random.default_rng(4).standard_normal((2, 5, 9, 11)).astype(np.float32)
        x[1, 2, 3, 4] = value
        x = in_memory_order(x, order)
        mean, var = pyconv.batch_norm_stats(x)
        assert np.isfinite(np.delete(mean, 2)).all()
        assert np.isnan(var[2])
        np.testing.assert_array_equal(mean[2], np.float32(value))
        y = pyconv.batch_norm(x, None, None, training=True)
        assert np.isnan(y[:, 2]).all()
        assert np.isfinite(np.delete(y, 2, axis=1)).all()
        z = pyconv.local_response_norm(x, 3)
        bad = ~np.isfinite(z)
        assert bad[1, 2, 3, 4]
        assert bad.sum() == (3 if np.isnan(value) else 1)
        up = pyconv.interpolate(x, scale_factor=2)
        assert (~np.isfinite(up)).sum() == 4


def test_running_statistics() -> None:
    x = np.random.default_rng(5).standard_normal((6, 3, 7)).astype(np.float32)
    mean, var = np.full(6, 2.0, np.float32)[::2], np.full(3, 4.0, np.float32)
    pyconv.batch_norm(x, mean, var, training=True, momentum=0.25)
    np.testing.assert_allclose(mean, 0.75 * 2 + 0.25 * x.mean(axis=(0, 2)), rtol=1e-6)
    np.testing.assert_allclose(var, 0.75 * 4 + 0.25 * x.var(axis=(0, 2), ddof=1), rtol=1e-6)
    before = mean.copy(), var.copy()
    pyconv.batch_norm(x, mean, None, training=True, momentum=0)
    assert pyconv.batch_norm(np.zeros((0, 3, 7), np.float32), mean, var, training=True).shape == (0, 3, 7)
    with pytest.raises(InvalidProblem):
        pyconv.batch_norm(x, mean, var, training=True, algorithm="direct")
    np.testing.assert_array_equal(mean, before[0])
    np.testing.assert_array_equal(var, before[1])


def differences(f: Callable[..., np.ndarray], g: np.ndarray, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Central differences of sum(f * g) with respect to each array."""
    found = []
    for array in arrays:
        gradient = np.zeros_like(array)
        for at in np.ndindex(*array.shape):
            value, step = array[at], 1e-5
            array[at] = value + step
            above = (f(*arrays) * g).sum()
            array[at] = value - step
            below = (f(*arrays) * g).sum()
            array[at] = value
            gradient[at] = (above - below) / (2 * step)
        found.append(gradient)
    return found


@pytest.mark.parametrize("algorithm", ["auto", "reference"])
def test_gradients_against_differences(algorithm: str) -> None:
    rng = np.random.default_rng(6)

    def close(got: Any, wanted: Any) -> None:
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-7)

    x, g = rng.standard_normal((2, 5, 3, 2)) * 2 + 0.01, rng.standard_normal((2, 5, 3, 2))
    for name in ACTIVATIONS:
        f = getattr(pyconv, name)
        close(getattr(pyconv.grad, name)(g, x, algorithm=algorithm)[0], differences(f, g, [x])[0])
    for size, beta in ((3, 0.75), (4, 1.3), (9, 0.5)):
        f = partial(pyconv.local_response_norm, size=size, alpha=0.7, beta=beta, k=1.5)
        got = pyconv.grad.local_response_norm(g, x, size, 0.7, beta, 1.5, algorithm=algorithm)
        close(got[0], differences(f, g, [x])[0])
    mean, var, w, b = rng.standard_normal(5), rng.random(5) + 0.5, rng.standard_normal(5), rng.standard_normal(5)
    for training in (False, True):

        def normed(x: np.ndarray, w: np.ndarray, b: np.ndarray, training: bool = training) -> np.ndarray:
            running = (None, None) if training else (mean, var)
            return pyconv.batch_norm(x, *running, w, b, training, eps=1e-3)

        got = pyconv.grad.batch_norm(g, x, mean, var, w, b, training, eps=1e-3, algorithm=algorithm)
        for one, other in zip((got[0], *got[3:]), differences(normed, g, [x, w, b]), strict=True):
            close(one, other)
    for mode in ("nearest", "nearest-exact"):
        g_up = rng.standard_normal((2, 5, 7, 3))
        f = partial(pyconv.interpolate, size=(7, 3), mode=mode)
        close(pyconv.grad.interpolate(g_up, x, (7, 3), mode=mode, algorithm=algorithm)[0], differences(f, g_up, [x])[0])
    w, b, g = rng.standard_normal((4, 2)), rng.standard_normal(4), rng.standard_normal((2, 5, 3, 4))
    for one, other in zip(
        pyconv.grad.linear(g, x, w, b, algorithm=algorithm), differences(pyconv.linear, g, [x, w, b]), strict=True
    ):
        close(one, other)


def test_gradients_into_given_arrays() -> None:
    rng = np.random.default_rng(7)
    x, w, b, g = (rng.standard_normal(s) for s in ((2, 3, 4), (5, 4), (5,), (2, 3, 5)))
    outs = np.empty_like(x), np.empty((4, 5)).T, None
    got = pyconv.grad.linear(g, x, w, b, out=outs)
    fresh = pyconv.grad.linear(g, x, w, b)
    assert got[0] is outs[0]
    assert got[1] is outs[1]
    for one, other in zip(got, fresh, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)
    assert pyconv.grad.linear(g, x, w, b, output_mask=(False, True, False))[::2] == (None, None)
    x, g = rng.standard_normal((4, 3, 5)), rng.standard_normal((4, 3, 5))
    gx, gw = np.empty_like(x), np.empty(3)
    got = pyconv.grad.batch_norm(g, x, None, None, w[0, :3], None, training=True, out=(gx, None, None, gw, None))
    assert got[0] is gx
    assert got[3] is gw
    assert got[1:3] + got[4:] == (None, None, None)
    mask = (False, False, False, True, True)
    sums = pyconv.grad.batch_norm(g, x, None, None, w[0, :3], w[0, :3], training=True, output_mask=mask)
    np.testing.assert_array_equal(sums[3], gw)
    assert sums[0] is None
    assert pyconv.grad.batch_norm(g, x, None, None, training=True, output_mask=mask) == (None,) * 5


def test_linear_shapes_and_preparing() -> None:
    rng = np.random.default_rng(8)
    w, b = rng.standard_normal((7, 12)).astype(np.float32), rng.standard_normal(7).astype(np.float32)
    prepared = pyconv.prepare(pyconv.linear, w, b)
    for shape in ((12,), (1, 12), (5, 12), (2, 3, 12), (0, 12), (2, 0, 3, 12), (300, 12), (40, 30, 12)):
        x = rng.standard_normal(shape).astype(np.float32)
        y = pyconv.linear(x, w, b)
        np.testing.assert_allclose(y, x @ w.T + b, rtol=1e-4, atol=1e-5)
        assert y.shape == (*shape[:-1], 7)
        np.testing.assert_array_equal(prepared(x), y)
        out = np.zeros((*shape[:-1], 14), np.float32)[..., ::2]
        assert prepared(x, out=out) is out
        np.testing.assert_array_equal(out, y)
    turned = rng.standard_normal((12, 4, 3)).astype(np.float32).T
    out = np.zeros((7, 4, 3), np.float32).T
    pyconv.linear(turned, w, b, out=out)
    np.testing.assert_allclose(out, turned @ w.T + b, rtol=1e-4, atol=1e-5)
    again = w.copy()
    w[:] = 0
    np.testing.assert_array_equal(prepared(turned[0, 0]), pyconv.linear(turned[0, 0], again, b))
    with pytest.raises(TypeError, match="prepare takes one of"):
        pyconv.prepare(pyconv.relu, w)


ones = np.ones


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: pyconv.relu([1.0]), TypeError, "x must be an array, got list"),
        (lambda x: pyconv.relu(np.arange(3)), TypeError, "x must be float16, float32, float64, got int64"),
        (lambda x: pyconv.relu(x, out=x[:1]), InvalidProblem, "must have the output's shape"),
        (lambda x: pyconv.relu(x, out=[1]), TypeError, "out must be a numpy.ndarray"),
        (lambda x: pyconv.relu(x, algorithm="direct"), InvalidProblem, "relu has elementwise, reference"),
        (lambda x: pyconv.leaky_relu(x, np.nan), InvalidProblem, "negative_slope must be finite"),
        (lambda x: pyconv.leaky_relu(x, "a"), TypeError, "negative_slope must be a number"),
        (lambda x: pyconv.elu(x, np.inf), InvalidProblem, "alpha must be finite"),
        (lambda x: pyconv.grad.relu(x, x[:1]), InvalidProblem, "grad_output must have the shape of x"),
        (lambda x: pyconv.grad.relu(x.astype("f8"), x), TypeError, "all arrays must have one dtype"),
        (lambda x: pyconv.linear(x, x), InvalidProblem, "w must have axes (c_out, c_in)"),
        (lambda x: pyconv.linear(x, ones((2, 3), "f4")), InvalidProblem, "a row of x has 5, w expects 3"),
        (lambda x: pyconv.linear(x, ones((2, 5))), TypeError, "one dtype"),
        (lambda x: pyconv.linear(x, ones((2, 5), "f4"), ones(3, "f4")), InvalidProblem, "bias must have shape (2,)"),
        (lambda x: pyconv.linear(1.0, ones((2, 5), "f4")), TypeError, "must be an array"),
        (lambda x: pyconv.linear(np.array(1.0), ones((2, 1))), InvalidProblem, "got a scalar"),
        (lambda x: pyconv.linear(x, ones((2, 5), "f4"), out=ones(3, "f4")), InvalidProblem, "output's shape"),
        (lambda x: pyconv.grad.linear(x, x, ones((2, 5), "f4")), InvalidProblem, "grad_output must have"),
        (lambda x: pyconv.batch_norm(x, None, None), InvalidProblem, "running_mean and running_var are needed"),
        (lambda x: pyconv.batch_norm(x, ones(3, "f4"), ones(2, "f4")), InvalidProblem, "one value a channel"),
        (lambda x: pyconv.batch_norm(x[0, 0, 0], ones(3, "f4"), ones(3, "f4")), InvalidProblem, "(n, c, ...)"),
        (lambda x: pyconv.batch_norm(x, ones(3), ones(3)), TypeError, "one dtype"),
        (lambda x: pyconv.batch_norm(x, ones(3), None, training=True), TypeError, "one dtype"),
        (lambda x: pyconv.batch_norm(x, ones(2, "f4"), None, training=True), InvalidProblem, "mean must have"),
        (lambda x: pyconv.batch_norm(x[:1, :, :1, :1], None, None, training=True), InvalidProblem, "more than one"),
        (lambda x: pyconv.batch_norm(x, None, None, training=1), TypeError, "training must be True or False"),
        (lambda x: pyconv.batch_norm(x, None, None, training=True, eps=-1), InvalidProblem, "eps must be"),
        (lambda x: pyconv.batch_norm(x, None, None, training=True, momentum="a"), TypeError, "momentum must be"),
        (
            lambda x: pyconv.batch_norm(x, np.broadcast_to(np.float32(1), 3), None, training=True),
            InvalidProblem,
            "read-only",
        ),
        (lambda x: pyconv.batch_norm_stats(x[:0]), InvalidProblem, "no statistics"),
        (lambda x: pyconv.batch_norm_stats(x, out=x), TypeError, "out must be a pair"),
        (lambda x: pyconv.grad.batch_norm(x, x, None, None), InvalidProblem, "are needed with training=False"),
        (
            lambda x: pyconv.grad.batch_norm(x, x, None, None, training=True, output_mask=(True,)),
            InvalidProblem,
            "must have 5 entries",
        ),
        (lambda x: pyconv.local_response_norm(x, 0), InvalidProblem, "size must be >= 1"),
        (lambda x: pyconv.local_response_norm(x, 2.0), TypeError, "size must be an integer"),
        (lambda x: pyconv.local_response_norm(x[0, 0], 2), InvalidProblem, "three or more"),
        (lambda x: pyconv.local_response_norm(x, 2, beta=np.inf), InvalidProblem, "beta must be finite"),
        (lambda x: pyconv.interpolate(x), InvalidProblem, "give size or scale_factor, got neither"),
        (lambda x: pyconv.interpolate(x, 2, 2), InvalidProblem, "got both"),
        (lambda x: pyconv.interpolate(x, 2, mode="linear"), InvalidProblem, "is for 1 spatial axes, x has 2"),
        (lambda x: pyconv.interpolate(x, 2, mode="bilinear", algorithm="nearest"), Unsupported, "nearest neigh"),
        (lambda x: pyconv.interpolate(x, 2, algorithm="separable"), Unsupported, "for sums of neighbours"),
        (lambda x: pyconv.interpolate(x, 2, mode="area", align_corners=True), InvalidProblem, "has no meaning"),
        (lambda x: pyconv.interpolate(x[:, :, None], 2, mode="trilinear", antialias=True), InvalidProblem, "antialias"),
        (lambda x: pyconv.interpolate(x, 2, mode="bilinear", align_corners=1), TypeError, "True or False"),
        (lambda x: pyconv.interpolate(x, 0, mode="area"), InvalidProblem, "sizes must be >= 1"),
        (lambda x: pyconv.interpolate(x, 2, mode="best"), InvalidProblem, "mode must be one of"),
        (lambda x: pyconv.interpolate(x, 2, align_corners=False), InvalidProblem, "align_corners has no meaning"),
        (lambda x: pyconv.interpolate(x, 2, antialias=True), InvalidProblem, "antialias has no meaning"),
        (lambda x: pyconv.interpolate(x, 2, recompute_scale_factor=True), InvalidProblem, "no meaning with size"),
        (lambda x: pyconv.interpolate(x, (2, 2, 2)), InvalidProblem, "size must be an integer or 2"),
        (lambda x: pyconv.interpolate(x, scale_factor=(2, 2, 2)), InvalidProblem, "scale_factor must be a number or 2"),
        (lambda x: pyconv.interpolate(x, scale_factor=-1), InvalidProblem, "> 0"),
        (lambda x: pyconv.interpolate(x, scale_factor=0.1), InvalidProblem, "sizes must be >= 1"),
        (lambda x: pyconv.interpolate(x, 0), InvalidProblem, "sizes must be >= 1"),
        (lambda x: pyconv.interpolate(x, 1 << 40), InvalidProblem, "at most 2^60"),
        (lambda x: pyconv.interpolate(x[0, 0], 3), InvalidProblem, "x must have axes"),
        (lambda x: pyconv.grad.interpolate(x, x, 3), InvalidProblem, "grad_output must have the output's shape"),
    ],
)  # fmt: skip
def test_bad_input(call: Callable[[np.ndarray], Any], error: type[Exception], words: str) -> None:
    x = np.ones((2, 3, 4, 5), np.float32)
    with pytest.raises(error) as found:
        call(x)
    assert words in str(found.value)
    assert (x == 1).all()


def test_explain() -> None:
    assert pyconv.explain(pyconv.relu, (3, 4)).problem.op == "relu"
    assert pyconv.explain(pyconv.grad.elu, (3, 4), (3, 4), alpha=2.0).problem.op == "elu-grad-x"
    assert pyconv.explain(pyconv.linear, (1, 512), (1000, 512)).problem.op == "linear"
    assert pyconv.explain(
        pyconv.grad.linear, (8, 10), (8, 512), (10, 512), output_mask=(True, False, False)
    ).problem.op == "linear-grad-x"  # fmt: skip
    assert pyconv.explain(pyconv.batch_norm, (2, 3, 4), (3,), (3,)).problem.op == "batch_norm"
    assert pyconv.explain(pyconv.grad.batch_norm, (2, 3), (2, 3), (3,), (3,), (3,)).problem.op == "batch_norm-grad-x"
    assert pyconv.explain(pyconv.batch_norm_stats, (2, 3)).problem.op == "batch_norm_stats"
    assert "to8x10" in str(pyconv.explain(pyconv.interpolate, (2, 3, 4, 5), scale_factor=2))
    assert pyconv.explain(pyconv.local_response_norm, (2, 3, 4), 5).problem.op == "local_response_norm"


@given(st.data())
def test_drawn_problems(data: st.DataObject) -> None:
    """Shapes, dtypes and settings that nobody thought of."""
    draw = data.draw
    dtype = draw(st.sampled_from(("f32", "f64", "f16")))
    kind = draw(st.sampled_from(("elementwise", "norm", "response", "resize", "linear")))
    gradient, last = draw(st.booleans()), draw(st.booleans())
    n, c = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 3, 5, 16, 17, 33, 64, 67, 130)))
    spatial = tuple(draw(st.lists(st.integers(1, 40), min_size=1, max_size=2)))
    last = last and c > 1 and math.prod(spatial) > 1
    problem: Any
    if kind == "elementwise":
        problem = ElementwiseProblem(draw(st.sampled_from(ACTIVATIONS)), (n, c, *spatial), 0.0, gradient, dtype, last)
    elif kind == "norm":
        what = draw(st.sampled_from(("infer", "train", "grad-infer", "grad-train")))
        if n * math.prod(spatial) < 2:
            n = 2
        wants = what.startswith("grad")
        weight = draw(st.booleans())
        problem = NormProblem(
            what, (n, c, *spatial), weight, draw(st.booleans()), 1e-3, True, weight and wants, dtype, last
        )
    elif kind == "response":
        problem = ResponseProblem(
            (n, c, *spatial), draw(st.integers(1, 12)), 0.5, draw(st.sampled_from((0.75, 1.0, 0.6))), 1.0, gradient,
            dtype, last,
        )  # fmt: skip
    elif kind == "resize":
        out = tuple(draw(st.integers(1, 80)) for _ in spatial)
        modes = [mode for mode, ranks in RESIZE_MODES.items() if len(spatial) in ranks]
        mode = draw(st.sampled_from(modes))
        antialias = mode in ("bilinear", "bicubic") and draw(st.booleans())
        corners = not mode.startswith("nearest") and draw(st.booleans())
        problem = ResizeProblem(n, c, spatial, out, None, mode, corners, antialias, gradient, dtype, last)
    else:
        argument = draw(st.sampled_from(("", "x", "w", "bias")))
        problem = LinearProblem(
            draw(st.integers(1, 70)), draw(st.integers(1, 200)), c, argument, argument == "bias", dtype
        )
    for algorithm in supporting(problem):
        if algorithm.preferred and algorithm.backend != "numpy":
            check(problem, algorithm, integers=draw(st.booleans()))


class TestTorch:
    """Results and gradients beside torch's."""

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch")

    def compare(self, ours: Any, theirs: Any, tolerance: float) -> None:
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=tolerance, atol=tolerance)

    def test_activations(self) -> None:
        torch = self.torch
        x = torch.linspace(-8, 8, 1001, dtype=torch.float64).requires_grad_()
        g = torch.linspace(1, 2, 1001, dtype=torch.float64)
        kinks = torch.tensor([-3.0, -0.0, 0.0, 3.0, 6.0] * 3, dtype=torch.float64).requires_grad_()
        for name in ACTIVATIONS:
            for at, of in ((x, g), (kinks, g[:15])):
                y = getattr(torch.nn.functional, name)(at)
                at.grad = None
                y.backward(of)
                self.compare(getattr(pyconv, name)(at.detach().numpy()), y, 1e-14)
                self.compare(getattr(pyconv.grad, name)(of.numpy(), at.detach().numpy())[0], at.grad, 1e-14)

    @pytest.mark.parametrize("training", [False, True])
    def test_batch_norm(self, training: bool) -> None:
        torch = self.torch
        for shape in ((4, 3), (4, 3, 5), (2, 5, 6, 7), (2, 3, 2, 3, 4)):
            x, g = torch.randn(shape, dtype=torch.float64).requires_grad_(), torch.randn(shape, dtype=torch.float64)
            w, b = (torch.randn(shape[1], dtype=torch.float64).requires_grad_() for _ in range(2))
            mean, var = torch.randn(shape[1], dtype=torch.float64), torch.rand(shape[1], dtype=torch.float64)
            ours = mean.numpy().copy(), var.numpy().copy()
            y = torch.nn.functional.batch_norm(x, mean, var, w, b, training, 0.3, 1e-4)
            arrays = x.detach().numpy(), *ours, w.detach().numpy(), b.detach().numpy()
            self.compare(pyconv.batch_norm(*arrays, training, 0.3, 1e-4), y, 1e-12)
            self.compare(ours[0], mean, 1e-13)
            self.compare(ours[1], var, 1e-13)
            y.backward(g)
            got = pyconv.grad.batch_norm(g.numpy(), *arrays, training, 0.3, 1e-4)
            for one, other in zip((got[0], *got[3:]), (x, w, b), strict=True):
                self.compare(one, other.grad, 1e-11)

    def test_local_response_norm(self) -> None:
        torch = self.torch
        for size in (1, 2, 5, 8, 20):
            x, g = torch.randn(2, 9, 4, 5, dtype=torch.float64).requires_grad_(), torch.randn(2, 9, 4, 5).double()
            y = torch.nn.functional.local_response_norm(x, size, 0.4, 0.6, 1.2)
            y.backward(g)
            self.compare(pyconv.local_response_norm(x.detach().numpy(), size, 0.4, 0.6, 1.2), y, 1e-12)
            got = pyconv.grad.local_response_norm(g.numpy(), x.detach().numpy(), size, 0.4, 0.6, 1.2)
            self.compare(got[0], x.grad, 1e-11)

    @pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
    def test_interpolate(self, mode: str) -> None:
        torch = self.torch
        for n, out in itertools.product((1, 2, 3, 5, 7, 10, 33), (1, 2, 3, 4, 6, 7, 9, 13, 20, 41, 66)):
            x = torch.arange(2 * n, dtype=torch.float32).reshape(1, 2, n).requires_grad_()
            y = torch.nn.functional.interpolate(x, out, mode=mode)
            self.compare(pyconv.interpolate(x.detach().numpy(), out, mode=mode), y, 0)
            wide = torch.nn.functional.interpolate(x.detach().double(), out, mode=mode)
            self.compare(pyconv.interpolate(x.detach().double().numpy(), out, mode=mode), wide, 0)
            gx = pyconv.grad.interpolate(np.ones((1, 2, out), "f4"), x.detach().numpy(), out, mode=mode)[0]
            # torch's gradient of "nearest-exact" does not always go back where its result came from
            at = y.detach().numpy()[0, 0].astype(int)
            np.testing.assert_array_equal(gx[0], [np.bincount(at, minlength=n)] * 2)
        for factor, recompute in itertools.product((0.5, 0.77, 1.0, 1.3, 2.0, 120 / 88, 3.1), (None, True, False)):
            image = torch.rand(2, 3, 9, 11)
            y = torch.nn.functional.interpolate(image, scale_factor=factor, mode=mode, recompute_scale_factor=recompute)
            got = pyconv.interpolate(image.numpy(), None, factor, mode, None, recompute)
            self.compare(got, y, 0)
            volume = torch.rand(1, 2, 3, 4, 5)
            y = torch.nn.functional.interpolate(volume, scale_factor=(2.0, factor, 1.5), mode=mode)
            self.compare(pyconv.interpolate(volume.numpy(), scale_factor=(2.0, factor, 1.5), mode=mode), y, 0)

    def test_linear(self) -> None:
        torch = self.torch
        x, w, b = torch.randn(3, 4, 20).double(), torch.randn(7, 20).double(), torch.randn(7).double()
        self.compare(pyconv.linear(x.numpy(), w.numpy(), b.numpy()), torch.nn.functional.linear(x, w, b), 1e-12)
