"""conv_grouped_channels: groups of a few channels, as many out as in, so that a vector of channels is whole groups.

depthwise_channels.py with one more loop: its planes are the channels of a group, and plane i is the tile with channel i
of each group spread over the group's lanes, a shuffle of each pixel that is loaded. A dense kernel would fill c_out of
the lanes. Small square kernels with stride 1 or 2, for which there are windows (32 registers).

flops: those of direct.py; moved besides x and y: both once more, within L2. The order of every sum, over
(c_in, kh, kw), is csrc/grouped_channels.inc.c's.
Error: (K + 2) eps for K products summed in one order, the bias and the residual.
"""

from __future__ import annotations

from typing import Any

from numba.core import types

from .channels import channels_loader, channels_storer
from .depthwise_channels import PAIR_PIXELS, window_tile
from .jit import kernel
from .simd import advance, call, lanes, pointer, zero
from .tile import RELU, clear_over, map_index, panel_rows, panel_start, panels_of

__all__ = ["conv_grouped_channels", "link_grouped_channels"]


@kernel
def conv_grouped_channels(
    params: Any, first: int, last: int, x: int, packed: int, bias: int, residual: int, out: int, scratch: int,
    slope: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last; arrays by address, bias and residual 0 where there is none.

    The type of ``slope`` is the element type. Returns how many tasks were done.
    """
    p = params[0]
    tile = pointer(scratch, slope)
    y = advance(tile, p.tile_elems)
    start = advance(y, p.panel_elems)
    step = lanes(tile)
    runs = panels_of(p.w.out, PAIR_PIXELS)
    rectify = int(p.activation == RELU and not p.residual)
    for task in range(first, last):
        rest, block = divmod(task, p.n_m_blocks)
        n, d_out = divmod(rest, p.d.out)
        m = block * step
        n_lanes = min(step, p.groups * p.c_out - m)
        d = map_index(d_out * p.d.stride - p.d.pad, p.d.size, p.padding_mode)
        if d < 0:
            clear_over(tile, p.tile_elems)
        else:
            image = advance(pointer(x, slope), n * p.ld_x.n + m * p.ld_x.c + d * p.ld_x.d)
            call(p.load_tile, (p, image, n_lanes, -p.h.pad, -p.w.pad, p.h_tile, p.w_tile, 1, tile))
        for lane in range(step):
            start[lane] = pointer(bias, slope)[m + lane] if bias != 0 and lane < n_lanes else zero(tile)
        weights = advance(pointer(packed, slope), block * p.c_in * p.h.k * p.w.k * step)
        for row in range(0, p.h.out, 2):
            h = min(row, p.h.out - 2)  # an odd last row goes with the one above it, once more
            for run in range(runs.n):
                col = panel_start(runs, run)
                operand = advance(tile, (h * p.w_tile + col) * p.w.stride * step)
                call(
                    p.tiles[panel_rows(runs, run) - 1],
                    (
                        operand, p.w_tile * step, p.c_in, 1, weights,
                        start, advance(y, (h * p.w.out + col) * step), p.w.out * step, rectify,
                    ),
                )  # fmt: skip
        box = (n, m, d_out, 0, 0, p.h.out, p.w.out, 1)
        call(p.finish, (p, y, n_lanes, 1, *box, 0, pointer(out, slope), pointer(residual, slope), slope))
    return last - first


def link_grouped_channels(p: Any, real: types.Float) -> None:
    """Write the functions that a cut calls into its record, compiling what no earlier one needed."""
    runs = panels_of.py_func(int(p["w"]["out"]), PAIR_PIXELS)
    for pixels in {runs.rows, runs.rows - (runs.tall < runs.n)}:
        window = window_tile(real, int(p["h"]["k"]), int(p["h"]["stride"]), pixels, int(p["c_in"]))
        p["tiles"][pixels - 1] = window
    p["load_tile"], p["finish"] = channels_loader(real), channels_storer(real)
