"""Gradients of weights and bias: every registered algorithm, by its name, against the definition, numbers and torch."""

from __future__ import annotations

import itertools
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import grouped_problems, problems, winograd_problems
from checker import DTYPES, EPSILON, compare, in_memory_order
from guards import copy_between_guards, forget_last_kernel, guarded_scratch, last_kernel
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvBiasProblem, ConvProblem, ConvWeightProblem, InvalidProblem, Unsupported, reference, registry
from pyconv.algorithm import Algorithm, Call
from pyconv.ops.call import run
from pyconv.ops.conv_grad import bias_request, weight_request

pyconv.algorithms()
ALGORITHMS = {id: registry.find(id) for id in pyconv.algorithms() if "conv" in id and "-grad-w." in id}
BIASES = {id: registry.find(id) for id in pyconv.algorithms() if "-grad-bias." in id}
KINDS = sorted({id.split(".", 1)[1] for id in ALGORITHMS})

#: The convolution that small is made from large with; each is a gradient of conv and one of conv_transpose.
PROBLEMS = (
    # register tiles full and ragged in channels, rows and pixels; several blocks of each side; parts
    "n1c8h9w10-o64k3s1p1-f32",
    "n2c3h23w37-o17k7s2p3-f32",
    "n3c20h14w14-o50k3s1p1-f32",
    "n1c5h9w50-o9k3s1p0-f64",
    "n8c70h7w7-o210k3s1p1-f32",
    "n1c300h9w9-o50k3s1p1-f64",
    "n5c64h20w20-o48k1s1p0-f32",  # in place, one long row
    "n2c40h15w17-o24k1s2p0-f32",
    "n2c9h16w16-o20k2s2p0-f32",  # in place with taps
    "n70c10h1w1-o40k1s1p0-f32",
    "n9c6h2w3-o5k2s1p1-f32",  # planes smaller than a vector
    "n1c4h30w300-o20k3s1p1-f32",  # rows in pieces
    # every stride, dilation, asymmetric padding
    "n1c5h19w23-o7k3x5s3x2p1:2x4d2x3-f64-symmetric",
    "n1c4h31w29-o6k4x3s4x5p2:0x0:3-f32",
    "n1c3h40w41-o8k11s4p0-f32",
    "n1c4h33w33-o8k3s1p4d4-f32",
    "n1c3h7w9-o2k2s5p0-f32",
    "n1c2h25w27-o3k5x4s4x6p3d6x4-f32",
    "n1c4h5w5-o4k2s1p7-f32",
    # single rows, columns, pixels and channels
    "n1c3h1w50-o5k1x7s1p0x3-f32",
    "n1c3h50w1-o5k7x1s1p3x0-f64",
    "n1c2h13w29-o1k3s1p1-f32",
    "n1c1h13w17-o48k3s1p1-f32",
    "n2c33h12w12-o3k3s1p1-f32",
    # padding modes, also wider than the image
    "n1c3h9w11-o4k5s1p2-f32-reflect",
    "n1c3h9w11-o4k5s2p3-f64-replicate",
    "n1c3h9w11-o4k5s1p4-f32-circular",
    "n1c3h4w3-o4k7s1p6-f32-symmetric",
    "n1c2h3w2-o3k9s2p7-f64-reflect",
    # groups and depthwise, multipliers, large kernels
    "n2c12h10w11-o18k3s1p1g3-f32",
    "n1c4h17w18-o8k3s2p2d4g4-f32",
    "n3c8h20w21-o8k5s1p4d2g8-f64-circular",
    "n2c8h30w31-o16k3s2p1g8-f32",
    "n5c20h14w14-o20k3s1p1g20-f32",
    "n2c32h9w8-o32k3s1p1g8-f32",
    "n2c3h20w21-o3k7s1p3g3-f32",
    "n2c17h7w7-o34k5s1p2g17-f64-reflect",
    "n1c3h40w40-o3k31s1p15g3-f32",
    "n1c2h64w60-o3k33s1p16-f32",
    # windows that do not reach the end of x, several images of several groups, parts of dY: what an FFT exchanges
    "n2c6h23w30-o4k3x5s4x3p1x0d2g2-f32",
    "n3c4h21w33-o8k11s1p5g4-f64",
    "n1c6h18w40-o6k9s1p4g3-f32-circular",
    "n1c2w900-o3k70s2p10-f32",
    # one and three axes
    "n2c5w300-o7k9s2p4-f32",
    "n2c5w2000-o3k1s1p0-f64",
    "n1c2w3000-o4k257s1p128-f32",
    "n2c6w70-o6k5s1p2d3g6-f32",
    "n2c4d5h6w7-o6k3s1p1-f32",
    "n1c3d6h9w8-o5k2x3x1s2x1x1p1x0x0-f64",
    "n2c5d7h6w5-o4k3x1x1s1p1x0x0-f32-circular",
    "n2c6d4h5w9-o6k3s1p1g6-f32",
    # channels-last
    "n2c20h9w10-o36k3s1p1-f32-channels_last",
    "n2c48h14w14-o32k1s1p0-f32-channels_last",
    "n2c5h19w18-o9k5s2p2-f64-reflect-channels_last",
    "n3c20h13w12-o20k3s1p1g20-f32-channels_last",
    "n2c36h13w12-o36k3s2p1g36-f64-channels_last",
    "n1c12h13w12-o24k3s1p1g3-f32-channels_last",
    "n2c17d4h5w6-o18k3x1x3s1p1x0x1-f32-channels_last",
    # float16
    "n2c9h12w13-o20k3s1p1-f16",
    "n2c33h9w9-o18k1s1p0-f16",
    "n2c18h9w10-o18k3s2p1g18-f16",
    "n2c18h9w10-o18k3s1p1g18-f16-channels_last",
    "n1c7w60-o5k5s2p2-f16-replicate",
    "n1c3d3h6w7-o4k3s1p1-f16",
    # nothing to sum, nothing to write
    "n0c3h8w8-o4k3s1p1-f32",
    "n2c0h8w8-o4k3s1p1-f32",
    "n0c4w9-o4k3s1p1g4-f64",
)
BIAS_PROBLEMS = (
    "n2c5h9w10-f32",
    "n1c1h300w301-f32",
    "n3c70h56w56-f32",
    "n2c33h5w6-f32-channels_last",
    "n2c300h14w14-f64-channels_last",
    "n1c3h40w50-f64",
    "n0c3h4w5-f32",
    "n3c4h0w5-f32",
    "n2c9h12w13-f16",
    "n2c9h12w13-f16-channels_last",
    "n2c5w1000-f32",
    "n2c70w33-f64-channels_last",
    "n2c4d3h5w6-f32",
    "n2c24d3h5w6-f16-channels_last",
)


