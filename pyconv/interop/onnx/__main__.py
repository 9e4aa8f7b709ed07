"""``python -m pyconv.interop.onnx [PATTERN]``: the score in onnx's tests of backends."""

from __future__ import annotations

import sys

from .conformance import run_cases, table

if __name__ == "__main__":
    cases = run_cases(*sys.argv[1:2])
    print(table(cases))
    sys.exit(any(case.failure and not case.reason for case in cases))
