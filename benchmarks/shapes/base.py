"""What a layer is: sizes, the call that computes it, and its outputs in float64, one by one, by the definition.

A kind of layer is a subclass of :class:`Layer` in a file of this package, beside the named layers of that kind. It says
its call once, in the words of ``torch.nn.functional`` and ``torchvision.ops``, which are pyconv's as well; so torch and
pyconv need no code of their own for it, and the other libraries one function each, where they have it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Arrays", "Layer", "Sizes", "arriving", "joined", "normal", "spread", "window"]

Array = npt.NDArray[Any]
Arrays = dict[str, Array]
Sizes = int | tuple[int, ...]
#: Along each axis: places of an array, and the taps of the kernel that meet them.
Meetings = list[tuple[Array, Array]]

#: Outputs that are recomputed in float64.
SAMPLES = 96


@dataclass(frozen=True)
class Layer(ABC):
    """One call of one operation, as plain data: sizes, no arrays.

    Parameters
    ----------
    name : str
        ``net.layer``; unique.
    tags : tuple of str
        Words to select by; ``"full"`` keeps a layer out of the default list of its class.
    """

    name: str
    tags: tuple[str, ...] = ()

    #: The function's array arguments, in its order; the first is what changes from call to call.
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    #: Whether memory is the limit, so that a plain copy of the same bytes is worth comparing with.
    streams: ClassVar[bool] = False

    @property
    @abstractmethod
    def bench_class(self) -> str:
        """The class that the layer is reported under, one of :data:`benchmarks.shapes.CLASSES`."""

    @property
    @abstractmethod
    def function(self) -> str:
        """Name of the function in ``pyconv`` and in ``torch.nn.functional`` or ``torchvision.ops``."""

    @property
    def operation(self) -> str:
        """The function without its number of axes, ``_grad`` for a gradient: what peers' tables are keyed with.

        Examples
        --------
        >>> from benchmarks.shapes import find
        >>> find("resnet50.conv1").operation, find("pool.resnet.avg_grad").operation
        ('conv', 'avg_pool_grad')
        """
        name = self.function
        return (name[:-2] if name[-2:] in ("1d", "2d", "3d") else name) + ("" if self.wanted is None else "_grad")

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """Of which of :attr:`inputs`, from the first on, gradients are computed; None for the function itself."""
        return None

    @property
    def weighted(self) -> bool:
        """Whether w (and a bias) are constants that are packed beforehand."""
        return False

    @property
    def activated(self) -> bool:
        """Whether an activation may follow in the same call."""
        return False

    @property
    @abstractmethod
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays by name, ``"g"`` being that of a gradient's first argument."""

    @property
    @abstractmethod
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of what is computed; empty where the values decide about them."""

    @property
    @abstractmethod
    def flops(self) -> int:
        """Floating-point operations of the definition; what GFLOP/s are counted with."""

    @abstractmethod
    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the function's arguments, from arrays or tensors by name."""

    @property
    def settings(self) -> dict[str, Any]:
        """The function's arguments by keyword."""
        return {}

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return the arrays: normal numbers, unless the kind says otherwise."""
        return {name: normal(random, shape, dtype) for name, shape in self.shapes.items()}

    def out_types(self, dtype: str) -> tuple[str, ...]:
        """Return the dtype of each output."""
        return (dtype,) * len(self.out_shapes)

    @abstractmethod
    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one element of one output in float64, by the definition; nothing of pyconv may be used."""

    def meant(self, output: int, value: float) -> float:
        """Return an element as :meth:`truth` has it, where libraries may write it in several ways."""
        return value

    @abstractmethod
    def small(self) -> Self:
        """Return the same call at sizes that a test can afford."""

    def disagreement(self, arrays: Arrays, outputs: Sequence[Array], activation: str | None = None) -> float:
        """Return the rms error of a sample of every output relative to its rms in float64, the largest of them.

        Raises
        ------
        ValueError
            If an output has another shape or dtype than it should.
        """
        expected = list(zip(self.out_shapes, self.out_types(str(arrays[self.inputs[0]].dtype)), strict=True))
        got = [(out.shape, str(out.dtype)) for out in outputs]
        if got != expected:
            raise ValueError(f"got {got}, expected {expected}")
        errors = []
        for number, out in enumerate(outputs):
            places = [tuple(int(i) for i in index) for index in sample(out.shape)]
            truth = np.array([self.truth(arrays, number, place) for place in places])
            if activation == "relu":
                truth = np.maximum(truth, 0)
            found = np.array([self.meant(number, float(out[place])) for place in places])
            scale = np.mean(truth**2) or 1.0
            errors.append(np.sqrt(np.mean((found - truth) ** 2) / scale))
        # NaN, which an output that was never written may hold, stays: it is below no tolerance.
        return float(np.max(errors))


def sample(shape: tuple[int, ...]) -> Array:
    """Return indices into an array, (samples, rank): the corners and random ones."""
    random = np.random.default_rng(0)
    sizes = np.array(shape)
    corners = np.indices((2,) * len(sizes)).reshape(len(sizes), -1).T * (sizes - 1)
    drawn = random.integers(0, sizes, (max(0, SAMPLES - len(corners)), len(sizes)))
    return np.unique(np.concatenate([corners, drawn]), axis=0)


def normal(random: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Return normal numbers, drawn in float32 whatever the dtype."""
    return random.standard_normal(shape, dtype=np.float32).astype(dtype)


def spread(value: Sizes, rank: int) -> tuple[int, ...]:
    """Return one entry for each axis."""
    return (value,) * rank if isinstance(value, int) else value


def window(
    place: Iterable[int],
    spatial: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Meetings:
    """Return what an output's window reads: along each axis the places inside the input, and their taps.

    Examples
    --------
    >>> [(at.tolist(), taps.tolist()) for at, taps in window((0, 2), (5, 5), (3, 3), (2, 2), (1, 1), (1, 1))]
    [([0, 1], [1, 2]), ([3, 4], [0, 1])]
    """
    meetings = []
    for at, size, k, s, p, d in zip(place, spatial, kernel, stride, padding, dilation, strict=True):
        taps = np.arange(k)
        places = at * s - p + d * taps
        inside = (places >= 0) & (places < size)
        meetings.append((places[inside], taps[inside]))
    return meetings


def arriving(
    place: Iterable[int],
    windows: Sequence[int],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
) -> Meetings:
    """Return which windows read a place: along each axis their numbers, and by which taps. The adjoint of window().

    Examples
    --------
    >>> [(at.tolist(), taps.tolist()) for at, taps in arriving((1, 4), (3, 3), (3, 3), (2, 2), (1, 1), (1, 1))]
    [([1, 0], [0, 2]), ([2], [1])]
    """
    meetings = []
    for at, count, k, s, p, d in zip(place, windows, kernel, stride, padding, dilation, strict=True):
        taps = np.arange(k)
        starts = at + p - d * taps
        met = (starts % s == 0) & (starts >= 0) & (starts < count * s)
        meetings.append((starts[met] // s, taps[met]))
    return meetings


def joined(meetings: Meetings) -> tuple[list[Array], list[Array]]:
    """Return the places and the taps of all axes."""
    return [places for places, _ in meetings], [taps for _, taps in meetings]
