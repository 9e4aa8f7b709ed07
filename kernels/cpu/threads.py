"""A few threads that help the caller.

Numba's own layers do not fit a library: its workqueue aborts when two Python threads call at once, and its OpenMP layer
dies in a forked child.

Work is handed out in numbered shares. The caller takes shares like everyone else, so that a call that finds all helpers
busy does everything itself. A forked child starts with no helpers.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

__all__ = ["Phase", "run_shares"]


class Phase(NamedTuple):
    """Tasks that may run side by side; those of the next phase need all of them done."""

    #: what the kernel is told besides the numbers of the tasks
    words: tuple[int, ...]
    tasks: int
    shares: int


class _Job:
    """Shares of one call: which are left, how many are being worked on."""

    def __init__(self, work: Callable[[int], None], n: int) -> None:
        self.work = work
        self.left = deque(range(n))
        self.lock = threading.Lock()
        self.unfinished = n
        self.all_done = threading.Lock()  # held until then; an Event costs several times as much
        self.all_done.acquire()
        self.error: BaseException | None = None

    def help(self) -> None:
        """Work until no share is left."""
        while True:
            try:
                share = self.left.popleft()
            except IndexError:
                return
            try:
                self.work(share)
            except BaseException as error:
                self.error = error
            finally:
                with self.lock:
                    self.unfinished -= 1
                    if self.unfinished == 0:
                        self.all_done.release()


class _Pool:
    """Helper threads, started as they are asked for."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        self.lock = threading.Lock()
        self.helpers = 0

    def ask(self, job: _Job, n: int) -> None:
        """Have up to n helpers join the job."""
        if self.helpers < n:
            with self.lock:
                while self.helpers < n:
                    try:
                        threading.Thread(target=self._serve, args=(self.jobs,), name="pyconv", daemon=True).start()
                    except RuntimeError:  # the process may have no more threads: those there are must do
                        break
                    self.helpers += 1
        for _ in range(min(n, self.helpers)):
            self.jobs.put(job)

    @staticmethod
    def _serve(jobs: SimpleQueue[_Job]) -> None:
        while True:
            jobs.get().help()


_pool = _Pool()


def _forget_helpers() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def run_shares(work: Callable[[int], None], n: int) -> None:
    """Call work(0) ... work(n - 1), on up to n threads; the first exception is raised when all have ended."""
    if n == 1:
        work(0)
        return
    job = _Job(work, n)
    try:
        _pool.ask(job, n - 1)
        job.help()
        job.all_done.acquire()
    except BaseException:  # an interrupt: the caller's arrays must not go before the helpers are done with them
        job.help()
        while job.unfinished:
            time.sleep(1e-3)
        raise
    if job.error is not None:
        raise job.error
