"""FFT convolution on GPUs: the same undecorated kernels on the emulator, and cuFFT by stand-ins for its libraries."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.machinery
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from checker import compare, make_data, tolerance
from cuda_device import EmulatedGpu, OnGpu, gpu
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_cuda import check, convolve, drawn_small

import pyconv
from pyconv import ConvProblem, Unsupported, reference, registry
from pyconv.backends import cuda_fft, cufft, fft
from pyconv.backends.gpu import Place
from pyconv.kernels.cuda import FFT_LENGTHS, fft_product
from pyconv.kernels.cuda import fft as kernels
from pyconv.ops import call

__all__ = ["gpu"]

CASES = (
    "n1c5h6w7-o9k3s1p1-f32-bias-relu",
    "n3c3h9w8-o5k3x2s2x1p1x0-f32-residual-leaky_relu=0.5",
    "n2c4h7w8-o6k3s1p1:2x0d2g2-f32-bias-tanh",
    "n1c1h9w20-o3k5s1p2-f64-bias-sigmoid",
    "n1c4w40-o6k9s2p4d2-f32-elu",
    "n1c2d3h4w5-o2k3x2x1s1x2x1p1x1x0-f64-bias-silu",
    "n1c2h13w15-o3k7s3x2p3d2x3-f32-hardswish",  # several residues, and what a stride leaves out
    "n3c3w50-o3k20s1p7g3-f16-bias-relu6",
    "n2c8h5w6-o4k3s1p1-f16-channels_last-bias-residual",
    "n1c2h3w3-o2k3s1000000p0-f32",  # hazard 9
    "n1c2h2w2-o1k3s1p5-f32-bias",  # windows in the border alone
    "n1c2h3w4-o2k1s1p0-f32",
    "n1c2h7w9-o3k3s1p2-f32-bias-reflect-relu",
    "n1c2w9-o2k5s2p3:1-f64-circular",
    "n1c2d6h3w5-o2k3x1x3s1p1x0x1-f32",  # where the kernels of processors take h for d
)


@pytest.fixture
def small_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of the product of which a small problem has several."""
    sizes = {4: (fft_product.Tile(8, 4, 4, 2, 2, 2),), 8: (fft_product.Tile(4, 4, 4, 2, 2, 2),)}
    monkeypatch.setattr(fft_product, "TILES", sizes)


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Make every problem take one tile."""

    def force(lengths: tuple[int, int, int], part: tuple[int, int, int] | None = None) -> None:
        def work(problem: ConvProblem, by_library: bool) -> cuda_fft.Work:
            reach = [axis.reach for axis in fft.axes_of(problem).values()]
            named = cuda_fft.by_axis(problem, lengths)
            return cuda_fft.Work(problem, fft.Tile(*named, *(part or reach), False), by_library)

        monkeypatch.setattr(cuda_fft, "_work", work)
        call.plan_for.cache_clear()

    yield force
    call.plan_for.cache_clear()


@pytest.mark.parametrize("text", CASES)
def test_convolutions(text: str, small_product: None) -> None:
    check(ConvProblem.parse(text), "fft")


@pytest.mark.parametrize(
    "lengths",
    [*((1, 1, n) for n in FFT_LENGTHS[3:]), (1, 64, 64), (1, 16, 32), (1, 32, 16), (1, 128, 1), (4, 8, 16), (16, 1, 4)],
    ids=lambda lengths: "x".join(map(str, lengths)),
)
def test_every_length_of_transform(lengths: tuple[int, int, int], forced: Callable[..., None]) -> None:
    """Both halves of a pair, both ways; in float64, where an error of the order would be as plain as one of a sign."""
    forced(lengths)
    dtype = "f64" if np.prod(lengths) <= 2048 else "f32"
    taps = [max(1, n // 4) for n in lengths]
    sizes = [n + 3 if n > 1 else 1 for n in lengths]
    d, h, w = sizes
    rank3, kernel = lengths[0] > 1, "x".join(map(str, taps[-3 if lengths[0] > 1 else -2 :]))
    check(ConvProblem.parse(f"n1c1{f'd{d}' if rank3 else ''}h{h}w{w}-o1k{kernel}s1p0-{dtype}"), "fft")


def test_the_table_holds_what_the_passes_ask_for() -> None:
    for lengths in (kernels.Lengths(1, 16, 64), kernels.Lengths(4, 8, 32), kernels.Lengths(1, 1, 4096)):
        passes = kernels.plan(lengths).reshape(-1, 10)
        assert len(passes) == sum(len(kernels.radices(n)) for n in lengths)
        ends = [at + (7 if eight else 3) * 2**m for eight, *_, m, at in passes.tolist() if m]
        assert max(ends) == kernels.table(lengths, np.float32).size // 2
    for n in FFT_LENGTHS:
        assert np.prod(kernels.radices(n)) == n


@pytest.mark.parametrize("part", [(1, 1, 1), (1, 2, 3), (1, 5, 4)])
def test_kernels_in_parts(part: tuple[int, int, int], forced: Callable[..., None], small_product: None) -> None:
    """Every part is a term of its own, with strides and dilations too."""
    forced((1, 8, 8), part)
    for text in ("n1c1h10w11-o2k5x7s1p2", "n1c2h9w11-o1k4s3x2p1d1x2"):
        check(ConvProblem.parse(f"{text}-f32"), "fft", integers=True)


def test_drawn(small_product: None) -> None:
    @settings(max_examples=12, deadline=None, derandomize=True)
    @given(data=st.data())
    def drawn(data: st.DataObject) -> None:
        problem = drawn_small(data, dtypes=("f32", "f64", "f16"))
        assume(registry.find(f"{problem.op}.fft.{problem.dtype}@cuda").supports(problem))
        work = cuda_fft._work(problem, False)
        assume(work.tile.points * (work.inputs + problem.c_out) * (work.pairs + problem.c_out) < 8_000)
        check(problem, "fft")

    drawn()


def check_not_finite(text: str, family: str) -> None:
    """Infinite weights over the border's zeros are NaN (hazards 41 and 42); bounds are those of the finite values."""
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=False)
    algorithm = registry.find(f"conv2d.{family}.f32@cuda")
    allowed = tolerance(problem, data, algorithm, np.zeros(problem.out_shape))
    data.x[0, 0, 1, 2], data.x[0, 1, 4, 0], data.w[1, 0, 0, 2] = np.nan, np.inf, np.inf
    result = convolve(problem, data, algorithm.id)
    with np.errstate(all="ignore"):
        compare(result, reference.conv(problem, data.x, data.w, data.bias, None), allowed, data.x.dtype)


