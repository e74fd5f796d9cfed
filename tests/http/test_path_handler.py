"""Choosing a handler by path and method."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from handy_ws import HttpRequestHandler, HttpResponse, PathHandler

from tests.http.raw_http import RawClient, get

if TYPE_CHECKING:
    from collections.abc import Callable

    from handy_ws import HttpRequestContext

    from tests.http.conftest import Serve


def say(text: str) -> Callable[[HttpRequestContext], HttpResponse]:
    """Return a handler that answers with `text` and the path parameters."""

    def handle(context: HttpRequestContext) -> HttpResponse:
        params = ",".join(f"{k}={v!r}" for k, v in context.request.path_params.items())
        return HttpResponse(f"{text}({params})")

    return handle


def request(client: RawClient, method: str, target: str) -> tuple[int, bytes]:
    response = client.request(
        f"{method} {target} HTTP/1.1\r\nHost: example.org:81\r\n\r\n".encode(), method
    )
    return response.status, response.body


@pytest.mark.parametrize(
    ("target", "status", "body"),
    [
        ("/", 200, b"root()"),
        ("/users", 200, b"users()"),
        ("/users?x=1", 200, b"users()"),
        ("/users/7", 200, b"user(id=7)"),
        ("/users/x", 404, b"Not Found\n"),
        ("/users/%37", 200, b"user(id=7)"),
        ("/users/new", 200, b"new()"),
        ("/files/a/b%20c", 200, b"file(path='a/b c')"),
        ("/n/%C3%A4", 200, "name(name='ä')".encode()),
        ("/dir/", 200, b"dir()"),
        ("/missing", 404, b"Not Found\n"),
        ("/USERS", 404, b"Not Found\n"),
    ],
)
def test_the_rule_that_matches_is_chosen(
    serve: Serve, target: str, status: int, body: bytes
) -> None:
    paths = (
        PathHandler()
        .add("/", say("root"))
        .add("/users", say("users"))
        .add("/users/<int:id>", say("user"))
        .add("/users/new", say("new"))
        .add("/files/<path:path>", say("file"))
        .add("/n/<name>", say("name"))
        .add("/dir/", say("dir"))
    )
    response = serve.client(serve(paths)).get(target)
    assert (response.status, response.body) == (status, body)


def test_methods_choose_among_rules(serve: Serve) -> None:
    paths = PathHandler()
    for rule in ("/static", "/var/<x>"):
        paths.add(rule, say("get"), methods=["get"]).add(rule, say("post"), methods=("POST",))
    client = serve.client(serve(paths))
    for target, params in (("/static", b"()"), ("/var/1", b"(x='1')")):
        assert request(client, "GET", target) == (200, b"get" + params)
        assert request(client, "POST", target) == (200, b"post" + params)
        assert request(client, "HEAD", target) == (200, b"")
        response = client.request(f"PUT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert (response.status, response.get("Allow")) == (405, "GET, HEAD, POST")


def test_without_methods_the_handler_decides(serve: Serve) -> None:
    client = serve.client(serve(PathHandler().add("/any", say("any"))))
    for method in ("GET", "POST", "DELETE", "M-SEARCH"):
        assert request(client, method, "/any") == (200, b"any()")


def test_redirect_to_the_trailing_slash(serve: Serve) -> None:
    client = serve.client(serve(PathHandler().add("/dir/", say("dir"))))
    response = client.request(b"GET /dir?a=%20b HTTP/1.1\r\nHost: example.org:81\r\n\r\n")
    assert response.status == 308
    assert response.get("Location") == "http://example.org:81/dir/?a=%20b"


def test_a_redirect_never_names_another_host(serve: Serve) -> None:
    client = serve.client(serve(PathHandler().add("/<path:p>/", say("p"))))
    for target in ("//evil.example", "///evil.example/x", "//evil.example//x", "/\\evil.example"):
        response = client.get(target)
        location = response.get("Location")
        assert (
            response.status == 404 or location is None or (location.startswith("http://localhost/"))
        )


def test_an_http_1_0_request_without_host_is_redirected(serve: Serve) -> None:
    server = serve(PathHandler().add("/dir/", say("dir")))
    response = serve.client(server).request(b"GET /dir HTTP/1.0\r\n\r\n")
    host, port = server.address
    assert response.get("Location") == f"http://{host}:{port}/dir/"


def test_path_handlers_nest_and_add_up_their_parameters(serve: Serve) -> None:
    inner = PathHandler().add("/api/<version>/users/<int:id>", say("user"))
    outer = PathHandler().add("/api/<version>/<path:rest>", inner)
    client = serve.client(serve(outer))
    body = client.get("/api/v1/users/7").body
    assert body == b"user(version='v1',rest='users/7',id=7)"
    assert client.get("/api/v1/other").status == 404


def test_handlers_are_objects_too(serve: Serve) -> None:
    class Handler(HttpRequestHandler):
        def handle(self, context: HttpRequestContext) -> None:
            context.response.data = str(context.source.path_params)

    client = serve.client(serve(PathHandler().add("/<int:n>", Handler())))
    assert client.get("/5").body == b"{'n': 5}"


def test_the_first_of_two_equal_rules_wins(serve: Serve) -> None:
    paths = PathHandler().add("/a", say("first")).add("/a", say("second"))
    assert serve.client(serve(paths)).get("/a").body == b"first()"


def test_rules_may_be_added_while_requests_are_served(serve: Serve) -> None:
    paths = PathHandler()
    client = serve.client(serve(paths))
    assert client.get("/0/x").status == 404

    def add(first: int) -> None:
        for number in range(first, first + 100):
            paths.add(f"/{number}/<x>", say(str(number)))

    threads = [threading.Thread(target=add, args=(first,)) for first in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert client.get("/399/x").status in {200, 404}
    for number in range(400):
        assert client.get(f"/{number}/x").status == 200


@pytest.mark.parametrize("rule", ["no-slash", "/<", "/<unknown:x>", "/<int:>", ""])
def test_a_malformed_rule_is_refused_at_once(serve: Serve, rule: str) -> None:
    paths = PathHandler().add("/good", say("good"))
    with pytest.raises((ValueError, LookupError)):
        paths.add(rule, say("bad"))
    assert serve.client(serve(paths)).get("/good").status == 200


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="handler"):
        PathHandler().add("/", 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="methods"):
        PathHandler().add("/", say("x"), methods="GET")


def test_the_asterisk_is_answered_by_the_server(serve: Serve) -> None:
    client = serve.client(serve(PathHandler()))
    assert client.request(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status == 204
    assert client.request(get("/x")).status == 404
