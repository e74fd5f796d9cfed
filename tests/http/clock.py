"""A clock that tests put forward, so that deadlines of minutes can be tested in no time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.http.conftest import poll

if TYPE_CHECKING:
    import pytest
    from handy_ws import HttpServer

MODULES = ("acceptor", "run", "waiting")


class Clock:
    """The monotonic clock of the HTTP side, and some time more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        for module in MODULES:
            monkeypatch.setattr(f"handy_ws.http.{module}.monotonic", self)

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def advance(self, seconds: float, server: HttpServer) -> None:
        """Let time pass, and wait until the server has seen to what is due."""
        self.jump(seconds, server)
        now = self()
        acceptor = server._run.acceptor  # type: ignore[union-attr]
        acceptor._poller.wake(surely=True)
        poll(lambda: acceptor._wakes_at > now)

    def jump(self, seconds: float, server: HttpServer) -> None:
        """Let time pass, and wake the server."""
        self._ahead += seconds
        server._run.acceptor._poller.wake(surely=True)  # type: ignore[union-attr]
