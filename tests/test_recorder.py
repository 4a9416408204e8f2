"""The recorder: each fault is named by its line and threads, and each count is what arithmetic by hand gives."""

from __future__ import annotations

import inspect
import math
import sys
import time
from typing import Any

import numba
import numpy as np
import pytest
from numba import cuda, float32, int32
from numba import cuda as gpu
from numba.cuda import blockIdx, grid, shared, syncthreads, threadIdx

from kernels.recorder import Fault, RecorderError, Recording, ThreadId, record

TILE = 16
WEIGHTS = np.arange(8, dtype=np.float32)


def _line(kernel: Any, text: str) -> int:
    """The number of the one line of the kernel that contains the text."""
    lines, first = inspect.getsourcelines(getattr(kernel, "py_func", kernel))
    (found,) = (number for number, line in enumerate(lines, first) if text in line)
    return found


def _only(recording: Recording) -> Fault:
    (fault,) = recording.faults
    return fault


def _numbers(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([*shape, seed]).standard_normal(shape, np.float32)


def _product(
    kernel: Any, m: int = 64, k: int = 64, n: int = 64, block: tuple[int, int] = (TILE, TILE), **options: Any
) -> tuple[Recording, np.ndarray, np.ndarray]:
    """The recording of a product, what it computed, and what it should have."""
    a, b, c = _numbers(m, k), _numbers(k, n, seed=1), np.full((m, n), np.nan, np.float32)
    blocks = (-(-max(m, n) // block[0]), -(-max(m, n) // block[1]))
    return record(kernel, blocks, block, a, b, c, **options), c, a.astype(float) @ b


@cuda.jit
def naive(a, b, c):
    i, j = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def coalesced(a, b, c):
    j, i = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


@cuda.jit
def tiled(a, b, c):
    a_tile = cuda.shared.array((TILE, TILE), float32); b_tile = cuda.shared.array((TILE, TILE), float32)  # fmt: skip  # noqa: E702
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        a_tile[y, x] = a[i, start + x] if i < a.shape[0] and start + x < a.shape[1] else float32(0)
        b_tile[y, x] = b[start + y, j] if start + y < b.shape[0] and j < b.shape[1] else float32(0)
        cuda.syncthreads()
        for k in range(TILE):
            total += a_tile[y, k] * b_tile[k, x]
        cuda.syncthreads()
    if i < c.shape[0] and j < c.shape[1]:
        c[i, j] = total


@cuda.jit
def tiled_without_first_barrier(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = a[i, start + x]  # fetch
        for k in range(TILE):
            total += tile[y, k] * b[start + k, j]  # use
        cuda.syncthreads()
    c[i, j] = total


@cuda.jit
def tiled_without_second_barrier(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = a[i, start + x]  # fetch
        cuda.syncthreads()
        for k in range(TILE):
            total += tile[y, k] * b[start + k, j]  # use
    c[i, j] = total


@cuda.jit
def tiled_with_early_return(a, b, c):
    tile = cuda.shared.array((TILE, TILE), float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    if i >= c.shape[0]:
        return  # too early
    total = float32(0)
    for start in range(0, a.shape[1], TILE):
        tile[y, x] = b[start + y, j]
        cuda.syncthreads()  # the first of the loop
        for k in range(TILE):
            total += a[i, start + k] * tile[k, x]  # use
        cuda.syncthreads()  # the second of the loop
    c[i, j] = total


@cuda.jit
def register_tile(a, b, c):
    total = cuda.local.array((2, 2), float32)
    column = cuda.local.array(2, float32)
    x, y = cuda.grid(2)
    for r in range(2):
        for s in range(2):
            total[r, s] = float32(0)
    for k in range(a.shape[1]):
        for r in range(2):
            column[r] = a[2 * y + r, k]
        for s in range(2):
            number = b[k, 2 * x + s]
            for r in range(2):
                total[r, s] += column[r] * number
    for r in range(2):
        for s in range(2):
            c[2 * y + r, 2 * x + s] = total[r, s]


# ---- what is right stays free of faults, and gives the right numbers


@pytest.mark.parametrize("order", ["forward", "reverse", 0, 1])
@pytest.mark.parametrize("kernel", [naive, coalesced, tiled])
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 33, 5), (1, 1, 1), (15, 17, 31)], ids=str)
def test_products_are_right_in_every_order(kernel, shape, order):
    recording, c, expected = _product(kernel, *shape, order=order)
    recording.check()
    np.testing.assert_allclose(c, expected, atol=1e-4)


def test_two_arrays_on_one_line_are_two_arrays():
    recording, *_ = _product(tiled, 16, 16, 16)
    assert [(x.name, x.space) for x in recording.events.arrays[3:]] == [("a_tile", "shared"), ("b_tile", "shared")]
    assert recording.shared_bytes == 2 * TILE * TILE * 4


def test_register_tile():
    a, b, c = _numbers(32, 8), _numbers(8, 32), np.empty((32, 32), np.float32)
    recording = record(register_tile, (1, 1), (16, 16), a, b, c)
    recording.check()
    np.testing.assert_allclose(c, a.astype(float) @ b, atol=1e-4)
    # a thread reads 2 numbers of A and 2 of B per step for its 4 results
    assert recording.counts.per_thread("global", "read") == 4 * 8
    assert recording.counts.per_result("global", "read") == 8


def test_neither_the_kernel_nor_numba_is_changed():
    before = dict(vars(cuda)), dict(tiled.py_func.__globals__)
    _product(tiled, 16, 16, 16)
    assert (dict(vars(cuda)), dict(tiled.py_func.__globals__)) == before
    assert sys.getprofile() is None


def test_float32_is_rounded_as_float32():
    def kernel(x, y):
        total = float32(0)
        for i in range(x.size):
            total += x[i]
        y[0] = total

    x, y = np.array([1e8, 1, -1e8], np.float32), np.empty(1, np.float32)
    record(kernel, (1,), (1,), x, y)
    assert y[0] == 0


def test_overflow_and_nan_pass_without_a_warning():
    def kernel(x):
        x[0] = x[0] * x[0]
        x[1] = x[1] - x[1]

    x = np.array([1e30, np.inf], np.float32)
    record(kernel, (1,), (1,), x).check()
    assert np.isinf(x[0])
    assert np.isnan(x[1])


# ---- coalescing, banks, counts


def test_sectors_by_arithmetic():
    # warps of 32 threads down the rows: 32 sectors of A and C, one number of B for all
    down, *_ = _product(naive, block=(32, 8))
    sectors = {(c.array.name, c.kind): c.sectors for c in down.counts.instructions}
    assert sectors == {("a", "read"): 32, ("b", "read"): 1, ("c", "write"): 32}
    along, *_ = _product(coalesced, block=(32, 8))
    sectors = {(c.array.name, c.kind): c.sectors for c in along.counts.instructions}
    assert sectors == {("a", "read"): 1, ("b", "read"): 4, ("c", "write"): 4}
    # half a warp per row: two numbers of A, two rows of 16 numbers of B, which are 2 sectors each
    halves, *_ = _product(coalesced, block=(16, 16))
    sectors = {(c.array.name, c.kind): c.sectors for c in halves.counts.instructions}
    assert sectors == {("a", "read"): 2, ("b", "read"): 2, ("c", "write"): 4}


def test_counts_by_arithmetic():
    m, k, n = 32, 48, 64
    recording, *_ = _product(tiled, m, k, n)
    counts = recording.counts
    threads = 64 * 64  # the grid is square, half of it outside C
    assert counts.results == m * n
    assert counts.threads["shared", "read"].sum() == threads * 2 * k
    assert counts.threads["shared", "write"].sum() == threads * 2 * k // TILE
    assert counts.threads["global", "read"].sum() == (m * k + k * n) * 64 // TILE
    assert counts.threads["global", "write"].sum() == m * n
    assert counts.per_thread("shared", "read") == 2 * k
    (a_read,) = counts.of(array="a", kind="read")
    assert a_read.accesses == m * k * 64 // TILE
    assert a_read.line == _line(tiled, "a_tile[y, x] =")
    assert counts.of(line=a_read.line, kind="write")[0].array.name == "a_tile"
    # the two reads of one line are two instructions
    assert {c.array.name: c.accesses for c in counts.of(line=_line(tiled, "total +="))} == {
        "a_tile": threads * k,
        "b_tile": threads * k,
    }


def test_sectors_of_views():
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i]

    x = _numbers(33 * 8)
    y = np.empty(32, np.float32)

    def sectors(view):
        recording = record(kernel, (1,), (32,), view, y)
        np.testing.assert_array_equal(y, view)
        return recording.counts.of(array="x")[0].sectors

    assert sectors(x[:32]) == 4
    assert sectors(x[1:33]) == 5  # one number off: 128 bytes touch five sectors
    assert sectors(x[8:40]) == 4
    assert sectors(x[: 2 * 32 : 2]) == 8
    assert sectors(x[31::-1]) == 4
    assert sectors(x.reshape(33, 8).T[0, :32]) == 32


@pytest.mark.parametrize(
    ("pitch", "item", "degree"),
    [
        (32, float32, 32),
        (33, float32, 1),
        (34, float32, 2),
        (48, float32, 16),
        (36, float32, 4),
        (33, numba.float64, 2),
    ],
)
def test_bank_conflicts_of_a_column(pitch, item, degree):
    def kernel(y):
        tile = cuda.shared.array((32, pitch), item)
        i = cuda.threadIdx.x
        for j in range(32):
            tile[j, i] = i  # a row
        cuda.syncthreads()
        y[i] = tile[i, 3]  # a column

    recording = record(kernel, (1,), (32,), np.empty(32, np.float32))
    recording.check()
    assert recording.counts.of(array="tile", kind="read")[0].conflicts == degree
    assert recording.counts.of(array="tile", kind="write")[0].conflicts == (2 if item is numba.float64 else 1)


def test_one_word_for_all_is_no_conflict():
    def kernel(y):
        tile = cuda.shared.array(64, float32)
        tile[cuda.threadIdx.x] = 0
        cuda.syncthreads()
        y[cuda.threadIdx.x] = tile[cuda.threadIdx.x // 16 % 2 * 32]  # words 0 and 32 are of one bank

    recording = record(kernel, (1,), (64,), np.empty(64, np.float32))
    recording.check()
    degrees = recording.counts.of(array="tile", kind="read")[0]
    assert (degrees.warp_accesses, degrees.most_units) == (2, 2)


# ---- indices


def test_index_beyond_the_edge():
    @cuda.jit
    def unguarded(a, b, c):
        j, i = cuda.grid(2)
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]  # sum
        c[i, j] = total

    recording, c, expected = _product(unguarded, 15, 4, 16)
    fault = _only(recording)
    assert (fault.kind, fault.line, fault.array, fault.index) == (
        "out of bounds",
        _line(unguarded, "# sum"),
        "a",
        (15, 0),
    )
    assert fault.threads == (ThreadId((0, 0), (0, 15)),)
    assert fault.count == 16
    np.testing.assert_allclose(c, expected, atol=1e-4)  # the other threads go on
    with pytest.raises(RecorderError, match=r"outside its shape \(15, 4\)") as error:
        recording.check()
    assert error.value.faults == recording.faults


@pytest.mark.parametrize("trace", [True, False])
def test_negative_index_is_a_fault(trace):
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i - 1]

    x, y = _numbers(32), np.zeros(32, np.float32)
    recording = record(kernel, (1,), (32,), x, y, trace=trace)
    fault = _only(recording)
    assert (fault.kind, fault.index, fault.count) == ("negative index", (-1,), 1)
    np.testing.assert_array_equal(y, [0, *x[:-1]])


def test_a_block_with_a_wrong_index_stops_at_its_barrier():
    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = 1
        cuda.syncthreads()
        y[i] = 1

    x, y = np.zeros(48, np.float32), np.zeros(64, np.float32)
    recording = record(kernel, (2,), (32,), x, y)
    assert _only(recording).count == 16
    np.testing.assert_array_equal(y, np.repeat([1, 0], 32))


# ---- barriers


@pytest.mark.parametrize("trace", [True, False])
def test_early_return_before_a_barrier(trace):
    recording, *_ = _product(tiled_with_early_return, 13, 16, 16, trace=trace)
    faults = [fault for fault in recording.faults if fault.kind == "missed barrier"]
    barriers = [_line(tiled_with_early_return, f"# the {which} of") for which in ("first", "second")]
    assert [fault.line for fault in faults] == barriers
    for fault in faults:
        assert fault.other_line == _line(tiled_with_early_return, "# too early")
        assert fault.other_threads == tuple(ThreadId((0, 0), (x, y)) for y in range(13, 16) for x in range(16))
        assert len(fault.threads) == 13 * 16
    # and what comes of it
    unread = [fault for fault in recording.faults if fault.kind == "uninitialised read"]
    assert [fault.line for fault in unread] == ([_line(tiled_with_early_return, "# use")] if trace else [])


@pytest.mark.parametrize("trace", [True, False])
def test_threads_at_different_barriers(trace):
    def kernel(x):
        i = cuda.grid(1)
        if i < 20:
            cuda.syncthreads()  # here
        else:
            cuda.syncthreads()  # there
        x[i] = 1

    x = np.zeros(32, np.float32)
    fault = _only(record(kernel, (1,), (32,), x, trace=trace))
    assert fault.kind == "divergent barrier"
    assert (fault.line, fault.other_line) == (_line(kernel, "# here"), _line(kernel, "# there"))
    assert [who.thread for who in fault.threads] == [(i,) for i in range(20)]
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(20, 32)]
    assert not x.any()


