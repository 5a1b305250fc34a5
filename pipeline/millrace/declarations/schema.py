"""Render the JSON Schemas of the declared files for editors: ``python -m millrace.declarations.schema``.

With ``--check`` the files are compared and not written.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from millrace.declarations.document import DEFAULTS, NAME_PATTERN, Section
from millrace.declarations.sources_file import SOURCES
from millrace.declarations.training_file import TRAINING
from millrace.display import keep_current
from millrace.settings import field_docstrings

FILES: Final[dict[Path, Section[Any]]] = {
    Path("conf/sources.schema.json"): SOURCES,
    Path("conf/training.schema.json"): TRAINING,
}
_TITLES: Final = {"training": "training data"}
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
    endings = [{"pattern": f"{ending}$"} for ending in section.reserved_endings]
    refused = {"enum": sorted(section.reserved)}
    names = {"pattern": f"^{NAME_PATTERN}$", "not": {"anyOf": [refused, *endings]} if endings else refused}
    entry = {"$ref": "#/$defs/fields", "required": model["required"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"The declared {_TITLES.get(section.key, section.key)} of Millrace",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            DEFAULTS: {"$ref": "#/$defs/fields", "description": "Fields of every entry that lacks them."},
            section.key: {"type": "object", "propertyNames": names, "additionalProperties": entry},
        },
        "$defs": {"fields": fields, **model.get("$defs", {})},
    }


def rendered(section: Section[Any]) -> str:
    """Return the text of the file of a section's schema."""
    return json.dumps(schema_of(section), indent=2) + "\n"


def main(argv: list[str]) -> int:
    """Write the files, or compare them; return 1 if one is not current."""
    return max([keep_current(file, rendered(section), COMMAND, argv) for file, section in FILES.items()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
