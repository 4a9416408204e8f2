"""Result files and their points, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from kernels.measure.limits import Ceilings, Level
from kernels.measure.results import MatmulPoint, Point, Results, TimelinePoint, TrainingPoint, TranscriptLine, new
from rnn import report


def matmul_point(kernel: str, size: int, seconds: float) -> MatmulPoint:
    """A square product on one thread, as long each time."""
    return MatmulPoint(kernel=kernel, m=size, k=size, n=size, threads=1, status="ok", samples=[seconds] * 7, error=0.1)


def results_of(points: list[Point], peak: float = 1e15, levels: tuple[Level, ...] = ()) -> Results:
    """What an experiment found on a machine with this peak, in FLOP/s."""
    return new("experiments.test", [], points, Ceilings(1, peak, 1e10), levels)


def training_point(correct: int = 8700, images: int = 10_000, **changes: Any) -> TrainingPoint:
    """A run with the published settings, in 100 s."""
    return TrainingPoint(
        **{
            "kernel": "cpu-numba-simd",
            "engine": "fused",
            "cell": "lstm",
            "optimizer": "sgd",
            "steps": 10_000,
            "first_step": 1,
            "batch_size": 128,
            "hidden": 128,
            "learning_rate": 0.001,
            "seed": 0,
            "threads": 2,
            "verified_data": True,
            "transcript": [TranscriptLine(1, 3.2, 0.1), TranscriptLine(10_000, 0.4, 0.875)],
            "accuracy_first_128": 0.875,
            "training_seconds": 90.0,
            "real": 100.0,
            "user": 180.0,
            "sys": 10.0,
        }
        | changes,
        correct=correct,
        images=images,
        interval=report.wilson(correct, images),
    )


def timeline_point(engine: str, spans: list[tuple[Any, float]], **changes: Any) -> TimelinePoint:
    """A step of these phases and seconds, as long unwatched as watched."""
    given = {"status": "ok", "clock": "x", "samples": [sum(seconds for _, seconds in spans)] * 7} | changes
    return TimelinePoint(engine, "cuda-cupy-tensor", 128, 128, 2, spans=spans, **given)
