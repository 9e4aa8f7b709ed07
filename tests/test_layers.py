"""The house rules that a program can check: who imports whom, names, docstrings, examples."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pyconv

#: Modules of pyconv that each module may import (docs/architecture.md), or all of a package that is a name here;
#: anything else of pyconv is a breach.
MAY_IMPORT = {
    "errors": set(),
    "options": set(),
    "problem": {"errors"},
    "cost": {"machine", "problem"},
    "calibrate": {"machine", "ops", "options", "registry"},
    "algorithm": {"cost", "problem"},
    "registry": {"algorithm", "backends"},
    "reference": {"algorithm", "problem"},
    "machine": set(),
    "wisdom": {"__init__", "machine", "problem"},
    "measure": {"algorithm", "problem"},
    "curves": {"problem"},
    "plan": {
        "algorithm",
        "backends",
        "cost",
        "curves",
        "errors",
        "measure",
        "options",
        "problem",
        "registry",
        "wisdom",
    },
    "prepare": {"algorithm", "ops", "options", "plan", "problem"},
    "tune": {"algorithm", "errors", "ops", "options", "plan", "prepare", "problem", "wisdom"},
    "grad": {"algorithm", "ops"},
    "info": {"__init__", "backends", "machine", "options", "registry"},
    "ops.arguments": {"algorithm", "errors", "ops", "problem"},
    "ops.device": {"problem"},
    "ops.host": {"algorithm"},
    "ops.call": {"algorithm", "errors", "options", "ops", "plan", "problem"},
    "ops.pool": {"algorithm", "errors", "ops", "problem"},
    "ops.activation": {"algorithm", "errors", "ops", "problem"},
    "ops.interpolate": {"algorithm", "errors", "ops", "problem"},
    "ops.lowering": {"algorithm", "errors", "ops", "problem"},
    "ops.linear": {"algorithm", "errors", "ops", "problem"},
    "ops.norm": {"algorithm", "errors", "ops", "problem"},
    "ops.sample": {"algorithm", "errors", "ops", "problem"},
    "ops.roi": {"algorithm", "errors", "ops", "problem", "reference"},
    "ops.deform": {"algorithm", "errors", "ops", "problem"},
    "ops.shuffle": {"algorithm", "errors", "ops", "problem"},
    "ops.conv": {"algorithm", "errors", "options", "ops", "problem"},
    "ops.conv_transpose": {"algorithm", "errors", "ops", "problem"},
    "ops.prepared": {"algorithm", "errors", "options", "ops"},
    "ops.conv_grad": {"algorithm", "errors", "ops", "problem"},
    "backends.c": {"_ffi", "algorithm", "cost", "errors", "kernels", "options", "problem"},
    "backends.c_pool": {"_ffi", "algorithm", "backends", "cost", "errors", "problem"},
    "backends.c_grad": {"_ffi", "algorithm", "backends", "cost", "kernels", "problem"},
    "backends.borrowed": set(),
    "backends.plain": {"algorithm"},
    "backends.gradients": {"algorithm", "cost", "kernels", "problem"},
    "backends.numba_grad": {"algorithm", "backends", "cost", "kernels", "problem"},
    "backends.transposed": {"algorithm", "backends", "cost", "problem", "reference"},
    "backends.c_layers": {"_ffi", "algorithm", "backends", "problem"},
    "backends.c_lowering": {"_ffi", "algorithm", "backends", "problem"},
    "backends.lowering": {"algorithm", "backends", "cost", "problem"},
    "backends.numba_lowering": {"algorithm", "backends", "kernels", "problem"},
    "backends.layers": {"algorithm", "cost", "problem", "reference"},
    "backends.linear": {"algorithm", "backends", "cost", "problem"},
    "backends.numba_layers": {"algorithm", "backends", "kernels", "problem"},
    "backends.sampling": {"algorithm", "backends", "problem", "reference"},
    "backends.c_sample": {"_ffi", "algorithm", "backends", "cost", "problem"},
    "backends.c_roi": {"_ffi", "algorithm", "backends", "cost", "problem"},
    "backends.c_deform": {"_ffi", "algorithm", "backends", "cost", "problem"},
    "backends.numba_pool": {"algorithm", "backends", "cost", "errors", "kernels", "problem"},
    "backends.pooling": {"algorithm", "problem"},
    "backends.summation": {"algorithm", "problem"},
    "backends.winograd": {"algorithm", "kernels", "problem"},
    "backends.fft": {"algorithm", "problem"},
    "backends.fft_grad": {"algorithm", "cost", "errors", "problem"},
    "backends.memory": {"algorithm", "options"},
    "backends.numpy": {"algorithm", "backends", "cost", "errors", "problem", "reference"},
    "backends.numba_cpu": {"algorithm", "backends", "cost", "errors", "kernels", "problem"},
    "backends.gpu": {"algorithm", "backends", "errors", "kernels", "problem"},
    "backends.numba_cuda": {"algorithm", "backends", "cost", "errors", "kernels", "problem"},
    "backends.cuda_fft": {"algorithm", "backends", "kernels", "problem"},
    "backends.cufft": {"backends"},
    "backends.cuda_grad": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_linear": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_roi": {"algorithm", "backends", "errors", "kernels", "problem"},
    "backends.cuda_sample": {"algorithm", "backends", "kernels", "problem", "reference"},
    "backends.cuda_norm": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_product": {"kernels"},
    "backends.cuda_border": {"algorithm", "backends", "problem"},
    "backends.cuda_winograd": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_pool": {"algorithm", "backends", "errors", "problem"},
    "backends.cuda_pool_norm": {"algorithm", "backends", "problem"},
    "backends.cuda_affine": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_deform": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_lowering": {"algorithm", "backends", "kernels", "problem"},
    "backends.cuda_response": {"algorithm", "backends", "problem"},
    "backends.numba_sample": {"algorithm", "backends", "cost", "kernels", "problem", "reference"},
    "backends.numba_deform": {"algorithm", "backends", "cost", "kernels", "problem"},
    "backends.numba_roi": {"algorithm", "cost", "kernels", "problem"},
    "__main__": {"cli"},
    # the command line stands outside: the public names, and for the demo the definition to check against
    "cli": {"calibrate", "demo", "interop", "wisdom"},
    "interop": {"algorithm", "errors", "options", "prepare", "problem"},
    # asks the C kernels to run on torch's threads
    "interop.torch.tensors": {"algorithm", "backends", "errors", "options"},
    "demo": {"reference"},
}
#: These only name what is public.
FREE = {"__init__", "ops", "backends"}
#: Of pyconv, though not in its folder: they come with the installation.
FOREIGN = {"_ffi", "kernels"}
#: Third-party packages that `import pyconv` may load, and that kernels may use.
CORE_PACKAGES = {"numpy", "cffi", "_cffi_backend"}


def rule_of(module: str) -> str | None:
    return next((name for name in (module, module.partition(".")[0]) if name in MAY_IMPORT), None)


def modules_of(root: Path) -> list[str]:
    paths = sorted((root / "pyconv").rglob("*.py"))
    return [
        ".".join(path.relative_to(root / "pyconv").with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]


def imports_of(path: Path, package: str) -> set[str]:
    """Absolute names of everything that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {name, *(f"{name}.{alias.name}" for alias in node.names)}
    return found


