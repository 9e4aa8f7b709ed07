"""Calls that are bound to their arrays: the same answers as calls, whatever the arrays' elements have become."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import pyconv
from pyconv.prepare import bind


def rand(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def is_bare(function: Any) -> bool:
    """Whether a bound call is the kernel's runner, with nothing of pyconv's checks around it."""
    return (
        isinstance(function, partial)
        and getattr(function.func, "__name__", "").startswith("run")
        and not function.keywords
    )


CALLS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "conv2d": (pyconv.conv2d, (rand(2, 3, 8, 9), rand(4, 3, 3, 3)), {"padding": 1, "activation": "relu"}),
    "max_pool2d": (pyconv.max_pool2d, (rand(2, 3, 8, 9), 2), {}),
    "avg_pool2d": (pyconv.avg_pool2d, (rand(2, 3, 8, 9), 3, 2), {"padding": 1}),
    "adaptive_avg_pool2d": (pyconv.adaptive_avg_pool2d, (rand(2, 3, 8, 9), 1), {}),
    "relu": (pyconv.relu, (rand(2, 3, 8, 9),), {}),
    "local_response_norm": (pyconv.local_response_norm, (rand(2, 7, 8, 9), 5), {}),
    "interpolate": (pyconv.interpolate, (rand(2, 3, 4, 5), (8, 7)), {"mode": "bilinear"}),
    "linear": (pyconv.linear, (rand(4, 6), rand(5, 6)), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_bound_functions(name: str) -> None:
    function, arguments, settings = CALLS[name]
    x = arguments[0].copy()
    arguments = (x, *arguments[1:])
    out = np.full_like(function(*arguments, **settings), np.nan)
    bound = bind(function, *arguments, out=out, **settings)
    assert is_bare(bound)
    for seed in range(3):
        x[...] = rand(*x.shape, seed=seed)
        bound()
        np.testing.assert_array_equal(out, function(*arguments, **settings))


@pytest.mark.parametrize("residual", [False, True])
def test_bound_convolutions(residual: bool) -> None:
    f = pyconv.prepare(pyconv.conv2d, rand(4, 3, 3, 3), rand(4), padding=1, activation="relu")
    x, other = rand(1, 3, 8, 9), rand(1, 4, 8, 9, seed=1)
    out = np.empty((1, 4, 8, 9), np.float32)
    extra: dict[str, Any] = {"residual": other} if residual else {}
    bound = f.bind(x, out, *extra.values())  # type: ignore[attr-defined]
    assert is_bare(bound)
    for seed in range(3):
        x[...] = rand(*x.shape, seed=seed)
        other += 1
        bound()
        np.testing.assert_array_equal(out, f(x, **extra))


def test_parts_of_larger_arrays() -> None:
    """What a Concat without copies writes to."""
    f = pyconv.prepare(pyconv.conv2d, rand(4, 3, 3, 3), padding=1)
    x, whole = rand(2, 3, 8, 9), np.zeros((2, 10, 8, 9), np.float32)
    f.bind(x, whole[:, 3:7])()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(whole[:, 3:7], f(x))
    assert not whole[:, :3].any()
    assert not whole[:, 7:].any()


@pytest.mark.parametrize("case", ["unbatched", "overlapping", "empty", "byte order"])
def test_what_needs_more_than_a_kernel(case: str) -> None:
    f = pyconv.prepare(pyconv.conv2d, rand(3, 3, 3, 3), padding=1)
    x = {"unbatched": rand(3, 8, 9), "overlapping": rand(1, 3, 8, 9), "empty": rand(0, 3, 8, 9),
         "byte order": rand(1, 3, 8, 9).astype(">f4")}[case]  # fmt: skip
    expected = f(x.copy())
    out = x if case == "overlapping" else np.empty(x.shape, np.float32)
    bound = f.bind(x, out)  # type: ignore[attr-defined]
    assert not is_bare(bound)
    bound()
    np.testing.assert_array_equal(out, expected)


def test_a_copy_of_an_argument_is_not_kept() -> None:
    """roi_align computes with boxes in float64: a bound call must see new ones."""
    x, boxes = rand(1, 2, 8, 8), np.array([[0, 1, 1, 6, 6]], np.float32)
    out = np.empty((1, 2, 2, 2), np.float32)
    bound = bind(pyconv.roi_align, x, boxes, 2, out=out)
    for size in (6, 3):
        boxes[0, 3:] = size
        bound()
        np.testing.assert_array_equal(out, pyconv.roi_align(x, boxes, 2))


def test_other_functions_with_an_out() -> None:
    a, b, out = rand(3), rand(3, seed=1), np.empty(3, np.float32)
    bind(np.add, a, b, out=out)()
    np.testing.assert_array_equal(out, a + b)


def test_bound_linear_layers() -> None:
    f = pyconv.prepare(pyconv.linear, rand(5, 6), rand(5))
    for shape in ((4, 6), (2, 3, 6), (6,)):
        x = rand(*shape)
        out = np.empty((*shape[:-1], 5), np.float32)
        bound = f.bind(x, out)  # type: ignore[attr-defined]
        x += 1
        bound()
        np.testing.assert_array_equal(out, f(x))


def test_mistakes_are_told_when_binding() -> None:
    f = pyconv.prepare(pyconv.conv2d, rand(4, 3, 3, 3))
    with pytest.raises(pyconv.InvalidProblem, match="channels disagree"):
        f.bind(rand(1, 2, 8, 8), np.empty((1, 4, 6, 6), np.float32))  # type: ignore[attr-defined]
    with pytest.raises(pyconv.InvalidProblem, match="output's shape"):
        f.bind(rand(1, 3, 8, 8), np.empty((1, 4, 6, 7), np.float32))  # type: ignore[attr-defined]
    g = pyconv.prepare(pyconv.conv_transpose2d, rand(3, 4, 3, 3))
    with pytest.raises(TypeError, match="takes no residual"):
        g.bind(rand(1, 3, 8, 8), np.empty((1, 4, 10, 10), np.float32), rand(1, 4, 10, 10))()  # type: ignore[attr-defined]
