"""Runs a CUDA kernel written for Numba, unchanged and without a GPU, and tells what its threads do to each other.

>>> from kernels.recorder import record
>>> recording = record(kernel, grid, block, a, b, c)
>>> recording.check()  # RecorderError names each fault by its source line
>>> [count.sectors for count in recording.counts.of(array="a", kind="read")]

Reported: indices outside an array (negative ones too: Numba would wrap them round), barriers that some threads do not
reach, data races in shared and global memory, reads of shared or local memory that nobody has written. Counted:
accesses per instruction, thread and result, 32-byte sectors of global memory and bank conflicts of shared memory.

Not modelled
- Time: neither latency, occupancy, registers nor caches. Counts are exact, speeds are not to be had from them.
- Weak memory order: a thread sees what was written before it runs. Fences order nothing here, so the pattern "the last
  block to arrive adds up the others' results" is reported as a race, though fence and atomic counter make it right.
- Interleaving: threads change only at barriers and warp functions. Races are found from the addresses, not from wrong
  results, so one order suffices; try other orders to see results change.
- syncwarp orders memory only where all lanes of a warp meet at it; shuffles and votes never do.
- Independent lanes: the lanes named in a mask have to meet at one call, as chips before Volta (2017) need it; newer
  ones also let them meet at calls in different branches.
- Reconvergence: the k-th access of each lane at one site since the last barrier counts as one access of the warp.
  A loop whose lanes skip different passes is then grouped more generously than a GPU would.
- Races and first writes are compared by the first byte of an element: of dynamic shared memory seen as two item sizes,
  races may escape and reads may wrongly be called uninitialised.
- Atomic functions whose old value nobody uses: each counts as a read too, so exch cannot initialise shared memory.
- Atomic functions of all lanes on one element: they wait in a queue on a GPU, and count as one turn of the banks here.
- Waiting in a loop for what another thread will write: a thread runs on to its next barrier, so it would wait for ever.
- Code that was generated with one source position for all, or run with -X no_debug_ranges: what Python has copied then
  counts as several places, and what shares a position as one.
- Barriers in loops are matched by their place, not by the pass: threads that skip different passes of one loop meet.
- Cooperative grids, streams, textures, vector types, records, libdevice; iterating over an array, its transpose, and
  arguments that are tuples.

Numbers are NumPy scalars, so float32 arithmetic is rounded as on a GPU, but one product and sum may there be fused into
a single rounding. Integers read from an array have 64 bits, as Numba computes with them, and are cut to the width of
the array they are stored in; unsigned ones are signed then, so that a difference may be negative, where Numba's wraps
round. What int32(x) and its like make keeps its width here. Python's own int and float are wider: `x * 0.5` stays
float32 here and is float64 in Numba, and sums of Python's integers never overflow. A comparison makes NumPy's truth, of
which two add up to one at most, and none can be subtracted: int(x > 0) can. Functions of `math` return float64, and
raise where a GPU makes NaN or Inf, as a division of Python's numbers by zero does. popc, clz and ffs see 32 bits where
a number fits them.

Limits: memory grows with the longest barrier interval of one block (about 200 bytes per access), by 24 bytes per
element of the arguments, and by 28 bytes per event up to max_events; later events are dropped, but still counted.
"""

from __future__ import annotations

import inspect
import operator
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from numbers import Number
from typing import Any

import numpy as np

from kernels.recorder.analysis import Analysis
from kernels.recorder.arrays import widened
from kernels.recorder.counts import Count, Counts
from kernels.recorder.events import Barrier, Event, Events, Stranded
from kernels.recorder.faults import Fault, FaultKind, Faults, RecorderError, ThreadId, Threads, position
from kernels.recorder.intrinsics import Intrinsics
from kernels.recorder.memory import Array, Memory, Space
from kernels.recorder.schedule import Meeting, Order, Schedule
from kernels.recorder.sites import Kind, Site, Sites
from kernels.recorder.substitute import python_function, substituted

__all__ = [
    "Array",
    "Barrier",
    "Count",
    "Counts",
    "Event",
    "Events",
    "Fault",
    "FaultKind",
    "Kind",
    "Order",
    "RecorderError",
    "Recording",
    "Site",
    "Space",
    "Stranded",
    "ThreadId",
    "record",
]

