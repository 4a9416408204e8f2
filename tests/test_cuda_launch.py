"""Launching without a GPU: sizes, parts, what a GPU must have, and whose arrays go where (a stand-in for CuPy)."""

from __future__ import annotations

import configparser
import importlib.metadata
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernels
from experiments._scaling import point_of
from kernels import extras
from kernels.contract import Reference
from kernels.cuda import arrays, launch, requirements, sizes
from kernels.cuda.programs import PROGRAMS
from kernels.cuda.tiles import Hopper, OneEach, Pipelined, Register, Square, Tensor, Vector, WarpTile
from kernels.ladder import find
from kernels.measure import machine
from kernels.shapes import Shape
from tests import fake_cupy

WARPTILE = PROGRAMS["cuda-cupy-warptile"]


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Any:
    return fake_cupy.install(monkeypatch)


@pytest.fixture(autouse=True)
def no_tuned_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sizes, "tuned_file", lambda: tmp_path / "cache" / "tuned.json")
    sizes.forget()


# -- sizes


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: OneEach(64, 32), "2048 threads"),
        (lambda: Square(33), "1089 threads"),
        (lambda: Register(128, 128, 48, 8, 8), "49536 bytes of shared memory are more than a block's 49152"),
        (lambda: Vector(128, 128, 48, 8, 8), "50688 bytes of shared memory"),
        (lambda: Register(128, 128, 8, 8, 7), "do not divide"),
        (lambda: Register(512, 512, 8, 16, 16), "256 sums"),
        (lambda: Vector(128, 128, 6, 8, 8), "multiple of 4"),
        (lambda: Vector(64, 32, 8, 8, 8), "rows of 64 numbers do not divide 32 threads"),
        (lambda: WarpTile(128, 64, 16, 64, 64, 3, 1, 8, 16, 8), "rows of 128 numbers do not divide 64 threads"),
        (lambda: Pipelined(128, 128, 16, 8, 8, 1), "2 stages"),
        (lambda: Pipelined(128, 128, 32, 8, 8, 8), "270336 bytes of shared memory"),
        (lambda: WarpTile(128, 128, 16, 48, 64, 3, 2, 8, 8, 8), "do not divide the block"),
        (lambda: WarpTile(128, 128, 16, 64, 64, 3, 2, 8, 8, 8), "32 threads, not 64"),
        (lambda: WarpTile(32, 32, 8, 16, 32, 3, 2, 8, 4, 4, 3), "slices do not divide"),
        (lambda: WarpTile(32, 32, 8, 16, 32, 3, 2, 8, 4, 4, 8), "two steps of k in turn"),
        (lambda: Tensor(128, 128, 8, 64, 32, 3, 2, 8), "8 steps of k, and two take turns"),
        (lambda: Tensor(16, 128, 16, 16, 32, 3, 2, 8), "keep banks apart"),
        (lambda: Hopper(2, 5, 8, 1), "bytes of shared memory"),
        (lambda: Hopper(3, 4, 8, 2), "2 bytes or 4"),
        (lambda: Hopper(2, 4, 8, 3), "a cluster has 1, 2, 4 or 8 blocks"),
    ],
)
def test_sizes_that_cannot_work_are_refused(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make()


def test_only_memory_whose_size_the_compiler_knows_ends_at_48_kib() -> None:
    assert Pipelined(256, 128, 32, 8, 16, 2).shared_bytes == 100_352
    with pytest.raises(ValueError, match="50176 bytes"):
        Vector(256, 128, 32, 8, 16)


@pytest.mark.parametrize("tile", [*PROGRAMS["cuda-cupy-tensor"].tiles, Tensor(128, 32, 32, 32, 32, 3, 1, 1)], ids=str)
def test_shared_memory_holds_either_layout_of_each_operand(tile: Tensor) -> None:
    """cupy_tensor.cu: rows along k have block_k + 8 numbers, the others block_m + 4 or block_n + 4."""
    a, b = (((tile.block_k + 8) * side, tile.block_k * (side + 4)) for side in (tile.block_m, tile.block_n))
    assert tile.shared_bytes == 4 * tile.stages * max(x + y for x in a for y in b)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=lambda program: program.name)
