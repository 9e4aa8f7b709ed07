"""Check each GPU kernel against the definition and time it beside other libraries: ``python -m benchmarks.gpu``.

Needs a GPU, numba-cuda, and torch or CuPy for the arrays. Each kernel is first run on a small problem and compared with
the host's result in float64 under the bound that its algorithm states. Then the one that a plain call takes is timed on
a large problem, in interleaved rounds with torch (cuDNN, without tf32), torchvision and CuPy where they are installed:
medians. The table comes last. It exits with 1 where a kernel is wrong, with 2 where there is no GPU, and says so.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import pyconv
from pyconv import registry
from pyconv.backends import gpu

__all__ = ["CASES", "Case", "Modules", "check", "main"]

Shapes = tuple[tuple[int, ...], ...]
#: Seconds that a batch of calls takes at least, and batches of each library.
BATCH_S, ROUNDS = 0.02, 9


@dataclass(frozen=True)
class Case:
    """A call of pyconv, a small and a large problem of it, and what rivals call it.

    Attributes
    ----------
    name : str
    function : callable
    words : mapping
        Its arguments behind the arrays.
    small, large : tuple of shapes
        Of the arrays.
    rivals : mapping
        By the name of a library: rival(modules, arrays) -> result.
    draw : callable, optional
        draw(shapes, generator) -> arrays, where they are no normal numbers.
    large_words : mapping, optional
        The arguments of the large problem, where they are others.
    """

    name: str
    function: Callable[..., Any]
    words: Mapping[str, Any]
    small: Shapes
    large: Shapes
    rivals: Mapping[str, Callable[[Any, Any], Any]] = field(default_factory=dict)
    draw: Callable[[Shapes, np.random.Generator], list[Any]] | None = None
    large_words: Mapping[str, Any] | None = None

    @property
    def for_large(self) -> Case:
        """The case of the large problem's arguments."""
        return self if self.large_words is None else replace(self, words=self.large_words)

    def arrays(self, shapes: Shapes) -> list[Any]:
        """Return float32 arrays of these shapes."""
        generator = np.random.default_rng(0)
        if self.draw is not None:
            return self.draw(shapes, generator)
        return [generator.standard_normal(shape).astype(np.float32) for shape in shapes]

    def run(self, arrays: list[Any], algorithm: str = "auto") -> Any:
        """Return the result; of a gradient the one that is wanted."""
        found = self.function(*arrays, **self.words, algorithm=algorithm)
        return next(a for a in found if a is not None) if isinstance(found, tuple) else found


def _torch(name: str, **words: Any) -> dict[str, Callable[[Any, Any], Any]]:
    return {"torch": lambda modules, a: getattr(modules.torch.nn.functional, name)(*a, **words)}


def _over_a_border(modules: Any, a: Any) -> Any:
    functional = modules.torch.nn.functional
    return functional.conv2d(functional.pad(a[0], (1, 1, 1, 1), mode="reflect"), *a[1:])


def _halves(shapes: Shapes, generator: np.random.Generator) -> list[Any]:
    return [generator.standard_normal(shape).astype(np.float16) for shape in shapes]


def _same(function: Callable[..., Any], small: Shapes, large: Shapes, more: str = "", **words: Any) -> Case:
    """Return the case of a function that torch has by the same name."""
    name = function.__name__
    return Case(f"{name} {more}".strip(), function, words, small, large, _torch(name, **words))


def _gradients(small: Shapes, large: Shapes, padding: int) -> list[Case]:
    """Return the cases of conv2d's gradients."""
    found = []
    for place, argument in enumerate(("x", "w", "bias")):
        mask = tuple(i == place for i in range(3))

        def rival(modules: Any, a: Any, mask: Any = mask, place: int = place) -> Any:
            aten = modules.torch.ops.aten.convolution_backward
            return aten(*a[:3], [a[3].shape[0]], [1, 1], [padding] * 2, [1, 1], False, [0, 0], 1, mask)[place]

        words = {"padding": padding, "output_mask": mask}
        found.append(Case(f"grad.conv2d: {argument}", pyconv.grad.conv2d, words, small, large, {"torch": rival}))
    return found


