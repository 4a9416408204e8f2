"""What the explorer's page shows of a kernel: its recording, as numbers and lists for JSON."""

from __future__ import annotations

import ast
import inspect
import re
from collections import Counter
from collections.abc import Sequence
from math import isnan, prod
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.explorer._moments import moment
from kernels.recorder import Count, Recording, record
from kernels.recorder.substitute import python_function
from kernels.recorder.traffic import SECTOR

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
    first, lines = _source(function, recording)
    return {
        "name": name,
        "idea": idea,
        "cores": cores,
        "firstLine": first,
        "source": lines,
        "block": block,
        "perBlock": prod(block),
        "result": result,
        "counts": _counts(recording),
        "faults": [_of_cores(found) if cores else found for found in (moment(f, recording) for f in recording.faults)],
        **_trace(recording),
    }


def square(size: int) -> tuple[NDArray[np.float32], ...]:
    """a and b of size x size from N(0,1), and c for their product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    return a, b, np.zeros((size, size), np.float32)


def _source(function: FunctionType, recording: Recording) -> tuple[int, list[str]]:
    """The number of the first line shown, and the lines: of the kernel, and of what it calls in its own file."""
    file = inspect.getfile(function)
    text = Path(file).read_text(encoding="utf-8-sig")
    here = {function.__code__.co_firstlineno, *(site.line for site in recording.events.sites if site.file == file)}
    shown = [_extent(node) for node in ast.parse(text).body if here.intersection(range(*_extent(node)))]
    first, behind = min(shown)[0], max(shown)[1]
    return first, text.split("\n")[first - 1 : behind - 1]


def _extent(node: ast.stmt) -> tuple[int, int]:
    """The first line of a statement with its decorators, and the first behind it."""
    decorators = getattr(node, "decorator_list", [])
    return min(one.lineno for one in (node, *decorators)), (node.end_lineno or node.lineno) + 1


def _of_cores(fault: dict[str, Any]) -> dict[str, Any]:
    """In a CPU's words: each thread has a core, and there are neither blocks nor barriers."""
    message = re.sub(r"\bthread (\d+) of block 0\b", r"core \1", fault["message"])
    return fault | {"message": message.replace("no barrier lies between", "nothing orders them")}


def _shown(recording: Recording) -> list[Count]:
    return [count for count in recording.counts.instructions if count.array.space in _SHOWN]


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
        for count in _shown(recording)
    ]


def _trace(recording: Recording) -> dict[str, Any]:
    """threads[block · threads + thread][interval]: each access as place · span + element. Local memory is left out.

    A place names its row of the counts.
    """
    figures = {(count.site, count.array): row for row, count in enumerate(_shown(recording))}
    events = recording.events
    arrays = events.arrays
    span = max(prod(array.shape) for array in arrays)
    places: dict[tuple[int, int], int] = {}
    ends = Counter(barrier.block for barrier in events.barriers)  # intervals that a barrier ended, of each block
    intervals = max(
        1 + int(events.table["interval"].max(initial=0)),
        max(ends.values(), default=0),
        max((1 + ends[waiting.block] for waiting in events.stranded), default=0),
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
            {
                "name": array.name,
                "space": array.space,
                "shape": array.shape,
                "drawn": array.space in _SHOWN,
                "perSector": SECTOR // np.dtype(array.dtype).itemsize,
            }
            for array in arrays
        ],
        "places": [
            {
                "line": events.sites[site].line,
                "kind": events.sites[site].kind,
                "array": array,
                "figure": figures.get((events.sites[site], events.arrays[array])),
            }
            for site, array in places
        ],
        "barriers": [list(barrier) for barrier in events.barriers],
        "stranded": [[block * per_block + thread, line] for block, thread, line in events.stranded],
    }
