"""Every registered convolution algorithm against the float64 definition, reached by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import PROBLEMS, grouped_problems, problems, winograd_problems
from checker import ACTIVATION_ULPS, DTYPES, EPSILON, Data, compare, in_memory_order, make_data, tolerance
from guards import (
    copy_between_guards,
    forget_last_kernel,
    guarded_scratch,
    last_kernel,
    untouched_memory,
    view_between_guards,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, reference, registry
from pyconv.algorithm import Algorithm, Call

FUNCTIONS = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
pyconv.algorithms()
ALGORITHMS = {
    id: registry.find(id)
    for rank in (1, 2, 3)
    for id in pyconv.algorithms(f"conv{rank}d")
    if not id.endswith("@cuda")  # tests/test_cuda.py
}
#: family.dtype@backend, whatever the operation: what hypothesis draws for
KINDS = sorted({id.split(".", 1)[1] for id in ALGORITHMS})


def runs_here(algorithm: Algorithm) -> bool:
    return getattr(algorithm, "runs_here", True)


def settings_of(problem: ConvProblem) -> dict[str, object]:
    activation = (problem.activation, problem.slope) if problem.slope else problem.activation
    return {
        "stride": problem.stride,
        "padding": problem.padding,
        "dilation": problem.dilation,
        "groups": problem.groups,
        "padding_mode": problem.padding_mode,
        "activation": activation,
    }


def run(problem: ConvProblem, data: Data, algorithm: str, **more: object) -> np.ndarray:
    return FUNCTIONS[problem.rank](
        data.x, data.w, data.bias, residual=data.residual, algorithm=algorithm, **settings_of(problem), **more
    )


def is_exact(algorithm: Algorithm) -> bool:
    """Whether sums of small integers are exact: direct sums, and the transform whose constants are halves."""
    return not algorithm.family.startswith(("winograd", "fft")) or algorithm.family == "winograd-f2x3"


def compare_integers(result: np.ndarray, expected: np.ndarray, algorithm: Algorithm) -> None:
    """Results of integer data: exactly, or by a transform so closely that each is nearest to the right integer."""
    largest = np.abs(expected, where=np.isfinite(expected), out=np.zeros(expected.shape)).max(initial=0)
    narrow = EPSILON["f16"] if algorithm.dtype == "f16" else 0.0  # its sums are float32's
    epsilon = min(EPSILON["f32"], EPSILON[algorithm.dtype])
    allowed = 0.0 if is_exact(algorithm) else (1e4 * epsilon + narrow) * largest
    assert allowed < 0.5, "the data of this test are too large to tell a wrong result from a rounded one"
    compare(result, expected, allowed, DTYPES[algorithm.dtype])


def check(problem: ConvProblem, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into a poisoned output, in guarded scratch; prove who ran; compare."""
    data = make_data(problem, integers, seed)
    expected = reference.conv(problem, data.x, data.w, data.bias, data.residual)
    out = in_memory_order(np.full(problem.out_shape, np.nan, DTYPES[problem.dtype]), problem.channels_last)
    copies = [None if a is None else a.copy() for a in (data.x, data.w, data.bias, data.residual)]
    forget_last_kernel(algorithm)
    with guarded_scratch(algorithm, fill=0xA5):
        result = run(problem, data, algorithm.id, out=out)
    assert result is out
    if out.size and algorithm.backend != "numpy":
        assert last_kernel(algorithm) == algorithm.kernel_name
    linear = problem.activation in (None, "relu", "relu6", "leaky_relu")
    exact = integers and linear and is_exact(algorithm)
    if exact:
        expected = expected.astype(out.dtype).astype(np.float64)  # an exact sum rounded once
    compare(out, expected, 0.0 if exact else tolerance(problem, data, algorithm, expected), out.dtype)
    for array, copy in zip((data.x, data.w, data.bias, data.residual), copies, strict=True):
        assert array is None or np.array_equal(array, copy), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        fresh = run(problem, data, algorithm.id)
    np.testing.assert_array_equal(fresh, out)
    if problem.channels_last and fresh.size and problem.c_out > 1 and np.prod(problem.spatial) > 1:
        assert np.moveaxis(fresh, 1, -1).flags.c_contiguous, "channels-last in, channels-last out"


