"""Gradients, by the names of the forward functions: ``pyconv.grad.f(grad_output, ..., output_mask=None)``.

The arguments are the forward call's with ``grad_output`` in front. The result is a tuple with one gradient for each
floating array argument in the order of the forward signature, None where ``output_mask`` is False.
"""

from __future__ import annotations

__all__: list[str] = []
