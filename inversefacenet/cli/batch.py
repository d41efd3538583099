"""`inversefacenet batch`: photos by the million in, one table of faces out."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inversefacenet.batch.engines import ENGINES, make_engine
from inversefacenet.cli.output import (
    add_face_model_option,
    add_refine_option,
    load_face_model,
    positive,
    progress,
    say,
)
from inversefacenet.cli.sheet import ROWS

if TYPE_CHECKING:
    from inversefacenet.batch.engines import Engine
    from inversefacenet.batch.run import BatchRun, Chunk


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "batch",
        parents=[common],
        help="reconstruct the faces of very many photos into one table",
        description="Reconstruct the faces of very many photos into one table, a row for each face: photo, "
        "box, the 350 parameters, quality. A photo that can't be used is a row with its problem, not an "
        "error of the command. A run that was stopped or killed goes on with the same command; a worker or a "
        "machine that dies loses nothing.",
    )
    parser.add_argument("photos", nargs="*", metavar="PHOTOS", help="folders, patterns in quotes, or photos")
    parser.add_argument("--list", type=Path, metavar="FILE", help="a file that names a photo on each line")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the table: .jsonl, or .parquet with the extra 'batch'",
    )
    parser.add_argument(
        "--faces",
        choices=("largest", "all"),
        default="all",
        help="which faces of each photo (default: %(default)s)",
    )
    add_refine_option(parser)
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="who works: local, processes on this machine, or ray, a Ray cluster whose machines see the "
        "photos under the same paths (default: %(default)s)",
    )
    parser.add_argument(
        "--address",
        metavar="ADDRESS",
        help="of the Ray cluster; by default the one running here, or a new one",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="photos at once; by default one per processor"
    )
    parser.add_argument(
        "--chunk",
        type=positive,
        default=64,
        metavar="N",
        help="photos that are done and written together (default: %(default)s)",
    )
    parser.add_argument(
        "--model", type=Path, metavar="ONNX", help="the network: fast, reference or a file; by default fast"
    )
    add_face_model_option(parser)
    parser.add_argument(
        "--landmarks",
        "--landmark-predictor",
        type=Path,
        metavar="FILE",
        help="landmark predictor: a file, or 'open' for the project's own; default: the usual one",
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="FILE",
        help="show the table as a page (.html) or a picture (.png) too; see `inversefacenet sheet`",
    )
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Do what is left to do of a run, and gather it.

    Raises:
        InverseFaceNetError: The run can't begin or go on; the message says what to do.
    """
    from inversefacenet.batch.photos import photos_named
    from inversefacenet.batch.run import BatchRun
    from inversefacenet.batch.sheet import check_sheet, write_sheet

    if options.sheet is not None:
        check_sheet(options.sheet, ROWS)
    started = time.perf_counter()
    batch = BatchRun(
        photos_named(options.photos, options.list),
        options.output,
        network=options.model,
        face_model=options.face_model,
        predictor=options.landmarks,
        faces=options.faces,
        chunk=options.chunk,
        refine=options.refine,
    )
    record = batch.record()
    before, repeated = batch.photos, 0
    if record is not None:
        batch.clean()
    else:
        # After all that may be wrong with the command: a cluster takes a while to reach.
        engine = make_engine(options.engine, options.workers or 0, options.address)
        with batch.open() as chunks:
            left = sum(len(chunk.photos) for chunk in chunks)
            before -= left
            for _ in progress(_photos(batch, engine, chunks), left, "photo"):
                pass
            record = batch.finish()
        repeated = engine.repeated
    if options.sheet is not None:
        write_sheet(options.output, options.sheet, limit=ROWS, model=load_face_model(options.face_model))
    for problem, count in record["problems"].items():
        say(f"{problem}: {count}")
    say(
        f"photos={record['photos']} done_before={before} faces={record['faces']} failed={record['failed']} "
        f"engine={options.engine} repeated={repeated} "
        f"seconds={time.perf_counter() - started:.1f} output={options.output}"
    )
    return 0


def _photos(batch: BatchRun, engine: Engine, chunks: list[Chunk]) -> Iterator[str]:
    """Yield every photo once its row is written, for the progress bar."""
    for chunk in batch.work(engine, chunks):
        yield from chunk.photos
