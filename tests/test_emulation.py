"""The emulator of CUDA C: what is right runs, in every order; what is wrong is found. Small kernels of either kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import emulation
from tests.emulation import EmulationError, Order
from tests.emulation.text import Run, runner

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

ORDERS: tuple[Order, ...] = ("forward", "reverse", 1, 2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path)


def floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


# threads and blocks


def test_indices_of_threads_and_blocks(run: Run) -> None:
    body = """
    const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
    const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
    out[block * blockDim.x * blockDim.y * blockDim.z + thread] = 100 * block + thread;
    """
    out = np.zeros((24, 30), np.int32)
    run("int* out", body, (2, 3, 4), (2, 3, 5), out)
    np.testing.assert_array_equal(out, 100 * np.arange(24)[:, None] + np.arange(30))


ARRIVALS = """
    const int place = atomicAdd(next, 1);
    order[place] = blockIdx.x * blockDim.x + threadIdx.x;
    __syncthreads();
    order[atomicAdd(next, 1)] = blockIdx.x * blockDim.x + threadIdx.x;
"""


def arrivals(run: Run, order: Order) -> list[list[int]]:
    """Who came, in 2 blocks of 64 threads, before and after a barrier."""
    next_, came = np.zeros(1, np.int32), np.full((4, 64), -1, np.int32)
    run("int* next, int* order", ARRIVALS, 2, 64, next_, came, order=order)
    return came.tolist()


def test_orders(run: Run) -> None:
    first, second = list(range(64)), list(range(64, 128))
    assert arrivals(run, "forward") == [first, first, second, second]
    assert arrivals(run, "reverse") == [second[::-1], second[::-1], first[::-1], first[::-1]]
    shuffled = arrivals(run, 3)
    assert shuffled == arrivals(run, 3)
    assert shuffled != arrivals(run, 4)
    assert shuffled[0] != shuffled[1] != sorted(shuffled[1])
    assert sorted(shuffled[0]) == sorted(shuffled[1]) in (first, second)


def test_arguments_and_their_kinds(run: Run) -> None:
    out = np.zeros(3)
    body = "out[0] = x; out[1] = many; out[2] = few;"
    run("double* out, float x, long long many, const short few", body, 1, 1, out, 0.5, 1 << 40, -7)
    assert out.tolist() == [0.5, 1 << 40, -7]
    with pytest.raises(EmulationError, match="70000 does not fit"):
        run("double* out, float x, long long many, const short few", body, 1, 1, out, 0.5, 1 << 40, 70000)
    with pytest.raises(EmulationError, match="4 parameters, not 1"):
        run("double* out, float x, long long many, const short few", body, 1, 1, out)
    with pytest.raises(EmulationError, match="kind w"):
        run("double* out, float x, long long many, const short few", body, 1, 1, 0, 0.5, 1 << 40, -7)


def test_smallest_and_largest_and_sums(run: Run) -> None:
    out = np.zeros(4, np.float32)
    run(
        "float* out",
        "out[0] = min(3, 2.5f); out[1] = max(-1, 4); out[2] = fmaf(2, 3, 4); atomicAdd(out + 3, 0.5);",
        1,
        7,
        out,
    )
    assert out.tolist() == [2.5, 4, 10, 3.5]


def test_text_that_does_not_compile(run: Run) -> None:
    with pytest.raises(EmulationError, match="nonsense"):
        run("float* out", "nonsense;", 1, 1, floats(1))


# barriers and shared memory

REVERSE = """
    __shared__ float tile[1024];
    const int x = threadIdx.x;
    tile[x] = a[blockIdx.x * blockDim.x + x];
    {barrier}
    out[blockIdx.x * blockDim.x + x] = tile[blockDim.x - 1 - x];
