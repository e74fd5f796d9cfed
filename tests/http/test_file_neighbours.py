"""Files that have been compressed before, as neighbours of what they are made of."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import FileHandler, PathHandler

from tests.http.raw_http import RawClient, Response, get
from tests.process import open_descriptors

if TYPE_CHECKING:
    from pathlib import Path

    from tests.http.conftest import Serve

MODIFIED = 1_700_000_000_000_000_000  # nanoseconds
SCRIPT = "text/javascript; charset=utf-8"
PLAIN = b"let answer = 42;\n" * 100
# Not what these codings make: a server of files does not look inside.
ENCODED = {"br": b"brotli brotli", "zstd": b"zstandard", "gzip": gzip.compress(PLAIN, mtime=0)}
SUFFIXES = {"br": ".br", "zstd": ".zst", "gzip": ".gz"}


def write(path: Path, content: bytes, modified: int = MODIFIED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(modified, modified))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory with files that have all neighbours, one, or none."""
    root = tmp_path / "root"
    for name in ("app.js", "sub/index.html", "index.html"):
        write(root / name, PLAIN)
        for coding, suffix in SUFFIXES.items():
            write(root / (name + suffix), ENCODED[coding])
    write(root / "one.js", PLAIN)
    write(root / "one.js.gz", ENCODED["gzip"])
    write(root / "none.js", PLAIN)
    return root


@pytest.fixture
def client(serve: Serve, root: Path) -> RawClient:
    return serve.client(serve(FileHandler(root), workers=1))


def accept(client: RawClient, target: str, value: str | None, *fields: str) -> Response:
    own = [] if value is None else [f"Accept-Encoding: {value}"]
    return client.get(target, *own, *fields)


CHOICES: list[tuple[str | None, str | None]] = [
    (None, None),
    ("", None),
    ("gzip", "gzip"),
    ("GZip", "gzip"),
    ("x-gzip", "gzip"),
    ("br", "br"),
    ("zstd", "zstd"),
    ("deflate", None),
    ("compress, deflate", None),
    ("identity", None),
    # What browsers send, and equals: the best one of ours.
    ("gzip, deflate, br, zstd", "br"),
    ("gzip, deflate", "gzip"),
    ("zstd, gzip", "zstd"),
    (" ,gzip\t,, br ", "br"),
    # Weights.
    ("gzip;q=0.5, br;q=0.4", "gzip"),
    ("gzip; q=0.501, br ; q=0.5", "gzip"),
    ("gzip;Q=0.5, br;Q=1.000", "br"),
    ("gzip;q=0.001", "gzip"),
    ("gzip;q=0", None),
    ("gzip;q=0.000", None),
    ("gzip;q=0, br", "br"),
    ("br;q=0, *", "zstd"),
    ("br;q=0, zstd;q=0, x-gzip", "gzip"),
    ("x-gzip;q=0, gzip", None),
    ("identity, gzip;q=0.5", None),
    ("identity;q=0.5, gzip;q=0.5", "gzip"),
    ("identity;q=0.4, gzip;q=0.5", "gzip"),
    ("identity;q=0, gzip", "gzip"),
    ("identity;q=0, br;q=0, *;q=0.1", "zstd"),
    # Everything else.
    ("*", "br"),
    ("*;q=0.1", "br"),
    ("gzip, *;q=0.1", "gzip"),
    ("gzip, *;q=0", "gzip"),
    ("identity, *;q=0", None),
    ("identity, *;q=0.5", None),
    # Weights that are none: as if that coding were not there.
    ("gzip;q=2", None),
    ("gzip;q=-1", None),
    ("gzip;q=x, br;q=0.1", "br"),
    ("gzip;q=1.1", None),
    ("gzip;q", None),
    ("gzip;", "gzip"),
    ("gzip;level=9", None),
]


@pytest.mark.parametrize(("value", "coding"), CHOICES)
def test_the_best_acceptable_coding_is_sent(
    client: RawClient, value: str | None, coding: str | None
) -> None:
    response = accept(client, "/app.js", value)
    body = PLAIN if coding is None else ENCODED[coding]
    assert (response.status, response.body) == (200, body)
    assert response.get("Content-Encoding") == coding
    assert response.get("Content-Length") == str(len(body))
    assert response.get("Content-Type") == SCRIPT
    assert response.get("Vary") == "Accept-Encoding"
    assert response.get("X-Content-Type-Options") == "nosniff"
    assert response.get("Accept-Ranges") == "bytes"


