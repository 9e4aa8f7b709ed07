"""Gradients, by the names of the forward functions: ``pyconv.grad.f(grad_output, ..., output_mask=None)``.

The arguments are the forward call's with ``grad_output`` in front. The result is a tuple with one gradient for each
floating array argument in the order of the forward signature, None where ``output_mask`` is False.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from .algorithm import Array
from .ops import pool, roi
from .ops.call import REQUESTS, Explainable, gradients

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "fpn_roi_align",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "ps_roi_align",
    "ps_roi_pool",
    "roi_align",
    "roi_align3d",
    "roi_pool",
]


def max_pool1d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool1d`; the parameters are those of :func:`max_pool2d`."""
    requests = pool.max_gradient(
        1, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_pool2d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool2d`: each element of grad_output added at its window's maximum.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, kernel_size, stride, padding, dilation, ceil_mode, return_indices : as in the forward call
    indices : int64, the shape of grad_output, optional
        What the forward call returned; without them the maxima of x are looked for again: of equal ones the first. A
        window that holds no element of x gives its part to the element that its index names all the same.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.max_pool2d(np.ones((1, 1, 1, 2), np.float32), x, 2)[0]
    array([[[[0., 1., 0., 0.],
             [0., 0., 1., 0.]]]], dtype=float32)
    """
    requests = pool.max_gradient(
        2, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_pool3d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_pool3d`; the parameters are those of :func:`max_pool2d`."""
    requests = pool.max_gradient(
        3, grad_output, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices, indices=indices
    )
    return gradients("grad.max_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool1d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool1d`; the parameters are those of :func:`avg_pool2d`."""
    requests = pool.avg_gradient(
        1, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool2d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool2d`: each element of grad_output in equal parts to its window.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> pyconv.grad.avg_pool2d(np.ones((1, 1, 1, 2), np.float32), np.zeros((1, 1, 2, 4), np.float32), 2)[0]
    array([[[[0.25, 0.25, 0.25, 0.25],
             [0.25, 0.25, 0.25, 0.25]]]], dtype=float32)
    """
    requests = pool.avg_gradient(
        2, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def avg_pool3d(
    grad_output: Any,
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.avg_pool3d`; the parameters are those of :func:`avg_pool2d`."""
    requests = pool.avg_gradient(
        3, grad_output, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return gradients("grad.avg_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool1d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool1d`, as :func:`adaptive_avg_pool2d` does."""
    requests = pool.adaptive_gradient("avg", 1, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool2d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool2d`.

    Parameters
    ----------
    grad_output : (n, c, *output_size) or (c, *output_size), the dtype of x
    x, output_size : as in the forward call
        Only the shape and the dtype of x matter.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.adaptive_avg_pool2d(np.ones((1, 1, 1, 1), np.float32), x, 1)[0]
    array([[[[0.125, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.125, 0.125]]]], dtype=float32)
    """
    requests = pool.adaptive_gradient("avg", 2, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_avg_pool3d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_avg_pool3d`, as :func:`adaptive_avg_pool2d` does."""
    requests = pool.adaptive_gradient("avg", 3, grad_output, x, output_size)
    return gradients("grad.adaptive_avg_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool1d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool1d`, as :func:`adaptive_max_pool2d` does."""
    requests = pool.adaptive_gradient("max", 1, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool2d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool2d`.

    Parameters
    ----------
    grad_output : (n, c, *output_size) or (c, *output_size), the dtype of x
    x, output_size, return_indices : as in the forward call
    indices : int64, the shape of grad_output, optional
        What the forward call returned; without them the maxima of x are looked for again.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[[[1, 5, 2, 0], [3, 4, 8, 6]]]], dtype=np.float32)
    >>> pyconv.grad.adaptive_max_pool2d(np.ones((1, 1, 1, 1), np.float32), x, 1)[0]
    array([[[[0., 0., 0., 0.],
             [0., 0., 1., 0.]]]], dtype=float32)
    """
    requests = pool.adaptive_gradient("max", 2, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def adaptive_max_pool3d(
    grad_output: Any,
    x: Any,
    output_size: Any,
    return_indices: bool = False,
    *,
    indices: Any = None,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.adaptive_max_pool3d`, as :func:`adaptive_max_pool2d` does."""
    requests = pool.adaptive_gradient("max", 3, grad_output, x, output_size, return_indices, indices=indices)
    return gradients("grad.adaptive_max_pool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool1d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool1d`; the parameters are those of :func:`max_unpool2d`."""
    requests = pool.unpool_gradient(1, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool1d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool2d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool2d`: what grad_output has at each index.

    Parameters
    ----------
    grad_output : (n, c, h_out, w_out) or (c, h_out, w_out), the dtype of x
    x, indices, kernel_size, stride, padding, output_size : as in the forward call
        Only the shape of x matters.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, indices = np.ones((1, 1, 1), np.float32), np.array([[[2]]])
    >>> pyconv.grad.max_unpool2d(np.arange(4, dtype=np.float32).reshape(1, 2, 2), x, indices, 2)[0]
    array([[[2.]]], dtype=float32)
    """
    requests = pool.unpool_gradient(2, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool2d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def max_unpool3d(
    grad_output: Any,
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.max_unpool3d`; the parameters are those of :func:`max_unpool2d`."""
    requests = pool.unpool_gradient(3, grad_output, x, indices, kernel_size, stride, padding, output_size)
    return gradients("grad.max_unpool3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_align(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_align` with respect to x.

    A mean's goes to the pixels of all samples, by their weights. A maximum's goes to the sample, or the pixel, that is
    the maximum: the first of equal ones; nowhere where a sample outside the map, which is zero, is as large.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of x
    x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode, max_of, convention : as in the forward call
        Of x only the shape, the dtype and the memory order matter, but for maxima.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family ("scatter", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Notes
    -----
    Each element is summed by one thread, box by box: the same bits for any number of threads, without atomics.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, boxes = np.zeros((1, 1, 2, 4), np.float32), np.array([[0, 0, 0, 4, 2]])
    >>> pyconv.grad.roi_align(np.ones((1, 1, 1, 1), np.float32), x, boxes, 1, sampling_ratio=2, aligned=True)[0]
    array([[[[0.125, 0.125, 0.125, 0.125],
             [0.125, 0.125, 0.125, 0.125]]]], dtype=float32)
    """
    requests = roi.align_gradient(
        2, grad_output, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return gradients("grad.roi_align", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_align3d(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_align3d`; the parameters are those of :func:`roi_align`."""
    requests = roi.align_gradient(
        3, grad_output, x, boxes, output_size, spatial_scale, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention,
    )  # fmt: skip
    return gradients("grad.roi_align3d", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def roi_pool(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.roi_pool`: each element of grad_output to the maximum of its bin.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of x
    x, boxes, output_size, spatial_scale : as in the forward call
        The maxima of x are looked for again: of equal ones the first, of several NaN the last.
    output_mask : (bool,), optional
        Whether the gradient is wanted.
    out : numpy.ndarray, optional
        Where to put it; may overlap the inputs.
    algorithm : str
        "auto", a family ("scatter", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (gradient of x,)

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x, boxes = np.arange(8.0).reshape(1, 1, 2, 4), np.array([[0, 0, 0, 3, 1]])
    >>> pyconv.grad.roi_pool(np.ones((1, 1, 1, 2)), x, boxes, (1, 2))[0]
    array([[[[0., 0., 0., 0.],
             [0., 1., 0., 1.]]]])
    """
    requests = roi.pool_gradient("roi_pool", grad_output, x, boxes, output_size, spatial_scale)
    return gradients("grad.roi_pool", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def ps_roi_align(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.ps_roi_align`; the parameters are those of :func:`roi_align`."""
    requests = roi.ps_align_gradient(grad_output, x, boxes, output_size, spatial_scale, sampling_ratio)
    return gradients("grad.ps_roi_align", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def ps_roi_pool(
    grad_output: Any,
    x: Any,
    boxes: Any,
    output_size: Any,
    spatial_scale: float = 1.0,
    *,
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None]:
    """Return the gradient of :func:`pyconv.ps_roi_pool`; the parameters are those of :func:`roi_align`."""
    requests = roi.pool_gradient("ps_roi_pool", grad_output, x, boxes, output_size, spatial_scale)
    return gradients("grad.ps_roi_pool", requests, output_mask, out, algorithm)  # type: ignore[return-value]


def fpn_roi_align(
    grad_output: Any,
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
    output_mask: Any = None,
    out: Any = None,
    algorithm: Any = "auto",
) -> tuple[Array | None, ...]:
    """Return the gradients of :func:`pyconv.fpn_roi_align`, one for each level.

    Parameters
    ----------
    grad_output : (k, c, *output_size), the dtype of the features
    features, boxes, output_size, scales, sampling_ratio, aligned, mode, max_of, convention : as in the forward call
        As in :func:`roi_align`.
    canonical_size, canonical_level : float
        As in the forward call.
    output_mask, out, algorithm : for all levels, or a tuple with an entry for each
        As in :func:`roi_align`.

    Returns
    -------
    tuple of (n, c, h, w), one a level
    """
    requests = roi.fpn_gradient(
        grad_output, features, boxes, output_size, scales, sampling_ratio, aligned, mode=mode, max_of=max_of,
        convention=convention, canonical_size=canonical_size, canonical_level=canonical_level,
    )  # fmt: skip
    return gradients("grad.fpn_roi_align", requests, output_mask, out, algorithm)


REQUESTS.update(
    {
        max_pool1d: Explainable(partial(pool.max_gradient, 1), 2),
        max_pool2d: Explainable(partial(pool.max_gradient, 2), 2),
        max_pool3d: Explainable(partial(pool.max_gradient, 3), 2),
        avg_pool1d: Explainable(partial(pool.avg_gradient, 1), 2),
        avg_pool2d: Explainable(partial(pool.avg_gradient, 2), 2),
        avg_pool3d: Explainable(partial(pool.avg_gradient, 3), 2),
        adaptive_avg_pool1d: Explainable(partial(pool.adaptive_gradient, "avg", 1), 2),
        adaptive_avg_pool2d: Explainable(partial(pool.adaptive_gradient, "avg", 2), 2),
        adaptive_avg_pool3d: Explainable(partial(pool.adaptive_gradient, "avg", 3), 2),
        adaptive_max_pool1d: Explainable(partial(pool.adaptive_gradient, "max", 1), 2),
        adaptive_max_pool2d: Explainable(partial(pool.adaptive_gradient, "max", 2), 2),
        adaptive_max_pool3d: Explainable(partial(pool.adaptive_gradient, "max", 3), 2),
        max_unpool1d: Explainable(partial(pool.unpool_gradient, 1), 3),
        max_unpool2d: Explainable(partial(pool.unpool_gradient, 2), 3),
        max_unpool3d: Explainable(partial(pool.unpool_gradient, 3), 3),
        roi_align: Explainable(partial(roi.align_gradient, 2), 3),
        roi_align3d: Explainable(partial(roi.align_gradient, 3), 3),
        roi_pool: Explainable(partial(roi.pool_gradient, "roi_pool"), 3),
        ps_roi_align: Explainable(roi.ps_align_gradient, 3),
        ps_roi_pool: Explainable(partial(roi.pool_gradient, "ps_roi_pool"), 3),
    }
)
