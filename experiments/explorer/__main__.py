"""``python -m experiments.explorer``: watch the threads of a kernel, access by access, on one page; no GPU needed.

The kernels of the ladder run on the recorder, on small matrices and, where a block would be larger than C, with smaller
tiles: what the page shows is what they did. How many blocks run at once is computed for their real sizes.
"""

from __future__ import annotations

import argparse
import sys
import webbrowser
from pathlib import Path
from typing import Any

from experiments.explorer import KERNELS, twins
from kernels import cli, progress
from kernels.measure.files import write_atomically
from kernels.nearest import did_you_mean

EXAMPLES = """\
  python -m experiments.explorer --open
  python -m experiments.explorer --kernel cuda-numba-shared cuda-numba-register --output shared.html
  python -m experiments.explorer --file shared_tile.py    what your exercise does, and its race as it happens
exit codes: 0 done, 1 your kernel does not run, or the page could not be written, 2 wrong usage"""

# above, a recording leaves accesses out; 120 bytes for each step of k of each c(i,j), of all kernels together
LARGEST, _BYTES = 48, 120


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(sys.argv[1:] if arguments is None else arguments)
    with cli.errors_as_lines():
        if options.size > LARGEST:
            grown = f"{options.size**3 * _BYTES / 1e6:,.0f} MB"
            raise cli.CommandError(f"--size is at most {LARGEST}; at {options.size} the page would grow to {grown}")
        for name in options.kernel or ():
            if name not in KERNELS:
                hint = did_you_mean(name, KERNELS, cutoff=0.4) or f"it runs {', '.join(KERNELS)}"
                raise cli.CommandError(f"--kernel {name}: the recorder runs no such kernel; {hint}")
        if options.file and not options.file.is_file():
            raise cli.CommandError(f"{options.file} is no file; python -m experiments.exercises start NAME makes one")
        cli.require_writable(options.output)
        from experiments.explorer._page import build

        own = _own(options.file) if options.file else None
        names = options.kernel or (() if own else KERNELS)
        broken = () if own or options.kernel else twins.TWINS
        with progress.named(len(names) + len(broken)) as announce:
            text = build(names, options.size, broken, announce, own)
        try:
            write_atomically(options.output, lambda file: file.write(text.encode()))
        except OSError as error:
            raise cli.CommandError(f"cannot write {options.output}: {error.strerror}", cli.CHECK_FAILED) from error
        print(f"wrote {options.output} ({len(text) / 1e6:.2f} MB)")
        if options.open and not webbrowser.open(options.output.resolve().as_uri()):
            print("no browser was found here: open the file in one yourself")


def _own(path: Path) -> dict[str, Any]:
    from experiments.exercises._check import Rejected
    from experiments.exercises._watch import watched

    try:
        return watched(path)
    except Rejected as reason:
        raise cli.CommandError(f"{path} cannot be shown: {reason}", cli.CHECK_FAILED) from reason


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.explorer", "Write a page that shows what threads do, and when.", EXAMPLES)
    p.add_argument(
        "--kernel",
        nargs="+",
        metavar="NAME",
        help=f"{', '.join(KERNELS)} (default: all of them, and the broken twins)",
    )
    p.add_argument("--file", type=Path, help="your kernel of an exercise, alone or beside those of --kernel")
    p.add_argument(
        "--size",
        type=cli.at_least(1),
        default=16,
        metavar="N",
        help=f"rows and columns of A, B, C, at most {LARGEST} (default: %(default)s)",
    )
    p.add_argument("--output", type=Path, default=Path("explorer.html"), metavar="FILE", help="(default: %(default)s)")
    p.add_argument("--open", action="store_true", help="show it in the browser")
    return p


if __name__ == "__main__":
    main()
