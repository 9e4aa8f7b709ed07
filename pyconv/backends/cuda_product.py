"""Which tiles the GPU's product of matrices is made of: implicit GEMM's, and that in the middle of Winograd's."""

from __future__ import annotations

from typing import Any

__all__ = ["filled", "tile_of"]

#: Multiprocessors of a large GPU: fewer blocks than two for each leave some of them idle.
_PROCESSORS = 108


def tile_of(c_out: int, pixels: int, groups: int, long: bool = False, tensor: bool = False) -> Any:
    """Return the largest tile whose rows the channels of a group fill by half, and of which there are enough for a GPU.

    ``long`` says that the epilogue is too long for tiles with many sums a thread.
    """
    from ..kernels.cuda import implicit_gemm

    for tile in (implicit_gemm.TENSOR_TILES if tensor else implicit_gemm.TILES).values():
        if long and tile.tm * tile.tn > implicit_gemm.MOST_SUMS:
            continue
        grid = implicit_gemm.blocks_implicit_gemm(tile, pixels, c_out, groups)
        if 2 * c_out > tile.bm and grid >= 2 * _PROCESSORS:
            return tile
    return tile


def filled(tile: Any, c_out: int) -> float:
    """Return the share of a tile's rows that have a channel; the others are computed all the same."""
    return float(c_out / (-(-c_out // tile.bm) * tile.bm))
