"""The benchmark for machines with a GPU: its check on the emulator, and what it says where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_device import OnGpu, gpu

import pyconv
from benchmarks.gpu import CASES, Case, check

__all__ = ["gpu"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_kernels_pass_their_check(case: Case) -> None:
    found = check(case, OnGpu, lambda a: a.array)
    assert found, "no kernel takes the problem"
    assert not any(found.values()), found


def test_the_check_sees_what_is_wrong() -> None:
    case = next(case for case in CASES if case.name == "conv2d 1x1")
    found = check(case, OnGpu, lambda a: a.array * np.float32(1 + 1e-4))
    assert all("times what is allowed" in difference for difference in found.values())
    assert "shape" in next(iter(check(case, OnGpu, lambda a: a.array[:1]).values()))


def test_large_problems_are_supported() -> None:
    """Planned, not run: arrays of no elements of their own."""
    for case in CASES:
        small, case = case.arrays(case.small), case.for_large
        arrays = [OnGpu(np.broadcast_to(a.dtype.type(1), shape)) for a, shape in zip(small, case.large, strict=True)]
        words = dict(case.words)
        if "groups" in words:
            assert case.large[0][1] % words["groups"] == 0
        assert pyconv.explain(case.function, *arrays, **words).algorithm.endswith("@cuda"), case.name


def test_without_a_gpu_it_says_so(root: Path, subprocess_environment: dict[str, str]) -> None:
    command = [sys.executable, "-P", "-m", "benchmarks.gpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=subprocess_environment)
    if done.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "benchmarks.gpu needs an NVIDIA GPU: " in done.stderr
