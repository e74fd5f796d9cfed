"""Read many random streams of requests with handy_ws and with h11, and tell what they were.

    python -m tests.http.differential.run --streams 100000 --seed 7 --jobs 2
    python -m tests.http.differential.run --seed 7 --only 4711

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
from typing import TYPE_CHECKING, Final

from tests.http.differential.compare import opinions
from tests.http.differential.differences import CORRECTIONS, DIFFERENCES
from tests.http.differential.outcome import End
from tests.http.differential.server import Way, running
from tests.http.differential.streams import generate

if TYPE_CHECKING:
    from tests.http.differential.compare import Opinions
    from tests.http.differential.server import Servers
    from tests.http.differential.streams import Stream

_CHUNK: Final = 1000  # streams that a process does at a time
_PARALLEL: Final = 16  # connections at a time
_MOST_COMPLAINTS: Final = 5
_PROGRESS: Final = 10.0  # seconds between two lines that tell of it


@dataclass
class Tally:
    """What was seen."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.counts += other.counts
        self.complaints += other.complaints

    def note(self, asked: Opinions) -> None:
        """Count what a stream is an example of."""
        counts, stream = self.counts, asked.stream
        ours = asked.ours["handy_ws, whole"]
        counts["streams"] += 1
        counts[f"ends: {ours.end.value} {ours.status or ''}".rstrip()] += 1
        counts["valid from the first byte to the last"] += stream.intended is not None
        counts["requests that were accepted"] += len(ours.requests)
        counts["requests that were accepted, with a body"] += sum(
            bool(request.body) for request in ours.requests
        )
        counts["bytes"] += len(stream.data)
        counts.update(f"with {feature}" for feature in stream.features)
        if ours.end is End.REFUSED:
            counts.update(f"difference: {name}" for name in set(asked.used) & _STRICTER)
        counts.update(f"correction: {name}" for name in set(asked.used) - _STRICTER)

    def report(self) -> str:
        """Return the counts, including the listed differences that were not met."""
        for difference in DIFFERENCES:
            self.counts[f"difference: {difference.name}"] += 0
        for correction in CORRECTIONS:
            self.counts[f"correction: {correction.name}"] += 0
        return "\n".join(f"{count:>10,}  {name}" for name, count in sorted(self.counts.items()))


_STRICTER: Final = {difference.name for difference in DIFFERENCES}


def play(servers: Servers, seed: int, indices: range) -> Tally:
    """Play streams, some at a time: while the server works, the others are asked."""
    tally = Tally()
    for start in range(indices.start, indices.stop, _PARALLEL):
        numbers = range(start, min(start + _PARALLEL, indices.stop))
        streams = [generate(seed, index) for index in numbers]
        exchanges = [servers.begin(stream, _way(stream)) for stream in streams]
        everybody = [opinions(stream) for stream in streams]
        outcomes = [exchange.finish() for exchange in exchanges]
        for asked, outcome in zip(everybody, outcomes, strict=True):
            tally.note(asked)
            tally.complaints += asked.complaints()
            tally.complaints += asked.about_server(outcome, _way(asked.stream))
    return tally


def _way(stream: Stream) -> Way:
    return list(Way)[stream.index % len(Way)]


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
    stream = generate(seed, index)
    asked = opinions(stream)
    complaints = asked.complaints()
    print(stream.describe())
    for name, ours in asked.ours.items():
        print(f"  {name}:\n{ours.describe()}")
    with running() as servers:
        for way in Way:
            outcome = servers.play(stream, way)
            complaints += asked.about_server(outcome, way)
            print(f"  handy_ws, a server, bodies {way.value}:\n{outcome.describe()}")
    for judge, expected in asked.expected.items():
        print(f"  {judge}:\n{expected.describe()}")
    print("  listed differences:", ", ".join(asked.used) or "none")
    print("  DIFFERENT" if complaints else "  no difference")
    return 1 if complaints else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare handy_ws with h11.")
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
