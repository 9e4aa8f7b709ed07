"""FFT convolution: every length of transform, kernels in parts, sums in blocks, accuracy, and what is not finite."""

from __future__ import annotations

import numpy as np
import pytest
from checker import DTYPES, compare, make_data
from hypothesis import given, settings
from hypothesis import strategies as st

import pyconv
from pyconv import ConvProblem, reference, registry
from pyconv.algorithm import Call
from pyconv.backends import fft
from pyconv.ops import call as call_module

FUNCTIONS = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
BACKENDS = sorted({id.partition("@")[2].partition("-")[0] for id in pyconv.algorithms() if ".fft." in id})
pytestmark = pytest.mark.skipif(not BACKENDS, reason="no backend with an FFT kernel here")


def settings_of(problem: ConvProblem) -> dict[str, object]:
    """Keywords of the public function."""
    padding = problem.padding
    return {
        "stride": problem.stride,
        "padding": tuple(a for a, _ in padding) if all(a == b for a, b in padding) else padding,
        "dilation": problem.dilation,
        "groups": problem.groups,
        "padding_mode": problem.padding_mode,
    }


def preferred(backend: str, op: str, dtype: str) -> str:
    """Id of the FFT kernel that "auto" may take."""
    found = [id for id in pyconv.algorithms() if id.startswith(f"{op}.fft.{dtype}@{backend}")]
    return next(id for id in found if registry.find(id).preferred)


