"""The course's names: its own plain loops say what they mean, and its network learns."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import pyconv
from pyconv.interop import cs231n
from pyconv.interop.cs231n import network as net

random = np.random.default_rng(231)


def conv_naive(x: np.ndarray, w: np.ndarray, b: np.ndarray, stride: int, pad: int) -> np.ndarray:
    """The assignment's conv_forward_naive, by its own description."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    hh, ww = w.shape[2:]
    rows, columns = (padded.shape[2] - hh) // stride + 1, (padded.shape[3] - ww) // stride + 1
    out = np.empty((len(x), len(w), rows, columns))
    for n, f, i, j in np.ndindex(out.shape):
        window = padded[n, :, i * stride : i * stride + hh, j * stride : j * stride + ww]
        out[n, f, i, j] = (window * w[f]).sum() + b[f]
    return out


def numeric(f: Any, x: np.ndarray, upstream: np.ndarray, h: float = 1e-5) -> np.ndarray:
    """The course's eval_numerical_gradient_array: central differences, x changed in place."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        old = x[index]
        x[index] = old + h
        above = f()
        x[index] = old - h
        below = f()
        x[index] = old
        gradient[index] = ((above - below) * upstream).sum() / (2 * h)
    return gradient


@pytest.mark.parametrize(("stride", "pad"), [(1, 1), (2, 1), (1, 0)])
def test_convolution_as_the_assignment_has_it(stride: int, pad: int) -> None:
    size = 7 if stride == 1 else 5
    x, w = random.standard_normal((2, 3, size, size)), random.standard_normal((4, 3, 3, 3))
    b = random.standard_normal(4)
    param = {"stride": stride, "pad": pad}
    out, cache = cs231n.conv_forward_fast(x, w, b, param)
    np.testing.assert_allclose(out, conv_naive(x, w, b, stride, pad), atol=1e-12)
    dout = random.standard_normal(out.shape)
    for found, array in zip(cs231n.conv_backward_fast(dout, cache), (x, w, b), strict=True):
        wanted = numeric(lambda: conv_naive(x, w, b, stride, pad), array, dout)
        np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_the_assignments_printed_values() -> None:
    """Its notebook prints what conv_forward gives for linspace inputs; the sums of the first image, by the loops."""
    x = np.linspace(-0.1, 0.5, num=2 * 3 * 4 * 4).reshape(2, 3, 4, 4)
    w = np.linspace(-0.2, 0.3, num=3 * 3 * 4 * 4).reshape(3, 3, 4, 4)
    b = np.linspace(-0.1, 0.2, num=3)
    out, _ = cs231n.conv_forward_fast(x, w, b, {"stride": 2, "pad": 1})
    assert out.shape == (2, 3, 2, 2)
    np.testing.assert_allclose(out[0, 0], [[-0.08759809, -0.10987781], [-0.18387192, -0.2109216]], atol=1e-7)


def test_pooling() -> None:
    x = random.standard_normal((2, 3, 6, 8))
    param = {"pool_height": 2, "pool_width": 4, "stride": 2}
    out, cache = cs231n.max_pool_forward_fast(x, param)
    assert out.shape == (2, 3, 3, 3)
    for i, j in np.ndindex(3, 3):
        np.testing.assert_array_equal(out[:, :, i, j], x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 4].max((2, 3)))
    dout = random.standard_normal(out.shape)
    found = cs231n.max_pool_backward_fast(dout, cache)
    np.testing.assert_allclose(found, numeric(lambda: pyconv.max_pool2d(x, (2, 4), 2), x, dout), atol=1e-8)


def test_equal_maxima_give_the_gradient_to_the_first() -> None:
    out, cache = cs231n.max_pool_forward_fast(np.ones((1, 1, 4, 4)), {"pool_height": 2, "pool_width": 2, "stride": 2})
    assert cs231n.max_pool_backward_fast(out, cache)[0, 0].tolist() == [[1, 0, 1, 0], [0] * 4] * 2


@pytest.mark.parametrize(("height", "width", "padding", "stride"), [(3, 3, 1, 1), (2, 3, 0, 1), (3, 2, 1, 2)])
def test_columns(height: int, width: int, padding: int, stride: int) -> None:
    x = np.arange(2 * 3 * 5 * 6.0).reshape(2, 3, 5, 6)
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k, i, j = cs231n.get_im2col_indices(x.shape, height, width, padding, stride)
    windows = padded[:, k, i, j]
    columns = cs231n.im2col_indices(x, height, width, padding, stride)
    np.testing.assert_array_equal(columns, windows.transpose(1, 2, 0).reshape(3 * height * width, -1))
    np.testing.assert_array_equal(cs231n.im2col_cython(x, height, width, padding, stride), columns)
    y = random.integers(-9, 9, columns.shape).astype(float)
    wanted = np.zeros_like(padded)
    np.add.at(wanted, (slice(None), k, i, j), y.reshape(3 * height * width, -1, 2).transpose(2, 0, 1))
    wanted = wanted[:, :, padding : padding + 5, padding : padding + 6]
    found = cs231n.col2im_indices(y, x.shape, height, width, padding, stride)
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(cs231n.col2im_cython(y, 2, 3, 5, 6, height, width, padding, stride), wanted)
    rows, cols = (5 + 2 * padding - height) // stride + 1, (6 + 2 * padding - width) // stride + 1
    six = y.reshape(3, height, width, rows, cols, 2).transpose(0, 1, 2, 5, 3, 4)
    np.testing.assert_array_equal(cs231n.col2im_6d_cython(six, 2, 3, 5, 6, height, width, padding, stride), wanted)


def test_windows_that_do_not_tile() -> None:
    x, w, b = np.ones((1, 1, 5, 6)), np.ones((1, 1, 2, 2)), np.ones(1)
    with pytest.raises(pyconv.InvalidProblem, match="do not tile the height of 5"):
        cs231n.conv_forward_fast(x, w, b, {"stride": 2, "pad": 0})
    with pytest.raises(pyconv.InvalidProblem, match="do not tile the width of 7"):
        cs231n.conv_forward_fast(np.ones((1, 1, 6, 7)), w, b, {"stride": 2, "pad": 0})


def test_every_name_of_the_course_is_there() -> None:
    for kind in ("fast", "im2col", "strides"):
        assert getattr(cs231n, f"conv_forward_{kind}") is cs231n.conv_forward_fast
        assert getattr(cs231n, f"conv_backward_{kind}") is cs231n.conv_backward_fast
    for kind in ("fast", "im2col", "reshape"):
        assert getattr(cs231n, f"max_pool_forward_{kind}") is cs231n.max_pool_forward_fast
        assert getattr(cs231n, f"max_pool_backward_{kind}") is cs231n.max_pool_backward_fast


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("loss", ["softmax", "hinge"])
def test_gradients_of_the_network(loss: str, batch_norm: bool) -> None:
    settings = net.Settings(3, 7, 5, batch_norm=batch_norm, weight_decay=0.1, loss=loss, initialisation="xavier")
    network = net.ThreeLayerConvNet((2, 4, 6), settings, np.float64)
    x, labels = random.standard_normal((6, 2, 4, 6)), random.integers(0, 5, 6)
    _, gradients = network.loss(x, labels)
    assert set(gradients) == set(network.parameters)
    for name, parameter in network.parameters.items():
        wanted = numeric(lambda: np.array(network.loss(x, labels)[0]), parameter, np.ones(()))
        np.testing.assert_allclose(gradients[name], wanted, atol=1e-6, err_msg=name)


def test_losses_against_differences() -> None:
    scores, labels = random.standard_normal((4, 5)), random.integers(0, 5, 4)
    for loss in (net.softmax_loss, net.hinge_loss):
        wanted = numeric(lambda loss=loss: np.array(loss(scores, labels)[0]), scores, np.ones(()))
        np.testing.assert_allclose(loss(scores, labels)[1], wanted, atol=1e-7)
    big = np.array([[1e4, -1e4], [0.0, 1e4]])
    assert net.softmax_loss(big, np.array([0, 1]))[0] == 0.0, "no overflow"


def test_dropout_keeps_the_mean_and_is_off_when_testing() -> None:
    network = net.ThreeLayerConvNet((1, 8, 8), net.Settings(dropout=0.5, batch_norm=False))
    x = random.standard_normal((4, 1, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(network.scores(x), network.scores(x))
    losses = {network.loss(x, np.zeros(4, int))[0] for _ in range(4)}
    assert len(losses) == 4, "another half each time"


def test_rules_of_change() -> None:
    """By hand, for one number."""
    momentum, adam = net.Momentum(rate=0.1, momentum=0.5), net.Adam(rate=0.1)
    parameters = {"w": np.array([1.0])}
    for wanted in (0.8, 0.5):  # v: -0.2, then -0.1 - 0.2
        momentum.step(parameters, {"w": np.array([2.0])})
        assert parameters["w"][0] == pytest.approx(wanted)
    parameters = {"w": np.array([1.0])}
    for wanted in (0.9, 0.8):  # equal gradients: each step is the rate
        adam.step(parameters, {"w": np.array([3.0])})
        assert parameters["w"][0] == pytest.approx(wanted)


def test_words_that_are_none() -> None:
    with pytest.raises(ValueError, match="loss must be"):
        net.ThreeLayerConvNet((1, 8, 8), net.Settings(loss="squared")).loss(
            random.standard_normal((2, 1, 8, 8), np.float32), np.zeros(2, int)
        )
    with pytest.raises(ValueError, match="initialisation must be"):
        net.scale_of("zeros", 1, 1)


def test_the_network_learns_digits(subprocess_environment: dict[str, str]) -> None:
    """97 % of the test digits and more, by both rules and both losses."""
    pytest.importorskip("sklearn")
    done = subprocess.run(
        [sys.executable, "-m", "pyconv.interop.cs231n"], env=subprocess_environment, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if "told right" in line]
    assert [line.partition(",")[0] for line in told] == ["Adam", "Momentum"]
    for line in told:
        assert float(line.partition(": ")[2].partition("%")[0]) >= 97.0, line
