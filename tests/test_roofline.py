"""A roofline draws what must move, and no kernel is above its roofs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from experiments import roofline
from kernels import cli
from kernels.ladder import KernelSpec
from kernels.measure import results
from kernels.measure.limits import Level
from tests.commands import fails
from tests.points import matmul_point, results_of

pytestmark = pytest.mark.usefixtures("peak")


def test_a_point_above_a_roof_fails_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 8x8x8: 1024 FLOP on 768 bytes, so 1e9 bytes/s allow 1.33 GFLOP/s: 1.024 µs is 1 GFLOP/s, half of it is 2
    levels = (Level("L1", 32768, 1e9), Level("memory", 2**62, 1e8))
    for seconds, code in ((1.024e-6, None), (0.512e-6, cli.CHECK_FAILED)):
        file = tmp_path / "roofline.json"
        results.write(file, results_of([matmul_point("cpu-blas", 8, seconds)], 1e12, levels))
        if code is None:
            roofline.main(["--from", str(file), "--plot", str(tmp_path / "roofline.png")])
            assert "L1" in capsys.readouterr().out
        else:
            assert fails(roofline.main, "--from", str(file)) == code
            said = capsys.readouterr().err
            assert "above the roof of L1, which may have been measured while other programs ran: run again" in said


@pytest.mark.parametrize(("median", "refused"), [(0.9e9, False), (1.1e9, True)])
def test_the_median_is_what_must_lie_under_the_roof(median: float, refused: bool) -> None:
    samples = [2 * 8**3 / rate for rate in (0.5e9, 0.5e9, median, 2e9, 2e9)]
    point = msgspec.structs.replace(matmul_point("cpu-numba-simd", 8, 1.0), samples=samples)
    found = results_of([point], peak=1e9, levels=(Level("memory", 2**62, 1e15),))
    says = "cpu-numba-simd at 8x8x8 is above the roof of arithmetic"
    with pytest.raises(cli.CommandError, match=says) if refused else nullcontext():
        roofline._judge(found)


def test_intensity_is_flop_per_byte_that_must_move() -> None:
    point = results.MatmulPoint("cpu-blas", m=2, k=3, n=5, threads=1, status="ok", samples=[1.0])
    assert point.intensity == 2 * 2 * 3 * 5 / (4 * (2 * 3 + 3 * 5 + 2 * 5))
    assert KernelSpec.min_bytes(2, 5, 3) == 4 * (6 + 15 + 10)
