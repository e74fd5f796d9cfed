"""A chat room with its web page, on one port.

    python examples/chat/server.py

Then open http://127.0.0.1:8080/ in two windows. The page and its files are at `/`, the WebSocket is
at `/chat`. One JSON object a text message.

From the page:

    {"type": "join", "name": "Ada"}                the first message; 1 to 24 characters
    {"type": "say", "text": "Hi!", "ref": "x1"}    1 to 1000 characters; `ref` is optional, up to
                                                   40 ASCII characters, and comes back with `said`
    {"type": "typing"}                             shown to the others for a few seconds

From the server:

    {"type": "welcome", "you": MEMBER, "members": [MEMBER, ...], "history": [SAID, ...],
     "limits": {"name": 24, "text": 1000}}         the answer to `join`
    {"type": "joined", "member": MEMBER, "time": MS}
    {"type": "left", "member": MEMBER, "time": MS}
    {"type": "said", "id": 7, "member": MEMBER, "text": "Hi!", "ref": "x1", "time": MS}
    {"type": "typing", "member": MEMBER}
    {"type": "error", "code": "too_long", "detail": "a text has 1 to 1000 characters", "ref": "x1"}

MEMBER is `{"id": 3, "name": "Ada"}`: a name that is taken becomes "Ada (2)". MS is the Unix time in
milliseconds. Ids only ever grow, so a page that comes back knows which messages it has missed, and
that it was member 3 before it became member 7. `ref` is "" when the page gave none.

Whatever a person could cause is answered with `error` and changes nothing: codes `empty`,
`too_long`, `not_joined`, `already_joined`. Whatever only a broken program sends ends the
connection: 1008 for a text that is not one of the messages above, 1003 for a binary message, 1009
for one beyond 16 KiB.

What it does not do: keep anything on disk, know who people really are, or limit how fast they talk.
"""

import argparse
import itertools
import json
import time
import unicodedata
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from handy_ws import (
    ConnectionClosed,
    FileHandler,
    HttpServer,
    PathHandler,
    ServerConfig,
    TlsConfig,
    WebSocketBinaryMessage,
    WebSocketConfig,
    WebSocketConnection,
    WebSocketHandler,
    WebSocketManager,
    WebSocketMessageHandler,
    WebSocketTextMessage,
)

NAME_LIMIT = 24
TEXT_LIMIT = 1000
REF_LIMIT = 40
HISTORY_LENGTH = 100

# The page needs its own files, its own WebSocket and nothing else in the world.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody who has joined. Kept as `user_data` of the connection."""

    id: int
    name: str


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault
    """A person asked for what cannot be. `code` is for the page, the text is for people."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class ChatRoom(WebSocketMessageHandler):
    """One room: who is in it, and what was said lately.

    There is no lock anywhere: the room is only touched in callbacks, and the callbacks of all
    connections run on one thread, one after the other.

    A connection that has not joined hears the broadcasts too. The room is open to everyone, so that
    gives nothing away; the page waits for `welcome` and ignores what comes before.
    """

    manager: WebSocketManager  # of the server that this room is in; set once, before it starts

    def __init__(self) -> None:
        self._members: dict[int, Member] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY_LENGTH)
        # Begins at the clock, so ids grow across restarts too. Below 2**53: exact in JavaScript.
        self._ids = itertools.count(time.time_ns() // 1000)

    def on_text_message(self, message: WebSocketTextMessage) -> None:
        """Do what it says, or explain why not."""
        content = parse(message.payload)
        try:
            self._dispatch(message.connection, content)
        except Refused as refused:
            error = {"code": refused.code, "detail": str(refused), "ref": ref_of(content)}
            reply(message.connection, "error", **error)

    def on_binary_message(self, message: WebSocketBinaryMessage) -> None:
        """Nothing in the protocol is binary (RFC 6455, section 7.4.1: 1003)."""
        message.connection.close(1003, "text only")

    def on_connection_closed(self, connection: WebSocketConnection) -> None:
        """Tell the others. Also comes when the network went away or the page crashed."""
        if connection.user_data is not None:
            member = self._members.pop(connection.user_data.id)
            self._broadcast("left", member=asdict(member), time=now())

    def _dispatch(self, connection: WebSocketConnection, message: object) -> None:
        match message:
            case {"type": "join", "name": str(name)}:
                self._join(connection, name)
            case {"type": "say", "text": str(text)}:
                self._say(joined(connection), text, ref_of(message))
            case {"type": "typing"}:
                member = asdict(joined(connection))
                self._broadcast("typing", exclude=connection, member=member)
            case _:
                connection.close(1008, "not a message of this chat")

    def _join(self, connection: WebSocketConnection, name: str) -> None:
        if connection.user_data is not None:
            raise Refused("already_joined", "you are in the room already")
        name = " ".join(checked(name, "name", NAME_LIMIT).split())
        member = Member(next(self._ids), self._free_name(name))
        connection.user_data = member
        self._members[member.id] = member
        reply(
            connection,
            "welcome",
            you=asdict(member),
            members=[asdict(each) for each in self._members.values()],
            history=list(self._history),
            limits={"name": NAME_LIMIT, "text": TEXT_LIMIT},
        )
        self._broadcast("joined", exclude=connection, member=asdict(member), time=now())

    def _say(self, member: Member, text: str, ref: str) -> None:
        said: dict[str, Any] = {
            "id": next(self._ids),
            "member": asdict(member),
            "text": checked(text, "text", TEXT_LIMIT),
            "ref": ref,
            "time": now(),
        }
        self._history.append(said)
        self._broadcast("said", **said)

    def _free_name(self, name: str) -> str:
        """Return the name, or "name (2)", "name (3)", ... if others look the same."""
        taken = {look_of(member.name) for member in self._members.values()}
        candidates = itertools.chain([name], (f"{name} ({n})" for n in itertools.count(2)))
        return next(each for each in candidates if look_of(each) not in taken)

    def _broadcast(
        self, kind: str, *, exclude: WebSocketConnection | None = None, **fields: Any
    ) -> None:
        self.manager.broadcast(encode(kind, fields), exclude=exclude)


def parse(payload: str) -> object:
    """Read JSON. What is none gives `None`, which is no message either."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):  # ten thousand times "[" is a RecursionError
        return None


def ref_of(message: object) -> str:
    """Return what the page calls its message; "" when it calls it nothing that can be used."""
    match message:
        case {"ref": str(ref)} if ref.isascii() and len(ref) <= REF_LIMIT:
            return ref
        case _:
            return ""


def encode(kind: str, fields: dict[str, Any]) -> str:
    """Write a message, as short as UTF-8 allows: a whole history has to fit into a send queue."""
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)


