"""What is shipped: the wheel, the source distribution, the build without a compiler, and the C sources' warnings."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

#: What compilers are asked to look for; only the project's own sources have to be without.
WARNINGS = ("-Wall", "-Wextra", "-Wshadow")
SOURCES = ("csrc", "kernels", "pyconv", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def checkout(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of the sources, without what earlier builds left in them."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = root / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "_ffi.c"))
        else:
            shutil.copy(source, copy / name)
    return copy


def build(checkout: Path, target: Path, *what: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYCONV_")}
    for leftover in (*checkout.glob("build"), *checkout.glob("*.egg-info")):
        shutil.rmtree(leftover)
    for leftover in (*checkout.rglob("*.so"), *checkout.rglob("_ffi.c")):
        leftover.unlink()
    return subprocess.run(
        [sys.executable, "-m", "build", *what, "--no-isolation", "--outdir", str(target), str(checkout)],
        env={**clean, **environment}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip


def run_installed(wheel: Path, target: Path, script: str) -> str:
    """Install a wheel away from everything and run a script with it, outside the checkout."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYCONV_")}
    environment["PYTHONPATH"] = str(target)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=target, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SCRIPT = """
import numpy as np, pyconv
x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
w = np.ones((3, 2, 3, 3), np.float32)
assert pyconv.conv2d(x, w).tolist() == pyconv.conv2d(x, w, algorithm="reference").tolist()
print(pyconv.__file__)
print(pyconv.info().backends["c"])
print(pyconv.explain(pyconv.conv2d, x, w).algorithm)
"""


def test_the_distributions(checkout: Path, tmp_path: Path) -> None:
    """The source distribution, and the wheel that is built from it alone; in one test, for a build takes long."""
    done = build(checkout, tmp_path / "dist", PYCONV_REQUIRE_C="1", PYCONV_CFLAGS=" ".join(WARNINGS))
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert re.findall(r"^csrc/.*warning: .*", said, re.MULTILINE) == []
    (archive,) = (tmp_path / "dist").glob("*.tar.gz")
    the_source_distribution_is_complete(archive, checkout)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    the_wheel_is_small_and_for_every_python(wheel)
    where, c, algorithm = run_installed(wheel, tmp_path / "site", SCRIPT).splitlines()
    assert where.startswith(str(tmp_path))
    assert c == "yes"
    assert "@c-" in algorithm


def the_wheel_is_small_and_for_every_python(wheel: Path) -> None:
    assert "-cp311-abi3-linux_" in wheel.name
    # every family of kernels for three instruction sets and three types of arrays
    assert wheel.stat().st_size < 4_500_000
    names = zipfile.ZipFile(wheel).namelist()
    assert "pyconv/_ffi.abi3.so" in names
    assert "pyconv/py.typed" in names
    assert "pyconv/kernels/cpu/__init__.py" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pyconv", "pyconv_kernels"}


def the_source_distribution_is_complete(archive: Path, checkout: Path) -> None:
    with tarfile.open(archive) as contents:
        names = {name.split("/", 1)[1] for name in contents.getnames() if "/" in name}
    wanted = {
        str(path.relative_to(checkout))
        for folder in ("csrc", "kernels", "pyconv")
        for path in (checkout / folder).rglob("*")
        if path.suffix in {".c", ".h", ".py", ".pyi", ".typed"} and path.name != "_ffi.c"
    }
    assert wanted - names == set()
    assert [name for name in names if name.endswith((".so", ".o", ".pyc"))] == []


def test_without_a_compiler(checkout: Path, tmp_path: Path) -> None:
    """Hazard 62: it installs, it says so, and it computes."""
    done = build(checkout, tmp_path / "dist", "--wheel", CC="/bin/false")
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").iterdir()
    _, c, algorithm = run_installed(wheel, tmp_path / "site", SCRIPT).splitlines()
    assert "_ffi" in c
    assert "@numba" in algorithm or "@numpy" in algorithm


def test_c_can_be_required(checkout: Path, tmp_path: Path) -> None:
    done = build(checkout, tmp_path, "--wheel", CC="/bin/false", PYCONV_REQUIRE_C="1")
    assert done.returncode != 0
    assert not list(tmp_path.iterdir())


def test_every_c_file_is_built(root: Path) -> None:
    named = re.findall(r'"(\w+\.c)"', (root / "csrc" / "ffi_build.py").read_text())
    assert sorted(named) == sorted(path.name for path in (root / "csrc").glob("*.c") if not path.match("*.inc.c"))


def compile_all(root: Path, compiler: str, tmp_path: Path, *flags: str) -> None:
    def compile_one(source: Path) -> subprocess.CompletedProcess[str]:
        command = [compiler, "-std=gnu11", *WARNINGS, "-Werror", "-ffp-contract=fast"]
        command += ["-fno-math-errno", *flags, "-c", str(source), "-o", str(tmp_path / f"{source.stem}.o")]
        return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)

    sources = sorted(path for path in (root / "csrc").glob("*.c") if not path.match("*.inc.c"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(compile_one, sources):
            assert done.returncode == 0, done.stderr[:3000]


def test_clang_compiles_it_too(root: Path, tmp_path: Path) -> None:
    compiler = next((name for name in ("clang-18", "clang-17", "clang-16", "clang") if shutil.which(name)), None)
    if compiler is None:
        pytest.skip("clang is not installed")
    compile_all(root, compiler, tmp_path, "-O1")


def test_the_same_source_compiles_for_neon(root: Path, tmp_path: Path) -> None:
    if shutil.which("aarch64-linux-gnu-gcc") is None:
        pytest.skip("aarch64-linux-gnu-gcc is not installed (Debian: gcc-aarch64-linux-gnu)")
    compile_all(root, "aarch64-linux-gnu-gcc", tmp_path, "-O2")
