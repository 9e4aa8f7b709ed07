"""The gradients of weights and bias."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import AXES, FLOATS, ITEM_BYTES, Operand, axes_text, check_addressable
from .conv import ConvProblem


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
        check_addressable(("grad_output", self.n * self.c * math.prod(self.spatial)))

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
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-{self.dtype}"
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
