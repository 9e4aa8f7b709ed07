"""Deformable convolution: every registered algorithm, by its name, against the definition, conv2d and torchvision."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
from checker import compare, in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, DeformProblem, InvalidProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.ops import call as call_module
from pyconv.problem import DTYPES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}
ARGUMENTS = ("x", "offset", "w", "bias", "mask")
pyconv.algorithms()
ALGORITHMS = {id: registry.find(id) for id in pyconv.algorithms() if id.startswith("deform_conv2d")}
BUILT = registry.why_missing("c") is None
PROBLEMS = (
    # whole and ragged vectors of channels on either side, several reduction blocks, several strips of pixels
    "n1c3h7w9-o5k3s1p1-f32-bias-og1-mask",
    "n2c32h14w15-o40k3s1p1-f32-og1",
    "n1c70h12w20-o20k3s1p1-f32-bias-og1-mask",
    "n1c33h20w31-o17k3x2s1p1-f32-og1-mask",
    "n3c16h9w8-o50k1s1p0-f32-bias-og1",
    "n1c5h9w10-o130k3s1p1-f64-og1-mask",
    # groups, offset groups, and those that cut each other
    "n2c32h10w11-o16k3s1p1g4-f32-og4-mask",
    "n1c12h9w8-o6k3s1p1g3-f32-bias-og2-mask",
    "n1c24h9w8-o24k3s1p1g24-f32-og3",
    "n2c40h6w7-o10k3s1p1g2-f64-og5-mask",
    # strides, dilation, padding of any kind
    "n1c6h15w16-o7k3s2p1-f32-og1-mask",
    "n1c6h15w16-o7k3x4s3x2p2:0x3:1d2x1-f32-og2",
    "n1c4h3w3-o4k3s1p4-f32-og1-mask",
    "n1c4h1w1-o3k1s1p0-f32-og1-mask",
    "n1c9h1w40-o3k1x5s1p0x2-f32-og3",
    # channels-last, in place where vectors are whole
    "n2c32h9w10-o20k3s1p1-f32-channels_last-bias-og2-mask",
    "n1c20h9w10-o35k3s1p1-f32-channels_last-og1",
    "n1c16h9w10-o16k3s1p1-f64-channels_last-og1-mask",
    # float16
    "n1c10h9w8-o7k3s1p1-f16-bias-og1-mask",
    "n2c32h9w8-o20k3s1p1g2-f16-channels_last-og2-mask",
)
EMPTY = (
    "n0c4h5w6-o3k3s1p1-f32-bias-og1-mask",
    "n2c0h5w6-o3k3s1p1-f32-bias-og1-mask",
    "n2c4h0w6-o3k3s1p2-f32-bias-og2-mask",
    "n1c4h0w0-o3k1s1p1-f16-bias-og1",
)


def problems_of(text: str) -> list[DeformProblem]:
    """The convolution and its gradients; that of the mask also by itself."""
    forward = DeformProblem.parse("deform_conv2d", text)
    plain = replace(forward, conv=replace(forward.conv, bias=False))
    found = [forward, *(replace(plain, argument=word) for word in ("x", "w", "offset"))]
    if forward.mask:
        found += [replace(plain, argument="offset", both=True), replace(plain, argument="mask")]
    return found


def make(problem: DeformProblem, exact: bool, seed: int = 0) -> dict[str, Any]:
    """Arrays of every kind; ``exact``: small integers, and quarters of pixels, whose products and sums are exact."""
    rng = np.random.default_rng(seed)
    conv, dtype = problem.conv, NUMPY[problem.dtype]

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(-2, 3, shape) if exact else rng.standard_normal(shape)
        return in_memory_order(values.astype(dtype), conv.channels_last and len(shape) == 4)

    offset = rng.standard_normal(problem.offset_shape) * 2
    if exact:
        offset = np.round(offset * 4) / 4
    arrays: dict[str, Any] = {
        "x": draw(conv.x_shape),
        "offset": in_memory_order(offset.astype(dtype), conv.channels_last),
    }
    arrays |= {"w": np.ascontiguousarray(draw(conv.w_shape)), "bias": draw((conv.c_out,)) if conv.bias else None}
    arrays["mask"] = draw(problem.mask_shape) if problem.mask else None
    arrays["grad_output"] = draw(conv.out_shape) if problem.argument else None
    return arrays


def window_of(problem: DeformProblem) -> dict[str, Any]:
    conv = problem.conv
    return {"stride": conv.stride, "padding": conv.padding, "dilation": conv.dilation}


def places_of(problem: DeformProblem) -> tuple[int, ...]:
    """Which of the gradients the problem's results are."""
    return (*([ARGUMENTS.index(problem.argument)] if problem.argument else ()), *((4,) if problem.both else ()))


