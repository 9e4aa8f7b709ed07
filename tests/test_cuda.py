"""The GPU kernels of convolution and pooling: the same undecorated functions, through the whole way of a call."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import problems
from checker import Data, compare, make_data, tolerance
from cuda_device import EmulatedGpu, OnGpu, backend, forget, gpu, ran, there
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, InvalidProblem, PoolProblem, Unsupported, reference, registry
from pyconv.backends import cuda_winograd, numba_cuda
from pyconv.kernels.cuda import implicit_gemm
from pyconv.ops import call, device

__all__ = ["gpu"]

SMALL = implicit_gemm.Tile(16, 32, 8, 4, 4)
CONV = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of which a small problem has several."""
    monkeypatch.setattr(implicit_gemm, "TILES", {"16x32": SMALL})
    call.plan_for.cache_clear()


def convolve(problem: ConvProblem, data: Data, algorithm: str, **more: Any) -> np.ndarray:
    activation = problem.activation
    if activation in ("leaky_relu", "elu"):
        activation = (activation, problem.slope)
    found = CONV[problem.rank](
        there(data.x), there(data.w), there(data.bias), problem.stride, problem.padding, problem.dilation,
        problem.groups, padding_mode=problem.padding_mode, residual=there(data.residual), activation=activation,
        algorithm=algorithm, **more,
    )  # fmt: skip
    assert isinstance(found, OnGpu)
    return found.array


def check(problem: ConvProblem, family: str, integers: bool = False, data: Data | None = None) -> None:
    algorithm = registry.find(f"{problem.op}.{family}.{problem.dtype}@cuda")
    data = make_data(problem, integers) if data is None else data
    forget()
    result = convolve(problem, data, algorithm.id)
    if 0 not in problem.out_shape:
        assert ran(algorithm)
    with np.errstate(all="ignore"):
        expected = reference.conv(problem, data.x, data.w, data.bias, data.residual)
        # an output without infinities and NaN has no product with them, but Winograd's tile may
        x, w = (np.nan_to_num(array, nan=0.0, posinf=0.0, neginf=0.0) for array in (data.x, data.w))
        allowed = tolerance(problem, replace(data, x=x, w=w), algorithm, np.nan_to_num(expected))
    compare(result, expected, allowed, data.x.dtype)
    if problem.channels_last and problem.rank == 2 and result.size:
        assert np.moveaxis(result, 1, -1).flags.c_contiguous


#: What each kernel has to get right: ragged tiles, borders, strides, groups, epilogues, memory orders.
CONVOLUTIONS = (
    "n1c5h6w7-o9k3s1p1-f32-bias-relu",
    "n2c3h9w8-o5k3x2s2x1p1x0-f32-residual-leaky_relu=0.5",
    "n2c4h7w8-o18k3s1p1:2x0d2g2-f32-bias-tanh",
    "n3c9h5w4-o17k1s1p0-f32-bias-residual-relu6",
    "n1c1h9w30-o3k5s1p2-f64-bias-sigmoid",
    "n1c4w40-o6k9s2p4d2-f32-elu",
    "n1c3d4h5w6-o4k3x2x1s1x2x1p1x1x0-f64-bias-silu",
    "n2c3d3h4w4-o2k3s1p1-f32",
    "n2c8h5w6-o12k3s1p1-f32-channels_last-bias-hardswish",
    "n1c2h3w3-o2k3s1000000p0-f32",  # hazard 9
    "n1c2h2w2-o1k3s1p5-f32-bias",  # windows in the border alone
    "n0c3h8w8-o4k3s1p1-f32",
)
DEPTHWISE = (
    "n2c5h9w7-o5k3s1p1g5-f32-bias-relu",
    "n1c3h10w9-o6k3s2p1g3-f32-residual-silu",
    "n1c4h17w6-o4k7s1p3g4-f64-bias",
    "n1c3h12w11-o3k5x3s1x2p4x2d2g3-f32",
    "n1c2d4h6w5-o4k3x5x2s2x1x1p1x2x0d1x1x2g2-f32-bias",
    "n2c3w20-o3k5s2p2g3-f32",
    "n1c6h7w8-o6k3s1p1g6-f32-channels_last-tanh",
)
HALVES = (
    "n1c5h6w7-o6k3s1p1-f16-bias-relu",
    "n1c40h3w4-o5k3s1p1-f16-residual-sigmoid",
    "n2c4h9w6-o4k3s1p1g4-f16-bias-silu",
)


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("text", [*CONVOLUTIONS, *DEPTHWISE, *HALVES])
def test_direct(text: str, integers: bool) -> None:
    check(ConvProblem.parse(text), "direct", integers)


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("text", [*DEPTHWISE, HALVES[2]])
def test_depthwise(text: str, integers: bool) -> None:
    check(ConvProblem.parse(text), "depthwise", integers)