def gradients_of(text: str) -> list[ConvWeightProblem]:
    conv = ConvProblem.parse(text)
    ways = [ConvWeightProblem(conv)]
    if conv.padding_mode == "zeros" and 0 not in (conv.n, conv.c_in):
        ways.append(ConvWeightProblem(conv, transposed=True))
    return ways


def draw(shape: tuple[int, ...], dtype: str, integers: bool, rng: np.random.Generator) -> np.ndarray:
    values = rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)
    return values.astype(DTYPES[dtype])


def make(problem: ConvWeightProblem, integers: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    last = problem.conv.channels_last
    grad_output, x = (in_memory_order(draw(a.shape, a.dtype, integers, rng), last) for a in problem.inputs)
    return grad_output, x


def request_of(problem: ConvWeightProblem, grad_output: np.ndarray, x: np.ndarray) -> Any:
    conv = problem.conv
    return weight_request(
        conv.rank,
        grad_output,
        x,
        conv.w_shape,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        padding_mode=conv.padding_mode,
        transposed=problem.transposed,
    )


def magnitude(problem: ConvWeightProblem, algorithm: Algorithm, grad_output: np.ndarray, x: np.ndarray) -> np.ndarray:
    """sum |dY| |x|, of both the largest within the reach of the algorithm's bound."""
    sizes = [np.abs(grad_output.astype(np.float64)), np.abs(x.astype(np.float64))]
    reach = algorithm.error_reach(problem)
    if reach:
        sizes = [np.broadcast_to(a.max(axis=tuple(range(2, a.ndim)), keepdims=True), a.shape) for a in sizes]
        # a tile reads x beside the border, too
        problem = replace(problem, conv=replace(problem.conv, padding_mode="replicate"))
    return reference.conv_grad_w(problem, *sizes)


def tolerance(
    problem: ConvWeightProblem, algorithm: Algorithm, arrays: tuple[np.ndarray, np.ndarray], expected: np.ndarray
) -> np.ndarray:
    smallest = 2.0**-25 if problem.dtype == "f16" else 0.0
    bound = algorithm.error_bound(problem) * magnitude(problem, algorithm, *arrays)
    return bound + EPSILON[problem.dtype] * np.abs(expected) + smallest


def is_exact(algorithm: Algorithm) -> bool:
    return algorithm.family != "fft" and not algorithm.family.startswith("winograd")


def check(problem: ConvWeightProblem, algorithm: Algorithm, integers: bool, seed: int = 0) -> None:
    """Run into poisoned outputs, in guarded scratch; prove who ran; compare."""
    arrays = make(problem, integers, seed)
    copies = [a.copy() for a in arrays]
    expected = reference.conv_grad_w(problem, *arrays)
    dtype = np.dtype(DTYPES[problem.dtype])
    poison = np.full(expected.shape, np.nan, dtype)
    forget_last_kernel(algorithm)
    request = request_of(problem, *arrays)
    with guarded_scratch(algorithm, fill=0xA5):
        (result,) = run(request, (poison,), algorithm.id)
    assert result is poison
    if algorithm.backend != "numpy" and expected.size:
        assert last_kernel(algorithm) == algorithm.kernel_name
    if integers and is_exact(algorithm):
        expected = expected.astype(dtype).astype(np.float64)
        compare(result, expected, 0.0, dtype)
    else:
        compare(result, expected, tolerance(problem, algorithm, arrays, expected), dtype)
    for array, copy in zip(arrays, copies, strict=True):
        assert np.array_equal(array, copy), "an input was changed"
    with guarded_scratch(algorithm, fill=0xFF):
        (fresh,) = run(request, (None,), algorithm.id)
    np.testing.assert_array_equal(fresh, result)


def supporting(problem: Any, algorithms: dict[str, Algorithm] = ALGORITHMS) -> list[Algorithm]:
    call = Call.typical(problem, 2, 64 << 20)
    able = [a for a in algorithms.values() if a.op == problem.op and a.dtype == problem.dtype and a.supports(problem)]
    return [a for a in able if a.workspace(call) is not None]


def preferred(problem: Any) -> list[Algorithm]:
    return [a for a in supporting(problem) if a.preferred and a.backend != "numpy"]


@pytest.mark.parametrize("text", PROBLEMS)
def test_every_algorithm_on_the_table(text: str) -> None:
    for problem in gradients_of(text):
        asked = supporting(problem)
        built = {backend for backend in ("c", "numba") if registry.why_missing(backend) is None}
        assert {a.backend for a in asked} >= {"numpy"} | (built - {"numba"} if problem.dtype == "f16" else built)
        for algorithm in asked:
            check(problem, algorithm, integers=True)
            if algorithm.backend != "numpy" and not problem.transposed:
                check(problem, algorithm, integers=False)


@pytest.mark.parametrize("id", ALGORITHMS)
def test_every_algorithm_is_covered(id: str) -> None:
    """An algorithm that no problem of the table reaches has not been tested."""
    algorithm = ALGORITHMS[id]
    if not getattr(algorithm, "runs_here", True):
        pytest.skip("not on this processor")
    found = [p for text in PROBLEMS for p in gradients_of(text) if p.op == algorithm.op and p.dtype == algorithm.dtype]
    if found:  # the table has each rank in the types that differ
        assert any(map(algorithm.supports, found)) or algorithm.op.startswith(("conv1d", "conv3d", "conv_transpose"))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "numpy" not in kind])
