"""What reference_check prints, and its verdict: which differences are rounding and which are not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from experiments._tables import marked, print_table, table
from kernels import cli
from kernels.measure.results import AgreementPoint, Point, StepPoint, TrainingPoint
from kernels.measure.timing import ratio
from rnn import report

__all__ = ["Accuracy", "accuracies", "against_tensorflow", "agreements", "judge", "ratios", "show"]

FIRST_BATCH = 1e-4  # relative, of logits and of each gradient: float32 sums in different orders
LOSSES = 1e-3  # relative, of 200 steps: the difference of one step is the next one's start


class Accuracy(NamedTuple):
    """Mean accuracy on all test images over the seeds, and its 95% interval: Wilson's where there is one seed."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.4f} to {self.high:.4f})"

    def overlaps(self, other: Accuracy) -> bool:
        return self.low <= other.high and other.low <= self.high


def show(points: Sequence[Point]) -> None:
    """One table for each of the three comparisons, and the ratio of times."""
    made = table(
        "Largest relative difference from TensorFlow", "cell, optimizer", "mode", "logits", "gradients", "losses"
    )
    for point in agreements(points):
        figures = (f"{figure:.0e}" for figure in (point.logits, max(point.gradients.values()), point.loss_difference))
        made.add_row(f"{point.cell}, {point.optimizer}", point.mode, *figures)
    made.add_row("allowed", "", f"{FIRST_BATCH:.0e}", f"{FIRST_BATCH:.0e}", f"{LOSSES:.0e}")
    print_table(made)
    trained = accuracies(points)
    if trained:
        _show_accuracies(points, trained)
    for (cell, optimizer), own in _steps(points):
        made = table(f"One training step: {cell}, {optimizer}, batch {own[0].batch_size}", "by", "ms", "±")
        for step in own:
            seconds = step.seconds
            took = marked(f"{seconds.median * 1e3:.2f}", seconds)
            made.add_row(step.contestant, took, f"{seconds.half_range * 1e3:.2f}")
        print_table(made)
    for line in ratios(points):
        print(line)


def _show_accuracies(points: Sequence[Point], trained: dict[tuple[str, str], tuple[Accuracy, Accuracy]]) -> None:
    steps = next(point.steps for point in points if isinstance(point, TrainingPoint))
    made = table(f"Accuracy after {steps:,} steps (95% interval)", "cell, optimizer, seed", "ours", "TensorFlow")
    for (cell, optimizer), means in trained.items():
        ours, theirs = _runs(points, cell, optimizer)
        for one, other in zip(ours, theirs, strict=True):
            each = (Accuracy(run.accuracy, *run.interval) for run in (one, other))
            made.add_row(f"{cell}, {optimizer}, {one.seed}", *map(str, each))
        if len(ours) > 1:
            made.add_row(f"{cell}, {optimizer}, mean of {len(ours)}", *map(str, means))
    print_table(made)


def agreements(points: Sequence[Point]) -> list[AgreementPoint]:
    """The comparisons number by number."""
    return [point for point in points if isinstance(point, AgreementPoint)]


def accuracies(points: Sequence[Point]) -> dict[tuple[str, str], tuple[Accuracy, Accuracy]]:
    """By cell and optimizer: ours and TensorFlow's."""
    runs = [point for point in points if isinstance(point, TrainingPoint)]
    found = {}
    for cell, optimizer in dict.fromkeys((run.cell, run.optimizer) for run in runs):
        ours, theirs = (_over_seeds(side) for side in _runs(points, cell, optimizer))
        found[cell, optimizer] = (ours, theirs)
    return found


def _runs(points: Sequence[Point], cell: str, optimizer: str) -> tuple[list[TrainingPoint], list[TrainingPoint]]:
    runs = [run for run in points if isinstance(run, TrainingPoint) and (run.cell, run.optimizer) == (cell, optimizer)]
    return [run for run in runs if run.kernel != "tensorflow"], [run for run in runs if run.kernel == "tensorflow"]


def _over_seeds(runs: Sequence[TrainingPoint]) -> Accuracy:
    values = [run.accuracy for run in runs]
    low, high = report.mean_interval(values) if len(values) > 1 else runs[0].interval
    return Accuracy(statistics.fmean(values), max(low, 0.0), min(high, 1.0))


def _steps(points: Sequence[Point]) -> Iterator[tuple[tuple[str, str], list[StepPoint]]]:
    steps = [point for point in points if isinstance(point, StepPoint)]
    for key in dict.fromkeys((point.cell, point.optimizer) for point in steps):
        yield key, [point for point in steps if (point.cell, point.optimizer) == key]


def ratios(points: Sequence[Point]) -> list[str]:
    """Our engine's step against the fastest of TensorFlow's modes, one sentence a cell and optimizer."""
    lines = []
    for (cell, optimizer), (ours, *theirs) in _steps(points):
        best = min(theirs, key=lambda point: point.seconds.median)
        lines.append(f"{cell}, {optimizer}: {against_tensorflow(ours, best)}")
    return lines


def against_tensorflow(ours: StepPoint, theirs: StepPoint) -> str:
    """Our engine's step beside that of TensorFlow's best mode, which is the last word of its name."""
    times, mode = ratio(theirs.samples, ours.samples), theirs.contestant.split()[-1]
    return f"{ours.contestant} is {times} times as fast as TensorFlow's best mode, {mode}"


def judge(points: Sequence[Point]) -> None:
    """Print that they agree, or end the command with what does not."""
    wrong = []
    for point in agreements(points):
        where = f"{point.cell}, {point.optimizer}, {point.mode}"
        first = {"logits": point.logits} | {f"gradient of {name}": d for name, d in point.gradients.items()}
        for name, difference in first.items():
            if not difference <= FIRST_BATCH:  # so that NaN fails too
                wrong.append(f"{where}: {name} differs by {difference:.1e}, allowed {FIRST_BATCH:.0e}")
        if not point.loss_difference <= LOSSES:
            wrong.append(f"{where}: losses differ by {point.loss_difference:.1e}, allowed {LOSSES:.0e}")
    trained = accuracies(points)
    for (cell, optimizer), (ours, theirs) in trained.items():
        if not ours.overlaps(theirs):
            wrong.append(f"{cell}, {optimizer}: accuracy {ours}, TensorFlow's {theirs}: the intervals do not overlap")
    if wrong:
        raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)
    gradient = max(max(point.gradients.values()) for point in agreements(points))
    loss = max(point.loss_difference for point in agreements(points))
    runs = f", accuracies after the whole run overlap ({len(trained)} of {len(trained)})" if trained else ""
    print(f"Ours and TensorFlow's agree: gradients within {gradient:.0e}, losses within {loss:.0e}{runs}")