def _with_boxes(shapes: Shapes, generator: np.random.Generator) -> list[Any]:
    """Return arrays of which the last is boxes inside of images 224 pixels wide, the image's index in front."""
    arrays = [generator.standard_normal(shape).astype(np.float32) for shape in shapes[:-1]]
    count = shapes[-1][0]
    corners = generator.uniform(0, 160, (count, 2))
    boxes = np.concatenate([np.zeros((count, 1)), corners, corners + generator.uniform(8, 60, (count, 2))], axis=1)
    boxes[:, 0] = np.arange(count) % arrays[-1].shape[0]
    return [*arrays, boxes.astype(np.float32)]


def _boxes(name: str, gradient: bool) -> Case:
    """Return the case of a function of boxes that torchvision has by the same name, or of its gradient."""
    words: dict[str, Any] = {"output_size": 7, "spatial_scale": 0.25}
    if name == "roi_align":
        words |= {"sampling_ratio": 2, "aligned": True}
    maps = ((2, 3, 56, 56), (6, 5)), ((2, 256, 56, 56), (512, 5))
    small, large = (((k[0], x[1], 7, 7), x, k) if gradient else (x, k) for x, k in maps)
    rivals = {} if gradient else {"torchvision": lambda modules, a: getattr(modules.torchvision.ops, name)(*a, **words)}
    function = getattr(pyconv.grad if gradient else pyconv, name)
    return Case(f"{'grad.' if gradient else ''}{name}", function, words, small, large, rivals, _with_boxes)


def _with_grid(shapes: Shapes, generator: np.random.Generator) -> list[Any]:
    x = generator.standard_normal(shapes[0]).astype(np.float32)
    return [x, generator.uniform(-1.1, 1.1, shapes[1]).astype(np.float32)]


def _statistics(shapes: Shapes, generator: np.random.Generator) -> list[Any]:
    x, *vectors = (generator.standard_normal(shape).astype(np.float32) for shape in shapes)
    return [x, vectors[0], np.abs(vectors[1]) + np.float32(0.5), *vectors[2:]]


def _suppress(shapes: Shapes, generator: np.random.Generator) -> list[Any]:
    corners = generator.uniform(0, 800, (shapes[0][0], 2))
    boxes = np.concatenate([corners, corners + generator.uniform(8, 200, corners.shape)], axis=1)
    return [boxes.astype(np.float32), generator.uniform(0, 1, shapes[1]).astype(np.float32)]


def _fold(modules: Any, arrays: Any) -> Any:
    columns, x = arrays
    return modules.torch.nn.functional.fold(columns, x.shape[2:], 3, padding=1)


def _correlate(modules: Any, arrays: Any) -> Any:
    x, w = (modules.cupy.asarray(a)[0, 0] for a in arrays)
    return importlib.import_module("cupyx.scipy.ndimage").correlate(x, w, mode="constant")


def _deformed() -> list[Case]:
    """Return the cases of a deformable convolution's gradients."""
    found = []
    for place, argument in enumerate(("x", "offset", "w")):
        words = {"padding": 1, "output_mask": tuple(i == place for i in range(5))}
        large = ((8, 64, 56, 56), (8, 64, 56, 56), (8, 18, 56, 56), (64, 64, 3, 3))
        small = ((1, 4, 5, 4), (1, 3, 5, 4), (1, 18, 5, 4), (4, 3, 3, 3))
        found.append(Case(f"grad.deform_conv2d: {argument}", pyconv.grad.deform_conv2d, words, small, large))
    return found


