"""``python -m experiments.gpu_race``: how far is each CUDA kernel from cuBLAS, in one run and in turns?

Each is set against cuBLAS in the same format: float32, TF32, or bf16. All take float32 operands and leave a float32
result. With bf16 both sides' times contain the rounding of the operands, by the same kernel; "product alone" is timed
besides, with operands rounded before. cuda-cupy-hopper-tf32 turns round an operand that lies the wrong way, which
cuBLAS need not; its product alone stands in the table beside all of cuBLAS's.
Every contestant's call is captured as a CUDA graph, so that the figure is the GPU's time and not that of the host,
which for small products is the longer one. Each result is checked against the float64 bound before it is timed.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kernels
from experiments import _files, _header
from experiments._broken import broke
from experiments._forecast import Forecast
from experiments._peak import above, has_peak
from experiments._scaling import point_of
from kernels import cli, progress
from kernels.ladder import find
from kernels.measure import gpu_ceilings, machine, results
from kernels.measure.results import MatmulPoint, Results
from kernels.measure.timing import MIN_SAMPLES, Spread, alternate, ratio
from kernels.shapes import NETWORK_SHAPES, Shape

if TYPE_CHECKING:
    from kernels import Kernel

EXAMPLES = """\
  python -m experiments.gpu_race
  python -m experiments.gpu_race --kernel cuda-cupy-warptile --shapes 4096x4096x4096 8192x8192x8192 --results race.json
  python -m experiments.gpu_race --from race.json --plot race.png
