"""The ten exercises, in the order in which they build on each other."""

from __future__ import annotations

from collections import Counter
from math import prod

from experiments.exercises import _data
from experiments.exercises._task import Launch, Missed, Shape, Task, at_most, at_work, total, worst
from kernels.nearest import did_you_mean
from kernels.recorder import Recording

__all__ = ["TASKS", "find"]

_TILE = 8
_ROWS = 4  # of C for each thread of register_tile
_RAGGED = ((8, 8, 8), (9, 7, 13), (1, 1, 1), (16, 17, 20))


def _covered(length: int, each: int) -> int:
    return -(-length // each)


def _line(threads: int) -> Launch:
    return (_covered(threads, 32),), (32,)


def _tiles(size: Shape) -> Launch:
    return (_covered(size[1], _TILE), _covered(size[0], _TILE)), (_TILE, _TILE)


def _once(recording: Recording, size: Shape) -> Missed | None:
    results = recording.counts.results
    return at_most(
        total(recording, "write", space="global"),
        results,
        f"it writes global memory {{}} times for {results} results",
        "keep what grows in a local variable, and store it once at the end",
    )


def _each_its_own(recording: Recording, size: Shape) -> Missed | None:
    """A thread for every result."""
    return at_work(recording, "write", prod(size[:2]), "store")


def _one_read_each(recording: Recording, size: Shape) -> Missed | None:
    return _once(recording, size) or at_most(
        total(recording, "read"),
        size[0],
        "it reads {} numbers, and {} would do",
        "what is used twice can wait in a local variable",
    )


def _one_element_each(recording: Recording, size: Shape) -> Missed | None:
    return _each_its_own(recording, size) or _one_read_each(recording, size)


def _k_reads(recording: Recording, size: Shape) -> Missed | None:
    m, n, k = size
    missed = _each_its_own(recording, size) or _once(recording, size)
    return missed or at_most(
        total(recording, "read"), 2 * m * n * k, "it reads {} numbers, and {} would do", "a row of a and a column of b"
    )


def _coalesced(recording: Recording, size: Shape) -> Missed | None:
    dearest = worst(recording, "global")
    return at_most(
        dearest.sectors,
        4,
        f"at line {dearest.line} a warp touches {{}} sectors of {dearest.array.name} at each access, and {{}} would do",
        "the 32 threads of a warp have neighbouring threadIdx.x: which index should that be, so that they touch "
        "neighbours in memory?",
    )


def _coalesced_product(recording: Recording, size: Shape) -> Missed | None:
    return _each_its_own(recording, size) or _coalesced(recording, size)


def _strided(recording: Recording, size: Shape) -> Missed | None:
    reads = recording.counts.threads["global", "read"]
    return (
        _one_read_each(recording, size)
        or at_most(
            int(reads.max() - reads.min()),
            1,
            "one thread reads {} numbers more than another, and {} is allowed",
            "all threads of the grid start side by side and step on by the width of the whole grid",
        )
        or _coalesced(recording, size)
    )


def _two_reads_a_tile(recording: Recording, size: Shape) -> Missed | None:
    tiles = _covered(size[2], _TILE)
    most = int(recording.counts.threads["global", "read"].max())
    return _once(recording, size) or at_most(
        most,
        2 * tiles,
        f"a thread reads global memory {{}} times for {tiles} tiles, and {{}} would do",
        "each thread fetches one number of a and one of b for the whole block; the rest comes from shared memory",
    )


def _one_barrier_a_tile(recording: Recording, size: Shape) -> Missed | None:
    tiles = _covered(size[2], _TILE)
    met = Counter(barrier.block for barrier in recording.events.barriers)
    return _two_reads_a_tile(recording, size) or at_most(
        max(met.values(), default=0),
        tiles + 1,  # the first tile may be fetched ahead of the loop
        f"a block waits at {{}} barriers for {tiles} tiles, and {{}} would do",
        "the next tile goes where nobody reads any more: which of the two barriers is then not needed?",
    )


def _no_conflict(recording: Recording, size: Shape) -> Missed | None:
    missed = _each_its_own(recording, size) or _coalesced(recording, size)
    dearest = worst(recording, "shared")
    if missed or dearest is None:
        return missed
    return at_most(
        dearest.conflicts,
        1,
        f"at line {dearest.line} the banks of shared memory need {{}} turns for an access of a warp, and {{}} would do",
        "number p of shared memory lies in bank p % 32: in which bank does each number of a column lie? What if a row "
        "were one longer?",
    )


def _reads_of_b(recording: Recording, size: Shape) -> Missed | None:
    m, n, k = size
    missed = at_work(recording, "write", _covered(m, _ROWS) * n, "store") or _once(recording, size)
    return missed or at_most(
        total(recording, "read", "b"),
        _covered(m, _ROWS) * n * k,
        "it reads {} numbers of b, and {} would do",
        f"a number of b, once read, serves all {_ROWS} rows of its thread: keep it in a variable",
    )


def _atomics(recording: Recording, size: Shape) -> Missed | None:
    return at_work(recording, "read", size[0], "read") or at_most(
        total(recording, "atomic", "counts"),
        max(size[0], 10),  # a block may count for itself, and add up its ten numbers at the end
        "it makes {} atomic updates of counts, and {} would do",
        "one for each digit",
    )


def _by_shuffles(recording: Recording, size: Shape) -> Missed | None:
    return (
        at_most(
            total(recording, "atomic"),
            0,
            "it makes {} atomic updates, and {} would do",
            "threads that add to one number stand in a queue; shuffles let a warp add in five steps",
        )
        or at_most(
            total(recording, "write", space="shared"),
            2,
            "it writes shared memory {} times, and {} would do, once for each warp",
            "within a warp, shfl_down_sync hands numbers from register to register",
        )
        or at_most(total(recording, "read", "x"), size[0], "it reads {} numbers, and {} would do", "each number once")
        or at_work(recording, "read", min(size[0], 64), "read")
    )


TASKS = (
    Task(
        "one_thread_per_element",
        "a thread for each number, and threads with nothing to do",
        "each number read once and written once",
        ((32,), (1,), (70,)),
        _data.elementwise,
        lambda size: _line(size[0]),
        _one_element_each,
        {"out of bounds": "there are more threads than numbers: which threads have none?"},
    ),
    Task(
        "one_thread_per_result",
        "c = a·b: every c(i,j) at the same time",
        "2·K reads for each c(i,j), one write",
        _RAGGED,
        _data.product,
        _tiles,
        _k_reads,
        {"wrong": "c(i,j) is row i of a times column j of b; cuda.grid(2) gives x first, and x counts columns here"},
    ),
    Task(
        "coalesce",
        "the same product, and a warp that reads neighbours",
        "at most 4 sectors for each access of a warp",
        ((32, 32, 8), (5, 40, 24), (33, 64, 16)),
        _data.product,
        lambda size: ((_covered(size[1], 32), _covered(size[0], 4)), (32, 4)),
        _coalesced_product,
        {},
    ),
    Task(
        "grid_stride",
        "a grid of fixed size for any number of elements",
        "all threads share the work evenly, side by side",
        ((64,), (1,), (100,), (333,)),
        _data.elementwise,
        lambda size: ((2,), (32,)),
        _strided,
        {"unwritten": "the grid has 64 threads, whatever the size: each has to go on to another element"},
    ),
    Task(
        "histogram",
        "many threads that add to one number",
        "no update is lost, one atomic update for each digit",
        ((32,), (7,), (100,)),
        _data.histogram,
        lambda size: _line(size[0]),
        _atomics,
        {
            "race": "read, add, write are three steps, and another thread may come in between; "
            "cuda.atomic.add(array, index, number) is one"
        },
    ),
    Task(
        "shared_tile",
        "the threads of a block fetch tiles together, and wait for each other",
        "at most 2 global reads for each thread and tile",
        _RAGGED,
        _data.product,
        _tiles,
        _two_reads_a_tile,
        {},
    ),
    Task(
        "transpose",
        "banks of shared memory",
        "at most 4 sectors, no bank conflict",
        ((32, 32), (40, 56), (8, 64)),
        _data.transposed,
        lambda size: ((_covered(size[1], 32), _covered(size[0], 32)), (32, 32)),
        _no_conflict,
        {},
    ),
    Task(
        "register_tile",
        "several c(i,j) for each thread, so that a number fetched serves them all",
        "a number of b is read once for 4 rows",
        ((32, 8, 8), (9, 7, 13), (1, 1, 1), (35, 9, 5)),
        _data.product,
        lambda size: ((_covered(size[1], _TILE), _covered(size[0], _TILE * _ROWS)), (_TILE, _TILE)),
        _reads_of_b,
        {},
    ),
    Task(
        "double_buffer",
        "fetch the next tile while this one is in use",
        "one barrier for each tile",
        _RAGGED,
        _data.product,
        _tiles,
        _one_barrier_a_tile,
        {},
    ),
    Task(
        "reduce_with_shuffles",
        "the threads of a warp hand each other registers",
        "no atomics, one shared number for each warp",
        ((64,), (1,), (50,), (200,)),
        _data.summed,
        lambda size: ((1,), (64,)),
        _by_shuffles,
        {},
    ),
)


def find(name: str) -> Task:
    """The exercise of that name. Raises LookupError, with the nearest name, where there is none."""
    for task in TASKS:
        if task.name == name:
            return task
    names = [task.name for task in TASKS]
    hint = did_you_mean(name, names) or f"the exercises are {', '.join(names)}"
    raise LookupError(f"there is no exercise {name!r}: {hint}")
