"""The measured numbers as text: with ``rich`` where it is installed, plain otherwise."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from benchmarks.peers import OTHERS, OURS, RIVALS, TWINS

__all__ = ["progress", "show"]

Item = TypeVar("Item")

SHORT = {
    "torch_nchw": "torch",
    "torch_channels_last": "torch cl",
    "onnxruntime": "ort",
    "openvino": "ov",
    "ncnn": "ncnn",
    "opencv": "cv",
    "scipy": "scipy",
    "torchvision": "tv",
    "copy": "copy",
    "pyconv_numba": "numba",
}
#: A table is printed at least this wide, also into a pipe or a file: rows that wrap cannot be compared.
MIN_WIDTH = 190


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


def _name(item: object) -> str:
    return str(getattr(item, "name", item))


def progress(layers: Sequence[Item]) -> Iterator[Item]:
    """Yield layers, or problems, behind a progress bar on standard error; a line each where that is no terminal."""
    if not (_has_rich() and sys.stderr.isatty()):
        for number, layer in enumerate(layers, start=1):
            print(f"{number}/{len(layers)} {_name(layer)}", file=sys.stderr, flush=True)
            yield layer
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Redrawn once a layer: a thread that redraws ten times a second would take time from what is measured.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as bar:
        task = bar.add_task("", total=len(layers))
        for layer in layers:
            bar.update(task, description=f"{_name(layer):<28}", refresh=True)
            yield layer
            bar.advance(task)
        bar.refresh()


def milliseconds(measured: dict[str, Any]) -> str:
    """Return a peer's median in ms, marked where every round was disturbed."""
    value = measured["median_s"] * 1e3
    mark = "~" if measured["only_disturbed"] else ""
    return mark + (f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}")


def _rows(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: one row a layer, one column a rival, or twin, that measured anything."""
    entries = document["layers"]
    others = [peer for peer in (*RIVALS, *TWINS) if any(peer in entry["peers"] for entry in entries)]
    ours = any(OURS in entry["peers"] for entry in entries)
    header = ["layer", "MFLOP"]
    peak = document["fma_gflops"]
    header += ["algorithm", "ms", "GF/s", "of peak"] if ours else []
    header += [f"{SHORT[peer]} ms" for peer in others] + ["best rival", "its GF/s"]
    copied = any(entry["of_copy"] for entry in entries)
    header += ["copy ms", "of copy"] if copied else []
    header += ["ratio"] if ours else []
    rows = []
    for entry in entries:
        peers, best = entry["peers"], entry["best_rival"]
        row = [entry["layer"]["name"], f"{entry['flops'] / 1e6:.2f}"]
        if ours:
            mine = peers.get(OURS)
            row += (
                [
                    " + ".join(form.split("@")[0] for form in mine["form"].split(" + ")),
                    milliseconds(mine),
                    f"{mine['gflops']:.0f}",
                    f"{mine['gflops'] / peak:.0%}" if peak else "-",
                ]
                if mine
                else [entry["absent"].get(OURS, ""), "", "", ""]
            )
        for peer in others:
            if peer in peers:
                row.append(milliseconds(peers[peer]))
            else:
                row.append("WRONG" if entry["absent"].get(peer, "").startswith("wrong") else "-")
        row += [SHORT[best], f"{peers[best]['gflops']:.0f}"] if best else ["-", "-"]
        if copied:
            share = entry["of_copy"]
            row += [milliseconds(peers["copy"]), f"{share:.0%}"] if share else ["-", "-"]
        if ours:
            row.append("-" if entry["ratio"] is None else f"{entry['ratio']:.2f}")
        rows.append(row)
    return header, rows


def _notes(document: dict[str, Any]) -> list[str]:
    """Return the lines under the table: what was not measured and why, and what disturbed the rest."""
    notes = [f"{peer} is left out: {reason}" for peer, reason in document["missing"].items()]
    restless = set()
    for entry in document["layers"]:
        notes += [
            f"{entry['layer']['name']}, {peer}: {reason}"
            for peer, reason in entry["absent"].items()
            if not reason.startswith("refused") or peer == OURS
        ]
        restless |= {peer for peer, measured in entry["peers"].items() if not measured["always_idle"]}
    if restless:
        notes.append(
            f"threads of {', '.join(sorted(restless))} were still busy after a round and may have slowed others"
        )
    if any(measured["only_disturbed"] for entry in document["layers"] for measured in entry["peers"].values()):
        notes.append("~ marks times of which other processes took a part")
    crowded = Counter(
        peer for entry in document["layers"] for peer, measured in entry["peers"].items() if measured["crowded_rounds"]
    )
    notes += [
        f"{peer}: in {count} layers its threads shared a processor while another had nothing to do"
        for peer, count in crowded.items()
    ]
    if document.get("others_s"):
        notes.append(f"other processes used {document['others_s']:.0f} s of processor time during the run")
    return notes


def _classes(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: one row a class, against the best of all rivals."""
    header = ["class", "layers", "faster on", "geometric mean", "worst", "worst layer"]
    return header, [
        [
            name,
            str(entry["count"]),
            str(entry["faster_on"]),
            f"{entry['geometric_mean']:.2f}",
            f"{entry['worst']:.2f}",
            entry["worst_layer"],
        ]
        for name, entry in document["classes"].items()
        if entry["count"]
    ]


def _alone(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: one row a class, one column a rival, over the layers that it can do."""
    classes = document["classes"]
    found = [peer for peer in OTHERS if any(peer in entry["against"] for entry in classes.values())]
    rows = []
    for name, entry in classes.items():
        cells = [entry["against"].get(peer) for peer in found]
        rows.append(
            [name, *(f"{c['geometric_mean']:.2f} / {c['worst']:.2f} ({c['count']})" if c else "-" for c in cells)]
        )
    return ["class", *(SHORT[peer] for peer in found)], rows


def _plain(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _table(header: list[str], rows: list[list[str]]) -> None:
    """Print a table; a ratio (the last column called so) is green above 1 and red below."""
    if not _has_rich():
        _plain(header, rows)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    words = {"layer", "algorithm", "best rival", "class", "worst layer"}
    for name in header:
        table.add_column(name, justify="left" if name in words else "right", no_wrap=True)
    for row in rows:
        cells = [Text(cell) for cell in row]
        for cell, name in zip(cells, header, strict=True):
            if name in {"ratio", "geometric mean", "worst"} and cell.plain != "-":
                cell.stylize("green" if float(cell.plain) >= 1 else "red")
            elif cell.plain == "WRONG":
                cell.stylize("red")
        table.add_row(*cells)
    Console(width=max(MIN_WIDTH, shutil.get_terminal_size().columns)).print(table)


def show(document: dict[str, Any]) -> None:
    """Print the layers, the notes, the classes and the machine."""
    _table(*_rows(document))
    for note in _notes(document):
        print(note)
    if any(entry["count"] for entry in document["classes"].values()):
        print("\nratio = best rival's time / ours")
        _table(*_classes(document))
    if document["classes"]:
        print("each alone: geometric mean / worst (layers) of its time / ours; a copy's: our share of its speed")
        _table(*_alone(document))
    where, settings = document["machine"], document["settings"]
    versions = ", ".join(f"{peer} {version}" for peer, version in document["versions"].items())
    peak = f", FMA peak {document['fma_gflops']:.0f} GFLOP/s" if document["fma_gflops"] else ""
    print(f"{where['cpu']}, {settings['threads']} threads, {settings['dtype']}{peak}, {settings['rounds']} rounds")
    print(versions)
