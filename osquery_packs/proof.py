"""Rows that a query must find, and rows that it must not, beside it in `PACK.proof.yml`; run by SQLite itself."""

import sqlite3
from pathlib import Path
from typing import Annotated

import msgspec

from beat_bridge.errors import DoorwatchError
from beat_bridge.model.base import Value
from beat_bridge.strict_yaml import load
from osquery_packs import tables
from osquery_packs.model import Pack

Cell = str | int


class Case(Value, frozen=True, kw_only=True):
    """A host, told by the rows of its tables. A column that is left out holds what osquery has there: 0, or no text."""

    why: str
    rows: dict[str, list[dict[str, Cell]]]
    finds: Annotated[int, msgspec.Meta(ge=1)] = 1
    """How many rows the query returns; of a case under `not_found` it is not asked."""


class Cases(Value, frozen=True, kw_only=True):
    """Both kinds for one query."""

    found: Annotated[tuple[Case, ...], msgspec.Meta(min_length=1)]
    not_found: Annotated[tuple[Case, ...], msgspec.Meta(min_length=1)]


class Failure(Value, frozen=True, kw_only=True):
    """A case that came out otherwise than it must."""

    pack: str
    query: str
    case: str
    """The case's `why`."""
    expected: str
    actual: str


def read_proof(pack_file: Path) -> dict[str, Cases]:
    """The cases beside a pack file, by query.

    Raises:
        DoorwatchError: The file is not there or not what it must be.
    """
    return load(pack_file.with_suffix(".proof.yml"), dict[str, Cases])


def prove(pack: Pack, proof: dict[str, Cases]) -> tuple[Failure, ...]:
    """Run every query on every case of its own.

    Raises:
        DoorwatchError: A query has no cases, or a case names a table or column that is not there.
    """
    unproven = sorted(pack.queries.keys() ^ proof.keys())
    if unproven:
        raise DoorwatchError(f"{pack.name}: queries and proofs differ: {', '.join(unproven)}: each query needs its own")
    return tuple(
        failure
        for name, query in pack.queries.items()
        for failure in prove_query(pack.name, name, query.sql, proof[name])
    )


def prove_query(pack: str, name: str, sql: str, cases: Cases) -> tuple[Failure, ...]:
    """Run one query on its cases."""
    failures = []
    for case, wanted in [*((case, case.finds) for case in cases.found), *((case, 0) for case in cases.not_found)]:
        try:
            count = len(_run(sql, case))
        except sqlite3.Error as error:
            raise DoorwatchError(f"{pack}: {name}: {case.why}: cannot be tried: {error}") from error
        if count != wanted:
            failures.append(
                Failure(pack=pack, query=name, case=case.why, expected=f"{wanted} rows", actual=f"{count} rows")
            )
    return tuple(failures)


def _run(sql: str, case: Case) -> list[tuple[object, ...]]:
    with tables.database() as database:
        for table, rows in case.rows.items():
            described = tables.columns().get(table)
            if described is None:
                raise DoorwatchError(f"{case.why}: osquery on Linux has no table {table}")
            for row in rows:
                unknown = sorted(row.keys() - described.keys())
                if unknown:
                    raise DoorwatchError(f"{case.why}: the table {table} has no column {', '.join(unknown)}")
                values = [row.get(column, "" if kind == "TEXT" else 0) for column, kind in described.items()]
                marks = ", ".join("?" * len(values))
                database.execute(f'INSERT INTO "{table}" VALUES ({marks})', values)  # noqa: S608 - names come from our list
        return database.execute(sql).fetchall()
