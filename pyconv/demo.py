"""The main job: filters and the first layers of convnets on a real photograph.

One table (problem, algorithm chosen, time, SciPy's time, difference from the float64 definition) and one picture.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
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
#: A call estimated to need longer than this is left out; one that needs half of it is timed once.
PATIENCE_S = 1.0
#: Timed calls stand in blocks of about this length behind one that is not timed, which warms caches and threads.
BLOCK_S = 0.002
#: A block whose threads waited this share of its time for a processor was disturbed by other programs.
BUSY_SHARE = 0.05
#: The float64 definition takes about a second for so many operations; beyond, windows of the output are compared.
REFERENCE_FLOPS = 3e8
#: The same for ``--quick``.
QUICK_FLOPS = 2e7
#: The table leaves out the problems' strings on narrower terminals; they would break every line.
WIDE = 140
#: The reference is a definition: its curve stops at this kernel size.
REFERENCE_SIZE = 5
SCIPY = "SciPy's best"

Array = Any


@dataclass(frozen=True)
class Timing:
    """Median seconds of a call, and whether other programs disturbed it."""

    seconds: float
    busy: bool = False

    def times(self, factor: float) -> Timing:
        """Return the time of ``factor`` as many calls."""
        return replace(self, seconds=self.seconds * factor)

    def __str__(self) -> str:
        return f"{self.seconds * 1e3:.{3 if self.seconds < 0.1 else 1}f}{'*' if self.busy else ''}"


@dataclass
class Job:
    """One line of the table."""

    name: str
    problem: ConvProblem
    x: Array
    w: Array
    algorithm: str = ""
    #: by family, and :data:`SCIPY`
    timings: dict[str, Timing] = field(default_factory=dict)
    scipy_part: bool = False
    difference: float = 0.0
    of_bound: float = 0.0
    #: whether only windows of the output were compared
    in_part: bool = False

    @property
    def family(self) -> str:
        """The family of the chosen algorithm."""
        return self.algorithm.split(".")[1]

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the call behind x and w."""
        p = self.problem
        return {"stride": p.stride, "padding": p.padding, "groups": p.groups, "activation": p.activation}

    def prepared(self, algorithm: str = "auto") -> Callable[[], Array]:
        """Return the call, its weights packed."""
        f = pyconv.prepare(pyconv.conv2d, self.w, **self.settings, algorithm=algorithm)
        return lambda: f(self.x)


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _missing(name: str) -> str | None:
    """Why a package cannot be used, or None."""
    try:
        _module(name)
    except ImportError as error:
        return str(error)
    return None


def _hopper() -> Array:
    cbook, image = _module("matplotlib.cbook"), _module("matplotlib.image")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return image.imread(file, format="jpg")


def photograph() -> tuple[Array, str]:
    """Return a colour picture (h, w, 3) in 0..1 that ships inside a package, and which it is."""
    sources: list[tuple[str, Callable[[], Any]]] = [
        ("china.jpg of scikit-learn", lambda: _module("sklearn.datasets").load_sample_image("china.jpg")),
        ("astronaut of scikit-image", lambda: _module("skimage.data").astronaut()),
        ("grace_hopper.jpg of matplotlib", _hopper),
    ]
    reasons = []
    for name, load in sources:
        try:
            return np.asarray(load(), dtype=np.float32) / 255, name
        except Exception as error:
            reasons.append(f"{name}: {error}")
    raise SystemExit('no photograph was found: pip install "pyconv-kernels[images]". Tried ' + "; ".join(reasons))


def gaussian(size: int) -> Array:
    """Return a normalised Gaussian, three standard deviations to the edge."""
    distance = np.arange(size) - size // 2
    row = np.exp(-0.5 * (distance / max(0.4, size / 6)) ** 2)
    kernel = np.outer(row, row)
    return (kernel / kernel.sum()).astype(np.float32)


def laplacian() -> Array:
    """Return the eight-neighbour Laplacian, of a strength that suits the eye."""
    return np.array([[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]], dtype=np.float32) / 2


def motion(size: int) -> Array:
    """Return a blur along the diagonal."""
    return np.eye(size, dtype=np.float32) / size