@settings(max_examples=20)
@given(data=st.data())
def test_drawn_problems(kind: str, data: st.DataObject) -> None:
    family, dtype = kind.split("@")[0].split(".")
    if family.startswith("winograd"):
        drawn = winograd_problems(int(family.rpartition("x")[2]), dtype)
    elif "grouped" in family:
        drawn = grouped_problems(dtype)
    else:
        drawn = problems(dtypes=(dtype,), depthwise=True if family.startswith("depthwise") else None)
    conv = replace(data.draw(drawn), bias=False, residual=False, activation=None, slope=0.0)
    transposed = conv.padding_mode == "zeros" and data.draw(st.booleans())
    problem = ConvWeightProblem(conv, transposed)
    algorithm = ALGORITHMS.get(f"{problem.op}.{kind}")
    if algorithm is not None and algorithm.supports(problem):
        check(problem, algorithm, integers=data.draw(st.booleans()))


@pytest.mark.parametrize("text", BIAS_PROBLEMS)
@pytest.mark.parametrize("transposed", [False, True])
def test_every_algorithm_of_the_bias(text: str, transposed: bool) -> None:
    rank = len([c for c in text.partition("-")[0] if c in "dhw"])
    problem = ConvBiasProblem.parse(f"conv{'_transpose' if transposed else ''}{rank}d-grad-bias", text)
    assert str(problem) == text
    rng = np.random.default_rng(0)
    for algorithm, integers in itertools.product(supporting(problem, BIASES), (True, False)):
        y = in_memory_order(draw(problem.inputs[0].shape, problem.dtype, integers, rng), problem.channels_last)
        expected = reference.conv_grad_bias(y)
        out = np.full(problem.c, np.nan, y.dtype)
        forget_last_kernel(algorithm)
        with guarded_scratch(algorithm, fill=0xFF):
            (result,) = run(bias_request(rank, y, transposed=transposed), (out,), algorithm.id)
        assert result is out
        if algorithm.backend != "numpy":
            assert last_kernel(algorithm) == algorithm.kernel_name
        bound = algorithm.error_bound(problem) * reference.conv_grad_bias(np.abs(y))
        bound += EPSILON[problem.dtype] * np.abs(expected)
        if integers:
            expected, bound = expected.astype(y.dtype).astype(np.float64), np.zeros(())
        compare(result, expected, bound, y.dtype)


