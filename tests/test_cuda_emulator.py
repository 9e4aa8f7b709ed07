"""The emulator itself: it computes what a GPU would, and says what a GPU would not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("greenlet", reason="the emulator's threads are greenlets: pip install greenlet")
pytest.importorskip("numba", reason="the kernels' words are Numba's: pip install numba")
cuda = pytest.importorskip("numba.cuda", reason="Numba's CUDA target is not there: pip install numba-cuda")

from cuda_emulator import CudaError, launch  # noqa: E402
from numba import float32, int32  # noqa: E402

from pyconv.kernels.cuda.memory import (  # noqa: E402
    commit_copies,
    copy4_async,
    copy_async,
    load,
    load4,
    quotient,
    store,
    wait_copies,
)

SIZE = 64
FULL = 0xFFFFFFFF


def reverse(x: Any, y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    t, first = cuda.threadIdx.x, cuda.blockIdx.x * SIZE
    tile[t] = x[first + t]
    cuda.syncthreads()
    y[first + t] = tile[SIZE - 1 - t]


def test_blocks_share_memory() -> None:
    x = np.arange(3 * SIZE, dtype=np.float32)
    y = np.full_like(x, np.nan)
    launch(reverse, 3, SIZE, x, y)
    np.testing.assert_array_equal(y, x.reshape(3, SIZE)[:, ::-1].ravel())


def test_grids_and_blocks_have_three_axes() -> None:
    def number(y: Any) -> None:
        i, b = cuda.threadIdx, cuda.blockIdx
        block = (b.z * cuda.gridDim.y + b.y) * cuda.gridDim.x + b.x
        inside = (i.z * cuda.blockDim.y + i.y) * cuda.blockDim.x + i.x
        y[block * 24 + inside] = block * 24 + inside

    y = np.full(6 * 24, -1, np.int32)
    launch(number, (1, 2, 3), (4, 3, 2), y)
    np.testing.assert_array_equal(y, np.arange(6 * 24))


def test_words_of_a_warp() -> None:
    def words(x: Any, sums: Any, votes: Any, others: Any) -> None:
        t = cuda.threadIdx.x
        total = x[t]
        for step in (16, 8, 4, 2, 1):
            total += cuda.shfl_down_sync(FULL, total, step)
        if t % 32 == 0:
            sums[t // 32] = total
        votes[t] = cuda.ballot_sync(FULL, x[t] > 40)
        others[2 * t] = cuda.shfl_xor_sync(FULL, t, 1)
        others[2 * t + 1] = cuda.shfl_sync(FULL, t, 5) + cuda.any_sync(FULL, t == 40) + 2 * cuda.all_sync(FULL, t < 32)

    x = np.arange(64, dtype=np.float32)
    sums, votes, others = np.zeros(2, np.float32), np.zeros(64, np.int64), np.zeros(128, np.int32)
    launch(words, 1, 64, x, sums, votes, others)
    assert sums.tolist() == [496, 1520]
    assert set(votes[:32]) == {0}
    assert set(votes[32:]) == {0xFFFFFE00}
    np.testing.assert_array_equal(others[::2], np.arange(64) ^ 1)
    assert set(others[1:64:2]) == {5 + 0 + 2}
    assert set(others[65::2]) == {37 + 1 + 0}


def test_shared_memory_in_a_warp_is_ordered_by_its_words() -> None:
    def neighbour(y: Any) -> None:
        tile = cuda.shared.array(SIZE, int32)
        t = cuda.threadIdx.x
        tile[t] = t
        cuda.syncwarp()
        y[t] = tile[t ^ 1]

    y = np.zeros(SIZE, np.int32)
    launch(neighbour, 1, SIZE, y)
    np.testing.assert_array_equal(y, np.arange(SIZE) ^ 1)


def test_atomics_add_up() -> None:
    def count(x: Any, bins: Any) -> None:
        tile = cuda.shared.array(4, int32)
        t = cuda.threadIdx.x
        if t < 4:
            tile[t] = 0
        cuda.syncthreads()
        cuda.atomic.add(tile, x[t], 1)
        cuda.syncthreads()
        if t < 4:
            cuda.atomic.add(bins, t, tile[t])
        cuda.atomic.max(bins, 4, t)

    x = np.arange(SIZE, dtype=np.int32) % 3
    bins = np.zeros(5, np.int32)
    launch(count, 2, SIZE, x, bins)
    assert bins.tolist() == [44, 42, 42, 0, 63]


def test_arithmetic_is_in_the_arrays_type() -> None:
    def add(x: Any, y: Any) -> None:
        total = float32(0)
        for i in range(len(x)):
            total += x[i]
        y[0] = total

    x, y = np.full(3, 2.0**24, np.float32), np.zeros(1, np.float32)
    x[1:] = 1
    launch(add, 1, 1, x, y)
    assert y[0] == 2**24, "a float32 sum loses both ones, a float64 sum would not"


def test_halves_are_widened_and_rounded() -> None:
    def double(x: Any, y: Any) -> None:
        i = cuda.threadIdx.x
        store(y, i, load(x, i) * float32(2))

    x = np.array([1.5, -0.1, 40000, 6e-8, np.inf], np.float16)
    y = np.zeros_like(x)
    launch(double, 1, 5, x.view(np.uint16), y.view(np.uint16))
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, (x.astype(np.float32) * 2).astype(np.float16))


def test_copies_arrive_after_the_wait() -> None:
    def through(x: Any, y: Any) -> None:
        tile = cuda.shared.array(SIZE, float32)
        t = cuda.threadIdx.x
        if t < SIZE // 4:
            copy4_async(tile, 4 * t, x, 4 * t, t % 2 == 0)
        commit_copies()
        wait_copies()
        cuda.syncthreads()
        y[t] = tile[SIZE - 1 - t]

    x, y = np.arange(1, SIZE + 1, dtype=np.float32), np.zeros(SIZE, np.float32)
    launch(through, 1, SIZE, x, y)
    np.testing.assert_array_equal(y[::-1].reshape(-1, 4), x.reshape(-1, 4) * (np.arange(16) % 2 == 0)[:, None])


def no_barrier(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    t = cuda.threadIdx.x
    tile[t] = t
    y[t] = tile[SIZE - 1 - t]


def race_on_shared(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    t = cuda.threadIdx.x
    tile[t] = t
    cuda.syncthreads()
    y[t] = tile[SIZE - 1 - t]
    tile[t] = 0


def stale_words(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    t = cuda.threadIdx.x
    tile[t] = t
    cuda.syncwarp()
    y[t] = tile[SIZE - 1 - t]


def divergent(y: Any) -> None:
    if cuda.threadIdx.x < 40:
        cuda.syncthreads()
    y[cuda.threadIdx.x] = 0


def two_places(y: Any) -> None:
    if cuda.threadIdx.x < 32:
        cuda.syncthreads()
    else:
        cuda.syncthreads()


def divergent_warp(y: Any) -> None:
    if cuda.threadIdx.x < 40:
        y[cuda.threadIdx.x] = cuda.shfl_sync(FULL, 1, 0)


def absent_lane(y: Any) -> None:
    if cuda.threadIdx.x < 8:
        y[cuda.threadIdx.x] = cuda.shfl_sync(0xFF, 1, 9)


def out_of_bounds(y: Any) -> None:
    y[cuda.threadIdx.x + 1] = 0


def negative_index(y: Any) -> None:
    y[cuda.threadIdx.x - 1] = 0


def unwritten_local(y: Any) -> None:
    own = cuda.local.array(2, float32)
    own[0] = 1
    y[cuda.threadIdx.x] = own[1]


def unwritten_shared(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    if cuda.threadIdx.x > 0:
        tile[cuda.threadIdx.x] = 1
    cuda.syncthreads()
    y[cuda.threadIdx.x] = tile[cuda.threadIdx.x]


def overflow(y: Any) -> None:
    y[cuda.threadIdx.x + 0 * int32(cuda.threadIdx.x * 2**26)] = 1


def overflow_in_array(y: Any) -> None:
    own = cuda.local.array(1, int32)
    own[0] = 2**31 + cuda.threadIdx.x


def two_writers(y: Any) -> None:
    y[cuda.threadIdx.x // 2] = 1


def read_after_write(y: Any) -> None:
    y[cuda.threadIdx.x] = 1
    y[cuda.threadIdx.x] = y[0]


def early_read(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    copy_async(tile, cuda.threadIdx.x, y, cuda.threadIdx.x, True)
    commit_copies()
    cuda.syncthreads()
    y[cuda.threadIdx.x] = tile[cuda.threadIdx.x]


def no_wait(y: Any) -> None:
    tile = cuda.shared.array(SIZE, float32)
    copy_async(tile, cuda.threadIdx.x, y, cuda.threadIdx.x, True)


def unaligned(y: Any) -> None:
    load4(y, cuda.threadIdx.x)


def negative_quotient(y: Any) -> None:
    y[quotient(cuda.threadIdx.x - 1, 2)] = 0


def same_line(y: Any) -> None:
    for _ in range(2):
        cuda.shared.array(SIZE, float32)


def too_much_shared(y: Any) -> None:
    cuda.shared.array(13 * 1024, float32)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (no_barrier, "read before anything was written"),
        (race_on_shared, "no barrier after another thread's"),
        (stale_words, "read before anything was written|no barrier after another thread's write"),
        (divergent, "divergent barrier: 40 of 64"),
        (two_places, "in 2 places"),
        (divergent_warp, "divergent shfl"),
        (absent_lane, "lane 9, which takes no part"),
        (out_of_bounds, r"\[64\] is out of bounds"),
        (negative_index, r"\[-1\] is out of bounds"),
        (unwritten_local, "local array.* before anything was written"),
        (unwritten_shared, r"shared array 0\[0\] is read before"),
        (overflow, r"int32\(2147483648\) overflows"),
        (overflow_in_array, "2147483648 does not fit"),
        (two_writers, "written by two threads"),
        (read_after_write, "written by another thread"),
        (early_read, "while a copy to it is under way"),
        (no_wait, "without waiting for its copies"),
        (unaligned, "no multiple of 4"),
        (negative_quotient, "is for a >= 0"),
        (same_line, "one line of source"),
        (too_much_shared, "53248 bytes of shared memory"),
    ],
)
def test_mistakes_are_errors(kernel: Any, message: str) -> None:
    with pytest.raises(CudaError, match=message):
        launch(kernel, 1, SIZE, np.zeros(SIZE, np.float32))


def test_blocks_are_not_too_large() -> None:
    with pytest.raises(CudaError, match="1025 threads"):
        launch(out_of_bounds, 1, 1025, np.zeros(SIZE, np.float32))
