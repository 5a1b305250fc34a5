"""The names of mapped tasks fit the column of Airflow's database."""

from __future__ import annotations

import pytest

from millrace.airflow.map_labels import LABEL_MAX, map_label


@pytest.mark.parametrize("length", [1, 249, 250])
def test_a_label_that_fits_airflow_s_column_is_unchanged(length: int) -> None:
    assert map_label("x" * length) == "x" * length


@pytest.mark.parametrize("length", [251, 512, 9000])
def test_a_long_label_is_cut_in_its_middle_to_250_characters(length: int) -> None:
    label = "first" + "ä" * (length - 15) + " (17 files)"
    cut = map_label(label)
    assert len(cut) == LABEL_MAX == 250
    assert cut.startswith("firstä")
    assert cut.endswith("ä (17 files)")


def test_the_label_limit_is_the_length_of_airflow_s_column() -> None:
    from airflow.models.taskinstance import TaskInstance

    assert TaskInstance.__table__.c.rendered_map_index.type.length == LABEL_MAX
