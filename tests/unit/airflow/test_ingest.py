"""Names that an ingestion's tasks have in Airflow."""

from __future__ import annotations

import pytest

from pipeline.airflow.ingest import LABEL_MAX, map_label


@pytest.mark.parametrize("length", [1, 249, 250])
def test_a_label_that_fits_airflow_s_column_stays_as_it_is(length: int) -> None:
    assert map_label("x" * length) == "x" * length


@pytest.mark.parametrize("length", [251, 512, 9000])
def test_a_label_that_is_too_long_is_cut_in_its_middle_to_250_characters(length: int) -> None:
    label = "first" + "ä" * (length - 15) + " (17 files)"
    cut = map_label(label)
    assert len(cut) == LABEL_MAX == 250
    assert cut.startswith("firstä")
    assert cut.endswith("ä (17 files)")


def test_airflow_s_column_has_the_length_that_labels_are_cut_to() -> None:
    from airflow.models.taskinstance import TaskInstance

    assert TaskInstance.__table__.c.rendered_map_index.type.length == LABEL_MAX
