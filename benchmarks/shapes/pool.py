"""Pooling: maxima, averages and norms of windows, by window or by the size of the output, and gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.shapes.base import Array, Arrays, Layer, arriving, spread, window

__all__ = ["LAYERS", "AdaptivePooling", "Pooling", "PoolingGradient"]


@dataclass(frozen=True)
class _Planes(Layer):
    """What all poolings have.

    Parameters
    ----------
    kind : {"max", "avg", "lp"}
        lp is the 2-norm.
    c : int
        Channels.
    spatial : tuple of int
    """

    kind: str = "max"
    c: int = 1
    spatial: tuple[int, ...] = ()

    streams: ClassVar[bool] = True

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x."""
        return {"x": (1, self.c, *self.spatial)}


@dataclass(frozen=True)
class Pooling(_Planes):
    """Windows of one size, in steps.

    Parameters
    ----------
    kernel, stride, padding : tuple of int
        One entry a spatial axis.
    indices : bool
        Whether maxima come with their places in the plane.
    """

    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    indices: bool = False

    @property
    def bench_class(self) -> str:
        """Maxima and averages, norms, and what training needs."""
        return "pool_lp" if self.kind == "lp" else "pool_train" if self.indices else "pool"

    @property
    def function(self) -> str:
        """``max_pool2d`` and the like."""
        return f"{self.kind}_pool{self.rank}d"

    @property
    def operation(self) -> str:
        """Maxima with their indices are an operation of their own."""
        return super().operation + ("_indices" if self.indices else "")

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        """Kernel, stride, padding, dilation."""
        return self.kernel, self.stride, self.padding, (1,) * self.rank

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the pooled planes."""
        axes = zip(self.spatial, self.kernel, self.stride, self.padding, strict=True)
        return (1, self.c, *((size + 2 * p - k) // s + 1 for size, k, s, p in axes))

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the pooled planes, twice where indices come along."""
        return (self.y_shape,) * (2 if self.indices else 1)

    def out_types(self, dtype: str) -> tuple[str, ...]:
        """Return the dtype of each output; indices are integers."""
        return (dtype, "int64") if self.indices else (dtype,)

    @property
    def flops(self) -> int:
        """One for each element of a window."""
        return math.prod(self.y_shape) * math.prod(self.kernel)

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, kernel, stride, padding), of norms (x, 2.0, kernel, stride)."""
        if self.kind == "lp":
            return (arrays["x"], 2.0, self.kernel, self.stride)
        return (arrays["x"], *self.geometry[:3])

    @property
    def settings(self) -> dict[str, Any]:
        """Whether indices are asked for."""
        return {"return_indices": True} if self.indices else {}

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one maximum, its place, an average or a norm."""
        reads = [places for places, _ in window(index[2:], self.spatial, *self.geometry)]
        elements = arrays["x"][index[:2]][np.ix_(*reads)].astype(np.float64)
        if output == 1:
            found = np.unravel_index(int(np.argmax(elements)), elements.shape)
            place = [int(places[at]) for places, at in zip(reads, found, strict=True)]
            return float(np.ravel_multi_index(place, self.spatial))
        if self.kind == "lp":
            return float(np.sqrt(np.sum(elements**2)))
        return float(elements.max() if self.kind == "max" else np.sum(elements) / math.prod(self.kernel))

    def meant(self, output: int, value: float) -> float:
        """Return a place in its plane; ONNX counts through the whole array."""
        return value % math.prod(self.spatial) if output == 1 else value

    def small(self) -> Self:
        """Return few channels and windows."""
        axes = zip(self.spatial, self.kernel, self.stride, strict=True)
        return replace(self, c=min(self.c, 3), spatial=tuple(min(size, k + 3 * s + 1) for size, k, s in axes))


