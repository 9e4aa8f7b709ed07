"""PyTorch on contiguous (n, c, h, w) tensors that share memory with the arrays."""

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
    """Return None: torch does every layer in every dtype."""
    return None


def prepare(
    layer: Layer, x: Array, w: Array, bias: Array | None, activation: str | None, threads: int, dtype: str
) -> Prepared:
    """Return the fastest of torch's forms with contiguous x and y."""
    from benchmarks.peers import _torch

    return _torch.prepare(layer, x, w, bias, activation, threads, channels_last=False)
