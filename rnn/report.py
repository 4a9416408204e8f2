"""What a run says: the published transcript's lines, and after them how sure one can be of the accuracy."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernels.measure.results import TranscriptLine
from rnn.data import CLASSES

__all__ = [
    "accuracy_line",
    "confusion_line",
    "mean_interval",
    "process_times",
    "time_lines",
    "transcript_line",
    "wilson",
]


def transcript_line(line: TranscriptLine) -> str:
    """As the published program prints it."""
    return f"Step {line.step}, Minibatch Loss= {line.loss:.4f}, Training Accuracy= {line.accuracy:.3f}"


def wilson(correct: int, images: int) -> tuple[float, float]:
    """The 95% interval of an accuracy (Wilson 1927): right near 0 and 1 too, where the usual ±2σ is not."""
    from scipy.stats import binomtest

    interval = binomtest(correct, images).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval (Student's t) of the mean that the values, two or more, are drawn around."""
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    mean = statistics.fmean(values)
    return mean - half, mean + half


def accuracy_line(correct: int, images: int) -> str:
    """Accuracy on all test images, with its interval."""
    low, high = wilson(correct, images)
    return (
        f"All {images:,} test images: {correct / images:.4f} "
        f"(95% interval {low:.4f} to {high:.4f}; {images - correct:,} read wrong)"
    )


def confusion_line(labels: NDArray, predicted: NDArray, pairs: int = 5) -> str:
    """The most frequent mistakes of the confusion matrix."""
    confusion = np.zeros((CLASSES, CLASSES), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    np.fill_diagonal(confusion, 0)
    worst = [divmod(int(pair), CLASSES) for pair in confusion.ravel().argsort(kind="stable")[::-1][:pairs]]
    said = [f"{true} read as {read} ({confusion[true, read]})" for true, read in worst if confusion[true, read]]
    return f"Most often confused: {', '.join(said) or 'nothing'}"


def process_times() -> tuple[float, float, float]:
    """real, user and sys seconds of this process since it started."""
    import psutil

    times = os.times()
    return time.time() - psutil.Process().create_time(), times.user, times.system


def time_lines(real: float, user: float, system: float) -> str:
    """As the shell's `time` prints them."""
    lines = []
    for name, seconds in (("real", real), ("user", user), ("sys", system)):
        minutes, rest = divmod(round(seconds, 3), 60)  # rounded first: 59.9997 s are a minute
        lines.append(f"{name}\t{int(minutes)}m{rest:.3f}s")
    return "\n".join(lines)
