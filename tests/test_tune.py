"""Measuring: the timer, what it changes, and the file that keeps it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from guards import forget_last_kernel, last_kernel
from test_cli import pyconv_command
from test_conv import ALGORITHMS

import pyconv
from pyconv import machine, measure, plan, wisdom
from pyconv.ops import call as calls
from pyconv.options import current

NAME = "conv2d n1c8h12w12-o6k3s1p1-f32"
PROBLEM = pyconv.ConvProblem.parse(NAME.partition(" ")[2])
SHAPES = (1, 8, 12, 12), (6, 8, 3, 3)


class Clock:
    """Time that passes only in calls."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def __call__(self) -> float:
        return self.now

    def call(self, name: str, *seconds: float) -> Callable[[], None]:
        """A call that takes these seconds in turn, and the last ones from then on."""
        left = list(seconds)

        def run() -> None:
            self.ran.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_the_shortest_time_counts() -> None:
    clock = Clock()
    times = measure.contest({"a": clock.call("a", 9.0, 3.0, 2.0, 4.0), "b": clock.call("b", 3.0)}, 1000.0, clock)
    assert times == {"a": 2.0, "b": 3.0}


def test_what_was_slow_at_first_has_a_second_chance() -> None:
    clock = Clock()
    calls = {"a": clock.call("a", 1.0), "b": clock.call("b", 9.0, 9.0, 0.5)}
    assert measure.contest(calls, 1000.0, clock) == {"a": 1.0, "b": 0.5}
    clock = Clock()
    calls = {"a": clock.call("a", 1.0), "b": clock.call("b", 9.0, 9.0, 0.5)}
    assert measure.contest(calls, 100.0, clock)["b"] == 9.0, "too long to be tried again"


def test_short_calls_fill_a_turn() -> None:
    clock = Clock()
    measure.contest({"a": clock.call("a", measure.TURN_S / 8)}, 1000.0, clock)
    assert clock.ran.count("a") == 9


def test_what_is_hopeless_is_called_twice() -> None:
    clock = Clock()
    calls = {"a": clock.call("a", 1.0), "b": clock.call("b", 3.25), "c": clock.call("c", 1.5)}
    times = measure.contest(calls, 50.0, clock)
    assert times == {"a": 1.0, "b": 3.25, "c": 1.5}
    assert clock.ran.count("b") == 2
    assert clock.ran.count("a") == clock.ran.count("c") == 2 + measure.SETTLED_ROUNDS


def test_measuring_goes_on_while_times_fall() -> None:
    clock = Clock()
    calls = {"a": clock.call("a", *(10.0 - i for i in range(9))), "b": clock.call("b", 2.0)}
    times = measure.contest(calls, 100.0, clock)
    assert times["a"] == 10.0 - 1, "two calls without hope"
    clock = Clock()
    calls = {"a": clock.call("a", *(10.0 - i for i in range(9))), "b": clock.call("b", 9.0)}
    assert measure.contest(calls, 1e6, clock)["a"] == 2.0


def test_rounds_are_interleaved_and_within_the_budget() -> None:
    clock = Clock()
    times = measure.contest({name: clock.call(name, 1.0) for name in "abc"}, 8.5, clock)
    assert clock.ran == list("aabbccabc")
    assert set(times) == set("abc")


def test_the_budget_may_reach_only_some() -> None:
    clock = Clock()
    times = measure.contest({name: clock.call(name, 10.0) for name in "abc"}, 15.0, clock)
    assert times == {"a": 10.0}, "the first in any case"
    assert clock.now == 20.0
    clock = Clock()
    times = measure.contest({"a": clock.call("a", 1.0), "b": clock.call("b", 10.0)}, 5.0, clock)
    assert times == {"a": 1.0, "b": 10.0}
    assert clock.ran.count("b") == 1, "no second call after the end of the budget"


