"""Reading YAML: plain values with lines, and each mistake as one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.declarations.yaml_file import FILE_BYTES_MAX, YamlFile, read_yaml
from millrace.errors import DeclarationError
from millrace.settings.extras import missing_extra


def read(tmp_path: Path, content: str | bytes) -> YamlFile:
    path = tmp_path / "a.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_yaml(path, "a.yaml")


def faults(document: YamlFile) -> list[str]:
    return [
        f"{fault.line}: {'.'.join(map(str, fault.path))} {fault.problem.message}: {fault.problem.hint}"
        for fault in document.faults
    ]


def test_values_are_plain_and_every_key_and_item_has_its_line(tmp_path: Path) -> None:
    document = read(tmp_path, "# comment\na:\n  b: 1\n  c:\n    - x\n    - y\n")
    assert document.values == {"a": {"b": 1, "c": ["x", "y"]}}
    assert document.lines == {(): 1, ("a",): 2, ("a", "b"): 3, ("a", "c"): 4, ("a", "c", 0): 5, ("a", "c", 1): 6}
    assert document.line(("a", "c", 1, "z", 0)) == 6
    assert document.line(("z",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("False", False),
        ("12", 12),
        ("1_000", 1000),
        ("1.5", 1.5),
        ("0x1F", "0x1F"),
        ("NO", "NO"),
        ("yes", "yes"),
        ("10:30", "10:30"),
        ("06:00", "06:00"),
        ("2026-11-29", "2026-11-29"),
        (".inf", ".inf"),
        ('"12"', "12"),
        ("!!str 12", "12"),
        ("1%", "1%"),
    ],
)
def test_scalars_have_the_types_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    actual = read(tmp_path, f"a: {text}\n").values["a"]
    assert actual == value
    assert type(actual) is type(value)


def test_an_empty_file_has_no_value(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n").values is None


def test_a_merge_key_gives_the_values_of_a_map_that_own_keys_replace(tmp_path: Path) -> None:
    document = read(tmp_path, "x: &x {a: 1, b: 2}\ny:\n  b: 3\n  <<: *x\n")
    assert document.values["y"] == {"a": 1, "b": 3}
    assert document.line(("y", "a")) == 1
    assert document.line(("y", "b")) == 3
    assert document.faults == []


def test_mistakes_within_the_values_are_faults_and_the_rest_is_read(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\na: 2\nb: !python/name:os.system x\nc:\n  <<: [1]\n  d: 1\n2: x\n")
    assert document.values == {"a": 1, "b": None, "c": {"d": 1}}
    assert faults(document) == [
        "2: a is given twice: line 1 has it, too",
        "3: b has the unknown tag !python/name:os.system: remove it",
        "5: c has a merge key << whose value is not a map: give one map",
        "7:  has a key that is not a text: put the key in quotes",
    ]


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system [x]", "!!binary eA==", "!!set {a}", "!foo {a: 1}"])
def test_a_tag_is_never_executed_or_converted(tmp_path: Path, tag: str) -> None:
    document = read(tmp_path, f"a: {tag}\n")
    assert document.values == {"a": None}
    assert [fault.path for fault in document.faults] == [("a",)]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("a: 1\nb: [1, 2\n", 3, "did not find expected ',' or ']'"),
        ("a: b: c\n", 1, "mapping values are not allowed in this context"),
        ("a: *x\n", 1, "found undefined alias"),
        ("a: 1\n\tb: 2\n", 2, "found a tab character that violates indentation"),
        (b"a: 1\nb: \xff\n", 2, "the text is not UTF-8"),
        ("a: 1\nb: \x07\n", 2, "control characters are not allowed"),
        ("a: 1\n---\nb: 2\n", 2, "but found another document"),
    ],
)
def test_text_that_is_not_yaml_is_one_line_with_file_and_line(
    tmp_path: Path, content: str | bytes, line: int, problem: str
) -> None:
    with pytest.raises(DeclarationError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == f"a.yaml:{line}: this is not YAML: {problem}"
    assert caught.value.context == {"file": "a.yaml", "line": line}
    assert not caught.value.retriable


def test_a_file_of_more_than_a_megabyte_is_refused(tmp_path: Path) -> None:
    assert read(tmp_path, "a: 1\n".ljust(FILE_BYTES_MAX, "#").replace("1\n#", "1\n# ")[:FILE_BYTES_MAX]).values
    with pytest.raises(DeclarationError, match=r"^a.yaml is larger than 1,000,000 bytes: divide it$"):
        read(tmp_path, "#" * (FILE_BYTES_MAX + 1))


def test_aliases_that_multiply_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(DeclarationError, match="more than 100,000 values"):
        read(tmp_path, "\n".join(lines))


def test_a_merged_map_with_an_unknown_tag_is_a_fault(tmp_path: Path) -> None:
    document = read(tmp_path, "a:\n  <<: !foo {b: 1}\n  c: 2\n")
    assert document.values == {"a": {"c": 2}}
    assert faults(document) == ["2: a has the unknown tag !foo: remove it"]


@pytest.mark.parametrize("content", ["a: &a [*a]\n", "a: &a {<<: *a}\n", "[" * 40 + "]" * 40, "[" * 900_000])
def test_values_that_contain_themselves_or_are_nested_deeply_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DeclarationError, match=r"a\.yaml:[0-9]+: this is not YAML"):
        read(tmp_path, content)


def test_a_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"^b\.yaml cannot be read: no such file or directory$"):
        read_yaml(tmp_path / "b.yaml", "b.yaml")
    with pytest.raises(DeclarationError, match=r"^b\.yaml cannot be read: is a directory$"):
        read_yaml(tmp_path, "b.yaml")


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    missing_extra.cache_clear()
    try:
        with pytest.raises(DeclarationError, match=r"yaml is not installed: pip install 'millrace\[sources\]'"):
            read(tmp_path, "a: 1\n")
    finally:
        missing_extra.cache_clear()
