"""The model of many processes by closed forms, what is said and drawn of it, and a whole run on this machine."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from matplotlib.colors import to_hex

import kernels
from experiments.cluster_scaling import __main__ as cluster_scaling
from experiments.cluster_scaling import _model as model
from experiments.cluster_scaling import _report as report
from experiments.cluster_scaling._points import ETHERNET, Network, Scaling, over, speed_up
from kernels import cli, threads
from kernels.extras import install
from kernels.measure import results
from kernels.measure.cluster import CostPoint, SharedPoint
from kernels.mpi import launcher
from plots import cluster
from rnn.network import initial_weights
from rnn.team import Team

MESSAGE = model.Line(1e-5, 1e-9)
COSTS = model.Costs(MESSAGE, 1e-10, model.Line(1e-3, 1e-4), 16, model.Line(1e-6, 1e-11))


def test_one_process_has_nobody_to_talk_to() -> None:
    assert model.allreduce(MESSAGE, 1e-10, 1e6, 1) == 0
    assert model.broadcast(MESSAGE, 1e6, 1) == 0
    assert model.training(COSTS, 1, 128) == pytest.approx(1e-3 + 128e-4)
    n, panels = 2048, 2
    assert model.product(COSTS, 1, n) == pytest.approx(panels * 1e-6 + 1e-11 * n**3)


def test_allreduce_by_hand() -> None:
    # 8 processes: 3 doublings there and 3 back; 7/8 of the bytes twice on the way, and added once
    assert model.allreduce(MESSAGE, 1e-10, 8e6, 8) == pytest.approx(6 * 1e-5 + 14e-3 + 0.7e-3)
    # 5 are no power of two: as many doublings as 8
    assert model.allreduce(MESSAGE, 1e-10, 5e6, 5) == pytest.approx(6 * 1e-5 + 8e-3 + 0.4e-3)


def test_broadcast_takes_the_cheaper_way() -> None:
    assert model.broadcast(MESSAGE, 8, 8) == pytest.approx(3 * (1e-5 + 8e-9)), "few bytes go down a tree"
    assert model.broadcast(MESSAGE, 8e6, 8) == pytest.approx(10e-5 + 14e-3), "many in parts"


def test_a_step_waits_for_the_largest_share_and_fills_registers() -> None:
    summing = model.allreduce(MESSAGE, 1e-10, model.SUMMED, 3)
    # 128 images in three shares: one of 43, as long as 48
    assert model.training(COSTS, 3, 128) == pytest.approx(1e-3 + 48e-4 + summing)
    assert 4 * (sum(weight.size for weight in initial_weights("lstm", 128, 0).values()) + 2) == model.SUMMED


def test_a_product_on_four_processes_by_hand() -> None:
    # on 2x2, n = 1024: blocks of 512, 2 panels of 512, each to one other in its row and one in its column
    message = 1e-5 + 1e-9 * 4 * 512 * 512
    assert model.product(COSTS, 4, 1024) == pytest.approx(2 * (2 * message + 1e-6 + 1e-11 * 512**3))


def test_on_two_processes_only_b_travels() -> None:
    # on 2x1 each has whole rows of A
    message = 1e-5 + 1e-9 * 4 * 512 * 1024
    assert model.product(COSTS, 2, 1024) == pytest.approx(2 * (message + 1e-6 + 1e-11 * 512 * 512 * 1024))


@pytest.mark.parametrize("work", ["training", "product"])
def test_efficiency_falls_with_processes_and_with_latency(work: str) -> None:
    scaling = _scaling()
    counts = [2**power for power in range(8)]
    curve = scaling.curve(work, "strong", COSTS)
    efficiency = [curve[count] / count for count in counts]
    assert efficiency[0] == pytest.approx(1)
    assert all(later < earlier for earlier, later in itertools.pairwise(efficiency))
    slower = scaling.curve(work, "strong", over(COSTS, Network(1e-3, 1e9)))
    assert all(slower[count] < curve[count] for count in counts[1:])


def test_weak_scaling_keeps_the_work_of_each() -> None:
    assert model.size_of("training", "weak", 10, 128) == 1280
    assert model.size_of("product", "weak", 8, 2048) == 4096
    assert model.size_of("product", "strong", 8, 2048) == 2048
    assert max(_scaling().curve("training", "strong", COSTS)) == 128, "a process needs an image"
    assert max(_scaling().curve("training", "weak", COSTS)) == 1000


@pytest.mark.parametrize(("work", "sizes"), [("training", (128, 1024)), ("product", (1000, 2000))])
def test_eight_times_the_work_in_the_same_time_is_eight_times_as_fast(work: Any, sizes: tuple[int, int]) -> None:
    """A product of twice the order has eight times the multiply-adds."""
    one, eight = (
        SharedPoint(work, "weak", processes, 1, size, False, [2.0] * 7)
        for processes, size in zip((1, 8), sizes, strict=True)
    )
    assert speed_up(one, eight) == (8, 8, 8)


def test_a_speed_up_is_over_the_median_of_one_process() -> None:
    one = SharedPoint("training", "strong", 1, 1, 128, False, [1.0, 4.0, 6.0])
    two = SharedPoint("training", "strong", 2, 1, 128, False, [1.0, 2.0, 2.0, 2.0, 4.0])
    assert speed_up(one, two) == (2, 2, 2)


def test_fit_finds_the_line_and_never_goes_below_nothing() -> None:
    sizes = [1, 10, 1000, 100_000]
    assert model.fit(sizes, [2e-6 + 3e-9 * size for size in sizes]) == pytest.approx((2e-6, 3e-9))
    assert model.fit([1, 2], [1, 3]) == (0, pytest.approx(15 / 13)), "the line of least relative errors, through 0"
    assert model.fit([1, 2], [2, 1])[1] == 0


def _scaling(error: float = 1.0) -> Scaling:
    """Measured as COSTS predict, but `error` times that with 2 processes; 4 share cores and take much longer."""
    parts = [CostPoint("step", images, [COSTS.step(16 * -(-images // 16))] * 7, 16) for images in (8, 40, 128)]
    parts += [CostPoint("message", size, [MESSAGE(size)] * 7) for size in (16, 4096, 2**20)]
    parts += [CostPoint("add", size, [1e-10 * size] * 7) for size in (4096, 2**20)]
    parts += [CostPoint("panel", size, [COSTS.panel(size)] * 7) for size in (2**20, 2**24)]
    shared = []
    for work, size in (("training", 128), ("product", 1024), ("call", 1024)):
        for scaling in ("strong", "weak"):
            for processes, times in ((1, 1.0), (2, error), (4, 100.0)):
                scaled = model.size_of(work, scaling, processes, size)
                predict = model.training if work == "training" else model.product
                seconds = times * predict(COSTS, processes, scaled)
                shared.append(SharedPoint(work, scaling, processes, 1, scaled, processes == 4, [seconds] * 7))  # type: ignore[arg-type]
    one = [point for point in shared if point.scaling == "strong" and point.processes == 1 and point.work != "product"]
    shared += [
        msgspec.structs.replace(point, threads=2, samples=[sample * 0.45 for sample in point.samples]) for point in one
    ]
    return Scaling(shared, parts)


def test_the_model_is_fitted_to_the_parts() -> None:
    costs = _scaling().costs
    assert costs.grain == 16
    assert (*costs.message, costs.add, *costs.step, *costs.panel) == pytest.approx(
        (*COSTS.message, COSTS.add, *COSTS.step, *COSTS.panel)
    )


def test_it_says_how_wrong_the_model_is_and_leaves_out_who_shares_cores() -> None:
    judged = report.sentences(_scaling(error=1.25), ETHERNET)[0]
    assert "largest error at the 8 measured points is -20.0%" in judged
    assert "2 processes" in judged
    assert "unsteady" not in judged


def test_a_model_is_not_blamed_where_the_times_are_unsteady() -> None:
    scaling = _scaling()
    point = scaling.points("training", "strong")[1]
    unsteady = msgspec.structs.replace(point, samples=[sample * 4 for sample in point.samples[:4]] + point.samples[:3])
    shared = [unsteady if own is point else own for own in scaling.shared]
    judged = report.sentences(Scaling(shared, scaling.parts), ETHERNET)[0]
    assert "is -75.0% (training, strong scaling, 2 processes), whose times are unsteady: measure again" in judged


def test_it_says_what_limits_the_scaling() -> None:
    said = " ".join(report.sentences(_scaling(), ETHERNET))
    ethernet = over(COSTS, ETHERNET)
    half = next(
        count
        for count in range(1, 129)
        if model.training(COSTS, 1, 128) / model.training(ethernet, count, 128) < count / 2
    )
    last = model.training(COSTS, 1, 128) / model.training(ethernet, 128, 128) / 128
    assert f"1.25 GB/s) {last:.0%} with 128 processes, and below one half from {half} on" in said
    assert f"With {half} processes over 10 Gbit/s Ethernet" in said
    one, two = model.training(COSTS, 1, 128), model.training(COSTS, 2, 128)
    assert f"2 processes of one thread do {0.45 * one / two:.2f} ± 0.00 times the training steps" in said


def test_an_unlike_loss_and_a_wrong_product_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    work = pytest.importorskip("experiments.cluster_scaling._work", reason="needs MPI", exc_type=ImportError)
    engine, x, labels = work.network(8)
    losses = [engine.train(x, labels) for _ in range(3)]
    work.check_losses(losses, 8, 2)
    losses[2] *= 1.001
    with pytest.raises(cli.CommandError, match=r"of 2 processes at step 3, one alone has"):
        work.check_losses(losses, 8, 2)

    right = work.summa.multiply
    work.check_product(Team(), 16)

    def wrong(shape, a, b, c) -> None:  # type: ignore[no-untyped-def]
        right(shape, a, b, c)
        c[3, 4] += 0.01

    monkeypatch.setattr(work.summa, "multiply", wrong)
    with pytest.raises(cli.CommandError, match=r"mpi-summa of 1 processes is wrong"):
        work.check_product(Team(), 16)


@pytest.mark.slow
@pytest.mark.skipif(
    kernels.unavailable("mpi-summa") is not None or launcher.mpiexec() is None, reason="MPI is not installed"
)
def test_three_groups_are_measured_and_verified(tmp_path: Path) -> None:
    file = tmp_path / "cluster.json"
    command = [sys.executable, "-m", "experiments.cluster_scaling", "--rounds", "2", "--images", "8", "--size", "40"]
    command += ["--processes", "1", "2", "3", "--results", str(file), "--hosts", "localhost:3"]
    # as in _run: other tests have started MPI in this process
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    found = Scaling.of(results.read(file))
    assert found is not None
    for work in ("training", "product"):
        for scaling in ("strong", "weak"):
            points = found.points(work, scaling)
            sizes = [model.size_of(work, scaling, count, 8 if work == "training" else 40) for count in (1, 2, 3)]
            assert [(point.processes, point.size) for point in points] == list(zip((1, 2, 3), sizes, strict=True))
            assert all(len(point.samples) == 14 for point in points)
    shares = {point.processes for point in found.shared if point.shares_cores}
    assert shares == {count for count in (1, 2, 3) if count > threads.cores()}
    assert {(point.processes, point.threads) for point in found.shared} == {(1, 1), (2, 1), (3, 1), (1, 2)}
    assert done.stdout.count("largest error") == 1


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", ""),
        ("Traceback\n  line\nValueError: no\n", "ValueError: no"),
        ("note\nerror: rank 1 failed\nmore\n", "rank 1 failed"),
        ("ssh: no host\n[mpiexec@a] launch failed\n[mpiexec@a] main: error\n", "ssh: no host"),
        ("[mpiexec@a] main: error\n", "[mpiexec@a] main: error"),
        ("-----\nThere are not enough slots\n\n  python\n-----\n", "There are not enough slots"),
        ("-----\nA process\n-----\nerror: rank 1 failed\n", "rank 1 failed"),
    ],
)
def test_of_what_a_failed_group_said_the_line_that_tells_most(said: str, told: str) -> None:
    assert cluster_scaling.told(said) == told


def _file(tmp_path: Path) -> Path:
    scaling = _scaling()
    found = results.new("experiments.cluster_scaling", [], [*scaling.shared, *scaling.parts], ceilings=None)
    results.write(tmp_path / "cluster.json", found)
    return tmp_path / "cluster.json"


def test_a_result_file_is_shown_and_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "cluster.svg"
    cluster_scaling.main(
        ["--from", str(_file(tmp_path)), "--plot", str(picture), "--latency", "2", "--bandwidth", "12.5"]
    )
    shown = capsys.readouterr().out
    assert "4 shared" in shown
    assert "a network of 2 µs and 12.5 GB/s" in shown
    assert "</svg>" in picture.read_text()


def test_the_picture_shows_what_was_measured_and_predicted() -> None:
    scaling = _scaling(error=1.25)
    panels = report.panels(scaling, ETHERNET)
    figure = cluster.draw(panels, results.new("x", [], [], None))
    assert len(figure.axes) == 4
    axes, panel = figure.axes[0], panels[0]
    assert panel.measured[2][1] == pytest.approx(scaling.curve("training", "strong", COSTS)[2] / 1.25)
    drawn = [tuple(map(tuple, line.get_data())) for line in axes.lines]
    for curve in panel.curves.values():
        assert (tuple(curve), tuple(curve.values())) in drawn
    medians = {count: quartiles[1] for count, quartiles in panel.measured.items()}
    assert any(x == (1, 2) and y == (medians[1], medians[2]) for x, y in drawn)
    (apart,) = (line for line in axes.lines if tuple(line.get_xdata()) == (4,) and line.get_marker() == "o")
    assert to_hex(apart.get_markerfacecolor()) == to_hex(figure.get_facecolor())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--processes", "1", "4"], cli.USAGE, "needs 1 and 2"),
        (["--images", "3", "--processes", "1", "2", "4"], cli.USAGE, "cannot share 3 images"),
        (["--latency", "0"], cli.USAGE, "above 0"),
        (["--plot", "cluster.bmp"], cli.USAGE, ".png, .svg or .pdf"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    _ends(arguments, code, says, capsys)


def test_another_experiments_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.write(tmp_path / "other.json", results.new("x", [], [], ceilings=None))
    _ends(["--from", str(tmp_path / "other.json")], cli.USAGE, "another experiment", capsys)


def test_without_mpi_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cluster_scaling, "mpiexec", lambda: None)
    monkeypatch.setattr(kernels, "unavailable", lambda name: None)
    _ends([], cli.ABSENT, install("mpi"), capsys)


def test_under_mpiexec_it_does_not_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PMI_SIZE", "2")
    _ends([], cli.USAGE, "without mpiexec", capsys)


def _ends(arguments: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cluster_scaling.main(arguments)
    error = capsys.readouterr().err
    assert stop.value.code == code
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_step_waits_for_the_largest_share():
    from experiments.cluster_scaling import _model as model

    line = model.Line(0.0, 0.0)
    costs = model.Costs(line, 0.0, model.Line(0.0, 1e-3), 1, line)
    assert model.training(costs, 3, 128) == pytest.approx(43e-3)
