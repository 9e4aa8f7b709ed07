"""Fit the cost model to measurements: ``python -m benchmarks.fit_cost RESULT.json ...``.

The results are those of ``python -m benchmarks.regret --json``, made with other seeds than the one that is reported.
For each kernel the logarithm of measured over estimated seconds is fitted by ridge regression over the terms of
:mod:`pyconv.curves`, and written to the file that pyconv reads.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import pyconv
from benchmarks import machine, regret
from pyconv import curves, plan
from pyconv.machine import cpu_kind
from pyconv.problem import parse_problem
from pyconv.registry import algorithms, find

__all__ = ["fit", "main"]

#: Fewer measurements than this fit no polynomial; a constant needs fewer.
LEAST, LEAST_OF_A_CONSTANT = 24, 6
#: Weight of the coefficients' squares, in units of one measurement.
RIDGE = 2.0
#: Measurements further off than this, in logarithms, are taken for disturbed and count as if they were there.
OUTLIER = 1.2


#: Standard deviations from the mean of what was measured, beyond which a size counts as if it were there.
REACH = 2.5

Point = tuple[tuple[float, ...], float]


def points(rows: Iterable[tuple[str | None, regret.Row]]) -> dict[str, list[Point]]:
    """Return by kernel the terms of each problem and the logarithm of measured over counted seconds.

    Rows come with the instruction set that was in use, None for the one of here.
    """
    found: dict[str, list[Point]] = {}
    for isa, row in rows:
        here = plan.machine_here(isa)
        problem: Any = parse_problem(row.problem)
        for id, seconds in row.seconds.items():
            # as the model counts today, whatever it counted and whatever was fitted when this was measured
            algorithm = find(id)
            counted = algorithm.estimate(problem, here)
            key = curves.key_of(algorithm.op, algorithm.family, id.rpartition("@")[2])
            found.setdefault(key, []).append((curves.features(problem), math.log(seconds / counted)))
    return found


def fit(measured: Sequence[Point]) -> dict[str, Any]:
    """Return one kernel's curve, as the file has it."""
    terms = np.array([terms for terms, _ in measured])
    logs = np.array([log for _, log in measured])
    means, spread = terms.mean(0), terms.std(0)
    scales = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    scaled = (terms - means) * scales
    constant, weights = float(np.median(logs)), np.zeros(terms.shape[1])
    if len(measured) >= LEAST:
        for _ in range(3):
            fitted = constant + scaled @ weights
            centre = np.clip(logs, fitted - OUTLIER, fitted + OUTLIER)
            constant = float(centre.mean())
            normal = scaled.T @ scaled + RIDGE * np.eye(len(weights))
            weights = np.linalg.solve(normal, scaled.T @ (centre - constant))
    left = logs - constant - scaled @ weights
    weights = weights * scales
    return {
        "count": len(measured),
        "spread_before": round(float(logs.std()), 3),
        "spread_after": round(float(left.std()), 3),
        "constant": float(f"{constant - means @ weights:.6g}"),
        "weights": [float(f"{value:.6g}") for value in weights],
    }


def ranges(rows: Iterable[regret.Row]) -> list[list[float]]:
    """Return the least and the greatest logarithm of each size."""
    logs = np.array([curves.features(parse_problem(row.problem)) for row in rows])[:, : len(curves.LOGARITHMS)]  # type: ignore[arg-type]
    low = np.maximum(logs.min(0), logs.mean(0) - REACH * logs.std(0))
    high = np.minimum(logs.max(0), logs.mean(0) + REACH * logs.std(0))
    return [[round(float(a), 3), round(float(b), 3)] for a, b in zip(low, high, strict=True)]


def main(paths: Sequence[str | Path], out: str | Path = curves.FILE) -> None:
    """Fit every kernel that the results hold, and print the table; a file that is there is replaced."""
    algorithms()  # which loads the backends
    rows: list[tuple[str | None, regret.Row]] = []
    sources: dict[str, int] = {}
    for path in paths:
        head, found = regret.read(Path(path))
        rows += [(head["isa"], row) for row in found]
        source = f"{head['isa']}, {head['threads']} threads, seed {head['seed']}"
        sources[source] = sources.get(source, 0) + len(found)
    # nothing is cut off while the ranges are found
    unlimited = curves.Curves(((0.0, 60.0),) * len(curves.LOGARITHMS), {})
    curves.shipped = lambda: unlimited
    limits = ranges([row for _, row in rows])
    limited = curves.Curves(tuple((low, high) for low, high in limits), {})
    curves.shipped = lambda: limited
    fitted = {key: fit(data) for key, data in sorted(points(rows).items()) if len(data) >= LEAST_OF_A_CONSTANT}
    print(f"{'kernel':<44} {'count':>5}  spread of logarithms, before and after")
    for key, curve in fitted.items():
        print(f"{key:<44} {curve['count']:>5}  {curve['spread_before']:.2f} {curve['spread_after']:.2f}")
    head = {
        "cpu": cpu_kind(), "machine": machine.describe(), "pyconv": pyconv.__version__,
        "date": dt.date.today().isoformat(), "problems": sources, "features": curves.FEATURES, "ranges": limits,
    }  # fmt: skip
    # a line for each entry: differences stay readable
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    entries = ",\n".join(f"  {json.dumps(key)}: {json.dumps(curve)}" for key, curve in fitted.items())
    lines.append(f' "curves": {{\n{entries}\n }}')
    Path(out).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _command() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_cost", description=__doc__.partition("\n\n")[2])
    parser.add_argument("paths", nargs="+", metavar="RESULT", help="files of python -m benchmarks.regret --json")
    parser.add_argument("--out", default=str(curves.FILE), help="file to write (default: the one that pyconv reads)")
    main(**vars(parser.parse_args()))


if __name__ == "__main__":
    _command()
