"""The recorder runs what kernels are written with, and tells what they did; products come out right."""

from __future__ import annotations

import math
import sys
import time
from types import ModuleType

import numba
import numpy as np
import pytest
from numba import cuda, float32
from numba import cuda as gpu
from numba.cuda import blockIdx, grid, shared, syncthreads, threadIdx

from kernels.recorder import record
from kernels.recorder.arrays import Addresses
from tests.recorder_samples import (
    TILE,
    coalesced,
    line_of,
    naive,
    numbers,
    only,
    product,
    register_tile,
    tiled,
)

WEIGHTS = np.arange(8, dtype=np.float32)


@pytest.mark.parametrize("order", ["forward", "reverse", 0, 1])
@pytest.mark.parametrize("kernel", [naive, coalesced, tiled])
@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 33, 5), (1, 1, 1), (15, 17, 31)], ids=str)
def test_products_are_right_in_every_order(kernel, shape, order):
    recording, c, expected = product(kernel, *shape, order=order)
    recording.check()
    np.testing.assert_allclose(c, expected, atol=1e-4)


def test_two_arrays_on_one_line_are_two_arrays():
    recording, *_ = product(tiled, 16, 16, 16)
    assert [(x.name, x.space) for x in recording.events.arrays[3:]] == [("a_tile", "shared"), ("b_tile", "shared")]
    assert recording.shared_bytes == 2 * TILE * TILE * 4


def test_register_tile():
    a, b, c = numbers(32, 8), numbers(8, 32), np.empty((32, 32), np.float32)
    recording = record(register_tile, (1, 1), (16, 16), a, b, c)
    recording.check()
    np.testing.assert_allclose(c, a.astype(float) @ b, atol=1e-4)
    # a thread reads 2 numbers of A and 2 of B per step for its 4 results
    assert recording.counts.per_thread("global", "read") == 4 * 8
    assert recording.counts.per_result("global", "read") == 8


def test_neither_the_kernel_nor_numba_is_changed():
    before = dict(vars(cuda)), dict(tiled.py_func.__globals__)
    product(tiled, 16, 16, 16)
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


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_integers_are_computed_with_64_bits_and_stored_with_their_own(dtype, trace):
    """As Numba does, which compiles the same function for the CPU."""

    def kernel(x, factor, wide, narrow):
        total = 0
        for i in range(x.size):
            total += x[i] * factor
        wide[0] = total
        wide[1] = x[0] - x[1] - 1
        narrow[0] = total
        narrow[1] = -1
        narrow[2] = 0xFFFFFFFF

    x = np.full(5, np.iinfo(dtype).max, dtype)
    found, expected = ((np.zeros(2, np.int64), np.zeros(3, dtype)) for _ in range(2))
    record(kernel, (1,), (1,), x, x[0], *found, trace=trace).check()
    numba.njit(kernel)(x, x[0], *expected)
    for ours, numbas in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, numbas)


@pytest.mark.parametrize("trace", [True, False])
def test_truths_from_an_array_are_numbers(trace):
    def neighbours(alive, y):
        i = cuda.threadIdx.x + 1
        y[i] = alive[i - 1] + alive[i] + alive[i + 1]
        y[i] -= 2 * -alive[i]

    alive, y = np.array([1, 1, 1, 0, 1], bool), np.zeros(5, np.int32)
    record(neighbours, 1, 3, alive, y, trace=trace).check()
    np.testing.assert_array_equal(y, [0, 5, 4, 2, 0])


def test_a_truth_turned_round_is_one() -> None:
    def kernel(m, y, flag):
        i = cuda.threadIdx.x
        if ~m[i]:
            y[i] += 1
        if ~(m[i] | m[0]) & ~flag:
            y[i] += 2
        y[i] += 10 * ((m[i] ^ True) + m[i])

    m, y = np.array([False, True, False, True]), np.zeros(4, np.int32)
    record(kernel, 1, 4, m, y, False)
    assert y.tolist() == [13, 10, 13, 10]


