"""torch's convolutions, pooling, sampling and RoI operators on pyconv's kernels, with gradients.

>>> import torch
>>> from pyconv.interop.torch import conv2d, patch
>>> x, w = torch.ones(1, 1, 3, 3), torch.ones(1, 1, 2, 2, requires_grad=True)
>>> y = conv2d(x, w)
>>> y.sum().backward()
>>> w.grad
tensor([[[[4., 4.],
          [4., 4.]]]])

Call the functions by name, with the signatures of ``torch.nn.functional`` and ``torchvision.ops``, or let a model that
was written for torch find them: ``with patch(): model(x)``. What pyconv does not take is computed by torch. The page
``docs/torch.md`` says what is taken, how weights are kept packed, and where results differ.
"""

from . import functional, vision
from .functional import *  # noqa: F403
from .packs import clear_packs
from .patching import patch
from .vision import *  # noqa: F403

__all__ = ["clear_packs", "functional", "patch", "vision", *functional.__all__, *vision.__all__]
