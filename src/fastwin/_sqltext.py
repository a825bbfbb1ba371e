"""Text to a SQL syntax tree: one expression, within limits, refused in our own words.

sqlglot parses. Around it stand the limits that keep hostile text from exhausting its recursion, a check for what it
reads otherwise than SQL engines do, and silence in the logs. What a tree means is for `fastwin.expressions`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from typing import Final, cast

from sqlglot import ErrorLevel, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError, TokenError

from fastwin.errors import ConfigError

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "brief", "parse", "quiet", "refuse", "render"]

MAX_LENGTH: Final = 10_000
"""Most characters in an expression."""

MAX_DEPTH: Final = 24
"""Most parentheses, calls and cases inside each other. `and` and `or` may be chained without bound."""

_SQL: Final = Dialect.get_or_raise("")
_ONE_EXPRESSION: Final = "it is one SQL expression, such as value >= 0 and type = 'purchase'"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the parser from logging on this thread: what it logs is the user's text, which may hold a secret."""
    logger, thread = logging.getLogger("sqlglot"), threading.get_ident()

    def drop(record: logging.LogRecord) -> bool:
        return record.thread != thread

    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)


def parse(text: str) -> exp.Expression:
    """Return the syntax tree of the one SQL expression `text`.

    Raises:
        ConfigError: it is not one, or is beyond a limit.
        RecursionError: operators without parentheses (``not not not ...``) are nested too deeply.
    """
    if not isinstance(text, str):
        raise refuse("an expression is text", f"{text!r}")
    if len(text) > MAX_LENGTH:
        raise refuse(f"an expression has at most {MAX_LENGTH} characters", f"{len(text)}")
    try:
        _check_tokens(text)
        trees = _SQL.parse_into(exp.Condition, text, error_level=ErrorLevel.IMMEDIATE)
    except TokenError:
        raise refuse("a text in quotes ends with the quote it began with", brief(text)) from None
    except ParseError as error:
        where = error.errors[0] if error.errors else {}
        near = str(where.get("highlight") or "").strip()
        place = f" (near {brief(near)}, column {where.get('col')})" if near else ""
        raise refuse(_ONE_EXPRESSION, brief(text) + place) from None
    except SqlglotError:
        raise refuse(_ONE_EXPRESSION, brief(text)) from None
    if len(trees) != 1 or trees[0] is None:
        raise refuse(_ONE_EXPRESSION, brief(text))
    return cast("exp.Expression", trees[0])


_OPENING: Final = {TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE, TokenType.CASE}
_CLOSING: Final = {TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE, TokenType.END}
_SEPARATING: Final = {TokenType.AND, TokenType.OR, TokenType.COMMA, TokenType.WHEN, TokenType.THEN, TokenType.ELSE}
_TESTING: Final = {
    *(TokenType.EQ, TokenType.NEQ, TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE),
    *(TokenType.IS, TokenType.ISNULL, TokenType.NOTNULL, TokenType.IN, TokenType.BETWEEN),
    *(TokenType.LIKE, TokenType.ILIKE),
}


def _check_tokens(text: str) -> None:
    """Refuse what the parser would take too deep for its recursion, or read otherwise than other SQL engines do."""
    tests = [0]  # of each open parenthesis: the tests since the last separator
    betweens = [0]  # of each open parenthesis: how many `between` still wait for their `and`
    for token in _SQL.tokenize(text):
        kind = token.token_type
        if kind is TokenType.SEMICOLON:
            raise refuse("it is one expression, without ';'", brief(text))
        if kind in _OPENING:
            tests.append(0)
            betweens.append(0)
        elif kind in _CLOSING and len(tests) > 1:
            tests.pop()
            betweens.pop()
        elif kind is TokenType.AND and betweens[-1]:
            betweens[-1] -= 1
        elif kind in _SEPARATING:
            tests[-1] = 0
        elif kind in _TESTING:
            tests[-1] += 1
            betweens[-1] += kind is TokenType.BETWEEN
        if len(tests) > MAX_DEPTH + 1:
            raise refuse(f"parentheses, calls and cases are nested at most {MAX_DEPTH} deep", brief(text))
        if tests[-1] > 1:
            # 1 < x < 3 never means what it says, and engines read a = b is null in different ways.
            raise refuse("a test inside a test stands in parentheses", brief(text))


def refuse(rule: str, found: str) -> ConfigError:
    """Return the error that says the broken `rule` and what was `found`."""
    return ConfigError(f"{rule}; found {found}")


def brief(text: str) -> str:
    """Return `text` in quotes, on one line, shortened."""
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:70]}...{shown[0]}"


def render(node: exp.Expression) -> str:
    """Return the SQL of `node`, on one line, shortened."""
    text = " ".join(node.sql(comments=False).split())
    return text if len(text) <= 80 else f"{text[:70]}..."
