"""No library but the limit of those that move more than they compute: a plain copy of the bytes that a layer moves.

Half of the bytes of a layer's arrays, outputs included, are copied, so as many are read and written as the layer must
read and write; by one thread or by all of them, whichever is faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks.peers import Job, Prepared, fastest, missing
from benchmarks.shapes import Layer


def available() -> str | None:
    """Return None: NumPy is there."""
    return None


def version() -> str:
    """Return the version of what copies."""
    return f"NumPy {np.__version__}"


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why a copy is no yardstick, or None."""
    return None if layer.streams else "bound by arithmetic"


def _forms(job: Job) -> Iterator[Prepared]:
    layer = job.layer
    moved = sum(array.nbytes for array in job.arrays.values())
    moved += sum(
        math.prod(shape) * np.dtype(kind).itemsize
        for shape, kind in zip(layer.out_shapes, layer.out_types(job.dtype), strict=True)
    )
    source = np.ones(moved // 2, np.uint8)
    target = np.empty_like(source)
    yield Prepared(lambda: np.copyto(target, source), "copyto")
    pool = ThreadPoolExecutor(job.threads)
    parts = list(zip(np.array_split(target, job.threads), np.array_split(source, job.threads), strict=True))

    def shared() -> None:
        others = [pool.submit(np.copyto, *part) for part in parts[1:]]
        np.copyto(*parts[0])
        for other in others:
            other.result()

    yield Prepared(shared, f"copyto, {job.threads} threads")
    if missing("torch") is None:
        import torch

        torch.set_num_threads(job.threads)
        pair = torch.from_numpy(target), torch.from_numpy(source)
        yield Prepared(lambda: pair[0].copy_(pair[1]), "torch.Tensor.copy_")


def prepare(job: Job) -> Prepared:
    """Return the fastest form."""
    return fastest(_forms(job))
