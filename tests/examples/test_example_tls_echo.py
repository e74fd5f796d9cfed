"""The example that speaks TLS, with the certificate that it makes and with one of ours."""

from __future__ import annotations

import asyncio
import signal
import ssl
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from tests.asynchronous import run
from tests.certificates import Files
from tests.examples.example_process import DEADLINE, Example

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.certificates import Authority


def talk(example: Example, context: ssl.SSLContext) -> bytes | None:
    """Have a message echoed, and return the certificate of the server."""

    async def echo() -> bytes | None:
        async with (
            asyncio.timeout(DEADLINE),
            connect(example.url(scheme="wss"), ssl=context) as client,
        ):
            await client.send("hello")
            assert await client.recv() == "hello"
            session = client.transport.get_extra_info("ssl_object")
            assert isinstance(session, ssl.SSLObject)
            return session.getpeercert(binary_form=True)

    return run(echo())


def test_with_the_certificate_that_it_makes(start: Callable[[str], Example]) -> None:
    example = start("tls_echo.py")
    trust = example.wait_for_line("SSL_CERT_FILE=(.+)")
    context = ssl.create_default_context(cafile=trust[1])
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 does by itself
    assert talk(example, context)


def test_a_signal_says_goodbye(start: Callable[[str], Example]) -> None:
    example = start("tls_echo.py")
    trust = example.wait_for_line("SSL_CERT_FILE=(.+)")
    context = ssl.create_default_context(cafile=trust[1])

    async def listen() -> int | None:
        async with connect(example.url(scheme="wss"), ssl=context) as client:
            await asyncio.to_thread(example.end, signal.SIGINT)
            assert [message async for message in client] == []
        return client.close_code

    assert run(listen()) == 1001


def test_a_sighup_reloads(tmp_path: Path, authority: Authority) -> None:
    first, second = authority.issue("127.0.0.1"), authority.issue("127.0.0.1")
    files = Files(tmp_path, first)
    options = ("--certificate", files.issued.certificate, "--private-key", files.issued.private_key)
    with Example("tls_echo.py", tmp_path, *map(str, options)) as example:
        assert talk(example, authority.client()) == first.der
        files.replace(second)
        example.process.send_signal(signal.SIGHUP)
        for _ in range(1000):
            if talk(example, authority.client()) == second.der:
                break
        else:
            pytest.fail("it has not read the new certificate")
