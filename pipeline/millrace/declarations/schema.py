"""Render ``conf/sources.schema.json`` for editors: ``python -m millrace.declarations.schema``.

With ``--check`` the file is compared and not written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from millrace.declarations.document import DEFAULTS, NAME_PATTERN, Section
from millrace.declarations.sources_file import SOURCES
from millrace.display import keep_current
from millrace.settings import field_docstrings

FILE: Final = Path("conf/sources.schema.json")
COMMAND: Final = "python -m millrace.declarations.schema"


def schema_of(section: Section[Any]) -> dict[str, Any]:
    """Return the JSON Schema of the files of a section, made from the model of its entries."""
    model = section.model.model_json_schema(mode="validation")
    texts = field_docstrings(section.model)
    for name, field in model["properties"].items():
        field.pop("title", None)
        if not field.get("default"):
            field.pop("default", None)
        if name in texts:
            field["description"] = " ".join(texts[name].replace("``", "").split())
    fields = {"type": "object", "additionalProperties": False, "properties": model["properties"]}
    names = {"pattern": f"^{NAME_PATTERN}$", "not": {"enum": sorted(section.reserved)}}
    entry = {"$ref": "#/$defs/fields", "required": model["required"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The declared {section.key} of Millrace",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            DEFAULTS: {"$ref": "#/$defs/fields", "description": "Fields of every entry that lacks them."},
            section.key: {"type": "object", "propertyNames": names, "additionalProperties": entry},
        },
        "$defs": {"fields": fields, **model.get("$defs", {})},
    }


def rendered() -> str:
    """Return the text of the file."""
    return json.dumps(schema_of(SOURCES), indent=2) + "\n"


def main(argv: list[str]) -> int:
    """Write the file, or compare it; return 1 if it is not current."""
    return keep_current(FILE, rendered(), COMMAND, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
