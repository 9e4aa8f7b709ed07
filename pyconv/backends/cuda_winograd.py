"""Winograd's F(2,3) and F(4,3) on a GPU as algorithms: planar 3x3 convolutions of stride 1, and transposed ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ..algorithm import Call, Packed, Runner, Support
from ..kernels.winograd_matrices import VARIANTS, Variant
from ..problem import FLOATS, ITEM_BYTES, ConvProblem, TransposedProblem
from . import cuda_border, cuda_product, winograd
from .gpu import EPSILON, LAUNCH_S, SHARE, OnCuda, Place, check_contiguous, seconds_of, steps, why_not

__all__ = ["FAMILIES", "algorithms"]

FAMILIES = ("winograd-f2x3", "winograd-f4x3")
#: Images are taken together as long as their transforms need no more than this.
_MOST_SCRATCH_BYTES = 256 << 20


class _Cut(NamedTuple):
    """Tiles of an image, and how many images go together."""

    rows: int
    columns: int
    images: int

    def pitch(self, images: int) -> int:
        """Return the length of a row of tiles."""
        from ..kernels.cuda.winograd import row_of_tiles

        return int(row_of_tiles(images * self.rows * self.columns))


@dataclass(frozen=True, slots=True)
class CudaWinograd(OnCuda):
    """The kernels of kernels/cuda/winograd.py."""

    unit: ClassVar[str] = "conv"

    @property
    def variant(self) -> Variant:
        """Return F(m, 3)."""
        return VARIANTS[self.family.removeprefix("winograd-")]

    @property
    def real_bytes(self) -> int:
        """Return the bytes of what lies between the kernels."""
        return max(4, ITEM_BYTES[self.dtype])

    def conv_of(self, problem: Any) -> ConvProblem | None:
        """Return the convolution that is computed; None where there is none of stride 1."""
        return cuda_border.inside(problem)

    def with_border(self, problem: Any, convolve: Runner) -> Runner:
        """Return the runner of the problem, given that of :meth:`conv_of`."""
        return cuda_border.pad(problem, convolve)

    def supports(self, problem: Any) -> Support:
        """Whether the kernels can do it."""
        conv = self.conv_of(problem)
        if conv is None:
            return Support("needs stride 1, and an output that does not crop x")
        if conv.kernel != (3, 3) or conv.dilation != (1, 1):
            return Support("needs a kernel of 3x3 without dilation")
        if conv.groups == conv.c_in > 1:
            return Support("needs more than one input channel a group: a product of one row is none")
        found = winograd.supports(conv, self.variant)
        if not found:
            return found
        weights = self.variant.alpha**2 * conv.c_in * (conv.c_out // conv.groups + 3)
        return Support(
            why_not(problem, self._values(conv, 1), weights, *map(math.prod, (conv.x_shape, conv.out_shape)))
        )

    def _values(self, conv: ConvProblem, images: int) -> int:
        """Return the transformed values of some images, of x or of the output, whichever has more."""
        tiles = self._tiles(conv)
        return int(self.variant.alpha**2 * max(conv.c_in, conv.c_out) * (images * math.prod(tiles) + 3))

    def _tiles(self, conv: ConvProblem) -> tuple[int, int]:
        h_out, w_out = conv.out_spatial
        return -(-h_out // self.variant.m), -(-w_out // self.variant.m)

    def _cut(self, conv: ConvProblem) -> _Cut:
        most = _MOST_SCRATCH_BYTES // (2 * self.real_bytes * self._values(conv, 1))
        return _Cut(*self._tiles(conv), max(1, min(conv.n, most)))

    def accuracy(self, problem: Any) -> str:
        """Return the strictest ``accuracy`` that permits it."""
        conv = self.conv_of(problem)
        return "fast" if conv is None else winograd.accuracy(conv, self.variant)

    def error_bound(self, problem: Any) -> float:
        """Return Winograd's bound."""
        conv = self.conv_of(problem)
        assert conv is not None
        return winograd.error_bound(conv, self.variant, EPSILON[self.dtype])

    def error_reach(self, problem: Any) -> int:
        """Return how far a tile reaches beyond a tap."""
        conv = self.conv_of(problem)
        assert conv is not None
        return winograd.error_reach(conv, self.variant)

    def estimate(self, problem: Any, machine: Any) -> float:
        """Return seconds of a nominal GPU: the transforms are bound by memory, the product by arithmetic."""
        conv = self.conv_of(problem)
        assert conv is not None
        cut, groups = self._cut(conv), conv.groups
        tiles = conv.n * cut.rows * cut.columns
        points = self.variant.alpha**2
        moved = self.real_bytes * points * (conv.c_in + conv.c_out) * tiles
        c_out = conv.c_out // groups
        tile = cuda_product.tile_of(c_out, min(conv.n, cut.images) * cut.rows * cut.columns, points * groups)
        share = SHARE["implicit-gemm"] * cuda_product.filled(tile, c_out)
        product = seconds_of(2 * points * (conv.c_in // groups) * conv.c_out * tiles, moved, self.dtype, share)
        launches = 3 * -(-conv.n // cut.images)
        transforms = seconds_of(0, moved + conv.bytes, self.dtype, 1.0)
        return product + transforms + LAUNCH_S * (launches - 1) + cuda_border.seconds(problem)

    def prepare(self, problem: Any, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        from ..kernels.cuda import implicit_gemm

        conv, variant, transposed = self.conv_of(call.problem), self.variant, self.unit != "conv"
        assert conv is not None
        cut, groups, points = self._cut(conv), conv.groups, variant.alpha**2
        c_in, c_out = conv.c_in // groups, conv.c_out // groups
        rows = implicit_gemm.packed_rows(c_out)
        before = tuple(pad for pad, _ in conv.padding)
        real, slope, dtype = self.real, self.number(conv.slope), "f64" if self.dtype == "f64" else "f32"
        epilogue = conv.activation, conv.bias, conv.residual
        one = 1, 1, 1

        def run(packed: Packed, x: Any, residual: Any, out: Any) -> bool:
            w, bias = (*packed, None)[:2]
            check_contiguous(w, bias)
            place = Place.of(out)
            u = place.scratch(points * conv.c_in * rows, dtype)
            of_weights = c_in, c_out, groups, rows
            place.run("winograd.weight_tiles", (variant, transposed), conv.c_in * rows, of_weights, w, u)
            pitch = cut.pitch(cut.images)
            v = place.scratch(points * conv.c_in * pitch, dtype)
            products = place.scratch(points * conv.c_out * pitch, dtype)
            of_x, of_all = steps(x), steps(x, residual, out)
            for first in range(0, conv.n, cut.images):
                images = min(cut.images, conv.n - first)
                pitch = cut.pitch(images)
                tiles = cut.rows, cut.columns, *before, pitch
                sizes = images, conv.c_in, *conv.spatial, *tiles
                steps_x = _moved(of_x, first)
                place.run("winograd.input_tiles", (real, variant), conv.c_in * pitch, sizes, steps_x, x, v)
                tile = cuda_product.tile_of(c_out, pitch, points * groups)
                words = real, one, one, one, tile, None, False, False, False, True
                grid = implicit_gemm.blocks_implicit_gemm(tile, pitch, c_out, points * groups)
                of_product = 1, c_in, c_out, 1, 1, pitch, 1, 1, pitch, 0, 0, 0, rows
                flat = 0, 0, pitch, 0, 0, 1
                place.launch(
                    "implicit_gemm.conv_implicit_gemm", words, grid, of_product, (*flat, *(0,) * 6, *flat), slope,
                    v, u, None, None, products, threads=tile.threads, blocks=tile.blocks if dtype == "f32" else 1,
                )  # fmt: skip
                sizes = images, c_in, c_out, groups, *conv.spatial, *conv.out_spatial, *tiles
                place.run(
                    "winograd.output_tiles", (real, variant, *epilogue, transposed), conv.c_out * pitch, sizes,
                    _moved(of_all, first), slope, products, x, w, bias, residual, out,
                )  # fmt: skip
            return self.done()

        return self.with_border(call.problem, run)


@dataclass(frozen=True, slots=True)
class CudaTransposedWinograd(CudaWinograd):
    """The same of transposed convolutions and of gradients with respect to x: the taps in reverse."""

    unit: ClassVar[str] = "conv_transposed"

    def conv_of(self, problem: TransposedProblem) -> ConvProblem | None:
        """Return the convolution of stride 1 that it is; None where it is none, or several."""
        parts = (problem if problem.padding_mode == "zeros" else problem.onto_the_border).parts
        if len(parts) != 1 or not parts[0].is_plain or any(map(sum, parts[0].crop)):
            return None
        return parts[0].conv

    def error_bound(self, problem: TransposedProblem) -> float:
        """Return Winograd's bound, and what it takes to fold a border."""
        return CudaWinograd.error_bound(self, problem) + cuda_border.fold_bound(problem)

    def with_border(self, problem: TransposedProblem, convolve: Runner) -> Runner:
        """Return the runner of the problem, given that of :meth:`conv_of`."""

        def run(packed: Packed, x: Any, out: Any) -> bool:
            return convolve(packed, x, None, out)

        return cuda_border.fold(problem, self.real, run)


def _moved(steps: tuple[int, ...], images: int) -> tuple[int, ...]:
    """Return the steps of arrays from a later image on."""
    found = list(steps)
    for i in range(0, len(steps), 6):
        found[i] += images * steps[i + 1]
    return tuple(found)


def algorithms() -> Iterator[OnCuda]:
    """Every kernel, for each operation and element type."""
    for dtype in FLOATS:
        for family in FAMILIES:
            yield CudaWinograd("conv2d", family, dtype)
            yield CudaTransposedWinograd("conv_transpose2d", family, dtype)
            yield CudaTransposedWinograd("conv2d-grad-x", family, dtype)
