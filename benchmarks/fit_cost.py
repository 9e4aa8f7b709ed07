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


def points(rows: Iterable[regret.Row]) -> dict[str, list[tuple[tuple[float, ...], float]]]:
    """Return by kernel the terms of each problem and the logarithm of measured over counted seconds."""
    found: dict[str, list[tuple[tuple[float, ...], float]]] = {}
    for row in rows:
        problem: Any = parse_problem(row.problem)
        for id, seconds in row.seconds.items():
            # as the model counts today, whatever it counted and whatever was fitted when this was measured
            algorithm = find(id)
            counted = algorithm.estimate(problem, plan.machine_here())
            key = curves.key_of(algorithm.op, algorithm.family, id.rpartition("@")[2])
            found.setdefault(key, []).append((curves.features(problem), math.log(seconds / counted)))
    return found


def fit(measured: Sequence[tuple[tuple[float, ...], float]]) -> dict[str, Any]:
    """Return one kernel's curve, as the file has it."""
    terms = np.array([terms for terms, _ in measured])
    logs = np.array([log for _, log in measured])
    means, spread = terms.mean(0), terms.std(0)
    scales = np.where(spread > 1e-9, 1 / np.maximum(spread, 1e-9), 0.0)
    scaled = np.clip((terms - means) * scales, -curves.REACH, curves.REACH)
    constant, weights = float(np.median(logs)), np.zeros(terms.shape[1])
    if len(measured) >= LEAST:
        for _ in range(3):
            centre = np.clip(logs, constant + scaled @ weights - OUTLIER, constant + scaled @ weights + OUTLIER)
            constant = float(centre.mean() - scaled.mean(0) @ weights)
            normal = scaled.T @ scaled + RIDGE * np.eye(len(weights))
            weights = np.linalg.solve(normal, scaled.T @ (centre - constant))
    left = logs - constant - scaled @ weights
    return {
        "count": len(measured),
        "spread_before": round(float(logs.std()), 3),
        "spread_after": round(float(left.std()), 3),
        "constant": round(constant, 4),
        "means": [float(f"{value:.5g}") for value in means],
        "scales": [float(f"{value:.5g}") for value in scales],
        "weights": [float(f"{value:.4g}") for value in weights],
    }


def main(paths: Sequence[str | Path], out: str | Path = curves.FILE) -> None:
    """Fit every kernel that the results hold, keep the others of the file as they are, and print the table."""
    algorithms()  # which loads the backends
    rows: list[regret.Row] = []
    sources = []
    for path in paths:
        head, found = regret.read(Path(path))
        rows += found
        sources.append({"seed": head["seed"], "threads": head["threads"], "isa": head["isa"], "rows": len(found)})
    known: dict[str, Any] = {}
    if Path(out).exists():
        known = json.loads(Path(out).read_text())["curves"]
    fitted = {key: fit(data) for key, data in sorted(points(rows).items()) if len(data) >= LEAST_OF_A_CONSTANT}
    print(f"{'kernel':<44} {'count':>5} {'factor':>7}  spread of logarithms, before and after")
    for key, curve in fitted.items():
        before, after = curve["spread_before"], curve["spread_after"]
        print(f"{key:<44} {curve['count']:>5} {math.exp(curve['constant']):>7.2f}  {before:.2f} {after:.2f}")
    head = {
        "cpu": cpu_kind(), "machine": machine.describe(), "pyconv": pyconv.__version__,
        "date": dt.date.today().isoformat(), "sources": sources, "features": curves.FEATURES,
    }  # fmt: skip
    # a line for each entry: differences stay readable
    lines = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    every = sorted({**known, **fitted}.items())
    entries = ",\n".join(f"  {json.dumps(key)}: {json.dumps(curve)}" for key, curve in every)
    lines.append(f' "curves": {{\n{entries}\n }}')
    Path(out).write_text("{\n" + ",\n".join(lines) + "\n}\n")


def _command() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit_cost", description=__doc__.partition("\n\n")[2])
    parser.add_argument("paths", nargs="+", metavar="RESULT", help="files of python -m benchmarks.regret --json")
    parser.add_argument("--out", default=str(curves.FILE), help="file to write (default: the one that pyconv reads)")
    main(**vars(parser.parse_args()))


if __name__ == "__main__":
    _command()
