"""torchvision's regions of interest, on contiguous tensors that share memory with the arrays."""

from __future__ import annotations

from benchmarks.peers import Array, Prepared, missing
from benchmarks.shapes import BoxLayer, Layer

HAS_BOXES = True


def available() -> str | None:
    """Return why torchvision cannot be used here, or None."""
    return missing("torch") or missing("torchvision")


def version() -> str:
    """Return the versions of torchvision and torch."""
    import torch
    import torchvision

    return f"{torchvision.__version__} (torch {torch.__version__})"


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why torchvision cannot do the layer, or None."""
    if not isinstance(layer, BoxLayer):
        return "has regions of interest only"
    return None if dtype != "float16" else "has no float16 on the CPU"


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Return the operation, or the kernel of its gradient."""
    import torch
    import torchvision

    assert isinstance(layer, BoxLayer)
    torch.set_num_threads(threads)
    # For the life of the process: every call of the worker is inference.
    torch.inference_mode().__enter__()
    maps, boxes = torch.from_numpy(x), torch.from_numpy(w.astype(x.dtype))
    rows, columns = layer.kernel
    scale, ratio = 1 / layer.shrink, layer.ratio or -1
    if layer.gradient:
        assert bias is not None
        g = torch.from_numpy(bias)
        backward = torch.ops.torchvision._roi_align_backward

        def gradient() -> Array:
            array: Array = backward(g, boxes, scale, rows, columns, *layer.x_shape, ratio, True).numpy()
            return array

        return Prepared(gradient, "_roi_align_backward")
    more = {"roi_align": (ratio, True), "roi_pool": (), "ps_roi_align": (ratio,)}[layer.function]
    function = getattr(torchvision.ops, layer.function)

    def forward() -> Array:
        array: Array = function(maps, boxes, (rows, columns), scale, *more).numpy()
        return array

    return Prepared(forward, layer.function)
