"""The GPU kernels of pooling by norms and of normalisation by neighbours, on the emulator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_pool
import test_small_layers
from checker import compare, in_memory_order
from cuda_device import OnGpu, able, forget, gpu, ran
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import PoolProblem, ResponseProblem, Unsupported

__all__ = ["gpu"]


def check_pool(problem: PoolProblem, integers: bool) -> None:
    arrays = test_pool.make(problem, integers)
    (expected,) = test_pool.expected_of(problem, arrays)
    (algorithm,) = able(problem)
    poison = in_memory_order(np.full(expected.shape, np.nan, arrays["x"].dtype), problem.channels_last)
    forget()
    out = OnGpu(poison)
    found = test_pool.call_of(problem, {name: OnGpu(a) for name, a in arrays.items()})(algorithm=algorithm.id, out=out)
    assert (found[0] if problem.gradient else found) is out
    assert ran(algorithm) or not poison.size
    compare(poison, expected, test_pool.allowed_of(problem, arrays, algorithm, expected), poison.dtype)
    if integers and problem.norm == 1 and not problem.gradient and not problem.ceil_mode:
        np.testing.assert_array_equal(poison, expected.astype(poison.dtype))


POOLS = (
    ("lp_pool2d", "n2c3h5w7-k2s2p0-f32"),
    ("lp_pool2d", "n1c2h6w9-k3s2p0-f64-ceil"),
    ("lp_pool2d", "n1c4h5w6-k3x2s1p0-f16-channels_last"),
    ("lp_pool1d", "n2c3w12-k3s2p0-f32"),
    ("lp_pool3d", "n1c2d3h4w5-k2s1p0-f32-ceil"),
    ("lp_pool2d", "n1c2h6w6-k2s4p0-f64"),  # elements of no window
    ("lp_pool2d", "n0c3h8w8-k2s2p0-f32"),
)


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, 2.5, 0.5])
def test_norms(norm: float, gradient: bool, integers: bool) -> None:
    for op, text in POOLS:
        check_pool(replace(PoolProblem.parse(op, f"{text}-norm2.0"), norm=norm, gradient=gradient), integers)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_norms(data: st.DataObject) -> None:
    problem = replace(data.draw(test_pool.drawn_problems("lp")), gradient=data.draw(st.booleans()))
    assume(problem.flops < 20_000 and np.prod(problem.x_shape) < 2_000)
    check_pool(problem, integers=data.draw(st.booleans()))


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, 0.5, 9.0])
def test_windows_of_zeros_and_of_no_numbers(norm: float) -> None:
    """The slope at zero is zero; large and small ones neither overflow nor vanish on the way."""
    x = np.array([[[0, 0, 0, 1, np.nan, 1, 1e-4, 2e-4, -1e3, 2e3]]], np.float32)
    g = np.ones((1, 1, 5), np.float32)
    got = pyconv.grad.lp_pool1d(OnGpu(g), OnGpu(x), norm, 2)[0].array
    # in float64 no power of these leaves the range
    expected = pyconv.grad.lp_pool1d(g.astype(np.float64), x.astype(np.float64), norm, 2)[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert (got[0, 0, :2] == 0).all()


def test_infinite_norms() -> None:
    """Of zeros alone the gradient is zero, of no number none; else it has the sign of the element it goes to."""
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 6)).astype(np.float32)
    x[0, 0, :2, :2], x[1, 2, 1, 3] = 0, np.nan
    got = pyconv.lp_pool2d(OnGpu(x), np.inf, 2)
    np.testing.assert_array_equal(got.array, pyconv.lp_pool2d(x, np.inf, 2))
    g = np.random.default_rng(1).standard_normal(got.array.shape).astype(np.float32)
    expected = pyconv.grad.lp_pool2d(g, x, np.inf, 2)[0]
    out = OnGpu(np.full_like(x, 7))
    assert pyconv.grad.lp_pool2d(OnGpu(g), OnGpu(x), np.inf, 2, out=out)[0] is out
    np.testing.assert_array_equal(out.array, expected)
    assert np.isnan(expected).sum() == 1
    np.testing.assert_array_equal(pyconv.grad.lp_pool2d(OnGpu(g), OnGpu(x), np.inf, 2)[0].array, expected)
    assert pyconv.grad.lp_pool2d(OnGpu(g), OnGpu(x), np.inf, 2, output_mask=(False,)) == (None,)


RESPONSES = (
    ResponseProblem((2, 7, 5), 5, 0.3),
    ResponseProblem((1, 6, 3, 4), 4, 1.0, 0.5, 2.0, dtype="f64"),
    ResponseProblem((1, 9, 2, 3), 3, 0.7, 1.3, 0.5, dtype="f16", channels_last=True),
    ResponseProblem((2, 3, 2, 2, 2), 40, 0.2, 0.25),
    ResponseProblem((1, 1, 4), 1),
    ResponseProblem((0, 3, 4), 2),
)


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("forward", RESPONSES, ids=str)
def test_responses(forward: ResponseProblem, gradient: bool) -> None:
    problem = replace(forward, gradient=gradient)
    for integers in (False, True):
        arrays = test_small_layers.make(problem, integers)
        expected = np.asarray(test_small_layers._results(problem, dict(arrays))[0], np.float64)
        (algorithm,) = able(problem)
        forget()
        poison = in_memory_order(np.full(problem.shape, np.nan, arrays["x"].dtype), problem.channels_last)
        there: dict[str, Any] = {name: OnGpu(a) for name, a in arrays.items()}
        test_small_layers.call_of(problem, there)(algorithm=algorithm.id, out=(OnGpu(poison),))
        assert ran(algorithm) or not poison.size
        size = test_small_layers.magnitudes(problem, arrays, [expected])[0]
        allowed = algorithm.error_bound(problem) * size + test_small_layers.EPSILON[problem.dtype] * np.abs(expected)
        compare(poison, expected, allowed + 2.0**-26, poison.dtype)


def test_what_is_not_done_is_said() -> None:
    x = np.ones((2, 3, 2, 2, 2, 2), np.float32)
    with pytest.raises(Unsupported, match="at most three axes"):
        pyconv.local_response_norm(OnGpu(x), 3)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.grad.local_response_norm(x, OnGpu(x), 3)
