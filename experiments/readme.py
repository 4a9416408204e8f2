"""``python -m experiments.readme``: rewrite the README's table and pictures from ladder.py and committed results."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from kernels import cli
from kernels.ladder import LADDER
from kernels.measure import results

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SCALING = ROOT / "experiments" / "results" / "matmul_scaling.json"
SEEDS = ROOT / "experiments" / "results" / "seeds"
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


def seeds_paragraph() -> str:
    """What the committed runs of the published settings reached, one result file per seed."""
    runs = [point for path in sorted(SEEDS.glob("*.json")) for point in results.read(path).points]
    trained = [point for point in runs if isinstance(point, results.TrainingPoint)]
    accuracies = sorted(point.accuracy for point in trained)
    first = sorted(point.accuracy_first_128 for point in trained)
    settings = trained[0]
    return (
        f"{len(trained)} seeds of the published run ({settings.steps:,} steps, {settings.optimizer}, rate "
        f"{settings.learning_rate:g}), measured: on all {settings.images:,} images {accuracies[0]:.3f} to "
        f"{accuracies[-1]:.3f}, median {statistics.median(accuracies):.3f}; on the first 128 images {first[0]:.3f} to "
        f"{first[-1]:.3f}. The article's two runs had 0.898 and 0.883 on their 128."
    )


def render(text: str) -> str:
    """The README with the parts between the markers made anew."""
    for name, make in (("ladder", ladder_table), ("seeds", seeds_paragraph)):
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(start)
        _, marker, after = rest.partition(end)
        if not marker:
            raise cli.CommandError(f"README.md has lost its marker {end}", cli.CHECK_FAILED)
        text = f"{before}{start}{make()}\n{end}{after}"
    return text


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
