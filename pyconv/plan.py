"""From a call to the algorithm that will do it: the choice, its explanation, and the compiled plan."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field

from . import curves, measure, registry, wisdom
from .algorithm import Algorithm, Call, Runner
from .cost import Machine
from .errors import InvalidProblem, Unsupported
from .options import ACCURACIES, Options
from .problem import Problem

__all__ = ["Candidate", "Explanation", "Plan", "explain_call", "machine_here", "make_plan", "measure_call"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One algorithm's answer to one problem.

    Attributes
    ----------
    id : str
    supported : bool
        Whether it may be taken; if not, ``reason`` says why.
    reason : str
    workspace_bytes : int or None
        Scratch of all threads together.
    estimate_s, measured_s : float or None
        Seconds by the cost model, and as measured, where it was.
    error_bound : float or None
        Largest error of an output before its activation, relative to sum |x| |w| + |bias| + |residual|; for Winograd
        |x| stands for the largest in the input tile.
    """

    id: str
    supported: bool
    reason: str
    workspace_bytes: int | None
    estimate_s: float | None
    measured_s: float | None
    error_bound: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which algorithm a call takes, and what every candidate said; prints as a table."""

    problem: Problem
    algorithm: str
    why: str
    candidates: tuple[Candidate, ...] = field(repr=False)

    @property
    def by_estimate(self) -> str:
        """The algorithm that estimates alone would have taken."""
        able = [c for c in self.candidates if c.supported and not c.id.endswith("@numpy")]
        guess = min(able, key=lambda c: (c.estimate_s or 0.0, c.id), default=None)
        return self.algorithm if guess is None else guess.id

    def __str__(self) -> str:
        rows = [("", "algorithm", "estimate", "measured", "scratch", "error bound", "reason"), *self.rows()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n".join([f"{self.problem.op} {self.problem}", *lines])

    def rows(self) -> list[tuple[str, ...]]:
        """Return one row of text for each candidate: mark, id, estimate, measured, scratch, error bound, reason."""
        return [
            (
                "->" if c.id == self.algorithm else "",
                c.id,
                _seconds(c.estimate_s),
                _seconds(c.measured_s),
                "" if c.workspace_bytes is None else f"{c.workspace_bytes / 1024:.0f} KB",
                "" if c.error_bound is None else f"{c.error_bound:.1e}",
                self.why if c.id == self.algorithm else c.reason,
            )
            for c in self.candidates
        ]


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value * 1e6:.1f} us" if value < 1e-3 else f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """A call's algorithm, bound to everything but the arrays."""

    call: Call
    algorithm: Algorithm
    run: Runner


def _named(name: str, call: Call, options: Options) -> list[Algorithm]:
    """Return the algorithms that ``algorithm=name`` permits, the ones to prefer first."""
    problem = call.problem
    if not isinstance(name, str):
        raise TypeError(f'algorithm must be "auto", a family or an id, got {name!r}')
    permitted = list(registry.candidates(problem.op, problem.dtype, registry.available(options.backend)))
    if options.backend == "cuda" and not permitted:
        missing = registry.why_missing("cuda") or f"no GPU kernel does {problem.op} in {problem.dtype}"
        raise Unsupported(f"{missing}; or copy the arrays to the host")
    if name == "auto":
        return permitted
    family = [a for a in permitted if registry.answers_to(a, name)]
    exact = family or registry.matching(name, problem.op, problem.dtype)
    if exact:
        return exact
    known = registry.algorithms()
    if name in known:
        raise Unsupported(f"{name} is not for {problem.op} in {problem.dtype}")
    words = {a.split(".")[1] for a in known if a.startswith(f"{problem.op}.")}
    families = sorted(words | {registry.family_of(word) for word in words})
    if name in families:
        raise Unsupported(
            f"{name} is not there for {problem.op} in {problem.dtype} on backend {options.backend!r}; "
            f"there are {', '.join(sorted({a.family for a in permitted}))}"
        )
    raise InvalidProblem(
        f"no algorithm is called {name!r}; {problem.op} has {', '.join(families)}, or an id of pyconv.algorithms()"
    )


