"""Calls that have to be refused, by which error and with which words; nothing may have changed afterwards.

Hazards 1-11 and 21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import pyconv
from pyconv import InvalidProblem, Unsupported

F32 = np.float32


def x(*shape: int) -> np.ndarray:
    return np.ones(shape or (1, 4, 8, 8), F32)


def w(*shape: int) -> np.ndarray:
    return np.ones(shape or (6, 4, 3, 3), F32)


def read_only() -> np.ndarray:
    out = np.zeros((1, 6, 6, 6), F32)
    out.setflags(write=False)
    return out


class OnGpu:
    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    # hazards 1-5
    "stride 0": (lambda: pyconv.conv2d(x(), w(), stride=0), InvalidProblem, "stride must be >= 1, got 0"),
    "stride -1": (lambda: pyconv.conv2d(x(), w(), stride=(1, -1)), InvalidProblem, "stride must be >= 1"),
    "dilation 0": (lambda: pyconv.conv2d(x(), w(), dilation=0), InvalidProblem, "dilation must be >= 1"),
    "groups 0": (lambda: pyconv.conv2d(x(), w(), groups=0), InvalidProblem, "groups must be >= 1, got 0"),
    "groups -2^63": (lambda: pyconv.conv2d(x(), w(), groups=-(2**63)), InvalidProblem, "groups must be >= 1"),
    "groups 3": (
        lambda: pyconv.conv2d(x(1, 12, 8, 8), w(7, 4, 3, 3), groups=3),
        InvalidProblem,
        "groups must divide c_out",
    ),
    "channels": (
        lambda: pyconv.conv2d(x(1, 5, 8, 8), w()),
        InvalidProblem,
        r"conv2d\(x \(1, 5, 8, 8\), w \(6, 4, 3, 3\)\): channels disagree: x has 5, w with groups=1 expects",
    ),
    "no output channel": (lambda: pyconv.conv2d(x(), w(0, 4, 3, 3)), InvalidProblem, "at least one output channel"),
    # hazard 6
    "kernel too large": (
        lambda: pyconv.conv2d(x(1, 4, 2, 8), w()),
        InvalidProblem,
        "larger than the padded input along h: it covers 3 elements .* x has 2",
    ),
    # hazards 7, 8, 10, 11
    "padding -1": (lambda: pyconv.conv2d(x(), w(), padding=-1), InvalidProblem, "padding must be >= 0"),
    "padding 2^31-1": (lambda: pyconv.conv2d(x(), w(), padding=2**31 - 1), (InvalidProblem, MemoryError), "."),
    "padding 2^62": (lambda: pyconv.conv2d(x(), w(), padding=2**62), InvalidProblem, r"2\^60"),
    "padding 2^100": (lambda: pyconv.conv2d(x(), w(), padding=2**100), InvalidProblem, r"2\^60"),
    "dilation 2^62": (lambda: pyconv.conv2d(x(), w(), dilation=2**62), InvalidProblem, "larger than the padded input"),
    "stride 2^62": (lambda: pyconv.conv2d(x(), w(), stride=2**62), InvalidProblem, r"2\^60"),
    "same with stride": (
        lambda: pyconv.conv2d(x(), w(), padding="same", stride=2),
        InvalidProblem,
        '"same" needs stride 1',
    ),
    "padding word": (
        lambda: pyconv.conv2d(x(), w(), padding="full"),
        InvalidProblem,
        '"same" or "valid", got \'full\'',
    ),
    "padding of 3": (lambda: pyconv.conv2d(x(), w(), padding=(1, 1, 1)), InvalidProblem, "an integer or 2 of them"),
    "pairs of 3": (lambda: pyconv.conv2d(x(), w(), padding=((1, 1),) * 3), InvalidProblem, "for each of 2 axes"),
    "padding mode": (
        lambda: pyconv.conv2d(x(), w(), padding_mode="edge"),
        InvalidProblem,
        "padding_mode must be one of",
    ),
    "padding an empty axis": (
        lambda: pyconv.conv2d(x(1, 4, 0, 8), w(), padding=2, padding_mode="circular"),
        InvalidProblem,
        "empty axis",
    ),
    # wrong kinds of numbers
    "stride 1.0": (lambda: pyconv.conv2d(x(), w(), stride=1.0), TypeError, "integer"),
    "stride (1.0, 1)": (lambda: pyconv.conv2d(x(), w(), stride=(1.0, 1)), TypeError, "integer"),
    "stride None": (lambda: pyconv.conv2d(x(), w(), stride=None), TypeError, "integer"),
    "padding 0.5": (lambda: pyconv.conv2d(x(), w(), padding=0.5), TypeError, "integer"),
    "groups '1'": (lambda: pyconv.conv2d(x(), w(), groups="1"), TypeError, "integer"),
    # arrays
    "list": (lambda: pyconv.conv2d([[1.0]], w()), TypeError, "x must be an array, got list"),
    "none": (lambda: pyconv.conv2d(x(), None), TypeError, "w must be an array, got NoneType"),
    "gpu": (lambda: pyconv.conv2d(OnGpu(), w()), TypeError, "lives on a GPU"),
    "masked": (lambda: pyconv.conv2d(np.ma.masked_array(x()), w()), TypeError, "masked array"),
    "int32": (lambda: pyconv.conv2d(x().astype(np.int32), w()), TypeError, "x must be float16, .* got int32"),
    "complex": (lambda: pyconv.conv2d(x().astype(np.complex64), w()), TypeError, "got complex64"),
    "bool": (lambda: pyconv.conv2d(x().astype(bool), w()), TypeError, "got bool"),
    "object": (lambda: pyconv.conv2d(x().astype(object), w()), TypeError, "got object"),
    "mixed": (lambda: pyconv.conv2d(x(), w().astype(np.float64)), TypeError, "one dtype: x is float32, w is float64"),
    "mixed bias": (lambda: pyconv.conv2d(x(), w(), np.ones(6)), TypeError, "bias is float64"),
    "rank of x": (lambda: pyconv.conv2d(x(8, 8), w()), InvalidProblem, r"x must have axes \(n, c_in, h, w\)"),
    "rank of w": (lambda: pyconv.conv2d(x(), w(6, 4, 3)), InvalidProblem, "w must have 4 axes"),
    "rank of both": (lambda: pyconv.conv1d(x(), w()), InvalidProblem, "x must have axes"),
    "bias shape": (lambda: pyconv.conv2d(x(), w(), np.ones(4, F32)), InvalidProblem, r"bias must have shape \(6,\)"),
    "residual shape": (
        lambda: pyconv.conv2d(x(), w(), residual=np.ones((1, 6, 8, 8), F32)),
        InvalidProblem,
        r"residual must have the output's shape \(1, 6, 6, 6\), got \(1, 6, 8, 8\)",
    ),
    "out shape": (lambda: pyconv.conv2d(x(), w(), out=np.ones((1, 6, 5, 6), F32)), InvalidProblem, "out must have"),
    "out dtype": (lambda: pyconv.conv2d(x(), w(), out=np.ones((1, 6, 6, 6))), TypeError, "out is float64"),
    "out list": (lambda: pyconv.conv2d(x(), w(), out=[]), TypeError, "out must be a numpy.ndarray"),
    "out read-only": (lambda: pyconv.conv2d(x(), w(), out=read_only()), InvalidProblem, "out is read-only"),
    "out shares memory": (
        lambda: pyconv.conv2d(
            x(), w(), out=np.lib.stride_tricks.as_strided(np.ones(6, F32), (1, 6, 6, 6), (0, 4, 0, 4))
        ),
        InvalidProblem,
        "a stride of 0",
    ),
    # words
    "activation": (
        lambda: pyconv.conv2d(x(), w(), activation="gelu"),
        InvalidProblem,
        "activation must be None, one of",
    ),
    "slope of relu": (lambda: pyconv.conv2d(x(), w(), activation=("relu", 0.1)), InvalidProblem, "activation must be"),
    "slope NaN": (lambda: pyconv.conv2d(x(), w(), activation=("elu", np.nan)), InvalidProblem, "finite"),
    "slope word": (
        lambda: pyconv.conv2d(x(), w(), activation=("elu", "a")),
        TypeError,
        "slope of elu must be a number",
    ),
    "algorithm": (
        lambda: pyconv.conv2d(x(), w(), algorithm="winograd9"),
        InvalidProblem,
        "no algorithm is called 'winograd9'; conv2d has .*direct",
    ),
    "algorithm 3": (lambda: pyconv.conv2d(x(), w(), algorithm=3), TypeError, "algorithm must be"),
    "algorithm of another op": (
        lambda: pyconv.conv2d(x(), w(), algorithm="conv3d.reference.f32@numpy"),
        Unsupported,
        "is not for conv2d in f32",
    ),
    "algorithm of another dtype": (
        lambda: pyconv.conv2d(x(), w(), algorithm="conv2d.reference.f64@numpy"),
        Unsupported,
        "is not for conv2d in f32",
    ),
    "algorithm that cannot": (
        lambda: pyconv.conv2d(x(), w(), algorithm="depthwise"),
        Unsupported,
        "needs one input channel a group, here 4",
    ),
    "unknown keyword": (lambda: pyconv.conv2d(x(), w(), strides=2), TypeError, "strides"),
    "prepare": (lambda: pyconv.prepare(np.add, w()), TypeError, r"prepare takes one of pyconv\.conv1d"),
    "prepare keyword": (lambda: pyconv.prepare(pyconv.conv2d, w(), strides=2), TypeError, "strides"),
    "explain": (lambda: pyconv.explain("conv2d", x(), w()), TypeError, "explain takes one of"),
    "explain keyword": (lambda: pyconv.explain(pyconv.conv2d, x(), w(), strides=2), TypeError, "no argument strides"),
    "explain channels": (lambda: pyconv.explain(pyconv.conv2d, (1, 3, 8, 8), (6, 4, 3, 3)), InvalidProblem, "channels"),
    # options
    "option": (lambda: pyconv.set_options(thread=2), TypeError, "no option is named 'thread'; there are accuracy"),
    "threads 0": (lambda: pyconv.set_options(threads=0), ValueError, "between 1 and 256, got 0"),
    "threads 1.5": (lambda: pyconv.set_options(threads=1.5), TypeError, "threads must be an integer"),
    "workspace": (lambda: pyconv.set_options(max_workspace="64 miles"), ValueError, '"64MB"'),
    "workspace tiny": (lambda: pyconv.set_options(max_workspace=1), ValueError, "at least 1048576"),
    "workspace float": (lambda: pyconv.set_options(max_workspace=1e9), TypeError, "max_workspace must be an integer"),
    "accuracy": (lambda: pyconv.set_options(accuracy="exact"), ValueError, "accuracy must be one of 'strict'"),
    "backend": (lambda: pyconv.set_options(backend="gpu"), ValueError, "backend must be one of 'auto'"),
    "measure": (lambda: pyconv.set_options(measure=1), TypeError, "measure must be True or False"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_calls_are_refused(name: str) -> None:
    call, error, message = REFUSED[name]
    before = pyconv.options
    with pytest.raises(error, match=message):
        call()
    assert pyconv.options is before


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 0},
        {"padding": -1},
        {"groups": 3},
        {"algorithm": "depthwise"},
        {"activation": "gelu"},
        {"stride": 1.0},
    ],
    ids=str,
)
def test_a_failed_call_changes_nothing(settings: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(F32) for shape in ((1, 4, 8, 8), (6, 4, 3, 3), (6,), (1, 6, 6, 6))]
    copies = [array.copy() for array in arrays]
    out = arrays[3]
    # the same call without the mistake has been planned already, and must not answer for it
    pyconv.conv2d(arrays[0], arrays[1], arrays[2])
    with pytest.raises((InvalidProblem, Unsupported, TypeError)):
        pyconv.conv2d(*arrays[:3], out=out, **settings)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_errors_are_the_documented_kinds() -> None:
    assert issubclass(InvalidProblem, ValueError)
    assert issubclass(Unsupported, NotImplementedError)


def test_a_huge_stride_is_one_pixel() -> None:
    """Hazard 9."""
    assert pyconv.conv2d(x(), w(), stride=10**6).shape == (1, 6, 1, 1)


def test_array_likes_are_taken() -> None:
    class Exported:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array
            self.__array_interface__ = array.__array_interface__

    class Dlpack:
        def __init__(self, array: np.ndarray) -> None:
            self.array = array

        def __dlpack__(self, **kwargs: Any) -> Any:
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    class Subclass(np.ndarray):
        pass

    expected = pyconv.conv2d(x(), w())
    for wrap in (Exported, Dlpack, lambda a: a.view(Subclass)):
        result = pyconv.conv2d(wrap(x()), wrap(w()))
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, expected)


def test_no_memory_names_the_size() -> None:
    """Hazard 61; the library works afterwards."""
    small = np.ones((1, 1, 1, 1), F32)
    with pytest.raises(MemoryError, match=r"no memory for an output of \d+ bytes"):
        pyconv.conv2d(small, small, padding=2**27)
    assert pyconv.conv2d(small, small).item() == 1.0