@dataclass(frozen=True)
class PoolingGradient(Pooling):
    """The gradient with respect to x, of maxima from the indices that the forward call saved."""

    streams: ClassVar[bool] = False

    @property
    def bench_class(self) -> str:
        """What training needs."""
        return "pool_train"

    @property
    def wanted(self) -> tuple[bool, ...]:
        """That of x."""
        return (True,)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and g."""
        return {**super().shapes, "g": self.y_shape}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of x."""
        return (self.shapes["x"],)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one element: a share of each window that it is in, or all of those that it is the maximum of."""
        plane, g, place = arrays["x"][index[:2]], arrays["g"][index[:2]], index[2:]
        starts = [numbers for numbers, _ in arriving(place, self.y_shape[2:], *self.geometry)]
        total = 0.0
        for at in itertools.product(*(map(int, numbers) for numbers in starts)):
            if self.kind == "avg":
                total += float(g[at]) / math.prod(self.kernel)
            else:
                reads = [places for places, _ in window(at, self.spatial, *self.geometry)]
                total += float(g[at]) * float(plane[np.ix_(*reads)].max() == plane[place])
        return total


@dataclass(frozen=True)
class AdaptivePooling(_Planes):
    """Windows from the size of the output.

    Parameters
    ----------
    out : tuple of int
        The output's spatial size.
    """

    out: tuple[int, ...] = ()

    @property
    def bench_class(self) -> str:
        """All of them in one."""
        return "pool_global"

    @property
    def function(self) -> str:
        """``adaptive_avg_pool2d`` and the like."""
        return f"adaptive_{self.kind}_pool{self.rank}d"

    @property
    def divides(self) -> bool:
        """Whether all windows have one size, which other operations have too."""
        return all(size % out == 0 for size, out in zip(self.spatial, self.out, strict=True))

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the pooled planes."""
        return ((1, self.c, *self.out),)

    @property
    def flops(self) -> int:
        """One for each element of a window."""
        axes = zip(self.spatial, self.out, strict=True)
        lengths = (sum(-(-(o + 1) * size // out) - o * size // out for o in range(out)) for size, out in axes)
        return self.c * math.prod(lengths)

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, output_size)."""
        return (arrays["x"], self.out)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one maximum or average."""
        axes = zip(index[2:], self.spatial, self.out, strict=True)
        reads = tuple(slice(o * size // out, -(-(o + 1) * size // out)) for o, size, out in axes)
        elements: Array = arrays["x"][index[:2]][reads].astype(np.float64)
        return float(elements.max() if self.kind == "max" else elements.mean())

    def small(self) -> Self:
        """Return few channels."""
        return replace(self, c=min(self.c, 3))


def _layers() -> list[Layer]:
    """Pooling as the networks have it: (layer, channels, size, kernel, stride, padding)."""
    table = (
        ("vgg1", 64, 224, 2, 2, 0),
        ("vgg2", 128, 112, 2, 2, 0),
        ("unet", 64, 112, 2, 2, 0),
        ("resnet", 64, 112, 3, 2, 1),
        ("googlenet2", 192, 56, 3, 2, 1),
        ("alexnet5", 256, 13, 3, 2, 0),
        ("inception", 64, 56, 3, 1, 1),
        ("googlenet3", 256, 28, 3, 1, 1),
        ("googlenet4", 480, 14, 3, 1, 1),
        ("yolo5", 512, 13, 5, 1, 2),
        ("yolo9", 512, 13, 9, 1, 4),
        ("yolo13", 512, 13, 13, 1, 6),
        ("sppf", 256, 20, 5, 1, 2),
    )

    def pooling(what: type[Pooling], row: tuple[str, int, int, int, int, int], word: str, **more: Any) -> Pooling:
        name, c, size, k, s, p = row
        sizes: dict[str, Any] = {"kernel": spread(k, 2), "stride": spread(s, 2), "padding": spread(p, 2)}
        return what(f"pool.{name}.{word}", c=c, spatial=spread(size, 2), **sizes, **more)

    found: list[Layer] = [pooling(Pooling, row, kind, kind=kind) for row in table for kind in ("max", "avg")]
    # the networks' last layers: (layer, channels, size, size of the output)
    last = (
        ("resnet18", 512, 7, 1),
        ("resnet50", 2048, 7, 1),
        ("squeezenet", 1000, 13, 1),
        ("senet", 256, 56, 1),
        ("vgg", 512, 14, 7),
        ("pspnet", 512, 60, 6),
        ("alexnet", 256, 13, 6),
    )
    found += [
        AdaptivePooling(f"pool.{name}.{kind}", kind=kind, c=c, spatial=spread(size, 2), out=spread(out, 2))
        for name, c, size, out in last
        for kind in ("max", "avg")
    ]
    for row in table:
        if row[0] in ("unet", "resnet", "googlenet2", "inception", "sppf"):
            found.append(pooling(Pooling, row, "max_indices", indices=True))
            found += [pooling(PoolingGradient, row, f"{kind}_grad", kind=kind) for kind in ("max", "avg")]
    # norms have no padding
    found += [pooling(Pooling, (*row[:5], 0), "lp", kind="lp") for row in table[2:5]]
    return found


LAYERS: tuple[Layer, ...] = tuple(_layers())
