"""CUDA C on the CPU: runs the text of a .cu file with g++ and NumPy, and finds what a GPU would let pass.

The threads of a block are fibres that change only where they wait for one another, in an order of your choice: a kernel
with too few barriers gives other results in another order, or NaN, of which all shared memory is full at first.
Threads at different barriers, threads that wait for ever, indices out of bounds, addresses that are not aligned, and
copies that are read before they were waited for, are errors or NaN.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.emulation import compiler

__all__ = ["Boxes", "EmulationError", "Order", "available", "emulate"]

Order = Literal["forward", "reverse"] | int  # a number is the seed of a shuffled order


class EmulationError(Exception):
    """What the kernel did wrong, and which thread."""


class Boxes(NamedTuple):
    """A matrix of bf16 numbers, as uint16, or of float32, in C order, that the copy engine fetches in boxes."""

    matrix: NDArray
    rows: int
    columns: int


Argument = NDArray | Boxes | float


@functools.cache
def available() -> bool:
    """Whether there is a compiler for it: GCC 12 or newer, on Linux."""
    if sys.platform != "linux" or shutil.which("g++") is None:
        return False
    version = subprocess.run(["g++", "-dumpversion"], capture_output=True, text=True, check=True).stdout
    return int(version.split(".")[0]) >= 12


def emulate(
    source: Path,
    options: Sequence[str],
    grid: tuple[int, ...],
    block: tuple[int, ...],
    shared_bytes: int,
    *arguments: Argument,
    order: Order = "forward",
    at_start: bool = False,
    cooperative: bool = False,
    cluster: int = 1,
    seconds: int = 60,
    kernel: str = "matmul",
) -> None:
    """Run a kernel of a .cu file; arrays that it takes by pointer to non-const are filled in place.

    options: -D, as for nvcc. grid, block: 1 to 3 sizes, x first. shared_bytes: of dynamic shared memory.
    arguments: contiguous arrays, numbers, and matrices in `Boxes` for tensor maps. order: of the threads between two
    barriers, and of the blocks. at_start: whether the forbidden memory lies close before each array rather than close
    behind it. cooperative: all blocks are alive at the same time and may wait for each other in loops that call
    __nanosleep. cluster: how many blocks are alive together and reach each other's shared memory. seconds: of CPU time
    that a launch may take.
    Raises EmulationError for a kernel that does not compile or does something wrong.
    """
    module = compiler.load(source, tuple(options), kernel)
    if len(arguments) != len(module.signature):
        raise EmulationError(f"{kernel} has {len(module.signature)} parameters, not {len(arguments)}")
    values = (compiler.Value * len(arguments))(*map(_value, module.signature, arguments))
    launch = compiler.Description(
        grid=compiler.triple(grid),
        block=compiler.triple(block),
        shared_bytes=shared_bytes,
        seed=order if isinstance(order, int) else 0,
        order={"forward": 0, "reverse": 1}.get(str(order), 2),
        at_start=at_start,
        cooperative=cooperative,
        cluster=cluster,
        seconds=seconds,
    )
    error = compiler.runtime().emulation_launch(
        ctypes.byref(module), ctypes.byref(launch), values, ctypes.c_size_t(len(values))
    )
    if error is not None:
        raise EmulationError(error.decode())


def _value(kind: int, argument: Argument) -> compiler.Value:
    letter = chr(kind)
    wanted = {"r": np.ndarray, "w": np.ndarray, "m": Boxes}.get(letter, (int, float, np.number))
    if not isinstance(argument, wanted):
        raise EmulationError(f"{argument!r} does not go with a parameter of kind {letter}")
    if isinstance(argument, Boxes):
        box = compiler.Map(rows=len(argument.matrix), columns=argument.matrix.shape[1])
        box.box_rows, box.box_columns, box.bytes = argument.rows, argument.columns, argument.matrix.itemsize
        return compiler.Value(_address(argument.matrix), argument.matrix.nbytes, map=ctypes.pointer(box))
    if isinstance(argument, np.ndarray):
        if letter == "w" and not argument.flags.writeable:
            raise EmulationError("the kernel writes to an array that is read-only")
        return compiler.Value(_address(argument), argument.nbytes)
    return compiler.Value(integer=int(argument), real=float(argument))


def _address(array: NDArray) -> int:
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise EmulationError("arrays must be contiguous")
    return array.ctypes.data
