"""``pyconv.tune``: measure the algorithms of a problem, choose by that from now on, and keep it for later processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import wisdom
from .algorithm import Call
from .errors import InvalidProblem
from .ops import call as calls
from .options import Options
from .plan import Explanation, explain_call, measure_call
from .prepare import answered
from .problem import Problem

__all__ = ["tune"]

#: Seconds for the candidates of one problem together.
BUDGET_S = 1.0


def tune(
    what: Callable[..., Any] | str | Problem | Iterable[str | Problem],
    *arguments: Any,
    budget_s: float = BUDGET_S,
    **settings: Any,
) -> Any:
    """Measure the algorithms that may do a call, and take the fastest from now on.

    The times go to the wisdom file of this kind of processor (:mod:`pyconv.wisdom`), for the number of threads in
    force, and are used by later processes. They change which algorithm "auto" takes, and with it the last bits of
    results. For problems that are not tuned the cost model chooses. What :func:`pyconv.prepare` returned before keeps
    the choice it made.

    Parameters
    ----------
    what : callable, str, problem, or iterable of these two
        A function with its arguments, as :func:`pyconv.explain` takes them; or problems, by name
        (``"conv2d n1c64h56w56-o64k3s1p1-f32"``) or as they are.
    *arguments : array, tuple of int, ...
        The call's arguments, where ``what`` is a function.
    budget_s : float
        Seconds for the candidates of one problem together.
    **settings
        The call's other arguments.

    Returns
    -------
    Explanation, or a list of them
        With the measured times; a list where ``what`` is an iterable.

    Examples
    --------
    >>> import pyconv
    >>> answer = pyconv.tune(pyconv.conv2d, (1, 8, 12, 12), (8, 8, 3, 3), padding=1, budget_s=0.01)
    >>> answer.why
    'fastest as measured'
    """
    if not budget_s > 0:
        raise ValueError(f"budget_s must be positive, got {budget_s}")

    def answer(call: Call, algorithm: str, options: Options) -> Explanation:
        if algorithm != "auto":
            raise InvalidProblem(f'a call with algorithm={algorithm!r} has no choice to tune; leave it at "auto"')
        measure_call(call, options, budget_s)
        return explain_call(call, "auto", options)

    result: Any
    if isinstance(what, Iterable) and not isinstance(what, str):
        result = [answered("tune", one, arguments, settings, answer) for one in what]
    else:
        result = answered("tune", what, arguments, settings, answer)
    wisdom.save()
    calls.plan_for.cache_clear()
    return result
