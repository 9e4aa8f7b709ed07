"""What the numbers were measured on, without names of hosts, users or folders."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["busy_seconds", "describe", "spare_seconds", "wait_until_quiet", "waiting_seconds"]

ROOT = Path(__file__).resolve().parent.parent
_CPUINFO, _CACHES = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")
_STAT, _TASKS = Path("/proc/stat"), Path("/proc/self/task")
_IDLE, _IOWAIT = 3, 4
#: Quiet is less than this share of one processor over one look, which must span many of Linux's 10 ms ticks.
LOOK_S, QUIET_SHARE = 0.2, 0.2


def describe() -> dict[str, Any]:
    """Return processor, caches, cores, system, Python, NumPy, date and git revision."""
    return {
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "caches": _caches(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "libc": " ".join(platform.libc_ver()),
        "python": platform.python_version(),
        "numpy": metadata.version("numpy"),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "revision": _git("rev-parse", "--short=12", "HEAD"),
        "modified": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def busy_seconds() -> float | None:
    """Return the processor time that the whole machine has spent on anything since it started, if the system tells."""
    fields = _stat()
    return None if fields is None else sum(fields) - fields[_IDLE] - fields[_IOWAIT]


def spare_seconds() -> float:
    """Return the idle time of all processors together; 0 where the system does not tell."""
    fields = _stat()
    return 0.0 if fields is None else fields[_IDLE] + fields[_IOWAIT]


def _stat() -> list[float] | None:
    """Return seconds since the start: user, nice, system, idle, iowait, irq, softirq and steal, of all processors."""
    try:
        ticks = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    return [tick / os.sysconf("SC_CLK_TCK") for tick in ticks]


def wait_until_quiet(limit_s: float) -> float:
    """Wait while other processes compute (nobody of ours does during the call); return the seconds that it took.

    A second program on the same processors costs a library whose threads spin at a barrier far more than its share: up
    to the length of a time slice in every call.
    """
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        before = busy_seconds()
        time.sleep(LOOK_S)
        after = busy_seconds()
        if before is None or after is None or after - before <= QUIET_SHARE * LOOK_S:
            break
    return time.monotonic() - began


def waiting_seconds() -> float:
    """Return how long this process's threads were ready but had no processor; 0 where the system does not tell."""
    waited = 0
    for task in _TASKS.glob("*"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            waited += int((task / "schedstat").read_text().split()[1])
    return waited / 1e9


def _cpu_model() -> str:
    """Return the model's name, with family, model and stepping: a virtual machine may hide the name."""
    facts: dict[str, str] = {}
    try:
        for line in _CPUINFO.read_text().split("\n\n", 1)[0].splitlines():
            key, _, value = line.partition(":")
            facts[key.strip()] = value.strip()
    except OSError:
        return platform.processor() or platform.machine()
    numbers = ", ".join(f"{key} {facts[key]}" for key in ("cpu family", "model", "stepping") if key in facts)
    name = facts.get("model name", platform.machine())
    return f"{name} ({numbers})" if numbers else name


def _caches() -> dict[str, str]:
    """Return size by level and type as Linux lists them for the first processor, e.g. ``{"L1 Data": "32K"}``."""
    caches = {}
    for index in sorted(_CACHES.glob("index*")):
        try:
            level, kind, size = ((index / name).read_text().strip() for name in ("level", "type", "size"))
        except OSError:
            continue
        caches[f"L{level} {kind}"] = size
    return caches


def _git(*arguments: str) -> str | None:
    """Return git's answer about the working tree, or None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
