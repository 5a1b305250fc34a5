"""Read a file of declarations: ``defaults``, and one section of named entries that are checked one by one.

A broken entry has errors of its own, and the other entries can be used. Only errors outside the entries, such as a file
that is not YAML, leave no entry. This module knows nothing of what an entry declares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from millrace.declarations.error_text import Problem, error_path, model_problem, unknown_key, wrong_value
from millrace.declarations.yaml_file import Location, YamlFile, read_yaml
from millrace.errors import DeclarationError, UsageError
from millrace.names import nearest, without_credentials

NAME_PATTERN: Final = r"[a-z][a-z0-9_]{0,38}"
DEFAULTS: Final = "defaults"
Entry = TypeVar("Entry", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class CrossFault:
    """A mistake that only several entries together show: it breaks the entry ``name``."""

    name: str
    field: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class Section(Generic[Entry]):
    """The kind of a file: the key of its entries, their model, and the names that are not allowed.

    Of the fields of ``alternatives`` an entry that has one gets no other by default. ``applicable`` returns those of
    the defaults that apply to an entry with these fields. ``check`` returns the mistakes that only several entries
    together show. ``reserved`` names are not allowed, nor names with one of ``reserved_endings``. A model is validated
    with the context ``{"name": NAME, "folder": FOLDER}``, where FOLDER is the path of the file's folder.
    """

    key: str
    model: type[Entry]
    reserved: frozenset[str] = frozenset()
    alternatives: frozenset[str] = frozenset()
    applicable: Callable[[Mapping[str, Any], dict[str, Any]], dict[str, Any]] = lambda _, defaults: defaults
    check: Callable[[Mapping[str, Entry]], list[CrossFault]] = lambda _: []
    reserved_endings: tuple[str, ...] = ()

    def name_problem(self, name: str) -> Problem | None:
        """Return the problem of a name that no entry may have."""
        if not re.fullmatch(NAME_PATTERN, name):
            return Problem(
                "is not a name", "use a lower-case letter, then up to 38 lower-case letters, digits or underscores"
            )
        if name in self.reserved:
            return Problem("is a reserved name", "use another one")
        ending = next(filter(name.endswith, self.reserved_endings), "")
        return Problem(f"has the reserved ending {ending}", "use another name") if ending else None


@dataclass(slots=True)
class Declarations(Generic[Entry]):
    """The content of a file: the usable entries and the errors of the others, each by name in the order of the file.

    ``names`` has both. ``file_errors`` are errors outside the entries; there is then no entry.
    """

    file: str
    names: list[str] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    entry_errors: dict[str, list[DeclarationError]] = field(default_factory=dict)
    file_errors: list[DeclarationError] = field(default_factory=list)

    @property
    def errors(self) -> list[DeclarationError]:
        """All errors by line, each once: entries may share an error in the defaults."""
        every = [*self.file_errors, *(error for errors in self.entry_errors.values() for error in errors)]
        different = {str(error): error for error in every}.values()
        return sorted(different, key=lambda error: error.context.get("line", 0))


def read_declarations(path: Path, section: Section[Entry]) -> Declarations[Entry]:
    """Return the entries of a file and all errors in it; raises nothing for a wrong file."""
    name = _display_name(path)
    try:
        document = read_yaml(path, name)
    except DeclarationError as error:
        return Declarations(name, file_errors=[error])
    return _Reader(document, section, path.resolve().parent).read()


def found(name: str, declared: Declarations[Entry], kind: str, *, hint: str) -> Entry:
    """Return the entry with this name; ``kind`` is the word for an entry.

    Raises ``UsageError`` with the nearest names, or with the hint, if there is none. Raises ``DeclarationError`` with
    its errors if it is broken or if the file is.
    """
    errors = declared.file_errors or declared.entry_errors.get(name, [])
    if errors:
        raise DeclarationError("; ".join(map(str, errors)), **errors[0].context)
    if name not in declared.entries:
        near = nearest(name, declared.names)
        near_hint = f"did you mean {' or '.join(near)}?" if near else hint
        raise UsageError(f"no {kind} {name!r} is declared in {declared.file}", hint=near_hint)
    return declared.entries[name]


def made_entry(name: str, values: Mapping[str, Any], section: Section[Entry], folder: Path) -> Entry:
    """Return an entry that is in no file; raise ``DeclarationError`` with all of its errors."""
    if problem := section.name_problem(name):
        raise _entry_error([(name, problem)])
    given = {key: value for key, value in values.items() if value is not None}
    try:
        return section.model.model_validate(given, context={"name": name, "folder": folder})
    except ValidationError as error:
        every = error.errors(include_url=False)
        raise _entry_error(
            [(_dotted(error_path(each)), model_problem(each, section.model)) for each in every]
        ) from None


def _entry_error(problems: list[tuple[str, Problem]]) -> DeclarationError:
    lines = [str(DeclarationError(_sentence(field, problem), hint=problem.hint)) for field, problem in problems]
    return DeclarationError("; ".join(lines), field=problems[0][0])


def _dotted(path: Location) -> str:
    return without_credentials(".".join(map(str, path)))


def _sentence(field_name: str, problem: Problem) -> str:
    return f"{field_name or 'the document'} {without_credentials(problem.message)}"


def _display_name(path: Path) -> str:
    """Return the path below the working directory, if it is there."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


