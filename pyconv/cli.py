"""The command ``pyconv``: demo, explain, algorithms, info, bench."""

import sys
from pathlib import Path
from typing import Annotated, Any

import pyconv

__all__ = ["main"]

FUNCTIONS = {"conv1d": pyconv.conv1d, "conv2d": pyconv.conv2d, "conv3d": pyconv.conv3d}


def _sizes(text: str) -> tuple[int, ...]:
    """Return ``1x64x56x56`` as a tuple."""
    return tuple(int(part) for part in text.split("x"))


def _numbers(text: str) -> int | str | tuple[int, ...]:
    """Return ``2``, ``2x1`` or a word such as ``same`` as the functions take it."""
    if not text[:1].isdigit():
        return text
    sizes = _sizes(text)
    return sizes[0] if len(sizes) == 1 else sizes


def _explain(op: str, x: str, w: str | None, settings: dict[str, Any]) -> Any:
    if w is None:
        problem = pyconv.ConvProblem.parse(x)
        activation: Any = (problem.activation, problem.slope) if problem.slope else problem.activation
        return pyconv.explain(
            FUNCTIONS[problem.op],
            problem.x_shape,
            problem.w_shape,
            (problem.c_out,) if problem.bias else None,
            stride=problem.stride,
            padding=problem.padding,
            dilation=problem.dilation,
            groups=problem.groups,
            padding_mode=problem.padding_mode,
            activation=activation,
        )
    return pyconv.explain(FUNCTIONS[op], _sizes(x), _sizes(w), **settings)


def _application() -> Any:
    """Build the typer application; only here are typer and rich imported."""
    import typer
    from rich.console import Console
    from rich.table import Table

    app = typer.Typer(no_args_is_help=True, add_completion=False, help="Convolution kernels for NumPy arrays.")
    console = Console()

    @app.command()
    def demo(
        out: Annotated[Path, typer.Option(help="Folder for demo.png.")] = Path("out"),
        threads: Annotated[int | None, typer.Option(help="Threads; default: the processors available.")] = None,
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
        stride: str = "1",
        padding: str = "0",
        dilation: str = "1",
        groups: int = 1,
        padding_mode: str = "zeros",
        activation: str | None = None,
        algorithm: str = "auto",
    ) -> None:
        """Say which algorithm a call would take, and what every candidate answered."""
        if op not in FUNCTIONS:
            raise typer.BadParameter(f"{op!r} is none of {', '.join(FUNCTIONS)}", param_hint="OP")
        settings = {
            "stride": _numbers(stride),
            "padding": _numbers(padding),
            "dilation": _numbers(dilation),
            "groups": groups,
            "padding_mode": padding_mode,
            "activation": activation,
            "algorithm": algorithm,
        }
        try:
            answer = _explain(op, x, w, settings)
        except (ValueError, TypeError, NotImplementedError) as error:
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
        threads: int = 2,
        dtype: str = "float32",
        rounds: int = 5,
        full: Annotated[bool, typer.Option(help="All layers, not only each class's default ones.")] = False,
        json: Annotated[Path | None, typer.Option(help="Where to write the results.")] = None,
    ) -> None:
        """Compare with other libraries, each in its own process; runs from a checkout."""
        sys.path.insert(0, str(Path.cwd()))
        try:
            from benchmarks import run
        except ImportError as error:
            console.print(f"benchmarks run from a checkout of pyconv: change into it first ({error})")
            raise typer.Exit(2) from None
        run.main(
            classes=classes, names=names, peers=peers, threads=threads, dtype=dtype, rounds=rounds, full=full,
            json_path=json,
        )  # fmt: skip

    return app


def main() -> None:
    """Run the command line."""
    try:
        app = _application()
    except ImportError as error:
        print(f'the command line needs {error.name}: pip install "pyconv-kernels[cli]"', file=sys.stderr)
        raise SystemExit(2) from None
    app()
