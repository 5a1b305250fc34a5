"""The names that Airflow shows for the mapped tasks of a load."""

from __future__ import annotations

LABEL_MAX = 250
"""Characters of Airflow's column ``rendered_map_index``; PostgreSQL and MySQL refuse a longer one."""


def map_label(label: str) -> str:
    """Return the name of a mapped task for a split's label: the label, or its two ends if it is too long."""
    if len(label) <= LABEL_MAX:
        return label
    half = (LABEL_MAX - 1) // 2
    return f"{label[: LABEL_MAX - 1 - half]}…{label[-half:]}"
