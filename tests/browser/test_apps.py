"""Flask and Django, unchanged, beside sockets on one port: examples/flask_app.py, django_app.py."""

from __future__ import annotations

import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import websocket
from playwright.sync_api import expect

from tests.examples.example_process import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

PASSWORDS = {"ada": "lovelace", "grace": "hopper"}
CONTENT = random.Random(1).randbytes(5_000_000)
UPLOAD = {"name": "big.bin", "mimeType": "application/octet-stream", "buffer": CONTENT}
NUMBERS = "".join(f"{number}\n" for number in range(10_000))
COOKIES = {"flask_app.py": "session", "django_app.py": "sessionid"}
# Opens a socket where the page would open it, and tells what comes of it.
KNOCK = """() => new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/feed`);
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("refused");
})"""


@pytest.fixture(params=sorted(COOKIES))
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Example]:
    """One of the examples, running; it must end well."""
    with Example(request.param, tmp_path) as example:
        yield example


@pytest.fixture
def open_page(browser: Browser, example: Example) -> Iterator[Callable[[], Page]]:
    """Open the page in a browser of its own."""
    contexts: list[Any] = []

    def open_page() -> Page:
        contexts.append(browser.new_context())
        page: Page = contexts[-1].new_page()
        page.goto(example.url(scheme="http"))
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def log_in(open_page: Callable[[], Page]) -> Callable[[str], Page]:
    """Open the page in a browser of its own, and log in."""

    def log_in(name: str) -> Page:
        page = open_page()
        fill_in(page, name, PASSWORDS[name])
        expect(page.get_by_role("heading")).to_have_text(f"Hello, {name}")
        # From here on, the connection is there.
        expect(page.locator("#feed li").first).to_have_text(f"Welcome, {name}")
        return page

    return log_in


def fill_in(page: Page, name: str, password: str) -> None:
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def say(page: Page, text: str) -> None:
    page.get_by_label("Message").fill(text)
    page.get_by_role("button", name="Say").click()


def cookie_of(page: Page) -> str:
    """Return the session of a page's user."""
    return next(
        f"{cookie['name']}={cookie['value']}"
        for cookie in page.context.cookies()
        if cookie["name"] in COOKIES.values()
    )


def knock(example: Example, cookie: str = "", origin: str | None = None) -> int:
    """Return the status of the answer to a handshake."""
    options: dict[str, Any] = {"cookie": cookie, "timeout": 10, "suppress_origin": origin is None}
    try:
        client = websocket.create_connection(example.url("/feed"), origin=origin, **options)
    except websocket.WebSocketBadStatusException as refused:
        return int(refused.status_code)
    client.close()
    return 101


def test_who_has_not_logged_in_may_neither_listen_nor_upload(
    example: Example, open_page: Callable[[], Page]
) -> None:
    page = open_page()
    assert page.url.startswith(example.url("/login", scheme="http"))
    assert page.evaluate(KNOCK) == "refused"
    assert knock(example) == 401
    assert knock(example, f"{'; '.join(COOKIES.values())}=forged") == 401
    form: dict[str, Any] = {"file": UPLOAD}
    address = example.url("/upload", scheme="http")
    upload = page.request.post(address, multipart=form, max_redirects=0)
    assert upload.status in {302, 403}
    fill_in(page, "ada", "wrong")
    expect(page.get_by_text("correct")).to_be_visible()
    assert page.evaluate(KNOCK) == "refused"


def test_messages_carry_the_name_of_the_login(log_in: Callable[[str], Page]) -> None:
    ada, grace = log_in("ada"), log_in("grace")
    say(ada, "Lunch is ready 🥐")
    heard = "ada: Lunch is ready 🥐"
    expect(grace.locator("#feed li")).to_have_text(["Welcome, grace", heard])
    say(grace, "<b>Coming</b>")
    expect(ada.locator("#feed li")).to_have_text(["Welcome, ada", heard, "grace: <b>Coming</b>"])


def test_an_upload_is_announced_to_every_open_page_and_can_be_downloaded(
    log_in: Callable[[str], Page],
) -> None:
    ada, graces = log_in("ada"), [log_in("grace") for _ in range(2)]
    ada.get_by_label("File").set_input_files(UPLOAD)  # type: ignore[arg-type]
    ada.get_by_role("button", name="Upload").click()
    for page in graces:
        news = "ada has uploaded big.bin, 5000000 bytes"
        expect(page.locator("#feed li").last).to_have_text(news)
    graces[0].reload()
    with graces[0].expect_download() as started:
        graces[0].get_by_role("link", name="big.bin").click()
    assert started.value.suggested_filename == "big.bin"
    assert Path(started.value.path()).read_bytes() == CONTENT


def test_a_response_is_streamed_whole(log_in: Callable[[str], Page]) -> None:
    length, text = log_in("ada").evaluate("""async () => {
        const response = await fetch("/numbers");
        return [response.headers.get("Content-Length"), await response.text()];
    }""")
    assert length is None  # nobody knew it when it began
    assert text == NUMBERS


def test_a_login_is_good_for_the_own_pages_only_and_until_the_logout(
    example: Example, log_in: Callable[[str], Page]
) -> None:
    ada, grace = log_in("ada"), log_in("grace")
    cookie = cookie_of(ada)
    assert knock(example, cookie) == 101
    assert knock(example, cookie, example.url("", scheme="http")) == 101
    assert knock(example, cookie, "http://elsewhere.example") == 403
    listener = websocket.create_connection(example.url("/feed"), cookie=cookie, timeout=10)
    assert listener.recv() == "Welcome, ada"
    ada.get_by_role("button", name="Log out").click()
    expect(ada.get_by_role("button", name="Log in")).to_be_visible()
    opcode, data = listener.recv_data()
    assert (opcode, data) == (websocket.ABNF.OPCODE_CLOSE, b"\x03\xf0logged out")
    listener.shutdown()
    say(grace, "Alone?")
    expect(grace.locator("#feed li").last).to_have_text("grace: Alone?")


def test_a_signal_says_goodbye(log_in: Callable[[str], Page], example: Example) -> None:
    page = log_in("ada")
    page.evaluate("""() => {
        window.ended = new Promise((resolve) => { socket.onclose = ({ code }) => resolve(code); });
    }""")
    example.end(signal.SIGTERM)
    assert page.evaluate("window.ended") == 1001
