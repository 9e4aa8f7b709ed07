"""Options that hold for a block of code, a thread or the process: threads, accuracy, memory, backend."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

__all__ = ["Options", "call_under", "current", "default_threads", "on_gpu", "options", "set_options", "with_threads"]

ACCURACIES = ("strict", "standard", "fast")
BACKENDS = ("auto", "c", "numba", "numpy")
_UNITS = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
MIN_WORKSPACE = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """One set of options. Equal sets are one object, so that identity is a cache key."""

    accuracy: str
    threads: int
    max_workspace: int
    backend: str
    measure: bool


def _cgroup_limit() -> int | None:
    """CPUs that the control group of this process may use at once, rounded up; None where there is no limit."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return None if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return None


def default_threads() -> int:
    """``PYCONV_NUM_THREADS``, or else the CPUs that this process may run on (affinity and control group)."""
    text = os.environ.get("PYCONV_NUM_THREADS", "").strip()
    if text:
        return _threads(text)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _cgroup_limit()
    return allowed if limit is None else min(allowed, limit)


def _threads(value: Any) -> int:
    try:
        threads = int(value) if isinstance(value, str) else value.__index__()
    except (ValueError, AttributeError):
        raise TypeError(f"threads must be an integer, got {value!r}") from None
    if not 1 <= threads <= 256:
        raise ValueError(f"threads must be between 1 and 256, got {threads}")
    return int(threads)


def _bytes(value: Any) -> int:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB)?\s*", value, re.IGNORECASE)
        if not match:
            raise ValueError(f'max_workspace must be a number of bytes or a string such as "64MB", got {value!r}')
        size = int(float(match[1]) * _UNITS[(match[2] or "").upper()])
    else:
        try:
            size = value.__index__()
        except AttributeError:
            raise TypeError(f'max_workspace must be an integer or a string such as "64MB", got {value!r}') from None
    if size < MIN_WORKSPACE:
        raise ValueError(f"max_workspace must be at least {MIN_WORKSPACE} bytes (1MB), got {size}")
    return int(size)


def _choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
    return str(value)


_interned: dict[tuple[Any, ...], Options] = {}


def _intern(candidate: Options) -> Options:
    key = tuple(getattr(candidate, field.name) for field in fields(Options))
    return _interned.setdefault(key, candidate)


def _changed(base: Options, changes: dict[str, Any]) -> Options:
    checked: dict[str, Any] = {}
    for name, value in changes.items():
        if name == "threads":
            checked[name] = default_threads() if value is None else _threads(value)
        elif name == "max_workspace":
            checked[name] = _bytes(value)
        elif name == "accuracy":
            checked[name] = _choice(name, value, ACCURACIES)
        elif name == "backend":
            checked[name] = _choice(name, value, BACKENDS)
        elif name == "measure":
            if not isinstance(value, bool):
                raise TypeError(f"measure must be True or False, got {value!r}")
            checked[name] = value
        else:
            known = ", ".join(field.name for field in fields(Options))
            raise TypeError(f"no option is named {name!r}; there are {known}")
    return _intern(replace(base, **checked))


def _initial() -> Options:
    return _intern(
        Options(
            accuracy="standard",
            threads=default_threads(),
            max_workspace=64 << 20,
            backend=_choice("PYCONV_BACKEND", os.environ.get("PYCONV_BACKEND", "auto"), BACKENDS),
            measure=False,
        )
    )


_process: Options | None = None
_context: ContextVar[Options | None] = ContextVar("pyconv_options", default=None)


def current() -> Options:
    """Return the options in force here: the innermost :func:`options` block's, or the process's."""
    global _process
    here = _context.get()
    if here is not None:
        return here
    if _process is None:
        _process = _initial()
    return _process


def on_gpu(base: Options) -> Options:
    """Return the options for arrays in GPU memory, of which one backend knows and which are never timed."""
    return _intern(replace(base, backend="cuda", measure=False))


@lru_cache(maxsize=256)
def with_threads(base: Options, threads: int) -> Options:
    """Return the same options for another number of threads."""
    return _changed(base, {"threads": threads})


def call_under(chosen: Options, function: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
    """Call a function under these options: a block of :func:`options` for those who count microseconds."""
    token = _context.set(chosen)
    try:
        return function(*arguments, **settings)
    finally:
        _context.reset(token)


@contextlib.contextmanager
def options(**changes: Any) -> Iterator[Options]:
    """Change options for a ``with`` block (this thread or asyncio task only; threads started inside do not see it).

    Parameters
    ----------
    accuracy : {"standard", "strict", "fast"}
        "strict": only algorithms as accurate as direct summation. "standard": rms error at most four times direct's.
        "fast": anything listed, with its bound stated. NaN and Inf stay where direct summation puts them in all three.
    threads : int or None
        How many threads a call may use; None means the processors that this process may run on.
    max_workspace : int or str
        Limit of scratch memory in bytes, for all threads of a call together: ``64 << 20`` or ``"64MB"``.
    backend : {"auto", "c", "numba", "numpy"}
        "auto" is C where it was built, else Numba where it is installed, else the NumPy reference. Arrays in GPU
        memory have a backend of their own, whatever this says.
    measure : bool
        Whether unknown problems may be timed on first use.

    Examples
    --------
    >>> import pyconv
    >>> with pyconv.options(threads=1, max_workspace="8MB") as inside:
    ...     inside.threads, inside.max_workspace
    (1, 8388608)
    """
    token = _context.set(_changed(current(), changes))
    try:
        yield current()
    finally:
        _context.reset(token)


def set_options(**changes: Any) -> None:
    """Change options for the whole process; the parameters are those of :func:`options`.

    Blocks of :func:`options` that are open keep what they set. New threads start from these.

    Examples
    --------
    >>> import pyconv
    >>> pyconv.set_options(accuracy="standard")
    """
    global _process
    if _process is None:
        _process = _initial()
    _process = _changed(_process, changes)
