"""A GPU for the tests: arrays that say that they are on it, and a machine that runs kernels on the emulator.

Or on Numba's simulator, in a process that test_cuda_simulator.py starts. A module that imports :func:`gpu` has it in
all of its tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("greenlet", reason="the emulator's threads are greenlets: pip install greenlet")
pytest.importorskip("numba.cuda", reason="Numba's CUDA target is not there: pip install numba-cuda")

from pyconv import registry
from pyconv.backends import gpu as backend
from pyconv.kernels import cuda as kernels
from pyconv.ops import call, device

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    from cuda_simulator import launch
else:
    from cuda_emulator import launch

__all__ = ["EmulatedGpu", "OnGpu", "able", "backend", "factories", "forget", "gpu", "ran", "there"]


class OnGpu:
    """An array that says that it is in GPU memory; it is in the host's, where the emulator works."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        there = dict(self.array.__array_interface__)
        return {key: there[key] for key in ("shape", "typestr", "data", "strides")} | {"version": 3, "stream": 7}

    def __getitem__(self, index: int | slice) -> OnGpu:
        return OnGpu(self.array[index])


class EmulatedGpu(backend.Gpu):
    """Kernels run on the emulator; scratch begins as what nobody would take for a result."""

    def __init__(self) -> None:
        super().__init__()
        self.streams: set[int] = set()
        self.kernels: set[str] = set()

    def is_installed(self) -> bool:
        return True

    def why_not(self) -> str:
        return ""

    @staticmethod
    def memory(flat: Any) -> np.ndarray:
        size = flat.elements * flat.dtype.itemsize
        return np.frombuffer((ctypes.c_byte * size).from_address(flat.pointer), np.uint8).view(flat.dtype)

    def launch(
        self, kernel: Any, grid: int, threads: int, blocks: int, gpu: Any, stream: int, arguments: tuple[Any, ...]
    ) -> None:
        self.streams.add(stream)
        self.kernels.add(f"{kernel.__module__.rpartition('.')[2]}.{kernel.__qualname__.partition('.')[0]}")

        def given_as(argument: Any) -> Any:
            if isinstance(argument, backend.Flat):
                return self.memory(argument)
            return tuple(map(int, argument)) if isinstance(argument, tuple) else argument

        arguments = tuple(int(a) if isinstance(a, np.int32) else given_as(a) for a in arguments)
        launch(kernel, grid, threads, *arguments)

    def scratch(self, elements: int, dtype: np.dtype, gpu: Any) -> Any:
        array = np.full(elements * dtype.itemsize, 0xFF, np.uint8).view(dtype)
        return backend.Flat(array.ctypes.data, elements, dtype, array)

    def put(self, flat: Any, values: np.ndarray, gpu: Any, stream: int) -> None:
        self.memory(flat)[...] = values

    def get(self, flat: Any, gpu: Any, stream: int) -> int:
        return int(self.memory(flat)[0])

    def wait(self, gpu: Any, stream: int) -> None:
        pass

    def number(self, gpu: Any) -> int:
        return 0

    def on(self, gpu: Any) -> Any:
        return contextlib.nullcontext()


def factories() -> set[str]:
    """Every factory of a kernel, as file.name: it has a function called kernel inside."""
    found = set()
    for info in pkgutil.iter_modules(kernels.__path__):
        module = importlib.import_module(f"{kernels.__name__}.{info.name}")
        for name, function in vars(module).items():
            code = getattr(function, "__code__", None)
            if code and function.__module__ == module.__name__:
                found |= {
                    f"{info.name}.{name}" for inner in code.co_consts if getattr(inner, "co_name", "") == "kernel"
                }
    return found


def empty(shape: tuple[int, ...], dtype: str, axes: tuple[int, ...] | None, like: OnGpu) -> OnGpu:
    array = np.full(int(np.prod(shape)) * np.dtype(dtype).itemsize, 0xFF, np.uint8).view(dtype).reshape(shape)
    return OnGpu(array if axes is None else array.transpose(axes))


@pytest.fixture(scope="module", autouse=True)
def gpu() -> Iterator[EmulatedGpu]:
    """A machine with an emulated GPU."""
    emulated = EmulatedGpu()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "machine", emulated)
        patch.setitem(
            device.KINDS,
            OnGpu.__module__,
            device.Kind(
                empty=empty,
                stream=lambda like: 7,
                gpu=lambda like: None,
                integer=lambda like: int(like.array[0]),
                copy=lambda like: OnGpu(like.array.copy()),
            ),
        )
        patch.setattr(registry, "_algorithms", dict(registry._algorithms))
        patch.setattr(registry, "_missing", {k: v for k, v in registry._missing.items() if k != "cuda"})
        patch.setattr(registry, "_loaded", registry._loaded - {"cuda"})
        for id in [id for id in registry._algorithms if id.endswith("@cuda")]:
            del registry._algorithms[id]
        registry.candidates.cache_clear()
        call.plan_for.cache_clear()
        assert registry.why_missing("cuda") is None
        yield emulated
        if "PYCONV_TEST_KERNELS" in os.environ:
            with Path(os.environ["PYCONV_TEST_KERNELS"]).open("a") as file:
                print(*emulated.kernels, file=file)
    registry.candidates.cache_clear()
    call.plan_for.cache_clear()


def there(array: np.ndarray | None) -> OnGpu | None:
    return None if array is None else OnGpu(array)


def able(problem: Any) -> list[Any]:
    """Every GPU kernel that takes a problem."""
    return [a for a in registry.candidates(problem.op, problem.dtype, ("cuda",)) if a.supports(problem)]


def forget() -> None:
    """Let no kernel have run."""
    backend._local.kernel = ""


def ran(algorithm: Any) -> bool:
    """Whether the last kernel that ran was this algorithm's."""
    return backend.last_kernel() == algorithm.kernel_name
