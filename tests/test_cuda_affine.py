"""The GPU kernels of the places of affine transforms, on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import test_sample
from checker import compare
from cuda_device import OnGpu, able, forget, gpu, ran
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import AffineGridProblem
from pyconv.kernels.cuda import channel_sums

__all__ = ["gpu"]

SIZES = ((4, 5), (1, 1), (12, 13), (2, 3, 4), (1, 5, 1), (8, 4, 5))


def check(problem: AffineGridProblem, integers: bool) -> None:
    arrays = test_sample.make(problem, integers)
    expected = test_sample.expected_of(problem, arrays)
    (algorithm,) = able(problem)
    there: dict[str, Any] = {name: OnGpu(a) for name, a in arrays.items()}
    dtype = test_sample.NUMPY[problem.dtype]
    out = OnGpu(np.full(expected.shape, np.nan, dtype))
    forget()
    size = (problem.n, 1, *problem.spatial)
    if problem.gradient:
        theta = OnGpu(np.zeros(problem.theta_shape, dtype))
        words: dict[str, Any] = {"algorithm": algorithm.id, "out": out}
        result = pyconv.grad.affine_grid(there["grad_output"], theta, size, problem.align_corners, **words)[0]
    else:
        result = pyconv.affine_grid(there["theta"], size, problem.align_corners, algorithm=algorithm.id, out=out)
    assert result is out
    assert ran(algorithm) or not out.array.size
    bound = algorithm.error_bound(problem) * test_sample.expected_of(problem, arrays, absolute=True)
    allowed = bound + test_sample.EPSILON[problem.dtype] * np.abs(expected) + test_sample.LEAST[problem.dtype]
    compare(out.array, expected, allowed, dtype)


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_places(size: tuple[int, ...], gradient: bool) -> None:
    for i, corners in enumerate((False, True)):
        for integers in (False, True):
            dtype = ("f32", "f64", "f16")[(len(size) + i + size[0] + integers) % 3]
            check(AffineGridProblem(2, size, corners, gradient, dtype), integers)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_places(data: st.DataObject) -> None:
    size = tuple(data.draw(st.integers(1, 7)) for _ in range(data.draw(st.sampled_from((2, 3)))))
    dtype = data.draw(st.sampled_from(("f32", "f64", "f16")))
    n, corners, gradient = data.draw(st.integers(0, 3)), data.draw(st.booleans()), data.draw(st.booleans())
    check(AffineGridProblem(n, size, corners, gradient, dtype), integers=False)


def test_sums_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks an image, the last of them without places."""
    monkeypatch.setattr(channel_sums, "parts_of", lambda channels, elements: 5)
    pyconv.ops.call.plan_for.cache_clear()
    check(AffineGridProblem(2, (2, 3), False, True), integers=True)
    check(AffineGridProblem(1, (3, 10, 11), True, True), integers=False)


def test_sums_of_integers_are_exact() -> None:
    """Of places that are quarters and halves."""
    g = np.random.default_rng(0).integers(-4, 5, (3, 4, 2, 2)).astype(np.float32)
    theta, size = np.zeros((3, 2, 3), np.float32), (3, 1, 4, 2)
    (found,) = pyconv.grad.affine_grid(OnGpu(g), OnGpu(theta), size)
    expected = pyconv.grad.affine_grid(g.astype(np.float64), theta.astype(np.float64), size)[0]
    np.testing.assert_array_equal(found.array, expected)
    turned = OnGpu(np.zeros((3, 3, 2), np.float32).transpose(0, 2, 1))
    assert pyconv.grad.affine_grid(OnGpu(g), OnGpu(theta), size, out=turned)[0] is turned
    np.testing.assert_array_equal(turned.array, found.array)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.grad.affine_grid(OnGpu(g), theta, size)