@pytest.mark.parametrize("text", [*CONVOLUTIONS, *DEPTHWISE])
def test_implicit_gemm_in_small_tiles(text: str, small_tiles: None) -> None:
    check(ConvProblem.parse(text), "implicit-gemm", integers=True)


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize(
    "text", [*HALVES, "n2c3h9w8-o5k3x2s2x1p1x0-f16-bias-residual-leaky_relu=0.5", "n1c40w20-o7k1s1p0-f16"]
)
def test_float16_implicit_gemm(text: str, integers: bool, small_tiles: None) -> None:
    check(ConvProblem.parse(text), "implicit-gemm", integers)


@pytest.mark.parametrize("text", [text for text in CONVOLUTIONS if "-f32" in text])
def test_tensor_cores_in_small_tiles(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_gemm, "TENSOR_TILES", {"16x32": implicit_gemm.Tile(16, 32, 8, 2, 8)})
    call.plan_for.cache_clear()
    check(ConvProblem.parse(text), "implicit-gemm-tf32", integers=True)
    check(ConvProblem.parse(text), "implicit-gemm-tf32")


@pytest.mark.parametrize("name", list(implicit_gemm.TENSOR_TILES))
def test_tiles_of_tensor_cores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(implicit_gemm, "TENSOR_TILES", {name: implicit_gemm.TENSOR_TILES[name]})
    call.plan_for.cache_clear()
    check(ConvProblem.parse("n1c2h3w45-o130k2x3s1p0-f32-bias"), "implicit-gemm-tf32")


def test_only_who_asks_for_speed_gets_rounded_operands() -> None:
    x, w = OnGpu(np.ones((32, 64, 56, 56), np.float32)), OnGpu(np.ones((64, 64, 3, 3), np.float32))
    for accuracy, family in (("strict", "implicit-gemm"), ("standard", "winograd-f4x3")):
        with pyconv.options(accuracy=accuracy):
            assert pyconv.explain(pyconv.conv2d, x, w).algorithm == f"conv2d.{family}.f32@cuda"
    x, w = OnGpu(np.ones((32, 64, 56, 56), np.float32)), OnGpu(np.ones((64, 64, 1, 1), np.float32))
    assert pyconv.explain(pyconv.conv2d, x, w).algorithm == "conv2d.implicit-gemm.f32@cuda"
    with pyconv.options(accuracy="fast"):
        assert pyconv.explain(pyconv.conv2d, x, w).algorithm == "conv2d.implicit-gemm-tf32.f32@cuda"


