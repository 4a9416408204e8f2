"""Where things are kept that can be made again, such as machine code."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["cache", "writable"]


@functools.cache
def cache() -> Path:
    """This user's folder for the project; where that cannot be written, one that is gone when the program ends."""
    import pooch

    folder = Path(pooch.os_cache("matmul-ladder"))
    if writable(folder):
        return folder
    temporary = tempfile.mkdtemp(prefix="matmul-ladder-")
    atexit.register(shutil.rmtree, temporary, ignore_errors=True)
    return Path(temporary)


def writable(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
