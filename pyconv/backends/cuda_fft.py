"""FFT convolution on GPUs as algorithms: tiles by our own transforms, or by cuFFT's where a library binds it.

Which terms a convolution has, how its tiles lie and how exact its sums are is the same for every backend
(:mod:`pyconv.backends.fft`); what a GPU's tile is, and that spectra wait in memory between three kernels, is here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..kernels.cuda import FFT_LENGTHS
from ..problem import FLOATS, ConvProblem
from . import cuda_border, cufft, fft
from .gpu import EPSILON, LAUNCH_S, SHARE, OnCuda, Place, check_contiguous, seconds_of, steps, three, why_not

__all__ = ["CudaFft", "algorithms"]

#: Complex numbers of a tile at least: a block has one thread or more for each of its tiles' corners.
_LEAST_POINTS = 16
#: Complex numbers of a tile, by the bytes of a real one: they fit 33 KB of shared memory.
_MOST_POINTS = {4: 4096, 8: 2048}
#: Those of a library's tile.
_MOST_LIBRARY_POINTS = 1 << 22
#: Spectra of x and of the output wait in so much memory: the pairs of tiles come in as many turns as that takes. Those
#: of the weights are all there.
_MOST_SPECTRA, _MOST_WEIGHTS = 256 << 20, 1 << 30


def _real_bytes(problem: ConvProblem) -> int:
    """Return the bytes of a number in a spectrum."""
    return 8 if problem.dtype == "f64" else 4


def _smooth(least: int) -> int:
    """Return the first number from here on that has no prime factor above 7."""

    def rest(n: int) -> int:
        for prime in (2, 3, 5, 7):
            while n % prime == 0:
                n //= prime
        return n

    return next(n for n in range(max(1, least), 2 * max(1, least) + 1) if rest(n) == 1)


def _candidates(problem: ConvProblem, sizes: tuple[int, ...], most_points: int, any_size: bool) -> Iterator[fft.Tile]:
    """Yield the tiles of these lengths that are not twice as long as what there is, and of just this if any will do."""
    axes = fft.axes_of(problem)
    # where no axis has taps to transform, one is transformed all the same
    flat = all(axis.reach == 1 for axis in axes.values())

    def lengths(name: str) -> list[int]:
        axis = axes[name]
        if axis.reach == 1 and not (flat and name == "w"):
            return [1]
        needed = axis.out + axis.reach - 1
        enough = next((size for size in sizes if size >= max(needed, _LEAST_POINTS)), sizes[-1])
        found = [size for size in sizes if size <= enough]
        return [*found, _smooth(needed)] if any_size else found

    for d in lengths("d"):
        for h in lengths("h"):
            for w in lengths("w"):
                if _LEAST_POINTS <= d * h * w <= most_points:
                    part_d, part_h, part_w = (
                        fft.part_of(axes[name].reach, n) or 1 for name, n in (("d", d), ("h", h), ("w", w))
                    )
                    yield fft.Tile(d, h, w, part_d, part_h, part_w, False)


@dataclass(frozen=True, slots=True)
class Work:
    """What a tile costs: transforms there, of weights, and back; numbers of points, terms and pairs."""

    problem: ConvProblem
    tile: fft.Tile
    by_library: bool = False

    @property
    def inputs(self) -> int:
        """Return the terms of all groups."""
        return fft.terms(self.problem, self.tile) * self.problem.groups

    @property
    def weights(self) -> int:
        """Return the kernels that are transformed."""
        return fft.terms(self.problem, self.tile) * self.problem.c_out

    @property
    def pairs(self) -> int:
        """Return the pairs of tiles."""
        return fft.pairs(self.problem, self.tile)

    @property
    def is_fused(self) -> bool:
        """Whether no sum of spectra is made: one kernel does all."""
        return not self.by_library and fft.terms(self.problem, self.tile) == 1

    @property
    def spectrum_bytes(self) -> int:
        """Return the bytes of a spectrum."""
        return 2 * self.tile.points * _real_bytes(self.problem)

    def pairs_at_once(self) -> int:
        """Return the pairs whose spectra are in memory at the same time."""
        each = (self.inputs + self.problem.c_out) * self.spectrum_bytes
        return max(1, min(self.pairs, _MOST_SPECTRA // each))

    def seconds(self) -> float:
        """Estimate seconds of a nominal GPU."""
        problem, points, pairs = self.problem, self.tile.points, self.pairs
        there = self.inputs if not self.is_fused else problem.c_out
        transforms = (there + problem.c_out) * pairs + self.weights
        flops = 5 * points * math.log2(points) * transforms
        of_product = 8.0 * points * self.weights * pairs
        spectra = self.spectrum_bytes * (self.inputs + problem.c_out) * pairs
        of_weights = self.spectrum_bytes * self.weights
        share, dtype = SHARE["fft"], problem.dtype
        if self.is_fused:
            # each output channel's block reads the weights' spectrum, from the second cache
            return seconds_of(flops + of_product, problem.bytes + 2 * of_weights, dtype, share) + LAUNCH_S
        turns = -(-pairs // self.pairs_at_once())
        # a library reads tiles that were written for it, and what it leaves is read again
        moved = problem.bytes + (4 if self.by_library else 1) * (spectra + of_weights)
        transforms_s = seconds_of(flops, moved, dtype, share)
        product_s = seconds_of(of_product, spectra + of_weights * turns, dtype, share)
        launches = (5 * turns + 2) if self.by_library else 3 * turns - 1
        return transforms_s + product_s + launches * LAUNCH_S


@dataclass(frozen=True, slots=True)
class CudaFft(OnCuda):
    """The kernels of kernels/cuda/fft.py and fft_product.py; those of fft_cufft.py and a library's transforms."""

    unit: ClassVar[str] = "conv"

    def work(self, problem: ConvProblem) -> Work:
        """Return a problem, of x with its border, with its tile."""
        return _work(cuda_border.inside(problem), self.family == "fft-cufft")

    def accuracy(self, problem: ConvProblem) -> str:
        """Return "standard": errors are relative to the largest x near by."""
        return "standard"

    def supports(self, problem: ConvProblem) -> Support:
        """Whether the kernels can do it."""
        problem = cuda_border.inside(problem)
        if self.family == "fft-cufft" and cufft.why_not():
            return Support(cufft.why_not())
        found = fft.supports(problem)
        if not found:
            return found
        work = self.work(problem)
        if work.weights * work.spectrum_bytes > _MOST_WEIGHTS:
            return Support(f"needs weights whose spectra fit {_MOST_WEIGHTS} bytes")
        pairs = work.pairs_at_once()
        spectra = 2 * work.tile.points * max(work.inputs, problem.c_out) * pairs
        tiles = 2 * work.pairs * max(work.inputs, problem.c_out)
        axes = zip(fft.axes_of(problem).values(), work.tile[:3], strict=True)
        reach = [(axis.out + axis.reach + n) * axis.stride + axis.k * axis.dilation for axis, n in axes]
        padded = [size + sum(pad) for size, pad in zip(problem.spatial, problem.padding, strict=True)]
        return Support(why_not(problem, spectra, tiles, *reach, *padded, math.prod(problem.w_shape)))

    def estimate(self, problem: ConvProblem, machine: Any) -> float:
        """Return seconds of a nominal GPU."""
        return self.work(problem).seconds() + cuda_border.seconds(problem)

    def error_bound(self, problem: ConvProblem) -> float:
        """Return the bound of every backend's transforms."""
        return fft.error_bound(problem, self.work(problem).tile, EPSILON[self.dtype])

    def error_reach(self, problem: ConvProblem) -> int:
        """Return how far beyond an output's window the bound looks for the largest |x|."""
        return fft.error_reach(problem)

    def prepare(self, problem: ConvProblem, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def transforms(self, work: Work) -> OwnTransforms | LibraryTransforms:
        """Return who transforms the tiles."""
        who = LibraryTransforms if work.by_library else OwnTransforms
        return who(work, self.real, self.number(1 / work.tile.points), self.number(work.problem.slope))

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        work = self.work(call.problem)
        problem = work.problem
        transforms, real, at_once = self.transforms(work), self.real, work.pairs_at_once()
        sums, points = "f64" if self.dtype == "f64" else "f32", 2 * work.tile.points

        def run(packed: Packed, x: Any, residual: Any, out: Any) -> bool:
            w, bias = packed
            place = Place.of(x)
            check_contiguous(w, bias)
            arrays = x, w, bias, residual, out
            of_weights = transforms.of_weights(place, w, place.scratch(work.weights * points, sums))
            if isinstance(transforms, OwnTransforms) and work.is_fused:
                transforms.fuse(place, of_weights, *arrays)
                return self.done()
            for first in range(0, work.pairs, at_once):
                pairs = min(at_once, work.pairs - first)
                there = place.scratch(work.inputs * pairs * points, sums)
                back = place.scratch(problem.c_out * pairs * points, sums)
                spectra = transforms.of_inputs(place, first, pairs, x, there)
                _multiply(place, work, pairs, real, of_weights, spectra, back)
                transforms.to_outputs(place, first, pairs, back, *arrays)
            return self.done()

        return cuda_border.pad(call.problem, run)


def _multiply(place: Place, work: Work, pairs: int, real: Any, of_weights: Any, there: Any, back: Any) -> None:
    """Launch the sums of products of spectra."""
    from ..kernels.cuda import fft_product

    problem, points = work.problem, work.tile.points
    c_out = problem.c_out // problem.groups
    tile = product_tile(c_out, pairs, _real_bytes(problem))
    grid = fft_product.blocks_multiply(tile, points, c_out, pairs, problem.groups)
    sizes = points, c_out, work.inputs // problem.groups, pairs
    arrays = of_weights, there, back
    place.launch("fft_product.multiply_spectra", (real, tile), grid, sizes, *arrays, threads=tile.threads)


def product_tile(c_out: int, pairs: int, real_bytes: int) -> Any:
    """Return the largest tile that channels and pairs fill by more than half."""
    from ..kernels.cuda import fft_product

    tiles = fft_product.TILES[real_bytes]
    return next((tile for tile in tiles if 2 * c_out > tile.bm and 2 * pairs > tile.bn), tiles[-1])


class _Plan:
    """What the kernels of a problem are told."""

    def __init__(self, work: Work, real: Any, scale: Any, slope: Any) -> None:
        problem = work.problem
        self.work, self.real, self.scale, self.slope = work, real, scale, slope
        self.epilogue = problem.activation, problem.bias, problem.residual
        self.sizes, self.tiles = _sizes(work), _tiles(work)
        self.shape = by_axis(problem, work.tile[:3])

    def pairs(self, first: int, pairs: int) -> tuple[int, ...]:
        """Return the sizes for some of the pairs."""
        return (*self.sizes, 2 * first, self.tiles, pairs)


class OwnTransforms(_Plan):
    """Our own transforms of a plan's tiles: what launches each kernel."""

    @property
    def lengths(self) -> Any:
        """Return the lengths of a tile, as kernels have them."""
        from ..kernels.cuda.fft import Lengths

        return Lengths(*self.shape)

    def _launch(self, place: Place, name: str, more: tuple[Any, ...], items: int, *arguments: Any) -> None:
        lengths = self.lengths
        words, grid = (self.real, lengths, *more), -(-items // lengths.tiles)
        place.launch(f"fft.{name}", words, grid, *arguments, threads=lengths.threads)

    def _tables(self, place: Place) -> tuple[Any, Any]:
        """Return the twiddles and the order of the passes, which stay on a GPU."""
        from ..kernels.cuda.fft import plan, table

        lengths, dtype = self.lengths, np.dtype(self.scale.dtype)
        twiddles = place.keep(("fft", lengths, dtype.str), lambda: table(lengths, dtype))
        return twiddles, place.keep(("fft", lengths), lambda: plan(lengths))

    def of_weights(self, place: Place, w: Any, spectra: Any) -> Any:
        """Launch the transforms of the weights, scaled for the way back; return where the spectra lie."""
        arrays = w, *self._tables(place), spectra
        self._launch(place, "weight_spectra", (), self.work.weights, self.pairs(0, 0), self.scale, *arrays)
        return spectra

    def of_inputs(self, place: Place, first: int, pairs: int, x: Any, spectra: Any) -> Any:
        """Launch the transforms of pairs of tiles of x; return where the spectra lie."""
        sizes, arrays = self.pairs(first, pairs), (x, *self._tables(place), spectra)
        self._launch(place, "input_spectra", (), self.work.inputs * pairs, sizes, steps(x), *arrays)
        return spectra

    def to_outputs(self, place: Place, first: int, pairs: int, spectra: Any, *arrays: Any) -> None:
        """Launch the transforms back, with the epilogue; arrays are x, w, bias, residual and out."""
        self._finish(place, "outputs", first, pairs, spectra, *arrays)

    def fuse(self, place: Place, of_weights: Any, *arrays: Any) -> None:
        """Launch everything but the transforms of the weights."""
        self._finish(place, "conv_fft", 0, self.work.pairs, of_weights, *arrays)

    def _finish(self, place: Place, name: str, first: int, pairs: int, spectra: Any, *arrays: Any) -> None:
        x, _, _, residual, out = arrays
        given = self.pairs(first, pairs), steps(x, residual, out), self.slope, spectra, *self._tables(place), *arrays
        self._launch(place, name, self.epilogue, self.work.problem.c_out * pairs, *given)


class LibraryTransforms(_Plan):
    """cuFFT's transforms of a plan's tiles, and the kernels that make these."""

    def _transform(self, place: Place, flat: Any, count: int, back: bool = False) -> Any:
        run = cufft.library()
        assert run is not None
        shape = tuple(n for n in self.shape if n > 1)
        return run(place, flat, cufft.Batch(count, shape, self.work.problem.dtype == "f64"), back)

    def of_weights(self, place: Place, w: Any, spectra: Any) -> Any:
        """Launch the transforms of the weights, scaled for the way back; return where the spectra lie."""
        elements, taps = spectra.elements, math.prod(self.work.problem.w_shape)
        place.run("fill.fill", (), elements, elements, self.scale * 0, spectra)
        given = taps, self.pairs(0, 0), self.shape, self.scale, w, spectra
        place.run("fft_cufft.spread_weights", (self.real,), taps, *given)
        return self._transform(place, spectra, self.work.weights)

    def of_inputs(self, place: Place, first: int, pairs: int, x: Any, spectra: Any) -> Any:
        """Launch the transforms of pairs of tiles of x; return where the spectra lie."""
        count = self.work.inputs * pairs
        points = count * self.work.tile.points
        given = points, self.pairs(first, pairs), self.shape, steps(x), x, spectra
        place.run("fft_cufft.gather_tiles", (self.real,), points, *given)
        return self._transform(place, spectra, count)

    def to_outputs(self, place: Place, first: int, pairs: int, spectra: Any, *arrays: Any) -> None:
        """Launch the transforms back, with the epilogue; arrays are x, w, bias, residual and out."""
        problem = self.work.problem
        tiles = self._transform(place, spectra, problem.c_out * pairs, back=True)
        x, _, _, residual, out = arrays
        elements, sizes = math.prod(problem.out_shape), (self.pairs(first, pairs), self.shape)
        given = elements, *sizes, steps(x, residual, out), self.slope, tiles, *arrays
        place.run("fft_cufft.cut_outputs", (self.real, *self.epilogue), elements, *given)


def _tiles(work: Work) -> int:
    """Return the tiles of all images."""
    axes = fft.axes_of(work.problem).values()
    ends = zip(axes, work.tile[:3], work.tile[3:6], strict=True)
    return work.problem.n * math.prod(axis.tiles(n, part) for axis, n, part in ends)


def by_axis(problem: ConvProblem, named: tuple[int, ...]) -> tuple[int, int, int]:
    """Return what is given for d, h and w, as kernels name axes, in the order that axes have; or the reverse."""
    d, h, w = named
    return (h, d, w) if problem.kernel_axes == "hdw" else (d, h, w)


def _sizes(work: Work) -> tuple[int, ...]:
    """Return what kernels/cuda/fft_tiles.py calls sizes, but for the pairs."""
    problem, tile = work.problem, work.tile
    groups = problem.groups
    lengths, parts, axes = tile[:3], tile[3:6], list(fft.axes_of(problem).values())
    terms = [axis.parts(part) for axis, part in zip(axes, parts, strict=True)]
    in_order = (
        terms, [count // axis.residues for count, axis in zip(terms, axes, strict=True)], parts,
        [axis.tiles(n, part) for axis, n, part in zip(axes, lengths, parts, strict=True)],
        [n - part + 1 for n, part in zip(lengths, parts, strict=True)],
    )  # fmt: skip
    return (
        groups, problem.c_in // groups, problem.c_out // groups, *three(problem.spatial), *three(problem.kernel),
        *three(problem.out_spatial), *three(problem.stride), *three(problem.dilation),
        *three(tuple(pad for pad, _ in problem.padding), 0),
        *(size for named in in_order for size in by_axis(problem, tuple(named))),
    )  # fmt: skip


@lru_cache(maxsize=256)
def _work(problem: ConvProblem, by_library: bool) -> Work:
    """Return the problem with the tile that takes the least time."""
    if by_library:
        tiles = _candidates(problem, tuple(1 << i for i in range(4, 17)), _MOST_LIBRARY_POINTS, True)
    else:
        tiles = _candidates(problem, FFT_LENGTHS[1:], _MOST_POINTS[_real_bytes(problem)], False)
    return min((Work(problem, tile, by_library) for tile in tiles), key=lambda work: (work.seconds(), work.tile))


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for rank in (1, 2, 3):
        for dtype in FLOATS:
            for family in ("fft", "fft-cufft"):
                yield CudaFft(f"conv{rank}d", family, dtype)
