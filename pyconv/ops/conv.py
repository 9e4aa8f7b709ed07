"""conv1d, conv2d, conv3d, and preparing and explaining them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..algorithm import Algorithm, Array, Call, Packed, Runner, standard_strides
from ..errors import InvalidProblem, Unsupported
from ..options import Options, current
from ..plan import Explanation, explain_call, make_plan
from ..problem import ConvProblem
from .arguments import activation_of, as_array, dtype_of, is_plain, numbers, padding_of, plain

__all__ = ["RANKS", "conv1d", "conv2d", "conv3d", "explain_conv"]

_ndarray = np.ndarray
_empty = np.empty
#: Plans kept; a plan is a few hundred bytes.
_CACHE_SIZE = 4096


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """What the cache holds for one combination of shapes, strides, types and options."""

    problem: ConvProblem
    algorithm: Algorithm
    run: Runner
    dtype: np.dtype[Any]
    shape: tuple[int, ...]  # of the output in memory order
    axes: tuple[int, ...] | None  # the transposition that turns it into (n, c_out, *spatial)
    is_empty: bool

    def allocate(self) -> Array:
        """Return a fresh output."""
        try:
            out = _empty(self.shape, self.dtype)
        except (MemoryError, ValueError):
            size = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
            raise MemoryError(f"no memory for an output of {size} bytes (shape {self.problem.out_shape})") from None
        return out if self.axes is None else out.transpose(self.axes)


@dataclass(frozen=True, slots=True)
class _Description:
    """A call as the caller spelled it, hashable: arrays by (shape, strides, dtype), None where there is none."""

    rank: int
    x: tuple[Any, ...]
    w: tuple[Any, ...]
    bias: tuple[Any, ...] | None
    residual: tuple[Any, ...] | None
    out: tuple[Any, ...] | None
    stride: Any
    padding: Any
    dilation: Any
    groups: Any
    padding_mode: str
    activation: Any


def _is_channels_last(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> bool:
    """Channels fastest in memory and nothing else out of order; where both orders fit, channels-first it is."""
    first, last = standard_strides(shape, False, item), standard_strides(shape, True, item)

    def agrees(wanted: tuple[int, ...]) -> bool:
        return all(s == t for s, t, size in zip(strides, wanted, shape, strict=True) if size > 1)

    return agrees(last) and not agrees(first)


def _problem_of(d: _Description) -> ConvProblem:
    """Check everything and describe it; raises the bare fact."""
    x_shape, x_strides, x_dtype = d.x
    w_shape = d.w[0]
    dtype = dtype_of("x", x_dtype)
    if len(x_shape) != d.rank + 2:
        axes = ("w", "h, w", "d, h, w")[d.rank - 1]
        raise InvalidProblem(f"x must have axes (n, c_in, {axes}) or (c_in, {axes}), got shape {x_shape}")
    if len(w_shape) != d.rank + 2:
        raise InvalidProblem(f"w must have {d.rank + 2} axes (c_out, c_in / groups, *kernel), got shape {w_shape}")
    for name, other in (("w", d.w), ("bias", d.bias), ("residual", d.residual), ("out", d.out)):
        if other is not None and dtype_of(name, other[2]) != dtype:
            raise TypeError(
                f"all arrays must have one dtype: x is {x_dtype.name}, {name} is {other[2].name}; convert one of them"
            )
    kernel = tuple(w_shape[2:])
    stride, dilation = numbers("stride", d.stride, d.rank), numbers("dilation", d.dilation, d.rank)
    (groups,) = numbers("groups", d.groups, 1)
    activation, slope = activation_of(d.activation)
    for name, values in (("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise InvalidProblem(f"{name} must be >= 1, got {d.stride if name == 'stride' else d.dilation}")
    if groups < 1:
        raise InvalidProblem(f"groups must be >= 1, got {groups}")
    if w_shape[1] * groups != x_shape[1]:
        raise InvalidProblem(
            f"channels disagree: x has {x_shape[1]}, w with groups={groups} expects {w_shape[1]} * {groups} = "
            f"{w_shape[1] * groups}"
        )
    problem = ConvProblem(
        n=x_shape[0],
        c_in=x_shape[1],
        c_out=w_shape[0],
        spatial=tuple(x_shape[2:]),
        kernel=kernel,
        stride=stride,
        padding=padding_of(d.padding, d.rank, kernel, stride, dilation),
        dilation=dilation,
        groups=groups,
        padding_mode=d.padding_mode,
        dtype=dtype,
        channels_last=_is_channels_last(x_shape, x_strides, x_dtype.itemsize),
        bias=d.bias is not None,
        residual=d.residual is not None,
        activation=activation,
        slope=slope,
    )
    if d.bias is not None and d.bias[0] != (problem.c_out,):
        raise InvalidProblem(f"bias must have shape ({problem.c_out},), one value an output channel, got {d.bias[0]}")
    for name, array in (("residual", d.residual), ("out", d.out)):
        if array is not None and array[0] != problem.out_shape:
            raise InvalidProblem(f"{name} must have the output's shape {problem.out_shape}, got {array[0]}")
    return problem


def _in_context(d: _Description, error: Exception) -> Exception:
    """Return the same error, saying once which call it was."""
    sizes = f"x {d.x[0]}, w {d.w[0]}"
    return type(error)(f"conv{d.rank}d({sizes}): {error}")


@lru_cache(maxsize=_CACHE_SIZE)
def _plan(
    rank: int,
    x_shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    x_dtype: np.dtype[Any],
    w_shape: tuple[int, ...],
    w_dtype: np.dtype[Any],
    bias: tuple[Any, ...] | None,
    residual: tuple[Any, ...] | None,
    out: tuple[Any, ...] | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: str,
    activation: Any,
    algorithm: str,
    options: Options,
) -> ConvPlan | None:
    """Return the plan, or None where the kernels cannot read an array where it is."""
    d = _Description(
        rank,
        (x_shape, x_strides, x_dtype),
        (w_shape, (), w_dtype),
        bias,
        residual,
        out,
        stride,
        padding,
        dilation,
        groups,
        padding_mode,
        activation,
    )
    try:
        problem = _problem_of(d)
        if not is_plain(x_dtype, x_shape, x_strides) or not w_dtype.isnative:
            return None
        for array in (residual, out):
            if array is not None and not is_plain(array[2], array[0], array[1]):
                return None
        if bias is not None and not bias[2].isnative:
            return None
        item = x_dtype.itemsize
        standard = standard_strides(problem.out_shape, problem.channels_last, item)
        call = Call(
            problem,
            x_strides,
            standard if out is None else out[1],
            None if residual is None else residual[1],
            options.threads,
            options.max_workspace,
        )
        plan = make_plan(call, algorithm, options)
    except (InvalidProblem, Unsupported, TypeError) as error:
        raise _in_context(d, error) from None
    if problem.channels_last:
        n, c_out, *spatial = problem.out_shape
        shape: tuple[int, ...] = (n, *spatial, c_out)
        axes: tuple[int, ...] | None = (0, rank + 1, *range(1, rank + 1))
    else:
        shape, axes = problem.out_shape, None
    return ConvPlan(
        problem=problem,
        algorithm=plan.algorithm,
        run=plan.run,
        dtype=x_dtype,
        shape=shape,
        axes=axes,
        is_empty=0 in problem.out_shape,
    )


def _key(array: Array | None) -> tuple[Any, ...] | None:
    return None if array is None else (array.shape, array.strides, array.dtype)


def _hashable(value: Any) -> Any:
    """Return lists (and lists of lists) as tuples, NumPy integers as they are."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(_hashable(entry) for entry in value) if isinstance(value, (list, tuple)) else value


