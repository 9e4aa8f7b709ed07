"""unfold and fold: every registered algorithm, by its name, against the definition, convolution and torch."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from checker import compare, in_memory_order
from guards import (
    copy_between_guards,
    forget_last_kernel,
    guarded_scratch,
    last_kernel,
    restride,
    untouched_memory,
    view_between_guards,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, InvalidProblem, LoweringProblem, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.problem import DTYPES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
pyconv.algorithms()
ALGORITHMS = {id: registry.find(id) for id in pyconv.algorithms() if id.partition(".")[0] in ("fold", "unfold")}
BUILT = registry.why_missing("c") is None


def lowering(text: str, fold: bool = False) -> LoweringProblem:
    """The windows of a convolution's string."""
    return LoweringProblem(ConvProblem.parse(text), fold)


SIZES = (
    "n2c3h7w9-o1k3s1p1", "n1c5h14w14-o1k3s1p1", "n3c9h4w4-o1k3s1p1", "n2c4h40w33-o1k3s1p1", "n1c3h30w31-o1k7s2p3",
    "n1c2h9w200-o1k3s1p0", "n2c20h6w5-o1k1s1p0", "n1c6h8w8-o1k2s2p0", "n1c18h11w13-o1k3x5s2x1p2x1:3d2x1",
    "n1c1h12w70-o1k2x4s3x5p1x3d1x3", "n1c3h5w5-o1k5s1p0", "n1c3h5w5-o1k3s7p2", "n1c2h1w1-o1k3s1p1",
    "n1c2h1w40-o1k1x9s1p0x4", "n1c2h40w1-o1k9x1s1p4x0", "n1c2h6w3-o1k3x2s2x4p1:0x2:1", "n2c17h16w16-o1k3s1p4d4",
    "n1c3h3w600-o1k3s2p1", "n1c2h20w20-o1k11s4p2", "n1c2h9w9-o1k3s1p60d2", "n0c3h5w5-o1k3s1p1",
)  # fmt: skip
PROBLEMS = [
    lowering(f"{text}-{dtype}{'-channels_last' if (i + j) % 2 and not text.startswith('n0') else ''}", fold)
    for (i, text), (j, dtype), fold in itertools.product(
        enumerate(SIZES), enumerate(("f32", "f64", "f16")), (False, True)
    )
]


