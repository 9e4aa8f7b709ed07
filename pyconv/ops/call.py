"""The way of every operation from its arguments to results: description, problem, plan, cache, run.

An operation is a constant that names its arrays and makes a problem of their shapes; everything else is here, once:
what is remembered, which arrays have to be copied first, unbatched input, ``out=``, and which error says what.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from ..algorithm import Algorithm, Array, Call, Packed, Runner
from ..errors import InvalidProblem, Unsupported
from ..options import Options, current, on_gpu
from ..plan import Explanation, explain_call, make_plan
from ..problem import AXES, DTYPES, GPU_ELEMENTS, Operand, Problem, standard_strides
from .arguments import as_array, as_array_anywhere, dtype_of, is_plain, numbers, plain
from .device import DeviceArray, check_one_place
from .host import delivered, is_exported

__all__ = [
    "REQUESTS",
    "CallPlan",
    "Key",
    "Operation",
    "Request",
    "Weights",
    "as_out",
    "bound",
    "check_one_dtype",
    "exact",
    "explain",
    "gradients",
    "in_context",
    "is_channels_last",
    "is_plain_target",
    "key_of",
    "perform",
    "plan_for",
    "run",
    "run_on_gpu",
    "spatial_axes",
]

#: What the cache knows of an array: shape, byte strides and type. Of weights, which are packed, the strides are ().
Key = tuple[tuple[int, ...], tuple[int, ...], np.dtype[Any]]

_empty = np.empty
_may_share_memory = np.may_share_memory
#: Plans kept; a plan is a few hundred bytes.
_CACHE_SIZE = 4096
_NUMPY = {word: np.dtype(name) for name, word in DTYPES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One operation: the names of its arrays, and how they make a problem. A constant; compared by identity.

    Attributes
    ----------
    name : str
        As the caller spells it: ``conv2d``, ``grad.max_pool2d``. Errors begin with it.
    rank : int
        Spatial axes.
    inputs : tuple of str
        Arrays that kernels read where they lie, in the order that runners take them. The first one says whether the
        call is unbatched.
    weights : tuple of str
        Arrays that the algorithm's ``prepare`` turns into what its kernel wants.
    outputs : tuple of str
        Results, in the order that runners take them; a problem may do without the later ones.
    describe : callable
        (arrays by name, settings) -> problem. Checks everything and raises the bare fact.
    unbatched : bool
        Whether arrays without the batch axis are taken.
    whole : tuple of str
        Inputs and outputs that have no batch axis anyway, as the gradient of weights.
    in_place : tuple of str
        Inputs that may be the output itself, because a kernel reads each element before it writes it.
    """

    name: str
    rank: int
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    describe: Callable[[Mapping[str, Key | None], tuple[Any, ...]], Problem]
    unbatched: bool = True
    whole: tuple[str, ...] = ()
    in_place: tuple[str, ...] = ()


class Request(NamedTuple):
    """A call of an operation: its arrays in the operation's order, and its settings, hashable."""

    operation: Operation
    inputs: tuple[Array | None, ...]
    weights: Weights | None
    settings: tuple[Any, ...]


class Fresh(NamedTuple):
    """How a result is allocated: its type, its shape in memory order, and the transposition that undoes that order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None

    @classmethod
    def of(cls, operand: Operand) -> Fresh:
        """Return the way to make this output."""
        dtype, shape, rank = _NUMPY[operand.dtype], operand.shape, len(operand.shape) - 2
        if not operand.channels_last:
            return cls(dtype, shape, None)
        return cls(dtype, (shape[0], *shape[2:], shape[1]), (0, rank + 1, *range(1, rank + 1)))

    def allocate(self) -> Array:
        """Return a fresh array."""
        try:
            out = _empty(self.shape, self.dtype)
        except (MemoryError, ValueError):
            size = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
            shape = self.shape if self.axes is None else tuple(self.shape[axis] for axis in self.axes)
            raise MemoryError(f"no memory for an output of {size} bytes (shape {shape})") from None
        return out if self.axes is None else out.transpose(self.axes)


@dataclass(frozen=True, slots=True)
class CallPlan:
    """What the cache holds for one combination of shapes, strides, types and options."""

    problem: Any
    algorithm: Algorithm
    run: Runner
    fresh: Fresh  # of the first output
    fresh_all: tuple[Fresh | None, ...]  # of each output of the operation; None where the problem has none
    is_empty: bool


class Weights:
    """Weights of a call, packed for whichever algorithms ask, once each."""

    __slots__ = ("arrays", "packs")

    def __init__(self, *arrays: Array | None) -> None:
        self.arrays = arrays
        self.packs: dict[str, Packed] = {}

    def packed(self, plan: CallPlan) -> Packed:
        """Return them in the order that the plan's algorithm wants."""
        algorithm = plan.algorithm
        word = f"{algorithm.backend}:{algorithm.packing(plan.problem)}"
        found = self.packs.get(word)
        if found is None:
            found = self.packs[word] = algorithm.prepare(plan.problem, *self.arrays)
        return found

    def keys(self) -> tuple[Key | None, ...]:
        """Return what the cache knows of them."""
        return tuple(None if a is None else (a.shape, (), a.dtype) for a in self.arrays)

    def plain(self) -> Weights:
        """Return contiguous, aligned copies in native byte order."""
        return Weights(*(None if a is None else plain(a) for a in self.arrays))


