"""Sampling: resizing, maps at places of the caller's choice, affine grids, each with its gradients.

grid_sample and affine_grid are tested here by every algorithm's name; resizing by tests/test_small_layers.py, and here
beside plain loops and torch.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from checker import compare, in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given
from hypothesis import strategies as st

import pyconv
from pyconv import AffineGridProblem, GridSampleProblem, InvalidProblem, ResizeProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.problem import DTYPES, GRID_MODES, GRID_PADDING_MODES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}
#: What a result may be off that is smaller than any normal number of its type.
LEAST = {"f16": 2.0**-24, "f32": 2.0**-126, "f64": 0.0}
OPS = ("grid_sample", "grid_sample-grad-x", "grid_sample-grad-grid", "affine_grid", "affine_grid-grad-theta")
pyconv.algorithms()
SAMPLERS = {id: registry.find(id) for op in OPS for id in pyconv.algorithms(op)}
Problem = GridSampleProblem | AffineGridProblem


def _grids() -> list[GridSampleProblem]:
    """Channels or points in the lanes, maps turned, in place and too large; one row, one column, one pixel."""
    sizes = (((5, 7), (9, 8)), ((30, 33), (20, 40)), ((1, 4), (6, 5)), ((6, 1), (5, 4)), ((4, 5, 6), (3, 4, 5)),
             ((1, 1), (3, 3)), ((3, 2), (4, 50)), ((2, 3, 1), (2, 2, 9)), ((40, 50), (3, 3)))  # fmt: skip
    found = []
    cases = itertools.product(sizes, GRID_MODES, GRID_PADDING_MODES)
    for i, ((size, out), mode, padding) in enumerate(cases):
        if mode == "bicubic" and len(size) == 3:
            continue
        for j, dtype in enumerate((*EPSILON, *EPSILON)[i % 3 : i % 3 + 2]):
            c, last = (3, 20, 40, 1)[(i + j) % 4], (i + j) % 3 == 0
            last = last and c > 1 and math.prod(size) > 1
            found.append(GridSampleProblem(2, c, size, out, mode, padding, (i // 2 + j) % 2 == 0, "", dtype, last))
    found.append(GridSampleProblem(0, 3, (4, 4), (5, 5)))
    found.append(GridSampleProblem(2, 3, (4, 4), (0, 5)))
    return [replace(problem, argument=argument) for problem in found for argument in ("", "x", "grid")]


def _affines() -> list[AffineGridProblem]:
    sizes = ((4, 5), (1, 1), (30, 70), (2, 3, 4), (1, 5, 1))
    return [
        AffineGridProblem(n, size, corners, gradient, dtype)
        for n, size, corners, gradient, dtype in itertools.product((2, 0), sizes, (False, True), (False, True), NUMPY)
        if dtype in EPSILON
    ]


PROBLEMS: list[Problem] = [*_grids(), *_affines()]


def make(problem: Problem, integers: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays of a problem; ``integers``: values and weights that sum exactly. Else a few places are far or NaN."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for operand in problem.inputs:
        values = rng.integers(-4, 5, operand.shape) if integers else rng.standard_normal(operand.shape)
        if operand.name == "grid":
            assert isinstance(problem, GridSampleProblem)
            values = rng.uniform(-1.4, 1.4, operand.shape)
            if integers:
                # quarters of a pixel, from one pixel outside to the other
                steps = np.array([4 * size for size in reversed(problem.spatial)])
                at = rng.integers(-4, steps + 5, operand.shape) / 4
                size = steps / 4
                values = (2 * at + 1) / size - 1
                if problem.align_corners:
                    values = np.where(size > 1, 2 * at / np.maximum(size - 1, 1) - 1, 0)
            elif problem.mode != "bicubic" or problem.padding_mode == "zeros":
                flat = values.reshape(-1)
                far = np.array([np.nan, np.inf, -np.inf, 6e4, -6e4, 1e30 if problem.dtype != "f16" else 0.0])
                flat[::11] = far[rng.integers(0, far.size, flat[::11].size)]
        arrays[operand.name] = in_memory_order(np.asarray(values).astype(NUMPY[operand.dtype]), operand.channels_last)
    return arrays


def call_of(problem: Problem, arrays: dict[str, np.ndarray]) -> Any:
    """The public call of a problem: a function of ``out`` and ``algorithm``."""
    a = arrays
    if isinstance(problem, AffineGridProblem):
        size = (problem.n, 1, *problem.spatial)
        if not problem.gradient:
            return lambda **how: pyconv.affine_grid(a["theta"], size, problem.align_corners, **how)
        theta = np.zeros(problem.theta_shape, NUMPY[problem.dtype])
        return lambda **how: pyconv.grad.affine_grid(a["grad_output"], theta, size, problem.align_corners, **how)[0]
    settings = problem.mode, problem.padding_mode, problem.align_corners
    if not problem.argument:
        return lambda **how: pyconv.grid_sample(a["x"], a["grid"], *settings, **how)
    x = a.get("x")
    if x is None:
        x = in_memory_order(np.zeros(problem.x_shape, NUMPY[problem.dtype]), problem.channels_last)
    at = ("x", "grid").index(problem.argument)
    mask = at == 0, at == 1

    def gradient(out: Any = None, algorithm: str = "auto") -> np.ndarray:
        outs = tuple(out if wanted else None for wanted in mask)
        words = tuple(algorithm if wanted else "auto" for wanted in mask)
        got = pyconv.grad.grid_sample(
            a["grad_output"], x, a["grid"], *settings, output_mask=mask, out=outs, algorithm=words
        )
        assert got[1 - at] is None
        return got[at]

    return gradient


def expected_of(problem: Problem, a: dict[str, np.ndarray], *, absolute: bool = False) -> np.ndarray:
    """The definition's result, or with magnitudes of everything."""
    if absolute:
        a = {name: array if name == "grid" else np.abs(array) for name, array in a.items()}
    if isinstance(problem, AffineGridProblem):
        if absolute:
            base = np.abs(reference._affine_base(problem))
            axes = "dhw"[-problem.rank :]
            if problem.gradient:
                return np.einsum(f"n{axes}j,{axes}k->njk", a["grad_output"].astype(np.float64), base)
            return np.einsum("...k,njk->n...j", base, a["theta"].astype(np.float64))
        if problem.gradient:
            return reference.affine_grid_grad(problem, a["grad_output"])
        return reference.affine_grid(problem, a["theta"])
    if problem.argument == "x":
        return reference.grid_sample_grad_x(problem, a["grad_output"], a["grid"], absolute=absolute)
    if problem.argument == "grid":
        found = reference.grid_sample_grad_grid(problem, a["grad_output"], a["x"], a["grid"], absolute=absolute)
        if absolute and problem.mode == "bicubic" and found.size:
            # the derivative of a weight has a zero where its terms do not
            largest = np.abs(a["x"].astype(np.float64)).max(initial=0) * max(problem.spatial)
            found = found + largest * np.abs(a["grad_output"].astype(np.float64)).sum(axis=1)[..., None]
        return found
    return reference.grid_sample(problem, a["x"], a["grid"], absolute=absolute)


