"""The GPU kernels of deformable convolution and its gradients, on the emulator."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import test_deform
from checker import compare, in_memory_order
from cuda_device import OnGpu, able, forget, gpu, ran, there
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, DeformProblem
from pyconv.kernels.cuda import implicit_gemm
from pyconv.ops import call

__all__ = ["gpu"]

PROBLEMS = (
    "n1c3h5w6-o5k3s1p1-f32-bias-og1-mask",
    "n2c2h4w5-o3k2s1p0-f64-og1",
    "n1c18h3w3-o2k2s1p1-f32-og2-mask",  # channels of several threads
    "n1c6h4w5-o4k3x2s2x1p2:0x1:1d1x2g2-f16-bias-og3-mask",
    "n1c4h4w5-o6k3s1p1g2-f32-channels_last-bias-og2",
    "n1c2h3w4-o3k1s2p2-f16-og1-mask",
)
EMPTY = test_deform.EMPTY


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of which a small problem has several."""
    monkeypatch.setattr(implicit_gemm, "TILES", {"16x32": implicit_gemm.Tile(16, 32, 8, 4, 4)})
    call.plan_for.cache_clear()


def check(problem: DeformProblem, exact: bool, arrays: dict[str, Any] | None = None) -> None:
    """Run into poisoned outputs; prove who ran; compare."""
    arrays = test_deform.make(problem, exact) if arrays is None else arrays
    expected = test_deform.expected_of(problem, arrays)
    (algorithm,) = able(problem)
    outs = tuple(
        OnGpu(in_memory_order(np.full(a.shape, np.nan, test_deform.NUMPY[a.dtype]), a.channels_last))
        for a in problem.outputs
    )
    forget()
    given = {name: there(array) for name, array in arrays.items()}
    results = test_deform.compute(problem, given, algorithm.id, outs)
    assert all(result is out for result, out in zip(results, outs, strict=True))
    assert ran(algorithm) or 0 in problem.outputs[0].shape
    every = test_deform.allowed_of(problem, arrays, algorithm, expected)
    for out, value, allowed in zip(outs, expected, every, strict=True):
        compare(out.array, value, allowed, out.array.dtype)
        if exact and not np.isnan(value).any():
            np.testing.assert_array_equal(out.array, value.astype(out.array.dtype))


@pytest.mark.parametrize("exact", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("text", PROBLEMS)
def test_convolution_and_every_gradient(text: str, exact: bool) -> None:
    for problem in test_deform.problems_of(text):
        check(problem, exact)


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_to_sum(text: str) -> None:
    for problem in test_deform.problems_of(text):
        check(problem, exact=True)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    axes = []
    for _ in range(2):
        k, s, d, pads = draw(1, 3), draw(1, 2), draw(1, 2), (draw(0, 2), draw(0, 2))
        axes.append((max(1, d * (k - 1) + 1 - sum(pads)) + draw(0, 3), k, s, pads, d))
    spatial, kernel, stride, padding, dilation = map(tuple, zip(*axes, strict=True))
    groups, offset_groups = draw(1, 2), draw(1, 2)
    conv = ConvProblem(
        n=1, c_in=2 * draw(1, 2), c_out=groups * draw(1, 2), spatial=spatial, kernel=kernel, stride=stride,
        padding=padding, dilation=dilation, groups=groups, dtype=data.draw(st.sampled_from(("f32", "f64", "f16"))),
    )  # fmt: skip
    text = str(DeformProblem(conv, offset_groups, data.draw(st.booleans())))
    check(data.draw(st.sampled_from(test_deform.problems_of(text))), exact=True)


def test_places_far_away_and_no_numbers() -> None:
    """What is on no map is zero, whatever the mask; places are exact where coordinates are large."""
    text = "n1c2h4w5-o2k1s1p0-f32-og1-mask"
    for problem in test_deform.problems_of(text):
        arrays = test_deform.make(problem, exact=True)
        flat = arrays["offset"].reshape(2, -1)
        flat[0, :6] = np.nan, np.inf, -np.inf, 1e30, -1.0, 2.0**30
        flat[1, :6] = 0, 0, 0, 0, 0, -1e9
        arrays["mask"].reshape(-1)[[0, 1, 4]] = np.nan, np.inf, np.nan
        check(problem, exact=True, arrays=arrays)


def test_all_gradients_at_once_and_strides() -> None:
    problem = DeformProblem.parse("deform_conv2d", "n2c4h4w5-o4k2s1p1g2-f32-bias-og2-mask")
    arrays = test_deform.make(problem, exact=True)
    g = np.random.default_rng(5).integers(-2, 3, problem.conv.out_shape).astype(np.float32)
    words = test_deform.window_of(problem)

    def strided(array: np.ndarray) -> np.ndarray:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
        wide[..., ::-2] = array
        return wide[..., ::-2]

    def gradients(change: Any) -> Any:
        there = {name: strided(a) if name in ("x", "offset", "mask") else a for name, a in arrays.items()}
        named = {name: change(a) for name, a in there.items() if a is not None}
        forward = (named[name] for name in ("x", "offset", "w", "bias"))
        return pyconv.grad.deform_conv2d(change(strided(g)), *forward, mask=named["mask"], **words)

    for result, expected in zip(gradients(OnGpu), gradients(lambda a: a), strict=True):
        np.testing.assert_array_equal(result.array, expected)
    given = [arrays[name] for name in ("x", "offset", "w")]
    for i in range(3):
        mixed = [OnGpu(a) if i != j else a for j, a in enumerate(given)]
        with pytest.raises(TypeError, match="all arrays must be in one memory"):
            pyconv.deform_conv2d(*mixed, **words)
