"""Parts of WSGI applications, and slow clients of them, that several tests use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.http.raw_http import get

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from handy_ws import HttpServer

    from tests.http.conftest import Serve
    from tests.http.raw_http import RawClient

PLAIN = [("Content-Type", "text/plain")]
BIG = b"0123456789abcdef" * 65536  # 1 MiB
TIMES = 8  # times as much is more than sockets hold, if the receiver's buffer is small


def fail() -> None:
    raise ValueError("a deliberate fault")


class Closing:
    """A body that notes how often it is closed, and on which threads what is called."""

    def __init__(self, *parts: bytes) -> None:
        self.parts: Iterable[bytes] = parts
        self.closed = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[bytes]:
        for part in self.parts:
            self.threads.add(threading.get_ident())
            if part == b"fail":
                fail()
            yield part

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed += 1


def answering(result: Iterable[bytes], *headers: tuple[str, str]) -> Callable[..., Any]:
    """Return an application that always answers the same."""

    def app(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [*PLAIN, *headers])
        return result

    return app


def start_slowly(
    serve: Serve, server: HttpServer, count: int, context: ssl.SSLContext | None = None
) -> list[RawClient]:
    """Ask for streams and read nothing of them, until all have begun."""
    options = {"receive_buffer": 4096, "context": context}
    clients = [serve.client(server, **options) for _ in range(count)]
    for client in clients:
        client.send(get("/big"))
    for client in clients:
        client.until(b"\r\n\r\n")
    return clients


def read(client: RawClient) -> bytes:
    """Read a chunked body whose head has been read."""
    client.read_fast()
    parts = []
    while size := int(client.until(b"\r\n"), 16):
        parts.append(client.exactly(size))
        client.until(b"\r\n")
    client.until(b"\r\n")
    return b"".join(parts)
