"""FFT convolution on GPUs: the same undecorated kernels on the emulator, under the bound that they state."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from cuda_device import gpu
from test_cuda import check, drawn_small

from pyconv import ConvProblem
from pyconv.backends import cuda_fft, fft
from pyconv.kernels.cuda import fft as kernels, fft_product
from pyconv.ops import call

__all__ = ["gpu"]

@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(fft_product, "TILES", {4: (fft_product.Tile(8, 8, 8, 2, 2, 2),), 8: (fft_product.Tile(4, 8, 8, 2, 2, 2),)})

@pytest.mark.parametrize("text", [
    "n1c5h6w7-o9k3s1p1-f32-bias-relu",
    "n1c5w40-o3k7s1p1-f32-bias-relu",
    "n2c3h9w8-o5k3x2s2x1p1x0-f32-residual-leaky_relu=0.5",
    "n2c4h7w8-o18k3s1p1:2x0d2g2-f32-bias-tanh",
    "n1c6h7w8-o6k3s1p1g6-f32-channels_last-tanh",
])
def test_fft(text, small_tiles):
    p = ConvProblem.parse(text)
    print(cuda_fft._tile(p))
    t=time.time()
    check(p, "fft", False)
    print(time.time()-t)
