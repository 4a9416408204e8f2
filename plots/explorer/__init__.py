"""The explorer: one HTML file, style and script and data inside it, that opens from disk without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["render"]


def render(data: Mapping[str, Any]) -> str:
    """The page for what experiments.explorer recorded."""
    environment = Environment(loader=PackageLoader(__name__, "."), autoescape=True, undefined=StrictUndefined)
    # "<" would let a kernel's text end the script element
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("page.html").render(data=text)
