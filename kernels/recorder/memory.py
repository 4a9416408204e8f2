"""The memories of a GPU: global for all, shared for a block, local for a thread; and where each array lies in them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from math import prod
from types import FrameType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kernels.recorder.arrays import Addresses, DeviceArray, TracedArray
from kernels.recorder.sites import Sites, assigned_name

__all__ = ["ALIGNMENT", "SPACES", "Array", "Memory", "Placement", "Space"]

Space = Literal["global", "shared", "local", "constant"]
SPACES: tuple[Space, ...] = ("global", "shared", "local", "constant")
ALIGNMENT = 256  # bytes: cudaMalloc aligns so, and so both sectors and banks start at an array's own start
_MOST_STATIC, _MOST_SHARED = 48 * 2**10, 227 * 2**10  # bytes of shared memory of a block; all of it on an H100
_REGION = 1 << 40  # bytes between the spaces, so that no two share an address


@dataclass(frozen=True)
class Array:
    """An array of the kernel; line is where it is declared, None for an argument."""

    name: str
    space: Space
    shape: tuple[int, ...]
    dtype: str
    line: int | None


@dataclass(frozen=True)
class Placement:
    """Where an array lies: `start` among all arrays' elements, `origin` and `strides` in bytes of its space."""

    array: Array
    start: int
    origin: int
    strides: tuple[int, ...]
    itemsize: int
    per_thread: int  # bytes from one thread's copy to the next one's; 0 outside local memory

    def bytes_of(self, elements: NDArray[np.int64], threads: NDArray[np.int64]) -> NDArray[np.int64]:
        """The address in bytes of each element (numbered in row-major order), as seen by each thread."""
        result = self.origin + threads * self.per_thread
        for part, stride in zip(np.unravel_index(elements, self.array.shape), self.strides, strict=True):
            result += part * stride
        return result


