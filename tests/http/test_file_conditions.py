"""Files that a client has already, in whole or in part: RFC 9110 sections 13 and 14."""

from __future__ import annotations

import os
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from handy_ws import FileHandler

from tests.http.conftest import poll
from tests.http.raw_http import RawClient, Response, get
from tests.process import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Serve

BIG = bytes(range(256)) * 4096  # 1 MiB
MODIFIED = 1_700_000_000
BEFORE, SAME, AFTER = (formatdate(MODIFIED + at, usegmt=True) for at in (-1, 0, 1))
ASCTIME = "Tue Nov 14 22:13:20 2023"  # of MODIFIED, as is the next
RFC_850 = "Tuesday, 14-Nov-23 22:13:20 GMT"
WHOLE = (200, b"hello")
NOT_MODIFIED = (304, b"")
FAILED = (412, b"Precondition Failed\n")
UNSATISFIABLE = (416, b"Range Not Satisfiable\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in {"hello.txt": b"hello", "big.bin": BIG, "empty.txt": b""}.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (MODIFIED, MODIFIED))
    return tmp_path


@pytest.fixture
def client(serve: Serve, root: Path) -> RawClient:
    return serve.client(serve(FileHandler(root), workers=1))


@pytest.fixture
def etag(client: RawClient) -> str:
    """The entity tag of hello.txt, with its quotes."""
    found = client.get("/hello.txt").get("ETag")
    assert found is not None
    assert found.startswith('"')
    return found


def names(response: Response) -> tuple[int, bytes]:
    return response.status, response.body


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["If-None-Match: ETAG"], NOT_MODIFIED),
        (["If-None-Match: W/ETAG"], NOT_MODIFIED),
        (['If-None-Match: "a", W/"b" ,ETAG'], NOT_MODIFIED),
        (['If-None-Match: "a"', "If-None-Match: ETAG"], NOT_MODIFIED),
        (["If-None-Match: *"], NOT_MODIFIED),
        (['If-None-Match: "other"'], WHOLE),
        (["If-None-Match: "], WHOLE),
        ([f"If-Modified-Since: {BEFORE}"], WHOLE),
        ([f"If-Modified-Since: {SAME}"], NOT_MODIFIED),
        ([f"If-Modified-Since: {AFTER}"], NOT_MODIFIED),
        ([f"If-Modified-Since: {ASCTIME}"], NOT_MODIFIED),
        ([f"If-Modified-Since: {RFC_850}"], NOT_MODIFIED),
        (["If-Modified-Since: yesterday"], WHOLE),
        ([f"If-Modified-Since: {SAME}", f"If-Modified-Since: {SAME}"], WHOLE),
        # The entity tag is the better witness: section 13.1.3.
        (['If-None-Match: "other"', f"If-Modified-Since: {AFTER}"], WHOLE),
        (["If-None-Match: ETAG", f"If-Modified-Since: {BEFORE}"], NOT_MODIFIED),
        (["If-Match: ETAG"], WHOLE),
        (['If-Match: "a", ETAG'], WHOLE),
        (["If-Match: *"], WHOLE),
        (["If-Match: W/ETAG"], FAILED),
        (['If-Match: "other"'], FAILED),
        ([f"If-Unmodified-Since: {BEFORE}"], FAILED),
        ([f"If-Unmodified-Since: {SAME}"], WHOLE),
        (["If-Unmodified-Since: yesterday"], WHOLE),
        (["If-Match: ETAG", f"If-Unmodified-Since: {BEFORE}"], WHOLE),
        (['If-Match: "other"', "If-None-Match: ETAG"], FAILED),
        (["If-Match: ETAG", "If-None-Match: ETAG"], NOT_MODIFIED),
        # Preconditions come before ranges: section 13.2.2.
        (["If-None-Match: ETAG", "Range: bytes=0-1"], NOT_MODIFIED),
        (["If-None-Match: ETAG", "Range: bytes=9-"], NOT_MODIFIED),
        (['If-Match: "other"', "Range: bytes=0-1"], FAILED),
        (["If-Match: ETAG", "Range: bytes=0-1"], (206, b"he")),
    ],
)
def test_preconditions(
    client: RawClient, etag: str, fields: list[str], expected: tuple[int, bytes]
) -> None:
    response = client.get("/hello.txt", *(field.replace("ETAG", etag) for field in fields))
    assert names(response) == expected
    if response.status == 304:
        assert response.get("ETag") == etag
        assert response.get("Content-Length") is None
    # For HEAD they are the same: section 13.2.1.
    fields = [field.replace("ETAG", etag) for field in fields]
    head = client.request(get("/hello.txt", *fields).replace(b"GET", b"HEAD", 1), "HEAD")
    assert head.status == (200 if response.status == 206 else response.status)


