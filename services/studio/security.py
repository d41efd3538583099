"""Around every request: who may send it, what browsers may do with the answer, and its line in the log.

A photo's session is known by a secret in the address, so the log names the route, never the address.
"""

from __future__ import annotations

import logging
import time
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.studio.errors import CrossOriginError
from services.studio.problems import library_problem

CONTENT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_SAFE_METHODS: Final = ("GET", "HEAD")

logger = logging.getLogger("services.studio.request")


class GuardMiddleware:
    """Plain ASGI: refuses what other sites send, and adds the headers."""

    def __init__(self, app: ASGIApp, host_names: frozenset[str] | None) -> None:
        """Wrap an application.

        Args:
            app: What answers.
            host_names: Names that requests may address; None for any.
        """
        self._app = app
        self._host_names = host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        started = time.perf_counter()

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            self._check(scope["method"], Headers(scope=scope))
        except CrossOriginError as error:
            await library_problem(error)(scope, receive, send_guarded)
        else:
            await self._app(scope, receive, send_guarded)
        finally:
            logger.log(
                logging.DEBUG if scope["method"] in _SAFE_METHODS else logging.INFO,
                "%s %s %d in %.3f s",
                scope["method"],
                getattr(scope.get("route"), "path", "-"),
                status,
                time.perf_counter() - started,
            )

    def _check(self, method: str, headers: Headers) -> None:
        """Refuse what another site's page could have sent.

        Raises:
            CrossOriginError: If it came from one, or addresses this server by a name that isn't its own.
        """
        host = headers.get("host", "").lower()
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        if self._host_names is not None and name not in self._host_names:
            raise CrossOriginError(
                "The studio is not known by this name: IFN_STUDIO_HOSTS says which names it has."
            )
        if method in _SAFE_METHODS:
            return
        origin = headers.get("origin")
        # Browsers say where a page's request comes from; what says nothing is no browser.
        if origin is not None and urlsplit(origin).netloc.lower() != host:
            raise CrossOriginError("Only the studio's own page may send this.")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise CrossOriginError("Only the studio's own page may send this.")
