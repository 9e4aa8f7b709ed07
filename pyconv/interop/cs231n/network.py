"""The course's kind of network and what trains it, on pyconv: ``python -m pyconv.interop.cs231n``.

conv - [batch norm] - relu - 2x2 max pool - affine - [batch norm] - relu - [dropout] - affine - softmax or hinge loss,
trained by SGD with momentum or by Adam, with weight decay and a falling learning rate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pyconv

from ...algorithm import Array
from .fast_layers import conv_backward_fast, conv_forward_fast, max_pool_backward_fast, max_pool_forward_fast

__all__ = [
    "Adam",
    "Momentum",
    "Settings",
    "ThreeLayerConvNet",
    "digits",
    "hinge_loss",
    "scale_of",
    "softmax_loss",
    "train",
]

POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}
Parameters = dict[str, Array]


def softmax_loss(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of -log softmax(scores)[label], and its gradient with respect to the scores.

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = softmax_loss(np.zeros((1, 4)), np.array([2]))
    >>> round(loss, 4), gradient.tolist()
    (1.3863, [[0.25, 0.25, -0.75, 0.25]])
    """
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(logs)
    gradient[rows, labels] -= 1
    return float(-logs[rows, labels].mean()), gradient / len(labels)


def hinge_loss(scores: Array, labels: Array, margin: float = 1.0) -> tuple[float, Array]:
    """Return the mean of sum over j != label of max(0, score_j - score_label + margin), and its gradient.

    Examples
    --------
    >>> import numpy as np
    >>> loss, gradient = hinge_loss(np.array([[1.0, 3.0, 0.5]]), np.array([0]))
    >>> loss, gradient.tolist()
    (3.5, [[-2.0, 1.0, 1.0]])
    """
    rows = np.arange(len(labels))
    margins = np.maximum(0, scores - scores[rows, labels][:, None] + margin)
    margins[rows, labels] = 0
    gradient = (margins > 0).astype(scores.dtype)
    gradient[rows, labels] = -gradient.sum(axis=1)
    return float(margins.sum() / len(labels)), gradient / len(labels)


def scale_of(initialisation: str, fan_in: int, fan_out: int) -> float:
    """Return the standard deviation of fresh weights.

    ``"he"``: sqrt(2 / fan_in) (He et al. 2015, eq. 10); ``"xavier"``: sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio
    2010, eq. 12 as a normal distribution).

    Examples
    --------
    >>> scale_of("he", 8, 3)
    0.5
    """
    if initialisation == "he":
        return float(np.sqrt(2 / fan_in))
    if initialisation == "xavier":
        return float(np.sqrt(2 / (fan_in + fan_out)))
    raise ValueError(f'initialisation must be "he" or "xavier", got {initialisation!r}')


@dataclass(frozen=True)
class Settings:
    """The network and how it is made.

    Attributes
    ----------
    filters, hidden, classes : int
        Output channels of the convolution, and lengths of the two affine layers' outputs.
    kernel : int
        Odd; the padding keeps the image's size.
    batch_norm : bool
    dropout : float
        Share of hidden values that are dropped while training.
    weight_decay : float
        Factor of half of the sum of squared weights in the loss.
    loss : {"softmax", "hinge"}
    initialisation : {"he", "xavier"}
    seed : int
    """

    filters: int = 32
    hidden: int = 100
    classes: int = 10
    kernel: int = 3
    batch_norm: bool = True
    dropout: float = 0.0
    weight_decay: float = 1e-4
    loss: str = "softmax"
    initialisation: str = "he"
    seed: int = 0

    @property
    def loss_of(self) -> Callable[[Array, Array], tuple[float, Array]]:
        """The loss function."""
        losses = {"softmax": softmax_loss, "hinge": hinge_loss}
        if self.loss not in losses:
            raise ValueError(f'loss must be "softmax" or "hinge", got {self.loss!r}')
        return losses[self.loss]


@dataclass
class _Norm:
    """One batch normalisation's running statistics, in the parameters' type."""

    mean: Array
    var: Array


