"""The chat in a real browser over https and wss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error, expect

from tests.browser.chat_process import ChatServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, Page

    from tests.browser.chat_process import Problems
    from tests.certificates import Authority


@pytest.fixture
def server(authority: Authority) -> Iterator[ChatServer]:
    """A chat server with a certificate of an authority that browsers do not know."""
    server = ChatServer(authority.server)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_two_tabs_talk_over_tls(open_tab: Callable[..., Page], server: ChatServer) -> None:
    sockets: list[str] = []

    def note_sockets(page: Page) -> None:
        page.on("websocket", lambda socket: sockets.append(socket.url))

    ada = open_tab("Ada", note_sockets, ignore_https_errors=True)
    grace = open_tab("Grace", ignore_https_errors=True)
    assert ada.url.startswith("https://127.0.0.1:")
    assert sockets == [f"wss://127.0.0.1:{server.port}/chat"]
    for page, text in ((ada, "Hello, Grace"), (grace, "x" * 1000), (ada, "Bye")):
        page.get_by_label("Message", exact=True).fill(text)
        page.keyboard.press("Enter")
        for each in (ada, grace):
            expect(each.locator("#messages .text").last).to_have_text(text)
    assert ada.evaluate("isSecureContext")


def test_a_browser_that_does_not_know_the_authority_refuses(
    browser: Browser, server: ChatServer, problems: Problems
) -> None:
    context = browser.new_context()
    page = context.new_page()
    with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
        page.goto(server.url)
    context.close()
    assert problems.unexpected() == []
