"""``python -m experiments.gpu_race``: how far is each CUDA kernel from cuBLAS, in one run and in turns?

Every contestant's call is captured as a CUDA graph, so that the figure is the GPU's time and not that of the host,
which for small products is the longer one. Each result is checked against the float64 bound before it is timed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import kernels
from experiments._scaling import NETWORK_SHAPES, Shape
from kernels import cli, progress
from kernels.ladder import LADDER

if TYPE_CHECKING:
    from kernels import Kernel
    from kernels.measure.results import MatmulPoint, Results

EXAMPLES = """\
  python -m experiments.gpu_race
  python -m experiments.gpu_race --kernel cuda-cupy-warptile --shapes 4096x4096x4096 8192x8192x8192 --results race.json
exit codes: 0 done, 1 a kernel was wrong, 2 wrong usage, 3 no GPU"""

YARDSTICK = "cuda-cublas"
SHAPES = ("1024x1024x1024", "4096x4096x4096", "4095x4095x4095", "8192x8192x8192", *NETWORK_SHAPES)
_LONGEST = 20e-3  # seconds of a graph: short ones hold many calls


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    with cli.errors_as_lines():
        cli.require_writable(options.results)
        if options.source:
            _show(cli.read_results(options.source))
            return
        yardstick = cli.get_kernel(YARDSTICK)
        own = [spec.name for spec in LADDER if spec.family == "cuda" and kernels.unavailable(spec.name) is None]
        chosen = {kernel.name: kernel for kernel in map(cli.get_kernel, [YARDSTICK, *(options.kernel or own)])}
        if strangers := [name for name, kernel in chosen.items() if kernel.spec.family != "cuda"]:
            raise cli.CommandError(f"{', '.join(strangers)} does not run on the GPU")
        assert yardstick.name in chosen

        from kernels.measure import gpu_ceilings, machine, results

        print(f"Machine: {machine.describe().sentence()}")
        limits, _ = gpu_ceilings.measure()
        print(f"Limits:  {limits.peak_flops / 1e12:.1f} TFLOP/s, {limits.memory_bandwidth / 1e9:,.0f} GB/s", flush=True)
        points = _race(list(chosen.values()), options.shapes, options.rounds, limits.threads)
        found = results.new("experiments.gpu_race", arguments, points, None, gpu_ceilings=limits)
        if options.results:
            cli.write_results(options.results, found)
        _show(found)
        if wrong := [
            f"{point.kernel} at {point.shape}: {point.reason}" for point in points if point.status == "failed"
        ]:
            raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.gpu_race", "Race the CUDA kernels against cuBLAS.", EXAMPLES)
    p.add_argument("--kernel", nargs="+", metavar="NAME", help=f"{cli.kernel_help()} (default: all CUDA kernels)")
    p.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        default=[Shape.parse(shape) for shape in SHAPES],
        metavar="MxKxN",
        help=f"(M,K)·(K,N); :nt, :tn, :tt for transposed views (default: {' '.join(SHAPES)})",
    )
    p.add_argument("--rounds", type=cli.at_least(1), default=5, metavar="N", help="turns each (default: %(default)s)")
    p.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    p.add_argument("--from", dest="source", type=Path, metavar="FILE", help="show a result file, measure nothing")
    return p


def _race(chosen: list[Kernel], shapes: list[Shape], rounds: int, threads: int) -> list[MatmulPoint]:
    points = []
    with progress.named(len(shapes)) as advance:
        for shape in shapes:
            advance("x".join(map(str, shape[:3])))
            points += _at(shape, chosen, rounds, threads)
    return points


def _at(shape: Shape, chosen: list[Kernel], rounds: int, threads: int) -> list[MatmulPoint]:
    """All contestants at one shape, in turns."""
    import numpy as np

    from kernels.contract import VerificationError
    from kernels.cuda import timing
    from kernels.cuda.arrays import to_device
    from kernels.measure.machine import sm_clock
    from kernels.measure.results import MatmulPoint
    from kernels.measure.timing import MIN_SAMPLES, alternate

    a, b = (to_device(x) for x in shape.operands())
    turns, wrong, errors = {}, {}, {}
    for kernel in chosen:
        out = to_device(np.full((shape.m, shape.n), np.nan, np.float32))
        try:
            errors[kernel.name] = _check(kernel, kernel.matmul(a, b, out), a, b)
        except VerificationError as error:
            wrong[kernel.name] = str(error)
            continue

        def call(kernel: Kernel = kernel, out: object = out) -> object:
            return kernel.matmul(a, b, out)  # type: ignore[arg-type]

        once = min(timing.sample(call, 1) for _ in range(3))
        calls = max(1, min(100, int(_LONGEST / once)))
        graph = timing.captured(call, calls)
        turns[kernel.name] = lambda graph=graph, calls=calls: [
            timing.sample(graph.launch, 1) / calls for _ in range(MIN_SAMPLES)
        ]
    samples = alternate(turns, rounds)
    clock = sm_clock()
    return [
        MatmulPoint(
            kernel=kernel.name,
            m=shape.m,
            k=shape.k,
            n=shape.n,
            threads=threads,
            layout=shape.layout,  # type: ignore[arg-type]
            status="failed" if kernel.name in wrong else "ok",
            reason=wrong.get(kernel.name),
            error=errors.get(kernel.name),
            samples=samples.get(kernel.name, []),
            sm_clock=clock,
        )
        for kernel in chosen
    ]


def _check(kernel: Kernel, c: object, a: object, b: object) -> float:
    """The error in units of the bound. The reference is computed on the GPU, in float64."""
    from kernels.contract import Reference

    return Reference.of(a, b).check(c, kernel.name, kernel.spec.rounds_to)  # type: ignore[arg-type]


def _show(found: Results) -> None:
    from rich.console import Console

    from experiments._tables import table
    from kernels.measure.results import MatmulPoint
    from kernels.measure.timing import ratio

    console = Console()
    points = [point for point in found.points if isinstance(point, MatmulPoint)]
    for shape in dict.fromkeys(point.shape for point in points):
        here = {point.kernel: point for point in points if point.shape == shape}
        yardstick = here.get(YARDSTICK)
        made = table(f"{shape}, float32", "kernel", "µs", "TFLOP/s", "of cuBLAS", "±")
        for name, point in here.items():
            if not point.samples:
                made.add_row(name, point.status, "", "", "")
                continue
            against = ("", "")
            if yardstick and yardstick.samples:
                times = ratio(yardstick.samples, point.samples)
                against = (f"{times.median:.2f}", f"{times.half_range:.2f}")
            made.add_row(name, f"{point.seconds.median * 1e6:,.1f}", f"{point.rate.median / 1e12:.2f}", *against)
        console.print(made)


if __name__ == "__main__":
    main()
