"""TensorFlow agrees with our network number by number, and nothing but the reference ever needs it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kernels
from kernels import cli
from kernels.extras import install
from kernels.measure import results
from rnn import engines, reference_network
from rnn.batches import Batches
from rnn.data import load
from rnn.reference_network import MODES, Reference
from rnn.settings import Settings
from tests import idx

ROOT = Path(__file__).resolve().parents[1]
ABSENT = reference_network.why_absent()
tensorflow = pytest.mark.skipif(ABSENT is not None, reason=str(ABSENT))
THREADS = 1


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return idx.write(tmp_path_factory.mktemp("idx"), idx.contents())


def _ours(settings: Settings, kernel: str = "cpu-blas") -> engines.Engine:
    chosen = kernels.get(kernel)
    return engines.create(engines.choose("auto", chosen, settings), chosen, settings)


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


@tensorflow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cell", ["lstm", "elman"])
def test_logits_loss_and_every_gradient_agree(cell: str, mode: str, small: Path) -> None:
    settings = Settings(cell=cell, hidden=12, batch_size=10, learning_rate=0.5, seed=3)
    batches = Batches(load(small).train, settings.batch_size, settings.seed)
    ours, theirs = _ours(settings), Reference(settings, mode, THREADS)
    for step in range(2):  # the second with biases that are no longer 0
        x, labels = batches[step]
        assert _distance(theirs.logits(x), ours.logits(x)) < 1e-5
        np.testing.assert_array_equal(theirs.predict(x), ours.predict(x))
        loss, gradients = theirs.loss_and_gradients(x, labels)
        expected_loss, expected = ours.loss_and_gradients(x, labels)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            assert _distance(gradient, expected[name]) < 1e-4, name
        assert theirs.train(x, labels) == pytest.approx(ours.train(x, labels), rel=1e-5)
        assert theirs.evaluate(x, labels) == pytest.approx(ours.evaluate(x, labels), rel=1e-4)
        for name, weight in theirs.weights.items():
            np.testing.assert_allclose(weight, ours.arrays[name], rtol=0, atol=1e-5, err_msg=name)


@tensorflow
@pytest.mark.parametrize("mode", ["graph", "keras"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("cell", ["lstm", "elman"])
def test_200_losses_agree(cell: str, optimizer: str, mode: str, small: Path) -> None:
    settings = Settings(cell=cell, optimizer=optimizer, hidden=16, batch_size=16, learning_rate=0.01)
    batches = Batches(load(small).train, settings.batch_size, settings.seed)
    ours, theirs = _ours(settings), Reference(settings, mode, THREADS)
    losses = np.array([[engine.train(*batches[step]) for engine in (ours, theirs)] for step in range(200)])
    assert losses[-1, 0] < 0.9 * losses[0, 0], "the network learns, so there is something to agree on"
    np.testing.assert_allclose(losses[:, 1], losses[:, 0], rtol=1e-3)


@tensorflow
def test_the_fused_engine_agrees_with_tensorflow(small: Path) -> None:
    settings = Settings(batch_size=40)
    x, labels = Batches(load(small).train, settings.batch_size, settings.seed)[0]
    ours, theirs = _ours(settings, "cpu-numba-simd"), Reference(settings, "graph", THREADS)
    expected_loss, expected = theirs.loss_and_gradients(x, labels)
    loss, gradients = ours.loss_and_gradients(x, labels)
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert _distance(gradient, expected[name]) < 1e-4, name


@tensorflow
@pytest.mark.parametrize("mode", ["graph", "keras"])
def test_preparing_changes_nothing(mode: str, small: Path) -> None:
    settings = Settings(optimizer="adam", hidden=4, batch_size=5, learning_rate=0.1)
    batches = Batches(load(small).train, settings.batch_size, settings.seed)
    prepared, fresh = (Reference(settings, mode, THREADS) for _ in range(2))
    prepared.prepare(*batches[0])
    for step in range(3):
        assert prepared.train(*batches[step]) == fresh.train(*batches[step])
    for name, weight in prepared.weights.items():
        np.testing.assert_array_equal(weight, fresh.weights[name])


def _command(module: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", module, *arguments]


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )


@tensorflow
def test_the_command_says_and_writes_what_training_does(tmp_path: Path, small: Path) -> None:
    arguments = ["--data", str(small), "--steps", "41", "--batch-size", "8", "--hidden", "8", "--display-step", "20"]
    arguments += ["--learning-rate", "0.05", "--cell", "elman", "--seed", "2"]
    said, points = {}, {}
    for module in ("rnn.train", "rnn.reference"):
        file = tmp_path / f"{module}.json"
        done = _run(_command(module, *arguments, "--results", str(file)), tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        said[module] = done.stdout
        (points[module],) = results.read(file).points
        assert results.read(file).command.startswith(f"python -m {module} --data")
    ours, theirs = points["rnn.train"], points["rnn.reference"]
    assert isinstance(ours, results.TrainingPoint)
    assert isinstance(theirs, results.TrainingPoint)
    assert (theirs.kernel, theirs.engine) == ("tensorflow", "graph")
    assert "tensorflow 2." in said["rnn.reference"]
    for line, same in zip(ours.transcript, theirs.transcript, strict=True):
        assert (line.step, line.accuracy) == (same.step, same.accuracy)
        assert line.loss == pytest.approx(same.loss, rel=1e-4)
    assert (ours.correct, ours.accuracy_first_128) == (theirs.correct, theirs.accuracy_first_128)
    assert theirs.user > 0
    lines = [[line for line in text.splitlines() if line.startswith(("All", "Testing"))] for text in said.values()]
    assert lines[0] == lines[1]


@tensorflow
def test_ctrl_c_is_one_line(tmp_path: Path, small: Path) -> None:
    arguments = ["--data", str(small), "--steps", "100000", "--batch-size", "4", "--hidden", "4", "--cell", "elman"]
    running = subprocess.Popen(
        _command("rnn.reference", *arguments), cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("Step 200,"):
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == cli.INTERRUPTED
    assert re.fullmatch(r"interrupted after step \d+; the reference keeps no checkpoints\n", said)
    assert list(tmp_path.iterdir()) == []


# stands for a machine without TensorFlow, whatever is installed on this one
BLOCKED = """\
import runpy, sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "keras"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Nowhere())
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("module", ["rnn.reference", "experiments.reference_check"])
def test_without_tensorflow_the_commands_say_what_to_install(module: str, tmp_path: Path) -> None:
    done = _run([sys.executable, "-c", BLOCKED, module], tmp_path)
    assert done.returncode == cli.ABSENT
    assert done.stderr == (f"error: TensorFlow is not installed: {install('reference')}\n")
    assert done.stdout == ""


