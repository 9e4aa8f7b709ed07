"""The thread pool: same bits whoever does the work, and manners towards the process around it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from cases import PROBLEMS
from checker import make_data
from test_conv import run, supporting

import pyconv
from pyconv import ConvProblem, registry
from pyconv.algorithm import Call
from pyconv.ops import call as call_module

#: Large enough to be cut into many tasks.
LARGE = [
    ConvProblem.parse(text)
    for text in (
        "n1c64h56w56-o64k3s1p1-f32-bias-relu",
        "n2c48h17w19-o50k3s1p1-f64",
        "n1c300h7w7-o256k3s1p1-f32",
        "n1c256h14w14-o200k1s1p0-f32",
        "n1c3h112w112-o64k7s2p3-f32",
        "n1c70h30w30-o70k3s1p1g70-f32",
        "n1c100h14w14-o100k7s1p3g100-f32",
        "n1c1h256w300-o1k21s1p10-f32-reflect",
        "n4c32h9w9-o48k5s2p2g4-f32",
        "n1c8w20000-o16k9s1p4-f32",
        "n1c8d9h20w20-o16k3s1p1-f32",
        "n2c64h28w28-o96k3s1p1-f32-channels_last-residual",
    )
]


@pytest.fixture
def threads_for_any_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every task may have a thread of its own, also where the work is too little for a second thread."""
    for backend, module in (("c", "c"), ("numba", "numba_cpu")):
        if registry.why_missing(backend) is None:
            monkeypatch.setattr(f"pyconv.backends.{module}._FLOPS_PER_THREAD", 1)
    call_module.plan_for.cache_clear()
    yield
    call_module.plan_for.cache_clear()


@pytest.mark.usefixtures("threads_for_any_work")
@pytest.mark.parametrize("problem", LARGE, ids=str)
def test_same_bits_for_any_number_of_threads(problem: ConvProblem) -> None:
    """Hazard 52, decision 9."""
    data = make_data(problem, integers=False)
    for algorithm in supporting(problem):
        if algorithm.backend == "numpy":
            continue
        results = []
        for threads in (1, 2, 3, 5, 8):
            with pyconv.options(threads=threads):
                results.append(run(problem, data, algorithm.id).tobytes())
        assert len(set(results)) == 1, algorithm.id


@pytest.mark.usefixtures("threads_for_any_work")
@pytest.mark.parametrize("text", PROBLEMS)
def test_same_bits_on_the_whole_table(text: str) -> None:
    problem = ConvProblem.parse(text)
    data = make_data(problem, integers=False)
    compiled = [a for a in supporting(problem) if a.backend != "numpy"]
    results: dict[str, set[bytes]] = {a.id: set() for a in compiled}
    for threads in (1, 2, 3, 5, 8):
        with pyconv.options(threads=threads):
            for algorithm in compiled:
                results[algorithm.id].add(run(problem, data, algorithm.id).tobytes())
    assert [id for id, bits in results.items() if len(bits) != 1] == []


def test_most_of_the_table_is_cut_into_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above needs problems that eight threads can share: these ask for more scratch, one part a thread."""
    if registry.why_missing("c"):
        pytest.skip(f"c: {registry.why_missing('c')}")
    monkeypatch.setattr("pyconv.backends.c._FLOPS_PER_THREAD", 1)
    shared = 0
    for problem in map(ConvProblem.parse, PROBLEMS):
        calls = [Call.typical(problem, threads, 64 << 20) for threads in (1, 8)]
        asked = [a for a in supporting(problem) if a.backend == "c"]
        shared += any(a.workspace(calls[1]) > a.workspace(calls[0]) for a in asked)
    assert shared > len(PROBLEMS) // 2


def test_runs_are_repeatable() -> None:
    problem = LARGE[0]
    data = make_data(problem, integers=False)
    assert len({run(problem, data, "auto").tobytes() for _ in range(20)}) == 1


def wait_for_child(pid: int, seconds: float = 60.0) -> int:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail("the child hangs")


FORK = """
import os, sys, threading, time
from collections.abc import Iterator

import numpy as np, pyconv
rng = np.random.default_rng(0)
x = rng.standard_normal((1, 64, 56, 56)).astype(np.float32)
w = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
pyconv.set_options(threads=3)
expected = pyconv.conv2d(x, w, padding=1)
stop = False
def compute():
    while not stop:
        assert np.array_equal(pyconv.conv2d(x, w, padding=1), expected)
def fork_once():
    pid = os.fork()
    if pid == 0:
        same = np.array_equal(pyconv.conv2d(x, w, padding=1), expected)
        os._exit(0 if same else 1)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    os.kill(pid, 9)
    return -1
{body}
"""


@pytest.mark.parametrize(
    "body",
    [
        "sys.exit(fork_once() != 0)",
        # from a thread, while others compute
        """
others = [threading.Thread(target=compute) for _ in range(2)]
for t in others: t.start()
states = []
forker = threading.Thread(target=lambda: states.extend(fork_once() for _ in range(5)))
forker.start(); forker.join()
stop = True
for t in others: t.join()
sys.exit(states != [0] * 5)
""",
    ],
    ids=["after use", "from a thread while others compute"],
)
def test_fork(body: str, subprocess_environment: dict[str, str]) -> None:
    """Hazards 48, 49: the child computes the same bits and ends; the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORK.replace("{body}", body)],
        env=subprocess_environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


