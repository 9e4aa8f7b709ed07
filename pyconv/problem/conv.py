"""Convolutions."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass, field, fields
from itertools import starmap
from typing import TYPE_CHECKING, Any

from ..errors import InvalidProblem
from .base import (
    ACTIVATIONS,
    AXES,
    DEFAULT_SLOPES,
    FLOATS,
    ITEM_BYTES,
    PADDING_MODES,
    Operand,
    Pads,
    axes_text,
    check_addressable,
    output_size,
    parse_ints,
    parse_pads,
    window_text,
)

if TYPE_CHECKING:
    from .transposed import TransposedProblem

#: Words of a convolution's string that stand for a field.
_FLAGS = ("channels_last", "bias", "residual")


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
    #: Output sizes, (d, h, w) order; planning asks for them, and for the hash, many times.
    out_spatial: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_window(self)
        check_epilogue(self)
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
        sizes = zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        object.__setattr__(self, "out_spatial", tuple(starmap(output_size, sizes)))
        object.__setattr__(self, "_hash", hash(_values_of(self)))
        channels = self.c_in // self.groups
        padded_elements = (
            self.n
            * self.c_in
            * math.prod(size + sum(padding) for size, padding in zip(self.spatial, self.padding, strict=True))
        )
        check_addressable(
            ("the padded input", padded_elements),
            ("the output", self.n * self.c_out * math.prod(self.out_spatial)),
            ("the weights", self.c_out * channels * math.prod(self.kernel)),
            ("the stride", max(self.stride)),
            ("the dilation", max(self.dilation)),
        )

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[ConvProblem], tuple[Any, ...]]:
        # made anew: hashes of words differ between processes
        return ConvProblem, _values_of(self)

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
    def weights(self) -> tuple[Operand | None, ...]:
        """What is packed: w, and the bias where there is one."""
        bias = Operand("bias", (self.c_out,), self.dtype) if self.bias else None
        return Operand("w", self.w_shape, self.dtype), bias

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.out_shape, self.dtype, self.channels_last),)

    @property
    def places(self) -> tuple[Operand | None, ...]:
        """Inputs and outputs as runners take them: None stands for a residual that is not there."""
        return self.inputs + (() if self.residual else (None,)) + self.outputs

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
        text = f"n{self.n}c{self.c_in}{axes_text(self.spatial)}-o{self.c_out}{window_text(self)}"
        if self.groups != 1:
            text += f"g{self.groups}"
        return text + f"-{self.dtype}" + words_text(self)

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
            kernel=parse_ints(kernel, rank),
            stride=parse_ints(stride, rank),
            padding=parse_pads(pads, rank),
            dilation=parse_ints(dilation, rank),
            groups=int(groups or 1),
            dtype=dtype,
            **words_of(words, text),
        )


_values_of = operator.attrgetter(*(entry.name for entry in fields(ConvProblem) if entry.compare))


def check_window(problem: ConvProblem | TransposedProblem) -> None:
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


def check_epilogue(problem: ConvProblem | TransposedProblem) -> None:
    """Refuse words that are none of ours."""
    if problem.padding_mode not in PADDING_MODES:
        raise InvalidProblem(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {problem.padding_mode!r}")
    if problem.activation is not None and problem.activation not in ACTIVATIONS:
        raise InvalidProblem(f"activation must be None or one of {', '.join(ACTIVATIONS)}, got {problem.activation!r}")
    if not math.isfinite(problem.slope):
        raise InvalidProblem(f"the activation's slope must be finite, got {problem.slope}")
    if problem.dtype not in FLOATS:
        raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {problem.dtype!r}")


def words_text(problem: ConvProblem | TransposedProblem) -> str:
    """Return the words of a string, each with a dash in front."""
    text = "" if problem.padding_mode == "zeros" else f"-{problem.padding_mode}"
    text += "".join(f"-{word}" for word in _FLAGS if getattr(problem, word, False))
    if problem.activation:
        text += f"-{problem.activation}"
        if problem.slope != DEFAULT_SLOPES.get(problem.activation, 0.0):
            text += f"={problem.slope!r}"
    return text


def words_of(words: str, text: str) -> dict[str, Any]:
    """Inverse of :func:`words_text`."""
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
