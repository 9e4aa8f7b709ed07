"""The command ``pyconv``: demo, explain, tune, wisdom, algorithms, info, bench."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

import pyconv
from pyconv import wisdom

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


def _arrays(shapes: Sequence[str], dtype: str) -> list[Any]:
    """Return what explain takes for arrays: shapes where these say all, else arrays that nobody reads or writes."""
    if dtype not in DTYPES:
        raise ValueError(f"--dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    return [_sizes(text) if dtype == "float32" else np.empty(_sizes(text), dtype) for text in shapes]


def _settings(
    op: str, stride: str, padding: str, dilation: str, groups: int, padding_mode: str, activation: str | None
) -> dict[str, Any]:
    """Return a convolution's settings as its function takes them."""
    return {
        "stride": _numbers(stride),
        "padding": _padding(padding, int(op[4])),
        "dilation": _numbers(dilation),
        "groups": groups,
        "padding_mode": padding_mode,
        "activation": _activation(activation),
    }


def _problems_in(path: Path) -> list[str]:
    """Return the problems that a text file names, one a line; # begins a comment."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


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

    # what explain and tune are asked alike
    Op = Annotated[str, typer.Argument(help="conv1d, conv2d or conv3d; or any operation, with a problem string.")]
    X = Annotated[str, typer.Argument(help="Shape of x, for example 1x64x56x56; or a whole problem string.")]
    W = Annotated[str | None, typer.Argument(help="Shape of w, for example 128x64x3x3.")]
    Stride = Annotated[str, typer.Option(help="2, or 2x1 by axis.")]
    Padding = Annotated[str, typer.Option(help="1, 2x1, 1:0x2 (before:after), same or valid.")]
    Mode = Annotated[str, typer.Option(help="zeros, reflect, replicate, circular or symmetric.")]
    Activation = Annotated[str | None, typer.Option(help="For example relu or leaky_relu=0.2.")]
    Dtype = Annotated[str, typer.Option(help="float16, float32 or float64.")]
    Threads = Annotated[int | None, threads_option]

    def answer(verb: Callable[..., Any], op: str, x: str, w: str | None, dtype: str, **words: Any) -> Any:
        """Ask a function of pyconv about a convolution of these shapes, or about a problem."""
        if w is None:
            return verb(f"{op} {x}", **{name: value for name, value in words.items() if name == "algorithm"})
        if op not in FUNCTIONS:
            raise ValueError(f"shapes are for {', '.join(FUNCTIONS)}, not for {op!r}; others take a problem string")
        extra = {name: words.pop(name) for name in ("algorithm",) if name in words}
        return verb(FUNCTIONS[op], *_arrays((x, w), dtype), **_settings(op, **words), **extra)

    def show(answer: Any) -> None:
        table = Table(title=f"{answer.problem.op} {answer.problem}")
        for heading in ("", "algorithm", "estimate", "measured", "scratch", "error bound", "reason"):
            table.add_column(heading)
        for row in answer.rows():
            table.add_row(*row, style="bold" if row[0] else None)
        console.print(table)

    @contextlib.contextmanager
    def told(threads: int | None) -> Iterator[None]:
        """Say what is wrong with a request without a traceback."""
        try:
            with pyconv.options(threads=threads) if threads else pyconv.options():
                yield
        except (ValueError, TypeError, NotImplementedError, MemoryError, OSError) as error:
            raise typer.BadParameter(str(error)) from None

    @app.command()
    def explain(
        op: Op, x: X, w: W = None, stride: Stride = "1", padding: Padding = "0", dilation: Stride = "1",
        groups: int = 1, padding_mode: Mode = "zeros", activation: Activation = None, dtype: Dtype = "float32",
        algorithm: str = "auto", threads: Threads = None,
    ) -> None:  # fmt: skip
        """Say which algorithm a call would take, and what every candidate answered.

        A problem string says everything itself: the options other than --threads and --algorithm are for shapes.
        """
        with told(threads):
            found = answer(
                pyconv.explain, op, x, w, dtype, stride=stride, padding=padding, dilation=dilation, groups=groups,
                padding_mode=padding_mode, activation=activation, algorithm=algorithm,
            )  # fmt: skip
        show(found)

    @app.command()
    def tune(
        op: Annotated[str | None, typer.Argument(help="As for explain; or leave it out and give a file.")] = None,
        x: Annotated[str | None, typer.Argument(help="As for explain.")] = None, w: W = None, stride: Stride = "1",
        padding: Padding = "0", dilation: Stride = "1", groups: int = 1, padding_mode: Mode = "zeros",
        activation: Activation = None, dtype: Dtype = "float32", threads: Threads = None,
        shapes: Annotated[Path | None, typer.Option(help="File of problems, one a line: conv2d n1c8...")] = None,
        onnx: Annotated[Path | None, typer.Option(help="Model, whose convolutions and poolings are tuned.")] = None,
        size: Annotated[int, typer.Option(min=1, help="Length of the model's open axes.")] = 224,
        machine: Annotated[bool, typer.Option("--machine", help="Measure the processor for the cost model.")] = False,
        budget: Annotated[float, typer.Option(min=1e-3, help="Seconds for each problem, or number.")] = 1.0,
    ) -> None:  # fmt: skip
        """Measure the algorithms of a call, or of many problems, and keep the answer for later processes."""
        from rich.progress import track

        verb = partial(pyconv.tune, budget_s=budget)
        if machine:
            from .calibrate import calibrate

            for lanes, known in sorted(calibrate(budget).items()):
                console.print(
                    f"vectors of {lanes} float32: {known['gflops']:g} GFLOP/s a core; {known['cache_gbytes']:g} GB/s "
                    f"from {known['cache_bytes'] >> 20} MB of cache, {known['memory_gbytes']:g} GB/s from memory",
                    highlight=False,
                )
            return
        with told(threads):
            if (op is None) == (shapes is None and onnx is None):
                raise ValueError(
                    "tune takes an operation with its shapes or problem, or --shapes FILE, --onnx MODEL, --machine"
                )
            if op is not None:
                if x is None:
                    raise ValueError(f"tune {op} needs shapes or a problem")
                show(
                    answer(
                        verb, op, x, w, dtype, stride=stride, padding=padding, dilation=dilation, groups=groups,
                        padding_mode=padding_mode, activation=activation,
                    )
                )  # fmt: skip
            else:
                problems: list[Any] = _problems_in(shapes) if shapes is not None else []
                if onnx is not None:
                    try:
                        from .interop.onnx.problems import problems_of
                    except ImportError as error:
                        raise ValueError(f'models need {error.name}: pip install "pyconv-kernels[onnx]"') from None
                    problems += problems_of(onnx, size)
                table = Table("problem", "algorithm", "measured", "estimates would take")
                for problem in track(problems, "measuring", console=console, disable=not console.is_terminal):
                    found = verb(problem)
                    chosen = next(row for row in found.rows() if row[0])
                    guess = "" if found.by_estimate == found.algorithm else found.by_estimate
                    table.add_row(f"{found.problem.op} {found.problem}", chosen[1], chosen[3], guess)
                console.print(table)
        place = wisdom.wisdom_file()
        console.print(
            f"kept in {place}" if place and place.exists() else "not kept: see pyconv wisdom", highlight=False
        )

    @app.command("run")
    def run_command(
        model: Annotated[Path, typer.Argument(help="ONNX model with one image as its input.")],
        picture: Annotated[Path, typer.Option("--input", help="Picture, in any format that Pillow reads.")],
        top: Annotated[int, typer.Option(min=1, help="Classes to print.")] = 5,
        labels: Annotated[Path | None, typer.Option(help="File with the name of a class in each line.")] = None,
        size: Annotated[int, typer.Option(min=1, help="Length of the model's open axes.")] = 224,
        scale: Annotated[str, typer.Option(help="What pixels become: imagenet, unit (0 to 1) or bytes.")] = "imagenet",
        profile: Annotated[bool, typer.Option("--profile", help="Print the time of every node.")] = False,
        threads: Threads = None,
    ) -> None:
        """Run an ONNX model on a picture and print its largest outputs."""
        try:
            from .interop.onnx.picture import classify
        except ImportError as error:
            raise typer.BadParameter(f'models need {error.name}: pip install "pyconv-kernels[onnx]"') from None
        with told(threads):
            found = classify(model, picture, labels, size, scale, profile)
        for name, shape, rows in found:
            table = Table("place", "class", "value", title=f"{name} {'x'.join(map(str, shape))}")
            for place, (word, value) in enumerate(rows[:top], 1):
                table.add_row(str(place), word, f"{value:.4f}")
            console.print(table)

    @app.command("wisdom")
    def wisdom_command(
        action: Annotated[str, typer.Argument(help="show, export, import or forget.")] = "show",
        path: Annotated[Path | None, typer.Argument(help="File to export to or import from.")] = None,
    ) -> None:
        """Show, hand on, take over or forget what was measured."""
        with told(None):
            console.print(wisdom.command(action, path), highlight=False, soft_wrap=True)

    @app.command()
    def algorithms(op: Annotated[str | None, typer.Argument(help="Only those of one operation.")] = None) -> None:
        """List every registered algorithm."""
        found = pyconv.algorithms(op)
        if not found:
            known = sorted({name.split(".")[0] for name in pyconv.algorithms()})
            raise typer.BadParameter(f"{op!r} is none of {', '.join(known)}", param_hint="OP")
        for name in found:
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
        regret: Annotated[
            bool, typer.Option("--regret", help="Instead: how good the choice of algorithms is.")
        ] = False,
        families: Annotated[list[str] | None, typer.Option("--family", help="For --regret: conv2d-grad-w ...")] = None,
        count: Annotated[int | None, typer.Option(min=1, help="For --regret: problems of each family.")] = None,
        figure: Annotated[Path | None, typer.Option(help="For --regret: where to draw it.")] = None,
    ) -> None:
        """Compare with other libraries, each in its own process; runs from a checkout."""
        sys.path.insert(0, str(Path.cwd()))
        try:
            from benchmarks import regret as choices
            from benchmarks import run
        except ImportError as error:
            print(
                "benchmarks run from a checkout: git clone the repository of pyconv, then pyconv bench inside it "
                f"({error})",
                file=sys.stderr,
            )
            raise typer.Exit(2) from None
        try:
            if regret:
                choices.main(families or None, count, threads=threads, json_path=json, figure=figure)
                return
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
