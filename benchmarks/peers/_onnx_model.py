"""A layer as an ONNX model of one operation, all arrays but the first constant: what three of the rivals read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.peers import Array, Job
from benchmarks.shapes import Convolution, Layer
from benchmarks.shapes.conv import Transposed
from benchmarks.shapes.layers import BatchNorm, ResponseNorm
from benchmarks.shapes.pool import AdaptivePooling, Pooling
from benchmarks.shapes.roi import Boxes, Suppression
from benchmarks.shapes.sampling import Deformable, GridSample, Resize, Shuffle, Unfold

TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
# Old enough for every reader; what needs a newer one says so.
OPSET, IR_VERSION = 13, 8


@dataclass
class Graph:
    """The nodes from x to y, of a layer's constants and more."""

    constants: dict[str, Array]
    opset: int = OPSET
    nodes: list[NodeProto] = field(default_factory=list)

    def add(self, kind: str, inputs: tuple[str, ...], output: str = "y", **attributes: Any) -> None:
        """Append a node; an attribute that is None is left out."""
        given = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, [output], **given))


def _conv(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Convolution)
    transposed = isinstance(layer, Transposed)
    graph.add(
        "ConvTranspose" if transposed else "Conv",
        ("x", *graph.constants),
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=(*layer.padding, *layer.padding),
        dilations=layer.dilation,
        group=layer.groups,
        output_padding=layer.output_padding if isinstance(layer, Transposed) else None,
    )


def _linear(layer: Layer, graph: Graph) -> None:
    graph.add("Gemm", ("x", *graph.constants), transB=1)


def _pool(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Pooling)
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "avg": ("AveragePool", {"count_include_pad": 1}),
        "max": ("MaxPool", {}),
        "lp": ("LpPool", {"p": 2}),
    }
    kind, more = kinds[layer.kind]
    pads = (*layer.padding, *layer.padding)
    graph.add(kind, ("x",), kernel_shape=layer.kernel, strides=layer.stride, pads=pads, **more)
    if layer.indices:
        graph.nodes[-1].output.append("indices")


