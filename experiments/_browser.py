"""A headless Chromium that opens a page from disk, for its pictures and its tests."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kernels.extras import install

__all__ = ["opened", "why_absent"]

_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def why_absent() -> str | None:
    """Why no page can be opened here, with what to install, or None."""
    if importlib.util.find_spec("selenium") is None:
        return f"the Python package selenium is not installed: {install('test')}"
    if not shutil.which("chromedriver") or not _browser():
        return "no Chromium with its driver is installed: on Debian, apt install chromium chromium-driver"
    return None


def _browser() -> str | None:
    return next((path for name in _BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def opened(page: Path, width: int, height: int, theme: str = "light") -> Iterator[Any]:
    """Selenium's driver, with the page in a window of so many CSS pixels; below 500 of them it is a phone's.

    theme: "light" or "dark", what the reader is said to prefer.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(_browser())
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # root, as in containers, has no sandbox; the page is our own
        for argument in ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        try:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            preferred = [{"name": "prefers-color-scheme", "value": theme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
            driver.get(page.resolve().as_uri())
            yield driver
        finally:
            driver.quit()