def keywords(conv: ConvProblem) -> dict[str, Any]:
    return {"kernel_size": conv.kernel, "stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}


def make(problem: LoweringProblem, integers: bool = True, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    operand = problem.inputs[0]
    values = rng.integers(-4, 5, operand.shape) if integers else rng.standard_normal(operand.shape)
    return in_memory_order(values.astype(NUMPY[problem.dtype]), operand.channels_last)


def call(problem: LoweringProblem, x: np.ndarray, **how: Any) -> np.ndarray:
    """The public call of a problem; as the gradient of unfold, images come in the memory order of the forward x."""
    conv = problem.conv
    if not problem.fold:
        return pyconv.unfold(x, **keywords(conv), **how)
    if not conv.channels_last:
        return pyconv.fold(x, conv.spatial, **keywords(conv), **how)
    forward = in_memory_order(np.zeros(conv.x_shape, x.dtype), True)
    (got,) = pyconv.grad.unfold(x, forward, **keywords(conv), **how)
    assert got is not None
    return got


def defined(problem: LoweringProblem, x: np.ndarray) -> np.ndarray:
    return (reference.fold if problem.fold else reference.unfold)(problem, x).astype(np.float64)


def supporting(problem: LoweringProblem) -> list[Algorithm]:
    found = [a for a in ALGORITHMS.values() if a.op == problem.op and a.dtype == problem.dtype]
    return [a for a in found if a.supports(problem)]


def compiled(problem: LoweringProblem) -> list[Algorithm]:
    return [a for a in supporting(problem) if a.backend != "numpy"]


def check(problem: LoweringProblem, algorithm: Algorithm, integers: bool) -> None:
    x = make(problem, integers)
    given, expected = x.copy(), defined(problem, x)
    allowed: Any = 0.0
    if not integers and problem.fold:
        allowed = algorithm.error_bound(problem) * defined(problem, np.abs(x))
    forget_last_kernel(algorithm)
    with guarded_scratch(algorithm, fill=0xA5):
        result = call(problem, x, algorithm=algorithm.id)
    if expected.size and algorithm.backend != "numpy":
        assert last_kernel(algorithm) == algorithm.kernel_name  # type: ignore[attr-defined]
    compare(result, expected, allowed, x.dtype)
    np.testing.assert_array_equal(x, given, "the input was changed")
    with guarded_scratch(algorithm, fill=0xFF):
        np.testing.assert_array_equal(call(problem, x, algorithm=algorithm.id), result)
    if problem.fold and problem.conv.channels_last and result.size:
        assert np.moveaxis(result, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"
    elif result.size:
        assert result.flags.c_contiguous


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: f"{p.op}-{p}")
def test_every_algorithm_on_the_table(problem: LoweringProblem) -> None:
    asked = supporting(problem)
    assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if BUILT else set())
    for algorithm in asked:
        check(problem, algorithm, integers=True)
        if algorithm.backend != "numpy":
            check(problem, algorithm, integers=False)


@pytest.mark.parametrize("id", ALGORITHMS)
def test_every_algorithm_is_covered(id: str) -> None:
    algorithm = ALGORITHMS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    assert any(algorithm in supporting(problem) for problem in PROBLEMS)


@st.composite
def problems(draw: st.DrawFn) -> LoweringProblem:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kernel, stride, dilation = pair(1, 5), pair(1, 4), pair(1, 3)
    spatial, padding = pair(1, 40), (pair(0, 4), pair(0, 4))
    spatial = tuple(
        max(size, d * (k - 1) + 1 - sum(pads))
        for size, d, k, pads in zip(spatial, dilation, kernel, padding, strict=True)
    )  # type: ignore[assignment]
    n, c, dtype = draw(st.integers(1, 2)), draw(st.integers(1, 20)), draw(st.sampled_from(("f32", "f64", "f16")))
    conv = ConvProblem(
        n, c, 1, spatial, kernel, stride, padding, dilation, dtype=dtype, channels_last=draw(st.booleans())
    )
    return LoweringProblem(conv, draw(st.booleans()))


@settings(max_examples=150)
@given(problems(), st.booleans())
def test_any_problem(problem: LoweringProblem, integers: bool) -> None:
    x = make(problem, integers)
    expected = defined(problem, x)
    for algorithm in supporting(problem):
        allowed: Any = 0.0
        if not integers and problem.fold:
            allowed = algorithm.error_bound(problem) * defined(problem, np.abs(x))
        compare(call(problem, x, algorithm=algorithm.id), expected, allowed, x.dtype)


@settings(max_examples=60)
@given(problems())
def test_adjoint(problem: LoweringProblem) -> None:
    """<unfold(x), y> = <x, fold(y)>, exactly."""
    unfold, fold = LoweringProblem(problem.conv), LoweringProblem(problem.conv, True)
    x, y = make(unfold), make(fold, seed=1)
    left = (call(unfold, x).astype(np.float64) * y.astype(np.float64)).sum()
    right = (x.astype(np.float64) * call(fold, y).astype(np.float64)).sum()
    assert left == right
    gradients = pyconv.grad.unfold(y, x, **keywords(problem.conv))
    np.testing.assert_array_equal(gradients[0], call(fold, y))
    gradients = pyconv.grad.fold(x, y, problem.conv.spatial, **keywords(problem.conv))
    np.testing.assert_array_equal(gradients[0], call(unfold, x))


@settings(max_examples=60)
@given(problems(), st.integers(1, 5))
def test_convolution_is_a_product_with_the_columns(problem: LoweringProblem, c_out: int) -> None:
    conv = problem.conv
    x = make(LoweringProblem(conv)).astype(np.float64)
    w = np.random.default_rng(1).integers(-4, 5, (c_out, conv.c_in, *conv.kernel)).astype(np.float64)
    rest = keywords(conv)
    columns = pyconv.unfold(x, **rest)
    del rest["kernel_size"]
    y = pyconv.conv2d(x, w, **rest)
    np.testing.assert_array_equal((w.reshape(c_out, -1) @ columns).reshape(y.shape), y)


def test_the_gradient_of_one_is_planned_as_the_other() -> None:
    x, columns = np.ones((1, 2, 5, 5), np.float32), np.ones((1, 18, 9), np.float32)
    assert pyconv.explain(pyconv.grad.unfold, columns, x, 3).algorithm.startswith("fold.")
    assert pyconv.explain(pyconv.grad.fold, x, columns, 5, 3).algorithm.startswith("unfold.")
    assert pyconv.explain(pyconv.unfold, (1, 2, 5, 5), 3).algorithm.startswith("unfold.im2col." if BUILT else "unfold.")
    assert pyconv.grad.unfold(columns, x, 3, output_mask=(False,)) == (None,)


SAMPLE = [p for i, p in enumerate(PROBLEMS) if i % 4 in (0, 3) and p.conv.n]


@pytest.mark.parametrize("problem", SAMPLE, ids=lambda p: f"{p.op}-{p}")
def test_any_strides(problem: LoweringProblem) -> None:
    """Inputs and outputs of any strides, and nothing between the elements is written."""
    rng = np.random.default_rng(1)
    x = make(problem)
    expected = defined(problem, x)
    for algorithm in compiled(problem):
        for _ in range(4):
            out = restride(np.zeros(problem.outputs[0].shape, x.dtype), rng)
            base = out
            while base.base is not None:
                base = base.base
            gaps = np.isnan(base).sum()
            assert call(problem, restride(x, rng), out=out, algorithm=algorithm.id) is out
            np.testing.assert_array_equal(out.astype(np.float64), expected, algorithm.id)
            assert np.isnan(base).sum() == gaps, f"{algorithm.id} wrote between the elements"


@pytest.mark.parametrize("problem", SAMPLE, ids=lambda p: f"{p.op}-{p}")
def test_nothing_outside_is_touched(problem: LoweringProblem) -> None:
    """Arrays, with and without gaps, that begin or end where unreadable memory does."""
    x = make(problem)
    expected = defined(problem, x)
    for algorithm, at_end in itertools.product(compiled(problem), (False, True)):
        out = copy_between_guards(np.zeros(problem.outputs[0].shape, x.dtype), at_end)
        call(problem, copy_between_guards(x, at_end), out=out, algorithm=algorithm.id)
        np.testing.assert_array_equal(out.astype(np.float64), expected)
        apart = []
        for shape in (x.shape, out.shape):  # rows of a plane, or of the matrix, with a gap between them
            steps = [1]
            for i, size in enumerate(reversed(shape[1:])):
                steps.insert(0, steps[0] * size + (3 if i == 0 else 0))
            apart.append(view_between_guards(shape, tuple(steps), x.dtype, at_end)[0])
        apart[0][...] = x
        call(problem, apart[0], out=apart[1], algorithm=algorithm.id)
        np.testing.assert_array_equal(apart[1].astype(np.float64), expected)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "n4c30h40w41-o1k3s1p1-f32",
        "n3c70h14w14-o1k3s1p1-f64",
        "n1c3h150w151-o1k7s2p3-f16",
        "n2c40h60w61-o1k3s2p1-f32-channels_last",
    ],
)
def test_the_same_bits_for_any_number_of_threads(text: str, fold: bool) -> None:
    problem = lowering(text, fold)
    x = make(problem, integers=False)
    for algorithm in compiled(problem):
        found = []
        for threads in (1, 2, 5):
            with pyconv.options(threads=threads):
                found.append(call(problem, x, algorithm=algorithm.id).tobytes())
        assert found[0] == found[1] == found[2], algorithm.id


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16"])
@pytest.mark.parametrize(
    "text", ["n1c2h9w21-o1k3s1p1", "n1c2h5w40-o1k3s2p1", "n1c1h14w14-o1k3s1p1", "n1c9h8w8-o1k2s3p0"]
)
def test_nan_and_infinities_go_where_their_element_goes(text: str, dtype: str) -> None:
    for fold, special, last in itertools.product((False, True), (np.nan, np.inf, -np.inf), ("", "-channels_last")):
        problem = lowering(f"{text}-{dtype}{last}", fold)
        x = make(problem)
        where = np.zeros(x.shape, bool)
        for at in np.random.default_rng(0).integers(0, x.size, 4):
            where.flat[at] = True
        x[where] = special
        expected = defined(problem, x)
        for algorithm in supporting(problem):
            compare(call(problem, x, algorithm=algorithm.id), expected, 0.0, x.dtype)