def key_of(array: Array | None) -> Key | None:
    """Return what the cache knows of an array."""
    return None if array is None else (array.shape, array.strides, array.dtype)


def _are_ints(values: tuple[Any, ...]) -> bool:
    return [value.__class__ for value in values].count(int) == len(values)


def exact(value: Any) -> Any:
    """Return a setting made of integers as a key: lists as tuples, words as they are.

    What compares equal to an integer but is none is refused: 1.0 would otherwise hit the plan of 1.
    """
    if value.__class__ is int:
        return value
    if value.__class__ is tuple and _are_ints(value):
        return value
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple([exact(entry) for entry in value])
    if isinstance(value, str):
        return value
    return numbers("sizes, strides, padding, dilation and groups", value, 1)[0]


def as_out(out: Any, name: str = "out") -> Array | None:
    """Return the array to write into, over the caller's memory; refuse what cannot be written into."""
    if out is None or isinstance(out, np.ndarray):
        return out
    if not is_exported(out):
        raise TypeError(f"{name} must be a numpy.ndarray to write into, or export one, got {type(out).__name__}")
    return as_array(name, out)


def spatial_axes(rank: int) -> str:
    """Return "h, w" for 2."""
    return ", ".join(AXES[rank])


def is_channels_last(key: Key) -> bool:
    """Channels fastest in memory and nothing else out of order; where both orders fit, channels-first it is."""
    shape, strides, dtype = key
    first, last = (standard_strides(shape, order, dtype.itemsize) for order in (False, True))

    def agrees(wanted: tuple[int, ...]) -> bool:
        return all(s == t for s, t, size in zip(strides, wanted, shape, strict=True) if size > 1)

    return agrees(last) and not agrees(first)


def check_one_dtype(arrays: Mapping[str, Key | None], names: Iterable[str], words: Iterable[str]) -> str:
    """Return the word of the one element type that the named arrays have; ``words`` are those that are taken."""
    given = [(name, key) for name in names if (key := arrays.get(name)) is not None]
    first, key = given[0]
    dtype = dtype_of(first, key[2], words)
    for name, other in given[1:]:
        if dtype_of(name, other[2], words) != dtype:
            raise TypeError(
                f"all arrays must have one dtype: {first} is {key[2].name}, {name} is {other[2].name}; "
                "convert one of them"
            )
    return dtype


def _check_outputs(problem: Problem, arrays: Mapping[str, Key | None]) -> None:
    """Refuse an output of another shape or type."""
    for operand in problem.outputs:
        key = arrays.get(operand.name)
        if key is None:
            continue
        if key[2].newbyteorder("=") != _NUMPY[operand.dtype]:
            raise TypeError(f"{operand.name} must be {_NUMPY[operand.dtype].name}, but {operand.name} is {key[2].name}")
        if key[0] != operand.shape:
            raise InvalidProblem(f"{operand.name} must have the output's shape {operand.shape}, got {key[0]}")


def in_context(operation: Operation, arrays: Mapping[str, Key | None], error: Exception) -> Exception:
    """Return the same error, saying once which call it was."""
    names = (operation.inputs[0], *operation.weights[:1], *operation.inputs[1:])
    sizes = ", ".join(f"{name} {key[0]}" for name in names if (key := arrays.get(name)) is not None)
    return type(error)(f"{operation.name}({sizes}): {error}")


