"""The command ``pyconv``: demo, explain, algorithms, info, bench."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import pyconv

__all__ = ["main"]

FUNCTIONS = {"conv1d": pyconv.conv1d, "conv2d": pyconv.conv2d, "conv3d": pyconv.conv3d}

DTYPES = ("float16", "float32", "float64")


def _sizes(text: str) -> tuple[int, ...]:
    """Return ``1x64x56x56`` as a tuple."""
    try:
        return tuple(int(part) for part in text.split("x"))
    except ValueError:
        raise ValueError(f"{text!r} is not a list of sizes; one looks like 1x64x56x56") from None


def _numbers(text: str) -> int | tuple[int, ...]:
    """Return ``2`` or ``2x1`` as the functions take it."""
    sizes = _sizes(text)
    return sizes[0] if len(sizes) == 1 else sizes


def _padding(text: str, rank: int) -> Any:
    """Return ``1``, ``2x1``, ``same`` or, as problem strings have it, ``1:0x2`` as the functions take it."""
    if ":" not in text:
        return _numbers(text) if text[:1].isdigit() else text
    axes = [part.split(":") for part in text.split("x")]
    try:
        pads = tuple((int(axis[0]), int(axis[-1])) for axis in axes if len(axis) < 3)
    except ValueError:
        pads = ()
    if len(pads) != len(axes):
        raise ValueError(f"{text!r} is no padding; one looks like 1, 2x1, 1:0x2 (before:after), same or valid")
    return pads * rank if len(pads) == 1 else pads


def _activation(text: str | None) -> Any:
    """Return ``relu``, or ``leaky_relu=0.2`` as a pair."""
    if text is None or "=" not in text:
        return text
    name, _, slope = text.partition("=")
    try:
        return name, float(slope)
    except ValueError:
        raise ValueError(f"{text!r} is no activation; one looks like relu or leaky_relu=0.2") from None


def _array(shape: tuple[int, ...], dtype: str, channels_last: bool = False) -> Any:
    """Return what explain takes for an array: the shape where that says all, else an array nobody reads or writes."""
    if dtype == "float32" and not channels_last:
        return shape
    if channels_last:
        return np.moveaxis(np.empty((shape[0], *shape[2:], shape[1]), dtype), -1, 1)
    return np.empty(shape, dtype)


def _explain_problem(op: str, text: str) -> Any:
    problem = pyconv.ConvProblem.parse(text)
    if problem.op != op:
        raise ValueError(f"{text} is a problem of {problem.op}, not of {op}")
    dtype = f"float{problem.dtype[1:]}"
    activation: Any = (problem.activation, problem.slope) if problem.slope else problem.activation
    return pyconv.explain(
        FUNCTIONS[op],
        _array(problem.x_shape, dtype, problem.channels_last),
        _array(problem.w_shape, dtype),
        _array((problem.c_out,), dtype) if problem.bias else None,
        stride=problem.stride,
        padding=problem.padding,
        dilation=problem.dilation,
        groups=problem.groups,
        padding_mode=problem.padding_mode,
        activation=activation,
        residual=_array(problem.out_shape, dtype, problem.channels_last) if problem.residual else None,
    )


def _application() -> Any:
    """Build the typer application; only here are typer and rich imported."""
    import typer
    from rich.console import Console
    from rich.table import Table

    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Convolution kernels for NumPy arrays.")
    # a pipe has no width of its own; rich's 80 columns would break every line of a table
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 160)
    threads_option = typer.Option(min=1, max=256, help="Threads; default: the processors available.")

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for demo.png.")] = Path("out"),
        threads: Annotated[int | None, threads_option] = None,
        quick: Annotated[bool, typer.Option(help="Fewer kernel sizes and repetitions.")] = False,
    ) -> None:
        """Filter a photograph and run the first layers of convnets on it; print a table, draw a picture."""
        from . import demo as work

        work.run(console, out, threads, quick)

    @app.command()
    def explain(
        op: Annotated[str, typer.Argument(help="conv1d, conv2d or conv3d.")],
        x: Annotated[str, typer.Argument(help="Shape of x, for example 1x64x56x56; or a whole problem string.")],
        w: Annotated[str | None, typer.Argument(help="Shape of w, for example 128x64x3x3.")] = None,
        stride: Annotated[str, typer.Option(help="2, or 2x1 by axis.")] = "1",
        padding: Annotated[str, typer.Option(help="1, 2x1, 1:0x2 (before:after), same or valid.")] = "0",
        dilation: Annotated[str, typer.Option(help="2, or 2x1 by axis.")] = "1",
        groups: int = 1,
        padding_mode: Annotated[str, typer.Option(help="zeros, reflect, replicate, circular or symmetric.")] = "zeros",
        activation: Annotated[str | None, typer.Option(help="For example relu or leaky_relu=0.2.")] = None,
        dtype: Annotated[str, typer.Option(help="float16, float32 or float64.")] = "float32",
        algorithm: str = "auto",
        threads: Annotated[int | None, threads_option] = None,
    ) -> None:
        """Say which algorithm a call would take, and what every candidate answered.

        A problem string says everything itself: the options other than --threads are for shapes.
        """
        if op not in FUNCTIONS:
            raise typer.BadParameter(f"{op!r} is none of {', '.join(FUNCTIONS)}", param_hint="OP")
        try:
            settings = {
                "stride": _numbers(stride),
                "padding": _padding(padding, int(op[4])),
                "dilation": _numbers(dilation),
                "groups": groups,
                "padding_mode": padding_mode,
                "activation": _activation(activation),
                "algorithm": algorithm,
            }
            if dtype not in DTYPES:
                raise ValueError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
            with pyconv.options(threads=threads) if threads else pyconv.options():
                if w is None:
                    answer = _explain_problem(op, x)
                else:
                    arrays = (_array(_sizes(shape), dtype) for shape in (x, w))
                    answer = pyconv.explain(FUNCTIONS[op], *arrays, **settings)
        except (ValueError, TypeError, NotImplementedError, MemoryError) as error:
            raise typer.BadParameter(str(error)) from None
        table = Table(title=f"{answer.problem.op} {answer.problem}")
        for heading in ("", "algorithm", "estimate", "measured", "scratch", "error bound", "reason"):
            table.add_column(heading)
        for row in answer.rows():
            table.add_row(*row, style="bold" if row[0] else None)
        console.print(table)

    @app.command()
    def algorithms(op: Annotated[str | None, typer.Argument(help="Only those of one operation.")] = None) -> None:
        """List every registered algorithm."""
        if op is not None and op not in FUNCTIONS:
            raise typer.BadParameter(f"{op!r} is none of {', '.join(FUNCTIONS)}", param_hint="OP")
        for name in pyconv.algorithms(op):
            console.print(name, highlight=False)

    @app.command()
    def info() -> None:
        """Describe processor, instruction sets, threads and backends."""
        console.print(str(pyconv.info()), highlight=False)

    @app.command()
    def bench(
        classes: Annotated[list[str] | None, typer.Option("--class", help="Benchmark class; repeatable.")] = None,
        names: Annotated[list[str] | None, typer.Option("--layer", help="Layer name or pattern; repeatable.")] = None,
        peers: Annotated[list[str] | None, typer.Option("--peer", help="Rival library; repeatable.")] = None,
        threads: Annotated[int, typer.Option(min=1, max=256, help="Threads of every library.")] = 2,
        dtype: Annotated[str, typer.Option(help="float16, float32 or float64.")] = "float32",
        rounds: Annotated[int, typer.Option(min=1, help="Turns of every library.")] = 5,
        quick: Annotated[bool, typer.Option("--quick", help="A few layers of each class.")] = False,
        full: Annotated[bool, typer.Option("--full", help="All layers, not only each class's default ones.")] = False,
        bias: Annotated[bool, typer.Option(help="Add a bias.")] = True,
        activation: Annotated[str | None, typer.Option(help="relu.")] = None,
        patience: Annotated[float, typer.Option(min=0, help="Seconds to wait for a quiet machine, a layer.")] = 20.0,
        json: Annotated[Path | None, typer.Option(help="Where to write the results.")] = None,
    ) -> None:
        """Compare with other libraries, each in its own process; runs from a checkout."""
        sys.path.insert(0, str(Path.cwd()))
        try:
            from benchmarks import run
        except ImportError as error:
            print(
                "benchmarks run from a checkout: git clone the repository of pyconv, then pyconv bench inside it "
                f"({error})",
                file=sys.stderr,
            )
            raise typer.Exit(2) from None
        try:
            run.main(
                classes=classes or None, names=names or None, peers=peers or None, threads=threads, dtype=dtype,
                rounds=rounds, quick=quick, full=full, bias=bias, activation=activation, patience_s=patience,
                json_path=json,
            )  # fmt: skip
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return app


def main() -> None:
    """Run the command line."""
    try:
        app = _application()
    except ImportError as error:
        print(f'the command line needs {error.name}: pip install "pyconv-kernels[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
    app()
