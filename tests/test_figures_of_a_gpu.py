"""What the README and the gallery make of result files of a GPU, here of a chip that does not exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from matplotlib.text import Text

from experiments import _jobs, gallery, gpu_race, readme, training_race
from kernels.measure import results
from kernels.measure.limits import Ceilings, Level
from kernels.measure.machine import GPU
from kernels.measure.results import MatmulPoint, Point, StepPoint, TimelinePoint
from plots import gpu_race as gpu_race_plot
from plots import race, roofline
from tests.points import training_point

CHIP = GPU("NVIDIA X1", 80 * 2**30, "9.0", 1980, "580.1")
PEAK = Ceilings(1024, 50e12, 3e12, grid_barrier=1e-6)


def _found(points: list[Point], command: str) -> results.Results:
    found = results.new(command, [], points, None, gpu_ceilings=PEAK)
    return msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, gpus=[CHIP]))


def _product(kernel: str, n: int, seconds: float, rounds_to: str = "float32") -> MatmulPoint:
    return MatmulPoint(kernel, n, n, n, 1024, "ok", samples=[seconds] * 7, sm_clock=1755, rounds_to=rounds_to)


def _step(contestant: str, seconds: float) -> StepPoint:
    clock = 1700 if contestant.startswith("persistent") else 1755
    return StepPoint(contestant, 128, 128, 2, "ok", samples=[seconds] * 7, sm_clock=clock)


@pytest.fixture
def without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed results but for those of real GPUs."""
    folder = tmp_path / "results"
    shutil.copytree(gallery.RESULTS, folder)
    for name in ("matmul_scaling", "gpu_race", "roofline", "training_race", "timeline"):
        for file in folder.glob(f"{name}_*.json"):
            file.unlink()
    monkeypatch.setattr(gallery, "RESULTS", folder)
    return folder


@pytest.fixture
def committed(without: Path) -> Path:
    folder = without
    products: list[Point] = [_product("cuda-cupy-naive", 1024, 1e-3), _product("cuda-cupy-hopper", 512, 1e-6, "bf16")]
    raced: list[Point] = [
        _product("cuda-cublas", 512, 1e-6), _product("cuda-cupy-warptile", 512, 5e-5),
        _product("cuda-cublas", 4096, 3e-3), _product("cuda-cupy-warptile", 4096, 2e-3),
        _product("cuda-cupy-hopper, product alone", 4096, 1e-3, "bf16"),
    ]  # fmt: skip
    steps: list[Point] = [_step("persistent, x", 120e-6), _step("PyTorch, cuDNN, CUDA graph", 240e-6)]
    watched = TimelinePoint(
        "stepwise", "cuda-cupy-warptile", 128, 128, 2, "ok", None, "CUPTI", [("matmul", 3e-4), ("launch gap", 1e-4)],
        [4e-4] * 7, 1755,
    )  # fmt: skip
    unseen = TimelinePoint("graph", "cuda-cupy-warptile", 128, 128, 2, "skipped", "not allowed")
    for name, points in (
        ("matmul_scaling_x1-80gb", products), ("gpu_race_x1-80gb", raced), ("training_race_x1-80gb", steps),
        ("timeline_x1-80gb", [watched, unseen]), ("timeline_x2-80gb", [unseen]),
    ):  # fmt: skip
        results.write(folder / f"{name}.json", _found(points, f"experiments.{name}"))
    return folder


