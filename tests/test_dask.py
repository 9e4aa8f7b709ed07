"""``interop.dask``: chunked arrays give what whole ones give, wherever they are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import pyconv

da: Any = pytest.importorskip("dask.array")
cloudpickle: Any = pytest.importorskip("cloudpickle")

from pyconv.interop import dask as chunked  # noqa: E402

SHAPES = {1: (2, 4, 23), 2: (2, 4, 17, 19), 3: (1, 4, 9, 8, 11)}
CHUNKS = {1: (1, 3, 5), 2: (1, 2, 6, 7), 3: (1, 4, 4, 8, 5)}


def whole_numbers(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Of which sums are exact in any order."""
    return np.random.default_rng([seed, *shape]).integers(-4, 5, shape).astype(dtype)


def same(found: Any, expected: np.ndarray) -> None:
    assert isinstance(found, da.Array)
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    computed = found.compute(scheduler="synchronous")
    assert computed.shape == expected.shape, "the chunks have the sizes that they were said to have"
    np.testing.assert_array_equal(computed, expected)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": 3, "padding": "valid"},
        {"padding": "same", "dilation": 2},
        {"stride": 4, "groups": 2},
        {"padding": 2, "padding_mode": "reflect"},
        {"padding": 2, "padding_mode": "symmetric", "stride": 2},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 3, "padding_mode": "replicate", "activation": "relu"},
    ],
)
def test_convolutions(rank: int, settings: dict[str, Any]) -> None:
    x, bias = whole_numbers(SHAPES[rank]), whole_numbers((6,), seed=2)
    w = whole_numbers((6, 4 // settings.get("groups", 1), *(3,) * rank), seed=1)
    expected = getattr(pyconv, f"conv{rank}d")(x, w, bias, **settings)
    single = (1,) * (rank + 2) if rank == 1 else SHAPES[rank]
    for chunks in (CHUNKS[rank], single):
        same(getattr(chunked, f"conv{rank}d")(da.from_array(x, chunks=chunks), w, bias, **settings), expected)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (3, 2, 1), (3, 1, 1), (2, 3, 0)])
def test_maxima(rank: int, dtype: str, kernel: int, stride: int | None, padding: int) -> None:
    x = whole_numbers(SHAPES[rank]).astype(dtype)
    expected = getattr(pyconv, f"max_pool{rank}d")(x, kernel, stride, padding)
    same(getattr(chunked, f"max_pool{rank}d")(da.from_array(x, chunks=CHUNKS[rank]), kernel, stride, padding), expected)


@pytest.mark.parametrize("rank", SHAPES)
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, None, 0), (4, 2, 1), (2, 3, 0)])
def test_averages(rank: int, kernel: int, stride: int | None, padding: int) -> None:
    x = whole_numbers(SHAPES[rank])
    expected = getattr(pyconv, f"avg_pool{rank}d")(x, kernel, stride, padding)
    same(getattr(chunked, f"avg_pool{rank}d")(da.from_array(x, chunks=CHUNKS[rank]), kernel, stride, padding), expected)


def test_a_divisor() -> None:
    x = whole_numbers(SHAPES[2])
    expected = pyconv.avg_pool2d(x, 3, 2, 1, count_include_pad=False, divisor_override=2)
    found = chunked.avg_pool2d(da.from_array(x, chunks=4), 3, 2, 1, count_include_pad=False, divisor_override=2)
    same(found, expected)


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3),
    st.integers(0, 4), st.integers(0, 4),
)  # fmt: skip
def test_wherever_a_signal_is_cut(
    chunks: list[int], kernel: int, stride: int, dilation: int, before: int, after: int
) -> None:
    size = sum(chunks)
    assume(dilation * (kernel - 1) + 1 <= size + before + after)
    x, w = whole_numbers((1, 2, size)), whole_numbers((3, 2, kernel), seed=1)
    settings: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": ((before, after),)}
    expected = pyconv.conv1d(x, w, **settings)
    same(chunked.conv1d(da.from_array(x, chunks=((1,), (2,), tuple(chunks))), w, **settings), expected)


def test_without_a_batch_axis() -> None:
    x, w = whole_numbers((4, 17, 19)), whole_numbers((6, 4, 3, 3), seed=1)
    same(chunked.conv2d(da.from_array(x, chunks=(2, 6, 7)), w), pyconv.conv2d(x, w))
    same(chunked.max_pool2d(da.from_array(x, chunks=(2, 6, 7)), 2), pyconv.max_pool2d(x, 2))


def test_nan_in_maxima() -> None:
    x = whole_numbers(SHAPES[2])
    x[0, 1, 5, 6] = np.nan
    x[1, 2] = -np.inf
    same(chunked.max_pool2d(da.from_array(x, chunks=5), 3, 1, 1), pyconv.max_pool2d(x, 3, 1, 1))


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise AssertionError("computed")

    x = da.ones((1, 2, 40, 40), chunks=10, dtype=np.float32).map_blocks(fail, dtype=np.float32, meta=np.empty(0, "f4"))
    y = chunked.conv2d(x, np.ones((1, 2, 3, 3), np.float32), padding=1, stride=2)
    assert y.shape == (1, 1, 20, 20)
    with pytest.raises(AssertionError, match="computed"):
        y.compute(scheduler="synchronous")


def test_it_goes_to_other_processes_and_many_threads() -> None:
    x, w = whole_numbers((1, 4, 60, 70)), whole_numbers((6, 4, 3, 3), seed=1)
    y = chunked.conv2d(da.from_array(x, chunks=(1, 4, 16, 16)), w, padding=1)
    expected = pyconv.conv2d(x, w, padding=1)
    same(cloudpickle.loads(cloudpickle.dumps(y)), expected)
    np.testing.assert_array_equal(y.compute(scheduler="threads", num_workers=4), expected)


def test_a_chunk_runs_on_one_thread() -> None:
    from pyconv.interop.dask import windows
    from pyconv.options import current

    seen = []

    def spy(*given: Any, **settings: Any) -> np.ndarray:
        seen.append(current().threads)
        return pyconv.max_pool2d(*given, **settings)

    windows._alone(np.ones((1, 1, 4, 4), np.float32), spy, (2,), {})
    assert seen == [1]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: chunked.conv2d(np.ones((1, 4, 8, 8)), np.ones((1, 4, 3, 3))), TypeError, "x must be a dask.array"),
        (lambda x: chunked.conv2d(x, np.ones((1, 3, 3, 3), np.float32)), pyconv.InvalidProblem, "channels disagree"),
        (lambda x: chunked.conv2d(x, np.ones((1, 4, 3, 3))), TypeError, "all arrays must have one dtype"),
        (lambda x: chunked.conv2d(x, np.ones((1, 4, 99, 3), np.float32)), pyconv.InvalidProblem, "larger than the pad"),
        (lambda x: chunked.max_pool2d(x, 2, padding=2), pyconv.InvalidProblem, "padding"),
        (lambda x: chunked.max_pool2d(x[x > 0], 2), pyconv.InvalidProblem, "chunks of unknown size"),
        (
            lambda x: chunked.avg_pool2d(x, 3, padding=1, count_include_pad=False),
            pyconv.Unsupported,
            "counts its padding",
        ),
        (
            lambda x: chunked.conv2d(x, np.ones((1, 4, 3, 3), np.float32), padding=8, padding_mode="reflect"),
            pyconv.Unsupported,
            "must be at most 7",
        ),
    ],
)
def test_refused_before_anything_is_computed(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call(da.ones((1, 4, 8, 8), chunks=4, dtype=np.float32))