def check(problem: ConvProblem, backend: str, integers: bool = False, **options: object) -> None:
    """Compare with the definition, under the algorithm's own bound."""
    data = make_data(problem, integers)
    algorithm = registry.find(preferred(backend, problem.op, problem.dtype))
    with pyconv.options(**options):
        result = FUNCTIONS[problem.rank](data.x, data.w, algorithm=algorithm.id, **settings_of(problem))
    expected = reference.conv(problem, data.x, data.w, None, None)
    # errors of a transform are independent of each other: far below the bound, which is for the worst of them
    scale = (
        np.abs(data.x).max()
        * np.sqrt(np.square(data.w.astype(np.float64)).sum(axis=tuple(range(1, data.w.ndim)))).max()
    )
    epsilon = {"f32": 2.0**-24, "f64": 2.0**-53}[problem.dtype]
    compare(result, expected, 60 * epsilon * scale, DTYPES[problem.dtype])


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch):
    """Make every problem take one tile."""

    def forget() -> None:
        call_module.plan_for.cache_clear()
        if "numba" in BACKENDS:
            from pyconv.backends import numba_cpu

            numba_cpu._cut.cache_clear()

    def force(tile: fft.Tile) -> None:
        monkeypatch.setattr(fft, "tile", lambda *_: tile)
        forget()

    yield force
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("n", [16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024])
def test_every_length_of_transform(backend: str, dtype: str, n: int, forced) -> None:
    """Along w, along h, and both as one line."""
    for tile, text in (
        (fft.Tile(1, 16, n, 1, 5, 9, False), f"n1c1h30w{n + 50}-o1k5x9s1p2"),
        (fft.Tile(1, n, 16, 1, 9, 5, False), f"n1c1h{n + 50}w30-o1k9x5s1p2"),
        (fft.Tile(1, n, 16, 1, 1, 30, True), f"n1c1w{16 * n + 99}-o1k30s1p3"),
    ):
        forced(tile)
        check(ConvProblem.parse(f"{text}-{dtype}"), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("d", [1, 8, 12, 16, 24, 48, 96])
def test_every_length_along_the_depth(backend: str, d: int, forced) -> None:
    forced(fft.Tile(d, 16, 16, min(d, 5), 3, 4, False))
    check(ConvProblem.parse("n1c2d60h20w21-o3k5x3x4s1p1-f32"), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("part", [(1, 1), (2, 3), (5, 4), (16, 16)])
def test_kernels_in_parts(backend: str, part: tuple[int, int], forced) -> None:
    """Every part is an input channel of its own, with strides and dilations too."""
    forced(fft.Tile(1, 16, 32, 1, *part, False))
    for text in ("n1c2h40w50-o3k11x13s1p3", "n2c1h40w50-o1k5s2p3d3", "n1c2h40w50-o2k4s3x2p1d1x2g2"):
        check(ConvProblem.parse(f"{text}-f32"), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kilobytes", [200, 400, 800, 3000])
def test_sums_in_blocks(backend: str, kilobytes: int) -> None:
    """Scratch for a few spectra only: the same bits as with plenty."""
    problem = ConvProblem.parse("n1c40h60w50-o9k7s1p3-f32")
    data = make_data(problem, integers=False)
    algorithm = preferred(backend, "conv2d", "f32")
    ample = pyconv.conv2d(data.x, data.w, padding=3, algorithm=algorithm)
    try:
        with pyconv.options(max_workspace=f"{8 * kilobytes}KB"):
            small = pyconv.conv2d(data.x, data.w, padding=3, algorithm=algorithm)
    except pyconv.Unsupported:
        assert kilobytes < 800
        return
    np.testing.assert_array_equal(ample, small)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("text", "limit", "cut"),
    [
        ("n1c1h1500w1600-o1k255s1p127-f32", 64 << 20, None),
        # (parts of the kernel, and of these a few at a time: a worker's share holds one or two spectra besides sums)
        ("n1c1h700w900-o1k255s1p127-f32", 2 << 20, fft.Tile(1, 64, 64, 1, 30, 30, False)),
        ("n1c3h400w500-o3k61s1p30-f64", 4 << 20, fft.Tile(1, 64, 64, 1, 31, 31, False)),
    ],
)
def test_planes_far_larger_than_the_scratch(backend: str, text: str, limit: int, cut: fft.Tile | None, forced) -> None:
    """A sample of the outputs beside sums in float64, the corners among them."""
    if cut:
        forced(cut)
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=False)
    algorithm = preferred(backend, problem.op, problem.dtype)
    with pyconv.options(max_workspace=limit, threads=2):
        used = pyconv.explain(
            pyconv.conv2d, data.x, data.w, padding=problem.padding[0][0], algorithm=algorithm
        ).candidates[0]
        result = pyconv.conv2d(data.x, data.w, padding=problem.padding[0][0], algorithm=algorithm)
    assert used.workspace_bytes <= limit
    k, pad = problem.kernel[0], problem.padding[0][0]
    padded = np.pad(data.x[0].astype(np.float64), [(0, 0), (pad, pad), (pad, pad)])
    h, w = (size - 1 for size in problem.out_spatial)
    places = [(0, 0), (0, w), (h, 0), (h, w), *np.random.default_rng(2).integers(0, (h, w), (40, 2))]
    exact = [
        np.tensordot(data.w.astype(np.float64), padded[:, i : i + k, j : j + k], axes=((1, 2, 3), (0, 1, 2)))
        for i, j in places
    ]
    found = [result[0, :, i, j] for i, j in places]
    scale = np.abs(data.x).max() * np.sqrt(np.square(data.w.astype(np.float64)).sum(axis=(1, 2, 3))).max()
    np.testing.assert_allclose(
        found, exact, rtol=0, atol=60 * scale * {"f32": 2.0**-24, "f64": 2.0**-53}[problem.dtype]
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("text", ["n3c3h70w80-o5k9s1p4", "n1c6h50w40-o6k7s1p3g6", "n1c2w5000-o3k200s1p0"])
def test_the_same_bits_for_any_number_of_threads(backend: str, text: str) -> None:
    problem = ConvProblem.parse(f"{text}-f32")
    data = make_data(problem, integers=False)
    algorithm = preferred(backend, problem.op, "f32")
    results = []
    for threads in (1, 2, 3, 8):
        with pyconv.options(threads=threads):
            results.append(FUNCTIONS[problem.rank](data.x, data.w, algorithm=algorithm, **settings_of(problem)))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("text", ["n2c2h60w70-o3k9s1p4", "n1c1w9000-o1k300s1p9", "n1c1d20h20w20-o1k5s1p2"])
def test_only_windows_that_hold_it_are_not_finite(backend: str, value: float, text: str) -> None:
    """Hazard 41: beside one bad element everything else is as it was without it."""
    problem = ConvProblem.parse(f"{text}-f32")
    data = make_data(problem, integers=False)
    x = data.x.copy()
    at = (0, 0, *(size // 2 for size in problem.spatial))
    x[at] = value
    algorithm = preferred(backend, problem.op, "f32")
    w = np.sign(data.w) + (data.w == 0)
    with np.errstate(over="ignore"):
        result = FUNCTIONS[problem.rank](x, w, algorithm=algorithm, **settings_of(problem))
    with np.errstate(over="ignore", invalid="ignore"):
        expected = reference.conv(problem, x, w, None, None).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(result), np.isinf(expected))
    if not np.isfinite(value):
        finite = np.isfinite(expected)
        np.testing.assert_allclose(result[finite], expected[finite], rtol=0, atol=2e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_that_are_not_finite(backend: str) -> None:
    x = np.ones((1, 1, 40, 40), np.float32)
    w = np.ones((2, 1, 5, 5), np.float32)
    w[1, 0, 2, 3] = np.inf
    y = pyconv.conv2d(x, w, algorithm=preferred(backend, "conv2d", "f32"))
    assert np.isposinf(y[0, 1]).all()
    np.testing.assert_allclose(y[0, 0], 25, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("text", "units"),
    [("n1c1h300w300-o1k31s1p0", 6), ("n1c1h400w400-o1k101s1p0", 8), ("n1c1w200000-o1k16384s1p0", 11)],
)
def test_accuracy(backend: str, text: str, units: int) -> None:
    """Root mean square errors in units of rounding: they grow with log N, those of direct summation with its root."""
    for dtype, epsilon in (("f32", 2.0**-24), ("f64", 2.0**-53)):
        problem = ConvProblem.parse(f"{text}-{dtype}")
        data = make_data(problem, integers=False)
        result = FUNCTIONS[problem.rank](data.x, data.w, algorithm=preferred(backend, problem.op, dtype))[0, 0]
        x, w = data.x[0, 0].astype(np.longdouble), data.w[0, 0].astype(np.longdouble)
        places = np.random.default_rng(1).integers(0, result.shape, (60, result.ndim))
        exact = [np.sum(x[tuple(slice(i, i + k) for i, k in zip(at, w.shape, strict=True))] * w) for at in places]
        errors = np.array([result[tuple(at)] - value for at, value in zip(places, exact, strict=True)])
        assert np.sqrt(np.mean(errors**2) / np.mean(np.square(exact))) < units * epsilon


@given(data=st.data())
@settings(max_examples=60)
def test_tiles_are_chosen_for_every_problem(data: st.DataObject) -> None:
    """Of lengths that the kernels have, within the default scratch; parts fit."""
    rank = data.draw(st.integers(1, 3))
    axes = []
    for _ in range(rank):
        kernel, dilation = data.draw(st.integers(1, 3000)), data.draw(st.integers(1, 40))
        stride = data.draw(st.integers(1, 40))
        axes.append((dilation * (kernel - 1) + 1 + data.draw(st.integers(0, 100000)), kernel, stride, (0, 0), dilation))
    spatial, kernel_, stride_, padding_, dilation_ = map(tuple, zip(*axes, strict=True))
    problem = ConvProblem(
        data.draw(st.integers(1, 3)),
        4,
        6,
        spatial,
        kernel_,
        stride_,
        padding_,
        dilation_,
        data.draw(st.sampled_from((1, 2))),
        dtype=data.draw(st.sampled_from(("f32", "f64"))),
    )
    tile = fft.tile(problem, data.draw(st.sampled_from((2, 4, 8, 16))), 2)
    for backend in BACKENDS:
        algorithm = registry.find(preferred(backend, problem.op, problem.dtype))
        assert algorithm.workspace(Call.typical(problem, 8, 64 << 20)) is not None
    assert tile.h % 16 == tile.w % 16 == 0
    lengths = (1, 1, tile.points) if tile.line else (tile.d, tile.h, tile.w)
    for n, part in zip(lengths, (tile.part_d, tile.part_h, tile.part_w), strict=True):
        assert 1 <= part <= n
    assert tile.line == (rank == 1)


def test_long_kernels_are_done_by_fft() -> None:
    """What "auto" takes, and never for 3x3."""
    rng = np.random.default_rng(0)

    def taken(shape: tuple[int, ...], w_shape: tuple[int, ...]) -> str:
        x, w = (rng.standard_normal(s).astype(np.float32) for s in (shape, w_shape))
        with pyconv.options(accuracy="standard"):
            return pyconv.explain(FUNCTIONS[len(shape) - 2], x, w).algorithm

    assert ".fft." in taken((1, 1, 512, 512), (1, 1, 63, 63))
    assert ".fft." in taken((1, 1, 100000), (1, 1, 4096))
    assert ".fft." in taken((1, 1, 48, 48, 48), (1, 1, 15, 15, 15))
    assert ".fft." not in taken((1, 64, 56, 56), (64, 64, 3, 3))
    assert ".fft." not in taken((1, 1, 512, 512), (1, 1, 3, 3))
    with pyconv.options(accuracy="strict"):
        x, w = (rng.standard_normal((1, 1, size, size)).astype(np.float32) for size in (200, 41))
        assert ".fft." not in pyconv.explain(pyconv.conv2d, x, w).algorithm
