"""Occupancy: how many thread blocks an SM holds at a time, and which of its resources runs out first.

A warp that waits for memory costs nothing while another is ready, so an SM wants many of them. What they have in common
is finite: each takes its registers and each block its shared memory from the moment it starts until it ends.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.cuda.architectures import ARCHITECTURES

__all__ = ["Occupancy", "occupancy"]


@dataclass(frozen=True)
class Occupancy:
    """blocks_per_sm and warps resident on an SM; share: of the warps it could hold; limited_by: what runs out first."""

    blocks_per_sm: int
    warps: int
    share: float
    limited_by: str


def occupancy(registers: int, threads: int, shared_bytes: int, architecture: int) -> Occupancy:
    """Of a kernel with so many registers per thread, threads per block and bytes of shared memory per block.

    architecture: 61 for compute capability 6.1. limited_by is "threads", "blocks", "registers" or "shared memory".
    A block that does not fit at all has blocks_per_sm 0. Raises ValueError for an architecture without known limits
    and for a block without threads.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(f"sm_{number}" for number in ARCHITECTURES)
        raise ValueError(f"no limits are known for sm_{architecture}, only for {known}")
    if threads < 1 or registers < 0 or shared_bytes < 0:
        raise ValueError(
            f"no such block: {threads} threads of {registers} registers, {shared_bytes} bytes of shared memory"
        )
    chip = ARCHITECTURES[architecture]
    warps = -(-threads // chip.warp)
    per_warp = _round_up(registers * chip.warp, chip.register_unit)
    # a warp lives in one partition, and what is left of that one is of no use to another
    resident = chip.registers // chip.partitions // per_warp * chip.partitions if registers else chip.warps

    shared = _round_up(shared_bytes + chip.shared_reserved, chip.shared_unit)
    by_shared = chip.shared // shared if shared else chip.blocks
    limits = {
        "threads": chip.warps // warps if threads <= chip.threads_per_block else 0,
        "blocks": chip.blocks,
        "registers": resident // warps if registers <= chip.registers_per_thread else 0,
        "shared memory": by_shared if shared_bytes <= chip.shared_per_block else 0,
    }
    limited_by = min(limits, key=limits.__getitem__)
    blocks = limits[limited_by]
    return Occupancy(blocks, blocks * warps, blocks * warps / chip.warps, limited_by)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
