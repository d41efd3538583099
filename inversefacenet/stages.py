"""Names the stages of a reconstruction while they run, for whoever wants to time or trace them.

The library only says where a stage begins and ends. A caller that wants to know sets a recorder for its own
context; without one a stage costs less than a microsecond.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Recorder = Callable[[str, float, float], None]
"""Called at the end of a stage with its name, its begin in seconds since the epoch, and its seconds."""

_recorder: ContextVar[Recorder | None] = ContextVar("inversefacenet_stage_recorder", default=None)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Report what runs inside as a stage, also if it fails.

    Args:
        name: One of decode, detect, landmarks, crop, infer, refine, geometry, render, measure, encode.
    """
    recorder = _recorder.get()
    if recorder is None:
        yield
        return
    began, started = time.time(), time.perf_counter()
    try:
        yield
    finally:
        recorder(name, began, time.perf_counter() - started)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Send the stages that run inside, in this context, to a recorder."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)
