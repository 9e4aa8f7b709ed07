"""NVIDIA's cuFFT, by whichever Python library binds it here: complex transforms of memory that is there already.

Nothing is imported before the first transform. CuPy plans by itself and keeps its plans; nvmath-python's plans are
kept here.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from .gpu import Flat, Place

__all__ = ["LIBRARIES", "Batch", "library", "why_not"]

#: Plans of nvmath that are kept; each has some memory on the GPU.
_MOST_PLANS = 16


class Batch(NamedTuple):
    """Transforms of one shape, contiguous one behind the other."""

    number: int
    shape: tuple[int, ...]
    double: bool

    @property
    def dtype(self) -> str:
        """Return the complex type's name."""
        return "complex128" if self.double else "complex64"


def _by_cupy(place: Place, flat: Flat, batch: Batch, back: bool) -> Flat:
    """Transform by CuPy; return where the result lies."""
    cupy, fft = importlib.import_module("cupy"), importlib.import_module("cupyx.scipy.fft")
    axes, shape = tuple(range(1, len(batch.shape) + 1)), (batch.number, *batch.shape)
    gpu = cupy.cuda.runtime.getDevice() if place.gpu is None else place.gpu
    with cupy.cuda.Device(gpu), cupy.cuda.ExternalStream(place.stream, gpu):
        owned = cupy.cuda.UnownedMemory(flat.pointer, flat.elements * flat.dtype.itemsize, flat.owner, gpu)
        array = cupy.ndarray(shape, batch.dtype, cupy.cuda.MemoryPointer(owned, 0))
        # neither way divides: the weights' tiles are scaled
        norm, function = ("forward", fft.ifftn) if back else ("backward", fft.fftn)
        found = function(array, axes=axes, norm=norm, overwrite_x=True)
    return Flat(found.data.ptr, flat.elements, flat.dtype, found)


class _Plans:
    """Plans of nvmath by what they are for, the ones used last."""

    def __init__(self) -> None:
        self.lock, self.found = threading.Lock(), OrderedDict[Any, int]()

    def of(self, cufft: Any, gpu: int, batch: Batch) -> int:
        """Return a plan."""
        place = gpu, batch
        if place not in self.found:
            plan, shape, distance = cufft.create(), list(batch.shape), math.prod(batch.shape)
            kind = cufft.Type.Z2Z if batch.double else cufft.Type.C2C
            layout = shape, 1, distance
            cufft.make_plan_many(plan, len(shape), shape, *layout, *layout, int(kind), batch.number)
            self.found[place] = plan
            if len(self.found) > _MOST_PLANS:
                cufft.destroy(self.found.popitem(last=False)[1])
        self.found.move_to_end(place)
        return self.found[place]


_plans = _Plans()


def _by_nvmath(place: Place, flat: Flat, batch: Batch, back: bool) -> Flat:
    """Transform by nvmath-python's binding, where the numbers lie; return that."""
    from . import gpu

    cufft = importlib.import_module("nvmath.bindings.cufft")
    # a plan has one stream at a time
    with gpu.machine.on(place.gpu), _plans.lock:
        plan = _plans.of(cufft, gpu.machine.number(place.gpu), batch)
        cufft.set_stream(plan, place.stream)
        transform = cufft.exec_z2z if batch.double else cufft.exec_c2c
        transform(plan, flat.pointer, flat.pointer, 1 if back else -1)
    return flat


#: transform(place, memory, batch, back) -> where the result lies; by the module that is looked for.
LIBRARIES: dict[str, Callable[[Place, Flat, Batch, bool], Flat]] = {"cupy": _by_cupy, "nvmath": _by_nvmath}


def library() -> Callable[[Place, Flat, Batch, bool], Flat] | None:
    """Return the first library that is installed."""
    return next((run for name, run in LIBRARIES.items() if importlib.util.find_spec(name) is not None), None)


def why_not() -> str:
    """Return why there is no library; empty where there is one."""
    return "" if library() else "needs cuFFT by CuPy or nvmath-python; pip install cupy-cuda13x"
