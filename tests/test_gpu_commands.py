"""The commands that need a GPU, on a stand-in for CuPy: every line of them runs, and what they say is right.

The stand-in's clock is made up, so no figure here is one.
"""

from __future__ import annotations

import gc
import json
import math
import re
import sys
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import psutil
import pytest

import kernels
from experiments import gpu, gpu_race, matmul_scaling, roofline
from kernels import cli, tune
from kernels.contract import Reference
from kernels.cuda import arrays, launch, sizes, timing
from kernels.cuda import compile as compiler
from kernels.cuda.captured import Captured
from kernels.cuda.hopper import InTwoSteps
from kernels.cuda.programs import PROGRAMS
from kernels.cuda.tiles import WarpTile
from kernels.measure import gpu_ceilings, machine, results
from kernels.measure.limits import Ceilings
from kernels.shapes import Shape
from tests import fake_cupy
from tests.commands import fails
from tests.points import matmul_point, results_of

TILES = (WarpTile(32, 32, 4, 16, 32, 3, 1, 2, 4, 4), WarpTile(32, 64, 4, 16, 32, 3, 1, 2, 4, 4))


class Clock:
    """A GPU's time: each kernel that is launched takes as long as its name says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.seconds: dict[str, float] = {}

    def run(self, name: str) -> None:
        self.now += self.seconds.get(name, 1e-3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    """A stand-in GPU whose products are NumPy's."""
    clock, cupy = Clock(), fake_cupy.install(monkeypatch)

    class Event:
        at = 0.0

        def record(self) -> None:
            self.at = clock.now

        def synchronize(self) -> None: ...

    class Stream:
        def __init__(self, non_blocking: bool) -> None:
            self.calls: list[float] = []

        def __enter__(self) -> Stream:
            return self

        def __exit__(self, *_: object) -> None: ...

        def synchronize(self) -> None: ...

        def begin_capture(self) -> None:
            self.begun = clock.now

        def end_capture(self) -> Any:
            length, clock.now = clock.now - self.begun, self.begun

            def run() -> None:
                clock.now += length

            return SimpleNamespace(launch=run)

    cupy.cuda.Event, cupy.cuda.Stream = Event, Stream
    cupy.cuda.get_elapsed_time = lambda start, stop: (stop.at - start.at) * 1e3
    chip = {"pci_bus_id": "0000:05:00.0", "attributes": {"L2CacheSize": 64}}
    cupy.cuda.Device = lambda: SimpleNamespace(id=0, synchronize=lambda: None, **chip)
    cupy.cuda.runtime.memGetInfo = lambda: (2**16, 2**20)
    cupy.uint8 = np.uint8
    cupy.empty_like = np.empty_like
    cupy.copyto = lambda target, source: clock.run("copy")

    def for_program(program: Any, tile: Any = None) -> Callable[..., None]:
        def product(a: Any, b: Any, c: Any) -> None:
            clock.run(f"{program.name} {tile}" if tile else program.name)
            fake_cupy.multiply(a, b, c)

        return product

    def product(spec: Any) -> Callable[..., None]:
        def product(a: Any, b: Any, c: Any) -> None:
            clock.run(spec.name)
            fake_cupy.multiply(a, b, c)

        return product

    monkeypatch.setattr(launch, "for_program", for_program)
    monkeypatch.setattr(launch, "product", product)
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("NVIDIA H200", 90, 2, 232_448))
    monkeypatch.setattr(compiler, "cubin", lambda source, options, architecture: tmp_path / source.name)
    cupy.RawModule = lambda path: SimpleNamespace(get_function=lambda name: lambda *launch: clock.run(name))
    monkeypatch.setattr(
        kernels, "unavailable", lambda name: None if name.startswith("cu") or name == "cpu-blas" else "not in this test"
    )
    monkeypatch.setattr(machine, "sm_clock", lambda: 1980)
    monkeypatch.setattr(sizes, "tuned_file", lambda: tmp_path / "tuned.json")
    sizes.forget()
    return clock


