"""What only the Numba backend can get wrong; what every backend must do is tested with the operations."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import pyconv
from pyconv import reference
from pyconv.algorithm import Call
from pyconv.ops.call import run
from pyconv.ops.conv_grad import bias_request, weight_request
from pyconv.problem import ConvProblem, TransposedProblem

pytest.importorskip("numba")

import numba

from pyconv.backends import numba_cpu
from pyconv.kernels.cpu import (
    depthwise,
    depthwise_channels,
    direct,
    fft,
    grad_depthwise_channels,
    grad_direct,
    grad_pairwise,
    grad_planar,
    grad_winograd,
    grouped_channels,
    implicit_gemm,
    jit,
    simd,
    threads,
    winograd,
)

CHECK = """
import numpy as np, pyconv
from pyconv import reference
from pyconv.problem import ConvProblem
def check(text, threads=2, algorithm="direct"):
    p = ConvProblem.parse(text)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, p.x_shape).astype(np.float32)
    w = rng.integers(-4, 5, p.w_shape).astype(np.float32)
    with pyconv.options(backend="numba", threads=threads):
        y = pyconv.conv2d(x, w, stride=p.stride, padding=p.padding, groups=p.groups, algorithm=algorithm)
    assert np.array_equal(np.rint(y) if algorithm == "fft" else y, reference.conv(p, x, w))
"""
DENSE = "n2c16h40w41-o40k3s1p1-f32"  # (work enough for two threads)
DEPTHWISE = "n1c24h40w41-o24k3s1p1g24-f32"
GROUPED = "n2c40h20w21-o40k3s1p1g10-f32"


def run_python(code: str, **environment: str) -> str:
    """Run code in a fresh interpreter, warnings as errors; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", CHECK + code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def arrays(text: str):
    problem = ConvProblem.parse(text)
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, problem.x_shape).astype(np.float32)
    w = rng.integers(-4, 5, problem.w_shape).astype(np.float32)
    return problem, x, w


KERNELS = {
    "direct": (direct, "conv_dense"),
    "implicit-gemm": (implicit_gemm, "conv_implicit_gemm"),
    "im2col": (direct, "conv_dense"),
    "depthwise": (depthwise, "conv_depthwise"),
    "depthwise-channels": (depthwise_channels, "conv_depthwise_channels"),
    "fft": (fft, "conv_fft"),
}
if depthwise_channels.WINDOWS:
    KERNELS["grouped-channels"] = (grouped_channels, "conv_grouped_channels")


def problem_for(family: str) -> str:
    return GROUPED if family == "grouped-channels" else DEPTHWISE if "depthwise" in family else DENSE


@pytest.mark.parametrize("family", KERNELS)
def test_the_compiled_kernel_is_what_runs(family, monkeypatch):
    problem, x, w = arrays(problem_for(family))
    algorithm = f"{family}.f32@numba"
    y = pyconv.conv2d(x, w, padding=1, groups=problem.groups, algorithm=algorithm)
    expected = reference.conv(problem, x, w)
    assert np.array_equal(np.rint(y) if family == "fft" else y, expected)
    assert numba_cpu.last_kernel() == f"conv_{family.replace('-', '_')}_f32__numba"

    # a kernel that does less than all of it is noticed
    monkeypatch.setattr(*KERNELS[family], lambda *arguments: 0)
    with pytest.raises(RuntimeError, match="did 0 of"):
        pyconv.conv2d(x[..., :-1], w, padding=1, groups=problem.groups, algorithm=algorithm)


@pytest.mark.parametrize("threads", [1, 5])
def test_winograd_that_does_less_than_all_of_it_is_noticed(threads, monkeypatch):
    problem, x, w = arrays(DENSE)
    with pyconv.options(threads=threads):
        y = pyconv.conv2d(x, w, padding=1, algorithm="winograd-f4x3.f32@numba")
        np.testing.assert_allclose(y, reference.conv(problem, x, w), rtol=1e-4, atol=1e-3)
        assert numba_cpu.last_kernel() == "conv_winograd_f4x3_f32__numba"
        monkeypatch.setattr(winograd, "conv_winograd", lambda *arguments: 0)
        with pytest.raises(RuntimeError, match="did 0 of"):
            pyconv.conv2d(x[..., :-1], w, padding=1, algorithm="winograd-f4x3.f32@numba")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_after_use():
    run_python(
        f"""
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # threads and fork: that is the point
check({DENSE!r})
child = os.fork()
if child == 0:
    try:
        check({DENSE!r})
        check({DEPTHWISE!r})
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
check({DENSE!r})
"""
    )


