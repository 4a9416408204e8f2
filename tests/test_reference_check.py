"""The check beside TensorFlow: it passes what agrees, and names what does not."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats

import kernels
from experiments import _reference_tables, reference_check
from experiments._apart import Apart
from kernels import cli
from kernels.measure import results
from rnn import report
from rnn.batches import Batches
from rnn.data import load
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from rnn.stepwise_cuda import StepwiseCUDA
from tests import fake_cupy, idx
from tests.points import training_point
from tests.test_reference import tensorflow


def _agreement(**changes: Any) -> results.AgreementPoint:
    agreed = {
        "kernel": "cpu-blas",
        "engine": "stepwise",
        "mode": "graph",
        "cell": "lstm",
        "optimizer": "sgd",
        "hidden": 8,
        "batch_size": 8,
        "seed": 0,
        "logits": 1e-6,
        "gradients": {"cell_weight": 1e-6, "cell_bias": 2e-6},
        "losses": [2.0, 1.0],
        "reference_losses": [2.0, 1.0001],
    }
    return results.AgreementPoint(**agreed | changes)


def test_what_agrees_passes(capsys: pytest.CaptureFixture[str]) -> None:
    _reference_tables.judge([_agreement()])
    said = "Ours and TensorFlow's agree: gradients within 2e-06, losses within 1e-04\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"gradients": {"cell_weight": 1e-6, "cell_bias": 2e-4}}, "gradient of cell_bias differs by 2.0e-04"),
        ({"gradients": {"cell_weight": math.nan, "cell_bias": 0.0}}, "gradient of cell_weight differs by nan"),
        ({"logits": 1e-3}, "logits differs by 1.0e-03"),
        ({"losses": [2.0, 1.002]}, "losses differ by 1.9e-03"),
        ({"losses": [2.0, 0.01002], "reference_losses": [2.0, 0.01]}, "losses differ by 2.0e-03"),
    ],
)
def test_what_differs_is_named(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(cli.CommandError, match=f"lstm, adam, keras: {says}") as stop:
        _reference_tables.judge([_agreement(), _agreement(**changes, mode="keras", optimizer="adam")])
    assert stop.value.code == cli.CHECK_FAILED


def test_accuracies_must_overlap() -> None:
    """Over the seeds, as one seed's luck is no difference; with one seed, Wilson's interval has to do."""
    far = [training_point(8700, seed=0), training_point(8900, seed=0, kernel="tensorflow")]
    with pytest.raises(cli.CommandError, match="do not overlap"):
        _reference_tables.judge([_agreement(), *far])
    second = [training_point(8850, seed=1), training_point(8710, seed=1, kernel="tensorflow")]
    _reference_tables.judge([_agreement(), *far, *second])
    apart = [training_point(9500 + seed, seed=seed, kernel="tensorflow") for seed in range(3)]
    near = [training_point(8700 + seed, seed=seed) for seed in range(3)]
    with pytest.raises(cli.CommandError, match=r"lstm, sgd: accuracy 0\.8701 .* TensorFlow's 0\.9501"):
        _reference_tables.judge([_agreement(), *near, *apart])


def test_mean_interval_is_students() -> None:
    values = [0.86, 0.87, 0.9, 0.85]
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert report.mean_interval(values) == pytest.approx((interval.low, interval.high), rel=1e-12)


def test_an_accuracys_interval_ends_at_1() -> None:
    runs = [training_point(correct, kernel=kernel) for kernel in ("numba", "tensorflow") for correct in (9000, 9900)]
    ((ours, _),) = _reference_tables.accuracies(runs).values()
    assert (ours.mean, ours.high) == (pytest.approx(0.945), 1.0)
    assert 0 < ours.low < 0.9


def test_ratio_is_against_the_fastest_mode() -> None:
    def step(name: str, seconds: float) -> results.StepPoint:
        return results.StepPoint(name, 8, 8, 1, "ok", samples=[seconds] * 7, cell="elman", optimizer="adam")

    steps = [step("fused, mine", 0.01), step("TensorFlow, xla", 0.03), step("TensorFlow, keras", 0.02)]
    said = "elman, adam: fused, mine is 2.00 ± 0.00 times as fast as TensorFlow's best mode, keras"
    assert _reference_tables.ratios(steps) == [said]


@tensorflow
def test_the_whole_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = idx.write(tmp_path / "idx", idx.contents()), tmp_path / "check.json"
    arguments = ["--cell", "elman", "--optimizer", "adam", "--mode", "graph", "--kernel", "cpu-blas", "--threads", "1"]
    arguments += ["--hidden", "8", "--batch-size", "8", "--seeds", "1", "--steps", "30", "--rounds", "1"]
    reference_check.main([*arguments, "--data", str(data), "--results", str(file)])
    shown = capsys.readouterr().out
    assert "Ours and TensorFlow's agree" in shown
    assert "times as fast as TensorFlow's best mode, graph" in shown
    points = results.read(file).points
    (agreement,) = (point for point in points if isinstance(point, results.AgreementPoint))
    assert set(agreement.gradients) == {"cell_weight", "cell_bias", "output_weight", "output_bias"}
    assert 0 < max(agreement.gradients.values()) < 1e-5
    settings = Settings(cell="elman", optimizer="adam", hidden=8, batch_size=8)
    engine, batches = Stepwise(settings, kernels.get("cpu-blas").matmul), Batches(load(data).train, 8, seed=0)
    assert agreement.losses == pytest.approx([engine.train(*batches[step]) for step in range(200)], rel=1e-4)
    assert agreement.losses != agreement.reference_losses
    runs = [point for point in points if isinstance(point, results.TrainingPoint)]
    assert [(run.kernel, run.steps, run.cell) for run in runs] == [
        ("cpu-blas", 30, "elman"),
        ("tensorflow", 30, "elman"),
    ]
    assert {point.contestant for point in points if isinstance(point, results.StepPoint)} == {
        "stepwise, cpu-blas",
        "TensorFlow, graph",
    }
    reference_check.main(["--from", str(file)])
    machine_line, tables = capsys.readouterr().out.split("\n", 1)
    assert "; measured 20" in machine_line
    assert tables in shown.replace(f"wrote {file}\n", "")


@tensorflow
def test_threads_are_set_before_a_kernel_imports_numba(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numba sizes its pool when it is imported, and --threads may ask for more than there are cores."""

    def set_threads(threads: int) -> None:
        raise cli.CommandError("the threads were set")

    monkeypatch.setattr(cli, "use_threads", set_threads)
    monkeypatch.setattr(cli, "get_kernel", lambda name: pytest.fail("a kernel was asked for first"))
    with pytest.raises(SystemExit):
        reference_check.main([])
    assert capsys.readouterr().err == "error: the threads were set\n"


