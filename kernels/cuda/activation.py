"""The activations and their derivatives, as device code: from the definition, by libdevice's exp, expm1 and tanh."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import cuda

__all__ = ["ACTIVATIONS", "activation", "slope_of"]

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


@cache
def slope_of(name: str, real: Any) -> Any:
    """Return the device function f'(g, x, slope) of an activation: its derivative at x times g."""
    zero, one, three, four, six, half = 0.0, 1.0, 3.0, 4.0, 6.0, 0.5

    # NaN: relu and relu6 hand g on, leaky_relu slope times it, others are NaN
    def relu(g: Any, x: Any, slope: Any) -> Any:
        return real(zero) if x <= real(zero) else g

    def relu6(g: Any, x: Any, slope: Any) -> Any:
        return real(zero) if x <= real(zero) or x >= real(six) else g

    def leaky_relu(g: Any, x: Any, slope: Any) -> Any:
        return g if x > real(zero) else g * slope

    def elu(g: Any, x: Any, slope: Any) -> Any:
        return g if x > real(zero) else g * slope * math.exp(x)

    # by exp(-|x|), which never overflows: low is sigmoid(x), high is sigmoid(-x)
    def sigmoid(g: Any, x: Any, slope: Any) -> Any:
        e = math.exp(-abs(x))
        return g * e / ((real(one) + e) * (real(one) + e))

    def tanh(g: Any, x: Any, slope: Any) -> Any:
        e = math.exp(-(abs(x) + abs(x)))
        return g * real(four) * e / ((real(one) + e) * (real(one) + e))

    def silu(g: Any, x: Any, slope: Any) -> Any:
        e = math.exp(-abs(x))
        low, high = (e if x < real(zero) else real(one)), (real(one) if x < real(zero) else e)
        total = real(one) + e
        return g * low / total * (real(one) + x * high / total)

    def hardswish(g: Any, x: Any, slope: Any) -> Any:
        if x <= -real(three):
            return real(zero)
        return g if x >= real(three) else g * (x / real(three) + real(half))

    found = (None, relu, relu6, leaky_relu, elu, sigmoid, tanh, silu, hardswish)
    return cuda.jit(found[ACTIVATIONS.index(name)], device=True, inline=True)