@pytest.mark.parametrize("text", ["n1c2h6w7-o5k3s1p1-f32-bias", "n1c3h6w7-o3k3s1p1g3-f32-bias"])
def test_nan_and_infinities_stay_where_the_definition_has_them(text: str, small_product: None) -> None:
    check_not_finite(text, "fft")


def test_sums_that_overflow_in_a_transform_only(small_product: None) -> None:
    """A tile's frequencies are sums of all its points: beyond float32 where no output is."""
    problem = ConvProblem.parse("n1c1h6w7-o2k3s1p1-f32")
    data = make_data(problem, integers=False)
    data.x[...] = np.sign(data.x) * 3e37
    data.w[...] = data.w / 100
    check(problem, "fft", data=data)


@pytest.mark.parametrize("text", ["n2c3h6w7-o5k3s1p1-f32-residual", "n2c3h6w7-o3k3s1p1g3-f32-residual"])
def test_strides_of_any_kind_and_the_residual_as_output(text: str, small_product: None) -> None:
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=False)
    expected = convolve(problem, data, "conv2d.fft.f32@cuda")
    wide = np.full((2, 8, 14, 7), np.nan, np.float32)
    view = wide[:, 1:7:2, 12::-2][:, :, :6, ::-1]
    view[...] = data.x
    out = np.empty(problem.out_shape[::-1], np.float32).transpose()
    out[...] = data.residual
    result = OnGpu(out)
    found = pyconv.conv2d(
        OnGpu(view), OnGpu(data.w), padding=1, groups=problem.groups, residual=result, out=result,
        algorithm="conv2d.fft.f32@cuda",
    )  # fmt: skip
    assert found is result
    np.testing.assert_array_equal(out, expected)


