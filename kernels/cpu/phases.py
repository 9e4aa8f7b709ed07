"""Transposed convolution as a convolution of stride 1 with an output channel for each channel and phase: csrc/phases.c.

Where its results go: result u of phase (a_d, a_h, a_w) is element first + stride u + step a of the output array along
each axis, where there is one. Phases of a channel are neighbours among the c_out channels of a group, a_w fastest; with
``channels_inner``, channels of a phase are.

Nothing between the elements of a phase is touched, not even with what it holds: they may be another worker's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba.core import types

from .jit import c_function, once, word
from .simd import (
    VECTOR_BYTES,
    advance,
    call,
    lanes,
    load,
    load_part,
    load_rows_capped,
    pointer,
    stack,
    store,
    store_evens,
    store_part,
    store_rows,
    transpose,
    zip_high,
    zip_low,
)
from .tile import RECORD, copy

__all__ = ["link_phases"]


class OwnPhase(NamedTuple):
    """The phase that a result channel (of all groups) is, and the channel of the output array it belongs to."""

    m: int
    a_d: int
    a_h: int
    a_w: int
    channel: int


@word
def phase_of(p: Any, m: int) -> OwnPhase:
    """Return the phase of channel m."""
    s = p.phases
    group, r = divmod(m, p.c_out)
    channels = p.c_out // s.count
    phase, channel = r % s.count, r // s.count
    if s.channels_inner:
        phase, channel = r // channels, r % channels
    rest, a_w = divmod(phase, s.w.n)
    a_d, a_h = divmod(rest, s.h.n)
    return OwnPhase(m, a_d, a_h, a_w, group * channels + channel)


@word
def phase_next(p: Any, phase: OwnPhase, step: int) -> OwnPhase:
    """Return the phase of channel m + step."""
    s, (m, a_d, a_h, a_w, channel) = p.phases, phase
    if step != 1 or s.channels_inner:
        return phase_of(p, m + step)
    a_w += 1
    if a_w == s.w.n:
        a_w, a_h = 0, a_h + 1
    if a_h == s.h.n:
        a_h, a_d = 0, a_d + 1
    if a_d == s.d.n:
        a_d, channel = 0, channel + 1
    return OwnPhase(m + 1, a_d, a_h, a_w, channel)


class PhaseRow(NamedTuple):
    """Where a row of a phase begins in the output array, and whether it is there."""

    exists: bool
    start: int


@word
def phase_row(p: Any, phase: OwnPhase, n: int, d: int, h: int) -> PhaseRow:
    """Return the row of an image, depth and row of the results."""
    s, ld = p.phases, p.ld_out
    d = s.d.first + s.d.stride * d + s.d.step * phase.a_d
    h = s.h.first + s.h.stride * h + s.h.step * phase.a_h
    exists = 0 <= d < s.d.size and 0 <= h < s.h.size
    return PhaseRow(exists, n * ld.n + phase.channel * ld.c + d * ld.d + h * ld.h)


class Range(NamedTuple):
    """Results [begin, end) of a run."""

    begin: int
    end: int


@word
def phase_range(axis: Any, a: int, w: int, n: int) -> Range:
    """Return which of n results from column w on have an element for phase column a."""
    at = axis.first + axis.step * a + axis.stride * w
    left = axis.size - at
    begin = (axis.stride - 1 - at) // axis.stride if at < 0 else 0
    end = min(n, (left + axis.stride - 1) // axis.stride if left > 0 else 0)
    return Range(min(begin, end), end)


@word
def store_phase(p: Any, c: Any, a_w: int, w: int, n: int, row: Any) -> None:
    """Hand n results of one row to their phase's elements of a row of the output."""
    axis, lane_count = p.phases.w, lanes(c)
    begin, end = phase_range(axis, a_w, w, n)
    step = axis.stride * p.ld_out.w
    to = advance(row, (axis.first + a_w * axis.step + w * axis.stride) * p.ld_out.w)
    if step == 1:
        copy(advance(to, begin), advance(c, begin), end - begin)
    elif step == 2:
        for e in range(begin, end, lane_count):
            store_evens(to, 2 * e, load_part(c, e, end - e), end - e)
    else:
        for e in range(begin, end):
            to[e * step] = c[e]


