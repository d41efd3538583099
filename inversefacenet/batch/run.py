"""A run over many photos: planned, done chunk by chunk, gathered; killed at any moment it goes on.

Beside the output stands a folder while the run lasts::

    faces.parquet.parts/plan.json         what is being done
    faces.parquet.parts/00000042.parquet  the rows of chunk 42, written whole or not at all
    faces.parquet                         all rows, by the photos' paths, once all parts are there
    faces.parquet.run.json                what was done; then the parts go

A chunk's rows depend on its photos alone, not on the engine or on who died, and exactly one part holds them.
So any run over the same photos ends in the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from inversefacenet.batch.engines import Engine, complete
from inversefacenet.batch.files import (
    alone_in,
    check_settings,
    json_bytes,
    remove_unfinished,
    write_atomically,
)
from inversefacenet.batch.tables import TableFormat, table_format
from inversefacenet.errors import InputError

if TYPE_CHECKING:
    from inversefacenet.batch.work import Setup

VERSION: Final = 1
"""Of rows and parts; a run of another one can't be continued."""

CHUNK: Final = 64
"""Photos of a chunk: some seconds of work."""

_PLAN: Final = "plan.json"


@dataclass(frozen=True)
class Chunk:
    """Photos that are done together.

    Attributes:
        number: In the order of the run.
        photos: Their paths.
    """

    number: int
    photos: tuple[str, ...]


class BatchRun:
    """Reconstructs the faces of many photos into one file.

    Args:
        photos: Paths, in the order of the rows.
        output: A .parquet or .jsonl file.
        network: The network's file, or "fast" or "reference"; by default the fast one.
        face_model: The face model's; likewise.
        predictor: The landmark predictor's; likewise.
        faces: The largest face of each photo, or all.
        chunk: Photos that are done together.
        refine: Most steps in which each face is refined.

    Raises:
        InputError: The output can't be written so, there are no photos, or a file can't be read.
        BackendError: There is no network.
        FaceModelError: The face model can't be read.
        MissingDependencyError: Something isn't installed; the message says what.
    """

    def __init__(
        self,
        photos: Sequence[str],
        output: Path,
        *,
        network: Path | None = None,
        face_model: Path | None = None,
        predictor: Path | None = None,
        faces: Literal["largest", "all"] = "all",
        chunk: int = CHUNK,
        refine: int = 0,
    ) -> None:
        from inversefacenet.batch.installation import (
            detector_settings,
            file_digest,
            predictor_anywhere,
            refinement_settings,
        )
        from inversefacenet.batch.work import Setup
        from inversefacenet.morphable_model import MorphableModel
        from inversefacenet.networks import network_path

        if not photos:
            raise InputError("There are no photos.")
        self.format: TableFormat = table_format(output, refined=refine > 0)
        self.output = output
        self._parts = output.with_name(output.name + ".parts")
        self._record = output.with_name(output.name + ".run.json")
        network = network_path(network).absolute()
        model = MorphableModel.load(face_model) if face_model else MorphableModel.load_default()
        face_model = face_model and face_model.absolute()
        predictor = predictor_anywhere(predictor)
        self._setup = Setup(network, file_digest(network), face_model, model.digest, predictor, faces, refine)
        self.photos = len(photos)
        self._chunks = [
            Chunk(number, tuple(photos[i : i + chunk]))
            for number, i in enumerate(range(0, len(photos), chunk))
        ]
        listing = hashlib.sha256()
        for photo in photos:
            listing.update(json.dumps(photo).encode() + b"\n")
        self.settings = {
            "version": VERSION,
            "photos": listing.hexdigest(),
            "chunk": chunk,
            "faces": faces,
            "network": self._setup.network_digest,
            "face_model": model.digest,
            **detector_settings(predictor),
            **refinement_settings(refine),
        }

    def record(self) -> dict[str, Any] | None:
        """Return what `finish` wrote if all is done already, or None.

        Raises:
            InputError: The output is another run's.
        """
        if not self.output.exists():
            return None
        remedy = "delete this one"
        if self._record.is_file():
            record: dict[str, Any] = json.loads(self._record.read_bytes())
            check_settings(self.output, record["settings"], self.settings, remedy)
            return record
        if not (self._parts / _PLAN).is_file():
            raise InputError(f"{self.output} is there already, and not of this run: name another file.")
        return None

    @contextmanager
    def open(self) -> Iterator[list[Chunk]]:
        """Begin the run or go on with it; gives the chunks that aren't done yet.

        Raises:
            InputError: The output or its parts are another run's, or one is at work there.
        """
        self._parts.mkdir(parents=True, exist_ok=True)
        with alone_in(self._parts):
            plan = self._parts / _PLAN
            if plan.is_file():
                have = json.loads(plan.read_bytes())
                check_settings(self._parts, have, self.settings, "delete this folder")
            elif any(self._parts.iterdir()):
                raise InputError(f"{self._parts} isn't of such a run: name another output.")
            else:
                write_atomically(plan, json_bytes(self.settings))
            remove_unfinished(self._parts)
            yield [chunk for chunk in self._chunks if not self._part(chunk).is_file()]

    def work(self, engine: Engine, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        """Do chunks, and yield each when its part is written."""
        from inversefacenet.batch.work import crashed

        done = complete(
            engine,
            partial(_work, self._setup, self.output.name),
            chunks,
            split=lambda chunk: [Chunk(chunk.number, (photo,)) for photo in chunk.photos],
            crashed=lambda chunk: [self.format.encode(crashed(chunk.photos))],
        )
        for chunk, files in done:
            write_atomically(self._part(chunk), self.format.merge(files))
            yield chunk

    def finish(self) -> dict[str, Any]:
        """Gather the parts into the output, and remove them."""
        counts = self.format.join((self._part(chunk) for chunk in self._chunks), self.output)
        record = {
            "settings": self.settings,
            "photos": self.photos,
            "rows": counts.rows,
            "faces": counts.faces,
            "failed": counts.failed,
            "problems": dict(sorted(counts.problems.items())),
        }
        write_atomically(self._record, json_bytes(record))
        self.clean()
        return record

    def clean(self) -> None:
        """Remove the parts of a run that is finished."""
        shutil.rmtree(self._parts, ignore_errors=True)

    def _part(self, chunk: Chunk) -> Path:
        return self._parts / f"{chunk.number:08d}{self.format.suffix}"


def _work(setup: Setup, output: str, chunk: Chunk) -> list[bytes]:
    """Return the file of a chunk's rows, alone in a list.

    Encoded by the worker: one process that did it for all would hold back a machine of many cores.
    """
    # Imported where the work is done: the process that hands it out needs neither detector nor engine.
    from inversefacenet.batch.work import work

    rows = work(setup, chunk.photos)
    return [table_format(Path(output), refined=setup.refine > 0).encode(rows)]
