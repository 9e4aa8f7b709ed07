"""Frozen descriptors of problems: the only shape arithmetic in the project.

A problem holds sizes and words, never arrays. It is hashable, and its string is the pytest id, the benchmark's name,
the cache key and the bug report in one: ``n1c64h56w56-o64k3s1p1-f32``.

One file a family; ``base`` holds what they share.
"""

from __future__ import annotations

from .base import (
    ACTIVATIONS,
    AXES,
    DEFAULT_SLOPES,
    DTYPES,
    FLOATS,
    GPU_ELEMENTS,
    INTEGERS,
    ITEM_BYTES,
    MAX_ELEMENTS,
    PADDING_MODES,
    Operand,
    Pads,
    Problem,
    output_size,
    pad_index,
    pooled_size,
    standard_strides,
)
from .conv import ConvProblem
from .conv_grad import ConvBiasProblem, ConvWeightProblem
from .deform import DeformProblem
from .layers import NORM_KINDS, ElementwiseProblem, LinearProblem, NormProblem, ResponseProblem
from .lowering import LoweringProblem, check_reach
from .parse import parse_problem
from .pool import POOL_KINDS, PoolProblem, UnpoolProblem
from .resize import RESIZE_MODES, ResizeProblem
from .roi import MAX_SAMPLING_RATIO, ROI_KINDS, ROI_MODES, ROI_MODES_OF_MAXIMA, NmsProblem, RoiProblem
from .sample import GRID_MODES, GRID_PADDING_MODES, AffineGridProblem, GridSampleProblem
from .shuffle import ShuffleProblem
from .transposed import PhaseAxis, TransposedPart, TransposedProblem

__all__ = [
    "ACTIVATIONS",
    "AXES",
    "DEFAULT_SLOPES",
    "DTYPES",
    "FLOATS",
    "GPU_ELEMENTS",
    "GRID_MODES",
    "GRID_PADDING_MODES",
    "INTEGERS",
    "ITEM_BYTES",
    "MAX_ELEMENTS",
    "MAX_SAMPLING_RATIO",
    "NORM_KINDS",
    "PADDING_MODES",
    "POOL_KINDS",
    "RESIZE_MODES",
    "ROI_KINDS",
    "ROI_MODES",
    "ROI_MODES_OF_MAXIMA",
    "AffineGridProblem",
    "ConvBiasProblem",
    "ConvProblem",
    "ConvWeightProblem",
    "DeformProblem",
    "ElementwiseProblem",
    "GridSampleProblem",
    "LinearProblem",
    "LoweringProblem",
    "NmsProblem",
    "NormProblem",
    "Operand",
    "Pads",
    "PhaseAxis",
    "PoolProblem",
    "Problem",
    "ResizeProblem",
    "ResponseProblem",
    "RoiProblem",
    "ShuffleProblem",
    "TransposedPart",
    "TransposedProblem",
    "UnpoolProblem",
    "check_reach",
    "output_size",
    "pad_index",
    "parse_problem",
    "pooled_size",
    "standard_strides",
]
