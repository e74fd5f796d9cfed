"""A Flask application on gunicorn whose sockets were taken over: examples/gunicorn_app.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.examples.example_process import Example

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


def test_two_pages_hear_each_other_and_the_view(browser: Browser, tmp_path: Path) -> None:
    with Example("gunicorn_app.py", tmp_path) as example:
        pages = [browser.new_page() for _ in range(2)]
        for number, page in enumerate(pages, start=1):
            page.goto(example.url(scheme="http"))
            expect(page.locator("#log li")).to_have_text([f"Welcome, you are number {number}"])
        pages[0].get_by_label("Say").fill("Hello")
        pages[0].get_by_role("button", name="Send").first.click()
        for page in pages:
            expect(page.locator("#log li").nth(1)).to_have_text("Hello")
        pages[0].get_by_label("Announce").fill("Lunch")
        pages[0].get_by_role("button", name="Send").last.click()
        expect(pages[1].locator("#log li").nth(2)).to_have_text("Announcement: Lunch")
        # The form has led to the page again, which has a connection of its own.
        expect(pages[0].locator("#log li")).to_have_count(1)
        for page in pages:
            page.close()
