"""Training shared by several processes: the numbers of one, one voice, and faults that are told and lose nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest

from experiments import _numpy_lstm
from kernels import cli
from kernels.extras import install
from kernels.measure import machine, results
from kernels.mpi import launcher
from kernels.mpi.launcher import mpiexec
from rnn import checkpoint, patience, team
from rnn.network import initial_weights
from rnn.optimizers import OPTIMIZERS
from tests import idx, mpi_jobs

NETWORK = ("--hidden", "8", "--learning-rate", "0.05", "--display-step", "10")
SECONDS = 30.0  # in which a job has to end that has lost a process

pytestmark = mpi_jobs.needed


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return idx.write(tmp_path_factory.mktemp("idx"), idx.contents())


def _train(
    folder: Path, processes: int, *arguments: str, code: int = 0, **more: str
) -> subprocess.CompletedProcess[str]:
    done = mpi_jobs.run(processes, "rnn.train", *NETWORK, *arguments, folder=folder, **more)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def _arrays(path: Path) -> dict[str, np.ndarray]:
    return checkpoint.load(path).arrays


def _distance(one: Path, other: Path) -> float:
    """The largest of all arrays' differences, in units of their norms."""
    ours, theirs = _arrays(one), _arrays(other)
    assert ours.keys() == theirs.keys()
    return max(float(np.linalg.norm(ours[name] - theirs[name]) / np.linalg.norm(theirs[name])) for name in theirs)


def _lines(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.startswith(("Step", "All", "Testing", "Most"))]


# -- the same numbers


@pytest.mark.parametrize(
    ("engine", "optimizer"),
    [("fused", "sgd"), ("stepwise", "adam"), ("staged", "sgd"), ("aware", "adam"), ("nccl", "sgd")],
)
def test_twenty_steps_follow_float64_with_any_number_of_processes(engine: str, optimizer: str) -> None:
    mpi_training = pytest.importorskip("tests.mpi_training", reason="mpi4py is not installed")
    done = mpi_jobs.run(6, "tests.mpi_training", engine, optimizer)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [run["processes"] for run in found] == [1, 2, 3, 4, 5, 6]
    exact_losses, exact = _float64(mpi_training, optimizer)
    for run in found:
        assert run["losses"] == pytest.approx(exact_losses, rel=1e-5)
        for name, weight in exact.items():
            distance = np.linalg.norm(np.array(run["weights"][name]) - weight) / np.linalg.norm(weight)
            assert distance < 5e-6, (run["processes"], name)


