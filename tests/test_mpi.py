"""SUMMA on one to six processes of this machine, and what becomes of the others when one fails."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import kernels
from kernels import threads
from kernels.measure import results
from kernels.mpi import blocks, cuda_aware, launcher
from tests import mpi_jobs
from tests.mpi_products import SHAPES

SECONDS = 30.0  # in which a job has to end, with one of its ranks gone
# what launchers say in the environment: processes in all, and on this machine
OPEN_MPI = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE")
HYDRA = ("PMI_SIZE", "MPI_LOCALNRANKS")


@mpi_jobs.needed
@pytest.mark.parametrize("processes", [1, 2, 3, 4, 6])
def test_products_are_within_the_bound(processes: int) -> None:
    done = mpi_jobs.run(processes, "tests.mpi_products")
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)  # of one rank: two lines would be no JSON
    assert len(errors) == len(SHAPES)
    assert all(0 <= error <= 1 for error in errors)
    assert max(errors) > 0


@mpi_jobs.needed
@pytest.mark.parametrize("memory", ["gpus", "aware"])
def test_panels_are_multiplied_on_gpus_and_no_array_of_the_host_is_mistaken_for_one_there(memory: str) -> None:
    done = mpi_jobs.run(4, "tests.mpi_products", memory)
    assert done.returncode == 0, done.stderr
    errors = json.loads(done.stdout)
    assert len(errors) == len(SHAPES)
    assert all(0 <= error <= 1 for error in errors)


@mpi_jobs.needed
def test_another_kernel_multiplies_the_panels() -> None:
    done = mpi_jobs.run(2, "tests.mpi_products", SUMMA_LOCAL="cpu-blas")
    assert max(json.loads(done.stdout)) <= 1, done.stderr


@mpi_jobs.needed
def test_matmul_scaling_is_one_program(tmp_path: Path) -> None:
    file = tmp_path / "summa.json"
    arguments = ["--kernel", "mpi-summa", "--sizes", "33", "64", "--threads", "1", "--min-time", "0.01"]
    done = mpi_jobs.run(4, "experiments.matmul_scaling", *arguments, "--results", str(file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Machine:") == 1
    points = [point for point in results.read(file).points if isinstance(point, results.MatmulPoint)]
    assert [(point.kernel, point.m, point.status) for point in points] == [
        ("mpi-summa", 33, "ok"),
        ("mpi-summa", 64, "ok"),
    ]


@mpi_jobs.needed
def test_a_rank_that_is_killed_ends_all() -> None:
    done = mpi_jobs.run(3, "tests.mpi_products", "killed", seconds=SECONDS)
    assert done.returncode != 0
    assert not any(line.startswith("[") for line in done.stdout.splitlines()), "a result"


@mpi_jobs.needed
def test_an_error_on_a_rank_ends_all_and_is_told() -> None:
    done = mpi_jobs.run(3, "tests.mpi_products", "failing", seconds=SECONDS)
    assert done.returncode != 0
    assert "MemoryError: none is left" in done.stderr
    assert "failed, so all 3 ranks end" in done.stderr


@pytest.mark.parametrize(
    ("processes", "m", "n", "grid"), [(1, 9, 9, (1, 1)), (6, 100, 100, (3, 2)), (4, 1, 90, (1, 4)), (4, 90, 1, (4, 1))]
)
def test_the_grid_receives_least(processes: int, m: int, n: int, grid: tuple[int, int]) -> None:
    assert blocks.grid_of(processes, m, n) == grid
    received = m / grid[0] + n / grid[1]
    assert all(received <= m / r + n / (processes // r) for r in range(1, processes + 1) if processes % r == 0)


@pytest.mark.parametrize(("k", "rows", "columns"), [(1, 3, 2), (7, 2, 3), (3000, 3, 4), (512, 1, 1)])
def test_each_panel_lies_with_one_row_and_one_column(k: int, rows: int, columns: int) -> None:
    ranges = list(blocks.panels(k, rows, columns))
    assert [at for first, last in ranges for at in range(first, last)] == list(range(k))
    for first, last in ranges:
        assert 0 < last - first <= blocks.PANEL
        for parts in (rows, columns):
            i, begin = blocks.holder(k, parts, first)
            assert (begin, last) == (blocks.part(k, parts, i)[0], min(last, blocks.part(k, parts, i)[1]))


def test_without_mpi4py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mpi4py" else object())
    with pytest.raises(kernels.KernelUnavailable, match=r'mpi4py is not installed: .* "\.\[mpi\]"'):
        kernels.get("mpi-summa")


def test_without_an_mpi_library_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise RuntimeError("cannot load MPI library\nlibmpi.so.40: cannot open shared object file")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(kernels.KernelUnavailable, match=r'cannot load MPI library; .* "\.\[mpi\]"$'):
        kernels.get("mpi-summa")


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ("MPICH Version:      5.0.2\nMPICH Release date: Fri Mar 6 2026\nMPICH ABI: 19:0:7\n", "MPICH 5.0.2"),
        ("Open MPI v5.0.8, package: Open MPI root@host Distribution, ident: 5.0.8, May 30, 2025", "Open MPI v5.0.8"),
    ],
)
def test_an_mpi_library_is_told_by_its_name_and_number(version: str, name: str) -> None:
    assert launcher.library_name(version) == name


@pytest.mark.parametrize("aware", [True, False])
@pytest.mark.parametrize("library", ["/usr/lib/libmpi.so.40", "/home/me/.venv/lib/libmpich.so.12"])
def test_the_mpi_library_that_is_loaded_says_whether_it_sends_from_gpu_to_gpu(
    library: str, aware: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = tmp_path / "maps"
    maps.write_text(f"7f00-7f01 r-xp 0 08:01 1   /lib/libc.so.6\n7f02-7f03 r-xp 0 08:01 2   {library}\n")
    said = {library: SimpleNamespace(MPIX_Query_cuda_support=lambda: int(aware))}
    monkeypatch.setattr(cuda_aware, "Path", lambda path: maps)
    monkeypatch.setattr(cuda_aware.ctypes, "CDLL", said.__getitem__)
    assert cuda_aware.is_cuda_aware.__wrapped__() is aware


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system binds no process to cores")
@pytest.mark.parametrize(
    ("names", "here", "bound", "says"),
    [
        (OPEN_MPI, 2, 1, "bound to 1 of the 8 cores it could have, unless mpiexec is told --bind-to none"),
        (OPEN_MPI, 2, 8, "None"),
        (OPEN_MPI, 16, 1, "None"),
        (HYDRA, 2, 1, "None"),
    ],
)
def test_what_a_launcher_leaves_a_process_of_16_cores(
    names: tuple[str, str], here: int, bound: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, processes in zip(names, (32, here), strict=True):
        monkeypatch.setenv(name, str(processes))
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16 if process else bound)))
    assert threads.cores_each() == min(bound, 16 // here)
    assert says in str(threads.withheld())
