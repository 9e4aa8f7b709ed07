"""Whole networks beside onnxruntime and OpenVINO: ``python -m benchmarks.networks [NETWORK ...]``.

onnx's nine image networks with seeded weights, one image of 224x224. Each library runs in a process of its own, one at
a time, in interleaved rounds; the ratio is the fastest rival's median over ours. The rules are the README's.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.graphs import LIGHT
from benchmarks.network_worker import PEERS
from benchmarks.remote import Lost, Remote

__all__ = ["main", "measure"]

#: Limit for one answer of a worker.
LIMIT_S = 120.0
#: A round is measured again, so often at most in the mean, when other processes took this share of its time.
DISTURBED, MOST_TRIES = 0.03, 2
#: Largest difference from our output, relative to the largest logit, with which a rival has computed the same.
TOLERANCE = 1e-4


def measure(network: str, peers: Sequence[str], threads: int, rounds: int) -> dict[str, Any]:
    """Return the median seconds of each library, why one is missing, and how far its output is from ours."""
    workers: dict[str, Remote] = {}
    found: dict[str, Any] = {"network": network, "median_s": {}, "absent": {}, "difference": {}, "version": {}}
    times: dict[str, list[float]] = {}
    logits: dict[str, Any] = {}
    try:
        for peer in peers:
            worker = Remote(peer, threads, "benchmarks.network_worker")
            try:
                hello = worker.ask({"do": "hello"}, LIMIT_S)
                if hello["missing"]:
                    found["absent"][peer] = hello["missing"]
                    worker.close()
                    continue
                answer = worker.ask({"do": "prepare", "network": network, "threads": threads}, LIMIT_S)
            except Lost as lost:
                found["absent"][peer] = str(lost)
                continue
            workers[peer], times[peer], logits[peer] = worker, [], np.array(answer["logits"])
            found["version"][peer] = hello["version"]
        disturbed: dict[str, list[float]] = {peer: [] for peer in workers}
        for _ in range(MOST_TRIES * rounds):
            for peer, worker in workers.items():
                if len(times[peer]) < rounds:
                    answer = worker.ask({"do": "time"}, LIMIT_S)
                    kept = times if answer["waited"] <= DISTURBED else disturbed
                    kept[peer].append(statistics.median(answer["seconds"]))
        for peer, seconds in disturbed.items():
            times[peer] = times[peer] or seconds
    finally:
        for worker in workers.values():
            worker.close()
    found["median_s"] = {peer: statistics.median(seconds) for peer, seconds in times.items()}
    ours = logits.get("pyconv")
    for peer, values in logits.items():
        if ours is not None:
            found["difference"][peer] = float(np.abs(values - ours).max() / np.abs(ours).max())
    rivals = [
        s for peer, s in found["median_s"].items() if peer != "pyconv" and found["difference"].get(peer, 1) < TOLERANCE
    ]
    found["ratio"] = min(rivals) / found["median_s"]["pyconv"] if rivals and "pyconv" in found["median_s"] else None
    return found


def _profile(network: str, threads: int) -> str:
    worker = Remote("pyconv", threads, "benchmarks.network_worker")
    try:
        return str(worker.ask({"do": "profile", "network": network, "threads": threads}, LIMIT_S)["profile"])
    finally:
        worker.close()


def _table(results: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"| network | {' | '.join(f'{peer}, ms' for peer in PEERS)} | ratio |",
        "|---|" + "---:|" * (len(PEERS) + 1),
    ]
    for result in results:
        cells = []
        for peer in PEERS:
            seconds = result["median_s"].get(peer)
            wrong = result["difference"].get(peer, 0) >= TOLERANCE
            cells.append("-" if seconds is None else f"{seconds * 1e3:.2f}{' WRONG' if wrong else ''}")
        ratio = "-" if result["ratio"] is None else f"{result['ratio']:.2f}"
        lines.append(f"| {result['network']} | {' | '.join(cells)} | {ratio} |")
    ratios = [result["ratio"] for result in results if result["ratio"] is not None]
    if ratios:
        mean = math.exp(statistics.fmean(map(math.log, ratios)))
        lines.append(f"| geometric mean | {' | ' * (len(PEERS) - 1)} | {mean:.2f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"default: all of {', '.join(LIGHT)}")
    parser.add_argument("-p", "--peer", action="append", choices=PEERS, help="default: all")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("-r", "--rounds", type=int, default=9)
    parser.add_argument("--profile", action="store_true", help="print the nodes of the network with the lowest ratio")
    parser.add_argument("--json", type=Path, help="results; those of other networks in the file are kept")
    given = parser.parse_args(arguments)
    unknown = set(given.networks) - set(LIGHT)
    if unknown:
        parser.error(f"unknown network {sorted(unknown)[0]!r}")
    results = [
        measure(name, given.peer or list(PEERS), given.threads, given.rounds) for name in given.networks or LIGHT
    ]
    if given.json is not None:
        kept = json.loads(given.json.read_text())["networks"] if given.json.exists() else []
        measured = {result["network"] for result in results}
        results = [entry for entry in kept if entry["network"] not in measured] + results
        results.sort(key=lambda entry: list(LIGHT).index(entry["network"]))
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps({"machine": machine.describe(), "networks": results}, indent=1))
    about = machine.describe()
    print(f"{about['cpu']}, {given.threads} threads, batch 1; " + ", ".join(
        f"{peer} {version}" for peer, version in results[0]["version"].items()
    ))  # fmt: skip
    print(_table(results))
    for result in results:
        for peer, reason in result["absent"].items():
            print(f"{result['network']}: no {peer}: {reason}")
    if given.profile:
        worst = min((r for r in results if r["ratio"] is not None), key=lambda r: r["ratio"], default=results[0])
        print(f"\n{worst['network']}, node by node\n\n{_profile(worst['network'], given.threads)}")


if __name__ == "__main__":
    main()
