"""Our own kernels one by one under pytest-benchmark: ``pytest benchmarks/test_speed.py``.

For comparing one state of the code with another (``--benchmark-autosave``, ``--benchmark-compare``); rivals are
measured by :mod:`benchmarks.run`. Each layer of the default lists runs with every algorithm of ``pyconv.algorithms()``
that can do it; ``-k "resnet50 and winograd"`` picks. Nothing here asserts a time.
"""

from __future__ import annotations

from typing import Any

import pytest

import pyconv
from benchmarks import data
from benchmarks.shapes import FILTERS, Convolution, select

pytest.importorskip("pytest_benchmark")

#: The reference works in float64, tile by tile, to be believed and not to be fast.
CASES = [
    pytest.param(layer, algorithm, id=f"{layer.name}-{algorithm}")
    for layer in select()
    if isinstance(layer, Convolution) and layer.operation == "conv"
    for algorithm in pyconv.algorithms(layer.function)
    if ".f32@" in algorithm and not algorithm.endswith("@numpy")
]


@pytest.mark.parametrize(("layer", "algorithm"), CASES)
def test_speed(benchmark: Any, layer: Convolution, algorithm: str) -> None:
    """Time one layer with one algorithm, weights packed beforehand, after comparing its output with float64."""
    arrays = data.make_arrays(layer, "float32", bias=layer.bench_class not in FILTERS)
    convolve = pyconv.prepare(
        getattr(pyconv, layer.function),
        arrays["w"],
        arrays.get("bias"),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
        algorithm=algorithm,
    )
    try:
        out = convolve(arrays["x"])
    except pyconv.Unsupported as refusal:
        pytest.skip(str(refusal).splitlines()[0])
    assert layer.disagreement(arrays, (out,)) <= data.TOLERANCE["float32"]
    benchmark.group = layer.name
    benchmark.extra_info["gflop"] = layer.flops / 1e9
    benchmark.pedantic(convolve, args=(arrays["x"],), kwargs={"out": out}, rounds=15, warmup_rounds=2, iterations=1)
