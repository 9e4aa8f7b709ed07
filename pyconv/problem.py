"""Frozen descriptors of problems: the only shape arithmetic in the project.

A problem holds sizes and words, never arrays. It is hashable, and its string is the pytest id, the benchmark's name,
the cache key and the bug report in one: ``n1c64h56w56-o64k3s1p1-f32``.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import starmap
from typing import Any, NamedTuple, Protocol

from .errors import InvalidProblem

__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "FLOATS",
    "INTEGERS",
    "MAX_SAMPLING_RATIO",
    "PADDING_MODES",
    "ROI_MODES",
    "ROI_MODES_OF_MAXIMA",
    "ConvBiasProblem",
    "ConvProblem",
    "ConvWeightProblem",
    "ElementwiseProblem",
    "LinearProblem",
    "NmsProblem",
    "NormProblem",
    "Operand",
    "PhaseAxis",
    "PoolProblem",
    "Problem",
    "ResizeProblem",
    "ResponseProblem",
    "RoiProblem",
    "TransposedPart",
    "TransposedProblem",
    "UnpoolProblem",
    "output_size",
    "pad_index",
    "pooled_size",
    "standard_strides",
]

#: The word of each element type by NumPy's name, and the size of each.
DTYPES = {
    "float16": "f16",
    "float32": "f32",
    "float64": "f64",
    "int8": "i8",
    "uint8": "u8",
    "int16": "i16",
    "uint16": "u16",
    "int32": "i32",
    "uint32": "u32",
    "int64": "i64",
    "uint64": "u64",
}
FLOATS = ("f16", "f32", "f64")
INTEGERS = tuple(word for word in DTYPES.values() if word not in FLOATS)
ITEM_BYTES = {word: int(re.sub(r"\D", "", word)) // 8 for word in DTYPES.values()}
POOL_KINDS = ("max", "avg", "lp")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
ROI_KINDS = ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool")
ROI_MODES = ("avg", "max")
ROI_MODES_OF_MAXIMA = ("interpolated", "weighted")
#: Samples of a bin along one axis that may be asked for: no more than that is work without end.
MAX_SAMPLING_RATIO = 4096
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")
DEFAULT_SLOPES = {"leaky_relu": 0.01, "elu": 1.0}
#: Sizes beyond this cannot be addressed; the check keeps every product in the kernels' 64-bit integers.
MAX_ELEMENTS = 1 << 60
#: Words of a convolution's string that stand for a field.
_FLAGS = ("channels_last", "bias", "residual")
AXES = {1: "w", 2: "hw", 3: "dhw"}

Pads = tuple[tuple[int, int], ...]


def standard_strides(shape: tuple[int, ...], channels_last: bool, item_bytes: int) -> tuple[int, ...]:
    """Byte strides of a fresh array of this shape, channels (axis 1) first or last in memory."""
    order = [0, *range(2, len(shape)), 1] if channels_last else range(len(shape))
    strides, step = [0] * len(shape), item_bytes
    for axis in reversed(order):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


class Operand(NamedTuple):
    """One array of a problem that kernels touch where it lies: its name, shape, element type and memory order."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    channels_last: bool = False

    @property
    def fresh_strides(self) -> tuple[int, ...]:
        """Byte strides of a fresh array."""
        return standard_strides(self.shape, self.channels_last, ITEM_BYTES[self.dtype])


class Problem(Protocol):
    """What planning asks of a descriptor, whatever the operation; frozen, hashable, made of sizes and words.

    ``str`` is its name everywhere: the pytest id, the benchmark's name, the bug report.
    """

    @property
    def op(self) -> str:
        """Return the operation: the public function's name, and for a gradient ``-grad-`` and the argument's."""

    @property
    def dtype(self) -> str:
        """Return the element type of x."""

    @property
    def rank(self) -> int:
        """Return the number of spatial axes."""

    @property
    def flops(self) -> int:
        """Return the operations of the definition."""

    @property
    def bytes(self) -> int:
        """Return the bytes of all arrays, each counted once."""

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """Return the arrays that are read where they lie (weights are packed first, and are none of them)."""

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """Return the arrays that are written."""


def output_size(size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int) -> int:
    """floor((size + before + after - dilation * (kernel - 1) - 1) / stride) + 1, at least 0."""
    room = size + padding[0] + padding[1] - dilation * (kernel - 1) - 1
    return room // stride + 1 if room >= 0 else 0


def pooled_size(
    size: int, kernel: int, stride: int, padding: tuple[int, int], dilation: int, *, ceil_mode: bool
) -> int:
    """Return the outputs along one axis; with ``ceil_mode`` a last window may hang over, but not begin in the border.

    Examples
    --------
    >>> pooled_size(5, 2, 2, (0, 0), 1, ceil_mode=False), pooled_size(5, 2, 2, (0, 0), 1, ceil_mode=True)
    (2, 3)
    """
    room = size + sum(padding) - dilation * (kernel - 1) - 1
    out = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (out - 1) * stride >= size + padding[0]:
        out -= 1
    return max(0, out)


def pad_index(index: int, size: int, mode: str) -> int:
    """Where ``index`` outside an axis of ``size`` elements is read from; -1 for a zero (``numpy.pad``'s meaning).

    ``'reflect'``: 1234 -> 32|1234|32; ``'symmetric'``: 21|1234|43; ``'replicate'``: 11|1234|44;
    ``'circular'``: 34|1234|12; ``'zeros'``: 00|1234|00.

    Examples
    --------
    >>> [pad_index(i, 4, "reflect") + 1 for i in range(-2, 6)]
    [3, 2, 1, 2, 3, 4, 3, 2]
    """
    if 0 <= index < size:
        return index
    if mode == "zeros":
        return -1
    if mode == "replicate" or size == 1:
        return 0 if index < 0 else size - 1
    if mode == "circular":
        return index % size
    period = 2 * (size - 1) if mode == "reflect" else 2 * size
    folded = index % period
    if folded < size:
        return folded
    return period - folded if mode == "reflect" else period - 1 - folded


