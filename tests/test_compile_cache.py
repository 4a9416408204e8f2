"""Compiled code is kept between runs, also where the package's own folder cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import kernels

_CALL = """
import numpy as np
import kernels
a = np.ones((3, 3), np.float32)
kernels.get("cpu-numba-serial").matmul(a, a)
from kernels.cpu import numba_serial
stats = numba_serial.product.stats
print(numba_serial.__file__, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""


def test_cache_survives_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    package = Path(kernels.__file__).parent
    shutil.copytree(package, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    # a file where the cache folder should be: like a read-only folder, but it stops root too
    (tmp_path / "kernels" / "cpu" / "__pycache__").write_text("")
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": "."}
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", _CALL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        said.append(done.stdout.split())
    source = str(tmp_path / "kernels" / "cpu" / "numba_serial.py")
    assert said == [[source, "0", "1"], [source, "1", "0"]]
