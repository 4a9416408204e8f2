"""Arrays as a kernel sees them: every index is checked, and every access may be written down.

A check costs one look into a dictionary: `Addresses` knows the indices used so far, and only new ones are computed.
"""

from __future__ import annotations

import operator
import sys
from array import array
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kernels.recorder.sites import LIMIT, Kind, Sites

__all__ = ["Addresses", "DeviceArray", "IndexFault", "TracedArray", "widened"]

_caller = sys._getframe
_NARROW = (np.int8, np.int16, np.int32, np.uint8, np.uint16, np.uint32)


class _Truth(int):
    """A truth as Numba has it: two add up to 2, as NumPy's do not, and ~ turns it round, as it does not Python's."""

    def __invert__(self) -> _Truth:
        return _Truth(not self)

    def __and__(self, other: Any) -> Any:
        return _like(other, int.__and__(self, int(other)))

    def __or__(self, other: Any) -> Any:
        return _like(other, int.__or__(self, int(other)))

    def __xor__(self, other: Any) -> Any:
        return _like(other, int.__xor__(self, int(other)))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__


def _like(other: Any, result: int) -> Any:
    return _Truth(result) if isinstance(other, (_Truth, bool, np.bool_)) else result


_WIDER: dict[type, type] = {**dict.fromkeys(_NARROW, np.int64), np.bool_: _Truth, bool: _Truth}


def widened(number: Any) -> Any:
    """As Numba computes, where integers grow to 64 bits and truths can be added up; NumPy's do neither."""
    wider = _WIDER.get(type(number))
    return wider(number) if wider else number


class IndexFault(Exception):  # noqa: N818 - it ends one thread of the kernel, and becomes a Fault there
    """A thread used an index outside the array."""

    def __init__(self, site: int, name: str, index: tuple[Any, ...], shape: tuple[int, ...]) -> None:
        super().__init__(f"{name}{index} is outside its shape {shape}")
        self.site, self.name, self.index, self.shape = site, name, index, shape


class Addresses(dict[Any, int]):
    """Index → address, for indices inside the shape.

    An address counts elements in row-major order, from the array's own start in one space of all arrays; it is kept
    multiplied by `sites.LIMIT`, ready to be joined with a site. Raises IndexError for an index outside (negative ones
    are outside), TypeError for anything but one integer per dimension.
    """

    def __init__(self, shape: tuple[int, ...], strides: tuple[int, ...], start: int) -> None:
        super().__init__()
        self.shape, self.strides, self.start = shape, strides, start

    @classmethod
    def row_major(cls, shape: tuple[int, ...], start: int) -> Addresses:
        strides, step = [], 1
        for extent in reversed(shape):
            strides.append(step)
            step *= extent
        return cls(shape, tuple(reversed(strides)), start)

    def __missing__(self, key: Any) -> int:
        index = key if isinstance(key, tuple) else (key,)
        if len(index) != len(self.shape):
            raise TypeError(f"{len(index)} indices into {len(self.shape)} dimensions")
        # since Python 3.12 a slice can be a key too
        if any(isinstance(i, slice) for i in index):
            raise TypeError("a slice is a part of an array, not an element")
        inner = self.narrowed(index)
        self[key] = inner.start * LIMIT
        return self[key]

    def narrowed(self, index: tuple[Any, ...]) -> Addresses:
        """Addresses of the part that integers and slices leave; slices are clipped as in NumPy."""
        start = self.start
        shape: list[int] = []
        strides: list[int] = []
        for i, extent, stride in zip(index, self.shape, self.strides, strict=False):
            if isinstance(i, slice):
                kept = range(*i.indices(extent))
                start += kept.start * stride
                shape.append(len(kept))
                strides.append(kept.step * stride)
            else:
                number = operator.index(i)
                if not 0 <= number < extent:
                    raise IndexError(number)
                start += number * stride
        rest = len(index)
        return Addresses((*shape, *self.shape[rest:]), (*strides, *self.strides[rest:]), start)


