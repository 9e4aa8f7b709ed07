"""Write the README's table of algorithms from the registry; ``--check`` fails where it is stale instead."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pyconv
from pyconv.problem import INTEGERS
from pyconv.registry import family_of

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
BACKENDS = {"c": "C", "numba": "Numba CPU"}


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


def main() -> None:
    """Rewrite or check the table."""
    text = README.read_text()
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    wanted = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if "--check" in sys.argv[1:]:
        if text != wanted:
            raise SystemExit("the README's table is stale; run python docs/make_tables.py")
    else:
        README.write_text(wanted)


if __name__ == "__main__":
    main()
