"""Compile-time sizes of the CUDA C kernels, one frozen dataclass for each family.

A size is a macro of the .cu file. It is fixed when the file is compiled, because a register tile's numbers must have
names, not indices. Each class refuses sizes that cannot work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Protocol

__all__ = ["Hopper", "OneEach", "Pipelined", "Register", "Square", "Tensor", "Tile", "Vector", "WarpTile"]

_MOST_THREADS = 1024  # of a thread block, on every chip since Fermi
_MOST_STATIC = 48 * 1024  # bytes of a thread block's shared memory whose size the compiler knows, on every chip
_MOST_SHARED = 227 * 1024  # bytes in all on sm_90, the largest; smaller chips refuse at launch


class Tile(Protocol):
    """What a launch needs to know of a kernel's sizes."""

    def __hash__(self) -> int: ...

    @property
    def block(self) -> tuple[int, int]:
        """Threads of a block, (x, y)."""

    @property
    def shared_bytes(self) -> int:
        """Dynamic shared memory of a block."""

    def grid(self, m: int, n: int) -> tuple[int, int]:
        """Blocks, (x, y), for a C of (m,n)."""

    def defines(self) -> dict[str, int]:
        """The macros that the file is compiled with."""


def _require(holds: bool, why: str) -> None:
    if not holds:
        raise ValueError(f"no such tile: {why}")


def _check(threads: int, shared: int = 0, registers: int = 0, most: int = _MOST_SHARED) -> None:
    _require(threads <= _MOST_THREADS, f"{threads} threads are more than a block's {_MOST_THREADS}")
    _require(shared <= most, f"{shared} bytes of shared memory are more than a block's {most}")
    _require(registers <= 224, f"{registers} sums to a thread leave no room in its 255 registers")


def _require_shares(threads: int, *extents: int) -> None:
    """Rows of a tile must divide the threads, so that a thread's share of it is one walk (memory.cuh)."""
    for extent in extents:
        _require(threads % extent == 0, f"rows of {extent} numbers do not divide {threads} threads")


def _defines(tile: object) -> dict[str, int]:
    return {name.upper(): value for name, value in asdict(tile).items()}  # type: ignore[call-overload]


