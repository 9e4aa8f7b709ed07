"""A CUDA device in Python, deterministic: runs the undecorated kernels of kernels/cuda/ and raises where one is wrong.

Each thread of a block is a greenlet that runs until it meets a barrier or a word of its warp. What a GPU would do in
silence is an error here: an index outside an array, a value that nobody wrote, a barrier that not all threads reach or
that they reach in different places, a race, an asynchronous copy that was read too early, an int32 that overflows.

Floating-point values are NumPy scalars, so each operation rounds to its type; products and sums do not fuse. Integers
are Python's, and ``int32(...)`` in a kernel checks what a GPU would cut off.
"""

from __future__ import annotations

import contextvars
import math
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import greenlet
import numba
import numpy as np
from numba import cuda as numba_cuda

from pyconv.kernels.cuda import memory

__all__ = ["CudaError", "launch"]

WARP = 32
#: What a block may have on every architecture that the kernels are for.
MAX_THREADS, MAX_SHARED_BYTES = 1024, 48 << 10
_NOBODY = -1
_SEVERAL = -2


class CudaError(Exception):
    """What a GPU would not have told."""


class _Index:
    """A place in a grid or a block, or its size."""

    __slots__ = ("x", "y", "z")

    def __init__(self, x: int = 1, y: int = 1, z: int = 1) -> None:
        self.x, self.y, self.z = x, y, z


class _Thread:
    """One thread of a block: its greenlet, what it waits for, and its copies under way."""

    __slots__ = ("arrays", "begun", "glet", "groups", "index", "lane", "number", "sites", "waits", "warp")

    def __init__(self, number: int, index: _Index, glet: Any) -> None:
        self.number, self.index, self.glet = number, index, glet
        self.warp, self.lane = divmod(number, WARP)
        self.waits: tuple[Any, ...] | None = None
        self.arrays = 0
        self.sites: set[Any] = set()
        self.begun: list[Any] = []
        self.groups: list[list[Any]] = []


class _Memory:
    """A flat array that refuses wrong accesses."""

    __slots__ = ("block", "data", "integer", "name", "size")

    def __init__(self, block: _Block, name: str, data: Any) -> None:
        self.block, self.name, self.data, self.size = block, name, data, len(data)
        self.integer = data.dtype.kind in "iu"

    def place(self, index: Any) -> int:
        """Return the index, which lies inside."""
        found = operator.index(index)
        if not 0 <= found < self.size:
            raise CudaError(f"{self.name}[{found}] is out of bounds: it has {self.size} elements")
        return found

    def read(self, i: int) -> None:
        """Note that the current thread reads an element; raises where it may not."""

    def write(self, i: int, atomic: bool = False) -> None:
        """Note that the current thread writes one."""

    def __getitem__(self, index: Any) -> Any:
        i = self.place(index)
        self.read(i)
        found = self.data[i]
        return int(found) if self.integer else found

    def __setitem__(self, index: Any, value: Any) -> None:
        i = self.place(index)
        self.write(i)
        self.put(i, value)

    def put(self, i: int, value: Any) -> None:
        """Store a value that fits."""
        if self.integer:
            value = operator.index(value)
            limits = np.iinfo(self.data.dtype)
            if not limits.min <= value <= limits.max:
                raise CudaError(f"{value} does not fit {self.name}, which is {self.data.dtype}")
        self.data[i] = value

    def __len__(self) -> int:
        return self.size


class _Global(_Memory):
    """An argument. Threads share no values through global memory: what one writes, no other may read or write."""

    __slots__ = ("writers",)

    def __init__(self, block: _Block, name: str, data: Any) -> None:
        super().__init__(block, name, data)
        self.writers: dict[int, int] = {}

    def read(self, i: int) -> None:
        if self.writers.get(i, self.block.here) != self.block.here:
            raise CudaError(f"race: {self.name}[{i}] is read, and written by another thread")

    def write(self, i: int, atomic: bool = False) -> None:
        who = _SEVERAL if atomic else self.block.here
        if self.writers.setdefault(i, who) != who:
            raise CudaError(f"race: {self.name}[{i}] is written by two threads")


