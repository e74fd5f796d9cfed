"""New certificates for a server that runs, and what becomes of those who are connected."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpServer, ServerConfig

from tests.certificates import Files
from tests.http.raw_http import RawClient
from tests.http.tls_clients import Engine, Visitor, certificate_of

if TYPE_CHECKING:
    from handy_ws import HttpRequestContext

    from tests.certificates import Authority
    from tests.http.conftest import Serve


def hello(context: HttpRequestContext) -> None:
    context.response.data = b"hello"


def test_new_connections_get_the_new_certificate_and_old_ones_go_on(
    serve: Serve, authority: Authority, tls_version: str, tmp_path: Path
) -> None:
    first, second = authority.issue("localhost"), authority.issue("localhost")
    files = Files(tmp_path, first)
    server = serve(hello, tls=files.config())
    context = authority.client(tls_version)
    old = serve.client(server, context=context)
    half_made = Engine(server.address, context)
    half_made.send(next(half_made.flights()))
    visitor = Visitor(server, context)
    assert visitor.visit() == (False, b"hello")
    files.replace(second)
    unaware = serve.client(server, context=context)
    server.reload_tls()
    new = serve.client(server, context=context)
    assert list(map(certificate_of, (old, unaware, new))) == [first.der, first.der, second.der]
    for client in (old, unaware, new):
        assert client.get().body == b"hello"
    half_made.feed()
    half_made.shake()
    assert half_made.session.getpeercert(binary_form=True) == first.der
    half_made.raw.sock.close()
    assert visitor.visit() == (False, b"hello"), "resumption starts afresh"
    assert visitor.visit() == (True, b"hello")


def test_client_authorities_are_reloaded_too(
    serve: Serve, authority: Authority, other_authority: Authority, tmp_path: Path
) -> None:
    files = Files(tmp_path, authority.server, authority.file)
    server = serve(hello, tls=files.config())
    ours = authority.client("1.2", authority.issue("a@example.com"))
    theirs = authority.client("1.2", other_authority.issue("b@example.com"))
    old = serve.client(server, context=ours)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serve.client(server, context=theirs)
    files.replace(authority.server, other_authority.file)
    server.reload_tls()
    assert serve.client(server, context=theirs).get().status == 200
    assert old.get().status == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        serve.client(server, context=ours)


@pytest.mark.parametrize("field", ["certificate", "private_key", "client_ca"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nA"])
def test_bad_files_leave_all_as_it_was(
    serve: Serve, authority: Authority, tmp_path: Path, field: str, content: bytes | None
) -> None:
    files = Files(tmp_path, authority.server, authority.file)
    server = serve(hello, tls=files.config())
    context = authority.client(None, authority.issue("somebody@example.com"))
    visitor = Visitor(server, context)
    visitor.visit()
    path = getattr(files.config(), field)
    if content is None:
        Path(path).unlink()
    else:
        Path(path).write_bytes(content)
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^{field} "):
            server.reload_tls()
        assert visitor.visit()[0] is True
        client = serve.client(server, context=context)
        assert certificate_of(client) == authority.server.der
        assert client.get().status == 200


def test_a_new_certificate_with_the_old_key_leaves_all_as_it_was(
    serve: Serve, authority: Authority, tmp_path: Path
) -> None:
    files = Files(tmp_path, authority.server)
    server = serve(hello, tls=files.config())
    new = authority.issue("localhost")
    files.issued.certificate.write_bytes(new.certificate.read_bytes())
    with pytest.raises(ValueError, match=r"^private_key "):
        server.reload_tls()
    assert certificate_of(serve.client(server, context=authority.client())) == authority.server.der
    files.issued.private_key.write_bytes(new.private_key.read_bytes())
    server.reload_tls()
    assert certificate_of(serve.client(server, context=authority.client())) == new.der


def test_nobody_is_dropped_by_reloads(serve: Serve, authority: Authority, tmp_path: Path) -> None:
    both = [authority.issue("localhost"), authority.issue("localhost")]
    files = Files(tmp_path, both[0])
    server = serve(hello, tls=files.config())
    context = authority.client()
    seen: set[bytes] = set()
    over = threading.Event()
    failures: list[Exception] = []

    def visit() -> None:
        try:
            while not over.is_set():
                with RawClient(server.address, context=context) as client:
                    assert client.get().body == b"hello"
                    seen.add(certificate_of(client))
        except Exception as error:  # noqa: BLE001 - whatever it is, the test says so
            failures.append(error)

    visitors = [threading.Thread(target=visit) for _ in range(2)]
    for visitor in visitors:
        visitor.start()
    for number in range(50):
        files.replace(both[number % 2])
        server.reload_tls()
    over.set()
    for visitor in visitors:
        visitor.join()
    assert failures == []
    assert seen <= {issued.der for issued in both}


def test_a_server_that_does_not_run_reloads_as_well(authority: Authority, tmp_path: Path) -> None:
    files = Files(tmp_path, authority.issue("localhost"))
    server = HttpServer(hello, ServerConfig(port=0, tls=files.config()))
    files.replace(authority.server)
    server.reload_tls()
    for _ in range(2):
        with server, RawClient(server.address, context=authority.client()) as client:
            assert certificate_of(client) == authority.server.der


def test_a_server_without_tls_has_nothing_to_reload() -> None:
    with pytest.raises(RuntimeError, match=r"ServerConfig\.tls"):
        HttpServer(hello).reload_tls()
