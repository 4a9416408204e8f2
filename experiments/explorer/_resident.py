"""How many blocks of a kernel of the ladder a GPU holds at once: the explorer's second view."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from math import prod
from types import ModuleType
from typing import Any

import numpy as np

from kernels.cuda import registers
from kernels.cuda.occupancy import occupancy
from kernels.ladder import find
from kernels.recorder import record

__all__ = ["resident"]


def resident(names: Sequence[str], architectures: Sequence[int]) -> list[dict[str, Any]]:
    """Each Numba CUDA kernel at its real size on each architecture, such as 61, with the registers that are kept."""
    kept = registers.kept()
    found = []
    for name in names:
        module = importlib.import_module(find(name).module)
        _, block = module.launch(1, 1)
        shared = _shared_bytes(module)
        fits = {str(number): _fit(kept.of[name][number], prod(block), shared, number) for number in architectures}
        found.append(
            {
                "name": name,
                "threads": prod(block),
                "rows": _covered(module, 0),
                "columns": _covered(module, 1),
                "shared": shared,
                "compilers": kept.compilers,
                "occupancy": fits,
            }
        )
    return found


def _fit(each: int, threads: int, shared: int, architecture: int) -> dict[str, Any]:
    fits = occupancy(each, threads, shared, architecture)
    return {
        "registers": each,
        "blocks": fits.blocks_per_sm,
        "warps": fits.warps,
        "share": fits.share,
        "limitedBy": fits.limited_by,
    }


def _shared_bytes(module: ModuleType) -> int:
    """Without a step of k the run is short, and declares the same shared memory."""
    empty, c = np.zeros((1, 0), np.float32), np.zeros((1, 1), np.float32)
    return record(module.kernel, *module.launch(1, 1), empty, empty.T, c, trace=False).shared_bytes


def _covered(module: ModuleType, axis: int) -> int:
    """Rows (axis 0) or columns (1) of C that a block covers: the most that need no second block."""
    length = 1
    while prod(module.launch(*((length + 1, 1) if axis == 0 else (1, length + 1)))[0]) == 1:
        length += 1
    return length
