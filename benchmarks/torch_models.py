"""Whole torch models under ``pyconv.interop.torch.patch()`` and without: ``python -m benchmarks.torch_models``.

The models are networks' shapes with seeded weights, in this process, in torch's default (channels-first) memory and
interleaved: a round of torch, a round of pyconv, and again. The ratio is torch's time over ours, of medians over the
rounds.

Outputs and gradients are compared first. A gradient jumps where a ReLU's argument changes its sign, and in the last
stage, where a channel has a hundred elements, one of them changes it by a hundredth: torch in float32 and torch in
float64 differ by that. So gradients are those of the model's :func:`smooth` twin.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from benchmarks import machine
from pyconv.interop.torch import patch

__all__ = ["MODELS", "differences", "main", "resnet18", "smooth", "vgg11"]


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2016, figure 2)."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        """Run the block."""
        y = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        y += self.shortcut(x)
        result: Tensor = self.relu(y)
        return result


def resnet18(width: int = 64, classes: int = 1000) -> nn.Module:
    """Return a network with the layers of ResNet-18; ``width`` channels in its first stage."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
    ]
    c_in = width
    for stage in range(4):
        for block in range(2):
            layers.append(Block(c_in, width << stage, 2 if stage and not block else 1))
            c_in = width << stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, classes))


def vgg11(width: int = 64, classes: int = 1000) -> nn.Module:
    """Return a network with the convolutions of VGG-11 (Simonyan and Zisserman 2015), and one linear layer."""
    layers: list[nn.Module] = []
    c_in = 3
    for channels, convolutions in ((1, 1), (2, 1), (4, 2), (8, 2), (8, 2)):
        for _ in range(convolutions):
            layers += [nn.Conv2d(c_in, channels * width, 3, 1, 1), nn.ReLU(inplace=True)]
            c_in = channels * width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7), nn.Flatten(), nn.Linear(49 * c_in, classes))


MODELS: dict[str, Callable[[], nn.Module]] = {"resnet18": resnet18, "vgg11": vgg11}


def smooth(model: nn.Module) -> nn.Module:
    """Return a copy with SiLU for ReLU and averages for maxima: a network whose gradients have no jumps."""
    twin = copy.deepcopy(model)
    for module in list(twin.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, nn.SiLU())
            elif isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    return twin


def _step(model: nn.Module, x: Tensor) -> Tensor:
    """Return the loss of a training step, with gradients in the parameters."""
    model.zero_grad(set_to_none=True)
    loss: Tensor = model(x).square().mean()
    loss.backward()
    return loss


def _distance(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference, relative to the largest element."""
    scale = max(float(expected.abs().max()), 1e-30)
    return float((found - expected).abs().max()) / scale


def differences(model: nn.Module, x: Tensor) -> Iterator[tuple[str, float]]:
    """Yield how far pyconv's outputs are from torch's, and each gradient and statistic of a smooth training step."""
    answers = []
    for make in (nullcontext, patch):
        plain, twin = copy.deepcopy(model).eval(), smooth(model).train()
        block: AbstractContextManager[None] = make()
        with block:
            with torch.no_grad():
                found = {"output": plain(x), "output again": plain(x), "output, packed": plain(x)}
            found["loss"] = _step(twin, x).detach()
        found |= {name: p.grad for name, p in twin.named_parameters() if p.grad is not None}
        found |= {name: value for name, value in twin.named_buffers() if value.is_floating_point()}
        answers.append(found)
    expected, ours = answers
    for name, tensor in expected.items():
        yield name, _distance(ours[name], tensor)


def _rounds(call: Callable[[], object], count: int, seconds: float) -> tuple[list[float], list[float]]:
    """Return seconds a call of each round, torch's and ours."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(count):
        for found, make in zip(times, (nullcontext, patch), strict=True):
            block: AbstractContextManager[None] = make()
            with block:
                call()
                calls, begin = 0, time.perf_counter()
                while calls < 2 or time.perf_counter() - begin < seconds:
                    call()
                    calls += 1
                found.append((time.perf_counter() - begin) / calls)
    return times


def main(
    names: Sequence[str] = (),
    *,
    batch: int = 1,
    size: int = 224,
    threads: int = 2,
    rounds: int = 10,
    seconds: float = 0.3,
    train: bool = False,
) -> float:
    """Compare, measure, print a table, and return the smallest ratio.

    Parameters
    ----------
    names : sequence of str
        Of :data:`MODELS`; all of them where empty.
    batch, size : int
        Pictures at once, and their height and width.
    threads : int
        Of torch, and so of pyconv.
    rounds : int
    seconds : float
        Length of a round.
    train : bool
        Training steps instead of inference.

    Examples
    --------
    >>> from benchmarks import torch_models
    >>> torch_models.main(["resnet18"], size=32, rounds=1, seconds=0.0) > 0  # doctest: +SKIP
    True
    """
    torch.set_num_threads(threads)
    where = machine.describe()
    print(f"{where['cpu']}, {threads} threads, torch {torch.__version__}, revision {where['revision']}; channels-first")
    print(f"{'training step' if train else 'inference'}, batch {batch}, {size}x{size}")
    ratios = []
    for name in names or MODELS:
        torch.manual_seed(0)
        model, x = MODELS[name](), torch.randn(batch, 3, size, size)
        worst, error = max(differences(model, x), key=lambda entry: entry[1])
        if train:
            model.train()
            theirs, ours = _rounds(lambda model=model, x=x: _step(model, x), rounds, seconds)
        else:
            model.eval()
            with torch.inference_mode():
                theirs, ours = _rounds(lambda model=model, x=x: model(x), rounds, seconds)
        ratios.append(statistics.median(theirs) / statistics.median(ours))
        milliseconds = [statistics.median(times) * 1e3 for times in (theirs, ours)]
        print(
            f"{name:<10} torch {milliseconds[0]:8.2f} ms   pyconv {milliseconds[1]:8.2f} ms   ratio {ratios[-1]:.2f}   "
            f"largest difference {error:.1e} ({worst})",
            flush=True,
        )
    return min(ratios)


def _command() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.torch_models",
        description="Time whole torch models under pyconv.interop.torch.patch() and without.",
    )
    parser.add_argument("names", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)} (default: all)")
    parser.add_argument("-b", "--batch", type=int, default=1)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a round")
    parser.add_argument("--train", action="store_true", help="training steps instead of inference")
    arguments = vars(parser.parse_args())
    main(arguments.pop("names"), **arguments)


if __name__ == "__main__":
    _command()
