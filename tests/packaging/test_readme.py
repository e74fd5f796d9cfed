"""The README tells the truth: its example runs, and its tables are those of the code."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import handy_ws
import pytest
from handy_ws import HttpServer, ServerConfig, WebSocketConfig
from websockets.sync.client import connect

from tests.http.raw_http import RawClient
from tests.slowness import without_slow_callbacks

if TYPE_CHECKING:
    from collections.abc import Iterator

README = (Path(__file__).parents[2] / "README.md").read_text()
UNITS = {"": 1, "s": 1, "B/s": 1, "threads": 1, "KiB": 1024, "MiB": 1024 * 1024}


def example() -> str:
    """The first block of Python, made to listen on a free port."""
    found = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert found
    assert "port=8080" in found[1]
    return found[1].replace("port=8080", "port=0")


@pytest.fixture
def program() -> Iterator[subprocess.Popen[str]]:
    """The example, running; it is killed if the test has not ended it."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", example()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as process:
        yield process
        process.kill()


def test_the_example_greets_answers_broadcasts_and_stops(program: subprocess.Popen[str]) -> None:
    assert program.stdin
    assert program.stdout
    listening = program.stdout.readline().split()
    assert listening[:2] == ["Listening", "at"], program.communicate()

    with connect(listening[2]) as one, connect(listening[2]) as two:
        assert one.recv() == two.recv() == "Hello! Say something."
        one.send("hi")
        assert one.recv() == "You said: hi"
        program.stdin.write("to everybody\n")
        program.stdin.flush()
        assert one.recv() == two.recv() == "to everybody"
        one.close()
        assert "CloseCause.PEER" in program.stdout.readline()

        output, errors = program.communicate(timeout=30)  # closes stdin, which is Ctrl-D
        assert "CloseCause.SERVER_STOP" in output
        assert without_slow_callbacks(errors) == ""
        assert program.returncode == 0


def test_the_other_examples_run_behind_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("static").mkdir()
    monkeypatch.setattr(HttpServer, "start", lambda _server: None)  # it would block
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in [example(), *re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1:]]:
        exec(compile(block, "README.md", "exec"), namespace)  # noqa: S102 - our own examples
    with HttpServer(namespace["paths"], ServerConfig(port=0)) as server:
        for target, body in (("/hello?name=A", b"Hello, A!\n"), ("/x", b"All other pages\n")):
            with RawClient(server.address) as client:
                assert client.get(target).body == body


def test_the_table_of_the_api_has_every_name_and_no_other() -> None:
    table = README.partition("## The API")[2].partition("\n## ")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    names = re.findall(r"`([A-Z][A-Za-z]+)", " ".join(firsts))
    assert sorted(names) == handy_ws.__all__


def defaults_in_readme() -> dict[str, float]:
    """Every row of the table of limits: its field, and the value in bytes or seconds."""
    rows = re.findall(r"^\| `(\w+\.\w+)` \| ([\d.]+) ?([\w/]*) \|", README, re.MULTILINE)
    return {field: float(number) * UNITS[unit] for field, number, unit in rows}


def test_the_table_of_limits_has_every_number_in_the_config() -> None:
    configured = {
        f"{type(config).__name__}.{field.name}": getattr(config, field.name)
        for config in (ServerConfig(), WebSocketConfig())
        for field in dataclasses.fields(config)
        if type(getattr(config, field.name)) in {int, float}
    }
    for name in ("port", "unix_socket_mode"):  # no limits
        del configured[f"ServerConfig.{name}"]
    assert defaults_in_readme() == configured


def test_links_to_files_lead_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    root = Path(__file__).parents[2]
    assert [link for link in links if not (root / link).exists()] == []
