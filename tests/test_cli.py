"""The command line, as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    ("arguments", "message"),
    [
        (("explain", "conv4d", "1x1", "1x1"), "conv4d"),
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


def test_without_typer(subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(subprocess_environment, "info", before=without("typer"))
    assert done.returncode == 2
    assert 'pip install "pyconv-kernels[cli]"' in done.stderr


def test_bench_needs_a_checkout(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    done = pyconv_command(subprocess_environment, "bench", cwd=tmp_path, before=without("benchmarks"))
    assert done.returncode == 2
    assert "checkout" in done.stdout
