"""The command line, as a user runs it."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv

pytest.importorskip("typer")


def pyconv_command(
    environment: dict[str, str], *arguments: str, cwd: Path | None = None, before: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m pyconv``, after a line of Python that may take something away."""
    start = f"import sys, runpy; sys.argv = ['pyconv', *{arguments!r}]; runpy.run_module('pyconv', run_name='__main__')"
    script = f"{before}\n{start}"
    return subprocess.run(
        [sys.executable, "-P", "-c", script],
        env={**environment, "COLUMNS": "200", "TERM": "dumb"}, cwd=cwd, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def without(*packages: str) -> str:
    """A line of Python after which importing these packages fails."""
    return f"import sys; [sys.modules.__setitem__(name, None) for name in {packages!r}]"


def test_info_and_algorithms(subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(subprocess_environment, "info")
    assert done.returncode == 0
    assert "backend numpy" in done.stdout
    done = pyconv_command(subprocess_environment, "algorithms", "conv2d")
    assert "conv2d.reference.f32@numpy" in done.stdout.splitlines()
    assert "conv1d" not in done.stdout


def test_explain_by_shapes_and_by_problem(subprocess_environment: dict[str, str]) -> None:
    shapes = pyconv_command(subprocess_environment, "explain", "conv2d", "1x8x12x12", "6x8x3x3", "--padding", "1")
    assert shapes.returncode == 0, shapes.stderr
    assert "n1c8h12w12-o6k3s1p1-f32" in shapes.stdout
    assert "->" in shapes.stdout
    problem = pyconv_command(subprocess_environment, "explain", "conv2d", "n1c8h12w12-o6k3s1p1-f32")
    assert problem.stdout == shapes.stdout


@pytest.mark.parametrize(
    "problem",
    [
        "n1c8h12w12-o6k3s1p1-f64",
        "n1c8h12w12-o6k3s1p1-f16-bias",
        "n1c8h12w12-o6k3s1x2p1:0x1d2-f32-reflect-channels_last-bias-residual-leaky_relu=0.2",
        "n1c8h12w12-o8k3s1p1g8-f64-channels_last-residual-relu",
    ],
)
def test_explain_answers_for_the_whole_problem(problem: str, subprocess_environment: dict[str, str]) -> None:
    """Element type, memory order, bias, residual and slope too: each may change the choice."""
    done = pyconv_command(subprocess_environment, "explain", "conv2d", problem)
    assert done.returncode == 0, done.stderr
    assert problem in done.stdout.split()
    dtype = pyconv.ConvProblem.parse(problem).dtype
    assert f".{dtype}@" in next(line for line in done.stdout.splitlines() if "->" in line)


def test_explain_takes_a_dtype(subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(
        subprocess_environment, "explain", "conv2d", "1x8x12x12", "6x8x3x3", "--padding", "1", "--dtype", "float64",
        "--threads", "1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "n1c8h12w12-o6k3s1p1-f64" in done.stdout


def test_explain_takes_paddings_and_slopes(subprocess_environment: dict[str, str]) -> None:
    """Spelled as problem strings spell them."""
    done = pyconv_command(
        subprocess_environment, "explain", "conv2d", "1x8x12x12", "6x8x3x3", "--padding", "1:0x2", "--stride", "1x2",
        "--activation", "leaky_relu=0.2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    problem = pyconv.ConvProblem(
        1, 8, 6, (12, 12), (3, 3), (1, 2), ((1, 0), (2, 2)), (1, 1), activation="leaky_relu", slope=0.2
    )
    assert str(problem) in done.stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "conv4d", "1x1", "1x1"), "conv4d"),
        (("explain", "conv1d", "n1c8h12w12-o6k3s1p1-f32"), "a problem of conv2d, not of conv1d"),
        (("explain", "conv2d", "1xax3x3", "1x1x1x1"), "is not a list of sizes"),
        (("explain", "conv2d", "1x8x12x12", "6x8x3x3", "--dtype", "int8"), "--dtype must be one of"),
        (("explain", "conv2d", "1x8x12x12", "6x8x3x3", "--stride", "1y2"), "is not a list of sizes"),
        (("explain", "conv2d", "1x8x12x12", "6x8x3x3", "--padding", "1:2:3"), "is no padding"),
        (("explain", "conv2d", "1x8x12x12", "6x8x3x3", "--activation", "elu=x"), "is no activation"),
        (("demo", "--threads", "0"), "--threads"),
        (("algorithms", "conv4d"), "conv4d"),
        (("explain", "conv2d", "1x9x12x12", "6x8x3x3"), "channels disagree"),
        (("explain", "conv2d", "n1c8"), "is not a problem"),
        (("nothing",), "nothing"),
    ],
)
def test_mistakes_are_explained(
    arguments: tuple[str, ...], message: str, subprocess_environment: dict[str, str]
) -> None:
    done = pyconv_command(subprocess_environment, *arguments)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_demo(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    """The main job: one table, one picture."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    done = pyconv_command(subprocess_environment, "demo", "--quick", "--out", str(tmp_path / "made"))
    assert done.returncode == 0, done.stderr
    for line in ("blur 15x15", "ResNet stem 7x7 s2", "MobileNet depthwise 3x3", "ConvNeXt depthwise 7x7"):
        assert line in done.stdout
    picture = (tmp_path / "made" / "demo.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 50_000


def test_demo_without_its_extras(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    pytest.importorskip("sklearn")
    done = pyconv_command(
        subprocess_environment, "demo", "--quick", cwd=tmp_path, before=without("matplotlib", "matplotlib.pyplot")
    )
    assert done.returncode == 0, done.stderr
    assert "no picture is drawn" in done.stdout
    assert "blur 15x15" in done.stdout
    assert not list(tmp_path.iterdir())


def test_demo_without_scipy(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    """SciPy gone, and scikit-learn's and scikit-image's pictures with it: matplotlib's serves."""
    pytest.importorskip("matplotlib")
    done = pyconv_command(
        subprocess_environment, "demo", "--quick", "--out", str(tmp_path), before=without("scipy", "sklearn", "skimage")
    )
    assert done.returncode == 0, done.stderr
    assert "no SciPy times" in done.stdout
    assert "grace_hopper.jpg of matplotlib" in done.stdout
    assert (tmp_path / "demo.png").exists()


def test_demo_without_a_photograph(subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(
        subprocess_environment,
        "demo",
        "--quick",
        before=without("sklearn", "skimage", "matplotlib", "matplotlib.cbook"),
    )
    assert done.returncode == 1
    assert 'pip install "pyconv-kernels[images]"' in done.stderr


def test_demo_leaves_out_what_takes_too_long() -> None:
    demo: Any = importlib.import_module("pyconv.demo")
    gray = np.ones((427, 640), dtype=np.float32)
    small, large = demo.blur_jobs(gray, (3, 63))
    with pyconv.options(backend="numpy"):
        assert demo._served(small)
        assert not demo._served(large)


def demo_jobs() -> list[Any]:
    demo: Any = importlib.import_module("pyconv.demo")
    picture = np.random.default_rng(3).random((40, 48, 3)).astype(np.float32)
    return [
        *demo.blur_jobs(picture[..., 0].copy(), (1, 7, 15)),
        *demo.colour_jobs(picture, True),
        *demo.layer_jobs(picture),
    ]


def test_scipy_does_the_same_work() -> None:
    """A time beside ours is worth something only where the values are the same."""
    pytest.importorskip("scipy")
    demo: Any = importlib.import_module("pyconv.demo")
    for job in demo_jobs():
        ways, factor = demo.scipy_ways(job, 2)
        linear = replace(job, problem=replace(job.problem, activation=None))
        ours = linear.prepared()()[0]
        assert {"fftconvolve 1", "fftconvolve 2", "oaconvolve 1", "oaconvolve 2"} <= set(ways)
        for name, way in ways.items():
            theirs = way()
            assert len(theirs) * factor == job.problem.c_out
            np.testing.assert_allclose(theirs, ours[: len(theirs)], atol=1e-4, err_msg=f"{job.name} {name}")


@pytest.mark.parametrize("limit", [1e12, 2e5], ids=["whole", "windows"])
def test_demo_sees_a_wrong_output(limit: float) -> None:
    """Right results stay within the bound; an error in any corner or in the middle does not."""
    demo: Any = importlib.import_module("pyconv.demo")
    for job in demo_jobs():
        explained = pyconv.explain(pyconv.conv2d, job.x, job.w, **job.settings)
        bound = next(c.error_bound for c in explained.candidates if c.id == explained.algorithm)
        result = job.prepared()()
        demo.compare(job, result, bound, limit)
        assert job.of_bound <= 1, job.name
        height, width = result.shape[2:]
        for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1), (height // 2, width // 2)):
            wrong = result.copy()
            wrong[0, -1, row, column] += 1
            again = replace(job, difference=0.0, of_bound=0.0)
            demo.compare(again, wrong, bound, limit)
            assert again.of_bound > 1, f"{job.name} {row} {column}"


def test_without_typer(subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(subprocess_environment, "info", before=without("typer"))
    assert done.returncode == 2
    assert 'pip install "pyconv-kernels[cli]"' in done.stderr


def test_bench_needs_a_checkout(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(subprocess_environment, "bench", cwd=tmp_path, before=without("benchmarks"))
    assert done.returncode == 2
    assert "checkout" in done.stderr


def test_bench_passes_its_options_on(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    """The benchmarks of the folder it runs in; a mistake there is told without a traceback."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("")
    (tmp_path / "benchmarks" / "run.py").write_text(
        "def main(**options):\n"
        "    if options['peers'] == ['nothing']:\n"
        "        raise ValueError('unknown peer nothing')\n"
        "    print(sorted((name, value) for name, value in options.items() if value not in (None, False)))\n"
    )
    (tmp_path / "benchmarks" / "regret.py").write_text(
        "def main(families, count, **options):\n    print(families, count, options['threads'])\n"
    )
    fresh = "import sys; sys.modules.pop('benchmarks', None); sys.path.insert(0, '.')"
    done = pyconv_command(
        subprocess_environment, "bench", "--class", "dense", "--quick", "--no-bias", "--patience", "0", cwd=tmp_path,
        before=fresh,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = "[('classes', ['dense']), ('dtype', 'float32'), ('quick', True), ('rounds', 5), ('threads', 2)]"
    assert done.stdout.strip() == told
    done = pyconv_command(
        subprocess_environment, "bench", "--regret", "--family", "conv1d", "--count", "3", cwd=tmp_path, before=fresh
    )
    assert done.stdout.strip() == "['conv1d'] 3 2", done.stderr
    done = pyconv_command(subprocess_environment, "bench", "--peer", "nothing", cwd=tmp_path, before=fresh)
    assert done.returncode == 2
    assert "unknown peer nothing" in done.stderr
    assert "Traceback" not in done.stderr
