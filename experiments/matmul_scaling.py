"""``python -m experiments.matmul_scaling``: how fast is each kernel, at which size, and against the machine's limit?

Every kernel is verified against its error bound before it is timed. What a point will take is predicted from the
largest product made so far, and one that would take too long is skipped and says so.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import kernels
from experiments import _files, _header
from experiments._scaling import Scaling
from kernels import cli
from kernels.ladder import ALIASES
from kernels.measure import results
from kernels.measure.limits import Ceilings
from kernels.measure.results import MatmulPoint, Results
from kernels.shapes import NETWORK_SHAPES, Shape

EXAMPLES = """\
  python -m experiments.matmul_scaling                                  all kernels that run here
  python -m experiments.matmul_scaling --quick                          in half a minute
  python -m experiments.matmul_scaling --kernel cpu-python numba --sizes 64 128 --shapes 128x156x512
  python -m experiments.matmul_scaling --results run.json --plot run.png
  python -m experiments.matmul_scaling --from run.json --plot run.svg   draw again, measure nothing
exit codes: 0 done, 1 a kernel was wrong or broke down, 2 wrong usage, 3 a kernel asked for cannot run here"""

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
QUICK_SIZES = (32, 64, 128, 256, 512)


def parser() -> argparse.ArgumentParser:
    p = cli.Parser(
        "python -m experiments.matmul_scaling",
        "Verify, then time matmul kernels over sizes and shapes.",
        EXAMPLES,
    )
    p.add_argument("--kernel", nargs="+", metavar="NAME", help=f"{cli.kernel_help()} (default: all that run here)")
    p.add_argument(
        "--sizes",
        nargs="+",
        type=cli.at_least(1),
        metavar="N",
        help=f"squares NxN·NxN (default: {' '.join(map(str, SIZES))})",
    )
    p.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        metavar="MxKxN",
        help="(M,K)·(K,N); :nt, :tn, :tt for transposed views "
        f"(default: the network's, {' '.join(map(str, NETWORK_SHAPES))})",
    )
    cli.add_threads(p)
    p.add_argument(
        "--min-time",
        type=cli.positive,
        metavar="S",
        help="seconds of samples per point, at least 7 samples (default: 0.2; --quick: 0.05)",
    )
    p.add_argument(
        "--time-limit",
        type=cli.positive,
        metavar="S",
        help="skip a point predicted to take longer (default: 20; --quick: 3)",
    )
    p.add_argument("--quick", action="store_true", help=f"sizes {' '.join(map(str, QUICK_SIZES))}, fewer samples")
    p.add_argument(
        "--cold-cache", action="store_true", help="empty the GPU's L2 cache before each call of a CUDA kernel"
    )
    p.add_argument("--verify-only", action="store_true", help="check the results, time nothing")
    p.add_argument("--list", action="store_true", help="list the kernels and whether they run here")
    _files.add_options(p)
    return p


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    p = parser()
    options = p.parse_args(arguments)
    with cli.errors_as_lines():
        if options.list and not options.source:
            _list()
        elif options.verify_only and not options.source:
            _files.require_writable(options)
            scaling = _scaling(options)
            scaling.run()
            _judge(scaling.points)
        else:
            measure = partial(_measure, options, arguments)
            found = _files.read_or_measure(p, options, "rates of kernels alone", _rates, measure)
            _show(found, options.plot)
            _judge(found.of(MatmulPoint))


def _rates(found: Results) -> list[MatmulPoint]:
    """None of a roofline, whose file holds the roofs besides."""
    return [] if found.levels else found.of(MatmulPoint)


def _list() -> None:
    for name, reason in kernels.available().items():
        print(f"{name:22} {'available' if reason is None else f'not available: {reason}'}")
    print(f"aliases: {', '.join(ALIASES)}")


def _scaling(options: argparse.Namespace) -> Scaling:
    cli.use_threads(options.threads)  # first: what can run is found out by importing Numba, too
    asked = options.kernel or [name for name, reason in kernels.available().items() if reason is None]
    # two names of one kernel are one kernel
    chosen = {kernel.name: kernel for kernel in map(cli.get_kernel, asked)}
    quick = options.quick
    return Scaling(
        list(chosen.values()),
        _shapes(options),
        options.threads,
        min_time=options.min_time or (0.05 if quick else 0.2),
        time_limit=options.time_limit or (3.0 if quick else 20.0),
        verify_only=options.verify_only,
        cold_cache=options.cold_cache,
    )


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    scaling = _scaling(options)

    busy = _header.show()
    if any(kernel.spec.family == "mpi" for kernel in scaling.kernels):
        from kernels.mpi import local, ranks

        print(f"Processes: {ranks.sentence()}; panels multiplied by {local.local().name}")
    scaling.measure_limits()
    first = dict(scaling.limits)
    for limits in first.values():
        _show_limits(limits)
    try:
        scaling.run()
    except KeyboardInterrupt:
        _show_unfinished(scaling)
        raise
    for family, limits in scaling.limits.items():
        if limits is not first[family]:
            _show_limits(limits, ", again, as something had held back the first measurement")
    return results.new(
        "experiments.matmul_scaling",
        arguments,
        list(scaling.points),
        scaling.limits.get("cpu"),
        gpu_ceilings=scaling.limits.get("cuda"),
        busy_cores=busy,
    )


def _show_limits(limits: Ceilings, why: str = "") -> None:
    print(
        f"Limits:  {limits.peak_flops / 1e9:,.0f} GFLOP/s, {limits.memory_bandwidth / 1e9:,.0f} GB/s from memory, "
        f"measured with {limits.threads:,} threads{why}",
        flush=True,
    )


def _show(found: Results, plot: Path | None) -> None:
    from experiments._scaling_table import summary, tables

    points = found.of(MatmulPoint)
    tables(points)
    if sentence := summary(points):
        print(sentence)
    if plot:
        from plots import scaling

        _files.save_picture(scaling.draw(found), plot)


def _show_unfinished(scaling: Scaling) -> None:
    from experiments._scaling_table import tables

    tables(scaling.points)
    print(f"{len(scaling.points)} of {scaling.asked} points were measured; no file is written of an unfinished run")


def _judge(points: list[MatmulPoint]) -> None:
    if wrong := [point for point in points if point.status == "failed"]:
        reasons = "; ".join(f"{point}: {point.reason}" for point in wrong)
        raise cli.CommandError(reasons, cli.CHECK_FAILED)


def _shapes(options: argparse.Namespace) -> list[Shape]:
    """The squares and shapes asked for; both sets of defaults only when neither was named."""
    default = not options.sizes and not options.shapes
    sizes = options.sizes or ((QUICK_SIZES if options.quick else SIZES) if default else ())
    shapes = options.shapes or (NETWORK_SHAPES if default else ())
    return list(dict.fromkeys([*(Shape(size, size, size) for size in sizes), *shapes]))


if __name__ == "__main__":
    main()
