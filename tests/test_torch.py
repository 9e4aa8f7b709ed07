"""``interop.torch`` against torch and torchvision: values, gradients of any order, the ways of calls, ``patch()``."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

torch: Any = pytest.importorskip(
    "torch", reason="torch is not installed (it is no part of [test]): pip install 'pyconv-kernels[torch]'"
)

import torch.nn.functional as F  # noqa: E402

import pyconv  # noqa: E402
import pyconv.interop.torch as ours  # noqa: E402
from pyconv import registry  # noqa: E402
from pyconv.interop.torch import operators, packs, patch, vision  # noqa: E402
from pyconv.options import current  # noqa: E402

try:
    import torchvision.ops as tv
except (ImportError, RuntimeError):
    tv = None

needs_torchvision = pytest.mark.skipif(tv is None, reason="torchvision is not installed, or made for another torch")
#: As torch has them while nobody has replaced them.
THEIRS = {name: getattr(F, name) for name in ours.functional.__all__}
VISION = {name: getattr(tv, name) for name in vision.__all__} if tv is not None else {}


def theirs_of(name: str) -> Callable[..., Any]:
    return THEIRS[name] if name in THEIRS else VISION[name]


def taken(name: str, *arguments: Any, **settings: Any) -> Any:
    """Call a drop-in that must not hand the call to torch."""
    found = getattr(ours, name).__wrapped__(*arguments, **settings)
    assert found is not NotImplemented
    return found


def normal(*shape: int, seed: int = 0, dtype: Any = torch.float64) -> Any:
    return torch.from_numpy(np.random.default_rng([seed, *shape]).standard_normal(shape)).to(dtype)


@dataclass(frozen=True)
class Case:
    """A call: the floating arguments by shape (or made by a function), and the rest."""

    name: str
    shapes: tuple[Any, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    after: tuple[Any, ...] = ()
    #: Which of the floating arguments have gradients.
    differentiable: tuple[bool, ...] | None = None

    def __str__(self) -> str:
        words = [f"{name}={value}" for name, value in self.settings.items()]
        shapes = [str(tuple(shape)).replace(" ", "") if isinstance(shape, tuple) else "-" for shape in self.shapes]
        return " ".join([self.name, *shapes, *map(str, self.after), *words]).replace("\n", "")

    def tensors(self, dtype: Any = torch.float64) -> list[Any]:
        made: list[Any] = []
        for i, shape in enumerate(self.shapes):
            made.append(
                shape(dtype) if callable(shape) else None if shape is None else normal(*shape, seed=i, dtype=dtype)
            )
        return made

    def wants(self) -> list[bool]:
        flags = self.differentiable or (True,) * len(self.shapes)
        return [flag and shape is not None for flag, shape in zip(flags, self.shapes, strict=True)]


def variances(*shape: int) -> Callable[[Any], Any]:
    return lambda dtype: normal(*shape, seed=7, dtype=dtype).abs() + 0.5


def places(*shape: int) -> Callable[[Any], Any]:
    """Coordinates inside and a little outside."""

    def make(dtype: Any) -> Any:
        rng = np.random.default_rng([3, *shape])
        return torch.from_numpy(rng.uniform(-1.1, 1.1, shape)).to(dtype)

    return make


def apart(*shape: int) -> Callable[[Any], Any]:
    """Values that are all different by more than any step of a numerical gradient."""

    def make(dtype: Any) -> Any:
        rng = np.random.default_rng([5, *shape])
        return torch.from_numpy(rng.permutation(int(np.prod(shape))).reshape(shape) / 10 - 2).to(dtype)

    return make


def unpool_indices(*shape: int, size: int) -> Any:
    rng = np.random.default_rng([11, *shape])
    planes = [rng.permutation(size)[: int(np.prod(shape[2:]))] for _ in range(int(np.prod(shape[:2])))]
    return torch.from_numpy(np.stack(planes).reshape(shape))


BOXES = torch.tensor([[0, 0.3, 0.6, 5.2, 6.1], [1, 1.1, 0.2, 7.4, 3.9], [0, 2.3, 2.7, 3.1, 8.2]], dtype=torch.float64)

CASES = [
    Case("conv1d", ((2, 4, 11), (6, 4, 3), (6,)), {"stride": 2, "padding": 1}),
    Case("conv1d", ((4, 11), (6, 2, 3), None), {"dilation": 2, "groups": 2}),
    Case("conv2d", ((2, 4, 7, 6), (6, 4, 3, 3), (6,)), {"padding": 1}),
    Case("conv2d", ((2, 4, 9, 8), (6, 2, 3, 2), (6,)), {"stride": (2, 1), "padding": (1, 0), "groups": 2}),
    Case("conv2d", ((2, 4, 9, 8), (4, 1, 3, 3), None), {"stride": 2, "padding": [1, 2], "dilation": 2, "groups": 4}),
    Case("conv2d", ((4, 6, 6), (3, 4, 1, 1), (3,))),
    Case("conv2d", ((1, 2, 6, 7), (3, 2, 4, 3), (3,)), {"padding": "same", "dilation": (1, 2)}),
    Case("conv2d", ((1, 2, 6, 7), (3, 2, 4, 3), (3,)), {"padding": "valid", "stride": 2}),
    Case("conv3d", ((1, 2, 5, 6, 4), (4, 2, 3, 2, 1), (4,)), {"stride": (1, 2, 1), "padding": (1, 0, 1)}),
    Case("conv_transpose1d", ((2, 4, 5), (4, 3, 3), (3,)), {"stride": 2, "output_padding": 1}),
    Case("conv_transpose2d", ((2, 4, 4, 3), (4, 3, 3, 2), (6,)), {"stride": (2, 3), "padding": (1, 0), "groups": 2}),
    Case("conv_transpose2d", ((4, 4, 3), (4, 3, 3, 3), None), {"padding": 1, "dilation": 2, "output_padding": 1}),
    Case("conv_transpose3d", ((1, 2, 3, 2, 3), (2, 2, 2, 3, 2), (2,)), {"stride": 2}),
    Case("linear", ((3, 5), (4, 5), (4,))),
    Case("linear", ((2, 3, 5), (4, 5), None)),
    Case("linear", ((5,), (4, 5), (4,))),
    Case("max_pool1d", (apart(2, 3, 9),), after=(3, 2, 1)),
    Case("max_pool2d", (apart(2, 3, 8, 7),), after=(2,)),
    Case("max_pool2d", (apart(3, 8, 7),), {"padding": (1, 0), "dilation": (1, 2), "ceil_mode": True}, ((3, 2), (2, 1))),
    Case("max_pool3d", (apart(1, 2, 5, 6, 4),), {"stride": 1}, (2,)),
    Case("avg_pool1d", ((2, 3, 9),), {"ceil_mode": True, "count_include_pad": False}, (3, 2, 1)),
    Case("avg_pool2d", ((2, 3, 8, 7),), after=(2,)),
    Case("avg_pool2d", ((3, 8, 7),), {"padding": 1, "ceil_mode": True, "divisor_override": 5}, ((3, 2), (2, 1))),
    Case("avg_pool3d", ((1, 2, 5, 6, 4),), {"padding": 1}, (3, 2)),
    Case("lp_pool1d", (variances(2, 3, 9),), after=(3.0, 3, 2)),
    Case("lp_pool2d", (variances(2, 3, 8, 7),), {"ceil_mode": True}, (2, (3, 2))),
    Case("lp_pool3d", (variances(1, 2, 5, 6, 4),), after=(1.5, 2)),
    Case("adaptive_avg_pool1d", ((2, 3, 9),), after=(4,)),
    Case("adaptive_avg_pool2d", ((2, 3, 8, 7),), after=((3, None),)),
    Case("adaptive_avg_pool3d", ((2, 5, 6, 4),), after=(2,)),
    Case("adaptive_max_pool1d", (apart(2, 3, 9),), after=(4,)),
    Case("adaptive_max_pool2d", (apart(2, 3, 8, 7),), after=((None, 3),)),
    Case("adaptive_max_pool3d", (apart(1, 2, 5, 6, 4),), after=(2,)),
    Case("max_unpool1d", ((2, 3, 4),), after=(unpool_indices(2, 3, 4, size=8), 2)),
    Case("max_unpool2d", ((2, 3, 4, 3),), {"output_size": (2, 3, 9, 7)}, (unpool_indices(2, 3, 4, 3, size=63), 2)),
    Case("max_unpool2d", ((2, 3, 4, 3),), after=(unpool_indices(2, 3, 4, 3, size=35), 3, 2, 1)),
    Case("max_unpool3d", ((1, 2, 2, 2, 2),), after=(unpool_indices(1, 2, 2, 2, 2, size=64), 2)),
    Case("batch_norm", ((2, 3, 4, 5), (3,), variances(3), (3,), (3,)),
         differentiable=(True, False, False, True, True)),
    Case("batch_norm", ((4, 3), (3,), variances(3), None, None), {"eps": 0.1},
         differentiable=(True, False, False, False, False)),
    Case("batch_norm", ((2, 3, 4, 5), (3,), variances(3), (3,), (3,)), {"training": True, "momentum": 0.3},
         differentiable=(True, False, False, True, True)),
    Case("batch_norm", ((3, 3, 4), None, None, (3,), None), {"training": True},
         differentiable=(True, False, False, True, False)),
    Case("local_response_norm", ((2, 6, 4, 5),), {"alpha": 0.5, "beta": 0.6, "k": 1.5}, (3,)),
    Case("interpolate", ((2, 3, 5),), {"scale_factor": 2}),
    Case("interpolate", ((2, 3, 5, 4),), {"size": (7, 9), "mode": "bilinear", "align_corners": True}),
    Case("interpolate", ((2, 3, 5, 4),), {"scale_factor": (1.5, 2.25), "mode": "bicubic"}),
    Case("interpolate", ((2, 3, 8, 9),), {"size": 4, "mode": "bilinear", "antialias": True}),
    Case("interpolate", ((2, 3, 8, 9),), {"scale_factor": 0.5, "mode": "area", "recompute_scale_factor": True}),
    Case("interpolate", ((1, 2, 3, 4, 3),), {"scale_factor": 1.5, "mode": "trilinear"}),
    Case("interpolate", ((2, 3, 5, 4),), {"size": (8, 3), "mode": "nearest-exact"}),
    Case("grid_sample", ((2, 3, 5, 6), places(2, 3, 4, 2)), {"align_corners": False}),
    Case("grid_sample", ((2, 3, 5, 6), places(2, 3, 4, 2)),
         {"mode": "bicubic", "padding_mode": "reflection", "align_corners": True}),
    Case("grid_sample", ((1, 2, 3, 4, 5), places(1, 2, 3, 2, 3)), {"padding_mode": "border", "align_corners": True}),
    Case("affine_grid", ((2, 2, 3),), {"align_corners": False}, ((2, 3, 4, 5),)),
    Case("affine_grid", ((1, 3, 4),), {"align_corners": True}, ((1, 2, 3, 2, 4),)),
    Case("unfold", ((2, 3, 7, 6),), after=((3, 2), 1, (1, 0), 2)),
    Case("unfold", ((3, 7, 6),), {"dilation": 2}, (2,)),
    Case("fold", ((2, 18, 12),), after=((7, 6), (3, 2), 1, (1, 0), 2)),
    Case("pixel_shuffle", ((2, 8, 3, 4),), after=(2,)),
    Case("pixel_unshuffle", ((2, 3, 6, 9),), after=(3,)),
    Case("roi_align", ((2, 3, 9, 10),), {"spatial_scale": 0.8, "sampling_ratio": 2, "aligned": True}, (BOXES, (3, 2))),
    Case("roi_align", ((2, 3, 9, 10),), after=([BOXES[:2, 1:], BOXES[2:, 1:]], 2)),
    Case("roi_pool", (apart(2, 3, 9, 10),), after=(BOXES, (2, 3), 0.9)),
    Case("ps_roi_align", ((2, 12, 9, 10),), {"sampling_ratio": 2}, (BOXES, 2)),
    Case("ps_roi_pool", ((2, 12, 10, 11),), {"spatial_scale": 0.8}, (BOXES, 2)),
    Case("deform_conv2d", ((2, 4, 6, 5), lambda dtype: places(2, 18, 6, 5)(dtype) * 0.9, (6, 2, 3, 3), (6,)),
         {"padding": (1, 1)}),
    Case("deform_conv2d", ((2, 4, 6, 5), lambda dtype: places(2, 16, 3, 2)(dtype) * 0.9, (4, 4, 2, 2), None),
         {"stride": (2, 2), "mask": normal(2, 8, 3, 2, seed=9)}),
]  # fmt: skip
if tv is None:
    CASES = [case for case in CASES if case.name in THEIRS]


def first_of(found: Any) -> Any:
    return found[0] if isinstance(found, tuple) else found


def settings_of(case: Case, dtype: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return what follows the floating arguments, tensors among it in the type of the call."""

    def convert(value: Any) -> Any:
        if isinstance(value, list):
            return [convert(entry) for entry in value]
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    return [convert(value) for value in case.after], {name: convert(value) for name, value in case.settings.items()}