def supporting(problem: ConvProblem) -> list[Algorithm]:
    """Every algorithm that says it can do the problem within the default limit of scratch."""
    call = Call.typical(problem, threads=2, max_workspace=64 << 20)
    able = [a for a in ALGORITHMS.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    return [a for a in able if a.workspace(call) is not None]


@pytest.mark.parametrize("text", PROBLEMS)
def test_every_algorithm_on_the_table(text: str) -> None:
    problem = ConvProblem.parse(text)
    asked = supporting(problem)
    assert asked
    for algorithm in asked:
        check(problem, algorithm, integers=True)
        check(problem, algorithm, integers=False)


@pytest.mark.parametrize("kind", KINDS)
def test_every_algorithm_is_covered(kind: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested; one this processor lacks says so."""
    parsed = [ConvProblem.parse(text) for text in PROBLEMS]
    algorithms = [ALGORITHMS[id] for op in ("conv1d", "conv2d", "conv3d") if (id := f"{op}.{kind}") in ALGORITHMS]
    assert algorithms
    for algorithm in algorithms:
        if not runs_here(algorithm):
            pytest.skip(f"this processor does not have {kind.rpartition('-')[2]}")
        asked = [p for p in parsed if p.op == algorithm.op and p.dtype == algorithm.dtype]
        assert any(map(algorithm.supports, asked)), algorithm.id


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "numpy" not in kind])
@settings(max_examples=25)
@given(data=st.data())
def test_drawn_problems(kind: str, data: st.DataObject) -> None:
    family, dtype = kind.split("@")[0].split(".")
    if family.startswith("winograd"):
        drawn = winograd_problems(int(family.rpartition("x")[2]), dtype)
    elif family == "grouped-channels":
        drawn = grouped_problems(dtype)
    else:
        drawn = problems(dtypes=(dtype,), depthwise=True if family.startswith("depthwise") else None)
    problem = data.draw(drawn)
    algorithm = ALGORITHMS[f"{problem.op}.{kind}"]
    if algorithm.supports(problem):
        check(problem, algorithm, integers=data.draw(st.booleans()))


SMALL = [
    ConvProblem.parse(t)
    for t in (
        "n2c6h9w10-o7k3s2p1-f32-bias",
        "n2c6h9w10-o6k3s1p1g6-f64",
        "n1c9h8w7-o5k1s1p0-f32",
        "n2c6h9w21-o7k3s1p1-f16-bias",
        "n2c6h9w10-o6k3s1p1g6-f16",
    )
]
LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.transpose()).transpose(),
    "reversed": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "offset rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(3, 5)])[..., 3:-5],
    "read-only": lambda a: (b := a.copy(), b.setflags(write=False), b)[2],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "field of a struct": lambda a: _field(a),
    "misaligned": lambda a: _misaligned(a),
    "channels last": lambda a: in_memory_order(a, True) if a.ndim == 4 else a,
}


def _field(a: np.ndarray) -> np.ndarray:
    records = np.zeros(a.shape, dtype=np.dtype([("tag", np.uint8), ("value", a.dtype)]))
    records["value"] = a
    return records["value"]


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, dtype=np.uint8)
    view = raw[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("problem", SMALL, ids=str)
def test_memory_layouts_of_inputs(problem: ConvProblem, layout: str) -> None:
    """Hazards 32, 34, 35, 36: any strides, byte order and alignment give the same values."""
    data = make_data(problem, integers=True)
    expected = reference.conv(problem, data.x, data.w, data.bias)
    change = LAYOUTS[layout]
    moved = Data(change(data.x), change(data.w), None if data.bias is None else change(data.bias), None)
    for algorithm in supporting(problem):
        compare_integers(run(problem, moved, algorithm.id), expected, algorithm)
        prepared = pyconv.prepare(
            FUNCTIONS[problem.rank], moved.w, moved.bias, algorithm=algorithm.id, **settings_of(problem)
        )
        compare_integers(prepared(moved.x), expected, algorithm)


@pytest.mark.parametrize("layout", sorted(set(LAYOUTS) - {"read-only"}))
@pytest.mark.parametrize("problem", SMALL, ids=str)
def test_memory_layouts_of_out_and_residual(problem: ConvProblem, layout: str) -> None:
    data = make_data(problem, integers=True)
    rng = np.random.default_rng(5)
    residual = rng.integers(-4, 5, problem.out_shape).astype(data.x.dtype)
    with_residual = ConvProblem.parse(f"{problem}-residual")
    expected = reference.conv(with_residual, data.x, data.w, data.bias, residual)
    for algorithm in supporting(problem):
        out = LAYOUTS[layout](np.full(problem.out_shape, np.nan, data.x.dtype))
        moved = Data(data.x, data.w, data.bias, LAYOUTS[layout](residual))
        assert run(with_residual, moved, algorithm.id, out=out) is out
        compare_integers(out.astype(data.x.dtype), expected, algorithm)


@pytest.mark.parametrize("problem", SMALL, ids=str)
def test_the_residual_may_be_out(problem: ConvProblem) -> None:
    data = make_data(problem, integers=True)
    start = np.random.default_rng(6).integers(-4, 5, problem.out_shape).astype(data.x.dtype)
    expected = reference.conv(ConvProblem.parse(f"{problem}-residual"), data.x, data.w, data.bias, start)
    for algorithm in supporting(problem):
        out = start.copy()
        run(problem, Data(data.x, data.w, data.bias, out), algorithm.id, out=out)
        compare_integers(out, expected, algorithm)


#: Where out lies: elements between its start and the start of the array that it overlaps.
OVERLAPS = {"x": (0, 64, -5), "w": (0, 40, -3), "bias": (0, 1, -150), "residual": (5, 64, -5)}


@pytest.mark.parametrize("name", OVERLAPS)
def test_out_may_overlap_the_inputs(name: str) -> None:
    """Hazard 46: as if it did not."""
    problem = ConvProblem.parse("n1c3h8w8-o3k3s1p1-f32-bias-residual")
    data = make_data(problem, integers=True)
    arrays = {"x": data.x, "w": data.w, "bias": data.bias, "residual": data.residual}
    expected = reference.conv(problem, **arrays)
    for algorithm in supporting(problem):
        for shift in OVERLAPS[name]:
            memory = np.zeros(1000, np.float32)
            array = memory[200 : 200 + arrays[name].size].reshape(arrays[name].shape)
            array[...] = arrays[name]
            out = memory[200 + shift : 200 + shift + expected.size].reshape(expected.shape)
            run(problem, Data(**{**arrays, name: array}), algorithm.id, out=out)
            compare_integers(out, expected, algorithm)


def test_out_may_be_the_input_backwards() -> None:
    problem = ConvProblem.parse("n1c3h8w8-o3k3s1p1-f32")
    data = make_data(problem, integers=True)
    expected = reference.conv(problem, data.x, data.w)
    for algorithm in supporting(problem):
        x = data.x.copy()
        out = x[:, ::-1, :, ::-1]
        assert run(problem, Data(x, data.w, None, None), algorithm.id, out=out) is out
        compare_integers(out, expected, algorithm)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_broadcast_inputs(axis: int) -> None:
    """Strides of 0, as expand() and broadcast_to make them."""
    problem = ConvProblem.parse("n3c6h7w7-o8k3s1p1-f32")
    data = make_data(problem, integers=True)
    x = np.broadcast_to(data.x.take([0], axis=axis), data.x.shape)
    w = np.broadcast_to(data.w.take([0], axis=axis), data.w.shape)
    bias = np.broadcast_to(np.float32(3), (8,))
    residual = np.broadcast_to(np.arange(8, dtype=np.float32)[:, None, None], problem.out_shape)
    expected = reference.conv(problem, x, w, bias, residual)
    with_both = ConvProblem.parse(f"{problem}-bias-residual")
    for algorithm in supporting(problem):
        compare_integers(run(with_both, Data(x, w, bias, residual), algorithm.id), expected, algorithm)


def odd_strides(a: np.ndarray) -> np.ndarray:
    """The same elements, with nonsense for the strides that nobody takes."""
    strides = tuple(12345 * 4 if size == 1 else stride for size, stride in zip(a.shape, a.strides, strict=True))
    return np.lib.stride_tricks.as_strided(a, a.shape, strides)


def test_size_one_axes_with_odd_strides() -> None:
    """Hazard 33: an array that is contiguous in both memory orders at once."""
    for shape, w_shape in (((1, 8, 1, 1), (4, 8, 1, 1)), ((2, 1, 5, 5), (3, 1, 3, 3)), ((1, 1, 1, 9), (2, 1, 1, 3))):
        rng = np.random.default_rng(7)
        x = rng.integers(-4, 5, shape).astype(np.float32)
        w = rng.integers(-4, 5, w_shape).astype(np.float32)
        expected = pyconv.conv2d(x, w, algorithm="reference")
        odd = odd_strides(x)
        for id, algorithm in ALGORITHMS.items():
            if algorithm.op == "conv2d" and algorithm.dtype == "f32":
                if not algorithm.supports(
                    ConvProblem(shape[0], shape[1], w_shape[0], shape[2:], w_shape[2:], (1, 1), ((0, 0),) * 2, (1, 1))
                ):
                    continue
                compare_integers(pyconv.conv2d(odd, w, algorithm=id), expected, algorithm)
                compare_integers(pyconv.conv2d(odd.astype(np.float32), w, algorithm=id), expected, algorithm)
                compare_integers(pyconv.conv2d(odd, odd_strides(w), algorithm=id), expected, algorithm)
                out = np.full(expected.shape, np.nan, np.float32)
                pyconv.conv2d(odd, w, out=odd_strides(out), residual=odd_strides(expected), algorithm=id)
                compare_integers(out, 2 * expected, algorithm)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unbatched(rank: int) -> None:
    rng = np.random.default_rng(8)
    x = rng.integers(-4, 5, (3, *(6,) * rank)).astype(np.float32)
    w = rng.integers(-4, 5, (4, 3, *(3,) * rank)).astype(np.float32)
    expected = FUNCTIONS[rank](x[None], w)[0]
    np.testing.assert_array_equal(FUNCTIONS[rank](x, w), expected)
    out = np.full(expected.shape, np.nan, np.float32)
    assert FUNCTIONS[rank](x, w, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(pyconv.prepare(FUNCTIONS[rank], w)(x), expected)
    bias, residual = np.arange(4, dtype=np.float32), expected[..., ::-1]
    plus = expected + bias.reshape(4, *(1,) * rank) + residual
    np.testing.assert_array_equal(FUNCTIONS[rank](x, w, bias, residual=residual), plus)
    np.testing.assert_array_equal(FUNCTIONS[rank](x, w, bias, residual=residual, out=out.T.copy().T), plus)


def test_every_spelling_of_padding() -> None:
    rng = np.random.default_rng(9)
    x = rng.standard_normal((1, 2, 8, 9)).astype(np.float32)
    w = rng.standard_normal((3, 2, 3, 4)).astype(np.float32)
    same = pyconv.conv2d(x, w, padding="same")
    assert same.shape == (1, 3, 8, 9)
    # an even kernel gets its extra element at the end (hazard 31)
    np.testing.assert_array_equal(same, pyconv.conv2d(x, w, padding=((1, 1), (1, 2))))
    np.testing.assert_array_equal(pyconv.conv2d(x, w, padding="valid"), pyconv.conv2d(x, w))
    np.testing.assert_array_equal(pyconv.conv2d(x, w, padding=2), pyconv.conv2d(x, w, padding=[2, 2]))
    np.testing.assert_array_equal(pyconv.conv2d(x, w, padding=(1, 2)), pyconv.conv2d(x, w, padding=[[1, 1], [2, 2]]))
    np.testing.assert_array_equal(
        pyconv.conv2d(x, w, padding=np.array([1, 2]), stride=np.int64(2)), pyconv.conv2d(x, w, None, 2, (1, 2))
    )


@pytest.mark.parametrize("where", ["middle", "first", "last"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "text",
    [
        "n1c3h20w21-o4k3s1p1-f32",
        "n1c20h9w9-o20k3s1p1g20-f32",
        "n1c3h20w21-o9k5s2p2-f64-reflect",
        "n2c4h7w7-o3k1s1p0-f32",
        "n1c3h20w21-o4k3s1p1-f16",
        "n1c20h9w9-o20k3s1p1g20-f16",
    ],
)
def test_non_finite_values_stay_in_their_windows(text: str, value: float, where: str) -> None:
    """Hazard 41, in x and in w; a first or last tap also meets padded zeros, and 0 * Inf is NaN."""
    problem = ConvProblem.parse(text)
    for place in ("x", "w"):
        data = make_data(problem, integers=True)
        array = getattr(data, place)
        at = tuple({"middle": size // 2, "first": 0, "last": size - 1}[where] for size in array.shape)
        array[at] = value
        expected = reference.conv(problem, data.x, data.w)
        assert not np.isfinite(expected).all()
        if place == "x" or problem.groups > 1:
            assert np.isfinite(expected).any()
        for algorithm in supporting(problem):
            compare_integers(run(problem, data, algorithm.id), expected, algorithm)


DEEP_PADDING = [
    "n1c20h33w33-o24k3s1p12d12-f32-bias",
    "n2c5h5w7-o9k9s1p9-f32",
    "n1c6w50-o8k128s1p200:100g2-f32-bias",
    "n1c3d4h20w20-o8k7s2p3-f64",
    "n1c3d2h6w6-o8k3x1x1s1p3x0x0-f32",
    "n3c4h7w7-o4k31s1p15g4-f32",
]


@pytest.mark.parametrize("weight", [1.0, np.inf, np.nan])
@pytest.mark.parametrize("text", DEEP_PADDING)
def test_taps_in_the_padding_count_only_if_they_are_not_finite(text: str, weight: float) -> None:
    """Zero times a finite weight may be left out; zero times infinity is NaN."""
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=True)
    data.w.reshape(-1)[[0, data.w.size // 2, -1]] = weight
    expected = run(problem, data, f"{problem.op}.reference.{problem.dtype}@numpy")
    for algorithm in supporting(problem):
        compare_integers(run(problem, data, algorithm.id), expected, algorithm)


@pytest.mark.parametrize("text", ["n1c1h4w40-o1k1s1p0", "n1c4h9w40-o4k3s1p1g4", "n1c3h9w40-o9k3s1p1"])
@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
def test_denormals_are_kept(text: str, dtype: str) -> None:
    """Hazard 47: sums of small multiples of the smallest number are exact."""
    problem = ConvProblem.parse(f"{text}-{dtype}")
    data = make_data(problem, integers=True)
    tiny = np.finfo(data.x.dtype).smallest_subnormal
    expected = reference.conv(problem, data.x, data.w) * float(tiny)
    assert np.count_nonzero(expected)
    for algorithm in supporting(problem):
        if algorithm.family.startswith(("winograd", "fft")):
            continue  # its constants are no integers: such sums are rounded to the smallest number again and again
        compare(run(problem, Data(data.x * tiny, data.w, None, None), algorithm.id), expected, 0.0, data.x.dtype)


ACTIVATIONS = (
    None,
    "relu",
    "relu6",
    "leaky_relu",
    ("leaky_relu", 0.3),
    "elu",
    ("elu", 2.0),
    "sigmoid",
    "tanh",
    "silu",
    "hardswish",
)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_activation_accuracy(activation: object, dtype: type) -> None:
    """A 1x1 kernel of 1 leaves the activation alone with its argument, special values included."""
    rng = np.random.default_rng(10)
    special = [
        0.0,
        -0.0,
        np.inf,
        -np.inf,
        np.nan,
        1e-30,
        -1e-30,
        3,
        -3,
        6,
        100,
        -100,
        1e30,
        -1e30,
        88.7,
        -87.3,
        709.7,
        -708,
    ]
    values = np.concatenate([rng.standard_normal(3000) * 5, rng.uniform(-0.5, 0.5, 1000), np.array(special)])
    with np.errstate(over="ignore"):
        x = values.astype(dtype).reshape(1, 1, 1, -1)
    w = np.ones((1, 1, 1, 1), dtype)
    name, slope = (
        activation
        if isinstance(activation, tuple)
        else (activation, {"leaky_relu": 0.01, "elu": 1.0}.get(activation, 0.0))
    )
    summed = np.promote_types(dtype, np.float32).type
    expected = reference.activate(x.astype(np.float64), name, summed(slope) if slope else slope)
    problem = ConvProblem.parse(f"n1c1h1w{x.size}-o1k1s1p0-f{np.dtype(dtype).itemsize * 8}")
    with np.errstate(over="ignore"):
        rounded = np.where(np.isfinite(expected), expected, 0).astype(dtype)
    ulp = np.abs(np.spacing(np.where(np.isfinite(rounded), rounded, 0)).astype(np.float64))
    for algorithm in supporting(problem):
        result = pyconv.conv2d(x, w, activation=activation, algorithm=algorithm.id)
        # results below the smallest normal number may be flushed by exp
        allowed = ACTIVATION_ULPS * ulp + (np.finfo(dtype).tiny if name in ("sigmoid", "silu", "elu", "tanh") else 0)
        compare(result, expected, allowed, np.dtype(dtype))


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        "n1c3h9w11-o5k3s1p1-f32",
        "n2c5h7w7-o9k1s1p0-f32",
        "n1c4h9w13-o4k3s2p1-f32",
        "n1c18h7w7-o18k3s1p1g18-f32",
        "n1c3h5w57-o3k3s1p1g3-f32",
        "n1c3h20w20-o3k5s1p0g3-f64",
        "n1c2w101-o3k7s1p0-f64",
        "n1c2d3h4w5-o3k2s1p0-f32",
        "n1c4h11w11-o3k1s2p0-f32",
        "n1c3h4w5-o4k3s1p40-f32",  # whole tiles of padding
        "n1c2h5w90-o2k3s1p0x200g2-f64",
        "n1c20h6w5-o20k3s2p1g20-f32-channels_last",
        "n1c19h6w5-o21k3s1p1-f32-channels_last",
        "n1c3h9w11-o5k3s1p1-f16",
        "n2c5h7w7-o9k1s1p0-f16",
        "n1c3h9w50-o5k3s1p1-f16",
        "n1c4h9w37-o4k3s2p1-f16",
        "n1c18h7w7-o18k3s1p1g18-f16",
        "n1c3h5w57-o3k3s1p1g3-f16",
        "n1c19h6w5-o21k3s1p1-f16-channels_last",
        "n1c20h6w5-o20k3s2p1g20-f16-channels_last",
    ],
)
def test_nothing_is_read_outside_the_arrays(text: str, at_end: bool) -> None:
    """Hazard 37: a read past either end of x, w, bias or residual, or a write past out, is a segmentation fault."""
    problem = ConvProblem.parse(f"{text}-bias-residual")
    data = make_data(problem, integers=True)
    expected = reference.conv(problem, data.x, data.w, data.bias, data.residual)
    out = np.full(problem.out_shape, np.nan, data.x.dtype)
    *inputs, out = (copy_between_guards(a, at_end) for a in (data.x, data.w, data.bias, data.residual, out))
    for algorithm in supporting(problem):
        out[...] = np.nan
        run(problem, Data(*inputs), algorithm.id, out=out)
        compare_integers(out, expected, algorithm)


#: Strides of (n, c, h, w), in elements, from the shape.
VIEWS = {
    "every third column": lambda n, c, h, w: (c * h * 3 * w, h * 3 * w, 3 * w, 3),
    "every second column": lambda n, c, h, w: (c * h * 2 * w, h * 2 * w, 2 * w, 2),
    "rows upwards": lambda n, c, h, w: (c * h * w, h * w, -w, 1),
    "everything backwards": lambda n, c, h, w: (-c * h * w, -h * w, -w, -1),
    "columns down": lambda n, c, h, w: (c * h * w, h * w, 1, h),
    "channels last": lambda n, c, h, w: (c * h * w, 1, w * c, c),
    "images fastest": lambda n, c, h, w: (1, n * h * w, n * w, n),
    # these elements share memory: inputs only
    "one row for all": lambda n, c, h, w: (c * w, w, 0, 1),
    "windows of a signal": lambda n, c, h, w: (c * (h + w), h + w, 1, 1),
}


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "text",
    [
        "n2c3h9w21-o5k3s1p1-f32",
        "n2c3h9w37-o5k3s2p1-f32",
        "n2c5h7w8-o9k1s1p0-f32",
        "n2c18h7w9-o18k3s1p1g18-f32",
        "n2c3h7w40-o3k3s1p2g3-f32-reflect",
        "n2c3h9w19-o3k5s2p0g3-f64",
        "n2c3h9w37-o5k3s2p1-f16",
        "n2c18h7w9-o18k3s1p1g18-f16",
        "n2c3h7w40-o3k3s1p2g3-f16-reflect",
    ],
)
def test_nothing_is_read_outside_views(text: str, view: str, at_end: bool) -> None:
    """Hazards 32 and 37 together: first and last element of a view with gaps are the first and last in its memory."""
    problem = ConvProblem.parse(f"{text}-bias-residual")
    dtype, rng = np.dtype(DTYPES[problem.dtype]), np.random.default_rng(12)
    x, memory = view_between_guards(problem.x_shape, VIEWS[view](*problem.x_shape), dtype, at_end)
    memory[...] = rng.integers(-4, 5, memory.size)
    shared = view in ("one row for all", "windows of a signal")
    of_outputs = VIEWS["rows upwards" if shared else view](*problem.out_shape)
    residual, memory = view_between_guards(problem.out_shape, of_outputs, dtype, at_end)
    memory[...] = rng.integers(-4, 5, memory.size)
    out, memory = view_between_guards(problem.out_shape, of_outputs, dtype, at_end)
    w, bias = (rng.integers(-4, 5, shape).astype(dtype) for shape in (problem.w_shape, problem.c_out))
    expected = reference.conv(problem, x, w, bias, residual)
    first = (out.__array_interface__["data"][0] - memory.__array_interface__["data"][0]) // memory.itemsize
    written = np.zeros(memory.size, bool)
    np.lib.stride_tricks.as_strided(written[first:], out.shape, of_outputs)[...] = True  # a bool is one byte
    for algorithm in supporting(problem):
        memory[...] = np.nan
        run(problem, Data(x, w, bias, residual), algorithm.id, out=out)
        compare_integers(out, expected, algorithm)
        assert np.isnan(memory[~written]).all(), f"{algorithm.id} wrote between the elements of out"


def test_float16_is_summed_wide() -> None:
    """Hazard 40: 4096 ones are 4096, where float16 sums would stop at 2048."""
    x, w = np.ones((1, 1, 64, 64), np.float16), np.ones((1, 1, 64, 64), np.float16)
    for algorithm in supporting(ConvProblem.parse("n1c1h64w64-o1k64s1p0-f16")):
        assert float(pyconv.conv2d(x, w, algorithm=algorithm.id)[0, 0, 0, 0]) == 4096.0


#: Kernels that do one tap of one channel.
NARROW = [kind for kind in KINDS if ".f16@" in kind and not kind.startswith(("winograd", "grouped"))]
#: 1, 1/3, the smallest numbers, the largest, both signs: products fall between float16 numbers, on ties, among the
#: subnormal ones and beyond the largest.
FACTORS = (1.0, -1.0, 3.0, 1 / 3, 1.5, 0.5, 2.0**-10, -(2.0**-14), 2.0**-24, 1.0009765625, 4095.0, 65504.0)


@pytest.mark.parametrize("kind", NARROW)
def test_float16_is_rounded_once_to_nearest_even(kind: str) -> None:
    """Every float16 times a factor, which float32 holds exactly: the result is the float16 next to it."""
    algorithm = ALGORITHMS[f"conv2d.{kind}"]
    if not runs_here(algorithm):
        pytest.skip(f"this processor does not have {kind.rpartition('-')[2]}")
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    for factor in FACTORS:
        w = np.array(factor, np.float16)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = (x.astype(np.float64) * np.float64(w)).astype(np.float16)
        for shape in ((16, 1, 1, 4096), (16, 1, 1024, 4)):  # long rows, and rows that fill no vector
            result = pyconv.conv2d(x.reshape(shape), w.reshape(1, 1, 1, 1), algorithm=algorithm.id)
            np.testing.assert_array_equal(result.ravel(), expected)
            # in and out with gaps between the elements
            out = np.zeros((*shape[:3], 3 * shape[3]), np.float16)[..., ::3]
            apart = np.repeat(x.reshape(shape), 2, axis=-1)[..., ::2]
            pyconv.conv2d(apart, w.reshape(1, 1, 1, 1), algorithm=algorithm.id, out=out)
            np.testing.assert_array_equal(out.ravel(), expected)


@pytest.mark.parametrize("text", PROBLEMS)
def test_float16_is_float32_rounded_once(text: str) -> None:
    """To the bit: x, w, bias and residual are exact in float32, and the sums are float32's own."""
    narrow = replace(ConvProblem.parse(text), dtype="f16")
    data = make_data(narrow, integers=False)
    wide = Data(*(None if a is None else a.astype(np.float32) for a in (data.x, data.w, data.bias, data.residual)))
    asked = [a for a in supporting(narrow) if a.backend == "c"]
    assert asked or registry.why_missing("c")
    for algorithm in asked:
        expected = run(replace(narrow, dtype="f32"), wide, algorithm.id.replace(".f16@", ".f32@"))
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(run(narrow, data, algorithm.id), expected.astype(np.float16))


def test_sums_beyond_two_to_the_31_elements_are_planned() -> None:
    """Hazard 22: indices are 64-bit; only the arithmetic can be tested without the memory."""
    problem = ConvProblem.parse("n1c1h70000w70000-o1k3s1p1-f32")
    assert np.prod(problem.out_shape) > 2**31
    for algorithm in supporting(problem):
        needed = algorithm.workspace(Call.typical(problem, 2, 64 << 20))
        assert needed is not None
        assert needed <= 64 << 20


def huge_problem(text: str) -> tuple[ConvProblem, np.ndarray, np.ndarray]:
    """A problem over memory that exists only where it is written, far beyond 2^31 elements."""
    problem = ConvProblem.parse(text)
    try:
        x = untouched_memory(int(np.prod(problem.x_shape)), np.float32).reshape(problem.x_shape)
    except OSError as error:
        pytest.skip(f"this machine does not promise so much memory: {error}")
    return problem, x, np.arange(1, 1 + np.prod(problem.w_shape), dtype=np.float32).reshape(problem.w_shape)


@pytest.mark.parametrize(
    "text",
    [
        "n1c1w2147483700-o3k2s2147483659p0-f32",  # the second window begins beyond 2^31
        "n3c1w1073741900-o2k3s1073741890p0-f32",  # the third image
        "n1c3w1073741900-o2k3s1073741890p0-f32",  # the third channel
        "n1c3w1073741900-o3k3s1073741890p0g3-f32",  # also as a group
        "n1c1h3w1073741900-o2k1s1x1073741890p0-f32",  # rows
    ],
)
def test_indices_beyond_two_to_the_31(text: str) -> None:
    """Hazard 22, for real: only the pages that the windows touch are ever there."""
    problem, x, w = huge_problem(text)
    # only what the windows touch is written; the same windows packed together are a problem that can be computed
    small = replace(problem, spatial=tuple(o * k for o, k in zip(problem.out_spatial, problem.kernel, strict=True)))
    small = replace(small, stride=problem.kernel)
    packed = np.random.default_rng(13).integers(1, 5, small.x_shape).astype(np.float32)
    for p in np.ndindex(*problem.out_spatial):
        there, here = (
            (..., *(slice(q * step, q * step + k) for q, step, k in zip(p, steps, problem.kernel, strict=True)))
            for steps in (problem.stride, problem.kernel)
        )
        x[there] = packed[here]
    expected = reference.conv(small, packed, w)
    asked = [a for a in supporting(problem) if a.backend != "numpy"]
    assert asked or registry.why_missing("c")
    for algorithm in asked:
        compare_integers(run(problem, Data(x, w, None, None), algorithm.id), expected, algorithm)


def test_results_beyond_two_to_the_31() -> None:
    """Hazard 22: out and residual whose images lie further apart than that."""
    problem = ConvProblem.parse("n2c3h5w6-o4k3s1p1-f32")
    data = make_data(problem, integers=True)
    distance = 2**31 + 4096
    try:
        memory = untouched_memory(distance + 4096, np.float32)
    except OSError as error:
        pytest.skip(f"this machine does not promise so much memory: {error}")
    strides = tuple(4 * step for step in (distance, 30, 6, 1))
    out = np.lib.stride_tricks.as_strided(memory, problem.out_shape, strides, writeable=True)
    expected = reference.conv(problem, data.x, data.w)
    residual = np.random.default_rng(11).integers(-4, 5, problem.out_shape).astype(np.float32)
    for algorithm in supporting(problem):
        out[...] = np.nan
        run(problem, Data(data.x, data.w, None, None), algorithm.id, out=out)
        compare_integers(out, expected, algorithm)
        out[...] = residual
        run(problem, Data(data.x, data.w, None, out), algorithm.id, out=out)
        compare_integers(out, expected + residual, algorithm)


@pytest.mark.parametrize("backend", ["c", "numba"])
def test_a_kernel_of_a_million_taps_runs_in_two_megabytes(backend: str) -> None:
    """Hazard 23: scratch is bounded whatever the kernel's size."""
    problem = ConvProblem.parse("n1c1h1003w1005-o1k1001s1p0-f32")
    data = make_data(problem, integers=True)
    windows = np.lib.stride_tricks.sliding_window_view(data.x[0, 0].astype(np.float64), problem.kernel)
    expected = np.array([[np.vdot(window, data.w) for window in row] for row in windows])[None, None]
    assert np.abs(expected).max() < 2**24, "float32 sums of these integers are exact"
    with pyconv.options(max_workspace="2MB"):
        call = Call.typical(problem, pyconv.info().threads, 2 << 20)
        asked = [a for a in supporting(problem) if a.backend == backend and a.preferred]
        asked = [a for a in asked if a.workspace(call) is not None]
        if not asked and registry.why_missing(backend):
            pytest.skip(f"{backend}: {registry.why_missing(backend)}")
        assert asked
        for algorithm in asked:
            with guarded_scratch(algorithm, fill=0xFF):
                compare_integers(run(problem, data, algorithm.id), expected, algorithm)
