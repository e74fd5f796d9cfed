"""The WSGI application on gunicorn: one process that serves, of the kind gthread."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from benchmarks.servers.wsgi_app import application

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

THREADS = 4  # what its documentation has in its example of gthread


def tell_port(arbiter: Any) -> None:
    """Print the port; who comes before the worker has started waits in the backlog."""
    print(arbiter.LISTENERS[0].sock.getsockname()[1], flush=True)


class Application(BaseApplication):  # type: ignore[misc]  # it has no types
    """The application with its settings."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        super().__init__()

    def load_config(self) -> None:
        """Say what differs from the defaults."""
        self.cfg.set("bind", "127.0.0.1:0")
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("workers", 1)
        self.cfg.set("threads", self._threads)
        self.cfg.set("loglevel", "warning")
        self.cfg.set("when_ready", tell_port)

    def load(self) -> WSGIApplication:
        """Return the WSGI application."""
        return application


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=THREADS)
    Application(parser.parse_args().threads).run()
