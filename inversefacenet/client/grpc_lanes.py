"""Many photos over one gRPC stream: messages go out as they are handed in, answers come in any order."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final

from inversefacenet.client.connection import Broken, Entry, Event, Settled
from inversefacenet.client.errors import ServerError, ServiceUnavailableError, UnexpectedAnswerError
from inversefacenet.client.grpc_errors import (
    DETAILS_KEY,
    Metadata,
    failure_of,
    failure_of_status,
    request_id_of,
)
from inversefacenet.client.grpc_messages import reconstruct_request, reconstruction_of
from inversefacenet.client.retry import Deadline, RefusedError
from inversefacenet.errors import InverseFaceNetError
from inversefacenet.v1 import reconstruction_pb2

IDLE: Final = "body-timeout"

_LINGER_SECONDS: Final = 1.0
_LEAST_SECONDS: Final = 0.001
_SETTLING_SECONDS: Final = 0.05
_END: Final = None

Failure = Callable[[Any], InverseFaceNetError | RefusedError]


class GrpcLane:
    """A stream and the thread that reads it."""

    def __init__(self, stream: Any, metadata: Metadata, failure: Failure) -> None:
        """Open the stream.

        Args:
            stream: The method.
            metadata: What is sent with it.
            failure: Says what to raise for an error of grpc's.
        """
        self._outgoing: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._failure = failure
        self._owed = 0
        self._call = stream(map(_timed, iter(self._outgoing.get, _END)), metadata=metadata)
        self._reader = threading.Thread(target=self._read, name="inversefacenet-stream", daemon=True)
        self._reader.start()

    def send(self, entries: Sequence[Entry]) -> None:
        """Hand photos to the stream."""
        for entry in entries:
            self._owed += 1
            self._outgoing.put((_message(entry), entry.deadline))

    def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        self._owed -= 1
        return event

    def close(self) -> None:
        """End the stream; if nothing is owed any more, in an orderly way."""
        self._outgoing.put(_END)
        if self._owed == 0:
            self._reader.join(_LINGER_SECONDS)
        self._call.cancel()

    def _read(self) -> None:
        try:
            # Before the first answer, so that each can carry the stream's request id.
            request_id = request_id_of(self._call.initial_metadata())
            for response in self._call:
                self._events.put(_settled(response, request_id))
            self._events.put(Broken(RefusedError(_ended())))
        except Exception as error:  # whatever it is, the caller's thread is to raise it
            self._events.put(Broken(_broken(error, self._failure)))


class AsyncGrpcLane:
    """A stream and the task that reads it."""

    def __init__(self, stream: Any, metadata: Metadata, failure: Failure) -> None:
        """Open the stream, in the running event loop."""
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._failure = failure
        self._owed = 0
        self._ends: list[tuple[str, Metadata]] = []
        self._call = stream(self._messages(), metadata=metadata)
        self._call.add_done_callback(self._note_end)
        self._reader = asyncio.create_task(self._read())

    async def send(self, entries: Sequence[Entry]) -> None:
        """Hand photos to the stream."""
        for entry in entries:
            self._owed += 1
            self._outgoing.put_nowait((_message(entry), entry.deadline))

    async def next(self, timeout: float) -> Event | None:
        """Return what happens next; None if nothing does in so many seconds."""
        try:
            event = await asyncio.wait_for(self._events.get(), timeout)
        except TimeoutError:
            return None
        self._owed -= 1
        return event

    async def close(self) -> None:
        """End the stream; if nothing is owed any more, in an orderly way."""
        self._outgoing.put_nowait(_END)
        if self._owed == 0:
            await asyncio.wait({self._reader}, timeout=_LINGER_SECONDS)
        self._call.cancel()
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _messages(self) -> AsyncIterator[Any]:
        while (waiting := await self._outgoing.get()) is not _END:
            yield _timed(waiting)

    async def _read(self) -> None:
        try:
            request_id = request_id_of(await self._call.initial_metadata())
            async for response in self._call:
                self._events.put_nowait(_settled(response, request_id))
            self._events.put_nowait(Broken(RefusedError(_ended())))
        except Exception as error:  # whatever it is, the caller is to raise it
            # Where a message is being sent, how the server ended the stream may come to light only now.
            await asyncio.sleep(_SETTLING_SECONDS)
            self._events.put_nowait(Broken(self._said() or _broken(error, self._failure)))

    def _note_end(self, call: Any) -> None:
        """Keep how the stream ended: a message that can't be sent any more makes grpc forget it."""
        self._ends.append((_known(call.code()).name, _known(call.trailing_metadata()) or ()))

    def _said(self) -> Exception | None:
        """Return what the service itself said at the stream's end, if anything."""
        for code, trailing in self._ends:
            if code == "OK":
                return RefusedError(_ended())
            if DETAILS_KEY in dict(trailing):
                return _told(failure_of(code, code, trailing))
        return None


def _message(entry: Entry) -> reconstruction_pb2.ReconstructStreamRequest:
    return reconstruction_pb2.ReconstructStreamRequest(
        id=str(entry.index), request=reconstruct_request(entry.job)
    )


def _timed(
    waiting: tuple[reconstruction_pb2.ReconstructStreamRequest, Deadline],
) -> reconstruction_pb2.ReconstructStreamRequest:
    """Return a message that is about to leave, with the time that it has left by now."""
    message, deadline = waiting
    message.timeout_seconds = max(deadline.remaining(), _LEAST_SECONDS)
    return message


def _settled(response: reconstruction_pb2.ReconstructStreamResponse, request_id: str) -> Settled:
    if not response.id.isdecimal():
        raise UnexpectedAnswerError("The server answered a photo that wasn't sent.")
    index, kind = int(response.id), response.WhichOneof("result")
    if kind == "error":
        return Settled(index, failure_of_status(response.error))
    try:
        return Settled(index, reconstruction_of(response.response, request_id))
    except UnexpectedAnswerError as error:
        return Settled(index, error)


def _ended() -> InverseFaceNetError:
    return ServiceUnavailableError("The server ended the stream before all photos were answered.")


def _broken(error: Any, failure: Failure) -> Exception:
    if not hasattr(error, "trailing_metadata"):
        return error
    found = failure(error)
    if isinstance(found, RefusedError) or DETAILS_KEY in dict(error.trailing_metadata() or ()):
        return _told(found)
    # Not the service's own word: the connection's, or grpc's. The service greets a stream before it takes a
    # photo of it; one that was never greeted has lost none.
    return RefusedError(found) if not error.initial_metadata() else found


def _told(found: InverseFaceNetError | RefusedError) -> InverseFaceNetError | RefusedError:
    # The service has waited for a photo, and ended the stream before one came.
    return RefusedError(found) if isinstance(found, ServerError) and found.code == IDLE else found


def _known(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what a coroutine gives that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as found:
        return found.value
    coroutine.close()
    raise UnexpectedAnswerError("The stream ended without saying how.")
