"""layers_channelwise: batch normalisation, its statistics and its gradients, and sums over all but the channels.

    mean[c] = sum x / N,  var[c] = sum (x - mean)^2 / N
    y = (x - mean) s + bias,  s = weight / sqrt(var + eps)

csrc/channelwise.inc.c has the gradients' formulas, the reasons, and the error bound. Up to three stages, each a kernel
here: sums of blocks, then what they make of each channel, then one pass of an affine map. A block is in L1 or L2 when
it is read for the second time, about its own mean; blocks' sums are float64, joined in the order of the blocks.

Two forms. Where neighbours belong to one channel, lanes run along them. Where channels are neighbours (``pixels``),
they are the lanes, and the affine map goes through rows of pixels as through one long row, with coefficients that come
back after ``channels`` elements. Channels that fill no vector are read and written under a mask.

Tags that are None or 0 say what is compiled: ``about`` for terms about a mean, ``of_x`` and ``of_g`` for those that x
and grad_output take part in. An array that a kernel does without is another one's address, and what is read there is
not used.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .elementwise import LOOPS, row_offset
from .jit import kernel, word
from .simd import (
    VECTOR_BYTES,
    advance,
    constant,
    lanes,
    load,
    load_last_or,
    load_part,
    load_part_or,
    load_rows,
    load_rows_part,
    pointer,
    repeat,
    splat_tile,
    stack,
    store,
    store_part,
    store_rows,
    sum_lanes,
    vector_of,
    with_vector,
    zero,
)

__all__ = [
    "CHANNELS_OF_A_TASK",
    "CHANNELWISE",
    "CHANNEL_SUM",
    "GRAD_INFER",
    "GRAD_TRAIN",
    "INFER",
    "STATS",
    "TRAIN",
    "channelwise_map",
    "channelwise_moments",
    "channelwise_products",
    "channelwise_sums",
]

#: What is computed; csrc/pyconv.h's pc_channelwise_what.
INFER, TRAIN, STATS, GRAD_INFER, GRAD_TRAIN, CHANNEL_SUM = range(6)
#: Channels that one task joins the sums of.
CHANNELS_OF_A_TASK = 64

#: csrc/pyconv.h's pc_channelwise. Wide arrays: x, grad_output, out; vectors of one value a channel: mean, variance,
#: weight, bias, and the results ``first`` (mean, gradient of weight) and ``second`` (variance, gradient of bias).
CHANNELWISE = np.dtype(
    [
        *((name, np.int64) for name in ("what", "channels", "count", "pixels")),
        *LOOPS,
        ("c_step", np.int64, (3,)),
        ("vector_step", np.int64, (6,)),
        ("eps", np.float64),
        *((name, np.int64) for name in ("group", "n_groups", "rows", "piece", "n_pieces", "n_blocks", "units")),
        *((name, np.int64) for name in ("apply_rows", "apply_piece", "n_apply_pieces")),
    ]
)


class Block(NamedTuple):
    """A block of one channel: rows row .. row_end, n elements of each from ``start`` on."""

    row: int
    row_end: int
    start: int
    n: int


class Coefficients(NamedTuple):
    """Coefficients of each channel, and a vector more that begins again with the first."""

    mean: Any
    scale: Any
    shift: Any
    slope: Any
    partial: Any


@word
def _block_of(p: Any, b: int) -> Block:
    rows, piece = divmod(b, p.n_pieces)
    row, start = rows * p.rows, piece * p.piece
    all_rows = p.size[0] * p.size[1] * p.size[2]
    return Block(row, min(all_rows, row + p.rows), start, min(p.piece, p.size[3] - start))


@word
def _block_count(p: Any, b: int) -> float:
    block = _block_of(p, b)
    return float((block.row_end - block.row) * block.n)


@word
def _partial_at(p: Any, group: int, block: int, c: int) -> int:
    """Return where the two sums of a channel of a block of a group are."""
    return 2 * ((group * p.n_blocks + block) * p.group + c)


@word
def _shared(p: Any, shared: int, like: Any) -> Coefficients:
    """Return what all workers share: coefficients, then the blocks' sums."""
    mean = pointer(shared, like)
    many = lanes(mean)
    length = -(-p.channels // many) * many + many
    partial = pointer(shared + -(-4 * length * (VECTOR_BYTES // many) // 64) * 64, 0.0)
    return Coefficients(mean, advance(mean, length), advance(mean, 2 * length), advance(mean, 3 * length), partial)


@word
def _put(p: Any, values: Any, c: int, value: Any) -> None:
    """values[c] = value, and wherever it comes back behind the last channel."""
    for at in range(c, p.channels + lanes(values), max(1, p.channels)):
        values[at] = value


# ---- sums


@word
def _add_term(about: Any, of_g: Any, x: Any, g: Any, mean: Any, first: Any, second: Any) -> Any:
    """Add a term to two sums: x; about a mean (x - mean)^2 and x - mean; or, of gradients, g and g (x - mean)."""
    if about is None:
        return first + x, second
    d = x - mean
    if of_g is None:
        return first + d * d, second + d
    return first + g, second + g * d


@word
def _last(p: Any, i: int, n: int, rest: Any) -> Any:
    """Return elements i .. n of a run, which a longer run has in the upper lanes, and ``rest`` in the others."""
    if i > 0:
        return load_last_or(p, n, n - i, rest)
    return load_part_or(p, 0, n, rest)


@word
def _sum_run(about: Any, of_g: Any, x: Any, g: Any, n: int, mean: Any, first: Any, second: Any) -> Any:
    """Add neighbours of one channel to four vectors of sums; what fills no four vectors has one each."""
    step, i = lanes(x), 0
    means, one, none = splat_tile(x, 1, 4, mean[0]), splat_tile(x, 1, 1, mean[0]), splat_tile(x, 1, 1, zero(x))
    rest = none
    if about is not None:
        rest = one
    while i + 4 * step <= n:
        x_four, g_four = load_rows(advance(x, i), 0, 1, 4), load_rows(advance(g, i), 0, 1, 4)
        first, second = _add_term(about, of_g, x_four, g_four, means, first, second)
        i += 4 * step
    if i + step <= n:
        v, w = _add_term(about, of_g, load(x, i), load(g, i), one, vector_of(first, 0), vector_of(second, 0))
        first, second = with_vector(first, 0, v), with_vector(second, 0, w)
        i += step
    if i + step <= n:
        v, w = _add_term(about, of_g, load(x, i), load(g, i), one, vector_of(first, 1), vector_of(second, 1))
        first, second = with_vector(first, 1, v), with_vector(second, 1, w)
        i += step
    if i + step <= n:
        v, w = _add_term(about, of_g, load(x, i), load(g, i), one, vector_of(first, 2), vector_of(second, 2))
        first, second = with_vector(first, 2, v), with_vector(second, 2, w)
        i += step
    if i < n:
        x_last, g_last = _last(x, i, n, rest), _last(g, i, n, none)
        v, w = _add_term(about, of_g, x_last, g_last, one, vector_of(first, 3), vector_of(second, 3))
        first, second = with_vector(first, 3, v), with_vector(second, 3, w)
    return first, second


@word
def _across(v: Any) -> float:
    """Return the sum of all lanes of four vectors."""
    return sum_lanes((vector_of(v, 0) + vector_of(v, 1)) + (vector_of(v, 2) + vector_of(v, 3)))


@word
def _run_of(p: Any, array: int, base: Any, row: int, block: Block, c: int) -> Any:
    """Return where a block's run of a row begins."""
    return advance(base, row_offset(p, array, row) + block.start * p.step[array, 3] + c * p.c_step[array])


@word
def _sum_block(
    about: Any, of_g: Any, p: Any, array: int, x: Any, g: Any, c: int, block: Block, mean: Any, sums: Any
) -> None:  # fmt: skip
    """sums[:2] = those of a block of one channel, about its mean; ``array`` is which one x is."""
    first = splat_tile(x, 1, 4, zero(x))
    second = first
    for row in range(block.row, block.row_end):
        run, g_run = _run_of(p, array, x, row, block, c), _run_of(p, 1, g, row, block, c)
        first, second = _sum_run(about, of_g, run, g_run, block.n, mean, first, second)
    sums[0], sums[1] = _across(first), _across(second)


@word
def _sum_few(
    about: Any, of_g: Any, p: Any, array: int, x: Any, g: Any, c: int, n: int, block: Block, mean: Any,
    first_sums: Any, second_sums: Any,
) -> None:  # fmt: skip
    """Store the two sums of n channels from c on, a vector at most, pixels four at a time."""
    first, one = splat_tile(x, 4, 1, zero(x)), load_part(mean, 0, n)
    second, means = first, repeat(one, 4, 1)
    step, g_step = p.step[array, 3], p.step[1, 3]
    for row in range(block.row, block.row_end):
        run, g_run = _run_of(p, array, x, row, block, c), _run_of(p, 1, g, row, block, c)
        i = 0
        while i + 4 <= block.n:
            x_four = load_rows_part(advance(run, i * step), step, 4, n)
            g_four = load_rows_part(advance(g_run, i * g_step), g_step, 4, n)
            first, second = _add_term(about, of_g, x_four, g_four, means, first, second)
            i += 4
        v, w = vector_of(first, 0), vector_of(second, 0)
        while i < block.n:
            v, w = _add_term(about, of_g, load_part(run, i * step, n), load_part(g_run, i * g_step, n), one, v, w)
            i += 1
        first, second = with_vector(first, 0, v), with_vector(second, 0, w)
    store(first_sums, 0, ((vector_of(first, 0) + vector_of(first, 1)) + vector_of(first, 2)) + vector_of(first, 3))
    store(second_sums, 0, ((vector_of(second, 0) + vector_of(second, 1)) + vector_of(second, 2)) + vector_of(second, 3))


@word
def _sum_pixels(
    about: Any, of_g: Any, p: Any, array: int, x: Any, g: Any, c: int, n_channels: int, block: Block, mean: Any,
    parts: Any, sums: Any,
) -> None:  # fmt: skip
    """sums[2 i], sums[2 i + 1] = those of channel c + i of a block; ``parts`` has room for eight vectors."""
    many = lanes(x)
    if n_channels == 4 * many:
        first, means = splat_tile(x, 1, 4, zero(x)), load_rows(mean, 0, 1, 4)
        second = first
        step, g_step = p.step[array, 3], p.step[1, 3]
        for row in range(block.row, block.row_end):
            run, g_run = _run_of(p, array, x, row, block, c), _run_of(p, 1, g, row, block, c)
            for i in range(block.n):
                pixel, g_pixel = advance(run, i * step), advance(g_run, i * g_step)
                x_four, g_four = load_rows(pixel, 0, 1, 4), load_rows(g_pixel, 0, 1, 4)
                first, second = _add_term(about, of_g, x_four, g_four, means, first, second)
        store_rows(parts, 0, first)
        store_rows(advance(parts, 4 * many), 0, second)
    else:
        for i in range(0, n_channels, many):
            n, to, other = min(many, n_channels - i), advance(parts, i), advance(parts, 4 * many + i)
            _sum_few(about, of_g, p, array, x, g, c + i, n, block, advance(mean, i), to, other)
    for i in range(n_channels):
        sums[2 * i], sums[2 * i + 1] = np.float64(parts[i]), np.float64(parts[4 * many + i])


@word
def _sum(
    about: Any, of_g: Any, p: Any, array: int, x: Any, g: Any, c: int, n_channels: int, block: Block, mean: Any,
    parts: Any, sums: Any,
) -> None:  # fmt: skip
    if p.pixels:
        _sum_pixels(about, of_g, p, array, x, g, c, n_channels, block, mean, parts, sums)
    else:
        _sum_block(about, of_g, p, array, x, g, c, block, mean, sums)


@kernel
def channelwise_sums(params: Any, first: int, last: int, x: int, g: int, shared: int, of_g: Any, like: Any) -> int:
    """Compute tasks first .. last: sums over blocks of a group of channels; arrays by address.

    Those of gradients where ``of_g`` says so; else sums of g alone for CHANNEL_SUM, sums and squares about their own
    means for all others. Returns how many tasks were done.
    """
    p = params[0]
    k = _shared(p, shared, like)
    parts, mean, squares = stack(k.mean, 8), stack(k.mean, 4), stack(k.partial, 16)
    for unit in range(first * p.units, min(p.n_groups * p.n_blocks, last * p.units)):
        group, b = divmod(unit, p.n_blocks)
        c = group * p.group
        n = min(p.group, p.channels - c)
        block, sums = _block_of(p, b), advance(k.partial, _partial_at(p, group, b, 0))
        if of_g is not None:
            _sum(0, 0, p, 0, pointer(x, like), pointer(g, like), c, n, block, advance(k.mean, c), parts, sums)
            continue
        array = 1 if p.what == CHANNEL_SUM else 0
        source = pointer(g if p.what == CHANNEL_SUM else x, like)
        _sum(None, None, p, array, source, source, c, n, block, mean, parts, sums)
        if p.what != CHANNEL_SUM:
            count = _block_count(p, b)
            for i in range(n):
                mean[i] = constant(like, sums[2 * i] / count)
            _sum(0, None, p, array, source, source, c, n, block, mean, parts, squares)
            # so far about a rounded mean; deviations say how far it is off, unless they are none
            for i in range(n):
                off = squares[2 * i + 1] / count
                sums[2 * i + 1] = squares[2 * i] - count * off * off
                if off == off:
                    sums[2 * i] = count * (np.float64(mean[i]) + off)
    return last - first


# ---- what sums make of each channel


@kernel
def channelwise_moments(
    params: Any, first: int, last: int, mean_at: int, var_at: int, weight_at: int, bias_at: int, mean_out: int,
    var_out: int, shared: int, like: Any,
) -> int:  # fmt: skip
    """Compute tasks first .. last: statistics, of the first sums or given, and coefficients of a stretch of channels.

    Arrays by address, 0 for none. Returns how many tasks were done.
    """
    p = params[0]
    k, step = _shared(p, shared, like), p.vector_step
    own = p.what in (TRAIN, STATS, GRAD_TRAIN)
    for c in range(first * CHANNELS_OF_A_TASK, min(p.channels, last * CHANNELS_OF_A_TASK)):
        if own:
            group, at = divmod(c, p.group)
            total, squares = 0.0, 0.0
            for b in range(p.n_blocks):
                total += k.partial[_partial_at(p, group, b, at)]
            mean = total / float(p.count)
            for b in range(p.n_blocks):
                block = advance(k.partial, _partial_at(p, group, b, at))
                n = _block_count(p, b)
                off = block[0] / n - mean
                squares += block[1] + n * off * off
            var = squares / float(p.count)
            var = 0.0 if var < 0 else var
        else:
            mean = np.float64(pointer(mean_at, like)[c * step[0]])
            var = np.float64(pointer(var_at, like)[c * step[1]])
        if p.what in (TRAIN, STATS):
            pointer(mean_out, like)[c * step[4]] = constant(like, mean)
            pointer(var_out, like)[c * step[5]] = constant(like, var)
        weight = np.float64(pointer(weight_at, like)[c * step[2]]) if weight_at != 0 else 1.0
        scale = 1 / math.sqrt(var + p.eps)
        _put(p, k.mean, c, constant(like, mean))
        _put(p, k.scale, c, constant(like, weight * scale))
        _put(p, k.shift, c, pointer(bias_at, like)[c * step[3]] if bias_at != 0 else constant(like, 0.0))
        _put(p, k.slope, c, constant(like, scale))  # of gradients, until the second sums are known
    return last - first


@kernel
def channelwise_products(
    params: Any, first: int, last: int, first_out: int, second_out: int, shared: int, like: Any
) -> int:  # fmt: skip
    """Compute tasks first .. last: gradients of weight and bias, or sums, and coefficients of x's gradient.

    Returns how many tasks were done.
    """
    p = params[0]
    k, step = _shared(p, shared, like), p.vector_step
    for c in range(first * CHANNELS_OF_A_TASK, min(p.channels, last * CHANNELS_OF_A_TASK)):
        group, at = divmod(c, p.group)
        total, products = 0.0, 0.0
        for b in range(p.n_blocks):
            block = advance(k.partial, _partial_at(p, group, b, at))
            total += block[0]
            products += block[1]
        if p.what == CHANNEL_SUM:
            pointer(first_out, like)[c * step[4]] = constant(like, total)
            continue
        scale, n = np.float64(k.slope[c]), float(p.count)
        if first_out != 0:
            pointer(first_out, like)[c * step[4]] = constant(like, products * scale)
        if second_out != 0:
            pointer(second_out, like)[c * step[5]] = constant(like, total)
        _put(p, k.shift, c, constant(like, total / n))
        _put(p, k.slope, c, constant(like, np.float64(k.scale[c]) * scale * (products * scale / n)))
    return last - first


# ---- the affine map


@word
def _mapped(of_x: Any, of_g: Any, x: Any, g: Any, mean: Any, scale: Any, shift: Any, slope: Any) -> Any:
    """Return (x - mean) scale + shift without g, g scale without x, else the gradient of what has its own mean."""
    if of_x is None:
        return g * scale
    if of_g is None:
        return (x - mean) * scale + shift
    return (g - shift) * scale - (x - mean) * slope


@word
def _map_run(of_x: Any, of_g: Any, out: Any, x: Any, g: Any, n: int, k: Coefficients, c: int) -> None:
    """Map n neighbours of channel c."""
    many, i = lanes(out), 0
    mean, scale = splat_tile(out, 1, 1, k.mean[c]), splat_tile(out, 1, 1, k.scale[c])
    shift, slope = splat_tile(out, 1, 1, k.shift[c]), splat_tile(out, 1, 1, k.slope[c])
    while i + many <= n:
        store(out, i, _mapped(of_x, of_g, load(x, i), load(g, i), mean, scale, shift, slope))
        i += many
    if i < n:
        part, g_part = load_part(x, i, n - i), load_part(g, i, n - i)
        store_part(out, i, _mapped(of_x, of_g, part, g_part, mean, scale, shift, slope), n - i)


@word
def _map_pixels(of_x: Any, of_g: Any, out: Any, x: Any, g: Any, n: int, k: Coefficients, channels: int) -> None:
    """Map n elements of pixels without gaps, the first of channel 0."""
    many, i, c = lanes(out), 0, 0
    turn = many % channels
    while i < n:
        mean, scale, shift, slope = load(k.mean, c), load(k.scale, c), load(k.shift, c), load(k.slope, c)
        c += turn
        c -= channels if c >= channels else 0
        if i + many <= n:
            store(out, i, _mapped(of_x, of_g, load(x, i), load(g, i), mean, scale, shift, slope))
        else:
            part, g_part = load_part(x, i, n - i), load_part(g, i, n - i)
            store_part(out, i, _mapped(of_x, of_g, part, g_part, mean, scale, shift, slope), n - i)
        i += many


@kernel
def channelwise_map(
    params: Any, first: int, last: int, x: int, g: int, out: int, shared: int, of_x: Any, of_g: Any, like: Any
) -> int:  # fmt: skip
    """Compute tasks first .. last of the affine map; arrays by address. Returns how many tasks were done."""
    p = params[0]
    k = _shared(p, shared, like)
    c_in_row = 1 if p.pixels else p.channels
    rows = p.size[0] * p.size[1] * p.size[2] * c_in_row
    x_array, g_array = 0, 1
    if of_x is None:
        x_array = 1
    if of_g is None:
        g_array = 0
    x_step, g_step, out_step = p.step[x_array, 3], p.step[g_array, 3], p.step[2, 3]
    dense = x_step == g_step == out_step == p.channels
    for task in range(first, last):
        stretch, piece = divmod(task, p.n_apply_pieces)
        start = piece * p.apply_piece
        n = min(p.apply_piece, p.size[3] - start)
        for row in range(stretch * p.apply_rows, min(rows, (stretch + 1) * p.apply_rows)):
            outer, c = divmod(row, c_in_row)
            block = Block(outer, outer + 1, start, n)
            source, given = (
                _run_of(p, x_array, pointer(x, like), outer, block, c),
                _run_of(p, g_array, pointer(g, like), outer, block, c),
            )
            to = _run_of(p, 2, pointer(out, like), outer, block, c)
            if not p.pixels:
                _map_run(of_x, of_g, to, source, given, n, k, c)
            elif dense:
                _map_pixels(of_x, of_g, to, source, given, n * p.channels, k, p.channels)
            else:
                for i in range(n):
                    pixel, g_pixel, end = advance(source, i * x_step), advance(given, i * g_step), p.channels
                    _map_pixels(of_x, of_g, advance(to, i * out_step), pixel, g_pixel, end, k, end)
    return last - first
