"""``interop.scipy`` against SciPy: every mode, boundary and type."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

scipy_signal: Any = pytest.importorskip("scipy.signal")
scipy_ndimage: Any = pytest.importorskip("scipy.ndimage")

from pyconv.interop.scipy import ndimage, patch, signal  # noqa: E402

TYPES = ("float32", "float64", "complex64", "complex128", "int8", "uint8", "int32", "int64")
BOUND = {"float32": 3e-6, "complex64": 3e-6}
#: As SciPy had them before anything here was patched.
THEIRS = {
    name: getattr(scipy_signal, name)
    for name in ("convolve", "correlate", "convolve2d", "correlate2d", "fftconvolve", "oaconvolve")
}


def sample(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "iu":
        low, high = (0, 256) if dtype == "uint8" else (-128, 128) if dtype == "int8" else (-999, 999)
        return random.integers(low, high, shape).astype(dtype)
    values = random.standard_normal(shape)
    return (values + 1j * random.standard_normal(shape) if "complex" in dtype else values).astype(dtype)


def wide(array: np.ndarray) -> np.ndarray:
    """Integers as int64: what SciPy does not overflow in."""
    return array.astype(np.int64) if array.dtype.kind in "iub" else array


def agree(ours: np.ndarray, theirs: np.ndarray, magnitude: float) -> None:
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    if theirs.dtype.kind in "iu":
        np.testing.assert_array_equal(ours, theirs)
    else:
        bound = BOUND.get(str(theirs.dtype), 1e-12) * magnitude
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=bound)


def magnitude(x: np.ndarray, kernel: np.ndarray) -> float:
    return float(np.abs(wide(x)).max() * np.abs(wide(kernel)).sum()) + 1e-30


SHAPES = [((9,), (4,)), ((4,), (9,)), ((6, 7), (3, 4)), ((3, 4), (6, 7)), ((6, 3), (2, 5)), ((4, 5, 6), (2, 3, 1))]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("method", ["auto", "direct", "fft"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_signal(name: str, mode: str, method: str, dtype: str) -> None:
    for first, second in SHAPES:
        a, b = sample(first, dtype), sample(second, dtype, 1)
        try:
            # SciPy's FFT rounds where its integers are large; its sums do not
            theirs = THEIRS[name](wide(a), wide(b), mode, "direct")
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                getattr(signal, name)(a, b, mode, method)
            continue
        agree(getattr(signal, name)(a, b, mode, method), theirs, magnitude(a, b))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("boundary", ["fill", "wrap", "symm"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("name", ["convolve2d", "correlate2d"])
def test_planes(name: str, mode: str, boundary: str, dtype: str) -> None:
    for first, second in (((6, 7), (3, 4)), ((5, 5), (2, 2)), ((7, 6), (5, 5)), ((3, 3), (3, 3)), ((2, 3), (4, 5))):
        a, b = sample(first, dtype), sample(second, dtype, 1)
        for fillvalue in (0, 3):
            theirs = THEIRS[name](wide(a), wide(b), mode, boundary, fillvalue)
            ours = getattr(signal, name)(a, b, mode, boundary, fillvalue)
            agree(ours, theirs, magnitude(np.append(np.abs(wide(a)), fillvalue), b))


@pytest.mark.parametrize("name", ["fftconvolve", "oaconvolve"])
@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "int32"])
def test_along_axes(name: str, mode: str, dtype: str) -> None:
    cases: list[tuple[tuple[int, ...], tuple[int, ...], Any]] = [
        ((9,), (4,), None), ((6, 7), (3, 4), None), ((5, 9), (1, 4), 1), ((5, 9), (3, 1), [0]),
        ((3, 8, 9), (1, 3, 4), (1, 2)),
        ((3, 8, 9), (1, 3, 4), (-1, -2)), ((8, 3, 9), (3, 1, 2), (0, 2)), ((2, 3, 4, 12), (1, 1, 1, 5), -1),
        ((5, 9), (5, 4), 1),
    ]  # fmt: skip
    for first, second, axes in cases:
        a, b = sample(first, dtype), sample(second, dtype, 1)
        theirs = THEIRS[name](a, b, mode, axes=axes)
        ours = getattr(signal, name)(a, b, mode, axes=axes)
        agree(ours, theirs, 30 * magnitude(a, b))


MODES = sorted(ndimage.MODES)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve", "correlate"])
def test_filters(name: str, mode: str, dtype: str) -> None:
    weight_types = {dtype, "float64"} if np.dtype(dtype).kind in "iuf" else {dtype}
    for (first, second), weight_type in itertools.product(
        (((9,), (4,)), ((9,), (3,)), ((6, 7), (3, 4)), ((3, 4), (7, 6)), ((4, 5, 6), (2, 3, 1)), ((2, 2), (5, 5))),
        sorted(weight_types),
    ):
        x, w = sample(first, dtype), sample(second, weight_type, 1)
        for origin in (0, 1, -1):
            for cval in (0.0, 2.0):
                if any(not -(size // 2) <= origin <= (size - 1) // 2 for size in second):
                    continue
                theirs = getattr(scipy_ndimage, name)(wide(x), wide(w), None, mode, cval, origin)
                ours = getattr(ndimage, name)(x, w, None, mode, cval, origin)
                agree(ours, theirs, magnitude(np.append(np.abs(wide(x)), cval), w))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["convolve1d", "correlate1d"])
def test_filters_along_an_axis(name: str, mode: str, dtype: str) -> None:
    for shape, length, axis in (((9,), 4, 0), ((5, 7), 3, 0), ((5, 7), 4, -1), ((3, 4, 5), 2, 1), ((2, 2, 3, 9), 5, 3)):
        x, w = sample(shape, dtype), sample((length,), dtype, 1)
        for origin in (0, -1):
            theirs = getattr(scipy_ndimage, name)(wide(x), wide(w), axis, None, mode, 1.0, origin)
            ours = getattr(ndimage, name)(x, w, axis, None, mode, 1.0, origin)
            agree(ours, theirs, magnitude(np.append(np.abs(wide(x)), 1.0), w))


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(1, 6), st.sampled_from(MODES),
    st.integers(-2, 2), st.booleans(),
)  # fmt: skip
def test_random_filters(h: int, w: int, kh: int, kw: int, mode: str, origin: int, turned: bool) -> None:
    x, kernel = sample((h, w), "float64"), sample((kh, kw), "float64", 2)
    name = "convolve" if turned else "correlate"
    try:
        theirs = getattr(scipy_ndimage, name)(x, kernel, None, mode, 0.5, origin)
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error))):
            getattr(ndimage, name)(x, kernel, None, mode, 0.5, origin)
        return
    agree(getattr(ndimage, name)(x, kernel, None, mode, 0.5, origin), theirs, magnitude(np.append(x, 0.5), kernel))


def test_integers_do_not_wrap_around() -> None:
    x, w = np.full((5, 5), 200, np.uint8), np.ones((3, 3), np.uint8)
    assert scipy_signal.convolve2d(x, w, "valid")[0, 0] == 8
    assert signal.convolve2d(x, w, "valid")[0, 0] == 1800
    assert signal.convolve(x, w, "valid")[0, 0] == 1800
    assert ndimage.convolve(x, w)[2, 2] == 1800


def test_integers_that_float64_cannot_hold_are_scipys() -> None:
    x = np.array([2**40, 2**41, 3], np.int64)
    w = np.array([2**14 + 1, 1], np.int64)
    np.testing.assert_array_equal(signal.convolve(x, w), THEIRS["convolve"](x, w))


@pytest.mark.parametrize("kernel", [(3, 3), (13, 13), (61, 61)])
@pytest.mark.parametrize("bits", [8, 11, 20])
def test_large_sums_of_integers_are_exact(bits: int, kernel: tuple[int, int]) -> None:
    """Neither float32 nor the rounding of an FFT may show: all of a sign, near what each can hold."""
    random = np.random.default_rng(bits)
    x, w = (2**bits - random.integers(1, 2 ** (bits // 2), shape) for shape in ((90, 95), kernel))
    theirs = THEIRS["convolve"](x, w, "valid", "direct")
    np.testing.assert_array_equal(signal.convolve(x, w, "valid"), theirs)
    np.testing.assert_array_equal(signal.convolve2d(x, w, "valid"), theirs)


@pytest.mark.parametrize("cval", [300, -1, 255, 2.5])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "bool", "int64"])
def test_what_continues_integers_may_be_larger_than_they(dtype: str, cval: float) -> None:
    x, w = (np.arange(12).reshape(3, 4) % 7).astype(dtype), np.ones((3, 3), np.int64)
    theirs = scipy_ndimage.correlate(x.astype(np.int64), w, mode="constant", cval=cval)
    np.testing.assert_array_equal(ndimage.correlate(x, w, mode="constant", cval=cval), theirs)


@pytest.mark.parametrize("types", list(itertools.product(["float32", "complex64", "complex128"], repeat=2)))
def test_complex_and_real_together(types: tuple[str, str]) -> None:
    for first, second, axes in (((5, 20), (1, 4), 1), ((3, 8, 9), (1, 3, 4), (1, 2))):
        a, b = sample(first, types[0])[..., ::2], sample(second, types[1], 1)[..., ::2]
        for mode in ("full", "same", "valid"):
            # (SciPy transforms each in its own precision)
            theirs = THEIRS["fftconvolve"](a.astype(complex), b.astype(complex), mode, axes=axes)
            dtype = np.result_type(a, b)
            theirs = theirs.astype(dtype) if dtype.kind == "c" else theirs.real.astype(dtype)
            agree(signal.fftconvolve(a, b, mode, axes=axes), theirs, 30 * magnitude(a, b))
            agree(signal.convolve(a, b, mode), THEIRS["convolve"](a, b, mode, "direct"), magnitude(a, b))


def test_the_pages_table_holds() -> None:
    """Every function, mode, boundary and type: within its bound, and on the page."""
    from benchmarks import scipy_calls

    found, page = scipy_calls.equality(), scipy_calls.PAGE.read_text()
    assert {name for name, _ in found} == {
        f"{m.__name__.rpartition('.')[2]}.{n}" for m in (signal, ndimage) for n in m.__all__
    }
    for (name, words), differences in found.items():
        assert f"| `{name}`, {words} |" in page, "run python -m benchmarks.scipy_calls --equality --write"
        for dtype, value in differences.items():
            assert value <= scipy_calls.bound_of(name, dtype), (name, words, dtype)
    for call in scipy_calls.CALLS:
        assert f"| `{call.name}`, " in page


def test_outputs() -> None:
    x, w = sample((6, 7), "float32"), sample((3, 3), "float32", 1)
    out = np.full((6, 7), np.nan, np.float64)
    assert ndimage.correlate(x, w, out) is out
    np.testing.assert_allclose(out, scipy_ndimage.correlate(x, w, np.float64), atol=1e-5)
    assert ndimage.correlate(x, w, np.float64).dtype == np.float64
    out = np.full((6, 7), np.nan, np.float32)
    assert ndimage.correlate1d(x, w[0], 0, out) is out
    np.testing.assert_allclose(out, scipy_ndimage.correlate1d(x, w[0], 0), atol=1e-5)
    with pytest.raises((ValueError, RuntimeError)):
        ndimage.correlate(x, w, np.empty((2, 2)))


def test_nan_stays_in_its_windows() -> None:
    x = np.zeros((32, 32))
    x[10, 10] = np.nan
    assert np.isnan(signal.fftconvolve(x, np.ones((3, 3)), "same")).sum() == 9
    assert np.isnan(THEIRS["fftconvolve"](x, np.ones((3, 3)), "same")).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.convolve([1.0], [1.0], "middle"),
        lambda m: m.convolve(np.ones(3), np.ones((3, 3))),
        lambda m: m.convolve2d(np.ones(3), np.ones(3)),
        lambda m: m.convolve2d(np.ones((3, 3)), np.ones((2, 4)), "valid"),
        lambda m: m.correlate([1.0], [1.0], "full", "slow"),
        lambda m: m.fftconvolve(np.ones((3, 3)), np.ones((3, 3)), axes=5),
        lambda m: m.convolve2d(np.ones((3, 3)), np.ones((2, 2)), "full", "mirror"),
    ],
)
def test_mistakes_are_scipys_to_tell(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(scipy_signal)
    with pytest.raises(type(theirs.value)) as ours:
        call(signal)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.correlate(np.ones(3), np.ones((3, 3))),
        lambda m: m.correlate(np.ones(3), np.ones(3), origin=2),
        lambda m: m.correlate(np.ones(3), np.ones(3), mode="mirrored"),
        lambda m: m.convolve1d(np.ones((3, 3)), np.ones(3), axis=2),
    ],
)
def test_mistakes_of_filters_are_scipys_to_tell(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(scipy_ndimage)
    with pytest.raises(type(theirs.value)):
        call(ndimage)


def test_what_scipy_alone_can_do() -> None:
    x = np.ones((2, 2, 3, 3, 4))
    np.testing.assert_allclose(signal.convolve(x, x[:1, :1, :2, :2, :2]), THEIRS["convolve"](x, x[:1, :1, :2, :2, :2]))
    words = np.array([1, 2, 3], object)
    np.testing.assert_array_equal(signal.convolve(words, words), THEIRS["convolve"](words, words))
    assert signal.convolve(3.0, 4.0) == 12.0


def test_patching() -> None:
    x = sample((40, 50), "float64")
    smooth = scipy_ndimage.gaussian_filter(x, 1.5)
    names = [(scipy_signal, signal, "fftconvolve"), (scipy_ndimage, ndimage, "correlate1d")]
    with contextlib.suppress(KeyError), patch():
        for theirs, ours, name in names:
            assert getattr(theirs, name) is getattr(ours, name)
        with patch():
            pass
        assert scipy_signal.convolve is signal.convolve
        np.testing.assert_allclose(scipy_ndimage.gaussian_filter(x, 1.5), smooth, atol=1e-12)
        np.testing.assert_allclose(scipy_signal.convolve(x, x[:3, :3]), THEIRS["convolve"](x, x[:3, :3]), atol=1e-11)
        raise KeyError
    for name, function in THEIRS.items():
        assert getattr(scipy_signal, name) is function
    assert scipy_ndimage.correlate1d is not ndimage.correlate1d


def test_patching_from_many_threads() -> None:
    failed = []

    def work() -> None:
        for _ in range(50):
            with patch():
                if scipy_signal.convolve is not signal.convolve:
                    failed.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert scipy_signal.convolve is THEIRS["convolve"]


def test_a_program_runs_unchanged(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom scipy.signal import convolve\n"
        "print(convolve.__module__, sys.argv[1:], convolve([1.0, 2.0], [1.0, 1.0]).tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pyconv.interop.scipy", str(program), "--fast"], env=subprocess_environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout.strip() == "pyconv.interop.scipy.signal ['--fast'] [1.0, 3.0, 2.0]", done.stderr
    done = subprocess.run(
        [sys.executable, "-m", "pyconv.interop.scipy"], env=subprocess_environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "usage" in done.stderr
