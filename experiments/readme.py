"""``python -m experiments.readme``: rewrite the README's table and pictures from ladder.py and committed results."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from kernels import cli
from kernels.ladder import LADDER
from kernels.measure import results

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SCALING = ROOT / "experiments" / "results" / "matmul_scaling.json"
GALLERY = ROOT / "plots" / "gallery"
SIZE = 1024  # the square whose rate the table shows

EXAMPLES = """\
  python -m experiments.readme           after a change of ladder.py or of a committed result file
  python -m experiments.readme --check   exit 1 if the README is stale, write nothing"""


def ladder_table() -> str:
    """The ladder as Markdown, with each kernel's measured rate at SIZE or the largest size below it."""
    found = results.read(SCALING)
    lines = [
        f"| kernel | what happens at the same time | what holds it back | GFLOP/s at {SIZE} |",
        "|---|---|---|---:|",
    ]
    for spec in LADDER:
        lines.append(f"| `{spec.name}` | {spec.idea} | {spec.bottleneck} | {_rate(found, spec.name)} |")
    m = found.machine
    assert found.ceilings is not None
    lines += [
        "",
        f"Measured by `{found.command}` on {m.cpu}, {m.cores} cores ({m.system}), {found.ceilings.threads} threads, "
        f"float32 from N(0,1), medians; the machine's measured peak is {found.ceilings.peak_flops / 1e9:.0f} GFLOP/s.",
    ]
    return "\n".join(lines)


def _rate(found: results.Results, kernel: str) -> str:
    timed = [
        point
        for point in found.points
        if isinstance(point, results.MatmulPoint) and point.kernel == kernel and point.square and point.samples
    ]
    near = max((point for point in timed if point.n <= SIZE), key=lambda point: point.n, default=None)
    if near is None:
        return "not measured"
    note = "" if near.n == SIZE else f" (at {near.n})"
    return f"{near.rate.median / 1e9:.3g}{note}"


def render(text: str) -> str:
    """The README with the part between the markers made anew."""
    return re.sub(
        r"(<!-- ladder -->\n).*?(\n<!-- /ladder -->)",
        lambda found: found[1] + ladder_table() + found[2],
        text,
        flags=re.S,
    )


def main(arguments: list[str] | None = None) -> None:
    p = cli.Parser("python -m experiments.readme", "Rewrite the README's table and pictures.", EXAMPLES)
    p.add_argument("--check", action="store_true", help="only compare")
    options = p.parse_args(sys.argv[1:] if arguments is None else arguments)
    with cli.errors_as_lines():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    text = README.read_text(encoding="utf-8")
    fresh = render(text)
    if options.check:
        if fresh != text:
            raise cli.CommandError("README.md is stale; run python -m experiments.readme", cli.CHECK_FAILED)
        return
    from plots import scaling, style

    README.write_text(fresh, encoding="utf-8")
    print(f"wrote {README.relative_to(ROOT)}")
    for theme in style.THEMES:
        path = GALLERY / f"matmul_scaling_{theme}.png"
        style.save(scaling.draw(results.read(SCALING), theme), path)
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