def close(found: Any, expected: Any, dtype: Any, exact_places: bool = True) -> None:
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    # places of samples are computed in float64 here, in float32 there (docs/conventions.md)
    bound = 1e-11 if dtype is torch.float64 else 1e-5 if exact_places else 1e-4
    torch.testing.assert_close(found, expected, rtol=0, atol=bound * scale)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case: Case, dtype: Any) -> None:
    after, settings = settings_of(case, dtype)
    exact = case.name not in ("interpolate", "grid_sample", "affine_grid", "deform_conv2d")

    def run(call: Callable[..., Any]) -> tuple[Any, list[Any], list[Any]]:
        tensors = case.tensors(dtype)
        with torch.no_grad():
            direct = call(*tensors, *after, **settings)
        tensors = case.tensors(dtype)
        for tensor, wanted in zip(tensors, case.wants(), strict=True):
            if wanted:
                tensor.requires_grad_()
        y = call(*tensors, *after, **settings)
        g = normal(*y.shape, seed=99, dtype=dtype)
        inputs = [tensor for tensor, wanted in zip(tensors, case.wants(), strict=True) if wanted]
        gradients = torch.autograd.grad(y, inputs, g)
        statistics = [t for t in tensors[1:3] if t is not None] if case.name == "batch_norm" else []
        return y.detach(), [direct, *statistics], list(gradients)

    y, others, gradients = run(lambda *a, **k: taken(case.name, *a, **k))
    expected_y, expected_others, expected_gradients = run(theirs_of(case.name))
    for found, expected in zip(
        [y, *others, *gradients], [expected_y, *expected_others, *expected_gradients], strict=True
    ):
        close(found, expected, dtype, exact)


