"""The explorer's page, from recordings and the machines that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.explorer import twins
from experiments.explorer._resident import resident
from experiments.explorer._small import recorded_ladder
from kernels.cuda.architectures import GPUS
from kernels.ladder import find
from kernels.measure import machine
from plots.explorer import render

__all__ = ["build"]

# what one learns most from side by side, in the ladder's order
_PAIRS = (
    ("cuda-numba-naive", "cuda-numba-coalesced"),
    ("cuda-numba-coalesced", "cuda-numba-shared"),
    ("cuda-numba-shared", "cuda-numba-register"),
    ("cpu-numba-serial", "cpu-numba-parallel"),
    ("cpu-numba-parallel", "cpu-numba-tiled"),
    ("cpu-numba-serial", "cuda-numba-naive"),
)


def build(
    names: Sequence[str],
    size: int,
    broken: Sequence[twins.Twin],
    announce: Callable[[str], None] = lambda name: None,
    own: Mapping[str, Any] | None = None,
) -> str:
    """The HTML for these kernels of the ladder, on matrices of size x size, and these broken twins.

    announce is called with the name of each as it is recorded. own: another kernel, as `recorded` returns it, which
    the page begins with.
    """
    shown: dict[str, Any] = {own["name"]: own} if own else {}
    for name in names:
        announce(name)
        shown[name] = recorded_ladder(name, size)
    beside: list[tuple[str, ...]] = [(own["name"], name) for name in names] if own else []
    beside += [pair for pair in _PAIRS if shown.keys() >= set(pair)]
    beside = beside or [(name,) for name in shown]
    pairs = [{"label": " | ".join(pair), "names": pair} for pair in beside]
    for twin in broken:
        announce(twin.mistake)
        shown |= zip(twin.names, twins.recorded_twins(twin), strict=True)
    pairs += [{"label": f"mistake: {twin.mistake}", "names": twin.names} for twin in broken]
    here = machine.describe()
    return render(
        {
            "kernels": list(shown.values()),
            "pairs": pairs,
            "cpu": {"name": here.cpu, "cores": here.cores},
            "machines": [
                {
                    "name": gpu.name,
                    "architecture": gpu.architecture,
                    "multiprocessors": gpu.multiprocessors,
                    "coresEach": gpu.cores // gpu.multiprocessors,
                }
                for gpu in GPUS
            ],
            "launches": resident(
                [name for name in names if find(name).family == "cuda"] or ["cuda-numba-naive"],
                sorted({gpu.architecture for gpu in GPUS}),
            ),
        }
    )
