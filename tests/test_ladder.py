"""The ladder names kernels in one place, and names resolve to what can run here or to a reason."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kernels
import kernels.__main__ as command
from kernels import ladder
from kernels.ladder import ALIASES, LADDER, KernelSpec
from kernels.measure import machine

ROOT = Path(__file__).resolve().parents[1]


def _add(monkeypatch: pytest.MonkeyPatch, spec: KernelSpec) -> None:
    monkeypatch.setattr(kernels, "LADDER", (*LADDER, spec))
    monkeypatch.setitem(ladder._BY_NAME, spec.name, spec)


@pytest.mark.parametrize("package", ["kernels", "rnn", "experiments", "plots"])
def test_packages_are_this_repositorys(package: str) -> None:
    """These names are short: another package of the same name would be imported without a word."""
    file = importlib.import_module(package).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / package / "__init__.py"


def test_every_row_is_a_file_and_every_kernels_file_a_row() -> None:
    assert len(set(kernels.names())) == len(LADDER)
    rows = {ROOT / spec.source for spec in LADDER}
    files = {
        path
        for path in (ROOT / "kernels").glob("[cm]*/*.py")
        if re.search(r"^def product\(a|^product =|^def kernel\(a", path.read_text(), re.M)
    }
    assert rows == files | set((ROOT / "kernels").glob("cuda/*.cu"))


def test_bottlenecks_name_real_kernels() -> None:
    for spec in LADDER:
        for name in re.findall(r"\b(?:cpu|cuda|mpi)-[a-z0-9-]+[a-z0-9]", f"{spec.idea} {spec.bottleneck}"):
            assert name in kernels.names(), spec.name


def test_flop_and_bytes() -> None:
    spec = LADDER[0]
    assert spec.flops(2, 3, 5) == 2 * 2 * 3 * 5
    assert spec.min_bytes(2, 3, 5) == 4 * (2 * 5 + 5 * 3 + 2 * 3)
    assert KernelSpec("cuda-cupy-naive", "", "").source == "kernels/cuda/cupy_naive.cu"
    assert KernelSpec("cuda-numba-naive", "", "").source == "kernels/cuda/numba_naive.py"


def test_names_and_aliases_resolve() -> None:
    for name, reason in kernels.available().items():
        if reason is None:
            assert kernels.get(name).name == name
    assert kernels.get("python").name == "cpu-python"
    assert kernels.get("numba").name == "cpu-numba-simd"
    for candidates in ALIASES.values():
        assert set(candidates) <= set(kernels.names())


@pytest.mark.parametrize(
    ("asked", "meant"), [("cpu-nunba-tiled", "cpu-numba-tiled"), ("pyhton", "python"), ("blas", "cpu-blas")]
)
def test_unknown_names_suggest_the_nearest(asked: str, meant: str) -> None:
    with pytest.raises(kernels.UnknownKernel, match=f"'{asked}': did you mean .*{meant}"):
        kernels.get(asked)


def test_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(kernels.UnknownKernel, match=".*".join(["'§'", *kernels.names()])):
        kernels.get("§")


def test_cuda_without_a_gpu_says_why() -> None:
    reason = machine.why_no_gpu()
    if reason is None:
        pytest.skip("this machine has a GPU")
    with pytest.raises(kernels.KernelUnavailable, match=f"{re.escape(reason)}; use --kernel numba instead"):
        kernels.get("cuda")
    assert kernels.resolve("auto") == kernels.resolve("numba")


def test_a_missing_package_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert kernels.unavailable("cpu-blas") is None
    assert "numba is not installed" in str(kernels.unavailable("cpu-numba-simd"))
    with pytest.raises(kernels.KernelUnavailable, match="numba is not installed"):
        kernels.get("auto")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cpu-numba-mine", r"kernels/cpu/numba_mine\.py is not there"),
        ("cpu-lanes", r"kernels/cpu/lanes\.py has no function product\(a, b, c\)"),
    ],
)
def test_a_row_of_the_ladder_without_its_kernel_is_told(name: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _add(monkeypatch, KernelSpec(name, "", ""))
    with pytest.raises(kernels.KernelUnavailable, match=says):
        kernels.get(name)


def test_an_error_within_a_kernels_file_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> None:
        raise ModuleNotFoundError("No module named 'elsewhere'", name="elsewhere")

    monkeypatch.setattr("importlib.import_module", fails)
    with pytest.raises(ModuleNotFoundError, match="elsewhere"):
        kernels.get("cpu-python")


def test_an_unavailable_kernel_names_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_gpu = KernelSpec("cuda-test", "", "", requires=("nvidia-gpu",))
    _add(monkeypatch, needs_gpu)
    monkeypatch.setattr(machine, "why_no_gpu", lambda: "no driver")
    with pytest.raises(
        kernels.KernelUnavailable, match="cuda-test cannot run here: no driver; use --kernel cpu-numba-simd"
    ):
        kernels.get("cuda-test")
    with pytest.raises(kernels.KernelUnavailable, match="no CUDA kernel can run here: no driver"):
        kernels.get("cuda")


def test_the_face_imports_no_backend() -> None:
    probe = "import sys, kernels; print([m for m in ('numpy', 'numba', 'cupy', 'tensorflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_the_command_prints_the_ladder() -> None:
    done = subprocess.run([sys.executable, "-m", "kernels"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in (*kernels.names(), *ALIASES):
        assert name in done.stdout


def test_what_keeps_many_kernels_away_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reasons = {name: "no driver" if name.startswith("cuda-") else None for name in kernels.names()}
    monkeypatch.setattr(command, "available", lambda: reasons | {"mpi-summa": "mpi4py is not installed"})
    monkeypatch.setattr("sys.argv", ["kernels"])
    command.main()
    shown = capsys.readouterr().out
    assert shown.count("no driver") == 1
    assert shown.count("not here (1)") == len(kernels.names("cuda"))
    assert "mpi-summa  not here: mpi4py is not installed" in shown


def test_architectures_are_for_compiling(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["kernels", "--architectures", "61"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert "add --compile" in capsys.readouterr().err


def test_the_gpu_in_use_is_known_before_the_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    describe = machine.describe
    monkeypatch.setattr(command, "available", lambda: asked.append("kernels") or dict.fromkeys(kernels.names()))
    monkeypatch.setattr(machine, "describe", lambda: asked.append("machine") or describe())
    monkeypatch.setattr("sys.argv", ["kernels"])
    command.main()
    assert asked == ["kernels", "machine"]
