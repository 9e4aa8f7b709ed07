"""torch's names, for a while ours."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F

from ..patching import Patch, Place
from . import functional, vision

__all__ = ["patch"]


def _places() -> Iterator[Place]:
    for name in functional.__all__:
        ours, theirs = getattr(functional, name), getattr(F, name)
        yield F, name, ours
        if getattr(torch, name, None) is theirs:
            yield torch, name, ours
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        public = importlib.import_module("torchvision.ops")
        for name in vision.__all__:
            vision.original(name)
    except (ImportError, RuntimeError):
        return  # made for another torch
    for name in vision.__all__:
        ours, theirs = getattr(vision, name), vision.original(name)
        for module in (public, *map(importlib.import_module, vision.PLACES[name])):
            if getattr(module, name, None) is theirs:
                yield module, name, ours


_patch = Patch(_places)


def patch() -> AbstractContextManager[None]:
    """Let ``torch.nn.functional`` and ``torchvision.ops`` use pyconv for a block, in the whole process.

    So do the modules of ``torch.nn`` and ``torchvision.ops``, and the functions of :mod:`torch` itself that are
    those of ``torch.nn.functional``. Blocks may lie within each other and in several threads: the last one that ends
    puts the functions back. What pyconv does not take, torch does.

    Examples
    --------
    >>> import torch
    >>> from pyconv.interop.torch import patch
    >>> layer, x = torch.nn.Conv2d(3, 8, 3), torch.ones(1, 3, 5, 5)
    >>> with patch():
    ...     y = layer(x)
    >>> torch.allclose(y, layer(x), atol=1e-5)
    True
    >>> with patch():
    ...     y.sum().backward()
    >>> layer.weight.grad.shape
    torch.Size([8, 3, 3, 3])
    """
    return _patch.block()
