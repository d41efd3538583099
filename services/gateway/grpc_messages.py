"""Reads the one message of a unary call, after it was decided that the call is welcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from google.protobuf.message import Message
from grpc import aio

from inversefacenet.errors import InputError
from services.gateway.context import current_notes
from services.gateway.deadline import Deadline
from services.gateway.errors import BodyTimeoutError
from services.gateway.gateway import Gateway
from services.gateway.grpc_requests import parse

AnyMessage = TypeVar("AnyMessage", bound=Message)
Context = aio.ServicerContext[Any, Any]

_CANCELLING_SECONDS: Final = 0.2

caller_name: ContextVar[str | None] = ContextVar("inversefacenet_grpc_caller", default=None)
"""Who sent the call that this context works for, for its log line."""


class MessageLostError(Exception):
    """The connection ended the call before its message was there: it was too large, or the caller is gone."""


def metadata_of(context: Context) -> dict[str, str]:
    """Return the metadata that the caller sent, names in lower case; of one that came twice the last."""
    pairs = context.invocation_metadata() or ()
    return {key: value for key, value in pairs if isinstance(value, str)}


def deadline_of(context: Context, longest: float) -> Deadline:
    """Return until when a caller waits.

    Args:
        context: The call.
        longest: Seconds that the service gives it at most.
    """
    left = context.time_remaining()
    return Deadline.after(longest if left is None else min(longest, left))


async def read_message(
    gateway: Gateway, context: Context, kind: Callable[[], AnyMessage], deadline: Deadline
) -> AnyMessage:
    """Receive a call's only message and read it.

    Args:
        gateway: Bounds how many are received at once.
        context: The call.
        kind: The message's class.
        deadline: The call's.

    Raises:
        TooManyUploadsError: If too many are being received.
        BodyTimeoutError: If it takes too long to arrive.
        DeadlineError: If the call's time runs out meanwhile.
        MessageLostError: If the connection gives up over it.
        InputError: If there is none, or it can't be read.
    """
    limit = gateway.settings.body_timeout
    with gateway.uploads.receiving():
        try:
            async with asyncio.timeout(min(limit, deadline.check())):
                content = await context.read()
        except TimeoutError as error:
            deadline.check()
            raise BodyTimeoutError(f"The message did not arrive within {limit:g} s.") from error
    if not isinstance(content, bytes):
        raise await _why_none()
    count("bytes_in", len(content))
    return parse(kind, content)


async def _why_none() -> Exception:
    """Return why a call has no message."""
    try:
        # A connection that gives up over a message cancels the call in this moment, but says no more.
        await asyncio.sleep(_CANCELLING_SECONDS)
    except asyncio.CancelledError:
        return MessageLostError("The call ended before its message had arrived.")
    return InputError("The call has ended without a message: send one.")


def count(name: str, number: int) -> None:
    """Add to a number that the call's log line tells."""
    notes = current_notes()
    if notes is not None:
        notes.details[name] = notes.details.get(name, 0) + number
