"""A training command as a process of its own, timed as the shell's `time` does it, and its energy."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from kernels import cli
from kernels.measure.energy import Meters
from kernels.measure.results import Results, TrainingPoint

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["train"]


def train(module: str, arguments: Sequence[str], *, show: bool) -> Results:
    """What `python -m module` wrote of one run, with real, user, sys and energy of the whole process.

    show: pass its lines on. Where it fails, its own error line and exit code end the command.
    """
    # stderr is a file: a pipe is read only after stdout's end, and a child that fills it before would wait for ever
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "stderr").open("w+", errors="replace") as errors:
        file = Path(folder) / "run.json"
        command = [sys.executable, "-m", module, *arguments, "--results", str(file)]
        meters, before, begin = Meters(), _children(), time.perf_counter()
        # a session of its own: Ctrl-C is this command's, and leaves no checkpoint of a run nobody will resume
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=None if show else errors, text=True, start_new_session=True
        ) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    meters.poll()
                    if show and not line.startswith("wrote "):
                        print(line, end="", flush=True)
            except BaseException:
                child.kill()
                raise
        real, after = time.perf_counter() - begin, _children()
        meters.poll()
        if child.returncode:
            errors.seek(0)
            sys.stderr.write(errors.read())
            sys.exit(child.returncode if child.returncode > 0 else cli.CHECK_FAILED)
        found = cli.read_results(file)
    (point,) = found.of(TrainingPoint)
    point = msgspec.structs.replace(point, energy=meters.joules)
    if before and after:
        user, system = after[0] - before[0], after[1] - before[1]
        point = msgspec.structs.replace(point, real=real, user=user, sys=system)
    return msgspec.structs.replace(found, points=[point])


def _children() -> tuple[float, float] | None:
    """user and sys seconds of all child processes that have ended; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime, usage.ru_stime
