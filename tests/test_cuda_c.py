"""The CUDA C kernels, on the CPU: right for ragged shapes, in every order of the threads, and inside their arrays."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from kernels.contract import Reference, VerificationError
from kernels.cuda.compile import with_includes
from kernels.cuda.programs import PROGRAMS, Program
from kernels.cuda.tiles import OneEach, Pipelined, Register, Square, Tensor, Tile, Vector, WarpTile
from kernels.ladder import find
from tests import emulation
from tests.emulation import EmulationError, Order, compiler, emulate
from tests.mutants import changed

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

ORDERS: tuple[Order, ...] = ("forward", "reverse", 1)
# as small as the classes allow: many blocks and many tiles along K from little arithmetic
SMALL: dict[str, Tile] = {
    "cuda-cupy-naive": OneEach(3, 5, along_rows=True),
    "cuda-cupy-coalesced": OneEach(3, 5),
    "cuda-cupy-shared": Square(4),
    "cuda-cupy-register": Register(6, 4, 5, 3, 2),
    "cuda-cupy-vector": Vector(16, 32, 8, 4, 4),
    "cuda-cupy-pipelined": Pipelined(32, 16, 4, 4, 4, 2),
    "cuda-cupy-warptile": WarpTile(32, 32, 8, 16, 32, 2, 1, 2, 4, 4, 2),
    "cuda-cupy-tensor": Tensor(32, 32, 16, 16, 32, 3, 1, 2),
}
LAYOUTS = ("nn", "nt", "tn", "tt")


class Case(NamedTuple):
    """A program, one of its tiles, and how the operands lie: n or t for each, and whether rows are of whole fours."""

    program: Program
    tile: Tile
    layout: str = "nn"
    aligned: bool = False

    def __str__(self) -> str:
        size = "default" if self.tile == self.program.tile else "small"
        return f"{self.program.name}-{size}-{self.layout}-{'fours' if self.aligned else 'ones'}"

    @property
    def options(self) -> tuple[str, ...]:
        return self.program.options(self.tile, self.layout[0] == "n", self.layout[1] == "t", self.aligned)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The tile as (m, k, n)."""
        tile: Any = self.tile
        if isinstance(tile, Square):
            return tile.tile, tile.tile, tile.tile
        return tile.block_m, getattr(tile, "block_k", 1), tile.block_n

    def fitting(self, m: int, k: int, n: int) -> tuple[int, int, int]:
        """The shape, or the next one whose rows are of whole fours."""
        if not self.aligned:
            return m, k, n
        along_k = self.layout[0] == "n" or self.layout[1] == "t"
        return -(-m // 4) * 4 if self.layout[0] == "t" else m, -(-k // 4) * 4 if along_k else k, -(-n // 4) * 4


TILES = [
    Case(program, tile) for name, program in PROGRAMS.items() if name in SMALL for tile in (program.tile, SMALL[name])
]
CASES = [
    case._replace(layout=layout, aligned=aligned)
    for case, layout, aligned in product(TILES, LAYOUTS, (False, True))
    if case.program.specialised or not aligned
]
OTHER_TILES = [
    Case(case.program, tile, layout, aligned)
    for case in TILES[::2]
    for tile in case.program.tiles[1:]
    for layout, aligned in (("nn", False), ("nt", True))
]


@pytest.fixture(scope="module", autouse=True)
def compiled(request: pytest.FixtureRequest) -> None:
    """What the selected tests need, beforehand, on all cores."""
    compiler.runtime()
    tests = [test for test in request.session.items if test.module is request.module and hasattr(test, "callspec")]
    cases = {test.callspec.params["case"] for test in tests}
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda what: compiler.build(*what), {(case.program.source, case.options) for case in cases}))


def operands(case: Case, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng([m, k, n])
    return (
        random.standard_normal((m, k), np.float32).copy("F" if case.layout[0] == "t" else "C"),
        random.standard_normal((k, n), np.float32).copy("F" if case.layout[1] == "t" else "C"),
    )


def run(case: Case, a: np.ndarray, b: np.ndarray, order: Order, source: Path | None = None) -> np.ndarray:
    """a · b into a C full of NaN; arrays end at forbidden memory, in the reverse order they begin there."""
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, np.float32)
    strides = ((k, 1) if case.layout[0] == "n" else (1, m)) + ((n, 1) if case.layout[1] == "n" else (1, k))
    emulate(
        source or case.program.source, case.options, case.tile.grid(m, n), case.tile.block, case.tile.shared_bytes,
        a, b, c, m, n, k, *strides, order=order, at_start=order == "reverse",
    )  # fmt: skip
    return c


