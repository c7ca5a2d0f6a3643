"""The report in a real browser: nothing goes wrong, nothing is asked for, the replay works, a phone is wide enough."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from nas.commands.reporting import report
from tests.pages import made

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no chromium")]
WIDTHS = (375, 768, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("runs")
    return report([made.search(root)]).resolve().as_uri()


@pytest.fixture
def troubles(browser: Any) -> list[str]:
    return []


@pytest.fixture(params=WIDTHS)
def page(browser: Any, address: str, troubles: list[str], request: pytest.FixtureRequest) -> Iterator[Any]:
    page = browser.new_page(viewport={"width": request.param, "height": 800}, color_scheme="dark")
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda asked: troubles.append(asked.url) if asked.url != address else None)
    page.goto(address)
    yield page
    assert troubles == []
    page.close()


def test_no_sideways_scrolling(page: Any) -> None:
    for details in page.locator("details").all():
        details.evaluate("element => { element.open = true; }")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_the_replay(page: Any) -> None:
    slider, cell = page.locator("input[type=range]"), page.locator(".heat tbody td").first
    before = (page.locator(".now").inner_text(), cell.inner_text(), page.locator(".cursor").first.get_attribute("x1"))
    assert before[0].startswith("epoch 4 of 4") and page.locator(".drawings:visible").count() == 1
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    after = (page.locator(".now").inner_text(), cell.inner_text(), page.locator(".cursor").first.get_attribute("x1"))
    assert after[0].startswith("epoch 2 of 4") and all(one != other for one, other in zip(before, after, strict=True))
    assert page.locator(".drawings").nth(1).is_visible() and page.locator(".drawings:visible").count() == 1
    assert page.locator(".heat").first.locator(".chosen").count() == 8
    page.keyboard.press("End")
    assert cell.inner_text() == before[1]


def test_it_plays(page: Any) -> None:
    button = page.get_by_role("button", name="play")
    button.click()
    assert page.locator(".now b").inner_text() == "epoch 1 of 4"
    playwright.expect(page.locator(".now b")).to_have_text("epoch 4 of 4", timeout=5000)
    playwright.expect(button).to_be_visible()


def test_without_a_script_all_is_there(browser: Any, address: str) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(address)
    assert page.locator(".controls").is_hidden() and page.locator(".cell:visible").count() == 2
    assert page.locator(".heat:visible").count() == 2 and page.locator(".chart:visible").count() >= 4
    page.close()