def test_a_graph_keeps_what_its_call_reads(clock: Clock) -> None:
    """It reads the arrays' addresses at each launch, whoever has been given that memory since."""
    operand = np.zeros(4)
    read = weakref.ref(operand)
    graph = Captured(lambda operand=operand: clock.run(f"{operand}"), 2)
    del operand
    gc.collect()
    assert read() is not None
    del graph
    gc.collect()
    assert read() is None


def test_samples_are_the_gpus_time_per_call(clock: Clock) -> None:
    clock.seconds = {"work": 2e-4}
    samples = timing.repeat(lambda: clock.run("work"), 0.05)
    assert len(samples) >= 7
    assert samples == pytest.approx([2e-4] * len(samples))
    assert timing.repeat(lambda: clock.run("work"), 0.001, cold=True) == pytest.approx([2e-4] * 7)
    graph = Captured(lambda: clock.run("work"), 5)
    assert timing.sample(graph.launch, 1) == pytest.approx(1e-3)


def test_each_cold_call_finds_l2_overwritten_twice(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    clock.seconds = {"work": 2e-4}
    done: list[object] = []
    monkeypatch.setattr(sys.modules["cupy"], "zeros", lambda size, dtype: done.append(size))
    timing.repeat(lambda: done.append(clock.run("work")), 0.001, cold=True)
    assert done[:3] == [None] * 3, "to warm up"
    assert done[3:] == [2 * 64, None] * 7


def test_ceilings_count_two_operations_a_multiply_add(clock: Clock) -> None:
    clock.seconds = {"fma_chains": 1e-3, "copy": 1e-6}
    limits, levels = gpu_ceilings.measure()
    threads = 2 * gpu_ceilings._BLOCKS * gpu_ceilings._THREADS
    assert limits.threads == threads
    assert limits.peak_flops == pytest.approx(2 * 8 * gpu_ceilings._STEPS * threads / 1e-3)
    assert limits.memory_bandwidth == pytest.approx(2 * 2**13 / 1e-6)
    assert [(level.name, level.capacity) for level in levels] == [("memory", 2**20)]


def test_chains_are_as_many_as_in_the_source() -> None:
    text = gpu_ceilings._SOURCE.read_text()
    assert f"CHAINS = {gpu_ceilings._CHAINS};" in text
    assert f"__launch_bounds__({gpu_ceilings._THREADS})" in text


def test_tune_keeps_the_fastest_of_each_shape(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = PROGRAMS["cuda-cupy-warptile"]
    clock.seconds = {f"{program.name} {TILES[0]}": 2e-3, f"{program.name} {TILES[1]}": 1e-3}
    monkeypatch.setattr(tune, "SHAPES", (Shape(64, 32, 128), Shape(33, 7, 65, "tn")))
    monkeypatch.setitem(PROGRAMS, program.name, type(program)(program.name, TILES, 255))
    tune.main(["--kernel", program.name])
    assert [(chosen.gpu, chosen.m, chosen.tile) for chosen in sizes.read_tuned()] == [
        ("NVIDIA H200", 64, TILES[1].defines()),
        ("NVIDIA H200", 33, TILES[1].defines()),
    ]
    assert "2 candidates" in capsys.readouterr().out


def test_tune_refuses_a_candidate_that_is_wrong(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "SHAPES", (Shape(8, 8, 8),))
    monkeypatch.setattr(launch, "for_program", lambda program, tile: lambda a, b, c: c.fill(0))
    with pytest.raises(SystemExit) as ended:
        tune.main(["--kernel", "cuda-cupy-tensor"])
    assert ended.value.code == cli.CHECK_FAILED
    assert "cuda-cupy-tensor is wrong" in capsys.readouterr().err
    assert not sizes.read_tuned()


@pytest.mark.parametrize(("wrong", "place"), [((8, 16), "c(7,15)"), ((131, 261), "c(130,260)")])
def test_tune_refuses_a_candidate_that_is_wrong_at_the_shape_or_at_a_ragged_one_alone(
    wrong: tuple[int, int],
    place: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def product(a: Any, b: Any, c: Any) -> None:
        clock.run("product")
        fake_cupy.multiply(a, b, c)
        if c.shape == wrong:
            c[-1, -1] += 1

    monkeypatch.setattr(tune, "SHAPES", (Shape(8, 8, 16, "nt"),))
    monkeypatch.setattr(launch, "for_program", lambda program, tile: product)
    with pytest.raises(SystemExit) as ended:
        tune.main(["--kernel", "cuda-cupy-tensor"])
    assert ended.value.code == cli.CHECK_FAILED
    assert place in capsys.readouterr().err


def test_tune_takes_no_candidates_result_for_the_nexts(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the shape all but the first write nothing, where the first's result would still lie."""

    def for_program(program: Any, tile: Any) -> Callable[..., None]:
        def product(a: Any, b: Any, c: Any) -> None:
            clock.run("product")
            if tile == program.tiles[0] or c.shape != (8, 16):
                fake_cupy.multiply(a, b, c)

        return product

    monkeypatch.setattr(tune, "SHAPES", (Shape(8, 8, 16),))
    monkeypatch.setattr(launch, "for_program", for_program)
    assert fails(tune.main, "--kernel", "cuda-cupy-tensor") == cli.CHECK_FAILED
    assert "was this c(i,j) ever written?" in capsys.readouterr().err


def test_tune_tries_no_tile_that_the_gpus_shared_memory_cannot_hold(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, (small, large) = PROGRAMS["cuda-cupy-warptile"], TILES
    clock.seconds = {f"{program.name} {small}": 2e-3, f"{program.name} {large}": 1e-3}
    monkeypatch.setattr(tune, "SHAPES", (Shape(64, 32, 128),))
    monkeypatch.setitem(PROGRAMS, program.name, type(program)(program.name, TILES, 255))
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("a small GPU", 90, 2, small.shared_bytes))
    tune.main(["--kernel", program.name])
    assert [chosen.tile for chosen in sizes.read_tuned()] == [small.defines()]
    assert "1 candidates" in capsys.readouterr().out


def test_tune_keeps_what_it_found_before_it_was_stopped(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def product(a: Any, b: Any, c: Any) -> None:
        if c.shape == (9, 9):
            raise KeyboardInterrupt
        clock.run("x")
        fake_cupy.multiply(a, b, c)

    monkeypatch.setattr(tune, "SHAPES", (Shape(8, 8, 8), Shape(9, 9, 9)))
    monkeypatch.setattr(launch, "for_program", lambda program, tile: product)
    with pytest.raises(SystemExit) as ended:
        tune.main(["--kernel", "cuda-cupy-tensor"])
    assert ended.value.code == cli.INTERRUPTED
    assert [tuned.m for tuned in sizes.read_tuned()] == [8]


def test_tune_names_what_can_be_tuned(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        tune.main(["--kernel", "cuda-cupy-naive"])
    assert ended.value.code == cli.USAGE
    assert "cuda-cupy-warptile" in capsys.readouterr().err


def test_race_against_cublas(clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock.seconds = {"cuda-cublas": 1e-3, "cuda-cupy-vector": 2e-3, "fma_chains": 1e-6}
    file = tmp_path / "race.json"
    gpu_race.main(
        ["--kernel", "cuda-cupy-vector", "--shapes", "16x8x24", "8x9x10:tn", "--rounds", "1", "--results", str(file)]
    )
    points = [point for point in results.read(file).points if isinstance(point, results.MatmulPoint)]
    assert [(point.kernel, point.shape) for point in points] == [
        ("cuda-cublas", "16x8x24"), ("cuda-cupy-vector", "16x8x24"),
        ("cuda-cublas", "8x9x10:tn"), ("cuda-cupy-vector", "8x9x10:tn"),
    ]  # fmt: skip
    assert points[1].seconds.median == pytest.approx(2e-3)
    assert {point.sm_clock for point in points} == {1980}
    shown = capsys.readouterr().out
    assert shown.startswith("Machine: ")
    assert "0.50" in shown
    picture = tmp_path / "race.svg"
    gpu_race.main(["--from", str(file), "--plot", str(picture)])
    machine_line, tables = capsys.readouterr().out.split("\n", 1)
    assert "; measured 20" in machine_line
    assert tables.removesuffix(f"wrote {picture}\n") in shown
    assert "0.50 of cuBLAS" in picture.read_text()


def test_a_race_without_times_has_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    skipped = results.MatmulPoint("cuda-cupy-vector", 8, 8, 8, 1, "skipped", "would take 9 days")
    results.write(tmp_path / "race.json", results.new("x", [], [skipped], None))
    gpu_race.main(["--from", str(tmp_path / "race.json"), "--plot", str(tmp_path / "race.png")])
    assert "race.png is not drawn: no kernel was timed beside cuBLAS" in capsys.readouterr().out
    assert not (tmp_path / "race.png").exists()


def test_race_takes_no_more_samples_of_a_slow_kernel_than_it_must(clock: Clock, tmp_path: Path) -> None:
    clock.seconds = {"cuda-cublas": 1e-3, "cuda-cupy-naive": 11.0, "fma_chains": 1e-6}
    file = tmp_path / "race.json"
    asked = ["--kernel", "cuda-cupy-naive", "--shapes", "16x8x24", "--rounds", "3", "--results", str(file)]
    gpu_race.main(asked)
    taken = {point.kernel: len(point.samples) for point in results.read(file).points}  # type: ignore[union-attr]
    assert taken == {"cuda-cublas": 21, "cuda-cupy-naive": 9}, "a result needs 7"


def test_race_leaves_out_what_would_take_too_long_and_says_so(
    clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.seconds = {"cuda-cublas": 1e-3, "cuda-cupy-naive": 0.5, "fma_chains": 1e-6}
    file = tmp_path / "race.json"
    asked = ["--kernel", "cuda-cupy-naive", "--shapes", "32x32x32", "64x64x64", "--time-limit", "30"]
    gpu_race.main([*asked, "--results", str(file)])
    found = [point for point in results.read(file).points if isinstance(point, results.MatmulPoint)]
    assert [(point.kernel, point.m, point.status) for point in found] == [
        ("cuda-cublas", 32, "ok"), ("cuda-cupy-naive", 32, "ok"),
        ("cuda-cupy-naive", 64, "skipped"), ("cuda-cublas", 64, "ok"),
    ]  # fmt: skip
    # a call of 64 would take 8 x 0.5 s; there would be twelve at least
    assert "cuda-cupy-naive skipped: would take 48 s" in capsys.readouterr().out


def test_race_skips_a_shape_that_the_gpu_cannot_hold(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def of(a: Any, b: Any) -> Reference:
        if len(a) == 64:
            raise MemoryError("the GPU has 0.1 of 8.0 GiB free")
        return reference(a, b)

    reference = Reference.of
    monkeypatch.setattr(Reference, "of", of)
    clock.seconds = {"fma_chains": 1e-6}
    file = tmp_path / "race.json"
    asked = ["--kernel", "cuda-cupy-vector", "--shapes", "64x64x64", "8x8x8", "--rounds", "1"]
    gpu_race.main([*asked, "--results", str(file)])
    statuses = [(point.m, point.status) for point in results.read(file).points]  # type: ignore[union-attr]
    assert statuses == [(64, "skipped")] * 2 + [(8, "ok")] * 2
    assert "cuda-cupy-vector skipped: the GPU has 0.1 of 8.0 GiB free" in capsys.readouterr().out


def test_race_keeps_what_was_measured_where_kernels_break_down(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One from its first call on, one at a shape, and CUDA itself at the last shape, after which nothing runs."""

    def product(spec: Any) -> Callable[..., None]:
        run = plain(spec)

        def product(a: Any, b: Any, c: Any) -> None:
            if spec.name == "cuda-cupy-naive" or (spec.name == "cuda-cupy-shared" and len(c) == 16):
                raise RuntimeError(f"{spec.name} broke")
            run(a, b, c)

        return product

    def to_device(x: Any) -> Any:
        if len(x) == 40:
            raise RuntimeError("an illegal address")
        return plain_copy(x)

    plain, plain_copy = launch.product, arrays.to_device
    monkeypatch.setattr(launch, "product", product)
    monkeypatch.setattr(arrays, "to_device", to_device)
    clock.seconds = {"fma_chains": 1e-6}
    file = tmp_path / "race.json"
    asked = [f"cuda-cupy-{name}" for name in ("naive", "shared")]
    with pytest.raises(SystemExit) as stop:
        gpu_race.main(
            ["--kernel", *asked, "--shapes", "8x8x8", "16x8x8", "40x8x8", "--rounds", "1", "--results", str(file)]
        )
    assert stop.value.code == cli.CHECK_FAILED
    points = results.read(file).of(results.MatmulPoint)
    statuses = {(point.kernel, point.m): (point.status, point.reason) for point in points}
    never = ("failed", "RuntimeError: cuda-cupy-naive broke")
    gone = ("failed", "RuntimeError: an illegal address")
    assert statuses == {
        ("cuda-cupy-naive", 8): never, ("cuda-cupy-naive", 16): never, ("cuda-cupy-naive", 40): never,
        ("cuda-cublas", 8): ("ok", None), ("cuda-cupy-shared", 8): ("ok", None),
        ("cuda-cublas", 16): ("ok", None), ("cuda-cupy-shared", 16): ("failed", "RuntimeError: cuda-cupy-shared broke"),
        ("cuda-cublas", 40): gone, ("cuda-cupy-shared", 40): gone,
    }  # fmt: skip
    assert "cuda-cupy-shared at 16x8x8: RuntimeError: cuda-cupy-shared broke" in capsys.readouterr().err


class Halves(InTwoSteps):
    """A product that is rounded first, on the stand-in's clock."""

    def __init__(self, clock: Clock, name: str) -> None:
        self.clock, self.name = clock, name

    def laid_out(self, a: Any, b: Any) -> tuple[Any, Any]:
        self.clock.run("rounding")
        return a, b

    def multiply(self, a: Any, b: Any, c: Any, k: int) -> None:
        self.clock.run(self.name)
        fake_cupy.multiply(a, b, c)


def test_each_format_is_set_against_cublas_in_the_same_format(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = launch.product
    monkeypatch.setattr(
        launch,
        "product",
        lambda spec: Halves(clock, spec.name) if spec.rounds_to == "bf16" or "hopper" in spec.name else plain(spec),
    )
    clock.seconds = {
        "fma_chains": 1e-6, "rounding": 1e-3,
        "cuda-cublas": 9e-3, "cuda-cublas-tf32": 4e-3, "cuda-cublas-bf16": 2e-3,
        "cuda-cupy-register": 20e-3, "cuda-numba-register": 22e-3, "cuda-cupy-warptile": 10e-3,
        "cuda-cupy-tensor": 6.5e-3, "cuda-cupy-hopper": 3e-3, "cuda-cupy-hopper-tf32": 4e-3,
    }  # fmt: skip
    file = tmp_path / "race.json"
    asked = [f"cuda-cupy-{name}" for name in ("register", "warptile", "tensor", "hopper", "hopper-tf32")]
    how = ["--shapes", "16x8x24", "--rounds", "1", "--results", str(file)]
    gpu_race.main(["--kernel", "cuda-numba-register", *asked, *how])
    assert gpu_race.sentences(results.read(file)) == [
        "At 16x8x24: "
        # with the rounding (3 + 1) : (2 + 1), without it 3 : 2
        "cuda-cupy-hopper is 0.75 ± 0.00 times as fast as cuda-cublas-bf16; "
        "cuda-cupy-hopper, product alone is 0.67 ± 0.00 times as fast as cuda-cublas-bf16, product alone; "
        # with the laying out, as cuBLAS has none: 4 : (4 + 1)
        "cuda-cupy-hopper-tf32 is 0.80 ± 0.00 times as fast as cuda-cublas-tf32; "
        "cuda-cupy-warptile is 0.90 ± 0.00 times as fast as cuda-cublas; "
        "cuda-numba-register takes 1.10 ± 0.00 times as long as cuda-cupy-register."
    ]
    shown = capsys.readouterr().out
    assert gpu_race.sentences(results.read(file))[0] in shown
    assert re.search(r"cuda-cupy-tensor .* tf32 +0\.62 ", shown)
    assert re.search(r"cuda-cupy-hopper-tf32, product alone .* tf32 +1\.00 ", shown), "set against all of cuBLAS's"
    formats = {point.kernel: point.rounds_to for point in results.read(file).points}  # type: ignore[union-attr]
    assert formats["cuda-cublas-tf32"] == "tf32"
    assert formats["cuda-cupy-hopper, product alone"] == "bf16"


def test_race_refuses_a_rate_above_the_peak_in_float32_alone(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    clock.seconds = {"cuda-cublas": 1.0, "cuda-cupy-vector": 1e-5, "cuda-cupy-tensor": 1e-5, "fma_chains": 1e3}
    with pytest.raises(SystemExit) as ended:
        gpu_race.main(["--kernel", "cuda-cupy-vector", "cuda-cupy-tensor", "--shapes", "64x64x64", "--rounds", "1"])
    assert ended.value.code == cli.CHECK_FAILED
    said = capsys.readouterr().err
    assert "cuda-cupy-vector at 64x64x64 is above the GPU's peak, which may have been measured" in said
    assert "cuda-cupy-tensor" not in said


def test_a_result_file_names_what_its_figures_depend_on(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _with_gpu(monkeypatch)
    file = tmp_path / "race.json"
    clock.seconds = {"fma_chains": 1e-6}
    gpu_race.main(["--kernel", "cuda-cupy-tensor", "--shapes", "8x8x8", "--rounds", "1", "--results", str(file)])
    written = json.loads(file.read_text())
    chip = written["machine"]["gpus"][0]
    assert (chip["name"], chip["driver"], chip["max_sm_clock"]) == ("NVIDIA H200", "580", 1980)
    assert written["dtype"] == "float32"
    assert written["command"].startswith("python -m experiments.gpu_race --kernel cuda-cupy-tensor --shapes 8x8x8")
    assert [(p["inputs"], p["rounds_to"], p["sm_clock"]) for p in written["points"]] == [
        ("N(0,1)", "tf32", 1980), ("N(0,1)", "tf32", 1980),
    ]  # fmt: skip


@pytest.mark.parametrize("command", [gpu_race.main, tune.main])
def test_where_there_is_no_gpu_no_other_kernel_is_advised(
    command: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "unavailable", lambda name: "no driver" if name.startswith("cuda") else None)
    with pytest.raises(SystemExit) as ended:
        command([])
    assert ended.value.code == cli.ABSENT
    assert capsys.readouterr().err.endswith("cannot run here: no driver\n")


def test_race_shows_no_file_of_another_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_race.main(["--from", str(Path(gpu.RESULTS) / "training_race.json")])
    assert ended.value.code == cli.USAGE
    assert "holds no race; it is of another experiment" in capsys.readouterr().err


def test_race_refuses_wrong_results(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "product", lambda spec: lambda a, b, c: c.fill(0))
    with pytest.raises(SystemExit) as ended:
        gpu_race.main(["--kernel", "cuda-cupy-vector", "--shapes", "8x8x8", "--rounds", "1"])
    assert ended.value.code == cli.CHECK_FAILED
    assert "cuda-cupy-vector at 8x8x8: cuda-cupy-vector is wrong" in capsys.readouterr().err


def test_race_takes_no_contestants_result_for_the_nexts(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the shape all but cuBLAS write nothing, where its result would still lie."""

    def product(spec: Any) -> Callable[..., None]:
        def product(a: Any, b: Any, c: Any) -> None:
            clock.run(spec.name)
            if spec.name == "cuda-cublas" or c.shape != (8, 10):
                fake_cupy.multiply(a, b, c)

        return product

    monkeypatch.setattr(launch, "product", product)
    asked = ["--kernel", "cuda-cupy-vector", "--shapes", "8x9x10", "--rounds", "1"]
    assert fails(gpu_race.main, *asked) == cli.CHECK_FAILED
    assert "cuda-cupy-vector is wrong" in capsys.readouterr().err


@pytest.mark.parametrize(("median", "refused"), [(0.99e12, False), (1.01e12, True)])
def test_race_refuses_a_median_above_the_peak_and_no_other(median: float, refused: bool) -> None:
    samples = [2 * 64**3 / rate for rate in (0.5e12, 0.5e12, median, 2e12, 2e12)]
    point = msgspec.structs.replace(matmul_point("cuda-cupy-vector", 64, 1.0), samples=samples)
    found = msgspec.structs.replace(results_of([point]), gpu_ceilings=Ceilings(1, 1e12, 1e12))
    says = "cuda-cupy-vector at 64x64x64 is above the GPU's peak"
    with pytest.raises(cli.CommandError, match=says) if refused else nullcontext():
        gpu_race._judge(found)


def test_race_takes_only_kernels_of_the_gpu(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        gpu_race.main(["--kernel", "cpu-blas"])
    assert ended.value.code == cli.USAGE
    assert "not CUDA kernels: cpu-blas" in capsys.readouterr().err


def test_scaling_takes_both_families_and_keeps_copies_apart(clock: Clock, tmp_path: Path) -> None:
    clock.seconds = {"cuda-cupy-vector": 1e-3, "fma_chains": 1e-6}
    file = tmp_path / "scaling.json"
    matmul_scaling.main(
        [
            "--kernel",
            "cpu-blas",
            "cuda-cupy-vector",
            "--sizes",
            "32",
            "--min-time",
            "0.01",
            "--results",
            str(file),
            "--plot",
            str(tmp_path / "scaling.png"),
        ]
    )
    found = results.read(file)
    assert found.ceilings is not None
    assert found.gpu_ceilings is not None
    by_name = {point.kernel: point for point in found.points if isinstance(point, results.MatmulPoint)}
    assert by_name["cuda-cupy-vector"].seconds.median == pytest.approx(1e-3)
    assert len(by_name["cuda-cupy-vector"].transfer) == 7
    assert by_name["cuda-cupy-vector"].sm_clock == 1980
    assert not by_name["cpu-blas"].transfer


def test_a_rate_above_the_gpus_peak_is_refused(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    clock.seconds = {"cuda-cupy-vector": 1e-5, "fma_chains": 1.0}
    with pytest.raises(SystemExit) as ended:
        matmul_scaling.main(["--kernel", "cuda-cupy-vector", "--sizes", "64", "--min-time", "0.01"])
    assert ended.value.code == cli.CHECK_FAILED
    assert "above the machine's peak" in capsys.readouterr().err


def test_roofline_of_the_gpu(clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock.seconds = {"cuda-cupy-vector": 1e-3, "fma_chains": 1e-6, "copy": 1e-9}
    file = tmp_path / "roofline.json"
    roofline.main(
        ["--kernel", "cuda-cupy-vector", "--sizes", "64", "--results", str(file), "--plot", str(tmp_path / "r.png")]
    )
    assert [level.name for level in results.read(file).levels] == ["memory"]
    with pytest.raises(SystemExit) as ended:
        roofline.main(["--kernel", "cuda-cupy-vector", "cpu-blas"])
    assert ended.value.code == cli.USAGE
    assert "roofs of their own" in capsys.readouterr().err


def test_no_roof_of_float32_is_over_tensor_cores(clock: Clock, tmp_path: Path) -> None:
    clock.seconds = {"cuda-cupy-tensor": 1e-3, "fma_chains": 1e2, "copy": 1e-9}
    file = tmp_path / "roofline.json"
    roofline.main(["--kernel", "cuda-cupy-tensor", "--sizes", "64", "--results", str(file)])
    found = results.read(file)
    point = next(point for point in found.points if isinstance(point, results.MatmulPoint) and point.samples)
    assert found.ceilings is not None
    assert point.rate.median > found.ceilings.peak_flops
    assert found.ceilings.cache == 64, "bytes, less than the matrices"
    assert roofline._roof(found, point)[0] == "memory"
    cached = msgspec.structs.replace(found, ceilings=msgspec.structs.replace(found.ceilings, cache=3 * 4 * 64 * 64))
    assert roofline._roof(cached, point) == ("not measured", math.inf)
    vector = msgspec.structs.replace(point, kernel="cuda-cupy-vector", rounds_to="float32")
    assert roofline._roof(cached, vector) == ("arithmetic", found.ceilings.peak_flops)


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_the_sanitizer_tells_of_kernels_not_of_what_a_library_asks_the_driver(
    tool: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _with_gpu(monkeypatch)
    commands = [command for command in gpu._commands(["cuda-cublas"])["sanitizer"] if tool in command]
    assert len(commands) == 3
    for command in commands:
        own = command[: command.index(sys.executable)]
        assert own == ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no", "--error-exitcode", "1"]


def test_gpu_says_so_where_there_is_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(kernels, "unavailable", lambda name: "no NVIDIA driver is installed")
    with pytest.raises(SystemExit) as ended:
        gpu.main([])
    assert ended.value.code == cli.ABSENT
    assert "nothing to prove on a GPU here: no NVIDIA driver" in capsys.readouterr().err


def test_gpu_runs_every_step_and_names_the_one_that_failed(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _with_gpu(monkeypatch)
    ran: list[list[str]] = []

    def start(command: list[str]) -> Any:
        ran.append(command)
        return nullcontext(SimpleNamespace(wait=lambda seconds: int("kernels.tune" in command)))

    monkeypatch.setattr(gpu.psutil, "Popen", start)
    with pytest.raises(SystemExit) as ended:
        gpu.main(["--skip", "training"])
    assert ended.value.code == cli.CHECK_FAILED
    modules = [command[2] for command in ran if command[0] == sys.executable]
    assert modules == [
        "pytest",
        "kernels.tune",
        "experiments.gpu_race",
        *["experiments." + name for name in ("matmul_scaling", "roofline", "training_race", "timeline")],
    ]
    assert str(gpu.RESULTS / "gpu_race_h200.json") in next(
        command for command in ran if "experiments.gpu_race" in command
    )
    said = capsys.readouterr()
    assert "tune: exit code 1" in said.err
    assert "sanitizer: compute-sanitizer is not installed, left out" in said.out
    assert "training: skipped" in said.out


def test_gpu_ends_a_command_that_hangs_with_all_its_processes_and_runs_the_next(tmp_path: Path) -> None:
    file = tmp_path / "child"
    child = [sys.executable, "-c", "import time; time.sleep(600)"]
    parent = f"""
import pathlib, subprocess, time
child = subprocess.Popen({child}, start_new_session=True)
pathlib.Path({str(file)!r}).write_text(str(child.pid))
time.sleep(600)"""
    said = gpu._run("tests", [[sys.executable, "-c", text] for text in (parent, "exit(3)", "")], 5 / 60)
    assert [line.partition(sys.executable)[0] for line in said] == [
        f"ended after {5 / 60:g} minutes: ", "exit code 3 from ",
    ]  # fmt: skip
    assert _ended(int(file.read_text()))


def _ended(process: int) -> bool:
    """One that nobody has waited for yet still has its number."""
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def _with_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    chip = machine.GPU("NVIDIA H200", 2**37, "9.0", 1980, "580")
    described = machine.describe()
    monkeypatch.setattr(machine, "describe", lambda: type(described)(**{**_fields(described), "gpus": [chip]}))


def _fields(struct: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_result_files_of_before_can_still_be_read(tmp_path: Path) -> None:
    """The fields for GPUs came later; a file without them is as good."""
    file = Path(gpu.RESULTS) / "matmul_scaling.json"
    old = json.loads(file.read_text())
    old.pop("gpu_ceilings", None)
    for point in old["points"]:
        point.pop("transfer", None)
        point.pop("sm_clock", None)
    copy = tmp_path / "old.json"
    copy.write_text(json.dumps(old))
    assert results.read(copy).gpu_ceilings is None