def _by_name(
    operation: Operation,
    inputs: Sequence[Key | None],
    weights: Sequence[Key | None],
    outs: Sequence[Key | None],
) -> dict[str, Key | None]:
    names = (*operation.inputs, *operation.weights, *operation.outputs)
    return dict(zip(names, (*inputs, *weights, *outs), strict=True))


@lru_cache(maxsize=_CACHE_SIZE)
def plan_for(
    operation: Operation,
    inputs: tuple[Key | None, ...],
    weights: tuple[Key | None, ...],
    outs: tuple[Key | None, ...],
    settings: tuple[Any, ...],
    algorithm: str,
    options: Options,
) -> CallPlan | None:
    """Return the plan, or None where the kernels cannot read an array where it is."""
    arrays = _by_name(operation, inputs, weights, outs)
    try:
        problem = operation.describe(arrays, settings)
        _check_outputs(problem, arrays)
        for shape, strides, dtype in (key for key in (*inputs, *outs) if key is not None):
            if not is_plain(dtype, shape, strides):
                return None
        if not all(key[2].isnative for key in weights if key is not None):
            return None
        outputs = {operand.name: operand for operand in problem.outputs}
        strides_of = {a.name: a.fresh_strides for a in problem.outputs}
        strides_of |= {
            name: key[1] for name, key in arrays.items() if key is not None and name not in operation.weights
        }
        call = Call(problem, tuple(strides_of.items()), options.threads, options.max_workspace)
        plan = make_plan(call, algorithm, options)
    except (InvalidProblem, Unsupported, TypeError) as error:
        raise in_context(operation, arrays, error) from None
    fresh = tuple(Fresh.of(outputs[name]) if name in outputs else None for name in operation.outputs)
    assert fresh[0] is not None
    is_empty = all(0 in operand.shape for operand in problem.outputs)
    return CallPlan(problem, plan.algorithm, plan.run, fresh[0], fresh, is_empty)


def _check_out(operation: Operation, name: str, out: Array) -> None:
    if not out.flags.writeable:
        raise InvalidProblem(f"{operation.name}: {name} is read-only; pass a writeable array")
    if out.size and any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise InvalidProblem(
            f"{operation.name}: {name} has elements that share memory (a stride of 0); pass a plain array"
        )


def is_plain_target(out: Any, *others: Array | None) -> bool:
    """Whether a kernel may write straight into an output; :func:`perform` has an answer for any that it may not."""
    if out.__class__ is not np.ndarray or not out.flags.writeable or 0 in out.strides:
        return False
    for other in others:  # noqa: SIM110 - a generator costs as much as what it would ask
        if other is not None and _may_share_memory(out, other):
            return False
    return True


def _same_memory(a: Array, b: Array) -> bool:
    return a.__array_interface__["data"][0] == b.__array_interface__["data"][0] and a.strides == b.strides


def _may_write(request: Request, outs: Sequence[Array | None], index: int) -> bool:
    """Whether a kernel may write this output where the caller wants it: over no other array of the call."""
    operation, inputs, weights, _ = request
    out = outs[index]
    others = [*(weights.arrays if weights is not None else ()), *outs[:index], *outs[index + 1 :]]
    for name, array in zip(operation.inputs, inputs, strict=True):
        if array is not None and not (name in operation.in_place and index == 0 and _same_memory(out, array)):  # type: ignore[arg-type]
            others.append(array)
    return not any(other is not None and _may_share_memory(out, other) for other in others)


