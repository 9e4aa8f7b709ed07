"""Pooling and un-pooling, and their gradients."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidProblem
from .base import (
    AXES,
    FLOATS,
    ITEM_BYTES,
    Operand,
    Pads,
    axes_text,
    check_addressable,
    parse_ints,
    parse_pads,
    pooled_size,
    window_text,
)

POOL_KINDS = ("max", "avg", "lp")


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
        check_addressable(
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
        window = window_text(self) if self.adaptive is None else f"to{'x'.join(map(str, self.adaptive))}"
        text = f"n{self.n}c{self.c}{axes_text(self.spatial)}-{window}-{self.dtype}"
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
            kernel=parse_ints(match[5], rank),
            stride=parse_ints(match[6], rank),
            padding=parse_pads(match[7], rank),
            dilation=parse_ints(match[8], rank),
            adaptive=parse_ints(match[4], rank) if match[4] else None,
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
        check_addressable(("the output", self.n * self.c * math.prod(self.spatial)))
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
        small, large = axes_text(self.out_spatial), axes_text(self.spatial)
        return f"n{self.n}c{self.c}{small}-to{large}-{self.dtype}{'-channels_last' if self.channels_last else ''}"
