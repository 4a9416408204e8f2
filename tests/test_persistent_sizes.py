"""The persistent kernel's sizes, and its machine code for them: all blocks resident, registers within budget."""

from __future__ import annotations

import pytest

from kernels.cuda import offline
from kernels.cuda.architectures import ARCHITECTURES, GPUS
from kernels.cuda.launch import GPU
from kernels.cuda.occupancy import occupancy
from rnn import persistent_sizes
from rnn.persistent_cuda import SOURCE, why_not
from rnn.persistent_sizes import MOST_HIDDEN, Sizes, choose
from rnn.settings import Settings

CHIPS = {card.name: (card.multiprocessors, ARCHITECTURES[card.architecture].shared_per_block) for card in GPUS}
# a Turing chip is not among them
COMPILED = {61: (19, 49_152), 75: (40, 65_536), 80: (108, 166_912), 90: (132, 232_448)}
needs_compiler = pytest.mark.skipif(
    offline.why_no_compiler() is not None, reason=offline.why_no_compiler() or "there is a compiler"
)


@pytest.mark.parametrize(
    ("card", "rows", "in_registers", "in_shared"),
    [("GeForce GTX 1070 Ti", 4, 2, 0), ("A100 SXM 80 GB", 2, 4, 4), ("H200 SXM", 1, 5, 5)],
)
def test_the_published_network(card: str, rows: int, in_registers: int, in_shared: int) -> None:
    sizes = choose(128, 128, *CHIPS[card])
    assert (sizes.rows, sizes.quads_in_registers, sizes.quads_in_shared) == (rows, in_registers, in_shared)
    assert (sizes.blocks, sizes.threads) == (CHIPS[card][0], 512)


def test_an_h200_holds_all_weights_on_the_chip() -> None:
    sizes = choose(128, 128, *CHIPS["H200 SXM"])
    assert sizes.quads_in_registers + sizes.quads_in_shared == sizes.quads == (32 + 128) // 16
    # of 28 + 128 rows padded to 160, 512 columns, 4 bytes
    assert (sizes.quads_in_registers + sizes.quads_in_shared) * 16 * sizes.threads * 4 == 160 * 512 * 4


@pytest.mark.parametrize("card", CHIPS)
@pytest.mark.parametrize("batch", [1, 2, 19, 100, 128, 133, 500, 4096])
@pytest.mark.parametrize("hidden", [1, 15, 16, 17, 64, 65, 100, 128])
def test_whatever_is_asked_fits_and_no_warp_has_two_tasks(card: str, batch: int, hidden: int) -> None:
    multiprocessors, shared = CHIPS[card]
    sizes = choose(hidden, batch, multiprocessors, shared)
    assert sizes.hidden <= sizes.units <= max(16, 2 * hidden)
    assert sizes.shared_bytes <= shared
    assert sizes.quads_in_registers + sizes.quads_in_shared <= sizes.quads
    assert sizes.rows * sizes.blocks >= min(batch, 4 * sizes.blocks)
    assert sizes.slices >= 1
    assert sizes.output_slices >= 1
    assert sizes.slices == 1 or 28 * batch >= 32 * sizes.slices, "none shorter than 32 rows"
    # no warp has two tasks, unless all rows are one slice
    assert sizes.slices == 1 or sizes.tasks <= sizes.blocks * sizes.threads // 32


@pytest.mark.parametrize(("batch", "rows"), [(132, 1), (133, 2), (264, 2), (265, 4)])
def test_a_block_has_as_few_images_as_let_one_pass_serve_the_batch(batch: int, rows: int) -> None:
    assert choose(128, batch, *CHIPS["H200 SXM"]).rows == rows


def test_a_block_needs_room_for_the_operands_of_four_images() -> None:
    least = 4 * 4 * (2 * 4 * 128 + 10)  # two buffers of four gates, and ten scores
    assert persistent_sizes.why_not(128, least) is None
    assert f"needs {least} bytes" in str(persistent_sizes.why_not(128, least - 1))


def test_why_not() -> None:
    able = GPU("chip", 90, 132, 232_448)
    assert why_not(Settings(), able) is None
    assert why_not(Settings(hidden=MOST_HIDDEN), able) is None
    assert "at most 128 hidden units, not 129" in str(why_not(Settings(hidden=129), able))
    assert "not for the elman cell" in str(why_not(Settings(cell="elman"), able))
    assert "cooperative launch" in str(why_not(Settings(), able._replace(cooperative=False)))
    assert "a block, this GPU has 1000" in str(why_not(Settings(), able._replace(shared_bytes=1000)))
    with pytest.raises(ValueError, match="at most 128"):
        choose(129, 1, 132, 232_448)


@needs_compiler
@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize(("hidden", "most_spilled"), [(128, 0), (64, 0), (32, 0), (16, 0), (100, 48)])
@pytest.mark.parametrize("architecture", COMPILED)
def test_machine_code_keeps_its_numbers_in_registers_and_its_blocks_resident(
    architecture: int, hidden: int, most_spilled: int, rows: int
) -> None:
    """Of hidden sizes that need padding, a thread may set up to six numbers aside once, in bytes there and back; of
    all others only where it has the most weights in registers, on chips older than Hopper."""
    if (hidden, rows) == (128, 1) and architecture < 90:
        most_spilled = 40  # a batch of no more images than the chip has SMs
    multiprocessors, shared = COMPILED[architecture]
    sizes = choose(hidden, rows * multiprocessors, multiprocessors, shared)
    assert sizes.rows == rows
    _check(architecture, sizes, most_spilled)


# as in `COMPILED`, and the bytes that a thread may set aside
OTHERS = {
    70: (80, 98_304, 0),
    86: (28, 101_376, 0),
    89: (46, 101_376, 0),
    100: (148, 232_448, 56),
    120: (170, 101_376, 56),
}


@needs_compiler
@pytest.mark.parametrize("architecture", OTHERS)
def test_machine_code_of_the_published_network_for_other_chips(architecture: int) -> None:
    *chip, most_spilled = OTHERS[architecture]
    _check(architecture, choose(128, 128, *chip), most_spilled)


def _check(architecture: int, sizes: Sizes, most_spilled: int) -> None:
    compiled = offline.compile_source(SOURCE, f"sm_{architecture}", sizes.options())
    resident = occupancy(compiled.registers, sizes.threads, compiled.static_shared + sizes.shared_bytes, architecture)
    assert resident.blocks_per_sm >= 1
    assert compiled.spill_bytes <= most_spilled
    assert compiled.registers <= {512: 128}.get(sizes.threads, 255)
    assert not compiled.warnings
