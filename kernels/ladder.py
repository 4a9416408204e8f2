"""The ladder: the one place that names kernels.

Help texts, the README's table, plot labels and test parameters are all made from `LADDER`. Fast is not the order:
a rung that gains nothing stays, and says so. A kernel's file follows from its name: ``cpu-numba-tiled`` is
``kernels/cpu/numba_tiled.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALIASES", "LADDER", "KernelSpec"]


@dataclass(frozen=True)
class KernelSpec:
    """One rung: what a kernel is, without importing it.

    idea: what now happens at the same time. bottleneck: what holds it back, and the kernel that lifts that.
    requires: the installed packages it needs beyond NumPy, and "nvidia-gpu" where it needs one.
    handwritten: False for a vendor's library, which is here as a yardstick.
    """

    name: str
    idea: str
    bottleneck: str
    requires: tuple[str, ...] = ()
    handwritten: bool = True

    @property
    def module(self) -> str:
        """Dotted path of the file that holds the kernel."""
        family, _, rest = self.name.partition("-")
        return f"kernels.{family}.{rest.replace('-', '_')}"

    @property
    def family(self) -> str:
        """Where it runs: cpu, cuda or mpi."""
        return self.name.partition("-")[0]

    @staticmethod
    def flops(m: int, n: int, k: int) -> int:
        """Floating-point operations of (m,k)·(k,n): a multiplication and an addition per c(i,j) and step of k."""
        return 2 * m * n * k

    @staticmethod
    def min_bytes(m: int, n: int, k: int) -> int:
        """Bytes of float32 that must move at least: A and B read once, C written once."""
        return 4 * (m * k + k * n + m * n)


LADDER: tuple[KernelSpec, ...] = (
    KernelSpec(
        name="cpu-blas",
        idea="yardstick: NumPy's BLAS as installed, tuned for decades",
        bottleneck="the cores' arithmetic; it shows what is possible, not how",
        handwritten=False,
    ),
    KernelSpec(
        name="cpu-python",
        idea="nothing: one c(i,j) after another, every multiplication interpreted",
        bottleneck="the interpreter, about 50 ns a multiplication; cpu-numba-serial compiles it away",
    ),
    KernelSpec(
        name="cpu-numba-serial",
        idea="the same loop, compiled: still one multiplication after another",
        bottleneck="each addition waits for the last, and B is read down its columns; cpu-numba-reordered",
        requires=("numba",),
    ),
    KernelSpec(
        name="cpu-numba-reordered",
        idea="i-k-j order walks memory in order, so one instruction updates 4 to 16 neighbours of a row of C",
        bottleneck="one core of many; cpu-numba-parallel uses them all",
        requires=("numba",),
    ),
    KernelSpec(
        name="cpu-numba-parallel",
        idea="rows of C on all cores: no two c(i,j) wait for each other",
        bottleneck="a load and a store of C for each multiplication, and B read again for each row; cpu-numba-tiled",
        requires=("numba",),
    ),
    KernelSpec(
        name="cpu-numba-tiled",
        idea="blocks that stay in cache, and each number fetched serves a 6x4 block of multiplications",
        bottleneck="sums still travel between L1 cache and registers; cpu-numba-simd keeps them there",
        requires=("numba",),
    ),
    KernelSpec(
        name="cpu-numba-simd",
        idea="packed panels, a register tile of 8x32 sums, explicit vector lanes, all cores",
        bottleneck="the cores' arithmetic: only more cores help, and a GPU has thousands",
        requires=("numba",),
    ),
)

# First name that can run here wins: the fastest hand-written kernels, fastest first.
_NUMBA = ("cpu-numba-simd", "cpu-numba-tiled", "cpu-numba-parallel")
_CUDA: tuple[str, ...] = ()

ALIASES: dict[str, tuple[str, ...]] = {
    "python": ("cpu-python",),
    "numba": _NUMBA,
    "cuda": _CUDA,
    "auto": _CUDA + _NUMBA,
}
