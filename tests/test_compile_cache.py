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


def test_a_change_in_another_file_is_compiled(tmp_path: Path) -> None:
    """What a function calls is part of its machine code, and Numba only looks whether its own file has changed."""
    package = Path(kernels.__file__).parent
    shutil.copytree(package, tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    helper, caller = (tmp_path / "kernels" / "cpu" / f"{name}.py" for name in ("helper", "caller"))
    caller.write_text(
        "from numba import njit\nfrom kernels.cpu.helper import number\n"
        "@njit(cache=True)\ndef call():\n    return number()\n"
        "print(call(), sum(call.stats.cache_hits.values()))\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    said = []
    for number in (1, 1, 2):
        helper.write_text(f"from numba import njit\n@njit(cache=True)\ndef number():\n    return {number}\n")
        done = subprocess.run(
            [sys.executable, "-c", "import kernels.cpu.caller"],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": "."},
            capture_output=True,
            text=True,
            check=True,
        )
        said.append(done.stdout.split())
    assert said == [["1", "0"], ["1", "1"], ["2", "0"]]
