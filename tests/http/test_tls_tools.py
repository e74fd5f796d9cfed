"""Clients that people use: curl and `openssl s_client` over https."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpResponse

from tests.certificates import EXPIRED
from tests.http.raw_http import DEADLINE, RawClient

if TYPE_CHECKING:
    from pathlib import Path

    from handy_ws import HttpRequestContext, HttpServer

    from tests.certificates import Authority
    from tests.http.conftest import Serve

BIG = b"0123456789abcdef" * 65536 * 4  # 4 MiB
CANNOT_CONNECT, NO_GOOD_CERTIFICATE, CANNOT_READ = 35, 60, 56  # exit codes of curl


def answer(context: HttpRequestContext) -> HttpResponse | None:
    match context.head.path:
        case "/big":
            return HttpResponse(BIG)
        case "/streamed":
            return HttpResponse(iter([BIG[:1_000_000], BIG[1_000_000:]]))
    certificate = context.request.client_certificate
    body = context.request.get_data() or certificate or context.head.path
    return HttpResponse(body, mimetype="application/octet-stream")


@pytest.fixture
def server(serve: Serve, authority: Authority) -> HttpServer:
    return serve(answer, tls=authority.server.config())


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"there is no {name}: apt-get install {name}")
    return path


def is_alive(server: HttpServer, authority: Authority) -> bool:
    with RawClient(server.address, context=authority.client()) as client:
        return client.get("/alive").body == b"/alive"


# curl


class Curl:
    """curl, with what it trusts."""

    def __init__(self, server: HttpServer, authority: Authority | None) -> None:
        self._url = "https://{}:{}".format(*server.address)
        self._authority = authority

    def __call__(
        self, *arguments: str | Path, paths: tuple[str, ...] = ("/",)
    ) -> tuple[int, bytes]:
        """Return its exit code and its output."""
        trust = [] if self._authority is None else ["--cacert", str(self._authority.file)]
        urls = [self._url + path for path in paths]
        result = subprocess.run(
            [tool("curl"), "--silent", "--noproxy", "*", *trust, *arguments, *urls],
            capture_output=True,
            timeout=DEADLINE * 2,
            check=False,
        )
        return result.returncode, result.stdout


@pytest.fixture
def curl(server: HttpServer, authority: Authority) -> Curl:
    return Curl(server, authority)


def test_curl_with_each_version(curl: Curl, tls_version: str) -> None:
    only = (f"--tlsv{tls_version}", "--tls-max", tls_version)
    assert curl(*only, paths=("/path",)) == (0, b"/path")


def test_curl_reads_large_responses(curl: Curl) -> None:
    assert curl(paths=("/big",)) == (0, BIG)
    assert curl(paths=("/streamed",)) == (0, BIG)


@pytest.mark.parametrize("chunked", [False, True], ids=["sized", "chunked"])
def test_curl_uploads(curl: Curl, tmp_path: Path, *, chunked: bool) -> None:
    (tmp_path / "big").write_bytes(BIG)
    header = ("--header", "Transfer-Encoding: chunked") if chunked else ()
    assert curl(*header, "--upload-file", tmp_path / "big", paths=("/upload",)) == (0, BIG)


def test_curl_asks_for_the_head_only(curl: Curl) -> None:
    code, output = curl("--head", paths=("/big",))
    assert (code, output[:15]) == (0, b"HTTP/1.1 200 OK")
    assert b"Content-Length: %d\r\n" % len(BIG) in output


def test_curl_keeps_its_connection(curl: Curl) -> None:
    report = ("--write-out", "[%{num_connects} %{http_version} %{scheme}]")
    code, output = curl(*report, paths=("/1", "/2", "/3"))
    assert code == 0
    assert output.lower() == b"/1[1 1.1 https]/2[0 1.1 https]/3[0 1.1 https]"


def test_curl_that_prefers_http_2_speaks_http_1_1(curl: Curl) -> None:
    assert curl("--http2", "--write-out", " %{http_version}") == (0, b"/ 1.1")


def test_curl_refuses_certificates_that_are_not_good(serve: Serve, authority: Authority) -> None:
    expired = authority.issue("127.0.0.1", **EXPIRED)
    for issued in (expired, authority.issue("example.com")):
        server = serve(answer, tls=issued.config())
        assert Curl(server, authority)() == (NO_GOOD_CERTIFICATE, b"")
        assert Curl(server, authority)("--insecure") == (0, b"/")
    server = serve(answer, tls=authority.server.config())
    assert Curl(server, None)() == (NO_GOOD_CERTIFICATE, b"")


def test_curl_with_a_client_certificate(
    serve: Serve, authority: Authority, other_authority: Authority
) -> None:
    curl = Curl(serve(answer, tls=authority.server.config(client_ca=authority.file)), authority)
    issued = authority.issue("somebody@example.com")
    assert curl("--cert", issued.certificate, "--key", issued.private_key) == (0, issued.der)
    stranger = other_authority.issue("somebody@example.com")
    for options in ((), ("--cert", stranger.certificate, "--key", stranger.private_key)):
        code, output = curl(*options)
        assert (code in {CANNOT_CONNECT, CANNOT_READ}, output) == (True, b"")


# openssl s_client


class OpenSsl:
    """`openssl s_client`, connected to a server."""

    def __init__(self, server: HttpServer, authority: Authority, *options: str | Path) -> None:
        self._output = b""
        self._process = subprocess.Popen(
            [
                *(tool("openssl"), "s_client", "-connect", "{}:{}".format(*server.address)),
                *("-servername", "localhost", "-CAfile", authority.file, "-verify_return_error"),
                *options,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def write(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def wait_for(self, mark: str) -> None:
        """Read its output up to a mark."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        os.set_blocking(descriptor, False)
        until = time.monotonic() + DEADLINE
        while mark.encode() not in self._output:
            assert time.monotonic() < until, self._output
            try:
                data = os.read(descriptor, 65536)
            except BlockingIOError:
                time.sleep(0.002)
            else:
                assert data, self._output
                self._output += data
        self._output = self._output.partition(mark.encode())[2]

    def end(self) -> str:
        """Close its input, and return what it has said since."""
        try:
            output, _ = self._process.communicate(timeout=DEADLINE)
        finally:
            self._process.kill()
            self._process.communicate()
        return (self._output + (output or b"")).decode(errors="replace")


