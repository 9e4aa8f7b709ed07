"""The GPU kernels of boxes, on the emulator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import test_roi
from checker import compare
from cuda_device import OnGpu, backend, forget, gpu, ran

import pyconv
from pyconv import InvalidProblem, RoiProblem, Unsupported, registry

__all__ = ["gpu"]

#: Every kind, type, rank and rule; few channels.
ROIS = (
    ("roi_align", "n2c3h9w11-k9to3x2-x0.5-r2-f32"),
    ("roi_align", "n1c2h7w6-k9to2-x1.0-r0-f64-aligned"),
    ("roi_align", "n2c3h6w5-k4to2-x0.5-r3-f16-channels_last"),
    ("roi_align", "n2c2h7w9-k9to2-x0.5-r2-f32-max_interpolated"),
    ("roi_align", "n1c2h7w9-k9to2x3-x0.5-r0-f64-aligned-max_weighted"),
    ("roi_align3d", "n2c2d4h5w6-k6to2-x0.5-r2-f32-aligned"),
    ("roi_align3d", "n1c2d4h5w3-k9to2-x0.5-r0-f64-max_interpolated"),
    ("roi_pool", "n2c3h9w11-k9to3x2-x0.25-f32"),
    ("roi_pool", "n1c2h6w6-k9to3-x1.0-f16"),
    ("ps_roi_align", "n2c12h7w9-k9to2x3-x0.25-r2-f32"),
    ("ps_roi_align", "n1c8h5w6-k9to2-x0.5-r0-f64"),
    ("ps_roi_pool", "n2c8h9w11-k9to2-x0.25-f32"),
)


@pytest.mark.parametrize("exact", [True, False], ids=["exact", "drawn"])
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize(("op", "text"), ROIS)
def test_boxes(op: str, text: str, gradient: bool, exact: bool) -> None:
    problem = replace(RoiProblem.parse(op, text), gradient=gradient)
    if not exact and not test_roi.comparable(problem):
        exact = True
    algorithm = registry.find(f"{problem.op}.gather.{problem.dtype}@cuda")
    arrays = test_roi.make(problem, exact)
    expected = test_roi.expected_of(problem, arrays)
    forget()
    result = test_roi.call_of(problem, {name: OnGpu(a) for name, a in arrays.items()})(algorithm=algorithm.id).array
    assert ran(algorithm)
    compare(result, expected, test_roi.allowed_of(problem, arrays, algorithm, expected), result.dtype)


def test_boxes_of_any_real_type_and_of_one_image() -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, 6, 7)).astype(np.float32)
    boxes = np.array([[0, 0.5, 1, 4, 5], [0, 2, 2, 6.5, 3]], np.float64)
    expected = pyconv.roi_align(x, boxes, 2, sampling_ratio=2)
    for given in (boxes.astype(np.float32), boxes.astype(np.float16), boxes[:, 1:], boxes[:, ::-1].copy()[:, ::-1]):
        result = pyconv.roi_align(OnGpu(x), OnGpu(given), 2, sampling_ratio=2)
        np.testing.assert_allclose(result.array, expected, rtol=1e-5, atol=1e-6)


def test_boxes_that_no_map_has_are_refused() -> None:
    x = OnGpu(np.ones((2, 1, 4, 4), np.float32))
    good = np.array([[0, 0, 0, 2, 2], [1, 1, 1, 3, 3], [1, 1, 1, 3, 3]], np.float64)
    for place, value, message in (
        ((1, 0), 2, r"boxes\[1\] is on an image that x has not: 0 to 1"),
        ((1, 0), -1, r"boxes\[1\] is on an image"),
        ((2, 0), 0.5, r"boxes\[2\] is on an image"),
        ((2, 0), np.nan, r"boxes\[2\] is on an image"),
        ((1, 3), np.nan, r"boxes\[1\] has corners that are not finite"),
        ((0, 4), np.inf, r"boxes\[0\] has corners that are not finite"),
        ((0, 4), 1e301, r"boxes\[0\] has corners that are not finite"),
    ):
        bad = good.copy()
        bad[place] = value
        with pytest.raises(InvalidProblem, match=message):
            pyconv.roi_align(x, OnGpu(bad), 2)
        with pytest.raises(InvalidProblem, match=message):
            pyconv.grad.roi_pool(OnGpu(np.ones((3, 1, 2, 2), np.float32)), x, OnGpu(bad), 2)
    with pytest.raises(InvalidProblem, match=r"boxes in GPU memory must be \(k, 5\)"):
        pyconv.roi_align(x, OnGpu(good[:, 1:]), 2)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.roi_align(x, good, 2)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.roi_align(np.ones((2, 1, 4, 4), np.float32), OnGpu(good), 2)


@pytest.mark.parametrize("classes", [False, True], ids=["one", "classes"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_suppression(dtype: type, classes: bool) -> None:
    rng = np.random.default_rng(5)
    corners = rng.integers(0, 30, (70, 2))
    boxes = np.concatenate([corners, corners + rng.integers(0, 15, (70, 2))], axis=1).astype(dtype)
    scores = rng.integers(0, 20, 70).astype(dtype)  # many are equal
    scores[[7, 40]] = np.nan
    kinds = rng.integers(0, 3, 70)
    for threshold in (0.0, 0.3, 0.99):
        if classes:
            expected = pyconv.batched_nms(boxes, scores, kinds, threshold)
            result = pyconv.batched_nms(OnGpu(boxes), OnGpu(scores), OnGpu(kinds), threshold)
        else:
            expected = pyconv.nms(boxes, scores, threshold)
            result = pyconv.nms(OnGpu(boxes), OnGpu(scores[::-1].copy()[::-1]), threshold)
        np.testing.assert_array_equal(result.array, expected)
        assert backend.last_kernel() == "nms_greedy_f64__cuda"


def test_suppression_of_nothing_and_into_memory() -> None:
    none = np.zeros((0, 4), np.float32)
    assert pyconv.nms(OnGpu(none), OnGpu(none[:, 0]), 0.5).array.shape == (0,)
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 2.1], [5, 5, 6, 6]], np.float32)
    scores, out = np.array([1, 2, 3], np.float32), OnGpu(np.full(3, -1, np.int64))
    result = pyconv.nms(OnGpu(boxes), OnGpu(scores), 0.5, out=out)
    assert result.array.tolist() == [2, 1]
    assert out.array.tolist() == [2, 1, -1]
    with pytest.raises(InvalidProblem, match=r"scores must be \(3,\), one a box"):
        pyconv.nms(OnGpu(boxes), OnGpu(scores[:2]), 0.5)
    with pytest.raises(TypeError, match="all arrays must be in one memory"):
        pyconv.nms(OnGpu(boxes), scores, 0.5)
    with pytest.raises(TypeError, match="classes"):
        pyconv.batched_nms(OnGpu(boxes), OnGpu(scores), OnGpu(scores), 0.5)
    many = OnGpu(np.zeros((70000, 4))), OnGpu(np.zeros(70000))
    with pytest.raises(Unsupported, match="at most 65536 boxes"):
        pyconv.nms(*many, 0.5)
