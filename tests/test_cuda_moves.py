"""The GPU kernels that move elements: unfold and fold, pixels out of channels and back; on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import test_lowering
import test_shuffle
from checker import compare, in_memory_order
from cuda_device import OnGpu, able, forget, gpu, ran
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, LoweringProblem, ShuffleProblem, Unsupported, reference
from pyconv.problem import DTYPES

__all__ = ["gpu"]

WINDOWS = (
    "n2c3h7w9-o1k3s1p1-f32",
    "n1c2h6w5-o1k3x2s2x1p1x0d1x2-f64",
    "n1c4h5w4-o1k2s2p0-f16-channels_last",
    "n1c3h5w5-o1k3s7p2-f32",  # gaps between windows
    "n1c2h1w9-o1k1x3s1p0x1-f16",
    "n1c2h4w4-o1k3s1p4d2-f32-channels_last",
    "n0c3h5w5-o1k3s1p1-f32",
)


def check_lowering(problem: LoweringProblem, integers: bool) -> None:
    x = test_lowering.make(problem, integers)
    expected = test_lowering.defined(problem, x)
    (algorithm,) = able(problem)
    conv = problem.conv
    operand = problem.outputs[0]
    out = OnGpu(in_memory_order(np.full(operand.shape, np.nan, x.dtype), operand.channels_last))
    forget()
    words = test_lowering.keywords(conv) | {"algorithm": algorithm.id, "out": out}
    if not problem.fold:
        assert pyconv.unfold(OnGpu(x), **words) is out
    else:
        forward = OnGpu(in_memory_order(np.zeros(conv.x_shape, x.dtype), conv.channels_last))
        assert pyconv.grad.unfold(OnGpu(x), forward, **words)[0] is out
    assert ran(algorithm) or not out.array.size
    allowed: Any = 0.0
    if problem.fold and not integers:
        allowed = algorithm.error_bound(problem) * test_lowering.defined(problem, np.abs(x))
        allowed = allowed + (2.0**-11 if problem.dtype == "f16" else 0) * np.abs(expected)
    compare(out.array, expected, allowed, x.dtype)


@pytest.mark.parametrize("fold", [False, True], ids=["unfold", "fold"])
@pytest.mark.parametrize("text", WINDOWS)
def test_windows_as_columns(text: str, fold: bool) -> None:
    for integers in (True, False):
        check_lowering(LoweringProblem(ConvProblem.parse(text), fold), integers)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_windows(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    axes = []
    for _ in range(2):
        k, s, d, pads = draw(1, 3), draw(1, 3), draw(1, 2), (draw(0, 2), draw(0, 2))
        size = max(1, d * (k - 1) + 1 - sum(pads)) + draw(0, 5)
        axes.append((size, k, s, pads, d))
    spatial, kernel, stride, padding, dilation = map(tuple, zip(*axes, strict=True))
    conv = ConvProblem(
        n=draw(1, 2), c_in=draw(1, 3), c_out=1, spatial=spatial, kernel=kernel, stride=stride, padding=padding,
        dilation=dilation, dtype=data.draw(st.sampled_from(("f32", "f64", "f16"))),
    )  # fmt: skip
    check_lowering(LoweringProblem(conv, data.draw(st.booleans())), integers=True)


def test_an_image_and_columns_of_any_strides() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (3, 10, 6)).astype(np.float32)[:, ::2, ::-1]
    columns = pyconv.unfold(OnGpu(x), 2).array
    np.testing.assert_array_equal(columns, pyconv.unfold(x, 2))
    turned = np.ascontiguousarray(columns.T).T
    np.testing.assert_array_equal(pyconv.fold(OnGpu(turned), (5, 6), 2).array, pyconv.fold(columns, (5, 6), 2))
    (back,) = pyconv.grad.fold(OnGpu(x), OnGpu(columns), (5, 6), 2)
    np.testing.assert_array_equal(back.array, columns)
    for function, arrays in ((pyconv.grad.unfold, (columns, OnGpu(x))), (pyconv.grad.unfold, (OnGpu(columns), x))):
        with pytest.raises(TypeError, match="all arrays must be in one memory"):
            function(*arrays, 2)


def test_what_is_moved_keeps_its_bits() -> None:
    """A NaN's bits too, which a conversion would make others of."""
    x = np.array([[[[0x7C01, 0x7E55], [0xFFFF, 0x0001]]]], np.uint16).view(np.float16)
    np.testing.assert_array_equal(pyconv.unfold(OnGpu(x), 1).array.view(np.uint16).ravel(), x.view(np.uint16).ravel())


SHUFFLES = (
    ((2,), 3, 5, 7, 2, False), ((1,), 2, 4, 3, 3, False), ((2,), 5, 2, 3, 2, True), ((), 2, 3, 4, 2, False),
    ((2, 3), 2, 2, 3, 2, False), ((2, 1, 2), 1, 2, 3, 4, False), ((3,), 4, 2, 3, 1, False), ((0,), 3, 4, 5, 2, False),
)  # fmt: skip


def check_shuffle(problem: ShuffleProblem, x: np.ndarray) -> None:
    (algorithm,) = able(problem)
    expected = reference.pixel_shuffle(problem, x)
    out = OnGpu(in_memory_order(np.full(expected.shape, 99, x.dtype), problem.channels_last))
    forget()
    function = getattr(pyconv, problem.op)
    assert function(OnGpu(x), problem.factor, out=out, algorithm=algorithm.id) is out
    assert ran(algorithm) or not x.size
    np.testing.assert_array_equal(out.array, expected)
    if problem.dtype.startswith("f"):
        (back,) = getattr(pyconv.grad, problem.op)(out, OnGpu(x), problem.factor)
        np.testing.assert_array_equal(back.array, x)


@pytest.mark.parametrize("gather", [False, True], ids=["shuffle", "unshuffle"])
@pytest.mark.parametrize("sizes", SHUFFLES, ids=str)
def test_pixels_out_of_channels_and_back(sizes: Any, gather: bool) -> None:
    for dtype in list(DTYPES.values())[len(sizes[0]) :: 4]:
        problem = ShuffleProblem(*sizes[:5], gather, dtype, sizes[5])
        check_shuffle(problem, test_shuffle.draw(problem.inputs[0].shape, dtype, problem.channels_last))


@pytest.mark.parametrize("dtype", DTYPES.values())
def test_elements_of_every_type(dtype: str) -> None:
    problem = ShuffleProblem((1,), 1, 2, 2, 2, False, dtype)
    check_shuffle(problem, test_shuffle.draw(problem.inputs[0].shape, dtype))


def test_any_strides_and_many_axes() -> None:
    x = test_shuffle.draw((2, 6, 8, 6), "f32")[:, ::-1, :4, ::2]
    out = OnGpu(np.zeros((2, 24, 2, 1), np.float32)[..., ::-1, :])
    with pytest.raises(pyconv.InvalidProblem, match="multiples of downscale_factor"):
        pyconv.pixel_unshuffle(OnGpu(x), 2, out=out)
    x = x[..., :2]
    assert pyconv.pixel_unshuffle(OnGpu(x), 2, out=out) is out
    np.testing.assert_array_equal(out.array, pyconv.pixel_unshuffle(x, 2))
    with pytest.raises(Unsupported, match="at most 3 axes in front of the channels"):
        pyconv.pixel_shuffle(OnGpu(np.ones((1, 1, 1, 1, 4, 1, 1), np.float32)), 2)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.grad.pixel_shuffle(out, x, 2)
