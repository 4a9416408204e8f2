"""Races: both lines and threads are named, and what is ordered is no race."""

from __future__ import annotations

import numpy as np
import pytest
from numba import cuda, float32, int32

from kernels.recorder import record
from tests.recorder_samples import (
    line_of,
    only,
    product,
    tiled_without_first_barrier,
    tiled_without_second_barrier,
)


@pytest.mark.parametrize("order", ["forward", "reverse", 3])
@pytest.mark.parametrize("kernel", [tiled_without_first_barrier, tiled_without_second_barrier])
def test_missing_barrier_is_a_race(kernel, order):
    recording, *_ = product(kernel, 16, 32, 16, order=order)
    races = [fault for fault in recording.faults if fault.kind == "race"]
    assert [(race.line, race.other_line) for race in races] == [(line_of(kernel, "# fetch"), line_of(kernel, "# use"))]
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
        assert only(recording).kind == "race"  # and nothing else: that fresh memory is read is its consequence
        results[order] = np.isnan(y)
    assert results["forward"].sum() == results["reverse"].sum() == 16
    assert (results["forward"] != results["reverse"]).all()


def test_a_race_between_two_writers():
    def kernel(y):
        y[0] = cuda.threadIdx.x

    fault = only(record(kernel, (1,), (2,), np.zeros(1)))
    assert (fault.kind, fault.line, fault.other_line) == ("race", fault.line, fault.line)
    assert {fault.threads[0].thread, fault.other_threads[0].thread} == {(0,), (1,)}


@pytest.mark.parametrize("order", ["forward", "reverse", 5])
def test_a_race_between_blocks_in_spite_of_barriers(order):
    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = i  # write
        cuda.syncthreads()
        y[i] = x[(i + 1) % x.size]  # read

    fault = only(record(kernel, (4,), (8,), np.zeros(32), np.zeros(32), order=order))
    assert fault.kind == "race between blocks"
    assert (fault.line, fault.other_line) == (line_of(kernel, "# write"), line_of(kernel, "# read"))
    assert fault.threads[0].block != fault.other_threads[0].block
    assert fault.count == 4  # the last thread of each block reads the next block's first number


def test_overlapping_arguments_race():
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i]

    memory = np.zeros(33)
    assert only(record(kernel, (1,), (32,), memory[:-1], memory[1:])).kind == "race"
    strided = np.lib.stride_tricks.as_strided(memory[1:], (32,), memory.strides)
    assert only(record(kernel, (1,), (32,), memory[:-1], strided)).kind == "race"
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
    assert only(record(kernel, (1,), (64,), y, 1, 0)).kind == "race"
    assert only(record(kernel, (1,), (64,), y, 32, 0xFFFFFFFF)).kind == "race"


def test_syncwarp_of_some_lanes_orders_nothing():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        if i < 16:
            cuda.syncwarp(0xFFFF)
            y[i] = tile[i + 16]

    assert only(record(kernel, (1,), (32,), np.zeros(16))).kind == "race"


def test_epochs_of_different_warps_have_nothing_in_common():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        if i < 32:
            cuda.syncwarp()
            y[i] = tile[i]
        else:
            cuda.syncwarp()
            cuda.syncwarp()
            tile[i - 32] = i

    assert only(record(kernel, (1,), (64,), np.zeros(32))).kind == "race"


def test_shuffles_do_not_order_memory():
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        cuda.shfl_down_sync(0xFFFFFFFF, i, 1)
        y[i] = tile[31 - i]

    assert only(record(kernel, (1,), (32,), np.zeros(32))).kind == "race"


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
    line = line_of(histogram_without_atomics, "# count")
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

    assert only(record(kernel, (1,), (3,), np.zeros(1), np.zeros(1), 1)).kind == "race"
    record(kernel, (1,), (3,), np.zeros(1), np.zeros(1), 5).check()


@pytest.mark.parametrize(
    ("x_is", "by"), [("updated", "read"), ("updated", "written"), ("read", "updated"), ("written", "updated")]
)
def test_an_atomic_races_with_a_plain_access_of_another_block(x_is, by):
    def kernel(x, y):
        how = x_is if cuda.blockIdx.x == 0 else by
        if how == "updated":
            cuda.atomic.add(x, 0, 1)
        elif how == "written":
            x[0] = 1
        else:
            y[cuda.blockIdx.x] = x[0]

    assert only(record(kernel, (2,), (1,), np.zeros(1), np.zeros(2))).kind == "race between blocks"


def test_the_first_block_is_not_forgotten_for_the_last():
    """All blocks read, and the last writes what it has read itself."""

    def kernel(x, y):
        y[cuda.blockIdx.x] = x[0]
        cuda.syncthreads()
        if cuda.blockIdx.x == 1:
            x[0] = 1

    fault = only(record(kernel, (2,), (1,), np.zeros(1), np.zeros(2)))
    assert (fault.kind, fault.threads[0].block, fault.other_threads[0].block) == ("race between blocks", (0,), (1,))


def test_pairs_of_accesses_are_counted_once():
    def one_reads(x, y):
        if cuda.threadIdx.x == 0:
            x[0] = 1
        else:
            y[0] = x[0]

    def both_write(x, y):
        x[0] = cuda.threadIdx.x

    for kernel in (one_reads, both_write):
        assert only(record(kernel, 1, 2, np.zeros(1), np.zeros(1))).count == 1


@pytest.mark.parametrize("both", [0, 1])
def test_every_line_of_a_race_is_told_whoever_comes_first(both):
    """The only thread that writes in the first line is also the only one that reads in the second."""

    def kernel(x, y):
        if cuda.threadIdx.x == both:
            x[0] = 1  # first
            y[0] = x[0]  # second
        else:
            x[0] = 2  # third

    faults = record(kernel, (1,), (2,), np.zeros(1), np.zeros(1)).faults
    first, second, third = (line_of(kernel, f"# {which}") for which in ("first", "second", "third"))
    assert {(fault.line, fault.other_line) for fault in faults} == {(first, third), (second, third)}


@pytest.mark.parametrize("types", [(np.int8, np.float64), (np.float64, np.int8)])
def test_neighbours_in_a_narrow_array_do_not_race_beside_a_wide_one(types):
    def kernel(x, y):
        i = cuda.grid(1)
        x[i] = y[i] = i

    record(kernel, (8,), (1,), *(np.zeros(8, own) for own in types)).check()


def test_dynamic_and_static_shared_memory_lie_apart():
    def kernel(y):
        dynamic, static = cuda.shared.array(0, float32), cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        dynamic[31 - i] = i
        static[i] = i
        cuda.syncthreads()
        y[i] = dynamic[i] + static[i]

    y = np.zeros(32)
    record(kernel, (1,), (32,), y, shared_bytes=128).check()
    np.testing.assert_array_equal(y, 31)


def test_two_arrays_that_race_on_one_line_are_two_faults():
    def kernel(x, y):
        x[0] = y[0] = cuda.threadIdx.x

    faults = record(kernel, (1,), (2,), np.zeros(1), np.zeros(1)).faults
    assert {(fault.kind, fault.array) for fault in faults} == {("race", "x"), ("race", "y")}
