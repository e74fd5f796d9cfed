"""A server with granian, which is written in Rust: it sends back, or passes on to everybody."""

from __future__ import annotations

import argparse

from granian import Granian
from granian.constants import Interfaces, Loops

from benchmarks.servers.options import add_does, free_port, tell_when_ready

BACKLOG = 2048


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_does(parser)
    does = parser.parse_args().does
    port = free_port()
    tell_when_ready(port)
    Granian(
        f"benchmarks.servers.asgi_app:{does}",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        loop=Loops.uvloop,
        workers=1,
        backlog=BACKLOG,
        log_enabled=False,
    ).serve()


if __name__ == "__main__":
    main()
