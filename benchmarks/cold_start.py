"""What a first call costs without the C extension: ``python -m benchmarks.cold_start``.

Each call is the first of a process of its own, with Numba's kernels, once with nothing kept on disk and once more with
what that left there. The seconds are those beyond ``import numba``: pyconv's own import, what is compiled, the call.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["CALLS", "main"]

#: Function, shapes of what it is called with, and its settings.
CALLS: dict[str, tuple[str, tuple[tuple[int, ...], ...], dict[str, Any]]] = {
    "conv2d 3x3": ("conv2d", ((1, 16, 56, 56), (32, 16, 3, 3)), {"padding": 1}),
    "conv2d 1x1": ("conv2d", ((1, 16, 56, 56), (32, 16, 1, 1)), {}),
    "conv2d 7x7 s2": ("conv2d", ((1, 3, 56, 56), (16, 3, 7, 7)), {"stride": 2, "padding": 3}),
    "conv2d depthwise 3x3": ("conv2d", ((1, 32, 56, 56), (32, 1, 3, 3)), {"padding": 1, "groups": 32}),
    "max_pool2d 2x2": ("max_pool2d", ((1, 16, 56, 56),), {"kernel_size": 2}),
    "avg_pool2d 2x2": ("avg_pool2d", ((1, 16, 56, 56),), {"kernel_size": 2}),
    "relu": ("relu", ((1, 16, 56, 56),), {}),
}


def first_call(name: str) -> dict[str, Any]:
    """Make a call in this process, and return what it took."""
    began = time.perf_counter()
    import numba  # noqa: F401

    imported = time.perf_counter()
    import numpy as np

    import pyconv

    function, shapes, settings = CALLS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    pyconv.set_options(backend="numba")
    called: Callable[..., Any] = getattr(pyconv, function)
    called(*arrays, **settings)
    done = time.perf_counter()
    algorithm = pyconv.explain(called, *arrays, **settings).algorithm
    return {"numba_s": imported - began, "beyond_s": done - imported, "algorithm": algorithm}


def measured(name: str, cache: str) -> dict[str, Any]:
    """Make a call in a process of its own, with a folder for what is compiled."""
    # the same pyconv as here, be it the checkout's or the installed one
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": path}
    command = [sys.executable, "-P", "-m", "benchmarks.cold_start", "--here", name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or with ``--here`` the one call of this process."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cold_start", description=__doc__)
    parser.add_argument("calls", nargs="*", choices=[[], *CALLS], help="default: all")
    parser.add_argument("--here", action="store_true", help="call in this process and print one line of JSON")
    given = parser.parse_args(arguments)
    if given.here:
        print(json.dumps(first_call(given.calls[0])))
        return
    print("| first call | algorithm | import numba, s | beyond it, nothing kept, s | from the cache, s |")
    print("|---|---|---|---|---|")
    for name in given.calls or CALLS:
        with tempfile.TemporaryDirectory() as cache:
            cold, warm = (measured(name, cache) for _ in range(2))
        algorithm = cold["algorithm"].split("@")[0]
        seconds = f"{cold['numba_s']:.2f} | {cold['beyond_s']:.2f} | {warm['beyond_s']:.2f}"
        print(f"| {name} | {algorithm} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
