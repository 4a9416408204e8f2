"""Kernels of the ladder on matrices small enough to watch, with smaller tiles where the real ones would hide C."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

from experiments.explorer._cores import one_thread_per_core
from experiments.explorer._recorded import recorded, square
from kernels.ladder import find

__all__ = ["recorded_ladder", "with_constants"]

# a block of the real size would fill the page with one block, most of it outside C
_SMALLER = {
    "cpu-numba-tiled": {"WIDTH": 8, "DEPTH": 8},
    "cuda-numba-naive": {"ROWS": 16, "COLUMNS": 8},
    "cuda-numba-coalesced": {"ROWS": 8, "COLUMNS": 16},
    "cuda-numba-shared": {"TILE": 8},
    "cuda-numba-register": {"BLOCK": 8, "DEPTH": 8, "THREADS": 4},
}


def with_constants(module: ModuleType, **constants: int) -> ModuleType:
    """The same source run again with other numbers for its constants; those computed from them follow.

    Raises ValueError for a name that the module does not set at its top level.
    """
    assert module.__file__
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    missing = set(constants)
    for node in tree.body:
        if isinstance(node, ast.Assign):
            _set(node, constants, missing)
    if missing:
        raise ValueError(f"{module.__name__} has no constant {', '.join(sorted(missing))}")
    again = ModuleType(module.__name__)
    again.__file__ = module.__file__
    exec(compile(tree, module.__file__, "exec"), vars(again))
    return again


def _set(node: ast.Assign, constants: dict[str, int], missing: set[str]) -> None:
    names = node.targets[0].elts if isinstance(node.targets[0], ast.Tuple) else [node.targets[0]]
    values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
    for at, name in enumerate(names):
        if isinstance(name, ast.Name) and name.id in constants:
            values[at] = ast.copy_location(ast.Constant(constants[name.id]), values[at])
            missing.discard(name.id)
    if isinstance(node.value, ast.Tuple):
        node.value.elts = values
    else:
        node.value = values[0]


def recorded_ladder(name: str, size: int) -> dict[str, Any]:
    """A kernel of the ladder on matrices of size x size, as `recorded` returns it."""
    spec = find(name)
    smaller = _SMALLER.get(name, {})
    module = with_constants(importlib.import_module(spec.module), **smaller)
    idea = f"At its real size: {spec.idea}" if smaller else spec.idea
    if spec.family == "cuda":
        grid, block = module.launch(size, size)
        return recorded(name, idea, module.kernel, grid, block, square(size))
    loops = getattr(module, "_product", module.product)
    block = one_thread_per_core(module) if hasattr(module, "prange") else (1,)
    others: tuple[Any, ...] = ()
    if hasattr(module, "_workspace"):
        bands = min(*block, -(-size // module.ROWS))
        others = (bands, *module._workspace.get(bands))
    return recorded(name, idea, loops, (1,), block, (*square(size), *others), cores=True)
