"""Rows as files: Parquet or JSON lines, in parts while a run lasts and in one file at its end.

One row is one face; a photo without one has a row that names its problem. Columns:

    photo              its path
    face, faces        number of the face from 1 by size, null without a face; how many the photo has
    problem, message   slug of an error (`inversefacenet.errors`) and what it says; null where all went well
    width, height      of the upright photo, in pixels
    box, score         the detector's: left, top, right, bottom in photo pixels
    placement          image plane at unit distance to photo pixels: scale, x, y
    parameters         the 350 numbers (`inversefacenet.parameters`)
    quality            the answer's measures, confidence and verdict (`Reconstruction.assessment`)
    quality_before     the same of the network's own answer; only in the table of a run that refines
"""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from inversefacenet.batch.files import unfinished
from inversefacenet.errors import InputError, MissingDependencyError
from inversefacenet.metrics import Quality
from inversefacenet.parameters import PARAMETER_COUNT

Row = dict[str, Any]

_ROWS_OF_A_GROUP: Final = 8192


@dataclass
class Counts:
    """What a table holds.

    Attributes:
        rows: Faces and failures.
        faces: Faces.
        failed: Rows with a problem.
        problems: How often each problem occurs.
    """

    rows: int = 0
    faces: int = 0
    problems: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        """Return how many rows have a problem."""
        return sum(self.problems.values())

    def add(self, problems: Iterable[str | None]) -> None:
        """Count rows by their problems."""
        for problem in problems:
            self.rows += 1
            if problem is None:
                self.faces += 1
            else:
                self.problems[problem] += 1


@runtime_checkable
class TableFormat(Protocol):
    """How rows are written."""

    suffix: str

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return the file of one part."""
        ...

    def merge(self, files: Sequence[bytes]) -> bytes:
        """Return the file of one part from files that hold its rows, in order."""
        ...

    def join(self, parts: Iterable[Path], output: Path) -> Counts:
        """Write all parts into one file, in order, a few at a time in memory; it appears when it is whole."""
        ...


def table_format(output: Path, *, refined: bool = False) -> TableFormat:
    """Choose the format by the file's ending.

    Args:
        output: The table's file.
        refined: The rows are of refined faces, and say how good each was before.

    Raises:
        InputError: It is none of ours.
        MissingDependencyError: PyArrow isn't installed.
    """
    if output.suffix == ".jsonl":
        return JsonLines(refined=refined)
    if output.suffix == ".parquet":
        return Parquet(refined=refined)
    raise InputError(f"{output}: results are written as .parquet or .jsonl.")


class JsonLines:
    """One JSON object a line."""

    suffix = ".jsonl"

    def __init__(self, *, refined: bool = False) -> None:
        self._refined = refined

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return the file of one part."""
        plain = [_plain(row) for row in rows]
        if self._refined:
            plain = [row | {"quality_before": row.get("quality_before")} for row in plain]
        return "".join(json.dumps(row, allow_nan=False) + "\n" for row in plain).encode()

    def merge(self, files: Sequence[bytes]) -> bytes:
        """Return the file of one part; see `TableFormat.merge`."""
        return b"".join(files)

    def join(self, parts: Iterable[Path], output: Path) -> Counts:
        """Write all parts into one file; see `TableFormat.join`."""
        counts = Counts()
        whole = unfinished(output)
        with whole.open("wb") as file:
            for part in parts:
                with part.open("rb") as rows:
                    counts.add(json.loads(line)["problem"] for line in rows)
                    rows.seek(0)
                    shutil.copyfileobj(rows, file)
        whole.replace(output)
        return counts


class Parquet:
    """Apache Parquet, compressed by zstd."""

    suffix = ".parquet"

    def __init__(self, *, refined: bool = False) -> None:
        self._arrow, self._parquet = import_pyarrow()
        self._schema = self._make_schema(refined=refined)

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return the file of one part."""
        return self._file(self._arrow.Table.from_pylist([_plain(row) for row in rows], self._schema))

    def merge(self, files: Sequence[bytes]) -> bytes:
        """Return the file of one part; see `TableFormat.merge`."""
        if len(files) == 1:
            return files[0]
        return self._file(
            self._arrow.concat_tables([self._parquet.read_table(io.BytesIO(file)) for file in files])
        )

    def _file(self, table: Any) -> bytes:
        buffer = io.BytesIO()
        self._parquet.write_table(table, buffer, compression="zstd")
        return buffer.getvalue()

    def join(self, parts: Iterable[Path], output: Path) -> Counts:
        """Write all parts into one file; see `TableFormat.join`."""
        counts = Counts()
        whole = unfinished(output)
        with self._parquet.ParquetWriter(whole, self._schema, compression="zstd") as writer:
            for table in self._groups(parts):
                counts.add(table.column("problem").to_pylist())
                writer.write_table(table, row_group_size=_ROWS_OF_A_GROUP)
        whole.replace(output)
        return counts

    def _groups(self, parts: Iterable[Path]) -> Iterator[Any]:
        """Gather parts into tables of some thousand rows."""
        tables: list[Any] = []
        for part in parts:
            with part.open("rb") as file:
                tables.append(self._parquet.read_table(file))
            if sum(table.num_rows for table in tables) >= _ROWS_OF_A_GROUP:
                yield self._arrow.concat_tables(tables)
                tables = []
        if tables:
            yield self._arrow.concat_tables(tables)

    def _make_schema(self, *, refined: bool) -> Any:
        arrow = self._arrow
        quality = arrow.struct(
            {one.name: arrow.float64() for one in fields(Quality)}
            | {"confidence": arrow.float64(), "verdict": arrow.string()}
        )
        return arrow.schema(
            {
                "photo": arrow.string(),
                "face": arrow.int32(),
                "faces": arrow.int32(),
                "problem": arrow.string(),
                "message": arrow.string(),
                "width": arrow.int32(),
                "height": arrow.int32(),
                "box": arrow.list_(arrow.float32(), 4),
                "score": arrow.float32(),
                "placement": arrow.list_(arrow.float64(), 3),
                "parameters": arrow.list_(arrow.float32(), PARAMETER_COUNT),
                "quality": quality,
            }
            | ({"quality_before": quality} if refined else {})
        )


def parquet_rows(table: Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file, some hundred in memory at once.

    Raises:
        InputError: It is no Parquet file.
        MissingDependencyError: PyArrow isn't installed.
    """
    arrow, parquet = import_pyarrow()
    try:
        with parquet.ParquetFile(table) as file:
            for batch in file.iter_batches(512):
                yield from batch.to_pylist()
    except arrow.ArrowException as error:
        raise InputError(f"{table} is no Parquet file, or a damaged one.") from error


def _plain(row: Row) -> Row:
    """Return a row without arrays, and with a text for each path, whatever bytes the file system allows."""
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in row.items()}
    for name in ("photo", "message"):
        if plain[name] is not None:
            plain[name] = plain[name].encode("utf-8", "backslashreplace").decode()
    return plain


def import_pyarrow() -> tuple[ModuleType, ModuleType]:
    """Return PyArrow and its module for Parquet.

    Raises:
        MissingDependencyError: It isn't installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet files need PyArrow, which is not installed: name an output that ends in .jsonl, or do",
            extra="batch",
        ) from error
    return pyarrow, pyarrow.parquet
