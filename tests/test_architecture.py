"""The house: imports point one way, and no room loads what it does not need."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("doorwatch", "responders", "kibana_dashboards", "osquery_packs", "detection_rules", "beat_bridge")
LEAVES = {"errors", "files", "strict_yaml", "terminal"}
"""Utilities at the bridge's root that any room may use."""
BRIDGE: dict[str, set[str]] = {
    # within beat_bridge: room -> the rooms it may import
    "model": {"errors"},
    "cbpf": {"model"},
    "detectors": {"cbpf", "model"},
    "sensors": {"detectors", "cbpf", "model"},
    "ecs": {"model"},
    "shipping": {"model"},
    "standalone": {"model"},
    "commands": {"model", "cbpf", "detectors", "sensors", "ecs", "shipping", "standalone"},
}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where an arrow points"
            yield str(node.module)


def _modules(room: str) -> Iterator[Path]:
    return (ROOT / room).rglob("*.py")


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_downwards(room: str) -> None:
    """A room imports itself and the rooms below it, never one above."""
    above = ROOMS[: ROOMS.index(room)]
    wrong = [f"{path}: {name}" for path in _modules(room) for name in _imports(path) if name.split(".")[0] in above]
    assert not wrong


def test_every_bridge_room_has_its_arrows() -> None:
    """Each folder of the bridge is named in this test, so that a new one must say what it may import."""
    found = {path.name for path in (ROOT / "beat_bridge").iterdir() if (path / "__init__.py").exists()}
    assert found == set(BRIDGE)


@pytest.mark.parametrize("room", BRIDGE)
def test_the_bridge_flows_one_way(room: str) -> None:
    """Within the bridge, a room imports only what design allows it to."""
    allowed = BRIDGE[room] | {room} | LEAVES
    wrong = [
        f"{path}: {name}"
        for path in _modules(f"beat_bridge/{room}")
        for name in _imports(path)
        if name.startswith("beat_bridge.") and name.split(".")[1] not in allowed
    ]
    assert not wrong
