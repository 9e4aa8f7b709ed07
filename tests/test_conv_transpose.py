"""Transposed convolutions and gradients with respect to x: every algorithm by its name against the definition."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from cases import TRANSPOSED, transposed_problems
from checker import ACTIVATION_ULPS, DTYPES, EPSILON, LIPSCHITZ, compare, in_memory_order
from guards import forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from test_conv import LAYOUTS, compare_integers, is_exact

import pyconv
from pyconv import ConvProblem, InvalidProblem, TransposedProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.ops.call import run as run_request
from pyconv.ops.conv_transpose import gradient_of_x

FORWARD = {1: pyconv.conv_transpose1d, 2: pyconv.conv_transpose2d, 3: pyconv.conv_transpose3d}
CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
OPS = [op for rank in (1, 2, 3) for op in (f"conv_transpose{rank}d", f"conv{rank}d-grad-x")]
pyconv.algorithms()
ALGORITHMS = {id: registry.find(id) for op in OPS for id in pyconv.algorithms(op)}
KINDS = sorted({id.split(".", 1)[1] for id in ALGORITHMS})

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def as_gradient(problem: TransposedProblem, **changes: object) -> TransposedProblem | None:
    """The same as the gradient of a convolution, where it is one: without bias and activation."""
    changes = {"bias": False, "activation": None, "slope": 0.0, "gradient": True} | changes
    found = replace(problem, **changes)
    sizes = zip(found.out_spatial, found.kernel, found.dilation, found.padding, strict=True)
    if any(d * (k - 1) + 1 > out + sum(pads) for out, k, d, pads in sizes):
        return None
    if any(extra >= s for extra, s in zip(found.output_padding, found.stride, strict=True)):
        return None  # that convolution would have another output
    return found


def make_arrays(problem: TransposedProblem, integers: bool, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
        return values.astype(DTYPES[problem.dtype])

    x = in_memory_order(draw(problem.x_shape), problem.channels_last)
    return x, draw(problem.w_shape), draw((problem.c_out,)) if problem.bias else None


def run(problem: TransposedProblem, arrays: Arrays, algorithm: str, out: np.ndarray | None = None) -> np.ndarray:
    x, w, bias = arrays
    window = {"stride": problem.stride, "padding": problem.padding, "dilation": problem.dilation}
    if problem.gradient:
        x_shape = (problem.n, problem.c_out, *problem.out_spatial)
        request = gradient_of_x(
            problem.rank, x, x_shape, w, groups=problem.groups, padding_mode=problem.padding_mode, **window
        )
        return run_request(request, (out,), algorithm)[0]
    activation = (problem.activation, problem.slope) if problem.slope else problem.activation
    return FORWARD[problem.rank](
        x,
        w,
        bias,
        output_padding=problem.output_padding,
        groups=problem.groups,
        activation=activation,
        algorithm=algorithm,
        out=out,
        **window,
    )


def tolerance(problem: TransposedProblem, arrays: Arrays, algorithm: Algorithm, expected: np.ndarray) -> np.ndarray:
    """The algorithm's bound, relative to sum |w| max |x| within its reach, through the activation."""
    x, w, bias = (None if a is None else np.abs(a.astype(np.float64)) for a in arrays)
    reach = algorithm.error_reach(problem)
    if reach and x.size:
        for axis in range(2, x.ndim):
            padded = np.pad(x, [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)])
            x = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis).max(axis=-1)
    plain = replace(problem, activation=None, slope=0.0)
    bound = algorithm.error_bound(problem) * reference.conv_transpose(plain, x, w, bias)
    if reach:  # an output near the edge is computed from a tile that reaches over it
        bound = np.maximum(bound, algorithm.error_bound(problem) * x.max(initial=0) * w.sum(axis=0).max(initial=0))
    bound = bound * max(abs(problem.slope), LIPSCHITZ.get(problem.activation or "", 1.0))
    if problem.activation is not None:
        bound = bound + ACTIVATION_ULPS * EPSILON[problem.dtype] * (np.abs(expected) + 2.0**-100)
    smallest = 2.0**-25 if problem.dtype == "f16" else 0.0  # half of its last place near zero
    return bound + EPSILON[problem.dtype] * np.abs(expected) + smallest