@word
def store_pair(p: Any, c: Any, other: Any, w: int, begin: int, end: int, n: int, row: Any) -> None:
    """Hand n results of two phases that are neighbours in memory to a row; [begin, end) exist of both."""
    axis, lane_count = p.phases.w, lanes(c)
    to = advance(row, axis.first + 2 * w)
    e = begin
    while e + lane_count <= end:
        x, y = load(c, e), load(other, e)
        store(to, 2 * e, zip_low(x, y))
        store(to, 2 * e + lane_count, zip_high(x, y))
        e += lane_count
    if e < end:
        x, y = load_part(c, e, end - e), load_part(other, e, end - e)
        store_part(to, 2 * e, zip_low(x, y), 2 * (end - e))
        store_part(to, 2 * e + lane_count, zip_high(x, y), 2 * (end - e) - lane_count)
    for a in range(2):  # what the ends have besides
        own = phase_range(axis, a, w, n)
        from_ = other if a else c
        for e in range(own.begin, min(begin, own.end)):
            to[2 * e + a] = from_[e]
        for e in range(max(end, own.begin), own.end):
            to[2 * e + a] = from_[e]


@once
def phase_storer(real: types.Float) -> int:
    """Return the address of the function that hands rows of results to their phases."""
    n, p = types.intp, types.CPointer(real)
    return c_function(_store_phases, RECORD, p, *[n] * 9, p)


def _store_phases(
    p: Any, c: Any, ld_c: int, rows: int, ld_m: int, n: int, m: int, d: int, h: int, w: int, length: int, out: Any
) -> None:
    """Hand c[rows][ld_c], ``length`` results from column w on of channels m, m + ld_m ..., to their phases.

    Two phases that are neighbours in memory are interleaved in registers.
    """
    axis = p.phases.w
    pairs = axis.n == 2 and axis.stride == 2 and axis.step == 1 and p.ld_out.w == 1
    # results whose two phases both exist; at an end of the row there may be one of a pair
    first = axis.first + 2 * w
    begin, end = 0, 0
    if pairs:
        begin, end = (1 - first) // 2 if first < 0 else 0, min(length, (axis.size - first) // 2)
    phase, i = phase_of(p, m), 0
    while i < rows:
        row = phase_row(p, phase, n, d, h)
        following = phase_next(p, phase, ld_m)
        if row.exists:
            to = advance(out, row.start)
            same = following.channel == phase.channel and following.a_d == phase.a_d and following.a_h == phase.a_h
            if pairs and i + 1 < rows and phase.a_w == 0 and same and begin < end:
                store_pair(p, c, advance(c, ld_c), w, begin, end, length, to)
                following = phase_next(p, following, ld_m)
                c = advance(c, ld_c)
                i += 1
            else:
                store_phase(p, c, phase.a_w, w, length, to)
        c = advance(c, ld_c)
        phase = following
        i += 1


#: Integers of a run of lanes: its first lane, how many, whether they are channels, their phase but for m.
_RUN = 7
#: As many for every lane, whatever the types: two integers a lane of float32 fill a vector.
_RUN_VECTORS = 2 * _RUN


@word
def lane_runs(p: Any, m: int, n_lanes: int, ld_m: int, runs: Any) -> int:
    """Find the lanes whose elements are neighbours in the output array; return how many runs there are.

    They are phases of one row, or channels of one phase, all of which exist or none does.
    """
    count, phase = 0, phase_of(p, m)
    for lane in range(n_lanes):
        joins = False
        if count > 0:
            last = advance(runs, (count - 1) * _RUN)
            if phase.a_d == last[3] and phase.a_h == last[4]:
                if phase.a_w == last[5] and phase.channel == last[6] + last[1] and p.ld_out.c == 1:
                    joins = last[2] != 0 or last[1] == 1
                    if joins:
                        last[2] = 1
                elif phase.a_w == last[5] + last[1] and phase.channel == last[6]:
                    joins = p.ld_out.w == 1 and p.phases.w.step == 1 and last[2] == 0
            if joins:
                last[1] += 1
        if not joins:
            run = advance(runs, count * _RUN)
            run[0], run[1], run[2], run[3], run[4] = lane, 1, 0, phase.a_d, phase.a_h
            run[5], run[6] = phase.a_w, phase.channel
            count += 1
        phase = phase_next(p, phase, ld_m)
    return count


