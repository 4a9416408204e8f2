"""``python -m experiments.roofline``: how near is each kernel to the machine's limit, and which limit is it?

The roofs are measured: multiply-adds on registers, and what each level of memory delivers. A kernel is a point at its
arithmetic intensity, FLOP per byte that must move at least (Williams, Waterman & Patterson, *Roofline*, CACM 52(4),
2009). A point above the roof of the level its matrices fit in is impossible, and fails the run.
"""

from __future__ import annotations

import argparse
import math
import sys
from functools import partial

import kernels
from experiments import _files, _header
from experiments._peak import above, has_peak
from kernels import cli
from kernels.ladder import LADDER
from kernels.measure import gpu_ceilings, results
from kernels.measure.figures import gigaflops
from kernels.measure.limits import Ceilings, Level
from kernels.measure.results import MatmulPoint, Results

EXAMPLES = """\
  python -m experiments.roofline
  python -m experiments.roofline --kernel cpu-blas cpu-numba-simd --plot roofline.png
  python -m experiments.roofline --kernel cuda-cublas cuda      on a GPU
  python -m experiments.roofline --from roofline.json --plot roofline.svg
exit codes: 0 done, 1 a kernel was wrong or above a roof, 2 wrong usage, 3 a kernel asked for cannot run here"""

SIZES = (64, 256, 1024)


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(
            parser,
            options,
            "roofs",
            lambda found: found.levels and found.ceilings,
            partial(_measure, options, arguments),
        )
        _show(found)
        if options.plot:
            from plots import roofline

            _files.save_picture(roofline.draw(found), options.plot)
        _judge(found)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.roofline", "Set kernels against the machine's measured limits.", EXAMPLES)
    p.add_argument(
        "--kernel",
        nargs="+",
        metavar="NAME",
        help=f"{cli.kernel_help()} (default: all of the CPU; a GPU's kernels have other roofs and a run of their own)",
    )
    sizes = " ".join(map(str, SIZES))
    p.add_argument("--sizes", nargs="+", type=cli.at_least(1), default=SIZES, metavar="N", help=f"(default: {sizes})")
    cli.add_threads(p)
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    from experiments._scaling import Scaling
    from kernels.shapes import NETWORK_SHAPES, Shape

    own = [spec.name for spec in LADDER if spec.family == "cpu" and kernels.unavailable(spec.name) is None]
    cli.use_threads(options.threads)
    chosen = {kernel.name: kernel for kernel in map(cli.get_kernel, options.kernel or own)}

    families = {kernel.spec.family for kernel in chosen.values()}
    if "mpi" in families:
        raise cli.CommandError("the roofs of other machines cannot be measured from here: name kernels of this one")
    if len(families) > 1:
        raise cli.CommandError("CPU and GPU have roofs of their own: name kernels of one of them")

    busy = _header.show()
    shapes = [Shape(size, size, size) for size in options.sizes] + list(NETWORK_SHAPES)
    scaling = Scaling(list(chosen.values()), shapes, options.threads)
    (family,) = families
    limits, levels = _roofs(family, options.threads)
    scaling.limits = {family: limits}
    scaling.run()
    return results.new(
        "experiments.roofline", arguments, scaling.points, scaling.limits[family], levels, busy_cores=busy
    )


def _roofs(family: str, threads: int) -> tuple[Ceilings, list[Level]]:
    if family == "cuda":
        return gpu_ceilings.measure()
    from kernels.measure import bandwidth, ceilings

    return ceilings.measure(threads), bandwidth.measure(threads)


def _roof(found: Results, point: MatmulPoint) -> tuple[str, float]:
    """The lowest roof over a point, by name, in FLOP/s: arithmetic, or the level of memory its matrices fit in.

    Infinite for tensor cores fed from a GPU's L2 cache: neither was measured.
    """
    assert found.ceilings is not None
    size = point.min_bytes
    level = next(
        level for level in found.levels if size <= level.capacity * (point.threads if level.name in ("L1", "L2") else 1)
    )
    fed = math.inf if size <= found.ceilings.cache else level.bandwidth * point.intensity
    bounded = has_peak(point.kernel, point.rounds_to, found.machine.system)
    peak = found.ceilings.peak_flops if bounded else math.inf
    if peak <= fed:
        return "arithmetic" if bounded else "not measured", peak
    return level.name, fed


def _show(found: Results) -> None:
    from experiments._tables import marked, print_table, table

    assert found.ceilings is not None
    roofs = table("Measured limits", "roof", "GB/s", "GFLOP/s of multiply-adds fed from it")
    roofs.add_row("registers", "", f"{found.ceilings.peak_flops / 1e9:.0f}")
    for level in found.levels:
        roofs.add_row(level.name, f"{level.bandwidth / 1e9:.0f}", f"{level.flops / 1e9:.0f}")
    print_table(roofs)
    rates = table("Kernels", "kernel", "MxKxN", "FLOP/byte", "GFLOP/s", "of its roof", "roof")
    for point in found.of(MatmulPoint):
        if point.samples:
            name, roof = _roof(found, point)
            rate = point.rate.median
            share = f"{rate / roof:.1%}" if roof < math.inf else ""
            figures = f"{point.intensity:.1f}", marked(gigaflops(rate), point.seconds), share
            rates.add_row(point.kernel, point.shape, *figures, name)
        else:
            print(f"{point} {point.status}: {point.reason}")
    print_table(rates)


def _judge(found: Results) -> None:
    wrong = []
    for point in found.of(MatmulPoint):
        if point.status == "failed":
            wrong.append(f"{point}: {point.reason}")
        elif point.samples and point.rate.median > (roof := _roof(found, point))[1]:
            wrong.append(f"{point} is " + above(f"the roof of {roof[0]}"))
    if wrong:
        raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


if __name__ == "__main__":
    main()
