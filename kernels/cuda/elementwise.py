"""The activations by themselves, and their gradients; arrays of up to five axes, any strides.

y = f(x), and g f'(x) as pyconv/reference.py (activation_grad) has it at kinks and for NaN. A thread has one element,
which it reads before it writes, so that the output may be the input. bytes: each array once. Error a few ulp.
"""

from __future__ import annotations

from typing import Any

from numba import cuda, int32

from . import THREADS
from .activation import activation, slope_of
from .memory import load, store
from .pool import place

__all__ = ["backward", "forward"]


def forward(real: Any, name: str) -> Any:
    """Return the kernel of an activation; ``sizes`` are of five axes, ``steps`` of x and out."""
    activate = activation(name, real)

    def kernel(sizes: Any, steps: Any, slope: Any, x: Any, out: Any) -> None:
        n, c, d, h, width = sizes
        x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            value = load(x, int32(x0 + image * x_n + channel * x_c + z * x_d + y * x_h + e * x_w))
            to = int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w)
            store(out, to, activate(value, slope))

    return kernel


def backward(real: Any, name: str) -> Any:
    """Return the kernel of an activation's gradient; ``steps`` are of grad_output, x and out."""
    derivative = slope_of(name, real)

    def kernel(sizes: Any, steps: Any, slope: Any, grad_output: Any, x: Any, out: Any) -> None:
        n, c, d, h, width = sizes
        g0, g_n, g_c, g_d, g_h, g_w, x0, x_n, x_c, x_d, x_h, x_w, y0, y_n, y_c, y_d, y_h, y_w = steps
        task = int32(cuda.blockIdx.x * THREADS + cuda.threadIdx.x)
        if task < n * c * d * h * width:
            image, channel, z, y, e = place(task, c, d, h, width, False)
            g = load(grad_output, int32(g0 + image * g_n + channel * g_c + z * g_d + y * g_h + e * g_w))
            value = load(x, int32(x0 + image * x_n + channel * x_c + z * x_d + y * x_h + e * x_w))
            to = int32(y0 + image * y_n + channel * y_c + z * y_d + y * y_h + e * y_w)
            store(out, to, derivative(g, value, slope))

    return kernel
