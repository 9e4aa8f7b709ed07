"""Timing algorithms against each other on one problem."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .algorithm import Algorithm, Array, Call
from .problem import DTYPES, FLOATS, Operand

__all__ = ["contest", "runner", "times_of"]

#: What one call shows to be so many times slower than the fastest so far is measured no further ...
HOPELESS = 3.0
#: ... and what is estimated to be so many times slower than the lowest estimate is not measured at all.
BEYOND_DOUBT = 30.0
#: Measuring ends when so many rounds have not brought any shortest time down by more than this share.
SETTLED_ROUNDS, SETTLED_SHARE = 4, 0.01
#: A turn of a call that takes less than this is many calls: a short one meets the caches of its own making.
TURN_S = 3e-4
#: Share of the budget that another turn of what seems hopeless may take.
SECOND_CHANCE = 0.05

_NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}


def contest(
    calls: Mapping[str, Callable[[], object]], budget_s: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the shortest time of each call, in interleaved rounds A B C A B C.

    Each is called once to warm up and has a turn; those within :data:`HOPELESS` times the fastest go on, until nothing
    gets shorter or the budget is spent. What the budget does not reach is left out, but for the first one.

    Parameters
    ----------
    calls : mapping of str to callable
        The most promising first.
    budget_s : float
        Seconds for all of them together; a call that has begun is not cut off.
    clock : callable
        Seconds.

    Examples
    --------
    >>> contest({"nothing": lambda: None}, 0.001)["nothing"] < 0.001
    True
    """
    until = clock() + budget_s
    shortest: dict[str, float] = {}

    def once(call: Callable[[], object]) -> float:
        began = clock()
        call()
        return clock() - began

    def turn(call: Callable[[], object]) -> float:
        ends = clock() + TURN_S
        seconds = once(call)
        while clock() < ends:
            seconds = min(seconds, once(call))
        return seconds

    for name, call in calls.items():
        if shortest and clock() >= until:
            break
        first = once(call)
        # a first call may compile, and meets cold caches: there is another, but where no time is left for it
        shortest[name] = first if shortest and clock() + first > until else min(first, turn(call))
    # a sleeping processor may take milliseconds to wake: whoever met that has another turn, where it costs little
    limit = HOPELESS * min(shortest.values(), default=math.inf)
    for name, seconds in shortest.items():
        if seconds > limit and seconds < SECOND_CHANCE * budget_s:
            shortest[name] = min(seconds, turn(calls[name]))
    best = min(shortest.values(), default=math.inf)
    running = [name for name, seconds in shortest.items() if seconds <= HOPELESS * best]
    settled = 0
    while len(running) > 1 and settled < SETTLED_ROUNDS and clock() < until:
        settled += 1
        for name in running:
            seconds = turn(calls[name])
            if seconds < shortest[name] * (1 - SETTLED_SHARE):
                settled = 0
            shortest[name] = min(shortest[name], seconds)
    return shortest


def _array(operand: Operand | None, random: np.random.Generator) -> Array | None:
    """Return a fresh array in the operand's memory order: normal numbers, zeros of integers."""
    if operand is None:
        return None
    dtype, shape = _NUMPY[operand.dtype], operand.shape
    if operand.channels_last:
        shape = (shape[0], *shape[2:], shape[1])
    values = (
        random.standard_normal(shape, np.float32).astype(dtype) if operand.dtype in FLOATS else np.zeros(shape, dtype)
    )
    return np.moveaxis(values, -1, 1) if operand.channels_last else values


def runner(
    algorithm: Algorithm, call: Call, arrays: Sequence[Array | None], weights: Sequence[Array | None]
) -> Callable[[], object]:
    """Return a call of the algorithm on these inputs and outputs, its weights packed already."""
    packed: Any = algorithm.prepare(call.problem, *weights) if weights else None
    run = algorithm.compile(call)
    return lambda: run(packed, *arrays)


def times_of(
    algorithms: Sequence[Algorithm], estimates: Mapping[str, float], call: Call, budget_s: float
) -> dict[str, float]:
    """Return the shortest seconds of a problem by each algorithm's id, on arrays of random numbers.

    Those estimated to be far slower than others are left out, and all where there is no choice.
    """
    lowest = min((estimates[a.id] for a in algorithms), default=0.0)
    near = [a for a in algorithms if estimates[a.id] <= BEYOND_DOUBT * lowest]
    if len(near) < 2 or any(0 in operand.shape for operand in call.problem.outputs):
        return {}
    random = np.random.default_rng(0)
    problem = call.problem
    typical = Call.typical(problem, call.threads, call.max_workspace)
    places = getattr(problem, "places", (*problem.inputs, *problem.outputs))
    arrays = [_array(operand, random) for operand in places]
    weights = [_array(operand, random) for operand in getattr(problem, "weights", ())]
    ranked = sorted(near, key=lambda a: (estimates[a.id], a.id))
    return contest({a.id: runner(a, typical, arrays, weights) for a in ranked}, budget_s)
