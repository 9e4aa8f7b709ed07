"""The cost model: a pure function of problem and machine, and what measurements add to it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import pyconv_command

import pyconv
from pyconv import calibrate, cost, curves, machine, plan, registry
from pyconv.algorithm import Call
from pyconv.options import current
from pyconv.problem import ConvWeightProblem, parse_problem

NAMES = (
    "conv1d n2c4w40-o6k3s1p1-f32",
    "conv2d n1c8h12w12-o6k3s1p1-f32",
    "conv3d n1c4d5h6w7-o4k3s1p1-f32",
    "conv_transpose2d n1c8h6w6-o4k4s2p1-f32",
    "conv2d-grad-x n1c8h6w6-o4k3s1p1-f32",
    "conv2d-grad-w n2c8h9w9-o8k3s1p1-f32",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own."""
    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path))
    machine.constants.cache_clear()
    yield tmp_path
    machine.constants.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_a_term_for_each_feature(name: str) -> None:
    terms = curves.features(parse_problem(name))  # type: ignore[arg-type]
    assert len(terms) == len(curves.FEATURES)
    assert all(map(math.isfinite, terms))
    by_name = dict(zip(curves.FEATURES, terms, strict=True))
    assert by_name["c_in^2"] == by_name["c_in"] ** 2
    assert by_name["taps pixels"] == by_name["taps"] * by_name["pixels"]
    assert (by_name["rank 1"], by_name["rank 3"]) == (name[4] == "1", name[4] == "3")


def test_a_gradient_of_weights_has_its_convolutions_terms() -> None:
    gradient = parse_problem("conv2d-grad-w n2c8h9w9-o8k3s1p1-f32")
    assert isinstance(gradient, ConvWeightProblem)
    assert curves.features(gradient) == curves.features(gradient.conv)


def test_names_of_curves() -> None:
    assert curves.key_of("conv3d", "winograd-f4x3", "c-avx2") == "conv.winograd-f4x3@c-avx2"
    assert curves.key_of("conv1d-grad-x", "direct", "numba") == "transposed.direct@numba"
    assert curves.key_of("conv_transpose2d", "direct", "numba") == "transposed.direct@numba"
    assert curves.key_of("conv_transpose2d-grad-w", "direct", "c-avx2") == "weights.direct@c-avx2"


def test_the_shipped_curves_are_sound() -> None:
    document = json.loads(curves.FILE.read_text())
    assert tuple(document["features"]) == curves.FEATURES
    assert {"cpu", "machine", "date", "pyconv", "problems"} <= set(document)
    known = {curves.key_of(*id.partition("@")[0].split(".")[:2], id.rpartition("@")[2]) for id in pyconv.algorithms()}
    for key, curve in document["curves"].items():
        if not key.endswith("numba") and registry.why_missing("c") is None:
            assert key in known, "a curve of a kernel that there is"
        assert len(curve["weights"]) == len(curves.FEATURES)
        assert all(map(math.isfinite, curve["weights"]))
    assert len(document["ranges"]) == len(curves.LOGARITHMS)


sizes = st.integers(1, 100_000)


@given(
    st.sampled_from(sorted(curves.shipped().curves) or ["none"]), st.integers(1, 64), sizes, sizes,
    st.integers(1, 5000),
    st.integers(1, 127),
)  # fmt: skip
def test_no_factor_runs_away(key: str, n: int, c_in: int, c_out: int, side: int, taps: int) -> None:
    problem = pyconv.ConvProblem(n, c_in, c_out, (side, side), (min(taps, side),) * 2, (1, 1), ((0, 0), (0, 0)), (1, 1))
    curve = curves.shipped().curves.get(key)
    if curve is not None:
        assert 0.999 / curves.LIMIT <= curve.factor(curves.features(problem)) <= 1.001 * curves.LIMIT


def test_estimates_are_counts_times_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {c.id: c.estimate_s for c in pyconv.explain(NAMES[1]).candidates if c.estimate_s is not None}
    monkeypatch.setattr(curves, "factor", lambda *_: 1.0)
    counted = {c.id: c.estimate_s for c in pyconv.explain(NAMES[1]).candidates if c.estimate_s is not None}
    monkeypatch.undo()
    problem = parse_problem(NAMES[1])
    for id, seconds in before.items():
        algorithm = registry.find(id)
        factor = curves.factor(id, algorithm.op, algorithm.family, problem)
        assert seconds == pytest.approx(counted[id] * factor)  # type: ignore[operator]


def test_what_has_no_curve_is_as_counted() -> None:
    assert curves.factor("nms.greedy.f32@c-none", "nms", "greedy", None) == 1.0
    problem = parse_problem("max_pool2d n1c4h8w8-k2s2p0-f32")
    assert curves.factor("max_pool2d.separable.f32@c-avx2", "max_pool2d", "separable", problem) == 1.0