def supporting(problem: Problem) -> list[Algorithm]:
    able = [a for a in SAMPLERS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    call = Call.typical(problem, 2, 64 << 20)
    return [a for a in able if a.workspace(call) is not None]


def check(problem: Problem, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into a poisoned output, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, integers, seed)
    expected = expected_of(problem, arrays)
    copies = {name: a.copy() for name, a in arrays.items()}
    operand = problem.outputs[0]
    poison = in_memory_order(np.full(operand.shape, np.nan, NUMPY[operand.dtype]), operand.channels_last)
    forget_last_kernel(algorithm)
    call = call_of(problem, arrays)
    with guarded_scratch(algorithm, fill=0xA5):
        result = call(out=poison, algorithm=algorithm.id)
    assert result is poison
    if algorithm.backend != "numpy" and 0 not in operand.shape:
        assert last_kernel(algorithm) == algorithm.kernel_name
    bound = algorithm.error_bound(problem) * expected_of(problem, arrays, absolute=True)
    allowed = bound + EPSILON[problem.dtype] * np.abs(expected) + LEAST[problem.dtype]
    compare(result, expected, allowed, NUMPY[problem.dtype])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, copies[name], err_msg="an input was changed")
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = call(algorithm=algorithm.id)
    np.testing.assert_array_equal(fresh, result)
    if operand.channels_last and fresh.shape[1] > 1 and fresh.size and math.prod(fresh.shape[2:]) > 1:
        assert np.moveaxis(fresh, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: f"{problem.op}-{problem}")