def test_a_bias_is_summed_pairwise() -> None:
    """What lies beside sums of millions is not lost: 0.1 summed one after the other would be off by 1 in 1000."""
    y = np.full((1, 2, 3000, 1000), 0.1, np.float32)
    for algorithm in supporting(ConvBiasProblem(1, 2, (3000, 1000)), BIASES):
        (result,) = run(bias_request(2, y), (None,), algorithm.id)
        np.testing.assert_allclose(result, 3e6 * float(np.float32(0.1)), rtol=2e-7)


LAYOUTS = {
    "transposed": lambda a: np.ascontiguousarray(a.transpose()).transpose(),
    "reversed": lambda a: np.flip(np.ascontiguousarray(np.flip(a))),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "offset rows": lambda a: np.pad(a, [(0, 0)] * (a.ndim - 1) + [(3, 5)])[..., 3:-5],
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "misaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), a.dtype, offset=1).reshape(a.shape),
    "channels last": lambda a: in_memory_order(a, True),
}
SMALL = (
    "n2c6h9w10-o7k3s2p1-f32",
    "n2c6h9w10-o6k3s1p1g6-f64",
    "n2c18h9w20-o20k3s1p1-f32",
    "n2c9h8w7-o5k1s1p0-f32",
    "n2c6h9w21-o7k3s1p1-f16",
    "n2c8h9w10-o8k3s1p1g2-f32",
)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("text", SMALL)
def test_memory_layouts(text: str, layout: str) -> None:
    problem = ConvWeightProblem(ConvProblem.parse(text))
    arrays = make(problem, integers=True)
    expected = reference.conv_grad_w(problem, *arrays)
    dtype = np.dtype(DTYPES[problem.dtype])
    for algorithm in preferred(problem):
        allowed = 0.0 if is_exact(algorithm) else tolerance(problem, algorithm, arrays, expected)
        for changed in ((True, False), (False, True), (True, True)):
            given_ = [LAYOUTS[layout](a) if change else a for a, change in zip(arrays, changed, strict=True)]
            (result,) = run(request_of(problem, *given_), (None,), algorithm.id)
            compare(result, expected, allowed, dtype)
        out = LAYOUTS[layout](np.zeros(expected.shape, dtype))
        if out.flags.writeable:
            (result,) = run(request_of(problem, *arrays), (out,), algorithm.id)
            assert result is out
            np.testing.assert_allclose(out.astype(np.float64), expected, atol=np.max(allowed), rtol=0)


