"""Split a filter into words by sqlglot, and allow each word by name or refuse it by name and position."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from millrace.errors import UsageError
from millrace.names import nearest

LANGUAGE: Final = "a filter is made of names, literals, = != <> < <= > >= and or not in between is null"
TYPED: Final = frozenset({"date", "time", "timestamp"})
"""Words that make the text after them a literal of that type."""

_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "between", "is", "null", "true", "false"})
_SIGNS: Final = frozenset({"=", "!=", "<>", "<", "<=", ">", ">=", "(", ")", ",", "-"})
_CALLABLE: Final = frozenset({"and", "or", "not", "in"})
_DEPTH_MAX: Final = 40
"""Maximum nesting of parentheses; sqlglot makes about twenty nested calls for each."""
_PARTS_MAX: Final = 1000
"""Maximum number of conditions joined by and, or. pyarrow recurses in native code, and somewhere above 8,000 conditions
the process ends."""


def checked_tokens(text: str, schema: pa.Schema) -> list[Any]:
    """Split a filter into sqlglot's tokens, and raise ``UsageError`` for the first one that is not allowed.

    Names of columns are marked as identifiers, also where SQL has another meaning for the word.
    """
    from sqlglot.errors import TokenError
    from sqlglot.tokens import Tokenizer

    try:
        tokens = Tokenizer().tokenize(text)
    except TokenError:
        quote = "'" if text.count("'") % 2 else '"'
        raise UsageError(
            f"the filter has a {quote} that is opened and never closed", hint="double a quote to write it in a text"
        ) from None
    if not tokens:
        raise UsageError("the filter is empty", hint=LANGUAGE)
    _check_nesting(tokens)
    return [_checked(token, following, schema) for token, following in zip(tokens, [*tokens[1:], None], strict=True)]


def _check_nesting(tokens: list[Any]) -> None:
    opened: list[int] = []
    nots = parts = 0
    for token in tokens:
        word = token.text.lower()
        if token.text == "(" and token.token_type.name == "L_PAREN":
            opened.append(token.start + 1)
        elif token.text == ")" and token.token_type.name == "R_PAREN":
            if not opened:
                raise UsageError(f"the filter has a ) at character {token.start + 1} that closes nothing")
            opened.pop()
        nots = nots + 1 if word == "not" else 0
        parts += word in ("and", "or")
        if len(opened) > _DEPTH_MAX or nots > 2:
            raise UsageError("the filter is nested too deeply", hint=f"at most {_DEPTH_MAX} parentheses in each other")
    if opened:
        raise UsageError(f"the filter has a ( at character {opened[-1]} that is never closed")
    if parts >= _PARTS_MAX:
        raise UsageError(f"the filter joins {parts + 1} conditions", hint=f"at most {_PARTS_MAX}; use in (...)")


def _checked(token: Any, following: Any, schema: pa.Schema) -> Any:
    from sqlglot.tokens import Token, TokenType  # type: ignore[attr-defined]  # exported without a declaration

    word = token.text.lower()
    if token.token_type == TokenType.IDENTIFIER:
        check_column(token.text, schema, token.start)
    elif token.token_type in (TokenType.STRING, TokenType.NUMBER):
        _check_literal(token, following)
    elif word in _KEYWORDS or (word in TYPED and following is not None and following.token_type == TokenType.STRING):
        pass
    elif token.text in schema.names and not token.token_type.name.endswith("STRING"):  # N'b' is not column b
        _check_no_call(token, following)
        check_column(token.text, schema, token.start)
        return Token(TokenType.IDENTIFIER, token.text, token.line, token.col, token.start, token.end)
    elif token.text not in _SIGNS:
        _refuse(token, following, schema)
    return token


def check_column(name: str, schema: pa.Schema, start: int) -> None:
    """Return if exactly one column has that name; else raise ``UsageError`` with position and nearest names."""
    count = schema.names.count(name)
    if count == 1:
        return
    if count:
        raise UsageError(f"there are {count} columns {name!r}", hint="rename them to filter by one", column=name)
    raise UsageError(
        f"there is no column {name!r} (character {start + 1} of the filter)", hint=_nearest(name, schema), column=name
    )


def _nearest(name: str, schema: pa.Schema) -> str:
    if near := nearest(name, schema.names):
        return "did you mean " + " or ".join(map(_word, near)) + "?"
    more = f" and {len(schema) - 20} more" if len(schema) > 20 else ""
    return "the columns are " + ", ".join(map(_word, schema.names[:20])) + more + "; write text in 'single quotes'"


def _word(name: str) -> str:
    """Return the name as a filter reads it: in double quotes unless it is one word."""
    return name if name.isidentifier() else '"' + name.replace('"', '""') + '"'


def _check_no_call(token: Any, following: Any) -> None:
    if following is not None and following.text == "(" and token.text.lower() not in _CALLABLE:
        raise UsageError(
            f"the filter calls {token.text}(...) at character {token.start + 1}; functions are not part of it",
            hint=LANGUAGE,
        )


def _check_literal(token: Any, following: Any) -> None:
    """Refuse literals such as ``1_000`` and ``0x1F``.

    sqlglot splits each of them into two tokens, of which the second would become an alias of the first.
    """
    if following is None or following.start != token.end + 1:
        return
    if following.token_type.name in ("VAR", "NUMBER", "STRING", "IDENTIFIER"):
        raise UsageError(
            f"{token.text + following.text!r} at character {token.start + 1} of the filter is not a literal",
            hint=LANGUAGE,
        )


def _refuse(token: Any, following: Any, schema: pa.Schema) -> None:
    if token.text == "==":
        raise UsageError(f"the filter has == at character {token.start + 1}", hint="write = to compare")
    if not (token.text[:1].isalpha() or token.text[:1] == "_"):
        hint = 'write a name with other characters in "double quotes"; ' if token.text in ("`", "[", ".") else ""
        raise UsageError(f"{token.text!r} at character {token.start + 1} is not part of a filter", hint=hint + LANGUAGE)
    _check_no_call(token, following)
    if token.token_type.name == "VAR" or token.text.lower() in TYPED:
        check_column(token.text, schema, token.start)
    raise UsageError(
        f"{token.text} at character {token.start + 1} is neither a column nor part of a filter", hint=LANGUAGE
    )
