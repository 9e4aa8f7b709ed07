"""The layers between convolutions: activations, normalisations, fully connected ones, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from benchmarks.shapes.base import Array, Arrays, Layer, normal

__all__ = ["LAYERS", "Activation", "BatchNorm", "Linear", "ResponseNorm"]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


#: Value and derivative of each activation; relu6 and hardswish bend at 6 and 3.
ACTIVATIONS: dict[str, tuple[Callable[[float], float], Callable[[float], float]]] = {
    "relu": (lambda x: max(x, 0.0), lambda x: float(x > 0)),
    "relu6": (lambda x: min(max(x, 0.0), 6.0), lambda x: float(0 < x < 6)),
    "leaky_relu": (lambda x: x if x > 0 else 0.01 * x, lambda x: 1.0 if x > 0 else 0.01),
    "elu": (lambda x: x if x > 0 else math.expm1(x), lambda x: 1.0 if x > 0 else math.exp(x)),
    "sigmoid": (_sigmoid, lambda x: _sigmoid(x) * (1 - _sigmoid(x))),
    "tanh": (math.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "silu": (lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x)))),
    "hardswish": (
        lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
        lambda x: 0.0 if x <= -3 else 1.0 if x >= 3 else x / 3 + 0.5,
    ),
}


@dataclass(frozen=True)
class _Layer(Layer):
    """What all kinds here have.

    Parameters
    ----------
    shape : tuple of int
        Of x.
    gradient : bool
        Whether the gradients are what is computed.
    """

    shape: tuple[int, ...] = ()
    gradient: bool = False

    streams: ClassVar[bool] = True

    @property
    def bench_class(self) -> str:
        """The kind's, or the gradients' class."""
        return "layers_grad" if self.gradient else self.forward_class

    forward_class: ClassVar[str] = "norm"

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """That of x."""
        return (True,) if self.gradient else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x and g."""
        return {"x": self.shape, "g": self.shape} if self.gradient else {"x": self.shape}

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of x."""
        return (self.shape,)

    @property
    def flops(self) -> int:
        """A few for each element."""
        return 4 * math.prod(self.shape)

    def small(self) -> Self:
        """Return few elements."""
        return replace(self, shape=tuple(min(size, 5) for size in self.shape))


@dataclass(frozen=True)
class Activation(_Layer):
    """One of :data:`ACTIVATIONS`, on its own.

    Parameters
    ----------
    called : str
    """

    called: str = "relu"

    forward_class: ClassVar[str] = "activation"

    @property
    def function(self) -> str:
        """The activation's name."""
        return self.called

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return x such that all branches are taken."""
        arrays = super().make(random, dtype)
        arrays["x"] *= 3
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x,)."""
        return (arrays["x"],)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one value, or its derivative times g."""
        value, derivative = ACTIVATIONS[self.called]
        x = float(arrays["x"][index])
        return derivative(x) * float(arrays["g"][index]) if self.gradient else value(x)


@dataclass(frozen=True)
class BatchNorm(_Layer):
    """Batch normalisation with weight and bias, of the running statistics or, in training, of the batch's.

    Parameters
    ----------
    training : bool
    """

    training: bool = False

    inputs: ClassVar[tuple[str, ...]] = ("x", "mean", "var", "w", "bias")
    EPS: ClassVar[float] = 1e-5

    @property
    def function(self) -> str:
        """The one name."""
        return "batch_norm"

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """Those of x, weight and bias."""
        return (True, False, False, True, True) if self.gradient else None

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of x, and of its channels."""
        return (self.shape, self.shape[1:2], self.shape[1:2]) if self.gradient else (self.shape,)

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers, and variances above zero."""
        arrays = super().make(random, dtype)
        for name in self.inputs[1:]:
            arrays[name] = normal(random, self.shape[1:2], dtype)
        arrays["var"] = arrays["var"] ** 2 + np.asarray(0.5, dtype)
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, running_mean, running_var, weight, bias, training)."""
        return (*(arrays[name] for name in self.inputs), self.training)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one normalised element, or one of a gradient."""
        c = index[1] if output == 0 else index[0]
        x = arrays["x"][:, c].astype(np.float64)
        mean, var = (x.mean(), x.var()) if self.training else (float(arrays["mean"][c]), float(arrays["var"][c]))
        scale, centred = 1 / math.sqrt(var + self.EPS), x - mean
        place = (index[0], *index[2:])
        if not self.gradient:
            return float(centred[place] * scale * arrays["w"][c] + arrays["bias"][c])
        g = arrays["g"][:, c].astype(np.float64)
        if output == 1:
            return float(np.sum(g * centred) * scale)
        if output == 2:
            return float(np.sum(g))
        if self.training:
            g = g - g.mean() - centred * scale**2 * np.mean(g * centred)
        return float(g[place] * scale * arrays["w"][c])

    def small(self) -> Self:
        """Return few elements, of which there are enough for a variance."""
        return replace(self, shape=tuple(min(size, 6) for size in self.shape))


@dataclass(frozen=True)
class ResponseNorm(_Layer):
    """Local response normalisation over five channels, as AlexNet and GoogLeNet have it."""

    SIZE: ClassVar[int] = 5
    ALPHA: ClassVar[float] = 1e-2
    BETA: ClassVar[float] = 0.75

    @property
    def function(self) -> str:
        """The one name."""
        return "local_response_norm"

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, size, alpha, beta)."""
        return (arrays["x"], self.SIZE, self.ALPHA, self.BETA)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one element, or one of the gradient."""
        image, c, *place = index
        x = arrays["x"][image][:, *place].astype(np.float64)
        half, channels = self.SIZE // 2, np.arange(len(x))
        near = np.abs(channels[:, None] - channels) <= half
        base = 1 + self.ALPHA / self.SIZE * (near @ x**2)
        if not self.gradient:
            return float(x[c] * base[c] ** -self.BETA)
        g = arrays["g"][image][:, *place].astype(np.float64)
        spread = near[c] * g * x * base ** (-self.BETA - 1)
        return float(g[c] * base[c] ** -self.BETA - 2 * self.ALPHA * self.BETA / self.SIZE * x[c] * np.sum(spread))


@dataclass(frozen=True)
class Linear(_Layer):
    """A fully connected layer; ``shape`` is (rows, c_in).

    Parameters
    ----------
    c_out : int
    """

    c_out: int = 1

    inputs: ClassVar[tuple[str, ...]] = ("x", "w", "bias")
    forward_class: ClassVar[str] = "linear"
    streams: ClassVar[bool] = False

    @property
    def weighted(self) -> bool:
        """The layer itself, not its gradients."""
        return not self.gradient

    @property
    def function(self) -> str:
        """The one name."""
        return "linear"

    @property
    def wanted(self) -> tuple[bool, ...] | None:
        """Those of x, w and bias."""
        return (True, True, True) if self.gradient else None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of x, w and g."""
        shapes = {"x": self.shape, "w": (self.c_out, self.shape[1])}
        return {**shapes, "g": (self.shape[0], self.c_out)} if self.gradient else shapes

    @property
    def out_shapes(self) -> tuple[tuple[int, ...], ...]:
        """That of the result, or those of x, w and bias."""
        rows, c_in = self.shape
        return ((rows, c_in), (self.c_out, c_in), (self.c_out,)) if self.gradient else ((rows, self.c_out),)

    @property
    def flops(self) -> int:
        """Two for each product."""
        return 2 * math.prod(self.shape) * self.c_out * (2 if self.gradient else 1)

    def make(self, random: np.random.Generator, dtype: str, *, bias: bool = False) -> Arrays:
        """Return normal numbers, w such that outputs have about unit size."""
        arrays = super().make(random, dtype)
        arrays["w"] /= np.sqrt(self.shape[1])
        if bias or self.gradient:
            arrays["bias"] = normal(random, (self.c_out,), dtype)
        return arrays

    def arguments(self, arrays: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return (x, w, bias)."""
        return tuple(arrays.get(name) for name in self.inputs)

    def truth(self, arrays: Arrays, output: int, index: tuple[int, ...]) -> float:
        """Return one product of a row with a column."""
        x, w, first, last = arrays["x"], arrays["w"], index[0], index[-1]
        if not self.gradient:
            return _dot(x[first], w[last]) + float(arrays["bias"][last] if "bias" in arrays else 0)
        g = arrays["g"]
        if output == 2:
            return float(np.sum(g[:, first], dtype=np.float64))
        return _dot(g[first], w[:, last]) if output == 0 else _dot(g[:, first], x[:, last])

    def small(self) -> Self:
        """Return few rows and columns."""
        return replace(super().small(), c_out=min(self.c_out, 4))


def _dot(a: Array, b: Array) -> float:
    return float(a.astype(np.float64) @ b.astype(np.float64))


def _layers() -> list[Layer]:
    maps, batch = (1, 256, 56, 56), (8, 64, 56, 56)
    # what the others cost is like one of these
    alone = ("relu", "sigmoid", "silu", "hardswish")
    forward: list[_Layer] = [
        *(Activation(f"act.{name}", shape=maps, called=name) for name in alone),
        *(Activation(f"act.{name}", ("full",), maps, called=name) for name in ACTIVATIONS if name not in alone),
        Activation("act.relu_7", ("full",), (1, 512, 7, 7), called="relu"),
        BatchNorm("norm.batch", shape=batch),
        BatchNorm("norm.batch.train", shape=batch, training=True),
        ResponseNorm("norm.googlenet.response", shape=(1, 192, 56, 56)),
        ResponseNorm("norm.alexnet.response", shape=(1, 96, 55, 55)),
        Linear("linear.1x4096.1000", shape=(1, 4096), c_out=1000),
        Linear("linear.64x1024.1024", shape=(64, 1024), c_out=1024),
        Linear("linear.256x784.100", shape=(256, 784), c_out=100),
        Linear("linear.1x2048.1000", ("full",), (1, 2048), c_out=1000),
        Linear("linear.1000x12544.1024", ("full",), (1000, 12544), c_out=1024),
    ]
    trained = {"act.relu", "act.silu", "norm.batch", "norm.batch.train", "norm.googlenet.response"}
    trained |= {"linear.64x1024.1024", "linear.256x784.100"}
    gradients = [
        replace(
            layer,
            name=f"{layer.name}.grad",
            gradient=True,
            tags=() if layer.name in trained else ("full",),
        )
        for layer in forward
    ]
    return [*forward, *gradients]


LAYERS: tuple[Layer, ...] = tuple(_layers())
