"""Bilinear and other sampling between the pixels, resizing, deformable convolution, and moves of pixels.

All interpolation is a product with one weight for each pixel, separable along the axes, so a sample is
``weights(y) @ plane @ weights(x)``; the definitions here write these weights down densely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.shapes.base import Array, Arrays, Layer

__all__ = ["LAYERS", "Deformable", "GridSample", "Resize", "Shuffle", "Unfold"]


def _hat(distance: Array) -> Array:
    """Return the weight of linear interpolation at a distance in pixels."""
    return np.asarray(np.maximum(0.0, 1 - np.abs(distance)))


def _cubic(distance: Array, a: float = -0.75) -> Array:
    """Return Keys' weight of cubic interpolation."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _cubic_bordered(place: Array, size: int) -> Array:
    """Return the cubic weight of each pixel, along the last axis; pixels beyond the border repeat the last one."""
    weights = np.zeros((*place.shape, size))
    first = np.floor(place).astype(int) - 1
    for tap in range(4):
        repeated = np.clip(first + tap, 0, size - 1)
        weights += _cubic(place - (first + tap))[..., None] * (repeated[..., None] == np.arange(size))
    return weights


def _hat_slope(distance: Array) -> Array:
    """Return the derivative of :func:`_hat` by its argument."""
    return np.where(np.abs(distance) < 1, -np.sign(distance), 0.0)


@dataclass(frozen=True)
class _Sampling(Layer):
    """What all kinds here have.

    Parameters
    ----------
    n, c : int
    spatial : (int, int)
        Size of x.
    gradient : bool
        Whether the gradients are what is computed.
    """

    n: int = 1
    c: int = 1
    spatial: tuple[int, int] = (1, 1)
    gradient: bool = False

    @property
    def bench_class(self) -> str:
        """All of them in one."""
        return "sampling"

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """All there are."""
        return (True,) * len(self.inputs) if self.gradient else None

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c, *self.spatial)


