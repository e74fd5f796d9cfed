"""Gunicorn with one worker process of some threads, and a WSGI application that adopts sockets."""

from __future__ import annotations

import argparse
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from gunicorn.app.base import BaseApplication
from handy_ws import (
    WebSocketConfig,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from handy_ws import WebSocketTextMessage

_PATIENCE = 30.0


class Echo(WebSocketMessageHandler):
    """Sends every text back."""

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Text in, text out."""
        message.connection.send_text(message.payload)


class App:
    """What gunicorn calls, on its threads."""

    def __init__(self, threads: int) -> None:
        """Make it, before gunicorn forks."""
        self._manager = WebSocketManager(WebSocketConfig(slow_callback_warning=None))
        self._echo = WebSocketHandler(Echo())
        self._all_threads = threading.Barrier(threads)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Answer one request."""
        if "HTTP_UPGRADE" in environ:
            return self._manager.upgrade(environ, self._echo)(environ, start_response)
        body = self._answer(environ["PATH_INFO"], environ["QUERY_STRING"]).encode()
        start_response(
            "200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
        )
        return [body]

    def _answer(self, path: str, query: str) -> str:
        match path:
            case "/process":
                return str(os.getpid())
            case "/count":
                return str(len(self._manager))
            case "/threads":
                return str(threading.active_count())
            case "/broadcast":
                return self._manager.broadcast(parse_qs(query)["text"][0]).name
            case "/together":  # answers when all threads are here, and fails if they do not come
                self._all_threads.wait(_PATIENCE)
                return "all"
            case _:
                return "hello"


class Gunicorn(BaseApplication):
    """Gunicorn with settings from here."""

    def __init__(self, threads: int) -> None:
        """Take the settings."""
        self._threads = threads
        super().__init__()

    def load_config(self) -> None:
        """Say what differs from the defaults."""
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("threads", self._threads)
        self.cfg.set("loglevel", "warning")
        self.cfg.set("when_ready", tell_port)

    def load(self) -> App:
        """Return the application."""
        return App(self._threads)


def tell_port(arbiter: Any) -> None:
    """Print the port."""
    print(arbiter.LISTENERS[0].sock.getsockname()[1], flush=True)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=4)
    Gunicorn(parser.parse_args().threads).run()


if __name__ == "__main__":
    main()
