"""The emulator of CUDA C: what runs beside the threads comes no sooner than they wait for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import emulation
from tests.emulation import Boxes, EmulationError, Order
from tests.emulation.text import Run, runner

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

ORDERS: tuple[Order, ...] = ("forward", "reverse", 1, 2)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return runner(tmp_path)


def floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


# copies beside the arithmetic

COPY = """
    __shared__ __align__(16) float box[2][64];
    const int x = threadIdx.x;
    for (int stage = 0; stage < 2; ++stage) {{
        {copy}
        commit_copies();
    }}
    wait_copies<{pending}>();
    __syncthreads();
    out[x] = box[0][63 - x];
    out[64 + x] = box[1][63 - x];
    __syncthreads();
    wait_copies<0>();
"""
COPY_4 = "copy4_async(&box[stage][x], a + 64 * stage + x, x < inside);"
COPY_16 = "if (x < 16) copy16_async(&box[stage][4 * x], a + 64 * stage + 4 * x, 4 * x < inside);"


@pytest.mark.parametrize("copy", [COPY_4, COPY_16])
@pytest.mark.parametrize("order", ORDERS)
def test_copies_arrive_when_waited_for(run: Run, copy: str, order: Order) -> None:
    a, out = floats(128), np.zeros((2, 64), np.float32)
    parameters, a_stages = "const float* a, float* out, int inside", a.reshape(2, 64)
    run(parameters, COPY.format(copy=copy, pending=0), 1, 64, a, out, 48, order=order)
    np.testing.assert_array_equal(out, np.where(np.arange(64) < 48, a_stages, 0)[:, ::-1])
    run(parameters, COPY.format(copy=copy, pending=1), 1, 64, a, out, 64, order=order)
    np.testing.assert_array_equal(out[0], a_stages[0, ::-1])
    assert np.isnan(out[1]).all(), "the newest group is still on its way"
    run(parameters, COPY.format(copy=copy, pending=2), 1, 64, a, out, 64, order=order)
    assert np.isnan(out).all()


def test_copies_outside_read_nothing(run: Run) -> None:
    a, out = floats(52), np.zeros((2, 64), np.float32)
    body = COPY.format(copy="copy16_async(box[stage], a + 1000000, false);", pending=0)
    run("const float* a, float* out", body, 1, 64, a, out)
    assert (out[:, 60:] == 0).all()
    body = COPY.format(copy=COPY_4.replace("x < inside", "true").replace("64 * stage", "0"), pending=0)
    with pytest.raises(EmulationError, match=r"thread \(52,0,0\): out of bounds: argument 0, 0 bytes behind its end"):
        run("const float* a, float* out", body, 1, 64, a, out)


@pytest.mark.parametrize("size", [4, 16])
def test_a_copy_on_its_way_has_destroyed_what_was_there(run: Run, size: int) -> None:
    body = f"""
    __shared__ __align__(16) float box[4];
    for (int i = 0; i < 4; ++i) box[i] = 7;
    copy{size}_async(box, a, true);
    for (int i = 0; i < 4; ++i) out[i] = box[i];
    """
    end = "commit_copies(); wait_copies<0>();"
    out = np.zeros(4, np.float32)
    run("const float* a, float* out", body + end, 1, 1, floats(4), out)
    np.testing.assert_array_equal(np.isnan(out), np.arange(4) < size // 4)
    for early in ("", "commit_copies();", "commit_copies(); wait_copies<1>();"):
        with pytest.raises(EmulationError, match=r"block \(0,0,0\) has returned before 1 of its copies came"):
            run("const float* a, float* out", body + early, 1, 1, floats(4), out)


@pytest.mark.parametrize(
    ("copy", "message"),
    [
        ("copy16_async(&box[stage][2], a, true);", "not aligned"),
        ("copy16_async(&box[stage][4], a + 3, true);", "not aligned"),
        ("copy16_async(out, a, true);", "does not go to shared memory"),
    ],
)
def test_copies_that_cannot_be(run: Run, copy: str, message: str) -> None:
    with pytest.raises(EmulationError, match=message):
        run(
            "const float* a, float* out",
            COPY.format(copy=copy, pending=0),
            1,
            1,
            floats(128),
            np.zeros_like(floats(128)),
        )


# hopper: the copy engine and its barriers


def swizzled(matrix: np.ndarray) -> np.ndarray:
    """Rows of 64 bf16 numbers as the 128-byte swizzle lays them: piece s of row r, 16 bytes, stands at s xor r % 8."""
    rows, place = np.arange(len(matrix))[:, None], np.arange(8)
    pieces = matrix.reshape(len(matrix), 8, 8)
    return pieces[rows, place ^ rows % 8].reshape(len(matrix), 64)


BOX = """
    extern __shared__ __align__(1024) unsigned short tile[];
    __shared__ unsigned long long arrived;
    const int x = threadIdx.x;
    if (x == 0) {{
        barrier_init(&arrived, 1);
        barrier_init_done();
        barrier_arrive_expecting(&arrived, {bytes});
        copy_box(tile, &map, &arrived, column, row);
    }}
    __syncthreads();
    {wait}
    for (int i = x; i < 16 * 64; i += blockDim.x) out[i] = tile[i];
    barrier_wait(&arrived, 0);
