"""Shape arithmetic, and the string that describes a problem."""

from __future__ import annotations

import numpy as np
import pytest
from cases import PROBLEMS, problems
from hypothesis import given, settings
from hypothesis import strategies as st

from pyconv import ConvProblem, InvalidProblem, problem, reference

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}


@pytest.mark.parametrize("text", PROBLEMS)
def test_the_table_round_trips(text: str) -> None:
    assert str(ConvProblem.parse(text)) == text


@given(problems())
def test_every_problem_round_trips(drawn: ConvProblem) -> None:
    assert ConvProblem.parse(str(drawn)) == drawn


@given(
    st.integers(0, 20), st.integers(1, 6), st.integers(1, 4), st.integers(0, 5), st.integers(0, 5), st.integers(1, 4)
)
def test_output_size_counts_the_windows(
    size: int, kernel: int, stride: int, before: int, after: int, dilation: int
) -> None:
    padded = before + size + after
    starts = [start for start in range(0, padded, stride) if start + dilation * (kernel - 1) < padded]
    assert problem.output_size(size, kernel, stride, (before, after), dilation) == len(starts)


@pytest.mark.parametrize("mode", NUMPY_MODES)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_pad_index_is_numpy_pad(mode: str, size: int) -> None:
    padded = np.pad(np.arange(size), 11, mode=NUMPY_MODES[mode])
    assert [problem.pad_index(i - 11, size, mode) for i in range(len(padded))] == padded.tolist()


def test_pad_index_of_zeros() -> None:
    assert [problem.pad_index(i, 3, "zeros") for i in range(-2, 5)] == [-1, -1, 0, 1, 2, -1, -1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n1c3h5w5-o4k3s0p0-f32", "stride must be >= 1"),
        ("n1c3h5w5-o4k3s1p0d0-f32", "dilation must be >= 1"),
        ("n1c3h5w5-o4k0s1p0-f32", "kernel must be >= 1"),
        ("n1c3h5w5-o4k3s1p0g2-f32", "groups must divide c_in"),
        ("n1c4h5w5-o3k3s1p0g2-f32", "groups must divide c_out"),
        ("n1c4h5w5-o0k3s1p0-f32", "at least one output channel"),
        ("n1c3h5w5-o4k7s1p0-f32", "larger than the padded input along h: it covers 7 elements"),
        ("n1c3h9w5-o4k3s1p0d3-f32", "larger than the padded input along w: it covers 7 .* x has 5"),
        ("n1c3h0w5-o4k3s1p2-f32-reflect", "empty axis"),
        ("n1c3h5w5-o4k3s1p4611686018427387904-f32", "2\\^60"),
        ("n1c3h5w5-o4k3s1p1-f80", "dtype"),
        ("n1c3h5w5-o4k3s1p1-f32-wrap", "no padding mode"),
        ("n1c3w5h5-o4k3s1p1-f32", "order"),
        ("conv2d", "is not a problem"),
    ],
)
def test_meaningless_problems_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        ConvProblem.parse(text)


def test_numbers_of_a_layer() -> None:
    layer = ConvProblem.parse("n2c64h56w56-o128k3s2p1g2-f32")
    assert layer.out_shape == (2, 128, 28, 28)
    assert layer.reduction == 32 * 9
    assert layer.flops == 2 * 2 * 128 * 28 * 28 * 32 * 9
    assert layer.bytes == 4 * (2 * 64 * 56 * 56 + 128 * 32 * 9 + 2 * 128 * 28 * 28)


def naive(p: ConvProblem, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """The definition by plain loops over an np.pad-ded copy; shares nothing with reference.py."""
    mode = {"zeros": "constant", **NUMPY_MODES}[p.padding_mode]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *p.padding), mode=mode)
    out = np.zeros(p.out_shape)
    per_group_in, per_group_out = p.c_in // p.groups, p.c_out // p.groups
    for index in np.ndindex(*p.out_shape):
        n, o, *position = index
        total = 0.0 if bias is None else float(bias[o])
        for c in range(per_group_in):
            for tap in np.ndindex(*p.kernel):
                at = tuple(q * s + a * d for q, s, a, d in zip(position, p.stride, tap, p.dilation, strict=True))
                total += float(w[(o, c, *tap)]) * padded[(n, o // per_group_out * per_group_in + c, *at)]
        out[index] = total
    return out


@pytest.mark.parametrize(
    "text",
    [
        "n2c4h5w6-o6k3x2s2x1p1:2x0d1x2g2-f64-bias",
        "n1c2h4w3-o2k3s1p4-f64-reflect",
        "n1c2h4w3-o2k3s1p4-f64-circular",
        "n1c2h4w3-o2k3s1p4-f64-symmetric",
        "n1c3w9-o2k4s3p2d2-f64-replicate",
        "n1c2d3h4w3-o2k2s1x2x1p1-f64",
    ],
)
def test_the_reference_is_the_definition(text: str) -> None:
    p = ConvProblem.parse(text)
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, p.x_shape).astype(np.float64)
    w = rng.integers(-4, 5, p.w_shape).astype(np.float64)
    bias = rng.integers(-4, 5, p.c_out).astype(np.float64) if p.bias else None
    np.testing.assert_array_equal(reference.conv(p, x, w, bias), naive(p, x, w, bias))


@settings(max_examples=40)
@given(problems(dtypes=("f64",)), st.integers(200, 4000))
def test_the_reference_does_not_depend_on_its_blocks(drawn: ConvProblem, memory: int) -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(-4, 5, drawn.x_shape).astype(np.float64)
    w = rng.integers(-4, 5, drawn.w_shape).astype(np.float64)
    p = ConvProblem.parse(str(drawn).replace("-bias", "").replace("-residual", ""))
    out = np.full(p.out_shape, np.nan)
    for where, values in reference.conv_blocks(p, x, w, None, None, memory * 100):
        out[where] = values
    np.testing.assert_array_equal(out, reference.conv(p, x, w))


def test_the_reference_is_scipys_where_both_are_defined() -> None:
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((1, 1, 20, 30)), rng.standard_normal((1, 1, 5, 4))
    p = ConvProblem.parse("n1c1h20w30-o1k5x4s1p0-f64")
    np.testing.assert_allclose(reference.conv(p, x, w)[0, 0], signal.correlate2d(x[0, 0], w[0, 0], "valid"), rtol=1e-13)
