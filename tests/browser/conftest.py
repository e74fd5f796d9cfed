"""Fixtures: a chat server, a browser, and tabs in it that must not complain."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

from tests.browser.chat_process import ChatServer, Problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser

NAMES = ["chromium-browser", "google-chrome", "google-chrome-stable"]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
expect.set_options(timeout=20_000)  # ms; a reconnecting page may take its time


def find_chromium() -> str:
    """Return the path of a Chromium; to have none is a failure, not a reason to skip."""
    names = [os.environ.get("CHROMIUM") or "chromium", *NAMES]  # as in the Makefile
    for name in names:
        if path := shutil.which(name):
            return path
    pytest.fail(
        f"These tests drive a real browser, and there is none of {', '.join(names)}. Install it "
        "(apt-get install chromium), or set CHROMIUM to its path."
    )


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser; every tab gets a context (cookies, storage) of its own."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """A running chat server."""
    server = ChatServer()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def problems() -> Iterator[Problems]:
    """What browsers complain about. A test says what it expects; the rest is a failure."""
    problems = Problems()
    yield problems
    assert problems.unexpected() == []


@pytest.fixture
def open_tab(
    browser: Browser, server: ChatServer, problems: Problems
) -> Iterator[Callable[..., Page]]:
    """Open the page; with a name, also join.

    `prepare` gets the tab before the page is loaded; other arguments are a browser context's.
    """

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            problems.note(message.text)

    def open_tab(
        name: str | None = None, prepare: Callable[[Page], None] | None = None, **options: Any
    ) -> Page:
        page = browser.new_context(**options).new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: problems.note(str(error)))
        if prepare is not None:
            prepare(page)
        page.goto(server.url)
        if name is not None:
            page.get_by_label("Your name").fill(name)
            page.get_by_role("button", name="Join the room").click()
            expect(page.get_by_role("status")).to_have_text("Online")
        return page

    yield open_tab
    for context in list(browser.contexts):
        context.close()
