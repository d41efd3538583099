"""What a caller is told about an error, whichever protocol carries it."""

from __future__ import annotations

import logging
from typing import Final

from inversefacenet.errors import BackendError, DeadlineError, InverseFaceNetError
from services.gateway.errors import RefusedError, WorkerCrashedError

HIDDEN_DETAIL: Final = (
    "The service could not answer. The fault is on its side: its log has the cause under the request id."
)

_BACKEND_RETRY_SECONDS: Final = 1.0
# Errors of status 500 and more whose message names nothing that is the service's own business.
_SAFE: Final = (RefusedError, DeadlineError, WorkerCrashedError)

logger = logging.getLogger(__name__)


def outward_detail(error: InverseFaceNetError) -> str:
    """Return what the caller may read; a fault of the service goes to the log instead.

    The message of such a fault may name files.
    """
    internal = error.http_status >= 500
    if internal and not isinstance(error, RefusedError | DeadlineError):
        logger.error("%s: %s", error.slug, error, exc_info=error if error.http_status == 500 else None)
    return HIDDEN_DETAIL if internal and not isinstance(error, _SAFE) else str(error)


def retry_seconds(error: InverseFaceNetError) -> float | None:
    """Return after how many seconds trying again may help; None where it won't."""
    if isinstance(error, RefusedError):
        return error.retry_after
    return _BACKEND_RETRY_SECONDS if isinstance(error, BackendError) else None


def foreseen(error: Exception) -> InverseFaceNetError:
    """Return an error of the tree: what nobody foresaw becomes its root, with the traceback kept."""
    if isinstance(error, InverseFaceNetError):
        return error
    unforeseen = InverseFaceNetError(f"unexpected {type(error).__name__}")
    unforeseen.__cause__ = error
    return unforeseen