def test_nobody_takes_part() -> None:
    assert measure.contest({}, 1.0) == {}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of its own, and no wisdom before or after."""

    def fresh() -> None:
        monkeypatch.setattr(wisdom, "_user", None)
        calls.plan_for.cache_clear()

    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path))
    fresh()
    yield tmp_path
    fresh()


def slowest() -> str:
    """Supported by the problem and never chosen by estimates."""
    answer = pyconv.explain(NAME)
    able = [c for c in answer.candidates if c.supported and not c.id.endswith("@numpy")]
    return max(able, key=lambda c: c.estimate_s or 0.0).id


def test_the_fastest_as_measured_is_taken(folder: Path) -> None:
    guess = pyconv.explain(NAME)
    assert guess.why != "fastest as measured"
    chosen = slowest()
    wisdom.record(PROBLEM, current().threads, {chosen: 1e-6, guess.algorithm: 2e-6})
    answer = pyconv.explain(NAME)
    assert (answer.algorithm, answer.why) == (chosen, "fastest as measured")
    assert answer.by_estimate == guess.algorithm
    measured = {c.id: c.measured_s for c in answer.candidates}
    assert measured[chosen] == 1e-6
    assert next(c.reason for c in answer.candidates if c.id == guess.algorithm) == "2.00x the time"
    forget_last_kernel(ALGORITHMS[chosen])
    pyconv.conv2d(np.ones(SHAPES[0], np.float32), np.ones(SHAPES[1], np.float32), padding=1)
    if ALGORITHMS[chosen].backend != "numpy":
        assert last_kernel(ALGORITHMS[chosen]) == ALGORITHMS[chosen].kernel_name


def test_equal_times_are_decided_by_id(folder: Path) -> None:
    able = [c.id for c in pyconv.explain(NAME).candidates if c.supported and not c.id.endswith("@numpy")]
    wisdom.record(PROBLEM, current().threads, dict.fromkeys(reversed(able), 1e-6))
    assert pyconv.explain(NAME).algorithm == min(able)


def test_wisdom_is_of_one_number_of_threads(folder: Path) -> None:
    wisdom.record(PROBLEM, 3, {slowest(): 1e-6})
    with pyconv.options(threads=3):
        assert pyconv.explain(NAME).why == "fastest as measured"
    with pyconv.options(threads=2):
        assert pyconv.explain(NAME).why != "fastest as measured"


def test_options_still_decide(folder: Path) -> None:
    """Wisdom ranks; it permits nothing."""
    answer = pyconv.explain(NAME)
    loose = [c.id for c in answer.candidates if "needs accuracy" in c.reason]
    wisdom.record(PROBLEM, current().threads, dict.fromkeys(loose, 1e-09) | {"conv2d.nothing.f32@c-none": 1e-9})
    assert pyconv.explain(NAME).algorithm == answer.algorithm
    named = pyconv.explain(NAME, algorithm="reference")
    assert (named.algorithm, named.why) == ("conv2d.reference.f32@numpy", "asked for by name")


def test_tune_measures_and_keeps(folder: Path) -> None:
    if len([c for c in pyconv.explain(NAME).candidates if c.supported]) < 3:
        pytest.skip("one algorithm leaves no choice")
    answer = pyconv.tune(pyconv.conv2d, *SHAPES, padding=1, budget_s=0.02)
    assert answer.why == "fastest as measured"
    times = {c.id: c.measured_s for c in answer.candidates if c.measured_s is not None}
    assert len(times) > 1
    assert answer.algorithm == min(times, key=lambda id: (times[id], id))
    (path,) = folder.glob("wisdom-*.json")
    kept = json.loads(path.read_text())
    assert kept["measured"] == {f"{NAME} threads={current().threads}": times}
    assert (kept["cpu"], kept["pyconv"]) == (machine.cpu_kind(), pyconv.__version__)
    wisdom._user = None
    assert pyconv.explain(NAME).algorithm == answer.algorithm, "as a later process reads it"
    assert not list(folder.glob("*.tmp"))


@pytest.mark.parametrize(
    "name",
    [
        "conv1d n2c4w40-o6k3s1p1-f64-bias",
        "conv2d n1c8h9w9-o8k3s1p1g8-f32-channels_last-residual-relu",
        "conv3d n1c4d5h6w7-o4k3s1p1-f32",
        "conv_transpose2d n1c8h6w6-o4k4s2p1-f32-bias",
        "conv2d-grad-x n1c8h6w6-o4k3s1p1-f32",
        "conv2d-grad-w n2c8h9w9-o8k3s1p1-f32",
        "max_pool2d n1c4h8w8-k2s2p0-f32",
    ],
)
def test_any_problem_can_be_tuned(name: str, folder: Path) -> None:
    (answer,) = pyconv.tune([name], budget_s=0.01)
    assert f"{answer.problem.op} {answer.problem}" == name
    choices = [c for c in answer.candidates if c.supported and not c.id.endswith("@numpy")]
    assert (answer.why == "fastest as measured") == (len(choices) > 1)


def test_measure_on_first_use(folder: Path) -> None:
    x, w = (np.ones(shape, np.float32) for shape in SHAPES)
    with pyconv.options(measure=True):
        before = pyconv.explain(NAME)
        assert before.why != "fastest as measured", "explaining measures nothing"
        result = pyconv.conv2d(x, w, padding=1)
        after = pyconv.explain(NAME)
    choices = [c for c in before.candidates if c.supported and not c.id.endswith("@numpy")]
    assert (after.why == "fastest as measured") == (len(choices) > 1)
    assert not list(folder.iterdir()), "kept in this process; tune() writes"
    np.testing.assert_array_equal(result, pyconv.conv2d(x, w, padding=1, algorithm="reference"))


def test_nothing_is_measured_in_an_ordinary_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "measure_call", lambda *_: pytest.fail("measured"))
    x, w = (np.ones(shape, np.float32) for shape in SHAPES)
    pyconv.conv2d(x, w, padding=1)


@pytest.mark.parametrize(
    ("what", "error", "message"),
    [
        ("conv2d n1c8", pyconv.InvalidProblem, "is not a problem"),
        ("conv9d n1c8h12w12-o6k3s1p1-f32", pyconv.InvalidProblem, "is no problem of"),
        ("conv1d n1c8h12w12-o6k3s1p1-f32", pyconv.InvalidProblem, "a problem of conv2d, not of conv1d"),
        (3.5, TypeError, "as its first argument"),
        (np.zeros, TypeError, "as its first argument"),
    ],
)
def test_what_cannot_be_tuned(what: object, error: type[Exception], message: str, folder: Path) -> None:
    for verb in (pyconv.tune, pyconv.explain):
        with pytest.raises(error, match=message):
            verb(what)


def test_tuning_a_call_without_a_choice(folder: Path) -> None:
    with pytest.raises(pyconv.InvalidProblem, match="has no choice to tune"):
        pyconv.tune(pyconv.conv2d, *SHAPES, padding=1, algorithm="direct")
    with pytest.raises(ValueError, match="budget_s must be positive"):
        pyconv.tune(NAME, budget_s=0)
    with pytest.raises(TypeError, match="a problem says everything itself"):
        pyconv.tune(NAME, padding=1)


def test_the_problems_of_a_model(folder: Path, subprocess_environment: dict[str, str]) -> None:
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    nodes = [
        make.make_node("Conv", ["x", "w1", "b1"], ["a"], auto_pad="SAME_UPPER", strides=[2, 2]),
        make.make_node("MaxPool", ["a"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        make.make_node("Conv", ["p", "w2"], ["q"], group=2, pads=[1, 0, 1, 2]),
        make.make_node("Conv", ["p", "w2"], ["r"], group=2, pads=[1, 0, 1, 2]),
        make.make_node("Add", ["q", "r"], ["s"]),
        make.make_node("ConvTranspose", ["s", "w3"], ["y"], strides=[2, 2], output_padding=[1, 1]),
    ]
    weights = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (6, 2, 3, 3), "w3": (6, 2, 3, 3)}
    graph = make.make_graph(
        nodes, "net", [make.make_tensor_value_info("x", 1, ["batch", 3, "rows", "columns"])],
        [make.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights.items()],
    )  # fmt: skip
    path = folder / "net.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    problems_of = importlib.import_module("pyconv.interop.onnx.problems").problems_of
    found = [f"{problem.op} {problem}" for problem in problems_of(path, 24)]
    assert found == [
        "conv2d n1c3h24w24-o4k3s2p0:1-f32-bias",
        "max_pool2d n1c4h12w12-k2s2p0-f32",
        "conv2d n1c4h6w6-o6k3s1p1x0:2g2-f32",
        "conv_transpose2d n1c6h6w6-o2k3s2p0+1-f32",
    ]
    environment = {**subprocess_environment, "PYCONV_CACHE_DIR": str(folder)}
    done = pyconv_command(environment, "tune", "--onnx", str(path), "--size", "24", "--budget", "0.01")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in found)
    path.write_bytes(b"no model")
    done = pyconv_command(environment, "tune", "--onnx", str(path))
    assert done.returncode == 2
    assert "is no ONNX model" in " ".join(done.stderr.split())


def some() -> wisdom.Entries:
    return {f"{NAME} threads=2": {"conv2d.direct.f32@c-avx2": 2e-6, "conv2d.im2col.f32@c-avx2": 3e-6}}


def test_merging_keeps_the_shorter_time_in_any_order() -> None:
    other = {f"{NAME} threads=2": {"conv2d.direct.f32@c-avx2": 1e-6}, "another threads=1": {"id": 1.0}}
    first, second = some(), {key: dict(times) for key, times in other.items()}
    wisdom.merge(first, other)
    wisdom.merge(second, some())
    assert first == second
    assert first[f"{NAME} threads=2"] == {"conv2d.direct.f32@c-avx2": 1e-6, "conv2d.im2col.f32@c-avx2": 3e-6}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", "\x00\xff", "[" * 100_000, '{"format": 1}',
        '{"format": 99, "pyconv": "VERSION", "cpu": "CPU", "measured": {"a": {"b": 1.0}}}',
        '{"format": 1, "pyconv": "0.0.0", "cpu": "CPU", "measured": {"a": {"b": 1.0}}}',
        '{"format": 1, "pyconv": "VERSION", "cpu": "another", "measured": {"a": {"b": 1.0}}}',
        '{"format": 1, "pyconv": "VERSION", "cpu": "CPU", "measured": []}',
        '{"format": 1, "pyconv": "VERSION", "cpu": "CPU", "measured": {"a": 1, "b": {"c": "1"}, "d": {"e": -1}}}',
        '{"format": 1, "pyconv": "VERSION", "cpu": "CPU", "measured": {"a": {"b": NaN, "c": 0, "d": Infinity}}}',
    ],
)  # fmt: skip
def test_damaged_and_foreign_files_are_no_wisdom(text: str, folder: Path) -> None:
    path = wisdom.wisdom_file()
    assert path is not None
    path.write_bytes(text.replace("VERSION", pyconv.__version__).replace("CPU", machine.cpu_kind()).encode("latin-1"))
    assert wisdom.load() == {}
    assert pyconv.explain(NAME).why != "fastest as measured"
    wisdom.record(PROBLEM, 2, {"conv2d.direct.f32@c-avx2": 1e-6})
    assert wisdom.save() == path
    assert wisdom.read(path) == {f"{NAME} threads=2": {"conv2d.direct.f32@c-avx2": 1e-6}}


def test_a_file_cut_short_anywhere(folder: Path) -> None:
    path = folder / "file.json"
    wisdom.write(path, some())
    whole = path.read_bytes()
    assert wisdom.read(path) == some()
    for length in range(len(whole) - 2):
        path.write_bytes(whole[:length])
        assert wisdom.read(path) == {}


def test_a_folder_in_its_place(folder: Path) -> None:
    path = wisdom.wisdom_file()
    assert path is not None
    path.mkdir()
    assert wisdom.load() == {}
    wisdom.record(PROBLEM, 2, {"id": 1e-6})
    assert wisdom.save() is None
    assert wisdom.measured(PROBLEM, 2) == {"id": 1e-6}, "it stays in this process"
    assert [entry for entry in folder.iterdir() if entry.suffix == ".tmp"] == []


def test_a_folder_that_cannot_be_made(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert wisdom.load() == {}
    assert wisdom.save() is None
    pyconv.tune(NAME, budget_s=0.01)


def test_no_place_at_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYCONV_CACHE_DIR", "")
    assert wisdom.wisdom_file() is None
    pyconv.tune(NAME, budget_s=0.01)
    assert not list(folder.iterdir())
    monkeypatch.delenv("PYCONV_CACHE_DIR")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    assert machine.cache_folder() is None


def test_the_user_is_asked_before_what_is_shipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = folder / "shipped"
    shipped.mkdir()
    other = pyconv.ConvProblem.parse("n1c8h13w13-o6k3s1p1-f32")
    wisdom.write(shipped / "wisdom-any.json", {
        f"{NAME} threads=2": {"a": 1.0}, f"conv2d {other} threads=2": {"b": 1.0},
    })  # fmt: skip
    monkeypatch.setattr(wisdom, "SHIPPED", shipped)
    monkeypatch.setattr(wisdom, "_user", None)
    assert wisdom.measured(PROBLEM, 2) == {"a": 1.0}
    wisdom.record(PROBLEM, 2, {"c": 2.0})
    assert wisdom.measured(PROBLEM, 2) == {"c": 2.0}
    assert wisdom.measured(other, 2) == {"b": 1.0}
    monkeypatch.setattr(wisdom, "_shipped", {})


def test_processes_that_write_at_once_lose_nothing(folder: Path, subprocess_environment: dict[str, str]) -> None:
    script = (
        "import sys; from pyconv import wisdom; from pathlib import Path\n"
        "for i in range(10): wisdom.write(Path(sys.argv[1]), {f'{sys.argv[2]}.{i}': {'id': 1.0}})"
    )
    path = folder / "together.json"
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(path), str(number)], env=subprocess_environment)
        for number in range(4)
    ]
    assert [process.wait(timeout=120) for process in running] == [0] * 4
    assert len(wisdom.read(path)) == 40


def test_the_command_tunes_and_hands_on(folder: Path, subprocess_environment: dict[str, str]) -> None:
    environment = {**subprocess_environment, "PYCONV_CACHE_DIR": str(folder / "a"), "PYCONV_NUM_THREADS": "2"}
    done = pyconv_command(environment, "tune", "conv2d", "1x8x12x12", "6x8x3x3", "--padding", "1", "--budget", "0.01")
    assert done.returncode == 0, done.stderr
    assert "measured" in done.stdout
    shapes = folder / "shapes.txt"
    shapes.write_text("# two layers\nconv2d n1c8h9w9-o8k3s1p1g8-f32\n\nconv1d n1c4w40-o4k3s1p1-f32 # the other\n")
    done = pyconv_command(environment, "tune", "--shapes", str(shapes), "--budget", "0.01")
    assert done.returncode == 0, done.stderr
    assert "n1c4w40-o4k3s1p1-f32" in done.stdout
    shown = pyconv_command(environment, "wisdom").stdout
    assert "n1c8h9w9-o8k3s1p1g8-f32" in shown
    copy = folder / "copy.json"
    done = pyconv_command(environment, "wisdom", "export", str(copy))
    assert done.returncode == 0, done.stderr
    other = {**environment, "PYCONV_CACHE_DIR": str(folder / "b")}
    assert "problems measured" in pyconv_command(other, "wisdom", "show").stdout
    done = pyconv_command(other, "wisdom", "import", str(copy))
    assert done.returncode == 0, done.stderr
    assert pyconv_command(other, "wisdom").stdout.splitlines()[1:] == shown.splitlines()[1:]
    assert "forgotten" in pyconv_command(other, "wisdom", "forget").stdout
    assert len(pyconv_command(other, "wisdom").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tune",), "tune takes an operation"),
        (("tune", "conv2d"), "needs shapes or a problem"),
        (("tune", "conv2d", "n1c8"), "is not a problem"),
        (("tune", "max_pool2d", "1x8x12x12", "6x8x3x3"), "shapes are for conv1d, conv2d, conv3d"),
        (("tune", "--shapes", "no such file"), "No such file"),
        (("wisdom", "burn"), "takes show, export, import or forget"),
        (("wisdom", "export"), "needs a file"),
        (("wisdom", "import", "no such file"), "there is no file"),
    ],
)
def test_mistakes_are_explained(
    arguments: tuple[str, ...], message: str, subprocess_environment: dict[str, str]
) -> None:
    done = pyconv_command(subprocess_environment, *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


def test_choices_are_logged_when_asked(subprocess_environment: dict[str, str]) -> None:
    script = (
        "import numpy as np, pyconv; pyconv.conv2d(np.ones((1, 8, 12, 12), 'f'), np.ones((6, 8, 3, 3), 'f'), padding=1)"
    )
    for value, said in (("dispatch", True), ("", False)):
        done = subprocess.run(
            [sys.executable, "-c", script], env={**subprocess_environment, "PYCONV_LOG": value},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (f"pyconv: {NAME} -> conv2d." in done.stderr) == said
