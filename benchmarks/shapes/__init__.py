"""The one list of named layers, for tests and benchmarks.

A layer is plain data: sizes, no arrays, no weights. Sizes are those of the published networks at their usual input; the
class a layer is benchmarked in follows from its geometry (:attr:`Layer.bench_class`), so it is never typed twice.
:mod:`benchmarks.shapes.base` has what all kinds share; each family's file has its kinds and its named layers.

Examples
--------
>>> from benchmarks.shapes import find, select
>>> layer = find("resnet50.l1.3x3")
>>> layer.out_shapes, layer.bench_class
(((1, 64, 56, 56),), 'dense3x3')
>>> [layer.name for layer in select(names=["alexnet.conv[34]"])]
['alexnet.conv3', 'alexnet.conv4']
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from benchmarks.shapes import conv, layers, networks, pool, roi, sampling
from benchmarks.shapes.base import Array, Arrays, Layer
from benchmarks.shapes.conv import FILTERS, Convolution

__all__ = [
    "CLASSES",
    "DEFAULTS",
    "DTYPES",
    "FILTERS",
    "LAYERS",
    "QUICK_PER_CLASS",
    "Array",
    "Arrays",
    "Convolution",
    "Layer",
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
    "transposed",
    "transposed1d",
    "grad_dense3x3",
    "grad_dense",
    "grad_grouped",
    "pool",
    "pool_global",
    "pool_train",
    "pool_lp",
    "boxes",
    "boxes-grad",
    "boxes-more",
    "boxes-more-grad",
    "sampling",
    "rearrange",
    "activation",
    "norm",
    "linear",
    "layers_grad",
)

DTYPES = ("float16", "float32", "float64")

#: Layers of each class that the quick list takes, from the front of its default list.
QUICK_PER_CLASS = 1

LAYERS: tuple[Layer, ...] = (
    *networks.LAYERS,
    *conv.TRANSPOSED,
    *conv.GRADIENTS,
    *pool.LAYERS,
    *roi.LAYERS,
    *sampling.LAYERS,
    *layers.LAYERS,
)

_BY_NAME = {layer.name: layer for layer in LAYERS}

#: The layers of each class that are measured unless all are asked for; the first ones make the quick list.
DEFAULTS: dict[str, tuple[str, ...]] = {
    name: networks.DEFAULTS.get(
        name, tuple(layer.name for layer in LAYERS if layer.bench_class == name and "full" not in layer.tags)
    )
    for name in CLASSES
}


def find(name: str) -> Layer:
    """Return the layer called ``name``.

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