"""


@pytest.mark.parametrize("order", ORDERS)
def test_a_barrier_between_writing_and_reading(run: Run, order: Order) -> None:
    a, out = floats(3072), np.zeros(3072, np.float32)
    run("const float* a, float* out", REVERSE.format(barrier="__syncthreads();"), 3, 1024, a, out, order=order)
    np.testing.assert_array_equal(out.reshape(3, 1024), a.reshape(3, 1024)[:, ::-1])


@pytest.mark.parametrize("order", ORDERS)
def test_without_the_barrier_nan_is_read(run: Run, order: Order) -> None:
    out = np.zeros(192, np.float32)
    run("const float* a, float* out", REVERSE.format(barrier=""), 3, 64, floats(192), out, order=order)
    assert np.isnan(out.reshape(3, 64)).any(axis=1).all(), "every block starts with its own empty shared memory"


@pytest.mark.parametrize("order", ORDERS)
def test_without_the_barrier_before_overwriting(run: Run, order: Order) -> None:
    body = """
    extern __shared__ int box[];
    const int x = threadIdx.x, next = (x + 1) % blockDim.x;
    box[x] = x;
    __syncthreads();
    out[x] = box[next];
    {barrier}
    box[x] = -1;
    """
    expected, out = (np.arange(64) + 1) % 64, np.zeros(64, np.int32)
    run("int* out", body.format(barrier="__syncthreads();"), 1, 64, out, shared=256, order=order)
    np.testing.assert_array_equal(out, expected)
    run("int* out", body.format(barrier=""), 1, 64, out, shared=256, order=order)
    assert (out == -1).any()


def test_barriers_that_count(run: Run) -> None:
    body = """
    const int x = threadIdx.x;
    out[x] = __syncthreads_count(x % 3 == 0);
    out[x] += 100 * __syncthreads_or(x == 5) + 1000 * __syncthreads_or(x == 99);
    out[x] += 10000 * __syncthreads_and(x < 50) + 100000 * __syncthreads_and(x != 7);
    """
    out = np.zeros(50, np.int32)
    run("int* out", body, 1, 50, out)
    np.testing.assert_array_equal(out, 17 + 100 + 10000)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x >= 60 && blockIdx.y == 1) return;\n__syncthreads();",
            r"block \(0,1,0\): threads wait for ever; "
            r"60 at __syncthreads in kernel.cu:3, first \(0,0,0\); 4 returned, first \(60,0,0\)",
        ),
        (
            "if (threadIdx.x == 9) {\n__syncthreads();\n} else\n__syncthreads();",
            r"block \(0,0,0\): threads are at different barriers; "
            r"1 at __syncthreads in kernel.cu:3, first \(9,0,0\); 63 at __syncthreads in kernel.cu:5, first \(0,0,0\)",
        ),
        ("while (*out == 0) __nanosleep(20);", r"wait for ever; 64 spinning at a loop in kernel.cu:2, first \(0,0,0\)"),
        ("while (*(volatile float*)out == 0) {}", r"block \(0,0,0\) thread \(0,0,0\): no end in sight"),
        ("if (threadIdx.x < 5) __syncwarp();", r"5 at __syncwarp in kernel.cu:2, first \(0,0,0\); 59 returned"),
    ],
)
def test_threads_that_do_not_meet(run: Run, body: str, message: str) -> None:
    with pytest.raises(EmulationError, match=message):
        run("float* out", body, (1, 2), 64, np.zeros(1, np.float32), seconds=1)


def test_a_launch_after_a_failed_one(run: Run) -> None:
    with pytest.raises(EmulationError):
        run("float* out", "__syncthreads(); if (threadIdx.x == 3) out[1 << 20] = 0;", 1, 64, floats(1))
    test_a_barrier_between_writing_and_reading(run, "forward")


def test_the_grid_waits_for_itself(run: Run) -> None:
    """A barrier of all blocks, made of an atomic counter; every block keeps its own shared memory meanwhile."""
    body = """
    __shared__ int mine[32];
    const int x = threadIdx.x;
    mine[x] = 100 * blockIdx.x + x;
    __syncthreads();
    if (x == 0) {
        atomicAdd(arrived, 1);
        while (*(volatile int*)arrived < gridDim.x) __nanosleep(20);
    }
    __syncthreads();
    out[blockIdx.x * 32 + x] = *arrived * 1000 + mine[31 - x];
    """
    for order in ORDERS:
        arrived, out = np.zeros(1, np.int32), np.zeros((5, 32), np.int32)
        run("int* arrived, int* out", body, 5, 32, arrived, out, cooperative=True, order=order)
        np.testing.assert_array_equal(out, 5000 + 100 * np.arange(5)[:, None] + np.arange(32)[::-1])
    with pytest.raises(EmulationError, match="wait for ever"):
        run("int* arrived, int* out", body, 5, 32, np.zeros(1, np.int32), out)


# memory


@pytest.mark.parametrize("count", [1, 1023, 1024, 5000])
@pytest.mark.parametrize(
    ("offset", "at_start", "message"), [(1, False, "0 bytes behind its end"), (-1, True, "4 bytes in front of it")]
)
def test_one_number_out_of_bounds(run: Run, count: int, offset: int, at_start: bool, message: str) -> None:
    body = "const int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < count) out[i] = a[i + by];"
    grid = -(-count // 32)
    out = np.zeros(count, np.float32)
    run("const float* a, float* out, int count, int by", body, grid, 32, floats(count), out, count, 0)
    np.testing.assert_array_equal(out, floats(count))
    with pytest.raises(EmulationError, match=f"out of bounds: argument 0, {message}"):
        run(
            "const float* a, float* out, int count, int by", body, grid, 32, floats(count), out, count, offset,
            at_start=at_start,
        )  # fmt: skip


def test_the_other_side_is_nan_and_watched(run: Run) -> None:
    """Before an array that ends at a page's end there may be room: reading it gives NaN, writing it is an error."""
    out = np.zeros(3, np.float32)
    run("const float* a, float* out", "out[threadIdx.x] = a[-1];", 1, 3, floats(3), out)
    assert np.isnan(out).all()
    with pytest.raises(EmulationError, match="a write beside argument 0"):
        run("float* out", "out[-1] = 0;", 1, 1, out)


