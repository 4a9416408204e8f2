"""Hand-written matrix products for the CPU, and where Numba keeps their machine code.

Numba compiles a function again when its own file has changed. What it calls in other files is part of its machine code,
too, and a change there would go unnoticed: so there is a folder for each state of all files with compiled functions.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from kernels.cache import cache, writable

__all__: list[str] = []


def _keep_compiled_code() -> None:
    root, digest = Path(__file__).resolve().parents[2], hashlib.sha256()
    for path in sorted(path for part in ("kernels", "rnn") for path in (root / part).rglob("*.py")):
        source = path.read_bytes()
        if b"numba" in source:
            digest.update(source)
    name = f"numba-{digest.hexdigest()[:12]}"
    folder = Path(__file__).parent / "__pycache__" / name
    if not writable(folder):
        folder = cache() / name
        folder.mkdir(exist_ok=True)
    os.environ["NUMBA_CACHE_DIR"] = str(folder)
    if "numba" in sys.modules:  # it has read its settings already
        sys.modules["numba"].config.CACHE_DIR = str(folder)


if "NUMBA_CACHE_DIR" not in os.environ:
    _keep_compiled_code()
