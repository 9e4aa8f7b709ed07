"""Ourselves: weights packed by ``pyconv.prepare``, the output arrays reused (as onnxruntime's and OpenVINO's are)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers import Job, Prepared, missing
from benchmarks.shapes import Layer


def available() -> str | None:
    """Return why pyconv cannot be used here, or None."""
    return missing("pyconv")


def version() -> str:
    """Return pyconv's version and the instruction set in use."""
    import pyconv

    return f"{pyconv.__version__} ({pyconv.info().isa or 'no C kernels'})"


def _function(layer: Layer) -> Callable[..., Any] | None:
    """Return the function, or its gradient, if there is one."""
    import pyconv

    return getattr(pyconv if layer.wanted is None else pyconv.grad, layer.function, None)


def supports(layer: Layer, dtype: str) -> str | None:
    """Return why pyconv cannot do the layer, or None: every layer and every dtype are its job."""
    if _function(layer) is None:
        return f"pyconv has no {'' if layer.wanted is None else 'gradient of '}{layer.function}"
    return None


def prepare(job: Job) -> Prepared:
    """Bind the arguments, pack the weights, and name the algorithms with ``pyconv.explain``."""
    import pyconv

    pyconv.set_options(threads=job.threads)
    layer, outs = job.layer, job.empty()
    function = _function(layer)
    assert function is not None
    arguments, settings = layer.arguments(job.arrays), layer.settings
    if layer.wanted is not None:
        return _gradient(job, function, (job.arrays["g"], *arguments), settings)
    if job.activation is not None:
        settings = {**settings, "activation": job.activation}
    explained = pyconv.explain(function, *arguments, **settings)
    form, problem = explained.algorithm, f"{explained.problem.op} {explained.problem}"
    out: Any = outs if len(outs) > 1 else outs[0] if outs else None
    if layer.weighted:
        x, call = arguments[0], _packed(function, arguments, settings)
        return Prepared(lambda: call(x, out=out), form, problem)
    return Prepared(lambda: function(*arguments, **settings, out=out), form, problem)


def _packed(function: Callable[..., Any], arguments: tuple[Any, ...], settings: dict[str, Any]) -> Callable[..., Any]:
    """Return the function with its weights packed: settings go by name there."""
    import inspect

    import pyconv

    _, w, bias, *sizes = arguments
    names = list(inspect.signature(function).parameters)[3 : len(arguments)]
    return pyconv.prepare(function, w, bias, **{**dict(zip(names, sizes, strict=True)), **settings})


def _gradient(job: Job, function: Callable[..., Any], arguments: tuple[Any, ...], settings: dict[str, Any]) -> Prepared:
    """Return the gradients that are wanted, in one call; maxima have their indices from the forward call."""
    import pyconv

    wanted, outs = job.layer.wanted, iter(job.empty())
    assert wanted is not None
    if job.layer.operation == "max_pool_grad":
        forward = getattr(pyconv, job.layer.function)
        settings = {**settings, "indices": forward(*arguments[1:], return_indices=True)[1]}
    explained = [
        pyconv.explain(function, *arguments, **settings, output_mask=tuple(i == number for i in range(len(wanted))))
        for number in range(len(wanted))
        if wanted[number]
    ]
    masked = {"output_mask": wanted, "out": tuple(next(outs) if want else None for want in wanted)}
    return Prepared(
        lambda: function(*arguments, **settings, **masked),
        " + ".join(dict.fromkeys(found.algorithm for found in explained)),
        " + ".join(f"{found.problem.op} {found.problem}" for found in explained),
    )