def compute(
    problem: DeformProblem, arrays: dict[str, Any], algorithm: str, outs: tuple[Any, ...] = ()
) -> tuple[Any, ...]:
    """Every result of the problem, by the public functions."""
    forward = [arrays[name] for name in ("x", "offset", "w", "bias")]
    settings_ = window_of(problem) | {"mask": arrays["mask"], "algorithm": algorithm}
    if not problem.argument:
        return (pyconv.deform_conv2d(*forward, **settings_, out=outs[0] if outs else None),)
    places, targets = places_of(problem), [None] * 5
    for place, out in zip(places, outs, strict=False):
        targets[place] = out
    wanted = tuple(i in places for i in range(5))
    found = pyconv.grad.deform_conv2d(
        arrays["grad_output"], *forward, **settings_, output_mask=wanted, out=tuple(targets)
    )
    assert all((result is None) != yes for result, yes in zip(found, wanted, strict=True))
    return tuple(found[place] for place in places)


def expected_of(problem: DeformProblem, arrays: dict[str, Any]) -> tuple[np.ndarray, ...]:
    if problem.argument:
        return reference.deform_grad(problem, arrays, arrays["w"], 1 << 24)
    return (reference.deform_conv(problem, arrays, arrays["w"], arrays["bias"], 1 << 24),)


def allowed_of(
    problem: DeformProblem, arrays: dict[str, Any], algorithm: Algorithm, expected: tuple[np.ndarray, ...]
) -> list[np.ndarray]:
    """The algorithm's bound times the same sum of magnitudes, where each of a sample's pixels counts whole."""
    sizes = {name: a if a is None or name == "offset" else np.abs(a) for name, a in arrays.items()}
    corners_of = reference.deform_corners

    def whole(*arguments: Any) -> Any:
        touches, inside, corners = corners_of(*arguments)
        ones = np.ones(inside.shape)
        return touches, inside, [(*corner[:3], ones, ones, ones) for corner in corners]

    with mock.patch.object(reference, "deform_corners", whole):
        magnitudes = expected_of(problem, sizes)
    smallest = 2.0**-25 if problem.dtype == "f16" else 2.0**-120
    return [
        algorithm.error_bound(problem) * magnitude + EPSILON[problem.dtype] * np.abs(value) + smallest
        for magnitude, value in zip(magnitudes, expected, strict=True)
    ]


