"""What this installation is and uses: ``pyconv.info()``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from . import options, registry
from .machine import cpu_name

__all__ = ["Info", "info"]


@dataclass(frozen=True, slots=True)
class Info:
    """Processor, instruction sets, threads and backends; prints as a list."""

    version: str
    cpu: str
    isas: dict[str, bool]  # in this build, best first: whether the processor has it
    isa: str | None  # the one in use
    threads: int
    pool_workers: int
    backends: dict[str, str]  # "yes", or why not
    environment: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        sets = ", ".join(f"{name}{'' if here else ' (not on this processor)'}" for name, here in self.isas.items())
        lines = [
            f"pyconv {self.version}",
            f"processor          {self.cpu}",
            f"instruction sets   {sets or 'none (C kernels are missing)'}",
            f"in use             {self.isa or '-'}",
            f"threads            {self.threads} ({self.pool_workers} in the pool so far)",
        ]
        lines += [f"backend {name:<10} {state}" for name, state in self.backends.items()]
        lines += [f"{name}={value}" for name, value in self.environment.items()]
        return "\n".join(lines)


def info() -> Info:
    """Describe the processor, the instruction sets, the threads and the backends, with reasons for what is missing.

    Examples
    --------
    >>> import pyconv
    >>> pyconv.info().backends["numpy"]
    'yes'
    """
    from . import __version__

    isas: dict[str, bool] = {}
    isa, workers = None, 0
    if registry.why_missing("c") is None:
        from .backends import c

        isas, isa, workers = c.isas(), c.isa_in_use(), c.pool_workers()
    return Info(
        version=__version__,
        cpu=cpu_name(),
        isas=isas,
        isa=isa,
        threads=options.current().threads,
        pool_workers=workers,
        backends={name: registry.why_missing(name) or "yes" for name in registry.BACKENDS},
        environment={name: value for name, value in sorted(os.environ.items()) if name.startswith("PYCONV_")},
    )
