"""What the recorder counts is what arithmetic by hand gives; what it traces is what happened."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba import cuda, float32

from kernels.recorder import record
from tests.recorder_samples import (
    TILE,
    coalesced,
    line_of,
    naive,
    numbers,
    product,
    tiled,
)


def test_sectors_by_arithmetic():
    # warps of 32 threads down the rows: 32 sectors of A and C, one number of B for all
    down, *_ = product(naive, 32, 32, 32, block=(32, 8))
    sectors = {(c.array.name, c.kind): c.sectors for c in down.counts.instructions}
    assert sectors == {("a", "read"): 32, ("b", "read"): 1, ("c", "write"): 32}
    along, *_ = product(coalesced, 32, 32, 32, block=(32, 8))
    sectors = {(c.array.name, c.kind): c.sectors for c in along.counts.instructions}
    assert sectors == {("a", "read"): 1, ("b", "read"): 4, ("c", "write"): 4}
    # half a warp per row: two numbers of A, two rows of 16 numbers of B, which are 2 sectors each
    halves, *_ = product(coalesced, 32, 32, 32, block=(16, 16))
    sectors = {(c.array.name, c.kind): c.sectors for c in halves.counts.instructions}
    assert sectors == {("a", "read"): 2, ("b", "read"): 2, ("c", "write"): 4}


def test_counts_by_arithmetic():
    m, k, n = 32, 48, 64
    recording, *_ = product(tiled, m, k, n)
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
    assert a_read.line == line_of(tiled, "a_tile[y, x] =")
    assert counts.of(line=a_read.line, kind="write")[0].array.name == "a_tile"
    # the two reads of one line are two instructions
    assert {c.array.name: c.accesses for c in counts.of(line=line_of(tiled, "total +="))} == {
        "a_tile": threads * k,
        "b_tile": threads * k,
    }


def test_what_is_only_updated_is_a_result_too():
    def kernel(digits, counts):
        cuda.atomic.add(counts, digits[cuda.grid(1)], 1)

    digits = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    counts = record(kernel, (2,), (4,), digits, np.zeros(10, np.int32)).counts
    assert counts.results == 3
    assert counts.per_result("global", "atomic") == 8 / 3


def test_sectors_of_views():
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i]

    x = numbers(33 * 8)
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


def test_the_worst_access_of_all_intervals_is_kept():
    def kernel(y):
        tile = cuda.shared.array((32, 32), float32)
        i = cuda.threadIdx.x
        for column in range(32):
            tile[i, column] = 0
        cuda.syncthreads()
        for pitch in (1, 0):
            y[i] = tile[i * pitch, i * (1 - pitch)]  # a column, then a row
            cuda.syncthreads()

    recording = record(kernel, (1,), (32,), np.empty(32, np.float32))
    recording.check()
    (reads,) = recording.counts.of(array="tile", kind="read")
    assert (reads.warp_accesses, reads.units, reads.most_units) == (2, 32 + 1, 32)


def test_events_tell_who_did_what_when():
    def kernel(x, y):
        tile = cuda.shared.array(2, float32)
        i = cuda.threadIdx.x
        tile[i] = x[i, 0]
        cuda.syncthreads()
        y[i] = tile[1 - i]

    recording = record(kernel, (1,), (2,), numbers(2, 3), np.zeros(2), order="reverse")
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
    assert [tuple(barrier) for barrier in recording.events.barriers] == [(0, 0, line_of(kernel, "syncthreads"), ())]


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
    recording, *_ = product(tiled, 16, 16, 16, max_events=100)
    assert len(recording.events) == 100
    assert recording.events.dropped == 256 * (4 + 32 + 1) - 100
    assert recording.counts.per_thread("shared", "read") == 32


def test_without_trace_there_is_nothing_but_the_result():
    recording, c, expected = product(tiled, 16, 16, 16, trace=False)
    np.testing.assert_allclose(c, expected, atol=1e-4)
    assert len(recording.events) == 0
    assert recording.counts.instructions == ()


def test_the_worst_warp_of_an_access_is_told():
    def kernel(y):
        tile = cuda.shared.array((32, 32), float32)
        i, warp = cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        for row in range(32):
            tile[row, i] = 0
        cuda.syncthreads()
        y[cuda.threadIdx.x] = tile[i * warp, i * (1 - warp)]  # the first warp reads a row, the second a column

    (count,) = record(kernel, (1,), (64,), np.empty(64, np.float32)).counts.of(array="tile", kind="read")
    assert (count.warp_accesses, count.units, count.most_units) == (2, 33, 32)


def test_an_array_begins_a_sector_whatever_lies_before_it():
    def kernel(x, y, z):
        z[cuda.threadIdx.x] = y[cuda.threadIdx.x] + x[0]

    y, z = np.zeros(32, np.float32), np.zeros(32, np.float32)
    counts = record(kernel, (1,), (32,), np.zeros(5, np.float32), y, z).counts
    assert [counts.of(array=name)[0].sectors for name in "xyz"] == [1, 4, 4]
