"""The GPU kernels of resizing and of maps at places, on the emulator."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_sample
import test_small_layers
from checker import compare, in_memory_order
from cuda_device import OnGpu, forget, gpu, ran

import pyconv
from pyconv import GridSampleProblem, ResizeProblem, registry
from pyconv.problem import GRID_MODES, GRID_PADDING_MODES

__all__ = ["gpu"]


def _grids() -> list[GridSampleProblem]:
    """Every mode, border and gradient; the rest in turn."""
    sizes = (((5, 7), (3, 4)), ((1, 4), (6, 2)), ((4, 5, 3), (2, 2, 3)), ((3, 2), (2, 9)))
    found = []
    cases = itertools.product(GRID_MODES, GRID_PADDING_MODES, ("", "x", "grid"))
    for i, (mode, padding, argument) in enumerate(cases):
        for j in range(2):
            size, out = sizes[(i + j) % (4 if mode != "bicubic" else 2)]
            dtype = ("f32", "f64", "f16")[(i + 2 * j) % 3]
            found.append(GridSampleProblem(2, 3 if j else 9, size, out, mode, padding, j == 0, argument, dtype))
    return found


@pytest.mark.parametrize("integers", [True, False], ids=["integers", "normal"])
@pytest.mark.parametrize("problem", _grids(), ids=lambda problem: f"{problem.op}-{problem}")
def test_maps_at_places(problem: GridSampleProblem, integers: bool) -> None:
    arrays = test_sample.make(problem, integers)
    expected = test_sample.expected_of(problem, arrays)
    algorithm = registry.find(f"{problem.op}.grid.{problem.dtype}@cuda")
    there: dict[str, Any] = {name: OnGpu(a) for name, a in arrays.items()}
    there.setdefault("x", OnGpu(np.zeros(problem.x_shape, expected.dtype).astype(arrays["grid"].dtype)))
    forget()
    result = test_sample.call_of(problem, there)(algorithm=algorithm.id).array
    assert ran(algorithm)
    bound = algorithm.error_bound(problem) * test_sample.expected_of(problem, arrays, absolute=True)
    allowed = bound + test_sample.EPSILON[problem.dtype] * np.abs(expected) + test_sample.LEAST[problem.dtype]
    compare(result, expected, allowed, result.dtype)


RESIZED = (
    ResizeProblem(2, 3, (5, 7), (8, 3)),
    ResizeProblem(2, 3, (5,), (8,), mode="nearest-exact", dtype="f16"),
    ResizeProblem(1, 2, (6,), (4,), mode="linear", dtype="f64"),
    ResizeProblem(2, 3, (4, 5), (9, 7), mode="bilinear", align_corners=True, channels_last=True),
    ResizeProblem(1, 2, (9, 8), (3, 5), mode="bilinear", antialias=True),
    ResizeProblem(1, 2, (5, 6), (8, 4), mode="bicubic", dtype="f16"),
    ResizeProblem(1, 2, (7, 9), (3, 4), mode="bicubic", antialias=True, dtype="f64"),
    ResizeProblem(1, 2, (3, 2, 4), (4, 5, 3), mode="trilinear"),
)


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("forward", RESIZED, ids=str)
def test_resizing(forward: ResizeProblem, gradient: bool) -> None:
    problem = replace(forward, gradient=gradient)
    arrays = test_small_layers.make(problem, integers=False)
    algorithm = registry.find(f"{problem.op}.taps.{problem.dtype}@cuda")
    there: dict[str, Any] = {name: OnGpu(a) for name, a in arrays.items()}
    like = in_memory_order(np.zeros(problem.x_shape, test_sample.NUMPY[problem.dtype]), problem.channels_last)
    there.setdefault("x", OnGpu(like))
    forget()
    result = test_small_layers.call_of(problem, there)(algorithm=algorithm.id)[0].array
    assert ran(algorithm)
    expected = np.asarray(test_small_layers._results(problem, dict(arrays))[0], np.float64)
    size = test_small_layers.magnitudes(problem, arrays, [expected])[0]
    allowed = algorithm.error_bound(problem) * size + test_sample.EPSILON[problem.dtype] * np.abs(expected)
    compare(result, expected, allowed, result.dtype)


def test_area_and_memory() -> None:
    x = np.arange(24, dtype=np.float32).reshape(1, 1, 4, 6)
    np.testing.assert_array_equal(
        pyconv.interpolate(OnGpu(x), 2, mode="area").array, pyconv.interpolate(x, 2, mode="area")
    )
    grid = np.zeros((1, 2, 2, 2), np.float32)
    for a, b in ((OnGpu(x), grid), (x, OnGpu(grid))):
        with pytest.raises(TypeError, match="all arrays must be in one memory"):
            pyconv.grid_sample(a, b)
