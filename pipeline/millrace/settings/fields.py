"""Names of settings: the known ones, and the nearest known name to an unknown one."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

PREFIX = "MILLRACE_"
NO_SETTINGS = frozenset({"MILLRACE_HOME", "MILLRACE_CONFIG", "MILLRACE_DEBUG", "MILLRACE_PYTHON", "MILLRACE_CHROMIUM"})
"""Variables that are read before there are settings, or by the scripts and tests of a checkout."""
_TESTS = "MILLRACE_TEST_"
# Kubernetes sets the addresses of its services in every container, also of one named millrace or millrace-bridge.
_SERVICE_LINK = re.compile(
    r"MILLRACE_(.+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://.*")
_SIMILARITY_MISSPELLED = 0.9
"""Names with at least this similarity (1 is equal) differ by a letter or two, in any of their parts."""
_SIMILARITY_NEAR = 0.75


def setting_fields(model: type[BaseModel]) -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield section, name and field of each setting, in the order of declaration."""
    for section, part in model.model_fields.items():
        section_model: Any = part.annotation
        for name, field in section_model.model_fields.items():
            yield section, name, field


def variable_name(path: Iterable[Any]) -> str:
    """Return the environment variable of a path such as ``("cassandra", "port")``."""
    return PREFIX + "__".join(str(part).upper() for part in path)


def unknown_variables(model: type[BaseModel], *, further: Iterable[str] = (), groups: Iterable[str] = ()) -> list[str]:
    """Return each unknown ``MILLRACE_*`` variable, with the nearest known name.

    ``further`` are variables that are known as well. ``groups`` are beginnings of names that other modules check.
    """
    known = {variable_name((section, name)): field for section, name, field in setting_fields(model)}
    names = {*known, *NO_SETTINGS, *further, *(variable_name((section,)) for section in model.model_fields)}
    begins = (_TESTS, *groups, *(f"{name}__" for name, field in known.items() if _is_table(field)))
    return [
        f"{given}{_question(name, names)}"
        for given, value in sorted(os.environ.items())
        if (name := given.upper()).startswith(PREFIX)
        and name not in names
        and not name.startswith(begins)
        and not _is_service_link(name, value)
    ]


def unreadable_variables(model: type[BaseModel]) -> list[str]:
    """Return each ``MILLRACE_*`` variable of a whole section or table whose value is not JSON."""
    names = {variable_name((section, name)) for section, name, field in setting_fields(model) if _is_table(field)}
    names.update(variable_name((section,)) for section in model.model_fields)
    return [given for given, value in sorted(os.environ.items()) if given.upper() in names and not _is_json(value)]


def unknown_keys(model: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Return each unknown key of a tree of settings, as ``section.name``, with the nearest known one."""
    known = {f"{section}.{name}" for section, name, _ in setting_fields(model)}
    unknown = []
    for section, part in values.items():
        keys = [f"{section}.{name}" for name in part] if isinstance(part, Mapping) else []
        if section in model.model_fields:
            unknown += [f"{key}{_question(key, known)}" for key in keys if key not in known]
        else:
            first = keys[0] if keys else section
            unknown.append(f"{section}{_question(first, known) or _question(section, model.model_fields)}")
    return unknown


def _is_table(field: FieldInfo) -> bool:
    return getattr(field.annotation, "__origin__", None) is dict


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _is_service_link(name: str, value: str) -> bool:
    return bool(
        _SERVICE_LINK.fullmatch(name)
        or (name.endswith("_PORT") and "__" not in name and _SERVICE_PORT.fullmatch(value))
    )


def _question(name: str, known: Iterable[str]) -> str:
    """Return a question with the nearest known name; empty if none is near or two are equally near."""
    names = {name.removeprefix(PREFIX): name for name in known}
    given = name.removeprefix(PREFIX)
    near = _nearest(given, names, _SIMILARITY_MISSPELLED)
    if not near:
        section, last = _parts(given)
        # The section is missing or wrong: keyspace, MILLRACE_KEYSPACE.
        sections = {_parts(short)[0]: short for short in names if last and _parts(short)[1] == last}
        if len(sections) == 1:
            (near,) = sections.values()
        elif sections:
            near = sections.get(_nearest(section, sections, _SIMILARITY_NEAR), "")
        else:
            near = _nearest(given, names, _SIMILARITY_NEAR)
    return f" (did you mean {names[near]}?)" if near else ""


def _parts(name: str) -> tuple[str, str]:
    """Return section and last part of ``cassandra.port`` or ``CASSANDRA__PORT``."""
    section, _, last = name.replace("__", ".").rpartition(".")
    return section, last


def _nearest(name: str, names: Iterable[str], least: float) -> str:
    """Return the name most similar to ``name``, with a similarity of at least ``least`` (1 is equal).

    Empty if there is none, or if two are equally near.
    """
    scores = {candidate: difflib.SequenceMatcher(None, candidate, name).ratio() for candidate in names}
    best = [candidate for candidate, score in scores.items() if score == max(scores.values()) >= least]
    return best[0] if len(best) == 1 else ""
