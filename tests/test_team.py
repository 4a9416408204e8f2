"""A team of processes notices who no longer agrees, and ends with the code of who failed."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

from kernels import cli
from rnn.batches import Batches
from rnn.data import Split
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from rnn.team import Team
from tests import fake_cupy

pytest.importorskip("mpi4py")


@pytest.mark.parametrize(("digests", "rank"), [("aba", 1), ("aab", 2), ("baa", 0), ("ab", None)])
def test_weights_that_are_no_longer_the_same_end_the_run(digests, rank, monkeypatch):
    from rnn import data_parallel

    monkeypatch.setattr(data_parallel.sums, "choose", lambda team, numbers: SimpleNamespace(waits=True, name="none"))
    team = SimpleNamespace(size=len(digests), rank=0, share=Team().share, waiting=nullcontext)
    parallel = data_parallel.DataParallel(Stepwise(Settings(hidden=4, batch_size=6), np.matmul), team, 6)
    x, labels = np.zeros((28, 6, 28), np.float32), np.zeros(6, np.uint8)
    team.gather = lambda value: [(*value[:2], "a")] * len(digests)
    loss, accuracy = parallel.evaluate(x, labels)
    assert 0 <= accuracy <= team.size
    assert np.isfinite(loss)
    team.gather = lambda value: [(*value[:2], digest) for digest in digests]
    with pytest.raises(cli.CommandError, match=f"process {'[01]' if rank is None else rank} are no longer") as error:
        parallel.evaluate(x, labels)
    assert error.value.code == cli.CHECK_FAILED


@pytest.mark.parametrize("told", [False, True])
def test_one_process_that_is_told_to_stop_stops_all(told, monkeypatch):
    from rnn import data_parallel

    class Sum:
        """The other process was not told."""

        waits = True

        def __call__(self, numbers):
            pass

    monkeypatch.setattr(data_parallel.sums, "choose", lambda team, numbers: Sum())
    team = SimpleNamespace(size=2, share=Team().share, waiting=nullcontext)
    parallel = data_parallel.DataParallel(Stepwise(Settings(hidden=4, batch_size=6), np.matmul), team, 6)
    parallel.train(np.zeros((28, 6, 28), np.float32), np.zeros(6, np.uint8), stop=told)
    assert parallel.stopping is told


@pytest.mark.parametrize(("rank", "said"), [(0, "interrupted; run.npz holds step 4\n"), (1, "")])
def test_ctrl_c_is_said_by_the_first_with_what_there_is_to_go_on_from(rank, said, monkeypatch, capsys):
    from kernels.mpi import ranks

    codes = []
    monkeypatch.setattr(ranks, "COMM", SimpleNamespace(size=2, rank=rank, Abort=codes.append))
    monkeypatch.setattr(ranks, "time", SimpleNamespace(sleep=lambda seconds: None))
    with pytest.raises(SystemExit), ranks.together(lambda: "run.npz holds step 4"):
        raise KeyboardInterrupt
    assert (codes, capsys.readouterr().err) == ([cli.INTERRUPTED], said)


def test_the_exit_code_is_that_of_who_failed():
    from rnn.mpi_team import MPITeam

    team = MPITeam()
    team._hosts = ["here", "there"]
    team.gather = lambda error, least: [None, error]
    with pytest.raises(cli.CommandError, match="process 1 on there: no GPU") as raised, team.agreeing():
        raise cli.CommandError("no GPU", cli.ABSENT)
    assert raised.value.code == cli.ABSENT


def test_shuffling_and_weights_have_random_numbers_of_their_own():
    batches = Batches(Split(np.zeros((50, 28, 28), np.uint8), np.zeros(50, np.uint8)), 50, seed=3)
    weights = np.random.default_rng([3, 0])  # as rnn/network.py begins
    assert batches.indices(0).tolist() != weights.permutation(50).tolist()


@pytest.mark.parametrize(
    ("gpus", "aware", "by"),
    [
        ([("a", "0", True), ("a", "1", True)], [False, False], "NCCL"),
        ([("a", "0", True), ("b", "0", True)], [False, False], "NCCL"),
        ([("a", "0", True), ("a", "0", True)], [True, True], "MPI, from GPU to GPU"),
        ([("a", "0", True), ("a", "1", False)], [True, True], "MPI, from GPU to GPU"),
        ([("a", "0", False), ("a", "1", False)], [True, False], "MPI, through the host's memory"),
    ],
)
def test_gpus_add_up_by_the_best_that_all_processes_have(gpus, aware, by, monkeypatch):
    """gpus: host, place on its bus and whether there is NCCL, which wants a GPU for each process."""
    from rnn import sums

    gathered = iter([gpus, aware])
    team = SimpleNamespace(size=len(gpus), host="a", comm=None, gather=lambda value: next(gathered))
    for name in ("library", "_bus", "_has_nccl"):
        monkeypatch.setattr(sums, name, lambda *_: None)
    monkeypatch.setattr(sums.NCCLSum, "__init__", lambda self, team: None)
    assert sums.choose(team, np.zeros(1)).name == by


@pytest.mark.parametrize(("rank", "number"), [(0, 0), (1, 0), (2, 1), (3, 0)])
def test_each_process_takes_another_gpu_of_its_machine_while_there_are_enough(rank, number, monkeypatch):
    from kernels.mpi import ranks

    cupy, used = fake_cupy.install(monkeypatch), []
    monkeypatch.setattr(cupy.cuda, "Device", lambda number: SimpleNamespace(use=lambda: used.append(number)))
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 2, raising=False)
    monkeypatch.setattr(ranks, "HOSTS", ["a", "b", "a", "a"])
    monkeypatch.setattr(ranks, "COMM", SimpleNamespace(rank=rank))
    ranks.use_own_gpu()
    assert used == [number]
