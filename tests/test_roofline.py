"""A roofline draws what must move, and no kernel is above its roofs."""

from __future__ import annotations

from pathlib import Path

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


def test_intensity_is_flop_per_byte_that_must_move() -> None:
    point = results.MatmulPoint("cpu-blas", m=2, k=3, n=5, threads=1, status="ok", samples=[1.0])
    assert point.intensity == 2 * 2 * 3 * 5 / (4 * (2 * 3 + 3 * 5 + 2 * 5))
    assert KernelSpec.min_bytes(2, 5, 3) == 4 * (6 + 15 + 10)