@pytest.mark.parametrize("name", list(implicit_gemm.TILES))
@pytest.mark.parametrize(
    "text",
    [
        "n1c1h3w45-o130k2x3s1p0-f32-bias",
        "n1c2h2w75-o70k1x3s1p0-f64-residual-relu",
        "n1c3h3w45-o70k2x3s1p0-f16-bias",
    ],
)
def test_tiles_of_the_product(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile with its ragged edges, and whole tiles beside them."""
    monkeypatch.setattr(implicit_gemm, "TILES", {name: implicit_gemm.TILES[name]})
    call.plan_for.cache_clear()
    check(ConvProblem.parse(text), "implicit-gemm", integers=True)


WINOGRAD = (
    "n1c3h6w7-o5k3s1p1-f32-bias-relu",
    "n2c2h9w8-o3k3s1p1:2x0-f32-residual-leaky_relu=0.5",
    "n2c4h7w5-o6k3s1p2g2-f64-bias-residual-tanh",
    "n1c5h4w10-o3k3s1p0-f16-bias-silu",
    "n1c3h5w6-o4k3s1p1-f32-channels_last-hardswish",
    "n3c1h3w3-o1k3s1p0-f32",
)


@pytest.mark.parametrize("family", cuda_winograd.FAMILIES)
@pytest.mark.parametrize("text", WINOGRAD)
def test_winograd(text: str, family: str, small_tiles: None) -> None:
    check(ConvProblem.parse(text), family)


def test_winograd_of_small_integers_is_exact(small_tiles: None) -> None:
    """F(2,3) with sums that its fractions, quarters, do not round."""
    for text in WINOGRAD[:4]:
        problem = replace(ConvProblem.parse(text), activation=None, slope=0.0)
        data = make_data(problem, integers=True)
        result = convolve(problem, data, f"conv2d.winograd-f2x3.{problem.dtype}@cuda")
        np.testing.assert_array_equal(result, reference.conv(problem, data.x, data.w, data.bias, data.residual))


@pytest.mark.usefixtures("small_tiles")
def test_drawn_winograd() -> None:
    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(data=st.data(), family=st.sampled_from(cuda_winograd.FAMILIES))
    def drawn(data: st.DataObject, family: str) -> None:
        n, h, w, channels, out = (data.draw(st.integers(1, most)) for most in (2, 11, 11, 5, 5))
        pads = tuple((data.draw(st.integers(0, 3)), data.draw(st.integers(2, 3))) for _ in range(2))
        groups = data.draw(st.sampled_from((1, 1, 2)))
        problem = ConvProblem(
            n=n, c_in=channels * groups, c_out=out * groups, spatial=(h, w), kernel=(3, 3), stride=(1, 1), padding=pads,
            dilation=(1, 1), groups=groups, dtype=data.draw(st.sampled_from(("f32", "f64", "f16"))),
            channels_last=data.draw(st.booleans()) and min(h, w, channels * groups) > 1,
            bias=data.draw(st.booleans()), residual=data.draw(st.booleans()),
            activation=data.draw(st.sampled_from((None, "relu6", "elu"))), slope=1.0,
        )  # fmt: skip
        if registry.find(f"conv2d.{family}.{problem.dtype}@cuda").supports(problem):
            check(problem, family)
        else:
            assert problem.groups == problem.c_in

    drawn()


def test_winograd_takes_images_in_turn(small_tiles: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_winograd, "_MOST_SCRATCH_BYTES", 20_000)
    problem = ConvProblem.parse("n5c3h7w6-o4k3s1p1-f32-residual-bias")
    algorithm = registry.find("conv2d.winograd-f4x3.f32@cuda")
    assert algorithm._cut(problem).images == 2
    check(problem, "winograd-f4x3")


def test_winograd_refuses_what_it_cannot_do() -> None:
    algorithm = registry.find("conv2d.winograd-f4x3.f32@cuda")
    for text, reason in (
        ("n1c3h6w7-o5k3s2p1-f32", "needs stride 1"),
        ("n1c3h6w7-o5k3s1p1d2-f32", "without dilation"),
        ("n1c3h6w7-o5k5s1p1-f32", "needs a kernel of 3x3"),
        ("n1c3h6w7-o6k3s1p1g3-f32", "more than one input channel a group"),
        ("n1c0h6w7-o5k3s1p1-f32", "needs something to sum"),
        ("n1c600h3000w3000-o5k3s1p1-f32", "of less than"),
    ):
        assert reason in algorithm.supports(ConvProblem.parse(text)).reason, text


#: Any amount of border, and axes of one element.
BORDERS = (
    "n1c3h6w7-o5k3s1p1-f32-reflect-bias-relu",
    "n2c2h2w3-o3k3s1p7:5x4-f32-symmetric-residual",
    "n1c2h3w1-o4k3s1p6x2:3-f64-circular",
    "n1c2h3w4-o3k3s1p2-f16-replicate-channels_last-silu",
)


@pytest.mark.parametrize("text", BORDERS)
@pytest.mark.parametrize("family", ["direct", "implicit-gemm", *cuda_winograd.FAMILIES])
def test_borders(text: str, family: str, small_tiles: None, gpu: EmulatedGpu) -> None:
    gpu.kernels.discard("border.pad")
    check(ConvProblem.parse(text), family, integers=not family.startswith("winograd"))
    assert "border.pad" in gpu.kernels


@pytest.mark.parametrize("text", ["n2c3w9-o3k5s2p6d2g3-f32-reflect", "n1c2d2h3w4-o4k3s1p2g2-f32-circular-bias"])
def test_borders_of_depthwise(text: str) -> None:
    check(ConvProblem.parse(text), "depthwise", integers=True)


def drawn_small(data: st.DataObject, **more: Any) -> ConvProblem:
    problem = data.draw(problems(**more))
    assume(problem.flops < 60_000 and problem.c_in)
    return problem


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_direct(data: st.DataObject) -> None:
    check(drawn_small(data, dtypes=("f32", "f64", "f16")), "direct")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_drawn_depthwise(data: st.DataObject) -> None:
    problem = drawn_small(data, dtypes=("f32", "f64", "f16"), depthwise=True)
    assume(registry.find(f"{problem.op}.depthwise.{problem.dtype}@cuda").supports(problem))
    check(problem, "depthwise")


@pytest.mark.usefixtures("small_tiles")
def test_drawn_implicit_gemm() -> None:
    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(data=st.data())
    def drawn(data: st.DataObject) -> None:
        problem = drawn_small(data, dtypes=("f32", "f64", "f16"))
        assume(problem.flops < 30_000 and problem.groups <= 2)
        check(problem, "implicit-gemm")

    drawn()


@pytest.mark.parametrize("family", ["direct", "implicit-gemm", "depthwise", *cuda_winograd.FAMILIES])
def test_nan_and_infinities_stay_where_the_definition_has_them(family: str, small_tiles: None) -> None:
    """Infinite weights over the border's zeros are NaN (hazards 41 and 42)."""
    text = "n1c3h6w7-o3k3s1p1g3-f32-bias" if family == "depthwise" else "n1c2h6w7-o5k3s1p1-f32-bias"
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=False)
    data.x[0, 0, 1, 2], data.x[0, 1, 4, 0], data.w[1, 0, 0, 2] = np.nan, np.inf, np.inf
    check(problem, family, data=data)


