"""Servers for the tests of faults: those of the WebSocket side."""

from __future__ import annotations

from tests.websocket.conftest import serve

__all__ = ["serve"]
