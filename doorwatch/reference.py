"""References made from the code, so that they cannot say anything else than the code does."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from beat_bridge.model.base import Value


def attribute_docstrings(kind: type) -> dict[str, str]:
    """The string literal below each attribute of a class, by the attribute's name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    found: dict[str, str] = {}
    previous: ast.stmt | None = None
    for statement in body.body if isinstance(body, ast.ClassDef) else []:
        if (
            isinstance(previous, ast.AnnAssign)
            and isinstance(previous.target, ast.Name)
            and isinstance(statement, ast.Expr)
            and isinstance(statement.value, ast.Constant)
        ):
            found[previous.target.id] = inspect.cleandoc(str(statement.value.value))
        previous = statement
    return found


def configuration_reference(root: type[Value]) -> str:
    """The configuration reference, in Markdown: one table for each section, in the order they appear."""
    lines = [
        "# Configuration",
        "",
        "`doorwatch run --config FILE` reads one YAML file. Unknown keys, repeated keys, aliases and wrong types are",
        "refused with the file's name and line. This page is made from the code by `make docs`.",
        "",
    ]
    for path, kind in _sections("", root):
        lines += [f"## {path or 'Top level'}", "", inspect.cleandoc(kind.__doc__ or "").splitlines()[0], ""]
        lines += ["| key | type | default | meaning |", "|---|---|---|---|", *_rows(kind), ""]
    return "\n".join(lines).rstrip() + "\n"


def _sections(path: str, kind: type[Value]) -> Iterator[tuple[str, type[Value]]]:
    yield path, kind
    for field in msgspec.structs.fields(kind):
        for inner in _value_types(field.type):
            yield from _sections(f"{path}.{field.encode_name}".lstrip("."), inner)


def _value_types(annotation: Any) -> Iterator[type[Value]]:
    """The `Value` classes inside an annotation: `Section | None`, `tuple[Section, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Value):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _value_types(part)


def _rows(kind: type[Value]) -> Iterator[str]:
    told = attribute_docstrings(kind)
    for field in msgspec.structs.fields(kind):
        section = next(_value_types(field.type), None)
        meaning = " ".join(told.get(field.name, "").split())
        name = _type_name(field.type) if section is None else "section"
        cells = (f"`{field.encode_name}`", name, _default(field, section), meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, type) and not getattr(annotation, "__args__", ()):
        if values := getattr(annotation, "__members__", None):
            return " or ".join(f"`{member.value}`" for member in values.values())
        return {"str": "text", "int": "number", "float": "number", "bool": "yes or no"}.get(
            annotation.__name__, annotation.__name__
        )
    if hasattr(annotation, "__metadata__"):
        return _type_name(annotation.__origin__)
    parts = [part for part in getattr(annotation, "__args__", ()) if part not in (type(None), Ellipsis)]
    names = " or ".join(dict.fromkeys(_type_name(part) for part in parts))
    return f"list of {names}" if getattr(annotation, "__origin__", None) in (tuple, list) else names


def _default(field: msgspec.structs.FieldInfo, section: type[Value] | None) -> str:
    if field.required:
        return "required"
    if field.default is None:
        return "none"
    if section is not None:
        return ""
    return f"`{msgspec.json.encode(field.default).decode()}`" if field.default is not msgspec.NODEFAULT else ""
