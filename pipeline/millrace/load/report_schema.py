"""The JSON Schema of load reports, made from ``LoadReport``.

``python -m millrace.load.report_schema`` writes ``docs/load-report.schema.json``, and with ``--check`` it compares the
file with the class.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter

from millrace.display import keep_current
from millrace.load.columns import ReportedColumns
from millrace.load.report import LoadReport
from millrace.load.report_parts import ReportedError
from millrace.settings import field_docstrings

FILE: Final = Path("docs/load-report.schema.json")
COMMAND: Final = "python -m millrace.load.report_schema"


def schema_of_reports() -> dict[str, Any]:
    """Return the JSON Schema. It allows further keys, because later versions add some."""
    texts, types = field_docstrings(LoadReport), get_type_hints(LoadReport)
    properties = {field.name: _property(types[field.name], texts.get(field.name)) for field in fields(LoadReport)}
    for name in LoadReport.DERIVED:
        getter = getattr(LoadReport, name).fget
        properties[name] = _property(get_type_hints(getter)["return"], getter.__doc__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The report of a load by Millrace",
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }


def _property(kind: Any, text: str | None) -> dict[str, Any]:
    return _value(kind) | ({"description": " ".join(text.replace("``", "").split())} if text else {})


def _value(kind: Any) -> dict[str, Any]:
    """Return the schema of a type as ``LoadReport.to_json`` writes it."""
    if kind == ReportedColumns:
        return {"type": "array", "items": _object({"name": str, "type": str})}
    if kind == ReportedError | None:
        return {"anyOf": [_object(get_type_hints(ReportedError)), {"type": "null"}]}
    if get_origin(kind) is tuple:
        return {"type": "array", "items": _value(get_args(kind)[0])}
    if isinstance(kind, type) and is_dataclass(kind):
        return _object(get_type_hints(kind), field_docstrings(kind))
    return TypeAdapter(kind).json_schema(mode="serialization")


def _object(types: Mapping[str, Any], texts: Mapping[str, str] | None = None) -> dict[str, Any]:
    properties = {name: _property(kind, (texts or {}).get(name)) for name, kind in types.items()}
    return {"type": "object", "required": list(types), "properties": properties}


def rendered() -> str:
    """Return the text of the file."""
    return json.dumps(schema_of_reports(), indent=2) + "\n"


def main(argv: list[str]) -> int:
    """Write the file, or compare it; return 1 if it is not current."""
    return keep_current(FILE, rendered(), COMMAND, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
