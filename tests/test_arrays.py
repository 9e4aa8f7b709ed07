"""Arrays of other libraries in host memory: every public function takes them, and answers with their kind."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import array_api_strict
import numpy as np
import pytest

import pyconv
from pyconv.ops import host

F32 = np.float32


def some(*shape: int) -> np.ndarray:
    """Small whole numbers, of which every algorithm's sums are exact."""
    count = int(np.prod(shape))
    return ((np.arange(count) * 7919 % 11) - 5).astype(F32).reshape(shape)


BOXES = np.array([[0, 0, 0, 4, 4], [0, 1, 2, 6, 7]], F32)
VOLUME_BOX = np.array([[0, 0, 0, 0, 4, 4, 4]], F32)
SCORES = np.array([0.8, 0.9, 0.7], F32)
CORNERS = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], F32)
PLANES = {1: (2, 4, 9), 2: (2, 4, 9, 8), 3: (1, 4, 6, 4, 6)}


def calls() -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return arguments and settings for every public function that takes arrays."""
    table: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
    for rank, shape in PLANES.items():
        x, w, bias = some(*shape), some(3, 4, *(3,) * rank), some(3)
        table[f"conv{rank}d"] = (x, w, bias), {"padding": 1, "activation": "relu"}
        table[f"conv_transpose{rank}d"] = (x, some(4, 3, *(3,) * rank), bias), {"stride": 2}
        table[f"max_pool{rank}d"] = (x, 2), {"return_indices": True}
        table[f"avg_pool{rank}d"] = (x, 2), {}
        table[f"lp_pool{rank}d"] = (x, 2.0, 2), {}
        table[f"adaptive_avg_pool{rank}d"] = (x, 3), {}
        table[f"adaptive_max_pool{rank}d"] = (x, 3), {"return_indices": True}
        values, indices = getattr(pyconv, f"max_pool{rank}d")(x, 2, return_indices=True)
        table[f"max_unpool{rank}d"] = (values, indices, 2), {}
        table[f"zero_unpool{rank}d"] = (values, 2), {}
    x = some(*PLANES[2])
    one = some(1, 4, 9, 8)
    columns = pyconv.unfold(x, 2, stride=2)
    table |= {
        "unfold": ((x, 2), {}),
        "fold": ((columns, (8, 8), 2), {"stride": 2}),
        "linear": ((some(2, 3, 5), some(4, 5), some(4)), {}),
        "batch_norm": ((x, some(4), np.ones(4, F32), some(4), some(4)), {}),
        "batch_norm_stats": ((x,), {}),
        "local_response_norm": ((x, 3), {}),
        "interpolate": ((x,), {"size": (5, 11), "mode": "bilinear"}),
        "grid_sample": ((x, some(2, 3, 3, 2) / 8), {}),
        "affine_grid": ((some(2, 2, 3), (2, 1, 3, 4)), {}),
        "pixel_shuffle": ((x, 2), {}),
        "pixel_unshuffle": ((some(2, 4, 8, 8), 2), {}),
        "deform_conv2d": (
            (x, some(2, 18, 7, 6) / 8, some(3, 4, 3, 3), some(3)), {"mask": abs(some(2, 9, 7, 6))}
        ),
        "roi_align": ((one, BOXES, 2), {}),
        "roi_align3d": ((some(1, 2, 6, 6, 6), VOLUME_BOX, 2), {}),
        "roi_pool": ((one, BOXES, 2), {}),
        "ps_roi_align": ((one, BOXES, 2), {}),
        "ps_roi_pool": ((one, BOXES, 2), {}),
        "fpn_roi_align": (([some(1, 2, 16, 16), some(1, 2, 8, 8)], BOXES, 2, [1 / 4, 1 / 8]), {}),
        "nms": ((CORNERS, SCORES, 0.5), {}),
        "batched_nms": ((CORNERS, SCORES, np.array([1, 0, 1]), 0.5), {}),
        "box_iou": ((CORNERS, CORNERS), {}),
    }  # fmt: skip
    table |= {
        name: ((x,), {}) for name in ("relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")
    }
    return table


CALLS = calls()
#: What is public and takes no arrays, or is no function.
WITHOUT_ARRAYS = {"algorithms", "anchors", "explain", "grad", "info", "options", "prepare", "set_options", "tune"}
#: Calls whose way differs from the usual one of their function.
WAYS: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "unbatched": ("conv2d", (some(4, 9, 8), some(3, 4, 3, 3)), {}),
    "residual": ("conv2d", (some(1, 4, 5, 5), some(3, 4, 3, 3), some(3)), {"residual": some(1, 3, 3, 3)}),
    "channels last": ("conv2d", (some(2, 9, 8, 4).transpose(0, 3, 1, 2), some(3, 4, 3, 3)), {}),
    "no element": ("conv2d", (some(0, 4, 9, 8), some(3, 4, 3, 3)), {}),
    "strides": ("max_pool2d", (some(2, 4, 9, 16)[..., ::2], 2), {}),
    "maxima alone": ("max_pool2d", (some(2, 4, 9, 8), 2), {}),
    "infinite norm": ("lp_pool2d", (some(2, 4, 9, 8), float("inf"), 2), {}),
    "area": ("interpolate", (some(2, 4, 9, 8),), {"size": 3, "mode": "area"}),
    "nearest": ("interpolate", (some(2, 4, 9, 8),), {"size": 3}),
    "rows": ("linear", (some(3, 5), some(4, 5)), {}),
    "one row": ("linear", (some(5), some(4, 5)), {}),
    "training": ("batch_norm", (some(2, 4, 9, 8), None, None), {"training": True}),
    "statistics": ("batch_norm", (some(2, 4, 9, 8), np.zeros(4, F32), np.ones(4, F32)), {"training": True}),
    "boxes by image": ("roi_align", (some(1, 4, 9, 8), [BOXES[:, 1:]], 2), {}),
}
EVERY = {name: (name, *call) for name, call in CALLS.items()} | WAYS


def strict(array: np.ndarray) -> Any:
    return array_api_strict.from_dlpack(array)


def tensor(array: np.ndarray) -> Any:
    return pytest.importorskip("torch").from_numpy(array)


class Exported:
    """An array interface and nothing else: there is no way to make another one."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__