def supporting(problem: DeformProblem) -> list[Algorithm]:
    able = [a for a in ALGORITHMS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    call = Call.typical(problem, 2, 64 << 20)
    return [a for a in able if a.workspace(call) is not None]


def check(problem: DeformProblem, algorithm: Algorithm, exact: bool, seed: int = 0) -> None:
    """Run into poisoned outputs, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, exact, seed)
    expected = expected_of(problem, arrays)
    kept = {name: None if a is None else a.copy() for name, a in arrays.items()}
    poison = tuple(in_memory_order(np.full(a.shape, np.nan, NUMPY[a.dtype]), a.channels_last) for a in problem.outputs)
    forget_last_kernel(algorithm)
    with guarded_scratch(algorithm, fill=0xA5):
        results = compute(problem, arrays, algorithm.id, poison)
    assert all(result is out for result, out in zip(results, poison, strict=True))
    if algorithm.backend != "numpy" and 0 not in problem.conv.x_shape:
        assert last_kernel(algorithm) == algorithm.kernel_name
    for result, value, allowed in zip(results, expected, allowed_of(problem, arrays, algorithm, expected), strict=True):
        compare(result, value, allowed, NUMPY[problem.dtype])
    for name, array in arrays.items():
        assert array is None or np.array_equal(array, kept[name]), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = compute(problem, arrays, algorithm.id)
    for one, other in zip(fresh, results, strict=True):
        np.testing.assert_array_equal(one, other)
    if problem.conv.channels_last and not problem.argument:
        assert np.moveaxis(fresh[0], 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


@pytest.mark.parametrize("text", PROBLEMS)
def test_every_algorithm_on_the_table(text: str) -> None:
    for problem in problems_of(text):
        asked = supporting(problem)
        assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if BUILT else set())
        for algorithm in asked:
            check(problem, algorithm, exact=True)
            check(problem, algorithm, exact=False)


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_to_sum(text: str) -> None:
    for problem in problems_of(text):
        for algorithm in supporting(problem):
            check(problem, algorithm, exact=True)


@pytest.mark.parametrize("id", ALGORITHMS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = ALGORITHMS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    problems = itertools.chain.from_iterable(map(problems_of, PROBLEMS))
    assert any(algorithm.supports(p) for p in problems if p.op == algorithm.op and p.dtype == algorithm.dtype), id


@pytest.mark.parametrize("text", [*PROBLEMS, *EMPTY])
def test_text_and_problem_are_inverse(text: str) -> None:
    for problem in problems_of(text):
        assert DeformProblem.parse(problem.op, str(problem)) == problem


@st.composite
def drawn_problems(draw: st.DrawFn) -> DeformProblem:
    groups, offset_groups = draw(st.sampled_from((1, 1, 2, 3))), draw(st.sampled_from((1, 1, 2, 4)))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(2))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2))
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    sizes = tuple(
        max(1, d * (k - 1) + 1 - sum(p)) + draw(st.integers(0, 11))
        for k, d, p in zip(kernel, dilation, padding, strict=True)
    )
    c_in = groups * offset_groups * draw(st.sampled_from((1, 2, 9)))
    conv = ConvProblem(
        n=draw(st.integers(1, 3)),
        c_in=c_in,
        c_out=groups * draw(st.sampled_from((1, 3, 20))),
        spatial=sizes,
        kernel=kernel,
        stride=tuple(draw(st.integers(1, 3)) for _ in range(2)),
        padding=padding,
        dilation=dilation,
        groups=groups,
        dtype=draw(st.sampled_from(("f32", "f32", "f64", "f16"))),
        channels_last=draw(st.booleans()) and c_in > 1 and sizes != (1, 1),
        bias=draw(st.booleans()),
    )
    return DeformProblem(conv, offset_groups, draw(st.booleans()))


@settings(max_examples=60)
@given(problem=drawn_problems(), seed=st.integers(0, 9))
def test_drawn_problems(problem: DeformProblem, seed: int) -> None:
    for variant in problems_of(str(problem)):
        for algorithm in supporting(variant):
            if algorithm.backend != "numpy":
                check(variant, algorithm, exact=False, seed=seed)


def plain_loops(problem: DeformProblem, arrays: dict[str, Any]) -> np.ndarray:
    """Written once more, sample by sample."""
    conv, taps = problem.conv, problem.taps
    x, offset, mask, w = arrays["x"], arrays["offset"], arrays["mask"], arrays["w"]
    height, width = conv.spatial
    out = np.zeros(conv.out_shape)
    for n, o, p, q in np.ndindex(*conv.out_shape):
        total = 0.0 if arrays["bias"] is None else float(arrays["bias"][o])
        for c, i, j in np.ndindex(*conv.w_shape[1:]):
            channel = o // (conv.c_out // conv.groups) * conv.w_shape[1] + c
            tap = channel // (conv.c_in // problem.offset_groups) * taps + i * conv.kernel[1] + j
            y = p * conv.stride[0] - conv.padding[0][0] + i * conv.dilation[0] + float(offset[n, 2 * tap, p, q])
            z = q * conv.stride[1] - conv.padding[1][0] + j * conv.dilation[1] + float(offset[n, 2 * tap + 1, p, q])
            if not (-1 < y < height and -1 < z < width):
                continue
            value = 0.0
            for a, b in itertools.product(
                (int(np.floor(y)), int(np.floor(y)) + 1), (int(np.floor(z)), int(np.floor(z)) + 1)
            ):
                if 0 <= a < height and 0 <= b < width:
                    value += (1 - abs(y - a)) * (1 - abs(z - b)) * float(x[n, channel, a, b])
            total += float(w[o, c, i, j]) * value * (1.0 if mask is None else float(mask[n, tap, p, q]))
        out[n, o, p, q] = total
    return out


@pytest.mark.parametrize(
    "text",
    [
        "n2c4h5w6-o4k3x2s2x1p1:2x1d1x2g2-f64-bias-og2-mask",
        "n1c6h4w5-o3k2s1p1g3-f64-og1",
        "n1c3h4w3-o2k3s1p3-f64-og3-mask",
    ],
)
def test_the_definition_is_the_plain_loops(text: str) -> None:
    problem = DeformProblem.parse("deform_conv2d", text)
    arrays = make(problem, exact=False)
    np.testing.assert_allclose(expected_of(problem, arrays)[0], plain_loops(problem, arrays), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["auto", "reference"])
@pytest.mark.parametrize(
    "text",
    [
        "n2c4h5w6-o4k3x2s2x1p1:2x1d1x2g2-f64-bias-og2-mask",
        "n1c6h4w5-o3k2s1p1g3-f64-bias-og2",
        "n1c3h4w4-o3k3s1p1-f64-bias-og1-mask",
    ],
)
def test_against_central_differences(text: str, algorithm: str) -> None:
    problem = DeformProblem.parse("deform_conv2d", text)
    arrays = make(problem, exact=False, seed=3)
    y = compute(problem, arrays, algorithm)[0]
    g = np.random.default_rng(4).standard_normal(y.shape)
    inputs = [arrays[name] for name in ("x", "offset", "w", "bias")]
    found = pyconv.grad.deform_conv2d(g, *inputs, **window_of(problem), mask=arrays["mask"], algorithm=algorithm)
    step = 1e-6
    for name, gradient in zip(ARGUMENTS, found, strict=True):
        argument = arrays[name]
        if argument is None:
            assert gradient is None
            continue
        assert gradient is not None
        slopes = np.empty_like(argument)
        for index in np.ndindex(argument.shape):
            kept, sides = argument[index], []
            for sign in (1, -1):
                argument[index] = kept + sign * step
                sides.append(np.vdot(g, compute(problem, arrays, algorithm)[0]))
            argument[index] = kept
            slopes[index] = (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("text", [text for text in PROBLEMS if "-f16" not in text])
def test_without_offsets_it_is_the_convolution(text: str) -> None:
    """Exactly, for sums are exact; and so are the gradients of x and w."""
    problem = problems_of(text)[0]
    arrays = make(replace(problem, mask=False, argument="x", conv=replace(problem.conv, bias=False)), exact=True)
    arrays["offset"][...] = 0
    conv, mask = problem.conv, np.ones(problem.mask_shape, NUMPY[problem.dtype]) if problem.mask else None
    x, w, g, offset = (arrays[name] for name in ("x", "w", "grad_output", "offset"))
    window = window_of(problem)
    expected = pyconv.conv2d(x, w, **window, groups=conv.groups, algorithm="reference")
    np.testing.assert_array_equal(pyconv.deform_conv2d(x, offset, w, **window, mask=mask), expected)
    gx, _, gw, _, _ = pyconv.grad.deform_conv2d(g, x, offset, w, **window, mask=mask)
    straight = pyconv.grad.conv2d(g, x, w, **window, groups=conv.groups, algorithm="reference")
    np.testing.assert_array_equal(gx, straight[0])
    np.testing.assert_array_equal(gw, straight[1])


@pytest.mark.parametrize("shift", [(0, 0), (2, -1), (-3, 4), (40, 0), (0, -60)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_whole_offsets_are_shifted_pixels(shift: tuple[int, int], channels_last: bool) -> None:
    rng = np.random.default_rng(1)
    x = in_memory_order(rng.integers(-9, 10, (1, 16, 20, 24)).astype("f"), channels_last)
    offset = np.empty((1, 2, 20, 24), np.float32)
    offset[0, 0], offset[0, 1] = shift
    moved = np.zeros_like(x)
    for h, w in np.ndindex(20, 24):
        if 0 <= h + shift[0] < 20 and 0 <= w + shift[1] < 24:
            moved[:, :, h, w] = x[:, :, h + shift[0], w + shift[1]]
    eye = np.eye(16, dtype=np.float32)[:, :, None, None]
    np.testing.assert_array_equal(pyconv.deform_conv2d(x, offset, eye), moved)


@pytest.mark.parametrize("text", PROBLEMS)
def test_same_bits_for_any_number_of_threads(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("c_deform", "numba_deform"):
        if f"pyconv.backends.{module}" in __import__("sys").modules:
            monkeypatch.setattr(f"pyconv.backends.{module}._FLOPS_PER_THREAD", 1)
    call_module.plan_for.cache_clear()
    try:
        for problem in problems_of(text):
            arrays = make(problem, exact=False)
            for algorithm in supporting(problem):
                if algorithm.backend == "numpy":
                    continue
                found = set()
                for threads in (1, 2, 3, 8):
                    with pyconv.options(threads=threads):
                        found.add(b"".join(result.tobytes() for result in compute(problem, arrays, algorithm.id)))
                assert len(found) == 1, algorithm.id
    finally:
        call_module.plan_for.cache_clear()


@pytest.mark.parametrize(
    "text",
    [
        "n3c70h20w21-o33k3s1p1-f32-og2-mask",
        "n2c32h20w21-o8k3s1p1-f64-channels_last-og1",
        "n2c9h20w21-o5k3s1p1-f16-og1-mask",
    ],
)
def test_little_scratch(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of images, bands, x where it lies: the same within the bound, or refused with a reason."""
    c = pytest.importorskip("pyconv.backends.c")
    for problem in problems_of(text):
        arrays, ran = make(problem, exact=False), 0
        expected = expected_of(problem, arrays)
        for share, limit in itertools.product((1, 8, 32, 128), (1 << 20, 1 << 22)):
            monkeypatch.setattr(c, "WORKERS_IN_LIMIT", share)
            call_module.plan_for.cache_clear()
            for algorithm in supporting(problem):
                if algorithm.backend != "c":
                    continue
                with pyconv.options(max_workspace=limit), guarded_scratch(algorithm, fill=0xA5):
                    if algorithm.workspace(Call.typical(problem, 2, limit)) is None:
                        with pytest.raises(Unsupported, match="max_workspace"):
                            compute(problem, arrays, algorithm.id)
                        continue
                    results = compute(problem, arrays, algorithm.id)
                ran += 1
                limits = allowed_of(problem, arrays, algorithm, expected)
                for result, value, allowed in zip(results, expected, limits, strict=True):
                    compare(result, value, allowed, NUMPY[problem.dtype])
        monkeypatch.undo()
        call_module.plan_for.cache_clear()
        assert ran > 3


def _misaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed": lambda a: np.ascontiguousarray(a.transpose()).transpose(),
    "reversed": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "offset rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(3, 5)])[..., 3:-5],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "misaligned": _misaligned,
    "channels last": lambda a: in_memory_order(a, a.ndim == 4),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "text", ["n2c20h9w21-o18k3s1p1-f32-bias-og2-mask", "n1c16h9w10-o5k3s2p1-f16-og1", "n1c3h5w30-o3k2s1p0-f64-og1-mask"]
)
def test_memory_layouts(text: str, layout: str) -> None:
    """Hazards 32 to 36, of every array of a call."""
    change = LAYOUTS[layout]
    for problem in problems_of(text):
        arrays = make(problem, exact=True)
        moved = {name: None if a is None else change(a) for name, a in arrays.items()}
        for algorithm in supporting(problem):
            if algorithm.backend == "numpy":
                continue
            straight = compute(problem, arrays, algorithm.id)
            outs = tuple(change(np.zeros(a.shape, a.dtype)) for a in straight)
            written = compute(problem, arrays, algorithm.id, outs)
            for one, other, out, result in zip(
                compute(problem, moved, algorithm.id), straight, outs, written, strict=True
            ):
                np.testing.assert_array_equal(one, other)
                assert result is out
                np.testing.assert_array_equal(out.astype(other.dtype), other)