def _exact(value: Any) -> Any:
    """Refuse what compares equal to an integer but is none: 1.0 would otherwise hit the plan of 1."""
    if isinstance(value, tuple):
        return tuple(_exact(entry) for entry in value)
    if isinstance(value, str):
        return value
    return numbers("stride, padding, dilation and groups", value, 1)[0]


def _check_words(padding_mode: Any, algorithm: Any) -> None:
    """Refuse what is no word before it becomes a key of the cache."""
    if padding_mode.__class__ is not str and not isinstance(padding_mode, str):
        raise TypeError(f"padding_mode must be a word, got {padding_mode!r}")
    if algorithm.__class__ is not str and not isinstance(algorithm, str):
        raise TypeError(f'algorithm must be "auto", a family or an id, got {algorithm!r}')


def _check_out(out: Array, rank: int) -> None:
    if not out.flags.writeable:
        raise InvalidProblem(f"conv{rank}d: out is read-only; pass a writeable array")
    if out.size and any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise InvalidProblem(f"conv{rank}d: out has elements that share memory (a stride of 0); pass a plain array")


def _overlaps(out: Array, other: Array | None) -> bool:
    return other is not None and np.may_share_memory(out, other)


def _same_memory(a: Array, b: Array) -> bool:
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.strides == b.strides