def test_several_fields_are_one_list(client: RawClient) -> None:
    response = client.get("/app.js", "Accept-Encoding: gzip", "Accept-Encoding: br")
    assert response.get("Content-Encoding") == "br"


@pytest.mark.parametrize("value", ["identity;q=0", "*;q=0", "gzip;q=0, *;q=0", "deflate, *;q=0"])
@pytest.mark.parametrize("target", ["/app.js", "/none.js"])
def test_if_nothing_is_acceptable_nothing_is_sent(
    client: RawClient, target: str, value: str
) -> None:
    response = accept(client, target, value)
    assert (response.status, response.body) == (406, b"Not Acceptable\n")
    assert client.get(target).status == 200
    assert accept(client, "/missing.js", value).status == 404


@pytest.mark.parametrize(
    ("target", "value", "coding"),
    [
        ("/one.js", "br, gzip", "gzip"),
        ("/one.js", "br;q=1, gzip;q=0.1", "gzip"),
        ("/one.js", "br", None),
        ("/one.js", "br, identity;q=0.9, gzip;q=0.5", None),
    ],
)
def test_only_what_is_there_can_be_chosen(
    client: RawClient, target: str, value: str, coding: str | None
) -> None:
    response = accept(client, target, value)
    assert response.get("Content-Encoding") == coding
    assert response.get("Vary") == "Accept-Encoding"


def test_without_neighbours_nothing_depends_on_the_client(client: RawClient) -> None:
    response = accept(client, "/none.js", "br, gzip")
    assert (response.status, response.body) == (200, PLAIN)
    assert response.get("Vary") is None


def test_the_page_of_a_directory_has_neighbours_too(client: RawClient) -> None:
    for target in ("/", "/sub/", "/index.html"):
        response = accept(client, target, "gzip")
        assert response.body == ENCODED["gzip"]
        assert response.get("Content-Type") == "text/html; charset=utf-8"


def test_below_a_rule_too(serve: Serve, root: Path) -> None:
    paths = PathHandler().add("/static/<path:path>", FileHandler(root))
    assert accept(serve.client(serve(paths)), "/static/app.js", "br").body == ENCODED["br"]


def test_a_neighbour_is_a_file_as_well(client: RawClient) -> None:
    for suffix, content_type in (
        (".gz", "application/gzip"),
        (".zst", "application/zstd"),
        (".br", "application/octet-stream"),
    ):
        response = accept(client, "/app.js" + suffix, "gzip, br, zstd")
        assert response.get("Content-Type") == content_type
        assert response.get("Content-Encoding") is None
        assert response.get("Vary") is None


def test_it_can_be_switched_off(serve: Serve, root: Path) -> None:
    client = serve.client(serve(FileHandler(root, precompressed=False)))
    response = accept(client, "/app.js", "br, gzip")
    assert (response.body, response.get("Vary")) == (PLAIN, None)
    assert accept(client, "/app.js", "identity;q=0").status == 406


# Caches


def test_each_coding_has_its_own_entity_tag(client: RawClient) -> None:
    tags = [accept(client, "/app.js", value).get("ETag") for value in (None, "br", "zstd", "gzip")]
    assert len(set(tags)) == 4


def test_files_of_one_length_have_tags_of_their_own(client: RawClient, root: Path) -> None:
    write(root / "one.js.gz", PLAIN)  # the same length at the same time
    plain, encoded = client.get("/one.js"), accept(client, "/one.js", "gzip")
    assert plain.get("ETag") != encoded.get("ETag")


def test_conditions_are_those_of_the_encoded_representation(client: RawClient) -> None:
    plain = client.get("/app.js").get("ETag")
    encoded = accept(client, "/app.js", "gzip").get("ETag")
    same = accept(client, "/app.js", "gzip", f"If-None-Match: {encoded}")
    assert (same.status, same.get("ETag"), same.get("Vary")) == (304, encoded, "Accept-Encoding")
    for coding, tag in (("gzip", plain), ("identity", encoded), ("br", encoded)):
        assert accept(client, "/app.js", coding, f"If-None-Match: {tag}").status == 200
        assert accept(client, "/app.js", coding, f"If-Match: {tag}").status == 412


