"""What every problem is made of: element types, words, sizes of windows, operands, and the checks that all share."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import InvalidProblem

if TYPE_CHECKING:
    from .conv import ConvProblem
    from .pool import PoolProblem
    from .transposed import TransposedProblem

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
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
ACTIVATIONS = ("relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")
DEFAULT_SLOPES = {"leaky_relu": 0.01, "elu": 1.0}
#: Sizes beyond this cannot be addressed; the check keeps every product in the kernels' 64-bit integers.
MAX_ELEMENTS = 1 << 60
#: Elements of an array that GPU kernels count in 32 bits; a block beyond the end of the largest array still fits.
GPU_ELEMENTS = (1 << 31) - (1 << 20)
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


class Layer:
    """What the small layers' problems share: no spatial axes that matter, and memory as what they cost."""

    __slots__ = ()

    @property
    def rank(self) -> int:
        """No spatial axes to plan by."""
        return 0

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """Arrays that are read; each problem has its own."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """Arrays that are written."""
        raise NotImplementedError

    @property
    def bytes(self) -> int:
        """Bytes of all arrays, each counted once."""
        return sum(math.prod(a.shape) * ITEM_BYTES[a.dtype] for a in (*self.inputs, *self.outputs))


def check_floats(dtype: str) -> None:
    """Refuse element types that are no floats."""
    if dtype not in FLOATS:
        raise InvalidProblem(f"dtype must be one of {', '.join(FLOATS)}, got {dtype!r}")


def check_finite(**values: float) -> None:
    """Refuse numbers that are not finite."""
    for name, value in values.items():
        if not math.isfinite(value):
            raise InvalidProblem(f"{name} must be finite, got {value}")


def shape_text(shape: tuple[int, ...], dtype: str, *words: tuple[Any, str]) -> str:
    """Return "2x3x4-f32-word" with the words that are said."""
    sizes = "x".join(map(str, shape)) if shape else "scalar"
    return "-".join([sizes, dtype, *(word for said, word in words if said)])


def axes_text(sizes: tuple[int, ...]) -> str:
    """Return "h3w4"."""
    return "".join(f"{axis}{size}" for axis, size in zip(AXES[len(sizes)], sizes, strict=True))


def _spread(part: str, rank: int) -> list[str]:
    pieces = part.split("x")
    return pieces * rank if len(pieces) == 1 else pieces


def parse_ints(part: str | None, rank: int) -> tuple[int, ...]:
    """Return one number an axis; 1 where the text leaves them out."""
    return tuple(map(int, _spread(part or "1", rank)))


def parse_pads(part: str | None, rank: int) -> Pads:
    """Return (before, after) for each axis; nothing where the text leaves them out."""
    pairs = (pad.partition(":") for pad in _spread(part or "0", rank))
    return tuple((int(before), int(after or before)) for before, _, after in pairs)


def check_addressable(*sizes: tuple[str, int]) -> None:
    """Refuse arrays, by name and number of elements, that no address reaches."""
    for what, elements in sizes:
        if elements > MAX_ELEMENTS:
            raise InvalidProblem(f"{what} would have {elements} elements; at most 2^60 can be addressed")


def join_sizes(values: tuple[Any, ...]) -> str:
    """Return "3" for equal sizes, "3x4" for others."""
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


def window_text(problem: ConvProblem | PoolProblem | TransposedProblem) -> str:
    """Return "k3s1p1"."""
    pads = tuple(str(a) if a == b else f"{a}:{b}" for a, b in problem.padding)
    text = f"k{join_sizes(problem.kernel)}s{join_sizes(problem.stride)}p{join_sizes(pads)}"
    return text + f"d{join_sizes(problem.dilation)}" if any(d != 1 for d in problem.dilation) else text