def _float64(mpi_training: ModuleType, optimizer: str) -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and last weights of the same run by plain NumPy."""
    weights = initial_weights("lstm", mpi_training.HIDDEN, mpi_training.SEED)
    exact = {name: weight.astype(np.float64) for name, weight in weights.items()}
    update, losses = OPTIMIZERS[optimizer](mpi_training.RATE, exact), []
    for step in range(mpi_training.STEPS):
        x, labels = mpi_training.batches()[step]
        loss, gradients = _numpy_lstm.loss_and_gradients(exact, x.astype(np.float64), labels)
        update.update(exact, gradients)
        losses.append(loss)
    return losses, exact


def test_the_command_says_what_it_says_with_one_process(tmp_path: Path, data: Path) -> None:
    run = ["--data", str(data), "--steps", "20", "--batch-size", "12"]
    alone = _train(tmp_path, 1, *run, "--checkpoint", "alone.npz")
    shared = _train(tmp_path, 5, *run, "--checkpoint", "shared.npz")
    assert _distance(tmp_path / "shared.npz", tmp_path / "alone.npz") < 5e-6
    assert _lines(shared) == _lines(alone)


def test_a_process_for_every_image(tmp_path: Path, data: Path) -> None:
    run = ["--data", str(data), "--steps", "3", "--batch-size", "4", "--kernel", "cpu-blas"]
    _train(tmp_path, 1, *run, "--checkpoint", "1.npz")
    _train(tmp_path, 4, *run, "--checkpoint", "4.npz")
    assert _distance(tmp_path / "4.npz", tmp_path / "1.npz") < 5e-6
    done = _train(tmp_path, 5, *run, code=cli.USAGE)
    assert done.stderr.startswith("error: 5 processes cannot share a batch of 4: each needs an image at least")
    assert done.stderr.count("\n") == 1


def test_one_voice_and_one_result_file(tmp_path: Path, data: Path) -> None:
    done = _train(tmp_path, 3, "--data", str(data), "--steps", "10", "--kernel", "cpu-blas", "--results", "run.json")
    assert [done.stdout.count(word) for word in ("Machine:", "Processes: 3", "Step 10,", "real\t", "wrote")] == [1] * 5
    assert done.stderr == ""
    (point,) = results.read(tmp_path / "run.json").points
    assert isinstance(point, results.TrainingPoint)
    assert (point.processes, point.threads, point.images) == (3, 1, 200)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]


def test_help_is_printed_once(tmp_path: Path) -> None:
    assert _train(tmp_path, 3, "--help").stdout.count("usage:") == 1


def test_a_run_goes_on_with_another_number_of_processes(tmp_path: Path, data: Path) -> None:
    run = ["--data", str(data), "--batch-size", "12", "--kernel", "cpu-blas", "--optimizer", "adam"]
    _train(tmp_path, 1, *run, "--steps", "20", "--checkpoint", "whole.npz")
    for before, after in ((2, 1), (1, 3)):
        shutil.copy(tmp_path / "whole.npz", tmp_path / "unused.npz")
        file = ["--checkpoint", f"{before}.npz"]
        _train(tmp_path, before, *run, "--steps", "10", *file)
        done = _train(tmp_path, after, *run, "--steps", "20", *file, "--resume")
        assert f"Resumed: {before}.npz at step 10" in done.stdout
        assert _distance(tmp_path / f"{before}.npz", tmp_path / "whole.npz") < 5e-6


# -- faults


class Job:
    """A run that would take long."""

    def __init__(self, folder: Path, data: Path, processes: int, kernel: str, program: Sequence[str]) -> None:
        self.checkpoint = folder / "run.npz"
        run = ["--data", str(data), *NETWORK, "--steps", "1000000", "--kernel", kernel, "--batch-size", "12"]
        keep = ["--checkpoint", self.checkpoint.name, "--checkpoint-every", "5"]
        self.process = subprocess.Popen(
            mpi_jobs.command(processes, *program, *run, *keep), cwd=folder, env=mpi_jobs.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._folder = folder

    def under_way(self) -> Job:
        """Once it has saved a checkpoint."""
        assert self.process.stdout
        while not (line := self.process.stdout.readline()).startswith("Step 10,"):
            assert line, "the run has ended"
        return self

    def clean(self) -> None:
        """Kill what there still is of it."""
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(self._folder):
                process.kill()
        self.process.communicate()

    def ranks(self) -> list[psutil.Process]:
        """In their order."""
        found = [child for child in psutil.Process(self.process.pid).children(recursive=True) if _rank(child) >= 0]
        return sorted(found, key=_rank)

    def end(self) -> tuple[str, float]:
        """What it says in the end, and after how many seconds."""
        begin = time.monotonic()
        _, said = self.process.communicate(timeout=2 * SECONDS)
        return mpi_jobs.by_processes(said), time.monotonic() - begin


StartJob = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path, data: Path) -> Iterator[StartJob]:
    """Starts a run of so many processes; none of it outlives the test."""
    jobs: list[Job] = []

    def begin(processes: int, kernel: str = "cpu-blas", program: Sequence[str] = ("rnn.train",)) -> Job:
        jobs.append(Job(tmp_path, data, processes, kernel, program))
        return jobs[-1].under_way()

    yield begin
    for job in jobs:
        job.clean()


def _rank(process: psutil.Process) -> int:
    told = process.environ() if "--checkpoint" in process.cmdline() else {}
    return int(told.get("PMI_RANK", told.get("OMPI_COMM_WORLD_RANK", -1)))


@pytest.mark.parametrize("lost", [0, pytest.param(2, marks=mpi_jobs.hydra_needed)])
def test_a_killed_process_ends_the_job_and_the_last_checkpoint_is_named(
    tmp_path: Path, start: StartJob, lost: int
) -> None:
    job = start(3)
    job.ranks()[lost].kill()
    said, seconds = job.end()
    assert seconds < SECONDS
    assert job.process.returncode != 0
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    found = re.fullmatch(
        r"error: a process was lost, and the run ended with it; run\.npz holds step (\d+); "
        r"continue with: mpiexec -n 3 \S+ -m rnn\.train (.*)", line,
    )  # fmt: skip
    assert found
    kept = checkpoint.load(job.checkpoint).header.step
    # it may have been killed between saving and telling
    assert kept - int(found[1]) in (0, 5)
    arguments = shlex.split(found[2])
    arguments[arguments.index("--steps") + 1] = str(kept + 2)
    done = mpi_jobs.run(3, "rnn.train", *arguments, folder=tmp_path)
    assert f"Resumed: run.npz at step {kept}" in done.stdout, done.stderr


def test_ctrl_c_stops_all_after_the_same_step(start: StartJob) -> None:
    assert "error" not in _interrupted(start(3), 3)


def _interrupted(job: Job, processes: int) -> str:
    """What a run says that Ctrl-C has stopped, which must have saved the step that it names."""
    job.process.send_signal(signal.SIGINT)
    said, _ = job.end()
    assert job.process.returncode == cli.INTERRUPTED or mpi_jobs.why_not_hydra()
    (line,) = [line for line in said.splitlines() if line.startswith("interrupted")]
    step = checkpoint.load(job.checkpoint).header.step
    assert re.match(rf"interrupted after step {step}; continue with: mpiexec -n {processes} \S+ -m rnn\.train", line)
    return said


@pytest.mark.slow
def test_a_process_that_no_longer_answers_ends_the_job(start: StartJob) -> None:
    job = start(2, program=("tests.mpi_faults", "none"))
    begin = time.monotonic()
    stopped = job.ranks()[1]
    stopped.suspend()
    said, seconds = job.end()
    assert seconds < SECONDS
    assert "error: process 0 has waited" in said
    assert "run.npz holds step" in said
    assert not stopped.is_running() or mpi_jobs.why_not_hydra()
    # Open MPI's launcher lets it go on, to find itself alone
    while stopped.is_running() and stopped.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.1)
        assert time.monotonic() - begin < SECONDS + patience.SECONDS


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (["--seed", "1"], ["--seed", "2"], r"has --seed 2, the first has 1"),
        (["--steps", "5"], ["--steps", "6"], r"has --steps 6, the first has 5"),
        (["--kernel", "cpu-blas"], ["--kernel", "cpu-numba-tiled"], r"has --kernel cpu-numba-tiled, the first"),
        ([], ["--seed", "-2"], r"error: process 1 on \S+: argument --seed: must be at least 0"),
        ([], ["--data", "nowhere"], r"error: process 1 on \S+: nowhere is not a directory"),
        (["--seed", "-2"], ["--seed", "-2"], r"error: argument --seed: must be at least 0"),
        (["--data", "nowhere"], ["--data", "nowhere"], r"error: nowhere is not a directory"),
        (["--checkpoint", "no.npz", "--resume"], ["--checkpoint", "no.npz", "--resume"], "error: there is no check"),
        (["--checkpoint", "a/b.npz"], ["--checkpoint", "a/b.npz"], r"error: cannot write a/b\.npz"),
    ],
)  # fmt: skip
def test_processes_started_differently_or_wrongly_stop_before_training(
    tmp_path: Path, data: Path, first: list[str], second: list[str], says: str
) -> None:
    done = _together(tmp_path, ["--data", str(data), *first], ["--data", str(data), *second])
    assert done.returncode == cli.USAGE
    assert re.search(says, done.stderr)
    assert done.stderr.count("\n") == 1
    assert "Step" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_other_data_is_found(tmp_path: Path, data: Path) -> None:
    other = idx.write(tmp_path / "other", idx.contents(seed=1))
    done = _together(tmp_path, ["--data", str(data)], ["--data", str(other)])
    assert re.match(r"error: process 1 on \S+ has data \w+, the first has \w+: all must have the same\n", done.stderr)
    same = idx.write(tmp_path / "same", idx.contents())
    assert _together(tmp_path, ["--data", str(data)], ["--data", str(same)]).returncode == 0


def test_another_version_of_the_program_is_found(tmp_path: Path, data: Path) -> None:
    for part in ("kernels", "rnn"):
        shutil.copytree(mpi_jobs.ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / "rnn" / "optimizers.py"
    changed.write_text(changed.read_text() + "\n")
    arguments = ["--data", str(data)]
    options = ["-wdir", str(tmp_path), "env", f"PYTHONPATH={tmp_path}"]
    done = _together(mpi_jobs.ROOT, arguments, arguments, *options)
    assert re.match(r"error: process 1 on \S+ has source code \w+, the first has \w+", done.stderr)


def _together(folder: Path, first: list[str], second: list[str], *options: str) -> subprocess.CompletedProcess[str]:
    """Two processes with different arguments; options: what stands before the second's Python."""
    program = [sys.executable, "-m", "rnn.train", *NETWORK, "--steps", "3", "--batch-size", "4"]
    command = [str(mpiexec()), "-n", "1", *program, *first, ":", "-n", "1", *options, *program, *second]
    return mpi_jobs.run_command(command, folder, 60)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("memory", r"error: rank 1 failed, so all 2 ranks end; run\.npz holds step 10; continue with: mpiexec -n 2 "),
        ("alone", r"error: process 1 on \S+ ends alone: only this one has it; run\.npz holds step 10; continue with"),
        ("leaves", r"error: process 1 on \S+ ends alone: 7; run\.npz holds step 10; continue with"),
    ],
)
def test_what_happens_to_one_process_is_told_with_the_last_checkpoint(
    tmp_path: Path, data: Path, fault: str, says: str
) -> None:
    done = _with_fault(tmp_path, data, fault)
    assert done.returncode != 0
    assert re.search(says, done.stderr)
    assert checkpoint.load(tmp_path / "run.npz").header.step == 10


