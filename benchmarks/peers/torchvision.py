"""torchvision's operations on boxes and its deformable convolution, on contiguous tensors that share memory."""

from __future__ import annotations

from benchmarks.peers import Job, Prepared, missing
from benchmarks.shapes import Layer


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
    import torchvision

    from benchmarks.peers import _torch

    if dtype == "float16":
        return "has no float16 on the CPU"
    return _torch.lacks(layer, torchvision.ops)


def prepare(job: Job) -> Prepared:
    """Return the operation, or its gradient."""
    import torchvision

    from benchmarks.peers import _torch

    return _torch.prepare(job, torchvision.ops)