def test_unbatched_and_settings() -> None:
    x = np.arange(2 * 6 * 7, dtype=np.float32).reshape(2, 6, 7)
    columns = pyconv.unfold(x, (3, 2), padding=((1, 0), (0, 2)), stride=(1, 2))
    np.testing.assert_array_equal(columns, pyconv.unfold(x[None], [3, 2], 1, [[1, 0], [0, 2]], [1, 2])[0])
    image = pyconv.fold(columns, (6, 7), (3, 2), padding=((1, 0), (0, 2)), stride=(1, 2))
    assert image.shape == x.shape
    np.testing.assert_array_equal(pyconv.grad.unfold(columns, x, (3, 2), 1, ((1, 0), (0, 2)), (1, 2))[0], image)
    np.testing.assert_array_equal(pyconv.grad.fold(x, columns, (6, 7), (3, 2), 1, ((1, 0), (0, 2)), (1, 2))[0], columns)
    same = pyconv.unfold(x, 3, padding="same")
    assert same.shape == (18, 42)
    np.testing.assert_array_equal(same, pyconv.unfold(x, 3, padding=1))
    np.testing.assert_array_equal(pyconv.unfold(x, 3, padding="valid"), pyconv.unfold(x, 3))
    np.testing.assert_array_equal(pyconv.fold(same, (6, 7), 3, padding="same"), pyconv.fold(same, (6, 7), 3, padding=1))
    out = np.zeros((18, 42), np.float32)
    assert pyconv.unfold(x, 3, padding=1, out=out) is out
    np.testing.assert_array_equal(out, same)