@word
def store_runs(p: Any, y: Any, runs: Any, n_runs: int, pixels: int, n: int, d: int, h: int, w: int, out: Any) -> None:
    """y[pixel][lane] of one row to the phases of the output, run by run."""
    axis, lane_count = p.phases.w, lanes(y)
    step = axis.stride * p.ld_out.w
    for r in range(n_runs):
        run = advance(runs, r * _RUN)
        lane, count, a_w = run[0], run[1], run[5]
        more = 0 if run[2] else count - 1
        row = phase_row(p, OwnPhase(0, run[3], run[4], a_w, run[6]), n, d, h)
        if not row.exists:
            continue
        from_ = advance(y, lane)
        to = advance(out, row.start + (axis.first + a_w * axis.step + w * axis.stride) * p.ld_out.w)
        left, right = phase_range(axis, a_w, w, pixels), phase_range(axis, a_w + more, w, pixels)
        # pixels whose phases all exist; before and behind them some do, at the ends of the row
        begin = max(left.begin, right.begin)
        end = max(begin, min(left.end, right.end))
        if count == lane_count:
            for e in range(begin, end):
                store(to, e * step, load(from_, e * lane_count))
        elif count == 1:
            for e in range(begin, end):
                to[e * step] = from_[e * lane_count]
        else:
            for e in range(begin, end):
                store_part(to, e * step, load_part(from_, e * lane_count, count), count)
        for a in range(more + 1):
            own = phase_range(axis, a_w + a, w, pixels)
            for e in range(own.begin, min(begin, own.end)):
                to[e * step + a] = from_[e * lane_count + a]
            for e in range(max(end, own.begin), own.end):
                to[e * step + a] = from_[e * lane_count + a]


@once
def box_storer(real: types.Float) -> int:
    """Return the address of the function that hands y[row][column][lane] of a box to the phases of the output."""
    step = VECTOR_BYTES * 8 // real.bitwidth

    def store_box(
        p: Any, y: Any, n_lanes: int, ld_m: int, n: int, m: int, d: int, h: int, w: int, rows: int, cols: int,
        every: int, out: Any,
    ) -> None:  # fmt: skip
        turned, runs = stack(y, step), stack(pointer(0, 0), _RUN_VECTORS)
        # a few phases of a row are better interleaved than stored one by one
        in_rows = p.phases.w.n <= 2 and p.ld_out.c != 1
        n_runs = 0 if in_rows else lane_runs(p, m, n_lanes, ld_m, runs)
        for r in range(rows):
            if in_rows:
                for first in range(0, cols, step):
                    length = min(step, cols - first)
                    block = load_rows_capped(advance(y, first * step), step, step, length)
                    store_rows(turned, step, transpose(block))
                    at = w + first
                    place = (n, m, d, h + r * every, at, length)
                    call(p.store_phases, (p, turned, step, n_lanes, ld_m, *place, out))
            else:
                store_runs(p, y, runs, n_runs, cols, n, d, h + r * every, w, out)
            y = advance(y, cols * step)

    n, p = types.intp, types.CPointer(real)
    return c_function(store_box, RECORD, p, *[n] * 10, p)


def link_phases(p: Any, real: types.Float, channels: bool) -> None:
    """Write the functions that store phases into a record, for results with or without channels in their lanes."""
    p["store_phases"], p["store_box"] = phase_storer(real), box_storer(real) if channels else 0
