"""Windows as columns of a matrix, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import AXES, Layer, Operand, axes_text, check_addressable, check_floats, window_text
from .conv import ConvProblem


@dataclass(frozen=True, slots=True)
class LoweringProblem(Layer):
    """The windows of images as columns of a matrix (im2col), or images from such columns (col2im).

    Parameters
    ----------
    conv : ConvProblem
        A convolution with these windows, of one output channel, whose x are the images.
    fold : bool
        Whether columns are summed into images; else images are spread out into columns.
    """

    conv: ConvProblem
    fold: bool = False

    def __post_init__(self) -> None:
        conv = self.conv
        check_floats(conv.dtype)
        if conv.rank != 2 or conv.groups != 1 or conv.c_out != 1 or conv.padding_mode != "zeros":
            raise InvalidProblem(f"needs planes padded with zeros, one group and one output channel, got {conv}")
        check_addressable(("the matrix of columns", math.prod(self.columns_shape)))

    @property
    def op(self) -> str:
        """The name of the function."""
        return "fold" if self.fold else "unfold"

    @property
    def dtype(self) -> str:
        """Element type of both arrays."""
        return self.conv.dtype

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return self.conv.rank

    @property
    def taps(self) -> int:
        """Elements of a window in one channel."""
        return math.prod(self.conv.kernel)

    @property
    def columns_shape(self) -> tuple[int, int, int]:
        """Shape of the columns: a row for each channel and tap, a column for each window."""
        return (self.conv.n, self.conv.c_in * self.taps, math.prod(self.conv.out_spatial))

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The images, or the columns."""
        return (Operand("x", *self._columns),) if self.fold else (Operand("x", *self._images),)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The columns, or the images."""
        return (Operand("out", *self._images),) if self.fold else (Operand("out", *self._columns),)

    @property
    def _images(self) -> tuple[tuple[int, ...], str, bool]:
        return self.conv.x_shape, self.dtype, self.conv.channels_last

    @property
    def _columns(self) -> tuple[tuple[int, ...], str, bool]:
        return self.columns_shape, self.dtype, False

    @property
    def overlap(self) -> int:
        """Most windows that hold one pixel: the terms of its sum."""
        conv = self.conv
        return math.prod(
            min(out, -(-kernel // (stride // math.gcd(stride, dilation))))
            for kernel, stride, dilation, out in zip(
                conv.kernel, conv.stride, conv.dilation, conv.out_spatial, strict=True
            )
        )

    @property
    def flops(self) -> int:
        """Elements moved, or added."""
        return math.prod(self.columns_shape)

    def __str__(self) -> str:
        conv = self.conv
        text = f"n{conv.n}c{conv.c_in}{axes_text(conv.spatial)}-{window_text(conv)}-{conv.dtype}"
        return f"{text}-channels_last" if conv.channels_last else text


def check_reach(
    what: str,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> None:
    """Refuse windows that are larger than the padded images; ``what`` says how these were given."""
    for axis, size, taps, pads, step in zip(AXES[len(spatial)], spatial, kernel, padding, dilation, strict=True):
        reach = step * (taps - 1) + 1
        if min(taps, step, pads[0] + 1, pads[1] + 1) >= 1 and reach > size + sum(pads):
            raise InvalidProblem(
                f"the window is larger than the padded image along {axis}: it covers {reach} elements (kernel_size "
                f"{taps}, dilation {step}), {what} has {size + sum(pads)} ({size} + padding {pads})"
            )
