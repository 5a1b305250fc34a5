"""The types of the fields that entries of every kind have."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, StrictInt

from millrace.declarations.option_fields import Texts
from millrace.declarations.schedules import check_cron, check_timezone
from millrace.errors import MillraceError
from millrace.names import check_dataset_name
from millrace.sources import REJECTS_ENDING

_OWNER_MAX: Final = 500
_TAG_MAX: Final = 100
"""Airflow's limits. It refuses the DAG of a longer tag, and its database an owner of 2,000 characters."""


def check_dataset(name: str) -> str:
    """Return the name of a dataset that an entry may load or read; raise ``ValueError`` for another text."""
    try:
        check_dataset_name(name)
    except MillraceError as error:
        raise ValueError(error.hint) from None
    if name.endswith(REJECTS_ENDING):
        raise ValueError(f"names that end in {REJECTS_ENDING} are reserved for rejected rows")
    return name


def _check_datasets(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("give each dataset once")
    return tuple(check_dataset(name) for name in names)


def _check_owner(name: str) -> str:
    if not name.isprintable() or not 0 < len(name) <= _OWNER_MAX:
        raise ValueError(f"give a name of 1 to {_OWNER_MAX} characters")
    return name


def _check_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    if not all(tag.isprintable() and 0 < len(tag) <= _TAG_MAX for tag in tags):
        raise ValueError(f"give tags of 1 to {_TAG_MAX} characters")
    return tags


Count = Annotated[StrictInt, Field(ge=1)]
Cron = Annotated[str, AfterValidator(check_cron)]
DatasetName = Annotated[str, AfterValidator(check_dataset)]
DatasetNames = Annotated[Texts, AfterValidator(_check_datasets)]
"""One dataset or a list of them, each once."""
Owner = Annotated[str, AfterValidator(_check_owner)]
Tags = Annotated[Texts, AfterValidator(_check_tags)]
Timezone = Annotated[str, AfterValidator(check_timezone)]