def test_operands_are_not_written(run: Run) -> None:
    with pytest.raises(EmulationError, match=r"thread \(2,0,0\).*argument 1, a write, but it is const"):
        run("int n, const float* a", "if (threadIdx.x == 2) ((float*)a)[0] = 1;", 1, 3, 3, floats(3))


@pytest.mark.parametrize(
    "body",
    [
        "__shared__ float tile[8][9]; tile[x][x + 1] = 1; out[0] = tile[0][1];",
        "float total[8] = {}; total[x] = 1; out[0] = total[0];",
    ],
)
def test_an_index_out_of_an_array_of_the_kernel(run: Run, body: str) -> None:
    run("float* out", f"const int x = threadIdx.x; {body}", 1, 8, np.zeros(1, np.float32))
    with pytest.raises(EmulationError, match=r"thread \(8,0,0\): out of bounds: index [89] .* in kernel.cu:2"):
        run("float* out", f"const int x = threadIdx.x; {body}", 1, 9, np.zeros(1, np.float32))


@pytest.mark.parametrize("at", [-200, 200, 1000])
def test_beside_static_shared_memory(run: Run, at: int) -> None:
    """Through a pointer, where no index can be checked."""
    body = "__shared__ float box[64]; float* p = box; p[at] = 1; out[0] = p[at];"
    run("float* out, int at", body, 1, 1, np.zeros(1, np.float32), 63)
    with pytest.raises(EmulationError, match=r"block \(0,0,0\) wrote beside its shared memory"):
        run("float* out, int at", body, 1, 1, np.zeros(1, np.float32), at)


def test_the_end_of_dynamic_shared_memory(run: Run) -> None:
    body = """
    extern __shared__ __align__(1024) float4 fours[];
    float* box = reinterpret_cast<float*>(fours);
    box[write] = 5;
    __syncthreads();
    out[0] = box[read];
    out[1] = reinterpret_cast<size_t>(fours) % 1024;
    """
    out = np.zeros(2, np.float32)
    run("float* out, int write, int read", body, 1, 1, out, 249, 249, shared=1000)
    assert out.tolist() == [5, 0]
    run("float* out, int write, int read", body, 1, 1, out, 249, 250, shared=1000)
    assert np.isnan(out[0])
    with pytest.raises(EmulationError, match="wrote behind its dynamic shared memory"):
        run("float* out, int write, int read", body, 1, 1, out, 250, 249, shared=1000)
    with pytest.raises(EmulationError, match="more than"):
        run("float* out, int write, int read", body, 1, 1, out, 0, 0, shared=1 << 20)
    with pytest.raises(EmulationError, match="declares none"):
        run("float* out", "", 1, 1, out, shared=16)


def test_alignment_of_fours(run: Run) -> None:
    body = """
    const float4 four = __ldg(reinterpret_cast<const float4*>(a + from));
    *reinterpret_cast<float4*>(out + to) = make_float4(four.w, four.z, four.y, four.x);
    """
    out = np.zeros(8, np.float32)
    run("const float* a, float* out, int from, int to", body, 1, 1, floats(8), out, 4, 0)
    assert out.tolist() == [7, 6, 5, 4, 0, 0, 0, 0]
    for from_, to in ((3, 0), (4, 2)):
        with pytest.raises(EmulationError, match="not aligned to 16 bytes"):
            run("const float* a, float* out, int from, int to", body, 1, 1, floats(8), out, from_, to)


def test_registers_that_nobody_set(run: Run) -> None:
    out = np.zeros(1, np.float32)
    run("float* out", "float total[4]; for (int i = 0; i < 4; ++i) total[i] += i; out[0] = total[3];", 1, 1, out)
    assert abs(out[0]) > 1e30
