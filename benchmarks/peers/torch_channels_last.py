"""PyTorch in its channels-last memory format: x already lies so, and y stays so; nothing is converted in the timing."""

from __future__ import annotations

from benchmarks.peers import Array, Prepared, missing
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
    return "torch has no channels-last format for one spatial axis" if layer.rank == 1 else None


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Return the fastest of torch's forms with channels-last x and y."""
    from benchmarks.peers import _torch

    return _torch.prepare(layer, x, w, bias, activation, threads, channels_last=True)