def check(problem: TransposedProblem, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into a poisoned output, in guarded scratch; prove who ran; compare."""
    arrays = make_arrays(problem, integers, seed)
    expected = reference.conv_transpose(problem, *arrays)
    out = in_memory_order(np.full(problem.out_shape, np.nan, DTYPES[problem.dtype]), problem.channels_last)
    copies = [None if a is None else a.copy() for a in arrays]
    forget_last_kernel(algorithm)
    with guarded_scratch(algorithm, fill=0xA5):
        assert run(problem, arrays, algorithm.id, out) is out
    if out.size and algorithm.backend != "numpy":
        assert last_kernel(algorithm) == algorithm.kernel_name
    linear = problem.activation in (None, "relu", "relu6")
    near = is_exact(algorithm) or 1e4 * EPSILON[algorithm.dtype] * np.abs(expected).max(initial=0) < 0.4
    if integers and linear and near:
        compare_integers(out, expected.astype(out.dtype).astype(np.float64), algorithm)
    else:
        compare(out, expected, tolerance(problem, arrays, algorithm, expected), out.dtype)
    for array, copy in zip(arrays, copies, strict=True):
        assert array is None or np.array_equal(array, copy), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = run(problem, arrays, algorithm.id)
    np.testing.assert_array_equal(fresh, out)
    if problem.channels_last and fresh.size and problem.c_out > 1 and math.prod(problem.out_spatial) > 1:
        assert np.moveaxis(fresh, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


def supporting(problem: TransposedProblem) -> list[Algorithm]:
    call = Call.typical(problem, threads=2, max_workspace=64 << 20)
    able = [a for a in ALGORITHMS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    return [a for a in able if a.workspace(call) is not None]


def both(text: str) -> list[TransposedProblem]:
    rank = len(set("dhw") & set(text.partition("-")[0]))
    problem = TransposedProblem.parse(f"conv_transpose{rank}d", text)
    gradient = as_gradient(problem)
    return [problem] if gradient is None else [problem, gradient]


EVERY = [problem for text in TRANSPOSED for problem in both(text)]


@pytest.mark.parametrize("problem", EVERY, ids=lambda p: f"{p.op}-{p}")
def test_every_algorithm_on_the_table(problem: TransposedProblem) -> None:
    assert TransposedProblem.parse(problem.op, str(problem)) == problem
    asked = supporting(problem)
    assert asked
    for algorithm in asked:
        check(problem, algorithm, integers=True)
        if not is_exact(algorithm) or not problem.gradient:
            check(problem, algorithm, integers=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_is_covered(kind: str) -> None:
    """Those of kernels of more taps are on the table of problems with stride 1."""
    found = [a for id, a in ALGORITHMS.items() if id.split(".", 1)[1] == kind]
    if not any(getattr(a, "runs_here", True) for a in found):
        pytest.skip(f"this processor does not have {kind.rpartition('-')[2]}")
    family = kind.partition(".")[0]
    if family.startswith("winograd") and not family.endswith("x2"):
        assert all(map(supports_stride_one, found)), kind
        return
    planar = [a for a in found if "1d" not in a.op and "3d" not in a.op]
    for algorithm in planar:
        assert any(algorithm.supports(p) for p in EVERY if p.op == algorithm.op and p.dtype == algorithm.dtype), (
            algorithm.id
        )


def supports_stride_one(algorithm: Algorithm) -> bool:
    taps = int(algorithm.family.rpartition("x")[2])
    rank = next(int(c) for c in algorithm.op if c.isdigit())
    axes = "dhw"[3 - rank :]
    sizes = "".join(f"{axis}9" for axis in axes)
    kernel = "x".join(["1"] * (rank == 3) + [str(taps)] * min(rank, 2))
    problem = TransposedProblem.parse(algorithm.op, f"n1c17{sizes}-o18k{kernel}s1p0-{algorithm.dtype}")
    if not algorithm.supports(problem):
        return False
    check(problem, algorithm, integers=True)
    return True


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "numpy" not in kind])
@settings(max_examples=10)
@given(data=st.data())
def test_drawn_problems(kind: str, data: st.DataObject) -> None:
    family, dtype = kind.split("@")[0].split(".")
    taps = int(family.rpartition("x")[2]) if family.startswith("winograd") else None
    problem = data.draw(transposed_problems(dtype, taps, family.startswith("depthwise")))
    if data.draw(st.booleans()):
        modes = ("zeros", "zeros", "reflect", "replicate", "circular", "symmetric")
        problem = as_gradient(problem, padding_mode=data.draw(st.sampled_from(modes))) or problem
    algorithm = ALGORITHMS.get(f"{problem.op}.{kind}")
    if algorithm is not None and algorithm.supports(problem):
        check(problem, algorithm, integers=data.draw(st.booleans()))


@settings(max_examples=60)
@given(problem=transposed_problems("f64", None, False), seed=st.integers(0, 99))
def test_it_is_the_adjoint(problem: TransposedProblem, seed: int) -> None:
    """<conv(x), y> = <x, conv_transpose(y)>, exactly, for integers."""
    gradient = as_gradient(problem)
    if gradient is None:
        return
    rng = np.random.default_rng(seed)
    y, w, _ = make_arrays(gradient, integers=True, seed=seed)
    x = rng.integers(-4, 5, gradient.out_shape).astype(np.float64)
    window = {"stride": problem.stride, "padding": problem.padding, "dilation": problem.dilation}
    forward = CONV[problem.rank](x, w, groups=problem.groups, algorithm="direct", **window)
    assert forward.shape == y.shape
    backward = FORWARD[problem.rank](
        y, w, output_padding=problem.output_padding, groups=problem.groups, algorithm="direct", **window
    )
    assert np.vdot(forward, y) == np.vdot(x, backward)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric"])
@pytest.mark.parametrize(
    "text", ["n2c6h9w8-o5k3s1p1-f64", "n1c3h5w9-o4k5x3s2x1p4:1x3+1x0-f64", "n1c4w9-o4k5s1p4g4-f32"]
)
def test_gradients_of_padding_modes_are_adjoint_too(text: str, mode: str) -> None:
    rank = len(set("dhw") & set(text.partition("-")[0]))
    problem = replace(TransposedProblem.parse(f"conv{rank}d-grad-x", text), padding_mode=mode)
    rng = np.random.default_rng(3)
    y, w, _ = make_arrays(problem, integers=True)
    x = rng.integers(-4, 5, problem.out_shape).astype(y.dtype)
    forward = CONV[rank](
        x, w, None, problem.stride, problem.padding, problem.dilation, problem.groups, padding_mode=mode
    )
    for algorithm in supporting(problem):
        if is_exact(algorithm):
            check(problem, algorithm, integers=True)
            assert np.vdot(forward, y) == np.vdot(x, run(problem, (y, w, None), algorithm.id))


FOR_LAYOUTS = [p for p in EVERY if str(p) in ("n2c3h5w8-o5k7x5s2x3p3:1x0:2+1x0-f64-bias", "n2c4h6w7-o5k3s2p1+1-f16")]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("problem", FOR_LAYOUTS, ids=str)
def test_memory_layouts(problem: TransposedProblem, layout: str) -> None:
    arrays = make_arrays(problem, integers=True)
    expected = reference.conv_transpose(problem, *arrays)
    change = LAYOUTS[layout]
    moved = tuple(None if a is None else change(a) for a in arrays)
    for algorithm in supporting(problem):
        compare_integers(run(problem, moved, algorithm.id), expected, algorithm)
        if layout != "read-only":
            out = change(np.full(problem.out_shape, np.nan, arrays[0].dtype))
            assert run(problem, arrays, algorithm.id, out) is out
            compare_integers(out.astype(arrays[0].dtype), expected, algorithm)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "w"])
def test_values_that_are_not_finite(where: str, value: float) -> None:
    """Where the definition puts them: no padded zero and no missing tap takes part."""
    for text in (
        "n1c16h9w10-o6k4s2p1-f32",
        "n1c4h6w7-o5k3s2p1+1-f32-bias",
        "n1c6h5w6-o4k3s1p1-f64",
        "n1c2w9-o3k16s8p4-f32",
    ):
        rank = len(set("dhw") & set(text.partition("-")[0]))
        problem = TransposedProblem.parse(f"conv_transpose{rank}d", text)
        x, w, bias = make_arrays(problem, integers=True)
        for corner in itertools.product(*((0, size - 1) for size in (x if where == "x" else w).shape[2:])):
            given = {"x": x.copy(), "w": w.copy()}
            given[where][(0, 0, *corner)] = value
            expected = reference.conv_transpose(problem, given["x"], given["w"], bias)
            assert not np.isfinite(expected).all()
            for algorithm in supporting(problem):
                compare_integers(run(problem, (given["x"], given["w"], bias), algorithm.id), expected, algorithm)


@pytest.mark.parametrize("text", ["n2c20h19w21-o17k4s2p1-f32-bias", "n1c18h14w15-o18k3s2p1+1g18-f32"])
def test_any_number_of_threads_gives_the_same_bits(text: str) -> None:
    problem = TransposedProblem.parse("conv_transpose2d", text)
    arrays = make_arrays(problem, integers=False)
    for algorithm in supporting(problem):
        results = []
        for threads in (1, 2, 3, 5):
            with pyconv.options(threads=threads):
                results.append(run(problem, arrays, algorithm.id))
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("text", ["n1c256w100-o49k4s2p1-f32", "n1c256w100-o77k4s2p1-f32"])
def test_workers_leave_each_others_phases_alone(text: str) -> None:
    """Phases that are neighbours in memory may be different workers': here panels of channels end between them."""
    problem = TransposedProblem.parse("conv_transpose1d", text)
    arrays = make_arrays(problem, integers=True)
    expected = reference.conv_transpose(problem, *arrays)
    for algorithm in supporting(problem):
        if not is_exact(algorithm) or not algorithm.preferred or algorithm.backend == "numpy":
            continue
        out = np.empty(expected.shape, DTYPES[problem.dtype])
        with pyconv.options(threads=8):
            for _ in range(100):
                out.fill(np.nan)
                run(problem, arrays, algorithm.id, out)
                np.testing.assert_array_equal(out, expected, err_msg=algorithm.id)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_prepared_unbatched_and_explained(rank: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-4, 5, (3, *(5,) * rank)).astype(np.float32)
    w = rng.integers(-4, 5, (3, 2, *(4,) * rank)).astype(np.float32)
    bias = np.arange(2, dtype=np.float32)
    expected = FORWARD[rank](x[None], w, bias, stride=2, padding=1)
    f = pyconv.prepare(FORWARD[rank], w, bias, stride=2, padding=1)
    np.testing.assert_array_equal(f(x[None]), expected)
    np.testing.assert_array_equal(f(x), expected[0])
    np.testing.assert_array_equal(FORWARD[rank](x, w, bias, stride=2, padding=1), expected[0])
    out = np.full(expected.shape, np.nan, np.float32)
    assert f(x[None], out=out) is out
    np.testing.assert_array_equal(out, expected)
    with pytest.raises(TypeError, match="takes no residual"):
        f(x, residual=expected)
    answer = pyconv.explain(FORWARD[rank], x[None], w, bias, stride=2, padding=1)
    assert answer.algorithm.startswith(f"conv_transpose{rank}d.")
    assert "reference" in str(answer)


def test_the_scratch_limit_is_kept() -> None:
    x, w = np.ones((1, 64, 40, 40), np.float32), np.ones((64, 64, 4, 4), np.float32)
    expected = pyconv.conv_transpose2d(x, w, stride=2, padding=1, algorithm="direct")
    with pyconv.options(max_workspace="2MB"):
        problem = TransposedProblem.parse("conv_transpose2d", "n1c64h40w40-o64k4s2p1-f32")
        call = Call.typical(problem, threads=2, max_workspace=2 << 20)
        for algorithm in filter(is_exact, supporting(problem)):
            needed = algorithm.workspace(call)
            if needed is None:
                with pytest.raises(Unsupported, match="scratch"):
                    pyconv.conv_transpose2d(x, w, stride=2, padding=1, algorithm=algorithm.id)
                continue
            assert needed <= 2 << 20
            result = pyconv.conv_transpose2d(x, w, stride=2, padding=1, algorithm=algorithm.id)
            compare_integers(result, expected.astype(np.float64), algorithm)


BAD = (
    ({"padding": 9}, "the output would be empty along h"),
    ({"output_padding": 2, "stride": 2}, "output_padding must be smaller than stride or dilation"),
    ({"output_padding": -1}, "output_padding must be >= 0"),
    ({"padding": "same"}, "padding of a transposed convolution must be numbers"),
    ({"stride": 0}, "stride must be >= 1"),
    ({"groups": 5}, "groups must divide c_in"),
    ({"bias": np.ones(5, np.float32)}, "bias must have shape"),
    ({"w": np.ones((7, 2, 3, 3), np.float32)}, "channels disagree"),
    ({"w": np.ones((4, 2, 3), np.float32)}, "w must have 4 axes"),
    ({"x": np.ones((4, 4), np.float32)}, "x must have axes"),
    ({"x": np.ones((1, 4, 0, 4), np.float32)}, "the output would be empty along h"),
)


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input(changes: dict[str, object], message: str) -> None:
    arguments = {"x": np.ones((1, 4, 5, 5), np.float32), "w": np.ones((4, 2, 3, 3), np.float32)} | changes
    out = np.full(1, 7, np.float32)
    with pytest.raises(InvalidProblem, match=message) as raised:
        pyconv.conv_transpose2d(**arguments)
    assert str(raised.value).startswith("conv_transpose2d(")
    assert out == 7


def test_more_bad_input() -> None:
    x, w = np.ones((1, 4, 5, 5), np.float32), np.ones((4, 2, 3, 3), np.float32)
    with pytest.raises(TypeError, match="one dtype"):
        pyconv.conv_transpose2d(x, w.astype(np.float64))
    with pytest.raises(Unsupported, match="needs"):
        pyconv.conv_transpose2d(x, w, stride=2, algorithm="depthwise")
    with pytest.raises(InvalidProblem, match="grad_output must have the output's shape"):
        run_request(gradient_of_x(2, x, (1, 2, 9, 9), w), (None,), "auto")


def test_torch_agrees() -> None:
    torch = pytest.importorskip("torch")
    for problem in EVERY:
        if problem.dtype == "f16" or problem.n == 0 or problem.gradient:
            continue
        if any(a != b for a, b in problem.padding):
            continue
        x, w, bias = make_arrays(problem, integers=True)
        plain = replace(problem, activation=None, slope=0.0)
        function = getattr(torch.nn.functional, problem.op)
        expected = function(
            *(None if a is None else torch.from_numpy(np.ascontiguousarray(a)) for a in (x, w, bias)),
            problem.stride,
            tuple(before for before, _ in problem.padding),
            problem.output_padding,
            problem.groups,
            problem.dilation,
        ).numpy()
        np.testing.assert_array_equal(run(plain, (x, w, bias), "reference"), expected)


def test_a_convolution_is_the_gradient_of_its_gradient() -> None:
    """Turned round, the weights of a stride-1 convolution make its transpose."""
    rng = np.random.default_rng(2)
    x = rng.integers(-4, 5, (2, 3, 8, 9)).astype(np.float64)
    w = rng.integers(-4, 5, (3, 5, 3, 3)).astype(np.float64)
    turned = np.flip(w, (2, 3)).swapaxes(0, 1)
    np.testing.assert_array_equal(
        pyconv.conv_transpose2d(x, w, padding=1, algorithm="direct"),
        pyconv.conv2d(x, turned, padding=1, algorithm="direct"),
    )
    assert (
        ConvProblem.parse("n2c3h8w9-o5k3s1p1-f64").flops
        == TransposedProblem.parse("conv_transpose2d", "n2c3h8w9-o5k3s1p1-f64").flops
    )
