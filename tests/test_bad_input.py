"""Calls that have to be refused, by which error and with which words; nothing may have changed afterwards.

Hazards 1-11, 13, 14 and 21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

import pyconv
from pyconv import InvalidProblem, Unsupported
from pyconv.options import current

F32 = np.float32


#: Every array that a row of the table made, to be looked at when its call has failed.
MADE: list[np.ndarray] = []


def ones(*shape: int) -> np.ndarray:
    MADE.append(np.ones(shape, F32))
    return MADE[-1]


def x(*shape: int) -> np.ndarray:
    return ones(*(shape or (1, 4, 8, 8)))


def w(*shape: int) -> np.ndarray:
    return ones(*(shape or (6, 4, 3, 3)))


def vast(*shape: int) -> np.ndarray:
    """An array of any size that takes up one element."""
    return np.broadcast_to(np.ones((), F32), shape)


def read_only() -> np.ndarray:
    out = np.zeros((1, 6, 6, 6), F32)
    out.setflags(write=False)
    return out


class OnGpu:
    __cuda_array_interface__: ClassVar[dict[str, Any]] = {}


REFUSED: dict[str, tuple[Callable[[], Any], type[Exception] | tuple[type[Exception], ...], str]] = {
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
    "padding 2^31-1": (lambda: pyconv.conv2d(x(), w(), padding=2**31 - 1), InvalidProblem, r"2\^60"),
    "x of 2^60 and more": (
        lambda: pyconv.conv2d(vast(1, 1, 2**30, 2**30 + 1), vast(1, 1, 1, 1)),
        InvalidProblem,
        r"the padded input would have 1152921505680588800 elements; at most 2\^60",
    ),
    "y of 2^61": (
        lambda: pyconv.conv1d(vast(1, 1, 2**31), vast(2**30, 1, 1)),
        InvalidProblem,
        r"the output would have 2305843009213693952 elements",
    ),
    "y of 2^58": (
        lambda: pyconv.conv1d(vast(1, 1, 2**30), vast(2**28, 1, 1), stride=1),
        MemoryError,
        r"no memory for an output of 1152921504606846976 bytes \(shape \(1, 268435456, 1073741824\)\)",
    ),
    "w of 2^60 and more": (
        lambda: pyconv.conv1d(vast(1, 1, 2**30 + 1), vast(2**30, 1, 2**30 + 1)),
        InvalidProblem,
        r"the weights would have 1152921505680588800 elements",
    ),
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
    "stride ''": (lambda: pyconv.conv2d(x(), w(), stride=""), TypeError, "integer"),
    "stride '2'": (lambda: pyconv.conv2d(x(), w(), stride="2"), TypeError, "integer"),
    "stride of none": (lambda: pyconv.conv2d(x(), w(), stride=()), InvalidProblem, "stride must be an integer or 2"),
    "stride of 3": (lambda: pyconv.conv2d(x(), w(), stride=(1, 1, 1)), InvalidProblem, "stride must be .* 2 of them"),
    "dilation 1.5": (lambda: pyconv.conv2d(x(), w(), dilation=1.5), TypeError, "integer"),
    "dilation NaN": (lambda: pyconv.conv2d(x(), w(), dilation=np.nan), TypeError, "integer"),
    "groups 1.0": (lambda: pyconv.conv2d(x(), w(), groups=1.0), TypeError, "integer"),
    "groups of 2": (lambda: pyconv.conv2d(x(), w(), groups=(1, 1)), InvalidProblem, "groups"),
    "groups None": (lambda: pyconv.conv2d(x(), w(), groups=None), TypeError, "integer"),
    "groups '1'": (lambda: pyconv.conv2d(x(), w(), groups="1"), TypeError, "integer"),
    # arrays
    "list": (lambda: pyconv.conv2d([[1.0]], w()), TypeError, "x must be an array, got list"),
    "none": (lambda: pyconv.conv2d(x(), None), TypeError, "w must be an array, got NoneType"),
    "list of w": (lambda: pyconv.conv2d(x(), [[[[1.0]]]]), TypeError, "w must be an array, got list"),
    "number": (lambda: pyconv.conv2d(1.0, w()), TypeError, "x must be an array, got float"),
    "string": (lambda: pyconv.conv2d("image.png", w()), TypeError, "x must be an array, got str"),
    "list of bias": (lambda: pyconv.conv2d(x(), w(), [0.0] * 6), TypeError, "bias must be an array, got list"),
    "list of residual": (lambda: pyconv.conv2d(x(), w(), residual=[]), TypeError, "residual must be an array"),
    "gpu": (lambda: pyconv.conv2d(OnGpu(), w()), TypeError, "lives on a GPU, but its __cuda_array_interface__ lacks"),
    "gpu without a kernel": (
        lambda: pyconv.zero_unpool2d(OnGpu(), 2),
        TypeError,
        "lives on a GPU; copy it to the host first",
    ),
    "masked": (lambda: pyconv.conv2d(np.ma.masked_array(x()), w()), TypeError, "masked array"),
    "int32": (lambda: pyconv.conv2d(x().astype(np.int32), w()), TypeError, "x must be float16, .* got int32"),
    "complex": (lambda: pyconv.conv2d(x().astype(np.complex64), w()), TypeError, "got complex64"),
    "bool": (lambda: pyconv.conv2d(x().astype(bool), w()), TypeError, "got bool"),
    "object": (lambda: pyconv.conv2d(x().astype(object), w()), TypeError, "got object"),
    "uint8": (lambda: pyconv.conv2d(np.ones((1, 4, 8, 8), np.uint8), w()), TypeError, "got uint8; convert it"),
    "int8 both": (
        lambda: pyconv.conv2d(np.ones((1, 4, 8, 8), np.int8), np.ones((6, 4, 3, 3), np.int8)),
        TypeError,
        "x must be float16, float32, float64, got int8",
    ),
    "long double": (lambda: pyconv.conv2d(x().astype(np.longdouble), w()), TypeError, "x must be float16"),
    "text": (lambda: pyconv.conv2d(x().astype(str), w()), TypeError, "x must be float16"),
    "dates": (lambda: pyconv.conv2d(np.zeros((1, 4, 8, 8), "M8[s]"), w()), TypeError, "x must be float16"),
    "records": (lambda: pyconv.conv2d(np.zeros((1, 4, 8, 8), "f4,f4"), w()), TypeError, "x must be float16"),
    "masked w": (lambda: pyconv.conv2d(x(), np.ma.masked_array(w())), TypeError, "w is a masked array"),
    "mixed f16": (lambda: pyconv.conv2d(x().astype(np.float16), w()), TypeError, "x is float16, w is float32"),
    "mixed residual": (
        lambda: pyconv.conv2d(x(), w(), residual=np.ones((1, 6, 6, 6))),
        TypeError,
        "residual is float64",
    ),
    "mixed": (lambda: pyconv.conv2d(x(), w().astype(np.float64)), TypeError, "one dtype: x is float32, w is float64"),
    "mixed bias": (lambda: pyconv.conv2d(x(), w(), np.ones(6)), TypeError, "bias is float64"),
    "rank 0": (lambda: pyconv.conv2d(np.ones((), F32), w()), InvalidProblem, r"x must have axes .* got shape \(\)"),
    "rank 5": (lambda: pyconv.conv2d(x(1, 1, 4, 8, 8), w()), InvalidProblem, "x must have axes"),
    "rank of bias": (lambda: pyconv.conv2d(x(), w(), ones(6, 1)), InvalidProblem, r"bias must have shape \(6,\)"),
    "rank of out": (lambda: pyconv.conv2d(x(), w(), out=ones(6, 6, 6)), InvalidProblem, "out must have the output's"),
    "out of an unbatched call": (
        lambda: pyconv.conv2d(x(4, 8, 8), w(), out=ones(1, 6, 6, 6)),
        InvalidProblem,
        "out must have the output's shape",
    ),
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
    "activation list": (lambda: pyconv.conv2d(x(), w(), activation=["elu"]), InvalidProblem, "activation must be"),
    "activation number": (lambda: pyconv.conv2d(x(), w(), activation=1), InvalidProblem, "activation must be"),
    "padding mode list": (
        lambda: pyconv.conv2d(x(), w(), padding_mode=["zeros"]),
        (InvalidProblem, TypeError),
        "padding_mode",
    ),
    "algorithm list": (lambda: pyconv.conv2d(x(), w(), algorithm=["direct"]), TypeError, "algorithm must be"),
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
    # pooling: hazards 1, 7, 10, 13, 14
    "pool stride 0": (lambda: pyconv.max_pool2d(x(), 2, stride=0), InvalidProblem, "stride must be >= 1"),
    "pool kernel 0": (lambda: pyconv.avg_pool2d(x(), 0), InvalidProblem, "kernel_size must be >= 1"),
    "pool kernel 2.0": (lambda: pyconv.avg_pool2d(x(), 2.0), TypeError, "integer"),
    "pool dilation -1": (lambda: pyconv.max_pool2d(x(), 2, dilation=-1), InvalidProblem, "dilation must be >= 1"),
    "pool padding -1": (lambda: pyconv.max_pool2d(x(), 2, padding=-1), InvalidProblem, "padding must be >= 0"),
    "pool padding": (lambda: pyconv.max_pool2d(x(), 2, padding=2), InvalidProblem, "at most half of the window"),
    "pool padding 2^62": (lambda: pyconv.max_pool2d(x(), 2, padding=2**62), InvalidProblem, "at most half"),
    "pool too large": (
        lambda: pyconv.avg_pool2d(x(), 9),
        InvalidProblem,
        r"avg_pool2d\(x \(1, 4, 8, 8\)\): the window is larger than the padded input along h: it covers 9",
    ),
    "pool kernel 2^62": (lambda: pyconv.max_pool1d(x(1, 4, 8), 2**62, padding=2**61), InvalidProblem, r"2\^60"),
    "pool stride 2^62": (lambda: pyconv.max_pool2d(x(), 2, stride=2**62), InvalidProblem, r"2\^60"),
    "pool rank": (lambda: pyconv.max_pool2d(x(8, 8), 2), InvalidProblem, r"x must have axes \(n, c, h, w\)"),
    "pool list": (lambda: pyconv.max_pool2d([[1.0]], 2), TypeError, "x must be an array, got list"),
    "pool complex": (lambda: pyconv.max_pool2d(x().astype(complex), 2), TypeError, "x must be .* got complex128"),
    "pool bool": (lambda: pyconv.max_pool2d(x().astype(bool), 2), TypeError, "got bool"),
    "average of integers": (lambda: pyconv.avg_pool2d(x().astype(int), 2), TypeError, "x must be float16, .*got int64"),
    "pool empty axis": (lambda: pyconv.max_pool2d(x(1, 4, 0, 8), 2, padding=1), InvalidProblem, "empty axis"),
    "divisor 0": (lambda: pyconv.avg_pool2d(x(), 2, divisor_override=0), InvalidProblem, "divisor_override must not"),
    "divisor 1.5": (lambda: pyconv.avg_pool2d(x(), 2, divisor_override=1.5), TypeError, "divisor_override"),
    "ceil word": (lambda: pyconv.avg_pool2d(x(), 2, ceil_mode="yes"), TypeError, "ceil_mode must be True or False"),
    "pool out shape": (lambda: pyconv.max_pool2d(x(), 2, out=ones(1, 4, 4, 5)), InvalidProblem, "out must have the"),
    "pool out dtype": (lambda: pyconv.max_pool2d(x(), 2, out=np.ones((1, 4, 4, 4))), TypeError, "out must be float32"),
    "pool out no pair": (
        lambda: pyconv.max_pool2d(x(), 2, return_indices=True, out=ones(1, 4, 4, 4)),
        TypeError,
        "out must be a pair",
    ),
    "indices dtype": (
        lambda: pyconv.max_pool2d(x(), 2, return_indices=True, out=(None, ones(1, 4, 4, 4))),
        TypeError,
        "indices must be int64, but indices is float32",
    ),
    "adaptive -1": (lambda: pyconv.adaptive_avg_pool2d(x(), -1), InvalidProblem, "output_size must be >= 0"),
    "adaptive ()": (lambda: pyconv.adaptive_avg_pool2d(x(), ()), InvalidProblem, "output_size must be a size or 2"),
    "adaptive 2^60": (lambda: pyconv.adaptive_max_pool2d(x(), 2**60), InvalidProblem, r"2\^60"),
    "adaptive 1.2e11": (lambda: pyconv.adaptive_avg_pool2d(x(), int(1.2e8)), MemoryError, "no memory for an output"),
    "unpool indices": (
        lambda: pyconv.max_unpool2d(x(), np.zeros((1, 4, 8, 7), int), 2),
        InvalidProblem,
        r"indices must have the shape of x, its shape \(1, 4, 8, 8\)",
    ),
    "unpool index dtype": (lambda: pyconv.max_unpool2d(x(), x(), 2), TypeError, "indices must be int64, got float32"),
    "unpool size": (
        lambda: pyconv.max_unpool2d(x(), np.zeros((1, 4, 8, 8), int), 2, output_size=(18, 16)),
        InvalidProblem,
        "output_size must be within one stride",
    ),
    "grad shape": (
        lambda: pyconv.grad.max_pool2d(ones(1, 4, 4, 5), x(), 2),
        InvalidProblem,
        r"grad_output must have the output's shape \(1, 4, 4, 4\)",
    ),
    "grad dtype": (
        lambda: pyconv.grad.avg_pool2d(np.ones((1, 4, 4, 4)), x(), 2),
        TypeError,
        "one dtype: grad_output is float64, x is float32",
    ),
    "grad mask": (
        lambda: pyconv.grad.avg_pool2d(ones(1, 4, 4, 4), x(), 2, output_mask=(True, True)),
        InvalidProblem,
        "output_mask must have 1 entries",
    ),
    # unfold and fold: hazards 1, 3, 6, 7, 8
    "unfold kernel 0": (
        lambda: pyconv.unfold(x(), 0),
        InvalidProblem,
        r"unfold\(x \(1, 4, 8, 8\)\): kernel_size must be >= 1",
    ),
    "unfold stride 0": (lambda: pyconv.unfold(x(), 3, stride=0), InvalidProblem, "stride must be >= 1"),
    "unfold dilation 0": (lambda: pyconv.unfold(x(), 3, dilation=0), InvalidProblem, "dilation must be >= 1"),
    "unfold padding -1": (lambda: pyconv.unfold(x(), 3, padding=-1), InvalidProblem, "padding must be >= 0"),
    "unfold same": (lambda: pyconv.unfold(x(), 3, 1, "same", 2), InvalidProblem, '"same" needs stride 1'),
    "unfold padding word": (lambda: pyconv.unfold(x(), 3, padding="full"), InvalidProblem, '"same" or "valid"'),
    "unfold too large": (
        lambda: pyconv.unfold(x(), 9),
        InvalidProblem,
        "larger than the padded image along h: .* x has 8",
    ),
    "unfold dilation 2^62": (lambda: pyconv.unfold(x(), 3, 2**62), InvalidProblem, "larger than the padded image"),
    "unfold padding 2^62": (lambda: pyconv.unfold(x(), 3, padding=2**62), InvalidProblem, r"2\^60"),
    "unfold kernel 2^31": (lambda: pyconv.unfold(x(), 2**31, padding=2**31), InvalidProblem, r"2\^60"),
    "unfold kernel 3.0": (lambda: pyconv.unfold(x(), 3.0), TypeError, "integer"),
    "unfold kernel of 3": (
        lambda: pyconv.unfold(x(), (3, 3, 3)),
        InvalidProblem,
        "kernel_size must be an integer or 2",
    ),
    "unfold rank 2": (
        lambda: pyconv.unfold(x(8, 8), 3),
        InvalidProblem,
        r"x must have axes \(n, c, h, w\) or \(c, h, w\)",
    ),
    "unfold rank 5": (lambda: pyconv.unfold(x(1, 1, 4, 8, 8), 3), InvalidProblem, "x must have axes"),
    "unfold list": (lambda: pyconv.unfold([[1.0]], 3), TypeError, "x must be an array, got list"),
    "unfold integers": (lambda: pyconv.unfold(x().astype(int), 3), TypeError, "x must be float16, .* got int64"),
    "unfold out": (
        lambda: pyconv.unfold(x(), 3, out=ones(1, 36, 35)),
        InvalidProblem,
        r"out must have .* \(1, 36, 36\)",
    ),
    "unfold col2im": (lambda: pyconv.unfold(x(), 3, algorithm="col2im"), InvalidProblem, "no algorithm is called"),
    "fold rows": (
        lambda: pyconv.fold(x(1, 10, 9), 5, 3),
        InvalidProblem,
        r"fold\(x \(1, 10, 9\)\): x must have a row for each channel and tap, a multiple of 3 \* 3 = 9, got 10 rows",
    ),
    "fold columns": (
        lambda: pyconv.fold(x(1, 9, 8), 5, 3),
        InvalidProblem,
        r"x must have a column for each of the 3 \* 3 = 9 windows of output_size \(5, 5\), got 8 columns",
    ),
    "fold too large": (lambda: pyconv.fold(x(1, 9, 9), 2, 3), InvalidProblem, "output_size has 2"),
    "fold output -5": (lambda: pyconv.fold(x(1, 9, 9), -5, 3), InvalidProblem, "output_size must be >= 0"),
    "fold kernel 0": (lambda: pyconv.fold(x(1, 9, 9), 5, 0), InvalidProblem, "kernel_size must be >= 1"),
    "fold output 5.0": (lambda: pyconv.fold(x(1, 9, 9), 5.0, 3), TypeError, "integer"),
    "fold output of 3": (
        lambda: pyconv.fold(x(1, 9, 9), (5, 5, 5), 3),
        InvalidProblem,
        "output_size must be an integer",
    ),
    "fold rank 1": (lambda: pyconv.fold(x(9), 5, 3), InvalidProblem, r"x must have axes \(n, c \* kh \* kw, columns\)"),
    "fold rank 4": (lambda: pyconv.fold(x(1, 1, 9, 9), 5, 3), InvalidProblem, "x must have axes"),
    "fold out": (lambda: pyconv.fold(x(1, 9, 9), 5, 3, out=np.ones((1, 1, 5, 5))), TypeError, "out must be float32"),
    "grad of unfold": (
        lambda: pyconv.grad.unfold(x(1, 36, 35), x(), 3),
        InvalidProblem,
        r"grad\.unfold: grad_output must have the output's shape \(1, 36, 36\), got \(1, 36, 35\)",
    ),
    "grad of unfold mixed": (lambda: pyconv.grad.unfold(np.ones((1, 36, 36)), x(), 3), TypeError, "one dtype"),
    "grad of unfold too large": (
        lambda: pyconv.grad.unfold(x(1, 36, 36), x(), 9),
        InvalidProblem,
        r"grad\.unfold\(grad_output \(1, 36, 36\), x \(1, 4, 8, 8\)\): the window is larger",
    ),
    "grad of fold": (
        lambda: pyconv.grad.fold(x(1, 5, 5), x(1, 9, 9), 5, 3),
        InvalidProblem,
        r"shape \(1, 1, 5, 5\), got \(1, 5, 5\)",
    ),
    "grad of fold mask": (
        lambda: pyconv.grad.fold(x(1, 1, 5, 5), x(1, 9, 9), 5, 3, output_mask=(True, False)),
        InvalidProblem,
        "output_mask must have 1 entries",
    ),
    "unknown keyword": (lambda: pyconv.conv2d(x(), w(), strides=2), TypeError, "strides"),
    "prepare": (lambda: pyconv.prepare(np.add, w()), TypeError, r"prepare takes one of pyconv\.conv1d"),
    "prepare keyword": (lambda: pyconv.prepare(pyconv.conv2d, w(), strides=2), TypeError, "strides"),
    "explain": (lambda: pyconv.explain("conv2d", x(), w()), TypeError, "explain takes one of"),
    "explain keyword": (lambda: pyconv.explain(pyconv.conv2d, x(), w(), strides=2), TypeError, "strides"),
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
    before = current()
    MADE.clear()
    with pytest.raises(error, match=message):
        call()
    assert current() is before, "a refused option changed another"
    assert all((array == 1).all() for array in MADE), "a failed call wrote to an array"


@pytest.mark.parametrize(
    "settings",
    [
        {"stride": 0},
        {"padding": -1},
        {"padding": 1},  # out has another shape then
        {"padding": "full"},
        {"dilation": 4},
        {"groups": 3},
        {"padding_mode": "edge"},
        {"algorithm": "depthwise"},
        {"algorithm": "nothing"},
        {"activation": "gelu"},
        {"residual": np.zeros((1, 6, 5, 5), F32)},
        {"residual": np.zeros((1, 6, 6, 6))},
        {"stride": 1.0},
    ],
    ids=lambda settings: "-".join(f"{key}={np.shape(value) or value}" for key, value in settings.items()),
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


@pytest.mark.timeout(20)
def test_no_memory_names_the_size() -> None:
    """Hazard 61; the library works afterwards. Estimates take no longer for large sizes."""
    small = np.ones((1, 1, 1, 1), F32)
    with pytest.raises(MemoryError, match=r"no memory for an output of \d+ bytes"):
        pyconv.conv2d(small, small, padding=2**27)
    assert pyconv.conv2d(small, small).item() == 1.0


def test_a_list_says_what_a_tuple_says() -> None:
    """Every sequence that is taken may be a list, also the activation's."""
    expected = pyconv.conv2d(x(), w(), stride=(2, 1), padding=((1, 0), (0, 1)), activation=("leaky_relu", 0.5))
    settings: dict[str, Any] = {"stride": [2, 1], "padding": [[1, 0], [0, 1]], "activation": ["leaky_relu", 0.5]}
    np.testing.assert_array_equal(pyconv.prepare(pyconv.conv2d, w(), **settings)(x()), expected)
    np.testing.assert_array_equal(pyconv.conv2d(x(), w(), **settings), expected)


def test_the_table_of_reasons_comes_with_unsupported() -> None:
    """A forced algorithm never falls back: each candidate of the name says why not."""
    with pytest.raises(Unsupported) as caught:
        pyconv.conv2d(x(), w(), algorithm="depthwise")
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("conv2d(x (1, 4, 8, 8), w (6, 4, 3, 3)): no permitted algorithm can do conv2d n1c4h8w8")
    assert lines[1:]
    assert all("conv2d.depthwise.f32@" in line and ": needs one input channel" in line for line in lines[1:])
