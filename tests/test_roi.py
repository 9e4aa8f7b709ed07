"""Boxes on maps: every registered algorithm, by its name, against the definition, plain loops, ONNX and torchvision."""

from __future__ import annotations

import itertools
import math
import warnings
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
from pyconv import InvalidProblem, NmsProblem, RoiProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.ops import call as call_module
from pyconv.problem import DTYPES

NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}
EPSILON = {"f16": 2.0**-11, "f32": 2.0**-24, "f64": 2.0**-53}
pyconv.algorithms()
ROIS = {id: registry.find(id) for id in pyconv.algorithms() if "roi" in id.split(".")[0]}
NMS = {id: registry.find(id) for id in pyconv.algorithms("nms")}
#: operation, problem
PROBLEMS = (
    *(
        ("roi_align", text)
        for text in (
            # whole blocks of channels, ragged ones, one vector, maps that are turned whole, row by row, read in place
            "n2c5h13w17-k9to7-x0.25-r2-f32",
            "n1c40h20w23-k12to7-x0.5-r2-f32-aligned",
            "n2c33h30w41-k3to7-x1.0-r2-f32-aligned",
            "n1c16h11w9-k6to3x5-x0.5-r3-f64",
            "n1c20h25w37-k7to7-x0.5-r0-f32",
            "n2c9h25w37-k7to2x14-x0.5-r0-f64-aligned",
            "n1c35h12w12-k5to1-x0.5-r1-f16",
            "n1c64h17w19-k6to7-x0.5-r2-f32-channels_last",
            "n2c70h17w19-k40to4-x0.5-r0-f32-aligned-channels_last",
            "n1c19h17w19-k6to7-x0.5-r2-f64-channels_last",
            "n1c40h9w8-k6to5-x0.5-r2-f16-aligned-channels_last",
            "n3c3h5w3-k7to2-x1.0-r5-f32",
            "n1c17h1w1-k4to3-x1.0-r2-f32-aligned",
            "n1c2h60w70-k2to20x25-x1.0-r0-f32",
            "n2c3h8w8-k0to7-x1.0-r2-f32",
            "n2c0h8w8-k3to7-x1.0-r2-f32",
        )
    ),
    *(
        ("roi_align", f"n2c{c}h14w19-k6to{bins}-x0.5-r{ratio}-{dtype}{aligned}-max_{kind}{order}")
        for kind in ("interpolated", "weighted")
        for c, bins, ratio, dtype, aligned, order in (
            (5, 3, 2, "f32", "", ""),
            (40, "2x4", 0, "f32", "-aligned", "-channels_last"),
            (17, 2, 0, "f64", "", ""),
            (9, 3, 2, "f16", "-aligned", ""),
        )
    ),
    ("roi_align3d", "n2c5d6h9w11-k6to3-x0.5-r2-f32-aligned"),
    ("roi_align3d", "n1c40d5h8w7-k4to2x3x2-x0.5-r0-f32-channels_last"),
    ("roi_align3d", "n1c9d6h6w6-k4to2-x0.5-r2-f64"),
    ("roi_align3d", "n1c9d6h6w6-k4to2-x0.5-r2-f16-aligned"),
    ("roi_align3d", "n2c5d6h7w8-k4to2-x0.5-r2-f32-max_interpolated"),
    ("roi_align3d", "n1c5d6h7w8-k4to2-x0.5-r0-f64-aligned-max_weighted"),
    *(
        ("roi_pool", text)
        for text in (
            "n2c5h13w17-k9to7-x0.25-f32",
            "n1c40h20w23-k12to3x5-x0.5-f32",
            "n2c33h21w30-k3to2-x1.0-f64",
            "n1c20h12w12-k5to7-x0.5-f16",
            "n1c35h17w19-k6to7-x0.5-f32-channels_last",
        )
    ),
    *(
        (op, text)
        for op in ("ps_roi_align", "ps_roi_pool")
        for text in (
            f"n2c45h13w17-k9to3-x0.25{'-r2' if op == 'ps_roi_align' else ''}-f32",
            f"n1c120h10w11-k12to2x3-x0.5{'-r0' if op == 'ps_roi_align' else ''}-f32",
            f"n2c36h11w12-k3to2-x1.0{'-r0' if op == 'ps_roi_align' else ''}-f64-channels_last",
            f"n1c8h12w12-k5to2-x0.5{'-r3' if op == 'ps_roi_align' else ''}-f16",
        )
    ),
)


def problems_of(op: str, text: str) -> list[RoiProblem]:
    problem = RoiProblem.parse(op, text)
    return [problem, replace(problem, gradient=True)]


