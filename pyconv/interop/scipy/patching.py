"""SciPy's names, for a while ours."""

from __future__ import annotations

import contextlib
import importlib
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from . import ndimage, signal

__all__ = ["patch"]

#: SciPy's modules that have a name of ours: the public one, and the one whose other functions call it by that name.
_PLACES = {
    signal: ("scipy.signal", "scipy.signal._signaltools"),
    ndimage: ("scipy.ndimage", "scipy.ndimage._filters"),
}

_lock = threading.Lock()
_depth = 0
_before: list[tuple[ModuleType, str, Any]] = []


@contextlib.contextmanager
def patch() -> Iterator[None]:
    """Let ``scipy.signal`` and ``scipy.ndimage`` use pyconv for a block, in the whole process.

    Functions of SciPy that call these (``gaussian_filter``, ``sobel``, ``savgol_filter``, ...) use them too. Blocks may
    lie within each other and in several threads: the last one that ends puts SciPy's functions back.

    Examples
    --------
    >>> import numpy as np, scipy.signal
    >>> from pyconv.interop.scipy import patch, signal
    >>> with patch():
    ...     scipy.signal.convolve is signal.convolve
    True
    >>> scipy.signal.convolve is signal.convolve
    False
    """
    global _depth
    with _lock:
        if _depth == 0:
            for ours, places in _PLACES.items():
                for module in map(importlib.import_module, places):
                    for name in ours.__all__:
                        if hasattr(module, name):
                            _before.append((module, name, getattr(module, name)))
                            setattr(module, name, getattr(ours, name))
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0:
                for module, name, function in _before:
                    setattr(module, name, function)
                _before.clear()
