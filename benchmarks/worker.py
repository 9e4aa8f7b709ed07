"""One library in a process of its own: ``python -m benchmarks.worker PEER``, started by :mod:`benchmarks.run`.

It reads one JSON object a line from standard input and answers each with one line; a library that prints does so to
standard error. The requests:

``{"do": "hello"}``
    ``{"missing": reason or null, "version": text}``
``{"do": "prepare", "layer": {...}, "dtype": ..., "bias": ..., "activation": ..., "threads": ...}``
    ``{"refused": reason}``, ``{"wrong": reason}`` or ``{"form": text, "error": relative rms error}``
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
from dataclasses import asdict
from typing import Any

from benchmarks import data, machine, peers
from benchmarks.shapes import BoxLayer, Layer

__all__ = ["layer_from_json", "layer_to_json", "main"]

#: A round lasts at least this long and has at least so many calls (one, if it takes the last number), after so much
#: warming up.
ROUND_S, ROUND_CALLS, WARM_S, LONG_CALL_S = 0.015, 2, 0.004, 0.2
#: Calls of one round whose times are sent back.
MAX_TIMES = 4000
#: The threads count as asleep when they use less than this share of one processor for one nap.
NAP_S, IDLE_SHARE, IDLE_LIMIT_S = 0.005, 0.1, 0.5


def layer_to_json(layer: Layer) -> dict[str, Any]:
    """Return the layer's fields."""
    return asdict(layer)


def layer_from_json(fields: dict[str, Any]) -> Layer:
    """Inverse of :func:`layer_to_json`."""
    known: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return BoxLayer(**known) if "boxes" in known else Layer(**known)


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


class Worker:
    """The requests, answered for one peer."""

    def __init__(self, name: str) -> None:
        self.peer = peers.load(name)
        self.prepared: peers.Prepared | None = None
        self.arrays: data.Arrays | None = None

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say whether the library is here, and which version."""
        reason = self.peer.available()
        return {"missing": reason, "version": None if reason else self.peer.version()}

    def prepare(self, request: dict[str, Any]) -> dict[str, Any]:
        """Make a layer ready and compare its output with float64."""
        self.forget(request)
        layer, dtype, activation = layer_from_json(request["layer"]), request["dtype"], request["activation"]
        reason = self.peer.supports(layer, dtype)
        if reason is None and isinstance(layer, BoxLayer) and not getattr(self.peer, "HAS_BOXES", False):
            reason = "has no regions of interest"
        if reason is not None:
            return {"refused": reason}
        arrays = data.make_arrays(layer, dtype, request["bias"])
        try:
            prepared = self.peer.prepare(layer, arrays.x, arrays.w, arrays.bias, activation, request["threads"], dtype)
            out = prepared.run()
        except Exception as error:
            # Whatever a library raises for a layer is its answer to it, and is reported as such.
            return {"refused": f"{type(error).__name__}: {error}"}
        try:
            error_rms = data.disagreement(layer, arrays, activation, out)
        except ValueError as error:
            return {"wrong": str(error)}
        if not error_rms <= data.TOLERANCE[dtype]:
            return {"wrong": f"relative rms error {error_rms:.1e}, permitted {data.TOLERANCE[dtype]:.0e}"}
        self.prepared, self.arrays = prepared, arrays
        return {"form": prepared.form, "error": error_rms, "idle": wait_until_idle()}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run one round."""
        if self.prepared is None:
            raise RuntimeError("there is nothing to time: send a prepare request first")
        gc.disable()
        before = (time.perf_counter(), machine.waiting_seconds(), machine.spare_seconds())
        times = time_round(self.prepared.run)
        after = (time.perf_counter(), machine.waiting_seconds(), machine.spare_seconds())
        gc.enable()
        length, waited, spare = (end - start for start, end in zip(before, after, strict=True))
        return {
            "seconds": times[:MAX_TIMES],
            "waited": waited / length,
            "spare": spare / length,
            "idle": wait_until_idle(),
        }

    def forget(self, request: dict[str, Any]) -> dict[str, Any]:
        """Free the layer's arrays and graphs."""
        self.prepared, self.arrays = None, None
        gc.collect()
        return {}


def main() -> None:
    """Answer requests until standard input ends."""
    # "-m" put the working tree in front of the installed packages; benchmarks is loaded, and the pyconv to measure is
    # the installed one.
    sys.path.append(sys.path.pop(0))
    # The pipe moves to a descriptor of its own, and 1 becomes standard error: libraries print from C as well.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    actions = {"hello": worker.hello, "prepare": worker.prepare, "time": worker.time, "forget": worker.forget}
    for line in sys.stdin:
        request = json.loads(line)
        answers.write(json.dumps(actions[request["do"]](request)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