def boxes_of(problem: RoiProblem, exact: bool, seed: int = 0) -> np.ndarray:
    """Boxes of every kind, on images in no order; ``exact``: of weights that are small binary fractions."""
    rng = np.random.default_rng(seed)
    k, rank = problem.boxes, problem.rank
    boxes = np.zeros((k, 1 + 2 * rank))
    boxes[:, 0] = rng.integers(0, max(1, problem.n), k)
    for axis in range(rank):
        size, bins = problem.spatial[rank - 1 - axis] / problem.scale, problem.out_spatial[rank - 1 - axis]
        if exact:
            low = rng.integers(-2, max(1, int(size)), k).astype(float) + (0.5 if problem.aligned else 0)
            length = bins * 2.0 ** rng.integers(0, 3, k) / problem.scale
        else:
            low = rng.uniform(-0.2, 0.9, k) * size
            length = rng.uniform(0.02, 1.0, k) * size
        boxes[:, 1 + axis], boxes[:, 1 + rank + axis] = low, low + length
    if not exact:
        odd = [
            lambda b: b * 0 + [b[0], *[0.5] * (2 * rank)],  # without extent
            lambda b: np.r_[b[0], b[1 + rank :], b[1 : 1 + rank]],  # the wrong way round
            lambda b: np.r_[b[0], -b[1:]],  # mostly outside
            lambda b: np.r_[b[0], [-1e5] * rank, [1e5] * rank],  # far larger than the map
            lambda b: np.r_[b[0], [-3e30] * rank, [1e30] * rank],
            lambda b: np.r_[b[0], np.round(b[1:])],
        ]
        for i, change in enumerate(odd[: k // 2]):
            boxes[i] = change(boxes[i])
    return boxes


def draw(shape: tuple[int, ...], dtype: str, channels_last: bool, rng: np.random.Generator, exact: bool) -> np.ndarray:
    values = rng.integers(-4, 5, shape) if exact else rng.standard_normal(shape)
    return in_memory_order(values.astype(NUMPY[dtype]), channels_last)


def make(problem: RoiProblem, exact: bool, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    order = problem.channels_last
    arrays = {
        "x": draw(problem.x_shape, problem.dtype, order, rng, exact),
        "boxes": boxes_of(problem, exact, seed),
    }
    if problem.gradient:
        arrays["grad_output"] = draw(problem.out_shape, problem.dtype, order, rng, exact)
    return arrays


def arguments(problem: RoiProblem) -> dict[str, Any]:
    found: dict[str, Any] = {"output_size": problem.out_spatial, "spatial_scale": problem.scale}
    if problem.has_samples:
        found["sampling_ratio"] = problem.sampling_ratio
    if problem.kind == "roi_align":
        found |= {"aligned": problem.aligned, "mode": problem.mode, "max_of": problem.max_of}
    return found


def call_of(problem: RoiProblem, arrays: dict[str, np.ndarray]) -> Any:
    name = problem.op.removesuffix("-grad-x")
    if not problem.gradient:
        return partial(getattr(pyconv, name), arrays["x"], arrays["boxes"], **arguments(problem))
    function = getattr(pyconv.grad, name)
    given = arrays["grad_output"], arrays["x"], arrays["boxes"]
    return lambda **more: function(*given, **arguments(problem), **more)[0]


def expected_of(problem: RoiProblem, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if problem.gradient:
        return reference.roi_grad(problem, arrays["grad_output"], arrays["boxes"], arrays["x"])
    return reference.roi(problem, arrays["x"], arrays["boxes"])


def allowed_of(problem: RoiProblem, arrays: dict[str, np.ndarray], algorithm: Algorithm, expected: np.ndarray) -> Any:
    """The algorithm's bound times the same sum of magnitudes, and the rounding of the result."""
    bound = algorithm.error_bound(problem)
    if bound == 0:
        return 0.0
    sizes = dict(arrays)
    if problem.gradient:
        sizes["grad_output"] = np.abs(arrays["grad_output"])
    else:
        sizes["x"] = np.abs(arrays["x"])
    # half of the least float16; weights of boxes of 1e30 are below the least float32
    smallest = 2.0**-25 if problem.dtype == "f16" else 2.0**-120
    return bound * expected_of(problem, sizes) + EPSILON[problem.dtype] * np.abs(expected) + smallest


def supporting(problem: RoiProblem) -> list[Algorithm]:
    able = [a for a in ROIS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    call = Call.typical(problem, 2, 64 << 20)
    return [a for a in able if a.workspace(call) is not None]


def is_empty(problem: RoiProblem) -> bool:
    return 0 in problem.x_shape or 0 in problem.out_shape


def check(problem: RoiProblem, algorithm: Algorithm, exact: bool, seed: int = 0) -> None:
    """Run into a poisoned output, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, exact, seed)
    expected = expected_of(problem, arrays)
    copies = {name: a.copy() for name, a in arrays.items()}
    operand = problem.outputs[0]
    poison = in_memory_order(np.full(operand.shape, np.nan, NUMPY[operand.dtype]), operand.channels_last)
    forget_last_kernel(algorithm)
    call = call_of(problem, arrays)
    with guarded_scratch(algorithm, fill=0xA5):
        result = call(algorithm=algorithm.id, out=poison)
    assert result is poison
    if algorithm.backend != "numpy" and not is_empty(problem):
        assert last_kernel(algorithm) == algorithm.kernel_name
    compare(result, expected, allowed_of(problem, arrays, algorithm, expected), NUMPY[problem.dtype])
    for name, array in arrays.items():
        assert np.array_equal(array, copies[name]), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = call(algorithm=algorithm.id)
    np.testing.assert_array_equal(fresh, result)
    if problem.channels_last and fresh.shape[1] > 1 and fresh.size and np.prod(fresh.shape[2:]) > 1:
        assert np.moveaxis(fresh, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


def comparable(problem: RoiProblem) -> bool:
    """Whether rounding cannot move a maximum: whole pixels, or none is looked for."""
    return not problem.gradient or problem.join == "mean" or problem.kind == "roi_pool"


@pytest.mark.parametrize(("op", "text"), PROBLEMS)
def test_every_algorithm_on_the_table(op: str, text: str) -> None:
    for problem in problems_of(op, text):
        asked = supporting(problem)
        assert {a.backend for a in asked} >= {"numpy"} | ({"c"} if registry.why_missing("c") is None else set())
        for algorithm in asked:
            check(problem, algorithm, exact=True)
            if algorithm.backend != "numpy" and comparable(problem):
                check(problem, algorithm, exact=False)


@pytest.mark.parametrize("id", ROIS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = ROIS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    problems = itertools.chain.from_iterable(itertools.starmap(problems_of, PROBLEMS))
    assert any(algorithm.supports(p) for p in problems if p.op == algorithm.op and p.dtype == algorithm.dtype), id


@pytest.mark.parametrize(("op", "text"), PROBLEMS)
def test_text_and_problem_are_inverse(op: str, text: str) -> None:
    for problem in problems_of(op, text):
        assert RoiProblem.parse(problem.op, str(problem)) == problem


@st.composite
def drawn_problems(draw: st.DrawFn) -> RoiProblem:
    kind = draw(st.sampled_from(("roi_align", "roi_align", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")))
    rank = draw(st.sampled_from((2, 2, 3))) if kind == "roi_align" else 2
    bins = tuple(draw(st.integers(1, 8 if rank == 2 else 3)) for _ in range(rank))
    c = draw(st.sampled_from((1, 2, 17, 33))) * (math.prod(bins) if kind.startswith("ps_") else 1)
    return RoiProblem(
        kind=kind,
        n=draw(st.integers(1, 3)),
        c=c,
        boxes=draw(st.integers(1, 20)),
        spatial=tuple(draw(st.integers(1, 30 if rank == 2 else 7)) for _ in range(rank)),
        out_spatial=bins,
        scale=draw(st.sampled_from((1.0, 0.25, 0.7))),
        sampling_ratio=draw(st.sampled_from((0, 0, 1, 2, 3))) if kind.endswith("align") else 0,
        aligned=draw(st.booleans()) and kind == "roi_align",
        mode=draw(st.sampled_from(("avg", "avg", "max"))) if kind == "roi_align" else "avg",
        max_of=draw(st.sampled_from(("interpolated", "weighted"))) if kind == "roi_align" else "interpolated",
        dtype=draw(st.sampled_from(("f32", "f32", "f64", "f16"))),
        channels_last=draw(st.booleans()),
    )


@settings(max_examples=60)
@given(data=st.data())
def test_drawn_problems(data: st.DataObject) -> None:
    problem = data.draw(drawn_problems())
    if problem.mode == "avg":
        problem = replace(problem, max_of="interpolated")
    if problem.c == 1 or np.prod(problem.spatial) == 1:
        problem = replace(problem, channels_last=False)
    seed = data.draw(st.integers(0, 9))
    for variant in (problem, replace(problem, gradient=True)):
        for algorithm in supporting(variant):
            if algorithm.backend != "numpy" and comparable(variant):
                check(variant, algorithm, exact=False, seed=seed)


def plain_align(problem: RoiProblem, x: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Written once more without the definition's helpers: two axes, means, a fixed number of samples."""
    height, width = problem.spatial
    out = np.zeros(problem.out_shape)
    for k, c, p, q in np.ndindex(*problem.out_shape):
        n, x1, y1, x2, y2 = boxes[k]
        shift = 0.5 if problem.aligned else 0.0
        x1, y1, x2, y2 = (v * problem.scale - shift for v in (x1, y1, x2, y2))
        w, h = x2 - x1, y2 - y1
        if not problem.aligned:
            w, h = max(w, 1.0), max(h, 1.0)
        r, total = problem.sampling_ratio, 0.0
        for i, j in np.ndindex(r, r):
            y = y1 + (p + (i + 0.5) / r) * h / problem.out_spatial[0]
            z = x1 + (q + (j + 0.5) / r) * w / problem.out_spatial[1]
            if y < -1 or y > height or z < -1 or z > width:
                continue
            y, z = min(max(y, 0), height - 1), min(max(z, 0), width - 1)
            a, b = min(int(y), max(height - 2, 0)), min(int(z), max(width - 2, 0))
            for da, db in np.ndindex(2, 2):
                weight = (1 - abs(y - a - da)) * (1 - abs(z - b - db))
                if weight > 0:
                    total += weight * float(x[int(n), c, a + da, b + db])
        out[k, c, p, q] = total / (r * r)
    return out


@pytest.mark.parametrize("text", ["n2c2h9w8-k8to3x2-x0.5-r2-f64", "n1c2h5w7-k8to2-x0.25-r3-f64-aligned"])
def test_the_definition_is_the_plain_loops(text: str) -> None:
    problem = RoiProblem.parse("roi_align", text)
    arrays = make(problem, exact=False)
    arrays["boxes"] = arrays["boxes"][[k for k in range(8) if np.abs(arrays["boxes"][k]).max() < 1e4]]
    problem = replace(problem, boxes=len(arrays["boxes"]))
    expected = plain_align(problem, arrays["x"], arrays["boxes"])
    np.testing.assert_allclose(reference.roi(problem, arrays["x"], arrays["boxes"]), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("op", "text"), [row for row in PROBLEMS if "-f64" in row[1]])
def test_the_definitions_gradient_is_the_slope(op: str, text: str) -> None:
    """<grad(g), dx> = <g, f(x + dx) - f(x)>, exactly where f is linear between x and x + dx."""
    problem = RoiProblem.parse(op, text)
    rng = np.random.default_rng(4)
    arrays = make(problem, exact=False)
    x = rng.permutation(int(np.prod(problem.x_shape))).reshape(problem.x_shape).astype(np.float64)
    dx, g = rng.standard_normal(problem.x_shape) * 1e-7, rng.standard_normal(problem.out_shape)
    grad = reference.roi_grad(replace(problem, gradient=True), g, arrays["boxes"], x)
    change = reference.roi(problem, x + dx, arrays["boxes"]) - reference.roi(problem, x, arrays["boxes"])
    np.testing.assert_allclose(np.vdot(grad, dx), np.vdot(g, change), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("op", "text"), PROBLEMS)
def test_same_bits_for_any_number_of_threads(op: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.why_missing("c"):
        pytest.skip("needs the C kernels")
    monkeypatch.setattr("pyconv.backends.c_roi._FLOPS_PER_THREAD", 1)
    call_module.plan_for.cache_clear()
    try:
        for problem in problems_of(op, text):
            arrays = make(problem, exact=False)
            for algorithm in supporting(problem):
                if algorithm.backend == "numpy":
                    continue
                results = set()
                for threads in (1, 2, 3, 5, 8):
                    with pyconv.options(threads=threads):
                        results.add(call_of(problem, arrays)(algorithm=algorithm.id).tobytes())
                assert len(results) == 1, algorithm.id
    finally:
        call_module.plan_for.cache_clear()


@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("roi_align", "n2c70h40w40-k50to7-x0.5-r0-f32"),
        ("roi_align", "n2c70h40w40-k50to7-x0.5-r2-f64-channels_last"),
        ("roi_align", "n1c30h40w40-k50to7-x0.5-r2-f32-max_interpolated"),
        ("roi_align3d", "n2c20d6h10w11-k20to3-x0.5-r2-f32"),
        ("roi_pool", "n2c70h40w40-k50to7-x0.5-f32"),
        ("ps_roi_align", "n2c49h40w40-k50to7-x0.5-r0-f32"),
    ],
)
def test_little_scratch(op: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows instead of maps, bands, tables that each task makes: the same within the bound, or refused with a reason."""
    c = pytest.importorskip("pyconv.backends.c")
    for problem in problems_of(op, text):
        arrays = make(problem, exact=False)
        expected = expected_of(problem, arrays)
        ran = 0
        for share in (1, 8, 16, 32, 64, 128, 256):
            monkeypatch.setattr(c, "WORKERS_IN_LIMIT", share)
            call_module.plan_for.cache_clear()
            for algorithm in supporting(problem):
                if algorithm.backend == "numpy":
                    continue
                with pyconv.options(max_workspace=1 << 20), guarded_scratch(algorithm, fill=0xA5):
                    if algorithm.workspace(Call.typical(problem, 2, 1 << 20)) is None:
                        with pytest.raises(Unsupported, match="max_workspace"):
                            call_of(problem, arrays)(algorithm=algorithm.id)
                        continue
                    result = call_of(problem, arrays)(algorithm=algorithm.id)
                ran += 1
                allowed = allowed_of(problem, arrays, algorithm, expected)
                if comparable(problem):
                    compare(result, expected, allowed, NUMPY[problem.dtype])
        monkeypatch.undo()
        call_module.plan_for.cache_clear()
        assert ran > 3


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.transpose()).transpose(),
    "reversed": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "offset rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(3, 5)])[..., 3:-5],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "misaligned": lambda a: _misaligned(a),
    "channels last": lambda a: in_memory_order(a, a.ndim > 2),
}


def _misaligned(a: np.ndarray) -> np.ndarray:
    view = np.zeros(a.nbytes + 1, dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("op", "text"),
    [
        ("roi_align", "n2c20h9w21-k5to7-x0.5-r2-f32"),
        ("roi_align", "n2c3h9w21-k5to3-x0.5-r0-f16"),
        ("roi_align", "n2c20h9w21-k5to3-x0.5-r2-f64-max_weighted"),
        ("roi_align3d", "n1c3d3h5w7-k5to2-x0.5-r2-f32"),
        ("roi_pool", "n2c3h9w21-k5to3-x0.5-f32"),
        ("ps_roi_align", "n1c12h9w21-k5to2-x0.5-r2-f32"),
    ],
)
def test_memory_layouts(op: str, text: str, layout: str) -> None:
    """Hazards 32 to 36, of every array of a call."""
    change = LAYOUTS[layout]
    for problem in problems_of(op, text):
        arrays = make(problem, exact=True)
        for algorithm in supporting(problem):
            straight = call_of(problem, arrays)(algorithm=algorithm.id)
            moved = {name: change(a) for name, a in arrays.items()}
            got = call_of(problem, moved)(algorithm=algorithm.id)
            np.testing.assert_array_equal(got, straight)
            out = change(np.zeros(straight.shape, straight.dtype))
            assert call_of(problem, arrays)(algorithm=algorithm.id, out=out) is out
            np.testing.assert_array_equal(out.astype(straight.dtype), straight)


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(("op", "text"), [row for row in PROBLEMS if "k0" not in row[1] and "c0" not in row[1]])
def test_no_kernel_reads_or_writes_beside_its_arrays(op: str, text: str, at_end: bool) -> None:
    """Hazard 37: arrays that end, or begin, where memory does."""
    for problem in problems_of(op, text):
        arrays = make(problem, exact=False)

        def guarded(a: np.ndarray, last: bool) -> np.ndarray:
            if not last:
                return copy_between_guards(a, at_end)
            return np.moveaxis(copy_between_guards(np.ascontiguousarray(np.moveaxis(a, 1, -1)), at_end), -1, 1)

        moved = {name: guarded(a, problem.channels_last and a.ndim > 2) for name, a in arrays.items()}
        moved["boxes"] = copy_between_guards(arrays["boxes"], at_end)
        out = guarded(np.zeros(problem.outputs[0].shape, NUMPY[problem.dtype]), problem.channels_last)
        for algorithm in supporting(problem):
            if algorithm.backend != "numpy":
                call_of(problem, moved)(algorithm=algorithm.id, out=out)


@pytest.mark.parametrize(("op", "text"), [row for row in PROBLEMS if "k0" not in row[1] and "c0" not in row[1]])
def test_nan_and_infinities(op: str, text: str) -> None:
    """They are where the definition has them: in the bins with samples beside them, also where a weight is 0."""
    for problem in problems_of(op, text):
        if not comparable(problem):
            continue
        for exact in (False, True):
            arrays = make(problem, exact, seed=2)
            rng = np.random.default_rng(3)
            name = "grad_output" if problem.gradient and problem.join == "mean" else "x"
            if problem.gradient and problem.join != "mean":
                continue
            a = arrays[name]
            for value, share in ((np.nan, 0.02), (np.inf, 0.02), (-np.inf, 0.02)):
                a[rng.random(a.shape) < share] = value
            expected = expected_of(problem, arrays)
            for algorithm in supporting(problem):
                result = call_of(problem, arrays)(algorithm=algorithm.id)
                for where in (np.isnan, np.isposinf, np.isneginf):
                    np.testing.assert_array_equal(where(result), where(expected.astype(result.dtype)), algorithm.id)


def test_of_equal_maxima_the_first_gets_the_gradient() -> None:
    x = np.ones((1, 20, 6, 6), np.float32)
    boxes = np.array([[0, 0, 0, 3, 3]])
    g = np.ones((1, 20, 1, 1), np.float32)
    for algorithm in (a.id for a in ROIS.values() if a.op == "roi_pool-grad-x" and a.dtype == "f32"):
        grad = pyconv.grad.roi_pool(g, x, boxes, 1, algorithm=algorithm)[0]
        assert (grad[:, :, 0, 0] == 1).all()
        assert grad.sum() == 20
    x[0, 3, 1, 2] = x[0, 3, 2, 1] = np.nan
    grad = pyconv.grad.roi_pool(g, x, boxes, 1)[0]
    assert grad[0, 3, 2, 1] == 1, "the last NaN"
    # a sample outside the map is a zero, and comes first
    x = np.zeros((1, 1, 4, 4), np.float32)
    grad = pyconv.grad.roi_align(np.ones((1, 1, 1, 1), np.float32), x, np.array([[0, -9, -9, 4, 4]]), 1, mode="max")[0]
    assert not grad.any()


def test_boxes_in_three_forms() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 10, 12)).astype(np.float32)
    lists = [rng.uniform(0, 10, (4, 4)), rng.uniform(0, 10, (2, 4))]
    table = np.concatenate([np.c_[np.full(len(b), i), b] for i, b in enumerate(lists)])
    wanted = pyconv.roi_align(x, table, 3)
    np.testing.assert_array_equal(pyconv.roi_align(x, lists, 3), wanted)
    np.testing.assert_array_equal(pyconv.roi_align(x[:1], lists[0], 3), wanted[:4])
    np.testing.assert_array_equal(pyconv.roi_align(x, [lists[0], np.zeros((0, 4))], 3), wanted[:4])
    np.testing.assert_array_equal(pyconv.roi_align(x, table.astype(np.int8), 3), pyconv.roi_align(x, table // 1, 3))
    assert pyconv.roi_align(x, [np.zeros((0, 4))] * 2, 3).shape == (0, 3, 3, 3)
    grad = pyconv.grad.roi_align(np.zeros((0, 3, 3, 3), np.float32), x, np.zeros((0, 5)), 3)[0]
    assert grad.shape == x.shape
    assert not grad.any()
    assert pyconv.roi_align(x[:0], np.zeros((0, 5)), 3).shape == (0, 3, 3, 3)


def test_conventions_name_defaults() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 20, 20)).astype(np.float32)
    boxes = np.array([[0, 1.3, 2.2, 15.1, 17.9]])
    for convention, aligned in (("torchvision", False), ("detectron2", True), ("onnx-10", False), ("onnx-16", True)):
        got = pyconv.roi_align(x, boxes, 3, convention=convention)
        np.testing.assert_array_equal(got, pyconv.roi_align(x, boxes, 3, 1.0, 0, aligned))
        other = pyconv.roi_align(x, boxes, 3, aligned=not aligned, convention=convention)
        np.testing.assert_array_equal(other, pyconv.roi_align(x, boxes, 3, 1.0, -1, not aligned))


X = np.zeros((2, 3, 8, 9), np.float32)
BOX = np.array([[0.0, 0, 0, 4, 4]])


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (
            InvalidProblem,
            "boxes\\[1\\] is on image 2, x has images 0 to 1",
            lambda f: f(X, [[0, 0, 0, 4, 4], [2, 0, 0, 4, 4]]),
        ),
        (InvalidProblem, "is on image -1", lambda f: f(X, [[-1, 0, 0, 4, 4]])),
        (InvalidProblem, "is on image 0.5", lambda f: f(X, [[0.5, 0, 0, 4, 4]])),
        (InvalidProblem, "is on image nan", lambda f: f(X, [[np.nan, 0, 0, 4, 4]])),
        (InvalidProblem, "is on image 1e\\+30", lambda f: f(X, [[1e30, 0, 0, 4, 4]])),
        (InvalidProblem, "corners of boxes\\[0\\] must be finite", lambda f: f(X, [[0, np.nan, 0, 4, 4]])),
        (InvalidProblem, "corners of boxes\\[0\\] must be finite", lambda f: f(X, [[0, 0, -np.inf, 4, 4]])),
        (InvalidProblem, "corners of boxes\\[0\\] must be finite", lambda f: f(X, [[0, 0, 0, 1.7e308, 4]])),
        (InvalidProblem, "boxes must be \\(k, 5\\)", lambda f: f(X, np.zeros((3, 6)))),
        (InvalidProblem, "boxes must be \\(k, 5\\)", lambda f: f(X, np.zeros(5))),
        (InvalidProblem, "do not say which of 2 images", lambda f: f(X, np.zeros((3, 4)))),
        (InvalidProblem, "must have axes \\(n, c, h, w\\)", lambda f: f(X[0], BOX)),
        (InvalidProblem, "output_size must be >= 1", lambda f: f(X, BOX, size=0)),
        (InvalidProblem, "output_size must be", lambda f: f(X, BOX, size=(1, 2, 3))),
        (InvalidProblem, "spatial_scale must be positive", lambda f: f(X, BOX, scale=0)),
        (InvalidProblem, "spatial_scale must be positive", lambda f: f(X, BOX, scale=np.nan)),
        (InvalidProblem, "empty axis", lambda f: f(X[:, :, :0], BOX)),
        (TypeError, "x must be float16, float32, float64", lambda f: f(X.astype(np.int32), BOX)),
        (TypeError, "boxes must be real numbers", lambda f: f(X, BOX.astype(complex))),
        (TypeError, "output_size|integer", lambda f: f(X, BOX, size=2.5)),
        (TypeError, "spatial_scale must be a number", lambda f: f(X, BOX, scale="1")),
        (TypeError, "x must be an array", lambda f: f([1], BOX)),
    ],
)
@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_bad_input(name: str, error: type[Exception], message: str, call: Any) -> None:
    """Hazards 17, 18 and 21."""

    def function(x: Any, boxes: Any, size: Any = 1, scale: Any = 1.0) -> Any:
        boxes = np.asarray(boxes)
        return getattr(pyconv, name)(x, boxes, size, scale)

    with pytest.raises(error, match=message):
        call(function)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("a list of boxes needs an entry for each of 2 images, got 1", lambda: pyconv.roi_align(X, [BOX[:, 1:]], 2)),
        ("boxes\\[1\\] must be \\(l, 4\\)", lambda: pyconv.roi_align(X, [BOX[:, 1:], BOX], 2)),
        ("sampling_ratio must be at most", lambda: pyconv.roi_align(X, BOX, 2, sampling_ratio=10**9)),
        ("mode must be one of", lambda: pyconv.roi_align(X, BOX, 2, mode="sum")),
        ("max_of must be one of", lambda: pyconv.roi_align(X, BOX, 2, max_of="all")),
        ("convention must be one of", lambda: pyconv.roi_align(X, BOX, 2, convention="caffe")),
        ("multiple of 4 channels", lambda: pyconv.ps_roi_align(X, BOX, 2)),
        ("grad_output must have the output's shape \\(1, 3, 2, 2\\)", lambda: pyconv.grad.roi_align(X[:1], X, BOX, 2)),
        (
            "out must have the output's shape",
            lambda: pyconv.roi_align(X, BOX, 2, out=np.zeros((1, 3, 3, 3), np.float32)),
        ),
        ("scales must fall", lambda: pyconv.fpn_roi_align([X, X], BOX, 2, [0.25, 0.5])),
        ("for each of 2 features", lambda: pyconv.fpn_roi_align([X, X], BOX, 2, [0.5])),
        ("same images and channels", lambda: pyconv.fpn_roi_align([X, X[:1]], BOX, 2, [0.5, 0.25])),
        ("scores must be \\(1,\\)", lambda: pyconv.nms(BOX[:, 1:], np.zeros(2), 0.5)),
        ("must be \\(k, 4\\)", lambda: pyconv.nms(BOX, np.zeros(1), 0.5)),
        ("iou_threshold must be a number", lambda: pyconv.nms(BOX[:, 1:], np.zeros(1), np.nan)),
        ("must be \\(k, 4\\)", lambda: pyconv.box_iou(BOX, BOX[:, 1:])),
        ("positive numbers", lambda: pyconv.anchors((2, 2), 4, [0], [1])),
        ("feature_size must be >= 0", lambda: pyconv.anchors((-1, 2), 4, [1], [1])),
    ],
)
def test_what_means_nothing(message: str, call: Any) -> None:
    with pytest.raises(InvalidProblem, match=message):
        call()


def test_types_that_are_not_taken() -> None:
    for call in (
        lambda: pyconv.roi_align(X, BOX, 2, aligned=1),
        lambda: pyconv.roi_align(X, BOX, 2, mode=3),
        lambda: pyconv.roi_align(X, BOX, 2, sampling_ratio=2.0),
        lambda: pyconv.grad.roi_align(np.zeros((1, 3, 2, 2)), X, BOX, 2),
        lambda: pyconv.batched_nms(BOX[:, 1:], np.zeros(1), np.zeros(1), 0.5),
        lambda: pyconv.fpn_roi_align(X, BOX, 2, [1]),
        lambda: pyconv.roi_align(X, BOX, 2, out=[1]),
    ):
        with pytest.raises(TypeError):
            call()


@pytest.mark.parametrize("far", [1e6, 1e15, 1e30, 1e200])
@pytest.mark.parametrize("name", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_boxes_of_any_size_take_bounded_time(name: str, far: float) -> None:
    """Hazards 18 and 19: adaptive samples of a huge box are counted, and visited only on the map."""
    x = np.ones((1, 4, 30, 40), np.float32)
    boxes = np.array(
        [[0, -far, -far, far, far], [0, 0, 0, far, far], [0, far, far, 2 * far, 2 * far], [0, far, far, -far, -far]]
    )
    result = getattr(pyconv, name)(x, boxes, 2)
    assert np.isfinite(result).all()
    assert (np.abs(result) <= 1.0001).all()
    grad = getattr(pyconv.grad, name)(np.ones_like(result), x, boxes, 2)[0]
    assert np.isfinite(grad).all()


def test_adaptive_samples_of_a_large_box_are_all_of_the_map() -> None:
    """Beyond the map samples are zeros: what a box of 100 maps has is a hundredth of the map's mean."""
    x = np.ones((1, 20, 8, 8), np.float32)
    boxes = np.array([[0, 0, 0, 80, 80]])
    for algorithm in (a for a in ROIS.values() if a.op == "roi_align" and a.dtype == "f32" and a.supports(None)):
        result = pyconv.roi_align(x, boxes, 1, algorithm=algorithm.id)
        np.testing.assert_allclose(result, 0.01, rtol=0.2)


# The pyramid


def test_fpn_levels() -> None:
    """Lin et al. 2017, equation 1, on boxes of and around the canonical size."""
    sizes = (64, 32, 16, 8)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    features = [np.full((1, 1, 8 * s, 8 * s), level, np.float32) for level, s in zip((2, 3, 4, 5), sizes, strict=True)]

    def level(width: float, height: float, **more: Any) -> float:
        box = np.array([[0, 0, 0, width, height]])
        return float(pyconv.fpn_roi_align(features, box, 1, scales, aligned=True, **more).item())

    found = [level(side, side) for side in (10, 111.9, 112, 223, 224, 447, 448, 900)]
    np.testing.assert_allclose(found, [2, 2, 3, 3, 4, 4, 5, 5], rtol=1e-5)
    assert level(112, 448) == pytest.approx(4)
    assert level(224, 224, canonical_level=3) == pytest.approx(3)
    assert level(224, 224, canonical_size=112) == pytest.approx(5)


@pytest.mark.parametrize("order", [False, True])
def test_fpn_is_each_level_by_itself(order: bool) -> None:
    rng = np.random.default_rng(0)
    scales = [1 / 4, 1 / 8, 1 / 16]
    features = [in_memory_order(rng.standard_normal((2, 20, s, s)).astype(np.float32), order) for s in (60, 30, 15)]
    corners = rng.uniform(0, 120, (30, 2))
    boxes = np.c_[rng.integers(0, 2, 30), corners, corners + rng.uniform(5, 600, (30, 2))]
    area = np.prod(boxes[:, 3:] - boxes[:, 1:3], axis=1)
    levels = np.clip(np.floor(4 + np.log2(np.sqrt(area) / 224)), 2, 4)
    assert len(set(levels)) == 3
    for algorithm in ("auto", "reference"):
        result = pyconv.fpn_roi_align(features, boxes, 3, scales, 2, algorithm=algorithm)
        g = rng.standard_normal(result.shape).astype(np.float32)
        grads = pyconv.grad.fpn_roi_align(g, features, boxes, 3, scales, 2, algorithm=algorithm)
        for level, x, scale, grad in zip((2, 3, 4), features, scales, grads, strict=True):
            mine = levels == level
            one = pyconv.roi_align(x, boxes[mine], 3, scale, 2, algorithm=algorithm)
            np.testing.assert_array_equal(result[mine], one)
            other = pyconv.grad.roi_align(g[mine], x, boxes[mine], 3, scale, 2, algorithm=algorithm)[0]
            np.testing.assert_array_equal(grad, other)
    out = np.zeros(result.shape, np.float32)
    assert pyconv.fpn_roi_align(features, boxes, 3, scales, 2, out=out) is out
    np.testing.assert_allclose(out, result, rtol=1e-4, atol=1e-5)
    odd = [_misaligned(np.ascontiguousarray(x)) for x in features]
    np.testing.assert_allclose(pyconv.fpn_roi_align(odd, boxes, 3, scales, 2), result, rtol=1e-4, atol=1e-5)


# Boxes among themselves


def some_boxes(k: int, seed: int, spread: float = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, spread, (k, 2))
    return np.c_[corners, corners + rng.uniform(0, 30, (k, 2))], rng.integers(0, 50, k) / 50


def plain_nms(boxes: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    left, kept = sorted(range(len(boxes)), key=lambda i: -scores[i]), []
    while left:
        best, *left = left
        kept.append(best)
        left = [j for j in left if not reference.box_iou(boxes[[best]], boxes[[j]])[0, 0] > threshold]
    return kept


@pytest.mark.parametrize("id", NMS)
@pytest.mark.parametrize("k", [0, 1, 7, 8, 60, 200])
def test_nms(id: str, k: int) -> None:
    algorithm = NMS[id]
    if not algorithm.supports(NmsProblem(k, 1, 0.5)):
        pytest.skip("not on this processor")
    for seed, threshold in ((0, 0.5), (1, 0.1), (2, 0.0), (3, 1.0)):
        boxes, scores = some_boxes(k, seed)
        forget_last_kernel(algorithm)
        with guarded_scratch(algorithm, fill=0xA5):
            kept = pyconv.nms(boxes, scores, threshold, algorithm=id)
        if k and algorithm.backend == "c":
            assert last_kernel(algorithm) == algorithm.kernel_name
        assert kept.dtype == np.int64
        assert kept.tolist() == plain_nms(boxes, scores, threshold)
        np.testing.assert_array_equal(pyconv.nms(boxes.astype(np.float32), scores, threshold, algorithm=id),
                                      pyconv.nms(boxes.astype(np.float32), scores, threshold))  # fmt: skip
        classes = np.random.default_rng(seed).integers(-2, 3, k)
        expected = sorted(
            (i for c in set(classes.tolist()) for j in [np.flatnonzero(classes == c)]
             for i in j[plain_nms(boxes[j], scores[j], threshold)]),
            key=lambda i: (-scores[i], i),
        )  # fmt: skip
        assert pyconv.batched_nms(boxes, scores, classes, threshold, algorithm=id).tolist() == expected


def test_nms_at_the_edge_of_sense() -> None:
    point = np.zeros((3, 4))
    assert pyconv.nms(point, np.array([1.0, 2, 3]), 0.5).tolist() == [2, 1, 0], "0 / 0 overlaps nothing"
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1]])
    assert pyconv.nms(boxes, np.ones(2), 0.5).tolist() == [0, 1], "an overlap of exactly the threshold stays"
    assert pyconv.nms(boxes, np.array([1, np.nan]), 0.4).tolist() == [1]
    for value in (np.nan, np.inf, -np.inf, 1e308):
        strange = np.full((20, 4), value)
        assert len(pyconv.nms(strange, np.arange(20), 0.5)) > 0
    out = np.full(5, -1)
    assert pyconv.nms(boxes, np.ones(2), 0.5, out=out).base is out
    assert out.tolist() == [0, 1, -1, -1, -1]
    with pytest.raises(InvalidProblem, match="room for 2"):
        pyconv.nms(boxes, np.ones(2), 0.5, out=out[:1])


def test_nms_has_the_same_answer_for_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.why_missing("c"):
        pytest.skip("needs the C kernels")
    monkeypatch.setattr("pyconv.backends.c_roi._BOXES_PER_THREAD", 1)
    boxes, scores = some_boxes(500, 0, 200)
    classes = np.random.default_rng(0).integers(0, 7, 500)
    found = set()
    for threads in (1, 2, 3, 8):
        with pyconv.options(threads=threads):
            found.add(pyconv.batched_nms(boxes, scores, classes, 0.3).tobytes())
    assert len(found) == 1


def test_box_iou_and_anchors() -> None:
    a, _ = some_boxes(5, 0)
    b, _ = some_boxes(7, 1)
    iou = pyconv.box_iou(a, b.astype(np.float32))
    for i, j in np.ndindex(5, 7):
        w = max(0, min(a[i, 2], b[j, 2]) - max(a[i, 0], b[j, 0]))
        h = max(0, min(a[i, 3], b[j, 3]) - max(a[i, 1], b[j, 1]))
        union = np.prod(a[i, 2:] - a[i, :2]) + np.prod(b[j, 2:] - b[j, :2]) - w * h
        np.testing.assert_allclose(iou[i, j], w * h / union, rtol=1e-5)
    assert pyconv.box_iou(a.astype(np.float32), b).dtype == np.float32
    out = np.zeros((5, 7))
    assert pyconv.box_iou(a, b.astype(np.float32), out=out) is out
    np.testing.assert_array_equal(out, iou)
    with pytest.raises(InvalidProblem, match="only the reference"):
        pyconv.box_iou(a, b, algorithm="fast")

    grid = pyconv.anchors((3, 2), (8, 16), (32, 64), (0.5, 1, 2))
    assert grid.shape == (3 * 2 * 6, 4)
    at = grid.reshape(3, 2, 3, 2, 4)
    np.testing.assert_allclose((at[2, 1, 0, 0, :2] + at[2, 1, 0, 0, 2:]) / 2, (16, 16))
    sides = at[0, 0, :, :, 2:] - at[0, 0, :, :, :2]
    np.testing.assert_allclose(sides[..., 1] / sides[..., 0], np.array([0.5, 1, 2])[:, None] * np.ones(2))
    np.testing.assert_allclose(np.sqrt(sides.prod(axis=-1)), np.array([32, 64]) * np.ones((3, 1)))


# Other people's definitions


def onnx_case(mode: str, ratio: int, half_pixel: bool, boxes: np.ndarray, index: np.ndarray, x: np.ndarray) -> Any:
    helper = pytest.importorskip("onnx.helper")
    from onnx import TensorProto
    from onnx.reference import ReferenceEvaluator

    node = helper.make_node(
        "RoiAlign", ["x", "boxes", "index"], ["y"], mode=mode, output_height=5, output_width=4, sampling_ratio=ratio,
        spatial_scale=0.5, coordinate_transformation_mode="half_pixel" if half_pixel else "output_half_pixel",
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "roi",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, boxes.shape),
            helper.make_tensor_value_info("index", TensorProto.INT64, index.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {"x": x, "boxes": boxes, "index": index})[0]


@pytest.mark.parametrize("half_pixel", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("mode", ["avg", "max"])
def test_onnx_agrees(mode: str, ratio: int, half_pixel: bool) -> None:
    """What ONNX's reference computes, whose maximum is that of weighted pixels."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 3, 20, 24)).astype(np.float32)
    corners = rng.uniform(-3, 30, (9, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(1, 25, (9, 2))], axis=1).astype(np.float32)
    index = rng.integers(0, 2, 9)
    theirs = onnx_case(mode, ratio, half_pixel, boxes, index, x)
    convention = "onnx-16" if half_pixel else "onnx-10"
    for algorithm in ("auto", "reference"):
        ours = pyconv.roi_align(
            x, np.c_[index, boxes], (5, 4), 0.5, ratio, mode=mode, max_of="weighted", convention=convention,
            algorithm=algorithm,
        )  # fmt: skip
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_onnx_node_cases() -> None:
    """The cases that ONNX's backends are tested with."""
    collected = pytest.importorskip("onnx.backend.test.case.node")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other operations' cases, which are made all the same
        # (where all operations' cases were collected before, these are among them)
        cases = collected.collect_testcases("RoiAlign")
    found = [case for case in cases if [node.op_type for node in case.model.graph.node] == ["RoiAlign"]]
    assert len(found) >= 3
    for test in found:
        node = test.model.graph.node[0]
        words = {a.name: a for a in node.attribute}
        (inputs, outputs), *_ = test.data_sets
        x, boxes, index = inputs
        mode = words["mode"].s.decode() if "mode" in words else "avg"
        half_pixel = "coordinate_transformation_mode" not in words or (
            words["coordinate_transformation_mode"].s == b"half_pixel"
        )
        ours = pyconv.roi_align(
            x, np.c_[index, boxes], (words["output_height"].i, words["output_width"].i),
            words["spatial_scale"].f if "spatial_scale" in words else 1.0,
            words["sampling_ratio"].i if "sampling_ratio" in words else None,
            mode=mode, max_of="weighted", convention="onnx-16" if half_pixel else "onnx-10",
        )  # fmt: skip
        np.testing.assert_allclose(ours, outputs[0], rtol=1e-3, atol=1e-4, err_msg=test.name)


def torchvision_boxes(k: int, size: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-4, size, (k, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.5, size, (k, 2))], axis=1)
    return np.c_[rng.integers(0, 2, k), boxes].astype(np.float32)


@pytest.mark.parametrize("ratio", [-1, 2])
@pytest.mark.parametrize("aligned", [True, False])
def test_torchvision_agrees_on_roi_align(ratio: int, aligned: bool) -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((2, 20, 25, 31)).astype(np.float32), torchvision_boxes(40, 60, 1)
    t = torch.from_numpy(x).requires_grad_()
    theirs = ops.roi_align(t, torch.from_numpy(boxes), (7, 5), 0.5, ratio, aligned)
    ours = pyconv.roi_align(x, boxes, (7, 5), 0.5, ratio, aligned)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-3, atol=1e-4)
    g = rng.standard_normal(ours.shape).astype(np.float32)
    theirs.backward(torch.from_numpy(g))
    grad = pyconv.grad.roi_align(g, x, boxes, (7, 5), 0.5, ratio, aligned)[0]
    np.testing.assert_allclose(grad, t.grad.numpy(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_torchvision_agrees(name: str) -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((2, 36, 25, 31)).astype(np.float32), torchvision_boxes(40, 60, 1)
    if name == "ps_roi_pool":
        # its gradient reaches the last row and column, which the operation itself leaves out
        boxes[:, 1:] = boxes[:, 1:].clip(0, 46)
    t = torch.from_numpy(x).requires_grad_()
    theirs = getattr(ops, name)(t, torch.from_numpy(boxes), (3, 4), 0.5)
    ours = getattr(pyconv, name)(x, boxes, (3, 4), 0.5)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-3, atol=1e-4)
    g = rng.standard_normal(ours.shape).astype(np.float32)
    theirs.backward(torch.from_numpy(g))
    grad = getattr(pyconv.grad, name)(g, x, boxes, (3, 4), 0.5)[0]
    np.testing.assert_allclose(grad, t.grad.numpy(), rtol=1e-3, atol=1e-3)


def test_torchvision_agrees_on_boxes() -> None:
    torch, ops = pytest.importorskip("torch"), pytest.importorskip("torchvision.ops")
    boxes, _ = some_boxes(300, 5, 120)
    boxes = boxes.astype(np.float32)
    scores = np.random.default_rng(0).random(300).astype(np.float32)
    classes = np.random.default_rng(1).integers(0, 4, 300)
    t, s = torch.from_numpy(boxes), torch.from_numpy(scores)
    for threshold in (0.3, 0.5, 0.7):
        np.testing.assert_array_equal(pyconv.nms(boxes, scores, threshold), ops.nms(t, s, threshold).numpy())
        theirs = ops.batched_nms(t, s, torch.from_numpy(classes), threshold).numpy()
        np.testing.assert_array_equal(pyconv.batched_nms(boxes, scores, classes, threshold), theirs)
    np.testing.assert_allclose(pyconv.box_iou(boxes, boxes), ops.box_iou(t, t).numpy(), rtol=1e-4, atol=1e-5)


def test_torchvision_agrees_on_anchors() -> None:
    torch = pytest.importorskip("torch")
    rpn = pytest.importorskip("torchvision.models.detection.rpn")
    images = pytest.importorskip("torchvision.models.detection.image_list")
    generator = rpn.AnchorGenerator(((32, 64),), ((0.5, 1.0, 2.0),))
    listed = images.ImageList(torch.zeros(1, 3, 160, 240), [(160, 240)])
    theirs = generator(listed, [torch.zeros(1, 8, 10, 15)])[0].numpy()
    corners = np.rint(pyconv.anchors((1, 1), 16, (32, 64), (0.5, 1, 2)))
    grid = pyconv.anchors((10, 15), 16, (32, 64), (0.5, 1, 2)) - np.tile(
        pyconv.anchors((1, 1), 16, (32, 64), (0.5, 1, 2)), (150, 1)
    )
    np.testing.assert_allclose(grid + np.tile(corners, (150, 1)), theirs)


@pytest.mark.parametrize("op", ["roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"])
def test_explain(op: str) -> None:
    explanation = pyconv.explain(getattr(pyconv, op), (1, 98, 20, 20), (30, 5), 7, 0.5)
    if registry.why_missing("c") is None:
        assert ".separable.f32@c-" in explanation.algorithm
    gradient = pyconv.explain(
        getattr(pyconv.grad, op), (30, 98 if "ps" not in op else 2, 7, 7), (1, 98, 20, 20), (30, 5), 7
    )
    assert gradient.problem.op == f"{op}-grad-x"
