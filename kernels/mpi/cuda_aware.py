"""Whether the MPI library sends from a GPU's memory to a GPU's memory without a copy on the host."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path

__all__ = ["is_cuda_aware"]


@functools.cache
def is_cuda_aware() -> bool:
    """What the library says of itself (MPIX_Query_cuda_support, of Open MPI and MPICH); False where it says nothing."""
    library = _library()
    if library is None:
        return False
    try:
        return bool(ctypes.CDLL(library).MPIX_Query_cuda_support())
    except (OSError, AttributeError):
        return False


def _library() -> str | None:
    """The MPI library that this process has loaded, on Linux."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        return None
    found = re.search(r"(/\S*/libmpi(?:ch)?\.so[.\d]*)$", maps.read_text(), re.M)
    return found[1] if found else None
