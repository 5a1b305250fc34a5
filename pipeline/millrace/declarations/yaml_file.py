"""Read a YAML file as plain values, with the line of every key and value.

Plain scalars have the types of YAML 1.2, so ``06:30`` and ``NO`` are texts. This is the only module that uses PyYAML.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from millrace.declarations.error_text import Problem
from millrace.errors import DeclarationError
from millrace.settings import missing_extra

FILE_BYTES_MAX: Final = 1_000_000
_NODES_MAX: Final = 100_000
"""Values of a file at most, each alias counted as often as it is used: a few aliases of aliases may mean billions."""
_DEPTH_MAX: Final = 32
_TAG: Final = "tag:yaml.org,2002:"
_TEXTS: Final = frozenset({"str", "timestamp", "value"})

Location = tuple[str | int, ...]
"""The keys and positions that lead from the document to a value."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A mistake at a value of the document: the rest of the document can be used."""

    path: Location
    line: int
    problem: Problem


@dataclass(slots=True)
class YamlFile:
    """The values of a file. ``lines`` has the line of each key, or of each position of a list, by its path."""

    name: str
    values: Any = None
    lines: dict[Location, int] = field(default_factory=lambda: {(): 1})
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Location) -> int:
        """Return the line of the value at ``path``, or of the nearest value around it."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def faults_within(self, path: Location) -> list[Fault]:
        """Return the faults at ``path`` and within its value."""
        return [fault for fault in self.faults if fault.path[: len(path)] == path]


def read_yaml(path: Path, name: str) -> YamlFile:
    """Return the content of a file; ``name`` is its name in messages.

    Duplicate keys, unknown tags and merge keys that are not maps are in ``faults``. Raises ``DeclarationError`` for a
    file that cannot be read, is too large or is not YAML.
    """
    if missing := missing_extra("sources"):
        raise DeclarationError(f"{name} cannot be read: {missing}", file=name)
    document = YamlFile(name)
    root = _root_node(_text(path, name), name)
    try:
        document.values = None if root is None else _Reading(document).value(root, ())
    except RecursionError:
        raise _not_yaml(name, _line(root), "a merge key << merges its own map") from None
    return document


def _text(path: Path, name: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DeclarationError(f"{name} cannot be read: {reason}", file=name) from None
    if len(content) > FILE_BYTES_MAX:
        raise DeclarationError(f"{name} is larger than {FILE_BYTES_MAX:,} bytes", hint="divide it", file=name)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_yaml(name, content[: error.start].count(b"\n") + 1, "the text is not UTF-8") from None


def _root_node(text: str, name: str) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        # compose() calls itself for each level, and its C version ends the process when the stack is full.
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEPTH_MAX:
                raise _not_yaml(name, event.start_mark.line + 1, f"values are nested more than {_DEPTH_MAX} deep")
        return yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a character is not allowed"
        position = getattr(error, "position", 0)
        line = mark.line + 1 if mark else text[:position].count("\n") + 1
        raise _not_yaml(name, line, problem) from None


def _not_yaml(name: str, line: int, problem: str) -> DeclarationError:
    return DeclarationError(f"{name}:{line}: this is not YAML: {problem}", file=name, line=line)


@dataclass(slots=True)
class _Reading:
    """The conversion of the nodes of one document to values."""

    document: YamlFile
    nodes: int = 0

    def value(self, node: Any, path: Location) -> Any:
        """Return the value of a node, and record the lines within it."""
        self.nodes += 1
        if self.nodes > _NODES_MAX or len(path) > _DEPTH_MAX:
            limit = f"it has more than {_NODES_MAX:,} values, or they are nested more than {_DEPTH_MAX} deep"
            raise _not_yaml(self.document.name, _line(node), limit)
        kind = node.tag.removeprefix(_TAG)
        if node.id == "mapping" and kind == "map":
            return self._map(node, path)
        if node.id == "sequence" and kind == "seq":
            return [self._child(item, (*path, position)) for position, item in enumerate(node.value)]
        if node.id == "scalar" and kind in {*_TEXTS, "null", "bool", "int", "float", "merge"}:
            return _scalar(node, kind)
        return self._fault(path, _line(node), f"has the unknown tag {node.tag.replace(_TAG, '!!')}", "remove it")

    def _child(self, node: Any, path: Location, line: int = 0) -> Any:
        self.document.lines[path] = line or _line(node)
        return self.value(node, path)

    def _map(self, node: Any, path: Location) -> dict[str, Any]:
        values = self._merged(node, path)
        own: dict[str, int] = {}
        for key, item in node.value:
            if key.tag == f"{_TAG}merge":
                continue
            name, line = key.value, _line(key)
            if key.id != "scalar" or not isinstance(_scalar(key, key.tag.removeprefix(_TAG)), str):
                self._fault(path, line, "has a key that is not a text", "put the key in quotes")
            elif name in own:
                self._fault((*path, name), line, "is given twice", f"line {own[name]} has it, too")
            else:
                own[name] = line
                values[name] = self._child(item, (*path, name), line)
        return values

    def _merged(self, node: Any, path: Location) -> dict[str, Any]:
        """Return the values of the maps that a map merges, which its own keys replace."""
        values: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == f"{_TAG}merge":
                if item.id != "mapping":
                    self._fault(path, _line(key), "has a merge key << whose value is not a map", "give one map")
                    continue
                values |= {name: value for name, value in (self.value(item, path) or {}).items() if name not in values}
        return values

    def _fault(self, path: Location, line: int, message: str, hint: str) -> None:
        self.document.faults.append(Fault(path, line, Problem(message, hint)))


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _scalar(node: Any, kind: str) -> Any:
    """Return the value of a scalar by the rules of YAML 1.2: ``yes`` and ``10:30`` are texts."""
    text: str = node.value
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            return text
    return text
