"""The GPU kernels of batch normalisation and of activations by themselves, on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import test_small_layers
from checker import compare
from cuda_device import OnGpu, forget, gpu, ran, there

import pyconv
from pyconv import ElementwiseProblem, InvalidProblem, NormProblem, Unsupported, registry
from pyconv.problem import ACTIVATIONS, DEFAULT_SLOPES

__all__ = ["gpu"]

NORMS = (
    NormProblem("infer", (2, 5, 4, 3), True, True),
    NormProblem("infer", (2, 3, 4), False, False, dtype="f16"),
    NormProblem("train", (2, 3, 5, 4), True, True, channels_last=True),
    NormProblem("train", (3, 2, 2, 3, 4), True, False, dtype="f64"),
    NormProblem("train", (40, 3), False, True, dtype="f16"),
    NormProblem("stats", (2, 4, 5, 6), eps=0.0),
    NormProblem("stats", (3, 1, 3000), eps=0.0),  # three parts
    NormProblem("grad-infer", (2, 3, 4, 5), True, True, scaled=True),
    NormProblem("grad-train", (2, 3, 4, 5), True, True, scaled=True, channels_last=True),
    NormProblem("grad-train", (5, 4, 3), True, False, dtype="f64"),
    NormProblem("grad-train", (2, 3, 4, 5), dtype="f16"),
    NormProblem("grad-infer", (2, 3, 4, 5), True, True, wants_x=False, scaled=True),
)


@pytest.mark.parametrize("problem", NORMS, ids=lambda problem: f"{problem.op}-{problem}")
def test_normalisation(problem: NormProblem) -> None:
    arrays = test_small_layers.make(problem, integers=False)
    expected = [np.asarray(e, np.float64) for e in test_small_layers._results(problem, dict(arrays))]
    algorithm = registry.find(f"{problem.op}.channelwise.{problem.dtype}@cuda")
    there: dict[str, Any] = {name: OnGpu(a) for name, a in arrays.items()}
    forget()
    if problem.kind == "train":
        given = there["x"], None, None, there.get("weight"), there.get("bias")
        result = (pyconv.batch_norm(*given, training=True, eps=problem.eps, algorithm=algorithm.id),)
        expected = expected[:1]
    elif problem.gradient:
        vector = np.ones(problem.channels, test_small_layers.NUMPY[problem.dtype])
        weight = there.get("weight", OnGpu(vector) if problem.weight else None)
        given = *(there.get(name) for name in ("grad_output", "x", "running_mean", "running_var")), weight
        mask = problem.wants_x, False, False, problem.weight, problem.bias
        found = pyconv.grad.batch_norm(
            *given, OnGpu(vector) if problem.bias else None, training=problem.own, eps=problem.eps, output_mask=mask,
            algorithm=algorithm.id,
        )  # fmt: skip
        result = tuple(found[place] for place in test_small_layers._norm_results(problem))
    else:
        result = test_small_layers.call_of(problem, there)(algorithm=algorithm.id)
    assert ran(algorithm)
    sizes = test_small_layers.magnitudes(problem, arrays, expected)
    for got, target, size in zip(result, expected, sizes, strict=False):
        if got is None:
            continue
        allowed = algorithm.error_bound(problem) * size + test_small_layers.EPSILON[problem.dtype] * np.abs(target)
        compare(got.array, target, allowed + 2.0**-24, got.array.dtype)


def test_statistics_far_from_zero() -> None:
    x = (np.random.default_rng(0).standard_normal((2, 1, 400)) + 1e4).astype(np.float32)
    mean, var = pyconv.batch_norm_stats(OnGpu(x))
    wide = x.astype(np.float64)
    np.testing.assert_allclose(mean.array, wide.mean(), rtol=1e-7)
    np.testing.assert_allclose(var.array, wide.var(), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)], ids=["both", "mean", "var"])
def test_running_statistics_are_updated_in_place(given: tuple[bool, bool], dtype: type) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 4, 5)).astype(dtype)
    wide = rng.uniform(0.5, 2, (2, 6)).astype(dtype)
    running = [wide[i, 4::-2] if yes else None for i, yes in enumerate(given)]
    expected = [None if a is None else a.astype(np.float64) for a in running]
    y = pyconv.batch_norm(x.astype(np.float64), *expected, training=True, momentum=0.3)
    before = wide.copy()
    result = pyconv.batch_norm(OnGpu(x), *map(there, running), training=True, momentum=0.3)
    np.testing.assert_allclose(result.array, y, rtol=1e-2 if dtype == np.float16 else 1e-5, atol=1e-3)
    rounding = np.finfo(dtype).eps
    for array, wanted in zip(running, expected, strict=True):
        if array is not None:
            np.testing.assert_allclose(array, wanted, rtol=rounding if dtype != np.float64 else 1e-14)
    np.testing.assert_array_equal(wide[:, 1::2], before[:, 1::2], "what is beside them stays")
    pyconv.batch_norm(OnGpu(x[:0]), *map(there, running), training=True)
    for array, wanted in zip(running, expected, strict=True):
        if array is not None:
            np.testing.assert_allclose(array, wanted, rtol=rounding if dtype != np.float64 else 1e-14)


def test_what_is_not_done_is_said() -> None:
    x, vector = OnGpu(np.ones((2, 3, 4), np.float32)), np.ones(3, np.float32)
    for running in ((vector, None), (OnGpu(vector), vector)):
        with pytest.raises(TypeError, match="all arrays must be in one memory"):
            pyconv.batch_norm(x, *running, training=True)
    with pytest.raises(InvalidProblem, match="overlaps another array"):
        pyconv.batch_norm(x, OnGpu(vector), OnGpu(vector), training=True)
    with pytest.raises(InvalidProblem, match=r"running_var must have shape \(3,\)"):
        pyconv.batch_norm(x, OnGpu(vector), OnGpu(np.ones(4, np.float32)), training=True)
    with pytest.raises(TypeError, match="one dtype"):
        pyconv.batch_norm(x, OnGpu(np.ones(3)), None, training=True)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.batch_norm(x, vector, vector)
    with pytest.raises(Unsupported, match="at most three axes"):
        pyconv.batch_norm_stats(OnGpu(np.ones((2, 3, 2, 2, 2, 2), np.float32)))


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("dtype", ["f32", "f64", "f16"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation: str, dtype: str, gradient: bool) -> None:
    shape = {"f32": (2, 3, 4, 5), "f64": (7,), "f16": (2, 1, 3, 2, 2)}[dtype]
    slope = DEFAULT_SLOPES.get(activation, 0.0)
    problem = ElementwiseProblem(activation, shape, slope, gradient, dtype)
    arrays = {name: 3 * a for name, a in test_small_layers.make(problem, integers=False).items()}
    special = np.array([0, 3, -3, 6, np.nan, -np.inf, -0.0], np.float64)
    arrays["x"].reshape(-1)[: special.size] = special
    with np.errstate(all="ignore"):
        expected = np.asarray(test_small_layers._results(problem, dict(arrays))[0], np.float64)
    algorithm = registry.find(f"{problem.op}.elementwise.{dtype}@cuda")
    forget()
    there = {name: OnGpu(a) for name, a in arrays.items()}
    result = test_small_layers.call_of(problem, there)(algorithm=algorithm.id)[0].array
    assert ran(algorithm)
    (size,) = test_small_layers.magnitudes(problem, arrays, [expected])
    allowed = algorithm.error_bound(problem) * size + test_small_layers.EPSILON[dtype] * np.abs(expected) + 2.0**-26
    compare(result, expected, np.where(np.isfinite(allowed), allowed, np.inf), result.dtype)


def test_gradients_through_an_activation() -> None:
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 2, 5, 4)).astype(np.float32), rng.standard_normal((3, 2, 3, 3)).astype(np.float32)
    g = rng.standard_normal((1, 3, 5, 4)).astype(np.float32)
    more: dict[str, Any] = {"padding": 1, "activation": "silu"}
    found = pyconv.grad.conv2d(OnGpu(g), OnGpu(x), OnGpu(w), **more)
    for result, expected in zip(found[:2], pyconv.grad.conv2d(g, x, w, **more), strict=False):
        np.testing.assert_allclose(result.array, expected, rtol=1e-4, atol=1e-5)
    out = OnGpu(x.copy())
    assert pyconv.relu(out, out=out) is out
    np.testing.assert_array_equal(out.array, np.maximum(x, 0))
