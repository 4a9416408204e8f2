"""The timeline of a training step leaves no moment out, counts none twice, and says what it could not see."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kernels
from experiments import _contestants, _timelines, timeline
from experiments._timelines import Watched
from kernels import cli
from kernels.measure import machine as machine_module
from kernels.measure import results, timing
from kernels.measure.results import TimelinePoint
from rnn import gates_cuda
from rnn.fused_cpu import FusedCPU
from rnn.persistent_cuda import PersistentCUDA
from rnn.settings import Settings
from tests import emulated_gates, emulation, fake_cupti, fake_cupy
from tests.fake_cupti import GAP, Cupti
from tests.points import timeline_point
from tests.test_persistent import Machine, machine  # noqa: F401 - a fixture

emulated = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")
MATMUL, GATES, OTHERS = 5000, 2000, 4000  # ns that the stand-in's launches take


# the command on a stand-in GPU


class _Here:
    """In the place of Apart: the stand-ins live in this process."""

    def __init__(self, name: str, create: Any, threads: int) -> None:
        self._made = create()

    def __enter__(self) -> _Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, method: str, *arguments: object) -> Any:
        return getattr(self._made, method)(*arguments)


@pytest.fixture
def cupti(monkeypatch: pytest.MonkeyPatch) -> Cupti:
    fake_cupy.install(monkeypatch)
    return fake_cupti.install(monkeypatch)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, cupti: Cupti) -> Cupti:
    """Launches of the stepwise and the graph engine: right results, and made-up times."""
    emulated_gates.install(monkeypatch)
    emulated_launch = gates_cuda._function

    def function(name: str, device: int) -> Any:
        def launch(*how: Any) -> None:
            cupti.launch(name, GATES if name.startswith("lstm") else OTHERS)
            emulated_launch(name, device)(*how)

        return launch

    def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        cupti.launch("matmul", MATMUL)
        fake_cupy.multiply(a, b, out)

    spec = next(spec for spec in kernels.LADDER if spec.name == "cuda-cupy-register")
    monkeypatch.setattr(gates_cuda, "_function", function)
    monkeypatch.setattr(cli, "get_kernel", lambda name: SimpleNamespace(spec=spec, name=spec.name, matmul=matmul))
    monkeypatch.setattr(timeline, "Apart", _Here)
    monkeypatch.setattr(timing, "repeat", lambda call, min_time: [call() or 2e-2] * 7)
    monkeypatch.setattr(_timelines, "CALLS", 2)
    monkeypatch.setattr(_timelines, "RECORDED", 3)
    monkeypatch.setattr(PersistentCUDA, "why_not", staticmethod(lambda settings: "the chip is a stand-in"))
    monkeypatch.setattr(machine_module, "sm_clock", lambda: 1980)
    return cupti


SMALL = ["--batch-size", "8", "--hidden", "4"]


@emulated
def test_a_gpus_step_is_shown_launch_by_launch(gpu: Cupti, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.json"
    timeline.main([*SMALL, "--kernel", "cuda", "--results", str(file)])
    shown = capsys.readouterr().out
    stepwise, graph, persistent = results.read(file).of(results.TimelinePoint)
    # forward, output, its two gradients, back, weights; lstm_forward and _backward; softmax, 2 sums, 4 updates
    products, gates, others = 28 + 3 + 27 + 1, 28 + 28, 1 + 2 + 4
    count = products + gates + others
    for point in (stepwise, graph):
        assert point.status == "ok"
        assert (point.clock, point.sm_clock) == ("CUPTI", 1980)
        assert point.seconds == pytest.approx((products * MATMUL + gates * GATES + others * OTHERS + count * GAP) / 1e9)
        assert point.phases == pytest.approx(
            {
                "matmul": products * MATMUL / 1e9,
                "gates": gates * GATES / 1e9,
                "loss, sums, update": others * OTHERS / 1e9,
                "launch gap": count * GAP / 1e9,
            }
        )
        assert f"{point.name}: 46% of a step's 801 µs are gaps between {count} kernels" in shown
        assert point.samples == [1e-2] * 7
    assert (persistent.status, persistent.reason) == ("skipped", "the chip is a stand-in")
    assert f"{persistent.name} skipped: the chip is a stand-in" in shown
    assert not gpu.enabled


@emulated
def test_an_engine_that_cannot_be_recorded_is_left_out_in_one_line(
    gpu: Cupti, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for refuses, lost, reason in (
        ("ERROR_INSUFFICIENT_PRIVILEGES", 0, "the NVIDIA driver lets only an administrator profile here"),
        (None, 1, "CUPTI has 609 records, not the same ones for each of 5 steps"),
    ):
        gpu.refuses, gpu.lost = refuses, lost
        file, picture = tmp_path / "run.json", tmp_path / "run.png"
        timeline.main([*SMALL, "--kernel", "cuda", "--results", str(file), "--plot", str(picture)])
        shown = capsys.readouterr().out
        assert (
            f"\nstepwise, cuda-cupy-register skipped: {reason}\ngraph, cuda-cupy-register skipped: {reason}\n" in shown
        )
        assert [point.reason for point in results.read(file).of(results.TimelinePoint)][:2] == [reason, reason]
        assert "run.png is not drawn: nothing could be recorded" in shown
        assert not picture.exists()


@emulated
def test_an_engine_that_is_wrong_is_not_shown(
    gpu: Cupti, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(timeline, "Expected", SimpleNamespace(of=lambda settings: _contestants.Expected([9.0] * 5, {})))
    with pytest.raises(SystemExit) as stop:
        timeline.main([*SMALL, "--kernel", "cuda"])
    assert stop.value.code == cli.CHECK_FAILED
    said = capsys.readouterr()
    assert "stepwise, cuda-cupy-register: loss " in said.err
    assert "gaps" not in said.out


@emulated
def test_an_engine_that_breaks_down_leaves_the_others_theirs(
    gpu: Cupti, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def record(self: Watched) -> _timelines.Recorded:
        if self._name == "graph":
            raise cli.CommandError("graph stopped; what it said stands above", cli.CHECK_FAILED)
        return recorded(self)

    recorded = Watched.record
    monkeypatch.setattr(Watched, "record", record)
    file = tmp_path / "run.json"
    with pytest.raises(SystemExit) as stop:
        timeline.main([*SMALL, "--kernel", "cuda", "--results", str(file)])
    assert stop.value.code == cli.CHECK_FAILED
    statuses = {point.engine: point.status for point in results.read(file).of(results.TimelinePoint)}
    assert (statuses["stepwise"], statuses["graph"]) == ("ok", "failed")
    assert "graph stopped; what it said stands above" in capsys.readouterr().err


# the persistent engine's stamps, on the emulator: its clocks are no times, and enter no result file


@pytest.fixture
def persistent(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Watched:  # noqa: F811
    spec = next(spec for spec in kernels.LADDER if spec.name == "cuda-cupy-register")
    monkeypatch.setattr(cli, "get_kernel", lambda name: SimpleNamespace(spec=spec, name=spec.name, matmul=np.matmul))
    monkeypatch.setattr(timing, "repeat", lambda call, min_time: [20.0] * 7)  # seconds of CALLS steps
    monkeypatch.setattr(_timelines, "RECORDED", 3)
    monkeypatch.setattr(machine_module, "sm_clock", lambda: 2000)
    return Watched("persistent", spec.name, Settings(hidden=6, batch_size=3))


@emulated
def test_the_stamps_of_a_step_and_the_gap_to_the_next_are_all_of_it(
    persistent: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamped: list[list[tuple[str, int]]] = []
    phases = PersistentCUDA.phases
    monkeypatch.setattr(PersistentCUDA, "phases", lambda *of: stamped.append(phases(*of)) or stamped[-1])
    found = persistent.record()
    assert found.reason is None
    middle = sorted(stamped, key=lambda step: sum(clocks for _, clocks in step))[1]
    *kernel, (last, gap) = found.spans
    assert [seconds for _, seconds in kernel] == pytest.approx([clocks / 2e9 for _, clocks in middle])
    assert last == "launch gap"
    assert gap == pytest.approx(1.0 - sum(clocks for _, clocks in middle) / 2e9)
    own = TimelinePoint("persistent", "k", 3, 6, 1, "ok", spans=found.spans)
    assert own.seconds == pytest.approx(1.0)
    assert [*own.phases] == [
        "matmul", "gates", "loss, sums, update", "weights", "barrier", "grid barrier", "launch gap",
    ]  # fmt: skip
    assert (own.count("barrier"), own.count("grid barrier"), own.count("gates")) == (28 + 27, 2, 28 + 28)


@emulated
def test_a_kernel_longer_than_the_step_leaves_no_gap(persistent: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "repeat", lambda call, min_time: [1e-9] * 7)
    assert "launch gap" not in {phase for phase, _ in persistent.record().spans}


@emulated
def test_clocks_without_their_rate_are_no_times(persistent: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "sm_clock", lambda: None)
    found = persistent.record()
    assert found.spans == []
    assert found.reason == "the driver does not tell the clock of the GPU's multiprocessors"


@pytest.mark.gpu
def test_a_step_on_the_gpu_is_seen_whole(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    timeline.main(["--kernel", "cuda-cupy-register", "--results", str(file)])
    seen = [point for point in results.read(file).of(results.TimelinePoint) if point.spans]
    if not seen:
        pytest.skip("no engine can be watched here")
    for point in seen:
        # to watch costs something at each launch, and must not cost the most
        assert 0.5 < point.seconds / float(np.median(point.samples)) < 5, point.name
        if point.clock == "CUPTI":
            assert point.count("matmul") == 59, point.name
            assert point.count("gates") >= 56, point.name
            assert point.count("loss, sums, update") == 7, point.name
            assert point.count("launch gap") >= 59, point.name


# on a CPU


class _Clock:
    """A host on which nothing takes time but looking at the clock, 1 s, and what it is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 1
        return self.now


