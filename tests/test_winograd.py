"""Winograd's matrices, exactly; its accuracy; and values that are not finite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checker import DTYPES, make_data

import pyconv
from pyconv import ConvProblem, reference, registry
from pyconv.kernels import winograd_matrices as winograd

FUNCTIONS = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}
VARIANTS = list(winograd.VARIANTS.values())


def of_backend(backend: str, word: str = "winograd") -> list[str]:
    """Ids of the variants that "auto" may take."""
    found = [id for id in pyconv.algorithms() if f".{word}" in id and f"@{backend}" in id and "-grad-" not in id]
    return [id for id in found if registry.find(id).preferred]


BACKENDS = sorted({id.partition("@")[2].partition("-")[0] for id in pyconv.algorithms() if ".winograd" in id})


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_the_identity_is_exact(variant: winograd.Variant) -> None:
    """sum over q of A^T[i][q] G[q][j] B^T[q][s] is 1 where s = i + j and 0 elsewhere, in exact arithmetic."""
    m = winograd.matrices(variant)
    for i in range(variant.m):
        for j in range(variant.r):
            for s in range(variant.alpha):
                total = winograd.ZERO
                for q in range(variant.alpha):
                    total = total + m.at[i][q] * m.g[q][j] * m.bt[q][s]
                assert total == (winograd.ONE if s == i + j else winograd.ZERO), (i, j, s)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_rows_of_a_pair_share_their_halves(variant: winograd.Variant) -> None:
    """What the kernels rely on: +p and -p agree in even columns and differ in sign in odd ones."""
    m = winograd.matrices(variant)
    for q in range(1, variant.alpha - 1, 2):
        for column in range(variant.alpha):
            other = m.bt[q + 1][column]
            assert m.bt[q][column] == (other if column % 2 == 0 else -other)
        for row in range(variant.m):
            other = m.at[row][q + 1]
            assert m.at[row][q] == (other if row % 2 == 0 else -other)
    assert all(v == winograd.ZERO for v in m.bt[0][1::2])
    assert all(v == winograd.ZERO for v in m.bt[variant.alpha - 1][0::2])


def test_the_header_is_up_to_date(root: Path) -> None:
    """csrc/winograd_matrices.h is what the matrices say."""
    assert (root / "csrc" / "winograd_matrices.h").read_text() == winograd.c_header()


def test_numbers_become_the_nearest_float64() -> None:
    number = winograd.Number
    half_root = winograd.POINTS[6][1]
    assert float(half_root * half_root) == 0.5
    assert float(half_root) == np.sqrt(0.5)
    assert half_root * half_root.inverse() == winograd.ONE
    assert float(number(half_root.a - 3, half_root.b)) == pytest.approx(np.sqrt(0.5) - 3, rel=1e-15)


def relative_rms(problem: ConvProblem, algorithm: str, seed: int = 0) -> float:
    """Root mean square of the error, over that of the exact result."""
    data = make_data(problem, integers=False, seed=seed)
    expected = reference.conv(problem, data.x, data.w, None, None)
    result = FUNCTIONS[problem.rank](data.x, data.w, padding=problem.padding, algorithm=algorithm)
    return float(np.sqrt(np.mean((result - expected) ** 2) / np.mean(expected**2)))


#: Relative rms errors in float32 at 64, 256 and 512 channels by published simulation; a kernel may have half more.
PUBLISHED = {
    "winograd-f2x3": (1.45e-7, 1.8e-7, 2.1e-7),
    "winograd-f4x3": (4.8e-7, 5.6e-7, 6.7e-7),
    "winograd-f6x3": (1.95e-6, 2.3e-6, 2.8e-6),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("word", PUBLISHED)
@pytest.mark.parametrize("index", range(3), ids=("64", "256", "512"))
def test_accuracy_is_the_published_one(backend: str, word: str, index: int) -> None:
    problem = ConvProblem.parse(f"n1c{(64, 256, 512)[index]}h24w24-o16k3s1p1-f32")
    (algorithm,) = [id for id in of_backend(backend, word) if id.startswith("conv2d.") and ".f32" in id]
    assert relative_rms(problem, algorithm) < 1.5 * PUBLISHED[word][index]


STANDARD = [
    f"n1c{c}{spatial}-o16{kernel}-f32"
    for spatial, kernel in (
        ("h24w24", "k3s1p1"),
        ("h24w24", "k5s1p2"),
        ("h24w24", "k1x3s1p0x1"),
        ("h24w24", "k7x1s1p3x0"),
        ("w400", "k3s1p1"),
        ("w400", "k5s1p2"),
        ("w400", "k7s1p3"),
    )
    for c in (4, 16, 64, 256)
]


@pytest.mark.parametrize("text", STANDARD)
def test_standard_accuracy_is_four_times_direct_at_most(text: str) -> None:
    """Hazard 42, for every variant that "standard" permits."""
    problem = ConvProblem.parse(text)
    direct = np.mean([relative_rms(problem, "direct", seed) for seed in range(3)])
    for backend in BACKENDS:
        for id in of_backend(backend):
            algorithm = registry.find(id)
            if algorithm.op != problem.op or algorithm.dtype != "f32" or not algorithm.supports(problem):
                continue
            if algorithm.accuracy(problem) == "standard":
                error = np.mean([relative_rms(problem, id, seed) for seed in range(3)])
                assert error < 4 * direct, (id, error / direct)


def test_accuracy_decides_who_may_be_taken() -> None:
    shapes = ((1, 64, 56, 56), (64, 64, 3, 3))

    def words(**options: str) -> dict[str, str]:
        with pyconv.options(**options):
            found = pyconv.explain(pyconv.conv2d, *shapes, padding=1)
        return {c.id: c.reason for c in found.candidates if c.id in of_backend("c")} | {"taken": found.algorithm}

    strict, standard, fast = (words(accuracy=a) for a in ("strict", "standard", "fast"))
    assert "winograd" not in strict["taken"]
    assert all(
        "accuracy" in reason
        for id, reason in strict.items()
        if "winograd-f" in id and "conv2d" in id and "x3.f32" in id
    )
    assert "winograd-f4x3" in standard["taken"]
    six = next(id for id in of_backend("c", "winograd-f6x3") if id.startswith("conv2d.") and ".f32" in id)
    assert standard[six] == "needs accuracy='fast', here 'standard'"
    assert "accuracy" not in fast.get(six, "")


def test_a_family_is_a_choice_of_variants() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 16, 12, 12)).astype(np.float32)
    w = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    by_family = pyconv.explain(pyconv.conv2d, x, w, algorithm="winograd").algorithm
    assert ".winograd-f" in by_family
    np.testing.assert_array_equal(pyconv.conv2d(x, w, algorithm="winograd"), pyconv.conv2d(x, w, algorithm=by_family))
    # spelled out, a variant is taken whatever the accuracy asked for
    with pyconv.options(accuracy="strict"):
        assert pyconv.conv2d(x, w, algorithm="winograd-f6x3").shape == (1, 16, 10, 10)
        with pytest.raises(pyconv.Unsupported, match="accuracy"):
            pyconv.conv2d(x, w, algorithm="winograd")


NOT_FINITE = ("n2c9h17w19-o21k3s1p1", "n1c5h9w30-o18k1x7s1p0x3", "n1c3h15w14-o4k5s1p2", "n1c4w60-o9k3s1p1")


@pytest.mark.parametrize("values", [(np.nan,), (np.inf,), (-np.inf, np.inf), (3e38,)], ids=str)
@pytest.mark.parametrize("text", NOT_FINITE)
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_what_is_not_finite_stays_in_its_windows(values: tuple[float, ...], text: str, dtype: str) -> None:
    """Hazard 41: exactly the outputs that direct summation makes NaN or Inf, and every other one as good as ever."""
    problem = replace(ConvProblem.parse(f"{text}-{dtype}"), bias=True)
    for into in ("x", "w", "bias"):
        data = make_data(problem, integers=True)
        array = getattr(data, into)
        places = np.random.default_rng(1).choice(array.size, len(values), replace=False)
        array.reshape(-1)[places] = np.asarray(values, DTYPES[dtype])

        def run(algorithm: str) -> np.ndarray:
            convolve = FUNCTIONS[problem.rank]
            return convolve(data.x, data.w, data.bias, padding=problem.padding, algorithm=algorithm)  # noqa: B023

        expected = run("direct")
        broken = ~np.isfinite(expected)
        assert not broken.all()
        for backend in BACKENDS:
            for id in of_backend(backend):
                algorithm = registry.find(id)
                if algorithm.op != problem.op or algorithm.dtype != dtype or not algorithm.supports(problem):
                    continue
                result = run(id)
                np.testing.assert_array_equal(~np.isfinite(result), broken, err_msg=f"{id} {into}")
                np.testing.assert_array_equal(result[broken], expected[broken], err_msg=id)
                if not np.isfinite(values[0]):  # a huge finite value may cost its own tile some accuracy
                    np.testing.assert_allclose(result[~broken], expected[~broken], rtol=1e-4, atol=1e-3, err_msg=id)
