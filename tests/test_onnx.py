"""``interop.onnx``: onnx's tests of backends, every operator set's meaning, whole networks against onnxruntime."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx")

from onnx.reference import ReferenceEvaluator  # noqa: E402
from onnx_graphs import NETWORKS, Net, one_node  # noqa: E402

import pyconv  # noqa: E402
from benchmarks.graphs import LIGHT, before_softmax, light  # noqa: E402
from pyconv.interop.onnx import Backend, InferenceSession, conformance, graph, new_ops, plan, run, windows  # noqa: E402  # noqa: E402

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

needs_onnxruntime = pytest.mark.skipif(onnxruntime is None, reason="onnxruntime is not installed")
#: Relative to the largest element: sums in another order, and Winograd's F(4,3), through up to 121 convolutions.
BOUND = 5e-5


def rand(*shape: int, seed: int = 0, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def close(got: Any, expected: Any, bound: float = BOUND) -> None:
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(got, expected)
    elif expected.size:
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(expected))
        here = np.isfinite(expected)
        scale = np.abs(expected[here]).max(initial=0) or 1.0
        assert np.abs(got.astype(np.float64) - expected.astype(np.float64))[here].max(initial=0) <= bound * scale


def rivals(model: Any, feeds: dict[str, np.ndarray], names: list[str] | None = None) -> list[Any]:
    """Return onnxruntime's answer, or onnx.reference's."""
    if onnxruntime is None:
        return list(ReferenceEvaluator(model).run(names, feeds))
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return list(session.run(names, feeds))


# --- onnx's own tests


@pytest.fixture(scope="module")
def cases() -> list[conformance.Case]:
    return conformance.run_cases()


def test_every_case_of_our_operators_passes(cases: list[conformance.Case]) -> None:
    ours = [case for case in cases if case.operators & set(conformance.COMPILED)]
    assert len(ours) > 200
    assert [case for case in ours if case.failure and not case.reason] == []
    asked = {
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "MaxUnpool",
        "RoiAlign", "DeformConv", "GridSample", "AffineGrid", "Resize", "Upsample", "Col2Im", "LRN", "QLinearConv",
        "BatchNormalization", "InstanceNormalization", "Gemm", "MatMul", "ConvInteger", "NonMaxSuppression",
    }  # fmt: skip
    assert asked <= {name for case in ours for name in case.operators}
    assert [case for case in ours if case.failure and case.operators & asked] == []


def test_what_else_fails_is_listed_with_its_reason(cases: list[conformance.Case]) -> None:
    failed = [case for case in cases if case.failure]
    assert [case for case in failed if not case.reason] == []
    table = conformance.table(cases)
    assert all(f"| {case.name} | {case.reason} |" in table for case in failed)


def test_a_wrong_answer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = conformance.OPERATORS["", "MaxPool"]
    wrong = entry._replace(function=lambda *given: entry.function(*given) * 0)
    monkeypatch.setitem(conformance.OPERATORS, ("", "MaxPool"), wrong)
    found = conformance.run_cases("test_maxpool_2d_default")
    assert [bool(case.failure) for case in found] == [True]


def reference_cases() -> list[Any]:
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        # onnx makes its data with casts that overflow
        warnings.simplefilter("ignore")
        return [case for case in load_model_tests(kind="node") if case.data_sets and case.model is not None]


def test_new_ops_pass_the_cases_of_their_operators() -> None:
    names = {cls.__name__ for cls in new_ops}
    ran = 0
    for case in reference_cases():
        if "_expanded" in case.name or not names & {node.op_type for node in case.model.graph.node}:
            continue
        evaluator = ReferenceEvaluator(case.model, new_ops=new_ops)
        for inputs, outputs in case.data_sets:
            found = evaluator.run(None, dict(zip(evaluator.input_names, inputs, strict=False)))
            for got, expected in zip(found, outputs, strict=True):
                assert got.dtype == expected.dtype, case.name
                np.testing.assert_allclose(got, expected, case.rtol, case.atol, err_msg=case.name)
        ran += 1
    assert ran > 180


def test_new_ops_run_pyconv(monkeypatch: pytest.MonkeyPatch) -> None:
    model, feeds = one_node("Conv", [rand(1, 2, 5, 5), rand(3, 2, 3, 3)])
    calls = []
    original = windows.CONV[2]
    monkeypatch.setitem(windows.CONV, 2, lambda *args, **kw: calls.append(1) or original(*args, **kw))
    ReferenceEvaluator(model, new_ops=new_ops).run(None, feeds)
    assert calls == [1]


def test_types_that_pyconv_does_not_take_go_to_the_reference() -> None:
    x = np.arange(24, dtype=np.int32).reshape(1, 1, 4, 6)
    model, feeds = one_node("MatMul", [x[0, 0], x[0, 0].T.copy()], opset=13)
    close(ReferenceEvaluator(model, new_ops=new_ops).run(None, feeds)[0], x[0, 0] @ x[0, 0].T)
    close(InferenceSession(model).run(None, feeds)[0], x[0, 0] @ x[0, 0].T)


# --- what the node tests leave out: both ways of running, against a definition or onnxruntime


def both(model: Any, feeds: dict[str, np.ndarray]) -> list[Any]:
    """Run twice in a session, and with new_ops where onnx.reference knows the operator; all must agree."""
    session = InferenceSession(model)
    first, second = session.run(None, feeds), session.run(None, feeds)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    third = ReferenceEvaluator(model, new_ops=new_ops).run(None, feeds)
    for a, b in zip(first, third, strict=True):
        np.testing.assert_array_equal(a, b)
    return first


@needs_onnxruntime
@pytest.mark.parametrize("word", ["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"])
def test_auto_pad(op: str, word: str) -> None:
    # onnxruntime refuses windows that are shorter than their stride, or crops a transposed convolution's result
    for size, kernel, stride in itertools.product((7, 8), ((3, 4), (4, 5)), (1, 2, 3)):
        settings: dict[str, Any] = {"auto_pad": word, "strides": [stride, stride], "kernel_shape": list(kernel)}
        inputs = [rand(2, 4, size, size + 1)]
        if op.startswith("Conv"):
            inputs.append(rand(4, 4, *kernel, seed=1))
        model, feeds = one_node(op, inputs, **settings)
        close(both(model, feeds)[0], rivals(model, feeds)[0])


@needs_onnxruntime
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("order", [0, 1])
def test_max_pool_indices(rank: int, order: int) -> None:
    for pads, ceil, dilation in itertools.product((0, 1), (0, 1), (1, 2)):
        settings: dict[str, Any] = {"kernel_shape": [3] * rank, "strides": [2] * rank, "dilations": [dilation] * rank}
        settings |= {"pads": [pads] * 2 * rank, "ceil_mode": ceil, "storage_order": order}
        model, feeds = one_node("MaxPool", [rand(2, 3, *(7, 8, 6)[:rank])], 2, **settings)
        got, expected = both(model, feeds), rivals(model, feeds)
        close(got[0], expected[0])
        if rank < 3 or not order:
            # onnxruntime's column-major volumes count the last axis but one wrongly
            np.testing.assert_array_equal(got[1], expected[1])


def test_max_pool_indices_column_major_volume() -> None:
    x = rand(1, 1, 4, 5, 6)
    model, feeds = one_node("MaxPool", [x], 2, kernel_shape=[2, 2, 2], strides=[2, 2, 2], storage_order=1)
    largest, indices = both(model, feeds)
    np.testing.assert_array_equal(x.ravel(order="F")[indices], largest)


@needs_onnxruntime
def test_padding_of_more_than_half_a_window() -> None:
    x = rand(1, 2, 6, 7)
    for op, ceil in itertools.product(("MaxPool", "AveragePool", "LpPool"), (0, 1)):
        for include in (0, 1) if op == "AveragePool" else (None,):
            settings: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [2, 1, 1, 2], "strides": [2, 2]}
            settings |= {} if include is None else {"count_include_pad": include}
            model, feeds = one_node(op, [x], opset=22, ceil_mode=ceil, **settings)
            close(both(model, feeds)[0], rivals(model, feeds)[0])
    model, feeds = one_node("MaxPool", [x], 2, kernel_shape=[3, 3], pads=[2, 2, 2, 2])
    got, expected = both(model, feeds), rivals(model, feeds)
    close(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


@needs_onnxruntime
def test_average_pool_with_dilation() -> None:
    for include, ceil in itertools.product((0, 1), (0, 1)):
        model, feeds = one_node(
            "AveragePool", [rand(1, 3, 9, 8)], opset=19, kernel_shape=[2, 3], dilations=[2, 2], pads=[1, 1, 0, 2],
            strides=[2, 1], count_include_pad=include, ceil_mode=ceil,
        )  # fmt: skip
        close(both(model, feeds)[0], rivals(model, feeds)[0])


@needs_onnxruntime
def test_transposed_convolution_with_an_output_shape() -> None:
    x, w, b = rand(1, 2, 4, 5), rand(2, 3, 3, 4, seed=1), rand(3, seed=2)
    for word, extra in itertools.product(("NOTSET", "SAME_UPPER", "SAME_LOWER"), ((8, 11), (9, 10), (7, 8))):
        model, feeds = one_node("ConvTranspose", [x, w, b], strides=[2, 2], output_shape=list(extra), auto_pad=word)
        close(both(model, feeds)[0], rivals(model, feeds)[0])


def test_output_shape_before_operator_set_11() -> None:
    """The odd element of the padding was on the other side."""
    x, w = rand(1, 1, 3, 3), rand(1, 1, 3, 3, seed=1)
    settings = {"strides": [2, 2], "output_shape": [6, 6]}
    old, feeds = one_node("ConvTranspose", [x, w], opset=10, auto_pad="SAME_UPPER", **settings)
    new, _ = one_node("ConvTranspose", [x, w], opset=11, auto_pad="SAME_LOWER", **settings)
    np.testing.assert_array_equal(both(old, feeds)[0], both(new, feeds)[0])
    whole = pyconv.conv_transpose2d(x, w, stride=2)
    np.testing.assert_allclose(both(new, feeds)[0], whole[..., 1:, 1:], rtol=1e-6)


@needs_onnxruntime
@pytest.mark.parametrize("opset", [10, 16])
def test_roi_align_of_each_operator_set(opset: int) -> None:
    boxes = np.array([[1, 1, 9, 8], [0, 2, 5, 11], [3, 3, 4, 4]], np.float32)
    for mode, ratio in itertools.product(("avg", "max"), (0, 2)):
        model, feeds = one_node(
            "RoiAlign", [rand(2, 3, 12, 12), boxes, np.array([0, 1, 1])], opset=opset, output_height=3, output_width=2,
            sampling_ratio=ratio, mode=mode, spatial_scale=0.75,
        )  # fmt: skip
        close(both(model, feeds)[0], rivals(model, feeds)[0])


@needs_onnxruntime
def test_max_roi_pool_and_global_lp_pool() -> None:
    """onnx.reference has neither."""
    boxes = np.array([[0, 1, 1, 9, 8], [1, 0, 2, 5, 11]], np.float32)
    model, feeds = one_node("MaxRoiPool", [rand(2, 3, 12, 12), boxes], pooled_shape=[3, 2], spatial_scale=0.5)
    close(both(model, feeds)[0], rivals(model, feeds)[0])
    for p in (1, 2, 3):
        model, feeds = one_node("GlobalLpPool", [rand(2, 3, 5, 4)], p=p)
        close(both(model, feeds)[0], rivals(model, feeds)[0])


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_resize(mode: str) -> None:
    """As onnx.reference has it: onnxruntime rounds sizes before it aligns corners, and places in float32."""
    x = rand(1, 2, 7, 6)
    words = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners")
    rounding = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else (None,)
    for scales, word, rounded in itertools.product(((2.0, 3.0), (0.5, 0.6), (1.3, 2.0)), words, rounding):
        settings = {"mode": mode, "coordinate_transformation_mode": word}
        settings |= {} if rounded is None else {"nearest_mode": rounded}
        given = [x, None, np.array([1, 1, *scales], np.float32)]
        model, feeds = one_node("Resize", given, opset=13, **settings)
        close(both(model, feeds)[0], ReferenceEvaluator(model).run(None, feeds)[0], 1e-5)


def test_resize_takes_pyconv_where_it_means_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    resize = importlib.import_module("pyconv.interop.onnx.resize")
    calls: list[Any] = []
    original = resize.interpolate
    monkeypatch.setattr(resize, "interpolate", lambda *a, **k: calls.append(k["mode"]) or original(*a, **k))
    for mode, settings, expected in (
        ("nearest", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}, ["nearest"]),
        ("linear", {"coordinate_transformation_mode": "half_pixel"}, ["bilinear"]),
        ("cubic", {"coordinate_transformation_mode": "align_corners"}, ["bicubic"]),
        ("cubic", {"cubic_coeff_a": -0.5}, []),
        ("linear", {"antialias": 1}, []),
    ):
        calls.clear()
        model, feeds = one_node("Resize", [rand(1, 2, 4, 4), None, np.array([1, 1, 2, 2], np.float32)], opset=18,
                                mode=mode, **settings)  # fmt: skip
        InferenceSession(model).run(None, feeds)
        assert calls == expected


@pytest.mark.parametrize("opset", [7, 9])
def test_upsample(opset: int) -> None:
    x = rand(1, 2, 3, 4)
    scales = np.array([1, 1, 2, 3], np.float32)
    given = {"scales": scales.tolist()} if opset < 9 else {}
    model, feeds = one_node("Upsample", [x] if opset < 9 else [x, scales], opset=opset, mode="nearest", **given)
    close(both(model, feeds)[0], x.repeat(2, 2).repeat(3, 3))


def test_local_response_norm_of_even_windows() -> None:
    x = rand(1, 6, 3, 3)
    model, feeds = one_node("LRN", [x], size=4, alpha=0.5, beta=0.75, bias=1.5)
    squares = np.stack([np.square(x[:, max(0, c - 1) : c + 3]).sum(1) for c in range(6)], 1)
    close(both(model, feeds)[0], x / (1.5 + 0.5 / 4 * squares) ** np.float32(0.75), 1e-5)


@needs_onnxruntime
def test_exact_integers() -> None:
    rng = np.random.default_rng(0)
    for c in (3, 600):  # sums that float32 holds, and sums that only float64 does
        x = rng.integers(0, 256, (1, c, 6, 6)).astype(np.uint8)
        w = rng.integers(0, 256, (4, c, 3, 3)).astype(np.uint8)
        zeros = [np.array(7, np.uint8), np.array(100, np.uint8)]
        model, feeds = one_node("ConvInteger", [x, w, *zeros], pads=[1] * 4)
        np.testing.assert_array_equal(both(model, feeds)[0], rivals(model, feeds)[0])
        exact = pyconv.conv2d(x.astype(np.float64) - 7, w.astype(np.float64) - 100, padding=1)
        np.testing.assert_array_equal(both(model, feeds)[0], exact.astype(np.int32))
    scales = [np.float32(0.02), np.linspace(0.001, 0.003, 4).astype(np.float32), np.float32(0.9)]
    x, w = rng.integers(0, 256, (1, 3, 6, 6)).astype(np.uint8), rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    bias = rng.integers(-9999, 9999, 4).astype(np.int32)
    model, feeds = one_node(
        "QLinearConv",
        [x, np.array(scales[0]), np.array(120, np.uint8), w, scales[1], np.zeros(4, np.int8), np.array(scales[2]),
         np.array(128, np.uint8), bias], opset=13, strides=[2, 2],
    )  # fmt: skip
    np.testing.assert_array_equal(both(model, feeds)[0], rivals(model, feeds)[0])


@pytest.mark.parametrize(("opset", "settings"), [(6, {"is_test": 1}), (9, {}), (15, {"training_mode": 0})])
def test_batch_normalization_of_each_operator_set(opset: int, settings: dict[str, int]) -> None:
    x, numbers = rand(2, 3, 4, 4), [rand(3, seed=i) for i in range(3)]
    var = np.abs(rand(3, seed=9)) + 0.5
    model, feeds = one_node("BatchNormalization", [x, *numbers, var], opset=opset, **settings)
    scale, bias, mean = (v.reshape(3, 1, 1) for v in numbers)
    close(both(model, feeds)[0], (x - mean) / np.sqrt(var.reshape(3, 1, 1) + 1e-5) * scale + bias, 1e-5)


def test_average_pool_by_operator_set_1() -> None:
    """No attribute says what padding counts for: it does not count."""
    model, feeds = one_node("AveragePool", [np.ones((1, 1, 3, 3), np.float32)], opset=1, kernel_shape=[3, 3],
                            pads=[1, 1, 1, 1])  # fmt: skip
    np.testing.assert_array_equal(both(model, feeds)[0], np.ones((1, 1, 3, 3), np.float32))


@needs_onnxruntime
def test_gemm_and_matmul_forms() -> None:
    a, b = rand(4, 5), rand(5, 6, seed=1)
    for c, (ta, tb), (alpha, beta) in itertools.product(
        (None, rand(6), rand(4, 1), rand(4, 6)), itertools.product((0, 1), (0, 1)), ((1.0, 1.0), (0.5, 2.0))
    ):
        given = [a.T.copy() if ta else a, b.T.copy() if tb else b, *(() if c is None else (c,))]
        model, feeds = one_node("Gemm", given, transA=ta, transB=tb, alpha=alpha, beta=beta)
        close(both(model, feeds)[0], rivals(model, feeds)[0], 1e-5)
    for shapes in (((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (2, 4, 5)), ((3, 4), (4,))):
        model, feeds = one_node("MatMul", [rand(*shapes[0]), rand(*shapes[1], seed=1)])
        close(both(model, feeds)[0], rivals(model, feeds)[0], 1e-5)


# --- whole networks


@needs_onnxruntime
@pytest.mark.parametrize("name", LIGHT)
def test_a_network_of_onnx(name: str) -> None:
    model = before_softmax(light(name))
    feeds = {model.graph.input[0].name: rand(1, 3, 224, 224)}
    expected = rivals(model, feeds)[0]
    assert expected.std() > 1e-3 * np.abs(expected).max()
    session = InferenceSession(model)
    close(session.run(None, feeds)[0], expected)
    planned = session.run(None, feeds)[0]
    close(planned, expected)
    np.testing.assert_array_equal(session.run(None, feeds)[0], planned)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_the_course(name: str) -> None:
    build, shapes = NETWORKS[name]
    model = build()
    session = InferenceSession(model)
    for seed, shape in enumerate(shapes):
        feeds = {"x": rand(*shape, seed=seed)}
        expected = rivals(model, feeds)
        for _ in range(3):  # traced, planned, and planned again
            got = session.run(None, feeds)
            for a, b in zip(got, expected, strict=True):
                close(a, b)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_fusions_the_answer_is_the_same(name: str) -> None:
    build, shapes = NETWORKS[name]
    model, feeds = build(), {"x": rand(*shapes[0])}
    plain, fused = InferenceSession(model, fuse=False), InferenceSession(model)
    assert len(plain._graph.nodes) >= len(fused._graph.nodes)
    for a, b in zip(plain.run(None, feeds), fused.run(None, feeds), strict=True):
        close(b, a)


def operators_of(session: InferenceSession) -> list[str]:
    return [node.op_type for node in session._graph.nodes]


def test_what_is_fused() -> None:
    net = Net()
    y = net.conv_norm("x", 3, 8)
    y = net.conv_norm(y, 8, 8, relu=False)
    y = net.add("Relu", net.add("Add", y, net.conv("x", 3, 8)))
    padded = net.add("Pad", y, net.constant([0, 0, 2, 1, 0, 0, 0, 3], np.int64), mode="reflect")
    y = net.conv(padded, 8, 4, pads=[0] * 4)
    y = net.add("Mul", y, net.add("HardSigmoid", y, alpha=1 / 6, beta=0.5))
    y = net.norm(net.pool(y), 4)
    y = net.add("Relu", y)
    model = net.model({"y": net.add("Dropout", y)})
    session = InferenceSession(model)
    kinds = [(node.op_type, node.get("activation")) for node in session._graph.nodes if node.op_type != "Identity"]
    assert kinds == [
        ("Conv", "relu"), ("Conv", None), ("Conv", "relu"), ("Conv", "hardswish"), ("MaxPool", None),
        ("Affine", "relu"),
    ]  # fmt: skip
    feeds = {"x": rand(2, 3, 12, 11)}
    for _ in range(2):
        close(session.run(None, feeds)[0], rivals(model, feeds)[0])


@pytest.mark.parametrize("op", ["Relu", "LeakyRelu", "Elu", "Sigmoid", "Tanh", "HardSwish", "Clip", "SiLU"])
@pytest.mark.parametrize("layer", ["conv", "transposed", "affine", "linear"])
def test_every_activation_is_fused_into_every_layer(op: str, layer: str) -> None:
    net = Net()
    if layer == "linear":
        y = net.linear(net.add("Flatten", "x"), 3 * 36, 5)
    else:
        y = {"conv": lambda: net.conv("x", 3, 5), "transposed": lambda: net.up("x", 3, 5),
             "affine": lambda: net.norm("x", 3)}[layer]()  # fmt: skip
    if op == "SiLU":
        y = net.add("Mul", y, net.add("Sigmoid", y))
    elif op == "Clip":
        y = net.add("Clip", y, net.constant(0, np.float32), net.constant(6, np.float32))
    else:
        y = net.add(op, y)
    model, feeds = net.model({"y": y}), {"x": rand(2, 3, 6, 6) * 3}
    session = InferenceSession(model)
    assert op not in operators_of(session)
    assert "Sigmoid" not in operators_of(session)
    for _ in range(2):
        close(session.run(None, feeds)[0], rivals(model, feeds)[0], 1e-5)


def test_a_sum_that_broadcasts_is_no_residual() -> None:
    net = Net()
    y = net.conv("x", 3, 4)
    gate = net.conv(net.add("GlobalAveragePool", "x"), 3, 4, 1)
    for first, second in ((gate, y), (y, gate)):
        model = replace_outputs(net, net.add("Relu", net.add("Add", first, second)))
        feeds = {"x": rand(1, 3, 6, 6)}
        session = InferenceSession(model)
        for _ in range(2):
            close(session.run(None, feeds)[0], rivals(model, feeds)[0], 1e-5)


def test_strided_convolutions_of_one_tap() -> None:
    net = Net()
    y = net.add("Relu", net.conv("x", 3, 128, 1, strides=[2, 3]))
    y = net.add("Add", net.conv("x", 3, 128, 1, strides=[2, 3]), y)
    model = net.model({"y": y, "few": net.conv("x", 3, 4, 1, strides=[2, 2])})
    session = InferenceSession(model)
    assert operators_of(session).count("Subsample") == 2
    for shape in ((1, 3, 8, 9), (2, 3, 7, 8)):
        for _ in range(2):
            for got, expected in zip(
                session.run(None, {"x": rand(*shape)}), rivals(model, {"x": rand(*shape)}), strict=True
            ):
                close(got, expected, 1e-5)


def test_constants_that_broadcast_over_channels_are_not_folded() -> None:
    net = Net()
    one = net.conv("x", 3, 1)
    many = net.constant(rand(1, 4, 1, 1))
    y = net.add("Add", net.add("Mul", net.norm(net.pool(one), 1), many), many)
    z = net.add("Div", net.add("Mul", net.conv("x", 3, 1), many), net.constant(2, np.float32))
    w = net.add("Sub", net.add("Mul", net.norm("x", 3), net.constant(3, np.float32)), net.constant(rand(3, 1, 1)))
    model, feeds = net.model({"y": y, "z": z, "w": w}), {"x": rand(2, 3, 8, 6)}
    session = InferenceSession(model)
    for _ in range(2):
        for got, expected in zip(session.run(None, feeds), rivals(model, feeds), strict=True):
            close(got, expected, 1e-5)


def test_scalars_are_arrays() -> None:
    model = Net().model({"y": "x"}, size=())
    for x in (np.float32(3), np.array(3, np.float32)):
        session = InferenceSession(one_node("Add", [np.array(1, np.float32), np.array(2, np.float32)])[0])
        for _ in range(2):
            got = session.run(None, {"x0": x, "x1": x})[0]
            assert isinstance(got, np.ndarray)
            assert got.shape == ()
            assert got == 6
        assert run(model, [x])[0] == 3


def replace_outputs(net: Net, value: str) -> Any:
    """Return a model of what the net has so far, and leave the net as it was."""
    copy = Net()
    copy.nodes, copy.weights = list(net.nodes), list(net.weights)
    return copy.model({"y": value})


def test_a_concat_is_no_step() -> None:
    net = Net()
    y, c = net.conv("x", 3, 4), 4
    for _ in range(3):
        # as DenseNet has it: each one holds the one before
        y, c = net.add("Concat", y, net.conv(y, c, 5), net.pool(y, 3, strides=[1, 1], pads=[1] * 4), axis=1), 2 * c + 5
    model, feeds = net.model({"y": net.conv(y, c, 2)}), {"x": rand(2, 3, 8, 9)}
    session = InferenceSession(model)
    for _ in range(3):
        close(session.run(None, feeds)[0], rivals(model, feeds)[0], 1e-5)
    (planned,) = session._plans.values()
    assert "Concat" not in [step.op for step in planned._steps]


def test_a_concat_copies_what_lies_elsewhere() -> None:
    net = Net()
    a, b = net.conv("x", 3, 4), net.pool("x", 3, strides=[1, 1], pads=[1] * 4)
    inner = net.add("Concat", a, b, axis=1)
    outer = net.add("Concat", inner, net.conv(inner, 7, 5), "x", a, net.constant(rand(2, 1, 8, 9)), axis=1)
    model, feeds = net.model({"y": net.conv(outer, 20, 2), "z": outer}), {"x": rand(2, 3, 8, 9)}
    session = InferenceSession(model)
    for _ in range(3):
        for got, expected in zip(session.run(None, feeds), rivals(model, feeds), strict=True):
            close(got, expected, 1e-5)


def test_shapes_are_computed_once() -> None:
    model, feeds = NETWORKS["FCN-8s"][0](), {"x": rand(1, 3, 64, 64)}
    session = InferenceSession(model)
    session.run(None, feeds)
    (planned,) = session._plans.values()
    assert not {"Shape", "Slice", "Dropout"} & {step.op for step in planned._steps}
    assert "Shape" in operators_of(session)


def test_memory_is_shared_by_what_is_not_needed_at_once() -> None:
    net = Net()
    y = "x"
    for _ in range(12):
        y = net.add("Relu", net.conv(y, 3, 3))
    session = InferenceSession(net.model({"y": y}))
    x = rand(1, 3, 64, 64)
    session.run(None, {"x": x})
    (planned,) = session._plans.values()
    assert planned.bytes <= 3 * x.nbytes


def test_planned_buffers_do_not_overlap_while_they_live() -> None:
    rng = np.random.default_rng(0)
    lives = {}
    for i in range(200):
        first = int(rng.integers(0, 100))
        lives[f"v{i}"] = (first, first + int(rng.integers(0, 12)), int(rng.integers(1, 5000)))
    offsets, total = plan._offsets(lives)
    for a, b in itertools.combinations(lives, 2):
        if lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]:
            assert offsets[a] + lives[a][2] <= offsets[b] or offsets[b] + lives[b][2] <= offsets[a]
    assert total < sum(size for *_, size in lives.values()) / 3


def test_results_are_the_callers_own() -> None:
    model = NETWORKS["U-Net"][0]()
    session = InferenceSession(model)
    x = rand(1, 3, 32, 32)
    kept = x.copy()
    first = session.run(None, {"x": x})[0]
    copy = first.copy()
    second = session.run(None, {"x": x + 1})[0]
    np.testing.assert_array_equal(first, copy)
    np.testing.assert_array_equal(x, kept)
    second[...] = 0
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], copy)
    # an output that is an input
    model, feeds = one_node("Identity", [x])
    session = InferenceSession(model)
    for _ in range(2):
        same = session.run(None, feeds)[0]
        assert not np.shares_memory(same, x)
        np.testing.assert_array_equal(same, x)


def test_any_strides_of_inputs() -> None:
    model = NETWORKS["U-Net"][0]()
    session = InferenceSession(model)
    x = rand(1, 3, 32, 32)
    expected = session.run(None, {"x": x})[0]
    for view in (np.asfortranarray(x), np.moveaxis(np.moveaxis(x, 1, -1).copy(), -1, 1), rand(1, 3, 32, 64)[..., ::2]):
        got = session.run(None, {"x": view})[0]
        close(got, session.run(None, {"x": view.copy()})[0])
    close(session.run(None, {"x": x})[0], expected)


def test_threads_may_share_a_session() -> None:
    model = NETWORKS["SE-ResNet"][0]()
    session = InferenceSession(model)
    inputs = [rand(1, 3, 40 + 8 * (i % 2), 40, seed=i) for i in range(6)]
    expected = [InferenceSession(model).run(None, {"x": x})[0] for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            got = session.run(None, {"x": inputs[i]})[0]
            wrong.extend([] if np.allclose(got, expected[i], atol=1e-5) else [i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_number_of_threads_changes_no_bit() -> None:
    model, feeds = NETWORKS["YOLO"][0](), {"x": rand(1, 3, 64, 64)}
    one, two = (InferenceSession(model, threads=threads) for threads in (1, 2))
    for _ in range(2):
        np.testing.assert_array_equal(one.run(None, feeds)[0], two.run(None, feeds)[0])


def test_plans_are_forgotten() -> None:
    session = InferenceSession(NETWORKS["U-Net"][0]())
    for size in range(8, 8 * 14, 8):
        session.run(None, {"x": rand(1, 3, size, 8)})
    assert len(session._plans) == 8


def test_empty_batches() -> None:
    session = InferenceSession(NETWORKS["SE-ResNet"][0]())
    for _ in range(2):
        assert session.run(None, {"x": np.zeros((0, 3, 64, 64), np.float32)})[0].shape == (0, 10)


def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    session = InferenceSession(NETWORKS["U-Net"][0]())
    x = rand(1, 3, 32, 32)
    plain = session.run(None, {"x": x})[0]
    got = session.run(None, {"x": x}, profile=True)[0]
    np.testing.assert_array_equal(got, plain)
    printed = capsys.readouterr().out
    assert session.profile is not None
    assert printed.strip() == str(session.profile).strip()
    assert "Conv" in printed
    assert "all nodes" in printed
    assert session.profile.seconds == sum(seconds for _, seconds in session.profile.by_operator().values())
    # also as the very first run of a shape
    assert InferenceSession(NETWORKS["U-Net"][0]()).run(["mask"], {"x": x}, profile=True)[0].shape == plain.shape


def test_a_branch_that_is_known_is_the_graph() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[n] y) <bool flag = {1}, float two = {2}> {
        y = If (flag) <
            then_branch = a () => (float[n] p) { p = Mul(x, two) },
            else_branch = b () => (float[n] q) { q = Neg(x) }>
    }"""
    model = onnx.parser.parse_model(text)
    session = InferenceSession(model)
    assert operators_of(session) == ["Mul", "Identity"] or operators_of(session) == ["Mul"]
    np.testing.assert_array_equal(session.run(None, {"x": np.ones(3, np.float32)})[0], [2, 2, 2])