class _Local(_Memory):
    """An array of one thread."""

    __slots__ = ("written",)

    def __init__(self, block: _Block, name: str, data: Any) -> None:
        super().__init__(block, name, data)
        self.written = bytearray(self.size)

    def read(self, i: int) -> None:
        if not self.written[i]:
            raise CudaError(f"{self.name}[{i}] is read before anything was written there")

    def write(self, i: int, atomic: bool = False) -> None:
        self.written[i] = 1


class _Shared(_Memory):
    """An array of a block, with the last writer and readers of each element.

    Two accesses of different threads, one of them a write, are in order where a barrier is between them, or a word of
    the warp that both are in. A stamp is (barriers so far, warp, words of the warp so far, thread).
    """

    __slots__ = ("flying", "readers", "writers")

    def __init__(self, block: _Block, name: str, data: Any) -> None:
        super().__init__(block, name, data)
        self.writers: list[Any] = [None] * self.size
        self.readers: list[Any] = [None] * self.size
        self.flying = bytearray(self.size)

    def _clash(self, stamp: Any, now: Any) -> bool:
        if stamp is None or stamp[0] != now[0] or stamp[3] == now[3]:
            return False
        return stamp[1] != now[1] or stamp[2] == now[2]

    def read(self, i: int) -> None:
        now = self.block.stamp()
        if self.flying[i]:
            raise CudaError(f"{self.name}[{i}] is read while a copy to it is under way")
        if self.writers[i] is None:
            raise CudaError(f"{self.name}[{i}] is read before anything was written there")
        if self._clash(self.writers[i], now):
            raise CudaError(f"race: {self.name}[{i}] is read with no barrier after another thread's write")
        last = self.readers[i]
        if last is not None and last[0] == now[0] and last[3] != now[3]:
            same = last[1] == now[1] and last[2] == now[2]
            now = (now[0], now[1] if same else _SEVERAL, now[2], _SEVERAL)
        self.readers[i] = now

    def write(self, i: int, atomic: bool = False) -> None:
        now = self.block.stamp()
        if atomic:
            now = (*now[:3], -3 - now[0])
        if self.flying[i]:
            raise CudaError(f"{self.name}[{i}] is written while a copy to it is under way")
        if self._clash(self.writers[i], now):
            raise CudaError(f"race: {self.name}[{i}] is written by two threads with no barrier between")
        if self._clash(self.readers[i], now):
            raise CudaError(f"race: {self.name}[{i}] is written with no barrier after another thread's read")
        self.writers[i] = now


