"""``python -m experiments.gpu``: prove on a GPU all that has to be proved on one: tests, sanitizer, tuning, benchmarks.

`make gpu` installs what is needed and runs this. The result files land in experiments/results, named after the GPU.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

import kernels
from kernels import cli
from kernels.measure import machine

EXAMPLES = """\
  make gpu
  python -m experiments.gpu --skip sanitizer tune
  python -m experiments.gpu --limit 5
exit codes: 0 all done, 1 a step failed, 2 wrong usage, 3 no GPU"""

# relative, as result files hold the command they come from
RESULTS = Path(os.path.relpath(Path(__file__).parent / "results"))
STEPS = ("tests", "sanitizer", "tune", "race", "scaling", "roofline", "steps", "timeline", "training")


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with cli.errors_as_lines():
        own = kernels.names("cuda")
        able = [name for name in own if kernels.unavailable(name) is None]
        if not able:
            raise cli.CommandError(f"nothing to prove on a GPU here: {kernels.unavailable(own[-1])}", cli.ABSENT)
        for name in own:
            if reason := kernels.unavailable(name):
                print(f"left out: {name}: {reason}")
        commands = _commands(able)
        failed = []
        for step in STEPS:
            if step in options.skip:
                print(f"{step}: skipped")
            else:
                failed += [f"{step}: {reason}" for reason in _run(step, commands[step], options.limit)]
        if failed:
            raise cli.CommandError("; ".join(failed), cli.CHECK_FAILED)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.gpu", "Run everything that only a GPU can prove.", EXAMPLES)
    p.add_argument("--skip", nargs="+", choices=STEPS, default=[], metavar="STEP", help=f"of {', '.join(STEPS)}")
    p.add_argument(
        "--limit",
        type=cli.positive,
        default=30,
        metavar="MINUTES",
        help="end a command that takes longer, as a kernel that waits for ever would (default: %(default)s)",
    )
    return p


def _commands(able: list[str]) -> dict[str, list[list[str]]]:
    """The commands of each step."""
    python, sizes = [sys.executable, "-m"], [str(2**power) for power in range(7, 13)]
    chip = re.sub(r"[^a-z0-9]+", "-", machine.describe().gpus[0].name.lower().removeprefix("nvidia")).strip("-")

    def into(experiment: str) -> list[str]:
        return ["--results", str(RESULTS / f"{experiment}_{chip}.json")]

    def check(tool: str, *command: str) -> list[str]:
        # CUDA's calls that fail are told by the program itself; its libraries also make some to see what the driver has
        options = ["--tool", tool, "--report-api-errors", "no", "--error-exitcode", "1"]
        return ["compute-sanitizer", *options, *python, *command]

    tools = ("memcheck", "racecheck", "synccheck")
    verify = ["experiments.matmul_scaling", "--kernel", *able, "--verify-only", "--shapes", "131x67x261"]
    verify += ["--time-limit", "600"]  # under the sanitizer all take long, and none may be left out
    # the launches of the graph engine are those of the stepwise one
    train = ["rnn.train", "--kernel", "cuda", "--steps", "3", "--batch-size", "37", "--engine"]
    programs = (verify, [*train, "stepwise"], [*train, "persistent"])

    return {
        "tests": [[*python, "pytest", "-m", "gpu"]],
        "sanitizer": [check(tool, *command) for command in programs for tool in tools],
        "tune": [[*python, "kernels.tune"]],
        "race": [[*python, "experiments.gpu_race", *into("gpu_race")]],
        "scaling": [
            [*python, "experiments.matmul_scaling", "--kernel", *able, *into("matmul_scaling"), "--sizes", *sizes]
        ],
        "roofline": [
            [*python, "experiments.roofline", "--kernel", *able, *into("roofline"), "--sizes", "256", "1024", "4096"]
        ],
        "steps": [[*python, "experiments.training_race", "--kernel", "cuda", *into("training_race")]],
        "timeline": [[*python, "experiments.timeline", "--kernel", "cuda", *into("timeline")]],
        "training": [
            [*python, "experiments.machines", "--measure", "--results", str(RESULTS / "machines" / f"{chip}.json")]
        ],
    }


def _run(step: str, commands: list[list[str]], minutes: float) -> list[str]:
    """Run a step's commands, all of them, each for so many minutes at most; what went wrong with each that failed."""
    failed = []
    for command in commands:
        if shutil.which(command[0]) is None:
            print(f"{step}: {command[0]} is not installed, left out")
            break
        words = " ".join(command)
        print(f"{step}: {words}", flush=True)
        begin = time.perf_counter()
        with psutil.Popen(command) as process:
            try:
                code = process.wait(60 * minutes)
            except psutil.TimeoutExpired:
                with suppress(psutil.NoSuchProcess):  # it may end meanwhile
                    for one in process.children(recursive=True):
                        with suppress(psutil.NoSuchProcess):
                            one.kill()
                    process.kill()
                failed.append(f"ended after {minutes:g} minutes: {words}")
                continue
        if code:
            failed.append(f"exit code {code} from {words}")
        else:
            print(f"{step}: done in {time.perf_counter() - begin:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    main()
