"""``python -m rnn.train``: the published transcript, checkpoints that lose nothing, errors in one line."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments import _numpy_lstm
from kernels.measure import machine, results
from rnn import checkpoint, report, train
from rnn.batches import Batches, as_steps
from rnn.data import load
from rnn.interrupt import interrupt_flag
from rnn.network import initial_weights
from rnn.run import Run
from tests import idx

ROOT = Path(__file__).resolve().parents[1]
TINY = ["--batch-size", "8", "--hidden", "8", "--learning-rate", "0.05", "--display-step", "20"]
FAST = ["--kernel", "cpu-blas", *TINY]


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return idx.write(tmp_path_factory.mktemp("idx"), idx.contents())


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "rnn.train", *arguments]


def _train(folder: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        _command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def _arrays(path: Path) -> dict[str, np.ndarray]:
    return checkpoint.load(path).arrays


def _assert_same_bits(one: Path, other: Path) -> None:
    ours, theirs = _arrays(one), _arrays(other)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])


@pytest.mark.parametrize("wrong", ["nn", "nt", "tn"])
def test_a_kernel_whose_products_are_wrong_trains_nothing(
    wrong: str, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It might still learn, only worse: here the last step of k is left out where A and B lie in one of their ways."""
    from kernels.cpu import numba_serial

    def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        depth = a.shape[1] - ("".join("n" if x.flags.c_contiguous else "t" for x in (a, b)) == wrong)
        np.matmul(a[:, :depth], b[:depth], out=c)

    monkeypatch.setattr(numba_serial, "product", product)
    with pytest.raises(SystemExit) as stop:
        train.main(["--data", str(small), "--kernel", "cpu-numba-serial", "--steps", "1", *TINY])
    assert stop.value.code == 1
    shown = capsys.readouterr()
    assert "cpu-numba-serial is wrong: error" in shown.err
    assert "Step 1" not in shown.out


def test_transcript_and_results_file(tmp_path: Path, small: Path) -> None:
    done = _train(tmp_path, "--data", str(small), "--steps", "50", *FAST, "--results", "run.json")
    lines = done.stdout.splitlines()
    steps = [line for line in lines if line.startswith("Step")]
    assert [line.split(",")[0] for line in steps] == ["Step 1", "Step 20", "Step 40"]
    published = r"Step \d+, Minibatch Loss= \d+\.\d{4}, Training Accuracy= [01]\.\d{3}"
    assert all(re.fullmatch(published, line) for line in steps)
    after = lines[lines.index("Optimization Finished!") + 1 :]
    share = float(after[0].removeprefix("Testing Accuracy: "))
    assert share * 128 == int(share * 128)
    assert re.match(r"All 200 test images: 0\.\d{4} \(95% interval 0\.\d{4} to 0\.\d{4}; \d+ read wrong\)", after[1])
    assert re.match(r"Most often confused: (\d read as \d \(\d+\)(, )?)+", after[2])
    assert [line.partition("\t")[0] for line in lines[-4:-1]] == ["real", "user", "sys"]
    assert "unverified" in done.stdout
    assert done.stderr == ""

    (point,) = results.read(tmp_path / "run.json").points
    assert isinstance(point, results.TrainingPoint)
    assert [report.transcript_line(line) for line in point.transcript] == steps
    assert point.accuracy_first_128 == share
    assert point.images == 200
    assert f"{point.accuracy:.4f}" in after[1]


def test_what_is_printed_is_true_of_the_weights(tmp_path: Path) -> None:
    """One step, done again in float64 by the second implementation: loss and accuracy are those after the update."""
    files = idx.contents()
    labels = np.frombuffer(files["t10k-labels"], np.uint8, offset=8).copy()
    labels[128:] = (labels[128:] + 1) % 10  # all wrong: the first 128 images can be told from the others
    small = idx.write(tmp_path / "data", files | {"t10k-labels": idx.encode(labels)})
    arguments = ["--data", str(small), *FAST, "--seed", "4", "--results", "run.json"]
    _train(tmp_path, *arguments, "--steps", "1", "--learning-rate", "0.5", "--checkpoint", "run.npz")
    data = load(small)
    x, labels = Batches(data.train, 8, seed=4)[0]
    weights = {name: weight.astype(np.float64) for name, weight in initial_weights("lstm", 8, seed=4).items()}
    before, gradients = _numpy_lstm.loss_and_gradients(weights, x.astype(np.float64), labels)
    for name, saved in _arrays(tmp_path / "run.npz").items():
        weights[name] -= 0.5 * gradients[name]
        np.testing.assert_allclose(saved, weights[name], rtol=0, atol=1e-5)
    after, _ = _numpy_lstm.loss_and_gradients(weights, x.astype(np.float64), labels)
    (point,) = results.read(tmp_path / "run.json").points
    assert isinstance(point, results.TrainingPoint)
    (line,) = point.transcript
    assert line.loss == pytest.approx(after, rel=1e-5)
    assert abs(after - before) > 0.01, "before and after the update can be told apart"
    assert line.accuracy == (_digits(weights, x) == labels).mean()

    adam = ["--optimizer", "adam", "--learning-rate", "0.02", "--checkpoint", "adam.npz"]
    _train(tmp_path, *arguments, "--steps", "300", *adam)
    digits = _digits(_arrays(tmp_path / "adam.npz"), as_steps(data.test.images))
    right = digits == data.test.labels
    assert len(set(digits)) > 5, "digits can be told apart"
    assert right[:128].sum() != right[-128:].sum(), "the first images can be told from the last"
    (point,) = results.read(tmp_path / "run.json").points
    assert isinstance(point, results.TrainingPoint)
    assert (point.correct, point.images) == (right.sum(), 200)
    assert point.accuracy_first_128 == right[:128].mean()