def graph_inputs(case: Case) -> list[Any]:
    tensors = case.tensors()
    for tensor, wanted in zip(tensors, case.wants(), strict=True):
        if wanted:
            tensor.requires_grad_()
    return tensors


#: Those whose gradients have gradients.
MANY_TIMES = {
    "affine_grid", "interpolate", "linear", "fold", "pixel_shuffle", "pixel_unshuffle", "ps_roi_align", "ps_roi_pool",
    "roi_align", "unfold",
    *(f"{name}{rank}d" for rank in (1, 2, 3) for name in (
        "adaptive_avg_pool", "adaptive_max_pool", "avg_pool", "conv", "conv_transpose", "max_pool", "max_unpool"
    )),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradcheck(case: Case) -> None:
    after, settings = settings_of(case, torch.float64)

    def call(*tensors: Any) -> Any:
        # training changes the statistics
        given = [
            t.clone() if i in (1, 2) and case.name == "batch_norm" and t is not None else t
            for i, t in enumerate(tensors)
        ]
        return taken(case.name, *given, *after, **settings)

    inputs = graph_inputs(case)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    if case.name in MANY_TIMES:
        assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)
    else:
        y = call(*inputs)
        wanted = [t for t in inputs if t is not None and t.requires_grad]
        first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
        with pytest.raises(pyconv.Unsupported, match="no second derivative; call this part"):
            torch.autograd.grad(first[0].square().sum(), wanted)


@needs_torchvision
def test_gradient_of_a_mask() -> None:
    x, offset, w = normal(2, 4, 6, 5), places(2, 16, 3, 2)(torch.float64), normal(4, 4, 2, 2)
    mask = normal(2, 8, 3, 2).requires_grad_()

    def call(offset: Any, mask: Any) -> Any:
        return taken("deform_conv2d", x, offset, w, None, 2, 0, 1, mask)

    assert torch.autograd.gradcheck(call, (offset.requires_grad_(), mask), fast_mode=True)
    expected = VISION["deform_conv2d"](x, offset, w, None, 2, 0, 1, mask)
    torch.testing.assert_close(call(offset, mask), expected)


def test_many_gradients_at_once() -> None:
    """The backward pass under vmap, as torch.autograd.functional has it."""
    x, w = normal(1, 2, 5, 5).requires_grad_(), normal(3, 2, 3, 3)
    answers = []
    for conv2d, pool in ((ours.conv2d, ours.max_pool2d), (THEIRS["conv2d"], THEIRS["max_pool2d"])):
        y = pool(conv2d(x, w), 2)
        g = normal(4, *y.shape)
        answers.append(torch.autograd.grad(y, x, g, is_grads_batched=True)[0])
        loss = lambda t, conv2d=conv2d: conv2d(t, w).pow(3).sum()  # noqa: E731
        answers.append(torch.autograd.functional.hessian(loss, x.detach(), vectorize=True))
    torch.testing.assert_close(answers[0], answers[2])
    torch.testing.assert_close(answers[1], answers[3])


def test_third_derivatives() -> None:
    x, w = normal(1, 2, 5, 5).requires_grad_(), normal(2, 2, 3, 3, seed=1).requires_grad_()

    def third(call: Callable[..., Any]) -> Any:
        y = call(x, w, padding=1)
        (gx,) = torch.autograd.grad(y.pow(4).sum(), x, create_graph=True)
        (gw,) = torch.autograd.grad(gx.pow(2).sum(), w, create_graph=True)
        return torch.autograd.grad(gw.pow(2).sum(), x)[0]

    found, expected = third(ours.conv2d), third(THEIRS["conv2d"])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-8)


