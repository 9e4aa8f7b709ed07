"""``pyconv.interop.scipy`` beside SciPy: how equal the results are, and how much sooner they come.

``python -m benchmarks.scipy_calls`` prints both tables of docs/scipy.md, ``--write`` puts them there; ``--equality`` or
``--speed`` make one of them, a pattern chooses calls.

Both sides get the same arguments in this process, a run of one after a run of the other, each after a call that is not
counted; the ratio is SciPy's median over ours. Integers are given to SciPy as int64, since its results in the narrow
types wrap around and are not ours. SciPy's FFTs are called as they come, with one worker, and once more with as many as
there are threads.
"""

from __future__ import annotations

import argparse
import itertools
import re
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal

from benchmarks import machine
from pyconv.interop.scipy import ndimage, signal
from pyconv.options import current

__all__ = ["CALLS", "PAGE", "TYPES", "Call", "bound_of", "equality", "main", "speed"]

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scipy.md"
TYPES = ("float32", "float64", "complex64", "complex128", "int8", "uint8", "int32", "int64")
#: Largest differences, relative to the largest |x| times the sum of |kernel|; of what SciPy does by FFT thirty times.
BOUND = {"float32": 3e-6, "complex64": 3e-6, "float64": 1e-12, "complex128": 1e-12}
OURS = {"signal": signal, "ndimage": ndimage}
THEIRS = {
    f"{word}.{name}": getattr(module, name)
    for word, module in (("signal", scipy.signal), ("ndimage", scipy.ndimage))
    for name in OURS[word].__all__
}
MODES = ("full", "same", "valid")
BOUNDARIES = ("fill", "wrap", "symm")
PLANES = (((6, 7), (3, 4)), ((7, 6), (5, 5)), ((3, 4), (3, 3)))
ARRAYS = (((9,), (4,)), ((6, 7), (3, 4)), ((4, 5, 6), (2, 3, 1)), ((40, 41), (11, 12)))


def ours(name: str) -> Callable[..., Any]:
    """Return our function of this name."""
    module, _, function = name.partition(".")
    found: Callable[..., Any] = getattr(OURS[module], function)
    return found


