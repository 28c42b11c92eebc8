"""SQLite files of our own: private, durable, and never half understood."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from beat_bridge.errors import DoorwatchError
from beat_bridge.files import ensure_private_directory

BUSY_MILLISECONDS = 10_000
"""How long to wait for another connection's write."""
JOURNAL_BYTES = 8 << 20


def connect(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open a database for reading and writing, made where it is missing.

    Args:
        path: Its directory is made private too.
        schema: SQL that makes the tables of an empty database.
        version: Of the schema (`user_version`).

    Returns:
        A connection in autocommit mode that may be used from any thread (one at a time). Transactions are on disk when
        they are committed (WAL, `synchronous=FULL`).

    Raises:
        DoorwatchError: It is something else, or of another version; nothing was changed.
    """
    ensure_private_directory(path.parent)
    with understood(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_MILLISECONDS / 1000
        )
        try:
            _prepare(connection, path, schema, version)
        except BaseException:
            connection.close()
            raise
    return connection


def connect_read_only(path: Path, version: int) -> sqlite3.Connection:
    """Open a database that another process may be writing to.

    Raises:
        DoorwatchError: It is missing, something else, or of another version.
    """
    if not path.is_file():
        raise DoorwatchError(f"{path}: there is no such store: is the path right, and has the bridge run?")
    with understood(path):
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_MILLISECONDS / 1000,
        )
        try:
            _check_version(connection, path, version)
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """All of it or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@contextmanager
def understood(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into one clear line."""
    try:
        yield
    except sqlite3.Error as error:
        raise DoorwatchError(f"{path}: {_advice(error)}") from error
    except OSError as error:
        raise DoorwatchError(f"{path}: cannot open: {error.strerror}") from error


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; freed pages are used again before it grows."""
    size, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "page_count", "freelist_count")
    )
    return int(size) * (int(pages) - int(free))


def _prepare(connection: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    connection.execute(f"PRAGMA busy_timeout={BUSY_MILLISECONDS}")
    empty = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if empty:
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    else:
        _check_version(connection, path, version)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA journal_size_limit={JOURNAL_BYTES}")
    if empty:
        connection.executescript(f"BEGIN IMMEDIATE; {schema}; PRAGMA user_version={version}; COMMIT;")


def _check_version(connection: sqlite3.Connection, path: Path, version: int) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found != version:
        raise DoorwatchError(
            f"{path}: a database of version {found}, not {version}: move it away, or use its Doorwatch"
        )


def _advice(error: sqlite3.Error) -> str:
    name = getattr(error, "sqlite_errorname", "")
    if name == "SQLITE_FULL":
        return "the disk is full: make room"
    if name.startswith("SQLITE_BUSY"):
        return "another process is writing to it: is a second bridge running?"
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return f"damaged, or no database ({error}): move it away and start again"
    return str(error)