SAMPLES: dict[str, list[tuple[Any, ...]]] = {
    "conv": [
        ((2, 4, 7, 6), (6, 2, 3, 3), (6,), [2, 1], [1, 0], [1, 2], 2),
        ((4, 7), (6, 4, 3), None, [1], [1, 2], [1], 1),
    ],
    "conv_grad_x": [((2, 6, 7, 6), (6, 4, 3, 3), [2, 4, 7, 6], [1, 1], [1, 1], [1, 1], 1)],
    "conv_grad_w": [((2, 6, 7, 6), (2, 4, 7, 6), [6, 4, 3, 3], [1, 1], [1, 1], [1, 1], 1)],
    "conv_transpose": [((2, 4, 3, 3), (4, 3, 3, 3), (6,), [2, 2], [1, 1], [1, 0], 2, [1, 1])],
    "conv_transpose_grad_x": [((2, 3, 6, 5), (4, 3, 3, 3), [2, 4, 3, 3], [2, 2], [1, 1], [1, 0], 1, [1, 1])],
    "conv_transpose_grad_w": [((2, 3, 6, 5), (2, 4, 3, 3), [4, 3, 3, 3], [2, 2], [1, 1], [1, 0], 1, [1, 1])],
    "linear": [((2, 3, 5), (4, 5), (4,))],
    "linear_grad_x": [((2, 3, 4), (4, 5), [2, 3, 5])],
    "linear_grad_w": [((2, 3, 4), (2, 3, 5), [4, 5])],
    "max_pool": [((2, 3, 8, 7), [3, 2], [2, 1], [1, 0], [1, 1], True)],
    "adaptive_max_pool": [((3, 8, 7), [3, 2])],
    "avg_pool": [((2, 3, 8, 7), [3, 2], [2, 1], [1, 0], True, False, None)],
    "adaptive_avg_pool": [((2, 3, 9), [4])],
    "lp_pool": [(variances(2, 3, 8, 7), 3.0, [3, 2], [2, 1], True)],
    "max_unpool": [((2, 3, 4, 3), unpool_indices(2, 3, 4, 3, size=48), [2, 2], [2, 2], [0, 0], [8, 6])],
    "batch_norm": [((2, 3, 4, 5), (3,), variances(3), (3,), (3,), 1e-5)],
    "batch_norm_training": [((2, 3, 4, 5), (3,), None, 1e-5)],
    "local_response_norm": [((2, 5, 4, 3), 3, 0.1, 0.75, 1.0)],
    "interpolate": [
        ((2, 3, 5, 4), [7, 9], None, "bilinear", True, None, False),
        ((2, 3, 5, 4), None, [2.0, 1.5], "nearest", None, None, False),
    ],
    "grid_sample": [((2, 3, 5, 6), places(2, 3, 4, 2), "bilinear", "zeros", False)],
    "affine_grid": [((2, 2, 3), [2, 3, 4, 5], False)],
    "unfold": [((2, 3, 7, 6), [3, 2], [1, 1], [1, 0], [2, 2])],
    "fold": [((2, 18, 12), [7, 6], [3, 2], [1, 1], [1, 0], [2, 2])],
    "pixel_shuffle": [((2, 8, 3, 4), 2)],
    "pixel_unshuffle": [((2, 3, 6, 9), 3)],
    "roi_align": [((2, 3, 9, 10), BOXES, [3, 2], 0.8, 2, True)],
    "roi_pool": [((2, 3, 9, 10), BOXES, [3, 2], 0.8)],
    "ps_roi_align": [((2, 12, 9, 10), BOXES, [3, 2], 0.8, 2)],
    "ps_roi_pool": [((2, 12, 9, 10), BOXES, [3, 2], 0.8)],
    "deform_conv2d": [
        ((2, 4, 6, 5), places(2, 18, 6, 5), (6, 2, 3, 3), (6,), [1, 1], [1, 1], [1, 1], normal(2, 9, 6, 5)),
        ((2, 4, 6, 5), places(2, 18, 4, 3), (6, 4, 3, 3), None, [1, 1], [0, 0], [1, 1], None),
    ],
}
#: Vectors and tables that have no gradient.
CONSTANT = {"batch_norm": (1, 2)}


def sampled(name: str, sample: tuple[Any, ...], channels_last: bool, wants: bool) -> tuple[Any, ...]:
    """Return an operator's arguments: shapes, which are tuples, become tensors."""
    made = []
    for i, entry in enumerate(sample):
        if isinstance(entry, tuple) or callable(entry):
            tensor = entry(torch.float64) if callable(entry) else normal(*entry, seed=i)
            if channels_last and tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            made.append(tensor.requires_grad_(wants and i not in CONSTANT.get(name, ())))
        else:
            made.append(entry)
    return tuple(made)


@pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name: str, channels_last: bool) -> None:
    """Schema, autograd registration, shapes and strides without data, and tracing by AOT autograd."""
    for sample in SAMPLES[name]:
        if channels_last and not any(isinstance(entry, tuple) and len(entry) == 4 for entry in sample):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.library.opcheck(getattr(torch.ops.pyconv, name).default, sampled(name, sample, channels_last, True))


