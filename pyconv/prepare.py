"""``pyconv.prepare`` and ``pyconv.explain``: the same two words for every operation that has weights or a choice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from .algorithm import Array, Call
from .ops import call
from .ops.prepared import PREPARED
from .options import Options, current
from .plan import Explanation, explain_call
from .problem import Problem, parse_problem

__all__ = ["bind", "explain", "prepare"]


def prepare(function: Callable[..., Any], w: Any, bias: Any = None, **settings: Any) -> Callable[..., Array]:
    """Pack the weights of an operation once, to be used many times.

    Parameters
    ----------
    function : callable
        ``pyconv.conv1d``, ``conv2d``, ``conv3d``, ``conv_transpose1d``, ``conv_transpose2d``, ``conv_transpose3d`` or
        ``linear``.
    w, bias : array
        As the function takes them; copied, in GPU memory where they are there.
    **settings
        The function's other arguments by name, but for ``out`` and ``residual``.

    Returns
    -------
    callable
        ``f(x, out=None)``, and of an ordinary convolution ``f(x, out=None, residual=None)``. The algorithm is chosen
        at the first shape of x, and again where another shape asks for another; each packing is made once.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> w = np.ones((8, 3, 3, 3), dtype=np.float32)
    >>> f = pyconv.prepare(pyconv.conv2d, w, padding=1, activation="relu")
    >>> f(np.ones((1, 3, 32, 32), dtype=np.float32)).shape
    (1, 8, 32, 32)
    """
    if function not in PREPARED:
        raise _refusal("prepare", function, PREPARED)
    return PREPARED[function](w, bias, **settings)


def bind(function: Callable[..., Any], *arguments: Any, out: Array, **settings: Any) -> Callable[[], object]:
    """Return a function that makes one call again and again: the same arrays, whose elements may have changed.

    What the call checks and looks up is done once, with the options of now; ``function`` is one of pyconv's, or any
    other that takes ``out=``.
    """
    known = call.REQUESTS.get(function)
    if known is not None:
        request = known.request(*arguments, **settings)
        # a copy of an argument would keep its elements of now
        if isinstance(request, call.Request) and all(
            a is None or any(a is b for b in arguments) for a in request.inputs
        ):
            found = call.bound(request, out)
            if found is not None:
                return found
    return partial(function, *arguments, out=out, **settings)


def explain(what: Callable[..., Any] | str | Problem, *arguments: Any, **settings: Any) -> Explanation:
    """Say which algorithm a call would take, and what every candidate answered.

    Parameters
    ----------
    what : callable, str or problem
        An operation of pyconv, ``pyconv.conv2d`` for one, or its gradient, ``pyconv.grad.max_pool2d``; of a function
        with several gradients ``output_mask`` has to leave one. Or a problem, by its name
        (``"conv2d n1c8h32w32-o8k3s1p1g8-f32"``) or as it is.
    *arguments : array, tuple of int, ...
        The call's arguments, where ``what`` is a function: first its arrays, or the shapes of float32 ones.
    **settings
        The call's other arguments; of a problem ``algorithm`` alone.

    Examples
    --------
    >>> import pyconv
    >>> answer = pyconv.explain(pyconv.conv2d, (1, 8, 32, 32), (8, 1, 3, 3), groups=8, padding=1)
    >>> answer.algorithm.split(".")[1]
    'depthwise'
    """
    return answered("explain", what, arguments, settings, explain_call)


def answered(
    verb: str,
    what: Any,
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
    answer: Callable[[Call, str, Options], Explanation],
) -> Explanation:
    """Answer for a call that is planned and not run: a function with its arguments, or a problem."""
    if callable(what):
        if what not in call.REQUESTS:
            raise _refusal(verb, what, call.REQUESTS)
        return call.explain(what, arguments, settings, answer)
    if isinstance(what, str) and " " not in what.strip():
        # the name of a function, perhaps; a problem's name has two words
        raise _refusal(verb, what, call.REQUESTS)
    algorithm = settings.pop("algorithm", "auto")
    if arguments or settings:
        raise TypeError(f"{verb} takes arguments for a function; a problem says everything itself, got {what!r}")
    problem = parse_problem(what) if isinstance(what, str) else what
    if not hasattr(problem, "op"):
        raise _refusal(verb, what, call.REQUESTS)
    options = current()
    return answer(Call.typical(problem, options.threads, options.max_workspace), algorithm, options)


def _refusal(what: str, function: Any, taken: Iterable[Callable[..., Any]]) -> TypeError:
    names = ", ".join(f"pyconv.{'grad.' * f.__module__.startswith('pyconv.grad')}{f.__name__}" for f in taken)
    return TypeError(f"{what} takes one of {names} as its first argument, got {function!r}")
