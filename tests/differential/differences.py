"""Where the references are known to be wrong, or to judge later than they could: a list.

An entry applies to a narrow kind of stream and changes what its reference is asked, so that what it
then answers is right; handy_ws has to do exactly that. Every entry that applies is used, whether or
not the outcomes differ, and a run counts how often one has changed the answer.

Where a stream has an error, the first wrong byte decides, as RFC 6455 section 7.1.7 wants a server
to fail a connection as soon as it knows. So there is mostly one way to set a late judge right: ask
it about the bytes before, and add the close code that is due for the wrong header.
"""

from __future__ import annotations

import dataclasses
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.differential.case import Case, Run, with_frame_ended, with_messages_gathered
from tests.differential.headers import Kind
from tests.differential.outcome import PROTOCOL_ERROR, Close, Outcome
from tests.differential.patches import LARGEST_WINDOW, Patch
from tests.differential.reference import Question, run_websockets, run_wsproto
from tests.websocket.raw_websocket import xor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.differential.streams import Stream

_TRY_AGAIN_LATER, _BAD_GATEWAY = 1013, 1014


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry: ``correct`` returns another question, or None where the entry does not apply."""

    name: str
    reason: str
    correct: Callable[[Case], Case | None]


@dataclass(frozen=True, slots=True)
class Reference:
    """An implementation, and where it is not to be followed."""

    name: str
    run: Run
    differences: tuple[Difference, ...]

    def expect(self, stream: Stream) -> tuple[Outcome, list[str]]:
        """Return what handy_ws must do, and the names of the differences that matter for it."""
        case = Case(Question(stream.data, stream.limit, stream.agreement.deflate))
        corrections = []
        for difference in self.differences:
            corrected = difference.correct(case)
            if corrected is not None:
                case = corrected
                corrections.append((difference, case))
        outcome = uncorrected = self.ask(stream)
        if corrections:
            outcome = case.ask(self.run)
        if outcome == uncorrected:
            return outcome, []
        return outcome, self._used(uncorrected, corrections)

    def ask(self, stream: Stream) -> Outcome:
        """Return what the reference makes of a stream by itself."""
        return self.run(Question(stream.data, stream.limit, stream.agreement.deflate))

    def _used(self, before: Outcome, corrections: list[tuple[Difference, Case]]) -> list[str]:
        """Return those that change the answer, one after the other."""
        used = []
        for difference, case in corrections:
            outcome = case.ask(self.run)
            if outcome != before:
                used.append(f"{self.name}: {difference.name}")
            before = outcome
        return used


def _answer_wrong_header(case: Case, kinds: Iterable[Kind]) -> Case | None:
    violation = case.judgement.violation
    if violation is None or violation.kind not in kinds:
        return None
    return case.cut_before(violation.start, Close(violation.code))


def _surrogate(case: Case) -> Case | None:
    # Only between two pieces of a text does it matter which byte of three was wrong.
    pieces = any(not header.fin for header in case.judgement.headers) or case.cut_frame
    return case.patched(Patch.SURROGATES) if pieces else None


def _gathered(case: Case) -> Case | None:
    deflate = case.question.deflate
    if deflate is None or deflate.client_takeover or not case.compressed:
        return None
    return with_messages_gathered(case)


def _where_compressed(patch: Patch) -> Callable[[Case], Case | None]:
    return lambda case: case.patched(patch) if case.compressed else None


def _window(case: Case) -> Case | None:
    deflate = case.question.deflate
    if deflate is None or deflate.client_bits == LARGEST_WINDOW or not case.compressed:
        return None
    return case.patched(Patch.WINDOW)


def _boundary(case: Case) -> Case | None:
    deflate = case.question.deflate
    if deflate is None or deflate.client_takeover or not case.compressed:
        return None
    return case.patched(Patch.BOUNDARY)


_IN_BOTH = (
    Difference(
        "a surrogate in UTF-8 is judged by its third byte",
        "RFC 3629 section 4: nothing valid begins with ED A0; Python's incremental decoder waits",
        _surrogate,
    ),
    Difference(
        "a compressed message is judged before its end is there",
        "without context takeover handy_ws gathers 48 KiB of a message, if it does not end before, "
        "and only then inflates it: what is wrong with the beginning may never be said",
        _gathered,
    ),
    Difference(
        "what is behind a final block is thrown away",
        "RFC 7692 section 7.2.1: any block may have BFINAL, and others may follow",
        _where_compressed(Patch.FINAL_BLOCK),
    ),
    Difference(
        "a reference beyond the agreed window is refused, if zlib happens to notice",
        "RFC 7692 section 7.1.2.2 binds the sender; a receiver may remember more than it must",
        _window,
    ),
    Difference(
        "a compressed message of no bytes is cut short",
        "RFC 7692 section 7.2.3.6 makes an empty message of one byte; none are an incomplete "
        "block, which harms the next message with takeover. handy_ws takes it for empty",
        _where_compressed(Patch.NO_BYTES),
    ),
    Difference(
        "what the receiver adds may be data",
        "RFC 7692 section 7.2.1: a message ends with an empty block; one that was cut short "
        "takes the end of it for data that the sender has not sent",
        _where_compressed(Patch.TAIL),
    ),
    Difference(
        "a message may end inside of a block",
        "as before: it was cut short",
        _boundary,
    ),
)


# wsproto.


def _header_is_cut(case: Case) -> Case | None:
    violation = case.judgement.violation
    if violation is None or len(case.data) >= _length_end(case.data, violation.start):
        return None
    return _answer_wrong_header(case, set(Kind) - {Kind.TOO_BIG})


def _length_end(data: bytes, start: int) -> int:
    """Return where the length in a header ends, as far as can be known."""
    if start + 1 >= len(data):
        return start + 2
    return start + 2 + {126: 2, 127: 8}.get(data[start + 1] & 0x7F, 0)


def _order(case: Case) -> Case | None:
    return _answer_wrong_header(case, {Kind.ORDER})


def _no_limit(case: Case) -> Case | None:
    return _answer_wrong_header(case, {Kind.TOO_BIG})


def _bad_gateway(case: Case) -> Case | None:
    frame = case.close_frame
    if frame is None or frame.unmasked(case.data)[:2] != struct.pack("!H", _BAD_GATEWAY):
        return None
    code = xor(struct.pack("!H", _TRY_AGAIN_LATER), frame.key)
    data = case.data[: frame.payload] + code + case.data[frame.payload + 2 :]
    return dataclasses.replace(case.with_data(data), stands_for=(_TRY_AGAIN_LATER, _BAD_GATEWAY))


WSPROTO = Reference(
    "wsproto",
    run_wsproto,
    (
        Difference(
            "a wrong header is judged when its length is there",
            "RFC 6455 section 7.1.7: what is wrong is known with the first byte, and the stream "
            "ends before the length",
            _header_is_cut,
        ),
        Difference(
            "the order of frames is judged with the first byte of their payload",
            "RFC 6455 section 5.4: the opcode alone is wrong there; the payload may not come",
            _order,
        ),
        Difference(
            "messages have no limit",
            "RFC 6455 section 10.4 asks for one: wsproto hands out what comes and leaves it to "
            "its user, but does not tell him what a header announces",
            _no_limit,
        ),
        Difference(
            "1014 is refused",
            "the IANA registry of close codes has 1014, Bad Gateway, for some years",
            _bad_gateway,
        ),
        Difference(
            "a control frame makes it forget that the open message is compressed",
            "RFC 7692 section 6.1: only the first frame says so, for all of the message",
            _where_compressed(Patch.CONTROL),
        ),
        *_IN_BOTH,
        Difference(
            "all of a frame is inflated, however much that is",
            "what is behind the first byte too many is not looked at, so that 1009 comes before "
            "what is wrong there. If the text is wrong before it, or DEFLATE in the same byte, "
            "there are two errors, and either code will do: which of them is met first depends "
            "on how the bytes come",
            _where_compressed(Patch.ORDER),
        ),
    ),
)

# websockets.


def _whole_frames(case: Case) -> Case | None:
    return _answer_wrong_header(case, Kind)


def _code_before_reason(case: Case) -> Case | None:
    frame = case.close_frame
    if frame is None or frame.end - frame.payload < 2:
        return None
    code = bytes([frame.first, 0x82]) + frame.key + case.data[frame.payload : frame.payload + 2]
    alone = case.with_data(code).ask(run_websockets)
    if alone.close != Close(PROTOCOL_ERROR):
        return None
    return case.cut_before(frame.start, alone.close)


def _close_inside_message(case: Case) -> Case | None:
    frame = case.close_frame
    if frame is None or frame.opens:
        return None
    alone = case.with_data(case.data[frame.start : frame.end]).ask(run_websockets)
    return case.cut_before(frame.start, alone.close)


def _cut_frame(case: Case) -> Case | None:
    return with_frame_ended(case, case.cut_frame) if case.cut_frame else None


WEBSOCKETS = Reference(
    "websockets",
    run_websockets,
    (
        Difference(
            "a wrong header is judged when the frame is whole",
            "RFC 6455 section 7.1.7, as with wsproto. Also, lengths that are not minimal or have "
            "their highest bit set (section 5.2) are not refused, or as too big",
            _whole_frames,
        ),
        Difference(
            "the reason of a CLOSE frame is judged before its code",
            "the code comes first; both are wrong, with 1002 for the code and 1007 for the reason",
            _code_before_reason,
        ),
        Difference(
            "no CLOSE frame may come between fragments",
            "RFC 6455 section 5.4: control frames may, and CLOSE is one of them",
            _close_inside_message,
        ),
        Difference(
            "a payload is judged when the frame is whole",
            "RFC 6455 section 8.1: what is not UTF-8 is known from its first byte on",
            _cut_frame,
        ),
        Difference(
            "the limit counts what is compressed, and control frames inside of a message",
            "RFC 7692 has no such rule; handy_ws lets what is compressed be a little larger "
            "than the limit and counts what comes out, up to the first byte too many; see above",
            lambda case: case.patched(Patch.LIMIT | Patch.ORDER),
        ),
        Difference(
            "bad DEFLATE is a protocol error",
            "RFC 6455 section 7.4.1: 1007 is for data that does not fit its type; wsproto and "
            "handy_ws send that",
            _where_compressed(Patch.CODE),
        ),
        *_IN_BOTH,
    ),
)

REFERENCES = (WSPROTO, WEBSOCKETS)