def test_opcheck_of_nms() -> None:
    boxes = torch.tensor([[0, 0, 4, 4], [1, 0, 5, 4], [8, 8, 9, 9.0]], dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.library.opcheck(torch.ops.pyconv.nms.default, (boxes, torch.tensor([0.5, 0.9, 0.1]).double(), 0.3))


def test_every_operator_is_checked() -> None:
    registered = set(operators.__all__) - {"nms"}
    assert registered <= set(SAMPLES)
    for name in registered:
        assert getattr(operators, name).op is getattr(torch.ops.pyconv, name).default


@pytest.mark.parametrize("name", SAMPLES)
def test_strides_without_data(name: str) -> None:
    """What is traced has the strides of what is computed, in the gradients too."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    for sample in SAMPLES[name]:
        for channels_last in (False, True):
            arguments = sampled(name, sample, channels_last, False)
            op = getattr(torch.ops.pyconv, name).default
            found = op(*arguments)
            with FakeTensorMode() as mode:
                fake = op(*(mode.from_tensor(a) if isinstance(a, torch.Tensor) else a for a in arguments))
            for real, traced in zip(*((r if isinstance(r, tuple) else (r,)) for r in (found, fake)), strict=True):
                assert (real.shape, real.dtype) == (traced.shape, traced.dtype)
                assert real.stride() == traced.stride(), (name, channels_last)


# ---- memory ----


def test_tensors_are_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = normal(2, 4, 6, 6), normal(3, 4, 3, 3).requires_grad_()
    seen = []
    original = pyconv.conv2d

    def spy(*arguments: Any, **settings: Any) -> Any:
        seen.extend(a.__array_interface__["data"][0] for a in arguments[:2])
        result = original(*arguments, **settings)
        seen.append(result.__array_interface__["data"][0])
        return result

    monkeypatch.setattr(pyconv, "conv2d", spy)
    for context in (torch.no_grad, contextlib.nullcontext):
        seen.clear()
        packs.clear_packs()
        with context():
            y = taken("conv2d", x, w)
        assert seen == [x.data_ptr(), w.data_ptr(), y.data_ptr()]


@pytest.mark.parametrize("wants", [False, True])
def test_channels_last_stays(wants: bool) -> None:
    x = normal(2, 8, 6, 6).contiguous(memory_format=torch.channels_last).requires_grad_(wants)
    w = normal(4, 8, 3, 3).contiguous(memory_format=torch.channels_last).requires_grad_(wants)
    vectors = [normal(4), variances(4)(torch.float64)]
    y = taken("conv2d", x, w, padding=1)
    for result in (
        y,
        taken("batch_norm", y, *vectors),
        taken("max_pool2d", y, 2),
        taken("avg_pool2d", y, 2),
        taken("interpolate", y, scale_factor=2),
        taken("conv_transpose2d", y, normal(4, 3, 2, 2)),
        taken("roi_align", y, BOXES, 2),
    ):
        assert result.is_contiguous(memory_format=torch.channels_last)
        assert not result.is_contiguous()
    torch.testing.assert_close(y, THEIRS["conv2d"](x, w, padding=1))
    if wants:
        (gx,) = torch.autograd.grad(taken("max_pool2d", y, 2).square().sum(), x)
        assert gx.is_contiguous(memory_format=torch.channels_last)


def test_any_strides() -> None:
    x, w = normal(6, 4, 7, 9).transpose(2, 3)[::2, :, 1:], normal(3, 3, 5, 4).permute(2, 3, 0, 1)
    torch.testing.assert_close(taken("conv2d", x, w), THEIRS["conv2d"](x, w))
    expanded = normal(1, 4, 1, 9).expand(3, 4, 9, 9).requires_grad_()
    y = taken("conv2d", expanded, w)
    (found,) = torch.autograd.grad(y.sum(), expanded)  # a gradient whose elements share memory
    (expected,) = torch.autograd.grad(THEIRS["conv2d"](expanded, w).sum(), expanded)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_whose_elements_share_memory(case: Case) -> None:
    """What ``sum().backward()`` hands over: one element for all."""
    after, settings = settings_of(case, torch.float64)
    inputs = graph_inputs(case)
    y = taken(case.name, *inputs, *after, **settings)
    wanted = [t for t in inputs if t is not None and t.requires_grad]
    shared = torch.autograd.grad(y, wanted, torch.ones((), dtype=y.dtype).expand(y.shape), retain_graph=True)
    for found, expected in zip(shared, torch.autograd.grad(y, wanted, torch.ones_like(y)), strict=True):
        close(found, expected, torch.float64)


# ---- everything else is torch's ----


class Tagged(torch.Tensor):
    """A subclass."""


def ways_to_torch() -> dict[str, Callable[[], tuple[Any, Any]]]:
    """What pyconv does not take: (result by the drop-in, result by torch)."""
    x, w = normal(1, 2, 5, 5, dtype=torch.float32), normal(3, 2, 3, 3, dtype=torch.float32)
    plain = THEIRS["conv2d"]

    def both(*arguments: Any, **settings: Any) -> tuple[Any, Any]:
        return ours.conv2d(*arguments, **settings), plain(*arguments, **settings)

    def vmapped() -> tuple[Any, Any]:
        many = torch.stack([x, 2 * x])
        return torch.vmap(lambda t: ours.conv2d(t, w))(many), torch.vmap(lambda t: plain(t, w))(many)

    def transformed() -> tuple[Any, Any]:
        return tuple(torch.func.grad(lambda t, f=f: f(t, w).square().sum())(x) for f in (ours.conv2d, plain))

    def forward_mode() -> tuple[Any, Any]:
        answers = []
        for f in (ours.conv2d, plain):
            with torch.autograd.forward_ad.dual_level():
                dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
                answers.append(torch.autograd.forward_ad.unpack_dual(f(dual, w)).tangent)
        return answers[0], answers[1]

    def autocast() -> tuple[Any, Any]:
        with torch.autocast("cpu", torch.bfloat16):
            return both(x, w)

    def function_mode() -> tuple[Any, Any]:
        with torch.device("cpu"):
            return both(x, w)

    def traced() -> tuple[Any, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = torch.jit.trace(lambda t: ours.conv2d(t, w), (x,))
        assert "aten::" in str(module.graph)
        assert "pyconv::" not in str(module.graph)
        return module(x), plain(x, w)

    def turned() -> tuple[Any, Any]:
        lazy = torch._neg_view(x)
        assert lazy.is_neg()
        return both(lazy, w)

    return {
        "bfloat16": lambda: both(x.bfloat16(), w.bfloat16()),
        "complex": lambda: both(x.to(torch.complex64), w.to(torch.complex64)),
        "complex gradient": lambda: both(x.to(torch.complex64).requires_grad_(), w.to(torch.complex64)),
        "integers": lambda: both(x.int(), w.int()),
        "meta": lambda: both(x.to("meta"), w.to("meta")),
        "subclass": lambda: both(x.as_subclass(Tagged), w),
        "a lazy minus": turned,
        "vmap": vmapped,
        "torch.func": transformed,
        "forward mode": forward_mode,
        "autocast": autocast,
        "function mode": function_mode,
        "jit.trace": traced,
    }


@pytest.mark.filterwarnings("ignore")  # torch's own, of what it deprecates
@pytest.mark.parametrize("way", ways_to_torch())
def test_what_pyconv_does_not_take_is_torchs(way: str) -> None:
    found, expected = ways_to_torch()[way]()
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    assert found.device == expected.device
    if found.device.type != "meta":
        torch.testing.assert_close(found, expected)


def test_sparse_and_quantized_are_torchs() -> None:
    rows = torch.eye(4).to_sparse()
    torch.testing.assert_close(ours.linear(rows, torch.ones(3, 4)), torch.ones(4, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        x = torch.quantize_per_tensor(torch.arange(16.0).reshape(1, 1, 4, 4), 0.5, 0, torch.quint8)
        assert ours.max_pool2d(x, 2).is_quantized


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 3, 3, 3)),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 9, 9)),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), padding=-1),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), stride=2, padding="same"),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), padding="full"),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), stride=1.5),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3), strides=2),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3).double()),
        lambda m: m["conv2d"](torch.ones(1, 2, 5, 5, requires_grad=True), torch.ones(3, 2, 9, 9)),
        lambda m: m["conv1d"](torch.ones(1, 2, 5, 5), torch.ones(3, 2, 3, 3)),
        lambda m: m["conv2d"](np.ones((1, 2, 5, 5)), torch.ones(3, 2, 3, 3)),
        lambda m: m["conv2d"](None, torch.ones(3, 2, 3, 3)),
        lambda m: m["max_pool2d"](torch.ones(1, 2, 5, 5), 2, padding=2),
        lambda m: m["linear"](torch.ones(2, 3), torch.ones(4, 5)),
        lambda m: m["batch_norm"](torch.ones(1, 3), None, None, training=True),
        lambda m: m["batch_norm"](torch.ones(2, 3), None, None),
        lambda m: m["interpolate"](torch.ones(1, 2, 5, 5)),
        lambda m: m["interpolate"](torch.ones(1, 2, 5, 5), size=3, mode="cubic"),
        lambda m: m["grid_sample"](torch.ones(1, 2, 5, 5), torch.ones(1, 2, 2, 3), align_corners=False),
        lambda m: m["adaptive_avg_pool2d"](torch.ones(1, 2, 5, 5), (1, 2, 3)),
        lambda m: m["max_unpool2d"](torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 99), 2),
    ],
)
def test_mistakes_are_torchs_to_tell(call: Any) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        call(THEIRS)
    with pytest.raises(type(theirs.value)) as found:
        call({name: getattr(ours, name) for name in THEIRS})
    assert str(found.value) == str(theirs.value)
    assert found.value.__context__ is None or theirs.value.__context__ is not None


# ---- compilation ----


def test_compiled() -> None:
    """One graph, with pyconv's operators in it."""
    seen = []

    def backend(graph: Any, inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    def model(x: Any, w: Any, m: Any) -> Any:
        y = ours.max_pool2d(ours.conv2d(x, w, padding="same"), 2)
        return ours.linear(ours.interpolate(y, scale_factor=2).flatten(1), m)

    x, w, m = normal(2, 3, 8, 8), normal(4, 3, 3, 3).requires_grad_(), normal(5, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(x, w, m), model(x, w, m))
        assert sum("pyconv" in target for target in seen) == 4, seen
        traced = torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=True)
        (found,) = torch.autograd.grad(traced(x, w, m).square().sum(), w)
        (expected,) = torch.autograd.grad(model(x, w, m).square().sum(), w)
    torch.testing.assert_close(found, expected)


def test_a_gpus_tensors_are_torchs() -> None:
    """As long as no GPU kernel is there; with gradients always. Without memory, for there may be no GPU."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x, w = (torch.empty(shape, device="cuda") for shape in ((1, 2, 5, 5), (3, 2, 3, 3)))
        assert ours.conv2d.__wrapped__(x, w) is NotImplemented
        assert ours.conv2d(x, w).device.type == "cuda"


def test_fake_tensors() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        layer = torch.nn.Conv2d(3, 8, 3, padding=1)
        with patch():
            y = layer(torch.empty(2, 3, 5, 5))
            y = F.max_pool2d(F.batch_norm(y, torch.zeros(8), torch.ones(8)), 2)
    assert type(y).__name__ == "FakeTensor"
    assert y.shape == (2, 8, 2, 2)


# ---- packed weights ----


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Nothing kept at the beginning, and a list of what has been packed."""
    packs.clear_packs()
    made: list[Any] = []
    original = pyconv.prepare

    def prepare(function: Any, *arguments: Any, **settings: Any) -> Any:
        made.append(function)
        return original(function, *arguments, **settings)

    monkeypatch.setattr(pyconv, "prepare", prepare)
    yield made
    packs.clear_packs()


def same_as_torch(x: Any, w: Any, bias: Any = None) -> None:
    with torch.no_grad():
        torch.testing.assert_close(taken("conv2d", x, w, bias, padding=1), THEIRS["conv2d"](x, w, bias, padding=1))


def test_weights_are_packed_once(counted: list[Any]) -> None:
    x, w, bias = normal(1, 8, 6, 6), normal(8, 8, 3, 3).requires_grad_(), normal(8)
    for _ in range(4):
        same_as_torch(x, w, bias)
    same_as_torch(normal(2, 8, 9, 9), w, bias)
    assert counted == [pyconv.conv2d]
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(taken("conv2d", x, w, bias), THEIRS["conv2d"](x, w, bias))
            torch.testing.assert_close(taken("conv_transpose2d", x, w, bias), THEIRS["conv_transpose2d"](x, w, bias))
            torch.testing.assert_close(
                taken("linear", x, w[0, 0, :, :1].expand(3, 6)),
                x.new_ones(1)[0] * THEIRS["linear"](x, w[0, 0, :, :1].expand(3, 6)),
            )
    # w's views above are tensors of one call each
    assert counted == [pyconv.conv2d, pyconv.conv2d, pyconv.conv_transpose2d]


CHANGES = {
    "an optimizer's step": lambda w, bias: step(w),
    "in place": lambda w, bias: w.detach().mul_(1.5),
    "through .data": lambda w, bias: w.data.mul_(1.5),
    ".data replaced": lambda w, bias: setattr(w, "data", w.data * 1.5),
    ".data transposed": lambda w, bias: setattr(w, "data", w.data.transpose(0, 1)),
    "through an array": lambda w, bias: w.detach().numpy().__imul__(1.5),
    "rows, through .data": lambda w, bias: w.data[:, :, 0].zero_(),
    "a mask, through .data": lambda w, bias: w.data.mul_((torch.arange(3) > 0).double()),
    "copy_": lambda w, bias: w.detach().copy_(w.detach() + 1),
    "the bias": lambda w, bias: bias.add_(1),
    "the bias, through .data": lambda w, bias: bias.data.add_(1),
    "load_state_dict": lambda w, bias: torch.nn.ParameterList([w]).load_state_dict({"0": w.detach() * 2}),
}


def step(w: Any) -> None:
    optimizer = torch.optim.SGD([w], lr=0.1)
    w.grad = torch.ones_like(w)
    optimizer.step()


@pytest.mark.parametrize("change", CHANGES)
def test_packed_weights_are_never_stale(change: str, counted: list[Any]) -> None:
    x, w, bias = normal(1, 8, 6, 6), torch.nn.Parameter(normal(8, 8, 3, 3)), normal(8)
    for _ in range(3):
        for _ in range(3):
            same_as_torch(x, w, bias)
        CHANGES[change](w, bias)
        same_as_torch(x, w, bias)
    assert len(counted) >= 2  # zeros written over zeros change nothing


def test_weights_at_an_address_that_was_packed_before(counted: list[Any]) -> None:
    x, w = normal(1, 8, 6, 6), torch.nn.Parameter(normal(8, 8, 3, 3))
    for seed in range(20):
        same_as_torch(x, w)
        same_as_torch(x, w)
        w.data = torch.empty(0)  # its memory is free
        w.data = normal(8, 8, 3, 3, seed=seed)


def test_training_packs_nothing(counted: list[Any]) -> None:
    model = torch.nn.Conv2d(4, 4, 3).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with patch():
        for _ in range(4):
            optimizer.zero_grad()
            model(normal(1, 4, 6, 6)).sum().backward()
            optimizer.step()
    assert counted == []


def test_packs_go_with_their_weights(counted: list[Any]) -> None:
    x, w = normal(1, 8, 6, 6), normal(8, 8, 3, 3)
    same_as_torch(x, w)
    same_as_torch(x, w)
    assert len(packs._entries) == 1
    del w
    gc.collect()
    assert packs._entries == {}


def test_inference_tensors_are_not_kept(counted: list[Any]) -> None:
    with torch.inference_mode():
        w = normal(8, 8, 3, 3) * 1
        for factor in (1, 2, 3):
            w.fill_(factor)
            same_as_torch(normal(1, 8, 6, 6), w)
    assert counted == []
    assert packs._entries == {}


def test_packs_are_no_part_of_a_model(counted: list[Any]) -> None:
    import copy
    import io

    layer, file = torch.nn.Conv2d(4, 4, 3), io.BytesIO()
    with patch(), torch.no_grad():
        for _ in range(3):
            layer(torch.ones(1, 4, 5, 5))
    torch.save(layer.state_dict(), file)
    assert file.tell() < 10_000
    twin = copy.deepcopy(layer)
    assert vars(twin.weight) == vars(layer.weight) == {}


# ---- threads ----


def test_torchs_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(pyconv, "avg_pool2d", lambda x, *rest: seen.append(current().threads) or x.copy())
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with pyconv.options(threads=3):
                taken("avg_pool2d", normal(1, 1, 4, 4), 2)
                assert current().threads == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2, 5]


