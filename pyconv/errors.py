"""The errors that pyconv raises besides ``TypeError`` and ``MemoryError``."""

from __future__ import annotations

__all__ = ["InvalidProblem", "Unsupported"]


class InvalidProblem(ValueError):
    """The arguments have no mathematical meaning together: shapes that disagree, a negative padding, ..."""


class Unsupported(NotImplementedError):
    """The problem is meaningful, but no permitted algorithm does it; the message carries each one's reason."""
