"""Roots of unity, rounded once: the twiddles of every FFT kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["roots"]


def roots(k: Any, n: int, dtype: Any) -> Any:
    """Return exp(-2 pi i k / n), real and imaginary parts last, by one octant's sine and cosine in more digits."""
    octant, eighths = np.divmod(8 * (np.asarray(k) % n), n)
    eighths = np.where(octant % 2, n - eighths, eighths)
    angle = np.longdouble("0.78539816339744830961566084581987572") * eighths.astype(np.longdouble) / np.longdouble(n)
    cosine, sine = np.cos(angle), np.sin(angle)
    swap = (octant + 1) // 2 % 2 == 1
    re, im = np.where(swap, sine, cosine), np.where(swap, cosine, sine)
    re = np.where((octant >= 2) & (octant < 6), -re, re)
    return np.stack([re, np.where(octant >= 4, im, -im)], axis=-1).astype(dtype)