TEAM = """
import numpy as np, torch
import pyconv
from pyconv.backends import c
from pyconv.interop.torch import conv2d
torch.set_num_threads(3)
x, w = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3)
y = conv2d(x, w, padding=1)
with pyconv.options(threads=1):
    assert np.array_equal(y.numpy(), pyconv.conv2d(x.numpy(), w.numpy(), padding=1))
print(c.pool_workers(), "OpenMP" in torch.__config__.parallel_info())
"""


def test_kernels_run_on_torchs_threads(subprocess_environment: dict[str, str]) -> None:
    """torch's spin between its layers; others would share the processors with them."""
    if registry.why_missing("c"):
        pytest.skip(f"c: {registry.why_missing('c')}")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TEAM], env=subprocess_environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    workers, openmp = done.stdout.split()
    assert (workers == "0") == (openmp == "True")


def test_concurrent_calls() -> None:
    x, w = normal(1, 8, 20, 20), normal(8, 8, 3, 3)
    expected, failed = THEIRS["conv2d"](x, w), []

    def work() -> None:
        with torch.no_grad():
            failed.extend(1 for _ in range(50) if not torch.allclose(taken("conv2d", x, w), expected))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


# ---- patch ----


def test_patching() -> None:
    with contextlib.suppress(KeyError), patch():
        for name in THEIRS:
            assert getattr(F, name) is getattr(ours, name)
        assert torch.conv2d is ours.conv2d
        with patch():
            pass
        assert F.conv2d is ours.conv2d
        raise KeyError
    for name, function in THEIRS.items():
        assert getattr(F, name) is function
    assert torch.conv2d is THEIRS["conv2d"]


