"""``python -m experiments.machines``: the article's comparison of machines, for any machine that ran the same job.

The two runs published in 2018 stand first. Every other column is a result file of ``rnn.train``, or this machine.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from experiments import _files, _header
from kernels import cli
from kernels.measure import results
from kernels.measure.results import Results

if TYPE_CHECKING:
    from experiments._jobs import Job
    from plots.machines import Run

EXAMPLES = """\
  python -m experiments.machines                                       the published runs alone
  python -m experiments.machines --measure --price 850 --results mine.json
  python -m experiments.machines mine.json yours.json --price 850 --price 2300 --plot machines.png
exit codes: 0 done, 1 the training failed, 2 wrong usage, or files that cannot be compared"""

JOB: tuple[str, ...] = ()  # what rnn.train is asked for: its defaults are the published job


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    with cli.errors_as_lines():
        from experiments import _jobs

        _check(options)
        jobs = load(options.files, options.price, published=not options.no_published)
        if options.measure:
            jobs += _measure(options, arguments, jobs)
        if not jobs:
            raise cli.CommandError("nothing to show: name a result file, or add --measure")
        jobs = _jobs.distinct(jobs)
        _show(jobs, options.years)
        if options.plot:
            from plots import machines

            _files.save_picture(machines.draw(runs(jobs)), options.plot)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.machines", "Compare machines by the time and cost of one job.", EXAMPLES)
    p.add_argument("files", nargs="*", type=Path, metavar="FILE", help="result files of rnn.train, one a machine")
    p.add_argument("--measure", action="store_true", help="run the published job here (minutes) and add this machine")
    p.add_argument(
        "--price",
        action="append",
        type=_price,
        default=[],
        metavar="DOLLARS",
        help="once for each file, in their order, the measured machine last; - where you do not know",
    )
    p.add_argument(
        "--years",
        type=cli.positive,
        default=3.0,
        metavar="Y",
        help="of use over which a price is spread (default: 3)",
    )
    p.add_argument("--no-published", action="store_true", help="leave out the two runs of 2018")
    p.add_argument("--results", type=Path, metavar="FILE", help="write what --measure measured (.json)")
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw it (.png, .svg or .pdf)")
    return p


def _price(text: str) -> float | None:
    return None if text == "-" else cli.positive(text)


def _check(options: argparse.Namespace) -> None:
    _files.require_writable(options)
    if options.results and not options.measure:
        raise cli.CommandError("--results writes what --measure measures; add --measure")
    machines = len(options.files) + options.measure
    if options.price and not machines:
        raise cli.CommandError("--price belongs to no machine: name a result file, or add --measure")
    if options.price and len(options.price) != machines:
        raise cli.CommandError(
            f"--price is given {len(options.price)} times for {machines} machines; "
            "give it once for each, and - for one whose price you do not know"
        )


def load(files: Sequence[Path], prices: Sequence[float | None], *, published: bool) -> list[Job]:
    """The jobs to compare: the published ones, then those of result files. Ends the command if they do not compare."""
    from experiments import _jobs
    from experiments._published import PUBLISHED

    jobs = list(PUBLISHED) if published else []
    names = ["the published run"] * len(jobs)
    for index, file in enumerate(files):
        own = _jobs.measured(cli.read_results(file), file, prices[index] if prices else None)
        jobs += own
        names += [str(file)] * len(own)
    _jobs.require_same(jobs, names)
    return jobs


def _measure(options: argparse.Namespace, arguments: list[str], others: Sequence[Job]) -> list[Job]:
    from experiments import _jobs
    from experiments._training import train

    busy = _header.warn_if_busy()
    trained = train("rnn.train", JOB, show=True)
    price = options.price[-1] if options.price else None
    found: Results = results.new(
        "experiments.machines", arguments, trained.points, ceilings=None, price=price, busy_cores=busy
    )
    # which GPU comes first, who used it knows
    found = msgspec.structs.replace(found, machine=trained.machine)
    cli.write_results(options.results, found)
    own = _jobs.measured(found, "this machine", price)
    if others:
        _jobs.require_same([others[0], *own], ["the other files", "this machine"])
    return own


def _show(jobs: Sequence[Job], years: float) -> None:
    from experiments import _jobs
    from experiments._tables import print_table, table

    made = table("One job on several machines", "", *(job.machine for job in jobs))
    for name, figures in _jobs.table_rows(jobs, years):
        made.add_row(name, *figures)
    print_table(made)
    for job in jobs:
        if job.caveat:
            print(f"{job.machine}: measured while {job.caveat}")
        if job.price is None and not job.published:
            print(f"{job.machine}: its price is not known; --price DOLLARS tells it")
    for job in jobs[1:]:
        print(sentence(job, jobs[0]))


def runs(jobs: Sequence[Job]) -> list[Run]:
    """The jobs as the picture shows them."""
    from plots.machines import Run

    return [
        Run(
            machine=job.machine if job.published else f"{job.machine}, {job.cores} cores",
            by=", ".join(filter(None, (job.kernel, job.engine))),
            published=job.published,
            price=job.price,
            real=job.real,
            accuracy=job.accuracy_first_128,
            steps=job.steps,
            transcript=job.transcript,
            caveat=job.caveat,
        )
        for job in jobs
    ]


def sentence(job: Job, first: Job) -> str:
    """One job's time against another's."""
    times = f"{first.real:.3f} s / {job.real:.3f} s = {first.real / job.real:.2f}"
    return f"{job.machine}: {times} times as fast as {first.machine}"


if __name__ == "__main__":
    main()
