"""A browser before the running service: Debian's Chromium, signed in, and a record of what its
console says.

Where there is no Chromium these tests are skipped; under CI=true they fail.
"""

import os
import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect, sync_playwright
from support.service.browsing import make_key
from support.service.running_service import serving

from app.auth.cookie import COOKIE

expect.set_options(timeout=120_000)


@pytest.fixture(scope="session")
def chromium_path():
    path = shutil.which("chromium")
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(
            "needs Debian's Chromium"
        )
    return path


@pytest.fixture(scope="module")
def chromium(chromium_path):
    """The browser; gone before other tests, for its event loop would stand in the way of theirs."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def service(chromium_path, tmp_path_factory):
    """The service with keys on, shared by all these tests."""
    with serving(
        tmp_path_factory.mktemp("browser") / "data",
        api_keys="true",
        owner_requests_per_minute="100000",
    ) as running:
        running.http.headers["Authorization"] = f"Bearer {make_key(running, 'ann')}"
        yield running


@pytest.fixture(scope="session")
def jobs(service):
    """Two jobs of one model that have succeeded, for tests that only look at them."""
    return [
        service.wait(service.post("residual.onnx", flops_budget=keep)["id"])
        for keep in ("0.5", "0.3")
    ]


@pytest.fixture
def browse(chromium, service):
    """Open a page of the service as somebody sees it; nothing may be wrong on its console."""

    @contextmanager
    def opened(path="/", owner=None, **options):
        context = chromium.new_context(
            base_url=str(service.http.base_url), accept_downloads=True, **options
        )
        token = (
            make_key(service, owner)
            if owner
            else service.http.headers["Authorization"].partition(" ")[2]
        )
        url = str(service.http.base_url)
        context.add_cookies(
            [
                {
                    "name": COOKIE,
                    "value": token,
                    "url": url,
                    "httpOnly": True,
                    "sameSite": "Strict",
                }
            ]
        )
        page = context.new_page()
        messages = []
        page.on(
            "console",
            lambda message: (
                messages.append(message.text) if _is_wrong(message) else None
            ),
        )
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.set_default_timeout(120_000)
        page.goto(path)
        yield page
        context.close()
        assert messages == []

    return opened


def _is_wrong(message):
    """An answer of 4xx is what a test may be after; an error of any other kind is not."""
    return message.type == "error" and "with a status of 4" not in message.text
