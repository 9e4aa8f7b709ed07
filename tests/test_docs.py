"""The documents: generated parts are fresh, links lead somewhere, examples run."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyconv
from pyconv.problem import FLOATS

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]


def test_the_table_of_algorithms_is_fresh(root: Path, subprocess_environment: dict[str, str]) -> None:
    pytest.importorskip("numba")
    done = subprocess.run(
        [sys.executable, "-P", str(root / "docs" / "make_tables.py"), "--check"],
        env=subprocess_environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_no_operation_is_without_kernels() -> None:
    """Each operation and gradient that the registry lists has kernels for GPUs, of every float type, and no "-"."""
    pytest.importorskip("numba")
    backends = importlib.import_module("pyconv.backends.numba_cuda")
    on_gpu = {(algorithm.op, algorithm.dtype) for algorithm in backends.every()}
    listed = (id.partition("@")[0].split(".") for id in pyconv.algorithms() if not id.endswith(("@cuda", "@numpy")))
    missing = {(op, dtype) for op, _, dtype in listed if dtype in FLOATS} - on_gpu
    assert not missing
    rows = (ROOT / "docs" / "coverage.md").read_text().partition("|---")[2].splitlines()[1:]
    holes = [row for row in rows if "-" in (cell.strip() for cell in row.split("|"))]
    assert not holes, "an operation without kernels"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text()):
        if not re.match(r"[a-z]+:|#", target):
            assert (document.parent / target.split("#")[0]).exists(), f"{document.name} links to {target}"


def test_the_readmes_example_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "conv2d n1c64h56w56-o128k3s1p1-f32" in capsys.readouterr().out
