"""Choosing, explaining, preparing, and the options that steer them."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import PROBLEMS
from checker import make_data
from guards import forget_last_kernel, last_kernel
from test_conv import ALGORITHMS, FUNCTIONS, run, settings_of, supporting

import pyconv
from pyconv import ConvProblem, registry
from pyconv.algorithm import Call
from pyconv.ops import call as call_module
from pyconv.ops import conv as conv_module
from pyconv.options import current

LAYER = ConvProblem.parse("n1c8h12w12-o6k3s1p1-f32-bias")


def layer() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = make_data(LAYER, integers=True)
    assert data.bias is not None
    return data.x, data.w, data.bias


def test_explain_says_what_runs() -> None:
    x, w, bias = layer()
    answer = pyconv.explain(pyconv.conv2d, x, w, bias, padding=1)
    assert answer.problem == LAYER
    chosen = ALGORITHMS[answer.algorithm]
    pyconv.conv2d(x, w, bias, padding=1)
    if chosen.backend != "numpy":
        assert last_kernel(chosen) == chosen.kernel_name
    by_id = {candidate.id: candidate for candidate in answer.candidates}
    assert by_id[answer.algorithm].supported
    assert by_id[answer.algorithm].reason == ""
    assert by_id[answer.algorithm].estimate_s == min(
        c.estimate_s for c in answer.candidates if c.supported and not c.id.endswith("numpy")
    )
    reference = by_id["conv2d.reference.f32@numpy"]
    assert reference.supported
    assert reference.reason == "only where nothing else can"
    assert answer.candidates[-1] is reference, "the last candidate is the reference"
    for candidate in answer.candidates:
        assert candidate.supported or candidate.reason, "a refusal has a reason"
        assert candidate.workspace_bytes is None or candidate.workspace_bytes <= current().max_workspace
        assert candidate.measured_s is None
        if candidate.supported:
            assert candidate.error_bound is not None
            assert 0 < candidate.error_bound < 1


@pytest.mark.parametrize("backend", ["auto", "c", "numba", "numpy"])
def test_what_explain_says_is_what_runs(backend: str) -> None:
    """On the whole table; the kernel's own word for it."""
    if backend != "auto" and registry.why_missing(backend):
        pytest.skip(f"{backend}: {registry.why_missing(backend)}")
    with pyconv.options(backend=backend):
        for text in PROBLEMS:
            problem = ConvProblem.parse(text)
            data = make_data(problem, integers=True)
            answer = pyconv.explain(
                FUNCTIONS[problem.rank], data.x, data.w, data.bias, residual=data.residual, **settings_of(problem)
            )
            assert str(answer.problem).replace("-channels_last", "") == text.replace("-channels_last", "")
            chosen = ALGORITHMS[answer.algorithm]
            if backend != "auto" and (problem.dtype != "f16" or backend != "numba"):
                assert chosen.backend == backend
            if chosen.backend == "numpy" or 0 in problem.out_shape:
                continue
            forget_last_kernel(chosen)
            run(problem, data, "auto")
            assert last_kernel(chosen) == chosen.kernel_name, text


def test_explain_prints_a_table() -> None:
    answer = pyconv.explain(pyconv.conv2d, (1, 8, 12, 12), (6, 8, 3, 3), (6,), padding=1)
    lines = str(answer).splitlines()
    assert lines[0] == f"conv2d {LAYER}"
    assert lines[1].split() == ["algorithm", "estimate", "measured", "scratch", "error", "bound", "reason"]
    assert len(lines) == 2 + len(answer.candidates)
    assert [line for line in lines if line.startswith("->")] == [
        line for line in lines if f" {answer.algorithm} " in line
    ]
    depthwise = next(line for line in lines if "depthwise" in line)
    assert "needs one input channel a group, here 8" in depthwise


def test_explain_of_a_named_algorithm() -> None:
    answer = pyconv.explain(pyconv.conv2d, (1, 8, 12, 12), (6, 8, 3, 3), algorithm="reference")
    assert answer.algorithm == "conv2d.reference.f32@numpy"
    assert "asked for by name" in str(answer)


