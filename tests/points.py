"""Points of result files, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from kernels.measure.results import TimelinePoint, TrainingPoint, TranscriptLine
from rnn import report


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