# what every GPU takes at most
_MAX_THREADS = 1024  # of a block
_MAX_BLOCK, _MAX_GRID = (1024, 1024, 64), (2**31 - 1, 65_535, 65_535)


@dataclass(frozen=True)
class Recording:
    """What a launch did. Without trace, faults are only indices and barriers, and counts and events are empty.

    shared_bytes: shared memory of a block, dynamic and static.
    """

    grid: tuple[int, ...]
    block: tuple[int, ...]
    faults: tuple[Fault, ...]
    counts: Counts
    events: Events
    shared_bytes: int

    def check(self) -> None:
        """Raises RecorderError if there is any fault."""
        if self.faults:
            raise RecorderError(self.faults)


def record(
    kernel: Callable[..., Any],
    grid: int | tuple[int, ...],
    block: int | tuple[int, ...],
    *arguments: Any,
    trace: bool = True,
    order: Order = "forward",
    shared_bytes: int = 0,
    max_events: int = 1_000_000,
) -> Recording:
    """Run kernel[grid, block](*arguments) thread by thread; arrays are NumPy's, and written to as on a GPU.

    kernel: what @cuda.jit makes of a function, or the function. grid, block: 1 to 3 numbers, x first. shared_bytes: of
    dynamic shared memory. order: of the threads between barriers and of the blocks, "forward", "reverse" or a seed to
    shuffle with. trace=False only runs the kernel, several times faster. A thread that uses a wrong index is stopped,
    its block at the next barrier; other blocks go on.
    Raises ValueError for a launch no GPU would take or shared arrays that none can hold, TypeError for what the
    recorder cannot run (an array written to a slice), and whatever the kernel itself raises.
    """
    grid, block = _extents("grid", grid, _MAX_GRID), _extents("block", block, _MAX_BLOCK)
    if prod(block) > _MAX_THREADS:
        raise ValueError(f"a block has at most {_MAX_THREADS} threads, not {prod(block)} ({block})")
    function = python_function(kernel)
    sites, faults, names = Sites(), Faults(), Threads(grid, block)
    log: array[int] = array("q")
    memory = Memory(sites, log, trace, shared_bytes)
    placed = [
        memory.argument(name, argument) if isinstance(argument, np.ndarray) else _scalar(name, argument)
        for name, argument in inspect.signature(function).bind(*arguments).arguments.items()
    ]
    analysis = Analysis(names, sites, memory, faults, max_events)

    def interval_ends(met: Meeting | None) -> None:
        if trace:
            analysis.interval_ends(log, schedule.segments, met)
            del log[:]
        schedule.segments.clear()

    schedule = Schedule(names, order, sites, faults, log, interval_ends)
    cuda = Intrinsics(memory, schedule.current, grid, block)
    bound = substituted(function, cuda, memory)
    for number in schedule.ordered(range(prod(grid))):
        cuda.blockIdx.move(*(*position(number, grid), 0, 0)[:3])
        memory.start_block()
        analysis.start_block(number)
        schedule.run(number, bound, placed, cuda)
    return Recording(
        grid, block, faults.all(), analysis.counts(), analysis.events(schedule.stranded), memory.shared_bytes
    )


def _scalar(name: str, value: Any) -> Any:
    if not isinstance(value, (Number, np.generic)):
        raise TypeError(f"{name} must be a NumPy array or a number, not {type(value).__name__}")
    return widened(value)


def _extents(name: str, asked: int | tuple[int, ...], most: tuple[int, int, int]) -> tuple[int, ...]:
    try:
        numbers = tuple(map(operator.index, asked if isinstance(asked, (tuple, list)) else (asked,)))
    except TypeError:
        numbers = ()
    if not 1 <= len(numbers) <= 3 or min(numbers) < 1:
        raise ValueError(f"the {name} is one to three whole numbers of at least 1, not {asked!r}")
    if any(n > limit for n, limit in zip(numbers, most, strict=False)):
        raise ValueError(f"the {name} is at most {most}, not {numbers}")
    return numbers
