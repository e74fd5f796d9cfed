"""The examples in the guides run, as far as they go without a network."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from handy_ws import HttpServer, ServerConfig

from tests.http.raw_http import RawClient, post

if TYPE_CHECKING:
    from collections.abc import Iterator

if TYPE_CHECKING:
    from tests.certificates import Authority

DOCS = Path(__file__).parents[2] / "docs"
GUIDES = sorted(path.name for path in DOCS.glob("*.md") if "```python" in path.read_text())


@pytest.fixture(autouse=True)
def access_log_as_before() -> Iterator[None]:
    """A guide sets up the access log, which is for the guide only."""
    logger = logging.getLogger("handy_ws.access")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    logger.handlers[:], logger.propagate = before[:2]
    logger.setLevel(before[2])


def blocks(guide: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)


def test_there_are_guides_with_examples() -> None:
    assert {"index.md", "quickstart.md", "sending.md"} <= set(GUIDES)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_examples_of_a_guide_run_from_top_to_bottom(
    guide: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, authority: Authority
) -> None:
    (tmp_path / "fullchain.pem").write_bytes(authority.server.certificate.read_bytes())
    (tmp_path / "privkey.pem").write_bytes(authority.server.private_key.read_bytes())
    (tmp_path / "clients.pem").write_bytes(authority.file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HttpServer, "start", lambda _server: None)  # it would block
    namespace: dict[str, Any] = {"__name__": guide}
    for block in blocks(guide):
        exec(compile(block, guide, "exec"), namespace)  # noqa: S102 - our own guide


def test_the_first_handlers_of_the_guide_do_what_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("uploads").mkdir()
    namespace: dict[str, Any] = {}
    for block in blocks("http.md")[:2]:
        exec(block, namespace)  # noqa: S102 - our own guide
    with (
        HttpServer(namespace["paths"], ServerConfig(port=0)) as server,
        RawClient(server.address) as client,
    ):
        assert client.get("/?name=A").body == b"Hello, A!\n"
        assert client.get("/users/7").body == b"user 7\n"
        answer = client.request(post("/add", b"[1, 2]", "Content-Type: application/json"))
        assert (answer.body, answer.get("Content-Type")) == (b"3", "application/json")
        form = (
            b'--x\r\nContent-Disposition: form-data; name="picture"; filename="../a.png"\r\n'
            b"\r\nnot much\r\n--x--\r\n"
        )
        kind = "Content-Type: multipart/form-data; boundary=x"
        answer = client.request(post("/pictures", form, kind))
        assert (answer.status, answer.get("Location")) == (303, "/")
        assert [path.name for path in Path("uploads").iterdir()] == ["a.png"]
        answer = client.get("/numbers.csv")
        assert answer.get("Transfer-Encoding") == "chunked"
        assert answer.body.splitlines()[-1] == b"99999"
        assert (answer.get("Set-Cookie") or "").startswith("exported=yes; HttpOnly")