def test_the_readme_takes_them_in_and_names_gpu_driver_clock_and_command(committed: Path) -> None:
    text = readme.render(readme.README.read_text(encoding="utf-8"))
    row = next(line for line in text.splitlines() if line.startswith("| `cuda-cupy-naive`"))
    assert row.endswith("| 2,147 |")
    assert "driver 580.1, at 1,700 to 1,755 MHz" in text, "of two clocks"
    row = next(line for line in text.splitlines() if line.startswith("| `cuda-cupy-hopper`"))
    assert row.endswith("| 268,435 (at 512) |")
    assert "| `cuda-cupy-vector` |" in text
    assert next(line for line in text.splitlines() if "`cuda-cupy-vector` |" in line).endswith("| not measured |")
    assert "On a GPU by `python -m experiments.matmul_scaling_x1-80gb` on NVIDIA X1, driver 580.1, at 1,755 MHz" in text
    assert "| times as fast as cuBLAS | 512x512x512 | 4096x4096x4096 |" in text
    assert "| `cuda-cupy-warptile` | 0.02 | 1.50 |" in text
    assert "| `cuda-cublas`, TFLOP/s | 268 | 45.8 |" in text
    assert "| `cuda-cublas-tf32`, TFLOP/s |" not in text, "it did not race"
    assert "- persistent, x is 2.00 ± 0.00 times as fast as PyTorch, cuDNN, CUDA graph." in text
    assert "times its floor of 34.0 µs" in text
    assert "- stepwise, cuda-cupy-warptile: 75% of a step's 400 µs are 1 products" in text
    assert "No GPU has run" not in text
    shown = ("matmul_scaling_x1-80gb", "gpu_race_x1-80gb", "training_race_x1-80gb", "timeline_x1-80gb")
    assert all(f"plots/gallery/{name}_dark.png" in text for name in shown)
    assert "timeline_x2-80gb" not in text


def test_without_any_it_says_so(without: Path) -> None:
    assert readme.gpu_part() == "No GPU has run these kernels and engines yet, so no figure of theirs is given."


def test_pictures_alone_are_shown_too(without: Path) -> None:
    points: list[Point] = [_product("cuda-cupy-naive", 1024, 1e-3)]
    results.write(without / "matmul_scaling_my_x1.json", _found(points, "x"))
    assert readme.gpu_part().count("matmul_scaling_my_x1_light.png") == 1
    assert "against the size of the matrices: my_x1" in readme.gpu_part()
    assert "No GPU" not in readme.gpu_part()


def test_of_two_gpus_the_table_has_the_one_measured_last(without: Path) -> None:
    for name, seconds, created in (("a", 1e-3, "2027-01-01T00:00:00+00:00"), ("b", 2e-3, "2026-01-01T00:00:00+00:00")):
        found = msgspec.structs.replace(_found([_product("cuda-cupy-naive", 1024, seconds)], name), created=created)
        results.write(without / f"matmul_scaling_{name}.json", found)
    table = readme.ladder_table()
    assert "| 2,147 |" in table
    assert table.count("On a GPU by") == 1


def test_where_a_gpu_has_no_scaling_the_table_has_the_race(without: Path) -> None:
    raced: list[Point] = [_product("cuda-cublas", 1024, 4e-5), _product("cuda-cupy-naive", 1024, 2e-3)]
    results.write(without / "gpu_race_x1.json", _found(raced, "raced"))
    table = readme.ladder_table()
    assert next(line for line in table.splitlines() if line.startswith("| `cuda-cupy-naive`")).endswith("| 1,074 |")
    assert "On a GPU by `python -m raced`" in table


def test_a_race_of_which_nothing_was_timed_is_not_shown(without: Path) -> None:
    skipped = MatmulPoint("cuda-cupy-vector", 8, 8, 8, 1, "skipped", "would take 9 days")
    results.write(without / "gpu_race_x1.json", _found([skipped, _product("cuda-cublas", 8, 1e-3)], "raced"))
    assert "gpu_race_x1" not in gallery.pictures()
    assert "gpu_race_x1" not in readme.gpu_part()


