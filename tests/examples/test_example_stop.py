"""Every example starts, tells its address, and stops on a signal, with or without clients."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from websockets.sync.client import connect

from tests.examples.example_process import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.example_process import Example

PATHS = {
    "printer.py": "/",
    "echo.py": "/",
    "broadcast_from_http.py": "/ws",
    "saved_connections.py": "/",
    "thread_pool.py": "/",
    "executor.py": "/",
    "gunicorn_app.py": "/chat",
    "chat/server.py": "/chat",
}
WITH_A_LOGIN = {"flask_app.py", "django_app.py"}  # the clients of these are browsers
WITH_TLS = {"tls_echo.py"}  # whose own test says goodbye to clients
SIGNALS = [signal.SIGINT, signal.SIGTERM]


def test_no_example_is_forgotten() -> None:
    scripts = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.py")}
    assert scripts == set(PATHS) | WITH_A_LOGIN | WITH_TLS


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("script", PATHS)
def test_a_signal_says_goodbye_to_clients_and_ends_it_cleanly(
    script: str, number: signal.Signals, start: Callable[[str], Example]
) -> None:
    example = start(script)
    with connect(example.url(PATHS[script])) as client:
        example.end(number)
        list(client)  # what came before; ends with the connection
    assert client.close_code == 1001


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("script", [*PATHS, *sorted(WITH_A_LOGIN | WITH_TLS)])
def test_a_signal_with_nobody_there(
    script: str, number: signal.Signals, start: Callable[[str], Example]
) -> None:
    start(script).end(number)