def test_modules_import_downwards_only(root: Path) -> None:
    for name in modules_of(root):
        rule = rule_of(name)
        if name in FREE or name.startswith("kernels"):
            continue
        assert rule, f"pyconv.{name} has no rule"
        path = root / "pyconv" / name.replace(".", "/")
        inside = path.is_dir()
        package = ".".join(["pyconv", *(name if inside else name.rpartition(".")[0]).split(".")]).rstrip(".")
        for imported in imports_of(path / "__init__.py" if inside else path.with_suffix(".py"), package):
            if not imported.startswith("pyconv."):
                continue
            first = imported.split(".")[1]
            if (root / "pyconv" / f"{first}.py").exists() or (root / "pyconv" / first).is_dir() or first in FOREIGN:
                allowed = MAY_IMPORT[rule] | {name.split(".")[0]} if inside or "." in name else MAY_IMPORT[rule]
                assert first in allowed, f"pyconv.{name} imports {imported}"


def test_every_rule_has_a_module(root: Path) -> None:
    assert set(MAY_IMPORT) <= set(modules_of(root)) | {"__main__"}


def test_numba_kernels_know_nothing_of_pyconv(root: Path) -> None:
    standard = set(sys.stdlib_module_names)
    for path in (root / "kernels").rglob("*.py"):
        package = ".".join(["kernels", *path.relative_to(root / "kernels").parts[:-1]])
        for imported in imports_of(path, package):
            assert imported.split(".")[0] in standard | {"numpy", "numba", "llvmlite", "kernels"}, (
                f"{path.name}: {imported}"
            )


def test_import_is_light(subprocess_environment: dict[str, str]) -> None:
    script = "import sys; before = set(sys.modules); import pyconv; print(*(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=subprocess_environment, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded - set(sys.stdlib_module_names) <= CORE_PACKAGES | {"pyconv"}
    assert not loaded & {"logging", "asyncio", "multiprocessing"}, "import pyconv stays instant"


