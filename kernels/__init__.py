"""The Numba kernels; installed as ``pyconv.kernels``. They import numpy and numba, never pyconv."""

if __name__ != "pyconv.kernels":
    raise ImportError(
        f"this package is installed as pyconv.kernels, not imported as {__name__!r}; "
        "run `pip install -e .` in the checkout and import pyconv"
    )