@pytest.mark.parametrize("family", ["direct", "implicit-gemm", "depthwise", "winograd-f2x3"])
def test_strides_of_any_kind_are_read_in_place(family: str, small_tiles: None) -> None:
    problem = ConvProblem.parse("n2c3h6w7-o3k3s1p1g3-f32" if family == "depthwise" else "n2c3h6w7-o5k3s1p1-f32")
    data = make_data(problem, integers=True)
    wide = np.full((2, 8, 14, 7), np.nan, np.float32)
    view = wide[:, 1:7:2, 12::-2][:, :, :6, ::-1]
    view[...] = data.x
    out = np.full((*problem.out_shape[::-1],), np.nan, np.float32).transpose()
    result = convolve(problem, replace(data, x=view), f"conv2d.{family}.f32@cuda", out=OnGpu(out))
    np.testing.assert_array_equal(result, reference.conv(problem, data.x, data.w))
    assert result is out


POOLS = (
    "n2c3h7w9-k2s2p0-f32",
    "n1c2h8w9-k3s2p1-f32-ceil",
    "n1c3h6w5-k3x2s1p1x0-f64",
    "n2c4h6w7-k3s2p1-f32-channels_last",
    "n1c2h9w8-k3s3p1-f16-ceil",
    "n1c2w20-k4s3p2-f32",
    "n1c2d4h5w6-k2x3x1s2x1x2p1x1x0-f32",
    "n1c3h4w4-k1s2p0-f64",
    "n0c3h8w8-k2s2p0-f32",
)
MAXIMA = ("n1c2h9w8-k3x2s1x2p1d2-f32", "n1c1h3w3-k2s2p1d3-f32")
ADAPTIVE = ("n2c3h7w9-to3x4-f32", "n1c2d5h4w6-to2x5x3-f16", "n1c4h6w5-to6x7-f64-channels_last", "n2c2w10-to4-f32")
AVERAGES = ("n1c2h8w9-k3s2p1-f32-ceil-without_pad", "n1c2h8w9-k3s2p1-f32-over5")


