"""The libraries that are compared: one file each, named as the peer, with the functions of :class:`Peer`.

A peer's module imports its library only inside its functions, so that the runner can read this package without any of
them; the worker process (:mod:`benchmarks.worker`) loads exactly one. pyconv and torch call a layer as it says its
call; the others have a function for each :attr:`Layer.operation` that they can do.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from benchmarks.shapes import Array, Arrays, Layer

__all__ = [
    "OTHERS",
    "OURS",
    "PEERS",
    "RIVALS",
    "TWINS",
    "YARDSTICKS",
    "Array",
    "Job",
    "Peer",
    "Prepared",
    "fastest",
    "load",
    "missing",
    "outputs_of",
]

OURS = "pyconv"
RIVALS = (
    "torch_nchw",
    "torch_channels_last",
    "onnxruntime",
    "openvino",
    "ncnn",
    "opencv",
    "scipy",
    "torchvision",
)
#: Measured beside the others to show how far the machine would go; they compute nothing, and win nothing.
YARDSTICKS = ("copy",)
#: Ourselves without the C kernels: measured only where they are asked for, and no rival either.
TWINS = ("pyconv_numba",)
#: All that ours are set against, and every peer, ourselves first.
OTHERS = (*RIVALS, *YARDSTICKS, *TWINS)
PEERS = (OURS, *OTHERS)

#: Seconds of a first call beyond which a form is not called again to be chosen.
SLOW_S = 1.0


@dataclass(frozen=True)
class Job:
    """A layer that a peer is asked for.

    Parameters
    ----------
    layer : Layer
    arrays : dict of numpy.ndarray
        The layer's arrays by name; the caller keeps them alive for as long as it keeps the answer.
    activation : {None, "relu"}
        Applied to the output of a layer with weights.
    threads : int
    """

    layer: Layer
    arrays: Arrays
    activation: str | None
    threads: int

    @property
    def dtype(self) -> str:
        """``"float16"``, ``"float32"`` or ``"float64"``."""
        return str(self.arrays[self.layer.inputs[0]].dtype)

    def empty(self) -> tuple[Array, ...]:
        """Return an array for each output."""
        kinds = zip(self.layer.out_shapes, self.layer.out_types(self.dtype), strict=True)
        return tuple(np.empty(shape, kind) for shape, kind in kinds)


@dataclass(frozen=True)
class Prepared:
    """A layer ready to run.

    Parameters
    ----------
    run : callable
        Computes the layer and returns its output, or its outputs, in the shapes and dtypes that the layer says; they
        may be overwritten by the next call.
    form : str
        How the library was called: its best form for this layer, or the algorithm's id.
    problem : str
        The layer as pyconv writes it; of ourselves only.
    """

    run: Callable[[], Any]
    form: str
    problem: str = ""


class Peer(Protocol):
    """What a peer's module offers."""

    def available(self) -> str | None:
        """Return why the library cannot be used here, or None."""

    def version(self) -> str:
        """Return the library's version."""

    def supports(self, layer: Layer, dtype: str) -> str | None:
        """Return why the library cannot do the layer, or None."""

    def prepare(self, job: Job) -> Prepared:
        """Bind arrays, pack weights, build graphs: everything that is done once and not timed."""


def outputs_of(result: Any) -> tuple[Array, ...]:
    """Return what a call gave as a tuple, without the gradients that nobody asked for."""
    return tuple(array for array in result if array is not None) if isinstance(result, (tuple, list)) else (result,)


def load(name: str) -> Peer:
    """Import the peer called ``name``.

    Raises
    ------
    ValueError
        If there is no such peer.
    """
    if name not in PEERS:
        raise ValueError(f"no peer is called {name!r}; the peers are {', '.join(PEERS)}")
    return cast(Peer, importlib.import_module(f"{__name__}.{name}"))


def missing(module: str) -> str | None:
    """Return the reason why ``module`` cannot be imported, or None."""
    try:
        importlib.import_module(module)
    except Exception as error:
        # A broken library fails to import with whatever it likes (OSError, RuntimeError, ...); the rest goes on.
        return f"{module} cannot be imported: {error}"
    return None


def fastest(candidates: Iterable[Prepared], budget_s: float = 0.06) -> Prepared:
    """Time each form of the same layer and return the fastest, so that a rival is shown at its best.

    Parameters
    ----------
    candidates : iterable of Prepared
        At least one; only one of them needs to run, a form that raises is left out.
    budget_s : float
        Time for each form, after its first call; a form whose first call takes longer than :data:`SLOW_S` gets no more.
    """
    best, best_s, errors = None, float("inf"), []
    for candidate in candidates:
        try:
            taken = _call_s(candidate)
        except Exception as error:
            # Which exception a library raises for a form it cannot do is its own affair.
            errors.append(f"{candidate.form}: {error}")
            continue
        if taken < SLOW_S:
            until = time.perf_counter() + budget_s
            # The minimum: another program on the machine can make any single call slow, and none fast.
            taken = _call_s(candidate)
            while time.perf_counter() < until:
                taken = min(taken, _call_s(candidate))
        if taken < best_s:
            best, best_s = candidate, taken
    if best is None:
        raise RuntimeError("no form of the layer runs: " + "; ".join(errors))
    return best


def _call_s(candidate: Prepared) -> float:
    """Return the seconds of one call."""
    began = time.perf_counter()
    candidate.run()
    return time.perf_counter() - began
