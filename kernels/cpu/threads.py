"""A few threads that help the caller.

Numba's own layers do not fit a library: its workqueue aborts when two Python threads call at once, and its OpenMP layer
dies in a forked child.

Work is handed out in numbered shares. The caller takes shares like everyone else, so that a call that finds all helpers
busy does everything itself. A forked child starts with no helpers.

A woken helper is often put on the very processor that its caller keeps busy, and waits there while another idles, for
longer than most calls last. On machines of few processors the caller therefore takes its own one out of the helpers'
affinity masks (csrc/threadpool.c does the same); within what the caller may use, nothing else is pinned.

To wake a helper and to be woken by it costs sixty microseconds. Both therefore look for each other a while before they
sleep, for as long as the workers of csrc/threadpool.c do: a call in a row of calls is joined within five microseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import NamedTuple

from .waiting import changed

__all__ = ["Phase", "run_shares"]

#: Looks before sleep, some 20 us; and some 200 us of a helper that was woken soon after it fell asleep: it is in the
#: middle of a row of calls.
_LOOKS, _MOST_LOOKS = 1500, 15000
_SOON_NS = 400_000
#: Among more processors than this the system finds an idle one by itself.
_FEW_PROCESSORS = 16


def _no_cpu() -> int:
    return -1


#: The processor that the caller is on; -1 where the system does not say.
_this_cpu: Callable[[], int] = _no_cpu
if hasattr(os, "sched_setaffinity"):
    _this_cpu = getattr(ctypes.CDLL(None), "sched_getcpu", _no_cpu)


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
        self.unfinished = ctypes.c_int64(n)
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
                    self.unfinished.value -= 1
                    if not self.unfinished.value:
                        self.all_done.release()

    def wait(self) -> None:
        """Wait until all shares are done."""
        at = ctypes.addressof(self.unfinished)
        while (left := self.unfinished.value) and changed(at, left, _LOOKS):
            pass
        self.all_done.acquire()


class _Pool:
    """Helper threads, started as they are asked for."""

    def __init__(self) -> None:
        self.jobs: SimpleQueue[_Job] = SimpleQueue()
        #: what idle helpers look at: another number after each job
        self.ticket = ctypes.c_int64(0)
        self.tickets = itertools.count(1)
        self.lock = threading.Lock()
        self.helpers: list[threading.Thread] = []
        #: the processors that helpers may use, and how many helpers know
        self.placed: tuple[set[int], int] = set(), 0

    def ask(self, job: _Job, n: int) -> None:
        """Have up to n helpers join the job."""
        if len(self.helpers) < n:
            with self.lock:
                while len(self.helpers) < n:
                    helper = threading.Thread(target=self._serve, name="pyconv", daemon=True)
                    try:
                        helper.start()
                    except RuntimeError:  # the process may have no more threads: those there are must do
                        break
                    self.helpers.append(helper)
        self._leave_caller_alone(n)
        for _ in range(min(n, len(self.helpers))):
            self.jobs.put(job)
        self.ticket.value = next(self.tickets)

    def _leave_caller_alone(self, n: int) -> None:
        """Keep the helpers off the processor that the caller is on, where n of them and it have one each."""
        cpu = _this_cpu()
        if cpu < 0:
            return
        with contextlib.suppress(OSError):
            allowed, helpers = os.sched_getaffinity(0), self.helpers[:]
            if n < len(allowed) <= _FEW_PROCESSORS:
                allowed.discard(cpu)
            if (allowed, len(helpers)) != self.placed:
                self.placed = allowed, len(helpers)
                for helper in helpers:
                    os.sched_setaffinity(helper.native_id or 0, allowed)

    def _serve(self) -> None:
        at, looks = ctypes.addressof(self.ticket), _LOOKS
        while True:
            # before the queue is looked into: what comes into it later changes the ticket
            seen = self.ticket.value
            try:
                self.jobs.get_nowait().help()
            except Empty:
                if not changed(at, seen, looks):
                    asleep = time.monotonic_ns()
                    job = self.jobs.get()
                    looks = _MOST_LOOKS if time.monotonic_ns() - asleep < _SOON_NS else _LOOKS
                    job.help()
                    del job  # an idle helper keeps no arrays


_pool = _Pool()


def _forget_helpers() -> None:
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_helpers)


def run_tasks(name: str, n_tasks: int, n: int, work: Callable[[int, int, int], int]) -> None:
    """Share tasks out to up to n threads: work(share, first, last) does tasks first .. last and counts what it did.

    A count that is not n_tasks in all is an error of the kernel called ``name``.
    """
    done = [0] * n

    def share(number: int) -> None:
        done[number] = int(work(number, n_tasks * number // n, n_tasks * (number + 1) // n))

    if n:
        run_shares(share, n)
    if sum(done) != n_tasks:
        raise RuntimeError(f"{name} did {sum(done)} of {n_tasks} tasks")


def run_shares(work: Callable[[int], None], n: int) -> None:
    """Call work(0) ... work(n - 1), on up to n threads; the first exception is raised when all have ended."""
    if n == 1:
        work(0)
        return
    job = _Job(work, n)
    try:
        _pool.ask(job, n - 1)
        job.help()
        job.wait()
    except BaseException:  # an interrupt: the caller's arrays must not go before the helpers are done with them
        job.help()
        while job.unfinished.value:
            time.sleep(1e-3)
        raise
    if job.error is not None:
        raise job.error
