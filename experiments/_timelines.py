"""How experiments.timeline sees what a training step is at, moment by moment: a way for each engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments._contestants import CALLS, CHECKED_STEPS, same_start
from kernels import cli
from kernels.cuda.activity import Activity, CannotRecord, recording
from kernels.measure import machine, timing
from kernels.measure.timeline import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnn.fused_cpu import FusedCPU
    from rnn.persistent_cuda import PersistentCUDA
    from rnn.settings import Settings

    Span = tuple[Phase, float]

__all__ = ["Recorded", "Watched", "launches"]

RECORDED = 13  # steps; the picture shows the one of median length
_LAUNCHED: dict[str, Phase] = {
    "lstm_forward": "gates",
    "lstm_backward": "gates",
    "softmax_cross_entropy": "loss, sums, update",
    "column_sums": "loss, sums, update",
    "descend": "loss, sums, update",
    "memory": "gates",
}
_STAMPED: dict[str, Phase] = {  # of rnn/persistent_cuda.py
    "weights": "weights",
    "product": "matmul",
    "gates": "gates",
    "barrier": "barrier",
    "loss": "loss, sums, update",
    "grid barrier": "grid barrier",
    "gradients": "matmul",
    "update": "loss, sums, update",
}
_MARKED: dict[str, Phase] = {  # of rnn/fused_cpu.py
    "weights": "weights",
    "slices": "matmul and gates",
    "sums": "loss, sums, update",
    "update": "loss, sums, update",
}


class Recorded(NamedTuple):
    """spans, samples, clock, sm_clock: as TimelinePoint has them. reason: why there are none."""

    spans: list[Span]
    samples: list[float]
    clock: str
    reason: str | None = None
    sm_clock: int | None = None


class Watched:
    """An engine in a process of its own: first checked, then timed, then recorded."""

    def __init__(self, engine: str, kernel: str, settings: Settings) -> None:
        from rnn import engines

        self._name, self._settings, self._kernel = engine, settings, cli.get_kernel(kernel)
        self._on_gpu = self._kernel.spec.family == "cuda"
        self._engine = engines.create(engine, self._kernel, settings)
        _, x, labels = same_start(settings)
        self._x, self._labels = self._engine.place(x), self._engine.place(labels)

    def begin(self) -> tuple[list[float], dict[str, NDArray]]:
        """The losses of the first steps, and the first gradients."""
        from rnn.arrays import to_host

        _, gradients = self._engine.loss_and_gradients(self._x, self._labels)
        copies = {name: to_host(array).copy() for name, array in gradients.items()}
        return [float(self._engine.train(self._x, self._labels)) for _ in range(CHECKED_STEPS)], copies

    def record(self) -> Recorded:
        """A step, or why it cannot be told what it is at."""
        calls = CALLS if self._on_gpu else 1

        def steps() -> None:
            loss = [self._engine.train(self._x, self._labels) for _ in range(calls)][-1]
            float(loss)  # to read it is to wait for the GPU

        def unwatched() -> list[float]:
            return [seconds / calls for seconds in timing.repeat(steps, min_time=0.5)]

        samples = unwatched()
        sm_clock = machine.sm_clock() if self._on_gpu else None
        ways: dict[str, Callable[[], tuple[list[Span], str]]] = {
            "fused": self._marked,
            "persistent": partial(self._stamped, samples),
        }
        way = ways.get(self._name, self._launched if self._on_gpu else self._products)
        try:
            spans, clock = way()
        except CannotRecord as error:
            return Recorded([], [], "", str(error))
        if not self._on_gpu:  # where CUPTI, once begun, may slow the launches
            samples += unwatched()  # after as before, as the speed of a machine drifts
        return Recorded(spans, samples, clock, sm_clock=sm_clock)

    def _products(self) -> tuple[list[Span], str]:
        """The stepwise engine on a CPU: a clock around each product, and what lies between is the rest."""
        from rnn.stepwise import Stepwise

        watch, steps = _Stopwatch(), len(self._x)

        def matmul(a: NDArray, b: NDArray, out: NDArray) -> None:
            # a product for each time step, then the output's; before its two gradients stands the loss
            done = len(watch.spans) // 2
            watch.until_now("loss, sums, update" if done in (steps + 1, steps + 2) else "gates")
            self._kernel.matmul(a, b, out)
            watch.until_now("matmul")

        engine = Stepwise(self._settings, matmul)

        def step() -> list[Span]:
            watch.begin()
            engine.train(self._x, self._labels)
            watch.until_now("loss, sums, update")
            return watch.spans

        return _several(step), "the host's clock"

    def _marked(self) -> tuple[list[Span], str]:
        """The fused engine: a mark between its parallel regions."""
        engine: FusedCPU = self._engine  # type: ignore[assignment]
        watch = _Stopwatch()

        def step() -> list[Span]:
            watch.begin()
            engine.train(self._x, self._labels, lambda mark: watch.until_now(_MARKED[mark]))
            return watch.spans

        return _several(step), "the host's clock"

    def _launched(self) -> tuple[list[Span], str]:
        """The stepwise and the graph engine on a GPU: its records of each launch."""
        from rnn import engines

        with recording() as record:
            # anew, as a graph made before is not seen into
            engine = engines.create(self._name, self._kernel, self._settings)
            engine.prepare(self._x, self._labels)
            activities = record(lambda: [engine.train(self._x, self._labels) for _ in range(RECORDED + 2)])
        return _middle(launches(activities, RECORDED + 2)), "CUPTI"

    def _stamped(self, samples: list[float]) -> tuple[list[Span], str]:
        """The persistent engine: what block 0 stamped, in clocks of its SM.

        The clock's rate makes seconds of them. To stretch them to a step's measured time instead would hide what a step
        takes beyond its kernel: that is the gap between two launches, and is shown as one.
        """
        engine: PersistentCUDA = self._engine  # type: ignore[assignment]
        stamped = [engine.phases(self._x, self._labels) for _ in range(RECORDED)]
        megahertz = machine.sm_clock()  # at once: a GPU that is idle for long slows down
        if megahertz is None:
            raise CannotRecord("the driver does not tell the clock of the GPU's multiprocessors")
        spans = _middle([[(_STAMPED[phase], clocks / megahertz / 1e6) for phase, clocks in step] for step in stamped])
        gap = median(samples) - _length(spans)
        return [*spans, ("launch gap", gap)] if gap > 0 else spans, "the clock of block 0"


def launches(activities: Sequence[Activity], steps: int) -> list[list[Span]]:
    """What the GPU was at in each step but the first, which no step precedes, and the last, whose end no step shows.

    A step goes from its first launch to that of the next step. Besides the kernels of gates.cu and CuPy's own, which
    copy and fill, an engine launches only its products, whatever their kernel calls itself. Raises CannotRecord.
    """
    count = len(activities) // steps
    names = [activity.name for activity in activities]
    if not count or names != names[:count] * steps:
        raise CannotRecord(f"CUPTI has {len(activities)} records, not the same ones for each of {steps} steps")
    found = []
    for first in range(count, (steps - 1) * count, count):
        spans: list[Span] = []
        busy = 0
        for one, after in pairwise(activities[first : first + count + 1]):
            # two may overlap: the second counts from its begin
            busy = max(busy, one.end)
            done = min(busy, after.begin)
            spans.append((_phase(one.name), (done - one.begin) / 1e9))
            if done < after.begin:
                spans.append(("launch gap", (after.begin - done) / 1e9))
        found.append(spans)
    return found


def _phase(name: str) -> Phase:
    return "gates" if name.startswith("cupy_") else _LAUNCHED.get(name, "matmul")


class _Stopwatch:
    """What a step was at, and until when."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.spans: list[Span] = []
        self._last = time.perf_counter()

    def until_now(self, phase: Phase) -> None:
        now = time.perf_counter()
        self.spans.append((phase, now - self._last))
        self._last = now


def _several(step: Callable[[], list[Span]]) -> list[Span]:
    timing.settle(step)
    return _middle([step() for _ in range(RECORDED)])


def _middle(steps: list[list[Span]]) -> list[Any]:
    """The step of median length."""
    return sorted(steps, key=_length)[len(steps) // 2]


def _length(spans: list[Span]) -> float:
    return sum(seconds for _, seconds in spans)
