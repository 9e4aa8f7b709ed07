"""Pooling and un-pooling: every registered algorithm, by its name, against the definition, plain loops and torch."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from checker import compare, in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import InvalidProblem, PoolProblem, UnpoolProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.ops import call as call_module
from pyconv.problem import DTYPES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
pyconv.algorithms()
POOLS = {
    id: registry.find(id)
    for id in pyconv.algorithms()
    if "pool" in id.split(".")[0] and "roi" not in id and not id.endswith("@cuda")  # tests/test_cuda.py
}
#: operation, problem
PROBLEMS = (
    # both strides, ragged rows, whole vectors, borders, windows that hang over
    *(
        (f"{kind}_pool2d", text)
        for kind in ("max", "avg")
        for text in (
            "n2c3h13w17-k2s2p0-f32",
            "n1c5h40w83-k2s2p1-f32-ceil",
            "n2c3h23w37-k3s2p1-f32",
            "n1c2h9w200-k3s2p1-f64-ceil",
            "n1c4h14w14-k3s1p1-f32",
            "n1c2h9w131-k3s1p1-f32",
            "n1c3h33w33-k3s2p0:1-f16",
            "n1c3h13w13-k5s1p2-f32",
            "n1c2h20w90-k5x4s1p2x1-f64",
            "n1c2h31w30-k9s1p4-f32",
            "n1c2h13w150-k13s1p6-f32",
            "n1c2h50w31-k13x8s2x1p6x4-f32",
            "n1c1h70w9-k20x3s3x2p10x1-f64",
            "n1c3h17w19-k4s4p0-f32",
            "n1c3h17w100-k3s3p1-f16-ceil",
            "n1c2h11w10-k1s2p0-f32",
            # small windows in registers: one vector a row and several, every type, several planes a task, one output
            "n2c70h14w14-k2s2p0-f32",
            "n1c3h9w70-k2s2p1-f16-ceil",
            "n2c70h13w13-k3s2p0-f32",
            "n1c3h21w47-k3s2p1-f64",
            "n1c3h21w64-k3s2p1x0-f32",
            "n1c70h7w7-k3s1p1-f16",
            "n1c2h12w50-k3s1p0-f32",
            "n1c2h12w50-k5s1p2-f16",
            "n1c2h12w32-k5s2x1p1x2-f32",
            "n1c2h3w3-k3s2p1-f32",
            "n1c2h5w5-k5s1p0-f32",
            "n1c1h6w9000-k3s2p1-f32",
            "n2c33h60w60-k10s10p0-f32",
            "n1c2h40w40-k16s16p0-f32",
            "n2c20h9w11-k3s2p1-f32-channels_last",
            "n1c5h9w300-k3s1p1-f32-channels_last",
            "n1c70h14w15-k2s2p0-f64-channels_last-ceil",
            "n1c17h30w12-k9s1p4-f16-channels_last",
            "n0c3h8w8-k2s2p0-f32",
            "n2c0h8w8-k2s2p0-f32",
        )
    ),
    # powers by multiplication and by pow, roots of whole vectors and one by one, sums of both signs, windows that hang
    # over; rows one by one, planes, blocks of rows, one run
    *(
        ("lp_pool2d", f"{sizes}-norm{norm}{order}")
        for norm in ("1.0", "2.0", "3.0", "4.0", "9.0", "2.5", "0.5")
        for sizes, order in (
            ("n2c3h13w17-k2s2p0-f32", ""),
            ("n1c3h12w38-k3s2p0-f64-ceil", ""),
            ("n1c20h9w11-k3s1p0-f32", "-channels_last"),
            ("n1c3h30w31-k9s1p0-f16", ""),
        )
    ),
    *(
        ("lp_pool2d", f"{text}-norm{norm}")
        for norm in ("2.0", "3.0")
        for text in (
            "n1c2h14w14-k3s1p0-f64",
            "n1c2h9w131-k3x5s1x3p0-f32-ceil",
            "n1c2h7w6-k7x6s1p0-f32",
            "n1c2h7w6-k2s5p0-f32",
            "n1c1h50w90-k9x3s1p0-f32",
            "n0c3h8w8-k2s2p0-f32",
        )
    ),
    *(("lp_pool1d", f"n2c3w301-k3s2p0-{dtype}-norm{norm}") for dtype in ("f32", "f16") for norm in ("2.0", "3.0")),
    *(("lp_pool1d", f"n1c20w40-k11s1p0-f64-norm{norm}-channels_last") for norm in ("1.0", "3.0", "1.5")),
    *(
        ("lp_pool3d", f"n1c3d5h9w18-k3s2p0-{dtype}-ceil-norm{norm}")
        for dtype in ("f32", "f64")
        for norm in ("2.0", "5.0")
    ),
    *(("lp_pool3d", f"n1c18d3h4w5-k2s1p0-f16-norm{norm}-channels_last") for norm in ("2.0", "3.0")),
    *((f"{kind}_pool1d", "n2c3w301-k3s2p1-f32") for kind in ("max", "avg")),
    *((f"{kind}_pool1d", "n1c4w90-k11s1p5-f64-channels_last") for kind in ("max", "avg")),
    *((f"{kind}_pool1d", "n1c3w5-k7s2p3-f16") for kind in ("max", "avg")),
    *((f"{kind}_pool3d", "n1c3d5h9w18-k3s2p1-f32") for kind in ("max", "avg")),
    *((f"{kind}_pool3d", "n2c2d4h5w20-k2x3x5s1x1x2p1x1x2-f64-ceil") for kind in ("max", "avg")),
    *((f"{kind}_pool3d", "n1c18d3h4w5-k2s1p1-f16-channels_last") for kind in ("max", "avg")),
    *((f"{kind}_pool3d", "n1c1d20h6w7-k40x1x1s2x1x1p20x0x0-f32") for kind in ("max", "avg")),
    ("max_pool2d", "n1c3h25w41-k3s1p2d2-f32"),
    ("max_pool2d", "n1c3h25w41-k3x2s2x3p2x1d3x2-f64-channels_last"),
    ("max_pool2d", "n2c2h3w1-k2s1p2d4-f32"),  # windows wholly in the border
    ("max_pool1d", "n1c2w1-k2s1p2d4-f16"),
    ("max_pool3d", "n1c2d1h1w1-k2s1p2d4-f64"),
    ("avg_pool2d", "n1c3h12w40-k3s2p1-f32-without_pad"),
    ("avg_pool2d", "n1c3h12w14-k3s2p1-f64-ceil-without_pad"),
    ("avg_pool2d", "n1c18h12w14-k5s2p2-f32-without_pad-channels_last"),
    ("avg_pool2d", "n1c3h12w40-k3s2p1-f32-ceil-over7"),
    ("avg_pool2d", "n1c3h12w40-k3s1p1-f32-without_pad-overminus4"),
    ("avg_pool3d", "n1c2d5h6w7-k3s2p1-f16-without_pad"),
    *(
        (f"adaptive_{kind}_pool2d", text)
        for kind in ("max", "avg")
        for text in (
            "n2c3h14w14-to7x7-f32",
            "n1c5h13w40-to5x7-f32",
            "n1c3h7w7-to1x1-f32",
            "n1c2h64w70-to1x1-f16",
            "n1c2h5w6-to9x13-f64",
            "n1c20h13w11-to4x3-f32-channels_last",
            "n1c20h7w7-to1x1-f64-channels_last",
            "n1c3h8w60-to8x1-f32",
            "n1c3h8w6-to0x2-f32",
            "n0c3h8w6-to2x2-f32",
        )
    ),
    *((f"adaptive_{kind}_pool1d", "n2c3w50-to7-f32") for kind in ("max", "avg")),
    *((f"adaptive_{kind}_pool1d", "n2c3w500-to1-f16") for kind in ("max", "avg")),
    *((f"adaptive_{kind}_pool1d", "n1c18w30-to8-f64-channels_last") for kind in ("max", "avg")),
    *((f"adaptive_{kind}_pool3d", "n1c2d5h6w7-to3x2x5-f64") for kind in ("max", "avg")),
    *((f"adaptive_{kind}_pool3d", "n1c2d5h6w20-to2x6x3-f16") for kind in ("max", "avg")),
    *((f"adaptive_{kind}_pool3d", "n1c2d3h4w5-to1x1x1-f32") for kind in ("max", "avg")),
    *(
        (f"max_pool{rank}d", f"n2c3{sizes}-k3s2p1-{dtype}{order}")
        for dtype in ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
        for rank, sizes, order in ((1, "w77", ""), (2, "h11w70", ""), (2, "h11w7", "-channels_last"), (3, "d3h5w9", ""))
    ),
    *(
        (f"adaptive_max_pool{rank}d", f"n1c3{sizes}-{dtype}")
        for dtype in ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
        for rank, sizes in ((1, "w77-to5"), (2, "h5w150-to1x1"), (3, "d3h5w9-to2x2x2"))
    ),
)


def problems_of(op: str, text: str) -> list[PoolProblem]:
    """The problem, with indices, and the gradients."""
    problem = PoolProblem.parse(op, text)
    found = [problem]
    floats = problem.dtype.startswith("f")
    if problem.kind == "max":
        found.append(replace(problem, indices=True))
        if floats:
            found += [replace(problem, gradient=True), replace(problem, gradient=True, indices=True)]
    elif floats:
        found.append(replace(problem, gradient=True))
    return found


def draw(problem: Any, shape: tuple[int, ...], rng: np.random.Generator, integers: bool) -> np.ndarray:
    if integers or not problem.dtype.startswith("f"):
        low = -9 if problem.dtype[0] != "u" else 0
        values = rng.integers(low, 10, shape)
    else:
        values = rng.standard_normal(shape)
    return in_memory_order(values.astype(NUMPY[problem.dtype]), problem.channels_last)


def arguments(problem: PoolProblem) -> dict[str, Any]:
    """The arguments of the public function but for the arrays."""
    if problem.adaptive is not None:
        found: dict[str, Any] = {"output_size": problem.adaptive}
    elif problem.kind == "lp":
        found = {"norm_type": problem.norm, "kernel_size": problem.kernel}
        found |= {"stride": problem.stride, "ceil_mode": problem.ceil_mode}
    else:
        found = {
            "kernel_size": problem.kernel,
            "stride": problem.stride,
            "padding": problem.padding,
            "ceil_mode": problem.ceil_mode,
        }
        if problem.kind == "max":
            found["dilation"] = problem.dilation
        else:
            found |= {"count_include_pad": problem.count_include_pad, "divisor_override": problem.divisor}
    if problem.indices and not problem.gradient:
        found["return_indices"] = True
    return found


def call_of(problem: PoolProblem, arrays: dict[str, np.ndarray]) -> Any:
    name = problem.op.removesuffix("-grad-x")
    if not problem.gradient:
        return partial(getattr(pyconv, name), arrays["x"], **arguments(problem))
    more = {"indices": arrays["indices"]} if problem.indices else {}
    return partial(getattr(pyconv.grad, name), arrays["grad_output"], arrays["x"], **arguments(problem), **more)


def make(problem: PoolProblem, integers: bool, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arrays = {"x": draw(problem, problem.x_shape, rng, integers)}
    if problem.gradient:
        arrays["grad_output"] = draw(problem, problem.out_shape, rng, integers)
        if problem.indices:
            found = reference.pool(replace(problem, gradient=False), arrays["x"])[1]
            assert found is not None
            arrays["indices"] = in_memory_order(found, problem.channels_last)
    return arrays


def expected_of(problem: PoolProblem, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    if not problem.gradient:
        return [a for a in reference.pool(problem, arrays["x"]) if a is not None]
    return [reference.pool_grad(problem, arrays["grad_output"], arrays["x"], arrays.get("indices"))]


def allowed_of_norms(problem: PoolProblem, arrays: dict[str, np.ndarray], bound: float) -> np.ndarray:
    """What norms, or their gradient, may differ by where each sum is wrong by ``bound`` times its terms' sizes."""
    p, found = problem.norm, np.zeros(problem.x_shape if problem.gradient else problem.out_shape)
    epsilon = 2.0**-53 if problem.dtype == "f64" else 2.0**-24
    for image in np.ndindex(problem.n, problem.c):
        for position, where, _ in reference._windows(problem):
            window = arrays["x"][image][where].astype(np.float64)
            norm, terms, slopes = reference.norm_of(problem, window)
            total, size = terms.sum(), np.abs(terms).sum()
            error = bound * size
            signed = (window**p).sum() if p % 2 == 1 and p > 1 else np.inf
            unsure = abs(signed) <= error / len(window)  # by another sign it would be another sum
            if problem.gradient:
                g = abs(float(arrays["grad_output"][image + position]))
                relative = bound * (1 + size / max(abs(total), 1e-300)) + epsilon * abs(np.log(max(abs(total), 1e-300)))
                found[image][where] += np.inf if unsure else g * np.abs(slopes) * relative
            elif unsure:
                found[image + position] = np.inf
            elif p == 1:
                found[image + position] = error
            else:
                roots = max(total - error, 0) ** (1 / p), (total + error) ** (1 / p)
                exponent = epsilon * (8 + abs(np.log(max(total, 1e-300))) / p)  # of 1 / p, rounded
                found[image + position] = max(norm - roots[0], roots[1] - norm) + norm * exponent
    return found


