"""The page of the chat example in a real browser: people who talk."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Error, expect

from tests.browser.chat_process import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Locator, Page

    from tests.browser.chat_process import ChatServer, Problems

IN_VIEW = {"ratio": 0.9}
HIDDEN = """hidden => {
    Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event("visibilitychange"));
}"""


def say(page: Page, text: str) -> None:
    """Type a message, press Enter, and see it confirmed by the server."""
    page.get_by_label("Message", exact=True).fill(text)
    page.keyboard.press("Enter")
    expect(said(page).last).to_contain_text(text)
    expect(page.locator(".pending")).to_have_count(0)


def said(page: Page) -> Locator:
    """Return the texts of all messages."""
    return page.locator("#messages .text")


def people(page: Page) -> Locator:
    """Return the list of who is here."""
    return page.locator("#people-list .name")


def test_two_tabs_talk_both_ways(open_tab: Callable[..., Page]) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    expect(people(ada)).to_have_text(["Ada", "Grace"])
    expect(people(grace)).to_have_text(["Grace", "Ada"])
    expect(ada.locator("#people-count")).to_have_text("2")
    expect(ada.get_by_text("Grace joined")).to_be_visible()

    say(ada, "Hello, Grace 👋")
    expect(said(grace)).to_have_text(["Hello, Grace 👋"])
    say(grace, "Hello, Ada")
    for page in (ada, grace):
        expect(said(page)).to_have_text(["Hello, Grace 👋", "Hello, Ada"])
    expect(ada.locator(".mine .text")).to_have_text(["Hello, Grace 👋"])
    expect(ada.locator(".said:not(.mine) .author")).to_have_text(["Grace"])
    expect(ada.locator(".said time").first).to_have_text(re.compile(r"^\d?\d:\d\d"))


def close_the_tab(page: Page) -> None:
    """Close it as its user would."""
    page.context.close()


def crash_the_tab(page: Page) -> None:
    """Crash the process behind it."""
    with pytest.raises(Error, match="crash"):
        page.goto("chrome://crash")


@pytest.mark.parametrize("end", [close_the_tab, crash_the_tab])
def test_the_others_see_a_tab_go(
    end: Callable[[Page], None], open_tab: Callable[..., Page]
) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    expect(people(ada)).to_have_count(2)
    end(grace)
    expect(ada.get_by_text("Grace left")).to_be_visible()
    expect(people(ada)).to_have_text(["Ada"])
    say(ada, "Alone now")


def test_an_empty_room_invites_to_talk(open_tab: Callable[..., Page], server: ChatServer) -> None:
    page = open_tab("Ada")
    expect(page.get_by_text("It is quiet here")).to_be_visible()
    server.robot("Grace").say("Not for long")
    expect(page.get_by_text("It is quiet here")).to_be_hidden()


def test_a_name_that_is_taken_gets_a_number(open_tab: Callable[..., Page]) -> None:
    open_tab("Ada")
    expect(people(open_tab("Ada"))).to_have_text(["Ada (2)", "Ada"])


@pytest.mark.parametrize("name", ["   ", "\u200b"])
def test_a_name_that_nobody_can_see_is_not_accepted(
    name: str, open_tab: Callable[..., Page], problems: Problems
) -> None:
    problems.expect(REFUSED)  # the page knows a blank by itself, but not all that is invisible
    page = open_tab()
    field = page.get_by_label("Your name")
    field.fill(name)
    field.press("Enter")
    expect(field).to_be_visible()
    expect(page.locator("#name:invalid")).to_have_count(1)
    field.fill("Ada")
    field.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Online")


def test_reloading_returns_to_the_room_with_name_history_and_draft(
    open_tab: Callable[..., Page],
) -> None:
    page = open_tab("Ada")
    say(page, "I was here")
    page.get_by_label("Message", exact=True).fill("and I shall")
    page.reload()
    expect(page.get_by_role("status")).to_have_text("Online")
    expect(page.locator(".mine .text")).to_have_text(["I was here"])
    expect(page.get_by_label("Message", exact=True)).to_have_value("and I shall")
    expect(people(page)).to_have_text([re.compile("^Ada")])

    page.get_by_role("button", name="Leave the room").click()
    expect(page.get_by_label("Your name")).to_have_value("Ada")
    page.reload()
    expect(page.get_by_label("Your name")).to_have_value("Ada")


def test_history_is_shown_to_a_newcomer(open_tab: Callable[..., Page], server: ChatServer) -> None:
    grace = server.robot("Grace")
    for number in range(30):
        grace.say(f"line {number}")
    expect(said(open_tab("Ada"))).to_have_text([f"line {number}" for number in range(30)])


def test_what_people_write_is_text_and_never_html(
    open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page = open_tab("Ada")
    evil_name = "<img src=x onerror=a()>"
    mallory = server.robot(evil_name)
    texts = [
        "<script>alert(1)</script>",
        '<img src="x" onerror="alert(1)">',
        "&lt;b&gt; <b>bold</b>",
        'javascript:alert(1) https://example.org/"onclick="x" data:text/html,<p>',
    ]
    for text in texts:
        mallory.say(text)
    expect(said(page)).to_have_text(texts)
    expect(people(page).last).to_have_text(evil_name)
    expect(page.locator("#messages :is(script, img, b)")).to_have_count(0)
    links = page.locator("#messages a")
    expect(links).to_have_text(["https://example.org/"])
    expect(links).to_have_attribute("rel", "noopener noreferrer nofollow")


def test_typing_is_shown_until_the_message_is_there(open_tab: Callable[..., Page]) -> None:
    ada, grace = open_tab("Ada"), open_tab("Grace")
    grace.get_by_label("Message", exact=True).press_sequentially("Hm")
    expect(ada.locator("#typing")).to_have_text("Grace is typing")
    expect(grace.locator("#typing")).to_be_empty()
    grace.keyboard.press("Enter")
    expect(said(ada)).to_have_text(["Hm"])
    expect(ada.locator("#typing")).to_be_empty()


def test_a_reader_of_old_messages_is_not_disturbed(
    open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page, grace = open_tab("Ada"), server.robot("Grace")
    for number in range(40):
        grace.say(f"line {number}")
    # It follows by itself.
    expect(page.get_by_text("line 39", exact=True)).to_be_in_viewport(**IN_VIEW)

    page.locator("#log").evaluate("log => { log.scrollTop = 0; }")
    expect(page.get_by_text("line 39", exact=True)).not_to_be_in_viewport()
    grace.say("news")
    news = page.get_by_role("button", name="1 new message")
    expect(news).to_be_visible()
    assert page.locator("#log").evaluate("log => log.scrollTop") == 0

    grace.say("more news")
    page.get_by_role("button", name="2 new messages").click()
    expect(page.get_by_text("more news", exact=True)).to_be_in_viewport(**IN_VIEW)
    expect(page.locator("#news")).to_be_hidden()

    page.locator("#log").evaluate("log => { log.scrollTop = 0; }")
    expect(page.get_by_text("more news", exact=True)).not_to_be_in_viewport()
    say(page, "What did I miss?")  # who talks wants to see it
    expect(page.get_by_text("What did I miss?", exact=True)).to_be_in_viewport(**IN_VIEW)


def test_the_limit_is_shown_when_it_is_near(open_tab: Callable[..., Page]) -> None:
    page = open_tab("Ada")
    field, left = page.get_by_label("Message", exact=True), page.locator("#room-left")
    field.fill("👋" * 899)
    expect(left).to_be_empty()
    field.fill("👋" * 950)
    expect(left).to_have_text("50 left")
    field.fill("👋" * 1001)
    expect(left).to_have_text("1 too many")
    expect(field).to_have_attribute("aria-invalid", "true")
    field.press("Enter")
    expect(field).to_have_value("👋" * 1001)
    field.fill("👋" * 1000)
    field.press("Enter")
    expect(said(page)).to_have_text(["👋" * 1000])


def test_a_message_that_is_refused_says_so(
    open_tab: Callable[..., Page], problems: Problems
) -> None:
    problems.expect(REFUSED)
    page = open_tab("Ada")
    page.get_by_label("Message", exact=True).fill("\u200b")  # not blank to JavaScript
    page.keyboard.press("Enter")
    expect(page.locator(".failed .error")).to_contain_text("Not sent")
    say(page, "But this is fine")


def test_unread_messages_are_counted_in_the_title(
    open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page, grace = open_tab("Ada"), server.robot("Grace")
    page.evaluate(HIDDEN, arg=True)
    grace.say("one")
    expect(page).to_have_title("(1) Handy chat")
    grace.say("two")
    expect(page).to_have_title("(2) Handy chat")
    page.evaluate(HIDDEN, arg=False)
    expect(page).to_have_title("Handy chat")
    grace.say("three")
    expect(said(page)).to_have_count(3)
    expect(page).to_have_title("Handy chat")
