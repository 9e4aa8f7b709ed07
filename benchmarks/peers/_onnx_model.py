"""A layer as an ONNX model of one Conv or pooling node, with constant weights: what three of the rivals read."""

from __future__ import annotations

from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.peers import Array
from benchmarks.shapes import BoxLayer, Layer

TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}
# Old enough for every reader; Conv has not changed since opset 11.
OPSET, IR_VERSION = 13, 8


def refuses(layer: Layer) -> str | None:
    """Return why a reader of such models cannot do the layer, or None."""
    return f"no model of {layer.pooling}" if layer.pooling not in ("", "max", "avg", "lp") else None


def conv_model(layer: Layer, w: Array, bias: Array | None, activation: str | None, dtype: str) -> bytes:
    """Return the serialised model; its input is called x, its output y."""
    if layer.pooling:
        return _serialised(layer, [_pool(layer)], {}, dtype)
    constants = {"w": w} if bias is None else {"w": w, "bias": bias}
    conv = helper.make_node(
        "Conv",
        ["x", *constants],
        ["y" if activation is None else "conv"],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=(*layer.padding, *layer.padding),
        dilations=layer.dilation,
        group=layer.groups,
    )
    nodes = [conv] if activation is None else [conv, helper.make_node("Relu", ["conv"], ["y"])]
    return _serialised(layer, nodes, constants, dtype)


def boxes_model(layer: BoxLayer, boxes: Array, dtype: str) -> bytes:
    """Return a model of one RoiAlign node, with constant boxes."""
    constants = {"boxes": boxes[:, 1:].astype(dtype), "images": boxes[:, 0].astype("int64")}
    node = helper.make_node(
        "RoiAlign",
        ["x", *constants],
        ["y"],
        output_height=layer.kernel[0],
        output_width=layer.kernel[1],
        sampling_ratio=layer.ratio,
        spatial_scale=1 / layer.shrink,
        coordinate_transformation_mode="half_pixel",
    )
    return _serialised(layer, [node], constants, dtype, opset=16)


def _pool(layer: Layer) -> NodeProto:
    more: dict[str, int] = {"avg": {"count_include_pad": 1}, "max": {}, "lp": {"p": 2}}[layer.pooling]
    if layer.adaptive and set(layer.out_spatial) == {1}:
        return helper.make_node({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[layer.pooling], ["x"], ["y"])
    return helper.make_node(
        {"max": "MaxPool", "avg": "AveragePool", "lp": "LpPool"}[layer.pooling],
        ["x"],
        ["y"],
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=(*layer.padding, *layer.padding),
        **more,
    )


def _serialised(
    layer: Layer, nodes: list[NodeProto], constants: dict[str, Array], dtype: str, opset: int = OPSET
) -> bytes:
    graph = helper.make_graph(
        nodes,
        layer.name,
        [helper.make_tensor_value_info("x", TYPES[dtype], layer.x_shape)],
        [helper.make_tensor_value_info("y", TYPES[dtype], layer.out_shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    serialised: bytes = model.SerializeToString()
    return serialised
