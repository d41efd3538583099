"""A track as a file: one row a frame, JSON lines or Parquet, written while the video runs.

Columns; where the face is lost all from `box` on are null:

    frame, seconds       the frame's number from 0, and its time from the first one's
    state                tracking, detected or lost
    person               number of the person from 1 in order of appearance; 0 where the face is lost
    box                  left, top, right, bottom in pixels, as it was searched or expected
    placement            image plane at unit distance to pixels: scale, x, y
    parameters           the 350 numbers, settled and filtered (`inversefacenet.parameters`)
    landmarks            the 68 points, filtered: x and y of each in pixels
    network_parameters   what the network answered for this frame alone
    found_landmarks      the 68 points as they were found
    quality              how well the settled face explains the frame, confidence, verdict
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from inversefacenet.batch.files import unfinished
from inversefacenet.batch.tables import import_pyarrow
from inversefacenet.errors import InputError
from inversefacenet.metrics import Quality
from inversefacenet.parameters import PARAMETER_COUNT
from inversefacenet.tracking.frames import TrackedFrame

Row = dict[str, Any]

FORMATS: Final = (".jsonl", ".parquet")
_DIGITS: Final = 6  # of a JSON number after its point: finer than float32 for what is about 1
_ROWS_OF_A_GROUP: Final = 256


class FrameTable(Protocol):
    """A table that is being written."""

    def write(self, index: int, tracked: TrackedFrame) -> None:
        """Write the row of a frame."""
        ...


def frame_row(index: int, tracked: TrackedFrame) -> Row:
    """Return a frame's row; arrays are flat."""
    row: Row = {
        "frame": index,
        "seconds": tracked.seconds,
        "state": tracked.state,
        "person": tracked.person,
    }
    face, answer, found = tracked.reconstruction, tracked.answer, tracked.landmarks
    names = ("box", "placement", "parameters", "landmarks", "network_parameters", "found_landmarks")
    if face is None or answer is None or found is None:
        return row | dict.fromkeys((*names, "quality"))
    placement = face.photo_placement
    values = (
        np.array(face.face.box, np.float32),
        np.array([placement.scale, *placement.offset], np.float64),
        face.parameters.vector(),
        face.face.landmarks.ravel(),
        answer.parameters.vector(),
        found.ravel(),
    )
    return row | dict(zip(names, values, strict=True)) | {"quality": face.assessment()}


@contextmanager
def write_table(path: Path) -> Iterator[FrameTable]:
    """Write a table; the file takes its name when it is whole.

    Raises:
        InputError: If the name ends in none of `FORMATS`.
        MissingDependencyError: If Parquet is wanted and PyArrow isn't installed.
    """
    check_table_name(path)
    part = unfinished(path)
    try:
        with _JsonLines(part) if path.suffix.lower() == ".jsonl" else _Parquet(part) as table:
            yield table
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_table_name(path: Path) -> None:
    """Check a table's ending before any work is done for it.

    Raises:
        InputError: If the name ends in none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: tracks are written as {' or '.join(FORMATS)}.")


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, index: int, tracked: TrackedFrame) -> None:
        """Write the row of a frame."""
        row = {
            name: np.round(value.astype(np.float64), _DIGITS).tolist()
            if isinstance(value, np.ndarray)
            else value
            for name, value in frame_row(index, tracked).items()
        }
        self._file.write(json.dumps(row, allow_nan=False) + "\n")

    def __enter__(self) -> _JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Parquet:
    """Apache Parquet, compressed by zstd, some hundred rows in memory."""

    def __init__(self, path: Path) -> None:
        self._arrow, parquet = import_pyarrow()
        arrow, numbers = self._arrow, self._arrow.float32()
        points = arrow.list_(numbers, 2 * 68)
        quality = {one.name: arrow.float64() for one in fields(Quality)}
        self._schema = arrow.schema(
            {
                "frame": arrow.int64(),
                "seconds": arrow.float64(),
                "state": arrow.string(),
                "person": arrow.int32(),
                "box": arrow.list_(numbers, 4),
                "placement": arrow.list_(arrow.float64(), 3),
                "parameters": arrow.list_(numbers, PARAMETER_COUNT),
                "landmarks": points,
                "network_parameters": arrow.list_(numbers, PARAMETER_COUNT),
                "found_landmarks": points,
                "quality": arrow.struct(quality | {"confidence": arrow.float64(), "verdict": arrow.string()}),
            }
        )
        self._writer = parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def write(self, index: int, tracked: TrackedFrame) -> None:
        """Write the row of a frame."""
        self._rows.append(frame_row(index, tracked))
        if len(self._rows) >= _ROWS_OF_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, self._schema))
        self._rows = []

    def __enter__(self) -> _Parquet:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
