"""What the servers have in common, most of all their command lines."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING

import uvloop
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["add_does", "command_line", "free_port", "level_1", "run", "tell_when_ready", "tls"]


def command_line(documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows what all of them know."""
    parser = argparse.ArgumentParser(description=documentation)
    parser.add_argument("--certificate", help="to speak TLS, with a private key")
    parser.add_argument("--private-key")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument(
        "--deflate",
        choices=("default", "takeover", "no-takeover"),
        default="default",
        help="its own settings, or level 1 and a window of 15 bits with takeover or without",
    )
    return parser


def add_does(parser: argparse.ArgumentParser, *more: str) -> None:
    """Let the command line choose what becomes of a message."""
    parser.add_argument("--does", choices=("echo", "broadcast", *more), default="echo")


def tls(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    """Return what the command line says of TLS, if it does."""
    if arguments.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(arguments.certificate, arguments.private_key)
    return context


def free_port() -> int:
    """Return a port for a server that cannot choose one by itself and tell."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def tell_when_ready(port: int) -> None:
    """Print the port as soon as something listens on it, from another thread."""

    def wait() -> None:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.01)
        print(port, flush=True)

    threading.Thread(target=wait, daemon=True).start()


def level_1(deflate: str) -> ServerPerMessageDeflateFactory:
    """Return what makes websockets use level 1, a window of 15 bits, and takeover or none."""
    forget = deflate == "no-takeover"
    return ServerPerMessageDeflateFactory(
        server_no_context_takeover=forget,
        client_no_context_takeover=forget,
        compress_settings={"level": 1},
    )


def run(serve: Coroutine[None, None, None], loop: str) -> None:
    """Run the coroutine on the loop of that name."""
    factory = uvloop.new_event_loop if loop == "uvloop" else None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve)
