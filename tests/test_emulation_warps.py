"""The emulator of CUDA C: warps and tensor cores, as the CUDA guide and the PTX ISA describe them."""

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


# warps


@pytest.mark.parametrize("width", [4, 32])
def test_shuffles(run: Run, width: int) -> None:
    body = """
    const int x = threadIdx.x;
    out[0 * 64 + x] = __shfl_sync(~0u, a[x], x * x, width);
    out[1 * 64 + x] = __shfl_up_sync(~0u, a[x], 3, width);
    out[2 * 64 + x] = __shfl_down_sync(~0u, a[x], 3, width);
    out[3 * 64 + x] = __shfl_xor_sync(~0u, a[x], 6, width);
    """
    out = np.zeros((4, 64), np.float32)
    x = np.arange(64)
    within, first = x % width, x // width * width
    # the other of an exclusive or may lie in an earlier group, but not in a later one
    partner = x ^ 6
    expected = [
        first + x * x % width,
        np.where(within >= 3, x - 3, x),
        np.where(within + 3 < width, x + 3, x),
        np.where(partner < first + width, partner, x),
    ]
    for order in ORDERS:
        run("const float* a, float* out, int width", body, 1, 64, floats(64), out, width, order=order)
        np.testing.assert_array_equal(out, expected)


def test_votes(run: Run) -> None:
    body = """
    const int x = threadIdx.x;
    const unsigned half = x % 32 < 16 ? 0xffffu : 0xffff0000u;
    out[x] = __ballot_sync(half, x % 5 == 0);
    out[x + 64] = __any_sync(~0u, x == 40) + 2 * __all_sync(~0u, x < 50);
    """
    out = np.zeros((2, 64), np.uint32)
    run("unsigned* out", body, 1, 64, out)
    for x in range(64):
        first = x // 16 * 16
        assert out[0, x] == sum(1 << y % 32 for y in range(first, first + 16) if y % 5 == 0)
        assert out[1, x] == (2 if x < 32 else 1)


def test_lanes_that_are_missing(run: Run) -> None:
    with pytest.raises(EmulationError, match=r"31 at __shfl_sync .*1 returned, first \(31,0,0\)"):
        run("float* out", "if (threadIdx.x < 31) out[0] = __shfl_sync(~0u, 1.0f, 0);", 1, 32, floats(1))
    with pytest.raises(EmulationError, match="lane 0 asks for a number of lane 9"):
        run("float* out", "if (threadIdx.x < 8) out[0] = __shfl_sync(0xffu, 1.0f, 9);", 1, 32, floats(1))
    with pytest.raises(EmulationError, match="not in its own mask"):
        run("float* out", "__syncwarp(0xffff);", 1, 32, floats(1))
    with pytest.raises(EmulationError, match="wait for ever"):
        run("float* out", "__syncwarp(threadIdx.x == 0 ? 3 : 7);", 1, 3, floats(1))


def test_a_warp_waits_for_its_lanes(run: Run) -> None:
    body = "__shared__ float box[32]; box[x] = x; {wait} out[x] = box[31 - x];"
    for order in ORDERS:
        out = np.zeros(32, np.float32)
        run("float* out", "const int x = threadIdx.x;" + body.format(wait="__syncwarp();"), 1, 32, out, order=order)
        np.testing.assert_array_equal(out, np.arange(32)[::-1])
        run("float* out", "const int x = threadIdx.x;" + body.format(wait=""), 1, 32, out, order=order)
        assert np.isnan(out).any()


# tensor cores

MMA = """
    const int x = threadIdx.x;
    mma_m16n8k8_tf32(*reinterpret_cast<float(*)[4]>(d + 4 * x), *reinterpret_cast<const float(*)[4]>(a + 4 * x),
                     *reinterpret_cast<const float(*)[2]>(b + 2 * x));
"""
PARAMETERS = "const float* a, const float* b, float* d"


def rounded(x: np.ndarray) -> np.ndarray:
    """To the nearest number with 11 significant bits, ties away from zero, by arithmetic rather than by bits."""
    fraction, exponent = np.frexp(x.astype(np.float64))
    return np.ldexp(np.copysign(np.floor(np.abs(fraction) * 2048 + 0.5), fraction), exponent - 11)


def in_registers(matrix: np.ndarray, which: str) -> np.ndarray:
    """A (16,8), B (8,8) or D (16,8) as the 32 lanes hold it, (32, registers): PTX ISA, fragments of mma.m16n8k8."""
    held = []
    for lane in range(32):
        group, within = lane >> 2, lane % 4
        if which == "a":
            cells = [(group, within), (group + 8, within), (group, within + 4), (group + 8, within + 4)]
        elif which == "b":
            cells = [(within, group), (within + 4, group)]
        else:
            cells = [(group + 8 * (i >= 2), 2 * within + (i & 1)) for i in range(4)]
        held.append([matrix[cell] for cell in cells])
    return np.array(held, np.float32)


@pytest.mark.parametrize("order", ORDERS)
def test_mma(run: Run, order: Order) -> None:
    random = np.random.default_rng(0)
    a, b, d = (random.standard_normal(shape, np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    a, b = rounded(a), rounded(b)
    held = in_registers(d, "d")
    run(PARAMETERS, MMA, 1, 32, in_registers(a, "a"), in_registers(b, "b"), held, order=order)
    exact = in_registers(d + a @ b, "d")
    bound = in_registers(np.abs(d) + np.abs(a) @ np.abs(b), "d") * 9 * 2.0**-24
    assert (np.abs(held - exact) <= bound).all()


@pytest.mark.parametrize("register", range(4))
def test_where_each_register_goes(run: Run, register: int) -> None:
    """One 1 in a lane's register of A, and B whose b(p, j) = 1 + 8p + j says where it was; likewise for B."""
    count = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    for lane in range(32):
        group, within = lane // 4, lane % 4
        row, step = group + 8 * (register % 2), within + 4 * (register // 2)
        held, one = np.zeros((32, 4), np.float32), np.zeros((32, 4), np.float32)
        one[lane, register] = 1
        run(PARAMETERS, MMA, 1, 32, one, in_registers(count, "b"), held)
        expected = np.zeros((16, 8))
        expected[row] = count[step]
        np.testing.assert_array_equal(held, in_registers(expected, "d"))
        if register < 2:
            held, one = np.zeros((32, 4), np.float32), np.zeros((32, 2), np.float32)
            one[lane, register] = 1
            run(PARAMETERS, MMA, 1, 32, in_registers(np.vstack((count, -count)), "a"), one, held)
            expected = np.zeros((16, 8))
            expected[:, group] = np.vstack((count, -count))[:, within + 4 * register]
            np.testing.assert_array_equal(held, in_registers(expected, "d"))


def test_mma_does_not_look_at_the_lowest_bits(run: Run) -> None:
    """Numbers are cut off, not rounded: an error of up to a unit, not half a unit, in the last place."""
    held = np.zeros((32, 4), np.float32)
    nearly_two = np.nextafter(np.float32(2), np.float32(0))
    run(PARAMETERS, MMA, 1, 32, np.full((32, 4), nearly_two), np.ones((32, 2), np.float32), held)
    assert (held == 8 * (2 - 2.0**-10)).all()


def test_mma_needs_the_whole_warp(run: Run) -> None:
    numbers = np.zeros((32, 4), np.float32)
    with pytest.raises(EmulationError, match="all 32 lanes"):
        run(PARAMETERS, MMA, 1, 31, numbers, numbers, numbers.copy())
