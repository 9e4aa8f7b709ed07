"""The GPU kernels of transposed convolutions and of convolutions' gradients, on the emulator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import test_conv_grad
import test_conv_transpose
from cases import transposed_problems
from checker import DTYPES, compare
from cuda_device import EmulatedGpu, OnGpu, forget, gpu, ran, there
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvBiasProblem, ConvWeightProblem, TransposedProblem, reference, registry
from pyconv.backends import cuda_winograd
from pyconv.ops.call import run
from pyconv.ops.conv_grad import bias_request

__all__ = ["gpu"]

TRANSPOSED = (
    ("conv_transpose2d", "n2c3h4w3-o5k3x2s2x3p1x0d1x2+1x0-f32-bias-relu"),
    ("conv_transpose2d", "n1c4h5w4-o6k4s2p1g2-f64-bias-silu"),
    ("conv_transpose2d", "n1c2h3w4-o3k2s3p0-f16-bias"),  # pixels that no tap reaches
    ("conv_transpose2d", "n1c3h4w5-o9k3s4p1d3+2-f32-channels_last"),
    ("conv_transpose1d", "n2c3w7-o2k5s3p2d2-f32-elu=0.5"),
    ("conv_transpose3d", "n1c2d2h3w2-o3k2x3x2s2x1x3p0x1x0-f32"),
    ("conv2d-grad-x", "n2c5h4w3-o3k3s2p1+1-f32"),
    ("conv2d-grad-x", "n1c6h5w5-o4k3s1p1g2-f16"),
    ("conv1d-grad-x", "n1c2w3-o1k1s3p0+2-f64"),
)


def check_transposed(problem: TransposedProblem, integers: bool, family: str = "direct") -> None:
    arrays = test_conv_transpose.make_arrays(problem, integers)
    algorithm = registry.find(f"{problem.op}.{family}.{problem.dtype}@cuda")
    forget()
    result = test_conv_transpose.run(problem, tuple(map(there, arrays)), algorithm.id).array
    assert ran(algorithm) or not result.size
    with np.errstate(all="ignore"):
        expected = reference.conv_transpose(problem, *arrays)
        allowed = test_conv_transpose.tolerance(problem, arrays, algorithm, expected)
    compare(result, expected, allowed, result.dtype)
    if integers and family == "direct" and problem.activation in (None, "relu"):
        np.testing.assert_array_equal(result, expected.astype(result.dtype))


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize(("op", "text"), TRANSPOSED)
def test_transposed(op: str, text: str, integers: bool) -> None:
    check_transposed(TransposedProblem.parse(op, text), integers)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_transposed(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(("f32", "f64")))
    problem = data.draw(transposed_problems(dtype, None, depthwise=False))
    assume(problem.flops < 60_000 and problem.c_in)
    mode = data.draw(st.sampled_from(("zeros", "reflect", "symmetric", "replicate", "circular")))
    if mode != "zeros":
        problem = test_conv_transpose.as_gradient(problem, padding_mode=mode) or problem
        assume(math.prod(size + sum(p) for size, p in zip(problem.out_spatial, problem.padding, strict=True)) < 400)
    check_transposed(problem, integers=True)


@pytest.mark.parametrize("family", cuda_winograd.FAMILIES)
@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("conv_transpose2d", "n2c3h5w6-o4k3s1p1-f32-bias-relu"),
        ("conv_transpose2d", "n1c4h4w5-o6k3s1p0g2-f64-bias-silu"),
        ("conv2d-grad-x", "n2c5h4w7-o3k3s1p2x1-f32"),
        ("conv2d-grad-x", "n1c4h5w5-o2k3s1p1g2-f16-channels_last"),
    ],
)
def test_transposed_by_winograd(op: str, text: str, family: str) -> None:
    check_transposed(TransposedProblem.parse(op, text), integers=False, family=family)


def test_winograd_refuses_strides_and_cropped_gradients() -> None:
    algorithm = registry.find("conv2d-grad-x.winograd-f2x3.f32@cuda")
    for text in ("n2c5h4w7-o3k3s2p1-f32", "n2c5h4w7-o3k3s1p3-f32"):
        assert "needs stride 1" in algorithm.supports(TransposedProblem.parse("conv2d-grad-x", text)).reason


@pytest.mark.parametrize("family", ["direct", *cuda_winograd.FAMILIES])
def test_infinite_weights_of_stride_1_meet_no_zeros(family: str) -> None:
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((2, 3, 3, 3), np.float32)
    w[0, 1, 0, 2], w[1, 2, 1, 1] = np.inf, -np.inf
    result = pyconv.conv_transpose2d(OnGpu(x), OnGpu(w), algorithm=f"conv_transpose2d.{family}.f32@cuda").array
    np.testing.assert_allclose(result, pyconv.conv_transpose2d(x, w, algorithm="direct"), rtol=1e-5)


def test_infinite_weights_meet_no_zeros() -> None:
    x, w = np.ones((1, 1, 2, 2), np.float32), np.array([[[[np.inf, 1], [1, 1]]]], np.float32)
    result = pyconv.conv_transpose2d(OnGpu(x), OnGpu(w), stride=2).array
    np.testing.assert_array_equal(result, pyconv.conv_transpose2d(x, w, stride=2))
    assert np.isfinite(result).sum() == 12


WEIGHTS = (
    ("conv2d-grad-w", "n2c3h6w5-o4k3x2s2x1p1x0-f32"),
    ("conv2d-grad-w", "n1c4h5w7-o6k3s1p1d2g2-f64"),
    ("conv2d-grad-w", "n3c2h9w9-o70k3s1p1-f32"),  # two tiles of channels, two parts would be 512 pixels
    ("conv2d-grad-w", "n2c8h4w5-o3k3s1p1-f16-channels_last"),
    ("conv1d-grad-w", "n2c2w300-o2k3s1p0-f32"),  # three parts
    ("conv3d-grad-w", "n1c2d3h4w3-o2k2s1p0-f32"),
    ("conv_transpose2d-grad-w", "n2c3h7w6-o4k3s2p1-f32"),
)


@pytest.mark.parametrize(
    ("op", "text", "integers"),
    [pytest.param(*row, True, id=f"{'-'.join(row)}-integers") for row in WEIGHTS]
    + [pytest.param(*row, False, id=f"{'-'.join(row)}-normal") for row in (*WEIGHTS[:2], WEIGHTS[3], WEIGHTS[-1])],
)
def test_weights(op: str, text: str, integers: bool) -> None:
    problem = ConvWeightProblem.parse(op, text)
    arrays = test_conv_grad.make(problem, integers, 0)
    algorithm = registry.find(f"{op}.direct.{problem.dtype}@cuda")
    forget()
    (result,) = run(test_conv_grad.request_of(problem, *map(OnGpu, arrays)), (None,), algorithm.id)
    assert ran(algorithm)
    expected = reference.conv_grad_w(problem, *arrays)
    if integers:
        np.testing.assert_array_equal(result.array, expected.astype(result.array.dtype))
    compare(result.array, expected, test_conv_grad.tolerance(problem, algorithm, arrays, expected), result.array.dtype)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("conv2d-grad-bias", "n3c2h5w7-f32"),
        ("conv1d-grad-bias", "n2c3w3000-f16"),
        ("conv_transpose3d-grad-bias", "n1c4d2h3w2-f64"),
    ],
)
def test_bias(op: str, text: str) -> None:
    problem = ConvBiasProblem.parse(op, text)
    g = np.random.default_rng(0).integers(-3, 4, problem.inputs[0].shape).astype(DTYPES[problem.dtype])
    algorithm = registry.find(f"{op}.pairwise.{problem.dtype}@cuda")
    forget()
    (result,) = run(bias_request(problem.rank, OnGpu(g), transposed=problem.transposed), (None,), algorithm.id)
    assert ran(algorithm)
    np.testing.assert_array_equal(result.array, reference.conv_grad_bias(g).astype(g.dtype))


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_all_gradients_at_once(name: str) -> None:
    """As on the host, of arrays with strides of any kind, into outputs of the caller's."""
    rng = np.random.default_rng(1)
    draw: Any = lambda *shape: rng.integers(-3, 4, shape).astype(np.float32)  # noqa: E731
    x, w, bias = draw(2, 4, 6, 5), draw(4, 4, 3, 3), draw(4)
    more = {"stride": 2, "padding": 1} | ({"output_padding": 1} if "transpose" in name else {})
    g = draw(*getattr(pyconv, name)(x, w, bias, **more).shape)
    wide = np.zeros((*x.shape[:3], 10), np.float32)
    wide[..., ::2] = x
    outs = tuple(OnGpu(np.full_like(a, np.nan)) for a in (x, w, bias))
    found = getattr(pyconv.grad, name)(OnGpu(g), OnGpu(wide[..., ::2]), OnGpu(w), OnGpu(bias), out=outs, **more)
    expected = getattr(pyconv.grad, name)(g, x, w, bias, **more)
    for result, out, wanted in zip(found, outs, expected, strict=True):
        assert result is out
        np.testing.assert_array_equal(out.array, wanted)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        getattr(pyconv.grad, name)(OnGpu(g), OnGpu(x), w, **more)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        getattr(pyconv.grad, name)(g, OnGpu(x), OnGpu(w), **more)


