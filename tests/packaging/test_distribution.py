"""What is exported, and what is in the distribution that these tests run against."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import pkgutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import handy_ws
import handy_ws.cli
import pytest

ROOT = Path(__file__).parents[2]

PUBLIC_NAMES = {
    "CloseCause",
    "CloseCode",
    "CompressionConfig",
    "ConnectionClosed",
    "FileHandler",
    "HttpRequest",
    "HttpRequestContext",
    "HttpRequestHandler",
    "HttpResponse",
    "HttpServer",
    "ManagerStats",
    "PathHandler",
    "SendResult",
    "ServerConfig",
    "TlsConfig",
    "WebSocketBinaryMessage",
    "WebSocketCloseMessage",
    "WebSocketConfig",
    "WebSocketConnection",
    "WebSocketError",
    "WebSocketHandler",
    "WebSocketManager",
    "WebSocketMessageHandler",
    "WebSocketTextMessage",
    "WsgiHandler",
}


@pytest.fixture
def files() -> set[str]:
    """The paths that the installer put on this machine."""
    listed = importlib.metadata.files("handy-ws") or []
    return {path.as_posix() for path in listed if "__pycache__" not in path.parts}


def test_all_is_sorted_and_complete() -> None:
    assert handy_ws.__all__ == sorted(PUBLIC_NAMES)


@pytest.mark.parametrize("name", sorted(PUBLIC_NAMES))
def test_every_name_is_there_and_has_a_docstring(name: str) -> None:
    exported = getattr(handy_ws, name)
    assert isinstance(exported, type)
    assert exported.__doc__


def test_what_the_package_exports_is_public_in_the_module_that_defines_it() -> None:
    offered: set[str] = set()
    for module in pkgutil.walk_packages(handy_ws.__path__, "handy_ws."):
        offered.update(getattr(importlib.import_module(module.name), "__all__", ()))
    assert offered >= PUBLIC_NAMES


def test_the_distribution_is_typed(files: set[str]) -> None:
    assert {"handy_ws/py.typed", "handy_ws/_core.pyi"} <= files


def test_the_distribution_has_the_package_its_metadata_and_nothing_else(files: set[str]) -> None:
    version = importlib.metadata.version("handy-ws")
    (script,) = [path for path in files if path.endswith("/bin/handy-ws")]
    assert {path.partition("/")[0] for path in files - {script}} == {
        "handy_ws",
        f"handy_ws-{version}.dist-info",
    }
    assert not [path for path in files if "test" in path.lower()]


def test_there_is_one_compiled_module(files: set[str]) -> None:
    compiled = [path for path in files if path.endswith(".so")]
    core = importlib.util.find_spec("handy_ws._core")
    assert len(compiled) == 1
    assert core is not None
    assert core.origin is not None
    assert core.origin.endswith(compiled[0])


def test_there_is_a_command() -> None:
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="handy-ws")
    assert entry.load() is handy_ws.cli.main
    bin_directory = sysconfig.get_path("scripts")
    done = subprocess.run(
        [Path(bin_directory) / "handy-ws", "--version"], capture_output=True, check=True, text=True
    )
    assert done.stdout == f"handy-ws {importlib.metadata.version('handy-ws')}\n"


def test_the_package_needs_none_of_its_extras() -> None:
    extras = ("click", "watchfiles")
    metadata = importlib.metadata.metadata("handy-ws")
    required = [
        requirement.split(";")[0]
        for requirement in metadata.get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    ]
    assert [name for name in required if name.startswith(extras)] == []
    without = "".join(f"sys.modules[{name!r}] = None; " for name in extras)
    source = f"import sys; {without}from handy_ws import *"
    subprocess.run([sys.executable, "-W", "error", "-c", source], check=True)


def test_the_licence_is_in_the_distribution(files: set[str]) -> None:
    metadata = importlib.metadata.metadata("handy-ws")
    assert metadata["License-Expression"] == "MIT"
    assert [path for path in files if path.endswith("/LICENSE")]


def test_the_version_is_that_of_the_cargo_workspace() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert importlib.metadata.version("handy-ws") == cargo["workspace"]["package"]["version"]


def test_the_changelog_has_the_version() -> None:
    version = importlib.metadata.version("handy-ws")
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()