def test_estimates_are_pure() -> None:
    """The same numbers for the same problem and machine, whatever was asked before."""
    here = plan.machine_here()
    problem = parse_problem(NAMES[1])
    for algorithm in map(registry.find, pyconv.algorithms("conv2d")):
        if algorithm.dtype == "f32" and algorithm.supports(problem):
            first = algorithm.estimate(problem, here)
            assert first > 0
            cost._work.cache_clear()
            assert algorithm.estimate(problem, here) == first


def test_a_faster_machine_is_faster() -> None:
    slow = cost.Machine(8, 50.0, 16 << 20, 50.0, 20.0)
    fast = cost.Machine(8, 100.0, 16 << 20, 100.0, 40.0)
    for name in NAMES:
        problem = parse_problem(name)
        for algorithm in map(registry.find, pyconv.algorithms(problem.op)):
            if algorithm.dtype == "f32" and algorithm.supports(problem):
                assert algorithm.estimate(problem, fast) <= algorithm.estimate(problem, slow), algorithm.id


def test_planning_does_not_depend_on_the_number_of_threads() -> None:
    problem = parse_problem(NAMES[1])
    chosen = set()
    for threads in (1, 2, 7):
        with pyconv.options(threads=threads):
            chosen.add(plan.explain_call(Call.typical(problem, threads, 64 << 20), "auto", current()).algorithm)
    assert len(chosen) == 1


@pytest.mark.skipif(registry.why_missing("c") is not None, reason="no C kernels in this installation")
def test_calibrating(folder: Path) -> None:
    found = calibrate.calibrate(0.01)
    lanes = plan.machine_here().lanes
    assert lanes in found
    assert machine.constants(lanes) == found[lanes]
    here = plan.machine_here()
    assert (here.gflops, here.memory_gbytes) == (found[lanes]["gflops"], found[lanes]["memory_gbytes"])
    assert 0.1 < here.gflops < 10_000
    (path,) = folder.glob("machine-*.json")
    machine.constants.cache_clear()
    assert machine.constants(lanes) == found[lanes], "as a later process reads it"
    for text in ("", "[]", "{", '{"16": 3}', f'{{"{lanes}": {{"gflops": -1}}}}'):
        path.write_text(text)
        machine.constants.cache_clear()
        assert machine.constants(lanes) != found[lanes]


def test_a_processor_that_nobody_knows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_kind", lambda: "nobody")
    assert machine.constants(8) is None
    assert cost.Machine.of_lanes(8).gflops == 8 * 2 * 2 * 3.5


def test_families_of_processors_are_shipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = json.loads(machine.SHIPPED.read_text())
    for kind, by_lanes in shipped.items():
        for model in (kind, f"{kind}-77"):
            monkeypatch.setattr(machine, "cpu_kind", lambda model=model: model)
            for lanes, values in by_lanes.items():
                machine.constants.cache_clear()
                assert machine.constants(int(lanes)) == values


@pytest.mark.skipif(registry.why_missing("c") is not None, reason="no C kernels in this installation")
def test_the_command_calibrates(folder: Path, subprocess_environment: dict[str, str]) -> None:
    environment = {**subprocess_environment, "PYCONV_CACHE_DIR": str(folder)}
    done = pyconv_command(environment, "tune", "--machine", "--budget", "0.01")
    assert done.returncode == 0, done.stderr
    assert "GFLOP/s" in done.stdout
    assert list(folder.glob("machine-*.json"))


def test_fitting_finds_what_was_hidden(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))
    from benchmarks import fit_cost

    random = np.random.default_rng(0)
    data = []
    for _ in range(300):
        side, c_in, c_out = (int(2 ** random.uniform(2, 8)) for _ in range(3))
        problem = pyconv.ConvProblem(1, c_in, c_out, (side, side), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
        terms = curves.features(problem)
        hidden = 0.2 + 0.1 * (terms[0] - 5) - 0.02 * (terms[4] - 9) ** 2
        data.append((terms, hidden + random.normal(0, 0.02)))
    found = fit_cost.fit(data[:200])
    curve = curves.Curve(tuple(found["weights"]), found["constant"])
    errors = [math.log(curve.factor(terms)) - hidden for terms, hidden in data[200:]]
    assert float(np.std(errors)) < 0.06
    assert found["spread_after"] < found["spread_before"] / 3


def test_random_problems_are_the_same_for_a_seed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(root))
    from benchmarks import regret

    for family in regret.FAMILIES:
        drawn = list(regret.draw(family, 5, 0))
        assert drawn == list(regret.draw(family, 5, 0))
        assert drawn != list(regret.draw(family, 5, 1))
        for problem in drawn:
            assert problem.op == family
            assert parse_problem(f"{problem.op} {problem}") == problem
            assert regret.MIN_FLOPS <= problem.flops <= regret.MAX_FLOPS