@needs_torchvision
def test_patching_torchvision() -> None:
    import importlib

    poolers = importlib.import_module("torchvision.ops.poolers")
    with patch():
        for name in VISION:
            assert getattr(tv, name) is getattr(ours, name)
        assert poolers.roi_align is ours.roi_align
        pooler = tv.MultiScaleRoIAlign(["0"], 3, 2)
        found = pooler({"0": normal(2, 3, 9, 9, dtype=torch.float32)}, [BOXES[:, 1:].float()] * 2, [(9, 9)] * 2)
        boxes, scores = BOXES[:, 1:].float(), torch.tensor([0.3, 0.9, 0.5])
        kept = tv.batched_nms(boxes, scores, torch.tensor([0, 0, 1]), 0.2)
    for name, function in VISION.items():
        assert getattr(tv, name) is function
    assert poolers.roi_align is VISION["roi_align"]
    expected = pooler({"0": normal(2, 3, 9, 9, dtype=torch.float32)}, [BOXES[:, 1:].float()] * 2, [(9, 9)] * 2)
    torch.testing.assert_close(found, expected)
    assert kept.tolist() == tv.batched_nms(boxes, scores, torch.tensor([0, 0, 1]), 0.2).tolist()


@needs_torchvision
def test_nms() -> None:
    rng = np.random.default_rng(0)
    corners = torch.from_numpy(rng.uniform(0, 50, (200, 2)))
    boxes = torch.cat([corners, corners + torch.from_numpy(rng.uniform(1, 20, (200, 2)))], 1)
    scores = torch.from_numpy(rng.permutation(200) / 200)
    for threshold in (0.1, 0.5, 0.9):
        found = taken("nms", boxes.requires_grad_(), scores, threshold)
        assert not found.requires_grad
        assert found.tolist() == VISION["nms"](boxes.detach(), scores, threshold).tolist()


