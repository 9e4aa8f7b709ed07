"""The one list of named layers, for tests and benchmarks.

A layer is plain data: sizes, no arrays, no weights. Sizes are those of the published networks at their usual input; the
class a layer is benchmarked in follows from its geometry (:attr:`Layer.bench_class`), so it is never typed twice.

``LAYERS`` holds all convolutions, ``TRANSPOSED`` the transposed ones, ``DEFAULTS`` the short list of each class.

Examples
--------
>>> from benchmarks.shapes import find, select
>>> layer = find("resnet50.l1.3x3")
>>> layer.out_shape, layer.bench_class
((1, 64, 56, 56), 'dense3x3')
>>> [layer.name for layer in select(names=["alexnet.conv[34]"])]
['alexnet.conv3', 'alexnet.conv4']
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

__all__ = [
    "CLASSES",
    "DEFAULTS",
    "FILTERS",
    "LAYERS",
    "QUICK_PER_CLASS",
    "TRANSPOSED",
    "BoxLayer",
    "Layer",
    "TransposedLayer",
    "find",
    "select",
]

#: Benchmark classes, in the order of the report.
CLASSES = (
    "dense",
    "dense3x3",
    "depthwise",
    "grouped",
    "dilated",
    "filter",
    "bank",
    "fir",
    "volume",
    "conv1d",
    "conv3d",
    "small",
    "pool",
    "boxes",
    "boxes-grad",
    "boxes-more",
    "pool_global",
    "pool_train",
)

#: What a pooling layer computes: maxima, averages, 2-norms, maxima with their indices, and the gradients with respect
#: to x, of maxima from their indices.
POOLINGS = ("max", "avg", "lp", "max_indices", "max_grad", "avg_grad")

#: Classes of large kernels, which come from signal and image processing.
FILTERS = ("filter", "bank", "fir", "volume")

DTYPES = {"float16": "f16", "float32": "f32", "float64": "f64"}

#: How many layers of each class the quick list takes, from the front of its default list.
QUICK_PER_CLASS = 2


@dataclass(frozen=True)
class Layer:
    """One convolution of a network.

    Parameters
    ----------
    name : str
        ``net.layer``; unique.
    net : str
        The network, or the family of image filters, it comes from.
    n, c_in, c_out, groups : int
        Images, input channels, output channels, groups (channels are totals, not per group).
    spatial, kernel, stride, padding, dilation : tuple of int
        One entry a spatial axis, (d, h, w) order; padding is zeros on both sides.
    tags : tuple of str
        Words to select by: ``"small"``, ``"filter"``, ``"bank"``, ``"fir"`` and ``"volume"`` also decide the class, and
        those of :data:`POOLINGS` make it a pooling layer (its groups are its channels, and it has no weights).
    """

    name: str
    net: str
    n: int
    c_in: int
    spatial: tuple[int, ...]
    c_out: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    tags: tuple[str, ...] = ()

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spatial)

    @property
    def pooling(self) -> str:
        """What a pooling layer computes, one of :data:`POOLINGS`; nothing for a convolution."""
        return next((kind for kind in POOLINGS if kind in self.tags), "")

    @property
    def adaptive(self) -> bool:
        """Whether a pooling layer is asked for by the size of its output."""
        return "adaptive" in self.tags

    @property
    def full(self) -> bool:
        """Whether the layer is measured only where all layers, or it by name, are asked for."""
        return self.name not in DEFAULTS.get(self.bench_class, ())

    def problem(self, dtype: str = "float32", *, bias: bool = False, activation: str | None = None) -> str:
        """Return the convolution as pyconv writes it.

        Examples
        --------
        >>> find("resnet50.l2.3x3s2").problem(bias=True, activation="relu")
        'n1c128h56w56-o128k3s2p1-f32-bias-relu'
        """
        sizes = "".join(f"{axis}{size}" for axis, size in zip("dhw"[-self.rank :], self.spatial, strict=True))
        if self.pooling:
            sizes += f"-k{_join(self.kernel)}s{_join(self.stride)}p{_join(self.padding)}"
            kind, _, more = self.pooling.partition("_")
            op = f"{kind}_pool{self.rank}d{'-grad-x' if more == 'grad' else ''}"
            text = f"{op} n{self.n}c{self.c_in}{sizes}-{DTYPES[dtype]}"
            return text + ("-norm2.0" if kind == "lp" else "") + ("-indices" if self.pooling.startswith("max_") else "")
        text = f"n{self.n}c{self.c_in}{sizes}-o{self.c_out}"
        text += f"k{_join(self.kernel)}s{_join(self.stride)}p{_join(self.padding)}"
        if max(self.dilation) > 1:
            text += f"d{_join(self.dilation)}"
        if self.groups > 1:
            text += f"g{self.groups}"
        text += f"-{DTYPES[dtype]}"
        return text + ("-bias" if bias else "") + (f"-{activation}" if activation else "")

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        axes = zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((size + 2 * p - d * (k - 1) - 1) // s + 1 for size, k, s, p, d in axes)

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.n, self.c_in, *self.spatial)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_out, self.c_in // self.groups, *self.kernel)

    @property
    def pooled_shape(self) -> tuple[int, ...]:
        """Shape of the layer's output, which a gradient takes in place of x."""
        return (self.n, self.c_out, *self.out_spatial)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of what is computed."""
        return self.x_shape if self.pooling.endswith("grad") else self.pooled_shape

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition, two for each product; what GFLOP/s are counted with."""
        if self.pooling:
            return math.prod(self.pooled_shape) * math.prod(self.kernel)
        return 2 * math.prod(self.out_shape) * (self.c_in // self.groups) * math.prod(self.kernel)

    @property
    def bench_class(self) -> str:
        """The one of :data:`CLASSES` this layer is reported under.

        "dense" is the dense layers that are not 3x3 with stride 1, and the stems: up to 4 input channels leave
        nothing to transform or to block over, whatever the kernel.
        """
        if self.adaptive:
            return "pool_global"
        if self.pooling:
            return "pool" if self.pooling in ("max", "avg") else "pool_train"
        if "small" in self.tags:
            return "small"
        for word in FILTERS:
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


@dataclass(frozen=True)
class TransposedLayer(Layer):
    """One transposed convolution: ``c_in``, ``spatial`` are its input's, ``kernel`` ... its own arguments."""

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Output sizes, (d, h, w) order."""
        axes = zip(self.spatial, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((size - 1) * s - 2 * p + d * (k - 1) + 1 for size, k, s, p, d in axes)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_in, self.c_out // self.groups, *self.kernel)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition: every input element meets every weight of its channel once."""
        return 2 * math.prod(self.x_shape) * (self.c_out // self.groups) * math.prod(self.kernel)

    @property
    def bench_class(self) -> str:
        """Always "transposed"."""
        return "transposed"


@dataclass(frozen=True)
class BoxLayer(Layer):
    """Boxes on one map: a detector's head. ``c_out`` are the output's channels; the weights are the boxes.

    Parameters
    ----------
    function : str
        ``roi_align``, ``roi_pool`` or ``ps_roi_align``; ``kernel`` are its bins.
    boxes : int
        How many.
    ratio : int
        Samples of a bin along each axis, 0 for as many as it has pixels.
    shrink : int
        Pixels of the image per pixel of the map.
    gradient : bool
        Whether the gradient with respect to the map is what is computed.
    """

    function: str = "roi_align"
    boxes: int = 1
    ratio: int = 0
    shrink: int = 16
    gradient: bool = False

    @property
    def out_spatial(self) -> tuple[int, ...]:
        """Bins of a box, or the map."""
        return self.spatial if self.gradient else self.kernel

    @property
    def bins_shape(self) -> tuple[int, ...]:
        """Shape of the boxes' bins."""
        return (self.boxes, self.c_out, *self.kernel)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of what is computed."""
        return self.x_shape if self.gradient else self.bins_shape

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of the boxes."""
        return (self.boxes, 5)

    @property
    def flops(self) -> int:
        """Floating-point operations of the definition, of 2 x 2 samples where boxes say how many."""
        samples = (self.ratio or 2) ** 2 * 4 if "align" in self.function else 4
        return 2 * math.prod(self.bins_shape) * samples

    def problem(self, dtype: str = "float32", *, bias: bool = False, activation: str | None = None) -> str:
        """Return the problem as pyconv writes it."""
        name = f"{self.function}{'-grad-x' if self.gradient else ''}"
        sizes = f"n1c{self.c_in}h{self.spatial[0]}w{self.spatial[1]}-k{self.boxes}to{_join(self.kernel)}"
        words = f"-r{self.ratio}" if "align" in self.function else ""
        aligned = "-aligned" if self.function == "roi_align" else ""
        return f"{name} {sizes}-x{1 / self.shrink!r}{words}-{DTYPES[dtype]}{aligned}"

    @property
    def bench_class(self) -> str:
        """Means of samples, their gradients, and the other operations."""
        if self.function != "roi_align":
            return "boxes-more"
        return "boxes-grad" if self.gradient else "boxes"


def _join(sizes: tuple[int, ...]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))


Sizes = int | tuple[int, ...]


def _layer(
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
    kind: type[Layer] = Layer,
) -> Layer:
    """Spread integers over the axes; ``padding=None`` keeps the size at stride 1 (odd kernels)."""

    def spread(value: Sizes) -> tuple[int, ...]:
        return (value,) * rank if isinstance(value, int) else value

    k, d = spread(kernel), spread(dilation)
    p = tuple(b * (a - 1) // 2 for a, b in zip(k, d, strict=True)) if padding is None else spread(padding)
    return kind(
        name=name,
        net=name.split(".")[0],
        n=n,
        c_in=c_in,
        spatial=spread(spatial),
        c_out=c_out,
        kernel=k,
        stride=spread(stride),
        padding=p,
        dilation=d,
        groups=groups,
        tags=tuple(tags.split()),
    )


def _depthwise(name: str, channels: int, size: int, kernel: int, stride: int = 1) -> Layer:
    return _layer(name, channels, size, channels, kernel, stride, groups=channels)


def _pools() -> list[Layer]:
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
    found = [
        _layer(f"pool.{name}.{kind}", c, size, c, k, s, p, groups=c, tags=kind)
        for name, c, size, k, s, p in table
        for kind in ("max", "avg")
    ]
    # the networks' last layers: (layer, channels, size, size of the output)
    last = (
        ("resnet18", 512, 7, 1),
        ("resnet50", 2048, 7, 1),
        ("squeezenet", 1000, 13, 1),
        ("senet", 256, 56, 1),
        ("vgg", 512, 14, 7),
        ("pspnet", 512, 60, 6),
    )
    found += [
        _layer(f"pool.{name}.{kind}", c, size, c, size // out, size // out, 0, groups=c, tags=f"{kind} adaptive")
        for name, c, size, out in last
        for kind in ("max", "avg")
    ]
    trained = ("unet", "resnet", "googlenet2", "inception", "sppf")
    found += [
        _layer(f"pool.{name}.{kind}", c, size, c, k, s, p, groups=c, tags=kind)
        for name, c, size, k, s, p in table
        if name in trained
        for kind in ("max_indices", "max_grad", "avg_grad")
    ]
    found += [
        _layer(f"pool.{name}.lp", c, size, c, k, s, 0, groups=c, tags="lp") for name, c, size, k, s, _ in table[2:5]
    ]
    return found


def _boxes() -> list[Layer]:
    """Heads of Faster R-CNN and Mask R-CNN on one map or a level of a pyramid, and of R-FCN."""

    def head(
        name: str, c: int, spatial: Sizes, boxes: int, bins: int, ratio: int, shrink: int = 16, **more: Any
    ) -> Layer:
        c_in = c * bins * bins if more.get("function", "").startswith("ps_") else c
        base = _layer(name, c_in, spatial, c, bins, 1, 0)
        return BoxLayer(**{field.name: getattr(base, field.name) for field in fields(Layer)},
                        boxes=boxes, ratio=ratio, shrink=shrink, **more)  # fmt: skip

    c4 = (50, 68)
    table = (
        ("1000x7.r2", c4, 1000, 7, 2, 16),
        ("1000x7.adaptive", c4, 1000, 7, 0, 16),
        ("60x7.r2", c4, 60, 7, 2, 16),
        ("60x7.adaptive", c4, 60, 7, 0, 16),
        ("256x14.r2", c4, 256, 14, 2, 16),
        ("100x14.adaptive", c4, 100, 14, 0, 16),
        ("p3.500x7.r2", (100, 136), 500, 7, 2, 8),
        ("p5.300x7.r2", (25, 34), 300, 7, 2, 32),
    )
    return [
        *(head(f"roi.{name}", 256, size, k, bins, r, shrink) for name, size, k, bins, r, shrink in table),
        *(
            head(f"roi.{name}.grad", 256, size, k, bins, r, shrink, gradient=True)
            for name, size, k, bins, r, shrink in table[:5]
        ),
        head("roi_pool.1000x7", 256, c4, 1000, 7, 0, function="roi_pool"),
        head("roi_pool.100x7", 256, c4, 100, 7, 0, function="roi_pool"),
        head("ps_roi_align.300x7", 10, (38, 63), 300, 7, 2, function="ps_roi_align"),
        head("ps_roi_align.300x7.adaptive", 10, (38, 63), 300, 7, 0, function="ps_roi_align"),
    ]


def _alexnet() -> list[Layer]:
    return [
        _layer("alexnet.conv1", 3, 227, 96, 11, 4, 0, tags="stem"),
        _layer("alexnet.conv2", 96, 27, 256, 5, groups=2),
        _layer("alexnet.conv3", 256, 13, 384, 3),
        _layer("alexnet.conv4", 384, 13, 384, 3, groups=2),
        _layer("alexnet.conv5", 384, 13, 256, 3, groups=2),
        _layer("alexnet.conv2-dense", 64, 27, 192, 5),
    ]


def _zfnet() -> list[Layer]:
    return [
        _layer("zfnet.conv1", 3, 224, 96, 7, 2, 1, tags="stem"),
        _layer("zfnet.conv2", 96, 55, 256, 5, 2, 0),
        _layer("zfnet.conv3", 256, 13, 384, 3),
        _layer("zfnet.conv4", 384, 13, 384, 3),
        _layer("zfnet.conv5", 384, 13, 256, 3),
    ]


def _vgg() -> list[Layer]:
    """VGG-16 and VGG-19 differ in how often the layers repeat, not in the layers."""
    layers = [_layer("vgg.conv1_1", 3, 224, 64, 3, tags="stem")]
    for block, (c_in, size, c_out) in enumerate([(64, 112, 128), (128, 56, 256), (256, 28, 512)], start=2):
        layers += [
            _layer(f"vgg.conv{block}_1", c_in, size, c_out, 3),
            _layer(f"vgg.conv{block}_2", c_out, size, c_out, 3),
        ]
    layers.insert(1, _layer("vgg.conv1_2", 64, 224, 64, 3))
    return [*layers, _layer("vgg.conv5_1", 512, 14, 512, 3)]


def _googlenet() -> list[Layer]:
    layers = [
        _layer("googlenet.conv1", 3, 224, 64, 7, 2, 3, tags="stem"),
        _layer("googlenet.conv2_reduce", 64, 56, 64, 1),
        _layer("googlenet.conv2", 64, 56, 192, 3),
    ]
    # c_in, size, 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection (Szegedy et al. 2014, table 1)
    modules = {
        "3a": (192, 28, 64, 96, 128, 16, 32, 32),
        "3b": (256, 28, 128, 128, 192, 32, 96, 64),
        "4a": (480, 14, 192, 96, 208, 16, 48, 64),
        "4b": (512, 14, 160, 112, 224, 24, 64, 64),
        "4c": (512, 14, 128, 128, 256, 24, 64, 64),
        "4d": (512, 14, 112, 144, 288, 32, 64, 64),
        "4e": (528, 14, 256, 160, 320, 32, 128, 128),
        "5a": (832, 7, 256, 160, 320, 32, 128, 128),
        "5b": (832, 7, 384, 192, 384, 48, 128, 128),
    }
    for module, (c_in, size, one, reduce3, three, reduce5, five, pool) in modules.items():
        layers += [
            _layer(f"googlenet.{module}.1x1", c_in, size, one, 1),
            _layer(f"googlenet.{module}.3x3_reduce", c_in, size, reduce3, 1),
            _layer(f"googlenet.{module}.3x3", reduce3, size, three, 3),
            _layer(f"googlenet.{module}.5x5_reduce", c_in, size, reduce5, 1),
            _layer(f"googlenet.{module}.5x5", reduce5, size, five, 5),
            _layer(f"googlenet.{module}.pool_proj", c_in, size, pool, 1),
        ]
    return layers


def _inception_v3() -> list[Layer]:
    """List the factorised kernels and the odd input sizes of Inception v3 (299x299)."""
    return [
        _layer("inception3.1a.3x3s2", 3, 299, 32, 3, 2, 0, tags="stem"),
        _layer("inception3.2a.3x3", 32, 149, 32, 3, padding=0),
        _layer("inception3.2b.3x3", 32, 147, 64, 3),
        _layer("inception3.5b.5x5", 48, 35, 64, 5),
        _layer("inception3.6a.3x3s2", 288, 35, 384, 3, 2, 0),
        _layer("inception3.6b.1x7", 128, 17, 128, (1, 7), tags="factorised"),
        _layer("inception3.6b.7x1", 128, 17, 192, (7, 1), tags="factorised"),
        _layer("inception3.6e.1x7", 192, 17, 192, (1, 7), tags="factorised"),
        _layer("inception3.6e.7x1", 192, 17, 192, (7, 1), tags="factorised"),
        _layer("inception3.7b.1x3", 384, 8, 384, (1, 3), tags="factorised"),
        _layer("inception3.7b.3x1", 384, 8, 384, (3, 1), tags="factorised"),
    ]


def _resnet50() -> list[Layer]:
    layers = [_layer("resnet50.conv1", 3, 224, 64, 7, 2, 3, tags="stem")]
    for stage, (c_in, width, size) in enumerate(
        [(64, 64, 56), (256, 128, 56), (512, 256, 28), (1024, 512, 14)], start=1
    ):
        net, stride = f"resnet50.l{stage}", 1 if stage == 1 else 2
        small = size // stride
        layers.append(_layer(f"{net}.1x1_first", c_in, size, width, 1))
        if stage > 1:
            layers.append(_layer(f"{net}.3x3s2", width, size, width, 3, 2))
        layers += [
            _layer(f"{net}.3x3", width, small, width, 3),
            _layer(f"{net}.1x1_up", width, small, 4 * width, 1),
            _layer(f"{net}.1x1_down", 4 * width, small, width, 1),
            _layer(f"{net}.shortcut", c_in, size, 4 * width, 1, stride, 0),
        ]
    return layers


def _resnext50() -> list[Layer]:
    layers = []
    for stage, (width, size) in enumerate([(128, 56), (256, 28), (512, 14), (1024, 7)], start=1):
        layers.append(_layer(f"resnext50.l{stage}.3x3g32", width, size, width, 3, groups=32))
        if stage > 1:
            layers.append(_layer(f"resnext50.l{stage}.3x3s2g32", width, 2 * size, width, 3, 2, groups=32))
    return [*layers, _layer("resnext101-64x4d.l1.3x3g64", 256, 56, 256, 3, groups=64)]


def _grouped() -> list[Layer]:
    return [
        _layer("regnety.g24", 24 * 7, 28, 24 * 7, 3, groups=7),
        _layer("regnetx.g16", 96, 56, 96, 3, groups=6),
        _layer("shufflenet.1x1g3", 240, 28, 240, 1, groups=3),
        _layer("shufflenet.1x1g8", 384, 28, 384, 1, groups=8),
        _layer("condensenet.1x1g4", 512, 14, 128, 1, groups=4),
        _layer("octave.3x3g2", 128, 28, 128, 3, groups=2),
    ]


def _senet() -> list[Layer]:
    """Squeeze and excitation: 1x1 convolutions of one pixel."""
    pairs = [(64, 4), (256, 16), (512, 32), (1024, 64), (2048, 128)]
    return [
        layer
        for stage, (wide, narrow) in enumerate(pairs)
        for layer in (
            _layer(f"senet.l{stage}.squeeze", wide, 1, narrow, 1, tags="small"),
            _layer(f"senet.l{stage}.excite", narrow, 1, wide, 1, tags="small"),
        )
    ]


def _mobilenet_v2() -> list[Layer]:
    layers = [_layer("mobilenet2.conv1", 3, 224, 32, 3, 2, 1, tags="stem")]
    layers += [_depthwise("mobilenet2.b1.dw", 32, 112, 3), _layer("mobilenet2.b1.project", 32, 112, 16, 1)]
    # block, c_in, size, expansion, c_out, stride of its depthwise layer
    blocks = [
        (2, 16, 112, 96, 24, 2),
        (3, 24, 56, 144, 24, 1),
        (4, 24, 56, 144, 32, 2),
        (5, 32, 28, 192, 32, 1),
        (7, 32, 28, 192, 64, 2),
        (8, 64, 14, 384, 64, 1),
        (11, 64, 14, 384, 96, 1),
        (12, 96, 14, 576, 96, 1),
        (14, 96, 14, 576, 160, 2),
        (15, 160, 7, 960, 160, 1),
        (17, 160, 7, 960, 320, 1),
    ]
    for block, c_in, size, wide, c_out, stride in blocks:
        suffix = "s2" if stride == 2 else ""
        layers += [
            _layer(f"mobilenet2.b{block}.expand", c_in, size, wide, 1),
            _depthwise(f"mobilenet2.b{block}.dw{suffix}", wide, size, 3, stride),
            _layer(f"mobilenet2.b{block}.project", wide, size // stride, c_out, 1),
        ]
    return [*layers, _layer("mobilenet2.head", 320, 7, 1280, 1)]


def _efficientnet() -> list[Layer]:
    return [
        _depthwise("efficientnet-b0.dw5x5", 240, 28, 5),
        _depthwise("efficientnet-b0.dw5x5s2", 144, 56, 5, 2),
        _depthwise("efficientnet-b0.dw5x5_14", 672, 14, 5),
    ]


def _convnext() -> list[Layer]:
    layers = [_layer("convnext.stem", 3, 224, 96, 4, 4, 0, tags="stem patches")]
    for stage, (channels, size) in enumerate([(96, 56), (192, 28), (384, 14), (768, 7)], start=1):
        layers += [
            _depthwise(f"convnext.l{stage}.dw7x7", channels, size, 7),
            _layer(f"convnext.l{stage}.1x1_up", channels, size, 4 * channels, 1),
            _layer(f"convnext.l{stage}.1x1_down", 4 * channels, size, channels, 1),
        ]
        if stage < 4:
            layers.append(
                _layer(f"convnext.l{stage}.downsample", channels, size, 2 * channels, 2, 2, 0, tags="patches")
            )
    return layers


def _replknet() -> list[Layer]:
    stages = [(128, 56, 31), (256, 28, 29), (512, 14, 27), (1024, 7, 13)]
    return [
        *(_depthwise(f"replknet.l{i}.dw{k}x{k}", channels, size, k) for i, (channels, size, k) in enumerate(stages, 1)),
        _depthwise("replknet.dw31x31_28", 128, 28, 31),
        _depthwise("replknet.dw13x13", 128, 28, 13),
    ]


def _unet() -> list[Layer]:
    """List the contracting half of Ronneberger et al. 2015 and the 1x1 that ends it; nothing is padded."""
    return [
        _layer("unet.d1.conv1", 1, 572, 64, 3, padding=0, tags="stem"),
        _layer("unet.d1.conv2", 64, 570, 64, 3, padding=0),
        _layer("unet.d2.conv1", 64, 284, 128, 3, padding=0),
        _layer("unet.d2.conv2", 128, 282, 128, 3, padding=0),
        _layer("unet.d3.conv2", 256, 138, 256, 3, padding=0),
        _layer("unet.d4.conv2", 512, 66, 512, 3, padding=0),
        _layer("unet.d5.conv1", 512, 32, 1024, 3, padding=0),
        _layer("unet.u1.conv1", 128, 392, 64, 3, padding=0),
        _layer("unet.out", 64, 388, 2, 1),
    ]


def _fcn() -> list[Layer]:
    return [
        _layer("fcn.fc7", 4096, 10, 4096, 1, tags="big-weights"),
        _layer("fcn.score_fr", 4096, 10, 21, 1, tags="odd-channels"),
        _layer("fcn.score_pool4", 512, 40, 21, 1, tags="odd-channels"),
        _layer("fcn.score_pool3", 256, 80, 21, 1, tags="odd-channels"),
    ]


def _dcgan() -> list[Layer]:
    return [
        _layer("dcgan.d1", 3, 64, 64, 4, 2, 1, tags="stem"),
        _layer("dcgan.d2", 64, 32, 128, 4, 2, 1),
        _layer("dcgan.d3", 128, 16, 256, 4, 2, 1),
        _layer("dcgan.d4", 256, 8, 512, 4, 2, 1),
    ]


def _mask_rcnn() -> list[Layer]:
    """Feature pyramid, region proposals and mask head at an 800x1216 image, sixteen boxes."""
    return [
        _layer("maskrcnn.fpn.inner2", 256, (200, 304), 256, 1),
        _layer("maskrcnn.fpn.inner4", 1024, (50, 76), 256, 1),
        _layer("maskrcnn.fpn.layer2", 256, (200, 304), 256, 3, tags="heavy"),
        _layer("maskrcnn.fpn.layer3", 256, (100, 152), 256, 3),
        _layer("maskrcnn.fpn.layer4", 256, (50, 76), 256, 3),
        _layer("maskrcnn.rpn.conv5", 256, (25, 38), 256, 3),
        _layer("maskrcnn.rpn.scores", 256, (50, 76), 3, 1, tags="odd-channels"),
        _layer("maskrcnn.rpn.boxes", 256, (50, 76), 12, 1),
        _layer("maskrcnn.mask.conv", 256, 14, 256, 3, n=16),
        _layer("maskrcnn.mask.logits", 256, 28, 91, 1, n=16, tags="odd-channels"),
    ]


def _patches() -> list[Layer]:
    return [
        _layer("vit-b16.patches", 3, 224, 768, 16, 16, 0, tags="stem patches"),
        _layer("vit-l14.patches", 3, 224, 1024, 14, 14, 0, tags="stem patches"),
    ]


def _odd() -> list[Layer]:
    """Channel counts that no vector width divides."""
    return [
        _layer("odd.3x3", 17, 56, 33, 3, tags="odd-channels"),
        _layer("odd.3x3-wide", 131, 28, 127, 3, tags="odd-channels"),
        _layer("odd.1x1", 50, 56, 101, 1, tags="odd-channels"),
        _layer("odd.5x5", 13, 56, 19, 5, tags="odd-channels"),
    ]


def _dilated() -> list[Layer]:
    """DeepLab v3 at 513x513, the context module of Yu and Koltun 2016, CSRNet, a depthwise one."""
    return [
        _layer("deeplab.l4.d2", 512, 33, 512, 3, dilation=2),
        _layer("deeplab.aspp.d6", 2048, 33, 256, 3, dilation=6, tags="big-weights"),
        _layer("deeplab.aspp.d12", 2048, 33, 256, 3, dilation=12, tags="big-weights"),
        _layer("deeplab.aspp.d18", 2048, 33, 256, 3, dilation=18, tags="big-weights"),
        _layer("deeplab.l3.d2", 256, 33, 256, 3, dilation=2),
        _layer("drn.l6.d4", 512, 28, 512, 3, dilation=4),
        _layer("dilated.64.d2", 64, 56, 64, 3, dilation=2),
        _layer("dilated.32.d8", 32, 128, 32, 3, dilation=8),
        _layer("context.d2", 21, 64, 21, 3, dilation=2, tags="odd-channels"),
        _layer("context.d16", 21, 64, 21, 3, dilation=16, tags="odd-channels"),
        _layer("csrnet.d2", 512, (48, 64), 512, 3, dilation=2),
        _layer("enet.d4", 32, 64, 32, 3, dilation=4),
    ]


def _conv1d() -> list[Layer]:
    def audio(
        name: str,
        c_in: int,
        length: int,
        c_out: int,
        kernel: int,
        stride: int = 1,
        padding: int | None = None,
        dilation: int = 1,
        groups: int = 1,
    ) -> Layer:
        return _layer(name, c_in, length, c_out, kernel, stride, padding, dilation=dilation, groups=groups, rank=1)

    return [
        audio("wav2vec2.conv0", 1, 16000, 512, 10, 5, padding=0),
        audio("wav2vec2.conv1", 512, 3199, 512, 3, 2, padding=0),
        audio("wav2vec2.conv5", 512, 199, 512, 2, 2, padding=0),
        audio("wav2vec2.positions", 768, 49, 768, 128, groups=16, padding=64),
        audio("whisper.conv1", 80, 3000, 512, 3),
        audio("whisper.conv2", 512, 3000, 512, 3, 2, padding=1),
        audio("m5.conv1", 1, 16000, 128, 80, 4, padding=38),
        audio("deepspeech.conv1", 161, 500, 256, 11, 2),
        audio("jasper.b1", 256, 500, 256, 11),
        audio("jasper.b5", 768, 500, 768, 25),
        audio("sincnet.conv1", 1, 3200, 80, 251, padding=0),
        audio("stft.k400", 1, 16000, 402, 400, 160, padding=0),
        audio("conformer.dw31", 256, 500, 256, 31, groups=256),
        audio("wavenet.k2d512", 64, 16000, 128, 2, dilation=512, padding=0),
        audio("tcn.k3d8", 64, 1000, 64, 3, dilation=8),
        audio("ecg.k16", 32, 5000, 64, 16, 2, padding=7),
        audio("fir.k63", 1, 48000, 1, 63),
        audio("fir.k1023", 1, 48000, 1, 1023),
        audio("bank.k127", 1, 16000, 32, 127),
    ]


def _conv3d() -> list[Layer]:
    def video(
        name: str, c_in: int, spatial: Sizes, c_out: int, kernel: Sizes, stride: Sizes = 1, padding: Sizes | None = None
    ) -> Layer:
        return _layer(name, c_in, spatial, c_out, kernel, stride, padding, rank=3)

    return [
        video("c3d.conv1a", 3, (16, 112, 112), 64, 3),
        video("c3d.conv2a", 64, (16, 56, 56), 128, 3),
        video("c3d.conv3b", 256, (8, 28, 28), 256, 3),
        video("c3d.conv4b", 512, (4, 14, 14), 512, 3),
        video("c3d.conv5b", 512, (2, 7, 7), 512, 3),
        video("i3d.conv1", 3, (16, 224, 224), 64, 7, 2, 3),
        video("i3d.3b.1x1", 192, (8, 28, 28), 64, 1),
        video("i3d.3b.3x3", 96, (8, 28, 28), 128, 3),
        video("i3d.4b.5b", 24, (4, 14, 14), 64, 3),
        video("r2plus1d.spatial", 64, (8, 56, 56), 144, (1, 3, 3)),
        video("r2plus1d.temporal", 144, (8, 56, 56), 64, (3, 1, 1)),
        video("slowfast.stem", 3, (32, 112, 112), 8, (5, 7, 7), (1, 2, 2), (2, 3, 3)),
        video("vivit.tubelets", 3, (16, 224, 224), 768, (2, 16, 16), (2, 16, 16), 0),
        video("unet3d.32", 32, 32, 32, 3),
        video("vnet.5x5x5", 16, 32, 16, 5),
        _layer("x3d.dw3x3x3", 54, (8, 56, 56), 54, 3, groups=54, rank=3),
        video("voxels.1ch", 1, 64, 1, 5),
    ]


def _filters() -> list[Layer]:
    """Image filters: one plane of 1024x1024, and of half a megapixel and four."""
    sides = (3, 5, 7, 9, 11, 15, 21, 31, 45, 63, 101, 127)
    return [
        *(_layer(f"filter.k{k}", 1, 1024, 1, k, tags="filter plane") for k in sides),
        _layer("filter.k3_256", 1, 256, 1, 3, tags="filter plane"),
        _layer("filter.k31_724", 1, 724, 1, 31, tags="filter plane"),
        _layer("filter.k15_2048", 1, 2048, 1, 15, tags="filter plane"),
        _layer("filter.k63_2048", 1, 2048, 1, 63, tags="filter plane"),
        _layer("filter.k1x31", 1, 1024, 1, (1, 31), tags="filter plane"),
        _layer("filter.k31x1", 1, 1024, 1, (31, 1), tags="filter plane"),
    ]


def _banks() -> list[Layer]:
    """Large kernels over a few channels, dense and one by one."""
    return [
        _layer("bank.3to8_k15", 3, 512, 8, 15, tags="bank"),
        _layer("bank.3to8_k31", 3, 512, 8, 31, tags="bank"),
        _layer("bank.3to8_k63", 3, 512, 8, 63, tags="bank"),
        _layer("bank.8to8_k15", 8, 256, 8, 15, tags="bank"),
        _layer("bank.8to8_k31", 8, 256, 8, 31, tags="bank"),
        _layer("bank.dw64_k15", 64, 128, 64, 15, groups=64, tags="bank"),
        _layer("bank.dw64_k31", 64, 128, 64, 31, groups=64, tags="bank"),
        _layer("bank.dw64_k63", 64, 128, 64, 63, groups=64, tags="bank"),
        _layer("bank.3to8_k9", 3, 512, 8, 9, tags="bank"),
        _layer("bank.gabor15", 1, 512, 16, 15, tags="bank"),
        _layer("bank.rgb15", 3, 512, 3, 15, groups=3, tags="bank"),
    ]


def _impulse_responses() -> list[Layer]:
    """Long filters of signals of one and more channels."""

    def signal(name: str, channels: int, length: int, kernel: int, groups: int | None = None) -> Layer:
        return _layer(
            name, channels, length, channels, kernel, padding=0, groups=groups or channels, rank=1, tags="fir"
        )

    return [
        signal("fir.k256_1e5", 1, 100_000, 256),
        signal("fir.k1024_1e6", 1, 1_000_000, 1024),
        signal("fir.k4096_1e6", 1, 1_000_000, 4096),
        signal("fir.k16384_1e6", 1, 1_000_000, 16384),
        signal("fir.k4096_1e5", 1, 100_000, 4096),
        signal("fir.8ch_k512_1e5", 8, 100_000, 512),
        signal("fir.64ch_k1024_1e5", 64, 100_000, 1024),
        signal("fir.8to8_k256_1e5", 8, 100_000, 256, 1),
    ]


def _volumes() -> list[Layer]:
    """Large kernels on volumes of 64 x 64 x 64."""
    return [
        _layer("volume.k7", 1, 64, 1, 7, rank=3, tags="volume"),
        _layer("volume.k9", 1, 64, 1, 9, rank=3, tags="volume"),
        _layer("volume.k11", 1, 64, 1, 11, rank=3, tags="volume"),
        _layer("volume.k15", 1, 64, 1, 15, rank=3, tags="volume"),
        _layer("volume.2to4_k7", 2, 64, 4, 7, rank=3, tags="volume"),
    ]


def _small() -> list[Layer]:
    """Problems so small that the call itself counts."""
    return [
        _layer("tiny.3x3_8", 16, 8, 16, 3, tags="small"),
        _layer("tiny.3x3_4", 8, 4, 8, 3, tags="small"),
        _layer("tiny.1x1_4", 64, 4, 64, 1, tags="small"),
        _layer("digits.conv1", 1, 8, 16, 3, tags="small"),
        _layer("lenet.conv1", 1, 28, 6, 5, tags="small"),
        _layer("lenet.conv2", 6, 14, 16, 5, padding=0, tags="small"),
        _layer("cifar.conv1", 3, 32, 16, 3, tags="small"),
        _layer("cifar.resnet20.l1", 16, 32, 16, 3, tags="small"),
        _layer("dqn.conv1", 4, 84, 32, 8, 4, 0, tags="small"),
        _layer("dqn.conv2", 32, 20, 64, 4, 2, 0, tags="small"),
        _layer("dqn.conv3", 64, 9, 64, 3, padding=0, tags="small"),
        _layer("tiny.dw3x3", 32, 14, 32, 3, groups=32, tags="small"),
        _layer("tiny.1d", 8, 64, 8, 5, rank=1, tags="small"),
    ]


LAYERS: tuple[Layer, ...] = (
    *_alexnet(),
    *_zfnet(),
    *_vgg(),
    *_googlenet(),
    *_inception_v3(),
    *_resnet50(),
    *_resnext50(),
    *_grouped(),
    *_senet(),
    *_mobilenet_v2(),
    *_efficientnet(),
    *_convnext(),
    *_replknet(),
    *_unet(),
    *_fcn(),
    *_dcgan(),
    *_mask_rcnn(),
    *_patches(),
    *_odd(),
    *_dilated(),
    *_conv1d(),
    *_conv3d(),
    *_filters(),
    *_banks(),
    *_impulse_responses(),
    *_volumes(),
    *_small(),
    *_pools(),
    *_boxes(),
)


def _transposed(
    name: str, c_in: int, spatial: Sizes, c_out: int, kernel: Sizes, stride: Sizes, padding: Sizes, rank: int = 2
) -> Layer:
    return _layer(name, c_in, spatial, c_out, kernel, stride, padding, rank=rank, kind=TransposedLayer)


TRANSPOSED: tuple[Layer, ...] = (
    _transposed("dcgan.g1", 100, 1, 512, 4, 1, 0),
    _transposed("dcgan.g2", 512, 4, 256, 4, 2, 1),
    _transposed("dcgan.g3", 256, 8, 128, 4, 2, 1),
    _transposed("dcgan.g4", 128, 16, 64, 4, 2, 1),
    _transposed("dcgan.g5", 64, 32, 3, 4, 2, 1),
    _transposed("unet.up1", 1024, 28, 512, 2, 2, 0),
    _transposed("unet.up2", 512, 52, 256, 2, 2, 0),
    _transposed("unet.up4", 128, 196, 64, 2, 2, 0),
    _transposed("fcn.up2", 21, 10, 21, 4, 2, 1),
    _transposed("fcn.up8", 21, 40, 21, 16, 8, 4),
    _transposed("maskrcnn.mask.up", 256, 14, 256, 2, 2, 0),
    _transposed("hifigan.up1", 512, 32, 256, 16, 8, 4, rank=1),
    _transposed("hifigan.up3", 128, 2048, 64, 4, 2, 1, rank=1),
    _transposed("waveglow.up", 80, 63, 80, 1024, 256, 0, rank=1),
    _transposed("vnet.up", 32, 16, 16, 2, 2, 0, rank=3),
)

#: The layers of each class that are measured unless all are asked for; the first ones make the quick list.
DEFAULTS: dict[str, tuple[str, ...]] = {
    "dense": (
        "resnet50.l1.1x1_up",
        "resnet50.conv1",
        "alexnet.conv1",
        "vgg.conv1_1",
        "alexnet.conv2-dense",
        "zfnet.conv2",
        "resnet50.l2.3x3s2",
        "resnet50.l3.1x1_down",
        "resnet50.l4.1x1_up",
        "resnet50.l2.shortcut",
        "googlenet.3a.5x5",
        "mobilenet2.b3.expand",
        "mobilenet2.b15.project",
        "inception3.6e.1x7",
        "inception3.6e.7x1",
        "vit-b16.patches",
    ),
    "dense3x3": (
        "resnet50.l1.3x3",
        "resnet50.l3.3x3",
        "vgg.conv1_2",
        "vgg.conv2_2",
        "vgg.conv3_2",
        "vgg.conv4_2",
        "resnet50.l2.3x3",
        "resnet50.l4.3x3",
        "googlenet.3b.3x3",
        "alexnet.conv3",
        "unet.d3.conv2",
        "maskrcnn.mask.conv",
        "odd.3x3",
    ),
    "depthwise": (
        "mobilenet2.b3.dw",
        "convnext.l1.dw7x7",
        "mobilenet2.b1.dw",
        "mobilenet2.b2.dws2",
        "mobilenet2.b12.dw",
        "mobilenet2.b15.dw",
        "efficientnet-b0.dw5x5",
        "convnext.l3.dw7x7",
        "replknet.dw13x13",
        "replknet.dw31x31_28",
        "replknet.l1.dw31x31",
        "replknet.l4.dw13x13",
    ),
    "grouped": (
        "resnext50.l1.3x3g32",
        "alexnet.conv2",
        "resnext50.l2.3x3g32",
        "resnext50.l3.3x3g32",
        "resnext50.l4.3x3g32",
        "resnext50.l2.3x3s2g32",
        "alexnet.conv4",
        "regnety.g24",
        "shufflenet.1x1g3",
    ),
    "dilated": (
        "dilated.64.d2",
        "deeplab.l3.d2",
        "deeplab.l4.d2",
        "deeplab.aspp.d12",
        "drn.l6.d4",
        "dilated.32.d8",
        "context.d2",
        "context.d16",
    ),
    "filter": (
        "filter.k15",
        "filter.k3",
        "filter.k5",
        "filter.k7",
        "filter.k9",
        "filter.k11",
        "filter.k21",
        "filter.k31",
        "filter.k45",
        "filter.k63",
        "filter.k101",
        "filter.k127",
        "filter.k31_724",
        "filter.k15_2048",
        "filter.k63_2048",
    ),
    "bank": tuple(layer.name for layer in _banks()[:8]),
    "fir": tuple(layer.name for layer in _impulse_responses()),
    "volume": tuple(layer.name for layer in _volumes()),
    "conv1d": (
        "whisper.conv1",
        "m5.conv1",
        "wav2vec2.conv0",
        "wav2vec2.conv1",
        "wav2vec2.positions",
        "jasper.b1",
        "sincnet.conv1",
        "stft.k400",
        "conformer.dw31",
        "wavenet.k2d512",
        "fir.k63",
        "fir.k1023",
    ),
    "conv3d": (
        "unet3d.32",
        "c3d.conv1a",
        "c3d.conv3b",
        "c3d.conv5b",
        "i3d.conv1",
        "i3d.3b.3x3",
        "r2plus1d.spatial",
        "r2plus1d.temporal",
        "vnet.5x5x5",
        "x3d.dw3x3x3",
    ),
    "small": (
        "tiny.3x3_8",
        "lenet.conv1",
        "lenet.conv2",
        "digits.conv1",
        "cifar.conv1",
        "cifar.resnet20.l1",
        "dqn.conv2",
        "dqn.conv3",
        "senet.l1.squeeze",
        "senet.l4.excite",
        "tiny.1x1_4",
        "tiny.dw3x3",
        "tiny.1d",
    ),
    **{
        name: tuple(layer.name for layer in (*_pools(), *_boxes()) if layer.bench_class == name)
        for name in ("pool", "pool_global", "pool_train", "boxes", "boxes-grad", "boxes-more")
    },
}

_BY_NAME = {layer.name: layer for layer in LAYERS}


def find(name: str) -> Layer:
    """Return the convolution called ``name``.

    Raises
    ------
    KeyError
        If no layer of :data:`LAYERS` is called so.
    """
    if name not in _BY_NAME:
        raise KeyError(f"no layer is called {name!r}; python -m benchmarks.run --list --full prints all of them")
    return _BY_NAME[name]


def select(
    classes: Iterable[str] | None = None,
    names: Iterable[str] | None = None,
    *,
    full: bool = False,
    quick: bool = False,
) -> list[Layer]:
    """Return layers, class by class.

    Parameters
    ----------
    classes : iterable of str, optional
        Classes to keep, of :data:`CLASSES`; all of them by default.
    names : iterable of str, optional
        Shell patterns of names (``"resnet50.*"``); they search all layers, not only the default lists.
    full : bool
        Every layer of the classes instead of the default lists.
    quick : bool
        The first :data:`QUICK_PER_CLASS` of each default list.

    Raises
    ------
    ValueError
        If a class is unknown or a pattern matches nothing.
    """
    wanted = CLASSES if classes is None else tuple(classes)
    unknown = sorted(set(wanted) - set(CLASSES))
    if unknown:
        raise ValueError(f"unknown class {', '.join(unknown)}; the classes are {', '.join(CLASSES)}")
    if full and quick:
        raise ValueError("full and quick exclude each other, got both")
    patterns = None if names is None else tuple(names)
    if patterns is not None:
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in _BY_NAME):
                raise ValueError(f"no layer matches {pattern!r}; list them with python -m benchmarks.run --list --full")
    chosen: list[Layer] = []
    for bench_class in CLASSES:
        if bench_class not in wanted:
            continue
        if full or patterns is not None:
            pool = [layer for layer in LAYERS if layer.bench_class == bench_class]
        else:
            pool = [find(name) for name in DEFAULTS[bench_class]]
        if patterns is not None:
            pool = [layer for layer in pool if any(fnmatch.fnmatchcase(layer.name, p) for p in patterns)]
        chosen += pool[:QUICK_PER_CLASS] if quick else pool
    return chosen
