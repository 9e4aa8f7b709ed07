"""Run a program with SciPy's convolutions replaced: ``python -m pyconv.interop.scipy program.py [argument ...]``."""

import runpy
import sys

from .patching import patch

if len(sys.argv) < 2:
    print("usage: python -m pyconv.interop.scipy program.py [argument ...]", file=sys.stderr)
    sys.exit(2)
del sys.argv[0]
with patch():
    runpy.run_path(sys.argv[0], run_name="__main__")