class _Block:
    """The block that runs, and the words that its kernel knows."""

    def __init__(self, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        self.grid, self.shape = grid, block
        self.threads: list[_Thread] = []
        self.current: _Thread = _Thread(0, _Index(), None)
        self.shared: list[_Shared] = []
        self.shared_bytes = 0
        self.barriers, self.first = 0, 0
        self.words: dict[int, int] = {}
        self.scheduler = greenlet.getcurrent()
        self.cuda = _Cuda(self)
        self.rebound: dict[Any, Any] = {}

    @property
    def here(self) -> int:
        """Return the current thread's number in the whole grid."""
        return self.first + self.current.number

    def stamp(self) -> tuple[int, int, int, int]:
        """Return when and by whom an access happens."""
        thread = self.current
        return self.barriers, thread.warp, self.words.get(thread.warp, 0), thread.number

    def meet(self, *what: Any) -> Any:
        """Suspend the current thread until those that it waits for have come; return what they agreed on."""
        self.current.waits = what
        return self.scheduler.switch()

    def run(self, function: Callable[..., Any], args: tuple[Any, ...], blocks: int, index: _Index) -> None:
        """Run one block to its end."""
        width, height, depth = self.shape
        size = width * height * depth
        self.first, self.barriers, self.shared, self.shared_bytes = blocks * size, 0, [], 0
        self.words.clear()
        self.cuda.blockIdx = index
        places = [_Index(x, y, z) for z in range(depth) for y in range(height) for x in range(width)]
        self.threads = [_Thread(i, place, greenlet.greenlet(function)) for i, place in enumerate(places)]
        for thread in self.threads:
            thread.glet.gr_context = contextvars.copy_context()  # which has NumPy's way with errors
            self._resume(thread, *args)
        while any(not thread.glet.dead for thread in self.threads):
            answers = self._warps() or self._barrier()
            for thread, answer in answers:
                self._resume(thread, answer)
        for thread in self.threads:
            if thread.begun or thread.groups:
                raise CudaError(f"thread {thread.number} ends without waiting for its copies")

    def _resume(self, thread: _Thread, *values: Any) -> None:
        self.current, thread.waits = thread, None
        self.cuda.threadIdx = thread.index
        thread.glet.switch(*values)

    def _warps(self) -> list[tuple[_Thread, Any]]:
        """Return the threads of warps whose lanes have all come, with the answers they get."""
        found: list[tuple[_Thread, Any]] = []
        for start in range(0, len(self.threads), WARP):
            warp = self.threads[start : start + WARP]
            for first in warp:
                if first.waits is None or first.waits[0] != "warp" or any(first is t for t, _ in found):
                    continue
                _, kind, mask, _ = first.waits[:4]
                lanes = [thread for thread in warp if mask >> thread.lane & 1]
                if first not in lanes:
                    raise CudaError(f"lane {first.lane} calls {kind} with a mask {mask:#x} that leaves it out")
                together = [t for t in lanes if t.waits is not None and t.waits[:3] == first.waits[:3]]
                if len(together) == len(lanes):
                    self.words[start // WARP] = self.words.get(start // WARP, 0) + 1
                    found += zip(lanes, _answers(kind, lanes), strict=True)
        return found

    def _barrier(self) -> list[tuple[_Thread, Any]]:
        """Return all threads where all stand at one barrier; raises where they cannot go on."""
        waiting = [thread for thread in self.threads if thread.waits is not None]
        stuck = [thread for thread in waiting if thread.waits[0] == "warp"]  # type: ignore[index]
        if stuck:
            kind = stuck[0].waits[1]  # type: ignore[index]
            raise CudaError(f"divergent {kind}: lane {stuck[0].lane} of warp {stuck[0].warp} waits for lanes elsewhere")
        sites = {thread.waits[1] for thread in waiting}  # type: ignore[index]
        if len(waiting) != len(self.threads) or len(sites) > 1:
            raise CudaError(
                f"divergent barrier: {len(waiting)} of {len(self.threads)} threads are at one, in {len(sites)} places"
            )
        self.barriers += 1
        return [(thread, None) for thread in waiting]

    def array(self, shape: Any, dtype: Any) -> _Shared:
        """Return the block's array; which one, the number of those that the thread has asked for says."""
        thread, site = self.current, _site(3)
        if site in thread.sites:
            raise CudaError("two shared arrays on one line of source are one array to Numba")
        thread.sites.add(site)
        kind = _type_of(dtype)
        if thread.arrays == len(self.shared):
            self.shared_bytes += int(shape) * kind.itemsize
            if self.shared_bytes > MAX_SHARED_BYTES:
                raise CudaError(f"{self.shared_bytes} bytes of shared memory; a block has {MAX_SHARED_BYTES}")
            name = f"shared array {len(self.shared)}"
            self.shared.append(_Shared(self, name, np.zeros(shape, kind)))
        found = self.shared[thread.arrays]
        if len(found) != shape or found.data.dtype != kind:
            raise CudaError("threads of a block disagree about a shared array")
        thread.arrays += 1
        return found


def _site(depth: int) -> tuple[Any, int]:
    frame = sys._getframe(depth)
    return frame.f_code, frame.f_lineno


def _answers(kind: str, lanes: list[_Thread]) -> list[Any]:
    """Return what each lane gets of a word that all of them have said."""
    values = {thread.lane: thread.waits[3] for thread in lanes}  # type: ignore[index]
    if kind == "syncwarp":
        return [None] * len(lanes)
    if kind in ("all", "any", "ballot", "eq"):
        truths = [bool(value) for value in values.values()]
        ballot = sum(1 << lane for lane, value in values.items() if value)
        common = {"all": all(truths), "any": any(truths), "ballot": ballot, "eq": len(set(truths)) == 1}
        return [common[kind]] * len(lanes)
    if kind == "mma":
        return _mma([values[lane] for lane in range(WARP)])
    found = []
    for thread in lanes:
        by = operator.index(thread.waits[4])  # type: ignore[index]
        at = {"shfl": by % WARP, "up": thread.lane - by, "down": thread.lane + by, "xor": thread.lane ^ by}[kind]
        at = at if 0 <= at < WARP else thread.lane
        if at not in values:
            raise CudaError(f"lane {thread.lane} takes a value from lane {at}, which takes no part")
        found.append(values[at])
    return found


class _Cuda:
    """What a kernel calls ``cuda``."""

    warpsize = WARP

    def __init__(self, block: _Block) -> None:
        self._block = block
        self.blockDim, self.gridDim = _Index(*block.shape), _Index(*block.grid)
        self.threadIdx = self.blockIdx = _Index()
        self.shared = types.SimpleNamespace(array=lambda shape, dtype: block.array(shape, dtype))
        self.local = types.SimpleNamespace(array=self._local)
        self.atomic = types.SimpleNamespace(
            add=lambda array, i, value: self._atomic(array, i, lambda old: old + value),
            max=lambda array, i, value: self._atomic(array, i, lambda old: max(old, value)),
            min=lambda array, i, value: self._atomic(array, i, lambda old: min(old, value)),
        )

    @property
    def laneid(self) -> int:
        return self._block.current.lane

    def _local(self, shape: int, dtype: Any) -> _Local:
        return _Local(self._block, "local array", np.zeros(shape, _type_of(dtype)))

    def _atomic(self, array: _Memory, index: Any, change: Callable[[Any], Any]) -> Any:
        i = array.place(index)
        array.write(i, atomic=True)
        old = array.data[i].item() if array.integer else array.data[i]
        array.put(i, change(old))
        return old

    def grid(self, axes: int) -> Any:
        at = [getattr(self.blockIdx, a) * getattr(self.blockDim, a) + getattr(self.threadIdx, a) for a in "xyz"[:axes]]
        return at[0] if axes == 1 else tuple(at)

    def syncthreads(self) -> None:
        self._block.meet("barrier", _site(2))

    def syncwarp(self, mask: int = 0xFFFFFFFF) -> None:
        self._block.meet("warp", "syncwarp", mask, None)

    def all_sync(self, mask: int, predicate: Any) -> Any:
        return self._block.meet("warp", "all", mask, predicate)

    def any_sync(self, mask: int, predicate: Any) -> Any:
        return self._block.meet("warp", "any", mask, predicate)

    def eq_sync(self, mask: int, predicate: Any) -> Any:
        return self._block.meet("warp", "eq", mask, predicate)

    def ballot_sync(self, mask: int, predicate: Any) -> Any:
        return self._block.meet("warp", "ballot", mask, predicate)

    def shfl_sync(self, mask: int, value: Any, lane: int) -> Any:
        return self._block.meet("warp", "shfl", mask, value, lane)

    def shfl_up_sync(self, mask: int, value: Any, by: int) -> Any:
        return self._block.meet("warp", "up", mask, value, by)

    def shfl_down_sync(self, mask: int, value: Any, by: int) -> Any:
        return self._block.meet("warp", "down", mask, value, by)

    def shfl_xor_sync(self, mask: int, value: Any, by: int) -> Any:
        return self._block.meet("warp", "xor", mask, value, by)


def _type_of(dtype: Any) -> np.dtype[Any]:
    """Return NumPy's word for an element type as a kernel spells it."""
    return np.dtype({_int32: np.int32, int: np.int64}.get(dtype, dtype))


def _int32(value: Any) -> int:
    found = int(value)
    if not -(2**31) <= found < 2**31:
        raise CudaError(f"int32({found}) overflows")
    return found


def _load(array: _Memory, i: Any) -> Any:
    found = array[i]
    if array.data.dtype != np.uint16:
        return found
    return np.float32(np.array(found, np.uint16).view(np.float16))


def _store(array: _Memory, i: Any, value: Any) -> None:
    if array.data.dtype == np.uint16:
        with np.errstate(over="ignore"):
            value = int(np.array(value, np.float16).view(np.uint16))
    array[i] = value


def _move(target: _Memory, to: Any, source: _Memory, at: Any) -> None:
    if target.data.dtype != source.data.dtype:
        raise CudaError(f"{source.name} of {source.data.dtype} is moved to {target.name} of {target.data.dtype}")
    target[to] = source[at]


def _aligned(array: _Memory, i: Any, count: int) -> int:
    if operator.index(i) % count:
        raise CudaError(f"{count} elements at once at {array.name}[{i}]: the index is no multiple of {count}")
    return operator.index(i)


def _load2(array: _Memory, i: Any) -> tuple[Any, ...]:
    at = _aligned(array, i, 2)
    return array[at], array[at + 1]


def _load4(array: _Memory, i: Any) -> tuple[Any, ...]:
    at = _aligned(array, i, 4)
    return tuple(array[at + lane] for lane in range(4))


def _store2(array: _Memory, i: Any, first: Any, second: Any) -> None:
    at = _aligned(array, i, 2)
    array[at], array[at + 1] = first, second


def _copy(block: _Block, count: int, target: Any, to: Any, source: Any, at: Any, inside: Any) -> None:
    """Begin a copy. It may be done at any time from here to the wait, so that both are its writes."""
    if not isinstance(target, _Shared) or not isinstance(source, _Global):
        raise CudaError("asynchronous copies go from global to shared memory")
    to = _aligned(target, to, count)
    if inside:
        _aligned(source, at, count)
    for lane in range(count):
        i = target.place(to + lane)
        value = source[at + lane] if inside else source.data.dtype.type(0)
        target.write(i)
        target.flying[i] = 1
        block.current.begun.append((target, i, value))


def _commit(block: _Block) -> None:
    block.current.groups.append(block.current.begun)
    block.current.begun = []


def _wait(block: _Block, left: int) -> None:
    groups = block.current.groups
    while len(groups) > left:
        for target, i, value in groups.pop(0):
            target.flying[i] = 0
            target.write(i)
            target.data[i] = value


def _tf32(value: Any) -> Any:
    bits = np.array(value, np.float32).view(np.uint32)
    rounded = ((bits.astype(np.uint64) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)[()]
    return rounded if value == value else np.float32(np.nan)


def _mma(lanes: list[Any]) -> list[Any]:
    """Return each lane's part of A B + C, from its parts of the three."""
    a, b, c = np.zeros((16, 8)), np.zeros((8, 8)), np.zeros((16, 8))
    for lane, values in enumerate(lanes):
        for value in values[:6]:
            if value == value and _tf32(value) != value:
                raise CudaError(f"lane {lane} multiplies {value}, which is not rounded to tf32")
        g, t = divmod(lane, 4)
        a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4] = values[:4]
        b[t, g], b[t + 4, g] = values[4:6]
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = values[6:]
    with np.errstate(all="ignore"):
        d = (a @ b + c).astype(np.float32)
    places = [divmod(lane, 4) for lane in range(WARP)]
    return [(d[g, 2 * t], d[g, 2 * t + 1], d[g + 8, 2 * t], d[g + 8, 2 * t + 1]) for g, t in places]


def _quotient(a: Any, b: Any) -> int:
    if a < 0 or b <= 0:
        raise CudaError(f"quotient({a}, {b}) is for a >= 0 and b > 0")
    return _int32(a) // _int32(b)


def _within(index: Any, size: Any) -> bool:
    return 0 <= _int32(index) < _int32(size)


def _rounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of libdevice: in the arguments' type, with infinities and NaN as values."""

    def call(*x: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(*x)

    return call


_MATH = types.SimpleNamespace(
    **{name: _rounded(getattr(np, name)) for name in ("ceil", "exp", "expm1", "floor", "sqrt", "tanh")},
    pow=_rounded(np.power),
    inf=math.inf,
    nan=math.nan,
)


def _stand_ins(block: _Block) -> dict[int, Any]:
    """Return what takes the place of each object that only a GPU's compiler understands."""
    return {
        id(numba_cuda): block.cuda,
        id(math): _MATH,
        id(numba.int32): _int32,
        id(numba.int64): int,
        id(numba.float32): np.float32,
        id(numba.float64): np.float64,
        id(memory.load): _load,
        id(memory.store): _store,
        id(memory.move): _move,
        id(memory.load2): _load2,
        id(memory.load4): _load4,
        id(memory.store2): _store2,
        id(memory.copy_async): lambda *given: _copy(block, 1, *given),
        id(memory.copy2_async): lambda *given: _copy(block, 2, *given),
        id(memory.copy4_async): lambda *given: _copy(block, 4, *given),
        id(memory.commit_copies): lambda: _commit(block),
        id(memory.wait_copies): lambda: _wait(block, 0),
        id(memory.wait_older_copies): lambda: _wait(block, 1),
        id(memory.quotient): _quotient,
        id(memory.within): _within,
        id(memory.product): operator.mul,
        id(memory.tf32): _tf32,
        id(memory.mma_tf32): lambda *values: block.meet("warp", "mma", 0xFFFFFFFF, values),
    }


def _rebind(block: _Block, function: Any, known: dict[int, Any]) -> Any:
    """Return the function with stand-ins for the names it sees, and for those of the functions it calls."""
    if function in block.rebound:
        return block.rebound[function]

    def stand_in(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        inner = getattr(value, "py_func", None)
        return value if inner is None else _rebind(block, inner, known)

    names = {"__builtins__": __builtins__} | {
        name: stand_in(function.__globals__[name])
        for name in function.__code__.co_names
        if name in function.__globals__
    }
    cells = tuple(types.CellType(stand_in(cell.cell_contents)) for cell in function.__closure__ or ())
    found = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, cells or None)
    block.rebound[function] = found
    return found


def launch(kernel: Callable[..., Any], grid: int | tuple[int, ...], block: int | tuple[int, ...], *args: Any) -> None:
    """Run a kernel over a grid; flat NumPy arrays are its global memory, and it writes into them."""

    def three(size: int | tuple[int, ...]) -> tuple[int, int, int]:
        sizes = size if isinstance(size, tuple) else (size,)
        return (*sizes, 1, 1, 1)[:3]  # type: ignore[return-value]

    shape, blocks = three(block), three(grid)
    if math.prod(shape) > MAX_THREADS:
        raise CudaError(f"a block of {math.prod(shape)} threads; {MAX_THREADS} are the limit")
    running = _Block(blocks, shape)
    function = _rebind(running, kernel, _stand_ins(running))

    def argument(i: int, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            assert value.ndim == 1
            return _Global(running, f"argument {i}", value)
        return value

    given = tuple(argument(i, value) for i, value in enumerate(args))
    number = 0
    with np.errstate(all="ignore"):
        for z in range(blocks[2]):
            for y in range(blocks[1]):
                for x in range(blocks[0]):
                    running.run(function, given, number, _Index(x, y, z))
                    number += 1
