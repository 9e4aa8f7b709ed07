"""Regions of interest: roi_align, roi_pool, position-sensitive forms, pyramids; and nms, box_iou, anchors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import reference
from ..algorithm import Array
from ..errors import InvalidProblem
from ..problem import FLOATS, INTEGERS, NmsProblem, RoiProblem
from .arguments import as_array, as_array_anywhere, as_first, as_first_anywhere, dtype_of, is_plain, numbers, plain
from .call import (
    REQUESTS,
    Explainable,
    Key,
    Operation,
    Request,
    as_out,
    check_one_dtype,
    check_word,
    exact,
    is_channels_last,
    key_of,
    run,
    spatial_axes,
)
from .device import DeviceArray, check_one_place
from .host import in_kind_of

__all__ = [
    "CONVENTIONS",
    "anchors",
    "batched_nms",
    "box_iou",
    "fpn_roi_align",
    "nms",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_align3d",
    "roi_pool",
]

#: sampling_ratio and aligned of each convention, where a call leaves them out.
CONVENTIONS = {
    "torchvision": (-1, False),
    "detectron2": (0, True),
    "onnx-10": (0, False),
    "onnx-16": (0, True),
}
#: Corners beyond this, in pixels of the map, are refused: their differences would not be numbers.
_FARTHEST = 1e300


def _corners(rank: int) -> str:
    """Return "x1, y1, x2, y2" for 2."""
    return ", ".join(f"{axis}{end}" for end in (1, 2) for axis in "xyz"[:rank])


def _numeric(name: str, value: Any) -> Array:
    """Return real numbers as float64: boxes need no type of their own, and a cast is cheap."""
    array = as_array(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must be real numbers, got {array.dtype.name}")
    with np.errstate(over="ignore"):
        return np.asarray(array, np.float64)


def _check_axes(name: str, array: Array, rank: int) -> None:
    if array.ndim != rank + 2:
        raise InvalidProblem(f"{name} must have axes (n, c, {spatial_axes(rank)}), got shape {array.shape}")


def _boxes_of(call: str, boxes: Any, rank: int, images: int, scale: float) -> Any:
    """Return (k, 1 + 2 rank) float64: the image's index, then the corners; from any of the three forms.

    Boxes in GPU memory stay as they are, in one array; the kernels look at what is in it.
    """
    width = 2 * rank
    if not isinstance(boxes, (list, tuple)):
        boxes = as_array_anywhere("boxes", boxes)
        if isinstance(boxes, DeviceArray):
            return _boxes_on_gpu(call, boxes, width, images)
    if isinstance(boxes, (list, tuple)):
        if len(boxes) != images:
            raise InvalidProblem(
                f"{call}: a list of boxes needs an entry for each of {images} images, got {len(boxes)}"
            )
        each = [_numeric(f"boxes[{i}]", entry) for i, entry in enumerate(boxes)]
        for i, entry in enumerate(each):
            if entry.ndim != 2 or entry.shape[1] != width:
                raise InvalidProblem(f"{call}: boxes[{i}] must be (l, {width}), ({_corners(rank)}), got {entry.shape}")
        found = np.empty((sum(map(len, each)), width + 1))
        found[:, 0] = np.repeat(np.arange(images), [len(entry) for entry in each])
        if each:
            np.concatenate(each, out=found[:, 1:])
    else:
        found = _numeric("boxes", boxes)
        if found.ndim != 2 or found.shape[1] not in (width, width + 1):
            raise InvalidProblem(
                f"{call}: boxes must be (k, {width + 1}), (image, {_corners(rank)}), or a list with an (l, {width}) "
                f"for each image, got shape {found.shape}"
            )
        if found.shape[1] == width:
            if images != 1:
                raise InvalidProblem(
                    f"{call}: boxes of shape {found.shape} do not say which of {images} images they are on; put its "
                    "index in front, or give a list"
                )
            found = np.concatenate([np.zeros((len(found), 1)), found], axis=1)
        index = found[:, 0]
        wrong = ~((index >= 0) & (index < images) & (index == np.floor(index)))
        if wrong.any():
            k = int(np.argmax(wrong))
            raise InvalidProblem(f"{call}: boxes[{k}] is on image {index[k]:g}, x has images 0 to {images - 1}")
    # NaN compares as false
    near = np.abs(found[:, 1:]) <= _FARTHEST / max(1.0, scale)
    if not near.all():
        k = int(np.argmin(near.all(axis=1)))
        raise InvalidProblem(f"{call}: the corners of boxes[{k}] must be finite, got {found[k, 1:].tolist()}")
    return np.ascontiguousarray(found)


def _boxes_on_gpu(call: str, boxes: DeviceArray, width: int, images: int) -> DeviceArray:
    """Return boxes in GPU memory, of which the shape and the type are right."""
    if boxes.ndim != 2 or (boxes.shape[1] != width + 1 and (boxes.shape[1] != width or images != 1)):
        raise InvalidProblem(
            f"{call}: boxes in GPU memory must be (k, {width + 1}), with the image's index in front, or (k, {width}) "
            f"with one image; got shape {boxes.shape} with {images} images"
        )
    dtype_of("boxes", boxes.dtype)
    return boxes


def _scale_of(value: Any) -> float:
    if isinstance(value, (str, bytes, bool)):
        raise TypeError(f"spatial_scale must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"spatial_scale must be a number, got {value!r}") from None


def _problem_of(
    rank: int, kind: str, gradient: bool, arrays: Mapping[str, Key | None], settings: tuple[Any, ...]
) -> RoiProblem:
    """Check everything and describe it; raises the bare fact."""
    output_size, scale, ratio, aligned, mode, max_of, like = settings
    x = like if gradient else arrays["x"]
    boxes = arrays["boxes"]
    assert x is not None
    assert boxes is not None
    problem = RoiProblem(
        kind=kind,
        n=x[0][0],
        c=x[0][1],
        boxes=boxes[0][0],
        spatial=tuple(x[0][2:]),
        out_spatial=numbers("output_size", output_size, rank),
        scale=scale,
        sampling_ratio=max(0, ratio),
        aligned=aligned,
        mode=mode,
        max_of=max_of,
        gradient=gradient,
        dtype=check_one_dtype(arrays, ("grad_output", "x") if gradient else ("x",), FLOATS),
        channels_last=is_channels_last(x),
    )
    given = arrays.get("grad_output")
    if given is not None and given[0] != problem.out_shape:
        raise InvalidProblem(f"grad_output must have the output's shape {problem.out_shape}, got {given[0]}")
    return problem


_OPERATIONS = {
    (kind, rank, gradient): Operation(
        name=f"{'grad.' if gradient else ''}{kind}{'3d' if rank == 3 else ''}",
        rank=rank,
        inputs=("grad_output", "boxes", "x") if gradient else ("x", "boxes"),
        weights=(),
        outputs=("out",),
        describe=partial(_problem_of, rank, kind, gradient),
        unbatched=False,
    )
    for kind, rank in (("roi_align", 2), ("roi_align", 3), ("roi_pool", 2), ("ps_roi_align", 2), ("ps_roi_pool", 2))
    for gradient in (False, True)
}


def _align_settings(
    output_size: Any, spatial_scale: Any, sampling_ratio: Any, aligned: Any, mode: Any, max_of: Any, convention: Any
) -> tuple[Any, ...]:
    if convention not in CONVENTIONS:
        raise InvalidProblem(f"convention must be one of {', '.join(CONVENTIONS)}, got {convention!r}")
    ratio, shifted = CONVENTIONS[convention]
    for name, word in (("mode", mode), ("max_of", max_of)):
        check_word(name, word)
    if aligned is not None and not isinstance(aligned, (bool, np.bool_)):
        raise TypeError(f"aligned must be True, False or None, got {aligned!r}")
    return (
        exact(output_size),
        _scale_of(spatial_scale),
        ratio if sampling_ratio is None else numbers("sampling_ratio", sampling_ratio, 1)[0],
        shifted if aligned is None else bool(aligned),
        mode,
        max_of,
    )


def _plain_settings(output_size: Any, spatial_scale: Any, sampling_ratio: Any = 0) -> tuple[Any, ...]:
    return _align_settings(output_size, spatial_scale, sampling_ratio, False, "avg", "interpolated", "torchvision")


def _request_of(kind: str, rank: int, x: Any, boxes: Any, settings: tuple[Any, ...]) -> Request:
    operation = _OPERATIONS[kind, rank, False]
    x = as_first_anywhere("x", x)
    _check_axes(f"{operation.name}: x", x, rank)
    found = _boxes_of(operation.name, boxes, rank, x.shape[0], settings[1])
    check_one_place({"x": x, "boxes": found})
    return Request(operation, (x, found), None, (*settings, None))


def _gradient_of(kind: str, rank: int, grad_output: Any, x: Any, boxes: Any, settings: tuple[Any, ...]) -> Request:
    """Return the gradient's request; a mean's needs of x only what it looks like."""
    operation = _OPERATIONS[kind, rank, True]
    grad_output, x = as_first_anywhere("grad_output", grad_output), as_array_anywhere("x", x)
    _check_axes(f"{operation.name}: x", x, rank)
    _check_axes(f"{operation.name}: grad_output", grad_output, rank)
    check_one_dtype({"grad_output": key_of(grad_output), "x": key_of(x)}, ("grad_output", "x"), FLOATS)
    found = _boxes_of(operation.name, boxes, rank, x.shape[0], settings[1])
    check_one_place({"grad_output": grad_output, "x": x, "boxes": found})
    maximum = kind == "roi_pool" or settings[4] == "max"
    return Request(operation, (grad_output, found, x if maximum else None), None, (*settings, key_of(x)))


def _align_request(
    rank: int, x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0, sampling_ratio: Any = None,
    aligned: Any = None, *, mode: Any = "avg", max_of: Any = "interpolated", convention: Any = "torchvision",
) -> Request:  # fmt: skip
    settings = _align_settings(output_size, spatial_scale, sampling_ratio, aligned, mode, max_of, convention)
    return _request_of("roi_align", rank, x, boxes, settings)


def _ps_align_request(
    x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0, sampling_ratio: Any = -1
) -> Request:
    return _request_of("ps_roi_align", 2, x, boxes, _plain_settings(output_size, spatial_scale, sampling_ratio))


def _pool_request(kind: str, x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0) -> Request:
    return _request_of(kind, 2, x, boxes, _plain_settings(output_size, spatial_scale))


def align_gradient(
    rank: int, grad_output: Any, x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0,
    sampling_ratio: Any = None, aligned: Any = None, *, mode: Any = "avg", max_of: Any = "interpolated",
    convention: Any = "torchvision",
) -> tuple[Request]:  # fmt: skip
    """Return the request of roi_align's gradient."""
    settings = _align_settings(output_size, spatial_scale, sampling_ratio, aligned, mode, max_of, convention)
    return (_gradient_of("roi_align", rank, grad_output, x, boxes, settings),)