"""
BOX_PARAMETERS = "const __grid_constant__ emulation::Map map, unsigned short* out, int column, int row"


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("column", "row"), [(0, 0), (64, 16), (40, 30), (-5, -3), (200, 0)])
def test_boxes(run: Run, order: Order, column: int, row: int) -> None:
    matrix = np.arange(40 * 96, dtype=np.uint16).reshape(40, 96)
    out = np.zeros((16, 64), np.uint16)
    box = Boxes(matrix, 16, 64)
    body = BOX.format(bytes="16 * 128", wait="barrier_wait(&arrived, 0);")
    run(BOX_PARAMETERS, body, 1, 64, box, out, column, row, shared=2048, order=order)
    surrounded = np.pad(matrix, 256)[256 + row :, 256 + column :][:16, :64]
    np.testing.assert_array_equal(out, swizzled(surrounded))
    run(BOX_PARAMETERS, BOX.format(bytes="16 * 128", wait=""), 1, 64, box, out, column, row, shared=2048, order=order)
    assert (out == 0xFFFF).all(), "nobody had waited for it"


def test_boxes_that_cannot_be(run: Run) -> None:
    box, out = Boxes(np.zeros((40, 96), np.uint16), 16, 64), np.zeros((16, 64), np.uint16)
    for bytes_ in ("16 * 128 + 2", "16 * 128 - 2", "0"):
        body = BOX.format(bytes=bytes_, wait="barrier_wait(&arrived, 0);")
        with pytest.raises(EmulationError, match=r"wait for ever|has returned before 1 of its boxes"):
            run(BOX_PARAMETERS, body, 1, 64, box, out, 0, 0, shared=2048)
    body = BOX.format(bytes="16 * 128", wait="").replace("copy_box(tile,", "copy_box(tile + 64,")
    with pytest.raises(EmulationError, match="multiple of 1024"):
        run(BOX_PARAMETERS, body, 1, 64, box, out, 0, 0, shared=4096)


def test_phases_of_a_barrier(run: Run) -> None:
    """The first 32 threads fill a box again and again, the others empty it: two barriers, each with its own parity."""
    body = """
    __shared__ unsigned long long full, empty;
    __shared__ int box[32];
    const int x = threadIdx.x % 32;
    if (threadIdx.x == 0) {
        barrier_init(&full, 32);
        barrier_init(&empty, 32);
    }
    __syncthreads();
    int sum = 0;
    for (int round = 0; round < 5; ++round)
        if (threadIdx.x < 32) {
            barrier_wait(&empty, round % 2 ^ 1);
            box[x] = 10 * round + x;
            barrier_arrive_at(&full, 0);
        } else {
            barrier_wait(&full, round % 2);
            sum += box[31 - x] * (round + 1);
            barrier_arrive_at(&empty, 0);
        }
    out[threadIdx.x] = sum;
    """
    for order in ORDERS:
        out = np.zeros((2, 32), np.int32)
        run("int* out", body, 1, 64, out, order=order)
        rounds = np.arange(5)[:, None]
        np.testing.assert_array_equal(out[1], ((10 * rounds + np.arange(32)[::-1]) * (rounds + 1)).sum(axis=0))
    with pytest.raises(EmulationError, match="before barrier_init"):
        run("int* out", body.replace("barrier_init(&full, 32);", ""), 1, 64, out)


# hopper: clusters of blocks

# each block fetches one half of a box for both, and hands its own rank to the other's barrier
CLUSTER = """
    extern __shared__ __align__(1024) unsigned short tile[];
    __shared__ unsigned long long arrived, told;
    const int x = threadIdx.x, me = block_in_cluster();
    if (x == 0) {{
        barrier_init(&arrived, 1);
        barrier_init(&told, 1);
        barrier_init_done();
    }}
    {begin}
    if (x == 0) {{
        barrier_arrive_expecting(&arrived, 16 * 128);
        copy_box_to({blocks}, tile + me * 512, &map, &arrived, 0, 16 * (blockIdx.x / 2) + 8 * me);
        barrier_arrive_at(&told, {other});
    }}
    barrier_wait(&arrived, 0);
    barrier_wait(&told, 0);
    for (int i = x; i < 16 * 64; i += blockDim.x) out[blockIdx.x * 16 * 64 + i] = tile[i];
    {end}
