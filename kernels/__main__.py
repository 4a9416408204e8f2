"""``python -m kernels``: print the ladder."""

from __future__ import annotations

import argparse

from kernels import available
from kernels.ladder import ALIASES, LADDER


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m kernels",
        description="Print the ladder: what each kernel does at the same time, what holds it back, and whether it "
        "can run here.",
    )
    parser.parse_args()

    from rich.console import Console
    from rich.table import Table

    from kernels.measure.machine import describe

    console = Console()
    console.print(describe().sentence(), highlight=False)
    table = Table("kernel", "what happens at the same time", "what holds it back, and what lifts it", "here")
    for spec in LADDER:
        reason = available()[spec.name]
        here = "[green]available[/]" if reason is None else f"[yellow]no: {reason}[/]"
        table.add_row(spec.name, spec.idea, spec.bottleneck, here, end_section=True)
    console.print(table)
    for alias, candidates in ALIASES.items():
        first = next((name for name in candidates if available()[name] is None), "nothing that can run here")
        console.print(f"{alias:7} means {first}", highlight=False)


if __name__ == "__main__":
    main()
