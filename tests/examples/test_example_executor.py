"""examples/executor.py: each client's answers come in its order, and others need not wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import websocket
from websockets.sync.client import connect

from tests.examples.example_process import hang_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example


def test_every_question_is_answered_in_order(start: Callable[[str], Example]) -> None:
    example = start("executor.py")
    questions = ["sesame", "tr0ub4dor", "sesame"]
    with connect(example.url()) as one, connect(example.url()) as two:
        for question in questions:
            one.send(question)
        two.send("sesame")
        answers = [str(one.recv(timeout=20)) for _ in questions]
        other = str(two.recv(timeout=20))
    expected = [f"{number}. {question}" for number, question in enumerate(questions, 1)]
    assert [answer.partition(": ")[0] for answer in answers] == expected
    digests = [answer.partition(": ")[2] for answer in [*answers, other]]
    assert digests[0] == digests[2] == digests[3] != digests[1]
    example.wait_for_line(r"^#\d+: 3 of 4 hashes$")


def test_an_answer_for_somebody_who_left_is_no_error(start: Callable[[str], Example]) -> None:
    example = start("executor.py")
    client = websocket.create_connection(example.url(), timeout=5)
    for number in range(3):
        client.send(f"password {number}")
    hang_up(client)
    example.wait_for_line(r"^#\d+ did not wait for its answer$")
    example.wait_for_line(r"^#\d+: 3 of 3 hashes$")
