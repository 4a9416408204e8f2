"""cupy_hopper.cu on the CPU: right in every order, with boxes and products that come as late as they may."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.contract import Reference, VerificationError
from kernels.cuda.programs import PROGRAMS
from kernels.cuda.tiles import Hopper
from tests import emulation
from tests.emulation import Boxes, EmulationError, Order, compiler, emulate

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

PROGRAM = PROGRAMS["cuda-cupy-hopper"]
ORDERS: tuple[Order, ...] = ("forward", "reverse", 1)


def operands(m: int, k: int, n: int, layout: str = "nn") -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([m, k, n])
    return (
        random.standard_normal((m, k), np.float32).copy("F" if layout[0] == "t" else "C"),
        random.standard_normal((k, n), np.float32).copy("F" if layout[1] == "t" else "C"),
    )


def rounded(x: np.ndarray, tile: Hopper, order: Order, source: Path) -> np.ndarray:
    """x (lines, depth), in C order or transposed, as bf16 with depth along the rows, as the kernel rounds it."""
    lines, depth = x.shape
    pitch = -(-depth // 8) * 8
    y = np.full((lines, pitch), 0xFFFF, np.uint16)
    emulate(
        source, PROGRAM.options(tile), (-(-pitch // 32) * -(-lines // 32),), (32, 8), 0,
        x, y, lines, depth, *(stride // 4 for stride in x.strides), pitch,
        order=order, at_start=order == "reverse", kernel="round_operand",
    )  # fmt: skip
    return y


def product(a: np.ndarray, b: np.ndarray, order: Order, tile: Hopper, source: Path = PROGRAM.source) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, np.float32)
    boxes = [
        Boxes(rounded(x, tile, order, source), rows, tile.block_k)
        for x, rows in ((a, tile.block_m), (b.T, tile.block_n // tile.cluster))
    ]
    grid = tile.resident_grid(m, n, 2)  # so that most blocks make several tiles
    emulate(
        source, PROGRAM.options(tile), grid, tile.block, tile.shared_bytes, *boxes, c, m, n, k,
        order=order, at_start=order == "reverse", cluster=tile.cluster,
    )  # fmt: skip
    return c


def check(a: np.ndarray, b: np.ndarray, tile: Hopper, source: Path = PROGRAM.source) -> None:
    first = product(a, b, ORDERS[0], tile, source)
    Reference.of(a, b).check(first, PROGRAM.name, "bf16")
    for order in ORDERS[1:]:
        np.testing.assert_array_equal(product(a, b, order, tile, source), first)


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (63, 9, 8), (129, 64, 257), (128, 200, 256), (300, 65, 40)], ids=str)
def test_ragged_shapes(shape: tuple[int, int, int], layout: str) -> None:
    check(*operands(*shape, layout), Hopper(2, 2, 2))


@pytest.mark.parametrize("cluster", [1, 2, 4])
def test_clusters(cluster: int) -> None:
    check(*operands(600, 130, 264), Hopper(2, 2, cluster))


def test_default_sizes() -> None:
    check(*operands(260, 600, 300), PROGRAM.tile)


def test_nan_and_infinity_stay_in_their_rows_and_columns() -> None:
    a, b = operands(70, 70, 70)
    a[0, 69], a[69, 0], b[69, 69], b[3, 5] = np.nan, np.inf, -np.inf, np.nan
    check(a, b, Hopper(3, 1, 1))


def test_rounding_is_to_the_nearest_bf16_ties_to_even() -> None:
    bits = np.arange(0x3F80_0000, 0x3F84_0000, 0x1000, dtype=np.uint32).reshape(8, 8)
    rest = bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (bits >> 16 & 1 == 1))
    expected = (bits >> 16) + up
    np.testing.assert_array_equal(rounded(bits.view(np.float32), PROGRAM.tile, "forward", PROGRAM.source), expected)


WEAKENED = [
    (r"__syncthreads\(\);", ""),
    (r"cluster_sync\(\);", ""),
    (r"cluster_sync\(\);", "__syncthreads();"),
    (r"barrier_wait\(.*\);", ""),
    (r"barrier_arrive_expecting\(.*\);", "barrier_arrive_at(&full[stage], block_in_cluster());"),
    (r"free_last_stage\(\);", ";"),
    (r"\(turn - 1\) % STAGES", "turn % STAGES"),
    (r"lane < CLUSTER", "lane < 1"),
    (r"4 \* CONSUMERS \* CLUSTER", "4 * CONSUMERS"),
    (r"4 \* CONSUMERS \* CLUSTER", "4 * CLUSTER"),
    (r"\(1 << CLUSTER\) - 1", "1 << block_in_cluster()"),
    (r"\^ 1\);", ");"),
    (r"wgmma_fence\(\);", ""),
    (r"wgmma_commit\(\);", ""),
    (r"wgmma_wait<0>\(\);", ""),
    (r"wgmma_wait<1>\(\);", "wgmma_wait<2>();"),
    (r"2 \* \(A_TILE \+ B_TILE\);", "2 * A_TILE;"),
]


def mutants() -> list[Any]:
    text = PROGRAM.source.read_text()
    return [
        pytest.param(text[: match.start()] + weaker + text[match.end() :], id=f"{match[0]}-{weaker}-{number}")
        for pattern, weaker in WEAKENED
        for number, match in enumerate(re.finditer(pattern, text))
    ]


@pytest.mark.parametrize("text", mutants())
def test_no_synchronisation_is_superfluous(text: str, tmp_path: Path) -> None:
    source = tmp_path / PROGRAM.source.name
    source.write_text(text)
    tile = Hopper(2, 1, 2)
    compiler.build(source, PROGRAM.options(tile))
    with pytest.raises((VerificationError, EmulationError, AssertionError)):
        check(*operands(300, 64 * 7, 256), tile, source)