@pytest.mark.parametrize("mode", ["reflect", "symmetric", "replicate", "circular"])
@pytest.mark.parametrize("family", ["direct", *cuda_winograd.FAMILIES])
def test_gradients_over_other_borders(mode: str, family: str, gpu: EmulatedGpu) -> None:
    """As the definition has them; into memory of any strides, and on axes that the border surrounds several times."""
    rng = np.random.default_rng(4)
    x, w = (rng.integers(-3, 4, shape).astype(np.float32) for shape in ((2, 2, 3, 5), (3, 2, 3, 3)))
    padding = (4, 1) if family == "direct" else (1, 2)
    g = rng.integers(-3, 4, pyconv.conv2d(x, w, padding=padding).shape).astype(np.float32)
    words = {"padding": padding, "padding_mode": mode}
    out = OnGpu(np.full((5, 3, 2, 2), np.nan, np.float32).transpose())
    gpu.kernels.discard("border.fold")
    found = pyconv.grad.conv2d(
        OnGpu(g), OnGpu(x), OnGpu(w), output_mask=(True, False, False), out=(out, None, None),
        algorithm=(f"conv2d-grad-x.{family}.f32@cuda", "auto", "auto"), **words,
    )  # fmt: skip
    assert "border.fold" in gpu.kernels
    expected = pyconv.grad.conv2d(g, x, w, output_mask=(True, True, False), algorithm="reference", **words)
    assert found[0] is out
    tolerance = 0 if family == "direct" else 1e-5
    np.testing.assert_allclose(out.array, expected[0], rtol=tolerance, atol=20 * tolerance)
    (weights,) = (a for a in pyconv.grad.conv2d(OnGpu(g), OnGpu(x), OnGpu(w), output_mask=(False, True, False), **words)
                  if a is not None)  # fmt: skip
    np.testing.assert_array_equal(weights.array, expected[1])
