"""Arrays of either library: NumPy's on the host, CuPy's on a GPU. Most of NumPy's functions take both."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

__all__ = ["device", "library", "to_device", "to_host"]


def library(x: NDArray) -> ModuleType:
    """NumPy, or CuPy where x is its array."""
    return sys.modules[type(x).__module__.partition(".")[0]]


def to_device(x: NDArray) -> Any:
    """x on CuPy's current GPU; x itself where it is there already."""
    import cupy

    return cupy.asarray(x)


def to_host(x: Any) -> NDArray:
    """x in the host's memory; x itself where it is there already."""
    return x.get() if hasattr(x, "get") else x


def device() -> int:
    """The number of CuPy's current GPU."""
    import cupy

    return int(cupy.cuda.Device().id)