def test_ranges_are_those_of_the_encoded_representation(client: RawClient) -> None:
    whole = ENCODED["gzip"]
    tag = accept(client, "/app.js", "gzip").get("ETag")
    response = accept(client, "/app.js", "gzip", "Range: bytes=5-9", f"If-Range: {tag}")
    assert (response.status, response.body) == (206, whole[5:10])
    assert response.get("Content-Range") == f"bytes 5-9/{len(whole)}"
    assert response.get("Content-Encoding") == "gzip"
    other = accept(client, "/app.js", "br", "Range: bytes=5-9", f"If-Range: {tag}")
    assert (other.status, other.body) == (200, ENCODED["br"])
    beyond = accept(client, "/app.js", "gzip", f"Range: bytes={len(whole)}-")
    assert (beyond.status, beyond.get("Content-Range")) == (416, f"bytes */{len(whole)}")


def test_head_tells_what_get_would_send(client: RawClient) -> None:
    request = get("/app.js", "Accept-Encoding: gzip").replace(b"GET", b"HEAD", 1)
    response = client.request(request, "HEAD")
    assert response.get("Content-Encoding") == "gzip"
    assert response.get("Content-Length") == str(len(ENCODED["gzip"]))


# What is no neighbour


def only_plain(client: RawClient) -> None:
    response = accept(client, "/one.js", "gzip")
    assert (response.status, response.body) == (200, PLAIN)
    assert response.get("Content-Encoding") is None
    assert response.get("Vary") is None


@pytest.mark.parametrize("older_by", [1, 1_000_000, 10**9, 3600 * 10**9])
def test_a_neighbour_that_is_older_is_a_leftover(
    client: RawClient, root: Path, older_by: int
) -> None:
    modified = MODIFIED + 987_654_321
    write(root / "one.js", PLAIN, modified)
    write(root / "one.js.gz", ENCODED["gzip"], modified - older_by)
    only_plain(client)


@pytest.mark.parametrize("modified", [MODIFIED + 5, MODIFIED + 6, MODIFIED])
def test_a_neighbour_of_the_same_time_is_current(
    client: RawClient, root: Path, modified: int
) -> None:
    # The last one is of a tool that cuts the time off at the second.
    write(root / "one.js", PLAIN, MODIFIED + 5)
    write(root / "one.js.gz", ENCODED["gzip"], modified)
    assert accept(client, "/one.js", "gzip").body == ENCODED["gzip"]


def make_directory(path: Path, _: Path) -> None:
    write(path / "index.html", b"inside")


def link_outside(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def link_to_directory(path: Path, outside: Path) -> None:
    path.symlink_to(outside.parent)


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("nothing"))


def link_to_itself(path: Path, _: Path) -> None:
    path.symlink_to(path)


def make_pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make",
    [make_directory, link_outside, link_to_directory, link_to_nothing, link_to_itself, make_pipe],
)
def test_what_is_no_file_inside_is_no_neighbour(
    client: RawClient, root: Path, tmp_path: Path, make: Any
) -> None:
    outside = write(tmp_path / "secret.js.gz", b"secret", MODIFIED * 2)
    (root / "one.js.gz").unlink()
    make(root / "one.js.gz", outside)
    only_plain(client)
    assert accept(client, "/one.js.gz", "gzip").status in {308, 404}


def test_nor_is_what_a_link_of_a_directory_leads_out_to(
    client: RawClient, root: Path, tmp_path: Path
) -> None:
    shutil.copytree(root, tmp_path / "outside")
    (root / "out").symlink_to(tmp_path / "outside")
    response = accept(client, "/out/app.js", "gzip")
    assert (response.status, response.body) == (404, b"Not Found\n")


def test_a_link_that_stays_inside_is_one(client: RawClient, root: Path) -> None:
    (root / "none.js.gz").symlink_to("one.js.gz")
    assert accept(client, "/none.js", "gzip").body == ENCODED["gzip"]