def test_a_grid_covers_c(program: Any) -> None:
    for tile in program.tiles:
        for m, n in ((1, 1), (128, 512), (129, 513), (4095, 31)):
            height = getattr(tile, "block_m", getattr(tile, "tile", 0))
            width = getattr(tile, "block_n", getattr(tile, "tile", 0))
            cluster = getattr(tile, "cluster", 1)  # whole clusters, whose blocks stand one above the other
            assert np.prod(tile.grid(m, n)) == -(-m // (cluster * height)) * cluster * -(-n // width)


def test_no_more_blocks_than_multiprocessors_in_whole_clusters() -> None:
    assert Hopper(2, 4, 8, 2).resident_grid(8192, 8192, 132) == (132, 1)
    assert Hopper(2, 4, 8, 2).resident_grid(8192, 8192, 131) == (130, 1)
    assert Hopper(2, 4, 8, 2).resident_grid(1, 1, 132) == (2, 1)
    assert Hopper(2, 4, 8, 2).resident_grid(8192, 8192, 1) == (2, 1)  # a cluster is whole or refused
    assert Hopper(2, 4, 8, 1).resident_grid(129, 257, 132) == (4, 1)


def test_the_largest_tile_that_gives_every_multiprocessor_a_block() -> None:
    def chosen(m: int, n: int, multiprocessors: int = 132, shared_bytes: int = 232_448) -> Any:
        return sizes.choose(WARPTILE, m, n, "H200", multiprocessors, shared_bytes)

    assert chosen(4096, 4096) == WARPTILE.tile
    assert chosen(128, 512).grid(128, 512) == (128, 1)  # 16 x 32 is the smallest there is
    assert chosen(128, 512, multiprocessors=16).grid(128, 512)[0] >= 16
    assert chosen(4096, 4096, multiprocessors=np.prod(WARPTILE.tile.grid(4096, 4096))) == WARPTILE.tile
    assert chosen(4096, 4096, shared_bytes=49_152).shared_bytes <= 49_152
    assert chosen(4096, 4096, shared_bytes=18_432).shared_bytes == 18_432
    with pytest.raises(ValueError, match=r"needs 18432 bytes .* has 16384; use --kernel cuda-cupy-vector"):
        chosen(4096, 4096, shared_bytes=16_384)


def test_the_default_is_the_first_that_a_chip_holds() -> None:
    tensor = PROGRAMS["cuda-cupy-tensor"]
    assert tensor.fitting(232_448)[0] == tensor.tile
    smaller = tensor.fitting(tensor.tile.shared_bytes - 1)
    assert smaller == [tile for tile in tensor.tiles if tile.shared_bytes < tensor.tile.shared_bytes]
    chosen = sizes.choose(tensor, 8192, 8192, "A100", 108, tensor.tile.shared_bytes - 1)
    assert chosen == smaller[0]
    assert tensor.fitting(1024) == []


def test_sizes_are_chosen_once_and_not_at_every_launch(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """To look through 16 tuned choices at every product made a training step of 59 products take 8 ms more."""
    request.addfinalizer(sizes.choose.cache_clear)
    sizes.forget()
    asked = []
    monkeypatch.setattr(sizes, "read_tuned", lambda: asked.append(1) or ())
    for _ in range(3):
        sizes.choose(WARPTILE, 128, 512, "H100", 132, 232_448)
    assert len(asked) == 1
    sizes.choose(WARPTILE, 128, 513, "H100", 132, 232_448)
    assert len(asked) == 2


def test_tuned_sizes_are_kept_for_each_gpu_and_the_nearest_counts() -> None:
    small, large = WARPTILE.tiles[-1], WARPTILE.tiles[1]
    sizes.write_tuned([sizes.Tuned("A", WARPTILE.name, 1024, 1024, 1024, small.defines())])
    sizes.write_tuned([sizes.Tuned("A", WARPTILE.name, 4096, 4096, 4096, large.defines())])

    def chosen(m: int, n: int, gpu: str = "A") -> Any:
        return sizes.choose(WARPTILE, m, n, gpu, 132, 232_448)

    assert chosen(1500, 1000) == small
    assert chosen(8192, 8192) == large
    assert chosen(2500, 2500) == large, "whose C has 2.7 times as many numbers; this one has 6 times those of the small"
    assert chosen(1024, 1024, "B") != small
    # the same place again replaces, at once; a tile that no longer exists does not count
    assert chosen(1024, 1024) == small
    sizes.write_tuned([sizes.Tuned("A", WARPTILE.name, 1024, 1024, 1024, {"BLOCK_M": 1})])
    assert len(sizes.read_tuned()) == 2
    assert chosen(1024, 1024) == large


@pytest.mark.parametrize("text", ["", "{", "[{}]", "\xff"])
def test_a_damaged_file_of_tuned_sizes_counts_for_nothing(text: str) -> None:
    sizes.tuned_file().parent.mkdir()
    sizes.tuned_file().write_text(text, encoding="latin-1")
    assert sizes.read_tuned() == ()


# -- launches


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 5), st.integers(1, 5), st.booleans())
def test_parts_cover_c_once_and_fit_the_grid(m: int, n: int, height: int, width: int, columns_down: bool) -> None:
    def grid(rows: int, columns: int) -> tuple[int, int]:
        down, across = -(-rows // height), -(-columns // width)
        return (down, across) if columns_down else (across, down)

    covered = np.zeros((m, n), int)
    most = launch._MOST_BLOCKS_DOWN
    launch._MOST_BLOCKS_DOWN = 16
    try:

        def part(rows: slice, columns: slice) -> None:
            covered[rows, columns] += 1
            assert grid(rows.stop - rows.start, columns.stop - columns.start)[1] <= 16
            # so that rows and columns stay at multiples of 16 bytes
            assert rows.start % 4 == 0

        launch.in_parts(m, n, grid, part)
    finally:
        launch._MOST_BLOCKS_DOWN = most
    assert (covered == 1).all()


def test_layouts(cupy: Any) -> None:
    def layout(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> launch.Layout:
        return launch.Layout.of(*(x.view(fake_cupy.ndarray) for x in (a, b, c)))

    memory = np.zeros(3 * 64 + 4, np.float32)
    memory = memory[(-memory.ctypes.data // 4) % 4 :]
    x = memory[:64].reshape(8, 8)
    assert layout(x, x, x) == (True, False, True)
    assert layout(x.T, x, x) == (False, False, True)
    assert layout(x, x.T, x) == (True, True, True)
    shifted = memory[1:65].reshape(8, 8)
    for operands in ((shifted, x, x), (x, shifted, x), (x, x, shifted)):
        assert layout(*operands) == (True, False, False)
    # 7 numbers to a row of A, of B, of C
    seven = memory[64 : 64 + 56]
    assert not layout(seven.reshape(8, 7), memory[128 : 128 + 56].reshape(7, 8), x).aligned
    assert layout(seven.reshape(7, 8).T, memory[128 : 128 + 56].reshape(7, 8), x).aligned
    assert not layout(x, seven.reshape(8, 7), memory[128 : 128 + 56].reshape(8, 7)).aligned


def test_a_result_tells_the_sizes_that_were_used(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever repeats it without `kernels.tune` may get others."""
    monkeypatch.setattr(launch, "gpu", lambda device: launch.GPU("A", 90, 132, 232_448))
    small = WARPTILE.tiles[-1]
    sizes.write_tuned([sizes.Tuned("A", WARPTILE.name, 64, 64, 64, small.defines())])

    def told(name: str, tile: Any = None, **details: Any) -> Any:
        product = launch.for_program(PROGRAMS[name], tile) if name in PROGRAMS else (lambda a, b, c: None)
        return point_of(kernels.Kernel(find(name), product), Shape(64, 64, 64), 1, **details).tile

    timed = {"samples": [1.0]}
    assert told(WARPTILE.name, **timed) == small.defines()
    assert told(WARPTILE.name, WARPTILE.tile, **timed) == WARPTILE.tile.defines()
    assert told("cuda-cupy-hopper", **timed) == PROGRAMS["cuda-cupy-hopper"].tile.defines()
    assert told("cuda-cublas", **timed) is None
    assert told(WARPTILE.name, status="skipped", reason="too long") is None


def test_numba_does_not_warn_of_small_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its warning would end every run in which warnings are errors."""
    config = pytest.importorskip("numba.cuda.core.config")
    driver = pytest.importorskip("numba.cuda.cudadrv.driver")
    from kernels.cuda import numba_naive

    monkeypatch.setattr(config, "CUDA_LOW_OCCUPANCY_WARNINGS", 1)
    monkeypatch.setattr(driver, "_to_core_stream", lambda stream: stream)
    with pytest.warns(match="low occupancy"):
        numba_naive.kernel[(1, 1), (32, 8)]
    monkeypatch.setenv("NUMBA_CUDA_LOW_OCCUPANCY_WARNINGS", "1")
    launch.NumbaCuda(numba_naive)
    assert numba_naive.kernel[(1, 1), (32, 8)]
    config.reload_config()  # as Numba does at its next compilation, where the environment has changed
    assert numba_naive.kernel[(1, 2), (32, 8)]  # another one: each is configured once


# -- arrays


def test_numpy_arrays_go_there_and_back(cupy: Any) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((5, 7), np.float32), random.standard_normal((9, 7), np.float32).T
    c = arrays.run(fake_cupy.multiply, a, b, None)
    assert type(c) is np.ndarray
    Reference.of(a, b).check(c, "numpy")
    out = np.full((5, 9), np.nan, np.float32)
    assert arrays.run(fake_cupy.multiply, a, b, out) is out
    Reference.of(a, b).check(out, "numpy")


def test_cupy_arrays_stay(cupy: Any) -> None:
    a, b = cupy.zeros((2, 3), np.float32), cupy.zeros((3, 4), np.float32)
    assert isinstance(arrays.run(fake_cupy.multiply, a, b, None), fake_cupy.ndarray)
    assert arrays.run(fake_cupy.multiply, a[:0], b, None).shape == (0, 4)
    assert not arrays.run(fake_cupy.multiply, a[:, :0], b[:0], None).any()
    with pytest.raises(TypeError, match=r"b must be a cupy array .* not ndarray"):
        arrays.run(fake_cupy.multiply, a, b.get(), None)
    with pytest.raises(TypeError, match="float32, not float64"):
        arrays.run(fake_cupy.multiply, a, cupy.zeros((3, 4)), None)
    with pytest.raises(TypeError, match="float32, not int32"):
        arrays.run(fake_cupy.multiply, cupy.zeros((2, 3), np.int32), b, None)
    with pytest.raises(ValueError, match=r"\(2, 3\) has 3 columns, b \(2, 3\) has 2 rows"):
        arrays.run(fake_cupy.multiply, a, a, None)


def test_arrays_on_another_gpu_are_refused(cupy: Any) -> None:
    a, b = cupy.zeros((2, 3), np.float32), cupy.zeros((3, 4), np.float32)
    b.device_id = 1
    with pytest.raises(ValueError, match=r"b lies on GPU 1, but GPU 0 is in use: .*cupy.cuda.Device\(1\)"):
        arrays.run(fake_cupy.multiply, a, b, None)


def test_too_little_memory_is_told_in_gib(cupy: Any) -> None:
    def too_large(a: Any, b: Any, c: Any) -> None:
        raise cupy.cuda.memory.OutOfMemoryError

    x = np.zeros((2, 2), np.float32)
    with pytest.raises(MemoryError, match=r"1.0 of 8.0 GiB free; a \(2, 2\) · b \(2, 2\)"):
        arrays.run(too_large, x, x, None)
    thin, wide = np.zeros((2**14, 1), np.float32), np.zeros((1, 2**13), np.float32)
    with pytest.raises(MemoryError, match=r"C need about 0\.5 GiB"):  # C alone, which nobody gave
        arrays.run(too_large, thin, wide, None)


# -- what a GPU must have


def test_the_extras_bring_the_libraries_that_cupys_wheels_lack() -> None:
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[1] / "setup.cfg")
    for major in ("12", "13"):
        asked = settings["options.extras_require"][f"cuda{major}"].split("\n")
        assert any(line.startswith(f"cupy-cuda{major}x[ctk]>=14") for line in asked)


@pytest.fixture
def gpu(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A GPU that says it is a GTX 1070 Ti, with one CuPy installed."""
    importlib.import_module("numba.cuda")  # while Python still finds what it imports
    chip = SimpleNamespace(name="GTX 1070 Ti", architecture="61", packages=["cupy-cuda12x"], error=None, current=0)

    class Device:
        attributes: ClassVar = {"MultiProcessorCount": 19, "MaxSharedMemoryPerBlock": 49_152}

        def __init__(self, number: int | None = None) -> None:
            self.id = chip.current if number is None else number

        @property
        def compute_capability(self) -> str:
            if chip.error:
                raise chip.error if isinstance(chip.error, Exception) else RuntimeError(chip.error)
            return chip.architecture

    def version(package: str) -> str:
        if package not in chip.packages:
            raise importlib.metadata.PackageNotFoundError
        return "14.0"

    cupy.cuda.Device = Device
    cupy.cuda.runtime.getDeviceProperties = lambda device: {"name": chip.name.encode()}
    monkeypatch.setattr(machine, "why_no_gpu", lambda: None)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    for cached in (launch.gpu, requirements._why_no_cupy, requirements._why_no_compiler):
        cached.cache_clear()
    yield chip
    for cached in (launch.gpu, requirements._why_no_cupy, requirements._why_no_compiler):
        cached.cache_clear()


def test_a_gpu_that_can(gpu: Any) -> None:
    assert requirements.why_not(find("cuda-cupy-vector")) is None
    assert kernels.resolve("cuda") == "cuda-cupy-vector"
    assert kernels.resolve("auto") == "cuda-cupy-vector"


@pytest.mark.parametrize(("more", "shared_bytes"), [({}, 49_152), ({"MaxSharedMemoryPerBlockOptin": 232_448}, 232_448)])
def test_a_block_may_have_what_it_must_ask_for(
    gpu: Any, cupy: Any, monkeypatch: pytest.MonkeyPatch, more: dict[str, int], shared_bytes: int
) -> None:
    monkeypatch.setattr(cupy.cuda.Device, "attributes", cupy.cuda.Device.attributes | more)
    assert launch.gpu(0).shared_bytes == shared_bytes


def test_a_chip_too_old_names_what_it_needs_and_the_nearest_that_runs(gpu: Any) -> None:
    with pytest.raises(
        kernels.KernelUnavailable,
        match=r"needs compute capability 8.0 or newer, GTX 1070 Ti has 6.1; use --kernel cuda-cupy-vector instead",
    ):
        kernels.resolve("cuda-cupy-tensor")


def test_hopper_only(gpu: Any) -> None:
    gpu.name, gpu.architecture = "B200", "100"
    with pytest.raises(
        kernels.KernelUnavailable,
        match=r"needs compute capability 9.0 exactly, B200 has 10.0; use --kernel cuda-cupy-tensor",
    ):
        kernels.resolve("cuda-cupy-hopper")


def test_each_gpu_is_asked_for_itself(gpu: Any, cupy: Any) -> None:
    assert kernels.resolve("cuda") == "cuda-cupy-vector"
    gpu.current, gpu.name, gpu.architecture = 1, "A100", "80"
    assert kernels.resolve("cuda") == "cuda-cupy-warptile"


def test_a_compiler_that_knows_another_generation_of_chips(gpu: Any, cupy: Any) -> None:
    cupy.cuda.nvrtc.getVersion = lambda: (13, 5)
    cupy.cuda.nvrtc.getSupportedArchs = lambda: (75, 80, 121)
    said = "the compiler of CUDA 13.5 makes no code for compute capability 6.1, which GTX 1070 Ti has: "
    assert requirements.why_not(find("cuda-cublas")) == said + extras.install("cuda12")
    gpu.current, gpu.name, gpu.architecture = 1, "B300", "103"
    assert str(requirements.why_not(find("cuda-cublas"))).endswith(extras.install("cuda13"))
    gpu.current = 0
    assert kernels.resolve("auto").startswith("cpu-"), "no GPU that nothing can be compiled for"


def test_a_compiler_that_is_not_installed(gpu: Any, cupy: Any) -> None:
    def missing() -> None:
        raise RuntimeError("CuPy failed to load libnvrtc.so.12:\n no such file")

    cupy.cuda.nvrtc.getVersion = missing
    assert "cannot be loaded (CuPy failed to load libnvrtc.so.12: no such file): " in str(
        requirements.why_not(find("cuda-cublas"))
    )


def test_a_numba_cuda_that_is_not_in_effect(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_numba_cuda_redirector", ModuleType("_numba_cuda_redirector"))
    assert requirements.why_not(find("cuda-numba-naive")) is None
    monkeypatch.delitem(sys.modules, "_numba_cuda_redirector")
    assert "Python reads no .pth file" in str(requirements.why_not(find("cuda-numba-naive")))
    assert requirements.why_not(find("cuda-cupy-naive")) is None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert requirements.why_not(find("cuda-numba-naive")) is None


def test_a_numba_cuda_that_does_not_go_with_this_numpy(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise AttributeError("module 'numpy' has no attribute 'row_stack'")

    monkeypatch.setattr("importlib.import_module", import_module)
    requirements._why_no_numba_cuda.cache_clear()
    said = "numba-cuda cannot be imported (AttributeError: module 'numpy' has no attribute 'row_stack')"
    assert said in str(requirements.why_not(find("cuda-numba-naive")))
    requirements._why_no_numba_cuda.cache_clear()
    assert requirements.why_not(find("cuda-cupy-naive")) is None


def test_both_extras_installed(gpu: Any) -> None:
    gpu.packages = ["cupy-cuda12x", "cupy-cuda13x"]
    assert "cupy-cuda12x and cupy-cuda13x are both installed" in str(requirements.why_not(find("cuda-cublas")))


def test_a_driver_older_than_the_toolkit(gpu: Any) -> None:
    gpu.error = "cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime version"
    assert "the NVIDIA driver is older than the installed CUDA" in str(requirements.why_not(find("cuda-cublas")))
    with pytest.raises(kernels.KernelUnavailable, match="driver is older"):
        kernels.resolve("cuda")


def test_a_cupy_that_cannot_be_imported(gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    assert "CuPy cannot be imported" in str(requirements.why_not(find("cuda-cublas")))


def test_a_cupy_that_finds_nowhere_to_write(gpu: Any) -> None:
    gpu.error = OSError(30, "Read-only file system", "/root/.cupy")
    assert "name a folder that it may write with CUPY_CACHE_DIR" in str(requirements.why_not(find("cuda-cublas")))


def test_a_gpu_is_chosen_before_a_kernel_is_asked_for_where_one_may_be_wanted(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, wanted in (("cuda-cupy-hopper", True), ("cuda", True), ("auto", True), ("numba", False), ("x", False)):
        assert requirements.wants_gpu(name) is wanted
    gpu.packages = ["cupy-cuda12x", "cupy-cuda13x"]
    requirements._why_no_cupy.cache_clear()
    assert not requirements.wants_gpu("cuda"), "a CuPy that does not work can choose none"