def test_unbatched_shapes_can_be_explained() -> None:
    assert pyconv.explain(pyconv.conv1d, (8, 100), (6, 8, 3)).problem.n == 1


def test_plans_are_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias = layer()
    call_module.plan_for.cache_clear()
    seen: list[object] = []
    cached = call_module.plan_for

    def watched(*call: object) -> object:
        seen.append(cached(*call))
        return seen[-1]

    monkeypatch.setattr(conv_module, "plan_for", watched)
    for _ in range(3):
        pyconv.conv2d(x, w, bias, padding=1)
    monkeypatch.undo()
    assert len(seen) == 3
    assert all(plan is seen[0] for plan in seen)
    info = call_module.plan_for.cache_info()
    assert (info.misses, info.hits) == (1, 2)
    assert info.maxsize is not None
    pyconv.conv2d(x.copy(), w.copy(), bias.copy(), padding=1)
    assert call_module.plan_for.cache_info().misses == 1, "other arrays of the same kind are the same plan"
    pyconv.conv2d(x[..., :-1], w, bias, padding=1)
    assert call_module.plan_for.cache_info().misses == 2


@pytest.mark.parametrize("text", PROBLEMS)
def test_the_choice_does_not_depend_on_threads(text: str) -> None:
    problem = ConvProblem.parse(text)
    settings = {"stride": problem.stride, "padding": problem.padding, "dilation": problem.dilation}
    data = make_data(problem, integers=True)
    chosen = set()
    for threads in (1, 2, 3, 8):
        with pyconv.options(threads=threads):
            answer = pyconv.explain(
                FUNCTIONS[problem.rank],
                data.x,
                data.w,
                groups=problem.groups,
                padding_mode=problem.padding_mode,
                **settings,
            )
            chosen.add(answer.algorithm)
    assert len(chosen) == 1


def test_every_family_name_is_taken() -> None:
    x, w, bias = layer()
    expected = pyconv.conv2d(x, w, bias)
    for family in {a.family for a in supporting(LAYER)}:
        # sums of integers are exact but in transforms (tests/test_winograd.py, tests/test_fft.py)
        tolerance = 1e-2 if family.startswith(("winograd", "fft")) else 0
        np.testing.assert_allclose(pyconv.conv2d(x, w, bias, algorithm=family), expected, rtol=0, atol=tolerance)


HUGE = (
    "n1c1h600w600-o1k501s1p0-f32",
    "n1c3h2000w2000-o8k255s1p127-f32",
    "n1c1h20000w20000-o1k255s1p127-f32",
    "n1c1w5000000-o1k1000001s1p0-f64",
    "n1c4h300w300-o4k3s1p140d140-f32",
    "n8c512h7w7-o2048k3s1p1-f64",
    "n1c4096h64w64-o4096k1s1p0-f32",
    "n1c64d32h64w64-o64k9s1p4-f32",
    "n1c1024h3w3-o1024k3s7p5g1024-f32",
    "n1c3h20000w20000-o8k3s1p1-f16",
    "n1c4096h64w64-o4096k1s1p0-f16",
)


@pytest.mark.parametrize("limit", [1 << 20, 8 << 20, 64 << 20])
@pytest.mark.parametrize("text", PROBLEMS + HUGE)
def test_scratch_is_bounded(text: str, limit: int) -> None:
    """Hazard 23: whatever the kernel size, at most max_workspace for all threads, and something that can do it."""
    problem = ConvProblem.parse(text)
    for threads in (1, 2, 64):
        able = 0
        for algorithm in ALGORITHMS.values():
            if (algorithm.op, algorithm.dtype) != (problem.op, problem.dtype) or not algorithm.supports(problem):
                continue
            needed = algorithm.workspace(Call.typical(problem, threads, limit))
            assert needed is None or 0 <= needed <= limit, algorithm.id
            able += needed is not None and algorithm.backend == "c"
        if registry.why_missing("c") is None:
            assert able, "no C algorithm within the limit"


