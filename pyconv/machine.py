"""Which processor this is, and where what was measured on it is kept."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

__all__ = ["cache_folder", "cpu_kind", "cpu_name"]


@lru_cache(maxsize=1)
def _facts() -> dict[str, str]:
    """Return the first processor's lines of /proc/cpuinfo; none where there is no such file."""
    facts: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if not line.strip():
                    break
                name, _, value = line.partition(":")
                facts[name.strip()] = value.strip()
    except OSError:
        pass
    return facts


def cpu_name() -> str:
    """Return the processor's own name, or its architecture."""
    return _facts().get("model name") or os.uname().machine


def cpu_kind() -> str:
    """Return what processors of equal speeds have in common, as a word for file names: vendor, family and model.

    A virtual machine may hide the name; it cannot hide these. On Arm they are implementer, variant and part.
    """
    facts = _facts()
    for names in (("vendor_id", "cpu family", "model"), ("CPU implementer", "CPU variant", "CPU part")):
        if all(name in facts for name in names):
            return re.sub(r"[^\w.]+", "_", "-".join([facts[names[0]], facts[names[1]], facts[names[2]]]))
    return re.sub(r"\W+", "_", cpu_name())


def cache_folder() -> Path | None:
    """Return the folder for measurements: ``PYCONV_CACHE_DIR`` (empty: none), else the user's cache folder.

    None where the package platformdirs, which knows that place, is not installed.
    """
    said = os.environ.get("PYCONV_CACHE_DIR")
    if said is not None:
        return Path(said) if said else None
    try:
        import platformdirs
    except ImportError:
        return None
    return Path(platformdirs.user_cache_dir("pyconv", appauthor=False))
