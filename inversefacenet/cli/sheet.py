"""`inversefacenet sheet`: a table of faces as something to look at."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Final

from inversefacenet.cli.output import add_face_model_option, load_face_model, positive, say

ROWS: Final = 200


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add this command to the program's parser."""
    parser = commands.add_parser(
        "sheet",
        parents=[common],
        help="show a table of faces as a page or a picture",
        description="Show what `inversefacenet batch` wrote: each photo beside its reconstruction, with the "
        "verdict, as one HTML page that holds all it shows, or as a PNG picture.",
    )
    parser.add_argument("table", type=Path, metavar="TABLE", help="faces.parquet or faces.jsonl")
    parser.add_argument("--output", "-o", type=Path, required=True, metavar="FILE", help=".html or .png")
    parser.add_argument(
        "--limit", type=positive, default=ROWS, metavar="N", help="most rows shown (default: %(default)s)"
    )
    parser.add_argument(
        "--worst-first",
        action="store_true",
        help="photos without a face first, then the least trusted; by default the table's order",
    )
    parser.add_argument(
        "--photos-from",
        type=Path,
        metavar="FOLDER",
        help="where relative paths of the table start; by default the present folder",
    )
    add_face_model_option(parser)
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Write the sheet.

    Raises:
        InverseFaceNetError: The table can't be read, or the sheet not written.
    """
    from inversefacenet.batch.sheet import write_sheet

    shown, total = write_sheet(
        options.table,
        options.output,
        limit=options.limit,
        order="worst" if options.worst_first else "table",
        model=load_face_model(options.face_model),
        root=options.photos_from,
    )
    say(f"shown={shown} rows={total} output={options.output}")
    return 0
