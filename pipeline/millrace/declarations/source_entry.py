"""The model of one entry of ``conf/sources.yaml``: where the data of a dataset comes from, and when it is loaded."""

from __future__ import annotations

from dataclasses import fields
from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictBool,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from millrace.declarations.common_fields import Count, Cron, DatasetName, DatasetNames, Owner, Tags, Timezone
from millrace.declarations.error_text import raised
from millrace.declarations.option_fields import SOURCE_OPTIONS, OptionFields, Texts
from millrace.declarations.schedules import (
    cron_in_words,
    interval_in_words,
    next_cron_time,
    parse_interval,
    parse_time,
)
from millrace.declarations.uri_dates import check_dates, has_date
from millrace.errors import MillraceError
from millrace.names import has_credentials
from millrace.sources import NAME_WITH_REJECTS_MAX, REJECTS_ENDING, BadRowBudget, Contract, Reaction, SourceOptions

SCHEDULES: Final = frozenset({"schedule", "every", "after"})
"""The fields that start runs; an entry has one of them at most."""
_BAD_ROWS_SCHEMA: Final = {
    "anyOf": [
        {"type": "integer", "minimum": 0},
        {"type": "string", "pattern": rf"[0-9]+|{BadRowBudget.PERCENT_PATTERN}"},
    ]
}
Word = Literal["evolve", "freeze", "discard_row", "discard_value"]
_REACTIONS: Final = list(get_args(Word))


def _check_uris(uris: tuple[str, ...]) -> tuple[str, ...]:
    # First, because the other errors show all URIs.
    if any(map(has_credentials, uris)):
        raise raised("has a URI with credentials", "remove them, and name a connection in the field connection")
    if not uris or not all(uri.strip() and uri != "-" and uri.isprintable() for uri in uris):
        raise ValueError("give a path, a pattern or a URI")
    for uri in uris:
        check_dates(uri)
    return uris


