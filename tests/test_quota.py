"""A container's share of the processors, as Linux's control groups tell it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from kernels import quota, threads


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No group limits anything, and this process is in /outer/inner."""
    own = tmp_path / "own"
    own.write_text("1:name=systemd:/\n0::/outer/inner\n")
    monkeypatch.setattr(quota, "_OWN", own)
    monkeypatch.setattr(quota, "_GROUPS", tmp_path)
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    return tmp_path


def test_without_a_limit_there_is_none(groups: Path) -> None:
    assert quota.cores_of_quota() is None
    (groups / "outer" / "cpu.max").write_text("max 100000\n")
    assert quota.cores_of_quota() is None
    (groups / "own").unlink()
    assert quota.cores_of_quota() is None


@pytest.mark.parametrize(("text", "cores"), [("50000 100000", 1), ("200000 100000", 2), ("250000 100000", 3)])
def test_a_part_of_a_core_counts_as_one(groups: Path, text: str, cores: int) -> None:
    (groups / "cpu.max").write_text(text)
    assert quota.cores_of_quota() == cores


def test_the_tightest_group_counts(groups: Path) -> None:
    (groups / "cpu.max").write_text("800000 100000")
    (groups / "outer" / "cpu.max").write_text("300000 100000")
    (groups / "outer" / "inner" / "cpu.max").write_text("max 100000")
    assert quota.cores_of_quota() == 3


@pytest.mark.parametrize(("microseconds", "cores"), [("-1", None), ("150000", 2)])
def test_version_1(groups: Path, microseconds: str, cores: int | None) -> None:
    (groups / "cpu").mkdir()
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(microseconds)
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert quota.cores_of_quota() == cores


def test_threads_are_no_more_than_the_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "own_cores", lambda process=0: set(range(8)))
    monkeypatch.setattr(threads, "started", lambda: SimpleNamespace(here=2))
    for limit, cores, each in ((None, 8, 4), (1, 1, 1), (6, 6, 3), (64, 8, 4)):
        monkeypatch.setattr(quota, "cores_of_quota", lambda limit=limit: limit)
        assert (threads.cores(), threads.cores_each()) == (cores, each)
        assert threads.withheld() is None