def test_concurrent_threads():
    problem, x, w = arrays("n1c16h64w64-o24k3s1p1-f32")
    expected = reference.conv(problem, x, w)
    wrong: list[float] = []

    def work() -> None:
        with pyconv.options(backend="numba", threads=3):
            for _ in range(30):
                y = pyconv.conv2d(x, w, padding=1, algorithm="direct")
                if not np.array_equal(y, expected):
                    wrong.append(float(np.abs(y - expected).max()))

    workers = [threading.Thread(target=work) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_shares_all_run_and_errors_reach_the_caller():
    seen = set()
    threads.run_shares(seen.add, 5)
    assert seen == set(range(5))

    def fail(share: int) -> None:
        if share == 3:
            raise ValueError("share 3")

    with pytest.raises(ValueError, match="share 3"):
        threads.run_shares(fail, 5)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity masks")
def test_helpers_keep_off_the_processor_of_their_caller():
    allowed = os.sched_getaffinity(0)
    if not 2 <= len(allowed) <= threads._FEW_PROCESSORS:
        pytest.skip("helpers go where the system puts them")

    def masks() -> list[set[int]]:
        threads.run_shares(lambda share: None, 2)
        return [os.sched_getaffinity(helper.native_id) for helper in threads._pool.helpers]

    masks()
    assert all(len(mask) == len(allowed) - 1 and mask < allowed for mask in masks())
    try:
        os.sched_setaffinity(0, {min(allowed)})  # nothing is left aside of it
        assert all(mask == {min(allowed)} for mask in masks())
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("algorithm", "shape", "c_out"),
    [
        ("direct", (2, 32, 50, 47), 40),
        ("implicit-gemm", (2, 90, 30, 27), 100),
        # (blocks that are shared out whole, stage by stage, and some of each)
        ("winograd-f4x3", (2, 32, 50, 47), 40),
        ("winograd-f2x3", (1, 256, 14, 14), 256),
        ("fft", (3, 3, 90, 80), 20),
        ("winograd-f4x3", (40, 130, 7, 7), 130),
    ],
)
def test_same_bits_for_any_number_of_threads(algorithm, shape, c_out):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape, dtype=np.float32)
    w = rng.standard_normal((c_out, shape[1], 3, 3), dtype=np.float32)
    results = []
    for n in (1, 2, 3, 5, 7, 8):
        with pyconv.options(backend="numba", threads=n):
            results.append(pyconv.conv2d(x, w, padding=1, algorithm=algorithm))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_blocks_that_would_leave_threads_idle_are_shared():
    def shares(text: str, n: int) -> list[tuple[bool, int, int]]:
        record = numba_cpu._cut(Call.typical(ConvProblem.parse(text), n, 1 << 30), "winograd-f4x3")[0]
        phases = winograd.phases(record, numba.float32, n)
        return [(phase.words[0] == winograd.WHOLE, phase.tasks, phase.shares) for phase in phases]

    one, many = "n1c512h7w7-o512k3s1p1-f32", "n96c512h7w7-o512k3s1p1-f32"
    assert shares(one, 1) == [(True, 1, 1)]
    assert [whole for whole, _, _ in shares(one, 8)] == [False, False, False]
    assert all(tasks >= n == 8 for _, tasks, n in shares(one, 8))
    (_, blocks, _) = shares(many, 1)[0]
    assert blocks > 2
    some = shares(many, blocks - 1)
    assert [whole for whole, _, _ in some] == [True, False, False, False]
    assert some[0] == (True, blocks - 1, blocks - 1)


def test_no_cache_folder_can_be_written():
    run_python(
        f"""
from numba.core import caching
caching.CacheImpl._locator_classes = []
check({DENSE!r})
from pyconv.backends import numba_cpu
assert numba_cpu.last_kernel() == "conv_direct_f32__numba"
"""
    )


def test_cache_forgets_when_any_kernel_file_changes():
    for function in {getattr(module, name) for module, name in KERNELS.values()}:
        if hasattr(function._cache, "_cache_file"):
            assert function._cache._cache_file._source_stamp == jit.SOURCES
    assert {"simd.py", "tile.py", "gemm.py"} <= {name for name, _, _ in jit.SOURCES}