class _Weights:
    """Weights and bias of a call, packed for whichever algorithms ask, once each."""

    __slots__ = ("bias", "packs", "w")

    def __init__(self, w: Array, bias: Array | None) -> None:
        self.w = w
        self.bias = bias
        self.packs: dict[str, Packed] = {}

    def packed(self, plan: ConvPlan) -> Packed:
        algorithm = plan.algorithm
        word = f"{algorithm.backend}:{algorithm.packing(plan.problem)}"
        found = self.packs.get(word)
        if found is None:
            found = self.packs[word] = algorithm.prepare(plan.problem, self.w, self.bias)
        return found


def _native(array: Array | None) -> Array | None:
    return array if array is None or array.dtype.isnative else plain(array)


def _run(
    settings: tuple[Any, ...],
    x: Array,
    weights: _Weights,
    residual: Array | None,
    out: Array | None,
    algorithm: str,
    options: Options,
) -> Array:
    """Plan and run, with a copy of whatever the kernels cannot use in place.

    ``settings`` is (rank, stride, padding, dilation, groups, padding_mode, activation).
    """
    rank, stride, padding, dilation, groups, padding_mode, activation = settings
    if x.ndim == rank + 1:
        batched: Array = _run(
            settings,
            x[None],
            weights,
            None if residual is None else residual[None],
            None if out is None else out[None],
            algorithm,
            options,
        )
        first: Array = batched[0]
        return first if out is None else out
    if out is not None:
        _check_out(out, rank)

    def plan_for(x: Array, residual: Array | None, out: Array | None) -> ConvPlan | None:
        return _plan(
            rank,
            x.shape,
            x.strides,
            x.dtype,
            weights.w.shape,
            weights.w.dtype,
            _key(weights.bias),
            _key(residual),
            _key(out),
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            activation,
            algorithm,
            options,
        )

    plan = plan_for(x, residual, out)
    target = out
    if out is not None and (
        plan is None
        or _overlaps(out, x)
        or _overlaps(out, weights.w)
        or _overlaps(out, weights.bias)
        or (residual is not None and _overlaps(out, residual) and not _same_memory(out, residual))
    ):
        target = None
    if plan is None:
        # wrong byte order or strides of odd bytes: copies, in native order
        weights = _Weights(_native(weights.w), _native(weights.bias))  # type: ignore[arg-type]
        x, residual = plain(x), None if residual is None else plain(residual)
    if plan is None or target is not out:
        plan = plan_for(x, residual, target)
        assert plan is not None
    result = plan.allocate() if target is None else target
    if not plan.is_empty and not plan.run(x, weights.packed(plan), residual, result):
        # an address that is no multiple of the item size
        x, residual = plain(x), None if residual is None else plain(residual)
        weights = _Weights(plain(weights.w), None if weights.bias is None else plain(weights.bias))
        plan = plan_for(x, residual, None)
        assert plan is not None
        result = plan.allocate()
        plan.run(x, weights.packed(plan), residual, result)
    if out is not None and result is not out:
        out[...] = result
        return out
    return result