def test_kernels_are_called_by_the_formula(root: Path) -> None:
    """op_algo_dtype__isa, and the algorithm's id says the same."""
    for id in pyconv.algorithms():
        algorithm = importlib.import_module("pyconv.registry").find(id)
        where = r"(c-[a-z0-9]+|numba|numpy|cuda)"
        assert re.fullmatch(rf"[a-z0-9_]+(-grad-[a-z]+)?\.[a-z0-9-]+\.[fiu](8|16|32|64)@{where}", id)
        if algorithm.backend == "cuda":
            what = algorithm.kernel_name.partition("_")[0]
            file = "pool" if what == "pool" else algorithm.family.replace("-", "_")
            assert (root / "kernels" / "cuda" / f"{file}.py").exists()
            assert algorithm.kernel_name == f"{what}_{algorithm.family.replace('-', '_')}_{algorithm.dtype}__cuda"
        if algorithm.backend == "c":
            family = algorithm.family.replace("-", "_")
            what = algorithm.kernel_name.partition("_")[0]
            assert what in ("conv", "deform", "grad", "layers", "lowering", "nms", "pool", "roi", "sample")
            assert algorithm.kernel_name == f"{what}_{family}_{algorithm.dtype}__{algorithm.isa}"
            file = what if what in ("deform", "lowering", "nms", "pool", "roi") else family.partition("_f")[0]
            file = f"{what}_{file}" if what in ("grad", "sample") else file
            assert (root / "csrc" / f"{file}.inc.c").exists(), "the algorithm's name is its file's, or its family's"
            unit = {"nms": "roi", "lowering": "layers"}.get(what, what)
            assert f"{what}_{family}" in (root / "csrc" / f"{unit}_unit.inc.h").read_text()


def test_c_sources_are_portable(root: Path) -> None:
    for path in (root / "csrc").iterdir():
        if path.suffix not in {".c", ".h", ".py"}:
            continue
        code = re.sub(
            r"/\*.*?\*/|#.*?$" if path.suffix == ".py" else r"/\*.*?\*/",
            "",
            path.read_text(),
            flags=re.DOTALL | re.MULTILINE,
        )
        # float16's conversions have no vector extension that gcc 12 makes one instruction of
        code = re.sub(r"\b_mm\d+_cvt(ph_ps|ps_ph)\b|#if PC_F16C\n#include <immintrin.h>\n", "", code)
        assert not re.search(r"\b_mm\d*_|immintrin|-ffast-math|-march=native", code), path.name
        assert not re.search(r"#if 0|\bTODO\b|\bFIXME\b", path.read_text()), path.name


def modules() -> list[str]:
    found = [name for _, name, _ in pkgutil.walk_packages(pyconv.__path__, "pyconv.")]
    return ["pyconv", *(name for name in found if ".kernels" not in name and not name.endswith(("_ffi", "__main__")))]


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(str(error))
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_examples_exist() -> None:
    """Every public function shows at least one call with its result."""
    for name in pyconv.__all__:
        documented = getattr(pyconv, name)
        assert inspect.getdoc(documented), f"pyconv.{name} has no docstring"
        if inspect.isfunction(documented):
            assert ">>>" in (inspect.getdoc(documented) or ""), f"pyconv.{name} shows no example"


def test_every_parameter_is_documented() -> None:
    """Numpydoc, one entry a parameter; a docstring may leave them to a function that it names."""
    for name in pyconv.__all__:
        documented = getattr(pyconv, name)
        if not inspect.isfunction(documented) or not inspect.signature(documented).parameters:
            continue
        # what *arguments and **keywords of any name take is listed by those names
        parameters = set(inspect.signature(documented).parameters) - {"arguments", "changes", "settings"}
        text = inspect.getdoc(documented) or ""
        deferred = "are those of :func:`" in text
        assert deferred or "\nParameters\n----------\n" in text, name
        listed = {
            word for line in re.findall(r"^([*\w]+(?:, \w+)*) :", text, re.MULTILINE) for word in line.split(", ")
        }
        rest = parameters - listed
        assert deferred or not rest, f"pyconv.{name}: {rest}"


def test_errors_are_documented() -> None:
    for error in ("InvalidProblem", "TypeError", "Unsupported", "MemoryError"):
        assert f"\n{error}\n" in (inspect.getdoc(pyconv.conv2d) or "").split("Raises\n------")[1]


def test_public_names_are_all_there_is() -> None:
    assert sorted(pyconv.__all__) == pyconv.__all__ or set(pyconv.__all__) == set(dict.fromkeys(pyconv.__all__))
    for name in pyconv.__all__:
        assert hasattr(pyconv, name)