def test_without_numba_the_reason_is_given():
    said = run_python(
        """
import sys
sys.modules["numba"] = None
print(pyconv.info().backends["numba"])
x = np.ones((1, 1, 4, 4), dtype=np.float32)
assert pyconv.conv2d(x, x).shape == (1, 1, 1, 1)
assert not any("@numba" in id for id in pyconv.algorithms())
"""
    )
    assert "numba is not installed" in said


def test_pyconv_does_not_import_numba():
    run_python("import sys; assert 'numba' not in sys.modules")


NARROWER = [
    ({"NUMBA_ENABLE_AVX": "0"}, 16),
    ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2"}, 32),
]


@pytest.mark.parametrize(("environment", "vector_bytes"), NARROWER)
def test_narrower_vectors(environment, vector_bytes):
    if vector_bytes > simd.VECTOR_BYTES:
        pytest.skip(f"this processor has no vectors of {vector_bytes} bytes")
    # (the small integers of winograd-f2x3 are exact; windows need vectors of 64 bytes)
    problems = {family: problem_for(family) for family in [*KERNELS, "winograd-f2x3"] if family != "grouped-channels"}
    said = run_python(
        f"""
from pyconv.kernels.cpu import simd
print(simd.VECTOR_BYTES)
for family, problem in {problems!r}.items():
    check(problem, algorithm=family)
""",
        **environment,
    )
    assert int(said) == vector_bytes


LAYERS = """
import sys
sys.modules["pyconv._ffi"] = None
import numpy as np, pyconv
from pyconv import grad
from pyconv.backends import numba_cpu
from pyconv.kernels.cpu import simd
print(simd.VECTOR_BYTES)
rng = np.random.default_rng(0)
draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
x, g, upper = draw(2, 21, 9, 11), draw(2, 21, 9, 11), draw(2, 21, 18, 33)
mean, weight, bias, rows, w, b = draw(21), draw(21), draw(21), draw(5, 39), draw(13, 39), draw(13)
var = np.abs(mean) + np.float32(0.5)
kernels = {
    "elementwise": [lambda **how: pyconv.silu(x, **how), lambda **how: grad.elu(g, x, **how)[0]],
    "channelwise": [
        lambda **how: pyconv.batch_norm(x, mean, var, weight, bias, **how),
        lambda **how: pyconv.batch_norm_stats(x, **how)[1],
        lambda **how: grad.batch_norm(g, x, mean, var, weight, bias, **how)[0],
        lambda **how: grad.batch_norm(g, x, None, None, weight, bias, training=True, **how)[0],
        lambda **how: grad.linear(rows[:, :13], rows, w, b, output_mask=(False, False, True), **how)[2],
    ],
    "response": [lambda **how: pyconv.local_response_norm(x, 5, **how),
                 lambda **how: grad.local_response_norm(g, x, 4, 0.3, 0.6, **how)[0]],
    "nearest": [lambda **how: pyconv.interpolate(x, (18, 33), **how),
                lambda **how: grad.interpolate(upper, x, (18, 33), **how)[0]],
    "dot": [lambda **how: pyconv.linear(rows, w, b, **how)],
    "direct": [lambda **how: grad.linear(rows[:, :13], rows, w, output_mask=(True, False, False), **how)[0],
               lambda **how: grad.linear(rows[:, :13], rows, w, output_mask=(False, True, False), **how)[1]],
}
for family, calls in kernels.items():
    kernel = f"{'conv' if family == 'direct' else 'layers'}_{family}_f32__numba"
    for layout in (lambda a: a, lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)):
        x, g, upper = layout(x), layout(g), layout(upper)
        for call in calls:
            y = call(algorithm=family)
            assert numba_cpu.last_kernel() == kernel, (numba_cpu.last_kernel(), kernel)
            np.testing.assert_allclose(y, call(algorithm="reference"), rtol=2e-5, atol=2e-5)
            assert call().shape == y.shape
assert "_ffi" in pyconv.info().backends["c"]
"""


@pytest.mark.parametrize("environment", [{}, {"NUMBA_ENABLE_AVX": "0"}], ids=["widest", "narrow"])
def test_the_small_layers_without_the_c_extension(environment):
    said = run_python(LAYERS, PYCONV_BACKEND="numba", **environment)
    assert int(said) == (16 if environment else simd.VECTOR_BYTES)


