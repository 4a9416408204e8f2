"""What the explorer's page shows of a kernel: its recording, as numbers and lists for JSON."""

from __future__ import annotations

import ast
import importlib
import inspect
from math import isnan, prod
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kernels.cuda.architectures import ARCHITECTURES
from kernels.cuda.occupancy import occupancy
from kernels.ladder import find
from kernels.recorder import Recording, record
from kernels.recorder.substitute import python_function

__all__ = ["launch_of", "recorded", "recorded_ladder", "with_constants"]

# a block of the real size would fill the page with one block, most of it outside C
_SMALLER = {"cuda-numba-shared": {"TILE": 8}, "cuda-numba-register": {"BLOCK": 8, "DEPTH": 4, "THREADS": 4}}


def with_constants(module: ModuleType, **constants: int) -> ModuleType:
    """The same source run again with other numbers for its constants; those computed from them follow.

    Raises ValueError for a name that the module does not set at its top level.
    """
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    missing = set(constants)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in constants:
            node.value = ast.copy_location(ast.Constant(constants[node.targets[0].id]), node.value)
            missing.discard(node.targets[0].id)
    if missing:
        raise ValueError(f"{module.__name__} has no constant {', '.join(sorted(missing))}")
    again = ModuleType(module.__name__)
    again.__file__ = module.__file__
    exec(compile(tree, module.__file__, "exec"), vars(again))
    return again


def recorded_ladder(name: str, size: int) -> dict[str, Any]:
    """A kernel of the ladder on matrices of size x size."""
    module = with_constants(importlib.import_module(find(name).module), **_SMALLER.get(name, {}))
    if find(name).family == "cpu":
        return recorded(name, find(name).idea, module.product, (1,), (1,), size)
    return recorded(name, find(name).idea, module.kernel, *module.launch(size, size), size)


def recorded(
    name: str, idea: str, kernel: Any, grid: tuple[int, ...], block: tuple[int, ...], size: int
) -> dict[str, Any]:
    """A kernel (a, b, c) on matrices of size x size."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    c = np.zeros((size, size), np.float32)
    recording = record(kernel, grid, block, a, b, c)
    function = python_function(kernel)
    lines = Path(inspect.getfile(function)).read_text(encoding="utf-8").splitlines()
    first = function.__code__.co_firstlineno
    return {
        "name": name,
        "idea": idea,
        "firstLine": first,
        "source": inspect.getblock([line + "\n" for line in lines[first - 1 :]]),
        "perBlock": prod(block),
        "result": "c",
        "faults": [{"kind": f.kind, "line": f.line, "message": f.message} for f in recording.faults],
        "counts": _counts(recording),
        **_trace(recording),
    }


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
        if count.array.space in ("global", "shared")
    ]


def _trace(recording: Recording) -> dict[str, Any]:
    """threads[block · threads + thread][interval]: each access as place · span + element. Local memory is left out."""
    events = recording.events
    kept = [n for n, array in enumerate(events.arrays) if array.space in ("global", "shared")]
    number = {n: shown for shown, n in enumerate(kept)}
    arrays = [events.arrays[n] for n in kept]
    span = max(prod(array.shape) for array in arrays)
    places: dict[tuple[int, int], int] = {}
    intervals = 1 + max(
        int(events.table["interval"].max(initial=0)), max((b.interval for b in events.barriers), default=0)
    )
    per_block = prod(recording.block)
    threads: list[list[list[int]]] = [[[] for _ in range(intervals)] for _ in range(prod(recording.grid) * per_block)]
    for block, interval, thread, site, array, element in events.table.tolist():
        if array in number:
            place = places.setdefault((site, array), len(places))
            threads[block * per_block + thread][interval].append(place * span + element)
    return {
        "span": span,
        "intervals": intervals,
        "threads": threads,
        "arrays": [{"name": array.name, "space": array.space, "shape": array.shape} for array in arrays],
        "places": [
            {"line": events.sites[site].line, "kind": events.sites[site].kind, "array": number[array]}
            for site, array in places
        ],
        "barriers": [list(barrier) for barrier in events.barriers],
    }


def launch_of(name: str) -> dict[str, Any]:
    """How a kernel of the ladder, at its real size, fits each architecture; registers are its budget."""
    module = importlib.import_module(find(name).module)
    _, block = module.launch(1, 1)
    empty = np.zeros((1, 0), np.float32)
    # without a step of k, the run is short and declares the same shared memory
    shared = record(
        module.kernel, (1, 1), block, empty, empty.T, np.zeros((1, 1), np.float32), trace=False
    ).shared_bytes
    fits = {number: occupancy(module.REGISTERS, prod(block), shared, number) for number in ARCHITECTURES}
    return {
        "name": name,
        "threads": prod(block),
        "rows": _covered(module, 0),
        "columns": _covered(module, 1),
        "registers": module.REGISTERS,
        "shared": shared,
        "occupancy": {
            str(number): {"blocks": o.blocks_per_sm, "warps": o.warps, "share": o.share, "limitedBy": o.limited_by}
            for number, o in fits.items()
        },
    }


def _covered(module: ModuleType, axis: int) -> int:
    """Rows (axis 0) or columns (1) of C that a block covers: the most that need no second block."""
    length = 1
    while prod(module.launch(*((length + 1, 1) if axis == 0 else (1, length + 1)))[0]) == 1:
        length += 1
    return length
