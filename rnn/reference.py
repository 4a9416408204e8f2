"""``python -m rnn.reference``: the published network in TensorFlow 2, from our initial weights and on our batches.

What it prints and writes is what ``python -m rnn.train`` does, so two runs can be laid side by side.
"""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from kernels import cli
from rnn import checkpoint
from rnn.reference_network import MODES, Reference, TensorFlowAbsent, why_absent
from rnn.run import Run
from rnn.train import add_run_options

EXAMPLES = """\
  python -m rnn.reference                                  the published run: 10,000 steps
  python -m rnn.reference --mode xla --steps 1000 --results xla.json
  python -m rnn.reference --cell elman --optimizer adam --steps 4000
exit codes: 0 done, 1 a check failed, 2 wrong usage, 3 TensorFlow is not installed, 130 interrupted"""


def parser() -> argparse.ArgumentParser:
    """The options of rnn.train that have a meaning here; the reference keeps no checkpoints."""
    p = cli.Parser("python -m rnn.reference", "Train the same network in TensorFlow, to compare with.", EXAMPLES)
    p.add_argument(
        "--mode",
        choices=MODES,
        default=MODES[0],
        help="the network written out as one graph, the same compiled by XLA, or Keras's layers (default: %(default)s)",
    )
    add_run_options(p)
    p.set_defaults(kernel=None, checkpoint=None, checkpoint_every=None, resume=False)
    return p


def main(arguments: list[str] | None = None) -> None:
    """Run the command; leaves through SystemExit where the exit code is not 0."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    with cli.errors_as_lines():
        cli.require_results(options.results)
        if reason := why_absent():
            raise cli.CommandError(reason, cli.ABSENT)
        ReferenceRun(options, arguments).go()


class ReferenceRun(Run):
    """A run whose engine is TensorFlow's."""

    module = "rnn.reference"
    kernel, compiles = "tensorflow", True

    def _choose_engine(self, saved: checkpoint.Checkpoint | None) -> None:
        self.engine_name = self.options.mode
        try:
            engine = Reference(self.settings, self.options.mode, self.options.threads)
        except TensorFlowAbsent as error:
            raise cli.CommandError(str(error), cli.ABSENT) from error
        self.engine, self._version = engine, engine.version

    def _what_trains(self) -> str:
        return f"{self.kernel} {self._version}, {self.engine_name}"

    def _stop(self) -> NoReturn:
        raise cli.CommandError(
            f"interrupted after step {self.step}; the reference keeps no checkpoints", cli.INTERRUPTED
        )


if __name__ == "__main__":
    main()
