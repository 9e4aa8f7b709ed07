"""PyTorch in its channels-last memory format: x already lies so, and y stays so; nothing is converted in the timing."""

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
    """Return why torch has no such memory format for the layer, or None."""
    import torch

    from benchmarks.peers import _torch

    if not any(len(shape) in _torch.CHANNELS_LAST for shape in layer.shapes.values()):
        return "torch has a channels-last format for two and three spatial axes"
    return _torch.lacks(layer, torch.nn.functional)


def prepare(job: Job) -> Prepared:
    """Return the fastest of torch's forms with channels-last images."""
    import torch

    from benchmarks.peers import _torch

    return _torch.prepare(job, torch.nn.functional, channels_last=True)
