"""The comparison of machines: the article's arithmetic, equal networks only, prices and energy where they are known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from experiments import _jobs, _training, machines
from experiments._published import PUBLISHED
from kernels import cli
from kernels.measure import energy, results
from kernels.measure.machine import GPU
from tests import idx
from tests.points import results_of, training_point


def _write(path: Path, point: results.TrainingPoint, **changes: Any) -> Path:
    found = results.new("rnn.train", [], [point], ceilings=None)
    found = msgspec.structs.replace(found, git=results.Git("0" * 40, dirty=False), **changes)
    results.write(path, found)
    return path


def _row(jobs: list[_jobs.Job], name: str) -> list[str]:
    return dict(_jobs.table_rows(jobs, years=3.0))[name]


def _fails(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        machines.main(list(arguments))
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_the_published_runs_give_the_articles_arithmetic(capsys: pytest.CaptureFixture[str]) -> None:
    server, box = PUBLISHED
    assert (server.real, box.real) == (324.519, 82.601)
    assert (server.accuracy_first_128 * 128, box.accuracy_first_128 * 128) == (115, 113)
    jobs = list(PUBLISHED)
    assert _row(jobs, "speed-up over the first") == ["1.00", "3.93"]
    assert _row(jobs, "cores kept busy") == ["6.24 of 48", "1.07"]
    assert _row(jobs, "real") == ["5m24.519s", "1m22.601s"]
    assert _row(jobs, "user") == ["27m32.158s", "1m21.002s"]
    assert _row(jobs, "sys") == ["6m12.759s", "0m7.588s"]
    machines.main([])
    shown = capsys.readouterr().out
    assert "324.519 s / 82.601 s = 3.93 times as fast" in shown
    assert shown.count("published") == 2


def test_cost_and_performance_of_a_price() -> None:
    """$850 over 3 years of 365.25 days; 10,000 steps of 128 images in 82.601 s."""
    server, box = PUBLISHED
    assert box.cost(years=3.0) == pytest.approx(850 / (3 * 365.25 * 86_400) * 82.601 / 1.28)
    assert box.cost(years=1.5) == pytest.approx(2 * box.cost(years=3.0))
    assert box.per_dollar == pytest.approx(1_280_000 / 82.601 / 850)
    assert (server.cost(3.0), server.per_dollar) == (None, None)


def test_a_result_file_is_one_more_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = _write(tmp_path / "mine.json", training_point(real=50.0, user=80.0, sys=15.0, energy={"a": 900.0, "b": 100}))
    picture = tmp_path / "machines.svg"
    machines.main([str(mine), "--price", "1500", "--plot", str(picture)])
    assert "324.519 s / 50.000 s = 6.49 times as fast" in capsys.readouterr().out
    assert "</svg>" in picture.read_text()
    jobs = machines.load([mine], [1500.0], published=True)
    assert _row(jobs, "speed-up over the first")[2] == "6.49"
    assert _row(jobs, "cores kept busy")[2].startswith("1.90 of ")
    assert _row(jobs, "steps/s, all included")[2] == "200.0"
    assert _row(jobs, "price") == ["–", "$850", "$1,500"]
    assert _row(jobs, "accuracy, all test images") == ["–", "–", "0.8700"]
    assert _row(jobs, "95% interval")[2] == "0.863–0.876"
    assert _row(jobs, "energy") == ["–", "–", "1.00 kJ"]
    assert _row(jobs, "source")[2] == "measured"


def test_memory_is_told_in_gib() -> None:
    assert _row([replace(PUBLISHED[0], memory=64 * 2**30)], "memory") == ["64 GiB"]


def test_cores_of_all_gpus_are_added_up() -> None:
    """But for those of one that does not tell them."""
    found = results_of([training_point()])
    gpus = [GPU(name, 2**33, "9.0", 1980, "570", cores) for name, cores in (("a", 16_896), ("b", None), ("c", 2_432))]
    found = msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, gpus=gpus))
    (job,) = _jobs.measured(found, "file", None)
    assert (job.gpu, job.gpu_cores) == ("a, 9 GB, b, 9 GB, c, 9 GB", 19_328)


def test_prices_stand_in_the_file_or_in_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_price = _write(tmp_path / "a.json", training_point(), price=400.0)
    without = _write(tmp_path / "b.json", training_point())
    files = [with_price, without]
    assert [job.price for job in machines.load(files, [], published=False)] == [400.0, None]
    assert [job.price for job in machines.load(files, [None, 70.0], published=False)] == [400.0, 70.0]
    assert [job.price for job in machines.load(files, [300.0, None], published=False)] == [300.0, None]
    machines.main(["--price", "-", "--price", "-", *map(str, files)])
    assert capsys.readouterr().out.count("its price is not known; --price DOLLARS tells it") == 1


@pytest.mark.parametrize(
    ("git", "source"),
    [
        (results.Git("0" * 40, dirty=True), "measured, from a dirty tree"),
        (None, "measured, revision unknown"),
    ],
)
def test_what_cannot_be_repeated_is_marked(git: results.Git | None, source: str, tmp_path: Path) -> None:
    file = _write(tmp_path / "mine.json", training_point())
    results.write(file, msgspec.structs.replace(results.read(file), git=git))
    assert _row(machines.load([file], [], published=True), "source")[2] == source


def test_a_revision_may_stand_beside_the_file(tmp_path: Path) -> None:
    file = _write(tmp_path / "mine.json", training_point())
    results.write(file, msgspec.structs.replace(results.read(file), git=None))
    file.with_suffix(".revision").write_text("0" * 40 + "\n")
    assert _row(machines.load([file], [], published=True), "source")[2] == "measured"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"optimizer": "adam", "steps": 4000}, "optimizer adam, not sgd, steps 4000, not 10000"),
        ({"hidden": 64}, "hidden 64, not 128"),
        ({"cell": "elman"}, "cell elman, not lstm"),
        ({"batch_size": 256}, "batch size 256, not 128"),
        ({"learning_rate": 0.01}, "learning rate 0.01, not 0.001"),
        ({"verified_data": False}, "data other images, not MNIST"),
        ({"first_step": 501}, "was resumed at step 501"),
    ],
)
def test_different_networks_are_not_compared(
    changes: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = _write(tmp_path / "other.json", training_point(**changes))
    assert _fails(str(other)) == cli.USAGE
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{says}" in said
    assert "other.json" in said


def test_seeds_are_no_difference_and_any_network_has_its_own_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [_write(tmp_path / f"{seed}.json", training_point(seed=seed, optimizer="adam")) for seed in range(2)]
    machines.main(["--no-published", *map(str, files)])
    shown = capsys.readouterr().out
    assert "published" not in shown
    assert "1.00 times as fast" in shown
    files.append(_write(tmp_path / "sgd.json", training_point()))
    assert _fails("--no-published", *map(str, files)) == cli.USAGE
    said = capsys.readouterr().err
    assert f"sgd.json cannot be compared with {files[0]}: optimizer sgd, not adam\n" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["FILE", "--price", "0"], "must be above 0"),
        (["FILE", "--price", "-850"], "must be above 0"),
        (["FILE", "--price", "cheap"], "must be a number"),
        (["FILE", "FILE", "--price", "850"], "--price is given 1 times for 2 machines"),
        (["--price", "850"], "--price belongs to no machine"),
        (["FILE", "--years", "0"], "must be above 0"),
        (["FILE", "--results", "out.json"], "add --measure"),
        (["FILE", "--plot", "out.bmp"], ".png, .svg or .pdf"),
        (["--no-published"], "nothing to show"),
        (["missing.json"], "cannot read missing.json"),
        (["old.json"], "schema version 0; this program reads version 1"),
        (["short.json"], "is cut short"),
        (["half.json"], "not a whole result file"),
        (["steps.json"], "holds no training run"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = _write(Path("FILE"), training_point()).read_bytes()
    Path("old.json").write_bytes(whole.replace(b'"schema": 1', b'"schema": 0'))
    Path("short.json").write_bytes(whole[: len(whole) // 2])
    Path("half.json").write_bytes(whole.replace(b'"real"', b'"unreal"'))
    results.write(Path("steps.json"), results.new("x", [], [results.ThreadPoint("work", 1, [1.0])], ceilings=None))
    before = sorted(tmp_path.iterdir())
    assert _fails(*arguments) == cli.USAGE
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert sorted(tmp_path.iterdir()) == before


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    data = idx.write(tmp_path / "idx", idx.contents())
    return ["--steps", "25", "--batch-size", "8", "--hidden", "8", "--kernel", "cpu-blas", "--data", str(data)]


def test_measure_runs_the_job_and_adds_this_machine(
    tmp_path: Path, job: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machines, "JOB", job)
    file = tmp_path / "mine.json"
    machines.main(["--measure", "--no-published", "--price", "850", "--results", str(file)])
    shown = capfd.readouterr().out
    assert "Step 1, Minibatch Loss=" in shown
    assert shown.count("wrote ") == 1
    assert "$850" in shown
    found = results.read(file)
    (point,) = found.points
    assert isinstance(point, results.TrainingPoint)
    assert (point.steps, found.price) == (25, 850.0)
    # the shell's times hold the interpreter's start and end, which the process itself cannot see
    assert 0.5 < point.user + point.sys < 60
    assert point.training_seconds < point.real < 60


def test_a_failed_training_ends_the_command_with_its_own_line(
    job: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machines, "JOB", [*job[:-1], "nowhere"])
    assert _fails("--measure") == cli.USAGE
    assert capfd.readouterr().err.startswith("error: nowhere is not a directory")
    with pytest.raises(SystemExit) as stop:
        _training.train("rnn.train", ["--kernel", "nonsense"], show=False)
    assert stop.value.code == cli.USAGE
    assert capfd.readouterr().err.count("\n") == 1


def test_times_are_those_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that works for a known time, and one that sleeps."""
    file = tmp_path / "point.json"
    results.write(file, results.new("rnn.train", [], [training_point()], ceilings=None))
    (tmp_path / "works.py").write_text(
        "import pathlib, sys, time\n"
        f"pathlib.Path(sys.argv[-1]).write_bytes(pathlib.Path({str(file)!r}).read_bytes())\n"
        "time.sleep(0.5)\n"
        "while time.process_time() < 0.7:\n"
        "    pass\n"
    )
    monkeypatch.chdir(tmp_path)
    (point,) = _training.train("works", [], show=False).of(results.TrainingPoint)
    assert 0.6 < point.user + point.sys < 1.5
    assert 1.1 < point.real < 20


