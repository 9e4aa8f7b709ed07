"""Frozen descriptors of problems: the only shape arithmetic in the project.

A problem holds sizes and words, never arrays. It is hashable, and its string is the pytest id, the benchmark's name,
the cache key and the bug report in one: ``n1c64h56w56-o64k3s1p1-f32``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import starmap
from typing import Any, NamedTuple, Protocol

from .errors import InvalidProblem

__all__ = [
    "ACTIVATIONS",
    "DTYPES",
    "FLOATS",
    "INTEGERS",
    "PADDING_MODES",
    "ConvProblem",
    "Operand",
    "PoolProblem",
    "Problem",
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
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")
DEFAULT_SLOPES = {"leaky_relu": 0.01, "elu": 1.0}
#: Sizes beyond this cannot be addressed; the check keeps every product in the kernels' 64-bit integers.
MAX_ELEMENTS = 1 << 60
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
        rank = len(self.spatial)
        if rank not in AXES:
            raise InvalidProblem(f"a convolution has 1, 2 or 3 spatial axes, got {rank}")
        for name in ("kernel", "stride", "padding", "dilation"):
            if len(getattr(self, name)) != rank:
                raise InvalidProblem(f"{name} must have {rank} entries, got {getattr(self, name)}")
        if min(self.n, self.c_in, *self.spatial) < 0:
            raise InvalidProblem(f"sizes must not be negative, got n={self.n}, c_in={self.c_in}, {self.spatial}")
        for name in ("kernel", "stride", "dilation"):
            if min(getattr(self, name)) < 1:
                raise InvalidProblem(f"{name} must be >= 1, got {getattr(self, name)}")
        if min(min(pair) for pair in self.padding) < 0:
            raise InvalidProblem(f"padding must be >= 0, got {self.padding}; crop x to pad by less than nothing")
        if self.groups < 1:
            raise InvalidProblem(f"groups must be >= 1, got {self.groups}")
        if self.c_out < 1:
            raise InvalidProblem("w must have at least one output channel, got none")
        for name in ("c_in", "c_out"):
            if getattr(self, name) % self.groups:
                raise InvalidProblem(f"groups must divide {name}: {name}={getattr(self, name)}, groups={self.groups}")
        if self.padding_mode not in PADDING_MODES:
            raise InvalidProblem(f"padding_mode must be one of {', '.join(PADDING_MODES)}, got {self.padding_mode!r}")
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise InvalidProblem(f"activation must be None or one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if not math.isfinite(self.slope):
            raise InvalidProblem(f"the activation's slope must be finite, got {self.slope}")
        if self.dtype not in FLOATS:
            raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {self.dtype!r}")
        for axis, size, kernel, padding, dilation in zip(
            AXES[rank], self.spatial, self.kernel, self.padding, self.dilation, strict=True
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
        text += f"-{self.dtype}"
        if self.padding_mode != "zeros":
            text += f"-{self.padding_mode}"
        if self.channels_last:
            text += "-channels_last"
        if self.bias:
            text += "-bias"
        if self.residual:
            text += "-residual"
        if self.activation:
            text += f"-{self.activation}"
            if self.slope != DEFAULT_SLOPES.get(self.activation, 0.0):
                text += f"={self.slope!r}"
        return text

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
        found: dict[str, Any] = {}
        for word in filter(None, words.split("-")):
            name, _, value = word.partition("=")
            if name in ACTIVATIONS:
                found["activation"] = name
                found["slope"] = float(value) if value else DEFAULT_SLOPES.get(name, 0.0)
            elif name in PADDING_MODES:
                found["padding_mode"] = name
            elif name in {"bias", "residual", "channels_last"}:
                found[name] = True
            else:
                raise InvalidProblem(f"{word!r} in {text!r} is no padding mode, activation, bias or residual")
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
            **found,
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


def _axes_text(sizes: tuple[int, ...]) -> str:
    return "".join(f"{axis}{size}" for axis, size in zip(AXES[len(sizes)], sizes, strict=True))


def _window_text(problem: ConvProblem | PoolProblem) -> str:
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