def pool_arguments(problem: PoolProblem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if problem.adaptive is not None:
        return (problem.adaptive,), {}
    found: dict[str, Any] = {"stride": problem.stride, "padding": problem.padding, "ceil_mode": problem.ceil_mode}
    if problem.kind == "max":
        return (problem.kernel,), found | {"dilation": problem.dilation}
    more = {"count_include_pad": problem.count_include_pad, "divisor_override": problem.divisor}
    return (problem.kernel,), found | more


def pool_data(problem: PoolProblem, integers: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    dtype = {"f16": np.float16, "f32": np.float32, "f64": np.float64}[problem.dtype]

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        values = (rng.integers(-4, 5, shape) if integers else rng.standard_normal(shape)).astype(dtype)
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(values, 1, -1)), -1, 1) if problem.channels_last else values

    return draw(problem.x_shape), draw(problem.out_shape)


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize(
    ("op", "text"),
    [("max_pool", text) for text in (*POOLS, *MAXIMA)]
    + [("avg_pool", text) for text in (*POOLS, *AVERAGES)]
    + [(f"adaptive_{kind}_pool", text) for kind in ("max", "avg") for text in ADAPTIVE],
)
def test_pools(op: str, text: str, integers: bool) -> None:
    rank = sum(axis in text.partition("-")[0] for axis in "dhw")
    problem = PoolProblem.parse(f"{op}{rank}d", text)
    x, _ = pool_data(problem, integers)
    algorithm = registry.find(f"{problem.op}.gather.{problem.dtype}@cuda")
    function, (how, words) = getattr(pyconv, problem.op), pool_arguments(problem)
    expected, _ = reference.pool(problem, x)
    allowed = 0.0
    if problem.kind == "avg":
        sizes, _ = reference.pool(problem, np.abs(x))
        allowed = algorithm.error_bound(problem) * sizes + np.finfo(x.dtype).eps / 2 * np.abs(expected)
    forget()
    result = function(OnGpu(x), *how, algorithm=algorithm.id, **words)
    compare(result.array, expected, allowed, x.dtype)
    if result.array.size:
        assert ran(algorithm)
    if problem.kind == "max":
        with_indices = replace(problem, indices=True)
        values, indices = function(OnGpu(x), *how, return_indices=True, **words)
        expected, places = reference.pool(with_indices, x)
        compare(values.array, expected, 0.0, x.dtype)
        np.testing.assert_array_equal(indices.array, places)


@pytest.mark.parametrize("given_indices", [True, False], ids=["indices", "x"])
@pytest.mark.parametrize("text", [*POOLS, MAXIMA[0], *ADAPTIVE])
def test_gradient_of_maxima(text: str, given_indices: bool) -> None:
    rank = sum(axis in text.partition("-")[0] for axis in "dhw")
    forward = PoolProblem.parse(f"{'adaptive_' if '-to' in text else ''}max_pool{rank}d", text)
    problem = replace(forward, gradient=True, indices=given_indices)
    x, g = pool_data(problem, integers=True)
    _, indices = reference.pool(replace(forward, indices=True), x)
    how, words = pool_arguments(problem)
    result = getattr(pyconv.grad, forward.op)(
        OnGpu(g), OnGpu(x), *how, indices=OnGpu(indices) if given_indices else None,
        algorithm=f"{problem.op}.gather.{problem.dtype}@cuda", **words,
    )[0]  # fmt: skip
    expected = reference.pool_grad(problem, g, x, indices if given_indices else None)
    compare(result.array, expected, 0.0, x.dtype)


