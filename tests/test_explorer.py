"""The explorer's page holds what the recorder found, and each broken twin exactly its mistake."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import cuda

from experiments.exercises._task import Task
from experiments.exercises._tasks import TASKS
from experiments.exercises._watch import watched
from experiments.explorer import KERNELS, twins
from experiments.explorer import __main__ as explorer
from experiments.explorer._cores import one_thread_per_core, passes
from experiments.explorer._page import build
from experiments.explorer._recorded import recorded, square
from experiments.explorer._resident import resident
from experiments.explorer._small import recorded_ladder, with_constants
from experiments.explorer.twins import kernels as twin_kernels
from kernels import cli
from kernels.contract import Reference
from kernels.cuda import numba_shared, offline, registers
from kernels.cuda.architectures import GPUS
from kernels.ladder import find
from kernels.recorder import Recording, record

SOLUTIONS = Path(__file__).parent / "exercises"

# what the recorder says first of each broken twin; None: nothing, it is only slow
FIRST_FAULT = {
    "missing_barrier": "race",
    "divergent_barrier": "divergent barrier",
    "early_return": "missed barrier",
    "unguarded_edge": "out of bounds",
    "uncoalesced": None,
    "bank_conflict": None,
    "lost_update": "race",
}


def _data(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


def _operands(size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    return a, b, np.zeros((size, size), np.float32)


def _run_twin(twin: twins.Twin, name: str) -> tuple[Recording, bool]:
    """The recording, and whether the product was right."""
    a, b, c = _operands(twin.size)
    recording = record(getattr(twin_kernels, name), twin.grid, twin.block, a, b, c)
    return recording, Reference.of(a, b).error(c) <= 1


@pytest.mark.parametrize("twin", twins.TWINS, ids=lambda twin: twin.broken)
def test_a_broken_twin_has_its_fault_and_the_right_one_none(twin: twins.Twin) -> None:
    assert {each.broken for each in twins.TWINS} == set(FIRST_FAULT)
    right, is_right = _run_twin(twin, twin.right)
    assert not right.faults
    assert is_right
    broken, _ = _run_twin(twin, twin.broken)
    assert (broken.faults[0].kind if broken.faults else None) == FIRST_FAULT[twin.broken]


def test_slow_twins_differ_by_what_arithmetic_predicts() -> None:
    by_name = {twin.broken: twin for twin in twins.TWINS}

    def counts(name: str, twin: twins.Twin, array: str, kind: str) -> Any:
        return _run_twin(twin, name)[0].counts.of(array=array, kind=kind)[0]

    # a warp is two rows of 16 threads: it reads 16 numbers of b side by side, or 16 rows of a
    twin = by_name["uncoalesced"]
    assert counts("guarded", twin, "a", "read").sectors == 2
    assert counts("uncoalesced", twin, "a", "read").sectors == 16
    # rows 16 numbers apart share two banks between 16 lanes; 18 apart, the 32 lanes have one each
    twin = by_name["bank_conflict"]
    assert counts("bank_conflict", twin, "columns", "read").conflicts == 8
    assert counts("padded", twin, "columns", "read").conflicts == 1
    assert counts("padded", twin, "columns", "write").conflicts == 1
    register = recorded_ladder("cuda-numba-register", 16)
    assert {count["conflicts"] for count in register["counts"] if count["space"] == "shared"} == {1}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("size", [1, 7, 16])
def test_shown_kernels_are_right_and_have_no_fault(name: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU kernels too: no two cores ever touch what one of them writes."""
    products = []

    def keeping(kernel: Any, grid: Any, block: Any, a: Any, b: Any, c: Any, *others: Any) -> Recording:
        c[...] = np.nan
        recording = record(kernel, grid, block, a, b, c, *others)
        products.append((a, b, c))
        return recording

    monkeypatch.setattr("experiments.explorer._recorded.record", keeping)
    shown = recorded_ladder(name, size)
    assert shown["faults"] == []
    ((a, b, c),) = products
    assert Reference.of(a, b).error(c) <= 1


