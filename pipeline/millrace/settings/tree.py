"""Settings: one tree, read once; wrong values are refused by name at the start.

Sources in order of precedence:

* keyword overrides;
* ``MILLRACE_*`` environment variables with ``__`` between levels
  (``MILLRACE_CASSANDRA__CONTACT_POINTS='["10.0.0.1"]'``, or a comma list);
* ``millrace.toml`` in the working directory, or the file that ``MILLRACE_CONFIG`` names;
* the file of ``home_settings_file()``, which ``./run up`` writes for the local stack of a checkout;
* the defaults of each section.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from millrace.errors import InvalidSettingError
from millrace.settings.fields import PREFIX, unknown_keys, unknown_variables, unreadable_variables, variable_name
from millrace.settings.locations import home_settings_file
from millrace.settings.sections import (
    AirflowSettings,
    BridgeSettings,
    CassandraSettings,
    KafkaSettings,
    LoadSettings,
    ReadSettings,
    RedisSettings,
    SourcesSettings,
    TrainingSettings,
)

_SECRETS = ("PASSWORD", "TOKEN", "REDIS__URL", "KAFKA__CONFIG", "SOURCES__CONNECTIONS")
"""Parts of the names of variables whose values never appear in a message."""


class Settings(BaseSettings):
    """All settings; every section can be given whole or in part."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    cassandra: CassandraSettings = CassandraSettings()
    redis: RedisSettings = RedisSettings()
    kafka: KafkaSettings = KafkaSettings()
    bridge: BridgeSettings = BridgeSettings()
    airflow: AirflowSettings = AirflowSettings()
    sources: SourcesSettings = SourcesSettings()
    load: LoadSettings = LoadSettings()
    read: ReadSettings = ReadSettings()
    training: TrainingSettings = TrainingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources by precedence: overrides, environment, the user's file, the local stack's file."""
        files = (InitSettingsSource(settings_cls, content) for _, content in settings_files())
        return init_settings, env_settings, *files


def settings_files() -> list[tuple[Path, dict[str, Any]]]:
    """Return each settings file that exists with its content, in order of precedence.

    Raises ``InvalidSettingError`` for a folder or a device in the place of a file, and for a file that is not TOML.
    """
    given = os.environ.get("MILLRACE_CONFIG", "millrace.toml")
    if "MILLRACE_CONFIG" in os.environ and given and not os.path.isfile(given):  # noqa: PTH113  never raises
        raise InvalidSettingError(
            f"MILLRACE_CONFIG is {given!r}; there is no such file",
            hint="give the path of a TOML file, or an empty value for no file",
        )
    paths = [*([Path(given)] if given else []), home_settings_file()]
    return [(path, _read(path)) for path in paths if path.exists()]


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InvalidSettingError(f"{path} is not a file", hint="settings are read from a TOML file of this name")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSettingError(f"{path} cannot be read as settings ({error})", hint="write it as TOML") from None


def load_settings(**overrides: Any) -> Settings:
    """Return the settings in force, all of them checked.

    A wrong one raises ``InvalidSettingError`` with its name and range, an unknown one with the nearest known name.
    Secret values never appear in the message.
    """
    unknown = unknown_variables(Settings, groups=("MILLRACE_STACK__",)) + unknown_keys(Settings, overrides)
    for path, content in settings_files():
        unknown += [f"{key} in {path}" for key in unknown_keys(Settings, content)]
    if unknown:
        raise InvalidSettingError(f"unknown setting: {'; '.join(unknown)}", hint="docs/settings.md lists them all")
    try:
        return Settings(**overrides)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        message = "; ".join(text for details in errors for text in _messages(details))
        variables = [variable_name(details["loc"]) for details in errors]
        raise InvalidSettingError(f"wrong setting: {message}", settings=variables) from None
    except SettingsError:
        # The cause of this error quotes the value, which may hold a password.
        variables = unreadable_variables(Settings)
        first = (variables or ["MILLRACE_LOAD"])[0].upper()
        raise InvalidSettingError(
            f"wrong setting: {', '.join(variables) or 'a variable'} is not JSON",
            hint=f"write {first}='{{\"NAME\": VALUE}}', or set {first}__NAME alone",
            settings=variables,
        ) from None


def _messages(error: ErrorDetails) -> list[str]:
    """Return the messages of one error of pydantic, each with the name of its variable and its value if not secret."""
    location, kind, name = error["loc"], error["type"], variable_name(error["loc"])
    if kind == "extra_forbidden":
        section, *rest = map(str, location)
        return unknown_keys(Settings, {section: dict.fromkeys(rest[:1])})
    if kind in ("dict_type", "model_type"):
        return [f"{name}: write it as a table in TOML, or as a JSON object in a variable"]
    # A value in the place of a whole section may be the password that belongs into it.
    is_secret = len(location) == 1 or any(word in name for word in _SECRETS)
    value = "" if is_secret or kind == "missing" else f" is {error['input']!r}"
    message = error["msg"].removeprefix("Value error, ")
    return [f"{name}{value}: {message[:1].lower()}{message[1:]}"]