class Memory:
    """Makes the arrays of a kernel. Fresh shared and local memory is poisoned: NaN, or -1, or the largest unsigned."""

    def __init__(self, sites: Sites, log: array[int], traced: bool, shared_bytes: int) -> None:
        if not 0 <= shared_bytes <= _MOST_SHARED:
            raise ValueError(f"a block has at most {_MOST_SHARED:,} bytes of shared memory, not {shared_bytes:,}")
        self.placements: list[Placement] = []
        self.shared_bytes = shared_bytes
        self._shared_bytes_asked = shared_bytes
        self._sites, self._log = sites, log
        self._type = TracedArray if traced else DeviceArray
        self._end = 0
        self._ends = {space: number * _REGION for number, space in enumerate(SPACES)}
        self._ends["shared"] += _aligned(shared_bytes)
        self._owners: dict[int, int] = {}
        self._constants: dict[int, DeviceArray] = {}
        self._declared: dict[tuple[int, Space], tuple[Placement, Addresses]] = {}
        self._dynamic = _poisoned((shared_bytes,), np.dtype(np.uint8))
        self._of_block: dict[int, DeviceArray] = {}
        self._of_thread: dict[tuple[int, int], DeviceArray] = {}

    @property
    def global_bytes(self) -> int:
        """From the start of the first argument to the end of the last."""
        return self._ends["global"]

    def start_block(self) -> None:
        """Forget the last block's shared and local memory."""
        self._dynamic = _poisoned((self._shared_bytes_asked,), np.dtype(np.uint8))
        self._of_block.clear()
        self._of_thread.clear()

    def argument(self, name: str, data: NDArray) -> DeviceArray:
        """A NumPy array in global memory. Views of one array keep their distance, so overlaps are seen."""
        _refuse_records(name, data.dtype)
        owner, base = data, data.base
        while base is not None:
            owner = base if isinstance(base, np.ndarray) else owner
            base = getattr(base, "base", None)  # as_strided puts an object of its own in between
        if id(owner) not in self._owners:
            low, high = np.lib.array_utils.byte_bounds(owner)
            self._owners[id(owner)] = self._reserve("global", high - low) - low
        origin = self._owners[id(owner)] + data.__array_interface__["data"][0]
        return self._view(data, *self._place(name, "global", data, None, origin, data.strides))

    def constant(self, name: str, data: NDArray) -> DeviceArray:
        """A read-only NumPy array that the kernel captured."""
        _refuse_records(name, data.dtype)
        if id(data) not in self._constants:
            frozen = data.copy(order="C")
            frozen.flags.writeable = False
            origin = self._reserve("constant", frozen.nbytes)
            placed = self._place(name, "constant", frozen, None, origin, frozen.strides)
            self._constants[id(data)] = self._view(frozen, *placed)
        return self._constants[id(data)]

    def shared(self, shape: Any, dtype: Any, frame: FrameType) -> DeviceArray:
        """The block's array that belongs to this call; with a shape of 0 the dynamic shared memory from its start."""
        site, kind, extents = self._sites.number(frame, "array"), _dtype(dtype), _shape(shape)
        dynamic = extents == (0,)
        if dynamic:
            extents = (self._dynamic.size // kind.itemsize,)
        self._check(site, "shared", extents, kind)
        if site not in self._of_block:
            data = self._dynamic[: extents[0] * kind.itemsize].view(kind) if dynamic else _poisoned(extents, kind)
            origin = SPACES.index("shared") * _REGION if dynamic else None
            self._of_block[site] = self._declare(site, "shared", data, frame, origin, 0)
        return self._of_block[site]

    def local(self, shape: Any, dtype: Any, frame: FrameType, thread: int, threads: int) -> DeviceArray:
        """The thread's own array that belongs to this call: the same memory each time the call is reached."""
        site, kind, extents = self._sites.number(frame, "array"), _dtype(dtype), _shape(shape)
        self._check(site, "local", extents, kind)
        if (thread, site) not in self._of_thread:
            self._of_thread[thread, site] = self._declare(site, "local", _poisoned(extents, kind), frame, None, threads)
        return self._of_thread[thread, site]

    def _check(self, site: int, space: Space, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if (site, space) in self._declared:
            first = self._declared[site, space][0].array
            if (first.shape, first.dtype) != (shape, dtype.name):
                was = f"{first.shape} of {first.dtype}"
                raise TypeError(
                    f"{first.name} was {was}, now it is {shape} of {dtype}: shape and type must be constants"
                )

    def _declare(
        self, site: int, space: Space, data: NDArray, frame: FrameType, origin: int | None, copies: int
    ) -> DeviceArray:
        if (site, space) not in self._declared:
            name = assigned_name(frame) or f"{space} array of line {frame.f_lineno}"
            if origin is None:
                origin = self._reserve(space, data.nbytes * max(1, copies))
                self.shared_bytes += data.nbytes if space == "shared" else 0
                if (static := self.shared_bytes - self._shared_bytes_asked) > _MOST_STATIC:
                    raise ValueError(
                        f"shared arrays hold at most {_MOST_STATIC:,} bytes, with {name} they have {static:,}: more "
                        f"can only be dynamic, cuda.shared.array(0, …)"
                    )
            placed = self._place(name, space, data, frame.f_lineno, origin, data.strides, data.nbytes if copies else 0)
            self._declared[site, space] = placed
        return self._view(data, *self._declared[site, space])

    def _place(
        self,
        name: str,
        space: Space,
        data: NDArray,
        line: int | None,
        origin: int,
        strides: tuple[int, ...],
        per_thread: int = 0,
    ) -> tuple[Placement, Addresses]:
        described = Array(name, space, data.shape, data.dtype.name, line)
        placement = Placement(described, self._end, origin, strides, data.itemsize, per_thread)
        self.placements.append(placement)
        addresses = Addresses.row_major(data.shape, self._end)
        self._end += data.size
        return placement, addresses

    def _view(self, data: NDArray, placement: Placement, addresses: Addresses) -> DeviceArray:
        return self._type(data, addresses, placement.array.name, self._sites, self._log)

    def _reserve(self, space: Space, size: int) -> int:
        start = self._ends[space]
        self._ends[space] += _aligned(size)
        return start


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _shape(shape: Any) -> tuple[int, ...]:
    return tuple(shape) if isinstance(shape, (tuple, list)) else (int(shape),)


def _dtype(dtype: Any) -> np.dtype:
    if hasattr(dtype, "fields") and not isinstance(dtype, np.dtype):  # Numba's type of a record
        dtype = dtype.dtype
        _refuse_records("an array of the kernel", dtype)
    # Numba's types are named as NumPy's
    return np.dtype(getattr(dtype, "name", dtype))


def _refuse_records(name: str, dtype: np.dtype) -> None:
    if dtype.names:
        raise TypeError(f"{name} has records ({', '.join(dtype.names)}), which the recorder does not model")


def _poisoned(shape: tuple[int, ...], dtype: np.dtype) -> NDArray:
    # all ones: a NaN of every float type, -1 of every signed integer
    return np.full(prod(shape) * dtype.itemsize, 0xFF, np.uint8).view(dtype).reshape(shape)