"""
CLUSTER_PARAMETERS = "const __grid_constant__ emulation::Map map, unsigned short* out"
CLUSTER_PARTS = {"begin": "cluster_sync();", "blocks": "3", "other": "1 - me", "end": "cluster_sync();"}


@pytest.mark.parametrize("order", ORDERS)
def test_clusters(run: Run, order: Order) -> None:
    matrix = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    out = np.zeros((3, 2, 16, 64), np.uint16)
    body = CLUSTER.format(**CLUSTER_PARTS)
    run(CLUSTER_PARAMETERS, body, 6, 32, Boxes(matrix, 8, 64), out, shared=2048, order=order, cluster=2)
    for pair in range(3):
        for block in range(2):
            np.testing.assert_array_equal(out[pair, block], swizzled(matrix[16 * pair : 16 * pair + 16]))


@pytest.mark.parametrize(
    ("parts", "grid", "message"),
    [
        ({"begin": "__syncthreads();"}, 2, "before barrier_init"),
        ({"end": "if (me == 0) cluster_sync();"}, 2, "wait for ever"),
        ({"end": "if (x < 16) cluster_sync();\nelse cluster_sync();"}, 2, "different barriers"),
        ({"blocks": "1 << me"}, 2, "wait for ever"),
        ({"other": "0"}, 2, "more threads arrive|wait for ever"),
        ({"other": "2"}, 2, "none of rank 2"),
        ({}, 3, "no whole number of clusters"),
    ],
)
def test_clusters_that_are_wrong(run: Run, parts: dict[str, str], grid: int, message: str) -> None:
    box, out = Boxes(np.zeros((32, 64), np.uint16), 8, 64), np.zeros((3, 16, 64), np.uint16)
    body = CLUSTER.format(**CLUSTER_PARTS | parts)
    with pytest.raises(EmulationError, match=message):
        run(CLUSTER_PARAMETERS, body, grid, 32, box, out, shared=2048, cluster=2)


def test_a_block_that_has_returned_has_no_shared_memory(run: Run) -> None:
    body = """
    __shared__ unsigned long long told;
    if (threadIdx.x == 0) barrier_init(&told, 1);
    cluster_sync();
    if (block_in_cluster() == 0) {
        for (int i = 0; i < 100; ++i) __nanosleep(1);
        if (threadIdx.x == 0) barrier_arrive_at(&told, 1);
    }
    """
    with pytest.raises(EmulationError, match=r"block of the cluster has returned"):
        run("int n", body, 2, 32, 0, cluster=2)
    run("int n", body + "cluster_sync();", 2, 32, 0, cluster=2)


# hopper: products of a warpgroup

WGMMA = """
    extern __shared__ __align__(1024) unsigned short tiles[];
    const int x = threadIdx.x;
    for (int i = x; i < 320 * 64; i += 128) tiles[i] = ab[i];
    __syncthreads();
    float total[128], early = 0;
    for (int i = 0; i < 128; ++i) total[i] = d[128 * x + i];
    wgmma_fence();
    for (int p = 0; p < 64; p += 16)
        wgmma_m64n256k16_bf16(total, tile_descriptor(tiles + p), tile_descriptor(tiles + 64 * 64 + p));
    wgmma_commit();
    {early}
    wgmma_wait<0>();
    for (int i = 0; i < 128; ++i) d[128 * x + i] = total[i] + early;