class ContractFields(BaseModel):
    """The fields of a contract; ``contract`` has their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    columns: Word = "evolve"
    types: Word = "freeze"

    @property
    def contract(self) -> Contract:
        """Return the contract with these fields."""
        return Contract(Reaction(self.columns), Reaction(self.types))


def _as_fields(value: Any) -> Any:
    return Contract.of(value).to_json() if isinstance(value, str) else value


def _check_interval(text: str) -> str:
    parse_interval(text)
    return text


def _check_time(text: str) -> str:
    parse_time(text)
    return text


_CONTRACT_SCHEMA: Final = {
    "anyOf": [
        {"enum": _REACTIONS},
        {
            "type": "object",
            "properties": {field.name: {"enum": _REACTIONS} for field in fields(Contract)},
            "additionalProperties": False,
        },
    ]
}
Connection = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,249}$")]


class SourceEntry(OptionFields):
    """A declared source. Other fields are the options of ``millrace load``."""

    uri: Annotated[Texts, AfterValidator(_check_uris)]
    """A path, a pattern or a URI, or a list of them; ``{date:%Y/%m/%d}`` is the logical date of the run, and
    ``{date-1d:%Y/%m/%d}`` the day before."""
    connection: Connection | None = None
    """The name of the connection that has the credentials for the URI."""
    dataset: DatasetName = ""
    """The dataset that is loaded; by default the name of the entry."""
    mode: Literal["replace", "append", "incremental"] = "replace"
    """``replace``: the new version has only the rows of this load. ``append``: it also has the rows of the latest
    version. ``incremental``: like ``append``, without the files that are loaded already; the default for a URI with a
    date."""
    on_change: Literal["refuse", "append", "ignore"] = "refuse"
    """With ``incremental`` the reaction to a loaded file that changed: ``refuse`` the load, ``append`` the file
    again, or ``ignore`` it."""
    schedule: Cron | None = None
    """A cron string of five fields. Without ``schedule``, ``every`` and ``after`` the entry is loaded by hand."""
    timezone: Timezone = "UTC"
    """The timezone of ``schedule``, of ``expected_by`` and of dates in the URI."""
    every: Annotated[str, AfterValidator(_check_interval)] | None = None
    """The time between two loads, such as ``15m``, ``2h`` or ``1d``."""
    after: DatasetNames | None = None
    """A dataset, or a list of them, whose new versions start a load."""
    contract: Annotated[ContractFields, BeforeValidator(_as_fields), WithJsonSchema(_CONTRACT_SCHEMA)] = (
        ContractFields()
    )
    """``evolve``, ``freeze``, ``discard_row`` or ``discard_value``, or a map with ``columns`` and ``types``; by default
    columns evolve and types freeze."""
    max_bad_rows: Annotated[
        BadRowBudget,
        PlainValidator(BadRowBudget.of),
        PlainSerializer(str),
        WithJsonSchema(_BAD_ROWS_SCHEMA),
    ] = BadRowBudget(rows=0)
    """The bad rows that a load may set aside: a number like ``100``, or a share of all rows like ``1%``."""
    max_bytes: Count | None = None
    """The largest total size of the files of a load, in bytes."""
    max_files: Count | None = None
    """The largest number of files of a load."""
    warm: StrictBool = True
    """Whether a new version is put into Redis."""
    keep: Count | None = None
    """The number of versions that are kept; without it none is removed."""
    expected_by: Annotated[str, AfterValidator(_check_time)] | None = None
    """The time of day by which a version is expected, such as ``"06:00"``."""
    notify: Connection | None = None
    """The name of the connection to which failures, rejected rows and late loads are reported."""
    owner: Owner | None = None
    """The owner of the DAG."""
    tags: Tags = ()
    """Tags of the DAG."""

    @model_validator(mode="after")
    def _check_together(self, info: ValidationInfo) -> SourceEntry:
        """Set the defaults that depend on other fields, and refuse fields that contradict each other."""
        self.dataset = self.dataset or (info.context or {}).get("name", "")
        given = sorted(name for name in SCHEDULES if getattr(self, name) is not None)
        if len(given) > 1:
            raise raised(f"contradicts {given[0]}", f"give one of {', '.join(given)}", field=given[1])
        if self.dataset in (self.after or ()):
            raise raised("names the dataset of the entry itself", "remove it", field="after")
        if self.max_bad_rows.rows != 0 and len(self.dataset) > NAME_WITH_REJECTS_MAX:
            hint = f"with max_bad_rows a dataset has a name of at most {NAME_WITH_REJECTS_MAX} characters"
            raise raised(f"is too long for its rejects {self.dataset}{REJECTS_ENDING}", hint, field="dataset")
        self._check_mode()
        self._check_options()
        return self

    def _check_mode(self) -> None:
        if any(map(has_date, self.uri)):
            if "mode" not in self.model_fields_set:
                self.mode = "incremental"
            if self.mode == "append":
                raise raised('is "append" for a URI with a date', "give incremental or replace", field="mode")

    def _check_options(self) -> None:
        try:
            self.source_options()
        except MillraceError as error:
            raise raised(f"has contradicting options: {error.message}", error.hint) from None

    def source_options(self) -> SourceOptions:
        """Return the options by which the source is read."""
        given = {name: value for name in SOURCE_OPTIONS if (value := getattr(self, name)) is not None}
        return SourceOptions(connection=self.connection, **given)

    @property
    def interval(self) -> timedelta | None:
        """The time between two loads of an entry with ``every``."""
        return parse_interval(self.every) if self.every else None

    def next_run(self, last: datetime | None, now: datetime) -> datetime | None:
        """Return the time of the next run, in the entry's timezone, if its last one started at ``last``.

        It is ``now`` for a run that is due, and None for an entry that no time starts. All times have a timezone.
        """
        if self.schedule:
            return next_cron_time(self.schedule, self.timezone, now)
        if self.interval is None:
            return None
        due = now if last is None else max(now, last + self.interval)
        return due.astimezone(ZoneInfo(self.timezone))

    def schedule_in_words(self) -> str:
        """Return the schedule as words, such as ``at 02:05 (UTC)`` or ``by hand``."""
        if self.schedule:
            return cron_in_words(self.schedule, self.timezone)
        if self.every:
            return interval_in_words(self.every)
        return f"after {', '.join(self.after)}" if self.after else "by hand"
