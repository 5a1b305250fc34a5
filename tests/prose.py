"""``python -m tests.prose``: count habits of wording that plain technical English avoids, in code and docs.

Docstrings, comments and Markdown are read, without code spans and code blocks. Exits with 1 above ``LIMIT`` for each
1,000 words, and with ``--list`` prints every place.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pipeline", "sse_bridge", "local_stack", "dags", "plugins", "bench", "docs", "examples")
LIMIT = 1.0
"""Habits for each 1,000 words."""
HABITS = {
    "'what ...' as a noun": r"\bwhat(ever)?\b(?![^.!?]*\?)",
    "a person in place of a process, thread or user": r"\b(whoever|nobody|somebody|anybody|everybody|people|who)\b",
    "speech": r"\b(speaks?|spoke|silent|silence|says?|said|tells?|told|heard|hears?)\b",
    "money": r"\b(owes?|owed|owing|debts?|pays?|paid|unpaid)\b",
    "medicine": r"\b(heals?|healed|healing|mends?|mended|sick|ill|healthy)\b",
    "'lies' or 'stands' for storage": r"\b(lies|lie|lay|stands|stand|stood)\b",
    "old-fashioned word order": r"\b(so long|but for|gone on with)\b",
}
_SPANS = re.compile(r"``[^`]*``|`[^`]*`|https?://\S+")
_BLOCKS = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_PATTERNS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in HABITS.items()}
Place = tuple[Path, int, str]


def texts() -> Iterator[Place]:
    """Each docstring, comment and paragraph with its file and first line."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".py":
                yield from of_python(path)
            elif path.suffix in (".md", ".js") and "uplot" not in path.parts:
                yield from of_page(path)
    yield from of_page(ROOT / "README.md")
    yield from of_page(ROOT / "CHANGELOG.md")


def of_python(path: Path) -> Iterator[Place]:
    """Docstrings, also those below constants, and comments."""
    source = path.read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield path, node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield path, token.start[0], token.string.lstrip("# ")


def of_page(path: Path) -> Iterator[Place]:
    """The paragraphs of Markdown, and the comments of JavaScript."""
    text = _BLOCKS.sub(lambda match: "\n" * match[0].count("\n"), path.read_text())
    for number, line in enumerate(text.splitlines(), 1):
        if path.suffix == ".md":
            yield path, number, line
        elif "// " in line:
            yield path, number, line.partition("// ")[2]


def main(argv: list[str]) -> int:
    """Print how many habits each 1,000 words hold, by kind; return 1 where there are more than ``LIMIT``."""
    words, counts = 0, dict.fromkeys(HABITS, 0)
    paths = [Path(name).resolve() for name in argv if not name.startswith("-")]
    for path, line, text in texts():
        if paths and not any(path.is_relative_to(each) for each in paths):
            continue
        plain = _SPANS.sub("", text)
        words += len(re.findall(r"[A-Za-z]+", plain))
        for name, pattern in _PATTERNS.items():
            for match in pattern.finditer(plain):
                counts[name] += 1
                if "--list" in argv:
                    print(f"{path.relative_to(ROOT)}:{line}: {name}: {match[0]}")
    rate = 1000 * sum(counts.values()) / max(1, words)
    for name, count in counts.items():
        print(f"{count:5} {name}")
    print(f"{rate:.2f} for each 1,000 words, of {words:,}; at most {LIMIT:g}")
    return int(rate > LIMIT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
