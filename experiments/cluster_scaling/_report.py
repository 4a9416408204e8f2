"""What experiments.cluster_scaling says: measured beside predicted, and what limits the scaling, as table and text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.cluster_scaling import _model as model
from experiments.cluster_scaling._points import ETHERNET, MOST, WORKS, Network, Scaling, over, predicted, speed_up
from kernels.measure.timing import ratio, spread

if TYPE_CHECKING:
    from plots.cluster import Panel

__all__ = ["panels", "sentences", "show"]


def show(scaling: Scaling, other: Network) -> None:
    """One table, and sentences."""
    from experiments._tables import marked, print_table, table

    made = table("Processes of one thread", "work, scaling", "processes", "size", "ms", "model", "error", "efficiency")
    for work, kind in WORKS:
        points = scaling.points(work, kind)
        for point in points:
            seconds, count = spread(point.samples), point.processes
            model_seconds = predicted(scaling.costs, work, count, point.size)
            made.add_row(
                f"{work}, {kind}",
                f"{count} shared" if point.shares_cores else str(count),
                f"{point.size:,}",
                marked(f"{seconds.median * 1e3:.2f}±{seconds.half_range * 1e3:.2f}", seconds),
                f"{model_seconds * 1e3:.2f}",
                "" if point.shares_cores else f"{model_seconds / seconds.median - 1:+.1%}",
                f"{speed_up(points[0], point)[1] / count:.0%}",
            )
    print_table(made)
    if any(point.shares_cores for point in scaling.shared):
        print("shared: more processes than cores, which the model knows nothing of and is not judged by.")
    for sentence in sentences(scaling, other):
        print(sentence)


def sentences(scaling: Scaling, other: Network) -> list[str]:
    """How good the model is, what it is made of, what limits the scaling, and processes against threads."""
    return [_judgement(scaling), _made_of(scaling.costs), *_limits(scaling, other), *_threads(scaling)]


def _judgement(scaling: Scaling) -> str:
    point, error = max(scaling.errors, key=lambda found: abs(found[1]))
    where = f"{point.work}, {point.scaling} scaling, {_processes(point.processes)}"
    doubt = ", whose times are unsteady: measure again" if spread(point.samples).unsteady else ""
    return f"The model's largest error at the {len(scaling.errors)} measured points is {error:+.1%} ({where}){doubt}."


def _made_of(costs: model.Costs) -> str:
    message, step, panel = costs.message, costs.step, costs.panel
    grain = f", {costs.grain} at a time" if costs.grain > 1 else ""
    return (
        f"It is made of: a message, {message.fixed * 1e6:.1f} µs and {message.each * 1e9:.3f} ms/MB; adding, "
        f"{costs.add * 1e9:.3f} ms/MB; a step, {step.fixed * 1e3:.2f} ms and {step.each * 1e3:.3f} ms an image{grain}; "
        f"two panels, {panel.fixed * 1e6:.1f} µs and {panel.each * 1e12:.1f} ps a multiply-add."
    )


def _limits(scaling: Scaling, other: Network) -> list[str]:
    networks = {"as measured here": scaling.costs, f"over {named(other)}": over(scaling.costs, other)}
    said = []
    for (work, kind), what in WORKS.items():
        size = scaling.points(work, kind)[0].size
        ends = []
        for network, costs in networks.items():
            curve = scaling.curve(work, kind, costs)
            half = next((count for count, speed_up in curve.items() if speed_up < count / 2), None)
            last = max(curve)
            ends.append(
                f"{network} {_percent(curve[last] / last)} with {last:,} processes"
                + (f", and below one half from {half:,} on" if half else "")
            )
        said.append(f"Efficiency of {what.format(size=size)}: {'; '.join(ends)}.")
    return [*said, *_step(scaling, networks)]


def _step(scaling: Scaling, networks: dict[str, model.Costs]) -> list[str]:
    """Where the time of a step goes, at the number of processes where half of it is lost over the last network."""
    costs = list(networks.values())[-1]
    images = scaling.points("training", "strong")[0].size
    curve = scaling.curve("training", "strong", costs)
    count = next((count for count, speed_up in curve.items() if speed_up < count / 2), max(curve))
    whole, share = model.training(costs, count, images), -(-images // count)
    summing = model.allreduce(costs.message, costs.add, model.SUMMED, count)
    latency = model.allreduce(costs.message, costs.add, 0, count)
    filled = costs.grain * -(-share // costs.grain)
    as_long = f" (as long as that of {filled})" if filled > share else ""
    return [
        f"With {count} processes {list(networks)[-1]} a step takes {whole * 1e3:.1f} ms: {(whole - summing) * 1e3:.1f} "
        f"for the arithmetic of {share} images{as_long}, {latency * 1e3:.2f} for the latency of the sum's messages, "
        f"{(summing - latency) * 1e3:.2f} for its {model.SUMMED / 1e3:.0f} KB."
    ]


def _threads(scaling: Scaling) -> list[str]:
    """Processes of one thread against one process of as many threads."""
    said = []
    for work, what in (("training", "the training steps a second"), ("call", "the products of n = {size} a second")):
        for one in (point for point in scaling.shared if point.work == work and point.threads > 1):
            own = next((p for p in scaling.points(work, "strong") if p.processes == one.threads), None)
            if own:
                said.append(f"{ratio(one.samples, own.samples)} times {what.format(size=one.size)}")
                count = one.threads
    if not said:
        return []
    return [f"{_processes(count)} of one thread do {' and '.join(said)} of one process of {count} threads."]


def named(network: Network) -> str:
    """As a sentence names it."""
    said = f"{network.latency * 1e6:g} µs and {network.bandwidth / 1e9:g} GB/s"
    return f"10 Gbit/s Ethernet ({said})" if network == ETHERNET else f"a network of {said}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share > 0.01 else f"{share:.1%}"


def _processes(count: int) -> str:
    return f"{count} process{'es' if count > 1 else ''}"


def panels(scaling: Scaling, other: Network) -> list[Panel]:
    """What plots.cluster draws."""
    from plots.cluster import Panel

    grain = scaling.costs.grain
    notes = {
        ("training", "strong"): f"fewer than {grain} images take as long as {grain}" if grain > 1 else "",
        ("training", "weak"): f"a batch of {{size:,}} images for {MOST:,} processes",
        ("product", "weak"): f"n = {{size:,}} for {MOST:,} processes",
    }
    drawn = []
    for (work, kind), what in WORKS.items():
        points = scaling.points(work, kind)
        drawn.append(
            Panel(
                what.format(size=points[0].size),
                {point.processes: speed_up(points[0], point) for point in points},
                frozenset(point.processes for point in points if point.shares_cores),
                {
                    "model, as measured here": scaling.curve(work, kind, scaling.costs),
                    f"model, over {named(other)}": scaling.curve(work, kind, over(scaling.costs, other)),
                },
                notes.get((work, kind), "").format(size=model.size_of(work, kind, MOST, points[0].size)),
            )
        )
    return drawn