@dataclass(frozen=True)
class GridSample(_Sampling):
    """``grid_sample`` with corners not aligned.

    Parameters
    ----------
    out : (int, int)
    mode : {"bilinear", "nearest", "bicubic"}
    border : {"zeros", "border"}
    """

    out: tuple[int, int] = (1, 1)
    mode: str = "bilinear"
    border: str = "zeros"

    inputs: ClassVar[tuple[str, ...]] = ("x", "grid")

    @property
    def function(self) -> str:
        """The one name."""
        return "grid_sample"

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, the grid, and g."""
        shapes: dict[str, tuple[int, ...]] = {"x": self.x_shape, "grid": (self.n, *self.out, 2)}
        return {**shapes, "g": (self.n, self.c, *self.out)} if self.gradient else shapes

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the samples, or those of x and the grid."""
        shapes = self.shapes
        return (shapes["x"], shapes["grid"]) if self.gradient else ((self.n, self.c, *self.out),)

    @property
    def flops(self) -> int:
        """Two for each product of a sample with its pixels, for each gradient."""
        pixels = {"nearest": 1, "bilinear": 4, "bicubic": 16}[self.mode]
        return 2 * self.n * self.c * math.prod(self.out) * pixels * (2 if self.gradient else 1)

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers and a grid that turns and bends the image, a tenth of it outside."""
        arrays = super().make(random, dtype)
        y, x = np.meshgrid(*(np.linspace(-1.05, 1.05, size) for size in self.out), indexing="ij")
        turned = np.stack([x * 0.98 - y * 0.2, x * 0.2 + y * 0.98], axis=-1)
        arrays["grid"] = (turned + 0.01 * random.standard_normal((self.n, *self.out, 2))).astype(dtype)
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, grid, mode, padding_mode, align_corners)."""
        return (arrays["x"], arrays["grid"], self.mode, self.border, False)

    def _places(self, grid: Array) -> list[Array]:
        """Return rows and columns in pixels."""
        half = np.asarray(0.5, grid.dtype)
        # In the arrays' own precision: one pixel's fraction of a large image is the difference of large numbers.
        places = [
            ((grid[..., axis] + 1) * size - 1) * half for axis, size in ((1, self.spatial[0]), (0, self.spatial[1]))
        ]
        if self.border == "border" and self.mode != "bicubic":
            places = [np.clip(place, 0, size - 1) for place, size in zip(places, self.spatial, strict=True)]
        return [place.astype(np.float64) for place in places]

    def _weights(self, place: Array, size: int) -> Array:
        """Return the weight of each pixel along an axis, the last one."""
        pixels = np.arange(size)
        if self.mode == "nearest":
            return np.asarray(np.rint(place)[..., None] == pixels, np.float64)
        if self.mode == "bilinear":
            return _hat(place[..., None] - pixels)
        if self.border == "zeros":
            return _cubic(place[..., None] - pixels)
        return _cubic_bordered(place, size)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one sample, or one element of the gradient of x or of the grid."""
        image, x = index[0], arrays["x"][index[0]].astype(np.float64)
        rows, columns = self._places(arrays["grid"][image])
        if not self.gradient:
            c, place = index[1], index[2:]
            along = [self._weights(at[place], size) for at, size in zip((rows, columns), self.spatial, strict=True)]
            return float(along[0] @ x[c] @ along[1])
        g = arrays["g"][image].astype(np.float64)
        if output == 0:
            _, c, row, column = index
            shares = (
                self._weights(rows, self.spatial[0])[..., row] * self._weights(columns, self.spatial[1])[..., column]
            )
            return float(np.sum(g[c] * shares))
        _, p, q, axis = index
        at = [rows[p, q], columns[p, q]]
        along = [self._weights(place, size) for place, size in zip(at, self.spatial, strict=True)]
        own = 1 - axis
        along[own] = _hat_slope(at[own] - np.arange(self.spatial[own]))
        return float(g[:, p, q] @ (along[0] @ x @ along[1])) * self.spatial[own] / 2

    def small(self) -> Self:
        """Return few pixels and channels."""
        return replace(self, n=min(self.n, 2), c=min(self.c, 3), spatial=(11, 14), out=(9, 12))


@dataclass(frozen=True)
class Resize(_Sampling):
    """``interpolate`` to a size, and its gradient.

    Parameters
    ----------
    out : (int, int)
    mode : {"nearest", "bilinear", "bicubic", "area"}
    corners, antialias : bool
        ``align_corners`` and ``antialias``.
    """

    out: tuple[int, int] = (1, 1)
    mode: str = "bilinear"
    corners: bool = False
    antialias: bool = False

    @property
    def function(self) -> str:
        """The one name."""
        return "interpolate"

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the resized image."""
        return (self.n, self.c, *self.out)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and g."""
        return {"x": self.x_shape, "g": self.y_shape} if self.gradient else {"x": self.x_shape}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the resized image, or of x."""
        return (self.x_shape if self.gradient else self.y_shape,)

    @property
    def flops(self) -> int:
        """Two for each product of an output with its pixels."""
        along = [int(np.count_nonzero(self._weights(axis)[0])) for axis in (0, 1)]
        return 2 * math.prod(self.y_shape) * math.prod(along)

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, size)."""
        return (arrays["x"], self.out)

    @property
    def settings(self) -> dict[str, Any]:
        """The mode and what belongs to it."""
        if self.mode in ("nearest", "area"):
            return {"mode": self.mode}
        return {"mode": self.mode, "align_corners": self.corners, "antialias": self.antialias}

    def _weights(self, axis: int) -> Array:
        """Return the weight of each pixel in each output along an axis, (out, in)."""
        size, out = self.spatial[axis], self.out[axis]
        number, pixels, scale = np.arange(out), np.arange(size), size / out
        if self.mode == "nearest":
            return np.asarray(np.floor(number * scale)[:, None] == pixels, np.float64)
        if self.mode == "area":
            inside = (pixels >= number[:, None] * size // out) & (pixels < -(-(number[:, None] + 1) * size // out))
            return np.asarray(inside / inside.sum(axis=1, keepdims=True))
        if self.antialias:
            wide = max(scale, 1.0)
            centre = scale * (number + 0.5)
            distance = (pixels + 0.5 - centre[:, None]) / wide
            weights = _hat(distance) if self.mode == "bilinear" else _cubic(distance, -0.5)
            return np.asarray(weights / weights.sum(axis=1, keepdims=True))
        place = number * (size - 1) / (out - 1) if self.corners else scale * (number + 0.5) - 0.5
        if self.mode == "bilinear":
            return _hat(np.clip(place, 0, size - 1)[:, None] - pixels)
        return _cubic_bordered(place, size)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one pixel, or one element of the gradient."""
        image, c, *place = index
        rows, columns = self._weights(0), self._weights(1)
        if self.gradient:
            rows, columns = rows.T, columns.T
        plane = arrays["g" if self.gradient else "x"][image, c].astype(np.float64)
        return float(rows[place[0]] @ plane @ columns[place[1]])

    def small(self) -> Self:
        """Return few pixels, and about as many times more or less."""
        before = 9 if self.spatial < self.out else 16
        rows, columns = (round(before * out / size) for size, out in zip(self.spatial, self.out, strict=True))
        return replace(self, n=min(self.n, 2), c=min(self.c, 3), spatial=(before, before), out=(rows, columns))


