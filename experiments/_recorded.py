"""What the explorer's page shows of a kernel: its recording, as numbers and lists for JSON."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from math import isnan, prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments._moments import moment
from kernels.recorder import Recording, record
from kernels.recorder.substitute import python_function

__all__ = ["recorded", "square"]

_SHOWN = ("global", "shared")


def recorded(
    name: str,
    idea: str,
    kernel: Any,
    grid: tuple[int, ...],
    block: tuple[int, ...],
    arguments: Sequence[Any],
    *,
    cores: bool = False,
    result: str = "c",
) -> dict[str, Any]:
    """A kernel and what it did in one launch.

    cores: the threads are a CPU's, each on its own core, and no GPU's. result: the argument that it writes.
    """
    recording = record(kernel, grid, block, *arguments)
    function = python_function(kernel)
    lines = Path(inspect.getfile(function)).read_text(encoding="utf-8").splitlines(keepends=True)
    first = function.__code__.co_firstlineno
    return {
        "name": name,
        "idea": idea,
        "cores": cores,
        "firstLine": first,
        "source": [line.rstrip("\n") for line in lines[first - 1 : _last_line(recording, lines, first)]],
        "block": block,
        "perBlock": prod(block),
        "result": result,
        "counts": _counts(recording),
        "faults": [moment(fault, recording) for fault in recording.faults],
        **_trace(recording),
    }


def square(size: int) -> tuple[NDArray[np.float32], ...]:
    """a and b of size x size from N(0,1), and c for their product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    return a, b, np.zeros((size, size), np.float32)


def _last_line(recording: Recording, lines: list[str], first: int) -> int:
    """Of the kernel, or of what it calls and reads or writes there."""
    return max(first - 1 + len(inspect.getblock(lines[first - 1 :])), *(site.line for site in recording.events.sites))


def _counts(recording: Recording) -> list[dict[str, Any]]:
    results = recording.counts.results or float("nan")
    return [
        {
            "line": count.line,
            "kind": count.kind,
            "array": count.array.name,
            "space": count.array.space,
            "sectors": count.sectors,
            "conflicts": count.conflicts,
            "perResult": None if isnan(results) else count.accesses / results,
        }
        for count in recording.counts.instructions
        if count.array.space in _SHOWN
    ]


def _trace(recording: Recording) -> dict[str, Any]:
    """threads[block · threads + thread][interval]: each access as place · span + element. Local memory is left out."""
    events = recording.events
    arrays = events.arrays
    span = max(prod(array.shape) for array in arrays)
    places: dict[tuple[int, int], int] = {}
    intervals = 1 + max(
        int(events.table["interval"].max(initial=0)), max((b.interval for b in events.barriers), default=0)
    )
    per_block = prod(recording.block)
    threads: list[list[list[int]]] = [[[] for _ in range(intervals)] for _ in range(prod(recording.grid) * per_block)]
    for block, interval, thread, site, array, element in events.table.tolist():
        place = places.setdefault((site, array), len(places))
        threads[block * per_block + thread][interval].append(place * span + element)
    return {
        "span": span,
        "intervals": intervals,
        "threads": threads,
        "arrays": [
            {"name": array.name, "space": array.space, "shape": array.shape, "drawn": array.space in _SHOWN}
            for array in arrays
        ],
        "places": [
            {"line": events.sites[site].line, "kind": events.sites[site].kind, "array": array} for site, array in places
        ],
        "barriers": [list(barrier) for barrier in events.barriers],
    }
