"""The limits of a GPU, measured: how fast it multiplies and adds in float32, and how fast its memory is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kernels.measure.limits import Ceilings, Level

__all__ = ["measure"]

_SOURCE = Path(__file__).with_name("fma_chains.cu")
_CHAINS, _THREADS = 8, 256  # as in the source
_STEPS = 20_000
_ATTEMPTS = 60  # 6 ms each: a GPU that was idle takes a third of a second to raise its clock
_BLOCKS = 32  # to a multiprocessor: several waves of as many as it can hold


def measure() -> tuple[Ceilings, list[Level]]:
    """CuPy's current GPU: its ceilings (threads: as many as were at work), and its memory as a level. About 1 s."""
    import cupy

    from kernels.cuda import compile as compiler
    from kernels.cuda.launch import gpu
    from kernels.cuda.timing import sample

    chip = gpu(cupy.cuda.Device().id)
    code = compiler.cubin(_SOURCE, (), str(chip.architecture))
    chains = cupy.RawModule(path=str(code)).get_function("fma_chains")
    blocks = _BLOCKS * chip.multiprocessors
    out = cupy.empty(blocks * _THREADS, np.float32)
    arguments = (out, np.float32(0.999), np.float32(0.001), np.int32(_STEPS))
    seconds = min(sample(lambda: chains((blocks,), (_THREADS,), arguments), 1) for _ in range(_ATTEMPTS))
    free, total = cupy.cuda.runtime.memGetInfo()
    source = cupy.zeros(min(2**30, free // 8), np.uint8)
    target = cupy.empty_like(source)
    copying = min(sample(lambda: cupy.copyto(target, source), 1) for _ in range(_ATTEMPTS))
    bandwidth = 2 * source.nbytes / copying  # each byte is read and written
    peak = 2 * _CHAINS * _STEPS * out.size / seconds
    cache = cupy.cuda.Device().attributes["L2CacheSize"]
    return Ceilings(out.size, peak, bandwidth, cache=cache), [Level("memory", total, bandwidth)]