def test_a_branch_that_depends_on_data() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x, bool flag) => (float[n] y) <float two = {2}> {
        z = Identity(x)
        y = If (flag) <
            then_branch = a () => (float[n] p) { p = Mul(z, two) },
            else_branch = b () => (float[n] q) { q = Neg(z) }>
    }"""
    session = InferenceSession(onnx.parser.parse_model(text))
    x = np.ones(3, np.float32)
    for flag, expected in ((True, 2), (False, -1), (True, 2)):
        np.testing.assert_array_equal(session.run(None, {"x": x, "flag": np.array(flag)})[0], [expected] * 3)


def test_functions_of_a_model() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    g (float[1, 1, 4, 4] x) => (float[1, 1, 4, 4] y) { y = own.twice(x) }
    <opset_import: ["" : 17], domain: "own"> twice (a) => (b) { b = Add(a, a) }"""
    x = rand(1, 1, 4, 4)
    np.testing.assert_array_equal(run(onnx.parser.parse_model(text), [x])[0], x + x)


def test_paths_bytes_and_protos(tmp_path: Path) -> None:
    model, feeds = one_node("Relu", [rand(2, 3)])
    onnx.save(model, tmp_path / "m.onnx")
    for form in (model, model.SerializeToString(), tmp_path / "m.onnx", str(tmp_path / "m.onnx")):
        np.testing.assert_array_equal(run(form, feeds)[0], np.maximum(feeds["x0"], 0))
    session = InferenceSession(model)
    assert session.input_names == ["x0"]
    assert session.output_names == ["y0"]
    assert session.get_inputs()[0].shape == (2, 3)
    assert session.get_inputs()[0].dtype == np.float32
    assert session.get_outputs()[0].name == "y0"


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda s, x: s.run(None, {}), pyconv.InvalidProblem, "is missing"),
        (lambda s, x: s.run(None, {"x": x, "z": x}), pyconv.InvalidProblem, "no input 'z'"),
        (lambda s, x: s.run(["z"], {"x": x}), pyconv.InvalidProblem, "no output 'z'"),
        (lambda s, x: s.run(None, {"x": x.astype(np.float64)}), TypeError, "must be float32"),
        (lambda s, x: s.run(None, {"x": x[0]}), pyconv.InvalidProblem, "must have axes"),
        (lambda s, x: s.run(None, {"x": x[:, :2]}), pyconv.InvalidProblem, "channels disagree"),
        (lambda s, x: InferenceSession(b"no model"), ValueError, "is no ONNX model"),
        (lambda s, x: InferenceSession("nowhere.onnx"), ValueError, "is no ONNX model"),
        (lambda s, x: InferenceSession(NETWORKS["U-Net"][0](), threads=0), ValueError, "between 1 and 256"),
    ],
)
def test_bad_input(call: Callable[..., Any], kind: type[Exception], words: str) -> None:
    session = InferenceSession(NETWORKS["U-Net"][0]())
    with pytest.raises(kind, match=words):
        call(session, rand(1, 3, 32, 32))


