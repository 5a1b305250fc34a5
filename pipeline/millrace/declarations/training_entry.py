"""The model of one entry of ``conf/training.yaml``: how training data is made, checked, kept and used."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StrictBool, ValidationInfo, model_validator

from millrace.declarations.common_fields import Count, Owner, Tags, Timezone
from millrace.declarations.error_text import raised, unknown_key
from millrace.declarations.schedules import cron_in_words
from millrace.declarations.split_fields import Splits, has_cuts, made_splits, split_columns
from millrace.declarations.training_fields import (
    SCHEDULE_WORDS,
    STORED_TARGET,
    Columns,
    ExpectationFields,
    Expression,
    FunctionName,
    Inputs,
    Key,
    NullRules,
    Schedule,
    Seed,
    read_query,
)
from millrace.errors import UsageError
from millrace.names import check_dataset_name, parse_reference

if TYPE_CHECKING:
    from millrace.training import Preparation

QUERIES: Final = frozenset({"query", "query_file"})
"""The fields that have the query; an entry has one of them."""
_ALWAYS: Final = "always"


class TrainingEntry(BaseModel):
    """Declared training data. ``preparation`` returns the fields that its preparation needs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inputs: Inputs
    """The datasets of the query by the alias that it uses for each, as in ``{flights: flights, planes: planes@best}``.
    The first is the main input."""
    query: Expression | None = None
    """One SELECT statement in the SQL of DuckDB."""
    query_file: str | None = None
    """The path of a file with the query, below the folder of this file."""
    key: Key
    """The column that identifies a row of the main input and of the result, or a list of columns."""
    target: Expression
    """The value to predict: an expression over the main input, such as ``arr_delay > 15``."""
    at: Expression | None = None
    """The moment of prediction: an expression over the main input without the columns of ``after``."""
    known: dict[str, str] = Field(default_factory=dict)
    """For each input but the first, the column of the result with the time at which its row was known, or
    ``always``."""
    after: Columns = ()
    """Columns of the main input that are known only after the moment of prediction. The query does not see them."""
    features: Columns | None = None
    """The features; by default every other column of numbers, and the categories."""
    categories: Columns = ()
    """Columns of the result whose values are stored as codes."""
    nulls: NullRules = Field(default_factory=dict)
    """The rule for nulls of a column: ``mean`` (of the split train), ``drop`` (of the row), ``indicator`` (a boolean
    column) or the constant that replaces them."""
    splits: Splits
    """The weight of each split, and in ``by`` the columns by whose hash rows are split (by default the key). Or
    cut-off times, as in ``{at: {train: "< 2013-09-01", test: rest}}``."""
    seed: Seed = 0
    """The number that decides the splits and the order of the rows."""
    schedule: Schedule = "any"
    """``any``: a new version of any input starts a preparation. ``all``: new versions of all inputs do. Or a cron
    string of five fields."""
    timezone: Timezone = "UTC"
    """The timezone of ``schedule``."""
    keep: Count | None = None
    """The number of versions that are kept; without it none is removed."""
    warm: StrictBool = True
    """Whether a new version is put into Redis."""
    expect: ExpectationFields = ExpectationFields()
    """Limits that stop a preparation before it is published."""
    train: FunctionName | None = None
    """The function that trains a model, as ``module:function``. The folder of this file is on Python's path."""
    owner: Owner | None = None
    """The owner of the DAGs."""
    tags: Tags = ()
    """Tags of the DAGs."""

    _folder: Path = PrivateAttr(default_factory=Path.cwd)
    _text: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _check_together(self, info: ValidationInfo) -> TrainingEntry:
        """Read the query, and refuse fields that contradict each other."""
        context = info.context or {}
        self._folder = context.get("folder", self._folder)
        if alias := self._own_input(context.get("name", "")):
            raise raised("names the dataset of the entry itself", "remove it", field=("inputs", alias))
        self._check_known()
        if self.at is None and (has_cuts(self.splits) or set(self.known.values()) - {_ALWAYS}):
            raise raised("is missing: known or splits compare with it", "give the moment of prediction", field="at")
        if both := sorted({*self.after} & {*self.key}):
            raise raised(f"has the column {both[0]} of the key", "remove it there", field="after")
        self._check_result_columns()
        self._text = self._query_text()
        return self

    def _own_input(self, name: str) -> str | None:
        """Return the alias of an input that is the dataset of this entry."""
        return next((alias for alias, dataset in self._input_datasets() if dataset == name), None)

    def _input_datasets(self) -> list[tuple[str, str]]:
        return [(alias, parse_reference(reference)[0]) for alias, reference in self.inputs.items()]

    def _check_known(self) -> None:
        main, *joined = self.inputs
        for alias, column in self.known.items():
            if alias == main:
                raise raised("is the main input", "remove it: known has the other inputs", field=("known", alias))
            if alias not in joined:
                message, hint = unknown_key(alias, joined) if joined else ("is unknown", "the entry has one input")
                raise raised(message, hint, field=("known", alias))
            if not column:
                raise raised('is ""', f"give a column of the result, or {_ALWAYS}", field=("known", alias))
        if missing := [alias for alias in joined if alias not in self.known]:
            hint = f"give the column with the time at which its row was known, or {_ALWAYS}"
            raise raised(f"lacks the input {missing[0]}", hint, field="known")

    def _check_result_columns(self) -> None:
        """Refuse columns that are not stored under their names: the target's, and those of ``known``."""
        dropped = {column: alias for alias, column in self.known.items() if column != _ALWAYS}
        for field, columns in self._result_columns():
            for column in columns:
                if column == STORED_TARGET:
                    hint = "the stored target has this name; give the column another one in the query"
                    raise raised(f"has a column {STORED_TARGET}", hint, field=field)
                if column in dropped:
                    hint = f"known.{dropped[column]} names it, and such a column is not stored"
                    raise raised(f"has the column {column}", hint, field=field)

    def _result_columns(self) -> Iterable[tuple[str, Iterable[str]]]:
        yield "key", self.key
        yield "features", self.features or ()
        yield "categories", self.categories
        yield "nulls", self.nulls
        yield "splits", split_columns(self.splits)

    def _query_text(self) -> str:
        if self.query is not None and self.query_file is not None:
            raise raised("contradicts query", "give one of query, query_file", field="query_file")
        if self.query_file is not None:
            return read_query(self.query_file, self._folder)
        if self.query is None:
            raise raised("is missing", "give query or query_file", field="query")
        return self.query

    @property
    def folder(self) -> Path:
        """The folder of the file that has the entry; the working directory for an entry made in Python."""
        return self._folder

    @property
    def trainer(self) -> tuple[str, str] | None:
        """The module and the function that train a model, or None."""
        if self.train is None:
            return None
        module, _, function = self.train.partition(":")
        return module, function

    @property
    def datasets(self) -> tuple[str, ...]:
        """The datasets of the inputs, each once, the main input's first."""
        return tuple(dict.fromkeys(dataset for _, dataset in self._input_datasets()))

    @property
    def cron(self) -> str | None:
        """The cron string of ``schedule``, or None."""
        return None if self.schedule in SCHEDULE_WORDS else self.schedule

    def schedule_in_words(self) -> str:
        """Return the schedule as words, such as ``after flights or weather``."""
        if self.cron:
            return cron_in_words(self.cron, self.timezone)
        return f"after {(' or ' if self.schedule == 'any' else ' and ').join(self.datasets)}"

    def preparation(self, name: str) -> Preparation:
        """Return the preparation of the dataset ``name``; raise ``UsageError`` if an input is this dataset."""
        from millrace.training import Preparation

        if alias := self._own_input(check_dataset_name(name)):
            raise UsageError(f"the input {alias} of {name} is {name} itself", hint="prepare it under another name")
        return Preparation(
            name=name,
            inputs=dict(self.inputs),
            query=self._text,
            key=self.key,
            target=self.target,
            splits=made_splits(self.splits),
            at=self.at,
            known=dict(self.known),
            after=self.after,
            features=self.features,
            categories=self.categories,
            nulls=dict(self.nulls),
            seed=self.seed,
            expect=self.expect.expectations,
        )