def test_pairs_in_turns_give_the_same_bits(monkeypatch: pytest.MonkeyPatch, small_product: None) -> None:
    problem = ConvProblem.parse("n5c2h6w5-o3k3s1p1-f32-bias")
    data = make_data(problem, integers=False)
    ample = convolve(problem, data, "conv2d.fft.f32@cuda")
    monkeypatch.setattr(cuda_fft, "_MOST_SPECTRA", 1)
    call.plan_for.cache_clear()
    assert cuda_fft._work(problem, False).pairs_at_once() == 1 < cuda_fft._work(problem, False).pairs
    np.testing.assert_array_equal(convolve(problem, data, "conv2d.fft.f32@cuda"), ample)


@pytest.mark.parametrize("item", [4, 8])
@pytest.mark.parametrize("which", [0, 1])
def test_tiles_of_the_product(item: int, which: int, gpu: EmulatedGpu) -> None:
    """Each tile, whole and ragged, as matrices of its own for each frequency."""
    tile = fft_product.TILES[item][which]
    points, c_out, terms, pairs, groups = tile.f + 1, tile.bm + 1, tile.bk + 1, 3, 2
    real = kernels_type(item)
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.integers(-4, 5, (*shape, points, 2)).astype(f"f{item}")

    w, x = draw(groups, c_out, terms), draw(groups, terms, pairs)
    y = np.full((groups, c_out, pairs, points, 2), np.nan, w.dtype)
    grid = fft_product.blocks_multiply(tile, points, c_out, pairs, groups)
    arguments = ((points, c_out, terms, pairs), *(flat_of(a) for a in (w, x, y)))
    gpu.launch(fft_product.multiply_spectra(real, tile), grid, tile.threads, 1, None, 7, arguments)
    products = np.einsum("gotf,gtpf->gopf", w[..., 0] + 1j * w[..., 1], x[..., 0] + 1j * x[..., 1])
    np.testing.assert_array_equal(y[..., 0] + 1j * y[..., 1], products)


def kernels_type(item: int) -> Any:
    """Numba's word for a real number of so many bytes."""
    return registry.find(f"conv2d.fft.f{8 * item}@cuda").real


def flat_of(array: np.ndarray) -> Any:
    """An array as kernels are given it."""
    from pyconv.backends.gpu import Flat

    return Flat(array.ctypes.data, array.size, array.dtype, array)


def test_large_products_take_large_tiles() -> None:
    first, last = fft_product.TILES[4]
    assert cuda_fft.product_tile(64, 64, 4) == first
    assert cuda_fft.product_tile(64, 3, 4) == cuda_fft.product_tile(4, 64, 4) == last


def test_tables_are_put_once(gpu: EmulatedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu.kept.clear()
    copies: list[int] = []
    put = Place.put
    monkeypatch.setattr(Place, "put", lambda self, values: (copies.append(1), put(self, values))[1])
    problem = ConvProblem.parse("n1c1h6w7-o1k3s1p1-f32")
    data = make_data(problem, integers=True)
    for _ in range(2):
        convolve(problem, data, "conv2d.fft.f32@cuda")
        assert len(copies) == len(gpu.kept) == 2


def planned(x: tuple[int, ...], w: tuple[int, ...], **words: Any) -> str:
    """What an ordinary call takes, on arrays of no elements of their own."""
    arrays = [OnGpu(np.broadcast_to(np.float32(1), shape)) for shape in (x, w)]
    return pyconv.explain(pyconv.conv2d, *arrays, **words).algorithm


def test_large_kernels_are_its_own() -> None:
    assert planned((8, 64, 128, 128), (64, 64, 31, 31), padding=15).startswith("conv2d.fft.")
    assert planned((32, 96, 56, 56), (96, 1, 31, 31), padding=15, groups=96).startswith("conv2d.fft.")
    for c in (64, 256, 512):
        assert planned((32, c, 56, 56), (c, c, 3, 3), padding=1) == "conv2d.winograd-f4x3.f32@cuda"
    assert planned((32, 96, 56, 56), (96, 1, 7, 7), padding=3, groups=96) == "conv2d.depthwise.f32@cuda"
    with pyconv.options(accuracy="strict"):
        assert ".fft." not in planned((8, 64, 128, 128), (64, 64, 31, 31), padding=15)


def test_weights_whose_spectra_are_too_large_are_refused() -> None:
    problem = ConvProblem.parse("n1c8192h64w64-o8192k3s1p1-f32")
    assert "spectra fit 1073741824 bytes" in registry.find("conv2d.fft.f32@cuda").supports(problem).reason


# ---- cuFFT: libraries that are NumPy on the emulator's memory


def module(name: str, **contents: Any) -> types.ModuleType:
    """A module that is found and imported like an installed one."""
    found = types.ModuleType(name)
    found.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(found).update(contents)
    return found


def numbers_at(pointer: int, count: int, dtype: str) -> np.ndarray:
    size = count * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_byte * size).from_address(pointer), dtype)


