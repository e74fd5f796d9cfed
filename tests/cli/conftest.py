"""Programs in a directory of their own, and the command line to serve them."""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeAlias

import pytest

from tests.cli.program import Program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


class Serve:
    """Starts commands in a directory, and ends them with the test."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack

    def write(self, source: str, name: str = "program.py") -> Path:
        """Write a file of the program, at one moment for whoever watches it."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        half_written = path.with_name(f"{path.name}.new")
        half_written.write_text(source)
        return half_written.replace(path)

    def __call__(self, *arguments: str) -> Program:
        """Run ``handy-ws serve`` with a free port, unless the arguments say another."""
        port = [] if "--port" in arguments else ["--port", "0"]
        return self.run("-m", "handy_ws", "serve", *arguments, *port)

    def run(self, *arguments: str, descriptors: Sequence[int] = ()) -> Program:
        """Run Python."""
        program = Program(list(arguments), self.directory, descriptors)
        return self._stack.enter_context(program)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:
        yield Serve(tmp_path, stack)


Modules: TypeAlias = "Callable[[dict[str, str]], None]"


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    """Write modules into the current directory; nothing of them is left after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(sources: dict[str, str]) -> None:
        for name, source in sources.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(source)
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]
