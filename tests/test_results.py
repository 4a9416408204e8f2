"""A result file gives back what was measured; one that is cut short or of another kind is refused by name."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kernels.measure import bandwidth, ceilings, results

POINTS: list[results.Point] = [
    results.MatmulPoint(
        "cpu-blas", 2, 3, 4, 1, "ok", samples=[1e-6, 2e-6, 3e-6], first_call=0.1, error=0.2, layout="nt"
    ),
    results.MatmulPoint("cpu-python", 9, 9, 9, 1, "skipped", reason="would take 41 min"),
    results.StepPoint("fused", 128, 128, 2, "ok", loss=2.5, samples=[0.1]),
    results.ThreadPoint("work", 2, [1.0]),
]


def test_results_round_trip(tmp_path: Path) -> None:
    limits, levels = ceilings.Ceilings(2, 1e11, 1e10), [bandwidth.Level("L1", 32768, 1e12)]
    found = results.new("experiments.x", ["--kernel", "a b"], POINTS, limits, levels)
    results.write(tmp_path / "run.json", found)
    assert results.read(tmp_path / "run.json") == found
    assert (found.points, found.ceilings, found.levels) == (POINTS, limits, levels)
    assert found.command == "python -m experiments.x --kernel 'a b'"
    assert found.schema == results.SCHEMA


def test_rates_are_computed_when_read() -> None:
    point = POINTS[0]
    assert isinstance(point, results.MatmulPoint)
    assert point.seconds.median == 2e-6
    # 48 FLOP in 1, 2 and 3 µs
    assert point.rate == pytest.approx((20e6, 24e6, 36e6))
    assert (point.shape, point.square) == ("2x3x4:nt", False)


def test_bad_result_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    results.write(path, results.new("x", [], POINTS, None))
    whole = path.read_bytes()
    other = msgspec.json.decode(whole)
    for content, says in (
        (whole[: len(whole) // 2], "cut short"),
        (b"", "cut short"),
        (b"hello", "not a result file"),
        (b"{}", "not a result file"),
        (b"\xff\xfe", "not a result file"),
        (whole.replace(b"cpu-blas", b"cpu-\xff\xff\xff\xff"), "not a whole result file"),
        (msgspec.json.encode(other | {"schema": 99}), "schema version 99"),
        (msgspec.json.encode(other | {"schema": 0}), "schema version 0"),
        (msgspec.json.encode(other | {"points": [{"type": "nonsense"}]}), "not a whole result file"),
    ):
        path.write_bytes(content)
        with pytest.raises(results.ResultsError, match=says) as error:
            results.read(path)
        assert "run.json" in str(error.value)
    with pytest.raises(results.ResultsError, match=r"cannot read .*missing\.json: No such file"):
        results.read(tmp_path / "missing.json")
    with pytest.raises(results.ResultsError, match="Is a directory"):
        results.read(tmp_path)
