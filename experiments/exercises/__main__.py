"""``python -m experiments.exercises``: ten kernels to write, checked thread by thread; no GPU needed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kernels import cli
from kernels.measure.files import write_atomically

if TYPE_CHECKING:
    from experiments.exercises._task import Task

EXAMPLES = """\
  python -m experiments.exercises                             the list
  python -m experiments.exercises start shared_tile           writes shared_tile.py, to be filled in
  python -m experiments.exercises check shared_tile.py        right at every size? no race? few enough reads?
exit codes: 0 done, accepted, 1 rejected, 2 wrong usage"""


# beside the tests, which hold them against the same check; a path in the repository
_SOLUTIONS = "tests/exercises"


def main(arguments: list[str] | None = None) -> None:
    p = cli.Parser("python -m experiments.exercises", "Kernels to write, and what is wrong with yours.", EXAMPLES)
    p.add_argument(
        "action", nargs="?", choices=("list", "show", "start", "check"), default="list", help="(default: list)"
    )
    p.add_argument("what", nargs="*", metavar="NAME or FILE", help="one exercise for show and start, files for check")
    p.add_argument("--output", type=Path, metavar="FILE", help="where start writes the stub (default: NAME.py)")
    options = p.parse_args(sys.argv[1:] if arguments is None else arguments)
    with cli.errors_as_lines():
        _ACTIONS[options.action](options)


def _list(options: argparse.Namespace) -> None:
    from rich.console import Console

    from experiments._tables import table
    from experiments.exercises._tasks import TASKS

    made = table("Exercises", "name", "what it teaches", "target", justify="left")
    for task in TASKS:
        made.add_row(task.name, task.teaches, task.goal)
    Console().print(made)
    print("python -m experiments.exercises start NAME writes a file to fill in; check FILE tells what is wrong with it")
    print(f"solutions, one for each: {_SOLUTIONS}/")


def _show(options: argparse.Namespace) -> None:
    print(_named(options).stub, end="")


def _start(options: argparse.Namespace) -> None:
    task = _named(options)
    path = options.output or Path(f"{task.name}.py")
    if path.exists():
        raise cli.CommandError(f"{path} exists; name another file with --output, or remove it")
    try:
        write_atomically(path, lambda file: file.write(task.stub.encode()))
    except OSError as error:
        raise cli.CommandError(f"cannot write {path}: {error.strerror}") from error
    print(f"wrote {path}; fill it in, then: python -m experiments.exercises check {path}")


def _check(options: argparse.Namespace) -> None:
    from experiments.exercises._check import Rejected, check, task_of
    from experiments.exercises._task import shown

    if not options.what:
        raise cli.CommandError("check takes the files to check")
    rejected = 0
    for path in map(Path, options.what):
        if not path.is_file():
            raise cli.CommandError(f"{path} is not a file; python -m experiments.exercises start NAME makes one")
        try:
            task = task_of(path)
            uncompiled = check(path, task)
        except Rejected as reason:
            rejected += 1
            print(f"{path}: not yet. {reason}")
            print(f"  {reason.hint}")
            if reason.kind not in ("file", "error", "endless"):  # it ran, so there is something to see
                print(f"  Watch it: python -m experiments.explorer --file {path} --open")
        else:
            sizes = ", ".join(map(shown, task.sizes))
            print(f"{path}: accepted. Right at sizes {sizes}, in three orders of the threads; {task.goal}.")
            print(f"  Not compiled for a GPU: {uncompiled}" if uncompiled else "  It compiles for a GPU.")
            print(f"  Another solution: {_SOLUTIONS}/{task.name}.py")
    if rejected:
        raise SystemExit(cli.CHECK_FAILED)


def _named(options: argparse.Namespace) -> Task:
    from experiments.exercises._tasks import find

    if len(options.what) != 1:
        raise cli.CommandError(f"{options.action} takes one exercise; python -m experiments.exercises lists them")
    try:
        return find(options.what[0])
    except LookupError as error:
        raise cli.CommandError(str(error)) from error


_ACTIONS = {"list": _list, "show": _show, "start": _start, "check": _check}

if __name__ == "__main__":
    main()
