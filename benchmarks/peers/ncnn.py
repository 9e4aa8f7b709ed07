"""ncnn: Winograd, sgemm and packed layouts on; float16 and bfloat16 off."""

from __future__ import annotations

import math
import tempfile

import numpy as np

from benchmarks.peers import Array, Job, Prepared, missing
from benchmarks.shapes import Convolution, Layer

# ncnn's parameter numbers (its docs/developer-guide/operators.md), per spatial axis in (w, h, d) order.
KERNEL_IDS, DILATION_IDS, STRIDE_IDS = (1, 11, 21), (2, 12, 22), (3, 13, 23)
PAD_BEFORE_IDS = (4, 14, 24)
C_OUT, BIAS_TERM, WEIGHT_COUNT, GROUPS, ACTIVATION = 0, 5, 6, 7, 9
#: Says in front of a layer's weights that they are plain float32.
FLOAT32_FLAG = b"\0\0\0\0"


def available() -> str | None:
    """Return why ncnn cannot be used here, or None."""
    return missing("ncnn")


def version() -> str:
    """Return ncnn's version."""
    import ncnn

    return str(ncnn.__version__)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why ncnn cannot do the layer, or None."""
    if layer.operation != "conv":
        return "measured with convolutions only"
    if dtype != "float32":
        return "ncnn computes in float32 and below"
    return None if layer.shapes["x"][0] == 1 else "ncnn takes one image a call"


def _net_text(layer: Convolution, w: Array, bias: Array | None, activation: str | None) -> str:
    """Return the network in ncnn's param format: an input and one convolution."""
    values = {C_OUT: layer.c_out, BIAS_TERM: int(bias is not None), WEIGHT_COUNT: w.size}
    for ids, sizes in (
        (KERNEL_IDS, layer.kernel),
        (DILATION_IDS, layer.dilation),
        (STRIDE_IDS, layer.stride),
        (PAD_BEFORE_IDS, layer.padding),
    ):
        # "after" pads default to the "before" ones.
        values |= dict(zip(ids, reversed(sizes), strict=False))
    if activation == "relu":
        values[ACTIVATION] = 1
    kind = "Convolution"
    if layer.groups > 1:
        kind, values[GROUPS] = "ConvolutionDepthWise", layer.groups
    suffix = {1: "1D", 2: "", 3: "3D"}[layer.rank]
    parameters = " ".join(f"{number}={value}" for number, value in sorted(values.items()))
    return f"7767517\n2 2\nInput x 0 1 x\n{kind}{suffix} conv 1 1 x y {parameters}\n"


def prepare(job: Job) -> Prepared:
    """Build a network of one convolution; x is wrapped, not copied."""
    import ncnn

    layer = job.layer
    assert isinstance(layer, Convolution)
    x, w, bias = (job.arrays.get(name) for name in layer.inputs)
    assert x is not None
    assert w is not None
    net = ncnn.Net()
    net.opt.num_threads = job.threads
    for half in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "bf16_packed"):
        if hasattr(net.opt, f"use_{half}"):
            setattr(net.opt, f"use_{half}", False)
    text = _net_text(layer, w, bias, job.activation)
    if net.load_param_mem(text) != 0:
        raise RuntimeError(f"ncnn does not read the network: {text!r}")
    with tempfile.NamedTemporaryFile(suffix=".bin") as file:
        file.write(FLOAT32_FLAG + w.tobytes() + (b"" if bias is None else bias.tobytes()))
        file.flush()
        if net.load_model(file.name) != 0:
            raise RuntimeError(f"ncnn does not take the weights of {text!r}")
    image = np.ascontiguousarray(x[0])
    elements = math.prod(layer.y_shape)

    def run() -> Array:
        extractor = net.create_extractor()
        extractor.input("x", ncnn.Mat(image))
        status, y = extractor.extract("y")
        array = np.asarray(y)
        if status != 0 or array.size != elements:
            raise RuntimeError(f"ncnn returned status {status} and shape {array.shape}, expected {layer.y_shape}")
        return array.reshape(layer.y_shape) if array.flags.c_contiguous else array[np.newaxis]

    return Prepared(run, "extract")
