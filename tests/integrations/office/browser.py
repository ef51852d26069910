"""Open a page in Chromium as people do, and print as JSON what happened.

Run by the Python of build/office: ``browser.py PAGE FOLDER``. Each size and colour scheme has a
screenshot in FOLDER.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")
MEASURE = """() => ({
    wide: Array.from(document.querySelectorAll('body *')).filter(element =>
        !element.closest('.scroll') && element.getBoundingClientRect().right > innerWidth
    ).map(element => element.outerHTML.slice(0, 80)),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scripts: document.scripts.length,
    links: document.querySelectorAll('a, img, iframe, object, embed, form[action]').length,
    hacked: window.hacked === true,
    rows: document.querySelectorAll('#enrollments tbody tr').length,
    shown: document.getElementById('shown')?.textContent,
})"""
COLUMN = """position => Array.from(
    document.querySelectorAll('#enrollments tbody tr'), row => row.cells[position].textContent)"""


def main(path: Path, folder: Path) -> dict[str, Any]:
    """Return what each size and scheme shows, and what the controls do."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        views = {}
        for size in SIZES:
            for scheme in SCHEMES:
                views[f"{size}-{scheme}"] = look(browser, path, folder, size, scheme)
        used = use(browser, path)
        printed = print_page(browser, path, folder)
        browser.close()
    return {"views": views, "used": used, "printed": printed}


def open_page(browser: Browser, path: Path, **settings: Any) -> tuple[Page, list[str]]:
    """Return the page, and the list of what it says, asks and requests."""
    # The page forbids scripts of others, axe among them.
    context = browser.new_context(bypass_csp=settings.pop("bypass_csp", False), **settings)
    page, events = context.new_page(), []
    page.on("request", lambda request: events.append(f"request {request.url}"))
    page.on("console", lambda message: events.append(f"{message.type} {message.text}"))
    page.on("pageerror", lambda error: events.append(f"error {error}"))
    page.on("dialog", lambda dialog: events.append(f"dialog {dialog.message}"))
    page.goto(path.as_uri())
    return page, events


def look(browser: Browser, path: Path, folder: Path, size: str, scheme: str) -> dict[str, Any]:
    """Return what a view shows, and take its screenshot."""
    width, height = SIZES[size]
    settings = {"viewport": {"width": width, "height": height}, "color_scheme": scheme}
    page, events = open_page(browser, path, **settings)
    page.screenshot(path=folder / f"{size}-{scheme}.png", full_page=True)
    view = {"events": events, **page.evaluate(MEASURE)}
    page.context.close()
    page, _ = open_page(browser, path, bypass_csp=True, **settings)
    found = Axe().run(page).response["violations"]
    view["violations"] = [
        f"{rule['id']}: {node['html'][:200]}" for rule in found for node in rule["nodes"]
    ]
    page.context.close()
    return view


def use(browser: Browser, path: Path) -> dict[str, Any]:
    """Return what sorting, searching, filtering and showing more do."""
    page, events = open_page(browser, path)
    headings = page.locator("#enrollments thead th")
    names = headings.all_text_contents()
    done: dict[str, Any] = {"headings": names, "events": events}
    if not names:
        return done
    for name in ("learning object", "progress %", "enrolled"):
        position = names.index(name)
        for direction in ("ascending", "descending"):
            headings.nth(position).locator("button").click()
            done[f"{name} {direction}"] = page.evaluate(COLUMN, position)
            assert headings.nth(position).get_attribute("aria-sort") == direction
    state = names.index("state")
    select = page.locator(f"select[data-column='{state}']")
    choices = select.locator("option").all_text_contents()
    select.select_option(choices[-1])
    done["filtered"] = [choices[-1], sorted(set(page.evaluate(COLUMN, state)))]
    select.select_option("")
    page.locator("#search").fill("FIRST aid")
    done["found"] = page.evaluate(COLUMN, names.index("learning object"))
    page.locator("#search").fill("")
    before = page.evaluate(MEASURE)["rows"]
    if page.locator("#more").is_visible():
        page.locator("#more").click()
    done["more"] = [before, page.evaluate(MEASURE)["rows"]]
    return done


def print_page(browser: Browser, path: Path, folder: Path) -> dict[str, Any]:
    """Return how the page looks on paper, and print it."""
    page, _ = open_page(browser, path, color_scheme="dark")
    page.emulate_media(media="print")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    controls = page.locator("#filters, #more").evaluate_all(
        "found => found.filter(control => control.offsetParent !== null).length"
    )
    page.pdf(path=folder / "page.pdf", format="A4")
    page.context.close()
    return {"background": background, "controls": controls}


if __name__ == "__main__":
    json.dump(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2])), sys.stdout)