def _adaptive(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, AdaptivePooling)
    if set(layer.out) == {1}:
        graph.add({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[layer.kind], ("x",))
        return
    if not layer.divides:
        raise NotImplementedError("ONNX has windows of one size")
    size = tuple(a // b for a, b in zip(layer.spatial, layer.out, strict=True))
    graph.add({"max": "MaxPool", "avg": "AveragePool"}[layer.kind], ("x",), kernel_shape=size, strides=size)


def _roi_align(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Boxes)
    graph.opset = 16
    boxes = graph.constants.pop("boxes")
    graph.constants |= {"corners": boxes[:, 1:], "images": boxes[:, 0].astype("int64")}
    graph.add(
        "RoiAlign",
        ("x", "corners", "images"),
        output_height=layer.bins[0],
        output_width=layer.bins[1],
        sampling_ratio=layer.ratio,
        spatial_scale=1 / layer.shrink,
        coordinate_transformation_mode="half_pixel",
    )


def _nms(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Suppression)
    scores = graph.constants.pop("scores")
    graph.constants |= {
        "scores": scores[None, None],
        "first": np.array([0]),
        "most": np.array([layer.boxes]),
        "threshold": np.array([layer.threshold], np.float32),
        "column": np.array(2),
    }
    graph.add("Unsqueeze", ("x", "first"), "batch")
    graph.add("NonMaxSuppression", ("batch", "scores", "most", "threshold"), "kept")
    graph.add("Gather", ("kept", "column"), axis=1)


def _resize(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Resize)
    if layer.mode == "area" or layer.antialias:
        raise NotImplementedError("ONNX has no area mode, and its antialias has other weights")
    graph.constants["size"] = np.array((layer.n, layer.c, *layer.out))
    exact = "align_corners" if layer.corners else "half_pixel"
    nearest = layer.mode == "nearest"
    graph.add(
        "Resize",
        ("x", "", "", "size"),
        mode={"bilinear": "linear", "bicubic": "cubic", "nearest": "nearest"}[layer.mode],
        coordinate_transformation_mode="asymmetric" if nearest else exact,
        nearest_mode="floor" if nearest else None,
        cubic_coeff_a=-0.75 if layer.mode == "bicubic" else None,
    )


def _grid_sample(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, GridSample)
    graph.opset = 16
    graph.add("GridSample", ("x", "grid"), mode=layer.mode, padding_mode=layer.border, align_corners=0)


def _deform(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Deformable)
    graph.opset = 19
    inputs = ("x", "w", "offset", "bias", *(("mask",) if "mask" in graph.constants else ()))
    k = layer.kernel
    graph.add("DeformConv", inputs, kernel_shape=(k, k), pads=(k // 2,) * 4)


def _fold(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Unfold)
    graph.opset = 18
    graph.constants |= {"size": np.array(layer.spatial), "block": np.array((layer.kernel,) * 2)}
    strides, pads = (layer.stride,) * 2, (layer.padding,) * 4
    graph.add("Col2Im", ("x", "size", "block"), strides=strides, pads=pads)


def _shuffle(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, Shuffle)
    graph.add("DepthToSpace", ("x",), blocksize=layer.factor, mode="CRD")


def _batch_norm(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, BatchNorm)
    if layer.training:
        raise NotImplementedError("a model for inference has no batch statistics")
    graph.add("BatchNormalization", ("x", "w", "bias", "mean", "var"), epsilon=layer.EPS)


def _response_norm(layer: Layer, graph: Graph) -> None:
    assert isinstance(layer, ResponseNorm)
    graph.add("LRN", ("x",), size=layer.SIZE, alpha=layer.ALPHA, beta=layer.BETA)


def _activation(kind: str, **attributes: Any) -> Callable[[Layer, Graph], None]:
    return lambda layer, graph: graph.add(kind, ("x",), **attributes)


def _relu6(layer: Layer, graph: Graph) -> None:
    graph.constants |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    graph.add("Clip", ("x", "low", "high"))


def _silu(layer: Layer, graph: Graph) -> None:
    graph.add("Sigmoid", ("x",), "gate")
    graph.add("Mul", ("x", "gate"))


def _hardswish(layer: Layer, graph: Graph) -> None:
    graph.opset = 14
    graph.add("HardSwish", ("x",))


OPERATIONS: Mapping[str, Callable[[Layer, Graph], None]] = {
    "conv": _conv,
    "conv_transpose": _conv,
    "linear": _linear,
    "max_pool": _pool,
    "avg_pool": _pool,
    "lp_pool": _pool,
    "max_pool_indices": _pool,
    "adaptive_max_pool": _adaptive,
    "adaptive_avg_pool": _adaptive,
    "roi_align": _roi_align,
    "nms": _nms,
    "interpolate": _resize,
    "grid_sample": _grid_sample,
    "deform_conv": _deform,
    "fold": _fold,
    "pixel_shuffle": _shuffle,
    "batch_norm": _batch_norm,
    "local_response_norm": _response_norm,
    "relu": _activation("Relu"),
    "relu6": _relu6,
    "leaky_relu": _activation("LeakyRelu", alpha=0.01),
    "elu": _activation("Elu"),
    "sigmoid": _activation("Sigmoid"),
    "tanh": _activation("Tanh"),
    "silu": _silu,
    "hardswish": _hardswish,
}


def refuses(layer: Layer) -> str | None:
    """Return why a reader of such models cannot do the layer, or None."""
    return None if layer.operation in OPERATIONS else f"no model of {layer.operation}"


def model_of(job: Job) -> bytes:
    """Return the serialised model; its input is called x, its outputs y and, of maxima with their places, indices."""
    layer = job.layer
    first, *others = layer.inputs
    graph = Graph({name: job.arrays[name] for name in others if name in job.arrays})
    OPERATIONS[layer.operation](layer, graph)
    if job.activation is not None:
        graph.nodes[-1].output[0] = "before"
        graph.add("Relu", ("before",))
    kinds = {"float32": TYPES["float32"], "float64": TYPES["float64"], "int64": TensorProto.INT64}
    results = zip(("y", "indices"), layer.out_shapes, layer.out_types(job.dtype), strict=False)
    outputs = [helper.make_tensor_value_info(name, kinds[kind], shape) for name, shape, kind in results]
    built = helper.make_graph(
        graph.nodes,
        layer.name,
        [helper.make_tensor_value_info("x", TYPES[job.dtype], layer.shapes[first])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.INT64, [None])],
        [numpy_helper.from_array(array, name) for name, array in graph.constants.items()],
    )
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised
