"""README and gallery are what the ladder and the committed results say."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest
from matplotlib.colors import to_rgba
from matplotlib.text import Text

import kernels
from experiments import _browser, _screenshots, gallery, readme
from kernels import cli
from kernels.measure import results
from plots.style import THEMES
from tests.commands import fails

pytestmark = pytest.mark.usefixtures("peak")


def test_the_readme_is_what_the_ladder_and_the_results_say() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.render(text) == text, "stale: run python -m experiments.readme"
    for spec in kernels.ladder.LADDER:
        assert f"`{spec.name}`" in text


@pytest.mark.parametrize("name", ["README.md", "kernels/README.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = readme.README.parent / name
    links = re.findall(r'\]\(([^)]+)\)|(?:src|srcset)="([^"]+)"', page.read_text(encoding="utf-8"))
    local = [link for link in map("".join, links) if "://" not in link]
    assert local
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_a_stale_readme_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "README.md"
    stale.write_text(readme.README.read_text(encoding="utf-8").replace("`cpu-python`", "`cpu-snake`"), encoding="utf-8")
    monkeypatch.setattr(readme, "README", stale)
    assert fails(readme.main, "--check") == cli.CHECK_FAILED


def test_committed_results_are_clean_and_of_this_schema() -> None:
    committed = sorted(gallery.RESULTS.rglob("*.json"))
    assert committed
    for path in committed:
        found = results.read(path)
        if found.git is None:  # measured from a copy without the repository, whose revision is kept beside
            assert re.fullmatch(r"[0-9a-f]{40}\n", path.with_suffix(".revision").read_text()), path
        else:
            assert not found.git.dirty, path


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", gallery.pictures())
def test_every_picture_of_the_gallery_can_be_drawn(name: str, theme: str) -> None:
    """On the theme's paper, with no text beyond the edge and no letters too small for a README's column."""
    figure = gallery.pictures()[name](theme)
    assert figure.get_facecolor() == to_rgba(THEMES[theme].paper)
    figure.draw_without_rendering()
    page = figure.bbox.padded(2)
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    hidden = [
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    ]
    shown = [text for text in texts if text not in hidden]
    assert len(shown) > 8
    scale = 830 / (figure.get_size_inches()[0] * 72)  # a README is about 830 pixels wide
    for text in shown:
        box = text.get_window_extent()
        assert page.xmin <= box.xmin < box.xmax <= page.xmax, text
        assert page.ymin <= box.ymin < box.ymax <= page.ymax, text
        assert text.get_fontsize() * scale >= 10, text


@pytest.mark.parametrize("name", sorted(gallery.pictures().keys() - {"accuracy", "machines"}))
def test_every_picture_of_times_tells_that_the_machine_was_busy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> set[str]:
        figure = gallery.pictures()[name]("light")
        return {text.get_text() for text in figure.findobj(Text) if "other programs kept 1.6 of" in text.get_text()}

    read = cli.read_results
    assert not said()
    monkeypatch.setattr(cli, "read_results", lambda path: msgspec.structs.replace(read(path), busy_cores=1.6))
    assert len(said()) == 1


def test_the_gallery_holds_its_pictures_and_no_others() -> None:
    expected = {f"{name}_{theme}.png" for name in (*gallery.pictures(), *_screenshots.VIEWS) for theme in THEMES}
    assert {path.name for path in gallery.GALLERY.iterdir()} == expected
    text = readme.README.read_text(encoding="utf-8")
    shown = set(re.findall(r"plots/gallery/([\w-]+\.png)", text))
    assert shown <= expected
    assert len(shown) >= 8
    for light in (name for name in shown if name.endswith("_light.png")):
        assert light.replace("_light", "_dark") in shown


def test_redraw_writes_every_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery, "GALLERY", tmp_path)
    drawn = {"machines": gallery.pictures()["machines"]}
    monkeypatch.setattr(gallery, "pictures", lambda: drawn)
    monkeypatch.setattr(_browser, "why_absent", lambda: "no browser")
    gallery.main([])
    assert "the explorer's pictures stay as they are: no browser" in capsys.readouterr().out
    light, dark = ((tmp_path / f"machines_{theme}.png").read_bytes() for theme in ("light", "dark"))
    assert light.startswith(b"\x89PNG")
    assert dark.startswith(b"\x89PNG")
    assert light != dark
