"""Builds the optional C extension; everything else is declared in pyproject.toml.

Without a compiler pyconv installs all the same and runs on Numba or NumPy (``pyconv.info()`` says so).
``PYCONV_REQUIRE_C=1`` makes a missing extension an error.
"""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext

REQUIRE_C = os.environ.get("PYCONV_REQUIRE_C", "0") not in {"", "0"}


class OptionalBuild(build_ext):
    """An extension that cannot be built is left out with a warning, unless it was asked for."""

    def run(self) -> None:
        """Build what can be built."""
        for extension in self.extensions:
            extension.optional = not REQUIRE_C
        super().run()

    def build_extensions(self) -> None:
        """Compile on all processors, and without the one flag that clang refuses where the compiler is clang."""
        compiler = getattr(self.compiler, "compiler_so", ["cc"])[0]
        try:
            version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
        except OSError:
            version = ""
        if "clang" in version:
            for extension in self.extensions:
                flags = extension.extra_compile_args
                extension.extra_compile_args = [f for f in flags if f != "-fno-tree-loop-distribute-patterns"]
        compile_one_by_one = self.compiler.compile

        def compile_side_by_side(sources: list[str], *args: Any, **kwargs: Any) -> list[str]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                objects = list(pool.map(lambda source: compile_one_by_one([source], *args, **kwargs), sources))
            return [name for names in objects for name in names]

        self.compiler.compile = compile_side_by_side
        super().build_extensions()


setup(
    cffi_modules=["csrc/ffi_build.py:ffi"],
    cmdclass={"build_ext": OptionalBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
