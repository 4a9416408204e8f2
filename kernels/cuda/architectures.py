"""What one multiprocessor (SM) of each NVIDIA architecture can hold at a time, and some GPUs as they are sold.

Limits: CUDA C++ Programming Guide 12.9, "Technical Specifications per Compute Capability"; the units in which registers
and shared memory are handed out: cuda_occupancy.h of the CUDA Runtime 12.9.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ARCHITECTURES", "GPUS", "Architecture", "GraphicsCard"]


@dataclass(frozen=True)
class Architecture:
    """Limits of one SM. Sizes of shared memory in bytes, registers of 4 bytes each.

    shared: of an SM. shared_per_block: the most a block may ask for. shared_unit: blocks get multiples of it.
    shared_reserved: what the system takes from each block. registers_per_thread: the most an instruction can name.
    """

    name: str
    threads: int
    blocks: int
    shared: int
    shared_per_block: int
    shared_unit: int
    shared_reserved: int
    registers: int = 65_536
    registers_per_thread: int = 255
    register_unit: int = 256  # a warp gets multiples of it
    partitions: int = 4  # each has its share of the registers and its own scheduler; a warp lives in one
    threads_per_block: int = 1024
    warp: int = 32

    @property
    def warps(self) -> int:
        """Warps of an SM."""
        return self.threads // self.warp


def _before_ampere(name: str, threads: int, blocks: int, shared: int, shared_per_block: int) -> Architecture:
    return Architecture(name, threads, blocks, shared * 1024, shared_per_block * 1024, 256, 0)


def _since_ampere(name: str, threads: int, blocks: int, shared: int) -> Architecture:
    # of each block's share, 1 KiB belongs to the system
    return Architecture(name, threads, blocks, shared * 1024, (shared - 1) * 1024, 128, 1024)


ARCHITECTURES: dict[int, Architecture] = {
    61: _before_ampere("Pascal", 2048, 32, 96, 48),
    70: _before_ampere("Volta", 2048, 32, 96, 96),
    75: _before_ampere("Turing", 1024, 16, 64, 64),
    80: _since_ampere("Ampere", 2048, 32, 164),
    86: _since_ampere("Ampere", 1536, 16, 100),
    87: _since_ampere("Ampere", 1536, 16, 164),
    89: _since_ampere("Ada", 1536, 24, 100),
    90: _since_ampere("Hopper", 2048, 32, 228),
    100: _since_ampere("Blackwell", 2048, 32, 228),
    103: _since_ampere("Blackwell", 2048, 32, 228),
    120: _since_ampere("Blackwell", 1536, 24, 100),
}


@dataclass(frozen=True)
class GraphicsCard:
    """A GPU as its maker describes it.

    cores: float32 units, each one multiply-add a clock. clock: boost, in Hz. memory: bytes. bandwidth: bytes per
    second. source: where the figures are from.
    """

    name: str
    architecture: int
    multiprocessors: int
    cores: int
    clock: float
    memory: float
    bandwidth: float
    source: str

    @property
    def flops(self) -> float:
        """Float32 operations per second at the boost clock: a multiply-add counts as two."""
        return 2.0 * self.cores * self.clock


# NVIDIA's data sheets of H100 and H200 give no clock: theirs is what 67 TFLOP/s of float32 take.
GPUS: tuple[GraphicsCard, ...] = (
    GraphicsCard(
        "GeForce GTX 1070 Ti", 61, 19, 2432, 1.683e9, 8e9, 256e9, "NVIDIA, GeForce GTX 1070 Ti, specifications"
    ),
    GraphicsCard(
        "A100 SXM 80 GB", 80, 108, 6912, 1.410e9, 80e9, 2039e9, "NVIDIA A100 Tensor Core GPU data sheet and white paper"
    ),
    GraphicsCard(
        "H100 SXM", 90, 132, 16896, 1.980e9, 80e9, 3350e9, "NVIDIA H100 Tensor Core GPU data sheet and white paper"
    ),
    GraphicsCard("H200 SXM", 90, 132, 16896, 1.980e9, 141e9, 4800e9, "NVIDIA H200 Tensor Core GPU data sheet"),
)