def test_out_may_overlap_the_input() -> None:
    memory = np.arange(200, dtype=np.float32)
    x = memory[:36].reshape(1, 1, 6, 6)
    expected = pyconv.unfold(x.copy(), 2)
    np.testing.assert_array_equal(pyconv.unfold(x, 2, out=memory[10:110].reshape(1, 4, 25)), expected)
    memory[:100] = expected.ravel()
    image = pyconv.fold(expected, 6, 2)
    columns = memory[:100].reshape(1, 4, 25)
    np.testing.assert_array_equal(pyconv.fold(columns, 6, 2, out=memory[50:86].reshape(1, 1, 6, 6)), image)


@pytest.mark.parametrize("backend", ["c", "numba", "numpy"])
def test_what_is_empty(backend: str) -> None:
    if registry.why_missing(backend):
        pytest.skip(f"no {backend}")
    with pyconv.options(backend=backend):
        assert pyconv.unfold(np.zeros((0, 3, 5, 5)), 3).shape == (0, 27, 9)
        assert pyconv.unfold(np.zeros((2, 0, 5, 5)), 3).shape == (2, 0, 9)
        assert pyconv.fold(np.zeros((0, 27, 9)), 5, 3).shape == (0, 3, 5, 5)
        assert pyconv.fold(np.zeros((2, 0, 9)), 5, 3).shape == (2, 0, 5, 5)
        border = pyconv.unfold(np.zeros((1, 2, 0, 4)), 2, padding=1)
        assert border.shape == (1, 8, 5)
        assert not border.any()
        assert pyconv.fold(border, (0, 4), 2, padding=1).shape == (1, 2, 0, 4)