@dataclass(frozen=True, slots=True)
class ConvProblem:
    """A convolution of one, two or three spatial axes.

    Parameters
    ----------
    n, c_in, c_out, groups : int
        Images, input channels, output channels, groups (channels are totals, not per group).
    spatial, kernel, stride, dilation : tuple of int
        One entry a spatial axis, (d, h, w) order.
    padding : tuple of (before, after)
        Elements added on each side of each axis.
    padding_mode : str
        One of :data:`PADDING_MODES`.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
        Whether channels are the fastest axis in memory.
    bias, residual : bool
        Whether they are added.
    activation : str or None
        One of :data:`ACTIVATIONS`.
    slope : float
        Of ``leaky_relu`` below zero, or ``elu``'s alpha.
    """

    n: int
    c_in: int
    c_out: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    dtype: str = "f32"
    channels_last: bool = False
    bias: bool = False
    residual: bool = False
    activation: str | None = None
    slope: float = 0.0

    def __post_init__(self) -> None:
        _check_window(self)
        _check_epilogue(self)
        for axis, size, kernel, padding, dilation in zip(
            AXES[self.rank], self.spatial, self.kernel, self.padding, self.dilation, strict=True
        ):
            reach, padded = dilation * (kernel - 1) + 1, size + sum(padding)
            if reach > padded:
                raise InvalidProblem(
                    f"the kernel is larger than the padded input along {axis}: it covers {reach} elements "
                    f"(kernel {kernel}, dilation {dilation}), x has {padded} ({size} + padding {padding})"
                )
            if size == 0 and any(padding) and self.padding_mode != "zeros":
                raise InvalidProblem(f"an empty axis ({axis}) cannot be padded with padding_mode={self.padding_mode!r}")
        channels = self.c_in // self.groups
        padded_elements = (
            self.n
            * self.c_in
            * math.prod(size + sum(padding) for size, padding in zip(self.spatial, self.padding, strict=True))
        )
        _check_addressable(
            ("the padded input", padded_elements),
            ("the output", self.n * self.c_out * math.prod(self.out_spatial)),
            ("the weights", self.c_out * channels * math.prod(self.kernel)),
            ("the stride", max(self.stride)),
            ("the dilation", max(self.dilation)),
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def kernel_axes(self) -> str:
        """The names that kernels know the spatial axes by: d, h and w, where h and w make the planes they work on.

        Where a kernel of three axes has one tap along h, that axis may be their d, and d their h: whatever is fast for
        planes is fast for ``3x1x1`` and ``3x1x3`` too.
        """
        if self.rank != 3:
            return AXES[self.rank]
        kd, kh, kw = self.kernel
        return "hdw" if kh == 1 < kd and kw in (1, kd) and self.stride[0] == 1 else "dhw"

    @property
    def op(self) -> str:
        """The name of the function: conv1d, conv2d or conv3d."""
        return f"conv{self.rank}d"

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        return tuple(
            starmap(output_size, zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True))
        )

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c_in, *self.spatial)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.n, self.c_out, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, and the residual where there is one."""
        x = Operand("x", self.x_shape, self.dtype, self.channels_last)
        return (x, Operand("residual", self.out_shape, self.dtype, self.channels_last)) if self.residual else (x,)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.out_shape, self.dtype, self.channels_last),)

    @property
    def reduction(self) -> int:
        """Products summed into one output element."""
        return self.c_in // self.groups * math.prod(self.kernel)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two for each product."""
        return 2 * math.prod(self.out_shape) * self.reduction

    @property
    def bytes(self) -> int:
        """Bytes of x, w and the output, each counted once."""
        elements = math.prod(self.x_shape) + math.prod(self.w_shape) + math.prod(self.out_shape) * (1 + self.residual)
        return elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c_in}{_axes_text(self.spatial)}-o{self.c_out}{_window_text(self)}"
        if self.groups != 1:
            text += f"g{self.groups}"
        return text + f"-{self.dtype}" + _words_text(self)

    @classmethod
    def parse(cls, text: str) -> ConvProblem:
        """Inverse of ``str``.

        Examples
        --------
        >>> problem = ConvProblem.parse("n1c64h56w56-o64k3s1p1-f32-bias-relu")
        >>> problem.out_shape, str(problem)
        ((1, 64, 56, 56), 'n1c64h56w56-o64k3s1p1-f32-bias-relu')
        """
        match = re.fullmatch(
            r"n(\d+)c(\d+)((?:[dhw]\d+){1,3})-o(\d+)k([\dx]+)s([\dx]+)p([\dx:]+)(?:d([\dx]+))?(?:g(\d+))?-(f\d\d)(.*)",
            text,
        )
        if not match:
            raise InvalidProblem(f"{text!r} is not a problem; one looks like n1c64h56w56-o64k3s1p1-f32")
        n, c_in, sizes, c_out, kernel, stride, pads, dilation, groups, dtype, words = match.groups()
        axes = re.findall(r"([dhw])(\d+)", sizes)
        rank = len(axes)
        if "".join(axis for axis, _ in axes) != AXES[rank]:
            raise InvalidProblem(f"the axes of {text!r} must be w, hw or dhw in this order")
        return cls(
            n=int(n),
            c_in=int(c_in),
            c_out=int(c_out),
            spatial=tuple(int(size) for _, size in axes),
            kernel=_ints(kernel, rank),
            stride=_ints(stride, rank),
            padding=_pads(pads, rank),
            dilation=_ints(dilation, rank),
            groups=int(groups or 1),
            dtype=dtype,
            **_words_of(words, text),
        )


class PhaseAxis(NamedTuple):
    """Where the results of a part of a transposed convolution lie along one axis (csrc/pyconv.h, pc_phase_axis).

    Result u of phase a is element ``first + stride u + step a`` of an axis of ``size`` elements, where there is one.
    """

    n: int
    stride: int
    step: int
    first: int
    size: int


class TransposedPart(NamedTuple):
    """An ordinary convolution of stride 1 that computes some phases of a transposed one, all with the same taps.

    Attributes
    ----------
    conv : ConvProblem
        Reads x without ``crop`` and has an output channel for each channel and phase.
    crop : tuple of (before, after)
        Elements of x along each axis that none of the part's taps reads.
    phases : tuple of PhaseAxis
    tap_step : tuple of int
        Tap j of phase a is tap ``first_tap + a + tap_step (taps - 1 - j)`` of the kernel.
    first_tap : tuple of int
    """

    conv: ConvProblem
    crop: Pads
    phases: tuple[PhaseAxis, ...]
    tap_step: tuple[int, ...]
    first_tap: tuple[int, ...]

    @property
    def n_phases(self) -> int:
        """Phases of each channel."""
        return math.prod(axis.n for axis in self.phases)

    @property
    def is_plain(self) -> bool:
        """Whether the results are the output's elements, as an ordinary convolution's are."""
        sizes = zip(self.phases, self.conv.out_spatial, strict=True)
        return all(axis == PhaseAxis(1, 1, axis.step, 0, out) for axis, out in sizes)


class _PartAxis(NamedTuple):
    """One axis of a part: taps, dilation, results, padding or crop of x, phases."""

    taps: int
    dilation: int
    padding: tuple[int, int]
    crop: tuple[int, int]
    phases: PhaseAxis
    tap_step: int
    first_tap: int