@dataclass(slots=True)
class _Reader(Generic[Entry]):
    document: YamlFile
    section: Section[Entry]
    folder: Path

    def read(self) -> Declarations[Entry]:
        result: Declarations[Entry] = Declarations(self.document.name, file_errors=self._file_errors())
        if result.file_errors:
            return result
        given = (self.document.values or {}).get(self.section.key) or {}
        result.names = list(given)
        for name, values in given.items():
            entry, errors = self._entry(name, values)
            if entry is None:
                result.entry_errors[name] = errors
            else:
                result.entries[name] = entry
        for fault in self.section.check(result.entries):
            del result.entries[fault.name]
            where = (self.section.key, fault.name, fault.field)
            result.entry_errors[fault.name] = [self._error(where, fault.problem)]
        return result

    def _file_errors(self) -> list[DeclarationError]:
        """Return the errors outside the entries."""
        key, values = self.section.key, self.document.values
        inside = self.document.faults_within((key,))
        errors = [
            self._error(fault.path, fault.problem, fault.line)
            for fault in self.document.faults
            if fault not in inside or len(fault.path) == 1
        ]
        if not isinstance(values, dict | None):
            return [*errors, self._error((), wrong_value(values, f"give {DEFAULTS} and {key}"))]
        for name, value in (values or {}).items():
            if name not in (DEFAULTS, key):
                errors.append(self._error((name,), unknown_key(name, [DEFAULTS, key])))
            elif not isinstance(value, dict | None):
                errors.append(self._error((name,), wrong_value(value, "give a map")))
        return errors

    def _entry(self, name: str, values: Any) -> tuple[Entry | None, list[DeclarationError]]:
        """Return an entry, or None and its errors."""
        errors = self._entry_faults(name)
        if not isinstance(values, dict | None):
            return None, errors or [self._error((self.section.key, name), wrong_value(values, "give a map of fields"))]
        if any(fault.path == (self.section.key, name) for fault in self.document.faults):
            return None, errors
        context = {"name": name, "folder": self.folder}
        try:
            entry = self.section.model.model_validate(self._merged(values or {}), context=context)
        except ValidationError as error:
            return None, [*errors, *self._model_errors(name, values or {}, error)]
        return (None, errors) if errors else (entry, [])

    def _entry_faults(self, name: str) -> list[DeclarationError]:
        """Return the errors of an entry that its model does not find: in its YAML, and in its name."""
        where = (self.section.key, name)
        errors = [self._error(fault.path, fault.problem, fault.line) for fault in self.document.faults_within(where)]
        problem = self.section.name_problem(name)
        return [*errors, self._error(where, problem)] if problem else errors

    def _merged(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the fields of an entry with the defaults of those that it does not have; null is no value."""
        alternatives = self.section.alternatives if self.section.alternatives & values.keys() else frozenset()
        defaults = {key: value for key, value in self._defaults().items() if key not in alternatives}
        defaults = self.section.applicable(values, defaults)
        return {key: value for key, value in {**defaults, **values}.items() if value is not None}

    def _defaults(self) -> dict[str, Any]:
        return (self.document.values or {}).get(DEFAULTS) or {}

    def _model_errors(self, name: str, own: dict[str, Any], error: ValidationError) -> list[DeclarationError]:
        errors = []
        for details in error.errors(include_url=False):
            path = error_path(details)
            is_default = bool(path) and path[0] not in own and path[0] in self._defaults()
            start: Location = (DEFAULTS,) if is_default else (self.section.key, name)
            errors.append(self._error((*start, *path), model_problem(details, self.section.model)))
        return errors

    def _error(self, path: Location, problem: Problem, line: int = 0) -> DeclarationError:
        file, line = self.document.name, line or self.document.line(path)
        field_name = _dotted(path)
        message = f"{file}:{line}: {_sentence(field_name, problem)}"
        return DeclarationError(message, hint=problem.hint, file=file, line=line, field=field_name)
