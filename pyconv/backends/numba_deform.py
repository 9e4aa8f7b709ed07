"""The Numba kernels of deformable convolution, and of moving pixels into channels, as algorithms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import cost
from ..algorithm import Array, Call, Packed, Runner, Support
from ..cost import Machine
from ..kernels.cpu import deform, interleave
from ..problem import DTYPES, ITEM_BYTES, DeformProblem, ShuffleProblem
from .numba_roi import run_tasks
from .plain import OnNumba

__all__ = ["algorithms"]

_NUMPY: dict[str, np.dtype[Any]] = {"f32": np.dtype(np.float32), "f64": np.dtype(np.float64)}
_EPSILON = {"f32": 2.0**-24, "f64": 2.0**-53}
#: Operations of the definition, and bytes, below which a call stays on the caller's thread.
_FLOPS_PER_THREAD = 3_000_000
_BYTES_PER_THREAD = 1 << 20
#: Pixels of the output whose samples exist at a time.
_STRIP = 240
#: Channels of a task of the gradient of x: a cache line of float32.
_CHANNELS = 16
_FAMILIES = {"": "sampled", "x": "scatter", "offset": "slopes", "w": "outer", "mask": "slopes"}


@dataclass(frozen=True, slots=True)
class NumbaDeform(OnNumba):
    """The kernels of kernels/cpu/deform.py, for one operation."""

    unit: ClassVar[str] = "deform"

    op: str
    family: str
    dtype: str
    done: Callable[[str], None]
    backend: str = "numba"
    preferred: bool = True

    def supports(self, problem: DeformProblem) -> Support:
        """Return yes, but for what has nothing to sum, or is too wide for its places."""
        if 0 in problem.conv.x_shape:
            return Support("needs something to sum")
        if max(*problem.conv.spatial, *problem.conv.out_spatial) > 1 << 28:
            return Support("needs an image of less than 2^28 rows and columns")
        return Support()

    def error_bound(self, problem: DeformProblem) -> float:
        """One rounding for each product of the longest sum, and those of a sample."""
        return (problem.reduction + 16) * _EPSILON[self.dtype]

    def estimate(self, problem: DeformProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return 3 * cost.deform_seconds(problem, machine)

    def packing(self, problem: DeformProblem) -> str:
        """Name the order of weights; gradients have output channels inside."""
        return f"deform-{'turned' if problem.argument else 'panels'}"

    def prepare(self, problem: DeformProblem, *weights: Array | None) -> Packed:
        """Return packed weights of each group, (tap, channel) x output channel or the other way round, and the bias."""
        w, bias = (*weights, None)[:2]
        assert w is not None
        conv = problem.conv
        by_group = w.reshape(conv.groups, conv.c_out // conv.groups, -1, problem.taps).swapaxes(2, 3)
        matrix = by_group.reshape(conv.groups, conv.c_out // conv.groups, -1)
        packed = deform.pack_matrix(matrix if problem.argument else matrix.swapaxes(1, 2))
        return packed, None if bias is None else bias.copy()

    def _strip(self, problem: DeformProblem) -> int:
        return max(1, min(_STRIP, math.prod(problem.conv.out_spatial)))

    def workspace(self, call: Call) -> int | None:
        """Return the maps with channels last, and what exists of a strip."""
        problem: DeformProblem = call.problem
        conv, strip = problem.conv, self._strip(problem)
        columns = conv.c_in * problem.taps
        tables = 12 * problem.offset_groups * problem.taps
        maps = math.prod(conv.spatial) * conv.c_in
        total = 8 * (maps + strip * (3 * columns + 2 * conv.c_out + tables) + math.prod(conv.w_shape))
        return total if total <= call.max_workspace else None

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernels run."""
        strips = _Strips(call, self._strip(call.problem), self.kernel_name, self.done)
        runners: dict[str, Runner] = {
            "": strips.forward,
            "x": strips.grad_x,
            "w": strips.grad_w,
            "offset": strips.grad_offset,
            "mask": strips.grad_mask,
        }
        return runners[call.problem.argument]