def test_out_may_overlap_the_inputs() -> None:
    memory = np.random.default_rng(0).integers(-4, 5, 2000).astype(np.float32)
    x, grad_output = memory[:400].reshape(1, 4, 10, 10), memory[400:1200].reshape(1, 8, 10, 10)
    expected = run(weight_request(2, grad_output, x, (8, 4, 3, 3), 1, 1), (None,), "auto")[0]
    out = memory[300:588].reshape(8, 4, 3, 3)
    run(weight_request(2, grad_output, x, (8, 4, 3, 3), 1, 1), (out,), "auto")
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unbatched(rank: int) -> None:
    rng = np.random.default_rng(rank)
    x, y = rng.standard_normal((3, *(6,) * rank)), rng.standard_normal((4, *(6,) * rank))
    shape = (4, 3, *(3,) * rank)
    one = run(weight_request(rank, y, x, shape, 1, 1), (None,), "auto")[0]
    np.testing.assert_array_equal(one, run(weight_request(rank, y[None], x[None], shape, 1, 1), (None,), "auto")[0])
    assert one.shape == shape
    bias = run(bias_request(rank, y), (None,), "auto")[0]
    np.testing.assert_allclose(bias, y.reshape(4, -1).sum(axis=1))


THREADED = (
    "n4c64h28w28-o64k3s1p1-f32",
    "n8c16h40w40-o32k1s1p0-f32",
    "n2c3h64w64-o32k7s2p3-f32",
    "n4c70h20w20-o70k3s1p1g70-f32",
    "n4c70h20w20-o70k3s1p1g70-f32-channels_last",
    "n4c64h20w20-o64k3s1p1g16-f32",
    "n2c20h30w33-o36k5s1p2-f64",
)


@pytest.mark.parametrize("text", THREADED)
def test_the_same_bits_for_any_number_of_threads(text: str) -> None:
    problem = ConvWeightProblem(ConvProblem.parse(text))
    arrays = make(problem, integers=False)
    for algorithm in preferred(problem):
        found = []
        for threads in (1, 2, 3, 8):
            with pyconv.options(threads=threads):
                found.append(run(request_of(problem, *arrays), (None,), algorithm.id)[0])
        for other in found[1:]:
            np.testing.assert_array_equal(found[0], other, err_msg=algorithm.id)


@pytest.mark.parametrize("text", ["n4c16h300w401-f32", "n2c70h200w301-f64-channels_last"])
def test_a_bias_has_the_same_bits_for_any_number_of_threads(text: str) -> None:
    problem = ConvBiasProblem.parse("conv2d-grad-bias", text)
    y = draw(problem.inputs[0].shape, problem.dtype, False, np.random.default_rng(0))
    y = in_memory_order(y, problem.channels_last)
    for algorithm in supporting(problem, BIASES):
        found = []
        for threads in (1, 2, 3, 8):
            with pyconv.options(threads=threads):
                found.append(run(bias_request(2, y), (None,), algorithm.id)[0])
            np.testing.assert_array_equal(found[0], found[-1], err_msg=algorithm.id)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("text", PROBLEMS)
def test_nothing_is_read_or_written_outside_the_arrays(text: str, at_end: bool) -> None:
    problem = ConvWeightProblem(ConvProblem.parse(text))
    grad_output, x = make(problem, integers=True)
    if 0 in x.shape or 0 in grad_output.shape:
        pytest.skip("nothing to read")
    last = problem.conv.channels_last

    def guarded(a: np.ndarray) -> np.ndarray:
        if not last:
            return copy_between_guards(a, at_end)
        return np.moveaxis(copy_between_guards(np.moveaxis(a, 1, -1), at_end), -1, 1)

    grad_output, x = guarded(grad_output), guarded(x)
    expected = reference.conv_grad_w(problem, grad_output, x)
    out = copy_between_guards(np.zeros(expected.shape, x.dtype), at_end)
    for algorithm in preferred(problem):
        run(request_of(problem, grad_output, x), (out,), algorithm.id)
        if is_exact(algorithm):
            np.testing.assert_array_equal(out, expected.astype(x.dtype))
    rank = problem.rank
    (bias,) = run(bias_request(rank, grad_output), (None,), "auto")
    np.testing.assert_array_equal(bias, reference.conv_grad_bias(grad_output).astype(x.dtype))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["grad_output", "x"])