@pytest.mark.parametrize("text", [*POOLS, *AVERAGES, *ADAPTIVE])
def test_gradient_of_averages(text: str) -> None:
    rank = sum(axis in text.partition("-")[0] for axis in "dhw")
    op = f"{'adaptive_' if '-to' in text else ''}avg_pool{rank}d"
    problem = replace(PoolProblem.parse(op, text), gradient=True)
    x, g = pool_data(problem, integers=False)
    algorithm = registry.find(f"{problem.op}.gather.{problem.dtype}@cuda")
    how, words = pool_arguments(problem)
    result = getattr(pyconv.grad, op)(OnGpu(g), OnGpu(x), *how, algorithm=algorithm.id, **words)[0]
    expected = reference.pool_grad(problem, g, None, None)
    sizes = reference.pool_grad(problem, np.abs(g), None, None)
    allowed = algorithm.error_bound(problem) * np.abs(sizes) + np.finfo(x.dtype).eps / 2 * np.abs(expected)
    compare(result.array, expected, allowed, x.dtype)


def test_indices_outside_their_windows_count_and_outside_their_planes_are_refused() -> None:
    """Hazard 14: compared in 64 bits before they are narrowed."""
    g = np.arange(1, 7, dtype=np.float32).reshape(1, 1, 2, 3)
    x = np.zeros((1, 1, 4, 6), np.float32)
    indices = np.array([0, 0, 23, 5, 14, 14], np.int64).reshape(1, 1, 2, 3)
    result = pyconv.grad.max_pool2d(OnGpu(g), OnGpu(x), 2, indices=OnGpu(indices))[0].array
    expected = np.zeros(24, np.float32)
    np.add.at(expected, indices.ravel(), g.ravel())
    np.testing.assert_array_equal(result.ravel(), expected)
    for bad in (-1, 24, 2**32 + 3):
        indices[0, 0, 1, 1] = bad
        with pytest.raises(InvalidProblem, match="an index lies outside its plane of 24"):
            pyconv.grad.max_pool2d(OnGpu(g), OnGpu(x), 2, indices=OnGpu(indices))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_unpooling(rank: int) -> None:
    """The last of several elements with one index wins."""
    rng = np.random.default_rng(rank)
    sizes, large = (3, 2, 4)[-rank:], (6, 4, 8)[-rank:]
    x = rng.integers(1, 9, (2, 3, *sizes)).astype(np.float32)
    indices = rng.integers(0, np.prod(large), x.shape)
    result = getattr(pyconv, f"max_unpool{rank}d")(OnGpu(x), OnGpu(indices), 2)
    np.testing.assert_array_equal(result.array, reference.unpool(x, indices, large))
    assert backend.last_kernel() == "pool_gather_f32__cuda"
    g = rng.standard_normal((2, 3, *large)).astype(np.float16)
    half = x.astype(np.float16)
    result = getattr(pyconv.grad, f"max_unpool{rank}d")(OnGpu(g), OnGpu(half), OnGpu(indices), 2)[0]
    np.testing.assert_array_equal(result.array, reference.unpool_grad(g, indices))
    for bad in (-1, int(np.prod(large)), 2**32):
        indices[1, 2, ...] = bad
        with pytest.raises(InvalidProblem, match="an index lies outside its plane"):
            getattr(pyconv, f"max_unpool{rank}d")(OnGpu(x), OnGpu(indices), 2)
        with pytest.raises(InvalidProblem, match="an index lies outside its plane"):
            getattr(pyconv.grad, f"max_unpool{rank}d")(OnGpu(g), OnGpu(half), OnGpu(indices), 2)


