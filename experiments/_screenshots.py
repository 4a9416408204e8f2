"""Pictures of the explorer's page, as a browser on a desk and on a phone shows it."""

from __future__ import annotations

import tempfile
from operator import methodcaller
from pathlib import Path

from experiments import _browser
from experiments.explorer import KERNELS, twins
from experiments.explorer._page import build
from kernels.measure.files import write_atomically

__all__ = ["VIEWS", "take"]

_DESK, _PHONE = (1280, 800), (390, 844)
_RACE = """
  document.getElementById("pair").value = DATA.pairs.findIndex(pair => pair.names[0] === "missing_barrier");
  document.getElementById("pair").onchange();
  document.querySelector(".fault").click();"""

# name: the window, and what is done before the picture is taken
VIEWS = {
    "explorer": (_DESK, ""),
    "explorer_race": (_DESK, _RACE),
    "explorer_phone": (_PHONE, ""),
    "explorer_machine_phone": (_PHONE, "document.getElementById('tab-machine').click()"),
}


def take(folder: Path, themes: tuple[str, ...]) -> None:
    """Write each view in each theme; needs a browser (`_browser.why_absent`)."""
    with tempfile.TemporaryDirectory() as temporary:
        page = Path(temporary, "explorer.html")
        page.write_text(build(KERNELS, 16, twins.TWINS), encoding="utf-8")
        for name, (size, script) in VIEWS.items():
            for theme in themes:
                with _browser.opened(page, *size, theme=theme) as driver:
                    driver.execute_script(script)
                    png = driver.get_screenshot_as_png()
                path = folder / f"{name}_{theme}.png"
                write_atomically(path, methodcaller("write", png))
                print(f"wrote {path}")
