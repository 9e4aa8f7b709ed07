"""How much the dispatcher's pick costs: ``python -m benchmarks.choice``.

One plane is filtered with square kernels of many sizes, by every algorithm that is estimated to come near. All are
forced by name, weights packed, in one process, in interleaved rounds (the contest of ``pyconv demo``). The regret is
what the pick takes more than the fastest: 0 where it is the fastest. It is a measurement and asserts nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np

import pyconv
from pyconv.demo import contest

__all__ = ["main"]

SIZES = (3, 5, 7, 9, 11, 13, 15, 17, 21, 25, 31, 41, 51, 63, 81, 101, 127)


def main(
    sizes: Sequence[int] = SIZES,
    plane: tuple[int, int] = (1024, 1024),
    *,
    channels: tuple[int, int] = (1, 1),
    groups: int = 1,
    backend: str = "c",
    dtype: str = "float32",
    threads: int = 2,
    within: float = 4.0,
    budget_s: float = 0.05,
) -> float:
    """Measure, print the table, and return the largest regret.

    Parameters
    ----------
    sizes : sequence of int
        Kernel sizes; the padding keeps the plane's size.
    plane : (int, int)
        Rows and columns.
    channels : (int, int)
        Input and output channels.
    groups : int
    backend : {"c", "numba"}
    dtype : {"float32", "float64"}
    threads : int
    within : float
        Leave out what is estimated to take so many times as long as the pick.
    budget_s : float
        Seconds for each algorithm of a size.

    Examples
    --------
    >>> from benchmarks import choice
    >>> choice.main([3, 9], (64, 64), budget_s=0.001) >= 0  # doctest: +SKIP
    True
    """
    rng = np.random.default_rng(0)
    c_in, c_out = channels
    x = rng.standard_normal((1, c_in, *plane)).astype(dtype)
    print(f"plane {plane[0]}x{plane[1]}, {c_in} -> {c_out} channels, {groups} groups, {dtype}, {threads} threads; ms")
    worst = 0.0
    with pyconv.options(threads=threads, backend=backend):
        for k in sizes:
            w = rng.standard_normal((c_out, c_in // groups, k, k)).astype(dtype)
            settings = {"padding": k // 2, "groups": groups}
            explained = pyconv.explain(pyconv.conv2d, x, w, **settings)
            near = {c.id: c.estimate_s for c in explained.candidates if c.supported and not c.id.endswith("@numpy")}
            limit = within * near[explained.algorithm]
            calls = {
                id: _call(pyconv.prepare(pyconv.conv2d, w, **settings, algorithm=id), x)
                for id, estimate in near.items()
                if estimate <= limit
            }
            timings = contest(calls, budget_s)
            fastest = min(timings, key=lambda id: timings[id].seconds)
            regret = timings[explained.algorithm].seconds / timings[fastest].seconds - 1
            worst = max(worst, regret)
            found = "  ".join(
                f"{id.split('.')[1]} {timing.seconds * 1e3:.2f}{'?' * timing.busy} ({near[id] * 1e3:.2f})"
                for id, timing in sorted(timings.items(), key=lambda item: item[1].seconds)
            )
            print(f"{k:>4}x{k:<4} {explained.algorithm.split('.')[1]:<20} {regret:6.1%}   {found}", flush=True)
    print(f"largest regret {worst:.1%}; in brackets the estimates; ? where other programs disturbed every round")
    return worst


def _call(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> Callable[[], object]:
    return lambda: function(x)


def _pair(text: str) -> tuple[int, int]:
    first, _, second = text.partition("x")
    return int(first), int(second or first)


def _command() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.choice",
        description="Time every algorithm beside the dispatcher's pick for one plane and kernels of many sizes.",
    )
    parser.add_argument("sizes", nargs="*", type=int, metavar="K", help="kernel sizes (default: 3 to 127)")
    parser.add_argument("--plane", type=_pair, default=(1024, 1024), metavar="HxW")
    parser.add_argument("--channels", type=_pair, default=(1, 1), metavar="INxOUT")
    parser.add_argument("--groups", type=int, default=1)
    parser.add_argument("--backend", choices=("c", "numba"), default="c")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--within", type=float, default=4.0, help="leave out what is estimated so many times slower")
    parser.add_argument("--budget", dest="budget_s", type=float, default=0.05, help="seconds for each algorithm")
    arguments = vars(parser.parse_args())
    main(arguments.pop("sizes") or SIZES, **arguments)


if __name__ == "__main__":
    _command()
