"""Some thousands of random streams of requests: handy_ws reads them as h11 does, or refuses them.

`python -m tests.http.differential.run` plays as many as one likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.differential.run import Tally, play
from tests.http.differential.server import Servers, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 9112
STREAMS = 600


@pytest.fixture
def servers() -> Iterator[Servers]:
    with running() as servers:
        yield servers


@pytest.mark.parametrize("start", range(0, 3 * STREAMS, STREAMS))
def test_requests_mean_the_same_to_h11_or_are_refused(servers: Servers, start: int) -> None:
    tally = play(servers, SEED, range(start, start + STREAMS))
    assert not tally.complaints, "\n".join(tally.complaints)
    assert_not_trivial(tally)


def assert_not_trivial(tally: Tally) -> None:
    """Each kind of stream is there, and each kind of end."""
    counts = tally.counts
    assert counts["streams"] == STREAMS
    for name, least in [
        ("valid from the first byte to the last", 150),
        ("requests that were accepted", 500),
        ("requests that were accepted, with a body", 200),
        ("with pipelined", 250),
        ("with chunked body", 150),
        ("with sized body", 150),
        ("with trailers", 40),
        ("ends: complete", 100),
        ("ends: closed", 100),
        ("ends: incomplete", 30),
        ("ends: refused 400", 120),
        ("ends: refused 413", 1),
        ("ends: refused 431", 1),
        ("ends: refused 501", 1),
    ]:
        assert counts[name] >= least, (name, counts[name])