WILD = (np.nan, np.inf, -np.inf, 1e30, -1e30, 2.0**31, -(2.0**31), 2.0**63, 1e9, -1e9, -1e-30, 65504.0)


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("text", PROBLEMS)
def test_wild_offsets_touch_nothing_else(text: str, at_end: bool) -> None:
    """Hazards 18, 37 and 44: offsets that are no places, on arrays that end, or begin, where memory does."""
    for problem in problems_of(text):
        arrays = make(problem, exact=False)
        if not problem.conv.channels_last:
            arrays = {name: None if a is None else copy_between_guards(a, at_end) for name, a in arrays.items()}
        rng = np.random.default_rng(2)
        offset = arrays["offset"]
        where = rng.random(offset.shape) < 0.3
        with np.errstate(over="ignore"):
            offset[where] = rng.choice(WILD, int(where.sum())).astype(offset.dtype)
        expected = expected_of(problem, arrays)
        for algorithm in supporting(problem):
            if algorithm.backend == "numpy":
                continue
            outs = tuple(copy_between_guards(np.zeros(a.shape, NUMPY[a.dtype]), at_end) for a in problem.outputs)
            results = compute(problem, arrays, algorithm.id, outs)
            limits = allowed_of(problem, arrays, algorithm, expected)
            for result, value, allowed in zip(results, expected, limits, strict=True):
                compare(result, value, allowed, NUMPY[problem.dtype])
                assert np.isfinite(result).all(), "what is outside is zero"


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("c", [5, 16])
def test_infinite_pixels_stay_where_samples_meet_them(c: int, channels_last: bool) -> None:
    rng = np.random.default_rng(5)
    x = in_memory_order(rng.standard_normal((1, c, 8, 9)).astype("f"), channels_last)
    x[0, 1, 0, 0], x[0, 2, 7, 8], x[0, 0, 4, 4] = np.inf, -np.inf, np.nan
    text = f"n1c{c}h8w9-o6k3s1p1-f32-og1"
    problem = DeformProblem.parse("deform_conv2d", text)
    offset = np.abs(rng.standard_normal(problem.offset_shape)).astype("f") + 0.01
    arrays = {"x": x, "offset": offset, "w": rng.standard_normal((6, c, 3, 3)).astype("f"), "mask": None, "bias": None}
    expected = expected_of(problem, arrays)[0]
    assert 0 < np.isfinite(expected).sum() < expected.size
    for algorithm in supporting(problem):
        result = compute(problem, arrays, algorithm.id)[0]
        np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
        np.testing.assert_array_equal(np.isinf(result), np.isinf(expected))


