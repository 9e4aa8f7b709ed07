"""Problems by their names: ``conv2d n1c64h56w56-o64k3s1p1-f32``, the operation and the problem's string."""

from __future__ import annotations

import re

from ..errors import InvalidProblem
from .base import Problem
from .conv import ConvProblem
from .conv_grad import ConvBiasProblem, ConvWeightProblem
from .pool import PoolProblem
from .roi import RoiProblem
from .transposed import TransposedProblem


def parse_problem(name: str) -> Problem:
    """Return the problem whose operation and string these are, with a space between.

    Raises
    ------
    InvalidProblem
        If the operation is unknown or its problems have no inverse of ``str``.

    Examples
    --------
    >>> parse_problem("conv2d n1c64h56w56-o64k3s1p1-f32").out_shape
    (1, 64, 56, 56)
    """
    op, _, text = name.strip().partition(" ")
    text = text.strip()
    if re.fullmatch(r"conv[123]d", op):
        problem = ConvProblem.parse(text)
        if problem.op != op:
            raise InvalidProblem(f"{text} is a problem of {problem.op}, not of {op}")
        return problem
    for pattern, parse in (
        (r"conv_transpose[123]d|conv[123]d-grad-x", TransposedProblem.parse),
        (r"conv(_transpose)?[123]d-grad-w", ConvWeightProblem.parse),
        (r"conv(_transpose)?[123]d-grad-bias", ConvBiasProblem.parse),
        (r"(adaptive_)?(max|avg|lp)_pool[123]d(-grad-x)?", PoolProblem.parse),
        (r"(ps_)?roi_(align|pool)(3d)?(-grad-x)?", RoiProblem.parse),
    ):
        if re.fullmatch(pattern, op):
            return parse(op, text)
    raise InvalidProblem(
        f"{name!r} is no problem of a convolution, its gradients, a pooling or boxes; "
        "one looks like 'conv2d n1c64h56w56-o64k3s1p1-f32'"
    )
