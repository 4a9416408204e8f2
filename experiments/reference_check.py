"""``python -m experiments.reference_check``: do our network and TensorFlow's agree, number by number and in the end?

From one seed: logits, loss and the gradient of every weight, then the losses of 200 training steps. From several: the
accuracy after a whole run. At last the time of a training step, in turns. Each side has a process of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from experiments import _files, _header, _reference_tables
from experiments._apart import Apart
from kernels import cli, progress
from kernels.measure import results, timing
from kernels.measure.results import Point, Results, TrainingPoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rnn.engines import Engine
    from rnn.network import Weights
    from rnn.settings import Settings

EXAMPLES = """\
  python -m experiments.reference_check                        both cells, both optimizers, 5 seeds: above an hour
  python -m experiments.reference_check --seeds 0              without the whole runs: minutes
  python -m experiments.reference_check --cell lstm --optimizer sgd --seeds 2 --steps 1000 --results check.json
exit codes: 0 they agree, 1 they do not, 2 wrong usage, 3 TensorFlow or the kernel cannot run here"""

LOSSES = 200  # training steps whose losses are compared


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser,
            options,
            "comparison",
            lambda found: _reference_tables.agreements(found.points),
            partial(_measure, options, arguments),
        )
        _reference_tables.show(found.points)
        _reference_tables.judge(found.points)


def _parser() -> argparse.ArgumentParser:
    from rnn.cells import CELLS
    from rnn.optimizers import OPTIMIZERS
    from rnn.reference_network import MODES
    from rnn.settings import Settings

    default = Settings()
    p = cli.Parser("python -m experiments.reference_check", "Set our network beside TensorFlow's.", EXAMPLES)
    p.add_argument("--cell", nargs="+", choices=tuple(CELLS), default=tuple(CELLS), help="(default: all)")
    p.add_argument(
        "--optimizer", nargs="+", choices=tuple(OPTIMIZERS), default=tuple(OPTIMIZERS), help="(default: all)"
    )
    p.add_argument(
        "--mode", nargs="+", choices=MODES, default=MODES, help="of TensorFlow; the first trains (default: all)"
    )
    p.add_argument("--kernel", default="numba", metavar="NAME", help=f"{cli.kernel_help()} (default: %(default)s)")
    p.add_argument("--seeds", type=cli.at_least(0), default=5, metavar="K", help="whole runs (default: %(default)s)")
    p.add_argument("--steps", type=cli.at_least(1), default=10_000, metavar="N", help="of each (default: %(default)s)")
    p.add_argument("--batch-size", type=cli.at_least(1), default=default.batch_size, metavar="N", help="(default: 128)")
    p.add_argument("--hidden", type=cli.at_least(1), default=default.hidden, metavar="N", help="(default: 128)")
    p.add_argument("--data", type=Path, metavar="DIR", help="as for rnn.train")
    p.add_argument(
        "--rounds", type=cli.at_least(0), default=5, metavar="N", help="turns each, 0: no timing (default: 5)"
    )
    cli.add_threads(p)
    _files.add_options(p, picture=False)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    from rnn.reference_network import why_absent

    if reason := why_absent():
        raise cli.CommandError(reason, cli.ABSENT)
    cli.use_threads(options.threads)  # before a kernel imports Numba
    cli.get_kernel(options.kernel)

    busy = _header.show()
    return results.new("experiments.reference_check", arguments, _compare(options), ceilings=None, busy_cores=busy)


def _compare(options: argparse.Namespace) -> list[Point]:
    """Every cell with every optimizer; the whole runs come last, as they take longest."""
    from rnn.settings import Settings

    points: list[Point] = []
    every = [
        Settings(cell=cell, optimizer=optimizer, batch_size=options.batch_size, hidden=options.hidden)
        for cell, optimizer in product(options.cell, options.optimizer)
    ]
    with progress.named(len(every) * (1 + 2 * options.seeds)) as advance:
        for settings in every:
            advance(f"{settings.cell}, {settings.optimizer}: side by side")
            points += _side_by_side(options, settings)
        for settings, seed in product(every, range(options.seeds)):
            for module, own in (
                ("rnn.train", ["--kernel", options.kernel]),
                ("rnn.reference", ["--mode", options.mode[0]]),
            ):
                advance(f"{settings.cell}, {settings.optimizer}: seed {seed}, {module}")
                points.append(_whole_run(module, own, options, settings, seed))
    return points


def _side_by_side(options: argparse.Namespace, settings: Settings) -> list[Point]:
    from rnn import engines

    agreements: list[Point] = []
    chosen = cli.get_kernel(options.kernel)
    kernel, engine = chosen.name, engines.choose("auto", chosen, settings)
    with ExitStack() as processes:

        def start(name: str, create: Callable[[], Engine]) -> Apart:
            side = partial(Side, create, settings, options.data)
            return processes.enter_context(Apart(name, side, options.threads))

        ours = start("our engine", partial(_our_engine, engine, kernel, settings))
        sides = {f"{engine}, {kernel}": ours}
        (logits, gradients), losses = ours.call("first_batch"), ours.call("losses", LOSSES)
        for mode in options.mode:
            sides[f"TensorFlow, {mode}"] = theirs = start(
                f"TensorFlow, {mode}", partial(_reference, mode, settings, options.threads)
            )
            their_logits, their_gradients = theirs.call("first_batch")
            agreements.append(
                results.AgreementPoint(
                    kernel=kernel,
                    engine=engine,
                    mode=mode,
                    cell=settings.cell,
                    optimizer=settings.optimizer,
                    hidden=settings.hidden,
                    batch_size=settings.batch_size,
                    seed=settings.seed,
                    logits=_distance(logits, their_logits),
                    gradients={name: _distance(gradients[name], theirs) for name, theirs in their_gradients.items()},
                    losses=losses,
                    reference_losses=theirs.call("losses", LOSSES),
                )
            )
        turns = {name: partial(side.call, "turn") for name, side in sides.items()} if options.rounds else {}
        taken = timing.alternate(turns, options.rounds)
    setting = {"threads": options.threads, "cell": settings.cell, "optimizer": settings.optimizer}
    setting |= {"batch_size": settings.batch_size, "hidden": settings.hidden}
    return agreements + [
        results.StepPoint(name, status="ok", samples=samples, **setting) for name, samples in taken.items()
    ]


def _distance(ours: NDArray, theirs: NDArray) -> float:
    """Norm of the difference over the norm of theirs, computed in float64."""
    import numpy as np

    exact = theirs.astype(np.float64)
    return float(np.linalg.norm(ours - exact) / np.linalg.norm(exact))


class Side:
    """An engine and the batches it sees, in a process of their own."""

    def __init__(self, create: Callable[[], Engine], settings: Settings, data: Path | None) -> None:
        from rnn.batches import Batches
        from rnn.data import load

        train = load(data).train
        self._engine = create()
        self._batches = Batches(train, settings.batch_size, settings.seed, self._engine.place)

    def first_batch(self) -> tuple[NDArray, Weights]:
        """Logits (N,10) and the gradient by every weight, before any update, in the host's memory."""
        from rnn.arrays import to_host

        x, labels = self._batches[0]
        _, gradients = self._engine.loss_and_gradients(x, labels)
        return self._engine.logits(x), {name: to_host(gradient) for name, gradient in gradients.items()}

    def losses(self, steps: int) -> list[float]:
        """Of the next training steps, each before its update."""
        return [float(self._engine.train(*self._batches[step])) for step in range(steps)]

    def turn(self) -> list[float]:
        """Seconds of a few training steps, one by one."""
        x, labels = self._batches[0]
        return timing.turn(lambda: float(self._engine.train(x, labels)))  # to read the loss is to wait for a GPU


def _our_engine(name: str, kernel: str, settings: Settings) -> Engine:
    from rnn import engines

    return engines.create(name, cli.get_kernel(kernel), settings)


def _reference(mode: str, settings: Settings, threads: int) -> Engine:
    from rnn.reference_network import Reference, TensorFlowAbsent

    try:
        return Reference(settings, mode, threads)
    except TensorFlowAbsent as error:
        raise cli.CommandError(str(error), cli.ABSENT) from error


def _whole_run(
    module: str, own: list[str], options: argparse.Namespace, settings: Settings, seed: int
) -> TrainingPoint:
    from experiments._training import train

    arguments = [*own, "--cell", settings.cell, "--optimizer", settings.optimizer, "--seed", str(seed)]
    arguments += ["--batch-size", str(settings.batch_size), "--hidden", str(settings.hidden)]
    arguments += ["--steps", str(options.steps), "--threads", str(options.threads)]
    arguments += ["--data", str(options.data)] if options.data else []
    (point,) = train(module, arguments, show=False).of(TrainingPoint)
    return point


if __name__ == "__main__":
    main()