def test_a_number_of_python_wraps_round_where_it_is_stored():
    def kernel(y, z):
        s = 12345
        for _ in range(10):
            s = s * 1103515245 + 12345
        y[0] = s
        y[1] = -s
        z[0] = -s

    y, z = np.zeros(2, np.uint32), np.zeros(1)
    record(kernel, 1, 1, y, z)
    s = 12345
    for _ in range(10):
        s = s * 1103515245 + 12345
    assert y.tolist() == [s % 2**32, -s % 2**32]
    assert z[0] == float(-s)


def test_atomics_wrap_round():
    def kernel(x, old):
        old[0] = cuda.atomic.add(x, 0, -1)
        old[1] = cuda.atomic.exch(x, 1, -1) + 1
        old[2] = cuda.atomic.cas(x, 2, -1, -2)

    x, old = np.array([0, 2**32 - 1, 2**32 - 1], np.uint32), np.zeros(3, np.int64)
    record(kernel, (1,), (1,), x, old).check()
    np.testing.assert_array_equal(x, [2**32 - 1, 2**32 - 1, 2**32 - 2])
    np.testing.assert_array_equal(old, [0, 2**32, 2**32 - 1])


def test_bits():
    def kernel(x, bits):
        for i in range(x.size):
            bits[i, 0] = cuda.popc(x[i])
            bits[i, 1] = cuda.clz(x[i])
            bits[i, 2] = cuda.ffs(x[i])
        bits[x.size, 0] = cuda.selp(x[0] == 1, 7, 8)

    x, bits = np.array([1, 0, -1, 40, -(2**31)], np.int32), np.zeros((6, 3), np.int64)
    record(kernel, (1,), (1,), x, bits).check()
    np.testing.assert_array_equal(bits, [[1, 31, 1], [0, 32, 0], [32, 0, 1], [2, 26, 4], [1, 0, 32], [7, 0, 0]])


def test_overflow_and_nan_pass_without_a_warning():
    def kernel(x):
        x[0] = x[0] * x[0]
        x[1] = x[1] - x[1]

    x = np.array([1e30, np.inf], np.float32)
    record(kernel, (1,), (1,), x).check()
    assert np.isinf(x[0])
    assert np.isnan(x[1])


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


def test_the_lane_to_read_from_wraps_round():
    def kernel(x):
        x[cuda.laneid] = cuda.shfl_sync(0xFFFFFFFF, cuda.laneid, 37)

    x = np.zeros(32, np.int64)
    record(kernel, (1,), (32,), x).check()
    np.testing.assert_array_equal(x, 5)


def test_size_of_the_grid():
    def kernel(y):
        y[0], y[1], y[2] = cuda.gridsize(3)
        y[3] = cuda.gridsize(1)

    y = np.zeros(4, np.int64)
    record(kernel, (2, 3, 5), (7, 11, 13), y, trace=False)
    np.testing.assert_array_equal(y, [14, 33, 65, 14])


def test_a_shuffle_from_an_absent_lane_is_poisoned():
    def kernel(x):
        i = cuda.laneid
        if i < 16:
            x[i] = cuda.shfl_down_sync(0xFFFF, x[i], 8)

    x = np.arange(16, dtype=np.float32)
    record(kernel, (1,), (32,), x).check()
    np.testing.assert_array_equal(x, [*range(8, 16), *[np.nan] * 8])


def test_atomics_of_bits():
    def kernel(x, y):
        y[0] = cuda.atomic.and_(x, 0, 0b0110)
        y[1] = cuda.atomic.or_(x, 0, 0b1000)
        y[2] = cuda.atomic.xor(x, 0, 0b0010)

    x, y = np.array([0b0011], np.int32), np.zeros(3, np.int32)
    record(kernel, 1, 1, x, y)
    assert y.tolist() == [0b0011, 0b0010, 0b1010]
    assert x[0] == 0b1000


