"""Write the README's table of algorithms and coverage.md from the registry; ``--check`` fails where one is stale."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pyconv
from pyconv.backends import numba_cuda
from pyconv.problem import INTEGERS
from pyconv.registry import family_of

DOCS = Path(__file__).resolve().parent
README, COVERAGE = DOCS.parent / "README.md", DOCS / "coverage.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
BACKENDS = {"c": "C", "numba": "Numba CPU"}
COVERED = BACKENDS | {"cuda": "CUDA"}


def _types(words: set[str]) -> str:
    """Return "f32, f64, integers"."""
    floats = sorted(words.difference(INTEGERS))
    return ", ".join([*floats, "integers"] if words.issuperset(INTEGERS) else sorted(words)) or "-"


def _ranks(ops: list[str]) -> str:
    """Return "conv1d/2d/3d, ..." for conv1d, conv2d, conv3d; operations without a rank as they are."""
    found: dict[tuple[str, str], list[str]] = {}
    for op in ops:
        what, rank, rest = re.fullmatch(r"([a-z0-9_]+?)(\dd)?((?:-.*)?)", op).groups("")
        found.setdefault((what, rest), []).append(rank)
    return ", ".join(f"{what}{'/'.join(ranks)}{rest}" for (what, rest), ranks in found.items())


def table() -> str:
    """Return operations x algorithm x backend; cells list element types, operations that agree in them share a row.

    The reference, which does everything, is left out; variants of a family are one.
    """
    found: dict[tuple[str, str], dict[str, set[str]]] = {}
    for name in pyconv.algorithms():
        what, _, where = name.partition("@")
        if where == "cuda":  # docs/cuda.md; listed only where numba-cuda is installed
            continue
        op, family, dtype = what.split(".")
        if family == "reference":
            continue
        family = family_of(family)
        found.setdefault((op, family), {}).setdefault(where.split("-")[0], set()).add(dtype)
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (op, family), backends in sorted(found.items()):
        cells = tuple(_types(backends.get(name, set())) for name in BACKENDS)
        rows.setdefault((family, cells), []).append(op)
    lines = [f"| operation | algorithm | {' | '.join(BACKENDS.values())} |", "|---|---|" + "---|" * len(BACKENDS)]
    for (family, cells), ops in sorted(rows.items(), key=lambda row: (row[1], row[0])):
        lines.append(f"| {_ranks(ops)} | {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def coverage() -> str:
    """Return operations x backend x (forward, gradients); cells list element types, the reference left out.

    The GPU kernels are those that exist, whether numba-cuda is installed here or not.
    """
    found: dict[str, dict[tuple[str, bool], set[str]]] = {}
    arguments: dict[str, set[str]] = {}
    everything = [*(id for id in pyconv.algorithms() if not id.endswith("@cuda")), *(a.id for a in numba_cuda.every())]
    for id in everything:
        what, _, where = id.partition("@")
        op, _, dtype = what.split(".")
        name, gradient, argument = op.partition("-grad-")
        cells = found.setdefault(name, {})
        if gradient:
            arguments.setdefault(name, set()).add(argument)
        if where != "numpy":
            cells.setdefault((where.split("-")[0], bool(gradient)), set()).add(dtype)
    columns = [(backend, gradient) for backend in COVERED for gradient in (False, True)]
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, cells in sorted(found.items()):
        has = bool(arguments.get(name))
        texts = tuple(
            "" if gradient and not has else _types(cells.get((b, gradient), set())) for b, gradient in columns
        )
        rows.setdefault((", ".join(sorted(arguments.get(name, ()))), *texts), []).append(name)
    heads = [f"{title}{', gradients' if gradient else ''}" for title in COVERED.values() for gradient in (False, True)]
    lines = [f"| operation | gradients of | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for texts, ops in sorted(rows.items(), key=lambda row: row[1]):
        lines.append(f"| {_ranks(ops)} | {' | '.join(texts)} |")
    return "\n".join(lines)


def main() -> None:
    """Rewrite or check the tables."""
    for path, made in ((README, table), (COVERAGE, coverage)):
        text = path.read_text()
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        wanted = f"{head}{BEGIN}\n{made()}\n{END}{tail}"
        if "--check" not in sys.argv[1:]:
            path.write_text(wanted)
        elif text != wanted:
            raise SystemExit(f"the table of {path.name} is stale; run python docs/make_tables.py")


if __name__ == "__main__":
    main()
