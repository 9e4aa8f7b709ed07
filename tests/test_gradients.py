"""pyconv.grad of convolutions and transposed convolutions as a user calls it: values, masks, epilogues, errors."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import InvalidProblem

CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
TRANSPOSED = {1: pyconv.conv_transpose1d, 2: pyconv.conv_transpose2d, 3: pyconv.conv_transpose3d}
GRAD_CONV = {1: pyconv.grad.conv1d, 2: pyconv.grad.conv2d, 3: pyconv.grad.conv3d}
GRAD_TRANSPOSED = {
    1: pyconv.grad.conv_transpose1d,
    2: pyconv.grad.conv_transpose2d,
    3: pyconv.grad.conv_transpose3d,
}


def numeric(f: Callable[[], np.ndarray], argument: np.ndarray, grad_output: np.ndarray) -> np.ndarray:
    """Central differences of <grad_output, f()> with respect to an argument that f reads."""
    found, step = np.empty_like(argument), 1e-5
    for index in np.ndindex(argument.shape):
        kept = argument[index]
        sides = []
        for sign in (1, -1):
            argument[index] = kept + sign * step
            sides.append(np.vdot(grad_output, f()))
        argument[index] = kept
        found[index] = (sides[0] - sides[1]) / (2 * step)
    return found


ACTIVATIONS = (None, "relu", "relu6", ("leaky_relu", 0.3), ("elu", 0.7), "sigmoid", "tanh", "silu", "hardswish")


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_against_central_differences(rank: int, activation: object) -> None:
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((2, 4, *(5, 4, 3)[:rank]))
    w = rng.standard_normal((6, 2, *(3, 2, 2)[:rank]))
    bias = rng.standard_normal(6)
    window = {"stride": 2, "padding": 1, "groups": 2, "activation": activation}
    forward = CONV[rank](x, w, bias, **window)
    grad_output = rng.standard_normal(forward.shape)
    found = GRAD_CONV[rank](grad_output, x, w, bias, **window)
    for gradient, argument in zip(found, (x, w, bias), strict=True):
        assert gradient is not None
        expected = numeric(lambda: CONV[rank](x, w, bias, **window), argument, grad_output)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_against_central_differences(rank: int, activation: str | None) -> None:
    rng = np.random.default_rng(rank)
    x = rng.standard_normal((2, 4, *(4, 3, 2)[:rank]))
    w = rng.standard_normal((4, 3, *(3, 2, 3)[:rank]))
    bias = rng.standard_normal(6)
    window = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "activation": activation}
    forward = TRANSPOSED[rank](x, w, bias, **window)
    grad_output = rng.standard_normal(forward.shape)
    found = GRAD_TRANSPOSED[rank](grad_output, x, w, bias, **window)
    for gradient, argument in zip(found, (x, w, bias), strict=True):
        assert gradient is not None
        expected = numeric(lambda: TRANSPOSED[rank](x, w, bias, **window), argument, grad_output)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6)


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, dict[str, object], tuple[np.ndarray, np.ndarray]]:
    """A convolution of small integers: its rank, settings, and x and w in float64."""
    rank = draw(st.sampled_from((1, 2, 3)))
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    kernel = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    stride = tuple(draw(st.integers(1, 3)) for _ in range(rank))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(rank))
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(rank))
    sizes = tuple(d * (k - 1) + 1 + draw(st.integers(0, 4)) for k, d in zip(kernel, dilation, strict=True))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-3, 4, (draw(st.integers(1, 2)), groups * draw(st.integers(1, 3)), *sizes)).astype(float)
    w = rng.integers(-3, 4, (groups * draw(st.integers(1, 3)), x.shape[1] // groups, *kernel)).astype(float)
    mode = draw(st.sampled_from(("zeros", "zeros", "reflect", "replicate", "circular", "symmetric")))
    settings_ = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    return rank, settings_, (x, w)


@settings(max_examples=80)
@given(drawn=windows())
def test_both_identities(drawn: tuple[int, dict[str, object], tuple[np.ndarray, np.ndarray]]) -> None:
    """<conv(x, w), y> = <x, grad_x(y)> = <w, grad_w(y)>, and a bias adds <bias, grad_bias(y)>: exactly."""
    rank, window, (x, w) = drawn
    direct = CONV[rank](x, w, algorithm="direct", **window)
    y = np.random.default_rng(1).integers(-3, 4, direct.shape).astype(float)
    bias = np.arange(w.shape[0], dtype=float)
    with pyconv.options(accuracy="strict"):
        gx, gw, gb = GRAD_CONV[rank](y, x, w, bias, **window)
    assert gx is not None
    assert gw is not None
    assert gb is not None
    assert (gx.shape, gw.shape, gb.shape) == (x.shape, w.shape, bias.shape)
    assert np.vdot(direct, y) == np.vdot(x, gx) == np.vdot(w, gw)
    assert np.vdot(bias, gb) == sum(bias[o] * y[:, o].sum() for o in range(len(bias)))


@pytest.mark.parametrize("mask", list(itertools.product((True, False), repeat=3)), ids=str)
def test_output_mask_and_out(mask: tuple[bool, bool, bool]) -> None:
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((2, 3, 6, 7)).astype("f"), rng.standard_normal((4, 3, 3, 3)).astype("f")
    bias, y = np.zeros(4, "f"), rng.standard_normal((2, 4, 6, 7)).astype("f")
    every = pyconv.grad.conv2d(y, x, w, bias, padding=1)
    found = pyconv.grad.conv2d(y, x, w, bias, padding=1, output_mask=mask)
    outs = tuple(np.full_like(a, np.nan) for a in (x, w, bias))
    written = pyconv.grad.conv2d(y, x, w, bias, padding=1, output_mask=mask, out=outs)
    for wanted, whole, one, out, into in zip(mask, every, found, outs, written, strict=True):
        assert (one is None) == (not wanted)
        if wanted:
            np.testing.assert_array_equal(one, whole)
            assert into is out
            np.testing.assert_array_equal(out, whole)
        else:
            assert np.isnan(out).all()


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unbatched_and_without_bias(rank: int) -> None:
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((3, *(6,) * rank)), rng.standard_normal((4, 3, *(3,) * rank))
    y = rng.standard_normal((4, *(4,) * rank))
    batched = GRAD_CONV[rank](y[None], x[None], w)
    found = GRAD_CONV[rank](y, x, w)
    assert found[0] is not None
    assert batched[0] is not None
    np.testing.assert_array_equal(found[0], batched[0][0])
    np.testing.assert_array_equal(found[1], batched[1])
    assert found[2] is None
    back = GRAD_TRANSPOSED[rank](x, y, w)
    np.testing.assert_array_equal(back[0], GRAD_TRANSPOSED[rank](x[None], y[None], w)[0][0])


def test_residuals_take_part_in_the_activation() -> None:
    rng = np.random.default_rng(6)
    x, w, y = rng.standard_normal((1, 2, 5, 5)), rng.standard_normal((3, 2, 3, 3)), rng.standard_normal((1, 3, 3, 3))
    residual = rng.standard_normal(y.shape)
    found = pyconv.grad.conv2d(y, x, w, residual=residual, activation="relu")
    masked = np.where(pyconv.conv2d(x, w) + residual > 0, y, 0)
    for a, b in zip(found[:2], pyconv.grad.conv2d(masked, x, w)[:2], strict=True):
        np.testing.assert_array_equal(a, b)


def test_weight_gradients_have_the_same_bits_for_any_number_of_threads() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((4, 32, 20, 20)).astype("f"), rng.standard_normal((48, 32, 3, 3)).astype("f")
    y, bias = rng.standard_normal((4, 48, 20, 20)).astype("f"), np.zeros(48, "f")
    results = []
    for threads in (1, 2, 3, 5, 8):
        with pyconv.options(threads=threads):
            results.append(pyconv.grad.conv2d(y, x, w, bias, padding=1))
    for other in results[1:]:
        for a, b in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(a, b)


def test_they_can_be_explained_and_forced() -> None:
    y, x, w = (1, 8, 6, 6), (1, 4, 6, 6), (8, 4, 3, 3)
    for i, name in enumerate(("x", "w")):
        mask = tuple(i == j for j in range(3))
        answer = pyconv.explain(pyconv.grad.conv2d, y, x, w, padding=1, output_mask=mask)
        assert answer.algorithm.startswith(f"conv2d-grad-{name}.")
    arrays = [np.ones(shape, np.float32) for shape in (y, x, w)]
    with pytest.raises(pyconv.Unsupported, match="needs"):
        pyconv.grad.conv2d(*arrays, padding=1, algorithm="depthwise")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grad_output": np.ones((1, 8, 5, 6))}, "grad_output must have the output's shape"),
        ({"x": np.ones((1, 5, 6, 6))}, "channels disagree"),
        ({"output_mask": (True, False)}, "output_mask must have 3 entries"),
        ({"w": np.ones((8, 4, 3))}, "w must have 4 axes"),
        ({"activation": "swish"}, "activation must be None, one of"),
    ],
)
def test_bad_input(changes: dict[str, object], message: str) -> None:
    arguments = {
        "grad_output": np.ones((1, 8, 6, 6)),
        "x": np.ones((1, 4, 6, 6)),
        "w": np.ones((8, 4, 3, 3)),
        "padding": 1,
    } | changes
    with pytest.raises(InvalidProblem, match=message):
        pyconv.grad.conv2d(**arguments)


def test_bad_input_of_transposed() -> None:
    x, w = np.ones((1, 4, 5, 5)), np.ones((4, 3, 2, 2))
    with pytest.raises(InvalidProblem, match="grad_output must have the output's shape"):
        pyconv.grad.conv_transpose2d(np.ones((1, 3, 9, 10)), x, w, stride=2)
    with pytest.raises(InvalidProblem, match="output_padding must be smaller"):
        pyconv.grad.conv_transpose2d(np.ones((1, 3, 12, 12)), x, w, stride=2, output_padding=2)


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    for stride, padding, dilation, groups in ((1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 1), (2, 0, 1, 4), (1, 1, 1, 8)):
        x, w = rng.standard_normal((2, 8, 11, 12)), rng.standard_normal((16, 8 // groups, 3, 3))
        bias = rng.standard_normal(16)
        tensors = [torch.from_numpy(a).requires_grad_() for a in (x, w, bias)]
        forward = torch.nn.functional.conv2d(*tensors, stride, padding, dilation, groups)
        y = rng.standard_normal(tuple(forward.shape))
        forward.backward(torch.from_numpy(y))
        found = pyconv.grad.conv2d(y, x, w, bias, stride, padding, dilation, groups)
        for gradient, tensor in zip(found, tensors, strict=True):
            np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-10, atol=1e-10)
