"""Measure pyconv and its rivals side by side: ``python -m benchmarks.run``.

Every library computes in its own process (:mod:`benchmarks.worker`), one at a time, in interleaved rounds A B C A B C,
so that a slow minute of the machine falls on all of them. The README beside this file has the rules.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine, peak, report, shapes
from benchmarks.peers import OTHERS, OURS, PEERS, RIVALS, TWINS, YARDSTICKS
from benchmarks.remote import Lost, Remote
from benchmarks.shapes import FILTERS, Layer

__all__ = ["Measured", "Result", "main"]

#: Limits for one answer of a worker.
HELLO_LIMIT_S, PREPARE_LIMIT_S, ROUND_LIMIT_S = 120.0, 45.0, 45.0
#: A peer so many times slower than the fastest of the first round keeps that round's time and is spared the others.
HOPELESS = 6.0
#: A peer whose worker was lost so often is left out of the rest.
MAX_LOSSES = 3
#: A round in which a peer's threads waited this share of the time for a processor was disturbed by other processes, and
#: is repeated for as long as the patience with the layer lasts ...
DISTURBED = 0.03
#: ... unless processors had nothing to do for at least this part of the waiting: then the peer's threads stood in each
#: other's way on one processor, which is how they run, and counts.
SELF_MADE = 0.5
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass
class Measured:
    """What one peer did with one layer.

    Attributes
    ----------
    form : str
        How the library was called; our algorithm's id.
    error : float
        Relative rms error of the sample that was compared with float64.
    rounds_s : list of float
        Median seconds of a call, one entry a round.
    calls_s : list of float
        Every timed call.
    always_idle : bool
        Whether its threads went to sleep after every round.
    disturbed : list of bool
        Whether other processes took part of the time, one entry a round.
    crowded : int
        Rounds in which its threads waited for each other's processor while another had nothing to do.
    problem : str
        The layer as pyconv writes it; of ourselves only.
    """

    form: str
    error: float
    rounds_s: list[float] = field(default_factory=list)
    calls_s: list[float] = field(default_factory=list)
    always_idle: bool = True
    disturbed: list[bool] = field(default_factory=list)
    crowded: int = 0
    problem: str = ""

    @property
    def median_s(self) -> float:
        """Median over the undisturbed rounds, or over all where there are none: the number that is compared."""
        pairs = zip(self.rounds_s, self.disturbed, strict=True)
        return statistics.median([seconds for seconds, disturbed in pairs if not disturbed] or self.rounds_s)

    def quantiles_s(self) -> dict[str, float]:
        """Quantiles of the seconds of a call over all rounds (nearest rank)."""
        ordered = sorted(self.calls_s)
        return {f"q{round(q * 100):02}": ordered[min(len(ordered) - 1, int(q * len(ordered)))] for q in QUANTILES}


@dataclass
class Result:
    """One layer: who was measured, and why the others were not (peer -> reason)."""

    layer: Layer
    measured: dict[str, Measured] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def best_rival(self) -> str | None:
        """The rival with the lowest median."""
        rivals = [peer for peer in self.measured if peer in RIVALS]
        return min(rivals, key=lambda peer: self.measured[peer].median_s, default=None)

    def ratio_to(self, peer: str | None) -> float | None:
        """Return a peer's time over ours, None where either is missing: above 1 we are faster."""
        if peer not in self.measured or OURS not in self.measured:
            return None
        return self.measured[peer].median_s / self.measured[OURS].median_s

    @property
    def ratio(self) -> float | None:
        """Best rival's time over ours."""
        return self.ratio_to(self.best_rival)

    def gflops(self, peer: str) -> float:
        """GFLOP/s by the definition's count: an algorithm with less arithmetic shows more than the processor's peak."""
        return self.layer.flops / self.measured[peer].median_s / 1e9

    def to_json(self) -> dict[str, Any]:
        """Return the entry of the JSON file."""
        return {
            "layer": asdict(self.layer),
            "class": self.layer.bench_class,
            "problem": self.measured[OURS].problem if OURS in self.measured else "",
            "flops": self.layer.flops,
            "peers": {
                peer: {
                    "form": m.form,
                    "relative_rms_error": m.error,
                    "median_s": m.median_s,
                    "gflops": self.gflops(peer),
                    "rounds_s": m.rounds_s,
                    "quantiles_s": m.quantiles_s(),
                    "calls": len(m.calls_s),
                    "always_idle": m.always_idle,
                    "disturbed_rounds": sum(m.disturbed),
                    "only_disturbed": all(m.disturbed),
                    "crowded_rounds": m.crowded,
                }
                for peer, m in self.measured.items()
            },
            "absent": self.absent,
            "best_rival": self.best_rival,
            "ratio": self.ratio,
            "of_copy": self.ratio_to("copy"),
        }


