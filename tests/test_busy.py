"""Every experiment that times says first where other programs keep the machine busy, and nothing where it is quiet."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

import psutil
import pytest

from experiments import _header, matmul_scaling
from experiments.cluster_scaling import __main__ as cluster_scaling
from kernels import cli, threads
from kernels.measure.busy import busy_cores
from kernels.measure.ceilings import Ceilings
from rnn import reference_network

WARNING = f"warning: other programs keep 1.6 of {threads.cores()} cores busy"


def _cores(monkeypatch: pytest.MonkeyPatch, *shares: float) -> None:
    """Let the system say how busy each core is, in percent, and this process be allowed cores 1 and 2."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda interval, percpu: list(shares))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 2}, raising=False)


def test_busy_are_the_cores_that_this_process_could_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "process_time", lambda: 5.0)
    _cores(monkeypatch, 100.0, 100.0, 60.0, 100.0)
    assert busy_cores() == pytest.approx(1.6)
    _cores(monkeypatch, 100.0, 30.0)  # a container that numbers its cores anew
    assert busy_cores() == pytest.approx(0.3)


def test_what_this_process_does_meanwhile_is_not_others(monkeypatch: pytest.MonkeyPatch) -> None:
    used = iter([5.0, 5.2])  # a fifth of a second in a quarter: 0.8 cores
    monkeypatch.setattr(time, "process_time", lambda: next(used))
    _cores(monkeypatch, 0.0, 100.0, 60.0)
    assert busy_cores() == pytest.approx(0.8)


def test_a_system_that_does_not_tell_is_taken_for_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(interval: float, percpu: bool) -> list[float]:
        raise PermissionError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_percent", refuse)
    assert busy_cores() == 0


def test_this_machine_is_never_busier_than_it_has_cores() -> None:
    assert 0 <= busy_cores() <= threads.cores()


def test_the_warning_stands_below_the_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_header, "busy_cores", lambda: 1.6)
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e15, 1e10))
    file = tmp_path / "run.json"
    matmul_scaling.main(["--kernel", "cpu-blas", "--sizes", "8", "--min-time", "0.001", "--results", str(file)])
    first, second, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("Machine: ")
    assert second.startswith(WARNING)
    assert not any(line.startswith(("Machine: ", "warning: ")) for line in others)
    matmul_scaling.main(["--from", str(file)])
    shown = capsys.readouterr().out
    assert "warning" not in shown
    assert f", while other programs kept 1.6 of {threads.cores()} cores busy\n" in shown
    monkeypatch.setattr(_header, "busy_cores", lambda: 0.2)
    _header.show()
    shown = capsys.readouterr().out
    assert shown.startswith("Machine: ")
    assert "warning" not in shown


def test_processes_of_the_same_job_are_no_other_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_header, "busy_cores", lambda: 1.6)
    for name, value in (("PMI_SIZE", "2"), ("PMI_RANK", "0"), ("MPI_LOCALNRANKS", "2")):
        monkeypatch.setenv(name, value)
    _header.warn_if_busy()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["matmul_scaling"],
        ["roofline"],
        ["thread_scaling", "--most", str(threads.cores())],
        ["training_race"],
        ["timeline", "--kernel", "cpu-blas"],
        ["reference_check", "--kernel", "cpu-blas"],
        ["cluster_scaling.__main__", "--processes", "1", "2"],
        ["machines", "--measure"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_every_experiment_that_times_asks_before_it_works(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asked() -> float:
        raise cli.CommandError("it asked")

    monkeypatch.setattr(_header, "busy_cores", asked)
    monkeypatch.setattr(reference_network, "why_absent", lambda: None)
    monkeypatch.setattr(cluster_scaling, "_check", lambda options: None)
    name, *others = arguments
    with pytest.raises(SystemExit):
        importlib.import_module(f"experiments.{name}").main(others)
    assert capsys.readouterr().err == "error: it asked\n"
