"""What belongs to one request: its id, and the notes that its log line and counters are made from."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

REQUEST_ID_HEADER: Final = "X-Request-ID"

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass
class RequestNotes:
    """Collected while a request is answered.

    Attributes:
        request_id: The caller's id if it was sane, else a new one.
        outcome: 'ok', or the slug of the problem that was answered.
        details: Numbers for the log line, such as the count of faces; never anything from a photo.
    """

    request_id: str
    outcome: str = "ok"
    details: dict[str, int | float] = field(default_factory=dict)


_notes: ContextVar[RequestNotes | None] = ContextVar("inversefacenet_request", default=None)


def begin_request(offered_id: str | None) -> RequestNotes:
    """Start the notes of a request and make them the current ones of this context.

    Args:
        offered_id: The caller's `X-Request-ID`; taken over only if it is short and printable.
    """
    sane = offered_id is not None and _SANE_ID.fullmatch(offered_id) is not None
    notes = RequestNotes(request_id=offered_id if sane and offered_id else uuid.uuid4().hex)
    _notes.set(notes)
    return notes


def current_notes() -> RequestNotes | None:
    """Return the notes of the request that this context works for, if it works for one."""
    return _notes.get()


def current_request_id() -> str | None:
    """Return the id of the request that this context works for, if it works for one."""
    notes = _notes.get()
    return notes.request_id if notes else None
