"""What measurements say of the cost model: a factor for each kernel, fitted over sizes and windows.

The model (:mod:`pyconv.cost`) counts; how far each kernel is from its count depends on the sizes in ways that nobody
counts. ``benchmarks/fit_cost.py`` fits the logarithm of measured over estimated seconds by a polynomial of the
problem's sizes, one for each kernel, and writes ``curves.json`` beside this file: with the processor, the date and how
well it fits. Anyone may fit it again. A factor is bounded, and so are the sizes at which its polynomial is asked, so
that nothing runs away where nothing was measured.
"""

from __future__ import annotations

import math
import operator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from .problem import ConvProblem, ConvWeightProblem, TransposedProblem

__all__ = ["FEATURES", "FILE", "LIMIT", "Curve", "Curves", "factor", "features", "key_of", "shipped"]

FILE = Path(__file__).with_name("curves.json")
#: What a polynomial's terms are made of, in this order: logarithms to base 2 and yes or no.
LOGARITHMS = ("c_in", "c_out", "groups", "images", "pixels", "width", "taps", "flops", "strides")
FLAGS = ("strided", "dilated", "rank 1", "rank 3", "gradient")
#: Pairs of logarithms whose products are terms as well, beside all squares.
PAIRS = (("c_in", "c_out"), ("c_in", "pixels"), ("c_out", "pixels"), ("taps", "pixels"), ("taps", "width"))
#: Where a kernel begins to meet its fixed costs or to leave lanes empty, the slope changes: terms max(0, bend - value).
BENDS = (
    ("flops", 20.0),
    ("c_in", 4.0),
    ("c_out", 4.0),
    ("width", 4.0),
    ("pixels", 9.0),
    ("taps", 3.2),
    ("groups", 4.0),
)
FEATURES = (
    *LOGARITHMS,
    *FLAGS,
    *(f"{name} below 2^{bend:g}" for name, bend in BENDS),
    *(f"{name}^2" for name in LOGARITHMS),
    *(f"{first} {second}" for first, second in PAIRS),
)
_INDEX = {name: index for index, name in enumerate(LOGARITHMS)}
_BENDS = tuple((_INDEX[name], bend) for name, bend in BENDS)
_PAIRS = tuple((_INDEX[first], _INDEX[second]) for first, second in PAIRS)
#: Largest factor.
LIMIT = 3.0


class Curve(NamedTuple):
    """One kernel's polynomial: of each term its weight."""

    weights: tuple[float, ...]
    constant: float

    def factor(self, terms: tuple[float, ...]) -> float:
        """Return measured over estimated seconds."""
        value = self.constant + sum(map(operator.mul, self.weights, terms))
        return math.exp(max(-_LOG_LIMIT, min(_LOG_LIMIT, value)))


class Curves(NamedTuple):
    """What the file holds: the least and the greatest logarithm of each size that was measured, and the curves."""

    ranges: tuple[tuple[float, float], ...]
    curves: dict[str, Curve]


_LOG_LIMIT = math.log(LIMIT)


def key_of(op: str, family: str, where: str) -> str:
    """Return a kernel's name in the file: its kind of operation, family, backend and instruction set.

    Operations of one, two and three axes are one kind; so are a transposed convolution and a gradient with respect to
    x, which are the same.
    """
    kind = "weights" if op.endswith("-grad-w") else "transposed" if "-grad-x" in op or "transpose" in op else "conv"
    return f"{kind}.{family}@{where}"


def features(problem: ConvProblem | TransposedProblem | ConvWeightProblem) -> tuple[float, ...]:
    """Return the terms of a problem, in the order of :data:`FEATURES`; no size is beyond what was measured."""
    conv = problem.conv if isinstance(problem, ConvWeightProblem) else problem
    pixels, rank = math.prod(conv.out_spatial), len(conv.spatial)
    sizes = (
        conv.c_in // conv.groups, conv.c_out // conv.groups, conv.groups, conv.n, pixels, conv.out_spatial[-1],
        math.prod(conv.kernel), conv.flops, math.prod(conv.stride),
    )  # fmt: skip
    ranges = shipped().ranges
    logs = tuple(max(low, min(high, math.log2(max(1, size)))) for size, (low, high) in zip(sizes, ranges, strict=True))
    gradient = isinstance(problem, TransposedProblem) and problem.gradient  # which packs its weights in every call
    flags = (max(conv.stride) > 1, max(conv.dilation) > 1, rank == 1, rank == 3, gradient)
    return (
        *logs,
        *map(float, flags),
        *(max(0.0, bend - logs[index]) for index, bend in _BENDS),
        *(value * value for value in logs),
        *(logs[first] * logs[second] for first, second in _PAIRS),
    )


_cached_features = lru_cache(maxsize=16)(features)


@lru_cache(maxsize=1)
def shipped() -> Curves:
    """Return what the file holds."""
    import json

    try:
        found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Curves(((0.0, 60.0),) * len(LOGARITHMS), {})
    if tuple(found["features"]) != FEATURES:
        raise ValueError(
            f"{FILE} was fitted for other features; remove it, and python -m benchmarks.fit_cost makes one"
        )
    return Curves(
        tuple((low, high) for low, high in found["ranges"]),
        {key: Curve(tuple(curve["weights"]), curve["constant"]) for key, curve in found["curves"].items()},
    )


def factor(id: str, op: str, family: str, problem: Any) -> float:
    """Return measured over estimated seconds of an algorithm; 1 where nothing was fitted."""
    curve = shipped().curves.get(key_of(op, family, id.rpartition("@")[2]))
    if curve is None or not isinstance(problem, (ConvProblem, TransposedProblem, ConvWeightProblem)):
        return 1.0
    return curve.factor(_cached_features(problem))