def test_samples_outside_are_zero_whatever_their_mask() -> None:
    x, w = np.ones((1, 1, 4, 4), "f"), np.ones((1, 1, 1, 1), "f")
    offset, mask = np.zeros((1, 2, 4, 4), "f"), np.ones((1, 1, 4, 4), "f")
    offset[0, 0, 0, 0], mask[0, 0, 0, 0] = -1, np.nan
    offset[0, 1, 1, 1], mask[0, 0, 1, 1] = 1e30, np.inf
    offset[0, 0, 2, 2], mask[0, 0, 2, 2] = -3.5, 2
    for algorithm in ("auto", "reference"):
        y = pyconv.deform_conv2d(x, offset, w, mask=mask, algorithm=algorithm)[0, 0]
        assert (y[0, 0], y[1, 1], y[2, 2], y[3, 3]) == (0, 0, 0, 1)
        g = pyconv.grad.deform_conv2d(np.ones_like(x), x, offset, w, mask=mask, algorithm=algorithm)
        assert g[4] is not None
        assert (g[4][0, 0, 0, 0], g[4][0, 0, 1, 1], g[4][0, 0, 3, 3]) == (0, 0, 1)


def test_out_may_overlap() -> None:
    problem = DeformProblem.parse("deform_conv2d", "n1c8h9w10-o8k3s1p1-f32-og1")
    arrays = make(problem, exact=False)
    expected = compute(problem, arrays, "auto")[0]
    x = arrays["x"].copy()
    assert pyconv.deform_conv2d(x, arrays["offset"], arrays["w"], padding=1, out=x) is x
    np.testing.assert_array_equal(x, expected)


