"""The checker itself: it has to catch what it is there for."""

from __future__ import annotations

import numpy as np
import pytest
from checker import compare, make_data, tolerance

from pyconv import ConvProblem, reference, registry


@pytest.fixture
def right() -> np.ndarray:
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1


def broken(right: np.ndarray, where: tuple[int, ...], value: float) -> np.ndarray:
    copy = right.copy()
    copy[where] = value
    return copy


def test_equal_arrays_pass(right: np.ndarray) -> None:
    compare(right, right.astype(np.float64), 0.0, np.dtype(np.float32))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((1, 2, 3), 24.001, "1 of 24 outputs are wrong; worst at \\(1, 2, 3\\)"),
        ((0, 0, 0), np.nan, "NaN in the wrong places"),  # also an output that was never written over its poison
        ((0, 1, 0), np.inf, "\\+Inf in the wrong places"),
        ((0, 1, 0), -np.inf, "-Inf in the wrong places"),
        ((0, 0, 0), 0.0, "1 of 24"),
    ],
)
def test_one_wrong_element_is_caught(right: np.ndarray, where: tuple[int, ...], value: float, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        compare(broken(right, where, value), right.astype(np.float64), 1e-6, np.dtype(np.float32))


def test_a_missing_nan_is_caught(right: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="NaN"):
        compare(right, broken(right.astype(np.float64), (0, 0, 1), np.nan), 1e9, np.dtype(np.float32))


def test_wrong_shape_order_and_type_are_caught(right: np.ndarray) -> None:
    expected = right.astype(np.float64)
    with pytest.raises(AssertionError, match="shape"):
        compare(right.transpose(1, 0, 2), expected, 1e9, np.dtype(np.float32))
    with pytest.raises(AssertionError, match="outputs are wrong"):
        compare(np.ascontiguousarray(right[:, ::-1]), expected, 0.5, np.dtype(np.float32))
    with pytest.raises(AssertionError, match="dtype"):
        compare(expected, expected, 0.0, np.dtype(np.float32))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_the_bound_is_tight_enough_to_notice(dtype: str) -> None:
    """Twice the permitted error is caught at the output where it is put."""
    problem = ConvProblem.parse(f"n1c8h6w6-o4k3s1p1-{dtype}-bias")
    data = make_data(problem, integers=False)
    expected = reference.conv(problem, data.x, data.w, data.bias)
    registry.algorithms()
    (algorithm,) = registry.candidates("conv2d", dtype, ("numpy",))
    allowed = tolerance(problem, data, algorithm, expected)
    result = expected.astype(data.x.dtype)
    compare(result, expected, allowed, data.x.dtype)
    result[0, 2, 3, 3] += data.x.dtype.type(2.5 * allowed[0, 2, 3, 3] + 2 * np.spacing(result[0, 2, 3, 3]))
    with pytest.raises(AssertionError, match=r"worst at \(0, 2, 3, 3\)"):
        compare(result, expected, allowed, data.x.dtype)
