"""Whose certificates are accepted by whom, and what becomes of new ones."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import pytest
from trustme import KeyType

from tests.certificates import EXPIRED, NOT_YET_VALID
from tests.http.tls_clients import Visitor, certificate_of

if TYPE_CHECKING:
    from handy_ws import HttpRequestContext, HttpServer

    from tests.certificates import Authority
    from tests.http.conftest import Serve


def hello(context: HttpRequestContext) -> None:
    certificate = context.request.client_certificate
    context.response.data = b"hello" if certificate is None else certificate


# Servers


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("localhost", EXPIRED, "certificate has expired"),
        ("localhost", NOT_YET_VALID, "certificate is not yet valid"),
        ("example.com", {}, "Hostname mismatch"),
        ("*.localhost", {}, "Hostname mismatch"),
    ],
    ids=["expired", "not yet valid", "another host", "another host's wildcard"],
)
def test_a_certificate_that_is_not_good_is_refused_by_the_client(
    serve: Serve, authority: Authority, name: str, options: dict[str, Any], reason: str
) -> None:
    config = authority.issue(name, **options).config()  # the server itself does not mind
    server = serve(hello, tls=config)
    context = authority.client()
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        serve.client(server, context=context)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    assert serve.client(server, context=context).get().body == b"hello"


def test_an_authority_that_is_not_trusted_is_refused_by_the_client(
    serve: Serve, authority: Authority, other_authority: Authority
) -> None:
    server = serve(hello, tls=authority.server.config())
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        serve.client(server, context=other_authority.client())


@pytest.mark.parametrize("kind", [KeyType.RSA, KeyType.ECDSA], ids=["RSA", "ECDSA"])
def test_kinds_of_keys(serve: Serve, authority: Authority, tls_version: str, kind: KeyType) -> None:
    issued = authority.issue("localhost", key_type=kind)
    client = serve.client(serve(hello, tls=issued.config()), context=authority.client(tls_version))
    assert client.get().body == b"hello"
    assert certificate_of(client) == issued.der


# Clients


@pytest.fixture
def server(serve: Serve, authority: Authority) -> HttpServer:
    return serve(hello, workers=1, tls=authority.server.config())


@pytest.fixture
def strict(serve: Serve, authority: Authority) -> HttpServer:
    """A server that wants clients to have certificates."""
    return serve(hello, workers=1, tls=authority.server.config(client_ca=authority.file))


def test_a_client_certificate_is_known_to_requests(
    serve: Serve, strict: HttpServer, authority: Authority, tls_version: str
) -> None:
    issued = authority.issue("somebody@example.com")
    client = serve.client(strict, context=authority.client(tls_version, issued))
    for _ in range(2):
        assert client.get().body == issued.der


def test_a_client_certificate_is_known_as_pem(serve: Serve, authority: Authority) -> None:
    seen: list[Any] = []
    config = authority.server.config(client_ca=authority.file)
    server = serve(
        lambda context: seen.append(context.request.environ["SSL_CLIENT_CERT"]), tls=config
    )
    issued = authority.issue("somebody@example.com")
    assert serve.client(server, context=authority.client(None, issued)).get().status == 200
    assert issued.certificate.read_text().startswith(seen[0])
    assert ssl.PEM_cert_to_DER_cert(seen[0]) == issued.der


def refusal(serve: Serve, server: HttpServer, context: ssl.SSLContext) -> str:
    """Return why the server ends the connection. In TLS 1.3 the client hears it when it reads."""
    with pytest.raises(ssl.SSLError) as caught:
        serve.client(server, context=context).sock.recv(1)
    return caught.value.reason


def test_a_client_without_a_certificate_is_refused(
    serve: Serve, strict: HttpServer, authority: Authority, tls_version: str
) -> None:
    reason = refusal(serve, strict, authority.client(tls_version))
    assert reason.endswith("ALERT_CERTIFICATE_REQUIRED")


def test_a_client_of_another_authority_is_refused(
    serve: Serve,
    strict: HttpServer,
    authority: Authority,
    other_authority: Authority,
    tls_version: str,
) -> None:
    stranger = other_authority.issue("somebody@example.com")
    reason = refusal(serve, strict, authority.client(tls_version, stranger))
    assert reason.endswith("ALERT_UNKNOWN_CA")


def test_a_client_whose_certificate_has_expired_is_refused(
    serve: Serve, strict: HttpServer, authority: Authority, tls_version: str
) -> None:
    expired = authority.issue("somebody@example.com", **EXPIRED)
    reason = refusal(serve, strict, authority.client(tls_version, expired))
    assert reason.endswith("ALERT_CERTIFICATE_EXPIRED")


def test_no_certificate_is_asked_for_by_default(serve: Serve, authority: Authority) -> None:
    server = serve(hello, tls=authority.server.config())
    issued = authority.issue("somebody@example.com")
    client = serve.client(server, context=authority.client(None, issued))
    assert client.get().body == b"hello"


# Resumption


def test_sessions_are_resumed(server: HttpServer, authority: Authority, tls_version: str) -> None:
    visitor = Visitor(server, authority.client(tls_version))
    assert visitor.visit() == (False, b"hello")
    for _ in range(3):
        assert visitor.visit() == (True, b"hello")


def test_a_client_certificate_is_known_in_a_resumed_session(
    strict: HttpServer, authority: Authority, tls_version: str
) -> None:
    issued = authority.issue("somebody@example.com")
    visitor = Visitor(strict, authority.client(tls_version, issued))
    assert visitor.visit() == (False, issued.der)
    assert visitor.visit() == (True, issued.der)


def test_a_session_is_of_use_to_its_own_server_only(
    serve: Serve, server: HttpServer, authority: Authority, tls_version: str
) -> None:
    context = authority.client(tls_version)
    visitor = Visitor(server, context)
    assert visitor.visit() == (False, b"hello")
    visitor.server = serve(hello, tls=authority.server.config())
    assert visitor.visit() == (False, b"hello")