_SMALL_DEFORM = ((4, 3, 3, 3), (4,))
_SMALL = ((2, 5, 9, 8), (6, 5, 3, 3), (6,))
_RESNET = ((32, 64, 56, 56), (64, 64, 3, 3), (64,))
_PLANES = ((2, 3, 9, 8),), ((32, 64, 112, 112),)
CASES: tuple[Case, ...] = (
    _same(pyconv.conv2d, _SMALL, _RESNET, "3x3", padding=1),
    _same(
        pyconv.conv2d, _SMALL, ((32, 256, 14, 14), (256, 256, 3, 3), (256,)), "3x3, small planes", padding=1,
    ),
    Case(
        "conv2d 3x3, reflect", pyconv.conv2d, {"padding": 1, "padding_mode": "reflect"}, _SMALL, _RESNET,
        {"torch": _over_a_border},
    ),
    _same(pyconv.conv2d, _SMALL, _RESNET, "3x3 s2", stride=2, padding=1),
    Case(
        "conv2d 3x3 s2, float16", pyconv.conv2d, {"stride": 2, "padding": 1}, _SMALL, _RESNET,
        _torch("conv2d", stride=2, padding=1), _halves,
    ),
    _same(pyconv.conv2d, ((2, 9, 5, 7), (6, 9, 1, 1), (6,)), ((32, 256, 56, 56), (64, 256, 1, 1), (64,)), "1x1"),
    Case(
        "conv2d depthwise, large kernels", pyconv.conv2d, {"padding": 3, "groups": 4}, ((1, 4, 9, 8), (4, 1, 7, 7)),
        ((32, 96, 56, 56), (96, 1, 31, 31)), _torch("conv2d", padding=15, groups=96),
        large_words={"padding": 15, "groups": 96},
    ),
    Case(
        "conv2d, large kernels", pyconv.conv2d, {"padding": 3}, ((1, 2, 9, 8), (3, 2, 7, 7)),
        ((8, 64, 128, 128), (64, 64, 31, 31)), _torch("conv2d", padding=15), large_words={"padding": 15},
    ),
    _same(
        pyconv.conv2d, ((1, 3, 9, 9), (4, 3, 7, 7)), ((32, 3, 224, 224), (64, 3, 7, 7)), "7x7 s2",
        stride=2, padding=3,
    ),
    _same(
        pyconv.conv2d, ((1, 32, 5, 4), (32, 1, 3, 3)), ((32, 32, 112, 112), (32, 1, 3, 3)), "depthwise",
        padding=1, groups=32,
    ),
    _same(pyconv.conv3d, ((1, 3, 4, 5, 6), (4, 3, 3, 3, 3)), ((2, 32, 16, 56, 56), (32, 32, 3, 3, 3)), "3x3x3"),
    _same(
        pyconv.conv_transpose2d, ((2, 5, 6, 7), (5, 6, 4, 4)), ((16, 256, 16, 16), (256, 128, 4, 4)), "4x4 s2",
        stride=2, padding=1,
    ),
    *_gradients(((2, 6, 9, 8), *_SMALL), ((32, 64, 56, 56), *_RESNET), padding=1),
    _same(pyconv.max_pool2d, *_PLANES, kernel_size=3, stride=2, padding=1),
    _same(pyconv.avg_pool2d, *_PLANES, kernel_size=3, stride=2, padding=1),
    _same(pyconv.adaptive_max_pool2d, *_PLANES, output_size=7),
    _same(pyconv.adaptive_avg_pool2d, *_PLANES, output_size=7),
    *(_boxes(name, gradient) for name in ("roi_align", "roi_pool") for gradient in (False, True)),
    Case(
        "nms", pyconv.nms, {"iou_threshold": 0.5}, ((50, 4), (50,)), ((4096, 4), (4096,)),
        {"torchvision": lambda modules, a: modules.torchvision.ops.nms(*a, 0.5)}, _suppress,
    ),
    Case(
        "grid_sample", pyconv.grid_sample, {}, ((2, 3, 9, 8), (2, 5, 4, 2)), ((16, 64, 64, 64), (16, 64, 64, 2)),
        _torch("grid_sample", align_corners=False), _with_grid,
    ),
    _same(
        pyconv.interpolate, ((2, 3, 9, 8),), ((32, 64, 56, 56),), "bilinear x2",
        size=None, scale_factor=2, mode="bilinear",
    ),
    Case(
        "batch_norm", pyconv.batch_norm, {}, ((2, 3, 9, 8), *((3,),) * 4), ((32, 64, 112, 112), *((64,),) * 4),
        _torch("batch_norm"), _statistics,
    ),
    _same(pyconv.silu, ((2, 3, 9, 8),), ((32, 64, 112, 112),)),
    _same(pyconv.linear, ((9, 5), (6, 5), (6,)), ((4096, 1024), (4096, 1024), (4096,)), "many rows"),
    _same(pyconv.linear, ((2, 9), (3, 9), (3,)), ((8, 4096), (4096, 4096), (4096,)), "few rows"),
    Case(
        "grad.linear: x", pyconv.grad.linear, {"output_mask": (True, False, False)}, ((9, 6), (9, 5), (6, 5)),
        ((4096, 4096), (4096, 1024), (4096, 1024)), {"torch": lambda modules, a: a[0] @ a[2]},
    ),
    Case(
        "grad.linear: w", pyconv.grad.linear, {"output_mask": (False, True, False)}, ((9, 6), (9, 5), (6, 5)),
        ((4096, 4096), (4096, 1024), (4096, 1024)), {"torch": lambda modules, a: a[0].T @ a[1]},
    ),
    _same(pyconv.lp_pool2d, *_PLANES, norm_type=2, kernel_size=3, stride=2),
    _same(pyconv.local_response_norm, ((2, 7, 3, 4),), ((32, 96, 27, 27),), size=5),
    _same(pyconv.unfold, *_PLANES, kernel_size=3, padding=1),
    Case(
        "grad.unfold", pyconv.grad.unfold, {"kernel_size": 3, "padding": 1}, ((2, 27, 72), (2, 3, 9, 8)),
        ((32, 576, 3136), (32, 64, 56, 56)), {"torch": _fold},
    ),
    _same(pyconv.pixel_shuffle, ((2, 12, 3, 4),), ((32, 256, 56, 56),), upscale_factor=2),
    _same(pyconv.pixel_unshuffle, ((2, 3, 6, 4),), ((32, 64, 112, 112),), downscale_factor=2),
    Case(
        "affine_grid", pyconv.affine_grid, {"size": (2, 1, 5, 4)}, ((2, 2, 3),), ((32, 2, 3),),
        {"torch": lambda modules, a: modules.torch.nn.functional.affine_grid(*a, (32, 1, 256, 256), False)},
        large_words={"size": (32, 1, 256, 256)},
    ),
    Case(
        "deform_conv2d 3x3", pyconv.deform_conv2d, {"padding": 1}, ((1, 3, 5, 4), (1, 18, 5, 4), *_SMALL_DEFORM),
        ((32, 64, 56, 56), (32, 18, 56, 56), (64, 64, 3, 3), (64,)),
        {"torchvision": lambda modules, a: modules.torchvision.ops.deform_conv2d(*a, padding=1)},
    ),
    *_deformed(),
    Case(
        "correlation 5x5", pyconv.conv2d, {"padding": 2}, ((1, 1, 20, 30), (1, 1, 5, 5)),
        ((1, 1, 4096, 4096), (1, 1, 5, 5)), {"cupy": _correlate},
    ),
)  # fmt: skip


