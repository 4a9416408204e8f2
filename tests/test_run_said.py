"""What a training run says, what it writes, and what it is resumed with are the same."""

from __future__ import annotations

import os
import re
import shutil
import sys
from types import SimpleNamespace

import pytest

from kernels import cli
from kernels.measure import results
from rnn import checkpoint, report, resume, run, train
from tests import idx

SMALL = ["--batch-size", "8", "--hidden", "4", "--display-step", "3"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return ["--data", str(idx.write(tmp_path_factory.mktemp("idx"), idx.contents())), *SMALL]


def _fails(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("python", "path", "named"),
    [
        ("my env/bin/python", "my env/bin/python", "python"),  # an activated environment
        ("my env/bin/python", "/usr/bin/python", "'my env/bin/python'"),
        ("my env/bin/python", None, "'my env/bin/python'"),
        ("/opt/python", "/usr/bin/python", "/opt/python"),
        ("env/Scripts/python.exe", "env/Scripts/python.EXE", "python"),
    ],
)
def test_the_command_that_continues_can_be_pasted(python, path, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / python))
    monkeypatch.setattr(shutil, "which", lambda name: path and str(tmp_path / path))
    said = resume.command(["--data", "my images", "--resume"], 1)
    assert said == f"{named} -m rnn.train --data 'my images' --resume"
    with monkeypatch.context() as windows:
        windows.setattr(sys, "platform", "win32")
        assert resume.command(["--data", "my images"], 1).endswith(' -m rnn.train --data "my images" --resume')
    assert resume.command([], 2) == f"mpiexec -n 2 {named} -m rnn.train --resume"


def test_a_run_that_is_resumed(data, tmp_path, capsys):
    run = [*data, "--checkpoint", str(tmp_path / "run.npz"), "--results", str(tmp_path / "r.json")]
    train.main([*run, "--kernel", "numba", "--engine", "stepwise", "--seed", "5", "--steps", "4"])
    code, said = _fails([*run, "--resume", "--seed", "0", "--steps", "9"], capsys)
    assert (code, "was trained with --seed 5, not 0" in said) == (cli.USAGE, True)
    train.main([*run, "--resume", "--steps", "10"])
    shown = capsys.readouterr().out
    (point,) = results.read(tmp_path / "r.json").points
    assert (point.first_step, point.steps, point.engine) == (5, 10, "stepwise")
    assert [line.step for line in point.transcript] == [1, 3, 6, 9]
    assert re.search(r"^6 steps in ", shown, re.M)
    assert "note: made by" not in shown
    train.main([*run, "--resume", "--steps", "10"])  # nothing left to train: it is tested once more
    assert "All 200 test images" in capsys.readouterr().out
    saved = (tmp_path / "run.npz").read_bytes()
    for other, by in (("--engine=fused", "cpu-numba-simd fused"), ("--kernel=cpu-blas", "cpu-blas stepwise")):
        (tmp_path / "run.npz").write_bytes(saved)
        train.main([*run, "--resume", "--steps", "11", other])
        assert f"note: made by cpu-numba-simd stepwise, continued by {by}" in capsys.readouterr().out


@pytest.mark.parametrize("every", [2, 4, 7])
def test_the_last_step_is_kept_however_often_others_are(every, data, tmp_path):
    file = tmp_path / "run.npz"
    train.main([*data, "--kernel=cpu-blas", "--steps=6", f"--checkpoint={file}", f"--checkpoint-every={every}"])
    assert checkpoint.load(file).header.step == 6


def test_what_is_said_at_the_end_is_what_is_written(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=7.0, system=3.0))
    clock = iter([50.0, 54.0])
    monkeypatch.setattr("rnn.run.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    train.main([*data, "--kernel", "cpu-blas", "--steps", "10", "--results", str(tmp_path / "r.json")])
    shown = capsys.readouterr().out
    (point,) = results.read(tmp_path / "r.json").points
    assert (point.user, point.sys, point.training_seconds) == (7.0, 3.0, 4.0)
    assert "user\t0m7.000s\nsys\t0m3.000s\n" in shown
    assert "10 steps in 4.0 s, 2.5 steps/s" in shown
    assert f"; {200 - point.correct} read wrong)" in shown
    assert not point.verified_data
    assert point.sm_clock is None
    clock = iter([0.0, 1.0])
    train.main([*data, "--kernel", "cpu-blas", "--steps", "10", "--target-accuracy", str(point.accuracy)])  # is reached


def test_a_minute_has_sixty_seconds():
    assert report.time_lines(59.9997, 119.9996, 0).startswith("real\t1m0.000s\nuser\t2m0.000s")


def test_a_kernel_is_asked_for_on_the_gpu_that_will_run_it(monkeypatch):
    happened = []
    monkeypatch.setattr(run, "wants_gpu", lambda name: name == "cuda")
    monkeypatch.setattr(cli, "get_kernel", happened.append)
    for asked, expected in (("cuda", ["gpu", "cuda"]), ("numba", ["numba"])):
        happened.clear()
        team = SimpleNamespace(use_gpu=lambda: happened.append("gpu"))
        with pytest.raises(AttributeError):  # there is no kernel to go on with
            run.Run._choose_engine(
                SimpleNamespace(asked=asked, team=team, options=SimpleNamespace(engine="auto")), None
            )
        assert happened == expected


@pytest.mark.parametrize(
    ("threads", "parallel", "said"), [(1, None, "1 thread"), (2, None, "2 threads"), (1, object(), "1 thread each")]
)
def test_threads_are_counted_in_words(threads, parallel, said):
    assert run.Run._threads(SimpleNamespace(options=SimpleNamespace(threads=threads), parallel=parallel)) == said
