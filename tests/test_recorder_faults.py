"""Wrong indices, missed barriers and fresh memory: each fault is named by its line and threads."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from numba import cuda, float32, int32

from kernels.recorder import RecorderError, ThreadId, record
from tests.recorder_samples import (
    line_of,
    numbers,
    only,
    product,
    tiled_with_early_return,
)

# ---- indices


def test_index_beyond_the_edge():
    @cuda.jit
    def unguarded(a, b, c):
        j, i = cuda.grid(2)
        total = float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]  # sum
        c[i, j] = total

    recording, c, expected = product(unguarded, 15, 4, 16)
    fault = only(recording)
    assert (fault.kind, fault.line, fault.array, fault.index) == (
        "out of bounds",
        line_of(unguarded, "# sum"),
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
def test_a_wrong_index_beside_a_slice(trace):
    def kernel(a, y):
        i = cuda.threadIdx.x
        row = a[i, 1:]
        y[i] = row[0]

    fault = only(record(kernel, 1, 3, np.zeros((2, 4)), np.zeros(3), trace=trace))
    assert fault.kind == "out of bounds"
    assert "a[2, :]" in fault.message


@pytest.mark.parametrize("trace", [True, False])
def test_negative_index_is_a_fault(trace):
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i - 1]

    x, y = numbers(32), np.zeros(32, np.float32)
    recording = record(kernel, (1,), (32,), x, y, trace=trace)
    fault = only(recording)
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
    assert only(recording).count == 16
    np.testing.assert_array_equal(y, np.repeat([1, 0], 32))


# ---- barriers


@pytest.mark.parametrize("trace", [True, False])
def test_early_return_before_a_barrier(trace):
    recording, *_ = product(tiled_with_early_return, 13, 16, 16, trace=trace)
    faults = [fault for fault in recording.faults if fault.kind == "missed barrier"]
    barriers = [line_of(tiled_with_early_return, f"# the {which} of") for which in ("first", "second")]
    assert [fault.line for fault in faults] == barriers
    for fault in faults:
        assert fault.other_line == line_of(tiled_with_early_return, "# too early")
        assert fault.other_threads == tuple(ThreadId((0, 0), (x, y)) for y in range(13, 16) for x in range(16))
        assert len(fault.threads) == 13 * 16
    # and what comes of it
    unread = [fault for fault in recording.faults if fault.kind == "uninitialised read"]
    assert [fault.line for fault in unread] == ([line_of(tiled_with_early_return, "# use")] if trace else [])


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
    fault = only(record(kernel, (1,), (32,), x, trace=trace))
    assert fault.kind == "divergent barrier"
    assert (fault.line, fault.other_line) == (line_of(kernel, "# here"), line_of(kernel, "# there"))
    assert [who.thread for who in fault.threads] == [(i,) for i in range(20)]
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(20, 32)]
    assert not x.any()


@cuda.jit(device=True)
def _all_meet():
    cuda.syncthreads()


@cuda.jit(device=True)
def _all_meet_at_last(x):
    x[0] = 1
    _all_meet()


def test_one_device_function_called_from_two_branches_is_two_barriers():
    def kernel(x):
        i = cuda.grid(1)
        if i < 20:
            _all_meet()  # here
        else:
            _all_meet()  # there
        x[i] = 1

    x = np.zeros(32, np.float32)
    fault = only(record(kernel, (1,), (32,), x))
    assert fault.kind == "divergent barrier"
    assert (fault.line, fault.other_line) == (line_of(kernel, "# here"), line_of(kernel, "# there"))
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(20, 32)]
    assert not x.any()


def test_a_barrier_within_a_device_function_is_told_where_the_kernel_parts():
    def kernel(x):
        if cuda.threadIdx.x < 20:
            cuda.syncthreads()  # here
        else:
            _all_meet_at_last(x)  # there

    fault = only(record(kernel, (1,), (32,), np.zeros(32, np.float32), trace=False))
    assert (fault.kind, fault.line, fault.other_line) == (
        "divergent barrier",
        line_of(kernel, "# here"),
        line_of(kernel, "# there"),
    )


def test_a_device_function_may_wait_in_a_loop_and_be_called_twice():
    def kernel(x):
        i = cuda.threadIdx.x
        for step in range(3):
            x[step, i] = step
            _all_meet()
        _all_meet()
        x[3, i] = x[2, (i + 1) % 64]

    x = np.zeros((4, 64), np.float32)
    record(kernel, (1,), (64,), x).check()
    np.testing.assert_array_equal(x, np.repeat([[0], [1], [2], [2]], 64, axis=1))


def test_return_is_found_where_a_profiler_is_at_work():
    def kernel(x):
        if cuda.threadIdx.x == 0:
            return
        cuda.syncthreads()

    sys.setprofile(lambda *_: None)
    try:
        fault = only(record(kernel, (1,), (4,), np.zeros(1)))
    finally:
        sys.setprofile(None)
    assert fault.other_line is None
    assert "returned earlier" in fault.message


def test_a_barrier_that_python_has_copied_is_one():
    """Python 3.12 ends both branches with a copy of what follows them."""
    from numba.cuda import syncthreads

    def kernel(x):
        i = cuda.grid(1)
        if i % 2:
            x[i] = 1
        else:
            x[i] = 2
        syncthreads()

    x = np.zeros(32)
    record(kernel, 1, 32, x).check()
    np.testing.assert_array_equal(x, [2, 1] * 16)


def test_the_condition_of_a_loop_is_one_place():
    """Python asks it at two places of the bytecode, before the first pass and after each."""

    def kernel(x):
        while x[0] > 0:
            x[0] -= 1  # next

    recording = record(kernel, 1, 1, np.array([5.0]))
    (condition,) = recording.counts.of(kind="read", line=line_of(kernel, "while"))
    assert condition.accesses == 6


def test_one_thread_waits_and_two_wait():
    def kernel():
        if cuda.threadIdx.x != 2:
            cuda.syncthreads()
        else:
            cuda.syncthreads()

    assert re.search(
        r"threads 0, 1 of block 0 wait here, but thread 2 of block 0 waits at line \d+$",
        only(record(kernel, 1, 3)).message,
    )


def test_lanes_missing_at_a_warp_function():
    def kernel(x):
        i = cuda.threadIdx.x
        if i < 16:
            x[i] = cuda.shfl_down_sync(0xFFFFFF, x[i], 1)  # half a warp
        cuda.syncthreads()  # the rest

    fault = only(record(kernel, (1,), (32,), numbers(32)))
    assert fault.kind == "missed warp barrier"
    assert (fault.line, fault.other_line) == (line_of(kernel, "# half a warp"), line_of(kernel, "# the rest"))
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(16, 24)]  # named in the mask


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
        ("uninitialised read", line_of(kernel, "# shared"), 4),
        ("uninitialised read", line_of(kernel, "# local"), 3),
        ("uninitialised read", line_of(kernel, "# integers"), 4),
    ]
    assert np.isnan(x).all()
    np.testing.assert_array_equal(np.isnan(y), [True, False, True, True])
    np.testing.assert_array_equal(z, -1)


@pytest.mark.parametrize("result", [np.int32, np.int64, np.uint8])
def test_what_fresh_memory_holds_may_be_stored_as_an_integer(result):
    def kernel(y):
        tile = cuda.shared.array(32, float32)
        i = cuda.threadIdx.x
        tile[i] = i
        y[i] = tile[31 - i]  # without a barrier

    fault = only(record(kernel, (1,), (32,), np.zeros(32, result)))
    assert (fault.kind, fault.other_line) == ("race", line_of(kernel, "# without a barrier"))


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
    fault = only(record(kernel, (2,), (1,), y, shared_bytes=4))
    assert fault.threads == (ThreadId((1,), (0,)),)
    np.testing.assert_array_equal(y, [1, np.nan])


def test_every_thread_has_its_own_local_memory():
    def kernel(y):
        own = cuda.local.array(1, float32)
        i = cuda.threadIdx.x
        if i == 0:
            own[0] = 1
        y[i] = own[0]

    fault = only(record(kernel, (1,), (2,), np.zeros(2)))
    assert (fault.kind, fault.threads) == ("uninitialised read", (ThreadId((0,), (1,)),))


def test_an_atomic_update_reads_what_nobody_has_written():
    def kernel():
        count = cuda.shared.array(1, int32)
        cuda.atomic.add(count, 0, 1)

    fault = only(record(kernel, 1, 1))
    assert (fault.kind, fault.array, fault.accesses) == ("uninitialised read", "count", ("atomic",))


def test_lanes_missing_in_the_second_warp_are_named():
    def kernel(x):
        i = cuda.threadIdx.x
        if i < 48:
            x[i] = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 1)  # half of the second warp
        cuda.syncthreads()  # the rest

    fault = only(record(kernel, (1,), (64,), np.zeros(64, np.float32)))
    assert (fault.kind, fault.line, fault.other_line) == (
        "missed warp barrier",
        line_of(kernel, "# half"),
        line_of(kernel, "# the rest"),
    )
    assert [who.thread for who in fault.other_threads] == [(i,) for i in range(48, 64)]