class _Strips:
    """A call, strip by strip: sizes that all gradients share, and the steps that they are made of."""

    def __init__(self, call: Call, strip: int, name: str, done: Callable[[str], None]) -> None:
        problem: DeformProblem = call.problem
        conv = problem.conv
        self.problem, self.conv, self.name, self.done = problem, conv, name, done
        self.dtype = _NUMPY[problem.dtype]
        self.threads = max(1, min(call.threads, problem.flops // _FLOPS_PER_THREAD))
        self.c_in, self.c_out = conv.c_in // conv.groups, conv.c_out // conv.groups
        self.tables = problem.offset_groups * problem.taps
        pixels = math.prod(conv.out_spatial)
        rows, cols = np.divmod(np.arange(pixels), conv.out_spatial[1])
        before = [pads[0] for pads in conv.padding]
        self.places = np.stack([rows * conv.stride[0] - before[0], cols * conv.stride[1] - before[1]])
        tap_rows, tap_cols = np.divmod(np.arange(problem.taps), conv.kernel[1])
        self.taps = np.stack([tap_rows * conv.dilation[0], tap_cols * conv.dilation[1]])
        self.strips = [slice(first, min(pixels, first + strip)) for first in range(0, pixels, strip)]
        self.step = deform.VECTOR_BYTES // self.dtype.itemsize
        self.tiles = deform.tiles_of(self.dtype)

    def _share(self, n: int, work: Callable[[int, int], int]) -> None:
        run_tasks(self.name, n, max(1, min(self.threads, n)), work, self.done)

    def _image(self, array: Array | None, n: int, *shape: int) -> Array:
        """Return an image of an array as (shape, pixel), contiguous; of none an empty one."""
        if array is None:
            return np.empty((0, *shape[1:], 0), self.dtype)
        return np.ascontiguousarray(array[n].reshape(*shape, -1))

    def _maps(self, x: Array, n: int) -> Array:
        return np.ascontiguousarray(x[n].reshape(self.conv.c_in, -1).T)

    def _table(self, offset: Array, mask: Array, s: slice, slopes_too: bool) -> tuple[Array, Array, Array]:
        n = s.stop - s.start
        at, weight = np.empty((self.tables, n, 4), np.int64), np.empty((self.tables, n, 4), self.dtype)
        part = np.empty((self.tables, n if slopes_too else 0, 4), self.dtype)
        o, m, places = offset[..., s], mask[..., s], self.places[:, s]

        def work(a: int, b: int) -> int:
            size = self.conv.spatial
            return int(deform.tabulate(o, m, places, self.taps, size, slopes_too, at, weight, part, a, b))

        self._share(n, work)
        return at, weight, part

    def _samples(self, maps: Array, at: Array, weight: Array) -> Array:
        """Return col[group][pixel][tap][channel], with zeros up to whole register tiles."""
        n = at.shape[1]
        rows = -(-n // deform.ROWS) * deform.ROWS
        col = np.empty((self.conv.groups, rows, self.problem.taps, self.c_in), self.dtype)
        col[:, n:] = 0
        groups = self.problem.offset_groups
        self._share(n, lambda a, b: int(deform.sample(maps, at, weight, groups, col, a, b)))
        return col

    def _product(self, a: Array, packed: Array, columns: int) -> Array:
        """Return (row, column): a, of rows in whole register tiles, times a packed matrix."""
        rows, k = a.shape
        vectors = -(-columns // self.step)
        y = deform.aligned(vectors * rows * self.step, self.dtype).reshape(vectors, rows, self.step)
        y[...] = 0
        words = np.concatenate([[0], np.arange(deform.ROWS) * k])
        self._share(rows // deform.ROWS, lambda i, j: int(deform.product(self.tiles, words, a, packed, y, i, j)))
        product: Array = y.transpose(1, 0, 2).reshape(rows, -1)[:, :columns]
        return product

    def _columns(self, packed: Array, grad_output: Array, s: slice) -> Array:
        """Return the gradient of the samples, [group][pixel][tap][channel]."""
        n = s.stop - s.start
        rows = -(-n // deform.ROWS) * deform.ROWS
        columns = np.empty((self.conv.groups, n, self.problem.taps, self.c_in), self.dtype)
        g = np.zeros((rows, self.c_out), self.dtype)
        for group in range(self.conv.groups):
            g[:n] = grad_output[group][:, s].T
            found = self._product(g, packed[group], self.problem.taps * self.c_in)
            columns[group] = found[:n].reshape(n, self.problem.taps, self.c_in)
        return columns

    def forward(self, packed: Packed, x: Array, offset: Array, mask: Array | None, out: Array) -> bool:
        """Convolve."""
        w, bias = packed
        for n in range(self.conv.n):
            maps, o, m = self._maps(x, n), self._offsets(offset, n), self._image(mask, n, self.tables)
            result = np.empty((self.conv.groups, self.c_out, self.places.shape[1]), self.dtype)
            for s in self.strips:
                at, weight, _ = self._table(o, m, s, False)
                col = self._samples(maps, at, weight)
                for group in range(self.conv.groups):
                    found = self._product(col[group].reshape(col.shape[1], -1), w[group], self.c_out)
                    result[group][:, s] = found[: s.stop - s.start].T
            if bias is not None:
                result += bias.reshape(self.conv.groups, self.c_out, 1)
            out[n] = result.reshape(self.conv.out_shape[1:])
        return True

    def _offsets(self, offset: Array, n: int) -> Array:
        return self._image(offset, n, self.tables, 2)

    def _gradients(self, grad_output: Array, n: int) -> Array:
        return self._image(grad_output, n, self.conv.groups, self.c_out)

    def grad_x(self, packed: Packed, grad_output: Array, offset: Array, mask: Array | None, out: Array) -> bool:
        """Scatter columns, some channels a task."""
        blocks = -(-self.conv.c_in // _CHANNELS)
        for n in range(self.conv.n):
            g, o, m = self._gradients(grad_output, n), self._offsets(offset, n), self._image(mask, n, self.tables)
            grad = np.zeros((math.prod(self.conv.spatial), self.conv.c_in), self.dtype)
            for s in self.strips:
                at, weight, _ = self._table(o, m, s, False)
                columns = self._columns(packed[0], g, s)

                def work(a: int, b: int, s: slice = s, at: Array = at, weight: Array = weight, columns: Array = columns,
                         grad: Array = grad) -> int:  # fmt: skip
                    channels = a * _CHANNELS, min(self.conv.c_in, b * _CHANNELS)
                    deform.scatter(columns, at, weight, self.problem.offset_groups, s.stop - s.start, grad, *channels)
                    return b - a

                self._share(blocks, work)
            out[n] = grad.T.reshape(self.conv.x_shape[1:])
        return True

    def grad_w(
        self, packed: Packed, grad_output: Array, x: Array, offset: Array, mask: Array | None, out: Array
    ) -> bool:
        """Sum products of a strip's gradients and samples, strip by strip."""
        rows = -(-self.c_out // deform.ROWS) * deform.ROWS
        columns = self.problem.taps * self.c_in
        total = np.zeros((self.conv.groups, self.c_out, columns), self.dtype)
        for n in range(self.conv.n):
            maps, o, m = self._maps(x, n), self._offsets(offset, n), self._image(mask, n, self.tables)
            grads = self._gradients(grad_output, n)
            for s in self.strips:
                at, weight, _ = self._table(o, m, s, False)
                col = self._samples(maps, at, weight)[:, : s.stop - s.start]
                for group in range(self.conv.groups):
                    g = np.zeros((rows, s.stop - s.start), self.dtype)
                    g[: self.c_out] = grads[group][:, s]
                    w = deform.pack_matrix(col[group].reshape(s.stop - s.start, columns))
                    total[group] += self._product(g, w, columns)[: self.c_out]
        by_tap = total.reshape(self.conv.c_out, self.problem.taps, self.c_in).swapaxes(1, 2)
        out[...] = by_tap.reshape(self.conv.w_shape)
        return True

    def grad_offset(
        self,
        packed: Packed,
        grad_output: Array,
        x: Array,
        offset: Array,
        mask: Array | None,
        out: Array | None,
        grad_mask: Array | None = None,
    ) -> bool:
        """Sum columns times pixels over channels, some pixels a task."""
        for n in range(self.conv.n):
            maps, o, m = self._maps(x, n), self._offsets(offset, n), self._image(mask, n, self.tables)
            g, pixels = self._gradients(grad_output, n), self.places.shape[1]
            d_o = np.empty((0 if out is None else self.tables, 2, pixels), self.dtype)
            d_m = np.empty((0 if grad_mask is None else self.tables, pixels), self.dtype)
            for s in self.strips:
                at, _, part = self._table(o, m, s, True)
                columns = self._columns(packed[0], g, s)
                targets = d_o[..., s], d_m[..., s]

                def work(a: int, b: int, at: Array = at, part: Array = part, columns: Array = columns,
                         maps: Array = maps, targets: tuple[Array, Array] = targets) -> int:  # fmt: skip
                    groups = self.problem.offset_groups
                    return int(deform.slopes(columns, maps, at, part, groups, *targets, a, b))

                self._share(s.stop - s.start, work)
            if out is not None:
                out[n] = d_o.reshape(self.problem.offset_shape[1:])
            if grad_mask is not None:
                grad_mask[n] = d_m.reshape(self.problem.mask_shape[1:])
        return True

    def grad_mask(
        self, packed: Packed, grad_output: Array, x: Array, offset: Array, mask: Array | None, out: Array
    ) -> bool:
        """Return the gradient of the mask alone."""
        return self.grad_offset(packed, grad_output, x, offset, mask, None, out)


@dataclass(frozen=True, slots=True)
class NumbaInterleave(OnNumba):
    """The kernel of kernels/cpu/interleave.py, for one operation."""

    unit: ClassVar[str] = "layers"

    op: str
    dtype: str
    done: Callable[[str], None]
    family: str = "interleave"
    backend: str = "numba"
    preferred: bool = True

    def error_bound(self, problem: ShuffleProblem) -> float:
        """Return 0: elements are moved."""
        return 0.0

    def estimate(self, problem: ShuffleProblem, machine: Machine) -> float:
        """Return seconds by :mod:`pyconv.cost`."""
        return 3 * cost.pool_seconds(problem, machine)

    def workspace(self, call: Call) -> int | None:
        """Return 0: none is needed."""
        return 0

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem: ShuffleProblem = call.problem
        n, r, gather = math.prod(problem.lead), problem.factor, problem.gather
        bits = np.dtype(f"u{ITEM_BYTES[self.dtype]}")
        small_shape = n, problem.c, r, r, problem.h, problem.w
        large_shape = n, problem.c, problem.h, r, problem.w, r
        lines = n * problem.c * problem.h
        shares = int(max(1, min(call.threads, lines, problem.bytes // _BYTES_PER_THREAD)))
        name, done = self.kernel_name, self.done

        def run(packed: Packed, x: Array, out: Array) -> bool:
            small, large = (out, x) if gather else (x, out)
            views = []
            for array, shape in ((small, small_shape), (large, large_shape)):
                view = array.view(bits)
                try:
                    view.shape = shape
                except AttributeError:  # axes in front of the channels that are not one
                    return False
                views.append(view)
            run_tasks(name, lines, shares, lambda a, b: int(interleave.interleave(*views, gather, a, b)), done)
            return True

        return run


def algorithms(done: Callable[[str], None]) -> Iterator[Any]:
    """Every kernel, for each operation and element type; ``done`` notes which one has run."""
    for argument, family in _FAMILIES.items():
        for dtype in _NUMPY:
            op = f"deform_conv2d-grad-{argument}" if argument else "deform_conv2d"
            yield NumbaDeform(op, family, dtype, done)
    for op in ("pixel_shuffle", "pixel_unshuffle"):
        for dtype in DTYPES.values():
            yield NumbaInterleave(op, dtype, done)
