"""A server with socketify, uWebSockets for Python: it sends back, or passes on to everybody."""

from __future__ import annotations

import argparse
from typing import Any

from socketify import App, CompressOptions

from benchmarks.servers.options import add_does, free_port, tell_when_ready

MAX_MESSAGE_SIZE = 1 << 24
TOPIC = "everybody"


def main() -> None:
    """Read the command line and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_does(parser)
    does = parser.parse_args().does
    application = App()

    def opened(connection: Any) -> None:
        if does == "broadcast":
            connection.subscribe(TOPIC)

    def came(connection: Any, message: str | bytes, opcode: Any) -> None:
        if does == "echo":
            connection.send(message, opcode)
        else:
            application.publish(TOPIC, message, opcode)

    settings = {
        "compression": CompressOptions.DISABLED,
        "max_payload_length": MAX_MESSAGE_SIZE,
        "max_backpressure": 0,
        "idle_timeout": 0,
        "open": opened,
        "message": came,
    }
    application.ws("/", settings)
    port = free_port()
    tell_when_ready(port)
    application.listen({"port": port, "host": "127.0.0.1"}, lambda _config: None)
    application.run()


if __name__ == "__main__":
    main()