@pytest.mark.parametrize(
    "text",
    [
        "n2c5h9w10-o7k3s1p1-f32",
        "n2c20h12w12-o20k3s1p1-f32",
        "n2c5h9w10-o7k3s2p1-f64",
        "n2c6h9w10-o6k3s1p1g6-f32",
        "n2c18h9w10-o18k3s1p2g18-f32-channels_last",
        "n2c8h9w10-o8k3s1p1g2-f32",
        "n1c6h9w8-o4k1s1p0-f32",
    ],
)
def test_non_finite_values_end_where_the_definition_puts_them(text: str, which: str, value: float) -> None:
    problem = ConvWeightProblem(ConvProblem.parse(text))
    for place in ((0, 1, 0, 0), (1, 2, 4, 5), (-1, -1, -1, -1)):
        arrays = make(problem, integers=False)
        array = arrays[0] if which == "grad_output" else arrays[1]
        array[tuple(at % size for at, size in zip(place, array.shape, strict=True))] = value
        expected = reference.conv_grad_w(problem, *arrays)
        assert not np.isfinite(expected).all()
        plain = make(problem, integers=False)
        for algorithm in preferred(problem):
            (result,) = run(request_of(problem, *arrays), (None,), algorithm.id)
            allowed = tolerance(problem, algorithm, plain, np.where(np.isfinite(expected), expected, 0))
            compare(result, expected, allowed, result.dtype)


@pytest.mark.parametrize(
    "text",
    ["n2c3h6w7-o4k3s2p1-f64", "n1c4h5w6-o4k3s1p1g2-f64-reflect", "n2c3w9-o2k3s1p2d2-f64", "n1c2d3h4w3-o2k2s1p0-f64"],
)
def test_numeric_gradient(text: str) -> None:
    """The derivative of sum(dY * conv(x, w)) by central differences, exact for what is linear."""
    problem = ConvWeightProblem(ConvProblem.parse(text))
    conv = problem.conv
    grad_output, x = make(problem, integers=False)
    w = np.random.default_rng(5).standard_normal(conv.w_shape)

    def loss(weights: np.ndarray) -> float:
        return float((reference.conv(conv, x, weights) * grad_output).sum())

    expected = np.empty(conv.w_shape)
    for at in np.ndindex(*conv.w_shape):
        step = np.zeros(conv.w_shape)
        step[at] = 0.5
        expected[at] = loss(w + step) - loss(w - step)
    for algorithm in preferred(problem):
        (result,) = run(request_of(problem, grad_output, x), (None,), algorithm.id)
        np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", ["n1c16h24w24-o16k3s1p1-f32", "n8c16h28w28-o16k3s1p1-f32"])
def test_winograd_is_standard(text: str) -> None:
    """Hazard 42: at most four times the rms error of direct summation."""
    problem = ConvWeightProblem(ConvProblem.parse(text))
    arrays = make(problem, integers=False)
    expected = reference.conv_grad_w(problem, *arrays)
    able = [a for a in preferred(problem) if a.accuracy(problem) == "standard"]
    winograd = [a for a in able if a.family.startswith("winograd")]
    assert len(winograd) == 2 * sum(registry.why_missing(backend) is None for backend in ("c", "numba"))

    def error(algorithm: str) -> float:
        (result,) = run(request_of(problem, *arrays), (None,), algorithm)
        return float(np.sqrt(np.mean((result - expected) ** 2)))

    for algorithm in able:
        assert error(algorithm.id) < 4 * error("direct")
        with pyconv.options(accuracy="strict"), pytest.raises(Unsupported, match="needs accuracy"):
            run(request_of(problem, *arrays), (None,), "winograd")


@settings(max_examples=40)
@given(drawn=problems(dtypes=("f64",)))
def test_the_adjoint_identity(drawn: ConvProblem) -> None:
    """<dY, conv(x, w)> = <dW, w>, exactly, in integers."""
    conv = replace(drawn, bias=False, residual=False, activation=None, slope=0.0)
    problem = ConvWeightProblem(conv)
    grad_output, x = make(problem, integers=True)
    w = draw(conv.w_shape, "f64", True, np.random.default_rng(zlib.crc32(str(conv).encode())))
    (gradient,) = run(request_of(problem, grad_output, x), (None,), "direct")
    assert float((gradient * w).sum()) == float((reference.conv(conv, x, w) * grad_output).sum())