def test_a_process_that_says_much_is_not_kept_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talks.py").write_text("import sys\nsys.stderr.write('x' * 200_000 + '\\nthe end\\n')\nsys.exit(1)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        _training.train("talks", [], show=False)
    assert capfd.readouterr().err.endswith("x\nthe end\n")


def test_a_training_that_is_killed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        _training.train("dies", [], show=False)
    assert stop.value.code == cli.CHECK_FAILED


def test_energy_is_counted_through_the_counters_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "why_no_gpu", lambda: "none")

    def zone(folder: str, name: str, microjoules: int | str) -> Path:
        (tmp_path / folder).mkdir()
        for file, content in (("name", name), ("energy_uj", microjoules), ("max_energy_range_uj", 10_000_000)):
            (tmp_path / folder / file).write_text(f"{content}\n")
        return tmp_path / folder / "energy_uj"

    package = zone("intel-rapl:0", "package-0", 9_000_000)
    memory = zone("intel-rapl:0:1", "dram", 0)
    zone("intel-rapl:0:0", "core", 0)  # part of the package
    zone("intel-rapl:1", "psys", 0)  # the package is part of it
    zone("intel-rapl:2", "package-1", "not a number")
    meters = energy.Meters(tmp_path)
    package.write_text("9500000")
    meters.poll()
    package.write_text("1500000")  # it has started over at 10 J
    memory.write_text("250000")
    meters.poll()
    assert meters.joules == pytest.approx({"package-0 intel-rapl:0": 2.5, "dram intel-rapl:0:1": 0.25})
    assert energy.Meters(tmp_path / "nowhere").joules == {}


