"""What can be made again is kept where this user may write, and the program runs where that is nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pooch
import pytest

from kernels import cache

ROOT = Path(__file__).resolve().parents[1]


def test_it_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / project)
    assert cache.cache() == tmp_path / "matmul-ladder"
    assert cache.cache().is_dir()


def test_where_the_users_cannot_be_made_it_is_a_temporary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "file" / project)
    temporary = cache.cache()
    assert temporary.is_dir()
    assert not temporary.is_relative_to(tmp_path / "file")
    assert cache.cache() == temporary


def test_a_user_without_a_home_has_a_temporary_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(project: str) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pooch, "os_cache", homeless)
    assert cache.cache().is_dir()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not stop root")
def test_a_folder_of_another_user_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir(mode=0o500)
    assert not cache.writable(tmp_path / "kept")


def test_a_folder_that_takes_no_files_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode == os.W_OK))
    assert not cache.writable(tmp_path)


def test_kernels_compile_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """As for an unprivileged user of a container: neither the installation nor a home is his."""
    program = (
        "from kernels import cache\n"
        f"real, cache.writable = cache.writable, lambda folder: {str(tmp_path)!r} in str(folder) and real(folder)\n"
        "import numpy as np, os, kernels\n"
        "a = np.ones((5, 7), np.float32)\n"
        "print(kernels.get('cpu-numba-reordered').matmul(a, a.T).sum(), os.environ['NUMBA_CACHE_DIR'])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    total, folder = done.stdout.split()
    assert float(total) == 5 * 5 * 7
    assert Path(folder).is_relative_to(tmp_path)
    assert not Path(folder).exists(), "it is removed at the end"