def test_the_picture_of_a_race_has_the_shape_that_most_ran_and_the_best_of_each_format() -> None:
    found = _found(
        [
            _product("cuda-cublas", 1024, 4e-5), _product("cuda-cublas-tf32", 1024, 1e-5, "tf32"),
            _product("cuda-cupy-vector", 1024, 1e-4), _product("cuda-cupy-warptile", 1024, 5e-5),
            _product("cuda-cupy-tensor", 1024, 4e-5, "tf32"), _product("cuda-cupy-naive", 1024, 8e-4),
            _product("cuda-cublas", 8192, 2e-2), _product("cuda-cupy-warptile", 8192, 1e-2),
        ],
        "x",
    )  # fmt: skip
    left, right = gpu_race_plot.draw(found, gpu_race.shares(found)).axes
    assert [text.get_text() for text in left.get_yticklabels()] == [
        "cuda-cupy-naive", "cuda-cupy-vector", "cuda-cupy-warptile", "cuda-cublas", "cuda-cupy-tensor",
        "cuda-cublas-tf32",
    ]  # fmt: skip
    said = [text.get_text() for text in left.texts]
    assert said == ["2.68: 0.05", "21.5: 0.40 of cuBLAS", "42.9: 0.80 of cuBLAS", "53.7", "53.7: 0.25 of cuBLAS", "215"]
    assert [text.get_text() for text in right.get_yticklabels()] == ["1024x1024x1024", "8192x8192x8192"]
    assert [text.get_text() for text in right.texts] == ["0.80", "0.25", "2.00"]


def test_each_has_a_picture_that_names_the_gpu(committed: Path) -> None:
    drawn = gallery.pictures()
    assert {name for name in drawn if name.endswith(("_x1-80gb", "_x2-80gb"))} == {
        "matmul_scaling_x1-80gb", "gpu_race_x1-80gb", "training_race_x1-80gb", "timeline_x1-80gb",
    }  # fmt: skip
    for name in ("matmul_scaling_x1-80gb", "gpu_race_x1-80gb", "training_race_x1-80gb"):
        assert any("NVIDIA X1" in text.get_text() for text in drawn[name]("light").findobj(Text)), name


def test_a_step_of_microseconds_is_told_in_microseconds_beside_the_gpus_own_limit() -> None:
    found = _found([_step("persistent, x", 120e-6), _step("graph, x", 2e-3)], "x")
    limit = training_race.arithmetic_limit(found)
    assert limit == pytest.approx(1.61e9 / 50e12, rel=0.01)
    (axes,) = race.draw(found, limit).axes
    texts = {text.get_text() for text in axes.findobj(Text)}
    assert {"120", "2,000", "32: the arithmetic alone, at the GPU's measured peak"} <= texts
    assert axes.get_xlabel().startswith("µs for one training step; ")
    assert axes.get_xscale() == "linear"


def test_steps_far_apart_are_drawn_on_a_logarithmic_scale_that_shows_the_limit_and_all_bars() -> None:
    found = _found([_step("persistent, x", 120e-6), _step("NumPy, as one writes it", 24e-3)], "x")
    (axes,) = race.draw(found, 32e-6).axes
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel().startswith("µs for one training step; logarithmic")
    left, right = axes.get_xlim()
    assert left < 32 < 120 < 24_000 < right


def test_tensor_cores_stand_in_the_picture_above_the_roof_of_float32() -> None:
    found = _found([_product("cuda-cupy-hopper", 4096, 2e-4, "bf16")], "x")
    found = msgspec.structs.replace(found, ceilings=PEAK, levels=[Level("memory", 2**36, 3e12)])
    axes = roofline.draw(found).axes[0]
    assert axes.get_ylim()[1] > 2 * 4096**3 / 2e-4 / 1e9


def test_a_run_on_a_gpu_is_named_after_it() -> None:
    on_gpu = msgspec.structs.replace(training_point(), kernel="cuda-cupy-warptile")
    (job,) = _jobs.measured(_found([on_gpu], "x"), "x.json", None)
    assert job.machine.startswith("NVIDIA X1, ")
    (job,) = _jobs.measured(_found([training_point()], "x"), "x.json", None)
    assert "NVIDIA" not in job.machine
