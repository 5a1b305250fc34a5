"""Keys: unique and never null in the main input and in the result, and the same in both."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import UsageError
from tests.unit.training.prepare.rows.preparing import preparation, prepare

ROWS = 50


def facts(**columns: object) -> pa.Table:
    given = {
        "id": list(range(ROWS)),
        "part": ["p"] * ROWS,
        "y": [i % 2 == 0 for i in range(ROWS)],
        "a": np.arange(ROWS) / 3,
    }
    return pa.table({**given, **columns})


def refusal(folder: Path, query: str, table: pa.Table) -> str:
    with pytest.raises(UsageError) as caught:
        prepare(folder, preparation(query, key=("id", "part")), table)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_repeated_key_of_the_main_input_is_refused_with_both_counts(tmp_path: Path) -> None:
    ids = [*range(ROWS - 3), 9, 9, 4]
    message = refusal(tmp_path, "SELECT DISTINCT ON (id) id, part, a FROM facts", facts(id=ids))
    assert message.startswith(
        "the key id, part is not unique in the main input 'facts': 50 rows have 47 keys; the first repeated one is "
        "(4, p), in 2 rows"
    )


def test_a_repeated_key_of_the_result_is_refused_with_both_counts(tmp_path: Path) -> None:
    query = "SELECT id, part, a FROM facts UNION ALL SELECT id, part, a FROM facts WHERE id IN (7, 8)"
    message = refusal(tmp_path, query, facts())
    assert (
        "not unique in the query's result: 52 rows have 50 keys; the first repeated one is (7, p), in 2 rows" in message
    )


def test_a_null_in_the_key_is_refused_with_its_column(tmp_path: Path) -> None:
    table = facts(part=[None, None, *["p"] * (ROWS - 2)])
    message = refusal(tmp_path, "SELECT id, part, a FROM facts", table)
    assert "the key column 'part' is null in 2 of 50 rows of the main input 'facts'" in message
    query = "SELECT id, CASE WHEN id > 0 THEN part END AS part, a FROM facts"
    assert "'part' is null in 1 of 50 rows of the query's result" in refusal(tmp_path, query, facts())


def test_a_key_that_the_main_input_lacks_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "SELECT id + 10 AS id, part, a FROM facts", facts())
    assert "10 of 50 rows of the query's result have a key that the main input 'facts' does not have" in message


def test_a_key_of_another_width_is_the_same_key(tmp_path: Path) -> None:
    query = "SELECT CAST(id AS TINYINT) AS id, part, a FROM facts"
    made = prepare(tmp_path, preparation(query, key=("id", "part")), facts())
    assert made.rows.schema.field("id").type == pa.int8()
    assert made.table.num_rows == ROWS


def test_texts_with_separators_are_different_keys(tmp_path: Path) -> None:
    first = [["a|", "a", "a\\", ""][i % 4] + str(i // 4) for i in range(ROWS)]
    second = [["b", "|b", "|b", "a||b"][i % 4] for i in range(ROWS)]
    made = prepare(
        tmp_path, preparation("SELECT id, part, a FROM facts", key=("id", "part")), facts(id=first, part=second)
    )
    assert made.table.num_rows == ROWS
