"""How Sphinx builds the documentation: `make docs`. Needs the package installed."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "handy_ws"
author = "the handy_ws developers"
copyright = "2026, the handy_ws developers"  # noqa: A001 - the name that Sphinx reads
version = release = importlib.metadata.version("handy-ws")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"handy_ws {release}"

# Single backticks in docstrings are code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}


def setup(app: Sphinx) -> None:
    """Keep napoleon from reading an attribute's docstring as ``type: description``."""

    def begin_with_a_comment(_app: Sphinx, what: str, *arguments: list[str]) -> None:
        if what == "attribute":
            arguments[-1][:0] = ["..", ""]

    app.connect("autodoc-process-docstring", begin_with_a_comment, priority=100)
