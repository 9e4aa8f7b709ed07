"""How long each node of a run took."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

__all__ = ["Profile", "Row"]


class Row(NamedTuple):
    """One node: its operator, its name, the shape of its first result, and seconds."""

    op: str
    name: str
    shape: tuple[int, ...]
    seconds: float


class Profile:
    """The nodes of a run with their times, in the order in which they ran; prints as a table."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def add(self, op: str, name: str, shape: tuple[int, ...], seconds: float) -> None:
        """Enter a node."""
        self.rows.append(Row(op, name, shape, seconds))

    @property
    def seconds(self) -> float:
        """The time of all nodes."""
        return sum(row.seconds for row in self.rows)

    def by_operator(self) -> dict[str, tuple[int, float]]:
        """Return of each operator how many nodes there are and their seconds, the slowest first."""
        found: defaultdict[str, list[float]] = defaultdict(list)
        for row in self.rows:
            found[row.op].append(row.seconds)
        return {op: (len(times), sum(times)) for op, times in sorted(found.items(), key=lambda item: -sum(item[1]))}

    def __str__(self) -> str:
        total = self.seconds or 1.0
        lines = [f"{'ms':>9}  {'share':>5}  {'operator':<20} {'result':<22} node"]
        for row in self.rows:
            size = "x".join(map(str, row.shape))
            lines.append(
                f"{row.seconds * 1e3:9.3f}  {row.seconds / total:5.1%}  {row.op:<20} {size:<22} {row.name[:60]}"
            )
        lines.append("")
        for op, (count, seconds) in self.by_operator().items():
            lines.append(f"{seconds * 1e3:9.3f}  {seconds / total:5.1%}  {op:<20} {count} nodes")
        lines.append(f"{self.seconds * 1e3:9.3f}  all nodes")
        return "\n".join(lines)
