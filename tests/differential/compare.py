"""One stream, three opinions: what is wrong with ours, if anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.differences import REFERENCES
from tests.differential.outcome import agree

if TYPE_CHECKING:
    from tests.differential.outcome import Outcome
    from tests.differential.streams import Stream


def expectations(stream: Stream) -> tuple[list[tuple[str, Outcome]], list[str]]:
    """Return what each judge expects, by its name, and the differences that were used."""
    expected = []
    used: list[str] = []
    if stream.intended is not None:
        expected.append(("what the client meant", stream.intended))
    for reference in REFERENCES:
        outcome, differences = reference.expect(stream)
        expected.append((reference.name, outcome))
        used += differences
    return expected, used


def complaints(stream: Stream, ours: Outcome, expected: list[tuple[str, Outcome]]) -> list[str]:
    """Return what is to be said if our outcome is not what all the judges expect."""
    wrong = [(name, outcome) for name, outcome in expected if not agree(ours, outcome)]
    if not wrong:
        return []
    lines = [stream.describe(), "  handy_ws:", ours.describe()]
    for name, outcome in wrong:
        lines += [f"  but {name}:", outcome.describe()]
    again = f"python -m tests.differential.run --seed {stream.seed} --only {stream.index}"
    return ["\n".join([*lines, f"  again: {again}"])]
