"""How good the dispatcher's choice is: ``python -m benchmarks.regret``, or ``pyconv bench --regret``.

Random problems, seeded, of every family of convolutions. Each is done by every algorithm that can do it
(:func:`pyconv.measure.contest`: what is three times slower is dropped), then the fastest, what estimates chose and what
measuring chose are timed again, interleaved and longer: that is the truth. The regret is the time of the choice over
that of the fastest. It is a measurement and asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyconv
from benchmarks import machine, report
from pyconv import measure, plan
from pyconv.algorithm import Call
from pyconv.options import current
from pyconv.problem import ConvProblem, ConvWeightProblem, Problem, TransposedProblem
from pyconv.registry import find

__all__ = ["FAMILIES", "Row", "draw", "main"]

#: Families and how many problems of each are drawn by default.
FAMILIES = {
    "conv2d": 300,
    "conv1d": 100,
    "conv3d": 100,
    "conv_transpose1d": 100,
    "conv_transpose2d": 100,
    "conv_transpose3d": 100,
    "conv1d-grad-x": 100,
    "conv2d-grad-x": 100,
    "conv3d-grad-x": 100,
    "conv1d-grad-w": 100,
    "conv2d-grad-w": 100,
    "conv3d-grad-w": 100,
}
#: Operations of the definition, between which problems are drawn evenly in logarithms; tiny ones if asked for.
MIN_FLOPS, MAX_FLOPS, TINY_FLOPS = 1e6, 1e10, 1e3
#: Largest array of a problem, in elements.
MAX_ELEMENTS = 1 << 25
MAX_KERNEL = {1: 127, 2: 127, 3: 15}
#: Largest stride of a layer that enlarges, whose kernel is one, two or four strides long.
MAX_ENLARGEMENT = {1: 256, 2: 32, 3: 4}
MAX_CHANNELS = 512
#: The budget is at least so many times what all candidates together are estimated to take.
ENOUGH = 5.0
QUANTILES = (0.5, 0.9, 0.95, 0.99)


@dataclass
class Row:
    """One problem: what was estimated and measured of it.

    Attributes
    ----------
    problem : str
        Operation and problem.
    estimates, seconds : dict of str to float
        By algorithm's id; ``seconds`` from the first contest.
    truth : dict of str to float
        Of the few that matter, the shortest of both contests.
    chosen, tuned : str
        By estimates, and by the first contest.
    """

    problem: str
    estimates: dict[str, float]
    seconds: dict[str, float]
    truth: dict[str, float]
    chosen: str
    tuned: str

    @property
    def fastest(self) -> str:
        """The fastest algorithm."""
        return min(self.truth, key=lambda id: (self.truth[id], id))

    def regret(self, id: str) -> float:
        """Return an algorithm's time over the fastest's."""
        return self.truth[id] / self.truth[self.fastest]


def _log_uniform(source: random.Random, low: float, high: float) -> float:
    return math.exp(source.uniform(math.log(low), math.log(high)))


def _conv(source: random.Random, rank: int, low: float, high: float, enlarging: bool) -> ConvProblem | None:
    """Return a random convolution, None where the sizes do not come out; `enlarging`: with a stride of such a layer."""
    taps = round(_log_uniform(source, 1, MAX_KERNEL[rank] + 0.49))
    # small kernels are what most layers have
    taps = source.choice((1, 3, 3, 5, 7)) if source.random() < 0.6 else taps
    kind = source.choices(("dense", "depthwise", "grouped"), (0.7, 0.2, 0.1))[0]
    c_in = round(_log_uniform(source, 1, MAX_CHANNELS))
    c_out = c_in if kind == "depthwise" else round(_log_uniform(source, 1, MAX_CHANNELS))
    groups = {"dense": 1, "depthwise": c_in, "grouped": 2 ** source.randint(1, 5)}[kind]
    if kind == "grouped":
        c_in, c_out = (max(1, channels // groups) * groups for channels in (c_in, c_out))
    stride = source.choices((1, 2), (0.75, 0.25))[0]
    dilation = source.choices((1, 2), (0.9, 0.1))[0]
    padding = (taps - 1) * dilation // 2
    if enlarging:
        stride = round(_log_uniform(source, 2, MAX_ENLARGEMENT[rank]))
        taps, dilation = stride * source.choice((1, 2, 2, 4)), 1
        padding = (taps - stride) // 2
    n = source.choice((1, 1, 1, 2, 4, 8))
    flops = _log_uniform(source, low, high)
    pixels = flops / (2 * n * c_out * c_in / groups * taps**rank)
    side = round(pixels ** (1 / rank)) * stride
    if side < 1:
        return None
    problem = ConvProblem(
        n, c_in, c_out, (side,) * rank, (taps,) * rank, (stride,) * rank, ((padding,) * 2,) * rank,
        (dilation,) * rank, groups,
    )  # fmt: skip
    sizes = [math.prod(shape) for shape in (problem.x_shape, problem.w_shape, problem.out_shape)]
    fits = max(sizes) <= MAX_ELEMENTS and low <= problem.flops <= high
    return problem if fits and min(problem.out_spatial) >= 1 else None


def draw(family: str, count: int, seed: int, tiny: bool = False) -> Iterator[Problem]:
    """Return random problems of a family, the same for the same seed."""
    low, high = (TINY_FLOPS, MIN_FLOPS) if tiny else (MIN_FLOPS, MAX_FLOPS)
    source = random.Random(f"{family} {seed}")
    rank = int(family.partition("d")[0][-1])
    found = 0
    while found < count:
        try:
            conv = _conv(source, rank, low, high, "transpose" in family and found % 2 == 1)
        except pyconv.InvalidProblem:
            continue
        if conv is None:
            continue
        found += 1
        if family.endswith("-grad-w"):
            yield ConvWeightProblem(conv)
        elif family.startswith("conv_transpose") or family.endswith("-grad-x"):
            yield _transposed(conv, family.endswith("-grad-x"))
        else:
            yield conv


def _transposed(conv: ConvProblem, gradient: bool) -> TransposedProblem:
    """Return the way back through a convolution."""
    extra = tuple(
        n - ((out - 1) * s - sum(pads) + d * (k - 1) + 1)
        for n, out, s, pads, d, k in zip(
            conv.spatial, conv.out_spatial, conv.stride, conv.padding, conv.dilation, conv.kernel, strict=True
        )
    )
    return TransposedProblem(
        conv.n, conv.c_out, conv.c_in, conv.out_spatial, conv.kernel, conv.stride, conv.padding, extra, conv.dilation,
        conv.groups, gradient=gradient,
    )  # fmt: skip


def measured(problem: Problem, budget_s: float) -> Row | None:
    """Measure one problem; None where there is no choice."""
    options = current()
    call = Call.typical(problem, options.threads, options.max_workspace)
    answer = plan.explain_call(call, "auto", options)
    able = {c.id: c.estimate_s for c in answer.candidates if c.supported and not c.id.endswith("@numpy")}
    estimates = {id: seconds for id, seconds in able.items() if seconds is not None}
    if len(estimates) < 2:
        return None
    chosen = answer.by_estimate
    # enough for everybody's first turn, however long that takes
    budget_s = max(budget_s, ENOUGH * sum(estimates.values()))
    seconds = measure.times_of([find(id) for id in estimates], estimates, call, budget_s)
    if not seconds:
        return None
    tuned = min(seconds, key=lambda id: (seconds[id], id))
    ranked = sorted(seconds, key=lambda id: (seconds[id], id))
    again = dict.fromkeys([chosen, *(id for id in ranked[:3] if seconds[id] <= 1.3 * seconds[tuned])])
    truth = measure.times_of([find(id) for id in again], estimates, call, 2 * budget_s) if len(again) > 1 else {}
    # what the second contest had no doubt about keeps what is known of it
    truth = {id: min(truth.get(id, math.inf), seconds.get(id, math.inf)) for id in again}
    return Row(f"{problem.op} {problem}", estimates, seconds, truth, chosen, tuned)


def summary(regrets: Sequence[float]) -> dict[str, float]:
    """Return the geometric mean, quantiles and the maximum."""
    ordered = sorted(regrets)
    found = {"mean": math.exp(statistics.fmean(map(math.log, ordered)))}
    found |= {f"q{round(q * 100)}": ordered[min(len(ordered) - 1, math.ceil(q * len(ordered)) - 1)] for q in QUANTILES}
    return found | {"max": ordered[-1]}


def show(rows: Sequence[Row]) -> None:
    """Print the table by family, and the worst problems."""
    families: dict[str, list[Row]] = {}
    for row in rows:
        families.setdefault(row.problem.partition(" ")[0], []).append(row)
    print(f"{'':<18} {'':>5}  {'by estimates':^33}  {'after tuning':^33}")
    words = ("mean", *(f"{round(q * 100)} %" for q in QUANTILES), "max")
    print(f"{'family':<18} {'count':>5}  " + "  ".join("".join(f"{word:>6}" for word in words)[:36] for _ in range(2)))
    for family, members in [*families.items(), ("all", list(rows))]:
        halves = []
        for choice in ("chosen", "tuned"):
            numbers = summary([row.regret(getattr(row, choice)) for row in members])
            halves.append("".join(f"{value:6.2f}" for value in numbers.values()))
        print(f"{family:<18} {len(members):>5}  " + "  ".join(halves))
    print("worst by estimates:")
    for row in sorted(rows, key=lambda row: -row.regret(row.chosen))[:8]:
        words = row.chosen.split(".")[1], row.fastest.split(".")[1]
        print(f"  {row.regret(row.chosen):5.2f}  {row.problem}: {words[0]}, {words[1]} is faster")


def draw_figure(rows: Sequence[Row], path: Path) -> None:
    """Draw the histogram of regrets and estimates against times."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    bins = [4 ** (i / 40) for i in range(41)]
    for choice, word in (("chosen", "by estimates"), ("tuned", "after tuning")):
        regrets = [min(4.0, row.regret(getattr(row, choice))) for row in rows]
        left.hist(regrets, bins=bins, histtype="step", label=word)
    left.set(xscale="log", yscale="log", xlabel="time of the choice / of the fastest", ylabel="problems")
    left.set_xticks([1, 1.25, 1.5, 2, 3, 4], ["1", "1.25", "1.5", "2", "3", "4"])
    left.minorticks_off()
    left.legend()
    families: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for id, seconds in row.seconds.items():
            families.setdefault(id.split(".")[1], []).append((seconds, row.estimates[id]))
    for family, points in sorted(families.items()):
        right.plot(*zip(*points, strict=True), ".", markersize=2.5, label=family)
    low, high = right.get_xlim()
    right.plot([1e-6, 1], [1e-6, 1], color="black", linewidth=0.5)
    right.set(xscale="log", yscale="log", xlabel="measured, s", ylabel="estimated, s", xlim=(max(low, 1e-6), high))
    right.legend(fontsize=6, markerscale=3, ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main(
    families: Sequence[str] | None = None,
    count: int | None = None,
    seed: int = 0,
    threads: int = 2,
    backend: str = "c",
    budget_s: float = 0.1,
    tiny: bool = False,
    json_path: str | Path | None = None,
    figure: str | Path | None = None,
) -> list[Row]:
    """Measure, print the table, and return the rows.

    Parameters
    ----------
    families : sequence of str, optional
        Of :data:`FAMILIES`; all of them by default.
    count : int, optional
        Problems of each; by default as many as :data:`FAMILIES` says.
    seed, threads : int
    backend : {"c", "numba"}
    budget_s : float
        Seconds of the first contest of a problem; the second has twice as many.
    tiny : bool
        Whether to draw problems of a thousand to a million operations instead.
    json_path, figure : path, optional
        Where to write the rows, and to draw them.

    Examples
    --------
    >>> from benchmarks import regret
    >>> rows = regret.main(["conv2d"], count=3)  # doctest: +SKIP
    """
    chosen = list(FAMILIES) if families is None else list(families)
    unknown = [family for family in chosen if family not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown family {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    problems = [problem for family in chosen for problem in draw(family, count or FAMILIES[family], seed, tiny)]
    rows = []
    with pyconv.options(threads=threads, backend=backend):
        for problem in report.progress(problems):
            row = measured(problem, budget_s)
            if row is not None:
                rows.append(row)
    if not rows:
        print("no problem left a choice", file=sys.stderr)
        return rows
    show(rows)
    if json_path is not None:
        document = {
            "machine": machine.describe(), "pyconv": pyconv.__version__, "isa": pyconv.info().isa, "seed": seed,
            "threads": threads, "backend": backend, "rows": [asdict(row) for row in rows],
        }  # fmt: skip
        Path(json_path).write_text(json.dumps(document) + "\n")
    if figure is not None:
        draw_figure(rows, Path(figure))
    return rows


def read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """Return a file's head and rows."""
    document = json.loads(path.read_text())
    return document, [Row(**fields) for fields in document.pop("rows")]


def _command() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regret", description=__doc__.partition("\n\n")[2])
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; default: all")
    parser.add_argument("--count", type=int, help="problems of each family")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--backend", choices=("c", "numba"), default="c")
    parser.add_argument("--budget", dest="budget_s", type=float, default=0.1, help="seconds of a problem's contest")
    parser.add_argument("--tiny", action="store_true", help="problems of a thousand to a million operations instead")
    parser.add_argument("--json", dest="json_path", metavar="PATH", help="write the rows there")
    parser.add_argument("--figure", metavar="PATH", help="draw the histogram and the estimates there")
    arguments = vars(parser.parse_args())
    arguments["families"] = arguments["families"] or None
    try:
        main(**arguments)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    _command()