def ps_align_gradient(
    grad_output: Any, x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0, sampling_ratio: Any = -1
) -> tuple[Request]:
    """Return the request of ps_roi_align's gradient."""
    settings = _plain_settings(output_size, spatial_scale, sampling_ratio)
    return (_gradient_of("ps_roi_align", 2, grad_output, x, boxes, settings),)


def pool_gradient(
    kind: str, grad_output: Any, x: Any, boxes: Any, output_size: Any, spatial_scale: Any = 1.0
) -> tuple[Request]:
    """Return the request of the gradient of roi_pool or ps_roi_pool."""
    return (_gradient_of(kind, 2, grad_output, x, boxes, _plain_settings(output_size, spatial_scale)),)


def roi_align(
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cut each box into bins, sample the map bilinearly in each, and take the mean of a bin's samples.

    Bin ``o`` of an axis with ``b`` bins has its ``r`` samples at ``start + (o + (s + 1/2) / r) (end - start) / b``. A
    sample up to one pixel outside the map is that of its border; farther away the map is zero.

    Parameters
    ----------
    x : (n, c, h, w) float16, float32 or float64
        Feature maps, any strides. A view over channels-last memory gives channels-last results.
    boxes : (k, 5), a list of (l, 4) for each image, or (k, 4) with one image
        The index of the image and the corners (x1, y1, x2, y2); any real type, computed with in float64.
    output_size : int or (int, int)
        Rows and columns of bins.
    spatial_scale : float
        Pixels of the map per unit of the corners.
    sampling_ratio : int, optional
        Samples of a bin along each axis; 0 or less: as many as the bin covers pixels, rounded up.
    aligned : bool, optional
        Whether corners are shifted by half a pixel, so that pixel centres lie where images have them. If not, a box
        covers one pixel at least along each axis.
    mode : {"avg", "max"}
        The mean or the largest of a bin's samples.
    max_of : {"interpolated", "weighted"}
        What "max" compares: interpolated samples, or each of their four pixels times its weight, as ONNX says.
    convention : {"torchvision", "detectron2", "onnx-10", "onnx-16"}
        Whose sampling_ratio and aligned stand in for None: -1 and False, 0 and True, 0 and False, 0 and True.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (k, c, *output_size), the dtype of x

    Raises
    ------
    InvalidProblem
        If a box is on an image that is not there, has a corner that is not finite, or sizes mean nothing.
    TypeError
        If an argument is no array, or has a dtype that is not taken.
    Unsupported
        If the algorithm that was asked for cannot do it.
    MemoryError
        If there is no memory for the output.

    Notes
    -----
    float16 is summed in float32. A box of any size takes a time that the map's size bounds. NaN and infinities go where
    the definition puts them, into the bins that have samples beside them. The result has the same bits for any number
    of threads.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> pyconv.roi_align(x, np.array([[0, 0, 0, 4, 4]]), 2, sampling_ratio=2, aligned=True)
    array([[[[ 2.5,  4.5],
             [10.5, 12.5]]]], dtype=float32)
    >>> pyconv.roi_align(x, [np.array([[0, 0, 64, 64]])], 1, 1 / 16, mode="max", convention="onnx-16")
    array([[[[15.]]]], dtype=float32)
    """
    request = _align_request(
        2, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def roi_align3d(
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Cut each box of a volume into bins, sample them trilinearly, and take the mean of a bin's samples.

    Parameters, results and errors are those of :func:`roi_align` with three axes: x is (n, c, d, h, w), boxes are
    (k, 7), (image, x1, y1, z1, x2, y2, z2), where z is along d.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(8.0).reshape(1, 1, 2, 2, 2)
    >>> pyconv.roi_align3d(x, np.array([[0, 0, 0, 0, 2, 2, 2]]), 1, sampling_ratio=2, aligned=True)
    array([[[[[3.5]]]]])
    """
    request = _align_request(
        3, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def roi_pool(
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Round each box to whole pixels, cut it into bins, and take the largest pixel of each.

    Corners are rounded, halves away from zero, and belong to the box both. Of ``n`` pixels along an axis bin ``o`` of
    ``b`` has those from ``floor(o n / b)`` up to ``ceil((o + 1) n / b)``; a bin outside the map is zero.

    Parameters
    ----------
    x : (n, c, h, w) float16, float32 or float64
        Feature maps, any strides.
    boxes : (k, 5), a list of (l, 4) for each image, or (k, 4) with one image
        As those of :func:`roi_align`.
    output_size : int or (int, int)
        Rows and columns of bins.
    spatial_scale : float
        Pixels of the map per unit of the corners.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (k, c, *output_size), the dtype of x

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`roi_align`.

    Notes
    -----
    A NaN is larger than any number, as in :func:`pyconv.max_pool2d`. Bins are cut in whole numbers: torchvision divides
    in float32 first, which gives some bins one row or column more than they cover, of 57 rows in 7 bins for example.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> pyconv.roi_pool(x, np.array([[0, 0, 0, 3, 2]]), 2)
    array([[[[ 5.,  7.],
             [ 9., 11.]]]], dtype=float32)
    """
    request = _pool_request("roi_pool", x, boxes, output_size, spatial_scale)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def ps_roi_align(
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Take the mean of bilinear samples, each bin from channels of its own.

    Channel ``c`` of bin ``b`` (row by row) is read from channel ``c * bins + b`` of x. Corners are shifted by half a
    pixel.

    Parameters
    ----------
    x : (n, c_out * rows * columns, h, w) float16, float32 or float64
        Score maps, any strides.
    boxes : (k, 5), a list of (l, 4) for each image, or (k, 4) with one image
        As those of :func:`roi_align`.
    output_size : int or (int, int)
        Rows and columns of bins.
    spatial_scale : float
        Pixels of the map per unit of the corners.
    sampling_ratio : int
        Samples of a bin along each axis; 0 or less: as many as the bin covers pixels, rounded up.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (k, c_out, *output_size), the dtype of x

    Raises
    ------
    InvalidProblem
        As :func:`roi_align`, and if x has another number of channels.
    TypeError, Unsupported, MemoryError
        As :func:`roi_align`.

    Notes
    -----
    A box without extent has no samples and gives zeros; torchvision divides zero by zero.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 4, 4))
    >>> pyconv.ps_roi_align(x, np.array([[0, 0, 0, 4, 4]]), 2)
    array([[[[0., 1.],
             [2., 3.]]]])
    """
    request = _ps_align_request(x, boxes, output_size, spatial_scale, sampling_ratio)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def ps_roi_pool(
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Round each box to whole pixels and take the mean of each bin, from channels of its own.

    As :func:`roi_pool`, but the last corner is no part of the box, and nor are the last row and column of the map: so
    the operation was published, and so torchvision has it. Channels are those of :func:`ps_roi_align`.

    Parameters
    ----------
    x : (n, c_out * rows * columns, h, w) float16, float32 or float64
        Score maps, any strides.
    boxes : (k, 5), a list of (l, 4) for each image, or (k, 4) with one image
        As those of :func:`roi_align`.
    output_size : int or (int, int)
        Rows and columns of bins.
    spatial_scale : float
        Pixels of the map per unit of the corners.
    out : numpy.ndarray, optional
        Where to put the result; may overlap x.
    algorithm : str
        "auto", a family ("separable", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (k, c_out, *output_size), the dtype of x

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`ps_roi_align`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(4.0).reshape(1, 4, 1, 1) * np.ones((1, 1, 5, 5))
    >>> pyconv.ps_roi_pool(x, np.array([[0, 0, 0, 4, 4]]), 2)
    array([[[[0., 1.],
             [2., 3.]]]])
    """
    request = _pool_request("ps_roi_pool", x, boxes, output_size, spatial_scale)
    return run(request, (out,), algorithm)[0]  # type: ignore[no-any-return]


def _levels_of(
    name: str, features: Any, boxes: Any, scales: Any, canonical_size: Any, canonical_level: Any
) -> tuple[list[Array], list[float], list[Array]]:
    """Return the maps, their scales, and for each the boxes, those of other levels on image -1."""
    if not isinstance(features, Sequence) or isinstance(features, (str, bytes)) or not features:
        raise TypeError(f"{name}: features must be a list of arrays, one a level, got {type(features).__name__}")
    maps = [as_array(f"features[{i}]", x) for i, x in enumerate(features)]
    for i, x in enumerate(maps):
        _check_axes(f"{name}: features[{i}]", x, 2)
    if len({x.shape[:2] for x in maps}) != 1:
        raise InvalidProblem(
            f"{name}: all features must have the same images and channels, got {[x.shape for x in maps]}"
        )
    if not isinstance(scales, Iterable) or isinstance(scales, (str, bytes)):
        raise TypeError(f"{name}: scales must be a number for each of {len(maps)} features, got {scales!r}")
    factors = [_scale_of(scale) for scale in scales]
    if len(factors) != len(maps) or not all(0 < scale < math.inf for scale in factors):
        raise InvalidProblem(
            f"{name}: scales must be a positive number for each of {len(maps)} features, got {scales!r}"
        )
    if any(fine <= coarse for fine, coarse in itertools.pairwise(factors)):
        raise InvalidProblem(f"{name}: scales must fall from the finest map on, got {scales!r}")
    if not 0 < _scale_of(canonical_size) < math.inf:
        raise InvalidProblem(f"{name}: canonical_size must be positive, got {canonical_size!r}")
    found = _boxes_of(name, boxes, 2, maps[0].shape[0], max(factors))
    width, height = found[:, 3] - found[:, 1], found[:, 4] - found[:, 2]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        size = np.sqrt(np.maximum(width, 0)) * np.sqrt(np.maximum(height, 0))
        # (the small addend keeps a box of exactly the canonical size on its level)
        level = np.floor(_scale_of(canonical_level) + np.log2(size / _scale_of(canonical_size)) + 1e-6)
    # a map's level is how often it was halved
    of_map = [round(-math.log2(scale)) for scale in factors]
    level = np.clip(level, of_map[0], of_map[-1])
    nearest = np.argmin(np.abs(level[:, None] - np.array(of_map)), axis=1)
    chosen = []
    for i in range(len(maps)):
        mine = found.copy()
        mine[nearest != i, 0] = -1
        chosen.append(mine)
    return maps, factors, chosen


def fpn_roi_align(
    features: Any,
    boxes: Any,
    output_size: Any,
    scales: Any,
    sampling_ratio: int | None = None,
    aligned: bool | None = None,
    *,
    mode: str = "avg",
    max_of: str = "interpolated",
    convention: str = "torchvision",
    canonical_size: float = 224,
    canonical_level: float = 4,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Call :func:`roi_align` for each box on the level of a feature pyramid that suits its size.

    A box of width w and height h goes to level ``floor(canonical_level + log2(sqrt(w h) / canonical_size))``, or the
    nearest one there is (Lin et al. 2017, equation 1). A map of scale ``2^-l`` is level l.

    Parameters
    ----------
    features : list of (n, c, h, w) arrays
        One map a level, the finest first; of one dtype.
    boxes : (k, 5), a list of (l, 4) for each image, or (k, 4) with one image
        In pixels of the image, as those of :func:`roi_align`.
    output_size : int or (int, int)
        Rows and columns of bins.
    scales : sequence of float
        Pixels of each map per pixel of the image, as 1/4, 1/8, 1/16, 1/32; falling.
    sampling_ratio, aligned, mode, max_of, convention : as in :func:`roi_align`
        For all levels.
    canonical_size, canonical_level : float
        The size of a box, in pixels of the image, and the level that it belongs to.
    out : numpy.ndarray, optional
        Where to put the result.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`, for all levels.

    Returns
    -------
    (k, c, *output_size), the dtype of the features, in the order of the boxes

    Raises
    ------
    InvalidProblem, TypeError, Unsupported, MemoryError
        As :func:`roi_align`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> levels = [np.full((1, 1, 2 * size, 2 * size), size, np.float32) for size in (64, 32, 16, 8)]
    >>> boxes = np.array([[0, 0, 0, 50, 50], [0, 0, 0, 500, 500]])
    >>> pyconv.fpn_roi_align(levels, boxes, 1, [1 / 4, 1 / 8, 1 / 16, 1 / 32]).ravel().round(3)
    array([64.,  8.], dtype=float32)
    """
    maps, factors, chosen = _levels_of("fpn_roi_align", features, boxes, scales, canonical_size, canonical_level)
    check_one_dtype({f"features[{i}]": key_of(x) for i, x in enumerate(maps)},
                    [f"features[{i}]" for i in range(len(maps))], FLOATS)  # fmt: skip
    operation = _OPERATIONS["roi_align", 2, False]
    wanted = as_out(out)
    result: Array | None = None
    for given, scale, mine in zip(maps, factors, chosen, strict=True):
        settings = _align_settings(output_size, scale, sampling_ratio, aligned, mode, max_of, convention)
        # read where it is, so that a level writes its own boxes' bins only
        in_place = given.flags.aligned and is_plain(given.dtype, given.shape, given.strides)
        x = given if in_place else plain(given)
        request = Request(operation, (x, mine), None, (*settings, None))
        if result is None:
            # the first level allocates; its own check of `wanted` comes with the last step
            result = run(request, (None,), algorithm)[0]
        elif (mine[:, 0] >= 0).any():
            run(request, (result,), algorithm)
    assert result is not None
    if wanted is None:
        return in_kind_of(features[0], result)  # type: ignore[no-any-return]
    if wanted.shape != result.shape or wanted.dtype.newbyteorder("=") != result.dtype:
        raise InvalidProblem(
            f"fpn_roi_align: out must be {result.dtype.name} {result.shape}, got {wanted.dtype.name} {wanted.shape}"
        )
    wanted[...] = result
    return out  # type: ignore[return-value]


def fpn_gradient(
    grad_output: Any, features: Any, boxes: Any, output_size: Any, scales: Any, sampling_ratio: Any = None,
    aligned: Any = None, *, mode: Any = "avg", max_of: Any = "interpolated", convention: Any = "torchvision",
    canonical_size: Any = 224, canonical_level: Any = 4,
) -> tuple[Request, ...]:  # fmt: skip
    """Return the requests of fpn_roi_align's gradients, one a level."""
    name = "grad.fpn_roi_align"
    maps, factors, chosen = _levels_of(name, features, boxes, scales, canonical_size, canonical_level)
    grad_output = as_first("grad_output", grad_output)
    _check_axes(f"{name}: grad_output", grad_output, 2)
    requests = []
    for x, scale, mine in zip(maps, factors, chosen, strict=True):
        settings = _align_settings(output_size, scale, sampling_ratio, aligned, mode, max_of, convention)
        arrays = grad_output, mine, x if mode == "max" else None
        requests.append(Request(_OPERATIONS["roi_align", 2, True], arrays, None, (*settings, key_of(x))))
    return tuple(requests)


def _nms_of(arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> NmsProblem:
    boxes, runs = arrays["boxes"], arrays["runs"]
    assert boxes is not None
    assert runs is not None
    return NmsProblem(boxes=boxes[0][1], runs=runs[0][0] - 1, threshold=settings[0])


_NMS = Operation(
    name="nms", rank=2, inputs=("boxes", "runs"), weights=(), outputs=("out",), describe=_nms_of, unbatched=False
)


def _nms_on_gpu_of(arrays: Mapping[str, Key | None], settings: tuple[Any, ...]) -> NmsProblem:
    """Check everything and describe it; raises the bare fact."""
    boxes, scores, classes = (arrays[name] for name in ("boxes", "scores", "classes"))
    assert boxes is not None
    assert scores is not None
    if len(boxes[0]) != 2 or boxes[0][1] != 4:
        raise InvalidProblem(f"boxes must be (k, 4), ({_corners(2)}), got shape {boxes[0]}")
    for name, key in (("scores", scores), ("classes", classes)):
        if key is not None and key[0] != boxes[0][:1]:
            raise InvalidProblem(f"{name} must be ({boxes[0][0]},), one a box, got shape {key[0]}")
    return NmsProblem(
        boxes=boxes[0][0],
        runs=1,
        threshold=settings[0],
        box_dtype=dtype_of("boxes", boxes[2]),
        score_dtype=dtype_of("scores", scores[2]),
        class_dtype="" if classes is None else dtype_of("classes", classes[2], INTEGERS),
    )


_NMS_ON_GPU = Operation(
    name="nms",
    rank=2,
    inputs=("boxes", "scores", "classes"),
    weights=(),
    outputs=("out", "count"),
    describe=_nms_on_gpu_of,
    unbatched=False,
)


def _nms_on_gpu_request(boxes: Any, scores: Any, classes: Any, threshold: Any) -> Request:
    """Return the request of boxes in GPU memory, where they are put in order as well."""
    given = {"boxes": boxes, "scores": scores} | ({} if classes is None else {"classes": classes})
    arrays = {name: as_array_anywhere(name, array) for name, array in given.items()}
    check_one_place(arrays)
    inputs = (arrays["boxes"], arrays["scores"], arrays.get("classes"))
    return Request(_NMS_ON_GPU, inputs, None, (_scale_of(threshold),))


def _suppressed_on_gpu(request: Request, out: Any, algorithm: Any) -> Any:
    """Return the indices as an array of the same kind: the part of ``out``, or of a fresh array, that is used."""
    found, count = run(request, (out, None), algorithm)
    boxes: Any = request.inputs[0]
    return found[: boxes.kind.integer(count)]


def _is_on_gpu(array: Any) -> bool:
    return not isinstance(array, (np.ndarray, list, tuple)) and isinstance(
        as_array_anywhere("boxes", array), DeviceArray
    )


def _plain_boxes(call: str, name: str, boxes: Any) -> Array:
    found = _numeric(name, boxes)
    if found.ndim != 2 or found.shape[1] != 4:
        raise InvalidProblem(f"{call}: {name} must be (k, 4), ({_corners(2)}), got shape {found.shape}")
    return found


def _nms_request(call: str, boxes: Any, scores: Any, classes: Any, iou_threshold: Any) -> tuple[Request, Array, Array]:
    """Return the request, the boxes' numbers in its order, and their ranks by score."""
    corners, values = _plain_boxes(call, "boxes", boxes), _numeric("scores", scores)
    if values.shape != corners.shape[:1]:
        raise InvalidProblem(f"{call}: scores must be ({len(corners)},), one a box, got shape {values.shape}")
    # falling, equal ones in their order, NaN before all others (it is the greatest in torch's order)
    order = np.argsort(np.where(np.isnan(values), -np.inf, -values), kind="stable")
    runs = np.array([0, len(corners)], np.int64)
    rank = np.arange(len(corners))
    if classes is not None:
        kinds = as_array("classes", classes)
        if kinds.dtype.kind not in "iu":
            raise TypeError(f"classes must be integers, got {kinds.dtype.name}")
        if kinds.shape != values.shape:
            raise InvalidProblem(f"{call}: classes must be ({len(corners)},), one a box, got shape {kinds.shape}")
        rank = np.argsort(kinds[order], kind="stable")
        order = order[rank]
        sorted_kinds = kinds[order]
        starts = np.flatnonzero(sorted_kinds[1:] != sorted_kinds[:-1]) + 1
        runs = np.concatenate([[0], starts, [len(corners)]]).astype(np.int64)
    threshold = _scale_of(iou_threshold)
    request = Request(_NMS, (np.ascontiguousarray(corners[order].T), runs), None, (threshold,))
    return request, order, rank


def _suppressed(call: str, boxes: Any, scores: Any, classes: Any, threshold: Any, out: Any, algorithm: Any) -> Array:
    if _is_on_gpu(boxes):
        return _suppressed_on_gpu(  # type: ignore[no-any-return]
            _nms_on_gpu_request(boxes, scores, classes, threshold), out, algorithm
        )
    request, order, rank = _nms_request(call, boxes, scores, classes, threshold)
    wanted = as_out(out)
    kept = np.flatnonzero(run(request, (None,), algorithm)[0])
    if classes is not None:
        kept = kept[np.argsort(rank[kept], kind="stable")]
    found = order[kept].astype(np.int64, copy=False)
    if wanted is None:
        return in_kind_of(boxes, found)  # type: ignore[no-any-return]
    if wanted.dtype != np.int64 or wanted.ndim != 1 or len(wanted) < len(found):
        raise InvalidProblem(
            f"{call}: out must be int64 with room for {len(found)} indices, got {wanted.dtype.name} {wanted.shape}"
        )
    wanted[: len(found)] = found
    return out[: len(found)]  # type: ignore[no-any-return]


def nms(boxes: Any, scores: Any, iou_threshold: float, *, out: Array | None = None, algorithm: str = "auto") -> Array:
    """Keep the boxes that no better one overlaps by more than a threshold (greedy non-maximum suppression).

    Parameters
    ----------
    boxes : (k, 4)
        Corners (x1, y1, x2, y2), any real type; computed with in float64.
    scores : (k,)
        The larger the better; of equal ones the first is. A NaN is better than any number, as torch sorts it.
    iou_threshold : float
        The largest overlap, intersection over union, that stays.
    out : numpy.ndarray, optional
        An int64 array with room for the indices; the part that is used is returned.
    algorithm : str
        "auto", a family ("greedy", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    int64
        Indices of the boxes that stay, by falling score.

    Raises
    ------
    InvalidProblem, TypeError
        If shapes do not agree, or an argument is no array of real numbers.

    Notes
    -----
    A box overlaps by NaN, which suppresses nothing, where two boxes without extent lie in one place.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> pyconv.nms(boxes, np.array([0.8, 0.9, 0.7]), 0.5)
    array([1, 2])
    """
    return _suppressed("nms", boxes, scores, None, iou_threshold, out, algorithm)


def batched_nms(
    boxes: Any, scores: Any, classes: Any, iou_threshold: float, *, out: Array | None = None, algorithm: str = "auto"
) -> Array:
    """Keep the boxes that no better one of the same class overlaps by more than a threshold.

    Parameters
    ----------
    boxes, scores, iou_threshold, out, algorithm : as in :func:`nms`
        One score for each box.
    classes : (k,) integers
        The class of each box; the classes are tasks of their own.

    Returns
    -------
    int64
        Indices of the boxes that stay, by falling score.

    Raises
    ------
    InvalidProblem, TypeError
        As :func:`nms`.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10]])
    >>> pyconv.batched_nms(boxes, np.array([0.8, 0.9, 0.7]), np.array([1, 0, 1]), 0.5)
    array([1, 0])
    """
    classes = as_array_anywhere("classes", classes)
    return _suppressed("batched_nms", boxes, scores, classes, iou_threshold, out, algorithm)


def _only_reference(call: str, algorithm: Any) -> None:
    check_word("algorithm", algorithm)
    if algorithm not in ("auto", "reference"):
        raise InvalidProblem(f"{call}: no algorithm is called {algorithm!r}; there is only the reference")


def _floats(name: str, array: Any) -> np.dtype[Any]:
    """Return the type of what is computed from it: its own where that is a float, else float64."""
    dtype = as_array(name, array).dtype
    return dtype.newbyteorder("=") if dtype.kind == "f" else np.dtype(np.float64)


def _into(call: str, out: Any, values: Array, like: Any = None) -> Array:
    """Return ``out`` with the values, or these as an array of the kind of ``like``."""
    wanted = as_out(out)
    if wanted is None:
        return in_kind_of(like, values)  # type: ignore[no-any-return]
    if wanted.shape != values.shape or wanted.dtype != values.dtype:
        raise InvalidProblem(
            f"{call}: out must be {values.dtype.name} {values.shape}, got {wanted.dtype.name} {wanted.shape}"
        )
    wanted[...] = values
    return out  # type: ignore[no-any-return]


def box_iou(a: Any, b: Any, *, out: Array | None = None, algorithm: str = "auto") -> Array:
    """Return intersection over union of each box of a with each of b.

    Parameters
    ----------
    a : (k, 4)
        Corners (x1, y1, x2, y2), any real type.
    b : (l, 4)
        The same.
    out : numpy.ndarray, optional
        Where to put the result.
    algorithm : str
        "auto" or "reference": there is one.

    Returns
    -------
    (k, l), the dtype of a where that is a float, else float64
        NaN for two boxes without extent.

    Raises
    ------
    InvalidProblem, TypeError
        If an argument is no array of boxes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.box_iou(np.array([[0.0, 0, 2, 2]]), np.array([[0.0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]]))
    array([[1.        , 0.33333333, 0.        ]])
    """
    _only_reference("box_iou", algorithm)
    left, right = _plain_boxes("box_iou", "a", a), _plain_boxes("box_iou", "b", b)
    return _into("box_iou", out, reference.box_iou(left, right).astype(_floats("a", a), copy=False), a)


def anchors(
    feature_size: Any,
    stride: Any,
    sizes: Any,
    aspect_ratios: Any,
    *,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Return the anchors of a region proposal network: boxes of some sizes and shapes around each pixel of a map.

    An anchor of size s and aspect ratio r has height ``s sqrt(r)`` and width ``s / sqrt(r)``; around pixel (y, x) of
    the map its centre is (y, x) times the stride.

    Parameters
    ----------
    feature_size : (int, int)
        Rows and columns of the map.
    stride : float or (float, float)
        Pixels of the image per pixel of the map, along rows and columns.
    sizes : sequence of float
        Sides of the squares.
    aspect_ratios : sequence of float
        Heights over widths.
    out : numpy.ndarray, optional
        Where to put the result.
    algorithm : str
        "auto" or "reference": there is one.

    Returns
    -------
    (rows * columns * ratios * sizes, 4) float64
        Corners (x1, y1, x2, y2): pixel by pixel, for each the aspect ratios, for each of those the sizes.

    Raises
    ------
    InvalidProblem, TypeError
        If a size, stride or ratio is no positive number.

    Notes
    -----
    torchvision rounds the corners around the first pixel to whole numbers: ``numpy.rint`` of these, where the stride is
    whole.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.anchors((1, 2), 16, [32], [1.0, 4.0])
    array([[-16., -16.,  16.,  16.],
           [ -8., -32.,   8.,  32.],
           [  0., -16.,  32.,  16.],
           [  8., -32.,  24.,  32.]])
    """
    _only_reference("anchors", algorithm)
    rows, columns = numbers("feature_size", exact(feature_size), 2)
    if min(rows, columns) < 0:
        raise InvalidProblem(f"anchors: feature_size must be >= 0, got {feature_size!r}")

    def positive(name: str, values: Any) -> Array:
        found = np.atleast_1d(np.asarray(values, np.float64)).ravel()
        if not (found.size and (found > 0).all() and np.isfinite(found).all()):
            raise InvalidProblem(f"anchors: {name} must be positive numbers, got {values!r}")
        return found

    step = positive("stride", stride)
    if step.size > 2:
        raise InvalidProblem(f"anchors: stride must be a number or two, got {stride!r}")
    root = np.sqrt(positive("aspect_ratios", aspect_ratios))
    side = positive("sizes", sizes)
    heights, widths = np.multiply.outer(root, side).ravel(), np.multiply.outer(1 / root, side).ravel()
    shapes = np.stack([-widths, -heights, widths, heights], axis=1) / 2
    y, x = np.meshgrid(np.arange(rows) * step[0], np.arange(columns) * step[-1], indexing="ij")
    centres = np.stack([x.ravel(), y.ravel()] * 2, axis=1)
    return _into("anchors", out, (centres[:, None] + shapes).reshape(-1, 4))


def _explain_nms(boxes: Any, scores: Any, iou_threshold: Any) -> Request:
    if _is_on_gpu(boxes):
        return _nms_on_gpu_request(boxes, scores, None, iou_threshold)
    return _nms_request("nms", boxes, scores, None, iou_threshold)[0]


def _explain_batched_nms(boxes: Any, scores: Any, classes: Any, iou_threshold: Any) -> Request:
    if _is_on_gpu(boxes):
        return _nms_on_gpu_request(boxes, scores, classes, iou_threshold)
    return _nms_request("batched_nms", boxes, scores, classes, iou_threshold)[0]


REQUESTS.update(
    {
        roi_align: Explainable(partial(_align_request, 2), 2),
        roi_align3d: Explainable(partial(_align_request, 3), 2),
        roi_pool: Explainable(partial(_pool_request, "roi_pool"), 2),
        ps_roi_align: Explainable(_ps_align_request, 2),
        ps_roi_pool: Explainable(partial(_pool_request, "ps_roi_pool"), 2),
        nms: Explainable(_explain_nms, 2),
        batched_nms: Explainable(_explain_batched_nms, 3),
    }
)
