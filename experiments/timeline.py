"""``python -m experiments.timeline``: where do the microseconds of one training step go, engine by engine?

Each engine must first agree with float64 on gradients and losses. What a step is at is told on a CPU by the host's
clock around each product or parallel region, on a GPU by the records of each launch, and by what the persistent
kernel stamps. To watch costs time, so the same steps are also timed unwatched.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import _files, _header
from experiments._apart import Apart
from experiments._contestants import RATE, Expected
from experiments._timelines import Recorded, Watched
from kernels import cli, progress
from kernels.measure import results
from kernels.measure.results import Results, TimelinePoint
from kernels.measure.timeline import microseconds
from kernels.measure.timing import spread

if TYPE_CHECKING:
    from kernels import Kernel
    from rnn.settings import Settings

EXAMPLES = """\
  python -m experiments.timeline                            the engines of the GPU, or of the CPU where there is none
  python -m experiments.timeline --kernel numba --plot timeline.png
  python -m experiments.timeline --kernel cuda cuda-cublas --results timeline.json
  python -m experiments.timeline --from timeline.json --plot timeline.svg
exit codes: 0 done, 1 an engine is wrong, 2 wrong usage, 3 a kernel asked for cannot run here"""


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser, options, "timelines", lambda found: found.of(TimelinePoint), partial(_measure, options, arguments)
        )
        points = found.of(TimelinePoint)
        _show(points)
        if options.plot:
            _draw(found, options.plot)
        wrong = [f"{point.name}: {point.reason}" for point in points if point.status == "failed"]
        if wrong:
            raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


def _draw(found: Results, path: Path) -> None:
    from plots import timeline

    if any(point.spans for point in found.of(TimelinePoint)):
        _files.save_picture(timeline.draw(found), path)
    else:
        print(f"{path} is not drawn: nothing could be recorded")


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.timeline", "Show what a training step is at, moment by moment.", EXAMPLES)
    p.add_argument("--kernel", nargs="+", default=["auto"], metavar="NAME", help=f"{cli.kernel_help()} (default: auto)")
    p.add_argument("--batch-size", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    p.add_argument("--hidden", type=cli.at_least(1), default=128, metavar="N", help="(default: %(default)s)")
    cli.add_threads(p)
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    cli.use_threads(options.threads)
    chosen = {kernel.name: kernel for kernel in map(cli.get_kernel, options.kernel)}

    if others := [name for name, kernel in chosen.items() if kernel.spec.family == "mpi"]:
        raise cli.CommandError(f"{others[0]} runs in other processes too, which cannot be watched from this one")

    from rnn import engines
    from rnn.settings import Settings

    busy = _header.show()
    settings = Settings(batch_size=options.batch_size, hidden=options.hidden, learning_rate=RATE)
    expected = Expected.of(settings)
    # the slowest first: each shows what the next takes away
    entries = [(engine, kernel) for kernel in chosen.values() for engine in reversed(engines.names(kernel))]
    points = []
    with progress.named(len(entries)) as advance:
        for engine, kernel in entries:
            advance(f"{engine}, {kernel.name}")
            points.append(_point(engine, kernel, settings, options.threads, expected))
    return results.new("experiments.timeline", arguments, points, ceilings=None, busy_cores=busy)


def _point(engine: str, kernel: Kernel, settings: Settings, threads: int, expected: Expected) -> TimelinePoint:
    from rnn import engines

    point = partial(TimelinePoint, engine, kernel.name, settings.batch_size, settings.hidden, threads)
    try:
        engines.choose(engine, kernel, settings)
    except engines.UnsupportedEngine as error:
        return point("skipped", str(error).partition(";")[0])
    name = f"{engine}, {kernel.name}"
    with Apart(name, partial(Watched, engine, kernel.name, settings), threads) as watched:
        try:
            losses, gradients = watched.call("begin")
            if wrong := expected.disagreement(losses, gradients, engines.rounds_to(engine, kernel)):
                return point("failed", wrong)
            found: Recorded = watched.call("record")
        except cli.CommandError as error:  # the others are watched without it
            return point("failed", str(error))
    if found.reason:
        return point("skipped", found.reason)
    return point("ok", None, found.clock, found.spans, found.samples, found.sm_clock)


def _show(points: list[TimelinePoint]) -> None:
    from experiments._tables import marked, print_table, table

    told = [point for point in points if point.spans]
    if told:
        made = table(
            f"One training step; batch {told[0].batch_size}, hidden {told[0].hidden}", "by", "at", "µs", "share"
        )
        made.columns[1].justify = "left"
        for point in told:
            for row, (phase, seconds) in enumerate(point.phases.items()):
                made.add_row("" if row else point.name, phase, microseconds(seconds), f"{seconds / point.seconds:.1%}")
            made.add_row("", "the step", microseconds(point.seconds), "")
            unwatched = spread(point.samples)
            took = marked(microseconds(unwatched.median), unwatched)
            made.add_row("", "the step, unwatched", took, "", end_section=True)
        print_table(made)
    for point in points:
        print(sentence(point) if point.spans else f"{point.name} {point.status}: {point.reason}")


def sentence(point: TimelinePoint) -> str:
    """What the step of an engine is about."""
    own, whole = point.phases, point.seconds

    def share(*phases: str) -> str:
        return f"{sum(seconds for phase, seconds in own.items() if phase in phases) / whole:.0%}"

    of = f"of a step's {microseconds(whole)} µs are"
    gaps = point.count("launch gap")
    if gaps > 1:
        return f"{point.name}: {share('launch gap')} {of} gaps between {len(point.spans) - gaps} kernels"
    if "barrier" in own or "grid barrier" in own:
        return (
            f"{point.name}: {share('barrier', 'grid barrier')} {of} waits, {share('barrier')} for a block's other "
            f"threads and {share('grid barrier')} for all blocks; {share('matmul')} are products"
        )
    if "matmul and gates" in own:
        return f"{point.name}: {share('matmul and gates')} {of} one parallel region, in which nobody waits for anybody"
    return f"{point.name}: {share('matmul')} {of} {point.count('matmul')} products, the rest is what lies between them"


if __name__ == "__main__":
    main()
