"""examples/chat/server.py: its protocol, and the files of its page.

The protocol is spoken by two independent clients; `Visitor` wraps websocket-client, whose sockets
can also be torn down without a goodbye.
"""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any, Self

import pytest
import websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.examples.example_process import EXAMPLES, hang_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.examples.example_process import Example

Message = dict[str, Any]


@pytest.fixture
def chat(start: Callable[[str], Example]) -> Example:
    """A chat server without anybody in it."""
    return start("chat/server.py")


@pytest.fixture
def visit(chat: Example) -> Iterator[Callable[..., Visitor]]:
    """Make visitors of the chat, who have joined if they have a name."""
    with ExitStack() as visitors:
        yield lambda name=None: visitors.enter_context(Visitor(chat.url("/chat"), name))


class Visitor:
    """A client of the chat."""

    def __init__(self, url: str, name: str | None = None) -> None:
        self.socket = websocket.create_connection(url, timeout=10)
        self.welcome: Message = {}
        if name is not None:
            self.send("join", name=name)
            while self.welcome.get("type") != "welcome":  # what others do is heard before, too
                self.welcome = json.loads(self.socket.recv())

    def __enter__(self) -> Self:
        """Use it in a `with` statement."""
        return self

    def __exit__(self, *_: object) -> None:
        """Go, without waiting for anything."""
        hang_up(self.socket)

    def send(self, kind: str, **fields: object) -> None:
        """Send a message."""
        self.socket.send(json.dumps({"type": kind, **fields}))

    def expect(self, kind: str) -> Message:
        """Return the next message, which must be of this kind."""
        message: Message = json.loads(self.socket.recv())
        assert message.pop("type") == kind, message
        return message

    def expect_close(self) -> tuple[int, str]:
        """Return the code and the reason of the next frame, which must be a CLOSE frame."""
        opcode, data = self.socket.recv_data()
        assert opcode == websocket.ABNF.OPCODE_CLOSE, (opcode, data)
        return int.from_bytes(data[:2]), data[2:].decode()

    def names(self) -> list[str]:
        """Return who was there when this visitor was welcomed."""
        return [member["name"] for member in self.welcome["members"]]


# ---- coming, talking, going


def test_the_first_is_welcomed_to_an_empty_room(visit: Callable[..., Visitor]) -> None:
    welcome = visit("Ada").welcome
    assert welcome["you"] == {"id": welcome["you"]["id"], "name": "Ada"}
    assert welcome["members"] == [welcome["you"]]
    assert welcome["history"] == []
    assert welcome["limits"] == {"name": 24, "text": 1000}


def test_two_clients_talk_both_ways(chat: Example, visit: Callable[..., Visitor]) -> None:
    ada = visit("Ada")
    with connect(chat.url("/chat")) as grace:
        grace.send(json.dumps({"type": "join", "name": "Grace"}))
        welcome = json.loads(grace.recv(timeout=5))
        assert [member["name"] for member in welcome["members"]] == ["Ada", "Grace"]
        assert ada.expect("joined")["member"] == welcome["you"]

        ada.send("say", text="Hello  world\n<b>👋</b>", ref="r1")
        said = ada.expect("said")
        assert said["member"] == ada.welcome["you"]
        assert (said["text"], said["ref"]) == ("Hello  world\n<b>👋</b>", "r1")
        assert json.loads(grace.recv(timeout=5)) == {"type": "said", **said}

        grace.send(json.dumps({"type": "say", "text": "Hi"}))
        answer = ada.expect("said")
        assert (answer["text"], answer["ref"]) == ("Hi", "")
        assert answer["member"] == welcome["you"]
        assert answer["id"] > said["id"]
        assert answer["time"] >= said["time"]


def test_typing_is_shown_to_the_others_only(visit: Callable[..., Visitor]) -> None:
    ada, grace = visit("Ada"), visit("Grace")
    ada.expect("joined")
    ada.send("typing")
    ada.send("say", text="Done")
    assert grace.expect("typing") == {"member": ada.welcome["you"]}
    assert grace.expect("said")["text"] == "Done"
    assert ada.expect("said")["text"] == "Done"


