"""What every backend's FFT kernels have in common: which problems, by which tile, how exactly.

A tile is chosen from the problem alone, since packed weights are made for it: neither memory limits nor the number of
threads change it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from ..algorithm import Support
from ..problem import ConvProblem

__all__ = [
    "Axis",
    "Tile",
    "axes_of",
    "cycles",
    "error_bound",
    "error_reach",
    "packing_cycles",
    "pairs",
    "part_of",
    "supports",
    "terms",
    "tile",
]

#: Lengths of transforms: 2^i and 3 2^i.
_SIZES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_DEPTHS = (1, 8, 12, *_SIZES[:5])
#: What one pair of tiles takes is no more than this: an eighth of the default scratch, a worker's share of it.
_MAX_BYTES = 1 << 23
#: Tiles of so many points take no more than that whatever the problem is: some 100 bytes a point.
_FIT_POINTS = 1 << 15
_LINE_POINTS = 1 << 16


class Tile(NamedTuple):
    """Lengths of a tile's transforms, and the taps of one part of a kernel (csrc/pyconv.h, pc_fft_tile)."""

    d: int
    h: int
    w: int
    part_d: int
    part_h: int
    part_w: int
    line: bool

    @property
    def points(self) -> int:
        """Return the complex numbers of a transform."""
        return self.d * self.h * self.w

    def __str__(self) -> str:
        lengths = f"{self.h}*{self.w}" if self.line else f"{self.d}x{self.h}x{self.w}"
        return f"{lengths}-parts{self.part_d}x{self.part_h}x{self.part_w}"


