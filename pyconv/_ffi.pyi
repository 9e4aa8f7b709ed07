"""The cffi extension built from csrc/pyconv.h; present only where a compiler was."""

from typing import Any

ffi: Any
lib: Any
