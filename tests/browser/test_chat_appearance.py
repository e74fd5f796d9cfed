"""The page of the chat example: legible, usable by keyboard and screen reader, on any screen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.chat_process import REFUSED, UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.chat_process import ChatServer, Problems

SCREENSHOTS = Path(__file__).parents[2] / "reports" / "screenshots"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SMALL_PHONE = {**PHONE, "viewport": {"width": 320, "height": 568}}
LOOKS: dict[str, dict[str, Any]] = {
    "desktop-light": {**DESKTOP, "color_scheme": "light"},
    "desktop-dark": {**DESKTOP, "color_scheme": "dark"},
    "phone-light": {**PHONE, "color_scheme": "light"},
    "phone-dark": {**PHONE, "color_scheme": "dark"},
}
PEOPLE = ["Grace", "Linus", "Radia 🛰️", "Edsger", "Barbara", "Ken", "Frances"]

# The text colour, the colours behind it from the nearest to the page's, and the text itself, of
# everything that has text of its own and can be seen.
COLOURS_OF_TEXTS = """() => [...document.body.querySelectorAll("*")]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }))
    .filter((element) => !element.closest("svg") && getComputedStyle(element).clipPath === "none")
    .filter((element) => [...element.childNodes].some(
        (node) => node.nodeType === Node.TEXT_NODE && node.data.trim()) || element.placeholder)
    .map((element) => {
        const behind = [];
        for (let at = element; at; at = at.parentElement) {
            behind.push(getComputedStyle(at).backgroundColor);
        }
        const style = getComputedStyle(element, element.placeholder ? "::placeholder" : null);
        return [style.color, behind, element.textContent || element.placeholder];
    })"""


def populate(page: Page, server: ChatServer) -> None:
    """Let a conversation happen in which everything occurs that can occur."""
    robots = [server.robot(name) for name in PEOPLE]
    grace, linus, radia, *others = robots
    field = page.get_by_label("Message", exact=True)

    def say(text: str) -> None:
        field.fill(text)
        field.press("Enter")
        expect(page.locator("#messages .text").last).to_contain_text(text[:20])
        expect(page.locator(".pending")).to_have_count(0)

    grace.say("Morning! Did the build go through?")
    expect(page.get_by_text("Morning!")).to_be_visible()
    say("It did. All green, first try ☕")
    linus.say("First try? I do not believe it.")
    linus.say("Show me the log: https://example.org/builds/1024")
    expect(page.get_by_text("Show me")).to_be_visible()
    say("Third one from the top. It is the line that goes on and on, so that it has to be wrapped.")
    radia.say("A thing of beauty:\n\n  for each socket\n    read, answer, repeat")
    expect(page.get_by_text("A thing of beauty")).to_be_visible()
    for robot, text in zip(others, ["🎉🎉🎉", "Congratulations!", "✨", "Ship it"], strict=True):
        robot.say(text)
        expect(page.get_by_text(text)).to_be_visible()
    others[0].leave()
    expect(page.get_by_text("Edsger left")).to_be_visible()
    say("Thank you all")
    grace.type()
    expect(page.locator("#typing")).to_have_text("Grace is typing")


def finish_animations(page: Page) -> None:
    """Skip to the end of everything that moves, or has none, and wait for the fonts."""
    page.evaluate("""() => document.getAnimations().forEach((animation) =>
        animation.effect.getComputedTiming().endTime === Infinity
            ? animation.cancel() : animation.finish())""")
    page.evaluate("document.fonts.ready.then(() => null)")


# ---- legible


def rgb(colour: str) -> tuple[float, float, float, float]:
    """Parse a computed colour: red, green and blue from 0 to 1, and opacity."""
    match = re.fullmatch(r"rgba?\(([\d., ]+)\)", colour)
    assert match, colour
    red, green, blue, *opacity = map(float, match[1].split(","))
    return red / 255, green / 255, blue / 255, (opacity or [1.0])[0]


def blend(colours: list[str]) -> tuple[float, float, float]:
    """Return what is seen of colours that lie one upon the other, the topmost first."""
    red, green, blue = 1.0, 1.0, 1.0
    for over_red, over_green, over_blue, opacity in map(rgb, reversed(colours)):
        red += (over_red - red) * opacity
        green += (over_green - green) * opacity
        blue += (over_blue - blue) * opacity
    return red, green, blue


def luminance(colour: tuple[float, float, float]) -> float:
    """Return the relative luminance (WCAG 2.2)."""

    def linear(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    red, green, blue = map(linear, colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(text: str, behind: list[str]) -> float:
    """Return the contrast ratio of a text, from 1 to 21 (WCAG 2.2, section 1.4.3)."""
    lighter, darker = sorted([luminance(blend([text, *behind])), luminance(blend(behind))])[::-1]
    return (lighter + 0.05) / (darker + 0.05)


def assert_legible(page: Page, at_least: int) -> None:
    """Check the contrast of all texts that can be seen, of which there must be enough."""
    finish_animations(page)
    texts = page.evaluate(COLOURS_OF_TEXTS)
    assert len(texts) >= at_least, texts
    faint = {
        text: round(contrast(colour, behind), 2)
        for colour, behind, text in texts
        if contrast(colour, behind) < 4.5
    }
    assert faint == {}


def test_contrast_is_measured_as_wcag_does() -> None:
    assert contrast("rgb(0, 0, 0)", ["rgb(255, 255, 255)"]) == pytest.approx(21)
    assert contrast("rgb(119, 119, 119)", ["rgb(255, 255, 255)"]) == pytest.approx(4.478, abs=0.001)
    assert contrast("rgb(0, 0, 0)", ["rgba(0, 0, 0, 0)", "rgba(0, 0, 0, 0.5)"]) < 6


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_enough_contrast(
    scheme: str, open_tab: Callable[..., Page], server: ChatServer, problems: Problems
) -> None:
    page = open_tab(color_scheme=scheme, **DESKTOP)
    assert_legible(page, 6)
    page.get_by_label("Your name").fill("Ada")
    page.keyboard.press("Enter")
    populate(page, server)
    avatars = page.locator("[data-colour]")
    colours = avatars.evaluate_all("all => all.map((one) => one.dataset.colour)")
    assert set(colours) == set("01234567")  # all that there are, and all are measured now
    field = page.get_by_label("Message", exact=True)
    problems.expect(REFUSED)
    field.fill("\u200b")
    field.press("Enter")
    expect(page.locator(".failed .error")).to_be_visible()
    page.locator("#log").evaluate("log => { log.scrollTop = 0; }")
    server.robot("Margaret").say("Hello from the Moon")
    expect(page.locator("#news")).to_be_visible()
    assert_legible(page, 50)

    problems.expect(UNREACHABLE)
    server.kill()
    expect(page.locator("#outage")).to_be_visible()
    field.fill("Is anybody here?")
    field.press("Enter")
    expect(page.locator(".pending")).to_be_visible()
    field.fill("x" * 1001)
    assert_legible(page, 50)


# ---- on any screen


def assert_fits(page: Page) -> None:
    """Check that nothing has to be scrolled sideways."""
    wide = page.evaluate("""() => [document.documentElement, ...document.querySelectorAll("*")]
        .filter((element) => element.checkVisibility() && !element.closest(".unseen"))
        .filter((element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX)
            || element === document.documentElement)
        .filter((element) => element.scrollWidth > element.clientWidth)
        .map((element) => element.outerHTML.slice(0, 80))""")
    assert wide == []
    width = page.viewport_size["width"] if page.viewport_size else 0
    outside = page.locator("button, input, textarea, #messages li").evaluate_all(
        """(all, width) => all.filter((one) => one.checkVisibility()).filter((one) => {
            const { left, right } = one.getBoundingClientRect();
            return left < 0 || right > width;
        }).map((one) => one.outerHTML.slice(0, 80))""",
        width,
    )
    assert outside == []


@pytest.mark.parametrize("look", LOOKS)
def test_screenshots(look: str, open_tab: Callable[..., Page], server: ChatServer) -> None:
    page = open_tab(**LOOKS[look])
    assert_fits(page)
    finish_animations(page)
    page.screenshot(path=SCREENSHOTS / f"{look}-entrance.png")
    page.get_by_label("Your name").fill("Ada")
    page.keyboard.press("Enter")
    populate(page, server)
    assert_fits(page)
    finish_animations(page)
    page.screenshot(path=SCREENSHOTS / f"{look}.png")


@pytest.mark.parametrize("screen", [SMALL_PHONE, PHONE, DESKTOP], ids=["320", "390", "1280"])
def test_endless_words_do_not_widen_the_page(
    screen: dict[str, Any], open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page = open_tab("W" * 24, **screen)
    robot = server.robot("M" * 24)
    robot.say("w" * 500)
    robot.say("https://example.org/" + "path/" * 90)
    robot.say("👩‍🚀" * 100)
    robot.type()
    expect(page.locator("#messages .text")).to_have_count(3)
    expect(page.locator("#typing")).not_to_be_empty()
    assert_fits(page)
    button = page.locator("#people-button")
    if button.is_visible():
        button.click()
        expect(page.locator("#people")).to_be_visible()
        assert_fits(page)


def test_nothing_jumps_when_the_connection_is_lost_or_somebody_types(
    open_tab: Callable[..., Page], server: ChatServer, problems: Problems
) -> None:
    page, grace = open_tab("Ada", **PHONE), server.robot("Grace")
    places = [page.locator(one) for one in ("#log", "#composer", "#people-button", ".bar h1")]
    before = [place.bounding_box() for place in places]
    grace.type()
    expect(page.locator("#typing")).to_have_text("Grace is typing")
    assert [place.bounding_box() for place in places] == before
    problems.expect(UNREACHABLE)
    server.kill()
    expect(page.get_by_role("status")).not_to_have_text("Online")
    assert [place.bounding_box() for place in places] == before


def test_nothing_moves_for_those_who_asked_for_less_motion(open_tab: Callable[..., Page]) -> None:
    still, moving = open_tab("Ada", reduced_motion="reduce"), open_tab("Grace")
    for page, name in ((still, "none"), (moving, "arrive")):
        page.get_by_label("Message", exact=True).fill("Hi")
        page.keyboard.press("Enter")
        expect(page.locator(".said.mine")).to_have_css("animation-name", name)


# ---- by keyboard and by screen reader


def test_everything_can_be_done_by_keyboard(open_tab: Callable[..., Page]) -> None:
    page = open_tab(**DESKTOP)
    keyboard, field = page.keyboard, page.get_by_label("Message", exact=True)
    expect(page.get_by_label("Your name")).to_be_focused()
    keyboard.type("Ada")
    keyboard.press("Tab")
    expect(page.get_by_role("button", name="Join the room")).to_be_focused()
    keyboard.press("Enter")
    expect(field).to_be_focused()
    keyboard.type("one line")
    keyboard.press("Shift+Enter")
    keyboard.type("and another")
    keyboard.press("Enter")
    expect(page.locator("#messages .text")).to_have_text(["one line\nand another"])
    expect(field).to_be_focused()
    expect(field).to_be_empty()
    keyboard.type("by the button")
    keyboard.press("Tab")
    expect(page.get_by_role("button", name="Send")).to_be_focused()
    keyboard.press("Space")
    expect(page.locator("#messages .text").last).to_have_text("by the button")
    expect(field).to_be_focused()
    keyboard.press("Shift+Tab")
    expect(page.get_by_role("log")).to_be_focused()
    outline = page.get_by_role("log").evaluate("log => getComputedStyle(log).outlineStyle")
    assert outline == "solid"
    keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Leave the room")).to_be_focused()
    keyboard.press("Enter")
    expect(page.get_by_label("Your name")).to_be_focused()


def test_the_list_of_people_on_a_phone(open_tab: Callable[..., Page], server: ChatServer) -> None:
    page = open_tab("Ada", **PHONE)
    server.robot("Grace")
    button = page.get_by_role("button", name="people here")
    expect(page.locator("#people-button-count")).to_have_text("2")
    expect(page.locator("#people")).to_be_hidden()
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#people-list .name")).to_have_text(["Ada", "Grace"])
    expect(page.locator("#people")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#people")).to_be_hidden()
    expect(button).to_be_focused()
    button.tap()
    page.get_by_role("button", name="Close the list").tap()
    expect(page.locator("#people")).to_be_hidden()
    button.tap()
    page.get_by_role("button", name="Leave the room").tap()
    expect(page.get_by_label("Your name")).to_be_visible()


@pytest.mark.parametrize("screen", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_screen_reader_finds_its_way(
    screen: dict[str, Any], open_tab: Callable[..., Page], server: ChatServer
) -> None:
    page = open_tab("Ada", **screen)
    server.robot("Grace").say("Hello")
    expect(page.locator("#messages .text")).to_have_text("Hello")
    nameless = page.locator("input, textarea, button, img").evaluate_all(
        """all => all.filter((one) => one.matches("img") ? !one.hasAttribute("alt")
            : one.matches("button") ? !one.textContent.trim() : !one.labels.length)
            .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"
    expect(page.locator("main:visible")).to_have_count(1)
    expect(page.locator("h1:visible")).to_have_count(1)
    ids = page.locator("[id]").evaluate_all("all => all.map((one) => one.id)")
    assert len(ids) == len(set(ids))
    # Phones zoom into fields with smaller letters; fingers need room (WCAG 2.2, 2.5.8: 24 px).
    sizes = page.locator("textarea, input").evaluate_all(
        "all => all.map((one) => parseFloat(getComputedStyle(one).fontSize))"
    )
    assert min(sizes) >= 16
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 44


def test_announcements_are_polite_and_few(
    open_tab: Callable[..., Page], server: ChatServer, problems: Problems
) -> None:
    robot = server.robot("Grace")
    robot.say("old news")
    page = open_tab("Ada")
    log = page.get_by_role("log", name="Messages")
    expect(log).to_have_attribute("aria-live", "polite")
    robot.say("Hello")
    # Names are on every message for those who only hear them.
    expect(log.locator(".said").last).to_contain_text("GraceHello")
    expect(page.locator("#typing")).to_have_attribute("aria-hidden", "true")
    problems.expect(UNREACHABLE)
    server.kill()
    expect(page.locator("#outage-wait")).to_have_attribute("aria-hidden", "true")
    expect(page.get_by_role("status")).not_to_contain_text(re.compile(r"\d"))
