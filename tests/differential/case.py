"""A question to a reference, and how it can be put differently without changing what is asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.differential.headers import Header, Judgement, head, judge
from tests.differential.outcome import Close, Outcome
from tests.differential.reference import Question
from tests.websocket.raw_websocket import CLOSE, xor

if TYPE_CHECKING:
    from tests.differential.patches import Patch

# What handy_ws gathers of a message before it inflates the rest as it comes.
MOST_GATHERED = 48 * 1024

Run = Callable[[Question], Outcome]


@dataclass(frozen=True)
class Case:
    """A question, and what is added to the answer."""

    question: Question
    closing: Close | None = None  # what the server sends behind these bytes, unless it has before
    stands_for: tuple[int, int] | None = None  # a close code in the data, and the one it stands for

    @property
    def data(self) -> bytes:
        return self.question.data

    @functools.cached_property
    def judgement(self) -> Judgement:
        question = self.question
        return judge(question.data, question.limit, deflate=question.deflate is not None)

    def ask(self, run: Run) -> Outcome:
        """Return what the reference makes of it."""
        outcome = run(self.question)
        if outcome.close is None:
            return dataclasses.replace(outcome, close=self.closing)
        if self.stands_for and outcome.close.code == self.stands_for[0]:
            close = dataclasses.replace(outcome.close, code=self.stands_for[1])
            return dataclasses.replace(outcome, close=close)
        return outcome

    def patched(self, patch: Patch) -> Case:
        """Return the question to a reference with one more patch."""
        patches = self.question.patches | patch
        return dataclasses.replace(
            self, question=dataclasses.replace(self.question, patches=patches)
        )

    def with_data(self, data: bytes) -> Case:
        """Return the question about other bytes."""
        return dataclasses.replace(self, question=dataclasses.replace(self.question, data=data))

    def cut_before(self, start: int, closing: Close | None) -> Case:
        """Return the question about what is before a frame, and what that frame is answered."""
        return dataclasses.replace(self.with_data(self.data[:start]), closing=closing)

    @property
    def close_frame(self) -> Header | None:
        """The CLOSE frame at the end, if there is a whole one."""
        last = self.judgement.last
        if self.judgement.violation or last is None or last.opcode != CLOSE:
            return None
        return last if last.end <= len(self.data) else None

    @property
    def cut_frame(self) -> Header | None:
        """The data frame in which the stream ends."""
        last = self.judgement.last
        if self.judgement.violation or last is None or last.is_control:
            return None
        return last if last.end > len(self.data) else None

    @property
    def compressed(self) -> bool:
        """Whether a compressed message begins in it."""
        return any(header.compressed for header in self.judgement.headers)


def with_frame_ended(case: Case, cut: Header) -> Case:
    """Return the question with a frame that is cut short made a whole fragment."""
    payload = case.data[cut.payload :]
    start = head(cut.first & 0x7F, len(payload), cut.key)
    return case.with_data(case.data[: cut.start] + start + payload)


def with_messages_gathered(case: Case) -> Case:
    """Return the question with each compressed message in one frame, as far as it is gathered.

    That is the frame with which the message ends or has become long. Those before it are left
    empty, and so are all of a message that does neither: nobody has looked at it yet.
    """
    data, out = case.data, bytearray()
    gathered: bytearray | None = None  # what is to be put into a later frame
    end = 0
    for header in case.judgement.headers:
        end = min(header.end, len(data))
        if header.opens and not header.is_control:
            gathered = bytearray() if header.compressed else None
        if header.is_control or gathered is None:
            out += data[header.start : end]
            continue
        gathered += header.unmasked(data)
        ends = header.fin and header.end <= len(data)
        payload = b""
        if ends or len(gathered) > MOST_GATHERED:
            payload, gathered = xor(bytes(gathered), header.key), None
        out += head(header.first if ends else header.first & 0x7F, len(payload), header.key)
        out += payload
    return case.with_data(bytes(out) + data[end:])