class Axis(NamedTuple):
    """What an axis of a problem makes of its taps."""

    size: int
    k: int
    out: int
    stride: int
    dilation: int
    reach: int  # elements of a kernel that is applied to every stride-th element of x
    residues: int  # kernels that the taps make: as many inputs as there were channels

    @classmethod
    def of(cls, size: int, k: int, out: int, stride: int, dilation: int) -> Axis:
        """Count reach and residues."""
        reach = (k - 1) * dilation // stride + 1
        return cls(size, k, out, stride, dilation, reach, min(k, stride // math.gcd(stride, dilation)))

    def parts(self, part: int) -> int:
        """Return the kernels that parts of so many taps and the residues make."""
        return -(-self.reach // part) * self.residues

    def tiles(self, n: int, part: int) -> int:
        """Return the tiles of n points that its outputs take."""
        return -(-self.out // (n - part + 1))


_NO_AXIS = Axis.of(1, 1, 1, 1, 1)


@lru_cache(maxsize=32)
def axes_of(problem: ConvProblem) -> dict[str, Axis]:
    """Return the axes d, h and w; one of them that a problem has not is of one element."""
    sizes = zip(
        problem.kernel_axes,
        problem.spatial,
        problem.kernel,
        problem.out_spatial,
        problem.stride,
        problem.dilation,
        strict=True,
    )
    axes = {name: Axis.of(*axis) for name, *axis in sizes}
    return {name: axes.get(name, _NO_AXIS) for name in "dhw"}


def supports(problem: ConvProblem) -> Support:
    """Whatever has something to sum."""
    if problem.c_in == 0 or 0 in problem.out_shape:
        return Support("needs something to sum")
    return Support()


def _lines() -> list[tuple[int, int]]:
    """Rows and columns of tiles of one line, one pair for each product."""
    found: dict[int, tuple[int, int]] = {}
    for h in _SIZES:
        for w in _SIZES:
            if h <= w <= 4 * h and h * w <= _LINE_POINTS and (h * w not in found or w < found[h * w][1]):
                found[h * w] = (h, w)
    return [found[points] for points in sorted(found)]


_LINES = _lines()


def part_of(reach: int, n: int) -> int | None:
    """Taps of a part for transforms of n points: all, or the same number for each; None where n is too short."""
    if reach == 1:
        return 1
    if reach <= n - n // 8:
        return reach
    segments = -(-reach // max(1, n // 2))
    return -(-reach // segments)


def _candidates(problem: ConvProblem, vector: int) -> list[Tile]:
    axes = axes_of(problem)
    d, h, w = axes["d"], axes["h"], axes["w"]
    if problem.rank == 1:
        return [Tile(1, rows, columns, 1, 1, part_of(w.reach, rows * columns) or 1, True) for rows, columns in _LINES]

    def lengths(axis: Axis, sizes: tuple[int, ...]) -> list[int]:
        """Those that are not twice as long as what there is, but one at least."""
        if axis.reach == 1:
            return [size for size in sizes if size == max(1, vector)] if sizes is not _DEPTHS else [1]
        needed = axis.out + axis.reach - 1
        enough = next((size for size in sizes if size >= needed), sizes[-1])
        least = min(axis.reach, sizes[-1] // 4)
        return [size for size in sizes if least <= size <= enough and (size > 1 or axis.reach == 1)] or [enough]

    tiles = []
    for n_d in [1, *lengths(d, _DEPTHS)] if d.reach > 1 else [1]:
        for n_h in lengths(h, _SIZES):
            for n_w in lengths(w, _SIZES):
                part_d = 1 if n_d == 1 else part_of(d.reach, n_d)
                part_h, part_w = part_of(h.reach, n_h), part_of(w.reach, n_w)
                assert part_d
                assert part_h
                assert part_w
                tile = Tile(n_d, n_h, n_w, part_d, part_h, part_w, False)
                if tile.points <= _FIT_POINTS or _least_bytes(problem, tile, vector) <= _MAX_BYTES:
                    tiles.append(tile)
    return tiles


def _least_bytes(problem: ConvProblem, tile: Tile, lanes: int) -> int:
    """Return the scratch of a worker that has one pair of tiles in hand and one term at a time (csrc/blocking.c)."""
    rows = min(2, problem.c_out // problem.groups)
    spectra = 1 if terms(problem, tile) == 1 else 1 + rows  # sums wait in memory between terms
    plane = tile.d * tile.h * (tile.w // lanes | 1) * lanes
    elements = spectra * 2 * (tile.points + lanes) + rows * 2 * (plane + tile.w * lanes)
    elements += 2 * (tile.h * tile.w + lanes) + 2 * max(tile[:3]) * lanes
    # float16 is summed in float32; two bytes a point say what is not finite, and there are some integers
    return elements * (8 if problem.dtype == "f64" else 4) + 2 * tile.points + 4096


def terms(problem: ConvProblem, tile: Tile) -> int:
    """Input channels of a group times the parts of a kernel."""
    return _counter(problem).terms(tile)


def pairs(problem: ConvProblem, tile: Tile) -> int:
    """Return the pairs of tiles of one group."""
    return _counter(problem).pairs(tile)


#: Cycles for a vector of points: a factor of two of a transform there or back, turning rows, loading or storing, the
#: twiddles of a line; a complex product, and a weight from the second cache, the last one, memory. Measured on one
#: machine (docs/performance-notes.md).
_PER_HALVING, _PER_TURN, _PER_MOVE, _PER_LINE = 3.7, 8.0, 8.0, 5.0
#: Cycles for each transform of a tile, and each of its rows.
_PER_TILE, _PER_ROW = 1600.0, 30.0
_PER_PRODUCT, _PER_WEIGHT = 2.6, (1.0, 4.0, 12.0)
#: What a worker goes through is near up to so many bytes; beyond that transforms take so much longer.
_NEAR = ((600 << 10, 1.0), (1200 << 10, 1.15), (math.inf, 1.5))


class _Counter:
    """What the choice of a tile asks of one problem again and again."""

    __slots__ = ("axes", "c_in", "c_out", "groups", "images", "item")

    def __init__(self, problem: ConvProblem) -> None:
        self.axes = tuple(axes_of(problem).values())
        self.c_in, self.c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
        self.groups, self.images = problem.groups, problem.n
        self.item = 8 if problem.dtype == "f64" else 4

    def terms(self, tile: Tile) -> int:
        d, h, w = self.axes
        return self.c_in * d.parts(tile.part_d) * h.parts(tile.part_h) * w.parts(tile.part_w)

    def pairs(self, tile: Tile) -> int:
        d, h, w = self.axes
        n_d, n_h, n_w = (1, 1, tile.points) if tile.line else tile[:3]
        tiles = self.images * d.tiles(n_d, tile.part_d) * h.tiles(n_h, tile.part_h) * w.tiles(n_w, tile.part_w)
        return (tiles + 1) // 2

    def point_cycles(self, tile: Tile) -> float:
        """Estimate the cycles of a transform for each vector of its points."""
        d, h, w = self.axes
        points = tile.points
        if not tile.line:  # axes without taps are not transformed
            points = (tile.d if d.reach > 1 else 1) * (tile.h if h.reach > 1 else 1) * (tile.w if w.reach > 1 else 1)
        return _PER_HALVING * math.log2(points) + _PER_TURN + _PER_MOVE + tile.line * _PER_LINE

    def cycles(self, tile: Tile, lanes: int, threads: int) -> float:
        """Estimate the cycles of the slowest of so many threads."""
        c_out, n_k, n_pairs, points = self.c_out, self.terms(tile), self.pairs(tile), tile.points
        each = self.point_cycles(tile)
        reuse = 1 if n_k * c_out == 1 else min(4, n_pairs)
        # each weight is read once for a block, from farther away the more of them there are
        weight_bytes = 2 * self.item * points * n_k * c_out * self.groups
        weight = _PER_WEIGHT[(weight_bytes > 1 << 19) + (weight_bytes > 16 << 20)]
        worked_on = 2 * self.item * points * (1 + min(2, c_out) * reuse)
        far = next(factor for limit, factor in _NEAR if worked_on <= limit)
        vectors, transforms = points / lanes, n_k + c_out
        pair = vectors * (transforms * each * far + n_k * c_out * (_PER_PRODUCT + weight / reuse))
        pair += transforms * (_PER_TILE + _PER_ROW * tile.d * tile.h)
        blocks = self.groups * n_pairs
        # the stages of a block are shared only where they have something to share
        return pair * (blocks / threads if c_out > 2 else -(-blocks // threads))


_counter = lru_cache(maxsize=32)(_Counter)


def packing_cycles(problem: ConvProblem, tile: Tile, lanes: int) -> float:
    """Estimate the cycles of the one thread that makes the spectra of the weights."""
    each = _counter(problem).point_cycles(tile) * _NEAR[-1][1] + _PER_WEIGHT[-1]
    each = tile.points / lanes * each + _PER_TILE + _PER_ROW * tile.d * tile.h
    return terms(problem, tile) * problem.c_out * each


def cycles(problem: ConvProblem, tile: Tile, lanes: int, threads: int) -> float:
    """Estimate the cycles of the slowest of so many threads."""
    return _counter(problem).cycles(tile, lanes, threads)


@lru_cache(maxsize=256)
def tile(problem: ConvProblem, lanes: int, threads: int) -> Tile:
    """Return the tile of a problem for vectors of so many elements, by the fewest cycles."""
    count = _counter(problem).cycles
    return min(_candidates(problem, max(16, lanes)), key=lambda t: (count(t, lanes, threads), t))


def error_bound(problem: ConvProblem, tile: Tile, epsilon: float) -> float:
    """Return the bound relative to sum |w| max |x|, the maximum over :func:`error_reach`.

    A transform of N points has an error of at most 4 eps log2 N relative to its result's 2-norm (Higham 2002, theorem
    24.2, with exact roots); three of them, the product and the sum over K terms make (12 log2 N + K + 4) eps. The norms
    of two tiles of N values |x| <= X and of a kernel are at most sqrt(2 N) X and sum |w|.
    """
    steps = 12 * math.log2(tile.points) + terms(problem, tile) + 4
    return steps * math.sqrt(2 * tile.points) * epsilon


def error_reach(problem: ConvProblem) -> int:
    """Return how far the other values of a tile and of its pair may be: everywhere."""
    return max(size + sum(padding) for size, padding in zip(problem.spatial, problem.padding, strict=True))
