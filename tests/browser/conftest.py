"""A real Chromium, headless, from the system; every page it opens is watched for errors and refused content.

Screenshots for review are kept in ``.millrace/screenshots``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from local_stack.airflow_client import AirflowClient
from local_stack.settings import CHECKOUT
from millrace.settings import load_settings
from tests.browser.live import WAIT_MS, LivePage
from tests.dags.conftest import airflow, probe, probe_folder, store
from tests.integration.sse_bridge.conftest import bridge, start_bridge, topic

__all__ = ["airflow", "bridge", "probe", "probe_folder", "start_bridge", "store", "topic"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOW = "no Chromium on the PATH: `apt-get install chromium`, or MILLRACE_CHROMIUM=/path/to/it"
WIDE = {"width": 1280, "height": 900}
NARROW = {"width": 360, "height": 780}

OpenPage = Callable[..., LivePage]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Start the browser in which all pages of a test run are opened."""
    path = os.environ.get("MILLRACE_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(HOW)
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--enable-precise-memory-info"])
        yield started
        started.close()


@pytest.fixture
def open_context(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Open a browser context for one user: only its tabs share its cookies, storage and workers."""
    opened: list[BrowserContext] = []

    def open_one(**options: Any) -> BrowserContext:
        opened.append(chromium.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options}))
        # Airflow's own pages are slow on a machine that also runs two nodes, Kafka and the load itself.
        opened[-1].set_default_timeout(2 * WAIT_MS)
        opened[-1].set_default_navigation_timeout(3 * WAIT_MS)
        return opened[-1]

    yield open_one
    for context in opened:
        context.close()


@pytest.fixture
def open_page(open_context: Callable[..., BrowserContext]) -> Iterator[OpenPage]:
    """Open a page of the bridge; at the end no page may have reported an error or requested refused content."""
    opened: list[LivePage] = []

    def open_one(url: str, context: BrowserContext | None = None, **options: Any) -> LivePage:
        page: Page = (context or open_context(**options)).new_page()
        opened.append(LivePage(page))
        page.goto(url)
        return opened[-1]

    yield open_one
    for live in opened:
        assert live.errors == []


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """Return the folder of screenshots."""
    folder = CHECKOUT / ".millrace" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def signed_in(airflow: AirflowClient, open_context: Callable[..., BrowserContext]) -> Page:
    """Open a page that is signed in at Airflow."""
    airflow_settings = load_settings().airflow
    assert airflow_settings.password is not None
    body = {"username": airflow_settings.username, "password": airflow_settings.password.get_secret_value()}
    answer = httpx.post(f"{airflow.url}/auth/token", json=body, timeout=30, trust_env=False)
    context = open_context()
    cookie: Any = {"name": "_token", "value": answer.json()["access_token"], "domain": "127.0.0.1", "path": "/"}
    context.add_cookies([cookie])
    return context.new_page()