def test_a_row_wider_than_the_scratch_allowed() -> None:
    """Rows are cut where a tile, or masks, of whole ones would be too large; the definition needs no room at all."""
    x = np.random.default_rng(0).integers(-4, 5, (1, 9, 2, 150_000)).astype(np.float32)
    for order, settings_ in itertools.product((x, in_memory_order(x, True)), ({"padding": 1}, {"stride": 2})):
        with pyconv.options(max_workspace="1MB"):
            columns = pyconv.unfold(order, 2, **settings_)
            image = pyconv.fold(columns, x.shape[2:], 2, **settings_)
        problem = LoweringProblem(
            ConvProblem(1, 9, 1, x.shape[2:], (2, 2), (settings_.get("stride", 1),) * 2,
                        ((settings_.get("padding", 0),) * 2,) * 2, (1, 1)), True,
        )  # fmt: skip
        np.testing.assert_array_equal(columns, reference.unfold(problem, order))
        np.testing.assert_array_equal(image, reference.fold(problem, columns))
    for algorithm in compiled(LoweringProblem(replace_kernel(problem.conv, (1, 100_000)))):
        wide = LoweringProblem(replace_kernel(problem.conv, (1, 100_000)))
        assert algorithm.workspace(Call.typical(wide, 2, 1 << 20)) is None


def replace_kernel(conv: ConvProblem, kernel: tuple[int, int]) -> ConvProblem:
    return ConvProblem(conv.n, conv.c_in, 1, conv.spatial, kernel, conv.stride, conv.padding, conv.dilation)


def test_more_than_32_bits_of_columns() -> None:
    """Indices are 64-bit: windows at the end of an axis of more than 2^31 elements."""
    if not BUILT:
        pytest.skip("the definition copies x")
    try:
        x = untouched_memory((1 << 31) + 64, np.float16).reshape(1, 1, 1, -1)
    except OSError:
        pytest.skip("the system does not lend so much address space")
    x[..., -3:] = 1, 2, 3
    columns = pyconv.unfold(x, (1, 3), stride=(1, 1 << 30))
    assert columns.shape == (1, 3, 3)
    np.testing.assert_array_equal(columns, 0)
    last = pyconv.unfold(x[..., 61:], (1, 3), stride=(1, 1 << 30))
    np.testing.assert_array_equal(last[0, :, 2], (1, 2, 3))


def test_as_torch_has_it() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    for k, d, p, s in itertools.product(((3, 3), (2, 4)), ((1, 1), (2, 1)), ((0, 0), (1, 2)), ((1, 1), (2, 3))):
        x = rng.integers(-4, 5, (2, 3, 11, 13)).astype(np.float32)
        expected = torch.nn.functional.unfold(torch.from_numpy(x), k, d, p, s).numpy()
        columns = pyconv.unfold(x, k, d, p, s)
        np.testing.assert_array_equal(columns, expected)
        expected = torch.nn.functional.fold(torch.from_numpy(columns), (11, 13), k, d, p, s).numpy()
        np.testing.assert_array_equal(pyconv.fold(columns, (11, 13), k, d, p, s), expected)


def test_what_is_no_plane_has_no_columns() -> None:
    with pytest.raises(InvalidProblem, match="needs planes"):
        LoweringProblem(ConvProblem.parse("n1c2w5-o1k3s1p0-f32"))


def test_strings_say_what_differs() -> None:
    assert (
        str(lowering("n1c18h11w13-o1k3x5s2x1p2x1:3d2x1-f64-channels_last"))
        == "n1c18h11w13-k3x5s2x1p2x1:3d2x1-f64-channels_last"
    )
    problem = lowering("n2c3h7w9-o1k3s2p1-f32", True)
    assert problem.overlap == 4
    assert problem.bytes == 4 * (2 * 3 * 7 * 9 + math.prod(problem.columns_shape))
