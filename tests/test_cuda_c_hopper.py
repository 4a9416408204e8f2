"""cupy_hopper.cu on the CPU, in bf16 and TF32: right in every order, with boxes and products as late as they may be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from kernels.contract import Reference, VerificationError
from kernels.cuda.programs import PROGRAMS, Program
from kernels.cuda.tiles import Hopper
from kernels.ladder import find
from tests import emulation
from tests.emulation import Boxes, EmulationError, Order, compiler, emulate
from tests.mutants import changed

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

BF16, TF32 = PROGRAMS["cuda-cupy-hopper"], PROGRAMS["cuda-cupy-hopper-tf32"]
ORDERS: tuple[Order, ...] = ("forward", "reverse", 1)


def operands(m: int, k: int, n: int, layout: str = "nn") -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([m, k, n])
    return (
        random.standard_normal((m, k), np.float32).copy("F" if layout[0] == "t" else "C"),
        random.standard_normal((k, n), np.float32).copy("F" if layout[1] == "t" else "C"),
    )


def laid_out(x: np.ndarray, program: Program, tile: Hopper, order: Order, source: Path) -> np.ndarray:
    """x (lines, depth), in C order or transposed, with depth along the rows, in numbers as the kernel shortens them."""
    lines, depth = x.shape
    whole = 16 // tile.bytes
    pitch = -(-depth // whole) * whole
    y = np.full((lines, pitch), 0xFFFF, np.uint16) if tile.bytes == 2 else np.full((lines, pitch), np.nan, np.float32)
    emulate(
        source, program.options(tile), (-(-pitch // 32) * -(-lines // 32),), (32, 8), 0,
        x, y, lines, depth, *(stride // 4 for stride in x.strides), pitch,
        order=order, at_start=order == "reverse", kernel="lay_out",
    )  # fmt: skip
    return y


def product(a: np.ndarray, b: np.ndarray, program: Program, order: Order, tile: Hopper, source: Path) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, np.float32)
    boxes = [
        Boxes(laid_out(x, program, tile, order, source), rows, tile.block_k)
        for x, rows in ((a, tile.block_m), (b.T, tile.block_n // tile.cluster))
    ]
    grid = tile.resident_grid(m, n, 2)  # so that most blocks make several tiles
    emulate(
        source, program.options(tile), grid, tile.block, tile.shared_bytes, *boxes, c, m, n, k,
        order=order, at_start=order == "reverse", cluster=tile.cluster,
    )  # fmt: skip
    return c


def check(a: np.ndarray, b: np.ndarray, program: Program, source: Path | None = None, **sizes: int) -> None:
    """sizes: other than the default tile's."""
    tile, source = replace(program.tile, **sizes), source or program.source
    first = product(a, b, program, ORDERS[0], tile, source)
    Reference.of(a, b).check(first, program.name, find(program.name).rounds_to)
    for order in ORDERS[1:]:
        np.testing.assert_array_equal(product(a, b, program, order, tile, source), first)


@pytest.mark.parametrize("program", [BF16, TF32], ids=lambda program: program.name)
@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (63, 9, 8), (129, 64, 257), (128, 200, 256), (300, 65, 40)], ids=str)
def test_ragged_shapes(shape: tuple[int, int, int], layout: str, program: Program) -> None:
    check(*operands(*shape, layout), program, stages=2, group=2)


@pytest.mark.parametrize("cluster", [1, 2, 4])
def test_clusters(cluster: int) -> None:
    check(*operands(600, 130, 264), BF16, stages=2, group=2, cluster=cluster)


@pytest.mark.parametrize("program", [BF16, TF32], ids=lambda program: program.name)
def test_default_sizes(program: Program) -> None:
    check(*operands(260, 600, 300), program)


@pytest.mark.parametrize("program", [BF16, TF32], ids=lambda program: program.name)
def test_nan_and_infinity_stay_in_their_rows_and_columns(program: Program) -> None:
    a, b = operands(70, 70, 70)
    a[0, 69], a[69, 0], b[69, 69], b[3, 5] = np.nan, np.inf, -np.inf, np.nan
    check(a, b, program, stages=3, group=1, cluster=1)


def test_rounding_is_to_the_nearest_bf16_ties_to_even() -> None:
    bits = np.arange(0x3F80_0000, 0x3F84_0000, 0x1000, dtype=np.uint32).reshape(8, 8)
    rest = bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (bits >> 16 & 1 == 1))
    expected = (bits >> 16) + up
    found = laid_out(bits.view(np.float32), BF16, cast(Hopper, BF16.tile), "forward", BF16.source)
    np.testing.assert_array_equal(found, expected)


WEAKENED = [
    (r"__syncthreads\(\);", ""),
    (r"cluster_sync\(\);", ""),
    (r"cluster_sync\(\);", "__syncthreads();"),
    (r"barrier_wait\(.*\);", ""),
    (r"barrier_arrive_expecting\(.*\);", "barrier_arrive_at(&full[stage], block_in_cluster());"),
    (r"free_last_stage\(\);", ";"),
    (r"turn\.stage_before\(\)", "turn.stage"),
    (r", parity \^= 1", ""),
    (r"lane < CLUSTER", "lane < 1"),
    (r"4 \* CONSUMERS \* CLUSTER", "4 * CONSUMERS"),
    (r"4 \* CONSUMERS \* CLUSTER", "4 * CLUSTER"),
    (r"\(1 << CLUSTER\) - 1", "1 << block_in_cluster()"),
    (r" \^ 1\);", ");"),
    (r"wgmma_fence\(\);", ""),
    (r"wgmma_commit\(\);", ""),
    (r"wgmma_wait<0>\(\);", ""),
    (r"wgmma_wait<1>\(\);", "wgmma_wait<2>();"),
    (r", A_TILE \+ B_TILE\);", ", A_TILE);"),
]


def mutants() -> list[Any]:
    text = BF16.source.read_text()
    return [
        pytest.param(text[: match.start()] + weaker + text[match.end() :], id=f"{match[0]}-{weaker}-{number}")
        for pattern, weaker in WEAKENED
        for number, match in enumerate(re.finditer(pattern, text))
    ]


@pytest.mark.parametrize("text", mutants())
def test_no_synchronisation_is_superfluous(text: str, tmp_path: Path) -> None:
    source = changed(BF16.source, text, tmp_path)
    sizes = {"stages": 2, "group": 1}
    compiler.build(source, BF16.options(replace(BF16.tile, **sizes)))
    with pytest.raises((VerificationError, EmulationError, AssertionError)):
        check(*operands(300, 64 * 7, 256), BF16, source, **sizes)
