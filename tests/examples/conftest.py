"""The fixture that starts examples."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.examples.example_process import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Example]]:
    """Start examples by their file names. After the test, each must stop cleanly on Ctrl-C."""
    with ExitStack() as running:
        yield lambda script: running.enter_context(Example(script, tmp_path))
