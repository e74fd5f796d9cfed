"""TLS from the command line: a certificate, and a new one without a restart."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Files
from tests.http.raw_http import RawClient
from tests.http.tls_clients import certificate_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Authority
    from tests.cli.conftest import Serve

HELLO = """
from handy_ws import HttpResponse


def hello(context):
    return HttpResponse(context.request.scheme)
"""


def test_a_new_certificate_needs_no_restart(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost")
    files = Files(tmp_path, first)
    serve.write(HELLO)
    program = serve(
        "program:hello",
        *("--tls-certificate", str(files.issued.certificate)),
        *("--tls-private-key", str(files.issued.private_key)),
    )
    port = int(program.line(r"^Serving on https://127\.0\.0\.1:(\d+)$")[1])

    def client() -> RawClient:
        return RawClient(("127.0.0.1", port), context=authority.client())

    with client() as old:
        assert certificate_of(old) == first.der
        files.replace(second)
        program.process.send_signal(signal.SIGHUP)
        program.wait_for_error("the server has read its TLS certificate anew")
        with client() as new:
            assert certificate_of(new) == second.der
            assert new.get().body == b"https"

        files.issued.certificate.write_text("nonsense")
        program.process.send_signal(signal.SIGHUP)
        program.wait_for_error("the server has not read its TLS certificate anew: certificate ")
        with client() as new:
            assert certificate_of(new) == second.der
        assert old.get().body == b"https"
    assert program.end(signal.SIGTERM) == 0


@pytest.fixture
def hangup() -> Iterator[None]:
    """Let processes begin without the SIGHUP that is ignored under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangup")
def test_without_a_certificate_there_is_nothing_to_read_anew(serve: Serve) -> None:
    serve.write(HELLO)
    program = serve("program:hello")
    program.address()
    assert program.end(signal.SIGHUP) == -signal.SIGHUP
