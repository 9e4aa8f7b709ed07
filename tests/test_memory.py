"""Memory for packed weights, which calls hand on to each other."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import pyconv
from pyconv import registry
from pyconv.backends import memory

SIZE = 50_000  # float32: above what is handed on


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_used", memory._Used())


def new(size: int = SIZE) -> np.ndarray:
    return memory.aligned(size, np.dtype(np.float32))


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("shape", [0, 1, (3, 5), SIZE, (100, 700)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_begins_with_a_cache_line(shape: int | tuple[int, ...], dtype: type) -> None:
    array = memory.aligned(shape, np.dtype(dtype))
    array[...] = 1
    assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
    assert array.dtype == dtype
    assert address(array) % 64 == 0


def test_what_has_ended_is_used_again() -> None:
    first = new()
    at = address(first)
    second = new()
    assert address(second) != at
    del first
    assert address(new(SIZE - 1000)) == at, "a little smaller will do"


def test_much_larger_memory_is_left_alone() -> None:
    first = new(4 * SIZE)
    at = address(first)
    del first
    assert address(new()) != at


@pytest.mark.parametrize(
    "view_of",
    [
        np.asarray,
        np.ascontiguousarray,
        lambda a: np.require(a, requirements=["C", "A"]),
        lambda a: a.reshape(2, -1)[1],
        lambda a: a.view(np.uint8),
        lambda a: memoryview(a),
        lambda a: np.frombuffer(a, np.float32),
        lambda a: np.asarray(np.asarray(a)[5:])[::2],
    ],
)
def test_views_of_any_make_hold_it(view_of: Callable[[np.ndarray], object]) -> None:
    """Of a chain of views numpy keeps the last array only; it must not be the memory itself."""
    first = new()
    view = view_of(first)
    del first
    assert len(memory._used._lent) == 1
    assert not memory._used._back
    second = new()
    second[...] = 1
    del view
    assert len(memory._used._back) == 1


def test_views_hold_it() -> None:
    first = new()
    view = first[10:20].reshape(2, 5)
    del first
    view[...] = 7
    others = [new() for _ in range(4)]
    for other in others:
        other[...] = 1
    assert (view == 7).all()


def test_no_more_is_kept_than_max_workspace() -> None:
    arrays = [new(1 << 18) for _ in range(8)]
    arrays.clear()
    with pyconv.options(max_workspace="2MB"):
        new(10 * SIZE)
    assert sum(buffer.size for buffer in memory._used._free) <= 2 << 20


def test_threads_share_it() -> None:
    def work(value: int) -> None:
        for _ in range(200):
            array = new()
            array[...] = value
            held.append(bool((array == value).all()))

    held: list[bool] = []
    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(held) == 800
    assert all(held)
    assert not memory._used._lent


def test_a_prepared_call_keeps_its_weights() -> None:
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape, dtype=np.float32) for shape in ((1, 64, 9, 9), (64, 64, 3, 3)))
    prepared = pyconv.prepare(pyconv.conv2d, w, padding=1)
    expected = prepared(x)
    for i in range(5):
        pyconv.conv2d(x, w * i, padding=1)
        pyconv.grad.conv2d(x, x, w * i, None, 1, 1, output_mask=(True, False, False))
    np.testing.assert_array_equal(prepared(x), expected)


@pytest.mark.skipif(registry.why_missing("c") is not None, reason="the C extension is not there")
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [1, 7, 1000, 70_000])
def test_what_is_not_finite_is_found(dtype: type, size: int) -> None:
    algorithm = registry.find(f"conv1d.direct.{ {2: 'f16', 4: 'f32', 8: 'f64'}[np.dtype(dtype).itemsize] }@c-baseline")
    limits = np.finfo(dtype)
    w = np.resize(np.array([limits.max, limits.min, -0.0, 0, limits.smallest_subnormal, 1], dtype), size)
    assert algorithm.all_finite(w)
    for at in {0, size // 2, size - 1}:
        for value in (np.nan, -np.nan, np.inf, -np.inf):
            bad = w.copy()
            bad[at] = value
            assert not algorithm.all_finite(bad)
