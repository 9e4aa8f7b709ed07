"""The networks in onnx's own package, with weights: for benchmarks and tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["LIGHT", "before_softmax", "light"]

Array = np.ndarray[Any, Any]

#: onnx's names for its graphs without weights (onnx/backend/test/data/light).
LIGHT = {
    "AlexNet": "bvlc_alexnet", "ZFNet": "zfnet512", "VGG-19": "vgg19", "GoogLeNet": "inception_v1",
    "Inception v2": "inception_v2", "ResNet-50": "resnet50", "DenseNet-121": "densenet121", "SqueezeNet": "squeezenet",
    "ShuffleNet": "shufflenet",
}  # fmt: skip

#: Different weights of a layer at most; a prime.
_PERIOD = 4_999_999


def light(name: str, seed: int = 0) -> Any:
    """Return one of onnx's graphs with weights: He-normal kernels, normalisations near the identity.

    In the package every weight is made by a ConstantOfShape, so that all results of a network are alike.
    """
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
    model = onnx.load(str(folder / f"light_{LIGHT[name]}.onnx"))
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "ConstantOfShape"}
    # weights that reach a node through an Unsqueeze are its weights all the same
    behind = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Unsqueeze"}

    def source(value: str) -> str:
        while value in behind:
            value = behind[value]
        return value

    roles: dict[str, tuple[str, int]] = {}
    for node in graph.node:
        for place, value in enumerate(node.input):
            roles.setdefault(source(value), (node.op_type, place))
    rng = np.random.default_rng(seed)
    for value, node in made.items():
        size = tuple(int(n) for n in shapes[node.input[0]])
        tensor = numpy_helper.from_array(_weights(rng, roles.get(value, ("", 0)), size), value)
        graph.initializer.append(tensor)
    kept = [node for node in graph.node if node.op_type != "ConstantOfShape"]
    used = {value for node in kept for value in node.input}
    initializers = [tensor for tensor in graph.initializer if tensor.name in used]
    # old models list their weights among the inputs
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in known]
    for field, entries in (("node", kept), ("initializer", initializers), ("input", inputs)):
        copies = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
        graph.ClearField(field)
        getattr(graph, field).extend(copies)
    return model


def _weights(rng: np.random.Generator, role: tuple[str, int], size: tuple[int, ...]) -> Array:
    """Return numbers that keep the scale of what passes through."""
    op, place = role
    if op in ("Conv", "Gemm") and place == 1:
        fan_in, count = int(np.prod(size[1:])), int(np.prod(size))
        # a hundred million numbers take seconds; a period of a prime fits no row
        values = rng.standard_normal(min(count, _PERIOD), np.float32) * np.float32((2 / max(1, fan_in)) ** 0.5)
        return np.resize(values, size)
    if (op, place) in (("BatchNormalization", 1), ("Mul", 1)):
        return rng.uniform(0.8, 1.2, size).astype(np.float32)
    if (op, place) == ("BatchNormalization", 4):
        return rng.uniform(0.5, 1.5, size).astype(np.float32)
    return (rng.standard_normal(size, np.float32) * np.float32(0.1)).astype(np.float32)


def before_softmax(model: Any) -> Any:
    """Return the model with what goes into its last Softmax as its output, which says more of rounding."""
    found = type(model).FromString(model.SerializeToString())
    last = found.graph.node[-1]
    if last.op_type != "Softmax":
        return found
    found.graph.node.remove(last)
    found.graph.output[0].name = last.input[0]
    found.graph.output[0].type.tensor_type.ClearField("shape")
    return found
