"""Who calls, is there room, and what does it cost them; the same for both interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from inversefacenet.errors import BackendError
from services.gateway.access import Caller, read_key
from services.gateway.errors import RefusedError, WorkerCrashedError
from services.gateway.gateway import Gateway

FREE: Final = (RefusedError, BackendError, WorkerCrashedError)
"""Errors of the service's own: a photo that meets one costs nothing."""


@dataclass
class Charge:
    """What a request has been charged for.

    Attributes:
        free: How many of its photos turned out to cost nothing.
    """

    free: int = 0


def identify(gateway: Gateway, headers: Mapping[str, str | bytes]) -> Caller:
    """Return who sends a request.

    Args:
        gateway: Knows the keys.
        headers: HTTP headers or gRPC metadata, names in lower case.

    Raises:
        UnauthenticatedError: If a key is needed, and the caller has shown none that is known.
    """
    return gateway.access.authenticate(read_key(headers))


@contextmanager
def charged(gateway: Gateway, caller: Caller, photos: int = 1) -> Iterator[Charge]:
    """Charge photos to a caller; all of them cost nothing if the work then ends with one of `FREE`.

    Yields:
        The charge, which a request of several photos tells of each that costs nothing.

    Raises:
        QuotaError: If the caller's quota is used up.
        InputError: If it never allows so many in one request.
    """
    gateway.access.spend(caller, photos)
    charge = Charge()
    try:
        yield charge
    except FREE:
        charge.free = photos
        raise
    finally:
        if charge.free:
            gateway.access.refund(caller, charge.free)
        if charge.free < photos:
            gateway.metrics.key_photos.labels(caller.name).inc(photos - charge.free)
