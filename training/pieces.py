"""Files in pieces of limited size, for machines from which only small files come back.

    python -m training.pieces split out/run/round-8/checkpoint.pt --output FOLDER
    python -m training.pieces join FOLDER/checkpoint.pt.pieces.json --output out/run/round-8

`split` writes `NAME.000`, `NAME.001`, ... and `NAME.pieces.json`, which has the size and digest of each piece
and of the whole. `join` checks all of them, and writes the file in one step; a damaged or missing piece is
named, so that it alone is fetched again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from inversefacenet.errors import InputError, InverseFaceNetError

PIECE_BYTES: Final = 15 * 2**20
"""Just under 16 MiB, so that a limit of 16 MiB or of 16 million bytes is kept."""

LIST_SUFFIX: Final = ".pieces.json"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.pieces", description="Split files into small pieces, and join them again."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    splitter = commands.add_parser("split", help="write a file's pieces and their list")
    splitter.add_argument("file", type=Path)
    splitter.add_argument("--bytes", type=int, default=PIECE_BYTES, help="largest size of a piece")
    joiner = commands.add_parser("join", help="check the pieces and write the file")
    joiner.add_argument("file", type=Path, help=f"the list, NAME{LIST_SUFFIX}, with the pieces beside it")
    for command in (splitter, joiner):
        command.add_argument("--output", type=Path, help="folder to write into (default: the file's own)")
    values = parser.parse_args(arguments)
    folder = values.output or values.file.parent
    try:
        if values.command == "split":
            written = split(values.file, folder, values.bytes)
            print(f"pieces={len(written) - 1} list={written[-1]}")
        else:
            path = join(values.file, folder)
            print(f"file={path} bytes={path.stat().st_size}")
    except InverseFaceNetError as error:
        print(f"pieces: {error}", file=sys.stderr)
        return 1
    return 0


def split(path: Path, folder: Path, piece_bytes: int = PIECE_BYTES) -> list[Path]:
    """Write a file's pieces and their list.

    Args:
        path: The file.
        folder: Where they go.
        piece_bytes: Largest size of a piece.

    Returns:
        The pieces in order, and the list at last.

    Raises:
        InputError: If the file can't be read, or pieces would have no size.
    """
    if piece_bytes < 1:
        raise InputError(f"Pieces must have at least 1 byte, not {piece_bytes}.")
    folder.mkdir(parents=True, exist_ok=True)
    whole = hashlib.sha256()
    pieces: list[dict[str, Any]] = []
    written: list[Path] = []
    try:
        with path.open("rb") as stream:
            while (content := stream.read(piece_bytes)) or not pieces:
                whole.update(content)
                piece = folder / f"{path.name}.{len(pieces):03d}"
                piece.write_bytes(content)
                pieces.append({"name": piece.name, **_told(content)})
                written.append(piece)
    except OSError as error:
        raise InputError(f"{path} can't be split: {error.strerror}.") from error
    described = {
        "name": path.name,
        "bytes": sum(piece["bytes"] for piece in pieces),
        "sha256": whole.hexdigest(),
        "pieces": pieces,
    }
    # The list comes last: where it is, all pieces were written.
    listed = folder / f"{path.name}{LIST_SUFFIX}"
    listed.write_text(json.dumps(described, indent=1) + "\n")
    return [*written, listed]


def join(listed: Path, folder: Path) -> Path:
    """Check all pieces, and write the file in one step.

    Args:
        listed: The list that `split` wrote; the pieces lie beside it.
        folder: Where the file goes.

    Returns:
        The file's path.

    Raises:
        InputError: If the list is no list, or pieces are missing or damaged; the message names them all.
    """
    try:
        described: dict[str, Any] = json.loads(listed.read_text())
        pieces = [(Path(piece["name"]).name, piece) for piece in described["pieces"]]
        target = folder / Path(described["name"]).name
        wanted = str(described["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{listed} is no list of pieces that `split` wrote: {error}.") from error
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    bad, whole = [], hashlib.sha256()
    with partial.open("wb") as stream:
        for name, piece in pieces:
            path = listed.with_name(name)
            content = path.read_bytes() if path.is_file() else b""
            if not path.is_file() or _told(content) != {key: piece[key] for key in ("bytes", "sha256")}:
                bad.append(name)
            whole.update(content)
            stream.write(content)
        os.fsync(stream.fileno())
    if bad or whole.hexdigest() != wanted:
        partial.unlink()
        raise InputError(f"These pieces are missing or damaged, fetch them again: {', '.join(bad) or 'all'}.")
    partial.replace(target)
    return target


def _told(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


if __name__ == "__main__":
    raise SystemExit(main())