def test_return_is_found_where_a_profiler_is_at_work():
    def kernel(x):
        if cuda.threadIdx.x == 0:
            return
        cuda.syncthreads()

    sys.setprofile(lambda *_: None)
    try:
        fault = _only(record(kernel, (1,), (4,), np.zeros(1)))
    finally:
        sys.setprofile(None)
    assert fault.other_line is None
    assert "returned earlier" in fault.message


def test_lanes_missing_at_a_warp_function():
    def kernel(x):
        i = cuda.threadIdx.x
        if i < 16:
            x[i] = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 1)  # half a warp
        cuda.syncthreads()  # the rest

    fault = _only(record(kernel, (1,), (32,), _numbers(32)))
    assert fault.kind == "missed warp barrier"
    assert (fault.line, fault.other_line) == (_line(kernel, "# half a warp"), _line(kernel, "# the rest"))
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(16, 32)]


def test_barriers_that_count():
    def kernel(x):
        i = cuda.threadIdx.x
        x[0, i] = cuda.syncthreads_count(i % 3 == 0)
        x[1, i] = cuda.syncthreads_and(i < 40)
        x[2, i] = cuda.syncthreads_and(i < 64)
        x[3, i] = cuda.syncthreads_or(i == 63)
        x[4, i] = cuda.syncthreads_or(i == 64)

    x = np.full((5, 64), -1)
    record(kernel, (1,), (64,), x).check()
    np.testing.assert_array_equal(x, np.repeat([[22], [0], [1], [1], [0]], 64, axis=1))


