"""Small networks of every kind that the course teaches, as ONNX graphs with seeded weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pyconv

__all__ = ["NETWORKS", "Net", "one_node"]

Array = np.ndarray[Any, Any]
_KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "float16": TensorProto.FLOAT16,
          "float64": TensorProto.DOUBLE, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8,
          "int32": TensorProto.INT32, "bool": TensorProto.BOOL}  # fmt: skip


class Net:
    """A graph under construction; every method that adds a node returns the name of its result."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def many(self, op: str, inputs: Sequence[str], count: int, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.many(op, inputs, 1, **attributes)[0]

    def conv(self, x: str, c_in: int, c_out: int, k: int = 3, bias: bool = True, **attributes: Any) -> str:
        groups = attributes.get("group", 1)
        attributes.setdefault("pads", [k // 2] * 4)
        scale = math.sqrt(2 / (c_in // groups * k * k))
        w = self.constant(self.rng.standard_normal((c_out, c_in // groups, k, k)) * scale, np.float32)
        extra = [self.constant(self.rng.standard_normal(c_out) * 0.1, np.float32)] if bias else []
        return self.add("Conv", x, w, *extra, **attributes)

    def up(self, x: str, c_in: int, c_out: int, k: int = 2, **attributes: Any) -> str:
        w = self.constant(self.rng.standard_normal((c_in, c_out, k, k)) / math.sqrt(c_in * k), np.float32)
        return self.add("ConvTranspose", x, w, **{"strides": [2, 2], **attributes})

    def norm(self, x: str, c: int) -> str:
        numbers = (self.rng.uniform(0.5, 1.5, c), self.rng.standard_normal(c) * 0.1,
                   self.rng.standard_normal(c) * 0.1, self.rng.uniform(0.5, 1.5, c))  # fmt: skip
        return self.add("BatchNormalization", x, *(self.constant(v, np.float32) for v in numbers))

    def conv_norm(self, x: str, c_in: int, c_out: int, k: int = 3, relu: bool = True, **attributes: Any) -> str:
        y = self.norm(self.conv(x, c_in, c_out, k, bias=False, **attributes), c_out)
        return self.add("Relu", y) if relu else y

    def pool(self, x: str, k: int = 2, op: str = "MaxPool", **attributes: Any) -> str:
        return self.add(op, x, **{"kernel_shape": [k, k], "strides": [k, k], **attributes})

    def linear(self, x: str, c_in: int, c_out: int) -> str:
        w = self.constant(self.rng.standard_normal((c_out, c_in)) / math.sqrt(c_in), np.float32)
        return self.add("Gemm", x, w, self.constant(self.rng.standard_normal(c_out) * 0.1, np.float32), transB=1)

    def model(self, outputs: dict[str, str], size: Sequence[Any] = ("n", 3, "h", "w"), opset: int = 17) -> Any:
        """Return the model: outputs by name, with the names of their values."""
        for name, value in outputs.items():
            self.nodes.append(helper.make_node("Identity", [value], [name]))
        graph = helper.make_graph(
            self.nodes, "net", [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(size))],
            [onnx.ValueInfoProto(name=name) for name in outputs], self.weights,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def one_node(
    op: str, inputs: Sequence[Array | None], outputs: int = 1, opset: int = 17, domain: str = "", **attributes: Any
) -> tuple[Any, dict[str, Array]]:
    """Return a model of a single node, and its feeds."""
    names = ["" if value is None else f"x{i}" for i, value in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op, names, results, domain=domain, **attributes)
    feeds = {name: value for name, value in zip(names, inputs, strict=True) if value is not None}
    graph = helper.make_graph(
        [node], "one",
        [helper.make_tensor_value_info(name, _KINDS[v.dtype.name], v.shape) for name, v in feeds.items()],
        [onnx.ValueInfoProto(name=name) for name in results],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model), feeds


def se_resnet() -> Any:
    """Residual blocks whose channels are weighted by squeeze and excitation."""
    net = Net(1)

    def block(x: str, c_in: int, c_out: int, stride: int) -> str:
        y = net.conv_norm(x, c_in, c_out, strides=[stride, stride])
        y = net.conv_norm(y, c_out, c_out, relu=False)
        gate = net.add("Relu", net.conv(net.add("GlobalAveragePool", y), c_out, c_out // 4, 1))
        gate = net.add("Sigmoid", net.conv(gate, c_out // 4, c_out, 1))
        y = net.add("Mul", y, gate)
        short = (
            x if stride == 1 and c_in == c_out else net.conv_norm(x, c_in, c_out, 1, False, strides=[stride, stride])
        )
        return net.add("Relu", net.add("Add", y, short))

    y = net.pool(net.conv_norm("x", 3, 16, 7, strides=[2, 2]), 3, strides=[2, 2], pads=[1] * 4)
    for c_in, c_out, stride in ((16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)):
        y = block(y, c_in, c_out, stride)
    y = net.add("Flatten", net.add("GlobalAveragePool", y))
    return net.model({"y": net.linear(y, 64, 10)})


def fcn8s() -> Any:
    """A fully convolutional network: scores of three depths, enlarged, cropped and added."""
    net = Net(2)

    def crop(x: str, like: str) -> str:
        size = net.add("Slice", net.add("Shape", like), *(net.constant([v], np.int64) for v in (2, 4)))
        two = net.constant([1, 1], np.int64)
        return net.add("Slice", x, two, net.add("Add", size, two), net.constant([2, 3], np.int64))

    channels, y, pools = (3, 8, 12, 16, 24, 24), "x", []
    for i in range(5):
        y = net.add("Relu", net.conv(y, channels[i], channels[i + 1]))
        y = net.add("Relu", net.conv(y, channels[i + 1], channels[i + 1]))
        y = net.pool(y)
        pools.append(y)
    y = net.add("Relu", net.conv(y, 24, 48, 7))
    y = net.add("Relu", net.conv(net.add("Dropout", y), 48, 48, 1))
    score = net.conv(y, 48, 5, 1)
    for pool, c in ((pools[3], 24), (pools[2], 16)):
        side = net.conv(pool, c, 5, 1)
        score = net.add("Add", crop(net.up(score, 5, 5, 4), side), side)
    big = net.up(score, 5, 5, 16, strides=[8, 8], pads=[4] * 4)
    return net.model({"scores": big, "classes": net.add("ArgMax", big, axis=1, keepdims=0)})


def segnet() -> Any:
    """Un-pooling with the indices of the pooling."""
    net = Net(3)
    y, kept, c_in = "x", [], 3
    for c in (8, 16):
        y = net.conv_norm(y, c_in, c)
        size = net.add("Shape", y)
        y, indices = net.many("MaxPool", [y], 2, kernel_shape=[2, 2], strides=[2, 2])
        kept.append((indices, size, c_in))
        c_in = c
    for indices, size, c_out in reversed(kept):
        y = net.add("MaxUnpool", y, indices, size, kernel_shape=[2, 2], strides=[2, 2])
        y = net.conv_norm(y, c_in, max(c_out, 8))
        c_in = max(c_out, 8)
    return net.model({"y": net.add("Softmax", net.conv(y, 8, 4), axis=1)})


def unet() -> Any:
    """Skip connections through Concat."""
    net = Net(4)

    def double(x: str, c_in: int, c_out: int) -> str:
        return net.add("Relu", net.conv(net.add("Relu", net.conv(x, c_in, c_out)), c_out, c_out))

    skips, y, c = [], double("x", 3, 8), 8
    for _ in range(3):
        skips.append((y, c))
        y = double(net.pool(y), c, 2 * c)
        c *= 2
    for skip, width in reversed(skips):
        y = double(net.add("Concat", skip, net.up(y, c, width), axis=1), 2 * width, width)
        c = width
    return net.model({"mask": net.add("Sigmoid", net.conv(y, 8, 1, 1))})


def ssd() -> Any:
    """Heads on maps of several sizes, joined to one list of boxes."""
    net = Net(5)
    y, c, boxes, scores = net.conv_norm("x", 3, 16, strides=[2, 2]), 16, [], []
    for _ in range(3):
        # depthwise and pointwise, as MobileNet has them, up to 6
        y = net.norm(net.conv(y, c, c, group=c, strides=[2, 2], bias=False), c)
        y = net.add("Clip", y, net.constant(0, np.float32), net.constant(6, np.float32))
        y = net.conv_norm(y, c, 2 * c, 1)
        c *= 2
        for found, each in ((boxes, 4), (scores, 6)):
            turned = net.add("Transpose", net.conv(y, c, 3 * each), perm=[0, 2, 3, 1])
            found.append(net.add("Reshape", turned, net.constant([0, -1, each], np.int64)))
    return net.model({
        "boxes": net.add("Concat", *boxes, axis=1),
        "scores": net.add("Softmax", net.add("Concat", *scores, axis=1), axis=2),
    })  # fmt: skip


def yolo() -> Any:
    """SiLU convolutions, pyramid pooling, nearest-neighbour upsampling, and decoded boxes."""
    net = Net(6)

    def silu(x: str, c_in: int, c_out: int, k: int = 3, **attributes: Any) -> str:
        y = net.norm(net.conv(x, c_in, c_out, k, bias=False, **attributes), c_out)
        return net.add("Mul", y, net.add("Sigmoid", y))

    def bottleneck(x: str, c: int) -> str:
        return net.add("Add", x, silu(silu(x, c, c // 2, 1), c // 2, c))

    y = silu("x", 3, 16, 6, strides=[2, 2], pads=[2] * 4)
    a = bottleneck(silu(y, 16, 32, strides=[2, 2]), 32)
    b = bottleneck(silu(a, 32, 64, strides=[2, 2]), 64)
    half = silu(b, 64, 32, 1)
    pools = [half]
    for _ in range(3):
        pools.append(net.pool(pools[-1], 5, strides=[1, 1], pads=[2] * 4))
    b = silu(net.add("Concat", *pools, axis=1), 128, 64, 1)
    up = net.add("Resize", silu(b, 64, 32, 1), "", net.constant([1, 1, 2, 2], np.float32), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    a = silu(net.add("Concat", up, a, axis=1), 64, 32)
    heads = []
    for level, c, stride in ((a, 32, 4.0), (b, 64, 8.0)):
        raw = net.conv(level, c, 3 * 9, 1)
        size = net.add("Shape", raw)
        sides = [net.add("Slice", size, *(net.constant([v], np.int64) for v in ends)) for ends in ((0, 1), (2, 4))]
        shape = net.add("Concat", sides[0], net.constant([3, 9], np.int64), sides[1], axis=0)
        turned = net.add("Transpose", net.add("Reshape", raw, shape), perm=[0, 1, 3, 4, 2])
        place, extent, rest = net.many(
            "Split", [net.add("Sigmoid", turned), net.constant([2, 2, 5], np.int64)], 3, axis=4
        )
        two, half_, pixels = (net.constant(v, np.float32) for v in (2, 0.5, stride))
        centre = net.add("Mul", net.add("Sub", net.add("Mul", place, two), half_), pixels)
        side = net.add("Mul", net.add("Pow", net.add("Mul", extent, two), two), pixels)
        decoded = net.add("Concat", centre, side, rest, axis=4)
        heads.append(net.add("Reshape", decoded, net.constant([0, -1, 9], np.int64)))
    return net.model({"boxes": net.add("Concat", *heads, axis=1)})


def yolo_v3() -> Any:
    """The older kind: leaky_relu and a Darknet residual."""
    net = Net(7)

    def leaky(x: str, c_in: int, c_out: int, k: int = 3, **attributes: Any) -> str:
        return net.add("LeakyRelu", net.norm(net.conv(x, c_in, c_out, k, bias=False, **attributes), c_out), alpha=0.1)

    y = leaky(leaky("x", 3, 8), 8, 16, strides=[2, 2])
    y = net.add("Add", y, leaky(leaky(y, 16, 8, 1), 8, 16))
    deep = leaky(y, 16, 32, strides=[2, 2])
    up = net.add("Resize", leaky(deep, 32, 16, 1), net.constant([], np.float32), net.constant([1, 1, 2, 2], np.float32))
    y = leaky(net.add("Concat", up, y, axis=1), 32, 16)
    return net.model({"small": net.conv(y, 16, 24, 1), "large": net.conv(deep, 32, 24, 1)}, opset=11)


def faster_rcnn(size: int = 96) -> Any:
    """A region proposal network with anchors, proposals by suppression, and a head on RoIAlign."""
    net = Net(8)
    y = net.conv_norm("x", 3, 16, strides=[2, 2])
    y = net.conv_norm(y, 16, 24, strides=[2, 2])
    features = net.conv_norm(y, 24, 32, strides=[2, 2])
    anchors = pyconv.anchors((size // 8, size // 8), 8, (16, 32), (0.5, 1.0, 2.0)).reshape(-1, 4).astype(np.float32)
    count = 6
    rpn = net.add("Relu", net.conv(features, 32, 32))
    logits = net.add("Transpose", net.conv(rpn, 32, count, 1), perm=[0, 2, 3, 1])
    objectness = net.add("Sigmoid", net.add("Reshape", logits, net.constant([-1], np.int64)))
    deltas = net.add("Transpose", net.conv(rpn, 32, 4 * count, 1), perm=[0, 2, 3, 1])
    deltas = net.add("Mul", net.add("Reshape", deltas, net.constant([-1, 4], np.int64)), net.constant(0.1, np.float32))
    half = np.float32(0.5)
    shift, growth = net.many("Split", [deltas, net.constant([2, 2], np.int64)], 2, axis=1)
    extent = net.constant(anchors[:, 2:] - anchors[:, :2])
    centre = net.add("Add", net.add("Mul", shift, extent), net.constant((anchors[:, 2:] + anchors[:, :2]) * half))
    sides = net.add("Mul", net.add("Mul", net.add("Exp", growth), extent), net.constant(half))
    corners = net.add("Concat", net.add("Sub", centre, sides), net.add("Add", centre, sides), axis=1)
    low, high = net.constant(0, np.float32), net.constant(size, np.float32)
    corners = net.add("Clip", corners, low, high)
    best, index = net.many("TopK", [objectness, net.constant([200], np.int64)], 2)
    corners = net.add("Gather", corners, index)
    axes = [net.constant(v, np.int64) for v in ([0], [0, 1], [1])]
    kept = net.add(
        "NonMaxSuppression", net.add("Unsqueeze", corners, axes[0]), net.add("Unsqueeze", best, axes[1]),
        net.constant([40], np.int64), net.constant([0.6], np.float32), net.constant([0.05], np.float32),
    )  # fmt: skip
    chosen = net.add("Gather", kept, net.constant(2, np.int64), axis=1)
    rois = net.add("Gather", corners, chosen)
    images = net.add("Gather", kept, net.constant(0, np.int64), axis=1)
    crops = net.add("RoiAlign", features, rois, images, output_height=5, output_width=5, sampling_ratio=2,
                    spatial_scale=1 / 8, coordinate_transformation_mode="half_pixel")  # fmt: skip
    head = net.add("Relu", net.linear(net.add("Flatten", crops), 32 * 25, 48))
    return net.model({
        "rois": rois, "classes": net.add("Softmax", net.linear(head, 48, 4), axis=-1),
        "deltas": net.linear(head, 48, 16),
    }, size=(1, 3, size, size))  # fmt: skip


#: The networks by name, each with the sizes of two inputs.
NETWORKS = {
    "SE-ResNet": (se_resnet, ((1, 3, 64, 64), (2, 3, 50, 70))),
    "FCN-8s": (fcn8s, ((1, 3, 64, 64), (2, 3, 96, 64))),
    "SegNet": (segnet, ((1, 3, 32, 32), (2, 3, 24, 40))),
    "U-Net": (unet, ((1, 3, 64, 64), (2, 3, 40, 48))),
    "SSD": (ssd, ((1, 3, 64, 64), (2, 3, 48, 80))),
    "YOLO": (yolo, ((1, 3, 64, 64), (2, 3, 48, 80))),
    "YOLOv3": (yolo_v3, ((1, 3, 32, 32), (2, 3, 40, 24))),
    "Faster R-CNN": (faster_rcnn, ((1, 3, 96, 96), (1, 3, 96, 96))),
}
