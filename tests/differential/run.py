"""Play many random streams against handy_ws and the references, and tell what they were.

    python -m tests.differential.run --streams 100000 --seed 7 --jobs 2
    python -m tests.differential.run --seed 7 --only 4711

Exit status: 0 if there is no difference but those that are listed, 1 if there is one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.differential.agreements import AGREEMENTS
from tests.differential.compare import complaints, expectations
from tests.differential.differences import REFERENCES
from tests.differential.server import Servers, running
from tests.differential.streams import Stream, generate

if TYPE_CHECKING:
    from tests.differential.outcome import Outcome

_CHUNK = 1000  # streams that a process does at a time
_PARALLEL = 16  # connections at a time
_MOST_COMPLAINTS = 5
_PROGRESS = 10.0  # seconds between two lines that tell of it


@dataclass
class Tally:
    """What was seen."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.complaints += other.complaints

    def note(self, stream: Stream, ours: Outcome, expected: Outcome) -> None:
        """Count what a stream is an example of."""
        counts = self.counts
        counts["streams"] += 1
        counts[f"ends with {_ending(expected)}"] += 1
        counts["valid from the first byte to the last"] += stream.intended is not None
        counts["ends with either of two errors"] += bool(expected.close and expected.close.or_code)
        counts["messages"] += len(ours.messages)
        counts["messages that came back compressed"] += ours.compressed
        counts["pongs"] += len(ours.pongs)
        counts["bytes sent"] += len(stream.data)
        counts.update(f"with {feature}" for feature in stream.features)

    def report(self) -> str:
        """Return the counts, including the listed differences that were not met."""
        for reference in REFERENCES:
            for difference in reference.differences:
                self.counts[f"difference: {reference.name}: {difference.name}"] += 0
        return "\n".join(f"{count:>10,}  {name}" for name, count in sorted(self.counts.items()))


def _ending(expected: Outcome) -> str:
    close = expected.close
    if close is None:
        return "the stream, no CLOSE"
    return f"an error, CLOSE {close.code}" if close.reason is None else "CLOSE answered"


def play(servers: Servers, seed: int, indices: range) -> Tally:
    """Play streams, some at a time: while the server works, the references are asked."""
    tally = Tally()
    for start in range(indices.start, indices.stop, _PARALLEL):
        numbers = range(start, min(start + _PARALLEL, indices.stop))
        streams = [generate(seed, index, AGREEMENTS) for index in numbers]
        exchanges = [servers.begin(stream) for stream in streams]
        judges = [expectations(stream) for stream in streams]
        outcomes = [exchange.finish() for exchange in exchanges]
        for stream, ours, (expected, used) in zip(streams, outcomes, judges, strict=True):
            tally.note(stream, ours, expected[-1][1])
            tally.counts.update(f"difference: {name}" for name in used)
            tally.complaints += complaints(stream, ours, expected)
    return tally


def _work(task: tuple[int, range]) -> Tally:
    with running() as servers:
        return play(servers, *task)


def main() -> int:
    """Do what the arguments say."""
    options = _options()
    if options.only is not None:
        return _show(options.seed, options.only)
    print(f"seed {options.seed}, {options.streams} streams, {options.jobs} jobs", flush=True)
    tasks = [
        (options.seed, range(start, min(start + _CHUNK, options.streams)))
        for start in range(0, options.streams, _CHUNK)
    ]
    tally = Tally()
    began = reported = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for result in pool.imap_unordered(_work, tasks):
            tally.add(result)
            for complaint in result.complaints:
                print(complaint, flush=True)
            if len(tally.complaints) >= _MOST_COMPLAINTS:
                print("... and no more are looked for")
                break
            if time.monotonic() - reported > _PROGRESS:
                reported = time.monotonic()
                print(f"{tally.counts['streams']} streams in {reported - began:.0f} s", flush=True)
    print(tally.report())
    print(f"{len(tally.complaints)} differences that are not listed,", end=" ")
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if tally.complaints else 0


def _show(seed: int, index: int) -> int:
    """Play one stream, and print everything about it."""
    stream = generate(seed, index, AGREEMENTS)
    expected, used = expectations(stream)
    with running() as servers:
        ours = servers.play(stream)
    print(stream.describe())
    for name, outcome in [("handy_ws", ours), *expected]:
        print(f"  {name}:\n{outcome.describe()}")
    print("  listed differences:", ", ".join(used) or "none")
    differs = bool(complaints(stream, ours, expected))
    print("  DIFFERENT" if differs else "  no difference")
    return 1 if differs else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare handy_ws with other implementations.")
    parser.add_argument("--streams", type=int, default=100_000, help="how many (100000)")
    parser.add_argument("--seed", type=int, default=None, help="of the streams; else a random one")
    parser.add_argument("--jobs", type=int, default=2, help="processes (2)")
    parser.add_argument("--only", type=int, default=None, metavar="INDEX", help="play this one")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    return options


if __name__ == "__main__":
    sys.exit(main())