"""


def wgmma_operands() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A (64,64) and Bᵀ (256,64), whole numbers that bf16 holds; both as they lie swizzled; and D (64,256)."""
    random = np.random.default_rng(0)
    a, b = (random.integers(-8, 9, (rows, 64)).astype(np.float32) for rows in (64, 256))
    bits = np.vstack([swizzled((x.view(np.uint32) >> 16).astype(np.uint16)) for x in (a, b)])
    return a, b, bits, random.integers(-50, 50, (64, 256)).astype(np.float32)


def in_warpgroup(matrix: np.ndarray) -> np.ndarray:
    """D (64,256) as 128 threads hold it, (128, 128): PTX ISA, register fragments of wgmma.m64nNk16."""
    thread, i = np.arange(128)[:, None], np.arange(128)
    lane = thread % 32
    return matrix[thread // 32 * 16 + lane // 4 + i // 2 % 2 * 8, i // 4 * 8 + lane % 4 * 2 + i % 2]


@pytest.mark.parametrize("order", ORDERS)
def test_wgmma(run: Run, order: Order) -> None:
    a, b, bits, d = wgmma_operands()
    held = in_warpgroup(d)
    run("const unsigned short* ab, float* d", WGMMA.format(early=""), 1, 128, bits, held, shared=40960, order=order)
    np.testing.assert_array_equal(held, in_warpgroup(d + a @ b.T))


@pytest.mark.parametrize(
    ("weakened", "message"),
    [
        (WGMMA.format(early="early = total[5];"), ""),
        (WGMMA.format(early="tiles[x % 64] = 0x7fff; __syncthreads();"), ""),
        (WGMMA.format(early="").replace("wgmma_wait<0>", "wgmma_wait<1>"), ""),
        (WGMMA.format(early="").replace("wgmma_commit();", ""), ""),
        (WGMMA.format(early="").replace("wgmma_fence();", ""), "without a wgmma_fence"),
        (WGMMA.format(early="").replace("wgmma_commit();", "if (x != 7) wgmma_commit();"), "wait for ever"),
        (WGMMA.format(early="").replace("tiles + p", "tiles + x % 2 * 8 + p"), "different operands"),
        (WGMMA.format(early="").replace("tiles + p", "tiles + 64 + p"), "first of a swizzle's 8 rows"),
        (WGMMA.format(early="").replace("tiles + p", "tiles + (1 << 20) + p"), "does not lie in shared memory"),
    ],
)  # fmt: skip
def test_products_that_are_wrong(run: Run, weakened: str, message: str) -> None:
    """Sums or operands touched before the wait, no wait, no commit: NaN. What the instruction forbids: an error."""
    *_, bits, d = wgmma_operands()
    held = in_warpgroup(d)
    if message:
        with pytest.raises(EmulationError, match=message):
            run("const unsigned short* ab, float* d", weakened, 1, 128, bits, held, shared=40960)
    else:
        run("const unsigned short* ab, float* d", weakened, 1, 128, bits, held, shared=40960)
        assert np.isnan(held).any()


def test_rounding_to_bf16(run: Run) -> None:
    random = np.random.default_rng(0)
    ties = (0x3F80_0000 + 0x8000 * np.arange(64, dtype=np.uint32)).view(np.float32)
    x = np.concatenate(
        [random.standard_normal(1000, np.float32), ties, -ties, np.float32([0, 3.4e38, np.inf, -np.inf])]
    )
    out = np.zeros(len(x), np.uint16)
    run("const float* x, unsigned short* out", "out[blockIdx.x] = to_bf16(x[blockIdx.x]);", len(x), 1, x, out)
    # the nearer of the two neighbours, by distance; of equally near ones the even
    below = (x.view(np.uint32) >> 16).astype(np.uint32)
    above = below + 1
    with np.errstate(invalid="ignore", over="ignore"):
        down, up = (np.abs((bits << 16).view(np.float32).astype(np.float64) - x) for bits in (below, above))
    nearest = np.where((down < up) | ((down == up) & (below % 2 == 0)), below, above)
    nearest = np.where(np.isinf(x), below, nearest)
    np.testing.assert_array_equal(out[:-3], nearest[:-3])
    assert out[-3:].tolist() == [0x7F80, 0x7F80, 0xFF80]
    nan = np.zeros(1, np.uint16)
    run("const float* x, unsigned short* out", "out[0] = to_bf16(x[0]);", 1, 1, np.float32([-np.nan]), nan)
    assert nan[0] == 0x7FFF
