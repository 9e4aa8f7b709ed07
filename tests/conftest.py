"""Fixtures that every test module may use."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# seeded: a failure here is a failure everywhere
settings.register_profile("pyconv", derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("pyconv")

# what was measured on this machine before must not change what is tested
os.environ["PYCONV_CACHE_DIR"] = ""

ROOT = Path(__file__).resolve().parent.parent
# behind everything: the benchmarks are found here, and pyconv where it is installed
sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout: the sources that cannot be tested from an installed package."""
    return ROOT


@pytest.fixture(scope="session")
def subprocess_environment() -> dict[str, str]:
    """The environment of a fresh interpreter: this one's import path, none of this one's pyconv settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYCONV_")}
    environment["PYCONV_CACHE_DIR"] = ""
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    return environment