def allowed_of(problem: PoolProblem, arrays: dict[str, np.ndarray], algorithm: Algorithm, expected: np.ndarray) -> Any:
    """The algorithm's bound times the same sum of magnitudes, and the rounding of the result."""
    bound = algorithm.error_bound(problem)
    if bound == 0:
        return 0.0
    epsilon = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}[problem.dtype]
    smallest = 2.0**-25 if problem.dtype == "f16" else 0.0  # half of the least float16
    if problem.kind == "lp":
        return allowed_of_norms(problem, arrays, bound) + epsilon * np.abs(expected) + smallest
    sizes = {name: a if name == "indices" else np.abs(a) for name, a in arrays.items()}
    if problem.gradient:
        sizes["x"] = arrays["x"]  # where the maxima are
    magnitude = expected_of(problem, sizes)[0]
    if problem.divisor is not None:
        magnitude = np.abs(magnitude)
    return bound * magnitude + epsilon * np.abs(expected) + smallest


def supporting(problem: Any) -> list[Algorithm]:
    able = [a for a in POOLS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    call = Call.typical(problem, 2, 64 << 20)
    return [a for a in able if a.workspace(call) is not None]


def outputs_of(result: Any) -> list[np.ndarray]:
    return list(result) if isinstance(result, tuple) else [result]


def check(problem: PoolProblem, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into poisoned outputs, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, integers, seed)
    expected = expected_of(problem, arrays)
    copies = {name: a.copy() for name, a in arrays.items()}
    poison = [
        in_memory_order(
            np.full(a.shape, np.nan if a.dtype.startswith("f") else 77).astype(NUMPY[a.dtype]), a.channels_last
        )
        for a in problem.outputs
    ]
    forget_last_kernel(algorithm)
    call = call_of(problem, arrays)
    with guarded_scratch(algorithm, fill=0xA5):
        result = outputs_of(call(algorithm=algorithm.id, out=poison[0] if len(poison) == 1 else tuple(poison)))
    for got, out in zip(result, poison, strict=True):
        assert got is out
    if algorithm.backend != "numpy" and result[0].size and arrays["x"].size and 0 not in problem.out_shape:
        assert last_kernel(algorithm) == algorithm.kernel_name
    allowed = allowed_of(problem, arrays, algorithm, expected[0])
    if problem.dtype.startswith("f"):
        compare(result[0], expected[0].astype(np.float64), allowed, NUMPY[problem.dtype])
    else:
        assert result[0].dtype == NUMPY[problem.dtype]
        np.testing.assert_array_equal(result[0], expected[0])
    if len(expected) == 2:
        assert result[1].dtype == np.int64
        np.testing.assert_array_equal(result[1], expected[1])
    for name, array in arrays.items():
        assert np.array_equal(array, copies[name]), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = outputs_of(call(algorithm=algorithm.id))
    for got, out in zip(fresh, poison, strict=True):
        np.testing.assert_array_equal(got, out)
    if problem.channels_last and problem.c > 1 and fresh[0].size and np.prod(problem.spatial) > 1:
        assert np.moveaxis(fresh[0], 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


@pytest.mark.parametrize(("op", "text"), PROBLEMS)
def test_every_algorithm_on_the_table(op: str, text: str) -> None:
    for problem in problems_of(op, text):
        asked = supporting(problem)
        assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if registry.why_missing("c") is None else set())
        for algorithm in asked:
            check(problem, algorithm, integers=True)
            if algorithm.backend != "numpy":
                check(problem, algorithm, integers=False)


@pytest.mark.parametrize("id", POOLS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = POOLS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    if "unpool" in algorithm.op:
        problems: list[Any] = list(UNPOOLS)
    else:
        problems = list(itertools.chain.from_iterable(itertools.starmap(problems_of, PROBLEMS)))
    asked = [p for p in problems if p.op == algorithm.op and p.dtype == algorithm.dtype]
    assert any(map(algorithm.supports, asked)), id


@st.composite
def drawn_problems(draw: st.DrawFn, kind: str) -> PoolProblem:
    rank = draw(st.sampled_from((1, 2, 2, 2, 3)))
    adaptive = draw(st.integers(0, 3)) == 0 and kind != "lp"
    axes = []
    for _ in range(rank):
        kernel = draw(st.integers(1, 15 if rank < 3 else 3))
        dilation = draw(st.sampled_from((1, 1, 2, 3))) if kind == "max" else 1
        stride = draw(st.sampled_from((1, 1, 2, 2, 3)))
        reach = dilation * (kernel - 1) + 1
        most = reach // 2 if kind != "lp" else 0
        padding = (draw(st.integers(0, most)), draw(st.integers(0, most)))
        size = max(1, reach - sum(padding)) + draw(st.integers(0, 50 if rank < 3 else 6))
        axes.append((size, kernel, stride, padding, dilation))
    spatial, kernel_, stride_, padding_, dilation_ = map(tuple, zip(*axes, strict=True))
    if adaptive:
        kernel_ = stride_ = dilation_ = (1,) * rank
        padding_ = ((0, 0),) * rank
    return PoolProblem(
        kind=kind,
        n=draw(st.integers(1, 2)),
        c=draw(st.sampled_from((1, 2, 3, 17))),
        spatial=spatial,
        kernel=kernel_,
        stride=stride_,
        padding=padding_,
        dilation=dilation_,
        ceil_mode=draw(st.booleans()) and not adaptive,
        adaptive=tuple(draw(st.integers(1, 9)) for _ in range(rank)) if adaptive else None,
        norm=draw(st.sampled_from((1.0, 2.0, 2.0, 3.0, 3.0, 6.0, 2.5, 0.75))) if kind == "lp" else 0.0,
        count_include_pad=draw(st.booleans()) or kind != "avg",
        divisor=draw(st.sampled_from((None, None, 3))) if kind == "avg" and not adaptive else None,
        dtype=draw(st.sampled_from(("f32", "f32", "f64", "f16"))),
        channels_last=draw(st.booleans()),
    )


@pytest.mark.parametrize("kind", ["max", "avg", "lp"])
@settings(max_examples=40)
@given(data=st.data())
def test_drawn_problems(kind: str, data: st.DataObject) -> None:
    problem = data.draw(drawn_problems(kind))
    if problem.channels_last and (problem.c == 1 or np.prod(problem.spatial) == 1):
        problem = replace(problem, channels_last=False)
    for variant in problems_of(problem.op, str(problem)):
        for algorithm in supporting(variant):
            if algorithm.backend != "numpy":
                check(variant, algorithm, integers=data.draw(st.booleans()))


def assert_norms(result: np.ndarray, expected: np.ndarray) -> None:
    """Of small integers and a few that are none: sums are exact, or no numbers."""
    epsilon = np.finfo(result.dtype).eps
    np.testing.assert_allclose(result, expected.astype(result.dtype), rtol=8 * epsilon, atol=0)


def special(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Small numbers among which are NaN, infinities of both signs and zeros of both, here and there in blocks."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-2, 3, shape).astype(NUMPY[dtype])
    x[rng.random(shape) < 0.1] = -np.inf
    x[rng.random(shape) < 0.05] = np.nan
    x[rng.random(shape) < 0.05] = np.inf
    x[rng.random(shape) < 0.05] = -0.0
    x[..., : shape[-1] // 3] = -np.inf
    x[..., :3, :] = -np.inf
    return x


@pytest.mark.parametrize(("op", "text"), [row for row in PROBLEMS if "n0" not in row[1] and "-f" in row[1]])
def test_nan_and_infinities(op: str, text: str) -> None:
    """Hazards 24 and 25: the same in the vectors' body and in the rest, an index inside x always."""
    for problem in problems_of(op, text):
        if problem.gradient or 0 in problem.out_shape or 0 in problem.x_shape:
            continue
        x = in_memory_order(special(problem.x_shape, problem.dtype, 3), problem.channels_last)
        expected = reference.pool(problem, x)
        for algorithm in supporting(problem):
            result = outputs_of(call_of(problem, {"x": x})(algorithm=algorithm.id))
            if problem.kind == "max":
                np.testing.assert_array_equal(result[0], expected[0])
                if problem.indices:
                    np.testing.assert_array_equal(result[1], expected[1])
                    assert result[1].min() >= 0
                    assert result[1].max() < np.prod(problem.spatial)
            elif problem.kind == "lp":
                assert_norms(result[0], expected[0])
            else:
                bound = (problem.window + 4) * 2.0 ** {"f16": -10, "f32": -23, "f64": -52}[problem.dtype]
                compare(result[0], expected[0], bound * 2 * problem.window, NUMPY[problem.dtype])


@pytest.mark.parametrize("text", ["k2s2p0", "k3s1p1", "k3s2p1", "k5s1p2", "k20s20p0"])
@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
@pytest.mark.parametrize("value", [np.nan, -np.nan, -np.inf, np.inf])
def test_one_strange_element_wherever_it_is(text: str, dtype: str, value: float) -> None:
    """The maxima of the processor lose a NaN, which has to be noticed in every lane; infinities are numbers."""
    for problem in problems_of("max_pool2d", f"n1c5h20w20-{text}-{dtype}"):
        if problem.gradient:
            continue
        rng = np.random.default_rng(5)
        for at in (0, 19, 20, 37, 190, 211, 380, 399):
            x = rng.integers(-3, 4, problem.x_shape).astype(NUMPY[dtype])
            x[0, 3] = -np.inf
            x.reshape(5, -1)[at % 5, at] = value
            expected = reference.pool(problem, x)
            for algorithm in supporting(problem):
                if algorithm.backend != "numpy":
                    result = outputs_of(call_of(problem, {"x": x})(algorithm=algorithm.id))
                    for got, wanted in zip(result, expected, strict=False):
                        np.testing.assert_array_equal(got, wanted)


@pytest.mark.skipif(bool(registry.why_missing("c")), reason="needs the C kernels")
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("indices", [False, True])
def test_float16_gradients_of_planes_that_the_scratch_does_not_hold(channels_last: bool, indices: bool) -> None:
    """Their sums are float32's; the plane is done piece by piece, with the same bits."""
    from pyconv.backends import c

    rng = np.random.default_rng(0)
    x = in_memory_order(rng.integers(-9, 9, (1, 9, 300, 200)).astype(np.float16), channels_last)
    y, at = pyconv.max_pool2d(x, 3, 2, 1, return_indices=True)
    g = in_memory_order(rng.integers(-9, 9, y.shape).astype(np.float16), channels_last)
    saved = {"indices": at} if indices else {}
    with pyconv.options(max_workspace="1MB"):
        result = pyconv.grad.max_pool2d(g, x, 3, 2, 1, **saved)[0]
        assert c.last_kernel().startswith("pool_scatter_f16")
    np.testing.assert_array_equal(result, pyconv.grad.max_pool2d(g, x, 3, 2, 1, algorithm="reference", **saved)[0])


def test_a_large_element_does_not_reach_other_averages() -> None:
    """Nothing is subtracted from a sum: 1e30 beside ones leaves the other windows exact."""
    for order in (False, True):
        for k in (3, 9, 13):
            x = np.ones((1, 20, 40, 60), np.float32)
            x[0, :, 20, 30] = 1e30
            y = pyconv.avg_pool2d(in_memory_order(x, order), k, 1, k // 2, count_include_pad=False)
            far = np.ones(y.shape[2:], bool)
            far[20 - k // 2 : 21 + k // 2, 30 - k // 2 : 31 + k // 2] = False
            assert (y[0, :, far] == 1).all()


def test_float16_averages_are_summed_in_float32() -> None:
    """Hazard 40."""
    x = np.ones((1, 1, 64, 64), np.float16)
    for algorithm in supporting(PoolProblem.parse("adaptive_avg_pool2d", "n1c1h64w64-to1x1-f16")):
        assert pyconv.adaptive_avg_pool2d(x, 1, algorithm=algorithm.id).item() == 1.0


#: torch has no float16 here, no uneven padding, no negative divisor, and padding of half a window without its dilation.
NOT_TORCH = ("-f16", "-i", "-u", ":", "overminus", "k40x", "p2d2", "p2x1d3x2", "p2d4")
TORCH = [row for row in PROBLEMS if not any(word in row[1] for word in NOT_TORCH)]


def check_norms_with_torch(torch: Any, problem: PoolProblem, x: np.ndarray) -> None:
    """The same wherever theirs is a number, but where the gradient is of a sum that cancels to nothing."""
    settings_ = {n: v[0] if isinstance(v, tuple) and problem.rank == 1 else v for n, v in arguments(problem).items()}
    for data in (x, np.abs(x)):
        t = torch.from_numpy(np.ascontiguousarray(data)).requires_grad_()
        theirs = getattr(torch.nn.functional, problem.op)(t, **settings_)
        ours = getattr(pyconv, problem.op)(data, **settings_)
        finite = np.isfinite(theirs.detach().numpy())
        assert finite.all() or data is x
        rounding = 1e-5 if problem.norm < 9 else 1e-3  # float32 does not hold the sums
        np.testing.assert_allclose(ours[finite], theirs.detach().numpy()[finite], rtol=rounding, atol=1e-6)
        assert np.isfinite(ours).all()
    theirs.sum().backward()
    grad = getattr(pyconv.grad, problem.op)(np.ones_like(ours), data, **settings_)[0]
    finite = np.isfinite(t.grad.numpy())
    np.testing.assert_allclose(grad[finite], t.grad.numpy()[finite], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("op", "text"), TORCH)
def test_torch_agrees(op: str, text: str) -> None:
    """Values, indices and gradients, ceil_mode's dropped window and every divisor (hazards 26 to 28)."""
    torch = pytest.importorskip("torch")
    problem = PoolProblem.parse(op, text)
    if 0 in problem.x_shape or 0 in problem.out_shape:
        pytest.skip("torch refuses some of the empty ones")
    x = make(problem, integers=True)["x"]
    settings_ = {name: v for name, v in arguments(problem).items() if v is not None}
    if problem.kind == "lp":
        check_norms_with_torch(torch, problem, x)
        return
    if "padding" in settings_:
        settings_["padding"] = tuple(before for before, _ in settings_["padding"])
    if problem.rank == 1:
        settings_ = {n: v[0] if isinstance(v, tuple) else v for n, v in settings_.items()}
        settings_.pop("divisor_override", None)
    function = getattr(torch.nn.functional, op)
    t = torch.from_numpy(np.ascontiguousarray(x)).requires_grad_()
    theirs = function(t, **settings_)
    np.testing.assert_allclose(getattr(pyconv, op)(x, **settings_), theirs.detach().numpy(), rtol=1e-6, atol=1e-6)
    if problem.kind == "max":
        values, indices = getattr(pyconv, op)(x, **settings_, return_indices=True)
        other = function(t, **settings_, return_indices=True)
        np.testing.assert_array_equal(values, other[0].detach().numpy())
        np.testing.assert_array_equal(indices, other[1].numpy())
    g = make(replace(problem, gradient=True), integers=True)["grad_output"]
    theirs.backward(torch.from_numpy(np.ascontiguousarray(g)))
    ours = getattr(pyconv.grad, op)(g, x, **settings_)[0]
    np.testing.assert_allclose(ours, t.grad.numpy(), rtol=1e-5, atol=1e-5)


def test_torch_agrees_on_nan() -> None:
    torch = pytest.importorskip("torch")
    for seed in range(5):
        x = special((2, 3, 19, 23), "f32", seed)
        for k, s, p in ((2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 1, 2)):
            theirs = torch.nn.functional.max_pool2d(torch.from_numpy(x), k, s, p, return_indices=True)
            for ours, other in zip(pyconv.max_pool2d(x, k, s, p, return_indices=True), theirs, strict=True):
                np.testing.assert_array_equal(ours, other.numpy())


def plain_loops(problem: PoolProblem, x: np.ndarray) -> np.ndarray:
    """Written once more without the definition's helpers, one image of two axes."""
    out = np.full(problem.out_shape, -np.inf)
    for n, c, p, q in np.ndindex(*problem.out_shape):
        taken = []
        for a, b in np.ndindex(*problem.kernel):
            h = p * problem.stride[0] - problem.padding[0][0] + a * problem.dilation[0]
            w = q * problem.stride[1] - problem.padding[1][0] + b * problem.dilation[1]
            if 0 <= h < problem.spatial[0] and 0 <= w < problem.spatial[1]:
                taken.append(float(x[n, c, h, w]))
        out[n, c, p, q] = max(taken, default=-np.inf) if problem.kind == "max" else sum(taken) / np.prod(problem.kernel)
    return out


@pytest.mark.parametrize("text", ["n1c2h9w8-k3s2p1-f64", "n2c1h7w9-k4x3s1x2p2x1-f64", "n1c1h6w6-k2s2p0-f64"])
def test_the_definition_is_the_plain_loops(text: str) -> None:
    for kind in ("max", "avg"):
        problem = PoolProblem.parse(f"{kind}_pool2d", text)
        x = make(problem, integers=True)["x"]
        np.testing.assert_allclose(reference.pool(problem, x)[0], plain_loops(problem, x), rtol=1e-15)


@pytest.mark.parametrize(
    ("op", "text"), [row for row in PROBLEMS if "-f64" in row[1] and "p2d4" not in row[1] and "norm" not in row[1]]
)
def test_the_definitions_gradient_is_the_slope(op: str, text: str) -> None:
    """<grad(g), dx> = <g, pool(x + dx) - pool(x)>, exactly where pooling is linear between x and x + dx."""
    problem = PoolProblem.parse(op, text)
    rng = np.random.default_rng(4)
    x = rng.permutation(int(np.prod(problem.x_shape))).reshape(problem.x_shape).astype(np.float64)
    dx, g = rng.standard_normal(problem.x_shape) * 0.25, rng.standard_normal(problem.out_shape)
    dx = np.clip(dx, -0.49, 0.49)  # no maximum moves to another element
    grad = reference.pool_grad(replace(problem, gradient=True), g, x, None)
    with np.errstate(invalid="ignore"):
        change = np.nan_to_num(reference.pool(problem, x + dx)[0] - reference.pool(problem, x)[0])
    np.testing.assert_allclose(np.vdot(grad, dx), np.vdot(g, change), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0, 4.0, 1.5, 0.5])
def test_the_definitions_gradient_is_the_slope_of_norms(norm: float) -> None:
    """The difference of norms on both sides of x, with sums of both signs and windows that hang over."""
    problem = PoolProblem.parse("lp_pool2d", f"n1c2h7w8-k3x2s2p0-f64-ceil-norm{norm}")
    rng = np.random.default_rng(5)
    x = rng.uniform(0.5, 2, problem.x_shape) * rng.choice([-1, 1], problem.x_shape)
    g, dx = rng.standard_normal(problem.out_shape), 1e-6 * rng.standard_normal(problem.x_shape)
    grad = reference.pool_grad(replace(problem, gradient=True), g, x, None)
    change = reference.pool(problem, x + dx)[0] - reference.pool(problem, x - dx)[0]
    np.testing.assert_allclose(2 * np.vdot(grad, dx), np.vdot(g, change), rtol=1e-6)


def test_norms_by_hand() -> None:
    """torch's values on one window, and those of |x|^p where torch gives NaN (hazard 45)."""
    x = np.array([[-1, 2, -3, 1]], np.float64)
    for algorithm in ("auto", "reference"):
        for norm, wanted in ((1, -1), (2, 15**0.5), (3, 37 ** (1 / 3)), (0.5, (2 + 2**0.5 + 3**0.5) ** 2)):
            np.testing.assert_allclose(pyconv.lp_pool1d(x, norm, 4, algorithm=algorithm), [[wanted]], rtol=1e-14)
        np.testing.assert_allclose(pyconv.lp_pool1d(-x, 3, 4, algorithm=algorithm), [[19 ** (1 / 3)]], rtol=1e-14)
        # the last window hangs over and counts as a whole one: 3 / 1 of 5^2
        got = pyconv.lp_pool1d(np.arange(1.0, 6.0)[None], 2, 3, 4, ceil_mode=True, algorithm=algorithm)
        np.testing.assert_allclose(got, [[14**0.5, 75**0.5]], rtol=1e-14)


@pytest.mark.parametrize("norm", [1, 2, 3, 2.5, 0.5, np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_window_of_zeros_has_a_gradient_of_zeros(norm: float, dtype: type) -> None:
    """Hazard 45; and where the sum of signed elements is 0, as torch."""
    x, g = np.zeros((1, 2, 4, 70), dtype), np.ones((1, 2, 2, 35), dtype)
    assert not pyconv.lp_pool2d(x, norm, 2).any()
    assert not pyconv.grad.lp_pool2d(g, x, norm, 2)[0].any()
    if norm in (1, 3):
        x[..., ::2], x[..., 1::2] = 1, -1
        assert not pyconv.grad.lp_pool2d(g, x, norm, 2)[0].any()


@pytest.mark.parametrize(
    ("norm", "error"),
    [(0, InvalidProblem), (-1, InvalidProblem), (-np.inf, InvalidProblem), (np.nan, InvalidProblem), ("2", TypeError),
     (None, TypeError), (2j, TypeError), ([2], TypeError), (np.float32(0), InvalidProblem)],
)  # fmt: skip
def test_a_norm_that_is_none_is_refused(norm: Any, error: type[Exception]) -> None:
    """Hazard 16."""
    x = np.ones((1, 1, 4, 4), np.float32)
    with pytest.raises(error, match="norm_type"):
        pyconv.lp_pool2d(x, norm, 2)
    with pytest.raises(error, match="norm_type"):
        pyconv.grad.lp_pool2d(x[..., ::2, ::2], x, norm, 2)


def test_an_infinite_norm_is_the_largest_size() -> None:
    x = np.random.default_rng(3).standard_normal((2, 3, 9, 11)).astype(np.float32)
    for order in (False, True):
        x = in_memory_order(x, order)
        y = pyconv.lp_pool2d(x, np.inf, 3, 2, ceil_mode=True)
        np.testing.assert_array_equal(y, pyconv.max_pool2d(np.abs(x), 3, 2, ceil_mode=True))
        out = np.empty_like(x)
        (grad,) = pyconv.grad.lp_pool2d(np.ones_like(y), x, np.inf, 3, 2, ceil_mode=True, out=out)
        assert grad is out
        np.testing.assert_allclose(np.sum(grad * x, axis=(2, 3)), np.sum(y, axis=(2, 3)), rtol=1e-6)
    with_nan = x.copy()
    with_nan[0, 0, 4, 4] = np.nan
    assert np.isnan(pyconv.lp_pool2d(with_nan, np.inf, 3)).sum() == 1
    assert pyconv.grad.lp_pool2d(np.ones_like(y), x, np.inf, 3, 2, output_mask=(False,), ceil_mode=True) == (None,)


@pytest.mark.parametrize(("dtype", "reach"), [(np.float32, 120), (np.float64, 1000)])
def test_roots_over_the_whole_range(dtype: type, reach: int) -> None:
    """Windows of one element: the p-th root of a p-th power, by Newton's steps and beyond where these are safe."""
    rng = np.random.default_rng(6)
    for norm in (2, 3, 4, 5, 7, 8, 9, 12, 1.5, 2.5):
        x = np.exp2(rng.uniform(-reach / norm, reach / norm, (1, 1, 5003))).astype(dtype)
        x[..., ::97] = 0
        bound = 8 + reach / (4 if dtype is np.float64 else np.inf)
        got = pyconv.lp_pool1d(x, norm, 1)
        np.testing.assert_allclose(got, x, rtol=bound * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(("op", "text"), PROBLEMS)
def test_same_bits_for_any_number_of_threads(op: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.why_missing("c"):
        pytest.skip("needs the C kernels")
    monkeypatch.setattr("pyconv.backends.pooling.BYTES_PER_THREAD", 1)
    call_module.plan_for.cache_clear()
    try:
        for problem in problems_of(op, text):
            arrays = make(problem, integers=False)
            for algorithm in supporting(problem):
                if algorithm.backend == "numpy":
                    continue
                results = set()
                for threads in (1, 2, 3, 5, 8):
                    with pyconv.options(threads=threads):
                        result = outputs_of(call_of(problem, arrays)(algorithm=algorithm.id))
                    results.add(b"".join(a.tobytes() for a in result))
                assert len(results) == 1, algorithm.id
    finally:
        call_module.plan_for.cache_clear()


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.transpose()).transpose(),
    "reversed": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "offset rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(3, 5)])[..., 3:-5],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "misaligned": lambda a: _misaligned(a),
    "rows backwards": lambda a: np.ascontiguousarray(a[:, :, ::-1])[:, :, ::-1],
}


def _misaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("max_pool2d", "n2c3h9w21-k3s2p1-f32"),
        ("max_pool2d", "n2c3h9w10-k3s1p1-i16"),
        ("avg_pool2d", "n2c3h9w21-k3s1p1-f64"),
        ("lp_pool2d", "n2c3h9w21-k3s2p0-f32-norm2.0"),
        ("adaptive_avg_pool2d", "n2c3h9w10-to1x1-f32"),
        ("max_pool2d", "n2c3h9w21-k2s2p0-f16"),
    ],
)
def test_memory_layouts(op: str, text: str, layout: str) -> None:
    """Hazards 32 to 36, of every array of a call."""
    change = LAYOUTS[layout]
    for problem in problems_of(op, text):
        arrays = make(problem, integers=True)
        for algorithm in supporting(problem):
            straight = outputs_of(call_of(problem, arrays)(algorithm=algorithm.id))
            moved = {name: change(a) for name, a in arrays.items()}
            for got, wanted in zip(outputs_of(call_of(problem, moved)(algorithm=algorithm.id)), straight, strict=True):
                np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=1e-3)
            outs = tuple(change(np.zeros(a.shape, a.dtype)) for a in straight)
            call_of(problem, arrays)(algorithm=algorithm.id, out=outs if len(outs) > 1 else outs[0])
            for got, wanted in zip(outs, straight, strict=True):
                np.testing.assert_array_equal(got.astype(wanted.dtype), wanted)


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("max_pool1d", "n2c5w21-k3s2p1-f32"),
        ("max_pool2d", "n2c20h9w21-k3s2p1-f32"),
        ("avg_pool2d", "n2c20h9w21-k3s2p1-f32"),
        ("avg_pool3d", "n1c5d4h6w7-k2s2p0-f64"),
        ("lp_pool2d", "n2c5h9w10-k3s2p0-f32-norm3.0"),
        ("adaptive_max_pool2d", "n2c5h9w10-to3x4-f32"),
        ("adaptive_avg_pool2d", "n2c5h9w10-to3x4-f16"),
    ],
)
def test_arrays_of_one_call_in_different_memory_orders(op: str, text: str) -> None:
    for problem in problems_of(op, text):
        arrays = make(problem, integers=True)
        for algorithm in supporting(problem):
            straight = outputs_of(call_of(problem, arrays)(algorithm=algorithm.id))
            for orders in itertools.product((False, True), repeat=len(arrays) + 1):
                *of_inputs, of_outs = orders
                moved = {
                    name: in_memory_order(a, last) for (name, a), last in zip(arrays.items(), of_inputs, strict=True)
                }
                outs = tuple(in_memory_order(np.full(a.shape, 77, a.dtype), of_outs) for a in straight)
                call_of(problem, moved)(algorithm=algorithm.id, out=outs if len(outs) > 1 else outs[0])
                for results in (outs, outputs_of(call_of(problem, moved)(algorithm=algorithm.id))):
                    for got, wanted in zip(results, straight, strict=True):
                        np.testing.assert_allclose(got.astype(np.float64), wanted.astype(np.float64), rtol=1e-3)


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(("op", "text"), [row for row in PROBLEMS if "n0" not in row[1] and "c0" not in row[1]])
def test_no_kernel_reads_or_writes_beside_its_arrays(op: str, text: str, at_end: bool) -> None:
    """Hazard 37: arrays that end, or begin, where memory does."""
    for problem in problems_of(op, text):
        if problem.channels_last or 0 in problem.out_shape:
            continue
        arrays = {name: copy_between_guards(a, at_end) for name, a in make(problem, integers=True).items()}
        outs = tuple(copy_between_guards(np.zeros(a.shape, NUMPY[a.dtype]), at_end) for a in problem.outputs)
        for algorithm in supporting(problem):
            if algorithm.backend != "numpy":
                call_of(problem, arrays)(algorithm=algorithm.id, out=outs if len(outs) > 1 else outs[0])


def test_out_may_overlap_the_input() -> None:
    """Hazard 46."""
    for algorithm in supporting(PoolProblem.parse("max_pool2d", "n1c3h8w8-k3s1p1-f32")):
        for shift in (0, 5, -5):
            memory = np.random.default_rng(0).standard_normal(300).astype(np.float32)
            x = memory[50 : 50 + 192].reshape(1, 3, 8, 8)
            expected = pyconv.max_pool2d(x.copy(), 3, 1, 1)
            out = memory[50 + shift : 50 + shift + 192].reshape(1, 3, 8, 8)
            assert pyconv.max_pool2d(x, 3, 1, 1, out=out, algorithm=algorithm.id) is out
            np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unbatched(rank: int) -> None:
    x = np.random.default_rng(1).standard_normal((3, *(8,) * rank)).astype(np.float32)
    pool, grad = getattr(pyconv, f"max_pool{rank}d"), getattr(pyconv.grad, f"max_pool{rank}d")
    y, indices = pool(x[None], 2, return_indices=True)
    for got, wanted in zip(pool(x, 2, return_indices=True), (y[0], indices[0]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(grad(y[0], x, 2)[0], grad(y, x[None], 2)[0][0])
    np.testing.assert_array_equal(grad(y[0], x, 2, indices=indices[0])[0], grad(y, x[None], 2)[0][0])
    back = getattr(pyconv, f"max_unpool{rank}d")(y[0], indices[0], 2)
    assert back.shape == x.shape
    np.testing.assert_array_equal(back[back != 0], x[back != 0])


UNPOOLS = [
    UnpoolProblem(2, 3, spatial, small, gradient, dtype, last)
    for spatial, small in (((38,), (9,)), ((13, 13), (4, 6)), ((9, 8, 10), (2, 2, 3)))
    for dtype in NUMPY
    for gradient in (False, True)
    for last in (False, True)
    if not (gradient and not dtype.startswith("f"))
]


@pytest.mark.parametrize("problem", UNPOOLS, ids=lambda p: f"{p.op}-{p}")
def test_unpooling(problem: UnpoolProblem) -> None:
    """Indices in any order, some more than once."""
    rng = np.random.default_rng(2)
    kernel = tuple(size // small for size, small in zip(problem.spatial, problem.out_spatial, strict=True))
    indices = in_memory_order(rng.integers(0, np.prod(problem.spatial), problem.out_shape), problem.channels_last)
    given = draw(problem, problem.x_shape if problem.gradient else problem.out_shape, rng, True)
    more = (kernel, None, 0, problem.spatial)
    name = problem.op.removesuffix("-grad-x")
    for algorithm in supporting(problem):
        forget_last_kernel(algorithm)
        with guarded_scratch(algorithm, fill=0xA5):
            if problem.gradient:
                small = np.zeros(problem.out_shape, given.dtype)
                result = getattr(pyconv.grad, name)(given, small, indices, *more, algorithm=algorithm.id)[0]
                expected = reference.unpool_grad(given, indices)
            else:
                result = getattr(pyconv, name)(given, indices, *more, algorithm=algorithm.id)
                expected = reference.unpool(given, indices, problem.spatial)
        if algorithm.backend != "numpy":
            assert last_kernel(algorithm) == algorithm.kernel_name
        np.testing.assert_array_equal(result, expected)
        assert result.dtype == given.dtype


@pytest.mark.parametrize("bad", [-1, 64, 2**32 + 3, -(2**63)])
def test_an_index_outside_is_refused(bad: int) -> None:
    """Hazard 14: compared as 64-bit integers, and nothing is written."""
    x, indices = np.ones((1, 2, 4, 4), np.float32), np.zeros((1, 2, 4, 4), np.int64)
    indices[0, 1, 2, 3] = bad
    for algorithm in ("reference", *(f"scatter.f32@{b}" for b in ("c-baseline", "numba") if has_backend(b))):
        out = np.full((1, 2, 8, 8), 7, np.float32)
        with pytest.raises(InvalidProblem, match="index lies outside"):
            pyconv.max_unpool2d(x, indices, 2, out=out, algorithm=algorithm)
        with pytest.raises(InvalidProblem, match="index lies outside"):
            pyconv.grad.max_pool2d(x, out, 2, indices=indices, out=out, algorithm=algorithm)
        with pytest.raises(InvalidProblem, match="index lies outside"):
            pyconv.grad.max_unpool2d(out, x, indices, 2, algorithm=algorithm)
        assert (out == 7).all()


def test_unpooling_of_nothing() -> None:
    """Hazard 15."""
    empty = np.ones((1, 1, 0, 0), np.float32)
    assert pyconv.max_unpool2d(empty, empty.astype(np.int64), 1).shape == (1, 1, 0, 0)
    y, indices = pyconv.max_pool2d(np.ones((0, 2, 4, 4), np.float32), 2, return_indices=True)
    assert pyconv.max_unpool2d(y, indices, 2).shape == (0, 2, 4, 4)


def test_adaptive_size_zero_has_a_gradient_of_zeros() -> None:
    """Hazard 30."""
    x = np.ones((1, 2, 4, 4), np.float32)
    for kind in ("avg", "max"):
        g = np.ones((1, 2, 0, 3), np.float32)
        assert not getattr(pyconv.grad, f"adaptive_{kind}_pool2d")(g, x, (0, 3))[0].any()


def has_backend(word: str) -> bool:
    return registry.why_missing(word.partition("-")[0]) is None


def families_of(op: str, text: str) -> list[str]:
    return [a.id for a in supporting(PoolProblem.parse(op, text))]


def test_a_last_window_that_begins_in_the_padding_is_dropped() -> None:
    """Hazard 26."""
    x = np.ones((1, 1, 4), np.float32)
    for algorithm in families_of("max_pool1d", "n1c1w4-k2s3p1-f32-ceil"):
        y = pyconv.max_pool1d(x, 2, 3, 1, ceil_mode=True, algorithm=algorithm)
        np.testing.assert_array_equal(y, [[[1, 1]]])


def test_what_hangs_over_the_padding_is_not_counted() -> None:
    """Hazard 27: two of the last window's three places exist, one of them is padding."""
    x = np.ones((1, 1, 4), np.float64)
    for algorithm in families_of("avg_pool1d", "n1c1w4-k3s2p1-f64-ceil"):
        y = pyconv.avg_pool1d(x, 3, 2, 1, ceil_mode=True, algorithm=algorithm)
        np.testing.assert_allclose(y, [[[2 / 3, 1, 1 / 2]]], rtol=1e-15)


def test_the_divisor_wins_over_the_count() -> None:
    """Hazard 28."""
    x = np.ones((1, 1, 3, 3), np.float32)
    for algorithm in families_of("avg_pool2d", "n1c1h3w3-k2s2p1-f32-without_pad-over8"):
        y = pyconv.avg_pool2d(x, 2, 2, 1, count_include_pad=False, divisor_override=8, algorithm=algorithm)
        np.testing.assert_array_equal(y, [[[[0.125, 0.25], [0.25, 0.5]]]])


@pytest.mark.parametrize("kind", ["max", "avg", "lp"])
def test_nothing_to_pool(kind: str) -> None:
    """Hazard 29: no images or channels are fine, windows of nothing but padding are not."""
    more = () if kind != "lp" else (2,)
    pool, grad = getattr(pyconv, f"{kind}_pool2d"), getattr(pyconv.grad, f"{kind}_pool2d")
    for shape in ((0, 3, 6, 8), (2, 0, 6, 8)):
        for order in (False, True):
            x = in_memory_order(np.ones(shape, np.float32), order)
            y = pool(x, *more, 2)
            assert y.shape == (*shape[:2], 3, 4)
            assert grad(y, x, *more, 2)[0].shape == shape
    with pytest.raises(InvalidProblem, match=r"larger than the padded input|nothing to pool"):
        pool(np.ones((1, 1, 0, 4), np.float32), *more, 2)
    if kind != "lp":
        with pytest.raises(InvalidProblem, match="nothing to pool"):
            pool(np.ones((1, 1, 0, 4), np.float32), 2, 1, 1)


def test_offsets_that_do_not_fit_are_refused() -> None:
    """An offset has to stay below that of columns outside x, even where it is added to that one."""
    wide = replace(PoolProblem.parse("adaptive_max_pool1d", f"n1c1w{0x3F000000}-to1-f32"), indices=True)
    narrow = replace(wide, spatial=(0x3F000000 - 1,))
    for algorithm in POOLS.values():
        if algorithm.op == wide.op and algorithm.dtype == "f32" and algorithm.family == "indexed":
            assert "reach less than 2^30" in algorithm.supports(wide).reason
            assert algorithm.supports(narrow) or not getattr(algorithm, "runs_here", True)


def test_a_numba_kernel_that_does_less_than_all_of_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.why_missing("numba"):
        pytest.skip("needs Numba")
    x = np.ones((1, 2, 5, 7), np.float32)
    monkeypatch.setattr("pyconv.kernels.cpu.pool.pool_separable", lambda *arguments: 0)
    with pytest.raises(RuntimeError, match="did 0 of"):
        pyconv.max_pool2d(x, 2, algorithm="separable.f32@numba")


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_zero_unpooling_is_slices(rank: int) -> None:
    rng = np.random.default_rng(8)
    unpool, grad = getattr(pyconv, f"zero_unpool{rank}d"), getattr(pyconv.grad, f"zero_unpool{rank}d")
    for kernel, stride, size, order in ((2, None, None, False), (1, 3, None, True), (3, 2, (10, 9, 9)[:rank], False)):
        x = in_memory_order(rng.standard_normal((2, 3, *(4,) * rank)).astype(np.float32), order)
        step = slice(None, None, stride or kernel)
        for algorithm in ("auto", "reference"):
            y = unpool(x, kernel, stride, size, algorithm=algorithm)
            assert y.shape[2:] == (size or (3 * (stride or kernel) + kernel,) * rank)
            inside = (..., *(slice(0, 4 * (stride or kernel)),) * rank)
            np.testing.assert_array_equal(y[inside][(..., *(step,) * rank)], x)
            assert np.count_nonzero(y) == np.count_nonzero(x)
            np.testing.assert_array_equal(grad(y, x, kernel, stride, size, algorithm=algorithm)[0], x)
    np.testing.assert_array_equal(unpool(x[0], 2), unpool(x, 2)[0])
    with pytest.raises(InvalidProblem, match="x must have axes"):
        unpool(np.ones(3, np.float32), 2)
    with pytest.raises(InvalidProblem, match="within one stride"):
        unpool(x, 2, 2, (90,) * rank)


def test_explain() -> None:
    assert pyconv.explain(pyconv.max_pool2d, (1, 8, 32, 32), 2).problem.out_shape == (1, 8, 16, 16)
    answer = pyconv.explain(pyconv.grad.avg_pool2d, (1, 8, 16, 16), (1, 8, 32, 32), 2)
    assert answer.problem.op == "avg_pool2d-grad-x"
    assert answer.algorithm.startswith("avg_pool2d-grad-x.")


def test_a_forced_algorithm_never_falls_back() -> None:
    if registry.why_missing("c"):
        pytest.skip("needs the C kernels")
    x = np.ones((1, 2, 4, 4), np.float32)
    with pytest.raises(Unsupported, match="is for maxima with their indices"):
        pyconv.max_pool2d(x, 2, algorithm="indexed")
    with pytest.raises(Unsupported, match="finds no indices"):
        pyconv.max_pool2d(x, 2, return_indices=True, algorithm="separable")


def test_output_mask() -> None:
    x = np.ones((1, 2, 4, 4), np.float32)
    assert pyconv.grad.max_pool2d(x[..., ::2, ::2], x, 2, output_mask=(False,)) == (None,)
    with pytest.raises(InvalidProblem, match="output_mask must have 1 entries"):
        pyconv.grad.max_pool2d(x[..., ::2, ::2], x, 2, output_mask=(True, False))


def test_problems_parse() -> None:
    for op, text in PROBLEMS:
        for problem in problems_of(op, text):
            assert PoolProblem.parse(problem.op, str(problem)) == problem