def test_transposed_with_output_padding() -> None:
    """What output_padding adds met no weight; where padding takes less off than it adds, what is left did."""
    rng = np.random.default_rng(3)
    for stride, dilation, padding, extra in itertools.product((1, 2, 3), (1, 3), (0, 1, 2), (0, 1, 2)):
        if extra >= max(stride, dilation):
            continue
        x = rng.integers(-4, 5, (2, 3, 5)).astype(np.float64)
        size = (5 - 1) * stride - 2 * padding + 2 * dilation + extra + 1
        if size < 1:
            continue
        grad_output = rng.integers(-4, 5, (2, 4, size)).astype(np.float64)
        expected = np.zeros((3, 4, 3))
        for i, a in itertools.product(range(5), range(3)):
            o = i * stride - padding + a * dilation
            if 0 <= o < size:
                expected[:, :, a] += x[:, :, i].T @ grad_output[:, :, o]
        request = weight_request(1, grad_output, x, (3, 4, 3), stride, padding, dilation, transposed=True)
        for algorithm in ("direct", "reference"):
            np.testing.assert_array_equal(run(request, (None,), algorithm)[0], expected)


@pytest.mark.parametrize("text", PROBLEMS)
def test_equal_to_torch(text: str) -> None:
    torch = pytest.importorskip("torch")
    conv = ConvProblem.parse(text)
    if conv.padding_mode != "zeros" or any(a != b for a, b in conv.padding) or 0 in (conv.n, conv.c_in):
        pytest.skip("torch does not have it in one call")
    for problem in gradients_of(text):
        grad_output, x = make(problem, integers=True)
        tensors = [torch.from_numpy(np.ascontiguousarray(a).astype(np.float64)) for a in (grad_output, x)]
        extra = [
            0 if not problem.transposed else size - ((o - 1) * s - 2 * p[0] + d * (k - 1) + 1)
            for size, o, s, p, d, k in zip(
                conv.spatial, conv.out_spatial, conv.stride, conv.padding, conv.dilation, conv.kernel, strict=True
            )
        ]
        pads = [before for before, _ in conv.padding]
        expected = torch.ops.aten.convolution_backward(
            *tensors,
            torch.zeros(conv.w_shape, dtype=torch.float64),
            [conv.c_out],
            conv.stride,
            pads,
            conv.dilation,
            problem.transposed,
            extra,
            conv.groups,
            [False, True, not problem.transposed],
        )
        (result,) = run(request_of(problem, grad_output, x), (None,), "auto")
        if str(conv.dtype) != "f16":
            np.testing.assert_allclose(result, expected[1].numpy(), rtol=0, atol=1e-3)
        if not problem.transposed:
            (bias,) = run(bias_request(conv.rank, grad_output), (None,), "auto")
            np.testing.assert_array_equal(bias, expected[2].numpy().astype(bias.dtype))


@pytest.mark.parametrize("limit", [1 << 20, 8 << 20, 64 << 20])
@pytest.mark.parametrize(
    "text",
    [
        *PROBLEMS,
        "n64c512h7w7-o2048k3s1p1-f64",
        "n1c4096h64w64-o4096k1s1p0-f32",
        "n1c64d32h64w64-o64k9s1p4-f32",
        "n1c1024h3w3-o1024k3s7p5g1024-f32",
        "n1c3h20000w20000-o8k3s1p1-f16",
        "n1c1h200w200-o1k63s1p31-f32",
        "n4c8w100000-o8k1024s1p0-f32",
    ],
)
def test_scratch_is_bounded(text: str, limit: int) -> None:
    """Hazard 23: at most max_workspace for all threads."""
    problem = ConvWeightProblem(ConvProblem.parse(text))
    for threads in (1, 2, 64):
        for algorithm in ALGORITHMS.values():
            if (algorithm.op, algorithm.dtype) == (problem.op, problem.dtype) and algorithm.supports(problem):
                needed = algorithm.workspace(Call.typical(problem, threads, limit))
                assert needed is None or 0 <= needed <= limit, algorithm.id


