"""The definition itself, against loops that share nothing with it, and against SciPy where both are defined."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from cases import PROBLEMS, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconv import ConvProblem, reference

NUMPY_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
    "symmetric": "symmetric",
}
SCIPY_MODES = {
    "zeros": "constant",
    "reflect": "mirror",
    "replicate": "nearest",
    "circular": "wrap",
    "symmetric": "reflect",
}
#: Each activation of one number, as a textbook writes it; the second argument is the slope.
TEXTBOOK: dict[str | None, Callable[[float, float], float]] = {
    None: lambda v, _: v,
    "relu": lambda v, _: max(v, 0.0),
    "relu6": lambda v, _: min(max(v, 0.0), 6.0),
    "leaky_relu": lambda v, slope: v if v >= 0 else slope * v,
    "elu": lambda v, slope: v if v >= 0 else slope * (math.exp(v) - 1),
    "sigmoid": lambda v, _: 1 / (1 + math.exp(-v)),
    "tanh": lambda v, _: math.tanh(v),
    "silu": lambda v, _: v / (1 + math.exp(-v)),
    "hardswish": lambda v, _: v * min(max(v + 3, 0), 6) / 6,
}


def integers(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float64)


def naive(
    p: ConvProblem, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, residual: np.ndarray | None
) -> np.ndarray:
    """The definition by plain loops over an np.pad-ded copy."""
    padded = np.pad(x, ((0, 0), (0, 0), *p.padding), mode=NUMPY_MODES[p.padding_mode])
    out = np.zeros(p.out_shape)
    per_group_in, per_group_out = p.c_in // p.groups, p.c_out // p.groups
    for index in np.ndindex(*p.out_shape):
        n, o, *position = index
        total = 0.0 if bias is None else float(bias[o])
        for c in range(per_group_in):
            for tap in np.ndindex(*p.kernel):
                at = tuple(q * s + a * d for q, s, a, d in zip(position, p.stride, tap, p.dilation, strict=True))
                total += float(w[(o, c, *tap)]) * float(padded[(n, o // per_group_out * per_group_in + c, *at)])
        if residual is not None:
            total += float(residual[index])
        out[index] = TEXTBOOK[p.activation](total, p.slope)
    return out


def check(p: ConvProblem) -> None:
    x, w = integers(p.x_shape, 1), integers(p.w_shape, 2)
    bias = integers((p.c_out,), 3) if p.bias else None
    residual = integers(p.out_shape, 4) if p.residual else None
    # sums of integers are exact; two formulas of one activation may differ in their last places
    tolerance = 0.0 if p.activation in (None, "relu", "relu6", "leaky_relu") else 8 * 2.0**-53
    got = reference.conv(p, x, w, bias, residual)
    np.testing.assert_allclose(got, naive(p, x, w, bias, residual), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "text",
    [
        "n2c4h5w6-o6k3x2s2x1p1:2x0d1x2g2-f64-bias",
        "n1c2h4w3-o2k3s1p4-f64-reflect",
        "n1c2h4w3-o2k3s1p4-f64-circular",
        "n1c2h4w3-o2k3s1p4-f64-symmetric",
        "n1c3w9-o2k4s3p2d2-f64-replicate",
        "n1c2d3h4w3-o2k2s1x2x1p1-f64",
        "n1c2d3h4w3-o2k2s1p1:0x2x0:1-f64-circular-bias-residual-relu",
        "n2c4h4w4-o4k3s1p1g4-f64-residual",
        "n1c1h1w1-o1k3s1p1-f64",
        *(f"n1c2h4w5-o3k3s1p1-f64-bias-residual-{name}" for name in TEXTBOOK if name),
        "n1c2h4w5-o3k3s1p1-f64-leaky_relu=0.25",
        "n1c2h4w5-o3k3s1p1-f64-elu=2.0",
    ],
)
def test_the_reference_is_the_definition(text: str) -> None:
    check(ConvProblem.parse(text))


SMALL_TABLE = [text for text in PROBLEMS if 0 < (p := ConvProblem.parse(text)).flops < 60_000 and p.dtype != "f16"]


@pytest.mark.parametrize("text", SMALL_TABLE)
def test_the_reference_is_the_definition_on_the_table(text: str) -> None:
    check(ConvProblem.parse(text))


@settings(max_examples=60)
@given(problems(dtypes=("f64",)))
def test_the_reference_is_the_definition_on_drawn_problems(drawn: ConvProblem) -> None:
    if drawn.flops < 40_000:  # loops of Python: tiny problems only
        check(drawn)


@pytest.mark.parametrize("text", ["n0c3h8w8-o4k3s1p1-f64", "n1c0h5w5-o4k3s1p1-f64-bias-relu", "n1c2h0w5-o3k3s1p2-f64"])
def test_nothing_in_means_bias_or_nothing_out(text: str) -> None:
    """Hazard 29."""
    check(ConvProblem.parse(text))


def test_special_values() -> None:
    """A padded zero is a zero: times Inf it is NaN; a NaN passes through every activation."""
    p = ConvProblem.parse("n1c1w3-o1k3s1p1-f64")
    x, w = np.ones((1, 1, 3)), np.array([[[np.inf, 1.0, 1.0]]])
    np.testing.assert_array_equal(reference.conv(p, x, w), [[[np.nan, np.inf, np.inf]]])
    values = np.array([np.nan, np.inf, -np.inf])
    for name, at_infinity, below in (
        ("relu", np.inf, 0), ("relu6", 6, 0), ("leaky_relu", np.inf, -np.inf), ("elu", np.inf, -1.0),
        ("sigmoid", 1, 0), ("tanh", 1, -1), ("hardswish", np.inf, 0),
    ):  # fmt: skip
        np.testing.assert_array_equal(reference.activate(values, name, 1.0), [np.nan, at_infinity, below])
    assert np.isnan(reference.activate(values, "silu")[0])
    with pytest.raises(ValueError, match="no activation is called 'gelu'"):
        reference.activate(values, "gelu")


@settings(max_examples=40)
@given(problems(dtypes=("f64",)), st.integers(200, 4000))
def test_the_reference_does_not_depend_on_its_blocks(drawn: ConvProblem, memory: int) -> None:
    x, w = integers(drawn.x_shape, 1), integers(drawn.w_shape, 2)
    bias = integers((drawn.c_out,), 3) if drawn.bias else None
    residual = integers(drawn.out_shape, 4) if drawn.residual else None
    out = np.full(drawn.out_shape, np.nan)
    for where, values in reference.conv_blocks(drawn, x, w, bias, residual, memory * 100):
        assert np.isnan(out[where]).all(), "two blocks overlap"
        out[where] = values
    np.testing.assert_array_equal(out, reference.conv(drawn, x, w, bias, residual))


@pytest.mark.parametrize("mode", SCIPY_MODES)
@pytest.mark.parametrize("size", [(7, 8), (5, 3), (1, 4)])
def test_the_reference_is_scipys_ndimage(mode: str, size: tuple[int, int]) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x, w = integers((1, 1, *size), 5), integers((1, 1, 5, 3), 6)
    p = ConvProblem(1, 1, 1, size, (5, 3), (1, 1), ((2, 2), (1, 1)), (1, 1), padding_mode=mode, dtype="f64")
    expected = ndimage.correlate(x[0, 0], w[0, 0], mode=SCIPY_MODES[mode])
    np.testing.assert_array_equal(reference.conv(p, x, w)[0, 0], expected)


@pytest.mark.parametrize(("boundary", "mode"), [("fill", "zeros"), ("wrap", "circular"), ("symm", "symmetric")])
@pytest.mark.parametrize(("extent", "padding"), [("valid", 0), ("same", 2), ("full", 4)])
def test_the_reference_is_scipys_signal(boundary: str, mode: str, extent: str, padding: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    x, w = integers((1, 1, 20, 30), 7), integers((1, 1, 5, 5), 8)
    p = ConvProblem.parse(f"n1c1h20w30-o1k5s1p{padding}-f64" + ("" if mode == "zeros" else f"-{mode}"))
    expected = signal.correlate2d(x[0, 0], w[0, 0], extent, boundary)
    np.testing.assert_array_equal(reference.conv(p, x, w)[0, 0], expected)
