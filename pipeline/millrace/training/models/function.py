"""Find the training function that a declaration names, and the digest of its source."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Final

from millrace.errors import UsageError
from millrace.names import nearest
from millrace.settings import checkout, missing_extra
from millrace.training.models.job import TrainedModel, TrainingJob

TrainingFunction = Callable[[TrainingJob], TrainedModel]

_FORM: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_PREPARE_MODULES: Final = ("sklearn", "scipy", "duckdb")
_loaded: set[str] = set()
"""The modules that were imported for a training function; only they are replaced by those of another folder."""


def load_function(text: str, folder: Path) -> TrainingFunction:
    """Return the function that ``module:function`` names; ``folder`` comes first on Python's path meanwhile.

    In a checkout its root comes last, so that ``examples.late_arrivals:train`` is found by every command.

    The text names code, so take it from the file of declarations, never from a form. A module of the folder that was
    imported before is executed again, so an edited function is the new one; the modules that it imports are not. Raises
    ``UsageError`` with the module, the folder and the reason.
    """
    if not _FORM.fullmatch(text):
        raise UsageError(
            f"the training function {text!r} is not written as module:function",
            hint="write for example late_arrivals:train",
            function=text,
        )
    module_name, _, name = text.partition(":")
    module = _imported(module_name, text, folder)
    function = getattr(module, name, None)
    if function is None:
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        near = nearest(name, known, at_most=1)
        raise UsageError(
            f"the module {module_name} ({module.__file__}) has no function {name!r}",
            hint=f"did you mean {near[0]!r}?" if near else "define it, or correct train",
            function=text,
        )
    if not callable(function):
        raise UsageError(
            f"{text} ({module.__file__}) is {type(function).__name__}, and not a function",
            hint="name a function that takes a TrainingJob",
            function=text,
        )
    _check_takes_job(function, text)
    return function  # type: ignore[no-any-return]


def _check_takes_job(function: Callable[..., object], text: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C may have none
        return
    try:
        signature.bind(None)
    except TypeError:
        raise UsageError(
            f"the training function {text} has the arguments {signature}, and is called with one",
            hint="write it as def train(job), where job is a TrainingJob",
            function=text,
        ) from None


def _imported(module_name: str, text: str, folder: Path) -> ModuleType:
    with _on_path(folder):
        own = _own_module(module_name, text, folder)
        try:
            module = importlib.import_module(module_name) if own is None else importlib.reload(own)
            _loaded.add(module_name.partition(".")[0])
            return module
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if module_name == missing or module_name.startswith(f"{missing}."):
                raise UsageError(
                    f"the training function {text} cannot be imported: no module {missing!r} is in {folder} "
                    "or on Python's path",
                    hint="correct train, or put the module beside the file of declarations",
                    function=text,
                ) from None
            hint = missing_extra("prepare") if missing.partition(".")[0] in _PREPARE_MODULES else ""
            raise _failed(text, module_name, folder, error, hint) from error
        except (Exception, SystemExit) as error:
            raise _failed(text, module_name, folder, error) from error


@contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    first, root = str(folder.absolute()), checkout()
    last = [] if root is None or str(root) in sys.path else [str(root)]
    sys.path[:] = [first, *sys.path, *last]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for entry in (first, *last):
            if entry in sys.path:
                sys.path.remove(entry)


def _own_module(module_name: str, text: str, folder: Path) -> ModuleType | None:
    """Return the module if it was imported from this folder before, else None.

    A module of another folder that was imported for a training function is forgotten. Raises ``UsageError`` if another
    module of the same name hides the one in the folder.
    """
    top, *inner = module_name.split(".")
    spec, loaded = PathFinder.find_spec(top, [str(folder.absolute())]), sys.modules.get(top)
    if spec is None or spec.origin is None or loaded is None:
        return None
    origin = getattr(loaded, "__file__", None)
    if origin is None or Path(origin).resolve() != Path(spec.origin).resolve():
        if top in _loaded:
            _forget(top)
            return None
        raise UsageError(
            f"the training function {text} cannot be imported from {spec.origin}: this process has already imported "
            f"another module {top!r} ({origin or 'built in'})",
            hint="give the file another name",
            function=text,
        )
    return sys.modules.get(module_name) if inner else loaded


def _forget(top: str) -> None:
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


def _failed(text: str, module_name: str, folder: Path, error: BaseException, hint: str = "") -> UsageError:
    """Return the error of a module that fails while it is imported, with the line of the module that failed."""
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    place = ""
    if isinstance(error, SyntaxError):
        place = f" at {error.filename}:{error.lineno}"
    elif len(lines) > 1:
        place = f" at {lines[-1].filename}:{lines[-1].lineno}"
    reason = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return UsageError(
        f"the training function {text} cannot be imported: the module {module_name} (folder {folder}) fails{place} "
        f"with {type(error).__name__}: {reason}",
        hint=hint,
        function=text,
    )


def name_of(function: Callable[..., object]) -> str:
    """Return ``module:function`` of a function, or the name of its type."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}:{name}"


def digest_of(function: Callable[..., object]) -> str:
    """Return a hash of the source of the function's module; empty for any object but a plain function of Python.

    The function of a notebook or of ``__main__`` has a hash of its own source. Modules that it imports are not covered,
    nor is the state of an object.
    """
    if not inspect.isfunction(function):
        return ""
    module = inspect.getmodule(function)
    path = getattr(module, "__file__", None)
    try:
        if path is not None and getattr(module, "__name__", "") != "__main__":
            source = Path(path).read_bytes()
        else:
            source = inspect.getsource(function).encode()
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(source).hexdigest()
