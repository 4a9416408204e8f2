"""What experiments print and keep is in the unit of its column, and the right way round."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

import kernels
from experiments import (
    _forecast,
    _scaling,
    _scaling_table,
    _timelines,
    gallery,
    roofline,
    thread_scaling,
    training_race,
)
from experiments._contestants import Contestant, Expected, Runner
from experiments._scaling import Scaling
from kernels.contract import Reference
from kernels.measure import results, timing
from kernels.measure.limits import Ceilings, Level
from kernels.shapes import Shape
from kernels.threads import cores
from tests.clock import Clock


def _point(kernel, size, rate, **more):
    return results.MatmulPoint(
        kernel, size, size, size, more.pop("threads", 1), "ok", samples=[2 * size**3 / rate] * 7, **more
    )


def test_the_table_is_in_gflops(capsys):
    rates = {"cpu-blas": 12.5e9, "cpu-python": 0.045e9, "cpu-numba-simd": 999.4e9, "cuda-cublas": 51_234e9}
    _scaling_table.tables([_point(name, 64, rate) for name, rate in rates.items()])
    rows = dict(line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("c"))
    assert rows == {"cpu-blas": "12.5", "cpu-python": "0.0450", "cpu-numba-simd": "999", "cuda-cublas": "51,234"}


def test_the_summary_is_of_hand_written_kernels():
    rates = {"cuda-cublas-bf16": 500e9, "cuda-cupy-warptile": 40e9, "cpu-blas": 45e9, "cuda-numba-naive": 1e9}
    said = _scaling_table.summary([_point(name, 64, rate) for name, rate in rates.items()])
    assert said == "cuda-cupy-warptile is 40.0 ± 0.0 times as fast as cuda-numba-naive at 64"


def test_each_core_has_an_l1_of_its_own_and_all_share_l3():
    levels = [Level("L1", 384, 8e9), Level("L3", 400, 4e9), Level("memory", 2**62, 1e9)]
    found = results.new("x", [], [], Ceilings(2, 1e15, 1e10), levels)
    # 8x8x8: 768 bytes, which fill two L1; 4/3 FLOP a byte
    assert roofline._roof(found, _point("cpu-blas", 8, 1e9, threads=2)) == ("L1", pytest.approx(8e9 * 4 / 3))
    assert roofline._roof(found, _point("cpu-blas", 8, 1e9)) == ("memory", pytest.approx(1e9 * 4 / 3))


def test_the_roofline_says_its_figures_in_the_units_of_their_columns(tmp_path, capsys):
    found = results.new("x", [], [_point("cpu-blas", 8, 1e9)], Ceilings(1, 5e10, 1e10), [Level("memory", 2**62, 1.5e9)])
    results.write(tmp_path / "r.json", found)
    roofline.main(["--from", str(tmp_path / "r.json")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["registers", "50"] in rows
    assert ["memory", "2", "1"] in rows  # 1.5 GB/s feed 0.75 GFLOP/s
    assert ["cpu-blas", "8x8x8", "1.3", "1.00", "50.0%", "memory"] in rows  # of 1.5 * 4/3 = 2


def test_a_peak_that_was_measured_again_is_the_one_that_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("kernels.measure.bandwidth.measure", lambda threads: [Level("memory", 2**62, 1e18)])
    peaks = iter([1e3, *[1e15] * 99])
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, next(peaks), 1e18))
    file = tmp_path / "r.json"
    roofline.main(["--kernel", "cpu-blas", "--sizes", "8", "--results", str(file)])
    assert results.read(file).ceilings.peak_flops == 1e15


@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_turn_is_seconds_of_one_step(on_gpu, monkeypatch):
    clock, steps = Clock(), []

    def step():
        clock.now += 0.01
        steps.append(0)
        return 1.0

    monkeypatch.setattr(timing, "time", clock)
    racer = training_race.Racer(Contestant(lambda: Runner(step, dict), on_gpu=on_gpu))
    assert racer.turn() == pytest.approx([0.01] * 7)
    calls = training_race.CALLS if on_gpu else 1
    assert len(steps) % calls == 0
    assert len(steps) >= 7 * calls


def test_the_race_says_shares_and_times(capsys):
    points = [
        results.StepPoint(n, 128, 128, 2, "ok", samples=[s] * 7, first_call=1.25, rounds_to=to)
        for n, s, to in (("fused, x", 0.01, "float32"), ("PyTorch", 0.025, "float32"), ("TF32", 0.025, "tf32"))
    ]
    limits = Ceilings(2, training_race._flops(128, 128) / 0.005, 1e9)
    training_race._show(results.new("x", [], points, limits))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["fused,", "x", "10.00", "0.0000", "1.00", "50%", "1.25"] in rows
    assert ["PyTorch", "25.00", "0.0000", "2.50", "20%", "1.25"] in rows
    assert ["TF32", "25.00", "0.0000", "2.50", "1.25"] in rows, "no peak of float32 bounds it"


@pytest.mark.parametrize(("on_gpu", "share"), [(False, "20%"), (True, "5%")])
def test_the_race_holds_each_to_the_peak_of_its_own_processor(on_gpu, share, capsys):
    point = results.StepPoint("x", 128, 128, 2, "ok", samples=[0.025] * 7, first_call=1.0, on_gpu=on_gpu)
    flops = training_race._flops(128, 128)
    chip = Ceilings(1, flops / 0.00125, 1e9)
    training_race._show(results.new("x", [], [point], Ceilings(2, flops / 0.005, 1e9), gpu_ceilings=chip))
    assert share in capsys.readouterr().out.split()


def test_a_race_on_a_gpu_that_does_not_tell_who_ran_there_is_held_to_no_peak(capsys):
    """As files of before."""
    point = results.StepPoint("x", 128, 128, 2, "ok", samples=[1e-6] * 7, first_call=1.0)
    found = results.new("x", [], [point], Ceilings(2, 1e9, 1e9), gpu_ceilings=Ceilings(1, 1e12, 1e9))
    training_race._show(found)
    training_race._judge(found)
    assert "%" not in capsys.readouterr().out


def test_a_race_is_shown_and_drawn_again(tmp_path, capsys):
    picture = tmp_path / "race.png"
    training_race.main(["--from", str(gallery.RESULTS / "training_race.json"), "--plot", str(picture)])
    assert "times as fast as TensorFlow's best mode" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def _two():
    return Runner(lambda: 2.0, lambda: {"w": np.array([3.0, 4.0])})


def test_a_neighbour_may_have_lowered_the_first_peak(monkeypatch, tmp_path):
    monkeypatch.setattr(training_race, "contestants", lambda *_: ({"right": Contestant(_two)}, {}))
    monkeypatch.setattr(
        training_race, "Expected", SimpleNamespace(of=lambda _: Expected([2.0] * 5, {"w": np.array([3.0, 4.0])}))
    )
    for peaks in ((1e3, 1e18), (1e18, 1e3)):
        told = iter(peaks)
        monkeypatch.setattr(
            "kernels.measure.ceilings.measure", lambda threads, told=told: Ceilings(threads, next(told), 1e9)
        )
        training_race.main(["--rounds", "1", "--results", str(tmp_path / "r.json")])
        assert results.read(tmp_path / "r.json").ceilings.peak_flops == 1e18


def test_the_loss_kept_is_the_first_steps(monkeypatch, tmp_path):
    monkeypatch.setattr(training_race, "contestants", lambda *_: ({"right": Contestant(_falling)}, {}))
    monkeypatch.setattr(
        training_race, "Expected", SimpleNamespace(of=lambda _: Expected([5.0, 4.0, 3.0, 2.0, 1.0], {}))
    )
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e18, 1e9))
    training_race.main(["--rounds", "1", "--results", str(tmp_path / "r.json")])
    assert results.read(tmp_path / "r.json").points[0].loss == 5.0


def _falling():
    losses = iter([5.0, 4.0, 3.0, 2.0, 1.0])
    return Runner(lambda: next(losses, 0.0), dict)


def test_each_time_is_of_as_many_threads_as_it_says(monkeypatch):
    import numba

    monkeypatch.setattr(thread_scaling, "_work", lambda size: {"work": lambda: None})
    monkeypatch.setattr("kernels.measure.timing.turn", lambda call: [float(numba.get_num_threads())])
    most = cores()
    found = thread_scaling._measure(SimpleNamespace(most=most, size=8, rounds=2), [])
    assert [(p.threads, p.samples) for p in found.points] == [(n, [float(n)] * 2) for n in range(1, most + 1)]


def test_the_table_of_speed_ups(tmp_path, capsys):
    found = results.new("x", [], [results.ThreadPoint("work", n, [4.0 / n] * 7) for n in (1, 2, 4)], None)
    found = msgspec.structs.replace(found, machine=msgspec.structs.replace(found.machine, threads=4))
    results.write(tmp_path / "t.json", found)
    thread_scaling.main(["--from", str(tmp_path / "t.json")])
    assert ["work", "1.00", "2.00", "4.00", "0.0%"] in [line.split() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("layout", ["nn", "nt", "tn", "tt"])
def test_operands_lie_as_their_layout_says(layout):
    a, b = Shape.parse(f"5x6x7:{layout}").operands()
    assert (a.shape, b.shape) == ((5, 6), (6, 7))
    assert (a.flags.c_contiguous, b.flags.c_contiguous) == (layout[0] == "n", layout[1] == "n")
    assert max(abs(a.mean()), abs(b.mean())) < 1


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(21.4, "21 s"), (119, "119 s"), (2460, "41 min"), (7200, "2 h"), (90_000, "25 h"), (864_000, "10 days")],
)
def test_how_long_it_would_take(seconds, said):
    assert _forecast._duration(seconds) == said


def test_a_point_has_its_error_and_its_very_first_call(monkeypatch):
    clock, firsts = Clock(), iter([2.0])

    def product(a, b, c):
        clock.now += next(firsts, 1e-3)
        np.matmul(a, b, out=c)

    monkeypatch.setattr(timing, "time", clock)
    scaling = Scaling([kernels.Kernel(kernels.get("cpu-blas").spec, product)], [Shape(64, 64, 64)], 1)
    scaling.run()
    (point,) = scaling.points
    a, b = Shape(64, 64, 64).operands()
    assert point.error == Reference.of(a, b).error(a @ b) > 0
    assert (point.first_call, point.seconds.median) == pytest.approx((2.0, 1e-3))


def test_the_step_of_median_length_is_shown():
    steps = [[("matmul", 3.0)], [("matmul", 0.5), ("gates", 0.5)], [("gates", 2.0)]]
    assert _timelines._middle(steps) == [("gates", 2.0)]


def test_the_last_price_is_the_measured_machines_which_who_trained_describes(tmp_path, monkeypatch):
    from experiments import machines
    from tests.points import training_point

    other, mine = tmp_path / "other.json", tmp_path / "mine.json"
    results.write(other, results.new("x", [], [training_point()], None))
    trained = results.new("x", [], [training_point()], None)
    trained = msgspec.structs.replace(trained, machine=msgspec.structs.replace(trained.machine, cpu="its own"))
    monkeypatch.setattr("experiments._training.train", lambda *_, **__: trained)
    machines.main([str(other), "--measure", "--price", "100", "--price", "200", "--results", str(mine)])
    assert results.read(mine).price == 200
    assert results.read(mine).machine.cpu == "its own"


def test_a_mark_is_of_the_first_128_images():
    from experiments import _jobs, machines
    from tests.points import training_point

    (job,) = _jobs.measured(results.new("x", [], [training_point(8600, accuracy_first_128=0.875)], None), "x", None)
    assert machines.runs([job])[0].accuracy == 0.875


def test_the_gpu_race_in_the_units_of_its_columns(capsys):
    from experiments import gpu_race

    gpu_race._show(results.new("x", [], [_point("cuda-cublas", 1024, 40e12)], None))
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if "cuda-cublas" in line)
    assert row[:4] == ["cuda-cublas", "53.7", "40.00", "float32"]


def test_a_cold_cache_is_asked_of_the_gpus_clock(monkeypatch):
    from kernels.cuda import arrays
    from kernels.cuda import timing as gpu_timing

    asked = []
    monkeypatch.setattr(arrays, "to_device", lambda x: x)
    monkeypatch.setattr(arrays, "copy_seconds", lambda *_: [])
    monkeypatch.setattr("kernels.measure.machine.sm_clock", lambda: 1)
    monkeypatch.setattr(
        gpu_timing, "repeat", lambda call, min_time=0.2, cold=False: asked.append((min_time, cold)) or [1.0]
    )
    x = np.ones((2, 2), np.float32)
    kernel = SimpleNamespace(spec=SimpleNamespace(family="cuda"), matmul=None)
    for cold in (True, False):
        _scaling._time(kernel, x, x, x, 0.5, cold)
    assert asked == [(0.5, True), (0.5, False)]
