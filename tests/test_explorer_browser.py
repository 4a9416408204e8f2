"""The explorer's page in a real browser, headless, opened from disk: what is shown is what the recorder reports."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from numba import cuda, float32

from experiments import _browser, _screenshots
from experiments.exercises._tasks import TASKS
from experiments.exercises._watch import watched
from experiments.explorer import KERNELS
from experiments.explorer._page import build
from experiments.explorer._recorded import recorded, square
from experiments.explorer._small import with_constants
from experiments.explorer.twins import TWINS
from kernels.cuda import numba_coalesced, numba_naive, registers
from kernels.cuda.architectures import GPUS
from kernels.cuda.occupancy import occupancy

pytestmark = pytest.mark.skipif(_browser.why_absent() is not None, reason=str(_browser.why_absent()))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("explorer") / "page.html"
    file.write_text(build(KERNELS, 16, TWINS), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def browser(page: Path) -> Iterator[Any]:
    with _browser.opened(page, 1280, 800) as driver:
        yield driver


@pytest.fixture
def driver(browser: Any, page: Path) -> Any:
    """The page as it opens: it keeps nothing of what was done before."""
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def _find(driver: Any, css: str) -> Any:
    return driver.find_element("css selector", css)


def _all(driver: Any, css: str) -> list[Any]:
    return driver.find_elements("css selector", css)


def _choose(driver: Any, css: str, text: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(_find(driver, css)).select_by_visible_text(text)


def _enter(driver: Any, css: str, text: str) -> None:
    from selenium.webdriver.common.keys import Keys

    _find(driver, css).send_keys(Keys.CONTROL, "a", Keys.NULL, Keys.BACKSPACE, text)


def _press(driver: Any, *keys: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(driver).send_keys(*keys).perform()


def _pixels(driver: Any) -> list[str]:
    return driver.execute_script("return [...document.querySelectorAll('canvas')].map(c => c.toDataURL())")


def test_it_starts_with_something_to_see(driver: Any) -> None:
    texts = (
        Path(module.__file__).read_text(encoding="utf-8").splitlines() for module in (numba_naive, numba_coalesced)
    )
    lines = [1 + next(row for row, line in enumerate(text) if "total += a[i, k] * b[k, j]" in line) for text in texts]
    assert [pane.text for pane in _all(driver, ".now")] == [
        f"256 threads read a (global), line {lines[0]}: 16.0 sectors for a warp",
        f"256 threads read a (global), line {lines[1]}: 2.0 sectors for a warp",
    ]
    assert len(_all(driver, ".current")) == 2
    for about in _all(driver, ".about"):
        idea, sizes = about.text.splitlines()
        assert idea.startswith("At its real size: ")
        assert sizes == "Here c is 16 x 16, a block has 16 x 8 = 128 threads, a warp 16 x 2 of them."


def test_the_text_names_the_sizes_that_are_shown(driver: Any) -> None:
    said = {}
    for name in ("cuda-numba-shared", "cuda-numba-register", "lost_update", "cpu-numba-serial"):
        _choose(driver, "section:first-of-type select", name)
        said[name] = _find(driver, "section:first-of-type .sizes").text
    assert said == {
        "cuda-numba-shared": "Here c is 16 x 16, a block has 8 x 8 = 64 threads, a warp 8 x 4 of them.",
        "cuda-numba-register": "Here c is 16 x 16, a block has 4 x 4 = 16 threads, a warp 4 x 4 of them.",
        "lost_update": "Here c is 8 x 8, a block has 8 x 8 x 2 = 128 threads, a warp 8 x 4 of them.",
        "cpu-numba-serial": "Here c is 16 x 16, for 1 core.",
    }


def test_the_table_is_the_recorders_report(driver: Any) -> None:
    small = with_constants(numba_coalesced, ROWS=8, COLUMNS=16)
    shown = recorded("same", "", small.kernel, *small.launch(16, 16), square(16))
    rows = _all(driver, "section:nth-of-type(2) table tr")[1:]
    assert len(rows) == len(shown["counts"]) == 3
    for row, count in zip(rows, shown["counts"], strict=True):
        cells = [cell.text for cell in row.find_elements("css selector", "td")]
        assert cells[:2] == [str(count["line"]), f"{count['kind']} {count['array']} (global)"]
        assert cells[2:] == [f"{count['sectors']:.2f}", "–", f"{count['perResult']:.2f}"]
        assert float(row.get_attribute("data-sectors")) == pytest.approx(count["sectors"])


def test_slider_buttons_and_keys_move_time(driver: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    sliders = _all(driver, "#panes input[type=range]")
    start, before = int(sliders[0].get_attribute("value")), _pixels(driver)
    sliders[0].send_keys(Keys.ARROW_RIGHT)
    assert [int(slider.get_attribute("value")) for slider in sliders] == [start + 1, start]
    assert _pixels(driver) != before
    driver.execute_script("document.activeElement.blur()")
    _press(driver, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT)
    assert [int(slider.get_attribute("value")) for slider in sliders] == [start + 2, start + 1]
    _find(driver, "#back").click()
    assert [int(slider.get_attribute("value")) for slider in sliders] == [start + 1, start]
    driver.execute_script("document.activeElement.blur()")
    _press(driver, " ")
    assert "Pause" in _find(driver, "#play").text
    _press(driver, " ")
    assert "Play" in _find(driver, "#play").text


def test_every_kernel_at_every_stage_draws_without_an_error(driver: Any) -> None:
    """The fixture looks at the console."""
    driver.execute_script("""
        for (const kernel of DATA.kernels) {
          panes[0].load(kernel.name);
          for (let part = 0; part <= 20; part++) panes[0].go(Math.round(panes[0].steps * part / 20));
          for (const button of document.querySelectorAll("section:first-of-type .fault")) button.click();
        }""")


def test_sectors_of_a_warp_are_framed_and_counted(driver: Any) -> None:
    _choose(driver, "#pair", "cuda-numba-naive | cuda-numba-coalesced")
    # a warp stands on 16 rows and 2 columns, or on 2 rows and 16 columns; 8 numbers make a sector
    for side, a, b in (("first-of-type", 16, 1), ("nth-of-type(2)", 2, 2)):
        shown = []
        for step in (0, 1):
            pane = 0 if side == "first-of-type" else 1
            driver.execute_script(f"panes[{pane}].go({step})")
            shown += [caption.text for caption in _all(driver, f"section:{side} figcaption")]
        assert f"a · global, {a} sectors" in shown
        assert f"b · global, {b} sector{'s' if b > 1 else ''}" in shown


def test_a_cell_is_marked_as_written_only_where_it_is(driver: Any) -> None:
    _choose(driver, "#pair", "mistake: lost update")
    _find(driver, "section:first-of-type .fault").click()
    assert "write" in _find(driver, "section:first-of-type .now").text
    assert driver.execute_script("return panes[0].changed.size") == 64
    driver.execute_script("panes[0].move(-1)")
    assert "128 threads read c" in _find(driver, "section:first-of-type .now").text
    assert driver.execute_script("return panes[0].changed.size") == 0


def test_where_nobody_reaches_c_the_right_twin_tells_whose_it_is(driver: Any) -> None:
    _choose(driver, "#pair", "mistake: divergent barrier")
    assert driver.execute_script("return [panes[0].owner.size, panes[1].owner.size]") == [144, 144]


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.broken)
def test_a_mistake_is_shown_as_it_happens(driver: Any, twin: Any) -> None:
    _choose(driver, "#pair", f"mistake: {twin.mistake}")
    assert f"Broken on purpose: {twin.says}." in _find(driver, "section:first-of-type .about").text
    assert not _all(driver, "section:nth-of-type(2) .fault")
    faults = _all(driver, "section:first-of-type .fault")
    if twin.broken in ("uncoalesced", "bank_conflict"):
        assert not faults
        return
    faults[0].click()
    now = _find(driver, "section:first-of-type .now").text
    expected = {
        "missing_barrier": "⚠ thread (0, 4) of block 0 at line 40",
        "divergent_barrier": "256 threads wait at a barrier",
        "early_return": "144 threads wait at a barrier · 112 threads have finished",
        "unguarded_edge": "of block 1 at line",
        "lost_update": "no barrier orders them, either may come first",
    }
    assert expected[twin.broken] in now


def test_a_cell_says_who_computes_it(driver: Any) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    c = _all(driver, "section:first-of-type canvas")[2]
    ActionChains(driver).move_to_element_with_offset(c, 15, -25).perform()  # from its centre; a cell has 10 pixels
    # grid(2) puts threadIdx.x on the rows; blocks are 16 rows by 8 columns
    assert "c[5, 9]: computed by thread (5, 1) of block 1" in _find(driver, "section:first-of-type .cell").text


def test_the_second_view_counts_waves(driver: Any) -> None:
    _find(driver, "#tab-machine").click()
    assert not _find(driver, "#threads").is_displayed()
    assert _find(driver, "#occupancy").text == (
        "Occupancy 100%: 8 blocks, 64 warps on each multiprocessor, limited by threads; "
        f"32 registers a thread as compiled ({registers.kept().compilers}), 0 bytes of shared memory a block."
    )
    _choose(driver, "#gpu", "H200 SXM")
    _choose(driver, "#launch", "cuda-numba-shared")
    # 1024 threads in tiles of 32x32; two blocks of 1,024 threads fill the 2,048 of an SM
    gpu = next(gpu for gpu in GPUS if gpu.name == "H200 SXM")
    fits = occupancy(32, 1024, 8192, gpu.architecture).blocks_per_sm
    together = fits * gpu.multiprocessors
    waves = -(-1024 // together)
    said = f"1,048,576 c(i,j) make 1,024 blocks of 1,024 threads; {together} fit at once: {waves} waves."
    assert _find(driver, "#waves").text == said
    boxes = [int(box.text) for box in _all(driver, ".units i")]
    assert sum(boxes) == 1024 - (waves - 1) * together
    assert len(boxes) == gpu.multiprocessors
    count = _find(driver, "#count")
    count.clear()
    count.send_keys("1")
    assert f"{fits} fit at once: {1024 // fits} waves." in _find(driver, "#waves").text
    _choose(driver, "#gpu", _all(driver, "#gpu option")[-1].text)
    assert "cores to compute them" in _find(driver, "#waves").text or "1 core to" in _find(driver, "#waves").text


def test_cores_work_only_for_blocks_of_their_own_multiprocessor(driver: Any) -> None:
    _find(driver, "#tab-machine").click()
    _choose(driver, "#gpu", "H200 SXM")
    _choose(driver, "#launch", "cuda-numba-register")
    # 64 blocks of 256 threads: on 64 multiprocessors of 128 cores, and the other 68 have none
    assert "8,192 of 16,896" in _find(driver, ".shares").text
    assert "some cores have nothing to do" in _find(driver, "#resident").text
    _enter(driver, "#order", "4096")
    assert "16,896 of 16,896" in _find(driver, ".shares").text
    assert "the others wait for memory" in _find(driver, "#resident").text


def test_a_single_block_is_shared_out_among_multiprocessors(driver: Any) -> None:
    _find(driver, "#tab-machine").click()
    _enter(driver, "#order", "8")
    said = [output.text for output in _all(driver, "#answer output")]
    assert said == ["wave 1 of 1: 1 block, shared out among 19 multiprocessors:"]


@pytest.mark.parametrize(
    ("order", "cores", "said", "busy"),
    [
        ("3", "2", "2 cores to compute them: each takes 2 rows", ["1", "1"]),
        ("1", "4", "1 core to compute them: each takes 1 row", ["1", "0", "0", "0"]),
    ],
)
def test_rows_are_shared_out_among_the_cores_of_a_cpu(
    order: str, cores: str, said: str, busy: list[str], driver: Any
) -> None:
    _find(driver, "#tab-machine").click()
    _choose(driver, "#gpu", _all(driver, "#gpu option")[-1].text)
    _enter(driver, "#order", order)
    _enter(driver, "#count", cores)
    assert f", and {said}, one after another." in _find(driver, "#waves").text
    assert [box.text for box in _all(driver, ".units i")] == busy


@pytest.mark.parametrize("entry", ["-5", "", "2.5", "0"])
def test_what_is_no_number_of_rows_is_told(entry: str, driver: Any) -> None:
    _find(driver, "#tab-machine").click()
    _enter(driver, "#order", entry)
    assert _find(driver, "#answer").text == "rows and columns of C: needs a whole number, at least 1."
    _enter(driver, "#order", "64")
    assert _find(driver, "#answer").text.startswith("4,096 c(i,j) make 16 blocks")


def test_a_learners_kernel_can_be_watched(driver: Any, tmp_path: Path) -> None:
    """The fixture looks at the console."""
    last = {}
    for task in TASKS:
        file = tmp_path / f"{task.name}.html"
        own = watched(Path(__file__).parent / "exercises" / f"{task.name}.py")
        file.write_text(build((), 16, (), own=own), encoding="utf-8")
        driver.get(file.as_uri())
        assert f"{task.name}.py" in _find(driver, "#pair").text
        assert [pane.is_displayed() for pane in _all(driver, "#panes section")] == [True, False]
        driver.execute_script("for (let step = 0; step < panes[0].steps; step++) panes[0].go(step);")
        last[task.name] = _find(driver, ".now").text
        assert driver.execute_script("return document.documentElement.scrollWidth") <= 1280
    assert last["histogram"].startswith("32 threads update counts (global), line 10")
    assert last["transpose"].startswith("1,024 threads write y (global), line 17")


def test_threads_that_left_are_not_shown_as_waiting(driver: Any, tmp_path: Path) -> None:
    def leaves(x):
        i = cuda.threadIdx.x
        for step in range(3):
            x[i] += 1
            if step == 1 and i < 4:
                return
            cuda.syncthreads()

    file = tmp_path / "page.html"
    own = recorded("leaves", "", leaves, (1,), (8,), (np.zeros(8),), result="x")
    file.write_text(build((), 16, (), own=own), encoding="utf-8")
    driver.get(file.as_uri())
    said = []
    for interval in range(3):  # the last step of each
        driver.execute_script("panes[0].go((panes[0].starts[arguments[0]] ?? panes[0].steps) - 1)", interval + 1)
        said.append(_find(driver, ".now").text)
    left = "4 threads wait at a barrier · 4 threads have finished"
    assert said == ["8 threads wait at a barrier", left, left]
    _find(driver, ".fault").click()
    assert _find(driver, ".now").text == left
    assert _find(driver, ".slider output").text.startswith("interval 2 of ")


def test_threads_that_wait_for_one_that_was_stopped_are_shown_as_waiting(driver: Any, tmp_path: Path) -> None:
    def outside(x):
        x[cuda.threadIdx.x] = 1
        cuda.syncthreads()

    file = tmp_path / "page.html"
    own = recorded("outside", "", outside, (1,), (8,), (np.zeros(7),), result="x")
    file.write_text(build((), 16, (), own=own), encoding="utf-8")
    driver.get(file.as_uri())
    driver.execute_script("panes[0].go(panes[0].steps - 1)")
    assert _find(driver, ".now").text == "7 threads wait at a barrier · 1 thread has finished"


def test_shared_memory_is_shown_of_the_block_that_a_fault_names(driver: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    def races(x):
        tile = cuda.shared.array(2, float32)
        at = cuda.threadIdx.x * (1 - cuda.blockIdx.x)  # in block 1 both threads write the first number
        tile[at] = 1
        x[cuda.grid(1)] = tile[at]

    file = tmp_path / "page.html"
    own = recorded("races", "", races, (2,), (2,), (np.zeros(4, np.float32),), result="x")
    file.write_text(build((), 16, (), own=own), encoding="utf-8")
    driver.get(file.as_uri())
    _find(driver, ".fault").click()
    assert "tile · shared, of block 1" in [caption.text for caption in _all(driver, "figcaption")]
    tile = _all(driver, "section:first-of-type canvas")[1]
    ActionChains(driver).move_to_element_with_offset(tile, -7, 0).perform()  # from its centre; a cell has 14 pixels
    said = "tile[0, 0]: touched now by thread (0) of block 1, thread (1) of block 1"
    assert _find(driver, ".cell").text == said


def test_no_two_warps_of_neighbouring_blocks_have_one_colour(driver: Any) -> None:
    _choose(driver, "#colour", "warp")
    script = "return [...Array(8).keys()].map(warp => panes[0].colour(32 * warp + arguments[0]))"
    first, last = (driver.execute_script(script, lane) for lane in (0, 31))
    assert first == last
    assert len(set(first)) == 8, "two blocks of four"


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_screen(page: Path, width: int) -> None:
    with _browser.opened(page, width, 844) as driver:
        # some processors have long names
        driver.execute_script("[...document.querySelectorAll('#gpu option')].at(-1).text = 'this CPU '.repeat(9)")
        for tab in ("threads", "machine"):
            _find(driver, f"#tab-{tab}").click()
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width


def test_pictures_are_as_large_as_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_screenshots, "VIEWS", {"phone": _screenshots.VIEWS["explorer_phone"]})
    _screenshots.take(tmp_path, ("light", "dark"))
    light, dark = (matplotlib.image.imread(tmp_path / f"phone_{theme}.png") for theme in ("light", "dark"))
    assert light.shape[:2] == dark.shape[:2] == (844, 390)
    assert light[..., :3].mean() > 0.6 > 0.4 > dark[..., :3].mean()


def test_a_missing_browser_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "no Chromium" in str(_browser.why_absent())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "selenium" in str(_browser.why_absent())
