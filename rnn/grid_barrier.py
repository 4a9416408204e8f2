"""How long a barrier of all blocks takes on a GPU: with the arithmetic, the floor of the persistent engine's step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnn.arrays import device

__all__ = ["SOURCE", "seconds"]

SOURCE = Path(__file__).parent / "cuda" / "grid_barrier.cu"
THREADS = 512  # of a block, as in the persistent kernel at the published size
_COUNT = 1000
_ATTEMPTS = 9


def seconds() -> float | None:
    """Of one barrier with a block on each SM, the best of several attempts; None on a GPU that cannot launch that.

    Two launches are compared, one with `_COUNT` barriers more than the other: the launch itself falls out.
    """
    import cupy

    from kernels.cuda import compile as compiler
    from kernels.cuda.launch import gpu
    from kernels.cuda.timing import sample

    chip = gpu(device())
    if not chip.cooperative:
        return None
    code = compiler.cubin(SOURCE, ("-std=c++17",), str(chip.architecture))
    barriers = cupy.RawModule(path=str(code), enable_cooperative_groups=True).get_function("grid_barriers")
    state = cupy.zeros(1, np.uint32)

    def launch(count: int) -> None:
        barriers((chip.multiprocessors,), (THREADS,), (state, np.int32(count)))

    def best(count: int) -> float:
        return min(sample(lambda: launch(count), 1) for _ in range(_ATTEMPTS))

    launch(1)
    return (best(_COUNT + 1) - best(1)) / _COUNT