def _refusal(algorithm: Algorithm, call: Call, name: str, alone: bool, options: Options) -> str:
    """Why this algorithm may not be taken, whatever its speed and its scratch; empty where it may."""
    support = algorithm.supports(call.problem)
    if not support:
        return support.reason
    if (algorithm.backend == "cuda") != (options.backend == "cuda"):
        places = ("a GPU's", "the host's") if algorithm.backend == "cuda" else ("the host's", "a GPU's")
        return "works on arrays in {} memory, these are in {}".format(*places)
    # whoever spells out a variant knows what it is
    if name in ("auto", registry.family_of(algorithm.family)) and not alone:
        needed = algorithm.accuracy(call.problem)
        if ACCURACIES.index(needed) > ACCURACIES.index(options.accuracy):
            return f"needs accuracy={needed!r}, here {options.accuracy!r}"
    if not algorithm.preferred and not alone:
        return "not the instruction set in use; ask for it by its id"
    return ""


def _too_large(call: Call) -> str:
    return f"needs more scratch than max_workspace ({call.max_workspace} bytes)"


def machine_here(isa: str | None = None) -> Machine:
    """Return what the cost model knows of this processor, with the instruction set in use or another one."""
    if registry.why_missing("c") is None:
        from .backends import c

        return c.machine(isa)
    return Machine.of_lanes(8)


#: An algorithm that sums something else than the products is taken where it is estimated to save this share and time.
TRANSFORM_HANDICAP, TRANSFORM_HANDICAP_S = 0.03, 1e-6
#: Seconds that options(measure=True) may spend on a problem when it is first met.
MEASURE_BUDGET_S = 0.05


def _estimate(algorithm: Algorithm, call: Call, machine: Machine) -> float:
    """Return the seconds that the model counts, times what measurements say of the kernel."""
    counted = algorithm.estimate(call.problem, machine)
    return counted * curves.factor(algorithm.id, algorithm.op, algorithm.family, call.problem)


def _refusals(
    call: Call, name: str, options: Options, in_use_only: bool = False
) -> tuple[list[Algorithm], dict[str, str]]:
    """Return all algorithms that are asked, and for each id why it may not be taken; empty where it may.

    ``in_use_only`` leaves out those of other instruction sets, which nobody wants to hear of unless it is explained.
    """
    asked = _named(name, call, options)
    if not in_use_only and name == "auto" and options.backend == "auto":
        asked += registry.candidates(call.problem.op, call.problem.dtype, registry.available("cuda"))
    alone = name != "auto" and not any(registry.answers_to(a, name) for a in asked)
    if in_use_only and not alone:
        asked = [a for a in asked if a.preferred] or asked
    return asked, {a.id: _refusal(a, call, name, alone, options) for a in asked}


def measure_call(call: Call, options: Options, budget_s: float = MEASURE_BUDGET_S) -> dict[str, float]:
    """Time the algorithms that "auto" may take, but for the reference; remember and return seconds by id.

    Nothing is timed where there is no choice.
    """
    asked, refusals = _refusals(call, "auto", options, in_use_only=True)
    machine = machine_here()
    fit = [a for a in asked if not refusals[a.id] and a.backend != "numpy" and a.workspace(call) is not None]
    found = measure.times_of(fit, {a.id: _estimate(a, call, machine) for a in fit}, call, budget_s)
    if found:
        wisdom.record(call.problem, call.threads, found)
    return found


