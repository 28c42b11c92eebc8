"""The tables that osquery has on Linux, as an empty SQLite database in which a query can be tried.

osquery is SQLite with virtual tables, so SQLite itself says whether a query is one, and which columns it reads.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from osquery_packs.extension import schema

_TYPES = {"t": "TEXT", "i": "INTEGER", "b": "BIGINT", "u": "UNSIGNED BIGINT", "d": "DOUBLE", "x": "BLOB"}
_INSTRUCTIONS_BETWEEN_CHECKS = 10_000
_MAXIMUM_CHECKS = 1_000
"""Ten million instructions of SQLite's machine: thousands of times what a query over a handful of rows needs."""


@cache
def columns() -> Mapping[str, Mapping[str, str]]:
    """Every table's columns with SQLite's names for their types: osquery's own tables, and our extension's."""
    text = files("osquery_packs").joinpath("data/tables.tsv").read_text("utf-8")
    found: dict[str, Mapping[str, str]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, _, described = line.split("\t")
        pairs = (column.split(":") for column in described.split())
        found[name] = {column: _TYPES[kind] for column, kind in pairs}
    for table in schema.TABLES:
        found[table.name] = {column.name: column.type for column in table.columns}
    return MappingProxyType(found)


@contextmanager
def database() -> Iterator[sqlite3.Connection]:
    """An SQLite database in memory with every table, all empty. A query in it that does not end is stopped."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(_empty())
        checks = 0

        def too_long() -> bool:
            nonlocal checks
            checks += 1
            return checks > _MAXIMUM_CHECKS

        connection.set_progress_handler(too_long, _INSTRUCTIONS_BETWEEN_CHECKS)
        yield connection
    finally:
        connection.close()


@cache
def _empty() -> bytes:
    """The database's image: copying it costs a hundredth of making its tables."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for name, described in columns().items():
            listed = ", ".join(f'"{column}" {kind}' for column, kind in described.items())
            connection.execute(f'CREATE TABLE "{name}" ({listed})')
        return connection.serialize()
    finally:
        connection.close()


def problem(connection: sqlite3.Connection, sql: str) -> str:
    """Why osquery could not run this query; empty where it can."""
    try:
        if not sqlite3.complete_statement(f"{sql};"):
            return "an incomplete statement"
        connection.execute(f"EXPLAIN {sql}")
        read = tables_read(connection, sql)
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:  # ValueError: a NUL, a lone surrogate
        return f"osquery on Linux would refuse it: {error}"
    if not read:
        return "it reads no table"
    return ""


def result_columns(connection: sqlite3.Connection, sql: str) -> tuple[str, ...]:
    """The names of the columns that a query returns."""
    return tuple(name for name, *_ in connection.execute(sql).description)


def tables_read(connection: sqlite3.Connection, sql: str) -> tuple[str, ...]:
    """The tables a query reads, sorted, as SQLite's compiler asks leave to read them."""
    read: set[str] = set()

    def note(action: int, first: str | None, *_: str | None) -> int:
        if action == sqlite3.SQLITE_READ and first:
            read.add(first)
        return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY

    connection.set_authorizer(note)
    try:
        connection.execute(f"EXPLAIN {sql}")
    finally:
        connection.set_authorizer(None)
    return tuple(sorted(read & columns().keys()))


_READING = frozenset({sqlite3.SQLITE_READ, sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
"""What a query may do; osquery refuses statements that change anything."""
