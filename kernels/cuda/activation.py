"""The activations, as device code: f(x) from the definition, by libdevice's exp, expm1 and tanh."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda

__all__ = ["ACTIVATIONS", "activation"]

#: By name, as in a problem; None is the identity.
ACTIVATIONS = (None, "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu", "hardswish")


@cache
def activation(name: str | None, real: Any) -> Any:
    """Return the device function f(x, slope) of an activation, for one type of numbers."""
    zero, one, three, six = 0.0, 1.0, 3.0, 6.0

    # comparisons are written so that NaN stays NaN
    def identity(x: Any, slope: Any) -> Any:
        return x

    def relu(x: Any, slope: Any) -> Any:
        return real(zero) if x < real(zero) else x

    def relu6(x: Any, slope: Any) -> Any:
        return real(zero) if x < real(zero) else real(six) if x > real(six) else x

    def leaky_relu(x: Any, slope: Any) -> Any:
        return x * slope if x < real(zero) else x

    def elu(x: Any, slope: Any) -> Any:
        return math.expm1(x) * slope if x < real(zero) else x

    def sigmoid(x: Any, slope: Any) -> Any:
        return real(one) / (real(one) + math.exp(-x))

    def tanh(x: Any, slope: Any) -> Any:
        return math.tanh(x)

    def silu(x: Any, slope: Any) -> Any:
        return x / (real(one) + math.exp(-x))

    def hardswish(x: Any, slope: Any) -> Any:
        if x < -real(three):
            return real(zero)
        return x if x > real(three) else x * (x + real(three)) / real(six)

    found = (identity, relu, relu6, leaky_relu, elu, sigmoid, tanh, silu, hardswish)
    return cuda.jit(found[ACTIVATIONS.index(name)], device=True, inline=True)
