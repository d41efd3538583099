"""Joins the answers about several photos into one body, as the workers have written them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import msgpack

from services.gateway.encodings import JSON, MSGPACK, write_json
from services.gateway.jobs import Answered, Form
from services.gateway.multipart_form import Piece, write_multipart
from services.gateway.problems import MEDIA_TYPE as PROBLEM
from services.gateway.schemas import Problem


@dataclass(frozen=True)
class BatchResult:
    """What became of one photo.

    Attributes:
        name: What the caller calls it; empty where it has no name.
        outcome: The answer, or what is wrong.
    """

    name: str
    outcome: Answered | Problem

    def head(self, index: int) -> dict[str, Any]:
        """Return what is said of it whatever became of it."""
        head: dict[str, Any] = {"index": index}
        if self.name:
            head["name"] = self.name
        return head | {"status": self.outcome.status if isinstance(self.outcome, Problem) else 200}

    def problem(self) -> dict[str, Any]:
        """Return the members of a photo that could not be answered; none for another."""
        if isinstance(self.outcome, Problem):
            return {"problem": self.outcome.model_dump(exclude_none=True)}
        return {}


def join(results: Sequence[BatchResult], form: Form) -> tuple[bytes, str]:
    """Return a body and its media type: JSON, msgpack or multipart."""
    return _JOINERS[form](results)


def _json(results: Sequence[BatchResult]) -> tuple[bytes, str]:
    entries = []
    for index, result in enumerate(results):
        entry = write_json(result.head(index) | result.problem())
        if isinstance(result.outcome, Answered):
            entry = entry[:-1] + b',"reconstruction":' + result.outcome.content + b"}"
        entries.append(entry)
    return b'{"results":[' + b",".join(entries) + b"]}", JSON


def _msgpack(results: Sequence[BatchResult]) -> tuple[bytes, str]:
    packer = msgpack.Packer()
    chunks = [packer.pack_map_header(1), packer.pack("results"), packer.pack_array_header(len(results))]
    for index, result in enumerate(results):
        members = result.head(index) | result.problem()
        answered = isinstance(result.outcome, Answered)
        chunks.append(packer.pack_map_header(len(members) + answered))
        chunks += [packer.pack(piece) for member in members.items() for piece in member]
        if isinstance(result.outcome, Answered):
            chunks += [packer.pack("reconstruction"), result.outcome.content]
    return b"".join(chunks), MSGPACK


def _multipart(results: Sequence[BatchResult]) -> tuple[bytes, str]:
    """Write a list of the photos, then a part for each, which is itself multipart where it is an answer."""
    heads, pieces = [], []
    for index, result in enumerate(results):
        heads.append(result.head(index) | {"part": f"photo{index}"})
        if isinstance(result.outcome, Answered):
            pieces.append(Piece(result.outcome.content, result.outcome.media_type, f"photo{index}"))
        else:
            content = write_json(result.outcome.model_dump(exclude_none=True))
            pieces.append(Piece(content, PROBLEM, f"photo{index}"))
    return write_multipart([Piece(write_json({"results": heads}), JSON), *pieces])


_JOINERS: Final[Mapping[Form, Callable[[Sequence[BatchResult]], tuple[bytes, str]]]] = MappingProxyType(
    {Form.JSON: _json, Form.MSGPACK: _msgpack, Form.MULTIPART: _multipart}
)
