"""Other servers, for the tests of what goes on beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.beside.other_server import COMMANDS, OtherServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module", params=COMMANDS)
def server(request: pytest.FixtureRequest) -> Iterator[OtherServer]:
    """One of each kind for all the tests of a module; in the end it must not have complained."""
    with OtherServer(request.param) as running:
        yield running
