"""The texts of errors in declarations: the mistake, and the remedy. A value is shown without credentials."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails, PydanticCustomError

from millrace.display import shortened
from millrace.names import nearest, without_credentials

_SHOWN_CHARACTERS: Final = 80
_PROBLEM: Final = "millrace_problem"


class Problem(NamedTuple):
    """The predicate of a sentence about a field, such as ``is "5 * *"``, and its remedy."""

    message: str
    hint: str = ""


def wrong_value(value: Any, hint: str) -> Problem:
    """Return the problem of a field that has this value."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return Problem(f"is {shortened(without_credentials(text), _SHOWN_CHARACTERS)}", hint)


def unknown_key(name: str, known: Iterable[str]) -> Problem:
    """Return the problem of a key that is not one of ``known``."""
    names = list(known)
    near = nearest(name, names, at_most=1)
    return Problem("is unknown", f"did you mean {near[0]}?" if near else f"use one of {', '.join(names)}")


def raised(message: str, hint: str, *, field: str | tuple[str, ...] = "") -> PydanticCustomError:
    """Return an error for a validator to raise whose message does not show the value.

    ``field`` is the field with the mistake, or the path to a value in it, for a validator of more than this value.
    """
    return PydanticCustomError(_PROBLEM, "{message}", {"message": message, "hint": hint, "field": field})


def error_path(details: ErrorDetails) -> tuple[str | int, ...]:
    """Return the path to the value with the mistake, below the validated model; that of a key is its value's."""
    field = details.get("ctx", {}).get("field")
    path = details["loc"] if not field else (field,) if isinstance(field, str) else field
    return path[:-1] if path[-1:] == ("[key]",) else path


def model_problem(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    """Return the problem of one error of pydantic, found by validating ``model``."""
    kind, context = details["type"], details.get("ctx", {})
    if kind == _PROBLEM:
        return Problem(context["message"], context["hint"])
    if kind == "extra_forbidden":
        *parents, name = details["loc"]
        return unknown_key(str(name), _nested(model, parents).model_fields)
    if kind == "missing":
        return Problem("is missing", f"give {details['loc'][-1]}")
    if kind in _HINTS:
        return wrong_value(details["input"], _HINTS[kind](context))
    message = details["msg"].removeprefix("Value error, ")
    return wrong_value(details["input"], message[:1].lower() + message[1:])


def _nested(model: type[BaseModel], parents: Iterable[int | str]) -> type[BaseModel]:
    for parent in parents:
        annotation = model.model_fields[str(parent)].annotation
        kinds = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
        model = next(kind for kind in kinds if issubclass(kind, BaseModel))
    return model


def _whole(number: float) -> float:
    """Return a number without a fraction as an integer."""
    return int(number) if number == int(number) else number


_HINTS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "bool_type": lambda _: "give true or false",
    "int_type": lambda _: "give a whole number",
    "string_type": lambda _: "give a text, in quotes if it is a number",
    "float_type": lambda _: "give a number",
    "tuple_type": lambda _: "give a text or a list of texts",
    "dict_type": lambda _: "give a map",
    "model_type": lambda _: "give a map",
    "literal_error": lambda context: f"give {context['expected'].replace(chr(39), '')}",
    "greater_than_equal": lambda context: f"give a number of at least {_whole(context['ge'])}",
    "less_than_equal": lambda context: f"give a number of at most {_whole(context['le'])}",
    "string_pattern_mismatch": lambda context: f"give a text like {context['pattern']}",
}