def test_neighbours_belong_to_the_name_that_was_asked_for(client: RawClient, root: Path) -> None:
    (root / "current.js").symlink_to("one.js")
    assert accept(client, "/current.js", "gzip").body == PLAIN
    (root / "current.js.gz").symlink_to("one.js.gz")
    assert accept(client, "/current.js", "gzip").body == ENCODED["gzip"]


def test_a_neighbour_alone_is_not_the_file(client: RawClient, root: Path) -> None:
    (root / "one.js").unlink()
    response = accept(client, "/one.js", "gzip")
    assert (response.status, response.body) == (404, b"Not Found\n")


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.js",
        "/..%2fsecret.js",
        "/%2e%2e/secret.js",
        "/..%5csecret.js",
        "/../root-sibling/secret.js",
        "/-sibling/secret.js",
        "/one.js%00",
        "/one.js%00.gz",
        "/one.js/",
        "/one.js/.gz",
        "//one.js",
        "/./one.js",
    ],
)
def test_no_neighbour_is_reached_by_a_path_that_is_none(
    client: RawClient, tmp_path: Path, target: str
) -> None:
    for directory in (tmp_path, tmp_path / "root-sibling"):
        write(directory / "secret.js", PLAIN)
        write(directory / "secret.js.gz", ENCODED["gzip"])
    response = accept(client, target, "gzip")
    assert (response.status, response.body) == (404, b"Not Found\n")
    assert response.get("Content-Encoding") is None


@pytest.mark.parametrize(
    ("number", "status", "body"),
    [
        (errno.EACCES, 200, PLAIN),
        (errno.ENOENT, 200, PLAIN),  # it has just been removed
        (errno.EMFILE, 503, b"Service Unavailable\n"),
    ],
)
def test_a_neighbour_that_cannot_be_opened(
    client: RawClient, monkeypatch: pytest.MonkeyPatch, number: int, status: int, body: bytes
) -> None:
    os_open = os.open

    def refuse(name: str, flags: int) -> int:
        if name.endswith(".gz"):
            raise OSError(number, os.strerror(number))
        return os_open(name, flags)

    client.get("/missing")
    before = open_descriptors()
    monkeypatch.setattr(os, "open", refuse)
    response = accept(client, "/one.js", "gzip")
    assert (response.status, response.body) == (status, body)
    monkeypatch.undo()
    client.get("/missing")
    assert open_descriptors() == before


def test_no_descriptor_is_left_open(serve: Serve, root: Path) -> None:
    client = serve.client(serve(FileHandler(root), workers=1))
    make_directory(root / "directory" / "index.html", root)

    def visit() -> None:
        for target in ("/app.js", "/none.js"):
            tag = accept(client, target, "gzip").get("ETag")
            accept(client, target, "gzip", f"If-None-Match: {tag}")
            accept(client, target, "gzip", 'If-Match: "other"')
            accept(client, target, "gzip", "Range: bytes=1-2")
            accept(client, target, "gzip", "Range: bytes=9999-")
            accept(client, target, "*;q=0")
            accept(client, target, None)
        assert client.get("/directory/").status == 404

    visit()
    before = open_descriptors()
    for _ in range(10):
        visit()
    client.get("/missing")
    assert open_descriptors() == before


# How long a client may keep it


@pytest.mark.parametrize("max_age", [0, 3600, 2**31])
def test_the_age_is_told_with_every_file(serve: Serve, root: Path, max_age: int) -> None:
    client = serve.client(serve(FileHandler(root, max_age=max_age), workers=1))
    for fields in ([], ["If-None-Match: *"], ["Range: bytes=0-1"], ["Accept-Encoding: gzip"]):
        response = client.get("/app.js", *fields)
        assert response.status in {200, 206, 304}
        assert response.get("Cache-Control") == f"max-age={max_age}"
    for target in ("/missing.js", "/sub"):
        assert client.get(target).get("Cache-Control") is None


def test_without_an_age_nothing_is_told(client: RawClient) -> None:
    assert client.get("/app.js").get("Cache-Control") is None


@pytest.mark.parametrize("max_age", [-1, 2**31 + 1, 1.5, 60.0, True, "60"])
def test_an_age_must_be_a_number_of_seconds(root: Path, max_age: Any) -> None:
    with pytest.raises(ValueError, match="max_age must be an integer from 0 to 2147483648"):
        FileHandler(root, max_age=max_age)
