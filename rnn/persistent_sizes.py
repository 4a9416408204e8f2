"""The sizes of the persistent kernel, chosen from what a GPU has and what a batch needs. No backend is imported.

Why a batch split. A training step of the published network (batch N = 128, hidden H = 128, T = 28 steps) makes
T·N·(28 + H)·4H = 286 million multiply-adds forward, T·N·H·4H = 235 million back through time and 286 million for the
weight gradients, 807 million in all. A chip of 132 multiprocessors (SMs) with 128 lanes each at 1.98 GHz makes 33.5 T
of them a second: its floor is 24 µs. No time step can begin before the last is done, so what counts is the way from one
h to the next, 28 times there and 28 times back.

    hidden split: P blocks share the units of a group of images. Each holds 1/P of the recurrent weights (H·4H·4 bytes
        = 256 KiB), which fits anywhere, but in each time step all P meet, through L2: a write, a fence, an atomic add
        and a spinning read: 1.35 µs together where all blocks of an H100 meet. 56 such meetings are 76 µs of waiting,
        and the arithmetic comes on top.
    batch split: images meet only in the weight gradients. A block that owns its images needs nobody for 56 time
        steps; its barrier is __syncthreads, tens of clocks. But it needs all weights: 160·512·4 bytes = 320 KiB
        forward (28 inputs padded to 32), 256 KiB back. An H200's SM has 227 KiB of shared memory for a block and 256
        KiB of registers, of which the weights get 160. With one image to an SM a time step forward is 82 K
        multiply-adds, 640 clocks; its weights in shared memory, 160 KiB, are read at 128 bytes a clock in 1280
        clocks, back 96 KiB in 768. Operands, sums over lanes, gates and the barrier, which depend on one another, take
        about as long again: some 1.1 µs there and 0.9 µs back, 28 times. And each SM fetches all weights from L2, once
        there and once back: 76 MB, 14 µs at 5.5 TB/s. So 56 time steps are some 70 µs, counted in the machine code for
        sm_90; a model of the issue slots says 80. Measured on an H100: 93, of which the weights take 16.

The batch split is chosen: its bound is the SM's own shared memory rather than the latency between SMs. The two grid
barriers of a training step take an H100 2.7 µs where all blocks come at once; in a step 11 of 128, as they do not (the
files of the H100 in experiments/results). It also works on smaller chips: with more images to a
block each weight that is read is multiplied more often (`rows` at a time), and what does not fit on the chip is read
from L2 again in each time step.

The weight gradients are then one product over 28·N rows, (29 + H) x 4H numbers. A warp takes a 32 x 32 tile of it and a
slice of the rows, so many slices that every warp has a task. Their sums are added in the order of the slices: no atomic
operations on numbers, so the same seed gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass

from kernels.cuda.architectures import ARCHITECTURES
from rnn.data import CLASSES, PIXELS

__all__ = ["INPUTS", "MOST_HIDDEN", "STEPS", "Sizes", "choose", "why_not"]

STEPS = INPUTS = PIXELS
MOST_HIDDEN = 128  # four threads a unit, 512 in all: beyond, a thread has too few registers
SM = ARCHITECTURES[61]  # as many registers, handed out in the same units, as all since


@dataclass(frozen=True)
class Sizes:
    """What the kernel is compiled and launched with.

    rows: images that a block works on at a time. quads_in_registers, quads_in_shared: how many times 16 weights a
    thread keeps there. blocks: of the grid, one to an SM. slices, output_slices: into which the rows of the cell's and
    of the output layer's weight gradients are cut.
    """

    hidden: int
    rows: int
    quads_in_registers: int
    quads_in_shared: int
    blocks: int
    slices: int
    output_slices: int

    @property
    def units(self) -> int:
        """The hidden state as the threads see it."""
        return _units(self.hidden)

    @property
    def threads(self) -> int:
        """Of a block."""
        return 4 * self.units

    @property
    def quads(self) -> int:
        """Of the forward pass."""
        return _round_up(INPUTS, 16) // 16 + self.units // 16

    @property
    def shared_bytes(self) -> int:
        """Of a block, all dynamic: weights, two buffers of operands, scores."""
        return self.quads_in_shared * 64 * self.threads + _operand_bytes(self.units, self.rows)

    @property
    def xh_columns(self) -> int:
        """Of [x_t, h_{t-1}, 1], padded to whole tiles."""
        return _round_up(INPUTS + self.hidden + 1, 32)

    @property
    def tasks(self) -> int:
        """Of warps, in the weight gradients: each leaves a tile of 32 x 32 sums."""
        down, across = self.xh_columns // 32, self.units // 8
        return down * across * self.slices + down * self.output_slices

    def stamps(self, batch: int) -> int:
        """How many marks a block makes at most in a launch that is to be a picture (rnn/cuda/timeline.cuh)."""
        passes = -(-batch // (self.rows * self.blocks))
        return 5 + passes * (6 * STEPS + 1)

    def options(self, timeline: bool = False) -> tuple[str, ...]:
        """For the compiler."""
        names = ("hidden", "rows", "quads_in_registers", "quads_in_shared")
        sizes = (f"-D{name.upper()}={getattr(self, name)}" for name in names)
        return ("-std=c++17", *sizes, f"-DTIMELINE={int(timeline)}")


def choose(hidden: int, batch: int, multiprocessors: int, shared_bytes: int) -> Sizes:
    """For so many SMs, each with so many bytes of shared memory for a block. Raises ValueError with `why_not`.

    As few images to a block as let one pass serve the batch, at most 4: more would take the registers of the weights.
    """
    if reason := why_not(hidden, shared_bytes):
        raise ValueError(reason)
    rows = next((rows for rows in (1, 2) if rows * multiprocessors >= batch), 4)
    sizes = Sizes(hidden, rows, 0, 0, multiprocessors, 1, 1)
    in_registers = min(_registers_for_weights(sizes.threads, rows) // 16, sizes.quads)
    room = (shared_bytes - _operand_bytes(sizes.units, rows)) // (64 * sizes.threads)
    in_shared = min(room, sizes.quads - in_registers)
    down, across = sizes.xh_columns // 32, sizes.units // 8
    warps = multiprocessors * sizes.threads // 32
    # for one slice of the output's rows there are 28 of the cell's; none is shorter than 32 rows
    enough = STEPS * (warps // down - 1) // (STEPS * across + 1)
    slices = min(max(1, enough), max(1, STEPS * batch // 32))
    return Sizes(hidden, rows, in_registers, in_shared, multiprocessors, slices, -(-slices // STEPS))


def why_not(hidden: int, shared_bytes: int) -> str | None:
    """Why a block cannot hold so many hidden units, or None."""
    if hidden > MOST_HIDDEN:
        return f"the persistent engine holds at most {MOST_HIDDEN} hidden units, not {hidden}"
    needed = _operand_bytes(_units(hidden), 4)
    if shared_bytes < needed:
        return f"the persistent engine needs {needed} bytes of shared memory a block, this GPU has {shared_bytes}"
    return None


def _units(hidden: int) -> int:
    """Padded to 16, 32, 64 or 128: whole fours for each of four lanes, and few cases to prove."""
    return max(16, 1 << (hidden - 1).bit_length())


def _registers_for_weights(threads: int, rows: int) -> int:
    """What a thread's registers leave for weights; what else it needs is about this, as compiled for all chips.

    Where it is a little more, a compiler spills some bytes: tests/test_persistent_sizes.py says on which chips.
    """
    unit = SM.register_unit // SM.warp  # of a thread
    warps = -(-threads // (SM.warp * SM.partitions))  # of a partition
    each = min(SM.registers_per_thread, SM.registers // SM.partitions // SM.warp // warps // unit * unit)
    return max(0, each - {1: 48, 2: 64, 4: 96}[rows])


def _operand_bytes(units: int, rows: int) -> int:
    return 4 * rows * (2 * max(4 * units, _round_up(INPUTS, 16) + units) + CLASSES)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
