"""The fields of an entry that are options of ``millrace load``, made from the options themselves.

Their names, types and defaults are those of ``SourceOptions`` and of the settings of a load; their checks, too. So an
option that is added there can be declared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Final, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StrictBool,
    StrictInt,
    ValidationInfo,
    WithJsonSchema,
    create_model,
)

from millrace.declarations.error_text import raised
from millrace.errors import MillraceError
from millrace.settings import LoadSettings
from millrace.sources import SourceOptions

_INTERNAL: Final = frozenset({"piece_bytes", "connection"})
"""Options that cannot be declared, and ``connection``, which is a field of its own."""
STORAGE_OPTIONS: Final = ("codec", "codec_level", "chunk_bytes")
"""Options of a load that are not options of its source; their ranges are those of the settings."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


ONE_OR_MANY: Final = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list), WithJsonSchema(ONE_OR_MANY)]
"""One text or a list of them."""

_TYPES: Final[dict[Any, Any]] = {
    bool: StrictBool,
    int: StrictInt,
    str: str,
    str | None: str | None,
    tuple[str, ...]: Texts,
    tuple[str, ...] | None: Texts | None,
    tuple[tuple[str, str], ...]: dict[str, str],
}
"""The type of a field by that of the option."""


def _checked(name: str, value: Any, info: ValidationInfo) -> Any:
    """Return the value if the options of a source accept it alone.

    With ``is_checked`` in the context the types of columns are not checked again: that imports pyarrow.
    """
    try:
        SourceOptions(**{name: value})
        if name == "column_types" and not (info.context or {}).get("is_checked"):
            _check_column_types(value)
    except MillraceError as error:
        raise raised(f"is wrong: {error.message}", error.hint) from None
    return value


def _checks(name: str) -> Callable[[Any, ValidationInfo], Any]:
    # Not a partial: pydantic finds the parameter ``info`` by the signature of a function.
    def checked(value: Any, info: ValidationInfo) -> Any:
        return _checked(name, value, info)

    return checked


def _check_column_types(types: dict[str, str]) -> None:
    from millrace.sources import parse_type

    for spelling in types.values():
        parse_type(spelling)


def _option_fields() -> dict[str, Any]:
    types = get_type_hints(SourceOptions)
    options: dict[str, Any] = {
        option.name: (Annotated[_TYPES[types[option.name]], AfterValidator(_checks(option.name))], None)
        for option in fields(SourceOptions)
        if option.name not in _INTERNAL
    }
    for name in STORAGE_OPTIONS:
        setting = LoadSettings.model_fields[name]
        kind: Any = _TYPES.get(setting.annotation, setting.annotation)
        for bound in setting.metadata:
            kind = Annotated[kind, bound]
        options[name] = (kind, None)
    return options


SOURCE_OPTIONS: Final = tuple(option.name for option in fields(SourceOptions) if option.name not in _INTERNAL)
OPTION_NAMES: Final = (*SOURCE_OPTIONS, *STORAGE_OPTIONS)

if TYPE_CHECKING:
    OptionFields = BaseModel
else:
    OptionFields = create_model("OptionFields", __config__=ConfigDict(extra="forbid"), **_option_fields())