def test_a_race_of_cores_is_told_without_threads_and_blocks() -> None:
    def over_k(a: Any, b: Any, c: Any) -> None:
        k = cuda.threadIdx.x
        for i in range(c.shape[0]):
            c[i, 0] += a[i, k] * b[k, 0]

    shown = recorded("mine", "", over_k, (1,), (2,), square(2), cores=True)
    assert [fault["kind"] for fault in shown["faults"]] == ["race"]
    told = r"core 0 reads c\[0, 0\], core 1 writes it at line \d+: nothing orders them"
    assert re.fullmatch(told, shown["faults"][0]["message"])


def test_no_access_is_left_out_at_the_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    dropped = []

    def noting(*arguments: Any) -> Recording:
        recording = record(*arguments)
        dropped.append(recording.events.dropped)
        return recording

    monkeypatch.setattr("experiments.explorer._recorded.record", noting)
    recorded_ladder("cuda-numba-register", explorer.LARGEST)  # of all kernels it has most accesses
    assert dropped == [0]


@pytest.mark.parametrize("count", [1, 3, 16])
def test_cores_take_the_passes_that_numba_gives_them(count: int) -> None:
    taken = passes(count)
    assert len(taken) == numba.get_num_threads()
    assert sorted(i for own in taken for i in own) == list(range(count))


def test_cores_would_race_if_two_took_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.explorer._cores.passes", lambda count: (tuple(range(count)),) * 2)
    module = with_constants(importlib.import_module(find("cpu-numba-parallel").module))
    one_thread_per_core(module)
    assert {fault.kind for fault in record(module._product, (1,), (2,), *_operands(4)).faults} == {"race"}


def test_what_a_result_costs_is_what_arithmetic_predicts() -> None:
    """Each thread reads 16 numbers of a and of b for its one c(i,j)."""
    counts = recorded_ladder("cuda-numba-naive", 16)["counts"]
    assert {(count["array"], count["kind"]): count["perResult"] for count in counts} == {
        ("a", "read"): 16, ("b", "read"): 16, ("c", "write"): 1,
    }  # fmt: skip


def test_other_constants_leave_the_module_as_it_is() -> None:
    before = numba_shared.TILE
    assert with_constants(numba_shared, TILE=4).launch(8, 8) == ((2, 2), (4, 4))
    assert before == numba_shared.TILE
    with pytest.raises(ValueError, match="has no constant TILES"):
        with_constants(numba_shared, TILES=4)


