"""What clients send: requests made beforehand, so that sending them costs next to nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlencode

Interface = Literal["rest", "grpc"]

RECONSTRUCT: Final = "/inversefacenet.v1.ReconstructionService/Reconstruct"
RECONSTRUCT_STREAM: Final = "/inversefacenet.v1.ReconstructionService/ReconstructStream"
RENDER: Final = "/inversefacenet.v1.RenderingService/Render"

OK: Final = "ok"
REFUSALS: Final = frozenset({"overloaded", "too-many-uploads"})
"""Codes of answers that only say that there is no room."""

CANCELLED: Final = "cancelled"
"""Code of a request that its own caller has given up."""

DEADLINE: Final = "deadline-exceeded"
NO_CONNECTION: Final = "connection-lost"
NO_ANSWER: Final = "no-answer"

_TIMEOUT: Final = 60.0


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        name: What reports call it.
        interface: Which interface it is for.
        path: Path and query, or the full name of a gRPC method.
        body: HTTP body or serialized message.
        headers: HTTP headers or gRPC metadata, names in lower case.
        expected: Codes of right answers: `ok`, or a problem's code.
        timeout: Seconds that the caller waits; gRPC tells the server.
        cancel_after: Seconds after which the caller goes away.
        stream: Messages of a gRPC stream, in place of `body`.
    """

    name: str
    interface: Interface
    path: str
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    expected: frozenset[str] = frozenset({OK})
    timeout: float = _TIMEOUT
    cancel_after: float | None = None
    stream: tuple[bytes, ...] = ()


def rest_photo(
    name: str,
    content: bytes,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    expected: Sequence[str] = (OK,),
    cancel_after: float | None = None,
) -> Request:
    """Return a photo as the body of a POST."""
    path = "/v1/reconstructions" + (f"?{urlencode(query)}" if query else "")
    fields = {"content-type": "application/octet-stream", **(headers or {})}
    return Request(
        name,
        "rest",
        path,
        content,
        tuple(fields.items()),
        frozenset(expected),
        cancel_after=cancel_after,
    )


def grpc_photo(
    name: str,
    content: bytes,
    parts: Sequence[str] = (),
    expected: Sequence[str] = (OK,),
    timeout: float = _TIMEOUT,
    cancel_after: float | None = None,
) -> Request:
    """Return a photo as a unary call; `parts` by their names in the schema, such as `PART_MESH`."""
    return Request(
        name,
        "grpc",
        RECONSTRUCT,
        photo_message(content, parts),
        expected=frozenset(expected),
        timeout=timeout,
        cancel_after=cancel_after,
    )


def grpc_stream(name: str, contents: Sequence[bytes]) -> Request:
    """Return several photos as one stream."""
    from inversefacenet.v1 import reconstruction_pb2

    messages = []
    for number, content in enumerate(contents):
        request = reconstruction_pb2.ReconstructRequest(content=content)
        message = reconstruction_pb2.ReconstructStreamRequest(id=str(number), request=request)
        messages.append(message.SerializeToString())
    return Request(name, "grpc", RECONSTRUCT_STREAM, stream=tuple(messages))


def photo_message(content: bytes, parts: Sequence[str] = ()) -> bytes:
    """Return a serialized `ReconstructRequest`."""
    from inversefacenet.v1 import output_pb2, reconstruction_pb2

    chosen = [output_pb2.Part.Value(part) for part in parts]
    return reconstruction_pb2.ReconstructRequest(content=content, parts=chosen).SerializeToString()


def photo_requests(interface: Interface, photos: Sequence[bytes]) -> tuple[Request, ...]:
    """Return plain requests of an interface, one for each photo."""
    make = rest_photo if interface == "rest" else grpc_photo
    return tuple(make(f"photo {number}", content) for number, content in enumerate(photos))
