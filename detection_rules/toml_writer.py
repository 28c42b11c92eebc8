"""A rule file as text: one way to write each, so that writing what was read changes nothing but comments and order.

Keys are sorted, the query stands last in its table, prose is wrapped. It is the form of elastic/detection-rules, so
that a diff between two versions of a rule shows what a person changed.
"""

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any, Final

WIDTH: Final = 120
LIST: Final = 100
"""A list of texts that would be longer has one on each line."""
PROSE: Final = frozenset({"description", "false_positives"})
"""Texts whose line breaks mean nothing: `fold` gives what they say."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_QUERY_OF: Final = ("rule",)
"""The table whose query stands last, by itself."""
_TABLES: Final = ("metadata", "rule", "transform")


def write(content: Mapping[str, Any]) -> str:
    """A TOML document.

    Args:
        content: Tables of strings, numbers, booleans, lists and tables; no None, which TOML has not.

    Returns:
        Text that `tomllib` reads as the same content, but for the line breaks of prose.
    """
    lines: list[str] = []
    for name in (*_TABLES, *sorted(set(content) - set(_TABLES))):
        if content.get(name):
            _table(lines, (name,), content[name], array=False)
    return "\n".join(lines).strip("\n") + "\n"


def fold(text: str) -> str:
    """Prose on one line."""
    return " ".join(text.split())


def _table(lines: list[str], path: tuple[str, ...], content: Mapping[str, Any], *, array: bool) -> None:
    name = ".".join(_key(part) for part in path)
    plain = {key: value for key, value in content.items() if not _is_table(value)}
    if plain or array or not content:
        lines += ["", f"[[{name}]]" if array else f"[{name}]"]
    query = plain.pop("query", None) if path == _QUERY_OF else None
    lines += [f"{_key(key)} = {_value(key, plain[key], room=WIDTH - len(_key(key)) - 3)}" for key in sorted(plain)]
    if query is not None:
        lines += ["", f"query = {_query(query)}"]
    # arrays of tables before tables, as a technique stands before its tactic
    inner = {key: value for key, value in content.items() if _is_table(value)}
    for key in sorted(inner, key=lambda key: (isinstance(inner[key], Mapping), key)):
        value = content[key]
        for item in [value] if isinstance(value, Mapping) else value:
            _table(lines, (*path, key), item, array=not isinstance(value, Mapping))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(item, Mapping) for item in value)
    )


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _basic(name)


def _value(key: str, value: Any, room: int) -> str:
    if isinstance(value, str):
        return _text(key, value)
    if isinstance(value, list | tuple):
        return _list(key, value, room)
    return _inline(value)


def _text(key: str, text: str) -> str:
    if key in PROSE:
        written = _basic(fold(text))
        return written if len(written) + len(key) + 3 <= WIDTH else f'"""\n{_wrapped(text, "")}\n"""'
    return _multi_line(text) if "\n" in text else _basic(text)


def _query(text: Any) -> str:
    """A query, between line breaks that mean nothing."""
    if not isinstance(text, str):
        return _inline(text)
    if "'''" not in text and all(c.isprintable() or c in "\n\t" for c in text):
        return f"'''\n{text.strip()}\n'''"
    return _multi_line(text) if "\n" in text else _basic(text)


def _list(key: str, values: list[Any] | tuple[Any, ...], room: int) -> str:
    one_line = _inline(values)
    if len(one_line) <= min(room, LIST):
        return one_line
    items = [
        f'    """\n{_wrapped(value, "    ")}\n    """' if key in PROSE and isinstance(value, str) else "    " + item
        for value, item in zip(values, map(_inline, values), strict=True)
    ]
    return "[\n" + "".join(f"{item},\n" for item in items) + "]"


def _inline(value: Any) -> str:
    if isinstance(value, str):
        return _basic(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_inline(item)}" for key, item in sorted(value.items())) + " }"
    return repr(value)


def _wrapped(text: str, indent: str) -> str:
    lines = textwrap.wrap(
        fold(text), WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
    return "\n".join(_escaped(line) for line in lines)


def _multi_line(text: str) -> str:
    # a line break right after the opening quotes is not part of the text
    opening = "\n" if text.startswith("\n") else ""
    return f'"""{opening}{_escaped(text)}"""'


def _escaped(text: str) -> str:
    """Within three quotes: backslashes, quotes that would end it, and what does not print."""
    written = text.replace("\\", "\\\\").replace('"""', '""\\"')
    if written.endswith('"'):
        written = written[:-1] + '\\"'
    return "".join(c if c.isprintable() or c in "\n\t" else _code(c) for c in written)


def _basic(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else _code(c) for c in written)


def _code(character: str) -> str:
    point = ord(character)
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