def test_a_changed_file_has_another_etag(client: RawClient, root: Path, etag: str) -> None:
    (root / "hello.txt").write_text("HELLO")
    response = client.get("/hello.txt", f"If-None-Match: {etag}")
    assert names(response) == (200, b"HELLO")


@pytest.mark.parametrize(
    ("value", "expected", "content_range"),
    [
        ("bytes=0-1", (206, b"he"), "bytes 0-1/5"),
        ("BYTES=0-1", (206, b"he"), "bytes 0-1/5"),
        ("bytes=, 0-1 ,", (206, b"he"), "bytes 0-1/5"),
        ("bytes=0-0", (206, b"h"), "bytes 0-0/5"),
        ("bytes=0-4", (206, b"hello"), "bytes 0-4/5"),
        ("bytes=1-", (206, b"ello"), "bytes 1-4/5"),
        ("bytes=2-99", (206, b"llo"), "bytes 2-4/5"),
        ("bytes=4-999999999999999999", (206, b"o"), "bytes 4-4/5"),
        ("bytes=-2", (206, b"lo"), "bytes 3-4/5"),
        ("bytes=-5", (206, b"hello"), "bytes 0-4/5"),
        ("bytes=-99", (206, b"hello"), "bytes 0-4/5"),
        ("bytes=-0", UNSATISFIABLE, "bytes */5"),
        ("bytes=5-", UNSATISFIABLE, "bytes */5"),
        ("bytes=9-10", UNSATISFIABLE, "bytes */5"),
        ("bytes=0-1,3-4", WHOLE, None),
        ("bytes=0-,0-,0-,0-", WHOLE, None),
        ("bytes=9-,0-1", WHOLE, None),
        ("bytes=3-2", WHOLE, None),
        ("bytes=-", WHOLE, None),
        ("bytes=", WHOLE, None),
        ("bytes", WHOLE, None),
        ("bytes 0-1", WHOLE, None),
        ("bytes=0 - 1", WHOLE, None),
        ("bytes=+0-1", WHOLE, None),
        ("bytes=0x0-1", WHOLE, None),
        ("bytes=1_0-", WHOLE, None),
        ("bytes=\xb2-", WHOLE, None),
        ("bytes=--1", WHOLE, None),
        ("bytes=" + "9" * 5000 + "-", WHOLE, None),
        ("lines=0-1", WHOLE, None),
        ("", WHOLE, None),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else None,
)
def test_ranges(
    client: RawClient, value: str, expected: tuple[int, bytes], content_range: str | None
) -> None:
    response = client.get("/hello.txt", f"Range: {value}")
    assert names(response) == expected
    assert response.get("Content-Range") == content_range


def test_head_knows_no_ranges(client: RawClient) -> None:
    for value in ("bytes=0-1", "bytes=9-"):
        request = get("/hello.txt", f"Range: {value}").replace(b"GET", b"HEAD", 1)
        response = client.request(request, "HEAD")
        assert (response.status, response.get("Content-Length")) == (200, "5")


def test_two_range_fields_are_none(client: RawClient) -> None:
    assert names(client.get("/hello.txt", "Range: bytes=0-1", "Range: bytes=0-1")) == WHOLE


@pytest.mark.parametrize("value", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"])
def test_of_an_empty_file_there_are_no_ranges(client: RawClient, value: str) -> None:
    assert names(client.get("/empty.txt", f"Range: {value}")) == (200, b"")


@pytest.mark.parametrize(
    ("fields", "is_part"),
    [
        (["If-Range: ETAG"], True),
        (["If-Range: W/ETAG"], False),
        (['If-Range: "other"'], False),
        (["If-Range: *"], False),
        (["If-Range: ETAG, ETAG"], False),
        ([f"If-Range: {SAME}"], True),
        ([f"If-Range: {BEFORE}"], False),
        ([f"If-Range: {AFTER}"], False),
        (["If-Range: "], False),
        (["If-Range: ETAG", "If-Range: ETAG"], False),
    ],
)
def test_if_range(client: RawClient, etag: str, fields: list[str], *, is_part: bool) -> None:
    fields = [field.replace("ETAG", etag) for field in fields]
    response = client.get("/hello.txt", "Range: bytes=0-1", *fields)
    assert names(response) == ((206, b"he") if is_part else WHOLE)
    # Without a range there is nothing to be conditional, and a wrong one is not looked at.
    assert names(client.get("/hello.txt", *fields)) == WHOLE
    if not is_part:
        assert names(client.get("/hello.txt", "Range: bytes=9-", *fields)) == WHOLE


def test_a_range_in_the_middle_of_a_big_file(client: RawClient) -> None:
    response = client.get("/big.bin", "Range: bytes=100000-900000")
    assert response.body == BIG[100000:900001]


def test_a_download_is_resumed_in_pieces(client: RawClient) -> None:
    first = client.get("/big.bin", "Range: bytes=0-99999")
    received = first.body
    while len(received) < len(BIG):
        part = client.get(
            "/big.bin", f"Range: bytes={len(received)}-", f"If-Range: {first.get('ETag')}"
        )
        assert part.status == 206
        received += part.body[:300_000]
    assert received == BIG


def test_times_that_cannot_be_are_not_told(client: RawClient, root: Path) -> None:
    now = int(time.time())
    for modified, told in ((now + 10_000, None), (-5, formatdate(0, usegmt=True))):
        os.utime(root / "hello.txt", (modified, modified))
        response = client.get("/hello.txt")
        assert response.status == 200
        if told is None:
            # Section 8.8.2.1: the time of the response in the place of one in the future.
            assert response.get("Last-Modified") != formatdate(modified, usegmt=True)
        else:
            assert response.get("Last-Modified") == told


# Files that change while they are sent

HUGE = 32 * 2**20
"""More than the buffers of two sockets hold, so that it is still being sent when it changes."""


@pytest.fixture
def huge(root: Path) -> Path:
    path = root / "huge.bin"
    path.touch()
    os.truncate(path, HUGE)
    return path


@pytest.mark.parametrize("fields", [[], ["Range: bytes=1000-"]], ids=["whole", "part"])
def test_a_file_that_shrinks_while_it_is_sent_is_not_made_up(
    serve: Serve,
    huge: Path,
    fields: list[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = serve(FileHandler(huge.parent), workers=1)
    client = serve.client(server, receive_buffer=4096)
    descriptors = open_descriptors()
    client.send(get("/huge.bin", *fields))
    assert b"Content-Length" in client.until(b"\r\n\r\n")
    os.truncate(huge, 1)
    # It is shorter than was promised, and the connection ends.
    assert len(client.to_end()) < HUGE - 1000
    assert "a response broke off" in caplog.text
    assert names(serve.client(server).get("/hello.txt")) == WHOLE
    poll(lambda: open_descriptors() <= descriptors + 2)  # what this client has, at both ends


def test_of_a_file_that_grows_while_it_is_sent_comes_what_was_promised(
    serve: Serve, huge: Path
) -> None:
    client = serve.client(serve(FileHandler(huge.parent), workers=1), receive_buffer=65536)
    client.send(get("/huge.bin"))
    client.until(b"\r\n\r\n")
    os.truncate(huge, 2 * HUGE)
    client.exactly(HUGE)
    assert names(client.get("/hello.txt")) == WHOLE