@tensorflow
def test_no_rounds_is_no_timing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For runs of hours on a machine that does other work too, whose times nobody should read."""
    data, file = idx.write(tmp_path / "idx", idx.contents()), tmp_path / "check.json"
    arguments = ["--cell", "elman", "--optimizer", "sgd", "--mode", "graph", "--kernel", "cpu-blas", "--threads", "1"]
    arguments += ["--hidden", "8", "--batch-size", "8", "--seeds", "0", "--rounds", "0"]
    reference_check.main([*arguments, "--data", str(data), "--results", str(file)])
    assert "One training step" not in capsys.readouterr().out
    assert [type(point) for point in results.read(file).points] == [results.AgreementPoint]


def test_distance_is_relative_to_the_reference() -> None:
    ours, theirs = np.array([[3.0, 4.0]], np.float32), np.array([[0.0, 4.0]], np.float32)
    assert reference_check._distance(ours, theirs) == 0.75


def test_a_side_on_a_gpu_answers_with_what_can_be_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Arrays of the host, and losses that have been waited for."""
    fake_cupy.install(monkeypatch)
    data = idx.write(tmp_path / "idx", idx.contents())
    settings = Settings(hidden=4, batch_size=5)
    here, there = (
        reference_check.Side(partial(engine, settings, multiply), settings, data)
        for engine, multiply in (
            (Stepwise, np.matmul),
            (partial(StepwiseCUDA, fused_gates=False), fake_cupy.multiply),
        )
    )
    for ours, theirs in zip(here.first_batch(), there.first_batch(), strict=True):
        for name in ours if isinstance(ours, dict) else (...,):
            assert type(theirs[name]) is np.ndarray
            np.testing.assert_array_equal(theirs[name], ours[name])
    losses = there.losses(3)
    assert losses == here.losses(3)
    assert {type(loss) for loss in losses} == {float}


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int) -> int:
        self.count += number
        return self.count

    def fail(self) -> None:
        raise cli.CommandError("said once", cli.ABSENT)


def test_apart_keeps_its_object_and_passes_errors_on() -> None:
    with Apart("counter", _Counter, 1) as counter:
        assert [counter.call("add", 2), counter.call("add", 3)] == [2, 5]
        with pytest.raises(cli.CommandError, match="said once") as stop:
            counter.call("fail")
        assert stop.value.code == cli.ABSENT
        with pytest.raises(cli.CommandError, match="counter stopped"):
            counter.call("add", 1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cell", "gru"], "--cell"),
        (["--mode", "eager"], "--mode"),
        (["--seeds", "-1"], "at least 0"),
        (["--results", "nowhere/check.json"], "cannot write nowhere/check.json"),
        (["--from", "nothing.json"], "cannot read nothing.json"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        reference_check.main(arguments)
    assert stop.value.code == cli.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@tensorflow
def test_bad_data_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        reference_check.main(["--data", str(tmp_path / "nowhere"), "--kernel", "cpu-blas"])
    assert stop.value.code == cli.USAGE
    said = capsys.readouterr().err
    assert "nowhere is not a directory" in said
    assert said.count("\n") == 1


def test_a_file_of_another_experiment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.json"
    results.write(file, results.new("rnn.train", [], [training_point()], ceilings=None))
    with pytest.raises(SystemExit) as stop:
        reference_check.main(["--from", str(file)])
    assert stop.value.code == cli.USAGE
    assert "it is of another experiment" in capsys.readouterr().err


@pytest.mark.parametrize("losses", [[math.nan, 1.0], [2.0, math.nan]])
def test_a_loss_that_is_no_number_does_not_agree(losses: list[float]) -> None:
    with pytest.raises(cli.CommandError, match="losses differ by nan"):
        _reference_tables.judge([_agreement(losses=losses)])
