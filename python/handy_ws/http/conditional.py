"""Conditional and range requests for something that has validators: RFC 9110 sections 13 and 14.

werkzeug's `Response.make_conditional` is what programs use. It is lenient in ways that a server of
files should not be: it takes a range before it looks at the preconditions, also for HEAD, compares
weakly what has to be compared strongly, and refuses ranges that exist (a suffix longer than the
file, more than one range). So this is done here, by the letter.

All functions are linear in the length of the fields, whatever these look like.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from handy_ws.http.head import RequestHead

__all__ = ["Validators", "failed_precondition", "wanted_range"]

#: An entity tag, section 8.8.3: whether it is weak, and what stands between its quotes.
_ETAG: Final = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"')
#: A range-spec of bytes, section 14.1.2. Nobody has files with more digits in their lengths.
_RANGE_SPEC: Final = re.compile(r"([0-9]{0,18})-([0-9]{0,18})")
#: Longer than any date, and short enough for a parser that was not made for attacks.
_MAX_DATE: Final = 64


class Validators(NamedTuple):
    """What tells one state of a representation from another.

    Attributes:
        etag: the strong entity tag, without its quotes.
        modified: the time of the last modification, in seconds since 1970.
    """

    etag: str
    modified: int


def failed_precondition(head: RequestHead, validators: Validators) -> HTTPStatus | None:
    """Return the status that answers a GET or HEAD whose precondition fails: 412 or 304.

    Returns:
        None if the request is to be served: section 13.2.2, steps 1 to 4.
    """
    etag, modified = validators
    if head.get("if-match") is not None:
        holds = _matches(head, "if-match", etag, weakly=False)
    else:
        date = _date(head, "if-unmodified-since")
        holds = date is None or modified <= date
    if not holds:
        return HTTPStatus.PRECONDITION_FAILED
    if head.get("if-none-match") is not None:
        holds = not _matches(head, "if-none-match", etag, weakly=True)
    else:
        date = _date(head, "if-modified-since")
        holds = date is None or modified > date
    return None if holds else HTTPStatus.NOT_MODIFIED


def wanted_range(head: RequestHead, validators: Validators, length: int) -> range | None:
    """Return the bytes that a request wants instead of the whole.

    More than one range, other units than bytes, and what is no range at all are ignored, as the
    RFC allows: the whole representation is an answer to all of them.

    Args:
        head: a request whose preconditions hold.
        validators: those of the representation.
        length: of the representation, in bytes.

    Returns:
        None for the whole; an empty range for one that does not exist, which is to be answered
        with 416: section 14.2, and section 13.2.2, step 5.
    """
    values = head.get_all("range")
    # Ranges are defined for GET only; of something empty there is nothing to choose.
    if len(values) != 1 or head.method != "GET" or not length:
        return None
    unit, _, specs = values[0].partition("=")
    members = [member for spec in specs.split(",") if (member := spec.strip(" \t"))]
    found = _RANGE_SPEC.fullmatch(members[0]) if len(members) == 1 else None
    if unit.lower() != "bytes" or found is None or not _same_as_before(head, validators):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, length - int(last)), length) if last else None
    if last and int(last) < int(first):
        return None
    end = min(length, int(last) + 1) if last else length
    return range(int(first), max(int(first), end))


def _same_as_before(head: RequestHead, validators: Validators) -> bool:
    """Say whether If-Range, if it is there, allows a range: section 13.1.5."""
    values = head.get_all("if-range")
    if len(values) != 1:
        return not values
    tag = _ETAG.fullmatch(values[0])
    if tag:
        return tag[1] is None and tag[2] == validators.etag
    # To the second, not "not later": another date is that of another file. By the letter it may
    # not be believed even so; but a client with our entity tag, which is always there, uses that.
    return _date(head, "if-range") == validators.modified


def _matches(head: RequestHead, name: str, etag: str, *, weakly: bool) -> bool:
    """Say whether a field lists the entity tag, or is a ``*``: section 8.8.3.2."""
    value = ",".join(head.get_all(name))
    if value == "*":
        return True
    return any(tag == etag and (weakly or not weak) for weak, tag in _ETAG.findall(value))


def _date(head: RequestHead, name: str) -> int | None:
    """Return the HTTP-date of a field; None, which is to be ignored, if it has no valid one."""
    values = head.get_all(name)
    if len(values) != 1 or len(values[0]) > _MAX_DATE:
        return None
    try:
        date = parsedate_to_datetime(values[0])
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ArithmeticError, LookupError, TypeError, ValueError):  # as the parser likes
        return None
