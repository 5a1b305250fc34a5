"""``python -m tests.private_uses``: list uses of private interfaces of dependencies outside ``millrace/compat``.

A use is an attribute or an import whose name begins with one underscore and that the module does not define itself; a
private attribute that a class inherits from a class of a dependency; a module or name of ``UNDOCUMENTED``; or an
assignment to an attribute of an imported class. Exits with 1 where the product has one. Tests and benchmarks may use
the private names of the product; their uses are counted.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("pipeline", "sse_bridge", "dags", "plugins")
COUNTED = ("local_stack", "tests", "bench")
OWN = {"millrace", "sse_bridge", "local_stack", "tests", "bench", "dags", "plugins"}
HOME = ROOT / "pipeline" / "millrace" / "compat"
UNDOCUMENTED = {
    "ctypes",
    "cassandra.io.libevwrapper",
    "redis.connection.PythonRespSerializer",
    "sqlglot.tokenizer_core",
}
"""Modules and names without an underscore that a dependency does not document."""
DOCUMENTED = {"os._exit", "KafkaError."}
"""Names with an underscore that are public: those of confluent-kafka's KafkaError are its local error codes."""
_BY_NAME = {"getattr", "setattr", "hasattr", "delattr"}
Use = tuple[int, str]


def is_private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def is_documented(use: str) -> bool:
    return any(use == name or (name.endswith(".") and use.startswith(name)) for name in DOCUMENTED)


def uses_of(source: str) -> list[Use]:
    """Return line and text of each private use in a module, in order of lines."""
    tree = ast.parse(source)
    uses = [*_imports(tree), *_attributes(tree), *_inherited(tree), *_changed_classes(tree)]
    return sorted({use for use in uses if not is_documented(use[1])})


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return the full names of all imported modules and objects by the names that the module gives them."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _imports(tree: ast.Module) -> Iterator[Use]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            undocumented = any(f"{module}.".startswith(f"{name}.") for name in UNDOCUMENTED)
            private = any(map(is_private, module.split(".")))
            if module.partition(".")[0] != "__future__" and (undocumented or private):
                yield node.lineno, module


def _attributes(tree: ast.Module) -> Iterator[Use]:
    own = _own_names(tree)
    for node in ast.walk(tree):
        name = node.attr if isinstance(node, ast.Attribute) and not _is_of_self(node) else _name_in_call(node)
        if name is not None and is_private(name) and name not in own:
            yield node.lineno, ast.unparse(node)


def _is_of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")


def _name_in_call(node: ast.AST) -> str | None:
    """Return the name of an attribute that is used by ``getattr`` and the like."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _BY_NAME:
        name = node.args[1] if len(node.args) > 1 else None
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            return name.value
    return None


def _own_names(tree: ast.Module) -> set[str]:
    """Return the private names that the module defines, as functions, classes or attributes of ``self`` or a class."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and _is_of_self(node):
            names.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def _inherited(tree: ast.Module) -> Iterator[Use]:
    """Yield private attributes of ``self`` that no class of the module defines, in a class of a dependency's class."""
    imported = _imported(tree)
    own = _own_names(tree) | {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for class_ in ast.walk(tree):
        if not isinstance(class_, ast.ClassDef):
            continue
        bases = [imported.get(ast.unparse(base).partition(".")[0], "") for base in class_.bases]
        if not any(base and base.partition(".")[0] not in OWN for base in bases):
            continue
        for node in ast.walk(class_):
            if isinstance(node, ast.Attribute) and _is_of_self(node) and is_private(node.attr) and node.attr not in own:
                yield node.lineno, f"{ast.unparse(node)} of {', '.join(bases)}"


def _changed_classes(tree: ast.Module) -> Iterator[Use]:
    """Yield assignments to attributes of imported classes, which change them for the whole process."""
    classes = {
        name: whole
        for name, whole in _imported(tree).items()
        if whole.rpartition(".")[2][:1].isupper() and whole.partition(".")[0] not in OWN
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = ast.unparse(node.value)
            if name in classes:
                yield node.lineno, f"assignment to {classes[name]}.{node.attr}"


def in_folders(folders: tuple[str, ...]) -> list[str]:
    """Return the uses below these folders, without those of ``HOME``, as lines of text."""
    uses = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if not path.is_relative_to(HOME):
                uses += [f"{path.relative_to(ROOT)}:{line}: {text}" for line, text in uses_of(path.read_text())]
    return uses


def main() -> int:
    """Print the uses of the product and the number of those elsewhere; return 1 if the product has one."""
    uses = in_folders(PRODUCT)
    for use in uses:
        print(f"{use}: move it to pipeline/millrace/compat, or use a public interface")
    print(f"{len(uses)} private uses in {', '.join(PRODUCT)}")
    for folder in COUNTED:
        print(f"{len(in_folders((folder,)))} private uses in {folder}, which may use names of our own")
    return int(bool(uses))


if __name__ == "__main__":
    sys.exit(main())
