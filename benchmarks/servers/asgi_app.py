"""ASGI applications without a framework: one sends messages back, one sends them to everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Event = dict[str, Any]
    Receive = Callable[[], Awaitable[Event]]
    Send = Callable[[Event], Awaitable[None]]

__all__ = ["broadcast", "echo"]

_everybody: set[Send] = set()


async def echo(scope: Event, receive: Receive, send: Send) -> None:
    """Message in, message out."""
    await _accept(scope, receive, send)
    while (event := await receive())["type"] == "websocket.receive":
        await send(_answer(event))


async def broadcast(scope: Event, receive: Receive, send: Send) -> None:
    """Message in, broadcast out."""
    await _accept(scope, receive, send)
    _everybody.add(send)
    try:
        while (event := await receive())["type"] == "websocket.receive":
            answer = _answer(event)
            for one in list(_everybody):
                await one(answer)
    finally:
        _everybody.remove(send)


async def _accept(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        raise RuntimeError("only for WebSocket connections")
    await receive()
    await send({"type": "websocket.accept"})


def _answer(event: Event) -> Event:
    text = event.get("text")
    if text is not None:
        return {"type": "websocket.send", "text": text}
    return {"type": "websocket.send", "bytes": event["bytes"]}