def _filter(name: str, planes: Array, kernel: Array) -> Job:
    """One kernel for each of the planes (c, h, w), same-size output."""
    channels, size = len(planes), len(kernel)
    problem = ConvProblem(
        1, channels, channels, planes.shape[1:], (size, size), (1, 1), ((size // 2, size // 2),) * 2, (1, 1), channels
    )
    return Job(f"{name} {size}x{size}", problem, planes[None], np.repeat(kernel[None, None], channels, axis=0))


def blur_jobs(gray: Array, sizes: Iterable[int]) -> list[Job]:
    """Blur the gray plane with each kernel size: these are the points of the curves."""
    return [_filter("blur", gray[None], gaussian(size)) for size in sizes]


def colour_jobs(picture: Array, quick: bool) -> list[Job]:
    """Filter the three colour planes."""
    planes = np.ascontiguousarray(picture.transpose(2, 0, 1))
    return [
        _filter("colour edges", planes, laplacian()),
        _filter("colour motion blur", planes, motion(15 if quick else 31)),
    ]


def layer_jobs(picture: Array) -> Iterator[Job]:
    """First layers of ResNet-50, MobileNet and ConvNeXt, weights drawn as He et al. (2015) do."""
    rng = np.random.default_rng(0)
    side = min(224, *picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    crop = picture[top : top + side, left : left + side]
    x = np.ascontiguousarray(crop.transpose(2, 0, 1))[None] * 4 - 2
    layers = (
        # name, output channels, kernel, stride, groups = channels?, input subsampled by 2 beforehand?
        ("ResNet stem 7x7 s2", 64, 7, 2, False, False),
        ("ResNet 1x1", 64, 1, 1, False, True),
        ("ResNet 3x3", 64, 3, 1, False, False),
        ("ResNet 1x1 up", 256, 1, 1, False, False),
        ("MobileNet depthwise 3x3", 256, 3, 1, True, False),
        ("ConvNeXt depthwise 7x7", 256, 7, 1, True, False),
    )
    for name, c_out, kernel, stride, depthwise, subsampled in layers:
        if subsampled:
            x = np.ascontiguousarray(x[..., ::2, ::2])
        c_in = x.shape[1]
        groups = c_in if depthwise else 1
        w = rng.standard_normal((c_out, c_in // groups, kernel, kernel)).astype(np.float32)
        w *= math.sqrt(2 / w[0].size)
        problem = ConvProblem(
            1, c_in, c_out, x.shape[2:], (kernel, kernel), (stride, stride), ((kernel // 2, kernel // 2),) * 2, (1, 1),
            groups, activation="relu",
        )  # fmt: skip
        job = Job(name, problem, x, w)
        yield job
        x = job.prepared()()


def _keep_memory() -> None:
    """Ask glibc to keep freed memory, where the C library has such a wish.

    Otherwise large temporaries may be returned and mapped anew in every call, or not, as the heap happens to lie:
    SciPy's FFTs of one plane then take 2 ms in one process and 5 ms in another, most of it page faults.
    """
    trim_threshold, mmap_threshold = -1, -3  # of malloc.h
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(mmap_threshold, 32 << 20)
        library.mallopt(trim_threshold, 1 << 30)


def _waited() -> float:
    """Seconds that this process's threads have stood ready without a processor; 0 where the system does not say."""
    total = 0
    for path in Path("/proc/self/task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError, ValueError):  # a thread may end meanwhile
            total += int(path.read_text().split()[1])
    return total / 1e9


def _block(call: Callable[[], object]) -> tuple[list[float], bool]:
    """Time a call for about :data:`BLOCK_S`; say too whether other programs took processors away meanwhile."""
    call()
    times: list[float] = []
    waited = _waited()
    while not times or (sum(times) < BLOCK_S and len(times) < 50):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times, _waited() - waited > BUSY_SHARE * sum(times)


def contest(calls: dict[str, Callable[[], object]], budget: float) -> dict[str, Timing]:
    """Time calls in interleaved rounds A B C A B C, so that a slow moment falls on all.

    The median of the undisturbed blocks counts where there are three; rounds go on for three budgets to find them.
    """
    quiet: dict[str, list[list[float]]] = {name: [] for name in calls}
    busy: dict[str, list[list[float]]] = {name: [] for name in calls}
    slow: set[str] = set()
    began = time.perf_counter()
    for rounds in itertools.count(1):
        for name, call in calls.items():
            if name not in slow:
                times, disturbed = _block(call)
                (busy if disturbed else quiet)[name].append(times)
                if times[0] > PATIENCE_S / 2:
                    slow.add(name)
        spent = (time.perf_counter() - began) / (budget * len(calls))
        enough = all(len(quiet[name]) >= 3 for name in calls if name not in slow)
        if rounds >= 3 and (spent > 3 or (spent > 1 and enough)):
            break
    found = {}
    for name in calls:
        clean = len(quiet[name]) >= 3 or not busy[name]
        counted = quiet[name] if clean else quiet[name] + busy[name]
        found[name] = Timing(statistics.median(itertools.chain.from_iterable(counted)), not clean)
    return found


def scipy_ways(job: Job, threads: int = 1) -> tuple[dict[str, Callable[[], Array]], float]:
    """Return SciPy's ways to compute some channels of the output (before its activation), and the factor to all.

    SciPy filters planes: a layer is a sum over the input channels for each output channel, and computes every
    position where a stride keeps some. Of a plain layer one output channel is computed, of a depthwise one eight.
    The FFTs run with one worker and with ``threads``: which is faster depends on the size and on the machine.
    """
    signal, ndimage, fft = _module("scipy.signal"), _module("scipy.ndimage"), _module("scipy.fft")
    p = job.problem
    depthwise = p.groups > 1
    count = min(8, p.c_out) if depthwise else 1
    planes = job.x[0, :count] if depthwise else job.x[0]
    kernels = job.w[:count, 0] if depthwise else job.w[0]
    padded = np.pad(planes, ((0, 0), *p.padding))
    flipped = np.ascontiguousarray(kernels[:, ::-1, ::-1])
    kept = (slice(None), *(slice(None, None, step) for step in p.stride))

    def finish(filtered: Array) -> Array:
        channels = filtered[kept]
        return channels if depthwise or len(channels) == 1 else channels.sum(0, keepdims=True)

    def each(one: Callable[[Array, Array], Array], inputs: Array) -> Array:
        return finish(np.stack([one(plane, kernel) for plane, kernel in zip(inputs, kernels, strict=True)]))

    def transformed(function: Callable[..., Array], workers: int) -> Array:
        with fft.set_workers(workers):
            return finish(function(padded, flipped, "valid", axes=(1, 2)))

    ways: dict[str, Callable[[], Array]] = {
        f"{function.__name__} {workers}": partial(transformed, function, workers)
        for function in (signal.fftconvolve, signal.oaconvolve)
        for workers in {1, threads}
    }
    if kernels[0].size <= 121:  # the sums over taps are far behind beyond
        ways["ndimage"] = lambda: each(lambda x, w: ndimage.correlate(x, w, mode="constant"), planes)
        ways["correlate2d"] = lambda: each(lambda x, w: signal.correlate2d(x, w, "valid"), padded)
    return ways, p.c_out / count


def measure(job: Job, threads: int, quick: bool, has_scipy: bool, every: bool) -> Array:
    """Fill in a line of the table, with the times of every algorithm where they are wanted; return the result."""
    budget = 0.02 if quick else 0.07
    explained = pyconv.explain(pyconv.conv2d, job.x, job.w, **job.settings)
    job.algorithm = explained.algorithm
    calls: dict[str, Callable[[], object]] = {}
    for candidate in explained.candidates:
        family = candidate.id.split(".")[1]
        large = family == "reference" and job.problem.kernel[0] > REFERENCE_SIZE
        if candidate.id == job.algorithm:
            calls[family] = job.prepared()
        elif every and candidate.supported and not large and (candidate.estimate_s or 0) < PATIENCE_S:
            calls[family] = job.prepared(family)
    if not has_scipy:
        job.timings = contest(calls, budget)
    else:
        ways, factor = scipy_ways(job, threads)
        job.timings = contest(calls | {f"SciPy {name}": way for name, way in ways.items()}, budget)
        best = min((job.timings.pop(f"SciPy {name}") for name in ways), key=lambda timing: timing.seconds)
        job.timings[SCIPY] = best.times(factor)
        job.scipy_part = factor > 1
    result = job.prepared()()
    bound = next(c.error_bound for c in explained.candidates if c.id == job.algorithm)
    compare(job, result, bound or 0.0, QUICK_FLOPS if quick else REFERENCE_FLOPS)
    return result


def windows(problem: ConvProblem, limit: float) -> tuple[list[int], list[tuple[slice, ...]]]:
    """Return the channels and the boxes of the output to compare: all, or some channels of the corners and the middle.

    Each box is small enough that all of them together stay within ``limit`` operations.
    """
    sizes = problem.out_spatial
    if problem.flops <= limit:
        return list(range(problem.c_out)), [tuple(slice(0, size) for size in sizes)]
    channels = sorted({round(o) for o in np.linspace(0, problem.c_out - 1, min(8, problem.c_out))})
    side = max(1, math.isqrt(int(limit / (5 * 2 * problem.reduction * len(channels)))))
    counts = [min(side, size) for size in sizes]
    shares = [*itertools.product((0.0, 1.0), repeat=len(sizes)), (0.5,) * len(sizes)]
    boxes = []
    for share in shares:
        firsts = [int(s * (size - count)) for s, size, count in zip(share, sizes, counts, strict=True)]
        boxes.append(tuple(slice(first, first + count) for first, count in zip(firsts, counts, strict=True)))
    return channels, boxes


def compare(job: Job, result: Array, bound: float, limit: float) -> None:
    """Note the largest difference from the float64 definition, and the largest share of what is permitted there.

    An output may differ by ``bound`` times its own sum of |x| |w|; relu, of slope 0 or 1, makes no difference larger.
    """
    p = job.problem
    channels, boxes = windows(p, limit)
    job.in_part = p.flops > limit
    depthwise = p.groups > 1
    for box in boxes:
        cuts, padding = [], []
        for axis, where in enumerate(box):
            begin = where.start * p.stride[axis] - p.padding[axis][0]
            end = (where.stop - 1) * p.stride[axis] - p.padding[axis][0] + p.dilation[axis] * (p.kernel[axis] - 1) + 1
            low, high = max(0, begin), min(p.spatial[axis], end)
            cuts.append(slice(low, high))
            padding.append((low - begin, end - high))
        x = (job.x[:, channels] if depthwise else job.x)[(..., *cuts)]
        w = job.w[channels]
        small = replace(
            p, c_in=x.shape[1], c_out=len(channels), spatial=x.shape[2:], padding=tuple(padding),
            groups=len(channels) if depthwise else 1,
        )  # fmt: skip
        difference = np.abs(result[:, channels][(..., *box)] - reference.conv(small, x, w))
        permitted = bound * reference.conv(replace(small, activation=None), np.abs(x), np.abs(w))
        share = np.divide(difference, permitted, out=np.where(difference > 0, np.inf, 0.0), where=permitted > 0)
        job.difference = max(job.difference, float(difference.max()))
        job.of_bound = max(job.of_bound, float(share.max()))


def draw(path: Path, images: list[tuple[str, Array]], jobs: list[Job], title: str) -> None:
    """Draw the picture before and after, and time against kernel size."""
    matplotlib = _module("matplotlib")
    matplotlib.use("Agg")
    plt = _module("matplotlib.pyplot")
    figure = plt.figure(figsize=(13, 9), layout="constrained")
    grid = figure.add_gridspec(2, len(images), height_ratios=(1, 2.1))
    for column, (name, image) in enumerate(images):
        axes = figure.add_subplot(grid[0, column])
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(name)
        axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :])
    sizes = [job.problem.kernel[0] for job in jobs]
    # sorted, so that a family keeps its colour from run to run
    for name in sorted({name for job in jobs for name in job.timings}, key=lambda name: (name == SCIPY, name)):
        points = [(job.problem.kernel[0], job.timings[name].seconds * 1e3) for job in jobs if name in job.timings]
        style = {"color": "0.35", "linestyle": "--"} if name == SCIPY else {}
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=name, **style)
    busy = [
        (job.problem.kernel[0], timing.seconds * 1e3) for job in jobs for timing in job.timings.values() if timing.busy
    ]
    if busy:  # over the lines' own marks
        label = "disturbed by other programs"
        axes.plot(*zip(*busy, strict=True), "x", color="black", markersize=6, zorder=3, label=label)
    chosen = [job.timings[job.family].seconds * 1e3 for job in jobs]
    axes.plot(sizes, chosen, "o", markersize=12, fillstyle="none", color="black", label="chosen", linestyle="none")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sizes, [f"{size}x{size}" for size in sizes])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_xlabel("kernel size")
    axes.set_ylabel("median time of a call (ms)")
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _table(jobs: list[Job], title: str, has_scipy: bool, wide: bool) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("what")
    if wide:
        table.add_column("problem", overflow="fold")
    table.add_column("algorithm", overflow="fold")
    for heading in ("ms", "GFLOP/s", "SciPy ms", "largest diff.", "of bound"):
        table.add_column(heading, justify="right", no_wrap=wide)
    one_backend = len({job.algorithm.split("@")[1] for job in jobs}) == 1  # then the title says which
    for job in jobs:
        timing = job.timings[job.family]
        scipy = f"{'~' if job.scipy_part else ''}{job.timings[SCIPY]}" if has_scipy else "-"
        table.add_row(
            job.name,
            *([str(job.problem)] if wide else []),
            job.family if one_backend else job.algorithm.split(".", 1)[1],
            str(timing),
            f"{job.problem.flops / timing.seconds / 1e9:.1f}",
            scipy,
            f"{'~' if job.in_part else ''}{job.difference:.1e}",
            f"{job.of_bound:.0%}",
        )
    return table


def _served(job: Job) -> bool:
    """Whether the algorithm that would be chosen answers within the patience."""
    explained = pyconv.explain(pyconv.conv2d, job.x, job.w, **job.settings)
    chosen = next(c for c in explained.candidates if c.id == explained.algorithm)
    return (chosen.estimate_s or 0.0) <= PATIENCE_S


def run(console: Console, out: Path, threads: int | None, quick: bool) -> None:
    """Do the whole job and print it."""
    from rich.progress import Progress

    picture, source = photograph()
    gray = np.ascontiguousarray(picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32))
    no_scipy, no_plot = _missing("scipy"), _missing("matplotlib")
    if no_plot is None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SystemExit(f"cannot make the folder for demo.png: {error}") from None
    _keep_memory()
    with pyconv.options(threads=threads) if threads else pyconv.options() as options:
        blurs = blur_jobs(gray, QUICK_SIZES if quick else KERNEL_SIZES)
        others = [*colour_jobs(picture, quick), *layer_jobs(picture)]
        left_out = [job.name for job in blurs + others if not _served(job)]
        blurs = [job for job in blurs if job.name not in left_out]
        others = [job for job in others if job.name not in left_out]
        results: dict[str, Array] = {}
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("", total=len(blurs) + len(others))
            for job in blurs + others:
                progress.update(task, description=job.name)
                every = no_plot is None and job in blurs
                results[job.name] = measure(job, options.threads, quick, no_scipy is None, every)
                progress.advance(task)
    jobs = blurs + others
    where = sorted({job.algorithm.split("@")[1] for job in jobs})
    setting = f"{', '.join(where)}, {options.threads} thread{'s' if options.threads > 1 else ''}"
    title = f"{source}, {picture.shape[1]} x {picture.shape[0]}; {setting}"
    console.print(_table(jobs, title, no_scipy is None, console.width >= WIDE))
    console.print(
        "ms: median of interleaved rounds in one process, which keeps the memory it frees (that helps SciPy most)"
    )
    console.print("largest diff.: from the float64 definition. ~: in five windows of the output, corners and middle")
    console.print("of bound: the largest share, at any output, of the difference that the algorithm is permitted there")
    if no_scipy is None:
        console.print(
            "SciPy: the best of its ways, with one worker or all. ~: some output channels were timed, and scaled to all"
        )
    else:
        console.print(f"no SciPy times: {no_scipy}", highlight=False)
    if any(timing.busy for job in jobs for timing in job.timings.values()):
        console.print(
            "*: threads waited for processors that others held in nearly every block of calls; the time may be too long"
        )
    if left_out:
        console.print(f"left out, for {where[0]} would take seconds a call: {', '.join(left_out)}", highlight=False)
    if no_plot is not None:
        console.print(f"no picture is drawn: {no_plot}; pip install matplotlib", highlight=False)
        return
    images = [("photograph", picture)]
    coloured = [job.name for job in others if job.name.startswith("colour")]
    for name in [*coloured, blurs[-1].name]:
        shown = results[name][0].transpose(1, 2, 0) if len(results[name][0]) == 3 else results[name][0, 0]
        images.append((name, np.clip(np.abs(shown), 0, 1)))
    path = out / "demo.png"
    draw(path, images, blurs, f"blurring one plane of {gray.shape[1]} x {gray.shape[0]} pixels, float32; {setting}")
    console.print(f"drawn: {path}", highlight=False)
