"""The streams are what they say, before any of them is sent to a server."""

from __future__ import annotations

import random

import pytest

from tests.differential import payloads
from tests.differential.agreements import AGREEMENTS, COMPRESSED, Agreement
from tests.differential.differences import REFERENCES, Reference
from tests.differential.streams import LARGE_LIMIT, SMALL_LIMIT, generate


def test_a_stream_is_a_function_of_seed_and_index() -> None:
    streams = [generate(1, index, AGREEMENTS) for index in range(100)]
    assert streams == [generate(1, index, AGREEMENTS) for index in range(100)]
    assert len({stream.data for stream in streams}) > 90
    assert streams != [generate(2, index, AGREEMENTS) for index in range(100)]


@pytest.mark.parametrize("reference", REFERENCES, ids=lambda reference: reference.name)
@pytest.mark.parametrize("agreement", COMPRESSED, ids=str)
def test_valid_streams_mean_what_the_client_meant(
    agreement: Agreement, reference: Reference
) -> None:
    valid = compressed = 0
    for index in range(200):
        stream = generate(3, index, [agreement])
        if stream.intended is None:
            continue
        outcome, _ = reference.expect(stream)
        assert outcome == stream.intended, stream.describe()
        valid += 1
        compressed += "compressed" in stream.features
    assert valid > 80
    assert compressed > 50


def test_payloads_have_the_size_that_is_asked_for() -> None:
    rng = random.Random(6)
    for length in [*range(300), 4999, 5001, 65_536]:
        text = payloads.text(rng, length)
        text.decode()
        assert len(text) == len(payloads.binary(rng, length)) == length


@pytest.mark.parametrize("limit", [SMALL_LIMIT, LARGE_LIMIT])
def test_sizes_are_within_the_limit_and_at_the_edges(limit: int) -> None:
    rng = random.Random(5)
    sizes = {payloads.size(rng, limit) for _ in range(5000)}
    assert max(sizes) <= limit
    assert {0, 1, 125, 126, 127} <= sizes
    assert ({65_535, 65_536} if limit == LARGE_LIMIT else {limit - 1, limit}) <= sizes


def test_spoiled_text_is_mostly_no_text() -> None:
    rng = random.Random(4)
    spoiled = [payloads.spoiled_text(rng, b"a text") for _ in range(200)]
    assert sum(not is_text(payload) for payload in spoiled) > 190


def is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