@pytest.mark.parametrize(("environment", "vector_bytes"), NARROWER)
def test_gradients_and_phases_of_narrower_vectors(environment, vector_bytes):
    if vector_bytes > simd.VECTOR_BYTES:
        pytest.skip(f"this processor has no vectors of {vector_bytes} bytes")
    said = run_python(
        """
from pyconv.kernels.cpu import simd
print(simd.VECTOR_BYTES)
rng = np.random.default_rng(0)
def draw(*shape):
    return rng.integers(-4, 5, shape).astype(np.float32)
with pyconv.options(backend="numba", threads=2):
    for groups, families in ((1, ("direct",)), (15, ("planar", "depthwise-channels"))):
        y, x, w, bias = draw(2, 15, 9, 21), draw(2, 15, 18, 41), draw(15, 15 // groups, 3, 3), draw(15)
        for family in families:
            more = {"stride": 2, "padding": 1, "groups": groups}
            found = pyconv.grad.conv2d(y, x, w, bias, algorithm=("direct", family, "pairwise"), **more)
            expected = pyconv.grad.conv2d(y, x, w, bias, algorithm="reference", **more)
            assert all(map(np.array_equal, found, expected)), family
            last = [np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in (y, x)]
            found = pyconv.grad.conv2d(*last, w, bias, algorithm=("implicit-gemm", "direct", "pairwise"), **more)
            assert all(map(np.array_equal, found, expected)), family
    x, w = draw(2, 9, 7, 23), draw(9, 5, 4, 4)
    more = {"stride": 2, "padding": 1}
    for family in ("direct", "implicit-gemm"):
        found, expected = (pyconv.conv_transpose2d(x, w, algorithm=a, **more) for a in (family, "reference"))
        assert np.array_equal(found, expected), family
""",
        **environment,
    )
    assert int(said) == vector_bytes


@pytest.mark.parametrize("family", ["direct", "im2col"])
def test_huge_kernels_stay_within_the_workspace(family):
    # 18000 taps: their offsets alone are more than one worker's share of the smallest workspace
    _, x, w = arrays("n1c3h64w304-o2k60x300s1p0-f32")
    with pyconv.options(max_workspace=1 << 20):
        y = pyconv.conv2d(x, w, algorithm=f"{family}.f32@numba")
        explanation = pyconv.explain(pyconv.conv2d, x, w, algorithm=f"{family}.f32@numba")
    assert numba_cpu.last_kernel() == f"conv_{family}_f32__numba"
    assert explanation.candidates[0].workspace_bytes <= 1 << 20
    windows = np.lib.stride_tricks.sliding_window_view(x[0].astype(np.float64), (60, 300), axis=(1, 2))
    assert np.array_equal(y[0], np.tensordot(w.astype(np.float64), windows, axes=((1, 2, 3), (0, 3, 4))))


def test_an_odd_address_is_copied():
    problem, x, w = arrays(DENSE)
    memory = np.zeros(x.nbytes + 1, dtype=np.uint8)
    odd = memory[1:].view(np.float32).reshape(x.shape)
    odd[...] = x
    y = pyconv.conv2d(odd, w, padding=1, algorithm="direct.f32@numba")
    assert np.array_equal(y, reference.conv(problem, x, w))