def test_patching_from_many_threads() -> None:
    failed = []
    layer, x = torch.nn.Conv2d(2, 2, 3), torch.ones(1, 2, 5, 5)
    expected = layer(x).detach()

    def work() -> None:
        for _ in range(30):
            with patch():
                if F.conv2d is not ours.conv2d or not torch.allclose(layer(x), expected, atol=1e-5):
                    failed.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert F.conv2d is THEIRS["conv2d"]


def test_the_last_one_to_leave_restores() -> None:
    inside, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with patch():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait(60)
    with patch():
        pass
    assert F.conv2d is ours.conv2d
    leave.set()
    thread.join()
    assert F.conv2d is THEIRS["conv2d"]


def test_a_patch_that_fails_changes_nothing() -> None:
    from pyconv.interop.patching import Patch

    class Holder:
        __slots__ = ("first",)

    holder = Holder()
    holder.first = 1

    class Stubborn:
        second = 2

        def __setattr__(self, name: str, value: Any) -> None:
            if value == 20:
                raise TypeError("no")

    broken = Patch(lambda: [(holder, "first", 10), (Stubborn(), "second", 20)])
    with pytest.raises(TypeError), broken.block():
        pass
    assert holder.first == 1


# ---- networks ----


def test_a_network() -> None:
    """A ResNet-18 in shape: outputs and gradients within 1e-4, relative to the largest element."""
    from benchmarks.torch_models import differences, resnet18

    torch.manual_seed(0)
    found = dict(differences(resnet18(16, 10), torch.randn(4, 3, 64, 64)))
    assert len(found) > 60
    assert max(found.values()) < 1e-4, max(found.items(), key=lambda entry: entry[1])


def test_a_network_in_channels_last_memory() -> None:
    from benchmarks.torch_models import differences, resnet18

    torch.manual_seed(0)
    model = resnet18(16, 10).to(memory_format=torch.channels_last)
    x = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    assert max(error for _, error in differences(model, x)) < 1e-4


def test_checkpointing() -> None:
    from torch.utils.checkpoint import checkpoint

    layer, x = torch.nn.Conv2d(3, 3, 3).double(), normal(1, 3, 6, 6).requires_grad_()
    with patch():
        (found,) = torch.autograd.grad(checkpoint(layer, x, use_reentrant=False).square().sum(), x)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    torch.testing.assert_close(found, expected)


def test_backward_after_the_block() -> None:
    layer, x = torch.nn.Conv2d(3, 3, 3).double(), normal(1, 3, 6, 6).requires_grad_()
    with patch():
        y = layer(x)
    (found,) = torch.autograd.grad(y.square().sum(), x)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    torch.testing.assert_close(found, expected)


@st.composite
def convolutions(draw: Any) -> tuple[Any, ...]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride, dilation, padding = (
        draw(st.one_of(st.integers(least, 3), st.tuples(st.integers(least, 3), st.integers(least, 3))))
        for least in (1, 1, 0)
    )
    spatial = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    c_in, c_out = groups * draw(st.integers(1, 4)), groups * draw(st.integers(1, 4))
    return (
        (draw(st.integers(0, 3)), c_in, *spatial),
        (c_out, c_in // groups, *kernel),
        stride,
        padding,
        dilation,
        groups,
    )


@examples(max_examples=60)
@given(convolutions(), st.booleans(), st.booleans())
def test_any_convolution(drawn: tuple[Any, ...], last: bool, transposed: bool) -> None:
    """The same result, or the same error, for the same gradients."""
    x_shape, w_shape, stride, padding, dilation, groups = drawn
    name = "conv_transpose2d" if transposed else "conv2d"
    if transposed:
        w_shape = (x_shape[1], max(1, w_shape[0] // groups), *w_shape[2:])
    x = torch.from_numpy(np.random.default_rng(0).integers(-4, 5, x_shape)).double()
    w = torch.from_numpy(np.random.default_rng(1).integers(-4, 5, w_shape)).double()
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def answer(function: Callable[..., Any]) -> Any:
        inputs = x.clone().requires_grad_(), w.clone().requires_grad_()
        try:
            y = function(*inputs, **settings)
            return [y.detach(), *torch.autograd.grad(y, inputs, torch.ones_like(y))]
        except (RuntimeError, ValueError) as error:
            return str(error)

    found, expected = answer(getattr(ours, name)), answer(THEIRS[name])
    if isinstance(expected, str):
        assert found == expected
    else:
        for result, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(result, wanted, rtol=0, atol=1e-11)
