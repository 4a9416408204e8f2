"""The machine's limits as result files hold them; to measure them takes Numba, and to read them does not."""

from __future__ import annotations

import msgspec

__all__ = ["Ceilings", "Level"]


class Ceilings(msgspec.Struct, frozen=True):
    """Measured limits at a number of threads: peak in FLOP/s (float32), bandwidth in bytes/s (main memory).

    grid_barrier: of a GPU, seconds that all blocks of a grid take to wait for one another; None where not measured.
    cache: of a GPU, bytes of its L2 cache, which feeds what fits in it faster than the memory would.
    """

    threads: int
    peak_flops: float
    memory_bandwidth: float
    grid_barrier: float | None = None
    cache: int = 0


class Level(msgspec.Struct, frozen=True):
    """A level of memory; capacity in bytes for one core, bandwidth of all threads together in bytes/s."""

    name: str
    capacity: int
    bandwidth: float

    @property
    def flops(self) -> float:
        """FLOP/s of multiply-adds that read one float32 number each from here."""
        return self.bandwidth / 4 * 2