def test_the_loss_of_the_witness_harms_nothing(tmp_path: Path, data: Path) -> None:
    done = _with_fault(tmp_path, data, "witness")
    assert (done.returncode, done.stderr) == (0, "")
    assert checkpoint.load(tmp_path / "run.npz").header.step == 20


@pytest.mark.skipif("mpich" not in machine.software(), reason="the package mpich is not installed")
def test_a_package_that_one_process_lacks_is_told(tmp_path: Path, data: Path) -> None:
    done = _with_fault(tmp_path, data, "without")
    assert re.fullmatch(r"error: process 1 on \S+ has mpich none, the first has \S+: all must have .*\n", done.stderr)


def _with_fault(folder: Path, data: Path, fault: str) -> subprocess.CompletedProcess[str]:
    run = ["--data", str(data), *NETWORK, "--steps", "20", "--kernel", "cpu-blas", "--batch-size", "12"]
    keep = ["--checkpoint", "run.npz", "--checkpoint-every", "5"]
    return mpi_jobs.run(2, "tests.mpi_faults", fault, *run, *keep, folder=folder, seconds=SECONDS)


# -- no MPI, or another


@pytest.mark.parametrize(("rank", "where"), [("0", ""), ("2", r"process 2 on \S+: ")])
def test_without_mpi_it_is_said_what_to_install_by_the_first_or_by_who_lacks_it(
    rank: str, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PMI_SIZE", "4")
    monkeypatch.setenv("PMI_RANK", rank)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended, cli.errors_as_lines():
        team.join()
    assert ended.value.code == cli.ABSENT
    assert re.fullmatch(
        rf"error: cannot train in 4 processes: {where}the Python package mpi4py is not installed: "
        rf"{re.escape(install('mpi'))}\n",
        capsys.readouterr().err,
    )


def test_the_launcher_of_another_mpi_is_told(tmp_path: Path) -> None:
    other = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "rnn.train", "--steps", "1"], env=mpi_jobs.environment(**other), capture_output=True,
        text=True, cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == cli.ABSENT
    assert re.fullmatch(
        r"error: cannot train in 2 processes: the launcher started 2 processes, but each finds itself alone: mpi4py "
        r"uses \S.*, and the launcher is another MPI's; use the mpiexec that came with it\n",
        done.stderr,
    )


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, (1, 0, 1)),
        ({"PMI_SIZE": "6", "PMI_RANK": "5", "MPI_LOCALNRANKS": "3"}, (6, 5, 3)),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, (2, 1, 2)),
        ({"PMI_SIZE": "8", "PMI_RANK": "3", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"}, (8, 3, 4)),
        ({"SLURM_STEP_NUM_TASKS": "7", "SLURM_PROCID": "3", "SLURM_STEP_TASKS_PER_NODE": "2(x3),1"}, (7, 3, 2)),
    ],
)
def test_what_launchers_say(
    variables: dict[str, str], expected: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("PMI_", "OMPI_", "SLURM_"))]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launcher.started() == expected