class Modules(NamedTuple):
    """The libraries that are installed here, None for others."""

    torch: Any
    torchvision: Any
    cupy: Any

    @classmethod
    def found(cls) -> Modules:
        """Import what is there."""

        def module(name: str) -> Any:
            try:
                return importlib.import_module(name)
            except ImportError:
                return None

        return cls(*map(module, cls._fields))


def check(case: Case, to_gpu: Callable[[Any], Any], to_host: Callable[[Any], Any]) -> dict[str, str]:
    """Run every GPU algorithm that takes a case's small problem; return by id what is wrong, "" for nothing."""
    arrays = case.arrays(case.small)
    wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    expected = case.run(wide)
    size = case.run([np.abs(a) if a.dtype == np.float64 else a for a in wide])
    there = [to_gpu(a) for a in arrays]
    found = {}
    for candidate in pyconv.explain(case.function, *there, **case.words).candidates:
        if candidate.supported and registry.find(candidate.id).backend == "cuda":
            result = to_host(case.run(there, candidate.id))
            found[candidate.id] = _difference(result, expected, size, candidate.error_bound)
    return found


def _difference(result: Any, expected: Any, size: Any, bound: float) -> str:
    """Say what differs by more than the bound; empty where nothing does."""
    if result.shape != expected.shape:
        return f"shape {result.shape}, expected {expected.shape}"
    # sums of magnitudes, where the function of magnitudes is that; the largest result, where not
    rounding = np.finfo(result.dtype).eps / 2 if result.dtype.kind == "f" else 0.0
    allowed = bound * np.maximum(np.abs(size), np.abs(expected).max(initial=0)) + rounding * np.abs(expected)
    error = np.abs(result.astype(np.float64) - expected)
    if not (error <= allowed).all():
        return f"wrong by {float((error / np.maximum(allowed, 1e-300)).max()):.1f} times what is allowed"
    return ""