class OfCupy:
    """As much of cupy.ndarray as is asked for."""

    def __init__(self, shape: tuple[int, ...], dtype: str, memory: Any) -> None:
        owned, offset = memory
        pointer, size, self.owner, _ = owned
        count = int(np.prod(shape))
        assert size == count * np.dtype(dtype).itemsize, "the memory is the array's, all of it"
        self.numbers = numbers_at(pointer + offset, count, dtype).reshape(shape)

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self.numbers.ctypes.data)


def cupy_modules(where: list[Any], in_place: bool) -> dict[str, types.ModuleType]:
    def transform(function: Any) -> Any:
        def run(array: OfCupy, axes: tuple[int, ...], norm: str, overwrite_x: bool) -> OfCupy:
            assert overwrite_x
            with np.errstate(all="ignore"):
                found = function(array.numbers, axes=axes, norm=norm).astype(array.numbers.dtype)
            if in_place:
                array.numbers[...] = found
                return array
            other: OfCupy = object.__new__(OfCupy)
            other.numbers = found
            array.numbers[...] = np.nan  # a library may destroy what it was given
            return other

        return run

    @contextlib.contextmanager
    def entered(*what: Any) -> Any:
        where.append(what)
        yield

    cuda = types.SimpleNamespace(
        Device=lambda number: entered("gpu", number),
        ExternalStream=lambda pointer, number: entered("stream", pointer, number),
        UnownedMemory=lambda *given: given,
        MemoryPointer=lambda owned, offset: (owned, offset),
        runtime=types.SimpleNamespace(getDevice=lambda: 0),
    )
    names = {"fftn": transform(np.fft.fftn), "ifftn": transform(np.fft.ifftn)}
    inner = module("cupyx.scipy.fft", **names)
    return {
        "cupy": module("cupy", cuda=cuda, ndarray=OfCupy),
        "cupyx": module("cupyx"),
        "cupyx.scipy": module("cupyx.scipy", fft=inner),
        "cupyx.scipy.fft": inner,
    }


class OfNvmath:
    """As much of nvmath.bindings.cufft as is asked for."""

    class Type:
        C2C, Z2Z = 0x29, 0x69

    def __init__(self) -> None:
        self.plans: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.made = 0

    def create(self) -> int:
        self.made += 1
        return self.made

    def destroy(self, plan: int) -> None:
        del self.plans[plan]

    def make_plan_many(
        self, plan: int, rank: int, n: Any, inembed: Any, istride: int, idist: int, onembed: Any, ostride: int,
        odist: int, kind: int, batch: int,
    ) -> None:  # fmt: skip
        assert rank == len(n)
        assert inembed == onembed == n
        assert istride == ostride == 1
        assert idist == odist == np.prod(n)
        self.plans[plan] = (batch, *n), kind

    def set_stream(self, plan: int, stream: int) -> None:
        self.streams.add(stream)

    def _transform(self, plan: int, source: int, target: int, direction: int, kind: int, dtype: str) -> None:
        assert source == target
        shape, planned_kind = self.plans[plan]
        assert planned_kind == kind
        numbers = numbers_at(source, int(np.prod(shape)), dtype).reshape(shape)
        axes = tuple(range(1, len(shape)))
        way = np.fft.fftn if direction == -1 else np.fft.ifftn
        with np.errstate(all="ignore"):
            numbers[...] = way(numbers, axes=axes, norm="backward" if direction == -1 else "forward")

    def exec_c2c(self, plan: int, source: int, target: int, direction: int) -> None:
        self._transform(plan, source, target, direction, self.Type.C2C, "complex64")

    def exec_z2z(self, plan: int, source: int, target: int, direction: int) -> None:
        self._transform(plan, source, target, direction, self.Type.Z2Z, "complex128")