def test_energy_is_counted_to_the_end_of_a_process_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Meters:
        def __init__(self) -> None:
            self.joules = {"package": 0.0}

        def poll(self) -> None:
            self.joules["package"] += 5.0

    file = tmp_path / "point.json"
    results.write(file, results.new("rnn.train", [], [training_point()], ceilings=None))
    (tmp_path / "silent.py").write_text(f"import shutil, sys\nshutil.copy({str(file)!r}, sys.argv[-1])\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_training, "Meters", Meters)
    (point,) = _training.train("silent", [], show=False).of(results.TrainingPoint)
    assert point.energy == {"package": 5.0}


def test_energy_of_gpus_is_nvmls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    used = {0: 5_000, 1: 7_000}  # millijoules

    def total(handle: int) -> int:
        if handle == 2:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return used[handle]

    monkeypatch.setattr(energy, "why_no_gpu", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 3)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByIndex", lambda index: index)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", total)
    meters = energy.Meters(tmp_path)
    used.update({0: 6_500, 1: 7_250})
    meters.poll()
    assert meters.joules == pytest.approx({"GPU 0": 1.5, "GPU 1": 0.25})


def test_files_written_before_energy_and_price_are_read(tmp_path: Path) -> None:
    file = _write(tmp_path / "new.json", training_point(energy={}))
    text = file.read_text().replace(',\n   "energy": {}', "").replace(',\n "price": null', "")
    assert "energy" not in text
    assert "price" not in text
    (tmp_path / "old.json").write_text(text)
    (job,) = machines.load([tmp_path / "old.json"], [], published=False)
    assert (job.energy, job.price) == (None, None)


def test_help_loads_nothing_heavy() -> None:
    probe = "import sys; from experiments import machines; print('matplotlib' in sys.modules, 'numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
    assert done.stdout == "False False\n"


def test_machines_that_are_called_alike_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name in ("mine", "yours"):
        files.append(tmp_path / f"{name}.json")
        busy = 1.6 if name == "yours" else 0.0
        results.write(files[-1], results.new("rnn.train", [], [training_point()], ceilings=None, busy_cores=busy))
    picture = tmp_path / "m.svg"
    machines.main([*map(str, files), "--plot", str(picture)])
    shown = capsys.readouterr().out
    for said in (shown, picture.read_text()):
        assert "(mine)" in said
        assert "(yours)" in said
        assert said.count("measured while other programs kept 1.6") == 1
    elsewhere = tmp_path / "other" / "mine.json"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(files[0].read_bytes())
    machines.main([str(files[0]), str(elsewhere)])
    shown = capsys.readouterr().out
    assert all(f"({file.with_suffix('')})" in shown for file in (files[0], elsewhere))
    machines.main([str(files[0])])
    shown = capsys.readouterr().out
    assert "(mine)" not in shown
    assert "about 2,400" in shown
    assert "…" not in shown
