"""pixel_shuffle and pixel_unshuffle: every registered algorithm, by its name, against the definition and torch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from checker import in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import InvalidProblem, ShuffleProblem, reference, registry
from pyconv.algorithm import Algorithm
from pyconv.problem import DTYPES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
FUNCTIONS = {"pixel_shuffle": pyconv.pixel_shuffle, "pixel_unshuffle": pyconv.pixel_unshuffle}
pyconv.algorithms()
MOVES = {id: registry.find(id) for id in pyconv.algorithms() if id.partition(".")[0] in FUNCTIONS}
#: lead, c, h, w, factor, channels_last: whole vectors and less than one, of each size of elements, and odd factors
SIZES = (
    ((2,), 3, 5, 7, 2, False), ((1,), 2, 3, 130, 2, False), ((1,), 2, 3, 130, 4, False), ((2,), 2, 4, 33, 3, False),
    ((2,), 5, 4, 6, 2, True), ((1,), 70, 2, 3, 2, True), ((1,), 3, 4, 5, 3, True), ((1,), 2, 3, 2, 4, True),
    ((), 2, 3, 70, 2, False), ((2, 3), 2, 3, 4, 2, False), ((2, 1, 2), 1, 2, 3, 5, False), ((3,), 4, 5, 6, 1, False),
    ((0,), 3, 4, 5, 2, False), ((2,), 0, 4, 5, 2, False), ((1,), 1, 0, 5, 2, False),
)  # fmt: skip
PROBLEMS = [
    ShuffleProblem(*sizes[:5], gather, dtype, sizes[5])
    for sizes, gather, dtype in itertools.product(SIZES, (False, True), DTYPES.values())
]


def draw(shape: tuple[int, ...], dtype: str, channels_last: bool = False) -> np.ndarray:
    """Distinct elements, as far as the type has them."""
    values = np.arange(int(np.prod(shape))) % 2039
    return in_memory_order(values.astype(NUMPY[dtype]).reshape(shape), channels_last)


def plain(problem: ShuffleProblem, x: np.ndarray) -> np.ndarray:
    """The formula, element by element."""
    out, r = np.empty(problem.outputs[0].shape, x.dtype), problem.factor
    for *lead, c, h, w in np.ndindex(*problem.large_shape):
        small = (*lead, (c * r + h % r) * r + w % r, h // r, w // r)
        large = (*lead, c, h, w)
        if problem.gather:
            out[small] = x[large]
        else:
            out[large] = x[small]
    return out


def check(problem: ShuffleProblem, algorithm: Algorithm, x: np.ndarray) -> None:
    """Run into a poisoned output; prove who ran; compare."""
    expected, kept = reference.pixel_shuffle(problem, x), x.copy()
    poison = in_memory_order(np.full(expected.shape, 99, x.dtype), problem.channels_last)
    forget_last_kernel(algorithm)
    with guarded_scratch(algorithm, fill=0xA5):
        result = FUNCTIONS[problem.op](x, problem.factor, out=poison, algorithm=algorithm.id)
    assert result is poison
    if algorithm.backend != "numpy" and x.size:
        assert last_kernel(algorithm) == algorithm.kernel_name
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(x, kept)
    fresh = FUNCTIONS[problem.op](x, problem.factor, algorithm=algorithm.id)
    np.testing.assert_array_equal(fresh, expected)
    assert fresh.dtype == x.dtype
    if problem.channels_last and x.size:
        assert np.moveaxis(fresh, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


def able(problem: ShuffleProblem) -> list[Algorithm]:
    return [a for a in MOVES.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.op}-{p}")
def test_every_algorithm_on_the_table(problem: ShuffleProblem) -> None:
    asked = able(problem)
    assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if registry.why_missing("c") is None else set())
    for algorithm in asked:
        check(problem, algorithm, draw(problem.inputs[0].shape, problem.dtype, problem.channels_last))
    assert ShuffleProblem.parse(problem.op, str(problem)) == problem


@pytest.mark.parametrize("sizes", [sizes for sizes in SIZES if np.prod(sizes[0], dtype=int) * sizes[1] * sizes[2] < 60])
def test_the_definition_is_the_formula(sizes: Any) -> None:
    for gather in (False, True):
        problem = ShuffleProblem(*sizes[:5], gather)
        x = draw(problem.inputs[0].shape, "f32")
        np.testing.assert_array_equal(reference.pixel_shuffle(problem, x), plain(problem, x))


@settings(max_examples=100)
@given(data=st.data())
def test_drawn_problems(data: st.DataObject) -> None:
    lead = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    sizes = [data.draw(st.integers(1, most)) for most in (5, 5, 90)]
    channels_last = data.draw(st.booleans()) and len(lead) == 1
    problem = ShuffleProblem(
        lead, *sizes, data.draw(st.integers(1, 5)), data.draw(st.booleans()), data.draw(st.sampled_from(tuple(NUMPY))),
        channels_last and sizes[0] > 1 and sizes[2] > 1,
    )  # fmt: skip
    for algorithm in able(problem):
        check(problem, algorithm, draw(problem.inputs[0].shape, problem.dtype, problem.channels_last))


def test_explained_by_the_functions_own_words() -> None:
    up = pyconv.explain(pyconv.pixel_shuffle, (1, 4, 3, 3), upscale_factor=2)
    down = pyconv.explain(pyconv.pixel_unshuffle, (1, 4, 6, 6), downscale_factor=2)
    assert (up.problem.op, down.problem.op) == ("pixel_shuffle", "pixel_unshuffle")


@pytest.mark.parametrize("op", FUNCTIONS)
def test_any_strides(op: str) -> None:
    problem = ShuffleProblem((2, 3), 2, 4, 40, 2, op == "pixel_unshuffle")
    shape = problem.inputs[0].shape
    whole = draw(tuple(2 * size for size in shape), "f32")
    views = [
        whole[tuple(slice(0, 2 * size, 2) for size in shape)],
        whole[tuple(slice(size - 1, None, -1) if size > 1 else slice(1) for size in shape)],
        draw(shape[::-1], "f32").transpose(),
        np.broadcast_to(draw(shape[1:], "f32"), shape),
        draw(shape, "f32").astype(">f4"),
    ]
    for algorithm in able(problem):
        for x in views:
            out = np.zeros(problem.outputs[0].shape[::-1], np.float32).transpose()
            FUNCTIONS[op](x, 2, out=out, algorithm=algorithm.id)
            np.testing.assert_array_equal(out, reference.pixel_shuffle(problem, np.asarray(x)))
            np.testing.assert_array_equal(FUNCTIONS[op](x, 2, algorithm=algorithm.id), out)


@pytest.mark.parametrize("op", FUNCTIONS)
@pytest.mark.parametrize("at_end", [False, True])
def test_nothing_is_touched_outside_the_arrays(op: str, at_end: bool) -> None:
    for factor, w, dtype in itertools.product((2, 3, 4), (1, 5, 17, 70), ("u8", "f16", "f32", "f64")):
        problem = ShuffleProblem((1,), 3, 2, w, factor, op == "pixel_unshuffle", dtype)
        x = copy_between_guards(draw(problem.inputs[0].shape, dtype), at_end)
        out = copy_between_guards(np.zeros(problem.outputs[0].shape, NUMPY[dtype]), at_end)
        for algorithm in able(problem):
            if algorithm.backend != "numpy":
                FUNCTIONS[op](x, factor, out=out, algorithm=algorithm.id)
                np.testing.assert_array_equal(out, reference.pixel_shuffle(problem, x))


def test_out_may_overlap() -> None:
    memory = draw((1, 8, 6, 20), "f32").ravel()
    x, expected = memory.reshape(1, 8, 6, 20), pyconv.pixel_shuffle(memory.reshape(1, 8, 6, 20), 2)
    np.testing.assert_array_equal(pyconv.pixel_shuffle(x, 2, out=memory.reshape(1, 2, 12, 40)), expected)


def test_bits_are_kept() -> None:
    """A move keeps the payload of a NaN and the sign of a zero."""
    bits = np.array([0x7FC12345, 0xFFA00001, 0x80000000, 0x00000001] * 20, np.uint32)
    x = bits.view(np.float32).reshape(4, 1, 20)
    back = pyconv.pixel_unshuffle(pyconv.pixel_shuffle(x, 2), 2)
    np.testing.assert_array_equal(back.ravel().view(np.uint32), bits)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_threads_and_large_images(threads: int) -> None:
    for channels_last in (False, True):
        x = draw((2, 36, 200, 101), "f32", channels_last)
        with pyconv.options(threads=threads):
            for factor in (2, 3):
                y = pyconv.pixel_shuffle(x, factor)
                np.testing.assert_array_equal(y, pyconv.pixel_shuffle(x, factor, algorithm="reference"))
                np.testing.assert_array_equal(pyconv.pixel_unshuffle(y, factor), x)


@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (8, 3, 5), (2, 3, 8, 3, 5)])
@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
def test_gradients_are_the_other_move(shape: tuple[int, ...], dtype: str) -> None:
    x = draw(shape, dtype)
    y = pyconv.pixel_shuffle(x, 2)
    (gx,) = pyconv.grad.pixel_shuffle(y, np.zeros_like(x), 2)
    np.testing.assert_array_equal(gx, x)
    (gy,) = pyconv.grad.pixel_unshuffle(x, np.zeros_like(y), 2)
    np.testing.assert_array_equal(gy, y)
    out = np.zeros_like(x)
    assert pyconv.grad.pixel_shuffle(y, x, 2, out=out)[0] is out
    np.testing.assert_array_equal(out, x)
    assert pyconv.grad.pixel_shuffle(y, x, 2, output_mask=(False,)) == (None,)
    answer = pyconv.explain(pyconv.grad.pixel_shuffle, y.shape, x.shape, 2)
    assert answer.algorithm.startswith("pixel_unshuffle.")


X = np.ones((1, 8, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pyconv.pixel_shuffle(X, 3), InvalidProblem, r"pixel_shuffle\(x .*c must be a multiple .* 9, got 8"),
        (lambda: pyconv.pixel_unshuffle(X, 4), InvalidProblem, "h and w must be multiples of downscale_factor=4"),
        (lambda: pyconv.pixel_shuffle(X, 0), InvalidProblem, "upscale_factor must be >= 1, got 0"),
        (lambda: pyconv.pixel_unshuffle(X, -2), InvalidProblem, "downscale_factor must be >= 1, got -2"),
        (lambda: pyconv.pixel_shuffle(X, 2**70), InvalidProblem, "c must be a multiple"),
        (lambda: pyconv.pixel_shuffle(X[:, :0], 2**40), InvalidProblem, r"2\^60"),
        (lambda: pyconv.pixel_shuffle(X, 2.0), TypeError, "integer"),
        (lambda: pyconv.pixel_shuffle(X, "2"), TypeError, "upscale_factor must be an integer"),
        (lambda: pyconv.pixel_shuffle(X, (2, 2)), InvalidProblem, "upscale_factor must be an integer"),
        (lambda: pyconv.pixel_shuffle(X[0, 0], 2), InvalidProblem, r"x must have axes \(\.\.\., c, h, w\)"),
        (lambda: pyconv.pixel_shuffle(X > 0, 2), TypeError, "x must be float16"),
        (lambda: pyconv.pixel_shuffle(X.tolist(), 2), TypeError, "x must be an array"),
        (lambda: pyconv.pixel_shuffle(X, 2, out=np.zeros((1, 2, 8, 6), "f")), InvalidProblem, "out must have"),
        (lambda: pyconv.pixel_shuffle(X, 2, out=np.zeros((1, 2, 8, 12))), TypeError, "out must be float32"),
        (lambda: pyconv.pixel_shuffle(X, 2, algorithm="direct"), InvalidProblem, "no algorithm is called"),
        (lambda: pyconv.grad.pixel_shuffle(X, X, 2), InvalidProblem, r"grad_output must have .* \(1, 2, 8, 12\)"),
        (lambda: pyconv.grad.pixel_shuffle(X, X, 3), InvalidProblem, r"grad.pixel_shuffle\(x .*c must be a multiple"),
        (lambda: pyconv.grad.pixel_unshuffle(X, X.astype("i4"), 2), TypeError, "x must be float16"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    x = draw((2, 3, 36, 5, 7), "f32")
    for factor in (1, 2, 3):
        y = torch.nn.functional.pixel_shuffle(torch.from_numpy(x), factor)
        np.testing.assert_array_equal(pyconv.pixel_shuffle(x, factor), y.numpy())
        back = torch.nn.functional.pixel_unshuffle(y, factor)
        np.testing.assert_array_equal(pyconv.pixel_unshuffle(y.numpy(), factor), back.numpy())
