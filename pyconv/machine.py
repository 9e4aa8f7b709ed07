"""Which processor this is, and where what was measured on it is kept."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["cache_folder", "constants", "cpu_kind", "cpu_name", "keep", "last_cache_bytes", "read_json", "write_json"]


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
            return re.sub(r"[^\w.-]+", "_", "-".join([facts[names[0]], facts[names[1]], facts[names[2]]]))
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


#: Float32 peak of a core in GFLOP/s by float32 elements in a vector, and the memory behind it, for families of
#: processors; measured by :func:`pyconv.calibrate.calibrate`.
SHIPPED = Path(__file__).with_name("machines.json")


def constants_file() -> Path | None:
    """Return where this processor's constants are kept, None where there is no such place."""
    folder = cache_folder()
    return folder / f"machine-{cpu_kind()}.json" if folder is not None else None


def last_cache_bytes() -> int:
    """Return the size of the last cache, 32 MB where the system does not say."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        match = re.fullmatch(r"(\d+)([KM])", path.read_text().strip())
        if match:
            sizes.append(int(match[1]) << (10 if match[2] == "K" else 20))
    return max(sizes, default=32 << 20)


def read_json(path: Path | None) -> dict[str, Any]:
    """Return what a file holds; nothing where it is not there, damaged, or no JSON object."""
    import json

    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def write_json(path: Path, document: Any, **style: Any) -> None:
    """Write a file beside its place and rename it, so that nobody ever reads half of it; raise OSError.

    ``style`` is ``json.dumps``'s.
    """
    import json

    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=1, **style) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def _valid(found: Any) -> dict[str, float] | None:
    """Return the four numbers, None where they are not there or not numbers."""
    names = ("gflops", "cache_bytes", "cache_gbytes", "memory_gbytes")
    if not isinstance(found, dict) or any(not isinstance(found.get(name), (int, float)) for name in names):
        return None
    values = {name: float(found[name]) for name in names}
    return values if all(0 < value < 1e15 for value in values.values()) else None


@lru_cache(maxsize=8)
def constants(lanes: int) -> dict[str, float] | None:
    """Return what is known of this processor with vectors of so many float32 elements.

    What was measured here; else what comes with pyconv for its kind, or for its family; else None.
    """
    kind = cpu_kind()
    shipped = read_json(SHIPPED)
    for source in (read_json(constants_file()), shipped.get(kind), shipped.get(kind.rpartition("-")[0])):
        found = _valid(source.get(str(lanes))) if isinstance(source, dict) else None
        if found is not None:
            return found
    return None


def keep(found: dict[int, dict[str, Any]]) -> None:
    """Keep measured constants, for this process and, where the place can be written, for later ones."""
    path = constants_file()
    if path is not None:
        with contextlib.suppress(OSError):
            write_json(path, found)
    constants.cache_clear()
