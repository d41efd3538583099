"""Tables of faces, read again row by row, whatever their length."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from inversefacenet.batch.tables import parquet_rows, table_format
from inversefacenet.errors import InputError

Row = dict[str, Any]

_NEEDED: Final = {
    "photo",
    "face",
    "faces",
    "problem",
    "message",
    "width",
    "height",
    "box",
    "placement",
    "parameters",
    "quality",
}


def read_rows(table: Path) -> Iterator[Row]:
    """Yield the rows of a table that `inversefacenet batch` wrote (`inversefacenet.batch.tables`).

    Raises:
        InputError: If there is no such table, or it is none of ours.
        MissingDependencyError: If it is Parquet and PyArrow isn't installed.
    """
    kind = table_format(table)
    if not table.is_file():
        raise InputError(f"{table} is no table of faces: there is no such file.")
    rows = _json_rows(table) if kind.suffix == ".jsonl" else parquet_rows(table)
    for number, row in enumerate(rows, start=1):
        if not (isinstance(row, dict) and row.keys() >= _NEEDED):
            raise InputError(f"{table}: row {number} is none that `inversefacenet batch` writes.")
        yield row


def _json_rows(table: Path) -> Iterator[Row]:
    with table.open(encoding="utf-8", errors="surrogateescape") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{table}: line {number} is no JSON.") from error
