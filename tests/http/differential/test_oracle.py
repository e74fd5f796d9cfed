"""The comparison notices what is wrong: a check that cannot fail is none."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from tests.http.differential.compare import Opinions, opinions
from tests.http.differential.expect import expect
from tests.http.differential.mutants import MUTANTS, Mutant, alive
from tests.http.differential.ours import read
from tests.http.differential.outcome import End, Expected, Outcome, Request
from tests.http.differential.server import Way, outcome_of
from tests.http.differential.streams import Stream, generate

if TYPE_CHECKING:
    from collections.abc import Callable

replace = dataclasses.replace

SEED = 2616
ENOUGH = 4000


@pytest.fixture(scope="module")
def streams() -> list[Stream]:
    return [generate(SEED, index) for index in range(ENOUGH)]


@pytest.fixture(scope="module")
def judged(streams: list[Stream]) -> list[tuple[Stream, Expected]]:
    return [(stream, expect(stream.data)[0]) for stream in streams]


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_fault_in_the_parser_is_noticed(
    judged: list[tuple[Stream, Expected]], mutant: Mutant
) -> None:
    with alive(mutant):
        assert any(is_noticed(stream, expected) for stream, expected in judged)


def is_noticed(stream: Stream, expected: Expected) -> bool:
    outcomes = (read(stream.data, cuts) for cuts in ((), stream.cuts))
    return not all(map(expected.allows, outcomes))


def test_mutants_leave_nothing_behind(judged: list[tuple[Stream, Expected]]) -> None:
    for mutant in MUTANTS:
        with alive(mutant):
            pass
    assert not any(is_noticed(stream, expected) for stream, expected in judged[:500])


# Outcomes that are wrong


@pytest.fixture(scope="module")
def asked(streams: list[Stream]) -> Opinions:
    """The opinions on a valid stream of requests, of which one has a body."""
    everybody = (opinions(stream) for stream in streams if stream.intended is not None)
    return next(asked for asked in everybody if is_rich(asked.stream.intended))


def is_rich(outcome: Outcome | None) -> bool:
    return bool(
        outcome
        and outcome.end is End.COMPLETE
        and len(set(outcome.requests)) > 1
        and all(request.target != b"*" for request in outcome.requests)
        and outcome.requests[0].body
        and len(outcome.requests[0].fields) > 2
    )


def first(change: Callable[[Request], Request]) -> Callable[[Outcome], Outcome]:
    """Change the first request."""
    return lambda seen: replace(seen, requests=(change(seen.requests[0]), *seen.requests[1:]))


CHANGES: dict[str, Callable[[Outcome], Outcome]] = {
    "request lost": lambda seen: replace(seen, requests=seen.requests[1:]),
    "request made up": lambda seen: replace(seen, requests=(*seen.requests, seen.requests[0])),
    "order": lambda seen: replace(seen, requests=seen.requests[::-1]),
    "method": first(lambda request: replace(request, method=b"PURGE")),
    "target": first(lambda request: replace(request, target=request.target + b"?")),
    "version": first(lambda request: replace(request, version=b"0.9")),
    "field lost": first(lambda request: replace(request, fields=request.fields[:-1])),
    "order of fields": first(lambda request: replace(request, fields=request.fields[::-1])),
    "body": first(lambda request: replace(request, body=request.body[:-1])),
    "closed": lambda seen: replace(seen, end=End.CLOSED),
    "incomplete": lambda seen: replace(seen, end=End.INCOMPLETE),
    "refused": lambda seen: replace(seen, end=End.REFUSED, status=400),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_wrong_outcome_is_noticed(
    asked: Opinions, change: Callable[[Outcome], Outcome]
) -> None:
    assert asked.complaints() == []
    for name, outcome in asked.ours.items():
        wrong = replace(asked, ours={**asked.ours, name: change(outcome)})
        (complaint,) = wrong.complaints()
        for said in (f"seed {SEED}", repr(asked.stream.data), "h11", "meant", name, "--only"):
            assert said in complaint


@pytest.mark.parametrize("way", [Way.WHOLE, Way.STREAMED])
def test_a_server_that_does_something_else_is_noticed(asked: Opinions, way: Way) -> None:
    right = asked.ours["handy_ws, whole"]
    assert asked.about_server(right, way) == []
    for name in CHANGES.keys() - {"incomplete"}:  # that cannot be seen from outside
        (complaint,) = asked.about_server(CHANGES[name](right), way)
        assert f"bodies {way.value}" in complaint


def test_a_server_that_takes_an_unread_body_for_requests_is_noticed(asked: Opinions) -> None:
    right = asked.ours["handy_ws, whole"]
    bare = [replace(request, body=b"") for request in right.requests]
    for count in range(len(bare) + 1):
        for end in (End.COMPLETE, End.CLOSED):
            assert asked.about_server(Outcome(tuple(bare[:count]), end), Way.UNREAD) == []
    smuggled = Request(b"GET", b"/smuggled", b"1.1", ((b"host", b"a"),), b"")
    for count in range(len(bare) + 1):
        outcome = Outcome((*bare[:count], smuggled), End.COMPLETE)
        assert len(asked.about_server(outcome, Way.UNREAD)) == 1


def test_a_server_that_answers_for_all_of_it_before_the_body_comes_has_to_close(
    streams: list[Stream],
) -> None:
    data = b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n"
    data += b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    asked = opinions(replace(streams[0], data=data, intended=None))
    options = Request(b"OPTIONS", b"*", b"", (), b"")
    smuggled = Request(b"GET", b"/smuggled", b"1.1", ((b"host", b"a"),), b"")
    closed = Outcome((options,), End.CLOSED)
    assert asked.about_server(closed, Way.STREAMED) == []
    assert len(asked.about_server(closed, Way.WHOLE)) == 1
    for end in (End.COMPLETE, End.CLOSED):
        outcome = Outcome((options, smuggled), end)
        assert all(len(asked.about_server(outcome, way)) == 1 for way in Way)


def test_a_server_that_skips_what_it_must_refuse_is_noticed(streams: list[Stream]) -> None:
    data = b"GET /1 HTTP/1.1\r\nHost: a\r\nA: b\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
    asked = opinions(replace(streams[0], data=data, intended=None))
    fields = ((b"host", b"a"),)
    for target, noticed in [(b"/1", False), (b"/2", True)]:
        outcome = Outcome((Request(b"GET", target, b"1.1", fields, b""),), End.CLOSED)
        assert bool(asked.about_server(outcome, Way.UNREAD)) == noticed


@pytest.mark.parametrize("status", [200, 404, 500, 501, 505])
def test_a_wrong_status_for_what_is_refused_is_noticed(streams: list[Stream], status: int) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nA: b\n\r\n"
    asked = opinions(replace(streams[0], data=data, intended=None))
    assert asked.complaints() == []
    (refusal, *_) = asked.ours.values()
    assert refusal == Outcome((), End.REFUSED, 400)
    assert replace(asked, ours={"": replace(refusal, status=status)}).complaints()


# Answers of a server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbad"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ONE = Request(b"GET", b"/1", b"1.1", (), b"")
TWO = Request(b"GET", b"/2", b"1.1", (), b"")


def test_answers_are_read_for_what_they_are() -> None:
    assert outcome_of(b"", []) == Outcome((), End.COMPLETE)
    assert outcome_of(CONTINUE + OK + OK, [ONE, TWO]) == Outcome((ONE, TWO), End.COMPLETE)
    assert outcome_of(OK + LAST, [ONE, TWO]) == Outcome((ONE, TWO), End.CLOSED)
    assert outcome_of(OK + REFUSAL, [ONE]) == Outcome((ONE,), End.REFUSED, 400)


@pytest.mark.parametrize(
    ("received", "noted"),
    [
        (OK, [ONE, TWO]),
        (REFUSAL, [ONE]),
        (REFUSAL + OK, [ONE]),
        (LAST + OK, [ONE, TWO]),
        (OK + b"x", [ONE]),
        (OK[:-1], [ONE]),
        (REFUSAL.replace(b"Connection: close\r\n", b""), []),
    ],
)
def test_answers_that_cannot_be_are_noticed(received: bytes, noted: list[Request]) -> None:
    with pytest.raises(AssertionError):
        outcome_of(received, noted)
