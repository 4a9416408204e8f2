"""Packing: copy part of a matrix into the order in which an inner loop will read it, through vector registers.

A panel is `width` rows of a matrix, stored step of k by step of k: the `width` numbers an inner loop needs at once lie
side by side, on one or two cache lines, whatever the order of the matrix they come from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.cpu.lanes import LANES, add_rows, store, transposed, zeros

__all__ = ["packer"]


def packer(width: int) -> Callable[[NDArray, int, int, int, int, int, NDArray], None]:
    """A packing function for panels of `width` rows: a constant, so that a row of a panel is a few registers."""
    lanes = next(lanes for lanes in (LANES, 8, 4, 2, 1) if lanes <= LANES and width % lanes == 0)
    vectors = width // lanes

    @njit(cache=True)
    def pack(x: NDArray, corner: int, down: int, along: int, count: int, depth: int, block: NDArray) -> None:
        """Copy `count` rows of `depth` numbers, from x[corner] on, into panels of `width` rows, k by k.

        down, along: distances in x between rows and between steps of k. Zeros fill the last panel.
        """
        whole = depth - depth % lanes
        for start in range(0, count, width):
            panel, source = start * depth, corner + start * down
            if count - start < width:
                for p in range(depth):
                    for r in range(width):
                        inside = r < count - start
                        block[panel + p * width + r] = x[source + r * down + p * along] if inside else np.float32(0)
            elif down == 1:
                for p in range(depth):
                    row = add_rows(zeros(1, vectors, lanes), x, source + p * along, 0)
                    store(row, block, panel + p * width, 0)
            else:
                for r in range(0, width, lanes):
                    for p in range(0, whole, lanes):
                        square = add_rows(zeros(lanes, 1, lanes), x, source + r * down + p, down)
                        store(transposed(square), block, panel + p * width + r, width)
                for p in range(whole, depth):
                    for r in range(width):
                        block[panel + p * width + r] = x[source + r * down + p]

    return pack