def test_names_are_unique_and_become_free_again(visit: Callable[..., Visitor]) -> None:
    first = visit("Ada")
    second = visit("ADA")
    third = visit("\uff21da")  # a full-width A looks much the same
    assert third.names() == ["Ada", "ADA (2)", "\uff21da (3)"]
    assert [first.expect("joined")["member"]["name"] for _ in range(2)] == third.names()[1:]
    second.socket.close()
    first.expect("left")
    assert visit("Ada").welcome["you"]["name"] == "Ada (2)"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("  Ada \t Lovelace\r\n", "Ada Lovelace"),
        ("A\x00d\x1ba\x7f", "Ada"),
        ("👩‍🚀", "👩‍🚀"),
        ("\ud800Ada", "Ada"),
        ("x" * 24, "x" * 24),
        ("👋" * 24, "👋" * 24),
        ("__proto__", "__proto__"),
    ],
)
def test_names_are_tidied(sent: str, shown: str, visit: Callable[..., Visitor]) -> None:
    assert visit(sent).welcome["you"]["name"] == shown


def test_a_newcomer_gets_the_last_hundred_messages(visit: Callable[..., Visitor]) -> None:
    ada = visit("Ada")
    for number in range(105):
        ada.send("say", text=f"message {number}")
    heard = [ada.expect("said") for _ in range(105)]
    history = visit("Grace").welcome["history"]
    assert history == heard[5:]
    assert [said["text"] for said in history] == [f"message {number}" for number in range(5, 105)]
    ids = [said["id"] for said in history]
    assert ids == sorted(set(ids))


def test_the_longest_history_still_lets_people_in(visit: Callable[..., Visitor]) -> None:
    ada = visit("Ada")
    for _ in range(100):
        ada.send("say", text="👋" * 1000)
        ada.expect("said")
    grace = visit("Grace")
    assert [len(said["text"]) for said in grace.welcome["history"]] == [1000] * 100
    ada.expect("joined")
    ada.send("say", text="Welcome")
    assert grace.expect("said")["text"] == "Welcome"


def leave_politely(visitor: Visitor) -> None:
    """Say goodbye with a CLOSE frame, and wait for the answer."""
    visitor.socket.close()


def leave_abruptly(visitor: Visitor) -> None:
    """End the TCP connection (FIN), as a browser that is killed does."""
    hang_up(visitor.socket)


def leave_with_a_reset(visitor: Visitor) -> None:
    """Reset the TCP connection (RST), as a machine that is restarted does."""
    hang_up(visitor.socket, reset=True)


@pytest.mark.parametrize("leave", [leave_politely, leave_abruptly, leave_with_a_reset])
def test_the_others_see_somebody_leave(
    leave: Callable[[Visitor], None], visit: Callable[..., Visitor]
) -> None:
    ada, grace = visit("Ada"), visit("Grace")
    ada.expect("joined")
    leave(grace)
    assert ada.expect("left")["member"] == grace.welcome["you"]
    assert visit("Linus").names() == ["Ada", "Linus"]


def test_who_never_joined_is_never_mentioned(visit: Callable[..., Visitor]) -> None:
    ada, nobody = visit("Ada"), visit()
    nobody.socket.close()
    ada.send("say", text="alone?")
    ada.expect("said")


def test_forty_people_at_once(visit: Callable[..., Visitor]) -> None:
    with ThreadPoolExecutor(40) as pool:
        visitors = list(pool.map(lambda _: visit("Ada"), range(40)))
    names = {visitor.welcome["you"]["name"] for visitor in visitors}
    assert names == {"Ada"} | {f"Ada ({number})" for number in range(2, 41)}
    assert set(visit("Bo").names()) == names | {"Bo"}


# ---- what is refused, and goes on


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "say", "text": ""}, "empty"),
        ({"type": "say", "text": " \n\t\u200b\u00a0"}, "empty"),
        ({"type": "say", "text": "\ud800"}, "empty"),
        ({"type": "say", "text": "x" * 1001}, "too_long"),
        ({"type": "say", "text": "👋" * 1001}, "too_long"),
        ({"type": "join", "name": "Ada again"}, "already_joined"),
    ],
)
def test_a_slip_is_answered_and_changes_nothing(
    message: Message, code: str, visit: Callable[..., Visitor]
) -> None:
    ada, grace = visit("Ada"), visit("Grace")
    ada.expect("joined")
    ada.socket.send(json.dumps({**message, "ref": "r7"}))
    error = ada.expect("error")
    assert (error["code"], error["ref"]) == (code, "r7")
    assert error["detail"]
    ada.send("say", text="x" * 1000)
    assert grace.expect("said")["text"] == "x" * 1000


