"""SciPy's names, for a while ours."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

from ..patching import Patch, Place
from . import ndimage, signal

__all__ = ["patch"]

#: SciPy's modules that have a name of ours: the public one, and the one whose other functions call it by that name.
_PLACES = {
    signal: ("scipy.signal", "scipy.signal._signaltools"),
    ndimage: ("scipy.ndimage", "scipy.ndimage._filters"),
}


def _places() -> Iterator[Place]:
    for ours, places in _PLACES.items():
        for module in map(importlib.import_module, places):
            for name in ours.__all__:
                if hasattr(module, name):
                    yield module, name, getattr(ours, name)


_patch = Patch(_places)


def patch() -> AbstractContextManager[None]:
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
    return _patch.block()
