"""exp and the activations on whole vectors: the steps of csrc/math.inc.c, and of the gradients in elementwise.inc.c.

exp(x) = 2^k exp(r), k = round(x / ln 2), r = x - k ln 2 in two parts (Cody and Waite 1980), and exp(r) by its Taylor
polynomial. The C files have the degrees, the reasons for each gradient's form, and what becomes of kinks and NaN. At
most 2 units in the last place from libm.

Everything here is made while code is generated: the functions of :class:`~.simd.Lanes` write LLVM's instructions down,
so that an activation costs Numba no more to compile than an addition.
"""

from __future__ import annotations

from math import factorial
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .jit import c_function, once
from .simd import Lanes, Mask, lanes, load, load_part, splat_tile, store, store_part
from .tile import ELU, HARDSWISH, LEAKY_RELU, RELU, RELU6, SIGMOID, SILU, TANH

__all__ = ["activation", "elementwise", "root"]


def _series(x: Lanes, first: int, degree: int) -> Lanes:
    """Return the sum of x^(i - first) / i! for i from ``first`` to ``degree``."""
    total = x.of(x.value_of(1 / factorial(degree)))
    for i in range(degree - 1, first - 1, -1):
        total = total * x + 1 / factorial(i)
    return total


def _exp(x: Lanes) -> Lanes:
    """Return e^x; results below the smallest normal number are 0."""
    single = x.real.bitwidth == 32
    overflow, underflow = (88.722, -87.336) if single else (709.782, -708.396)
    # the first part of ln 2 has enough trailing zeros for k * ln2_high to be exact
    ln2_high, ln2_low = (0.693359375, -2.12194440e-4) if single else (0.6931471803691238, 1.9082149292705877e-10)
    rounder = 1.5 * 2.0 ** (23 if single else 52)
    inside = ((x < overflow) & (x > underflow)).choose(x, 0)
    shifted = inside * 1.4426950408889634 + rounder
    k = shifted - rounder
    r = (inside - k * ln2_high) - k * ln2_low
    y = _series(r, 0, 7 if single else 13) * shifted.power_of_two(rounder)
    y = (x >= overflow).choose(float("inf"), y)
    y = (x <= underflow).choose(0, y)
    return x.is_number().choose(y, x)


def _expm1(x: Lanes) -> Lanes:
    """Return e^x - 1; by its own series near zero, where the difference would cancel."""
    near = _series(x, 1, 8 if x.real.bitwidth == 32 else 13) * x
    return ((x > -0.35) & (x < 0.35)).choose(near, _exp(x) - 1)


def _tanh(x: Lanes) -> Lanes:
    """Return expm1(2x) / (expm1(2x) + 2), on |x| capped where the quotient is 1 already."""
    capped = (x > 20).choose(20, (x < -20).choose(-20, x))
    e = _expm1(capped + capped)
    return e / (e + 2)


def _activated(x: Lanes, kind: int, slope: Lanes) -> Lanes:
    """Return f(x)."""
    relu = (x < 0).choose(0, x)
    if kind == RELU:
        return relu
    if kind == RELU6:
        return (x > 6).choose(6, relu)
    if kind == LEAKY_RELU:
        return (x < 0).choose(x * slope, x)
    if kind == ELU:
        return (x < 0).choose(_expm1(x) * slope, x)
    if kind == SIGMOID:
        return 1 / (1 + _exp(-x))
    if kind == TANH:
        return _tanh(x)
    if kind == SILU:
        return x / (1 + _exp(-x))
    assert kind == HARDSWISH
    return (x < -3).choose(0, (x > 3).choose(x, x * (x + 3) / 6))


def _magnitude(x: Lanes) -> Lanes:
    return (x < 0).choose(-x, x)


def _sigmoid_slope(x: Lanes) -> Lanes:
    """Return sigmoid(x) sigmoid(-x)."""
    e = _exp(-_magnitude(x))
    total = 1 + e
    return e / (total * total)


def _gradient(x: Lanes, g: Lanes, kind: int, slope: Lanes) -> Lanes:
    """Return f'(x) g."""
    if kind == RELU:
        return (x <= 0).choose(0, g)
    if kind == RELU6:
        return ((x <= 0) | (x >= 6)).choose(0, g)
    if kind == LEAKY_RELU:
        return (x > 0).choose(g, g * slope)
    if kind == ELU:
        return (x > 0).choose(g, g * slope * _exp(x))
    if kind == SIGMOID:
        return g * _sigmoid_slope(x)
    if kind == TANH:
        return g * (4 * _sigmoid_slope(x + x))
    if kind == SILU:
        e = _exp(-_magnitude(x))
        larger = 1 / (1 + e)
        smaller = e * larger
        below: Mask = x < 0
        s, rest = below.choose(smaller, larger), below.choose(larger, smaller)
        return g * (s * (1 + x * rest))
    assert kind == HARDSWISH
    return (x <= -3).choose(0, (x >= 3).choose(g, g * (x / 3 + 0.5)))


@intrinsic(prefer_literal=True)
def _elementwise(typing: Any, x: Any, g: Any, kind: Any, gradient: Any, slope: Any) -> Any:
    """Return f(x), or f'(x) g where ``gradient`` says so."""
    signature = x(x, x, kind, gradient, x)
    number, differentiate = kind.literal_value, gradient.literal_value

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        at, of, factor = (Lanes(b, b.extract_value(arguments[i], 0), x.real) for i in (0, 1, 4))
        found = _gradient(at, of, number, factor) if differentiate else _activated(at, number, factor)
        return cgutils.pack_array(b, [found.value])

    return signature, generate


@once
def activation(real: types.Float, kind: int) -> int:
    """Return the address of c[:n] = f(c[:n]), for an element type and a position in ACTIVATIONS."""

    def activate(c: Any, n: int, slope: Any) -> None:
        step, i = lanes(c), 0
        factor = splat_tile(c, 1, 1, slope)
        while i + step <= n:
            store(c, i, _elementwise(load(c, i), factor, kind, 0, factor))
            i += step
        if i < n:
            store_part(c, i, _elementwise(load_part(c, i, n - i), factor, kind, 0, factor), n - i)

    return c_function(activate, types.CPointer(real), types.intp, real)


@once
def elementwise(real: types.Float, kind: int, gradient: int) -> int:
    """Return the address of out[:n] = f(x[:n]), or f'(x[:n]) g[:n]; without ``gradient`` g is x."""

    def run(out: Any, x: Any, g: Any, n: int, slope: Any) -> None:
        step, i = lanes(x), 0
        factor = splat_tile(x, 1, 1, slope)
        while i + step <= n:
            store(out, i, _elementwise(load(x, i), load(g, i), kind, gradient, factor))
            i += step
        if i < n:
            part = _elementwise(load_part(x, i, n - i), load_part(g, i, n - i), kind, gradient, factor)
            store_part(out, i, part, n - i)

    p = types.CPointer(real)
    return c_function(run, p, p, p, types.intp, real)


@intrinsic
def root(typing: Any, v: Any) -> Any:
    """Return the square roots of a vector."""

    def generate(context: Any, b: Any, signature: Any, arguments: Any) -> Any:
        x = b.extract_value(arguments[0], 0)
        name = f"llvm.sqrt.v{v.lanes}f{v.real.bitwidth}"
        function = cgutils.get_or_insert_function(b.module, ir.FunctionType(x.type, [x.type]), name)
        return cgutils.pack_array(b, [b.call(function, [x])])

    return v(v), generate
