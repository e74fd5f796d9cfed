"""Flask and Django, unchanged, beside sockets on one port: examples/flask_app.py, django_app.py."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest
import websocket
from playwright.sync_api import expect

from tests.examples.example_process import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

UPLOAD = {"name": "big.bin", "mimeType": "application/octet-stream", "buffer": bytes(3_000_000)}


@pytest.fixture(params=["flask_app.py", "django_app.py"])
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    """One of the examples, running; it must end well."""
    with Example(request.param, tmp_path) as example:
        yield example


@pytest.fixture
def log_in(browser: Browser, example: Example) -> Iterator[Callable[[], Page]]:
    """Open the page in a browser of its own, and log in."""
    contexts: list[Any] = []

    def log_in() -> Page:
        contexts.append(browser.new_context())
        page: Page = contexts[-1].new_page()
        page.goto(example.url(scheme="http"))
        page.get_by_label("Your name").fill("ada")
        password = page.get_by_label("Password")
        if password.count():
            password.fill("lovelace")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("heading")).to_have_text("Hello, ada")
        expect(page.locator("#feed li").first).to_have_text("Welcome")
        return page

    yield log_in
    for context in contexts:
        context.close()


def test_a_view_broadcasts_to_all_who_have_logged_in(log_in: Callable[[], Page]) -> None:
    one, other = log_in(), log_in()
    one.get_by_label("Announcement").fill("Lunch is ready 🥐")
    one.get_by_role("button", name="Send").click()
    expect(other.locator("#feed li")).to_have_text(["Welcome", "ada: Lunch is ready 🥐"])
    one.get_by_label("File").set_input_files(UPLOAD)  # type: ignore[arg-type]
    one.get_by_role("button", name="Upload").click()
    expect(other.locator("#feed li").last).to_have_text("ada: big.bin has 3000000 bytes")


def test_a_download_is_streamed_whole(log_in: Callable[[], Page]) -> None:
    page = log_in()
    text = page.evaluate("fetch('/numbers').then((response) => response.text())")
    assert text == "".join(f"{number}\n" for number in range(100_000))


def test_a_signal_says_goodbye(log_in: Callable[[], Page], example: Example) -> None:
    page = log_in()
    page.evaluate("""() => {
        window.ended = new Promise((resolve) => { socket.onclose = ({ code }) => resolve(code); });
    }""")
    example.end(signal.SIGTERM)
    assert page.evaluate("window.ended") == 1001


def test_who_has_not_logged_in_may_neither_listen_nor_speak(
    browser: Browser, example: Example
) -> None:
    with pytest.raises(websocket.WebSocketBadStatusException) as refused:
        websocket.create_connection(example.url("/feed"), timeout=5)
    assert refused.value.status_code == 401
    context = browser.new_context()
    answer = context.request.post(example.url("/announce", scheme="http"), form={"text": "unheard"})
    assert answer.status == 403
    context.close()