@tensorflow
def test_a_broken_tensorflow_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('libtensorflow.so: cannot open')")
    done = subprocess.run(
        _command("rnn.reference", "--steps", "1"), env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == cli.ABSENT
    assert done.stderr.startswith("error: TensorFlow cannot be imported (libtensorflow.so: cannot open): python -m pip")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["rnn.train", "--steps", "1", "--kernel", "cpu-blas", "--batch-size", "4", "--hidden", "4", "--data", "DATA"],
        ["experiments.matmul_scaling", "--kernel", "cpu-blas", "--sizes", "8", "--verify-only"],
    ],
)
def test_training_and_scaling_never_import_tensorflow(command: list[str], tmp_path: Path, small: Path) -> None:
    probe = (
        "import json, runpy, sys\n"
        "module, *sys.argv[1:] = sys.argv[1:]\n"
        "runpy.run_module(module, run_name='__main__', alter_sys=True)\n"
        "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules} & {'tensorflow', 'keras'})))\n"
    )
    arguments = [str(small) if argument == "DATA" else argument for argument in command]
    done = _run([sys.executable, "-c", probe, *arguments], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--mode", "eager"], "--mode"),
        (["--kernel", "numba"], "--kernel"),
        (["--checkpoint", "run.npz"], "--checkpoint"),
        (["--results", "nowhere/run.json"], "cannot write nowhere/run.json"),
        (["--steps", "0"], "at least 1"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = _run(_command("rnn.reference", *arguments), tmp_path)
    assert done.returncode == cli.USAGE
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert done.stdout == ""
