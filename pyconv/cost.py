"""The first cost model: which algorithm, by counting flops, bytes and fixed overheads.

A pure function of the problem and a :class:`Machine`; it never measures. Its constants are shares of the machine's
peak, read off profiles of each kernel, and are good enough to rank the algorithms that exist.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .problem import ITEM_BYTES, ConvProblem, Problem

__all__ = ["NOMINAL_THREADS", "Machine", "conv_seconds", "pool_seconds", "roofline", "winograd_seconds"]

#: Choices are made for this many threads whatever the caller allows, so that the choice of algorithm, and with it
#: every bit of the result, does not depend on the number of threads.
NOMINAL_THREADS = 2


@dataclass(frozen=True, slots=True)
class Machine:
    """What the model knows of the processor: one core's float32 peak, and the last cache and memory behind it."""

    lanes: int  # float32 elements in a vector
    gflops: float  # float32 peak of a core: lanes * 2 flops * 2 FMAs * GHz
    cache_bytes: int  # of the last level: what a repeated call finds there
    cache_gbytes: float  # GB/s out of it, all cores
    memory_gbytes: float  # GB/s out of memory

    @classmethod
    def of_lanes(cls, lanes: int) -> Machine:
        """Return a typical processor of 3.5 GHz whose vectors hold so many float32 elements."""
        fma_ports = 2.0
        return cls(
            lanes=lanes,
            gflops=lanes * 2 * fma_ports * 3.5,
            cache_bytes=32 << 20,
            cache_gbytes=100.0,
            memory_gbytes=50.0,
        )


def roofline(
    problem: ConvProblem,
    machine: Machine,
    *,
    efficiency: float,
    lane_use: float = 1.0,
    extra_bytes: float = 0.0,
    overhead: float = 3e-6,
) -> float:
    """Seconds: the longer of arithmetic and traffic, plus what a call costs however small it is.

    ``efficiency`` is the kernel's share of peak with full vectors, ``lane_use`` the share of vector elements that
    hold outputs, ``extra_bytes`` what is written and read again beyond x, w and y.
    """
    scale = 2 if problem.dtype == "f64" else 1
    arithmetic = problem.flops * scale / (machine.gflops * 1e9 * NOMINAL_THREADS * efficiency * lane_use)
    bandwidth = machine.cache_gbytes if problem.bytes <= machine.cache_bytes else machine.memory_gbytes
    traffic = (problem.bytes + extra_bytes) / (bandwidth * 1e9)
    return max(arithmetic, traffic) + 0.3 * min(arithmetic, traffic) + overhead


def summed_bytes(problem: ConvProblem) -> int:
    """Bytes of an element in a kernel's scratch and weights: float16 is summed in float32."""
    return max(4, ITEM_BYTES[problem.dtype])