def reply(connection: WebSocketConnection, kind: str, **fields: Any) -> None:
    """Answer one connection."""
    with suppress(ConnectionClosed):  # its `on_connection_closed` is on the way
        connection.send_text(encode(kind, fields))


def joined(connection: WebSocketConnection) -> Member:
    """Return who is at the other end.

    Raises:
        Refused: nobody yet.
    """
    if not isinstance(connection.user_data, Member):
        raise Refused("not_joined", "join first, with a name")
    return connection.user_data


def checked(text: str, what: str, limit: int) -> str:
    """Return the text without control characters and the white space around it.

    Raises:
        Refused: nothing is left, or more than `limit` characters (Unicode code points) are.
    """
    text = "".join(each for each in text if each == "\n" or not is_control(each)).strip()
    if not any(each.isprintable() and not each.isspace() for each in text):
        raise Refused("empty", f"a {what} needs a character that can be seen")
    if len(text) > limit:
        raise Refused("too_long", f"a {what} has 1 to {limit} characters")
    return text


def is_control(character: str) -> bool:
    """Tell whether it is a control character (Cc) or half a surrogate pair (Cs), as JSON allows."""
    return unicodedata.category(character) in {"Cc", "Cs"}


def look_of(name: str) -> str:
    """Fold what can hardly be told apart: case, and variants of the same letter (NFKC)."""
    return unicodedata.normalize("NFKC", name).casefold()


def now() -> int:
    """Return the Unix time in milliseconds, as JavaScript's `Date` takes it."""
    return time.time_ns() // 1_000_000


def main() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="A chat room with its web page.")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--certificate", help="a PEM file: speak https and wss")
    parser.add_argument("--private-key", help="the PEM file with its key")
    arguments = parser.parse_args()
    tls = arguments.certificate and TlsConfig(arguments.certificate, arguments.private_key)
    config = ServerConfig(
        port=arguments.port,
        tls=tls,
        default_headers=HEADERS,
        websocket=WebSocketConfig(max_message_size=16 * 1024),
    )
    room = ChatRoom()
    paths = PathHandler()
    paths.add("/chat", WebSocketHandler(room))
    paths.add("/", files := FileHandler(Path(__file__).parent / "static"))
    paths.add("/<path:path>", files)

    server = HttpServer(paths, config)
    room.manager = server.websocket_manager
    with server:
        scheme = "https" if tls else "http"
        print(f"Chatting at {scheme}://{server.address[0]}:{server.address[1]}/", flush=True)
        server.wait()


if __name__ == "__main__":
    main()
