"""``pyconv.prepare`` and ``pyconv.explain``: the same two words for every operation that has weights or a choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .ops import conv
from .plan import Explanation

__all__ = ["explain", "prepare"]


def _rank(function: Callable[..., Any], what: str) -> int:
    rank = conv.RANKS.get(function)
    if rank is None:
        names = ", ".join(f"pyconv.{f.__name__}" for f in conv.RANKS)
        raise TypeError(f"{what} takes one of {names} as its first argument, got {function!r}")
    return rank


def prepare(function: Callable[..., Any], w: Any, bias: Any = None, **settings: Any) -> conv.PreparedConv:
    """Pack the weights of an operation once, to be used many times.

    Parameters
    ----------
    function : callable
        ``pyconv.conv1d``, ``pyconv.conv2d`` or ``pyconv.conv3d``.
    w, bias : array
        As the function takes them; copied.
    **settings
        ``stride``, ``padding``, ``dilation``, ``groups``, ``padding_mode``, ``activation``, ``algorithm``.

    Returns
    -------
    PreparedConv
        ``f(x, out=None, residual=None)``. The algorithm is chosen at the first shape of x, and again where another
        shape asks for another; each packing is made once.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> w = np.ones((8, 3, 3, 3), dtype=np.float32)
    >>> f = pyconv.prepare(pyconv.conv2d, w, padding=1, activation="relu")
    >>> f(np.ones((1, 3, 32, 32), dtype=np.float32)).shape
    (1, 8, 32, 32)
    """
    return conv.PreparedConv(_rank(function, "prepare"), w, bias, **settings)


def explain(function: Callable[..., Any], x: Any, w: Any, bias: Any = None, **settings: Any) -> Explanation:
    """Say which algorithm a call would take, and what every candidate answered.

    Parameters
    ----------
    function : callable
        ``pyconv.conv1d``, ``pyconv.conv2d`` or ``pyconv.conv3d``.
    x, w, bias : array or tuple of int
        The call's arrays, or the shapes of float32 ones.
    **settings
        The call's other arguments.

    Examples
    --------
    >>> import pyconv
    >>> answer = pyconv.explain(pyconv.conv2d, (1, 8, 32, 32), (8, 1, 3, 3), groups=8, padding=1)
    >>> answer.algorithm.split(".")[1]
    'depthwise'
    """
    return conv.explain_conv(_rank(function, "explain"), x, w, bias, **settings)