def test_prepared() -> None:
    for text in ("n2c20h9w10-o18k3s1p1-f32-bias-og2-mask", "n1c16h9w10-o5k3s2p1-f16-og1"):
        problem = DeformProblem.parse("deform_conv2d", text)
        arrays = make(problem, exact=False)
        f = pyconv.prepare(pyconv.deform_conv2d, arrays["w"], arrays["bias"], **window_of(problem))
        expected = compute(problem, arrays, "auto")[0]
        out = np.zeros_like(expected)
        arrays["w"][...] = 0
        np.testing.assert_array_equal(f(arrays["x"], arrays["offset"], arrays["mask"]), expected)
        assert f(arrays["x"], arrays["offset"], mask=arrays["mask"], out=out) is out
        np.testing.assert_array_equal(out, expected)


def test_they_can_be_explained_and_forced() -> None:
    x, offset, w, y = (1, 8, 6, 6), (1, 18, 6, 6), (4, 8, 3, 3), (1, 4, 6, 6)
    answer = pyconv.explain(pyconv.deform_conv2d, x, offset, w, padding=1)
    assert answer.algorithm.startswith("deform_conv2d.")
    for i, name in ((0, "x"), (1, "offset"), (2, "w")):
        mask = tuple(i == j for j in range(5))
        answer = pyconv.explain(pyconv.grad.deform_conv2d, y, x, offset, w, padding=1, output_mask=mask)
        assert answer.algorithm.startswith(f"deform_conv2d-grad-{name}.")
    with pytest.raises(InvalidProblem, match="no algorithm is called"):
        pyconv.deform_conv2d(*(np.ones(shape, "f") for shape in (x, offset, w)), padding=1, algorithm="winograd")


