"""SciPy's convolutions, with SciPy's signatures and results: ``signal`` and ``ndimage``.

>>> import numpy as np
>>> from pyconv.interop.scipy import ndimage, signal
>>> signal.convolve(np.array([1.0, 2.0, 3.0]), np.array([0.0, 1.0, 0.5]))
array([0. , 1. , 2.5, 4. , 1.5])
>>> ndimage.correlate(np.eye(3), np.ones((3, 3)), mode="constant")
array([[2., 2., 1.],
       [2., 3., 2.],
       [1., 2., 2.]])

Call them by name, or let a program that was written for SciPy find them: ``with patch(): ...``, or
``python -m pyconv.interop.scipy program.py``. What pyconv does not do (objects, more than three axes, ...) SciPy does.

Where the results are meant to differ
-------------------------------------
* Integers are summed without overflow and returned as int64, as SciPy returns them for int64 input. SciPy's own answer
  for uint8 wraps around: nine values of 200 make 8.
* NaN and infinities change their own windows only; SciPy's FFTs spread them over the whole result.
* ``method="fft"`` and ``"auto"`` are the same: pyconv chooses. ``"direct"`` sums products directly.
* ndimage sums float32 in float32, SciPy in float64: the results differ by the error bound of pyconv's algorithm
  (``pyconv.explain`` prints it), some 1e-7 times the sum of the magnitudes for small kernels.
"""

from . import ndimage, signal
from .patching import patch

__all__ = ["ndimage", "patch", "signal"]
