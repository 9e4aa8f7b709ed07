"""The Numba kernels of kernels/cpu/lowering.py as algorithms: the twins of csrc/lowering.inc.c.

Not for float16, which Numba does not compute with on a CPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numba
import numpy as np

from ..algorithm import Array, Call, Packed, Runner
from ..kernels.cpu import blocking, simd, threads, tile
from ..kernels.cpu import lowering as kernels
from ..problem import AXES, ITEM_BYTES
from . import lowering, numba_cpu, pooling
from .plain import OnNumba

__all__ = ["algorithms"]

_REAL: dict[str, tuple[Any, Any]] = {"f32": (numba.float32, np.float32), "f64": (numba.float64, np.float64)}


@lru_cache(maxsize=256)
def _record(call: Call) -> Any:
    """Return the kernel's records of the call, or None where the scratch limit is too small.

    The second one is for images that have been turned into planes.
    """
    problem, item = call.problem, ITEM_BYTES[call.problem.dtype]
    conv = problem.conv
    cut = lowering.cut(call, simd.VECTOR_BYTES // item, call.max_workspace // numba_cpu.WORKERS_IN_LIMIT)
    if cut is None:
        return None
    images, columns = (
        tuple(stride // item for stride in call.strides(name) or ())
        for name in (("out", "x") if problem.fold else ("x", "out"))
    )
    axes = (
        tile.Axis(size, k, out, stride, dilation, pads[0])
        for size, k, out, stride, dilation, pads in zip(
            conv.spatial, conv.kernel, conv.out_spatial, conv.stride, conv.dilation, conv.padding, strict=True
        )
    )
    described = blocking.Conv(
        n=conv.n,
        groups=1,
        c_in=conv.c_in,
        c_out=1,
        d=tile.Axis(),
        **dict(zip(AXES[2], axes, strict=True)),
        ld_x=tile.Strides(images[0], images[1], 0, images[2], images[3]),
        ld_out=tile.Strides(n=columns[0], c=columns[1]),
        ld_res=tile.Strides(),
        padding_mode=tile.PADDING_MODES.index("zeros"),
        activation=0,
        residual=False,
        threads=call.threads,
        phases=tile.Phases(),
    )
    elems = cut.tile_elems + cut.panel_elems
    params = np.repeat(described.record({**cut._asdict(), "integers_bytes": -(-elems * item // 64) * 64}), 2)
    width = conv.spatial[1]
    ld_plane = cut.panel_elems // lowering.TURNED
    params[1]["ld_x"] = tile.Strides(0, ld_plane, 0, width, 1)
    return params


@dataclass(frozen=True, slots=True)
class NumbaLowering(OnNumba, lowering.Lowering):
    """A kernel of kernels/cpu/lowering.py."""

    unit: ClassVar[str] = "lowering"

    backend: str = "numba"
    preferred: bool = True

    @staticmethod
    def _threads(call: Call, record: Any) -> int:
        by_memory = call.max_workspace // max(1, int(record["scratch_bytes"]))
        by_work = numba_cpu.useful_threads(0, call.problem.bytes)
        return int(max(1, min(call.threads, by_memory, by_work, int(record["n_tasks"]))))

    def workspace(self, call: Call) -> int | None:
        """Return the scratch of all threads together."""
        if lowering.is_empty(call.problem):
            return 0
        params = _record(call)
        return None if params is None else int(params[0]["scratch_bytes"]) * self._threads(call, params[0])

    def compile(self, call: Call) -> Runner:
        """Return a function of the arrays alone; the GIL is released while the kernel runs."""
        problem, name, item = call.problem, self.kernel_name, ITEM_BYTES[self.dtype]
        if lowering.is_empty(problem):
            return pooling.clear(1)
        if not lowering.takes(call):
            return pooling.elsewhere
        params = _record(call).copy()
        real, scalar = _REAL[self.dtype]
        kernel = kernels.lowering_col2im if problem.fold else kernels.lowering_im2col
        if not problem.fold:
            kernels.link_im2col(params, real)
        record, like = params[0], scalar(0)
        shares, n_tasks, size = self._threads(call, record), int(record["n_tasks"]), int(record["scratch_bytes"])

        def run(packed: Packed, x: Array, out: Array) -> bool:
            x_at, out_at = numba_cpu.address(x), numba_cpu.address(out)
            if (x_at | out_at) % item:
                return False
            memory = numba_cpu.scratch(size * shares)
            scratch = numba_cpu.address(memory)

            def work(share: int, first: int, last: int) -> Any:
                return kernel(params, first, last, x_at, out_at, scratch + share * size, like)

            threads.run_tasks(name, n_tasks, shares, work)
            numba_cpu.note_kernel(name)
            return True

        return run


def algorithms() -> Iterator[NumbaLowering]:
    """Every such kernel."""
    for op in lowering.FAMILIES:
        for dtype in _REAL:
            yield NumbaLowering(op, dtype)