# ---- races


@pytest.mark.parametrize("order", ["forward", "reverse", 3])
@pytest.mark.parametrize("kernel", [tiled_without_first_barrier, tiled_without_second_barrier])
def test_missing_barrier_is_a_race(kernel, order):
    recording, *_ = _product(kernel, 16, 32, 16, order=order)
    races = [fault for fault in recording.faults if fault.kind == "race"]
    assert [(race.line, race.other_line) for race in races] == [(_line(kernel, "# fetch"), _line(kernel, "# use"))]
    assert races[0].array == "tile"
    (writer,), (reader,) = races[0].threads, races[0].other_threads
    assert writer.thread != reader.thread
    assert races[0].index == writer.thread[::-1]  # it is the writer's own place in the tile
    assert races[0].index[0] == reader.thread[1]  # on the reader's row


def test_a_wrong_result_shows_in_one_order_and_not_in_another():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        y[i] = tile[31 - i]

    results = {}
    for order in ("forward", "reverse"):
        y = np.empty(32, np.float32)
        recording = record(kernel, (1,), (32,), y, order=order)
        assert _only(recording).kind == "race"  # and nothing else: that fresh memory is read is its consequence
        results[order] = np.isnan(y)
    assert results["forward"].sum() == results["reverse"].sum() == 16
    assert (results["forward"] != results["reverse"]).all()