@dataclass(frozen=True, slots=True)
class TransposedProblem:
    """A transposed convolution, or (which is the same) the gradient of a convolution with respect to x.

    ``out[n, o, p] = activation(bias[o] + sum over c, a, i with s i + d a - before = p of w[c, o, a] x[n, c, i])``

    Parameters
    ----------
    n, c_in, c_out, groups : int
        Images; channels of the array that is read, and of the one that is written.
    spatial, kernel, stride, dilation : tuple of int
        One entry a spatial axis; ``spatial`` are the sizes of the array that is read.
    padding : tuple of (before, after)
        Elements of the full result that are left out on each side of each axis.
    output_padding : tuple of int
        Elements added behind each axis of the result, where stride makes its size ambiguous.
    padding_mode : str
        Of the convolution whose gradient this is: what falls on its border is added where that was read from.
    dtype, channels_last, bias, activation, slope
        As in :class:`ConvProblem`.
    gradient : bool
        Whether it is a convolution's gradient.
    """

    n: int
    c_in: int
    c_out: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    output_padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    padding_mode: str = "zeros"
    dtype: str = "f32"
    channels_last: bool = False
    bias: bool = False
    activation: str | None = None
    slope: float = 0.0
    gradient: bool = False

    def __post_init__(self) -> None:
        _check_window(self)
        _check_epilogue(self)
        if min(self.output_padding) < 0:
            raise InvalidProblem(f"output_padding must be >= 0, got {self.output_padding}")
        if self.gradient and min(self.out_spatial) < 0:
            raise InvalidProblem(f"x would have the sizes {self.out_spatial}")
        if not self.gradient:
            for extra, stride, dilation in zip(self.output_padding, self.stride, self.dilation, strict=True):
                if extra >= max(stride, dilation):
                    raise InvalidProblem(
                        f"output_padding must be smaller than stride or dilation, got {self.output_padding} with "
                        f"stride {self.stride} and dilation {self.dilation}"
                    )
            for axis, size, out in zip(AXES[self.rank], self.spatial, self.out_spatial, strict=True):
                if size == 0 or out < 1:
                    raise InvalidProblem(
                        f"the output would be empty along {axis}: x has {size} elements, which make {out} with kernel "
                        f"{self.kernel}, stride {self.stride}, padding {self.padding} and dilation {self.dilation}"
                    )
        _check_addressable(
            ("the full output", self.n * self.c_out * math.prod(size + sum(pads) for size, pads in self._padded)),
            ("the input", math.prod(self.x_shape)),
            ("the weights", math.prod(self.w_shape)),
            ("the stride", max(self.stride)),
            ("the dilation", max(self.dilation)),
        )

    @property
    def _padded(self) -> zip[tuple[int, tuple[int, int]]]:
        return zip((max(0, out) for out in self.out_spatial), self.padding, strict=True)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """conv_transpose2d, or conv2d-grad-x."""
        return f"conv{self.rank}d-grad-x" if self.gradient else f"conv_transpose{self.rank}d"

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        axes = zip(
            self.spatial, self.kernel, self.stride, self.padding, self.dilation, self.output_padding, strict=True
        )
        return tuple((size - 1) * s - sum(pads) + d * (k - 1) + 1 + extra for size, k, s, pads, d, extra in axes)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the array that is read: x, or grad_output."""
        return (self.n, self.c_in, *self.spatial)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_in, self.c_out // self.groups, *self.kernel)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.n, self.c_out, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, or grad_output."""
        return (Operand("grad_output" if self.gradient else "x", self.x_shape, self.dtype, self.channels_last),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.out_shape, self.dtype, self.channels_last),)

    @property
    def reduction(self) -> int:
        """Most products summed into one output element."""
        axes = zip(self.kernel, self.stride, self.dilation, strict=True)
        return self.c_in // self.groups * math.prod(-(-k // (s // math.gcd(s, d))) for k, s, d in axes)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two for each product."""
        return 2 * math.prod(self.x_shape) * self.c_out // self.groups * math.prod(self.kernel)

    @property
    def bytes(self) -> int:
        """Bytes of x, w and the output, each counted once."""
        elements = math.prod(self.x_shape) + math.prod(self.w_shape) + math.prod(self.out_shape)
        return elements * ITEM_BYTES[self.dtype]

    @property
    def onto_the_border(self) -> TransposedProblem:
        """The same with the border as a part of the output."""
        nothing = ((0, 0),) * self.rank
        return replace(self, padding=nothing, padding_mode="zeros")

    @property
    def parts(self) -> tuple[TransposedPart, ...]:
        """Return the convolutions of stride 1 that it is made of; none sums a tap that is not there.

        Output p = s i + d a - before has the residue of d a modulo s: the taps of one residue are neighbours in steps
        of s / gcd(s, d), and make a convolution of stride 1 whose results are every s-th output. Phases with as many
        taps share their windows of x, so they are output channels of one convolution.
        """
        return _parts_of(self)

    @property
    def is_covered(self) -> bool:
        """Whether the parts write every element; those that no tap reaches hold the bias."""
        written = sum(
            math.prod(len(_positions(axis, out)) for axis, out in zip(part.phases, part.conv.out_spatial, strict=True))
            for part in self.parts
        )
        return written == math.prod(self.out_spatial)

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c_in}{_axes_text(self.spatial)}-o{self.c_out}{_window_text(self)}"
        if any(self.output_padding):
            text += f"+{_join(self.output_padding)}"
        if self.groups != 1:
            text += f"g{self.groups}"
        return text + f"-{self.dtype}" + _words_text(self)

    @classmethod
    def parse(cls, op: str, text: str) -> TransposedProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = TransposedProblem.parse("conv_transpose2d", "n1c64h8w8-o32k3s2p1+1-f32-bias")
        >>> problem.out_shape, str(problem)
        ((1, 32, 16, 16), 'n1c64h8w8-o32k3s2p1+1-f32-bias')
        """
        name = re.fullmatch(r"conv_transpose([123])d|conv([123])d-grad-x", op)
        match = re.fullmatch(
            r"n(\d+)c(\d+)((?:[dhw]\d+){1,3})-o(\d+)k([\dx]+)s([\dx]+)p([\dx:]+)(?:d([\dx]+))?(?:\+([\dx]+))?(?:g(\d+))?"
            r"-(f\d\d)(.*)",
            text,
        )
        if not name or not match:
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n1c64h8w8-o32k3s2p1+1-f32")
        n, c_in, sizes, c_out, kernel, stride, pads, dilation, extra, groups, dtype, words = match.groups()
        axes = re.findall(r"([dhw])(\d+)", sizes)
        rank = int(name[1] or name[2])
        if "".join(axis for axis, _ in axes) != AXES[rank]:
            raise InvalidProblem(f"the axes of {text!r} must be {AXES[rank]}")
        return cls(
            n=int(n),
            c_in=int(c_in),
            c_out=int(c_out),
            spatial=tuple(int(size) for _, size in axes),
            kernel=_ints(kernel, rank),
            stride=_ints(stride, rank),
            padding=_pads(pads, rank),
            output_padding=_ints(extra or "0", rank),
            dilation=_ints(dilation, rank),
            groups=int(groups or 1),
            dtype=dtype,
            gradient=bool(name[2]),
            **_words_of(words, text),
        )


def _positions(axis: PhaseAxis, results: int) -> set[int]:
    """Return the elements that phases of one axis write."""
    everything = (axis.first + axis.stride * u + axis.step * a for u in range(results) for a in range(axis.n))
    return {at for at in everything if 0 <= at < axis.size}


#: Phases that share windows compute some results beyond the edges of the output; where these are more than this share,
#: each phase is a part of its own. Along the last axis phases together are interleaved in registers, so it takes more.
_WASTE, _WASTE_LAST = 1.12, 1.4


def _part_axes(
    size: int, kernel: int, stride: int, before: int, dilation: int, out: int, waste: float
) -> list[_PartAxis]:
    """Cut one axis into groups of phases that have the same number of taps: two, or one for each phase."""
    shared = math.gcd(stride, dilation)
    tap_step, step = stride // shared, dilation // shared

    def results(begin: int, end: int) -> tuple[int, int]:
        """Return the range of u: result u of phase a is output stride u + dilation (begin + a) - before."""
        return -(-(before - dilation * (end - 1)) // stride), (out - 1 + before - dilation * begin) // stride

    longer = kernel % tap_step  # phases with one tap more than the others
    groups = [(0, longer, kernel // tap_step + 1), (longer, min(kernel, tap_step), kernel // tap_step)]
    if kernel < tap_step:
        groups = [(0, kernel, 1)]
    first_u, last_u = results(0, min(kernel, tap_step))
    if (last_u + 1 - first_u) * stride > waste * out and min(kernel, tap_step) <= 4:
        groups = [(a, a + 1, taps) for begin, end, taps in groups for a in range(begin, end)]
    found = []
    for begin, end, taps in groups:
        first_u, last_u = results(begin, end)
        if begin == end or last_u < first_u:
            continue
        left = step * (taps - 1) - first_u
        right = last_u + 1 - size
        crop = (max(0, -left), max(0, -right))
        if sum(crop) >= size:  # no result reads anything
            continue
        phases = PhaseAxis(end - begin, stride, dilation, stride * first_u + dilation * begin - before, out)
        found.append(_PartAxis(taps, step, (max(0, left), max(0, right)), crop, phases, tap_step, begin))
    return found


@lru_cache(maxsize=512)
def _parts_of(problem: TransposedProblem) -> tuple[TransposedPart, ...]:
    if problem.c_in == 0 or 0 in problem.spatial or problem.n == 0:
        return ()
    sizes = zip(
        problem.spatial,
        problem.kernel,
        problem.stride,
        (before for before, _ in problem.padding),
        problem.dilation,
        problem.out_spatial,
        [_WASTE] * (problem.rank - 1) + [_WASTE_LAST],
        strict=True,
    )
    parts = []
    for axes in itertools.product(*starmap(_part_axes, sizes)):
        count = math.prod(axis.phases.n for axis in axes)
        conv = ConvProblem(
            n=problem.n,
            c_in=problem.c_in,
            c_out=problem.c_out * count,
            spatial=tuple(size - sum(axis.crop) for size, axis in zip(problem.spatial, axes, strict=True)),
            kernel=tuple(axis.taps for axis in axes),
            stride=(1,) * problem.rank,
            padding=tuple(axis.padding for axis in axes),
            dilation=tuple(axis.dilation for axis in axes),
            groups=problem.groups,
            dtype=problem.dtype,
            channels_last=problem.channels_last,
            bias=problem.bias,
            activation=problem.activation,
            slope=problem.slope,
        )
        parts.append(
            TransposedPart(
                conv,
                tuple(axis.crop for axis in axes),
                tuple(axis.phases for axis in axes),
                tuple(axis.tap_step for axis in axes),
                tuple(axis.first_tap for axis in axes),
            )
        )
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class ConvWeightProblem:
    """The gradient of a convolution, or of a transposed one, with respect to its weights.

    dW[o, c, a] = sum over n, p of small[n, o, p] * large[n, c, s p - before + d a], channels of the group of o. The
    forward convolution makes small of large; so ``small`` is its grad_output and ``large`` its x. A transposed
    convolution makes large of small, and the arrays change their parts.

    Parameters
    ----------
    conv : ConvProblem
        The convolution from large to small: no bias, residual or activation.
    transposed : bool
        Whether the forward function is the transposed one, whose x is small and whose output is large.
    """

    conv: ConvProblem
    transposed: bool = False

    def __post_init__(self) -> None:
        if self.conv.bias or self.conv.residual or self.conv.activation is not None:
            raise InvalidProblem(f"a gradient of weights has no bias, residual or activation, got {self.conv}")

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return self.conv.rank

    @property
    def dtype(self) -> str:
        """Element type of all arrays."""
        return self.conv.dtype

    @property
    def op(self) -> str:
        """conv2d-grad-w, conv_transpose2d-grad-w, and so on."""
        return f"{'conv_transpose' if self.transposed else 'conv'}{self.rank}d-grad-w"

    @property
    def large(self) -> str:
        """The name of the array that windows are read from."""
        return "grad_output" if self.transposed else "x"

    @property
    def small(self) -> str:
        """The name of the array with an element a window."""
        return "x" if self.transposed else "grad_output"

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """grad_output and x."""
        conv = self.conv
        large = Operand(self.large, conv.x_shape, conv.dtype, conv.channels_last)
        small = Operand(self.small, conv.out_shape, conv.dtype, conv.channels_last)
        return (large, small) if self.transposed else (small, large)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The gradient, of the shape of w."""
        return (Operand("out", self.conv.w_shape, self.conv.dtype),)

    @property
    def reduction(self) -> int:
        """Products summed into one element of the result."""
        return self.conv.n * math.prod(self.conv.out_spatial)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: two for each product."""
        return self.conv.flops

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return self.conv.bytes

    def __str__(self) -> str:
        return str(self.conv)

    @classmethod
    def parse(cls, op: str, text: str) -> ConvWeightProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = ConvWeightProblem.parse("conv2d-grad-w", "n8c64h56w56-o32k3s1p1-f32")
        >>> problem.outputs[0].shape, problem.op, str(problem)
        ((32, 64, 3, 3), 'conv2d-grad-w', 'n8c64h56w56-o32k3s1p1-f32')
        """
        name = re.fullmatch(r"conv(_transpose)?([123])d-grad-w", op)
        conv = ConvProblem.parse(text)
        if not name or conv.rank != int(name[2]):
            raise InvalidProblem(f"{op} {text!r} is not a gradient of weights of {conv.rank} spatial axes")
        return cls(conv, bool(name[1]))


