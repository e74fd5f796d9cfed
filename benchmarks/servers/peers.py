"""The servers that handy_ws is compared with, each as fast as it can be set up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PACKAGES", "PEERS", "Peer"]

PACKAGES = (
    "handy-ws",
    "picows",
    "websockets",
    "aiohttp",
    "uvicorn",
    "granian",
    "socketify",
    "tornado",
    "flask-sock",
    "simple-websocket",
    "uvloop",
)


class Peer(NamedTuple):
    """How one is started."""

    module: str
    arguments: Sequence[str] = ()


PEERS = {
    "picows": Peer("serve_picows", ("--loop", "uvloop")),
    "websockets": Peer("serve_websockets", ("--loop", "uvloop")),
    "aiohttp": Peer("serve_aiohttp", ("--loop", "uvloop")),
    "uvicorn": Peer("serve_uvicorn", ("--loop", "uvloop", "--ws", "websockets-sansio")),
    "granian": Peer("serve_granian"),
    "socketify": Peer("serve_socketify"),
    "tornado": Peer("serve_tornado"),
    "Flask-Sock": Peer("serve_flask_sock"),
}
