"""Which servers are compared, in which settings, and what the client offers for each of these."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PACKAGES", "PEERS", "Contender", "contenders"]

PACKAGES = ("handy-ws", "aiohttp", "websockets", "uvicorn", "wsproto", "httptools", "uvloop")

OFFERS = {
    "default": "permessage-deflate; client_max_window_bits",
    "takeover": "permessage-deflate",
    "no-takeover": "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
}

LEVEL_1 = "1, 15 bits"
LEVEL_6 = "6, 15 bits"
SMALLER = "6, 12 bits, memLevel 5"
HANDY_WS = "handy_ws"
OURS = {
    "no-takeover": ("--compress", "--level"),
    "takeover": ("--compress", "--context-takeover", "--level"),
}
# Name, module, arguments, and with which level and window it compresses in which setting.
PEERS: tuple[tuple[str, str, tuple[str, ...], dict[str, str]], ...] = (
    ("aiohttp", "serve_aiohttp", (), {"takeover": LEVEL_1, "no-takeover": LEVEL_1}),
    (
        "websockets",
        "serve_websockets",
        (),
        {"default": SMALLER, "takeover": LEVEL_1, "no-takeover": LEVEL_1},
    ),
    (
        "uvicorn+websockets",
        "serve_uvicorn",
        ("--ws", "websockets-sansio"),
        {"default": SMALLER, "takeover": LEVEL_1, "no-takeover": LEVEL_1},
    ),
    (
        "uvicorn+wsproto",
        "serve_uvicorn",
        ("--ws", "wsproto"),
        {"default": LEVEL_6, "no-takeover": LEVEL_6},
    ),
)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server in one setting."""

    server: str
    setting: str
    level: str
    module: str
    arguments: Sequence[str]

    @property
    def offer(self) -> str:
        """What a client offers to get this setting."""
        return OFFERS[self.setting]

    @property
    def name(self) -> str:
        """Its row in the tables."""
        return f"{self.server}, {self.setting}"


def contenders(servers: Sequence[str], loops: Sequence[str]) -> list[Contender]:
    """Return all that shall be measured, handy_ws's default first."""
    found = [
        Contender(server, setting, f"{level}, 15 bits", "serve_handy_ws", (*arguments, str(level)))
        for server, level in ((HANDY_WS, 1), (f"{HANDY_WS} at level 2", 2))
        for setting, arguments in OURS.items()
    ]
    for server, module, arguments, levels in PEERS:
        if server in servers:
            found += [
                Contender(
                    f"{server} on {loop}",
                    setting,
                    level,
                    module,
                    (*arguments, "--loop", loop, "--deflate", setting),
                )
                for setting, level in levels.items()
                for loop in loops
            ]
    return found
