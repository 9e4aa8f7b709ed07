"""The main job: filters and the first layers of convnets on a real photograph.

One table (problem, algorithm chosen, time, SciPy's time, difference from the float64 definition) and one picture.
"""

from __future__ import annotations

import importlib
import math
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import pyconv
from pyconv import ConvProblem, reference

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]

KERNEL_SIZES = (1, 3, 5, 7, 9, 11, 15, 21, 31, 45, 63)
QUICK_SIZES = (1, 3, 7, 15)
#: A candidate that needs longer than this for one call is not timed for larger kernels.
PATIENCE_S = 2.0
#: The float64 definition takes about a second for so many operations; beyond, a part of the picture is compared.
REFERENCE_FLOPS = 4e8

Array = Any


@dataclass
class Job:
    """One line of the table."""

    name: str
    problem: ConvProblem
    x: Array
    w: Array
    algorithm: str = ""
    seconds: float = 0.0
    scipy: str = "-"
    difference: float = 0.0
    bound: float = 0.0


@dataclass
class Curve:
    """Time against kernel size of one algorithm."""

    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def photograph() -> tuple[Array, str]:
    """Return a colour picture (h, w, 3) in 0..1 that ships inside a package, and which it is."""
    sources: list[tuple[str, Callable[[], Any]]] = [
        ("china.jpg of scikit-learn", lambda: _module("sklearn.datasets").load_sample_image("china.jpg")),
        ("astronaut of scikit-image", lambda: _module("skimage.data").astronaut()),
        ("grace_hopper.jpg of matplotlib", lambda: _hopper()),
    ]
    reasons = []
    for name, load in sources:
        try:
            return np.asarray(load(), dtype=np.float32) / 255, name
        except Exception as error:
            reasons.append(f"{name}: {error}")
    raise SystemExit("no photograph was found; install scikit-learn. Tried " + "; ".join(reasons))


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _hopper() -> Array:
    cbook, image = _module("matplotlib.cbook"), _module("matplotlib.image")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return image.imread(file, format="jpg")


def median_seconds(call: Callable[[], object], budget: float) -> float:
    """Return the median time of a call: one to warm up, then as many as fit the budget, three at least."""
    call()
    times: list[float] = []
    end = time.perf_counter() + budget
    while len(times) < 3 or (time.perf_counter() < end and len(times) < 200):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
        if times[-1] > PATIENCE_S:
            break
    return statistics.median(times)


def gaussian(size: int) -> Array:
    """Return a normalised Gaussian, three standard deviations to the edge."""
    distance = np.arange(size) - size // 2
    row = np.exp(-0.5 * (distance / max(0.4, size / 6)) ** 2)
    kernel = np.outer(row, row)
    return (kernel / kernel.sum()).astype(np.float32)


