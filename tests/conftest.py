"""Shared by all tests: the gpu marker skips where there is no GPU, with the reason; a peak that nobody measures."""

from __future__ import annotations

import pytest

from kernels.measure.limits import Ceilings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    from kernels.measure.machine import why_no_gpu

    if reason := why_no_gpu():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that are not of how fast this machine is: each command would measure that anew, for seconds."""
    monkeypatch.setattr("kernels.measure.ceilings.measure", lambda threads: Ceilings(threads, 1e15, 1e10))
