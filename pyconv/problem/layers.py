"""The small layers and their gradients: activations, normalisation, linear."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InvalidProblem
from .base import (
    ACTIVATIONS,
    DEFAULT_SLOPES,
    ITEM_BYTES,
    Layer,
    Operand,
    check_addressable,
    check_finite,
    check_floats,
    shape_text,
)


@dataclass(frozen=True, slots=True)
class ElementwiseProblem(Layer):
    """An activation of an array of any shape, or its gradient.

    Parameters
    ----------
    activation : str
        One of :data:`ACTIVATIONS`.
    shape : tuple of int
    slope : float
        Of ``leaky_relu`` below zero, or ``elu``'s alpha.
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    activation: str
    shape: tuple[int, ...]
    slope: float = 0.0
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InvalidProblem(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        check_finite(slope=self.slope)
        check_floats(self.dtype)
        check_addressable(("x", math.prod(self.shape)))

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        return f"{self.activation}-grad-x" if self.gradient else self.activation

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, behind grad_output for a gradient."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        return (x._replace(name="grad_output"), x) if self.gradient else (x,)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """One function an element."""
        return math.prod(self.shape)

    def __str__(self) -> str:
        usual = self.slope == DEFAULT_SLOPES.get(self.activation, 0.0)
        return shape_text(
            self.shape, self.dtype, (self.channels_last, "channels_last"), (not usual, f"slope={self.slope!r}")
        )


#: What a :class:`NormProblem` may compute.
NORM_KINDS = ("infer", "train", "stats", "grad-infer", "grad-train")


@dataclass(frozen=True, slots=True)
class NormProblem(Layer):
    """Batch normalisation with given statistics or with its own, the statistics alone, or gradients.

    Parameters
    ----------
    kind : str
        One of :data:`NORM_KINDS`.
    shape : tuple of int
        (n, c, ...).
    weight, bias : bool
        Whether there are any; for gradients, whether theirs is wanted, and ``scaled`` says whether there is a weight.
    eps : float
        Added to the variance.
    wants_x, scaled : bool
        Of a gradient: whether that of x is wanted, and whether there is a weight.
    updates : (bool, bool)
        Of "train": whether a running mean and a running variance are outputs too, which a kernel updates in place.
    momentum : float
        The share of x's own statistics in those.
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    kind: str
    shape: tuple[int, ...]
    weight: bool = False
    bias: bool = False
    eps: float = 1e-5
    wants_x: bool = True
    scaled: bool = False
    dtype: str = "f32"
    channels_last: bool = False
    updates: tuple[bool, bool] = (False, False)
    momentum: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in NORM_KINDS:
            raise InvalidProblem(f"kind must be one of {', '.join(NORM_KINDS)}, got {self.kind!r}")
        if len(self.shape) < 2:
            raise InvalidProblem(f"x must have axes (n, c, ...), got shape {self.shape}")
        if not math.isfinite(self.eps) or self.eps < 0:
            raise InvalidProblem(f"eps must be finite and >= 0, got {self.eps}")
        check_floats(self.dtype)
        check_addressable(("x", math.prod(self.shape)))
        if self.own and self.count == 1:
            raise InvalidProblem(
                f"statistics need more than one value a channel, got shape {self.shape}; use training=False"
            )
        if self.kind == "stats" and self.count == 0:
            raise InvalidProblem(f"an empty array has no statistics, got shape {self.shape}")
        if any(self.updates) and self.kind != "train":
            raise InvalidProblem(f"only training updates running statistics, got kind {self.kind!r}")
        if self.gradient and not (self.wants_x or self.weight or self.bias):
            raise InvalidProblem("there is no gradient to compute")

    @property
    def gradient(self) -> bool:
        """Whether it is one."""
        return self.kind.startswith("grad")

    @property
    def own(self) -> bool:
        """Whether the statistics are x's own."""
        return self.kind in ("train", "stats", "grad-train")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self.shape[1]

    @property
    def count(self) -> int:
        """Elements of a channel."""
        return self.shape[0] * math.prod(self.shape[2:])

    @property
    def op(self) -> str:
        """batch_norm, batch_norm_stats, -grad-x with those of weight and bias or without, -grad-weight for these."""
        if not self.gradient:
            return "batch_norm_stats" if self.kind == "stats" else "batch_norm"
        return f"batch_norm-grad-{'x' if self.wants_x else 'weight'}"

    def _vector(self, name: str) -> Operand:
        return Operand(name, (self.channels,), self.dtype)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The arrays that are read, in the order of the forward call."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        found = [x._replace(name="grad_output"), x] if self.gradient else [x]
        if not self.own:
            found += [self._vector("running_mean"), self._vector("running_var")]
        if self.scaled if self.gradient else self.weight:
            found.append(self._vector("weight"))
        if self.bias and not self.gradient:
            found.append(self._vector("bias"))
        return tuple(found)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output, and the vectors that come with it."""
        wide = Operand("out", self.shape, self.dtype, self.channels_last)
        if self.kind == "stats":
            return self._vector("out"), self._vector("var")
        if self.kind == "train":
            running = zip(self.updates, ("running_mean", "running_var"), strict=True)
            updated = tuple(self._vector(name) for updates, name in running if updates)
            return wide, self._vector("mean"), self._vector("var"), *updated
        if self.kind == "infer":
            return (wide,)
        if not self.wants_x:
            return self._vector("out"), self._vector("grad_bias")
        sums = (self._vector("grad_weight"), self._vector("grad_bias")) if self.weight or self.bias else ()
        return wide, *sums

    @property
    def flops(self) -> int:
        """Operations of the definition."""
        per = {"infer": 3, "train": 6, "stats": 3, "grad-infer": 4, "grad-train": 11}[self.kind]
        return per * math.prod(self.shape)

    def __str__(self) -> str:
        words = [(self.channels_last, "channels_last"), (self.kind not in ("infer", "stats"), self.kind)]
        words += [(self.weight, "weight"), (self.bias, "bias")]
        return shape_text(self.shape, self.dtype, *words)


@dataclass(frozen=True, slots=True)
class ResponseProblem(Layer):
    """Local response normalisation across channels, or its gradient.

    Parameters
    ----------
    shape : tuple of int
        (n, c, ...).
    size : int
        Channels of a window.
    alpha, beta, k : float
        ``x / (k + alpha / size * sum of squares)^beta``.
    gradient : bool
    dtype : {"f16", "f32", "f64"}
    channels_last : bool
    """

    shape: tuple[int, ...]
    size: int
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0
    gradient: bool = False
    dtype: str = "f32"
    channels_last: bool = False

    def __post_init__(self) -> None:
        if len(self.shape) < 3:
            raise InvalidProblem(f"x must have axes (n, c, ...), three or more, got shape {self.shape}")
        if self.size < 1:
            raise InvalidProblem(f"size must be >= 1, got {self.size}")
        check_finite(alpha=self.alpha, beta=self.beta, k=self.k)
        check_floats(self.dtype)
        check_addressable(("x", math.prod(self.shape)), ("the window", self.size))

    @property
    def window(self) -> tuple[int, int]:
        """Channels before and after a window's own, as far as there can be any."""
        last = max(0, self.shape[1] - 1)
        return min(self.size // 2, last), min((self.size - 1) // 2, last)

    @property
    def op(self) -> str:
        """The name of the function, and -grad-x for its gradient."""
        return "local_response_norm-grad-x" if self.gradient else "local_response_norm"

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """x, behind grad_output for a gradient."""
        x = Operand("x", self.shape, self.dtype, self.channels_last)
        return (x._replace(name="grad_output"), x) if self.gradient else (x,)

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        return (Operand("out", self.shape, self.dtype, self.channels_last),)

    @property
    def flops(self) -> int:
        """A square and an addition for each element of a window, and a power."""
        return (2 * (sum(self.window) + 1) + 10) * math.prod(self.shape) * (1 + self.gradient)

    def __str__(self) -> str:
        text = f"size{self.size}"
        if (self.alpha, self.beta, self.k) != (1e-4, 0.75, 1.0):
            text += f"-alpha={self.alpha!r}-beta={self.beta!r}-k={self.k!r}"
        return shape_text(self.shape, self.dtype, (True, text), (self.channels_last, "channels_last"))


@dataclass(frozen=True, slots=True)
class LinearProblem(Layer):
    """A product of rows with a matrix, ``y = x w^T + bias``, or one of its gradients.

    Parameters
    ----------
    rows, c_in, c_out : int
        Rows of x, their length, and that of the output's.
    argument : {"", "x", "w", "bias"}
        Which gradient; none for the product itself.
    bias : bool
        Whether it is added.
    dtype : {"f16", "f32", "f64"}
    """

    rows: int
    c_in: int
    c_out: int
    argument: str = ""
    bias: bool = False
    dtype: str = "f32"

    def __post_init__(self) -> None:
        if self.argument not in ("", "x", "w", "bias"):
            raise InvalidProblem(f"argument must be x, w or bias, got {self.argument!r}")
        if min(self.rows, self.c_in, self.c_out) < 0:
            raise InvalidProblem(f"sizes must not be negative, got {self.rows}, {self.c_in}, {self.c_out}")
        check_floats(self.dtype)
        check_addressable(
            ("x", self.rows * self.c_in), ("w", self.c_out * self.c_in), ("the output", self.rows * self.c_out)
        )

    @property
    def op(self) -> str:
        """The name of the function, and -grad- and the argument for a gradient."""
        return f"linear-grad-{self.argument}" if self.argument else "linear"

    @property
    def x_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return (self.rows, self.c_in)

    @property
    def w_shape(self) -> tuple[int, ...]:
        """Shape of w."""
        return (self.c_out, self.c_in)

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Shape of the product."""
        return (self.rows, self.c_out)

    @property
    def inputs(self) -> tuple[Operand, ...]:
        """The matrix that is read where it lies: x, w for x's gradient, x for w's, grad_output for the bias's."""
        name = {"": "x", "x": "w", "w": "x", "bias": "grad_output"}[self.argument]
        shape = {"x": self.x_shape, "w": self.w_shape, "grad_output": self.out_shape}[name]
        return (Operand(name, shape, self.dtype),)

    @property
    def weights(self) -> tuple[Operand | None, ...]:
        """What is packed: w and the bias where there is one; of the gradients of x and w, grad_output."""
        if self.argument:
            return () if self.argument == "bias" else (Operand("grad_output", self.out_shape, self.dtype),)
        bias = Operand("bias", (self.c_out,), self.dtype) if self.bias else None
        return Operand("w", self.w_shape, self.dtype), bias

    @property
    def outputs(self) -> tuple[Operand, ...]:
        """The output."""
        shapes = {"": self.out_shape, "x": self.x_shape, "w": self.w_shape, "bias": (self.c_out,)}
        return (Operand("out", shapes[self.argument], self.dtype),)

    @property
    def reduction(self) -> int:
        """Terms of a sum."""
        return {"": self.c_in, "x": self.c_out, "w": self.rows, "bias": self.rows}[self.argument]

    @property
    def flops(self) -> int:
        """Two for each product."""
        return self.rows * self.c_out if self.argument == "bias" else 2 * self.rows * self.c_in * self.c_out

    @property
    def bytes(self) -> int:
        """Bytes of all three matrices, or of what the bias's gradient sums."""
        if self.argument == "bias":
            return (self.rows + 1) * self.c_out * ITEM_BYTES[self.dtype]
        elements = self.rows * self.c_in + self.c_out * self.c_in + self.rows * self.c_out
        return elements * ITEM_BYTES[self.dtype]

    def __str__(self) -> str:
        return f"m{self.rows}k{self.c_in}n{self.c_out}-{self.dtype}{'-bias' if self.bias else ''}"
