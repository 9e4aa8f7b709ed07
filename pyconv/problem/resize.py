"""Interpolation."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import AXES, Layer, Operand, axes_text, check_addressable, check_floats

#: Modes and the numbers of spatial axes that each is for.
RESIZE_MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
}
_CUBIC = ("bicubic",)
_NEAREST = ("nearest", "nearest-exact")
_ANTIALIASED = ("bilinear", "bicubic")


@dataclass(frozen=True, slots=True)
class ResizeProblem(Layer):
    """Resizing along one, two or three axes, or its gradient.

    Parameters
    ----------
    n, c : int
    spatial, out_spatial : tuple of int
        Sizes before and after.
    scales : tuple of float or None
        Output over input along each axis where the call gave factors; else the ratio of the sizes.
    mode : {"nearest", "nearest-exact", "linear", "bilinear", "bicubic", "trilinear"}
    align_corners : bool
        Whether the centres of the outermost elements are those of x's, or the outer edges are.
    antialias : bool
        Whether the interpolating function is as wide as an output where that is wider than an element of x.
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
    align_corners: bool = False
    antialias: bool = False
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.spatial) not in AXES or len(self.out_spatial) != len(self.spatial):
            raise InvalidProblem(f"resizing has 1, 2 or 3 spatial axes, got {self.spatial} -> {self.out_spatial}")
        if self.mode not in RESIZE_MODES:
            raise InvalidProblem(f"mode must be one of {', '.join(RESIZE_MODES)}, got {self.mode!r}")
        if len(self.spatial) not in RESIZE_MODES[self.mode]:
            ranks = " or ".join(map(str, RESIZE_MODES[self.mode]))
            raise InvalidProblem(f"mode {self.mode!r} is for {ranks} spatial axes, x has {len(self.spatial)}")
        if self.align_corners and self.is_nearest:
            raise InvalidProblem(f"align_corners has no meaning for mode {self.mode!r}")
        if self.antialias and self.mode not in _ANTIALIASED:
            raise InvalidProblem(f"antialias is for {' and '.join(map(repr, _ANTIALIASED))}, mode is {self.mode!r}")
        if min(self.spatial) < 1 or min(self.out_spatial) < 1:
            raise InvalidProblem(f"sizes must be >= 1, got {self.spatial} -> {self.out_spatial}")
        check_floats(self.dtype)
        check_addressable(("x", math.prod(self.x_shape)), ("the output", math.prod(self.out_shape)))

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
    def is_nearest(self) -> bool:
        """Whether outputs are elements of x, not sums of them."""
        return self.mode in _NEAREST

    @property
    def reach(self) -> int:
        """How far the interpolating function reaches to either side, in elements; 0 for nearest neighbours."""
        return 0 if self.is_nearest else 2 if self.mode in _CUBIC else 1

    @property
    def taps(self) -> tuple[int, ...]:
        """Most elements of x that an output is a sum of, along each axis."""

        def count(size: int, out: int) -> int:
            wide = max(1, -(-size // out)) if self.antialias else 1
            return min(size, 2 * self.reach * wide + (2 if self.antialias else 0))

        return tuple(itertools.starmap(count, zip(self.spatial, self.out_spatial, strict=True)))

    @property
    def overlap(self) -> tuple[int, ...]:
        """Most outputs that an element of x goes to, along each axis."""

        def count(size: int, out: int) -> int:
            each = -(-out // size)
            if self.is_nearest:
                return each + 1
            wide = max(1, -(-size // out)) if self.antialias else 1
            return min(out, (2 * self.reach * wide + 2) * each + 2)

        return tuple(itertools.starmap(count, zip(self.spatial, self.out_spatial, strict=True)))

    @property
    def flops(self) -> int:
        """Elements moved, or two operations for each element of x that an output is a sum of."""
        outputs = math.prod(self.out_shape)
        return outputs if self.is_nearest else 2 * outputs * sum(self.taps)

    def __str__(self) -> str:
        words = [
            (self.mode != "nearest", self.mode),
            (self.align_corners, "align_corners"),
            (self.antialias, "antialias"),
            (self.channels_last, "channels_last"),
        ]
        if self.scales is not None:
            words.append((True, "by" + "x".join(map(repr, self.scales))))
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-to{'x'.join(map(str, self.out_spatial))}-{self.dtype}"
        return text + "".join(f"-{word}" for said, word in words if said)
