"""The persistent kernel and its engine on the CPU: right, in every order of the threads and the blocks."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import kernels
from experiments import _numpy_lstm
from kernels.cuda import compile, launch
from rnn import engines, grid_barrier, persistent_cuda, persistent_sizes
from rnn.engines import UnsupportedEngine
from rnn.optimizers import OPTIMIZERS
from rnn.persistent_cuda import SOURCE, PersistentCUDA
from rnn.persistent_sizes import Sizes, choose
from rnn.settings import Settings
from rnn.stepwise import Stepwise
from tests import emulation, fake_cupy, steps
from tests.emulation import EmulationError, Order, compiler, emulate

pytestmark = pytest.mark.skipif(not emulation.available(), reason="the emulator needs g++ 12 on Linux")

ORDERS: tuple[Order, ...] = ("forward", "reverse", 1, 2)  # shuffled, blocks come in between one another after any warp
CHIP = launch.GPU("stand-in", 90, 3, 24_000)


class Machine:
    """What the emulated launches run with; a test may change it."""

    def __init__(self) -> None:
        self.order: Order = "forward"
        self.source = SOURCE
        self.cooperative = True

    def function(self, sizes: Sizes, device: int, timeline: bool = False) -> Any:
        def run(grid: Any, block: Any, arguments: Any, shared_mem: int) -> None:
            plain = [x.view(np.ndarray) if isinstance(x, np.ndarray) and x.ndim else x for x in arguments]
            options = sizes.options(timeline)
            emulate(
                self.source, options, grid, block, shared_mem, *plain, order=self.order,
                at_start=self.order == "reverse", cooperative=self.cooperative, kernel="train_step",
            )  # fmt: skip

        return run


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    cupy = fake_cupy.install(monkeypatch)
    # memory that nobody wrote is NaN, so that what is read too early is seen
    monkeypatch.setattr(cupy, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype).view(fake_cupy.ndarray))
    machine = Machine()
    monkeypatch.setattr(launch, "gpu", lambda device: CHIP)
    monkeypatch.setattr(persistent_cuda, "_function", machine.function)
    monkeypatch.setattr(persistent_cuda, "_resident", lambda sizes, number: 1)
    return machine


def _engine(hidden: int, batch: int, optimizer: str = "sgd", weights_on_chip: bool = True) -> PersistentCUDA:
    settings = Settings(hidden=hidden, batch_size=batch, optimizer=optimizer, learning_rate=0.05, seed=3)
    return PersistentCUDA(settings, fake_cupy.multiply, weights_on_chip)


def _exact(weights: dict[str, np.ndarray], x: np.ndarray, labels: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    wide = {name: np.asarray(weight, np.float64) for name, weight in weights.items()}
    return _numpy_lstm.loss_and_gradients(wide, x.astype(np.float64), labels)


def _host(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    return {name: array.get() for name, array in arrays.items()}


def check(machine: Machine, hidden: int, batch: int) -> None:
    """Loss and gradients within the bound of tests/test_fused.py, and the same bits in all orders."""
    x, labels = steps.batch(batch)
    found = []
    for order in ORDERS:
        machine.order = order
        engine = _engine(hidden, batch)
        loss, gradients = engine.loss_and_gradients(x, labels)
        found.append((float(loss), _host(gradients)))
    exact_loss, exact = _exact(_host(engine.weights), x, labels)
    assert found[0][0] == pytest.approx(exact_loss, rel=3e-6)
    assert found[0][1].keys() == exact.keys()
    for name, gradient in exact.items():
        assert steps.distance(found[0][1][name], gradient) < 5e-6, name
    for loss, gradients in found[1:]:
        assert loss == found[0][0]
        for name, gradient in gradients.items():
            np.testing.assert_array_equal(gradient, found[0][1][name])


# ragged units, one pass and several, blocks without images; 1, 2 and 4 images at a time
@pytest.mark.parametrize(("hidden", "batch"), [(1, 1), (4, 3), (16, 5), (17, 6), (20, 2), (7, 13), (33, 9)])
def test_loss_and_gradients_equal_float64_in_every_order(machine: Machine, hidden: int, batch: int) -> None:
    check(machine, hidden, batch)


def test_weights_in_registers_in_shared_memory_and_in_l2(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for registers, shared in ((0, 0), (1, 1), (0, 2), (2, 9)):
        _with_sizes(monkeypatch, quads_in_registers=registers, quads_in_shared=shared)
        check(machine, 36, 5)


def test_the_published_size_as_on_an_h200(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = dataclasses.replace(choose(128, 128, 132, 232_448), blocks=2)
    monkeypatch.setattr(persistent_sizes, "choose", lambda *of: sizes)
    check(machine, 128, 3)


def test_many_slices_of_the_rows_or_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    for slices, output_slices in ((1, 1), (5, 3), (200, 7)):
        _with_sizes(monkeypatch, slices=slices, output_slices=output_slices)
        check(machine, 5, 6)


def _with_sizes(monkeypatch: pytest.MonkeyPatch, **changes: int) -> None:
    monkeypatch.setattr(persistent_sizes, "choose", lambda *of: dataclasses.replace(choose(*of), **changes))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_ten_steps_of_training_follow_float64(machine: Machine, optimizer: str) -> None:
    engine = _engine(9, 5, optimizer)
    exact = {name: weight.astype(np.float64) for name, weight in _host(engine.weights).items()}
    update = OPTIMIZERS[optimizer](0.05, exact)
    for step in range(10):
        x, labels = steps.batch(5, seed=step)
        expected, gradients = _exact(exact, x, labels)
        update.update(exact, gradients)
        assert float(engine.train(x, labels)) == pytest.approx(expected, rel=1e-5)
    for name, weight in _host(engine.weights).items():
        assert steps.distance(weight, exact[name]) < 5e-6, name


def test_the_same_seed_gives_the_same_losses(machine: Machine) -> None:
    losses = []
    for order in ORDERS:
        machine.order = order
        engine = _engine(6, 4)
        losses.append([float(engine.train(*steps.batch(4, seed=step))) for step in range(4)])
    assert losses[0] == losses[1] == losses[2] == losses[3]
    assert len(set(losses[0])) == 4


def test_gradients_alone_change_no_weight(machine: Machine) -> None:
    engine = _engine(6, 4)
    before = _host(engine.weights)
    first, _ = engine.loss_and_gradients(*steps.batch(4))
    again, _ = engine.loss_and_gradients(*steps.batch(4))
    assert float(first) == float(again)
    for name, weight in _host(engine.weights).items():
        np.testing.assert_array_equal(weight, before[name])


def test_weights_that_do_not_stay_give_the_same_bits(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Sizes] = []
    monkeypatch.setattr(persistent_cuda, "_function", lambda *of: launched.append(of[0]) or machine.function(*of))
    x, labels = steps.batch(5)
    staying, passing = _engine(36, 5), _engine(36, 5, weights_on_chip=False)
    for _ in range(3):
        assert float(staying.train(x, labels)) == float(passing.train(x, labels))
    kept = [sizes.quads_in_registers + sizes.quads_in_shared for sizes in launched]
    assert min(kept[::2]) > 0
    assert kept[1::2] == [0, 0, 0]


@pytest.mark.parametrize(("batch", "passes"), [(3, 1), (13, 2)])
def test_the_phases_of_a_step(machine: Machine, batch: int, passes: int) -> None:
    engine = _engine(6, batch)
    before = _host(engine.weights)
    found = engine.phases(*steps.batch(batch))
    forward, backward = ["product", "gates", "barrier"] * 28, [*["gates", "barrier", "product"] * 27, "gates"]
    one_pass = ["weights", *forward, "loss", "weights", *backward]
    assert [phase for phase, _ in found] == [
        *one_pass * passes, "grid barrier", "gradients", "grid barrier", "update",
    ]  # fmt: skip
    assert all(clocks > 0 for _, clocks in found)
    for name, weight in _host(engine.weights).items():
        np.testing.assert_array_equal(weight, before[name])


def test_batches_of_different_sizes_in_turn(machine: Machine) -> None:
    engine = _engine(6, 4)
    for batch in (4, 9, 1, 4):
        x, labels = steps.batch(batch, seed=batch)
        loss, gradients = engine.loss_and_gradients(x, labels)
        exact_loss, exact = _exact(_host(engine.weights), x, labels)
        assert float(loss) == pytest.approx(exact_loss, rel=3e-6)
        assert steps.distance(gradients["cell_weight"].get(), exact["cell_weight"]) < 5e-6


def test_large_scores_neither_overflow_nor_lose_the_loss(machine: Machine) -> None:
    engine = _engine(4, 3)
    engine.restore(engine.arrays | {"output_bias": np.linspace(-3e4, 3e4, 10, dtype=np.float32)})
    x, labels = steps.batch(3)
    loss, gradients = engine.loss_and_gradients(x, np.zeros_like(labels))
    assert float(loss) == pytest.approx(6e4, rel=1e-3)
    assert all(np.isfinite(gradient.get()).all() for gradient in gradients.values())


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_checkpoint_goes_from_the_cpu_to_the_gpu_and_back(machine: Machine, optimizer: str) -> None:
    settings = Settings(hidden=6, batch_size=4, optimizer=optimizer, learning_rate=0.05, seed=3)
    cpu, gpu = Stepwise(settings, np.matmul), _engine(6, 4, optimizer)
    for step in range(2):
        cpu.train(*steps.batch(4, seed=step))
    gpu.restore(cpu.arrays)
    assert float(gpu.train(*steps.batch(4, seed=2))) == pytest.approx(cpu.train(*steps.batch(4, seed=2)), rel=1e-5)
    cpu.restore(gpu.arrays)
    assert cpu.train(*steps.batch(4, seed=3)) == pytest.approx(float(gpu.train(*steps.batch(4, seed=3))), rel=1e-5)


def test_a_batch_of_another_shape_or_type_is_refused(machine: Machine) -> None:
    x, labels = steps.batch(4)
    for wrong in (x[:27], x[:, :3], x.astype(np.float64)):
        with pytest.raises(ValueError, match="x must be float32 of"):
            _engine(4, 4).train(wrong, labels)


def test_refused_with_what_to_use_instead(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedEngine, match="at most 128 hidden units, not 129"):
        _engine(129, 4)
    monkeypatch.setattr(launch, "gpu", lambda device: CHIP._replace(cooperative=False))
    with pytest.raises(UnsupportedEngine, match=r"stand-in cannot launch .* \(cooperative launch\)"):
        _engine(8, 4)


@pytest.mark.parametrize("resident", [0, 1])
def test_residency_is_checked_before_the_launch(resident: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cupy = fake_cupy.install(monkeypatch)
    monkeypatch.setattr(launch, "gpu", lambda device: CHIP)
    compiled, modules, asked = [], [], []
    monkeypatch.setattr(compile, "cubin", lambda *of: compiled.append(of) or Path("kernel.cubin"))
    function = SimpleNamespace(kernel=SimpleNamespace(ptr=7))

    def module(**of: Any) -> Any:
        modules.append(of)
        return SimpleNamespace(get_function=lambda name: function if name == "train_step" else None)

    def active(*of: int) -> int:
        asked.append(of)
        return resident

    monkeypatch.setattr(cupy, "RawModule", module, raising=False)
    cupy.cuda.driver = SimpleNamespace(occupancyMaxActiveBlocksPerMultiprocessor=active)
    settings = Settings(hidden=20 + resident, batch_size=3)  # another one each time: kernels are kept
    reason = PersistentCUDA.why_not(settings)
    sizes = choose(settings.hidden, 3, CHIP.multiprocessors, CHIP.shared_bytes)
    if resident:
        assert reason is None
        assert persistent_cuda._function(sizes, 0) is function
    else:
        assert "holds 0 blocks of 128 threads" in str(reason)
        assert str(reason).endswith("the persistent engine needs 3")
        with pytest.raises(UnsupportedEngine, match="holds 0 blocks"):
            PersistentCUDA(settings, np.matmul)
    assert compiled == [(SOURCE, sizes.options(), "90")]
    assert modules == [{"path": "kernel.cubin", "enable_cooperative_groups": True}]
    assert set(asked) == {(7, sizes.threads, sizes.shared_bytes)}
    assert function.max_dynamic_shared_size_bytes == sizes.shared_bytes


# what keeps the threads and the blocks together


def test_a_grid_whose_blocks_are_not_all_resident_is_reported(machine: Machine) -> None:
    machine.cooperative = False
    with pytest.raises(EmulationError, match=r"wait for ever.*grid\.cuh|grid\.cuh.*wait for ever"):
        _engine(4, 3).train(*steps.batch(3))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("blocks", [1, 3])
def test_barriers_and_nothing_else(blocks: int, order: Order) -> None:
    state, options = np.zeros(1, np.uint32), ("-std=c++17",)
    for count in (0, 1, 5):
        emulate(
            grid_barrier.SOURCE, options, (blocks,), (32,), 0, state, count, order=order, cooperative=True,
            kernel="grid_barriers",
        )  # fmt: skip
        assert int(state[0]) in (0, 1 << 31)  # ready for the next launch


def test_a_block_that_never_arrives_is_reported(machine: Machine, tmp_path: Path) -> None:
    barrier = "    grid_barrier(barrier);"
    machine.source = _changed(tmp_path, "lstm_persistent.cu", barrier, f"if (blockIdx.x == 1) return;{barrier}")
    with pytest.raises(EmulationError, match="wait for ever"):
        _engine(4, 3).train(*steps.batch(3))


def _changed(folder: Path, name: str, old: str, new: str, number: int = 0) -> Path:
    """The kernel's files in `folder`, with occurrence `number` of `old` changed in one of them."""
    for file in SOURCE.parent.glob("*.cu*"):
        shutil.copy(file, folder)
    head, *parts = (folder / name).read_text().split(old)
    assert number < len(parts)
    text = head + "".join((new if i == number else old) + part for i, part in enumerate(parts))
    (folder / name).write_text(text)
    return folder / SOURCE.name


