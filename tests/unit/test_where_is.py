"""The files that answer twenty questions of a newcomer exist."""

from __future__ import annotations

import json
from pathlib import Path

from local_stack.settings import CHECKOUT

QUESTIONS = json.loads((Path(__file__).parents[1] / "data" / "where_is.json").read_text())


def test_each_of_twenty_questions_names_an_existing_file() -> None:
    assert len({each["question"] for each in QUESTIONS}) == 20
    assert [each["answer"] for each in QUESTIONS if not (CHECKOUT / each["answer"]).is_file()] == []