def test_atomics_return_the_old_value():
    def kernel(x, old):
        old[0] = cuda.atomic.add(x, 0, 2)
        old[1] = cuda.atomic.sub(x, 1, 2)
        old[2] = cuda.atomic.max(x, 2, 99)
        old[3] = cuda.atomic.min(x, (3,), -99)
        old[4] = cuda.atomic.exch(x, 4, 7)
        old[5] = cuda.atomic.cas(x, 5, 15, 8)
        old[6] = cuda.atomic.cas(x, 6, 15, 8)
        old[7] = cuda.atomic.compare_and_swap(x[7:], 17, 9)

    x, old = np.arange(10, 18, dtype=np.int32), np.zeros(8, np.int32)
    record(kernel, (1,), (1,), x, old).check()
    np.testing.assert_array_equal(old, range(10, 18))
    np.testing.assert_array_equal(x, [12, 9, 99, -99, 7, 8, 16, 9])


def test_atomic_outside_is_a_fault():
    def kernel(x):
        cuda.atomic.add(x, 9, 1)

    assert only(record(kernel, (1,), (1,), np.zeros(4))).kind == "out of bounds"


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

    x, y = numbers(4, 4), np.zeros(3, np.float32)
    recording = record(kernel, (1,), (1,), x, y)
    recording.check()
    assert [event.index for event in recording.events if event.array.name == "x"] == [(2, 3), (2, 2), (3, 1), (2, 0)]
    np.testing.assert_array_equal(y, [x[2, 3], x[2, 2], x[3, 1]])
    assert x[2, 0] == 7


@pytest.mark.parametrize("key", [slice(1, 3), (1, slice(None)), (slice(None), 1)], ids=str)
def test_a_slice_is_no_element(key):
    """Python 3.12 can look a slice up in a dictionary, and 3.11 cannot."""
    addresses = Addresses.row_major((4,) * (len(key) if isinstance(key, tuple) else 1), 0)
    with pytest.raises(TypeError, match="a slice is a part"):
        addresses.__missing__(key)


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
    x, y = numbers(8), np.zeros(8, np.float32)
    recording = record(calls, (2,), (4,), x, y)
    recording.check()
    np.testing.assert_array_equal(y, np.float32(6) + np.append(np.float32(0), x[:-1]))
    (read,) = recording.counts.of(array="x")
    assert (read.site.function, read.line) == ("below", line_of(below, "return"))


def test_names_of_a_users_module():
    module = ModuleType("users")
    exec(  # its own file, as far as Python can tell
        "from numba import cuda\nimport numpy as np\nWEIGHTS = np.arange(4.0)\n"
        "@cuda.jit(device=True)\ndef neighbour(x, i):\n    return x[i + 1]\n",
        vars(module),
    )

    def kernel(x, y):
        i = cuda.threadIdx.x
        y[i] = module.neighbour(x, i) + module.WEIGHTS[i - 1]

    x, y = np.arange(5.0), np.zeros(4)
    recording = record(kernel, 1, 4, x, y)
    assert only(recording).kind == "negative index", "of WEIGHTS"
    np.testing.assert_array_equal(y, [0, 2 + 0, 3 + 1, 4 + 2])
    assert isinstance(module.WEIGHTS, np.ndarray)


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


@pytest.mark.parametrize(
    ("blocks", "threads"),
    [
        ((0,), (1,)),
        ((1,), (33, 32)),
        ((1, 1, 1, 1), (1,)),
        ((1.0,), (1,)),
        ((1,), (1, 1, 65)),
        ((2**31,), (1,)),
        ((1, 65_536), (1,)),
    ],
)
def test_launches_that_no_gpu_would_take(blocks, threads):
    with pytest.raises(ValueError, match=r"block|grid"):
        record(naive, blocks, threads)


def test_a_shared_array_may_have_the_type_of_another() -> None:
    def kernel(x, y):
        tile = cuda.shared.array(4, x.dtype)
        i = cuda.threadIdx.x
        tile[i] = x[i]
        y[i] = tile[i]

    x, y = np.arange(4, dtype=np.float32), np.zeros(4, np.float32)
    record(kernel, 1, 4, x, y).check()
    np.testing.assert_array_equal(x, y)


def test_a_launch_may_be_told_in_single_numbers_of_any_kind():
    def kernel(y):
        y[cuda.grid(1)] = 1

    y = np.zeros(64)
    recording = record(kernel, np.int64(2), 32, y)
    assert (recording.grid, recording.block, y.sum()) == ((2,), (32,), 64)


