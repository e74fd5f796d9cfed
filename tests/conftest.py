"""What holds for all tests: no server leaves a thread behind, and property tests are repeatable.

And the certificates, which are made once; and which tests may run beside which.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.certificates import Authority
from tests.side_by_side import turn

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

PATIENCE = 10.0  # seconds

# The same examples every time, and no verdict about time: a busy machine is no failure.
settings.register_profile("handy_ws", derandomize=True, deadline=None)
settings.load_profile("handy_ws")

# With --hypothesis-profile=fuzz: many examples, others each time, and how to get a bad one again.
settings.register_profile(
    "fuzz", derandomize=False, deadline=None, max_examples=500, print_blob=True
)


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before any clock of pytest-timeout's starts
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let tests that are marked `alone` be alone, if there are several workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    assert item.config.cache is not None
    alone = item.get_closest_marker("alone") is not None
    with turn(item.config.cache.mkdir("side-by-side"), alone=alone):
        return (yield)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that clients trust, with a certificate for servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other_authority"))


@pytest.fixture(params=["1.2", "1.3"])
def tls_version(request: pytest.FixtureRequest) -> str:
    """Each version of TLS that is spoken."""
    version: str = request.param
    return version


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
