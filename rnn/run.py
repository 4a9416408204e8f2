"""One training run: load, restore, train, save, test, report."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from kernels import Kernel, cli, progress
from kernels.contract import VerificationError
from kernels.cuda.requirements import wants_gpu
from kernels.measure import machine, results, timing
from rnn import checkpoint, engines, report, resume
from rnn.batches import Batches, as_steps
from rnn.data import load
from rnn.interrupt import interrupt_flag
from rnn.stepwise import Stepwise
from rnn.team import Team

if TYPE_CHECKING:
    from rnn.data_parallel import DataParallel

__all__ = ["Run"]

_LAST = 600.0  # seconds that a process may need for its share of the test images
_SHARES_PRODUCTS = "mpi-summa"  # the kernel whose processes share a product; with any other they share the batch


class Run:
    """One training run, from the options to the last line.

    kernel, engine_name: what trains, as result files name it. compiles: whether that takes time before the first step.
    """

    module = "rnn.train"
    kernel: str
    engine_name: str
    engine: engines.Engine
    compiles: bool
    _products: Kernel | None = None

    def __init__(self, options: argparse.Namespace, arguments: list[str], team: Team | None = None) -> None:
        self.options, self.arguments, self.team = options, arguments, team or Team()
        self.processes = self.team.size
        saved = self.team.from_first(lambda: resume.saved(options))
        self.asked = options.kernel or (saved.header.kernel if saved else "auto")
        self.team.require_same(lambda: {"--kernel": self.asked})
        if self.asked == _SHARES_PRODUCTS and self.team.size > 1:
            self._share_products()
        with self.team.agreeing():
            self.settings = resume.settings(options, saved)
            self._choose_engine(saved)
            self.data = load(options.data)
        self.team.require_same(self._facts)
        batch, seed = self.settings.batch_size, self.settings.seed
        self.batches = Batches(self.data.train, batch, seed, self.engine.place, self.team.share(batch))
        self.step, self.first_step = 0, 1
        self.transcript: list[results.TranscriptLine] = []
        if saved:
            self._restore(saved)
        with self.team.agreeing():
            self.parallel = self._join() if self.team.size > 1 else None

    def go(self) -> None:
        """Train, test, report."""
        self._announce()
        if self.compiles:
            with self.team.agreeing():
                # held back: a compiler turns a Ctrl-C in its midst into an error of its own
                with interrupt_flag() as interrupted:
                    start_up = timing.seconds_of(lambda: self.engine.prepare(*self.batches[0]))
                if interrupted:
                    raise cli.CommandError("interrupted before the first step", cli.INTERRUPTED)
            print(f"Start-up: {start_up:.1f} s to compile, or to load what an earlier run compiled", flush=True)
        with self.team.agreeing():
            self._verify()
        begin = time.perf_counter()
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging run says so itself
            self._train()
            seconds = time.perf_counter() - begin
            try:
                self._test(seconds)
            except KeyboardInterrupt:
                if self.parallel:
                    raise  # the others may still be at their images
                self._stop()

    # -- before training

    def _choose_engine(self, saved: checkpoint.Checkpoint | None) -> None:
        if wants_gpu(self.asked):
            self.team.use_gpu()
        kernel = cli.get_kernel(self.asked)
        # another kernel's engine may not exist for this one: a run may move between CPU and GPU
        before = saved.header.engine if saved and saved.header.kernel == kernel.name else "auto"
        asked = self.options.engine or before
        try:
            self.engine_name = engines.choose(asked, kernel, self.settings)
        except engines.UnsupportedEngine as error:
            raise cli.CommandError(str(error)) from error
        if asked == "auto":
            for reason in engines.passed_over(self.engine_name, kernel, self.settings):
                print(f"note: {self.engine_name} engine, as {reason}")
        self.kernel, self.compiles = kernel.name, bool(kernel.spec.requires)
        self.engine = engines.create(self.engine_name, kernel, self.settings)
        checked = engines.multiplies_with_kernel(self.engine_name) and kernel.spec.handwritten
        self._products = kernel if checked else None

    def _verify(self) -> None:
        """A wrong product may still train, only worse, and nothing else would tell."""
        if self._products:
            rows, columns = self.engine.arrays["cell_weight"].shape
            try:
                engines.verify(self._products, len(self.batches[0][1]), rows, columns)
            except VerificationError as error:
                raise cli.CommandError(str(error), cli.CHECK_FAILED) from error

    def _facts(self) -> dict[str, object]:
        """What the processes of a team must have alike. Not the folder of the data, nor the number of threads."""
        alike = ("steps", "display_step", "checkpoint", "checkpoint_every", "results", "target_accuracy")
        return {
            **{f"--{name.replace('_', '-')}": getattr(self.options, name) for name in alike},
            **{f"--{name.replace('_', '-')}": value for name, value in msgspec.structs.asdict(self.settings).items()},
            "kernel": self.kernel,
            "engine": self.engine_name,
            "data": self.data.digest,
            "source code": machine.source_digest(),
            **machine.software(),
        }

    def _share_products(self) -> None:
        """Let the first process train alone; the others do not return from here: they have a share of each product."""
        self.team.disband()
        cli.get_kernel(_SHARES_PRODUCTS)
        self.team = Team()

    def _join(self) -> DataParallel:
        """The engine as one of the team's."""
        from rnn.data_parallel import DataParallel
        from rnn.mpi_team import MPITeam

        assert isinstance(self.engine, Stepwise), "the reference trains alone"
        assert isinstance(self.team, MPITeam)
        parallel = DataParallel(self.engine, self.team, self.settings.batch_size)
        self.engine = parallel
        return parallel

    def _restore(self, saved: checkpoint.Checkpoint) -> None:
        if saved.header.data != self.data.digest:
            raise cli.CommandError(f"{self.options.checkpoint} was trained on other data than {self.data.source}")
        if saved.header.step > self.options.steps:
            raise cli.CommandError(
                f"{self.options.checkpoint} is at step {saved.header.step}, beyond --steps {self.options.steps}"
            )
        assert isinstance(self.engine, Stepwise), "the reference keeps no checkpoints"
        arrays = self.engine.arrays
        try:
            saved.restore(arrays, self.options.checkpoint)
        except checkpoint.CheckpointError as error:
            raise cli.CommandError(str(error)) from error
        self.engine.restore(arrays)
        self.step, self.transcript = saved.header.step, list(saved.header.transcript)
        self.first_step = self.step + 1
        now, then = (self.kernel, self.engine_name), (saved.header.kernel, saved.header.engine)
        if now != then:
            print(f"note: made by {' '.join(then)}, continued by {' '.join(now)}, which may round differently")

    def _announce(self) -> None:
        s, data = self.settings, self.data
        print(f"Machine: {machine.describe().sentence()}")
        if self.parallel:
            print(f"Processes: {self.team.sentence()}; gradients added up by {self.parallel.how}")
        print(f"Kernel:  {self._what_trains()}, {self._threads()}")
        trained = f"batches of {s.batch_size}, {s.optimizer} at {s.learning_rate:g}, seed {s.seed}"
        print(f"Network: {s.cell}, {s.hidden} units, {trained}")
        unverified = "" if data.verified else "; these are not the published MNIST files (unverified)"
        print(f"Data:    {len(data.train.labels):,} + {len(data.test.labels):,} images from {data.source}{unverified}")
        if self.step:
            print(f"Resumed: {self.options.checkpoint} at step {self.step}")
        sys.stdout.flush()

    def _threads(self) -> str:
        count = self.options.threads
        return f"{count} thread{'s' * (count > 1)}{' each' * bool(self.parallel)}"

    def _what_trains(self) -> str:
        asked = self.options.kernel or ("the checkpoint" if self.options.resume else "auto")
        became = "" if asked == self.kernel else f" (from {asked})"
        return f"{self.kernel}{became}, {self.engine_name} engine"

    # -- training

    def _train(self) -> None:
        every = self.options.checkpoint_every
        self._if_lost(self.options.checkpoint if self.options.resume else None)
        if every and self.step == 0:
            self._save(self.options.checkpoint)
        with interrupt_flag() as interrupted, progress.steps(self.step, self.options.steps) as advance:
            while self.step < self.options.steps:
                x, labels = self.batches[self.step]
                if self.parallel:
                    self.parallel.train(x, labels, stop=bool(interrupted))
                else:
                    self.engine.train(x, labels)
                self.step += 1
                if self.step == 1 or self.step % self.options.display_step == 0:
                    self._display(x, labels)
                advance(self.step)
                if self.parallel.stopping if self.parallel else interrupted:
                    self._stop()
                if every and self.step % every == 0:
                    self._save(self.options.checkpoint)
        if self.parallel:
            self.parallel.settle()
            if self.parallel.stopping:
                self._stop()
        if self.options.checkpoint and not (every and self.step % every == 0):
            self._save(self.options.checkpoint)
        self._check_finite()
        print("Optimization Finished!")

    def _display(self, x: NDArray, labels: NDArray) -> None:
        loss, accuracy = self.engine.evaluate(x, labels)
        self.transcript.append(results.TranscriptLine(self.step, loss, accuracy))
        print(report.transcript_line(self.transcript[-1]), flush=True)
        if not math.isfinite(loss):
            self._diverged(f"the loss is {loss}")

    def _check_finite(self) -> None:
        if not all(np.isfinite(array).all() for array in self.engine.arrays.values()):
            self._diverged("a weight is not a finite number")

    def _diverged(self, sign: str) -> NoReturn:
        raise cli.CommandError(
            f"{sign} at step {self.step}: the training has diverged; "
            f"try a --learning-rate below {self.settings.learning_rate:g}",
            cli.CHECK_FAILED,
        )

    def _save(self, path: Path) -> None:
        self._check_finite()
        header = checkpoint.Header(
            schema=checkpoint.SCHEMA,
            step=self.step,
            settings=self.settings,
            kernel=self.kernel,
            engine=self.engine_name,
            data=self.data.digest,
            transcript=self.transcript,
        )

        def write() -> None:
            try:
                checkpoint.save(path, header, self.engine.arrays)
            except OSError as error:
                kept = f"; {path} still holds an earlier step" if path.exists() else ""
                raise cli.CommandError(
                    f"cannot save step {self.step} to {path}: {error.strerror}{kept}", cli.CHECK_FAILED
                ) from error

        self.team.from_first(write)
        self._if_lost(path)

    def _if_lost(self, path: Path | None) -> None:
        """Say, in case that a process is lost, what there is to go on from."""
        kept = (
            f"{path} holds step {self.step}; continue with: {self._command(path)}"
            if path
            else ("no checkpoint was saved: name --checkpoint FILE --checkpoint-every N to keep what was trained")
        )
        self.team.if_lost(kept)

    def _stop(self) -> NoReturn:
        path = self.options.checkpoint or self.team.from_first(
            lambda: resume.unused(f"checkpoint-{self.settings.cell}-step{self.step}")
        )
        self._save(path)
        raise cli.CommandError(
            f"interrupted after step {self.step}; continue with: {self._command(path)}", cli.INTERRUPTED
        )

    def _command(self, path: Path) -> str:
        """That goes on from there."""
        named = self.options.checkpoint is not None
        return resume.command(self.arguments if named else [*self.arguments, "--checkpoint", str(path)], self.processes)

    # -- after training

    def _test(self, training_seconds: float) -> None:
        test = self.data.test
        predicted = self._predict(test.images)
        right = predicted == test.labels
        correct, images = int(right.sum()), len(right)
        first_128 = float(right[:128].mean(dtype=np.float32))
        print(f"Testing Accuracy: {first_128}")
        print(report.accuracy_line(correct, images))
        print(report.confusion_line(test.labels, predicted))
        done = self.options.steps - self.first_step + 1
        if done:
            print(f"{done:,} step{'s' * (done > 1)} in {training_seconds:.1f} s, {done / training_seconds:.1f} steps/s")
        real, *busy = report.process_times()
        user, system = (sum(seconds) for seconds in zip(*self.team.gather(busy), strict=True))
        print(report.time_lines(real, user, system))
        if self.options.results:
            point = results.TrainingPoint(
                kernel=self.kernel,
                engine=self.engine_name,
                **msgspec.structs.asdict(self.settings),
                steps=self.options.steps,
                first_step=self.first_step,
                threads=self.options.threads,
                processes=self.team.size,
                verified_data=self.data.verified,
                transcript=self.transcript,
                accuracy_first_128=first_128,
                correct=correct,
                images=images,
                interval=report.wilson(correct, images),
                training_seconds=training_seconds,
                real=real,
                user=user,
                sys=system,
                sm_clock=machine.sm_clock() if self.kernel.startswith("cuda-") else None,
            )
            found_results = results.new(self.module, self.arguments, [point], ceilings=None)
            self.team.from_first(lambda: cli.write_results(self.options.results, found_results))
        target = self.options.target_accuracy
        if target is not None and correct / images < target:
            raise cli.CommandError(
                f"accuracy {correct / images:.4f} is below --target-accuracy {target:g}", cli.CHECK_FAILED
            )

    def _predict(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The digit recognised in each image; the processes of a team take turns, 128 at a time."""
        parts: dict[int, NDArray[np.int64]] = {}
        with progress.steps(0, len(images), "test images") as advance:
            for i in range(128 * self.team.rank, len(images), 128 * self.team.size):
                parts[i] = self.engine.predict(as_steps(images[i : i + 128]))
                advance(i)
        # one of the others may have a batch more, or a slower machine
        found = {i: part for theirs in self.team.gather(parts, _LAST) for i, part in theirs.items()}
        return np.concatenate([found[i] for i in sorted(found)])
