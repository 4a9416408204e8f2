"""Going on with a saved run: what defines it comes from its checkpoint, and what is asked must not differ."""

from __future__ import annotations

import argparse
import itertools
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from kernels import cli
from rnn import checkpoint
from rnn.settings import Settings

__all__ = ["command", "saved", "settings", "unused"]


def saved(options: argparse.Namespace) -> checkpoint.Checkpoint | None:
    """The checkpoint to go on from, or None for a new run. Raises CommandError where it cannot be used."""
    if not options.resume:
        return None
    try:
        return checkpoint.load(options.checkpoint)
    except checkpoint.CheckpointError as error:
        raise cli.CommandError(str(error)) from error


def settings(options: argparse.Namespace, saved: checkpoint.Checkpoint | None) -> Settings:
    """The run's. Raises CommandError where an option contradicts the checkpoint."""
    asked = {name: value for name in Settings.__struct_fields__ if (value := getattr(options, name)) is not None}
    if saved is None:
        return Settings(**asked)
    for name, value in asked.items():
        kept = getattr(saved.header.settings, name)
        if kept != value:
            option = name.replace("_", "-")
            raise cli.CommandError(
                f"{options.checkpoint} was trained with --{option} {kept}, not {value}; "
                f"leave out --{option} to continue it"
            )
    return saved.header.settings


def command(arguments: Sequence[str], processes: int) -> str:
    """What goes on with a run of these arguments."""
    launcher = [] if processes == 1 else ["mpiexec", "-n", str(processes)]
    again = [_quoted(argument) for argument in arguments if argument != "--resume"]
    return " ".join([*launcher, _python(), "-m rnn.train", *again, "--resume"])


def _python() -> str:
    """What runs this, as the shell finds it: where no environment is activated, by its path."""
    path, here = Path(sys.executable), Path.cwd()
    # Windows finds python.EXE
    if (shutil.which("python") or "").casefold() == str(path).casefold():
        return "python"
    return _quoted(str(path.relative_to(here) if path.is_relative_to(here) else path))


def _quoted(argument: str) -> str:
    return subprocess.list2cmdline([argument]) if sys.platform == "win32" else shlex.quote(argument)


def unused(stem: str) -> Path:
    """A file that is not there yet: another run may have been interrupted in this folder, and go on from its own."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for path in (Path(f"{name}.npz") for name in names) if not path.exists())