def test_a_huge_kernel_really_runs_within_little_scratch() -> None:
    problem = ConvProblem.parse("n1c1h520w530-o1k501x503s1p0-f32")
    data = make_data(problem, integers=True)
    expected = pyconv.conv2d(data.x, data.w, algorithm="reference")
    for algorithm in supporting(problem):
        if algorithm.backend != "c" or not algorithm.preferred:
            continue
        with pyconv.options(max_workspace="1MB"):
            try:
                result = pyconv.conv2d(data.x, data.w, algorithm=algorithm.id)
            except pyconv.Unsupported as error:
                assert "max_workspace" in str(error)  # noqa: PT017 - one refusal is right, a wrong result is not
            else:
                np.testing.assert_array_equal(result, expected)


def test_options_nest_and_end() -> None:
    outside = current()
    with pyconv.options(threads=1) as first:
        assert first.threads == 1
        with pyconv.options(max_workspace="8MB", accuracy="strict") as second:
            assert (second.threads, second.max_workspace, second.accuracy) == (1, 8 << 20, "strict")
        assert current() is first
    assert current() is outside
    with pytest.raises(ZeroDivisionError), pyconv.options(threads=1):
        raise ZeroDivisionError
    assert current() is outside
    with pyconv.options(threads=1) as again:
        assert again is first, "equal options are one object"


def test_threads_and_tasks_have_their_own_options() -> None:
    outside = current()
    with pyconv.options(threads=1), ThreadPoolExecutor(1) as pool:
        assert pool.submit(current).result() is outside, "a new thread starts from the process's options"

    async def task(threads: int) -> int:
        with pyconv.options(threads=threads):
            await asyncio.sleep(0)
            return current().threads

    async def both() -> list[int]:
        return await asyncio.gather(task(1), task(2), task(3))

    assert asyncio.run(both()) == [1, 2, 3]


def test_set_options_is_for_the_process() -> None:
    outside = current()
    try:
        pyconv.set_options(threads=3)
        assert current().threads == 3
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(current().threads))
        thread.start()
        thread.join()
        assert seen == [3]
        pyconv.set_options(threads=None)
        assert current().threads >= 1
    finally:
        pyconv.set_options(threads=outside.threads)


@pytest.mark.parametrize("size", ["1MB", "1048576", 1 << 20, "1 mb", "0.001GB"])
def test_sizes_can_be_written_in_many_ways(size: object) -> None:
    with pyconv.options(max_workspace=size) as inside:
        assert inside.max_workspace in (1 << 20, int(0.001 * (1 << 30)))


@pytest.mark.parametrize("accuracy", ["strict", "standard", "fast"])
def test_every_accuracy_has_an_algorithm(accuracy: str) -> None:
    x, w, bias = layer()
    expected = pyconv.conv2d(x, w, bias)
    with pyconv.options(accuracy=accuracy):
        np.testing.assert_array_equal(pyconv.conv2d(x, w, bias), expected)


@pytest.mark.parametrize("backend", ["c", "numba", "numpy"])
def test_a_backend_can_be_asked_for(backend: str) -> None:
    x, w, bias = layer()
    expected = pyconv.conv2d(x, w, bias)
    reason = registry.why_missing(backend)
    with pyconv.options(backend=backend):
        answer = pyconv.explain(pyconv.conv2d, x, w, bias)
        assert ALGORITHMS[answer.algorithm].backend == ("numpy" if reason else backend)
        np.testing.assert_array_equal(pyconv.conv2d(x, w, bias), expected)