def lanes_of(problem: ConvProblem, machine: Machine) -> int:
    """Vector elements of the type that sums are in."""
    return max(1, machine.lanes * 4 // summed_bytes(problem))


def _converting(problem: ConvProblem, family: str) -> float:
    """Seconds for float16 on its way in and out; where elements are turned as well, that hides it."""
    if problem.dtype != "f16" or family in ("depthwise-channels", "grouped-channels"):
        return 0.0
    return 0.03e-9 * (math.prod(problem.x_shape) + math.prod(problem.out_shape))


#: Share of peak that each dense kernel reaches when its vectors are full.
_EFFICIENCY = {"direct": 0.87, "direct-channels": 0.92, "im2col": 0.82}


def conv_seconds(problem: ConvProblem, machine: Machine, family: str) -> float:
    """Seconds of one of the direct-summation kernels (csrc/*.inc.c and their Numba twins)."""
    lanes = lanes_of(problem, machine)
    w_out, h_out = problem.out_spatial[-1], problem.out_spatial[-2] if problem.rank > 1 else 1
    reach = (problem.kernel[-1] - 1) * problem.dilation[-1] // problem.stride[-1]
    c_out = problem.c_out // problem.groups
    item = summed_bytes(problem)
    if w_out * h_out == 0:
        return 0.0
    if family.startswith("depthwise"):
        return _depthwise_seconds(problem, machine, family, lanes)
    if family == "grouped-channels":
        blocks = max(1, -(-problem.c_in // lanes))
        return roofline(
            problem,
            machine,
            efficiency=0.95 if problem.stride[-1] == 1 else 0.8,
            lane_use=max(1, problem.c_in) / (blocks * lanes),
            overhead=3e-6 + (_turning(problem) + problem.n * blocks * 50e-9) / NOMINAL_THREADS,
        )
    if family == "implicit-gemm":
        return _implicit_seconds(problem, machine, lanes)
    efficiency = _EFFICIENCY[family]
    pointwise = all(k == 1 for k in problem.kernel) and all(s == 1 for s in problem.stride)
    pitch = w_out + (0 if family == "im2col" else reach)
    pixels = (h_out - 1) * pitch + w_out
    use = w_out * h_out / (-(-pixels // lanes) * lanes)
    if family == "direct-channels":
        # channels in the lanes, up to 8 pixels of a row at a time; the results are turned on their way out
        use = c_out / (-(-c_out // lanes) * lanes) * min(1.0, w_out / -(-w_out // 8) / 4)
        efficiency *= 0.7 if pointwise else 0.93 if problem.stride[-1] != 1 else 1.0
    elif problem.c_out * problem.reduction * item > 4 << 20:
        # every tile of pixels streams the weights, faster than the last cache gives them
        efficiency *= 0.85
    # few output channels leave accumulators idle; im2col also copies each operand once for all of them
    if c_out < 4 and family != "direct-channels":
        efficiency *= (0.25, 0.4, 0.6)[c_out - 1]
    lowered = 0.0
    if family == "im2col":
        lowered = problem.reduction * problem.groups * problem.n * w_out * h_out * item * (0.15 if pointwise else 0.3)
    elif pointwise and problem.reduction > 256:
        lowered = problem.reduction * problem.groups * problem.n * w_out * h_out * item * 0.25
    # each group's tasks, each input row that is copied into a tile (phase by phase where the stride is not 1) and each
    # row of a packed panel have a fixed cost
    fixed = problem.n * problem.groups * 0.3e-6 + _converting(problem, family)
    if not pointwise or family == "direct-channels":
        fixed += problem.n * problem.c_in * (h_out + problem.kernel[0]) * (7e-9 if problem.stride[-1] == 1 else 25e-9)
    if family == "direct-channels" and not problem.channels_last:
        fixed += problem.n * problem.c_out * w_out * h_out * 0.35e-9
    if family == "im2col":
        fixed += problem.n * problem.groups * problem.reduction * -(-pixels // (3 * lanes)) * 2.5e-9
    overhead = 3e-6 + fixed / NOMINAL_THREADS
    return roofline(problem, machine, efficiency=efficiency, lane_use=use, extra_bytes=lowered, overhead=overhead)


def _cycle(problem: ConvProblem, machine: Machine, lanes: int) -> float:
    """Seconds of a cycle: a core starts two vector FMAs in it, of two flops a lane."""
    peak = machine.gflops * 1e9 / (2 if problem.dtype == "f64" else 1)
    return 4.0 * lanes / peak


def _turn_cycles(problem: ConvProblem, lanes: int, pixels: int) -> float:
    """Cycles to turn rows of pixels into pixels of ``lanes`` channels, or back (csrc/channels.inc.c)."""
    return pixels * (1.0 if problem.channels_last else 50.0 / lanes)


def _implicit_seconds(problem: ConvProblem, machine: Machine, lanes: int) -> float:
    """Seconds of csrc/implicit_gemm.inc.c: the product, what each register tile and run costs, and both turns."""
    depth = problem.kernel[0] if problem.rank == 3 else 1
    kh = problem.kernel[-2] if problem.rank > 1 else 1
    c_in, c_out = problem.c_in // problem.groups, problem.c_out // problem.groups
    vectors, chunks = -(-c_out // lanes), -(-c_in // lanes) * depth
    pixels = problem.n * problem.groups * math.prod(problem.out_spatial)
    tiles = pixels / 8 * -(-vectors // 3)
    runs = chunks * kh * (problem.kernel[-1] if problem.dilation[-1] != 1 else 1)
    rows_read = 1 if problem.rank == 1 or problem.kernel[-2] > 1 else 1 / problem.stride[-2]
    cycles = tiles * (60 + runs * 12)
    cycles += vectors * _turn_cycles(problem, lanes, pixels)
    cycles += (
        rows_read
        * chunks
        * _turn_cycles(
            problem,
            lanes,
            problem.n * problem.groups * math.prod(problem.spatial[-2:]) * math.prod(problem.out_spatial[:-2]),
        )
    )
    if c_in % lanes:
        cycles += chunks * pixels * 2.0
    overhead = 3e-6 + cycles * _cycle(problem, machine, lanes) / NOMINAL_THREADS
    use = c_out / (vectors * lanes)
    return roofline(problem, machine, efficiency=0.98, lane_use=use, overhead=overhead)


def winograd_seconds(problem: ConvProblem, machine: Machine, m: int, r: int) -> float:
    """Seconds of Winograd's F(m, r) (csrc/winograd.inc.c): the product, the transforms, and the weights' traffic."""
    lanes, item = lanes_of(problem, machine), summed_bytes(problem)
    planar = range(max(0, problem.rank - 2), problem.rank)
    transformed = [i for i in planar if problem.kernel[i] == r]
    points = int((m + r - 1) ** len(transformed))
    tiles = problem.n * math.prod(
        -(-size // m) if i in transformed else size for i, size in enumerate(problem.out_spatial)
    )
    depth = problem.kernel[0] if problem.rank == 3 else 1

    def whole(channels: int) -> int:
        return -(-channels // lanes) * lanes

    c_in, c_out = depth * problem.c_in // problem.groups, whole(problem.c_out // problem.groups)
    peak = machine.gflops * 1e9 * NOMINAL_THREADS / (2 if problem.dtype == "f64" else 1)
    product = 2.0 * problem.groups * points * tiles * c_in * c_out / (peak * 0.85)
    # vector operations of the transforms, and the turns from and to rows of pixels
    in_lanes, out_lanes = whole(problem.c_in // problem.groups) / lanes, c_out / lanes
    pixels = math.prod(problem.out_spatial) * problem.n
    operations = tiles * points * (4 * depth * in_lanes + 3 * out_lanes)
    operations += _turn_cycles(problem, lanes, pixels) * 2 * (1.5 * depth * in_lanes + out_lanes)
    transforms = problem.groups * operations * _cycle(problem, machine, lanes)
    weights = points * problem.groups * c_in * c_out * item
    bandwidth = machine.cache_gbytes if weights <= machine.cache_bytes else machine.memory_gbytes
    # half of the weights' traffic hides behind the product
    return product + transforms / NOMINAL_THREADS + 0.5 * weights / (bandwidth * 1e9) + 6e-6


def _turning(problem: ConvProblem) -> float:
    """Seconds of one core to turn x into pixels of channels and y back."""
    elements = problem.c_in * math.prod(problem.spatial) + problem.c_out * math.prod(problem.out_spatial)
    return problem.n * elements * (0.02e-9 if problem.channels_last else 0.075e-9)


def _depthwise_seconds(problem: ConvProblem, machine: Machine, family: str, lanes: int) -> float:
    """Seconds of a depthwise kernel; the constants are seconds and shares measured on one core of a Zen 5."""
    w_out, h_out = problem.out_spatial[-1], problem.out_spatial[-2] if problem.rank > 1 else 1
    kh, stride_h, dilation_h = (
        x[-2] if problem.rank > 1 else 1 for x in (problem.kernel, problem.stride, problem.dilation)
    )
    stride = problem.stride[-1]
    depth = problem.kernel[0] if problem.rank == 3 else 1
    planes = problem.n * math.prod(problem.out_spatial[:-2])
    # small, square and dense: rows of x where they lie, or the taps of two rows in registers
    dense = kh == problem.kernel[-1] and kh in (3, 5, 7) and stride_h == stride <= 2 and problem.dilation[-1] == 1
    if family == "depthwise":
        # rows of pixels in whole vectors, eight rows a register tile, some of them twice where they do not come out
        # even; each plane, input row and register tile has a fixed cost
        strips = -(-h_out // 8) * -(-w_out // (2 * lanes))
        use = w_out / (-(-w_out // lanes) * lanes) * (1.0 if h_out > 6 else h_out / 7)
        if kh == h_out == depth == 1:  # one row: its vectors stand in for rows
            use = w_out / (-(-w_out // (16 * lanes)) * 16 * lanes)
            fixed = planes * problem.c_in * 30e-9
            share = 0.85 if problem.kernel[-1] >= 16 * lanes and stride == problem.dilation[-1] == 1 else 0.45
        elif dense and (stride == 1 or dilation_h == 1):
            fixed = planes * (problem.c_in * (20e-9 + h_out * stride * 1e-9) + problem.c_out * strips * 15e-9)
            share = {3: 0.75, 5: 0.75, 7: 0.8}[kh] if stride == 1 else {3: 0.36, 5: 0.47, 7: 0.62}[kh]
        else:
            fixed = planes * (problem.c_in * (h_out + kh) * 7e-9 + problem.c_out * strips * 15e-9)
            share = 0.6 if kh < 8 else 0.88 if w_out > lanes else 0.7
            if stride_h != 1:
                share, fixed = 0.3, fixed * 1.5
    else:
        # x and y are turned, unless channels are fastest in memory already; a plane beyond L1 slows every FMA
        plane = (h_out + kh) * (w_out + problem.kernel[-1]) * lanes * summed_bytes(problem)
        fixed = _turning(problem) + planes * -(-problem.c_in // lanes) * 50e-9
        share = 0.95 if dense and dilation_h == 1 and w_out >= 4 else 0.7 if plane < 48 << 10 else 0.6
        use = problem.groups / (-(-problem.groups // lanes) * lanes)
    fixed += _converting(problem, family)
    return roofline(problem, machine, efficiency=share, lane_use=use, overhead=3e-6 + fixed / NOMINAL_THREADS)


def pool_seconds(problem: Problem, machine: Machine) -> float:
    """Seconds of a kernel that moves every array once (csrc/pool.inc.c)."""
    bandwidth = machine.cache_gbytes if problem.bytes <= machine.cache_bytes else machine.memory_gbytes
    return problem.bytes / (0.7 * bandwidth * 1e9) + 3e-6
