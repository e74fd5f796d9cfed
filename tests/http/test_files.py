"""Files: the right ones, completely, and never others."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest
from handy_ws import FileHandler, PathHandler

from tests.http.raw_http import RawClient, Response
from tests.process import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from handy_ws import HttpServer

    from tests.http.conftest import Serve

BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory to serve, with all sorts of things in it and beside it."""
    root = tmp_path / "root"
    (root / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "root-sibling").mkdir()
    (tmp_path / "root-sibling" / "secret.txt").write_text("secret")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "hello.txt").write_text("hello")
    (root / "big.bin").write_bytes(BIG)
    (root / "empty.txt").write_text("")
    (root / "index.html").write_text("<p>root")
    (root / "sub" / "index.html").write_text("<p>sub")
    (root / "ä b.txt").write_text("umlaut")
    (root / ".hidden").write_text("dot")
    (root / "data.unknown").write_bytes(b"\x00")
    (root / "app.JS").write_text("1")
    (root / "inside.txt").symlink_to(root / "hello.txt")
    (root / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (root / "outside").symlink_to(tmp_path)
    (root / "dangling").symlink_to(tmp_path / "nothing")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    return root


@pytest.fixture
def client(serve: Serve, root: Path) -> RawClient:
    return serve.client(serve(FileHandler(root), workers=2))


def names(response: Response) -> tuple[int, bytes]:
    return response.status, response.body


@pytest.mark.parametrize(
    ("target", "body", "content_type"),
    [
        ("/hello.txt", b"hello", "text/plain; charset=utf-8"),
        ("/hello.txt?query", b"hello", "text/plain; charset=utf-8"),
        ("/hell%6F.txt", b"hello", "text/plain; charset=utf-8"),
        ("/big.bin", BIG, "application/octet-stream"),
        ("/empty.txt", b"", "text/plain; charset=utf-8"),
        ("/", b"<p>root", "text/html; charset=utf-8"),
        ("/index.html", b"<p>root", "text/html; charset=utf-8"),
        ("/sub/", b"<p>sub", "text/html; charset=utf-8"),
        ("/%C3%A4%20b.txt", b"umlaut", "text/plain; charset=utf-8"),
        ("/.hidden", b"dot", "application/octet-stream"),
        ("/data.unknown", b"\x00", "application/octet-stream"),
        ("/app.JS", b"1", "text/javascript; charset=utf-8"),
        ("/inside.txt", b"hello", "text/plain; charset=utf-8"),
    ],
)
def test_a_file_is_served(client: RawClient, target: str, body: bytes, content_type: str) -> None:
    response = client.get(target)
    assert names(response) == (200, body)
    assert response.get("Content-Type") == content_type
    assert response.get("Content-Length") == str(len(body))
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert response.get("Accept-Ranges") == "bytes"
    assert response.get("ETag")
    assert response.get("Last-Modified")


OUTSIDE = [
    "/missing.txt",
    "/../secret.txt",
    "/..%2fsecret.txt",
    "/%2e%2e/secret.txt",
    "/%2e%2e%2fsecret.txt",
    "/sub/../../secret.txt",
    "/sub/../hello.txt",
    "/./hello.txt",
    "/sub/./index.html",
    "/..%5csecret.txt",
    "/..\\secret.txt",
    "/sub%5c..%5chello.txt",
    "/%2fetc%2fpasswd",
    "//etc/passwd",
    "/%2f%2fetc/passwd",
    "//hello.txt",
    "/sub//index.html",
    "/../root-sibling/secret.txt",
    "/..%2froot-sibling%2fsecret.txt",
    "/-sibling/secret.txt",
    "/hello.txt%00",
    "/hello.txt%00.html",
    "/%00",
    "/hello.txt%0a",
    "/hello.txt/",
    "/hello.txt/x",
    "/C:%5cwindows",
    "/C:/windows",
    "/hello.txt::$DATA",
    "/outside.txt",
    "/outside/secret.txt",
    "/outside/",
    "/outside",
    "/dangling",
    "/loop",
    "/pipe",
    "/sub/empty/",
    "/%ff%fe",
    "/%c0%ae%c0%ae/secret.txt",
    "/" + "a" * 300,
    "/" + "a/" * 3000,
    "/..",
    "/../",
    "/...",
    "/~root",
]


@pytest.mark.parametrize("target", OUTSIDE, ids=[target[:40] for target in OUTSIDE])
def test_everything_else_is_404_with_the_same_body(client: RawClient, target: str) -> None:
    response = client.get(target)
    assert names(response) == (404, b"Not Found\n")
    assert names(client.get("/hello.txt")) == (200, b"hello")


@pytest.mark.parametrize("target", OUTSIDE, ids=[target[:40] for target in OUTSIDE])
def test_below_a_rule_too(serve: Serve, root: Path, target: str) -> None:
    paths = PathHandler().add("/static/<path:path>", FileHandler(root))
    response = serve.client(serve(paths, workers=1)).get("/static" + target)
    if response.status == 308:
        # werkzeug has put double slashes together, and points to itself.
        assert (response.get("Location") or "").startswith("http://localhost/static/")
    else:
        assert names(response) == (404, b"Not Found\n")


def test_a_directory_is_redirected_to_its_slash(client: RawClient) -> None:
    response = client.get("/sub?x=1")
    assert (response.status, response.get("Location")) == (308, "/sub/?x=1")


def test_below_a_rule_the_parameter_is_the_path(serve: Serve, root: Path) -> None:
    files = FileHandler(root)
    paths = PathHandler().add("/static/<path:path>", files).add("/one/<name>", files)
    client = serve.client(serve(paths))
    assert client.get("/static/hello.txt").body == b"hello"
    assert client.get("/static/sub/").body == b"<p>sub"
    assert client.get("/static/sub").get("Location") == "/static/sub/"
    assert client.get("/one/hello.txt").status == 404


def test_head_and_other_methods(client: RawClient) -> None:
    response = client.request(b"HEAD /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD")
    assert (response.status, response.get("Content-Length")) == (200, "5")
    for method in (b"POST", b"DELETE", b"OPTIONS"):
        response = client.request(method + b" /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (response.status, response.get("Allow")) == (405, "GET, HEAD")


def test_no_descriptor_is_left_open(serve: Serve, root: Path) -> None:
    server = serve(FileHandler(root), workers=1)
    client = serve.client(server)

    def visit() -> None:
        client.get("/hello.txt")
        client.get("/hello.txt", "Range: bytes=9-")
        client.get("/hello.txt", "If-None-Match: *")
        client.request(b"HEAD /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD")
        client.get("/pipe")
        client.get("/missing")
        client.get("/sub")

    visit()
    before = open_descriptors()
    for _ in range(20):
        visit()
    # The last file is closed after its last byte has been sent: another request sees it closed.
    client.get("/missing")
    assert open_descriptors() == before


def test_many_readers_of_one_file(serve: Serve, root: Path) -> None:
    server: HttpServer = serve(FileHandler(root), workers=2)
    bodies = []

    def read() -> None:
        with RawClient(server.address) as client:
            bodies.append(client.get("/big.bin").body)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [BIG] * 8


def test_the_directory_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="nothing"):
        FileHandler(tmp_path / "nothing")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError, match="file"):
        FileHandler(str(tmp_path / "file"))


def test_the_directory_itself_may_be_a_link(serve: Serve, root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    client = serve.client(serve(FileHandler(tmp_path / "link")))
    assert client.get("/hello.txt").body == b"hello"
