"""The CUDA C kernels: their source files, the sizes each may have, and the options each is compiled with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kernels.cuda.tiles import Hopper, OneEach, Pipelined, Register, Square, Tensor, Tile, Vector, WarpTile
from kernels.ladder import find

__all__ = ["PROGRAMS", "Program"]

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, eq=False)  # each is one of a kind, and what is cached is found by it at every launch
class Program:
    """A CUDA C kernel.

    tiles: the sizes to choose from; the first that fits a chip is the default. registers: the most a thread may use.
    specialised: compiled once per order of the operands. variant: "a" for one architecture only.
    """

    name: str
    tiles: tuple[Tile, ...]
    registers: int
    specialised: bool = True
    variant: str = ""

    @property
    def source(self) -> Path:
        """The .cu file."""
        return _ROOT / find(self.name).source

    @property
    def tile(self) -> Tile:
        """The default sizes, of a chip that holds them."""
        return self.tiles[0]

    def fitting(self, shared_bytes: int) -> list[Tile]:
        """The sizes for a chip with so much shared memory for a block, the default first."""
        return [tile for tile in self.tiles if tile.shared_bytes <= shared_bytes]

    def options(
        self,
        tile: Tile | None = None,
        a_k_contiguous: bool = True,
        b_k_contiguous: bool = False,
        aligned: bool = True,
    ) -> tuple[str, ...]:
        """Compiler options. aligned: operands and C start at multiples of 16 bytes, and so do all their rows."""
        defines = dict((tile or self.tile).defines())
        if self.specialised:
            defines |= {
                "A_K_CONTIGUOUS": a_k_contiguous,
                "B_K_CONTIGUOUS": b_k_contiguous,
                "VECTOR": 4 if aligned else 1,
            }
        return ("-std=c++17", *(f"-D{name}={int(value)}" for name, value in defines.items()))


_HOPPER = ((4, 8, 2), (4, 16, 2), (4, 8, 1), (3, 8, 2))  # stages, group, cluster

_TABLE = (
    Program("cuda-cupy-naive", (OneEach(32, 8, along_rows=True),), registers=64, specialised=False),
    Program("cuda-cupy-coalesced", (OneEach(8, 32),), registers=64, specialised=False),
    Program("cuda-cupy-shared", (Square(32),), registers=64, specialised=False),
    Program("cuda-cupy-register", (Register(128, 128, 16, 8, 8),), 128, specialised=False),
    Program("cuda-cupy-vector", (Vector(128, 128, 8, 8, 8),), 128),
    Program("cuda-cupy-pipelined", (Pipelined(128, 128, 8, 8, 8, 4),), 128),
    Program(
        "cuda-cupy-warptile",
        (
            # block m, n, k, warp m, n, stages, blocks, group, thread m, n, slices
            WarpTile(128, 256, 8, 64, 64, 4, 1, 8, 16, 8),
            WarpTile(128, 128, 16, 64, 64, 2, 2, 8, 16, 8),
            WarpTile(128, 128, 8, 32, 64, 3, 2, 8, 8, 8),
            WarpTile(128, 64, 16, 32, 32, 3, 2, 8, 8, 4),
            WarpTile(64, 64, 16, 32, 32, 3, 4, 8, 8, 4),
            WarpTile(32, 64, 16, 16, 32, 4, 4, 8, 4, 4),
            WarpTile(32, 64, 32, 16, 32, 3, 2, 1, 4, 4, 2),
            WarpTile(32, 32, 16, 16, 32, 4, 4, 8, 4, 4),
            WarpTile(32, 32, 32, 16, 32, 3, 2, 1, 4, 4, 2),
            WarpTile(16, 32, 32, 16, 32, 4, 2, 1, 4, 4, 4),
            WarpTile(16, 32, 64, 16, 32, 4, 2, 1, 4, 4, 8),
        ),
        255,
    ),
    Program(
        "cuda-cupy-tensor",
        (
            # block m, n, k, warp m, n, stages, blocks, group
            Tensor(128, 256, 32, 64, 64, 3, 1, 8),
            Tensor(128, 256, 16, 64, 64, 3, 1, 8),
            Tensor(128, 128, 16, 64, 64, 4, 2, 8),
            Tensor(128, 256, 32, 64, 64, 2, 1, 8),
            Tensor(64, 64, 32, 32, 32, 3, 2, 8),
            Tensor(32, 64, 16, 32, 16, 4, 4, 8),
            Tensor(32, 32, 32, 16, 16, 4, 4, 8),
        ),
        255,
    ),
    Program(
        "cuda-cupy-hopper",
        tuple(Hopper(2, *sizes) for sizes in _HOPPER),
        168,
        specialised=False,
        variant="a",
    ),
    Program(
        "cuda-cupy-hopper-tf32",
        tuple(Hopper(4, *sizes) for sizes in _HOPPER),
        168,
        specialised=False,
        variant="a",
    ),
)  # fmt: skip

PROGRAMS: dict[str, Program] = {program.name: program for program in _TABLE}