def filter_jobs(gray: Array, sizes: tuple[int, ...]) -> Iterator[Job]:
    """One plane, one kernel of each size, same-size output."""
    h, w = gray.shape
    for size in sizes:
        problem = ConvProblem(1, 1, 1, (h, w), (size, size), (1, 1), ((size // 2, size // 2),) * 2, (1, 1))
        yield Job(f"blur {size}x{size}", problem, gray[None, None], gaussian(size)[None, None])


def layer_jobs(picture: Array) -> Iterator[Job]:
    """First layers of ResNet-50, MobileNet and ConvNeXt, weights drawn as He et al. (2015) do."""
    rng = np.random.default_rng(0)
    side = min(224, *picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    crop = picture[top : top + side, left : left + side]
    x = np.ascontiguousarray(crop.transpose(2, 0, 1))[None] * 4 - 2
    layers = (
        # name, output channels, kernel, stride, groups = channels?, input pooled by 2 beforehand?
        ("ResNet stem 7x7 s2", 64, 7, 2, False, False),
        ("ResNet 1x1", 64, 1, 1, False, True),
        ("ResNet 3x3", 64, 3, 1, False, False),
        ("ResNet 1x1 up", 256, 1, 1, False, False),
        ("MobileNet depthwise 3x3", 256, 3, 1, True, False),
        ("ConvNeXt depthwise 7x7", 256, 7, 1, True, False),
    )
    for name, c_out, kernel, stride, depthwise, pooled in layers:
        if pooled:
            x = np.ascontiguousarray(x[..., ::2, ::2])
        c_in = x.shape[1]
        groups = c_in if depthwise else 1
        w = rng.standard_normal((c_out, c_in // groups, kernel, kernel)).astype(np.float32)
        w *= math.sqrt(2 / w[0].size)
        problem = ConvProblem(
            1, c_in, c_out, x.shape[2:], (kernel, kernel), (stride, stride), ((kernel // 2, kernel // 2),) * 2, (1, 1),
            groups, activation="relu",
        )  # fmt: skip
        yield Job(name, problem, x, w)
        x = _call(problem, w)(x)


def _call(problem: ConvProblem, w: Array, algorithm: str = "auto") -> Callable[[Array], Array]:
    return pyconv.prepare(
        pyconv.conv2d,
        w,
        stride=problem.stride,
        padding=problem.padding,
        groups=problem.groups,
        activation=problem.activation,
        algorithm=algorithm,
    )


def best_scipy(job: Job, threads: int, budget: float) -> float | None:
    """Return the least median of SciPy's ways to do it; None where SciPy is not installed or the work is too much.

    SciPy convolves planes: a layer is timed on a few of its (output, input) pairs of planes and scaled to all.
    """
    try:
        signal, ndimage, fft = _module("scipy.signal"), _module("scipy.ndimage"), _module("scipy.fft")
    except ImportError:
        return None
    problem = job.problem
    pairs = problem.c_out * problem.c_in // problem.groups
    plane = np.ascontiguousarray(np.pad(job.x[0, 0], problem.padding))
    kernel, flipped = job.w[0, 0], np.ascontiguousarray(job.w[0, 0, ::-1, ::-1])
    ways: list[Callable[[], object]] = [
        lambda: signal.fftconvolve(plane, flipped, "valid"),
        lambda: signal.oaconvolve(plane, flipped, "valid"),
    ]
    if kernel.size <= 81:
        ways += [
            lambda: ndimage.correlate(job.x[0, 0], kernel, mode="constant"),
            lambda: signal.correlate2d(plane, kernel, "valid"),
        ]
    with fft.set_workers(threads):
        return min(median_seconds(way, budget / len(ways)) for way in ways) * pairs


def compare(job: Job, result: Array) -> None:
    """Note the largest difference from the float64 definition, and the largest that the algorithm may have."""
    problem = job.problem
    part = problem.flops / REFERENCE_FLOPS
    channels = max(1, int(problem.c_out / max(1.0, part)))
    if problem.groups > 1:
        x, groups = job.x[:, :channels], channels
    else:
        x, groups = job.x, 1
    rows = problem.spatial[0]
    if part > problem.c_out:
        # even one channel is too much: the upper part of the picture, whose border is the picture's
        rows = max(problem.kernel[0], int(rows * problem.c_out / part))
    small = ConvProblem(
        1, x.shape[1], channels, (rows, problem.spatial[1]), problem.kernel, problem.stride, problem.padding,
        problem.dilation, groups, activation=problem.activation,
    )  # fmt: skip
    x, w = x[:, :, :rows], job.w[:channels]
    exact = reference.conv(small, x, w)
    valid = (
        exact.shape[2] if rows == problem.spatial[0] else exact.shape[2] - problem.padding[0][1] // problem.stride[0]
    )
    job.difference = float(np.abs(result[:, :channels, :valid] - exact[:, :, :valid]).max())
    plain = ConvProblem.parse(str(small).removesuffix("-relu"))
    scale = float(reference.conv(plain, np.abs(x), np.abs(w)).max())
    explained = pyconv.explain(
        pyconv.conv2d, job.x, job.w, stride=problem.stride, padding=problem.padding, groups=problem.groups
    )
    bound = next(c.error_bound for c in explained.candidates if c.id == explained.algorithm)
    job.bound = (bound or 0.0) * scale


def measure(job: Job, threads: int, budget: float, has_scipy: bool) -> Array:
    """Fill in a line of the table; returns the result."""
    f = _call(job.problem, job.w)
    result = f(job.x)
    explained = pyconv.explain(
        pyconv.conv2d, job.x, job.w, stride=job.problem.stride, padding=job.problem.padding, groups=job.problem.groups
    )
    job.algorithm = explained.algorithm
    job.seconds = median_seconds(lambda: f(job.x), budget)
    if has_scipy:
        seconds = best_scipy(job, threads, budget)
        scaled = job.problem.c_in * job.problem.c_out > 1
        job.scipy = "-" if seconds is None else f"{'~' if scaled else ''}{seconds * 1e3:.2f}"
    compare(job, result)
    return result


def curves(jobs: list[Job], threads: int, budget: float, tick: Callable[[], None]) -> dict[str, Curve]:
    """Time every algorithm that can do the filters, forced by its name, and SciPy's best."""
    found: dict[str, Curve] = {}
    hopeless: set[str] = set()
    for job in jobs:
        size = job.problem.kernel[0]
        explained = pyconv.explain(pyconv.conv2d, job.x, job.w, padding=job.problem.padding)
        for candidate in explained.candidates:
            family = candidate.id.split(".")[1]
            if not candidate.supported or family in hopeless or (family == "reference" and size > 5):
                continue
            f = _call(job.problem, job.w, family)
            seconds = median_seconds(lambda f=f, x=job.x: f(x), budget)  # type: ignore[misc]
            found.setdefault(family, Curve()).sizes.append(size)
            found[family].seconds.append(seconds)
            if seconds > PATIENCE_S / 4:
                hopeless.add(family)
        if job.scipy not in {"-", ""}:
            found.setdefault("SciPy's best", Curve()).sizes.append(size)
            found["SciPy's best"].seconds.append(float(job.scipy.removeprefix("~")) / 1e3)
        tick()
    return found


def draw(path: Path, gray: Array, after: list[tuple[str, Array]], jobs: list[Job], lines: dict[str, Curve]) -> None:
    """Draw the picture before and after, and time against kernel size."""
    matplotlib = _module("matplotlib")
    matplotlib.use("Agg")
    plt = _module("matplotlib.pyplot")
    figure = plt.figure(figsize=(12, 8.5), layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1, 1.5))
    for column, (title, image) in enumerate([("photograph", gray), *after[:2]]):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :])
    for name, line in lines.items():
        style = {"color": "0.4", "linestyle": "--", "marker": "."} if name.startswith("SciPy") else {"marker": "."}
        axes.plot(line.sizes, [s * 1e3 for s in line.seconds], label=name, **style)
    chosen = [(job.problem.kernel[0], job.seconds * 1e3) for job in jobs]
    axes.plot(*zip(*chosen, strict=True), "o", markersize=11, fillstyle="none", color="black", label="chosen")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks([size for size, _ in chosen], [str(size) for size, _ in chosen])
    axes.minorticks_off()
    axes.set_xlabel("kernel size (pixels a side)")
    axes.set_ylabel("time (ms)")
    axes.set_title(f"one plane of {gray.shape[1]} x {gray.shape[0]} pixels, float32")
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _missing(name: str) -> str | None:
    """Why a package cannot be used, or None."""
    try:
        _module(name)
    except ImportError as error:
        return str(error)
    return None


def run(console: Console, out: Path, threads: int | None, quick: bool) -> None:
    """Do the whole job and print it."""
    from rich.progress import Progress
    from rich.table import Table

    picture, source = photograph()
    gray = np.ascontiguousarray(picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32))
    no_scipy, no_plot = _missing("scipy"), _missing("matplotlib")
    info = pyconv.info()
    budget = 0.05 if quick else 0.25
    with pyconv.options(threads=threads) if threads else pyconv.options() as options:
        filters = list(filter_jobs(gray, QUICK_SIZES if quick else KERNEL_SIZES))
        if info.backends["c"] != "yes" and info.backends["numba"] != "yes":
            console.print("neither C nor Numba is there: the NumPy reference serves, and large kernels are left out")
            filters = [job for job in filters if job.problem.kernel[0] <= 7]
        layers = list(layer_jobs(picture))
        after = []
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("filters and layers", total=len(filters) + len(layers))
            for job in filters + layers:
                result = measure(job, options.threads, budget, no_scipy is None)
                if job in filters and job.problem.kernel[0] in (15, 63):
                    after.append((job.name, result[0, 0]))
                progress.advance(task)
            lines: dict[str, Curve] = {}
            if no_plot is None:
                task = progress.add_task("every algorithm by name", total=len(filters))
                lines = curves(filters, options.threads, budget / 2, lambda: progress.advance(task))
        table = Table(
            title=f"{source}, {picture.shape[1]} x {picture.shape[0]}; {info.isa or 'no C'}, {options.threads} threads"
        )
        table.add_column("what")
        table.add_column("problem", overflow="fold")
        table.add_column("algorithm")
        for heading in ("ms", "GFLOP/s", "SciPy ms", "largest diff.", "of bound"):
            table.add_column(heading, justify="right")
        for job in filters + layers:
            table.add_row(
                job.name,
                str(job.problem),
                job.algorithm.split(".", 1)[1],
                f"{job.seconds * 1e3:.3f}",
                f"{job.problem.flops / job.seconds / 1e9:.1f}",
                job.scipy,
                f"{job.difference:.1e}",
                f"{job.difference / job.bound:.1%}" if job.bound else "-",
            )
        console.print(table)
        console.print("~: SciPy has no layers; the time of one pair of planes, times the number of pairs")
        if no_scipy:
            console.print(f"no SciPy times: {no_scipy}")
        if no_plot:
            console.print(f"no picture is drawn: {no_plot}; pip install matplotlib")
        else:
            edge = np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=np.float32)[None, None]
            edges = np.clip(np.abs(pyconv.conv2d(gray[None, None], edge, padding=1))[0, 0], 0, 1)
            draw(out / "demo.png", gray, [*after[-1:], ("edges 3x3", edges)], filters, lines)
            console.print(f"drawn: {out / 'demo.png'}")
