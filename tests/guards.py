"""Hostile surroundings for a kernel: guarded scratch, guard pages, and proof of which kernel ran."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from collections.abc import Iterator

import numpy as np

import pyconv
from pyconv.algorithm import Algorithm

_GUARD_BYTES = 4096
_GUARD = 0x5C


def last_kernel(algorithm: Algorithm) -> str | None:
    """What the kernel of this backend that ran last calls itself; the reference has no kernel to ask."""
    if algorithm.backend == "c":
        from pyconv.backends import c

        return c.last_kernel()
    if algorithm.backend == "numba":
        from pyconv.backends import numba_cpu

        return numba_cpu.last_kernel()
    return None


def forget_last_kernel(algorithm: Algorithm) -> None:
    """Run another kernel of the backend, so that the name read next is news and not left over from an earlier call."""
    if algorithm.backend == "numpy":
        return
    where, dtype = ("c-baseline", "f64") if algorithm.backend == "c" else ("numba", "f64")
    if algorithm.dtype == dtype:
        dtype = "f32"
    x = np.ones((1, 1, 4), {"f32": np.float32, "f64": np.float64}[dtype])
    pyconv.conv1d(x, x[..., :1], algorithm=f"direct.{dtype}@{where}")
    assert last_kernel(algorithm) == f"conv_direct_{dtype}__{where.removeprefix('c-')}"


@contextlib.contextmanager
def guarded_scratch(algorithm: Algorithm, fill: int) -> Iterator[None]:
    """Give the algorithm exactly the scratch it asks for, every byte ``fill``, between two guards.

    0xA5 makes small finite numbers and absurd offsets, 0xFF makes NaN: a sum that takes in what nobody wrote shows in
    one or the other.
    """
    buffers: list[tuple[np.ndarray, int, int]] = []

    def prepared(size: int) -> tuple[np.ndarray, int]:
        buffer = np.full(size + 2 * _GUARD_BYTES + 64, fill, dtype=np.uint8)
        start = _GUARD_BYTES + -(buffer.ctypes.data + _GUARD_BYTES) % 64
        buffer[:start] = _GUARD
        buffer[start + size :] = _GUARD
        buffers.append((buffer, start, size))
        return buffer, start

    with contextlib.ExitStack() as undo:
        if algorithm.backend == "c":
            from pyconv.backends import c

            def scratch(size: int) -> object:
                buffer, start = prepared(size)
                return c.ffi.from_buffer(buffer) + start

            original = c.scratch
            c.scratch = scratch  # type: ignore[assignment]
            undo.callback(setattr, c, "scratch", original)
        elif algorithm.backend == "numba":
            from pyconv.backends import numba_cpu

            def array(size: int) -> np.ndarray:
                buffer, start = prepared(size)
                return buffer[start : start + size]

            numba_cpu._local.scratch = array  # type: ignore[method-assign]
            undo.callback(delattr, numba_cpu._local, "scratch")
        yield
    for buffer, start, size in buffers:
        assert (buffer[:start] == _GUARD).all(), f"{algorithm.id} wrote before its scratch"
        assert (buffer[start + size :] == _GUARD).all(), f"{algorithm.id} wrote behind its scratch of {size} bytes"


def between_guards(elements: int, dtype: np.dtype, at_end: bool) -> np.ndarray:
    """Memory for so many elements that ends exactly where unreadable memory begins (or begins where it ends)."""
    page = mmap.PAGESIZE
    n_bytes = elements * dtype.itemsize
    pages = -(-n_bytes // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    start = page + (pages * page - n_bytes if at_end else 0)
    inside = np.frombuffer(memory, dtype, elements, start)
    for address in (base, base + (pages + 1) * page):
        assert protect(address, page, 0) == 0
    return inside


def copy_between_guards(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A contiguous copy of the array in such memory."""
    copy = between_guards(array.size, array.dtype, at_end).reshape(array.shape)
    copy[...] = array
    return copy


def view_between_guards(
    shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype, at_end: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A view with these strides, in elements and of any sign, whose outermost elements touch the guards; its memory."""
    reach = [stride * (size - 1) for size, stride in zip(shape, strides, strict=True)]
    before = -sum(r for r in reach if r < 0)
    memory = between_guards(before + sum(r for r in reach if r > 0) + 1, dtype, at_end)
    byte_strides = tuple(stride * dtype.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(memory[before:], shape, byte_strides), memory


def restride(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same values in other memory: axes permuted, some reversed, gaps between elements."""
    order = rng.permutation(array.ndim)
    steps = [int(rng.choice((1, 1, 2, 3))) * int(rng.choice((1, 1, -1))) for _ in order]
    big = np.full([n * abs(s) for n, s in zip(np.array(array.shape)[order], steps, strict=True)], np.nan, array.dtype)
    view = big[tuple(slice(None, None, s) for s in steps)].transpose(np.argsort(order))
    view[...] = array
    return view


def untouched_memory(elements: int, dtype: type) -> np.ndarray:
    """Zeros that cost no memory until they are written, more than the machine may have; OSError where refused."""
    no_reserve = getattr(mmap, "MAP_NORESERVE", 0x4000)  # the constant has a name from Python 3.13 on
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | no_reserve
    return np.frombuffer(mmap.mmap(-1, elements * np.dtype(dtype).itemsize, flags=flags), dtype)