@pytest.mark.parametrize("wanted", [(0, 1, 0, 0, 1), (0, 1, 0, 0, 0), (0, 0, 0, 0, 1), (1, 1, 1, 1, 1)])
def test_offset_and_mask_together_or_alone(wanted: tuple[int, ...]) -> None:
    problem = problems_of("n2c20h9w10-o18k3s1p1-f32-bias-og2-mask")[1]
    arrays = make(problem, exact=False)
    arrays["bias"] = np.zeros(18, "f")
    given_ = [arrays[name] for name in ("grad_output", "x", "offset", "w", "bias")]
    whole = pyconv.grad.deform_conv2d(*given_, padding=1, mask=arrays["mask"])
    some = pyconv.grad.deform_conv2d(*given_, padding=1, mask=arrays["mask"], output_mask=tuple(map(bool, wanted)))
    apart = pyconv.grad.deform_conv2d(
        *given_, padding=1, mask=arrays["mask"], algorithm=("auto", "slopes", "auto", "auto", "auto")
    )
    for yes, one, other, third in zip(wanted, whole, some, apart, strict=True):
        assert (other is None) != bool(yes)
        assert one is not None
        np.testing.assert_array_equal(one, third)
        if other is not None:
            np.testing.assert_array_equal(one, other)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


GOOD = {
    "x": ones(2, 8, 6, 7),
    "offset": ones(2, 36, 6, 7),
    "w": ones(4, 4, 3, 3),
    "padding": 1,
    "mask": ones(2, 18, 6, 7),
}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        # hazard 20
        ({"offset": ones(1, 36, 6, 7)}, InvalidProblem, r"offset must have shape .* = \(2, a multiple of 18, 6, 7\)"),
        ({"offset": ones(2, 35, 6, 7)}, InvalidProblem, "offset must have shape .* a multiple of 18"),
        ({"offset": ones(2, 0, 6, 7)}, InvalidProblem, "offset must have shape"),
        ({"offset": ones(2, 36, 7, 6)}, InvalidProblem, "offset must have shape"),
        ({"offset": ones(36, 6, 7)}, InvalidProblem, "offset must have shape"),
        ({"offset": ones(2, 54, 6, 7)}, InvalidProblem, "offset groups must divide c_in=8"),
        ({"mask": ones(2, 9, 6, 7)}, InvalidProblem, r"mask must have shape \(2, 18, 6, 7\), as offset .* says"),
        ({"mask": ones(1, 18, 6, 7)}, InvalidProblem, "mask must have shape"),
        ({"mask": ones(2, 18, 6, 6)}, InvalidProblem, "mask must have shape"),
        ({"mask": np.ones((2, 18, 6, 7))}, TypeError, "all arrays must have one dtype"),
        ({"offset": np.ones((2, 36, 6, 7))}, TypeError, "all arrays must have one dtype"),
        ({"offset": np.ones((2, 36, 6, 7), "i4")}, TypeError, "offset must be float16"),
        ({"x": np.ones((2, 8, 6, 7), "u1")}, TypeError, "x must be float16"),
        ({"x": ones(8, 6, 7)}, InvalidProblem, r"x must have axes \(n, c_in, h, w\)"),
        ({"w": ones(4, 4, 3)}, InvalidProblem, "w must have axes"),
        ({"w": ones(4, 3, 3, 3)}, InvalidProblem, "channels disagree"),
        ({"w": ones(4, 16, 3, 3)}, InvalidProblem, "channels disagree"),
        ({"w": ones(3, 4, 3, 3)}, InvalidProblem, "groups must divide c_out"),
        ({"w": ones(0, 4, 3, 3)}, InvalidProblem, "at least one output channel"),
        ({"bias": ones(3)}, InvalidProblem, r"bias must have shape \(4,\)"),
        ({"stride": 0}, InvalidProblem, "stride must be >= 1, got 0"),
        ({"dilation": (1, -1)}, InvalidProblem, "dilation must be >= 1"),
        ({"padding": -1}, InvalidProblem, "padding must be >= 0"),
        ({"padding": 0, "dilation": 4}, InvalidProblem, "larger than the padded input"),
        ({"stride": 1.0}, TypeError, "integer"),
        ({"x": [1]}, TypeError, "x must be an array"),
        ({"mask": 1.0}, TypeError, "mask must be an array"),
    ],
    ids=str,
)
def test_bad_input(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pyconv.deform_conv2d(**(GOOD | changes))
    with pytest.raises(error, match=message):
        pyconv.grad.deform_conv2d(ones(2, 4, 6, 7), **(GOOD | changes))


def test_bad_input_of_gradients() -> None:
    with pytest.raises(InvalidProblem, match=r"grad.deform_conv2d\(.*grad_output must have shape \(2, 4, 6, 7\)"):
        pyconv.grad.deform_conv2d(ones(2, 4, 7, 6), **GOOD)
    with pytest.raises(InvalidProblem, match="output_mask must have 5 entries"):
        pyconv.grad.deform_conv2d(ones(2, 4, 6, 7), **GOOD, output_mask=(True,))
    with pytest.raises(TypeError, match="grad_output is float64"):
        pyconv.grad.deform_conv2d(np.ones((2, 4, 6, 7)), **GOOD)


TORCHVISION = [
    "n2c6h8w9-o4k3s1p1-f64-bias-og1-mask",
    "n2c12h9w8-o6k3s2p2d2g3-f64-bias-og2-mask",
    "n1c8h7w7-o8k3x2s1p1x0g4-f64-og4",
    "n1c4h6w6-o4k3s1p1-f64-og1-mask",
    "n35c4h6w6-o4k3s1p1-f64-og2-mask",
]


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("text", TORCHVISION)
def test_torchvision_agrees(text: str, zero: bool) -> None:
    """With offsets of zero too, where samples lie on pixels and on the edge of the outside."""
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    forward, gradient = problems_of(text)[:2]
    arrays = make(replace(gradient, argument="x"), exact=False) | {"bias": np.arange(float(forward.conv.c_out))}
    if zero:
        arrays["offset"][...] = 0
    tensors = {name: None if a is None else torch.from_numpy(a).requires_grad_() for name, a in arrays.items()}
    given_ = [tensors[name] for name in ("x", "offset", "w", "bias")]
    padding = tuple(before for before, _ in forward.conv.padding)
    y = ops.deform_conv2d(*given_, forward.conv.stride, padding, forward.conv.dilation, tensors["mask"])
    results = pyconv.deform_conv2d(
        *(arrays[n] for n in ("x", "offset", "w", "bias")), **window_of(forward), mask=arrays["mask"]
    )
    np.testing.assert_allclose(results, y.detach().numpy(), rtol=1e-9, atol=1e-9)
    y.backward(tensors["grad_output"].detach())
    found = pyconv.grad.deform_conv2d(
        arrays["grad_output"],
        *(arrays[n] for n in ("x", "offset", "w", "bias")),
        **window_of(forward),
        mask=arrays["mask"],
    )
    for name, result in zip(ARGUMENTS, found, strict=True):
        if arrays[name] is not None:
            np.testing.assert_allclose(result, tensors[name].grad.numpy(), rtol=1e-8, atol=1e-9, err_msg=name)