class Field:
    """The peers that take part, each with its worker; a context manager that ends them.

    Parameters
    ----------
    names : sequence of str
    threads : int
    """

    def __init__(self, names: Sequence[str], threads: int) -> None:
        self.threads = threads
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._losses = dict.fromkeys(names, 0)
        self._workers: dict[str, Remote] = {}

    def __enter__(self) -> Field:
        for peer in self._losses:
            self._workers[peer] = Remote(peer, self.threads)
        # Started together, asked one after the other: importing takes seconds.
        for peer in self._losses:
            answer = self.ask(peer, {"do": "hello"}, HELLO_LIMIT_S)
            reason = answer.get("lost") or answer["missing"]
            if reason:
                self._leave_out(peer, reason)
            else:
                self.versions[peer] = answer["version"]
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers.values():
            worker.close()

    @property
    def peers(self) -> list[str]:
        """Who is still in."""
        return [peer for peer in self._losses if peer not in self.missing]

    def ask(self, peer: str, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Return the worker's answer, or ``{"lost": reason}``; a lost worker is started again for what comes next."""
        try:
            return self._workers[peer].ask(request, limit_s)
        except Lost as lost:
            self._losses[peer] += 1
            if self._losses[peer] >= MAX_LOSSES:
                self._leave_out(peer, f"lost {MAX_LOSSES} times, at last: {lost}")
            else:
                self._workers[peer] = Remote(peer, self.threads)
            return {"lost": str(lost)}

    def _leave_out(self, peer: str, reason: str) -> None:
        self.missing[peer] = reason
        self._workers.pop(peer).close()


@dataclass(frozen=True)
class Settings:
    """How every layer is measured; the parameters are :func:`main`'s."""

    threads: int
    dtype: str
    rounds: int
    bias: bool
    activation: str | None
    patience_s: float


def _waited(answer: dict[str, Any]) -> str:
    """Say whose processors a round's threads waited for: "" (none), "others" or "own"."""
    if answer.get("waited", 0.0) <= DISTURBED:
        return ""
    return "own" if answer["spare"] >= SELF_MADE * answer["waited"] else "others"


def measure(contest: Field, layer: Layer, settings: Settings) -> Result:
    """Prepare and check one layer in every worker, then time it in interleaved rounds."""
    result = Result(layer)
    patience = settings.patience_s
    request = {
        "do": "prepare",
        "layer": layer.name,
        "dtype": settings.dtype,
        # A filter has no bias, and filter2D and SciPy would pay a pass for it.
        "bias": settings.bias and layer.bench_class not in FILTERS,
        "activation": settings.activation,
        "threads": settings.threads,
    }
    patience -= machine.wait_until_quiet(patience)
    for peer in contest.peers:
        answer = contest.ask(peer, request, PREPARE_LIMIT_S)
        if "form" in answer:
            result.measured[peer] = Measured(
                answer["form"], answer["error"], always_idle=answer["idle"], problem=answer["problem"]
            )
        else:
            word = next(word for word in ("refused", "wrong", "lost") if word in answer)
            result.absent[peer] = f"{word}: {answer[word]}"
    running = list(result.measured)
    for number in range(settings.rounds):
        for peer in list(running):
            answer = contest.ask(peer, {"do": "time"}, ROUND_LIMIT_S)
            while _waited(answer) == "others" and patience > 0:
                began = time.monotonic()
                machine.wait_until_quiet(patience)
                answer = contest.ask(peer, {"do": "time"}, ROUND_LIMIT_S)
                patience -= time.monotonic() - began
            if "lost" in answer:
                running.remove(peer)
                del result.measured[peer]
                result.absent[peer] = f"lost: {answer['lost']}"
                continue
            measured = result.measured[peer]
            measured.rounds_s.append(statistics.median(answer["seconds"]))
            measured.calls_s += answer["seconds"]
            measured.always_idle &= answer["idle"]
            measured.disturbed.append(_waited(answer) == "others")
            measured.crowded += _waited(answer) == "own"
        if number == 0 and running:
            fastest = min((result.measured[p].median_s for p in running if p not in YARDSTICKS), default=0.0)
            running = [p for p in running if p in YARDSTICKS or result.measured[p].median_s <= HOPELESS * fastest]
    for peer in contest.peers:
        contest.ask(peer, {"do": "forget"}, ROUND_LIMIT_S)
    return result


def _gathered(ratios: Sequence[tuple[float, str]]) -> dict[str, Any]:
    """Return count, wins, geometric mean and worst of (ratio, layer's name)."""
    worst, layer = min(ratios)
    return {
        "count": len(ratios),
        "faster_on": sum(ratio > 1 for ratio, _ in ratios),
        "geometric_mean": math.exp(statistics.fmean(math.log(ratio) for ratio, _ in ratios)),
        "worst": worst,
        "worst_layer": layer,
    }


def summarise(results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """Return per class: count, wins, geometric mean of the ratios and the worst layer.

    The same stands under ``"against"`` for each rival alone, over the layers that it can do, for a plain copy (its
    ratio is the share of the copy's speed), and for our own Numba kernels.
    """
    classes: dict[str, list[Result]] = {}
    for result in results:
        classes.setdefault(result.layer.bench_class, []).append(result)
    summary: dict[str, dict[str, Any]] = {}
    for name, members in classes.items():
        against: dict[str, dict[str, Any]] = {}
        for peer in OTHERS:
            found = [(ratio, member.layer.name) for member in members if (ratio := member.ratio_to(peer)) is not None]
            if found:
                against[peer] = _gathered(found)
        best = [(member.ratio, member.layer.name) for member in members if member.ratio is not None]
        if against:
            summary[name] = {**(_gathered(best) if best else {"count": 0}), "against": against}
    return summary


def _check(settings: Settings, peers: Sequence[str]) -> None:
    """Raise ValueError for a setting that no peer, or not every peer, could follow."""
    unknown = [peer for peer in peers if peer not in PEERS]
    if unknown:
        raise ValueError(f"unknown peer {', '.join(unknown)}; the peers are {', '.join(PEERS)}")
    if settings.threads < 1 or settings.rounds < 1:
        raise ValueError(f"threads and rounds must be at least 1, got {settings.threads} and {settings.rounds}")
    if settings.dtype not in shapes.DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(shapes.DTYPES)}, got {settings.dtype!r}")
    if settings.activation not in {None, "relu"}:
        raise ValueError(f'activation must be None or "relu" (what every peer has), got {settings.activation!r}')


def _own_seconds() -> float:
    """Return the processor time of this process and of the children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(
    classes: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    threads: int = 2,
    dtype: str = "float32",
    rounds: int = 5,
    quick: bool = False,
    full: bool = False,
    bias: bool = True,
    activation: str | None = None,
    patience_s: float = 20.0,
    json_path: str | Path | None = None,
) -> dict[str, Any]:
    """Measure, print the report, and return what the JSON file holds.

    Parameters
    ----------
    classes, names : sequence of str, optional
        Which layers: classes of :data:`benchmarks.shapes.CLASSES` and shell patterns of layer names.
    peers : sequence of str, optional
        Of :data:`benchmarks.peers.PEERS`; by default all but :data:`benchmarks.peers.TWINS`. Those not installed are
        left out, with the reason.
    threads : int
        Threads of every library.
    dtype : {"float16", "float32", "float64"}
    rounds : int
        How often every peer's turn comes.
    quick, full : bool
        A few layers of each class, or all of them, instead of the default lists.
    bias : bool
        Whether a bias is added (never to image filters).
    activation : {None, "relu"}
        Applied after the bias; fused where the library can.
    patience_s : float
        How long, for each layer, to wait for a quiet machine and to repeat rounds that others disturbed; 0 takes every
        round as it comes.
    json_path : path, optional
        Where to write the result, anew after each layer.

    Raises
    ------
    ValueError
        If a class, a pattern, a peer or a setting is unknown.

    Examples
    --------
    >>> from benchmarks import run
    >>> outcome = run.main(names=["tiny.3x3_8"], peers=["scipy"], rounds=1)  # doctest: +SKIP
    """
    chosen = tuple(peer for peer in PEERS if peer not in TWINS) if peers is None else tuple(peers)
    settings = Settings(threads, dtype, rounds, bias, activation, patience_s)
    _check(settings, chosen)
    layers = shapes.select(classes, names, quick=quick, full=full)
    if not layers:
        raise ValueError(
            f"no layer of {classes} matches {names}; python -m benchmarks.run --list --full shows them all"
        )
    document: dict[str, Any] = {"machine": machine.describe(), "settings": asdict(settings)}
    results: list[Result] = []
    busy, own = machine.busy_seconds(), _own_seconds()
    machine.wait_until_quiet(patience_s)
    document["fma_gflops"] = peak.fma_gflops(threads, dtype)
    with Field(chosen, threads) as contest:
        document |= {"versions": contest.versions, "missing": contest.missing}
        try:
            for layer in report.progress(layers):
                results.append(measure(contest, layer, settings))
                document |= {"classes": summarise(results), "layers": [result.to_json() for result in results]}
                if json_path is not None:
                    # After each layer: hours of measuring survive whatever ends them.
                    Path(json_path).write_text(json.dumps(document, indent=1) + "\n")
        except KeyboardInterrupt:
            print("interrupted; this is what was measured before", file=sys.stderr)
    if not results:
        return document
    after = machine.busy_seconds()
    if busy is not None and after is not None:
        document["others_s"] = round(max(0.0, after - busy - (_own_seconds() - own)), 1)
    report.show(document)
    if json_path is not None:
        Path(json_path).write_text(json.dumps(document, indent=1) + "\n")
    return document


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measure pyconv and its rivals side by side, each in its own process, in interleaved rounds.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="layers to measure, as shell patterns: 'resnet50.*'")
    parser.add_argument("-c", "--class", dest="classes", action="append", choices=shapes.CLASSES, help="repeatable")
    help_peers = f"repeatable; default: all but {', '.join(TWINS)}"
    parser.add_argument("-p", "--peer", dest="peers", action="append", choices=PEERS, help=help_peers)
    parser.add_argument("-t", "--threads", type=int, default=2, help="threads of every library (default: 2)")
    parser.add_argument("--dtype", choices=tuple(shapes.DTYPES), default="float32")
    parser.add_argument("-r", "--rounds", type=int, default=5, help="turns of every peer (default: 5)")
    parser.add_argument("--quick", action="store_true", help=f"{shapes.QUICK_PER_CLASS} layers of each class")
    parser.add_argument("--full", action="store_true", help="all layers, not only each class's default list")
    parser.add_argument("--no-bias", dest="bias", action="store_false", help="convolve without a bias")
    parser.add_argument("--activation", choices=("relu",), help="apply it after the bias")
    parser.add_argument(
        "--patience",
        dest="patience_s",
        type=float,
        default=20.0,
        help="seconds of waiting for a quiet machine, for each layer (default: 20)",
    )
    parser.add_argument("--json", dest="json_path", metavar="PATH", help="write the result there")
    parser.add_argument("--list", action="store_true", help="print the layers that would be measured, and end")
    return parser


def _command() -> None:
    parser = _parser()
    arguments = vars(parser.parse_args())
    arguments["names"] = arguments["names"] or None
    try:
        if arguments.pop("list"):
            picked = {key: arguments[key] for key in ("classes", "names", "quick", "full")}
            for layer in shapes.select(**picked):
                print(f"{layer.bench_class:<15} {layer.name:<36} {dict(layer.shapes)} -> {layer.out_shapes}")
            return
        main(**arguments)
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    _command()
