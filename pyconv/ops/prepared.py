"""Calls whose weights are packed already: what :func:`pyconv.prepare` returns."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..algorithm import Array, Packed, Runner
from ..errors import InvalidProblem
from ..options import Options, current
from .arguments import as_array_anywhere, as_first_anywhere, plain
from .call import Fresh, Operation, Request, Weights, bound, check_word, is_plain_target, plan_for, run
from .device import DeviceArray, check_one_place

__all__ = ["PREPARED", "Prepared", "given_arrays", "kept_weights"]

_ndarray = np.ndarray
_empty = np.empty
#: Shapes that a prepared call remembers the way of.
_MOST_PLANS = 256


def kept_weights(*arrays: Any) -> Weights:
    """Return copies of weights, in native byte order and where they are; the first one has to be there."""
    names = ("w", "bias")
    first, *others = (
        _kept(name, as_array_anywhere(name, array)) if array is not None or name == "w" else None
        for name, array in zip(names, arrays, strict=True)
    )
    check_one_place(dict(zip(names, (first, *others), strict=True)))
    return Weights(first, *others)


def _kept(name: str, array: Any) -> Any:
    if not isinstance(array, DeviceArray):
        return plain(array)
    if not array.is_contiguous:
        raise InvalidProblem(f"{name} in GPU memory must be contiguous, got strides {array.strides}; copy it first")
    return DeviceArray(name, array.kind.copy(array.base))


def given_arrays(weights: Weights) -> tuple[Any, ...]:
    """Return the arrays of weights as libraries know them."""
    return tuple(a.base if isinstance(a, DeviceArray) else a for a in weights.arrays)


class Prepared:
    """An operation with its weights, packed once for each order that its algorithms ask for.

    Call it as ``f(x, out=None)``, a convolution also with ``residual=``. The weights are copied: later changes to them
    are not seen. Weights in GPU memory are copied there, for calls with arrays there.
    """

    __slots__ = ("_algorithm", "_operation", "_others", "_plans", "_settings", "_weights")

    def __init__(self, operation: Operation, weights: Weights, settings: tuple[Any, ...], algorithm: str) -> None:
        check_word("algorithm", algorithm)
        self._operation = operation
        self._weights = weights
        self._settings = settings
        self._algorithm = algorithm
        self._others: tuple[None, ...] = (None,) * (len(operation.inputs) - 1)
        self._plans: dict[tuple[Any, ...], tuple[Runner, Packed, Fresh]] = {}

    def __call__(self, x: Any, out: Array | None = None, residual: Any = None) -> Array:
        """Run; the parameters are those of the function that was prepared."""
        options = current()
        if residual is None and x.__class__ is _ndarray and (out is None or is_plain_target(out, x)):
            key = (x.shape, x.strides, x.dtype, options, None if out is None else (out.shape, out.strides, out.dtype))
            found = self._plans.get(key)
            if found is None:
                found = self._remember(key, options)
            if found is not None:
                runner, packed, fresh = found
                result = out
                if result is None:
                    result = _empty(fresh.shape, fresh.dtype) if fresh.axes is None else fresh.allocate()
                if runner(packed, x, *self._others, result):
                    return result
        operation, others = self._operation, self._others
        if residual is not None:
            if "residual" not in operation.inputs:
                raise TypeError(f"{operation.name} takes no residual")
            others = (as_array_anywhere("residual", residual),)
        x = as_first_anywhere("x", x)
        check_one_place({"x": x, "w": self._weights.arrays[0]})
        request = Request(operation, (x, *others), self._weights, self._settings)
        return run(request, (out,), self._algorithm)[0]  # type: ignore[no-any-return]

    @property
    def arrays(self) -> tuple[Array | None, ...]:
        """The copies of w and bias."""
        return given_arrays(self._weights)

    def bind(self, x: Array, out: Array, residual: Array | None = None) -> Callable[[], object]:
        """Return a function without arguments that does this call again and again, on the same arrays.

        Everything that a call checks and looks up is done once, with the options of now.
        """
        others = self._others if residual is None else (residual,)
        if residual is None or "residual" in self._operation.inputs:
            found = bound(Request(self._operation, (x, *others), self._weights, self._settings), out, self._algorithm)
            if found is not None:
                return found
        if residual is None:
            return partial(self, x, out)
        return partial(self, x, out, residual)

    def _remember(self, key: tuple[Any, ...], options: Options) -> tuple[Runner, Packed, Fresh] | None:
        x, out, weights = key[:3], key[4], self._weights
        if len(x[0]) != self._operation.rank + 2 or isinstance(weights.arrays[0], DeviceArray):
            return None
        inputs = (x, *self._others)
        plan = plan_for(self._operation, inputs, weights.keys(), (out,), self._settings, self._algorithm, options)
        if plan is None or plan.is_empty:
            return None
        if len(self._plans) >= _MOST_PLANS:
            self._plans.clear()
        self._plans[key] = found = (plan.run, weights.packed(plan), plan.fresh)
        return found


#: The functions that prepare() takes, and what makes a prepared call of their weights and settings.
PREPARED: dict[Callable[..., Any], Callable[..., Callable[..., Array]]] = {}