RACE = """
import sys, threading
import numpy as np, pyconv
rng = np.random.default_rng(0)
x = rng.standard_normal((1, 32, 40, 40)).astype(np.float32)
w = rng.standard_normal((32, 32, 3, 3)).astype(np.float32)
pyconv.set_options(threads=2)
start = threading.Barrier(8)
results = [None] * 8
def call(i):
    start.wait()
    for _ in range(20):
        results[i] = pyconv.conv2d(x, w, padding=1).tobytes()
threads = [threading.Thread(target=call, args=(i,)) for i in range(8)]
for t in threads: t.start()
for t in threads: t.join()
sys.exit(len(set(results)) != 1)
"""


def test_first_use_from_many_threads_at_once(subprocess_environment: dict[str, str]) -> None:
    """Hazard 50."""
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", RACE], env=subprocess_environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr


def test_small_thread_stacks_suffice() -> None:
    """Hazard 62."""
    old = threading.stack_size(256 * 1024)
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for problem in LARGE:
                run(problem, make_data(problem, integers=True), "auto")
        except BaseException as error:
            failures.append(error)

    try:
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    finally:
        threading.stack_size(old)
    assert failures == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_honoured(subprocess_environment: dict[str, str]) -> None:
    """Hazard 51."""
    one = "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])"
    script = f"import os; {one}; import pyconv; print(pyconv.info().threads)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=subprocess_environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "1"


TEAM = """
import ctypes, os, sys, threading
import numpy as np, pyconv
from pyconv.backends import c
rng = np.random.default_rng(0)
x = rng.standard_normal((1, 64, 56, 56)).astype(np.float32)
w = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
pyconv.set_options(threads=1)
expected = pyconv.conv2d(x, w, padding=1)
gomp = ctypes.CDLL("libgomp.so.1")
address = lambda name: ctypes.cast(getattr(gomp, name), ctypes.c_void_p).value
def same(threads):
    with pyconv.options(threads=threads):
        return np.array_equal(pyconv.conv2d(x, w, padding=1), expected)
def join():
    c.join_team(address("GOMP_parallel"), address("omp_get_thread_num"))
gomp.omp_set_num_threads(3)
join()
{body}
"""


@pytest.mark.parametrize(
    "body",
    [
        # more threads than the team has, and fewer
        "assert all(map(same, (1, 2, 3, 5, 8))) and c.pool_workers() == 0",
        "c.join_team(0, 0)\nassert same(3) and c.pool_workers() == 2",
        # each thread has its own answer
        """
found = []
def call(joins):
    if joins:
        join()
    found.append(same(3))
for joins in (True, True, False):
    workers = c.pool_workers()
    thread = threading.Thread(target=call, args=(joins,))
    thread.start(); thread.join()
    assert c.pool_workers() - workers == (0 if joins else 2)
assert found == [True] * 3
""",
        # a child is back on the pool, and stays there
        """
assert same(3)
child = os.fork()
if child == 0:
    join()
    os._exit(not (same(3) and c.pool_workers() == 2))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert same(3) and c.pool_workers() == 0
""",
    ],
    ids=["same bits", "and back", "a thread's own", "fork"],
)
def test_a_hosts_team(body: str, subprocess_environment: dict[str, str]) -> None:
    """Jobs on another library's OpenMP threads (docs/adr/0010-guests-on-a-hosts-team.md)."""
    if registry.why_missing("c"):
        pytest.skip(f"c: {registry.why_missing('c')}")
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("no libgomp.so.1 on this system to be the host's")
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", TEAM.replace("{body}", body)],
        env=subprocess_environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="no list of this process's threads")
def test_no_thread_stays_pinned(subprocess_environment: dict[str, str]) -> None:
    """Workers step aside for a moment (csrc/threadpool.c): afterwards each may run wherever the process may."""
    script = """
import os
import numpy as np, pyconv
x, w = np.ones((1, 32, 56, 56), np.float32), np.ones((32, 32, 3, 3), np.float32)
with pyconv.options(threads=5):
    for _ in range(200):
        pyconv.conv2d(x, w)
allowed = [os.sched_getaffinity(int(thread)) for thread in os.listdir("/proc/self/task")]
assert pyconv.info().pool_workers == 4 and len(allowed) >= 5
assert all(mask == os.sched_getaffinity(0) for mask in allowed), allowed
"""
    if registry.why_missing("c"):
        pytest.skip(f"c: {registry.why_missing('c')}")
    done = subprocess.run(
        [sys.executable, "-c", script], env=subprocess_environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_the_gil_is_released() -> None:
    """Another Python thread gets on while a kernel runs."""
    problem = ConvProblem.parse("n1c64h224w224-o128k3s1p1-f32")
    data = make_data(problem, integers=True)
    counted = 0
    running = threading.Event()
    done = threading.Event()

    def count() -> None:
        nonlocal counted
        running.set()
        while not done.is_set():
            counted += 1

    thread = threading.Thread(target=count)
    interval = sys.getswitchinterval()
    # nobody is made to give the GIL up during the call, which takes a tenth of this
    sys.setswitchinterval(0.5)
    try:
        with pyconv.options(threads=1):
            f = pyconv.prepare(pyconv.conv2d, data.w, padding=1)
            f(data.x)
            thread.start()
            running.wait()
            before = counted
            f(data.x)
            assert counted > before
    finally:
        done.set()
        sys.setswitchinterval(interval)
        thread.join()


def test_nothing_is_printed(subprocess_environment: dict[str, str]) -> None:
    """Hazard 62: a quiet import and a quiet call."""
    script = "import numpy as np, pyconv; pyconv.conv2d(np.ones((1, 1, 4, 4), 'f4'), np.ones((1, 1, 3, 3), 'f4'))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=subprocess_environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
