"""Another library's names, for a while ours: what the drop-ins' ``patch()`` have in common."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

__all__ = ["Patch"]

#: An object that has names, one of them, and what it is to stand for.
Place = tuple[Any, str, Any]


class Patch:
    """Names that stand for something else while any thread is in a block of :meth:`block`.

    Parameters
    ----------
    places : callable
        Returns the places; called when the first block is entered.
    """

    def __init__(self, places: Callable[[], Iterable[Place]]) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._depth = 0
        self._before: list[Place] = []

    def _restore(self) -> None:
        for holder, name, value in self._before:
            setattr(holder, name, value)
        self._before.clear()

    @contextlib.contextmanager
    def block(self) -> Iterator[None]:
        """Replace the names for a block; the last block that ends, in whichever thread, puts them back."""
        with self._lock:
            if self._depth == 0:
                places = list(self._places())
                self._before = [(holder, name, getattr(holder, name)) for holder, name, _ in places]
                try:
                    for holder, name, ours in places:
                        setattr(holder, name, ours)
                except BaseException:
                    self._restore()
                    raise
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._restore()
