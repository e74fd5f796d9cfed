"""Out of descriptors, or of disk: what is open lives on, what waits is served when it can be."""

from __future__ import annotations

import errno
import select
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws.http.poller import Happened, Poller
from handy_ws.http.shortage import ShortageLog

from tests.http.conftest import poll
from tests.http.raw_http import DEADLINE, RawClient, get, post
from tests.websocket.raw_websocket import RawWebSocket, request_head

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws.http.listener import Listener

    from tests.http.conftest import Serve

PROGRAM = Path(__file__).with_name("short_process.py")
FEW = 3  # as the process says
HELLO = b"hello\n"
LONG = b"x" * 200_000  # too long for memory
WAITING = 4


class Short:
    """The process, and what it has written to its standard error."""

    def __init__(self, directory: Path) -> None:
        (directory / "hello.txt").write_bytes(HELLO)
        self._errors = directory / "errors"
        with self._errors.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-X", "dev", str(PROGRAM), str(directory)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        self.address = ("127.0.0.1", int(self._line()))

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        assert self._line() == "done"

    def errors(self) -> list[str]:
        return self._errors.read_text().splitlines()

    def wait_for_error(self, text: str) -> None:
        until = time.monotonic() + DEADLINE
        while not any(text in line for line in self.errors()):
            assert time.monotonic() < until, self.errors()
            time.sleep(0.005)

    def wait_until_closed(self, name: str) -> None:
        """Wait until it has a file of that name open no longer, whose answer has come already."""
        until = time.monotonic() + DEADLINE
        directory = Path(f"/proc/{self.process.pid}/fd")
        while any(path.resolve().name == name for path in directory.iterdir()):
            assert time.monotonic() < until, name
            time.sleep(0.005)

    def end(self) -> None:
        """Let it end by itself, which must succeed."""
        self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0

    def _line(self) -> str:
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], DEADLINE)[0], self.errors()
        return self.process.stdout.readline().strip()


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Short]:
    process = Short(tmp_path)
    yield process
    process.process.kill()
    process.process.communicate()


def echoes(client: RawWebSocket, text: str = "alive") -> bool:
    client.send_text(text)
    return client.read_text() == text


def ask_to_upgrade(stack: ExitStack, short: Short) -> RawWebSocket:
    client = stack.enter_context(RawWebSocket(short.address))
    client.send(request_head("/echo"))
    return client


def upgraded(client: RawWebSocket) -> bool:
    return client.read_response_head()[0] == 101 and echoes(client)


def test_without_descriptors_what_is_open_lives_on_and_new_ones_wait_their_turn(
    short: Short,
) -> None:
    with ExitStack() as stack:
        http = stack.enter_context(RawClient(short.address))
        later = stack.enter_context(RawWebSocket(short.address))
        assert http.get("/files/hello.txt").body == HELLO
        later.send(get("/files/none"))  # so that it has been accepted
        status, headers = later.read_response_head()
        assert (status, len(later._read(int(headers["content-length"])))) == (404, 10)
        open_one = ask_to_upgrade(stack, short)
        assert upgraded(open_one)
        short.wait_until_closed("hello.txt")

        short.tell("few")
        accepted = [ask_to_upgrade(stack, short) for _ in range(FEW)]
        assert all(map(upgraded, accepted))
        waiting = [ask_to_upgrade(stack, short) for _ in range(WAITING)]
        short.wait_for_error("cannot accept connections for the moment: Too many open files")
        # Long enough for many attempts to accept.
        until = time.monotonic() + 0.7
        while time.monotonic() < until:
            assert echoes(open_one)
            assert http.get("/files/hello.txt").status == 503
            assert http.request(post("/body", b"short")).body == b"5"
        later.send(request_head("/echo"))
        assert upgraded(later)
        assert select.select([client.socket for client in waiting], [], [], 0)[0] == []

        # One leaves, and another one comes in.
        accepted[0].reset()
        assert upgraded(waiting[0])
        short.tell("many")
        assert all(map(upgraded, waiting[1:]))
        assert all(map(echoes, [open_one, later, *accepted[1:], waiting[0]]))
        assert http.get("/files/hello.txt").body == HELLO
        assert http.request(post("/body", LONG)).body == b"%d" % len(LONG)
    short.end()
    assert short.errors() == [
        "cannot accept connections for the moment: Too many open files",
        "files cannot be opened for the moment: Too many open files",
    ]