def test_little_scratch_gives_the_same_result() -> None:
    problem = ConvWeightProblem(ConvProblem.parse("n2c40h60w70-o70k5s1p2-f32"))
    arrays = make(problem, integers=True)
    expected = reference.conv_grad_w(problem, *arrays)
    for algorithm in preferred(problem):
        with pyconv.options(max_workspace="1MB"):
            try:
                (result,) = run(request_of(problem, *arrays), (None,), algorithm.id)
            except Unsupported:
                continue
        allowed = 0.0 if is_exact(algorithm) else tolerance(problem, algorithm, arrays, expected)
        compare(result, expected, allowed, result.dtype)


@pytest.mark.parametrize("text", PROBLEMS)
def test_names_are_read_back(text: str) -> None:
    for problem in gradients_of(text):
        assert ConvWeightProblem.parse(problem.op, str(problem)) == problem


def _ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((_ones(1, 4, 3, 3), _ones(1, 3, 5, 5), (4, 2, 3, 3)), InvalidProblem, "channels disagree"),
        ((_ones(1, 4, 4, 3), _ones(1, 3, 5, 5), (4, 3, 3, 3)), InvalidProblem, "must have the shape"),
        ((_ones(1, 4, 3), _ones(1, 3, 5, 5), (4, 3, 3, 3)), InvalidProblem, "must have axes"),
        ((_ones(1, 4, 3, 3), _ones(1, 3, 5, 5), (4, 3, 3)), InvalidProblem, "w must have 4"),
        ((_ones(1, 4, 3, 3), _ones(1, 3, 5, 5), (4, 3, 9, 3)), InvalidProblem, "kernel is larger"),
        ((_ones(1, 4, 3, 3), np.ones((1, 3, 5, 5)), (4, 3, 3, 3)), TypeError, "one dtype"),
        ((_ones(1, 4, 3, 3), _ones(1, 3, 5, 5), (4, 3, 3, 3), 0), InvalidProblem, "stride must"),
        ((np.ones((1, 4, 3, 3), int),), TypeError, "must be float16"),
        ((_ones(1, 4),), InvalidProblem, "must have axes"),
    ],
)
def test_bad_calls_are_refused(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        run((weight_request if len(arguments) > 1 else bias_request)(2, *arguments), (None,), "auto")


def test_a_million_taps() -> None:
    """Direct sums of all taps would need more scratch than there is; transforms do not."""
    conv = ConvProblem.parse("n1c1w1200000-o1k1000001s1p0-f32")
    problem = ConvWeightProblem(conv)
    arrays = make(problem, integers=False)
    able = [a for a in preferred(problem) if a.family == "fft"]
    assert able or not [a for a in ALGORITHMS.values() if a.preferred and a.backend != "numpy"]
    grad_output, x = (a[0, 0].astype(np.float64) for a in arrays)
    for algorithm in able:
        (result,) = run(request_of(problem, *arrays), (None,), algorithm.id)
        for tap in (0, 1, 77, 499_999, 999_999, 1_000_000):
            seen = x[tap : tap + grad_output.size]
            allowed = algorithm.error_bound(problem) * np.abs(grad_output).sum() * np.abs(x).max()
            np.testing.assert_allclose(result[0, 0, tap], grad_output @ seen, atol=min(allowed, 0.1), rtol=0)


def test_long_kernels_are_transformed() -> None:
    """Choices that are not close: FFT for long taps, direct sums for short ones; never in "strict"."""
    with pyconv.options(backend="auto"):
        long, short = ConvProblem.parse("n1c4w30000-o4k3001s1p1500-f32"), ConvProblem.parse("n4c32h28w28-o32k5s1p2-f32")
        for conv, is_fft in ((long, True), (short, False)):
            x, grad_output = np.ones(conv.x_shape, np.float32), np.ones(conv.out_shape, np.float32)
            function = pyconv.grad.conv1d if conv.rank == 1 else pyconv.grad.conv2d
            mask = (False, True, False)
            window = (None, conv.stride, conv.padding)
            w = np.ones(conv.w_shape, np.float32)
            chosen = pyconv.explain(function, grad_output, x, w, *window, output_mask=mask).algorithm
            if ".reference." not in chosen and "@numba" not in chosen:
                assert (".fft." in chosen) == is_fft
            with pyconv.options(accuracy="strict"):
                strict = pyconv.explain(function, grad_output, x, w, *window, output_mask=mask).algorithm
            assert ".fft." not in strict
