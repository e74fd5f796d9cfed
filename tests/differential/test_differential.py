"""Some thousands of random streams: handy_ws understands them as others do.

`python -m tests.differential.run` plays as many as one likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.differential.run import Tally, play
from tests.differential.server import Servers, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 7692
STREAMS = 1500


@pytest.fixture
def servers() -> Iterator[Servers]:
    with running() as servers:
        yield servers


@pytest.mark.parametrize("start", range(0, 4 * STREAMS, STREAMS))
def test_streams_mean_the_same_to_all(servers: Servers, start: int) -> None:
    tally = play(servers, SEED, range(start, start + STREAMS))
    assert not tally.complaints, "\n".join(tally.complaints)
    assert_not_trivial(tally)


def assert_not_trivial(tally: Tally) -> None:
    """Each kind of stream is there, and each kind of end."""
    counts = tally.counts
    assert counts["streams"] == STREAMS
    for name, least in [
        ("valid from the first byte to the last", 600),
        ("messages", 2000),
        ("messages that came back compressed", 800),
        ("pongs", 600),
        ("with compressed", 600),
        ("with fragmented", 500),
        ("with bad: deflate", 50),
        ("with bad: text", 50),
        ("with final block inside of a message", 50),
        ("ends with CLOSE answered", 300),
        ("ends with the stream, no CLOSE", 300),
        ("ends with an error, CLOSE 1002", 200),
        ("ends with an error, CLOSE 1007", 100),
        ("ends with an error, CLOSE 1009", 10),
    ]:
        assert counts[name] >= least, (name, counts[name])
