"""Ourselves as without a compiler: the same calls with Numba's kernels, beside those in C."""

from __future__ import annotations

from benchmarks.peers import Job, Prepared, missing, pyconv

supports = pyconv.supports


def available() -> str | None:
    """Return why pyconv's Numba kernels cannot be used here, or None."""
    return missing("pyconv") or missing("numba")


def version() -> str:
    """Return pyconv's version and Numba's."""
    import numba

    return f"{pyconv.version()}, numba {numba.__version__}"


def prepare(job: Job) -> Prepared:
    """Bind the arguments with every choice among Numba's kernels."""
    from pyconv import set_options

    set_options(backend="numba")
    return pyconv.prepare(job)
