"""The `str` of a text message: all kinds of characters, in strings as Python itself makes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.websocket.raw_websocket import RawWebSocket
from tests.websocket.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.websocket.conftest import Serve

#: The first and the last character of each length in UTF-8, and of each size in a `str`.
EDGES = "\x00\x7f\x80\xff\u0100\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"
#: Around the sizes of what is decoded together.
LENGTHS = [0, 1, 2, 7, 8, 14, 15, 16, 17, 31, 32, 33, 100, 9000]


class Receiver:
    """Gets what a callback has for a text."""

    def __init__(self, serve: Serve) -> None:
        self._recorder = Recorder()
        self.client = RawWebSocket.open(serve(self._recorder).address)
        self._recorder.next("established")

    def receive(self, text: str) -> str:
        self.client.send_text(text)
        received: str = self._recorder.next("text")
        return received

    def check(self, text: str) -> None:
        """It has to be as Python itself makes it; the size tells how it keeps its characters."""
        received = self.receive(text)
        assert received == text
        assert hash(received) == hash(text)
        assert sys.getsizeof(received) == sys.getsizeof(text.encode().decode())


@pytest.fixture
def receiver(serve: Serve) -> Iterator[Receiver]:
    receiver = Receiver(serve)
    with receiver.client:
        yield receiver


@pytest.mark.parametrize("length", LENGTHS)
def test_one_character_anywhere_in_ascii(receiver: Receiver, length: int) -> None:
    for character in EDGES:
        for before in {0, length // 2, length}:
            receiver.check("a" * before + character + "z" * (length - before))


@pytest.mark.parametrize("length", LENGTHS)
def test_one_character_often(receiver: Receiver, length: int) -> None:
    for character in EDGES:
        receiver.check(character * length)


@pytest.mark.parametrize("first", EDGES, ids=ascii)
def test_two_characters(receiver: Receiver, first: str) -> None:
    for second in EDGES:
        for text in (first + second, (first + second) * 20, first * 20 + second * 20):
            receiver.check(text)


def test_any_text(receiver: Receiver) -> None:
    @given(st.text())
    def check(text: str) -> None:
        receiver.check(text)

    check()


@pytest.mark.parametrize("text", ["", "a", "\x00"])
def test_short_texts_are_shared_as_python_shares_them(receiver: Receiver, text: str) -> None:
    assert receiver.receive(text) is (text + "b")[: len(text)]