@dataclass(frozen=True)
class Deformable(_Sampling):
    """``deform_conv2d`` with a mask (version 2), stride 1, size kept; gradients are all five.

    Parameters
    ----------
    c_out, kernel : int
    masked : bool
    """

    c_out: int = 1
    kernel: int = 3
    masked: bool = True

    inputs: ClassVar[tuple[str, ...]] = ("x", "offset", "w", "bias", "mask")

    @property
    def bench_class(self) -> str:
        """With the other operations of torchvision."""
        return "boxes-more-grad" if self.gradient else "boxes-more"

    @property
    def function(self) -> str:
        """As torchvision calls it."""
        return "deform_conv2d"

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """All there are."""
        return (True, True, True, True, self.masked) if self.gradient else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, offset, w, bias, mask and g."""
        taps = self.kernel**2
        shapes: dict[str, tuple[int, ...]] = {
            "x": self.x_shape,
            "offset": (self.n, 2 * taps, *self.spatial),
            "w": (self.c_out, self.c, self.kernel, self.kernel),
            "bias": (self.c_out,),
        }
        if self.masked:
            shapes["mask"] = (self.n, taps, *self.spatial)
        return {**shapes, "g": self.y_shape} if self.gradient else shapes

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's output."""
        return (self.n, self.c_out, *self.spatial)

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the output, or of all inputs."""
        if not self.gradient:
            return (self.y_shape,)
        return tuple(self.shapes[name] for name in self.inputs if name in self.shapes)

    @property
    def flops(self) -> int:
        """Two for each product of the convolution, thrice for the gradients."""
        return 2 * math.prod(self.y_shape) * self.c * self.kernel**2 * (3 if self.gradient else 1)

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers, offsets of about two pixels, a mask between 0 and 1."""
        arrays = super().make(random, dtype)
        arrays["w"] /= np.sqrt(arrays["w"][0].size)
        arrays["offset"] *= 2
        if self.masked:
            arrays["mask"] = (1 / (1 + np.exp(-arrays["mask"].astype(np.float64)))).astype(dtype)
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, offset, w, bias, stride, padding, dilation, mask)."""
        first = (arrays[name] for name in ("x", "offset", "w", "bias"))
        return (*first, (1, 1), (self.kernel // 2,) * 2, (1, 1), arrays.get("mask"))

    def _places(self, arrays: Arrays, image: int) -> tuple[Array, Array]:
        """Return row and column of each tap's sample, (taps, h, w)."""
        taps = np.arange(self.kernel**2)
        offset = arrays["offset"][image].astype(np.float64)
        rows, columns = np.indices(self.spatial)
        a, b = (part[:, None, None] - self.kernel // 2 for part in np.divmod(taps, self.kernel))
        return rows + a + offset[0::2], columns + b + offset[1::2]

    def _along(self, at: float, axis: int) -> Array:
        """Return the weights of the pixels along an axis."""
        return _hat(at - np.arange(self.spatial[axis]))

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one output, or one element of a gradient."""
        x, w, mask = arrays["x"].astype(np.float64), arrays["w"].astype(np.float64), arrays.get("mask")
        if not self.gradient:
            return self._forward(arrays, index)
        g = arrays["g"].astype(np.float64)
        name = [name for name in self.inputs if name in self.shapes][output]
        if name == "bias":
            return float(np.sum(g[:, index[0]]))
        if name == "w":
            o, c, a, b = index
            tap, total = a * self.kernel + b, 0.0
            for image in range(self.n):
                rows, columns = (places[tap] for places in self._places(arrays, image))
                samples = self._sampled(x[image, c], rows, columns)
                total += float(np.sum(g[image, o] * samples * (1.0 if mask is None else mask[image, tap])))
            return total
        image = index[0]
        rows, columns = self._places(arrays, image)
        if name == "x":
            _, c, row, column = index
            shares = _hat(rows - row) * _hat(columns - column) * (1.0 if mask is None else mask[image])
            weights = w[:, c].reshape(self.c_out, -1)
            return float(np.einsum("ot,ohw,thw->", weights, g[image], shares, optimize=True))
        tap, place = (index[1], index[2:]) if name == "mask" else (index[1] // 2, index[2:])
        at = (rows[(tap, *place)], columns[(tap, *place)])
        along = [self._along(float(at[axis]), axis) for axis in (0, 1)]
        factor = 1.0
        if name == "offset":
            own = index[1] % 2
            along[own] = _hat_slope(at[own] - np.arange(self.spatial[own]))
            factor = 1.0 if mask is None else float(mask[(image, tap, *place)])
        weights = w.reshape(self.c_out, self.c, -1)[..., tap]
        return factor * float(g[image][:, *place] @ weights @ (along[0] @ x[image] @ along[1]))

    def _forward(self, arrays: Arrays, index: tuple[int, ...]) -> float:
        image, o, *place = index
        rows, columns = self._places(arrays, image)
        plane, total = arrays["x"][image].astype(np.float64), float(arrays["bias"][o])
        for tap in range(self.kernel**2):
            at = (tap, *place)
            samples = self._along(float(rows[at]), 0) @ plane @ self._along(float(columns[at]), 1)
            factor = float(arrays["mask"][(image, *at)]) if self.masked else 1.0
            total += factor * float(arrays["w"][o].reshape(self.c, -1)[:, tap].astype(np.float64) @ samples)
        return total

    def _sampled(self, plane: Array, rows: Array, columns: Array) -> Array:
        """Return bilinear samples of a plane, zeros outside."""
        total = np.zeros(rows.shape)
        for a, b in np.ndindex(2, 2):
            row, column = np.floor(rows).astype(int) + a, np.floor(columns).astype(int) + b
            inside = (row >= 0) & (row < self.spatial[0]) & (column >= 0) & (column < self.spatial[1])
            pixels = plane[np.clip(row, 0, self.spatial[0] - 1), np.clip(column, 0, self.spatial[1] - 1)]
            total += inside * pixels * _hat(rows - row) * _hat(columns - column)
        return total

    def small(self) -> Self:
        """Return few channels and pixels."""
        return replace(self, n=min(self.n, 2), c=min(self.c, 3), c_out=min(self.c_out, 4), spatial=(7, 9))


@dataclass(frozen=True)
class Unfold(_Sampling):
    """Windows as columns (im2col), or their sums as an image (col2im); ``spatial`` is the image's.

    Parameters
    ----------
    called : {"unfold", "fold"}
    kernel, stride, padding : int
    """

    called: str = "unfold"
    kernel: int = 3
    stride: int = 1
    padding: int = 1

    streams: ClassVar[bool] = True

    @property
    def bench_class(self) -> str:
        """With the other moves."""
        return "rearrange"

    @property
    def function(self) -> str:
        """The one or the other."""
        return self.called

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows along each axis."""
        return tuple((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in self.spatial)

    @property
    def columns_shape(self) -> tuple[int, ...]:
        """Shape of the columns."""
        return (self.n, self.c * self.kernel**2, math.prod(self.counts))

    @property
    def folds(self) -> bool:
        """Whether an image comes out: each is the other's gradient."""
        return (self.called == "fold") != self.gradient

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and g."""
        x, y = (self.columns_shape, self.x_shape) if self.called == "fold" else (self.x_shape, self.columns_shape)
        return {"x": x, "g": y} if self.gradient else {"x": x}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the image or of the columns."""
        return (self.x_shape if self.folds else self.columns_shape,)

    @property
    def flops(self) -> int:
        """One for each element of the columns."""
        return math.prod(self.columns_shape)

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x[, output_size], kernel_size, dilation, padding, stride)."""
        size = (self.spatial,) if self.called == "fold" else ()
        return (arrays["x"], *size, self.kernel, 1, self.padding, self.stride)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one element of a window, or the sum of the elements that lie on a pixel."""
        source, (rows, columns), k = arrays["g" if self.gradient else "x"], self.counts, self.kernel
        if not self.folds:
            image, channel, number = index
            c, tap = divmod(channel, k * k)
            row = number // columns * self.stride - self.padding + tap // k
            column = number % columns * self.stride - self.padding + tap % k
            inside = 0 <= row < self.spatial[0] and 0 <= column < self.spatial[1]
            return float(source[image, c, row, column]) if inside else 0.0
        image, c, row, column = index
        total = 0.0
        for a, b in np.ndindex(k, k):
            down, p = divmod(row + self.padding - a, self.stride)[::-1]
            across, q = divmod(column + self.padding - b, self.stride)[::-1]
            if down == across == 0 and 0 <= p < rows and 0 <= q < columns:
                total += float(source[image, c * k * k + a * k + b, p * columns + q])
        return total

    def small(self) -> Self:
        """Return few channels and windows."""
        size = self.kernel + 3 * self.stride
        return replace(self, n=min(self.n, 2), c=min(self.c, 3), spatial=(size, size + 1))


@dataclass(frozen=True)
class Shuffle(_Sampling):
    """Channels to pixels, or back: ``c`` and ``spatial`` are x's.

    Parameters
    ----------
    called : {"pixel_shuffle", "pixel_unshuffle"}
    factor : int
    """

    called: str = "pixel_shuffle"
    factor: int = 2

    streams: ClassVar[bool] = True

    @property
    def bench_class(self) -> str:
        """With the other moves."""
        return "rearrange"

    @property
    def function(self) -> str:
        """The one or the other."""
        return self.called

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the moved pixels."""
        r, (height, width) = self.factor, self.spatial
        if self.called == "pixel_shuffle":
            return (self.n, self.c // r**2, height * r, width * r)
        return (self.n, self.c * r**2, height // r, width // r)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and g."""
        return {"x": self.x_shape, "g": self.y_shape} if self.gradient else {"x": self.x_shape}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the moved pixels, or of x."""
        return (self.x_shape if self.gradient else self.y_shape,)

    @property
    def flops(self) -> int:
        """None; one a pixel is counted."""
        return math.prod(self.x_shape)

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, factor)."""
        return (arrays["x"], self.factor)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return the pixel that is moved there."""
        image, c, row, column = index
        r, source = self.factor, arrays["g" if self.gradient else "x"]
        if (self.called == "pixel_shuffle") != self.gradient:
            return float(source[image, c * r * r + row % r * r + column % r, row // r, column // r])
        c, place = divmod(c, r * r)
        return float(source[image, c, row * r + place // r, column * r + place % r])

    def small(self) -> Self:
        """Return few channels and pixels."""
        r = self.factor
        return replace(self, n=min(self.n, 2), c=2 * r * r, spatial=(3 * r, 2 * r))


def _layers() -> list[Layer]:
    def gradient(layer: _Sampling, tags: tuple[str, ...] = ()) -> _Sampling:
        return replace(layer, name=f"{layer.name}.grad", gradient=True, tags=tags)

    bilinear = Resize("resize.fpn.bilinear", c=256, spatial=(50, 68), out=(100, 136))
    grid = GridSample("grid.stn.bilinear", n=4, c=64, spatial=(64, 64), out=(64, 64))
    head = Resize("resize.deeplab.bilinear_corners", c=21, spatial=(65, 65), out=(513, 513), corners=True)
    photo: dict[str, Any] = {"n": 1, "c": 3, "spatial": (1080, 1920), "out": (224, 398)}
    bicubic = Resize("resize.2x.bicubic", c=3, spatial=(256, 256), out=(512, 512), mode="bicubic")
    anti = Resize("resize.photo.antialias", **photo, antialias=True)
    nearest = Resize("resize.fpn.nearest", c=256, spatial=(50, 68), out=(100, 136), mode="nearest")
    warp: dict[str, Any] = {"c": 3, "spatial": (512, 512), "out": (512, 512)}
    cubic_grid = GridSample("grid.warp.bicubic", **warp, mode="bicubic")
    unfold = Unfold("unfold.3x3", c=64, spatial=(56, 56))
    fold = replace(unfold, name="fold.3x3", called="fold")
    patches = Unfold("unfold.patches16", c=3, spatial=(224, 224), kernel=16, stride=16, padding=0)
    shuffle = Shuffle("shuffle.espcn", c=64, spatial=(128, 128))
    deform = Deformable("deform.3x3.mask", c=64, spatial=(56, 56), c_out=64)
    later = replace(deform, name="deform.3x3.v1", c=256, c_out=256, spatial=(28, 28), masked=False)
    return [
        bilinear,
        grid,
        nearest,
        head,
        bicubic,
        anti,
        Resize("resize.photo.bicubic_antialias", **photo, mode="bicubic", antialias=True),
        Resize("resize.photo.area", ("full",), **photo, mode="area"),
        GridSample("grid.warp.bilinear", **warp),
        GridSample("grid.warp.border", ("full",), **warp, border="border"),
        GridSample("grid.warp.nearest", ("full",), **warp, mode="nearest"),
        cubic_grid,
        GridSample("grid.warp.bicubic_border", ("full",), **warp, mode="bicubic", border="border"),
        gradient(bilinear),
        gradient(grid),
        gradient(nearest),
        gradient(head, ("full",)),
        gradient(bicubic),
        gradient(anti),
        unfold,
        fold,
        patches,
        replace(patches, name="fold.patches16", called="fold", tags=("full",)),
        shuffle,
        Shuffle("unshuffle.espcn", c=16, spatial=(256, 256), called="pixel_unshuffle"),
        gradient(unfold, ("full",)),
        gradient(fold, ("full",)),
        gradient(shuffle, ("full",)),
        deform,
        later,
        gradient(deform),
    ]


LAYERS: tuple[Layer, ...] = tuple(_layers())