@pytest.mark.parametrize("name", ["", "   ", "\u200b", "\x07", "x" * 25])
def test_a_bad_name_can_be_corrected(name: str, visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.send("join", name=name)
    assert visitor.expect("error")["code"] == ("too_long" if len(name) > 24 else "empty")
    visitor.send("join", name="Ada")
    assert visitor.expect("welcome")["you"]["name"] == "Ada"


@pytest.mark.parametrize("message", [{"type": "say", "text": "hi"}, {"type": "typing"}])
def test_join_comes_first(message: Message, visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.socket.send(json.dumps(message))
    assert visitor.expect("error")["code"] == "not_joined"
    visitor.send("join", name="Ada")
    assert visitor.expect("welcome")["history"] == []


@pytest.mark.parametrize("ref", [7, None, ["r1"], {"r": 1}, "x" * 41, "é", "\ud800"])
def test_a_ref_that_is_none_is_dropped(ref: object, visit: Callable[..., Visitor]) -> None:
    ada = visit("Ada")
    ada.send("say", text="hi", ref=ref)
    assert ada.expect("said")["ref"] == ""


# ---- what ends the connection

BROKEN = [
    "",
    "hello",
    "{",
    "[" * 10_000,
    "9" * 10_000,
    "null",
    "NaN",
    '"join"',
    "[]",
    "{}",
    '{"type": "shout", "text": "hi"}',
    '{"type": ["say"], "text": "hi"}',
    '{"type": "join"}',
    '{"type": "join", "name": 7}',
    '{"type": "join", "name": ["Ada"]}',
    '{"type": "say"}',
    '{"type": "say", "text": null}',
    '{"type": "say", "text": {"text": "hi"}}',
]


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: payload[:30])
def test_what_is_no_message_ends_the_connection(
    payload: str, visit: Callable[..., Visitor]
) -> None:
    ada, broken = visit("Ada"), visit("Broken")
    ada.expect("joined")
    broken.socket.send(payload)
    broken.send("say", text="this comes too late")
    assert broken.expect_close() == (1008, "not a message of this chat")
    assert ada.expect("left")["member"]["name"] == "Broken"
    ada.send("say", text="still here")
    assert ada.expect("said")["text"] == "still here"


def test_a_binary_message_ends_the_connection(visit: Callable[..., Visitor]) -> None:
    visitor = visit("Ada")
    visitor.socket.send_binary(b'{"type": "typing"}')
    assert visitor.expect_close() == (1003, "text only")


def test_a_huge_message_ends_the_connection(chat: Example, visit: Callable[..., Visitor]) -> None:
    ada = visit("Ada")
    with connect(chat.url("/chat")) as client:
        client.send(json.dumps({"type": "join", "name": "x" * 17_000}))
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    ada.send("say", text="still here")
    assert ada.expect("said")["text"] == "still here"


def test_pages_of_other_sites_may_not_connect(chat: Example) -> None:
    with (
        pytest.raises(InvalidStatus) as refused,
        connect(chat.url("/chat"), origin=Origin("https://evil.example")),
    ):
        pass
    assert refused.value.response.status_code == 403


# ---- the page


def get(example: Example, path: str) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Request a path exactly as it is written here."""
    connection = http.client.HTTPConnection(example.host, example.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "name", "types"),
    [
        ("/", "index.html", {"text/html"}),
        ("/index.html", "index.html", {"text/html"}),
        ("/chat.css", "chat.css", {"text/css"}),
        # What a module may be: https://mimesniff.spec.whatwg.org/#javascript-mime-type
        ("/chat.js", "chat.js", {"text/javascript", "application/javascript"}),
        ("/icon.svg", "icon.svg", {"image/svg+xml"}),
    ],
)
def test_the_page_is_served_on_the_same_port(
    path: str, name: str, types: set[str], chat: Example
) -> None:
    status, headers, body = get(chat, path)
    assert status == 200
    assert headers.get_content_type() in types
    assert body == (EXAMPLES / "chat" / "static" / name).read_bytes()
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/server.py", "/../server.py", "/..%2fserver.py", "/%2e%2e/server.py", "/nothing.js"]
)
def test_nothing_else_is_served(path: str, chat: Example) -> None:
    status, _, body = get(chat, path)
    assert status in {400, 404}
    assert b"import" not in body


class InlineFinder(HTMLParser):
    """Collects what a strict Content-Security-Policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look for scripts without a source, styles, handlers, and files of other sites."""
        names = dict(attrs)
        if tag == "style" or (tag == "script" and "src" not in names):
            self.inline.append(tag)
        self.inline += [name for name in names if name == "style" or name.startswith("on")]
        urls = [str(url) for name, url in attrs if name in {"src", "href"}]
        self.inline += [url for url in urls if "//" in url]


def test_the_page_needs_nothing_inline_and_nothing_from_elsewhere() -> None:
    finder = InlineFinder()
    finder.feed((EXAMPLES / "chat" / "static" / "index.html").read_text())
    assert finder.inline == []
