"""``pyconv.prepare`` and ``pyconv.explain``: the same two words for every operation that has weights or a choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .ops import call, conv
from .ops.linear import PreparedLinear, linear
from .plan import Explanation

__all__ = ["explain", "prepare"]


def prepare(
    function: Callable[..., Any], w: Any, bias: Any = None, **settings: Any
) -> conv.PreparedConv | PreparedLinear:
    """Pack the weights of an operation once, to be used many times.

    Parameters
    ----------
    function : callable
        ``pyconv.conv1d``, ``pyconv.conv2d``, ``pyconv.conv3d`` or ``pyconv.linear``.
    w, bias : array
        As the function takes them; copied.
    **settings
        ``stride``, ``padding``, ``dilation``, ``groups``, ``padding_mode``, ``activation``, ``algorithm``; of a
        linear layer only ``algorithm``.

    Returns
    -------
    PreparedConv or PreparedLinear
        ``f(x, out=None, residual=None)``, of a linear layer ``f(x, out=None)``. The algorithm is chosen at the first
        shape of x, and again where another shape asks for another; each packing is made once.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> w = np.ones((8, 3, 3, 3), dtype=np.float32)
    >>> f = pyconv.prepare(pyconv.conv2d, w, padding=1, activation="relu")
    >>> f(np.ones((1, 3, 32, 32), dtype=np.float32)).shape
    (1, 8, 32, 32)
    """
    if function is linear:
        return PreparedLinear(w, bias, **settings)
    rank = conv.RANKS.get(function)
    if rank is None:
        raise _refusal("prepare", function, (*conv.RANKS, linear))
    return conv.PreparedConv(rank, w, bias, **settings)


def explain(function: Callable[..., Any], *arguments: Any, **settings: Any) -> Explanation:
    """Say which algorithm a call would take, and what every candidate answered.

    Parameters
    ----------
    function : callable
        An operation of pyconv, ``pyconv.conv2d`` for one, or its gradient, ``pyconv.grad.max_pool2d``; of a function
        with several gradients ``output_mask`` has to leave one.
    *arguments : array, tuple of int, ...
        The call's arguments: first its arrays, or the shapes of float32 ones.
    **settings
        The call's other arguments.

    Examples
    --------
    >>> import pyconv
    >>> answer = pyconv.explain(pyconv.conv2d, (1, 8, 32, 32), (8, 1, 3, 3), groups=8, padding=1)
    >>> answer.algorithm.split(".")[1]
    'depthwise'
    """
    if function not in call.REQUESTS:
        raise _refusal("explain", function, call.REQUESTS)
    return call.explain(function, arguments, settings)


def _refusal(what: str, function: Any, taken: Iterable[Callable[..., Any]]) -> TypeError:
    names = ", ".join(f"pyconv.{'grad.' * f.__module__.endswith('grad')}{f.__name__}" for f in taken)
    return TypeError(f"{what} takes one of {names} as its first argument, got {function!r}")