def test_the_products_and_what_lies_between_are_the_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, kernel = _Clock(), kernels.get("cpu-blas")

    def matmul(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        clock.now += 5
        kernel.matmul(a, b, out)

    monkeypatch.setattr(cli, "get_kernel", lambda name: SimpleNamespace(spec=kernel.spec, name=name, matmul=matmul))
    monkeypatch.setattr(_timelines, "time", clock)
    monkeypatch.setattr(timing, "repeat", lambda call, min_time: [1.0])
    # a width of 10 is also that of the output: the products are told by their order
    found = Watched("stepwise", "cpu-blas", Settings(hidden=10, batch_size=4)).record()
    assert found.samples == [1.0] * 2, "before and after"
    own = TimelinePoint("stepwise", "cpu-blas", 4, 10, 1, "ok", spans=found.spans)
    forward, loss, back = ["gates", "matmul"] * 29, ["loss, sums, update", "matmul"] * 2, ["gates", "matmul"] * 28
    assert [phase for phase, _ in own.spans] == [*forward, *loss, *back, "loss, sums, update"]
    products = 29 + 2 + 28
    assert own.phases == {"matmul": 6 * products, "gates": 29 + 28, "loss, sums, update": 3}
    assert own.seconds == 7 * products + 1


def test_the_fused_engine_trains_alike_whoever_watches() -> None:
    random = np.random.default_rng(0)
    x, labels = random.random((28, 40, 28), np.float32), random.integers(0, 10, 40).astype(np.uint8)
    alone, watched = (FusedCPU(Settings(hidden=8, batch_size=40), np.matmul) for _ in range(2))
    marks: list[str] = []
    for _ in range(2):
        assert alone.train(x, labels) == watched.train(x, labels, marks.append)
    assert marks == ["weights", "slices", "sums", "update"] * 2
    for name, weight in alone.weights.items():
        np.testing.assert_array_equal(weight, watched.weights[name])


def test_the_engines_of_a_cpu_from_the_command_to_the_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "run.json", tmp_path / "run.png"
    arguments = [*SMALL, "--kernel", "numba", "--threads", "1", "--results", str(file)]
    timeline.main([*arguments, "--plot", str(picture)])
    shown = capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    found = results.read(file)
    assert found.command.startswith("python -m experiments.timeline --batch-size 8")
    stepwise, fused = found.of(results.TimelinePoint)
    assert [*stepwise.phases] == ["matmul", "gates", "loss, sums, update"]
    assert stepwise.count("matmul") == 59
    assert stepwise.sm_clock is None
    assert [phase for phase, _ in fused.spans] == ["weights", "matmul and gates", *["loss, sums, update"] * 2]
    for point in (stepwise, fused):
        assert len(point.samples) >= 7
        assert all(seconds > 0 for _, seconds in point.spans)
        assert sum(point.phases.values()) == pytest.approx(point.seconds)
    again = tmp_path / "again.json"
    timeline.main(["--from", str(file), "--results", str(again)])
    assert again.read_bytes() == file.read_bytes()
    machine_line, tables = capsys.readouterr().out.split("\n", 1)
    assert "; measured 20" in machine_line
    assert tables.split("wrote")[0] in shown


# bad input


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--kernel", "cuda"], cli.ABSENT, "no CUDA kernel can run here"),
        (["--kernel", "cpu-nunba-simd"], cli.USAGE, "cpu-numba-simd"),
        (["--batch-size", "0"], cli.USAGE, "at least 1"),
        (["--hidden", "x"], cli.USAGE, "whole number"),
        (["--plot", "picture.bmp"], cli.USAGE, ".png, .svg or .pdf"),
        (["--results", "/nowhere/run.json"], cli.USAGE, "/nowhere/run.json"),
        (["--from", "nothing.json"], cli.USAGE, "cannot read nothing.json"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine_module, "why_no_gpu", lambda: "no NVIDIA driver is installed")
    with pytest.raises(SystemExit) as stop:
        timeline.main(arguments)
    said = capsys.readouterr().err + str(stop.value)
    assert stop.value.code == code
    assert says in said
    assert "Traceback" not in said


def test_a_product_of_many_processes_is_not_watched(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = next(spec for spec in kernels.LADDER if spec.family == "mpi")
    monkeypatch.setattr(cli, "get_kernel", lambda name: SimpleNamespace(spec=spec, name=spec.name))
    with pytest.raises(SystemExit) as stop:
        timeline.main(["--kernel", "mpi-summa"])
    assert stop.value.code == cli.USAGE
    assert "mpi-summa runs in other processes too" in capsys.readouterr().err


def test_files_that_are_none_of_this_experiments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, unknown = tmp_path / "other.json", tmp_path / "unknown.json"
    results.write(other, results.new("x", [], [results.ThreadPoint("work", 1, [1.0])], ceilings=None))
    results.write(unknown, results.new("x", [], [timeline_point("graph", [("launch gap", 1.0)])], ceilings=None))
    unknown.write_text(json.dumps(json.loads(unknown.read_text())).replace('"launch gap"', '"coffee"'))
    for file, says in ((other, "holds no timelines"), (unknown, "Invalid enum value 'coffee'")):
        with pytest.raises(SystemExit) as stop:
            timeline.main(["--from", str(file)])
        assert stop.value.code == cli.USAGE
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
