"""onnx's own tests of backends, run on pyconv: ``python -m pyconv.interop.onnx`` prints the score."""

from __future__ import annotations

import re
import unittest
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx.backend.test import BackendTest

from .backend import Backend, BackendRep
from .nodes import OPERATORS

__all__ = ["COMPILED", "NOT_OURS", "Case", "run_cases", "table"]

#: The operators that pyconv's kernels compute.
COMPILED = tuple(sorted(name for (domain, name), entry in OPERATORS.items() if not domain and entry.compiled))

#: Why a case cannot pass, by a pattern of its name.
NOT_OURS = {
    r"test_bernoulli": "random numbers, compared with others",
    r"test_(if_opt|loop16_seq_none|range_.*_expanded|scan_sum)_": "onnx.reference runs If, Loop and Scan; it fails too",
    r"test_scatter_with(out)?_axis": "Scatter, which operator set 11 replaced, has no implementation in onnx.reference",
    r"test_gradient_of": "Gradient, of the preview of training, has no implementation in onnx.reference",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One of onnx's cases: its name, the operators in its model, and why it failed, "" where it passed."""

    name: str
    operators: frozenset[str]
    failure: str

    @property
    def reason(self) -> str:
        """Why the case is known not to pass; "" where nothing is known."""
        return next((reason for pattern, reason in NOT_OURS.items() if re.match(pattern, self.name)), "")


class _Twice(Backend):
    """Runs each model a second time, as planned after the first run, and compares."""

    seen: frozenset[str] = frozenset()

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """Return the model ready to run twice."""
        _Twice.seen = frozenset(node.op_type for node in model.graph.node)
        rep = Backend.prepare(model, device, **kwargs)
        return _TwiceRep(rep)


class _TwiceRep(BackendRep):
    def __init__(self, rep: BackendRep) -> None:
        self._rep = rep

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        first, second = self._rep.run(inputs), self._rep.run(inputs)
        for a, b in zip(first, second, strict=True):
            if isinstance(a, np.ndarray) and a.dtype.isbuiltin == 1 and _Twice.seen.isdisjoint(_RANDOM):
                np.testing.assert_array_equal(a, b, "the second run differs from the first")
        return second


_RANDOM = {"Bernoulli", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Dropout"}


class _Collected(unittest.TestResult):
    """A result that keeps a Case for each test."""

    def __init__(self) -> None:
        super().__init__()
        self.cases: list[Case] = []

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        _Twice.seen = frozenset()

    def _enter(self, test: unittest.TestCase, failure: str) -> None:
        self.cases.append(Case(test.id().rpartition(".")[2], _Twice.seen, failure))

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._enter(test, "")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._enter(test, f"{err[0].__name__}: {' '.join(str(err[1]).split())[:200]}")

    addError = addFailure


def run_cases(pattern: str = "", operators: Iterable[str] | None = None) -> list[Case]:
    """Run the cases of onnx's nodes and simple models on the CPU, each twice.

    Parameters
    ----------
    pattern : str
        Only cases whose names have this regular expression in them.
    operators : iterable of str, optional
        Only cases with one of these operators in their model.

    Returns
    -------
    list of Case
    """
    with warnings.catch_warnings():
        # onnx makes its data with casts that overflow
        warnings.simplefilter("ignore")
        suite = BackendTest(_Twice, __name__).test_suite
        result = _Collected()
        for test in suite:
            name = test.id().rpartition(".")[2]  # type: ignore[union-attr]
            # the class "Real" downloads models
            if name.endswith("_cpu") and "RealModel" not in type(test).__name__ and re.search(pattern, name):
                test.run(result)
    wanted = None if operators is None else set(operators)
    return [case for case in result.cases if wanted is None or case.operators & wanted]


def table(cases: Iterable[Case]) -> str:
    """Return the score as Markdown: for each of pyconv's operators how many cases pass, and every case that fails."""
    cases = list(cases)
    by_operator: defaultdict[str, list[Case]] = defaultdict(list)
    for case in cases:
        for name in case.operators & set(COMPILED):
            by_operator[name].append(case)
    ours = {case.name: case for found in by_operator.values() for case in found}.values()
    lines = ["| operator | cases | passed |", "|---|---:|---:|"]
    for name in sorted(by_operator):
        found = by_operator[name]
        lines.append(f"| {name} | {len(found)} | {sum(not case.failure for case in found)} |")
    for words, chosen in (("with an operator of pyconv's", list(ours)), ("all", cases)):
        lines.append(f"| **{words}** | {len(chosen)} | {sum(not case.failure for case in chosen)} |")
    failed = [case for case in cases if case.failure]
    if failed:
        lines += ["", "| not passed | reason |", "|---|---|"]
        lines += [f"| {case.name} | {case.reason or case.failure} |" for case in failed]
    return "\n".join(lines)
