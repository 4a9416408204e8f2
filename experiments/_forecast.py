"""How long a kernel's product will take, before it is made: from the rate of the largest one that it made so far."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from experiments._broken import broke
from kernels.measure.timing import seconds_of

if TYPE_CHECKING:
    from kernels import Kernel

__all__ = ["Forecast"]

_FIRST = 32  # side of the first product
_LARGEST = 1024
_LONG = 0.5  # seconds: no larger product is tried that would take as long
_BITES = 1.5  # seconds of a kernel after which a GPU's watchdog is near
_SHORT = 0.02  # seconds: another program may hold up so short a call, so there are three


class Forecast:
    """Seconds by kernel. limit: what all calls for one point may take."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.broken: dict[str, str] = {}  # kernels that made no product when tried out, and why
        self._made: dict[str, tuple[int, float]] = {}  # operations and seconds of the largest product

    def try_out(self, kernels: Iterable[Kernel], most_flops: int) -> dict[str, float]:
        """`probe` each; the seconds of the very first calls, by name. A kernel that breaks down is in `broken`."""
        first = {}
        for kernel in kernels:
            try:
                first[kernel.name] = self.probe(kernel, most_flops)
            except Exception as error:
                self.broken[kernel.name] = broke(kernel, error)
        return first

    def probe(self, kernel: Kernel, most_flops: int) -> float:
        """Make products, the next twice as large, until one would take long or have more than most_flops.

        Returns the seconds of the very first call, which compiles.
        """
        side = _FIRST
        square = np.ones((side, side), np.float32)
        compiling = seconds_of(lambda: kernel.matmul(square, square))
        while True:
            seconds = _once(kernel, side)
            self.learn(kernel.name, seconds, 2 * side**3)
            side *= 2
            if 8 * seconds > _LONG or side > _LARGEST or 2 * side**3 > most_flops:
                return compiling

    def learn(self, kernel: str, seconds: float, flops: int) -> None:
        """A call of so many operations took so many seconds; what a smaller one takes says less, and is passed over."""
        if flops >= self._made.get(kernel, (0, 0.0))[0]:
            self._made[kernel] = flops, seconds

    def too_long(self, kernel: str, flops: int, calls: int) -> str | None:
        """Why not to make so many calls, or None where they stay below the limit."""
        made, took = self._made[kernel]
        once = took / made * flops
        if once > _BITES and kernel.startswith("cuda-") and _has_watchdog():
            why = "this GPU's driver ends a kernel after about two, as where it drives a screen"
            return f"would take {once:.1f} s, and {why}"
        return f"would take {_duration(once * calls)}" if once * calls > self.limit else None


def _once(kernel: Kernel, side: int) -> float:
    """Seconds of a call, with operands where the kernel wants them."""
    a, b, out = (np.ones((side, side), np.float32) for _ in range(3))
    if kernel.spec.family == "cuda":
        from kernels.cuda import timing
        from kernels.cuda.arrays import to_device

        a, b, out = (to_device(x) for x in (a, b, out))
        take = functools.partial(timing.sample, lambda: kernel.matmul(a, b, out), 1)
    else:
        take = functools.partial(seconds_of, lambda: kernel.matmul(a, b, out))
    kernel.matmul(a, b, out)  # may compile what this size needs
    seconds = take()
    return seconds if seconds > _SHORT else min(seconds, take(), take())


def _has_watchdog() -> bool:
    import cupy

    from kernels.cuda.launch import gpu

    return gpu(cupy.cuda.Device().id).watchdog


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"