# -- the products shared, and not the batch


def test_processes_may_share_the_products_instead_and_go_on_so(tmp_path: Path, data: Path) -> None:
    run = ["--data", str(data), "--batch-size", "5", "--checkpoint"]
    done = _train(tmp_path, 3, *run, "shared.npz", "--steps", "2", "--kernel=mpi-summa")
    assert "Kernel:  mpi-summa, stepwise engine" in done.stdout
    assert [done.stdout.count(word) for word in ("Machine:", "Processes:")] == [1, 0]
    done = _train(tmp_path, 2, *run, "shared.npz", "--steps", "4", "--resume")
    assert "Kernel:  mpi-summa (from the checkpoint), stepwise engine" in done.stdout
    _train(tmp_path, 1, *run, "alone.npz", "--steps", "4")
    assert _distance(tmp_path / "shared.npz", tmp_path / "alone.npz") < 5e-6


def test_a_file_may_be_called_like_the_kernel(tmp_path: Path, data: Path) -> None:
    (tmp_path / "mpi-summa").symlink_to(data)
    run = ["--data", "mpi-summa", "--batch-size", "5", "--steps", "2", "--kernel", "cpu-blas"]
    assert "Processes: 2" in _train(tmp_path, 2, *run).stdout


def test_sharing_products_is_agreed_on(tmp_path: Path, data: Path) -> None:
    arguments = ["--data", str(data), "--kernel"]
    done = _together(tmp_path, [*arguments, "mpi-summa"], [*arguments, "cpu-blas"])
    assert re.match(r"error: process 1 on \S+ has --kernel cpu-blas, the first has mpi-summa", done.stderr)
    done = _train(tmp_path, 2, *arguments, "mpi-summa", code=cli.ABSENT, SUMMA_LOCAL="mpi-summa")
    assert done.stderr == ("error: SUMMA_LOCAL=mpi-summa must name a kernel of one process, such as numba or cuda\n")


def test_ctrl_c_saves_where_the_products_are_shared(start: StartJob) -> None:
    _interrupted(start(2, "mpi-summa"), 2)
