"""Which of a program's sizes to use for a product: what `python -m kernels.tune` found here, or a rule of thumb."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import msgspec

from kernels.cache import cache
from kernels.cuda.programs import Program
from kernels.cuda.tiles import Tile

__all__ = ["Tuned", "choose", "forget", "read_tuned", "tuned_file", "write_tuned"]


class Tuned(msgspec.Struct, frozen=True):
    """The fastest of a program's tiles (its macros) for (m,k)·(k,n) on a GPU."""

    gpu: str
    kernel: str
    m: int
    k: int
    n: int
    tile: dict[str, int]


@functools.lru_cache(maxsize=1024)  # asked at every launch
def choose(program: Program, m: int, n: int, gpu: str, multiprocessors: int, shared_bytes: int) -> Tile:
    """The tile for a C of (m,n) on a GPU with so many multiprocessors, and so much shared memory for a block.

    Tuned choices first, the one whose C is nearest in size. Without any: the default, if it gives every multiprocessor
    a block; else the largest tile that does, or the smallest there is. Raises ValueError where no tile fits the GPU.
    """
    tiles = program.fitting(shared_bytes)
    if not tiles:
        least = min(tile.shared_bytes for tile in program.tiles)
        raise ValueError(
            f"{program.name} needs {least} bytes of shared memory for a block, {gpu} has {shared_bytes}; "
            "use --kernel cuda-cupy-vector"
        )
    known = [tuned for tuned in read_tuned() if tuned.gpu == gpu and tuned.kernel == program.name]
    for tuned in sorted(known, key=lambda tuned: abs(math.log(tuned.m * tuned.n / (m * n)))):
        for tile in tiles:
            if tile.defines() == tuned.tile:
                return tile
    for tile in tiles[:1] + sorted(tiles, key=_area, reverse=True):
        if math.prod(tile.grid(m, n)) >= multiprocessors:
            return tile
    return min(tiles, key=_area)


def _area(tile: Tile) -> float:
    """c(i,j) of a block, from how many blocks a large C needs."""
    return 1 / math.prod(tile.grid(1 << 14, 1 << 14))


def tuned_file() -> Path:
    """Where the choices are kept."""
    return cache() / "tuned.json"


@functools.cache
def read_tuned() -> tuple[Tuned, ...]:
    """All choices ever made on this machine; a file that cannot be read is none."""
    try:
        return msgspec.json.decode(tuned_file().read_bytes(), type=tuple[Tuned, ...])
    except (OSError, msgspec.DecodeError):
        return ()


def write_tuned(choices: list[Tuned]) -> None:
    """Add choices; those for the same GPU, kernel and shape are replaced. Raises OSError."""
    from kernels.measure.files import write_atomically

    def place(tuned: Tuned) -> tuple[object, ...]:
        return tuned.gpu, tuned.kernel, tuned.m, tuned.k, tuned.n

    merged = {place(tuned): tuned for tuned in (*read_tuned(), *choices)}
    tuned_file().parent.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(list(merged.values())), indent=1)
    write_atomically(tuned_file(), lambda file: file.write(text + b"\n"))
    forget()


def forget() -> None:
    """Read the file again next time."""
    read_tuned.cache_clear()
    choose.cache_clear()
