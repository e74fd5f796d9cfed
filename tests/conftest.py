"""What holds for all tests: no server leaves a thread behind, and property tests are repeatable."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 10.0  # seconds

# The same examples every time, and no verdict about time: a busy machine is no failure.
settings.register_profile("handy_ws", derandomize=True, deadline=None)
settings.load_profile("handy_ws")

# With --hypothesis-profile=fuzz: many examples, others each time, and how to get a bad one again.
settings.register_profile(
    "fuzz", derandomize=False, deadline=None, max_examples=500, print_blob=True
)


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """Every thread of handy_ws that a test has started ends with it."""
    before = set(threading.enumerate())
    yield
    ours = [
        thread
        for thread in threading.enumerate()
        if thread not in before and thread.name.startswith("handy-ws")
    ]
    deadline = time.monotonic() + PATIENCE
    for thread in ours:
        thread.join(max(0.0, deadline - time.monotonic()))
    assert [thread.name for thread in ours if thread.is_alive()] == []