def _choose(
    call: Call, name: str, options: Options, in_use_only: bool = False
) -> tuple[Algorithm, str, list[Algorithm], dict[str, str]]:
    """Return the algorithm, why it, all that were asked, and the refusals by id."""
    asked, refusals = _refusals(call, name, options, in_use_only)
    able = [a for a in asked if not refusals[a.id]]
    machine = machine_here()
    known = wisdom.measured(call.problem, options.threads)

    def rank(algorithm: Algorithm) -> tuple[bool, bool, float, str]:
        # what was measured is known to be good; an estimate beside it would be no more than a guess
        seconds = known.get(algorithm.id)
        if seconds is None:
            guess = _estimate(algorithm, call, machine)
            # what is less exact than direct summation has to earn it: integers stay integers in small problems
            if algorithm.accuracy(call.problem) != "strict":
                guess = guess * (1 + TRANSFORM_HANDICAP) + TRANSFORM_HANDICAP_S
            return algorithm.backend == "numpy", True, guess, algorithm.id
        return algorithm.backend == "numpy", False, seconds, algorithm.id

    for algorithm in sorted(able, key=rank):
        if algorithm.workspace(call) is None:
            refusals[algorithm.id] = _too_large(call)
            continue
        why = "fastest as measured" if algorithm.id in known else "lowest estimate"
        if name != "auto":
            why = "asked for by name"
        elif algorithm.backend == "numpy":
            why = "no other algorithm can do it"
        return algorithm, why, asked, refusals
    table = "\n".join(f"  {id}: {reason}" for id, reason in refusals.items())
    raise Unsupported(f"no permitted algorithm can do {call.problem.op} {call.problem}:\n{table}")


def make_plan(call: Call, name: str, options: Options) -> Plan:
    """Choose, compile and say so: to the logger "pyconv" at level DEBUG, to stderr with ``PYCONV_LOG=dispatch``."""
    began = time.perf_counter()
    if options.measure and name == "auto" and not wisdom.measured(call.problem, options.threads):
        measure_call(call, options)
    algorithm, why, _, _ = _choose(call, name, options, in_use_only=True)
    plan = Plan(call, algorithm, algorithm.compile(call))
    # nobody listens who has not imported logging; importing it here would double the cost of `import pyconv`
    logging, wanted = sys.modules.get("logging"), "dispatch" in os.environ.get("PYCONV_LOG", "").split(",")
    if logging is not None or wanted:
        took = (time.perf_counter() - began) * 1e6
        said = f"{call.problem.op} {call.problem} -> {algorithm.id} ({why}; planned in {took:.0f} us)"
        if wanted:
            print(f"pyconv: {said}", file=sys.stderr)
        if logging is not None:
            logging.getLogger("pyconv").debug("%s", said)
    return plan


def explain_call(call: Call, name: str, options: Options) -> Explanation:
    """Return what :func:`make_plan` would take, with every candidate's answer."""
    chosen, why, asked, refusals = _choose(call, name, options)
    machine = machine_here()
    known = wisdom.measured(call.problem, options.threads)
    best, best_measured = _estimate(chosen, call, machine), known.get(chosen.id)
    rows = []
    for algorithm in asked:
        supported = bool(algorithm.supports(call.problem))
        workspace = algorithm.workspace(call) if supported else None
        refusal = refusals[algorithm.id] or (_too_large(call) if workspace is None else "")
        estimate = _estimate(algorithm, call, machine) if supported else None
        reason = refusal
        if not refusal and algorithm is not chosen and estimate is not None:
            seconds = known.get(algorithm.id)
            share = estimate / best if seconds is None or best_measured is None else seconds / best_measured
            reason = f"{share:.2f}x the time"
            if algorithm.backend == "numpy":
                reason = "only where nothing else can"
        rows.append(
            Candidate(
                id=algorithm.id,
                supported=not refusal,
                reason=reason,
                workspace_bytes=workspace,
                estimate_s=estimate,
                measured_s=known.get(algorithm.id),
                error_bound=algorithm.error_bound(call.problem) if supported else None,
            )
        )
    return Explanation(call.problem, chosen.id, why, tuple(rows))
