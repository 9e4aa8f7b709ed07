"""Interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import AXES, Layer, Operand, axes_text, check_addressable, check_floats

RESIZE_MODES = ("nearest", "nearest-exact")


@dataclass(frozen=True, slots=True)
class ResizeProblem(Layer):
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
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-to{'x'.join(map(str, self.out_spatial))}-{self.dtype}"
        return text + "".join(f"-{word}" for said, word in words if said)
