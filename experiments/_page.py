"""The explorer's page, from recordings and the machines that are known."""

from __future__ import annotations

from collections.abc import Sequence

from experiments import twins
from experiments._recorded import launch_of, recorded_ladder
from kernels.cuda.architectures import GPUS
from plots.explorer import render

__all__ = ["build"]

_CUDA = ("cuda-numba-naive", "cuda-numba-coalesced", "cuda-numba-shared", "cuda-numba-register")


def build(names: Sequence[str], size: int, broken: Sequence[str]) -> str:
    """The HTML for these kernels of the ladder, on matrices of size x size, and these broken twins."""
    shown = [recorded_ladder(name, size) for name in names] + [twins.recorded_twin(name) for name in broken]
    compared = [name for name in names if name in _CUDA] or list(names)
    return render(
        {
            "kernels": shown,
            "start": (compared * 2)[:2],
            "machines": [
                {
                    "name": gpu.name,
                    "architecture": gpu.architecture,
                    "multiprocessors": gpu.multiprocessors,
                    "cores": gpu.cores,
                }
                for gpu in GPUS
            ],
            "launches": [launch_of(name) for name in _CUDA],
        }
    )
