"""What every algorithm for NVIDIA GPUs is made of: the machine, memory as kernels see it, and the one way to launch.

Nothing of Numba is imported before a kernel is compiled: that the algorithms exist can be seen, and why they cannot run
here, on a machine without a GPU.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..algorithm import Call, Support
from ..errors import InvalidProblem
from ..kernels.cuda import THREADS
from ..problem import GPU_ELEMENTS, ITEM_BYTES, standard_strides
from .plain import Plain

__all__ = [
    "EPSILON",
    "LAUNCH_S",
    "SHARE",
    "Flat",
    "Gpu",
    "OnCuda",
    "Place",
    "check_contiguous",
    "in_order",
    "last_kernel",
    "machine",
    "peak_seconds",
    "plain_steps",
    "seconds",
    "seconds_of",
    "steps",
    "strides_of",
    "three",
    "why_not",
]

#: Rounding of the sums, by the type of the arrays.
EPSILON = {"f16": 2.0**-24, "f32": 2.0**-24, "f64": 2.0**-53}
#: float16 comes to kernels as its bits.
_STORED: dict[str, np.dtype[Any]] = {
    "f16": np.dtype(np.uint16),
    "f32": np.dtype(np.float32),
    "f64": np.dtype(np.float64),
}
#: A large data-centre GPU as its data sheet has it, of 2020: flops and bytes a second, seconds to launch. Only which
#: family comes first depends on them; nothing was measured.
_PEAK_FLOPS, _BANDWIDTH, LAUNCH_S = 19.5e12, 1.5e12, 5e-6
#: Share of the peak that a family is expected to reach, by what its inner loop loads for each FMA.
SHARE = {"implicit-gemm": 0.6, "implicit-gemm-tf32": 2.0, "depthwise": 0.3, "direct": 0.15, "fft": 0.15}


class Gpu:
    """The machine's GPUs, by numba-cuda. The tests put an emulator in its place."""

    def __init__(self) -> None:
        #: What stays on a GPU, by its number and a word.
        self.kept: dict[tuple[int, Any], Flat] = {}

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
        """Run a kernel over a grid, ``blocks`` of them on a multiprocessor; memory comes as :class:`Flat`."""
        from numba import cuda

        with self.on(gpu):
            compiled = self._compiled(kernel, threads, blocks)
            given = tuple(a.on_gpu() if isinstance(a, Flat) else a for a in arguments)
            compiled[grid, threads, cuda.external_stream(stream) if stream else 0](*given)

    def scratch(self, elements: int, dtype: np.dtype[Any], gpu: int | None) -> Flat:
        """Return memory, contents arbitrary."""
        from numba import cuda

        with self.on(gpu):
            memory = cuda.device_array(max(1, elements), dtype)
        return Flat(memory.__cuda_array_interface__["data"][0], elements, dtype, memory)

    def put(self, flat: Flat, values: Any, gpu: int | None, stream: int) -> None:
        """Copy an array of the host, in the stream's order; the host's may change once this returns."""
        from numba import cuda

        with self.on(gpu):
            flat.on_gpu().copy_to_device(values, cuda.external_stream(stream) if stream else 0)

    def get(self, flat: Flat, gpu: int | None, stream: int) -> int:
        """Wait for the stream and return one integer."""
        from numba import cuda

        with self.on(gpu):
            at = cuda.external_stream(stream) if stream else cuda.default_stream()
            found = flat.on_gpu().copy_to_host(stream=at)
            at.synchronize()
        return int(found[0])

    def wait(self, gpu: int | None, stream: int) -> None:
        """Wait for the stream."""
        from numba import cuda

        with self.on(gpu):
            (cuda.external_stream(stream) if stream else cuda.default_stream()).synchronize()

    def number(self, gpu: int | None) -> int:
        """Return the number of a GPU, of the current one for None."""
        from numba import cuda

        return cuda.get_current_device().id if gpu is None else gpu  # type: ignore[no-untyped-call]

    def on(self, gpu: int | None) -> Any:
        """Return a context in which a GPU is the current one."""
        from numba import cuda

        return cuda.gpus[self.number(gpu)]

    @staticmethod
    @cache
    def _compiled(kernel: Any, threads: int, blocks: int) -> Any:
        from numba import cuda

        # without optimisation at link time: the machine code is that of the PTX which the tests keep budgets of
        jit: Any = cuda.jit
        return jit(kernel, launch_bounds=(threads, blocks), lto=False)


