"""Reads the packs, and refuses one whose queries osquery could not run."""

from importlib.resources import files
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.strict_yaml import load, place
from osquery_packs import tables
from osquery_packs.model import Pack

SHIPPED = Path(str(files("osquery_packs"))) / "packs"
_PROOF = ".proof.yml"


def load_packs(directory: Path = SHIPPED) -> tuple[Pack, ...]:
    """All packs of a directory, by name.

    Args:
        directory: Holds `*.yml`, and beside each its `*.proof.yml`.

    Raises:
        DoorwatchError: `FILE:LINE: what is wrong`: no pack is there, a key is unknown, or a query names a table or a
            column that osquery on Linux does not have.
    """
    packs = tuple(sorted((load_pack(path) for path in pack_files(directory)), key=lambda pack: pack.name))
    if len({pack.name for pack in packs}) != len(packs):
        raise DoorwatchError(f"{directory}: two packs have the same name: osquery would run one of them only")
    return packs


def pack_files(directory: Path = SHIPPED) -> tuple[Path, ...]:
    """The pack files of a directory.

    Raises:
        DoorwatchError: There is none, or the directory cannot be read.
    """
    try:
        found = tuple(sorted(path for path in directory.iterdir() if _is_pack(path)))
    except OSError as error:
        raise DoorwatchError(f"{directory}: cannot read: {error.strerror}") from error
    if not found:
        raise DoorwatchError(f"{directory}: no pack is here: packs are files that end with .yml")
    return found


def load_pack(path: Path) -> Pack:
    """Read one pack file, and prepare every query of it."""
    pack = load(path, Pack)
    with tables.database() as database:
        for name, query in pack.queries.items():
            problem = tables.problem(database, query.sql)
            if problem:
                raise DoorwatchError(f"{place(path, f'queries.{name}.sql')}: the query {name}: {problem}")
        for index, sql in enumerate(pack.discovery):
            problem = tables.problem(database, sql)
            if problem:
                raise DoorwatchError(f"{place(path, f'discovery[{index}]')}: a discovery query: {problem}")
    return pack


def _is_pack(path: Path) -> bool:
    return path.name.endswith(".yml") and not path.name.endswith(_PROOF)
