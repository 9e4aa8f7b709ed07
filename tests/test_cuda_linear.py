"""The GPU kernels of linear layers and their gradients, on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import test_small_layers
from checker import DTYPES, EPSILON, compare
from cuda_device import OnGpu, able, forget, gpu, ran
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import InvalidProblem, LinearProblem, reference
from pyconv.kernels.cuda import implicit_gemm
from pyconv.ops import call

__all__ = ["gpu"]

ARGUMENTS = ("x", "w", "bias")
#: rows, c_in, c_out: tiles and less
SIZES = ((21, 9, 5), (9, 4, 17), (1, 1, 1))
#: sums of more terms than a block has threads
LONG = {"": (3, 140, 2), "x": (3, 2, 140), "w": (140, 3, 2), "bias": (140, 3, 2)}
NOTHING = ((5, 0, 3), (0, 4, 3), (4, 3, 0))
FAMILIES = {"": {"dot", "direct"}, "x": {"dot", "direct"}, "w": {"dot", "direct"}, "bias": {"pairwise"}}


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of which a small problem has several."""
    monkeypatch.setattr(implicit_gemm, "TILES", {"16x32": implicit_gemm.Tile(16, 32, 8, 4, 4)})
    monkeypatch.setattr(implicit_gemm, "TENSOR_TILES", {"16x32": implicit_gemm.Tile(16, 32, 8, 2, 8)})
    call.plan_for.cache_clear()


def make(problem: LinearProblem, integers: bool) -> dict[str, np.ndarray]:
    """Every array of a layer, of which a gradient looks at some."""
    rng, dtype = np.random.default_rng(1), DTYPES[problem.dtype]
    shapes = {"x": problem.x_shape, "w": problem.w_shape, "bias": (problem.c_out,), "grad_output": problem.out_shape}
    return {
        name: (rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)).astype(dtype)
        for name, shape in shapes.items()
    }


def compute(problem: LinearProblem, arrays: dict[str, Any], algorithm: str, out: Any = None) -> Any:
    forward = arrays["x"], arrays["w"], arrays["bias"]
    if not problem.argument:
        return pyconv.linear(*forward[: 3 if problem.bias else 2], out=out, algorithm=algorithm)
    mask = tuple(name == problem.argument for name in ARGUMENTS)
    outs = tuple(out if wanted else None for wanted in mask)
    found = pyconv.grad.linear(arrays["grad_output"], *forward, output_mask=mask, out=outs, algorithm=algorithm)
    return found[mask.index(True)]


def check(problem: LinearProblem, integers: bool) -> set[str]:
    """Run every kernel that takes the problem into a poisoned output; return their families."""
    arrays = make(problem, integers)
    used = dict(arrays) if problem.bias or problem.argument else arrays | {"bias": None}
    expected = reference.linear(problem, used)
    (size,) = test_small_layers.magnitudes(problem, arrays, [expected])
    there = {name: OnGpu(a) for name, a in arrays.items()}
    for algorithm in (found := able(problem)):
        forget()
        out = OnGpu(np.full(expected.shape, np.nan, DTYPES[problem.dtype]))
        assert compute(problem, there, algorithm.id, out) is out
        assert ran(algorithm) or not expected.size
        allowed = algorithm.error_bound(problem) * size + EPSILON[problem.dtype] * np.abs(expected)
        compare(out.array, expected, allowed, out.array.dtype)
        if integers:
            np.testing.assert_array_equal(out.array, expected.astype(out.array.dtype))
    return {algorithm.family for algorithm in found}


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("argument", ["", *ARGUMENTS])
@pytest.mark.parametrize("size", [*SIZES, None], ids=str)
def test_every_kernel(size: tuple[int, int, int] | None, argument: str, integers: bool) -> None:
    size = size or LONG[argument]
    dtype = ("f32", "f64", "f16")[(size[0] + len(argument) + integers) % 3]
    assert check(LinearProblem(*size, argument, argument in ("", "bias"), dtype), integers) >= FAMILIES[argument]


def test_products_on_tiles() -> None:
    for argument in ("", "x"):
        found = check(LinearProblem(33, 10, 17, argument), integers=True)
        assert found == {"direct", "dot", "implicit-gemm", "implicit-gemm-tf32"}


@pytest.mark.parametrize("argument", ["", *ARGUMENTS])
@pytest.mark.parametrize("size", NOTHING, ids=str)
def test_sums_without_terms_are_zero(size: tuple[int, int, int], argument: str) -> None:
    assert check(LinearProblem(*size, argument, argument == ""), integers=True) == {
        "pairwise" if argument == "bias" else "dot"
    }


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    size=st.tuples(*(st.integers(1, 9) for _ in range(3))),
    argument=st.sampled_from(("", *ARGUMENTS)),
    dtype=st.sampled_from(("f32", "f64", "f16")),
    bias=st.booleans(),
)
def test_drawn(size: tuple[int, int, int], argument: str, dtype: str, bias: bool) -> None:
    check(LinearProblem(*size, argument, bias and argument == "", dtype), integers=True)


def test_any_shape_and_strides() -> None:
    """One row, several axes of rows, rows apart from each other; results like them, into memory of the caller's."""
    rng = np.random.default_rng(0)
    draw: Any = lambda *shape: rng.integers(-3, 4, shape).astype(np.float32)  # noqa: E731
    w, bias = draw(4, 6), draw(4)
    there = OnGpu(w), OnGpu(bias)
    for x in (draw(6), draw(2, 3, 6), draw(2, 3, 12)[..., ::2], draw(3, 9)[::-1, :6], draw(6, 2).T):
        result = pyconv.linear(OnGpu(x), *there)
        np.testing.assert_array_equal(result.array, pyconv.linear(x, w, bias))
        g = draw(*result.array.shape)
        found = pyconv.grad.linear(OnGpu(g), OnGpu(x), *there)
        for got, expected in zip(found, pyconv.grad.linear(g, x, w, bias), strict=True):
            np.testing.assert_array_equal(got.array, expected)
        out = OnGpu(np.full(x.shape, np.nan, np.float32))
        assert pyconv.grad.linear(OnGpu(g), OnGpu(x), *there, out=(out, None, None))[0] is out
        np.testing.assert_array_equal(out.array, pyconv.grad.linear(g, x, w, bias)[0])
    turned = OnGpu(np.ascontiguousarray(w.T).T)
    np.testing.assert_array_equal(pyconv.linear(OnGpu(x), turned, algorithm="dot").array, pyconv.linear(x, w))
    with pytest.raises(InvalidProblem, match="x in GPU memory must have rows in equal steps"):
        pyconv.linear(OnGpu(draw(3, 2, 6).transpose(1, 0, 2)), *there)
    with pytest.raises(InvalidProblem, match="out must have the output's shape"):
        pyconv.linear(OnGpu(x), *there, out=OnGpu(draw(3, 4)))
    for mixed in ((OnGpu(x), w), (x, there[0]), (OnGpu(x), there[0], bias)):
        with pytest.raises(TypeError, match="all arrays must be in one memory"):
            pyconv.linear(*mixed)


def test_few_rows_are_summed_where_they_lie() -> None:
    def chosen(rows: int) -> str:
        x, w = np.broadcast_to(np.float32(1), (rows, 4096)), np.broadcast_to(np.float32(1), (4096, 4096))
        return pyconv.explain(pyconv.linear, OnGpu(x), OnGpu(w)).algorithm

    assert chosen(1) == chosen(8) == "linear.dot.f32@cuda"
    assert chosen(1024) == "linear.implicit-gemm.f32@cuda"
