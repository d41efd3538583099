"""Who calls, is there room, and what does it cost them; the same for both interfaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from inversefacenet.errors import BackendError
from services.gateway.access import Caller, read_key
from services.gateway.errors import RefusedError
from services.gateway.gateway import Gateway


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
def charged(gateway: Gateway, caller: Caller, photos: int = 1) -> Iterator[None]:
    """Charge photos to a caller; they cost nothing if the service then can't take them.

    Raises:
        QuotaError: If the caller's quota is used up.
        InputError: If it never allows so many in one request.
    """
    gateway.access.spend(caller, photos)
    try:
        yield
    except (RefusedError, BackendError):
        gateway.access.refund(caller, photos)
        raise
    except BaseException:
        gateway.metrics.key_photos.labels(caller.name).inc(photos)
        raise
    gateway.metrics.key_photos.labels(caller.name).inc(photos)
