"""One stream, all opinions: what is wrong with ours, if anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.http.differential.expect import expect
from tests.http.differential.ours import read
from tests.http.differential.outcome import Expected, Outcome, exactly
from tests.http.differential.server import Way, is_expected

if TYPE_CHECKING:
    from tests.http.differential.streams import Stream


@dataclass(frozen=True, slots=True)
class Opinions:
    """What should become of a stream, by the name of who says so, and what becomes of it."""

    stream: Stream
    expected: dict[str, Expected]
    used: list[str]  # differences
    ours: dict[str, Outcome]

    def complaints(self) -> list[str]:
        """Return what is to be said if one of ours is not what all the others expect."""
        wrong = [
            (name, outcome, judge)
            for name, outcome in self.ours.items()
            for judge, expected in self.expected.items()
            if not expected.allows(outcome)
        ]
        return self._told(wrong)

    def about_server(self, outcome: Outcome, way: Way) -> list[str]:
        """Return what is to be said if a server does something else."""
        wrong = [
            (f"handy_ws, a server, bodies {way.value}", outcome, judge)
            for judge, expected in self.expected.items()
            if not is_expected(outcome, expected, way)
        ]
        return self._told(wrong)

    def _told(self, wrong: list[tuple[str, Outcome, str]]) -> list[str]:
        if not wrong:
            return []
        lines = [self.stream.describe()]
        for name, outcome, judge in wrong:
            lines += [f"  {name}:", outcome.describe()]
            lines += [f"  but {judge}:", self.expected[judge].describe()]
        again = "python -m tests.http.differential.run"
        lines.append(f"  again: {again} --seed {self.stream.seed} --only {self.stream.index}")
        return ["\n".join(lines)]


def opinions(stream: Stream) -> Opinions:
    """Ask everybody but a server."""
    from_h11, used = expect(stream.data)
    expected = {"h11": from_h11}
    if stream.intended is not None:
        expected["what the client meant"] = exactly(stream.intended)
    ours = {
        "handy_ws, whole": read(stream.data),
        "handy_ws, in pieces": read(stream.data, stream.cuts),
    }
    return Opinions(stream, expected, used, ours)
