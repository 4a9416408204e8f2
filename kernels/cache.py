"""Where things are kept that can be made again, such as machine code."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

__all__ = ["cache", "writable"]


def cache() -> Path:
    """This user's folder for the project; where that cannot be written, one that is gone when the program ends."""
    import pooch

    try:
        folder = Path(pooch.os_cache("matmul-ladder"))
        if writable(folder):
            return folder
    except RuntimeError:  # this user has no home at all
        pass
    return _temporary()


@functools.cache
def _temporary() -> Path:
    folder = tempfile.mkdtemp(prefix="matmul-ladder-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def writable(folder: Path) -> bool:
    """Whether the folder is there, or can be made, and takes files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