@dataclass(frozen=True)
class OneEach:
    """One thread per c(i,j): a block of block_m x block_n of them; along_rows: threadIdx.x counts rows."""

    block_m: int
    block_n: int
    along_rows: bool = False
    shared_bytes = 0

    def __post_init__(self) -> None:
        _check(self.block_m * self.block_n)

    @property
    def block(self) -> tuple[int, int]:
        return (self.block_m, self.block_n) if self.along_rows else (self.block_n, self.block_m)

    def grid(self, m: int, n: int) -> tuple[int, int]:
        return -(-n // self.block_n), -(-m // self.block_m)

    def defines(self) -> dict[str, int]:
        return {"BLOCK_M": self.block_m, "BLOCK_N": self.block_n}


@dataclass(frozen=True)
class Square:
    """A square tile of C, one thread per number."""

    tile: int
    shared_bytes = 0

    def __post_init__(self) -> None:
        _check(self.tile**2, 8 * self.tile**2, most=_MOST_STATIC)

    @property
    def block(self) -> tuple[int, int]:
        return self.tile, self.tile

    def grid(self, m: int, n: int) -> tuple[int, int]:
        return -(-n // self.tile), -(-m // self.tile)

    def defines(self) -> dict[str, int]:
        return _defines(self)


@dataclass(frozen=True)
class Register:
    """A block's tile of C, block_m x block_n, from block_k steps of k at a time; thread_m x thread_n to a thread."""

    block_m: int
    block_n: int
    block_k: int
    thread_m: int
    thread_n: int
    shared_bytes = 0
    _padding = 2  # numbers, of a row of both tiles together
    _most = _MOST_STATIC  # bytes

    def __post_init__(self) -> None:
        _require(self.block_m % self.thread_m == 0 == self.block_n % self.thread_n, "threads do not divide the block")
        tiles = 4 * self.block_k * (self.block_m + self.block_n + self._padding)
        _check(self._down * self._across, tiles, self.thread_m * self.thread_n, self._most)

    @property
    def _down(self) -> int:
        return self.block_m // self.thread_m

    @property
    def _across(self) -> int:
        return self.block_n // self.thread_n

    @property
    def block(self) -> tuple[int, int]:
        return self._across, self._down

    def grid(self, m: int, n: int) -> tuple[int, int]:
        return -(-n // self.block_n), -(-m // self.block_m)

    def defines(self) -> dict[str, int]:
        return _defines(self)


@dataclass(frozen=True)
class Vector(Register):
    """`Register` with loads of four numbers, and the threads of a block in one row."""

    _padding = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = (self.block_m, self.block_n, self.block_k, self.thread_m, self.thread_n)
        _require(all(size % 4 == 0 for size in sizes), "every size must be a multiple of 4")
        _require_shares(self.block[0], self.block_m, self.block_n, self.block_k)

    @property
    def block(self) -> tuple[int, int]:
        return self._across * self._down, 1


@dataclass(frozen=True)
class Pipelined(Vector):
    """`Vector` with `stages` tiles in flight."""

    stages: int
    _most = _MOST_SHARED

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.stages >= 2, "a pipeline has 2 stages or more")
        _check(0, self.shared_bytes)

    @property
    def shared_bytes(self) -> int:  # type: ignore[override]
        return 4 * self.stages * self.block_k * (self.block_m + self.block_n + self._padding)


@dataclass(frozen=True)
class _Warps(ABC):
    """A block of warps of warp_m x warp_n numbers of C each, with `stages` tiles in flight.

    blocks: how many blocks a multiprocessor's registers must suffice for; whether its shared memory does is the chip's
    affair. group: how many rows of blocks are numbered together.
    """

    block_m: int
    block_n: int
    block_k: int
    warp_m: int
    warp_n: int
    stages: int
    blocks: int
    group: int

    def __post_init__(self) -> None:
        _require(self.block_m % self.warp_m == 0 == self.block_n % self.warp_n, "warps do not divide the block")
        _require(self.block_m % 4 == 0 == self.block_n % 4 and self.block_k % 4 == 0, "sizes are multiples of 4")
        _require(self.stages >= 2, "a pipeline has 2 stages or more")
        _check(self.block[0], self.shared_bytes, self.warp_m * self.warp_n // 32)
        _require_shares(self.block[0], self.block_m, self.block_n, self.block_k)

    @property
    def block(self) -> tuple[int, int]:
        return 32 * (self.block_m // self.warp_m) * (self.block_n // self.warp_n), 1

    @property
    @abstractmethod
    def shared_bytes(self) -> int: ...

    def grid(self, m: int, n: int) -> tuple[int, int]:
        return -(-n // self.block_n) * -(-m // self.block_m), 1

    def defines(self) -> dict[str, int]:
        return _defines(self)


@dataclass(frozen=True)
class WarpTile(_Warps):
    """Warps of threads that own thread_m x thread_n numbers of C each; `slices` of them share a tile's steps of k."""

    thread_m: int
    thread_n: int
    slices: int = 1

    @property
    def block(self) -> tuple[int, int]:
        return super().block[0] * self.slices, 1

    @property
    def shared_bytes(self) -> int:
        """Of tiles whose rows are padded by 4 numbers, and enough for the slices' sums, too."""
        tiles = self.stages * self.block_k * (self.block_m + 4 + self.block_n + 4)
        return 4 * max(tiles, (self.slices - 1) * self.block_m * self.block_n)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.block_k % self.slices == 0, "slices do not divide a tile's steps of k")
        _require(self.block_k // self.slices % 2 == 0, "a slice takes two steps of k in turn")
        _require(self.warp_m % self.thread_m == 0 == self.warp_n % self.thread_n, "threads do not divide the warp")
        _require(self.thread_m % 4 == 0 == self.thread_n % 4, "a thread's sizes are multiples of 4")
        lanes = self.warp_m // self.thread_m * (self.warp_n // self.thread_n)
        _require(lanes == 32, f"a warp has 32 threads, not {lanes}")


@dataclass(frozen=True)
class Tensor(_Warps):
    """Warps that own pieces of 16 x 8 numbers of C, or of 8 x 16."""

    @property
    def shared_bytes(self) -> int:
        """Enough for either layout of each operand: rows along k are padded by 8 numbers, the others by 4."""
        sides = (self.block_m, self.block_n)
        return 4 * self.stages * sum(max(self.block_k * (side + 4), (self.block_k + 8) * side) for side in sides)

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self.warp_m % 16 == 0 == self.warp_n % 16, "pieces of 16 x 8 or 8 x 16 do not divide the warp")
        _require(self.block_k % 16 == 0, "an instruction takes 8 steps of k, and two take turns")
        _require(self.block_m % 32 == 0 == self.block_n % 32, "only rows of 32·x + 4 numbers keep banks apart")


@dataclass(frozen=True)
class Hopper:
    """Tiles of the copy engine: their sizes are those of the instructions; stages of them are in flight.

    bytes: of a number, 2 for bf16 and 4 for TF32; a row of a tile has 128.
    cluster: blocks, one above the other, that fetch B together; group: how many rows of clusters are numbered together.
    """

    bytes: int
    stages: int
    group: int
    cluster: int
    block_m, block_n = 128, 256
    block = (384, 1)

    def __post_init__(self) -> None:
        _require(self.bytes in (2, 4), "numbers have 2 bytes or 4")
        _require(self.stages >= 2, "a pipeline has 2 stages or more")
        # boxes must begin where the swizzle does, every 8 rows, and more than 8 blocks are not every chip's
        _require(self.cluster in (1, 2, 4, 8), "a cluster has 1, 2, 4 or 8 blocks")
        _check(self.block[0], self.shared_bytes)

    @property
    def shared_bytes(self) -> int:
        return 128 * self.stages * (self.block_m + self.block_n)

    @property
    def block_k(self) -> int:
        return 128 // self.bytes

    def grid(self, m: int, n: int) -> tuple[int, int]:
        """As many blocks as tiles of C, in whole clusters; fewer do, as a block makes tile after tile."""
        return -(-n // self.block_n) * -(-m // (self.cluster * self.block_m)) * self.cluster, 1

    def resident_grid(self, m: int, n: int, multiprocessors: int) -> tuple[int, int]:
        """`grid`, but no more blocks than multiprocessors: one each, as their shared memory is full with one."""
        most = max(multiprocessors // self.cluster, 1) * self.cluster
        return min(self.grid(m, n)[0], most), 1

    def defines(self) -> dict[str, int]:
        return _defines(self)
