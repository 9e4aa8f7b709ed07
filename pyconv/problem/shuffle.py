"""Pixels out of channels, and back into them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import DTYPES, Layer, Operand, check_addressable


@dataclass(frozen=True, slots=True)
class ShuffleProblem(Layer):
    """A small image of many channels made a large one of few, or the other way round; elements are only moved.

    large[..., c, h r + i, w r + j] = small[..., (c r + i) r + j, h, w]

    Parameters
    ----------
    lead : tuple of int
        Sizes of the axes in front of the channels.
    c, h, w : int
        Channels of the large image, rows and columns of the small one.
    factor : int
        r.
    gather : bool
        Whether the small image is made of the large one.
    dtype : {"f16", "f32", "f64", "i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"}
    channels_last : bool
        Whether channels are the fastest axis in memory.
    """

    lead: tuple[int, ...]
    c: int
    h: int
    w: int
    factor: int
    gather: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise InvalidProblem(f"the factor must be >= 1, got {self.factor}")
        if min(*self.lead, self.c, self.h, self.w) < 0:
            raise InvalidProblem(f"sizes must not be negative, got {self.lead}, c={self.c}, h={self.h}, w={self.w}")
        if self.dtype not in DTYPES.values():
            raise InvalidProblem(f"dtype must be one of {', '.join(DTYPES.values())}, got {self.dtype!r}")
        if self.channels_last and len(self.lead) != 1:
            raise InvalidProblem(f"channels_last is for images, one axis in front of the channels, got {self.lead}")
        check_addressable(("the image", self.flops), ("the factor's square", self.factor**2))

    @property
    def op(self) -> str:
        """The name of the function."""
        return "pixel_unshuffle" if self.gather else "pixel_shuffle"

    @property
    def small_shape(self) -> tuple[int, ...]:
        """Shape of the image with many channels."""
        return (*self.lead, self.c * self.factor**2, self.h, self.w)

    @property
    def large_shape(self) -> tuple[int, ...]:
        """Shape of the image with many pixels."""
        return (*self.lead, self.c, self.h * self.factor, self.w * self.factor)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The image that is read."""
        shape = self.large_shape if self.gather else self.small_shape
        return (Operand("x", shape, self.dtype, self.channels_last),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The image that is made."""
        shape = self.small_shape if self.gather else self.large_shape
        return (Operand("out", shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """Elements moved."""
        return math.prod(self.lead) * self.c * self.h * self.w * self.factor**2

    def __str__(self) -> str:
        lead = "x".join(map(str, self.lead))
        sizes = f"n{lead}c{self.c}h{self.h}w{self.w}-x{self.factor}-{self.dtype}"
        return sizes + ("-channels_last" if self.channels_last else "")

    @classmethod
    def parse(cls, op: str, text: str) -> ShuffleProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = ShuffleProblem.parse("pixel_shuffle", "n1c3h4w5-x2-f32")
        >>> problem.inputs[0].shape, problem.outputs[0].shape, str(problem)
        ((1, 12, 4, 5), (1, 3, 8, 10), 'n1c3h4w5-x2-f32')
        """
        match = re.fullmatch(r"n([\dx]*)c(\d+)h(\d+)w(\d+)-x(\d+)-([fiu]\d+)(-channels_last)?", text)
        if match is None or op not in ("pixel_shuffle", "pixel_unshuffle"):
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like pixel_shuffle n1c3h4w5-x2-f32")
        lead = tuple(map(int, filter(None, match[1].split("x"))))
        c, h, w, factor = map(int, match.groups()[1:5])
        return cls(lead, c, h, w, factor, op == "pixel_unshuffle", match[6], match[7] is not None)