#: Where kernels run.
machine = Gpu()


@dataclass(frozen=True, slots=True)
class Flat:
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


def _flat(array: Any) -> Flat:
    """Return the memory that an array's elements lie in; refuses views over more than kernels count."""
    first, end = array.span()
    dtype = _STORED["f16"] if array.dtype == np.float16 else array.dtype
    elements = (end - first) // dtype.itemsize
    if elements >= GPU_ELEMENTS:
        raise InvalidProblem(
            f"a view of shape {array.shape} over {elements} elements of GPU memory is more than the {GPU_ELEMENTS} "
            "that kernels count; copy it to a contiguous array"
        )
    return Flat(first, elements, dtype, array.owner)


@lru_cache(maxsize=512)
def _kernel(name: str, words: tuple[Any, ...]) -> Any:
    """Return the undecorated kernel ``file.factory`` for these constants, one and the same for the same ones."""
    module, _, factory = name.partition(".")
    return getattr(importlib.import_module(f"..kernels.cuda.{module}", __package__), factory)(*words)


class Place(NamedTuple):
    """A GPU, None for the current one, and the stream that the caller works on."""

    gpu: int | None
    stream: int

    @classmethod
    def of(cls, array: Any) -> Place:
        """Return where an array is."""
        return cls(array.kind.gpu(array.base), array.kind.stream(array.base))

    def launch(
        self,
        name: str,
        words: tuple[Any, ...],
        grid: int,
        *arguments: Any,
        threads: int = THREADS,
        blocks: int = 1,
    ) -> None:
        """Run the kernel ``file.factory`` made for some constants, over a grid of blocks, and do not wait for it.

        Tuples are integers, arrays are flat memory, and None is an array that the kernel does not look at.
        """
        if not grid:
            return
        given: list[Any] = []
        for argument in arguments:
            if isinstance(argument, tuple):
                given.append(tuple(map(np.int32, argument)))
            elif hasattr(argument, "span"):
                given.append(_flat(argument))
            else:
                given.append(np.int32(argument) if isinstance(argument, int) else argument)
        # no array, or one without elements, for which libraries give no address: any other will do
        some = next((a for a in reversed(given) if isinstance(a, Flat) and a.elements), None)
        given = [some if a is None or (isinstance(a, Flat) and not a.elements) else a for a in given]
        machine.launch(_kernel(name, words), grid, threads, blocks, self.gpu, self.stream, tuple(given))

    def run(self, name: str, words: tuple[Any, ...], elements: int, *arguments: Any) -> None:
        """Run a kernel that has one thread an element."""
        self.launch(name, words, -(-elements // THREADS), *arguments)

    def scratch(self, elements: int, dtype: Any) -> Flat:
        """Return memory, contents arbitrary: of an element type by its word, or NumPy's name of one."""
        return machine.scratch(elements, _STORED.get(dtype) or np.dtype(dtype), self.gpu)

    def array(self, shape: tuple[int, ...], dtype: str, like: Any) -> Any:
        """Return scratch memory as a contiguous array beside another one."""
        return in_order(self.scratch(math.prod(shape), dtype), shape, like)

    def put(self, values: Any) -> Flat:
        """Return a copy of an array of the host."""
        values = np.ascontiguousarray(values).reshape(-1)
        found = self.scratch(values.size, values.dtype)
        if values.size:
            machine.put(found, values, self.gpu, self.stream)
        return found

    def keep(self, word: Any, make: Callable[[], Any]) -> Flat:
        """Return the copy of an array of the host that stays on this GPU under a word; waits where it is not there."""
        place = machine.number(self.gpu), word
        found = machine.kept.get(place)
        if found is None:
            found = self.put(make())
            machine.wait(self.gpu, self.stream)  # other streams will read it
            machine.kept[place] = found
        return found

    def get(self, flat: Flat) -> int:
        """Wait for the stream and return one integer."""
        return machine.get(flat, self.gpu, self.stream)


def in_order(memory: Flat, shape: tuple[int, ...], like: Any) -> Any:
    """Return scratch memory as a contiguous array, where ``like`` is."""
    return like.seen_as(shape, standard_strides(shape, False, memory.dtype.itemsize), memory)


def strides_of(array: Any) -> tuple[int, ...]:
    """Return where in its memory an array's first element lies, and its strides, in elements."""
    if array is None:
        return (0,) * 6
    item = array.dtype.itemsize
    start = (array.pointer - array.span()[0]) // item
    return (
        start,
        *(stride // item if size > 1 else 0 for stride, size in zip(array.strides, array.shape, strict=True)),
    )


def steps(*arrays: Any) -> tuple[int, ...]:
    """Return :func:`strides_of` each array along n, c, d, h, w; zeros for None."""
    found: list[int] = []
    for array in arrays:
        start, n, c, *spatial = strides_of(array)
        found += (start, n, c, *(0,) * (3 - len(spatial)), *spatial)
    return tuple(found)


def plain_steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the steps of a contiguous array."""
    n, c, *spatial = (math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return (0, n, c, *(0,) * (3 - len(spatial)), *spatial)


def three(values: tuple[int, ...], rest: int = 1) -> tuple[int, int, int]:
    """Return one value for each of d, h and w."""
    return (*(rest,) * (3 - len(values)), *values)  # type: ignore[return-value]


def check_contiguous(*arrays: Any) -> None:
    """Refuse weights that are not in order in their memory; None stands for one not given."""
    for array in arrays:
        expected = array.dtype.itemsize if array is not None else 0
        for size, stride in zip(reversed(array.shape), reversed(array.strides), strict=True) if expected else ():
            if size > 1 and stride != expected:
                raise InvalidProblem("weights and bias in GPU memory must be contiguous; copy them first")
            expected *= max(1, size)


class _Local(threading.local):
    """The kernel that each Python thread launched last."""

    kernel = ""


_local = _Local()


def last_kernel() -> str:
    """Return the name of the kernel that this thread launched last."""
    return _local.kernel


def why_not(problem: Any, *counts: int) -> str:
    """Return what no kernel can do, or why none can run; ``counts`` are what kernels count besides elements."""
    sizes = [math.prod(a.shape) for a in (*problem.inputs, *problem.outputs)]
    most = max((*sizes, *counts), default=0)
    if most >= GPU_ELEMENTS:
        return (
            f"needs arrays, with their padding, of less than {GPU_ELEMENTS} elements, which are counted in 32 bits; "
            f"here are {most}: call it for a part of the batch, or of another axis, at a time"
        )
    return machine.why_not()


def peak_seconds(flops: float, moved_bytes: float) -> float:
    """Return the longer of arithmetic, at the peak of float32, and of memory."""
    return max(flops / _PEAK_FLOPS, moved_bytes / _BANDWIDTH)


def seconds(problem: Any, share: float) -> float:
    """Return the longer of arithmetic and memory, and a launch."""
    return seconds_of(problem.flops, problem.bytes, problem.dtype, share)


def seconds_of(flops: float, n_bytes: float, dtype: str, share: float) -> float:
    """Return :func:`seconds` of so many flops, at a share of the peak, and bytes."""
    return peak_seconds(flops / (share * (0.5 if dtype == "f64" else 1.0)), n_bytes) + LAUNCH_S


@dataclass(frozen=True, slots=True)
class OnCuda(Plain):
    """A kernel of kernels/cuda/, as ``unit_family_dtype__cuda``."""

    #: The first word of the kernel's name.
    unit: ClassVar[str]

    op: str
    family: str
    dtype: str
    backend: str = "cuda"
    preferred: bool = True

    @property
    def id(self) -> str:
        """Return op.family.dtype@cuda."""
        return f"{self.op}.{self.family}.{self.dtype}@cuda"

    @property
    def kernel_name(self) -> str:
        """Return what :func:`last_kernel` says after this algorithm has run."""
        return f"{self.unit}_{self.family.replace('-', '_')}_{self.dtype}__cuda"

    def supports(self, problem: Any) -> Support:
        """Whether a kernel can do it here."""
        return Support(why_not(problem))

    def workspace(self, call: Call) -> int | None:
        """Return 0: there is no scratch in host memory."""
        return 0

    def estimate(self, problem: Any, machine: Any) -> float:
        """Return seconds of a nominal GPU."""
        return seconds(problem, SHARE["direct"])

    def done(self) -> bool:
        """Note that the kernel was launched."""
        _local.kernel = self.kernel_name
        return True

    @property
    def item(self) -> int:
        """Return the bytes of an element."""
        return ITEM_BYTES[self.dtype]

    @property
    def real(self) -> Any:
        """Return Numba's type of the sums."""
        import numba

        return numba.float64 if self.dtype == "f64" else numba.float32

    def number(self, value: float) -> Any:
        """Return a number of the sums' type."""
        return np.float64(value) if self.dtype == "f64" else np.float32(value)
