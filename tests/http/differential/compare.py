"""One stream, all opinions: what is wrong with ours, if anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.http.differential.expect import expect
from tests.http.differential.ours import read
from tests.http.differential.outcome import Expected, Outcome, exactly
from tests.http.differential.server import over_sockets

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
            f"  {name}:\n{outcome.describe()}\n  but {judge}:\n{expected.describe()}"
            for name, outcome in self.ours.items()
            for judge, expected in self.expected.items()
            if not expected.allows(outcome)
        ]
        if not wrong:
            return []
        stream = self.stream
        again = "python -m tests.http.differential.run"
        again += f" --seed {stream.seed} --only {stream.index}"
        return ["\n".join([stream.describe(), *wrong, f"  again: {again}"])]


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


def with_server(asked: Opinions, outcome: Outcome) -> Opinions:
    """Add what a server makes of the same stream: all that can be seen from outside."""
    expected = {judge: over_sockets(each) for judge, each in asked.expected.items()}
    return Opinions(asked.stream, expected, asked.used, {"handy_ws, a server": outcome})
