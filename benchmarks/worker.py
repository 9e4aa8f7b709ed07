"""One library in a process of its own: ``python -m benchmarks.worker PEER``, started by :mod:`benchmarks.run`.

It reads one JSON object a line from standard input and answers each with one line; a library that prints does so to
standard error. The requests:

``{"do": "hello"}``
    ``{"missing": reason or null, "version": text}``
``{"do": "prepare", "layer": name, "dtype": ..., "bias": ..., "activation": ..., "threads": ...}``
    ``{"refused": reason}``, ``{"wrong": reason}`` or ``{"form": text, "problem": text, "error": relative rms error,
    "idle": whether its threads slept afterwards}``
``{"do": "time"}``
    ``{"seconds": [one a call], "waited": share, "spare": share, "idle": whether its threads slept afterwards}``;
    ``waited`` is the time that threads were ready and had no processor, ``spare`` the time that processors had nothing
    to do, both relative to the round's length
``{"do": "forget"}``
    ``{}``: frees the layer

Between requests the process waits in a read, and it answers ``time`` only once its threads have stopped spinning, so
that it takes nothing from the peer that comes next.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from benchmarks import data, machine, peers
from benchmarks.shapes import find

__all__ = ["Worker", "answer", "main", "timed_round", "wait_until_idle"]

#: A round lasts at least this long and has at least so many calls (one, if it takes the last number), after so much
#: warming up.
ROUND_S, ROUND_CALLS, WARM_S, LONG_CALL_S = 0.015, 2, 0.004, 0.2
#: Calls of one round whose times are sent back.
MAX_TIMES = 4000
#: The threads count as asleep when they use less than this share of one processor for one nap.
NAP_S, IDLE_SHARE, IDLE_LIMIT_S = 0.005, 0.1, 0.5


def wait_until_idle() -> bool:
    """Sleep until no thread of this process computes or spins; return whether that was reached."""
    limit = time.perf_counter() + IDLE_LIMIT_S
    while time.perf_counter() < limit:
        used = time.process_time()
        time.sleep(NAP_S)
        if time.process_time() - used < IDLE_SHARE * NAP_S:
            return True
    return False


def time_round(run: Any) -> list[float]:
    """Return the seconds of each call of one round."""
    clock = time.perf_counter
    until = clock() + WARM_S
    while True:
        run()
        if clock() >= until:
            break
    times: list[float] = []
    began = clock()
    while True:
        start = clock()
        run()
        end = clock()
        times.append(end - start)
        if end - began >= ROUND_S and (len(times) >= ROUND_CALLS or times[0] >= LONG_CALL_S):
            return times


def timed_round(run: Any) -> dict[str, Any]:
    """Run one round; return the answer to ``time``."""
    gc.disable()
    before = (time.perf_counter(), machine.waiting_seconds(), machine.spare_seconds())
    times = time_round(run)
    after = (time.perf_counter(), machine.waiting_seconds(), machine.spare_seconds())
    gc.enable()
    length, waited, spare = (end - start for start, end in zip(before, after, strict=True))
    return {
        "seconds": times[:MAX_TIMES],
        "waited": waited / length,
        "spare": spare / length,
        "idle": wait_until_idle(),
    }


class Worker:
    """The requests, answered for one peer."""

    def __init__(self, name: str) -> None:
        self.name, self.peer = name, peers.load(name)
        self.prepared: peers.Prepared | None = None
        self.job: peers.Job | None = None

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say whether the library is here, and which version."""
        reason = self.peer.available()
        return {"missing": reason, "version": None if reason else self.peer.version()}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a layer ready and compare its output with float64."""
        self.forget(request)
        job, refusal = self._job(request)
        if job is None:
            return {"refused": refusal}
        try:
            prepared = self.peer.prepare(job)
            outputs = peers.outputs_of(prepared.run())
        except Exception as error:
            # Whatever a library raises for a layer is its answer to it, and is reported as such.
            return {"refused": f"{type(error).__name__}: {error}"}
        error_rms = 0.0
        if self.name not in peers.YARDSTICKS:
            try:
                error_rms = job.layer.disagreement(job.arrays, outputs, job.activation)
            except ValueError as error:
                return {"wrong": str(error)}
        if not error_rms <= data.TOLERANCE[job.dtype]:
            return {"wrong": f"relative rms error {error_rms:.1e}, permitted {data.TOLERANCE[job.dtype]:.0e}"}
        # The job goes with it: its arrays are what the prepared call reads.
        self.prepared, self.job = prepared, job
        return {"form": prepared.form, "problem": prepared.problem, "error": error_rms, "idle": wait_until_idle()}

    def _job(self, request: dict[str, Any]) -> tuple[peers.Job | None, str]:
        """Return what the peer is asked for, or None and why it cannot do it."""
        layer, dtype = find(request["layer"]), request["dtype"]
        reason = self.peer.supports(layer, dtype)
        if reason is not None:
            return None, reason
        arrays = data.make_arrays(layer, dtype, request["bias"])
        return peers.Job(layer, arrays, request["activation"] if layer.activated else None, request["threads"]), ""

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one round."""
        if self.prepared is None:
            raise RuntimeError("there is nothing to time: send a prepare request first")
        return timed_round(self.prepared.run)

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Free the layer's arrays and graphs."""
        self.prepared, self.job = None, None
        gc.collect()
        return {}


def answer(worker: Any) -> None:
    """Answer requests with a worker's methods of their names, until standard input ends."""
    # "-m" put the working tree in front of the installed packages; benchmarks is loaded, and the pyconv to measure is
    # the installed one.
    sys.path.append(sys.path.pop(0))
    # The pipe moves to a descriptor of its own, and 1 becomes standard error: libraries print from C as well.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(getattr(worker, request["do"])(request)) + "\n")
        answers.flush()


def main() -> None:
    """Answer for the library that the command names."""
    answer(Worker(sys.argv[1]))


if __name__ == "__main__":
    main()
