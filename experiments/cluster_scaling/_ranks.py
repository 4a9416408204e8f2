"""What every process of a group runs for experiments.cluster_scaling; the first writes the points to stdout.

Started as ``mpiexec -n 4 python -m experiments.cluster_scaling._ranks ORDER``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from kernels import cli
from kernels.measure.cluster import CostPoint, SharedPoint
from kernels.quota import within_quota
from kernels.threads import own_cores
from rnn.team import why_no_team

if TYPE_CHECKING:
    from rnn.mpi_team import MPITeam

__all__ = ["Order"]


class Order(msgspec.Struct):
    """What a group is to do. images, n: of the whole work, for strong and for weak scaling.

    check: first compare products with float64, and losses with those of one process.
    """

    threads: int
    images: dict[str, int]
    n: dict[str, int]
    samples: int
    check: bool


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    with cli.errors_as_lines():
        if reason := why_no_team():
            raise cli.CommandError(reason, cli.ABSENT)
        cli.use_threads(order.threads)  # before Numba is imported: its pool never grows
        from rnn.mpi_team import MPITeam

        team = MPITeam()
        with team.as_one():
            points = list(_points(order, team))
            print(msgspec.json.encode(points).decode())


def _points(order: Order, team: MPITeam) -> Iterator[SharedPoint | CostPoint]:
    from experiments.cluster_scaling import _costs as costs
    from experiments.cluster_scaling import _work as work

    shares_cores = _cores_each(team) < order.threads

    def point(kind: str, scaling: str, size: int, samples: list[float]) -> SharedPoint:
        return SharedPoint(kind, scaling, team.size, order.threads, size, shares_cores, samples)  # type: ignore[arg-type]

    for scaling, images in order.images.items():
        yield point("training", scaling, images, work.training(team, images, order.samples, order.check))
    for scaling, n in order.n.items():
        if order.check:
            work.check_product(team, n)
        yield point("product", scaling, n, work.product(team, n, order.samples))
        if scaling == "strong":
            yield point("call", scaling, n, work.call(team, n, order.samples))
    if order.threads == team.size == 1:
        yield from costs.of_one()
    if team.size == 2:
        yield from costs.of_two(team, order.samples)


def _cores_each(team: MPITeam) -> float:
    """Cores of a machine for each process on it, where they are fewest."""
    here = [cores for host, cores in team.gather((team.host, own_cores())) if host == team.host]
    return min(team.gather(within_quota(len(set().union(*here))) / len(here)))


if __name__ == "__main__":
    main()
