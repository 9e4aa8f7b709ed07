"""Convolutions, transposed ones, and the gradients of convolutions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.shapes.base import Array, Arrays, Layer, Sizes, arriving, joined, normal, spread, window

__all__ = ["FILTERS", "GRADIENTS", "TRANSPOSED", "Convolution", "ConvolutionGradient", "Transposed", "conv"]

#: Classes of large kernels, which come from signal and image processing.
FILTERS = ("filter", "bank", "fir", "volume")


@dataclass(frozen=True)
class Convolution(Layer):
    """One convolution of a network.

    Parameters
    ----------
    n, c_in, c_out, groups : int
        Images, input channels, output channels, groups (channels are totals, not per group).
    spatial, kernel, stride, padding, dilation : tuple of int
        One entry a spatial axis, (d, h, w) order; padding is zeros on both sides.
    tags : tuple of str
        ``"small"``, ``"filter"``, ``"bank"``, ``"fir"`` and ``"volume"`` decide the class.
    """

    n: int = 1
    c_in: int = 1
    spatial: tuple[int, ...] = ()
    c_out: int = 1
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    inputs: ClassVar[tuple[str, ...]] = ("x", "w", "bias")

    @property
    def weighted(self) -> bool:
        """Its weights are constants; those of a gradient are not."""
        return self.wanted is None

    @property
    def activated(self) -> bool:
        """As weights are."""
        return self.weighted

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def function(self) -> str:
        """``conv`` with its number of axes."""
        return f"conv{self.rank}d"

    @property
    def geometry(self) -> tuple[tuple[int, ...], ...]:
        """Kernel, stride, padding, dilation."""
        return self.kernel, self.stride, self.padding, self.dilation

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        axes = zip(self.spatial, *self.geometry, strict=True)
        return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in axes)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and w."""
        return {"x": (self.n, self.c_in, *self.spatial), "w": self.w_shape}

    @property
    def y_shape(self) -> tuple[int, ...]:
        """Shape of the convolution's output."""
        return (self.n, self.c_out, *self.out_spatial)

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the output."""
        return (self.y_shape,)

    @property
    def flops(self) -> int:
        """Two for each product."""
        return 2 * math.prod(self.y_shape) * (self.c_in // self.groups) * math.prod(self.kernel)

    @property
    def bench_class(self) -> str:
        """The class, by the geometry.

        "dense" is the dense layers that are not 3x3 with stride 1, and the stems: up to 4 input channels leave
        nothing to transform or to block over, whatever the kernel.
        """
        for word in ("small", *FILTERS):
            if word in self.tags:
                return word
        if self.rank != 2:
            return f"conv{self.rank}d"
        if self.groups > 1:
            return "depthwise" if self.groups == self.c_in else "grouped"
        if max(self.dilation) > 1:
            return "dilated"
        if self.kernel == (3, 3) and self.stride == (1, 1) and self.c_in > 4:
            return "dense3x3"
        return "dense"

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers, w such that outputs have about unit size."""
        arrays = super().make(random, dtype)
        arrays["w"] /= np.sqrt(arrays["w"][0].size)
        if bias:
            arrays["bias"] = normal(random, (self.c_out,), dtype)
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, w, bias, stride, padding, dilation, groups)."""
        return (*(arrays.get(name) for name in self.inputs), *self.geometry[1:], self.groups)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one output: the products of a window."""
        image, o, *place = index
        per_group = self.c_in // self.groups
        first = o // (self.c_out // self.groups) * per_group
        reads, taps = joined(window(place, self.spatial, *self.geometry))
        products = _block(arrays["x"][image], first, per_group, reads) * _block(arrays["w"][o], 0, per_group, taps)
        return float(np.sum(products)) + float(arrays["bias"][o] if "bias" in arrays else 0)

    def small(self) -> Self:
        """Return one of few channels, and of few windows more than one; the geometry stays."""
        groups = min(self.groups, 3)
        axes = zip(self.spatial, self.kernel, self.stride, self.dilation, strict=True)
        return replace(
            self,
            n=min(self.n, 2),
            c_in=groups * min(self.c_in // self.groups, 5),
            c_out=groups * min(self.c_out // self.groups, 5),
            groups=groups,
            spatial=tuple(min(size, d * (k - 1) + 2 * s + 1) for size, k, s, d in axes),
        )


def _block(array: Array, first: int, channels: int, places: list[Array]) -> Array:
    """Return so many channels of the places, in float64."""
    block: Array = array[np.ix_(np.arange(first, first + channels), *places)].astype(np.float64)
    return block


def _spilled(layer: Convolution, y: Array, w: Array, channel: int, place: list[int], windows: tuple[int, ...]) -> float:
    """Return one element of a transposed convolution of one image: w's first axis is summed over."""
    summed, results = w.shape[0] // layer.groups, w.shape[1]
    starts, taps = joined(arriving(place, windows, *layer.geometry))
    first = channel // results * summed
    weights = w[:, channel % results]
    return float(np.sum(_block(y, first, summed, starts) * _block(weights, first, summed, taps)))


@dataclass(frozen=True)
class Transposed(Convolution):
    """One transposed convolution: ``c_in``, ``spatial`` are its input's, ``kernel`` ... its own arguments."""

    output_padding: tuple[int, ...] = ()

    @property
    def function(self) -> str:
        """``conv_transpose`` with its number of axes."""
        return f"conv_transpose{self.rank}d"

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        axes = zip(self.spatial, *self.geometry, self.output_padding, strict=True)
        return tuple((size - 1) * s - 2 * p + d * (k - 1) + 1 + more for size, k, s, p, d, more in axes)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_in, self.c_out // self.groups, *self.kernel)

    @property
    def flops(self) -> int:
        """Two for each product: every input element meets every weight of its channel once."""
        return 2 * math.prod(self.shapes["x"]) * (self.c_out // self.groups) * math.prod(self.kernel)

    @property
    def bench_class(self) -> str:
        """By the number of axes; volumes are with the planes."""
        return "transposed1d" if self.rank == 1 else "transposed"

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, w, bias, stride, padding, output_padding, groups, dilation)."""
        given = (arrays.get(name) for name in self.inputs)
        return (*given, self.stride, self.padding, self.output_padding, self.groups, self.dilation)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one output: the products of the inputs that spill there."""
        image, o, *place = index
        value = _spilled(self, arrays["x"][image], arrays["w"], o, place, self.spatial)
        return value + float(arrays["bias"][o] if "bias" in arrays else 0)

    def small(self) -> Self:
        """Return one of few channels and inputs; the geometry stays."""
        return replace(super().small(), spatial=tuple(min(size, 3) for size in self.spatial))


@dataclass(frozen=True)
class ConvolutionGradient(Convolution):
    """The gradients of a convolution with respect to x, to w, or to both in one call.

    Parameters
    ----------
    of : str
        ``"xw"``, ``"x"`` or ``"w"``.
    """

    of: str = "xw"

    @property
    def wanted(self) -> tuple[bool, ...]:
        """What ``of`` says."""
        return ("x" in self.of, "w" in self.of, False)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, w and g."""
        return {**super().shapes, "g": self.y_shape}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Those of x and w, of which is wanted."""
        return tuple(self.shapes[name] for name in self.of)

    @property
    def flops(self) -> int:
        """Those of the convolution, for each gradient."""
        return super().flops * len(self.of)

    @property
    def bench_class(self) -> str:
        """By the convolution's: 3x3 with stride 1, other dense ones, and the depthwise with the grouped."""
        forward = super().bench_class
        return {"dense3x3": "grad_dense3x3", "dense": "grad_dense"}.get(forward, "grad_grouped")

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one element of the gradient of x or of w."""
        if self.of[output] == "x":
            image, c, *place = index
            return _spilled(self, arrays["g"][image], arrays["w"], c, place, self.out_spatial)
        o, c, *taps = index
        channel = o // (self.c_out // self.groups) * (self.c_in // self.groups) + c
        reads: list[Array] = []
        outs: list[Array] = []
        for tap, size, out, s, p, d in zip(
            taps, self.spatial, self.out_spatial, self.stride, self.padding, self.dilation, strict=True
        ):
            places = np.arange(out) * s - p + d * tap
            inside = (places >= 0) & (places < size)
            reads.append(places[inside])
            outs.append(np.flatnonzero(inside))
        images = np.arange(self.n)
        x, g = arrays["x"][:, channel][np.ix_(images, *reads)], arrays["g"][:, o][np.ix_(images, *outs)]
        return float(np.sum(x.astype(np.float64) * g))


def conv(
    name: str,
    c_in: int,
    spatial: Sizes,
    c_out: int,
    kernel: Sizes,
    stride: Sizes = 1,
    padding: Sizes | None = None,
    *,
    n: int = 1,
    dilation: Sizes = 1,
    groups: int = 1,
    tags: str = "",
    rank: int = 2,
) -> Convolution:
    """Spread integers over the axes; ``padding=None`` keeps the size at stride 1 (odd kernels)."""
    k, d = spread(kernel, rank), spread(dilation, rank)
    p = tuple(b * (a - 1) // 2 for a, b in zip(k, d, strict=True)) if padding is None else spread(padding, rank)
    return Convolution(
        name=name,
        tags=tuple(tags.split()),
        n=n,
        c_in=c_in,
        spatial=spread(spatial, rank),
        c_out=c_out,
        kernel=k,
        stride=spread(stride, rank),
        padding=p,
        dilation=d,
        groups=groups,
    )


def _fields(layer: Convolution) -> dict[str, Any]:
    return {field.name: getattr(layer, field.name) for field in fields(Convolution)}


def _transposed(
    name: str,
    c_in: int,
    spatial: Sizes,
    c_out: int,
    kernel: Sizes,
    stride: Sizes,
    padding: Sizes,
    output_padding: int = 0,
    *,
    rank: int = 2,
    groups: int = 1,
    tags: str = "",
) -> Transposed:
    base = conv(name, c_in, spatial, c_out, kernel, stride, padding, rank=rank, groups=groups, tags=tags)
    return Transposed(**_fields(base), output_padding=(output_padding,) * rank)


#: Generators, decoders, learnt up-sampling; the default ones of one axis have the long kernels of vocoders.
TRANSPOSED: tuple[Transposed, ...] = (
    _transposed("dcgan.g2", 512, 4, 256, 4, 2, 1),
    _transposed("unet.up2", 512, 52, 256, 2, 2, 0),
    _transposed("dcgan.g1", 100, 1, 512, 4, 1, 0, tags="full"),
    _transposed("dcgan.g3", 256, 8, 128, 4, 2, 1),
    _transposed("dcgan.g4", 128, 16, 64, 4, 2, 1),
    _transposed("dcgan.g5", 64, 32, 3, 4, 2, 1),
    _transposed("unet.up1", 1024, 28, 512, 2, 2, 0, tags="full"),
    _transposed("unet.up4", 128, 196, 64, 2, 2, 0),
    _transposed("upnet.3x3s2", 128, 28, 64, 3, 2, 1, 1),
    _transposed("fcn.up2", 21, 10, 21, 4, 2, 1, tags="full"),
    _transposed("fcn.up8", 21, 40, 21, 16, 8, 4),
    _transposed("fcn.up32", 21, 16, 21, 64, 32, 16),
    _transposed("fcn.up8-planes", 21, 40, 21, 16, 8, 4, groups=21, tags="full"),
    _transposed("upnet.5x5s3", 64, 28, 32, 5, 3, 1),
    _transposed("upnet.3x3s1", 128, 28, 128, 3, 1, 1),
    _transposed("maskrcnn.mask.up", 256, 14, 256, 2, 2, 0, tags="full"),
    _transposed("vnet.up", 32, 16, 16, 2, 2, 0, rank=3, tags="full"),
    _transposed("waveglow.up", 80, 63, 80, 1024, 256, 0, rank=1),
    _transposed("istft.k512s128", 514, 125, 1, 512, 128, 0, rank=1),
    _transposed("convtasnet.k256s128", 512, 250, 1, 256, 128, 0, rank=1),
    _transposed("upnet.k256s64", 64, 100, 64, 256, 64, 96, rank=1),
    _transposed("hifigan.up1", 512, 32, 256, 16, 8, 4, rank=1, tags="full"),
    _transposed("hifigan.up3", 128, 2048, 64, 4, 2, 1, rank=1, tags="full"),
)


def _gradients() -> list[ConvolutionGradient]:
    """Layers of training, batches of 2 to 8: both gradients, and by ``.x`` and ``.w`` each alone."""
    layers = (
        conv("grad.resnet50.l1.3x3", 64, 56, 64, 3, n=8),
        conv("grad.resnet50.l3.3x3", 256, 14, 256, 3, n=8),
        conv("grad.resnet50.l2.3x3", 128, 28, 128, 3, n=8),
        conv("grad.resnet50.l4.3x3", 512, 7, 512, 3, n=8),
        conv("grad.vgg.conv2_2", 128, 112, 128, 3, n=2),
        conv("grad.resnet50.l1.1x1_up", 64, 56, 256, 1, n=8),
        conv("grad.resnet50.l2.3x3s2", 128, 56, 128, 3, 2, n=8),
        conv("grad.resnet50.l3.1x1_down", 1024, 14, 256, 1, n=8),
        conv("grad.resnet50.l2.shortcut", 256, 56, 512, 1, 2, 0, n=8),
        conv("grad.resnet50.conv1", 3, 224, 64, 7, 2, 3, n=8),
        conv("grad.vgg.conv1_1", 3, 224, 64, 3, n=4),
        conv("grad.mobilenet2.b3.dw", 144, 56, 144, 3, n=8, groups=144),
        conv("grad.resnext50.l1.3x3g32", 128, 56, 128, 3, n=8, groups=32),
        conv("grad.mobilenet2.b2.dws2", 96, 112, 96, 3, 2, n=8, groups=96),
        conv("grad.convnext.l1.dw7x7", 96, 56, 96, 7, n=8, groups=96),
    )
    both = [ConvolutionGradient(**_fields(layer)) for layer in layers]
    alone = [
        replace(layer, name=f"{layer.name}.{name}", of=name, tags=(*layer.tags, "full"))
        for layer in both
        for name in "xw"
    ]
    return [*both, *alone]


GRADIENTS: tuple[ConvolutionGradient, ...] = tuple(_gradients())
