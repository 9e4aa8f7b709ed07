"""Every algorithm there is. Backends register theirs when they are loaded; the rest of the project only asks."""

from __future__ import annotations

import functools
import importlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .algorithm import Algorithm

__all__ = [
    "BACKENDS",
    "algorithms",
    "answers_to",
    "available",
    "candidates",
    "family_of",
    "find",
    "matching",
    "register",
    "why_missing",
]

#: Backends in the order "auto" prefers them, and the module of each.
BACKENDS = {
    "c": "pyconv.backends.c",
    "numba": "pyconv.backends.numba_cpu",
    "numpy": "pyconv.backends.numpy",
    "cuda": "pyconv.backends.numba_cuda",  # for arrays in GPU memory only, and those only
}

_algorithms: dict[str, Algorithm] = {}
_missing: dict[str, str] = {}
_loaded: set[str] = set()
_lock = threading.RLock()


def register(algorithm: Algorithm) -> None:
    """Add an algorithm; ids are unique."""
    if algorithm.id in _algorithms:
        raise ValueError(f"two algorithms are called {algorithm.id}")
    _algorithms[algorithm.id] = algorithm
    candidates.cache_clear()


def _load(backend: str) -> bool:
    """Import a backend once; False where it cannot be, with the reason kept."""
    with _lock:
        if backend not in _loaded and backend not in _missing:
            try:
                found = list(importlib.import_module(BACKENDS[backend]).algorithms())
            except ImportError as error:
                _missing[backend] = str(error)
            else:
                for algorithm in found:
                    register(algorithm)
                _loaded.add(backend)
        return backend in _loaded


def why_missing(backend: str) -> str | None:
    """Why a backend is not available; None where it is."""
    return None if _load(backend) else _missing[backend]


def available(backend: str) -> tuple[str, ...]:
    """Backends that an option ``backend=`` stands for: "auto" never mixes two, the reference is always last.

    "cuda" is no option: it is what arrays in GPU memory ask for.
    """
    if backend == "cuda":
        return (backend,) if _load(backend) else ()
    if backend == "auto":
        backend = next(name for name in BACKENDS if _load(name))
    _load(backend)
    _load("numpy")
    return (backend, "numpy") if backend != "numpy" else ("numpy",)


def algorithms(op: str | None = None) -> list[str]:
    """List the ids of all registered algorithms of every backend that can be loaded here.

    Parameters
    ----------
    op : str, optional
        Only those of one operation, for example ``"conv2d"``.

    Examples
    --------
    >>> import pyconv
    >>> "conv2d.reference.f32@numpy" in pyconv.algorithms("conv2d")
    True
    """
    for backend in BACKENDS:
        _load(backend)
    return sorted(algorithm.id for algorithm in _algorithms.values() if op in (None, algorithm.op))


def find(id: str) -> Algorithm:
    """Return the algorithm of this id, which must be loaded."""
    return _algorithms[id]


def family_of(word: str) -> str:
    """Return the family of an algorithm's word: the variants winograd-f2x3, winograd-f4x3, ... are one family."""
    return word.partition("-f")[0]


def answers_to(algorithm: Algorithm, name: str) -> bool:
    """Whether ``name`` is the algorithm's family, or its variant of one."""
    return name in (algorithm.family, family_of(algorithm.family))


@functools.cache
def candidates(op: str, dtype: str, backends: tuple[str, ...]) -> tuple[Algorithm, ...]:
    """Algorithms of these backends for an operation and element type, the reference last."""
    found = [
        algorithm
        for algorithm in _algorithms.values()
        if algorithm.op == op and algorithm.dtype == dtype and algorithm.backend in backends
    ]
    return tuple(sorted(found, key=lambda a: (a.backend == "numpy", not a.preferred, a.id)))


def matching(name: str, op: str, dtype: str) -> list[Algorithm]:
    """Algorithms that ``algorithm=name`` may mean: an id, or the id without op or type, of any loadable backend."""
    for backend in BACKENDS:
        _load(backend)
    full = [a for a in _algorithms.values() if a.op == op and a.dtype == dtype]
    return [a for a in full if name in (a.id, a.id.removeprefix(f"{op}."))]
