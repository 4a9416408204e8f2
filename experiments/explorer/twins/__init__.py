"""Broken twins: a kernel with one classic mistake, and the one that is right, outside the ladder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["TWINS", "Twin", "recorded_twins"]


@dataclass(frozen=True)
class Twin:
    """broken and right: names in kernels.py; says: the mistake, for a learner. size: of the matrices that show it."""

    broken: str
    right: str
    says: str
    size: int
    grid: tuple[int, ...]
    block: tuple[int, ...]

    @property
    def mistake(self) -> str:
        """The mistake's name."""
        return self.broken.replace("_", " ")

    @property
    def names(self) -> tuple[str, str]:
        """What the two are called on the page: a right kernel is twin of several, on matrices of several sizes."""
        return self.broken, f"{self.right} ({self.size}x{self.size})"


_TILED = (2, 2), (8, 8)

TWINS = (
    Twin("missing_barrier", "tiled", "a tile is overwritten while others still read it", 16, *_TILED),
    Twin("divergent_barrier", "tiled", "threads of one block wait at two different barriers", 12, *_TILED),
    Twin("early_return", "tiled", "threads return early, and the others wait for them at the barrier", 12, *_TILED),
    Twin("unguarded_edge", "guarded", "threads beyond the edge read and write outside the matrices", 12, *_TILED),
    Twin("uncoalesced", "guarded", "neighbouring threads touch different rows", 16, (1, 2), (16, 8)),
    Twin("bank_conflict", "padded", "threads of a warp queue at one bank of shared memory", 16, (1, 1), (16, 16)),
    Twin("lost_update", "atomic_update", "two threads add to one c(i,j), and one sum is lost", 8, (1, 1, 1), (8, 8, 2)),
)


def recorded_twins(twin: Twin) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the explorer shows of both, the broken one first, as `recorded` returns it."""
    from experiments.explorer._recorded import recorded, square
    from experiments.explorer.twins import kernels

    ideas = f"Broken on purpose: {twin.says}.", "Its right twin."
    broken, right = (
        recorded(name, idea, getattr(kernels, function), twin.grid, twin.block, square(twin.size))
        for name, idea, function in zip(twin.names, ideas, (twin.broken, twin.right), strict=True)
    )
    return broken | {"twin": right["name"]}, right
