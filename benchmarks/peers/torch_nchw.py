"""PyTorch on contiguous (n, c, h, w) tensors that share memory with the arrays."""

from __future__ import annotations

from benchmarks.peers import Job, Prepared, missing
from benchmarks.shapes import Layer


def available() -> str | None:
    """Return why torch cannot be used here, or None."""
    return missing("torch")


def version() -> str:
    """Return torch's version."""
    import torch

    return str(torch.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why torch cannot do the layer, or None."""
    import torch

    from benchmarks.peers import _torch

    return _torch.lacks(layer, torch.nn.functional)


def prepare(job: Job) -> Prepared:
    """Return the fastest of torch's forms with contiguous images."""
    import torch

    from benchmarks.peers import _torch

    return _torch.prepare(job, torch.nn.functional)
