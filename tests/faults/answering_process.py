"""Clients in a process of their own: `python answering_process.py HOST PORT COUNT`.

They answer PINGs, and nothing else. Prints ``ready`` when all are connected, and ends with its
standard input.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.websocket.answering import Answering
from tests.websocket.raw_websocket import RawWebSocket


def main() -> None:
    host, port, count = sys.argv[1:]
    clients = [RawWebSocket.open((host, int(port))) for _ in range(int(count))]
    with Answering(clients):
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