def test_every_algorithm_on_the_table(problem: Problem) -> None:
    asked = supporting(problem)
    assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if registry.why_missing("c") is None else set())
    for algorithm in asked:
        check(problem, algorithm, integers=True)
        if algorithm.backend != "numpy":
            check(problem, algorithm, integers=False)


@pytest.mark.parametrize("id", SAMPLERS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = SAMPLERS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    assert any(algorithm.supports(p) for p in PROBLEMS if p.op == algorithm.op and p.dtype == algorithm.dtype), id


@st.composite
def drawn_problems(draw: st.DrawFn) -> GridSampleProblem:
    rank = draw(st.sampled_from((2, 2, 3)))
    most = 30 if rank == 2 else 7
    spatial, out = (tuple(draw(st.integers(1, most)) for _ in range(rank)) for _ in range(2))
    mode = draw(st.sampled_from(("bilinear", "nearest", "bicubic")[: 5 - rank]))
    c = draw(st.sampled_from((1, 2, 5, 17, 33)))
    last = draw(st.booleans()) and c > 1 and math.prod(spatial) > 1
    return GridSampleProblem(
        draw(st.integers(1, 3)), c, spatial, out, mode, draw(st.sampled_from(GRID_PADDING_MODES)),
        draw(st.booleans()), draw(st.sampled_from(("", "x", "grid"))), draw(st.sampled_from(tuple(EPSILON))), last,
    )  # fmt: skip


@given(problem=drawn_problems(), seed=st.integers(0, 99), integers=st.booleans())
def test_drawn_problems(problem: GridSampleProblem, seed: int, integers: bool) -> None:
    for algorithm in supporting(problem):
        if algorithm.preferred and algorithm.backend != "numpy":
            check(problem, algorithm, integers, seed)


@pytest.mark.parametrize("argument", ["", "x", "grid"])
@pytest.mark.parametrize("mode", GRID_MODES)
def test_same_bits_for_any_number_of_threads(mode: str, argument: str) -> None:
    for c, last in ((3, False), (40, False), (40, True)):
        problem = GridSampleProblem(3, c, (40, 50), (60, 70), mode, "zeros", False, argument, "f32", last)
        call = call_of(problem, make(problem, integers=False))
        for backend in ("c", "numba"):
            if registry.why_missing(backend) is not None:
                continue
            results = []
            for threads in (1, 2, 5):
                with pyconv.options(threads=threads, backend=backend):
                    results.append(call())
            for other in results[1:]:
                np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("gradient", [False, True])
def test_resizing_has_the_same_bits_for_any_number_of_threads(gradient: bool) -> None:
    rng = np.random.default_rng(1)
    for order, (mode, size) in itertools.product((False, True), (("bilinear", (90, 50)), ("bicubic", (20, 130)))):
        x = in_memory_order(rng.standard_normal((2, 20, 40, 60)).astype(np.float32), order)
        g = in_memory_order(rng.standard_normal((2, 20, *size)).astype(np.float32), order)
        results = []
        for threads in (1, 2, 5):
            with pyconv.options(threads=threads):
                found = pyconv.grad.interpolate(g, x, size, mode=mode)[0] if gradient else None
                results.append(pyconv.interpolate(x, size, mode=mode) if found is None else found)
        for other in results[1:]:
            np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("id", [id for id in SAMPLERS if "grid_sample" in id and "numpy" not in id])
def test_strides_and_guard_pages(id: str) -> None:
    """Any strides, and arrays between pages that cannot be read."""
    algorithm = SAMPLERS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    for mode, size, out, c in (
        ("bilinear", (5, 7), (4, 9), 3), ("bilinear", (6, 1), (4, 9), 2), ("bicubic", (5, 6), (3, 7), 2),
        ("nearest", (5, 7), (4, 9), 40), ("bilinear", (3, 4, 5), (2, 3, 4), 3), ("bilinear", (9, 20), (9, 20), 33),
    ):  # fmt: skip
        argument = algorithm.op.partition("-grad-")[2]
        problem = GridSampleProblem(2, c, size, out, mode, "border", False, argument, algorithm.dtype)
        arrays = make(problem, integers=False, seed=3)
        arrays["grid"] = np.clip(np.nan_to_num(arrays["grid"], posinf=3, neginf=-3), -3, 3)
        expected = call_of(problem, arrays)(algorithm=id)
        for at_end in (False, True):
            guarded = {name: copy_between_guards(a, at_end) for name, a in arrays.items()}
            out_array = copy_between_guards(np.zeros_like(expected), at_end)
            np.testing.assert_array_equal(call_of(problem, guarded)(algorithm=id, out=out_array), expected)
        strided = {name: np.repeat(a, 2, axis=-1)[..., ::2] for name, a in arrays.items()}
        strided = {name: a[::-1].copy()[::-1] if a.ndim else a for name, a in strided.items()}
        turned = {name: np.repeat(a, 3, axis=1)[:, ::3] for name, a in arrays.items()}
        for given_arrays in (strided, turned):
            got = call_of(problem, given_arrays)(algorithm=id)
            np.testing.assert_allclose(got, expected, rtol=1e-2 if algorithm.dtype == "f16" else 1e-5, atol=1e-2)


@pytest.mark.parametrize("padding_mode", GRID_PADDING_MODES)
@pytest.mark.parametrize("mode", GRID_MODES)
def test_hostile_coordinates(mode: str, padding_mode: str) -> None:
    """Hazard 44: no crash, nothing read outside, other points exact."""
    rng = np.random.default_rng(2)
    for dtype, last, c in itertools.product((np.float32, np.float64), (False, True), (2, 33)):
        x = rng.standard_normal((1, c, 9, 11)).astype(dtype)
        x = in_memory_order(copy_between_guards(x, True), last)
        grid = rng.uniform(-1, 1, (1, 8, 40, 2)).astype(dtype)
        plain = pyconv.grid_sample(x, grid, mode, padding_mode)
        hostile = grid.copy()
        values = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e20, 2.0**31, -(2.0**31), 2.0**63, 3e38], dtype)
        hostile[0, :, ::4, 0] = np.resize(values, (8, 10))
        hostile[0, ::2, ::4, 1] = np.resize(values[::-1], (4, 10))
        got = pyconv.grid_sample(x, hostile, mode, padding_mode)
        np.testing.assert_array_equal(np.delete(got, np.s_[::4], axis=3), np.delete(plain, np.s_[::4], axis=3))
        if padding_mode == "zeros":
            assert (got[..., ::4] == 0).all()
        elif mode != "bicubic":
            assert np.isfinite(got).all()
        g = rng.standard_normal(got.shape).astype(dtype)
        gx, gg = pyconv.grad.grid_sample(g, x, hostile, mode, padding_mode)
        wanted = pyconv.grad.grid_sample(g, x, grid, mode, padding_mode)[1]
        np.testing.assert_array_equal(np.delete(gg, np.s_[::4], axis=2), np.delete(wanted, np.s_[::4], axis=2))
        if padding_mode == "zeros":
            assert np.isfinite(gx).all()
            assert (gg[:, :, ::4] == 0).all()


