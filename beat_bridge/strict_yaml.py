"""YAML into typed values, with the file's own line in every complaint."""

import re
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from beat_bridge.errors import DoorwatchError

MAX_BYTES = 1 << 20
T = TypeVar("T")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]|\[\.\.\.\]")


def load(path: Path, into: type[T]) -> T:
    """Read a YAML file as a value of the given type.

    Args:
        path: At most 1 MiB.
        into: A `Value` class; unknown keys and wrong types are errors.

    Raises:
        DoorwatchError: One line, `FILE:LINE: what is wrong`.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise DoorwatchError(f"{path}: larger than {MAX_BYTES} bytes; this is not a Doorwatch file")
    return parse(data, into, str(path))


def parse(data: bytes, into: type[T], source: str) -> T:
    """The same from bytes; `source` names them in errors."""
    try:
        root = yaml.compose(data, Loader=_Loader)
        content = yaml.load(data, Loader=_Loader)  # noqa: S506 - _Loader is a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise DoorwatchError(f"{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise DoorwatchError(f"{source}: not YAML: {str(error).splitlines()[0]}") from error
    try:
        return msgspec.convert({} if content is None else content, into)
    except msgspec.ValidationError as error:
        message, _, where = str(error).partition(" - at `")
        line = _line_of(root, where.rstrip("`"), message)
        place = f" (at {where.rstrip('`').removeprefix('$.')})" if where else ""
        raise DoorwatchError(f"{source}:{line}: {_in_yaml_terms(message)}{place}") from error


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses what makes YAML dangerous or surprising: repeated keys and aliases."""

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call] # the stub leaves it open
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed here", event.start_mark)
        return super().compose_node(parent, index)  # type: ignore[arg-type] # the stub's index is narrower than the code's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        return dict(super().construct_mapping(node, deep))


_YAML_TERMS = {
    "`object`": "a section of keys",
    "`array`": "a list",
    "`str`": "text",
    "`int`": "a whole number",
    "`float`": "a number",
    "`bool`": "yes or no",
    "`null`": "nothing",
    "Object missing required field": "a required key is missing:",
    "Object contains unknown field": "there is no such key:",
}


def _in_yaml_terms(message: str) -> str:
    """What msgspec says of JSON, in the words of somebody who writes YAML."""
    for theirs, ours in _YAML_TERMS.items():
        message = message.replace(theirs, ours)
    return message


def place(path: Path, where: str) -> str:
    """Where in a file that `load` has read a value stands: `FILE:LINE`.

    Args:
        path: The file.
        where: The value's path within it: `elasticsearch.hosts[0]`.
    """
    try:
        root = yaml.compose(path.read_bytes(), Loader=_Loader)
    except (OSError, yaml.YAMLError):
        return str(path)  # it has changed since it was read
    return f"{path}:{_line_of(root, '$.' + where, '')}"


def _line_of(root: yaml.Node | None, where: str, message: str) -> int:
    """The line (from 1) of the node that msgspec's path (`$.a.b[0]`) names, or of the unknown key in it."""
    node = root
    line = node.start_mark.line if node else 0
    for key, index in _STEP.findall(where.removeprefix("$")):
        if isinstance(node, yaml.MappingNode) and key:
            found = [(k, v) for k, v in node.value if k.value == key]
            if not found:
                break
            line, node = found[0][0].start_mark.line, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and index and int(index) < len(node.value):
            node = node.value[int(index)]
            line = node.start_mark.line
        else:
            break
    unknown = re.search(r"unknown field `([^`]*)`", message)
    if unknown and isinstance(node, yaml.MappingNode):
        line = next((k.start_mark.line for k, _ in node.value if k.value == unknown[1]), line)
    return line + 1
