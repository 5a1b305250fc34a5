"""The types of the fields that only entries of training data have: inputs, columns, rules for nulls, and limits."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    StrictInt,
    WithJsonSchema,
)

from millrace.declarations.common_fields import check_dataset
from millrace.declarations.error_text import raised
from millrace.declarations.option_fields import Texts
from millrace.declarations.schedules import check_cron
from millrace.errors import MillraceError
from millrace.names import first_duplicate, parse_reference

if TYPE_CHECKING:
    from millrace.training import Expectations

NULL_RULES: Final = ("mean", "drop", "indicator")
"""The words of ``nulls``; every other value is the constant that replaces a null."""
STORED_TARGET: Final = "target"
"""The name of the stored column that has the target, which no other column may have."""
QUERY_BYTES_MAX: Final = 100_000
SCHEDULE_WORDS: Final = ("any", "all")
_ALIAS: Final = r"[a-z][a-z0-9_]*"
_SEED_MAX: Final = 2**63 - 1
_FILE: Final = "query_file"
_FUNCTION: Final = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


def _check_alias(alias: str) -> str:
    if not re.fullmatch(_ALIAS, alias):
        raise raised("is not an alias", "use a lower-case letter, then lower-case letters, digits or underscores")
    return alias


def _check_reference(reference: str) -> str:
    try:
        dataset, _ = parse_reference(reference)
    except MillraceError as error:
        raise ValueError(error.hint) from None
    check_dataset(dataset)
    return reference


def _check_inputs(inputs: dict[str, str]) -> dict[str, str]:
    if not inputs:
        raise ValueError("give at least one alias and its dataset")
    return inputs


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("give an expression")
    return text


def _check_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    if not all(names):
        raise ValueError("give names of columns")
    if duplicate := first_duplicate(names):
        raise raised(f"has the column {duplicate} twice", "give each column once")
    return names


def _check_key(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("give at least one column")
    return names


def _check_rule(value: Any) -> Any:
    is_finite = math.isfinite(value) if isinstance(value, float) else isinstance(value, str | int)
    if not is_finite:
        raise ValueError(f"give {', '.join(NULL_RULES)} or a constant")
    return value


def _check_share(value: Any) -> tuple[float, float]:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or any(isinstance(share, bool) or not isinstance(share, int | float) for share in value):
        raise ValueError("give a list of two numbers, the least and the largest share")
    low, high = value
    if not 0 <= low <= high <= 1:
        raise ValueError("give two numbers from 0 to 1, the lower one first")
    return float(low), float(high)


def _check_schedule(text: str) -> str:
    try:
        return text if text in SCHEDULE_WORDS else check_cron(text)
    except ValueError as error:
        raise ValueError(f"give {', '.join(SCHEDULE_WORDS)} or a cron string: {error}") from None


def _check_function(name: str) -> str:
    if not re.fullmatch(_FUNCTION, name):
        raise ValueError("give a function, as in module:function")
    return name


def read_query(name: str, folder: Path) -> str:
    """Return the text of a query's file, whose path is below ``folder``; raise an error of the field otherwise."""
    path = _query_path(name, folder)
    try:
        with path.open("rb") as file:
            content = file.read(QUERY_BYTES_MAX + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise _no_query(name, f"cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise _no_query(name, "is not UTF-8") from None
    if len(content) > QUERY_BYTES_MAX or not text.strip():
        raise _no_query(name, f"is empty or larger than {QUERY_BYTES_MAX:,} bytes")
    return text


def _query_path(name: str, folder: Path) -> Path:
    try:
        path, is_other = (folder / name).resolve(), (folder / name).exists() and not (folder / name).is_file()
    except (OSError, ValueError, RuntimeError):  # links in a circle, or a null character
        raise _no_query(name, "is no path") from None
    if Path(name).is_absolute() or not path.is_relative_to(folder.resolve()):
        raise _no_query(name, "is outside of the folder of the entry", "give a path below it")
    if is_other:  # a pipe would wait for its writer
        raise _no_query(name, "is not a file")
    return path


def _no_query(name: str, reason: str, hint: str = "give a file of SQL") -> Exception:
    return raised(f"is {name!r}, which {reason}", hint, field=_FILE)


_INPUTS_SCHEMA: Final = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": f"^{_ALIAS}$"},
    "additionalProperties": {"type": "string"},
}
_RULE_SCHEMA: Final = {"type": ["string", "number", "boolean"], "examples": list(NULL_RULES)}
_SHARE_SCHEMA: Final = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "maximum": 1},
    "minItems": 2,
    "maxItems": 2,
}
Alias = Annotated[str, AfterValidator(_check_alias)]
Reference = Annotated[str, AfterValidator(_check_reference)]
Inputs = Annotated[dict[Alias, Reference], AfterValidator(_check_inputs), WithJsonSchema(_INPUTS_SCHEMA)]
"""Datasets by alias, in their order."""
Expression = Annotated[str, AfterValidator(_check_text)]
Columns = Annotated[Texts, AfterValidator(_check_columns)]
"""One column or a list of them, each once."""
Key = Annotated[Columns, AfterValidator(_check_key)]
NullRules = dict[str, Annotated[Any, PlainValidator(_check_rule), WithJsonSchema(_RULE_SCHEMA)]]
Seed = Annotated[StrictInt, Field(ge=0, le=_SEED_MAX)]
Schedule = Annotated[str, AfterValidator(_check_schedule)]
Share = Annotated[
    tuple[float, float],
    PlainValidator(_check_share),
    PlainSerializer(list),
    WithJsonSchema(_SHARE_SCHEMA, mode="validation"),
]
FunctionName = Annotated[str, AfterValidator(_check_function), WithJsonSchema({"type": "string", "pattern": _FUNCTION})]


class ExpectationFields(BaseModel):
    """The limits of a version; ``expectations`` has their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows_min: Annotated[StrictInt, Field(ge=0)] | None = None
    """The least rows of the version."""
    dropped_max_percent: Annotated[float, Field(ge=0, le=100, strict=True)] | None = None
    """The largest share of the main input's rows that are dropped, in percent."""
    target_share: Share | None = None
    """The least and the largest share of rows whose target is true."""

    @property
    def expectations(self) -> Expectations:
        """Return the limits as the preparation takes them."""
        from millrace.training import Expectations

        return Expectations(self.rows_min, self.dropped_max_percent, self.target_share)
