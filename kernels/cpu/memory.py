"""Memory for kernels: it starts on a cache line, as a vector load that straddles two costs two, and it is kept."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

CACHE_LINE = 64  # bytes, on every x86-64 and most ARM cores


def aligned_empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An uninitialised C-ordered float32 array whose first number starts a cache line."""
    count = math.prod(shape)
    raw = np.empty(count + CACHE_LINE // 4, np.float32)
    skip = -(raw.ctypes.data // 4) % (CACHE_LINE // 4)
    return raw[skip : skip + count].reshape(shape)


class Workspace(threading.local):
    """Aligned arrays kept between calls, for each calling thread: fresh memory costs a page fault every 4 KiB."""

    def __init__(self, shapes: Callable[[], tuple[tuple[int, ...], ...]]) -> None:
        self._shapes, self._count = shapes, 0
        self._arrays: tuple[NDArray[np.float32], ...] = ()

    def get(self, count: int) -> tuple[NDArray[np.float32], ...]:
        """An array (count or more, *shape) for each shape."""
        if count > self._count:
            self._count = count
            self._arrays = tuple(aligned_empty((count, *shape)) for shape in self._shapes())
        return self._arrays
