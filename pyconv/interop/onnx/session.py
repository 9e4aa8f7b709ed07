"""Whole networks: a session that plans a run for each combination of input shapes, and repeats it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import options
from ...errors import InvalidProblem
from .fusion import fuse
from .graph import ValueType, fold_constants, load
from .host import HostNode
from .layer import Layer, layer_of
from .plan import Plan, trace
from .profile import Profile

__all__ = ["InferenceSession", "run"]

#: Combinations of input shapes whose buffers are kept.
_MOST_PLANS = 8


class InferenceSession:
    """A model that is ready to run, called as onnxruntime's sessions are.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
    threads : int, optional
        Threads of every kernel; by default those of :func:`pyconv.options` when a combination of shapes is first run.
    fuse : bool
        Whether layers are joined: batch normalisations folded into convolutions, sums and activations into their last
        pass. The results differ in rounding alone.

    Raises
    ------
    ValueError
        If the model cannot be read.

    Notes
    -----
    The first run of a combination of shapes finds all sizes and packs all weights; later ones repeat it in memory that
    is planned once. The lengths that a model names for its inputs are not required: any will do that the nodes can
    work on. Operators that pyconv has no function for are computed by onnx.reference.

    Examples
    --------
    >>> import numpy as np, onnx.parser
    >>> from pyconv.interop.onnx import InferenceSession
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["" : 17]>
    ...     tiny (float[n, 1, h, w] x) => (float[n, 1, h, w] y)
    ...     <float[1, 1, 1, 1] k = {2}> { c = Conv(x, k)  y = Relu(c) }''')
    >>> session = InferenceSession(model)
    >>> session.run(["y"], {"x": np.array([[[[-1, 3]]]], np.float32)})[0]
    array([[[[0., 6.]]]], dtype=float32)
    >>> session.run(None, {"x": np.ones((2, 1, 5, 5), np.float32)})[0].shape
    (2, 1, 5, 5)
    """

    def __init__(self, model: str | Path | bytes | Any, *, threads: int | None = None, fuse: bool = True) -> None:
        self._graph = load(model)
        self._threads = threads
        with self._options():
            fold_constants(self._graph)
            if fuse:
                _fuse(self._graph)
        self._layers: dict[int, Layer] = {}
        for node in self._graph.nodes:
            layer = layer_of(node, self._graph.constants)
            if layer is not None:
                self._layers[id(node)] = layer
        self._pack()
        self._hosts: dict[int, HostNode] = {}
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._lock = threading.Lock()
        #: What the last run with ``profile=True`` measured.
        self.profile: Profile | None = None

    def _pack(self) -> None:
        """Leave the weights that only one layer uses to that layer, which keeps them once."""
        uses, constants = self._graph.uses(), self._graph.constants
        for node in self._graph.nodes:
            if id(node) in self._layers:
                for name in node.inputs[1:3]:
                    if uses[name] == 1 and constants.pop(name, None) is not None:
                        self._graph.packed.add(name)

    def _options(self) -> Any:
        return options() if self._threads is None else options(threads=self._threads)

    @property
    def input_names(self) -> list[str]:
        """Names of the inputs, in the model's order."""
        return [value.name for value in self._graph.inputs]

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in the model's order."""
        return [value.name for value in self._graph.outputs]

    def get_inputs(self) -> list[ValueType]:
        """Return what the model says of its inputs: ``name``, ``dtype`` and ``shape``."""
        return list(self._graph.inputs)

    def get_outputs(self) -> list[ValueType]:
        """Return what the model says of its outputs."""
        return list(self._graph.outputs)

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any], *, profile: bool = False) -> list[Any]:
        """Run the network.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs that are wanted; None for all.
        feeds : dict of arrays
            Every input by name.
        profile : bool
            Whether to print how long each node took; the numbers are kept as ``session.profile``.

        Returns
        -------
        list of arrays, the caller's own

        Raises
        ------
        InvalidProblem
            An input that is missing, unknown or has another number of axes; sizes that the network cannot work on.
        TypeError
            An input of another dtype than the model's.
        """
        wanted = self.output_names if output_names is None else list(output_names)
        for name in wanted:
            if name not in self.output_names:
                raise InvalidProblem(f"the model has no output {name!r}; it has {', '.join(self.output_names)}")
        arrays = self._checked(feeds)
        with self._lock, self._options():
            key = tuple((a.shape, a.dtype) if isinstance(a, np.ndarray) else type(a) for a in arrays.values())
            plan = self._plans.get(key)
            if plan is None or profile:
                if plan is None:
                    plan, values = trace(self._graph, self._layers, self._hosts, arrays)
                    self._plans[key] = plan
                    if len(self._plans) > _MOST_PLANS:
                        self._plans.popitem(last=False)
                    if not profile:
                        return [values[name] for name in wanted]
                self.profile = Profile()
                results = plan.run(arrays, wanted, self.profile)
                print(self.profile)
                return results
            self._plans.move_to_end(key)
            return plan.run(arrays, wanted)

    def _checked(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs in the model's order, each what the model says."""
        known = self._graph.inputs
        unknown = set(feeds) - {value.name for value in known}
        if unknown:
            raise InvalidProblem(f"the model has no input {sorted(unknown)[0]!r}; it has {', '.join(self.input_names)}")
        arrays = {}
        for value in known:
            if value.name not in feeds:
                raise InvalidProblem(f"input {value.name!r} is missing; the model takes {', '.join(self.input_names)}")
            array = feeds[value.name]
            if array is not None and not isinstance(array, (list, dict)):
                array = np.asarray(array)
            if isinstance(array, np.ndarray):
                if value.dtype is not None and array.dtype != value.dtype and value.dtype.kind != "O":
                    raise TypeError(f"input {value.name!r} must be {value.dtype.name}, got {array.dtype.name}")
                if value.shape is not None and array.ndim != len(value.shape):
                    sizes = ", ".join("?" if size is None else str(size) for size in value.shape)
                    raise InvalidProblem(f"input {value.name!r} must have axes ({sizes}), got shape {array.shape}")
            arrays[value.name] = array
        return arrays


_fuse = fuse


def run(model: str | Path | bytes | Any, inputs: Sequence[Any] | Mapping[str, Any]) -> list[Any]:
    """Run a model once.

    Parameters
    ----------
    model : path, bytes or onnx.ModelProto
    inputs : sequence of arrays in the model's order, or a dict by name

    Returns
    -------
    list of arrays
        All outputs, in the model's order.

    Examples
    --------
    >>> import numpy as np, onnx.parser
    >>> import pyconv.interop.onnx
    >>> model = onnx.parser.parse_model('''
    ...     <ir_version: 8, opset_import: ["" : 17]>
    ...     tiny (float[n, 1, w] x) => (float[n, 1, v] y) { y = MaxPool <kernel_shape = [2]> (x) }''')
    >>> pyconv.interop.onnx.run(model, [np.array([[[1, 5, 2]]], np.float32)])[0]
    array([[[5., 5.]]], dtype=float32)
    >>> pyconv.interop.onnx.run(model, {"x": np.zeros((2, 1, 3), np.float32)})[0].shape
    (2, 1, 2)
    """
    session = InferenceSession(model)
    feeds = inputs if isinstance(inputs, Mapping) else dict(zip(session.input_names, inputs, strict=True))
    return session.run(None, feeds)