class Subclass(np.ndarray):
    pass


#: How a kind is made of a NumPy array, and the class of its results where that is another.
KINDS: dict[str, tuple[Callable[[np.ndarray], Any], type | None]] = {
    "array_api_strict": (strict, None),
    "torch": (tensor, None),
    "array interface": (Exported, np.ndarray),
    "subclass": (lambda array: array.view(Subclass), np.ndarray),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def of_kind(kind: str, value: Any) -> Any:
    """Return a copy of the arguments with arrays of this kind."""
    if isinstance(value, np.ndarray):
        # (a copy keeps the strides)
        return KINDS[kind][0](value.copy(order="K"))
    if isinstance(value, (tuple, list)):
        return type(value)(of_kind(kind, entry) for entry in value)
    return {name: of_kind(kind, entry) for name, entry in value.items()} if isinstance(value, dict) else value


def plain(value: Any) -> np.ndarray:
    return value if isinstance(value, np.ndarray) else np.from_dlpack(value)


def check(kind: str, found: Any, expected: Any) -> None:
    """The same values, in arrays of the kind."""
    if isinstance(expected, tuple):
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check(kind, one, other)
        return
    if expected is None:
        assert found is None
        return
    wanted = KINDS[kind][1] or type(KINDS[kind][0](np.ones(1, F32)))
    assert type(found) is wanted
    array = plain(found)
    assert array.dtype == expected.dtype
    np.testing.assert_array_equal(array, expected)
    if array.size:
        assert array.strides == expected.strides, "the memory order is the result's"


def arguments_of(name: str) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    function, arguments, settings = EVERY[name]
    return getattr(pyconv, function), arguments, settings


def test_the_table_has_every_public_function() -> None:
    functions = {name for name in pyconv.__all__ if not isinstance(getattr(pyconv, name), type)}
    assert set(CALLS) == functions - WITHOUT_ARRAYS
    assert set(pyconv.grad.__all__) <= set(CALLS)


@kinds
@pytest.mark.parametrize("name", EVERY)
def test_results_are_of_the_callers_kind(name: str, kind: str) -> None:
    function, arguments, settings = arguments_of(name)
    expected = function(*of_kind("subclass", arguments), **of_kind("subclass", settings))
    given, words = of_kind(kind, arguments), of_kind(kind, settings)
    check(kind, function(*given, **words), expected)


@kinds
@pytest.mark.parametrize("name", [name for name, (function, *_) in EVERY.items() if function in pyconv.grad.__all__])
def test_gradients_are_of_the_callers_kind(name: str, kind: str) -> None:
    function, arguments, settings = arguments_of(name)
    y = function(*arguments, **settings)
    grad_output = np.ones_like(y[0] if isinstance(y, tuple) else y)
    gradient = getattr(pyconv.grad, function.__name__)
    expected = gradient(grad_output, *arguments, **settings)
    given, words = of_kind(kind, (grad_output, *arguments)), of_kind(kind, settings)
    check(kind, gradient(*given, **words), expected)


@pytest.mark.parametrize("kind", ["array_api_strict", "torch", "array interface"])
@pytest.mark.parametrize("name", EVERY)
def test_out_is_written_and_returned_itself(name: str, kind: str) -> None:
    function, arguments, settings = arguments_of(name)
    expected = function(*of_kind("subclass", arguments), **of_kind("subclass", settings))
    several = isinstance(expected, tuple)
    out = of_kind(kind, tuple(map(np.zeros_like, expected)) if several else np.zeros_like(expected))
    if kind == "array interface" and name in ("nms", "batched_nms"):
        pytest.skip("the part of out that is used is returned, and this kind cannot be cut")
    for arrays in (of_kind(kind, arguments), of_kind("subclass", arguments)):  # whoever the other arrays belong to
        words = of_kind(kind, settings)
        found = function(*arrays, **words, out=out)
        for one, target, value in zip(
            *((found, out, expected) if several else ((found,), (out,), (expected,))), strict=True
        ):
            assert one is target or name in ("nms", "batched_nms")
            np.testing.assert_array_equal(target.array if kind == "array interface" else plain(target), value)


@pytest.mark.parametrize("kind", ["array_api_strict", "torch"])
def test_gradients_out_is_returned_itself(kind: str) -> None:
    x, w, g = some(2, 3, 5), some(4, 5), some(2, 3, 4)
    expected = pyconv.grad.linear(g, x, w)
    outs = of_kind(kind, (np.zeros_like(x), np.zeros_like(w), None))
    found = pyconv.grad.linear(*of_kind(kind, (g, x, w)), out=outs)
    assert found[0] is outs[0]
    assert found[1] is outs[1]
    check(kind, found, expected)
    g, x = some(2, 4, 9, 8), some(2, 4, 9, 8)
    out = of_kind(kind, np.zeros_like(x))
    (found_x,) = pyconv.grad.relu(*of_kind(kind, (g, x)), out=out)
    assert found_x is out
    np.testing.assert_array_equal(plain(out), pyconv.grad.relu(g, x)[0])
    (norms,) = pyconv.grad.lp_pool2d(g[..., :4, :4], x[..., :8, :], float("inf"), 2)
    out = of_kind(kind, np.zeros_like(x[..., :8, :]))
    assert pyconv.grad.lp_pool2d(*of_kind(kind, (g[..., :4, :4], x[..., :8, :])), float("inf"), 2, out=out)[0] is out
    np.testing.assert_array_equal(plain(out), norms)


@kinds
def test_anchors_are_put_where_they_are_wanted(kind: str) -> None:
    """The one function without arrays."""
    expected = pyconv.anchors((2, 3), 16, [32], [1.0])
    memory = np.zeros_like(expected)
    out = KINDS[kind][0](memory)
    assert pyconv.anchors((2, 3), 16, [32], [1.0], out=out) is out
    np.testing.assert_array_equal(memory, expected)


@kinds
def test_prepared_calls(kind: str) -> None:
    x, w, bias, residual = some(1, 4, 6, 6), some(3, 4, 3, 3), some(3), some(1, 3, 4, 4)
    for function, arrays, more in (
        (pyconv.conv2d, (x,), {}),
        (pyconv.conv2d, (x,), {"residual": residual}),
        (pyconv.conv_transpose2d, (x[:, :3],), {}),
        (pyconv.deform_conv2d, (x, some(1, 18, 4, 4) / 8), {}),
    ):
        weights = (w, bias) if function is not pyconv.conv_transpose2d else (w,)
        call = pyconv.prepare(function, *of_kind(kind, weights))
        expected = pyconv.prepare(function, *weights)(*arrays, **more)
        given, words = of_kind(kind, arrays), of_kind(kind, more)
        check(kind, call(*given, **words), expected)
        out = of_kind(kind, np.zeros_like(expected))
        assert call(*given, **words, out=out) is out
    dense = pyconv.prepare(pyconv.linear, *of_kind(kind, (some(4, 5), some(4))))
    check(kind, dense(of_kind(kind, some(2, 3, 5))), pyconv.linear(some(2, 3, 5), some(4, 5), some(4)))
    bound = pyconv.prepare(pyconv.conv2d, w, bias)
    out = np.zeros((1, 3, 4, 4), F32)
    bound.bind(of_kind(kind, x), out)()
    np.testing.assert_array_equal(out, bound(x))


def test_the_first_array_says_the_kind() -> None:
    x, w = some(1, 4, 6, 6), some(3, 4, 3, 3)
    expected = pyconv.conv2d(x, w)
    check("array_api_strict", pyconv.conv2d(strict(x), w), expected)
    check("subclass", pyconv.conv2d(x, strict(w)), expected)
    check("subclass", pyconv.conv2d(Exported(x), strict(w)), expected)  # type: ignore[arg-type]
    check("subclass", pyconv.grad.conv2d(expected, strict(x), strict(w)), pyconv.grad.conv2d(expected, x, w))


def test_running_statistics_are_updated_where_they_are() -> None:
    x = some(2, 4, 9, 8)
    mean, var = np.zeros(4, F32), np.ones(4, F32)
    there_mean, there_var = strict(mean.copy()), strict(var.copy())
    y = pyconv.batch_norm(x, mean, var, training=True)
    check("array_api_strict", pyconv.batch_norm(strict(x), there_mean, there_var, training=True), y)
    np.testing.assert_array_equal(plain(there_mean), mean)
    np.testing.assert_array_equal(plain(there_var), var)
    assert mean.any()


def test_inputs_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither inputs nor results are copied."""
    x, seen = some(1, 4, 6, 6), []
    monkeypatch.setattr("pyconv.ops.call.delivered", lambda *given: seen.append(given) or host.delivered(*given))
    found = pyconv.relu(strict(x))
    ((first, _, results),) = seen
    assert np.shares_memory(first, x)
    assert np.shares_memory(plain(found), results[0])


class Narrow:
    """An array of a library whose from_dlpack takes some memory orders, and that has its own way to say no."""

    def __init__(self, array: np.ndarray, refused: type[Exception] | None) -> None:
        self.array, self.refused = array, refused

    def __dlpack__(self, **words: Any) -> Any:
        return self.array.__dlpack__(**words)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __array_namespace__(self) -> Any:
        def from_dlpack(array: np.ndarray) -> Narrow:
            if self.refused is not None and not array.flags.c_contiguous:
                raise self.refused("row by row only")
            return Narrow(array, self.refused)

        return SimpleNamespace(from_dlpack=from_dlpack)


def test_a_library_of_one_memory_order_gets_a_copy() -> None:
    x = some(2, 9, 8, 4).transpose(0, 3, 1, 2)
    expected = pyconv.relu(x)
    kept = pyconv.relu(Narrow(x, None))
    assert kept.array.strides == expected.strides  # type: ignore[attr-defined]
    for refused in (BufferError, RuntimeError, ValueError):
        found = pyconv.relu(Narrow(x, refused))
        assert found.array.flags.c_contiguous  # type: ignore[attr-defined]
        np.testing.assert_array_equal(found.array, expected)  # type: ignore[attr-defined]


def test_a_namespace_without_from_dlpack_gets_numpy_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Narrow, "__array_namespace__", lambda self: SimpleNamespace())
    assert type(pyconv.relu(Narrow(some(3), None))) is np.ndarray


class Unreadable:
    def __dlpack__(self, **words: Any) -> Any:
        raise BufferError("it is on a device of its own")

    def __dlpack_device__(self) -> Any:
        return (1, 0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: pyconv.relu(Unreadable()), TypeError, "x cannot be read as an array in host memory: it is on a dev"),
        (lambda: pyconv.relu(some(3), out=Unreadable()), TypeError, "out cannot be read as an array in host memory"),  # type: ignore[arg-type]
        (lambda: pyconv.relu([1.0]), TypeError, "x must be an array, got list"),
        (lambda: pyconv.relu(some(3), out=[0.0] * 3), TypeError, "out must be a numpy.ndarray to write into, or exp"),  # type: ignore[arg-type]
        (lambda: pyconv.relu(F32(3), out=F32(0)), TypeError, "out must be a numpy.ndarray to write into"),  # type: ignore[arg-type]
        (lambda: pyconv.relu(some(3), out=Exported(fixed(3))), pyconv.InvalidProblem, "out is read-only"),  # type: ignore[arg-type]
        (lambda: pyconv.relu(some(3), out=strict(some(4))), pyconv.InvalidProblem, "out must have the output's shape"),
        (lambda: pyconv.relu(strict(some(3)), out=strict(np.ones(3))), TypeError, "out must be float32, but out is f"),
        (lambda: pyconv.relu(strict(np.ones(3, np.int64))), TypeError, "must be float16, float32, float64, got int64"),
    ],
)  # fmt: skip
def test_refused(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=re.escape(words)):
        call()


def fixed(count: int) -> np.ndarray:
    array = some(count)
    array.setflags(write=False)
    return array


class TestTensors:
    """What is particular to torch."""

    @pytest.fixture(autouse=True)
    def _there(self) -> None:
        self.torch = pytest.importorskip("torch")

    def test_a_recorded_tensor_is_refused(self) -> None:
        """Its gradient would be lost without a word."""
        x, w = tensor(some(1, 4, 6, 6)), tensor(some(3, 4, 3, 3))
        marked = w.clone().requires_grad_()
        for call in (
            lambda: pyconv.conv2d(x, marked),
            lambda: pyconv.conv2d(marked, w),
            lambda: pyconv.grad.conv2d(marked, x, w),
            lambda: pyconv.prepare(pyconv.conv2d, marked),
            lambda: pyconv.relu(self.torch.nn.Parameter(x)),
            lambda: pyconv.relu(x, out=self.torch.zeros_like(x).requires_grad_()),
            lambda: pyconv.box_iou(tensor(CORNERS).requires_grad_(), CORNERS),
        ):
            with pytest.raises(
                TypeError, match=r"requires a gradient, and nothing here would record the call.*interop"
            ):
                call()

    def test_where_nothing_is_recorded_it_is_taken(self) -> None:
        x = self.torch.nn.Parameter(tensor(some(1, 4, 6, 6)))
        with self.torch.no_grad():
            found = pyconv.relu(x)
        check("torch", found, pyconv.relu(some(1, 4, 6, 6)))
        assert not found.requires_grad

    def test_channels_last_stays(self) -> None:
        x = tensor(some(2, 4, 6, 6)).contiguous(memory_format=self.torch.channels_last)
        found = pyconv.conv2d(x, tensor(some(8, 4, 3, 3)))
        assert found.is_contiguous(memory_format=self.torch.channels_last)

    def test_a_result_can_be_recorded_from_there_on(self) -> None:
        found = pyconv.relu(tensor(some(5))).requires_grad_()
        (found * 2).sum().backward()
        assert found.grad is not None

    @pytest.mark.parametrize("made", ["bfloat16", "meta", "sparse"])
    def test_what_numpy_has_no_array_for(self, made: str) -> None:
        x = self.torch.ones(3, 3)
        given = {"bfloat16": x.bfloat16, "meta": lambda: x.to("meta"), "sparse": x.to_sparse}[made]()
        with pytest.raises(TypeError, match="x cannot be read as an array in host memory"):
            pyconv.relu(given)
