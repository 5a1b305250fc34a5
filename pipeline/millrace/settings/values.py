"""The settings in force with their sources, and a commented file of all settings."""

from __future__ import annotations

import ast
import inspect
import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from millrace.settings.fields import setting_fields, variable_name
from millrace.settings.tree import Settings, load_settings, settings_files

DEFAULT = "default"
_SET, _NOT_SET = "set", "not set"
_PASSWORDS, _HIDDEN = re.compile(r"(://[^:@/?#]*:)[^@/?#]*(?=@)|(password=)[^&#]*", re.IGNORECASE), r"\1\2***"


@dataclass(frozen=True, slots=True)
class SettingValue:
    """One setting: ``section.name``, its value as JSON types, and the variable or file that gives it.

    The value of a secret is ``set`` or ``not set``. ``source`` is ``default`` where neither a variable nor a file
    gives a value.
    """

    name: str
    value: Any
    source: str


def setting_values() -> list[SettingValue]:
    """Return all settings in the order of their declaration.

    Raises ``InvalidSettingError`` for a wrong or unknown setting, as every command does.
    """
    settings = load_settings()
    environment: dict[str, Any] = EnvSettingsSource(Settings)()
    files = [(str(path), content) for path, content in settings_files()]
    values = []
    for section, name, _ in setting_fields(Settings):
        if name in environment.get(section, {}):
            source = variable_name((section, name))
        else:
            source = next((path for path, tree in files if name in tree.get(section, {})), DEFAULT)
        value = _shown(getattr(getattr(settings, section), name))
        values.append(SettingValue(f"{section}.{name}", value, source))
    return values


def _shown(value: Any) -> Any:
    if isinstance(value, SecretStr):
        text = value.get_secret_value()
        return _PASSWORDS.sub(_HIDDEN, text) if "://" in text else _SET if text else _NOT_SET
    if isinstance(value, dict):
        # Options of the Kafka client and connections of sources, which may hold passwords.
        return dict.fromkeys(value, _SET)
    return _NOT_SET if value is None else list(value) if isinstance(value, tuple) else value


def example_toml() -> str:
    """Return a ``millrace.toml`` with every setting, its sentence and its default, all commented out."""
    lines = ["# millrace.toml: remove the # of a line to change its setting.", ""]
    for section, part in Settings.model_fields.items():
        model: Any = part.annotation
        sentences = field_docstrings(model)
        lines += [f"# {_sentence(model.__doc__)}", f"[{section}]"]
        for name, field in model.model_fields.items():
            lines += [f"# {_sentence(sentences[name])}", f"# {name} = {_toml(field)}"]
        lines.append("")
    return "\n".join(lines)


def field_docstrings(model: type) -> dict[str, str]:
    """Return the docstring below each field of a model or dataclass, by field name.

    A field without a docstring is missing in it, so the caller's ``KeyError`` names that field. They are read from the
    source: pydantic's own option for that would parse the source at each start of the program, which takes 40 ms.
    """
    [body] = [node for node in ast.parse(inspect.getsource(model)).body if isinstance(node, ast.ClassDef)]
    docstrings = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            docstrings[field.target.id] = str(ast.literal_eval(after.value))
    return docstrings


def _sentence(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").replace("``", "").strip()


def default_value(field: FieldInfo) -> Any:
    """Return the default of a setting: a secret as its text, several values as a list."""
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return list(value) if isinstance(value, tuple) else value


def _toml(field: FieldInfo) -> str:
    value = default_value(field)
    if value is None or isinstance(value, dict):
        return '""' if value is None else "{}"
    # Numbers, texts, booleans and lists of texts are written alike in JSON and TOML.
    return json.dumps(value)
