"""Measured seconds, kept for the next process: one small JSON file for each kind of processor and version.

::

    {"format": 1, "pyconv": "0.1.0", "cpu": "AuthenticAMD-25-17",
     "measured": {"conv2d n1c8h12w12-o6k3s1p1-f32 threads=2": {"conv2d.direct.f32@c-avx512": 4.1e-6, ...}}}

An id says the instruction set. Of several measurements the shortest counts: what disturbs one makes it longer. So files
can be merged in any order, and a file that several processes write loses nothing. What cannot be read is no wisdom; it
is never an error and never a wrong result, for wisdom only ranks the algorithms that can do a problem.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .machine import cache_folder, cpu_kind, cpu_name, read_json, write_json
from .problem import Problem

__all__ = ["forget", "load", "measured", "merge", "record", "save", "wisdom_file"]

FORMAT = 1
#: Wisdom that comes with pyconv; the user's is asked first.
SHIPPED = Path(__file__).with_name("shipped")

Entries = dict[str, dict[str, float]]

_lock = threading.RLock()
_user: Entries | None = None
_shipped: Entries = {}


def _key(problem: Problem, threads: int) -> str:
    return f"{problem.op} {problem} threads={threads}"


def _version() -> str:
    from . import __version__

    return __version__


def wisdom_file() -> Path | None:
    """Return where this processor's wisdom is kept, None where there is no such place."""
    folder = cache_folder()
    return folder / f"wisdom-{cpu_kind()}-{_version()}.json" if folder is not None else None


def _valid(times: Any) -> dict[str, float]:
    if not isinstance(times, dict):
        return {}
    return {
        id: float(seconds)
        for id, seconds in times.items()
        if isinstance(seconds, (int, float)) and math.isfinite(seconds) and seconds > 0
    }


def read(path: Path) -> Entries:
    """Return what a file holds for this processor and version; nothing where it is damaged, foreign or not there."""
    document = read_json(path)
    ours = {"format": FORMAT, "pyconv": _version(), "cpu": cpu_kind()}
    if any(document.get(name) != value for name, value in ours.items()):
        return {}
    entries = document.get("measured")
    if not isinstance(entries, dict):
        return {}
    return {key: found for key, times in entries.items() if (found := _valid(times))}


def merge(into: Entries, other: Mapping[str, Mapping[str, float]]) -> None:
    """Add measurements; where both have one, the shorter counts."""
    for key, times in other.items():
        known = into.setdefault(key, {})
        for id, seconds in times.items():
            known[id] = min(seconds, known.get(id, math.inf))


def load() -> Entries:
    """Return the user's wisdom, read from its file once for each process."""
    global _user, _shipped
    with _lock:
        if _user is None:
            _shipped = {}
            # an order of its own would make no difference, but the same files are always read the same way
            for shipped in sorted(SHIPPED.glob("wisdom-*.json")) if SHIPPED.is_dir() else ():
                merge(_shipped, read(shipped))
            path = wisdom_file()
            _user = {} if path is None else read(path)
        return _user


def measured(problem: Problem, threads: int) -> Mapping[str, float]:
    """Return seconds by algorithm id, empty where nothing is known: the user's, or else what comes with pyconv."""
    user = load()
    if not user and not _shipped:
        return {}
    key = _key(problem, threads)
    return user.get(key) or _shipped.get(key, {})


def record(problem: Problem, threads: int, times: Mapping[str, float]) -> None:
    """Remember measurements in this process; :func:`save` keeps them for others."""
    with _lock:
        merge(load(), {_key(problem, threads): times})


def forget() -> None:
    """Forget all of the user's wisdom, here and on disk."""
    global _user
    with _lock:
        _user = {}
        path = wisdom_file()
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from writing the file between our reading and our renaming, where the system can."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write(path: Path, entries: Entries) -> None:
    """Merge into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        together = read(path)
        merge(together, entries)
        document = {"format": FORMAT, "pyconv": _version(), "cpu": cpu_kind(), "measured": together}
        write_json(path, document, sort_keys=True)


def save() -> Path | None:
    """Keep the user's wisdom on disk; return the file, None where it cannot be written (it stays in this process)."""
    path = wisdom_file()
    if path is None:
        return None
    with _lock:
        entries = {key: dict(times) for key, times in load().items()}
    try:
        write(path, entries)
    except OSError:
        return None
    return path


def command(action: str, path: Path | None) -> str:
    """Do what ``pyconv wisdom`` is asked to; return what there is to say.

    Parameters
    ----------
    action : {"show", "export", "import", "forget"}
    path : Path, optional
        File to export to, or to import from.
    """
    entries, place = load(), wisdom_file()
    if action == "show":
        where = place or 'nowhere: set PYCONV_CACHE_DIR, or pip install "pyconv-kernels[cache]"'
        lines = [f"{len(entries)} problems measured on {cpu_kind()} ({cpu_name()}), kept in {where}"]
        lines += [f"{key}: {min(times, key=lambda id: (times[id], id))}" for key, times in sorted(entries.items())]
        return "\n".join(lines)
    if action == "forget":
        forget()
        return "forgotten"
    if action not in ("export", "import"):
        raise ValueError(f"pyconv wisdom takes show, export, import or forget, not {action!r}")
    if path is None:
        raise ValueError(f"pyconv wisdom {action} needs a file")
    if action == "export":
        write(path, entries)
        return f"{len(entries)} problems written to {path}"
    if not path.exists():
        raise ValueError(f"there is no file {path}")
    found = read(path)
    if not found:
        raise ValueError(f"{path} holds no wisdom for pyconv {_version()} on {cpu_kind()}")
    with _lock:
        merge(load(), found)
    save()
    return f"{len(found)} problems read from {path}"
