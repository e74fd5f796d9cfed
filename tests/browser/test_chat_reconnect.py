"""The page of the chat example comes back by itself, neither in a storm nor too late."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.browser.chat_process import UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page, WebSocketRoute

    from tests.browser.chat_process import ChatServer, Problems

WAIT = "#outage-wait"
ONLINE_AGAIN = "You are connected again"


def stop_time(page: Page) -> None:
    """Let the clock of the page stand still until the test moves it, and take luck away."""
    page.clock.install()
    page.clock.pause_at(datetime.now(UTC) + timedelta(seconds=1))
    page.add_init_script("const luck = [1, 1, 1, 0.25]; Math.random = () => luck.shift() ?? 1;")


def test_two_tabs_survive_a_restart_of_the_server(
    open_tab: Callable[..., Page], server: ChatServer, problems: Problems
) -> None:
    problems.expect(UNREACHABLE)
    ada, grace = open_tab("Ada"), open_tab("Grace")
    expect(ada.locator("#people-list li")).to_have_count(2)
    grace.get_by_label("Message", exact=True).fill("a draft")
    server.kill()
    for page in (ada, grace):
        expect(page.get_by_role("status")).not_to_have_text("Online")
    ada.get_by_label("Message", exact=True).fill("Said while nobody listened")
    ada.keyboard.press("Enter")
    expect(ada.locator(".pending")).to_have_count(1)

    server.start()
    for page in (ada, grace):
        expect(page.get_by_text(ONLINE_AGAIN)).to_be_visible()
        expect(page.get_by_role("status")).to_have_text("Online")
        expect(page.locator("#people-list li")).to_have_count(2)
        expect(page.locator("#messages .text")).to_have_text(["Said while nobody listened"])
    expect(ada.locator(".pending")).to_have_count(0)
    expect(grace.get_by_label("Message", exact=True)).to_have_value("a draft")
    grace.get_by_label("Message", exact=True).press("Enter")
    expect(ada.locator("#messages .text").last).to_have_text("a draft")
    expect(grace.locator(".mine .text")).to_have_text(["a draft"])


def test_waits_grow_have_full_jitter_and_are_forgotten_when_all_is_well(
    open_tab: Callable[..., Page], server: ChatServer, problems: Problems
) -> None:
    problems.expect(UNREACHABLE)
    page = open_tab("Ada", prepare=stop_time)
    server.kill()
    for seconds in (1, 2, 4, 2, 16, 30, 30):  # 1, 2, 4, a quarter of 8, 16, 30 at most
        expect(page.locator(WAIT)).to_have_text(f"Next try in {seconds} s.")
        page.clock.run_for(1000 * seconds)

    expect(page.locator(WAIT)).to_have_text("Next try in 30 s.")
    page.clock.run_for(25_000)
    expect(page.locator(WAIT)).to_have_text("Next try in 5 s.")
    server.start()
    page.clock.run_for(5000)
    expect(page.get_by_text(ONLINE_AGAIN)).to_be_visible()

    server.kill()  # too early to trust it again
    expect(page.locator(WAIT)).to_have_text("Next try in 30 s.")
    server.start()
    page.clock.run_for(30_000)
    expect(page.get_by_text(ONLINE_AGAIN)).to_have_count(2)
    page.clock.run_for(10_000)
    server.kill()
    expect(page.locator(WAIT)).to_have_text("Next try in 1 s.")


def the_network_comes_back(page: Page) -> None:
    """Dispatch what a browser does when the device is connected again."""
    page.evaluate("window.dispatchEvent(new Event('online'))")


def somebody_looks_at_the_page(page: Page) -> None:
    """Dispatch what a browser does when the tab is shown."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def the_button_is_pressed(page: Page) -> None:
    """Press it."""
    page.get_by_role("button", name="Try now").click()


@pytest.mark.parametrize(
    "event", [the_network_comes_back, somebody_looks_at_the_page, the_button_is_pressed]
)
def test_tries_at_once_when(
    event: Callable[[Page], None], open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page = open_tab("Ada", prepare=stop_time)
    server.kill()
    expect(page.get_by_role("status")).to_have_text("Offline")
    server.start()
    expect(page.get_by_role("status")).to_have_text("Offline")  # the clock stands still
    event(page)
    expect(page.get_by_role("status")).to_have_text("Online")
    expect(page.get_by_text(ONLINE_AGAIN)).to_be_visible()


def test_what_was_missed_is_shown_once(open_tab: Callable[..., Page], server: ChatServer) -> None:
    sockets: list[WebSocketRoute] = []

    def prepare(page: Page) -> None:
        stop_time(page)
        page.route_web_socket(re.compile("/chat$"), connect)

    def connect(page_side: WebSocketRoute) -> None:
        sockets.extend([page_side, page_side.connect_to_server()])

    page, grace = open_tab("Ada", prepare=prepare), server.robot("Grace")
    messages = page.locator("#messages .text")
    grace.say("before")
    expect(messages).to_have_text(["before"])
    for socket in sockets:
        socket.close()
    expect(page.get_by_role("status")).to_have_text("Offline")
    grace.say("between")
    the_button_is_pressed(page)
    expect(messages).to_have_text(["before", "between"])
    grace.say("after")
    expect(messages).to_have_text(["before", "between", "after"])


def test_leaving_does_not_come_back(open_tab: Callable[..., Page], server: ChatServer) -> None:
    page, grace = open_tab("Ada", prepare=stop_time), open_tab("Grace")
    page.get_by_role("button", name="Leave the room").click()
    expect(grace.get_by_text("Ada left")).to_be_visible()
    page.clock.run_for(60_000)
    the_network_comes_back(page)
    expect(page.get_by_label("Your name")).to_have_value("Ada")
    expect(grace.locator("#people-list .name")).to_have_text(["Grace"])
    server.robot("Linus")
    expect(grace.get_by_text(re.compile("joined$"))).to_have_count(1)