def _convolve(
    rank: int,
    x: Any,
    w: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    padding_mode: Any,
    residual: Any,
    activation: Any,
    out: Any,
    algorithm: Any,
) -> Array:
    if x.__class__ is not _ndarray:
        x = as_array("x", x)
    if w.__class__ is not _ndarray:
        w = as_array("w", w)
    if bias is not None and bias.__class__ is not _ndarray:
        bias = as_array("bias", bias)
    if stride.__class__ is not int or dilation.__class__ is not int or groups.__class__ is not int:
        stride, dilation, groups = _exact(_hashable(stride)), _exact(_hashable(dilation)), _exact(_hashable(groups))
    if padding.__class__ is not int:
        padding = _exact(_hashable(padding))
    if activation is not None and activation.__class__ is not str:
        activation = _hashable(activation)
    _check_words(padding_mode, algorithm)
    options = current()
    if residual is None and out is None and x.ndim == rank + 2:
        # the usual call, with nothing between it and the cached plan
        plan = _plan(
            rank,
            x.shape,
            x.strides,
            x.dtype,
            w.shape,
            w.dtype,
            None if bias is None else (bias.shape, bias.strides, bias.dtype),
            None,
            None,
            stride,
            padding,
            dilation,
            groups,
            padding_mode,
            activation,
            algorithm,
            options,
        )
        if plan is not None and not plan.is_empty:
            result = plan.allocate()
            if plan.run(x, plan.algorithm.prepare(plan.problem, w, bias), None, result):
                return result
    if residual is not None:
        residual = as_array("residual", residual)
    if out is not None and not isinstance(out, _ndarray):
        raise TypeError(f"out must be a numpy.ndarray to write into, got {type(out).__name__}")
    settings = (rank, stride, padding, dilation, groups, padding_mode, _hashable(activation))
    return _run(settings, x, _Weights(w, bias), residual, out, algorithm, options)


