"""Pages of Airflow: its runs, the tab with the live page, and the form of a DAG."""

from __future__ import annotations

from urllib.parse import quote

from playwright.sync_api import Locator, Page

from local_stack.airflow_client import AirflowClient
from tests.browser.live import LivePage

RUN_S = 120.0


def run_page(airflow: AirflowClient, dag: str, run_id: str, *rest: str) -> str:
    return "/".join([airflow.url, "dags", dag, "runs", quote(run_id, safe=""), *rest])


def tab(page: Page, route: str) -> LivePage:
    """Open a tab of Airflow by a click; return the content of its frame."""
    page.locator(f'a[href$="/plugin/{route}"]').click()
    frame = page.locator('iframe[title="Live"]').element_handle().content_frame()
    assert frame is not None
    return LivePage(page, frame)


def open_section(form: Locator, title: str) -> None:
    form.get_by_role("button", name=title, exact=True).click()


def fill(form: Locator, kind: str, **values: str) -> None:
    for key, value in values.items():
        form.locator(f'{kind}[name="element_{key}"]').fill(value)
