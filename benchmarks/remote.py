"""The runner's side of a worker process: start it, ask it, notice when it is gone."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["Lost", "Remote"]

ROOT = Path(__file__).resolve().parent.parent
#: These make OpenBLAS take another processor's kernels, or other block sizes, than it would choose.
FOREIGN_TUNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "PYCONV_NUM_THREADS",
)


class Lost(RuntimeError):
    """The worker crashed or did not answer in time; the message says which, with its last words."""


class Remote:
    """One worker process.

    Parameters
    ----------
    peer : str
        Whose worker.
    threads : int
        Threads of its libraries, given through the environment.
    module : str
        What the process runs.
    """

    def __init__(self, peer: str, threads: int, module: str = "benchmarks.worker") -> None:
        environment = {name: value for name, value in os.environ.items() if name not in FOREIGN_TUNING}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
        self.peer = peer
        # Closed by close(), like the pipes.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, peer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            cwd=ROOT,
            env=environment,
            bufsize=0,
        )
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._unread = b""

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """Send a request and return the answer.

        Raises
        ------
        Lost
            If the worker ends, or says nothing for ``limit_s`` seconds; it is dead afterwards.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            line = self._read_line(time.monotonic() + limit_s)
        except BrokenPipeError:
            line = b""
        if line is None:
            self.close()
            raise Lost(f"no answer in {limit_s:.0f} s")
        if not line:
            code = self._process.wait()
            words = self._last_words()
            self.close()
            raise Lost(f"ended with {f'signal {-code}' if code < 0 else f'status {code}'}{words}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read_line(self, until: float) -> bytes | None:
        """Return a line, nothing at the end of the pipe, or None when the time is up."""
        assert self._process.stdout is not None
        while b"\n" not in self._unread:
            if not self._selector.select(max(0.0, until - time.monotonic())):
                return None
            some = self._process.stdout.read(1 << 16)
            if not some:
                return b""
            self._unread += some
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _last_words(self) -> str:
        """Return the last line that the process wrote to standard error."""
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1]}" if lines else ""

    def close(self) -> None:
        """End the process; harmless when it has ended."""
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            assert pipe is not None
            pipe.close()
