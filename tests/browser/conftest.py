"""Chromium, and pages opened in it from disk."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

# The evidence that the report's unit tests show: here it is seen.
from unit.report.conftest import (  # noqa: F401
    _candidate_maker,
    _decision_maker,
    alone,
    crowd,
    decision,
    field,
    nobody,
    selections,
    tie,
)

AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 120_000
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Opened(NamedTuple):
    """A page in the browser, with everything that it did beside being shown."""

    page: Page
    complaints: list[str]
    requests: list[str]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; without one these tests are skipped, but never in CI."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        message = f"no browser: none of {', '.join(NAMES)} is on the path"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    # Chromium refuses to run as root, as in containers, with its sandbox.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=path, args=["--disable-gpu", *options], timeout=PATIENCE_MS
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, which looks for what keeps people out; without it tests fail in CI."""
    if not AXE.is_file():
        message = f"no axe-core: run `npm ci` in {AXE.parents[2]}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return AXE.read_text(encoding="utf-8")


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Open a page's HTML from disk: ``open_page(html, width=500, dark=True)``."""
    contexts = []

    def open_(html: str, *, width: int = 1280, dark: bool = False) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(html, encoding="utf-8")
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        contexts.append(context)
        page, complaints, requests = context.new_page(), list[str](), list[str]()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        return Opened(page, complaints, requests)

    yield open_
    for context in contexts:
        context.close()