def test_the_trace_is_the_recorders() -> None:
    """Every access of every thread, in its order."""
    shown = recorded_ladder("cuda-numba-shared", 8)
    small = with_constants(numba_shared, TILE=8)
    recording = record(small.kernel, *small.launch(8, 8), *_operands(8))
    expected: dict[int, list[tuple[int, str, str, int]]] = {}
    for event in recording.events:
        x, y = event.who.thread
        element = int(np.ravel_multi_index(event.index, event.array.shape))
        expected.setdefault(8 * y + x, []).append((event.site.line, event.site.kind, event.array.name, element))
    for thread, intervals in enumerate(shown["threads"]):
        own = []
        for packed in (packed for interval in intervals for packed in interval):
            place = shown["places"][packed // shown["span"]]
            own.append((place["line"], place["kind"], shown["arrays"][place["array"]]["name"], packed % shown["span"]))
        assert own == expected[thread]


def test_a_race_names_its_moment() -> None:
    twin = twins.TWINS[0]
    broken, _ = twins.recorded_twins(twin)
    (fault,) = broken["faults"]
    touched = []
    for thread, interval, step, line in fault["witnesses"]:
        packed = broken["threads"][thread][interval][step]
        place = broken["places"][packed // broken["span"]]
        assert place["line"] == line
        touched.append((interval, place["array"], packed % broken["span"], place["kind"]))
    (first, second), (one, other) = touched, fault["witnesses"]
    assert first[:3] == second[:3]
    assert one[0] != other[0]
    assert "write" in (first[3], second[3])
    assert fault["at"] == max(witness[1:3] for witness in fault["witnesses"])


def test_who_waits_for_ever_is_told() -> None:
    twin = twins.TWINS[1]
    broken, right = twins.recorded_twins(twin)
    (fault,) = broken["faults"]
    assert sorted(thread for thread, _ in broken["stranded"]) == list(range(np.prod(twin.grid) * np.prod(twin.block)))
    assert {line for _, line in broken["stranded"]} == {fault["line"], fault["line"] + 3}
    assert right["stranded"] == []


def test_the_whole_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    explorer.main(["--output", str(file)])
    assert f"wrote {file}" in capsys.readouterr().out
    page = file.read_text(encoding="utf-8")
    assert len(page) < 6e6
    assert not re.search(r"https?://|src=|@import", page.split('id="data"')[0]), "nothing is fetched"
    data = _data(page)
    shown = [kernel["name"] for kernel in data["kernels"]]
    assert shown[: len(KERNELS)] == list(KERNELS)
    assert {name for pair in data["pairs"] for name in pair["names"]} <= set(shown)
    assert len(data["pairs"]) == 6 + len(twins.TWINS)


def test_markup_in_a_kernel_stays_text() -> None:
    page = build(["cpu-numba-serial"], 2, ())
    assert "</script>" not in page.split('id="data">')[1].split("</script>", 1)[0]
    assert _data(page)["pairs"] == [{"label": "cpu-numba-serial", "names": ["cpu-numba-serial"]}]


def test_occupancy_is_the_compiled_kernels_and_needs_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kernels.cuda.offline._find", lambda tool: None)
    (naive,) = resident(["cuda-numba-naive"], [61])
    # its budget, 48 registers, would leave a GTX 1070 Ti 63%
    assert naive["occupancy"]["61"] == {
        "registers": 32,
        "blocks": 8,
        "warps": 64,
        "share": 1.0,
        "limitedBy": "threads",
    }
    (shared,) = resident(["cuda-numba-shared"], [61])
    assert (shared["threads"], shared["rows"], shared["columns"]) == (1024, 32, 32)
    assert shared["shared"] == 2 * 32 * 32 * 4
    assert shared["compilers"] == registers.kept().compilers


@pytest.mark.skipif(offline.why_no_compiler() is not None, reason=str(offline.why_no_compiler()))
def test_the_kept_registers_are_the_compilers() -> None:
    kept = registers.kept()
    if (here := registers.compilers()) != kept.compilers:
        pytest.skip(f"the registers that are kept are of {kept.compilers}; here is {here}")
    assert registers.compiled() == kept
    rows = {(row.name, row.architecture): row for row in offline.gate(list(kept.of), [61, 90])}
    for launch in resident(list(kept.of), [61, 90]):
        for architecture, fit in launch["occupancy"].items():
            row = rows[launch["name"], int(architecture)]
            assert launch["shared"] == row.shared_bytes
            assert (fit["blocks"], fit["limitedBy"]) == (row.occupancy.blocks_per_sm, row.occupancy.limited_by)


def test_registers_are_kept_for_every_kernel_and_gpu_shown() -> None:
    of = registers.kept().of
    assert set(of) == {name for name in KERNELS if name.startswith("cuda-")}
    assert {gpu.architecture for gpu in GPUS} <= set.intersection(*(set(each) for each in of.values()))


def test_registers_are_not_kept_without_a_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(offline, "_find", lambda tool: None)
    monkeypatch.setattr(sys, "argv", ["registers"])
    before = registers.FILE.read_bytes()
    with pytest.raises(SystemExit) as stop:
        registers.main()
    assert stop.value.code == cli.ABSENT
    assert capsys.readouterr().err.startswith("error: no CUDA 12 compiler")
    assert registers.FILE.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--kernel", "cpu-numba-simd"], "--kernel"),
        (["--size", "0"], "at least 1"),
        (["--size", "64"], "--size is at most 48; at 64 the page would grow to 31 MB"),
        (["--size", "500"], "grow to 15,000 MB"),
        (["--output", "nowhere/page.html"], "cannot write nowhere/page.html"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        explorer.main(arguments)
    assert stop.value.code == cli.USAGE
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_every_exercise_can_be_watched(task: Task) -> None:
    shown = watched(SOLUTIONS / f"{task.name}.py")
    assert (shown["name"], shown["idea"], shown["faults"]) == (f"{task.name}.py", task.teaches, [])
    assert shown["result"] in {array["name"] for array in shown["arrays"]}
    written = {place["array"] for place in shown["places"] if place["kind"] != "read"}
    assert shown["result"] in {shown["arrays"][array]["name"] for array in written}


def test_a_learners_race_is_on_the_page(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    right = (SOLUTIONS / "shared_tile.py").read_text(encoding="utf-8")
    mine.write_text(right.replace("        cuda.syncthreads()  # read\n", ""), encoding="utf-8")
    explorer.main(["--file", str(mine), "--output", str(tmp_path / "p.html")])
    data = _data((tmp_path / "p.html").read_text(encoding="utf-8"))
    (own,) = data["kernels"]
    assert data["pairs"] == [{"label": "mine.py", "names": ["mine.py"]}]
    # at 8x8x8 there is one tile and nothing to overwrite: it is shown at the first size that has two
    assert own["arrays"][own["faults"][0]["array"]]["shape"] == [8, 8]
    assert own["arrays"][0]["shape"] == [9, 13]
    assert own["faults"][0]["kind"] == "race"
    assert own["source"][0] == "@cuda.jit"
    explorer.main(["--file", str(mine), "--kernel", "cuda-numba-shared", "--output", str(tmp_path / "p.html")])
    data = _data((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert [pair["names"] for pair in data["pairs"]] == [["mine.py", "cuda-numba-shared"]]


def test_a_kernel_is_watched_at_the_size_where_it_goes_wrong(tmp_path: Path) -> None:
    right = (SOLUTIONS / "shared_tile.py").read_text(encoding="utf-8")
    wrong = right.replace("range(0, a.shape[1], TILE)", "range(0, a.shape[1] // TILE * TILE, TILE)")
    (tmp_path / "mine.py").write_text(wrong)
    shown = watched(tmp_path / "mine.py")
    assert shown["arrays"][0]["shape"] == (9, 13), "8x8x8 is whole tiles, and right"


def test_what_a_kernel_calls_is_shown_and_each_access_has_its_own_figure(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from numba import cuda\n\nEXERCISE = 'one_thread_per_element'\n\n\n"
        "@cuda.jit(device=True)\ndef both(x, i):\n    return x[i] + x[i // 32]\n\n\n"
        "@cuda.jit\ndef kernel(x, y):\n    i = cuda.grid(1)\n    if i < x.shape[0]:\n        y[i] = both(x, i)\n"
    )
    shown = watched(tmp_path / "mine.py")
    assert (shown["firstLine"], shown["source"][0]) == (6, "@cuda.jit(device=True)")
    assert shown["source"][-1] == "        y[i] = both(x, i)"
    figures = [shown["counts"][place["figure"]] for place in shown["places"]]
    assert [(figure["line"], figure["kind"], figure["sectors"]) for figure in figures] == [
        (8, "read", 4), (8, "read", 1), (15, "write", 4),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "it does not say which exercise it is"),
        ('EXERCISE = "other"\n', "line 1: there is no exercise 'other': the exercises are"),
        ('EXERCISE = "transposed"\n', "line 1: there is no exercise 'transposed': did you mean transpose?"),
        ('EXERCISE = "one_thread_per_element"\n\n\ndef kernel(x, y):\n    y[0] = 1 / 0\n', "line 5: ZeroDivisionError"),
    ],
)
def test_what_does_not_run_cannot_be_watched(
    text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(SystemExit) as stop:
        explorer.main(["--file", str(tmp_path / "mine.py"), "--output", str(tmp_path / "p.html")])
    assert stop.value.code == cli.CHECK_FAILED
    assert f"mine.py cannot be shown: {says}" in capsys.readouterr().err
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize("there_is_one", [True, False])
def test_open_shows_the_file_or_says_that_it_cannot(
    there_is_one: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []

    def browse(address: str) -> bool:
        opened.append(address)
        return there_is_one

    monkeypatch.setattr(sys.modules["webbrowser"], "open", browse)
    explorer.main(["--kernel", "cpu-numba-serial", "--size", "2", "--output", str(tmp_path / "p.html"), "--open"])
    assert opened == [(tmp_path / "p.html").as_uri()]
    assert ("no browser was found here" in capsys.readouterr().out) is not there_is_one