def test_a_failed_run_leaves_the_session_usable() -> None:
    session = InferenceSession(NETWORKS["U-Net"][0]())
    x = rand(1, 3, 32, 32)
    expected = session.run(None, {"x": x})[0]
    with pytest.raises(pyconv.InvalidProblem):
        session.run(None, {"x": x[:, :2]})
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], expected)


def test_the_backend() -> None:
    model, feeds = one_node("Relu", [rand(2, 3)])
    x = feeds["x0"]
    assert Backend.supports_device("CPU")
    assert not Backend.supports_device("CUDA")
    with pytest.raises(ValueError, match="CPU"):
        Backend.prepare(model, "CUDA")
    np.testing.assert_array_equal(Backend.run_model(model, [x])[0], np.maximum(x, 0))
    found = Backend.run_node(onnx.helper.make_node("Upsample", ["x"], ["y"], scales=[1.0, 2.0]), [x], opset_version=7)
    np.testing.assert_array_equal(found["y"], x.repeat(2, 1))


def test_constants_that_are_too_large_are_made_in_each_run() -> None:
    net = Net()
    shape = net.constant([1, 1, 5000, 5000], np.int64)
    big = net.add("Expand", net.constant(np.ones((1, 1, 1, 1)), np.float32), shape)
    model = net.model({"y": net.add("ReduceSum", net.add("Mul", big, "x"), net.constant([2, 3], np.int64))})
    loaded = graph.load(model)
    graph.fold_constants(loaded)
    assert "Expand" in [node.op_type for node in loaded.nodes]


