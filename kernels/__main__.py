"""``python -m kernels``: print the ladder, and what its CUDA kernels take of a GPU."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from kernels import available
from kernels.cli import ABSENT, CHECK_FAILED, CommandError, Parser, errors_as_lines
from kernels.cuda.architectures import ARCHITECTURES
from kernels.ladder import ALIASES, LADDER, find

if TYPE_CHECKING:
    from rich.console import Console

    from kernels.cuda.offline import Row

_DEFAULT = (61, 75, 80, 90)


def main() -> None:
    parser = Parser(
        prog="python -m kernels",
        description="Print the ladder: what each kernel does at the same time, what holds it back, and whether it\n"
        "can run here. With --compile, compile its CUDA kernels, for which no GPU is needed.",
        examples="  python -m kernels\n  python -m kernels --compile --architectures 61 90",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="print instead what each CUDA kernel takes: registers, shared memory, and the occupancy that leaves",
    )
    parser.add_argument(
        "--architectures",
        type=int,
        nargs="+",
        choices=tuple(ARCHITECTURES),
        metavar="N",
        help=f"compute capabilities to compile for, of {', '.join(map(str, ARCHITECTURES))} "
        f"(default: {' '.join(map(str, _DEFAULT))}; 61 is 6.1, Pascal)",
    )
    arguments = parser.parse_args()
    with errors_as_lines():
        if arguments.compile:
            _print_compiled(sorted(set(arguments.architectures or _DEFAULT)))
        elif arguments.architectures:
            raise CommandError("--architectures says what to compile for: add --compile")
        else:
            _print_ladder()


def _print_ladder() -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding

    from kernels.cuda.offline import why_no_compiler
    from kernels.measure.machine import describe

    console, reasons = Console(), available()
    console.print(describe().sentence(), highlight=False)
    # what keeps many kernels from running is said once
    common = [reason for reason, count in Counter(filter(None, reasons.values())).items() if count > 1]
    for spec in LADDER:
        reason = reasons[spec.name]
        why = f" ({common.index(reason) + 1})" if reason in common else f": {escape(str(reason))}"
        here = "[green]available[/]" if reason is None else f"[yellow]not here{why}[/]"
        console.print(f"\n[bold]{spec.name}[/]  {here}", highlight=False)
        text = f"{escape(spec.idea)}\n[dim]limit:[/] {escape(spec.bottleneck)}"
        console.print(Padding(text, (0, 0, 0, 4), expand=False), highlight=False)
    console.print()
    for number, reason in enumerate(common, 1):
        console.print(f"({number}) {reason}", style="yellow", markup=False, highlight=False)
    for alias, candidates in ALIASES.items():
        first = next((name for name in candidates if reasons[name] is None), "nothing that can run here")
        console.print(f"{alias:7} means {first}", highlight=False)
    missing = why_no_compiler()
    console.print(
        "registers, shared memory and occupancy of the CUDA kernels, without a GPU: "
        + ("python -m kernels --compile" if missing is None else f"not here, {missing}"),
        markup=False,
        highlight=False,
    )


def _print_compiled(architectures: list[int]) -> None:
    from rich.console import Console

    from kernels.cuda import offline
    from kernels.progress import named

    if missing := offline.why_no_compiler():
        raise CommandError(missing, ABSENT)
    with named(len(offline.jobs(architectures=architectures))) as announce:
        rows = offline.gate(architectures=architectures, announce=announce)
    console = Console()
    _print_table(console, rows, architectures)
    problems = [problem for row in rows for problem in row.problems]
    for problem in problems:
        console.print(f"fault: {problem}", style="red", markup=False, highlight=False)
    if problems:
        raise CommandError(f"{len(problems)} faults in the CUDA kernels", CHECK_FAILED)


def _print_table(console: Console, rows: list[Row], architectures: list[int]) -> None:
    from rich.table import Column, Table

    cells = {(row.name, row.architecture): row for row in rows}
    chips = (f"sm_{number} {ARCHITECTURES[number].name}" for number in architectures)
    table = Table(Column("kernel", no_wrap=True), *chips)
    for name in dict.fromkeys(row.name for row in rows):
        table.add_row(name, *(_cell(cells.get((name, number)), name) for number in architectures), end_section=True)
    console.print(table)
    console.print(
        "registers of a thread · shared memory of a block · occupancy, the share of an SM's warps that are resident, "
        "and what bounds it",
        highlight=False,
    )


def _cell(row: Row | None, name: str) -> str:
    if row is None:
        spec = find(name)
        return f"{'only' if spec.only_architecture else 'needs'} sm_{spec.architecture}"
    shared = f"{row.shared_bytes / 1024:.1f} KiB" if row.shared_bytes else "none"
    text = f"{row.compiled.registers} · {shared}\n{row.occupancy.share:.0%} {row.occupancy.limited_by}"
    return f"[red]{text}[/]" if row.problems else text


if __name__ == "__main__":
    main()
