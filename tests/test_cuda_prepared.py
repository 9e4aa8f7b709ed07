"""Prepared and bound calls, and too large ones, of arrays in GPU memory; on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cuda_device import EmulatedGpu, OnGpu, backend, gpu, there

import pyconv
from pyconv import InvalidProblem, Unsupported
from pyconv.ops import call
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
    np.testing.assert_array_equal(f(OnGpu(x), residual=OnGpu(residual)).array, pyconv.conv2d(x, w, residual=residual))
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        f(OnGpu(x), residual=residual)


def test_a_prepared_deformable_convolution() -> None:
    x, w, offset, mask = draw(1, 2, 4, 4), draw(3, 2, 1, 1), draw(1, 2, 4, 4) / 4, draw(1, 1, 4, 4)
    f = pyconv.prepare(pyconv.deform_conv2d, OnGpu(w))
    expected = pyconv.deform_conv2d(x, offset, w, mask=mask)
    np.testing.assert_array_equal(f(*map(there, (x, offset, mask))).array, expected)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        f(x, offset, mask)


@pytest.fixture
def few_elements(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU whose kernels count to 300."""
    monkeypatch.setattr(backend, "GPU_ELEMENTS", 300)
    monkeypatch.setattr(call, "GPU_ELEMENTS", 300)
    call.plan_for.cache_clear()


@pytest.mark.usefixtures("few_elements")
def test_large_batches_run_in_parts(gpu: EmulatedGpu) -> None:
    x, w = draw(7, 2, 5, 6), draw(3, 2, 3, 3)
    last = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    for images in (x, last, x[::-1]):
        result = pyconv.conv2d(OnGpu(images), OnGpu(w), padding=1, activation="relu").array
        expected = pyconv.conv2d(images, w, padding=1, activation="relu")
        np.testing.assert_array_equal(result, expected)
        assert result.strides == expected.strides
    values, indices = pyconv.max_pool2d(OnGpu(x), 2, 1, return_indices=True)
    for got, expected in zip((values, indices), pyconv.max_pool2d(x, 2, 1, return_indices=True), strict=True):
        np.testing.assert_array_equal(got.array, expected)
    columns = pyconv.unfold(x, 2)
    out = OnGpu(np.full_like(columns, np.nan))
    assert pyconv.unfold(OnGpu(x), 2, out=out) is out
    np.testing.assert_array_equal(out.array, columns)
    np.testing.assert_array_equal(pyconv.fold(OnGpu(columns), (5, 6), 2).array, pyconv.fold(columns, (5, 6), 2))
    w = draw(2, 3, 2, 2)
    np.testing.assert_array_equal(pyconv.conv_transpose2d(OnGpu(x), OnGpu(w)).array, pyconv.conv_transpose2d(x, w))


@pytest.mark.usefixtures("few_elements")
def test_what_is_too_large_says_what_to_do() -> None:
    said = r"of less than 300 elements, which are counted in 32 bits; here are \d+: call it for a part of the batch"
    x, w, one, g = draw(4, 2, 7, 8), draw(3, 2, 3, 3), draw(1, 2, 13, 13), draw(4, 3, 7, 8)
    for too_large in (
        lambda: pyconv.conv2d(OnGpu(one), OnGpu(w)),  # one image
        lambda: pyconv.grad.conv2d(OnGpu(g), OnGpu(x), OnGpu(w), padding=1, output_mask=(False, True, False)),
        lambda: pyconv.batch_norm_stats(OnGpu(x)),
        lambda: pyconv.grad.max_pool2d(OnGpu(x[:, :, :6:2, ::2]), OnGpu(x), 2),
    ):
        with pytest.raises(Unsupported, match=said):
            too_large()
    wide = np.zeros((2, 2, 1, 200), np.float32)
    with pytest.raises(InvalidProblem, match=r"a view of shape \(2, 2, 1, 2\) over \d+ elements of GPU memory"):
        pyconv.relu(OnGpu(wide[..., ::199]))
