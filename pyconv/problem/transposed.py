"""Transposed convolutions, and convolutions' gradients with respect to x: convolutions of their parts."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import starmap
from typing import NamedTuple

from ..errors import InvalidProblem
from .base import (
    AXES,
    ITEM_BYTES,
    Operand,
    Pads,
    axes_text,
    check_addressable,
    join_sizes,
    parse_ints,
    parse_pads,
    window_text,
)
from .conv import ConvProblem, check_epilogue, check_window, words_of, words_text


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
        check_window(self)
        check_epilogue(self)
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
        check_addressable(
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
    def weights(self) -> tuple[Operand | None, ...]:
        """What is packed: w, and of a transposed convolution the bias where there is one."""
        w = Operand("w", self.w_shape, self.dtype)
        if self.gradient:
            return (w,)
        return w, Operand("bias", (self.c_out,), self.dtype) if self.bias else None

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
        text = f"n{self.n}c{self.c_in}{axes_text(self.spatial)}-o{self.c_out}{window_text(self)}"
        if any(self.output_padding):
            text += f"+{join_sizes(self.output_padding)}"
        if self.groups != 1:
            text += f"g{self.groups}"
        return text + f"-{self.dtype}" + words_text(self)

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
            kernel=parse_ints(kernel, rank),
            stride=parse_ints(stride, rank),
            padding=parse_pads(pads, rank),
            output_padding=parse_ints(extra or "0", rank),
            dilation=parse_ints(dilation, rank),
            groups=int(groups or 1),
            dtype=dtype,
            gradient=bool(name[2]),
            **words_of(words, text),
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
