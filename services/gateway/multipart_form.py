"""Writes `multipart/mixed` (RFC 2046): several files in one body, as they are, without base64."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from services.gateway.answers import File


@dataclass(frozen=True)
class Piece:
    """One part of a multipart body.

    Attributes:
        content: Its bytes.
        media_type: Their media type.
        name: Names it within the body (Content-ID), so that other parts can point to it.
        file_name: What it could be called on a disk.
    """

    content: bytes
    media_type: str
    name: str = ""
    file_name: str = ""

    @classmethod
    def of(cls, file: File) -> Piece:
        """Return a file as a part."""
        return cls(file.content, file.media_type, file.name, file.name)


def write_multipart(pieces: Iterable[Piece]) -> tuple[bytes, str]:
    """Return the body and its media type, boundary included."""
    boundary = secrets.token_hex(16)
    chunks: list[bytes] = []
    for piece in pieces:
        lines = [f"--{boundary}", f"Content-Type: {piece.media_type}"]
        if piece.name:
            lines.append(f"Content-ID: <{piece.name}>")
        if piece.file_name:
            lines.append(f'Content-Disposition: attachment; filename="{piece.file_name}"')
        lines.append(f"Content-Length: {len(piece.content)}")
        chunks += ["\r\n".join([*lines, "", ""]).encode("ascii"), piece.content, b"\r\n"]
    chunks.append(f"--{boundary}--\r\n".encode("ascii"))
    return b"".join(chunks), f"multipart/mixed; boundary={boundary}"
