"""examples/thread_pool.py: answers come when they are ready, and nobody waits for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import websocket
from websockets.sync.client import connect

from tests.examples.example_process import hang_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example


def test_every_question_is_answered(start: Callable[[str], Example]) -> None:
    with connect(start("thread_pool.py").url()) as client:
        for password in ("sesame", "tr0ub4dor", "sesame"):
            client.send(password)
        answers = sorted(str(client.recv(timeout=20)) for _ in range(3))
    assert answers[0] == answers[1] != answers[2]
    assert [answer.partition(": ")[0] for answer in answers] == ["sesame", "sesame", "tr0ub4dor"]


def test_an_answer_for_somebody_who_left_is_no_error(start: Callable[[str], Example]) -> None:
    example = start("thread_pool.py")
    client = websocket.create_connection(example.url(), timeout=5)
    for number in range(8):  # two rounds for the four workers: the last ones come too late
        client.send(f"password {number}")
    hang_up(client)
    example.wait_for_line(r"^#\d+ did not wait for its answer$")