REQUEST = "GET /path HTTP/1.1\nHost: localhost\n\n".replace("\n", "\r\n")
LAST_REQUEST = REQUEST.replace("Host", "Connection: close\r\nHost")


def test_s_client(server: HttpServer, authority: Authority, tls_version: str) -> None:
    option = "-tls" + tls_version.replace(".", "_")
    client = OpenSsl(server, authority, option, "-ign_eof", "-alpn", "h2,http/1.1")
    client.write(REQUEST)
    client.wait_for("ALPN protocol: http/1.1")
    client.wait_for("Verify return code: 0 (ok)")
    client.wait_for("HTTP/1.1 200 OK\r\n")
    client.wait_for("/path")
    client.write(LAST_REQUEST)
    assert "/path" in client.end()


def test_s_client_resumes_its_session(
    server: HttpServer, authority: Authority, tls_version: str, tmp_path: Path
) -> None:
    option = "-tls" + tls_version.replace(".", "_")
    file = tmp_path / "session"
    said = []
    for direction in ("-sess_out", "-sess_in"):
        client = OpenSsl(server, authority, option, "-ign_eof", direction, file)
        client.write(LAST_REQUEST)
        said.append(client.end())
    assert f"New, TLSv{tls_version}" in said[0]
    assert f"Reused, TLSv{tls_version}" in said[1]
    assert all("HTTP/1.1 200 OK" in output for output in said)


def test_s_client_updates_its_keys(server: HttpServer, authority: Authority) -> None:
    client = OpenSsl(server, authority, "-tls1_3")
    client.wait_for("Verify return code: 0 (ok)")
    for command in ("k\n", "K\n"):  # its own; and the server's, too
        client.write(command)
        client.wait_for("KEYUPDATE")
        client.write(REQUEST)
        client.wait_for("HTTP/1.1 200 OK\r\n")
        client.wait_for("/path")
    client.write("Q\n")
    client.end()


def test_s_client_that_renegotiates_is_refused(server: HttpServer, authority: Authority) -> None:
    client = OpenSsl(server, authority, "-tls1_2")
    client.wait_for("Verify return code: 0 (ok)")
    client.write("R\n")
    client.wait_for("RENEGOTIATING")
    assert "HTTP/1.1 200" not in client.end()
    assert is_alive(server, authority)
