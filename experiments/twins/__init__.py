"""Broken twins: a kernel with one classic mistake, and the one that is right, outside the ladder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["NAMES", "TWINS", "Twin", "recorded_twin"]


@dataclass(frozen=True)
class Twin:
    """broken and right: names in kernels.py; says: the mistake, for a learner. size: of the matrices that show it."""

    broken: str
    right: str
    says: str
    size: int
    grid: tuple[int, ...]
    block: tuple[int, ...]


_TILED = (2, 2), (8, 8)

TWINS = (
    Twin("missing_barrier", "tiled", "a tile is overwritten while others still read it", 16, *_TILED),
    Twin("divergent_barrier", "tiled", "threads of one block wait at two different barriers", 12, *_TILED),
    Twin("early_return", "tiled", "threads leave whom the others wait for at the barrier", 12, *_TILED),
    Twin("unguarded_edge", "guarded", "threads beyond the edge read and write outside the matrices", 12, *_TILED),
    Twin("uncoalesced", "guarded", "neighbouring threads touch different rows", 16, *_TILED),
    Twin("bank_conflict", "padded", "threads of a warp queue at one bank of shared memory", 16, (1, 1), (16, 16)),
    Twin("lost_update", "atomic_update", "two threads add to one c(i,j), and one sum is lost", 8, (1, 1, 1), (8, 8, 2)),
)

NAMES = tuple(dict.fromkeys(name for twin in TWINS for name in (twin.broken, twin.right)))


def recorded_twin(name: str) -> dict[str, Any]:
    """What the explorer shows of one of the kernels, broken or right, as `recorded` returns it."""
    from experiments._recorded import recorded
    from experiments.twins import kernels

    twin = next(twin for twin in TWINS if name in (twin.broken, twin.right))
    idea = f"Broken on purpose: {twin.says}." if name == twin.broken else "The right twin of a broken kernel."
    return recorded(name, idea, getattr(kernels, name), twin.grid, twin.block, twin.size)