def test_nan_in_maxima() -> None:
    """Hazard 24: a NaN is the maximum, of several the last."""
    x = np.array([[[[1, np.nan, 3, -np.inf], [np.nan, 2, -np.inf, -np.inf]]]], np.float32)
    values, indices = pyconv.max_pool2d(OnGpu(x), 2, return_indices=True)
    np.testing.assert_array_equal(values.array, [[[[np.nan, 3]]]])
    assert indices.array.ravel().tolist() == [4, 2]


def test_an_ordinary_call_chooses_by_itself(gpu: EmulatedGpu) -> None:
    gpu.streams.clear()
    x, w = np.ones((2, 3, 4, 5), np.float32), np.ones((2, 3, 3, 3), np.float32)
    result = pyconv.conv2d(OnGpu(x), OnGpu(w), padding=1)
    np.testing.assert_array_equal(result.array, pyconv.conv2d(x, w, padding=1))
    assert gpu.streams == {7}, "on the caller's stream"
    explained = pyconv.explain(pyconv.conv2d, OnGpu(x), OnGpu(w), padding=1)
    assert explained.algorithm.endswith("@cuda")
    assert all(c.id.endswith("@cuda") for c in explained.candidates)


def test_unbatched_and_out() -> None:
    x, w = np.ones((3, 4, 5), np.float32), np.ones((2, 3, 3, 3), np.float32)
    expected = pyconv.conv2d(x, w)
    assert pyconv.conv2d(OnGpu(x), OnGpu(w)).array.shape == expected.shape
    out = OnGpu(np.empty_like(expected))
    assert pyconv.conv2d(OnGpu(x), OnGpu(w), out=out) is out
    np.testing.assert_array_equal(out.array, expected)
    pooled = pyconv.max_pool2d(OnGpu(x), 2).array
    np.testing.assert_array_equal(pooled, pyconv.max_pool2d(x, 2))


def test_the_residual_may_be_the_output() -> None:
    x, w = np.ones((1, 3, 4, 5), np.float32), np.ones((2, 3, 1, 1), np.float32)
    out = OnGpu(np.full((1, 2, 4, 5), 2, np.float32))
    assert pyconv.conv2d(OnGpu(x), OnGpu(w), residual=out, out=out) is out
    assert (out.array == 5).all()


def test_memory_that_overlaps_is_refused() -> None:
    memory = np.ones((1, 3, 4, 5), np.float32)
    x, w = OnGpu(memory[:, :2]), OnGpu(np.ones((2, 2, 1, 1), np.float32))
    with pytest.raises(InvalidProblem, match="out overlaps another array"):
        pyconv.conv2d(x, w, out=OnGpu(memory[:, 1:]))
    with pytest.raises(InvalidProblem, match="out overlaps another array"):
        pyconv.conv2d(x, w, residual=OnGpu(memory[:, 1:]), out=OnGpu(memory[:, 1:][..., ::-1]))


def test_host_and_gpu_arrays_do_not_mix() -> None:
    x, w, bias = np.ones((1, 3, 4, 5), np.float32), np.ones((2, 3, 1, 1), np.float32), np.ones(2, np.float32)
    out = np.ones((1, 2, 4, 5), np.float32)
    for call_ in (
        lambda: pyconv.conv2d(OnGpu(x), w),
        lambda: pyconv.conv2d(x, OnGpu(w)),
        lambda: pyconv.conv2d(x, w, OnGpu(bias)),
        lambda: pyconv.conv2d(x, w, residual=OnGpu(out)),
        lambda: pyconv.conv2d(OnGpu(x), OnGpu(w), residual=out),
        lambda: pyconv.conv2d(OnGpu(x), OnGpu(w), out=out),
        lambda: pyconv.grad.avg_pool2d(x, OnGpu(x), 1),
        lambda: pyconv.grad.max_pool2d(OnGpu(x), x, 1),
        lambda: pyconv.grad.max_pool2d(OnGpu(x), OnGpu(x), 1, indices=np.zeros((1, 3, 4, 5), np.int64)),
    ):
        with pytest.raises(TypeError, match=r"all arrays must be in one memory: .* on a GPU, .* on the host"):
            call_()
    with pytest.raises(TypeError, match=r"out must be a numpy\.ndarray"):
        pyconv.conv2d(x, w, out=OnGpu(out))