@pytest.mark.parametrize(
    ("family", "text"),
    [
        # (tags: narrow and wide panels of channels, runs of pixels of two lengths, partial sums, tails of every kind)
        ("implicit-gemm", "n2c170h11w10-o40k3s1p1-f32-bias-residual"),
        ("implicit-gemm", "n1c170h11w10-o67k3s2p1d2-f64-reflect-channels_last-relu"),
        ("implicit-gemm", "n1c40h20w21-o90k1s2p0g2-f32-bias-silu"),
        ("depthwise-channels", "n2c19h11w10-o38k3s1p1g19-f32-bias-residual"),
        ("depthwise-channels", "n1c35h9w6-o35k5s2p2g35-f64-circular-channels_last-relu"),
        ("depthwise-channels", "n1c35h9w6-o35k5s2p3d2g35-f64-circular-channels_last-relu"),
        ("grouped-channels", "n2c40h11w10-o40k3s1p1g5-f32-bias-residual"),
        ("grouped-channels", "n1c28h9w19-o28k7s2p3g14-f64-symmetric-channels_last-relu"),
        ("fft", "n2c3h50w60-o5k9s1p4-f32-bias-residual"),
        ("fft", "n1c2h60w61-o3k11s2p3d3-f64-reflect-channels_last-relu"),
        ("fft", "n1c6h40w100-o6k7s1p3g6-f64-circular-bias-silu"),
        ("fft", "n2c3w9000-o4k400s1p5-f64-bias"),
        ("fft", "n1c2d9h30w31-o3k5s1p2-f32-replicate-relu"),
        ("winograd-f2x3", "n2c70h11w10-o40k3s1p1-f32-bias-residual"),
        ("winograd-f4x3", "n1c90h31w29-o67k3s1p1d2-f64-reflect-channels_last-relu"),
        ("winograd-f6x3", "n1c17h40w41-o50k3s1p1g1-f32-bias-residual-silu"),
        ("winograd-f2x5", "n5c17h7w7-o20k5s1p2-f64-circular-bias-relu"),
        ("winograd-f4x5", "n1c41h7w40-o20k1x5s1p0x2-f32-bias"),
        ("winograd-f2x7", "n1c20h19w12-o24k7x1s1p3x0-f32-relu"),
    ],
)
def test_the_sums_have_the_order_of_the_c_kernel(family, text):
    c = pytest.importorskip("pyconv.backends.c")
    if c.isa_in_use() == "baseline":
        pytest.skip("multiplications and additions do not fuse in this C kernel")
    problem = ConvProblem.parse(text)
    if f"{problem.op}.{family}.{problem.dtype}@numba" not in pyconv.algorithms():
        pytest.skip("this kernel needs vectors of 64 bytes")
    rng = np.random.default_rng(0)
    dtype = {"f32": np.float32, "f64": np.float64}[problem.dtype]
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (problem.x_shape, problem.w_shape))
    if problem.channels_last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    function = {1: pyconv.conv1d, 2: pyconv.conv2d, 3: pyconv.conv3d}[problem.rank]
    results = [
        function(
            x, w,
            bias=rng.standard_normal(problem.c_out).astype(dtype) if problem.bias else None,
            residual=rng.standard_normal(problem.out_shape).astype(dtype) if problem.residual else None,
            stride=problem.stride, padding=problem.padding, dilation=problem.dilation, groups=problem.groups,
            padding_mode=problem.padding_mode, activation=problem.activation,
            algorithm=f"{family}.{problem.dtype}@{backend}",
        )
        for backend, rng in ((f"c-{c.isa_in_use()}", np.random.default_rng(1)), ("numba", np.random.default_rng(1)))
    ]  # fmt: skip
    assert np.array_equal(*results)


GRADIENTS = {
    "direct": (grad_direct, "grad_direct"),
    "winograd-f2x3": (grad_winograd, "grad_winograd"),
    "planar": (grad_planar, "grad_planar"),
    "depthwise-channels": (grad_depthwise_channels, "grad_depthwise_channels"),
    "pairwise": (grad_pairwise, "grad_pairwise"),
}


def gradient_request(family, problem, x, grad_output):
    if family == "pairwise":
        return bias_request(problem.rank, grad_output)
    window = problem.stride, problem.padding, problem.dilation, problem.groups
    mode = problem.padding_mode
    return weight_request(problem.rank, grad_output, x, problem.w_shape, *window, padding_mode=mode)


@pytest.mark.parametrize("family", GRADIENTS)
def test_a_gradient_that_does_less_than_all_of_it_is_noticed(family, monkeypatch):
    problem = ConvProblem.parse("n2c24h20w21-o24k3s1p1g24-f32")
    rng = np.random.default_rng(0)
    x, y = (rng.integers(-4, 5, shape).astype(np.float32) for shape in (problem.x_shape, problem.out_shape))
    (found,) = run(gradient_request(family, problem, x, y), (None,), f"{family}.f32@numba")
    (expected,) = run(gradient_request(family, problem, x, y), (None,), "reference")
    assert np.array_equal(found, expected)
    assert numba_cpu.last_kernel() == f"grad_{family.replace('-', '_')}_f32__numba"
    monkeypatch.setattr(*GRADIENTS[family], lambda *arguments: 0)
    with pytest.raises(RuntimeError, match="did 0 of"):
        run(gradient_request(family, problem, x[:1], y[:1]), (None,), f"{family}.f32@numba")


