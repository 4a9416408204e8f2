"""What CUPTI records of the GPU becomes a step without holes; what it cannot record is told in one line."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import _timelines
from experiments._timelines import launches
from kernels.cuda.activity import Activity, CannotRecord, recording
from rnn import gates_cuda
from tests import fake_cupti, fake_cupy
from tests.fake_cupti import Cupti


def _activities(steps: int) -> list[Activity]:
    """A step: 5 ns of a product, a gap of 2, gates that begin before it ends, a copy, and 10 until the next step."""
    step = [("matmul", 0, 5), ("lstm_forward", 7, 10), ("memory", 9, 14)]
    return [Activity(name, 24 * n + begin, 24 * n + end) for n in range(steps) for name, begin, end in step]


def test_launches_and_gaps_add_up_to_the_step() -> None:
    found = launches(_activities(5), 5)
    assert len(found) == 3
    for spans in found:
        assert [phase for phase, _ in spans] == ["matmul", "launch gap", "gates", "gates", "launch gap"]
        np.testing.assert_allclose([1e9 * seconds for _, seconds in spans], [5, 2, 2, 5, 10])


def test_a_launch_within_another_leaves_no_gap() -> None:
    step = [("matmul", 0, 20), ("descend", 5, 8), ("column_sums", 10, 12)]
    activities = [Activity(name, 30 * n + begin, 30 * n + end) for n in range(3) for name, begin, end in step]
    (spans,) = launches(activities, 3)
    np.testing.assert_allclose([1e9 * seconds for _, seconds in spans], [5, 5, 10, 10])
    assert spans[-1][0] == "launch gap"


@pytest.mark.parametrize(
    ("name", "phase"),
    [
        ("matmul", "matmul"),
        ("lay_out", "matmul"),
        ("ampere_sgemm_128x64_nn", "matmul"),
        ("_ZN7kernels4cuda12numba_shared6kernelB2v1", "matmul"),
        ("lstm_forward", "gates"),
        ("lstm_backward", "gates"),
        ("cupy_copy__float32_float32", "gates"),
        ("memory", "gates"),
        ("softmax_cross_entropy", "loss, sums, update"),
        ("column_sums", "loss, sums, update"),
        ("descend", "loss, sums, update"),
    ],
)
def test_a_launch_is_known_by_its_name(name: str, phase: str) -> None:
    (spans,) = launches([Activity(name, 10 * n, 10 * n + 4) for n in range(3)], 3)
    assert spans[0][0] == phase


def test_every_kernel_of_gates_cu_is_known() -> None:
    source = gates_cuda.SOURCE.read_text()
    own = [line.partition("(")[0] for line in source.splitlines() if line.partition("(")[0] in _timelines._LAUNCHED]
    assert len(own) == source.count("__global__")


@pytest.mark.parametrize("wrong", [[], _activities(5)[1:], _activities(5)[3:], [*_activities(4), *_activities(5)[:3]]])
def test_records_that_do_not_repeat_are_refused(wrong: list[Activity]) -> None:
    swapped = [*wrong[:3], *wrong[3:6][::-1], *wrong[6:]]
    for activities in (wrong[:-1], swapped):
        with pytest.raises(CannotRecord, match=f"CUPTI has {len(activities)} records, not the same"):
            launches(activities, 5)


@pytest.fixture
def cupti(monkeypatch: pytest.MonkeyPatch) -> Cupti:
    fake_cupy.install(monkeypatch)
    return fake_cupti.install(monkeypatch)


def test_a_recording_holds_its_work_and_no_other(cupti: Cupti) -> None:
    with recording() as record:
        cupti.launch("before", 1)
        assert [activity.name for activity in record(lambda: [cupti.launch(name, 7) for name in "abc"])] == [*"abc"]
        (copy,) = record(lambda: cupti.launch("memory", 7))
        assert copy.name == "memory"
        assert copy.end - copy.begin == 7
        assert record(lambda: None) == []
    assert not cupti.enabled


def test_launches_side_by_side_are_told_in_the_order_in_which_they_began(cupti: Cupti) -> None:
    def work() -> None:
        cupti.launch("long", 20_000)
        cupti.now -= 20_000
        cupti.launch("short", 1)

    with recording() as record:
        assert [activity.name for activity in record(work)] == ["long", "short"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("ERROR_INSUFFICIENT_PRIVILEGES", "lets only an administrator profile"),
        ("ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES", "lets only an administrator profile"),
        ("ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED", "another profiler is attached"),
        ("ERROR_NOT_COMPATIBLE", r"CUPTI does not start \(ERROR_NOT_COMPATIBLE \(99\)\)"),
    ],
)
def test_why_nothing_can_be_recorded(cupti: Cupti, error: str, reason: str) -> None:
    cupti.refuses = error
    with pytest.raises(CannotRecord, match=reason), recording():
        pass


def test_an_error_of_the_work_stays_what_it_is(cupti: Cupti) -> None:
    with pytest.raises(RuntimeError, match="the work's own") as raised, recording():
        raise RuntimeError("the work's own")
    assert not isinstance(raised.value, CannotRecord)
    assert not cupti.enabled


def test_without_cupti_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_cupy.install(monkeypatch)
    monkeypatch.setitem(sys.modules, "cupti", None)
    with pytest.raises(CannotRecord, match=r"cupti-python is not installed: .*\.\[cuda13\]"), recording():
        pass


def test_a_memset_is_work_and_all_records_are_waited_for(monkeypatch):
    cupy, cupti = fake_cupy.install(monkeypatch), fake_cupti.install(monkeypatch)
    done, flags = [], []
    cupy.cuda.Device = lambda: SimpleNamespace(synchronize=lambda: done.append("waited"))
    module = sys.modules["cupti.cupti"]
    flush = module.activity_flush_all
    module.activity_flush_all = lambda flag: (flags.append((flag, done[-1:])), done.clear(), flush(flag))
    with recording() as told:
        assert cupti.enabled == set(fake_cupti.ActivityKind)
        told(lambda: done.clear())
    assert flags == [(1, ["waited"])] * 2  # forced, and only when the GPU is done