# --- models with real weights that come inside other packages

_REAL = {
    "text detection": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", (256, 416)),
    "text direction": ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", (48, 192)),
    "text recognition": ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", (48, 320)),
}


def picture(size: tuple[int, int]) -> np.ndarray:
    """Return scikit-learn's photograph of a palace, around its middle, between -1 and 1."""
    samples = pytest.importorskip("sklearn.datasets")
    image = samples.load_sample_image("china.jpg").transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1
    top, left = ((have - want) // 2 for have, want in zip(image.shape[2:], size, strict=True))
    return np.ascontiguousarray(image[:, :, top : top + size[0], left : left + size[1]])


@needs_onnxruntime
@pytest.mark.parametrize("name", _REAL)
def test_a_model_with_real_weights(name: str) -> None:
    package, path, size = _REAL[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed; its wheel has the model")
    model = onnx.load(str(Path(spec.origin).parent / path))
    session = InferenceSession(model)
    feeds = {"x": picture(size)}
    expected = rivals(model, feeds)[0]
    for _ in range(2):
        # what is near 0 or 1 behind a sigmoid or a softmax is absolute
        np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=0, atol=1e-4)


# --- the command line, and what an import costs


def test_pyconv_run(tmp_path: Path, subprocess_environment: dict[str, str]) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("typer")
    net = Net(9)
    y = net.add("Flatten", net.add("GlobalAveragePool", net.conv_norm("x", 3, 8)))
    model = net.model({"y": net.add("Softmax", net.linear(y, 8, 7))}, size=(1, 3, 20, 30))
    onnx.save(model, tmp_path / "net.onnx")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    image.fromarray(pixels).save(tmp_path / "picture.png")
    command = [sys.executable, "-P", "-m", "pyconv", "run", str(tmp_path / "net.onnx"), "--input"]
    environment = {**subprocess_environment, "COLUMNS": "200", "TERM": "dumb"}

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, timeout=120)

    done = start(str(tmp_path / "picture.png"), "--top", "3", "--profile")
    assert done.returncode == 0, done.stderr
    resized = np.asarray(image.fromarray(pixels).resize((30, 20), image.Resampling.BILINEAR), np.float32) / 255
    x = (resized - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    scores = run(model, [np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32)])[0][0]
    best = np.argsort(-scores)[:3]
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    places = [
        next(i for i, line in enumerate(lines) if f"{scores[c]:.4f}" in line and f" {c} " in f" {line} ") for c in best
    ]
    assert places == sorted(places)
    assert "all nodes" in done.stdout
    assert start(str(tmp_path / "nothing.png")).returncode == 2
    (tmp_path / "labels.txt").write_text("".join(f"label{i}\n" for i in range(7)))
    done = start(str(tmp_path / "picture.png"), "--labels", str(tmp_path / "labels.txt"))
    assert f"label{best[0]}" in done.stdout


def test_import_of_pyconv_leaves_onnx_alone(subprocess_environment: dict[str, str]) -> None:
    code = "import sys, pyconv, pyconv.interop; assert 'onnx' not in sys.modules, 'onnx was imported'"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=subprocess_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_nodes_are_values() -> None:
    node = graph.load(one_node("Relu", [rand(2, 3)])[0]).nodes[0]
    assert replace(node, outputs=("other",)).wants(0)
    assert not replace(node, outputs=("",)).wants(0)