def test_shared_memory_that_no_gpu_has():
    def kernel(x):
        tile = cuda.shared.array((64, 64), float32)  # 16 KiB
        if x.size > 1:
            other = cuda.shared.array((64, 128), float32)  # 32 KiB
            other[0, 0] = 1
        if x.size > 2:
            more = cuda.shared.array(1, float32)
            more[0] = 1
        tile[0, 0] = 1

    def launch(size, **options):
        return record(kernel, (1,), (1,), np.zeros(size), **options)

    assert launch(2).shared_bytes == 48 * 1024
    assert launch(2, shared_bytes=179 * 1024).shared_bytes == 227 * 1024
    with pytest.raises(ValueError, match=r"at most 49,152 bytes, with more they have 49,156"):
        launch(3)
    for wrong in (227 * 1024 + 1, -1):
        with pytest.raises(ValueError, match="at most 232,448 bytes of shared memory"):
            launch(1, shared_bytes=wrong)


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

    with pytest.raises(TypeError, match="y must be a NumPy array or a number, not tuple"):
        record(lambda x, *y: None, (1,), (1,), x, x)

    with pytest.raises(TypeError, match=r"x has records \(u, v\), which the recorder does not model"):
        record(calls, (1,), (1,), np.zeros(4, [("u", np.float32), ("v", np.int32)]), x)

    def cooperative(x):
        cuda.cg.this_grid()

    with pytest.raises(AttributeError, match=r"does not model cuda\.cg") as error:
        record(cooperative, (1,), (1,), x)
    assert error.value.__notes__ == ["in thread 0 of block 0 of the recorded kernel"]

    def misspelt(x):
        cuda.syncthread()

    with pytest.raises(AttributeError, match=r"does not model cuda\.syncthread: did you mean syncthreads"):
        record(misspelt, (1,), (1,), x)

    def transposed(x):
        x.T[0] = 1

    with pytest.raises(AttributeError, match=r"does not model \.T of an array"):
        record(transposed, (1,), (1,), x)

    def atomic(x):
        cuda.atomic.nanmax(x, 0, 1)

    with pytest.raises(AttributeError, match=r"does not model cuda\.atomic\.nanmax"):
        record(atomic, (1,), (1,), x)

    def copy(x):
        x[:2] = x[2:4]

    with pytest.raises(TypeError, match="numbers to a slice of x, not arrays"):
        record(copy, (1,), (1,), x)

    def changing(x):
        tile = cuda.shared.array(4 + cuda.threadIdx.x, float32)  # noqa: F841

    with pytest.raises(TypeError, match="must be constants"):
        record(changing, (1,), (2,), x)


@pytest.mark.parametrize("trace", [True, False])
def test_a_number_fills_a_slice(trace):
    """Each element is a write of its own, so that threads whose slices overlap race."""

    def fill(x):
        i = cuda.threadIdx.x
        x[i, 1:4] = i
        x[i][4:] = -1

    x = np.full((3, 6), np.nan, np.float32)
    recording = record(fill, (1,), (2,), x, trace=trace)
    np.testing.assert_array_equal(x, [[np.nan, 0, 0, 0, -1, -1], [np.nan, 1, 1, 1, -1, -1], [np.nan] * 6])
    assert not recording.faults
    written = [(event.who.thread, event.index) for event in recording.events]
    assert written == ([((i,), (i, j)) for i in range(2) for j in range(1, 6)] if trace else [])

    def overlap(x):
        x[0, cuda.threadIdx.x :] = 1

    assert [fault.kind for fault in record(overlap, (1,), (2,), x, trace=trace).faults] == ["race"] * trace


@pytest.mark.parametrize(("trace", "seconds"), [(True, 10), (False, 3)])
def test_it_is_quick_enough_to_play_with(trace, seconds):
    # a third of it on the machine this was written on; the rest is for slower ones
    def run() -> float:
        start = time.process_time()
        product(tiled, trace=trace)[0].check()
        return time.process_time() - start

    assert min(run() for _ in range(3 if not trace else 1)) < seconds
