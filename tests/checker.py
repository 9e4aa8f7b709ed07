"""Comparing a result with the float64 definition, and making the data that the comparison needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pyconv import ConvProblem, reference
from pyconv.algorithm import Algorithm

DTYPES = {"f16": np.float16, "f32": np.float32, "f64": np.float64}
#: How much a change of the argument can change the activation (largest derivative; 1 where not listed), and its own
#: rounding in units of the last place of the result (tests/test_conv.py::test_activation_accuracy measures it).
LIPSCHITZ = {"silu": 1.1, "hardswish": 1.5}
ACTIVATION_ULPS = 4
EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}


@dataclass(frozen=True)
class Data:
    x: np.ndarray
    w: np.ndarray
    bias: np.ndarray | None
    residual: np.ndarray | None


def in_memory_order(array: np.ndarray, channels_last: bool) -> np.ndarray:
    """The same values with channels (axis 1) fastest in memory, or as they are."""
    if not channels_last:
        return array
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def make_data(problem: ConvProblem, integers: bool, seed: int = 0) -> Data:
    """Arrays for a problem: small integers, whose sums are exact in every type, or normal deviates."""
    rng = np.random.default_rng(seed)
    dtype = DTYPES[problem.dtype]

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
        return values.astype(dtype)

    def wide(shape: tuple[int, ...]) -> np.ndarray:
        return in_memory_order(draw(shape), problem.channels_last)

    return Data(
        wide(problem.x_shape),
        draw(problem.w_shape),
        draw((problem.c_out,)) if problem.bias else None,
        wide(problem.out_shape) if problem.residual else None,
    )


def magnitude(problem: ConvProblem, data: Data, reach: int = 0) -> np.ndarray:
    """sum |x| |w| + |bias| + |residual|, |x| the largest within ``reach``: what error bounds are relative to."""

    def size(array: np.ndarray | None) -> np.ndarray | None:
        return None if array is None else np.abs(array)

    plain = replace(problem, activation=None, slope=0.0)
    x = np.abs(data.x)
    if reach and x.size:
        # with the border in place, so that a window over it finds what lies beside it
        mode = "constant" if problem.padding_mode == "zeros" else problem.padding_mode
        mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
        margins = [(before + reach, after + reach) for before, after in problem.padding]
        x = np.pad(x, [(0, 0), (0, 0), *margins], mode=mode)
        for axis in range(2, x.ndim):
            windows = np.lib.stride_tricks.sliding_window_view(x, 2 * reach + 1, axis=axis)
            x = windows.max(axis=-1)
        spatial = tuple(x.shape[2:])
        plain = replace(plain, spatial=spatial, padding=((0, 0),) * problem.rank, padding_mode="zeros")
    return reference.conv(plain, x, np.abs(data.w), size(data.bias), size(data.residual))


def lipschitz(problem: ConvProblem) -> float:
    """Largest derivative of the problem's activation."""
    return max(abs(problem.slope), LIPSCHITZ.get(problem.activation or "", 1.0))


def tolerance(problem: ConvProblem, data: Data, algorithm: Algorithm, expected: np.ndarray) -> np.ndarray:
    """Largest permitted difference of each output: the algorithm's own bound, through the activation."""
    bound = (
        algorithm.error_bound(problem) * magnitude(problem, data, algorithm.error_reach(problem)) * lipschitz(problem)
    )
    if problem.activation is not None:
        bound = bound + ACTIVATION_ULPS * EPSILON[problem.dtype] * (np.abs(expected) + 2.0**-100)
    # the result is rounded to its type once more
    return bound + EPSILON[problem.dtype] * np.abs(expected)


def compare(result: np.ndarray, expected: np.ndarray, allowed: np.ndarray | float, dtype: np.dtype) -> None:
    """Raise AssertionError unless result is expected within allowed, NaN and infinities in the same places."""
    assert isinstance(result, np.ndarray), f"not an array but {type(result).__name__}"
    assert result.shape == expected.shape, f"shape {result.shape}, expected {expected.shape}"
    assert result.dtype == dtype, f"dtype {result.dtype}, expected {dtype}"
    got = result.astype(np.float64)
    with np.errstate(over="ignore"):
        target = expected.astype(dtype).astype(np.float64)  # what overflows the type is infinite in it
    for kind, where in (("NaN", np.isnan), ("+Inf", np.isposinf), ("-Inf", np.isneginf)):
        differs = where(got) != where(target)
        assert not differs.any(), f"{kind} in the wrong places: {np.argwhere(differs)[:5].tolist()}"
    finite = np.isfinite(target)
    difference = np.abs(np.where(finite, got, 0) - np.where(finite, expected, 0))
    limit = np.broadcast_to(np.asarray(allowed, dtype=np.float64), difference.shape)
    wrong = finite & ~(difference <= limit)
    if wrong.any():
        worst = np.unravel_index(np.argmax(np.where(wrong, difference - limit, -1)), difference.shape)
        raise AssertionError(
            f"{int(wrong.sum())} of {wrong.size} outputs are wrong; worst at {tuple(map(int, worst))}: "
            f"{got[worst]!r}, expected {float(expected[worst])!r} +- {float(limit[worst])!r}"
        )
