"""What every command shares: exit codes, the error line, argument types and the common options."""

from __future__ import annotations

import argparse
import errno
import io
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import kernels
from kernels.cuda.compile import CompileError
from kernels.ladder import ALIASES
from kernels.threads import cores_each, set_threads

if TYPE_CHECKING:
    from kernels.measure.results import Results

__all__ = [
    "ABSENT",
    "CHECK_FAILED",
    "INTERRUPTED",
    "USAGE",
    "CommandError",
    "Parser",
    "add_threads",
    "at_least",
    "errors_as_lines",
    "get_kernel",
    "kernel_help",
    "positive",
    "require_results",
    "require_writable",
    "share",
    "use_threads",
    "write_results",
]

CHECK_FAILED, USAGE, ABSENT, INTERRUPTED = 1, 2, 3, 130


class CommandError(Exception):
    """Ends a command with one line and an exit code, and no traceback."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class _Help(argparse.RawDescriptionHelpFormatter):
    """With examples as they are written, and names such as cpu-numba-simd in one piece."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """argparse with one-line errors and examples kept as they are written.

    exits: what is wrong ends the command; otherwise it is raised as a CommandError.
    """

    def __init__(self, prog: str, description: str, examples: str, exits: bool = True) -> None:
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{examples}",
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self._exits = exits
        if isinstance(sys.stdout, io.TextIOWrapper):
            # a terminal that lacks a letter shows ? for it, and still all the rest
            sys.stdout.reconfigure(errors="replace")

    def error(self, message: str) -> NoReturn:
        line = f"{message} (see {self.prog} --help)"
        if not self._exits:
            raise CommandError(line)
        self.exit(USAGE, f"error: {line}\n")


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Turn the errors a user can cause into one line on stderr and an exit code."""
    try:
        yield
        sys.stdout.flush()
    except CommandError as error:
        line = " ".join(str(error).splitlines())  # a path may hold a line break
        print(line if error.code == INTERRUPTED else f"error: {line}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except CompileError as error:
        print(f"error: {error}", file=sys.stderr)  # with the compiler's lines
        sys.exit(CHECK_FAILED)
    except MemoryError as error:
        why = f": {error}" if str(error) else ""
        print(f"error: too little memory for this{why}; ask for less", file=sys.stderr)
        sys.exit(CHECK_FAILED)
    except BrokenPipeError:
        # the reader of a pipe has left: there is nobody to tell
        sys.stderr.close()
        sys.exit(CHECK_FAILED)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"error: {error.strerror}", file=sys.stderr)
        sys.stdout = None  # what is left for it would fail again at exit
        sys.exit(CHECK_FAILED)


def get_kernel(name: str, *, needs_gpu: bool = False) -> kernels.Kernel:
    """`kernels.get`, with the exit codes of a command. needs_gpu: so no other kernel is advised."""
    try:
        return kernels.get(name)
    except kernels.UnknownKernel as error:
        raise CommandError(str(error)) from error
    except kernels.KernelUnavailable as error:
        raise CommandError(error.why if needs_gpu else str(error), ABSENT) from error


def kernel_help() -> str:
    """What --kernel accepts."""
    return f"{', '.join(kernels.names())}; or an alias: {', '.join(ALIASES)}"


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option --threads."""
    parser.add_argument(
        "--threads",
        type=at_least(1),
        default=cores_each(),
        metavar="N",
        help="CPU threads of each process (default: all cores, shared by the processes of mpiexec: here %(default)s)",
    )


def use_threads(threads: int) -> None:
    """Set the number of threads, or end the command."""
    try:
        set_threads(threads)
    except ValueError as error:
        raise CommandError(str(error)) from error


def at_least(least: int) -> Callable[[str], int]:
    """Argument type: a whole number, least or more."""

    def whole(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not '{text}'") from None
        if number < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {number}")
        return number

    return whole


def positive(text: str) -> float:
    """Argument type: a number above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not '{text}'") from None
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return number


def share(text: str) -> float:
    """Argument type: a number above 0, up to 1."""
    number = positive(text)
    if number > 1:
        raise argparse.ArgumentTypeError(f"must be a share of 1, such as 0.85, not {text}")
    return number


def require_writable(path: Path | None) -> None:
    """End the command now rather than lose its results later."""
    from kernels.measure.files import check_writable

    if path is not None:
        try:
            check_writable(path)
        except OSError as error:
            raise CommandError(str(error)) from error


def require_results(path: Path | None) -> None:
    """`require_writable` for a result file: it ends in .json, and replaces nothing but another result file."""
    if path is None:
        return
    require_writable(path)
    if path.suffix != ".json":
        raise CommandError(f"cannot write results to {path}: the name must end in .json")
    if path.exists() and path.stat().st_size and not _holds_results(path):
        raise CommandError(f"{path} is not a result file, and is not overwritten: name another file")


def _holds_results(path: Path) -> bool:
    # not by kernels.measure.results: it imports Numba, whose threads the command has not yet said
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        return False
    return isinstance(found, dict) and found.keys() >= {"schema", "command", "points"}


def read_results(path: Path) -> Results:
    """Read a result file, or end the command."""
    from kernels.measure import results

    try:
        return results.read(path)
    except results.ResultsError as error:
        raise CommandError(str(error)) from error


def write_results(path: Path | None, results: Results) -> None:
    """Write a result file where a path is given, or end the command."""
    from kernels.measure.results import write

    if path is None:
        return
    try:
        write(path, results)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}", CHECK_FAILED) from error
    print(f"wrote {path}")
