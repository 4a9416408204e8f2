"""Measuring kernels over shapes: verify, then time; skip what would take too long; refuse what cannot be true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments._broken import broke
from experiments._forecast import Forecast
from experiments._peak import above, has_peak
from kernels import progress
from kernels.measure import gpu_ceilings, machine
from kernels.measure.limits import Ceilings
from kernels.measure.results import MatmulPoint
from kernels.measure.timing import MIN_SAMPLES, repeat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kernels import Kernel
    from kernels.contract import Reference
    from kernels.shapes import Shape

__all__ = ["Scaling", "point_of"]


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
        self.min_time, self.verify_only = min_time, verify_only
        self.cold_cache = cold_cache
        self.limits: dict[str, Ceilings] = {}  # by family
        self.points: list[MatmulPoint] = []
        self._forecast = Forecast(time_limit)
        self._first_call: dict[str, float] = {}
        self._system = machine.system()

    @property
    def asked(self) -> int:
        """How many points there will be."""
        return len(self.shapes) * len(self.kernels)

    def measure_limits(self) -> None:
        """Of the processor, and of the GPU, as far as kernels of theirs are to run."""
        # what processes on other machines could do at most, this one cannot measure
        families = {kernel.spec.family for kernel in self.kernels} - {"mpi"}
        self.limits = {family: _limits(family, self.threads) for family in sorted(families)}

    def run(self) -> None:
        calls = 1 if self.verify_only else 2 + MIN_SAMPLES
        most = max(shape.flops for shape in self.shapes)
        with progress.named(self.asked) as advance:
            self._first_call = self._forecast.try_out(self.kernels, most)
            for shape in sorted(self.shapes, key=lambda shape: shape.flops):
                prepared: tuple[NDArray, NDArray, Reference] | None = None
                for kernel in self.kernels:
                    advance(f"{kernel.name} {shape}")
                    if reason := self._forecast.broken.get(kernel.name):
                        self._record(kernel, shape, "failed", reason=reason)
                        continue
                    if reason := self._forecast.too_long(kernel.name, shape.flops, calls):
                        self._skip(kernel, shape, reason)
                        continue
                    try:
                        prepared = prepared or _prepared(shape)
                    except (MemoryError, ValueError) as error:  # ValueError: K is too long for any bound
                        self._skip(kernel, shape, str(error))
                        continue
                    self._point(kernel, shape, *prepared)

    def _point(self, kernel: Kernel, shape: Shape, a: NDArray, b: NDArray, reference: Reference) -> None:
        import numpy as np

        from kernels.contract import VerificationError

        out = np.full((shape.m, shape.n), np.nan, np.float32)
        details: dict[str, Any] = {}
        try:
            error = reference.check(kernel.matmul(a, b, out), kernel.name, kernel.spec.rounds_to)
            if not self.verify_only:
                details = _time(kernel, a, b, out, self.min_time, self.cold_cache)
        except VerificationError as wrong:
            self._record(kernel, shape, "failed", reason=str(wrong))
            return
        except MemoryError as lacking:
            status = "failed" if self.verify_only else "skipped"  # what was not verified is not right
            self._record(kernel, shape, status, reason=str(lacking) or "too little memory")
            return
        except Exception as broken:
            self._record(kernel, shape, "failed", reason=broke(kernel, broken))
            return
        if self.verify_only:
            print(f"{kernel.name} at {shape}: correct, error {error:.3f} of the bound")
            return
        seconds = float(np.median(details["samples"]))
        self._forecast.learn(kernel.name, seconds, shape.flops)
        rate = shape.flops / seconds
        if self._impossible(kernel, rate):
            peak = f"the machine's peak of {self.limits[kernel.spec.family].peak_flops / 1e9:,.0f}"
            self._record(kernel, shape, "failed", reason=f"{rate / 1e9:,.0f} GFLOP/s is {above(peak)}")
        else:
            self._record(kernel, shape, "ok", error=error, **details)

    def _impossible(self, kernel: Kernel, rate: float) -> bool:
        """Whether a rate is above the peak; the peak is measured again first, as a neighbour may have lowered it."""
        family = kernel.spec.family
        if family not in self.limits or not has_peak(kernel.name, kernel.spec.rounds_to, self._system):
            return False
        if rate > self.limits[family].peak_flops:
            again = _limits(family, self.threads)
            if again.peak_flops > self.limits[family].peak_flops:
                self.limits[family] = again
        return rate > self.limits[family].peak_flops

    def _skip(self, kernel: Kernel, shape: Shape, reason: str) -> None:
        self._record(kernel, shape, "skipped", reason=reason)
        if self.verify_only:  # otherwise the table says so
            print(f"{kernel.name} at {shape} skipped: {reason}")

    def _record(self, kernel: Kernel, shape: Shape, status: str, **details: Any) -> None:
        first_call = self._first_call.get(kernel.name)
        self.points.append(point_of(kernel, shape, self.threads, status, first_call=first_call, **details))


def point_of(
    kernel: Kernel, shape: Shape, threads: int, status: str = "ok", name: str | None = None, **details: Any
) -> MatmulPoint:
    """What came of a kernel at a shape. name: where it is not the kernel's. details: as MatmulPoint has them."""
    return MatmulPoint(
        kernel=name or kernel.name,
        **shape._asdict(),
        threads=threads,
        status=status,  # type: ignore[arg-type]
        rounds_to=kernel.spec.rounds_to,
        tile=_tile(kernel, shape) if "samples" in details else None,
        **details,
    )


def _tile(kernel: Kernel, shape: Shape) -> dict[str, int] | None:
    """The sizes of a CUDA C kernel, tuned for this GPU or not."""
    from kernels.cuda.launch import Sized

    if not isinstance(kernel.product, Sized):
        return None
    import cupy

    return kernel.product.tile_at(shape.m, shape.n, cupy.cuda.Device().id).defines()


def _prepared(shape: Shape) -> tuple[NDArray, NDArray, Reference]:
    """Operands, and their product in float64. Raises MemoryError; ValueError for a K without an error bound."""
    from kernels.contract import Reference

    a, b = shape.operands()
    return a, b, Reference.of(a, b)


def _limits(family: str, threads: int) -> Ceilings:
    if family == "cuda":
        return gpu_ceilings.measure()[0]
    from kernels.measure import ceilings

    return ceilings.measure(threads)


def _time(kernel: Kernel, a: NDArray, b: NDArray, out: NDArray, min_time: float, cold_cache: bool) -> dict[str, Any]:
    """Samples of a kernel; those of a CUDA kernel with operands that lie on the GPU, and the copying apart."""
    if kernel.spec.family != "cuda":
        return {"samples": repeat(lambda: kernel.matmul(a, b, out), min_time)}
    from kernels.cuda import arrays, timing

    on_gpu = [arrays.to_device(x) for x in (a, b, out)]
    samples = timing.repeat(lambda: kernel.matmul(*on_gpu), min_time, cold_cache)
    return {"samples": samples, "sm_clock": machine.sm_clock(), "transfer": arrays.copy_seconds(a, b)}
