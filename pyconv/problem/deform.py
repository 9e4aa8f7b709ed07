"""Deformable convolution and its gradients."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import ITEM_BYTES, Operand
from .conv import ConvProblem

DEFORM_ARGUMENTS = ("", "x", "offset", "w", "mask")


@dataclass(frozen=True, slots=True)
class DeformProblem:
    """A convolution each of whose taps is displaced at each output pixel, or a gradient of it.

    y[n, o, p] = bias[o] + sum over c, a of w[o, c, a] mask[n, a, p] x[n, c, s p - before + d a + offset[n, a, p]]

    Parameters
    ----------
    conv : ConvProblem
        The convolution without offsets: two spatial axes, zeros around x, no residual or activation.
    offset_groups : int
        Blocks of input channels that have offsets, and masks, of their own.
    mask : bool
        Whether samples have factors.
    argument : {"", "x", "offset", "w", "mask"}
        What the gradient is with respect to; "" for the convolution itself.
    both : bool
        Whether the gradient with respect to the mask comes with that with respect to the offset.
    """

    conv: ConvProblem
    offset_groups: int = 1
    mask: bool = False
    argument: str = ""
    both: bool = False

    def __post_init__(self) -> None:
        conv = self.conv
        if conv.rank != 2 or conv.padding_mode != "zeros" or conv.residual or conv.activation is not None:
            raise InvalidProblem(f"a deformable convolution has two axes, zeros around x and no epilogue, got {conv}")
        if self.offset_groups < 1 or conv.c_in % self.offset_groups:
            raise InvalidProblem(f"offset groups must divide c_in={conv.c_in}, got {self.offset_groups} of them")
        if self.argument not in DEFORM_ARGUMENTS:
            raise InvalidProblem(f"argument must be one of {', '.join(DEFORM_ARGUMENTS)}, got {self.argument!r}")
        if self.argument and conv.bias:
            raise InvalidProblem("a gradient has no bias")
        if not self.mask and (self.argument == "mask" or self.both):
            raise InvalidProblem("there is no mask to have a gradient")
        if self.both and self.argument != "offset":
            raise InvalidProblem("only the gradient with respect to the offset brings another")

    @property
    def op(self) -> str:
        """deform_conv2d, or deform_conv2d-grad- and the argument."""
        return f"deform_conv2d-grad-{self.argument}" if self.argument else "deform_conv2d"

    @property
    def dtype(self) -> str:
        """Element type of all arrays."""
        return self.conv.dtype

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return 2

    @property
    def taps(self) -> int:
        """Samples of an input channel that an output sums."""
        return math.prod(self.conv.kernel)

    @property
    def offset_shape(self) -> tuple[int, ...]:
        """Shape of the offset: for each offset group and tap one along h, then one along w."""
        return (self.conv.n, 2 * self.offset_groups * self.taps, *self.conv.out_spatial)

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of the mask."""
        return (self.conv.n, self.offset_groups * self.taps, *self.conv.out_spatial)

    @property
    def _displacements(self) -> tuple[Operand, ...]:
        last = self.conv.channels_last
        offset = Operand("offset", self.offset_shape, self.dtype, last)
        return (offset, Operand("mask", self.mask_shape, self.dtype, last)) if self.mask else (offset,)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, offset and mask; of a gradient grad_output first, and x where the gradient needs it."""
        conv = self.conv
        x = Operand("x", conv.x_shape, conv.dtype, conv.channels_last)
        if not self.argument:
            return (x, *self._displacements)
        grad_output = Operand("grad_output", conv.out_shape, conv.dtype, conv.channels_last)
        return (grad_output, *(() if self.argument == "x" else (x,)), *self._displacements)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, or the gradients."""
        conv = self.conv
        shapes = {
            "": conv.out_shape,
            "x": conv.x_shape,
            "offset": self.offset_shape,
            "w": conv.w_shape,
            "mask": self.mask_shape,
        }
        out = Operand("out", shapes[self.argument], self.dtype, conv.channels_last and self.argument != "w")
        return (out, Operand("grad_mask", self.mask_shape, self.dtype, conv.channels_last)) if self.both else (out,)

    @property
    def reduction(self) -> int:
        """Products summed into one element of the result, or of the samples' gradient that it is made of."""
        conv = self.conv
        pixels = math.prod(conv.out_spatial)
        return {
            "": conv.reduction,
            "x": conv.c_out // conv.groups + 4 * self.taps * pixels,
            "offset": conv.c_out // conv.groups + conv.c_in // self.offset_groups,
            "w": conv.n * pixels,
            "mask": conv.c_out // conv.groups + conv.c_in // self.offset_groups,
        }[self.argument]

    @property
    def flops(self) -> int:
        """Operations of the definition: two for each product, eight for each sample of a channel."""
        conv = self.conv
        return conv.flops + 8 * conv.n * conv.c_in * self.taps * math.prod(conv.out_spatial)

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        elements = sum(math.prod(a.shape) for a in (*self.inputs, *self.outputs)) + math.prod(self.conv.w_shape)
        return elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        words = ((self.mask, "mask"), (self.both, "both"))
        return f"{self.conv}-og{self.offset_groups}" + "".join(f"-{word}" for said, word in words if said)

    @classmethod
    def parse(cls, op: str, text: str) -> DeformProblem:
        """Inverse of ``op`` and ``str``.

        Examples
        --------
        >>> problem = DeformProblem.parse("deform_conv2d", "n1c64h56w56-o64k3s1p1-f32-bias-og2-mask")
        >>> problem.offset_shape, problem.mask_shape, str(problem)
        ((1, 36, 56, 56), (1, 18, 56, 56), 'n1c64h56w56-o64k3s1p1-f32-bias-og2-mask')
        """
        name = re.fullmatch(r"deform_conv2d(?:-grad-(\w+))?", op)
        match = re.fullmatch(r"(.*)-og(\d+)(-mask)?(-both)?", text)
        if not name or not match:
            raise InvalidProblem(f"{op} {text!r} is not a problem; one looks like n1c64h56w56-o64k3s1p1-f32-og2-mask")
        return cls(ConvProblem.parse(match[1]), int(match[2]), bool(match[3]), name[1] or "", bool(match[4]))