@pytest.fixture(params=["cupy in place", "cupy elsewhere", "nvmath"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """One library alone is installed; what it has seen."""
    seen: Any = [] if request.param.startswith("cupy") else OfNvmath()
    if isinstance(seen, list):
        modules = cupy_modules(seen, request.param == "cupy in place")
    else:
        bindings = module("nvmath.bindings")
        modules = {"nvmath": module("nvmath", bindings=bindings), "nvmath.bindings": bindings}
        modules["nvmath.bindings.cufft"] = seen
    for name, found in modules.items():
        monkeypatch.setitem(sys.modules, name, found)
    monkeypatch.setattr(cufft, "_plans", cufft._Plans())
    chosen = request.param.partition(" ")[0]
    monkeypatch.setattr(cufft, "LIBRARIES", {chosen: cufft.LIBRARIES[chosen]})
    call.plan_for.cache_clear()
    yield seen
    call.plan_for.cache_clear()


@pytest.mark.parametrize("text", CASES)
def test_convolutions_by_a_library(text: str, library: Any, small_product: None) -> None:
    check(ConvProblem.parse(text), "fft-cufft", integers=False)
    seen = {what[1] for what in library if what[0] == "stream"} if isinstance(library, list) else library.streams
    assert seen == {7}, "on the caller's stream"


def test_drawn_by_a_library(library: Any, small_product: None) -> None:
    @settings(max_examples=8, deadline=None, derandomize=True)
    @given(data=st.data())
    def drawn(data: st.DataObject) -> None:
        problem = drawn_small(data, dtypes=("f32", "f64", "f16"))
        assume(registry.find(f"{problem.op}.fft-cufft.{problem.dtype}@cuda").supports(problem))
        work = cuda_fft._work(problem, True)
        assume(work.tile.points * (work.inputs + problem.c_out) * (work.pairs + problem.c_out) < 8_000)
        check(problem, "fft-cufft")

    drawn()


def test_libraries_see_nan_and_infinities(library: Any, small_product: None) -> None:
    check_not_finite("n1c2h6w7-o5k3s1p1-f32-bias", "fft-cufft")


def test_tiles_of_a_library_have_any_size(
    library: Any, forced: Callable[..., None], small_product: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that are no power of two, whole planes and, in turns, tiles."""
    monkeypatch.setattr(cuda_fft, "_MOST_SPECTRA", 1)
    for lengths in ((1, 10, 9), (1, 7, 15)):
        forced(lengths)
        check(ConvProblem.parse("n2c2h8w7-o2k3s1p1-f64-bias"), "fft-cufft")
    assert {cuda_fft._smooth(n) for n in (1, 11, 13, 31, 127, 211)} == {1, 12, 14, 32, 128, 216}


def test_plans_are_kept_and_given_back() -> None:
    library, plans = OfNvmath(), cufft._Plans()
    for count in (1, 2, 1, *range(3, cufft._MOST_PLANS + 2)):
        plans.of(library, 0, cufft.Batch(count, (4, 4), False))
    assert library.made == cufft._MOST_PLANS + 1
    assert len(library.plans) == cufft._MOST_PLANS
    assert 1 in library.plans, "used again"
    assert 2 not in library.plans, "used longest ago"


def test_without_a_library_the_reason_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cufft, "LIBRARIES", {"no_such_library": cufft.LIBRARIES["cupy"]})
    call.plan_for.cache_clear()
    x, w = OnGpu(np.ones((1, 1, 4, 5), np.float32)), OnGpu(np.ones((1, 1, 3, 3), np.float32))
    with pytest.raises(Unsupported, match=r"needs cuFFT by CuPy or nvmath-python; pip install cupy-cuda13x"):
        pyconv.conv2d(x, w, algorithm="conv2d.fft-cufft.f32@cuda")
    call.plan_for.cache_clear()
