"""The rooms of the package: no import circles, other rooms are imported by their face, nothing loose at the top."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import local_stack
import millrace
import sse_bridge

PACKAGE = Path(millrace.__file__).parent
AT_THE_TOP = {"__init__.py", "__main__.py", "api", "errors.py", "names", "settings", "py.typed"}

# Rooms that start the program. They are not imported by other rooms, and each of their modules is an entry point whose
# imports must stay few.
ENTRIES = {"airflow", "cli"}

# Rooms whose modules are imported directly: the face of compat would import every dependency.
WITHOUT_FACE = {"compat"}


def modules_of(package: Path) -> dict[str, Path]:
    """Return the file of each module of a package."""

    def module_name(path: Path) -> str:
        parts = path.relative_to(package.parent).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    return {module_name(path): path for path in sorted(package.rglob("*.py"))}


MODULES = modules_of(PACKAGE)
USERS = {
    package.name: modules_of(package)
    for package in (Path(sse_bridge.__file__).parent, Path(local_stack.__file__).parent)
}
"""The packages that use Millrace, with their modules."""
FILES = {**MODULES, **{module: path for modules in USERS.values() for module, path in modules.items()}}


def imports_of(module: str) -> Iterator[tuple[str, int]]:
    """Yield each imported module of the packages and its line, imports within functions and for types included."""
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                qualified = f"{node.module}.{alias.name}"
                yield (qualified if qualified in FILES else node.module), node.lineno
        elif isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def circles(edges: dict[str, set[str]]) -> list[str]:
    """Return the nodes that can be reached from themselves."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(edges.get(start, ()))
        while waiting:
            node = waiting.pop()
            if node not in seen:
                seen.add(node)
                waiting.extend(edges.get(node, ()))
        return seen

    return sorted(node for node in edges if node in reachable(node))


def graph_of(node_of: dict[str, str]) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for module, node in node_of.items():
        for imported, _ in imports_of(module):
            target = node_of.get(imported)
            if target and target != node:
                edges.setdefault(node, set()).add(target)
    return edges


def test_no_module_imports_itself_through_others() -> None:
    # The package itself is no node: its face imports lazily, and each import of a module executes it first.
    assert circles(graph_of({module: module for module in MODULES if "." in module})) == []


@pytest.mark.parametrize("package", USERS)
def test_no_module_of_the_bridge_or_the_local_stack_imports_itself_through_others(package: str) -> None:
    # The package itself is no node: each import of a module executes its ``__init__`` first.
    assert circles(graph_of({module: module for module in USERS[package] if module != package})) == []


def test_no_room_imports_itself_through_others() -> None:
    assert circles(graph_of({module: room_of(module) for module in MODULES if room_of(module)})) == []


def test_no_sub_room_imports_itself_through_others() -> None:
    def sub_room(module: str) -> str:
        inner = module.split(".")
        return ".".join(inner[:3]) if len(inner) > 3 else module

    faces = {module for module, path in MODULES.items() if path.name == "__init__.py"}
    assert circles(graph_of({module: sub_room(module) for module in MODULES if module not in faces})) == []


def test_other_rooms_are_imported_by_their_face() -> None:
    inside = [
        f"{MODULES[module].relative_to(PACKAGE)}:{line} imports {imported}"
        for module in MODULES
        for imported, line in imports_of(module)
        if imported.count(".") > 1
        and imported.startswith("millrace.")
        and room_of(imported) not in {room_of(module), *ENTRIES, *WITHOUT_FACE}
    ]
    assert inside == []


def test_the_bridge_and_the_local_stack_import_rooms_by_their_face() -> None:
    inside = [
        f"{path}:{line} imports {imported}"
        for modules in USERS.values()
        for module, path in modules.items()
        for imported, line in imports_of(module)
        if imported.startswith("millrace.") and imported.count(".") > 1 and room_of(imported) not in ENTRIES
    ]
    assert inside == []


def test_nothing_imports_the_rooms_that_start_the_program() -> None:
    entering = [
        f"{MODULES[module].relative_to(PACKAGE)}:{line} imports {imported}"
        for module in MODULES
        for imported, line in imports_of(module)
        if room_of(imported) in ENTRIES and room_of(module) not in {room_of(imported), "__main__"}
    ]
    assert entering == []


def test_nothing_but_the_entry_points_is_loose_at_the_top() -> None:
    loose = {path.name for path in PACKAGE.iterdir() if path.is_file()} - AT_THE_TOP
    assert loose == set()


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
