"""Access to the live page as users perceive it: by role and name, never by a variable of the page's code."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import ConsoleMessage, Frame, Locator, Page, expect

__all__ = ["LivePage", "WAIT_MS"]

WAIT_MS = 30_000
_OFFLINE = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")


class LivePage:
    """A page, or the content of a frame in one."""

    def __init__(self, page: Page, frame: Frame | None = None) -> None:
        self.page = page
        self.root: Any = frame or page
        self.errors: list[str] = []
        if frame is None:
            page.on("pageerror", lambda error: self.errors.append(str(error)))
            page.on("console", self._console)

    def _console(self, message: ConsoleMessage) -> None:
        # An unreachable bridge is a network error, which the browser logs itself.
        if message.type == "error" and not any(code in message.text for code in _OFFLINE):
            self.errors.append(message.text)

    def run(self, run_id: str) -> Locator:
        """Return the section of a run, found by its heading."""
        heading = self.root.get_by_role("heading", name=re.compile(rf"(^|\s){re.escape(run_id)}(\s|$)"))
        card: Locator = self.root.locator("section").filter(has=heading)
        return card

    def row(self, task: str, run_id: str = "") -> Locator:
        """Return the row of a task: the one whose header begins with exactly that name."""
        where = self.run(run_id) if run_id else self.root
        header = self.root.get_by_role("rowheader", name=re.compile(rf"^\s*{re.escape(task)}(\s|$)"))
        row: Locator = where.get_by_role("row").filter(has=header)
        return row

    def shows(self, task: str, *texts: str, run_id: str = "", within_s: float = WAIT_MS / 1000) -> None:
        """Wait until the row of ``task`` contains each of the texts."""
        for text in texts:
            expect(self.row(task, run_id)).to_contain_text(text, timeout=within_s * 1000)

    def says(self, text: str | re.Pattern[str], within_s: float = WAIT_MS / 1000) -> None:
        """Wait until the state of the connection contains the text."""
        expect(self.root.get_by_role("banner")).to_contain_text(text, timeout=within_s * 1000)
