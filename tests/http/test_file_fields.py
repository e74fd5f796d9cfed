"""The fields that choose a part or a form of a file, whatever they look like and however long."""

from __future__ import annotations

import time

import pytest
from handy_ws.http.conditional import Validators, failed_precondition, wanted_range
from handy_ws.http.encodings import IDENTITY, SUFFIXES, accepted_codings
from handy_ws.http.head import RequestHead, parse_head
from hypothesis import given
from hypothesis import strategies as st

VALIDATORS = Validators("tag", 1_700_000_000)
CONDITIONS = ["If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"]
NAMES = [*CONDITIONS, "Range", "Accept-Encoding"]
VALUES = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")),
    st.text('0123456789-=, bytesW/"*'),
    st.text("SunMoJaFeb:,0123456789 +-GMT", max_size=64),
    st.text("gzip, br;q=01.*identity"),
)


def head(*fields: tuple[str, str]) -> RequestHead:
    """Return the head of a GET request with these fields."""
    lines = [f"{name}: {value}" for name, value in fields]
    return parse_head("\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode("latin-1"))


@given(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=4), st.integers(0, 20))
def test_no_field_is_too_strange(fields: list[tuple[str, str]], length: int) -> None:
    request = head(*fields)
    assert failed_precondition(request, VALIDATORS) in {None, 304, 412}
    part = wanted_range(request, VALIDATORS, length)
    assert part is None or not part or range(length)[part.start : part.stop] == part
    codings = accepted_codings(request)
    assert set(codings) <= {IDENTITY, *SUFFIXES}
    assert len(codings) == len(set(codings))


@given(VALUES, st.integers(0, 20))
def test_no_date_is_too_strange(value: str, length: int) -> None:
    for name in CONDITIONS:
        request = head(("Range", "bytes=0-1"), (name, value))
        assert failed_precondition(request, VALIDATORS) in {None, 304, 412}
        part = wanted_range(request, VALIDATORS, length)
        assert part in {None, range(min(2, length))}


# The longest that a server accepts by default. It takes some hundredths of a second, and seconds if
# anything is read again for every byte. The thread's own CPU time is used up by no other program.
LENGTH = 1 << 16
LIMIT = 1.0  # seconds of CPU time

FILLINGS = (" ", "\t,", ",", '"', '"a', '"a",', "W/", "0", "0-1,", "-", "1 ", ";q=", "*", "a;q=1,")


@pytest.mark.parametrize("name", NAMES)
def test_long_values_are_read_in_linear_time(name: str) -> None:
    for filling in FILLINGS:
        for shape in ("{}", 'x{},"y"', "bytes={}-", "gzip;{}q=1"):
            value = shape.format(filling * (LENGTH // len(filling)))
            request = head((name, value), *([("Range", "bytes=0-1")] if name == "If-Range" else []))
            begun = time.thread_time()
            failed_precondition(request, VALIDATORS)
            wanted_range(request, VALIDATORS, 10)
            accepted_codings(request)
            assert time.thread_time() - begun < LIMIT, (shape, filling)


@pytest.mark.parametrize("name", NAMES)
def test_many_fields_are_read_in_linear_time(name: str) -> None:
    for value in ("", '"a"', "bytes=0-1", "gzip;q=0.5"):
        request = head(*[(name, value)] * 3000)
        begun = time.thread_time()
        failed_precondition(request, VALIDATORS)
        wanted_range(request, VALIDATORS, 10)
        accepted_codings(request)
        assert time.thread_time() - begun < LIMIT, value