class DeviceArray:
    """A NumPy array whose indices are checked. Slices and rows are views of the same memory."""

    __slots__ = ("_addresses", "_append", "_data", "_sites", "name")

    def __init__(self, data: NDArray, addresses: Addresses, name: str, sites: Sites, log: array[int]) -> None:
        self._data, self._addresses, self.name, self._sites = data, addresses, name, sites
        self._append = log.append

    def __getitem__(self, key: Any) -> Any:
        try:
            self._addresses[key]
        except (IndexError, TypeError):
            return self._part(key, _caller(1), "read")
        return widened(self._data[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        try:
            self._addresses[key]
        except (IndexError, TypeError):
            self._fill(self._part(key, _caller(1), "write"), value)
        else:
            self._store(key, value)

    # Python would otherwise iterate by indexing until an IndexError
    __iter__ = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the recorder does not model .{name} of an array")

    def __len__(self) -> int:
        return len(self._data)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def size(self) -> int:
        return self._data.size

    @property
    def strides(self) -> tuple[int, ...]:
        return self._data.strides

    @property
    def dtype(self) -> DTypeLike:
        return self._data.dtype

    def exchange(self, key: Any, frame: FrameType, update: Any) -> Any:
        """The old value of an element, replaced by update(old, cast): what all atomics are."""
        try:
            self._record(key, frame, "atomic")
        except IndexError:
            return self._part(key, frame, "atomic")
        old = self._data[key]
        self._data[key] = update(old, self._cast)
        return widened(old)

    def _record(self, key: Any, frame: FrameType, kind: Kind) -> None:
        self._addresses[key]

    def _store(self, key: Any, value: Any) -> None:
        try:
            self._data[key] = value
        except (OverflowError, ValueError):  # too large for it, or NaN, which fresh memory is full of
            self._data[key] = self._cast(value)

    def _cast(self, value: Any) -> Any:
        """The value as a number of this array; Python's integers wrap round, as they do in memory."""
        if isinstance(value, int) and self._data.dtype.kind in "iu":
            value = np.uint64(value & 0xFFFF_FFFF_FFFF_FFFF)
        return np.asarray(value).astype(self._data.dtype)[()]

    def _fill(self, part: DeviceArray, value: Any) -> None:
        """Write one number to a slice or a row."""
        if np.ndim(value):
            raise TypeError(f"the recorder writes numbers to a slice of {self.name}, not arrays")
        part._store(..., value)

    def _part(self, key: Any, frame: FrameType, kind: Kind) -> DeviceArray:
        index = key if isinstance(key, tuple) else (key,)
        if len(index) > self._data.ndim:
            raise TypeError(f"{self.name} has {self._data.ndim} dimensions, not {len(index)}")
        try:
            inner = self._addresses.narrowed(index)
        except IndexError:
            site = self._sites.number(frame, kind)
            raise IndexFault(site, self.name, index, self._data.shape) from None
        part = object.__new__(type(self))
        part._data, part._addresses, part.name = self._data[key], inner, self.name
        part._sites, part._append = self._sites, self._append
        return part


class TracedArray(DeviceArray):
    """A device array that writes every access, address and site, into the log."""

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        frame = _caller(1)
        try:
            address = self._addresses[key]
        except (IndexError, TypeError):
            return self._part(key, frame, "read")
        try:
            site = self._sites[id(frame.f_code), frame.f_lasti]
        except KeyError:
            site = self._sites.number(frame, "read")
        self._append(address | site)
        return widened(self._data[key])

    def __setitem__(self, key: Any, value: Any) -> None:
        frame = _caller(1)
        try:
            address = self._addresses[key]
        except (IndexError, TypeError):
            part, site = self._part(key, frame, "write"), self._sites.number(frame, "write")
            self._fill(part, value)
            for index in np.ndindex(*part.shape):
                self._append(part._addresses[index] | site)
            return
        try:
            site = self._sites[id(frame.f_code), frame.f_lasti]
        except KeyError:
            site = self._sites.number(frame, "write")
        self._append(address | site)
        self._store(key, value)

    def _record(self, key: Any, frame: FrameType, kind: Kind) -> None:
        self._append(self._addresses[key] | self._sites.number(frame, kind))