def test_what_weighs_nothing_is_no_part() -> None:
    x = np.arange(1.0, 26.0, dtype=np.float32).reshape(1, 1, 5, 5)
    x[0, 0, 2, 2] = np.inf
    exact = pyconv.affine_grid(np.array([[[1, 0, 0], [0, 1, 0]]], np.float32), x.shape)
    np.testing.assert_array_equal(pyconv.grid_sample(x, exact, "nearest"), x)
    for c in (1, 40):
        many = np.repeat(x, c, axis=1)
        centres = np.linspace(-1, 1, 5, dtype=np.float32)
        grid = np.stack(np.meshgrid(centres, centres), axis=-1)[None]
        np.testing.assert_array_equal(pyconv.grid_sample(many, grid, align_corners=True), many)
    np.testing.assert_array_equal(pyconv.interpolate(x, 9, mode="bilinear", align_corners=True)[..., ::2, ::2], x)
    assert np.isfinite(pyconv.interpolate(x[..., 3:], (5, 4), mode="bicubic")).all()


def differences(f: Any, g: np.ndarray, array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of sum(f * g)."""
    gradient = np.zeros_like(array)
    for i in np.ndindex(array.shape):
        before = array[i]
        array[i] = before + step
        above = f()
        array[i] = before - step
        below = f()
        array[i] = before
        gradient[i] = ((above - below) * g).sum() / (2 * step)
    return gradient


@pytest.mark.parametrize("padding_mode", GRID_PADDING_MODES)
@pytest.mark.parametrize(("mode", "rank"), [("bilinear", 2), ("bicubic", 2), ("bilinear", 3), ("nearest", 2)])
def test_gradients_are_derivatives(mode: str, rank: int, padding_mode: str) -> None:
    rng = np.random.default_rng(5)
    spatial, out = (4, 5, 3)[:rank], (2, 3, 2)[:rank]
    for corners, backend in itertools.product((False, True), ("c", "numba", "numpy")):
        if registry.why_missing(backend) is not None:
            continue
        x, grid = rng.standard_normal((2, 2, *spatial)), rng.uniform(-1.3, 1.3, (2, *out, rank))
        g = rng.standard_normal((2, 2, *out))
        with pyconv.options(backend=backend):
            gx, gg = pyconv.grad.grid_sample(g, x, grid, mode, padding_mode, corners)

            def f(x: np.ndarray = x, grid: np.ndarray = grid, corners: bool = corners) -> np.ndarray:
                return pyconv.grid_sample(x, grid, mode, padding_mode, corners)

            np.testing.assert_allclose(gx, differences(f, g, x), rtol=1e-6, atol=1e-7)
            if mode == "nearest":
                assert (gg == 0).all()
            else:
                np.testing.assert_allclose(gg, differences(f, g, grid), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "spatial", "size"),
    [
        ("linear", (7,), (12,)), ("bilinear", (6, 5), (9, 3)), ("bicubic", (6, 5), (9, 3)), ("area", (6, 7), (4, 3)),
        ("trilinear", (3, 4, 5), (5, 2, 6)), ("nearest", (6, 5), (9, 3)),
    ],
)  # fmt: skip
def test_resizing_and_its_gradient_are_adjoint(mode: str, spatial: tuple[int, ...], size: tuple[int, ...]) -> None:
    """<f(x), g> = <x, f'(g)> for every x and g."""
    rng = np.random.default_rng(6)
    choices = [{}] if mode in ("nearest", "area") else [{"align_corners": flag} for flag in (False, True)]
    if mode in ("bilinear", "bicubic"):
        choices.append({"antialias": True})
    for settings, order in itertools.product(choices, (False, True)):
        x = in_memory_order(rng.standard_normal((2, 3, *spatial)), order)
        g = in_memory_order(rng.standard_normal((2, 3, *size)), order)
        y = pyconv.interpolate(x, size, mode=mode, **settings)
        gx = pyconv.grad.interpolate(g, x, size, mode=mode, **settings)[0]
        np.testing.assert_allclose((y * g).sum(), (x * gx).sum(), rtol=1e-12)


def keys(d: float, a: float) -> float:
    d = abs(d)
    if d < 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def plain_resize(x: list[float], out: int, cubic: bool, corners: bool, antialias: bool) -> list[float]:
    """One row, as one would write it down."""
    size, result = len(x), []
    for o in range(out):
        scale = size / out
        if antialias:
            wide = max(1.0, scale)
            center = (o + 0.5) * scale
            total = weights = 0.0
            for i, value in enumerate(x):
                d = (i + 0.5 - center) / wide
                w = keys(d, -0.5) if cubic else max(0.0, 1 - abs(d))
                total, weights = total + w * value, weights + w
            result.append(total / weights)
            continue
        place = (o * (size - 1) / (out - 1) if out > 1 else 0.0) if corners else (o + 0.5) * scale - 0.5
        low = math.floor(place)
        reach = range(low - 1, low + 3) if cubic else range(low, low + 2)
        total = 0.0
        for i in reach:
            w = keys(place - i, -0.75) if cubic else 1 - abs(place - i)
            total += w * x[min(max(i, 0), size - 1)]
        result.append(total)
    return result


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_resizing_is_what_plain_loops_say(mode: str, antialias: bool) -> None:
    rng = np.random.default_rng(7)
    for size, out in ((5, 8), (9, 4), (17, 3), (4, 12), (1, 3), (6, 6)):
        x = rng.standard_normal(size)
        for corners in (False, True) if not antialias else (False,):
            wanted = plain_resize(x.tolist(), out, mode == "bicubic", corners, antialias)
            for axis in (0, 1):
                image = x.reshape((1, 1, 1, -1) if axis else (1, 1, -1, 1))
                target = (1, out) if axis else (out, 1)
                got = pyconv.interpolate(image, target, mode=mode, align_corners=corners, antialias=antialias)
                np.testing.assert_allclose(got.ravel(), wanted, rtol=1e-12, atol=1e-12)


def test_area_is_adaptive_average_pooling() -> None:
    rng = np.random.default_rng(8)
    for spatial, size in (((7,), (3,)), ((7, 9), (3, 4)), ((5, 6, 7), (2, 3, 4))):
        x = rng.standard_normal((2, 3, *spatial)).astype(np.float32)
        pool = getattr(pyconv, f"adaptive_avg_pool{len(spatial)}d")
        np.testing.assert_array_equal(pyconv.interpolate(x, size, mode="area"), pool(x, size))
        factors = tuple((b + 0.5) / a for a, b in zip(spatial, size, strict=True))
        np.testing.assert_array_equal(pyconv.interpolate(x, scale_factor=factors, mode="area"), pool(x, size))
        g = rng.standard_normal((2, 3, *size)).astype(np.float32)
        gradient = getattr(pyconv.grad, f"adaptive_avg_pool{len(spatial)}d")
        np.testing.assert_array_equal(pyconv.grad.interpolate(g, x, size, mode="area")[0], gradient(g, x, size)[0])


def test_little_scratch_is_enough() -> None:
    """Rows that do not fit are kept one at a time; maps that do not fit are read plane by plane."""
    rng = np.random.default_rng(9)
    x = in_memory_order(rng.standard_normal((1, 64, 30, 400)).astype(np.float32), True)
    grid = rng.uniform(-1, 1, (1, 20, 30, 2)).astype(np.float32)
    roomy = pyconv.interpolate(x, (45, 700), mode="bicubic"), pyconv.grid_sample(x, grid)
    with pyconv.options(max_workspace="1MB"):
        tight = pyconv.interpolate(x, (45, 700), mode="bicubic"), pyconv.grid_sample(x, grid)
    for one, other in zip(roomy, tight, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    few = rng.standard_normal((1, 3, 60, 500)).astype(np.float32)
    many = rng.uniform(-1.1, 1.1, (1, 90, 70, 2)).astype(np.float32)
    g = rng.standard_normal((1, 3, 90, 70)).astype(np.float32)
    whole = pyconv.grad.grid_sample(g, few, many)[0]
    with pyconv.options(max_workspace="1MB"):
        # bands of rows add in the same order
        np.testing.assert_array_equal(pyconv.grad.grid_sample(g, few, many)[0], whole)


def test_bad_calls() -> None:
    x, grid = np.ones((2, 3, 4, 5), np.float32), np.zeros((2, 6, 7, 2), np.float32)
    volume, places = np.ones((2, 3, 4, 5, 6), np.float32), np.zeros((2, 2, 2, 2, 3), np.float32)
    theta = np.zeros((2, 2, 3), np.float32)
    sample, affine, grad = pyconv.grid_sample, pyconv.affine_grid, pyconv.grad.grid_sample
    refused: list[tuple[Any, type[Exception], str]] = [
        (lambda: sample(x[0], grid), InvalidProblem, "x must have axes"),
        (lambda: sample(x, grid[0]), InvalidProblem, "grid must have axes"),
        (lambda: sample(x, grid[:1]), InvalidProblem, "the n of x, 2"),
        (lambda: sample(x, places), InvalidProblem, "grid must have axes"),
        (lambda: sample(volume, grid), InvalidProblem, "d_out, h_out, w_out, 3"),
        (lambda: sample(x, grid, "cubic"), InvalidProblem, "mode must be one of nearest"),
        (lambda: sample(x, grid, padding_mode="wrap"), InvalidProblem, "padding_mode must be one of zeros"),
        (lambda: sample(x, grid, align_corners=1), TypeError, "True or False"),
        (lambda: sample(volume, places, "bicubic"), InvalidProblem, "is for 2 spatial axes"),
        (lambda: sample(x[:, :, :0], grid), InvalidProblem, "must have a pixel"),
        (lambda: sample(x, grid.astype(np.float64)), TypeError, "one dtype"),
        (lambda: sample(x.astype(int), grid.astype(int)), TypeError, "x must be float16"),
        (lambda: sample(x.tolist(), grid), TypeError, "must be an array"),
        (lambda: sample(x, grid, out=np.ones((2, 3, 6, 6), np.float32)), InvalidProblem, "out must have"),
        (lambda: sample(x, grid, algorithm="separable"), InvalidProblem, "no algorithm is called"),
        (lambda: grad(np.ones((2, 3, 6, 6), np.float32), x, grid), InvalidProblem, "the output's shape"),
        (lambda: grad(np.ones((2, 3, 6, 7)), x, grid), TypeError, "one dtype"),
        (lambda: grad(np.ones((2, 3, 6, 7), np.float32), x, grid, output_mask=(True,)), InvalidProblem, "2 entries"),
        (lambda: affine(theta, (2, 3, 4)), InvalidProblem, "size must be"),
        (lambda: affine(theta, 4), TypeError, "4 or 5 integers"),
        (lambda: affine(theta, (2, 3, 4.0, 5)), TypeError, "integer"),
        (lambda: affine(theta, (3, 3, 4, 5)), InvalidProblem, r"theta must have shape \(3, 2, 3\)"),
        (lambda: affine(theta, (2, 3, 0, 5)), InvalidProblem, "sizes must be >= 1"),
        (lambda: affine(theta, (2, 3, 1 << 40, 1 << 40)), InvalidProblem, r"2\^60"),
        (lambda: affine(theta, (2, 3, 4, 5, 6)), InvalidProblem, r"theta must have shape \(2, 3, 4\)"),
        (lambda: pyconv.grad.affine_grid(grid, theta, (2, 3, 4, 5)), InvalidProblem, "the grid's shape"),
    ]
    for call, error, message in refused:
        with pytest.raises(error, match=message):
            call()
    if registry.why_missing("c") is None:
        vast = np.broadcast_to(np.ones((), np.float32), (1, 1, 1, (1 << 24) + 1))
        with pytest.raises(Unsupported, match="at most 16777216"):
            sample(vast, grid[:1], algorithm="grid")


def test_explanations_name_the_problem() -> None:
    assert "h4w5-at6x7-bilinear-zeros-f32" in str(pyconv.explain(pyconv.grid_sample, (2, 3, 4, 5), (2, 6, 7, 2)))
    assert "n2h4w5-f32" in str(pyconv.explain(pyconv.affine_grid, np.zeros((2, 2, 3), np.float32), (2, 3, 4, 5)))
    assert "bicubic-align_corners" in str(
        pyconv.explain(pyconv.interpolate, (1, 2, 4, 5), size=(7, 8), mode="bicubic", align_corners=True)
    )
    assert "adaptive_avg_pool2d" in str(pyconv.explain(pyconv.interpolate, (1, 2, 4, 5), size=(2, 2), mode="area"))


class TestTorch:
    """Results and gradients beside torch's."""

    @pytest.fixture(autouse=True)
    def _torch(self) -> None:
        self.torch = pytest.importorskip("torch")

    def close(self, ours: Any, theirs: Any) -> None:
        theirs = theirs.detach().numpy()
        tolerance = 2e-4 if theirs.dtype == np.float32 else 1e-10
        np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(
        ("mode", "spatial", "size"),
        [
            ("linear", (23,), (50,)), ("linear", (50,), (7,)), ("bilinear", (13, 17), (26, 34)),
            ("bilinear", (40, 70), (13, 20)), ("bilinear", (7, 8), (7, 9)), ("bicubic", (13, 17), (29, 31)),
            ("bicubic", (33, 50), (12, 40)), ("trilinear", (5, 6, 9), (10, 4, 20)), ("area", (9, 7), (4, 3)),
        ],
    )  # fmt: skip
    def test_interpolate(self, mode: str, spatial: tuple[int, ...], size: tuple[int, ...], dtype: str) -> None:
        torch = self.torch
        torch.manual_seed(0)
        factors = tuple((b + 0.4) / a for a, b in zip(spatial, size, strict=True))
        for corners, antialias, by_size in itertools.product((None, True), (False, True), (False, True)):
            if (antialias and mode not in ("bilinear", "bicubic")) or (corners and mode == "area"):
                continue
            x = torch.randn(2, 3, *spatial, dtype=getattr(torch, dtype), requires_grad=True)
            given_sizes = (size, None) if by_size else (None, factors)
            settings = {"mode": mode, "align_corners": corners, "antialias": antialias}
            y = torch.nn.functional.interpolate(x, *given_sizes, **settings)
            self.close(pyconv.interpolate(x.detach().numpy(), *given_sizes, **settings), y)
            if antialias and not by_size and any(a == b for a, b in zip(spatial, size, strict=True)):
                continue  # torch's gradient is not that of its own result there
            g = torch.randn_like(y)
            (gx,) = torch.autograd.grad(y, x, g)
            self.close(pyconv.grad.interpolate(g.numpy(), x.detach().numpy(), *given_sizes, **settings)[0], gx)

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("padding_mode", GRID_PADDING_MODES)
    @pytest.mark.parametrize("mode", GRID_MODES)
    def test_grid_sample(self, mode: str, padding_mode: str, dtype: str) -> None:
        torch = self.torch
        torch.manual_seed(1)
        for spatial, out in (((5, 7), (9, 8)), ((1, 4), (6, 5)), ((20, 30), (15, 40)), ((4, 5, 6), (3, 4, 5))):
            for corners, c in itertools.product((False, True), (3, 35)):
                if mode == "bicubic" and len(spatial) == 3:
                    continue
                x = torch.randn(2, c, *spatial, dtype=getattr(torch, dtype), requires_grad=True)
                grid = (torch.rand(2, *out, len(spatial), dtype=x.dtype) * 3 - 1.5).requires_grad_()
                y = torch.nn.functional.grid_sample(x, grid, mode, padding_mode, corners)
                arrays = x.detach().numpy(), grid.detach().numpy()
                self.close(pyconv.grid_sample(*arrays, mode, padding_mode, corners), y)
                g = torch.randn_like(y)
                theirs = torch.autograd.grad(y, (x, grid), g)
                ours = pyconv.grad.grid_sample(g.numpy(), *arrays, mode, padding_mode, corners)
                self.close(ours[0], theirs[0])
                np.testing.assert_allclose(
                    ours[1], theirs[1].numpy(), rtol=1e-3, atol=1e-2 if dtype == "float32" else 1e-9
                )

    def test_affine_grid(self) -> None:
        torch = self.torch
        torch.manual_seed(2)
        for size, corners in itertools.product(((2, 1, 4, 5), (2, 1, 3, 4, 5)), (False, True)):
            rank = len(size) - 2
            theta = torch.randn(2, rank, rank + 1, requires_grad=True)
            y = torch.nn.functional.affine_grid(theta, size, corners)
            self.close(pyconv.affine_grid(theta.detach().numpy(), size, corners), y)
            g = torch.randn_like(y)
            (gt,) = torch.autograd.grad(y, theta, g)
            self.close(pyconv.grad.affine_grid(g.numpy(), theta.detach().numpy(), size, corners)[0], gt)


def test_resizing_problems_say_what_they_are() -> None:
    text = str(ResizeProblem(1, 2, (3, 4), (5, 6), None, "bicubic", False, True, False, "f32", True))
    assert text == "n1c2h3w4-to5x6-f32-bicubic-antialias-channels_last"