@pytest.mark.parametrize(
    ("family", "text"),
    [
        # (rows of a plane, turned pixels, and x itself; several blocks, parts, and pieces of rows; every ragged end)
        ("direct", "n2c20h19w57-o67k3s1p1-f32"),
        ("direct", "n9c40h14w14-o50k3s2p1-f64-reflect"),
        ("direct", "n8c70h7w7-o210k3s1p1-f32"),
        ("direct", "n5c64h20w20-o48k1s1p0-f32"),
        ("direct", "n2c5h60w400-o9k3x5s1p0d2-f64"),
        ("direct", "n2c48h14w14-o36k3s1p1g2-f32-circular-channels_last"),
        ("winograd-f2x3", "n3c20h19w21-o37k3s1p1-f32"),
        ("winograd-f4x3", "n8c70h14w15-o90k3s1p1-f32-reflect"),
        ("winograd-f4x3", "n1c17d4h9w8-o9k3s1p1-f64"),
        ("planar", "n2c3h23w37-o17k7s2p3-f32"),
        ("planar", "n3c8h70w61-o16k5s1p4d2g8-f64-circular"),
        ("planar", "n2c3d5h9w9-o5k2x3x3s1p1-f32"),
        ("depthwise-channels", "n5c20h34w34-o20k3s1p1g20-f32"),
        ("depthwise-channels", "n2c36h33w32-o36k5s2p1g36-f64-symmetric-channels_last"),
        ("pairwise", "n3c7h45w41-o7k1s1p0-f32"),
        ("pairwise", "n2c90h14w15-o90k1s1p0-f64-channels_last"),
    ],
)
def test_the_sums_of_gradients_have_the_order_of_the_c_kernel(family, text):
    c = pytest.importorskip("pyconv.backends.c")
    if c.isa_in_use() == "baseline":
        pytest.skip("multiplications and additions do not fuse in this C kernel")
    problem = ConvProblem.parse(text)
    rng = np.random.default_rng(0)
    dtype = {"f32": np.float32, "f64": np.float64}[problem.dtype]
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in (problem.x_shape, problem.out_shape)]
    if problem.channels_last:
        arrays = [np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1) for a in arrays]
    results = [
        run(gradient_request(family, problem, *arrays), (None,), f"{family}.{problem.dtype}@{backend}")[0]
        for backend in (f"c-{c.isa_in_use()}", "numba")
    ]
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    ("family", "text"),
    [
        # (phases in pairs, one by one, three and more; rows and pixels of channels; both orders of memory)
        ("direct", "n2c20h15w17-o19k4s2p1-f32-bias-relu"),
        ("direct", "n1c9h8w11-o7k3x4s2x3p1-f64-silu"),
        ("im2col", "n2c16h9w21-o13k4s2p1-f32"),
        ("implicit-gemm", "n2c20h15w17-o33k4s2p1-f32-bias"),
        ("implicit-gemm", "n1c17h9w8-o21k5s3p2-f64-channels_last"),
        ("depthwise", "n2c6h9w30-o6k4s2p1g6-f32"),
        ("depthwise-channels", "n2c20h9w7-o20k4s2p1g20-f32"),
        ("fft", "n1c3h20w24-o2k8s2p3-f64"),
        ("winograd-f3x2", "n2c18h19w17-o20k4s2p1-f32-bias"),
        ("winograd-f5x2", "n1c20h21w16-o9k4s2p1-f64-channels_last"),
    ],
)
def test_phases_have_the_bits_of_the_c_kernel(family, text):
    c = pytest.importorskip("pyconv.backends.c")
    if c.isa_in_use() == "baseline":
        pytest.skip("multiplications and additions do not fuse in this C kernel")
    problem = TransposedProblem.parse("conv_transpose2d", text)
    rng = np.random.default_rng(0)
    dtype = {"f32": np.float32, "f64": np.float64}[problem.dtype]
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (problem.x_shape, problem.w_shape))
    if problem.channels_last:
        x = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    bias = rng.standard_normal(problem.c_out).astype(dtype) if problem.bias else None
    results = [
        pyconv.conv_transpose2d(
            x, w, bias,
            stride=problem.stride, padding=problem.padding, groups=problem.groups, activation=problem.activation,
            algorithm=f"{family}.{problem.dtype}@{backend}",
        )
        for backend in (f"c-{c.isa_in_use()}", "numba")
    ]  # fmt: skip
    assert np.array_equal(*results)
