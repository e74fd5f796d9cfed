"""Ten thousand connections."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import (
    HttpRequestContext,
    HttpServer,
    PathHandler,
    ServerConfig,
    WebSocketHandler,
    WebSocketMessageHandler,
)

from tests.process import resident

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 10_000
SWARM = Path(__file__).with_name("swarm.py")

pytestmark = pytest.mark.alone


class Swarm:
    """The process that holds the connections."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self.read_line() == "ready"

    def read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def read_frames(self, count: int) -> dict[str, int]:
        """Read `count` frames on each connection: how many have received which payloads."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"read {count}\n")
        self._process.stdin.flush()
        seen: dict[str, int] = json.loads(self.read_line())
        return seen


@contextlib.contextmanager
def swarm(address: tuple[str, int], count: int, kind: str) -> Iterator[Swarm]:
    """Open connections in another process, and end them with the block."""
    command = [sys.executable, str(SWARM), address[0], str(address[1]), str(count), kind]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Swarm(process)
        finally:
            process.kill()


@pytest.fixture(autouse=True)
def descriptors() -> Iterator[None]:
    """Let this process have a descriptor for each connection."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 500
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"`ulimit -Hn` is below {wanted}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hello(context: HttpRequestContext) -> None:
    context.response.data = b"hello"


@pytest.mark.timeout(120)
def test_ten_thousand_connections_get_one_broadcast_each_exactly_once() -> None:
    websocket = WebSocketHandler(WebSocketMessageHandler())
    with HttpServer(websocket, ServerConfig(port=0, backlog=4096)) as server:
        manager = server.websocket_manager
        before = resident()
        with swarm(server.address, MANY, "websocket") as clients:
            manager.broadcast("first")
            manager.broadcast("second")
            seen = clients.read_frames(2)
            assert seen == {'["first", "second"]': MANY}
            assert len(manager) == MANY
            memory = (resident() - before) / MANY
            print(f"{memory:.0f} bytes of server memory for each of {MANY} connections")
            assert memory < 4096
            manager.broadcast("last")
            assert clients.read_frames(3) == {'["first", "second", "last"]': MANY}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["idle", "dribble"])
def test_ten_thousand_waiting_clients_do_not_delay_a_request(kind: str) -> None:
    config = ServerConfig(port=0, backlog=4096, workers=2, head_timeout=60.0)
    with HttpServer(PathHandler().add("/", hello), config) as server:
        host, port = server.address
        with swarm(server.address, MANY, kind):
            times = []
            for _ in range(20):
                start = time.monotonic()
                with urllib.request.urlopen(f"http://{host}:{port}/", timeout=10) as response:
                    assert response.read() == b"hello"
                times.append(time.monotonic() - start)
            print(f"{kind}: median {sorted(times)[10] * 1e3:.1f} ms, worst {max(times) * 1e3:.1f}")
            assert sorted(times)[len(times) // 2] < 0.1
            start = time.monotonic()
            server.stop()
            assert time.monotonic() - start < 5.0, "stop is bounded"