def check(case: Case, a: np.ndarray, b: np.ndarray, source: Path | None = None) -> None:
    """Right, and to the last bit the same in all orders."""
    reference = Reference.of(a, b)
    first = run(case, a, b, ORDERS[0], source)
    reference.check(first, case.program.name, find(case.program.name).rounds_to)
    for order in ORDERS[1:]:
        np.testing.assert_array_equal(run(case, a, b, order, source), first)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_ragged_shapes(case: Case) -> None:
    m, k, n = case.sizes
    shapes = {
        (1, 1, 1), (m, k, n), (m - 1, k + 1, n + 1), (m + 1, k - 1, n - 1), (2 * m + 1, 2 * k + 1, 2 * n + 1),
        (1, 3 * k + 2, 2 * n + 3), (2 * m + 3, 3 * k + 2, 1), (1, 5 * k + 1, 1),
    }  # fmt: skip
    for shape in sorted({case.fitting(*shape) for shape in shapes if min(shape)}):
        check(case, *operands(case, *shape))


@pytest.mark.parametrize("case", [case for case in CASES if case.tile != case.program.tile], ids=str)
def test_every_depth(case: Case) -> None:
    """K from 1 to beyond the second tile: the first tiles, the last, and none at all are each a special case."""
    m, k, n = case.sizes
    for shape in sorted({case.fitting(m + 1, depth, n - 1) for depth in range(1, 2 * k + 2)}):
        check(case, *operands(case, *shape))


@pytest.mark.parametrize("case", [case for case in CASES if case.tile != case.program.tile], ids=str)
def test_nan_and_infinity_stay_in_their_rows_and_columns(case: Case) -> None:
    m, k, n = case.fitting(*(2 * size + 1 for size in case.sizes))
    a, b = operands(case, m, k, n)
    a[0, k - 1], a[m - 1, 0], a[m // 2, k // 2] = np.nan, np.inf, -np.inf
    b[k - 1, n - 1], b[0, n // 2] = -np.inf, np.nan
    check(case, a, b)


@pytest.mark.parametrize("case", OTHER_TILES, ids=lambda case: f"{case.tile}-{case.layout}")
def test_the_other_tiles_to_choose_from(case: Case) -> None:
    m, k, n = case.sizes
    a, b = operands(case, *case.fitting(m + 1, 2 * k + 3, n + 1))
    Reference.of(a, b).check(run(case, a, b, "reverse"), case.program.name, find(case.program.name).rounds_to)


# mutations: a kernel with one synchronisation less, or a wait that is too short

WEAKENED = {r"__syncthreads\(\);": "", r"wait_copies<(?!0>).*?>\(\);": "", r"STAGES - 2>": "STAGES - 1>"}
# with two stages, or with slices, nothing is on its way when all tiles are multiplied
FOUR_STAGES = Case(PROGRAMS["cuda-cupy-warptile"], WarpTile(32, 16, 8, 32, 16, 4, 1, 2, 4, 4))


def mutants() -> list[Any]:
    found = []
    for case in [*TILES, FOUR_STAGES]:
        # between slices of k the barriers are a header's
        sliced = getattr(case.tile, "slices", 1) > 1
        text = with_includes(case.program.source) if sliced else case.program.source.read_text()
        for pattern, weaker in WEAKENED.items():
            for number, match in enumerate(re.finditer(pattern, text)):
                mutant = text[: match.start()] + weaker + text[match.end() :]
                found.append(pytest.param(case, mutant, id=f"{case}-{match[0]}-{number}"))
    return found


@pytest.mark.parametrize(("case", "text"), mutants())
def test_no_synchronisation_is_superfluous(case: Case, text: str, tmp_path: Path) -> None:
    source = changed(case.program.source, text, tmp_path)
    m, k, n = case.sizes
    a, b = operands(case, m, 6 * k, n)
    check(case, a, b)
    compiler.build(source, case.options)
    with pytest.raises((VerificationError, EmulationError, AssertionError)):
        check(case, a, b, source)


def test_no_block_ends_before_the_last_copies_have_come(tmp_path: Path) -> None:
    original = FOUR_STAGES.program.source
    source = changed(original, original.read_text().replace("wait_copies<0>();", ""), tmp_path)
    a, b = operands(FOUR_STAGES, 32, 50, 16)
    check(FOUR_STAGES, a, b)
    with pytest.raises(EmulationError, match=r"block \(0,0,0\) has returned before 768 of its copies came"):
        check(FOUR_STAGES, a, b, source)
