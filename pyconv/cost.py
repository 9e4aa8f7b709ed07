"""The first cost model: which algorithm, by counting flops, bytes and fixed overheads.

A pure function of the problem and a :class:`Machine`; it never measures. Its constants are shares of the machine's
peak, read off profiles of each kernel, and are good enough to rank the algorithms that exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from .machine import constants
from .problem import ITEM_BYTES, ConvBiasProblem, ConvProblem, ConvWeightProblem, LinearProblem, Problem

__all__ = [
    "NOMINAL_THREADS",
    "Machine",
    "bias_gradient_seconds",
    "conv_seconds",
    "deform_seconds",
    "dot_seconds",
    "fft_seconds",
    "nms_seconds",
    "packing_seconds",
    "pool_seconds",
    "roi_seconds",
    "weight_gradient_seconds",
    "winograd_gradient_seconds",
    "winograd_seconds",
]

#: Choices are made for this many threads whatever the caller allows, so that the choice of algorithm, and with it
#: every bit of the result, does not depend on the number of threads.
NOMINAL_THREADS = 2
#: So many blocks of outputs of an axis are looked at, at the most.
SAMPLED_BLOCKS = 64
#: Seconds of a call however small it is.
_OVERHEAD = 3e-6


@dataclass(frozen=True, slots=True)
class Machine:
    """What the model knows of the processor: one core's float32 peak, and the last cache and memory behind it."""

    lanes: int  # float32 elements in a vector
    gflops: float  # float32 peak of a core: lanes * 2 flops * 2 FMAs * GHz
    cache_bytes: int  # of the last level: what a repeated call finds there
    cache_gbytes: float  # GB/s out of it, all cores
    memory_gbytes: float  # GB/s out of memory

    def bandwidth(self, n_bytes: float) -> float:
        """Return bytes a second of what so many of them are read again from."""
        return 1e9 * (self.cache_gbytes if n_bytes <= self.cache_bytes else self.memory_gbytes)

    @classmethod
    def of_lanes(cls, lanes: int) -> Machine:
        """Return this processor with vectors of so many float32 elements.

        Where nothing is known of it, it is one of 3.5 GHz that starts two multiply-adds a cycle.
        """
        known = constants(lanes)
        if known is not None:
            return cls(lanes, known["gflops"], int(known["cache_bytes"]), known["cache_gbytes"], known["memory_gbytes"])
        return cls(
            lanes=lanes,
            gflops=lanes * 2 * 2.0 * 3.5,
            cache_bytes=32 << 20,
            cache_gbytes=100.0,
            memory_gbytes=50.0,
        )


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the kernels' d, h and w."""

    size: int = 1
    k: int = 1
    out: int = 1
    stride: int = 1
    dilation: int = 1
    padding: tuple[int, int] = (0, 0)

    def live_share(self, outputs: int) -> float:
        """Share of the taps that read more than zero padding for any of so many neighbouring outputs.

        Of a long axis some blocks stand for all: the time of planning does not grow with the sizes.
        """
        if 8 * sum(self.padding) < self.size:
            return 1.0
        outputs = max(1, min(outputs, self.out))
        live = met = 0
        for first in range(0, self.out, outputs * -(-self.out // (outputs * SAMPLED_BLOCKS))):
            last = min(first + outputs, self.out) - 1
            met += last + 1 - first
            begin = max(0, -(-(self.padding[0] - last * self.stride) // self.dilation))
            end = min(self.k, -(-(self.size + self.padding[0] - first * self.stride) // self.dilation))
            live += (last + 1 - first) * max(1, end - begin)
        return live / met / self.k


@dataclass(frozen=True, slots=True)
class _Work:
    """A problem in the numbers that every estimate starts from."""

    d: _Axis
    h: _Axis
    w: _Axis
    c_in: int  # of a group
    c_out: int
    groups: int
    images: int  # of a group
    planes: int  # of output: images and output depths
    pixels: int  # of output, all planes
    item: int  # bytes of an element in scratch and weights
    lanes: int  # of a vector of sums
    flops: float
    bytes: int
    x_size: int
    out_size: int
    peak: float  # flops a second of all threads
    cycle: float  # seconds: a core starts two vector FMAs in it
    bandwidth: float  # bytes a second of what a repeated call reads and writes
    channels_last: bool
    widened: bool
    zeros: bool


@lru_cache(maxsize=16)
def _work(problem: ConvProblem, machine: Machine) -> _Work:
    out = problem.out_spatial
    sizes = zip(
        problem.kernel_axes,
        problem.spatial,
        problem.kernel,
        out,
        problem.stride,
        problem.dilation,
        problem.padding,
        strict=True,
    )
    axes = {name: _Axis(*axis) for name, *axis in sizes}
    d, h, w = (axes.get(name, _Axis()) for name in "dhw")
    item = summed_bytes(problem)
    lanes = lanes_of(problem, machine)
    core = machine.gflops * 1e9 / (2 if problem.dtype == "f64" else 1)
    pixels = problem.n * math.prod(out)
    return _Work(
        d=d,
        h=h,
        w=w,
        c_in=problem.c_in // problem.groups,
        c_out=problem.c_out // problem.groups,
        groups=problem.groups,
        images=problem.n,
        planes=problem.n * d.out,
        pixels=pixels,
        item=item,
        lanes=lanes,
        flops=problem.flops,
        bytes=problem.bytes,
        x_size=math.prod(problem.x_shape),
        out_size=problem.c_out * pixels,
        peak=core * NOMINAL_THREADS,
        cycle=4.0 * lanes / core,
        bandwidth=machine.bandwidth(problem.bytes),
        channels_last=problem.channels_last,
        widened=problem.dtype == "f16",
        zeros=problem.padding_mode == "zeros",
    )


def summed_bytes(problem: ConvProblem) -> int:
    """Bytes of an element in a kernel's scratch and weights: float16 is summed in float32."""
    return max(4, ITEM_BYTES[problem.dtype])


def lanes_of(problem: ConvProblem, machine: Machine) -> int:
    """Vector elements of the type that sums are in."""
    return max(1, machine.lanes * 4 // summed_bytes(problem))


def _whole(count: int, lanes: int) -> int:
    """Round a count up to whole vectors."""
    return -(-count // lanes) * lanes


def _roofline(
    work: _Work,
    *,
    efficiency: float,
    lane_use: float = 1.0,
    extra_bytes: float = 0.0,
    fixed: float = 0.0,
) -> float:
    """Seconds: the longer of arithmetic and traffic, plus what a call costs however small it is.

    ``efficiency`` is the kernel's share of peak with full vectors, ``lane_use`` the share of vector elements that
    hold outputs, ``extra_bytes`` what is written and read again beyond x, w and y, ``fixed`` what one core would need
    for everything else.
    """
    arithmetic = work.flops / (work.peak * efficiency * lane_use)
    traffic = (work.bytes + extra_bytes) / work.bandwidth
    return max(arithmetic, traffic) + 0.3 * min(arithmetic, traffic) + _OVERHEAD + fixed / NOMINAL_THREADS


def _converting(work: _Work) -> float:
    """Seconds for float16 on its way in and out, where elements are not turned as well."""
    return 0.03e-9 * (work.x_size + work.out_size) if work.widened else 0.0


def _turning(work: _Work) -> float:
    """Seconds of one core to turn x into pixels of channels and y back."""
    return (work.x_size + work.out_size) * (0.02e-9 if work.channels_last else 0.075e-9)


def _turn_cycles(work: _Work, pixels: float) -> float:
    """Cycles to turn rows of pixels into pixels of ``lanes`` channels, or back (csrc/channels.inc.c)."""
    return pixels * (1.0 if work.channels_last else 50.0 / work.lanes)


#: Share of peak that each dense kernel reaches when its vectors are full.
_EFFICIENCY = {"direct": 0.87, "im2col": 0.82}


def conv_seconds(problem: ConvProblem, machine: Machine, family: str) -> float:
    """Seconds of one of the direct-summation kernels (csrc/*.inc.c and their Numba twins)."""
    work = _work(problem, machine)
    if work.out_size == 0:
        return _OVERHEAD
    if family == "depthwise":
        return _depthwise_seconds(work)
    if family == "depthwise-channels":
        return _depthwise_channels_seconds(work)
    if family == "grouped-channels":
        channels = work.c_in * work.groups
        return _roofline(
            work,
            efficiency=0.95 if work.w.stride == 1 else 0.8,
            lane_use=max(1, channels) / max(work.lanes, _whole(channels, work.lanes)),
            fixed=_turning(work) + work.images * -(-channels // work.lanes) * 50e-9,
        )
    return _implicit_seconds(work) if family == "implicit-gemm" else _dense_seconds(work, family)


def _dense_seconds(work: _Work, family: str) -> float:
    """Seconds of csrc/direct.inc.c and csrc/im2col.inc.c: pixels in the lanes."""
    efficiency, lanes = _EFFICIENCY[family], work.lanes
    reduction = work.c_in * work.d.k * work.h.k * work.w.k
    pointwise = all(axis.k == axis.stride == 1 for axis in (work.d, work.h, work.w))
    pitch = work.w.out + (0 if family == "im2col" else (work.w.k - 1) * work.w.dilation // work.w.stride)
    pixels = (work.h.out - 1) * pitch + work.w.out
    use = work.w.out * work.h.out / _whole(pixels, lanes)
    if work.groups * work.c_out * reduction * work.item > 4 << 20:
        # every tile of pixels streams the weights, faster than the last cache gives them
        efficiency *= 0.85
    # few output channels leave accumulators idle; im2col also copies each operand once for all of them
    if work.c_out < 4:
        efficiency *= (0.25, 0.4, 0.6)[work.c_out - 1]
    products = work.groups * reduction * work.images * work.w.out * work.h.out * work.item
    lowered = 0.0
    if family == "im2col":
        lowered = products * (0.15 if pointwise else 0.3)
    elif pointwise and reduction > 256:
        lowered = products * 0.25
    # each group's tasks, each input row that is copied into a tile (phase by phase where the stride is not 1) and each
    # row of a packed panel have a fixed cost
    fixed = work.images * work.groups * 0.3e-6 + _converting(work)
    if not pointwise:
        rows = work.images * work.groups * work.c_in * (work.h.out + work.h.k)
        fixed += rows * (7e-9 if work.w.stride == 1 else 25e-9)
    if work.channels_last:  # rows of pixels are gathered and scattered
        fixed += 0.15e-9 * (work.x_size + work.out_size)
    if family == "im2col":
        fixed += work.images * work.groups * reduction * -(-pixels // (3 * lanes)) * 2.5e-9
    return _roofline(work, efficiency=efficiency, lane_use=use, extra_bytes=lowered, fixed=fixed)


def _implicit_seconds(work: _Work) -> float:
    """Seconds of csrc/implicit_gemm.inc.c: the product, what each register tile and run costs, and both turns."""
    lanes, d, h, w = work.lanes, work.d, work.h, work.w
    vectors, chunks = -(-work.c_out // lanes), -(-work.c_in // lanes)
    live = d.live_share(1) * h.live_share(8) * w.live_share(16) if work.zeros else 1.0
    pixels = work.groups * work.pixels
    runs = chunks * d.k * h.k * (w.k if w.dilation != 1 else 1)
    rows_read = 1 if h.k > 1 else 1 / h.stride
    cycles = pixels / 8 * -(-vectors // 3) * (60 + runs * 12 * live)
    cycles += vectors * _turn_cycles(work, pixels)
    cycles += rows_read * chunks * d.k * _turn_cycles(work, work.groups * work.planes * h.size * w.size)
    if work.c_in % lanes:
        cycles += chunks * d.k * pixels * 2.0
    return _roofline(work, efficiency=0.98, lane_use=work.c_out / (vectors * lanes * live), fixed=cycles * work.cycle)


#: Tiles of a block of Winograd's whose weights come from far (csrc/blocking.c).
_WINOGRAD_TILES = 64


def winograd_seconds(problem: ConvProblem, machine: Machine, m: int, r: int) -> float:
    """Seconds of Winograd's F(m, r) (csrc/winograd.inc.c): the product, the transforms, and the weights' traffic."""
    work = _work(problem, machine)
    lanes, depth = work.lanes, work.d.k
    transformed = [axis for axis in (work.h, work.w) if axis.k == r]
    points = int((m + r - 1) ** len(transformed))
    tiles = work.planes * math.prod(
        # each of the dilation's phases is cut for itself
        axis.dilation * -(-axis.out // (axis.dilation * m)) if axis.k == r else axis.out
        for axis in (work.h, work.w)
    )
    in_lanes, out_lanes = -(-work.c_in // lanes), -(-work.c_out // lanes)
    c_in, c_out = depth * in_lanes * lanes, out_lanes * lanes
    product = 2.0 * work.groups * points * tiles * c_in * c_out / (work.peak * 0.85)
    # vector operations of the transforms, and the turns from and to rows of pixels
    operations = float(tiles * points * (4 * depth * in_lanes + 3 * out_lanes))
    operations += _turn_cycles(work, work.pixels) * 2 * (1.5 * depth * in_lanes + out_lanes)
    # each register tile of the product has a fixed cost, which few channels do not hide
    operations += points * tiles / 8 * -(-out_lanes // 3) * 50
    transforms = work.groups * operations * work.cycle
    weights = points * work.groups * c_in * c_out * work.item
    # the weights pass once, or from memory once for each block of tiles; half of a passage hides behind the product
    passages = 0.5 if weights <= machine.cache_bytes else max(1, -(-tiles // _WINOGRAD_TILES)) - 0.5
    traffic = passages * weights / machine.bandwidth(weights)
    return product + transforms / NOMINAL_THREADS + traffic + 2 * _OVERHEAD


def _is_small_square(work: _Work) -> bool:
    """Whether a depthwise kernel has register tiles of its own: rows of x where they lie, or two rows of taps."""
    h, w = work.h, work.w
    return h.k == w.k and w.k in (3, 5, 7) and h.stride == w.stride <= 2 and w.dilation == 1


def _depthwise_seconds(work: _Work) -> float:
    """Seconds of csrc/depthwise.inc.c; the constants are seconds and shares measured on one core of a Zen 5.

    Rows of pixels in whole vectors, eight rows a register tile, some of them twice where they do not come out even;
    each plane, input row and register tile has a fixed cost.
    """
    lanes, h, w = work.lanes, work.h, work.w
    strips = -(-h.out // 8) * -(-w.out // (2 * lanes))
    use = w.out / _whole(w.out, lanes) * (1.0 if h.out > 6 else h.out / 7)
    channels, outputs = work.groups * work.planes, work.groups * work.planes * work.c_out
    if h.k == h.out == work.d.k == 1:  # one row: its vectors stand in for rows
        use = w.out / _whole(w.out, 16 * lanes)
        fixed = channels * 30e-9
        share = 0.85 if w.k >= 16 * lanes and w.stride == w.dilation == 1 else 0.45
    elif _is_small_square(work) and (w.stride == 1 or h.dilation == 1):
        fixed = channels * (20e-9 + h.out * w.stride * 1e-9) + outputs * strips * 15e-9
        share = {3: 0.75, 5: 0.75, 7: 0.8}[w.k] if w.stride == 1 else {3: 0.36, 5: 0.47, 7: 0.62}[w.k]
    else:
        fixed = channels * (h.out + h.k) * 7e-9 + outputs * strips * 15e-9
        share = 0.6 if h.k < 8 else 0.8 if w.out > lanes else 0.7
        if h.stride != 1:
            share, fixed = 0.3, fixed * 1.5
        elif h.k >= 8 and work.zeros:
            share /= h.live_share(8)
    return _roofline(work, efficiency=share, lane_use=use, fixed=fixed + _converting(work))


def _depthwise_channels_seconds(work: _Work) -> float:
    """Seconds of csrc/depthwise_channels.inc.c.

    x and y are turned, unless channels are fastest in memory already; a plane beyond L1 slows every FMA.
    """
    lanes, h, w = work.lanes, work.h, work.w
    plane_bytes = (h.out + h.k) * (w.out + w.k) * lanes * work.item
    small = _is_small_square(work) and h.dilation == 1 and w.out >= 4
    efficiency = 0.95 if small else 0.7 if plane_bytes < 48 << 10 else 0.6
    if work.d.k > 1:
        efficiency = 0.6
    elif work.zeros and not small:
        efficiency /= h.live_share(2)
    return _roofline(
        work,
        efficiency=efficiency,
        lane_use=work.groups / _whole(work.groups, lanes),
        fixed=_turning(work) + work.planes * -(-work.groups // lanes) * 50e-9,
    )


def fft_seconds(problem: ConvProblem, machine: Machine, cycles: float) -> float:
    """Seconds of csrc/fft.inc.c, whose cycles backends/fft.py counts for its tile."""
    work = _work(problem, machine)
    return cycles * work.cycle + 0.3 * work.bytes / work.bandwidth + _OVERHEAD + _converting(work)


def weight_gradient_seconds(problem: ConvWeightProblem, machine: Machine, family: str) -> float:
    """Seconds of one of the kernels of a gradient of weights by direct summation (csrc/grad_*.inc.c)."""
    work = _work(problem.conv, machine)
    if 0 in (work.pixels, work.c_in):
        return _OVERHEAD
    lanes, taps = work.lanes, work.d.k * work.h.k * work.w.k
    if family == "planar":
        return _planar_gradient_seconds(work, taps)
    if family == "depthwise-channels":
        # one load for each FMA; a plane beyond L1 slows it
        cycles = work.planes * -(-work.groups // lanes) * 200.0
        return _roofline(
            work,
            efficiency=0.8,
            lane_use=work.groups / _whole(work.groups, lanes),
            fixed=1.3 * _turning(work) + cycles * work.cycle,
        )
    rows, vectors = work.c_in * taps, -(-work.c_out // lanes)
    # few rows leave accumulators idle; a strip's sums are added to the block's, and dY is turned for each block
    blocks = max(1.0, rows * vectors / 4096)
    cycles = work.groups * vectors * (_turn_cycles(work, work.pixels) * blocks + rows * 6.0)
    cycles += work.x_size / lanes * 4 * max(1.0, vectors / 12) + work.groups * work.images * 300.0
    return _roofline(
        work,
        efficiency=0.85 * min(1.0, rows / 8),
        lane_use=work.c_out / (vectors * lanes),
        fixed=cycles * work.cycle + _converting(work),
    )


def _planar_gradient_seconds(work: _Work, taps: int) -> float:
    """Seconds of csrc/grad_planar.inc.c: its loads, the gaps between rows, and what each row of a tile costs."""
    lanes, h, w = work.lanes, work.h, work.w
    rows = min(4, work.c_out)
    share = min(1.0, rows * 6 / (rows + 6.0) / 1.2) * 0.55
    pitch = w.out + (w.k - 1) * w.dilation // w.stride
    use = w.out * h.out / _whole((h.out - 1) * pitch + w.out, lanes)
    # both sides are loaded again for each block of the other (csrc/grad_plan.c)
    y_lines = work.c_out * h.out * -(-work.c_in // 8)
    x_lines = work.c_in * work.d.k * (h.out * h.stride + h.k) * -(-work.c_out // 8)
    lines = work.groups * work.planes * (y_lines + x_lines)
    cycles = lines * (14.0 + 2.0 * pitch / lanes) * (1.0 if w.stride == 1 else 1.5)
    if work.channels_last:
        cycles += 1.5 * (work.x_size + work.out_size)
    cycles += work.groups * work.planes * (100.0 + 20.0 * work.c_in * work.c_out * taps / 9)
    return _roofline(work, efficiency=share, lane_use=use, fixed=cycles * work.cycle + _converting(work))


def winograd_gradient_seconds(problem: ConvWeightProblem, machine: Machine, m: int) -> float:
    """Seconds of csrc/grad_winograd.inc.c: the product, and both sides' transforms for each block of the other."""
    work = _work(problem.conv, machine)
    lanes = work.lanes
    tiles = work.planes * -(-work.h.out // m) * -(-work.w.out // m)
    points = (m + 2) * (m + 2)
    c_in, c_out = work.c_in * work.d.k, _whole(work.c_out, lanes)
    product = 2.0 * work.groups * points * tiles * c_in * c_out / (work.peak * 0.75)
    chunks, vectors = -(-work.c_in // lanes) * work.d.k, c_out // lanes
    side = max(1.0, math.sqrt(4096.0 * 36 / points))
    turns = _turn_cycles(work, float(points)) + points * 5.0
    transforms = tiles * turns * (chunks * max(1.0, c_out / side) + vectors * max(1.0, c_in / side))
    inverse = c_in * vectors * points * 4.0
    return product + work.groups * (transforms + inverse) * work.cycle / NOMINAL_THREADS + 2 * _OVERHEAD


def bias_gradient_seconds(problem: ConvBiasProblem, machine: Machine) -> float:
    """Seconds of a sum that reads every element once (csrc/grad_pairwise.inc.c)."""
    return problem.bytes / (0.7 * machine.bandwidth(problem.bytes)) + _OVERHEAD


def pool_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of a kernel that moves every array once (csrc/pool.inc.c)."""
    return problem.bytes / (0.7 * machine.bandwidth(problem.bytes)) + _OVERHEAD


def dot_seconds(problem: LinearProblem, machine: Machine) -> float:
    """Seconds of csrc/dot.inc.c: weights from memory once, or products at half of the peak, which loads bound."""
    lanes = max(1, machine.lanes * 4 // max(4, ITEM_BYTES[problem.dtype]))
    peak = machine.gflops * 1e9 * lanes / machine.lanes * NOMINAL_THREADS
    # a step of one row is five loads for four FMAs, of four rows eight for sixteen; ends of sums are added across lanes
    share = 0.3 if problem.rows < 4 else 0.5
    ends = problem.rows * problem.c_out * 6e-9 / NOMINAL_THREADS
    traffic = problem.bytes / machine.bandwidth(problem.bytes)
    return max(problem.flops / (peak * share), traffic) + ends + _OVERHEAD


def packing_seconds(problem: LinearProblem, machine: Machine) -> float:
    """Seconds of one more call, which writes packed weights, and to read them again; gradients pack grad_output."""
    rows, columns = problem.out_shape if problem.argument else problem.w_shape
    n_bytes = 2.0 * rows * columns * max(4, ITEM_BYTES[problem.dtype])
    return n_bytes / (0.5 * machine.bandwidth(n_bytes)) + 2 * _OVERHEAD


def roi_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of csrc/roi.inc.c: about a vector operation for a pixel of a sample, and every array moved once."""
    return problem.flops / (1e9 * machine.gflops) + problem.bytes / machine.bandwidth(problem.bytes) + _OVERHEAD


def resample_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of csrc/sample_separable.inc.c: about two operations for each of the definition, every array once."""
    return problem.flops / (1e9 * machine.gflops) + problem.bytes / machine.bandwidth(problem.bytes) + _OVERHEAD


def deform_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of csrc/deform.inc.c and its gradients: products at half of the peak, samples among them."""
    peak = machine.gflops * 1e9 * NOMINAL_THREADS / (2 if problem.dtype == "f64" else 1)
    return problem.flops / (0.5 * peak) + problem.bytes / machine.bandwidth(problem.bytes) + 2 * _OVERHEAD


def nms_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of csrc/nms.inc.c."""
    return problem.flops / (0.1e9 * machine.gflops) + _OVERHEAD
