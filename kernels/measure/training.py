"""Training as result files hold it: whole runs, single steps, and how far two programs agree."""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from kernels.measure.timeline import IMAGES
from kernels.measure.timing import Spread, spread

__all__ = ["AgreementPoint", "StepPoint", "TrainingPoint", "TranscriptLine"]

_INTERVAL = tuple[float, float]


class TranscriptLine(msgspec.Struct, frozen=True):
    """Loss and accuracy on a training batch after the update of this step."""

    step: int
    loss: float
    accuracy: float


class TrainingPoint(msgspec.Struct, frozen=True, tag="training"):
    """One training run; real, user and sys are seconds of the whole process, as the shell's `time` reports them.

    energy: joules of the whole machine meanwhile, by meter; empty where nothing told it. processes: that shared each
    batch, over MPI; real is the first one's, threads is of each, user and sys are of all. sm_clock: as of a
    MatmulPoint, when the training had ended.
    """

    kernel: str
    engine: str
    cell: str
    optimizer: str
    steps: int
    first_step: int
    batch_size: int
    hidden: int
    learning_rate: float
    seed: int
    threads: int
    verified_data: bool
    transcript: list[TranscriptLine]
    accuracy_first_128: float
    correct: int
    images: int
    interval: _INTERVAL
    training_seconds: float
    real: float
    user: float
    sys: float
    energy: dict[str, float] = {}
    processes: int = 1
    inputs: str = IMAGES
    sm_clock: int | None = None

    @property
    def accuracy(self) -> float:
        """Share of all test images that are recognised."""
        return self.correct / self.images


class StepPoint(msgspec.Struct, frozen=True, tag="step"):
    """One way to do a training step of the published network. Samples are seconds per step.

    loss: of the first step, from the same weights and batch for every contestant. sm_clock, rounds_to: as of a
    MatmulPoint. on_gpu: None in files that do not tell.
    """

    contestant: str
    batch_size: int
    hidden: int
    threads: int
    status: Literal["ok", "skipped", "failed"]
    reason: str | None = None
    loss: float | None = None
    first_call: float | None = None
    samples: list[float] = []
    cell: str = "lstm"
    optimizer: str = "sgd"
    inputs: str = IMAGES
    sm_clock: int | None = None
    rounds_to: str = "float32"
    on_gpu: bool | None = None

    @property
    def seconds(self) -> Spread:
        """Of a step; there must be samples."""
        return spread(self.samples)

    @property
    def ours(self) -> bool:
        """Whether it is an engine of this project, as the name's begin tells."""
        return self.contestant.startswith(("fused", "stepwise", "graph", "persistent"))


class AgreementPoint(msgspec.Struct, frozen=True, tag="agreement"):
    """An engine beside the reference, from the same weights and on the same batches.

    logits, gradients (by weight): norm of the difference over the norm of the reference's, on the first batch.
    losses, reference_losses: of each training step, before its update.
    """

    kernel: str
    engine: str
    mode: str
    cell: str
    optimizer: str
    hidden: int
    batch_size: int
    seed: int
    logits: float
    gradients: dict[str, float]
    losses: list[float]
    reference_losses: list[float]

    @property
    def loss_difference(self) -> float:
        """The largest of the losses' relative differences; NaN where one is, which max() could pass over."""
        pairs = zip(self.losses, self.reference_losses, strict=True)
        differences = [abs(ours - theirs) / abs(theirs) for ours, theirs in pairs]
        return math.nan if any(map(math.isnan, differences)) else max(differences)
