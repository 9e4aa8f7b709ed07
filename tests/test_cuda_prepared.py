"""Prepared and bound calls, and too large ones, of arrays in GPU memory; on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_device import EmulatedGpu, OnGpu, gpu, there

import pyconv
from pyconv import InvalidProblem
from pyconv.prepare import bind

__all__ = ["gpu"]

RNG = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RNG.integers(-3, 4, shape).astype(np.float32)


CALLS: tuple[tuple[Any, np.ndarray, np.ndarray, dict[str, Any]], ...] = (
    (pyconv.conv2d, draw(2, 3, 5, 4), draw(4, 3, 3, 3), {"padding": 1, "activation": "relu"}),
    (pyconv.conv1d, draw(3, 6), draw(4, 3, 3), {}),  # without a batch axis
    (pyconv.conv_transpose2d, draw(1, 3, 3, 2), draw(3, 4, 2, 2), {"stride": 2}),
    (pyconv.linear, draw(2, 3, 5), draw(4, 5), {}),
)


@pytest.mark.parametrize(("function", "x", "w", "words"), CALLS, ids=lambda v: getattr(v, "__name__", ""))
def test_prepared_calls(function: Any, x: np.ndarray, w: np.ndarray, words: dict[str, Any]) -> None:
    bias = draw(4)
    expected = function(x, w, bias, **words)
    weights, biases = OnGpu(w.copy()), OnGpu(bias.copy())
    f = pyconv.prepare(function, weights, biases, **words)
    weights.array[...] = biases.array[...] = np.nan  # copied: later changes are not seen
    np.testing.assert_array_equal(f(OnGpu(x)).array, expected)
    kept = f.arrays
    assert isinstance(kept[0], OnGpu)
    np.testing.assert_array_equal(kept[0].array, w)
    out = OnGpu(np.full_like(expected, np.nan))
    assert f(OnGpu(x), out) is out
    np.testing.assert_array_equal(out.array, expected)
    given = OnGpu(x.copy())
    for again in (f.bind(given, out), bind(function, given, OnGpu(w), OnGpu(bias), out=out, **words)):
        out.array[...] = np.nan
        again()
        np.testing.assert_array_equal(out.array, expected)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        f(x)
    on_host = pyconv.prepare(function, w, bias, **words)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        on_host(OnGpu(x))
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.prepare(function, OnGpu(w), bias, **words)
    with pytest.raises(InvalidProblem, match="w in GPU memory must be contiguous"):
        pyconv.prepare(function, OnGpu(w[..., ::-1]), **words)


def test_a_prepared_convolution_adds_a_residual() -> None:
    x, w, residual = draw(1, 3, 4, 5), draw(2, 3, 1, 1), draw(1, 2, 4, 5)
    f = pyconv.prepare(pyconv.conv2d, OnGpu(w))
    np.testing.assert_array_equal(
        f(OnGpu(x), residual=OnGpu(residual)).array, pyconv.conv2d(x, w, residual=residual)
    )
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        f(OnGpu(x), residual=residual)


def test_a_prepared_deformable_convolution() -> None:
    x, w, offset, mask = draw(1, 2, 4, 4), draw(3, 2, 1, 1), draw(1, 2, 4, 4) / 4, draw(1, 1, 4, 4)
    f = pyconv.prepare(pyconv.deform_conv2d, OnGpu(w))
    expected = pyconv.deform_conv2d(x, offset, w, mask=mask)
    np.testing.assert_array_equal(f(*map(there, (x, offset, mask))).array, expected)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        f(x, offset, mask)
