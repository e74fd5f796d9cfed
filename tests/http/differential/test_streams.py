"""The streams are what they say, before anybody reads them."""

from __future__ import annotations

from tests.http.differential.expect import expect
from tests.http.differential.outcome import End
from tests.http.differential.spoils import CHUNK_SPOILS, SPOILS
from tests.http.differential.streams import generate


def test_a_stream_is_a_function_of_seed_and_index() -> None:
    streams = [generate(1, index) for index in range(100)]
    assert streams == [generate(1, index) for index in range(100)]
    assert len({stream.data for stream in streams}) == 100
    assert streams != [generate(2, index) for index in range(100)]


def test_valid_streams_mean_to_h11_what_the_client_meant() -> None:
    ends = set()
    valid = 0
    for index in range(600):
        stream = generate(3, index)
        if stream.intended is not None:
            expected, _ = expect(stream.data)
            assert expected.allows(stream.intended), stream.describe()
            assert len(expected.ends) == 1 or stream.intended.end is End.INCOMPLETE
            ends.add(stream.intended.end)
            valid += 1
    assert valid > 150
    assert ends == {End.COMPLETE, End.CLOSED, End.INCOMPLETE}


def test_the_cuts_are_inside_and_in_order() -> None:
    for index in range(200):
        stream = generate(4, index)
        assert list(stream.cuts) == sorted(set(stream.cuts))
        assert all(0 <= cut <= len(stream.data) for cut in stream.cuts)


def test_every_way_to_spoil_a_request_is_used() -> None:
    seen = {feature for index in range(2000) for feature in generate(5, index).features}
    assert {f"bad: {name}" for name in (*SPOILS, *CHUNK_SPOILS)} <= seen
    kinds = ("flip", "replace", "remove", "insert", "double", "cut")
    assert {f"damage: {kind}" for kind in kinds} <= seen
