"""``python -m experiments.thread_scaling``: what do more threads buy, and what do threads beyond the cores do?

From 1 thread to twice the cores: the parallel kernels on a square product, and a training step of each engine. The
serial share is fitted to what was measured up to the number of cores (Amdahl 1967): time = t₁·(s + (1 − s)/threads).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial

from experiments import _files, _header
from kernels import cli, progress, threads
from kernels.measure import results, timing
from kernels.measure.beyond import Beyond, by_work
from kernels.measure.results import Results, ThreadPoint
from kernels.measure.timing import spread

EXAMPLES = """\
  python -m experiments.thread_scaling
  python -m experiments.thread_scaling --size 512 --most 8 --plot threads.png
exit codes: 0 done, 2 wrong usage"""

_ALL = 1.1  # so much of a fitted share may be noise, and the share be all
KERNELS = ("cpu-blas", "cpu-numba-parallel", "cpu-numba-tiled", "cpu-numba-simd")


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser, options, "times by number of threads", _by_work, partial(_measure, options, arguments)
        )
        _show(found)
        if options.plot:
            from plots import threads as figure

            _files.save_picture(figure.draw(found), options.plot)


def _parser() -> cli.Parser:
    p = cli.Parser("python -m experiments.thread_scaling", "Speed-up against the number of threads.", EXAMPLES)
    p.add_argument("--size", type=cli.at_least(1), default=1024, metavar="N", help="NxN·NxN (default: %(default)s)")
    p.add_argument(
        "--most", type=cli.at_least(1), default=2 * threads.cores(), metavar="N",
        help="most threads (default: twice the cores, here %(default)s)",
    )  # fmt: skip
    p.add_argument("--rounds", type=cli.at_least(1), default=3, metavar="N", help="turns each (default: %(default)s)")
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    cli.use_threads(options.most)  # before Numba is imported: its pool never grows
    busy = _header.show()

    work = _work(options.size)
    points = []
    with progress.named(len(work)) as advance:
        for name, call in work.items():
            advance(name)
            call()
            samples = timing.alternate(
                {str(count): partial(_turn, count, call) for count in range(1, options.most + 1)}, options.rounds
            )
            points += [results.ThreadPoint(name, int(count), taken) for count, taken in samples.items()]
    cli.use_threads(options.most)
    return results.new("experiments.thread_scaling", arguments, points, ceilings=None, busy_cores=busy)


def _turn(count: int, call: Callable[[], object]) -> list[float]:
    threads.set_threads(count)
    return timing.turn(call)


def _work(size: int) -> dict[str, Callable[[], object]]:
    import numpy as np

    from experiments._contestants import same_start
    from rnn import engines
    from rnn.settings import Settings

    random = np.random.default_rng(0)
    a, b = (random.standard_normal((size, size), np.float32) for _ in range(2))
    out = np.empty((size, size), np.float32)
    work: dict[str, Callable[[], object]] = {}
    for name in KERNELS:
        kernel = cli.get_kernel(name)
        work[f"{name} at {size}"] = lambda kernel=kernel: kernel.matmul(a, b, out)  # type: ignore[misc]
    settings = Settings()
    kernel = cli.get_kernel("numba")
    _, x, labels = same_start(settings)
    for engine in reversed(engines.names(kernel)):
        running = engines.create(engine, kernel, settings)
        work[f"training step, {engine}"] = lambda running=running: running.train(x, labels)  # type: ignore[misc]
    return work


def serial_share(counts: Sequence[int], times: Sequence[float], cores: int) -> float | None:
    """Amdahl's s, 0 to 1, by least squares over the thread counts up to the cores.

    None where one count is all, and where more threads take longer than one: work that is serial takes as long.
    """
    shared = [(1 - 1 / n, t / times[0] - 1 / n) for n, t in zip(counts, times, strict=True) if 1 < n <= cores]
    if not shared:
        return None
    share = sum(x * y for x, y in shared) / sum(x * x for x, _ in shared)
    return None if share > _ALL else min(max(share, 0.0), 1.0)


def _by_work(found: Results) -> dict[str, dict[int, ThreadPoint]]:
    return by_work(found.points)


def _show(found: Results) -> None:
    from experiments._tables import marked, print_table, table

    cores = found.machine.threads
    points = _by_work(found)
    counts = sorted({count for own in points.values() for count in own})
    made = table(
        f"Speed-up over 1 thread; {cores} cores", "work", *(f"{count} threads" for count in counts), "serial share"
    )
    for work, own in points.items():
        taken = {count: spread(point.samples) for count, point in own.items()}
        times = [seconds.median for seconds in taken.values()]
        one, *_ = taken.values()
        speed_ups = (marked(f"{one.median / seconds.median:.2f}", one, seconds) for seconds in taken.values())
        share = serial_share(list(taken), times, cores)
        fitted = [seconds for count, seconds in taken.items() if count <= cores]
        made.add_row(work, *speed_ups, "–" if share is None else marked(f"{share:.1%}", *fitted))
    print_table(made)
    print("serial share: the part of one thread's time that more threads did not shorten, up to the cores (Amdahl)")
    if any(cell == "–" for cell in made.columns[-1].cells):
        print("–: none explains it, as where more threads took longer than one")
    if beyond := Beyond.of(found.points, cores):
        print(sentence(beyond, cores))


def sentence(beyond: Beyond, cores: int) -> str:
    """What more threads than cores buy, and what follows from it if anything does."""
    medians = [factor.median for factor in beyond.factors]
    factors = f"{min(medians):.2f} to {max(medians):.2f} times as fast as {cores}"
    if beyond.wait:
        return (
            f"Threads beyond the {cores} cores wait: {beyond.most} threads are {factors}.\n"
            "What computes, the cores' vector lanes and pipelines, is all at work already."
        )
    return (
        f"{beyond.most} threads are {factors}: these times do not show that threads beyond the {cores} cores wait; "
        "measure again on a quiet machine."
    )


if __name__ == "__main__":
    main()
