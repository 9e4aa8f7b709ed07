"""The Numba kernels for NVIDIA GPUs as algorithms, on arrays in GPU memory.

Nothing of Numba is imported before a kernel is compiled: that the algorithms exist can be seen, and why they cannot run
here, on a machine without a GPU.
"""

from __future__ import annotations

import importlib.util
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np

from ..algorithm import Call, Packed, Runner, Support
from ..cost import Machine
from ..errors import InvalidProblem
from ..problem import FLOATS, ITEM_BYTES, ConvProblem, PoolProblem
from . import pooling, summation
from .plain import Plain

__all__ = ["Gpu", "algorithms", "last_kernel"]

#: Rounding of the sums, by the type of the arrays.
_EPSILON = {"f16": 2.0**-24, "f32": 2.0**-24, "f64": 2.0**-53}
_NUMPY: dict[str, np.dtype[Any]] = {
    "f16": np.dtype(np.float16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}
#: What float16 comes to kernels as.
_BITS: np.dtype[Any] = np.dtype(np.uint16)
#: Elements that kernels count in 32 bits; a block beyond the end of the largest array still fits.
_MOST_ELEMENTS = (1 << 31) - (1 << 20)
#: A large data-centre GPU as its data sheet has it, of 2020: flops and bytes a second, seconds to launch. Only which
#: family comes first depends on them; nothing was measured.
_PEAK_FLOPS, _BANDWIDTH, _LAUNCH_S = 19.5e12, 1.5e12, 5e-6
#: Share of the peak that a family is expected to reach, by what its inner loop loads for each FMA.
_SHARE = {"implicit-gemm": 0.6, "depthwise": 0.3, "direct": 0.15}


class Gpu:
    """The machine's GPUs, by numba-cuda. The tests put an emulator in its place."""

    def is_installed(self) -> bool:
        """Whether kernels could be compiled, if there were a GPU."""
        return importlib.util.find_spec("numba_cuda") is not None

    def why_not(self) -> str:
        """Return why no kernel can run here; empty where one can."""
        import ctypes

        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "no GPU: its driver (libcuda.so.1) is not installed"
        return ""

    def launch(
        self,
        kernel: Any,
        grid: int,
        threads: int,
        blocks: int,
        gpu: int | None,
        stream: int,
        arguments: tuple[Any, ...],
    ) -> None:
        """Run a kernel over a grid, ``blocks`` of them on a multiprocessor; memory comes as :class:`_Flat`."""
        from numba import cuda

        with self._on(gpu):
            compiled = self._compiled(kernel, threads, blocks)
            given = tuple(a.on_gpu() if isinstance(a, _Flat) else a for a in arguments)
            compiled[grid, threads, cuda.external_stream(stream) if stream else 0](*given)

    def scratch(self, elements: int, dtype: np.dtype[Any], gpu: int | None) -> _Flat:
        """Return memory, contents arbitrary."""
        from numba import cuda

        with self._on(gpu):
            memory = cuda.device_array(max(1, elements), dtype)
        return _Flat(memory.__cuda_array_interface__["data"][0], elements, dtype, memory)

    def put(self, flat: _Flat, value: int, gpu: int | None, stream: int) -> None:
        """Set one integer, in the stream's order."""
        from numba import cuda

        with self._on(gpu):
            flat.on_gpu().copy_to_device(np.array([value], flat.dtype), cuda.external_stream(stream) if stream else 0)

    def get(self, flat: _Flat, gpu: int | None, stream: int) -> int:
        """Wait for the stream and return one integer."""
        from numba import cuda

        with self._on(gpu):
            at = cuda.external_stream(stream) if stream else cuda.default_stream()
            found = flat.on_gpu().copy_to_host(stream=at)
            at.synchronize()
        return int(found[0])

    @staticmethod
    def _on(gpu: int | None) -> Any:
        from numba import cuda

        number = cuda.get_current_device().id if gpu is None else gpu  # type: ignore[no-untyped-call]
        return cuda.gpus[number]

    @staticmethod
    @cache
    def _compiled(kernel: Any, threads: int, blocks: int) -> Any:
        from numba import cuda

        # without optimisation at link time: the machine code is that of the PTX which the tests keep budgets of
        jit: Any = cuda.jit
        return jit(kernel, launch_bounds=(threads, blocks), lto=False)


#: Where kernels run.
gpu = Gpu()


@dataclass(frozen=True, slots=True)
class _Flat:
    """A run of GPU memory as kernels see it: from an address on, so many elements. Keeps its owner alive."""

    pointer: int
    elements: int
    dtype: np.dtype[Any]
    owner: Any

    def on_gpu(self) -> Any:
        """Return Numba's array over it."""
        from numba import cuda

        interface = {
            "shape": (self.elements,),
            "strides": None,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "version": 3,
            "stream": None,
        }
        return cuda.from_cuda_array_interface(interface, owner=self.owner)


def _flat(array: Any) -> _Flat:
    """Return the memory that an array's elements lie in."""
    first, end = array.span()
    dtype = _BITS if array.dtype == np.float16 else array.dtype
    return _Flat(first, (end - first) // dtype.itemsize, dtype, array.base)


def _steps(array: Any, item: int) -> tuple[int, ...]:
    """Return where in its memory an array's first element lies, and its strides along n, c, d, h, w, in elements."""
    start = (array.pointer - array.span()[0]) // item
    n, c, *spatial = (
        stride // item if size > 1 else 0 for stride, size in zip(array.strides, array.shape, strict=True)
    )
    return (start, n, c, *(0,) * (3 - len(spatial)), *spatial)


def _three(values: tuple[int, ...], rest: int = 1) -> tuple[int, int, int]:
    """Return one value for each of d, h and w."""
    return (*(rest,) * (3 - len(values)), *values)  # type: ignore[return-value]


def _integers(*values: int) -> tuple[np.int32, ...]:
    """Return values as kernels take them."""
    return tuple(map(np.int32, values))


class _Local(threading.local):
    """The kernel that each Python thread launched last."""

    kernel = ""


_local = _Local()


def last_kernel() -> str:
    """Return the name of the kernel that this thread launched last."""
    return _local.kernel


def _why_not(problem: ConvProblem | PoolProblem) -> str:
    """Return what no kernel can do, or why none can run."""
    sizes = [math.prod(a.shape) for a in (*problem.inputs, *problem.outputs)]
    if isinstance(problem, ConvProblem):
        sizes.append(math.prod(problem.w_shape))
        sizes.append(problem.n * problem.c_in * math.prod(_padded(problem)))
    sizes += [size * max(problem.stride) for size in _padded(problem)] if problem.rank else []
    if max(sizes, default=0) >= _MOST_ELEMENTS:
        return f"needs arrays, with their padding, of less than {_MOST_ELEMENTS} elements"
    return gpu.why_not()


def _padded(problem: ConvProblem | PoolProblem) -> list[int]:
    return [size + sum(pad) for size, pad in zip(problem.spatial, problem.padding, strict=True)]


def _fits(arrays: tuple[Any, ...]) -> None:
    """Refuse views whose elements lie too far apart to be counted."""
    for array in arrays:
        if array is not None and array.span()[1] - array.span()[0] >= _MOST_ELEMENTS * array.dtype.itemsize:
            raise InvalidProblem(
                f"a view over {array.span()[1] - array.span()[0]} bytes of GPU memory is more than the kernels count; "
                "copy it to a contiguous array"
            )


@dataclass(frozen=True, slots=True)
class _Cuda(Plain):
    """What all of them have in common."""

    op: str
    family: str
    dtype: str
    backend: str = "cuda"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@cuda."""
        return f"{self.op}.{self.family}.{self.dtype}@cuda"

    def workspace(self, call: Call) -> int | None:
        """Return 0: there is no scratch in host memory."""
        return 0

    def _real(self) -> Any:
        """Return Numba's type of the sums."""
        import numba

        return numba.float64 if self.dtype == "f64" else numba.float32

    def _number(self, value: float) -> Any:
        return np.float64(value) if self.dtype == "f64" else np.float32(value)


def _seconds(problem: Any, share: float) -> float:
    """Return the longer of arithmetic and memory, and a launch."""
    rate = _PEAK_FLOPS * share * (0.5 if problem.dtype == "f64" else 1.0)
    return float(max(problem.flops / rate, problem.bytes / _BANDWIDTH) + _LAUNCH_S)


@dataclass(frozen=True, slots=True)
class CudaConv(_Cuda):
    """A convolution kernel of kernels/cuda/."""

    @property
    def kernel_name(self) -> str:
        """Return what :func:`last_kernel` says after this algorithm has run."""
        return f"conv_{self.family.replace('-', '_')}_{self.dtype}__cuda"

    def supports(self, problem: ConvProblem) -> Support:
        """Whether the kernel can do it."""
        if problem.padding_mode != "zeros":
            return Support("knows no border but zeros")
        found = summation.supports(problem, self.family, 1)
        if not found:
            return found
        if self.family == "depthwise" and not _fits_registers(problem):
            return Support("needs a kernel whose rows fit a thread's registers")
        return Support(_why_not(problem))

    def estimate(self, problem: ConvProblem, machine: Machine) -> float:
        """Return seconds of a nominal GPU; the launches of one kernel, or of two where weights are packed."""
        again = _LAUNCH_S if self.family == "implicit-gemm" else 0.0
        share = _SHARE[self.family]
        if self.family == "implicit-gemm":
            # a tile's rows that have no channel are computed all the same
            c_out = problem.c_out // problem.groups
            rows = _tile_of(problem).bm
            share *= c_out / (-(-c_out // rows) * rows)
        return _seconds(problem, share) + again

    def error_bound(self, problem: ConvProblem) -> float:
        """(K + 2) eps for K products summed in one order, the bias and the residual."""
        return (problem.reduction + 2) * _EPSILON[self.dtype]

    def prepare(self, problem: ConvProblem, *weights: Any) -> Packed:
        """Return the weights and the bias as they are."""
        return weights

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory, which launches and does not wait."""
        problem, name = call.problem, self.kernel_name
        item = ITEM_BYTES[self.dtype]
        kernel, grid, threads, blocks, sizes = self._launch_of(problem)
        slope = self._number(problem.slope)
        taps = math.prod(problem.kernel)

        def run(packed: Packed, x: Any, residual: Any, out: Any) -> bool:
            from ..kernels.cuda import implicit_gemm

            w, bias = packed
            _fits((x, w, residual, out))
            where, stream = x.kind.gpu(x.base), x.kind.stream(x.base)
            target = _flat(out)
            weights = _contiguous(w, where, stream)
            groups, c_out = problem.groups, problem.c_out // problem.groups
            if self.family == "implicit-gemm":
                rows, reduction = implicit_gemm.packed_rows(c_out), problem.reduction
                ordered = gpu.scratch(groups * rows * reduction, _NUMPY[self.dtype], where)
                arguments = weights, ordered, *_integers(c_out, reduction, rows, groups)
                count = -(-groups * rows * reduction // implicit_gemm.PACK_THREADS)
                gpu.launch(implicit_gemm.pack_weights, count, implicit_gemm.PACK_THREADS, 1, where, stream, arguments)
                weights = ordered
            steps = _steps(x, item), (0,) * 6 if residual is None else _steps(residual, item), _steps(out, item)
            arguments = (
                sizes,
                _integers(*(step for array in steps for step in array)),
                slope,
                _flat(x) if problem.c_in and taps and 0 not in x.shape else target,
                weights if weights.elements else target,
                target if bias is None else _contiguous(bias, where, stream),
                target if residual is None else _flat(residual),
                target,
            )
            gpu.launch(kernel, grid, threads, blocks, where, stream, arguments)
            _local.kernel = name
            return True

        return run

    def _launch_of(self, problem: ConvProblem) -> tuple[Any, int, int, int, tuple[np.int32, ...]]:
        """Return the kernel, its grid, its block, how many of these share a multiprocessor, and its sizes."""
        from ..kernels.cuda import depthwise, direct, implicit_gemm

        n, groups = problem.n, problem.groups
        c_in, c_out = problem.c_in // groups, problem.c_out // groups
        x, taps, out = _three(problem.spatial), _three(problem.kernel), _three(problem.out_spatial)
        stride, dilation = _three(problem.stride), _three(problem.dilation)
        before = _three(tuple(pad for pad, _ in problem.padding), 0)
        epilogue = problem.activation, problem.bias, problem.residual
        real, pixels = self._real(), n * math.prod(out)
        sizes: tuple[int, ...]
        if self.family == "implicit-gemm":
            tile = _tile_of(problem)
            kernel = _kernel("implicit_gemm", real, taps, stride, dilation, tile, *epilogue)
            grid = implicit_gemm.blocks_implicit_gemm(tile, pixels, c_out, groups)
            sizes = n, c_in, c_out, *x, *out, *before, implicit_gemm.packed_rows(c_out)
            return kernel, grid, tile.threads, tile.blocks if self.dtype == "f32" else 1, _integers(*sizes)
        if self.family == "depthwise":
            kernel = _kernel("depthwise", real, taps[1], stride[1], dilation[1], *epilogue)
            grid = depthwise.blocks_depthwise(n, problem.c_out, out)
            sizes = (n, groups, c_out, *x, taps[0], taps[2], *out, stride[0], stride[2], dilation[0], dilation[2])
            return kernel, grid, depthwise.THREADS, 1, _integers(*sizes, *before)
        kernel = _kernel("direct", real, *epilogue)
        sizes = n, c_in, c_out, *x, *taps, *out, *stride, *dilation, *before
        return kernel, direct.blocks_direct(pixels, c_out, groups), direct.THREADS, 1, _integers(*sizes)


@lru_cache(maxsize=256)
def _kernel(family: str, *words: Any) -> Any:
    """Return the undecorated kernel of a family for these constants, one and the same for the same ones."""
    from ..kernels.cuda import depthwise, direct, implicit_gemm, pool

    makers: dict[str, Any] = {
        "direct": direct.conv_direct,
        "depthwise": depthwise.conv_depthwise,
        "implicit_gemm": implicit_gemm.conv_implicit_gemm,
        "max_pool": pool.max_pool,
        "avg_pool": pool.avg_pool,
        "grad_avg": pool.grad_avg,
        "grad_max": pool.grad_max,
        "grad_max_anywhere": pool.grad_max_anywhere,
        "check_indices": pool.check_indices,
    }
    return makers[family](*words)


def _fits_registers(problem: ConvProblem) -> bool:
    """Whether the depthwise kernel unrolls."""
    from ..kernels.cuda import depthwise

    kh, stride, dilation = _three(problem.kernel)[1], _three(problem.stride)[1], _three(problem.dilation)[1]
    return bool(kh <= depthwise.MAX_ROWS and depthwise.span_of(kh, stride, dilation) <= depthwise.MAX_SPAN)


def _tile_of(problem: ConvProblem) -> Any:
    """Return the largest tile whose rows the channels fill by half, and of which there are enough for a GPU."""
    from ..kernels.cuda import implicit_gemm

    c_out, pixels = problem.c_out // problem.groups, problem.n * math.prod(problem.out_spatial)
    long = problem.residual or problem.activation in implicit_gemm.LONG_ACTIVATIONS
    for tile in implicit_gemm.TILES.values():
        if long and tile.tm * tile.tn > implicit_gemm.MOST_SUMS:
            continue
        grid = implicit_gemm.blocks_implicit_gemm(tile, pixels, c_out, problem.groups)
        if 2 * c_out > tile.bm and grid >= 2 * _PROCESSORS:
            return tile
    return tile


#: Multiprocessors of a large GPU: fewer blocks than two for each leave some of them idle.
_PROCESSORS = 108


def _contiguous(array: Any, where: int | None, stream: int) -> _Flat:
    """Return an array's memory, which has to be in order."""
    expected = array.dtype.itemsize
    for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if size > 1 and stride != expected:
            raise InvalidProblem("weights and bias in GPU memory must be contiguous; copy them first")
        expected *= max(1, size)
    return _flat(array)


@dataclass(frozen=True, slots=True)
class CudaPool(_Cuda):
    """A pooling kernel of kernels/cuda/."""

    @property
    def kernel_name(self) -> str:
        """Return what :func:`last_kernel` says after this algorithm has run."""
        return f"pool_{self.family}_{self.dtype}__cuda"

    def supports(self, problem: PoolProblem) -> Support:
        """Whether the kernel can do it."""
        if self.op.startswith("max") and problem.gradient and not problem.indices and _has_empty_windows(problem):
            return Support("needs the indices where a window holds no element of x")
        return Support(_why_not(problem))

    def estimate(self, problem: PoolProblem, machine: Machine) -> float:
        """Return seconds of a nominal GPU."""
        return _seconds(problem, _SHARE["direct"])

    def error_bound(self, problem: PoolProblem) -> float:
        """Return that of sums."""
        return pooling.error_bound(problem, _EPSILON[self.dtype])

    def compile(self, call: Call) -> Runner:
        """Return a function of arrays in GPU memory; it waits only to look at indices that the caller gave."""
        problem, name, real, last = call.problem, self.kernel_name, self._real(), call.problem.channels_last
        item = ITEM_BYTES[self.dtype]
        average = problem.kind == "avg"
        before = _three(tuple(pad for pad, _ in problem.padding), 0)
        after = _three(tuple(pad for _, pad in problem.padding), 0)
        window = _three(problem.kernel), _three(problem.out_spatial), _three(problem.stride)
        shape = problem.n, problem.c, *_three(problem.spatial), *(size for axis in window for size in axis)
        sizes = _integers(*shape, *(() if average else _three(problem.dilation)), *before, *(after if average else ()))
        elements = {True: math.prod(problem.x_shape), False: math.prod(problem.out_shape)}
        divisor = self._number(problem.divisor or 0)
        words = problem.count_include_pad, problem.divisor is not None, last

        def launch(kernel: Any, of_x: bool, like: Any, *arguments: Any) -> None:
            from ..kernels.cuda import pool

            where, stream = like.kind.gpu(like.base), like.kind.stream(like.base)
            grid = pool.blocks_pool(elements[of_x])
            gpu.launch(kernel, grid, pool.THREADS, 1, where, stream, (sizes, *arguments))

        def steps(*arrays: Any) -> tuple[np.int32, ...]:
            found = [(0,) * 6 if a is None else _steps(a, a.dtype.itemsize) for a in arrays]
            return _integers(*(step for array in found for step in array))

        def forward(packed: Packed, x: Any, out: Any, indices: Any = None) -> bool:
            _fits((x, out, indices))
            if average:
                kernel = _kernel("avg_pool", real, *words)
                launch(kernel, False, x, steps(x, out), divisor, _flat(x), _flat(out))
            else:
                kernel = _kernel("max_pool", real, indices is not None, last)
                at = _flat(out) if indices is None else _flat(indices)
                launch(kernel, False, x, steps(x, out, indices), _flat(x), _flat(out), at)
            _local.kernel = name
            return True

        def average_gradient(packed: Packed, grad_output: Any, out: Any) -> bool:
            _fits((grad_output, out))
            kernel = _kernel("grad_avg", real, *words)
            launch(kernel, True, out, steps(grad_output, out), divisor, _flat(grad_output), _flat(out))
            _local.kernel = name
            return True

        def maximum_gradient(packed: Packed, grad_output: Any, x: Any, indices: Any, out: Any) -> bool:
            from ..kernels.cuda import pool

            _fits((grad_output, x, indices, out))
            where, stream = out.kind.gpu(out.base), out.kind.stream(out.base)
            word = "grad_max"
            if indices is not None:
                at, of_indices = _flat(indices), _steps(indices, 8)
                found = gpu.scratch(1, np.dtype(np.int32), where)
                gpu.put(found, pool.INSIDE, where, stream)
                launch(_kernel("check_indices", last), False, out, _integers(*of_indices), at, found)
                state = gpu.get(found, where, stream)
                if state == pool.OUTSIDE:
                    raise InvalidProblem(pooling.bad_index(problem))
                word = "grad_max" if state == pool.INSIDE else "grad_max_anywhere"
            else:
                count = elements[False]
                at, values = (gpu.scratch(count, dtype, where) for dtype in (np.dtype(np.int64), _stored(self.dtype)))
                of_indices = _plain_steps(problem.out_shape)
                more = _integers(*_steps(x, item), *of_indices, *of_indices)
                launch(_kernel("max_pool", real, True, last), False, out, more, _flat(x), values, at)
            more = _integers(*_steps(grad_output, item), *of_indices, *_steps(out, item))
            launch(_kernel(word, real, last), True, out, more, _flat(grad_output), at, _flat(out))
            _local.kernel = name
            return True

        if not problem.gradient:
            return forward
        return average_gradient if average else maximum_gradient


def _stored(dtype: str) -> np.dtype[Any]:
    return _BITS if dtype == "f16" else _NUMPY[dtype]


def _plain_steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the steps of a contiguous array."""
    n, c, *spatial = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return (0, n, c, *(0,) * (3 - len(spatial)), *spatial)


def _has_empty_windows(problem: PoolProblem) -> bool:
    """Whether a window has no tap in x."""
    for size, out, k, stride, dilation, (before, _) in zip(
        problem.spatial, problem.out_spatial, problem.kernel, problem.stride, problem.dilation, problem.padding,
        strict=True,
    ):  # fmt: skip
        for o in range(out):
            start = o * stride - before
            first = start + max(0, -(start // dilation)) * dilation
            if first >= min(size, start + k * dilation):
                return True
    return False


def algorithms() -> Iterator[CudaConv | CudaPool]:
    """Every kernel, for each operation and element type."""
    if not gpu.is_installed():
        raise ImportError("numba-cuda is not installed; pip install 'pyconv-kernels[cuda]'")
    for rank in (1, 2, 3):
        for dtype in FLOATS:
            for family in ("direct", "depthwise", *(("implicit-gemm",) if dtype != "f16" else ())):
                yield CudaConv(f"conv{rank}d", family, dtype)
            for kind in ("max", "avg"):
                yield CudaPool(f"{kind}_pool{rank}d", "gather", dtype)
                yield CudaPool(f"{kind}_pool{rank}d-grad-x", "gather", dtype)
