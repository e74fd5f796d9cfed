"""The examples in the guides run, as far as they go without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from handy_ws import HttpServer

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(path.name for path in DOCS.glob("*.md") if "```python" in path.read_text())


def test_there_are_guides_with_examples() -> None:
    assert {"index.md", "quickstart.md", "sending.md"} <= set(GUIDES)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_examples_of_a_guide_run_from_top_to_bottom(
    guide: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HttpServer, "start", lambda _server: None)  # it would block
    namespace: dict[str, Any] = {"__name__": guide}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL):
        exec(compile(block, guide, "exec"), namespace)  # noqa: S102 - our own guide