def conv1d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve along one axis: ``y[n, o, p] = sum over c, a of w[o, c, a] x[n, c, stride p - padding + dilation a]``.

    Parameters
    ----------
    x : (n, c_in, w) or (c_in, w) float16, float32 or float64
    w : (c_out, c_in / groups, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv2d`, with one axis.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.array([[1, 2, 3, 4]], dtype=np.float32)
    >>> pyconv.conv1d(x, np.ones((1, 1, 2), dtype=np.float32))
    array([[3., 5., 7.]], dtype=float32)
    >>> pyconv.conv1d(x, np.ones((1, 1, 3), dtype=np.float32), padding="same", padding_mode="circular")
    array([[7., 6., 9., 8.]], dtype=float32)
    """
    return _convolve(
        1, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


def conv2d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    r"""Convolve images with a bank of kernels (cross-correlation, as in every neural-network library).

    .. math:: y_{n,o,p,q} = f\Big(b_o + r_{n,o,p,q} + \sum_{c,a,b} w_{o,c,a,b}\,
              x_{n,\,c,\,s_h p - p_h + d_h a,\,s_w q - p_w + d_w b}\Big)

    Parameters
    ----------
    x : (n, c_in, h, w) or (c_in, h, w) float16, float32 or float64
        Images, any strides. A view over channels-last memory gives channels-last results.
    w : (c_out, c_in / groups, kh, kw), the dtype of x
        Kernels.
    bias : (c_out,), optional
        Added to each output channel.
    stride, dilation : int or (int, int)
        Pixels between neighbouring outputs, and between neighbouring kernel taps.
    padding : int, (int, int), ((top, bottom), (left, right)), "same" or "valid"
        Pixels added on each side. "same" keeps the size (stride 1; an even kernel gets its extra pixel at the end).
    groups : int
        Blocks that the channels are cut into; each output block sees its own input block.
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}
        What lies outside: ``'zeros': 0000|1234|0000``, ``'reflect': 3432|1234|3212`` (edge not repeated),
        ``'symmetric': 4321|1234|4321`` (edge repeated), ``'replicate': 1111|1234|4444``,
        ``'circular': 1234|1234|1234``.
    residual : (n, c_out, h_out, w_out), optional
        Added before the activation, in the same pass. May be ``out`` itself.
    activation : None, str or (str, float)
        "relu", "relu6", "leaky_relu", "elu", "sigmoid", "tanh", "silu" or "hardswish"; a pair gives the slope below
        zero of leaky_relu (0.01) or the alpha of elu (1).
    out : numpy.ndarray, optional
        Where to put the result; may overlap the inputs.
    algorithm : str
        "auto", a family ("direct", "im2col", "depthwise", "reference") or an id of :func:`pyconv.algorithms`.

    Returns
    -------
    (n, c_out, h_out, w_out), the dtype of x
        ``h_out = (h + top + bottom - dilation (kh - 1) - 1) // stride + 1``, ``w_out`` alike.

    Raises
    ------
    InvalidProblem
        Shapes that disagree, or a problem without meaning.
    TypeError
        Not an array, or a dtype that is not taken, or two dtypes.
    Unsupported
        The algorithm asked for cannot do this problem; the message says why.
    MemoryError
        With the number of bytes asked for.

    Notes
    -----
    float32 and float64 sums are in that type, float16 in float32, or float64 without C kernels. The result has the
    same bits for any number of threads. See :func:`pyconv.explain` for the algorithm taken and its error bound.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> edge = np.array([[[[-1, 1]]]], dtype=np.float32)
    >>> pyconv.conv2d(x, edge)[0, 0, 0]
    array([1., 1., 1.], dtype=float32)
    >>> blur = np.full((1, 1, 3, 3), 1 / 9, dtype=np.float64)
    >>> pyconv.conv2d(x.astype(np.float64), blur, padding=1, padding_mode="reflect").shape
    (1, 1, 4, 4)
    """
    return _convolve(
        2, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


def conv3d(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    residual: Any = None,
    activation: Any = None,
    out: Array | None = None,
    algorithm: str = "auto",
) -> Array:
    """Convolve volumes; :func:`conv2d` with a depth axis in front of h and w.

    Parameters
    ----------
    x : (n, c_in, d, h, w) or (c_in, d, h, w) float16, float32 or float64
    w : (c_out, c_in / groups, kd, kh, kw), the dtype of x

    Other parameters, results and errors are those of :func:`conv2d`, with three axes.

    Examples
    --------
    >>> import numpy as np, pyconv
    >>> x = np.ones((1, 1, 4, 4, 4), dtype=np.float32)
    >>> pyconv.conv3d(x, np.ones((2, 1, 3, 3, 3), dtype=np.float32)).shape
    (1, 2, 2, 2, 2)
    >>> float(pyconv.conv3d(x, np.ones((1, 1, 3, 3, 3), dtype=np.float32), padding=1)[0, 0, 0, 0, 0])
    8.0
    """
    return _convolve(
        3, x, w, bias, stride, padding, dilation, groups, padding_mode, residual, activation, out, algorithm
    )


#: The functions that prepare() and explain() take, and their number of spatial axes.
RANKS = {conv1d: 1, conv2d: 2, conv3d: 3}


class PreparedConv:
    """A convolution whose weights are packed already; made by :func:`pyconv.prepare`.

    Call it as ``f(x, out=None, residual=None)``. The weights are copied: later changes to them are not seen.
    """

    __slots__ = ("_algorithm", "_plans", "_settings", "_weights")

    def __init__(
        self,
        rank: int,
        w: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        activation: Any = None,
        algorithm: str = "auto",
    ) -> None:
        self._settings = (
            rank,
            _exact(_hashable(stride)),
            _exact(_hashable(padding)),
            _exact(_hashable(dilation)),
            _exact(_hashable(groups)),
            padding_mode,
            _hashable(activation),
        )
        self._weights = _Weights(plain(as_array("w", w)), None if bias is None else plain(as_array("bias", bias)))
        _check_words(padding_mode, algorithm)
        self._algorithm = algorithm
        self._plans: dict[tuple[Any, ...], tuple[Runner, Packed, ConvPlan]] = {}

    def __call__(self, x: Any, out: Array | None = None, residual: Any = None) -> Array:
        """Convolve x; the parameters are those of the function that was prepared."""
        options = current()
        if out is None and residual is None and x.__class__ is _ndarray:
            key = (x.shape, x.strides, x.dtype, options)
            found = self._plans.get(key)
            if found is None:
                found = self._remember(key, x, options)
            if found is not None:
                run, packed, plan = found
                result = _empty(plan.shape, plan.dtype) if plan.axes is None else plan.allocate()
                if run(x, packed, None, result):
                    return result
        x = as_array("x", x)
        if residual is not None:
            residual = as_array("residual", residual)
        if out is not None and not isinstance(out, _ndarray):
            raise TypeError(f"out must be a numpy.ndarray to write into, got {type(out).__name__}")
        return _run(self._settings, x, self._weights, residual, out, self._algorithm, options)

    def _remember(self, key: tuple[Any, ...], x: Array, options: Options) -> tuple[Runner, Packed, ConvPlan] | None:
        rank, *settings = self._settings
        if x.ndim != rank + 2:
            return None
        weights = self._weights
        plan = _plan(
            rank, *key[:3], weights.w.shape, weights.w.dtype, _key(weights.bias), None, None, *settings,
            self._algorithm, options,
        )  # fmt: skip
        if plan is None or plan.is_empty:
            return None
        if len(self._plans) >= 256:
            self._plans.clear()
        self._plans[key] = found = (plan.run, weights.packed(plan), plan)
        return found


def explain_conv(rank: int, x: Any, w: Any, bias: Any = None, **settings: Any) -> Explanation:
    """Explain a convolution of these arrays, or of float32 arrays of these shapes."""

    def described(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, (tuple, list)) and all(isinstance(size, (int, np.integer)) for size in value):
            shape, dtype = tuple(int(size) for size in value), np.dtype(np.float32)
            return shape, standard_strides(shape, False, dtype.itemsize), dtype
        array = as_array(name, value)
        return array.shape, array.strides, array.dtype

    def batched(array: tuple[Any, ...]) -> tuple[Any, ...]:
        shape, strides, dtype = array
        return ((1, *shape), (0, *strides), dtype) if len(shape) == rank + 1 else array

    defaults: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}
    algorithm = settings.pop("algorithm", "auto")
    residual, out = settings.pop("residual", None), settings.pop("out", None)
    unknown = set(settings) - {*defaults, "activation"}
    if unknown:
        raise TypeError(f"conv{rank}d has no argument {', '.join(sorted(unknown))}")
    d = _Description(
        rank,
        batched(described("x", x)),
        described("w", w),
        None if bias is None else described("bias", bias),
        None if residual is None else batched(described("residual", residual)),
        None if out is None else batched(described("out", out)),
        **{**defaults, "activation": None, **settings},
    )
    try:
        options = current()
        return explain_call(Call.typical(_problem_of(d), options.threads, options.max_workspace), algorithm, options)
    except (InvalidProblem, Unsupported, TypeError) as error:
        raise _in_context(d, error) from None
