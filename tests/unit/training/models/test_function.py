"""Training functions that a declaration names: found beside its file, and refused by one clear line."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local_stack.settings import CHECKOUT
from millrace.errors import UsageError
from millrace.training.models import digest_of, load_function, name_of


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder of modules, which are forgotten at the end."""
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


def refusal(text: str, folder: Path) -> str:
    with pytest.raises(UsageError) as refused:
        load_function(text, folder)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_module_beside_the_file_is_imported_and_may_import_its_neighbour(folder: Path) -> None:
    write(folder, "own_helper", "ANSWER = 42\n")
    write(folder, "own_trainer", "from own_helper import ANSWER\ndef train(job): return ANSWER\n")
    path = list(sys.path)
    function = load_function("own_trainer:train", folder)
    assert function(None) == 42
    assert name_of(function) == "own_trainer:train"
    assert sys.path == path


def test_a_module_in_a_package_of_the_folder_is_imported(folder: Path) -> None:
    (folder / "own_package").mkdir()
    write(folder / "own_package", "inner", "def train(job): return 7\n")
    assert load_function("own_package.inner:train", folder)(None) == 7


def test_an_edited_function_is_the_new_one(folder: Path) -> None:
    write(folder, "own_edited", "def train(job): return 1\n")
    first = load_function("own_edited:train", folder)
    digest = digest_of(first)
    write(folder, "own_edited", "def train(job): return 1234\n")
    second = load_function("own_edited:train", folder)
    assert second(None) == 1234
    assert digest_of(second) not in ("", digest)


def test_the_shipped_example_is_found_from_the_folder_of_its_declaration_in_any_working_directory(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; from pathlib import Path; from millrace.training.models import load_function, name_of\n"
        "print(name_of(load_function('examples.late_arrivals:train', Path(sys.argv[1]))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(CHECKOUT / "conf")],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "pipeline")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "examples.late_arrivals:train\n", done.stderr


@pytest.mark.parametrize("text", ["own_trainer", "own_trainer:", ":train", "a b:train", "own.py:train()", "../x:train"])
def test_a_text_of_another_form_is_refused(folder: Path, text: str) -> None:
    assert refusal(text, folder).startswith(f"the training function {text!r} is not written as module:function")


def test_an_unknown_module_is_named_with_the_folder(folder: Path) -> None:
    message = refusal("own_missing:train", folder)
    assert "no module 'own_missing'" in message
    assert str(folder) in message


def test_a_module_that_fails_is_named_with_its_line_and_error(folder: Path) -> None:
    write(folder, "own_broken", "x = 1\nraise ValueError('two\\nlines')\n")
    message = refusal("own_broken:train", folder)
    assert f"{folder / 'own_broken.py'}:2 with ValueError: two lines" in message


def test_a_module_with_an_error_of_syntax_is_named_with_its_line(folder: Path) -> None:
    write(folder, "own_syntax", "def train(job):\n    return (\n")
    assert "own_syntax.py:2 with SyntaxError" in refusal("own_syntax:train", folder)


def test_a_module_that_ends_the_process_is_refused(folder: Path) -> None:
    write(folder, "own_script", "import sys\nsys.exit(3)\n")
    assert "with SystemExit: 3" in refusal("own_script:train", folder)


def test_a_module_that_needs_another_one_is_refused_by_the_name_of_that_one(folder: Path) -> None:
    write(folder, "own_needy", "import own_nowhere\n")
    assert "with ModuleNotFoundError: No module named 'own_nowhere'" in refusal("own_needy:train", folder)


def test_an_unknown_function_names_the_nearest_one(folder: Path) -> None:
    write(folder, "own_near", "def train(job): return 1\n")
    assert refusal("own_near:trian", folder).endswith("has no function 'trian': did you mean 'train'?")


def test_a_value_that_is_no_function_is_refused(folder: Path) -> None:
    write(folder, "own_value", "train = 3\n")
    assert "is int, and not a function" in refusal("own_value:train", folder)


@pytest.mark.parametrize("arguments", ["", "job, more", "*, job"])
def test_a_function_that_does_not_take_one_argument_is_refused(folder: Path, arguments: str) -> None:
    write(folder, "own_trainer", f"def train({arguments}): pass\n")
    message = refusal("own_trainer:train", folder)
    assert f"own_trainer:train has the arguments ({arguments}), and is called with one" in message


@pytest.mark.parametrize("arguments", ["job", "job, *more", "job, more=1", "*jobs"])
def test_a_function_may_have_more_arguments_with_defaults(folder: Path, arguments: str) -> None:
    write(folder, "own_trainer", f"def train({arguments}): pass\n")
    assert callable(load_function("own_trainer:train", folder))


def test_a_module_of_another_folder_with_the_same_name_is_the_one_of_its_folder(folder: Path) -> None:
    for number, place in enumerate((folder / "first", folder / "second")):
        place.mkdir()
        write(place, "own_twin", f"def train(job): return {number}\n")
        assert load_function("own_twin:train", place)(None) == number


def test_a_module_that_hides_the_one_of_the_folder_is_named(folder: Path) -> None:
    write(folder, "json", "def train(job): return 1\n")
    message = refusal("json:train", folder)
    assert str(folder / "json.py") in message
    assert message.endswith("give the file another name")


def test_a_function_without_source_has_no_digest() -> None:
    assert digest_of(functools.partial(print)) == ""
    assert digest_of(len) == ""
