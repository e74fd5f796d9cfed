"""Many fields are read, looked at and sent in time in proportion to their number.

A thousand equal fields were enough to keep tornado busy (CVE-2025-67725). Here are a hundred times
as many, which take some tenths of a second; with anything that looks at all the others for each of
them it would be minutes. The limits are generous, and on the thread's own CPU time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from handy_ws.http.head import RequestSource, parse_head

from tests.http.raw_http import get
from tests.http.test_head import lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve

MANY = 100_000
LIMIT = 5.0  # seconds of CPU time

FIELDS = ["X-Same: v", "Cookie: a=b", "Connection: x", "Accept: a", "X-Forwarded-For: 192.0.2.1"]


@pytest.fixture
def quick() -> Iterator[None]:
    start = time.thread_time()
    yield
    assert time.thread_time() - start < LIMIT


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("field", FIELDS)
def test_equal_fields_are_read_in_linear_time(field: str) -> None:
    name, _, value = field.lower().partition(": ")
    head = parse_head(lines(*[field] * MANY))
    assert head.get_all(name) == [value] * MANY
    assert len(head.members(name)) == MANY
    assert not head.has_token(name, "absent")
    assert head.keeps_alive


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("field", FIELDS)
def test_a_request_of_equal_fields_is_made_in_linear_time(field: str) -> None:
    name, _, value = field.partition(": ")
    source = RequestSource(lines(*[field] * MANY), ("192.0.2.1", 1), ("127.0.0.1", 80))
    request = source.request()
    separator = "; " if name == "Cookie" else ","
    assert request.headers[name].split(separator) == [value] * MANY
    assert len(request.cookies) == (name == "Cookie")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "long", ["X-Same: " + "v" * MANY, "X-Same: " + "v," * MANY, "X: " + " " * MANY]
)
def test_a_long_field_is_read_in_linear_time(long: str) -> None:
    for _ in range(10):
        head = parse_head(lines(long, start="GET /" + "%41" * MANY + " HTTP/1.1"))
        assert head.path == "/" + "A" * MANY
        assert not head.has_token("x-same", "absent")


def test_a_thousand_equal_fields_come_and_go(serve: Serve) -> None:
    def answer(context: HttpRequestContext) -> None:
        same = context.request.headers["X-Same"]
        for value in same.split(","):
            context.response.headers.add("X-Same", value)

    client = serve.client(serve(answer, max_header_count=2000))
    start = time.process_time()
    for _ in range(5):
        response = client.request(get("/", *["X-Same: v"] * 1000))
        assert [value for name, value in response.headers if name == "X-Same"] == ["v"] * 1000
    assert time.process_time() - start < LIMIT