exit codes: 0 done, 1 a kernel was wrong or above the peak, 2 wrong usage, 3 no GPU"""

CUDA = kernels.names("cuda")
YARDSTICKS = {"float32": "cuda-cublas", "tf32": "cuda-cublas-tf32", "bf16": "cuda-cublas-bf16"}
ALONE = ", product alone"
SHAPES = [*NETWORK_SHAPES, *(Shape(size, size, size) for size in (1024, 4096, 4095, 8192))]
_LONGEST = 20e-3  # seconds of a graph: short ones hold many calls
_CALLS_BEFORE = 5  # of a kernel at a shape: one is checked, three say how long it takes, one comes before the graph
_SLOW = 0.1  # seconds of a call: all turns together take no more samples of such a one than they must


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    with cli.errors_as_lines():
        found = _files.read_or_measure(parser, options, "race", _by_shape, partial(_measure, options, arguments))
        _show(found)
        if options.plot:
            _draw(found, options.plot)
        _judge(found)


def _parser() -> argparse.ArgumentParser:
    p = cli.Parser("python -m experiments.gpu_race", "Race the CUDA kernels against cuBLAS.", EXAMPLES)
    p.add_argument("--kernel", nargs="+", metavar="NAME", help=f"of {', '.join(CUDA)} (default: all)")
    p.add_argument(
        "--shapes",
        nargs="+",
        type=Shape.parse,
        default=SHAPES,
        metavar="MxKxN",
        help=f"(M,K)·(K,N); :nt, :tn, :tt for transposed views (default: {' '.join(map(str, SHAPES))})",
    )
    p.add_argument("--rounds", type=cli.at_least(1), default=5, metavar="N", help="turns each (default: %(default)s)")
    p.add_argument(
        "--time-limit",
        type=cli.positive,
        default=60,
        metavar="S",
        help="skip a kernel at a shape where it is predicted to take longer (default: %(default)s)",
    )
    _files.add_options(p)
    return p


def _measure(options: argparse.Namespace, arguments: list[str]) -> Results:
    own = [name for name in CUDA if kernels.unavailable(name) is None]
    asked = [cli.get_kernel(name, needs_gpu=True) for name in options.kernel or own or [YARDSTICKS["float32"]]]
    if strangers := [kernel.name for kernel in asked if kernel.spec.family != "cuda"]:
        raise cli.CommandError(f"not CUDA kernels: {', '.join(strangers)}")
    names = [*(_yardstick(kernel.name) for kernel in asked), *(kernel.name for kernel in asked)]
    chosen = [cli.get_kernel(name) for name in dict.fromkeys(names)]

    busy = _header.show()
    limits, _ = gpu_ceilings.measure()
    print(f"Limits:  {limits.peak_flops / 1e12:.1f} TFLOP/s, {limits.memory_bandwidth / 1e9:,.0f} GB/s", flush=True)
    points = _race(chosen, options.shapes, options.rounds, options.time_limit, limits.threads)
    return results.new("experiments.gpu_race", arguments, points, None, gpu_ceilings=limits, busy_cores=busy)


def _race(chosen: list[Kernel], shapes: list[Shape], rounds: int, time_limit: float, threads: int) -> list[MatmulPoint]:
    points: list[MatmulPoint] = []
    forecast = Forecast(time_limit)
    with progress.named(len(shapes)) as advance:
        forecast.try_out(chosen, max(shape.flops for shape in shapes))
        broken = forecast.broken
        whole = [kernel for kernel in chosen if kernel.name not in broken]
        for shape in shapes:
            advance(str(shape))
            failed = partial(point_of, shape=shape, threads=threads, status="failed")
            points += [failed(kernel, reason=broken[kernel.name]) for kernel in chosen if kernel.name in broken]
            try:
                points += _at(shape, whole, rounds, forecast, threads)
            except MemoryError as error:
                points += [point_of(kernel, shape, threads, "skipped", reason=str(error)) for kernel in whole]
            except Exception as error:  # after some of CUDA's errors nothing more runs in this process
                reason = broke(whole[0], error)
                points += [failed(kernel, reason=reason) for kernel in whole]
    return points


def _at(shape: Shape, chosen: list[Kernel], rounds: int, forecast: Forecast, threads: int) -> list[MatmulPoint]:
    """All contestants at one shape, in turns, but for those that would take too long. Raises MemoryError."""
    import cupy
    import numpy as np

    from kernels.contract import Reference, VerificationError
    from kernels.cuda.arrays import to_device

    at_least = _CALLS_BEFORE + max(MIN_SAMPLES, rounds)
    points: list[MatmulPoint] = []
    able: list[Kernel] = []
    for kernel in chosen:
        if reason := forecast.too_long(kernel.name, shape.flops, at_least):
            points.append(point_of(kernel, shape, threads, "skipped", reason=reason))
        else:
            able.append(kernel)
    if not able:
        return points
    a, b = (to_device(x) for x in shape.operands())
    out = cupy.empty((shape.m, shape.n), np.float32)  # one for all: only what is checked must stay
    reference = Reference.of(a, b)  # on the GPU
    contestants: dict[str, Kernel] = {}
    turns, errors = {}, {}
    for kernel in able:
        name = kernel.name
        try:
            for name, call in _calls(kernel, a, b, out).items():
                out[...] = np.nan
                call()
                errors[name] = reference.check(out, name, kernel.spec.rounds_to)
                turns[name] = _turn(call, rounds)
                contestants[name] = kernel
        except MemoryError:
            raise
        except VerificationError as error:
            points.append(point_of(kernel, shape, threads, "failed", name, reason=str(error)))
        except Exception as error:  # the others race without it
            points.append(point_of(kernel, shape, threads, "failed", name, reason=broke(kernel, error)))
    samples = alternate(turns, rounds)
    clock = machine.sm_clock()
    for name, kernel in contestants.items():
        timed = point_of(kernel, shape, threads, name=name, error=errors[name], samples=samples[name], sm_clock=clock)
        points.append(timed)
        forecast.learn(name, timed.seconds.median, shape.flops)
    return points


def _turn(call: Callable[[], object], rounds: int) -> Callable[[], list[float]]:
    """What takes samples of a call, so many that all rounds together have enough."""
    from kernels.cuda import timing
    from kernels.cuda.captured import Captured

    once = min(timing.sample(call, 1) for _ in range(3))
    calls = max(1, min(100, int(_LONGEST / once)))
    graph = Captured(call, calls)
    wanted = MIN_SAMPLES if once < _SLOW else math.ceil(MIN_SAMPLES / rounds)
    return lambda: [timing.sample(graph.launch, 1) / calls for _ in range(wanted)]


def _calls(kernel: Kernel, a: Any, b: Any, out: Any) -> dict[str, Callable[[], object]]:
    """The kernel's product, and without laying out the operands where that is a launch of its own."""
    from kernels.cuda.hopper import InTwoSteps

    found: dict[str, Callable[[], object]] = {kernel.name: lambda: kernel.matmul(a, b, out)}
    product = kernel.product
    if isinstance(product, InTwoSteps):
        operands = product.laid_out(a, b)
        found[kernel.name + ALONE] = lambda: product.multiply(*operands, out, a.shape[1])
    return found