def test_prepare_is_the_function() -> None:
    x, w, bias = layer()
    f = pyconv.prepare(pyconv.conv2d, w, bias, padding=1, activation="relu")
    expected = pyconv.conv2d(x, w, bias, padding=1, activation="relu")
    np.testing.assert_array_equal(f(x), expected)
    np.testing.assert_array_equal(f(x), expected)
    for other in (x[:, :, :5], np.concatenate([x, x]), x[..., ::-1], np.asfortranarray(x), x[0]):
        np.testing.assert_array_equal(f(other), pyconv.conv2d(other, w, bias, padding=1, activation="relu"))
    out = np.full(expected.shape, np.nan, np.float32)
    assert f(x, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(
        f(x, residual=expected), pyconv.conv2d(x, w, bias, padding=1, activation="relu", residual=expected)
    )
    with pyconv.options(threads=1):
        np.testing.assert_array_equal(f(x), expected)
    empty = f(x[:0])
    assert empty.shape == (0, 6, 12, 12)


def test_prepared_weights_are_a_copy() -> None:
    x, w, bias = layer()
    expected = pyconv.conv2d(x, w, bias)
    f = pyconv.prepare(pyconv.conv2d, w, bias)
    w[:] = 0
    bias[:] = 0
    np.testing.assert_array_equal(f(x), expected)


def test_prepare_checks_each_call() -> None:
    _, w, bias = layer()
    f = pyconv.prepare(pyconv.conv2d, w, bias)
    with pytest.raises(pyconv.InvalidProblem, match="channels disagree"):
        f(np.ones((1, 9, 12, 12), np.float32))
    with pytest.raises(TypeError, match="x must be an array"):
        f([1.0])
    with pytest.raises(TypeError, match="one dtype"):
        f(np.ones((1, 8, 12, 12)))


def test_algorithms_are_listed_by_operation() -> None:
    everything = pyconv.algorithms()
    assert everything == sorted(everything)
    assert set(everything) >= set(pyconv.algorithms("conv2d"))
    assert all(id.startswith("conv2d.") for id in pyconv.algorithms("conv2d"))
    assert pyconv.algorithms("no such operation") == []


def test_two_algorithms_cannot_share_an_id() -> None:
    with pytest.raises(ValueError, match="two algorithms are called"):
        registry.register(next(iter(ALGORITHMS.values())))


def test_info_describes_the_installation() -> None:
    info = pyconv.info()
    assert info.version == pyconv.__version__
    assert info.threads == current().threads
    assert set(info.backends) == set(registry.BACKENDS)
    assert info.isa is None or info.isas[info.isa]
    text = str(info)
    for word in (info.version, "processor", "threads", "backend c", "backend numba", "backend numpy"):
        assert word in text


def test_the_choice_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    call_module.plan_for.cache_clear()
    x, w, bias = layer()
    with caplog.at_level(logging.DEBUG, logger="pyconv"):
        pyconv.conv2d(x, w, bias, padding=1)
        pyconv.conv2d(x, w, bias, padding=1)
    (record,) = caplog.records
    assert f"conv2d {LAYER} -> conv2d." in record.getMessage()


SCRIPT = "import pyconv; i = pyconv.info(); print(i.threads, i.isa, i.backends['c']); print({})"


def fresh(environment: dict[str, str], expression: str = "0", **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT.format(expression)],
        env={**environment, **more},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_environment_variables(subprocess_environment: dict[str, str]) -> None:
    assert fresh(subprocess_environment, PYCONV_NUM_THREADS="7").stdout.split()[0] == "7"
    bad = fresh(subprocess_environment, PYCONV_NUM_THREADS="many")
    assert bad.returncode != 0
    assert "threads must be an integer, got 'many'" in bad.stderr
    for value in ("0", "-1", "257"):
        bad = fresh(subprocess_environment, PYCONV_NUM_THREADS=value)
        assert bad.returncode != 0
        assert f"threads must be between 1 and 256, got {value}" in bad.stderr
    bad = fresh(subprocess_environment, PYCONV_BACKEND="gpu")
    assert "PYCONV_BACKEND must be one of" in bad.stderr
    ask = "pyconv.explain(pyconv.conv2d, (1, 8, 9, 9), (8, 8, 3, 3)).algorithm"
    assert "@numpy" in fresh(subprocess_environment, ask, PYCONV_BACKEND="numpy").stdout


@pytest.mark.skipif(registry.why_missing("c") is not None, reason="no C kernels in this installation")
def test_an_instruction_set_can_be_forced(subprocess_environment: dict[str, str]) -> None:
    ask = "pyconv.explain(pyconv.conv2d, (1, 8, 9, 9), (8, 8, 3, 3)).algorithm"
    for isa, here in pyconv.info().isas.items():
        done = fresh(subprocess_environment, ask, PYCONV_FORCE_ISA=isa)
        if here:
            assert done.stdout.split()[1] == isa
            assert done.stdout.split()[-1].endswith(f"@c-{isa}")
            call = "pyconv.conv2d(*[__import__('numpy').ones((1, 3, 3, 3))] * 2)"
            name = "__import__('pyconv.backends.c', fromlist=['c']).last_kernel()"
            ran = fresh(subprocess_environment, f"({call}, {name})[1]", PYCONV_FORCE_ISA=isa)
            assert ran.stdout.split()[-1].endswith(f"_f64__{isa}"), ran.stderr
        else:
            assert "does not have it" in done.stdout
    assert "this build has" in fresh(subprocess_environment, ask, PYCONV_FORCE_ISA="avx1024").stdout


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (("pyconv._ffi",), "numba" if registry.why_missing("numba") is None else "numpy"),
        (("pyconv._ffi", "numba"), "numpy"),
        (("numba",), "c"),
    ],
    ids=str,
)
def test_without_a_backend_the_next_one_computes(
    subprocess_environment: dict[str, str], missing: tuple[str, ...], expected: str
) -> None:
    """Hazard 62: info says why, nothing is printed, conv2d works."""
    if expected == "c" and registry.why_missing("c"):
        pytest.skip(f"c: {registry.why_missing('c')}")
    script = (
        f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n"
        "import numpy as np, pyconv\n"
        "x, w = np.arange(32, dtype='f4').reshape(1, 2, 4, 4), np.ones((3, 2, 3, 3), 'f4')\n"
        "assert (pyconv.conv2d(x, w) == pyconv.conv2d(x, w, algorithm='reference')).all()\n"
        "print(pyconv.explain(pyconv.conv2d, x, w).algorithm)\n"
        "print(*(f'{k}={v}' for k, v in pyconv.info().backends.items()), sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=subprocess_environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stderr == ""
    algorithm, *states = done.stdout.splitlines()
    assert algorithm.split("@")[1].split("-")[0] == expected
    assert ("c=yes" in states) == ("pyconv._ffi" not in missing and registry.why_missing("c") is None)
    for name in missing:
        backend = {"pyconv._ffi": "c"}.get(name, name)
        (state,) = (line for line in states if line.startswith(f"{backend}="))
        assert name in state, "the reason names what is missing"


def test_a_backend_that_is_missing_says_so_when_it_is_asked_for(subprocess_environment: dict[str, str]) -> None:
    """A backend asked for by name is never replaced in silence: explain shows the reference."""
    script = (
        "import sys; sys.modules['numba'] = None\n"
        "import pyconv\n"
        "with pyconv.options(backend='numba'):\n"
        "    print(pyconv.explain(pyconv.conv2d, (1, 2, 4, 4), (3, 2, 3, 3)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=subprocess_environment, capture_output=True, text=True, timeout=120
    )
    assert "-> " in done.stdout, done.stderr
    assert "conv2d.reference.f32@numpy" in done.stdout
    assert "no other algorithm can do it" in done.stdout


def test_prepared_and_plain_agree_on_the_whole_table() -> None:
    for text in PROBLEMS:
        problem = ConvProblem.parse(text)
        data = make_data(problem, integers=False)
        activation = (problem.activation, problem.slope) if problem.slope else problem.activation
        f = pyconv.prepare(
            FUNCTIONS[problem.rank], data.w, data.bias, stride=problem.stride, padding=problem.padding,
            dilation=problem.dilation, groups=problem.groups, padding_mode=problem.padding_mode, activation=activation,
        )  # fmt: skip
        np.testing.assert_array_equal(f(data.x, residual=data.residual), run(problem, data, "auto"))