def sample(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray[Any, Any]:
    """Return an array of the type: normal numbers, or integers of the whole range up to a thousand."""
    random = np.random.default_rng([seed, *shape])
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return random.integers(max(-999, limits.min), min(999, limits.max), shape, endpoint=True).astype(dtype)
    values = random.standard_normal(shape)
    return (values + 1j * random.standard_normal(shape) if "complex" in dtype else values).astype(dtype)


def wide(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return integers as int64."""
    return array.astype(np.int64) if array.dtype.kind in "iu" else array


def _settings(name: str) -> Iterator[tuple[str, list[tuple[Any, Any, dict[str, Any]]]]]:
    """Yield the words of a row of the table, and the calls that it stands for: shapes and settings."""
    function = name.partition(".")[2]
    if name.startswith("ndimage"):
        for mode in ndimage.MODES:
            cases: list[tuple[Any, Any, dict[str, Any]]] = []
            for (x, kernel), origin, cval in itertools.product(ARRAYS, (0, -1), (0.0, 2.0)):
                if min(kernel) < 2 and origin:
                    continue
                words = {"mode": mode, "origin": origin, "cval": cval}
                cases.append((x, kernel[:1], words | {"axis": 0}) if function.endswith("1d") else (x, kernel, words))
            yield f'mode="{mode}"', cases
    elif function.endswith("2d"):
        for mode, boundary in itertools.product(MODES, BOUNDARIES):
            fills = (0, 3) if boundary == "fill" else (0,)
            yield (
                f'mode="{mode}", boundary="{boundary}"',
                [
                    (x, kernel, {"mode": mode, "boundary": boundary, "fillvalue": fill})
                    for (x, kernel), fill in itertools.product(PLANES, fills)
                ],
            )
    else:
        for mode in MODES:
            more = [{"method": method} for method in ("auto", "direct", "fft")]
            cases = [(x, k, {"mode": mode}) for x, k in ARRAYS]
            if "fft" in function or "oa" in function:
                cases += [((5, 4, 9), (1, 2, 3), {"mode": mode, "axes": (1, 2)})]
            else:
                cases = [(x, k, words | word) for (x, k, words), word in itertools.product(cases, more)]
            yield f'mode="{mode}"', cases


def _difference(name: str, dtype: str, cases: list[tuple[Any, Any, dict[str, Any]]]) -> float:
    """Return the largest difference of a row, relative to the magnitude; what may not differ at all is compared so."""
    largest = 0.0
    for x_shape, kernel_shape, words in cases:
        x, kernel = sample(x_shape, dtype), sample(kernel_shape, dtype, 1)
        # SciPy's own FFT rounds integers
        exactly = words | {"method": "direct"} if "method" in words else words
        theirs, found = THEIRS[name](wide(x), wide(kernel), **exactly), ours(name)(x, kernel, **words)
        if found.shape != theirs.shape or found.dtype != theirs.dtype:
            raise AssertionError(f"{name} of {dtype}, {words}: {found.shape} {found.dtype}, not {theirs.shape}")
        border = max(abs(words.get("cval", 0)), abs(words.get("fillvalue", 0)))
        magnitude = max(float(np.abs(wide(x)).max()), border) * float(np.abs(wide(kernel)).sum())
        largest = max(largest, float(np.abs(found - theirs).max()) / magnitude)
    return largest


def equality(pattern: str = "") -> dict[tuple[str, str], dict[str, float]]:
    """Return the largest difference for each function and its words, by type."""
    return {
        (name, words): {dtype: _difference(name, dtype, cases) for dtype in TYPES}
        for name in THEIRS
        for words, cases in _settings(name)
        if re.search(pattern, name)
    }


def bound_of(name: str, dtype: str) -> float:
    """Return what a row's difference may be: nothing, of integers that SciPy sums as such."""
    by_fft = "fft" in name or "oa" in name
    if dtype in BOUND:
        return BOUND[dtype] * (30 if by_fft else 1)
    return 30 * BOUND["float64"] if by_fft else 0.0


def _equality_table(pattern: str) -> str:
    lines = [f"| function | {' | '.join(TYPES)} |", "|---|" + "---|" * len(TYPES)]
    for (name, words), found in equality(pattern).items():
        cells = ["=" if value == 0 else f"{value:.0e}" for value in found.values()]
        lines.append(f"| `{name}`, {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


class Call(NamedTuple):
    """A call that is timed."""

    name: str
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    words: dict[str, Any]


#: Planes, and stacks of them, of 0.25 to 4 megapixels.
CALLS = [
    Call("signal.convolve2d", (512, 512), (3, 3), {"mode": "same"}),
    Call("signal.convolve2d", (512, 512), (9, 9), {"mode": "same", "boundary": "symm"}),
    Call("signal.correlate2d", (1024, 1024), (5, 5), {"boundary": "wrap"}),
    Call("signal.convolve", (512, 512), (5, 5), {}),
    Call("signal.convolve", (512, 512), (31, 31), {}),
    Call("signal.correlate", (1024, 1024), (15, 15), {"mode": "same"}),
    Call("signal.fftconvolve", (1024, 1024), (9, 9), {"mode": "same"}),
    Call("signal.fftconvolve", (1024, 1024), (31, 31), {"mode": "same"}),
    Call("signal.fftconvolve", (1024, 1024), (127, 127), {"mode": "same"}),
    Call("signal.oaconvolve", (1024, 1024), (31, 31), {"mode": "same"}),
    Call("signal.fftconvolve", (16, 512, 512), (1, 3, 3), {"mode": "same", "axes": (1, 2)}),
    Call("signal.fftconvolve", (16, 512, 512), (1, 15, 15), {"mode": "same", "axes": (1, 2)}),
    Call("signal.fftconvolve", (64, 65536), (1, 255), {"mode": "same", "axes": 1}),
    Call("ndimage.correlate", (512, 512), (3, 3), {}),
    Call("ndimage.convolve", (1024, 1024), (9, 9), {"mode": "constant"}),
    Call("ndimage.correlate", (8, 512, 512), (1, 3, 3), {"mode": "nearest"}),
    Call("ndimage.correlate1d", (1024, 1024), (3,), {"axis": 1}),
    Call("ndimage.correlate1d", (1024, 1024), (9,), {"axis": 1, "mode": "wrap"}),
    Call("ndimage.convolve1d", (1024, 1024), (9,), {"axis": 0, "mode": "mirror"}),
    Call("ndimage.correlate1d", (8, 512, 512), (5,), {"axis": 0}),
]
#: The types that are timed; the others are these in SciPy's arithmetic and in ours.
TIMED = ("float32", "float64", "uint8", "complex64")


def _runs(run: Callable[[], Any]) -> list[float]:
    run()
    seconds: list[float] = []
    while len(seconds) < 5 and sum(seconds) < 0.03:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def speed(call: Call, dtype: str, rounds: int) -> tuple[float, float, float]:
    """Return our seconds, SciPy's, and those of SciPy with as many FFT workers as there are threads."""
    x, kernel = sample(call.x, dtype), sample(call.kernel, dtype, 1)
    widened = wide(x), wide(kernel)

    def theirs() -> Any:
        return THEIRS[call.name](*widened, **call.words)

    def with_workers() -> Any:
        with scipy.fft.set_workers(current().threads):
            return theirs()

    sides = [lambda: ours(call.name)(x, kernel, **call.words), theirs]
    if call.name.startswith("signal") and not call.name.endswith("2d"):
        sides.append(with_workers)
    found: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for seconds, run in zip(found, sides, strict=True):
            seconds += _runs(run)
    mine, alone, *rest = (statistics.median(seconds) for seconds in found)
    return mine, alone, rest[0] if rest else alone


def _speed_table(pattern: str, rounds: int) -> str:
    lines = [f"| call | {' | '.join(TIMED)} |", "|---|" + "---|" * len(TIMED)]
    ratios: list[float] = []
    for call in CALLS:
        if not re.search(pattern, call.name):
            continue
        cells = []
        for dtype in TIMED:
            mine, alone, workers = speed(call, dtype, rounds)
            ratios.append(alone / mine)
            more = "" if workers == alone else f" ({workers / mine:.1f})"
            cells.append(f"{alone / mine:.1f}{more}, {mine * 1e3:.2f} ms")
        words = ", ".join(f"{name}={value!r}" for name, value in call.words.items())
        sizes = " by ".join("x".join(map(str, shape)) for shape in (call.x, call.kernel))
        lines.append(f"| `{call.name}`, {sizes}{', ' if words else ''}{words} | {' | '.join(cells)} |")
    reached = sum(ratio >= 5 for ratio in ratios)
    mean = statistics.geometric_mean(ratios)
    lines.append("")
    lines.append(
        f"{reached} of {len(ratios)} are 5 times as fast or more; geometric mean {mean:.1f}, least {min(ratios):.1f}. "
        f"{machine.describe()['cpu']}, {current().threads} threads, SciPy {scipy.__version__}, NumPy {np.__version__}."
    )
    return "\n".join(lines)


def _put(text: str, what: str, table: str) -> str:
    """Return a page with what stands between a table's marks replaced."""
    begin, end = f"<!-- {what}: begin -->", f"<!-- {what}: end -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{table}\n{end}{rest.partition(end)[2]}"


def main(arguments: list[str] | None = None) -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="", help="of functions' names, a regular expression")
    parser.add_argument("--equality", action="store_true", help="this table alone")
    parser.add_argument("--speed", action="store_true", help="this table alone")
    parser.add_argument("-r", "--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="into docs/scipy.md")
    chosen = parser.parse_args(arguments)
    both = chosen.equality == chosen.speed
    tables = {}
    if both or chosen.equality:
        tables["equality"] = _equality_table(chosen.pattern)
    if both or chosen.speed:
        tables["speed"] = _speed_table(chosen.pattern, chosen.rounds)
    if chosen.write:
        text = PAGE.read_text()
        for what, table in tables.items():
            text = _put(text, what, table)
        PAGE.write_text(text)
    else:
        print("\n\n".join(tables.values()))


if __name__ == "__main__":
    main()
