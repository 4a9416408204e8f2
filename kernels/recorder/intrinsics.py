"""What a kernel finds under the name `cuda`: thread indices, memories, barriers, warp functions and atomics.

Everything that waits hands a `Wait` to the scheduler and gets back what the scheduler made of all threads' values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.nearest import did_you_mean
from kernels.recorder.arrays import DeviceArray
from kernels.recorder.memory import Memory

__all__ = ["FULL_MASK", "WARP", "Current", "Dim3", "Intrinsics", "Resolve", "Wait"]

WARP = 32
FULL_MASK = 0xFFFFFFFF
_caller = sys._getframe

Values = Mapping[int, Any]  # lane, or thread of the block → what it brought to the meeting
Resolve = Callable[[Values], Values]


class Dim3:
    """Three numbers x, y, z."""

    __slots__ = ("x", "y", "z")

    def __init__(self, x: int, y: int = 1, z: int = 1) -> None:
        self.x, self.y, self.z = x, y, z

    def move(self, x: int, y: int, z: int) -> None:
        self.x, self.y, self.z = x, y, z


@dataclass(frozen=True)
class Wait:
    """A thread's arrival at a barrier of its block (mask is None) or at a meeting of the lanes of a warp in mask.

    path: the sites of the calls that lead there, the kernel's own first: two calls of one device function from two
    branches are two places to wait, though one line of source.
    """

    path: tuple[int, ...]
    value: Any
    resolve: Resolve
    mask: int | None = None

    @property
    def site(self) -> int:
        """The call of the barrier itself."""
        return self.path[-1]

    @property
    def orders_memory(self) -> bool:
        """syncthreads and syncwarp do, and bring no value; of shuffles and votes CUDA promises nothing."""
        return self.resolve is _nothing


@dataclass
class Current:
    """The thread that runs now: its place in the block, and how it waits."""

    thread: int
    threads: int
    wait: Callable[[FrameType, Any, Resolve, int | None], Any]


class Intrinsics:
    """Stands in for the module numba.cuda while a kernel is recorded; an unknown name raises AttributeError."""

    warpsize = WARP

    def __init__(self, memory: Memory, current: Current, grid: tuple[int, ...], block: tuple[int, ...]) -> None:
        self.threadIdx, self.blockIdx = Dim3(0, 0, 0), Dim3(0, 0, 0)
        self.gridDim, self.blockDim = Dim3(*grid), Dim3(*block)
        self._wait = current.wait
        self._current = current
        self.shared = _Shared(memory)
        self.local = _Local(memory, current)
        self.const = _Constant(memory)
        self.atomic = _Atomic()

    def __getattr__(self, name: str) -> Any:
        hint = did_you_mean(name, [known for known in (*vars(self), *dir(type(self))) if not known.startswith("_")])
        raise AttributeError(": ".join(filter(None, (f"the recorder does not model cuda.{name}", hint))))

    @property
    def laneid(self) -> int:
        return self._current.thread % WARP

    def grid(self, ndim: int) -> Any:
        here, of, size = self.threadIdx, self.blockIdx, self.blockDim
        return _first(ndim, of.x * size.x + here.x, of.y * size.y + here.y, of.z * size.z + here.z)

    def gridsize(self, ndim: int) -> Any:
        blocks, size = self.gridDim, self.blockDim
        return _first(ndim, blocks.x * size.x, blocks.y * size.y, blocks.z * size.z)

    def syncthreads(self) -> None:
        self._wait(_caller(1), None, _nothing, None)

    def syncthreads_count(self, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _count, None)

    def syncthreads_and(self, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _all, None)

    def syncthreads_or(self, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _any, None)

    def syncwarp(self, mask: int = FULL_MASK) -> None:
        self._wait(_caller(1), None, _nothing, mask)

    def shfl_sync(self, mask: int, value: Any, source: int) -> Any:
        return self._wait(_caller(1), (value, int(source) % WARP), _exchange, mask)

    def shfl_up_sync(self, mask: int, value: Any, delta: int) -> Any:
        lane = self.laneid
        return self._wait(_caller(1), (value, lane - delta if lane >= delta else lane), _exchange, mask)

    def shfl_down_sync(self, mask: int, value: Any, delta: int) -> Any:
        lane = self.laneid
        return self._wait(_caller(1), (value, lane + delta if lane + delta < WARP else lane), _exchange, mask)

    def shfl_xor_sync(self, mask: int, value: Any, lanes: int) -> Any:
        return self._wait(_caller(1), (value, (self.laneid ^ lanes) % WARP), _exchange, mask)

    def all_sync(self, mask: int, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _all, mask)

    def any_sync(self, mask: int, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _any, mask)

    def eq_sync(self, mask: int, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _equal, mask)

    def ballot_sync(self, mask: int, predicate: Any) -> int:
        return self._wait(_caller(1), bool(predicate), _ballot, mask)

    def match_any_sync(self, mask: int, value: Any) -> int:
        return self._wait(_caller(1), value, _matches, mask)

    def lanemask_lt(self) -> int:
        return (1 << self.laneid) - 1

    # fences order one thread's own accesses; here they happen in order anyway
    def threadfence(self) -> None:
        pass

    threadfence_block = threadfence_system = threadfence

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c; for float32 the product is exact and the sum rounded in float64 first."""
        kind = np.result_type(a, b, c).type
        return kind(float(a) * float(b) + float(c))

    def popc(self, x: Any) -> int:
        return _bits(x)[0].bit_count()

    def clz(self, x: Any) -> int:
        bits, width = _bits(x)
        return width - bits.bit_length()

    def ffs(self, x: Any) -> int:
        bits, _ = _bits(x)
        return (bits & -bits).bit_length()

    def selp(self, condition: Any, a: Any, b: Any) -> Any:
        return a if condition else b