class ThreeLayerConvNet:
    """conv - relu - pool - affine - relu - affine.

    Parameters
    ----------
    image : (C, H, W)
        Shape of one image; H and W even.
    settings : Settings
    dtype : numpy.dtype

    Attributes
    ----------
    parameters : dict of str to numpy.ndarray
        ``w1 b1 w2 b2 w3 b3``, and with batch normalisation ``gamma1 beta1 gamma2 beta2``.
    """

    def __init__(self, image: tuple[int, int, int], settings: Settings, dtype: Any = np.float32) -> None:
        c, h, w = image
        self.settings, self.dtype = settings, np.dtype(dtype)
        self._random = np.random.default_rng(settings.seed)
        flat = settings.filters * (h // 2) * (w // 2)
        taps = settings.kernel**2
        shapes = {
            "w1": ((settings.filters, c, settings.kernel, settings.kernel), c * taps, settings.filters * taps),
            "w2": ((settings.hidden, flat), flat, settings.hidden),
            "w3": ((settings.classes, settings.hidden), settings.hidden, settings.classes),
        }
        self.parameters: Parameters = {}
        self._norms: dict[str, _Norm] = {}
        for layer, (name, (shape, fan_in, fan_out)) in enumerate(shapes.items(), start=1):
            scale = scale_of(settings.initialisation, fan_in, fan_out)
            self.parameters[name] = (scale * self._random.standard_normal(shape)).astype(self.dtype)
            self.parameters[f"b{layer}"] = np.zeros(shape[0], self.dtype)
            if settings.batch_norm and layer < 3:
                self.parameters[f"gamma{layer}"] = np.ones(shape[0], self.dtype)
                self.parameters[f"beta{layer}"] = np.zeros(shape[0], self.dtype)
                self._norms[str(layer)] = _Norm(np.zeros(shape[0], self.dtype), np.ones(shape[0], self.dtype))

    def _normalised(self, x: Array, layer: str, training: bool) -> Array:
        if layer not in self._norms:
            return x
        norm, p = self._norms[layer], self.parameters
        return pyconv.batch_norm(x, norm.mean, norm.var, p[f"gamma{layer}"], p[f"beta{layer}"], training=training)

    def _before_norm(self, gradient: Array, x: Array, layer: str, gradients: Parameters) -> Array:
        if layer not in self._norms:
            return gradient
        norm, p = self._norms[layer], self.parameters
        found = pyconv.grad.batch_norm(
            gradient, x, norm.mean, norm.var, p[f"gamma{layer}"], p[f"beta{layer}"], training=True
        )
        dx, _, _, gradients[f"gamma{layer}"], gradients[f"beta{layer}"] = found  # type: ignore[assignment]
        assert dx is not None
        return dx

    def scores(self, x: Array) -> Array:
        """Return (N, classes), as trained so far."""
        return self._forward(x, training=False)[0]

    def _forward(self, x: Array, training: bool) -> tuple[Array, tuple[Any, ...]]:
        p, pad = self.parameters, self.settings.kernel // 2
        convolved, conv_cache = conv_forward_fast(x, p["w1"], p["b1"], {"stride": 1, "pad": pad})
        first = self._normalised(convolved, "1", training)
        pooled, pool_cache = max_pool_forward_fast(pyconv.relu(first), POOL)
        flat = pooled.reshape(len(x), -1)
        hidden = pyconv.linear(flat, p["w2"], p["b2"])
        second = self._normalised(hidden, "2", training)
        active: Array = pyconv.relu(second)
        kept: Array | None = None
        if training and self.settings.dropout:
            keep = 1 - self.settings.dropout
            kept = np.less(self._random.random(active.shape), keep).astype(self.dtype) / self.dtype.type(keep)
            active = active * kept
        scores = pyconv.linear(active, p["w3"], p["b3"])
        return scores, (convolved, conv_cache, first, pool_cache, flat, hidden, second, active, kept, pooled.shape)

    def loss(self, x: Array, labels: Array) -> tuple[float, Parameters]:
        """Return the loss of a batch, and the gradient of each parameter."""
        settings, p = self.settings, self.parameters
        scores, cache = self._forward(x, training=True)
        convolved, conv_cache, first, pool_cache, flat, hidden, second, active, kept, shape = cache
        loss, gradient = settings.loss_of(scores, labels)
        found: Parameters = {}
        gradient, found["w3"], found["b3"] = pyconv.grad.linear(  # type: ignore[assignment]
            gradient.astype(self.dtype), active, p["w3"], p["b3"]
        )
        if kept is not None:
            gradient = gradient * kept
        (gradient,) = pyconv.grad.relu(gradient, second)  # type: ignore[assignment]
        gradient = self._before_norm(gradient, hidden, "2", found)
        gradient, found["w2"], found["b2"] = pyconv.grad.linear(gradient, flat, p["w2"], p["b2"])  # type: ignore[assignment]
        gradient = max_pool_backward_fast(gradient.reshape(shape), pool_cache)
        (gradient,) = pyconv.grad.relu(gradient, first)  # type: ignore[assignment]
        gradient = self._before_norm(gradient, convolved, "1", found)
        _, found["w1"], found["b1"] = conv_backward_fast(gradient, conv_cache)
        for name in ("w1", "w2", "w3"):
            loss += settings.weight_decay / 2 * float((p[name].astype(np.float64) ** 2).sum())
            found[name] += self.dtype.type(settings.weight_decay) * p[name]
        return loss, found


@dataclass
class Momentum:
    """SGD: v = momentum v - rate g; w = w + v."""

    rate: float = 0.05
    momentum: float = 0.9
    _velocity: Parameters = field(default_factory=dict)

    def step(self, parameters: Parameters, gradients: Parameters) -> None:
        """Change the parameters in place."""
        for name, gradient in gradients.items():
            velocity = self._velocity.setdefault(name, np.zeros_like(gradient))
            velocity *= self.momentum
            velocity -= self.rate * gradient
            parameters[name] += velocity


@dataclass
class Adam:
    """Kingma and Ba 2015, algorithm 1."""

    rate: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    _moments: dict[str, tuple[Array, Array]] = field(default_factory=dict)
    _steps: int = 0

    def step(self, parameters: Parameters, gradients: Parameters) -> None:
        """Change the parameters in place."""
        self._steps += 1
        for name, gradient in gradients.items():
            zeros = (np.zeros_like(gradient), np.zeros_like(gradient))
            mean, square = self._moments.setdefault(name, zeros)
            mean += (1 - self.beta1) * (gradient - mean)
            square += (1 - self.beta2) * (gradient * gradient - square)
            unbiased = mean / (1 - self.beta1**self._steps)
            spread = np.sqrt(square / (1 - self.beta2**self._steps))
            parameters[name] -= self.rate * unbiased / (spread + self.epsilon)


def train(
    network: ThreeLayerConvNet,
    rule: Momentum | Adam,
    x: Array,
    labels: Array,
    epochs: int = 12,
    batch: int = 64,
    decay: float = 0.85,
) -> Iterator[float]:
    """Train; yield each epoch's mean loss.

    Parameters
    ----------
    network : ThreeLayerConvNet
    rule : Momentum or Adam
    x : (N, C, H, W)
    labels : (N,) integers
    epochs, batch : int
    decay : float
        Factor of the learning rate after each epoch.
    """
    random = np.random.default_rng(network.settings.seed)
    for _ in range(epochs):
        losses = []
        order = random.permutation(len(x))
        for begin in range(0, len(x), batch):
            chosen = order[begin : begin + batch]
            loss, gradients = network.loss(x[chosen], labels[chosen])
            rule.step(network.parameters, gradients)
            losses.append(loss)
        rule.rate *= decay
        yield float(np.mean(losses))


def digits(dtype: Any = np.float32) -> tuple[Array, Array, Array, Array]:
    """Return scikit-learn's 1797 digits of 8x8 pixels: x and labels to train on, and a fifth to test with."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = (data.images[order, None] / 8 - 1).astype(dtype)
    labels, rest = data.target[order], len(order) // 5
    return x[rest:], labels[rest:], x[:rest], labels[:rest]
