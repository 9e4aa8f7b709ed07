"""Shape arithmetic, and the string that describes a problem."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import PROBLEMS, problems
from hypothesis import given
from hypothesis import strategies as st

from pyconv import ConvProblem, InvalidProblem, problem

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "symmetric": "symmetric"}


@pytest.mark.parametrize("text", PROBLEMS)
def test_the_table_round_trips(text: str) -> None:
    assert str(ConvProblem.parse(text)) == text


@given(problems())
def test_every_problem_round_trips(drawn: ConvProblem) -> None:
    assert ConvProblem.parse(str(drawn)) == drawn
    assert hash(ConvProblem.parse(str(drawn))) == hash(drawn)


def test_a_problem_of_another_process_is_equal_and_found(subprocess_environment: dict[str, str]) -> None:
    """Hashes of words differ between processes, and are not taken along."""
    text = "n1c8h12w12-o6k3s1p1-f32-reflect-relu"
    script = f"import pickle, sys, pyconv; sys.stdout.buffer.write(pickle.dumps(pyconv.ConvProblem.parse({text!r})))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**subprocess_environment, "PYTHONHASHSEED": seed},
            capture_output=True, check=True,
        )  # fmt: skip
        assert pickle.loads(done.stdout) in {ConvProblem.parse(text)}


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
        ("n1c4h5w5-o4k3s1p1g0-f32", "groups must be >= 1, got 0"),
        ("n1c3h5w5-o4k3x3x3s1p1-f32", r"kernel must have 2 entries, got \(3, 3, 3\)"),
        ("n1c3h5w5-o4k3s1x1x1p1-f32", "stride must have 2 entries"),
        ("n1c3h5w5-o4k3s1p1x1x1-f32", "padding must have 2 entries"),
        ("n1c3h5w5-o4k3s1p1d1x2x3-f32", "dilation must have 2 entries"),
        ("n1c3h5w5-o4k3s1p1-f32-gelu", "'gelu' in .* is no padding mode, activation, bias or residual"),
        ("n1c3h5w5-o4k3s1p1-f32-elu=inf", "slope must be finite, got inf"),
        # sizes whose products would wrap in 64 bits (hazards 7, 8)
        ("n1c1h4294967296w4294967296-o1k1s1p0-f32", r"the padded input would have 18446744073709551616 elements"),
        ("n1c1h1w1-o4k1s1p268435456-f32", r"the output would have 1152921\d+ elements; at most 2\^60"),
        ("n0c1048576h1048576w1-o2097152k1048576x1s1p0-f32", "the weights would have"),
        ("n1c1h1w1-o1k1s2305843009213693952p0-f32", "the stride would have"),
        ("n1c1h1w1-o1k1s1p0d2305843009213693952-f32", "the dilation would have"),
    ],
)
def test_meaningless_problems_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        ConvProblem.parse(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spatial": ()}, "1, 2 or 3 spatial axes, got 0"),
        ({"spatial": (9,) * 4}, "1, 2 or 3 spatial axes, got 4"),
        ({"n": -1}, "sizes must not be negative, got n=-1"),
        ({"spatial": (5, -1)}, "sizes must not be negative"),
        ({"padding": ((0, -1), (0, 0))}, "padding must be >= 0, .*crop x"),
        ({"padding_mode": "edge"}, "padding_mode must be one of zeros, .*got 'edge'"),
        ({"activation": "gelu"}, "activation must be None or one of .*got 'gelu'"),
        ({"activation": "elu", "slope": float("nan")}, "slope must be finite, got nan"),
        ({"dtype": "f128"}, "dtype must be one of f16, f32, f64, got 'f128'"),
    ],
    ids=str,
)
def test_what_a_string_cannot_say_is_refused_too(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        replace(ConvProblem.parse("n1c3h5w5-o4k3s1p1-f32"), **changes)


def test_problems_are_hashable_and_frozen() -> None:
    one, other = (ConvProblem.parse("n1c3h5w5-o4k3s1p1-f32") for _ in range(2))
    assert one is not other
    assert {one: 1}[other] == 1
    with pytest.raises(AttributeError):
        one.n = 2  # type: ignore[misc]


def test_numbers_of_a_layer() -> None:
    layer = ConvProblem.parse("n2c64h56w56-o128k3s2p1g2-f32")
    assert layer.out_shape == (2, 128, 28, 28)
    assert layer.reduction == 32 * 9
    assert layer.flops == 2 * 2 * 128 * 28 * 28 * 32 * 9
    assert layer.bytes == 4 * (2 * 64 * 56 * 56 + 128 * 32 * 9 + 2 * 128 * 28 * 28)