class _Shared:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> DeviceArray:
        return self._memory.shared(shape, dtype, _caller(1))


class _Local:
    def __init__(self, memory: Memory, current: Current) -> None:
        self._memory, self._current = memory, current

    def array(self, shape: Any, dtype: Any, alignment: int | None = None) -> DeviceArray:
        return self._memory.local(shape, dtype, _caller(1), self._current.thread, self._current.threads)


class _Constant:
    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def array_like(self, data: NDArray | DeviceArray) -> DeviceArray:
        return self._memory.constant("constant", data) if isinstance(data, np.ndarray) else data


class _Atomic:
    """Each returns the old value. Nothing runs in between, as threads change only where they wait."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the recorder does not model cuda.atomic.{name}")

    def add(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: old + cast(value))

    def sub(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: old - cast(value))

    def max(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: max(old, cast(value)))

    def min(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: min(old, cast(value)))

    def and_(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: old & cast(value))

    def or_(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: old | cast(value))

    def xor(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: old ^ cast(value))

    def exch(self, array: DeviceArray, index: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda _, cast: cast(value))

    def cas(self, array: DeviceArray, index: Any, expected: Any, value: Any) -> Any:
        return array.exchange(index, _caller(1), lambda old, cast: cast(value) if old == cast(expected) else old)

    def compare_and_swap(self, array: DeviceArray, expected: Any, value: Any) -> Any:
        return array.exchange(0, _caller(1), lambda old, cast: cast(value) if old == cast(expected) else old)


def _first(ndim: int, x: int, y: int, z: int) -> Any:
    if ndim not in (1, 2, 3):
        raise ValueError(f"a grid has 1, 2 or 3 dimensions, not {ndim}")
    return x if ndim == 1 else (x, y, z)[:ndim]


def _bits(x: Any) -> tuple[int, int]:
    # nothing tells whether it was read from an array of 32 bits: it is of as many where it fits
    width = 32 if -(1 << 31) <= x <= FULL_MASK else 64
    return int(x) & ((1 << width) - 1), width


def _same(values: Values, result: Any) -> Values:
    return dict.fromkeys(values, result)


def _nothing(values: Values) -> Values:
    return _same(values, None)


def _count(values: Values) -> Values:
    return _same(values, sum(values.values()))


def _all(values: Values) -> Values:
    return _same(values, int(all(values.values())))


def _any(values: Values) -> Values:
    return _same(values, int(any(values.values())))


def _equal(values: Values) -> Values:
    return _same(values, int(len(set(values.values())) == 1))


def _ballot(values: Values) -> Values:
    return _same(values, sum(1 << lane for lane, value in values.items() if value))


def _matches(values: Values) -> Values:
    return {lane: sum(1 << other for other, v in values.items() if v == value) for lane, value in values.items()}


def _exchange(values: Values) -> Values:
    return {lane: values[source][0] if source in values else _absent(value) for lane, (value, source) in values.items()}


def _absent(value: Any) -> Any:
    # the lane asked is not there: CUDA leaves the result undefined, so it is poisoned as fresh memory is
    return type(value)(-1 if isinstance(value, (int, np.integer)) else np.nan)
