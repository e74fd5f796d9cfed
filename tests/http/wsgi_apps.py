"""Parts of WSGI applications that several tests use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PLAIN = [("Content-Type", "text/plain")]


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
