"""``python -m experiments.matmul_scaling``: how fast is each kernel, at which size, and against the machine's limit?

Every kernel is verified against its error bound before it is timed. The cost of a point is predicted from the one
before, and a point that would take too long is skipped and says so.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kernels
from experiments import _pictures
from kernels import cli, progress
from kernels.ladder import ALIASES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernels import Kernel
    from kernels.contract import Reference
    from kernels.measure.ceilings import Ceilings
    from kernels.measure.results import MatmulPoint, Results

EXAMPLES = """\
  python -m experiments.matmul_scaling                                  all kernels that run here
  python -m experiments.matmul_scaling --quick                          in half a minute
  python -m experiments.matmul_scaling --kernel cpu-python numba --sizes 64 128 --shapes 128x156x512
  python -m experiments.matmul_scaling --results run.json --plot run.png
  python -m experiments.matmul_scaling --from run.json --plot run.svg   draw again, measure nothing
exit codes: 0 done, 1 a kernel was wrong, 2 wrong usage, 3 a kernel asked for cannot run here"""

SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
QUICK_SIZES = (32, 64, 128, 256, 512)
# the network's products: z = xh·W, dxh = dz·Wᵀ, dW = xhᵀ·dz
NETWORK_SHAPES = ("128x156x512", "128x512x156:nt", "156x128x512:tn")
_PROBE = 32  # size of the first, uncounted product: it compiles, and tells what larger ones will cost


class Shape(NamedTuple):
    """(M,K)·(K,N); layout says which operand is a transposed view, a's first: nn, nt, tn, tt."""

    m: int
    k: int
    n: int
    layout: str = "nn"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Argument type: 128x156x512, or 128x512x156:nt."""
        match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)x([1-9]\d*)(?::([nt]{2}))?", text)
        if match is None:
            raise argparse.ArgumentTypeError(f"must look like 128x156x512 or 128x512x156:nt, not '{text}'")
        return cls(int(match[1]), int(match[2]), int(match[3]), match[4] or "nn")

    @property
    def flops(self) -> int:
        return 2 * self.m * self.k * self.n

    def operands(self) -> tuple[NDArray, NDArray]:
        """a (M,K) and b (K,N), float32 from N(0,1), always the same."""
        import numpy as np

        random = np.random.default_rng(self.m * self.k * self.n)
        sides = ((self.m, self.k), (self.k, self.n))
        a, b = (
            random.standard_normal(side, np.float32)
            if order == "n"
            else random.standard_normal(side[::-1], np.float32).T
            for side, order in zip(sides, self.layout, strict=True)
        )
        return a, b


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
        help=f"(M,K)·(K,N); :nt, :tn, :tt for transposed views (default: the network's, {' '.join(NETWORK_SHAPES)})",
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
    p.add_argument("--results", type=Path, metavar="FILE", help="write a result file (.json)")
    p.add_argument("--plot", type=Path, metavar="FILE", help="draw the rates (.png, .svg or .pdf)")
    p.add_argument(
        "--from",
        dest="source",
        type=Path,
        metavar="FILE",
        help="show and draw a result file, measure nothing",
    )
    return p


def main(arguments: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    with cli.errors_as_lines():
        if options.list:
            _list()
        elif options.source:
            _pictures.require(options.plot)
            _show(cli.read_results(options.source), options.plot)
        else:
            _measure(options, arguments)


def _list() -> None:
    for name, reason in kernels.available().items():
        print(f"{name:22} {'available' if reason is None else f'not available: {reason}'}")
    print(f"aliases: {', '.join(ALIASES)}")


def _measure(options: argparse.Namespace, arguments: list[str]) -> None:
    cli.require_writable(options.results)
    _pictures.require(options.plot)
    asked = options.kernel or [name for name, reason in kernels.available().items() if reason is None]
    cli.use_threads(options.threads)
    # two names of one kernel are one kernel
    chosen = {kernel.name: kernel for kernel in map(cli.get_kernel, asked)}
    quick = options.quick
    scaling = Scaling(
        list(chosen.values()),
        _shapes(options),
        options.threads,
        min_time=options.min_time or (0.05 if quick else 0.2),
        time_limit=options.time_limit or (3.0 if quick else 20.0),
        verify_only=options.verify_only,
        cold_cache=options.cold_cache,
    )
    if options.verify_only:
        scaling.run()
        _finish(scaling.points)
        return

    from kernels.measure import machine, results

    print(f"Machine: {machine.describe().sentence()}")
    scaling.measure_limits()
    for limits in scaling.limits.values():
        print(
            f"Limits:  {limits.peak_flops / 1e9:,.0f} GFLOP/s, {limits.memory_bandwidth / 1e9:,.0f} GB/s from memory, "
            f"measured with {limits.threads:,} threads",
            flush=True,
        )
    scaling.run()
    found = results.new(
        "experiments.matmul_scaling",
        arguments,
        list(scaling.points),
        scaling.limits.get("cpu"),
        gpu_ceilings=scaling.limits.get("cuda"),
    )
    if options.results:
        cli.write_results(options.results, found)
    _show(found, options.plot)
    _finish(scaling.points)


def _show(found: Results, plot: Path | None) -> None:
    from experiments._scaling_table import summary, tables
    from kernels.measure.results import MatmulPoint

    points = [point for point in found.points if isinstance(point, MatmulPoint)]
    tables(points)
    if sentence := summary(points):
        print(sentence)
    if plot:
        from plots import scaling

        _pictures.save(scaling.draw(found), plot)


def _finish(points: list[MatmulPoint]) -> None:
    if wrong := [point for point in points if point.status == "failed"]:
        reasons = "; ".join(f"{point.kernel} at {point.shape}: {point.reason}" for point in wrong)
        raise cli.CommandError(reasons, cli.CHECK_FAILED)


class Scaling:
    """The measurement: every kernel at every shape, smallest first; `points` holds what came of it."""

    def __init__(
        self,
        chosen: list[Kernel],
        shapes: list[Shape],
        threads: int,
        min_time: float = 0.2,
        time_limit: float = 20.0,
        verify_only: bool = False,
        cold_cache: bool = False,
    ) -> None:
        self.kernels, self.shapes, self.threads = chosen, shapes, threads
        self.min_time, self.time_limit, self.verify_only = min_time, time_limit, verify_only
        self.cold_cache = cold_cache
        self.limits: dict[str, Ceilings] = {}  # by family
        self.points: list[MatmulPoint] = []
        self._seconds_per_flop: dict[str, float] = {}
        self._first_call: dict[str, float] = {}

    def measure_limits(self) -> None:
        """Of the processor, and of the GPU, as far as kernels of theirs are to run."""
        families = {kernel.spec.family for kernel in self.kernels}
        self.limits = {family: _limits(family, self.threads) for family in sorted(families)}

    def run(self) -> None:
        from kernels.contract import Reference

        with progress.named(len(self.shapes) * len(self.kernels)) as advance:
            for kernel in self.kernels:
                self._probe(kernel)
            for shape in sorted(self.shapes, key=lambda shape: shape.flops):
                a, b = shape.operands()
                reference: Reference | None = None
                for kernel in self.kernels:
                    advance(f"{kernel.name} {'x'.join(map(str, shape[:3]))}")
                    if reason := self._too_long(kernel, shape):
                        self._record(kernel, shape, "skipped", reason=reason)
                        continue
                    reference = reference or Reference.of(a, b)
                    self._point(kernel, shape, a, b, reference)

    def _probe(self, kernel: Kernel) -> None:
        from kernels.measure.timing import first_call

        shape = Shape(_PROBE, _PROBE, _PROBE)
        a, b = shape.operands()
        self._first_call[kernel.name] = first_call(lambda: kernel.matmul(a, b))
        self._seconds_per_flop[kernel.name] = first_call(lambda: kernel.matmul(a, b)) / shape.flops

    def _too_long(self, kernel: Kernel, shape: Shape) -> str | None:
        from kernels.measure.timing import MIN_SAMPLES

        calls = 1 if self.verify_only else 2 + MIN_SAMPLES
        seconds = self._seconds_per_flop[kernel.name] * shape.flops * calls
        return f"would take {_duration(seconds)}" if seconds > self.time_limit else None

    def _point(self, kernel: Kernel, shape: Shape, a: NDArray, b: NDArray, reference: Reference) -> None:
        import numpy as np

        from kernels.contract import VerificationError

        out = np.full((shape.m, shape.n), np.nan, np.float32)
        try:
            error = reference.check(kernel.matmul(a, b, out), kernel.name, kernel.spec.rounds_to)
        except VerificationError as wrong:
            self._record(kernel, shape, "failed", reason=str(wrong))
            return
        if self.verify_only:
            print(f"{kernel.name} at {'x'.join(map(str, shape[:3]))}: correct, error {error:.3f} of the bound")
            return
        details = _time(kernel, a, b, out, self.min_time, self.cold_cache)
        rate = shape.flops / float(np.median(details["samples"]))
        self._seconds_per_flop[kernel.name] = 1 / rate
        if self._impossible(kernel, rate):
            self._record(kernel, shape, "failed", reason=f"{rate / 1e9:,.0f} GFLOP/s is above the machine's peak")
        else:
            self._record(kernel, shape, "ok", error=error, **details)

    def _impossible(self, kernel: Kernel, rate: float) -> bool:
        """Whether a rate is above the peak; the peak is measured again first, as a neighbour may have lowered it."""
        if kernel.spec.rounds_to != "float32":
            return False  # other units than those the peak was measured with
        family = kernel.spec.family
        if rate > self.limits[family].peak_flops:
            again = _limits(family, self.threads)
            if again.peak_flops > self.limits[family].peak_flops:
                self.limits[family] = again
        return rate > self.limits[family].peak_flops

    def _record(self, kernel: Kernel, shape: Shape, status: str, **details: object) -> None:
        from kernels.measure.results import MatmulPoint

        self.points.append(
            MatmulPoint(
                kernel=kernel.name,
                m=shape.m,
                k=shape.k,
                n=shape.n,
                layout=shape.layout,  # type: ignore[arg-type]
                threads=self.threads,
                status=status,  # type: ignore[arg-type]
                first_call=self._first_call[kernel.name],
                **details,  # type: ignore[arg-type]
            )
        )


def _limits(family: str, threads: int) -> Ceilings:
    if family == "cuda":
        from kernels.measure import gpu_ceilings

        return gpu_ceilings.measure()[0]
    from kernels.measure import ceilings

    return ceilings.measure(threads)


def _time(kernel: Kernel, a: NDArray, b: NDArray, out: NDArray, min_time: float, cold_cache: bool) -> dict[str, Any]:
    """Samples of a kernel; those of a CUDA kernel with operands that lie on the GPU, and the copying apart."""
    if kernel.spec.family != "cuda":
        from kernels.measure.timing import repeat

        return {"samples": repeat(lambda: kernel.matmul(a, b, out), min_time)}
    from kernels.cuda import arrays, timing
    from kernels.measure.machine import sm_clock

    on_gpu = [arrays.to_device(x) for x in (a, b, out)]
    samples = timing.repeat(lambda: kernel.matmul(*on_gpu), min_time, cold_cache)
    return {"samples": samples, "sm_clock": sm_clock(), "transfer": arrays.copy_seconds(a, b)}


def _shapes(options: argparse.Namespace) -> list[Shape]:
    """The squares and shapes asked for; both sets of defaults only when neither was named."""
    default = not options.sizes and not options.shapes
    sizes = options.sizes or ((QUICK_SIZES if options.quick else SIZES) if default else ())
    shapes = options.shapes or (map(Shape.parse, NETWORK_SHAPES) if default else ())
    return list(dict.fromkeys([*(Shape(size, size, size) for size in sizes), *shapes]))


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:.0f} s"


if __name__ == "__main__":
    main()