def test_a_race_between_two_writers():
    def kernel(y):
        y[0] = cuda.threadIdx.x

    fault = _only(record(kernel, (1,), (2,), np.zeros(1)))
    assert (fault.kind, fault.line, fault.other_line) == ("race", fault.line, fault.line)
    assert {fault.threads[0].thread, fault.other_threads[0].thread} == {(0,), (1,)}


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_a_race_between_blocks_in_spite_of_barriers(order):
    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = i  # write
        cuda.syncthreads()
        y[i] = x[(i + 1) % x.size]  # read

    fault = _only(record(kernel, (4,), (8,), np.zeros(32), np.zeros(32), order=order))
    assert fault.kind == "race between blocks"
    assert (fault.line, fault.other_line) == (_line(kernel, "# write"), _line(kernel, "# read"))
    assert fault.threads[0].block != fault.other_threads[0].block
    assert fault.count == 4  # the last thread of each block reads the next block's first number


def test_overlapping_arguments_race():
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i]

    memory = np.zeros(33)
    assert _only(record(kernel, (1,), (32,), memory[:-1], memory[1:])).kind == "race"
    record(kernel, (1,), (32,), memory[:-1], memory[:-1]).check()


def test_syncwarp_orders_a_warp_and_nothing_more():
    def kernel(y, partner, mask):
        tile = cuda.shared.array(64, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        if mask:
            cuda.syncwarp(mask)
        y[i] = tile[i ^ partner]

    y = np.zeros(64)
    record(kernel, (1,), (64,), y, 1, 0xFFFFFFFF).check()
    np.testing.assert_array_equal(y, np.arange(64) ^ 1)
    assert _only(record(kernel, (1,), (64,), y, 1, 0)).kind == "race"
    assert _only(record(kernel, (1,), (64,), y, 32, 0xFFFFFFFF)).kind == "race"


def test_syncwarp_of_some_lanes_orders_nothing():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        if i < 16:
            cuda.syncwarp(0xFFFF)
            y[i] = tile[i + 16]

    assert _only(record(kernel, (1,), (32,), np.zeros(16))).kind == "race"


def test_epochs_of_different_warps_have_nothing_in_common():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        if i < 32:
            cuda.syncwarp()
            y[i] = tile[i]
        else:
            tile[i - 32] = i

    assert _only(record(kernel, (1,), (64,), np.zeros(32))).kind == "race"


def test_shuffles_do_not_order_memory():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        cuda.shfl_down_sync(0xFFFFFFFF, i, 1)
        y[i] = tile[31 - i]

    assert _only(record(kernel, (1,), (32,), np.zeros(32))).kind == "race"


@cuda.jit
def histogram(numbers, counts):
    bins = cuda.shared.array(8, int32)
    x, i = cuda.threadIdx.x, cuda.grid(1)
    if x < 8:
        bins[x] = 0
    cuda.syncthreads()
    cuda.atomic.add(bins, numbers[i], 1)
    cuda.syncthreads()
    if x < 8:
        cuda.atomic.add(counts, x, bins[x])


@cuda.jit
def histogram_without_atomics(numbers, counts):
    i = cuda.grid(1)
    counts[numbers[i]] += 1  # count


def test_histograms():
    numbers = np.random.default_rng(0).integers(0, 8, 256)
    counts = np.zeros(8, np.int32)
    recording = record(histogram, (4,), (64,), numbers, counts)
    recording.check()
    np.testing.assert_array_equal(counts, np.bincount(numbers, minlength=8))
    assert recording.counts.threads["shared", "atomic"].sum() == 256
    assert recording.counts.threads["global", "atomic"].sum() == 4 * 8
    recording = record(histogram_without_atomics, (4,), (64,), numbers, counts)
    line = _line(histogram_without_atomics, "# count")
    assert {(f.kind, f.line, f.other_line) for f in recording.faults} == {
        ("race", line, line),
        ("race between blocks", line, line),
    }


def test_an_atomic_races_with_a_plain_access():
    def kernel(x, y, plain):
        i = cuda.threadIdx.x
        if i == plain:
            y[0] = x[0]
        else:
            cuda.atomic.add(x, 0, 1)

    assert _only(record(kernel, (1,), (3,), np.zeros(1), np.zeros(1), 1)).kind == "race"
    record(kernel, (1,), (3,), np.zeros(1), np.zeros(1), 5).check()


# ---- fresh memory


def test_fresh_memory_is_poisoned_and_its_reads_are_faults():
    def kernel(x, y, z):
        kept = cuda.shared.array(4, float32)
        own = cuda.local.array(4, float32)
        whole = cuda.shared.array(4, int32)
        i = cuda.threadIdx.x
        own[1] = 1
        x[i] = kept[i]  # shared
        y[i] = own[i]  # local
        z[i] = whole[i]  # integers

    x, y, z = np.zeros(4, np.float32), np.zeros(4, np.float32), np.zeros(4, np.int32)
    recording = record(kernel, (1,), (4,), x, y, z)
    assert [(f.kind, f.line, f.count) for f in recording.faults] == [
        ("uninitialised read", _line(kernel, "# shared"), 4),
        ("uninitialised read", _line(kernel, "# local"), 3),
        ("uninitialised read", _line(kernel, "# integers"), 4),
    ]
    assert np.isnan(x).all()
    np.testing.assert_array_equal(np.isnan(y), [True, False, True, True])
    np.testing.assert_array_equal(z, -1)


@pytest.mark.parametrize("where", ["shared", "dynamic", "local"])
def test_every_block_starts_with_fresh_memory(where):
    def kernel(y):
        if where == "local":
            kept = cuda.local.array(1, float32)
        else:
            kept = cuda.shared.array(1 if where == "shared" else 0, float32)
        if cuda.blockIdx.x == 0:
            kept[0] = 1
        y[cuda.blockIdx.x] = kept[0]

    y = np.zeros(2)
    fault = _only(record(kernel, (2,), (1,), y, shared_bytes=4))
    assert fault.threads == (ThreadId((1,), (0,)),)
    np.testing.assert_array_equal(y, [1, np.nan])


def test_every_thread_has_its_own_local_memory():
    def kernel(y):
        own = cuda.local.array(1, float32)
        i = cuda.threadIdx.x
        if i == 0:
            own[0] = 1
        y[i] = own[0]

    fault = _only(record(kernel, (1,), (2,), np.zeros(2)))
    assert (fault.kind, fault.threads) == ("uninitialised read", (ThreadId((0,), (1,)),))


# ---- what kernels are written with


@cuda.jit
def warp_sum(x, sums):
    i = cuda.grid(1)
    total = x[i]
    step = 16
    while step:
        total += cuda.shfl_down_sync(0xFFFFFFFF, total, step)
        step //= 2
    if cuda.laneid == 0:
        cuda.atomic.add(sums, cuda.blockIdx.x, total)


def test_sum_by_shuffles():
    x = np.arange(256, dtype=np.int64)
    sums = np.zeros(2, np.int64)
    record(warp_sum, (2,), (128,), x, sums).check()
    np.testing.assert_array_equal(sums, x.reshape(2, 128).sum(axis=1))


def test_warp_functions():
    def kernel(x):
        i = cuda.laneid
        x[0, i] = cuda.shfl_sync(0xFFFFFFFF, i, 5)
        x[1, i] = cuda.shfl_up_sync(0xFFFFFFFF, i, 2)
        x[2, i] = cuda.shfl_down_sync(0xFFFFFFFF, i, 2)
        x[3, i] = cuda.shfl_xor_sync(0xFFFFFFFF, i, 1)
        x[4, i] = cuda.ballot_sync(0xFFFFFFFF, i % 2)
        x[5, i] = cuda.all_sync(0xFFFFFFFF, i < 31) + 2 * cuda.any_sync(0xFFFFFFFF, i == 31)
        x[6, i] = cuda.match_any_sync(0xFFFFFFFF, i // 16)
        x[7, i] = cuda.popc(cuda.lanemask_lt()) + cuda.warpsize * cuda.eq_sync(0xFFFFFFFF, 1)

    x = np.zeros((8, 32), np.int64)
    record(kernel, (1,), (32,), x).check()
    i = np.arange(32)
    expected = [
        np.full(32, 5), np.where(i < 2, i, i - 2), np.where(i < 30, i + 2, i), i ^ 1,
        np.full(32, 0xAAAAAAAA), np.full(32, 2), np.where(i < 16, 0xFFFF, 0xFFFF0000), i + 32,
    ]  # fmt: skip
    np.testing.assert_array_equal(x, expected)


def test_a_shuffle_from_an_absent_lane_is_poisoned():
    def kernel(x):
        i = cuda.laneid
        if i < 16:
            x[i] = cuda.shfl_down_sync(0xFFFF, x[i], 8)

    x = np.arange(16, dtype=np.float32)
    record(kernel, (1,), (32,), x).check()
    np.testing.assert_array_equal(x, [*range(8, 16), *[np.nan] * 8])


def test_atomics_return_the_old_value():
    def kernel(x, old):
        old[0] = cuda.atomic.add(x, 0, 2)
        old[1] = cuda.atomic.sub(x, 1, 2)
        old[2] = cuda.atomic.max(x, 2, 99)
        old[3] = cuda.atomic.min(x, (3,), -99)
        old[4] = cuda.atomic.exch(x, 4, 7)
        old[5] = cuda.atomic.cas(x, 5, 15, 8)
        old[6] = cuda.atomic.cas(x, 6, 15, 8)

    x, old = np.arange(10, 17, dtype=np.int32), np.zeros(7, np.int32)
    record(kernel, (1,), (1,), x, old).check()
    np.testing.assert_array_equal(old, range(10, 17))
    np.testing.assert_array_equal(x, [12, 9, 99, -99, 7, 8, 16])


def test_atomic_outside_is_a_fault():
    def kernel(x):
        cuda.atomic.add(x, 9, 1)

    assert _only(record(kernel, (1,), (1,), np.zeros(4))).kind == "out of bounds"


def test_dynamic_shared_memory():
    def kernel(y):
        whole = cuda.shared.array(0, float32)
        left, right = whole[:32], whole[32:]
        i = cuda.threadIdx.x
        left[i] = i
        right[i] = 10 * i
        cuda.syncthreads()
        y[i] = whole[63 - i] + left[31 - i]

    y = np.zeros(32)
    recording = record(kernel, (1,), (32,), y, shared_bytes=256)
    recording.check()
    np.testing.assert_array_equal(y, 11 * np.arange(31, -1, -1))
    assert recording.shared_bytes == 256
    assert [f.kind for f in record(kernel, (1,), (32,), y, shared_bytes=128).faults] == ["out of bounds"]


def test_rows_and_slices_are_views():
    def kernel(x, y):
        row = x[2]
        part = x[1:3, ::2]
        y[0] = row[3]
        y[1] = part[1, 1]
        y[2] = x[3][1]
        row[0] = 7

    x, y = _numbers(4, 4), np.zeros(3, np.float32)
    recording = record(kernel, (1,), (1,), x, y)
    recording.check()
    assert [event.index for event in recording.events if event.array.name == "x"] == [(2, 3), (2, 2), (3, 1), (2, 0)]
    np.testing.assert_array_equal(y, [x[2, 3], x[2, 2], x[3, 1]])
    assert x[2, 0] == 7


@cuda.jit(device=True)
def below(x, i):
    return x[i - 1] if i > 0 else float32(0)


@cuda.jit(device=True)
def factorial(n):
    return n * factorial(n - 1) if n > 1 else 1


@cuda.jit
def calls(x, y):
    i = gpu.grid(1)
    y[i] = below(x, i) + factorial(3)


def test_device_functions():
    x, y = _numbers(8), np.zeros(8, np.float32)
    recording = record(calls, (2,), (4,), x, y)
    recording.check()
    np.testing.assert_array_equal(y, np.float32(6) + np.append(np.float32(0), x[:-1]))
    (read,) = recording.counts.of(array="x")
    assert (read.site.function, read.line) == ("below", _line(below, "return"))


def test_names_imported_from_numba_cuda():
    @cuda.jit
    def kernel(y):
        tile = shared.array(4, float32)
        i = grid(1)
        tile[threadIdx.x] = i
        syncthreads()
        y[i] = tile[3 - threadIdx.x] + 100 * blockIdx.x + numba.cuda.gridsize(1) * 1000

    y = np.zeros(8)
    record(kernel, (2,), (4,), y).check()
    np.testing.assert_array_equal(y, 8000 + np.array([3, 2, 1, 0, 107, 106, 105, 104]))


def test_constants_functions_and_three_dimensions():
    @cuda.jit
    def kernel(y):
        weights = cuda.const.array_like(WEIGHTS)
        x, z = cuda.threadIdx.x, cuda.threadIdx.z
        i = x + 2 * cuda.threadIdx.y + 4 * z
        cuda.threadfence()
        y[i] = cuda.fma(weights[i], float32(2), math.sqrt(float32(9)))
        assert (*cuda.grid(3),) == (x, cuda.threadIdx.y, z)

    y = np.zeros(8)
    recording = record(kernel, (1,), (2, 2, 2), y)
    recording.check()
    np.testing.assert_array_equal(y, 2 * np.arange(8) + 3)
    assert recording.counts.threads["constant", "read"].sum() == 8


# ---- the trace


def test_events_tell_who_did_what_when():
    def kernel(x, y):
        tile = cuda.shared.array(2, float32)
        i = cuda.threadIdx.x
        tile[i] = x[i, 0]
        cuda.syncthreads()
        y[i] = tile[1 - i]

    recording = record(kernel, (1,), (2,), _numbers(2, 3), np.zeros(2), order="reverse")
    told = [
        (event.who.thread[0], event.interval, event.site.kind, event.array.name, event.index)
        for event in recording.events
    ]
    assert told == [
        (1, 0, "read", "x", (1, 0)), (1, 0, "write", "tile", (1,)),
        (0, 0, "read", "x", (0, 0)), (0, 0, "write", "tile", (0,)),
        (1, 1, "read", "tile", (0,)), (1, 1, "write", "y", (1,)),
        (0, 1, "read", "tile", (1,)), (0, 1, "write", "y", (0,)),
    ]  # fmt: skip
    assert [(b.block, b.interval, b.line) for b in recording.events.barriers] == [(0, 0, _line(kernel, "syncthreads"))]


def test_the_order_of_threads_and_blocks():
    def kernel(x):
        x[cuda.grid(1)] = 0

    def order(**options: Any) -> list[int]:
        recording = record(kernel, (4,), (8,), np.zeros(32), **options)
        return [event.index[0] for event in recording.events]

    assert order() == list(range(32))
    assert order(order="reverse") == list(range(31, -1, -1))
    assert order(order=1) == order(order=1) != order(order=2)
    assert sorted(order(order=1)) == order() != order(order=1)


def test_events_have_a_limit_and_counts_have_none():
    recording, *_ = _product(tiled, 16, 16, 16, max_events=100)
    assert len(recording.events) == 100
    assert recording.events.dropped == 256 * (4 + 32 + 1) - 100
    assert recording.counts.per_thread("shared", "read") == 32


def test_without_trace_there_is_nothing_but_the_result():
    recording, c, expected = _product(tiled, 16, 16, 16, trace=False)
    np.testing.assert_allclose(c, expected, atol=1e-4)
    assert len(recording.events) == 0
    assert recording.counts.instructions == ()


# ---- what is refused


@pytest.mark.parametrize(("blocks", "threads"), [((0,), (1,)), ((1,), (33, 32)), ((1, 1, 1, 1), (1,)), ((1.0,), (1,))])
def test_launches_that_no_gpu_would_take(blocks, threads):
    with pytest.raises(ValueError, match=r"block|grid"):
        record(naive, blocks, threads)


def test_refused():
    x = np.zeros(4)
    with pytest.raises(ValueError, match="'sideways'"):
        record(calls, (1,), (1,), x, x, order="sideways")
    with pytest.raises(TypeError, match="missing a required argument"):
        record(calls, (1,), (1,), x)
    with pytest.raises(TypeError, match="not list"):
        record([], (1,), (1,))

    with pytest.raises(TypeError, match="y must be a NumPy array or a number, not list"):
        record(calls, (1,), (1,), x, [0])

    def cooperative(x):
        cuda.cg.this_grid()

    with pytest.raises(AttributeError, match=r"does not model cuda\.cg") as error:
        record(cooperative, (1,), (1,), x)
    assert error.value.__notes__ == ["in thread 0 of block 0 of the recorded kernel"]

    def fill(x):
        x[:] = 0

    with pytest.raises(TypeError, match="one element at a time"):
        record(fill, (1,), (1,), x)

    def changing(x):
        tile = cuda.shared.array(4 + cuda.threadIdx.x, float32)  # noqa: F841

    with pytest.raises(TypeError, match="must be constants"):
        record(changing, (1,), (2,), x)


@pytest.mark.parametrize(("trace", "seconds"), [(True, 10), (False, 1)])
def test_it_is_quick_enough_to_play_with(trace, seconds):
    def run() -> float:
        start = time.process_time()
        _product(tiled, trace=trace)[0].check()
        return time.process_time() - start

    assert min(run() for _ in range(3 if not trace else 1)) < seconds