@dataclass(frozen=True, slots=True)
class ConvBiasProblem:
    """The gradient of a convolution, or of a transposed one, with respect to its bias: sums over images and pixels.

    Parameters
    ----------
    n, c : int
        Images and channels of grad_output.
    spatial : tuple of int
        Its sizes, (d, h, w) order.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
        Whether channels are the fastest axis in memory.
    transposed : bool
        Whether the forward function is the transposed one.
    """

    n: int
    c: int
    spatial: tuple[int, ...]
    dtype: str = "f32"
    channels_last: bool = False
    transposed: bool = False

    def __post_init__(self) -> None:
        if len(self.spatial) not in AXES:
            raise InvalidProblem(f"a convolution has 1, 2 or 3 spatial axes, got {len(self.spatial)}")
        if min(self.n, self.c, *self.spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got n={self.n}, c={self.c}, {self.spatial}")
        if self.dtype not in FLOATS:
            raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {self.dtype!r}")
        _check_addressable(("grad_output", self.n * self.c * math.prod(self.spatial)))

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """conv2d-grad-bias, conv_transpose2d-grad-bias, and so on."""
        return f"{'conv_transpose' if self.transposed else 'conv'}{self.rank}d-grad-bias"

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """grad_output."""
        return (Operand("grad_output", (self.n, self.c, *self.spatial), self.dtype, self.channels_last),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The gradient, one element a channel."""
        return (Operand("out", (self.c,), self.dtype),)

    @property
    def reduction(self) -> int:
        """Elements summed into one."""
        return self.n * math.prod(self.spatial)

    @property
    def flops(self) -> int:
        """Additions of the definition."""
        return self.c * self.reduction

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return (self.c * self.reduction + self.c) * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c}{_axes_text(self.spatial)}-{self.dtype}"
        return f"{text}-channels_last" if self.channels_last else text

    @classmethod
    def parse(cls, op: str, text: str) -> ConvBiasProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = ConvBiasProblem.parse("conv2d-grad-bias", "n8c64h56w56-f32")
        >>> problem.outputs[0].shape, problem.op, str(problem)
        ((64,), 'conv2d-grad-bias', 'n8c64h56w56-f32')
        """
        name = re.fullmatch(r"conv(_transpose)?([123])d-grad-bias", op)
        match = re.fullmatch(r"n(\d+)c(\d+)((?:[dhw]\d+){1,3})-(f\d\d)(-channels_last)?", text)
        axes = re.findall(r"([dhw])(\d+)", match[3]) if match else []
        if not name or not match or "".join(axis for axis, _ in axes) != AXES[int(name[2])]:
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n8c64h56w56-f32")
        return cls(
            n=int(match[1]),
            c=int(match[2]),
            spatial=tuple(int(size) for _, size in axes),
            dtype=match[4],
            channels_last=bool(match[5]),
            transposed=bool(name[1]),
        )


@dataclass(frozen=True, slots=True)
class PoolProblem:
    """Pooling over windows of one, two or three spatial axes, or its gradient with respect to x.

    Parameters
    ----------
    kind : {"max", "avg", "lp"}
    n, c : int
        Images and channels.
    spatial, kernel, stride, dilation : tuple of int
        One entry a spatial axis, (d, h, w) order.
    padding : tuple of (before, after)
        Elements added on each side of each axis; no maximum is one of them.
    ceil_mode : bool
        Whether a last window may hang over the end.
    adaptive : tuple of int or None
        The output sizes, of which kernel, stride and the others are made then.
    count_include_pad : bool
        Whether an average divides by the padding as well.
    divisor : int or None
        What averages divide by instead of their number of elements.
    norm : float
        The p of "lp", the p-th root of a sum of p-th powers; 0 for the others.
    indices : bool
        Maxima come with their indices; a gradient is given them.
    gradient : bool
        Whether this is the gradient.
    dtype : str
    channels_last : bool
        Whether channels are the fastest axis in memory.
    """

    kind: str
    n: int
    c: int
    spatial: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pads
    dilation: tuple[int, ...]
    ceil_mode: bool = False
    adaptive: tuple[int, ...] | None = None
    count_include_pad: bool = True
    divisor: int | None = None
    norm: float = 0.0
    indices: bool = False
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        rank = len(self.spatial)
        if rank not in AXES:
            raise InvalidProblem(f"pooling has 1, 2 or 3 spatial axes, got {rank}")
        if self.kind not in POOL_KINDS:
            raise InvalidProblem(f"kind must be one of {', '.join(POOL_KINDS)}, got {self.kind!r}")
        for name in ("kernel", "stride", "padding", "dilation"):
            if len(getattr(self, name)) != rank:
                raise InvalidProblem(f"{name} must have {rank} entries, got {getattr(self, name)}")
        if min(self.n, self.c, *self.spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got n={self.n}, c={self.c}, {self.spatial}")
        if self.dtype not in (ITEM_BYTES if self.kind == "max" and not self.gradient else FLOATS):
            raise InvalidProblem(f"{self.kind} pooling does not take {self.dtype}")
        if self.kind != "max" and (self.indices or max(self.dilation) > 1):
            raise InvalidProblem("only maxima have indices and a dilation")
        if (self.kind == "lp") != (self.norm != 0) or not 0 <= self.norm < math.inf:
            raise InvalidProblem(f"norm_type must be a number above 0, got {self.norm!r}")
        if self.kind == "lp" and (self.adaptive is not None or max(map(max, self.padding)) > 0):
            raise InvalidProblem("norms are taken of whole windows, without padding")
        if self.adaptive is not None:
            if len(self.adaptive) != rank or min(self.adaptive) < 0:
                raise InvalidProblem(f"output_size must be {rank} sizes >= 0, got {self.adaptive}")
        else:
            self._check_windows()
        if self.n * self.c and 0 not in self.out_spatial and 0 in self.spatial:
            raise InvalidProblem(f"x has an empty axis, {self.spatial}: there is nothing to pool")
        if self.divisor is not None and not 0 < abs(self.divisor) < 1 << 53:
            raise InvalidProblem(f"divisor_override must not be 0 and below 2^53, got {self.divisor}")
        padded = [size + sum(padding) for size, padding in zip(self.spatial, self.padding, strict=True)]
        _check_addressable(
            ("the padded input", self.n * self.c * math.prod(padded)),
            ("the output", self.n * self.c * math.prod(self.out_spatial)),
            ("the stride", max(self.stride)),
            ("the window", math.prod(self.kernel)),
        )

    def _check_windows(self) -> None:
        for name in ("kernel", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                what = "kernel_size" if name == "kernel" else name
                raise InvalidProblem(f"{what} must be >= 1, got {getattr(self, name)}")
        if min(min(pair) for pair in self.padding) < 0:
            raise InvalidProblem(f"padding must be >= 0, got {self.padding}; crop x to pad by less than nothing")
        for axis, size, kernel, padding, dilation, out in zip(
            AXES[self.rank], self.spatial, self.kernel, self.padding, self.dilation, self.out_spatial, strict=True
        ):
            reach = dilation * (kernel - 1) + 1
            if 2 * max(padding) > reach:
                raise InvalidProblem(
                    f"padding must be at most half of the window, which covers {reach} elements along {axis} "
                    f"(kernel_size {kernel}, dilation {dilation}), got {padding}"
                )
            if out < 1:
                raise InvalidProblem(
                    f"the window is larger than the padded input along {axis}: it covers {reach} elements "
                    f"(kernel_size {kernel}, dilation {dilation}), x has {size + sum(padding)} ({size} + padding "
                    f"{padding})"
                )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        name = f"{'' if self.adaptive is None else 'adaptive_'}{self.kind}_pool{self.rank}d"
        return f"{name}-grad-x" if self.gradient else name

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        if self.adaptive is not None:
            return self.adaptive
        return tuple(
            pooled_size(*axis, ceil_mode=self.ceil_mode)
            for axis in zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        )

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.n, self.c, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x; of a gradient grad_output, and x or the indices where it depends on them (an average's does not)."""
        x = Operand("x", self.x_shape, self.dtype, self.channels_last)
        if not self.gradient:
            return (x,)
        out = Operand("grad_output", self.out_shape, self.dtype, self.channels_last)
        if self.kind == "avg":
            return (out,)
        if self.indices:
            return out, Operand("indices", self.out_shape, "i64", self.channels_last)
        return out, x

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, and the indices where they are asked for; or the gradient."""
        out = Operand("out", self.x_shape if self.gradient else self.out_shape, self.dtype, self.channels_last)
        if self.gradient or not self.indices:
            return (out,)
        return out, Operand("indices", self.out_shape, "i64", self.channels_last)

    @property
    def roles(self) -> dict[str, str]:
        """Which array plays which part in a kernel, whose x is the array of the larger planes, read or written."""
        if not self.gradient:
            return {"x": "x", "out": "out", "indices": "indices"} if self.indices else {"x": "x", "out": "out"}
        roles = {"x": "out", "out": "grad_output"}
        if self.kind == "avg":
            return roles
        # (what was given to the forward call)
        return roles | ({"indices": "indices"} if self.indices else {"forward": "x"})

    @property
    def overlap(self) -> int:
        """Most terms that one result sums."""
        if not self.gradient:
            return self.window
        if self.adaptive is not None:
            return math.prod(-(-out // max(1, size)) + 1 for out, size in zip(self.adaptive, self.spatial, strict=True))
        return math.prod(-(-k // s) * d for k, s, d in zip(self.kernel, self.stride, self.dilation, strict=True))

    @property
    def window(self) -> int:
        """Elements of the largest window."""
        if self.adaptive is None:
            return math.prod(self.kernel)
        return math.prod(
            -(-size // max(1, out)) + 1 if size % max(1, out) else size // max(1, out)
            for size, out in zip(self.spatial, self.adaptive, strict=True)
        )

    @property
    def flops(self) -> int:
        """Comparisons or additions of the definition."""
        return math.prod(self.out_shape) * self.window

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        window = _window_text(self) if self.adaptive is None else f"to{'x'.join(map(str, self.adaptive))}"
        text = f"n{self.n}c{self.c}{_axes_text(self.spatial)}-{window}-{self.dtype}"
        words = (
            (self.ceil_mode, "ceil"),
            (not self.count_include_pad, "without_pad"),
            (self.divisor is not None, f"over{self.divisor}".replace("-", "minus")),
            (self.norm != 0, f"norm{self.norm!r}".replace("-", "minus")),
            (self.indices, "indices"),
            (self.channels_last, "channels_last"),
        )
        return text + "".join(f"-{word}" for said, word in words if said)

    @classmethod
    def parse(cls, op: str, text: str) -> PoolProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = PoolProblem.parse("max_pool2d", "n1c64h112w112-k3s2p1-f32-ceil")
        >>> problem.out_shape, problem.op, str(problem)
        ((1, 64, 57, 57), 'max_pool2d', 'n1c64h112w112-k3s2p1-f32-ceil')
        """
        name = re.fullmatch(r"(adaptive_)?(max|avg|lp)_pool([123])d(-grad-x)?", op)
        match = re.fullmatch(
            r"n(\d+)c(\d+)((?:[dhw]\d+){1,3})-(?:to([\dx]+)|k([\dx]+)s([\dx]+)p([\dx:]+)(?:d([\dx]+))?)-([fiu]\d+)(.*)",
            text,
        )
        if not name or not match or bool(name[1]) != bool(match[4]):
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n1c64h112w112-k3s2p1-f32")
        rank = int(name[3])
        axes = re.findall(r"([dhw])(\d+)", match[3])
        if "".join(axis for axis, _ in axes) != AXES[rank]:
            raise InvalidProblem(f"the axes of {text!r} must be {AXES[rank]}")
        found: dict[str, Any] = {}
        for word in filter(None, match[10].split("-")):
            if word.startswith("over"):
                found["divisor"] = int(word[4:].replace("minus", "-"))
            elif word.startswith("norm"):
                found["norm"] = float(word[4:].replace("minus", "-"))
            elif word in ("ceil", "without_pad", "indices", "channels_last"):
                found |= {"ceil": {"ceil_mode": True}, "without_pad": {"count_include_pad": False}}.get(
                    word, {word: True}
                )
            else:
                raise InvalidProblem(f"{word!r} in {text!r} is no word of a pooling problem")
        return cls(
            kind=name[2],
            n=int(match[1]),
            c=int(match[2]),
            spatial=tuple(int(size) for _, size in axes),
            kernel=_ints(match[5], rank),
            stride=_ints(match[6], rank),
            padding=_pads(match[7], rank),
            dilation=_ints(match[8], rank),
            adaptive=_ints(match[4], rank) if match[4] else None,
            gradient=bool(name[4]),
            dtype=match[9],
            **found,
        )


@dataclass(frozen=True, slots=True)
class UnpoolProblem:
    """Elements put where their indices say, zeros elsewhere; or the gradient, which reads what lies there.

    Parameters
    ----------
    n, c : int
        Images and channels.
    spatial, out_spatial : tuple of int
        Sizes of the planes that indices point into, and of x's own.
    gradient : bool
    dtype : str
    channels_last : bool
    """

    n: int
    c: int
    spatial: tuple[int, ...]
    out_spatial: tuple[int, ...]
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.spatial) not in AXES or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"un-pooling has 1, 2 or 3 spatial axes, got {self.out_spatial} -> {self.spatial}")
        if min(self.n, self.c, *self.spatial, *self.out_spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got {self.out_spatial} -> {self.spatial}")
        if self.dtype not in (FLOATS if self.gradient else ITEM_BYTES):
            raise InvalidProblem(f"{self.op} does not take {self.dtype}")
        _check_addressable(("the output", self.n * self.c * math.prod(self.spatial)))
        if 0 in self.spatial and self.n * self.c * math.prod(self.out_spatial):
            raise InvalidProblem(f"no index lies inside planes of size {self.spatial}")

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """max_unpool1d, 2d or 3d, and -grad-x for its gradient."""
        return f"max_unpool{self.rank}d{'-grad-x' if self.gradient else ''}"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of the array of the larger planes."""
        return (self.n, self.c, *self.spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the array of the smaller planes, which is the forward call's x."""
        return (self.n, self.c, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, or grad_output, and the indices."""
        indices = Operand("indices", self.out_shape, "i64", self.channels_last)
        if self.gradient:
            return Operand("grad_output", self.x_shape, self.dtype, self.channels_last), indices
        return Operand("x", self.out_shape, self.dtype, self.channels_last), indices

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.out_shape if self.gradient else self.x_shape, self.dtype, self.channels_last),)

    @property
    def roles(self) -> dict[str, str]:
        """Which array plays which part in a kernel, whose x is the array of the larger planes, read or written."""
        if self.gradient:
            return {"x": "grad_output", "out": "out", "indices": "indices"}
        return {"x": "out", "out": "x", "indices": "indices"}

    @property
    def flops(self) -> int:
        """Elements moved."""
        return math.prod(self.out_shape)

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        small, large = _axes_text(self.out_spatial), _axes_text(self.spatial)
        return f"n{self.n}c{self.c}{small}-to{large}-{self.dtype}{'-channels_last' if self.channels_last else ''}"


class _Layer:
    """What the small layers' problems share: no spatial axes that matter, and memory as what they cost."""

    __slots__ = ()

    @property
    def rank(self) -> int:
        """No spatial axes to plan by."""
        return 0

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """Arrays that are read; each problem has its own."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """Arrays that are written."""
        raise NotImplementedError

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))


def _check_floats(dtype: str) -> None:
    if dtype not in FLOATS:
        raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def _check_finite(**values: float) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise InvalidProblem(f"{name} must be finite, got {value}")


def _shape_text(shape: tuple[int, ...], dtype: str, *words: tuple[Any, str]) -> str:
    """Return "2x3x4-f32-word" with the words that are said."""
    sizes = "x".join(map(str, shape)) if shape else "scalar"
    return "-".join([sizes, dtype, *(word for said, word in words if said)])


@dataclass(frozen=True, slots=True)
class ElementwiseProblem(_Layer):
    """An activation of an array of any shape, or its gradient.

    Parameters
    ----------
    activation : str
        One of :data:`ACTIVATIONS`.
    shape : tuple of int
    slope : float
        Of ``leaky_relu`` below zero, or ``elu``'s alpha.
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    activation: str
    shape: tuple[int, ...]
    slope: float = 0.0
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InvalidProblem(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        _check_finite(slope=self.slope)
        _check_floats(self.dtype)
        _check_addressable(("x", math.prod(self.shape)))

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        return f"{self.activation}-grad-x" if self.gradient else self.activation

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, behind grad_output for a gradient."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        return (x._replace(name="grad_output"), x) if self.gradient else (x,)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """One function an element."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        usual = self.slope == DEFAULT_SLOPES.get(self.activation, 0.0)
        return _shape_text(
            self.shape, self.dtype, (self.channels_last, "channels_last"), (not usual, f"slope={self.slope!r}")
        )


#: What a :class:`NormProblem` may compute.
NORM_KINDS = ("infer", "train", "stats", "grad-infer", "grad-train")


@dataclass(frozen=True, slots=True)
class NormProblem(_Layer):
    """Batch normalisation with given statistics or with its own, the statistics alone, or gradients.

    Parameters
    ----------
    kind : str
        One of :data:`NORM_KINDS`.
    shape : tuple of int
        (n, c, ...).
    weight, bias : bool
        Whether there are any; for gradients, whether theirs is wanted, and ``scaled`` says whether there is a weight.
    eps : float
        Added to the variance.
    wants_x, scaled : bool
        Of a gradient: whether that of x is wanted, and whether there is a weight.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    kind: str
    shape: tuple[int, ...]
    weight: bool = False
    bias: bool = False
    eps: float = 1e-5
    wants_x: bool = True
    scaled: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.kind not in NORM_KINDS:
            raise InvalidProblem(f"kind must be one of {', '.join(NORM_KINDS)}, got {self.kind!r}")
        if len(self.shape) < 2:
            raise InvalidProblem(f"x must have axes (n, c, ...), got shape {self.shape}")
        if not math.isfinite(self.eps) or self.eps < 0:
            raise InvalidProblem(f"eps must be finite and >= 0, got {self.eps}")
        _check_floats(self.dtype)
        _check_addressable(("x", math.prod(self.shape)))
        if self.own and self.count == 1:
            raise InvalidProblem(
                f"statistics need more than one value a channel, got shape {self.shape}; use training=False"
            )
        if self.kind == "stats" and self.count == 0:
            raise InvalidProblem(f"an empty array has no statistics, got shape {self.shape}")
        if self.gradient and not (self.wants_x or self.weight or self.bias):
            raise InvalidProblem("there is no gradient to compute")

    @property
    def gradient(self) -> bool:
        """Whether it is one."""
        return self.kind.startswith("grad")

    @property
    def own(self) -> bool:
        """Whether the statistics are x's own."""
        return self.kind in ("train", "stats", "grad-train")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[1]

    @property
    def count(self) -> int:
        """Elements of a channel."""
        return self.shape[0] * math.prod(self.shape[2:])

    @property
    def op(self) -> str:
        """batch_norm, batch_norm_stats, -grad-x with those of weight and bias or without, -grad-weight for these."""
        if not self.gradient:
            return "batch_norm_stats" if self.kind == "stats" else "batch_norm"
        return f"batch_norm-grad-{'x' if self.wants_x else 'weight'}"

    def _vector(self, name: str) -> Operand:
        return Operand(name, (self.channels,), self.dtype)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The arrays that are read, in the order of the forward call."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        found = [x._replace(name="grad_output"), x] if self.gradient else [x]
        if not self.own:
            found += [self._vector("running_mean"), self._vector("running_var")]
        if self.scaled if self.gradient else self.weight:
            found.append(self._vector("weight"))
        if self.bias and not self.gradient:
            found.append(self._vector("bias"))
        return tuple(found)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, and the vectors that come with it."""
        wide = Operand("out", self.shape, self.dtype, self.channels_last)
        if self.kind == "stats":
            return self._vector("out"), self._vector("var")
        if self.kind == "train":
            return wide, self._vector("mean"), self._vector("var")
        if self.kind == "infer":
            return (wide,)
        if not self.wants_x:
            return self._vector("out"), self._vector("grad_bias")
        sums = (self._vector("grad_weight"), self._vector("grad_bias")) if self.weight or self.bias else ()
        return wide, *sums

    @property
    def flops(self) -> int:
        """Operations of the definition."""
        per = {"infer": 3, "train": 6, "stats": 3, "grad-infer": 4, "grad-train": 11}[self.kind]
        return per * math.prod(self.shape)

    def __str__(self) -> str:
        words = [(self.channels_last, "channels_last"), (self.kind not in ("infer", "stats"), self.kind)]
        words += [(self.weight, "weight"), (self.bias, "bias")]
        return _shape_text(self.shape, self.dtype, *words)


@dataclass(frozen=True, slots=True)
class ResponseProblem(_Layer):
    """Local response normalisation across channels, or its gradient.

    Parameters
    ----------
    shape : tuple of int
        (n, c, ...).
    size : int
        Channels of a window.
    alpha, beta, k : float
        ``x / (k + alpha / size * sum of squares)^beta``.
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    shape: tuple[int, ...]
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) < 3:
            raise InvalidProblem(f"x must have axes (n, c, ...), three or more, got shape {self.shape}")
        if self.size < 1:
            raise InvalidProblem(f"size must be >= 1, got {self.size}")
        _check_finite(alpha=self.alpha, beta=self.beta, k=self.k)
        _check_floats(self.dtype)
        _check_addressable(("x", math.prod(self.shape)), ("the window", self.size))

    @property
    def window(self) -> tuple[int, int]:
        """Channels before and after a window's own, as far as there can be any."""
        last = max(0, self.shape[1] - 1)
        return min(self.size // 2, last), min((self.size - 1) // 2, last)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        return "local_response_norm-grad-x" if self.gradient else "local_response_norm"

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, behind grad_output for a gradient."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        return (x._replace(name="grad_output"), x) if self.gradient else (x,)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """A square and an addition for each element of a window, and a power."""
        return (2 * (sum(self.window) + 1) + 10) * math.prod(self.shape) * (1 + self.gradient)

    def __str__(self) -> str:
        text = f"size{self.size}"
        if (self.alpha, self.beta, self.k) != (1e-4, 0.75, 1.0):
            text += f"-alpha={self.alpha!r}-beta={self.beta!r}-k={self.k!r}"
        return _shape_text(self.shape, self.dtype, (True, text), (self.channels_last, "channels_last"))


RESIZE_MODES = ("nearest", "nearest-exact")


@dataclass(frozen=True, slots=True)
class ResizeProblem(_Layer):
    """Nearest-neighbour resizing along one, two or three axes, or its gradient.

    Parameters
    ----------
    n, c : int
    spatial, out_spatial : tuple of int
        Sizes before and after.
    scales : tuple of float or None
        Output over input along each axis where the call gave factors; else the ratio of the sizes.
    mode : {"nearest", "nearest-exact"}
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    n: int
    c: int
    spatial: tuple[int, ...]
    out_spatial: tuple[int, ...]
    scales: tuple[float, ...] | None = None
    mode: str = "nearest"
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.spatial) not in AXES or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"resizing has 1, 2 or 3 spatial axes, got {self.spatial} -> {self.out_spatial}")
        if self.mode not in RESIZE_MODES:
            raise InvalidProblem(f"mode must be one of {', '.join(RESIZE_MODES)}, got {self.mode!r}")
        if min(self.spatial) < 1 or min(self.out_spatial) < 1:
            raise InvalidProblem(f"sizes must be >= 1, got {self.spatial} -> {self.out_spatial}")
        _check_floats(self.dtype)
        _check_addressable(("x", math.prod(self.x_shape)), ("the output", math.prod(self.out_shape)))

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        return "interpolate-grad-x" if self.gradient else "interpolate"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.n, self.c, *self.out_spatial)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, or grad_output."""
        if self.gradient:
            return (Operand("grad_output", self.out_shape, self.dtype, self.channels_last),)
        return (Operand("x", self.x_shape, self.dtype, self.channels_last),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        shape = self.x_shape if self.gradient else self.out_shape
        return (Operand("out", shape, self.dtype, self.channels_last),)

    @property
    def overlap(self) -> int:
        """Most terms that an element of a gradient sums."""
        return math.prod(-(-out // size) + 1 for size, out in zip(self.spatial, self.out_spatial, strict=True))

    @property
    def flops(self) -> int:
        """Elements moved."""
        return math.prod(self.out_shape)

    def __str__(self) -> str:
        words = [(self.mode != "nearest", self.mode), (self.channels_last, "channels_last")]
        if self.scales is not None:
            words.append((True, "by" + "x".join(map(repr, self.scales))))
        text = f"n{self.n}c{self.c}{_axes_text(self.spatial)}-to{'x'.join(map(str, self.out_spatial))}-{self.dtype}"
        return text + "".join(f"-{word}" for said, word in words if said)


@dataclass(frozen=True, slots=True)
class LinearProblem(_Layer):
    """A product of rows with a matrix, ``y = x w^T + bias``, or one of its gradients.

    Parameters
    ----------
    rows, c_in, c_out : int
        Rows of x, their length, and that of the output's.
    argument : {"", "x", "w", "bias"}
        Which gradient; none for the product itself.
    bias : bool
        Whether it is added.
    dtype : {"f16", "f32", "f64"}
    """

    rows: int
    c_in: int
    c_out: int
    argument: str = ""
    bias: bool = False
    dtype: str = "f32"

    def __post_init__(self) -> None:
        if self.argument not in ("", "x", "w", "bias"):
            raise InvalidProblem(f"argument must be x, w or bias, got {self.argument!r}")
        if min(self.rows, self.c_in, self.c_out) < 0:
            raise InvalidProblem(f"sizes must not be negative, got {self.rows}, {self.c_in}, {self.c_out}")
        _check_floats(self.dtype)
        _check_addressable(
            ("x", self.rows * self.c_in), ("w", self.c_out * self.c_in), ("the output", self.rows * self.c_out)
        )

    @property
    def op(self) -> str:
        """The name of the function, and -grad- and the argument for a gradient."""
        return f"linear-grad-{self.argument}" if self.argument else "linear"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.rows, self.c_in)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_out, self.c_in)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the product."""
        return (self.rows, self.c_out)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The matrix that is read where it lies: x, w for x's gradient, x for w's, grad_output for the bias's."""
        name = {"": "x", "x": "w", "w": "x", "bias": "grad_output"}[self.argument]
        shape = {"x": self.x_shape, "w": self.w_shape, "grad_output": self.out_shape}[name]
        return (Operand(name, shape, self.dtype),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        shapes = {"": self.out_shape, "x": self.x_shape, "w": self.w_shape, "bias": (self.c_out,)}
        return (Operand("out", shapes[self.argument], self.dtype),)

    @property
    def reduction(self) -> int:
        """Terms of a sum."""
        return {"": self.c_in, "x": self.c_out, "w": self.rows, "bias": self.rows}[self.argument]

    @property
    def flops(self) -> int:
        """Two for each product."""
        return self.rows * self.c_out if self.argument == "bias" else 2 * self.rows * self.c_in * self.c_out

    @property
    def bytes(self) -> int:
        """Bytes of all three matrices, or of what the bias's gradient sums."""
        if self.argument == "bias":
            return (self.rows + 1) * self.c_out * ITEM_BYTES[self.dtype]
        elements = self.rows * self.c_in + self.c_out * self.c_in + self.rows * self.c_out
        return elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"m{self.rows}k{self.c_in}n{self.c_out}-{self.dtype}{'-bias' if self.bias else ''}"


def _axes_text(sizes: tuple[int, ...]) -> str:
    return "".join(f"{axis}{size}" for axis, size in zip(AXES[len(sizes)], sizes, strict=True))


def _check_window(problem: ConvProblem | TransposedProblem) -> None:
    """Refuse sizes without meaning, whatever the operation."""
    rank = len(problem.spatial)
    if rank not in AXES:
        raise InvalidProblem(f"a convolution has 1, 2 or 3 spatial axes, got {rank}")
    for name in ("kernel", "stride", "padding", "dilation"):
        if len(getattr(problem, name)) != rank:
            raise InvalidProblem(f"{name} must have {rank} entries, got {getattr(problem, name)}")
    if min(problem.n, problem.c_in, *problem.spatial) < 0:
        raise InvalidProblem(f"sizes must not be negative, got n={problem.n}, c_in={problem.c_in}, {problem.spatial}")
    for name in ("kernel", "stride", "dilation"):
        if min(getattr(problem, name)) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {getattr(problem, name)}")
    if min(min(pair) for pair in problem.padding) < 0:
        raise InvalidProblem(f"padding must be >= 0, got {problem.padding}; crop x to pad by less than nothing")
    if problem.groups < 1:
        raise InvalidProblem(f"groups must be >= 1, got {problem.groups}")
    if problem.c_out < 1:
        raise InvalidProblem("w must have at least one output channel, got none")
    for name in ("c_in", "c_out"):
        if getattr(problem, name) % problem.groups:
            raise InvalidProblem(f"groups must divide {name}: {name}={getattr(problem, name)}, groups={problem.groups}")


def _check_epilogue(problem: ConvProblem | TransposedProblem) -> None:
    """Refuse words that are none of ours."""
    if problem.padding_mode not in PADDING_MODES:
        raise InvalidProblem(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {problem.padding_mode!r}")
    if problem.activation is not None and problem.activation not in ACTIVATIONS:
        raise InvalidProblem(f"activation must be None or one of {', '.join(ACTIVATIONS)}, got {problem.activation!r}")
    if not math.isfinite(problem.slope):
        raise InvalidProblem(f"the activation's slope must be finite, got {problem.slope}")
    if problem.dtype not in FLOATS:
        raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {problem.dtype!r}")


def _words_text(problem: ConvProblem | TransposedProblem) -> str:
    text = "" if problem.padding_mode == "zeros" else f"-{problem.padding_mode}"
    text += "".join(f"-{word}" for word in _FLAGS if getattr(problem, word, False))
    if problem.activation:
        text += f"-{problem.activation}"
        if problem.slope != DEFAULT_SLOPES.get(problem.activation, 0.0):
            text += f"={problem.slope!r}"
    return text


def _words_of(words: str, text: str) -> dict[str, Any]:
    """Inverse of :func:`_words_text`."""
    found: dict[str, Any] = {}
    for word in filter(None, words.split("-")):
        name, _, value = word.partition("=")
        if name in ACTIVATIONS:
            found["activation"] = name
            found["slope"] = float(value) if value else DEFAULT_SLOPES.get(name, 0.0)
        elif name in PADDING_MODES:
            found["padding_mode"] = name
        elif name in _FLAGS:
            found[name] = True
        else:
            raise InvalidProblem(f"{word!r} in {text!r} is no padding mode, activation, bias or residual")
    return found


def _window_text(problem: ConvProblem | PoolProblem | TransposedProblem) -> str:
    pads = tuple(str(a) if a == b else f"{a}:{b}" for a, b in problem.padding)
    text = f"k{_join(problem.kernel)}s{_join(problem.stride)}p{_join(pads)}"
    return text + f"d{_join(problem.dilation)}" if any(d != 1 for d in problem.dilation) else text


def _spread(part: str, rank: int) -> list[str]:
    pieces = part.split("x")
    return pieces * rank if len(pieces) == 1 else pieces


def _ints(part: str | None, rank: int) -> tuple[int, ...]:
    """Return one number an axis; 1 where the text leaves them out."""
    return tuple(map(int, _spread(part or "1", rank)))


def _pads(part: str | None, rank: int) -> Pads:
    pairs = (pad.partition(":") for pad in _spread(part or "0", rank))
    return tuple((int(before), int(after or before)) for before, _, after in pairs)


def _check_addressable(*sizes: tuple[str, int]) -> None:
    for what, elements in sizes:
        if elements > MAX_ELEMENTS:
            raise InvalidProblem(f"{what} would have {elements} elements; at most 2^60 can be addressed")


def _join(values: tuple[Any, ...]) -> str:
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


@dataclass(frozen=True, slots=True)
class RoiProblem:
    """Boxes on maps, each cut into bins, and what becomes of a bin; or the gradient with respect to the maps.

    Parameters
    ----------
    kind : {"roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool"}
        Whether bins have bilinear samples or whole pixels, and whether each bin reads channels of its own ("ps").
    n, c : int
        Images and channels of x.
    boxes : int
        How many there are; which image each is on is data.
    spatial, out_spatial : tuple of int
        Sizes of a map and bins of a box, one entry a spatial axis, (d, h, w) order.
    scale : float
        Pixels of the map per unit of a box's corners.
    sampling_ratio : int
        Samples of a bin along each axis; 0 for as many as the bin covers pixels.
    aligned : bool
        Whether corners are shifted by half a pixel; if not, a box has one pixel at least.
    mode : {"avg", "max"}
    max_of : {"interpolated", "weighted"}
        Whether a maximum is that of samples or of their pixels times weights.
    gradient : bool
        Whether this is the gradient.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
        Whether channels are the fastest axis in memory.
    """

    kind: str
    n: int
    c: int
    boxes: int
    spatial: tuple[int, ...]
    out_spatial: tuple[int, ...]
    scale: float = 1.0
    sampling_ratio: int = 0
    aligned: bool = False
    mode: str = "avg"
    max_of: str = "interpolated"
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ROI_KINDS:
            raise InvalidProblem(f"kind must be one of {', '.join(ROI_KINDS)}, got {self.kind!r}")
        ranks = (2, 3) if self.kind == "roi_align" else (2,)
        if len(self.spatial) not in ranks or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"{self.kind} has {ranks} spatial axes, got {self.spatial} -> {self.out_spatial}")
        if min(self.n, self.c, self.boxes, *self.spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got n={self.n}, c={self.c}, {self.spatial}")
        if min(self.out_spatial) < 1:
            raise InvalidProblem(f"output_size must be >= 1, got {self.out_spatial}")
        if self.boxes and 0 in self.spatial:
            raise InvalidProblem(f"x has an empty axis, {self.spatial}: there is nothing to sample")
        if self.boxes and not self.n:
            raise InvalidProblem(f"x has no image, boxes has {self.boxes} boxes")
        if not 0 < self.scale < math.inf:
            raise InvalidProblem(f"spatial_scale must be positive and finite, got {self.scale}")
        if not 0 <= self.sampling_ratio <= MAX_SAMPLING_RATIO:
            raise InvalidProblem(
                f"sampling_ratio must be at most {MAX_SAMPLING_RATIO} (0 or -1: adaptive), got {self.sampling_ratio}"
            )
        if self.mode not in ROI_MODES:
            raise InvalidProblem(f"mode must be one of {', '.join(ROI_MODES)}, got {self.mode!r}")
        if self.max_of not in ROI_MODES_OF_MAXIMA:
            raise InvalidProblem(f"max_of must be one of {', '.join(ROI_MODES_OF_MAXIMA)}, got {self.max_of!r}")
        if self.mode == "max" and self.kind != "roi_align":
            raise InvalidProblem("mode is for roi_align")
        if self.dtype not in FLOATS:
            raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {self.dtype!r}")
        if self.c % self.slices:
            raise InvalidProblem(
                f"x must have a multiple of {self.slices} channels, {'x'.join(map(str, self.out_spatial))} for each "
                f"of the output's, got {self.c}"
            )
        _check_addressable(
            ("x", self.n * self.c * math.prod(self.spatial)),
            ("the output", self.boxes * self.c_out * math.prod(self.out_spatial)),
            ("output_size", max(self.out_spatial) << 24),
        )

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        name = self.kind if self.rank == 2 else f"{self.kind}{self.rank}d"
        return f"{name}-grad-x" if self.gradient else name

    @property
    def slices(self) -> int:
        """Channels of x for each of the output's."""
        return math.prod(self.out_spatial) if self.kind.startswith("ps_") else 1

    @property
    def c_out(self) -> int:
        """Channels of the output."""
        return self.c // self.slices

    @property
    def has_samples(self) -> bool:
        """Whether bins have bilinear samples, not windows of whole pixels."""
        return self.kind.endswith("roi_align")

    @property
    def join(self) -> str:
        """What becomes of a bin: "mean", "max pixel" or "max sample"."""
        if self.kind == "roi_pool":
            return "max pixel"
        if self.mode == "avg":
            return "mean"
        return "max sample" if self.max_of == "interpolated" else "max pixel"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the output."""
        return (self.boxes, self.c_out, *self.out_spatial)

    @property
    def boxes_shape(self) -> tuple[int, ...]:
        """Shape of the boxes: the image's index, the first corners (x first) and the last ones."""
        return (self.boxes, 1 + 2 * self.rank)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The maps and the boxes; of a gradient grad_output and the boxes, and x where maxima are looked for."""
        x = Operand("x", self.x_shape, self.dtype, self.channels_last)
        boxes = Operand("boxes", self.boxes_shape, "f64")
        if not self.gradient:
            return (x, boxes)
        out = Operand("grad_output", self.out_shape, self.dtype, self.channels_last)
        return (out, boxes) if self.join == "mean" else (out, boxes, x)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, or the gradient."""
        return (Operand("out", self.x_shape if self.gradient else self.out_shape, self.dtype, self.channels_last),)

    @property
    def taps(self) -> tuple[int, ...]:
        """Most pixels of one bin along each axis."""
        if self.has_samples and self.sampling_ratio:
            return tuple(2 * self.sampling_ratio for _ in self.spatial)
        return tuple(size + 2 for size in self.spatial)

    @property
    def samples(self) -> int:
        """Samples of a bin, where that is known; 2 an axis where boxes say it."""
        return int((self.sampling_ratio or 2) ** self.rank)

    @property
    def flops(self) -> int:
        """Operations of the definition: two for each pixel of each sample."""
        pixels = 2**self.rank if self.has_samples else 1
        return 2 * math.prod(self.out_shape) * self.samples * pixels

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))

    def __str__(self) -> str:
        text = f"n{self.n}c{self.c}{_axes_text(self.spatial)}-k{self.boxes}to{_join(self.out_spatial)}"
        text += f"-x{self.scale!r}"
        if self.has_samples:
            text += f"-r{self.sampling_ratio}"
        text += f"-{self.dtype}"
        words = (
            (self.aligned, "aligned"),
            (self.mode == "max", f"max_{self.max_of}"),
            (self.channels_last, "channels_last"),
        )
        return text + "".join(f"-{word}" for said, word in words if said)

    @classmethod
    def parse(cls, op: str, text: str) -> RoiProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = RoiProblem.parse("roi_align", "n1c256h50w68-k1000to7-x0.0625-r2-f32-aligned")
        >>> problem.out_shape, problem.op, str(problem)
        ((1000, 256, 7, 7), 'roi_align', 'n1c256h50w68-k1000to7-x0.0625-r2-f32-aligned')
        """
        name = re.fullmatch(r"((?:ps_)?roi_(?:align|pool))(3d)?(-grad-x)?", op)
        match = re.fullmatch(
            r"n(\d+)c(\d+)((?:[dhw]\d+){2,3})-k(\d+)to([\dx]+)-x([\d.]+(?:e-?\d+)?)(?:-r(\d+))?-(f\d\d)(.*)", text
        )
        if not name or not match:
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n1c256h50w68-k1000to7-x0.0625-r2-f32")
        rank = 3 if name[2] else 2
        axes = re.findall(r"([dhw])(\d+)", match[3])
        if "".join(axis for axis, _ in axes) != AXES[rank]:
            raise InvalidProblem(f"the axes of {text!r} must be {AXES[rank]}")
        found: dict[str, Any] = {}
        for word in filter(None, match[9].split("-")):
            if word in ("aligned", "channels_last"):
                found[word] = True
            elif word.startswith("max_"):
                found |= {"mode": "max", "max_of": word.removeprefix("max_")}
            else:
                raise InvalidProblem(f"{word!r} in {text!r} is no word of a problem of boxes")
        return cls(
            kind=name[1],
            n=int(match[1]),
            c=int(match[2]),
            boxes=int(match[4]),
            spatial=tuple(int(size) for _, size in axes),
            out_spatial=_ints(match[5], rank),
            scale=float(match[6]),
            sampling_ratio=int(match[7] or 0),
            gradient=bool(name[3]),
            dtype=match[8],
            **found,
        )


@dataclass(frozen=True, slots=True)
class NmsProblem:
    """Boxes in falling order of their scores, of which those stay that no better one overlaps by too much.

    Parameters
    ----------
    boxes, runs : int
        Boxes, and runs of them that do not suppress each other's.
    threshold : float
        The largest overlap, intersection over union, that stays.
    """

    boxes: int
    runs: int
    threshold: float

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise InvalidProblem("iou_threshold must be a number, got NaN")
        _check_addressable(("the boxes", 64 * self.boxes))

    @property
    def op(self) -> str:
        """The name of the function."""
        return "nms"

    @property
    def dtype(self) -> str:
        """The type that overlaps are computed in."""
        return "f64"

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return 2

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The corners, (x1, y1, x2, y2) in a row each, and the bounds of runs that are independent."""
        return Operand("boxes", (4, self.boxes), "f64"), Operand("runs", (self.runs + 1,), "i64")

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """One for a box that stays, 0 for others."""
        return (Operand("out", (self.boxes,), "u8"),)

    @property
    def flops(self) -> int:
        """Operations where half of the pairs are compared."""
        return 4 * self.boxes * self.boxes // max(1, self.runs)

    @property
    def bytes(self) -> int:
        """Bytes of the boxes and the result."""
        return 33 * self.boxes

    def __str__(self) -> str:
        return f"k{self.boxes}in{self.runs}-over{self.threshold!r}"
