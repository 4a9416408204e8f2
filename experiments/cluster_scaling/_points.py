"""A result file of experiments.cluster_scaling in numbers: speed-ups, and the model fitted to its parts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from experiments.cluster_scaling import _model as model
from kernels.measure.cluster import CostPoint, SharedPoint
from kernels.measure.results import Results
from kernels.measure.timing import spread

__all__ = ["ETHERNET", "MOST", "WORKS", "Network", "Scaling", "over", "predicted", "speed_up"]

MOST = 1000  # processes of the prediction
_POWERS = (*(2**power for power in range(10)), MOST)  # grids that are nearly square

WORKS = {
    ("training", "strong"): "training on {size} images shared by all",
    ("training", "weak"): "training on {size} images for each process",
    ("product", "strong"): "a product of n = {size} shared by all",
    ("product", "weak"): "a product of n = {size}·∛P, as many multiply-adds for each",
}


class Network(NamedTuple):
    """Latency in seconds, bandwidth in bytes/s, of one message."""

    latency: float
    bandwidth: float


ETHERNET = Network(30e-6, 1.25e9)  # 10 Gbit/s


@dataclass(frozen=True)
class Scaling:
    """A result file's points, and the model fitted to them."""

    shared: list[SharedPoint]
    parts: list[CostPoint]

    @classmethod
    def of(cls, found: Results) -> Scaling | None:
        """None where the file is of another experiment."""
        shared = found.of(SharedPoint)
        return cls(shared, found.of(CostPoint)) if shared else None

    @cached_property
    def costs(self) -> model.Costs:
        """Fitted to the medians of the parts."""

        def line(part: str) -> model.Line:
            own = [point for point in self.parts if point.part == part]
            sizes = [point.grain * -(-point.size // point.grain) for point in own]
            return model.fit(sizes, [spread(point.samples).median for point in own])

        grain = next(point.grain for point in self.parts if point.part == "step")
        return model.Costs(line("message"), line("add").each, line("step"), grain, line("panel"))

    def points(self, work: str, scaling: str) -> list[SharedPoint]:
        """Of processes with one thread each, fewest first."""
        own = [p for p in self.shared if (p.work, p.scaling, p.threads) == (work, scaling, 1)]
        return sorted(own, key=lambda point: point.processes)

    @property
    def errors(self) -> list[tuple[SharedPoint, float]]:
        """How far the model is from each measured point, relative; not where processes share cores."""
        return [
            (point, predicted(self.costs, work, point.processes, point.size) / spread(point.samples).median - 1)
            for work, scaling in WORKS
            for point in self.points(work, scaling)
            if not point.shares_cores
        ]

    def curve(self, work: str, scaling: str, costs: model.Costs) -> dict[int, float]:
        """The predicted speed-up over one process, by number of processes."""
        size = self.points(work, scaling)[0].size
        counts = _POWERS if work == "product" else range(1, (size if scaling == "strong" else MOST) + 1)
        one = predicted(costs, work, 1, size)
        return {
            count: _amount(work, scaled) / _amount(work, size) * one / predicted(costs, work, count, scaled)
            for count in counts
            for scaled in [model.size_of(work, scaling, count, size)]
        }


def predicted(costs: model.Costs, work: str, processes: int, size: int) -> float:
    """Seconds of a work."""
    return (model.training if work == "training" else model.product)(costs, processes, size)


def over(costs: model.Costs, network: Network) -> model.Costs:
    """The same processes with another network between them."""
    return costs._replace(message=model.Line(network.latency, 1 / network.bandwidth))


def _amount(work: str, size: int) -> int:
    """Of work, in images or multiply-adds."""
    return size if work == "training" else size**3


def speed_up(one: SharedPoint, point: SharedPoint) -> tuple[float, float, float]:
    """Quartiles, over the median of one process."""
    done = _amount(point.work, point.size) / _amount(one.work, one.size) * spread(one.samples).median
    low, median, high = spread([done / seconds for seconds in point.samples])
    return low, median, high
