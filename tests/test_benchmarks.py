"""The benchmark: every named layer can be made, is computed right, and a wrong answer would be noticed.

The layers run at the sizes of :meth:`Layer.small`, which keep their geometry. Rivals take part where they are
installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import pytest

import pyconv
from benchmarks import cold_start, data, peers, report, run
from benchmarks.shapes import CLASSES, DEFAULTS, LAYERS, Layer, find, select
from benchmarks.shapes.base import sample
from pyconv.backends import numba_cpu
from pyconv.options import current


def small_layers() -> Iterator[Layer]:
    """Every layer at a small size, once: many networks' layers become the same."""
    seen = set()
    for layer in (layer.small() for layer in LAYERS):
        what = (type(layer), *(value for name, value in asdict(layer).items() if name not in ("name", "tags")))
        if what not in seen:
            seen.add(what)
            yield layer


SMALL = [pytest.param(layer, id=layer.name) for layer in small_layers()]
RIVALS = [
    pytest.param(layer, peer, id=f"{layer.name}-{peer}")
    for peer in peers.RIVALS
    if peers.load(peer).available() is None
    for layer in small_layers()
    if peers.load(peer).supports(layer, "float32") is None
]


@pytest.mark.parametrize("twin", ["act.relu_7", "tiny.3x3_4"])
def test_the_twin_runs_numbas_kernels(twin: str) -> None:
    layer = find(twin)
    job = peers.Job(layer, data.make_arrays(layer, "float32", bias=True), None, threads=2)
    before = current().backend
    try:
        prepared = peers.load("pyconv_numba").prepare(job)
        outs = peers.outputs_of(prepared.run())
    finally:
        pyconv.set_options(backend=before)
    assert "@numba" in prepared.form
    assert numba_cpu.last_kernel().endswith("__numba")
    assert layer.disagreement(job.arrays, outs, None) <= data.TOLERANCE["float32"]


@pytest.mark.parametrize("layer", SMALL)
def test_our_answer_is_right(layer: Layer) -> None:
    activation = "relu" if layer.activated else None
    job = peers.Job(layer, data.make_arrays(layer, "float32", bias=True), activation, threads=2)
    ours = peers.load(peers.OURS)
    reason = ours.supports(layer, "float32")
    if reason is not None:
        pytest.skip(reason)
    try:
        outs = peers.outputs_of(ours.prepare(job).run())
    except pyconv.Unsupported as refusal:
        pytest.skip(str(refusal).splitlines()[0])
    assert layer.disagreement(job.arrays, outs, activation) <= data.TOLERANCE["float32"]