def _yardstick(contestant: str) -> str:
    """cuBLAS in the contestant's format; the product alone against the product alone."""
    name, comma, alone = contestant.partition(",")
    return YARDSTICKS[find(name).rounds_to] + comma + alone


def _show(found: Results) -> None:
    from experiments._tables import marked, print_table, table

    for shape, here in _by_shape(found).items():
        made = table(f"{shape}, float32 in and out", "kernel", "µs", "TFLOP/s", "format", "of cuBLAS", "±")
        for name, point in here.items():
            if not point.samples:
                made.add_row(name, point.status, "", "", "", "")
                continue
            yardstick = _yardstick(name)
            if yardstick not in here:
                yardstick = yardstick.removesuffix(ALONE)
            share = _share(here, name, yardstick)
            beside = (f"{share.median:.2f}", f"{share.half_range:.2f}") if share else ("", "")
            took = marked(f"{point.seconds.median * 1e6:,.1f}", point.seconds), f"{point.rate.median / 1e12:.2f}"
            made.add_row(name, *took, point.rounds_to, *beside)
        print_table(made)
        for name, point in here.items():
            if point.reason:
                print(f"{name} {point.status}: {point.reason}")
    for sentence in sentences(found):
        print(sentence)


def _draw(found: Results, path: Path) -> None:
    from plots import gpu_race

    if any((told := shares(found)).values()):
        _files.save_picture(gpu_race.draw(found, told), path)
    else:
        print(f"{path} is not drawn: no kernel was timed beside cuBLAS")


def _judge(found: Results) -> None:
    points = found.of(MatmulPoint)
    wrong = [f"{point}: {point.reason}" for point in points if point.status == "failed"]
    peak = found.gpu_ceilings.peak_flops if found.gpu_ceilings else math.inf
    wrong += [
        f"{point} is " + above("the GPU's peak")
        for point in points
        if point.samples and has_peak(point.kernel, point.rounds_to, found.machine.system) and point.rate.median > peak
    ]
    if wrong:
        raise cli.CommandError("; ".join(wrong), cli.CHECK_FAILED)


def sentences(found: Results) -> list[str]:
    """At each shape: the fastest hand-written kernel of each format beside cuBLAS, and Numba beside CUDA C."""
    said = []
    for shape, here in _by_shape(found).items():
        own = sorted(
            (name for name, point in here.items() if point.samples and _handwritten(name)),
            key=lambda name: here[name].seconds.median,
        )
        best = {_yardstick(name): name for name in reversed(own)}
        parts = [
            f"{name} is {share} times as fast as {yardstick}"
            for yardstick, name in best.items()
            if (share := _share(here, name, yardstick))
        ]
        if parts := sorted(parts + _twins(here)):
            said.append(f"At {shape}: {'; '.join(parts)}.")
    return said


def _twins(here: Mapping[str, MatmulPoint]) -> list[str]:
    """How long Numba's version of a technique takes beside CUDA C's."""
    twins = [(name, name.replace("numba", "cupy")) for name in here if name.startswith("cuda-numba-")]
    return [f"{numba} takes {share} times as long as {c}" for numba, c in twins if (share := _share(here, c, numba))]


def shares(found: Results) -> dict[str, dict[str, Spread]]:
    """How many times as fast as cuBLAS in its format each hand-written kernel is, whole calls, by shape and name."""
    return {
        shape: {
            name: share
            for name in here
            if _handwritten(name) and "," not in name and (share := _share(here, name, _yardstick(name)))
        }
        for shape, here in _by_shape(found).items()
    }


def _handwritten(contestant: str) -> bool:
    return find(contestant.partition(",")[0]).handwritten


def _by_shape(found: Results) -> dict[str, dict[str, MatmulPoint]]:
    shapes: dict[str, dict[str, MatmulPoint]] = {}
    for point in found.of(MatmulPoint):
        shapes.setdefault(point.shape, {})[point.kernel] = point
    return shapes


def _share(points: Mapping[str, MatmulPoint], faster: str, slower: str) -> Spread | None:
    """How many times as fast one is as the other; None where one was not timed."""
    if not all(name in points and points[name].samples for name in (faster, slower)):
        return None
    return ratio(points[slower].samples, points[faster].samples)


if __name__ == "__main__":
    main()