# not the fences of grid.cuh: here memory is seen by all in one order, so a missing one goes unnoticed
MUTANTS = [
    pytest.param(name, old, new, number, id=f"{name}: {old.strip()} {number}")
    for name, old, new in (
        ("lstm_persistent.cu", "    grid_barrier(barrier);", ""),
        ("lstm_persistent.cu", "__syncthreads();", ""),
        ("grid.cuh", "__syncthreads();", ""),
        ("grid.cuh", "SENSE - (gridDim.x - 1)", "SENSE - gridDim.x"),
        ("lstm_persistent.cu", "(t + 1) % 2 * BUFFER", "0"),
        ("lstm_persistent.cu", "t % 2 * BUFFER", "0"),
        ("lstm_persistent.cu", "start += 1.0f", "start += 0.0f"),
        ("lstm_persistent.cu", "dc *= f;", ""),
        ("lstm_persistent.cu", "if (r == lane)", "if (r == 0)"),
        ("products.cuh", "__shfl_xor_sync(~0u, whole, apart)", "0"),
        ("products.cuh", "upper ? sum[0] : sum[2]", "sum[2]"),
    )
    for number in range((SOURCE.parent / name).read_text().count(old))
]


@pytest.mark.parametrize(("name", "old", "new", "number"), MUTANTS)
def test_nothing_is_superfluous(machine: Machine, name: str, old: str, new: str, number: int, tmp_path: Path) -> None:
    machine.source = _changed(tmp_path, name, old, new, number)
    sizes = choose(17, 17, CHIP.multiprocessors, CHIP.shared_bytes)
    compiler.build(machine.source, sizes.options(), "train_step")
    with pytest.raises((EmulationError, AssertionError)):
        check(machine, 17, 17)  # a block has two passes


def test_auto_takes_it_and_falls_back_with_the_reason(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = kernels.Kernel(next(spec for spec in kernels.LADDER if spec.family == "cuda"), np.matmul)
    settings = Settings(hidden=4, batch_size=2)
    assert engines.choose("auto", cuda, settings) == "persistent"
    assert isinstance(engines.create("persistent", cuda, settings), PersistentCUDA)
    monkeypatch.setattr(persistent_cuda, "_resident", lambda sizes, number: 0)
    assert engines.choose("auto", cuda, settings) == "graph"
    assert "holds 0 blocks" in engines.passed_over("graph", cuda, settings)[0]
    with pytest.raises(UnsupportedEngine, match=r"holds 0 blocks.*; leave out --engine"):
        engines.choose("persistent", cuda, settings)
    with pytest.raises(UnsupportedEngine, match="runs on a GPU, and cpu-blas does not"):
        engines.choose("persistent", kernels.get("cpu-blas"), settings)
