"""The checker and the guards themselves: they have to catch what they are there for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from checker import compare, make_data, tolerance
from guards import forget_last_kernel, guarded_scratch, last_kernel

from pyconv import ConvProblem, reference, registry
from pyconv.algorithm import Algorithm


@pytest.fixture
def right() -> np.ndarray:
    return np.arange(24, dtype=np.float32).reshape(2, 3, 4) + 1


def broken(right: np.ndarray, where: tuple[int, ...], value: float) -> np.ndarray:
    copy = right.copy()
    copy[where] = value
    return copy


def test_equal_arrays_pass(right: np.ndarray) -> None:
    compare(right, right.astype(np.float64), 0.0, np.dtype(np.float32))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ((1, 2, 3), 24.001, "1 of 24 outputs are wrong; worst at \\(1, 2, 3\\)"),
        ((0, 0, 0), np.nan, "NaN in the wrong places"),  # also an output that was never written over its poison
        ((0, 1, 0), np.inf, "\\+Inf in the wrong places"),
        ((0, 1, 0), -np.inf, "-Inf in the wrong places"),
        ((0, 0, 0), 0.0, "1 of 24"),
    ],
)
def test_one_wrong_element_is_caught(right: np.ndarray, where: tuple[int, ...], value: float, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        compare(broken(right, where, value), right.astype(np.float64), 1e-6, np.dtype(np.float32))


def test_a_missing_nan_is_caught(right: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="NaN"):
        compare(right, broken(right.astype(np.float64), (0, 0, 1), np.nan), 1e9, np.dtype(np.float32))


def test_wrong_shape_order_and_type_are_caught(right: np.ndarray) -> None:
    expected = right.astype(np.float64)
    with pytest.raises(AssertionError, match="shape"):
        compare(right.transpose(1, 0, 2), expected, 1e9, np.dtype(np.float32))
    with pytest.raises(AssertionError, match="outputs are wrong"):
        compare(np.ascontiguousarray(right[:, ::-1]), expected, 0.5, np.dtype(np.float32))
    with pytest.raises(AssertionError, match="dtype"):
        compare(expected, expected, 0.0, np.dtype(np.float32))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_the_bound_is_tight_enough_to_notice(dtype: str) -> None:
    """Twice the permitted error is caught at the output where it is put."""
    problem = ConvProblem.parse(f"n1c8h6w6-o4k3s1p1-{dtype}-bias")
    data = make_data(problem, integers=False)
    expected = reference.conv(problem, data.x, data.w, data.bias)
    registry.algorithms()
    (algorithm,) = registry.candidates("conv2d", dtype, ("numpy",))
    allowed = tolerance(problem, data, algorithm, expected)
    result = expected.astype(data.x.dtype)
    compare(result, expected, allowed, data.x.dtype)
    result[0, 2, 3, 3] += data.x.dtype.type(2.5 * allowed[0, 2, 3, 3] + 2 * np.spacing(result[0, 2, 3, 3]))
    with pytest.raises(AssertionError, match=r"worst at \(0, 2, 3, 3\)"):
        compare(result, expected, allowed, data.x.dtype)


def write_to_scratch(algorithm: Algorithm, where: int) -> None:
    """What a kernel with a bug would do: ask for 100 bytes, write byte ``where``."""
    if algorithm.backend == "c":
        from pyconv.backends import c

        memory = c.ffi.cast("unsigned char *", c.scratch(100))
        assert [memory[0], memory[99]] == [0xA5, 0xA5]
        memory[where] = 0
    else:
        from pyconv.backends import numba_cpu

        array = numba_cpu._local.scratch(100)
        assert array.tolist() == [0xA5] * 100
        array.base[array.ctypes.data - array.base.ctypes.data + where] = 0


@pytest.mark.parametrize(("where", "message"), [(-1, "before its scratch"), (100, "behind its scratch of 100 bytes")])
@pytest.mark.parametrize("backend", ["c", "numba"])
def test_a_write_outside_scratch_is_caught(backend: str, where: int, message: str) -> None:
    if registry.why_missing(backend):
        pytest.skip(f"{backend}: {registry.why_missing(backend)}")
    algorithm = next(a for a in map(registry.find, registry.algorithms()) if a.backend == backend)
    with pytest.raises(AssertionError, match=message), guarded_scratch(algorithm, fill=0xA5):
        write_to_scratch(algorithm, where)
    with guarded_scratch(algorithm, fill=0xA5):
        write_to_scratch(algorithm, 99)


def test_guard_pages_are_unreadable() -> None:
    """One element past either end ends the process; both are tried in a child."""
    for at_end, past in ((True, "4 * 5"), (False, "-1")):
        script = (
            "import ctypes, numpy as np; from guards import copy_between_guards as guarded\n"
            f"a = guarded(np.ones(5, np.float32), {at_end}); ctypes.string_at(a.ctypes.data, 20); print('inside')\n"
            f"ctypes.string_at(a.ctypes.data + {past}, 1)"
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.stdout == "inside\n", done.stderr
        assert done.returncode == -signal.SIGSEGV


def test_an_earlier_kernels_name_is_not_taken_for_this_ones() -> None:
    for id in registry.algorithms("conv2d"):
        algorithm = registry.find(id)
        if algorithm.backend != "numpy":
            forget_last_kernel(algorithm)
            assert last_kernel(algorithm) != algorithm.kernel_name