def _digits(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """What the LSTM's definition, in float64, reads in each image."""
    h = c = np.zeros((x.shape[1], 8))
    for x_t in x:
        z = np.hstack([x_t, h]) @ weights["cell_weight"] + weights["cell_bias"]
        i, j, f, o = np.split(z, 4, axis=1)
        c = c / (1 + np.exp(-f - 1)) + np.tanh(j) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    return (h @ weights["output_weight"] + weights["output_bias"]).argmax(1)


def test_it_learns(tmp_path: Path, small: Path) -> None:
    """The small images show their digit plainly; guessing has 0.1."""
    arguments = ["--data", str(small), "--steps", "300", "--batch-size", "50", "--hidden", "32", "--threads", "1"]
    _train(tmp_path, *arguments, "--optimizer", "adam", "--learning-rate", "0.01", "--target-accuracy", "0.9")
    done = _train(tmp_path, *arguments, "--target-accuracy", "0.99", "--learning-rate", "1e-9", code=1)
    assert "below --target-accuracy 0.99" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--steps", "0"], 2, "--steps: must be at least 1, not 0"),
        (["--steps", "-5"], 2, "must be at least 1"),
        (["--steps", "many"], 2, "must be a whole number"),
        (["--batch-size", "0"], 2, "--batch-size"),
        (["--hidden", "0"], 2, "--hidden"),
        (["--seed", "-1"], 2, "--seed"),
        (["--threads", "0"], 2, "--threads"),
        (["--learning-rate", "0"], 2, "must be above 0"),
        (["--learning-rate", "nan"], 2, "must be above 0"),
        (["--learning-rate", "inf"], 2, "must be above 0"),
        (["--target-accuracy", "85"], 2, "such as 0.85"),
        (["--cell", "gru"], 2, "lstm"),
        (["--kernel", "cpu-numba-tilled"], 2, "did you mean cpu-numba-tiled"),
        (["--engine", "fused", "--kernel", "cpu-blas"], 2, "no fused engine"),
        (["--data", "nowhere"], 2, "nowhere is not a directory"),
        (["--results", "nowhere/run.json"], 2, "cannot write nowhere/run.json"),
        (["--results", "."], 2, "it is a directory"),
        (["--checkpoint", "nowhere/run.npz"], 2, "cannot write nowhere/run.npz"),
        (["--checkpoint", "."], 2, "cannot write .: it is a directory"),
        (["--checkpoint", "run"], 2, "cannot save the run to run: the name must end in .npz"),
        (["--results", "run.txt"], 2, "cannot write results to run.txt: the name must end in .json"),
        (["--hidden", "10000000"], 1, "too little memory for this: "),
        (["--resume"], 2, "need --checkpoint"),
        (["--checkpoint-every", "5"], 2, "need --checkpoint"),
        (["--checkpoint", "missing.npz", "--resume"], 2, "no checkpoint missing.npz"),
        (["--nonsense"], 2, "--nonsense"),
    ],
)
def test_bad_input_is_one_line_and_harms_nothing(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    done = _train(tmp_path, "--steps", "1", *arguments, code=code)
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(machine.why_no_gpu() is None, reason="this machine has a GPU")
def test_no_gpu_is_said_and_nothing_else_is_used(tmp_path: Path) -> None:
    done = _train(tmp_path, "--kernel", "cuda", "--steps", "1", code=3)
    assert re.fullmatch(r"error: no CUDA kernel can run here: .*use --kernel numba instead\n", done.stderr)


@pytest.mark.parametrize(("display", "said_at"), [("20", "20"), ("200", "60")])
def test_divergence_is_said(tmp_path: Path, small: Path, display: str, said_at: str) -> None:
    """At the next line of the transcript; at the end where there is none."""
    arguments = ["--data", str(small), "--steps", "60", *FAST, "--learning-rate", "3e38", "--display-step", display]
    done = _train(tmp_path, *arguments, code=1)
    assert done.stderr.count("\n") == 1
    assert f"at step {said_at}: the training has diverged" in done.stderr


def test_divergence_leaves_the_last_sound_checkpoint(tmp_path: Path, small: Path) -> None:
    checkpoints = ["--checkpoint", "run.npz", "--checkpoint-every", "1"]
    arguments = ["--data", str(small), "--steps", "60", *FAST, "--learning-rate", "3e38", "--display-step", "200"]
    assert "diverged" in _train(tmp_path, *arguments, *checkpoints, code=1).stderr
    for name, array in _arrays(tmp_path / "run.npz").items():
        assert np.isfinite(array).all(), name


def test_a_save_that_fails_leaves_the_checkpoint_before(tmp_path: Path, small: Path) -> None:
    base = ["--data", str(small), "--kernel", "cpu-blas", "--checkpoint", "run.npz"]
    _train(tmp_path, *base, *TINY, "--steps", "5")
    before = (tmp_path / "run.npz").read_bytes()
    # a limit on the size of files stands for a full disk
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 2; exec "$@"', "sh", *_command(*base, "--steps", "9", "--resume")],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: cannot save step 9 to run.npz: File too large; run.npz still holds an earlier step\n"
    assert (tmp_path / "run.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


ENGINES = {
    "stepwise sgd": ["--kernel", "cpu-blas", "--threads", "1"],
    "stepwise adam": ["--kernel", "cpu-numba-tiled", "--optimizer", "adam", "--threads", "1"],
    "elman": ["--kernel", "numba", "--cell", "elman"],
    "fused adam": ["--kernel", "numba", "--optimizer", "adam"],
}


@pytest.mark.parametrize(
    ("engine", "told"),
    [*((engine, signal.SIGINT) for engine in ENGINES), ("fused adam", signal.SIGTERM)],
    ids=lambda value: getattr(value, "name", value),
)
def test_ctrl_c_saves_and_the_printed_command_continues_to_the_same_bits(
    tmp_path: Path, small: Path, engine: str, told: signal.Signals
) -> None:
    settings = ["--data", str(small), *TINY, *ENGINES[engine]]
    steps = 4000
    running = subprocess.Popen(
        _command(*settings, "--steps", str(steps)), cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    for line in running.stdout:
        if line.startswith("Step 40,"):
            break
    running.send_signal(told)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    found = re.fullmatch(r"interrupted after step (\d+); continue with: \S+ -m (.*)\n", said)
    assert found is not None, said
    (saved,) = tmp_path.glob("*.npz")
    at = checkpoint.load(saved).header.step
    assert at == int(found[1])
    assert 40 <= at < steps
    end = str(at + 30)
    arguments = shlex.split(found[2])[1:]
    arguments[arguments.index("--steps") + 1] = end
    resumed = _train(tmp_path, *arguments)
    assert f"at step {at}" in resumed.stdout
    _train(tmp_path, *settings, "--steps", end, "--checkpoint", "whole.npz")
    _assert_same_bits(saved, tmp_path / "whole.npz")
    assert checkpoint.load(saved).header.transcript == checkpoint.load(tmp_path / "whole.npz").header.transcript


def test_ctrl_c_among_the_test_images_keeps_what_was_trained(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: Run, images: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    arguments = ["--data", str(small), *FAST, "--steps", "7"]
    with monkeypatch.context() as once:
        once.setattr(Run, "_predict", interrupted)
        with pytest.raises(SystemExit) as stop:
            train.main(arguments)
    assert stop.value.code == 130
    said = capsys.readouterr().err
    assert said.startswith("interrupted after step 7; continue with: ")
    command = shlex.split(said)
    train.main(command[command.index("rnn.train") + 1 :])
    assert "Testing Accuracy" in capsys.readouterr().out


def test_a_run_that_is_interrupted_leaves_what_others_kept_in_the_folder(
    tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(line: results.TranscriptLine) -> str:
        signal.raise_signal(signal.SIGTERM)
        return shown(line)

    shown = report.transcript_line
    monkeypatch.setattr(report, "transcript_line", interrupted)
    monkeypatch.chdir(tmp_path)
    for seed in (1, 2, 3):
        with pytest.raises(SystemExit) as stop:
            train.main(["--data", str(small), *FAST, "--steps", "100", "--seed", str(seed)])
        assert stop.value.code == 130
        command = shlex.split(capsys.readouterr().err)
        kept = Path(command[command.index("--checkpoint") + 1])
        assert checkpoint.load(kept).header.settings.seed == seed
    assert len(list(tmp_path.glob("*.npz"))) == 3


def test_the_same_signal_again_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with interrupt_flag() as interrupted:
        assert not interrupted
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
        assert interrupted
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("seed", range(3))
def test_kill_9_loses_at_most_the_steps_since_the_last_checkpoint(tmp_path: Path, small: Path, seed: int) -> None:
    every, steps = 10, 100_000
    settings = ["--data", str(small), *FAST, "--checkpoint-every", str(every)]
    running = subprocess.Popen(
        _command(*settings, "--steps", str(steps), "--display-step", "1", "--checkpoint", "run.npz"), cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout is not None
    until = int(np.random.default_rng(seed).integers(5, 60))
    seen = 0
    for line in running.stdout:
        if line.startswith("Step "):
            seen = int(line.split(",")[0].removeprefix("Step "))
        if seen >= until:
            break
    time.sleep(0.003 * seed)
    running.kill()
    rest, _ = running.communicate()
    seen = max([seen, *(int(step) for step in re.findall(r"^Step (\d+),", rest, flags=re.M))])
    kept = checkpoint.load(tmp_path / "run.npz").header.step
    assert seen - every <= kept <= seen + 1
    end = str(kept + 25)
    resume = ["--steps", end, "--checkpoint", "run.npz", "--resume", "--display-step", "20"]
    _train(tmp_path, "--data", str(small), "--kernel", "cpu-blas", *resume)
    _train(tmp_path, *settings, "--steps", end, "--checkpoint", "whole.npz")
    _assert_same_bits(tmp_path / "run.npz", tmp_path / "whole.npz")


def test_resume_checks_what_it_continues(tmp_path: Path, small: Path) -> None:
    base = ["--data", str(small), "--kernel", "cpu-blas", "--checkpoint", "run.npz"]
    _train(tmp_path, *base, *TINY, "--steps", "5")
    before = (tmp_path / "run.npz").read_bytes()
    other = idx.write(tmp_path / "other", idx.contents(seed=9))
    for arguments, says in (
        ([*base, "--steps", "9"], "run.npz exists; add --resume"),
        ([*base, "--steps", "9", "--resume", "--hidden", "9"], "trained with --hidden 8, not 9"),
        ([*base, "--steps", "9", "--resume", "--optimizer", "adam"], "trained with --optimizer sgd, not adam"),
        ([*base, "--steps", "4", "--resume"], "at step 5, beyond --steps 4"),
        (["--data", str(other), *base[2:], "--steps", "9", "--resume"], "trained on other data"),
    ):
        done = _train(tmp_path, *arguments, code=2)
        assert done.stderr.count("\n") == 1
        assert says in done.stderr
        assert (tmp_path / "run.npz").read_bytes() == before
    (tmp_path / "run.npz").write_bytes(before[:-40])
    assert "damaged or cut short" in _train(tmp_path, *base, "--steps", "9", "--resume", code=2).stderr


def test_help_is_quick_to_import_and_complete() -> None:
    probe = (
        "import sys, json\n"
        "from rnn import train\n"
        "text = train.parser().format_help()\n"
        "print(json.dumps([text, sorted(m for m in ('numpy', 'numba', 'tensorflow', 'rich') if m in sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True)
    text, imported = json.loads(done.stdout)
    assert imported == []
    options = "kernel engine steps batch-size hidden learning-rate optimizer cell seed data display-step threads"
    for option in [*options.split(), "checkpoint", "checkpoint-every", "resume", "results", "target-accuracy"]:
        assert f"--{option}" in text


@pytest.mark.parametrize(("correct", "images"), [(0, 10), (10, 10), (115, 128), (8700, 10_000)])
def test_wilson_interval(correct: int, images: int) -> None:
    p, z = correct / images, 1.959963984540054
    centre = (p + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    assert report.wilson(correct, images) == pytest.approx((max(centre - half, 0), min(centre + half, 1)), abs=1e-12)


def test_worst_pairs() -> None:
    labels = np.array([4, 4, 4, 7, 7, 3, 3, 3, 3])
    predicted = np.array([9, 9, 4, 9, 7, 5, 5, 5, 3])
    said = "Most often confused: 3 read as 5 (3), 4 read as 9 (2), 7 read as 9 (1)"
    assert report.confusion_line(labels, predicted) == said
    assert report.confusion_line(labels, labels) == "Most often confused: nothing"


def test_times_are_the_shells() -> None:
    assert report.time_lines(324.519, 1652.158, 0.0314) == "real\t5m24.519s\nuser\t27m32.158s\nsys\t0m0.031s"
    assert report.time_lines(59.9997, 119.9994, 60.0) == "real\t1m0.000s\nuser\t1m59.999s\nsys\t1m0.000s"
