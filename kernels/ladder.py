"""The ladder: the one place that names kernels.

Help texts, the README's table, plot labels and test parameters are all made from `LADDER`. Fast is not the order:
a rung that gains nothing stays, and says so. A kernel's file follows from its name: ``cpu-numba-tiled`` is
``kernels/cpu/numba_tiled.py``, ``cuda-cupy-shared`` is ``kernels/cuda/cupy_shared.cu``.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ALIASES", "LADDER", "KernelSpec", "find"]


@dataclass(frozen=True)
class KernelSpec:
    """One rung: what a kernel is, without importing it.

    idea: what now happens at the same time. bottleneck: what holds it back, and the kernel that lifts that.
    requires: the installed packages it needs beyond NumPy, and "nvidia-gpu" where it needs one.
    architecture: the least compute capability of a GPU, 61 for 6.1; 0 where none is needed. only_architecture: no newer
    one will do either.
    handwritten: False for a vendor's library, which is here as a yardstick.
    rounds_to: the format that operands are shortened to, where it is not float32; of `contract.OPERAND_ERROR`.
    """

    name: str
    idea: str
    bottleneck: str
    requires: tuple[str, ...] = ()
    architecture: int = 0
    only_architecture: bool = False
    handwritten: bool = True
    rounds_to: str = "float32"

    @property
    def module(self) -> str:
        """Dotted path of the file that holds the kernel."""
        family, _, rest = self.name.partition("-")
        return f"kernels.{family}.{rest.replace('-', '_')}"

    @property
    def source(self) -> str:
        """Path of the kernel's file, from the repository's root."""
        return self.module.replace(".", "/") + (".cu" if self.name.startswith("cuda-cupy-") else ".py")

    @property
    def family(self) -> str:
        """Where it runs: cpu, cuda or mpi."""
        return self.name.partition("-")[0]

    def runs_on(self, architecture: int) -> bool:
        """Whether a GPU of this compute capability has what the kernel needs."""
        return architecture == self.architecture or (architecture > self.architecture and not self.only_architecture)

    @staticmethod
    def flops(m: int, n: int, k: int) -> int:
        """Floating-point operations of (m,k)·(k,n): a multiplication and an addition per c(i,j) and step of k."""
        return 2 * m * n * k

    @staticmethod
    def min_bytes(m: int, n: int, k: int) -> int:
        """Bytes of float32 that must move at least: A and B read once, C written once."""
        return 4 * (m * k + k * n + m * n)


_CUPY = ("nvidia-gpu", "cupy")
_NUMBA_CUDA = (*_CUPY, "numba", "numba_cuda")

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
        bottleneck="each addition waits for the last, and B is read down its columns; lifted by cpu-numba-reordered",
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
        bottleneck="a load and a store of C for each multiplication, B read for each row; lifted by cpu-numba-tiled",
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
    KernelSpec(
        name="cuda-numba-naive",
        idea="every c(i,j): one GPU thread for each",
        bottleneck="neighbours read different rows: 32 sectors to a load, not 4; lifted by cuda-numba-coalesced",
        requires=_NUMBA_CUDA,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-numba-coalesced",
        idea="the same, and the 32 threads of a warp read 32 neighbours of a row",
        bottleneck="two numbers fetched from global memory for each multiplication; lifted by cuda-numba-shared",
        requires=_NUMBA_CUDA,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-numba-shared",
        idea="a block of 1,024 threads fetches tiles of A and B together, and all read them from shared memory",
        bottleneck="two reads of shared memory for each multiplication; lifted by cuda-numba-register",
        requires=_NUMBA_CUDA,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-numba-register",
        idea="the 64 multiplications of a thread's 8x8 tile of C, which stays in its registers",
        bottleneck="4 bytes to a load, and all wait for the next tiles; lifted by cuda-cupy-vector",
        requires=_NUMBA_CUDA,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-naive",
        idea="as cuda-numba-naive, in CUDA C",
        bottleneck="neighbouring threads read different rows; lifted by cuda-cupy-coalesced",
        requires=_CUPY,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-coalesced",
        idea="as cuda-numba-coalesced, in CUDA C",
        bottleneck="two numbers fetched from global memory for each multiplication; lifted by cuda-cupy-shared",
        requires=_CUPY,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-shared",
        idea="as cuda-numba-shared, in CUDA C",
        bottleneck="two reads of shared memory for each multiplication; lifted by cuda-cupy-register",
        requires=_CUPY,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-register",
        idea="as cuda-numba-register, in CUDA C",
        bottleneck="4 bytes to a load: most instructions load and store shared memory; lifted by cuda-cupy-vector",
        requires=_CUPY,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-vector",
        idea="16 bytes to a load: a quarter of the loads for as many multiplications",
        bottleneck="the arithmetic stands still while the next tiles are fetched; lifted by cuda-cupy-pipelined",
        requires=_CUPY,
        architecture=50,
    ),
    KernelSpec(
        name="cuda-cupy-pipelined",
        idea="copies overlap arithmetic: the next tiles travel while this one is multiplied",
        bottleneck="a warp reads two long rows of shared memory; cuda-cupy-warptile sets it in a rectangle",
        requires=_CUPY,
        architecture=80,
    ),
    KernelSpec(
        name="cuda-cupy-warptile",
        idea="a warp owns a rectangle of C, and the next numbers leave shared memory while the last are multiplied",
        bottleneck="the chip's float32 arithmetic; cuda-cupy-tensor uses other units, with fewer digits",
        requires=_CUPY,
        architecture=80,
    ),
    KernelSpec(
        name="cuda-cupy-tensor",
        idea="1,024 multiply-adds to one instruction of a warp: tensor cores, operands shortened to TF32",
        bottleneck="operands pass through registers on their way to the tensor cores; lifted by cuda-cupy-hopper-tf32",
        requires=_CUPY,
        architecture=80,
        rounds_to="tf32",
    ),
    KernelSpec(
        name="cuda-cupy-hopper",
        idea="a copy engine fills shared memory, two warpgroups' tensor cores read it there; operands rounded to bf16",
        bottleneck="the tensor cores, where tiles are many; the last round of tiles, where they are few",
        requires=_CUPY,
        architecture=90,
        only_architecture=True,
        rounds_to="bf16",
    ),
    KernelSpec(
        name="cuda-cupy-hopper-tf32",
        idea="as cuda-cupy-hopper, in TF32: the copy engine shortens the numbers on the way",
        bottleneck="the tensor cores; an operand that lies the wrong way is turned round first",
        requires=_CUPY,
        architecture=90,
        only_architecture=True,
        rounds_to="tf32",
    ),
    KernelSpec(
        name="cuda-cublas",
        idea="yardstick: NVIDIA's cuBLAS, TF32 off",
        bottleneck="the chip's float32 arithmetic; it shows what is possible, not how",
        requires=_CUPY,
        architecture=50,
        handwritten=False,
    ),
    KernelSpec(
        name="cuda-cublas-tf32",
        idea="yardstick of both TF32 kernels: cuBLAS on tensor cores, operands shortened to TF32",
        bottleneck="the tensor cores; it shows what is possible, not how",
        requires=_CUPY,
        architecture=80,
        handwritten=False,
        rounds_to="tf32",
    ),
    KernelSpec(
        name="cuda-cublas-bf16",
        idea="yardstick of cuda-cupy-hopper: cuBLAS on operands that the same kernel rounds to bf16",
        bottleneck="the tensor cores; it shows what is possible, not how",
        requires=_CUPY,
        architecture=90,
        only_architecture=True,
        handwritten=False,
        rounds_to="bf16",
    ),
    KernelSpec(
        name="mpi-summa",
        idea="a block of C on each process; panels of A and B pass along rows and columns of the grid meanwhile",
        bottleneck="the network: twice as wide a grid leaves a quarter of the work and half of the traffic to each",
        requires=("mpi4py", "numba"),
    ),
)


def find(name: str) -> KernelSpec:
    """The rung of this name. Raises KeyError."""
    return _BY_NAME[name]


_BY_NAME = {spec.name: spec for spec in LADDER}

# First name that can run here wins: the fastest hand-written kernels, fastest first.
_NUMBA = ("cpu-numba-simd", "cpu-numba-tiled", "cpu-numba-parallel")
_CUDA = ("cuda-cupy-warptile", "cuda-cupy-vector", "cuda-cupy-register", "cuda-numba-register")

ALIASES: dict[str, tuple[str, ...]] = {
    "python": ("cpu-python",),
    "numba": _NUMBA,
    "cuda": _CUDA,
    "auto": _CUDA + _NUMBA,
}
