"""Memory that starts on a cache line: a vector load that straddles two lines costs two."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

CACHE_LINE = 64  # bytes, on every x86-64 and most ARM cores


def aligned_empty(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An uninitialised C-ordered float32 array whose first number starts a cache line."""
    count = math.prod(shape)
    raw = np.empty(count + CACHE_LINE // 4, np.float32)
    skip = -(raw.ctypes.data // 4) % (CACHE_LINE // 4)
    return raw[skip : skip + count].reshape(shape)