def test_arrays_on_two_gpus_do_not_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter((0, 1))
    monkeypatch.setitem(
        device.KINDS, "cuda_device", device.KINDS["cuda_device"]._replace(gpu=lambda like: next(numbers))
    )
    with pytest.raises(TypeError, match="must be on one GPU"):
        pyconv.conv2d(OnGpu(np.ones((1, 1, 2, 2), np.float32)), OnGpu(np.ones((1, 1, 1, 1), np.float32)))


def test_each_memory_has_its_algorithms() -> None:
    x, w = np.ones((1, 3, 4, 5), np.float32), np.ones((2, 3, 1, 1), np.float32)
    with pytest.raises(Unsupported, match="works on arrays in a GPU's memory, these are in the host's"):
        pyconv.conv2d(x, w, algorithm="conv2d.direct.f32@cuda")
    with pytest.raises(Unsupported, match="works on arrays in the host's memory, these are in a GPU's"):
        pyconv.conv2d(OnGpu(x), OnGpu(w), algorithm="conv2d.reference.f32@numpy")
    explained = pyconv.explain(pyconv.conv2d, x, w)
    assert not explained.algorithm.endswith("@cuda")
    reasons = {c.id: c.reason for c in explained.candidates if c.id.endswith("@cuda")}
    assert len(reasons) == 8
    assert reasons["conv2d.direct.f32@cuda"] == "works on arrays in a GPU's memory, these are in the host's"


def test_what_no_kernel_does_is_said() -> None:
    x, w = OnGpu(np.ones((1, 3, 4, 5), np.float32)), OnGpu(np.ones((2, 3, 1, 1), np.float32))
    with pytest.raises(Unsupported, match="of less than"):
        pyconv.explain(pyconv.conv2d, x, w, padding=40000)


def test_a_gpu_that_is_not_there_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedGpu, "why_not", lambda self: "no GPU: its driver (libcuda.so.1) is not installed")
    call.plan_for.cache_clear()
    x, w = np.ones((1, 3, 4, 5), np.float32), np.ones((2, 3, 1, 1), np.float32)
    reasons = [c.reason for c in pyconv.explain(pyconv.conv2d, x, w).candidates if c.id.startswith("conv2d.d")]
    assert "no GPU: its driver (libcuda.so.1) is not installed" in reasons
    with pytest.raises(Unsupported, match="no GPU: its driver"):
        pyconv.conv2d(OnGpu(x), OnGpu(w))


def test_without_numba_cuda_the_reason_is_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmulatedGpu, "is_installed", lambda self: False)
    with pytest.raises(ImportError, match=r"numba-cuda is not installed; pip install 'pyconv-kernels\[cuda\]'"):
        list(numba_cuda.algorithms())


def test_algorithms_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [id for id in pyconv.algorithms() if id.endswith("@cuda")]
    assert "conv2d.implicit-gemm.f32@cuda" in listed
    assert "max_pool3d-grad-x.gather.f16@cuda" in listed
    assert {id.partition(".")[0] for id in listed} >= {"conv1d", "adaptive_max_pool2d", "max_unpool3d-grad-x"}
    assert "numba_cuda" not in sys.modules or "numba.cuda" in sys.modules


def test_long_activations_take_tiles_that_keep_their_sums_in_registers() -> None:
    for activation, largest in ((None, 128), ("relu", 128), ("silu", 64), ("tanh", 64)):
        problem = ConvProblem(
            n=32, c_in=64, c_out=256, spatial=(56, 56), kernel=(3, 3), stride=(1, 1), padding=((1, 1), (1, 1)),
            dilation=(1, 1), activation=activation,
        )  # fmt: skip
        assert numba_cuda._tile_of(problem).bm == largest
        assert numba_cuda._tile_of(replace(problem, residual=True)).bm == 64
