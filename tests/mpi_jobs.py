"""Starting programs under mpiexec, for tests; every process has one thread, as there may be more of them than cores."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
from kernels.mpi.launcher import mpiexec

ROOT = Path(__file__).resolve().parents[1]
_ALONE = {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def why_not() -> str | None:
    return kernels.unavailable("mpi-summa") or (None if mpiexec() else "mpiexec is not installed")


needed = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@functools.cache
def why_not_hydra() -> str | None:
    """Of what only MPICH's launcher does: other launchers end with other codes, and sooner."""
    if reason := why_not():
        return reason
    done = subprocess.run([str(mpiexec()), "--version"], capture_output=True, text=True, check=False)
    return None if "HYDRA" in done.stdout else "written for the launcher of MPICH, Hydra"


hydra_needed = pytest.mark.skipif(why_not_hydra() is not None, reason=str(why_not_hydra()))


def command(processes: int, *arguments: str) -> list[str]:
    return [str(mpiexec()), "-n", str(processes), sys.executable, "-m", *arguments]


def environment(**more: str) -> dict[str, str]:
    return os.environ | _ALONE | more


def run(
    processes: int, *arguments: str, folder: Path = ROOT, seconds: float = 120.0, **more: str
) -> subprocess.CompletedProcess[str]:
    return run_command(command(processes, *arguments), folder, seconds, **more)


def run_command(words: list[str], folder: Path, seconds: float, **more: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        words, cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=seconds, check=False
    )
    done.stderr = by_processes(done.stderr)
    return done


def by_processes(said: str) -> str:
    """Without what Open MPI's launcher adds, between lines of dashes."""
    return re.sub(r"^-{20,}\n.*?^-{20,}\n", "", said, flags=re.MULTILINE | re.DOTALL)