def test_a_body_that_needs_a_descriptor_is_refused_and_the_server_lives_on(short: Short) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(short.address)) for _ in range(4)]
        for client in clients:
            assert client.request(post("/body", b"short")).body == b"5"
        short.tell("few")
        others = [ask_to_upgrade(stack, short) for _ in range(FEW)]
        assert all(map(upgraded, others))
        for client in clients[:3]:
            response = client.request(post("/body", LONG))
            assert (response.status, response.get("Connection")) == (503, "close")
            assert response.body == b"the body cannot be kept at the moment\n"
        assert clients[3].request(post("/body", b"short")).body == b"5"
        short.tell("many")
        assert clients[3].request(post("/body", LONG)).body == b"%d" % len(LONG)
    short.end()
    (error,) = [line for line in short.errors() if "accept" not in line]
    assert error.startswith("a request body cannot be kept for the moment: ")


@pytest.mark.parametrize("room", [64 * 1024, len(LONG) // 2, len(LONG) - 1])
def test_a_body_that_the_disk_has_no_room_for_is_refused_and_the_server_lives_on(
    short: Short, room: int
) -> None:
    short.tell(str(room))
    for _ in range(5):  # more than there are workers
        with RawClient(short.address) as client:
            assert client.request(post("/body", LONG)).status == 503
    with RawClient(short.address) as client:
        assert client.request(post("/body", b"short")).body == b"5"
    short.end()
    assert short.errors() == ["a request body cannot be kept for the moment: File too large"]


def test_an_acceptor_that_cannot_watch_its_listener_tries_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [OSError(errno.EMFILE, "deliberate accept")]
    refusals = [OSError(errno.ENOMEM, "deliberate watch")] * 2
    wait, listen = Poller.wait, Poller.listen

    def fail_to_accept(poller: Poller, *args: Any) -> Happened:
        happened = wait(poller, *args)
        return happened._replace(shortage=failures.pop()) if failures else happened

    def fail_to_listen(poller: Poller, listener: Listener) -> None:
        if refusals and not failures:
            raise refusals.pop()
        listen(poller, listener)

    monkeypatch.setattr(Poller, "wait", fail_to_accept)
    monkeypatch.setattr(Poller, "listen", fail_to_listen)
    server = serve(lambda _: None)
    assert serve.client(server).get().status == 200
    poll(lambda: not failures and not refusals)
    assert serve.client(server).get().status == 200
    assert [record.getMessage() for record in caplog.records if record.levelname != "INFO"] == [
        "cannot accept connections for the moment: deliberate accept"
    ]


def test_a_shortage_is_news_again_after_a_minute_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    monkeypatch.setattr("handy_ws.http.shortage.monotonic", lambda: now)
    log = ShortageLog("no luck: %s")
    told = []
    for time_of_failure in (1000.0, 1000.1, 1059.0, 1118.0, 1178.1, 1178.2):
        now = time_of_failure
        log.failed(OSError(errno.EMFILE, "why"))
        told.append(len(caplog.messages))
    assert told == [1, 1, 1, 1, 2, 2]
    assert caplog.messages == ["no luck: why"] * 2


def test_a_start_without_descriptors_raises_and_leaves_nothing_behind() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "dev", str(PROGRAM)],
        capture_output=True,
        text=True,
        timeout=DEADLINE * 2,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert int(result.stdout) > 4  # places where it can fail