def _timed(calls: Mapping[str, Callable[[], Any]], wait: Callable[[], None]) -> dict[str, float]:
    """Return median seconds of a call of each, in interleaved batches."""

    def batch(call: Callable[[], Any], count: int) -> float:
        wait()
        begin = time.perf_counter()
        for _ in range(count):
            call()
        wait()
        return (time.perf_counter() - begin) / count

    counts = {}
    for name, call in calls.items():
        batch(call, 3)
        counts[name] = max(1, round(BATCH_S / batch(call, 3)))
    rounds = [{name: batch(call, counts[name]) for name, call in calls.items()} for _ in range(ROUNDS)]
    return {name: statistics.median(seconds[name] for seconds in rounds) for name in calls}


def _missing(modules: Modules) -> str:
    """Say what this needs and has not; empty where there is everything."""
    if not gpu.machine.is_installed():
        return "numba-cuda is not installed; pip install 'pyconv-kernels[cuda]'"
    reason = gpu.machine.why_not()
    if reason:
        return reason
    has_torch = modules.torch is not None and modules.torch.cuda.is_available()
    return "" if has_torch or modules.cupy is not None else "neither CuPy nor torch with CUDA is installed"


def main(arguments: list[str] | None = None) -> int:
    """Check, time, print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="cases whose name has this in it")
    parser.add_argument("--check", action="store_true", help="check, and time nothing")
    given = parser.parse_args(arguments)
    modules = Modules.found()
    missing = _missing(modules)
    if missing:
        print(f"benchmarks.gpu needs an NVIDIA GPU: {missing}", file=sys.stderr)
        return 2
    torch, cupy = modules.torch, modules.cupy
    if torch is not None and torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        to_gpu, to_host = (lambda a: torch.from_numpy(a).cuda()), (lambda a: a.cpu().numpy())
        wait = torch.cuda.synchronize
    else:
        to_gpu, to_host, wait = cupy.asarray, cupy.asnumpy, cupy.cuda.Device().synchronize
    failed, lines = 0, []
    for case in CASES:
        if given.only not in case.name:
            continue
        results = check(case, to_gpu, to_host)
        for id, difference in results.items():
            print(f"{id}: {difference or 'as defined'}")
            failed += bool(difference)
        if given.check or any(results.values()):
            continue
        lines.append(_row(case.for_large, modules, [to_gpu(a) for a in case.arrays(case.large)], wait))
    if lines:
        print("\n| case | algorithm | us | others: us, and how many times ours |\n|---|---|---|---|")
        print("\n".join(lines))
    print(f"{failed} kernels are wrong" if failed else "every kernel is as defined")
    return 1 if failed else 0


def _row(case: Case, modules: Modules, arrays: list[Any], wait: Callable[[], None]) -> str:
    """Time a case's large problem; return its row of the table."""
    calls: dict[str, Callable[[], Any]] = {"pyconv": lambda: case.run(arrays)}
    for name, rival in case.rivals.items():
        if getattr(modules, name) is not None:
            calls[name] = partial(rival, modules, arrays)
    seconds = _timed(calls, wait)
    ours = seconds.pop("pyconv")
    beside = ", ".join(f"{name} {s * 1e6:.0f} ({s / ours:.2f}x)" for name, s in seconds.items())
    chosen = pyconv.explain(case.function, *arrays, **case.words).algorithm
    return f"| {case.name} | {chosen} | {ours * 1e6:.0f} | {beside} |"


if __name__ == "__main__":
    sys.exit(main())
