"""The commands in the documentation are those that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws.cli.commands import cli, serve

from tests.cli.program import get

if TYPE_CHECKING:
    from tests.cli.conftest import Serve

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        command
        for path in DOCS
        for command in re.findall(r"^\$ handy-ws (.*)$", path.read_text(), re.MULTILINE)
    }
)
GUIDE = (ROOT / "docs" / "cli.md").read_text()


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_understood(command: str) -> None:
    name, *arguments = shlex.split(command)
    found = cli.commands[name]
    with found.make_context(name, arguments):
        pass


def test_the_options_of_the_guide_are_there() -> None:
    named = set(re.findall(r"`(--[a-z-]+)", GUIDE))
    params = (*serve.params, *cli.params)
    there = {option for param in params for option in (*param.opts, *param.secondary_opts)}
    assert {"--reload", "--factory"} <= named <= there


def test_the_program_of_the_guide_is_served_as_it_says(serve: Serve) -> None:
    found = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert found
    serve.write(found[1], "chat.py")
    program = serve("chat:server")
    assert "class Chat" in get(program.address(), "/chat.py")