def perform(request: Request, outs: tuple[Array | None, ...], algorithm: str, options: Options) -> tuple[Any, ...]:
    """Plan and run, with a copy of whatever the kernels cannot use in place; return every output, None for none."""
    operation, inputs, weights, settings = request
    first = inputs[0]
    assert first is not None
    if operation.unbatched and first.ndim == operation.rank + 1:

        def batched(names: tuple[str, ...], arrays: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
            return tuple(
                a if a is None or name in operation.whole else a[None] for name, a in zip(names, arrays, strict=True)
            )

        lifted = request._replace(inputs=batched(operation.inputs, inputs))
        results = perform(lifted, batched(operation.outputs, outs), algorithm, options)
        return tuple(
            result if result is None or name in operation.whole else result[0] if out is None else out
            for name, result, out in zip(operation.outputs, results, outs, strict=True)
        )
    for name, out in zip(operation.outputs, outs, strict=True):
        if out is not None:
            _check_out(operation, name, out)

    def plan(
        inputs: tuple[Array | None, ...], weights: Weights | None, outs: tuple[Array | None, ...]
    ) -> CallPlan | None:
        keys = () if weights is None else weights.keys()
        return plan_for(
            operation, tuple(map(key_of, inputs)), keys, tuple(map(key_of, outs)), settings, algorithm, options
        )

    nothing: tuple[Array | None, ...] = (None,) * len(outs)
    found, targets = plan(inputs, weights, outs), nothing
    if found is not None:
        targets = tuple(
            out if out is not None and _may_write(request, outs, index) else None for index, out in enumerate(outs)
        )
    if found is None:
        # wrong byte order or strides of odd bytes: copies, in native order
        weights, inputs = None if weights is None else weights.plain(), _plain_all(inputs)
    if found is None or any(target is not out for target, out in zip(targets, outs, strict=True)):
        found = plan(inputs, weights, targets)
        assert found is not None
    results = _allocate(found, targets)
    if not found.is_empty:
        packed = None if weights is None else weights.packed(found)
        if not found.run(packed, *inputs, *results):
            # an address that is no multiple of the item size, or strides that the kernel has no form for
            weights, inputs = None if weights is None else weights.plain(), _in_order(found.problem, operation, inputs)
            found = plan(inputs, weights, nothing)
            assert found is not None
            results = _allocate(found, nothing)
            if not found.run(None if weights is None else weights.packed(found), *inputs, *results):
                raise RuntimeError(
                    f"{operation.name}: {found.algorithm.id} does not take fresh arrays; please report it"
                )
    return tuple(map(_delivered, outs, results))


def _plain_all(arrays: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
    return tuple(None if a is None else plain(a) for a in arrays)


def _in_order(problem: Problem, operation: Operation, arrays: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
    """Return copies in the memory order that the problem has for each: what every kernel takes."""
    last = {operand.name for operand in problem.inputs if operand.channels_last}

    def copy(name: str, array: Array | None) -> Array | None:
        if array is None or name not in last:
            return None if array is None else plain(array)
        return np.moveaxis(plain(np.moveaxis(array, 1, -1)), -1, 1)

    return tuple(copy(name, array) for name, array in zip(operation.inputs, arrays, strict=True))


def _allocate(plan: CallPlan, targets: tuple[Array | None, ...]) -> tuple[Array | None, ...]:
    return tuple(
        [
            target if target is not None or fresh is None else fresh.allocate()
            for target, fresh in zip(targets, plan.fresh_all, strict=True)
        ]
    )


def _delivered(out: Array | None, result: Array | None) -> Array | None:
    """Return the caller's array, written, where there is one."""
    if out is None or result is None or result is out:
        return result
    out[...] = result
    return out


def run(request: Request, outs: tuple[Any, ...], algorithm: Any) -> tuple[Any, ...]:
    """Run a request: every output of the operation, None for one that the problem does not have."""
    if algorithm.__class__ is not str:
        check_word("algorithm", algorithm)
    options = current()
    operation, inputs, weights, settings = request
    first: Any = inputs[0]
    if first.__class__ is not np.ndarray:
        if first.__class__ is DeviceArray:
            return run_on_gpu(request, outs, algorithm)
        plain_inputs = as_array(operation.inputs[0], first), *inputs[1:]
        return delivered(first, outs, run(request._replace(inputs=plain_inputs), outs, algorithm))
    plain_call = not operation.unbatched or first.ndim != operation.rank + 1
    others: Sequence[Array | None] = inputs if weights is None else (*inputs, *weights.arrays)
    if operation.in_place and outs[0] is not None:  # an input that may be written over, and is to be
        named = zip(operation.inputs, inputs, strict=True)
        written = [None if a is outs[0] and name in operation.in_place else a for name, a in named]
        others = [*written, *others[len(inputs) :]]
    for index, out in enumerate(outs):
        if out is not None and not is_plain_target(out, *others, *outs[:index]):
            plain_call = False
            break
    if plain_call:
        # the usual call, with nothing between it and the cached plan; what key_of does is spelled out for its sake
        keys = tuple([None if a is None else (a.shape, a.strides, a.dtype) for a in inputs])
        out_keys = tuple([None if a is None else (a.shape, a.strides, a.dtype) for a in outs])
        packed_keys = () if weights is None else weights.keys()
        plan = plan_for(operation, keys, packed_keys, out_keys, settings, algorithm, options)
        if plan is not None and not plan.is_empty:
            results = _allocate(plan, outs)
            if plan.run(None if weights is None else weights.packed(plan), *inputs, *results):
                return results
    targets = tuple(map(as_out, outs, operation.outputs))
    results = perform(request, targets, algorithm, options)
    return results if all(map(operator.is_, targets, outs)) else delivered(first, outs, results)


def run_on_gpu(request: Request, outs: tuple[Any, ...], algorithm: str) -> tuple[Any, ...]:
    """Run a request on arrays in GPU memory: nothing is copied, results are arrays of the first input's kind."""
    operation, inputs, weights, settings = request
    given = () if weights is None else weights.arrays
    targets: tuple[Any, ...] = tuple(
        None if out is None else as_array_anywhere(name, out) for name, out in zip(operation.outputs, outs, strict=True)
    )
    names = (*operation.inputs, *operation.weights, *operation.outputs)
    check_one_place(dict(zip(names, (*inputs, *given, *targets), strict=True)))
    first: Any = inputs[0]
    lift = operation.unbatched and first.ndim == operation.rank + 1
    if lift:
        inputs = tuple(None if a is None else a[None] for a in inputs)
        targets = tuple(None if a is None else a[None] for a in targets)
    keys = () if weights is None else weights.keys()
    options = on_gpu(current())
    try:
        plan = plan_for(
            operation, tuple(map(key_of, inputs)), keys, tuple(map(key_of, targets)), settings, algorithm, options
        )
    except Unsupported:
        parts = _parts(request._replace(inputs=inputs), targets)
        if parts is None:
            raise
        return _run_in_parts(request._replace(inputs=inputs), targets, algorithm, *parts)
    if plan is None:
        raise InvalidProblem(
            f"{operation.name}: arrays in GPU memory must have native byte order and strides of whole elements"
        )
    results: list[Any] = []
    for index, (name, target, fresh) in enumerate(zip(operation.outputs, targets, plan.fresh_all, strict=True)):
        if target is not None:
            _check_gpu_out(operation, name, target, (*inputs, *given, *targets[:index]))
        elif fresh is not None:
            target = DeviceArray(name, first.kind.empty(fresh.shape, fresh.dtype.name, fresh.axes, first.base))
        results.append(target)
    if not plan.is_empty:
        packed = None if weights is None else plan.algorithm.prepare(plan.problem, *given)
        plan.run(packed, *inputs, *results)
    return tuple(
        out if out is not None or result is None else result.base[0] if lift else result.base
        for out, result in zip(outs, results, strict=True)
    )


def _parts(request: Request, targets: tuple[Any, ...]) -> tuple[tuple[Fresh | None, ...], int] | None:
    """Return how the outputs of a call are allocated whose arrays are too large for GPU kernels, and images at a time.

    None where they are not too large, or an image does not stand for itself.
    """
    operation, inputs, weights, settings = request
    images = inputs[0].shape[0]  # type: ignore[union-attr]
    if not operation.unbatched or operation.whole or images < 2:
        return None
    packed = () if weights is None else weights.keys()

    def described(end: int) -> Problem:
        keys = [None if key is None else ((end, *key[0][1:]), *key[1:]) for key in map(key_of, inputs)]
        nothing: tuple[Key | None, ...] = (None,) * len(targets)
        return operation.describe(_by_name(operation, keys, packed, nothing), settings)

    try:
        problem, one = described(images), described(1)
    except (InvalidProblem, TypeError):
        return None
    whole, single = ((*p.inputs, *p.outputs) for p in (problem, one))
    if any(a.shape != (images, *b.shape[1:]) for a, b in zip(whole, single, strict=True)):
        return None
    # half of what is counted: padding is too
    least = max(math.prod(operand.shape) for operand in single)
    at_once = max(1, GPU_ELEMENTS // 2 // max(1, least))
    if images * least < GPU_ELEMENTS:
        return None
    outputs = {operand.name: Fresh.of(operand) for operand in problem.outputs}
    # parts of one size, as far as that goes: they have one plan
    return tuple(map(outputs.get, operation.outputs)), -(-images // -(-images // at_once))


def _run_in_parts(
    request: Request, targets: tuple[Any, ...], algorithm: str, fresh: tuple[Fresh | None, ...], at_once: int
) -> tuple[Any, ...]:
    """Run a request some images at a time, into outputs that are allocated whole."""
    first: Any = request.inputs[0]
    results = [
        DeviceArray(name, first.kind.empty(how.shape, how.dtype.name, how.axes, first.base))
        if target is None and how is not None
        else target
        for name, target, how in zip(request.operation.outputs, targets, fresh, strict=True)
    ]

    def part(arrays: Sequence[Any], begin: int) -> tuple[Any, ...]:
        end = min(first.shape[0], begin + at_once)
        return tuple(None if a is None else a.images(begin, end) for a in arrays)

    for begin in range(0, first.shape[0], at_once):
        run_on_gpu(request._replace(inputs=part(request.inputs, begin)), part(results, begin), algorithm)
    return tuple(None if result is None else result.base for result in results)


def _check_gpu_out(operation: Operation, name: str, out: DeviceArray, others: tuple[Any, ...]) -> None:
    """Refuse an output that cannot be written into, or that would be written while others are read."""
    if out.readonly:
        raise InvalidProblem(f"{operation.name}: {name} is read-only; pass a writeable array")
    if any(stride == 0 and size > 1 for stride, size in zip(out.strides, out.shape, strict=True)):
        raise InvalidProblem(
            f"{operation.name}: {name} has elements that share memory (a stride of 0); pass a plain array"
        )
    for position, other in enumerate(others):
        if other is None or not out.overlaps(other):
            continue
        in_place = position < len(operation.inputs) and operation.inputs[position] in operation.in_place
        if not (in_place and (out.pointer, out.strides) == (other.pointer, other.strides)):
            raise InvalidProblem(f"{operation.name}: {name} overlaps another array; in GPU memory it must not")


def bound(request: Request, out: Array, algorithm: str = "auto") -> Callable[[], object] | None:
    """Return a function that runs a request with one output again and again, on the same arrays.

    Everything that a call checks and looks up is done once, with the options of now. None where it is no plain call:
    without a batch axis, without elements, in GPU memory, or with arrays that would have to be copied first.
    """
    operation, inputs, weights, settings = request
    first = inputs[0]
    if first.__class__ is not np.ndarray or (operation.unbatched and first.ndim == operation.rank + 1):
        return None
    others = [a for a in inputs if a is not None] + (
        [] if weights is None else [a for a in weights.arrays if a is not None]
    )
    if not is_plain_target(out, *others):
        return None
    keys, packed_keys = tuple(map(key_of, inputs)), () if weights is None else weights.keys()
    rest = (None,) * (len(operation.outputs) - 1)
    plan = plan_for(operation, keys, packed_keys, (key_of(out), *rest), settings, algorithm, current())
    if plan is None or plan.is_empty or any(fresh is not None for fresh in plan.fresh_all[1:]):
        return None
    arrays = (None if weights is None else weights.packed(plan), *inputs, out, *rest)
    return partial(plan.run, *arrays) if plan.run(*arrays) else None


def check_word(name: str, value: Any) -> None:
    """Refuse what is no word before it becomes a key of the cache."""
    if not isinstance(value, str):
        what = '"auto", a family or an id' if name == "algorithm" else "a word"
        raise TypeError(f"{name} must be {what}, got {value!r}")


def gradients(
    name: str,
    requests: Sequence[Request | None],
    output_mask: Any,
    out: Any,
    algorithm: Any,
    joined: Mapping[tuple[int, ...], Request] | None = None,
) -> tuple[Array | None, ...]:
    """Run the gradients that are wanted, each a request of its own; None for the others.

    ``requests`` has one entry for each array argument of the forward function, None for one that has no gradient or
    was not given. ``out`` and ``algorithm`` may be tuples of as many entries; all are planned before one is run.
    ``joined`` has requests of several outputs that stand for those of several places, where one word asks for all.
    """
    count = len(requests)
    if count == 1 and requests[0] is not None and output_mask is None:
        return (run(requests[0], _of_each("out", out, 1, name), _of_each("algorithm", algorithm, 1, name)[0])[0],)
    wanted = _of_each("output_mask", (True,) * count if output_mask is None else output_mask, count, name)
    outs = _of_each("out", out if isinstance(out, (tuple, list)) or out is None else (out,), count, name)
    words = _of_each("algorithm", algorithm, count, name)
    chosen: dict[tuple[int, ...], Request] = {
        (i,): request for i, request in enumerate(requests) if request is not None and wanted[i]
    }
    for group, together in (joined or {}).items():
        if all((i,) in chosen for i in group) and len({words[i] for i in group}) == 1:
            chosen = {others: request for others, request in chosen.items() if others[0] not in group}
            chosen[group] = together
    if len(chosen) > 1:
        for places, request in chosen.items():
            options = on_gpu(current()) if isinstance(request.inputs[0], DeviceArray) else current()
            check_word("algorithm", words[places[0]])
            keys = () if request.weights is None else request.weights.keys()
            as_planned = _batched_keys(request, tuple(outs[i] for i in places))
            word = words[places[0]]
            plan_for(request.operation, as_planned[0], keys, as_planned[1], request.settings, word, options)
    results: list[Array | None] = [None] * count
    for places, request in chosen.items():
        found = run(request, tuple(outs[i] for i in places), words[places[0]])
        for i, result in zip(places, found, strict=True):
            results[i] = result
    return tuple(results)


def _batched_keys(request: Request, outs: tuple[Any, ...]) -> tuple[tuple[Key | None, ...], tuple[Key | None, ...]]:
    """Return the keys of a request's arrays as they are planned, with the batch axis in front."""
    operation = request.operation
    first: Any = request.inputs[0]
    lift = operation.unbatched and first is not None and first.ndim == operation.rank + 1

    def key(name: str, array: Array | None) -> Key | None:
        return key_of(array if array is None or not lift or name in operation.whole else array[None])

    inputs = tuple(key(name, array) for name, array in zip(operation.inputs, request.inputs, strict=True))
    if isinstance(first, DeviceArray):
        outs = tuple(None if out is None else as_array_anywhere("out", out) for out in outs)
    else:
        outs = tuple(map(as_out, outs))
    return inputs, tuple(map(key, operation.outputs, outs))


def _of_each(what: str, value: Any, count: int, name: str) -> tuple[Any, ...]:
    """Return one entry for each gradient, from one for all or a sequence."""
    if isinstance(value, (tuple, list)):
        if len(value) != count:
            raise InvalidProblem(f"{name}: {what} must have {count} entries, one a gradient, got {len(value)}")
        return tuple(value)
    return (value,) * count


class Explainable(NamedTuple):
    """How a public function's arguments become a request, and how many of the first ones are arrays."""

    request: Callable[..., Any]
    arrays: int


#: The public functions that explain() takes. A gradient's ``request`` returns a sequence of requests.
REQUESTS: dict[Callable[..., Any], Explainable] = {}


def explain(
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
    answer: Callable[[Call, str, Options], Explanation] = explain_call,
) -> Explanation:
    """Answer for a call of arrays, or of float32 arrays of these shapes, that is planned and not run."""
    request_of, n_arrays = REQUESTS[function]

    def stand_in(value: Any) -> Any:
        if isinstance(value, (tuple, list)) and value and all(isinstance(size, (int, np.integer)) for size in value):
            return np.broadcast_to(np.zeros((), np.float32), value)
        return value

    settings = dict(settings)
    settings.pop("out", None)
    algorithm, mask = settings.pop("algorithm", "auto"), settings.pop("output_mask", None)
    arrays = tuple(map(stand_in, arguments[:n_arrays]))
    settings = {name: stand_in(value) if name in ("bias", "residual") else value for name, value in settings.items()}
    found = request_of(*arrays, *arguments[n_arrays:], **settings)
    if not isinstance(found, Request):
        wanted = _of_each("output_mask", True if mask is None else mask, len(found), function.__name__)
        left = [request for request, yes in zip(found, wanted, strict=True) if yes and request is not None]
        if len(left) != 1:
            raise InvalidProblem(
                f"{function.__name__} has {len(left)} gradients to explain; output_mask= chooses one of them"
            )
        found = left[0]
    operation = found.operation
    keys = _batched_keys(found, (None,))
    arrays_by_name = _by_name(
        operation,
        keys[0],
        () if found.weights is None else found.weights.keys(),
        (*keys[1], *(None,) * (len(operation.outputs) - 1)),
    )
    options = on_gpu(current()) if isinstance(found.inputs[0], DeviceArray) else current()
    try:
        problem = operation.describe(arrays_by_name, found.settings)
        return answer(Call.typical(problem, options.threads, options.max_workspace), algorithm, options)
    except (InvalidProblem, Unsupported, TypeError) as error:
        raise in_context(operation, arrays_by_name, error) from None