@pytest.mark.parametrize(("layer", "peer"), RIVALS)
def test_a_rival_means_the_same(layer: Layer, peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # no form is called a second time to find the fastest
    monkeypatch.setattr(peers, "SLOW_S", 0.0)
    job = peers.Job(layer, data.make_arrays(layer, "float32", bias=True), None, threads=2)
    try:
        prepared = peers.load(peer).prepare(job)  # which may own the memory of its results
    except NotImplementedError as refusal:
        pytest.skip(str(refusal))
    outs = peers.outputs_of(prepared.run())
    assert layer.disagreement(job.arrays, outs) <= data.TOLERANCE["float32"]


@pytest.mark.parametrize("layer", SMALL)
def test_a_wrong_answer_is_noticed(layer: Layer) -> None:
    """The definition itself passes; one wrong element of it, NaN and another shape do not."""
    arrays = data.make_arrays(layer, "float64", bias=True)
    kinds = zip(layer.out_shapes, layer.out_types("float64"), strict=True)
    outs = [np.zeros(shape, kind) for shape, kind in kinds]
    if not outs:
        assert layer.disagreement(arrays, [np.array([-1])]) > 0
        return
    for number, out in enumerate(outs):
        for place in map(tuple, sample(out.shape)):
            out[place] = layer.truth(arrays, number, place)
    assert layer.disagreement(arrays, outs) <= data.TOLERANCE["float64"]
    for out in outs:
        right = out[(0,) * out.ndim]
        out[(0,) * out.ndim] += 1
        assert layer.disagreement(arrays, outs) > data.TOLERANCE["float32"]
        if out.dtype.kind == "f":
            out[(0,) * out.ndim] = np.nan
            assert not layer.disagreement(arrays, outs) <= data.TOLERANCE["float16"]
        out[(0,) * out.ndim] = right
    with pytest.raises(ValueError, match="expected"):
        layer.disagreement(arrays, [outs[0][..., :0], *outs[1:]])


def test_arrays_are_the_same_in_every_process() -> None:
    layer = find("tiny.3x3_8")
    first, second = (data.make_arrays(layer, "float32", bias=True) for _ in range(2))
    assert first.keys() == {"x", "w", "bias"}
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_names_and_classes() -> None:
    names = [layer.name for layer in LAYERS]
    assert len(set(names)) == len(names)
    assert {layer.bench_class for layer in LAYERS} == set(CLASSES) == set(DEFAULTS)
    for bench_class in CLASSES:
        quick, default, full = (
            [layer.name for layer in select([bench_class], quick=quick, full=full)]
            for quick, full in ((True, False), (False, False), (False, True))
        )
        assert quick
        assert set(quick) <= set(default) <= set(full)
    with pytest.raises(ValueError, match="unknown class"):
        select(["convolutions"])
    with pytest.raises(ValueError, match="no layer matches"):
        select(names=["no.such.*"])


def test_a_run_measures_ourselves_and_a_copy(capsys: pytest.CaptureFixture[str]) -> None:
    """Workers start, check and time; the report has a row for each layer and class."""
    found = run.main(
        names=["act.relu_7", "tiny.3x3_4", "grad.*"], classes=["activation", "small"], peers=["pyconv", "copy"],
        rounds=1, patience_s=0,
    )  # fmt: skip
    by_name = {entry["layer"]["name"]: entry for entry in found["layers"]}
    assert by_name.keys() == {"act.relu_7", "tiny.3x3_4"}
    assert by_name["act.relu_7"]["of_copy"] > 0
    assert by_name["tiny.3x3_4"]["absent"] == {"copy": "refused: bound by arithmetic"}
    assert by_name["tiny.3x3_4"]["best_rival"] is by_name["tiny.3x3_4"]["ratio"] is None
    assert by_name["tiny.3x3_4"]["problem"].startswith("conv2d n1c8h4w4-o8k3s1p1")
    assert found["classes"]["activation"]["against"].keys() == {"copy"}
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("act.relu_7", "tiny.3x3_4", "of copy"))


def test_ratios_of_a_class() -> None:
    def result(name: str, ours: float, **rivals: float) -> run.Result:
        found = run.Result(find(name))
        for peer, seconds in {"pyconv": ours, **rivals}.items():
            found.measured[peer] = run.Measured("", 0.0, [seconds], [seconds], disturbed=[False])
        return found

    summary = run.summarise(
        [
            result("pool.vgg1.max", 1.0, torch_nchw=8.0, onnxruntime=2.0, copy=0.5),
            result("pool.unet.max", 1.0, torch_nchw=2.0, copy=0.5, pyconv_numba=1.5),
        ]
    )["pool"]
    assert summary["geometric_mean"] == pytest.approx(2.0)
    assert summary["against"]["torch_nchw"]["geometric_mean"] == pytest.approx(4.0)
    assert (summary["against"]["torch_nchw"]["worst"], summary["against"]["onnxruntime"]["count"]) == (2.0, 1)
    assert summary["against"]["copy"]["geometric_mean"] == pytest.approx(0.5)
    assert summary["against"]["pyconv_numba"]["geometric_mean"] == pytest.approx(1.5)
    assert set(report.SHORT) == set(peers.OTHERS)


def test_a_first_call_is_timed_in_a_process_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    cold_start.main(["relu"])
    header, _, row = capsys.readouterr().out.splitlines()
    assert header.startswith("| first call | algorithm |")
    name, algorithm, imported, cold, warm = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, algorithm) == ("relu", "relu.elementwise.f32")
    assert min(float(imported), float(cold), float(warm)) > 0
