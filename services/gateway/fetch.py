"""Fetches a photo from a caller's URL: https, public addresses alone, within limits of size and time."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final

import httpcore
import httpx

from inversefacenet import __version__
from inversefacenet.errors import DeadlineError
from services.gateway.addresses import Address, is_public
from services.gateway.checked_network import CheckedNetwork, MeteredStream, Resolve
from services.gateway.errors import FetchError

HTTPS_PORT: Final = 443

_MAX_URL: Final = 8192
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*{_LABEL}\.?|[0-9a-f:.]+")
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS: Final = 64
_FREE_PIECES: Final = 64
_PIECE_BYTES: Final = 512
_FAILURES: Final = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
    OSError,
)


class PhotoFetcher:
    """Fetches photos for callers, who may mean no good: neither they nor a photo's server are trusted.

    A URL must be https, on port 443, without user or password. Its name is resolved once, each of its
    addresses must be public, and the connection goes to one of those; redirects are followed by the same
    rules. No proxy, cookie, key or other header of ours goes out. It belongs to one event loop.
    """

    def __init__(
        self,
        timeout: float,
        max_bytes: int,
        redirects: int,
        allow: Callable[[Address], bool] = is_public,
        *,
        resolve: Resolve | None = None,
        ssl_context: ssl.SSLContext | None = None,
        port: int = HTTPS_PORT,
    ) -> None:
        """Prepare; nothing is connected yet.

        Args:
            timeout: Seconds that a photo may take: names, connections, redirects and body together.
            max_bytes: Largest photo, in bytes.
            redirects: How many redirects are followed.
            allow: Says of an address whether it may be connected to.
            resolve: Takes the place of the system's resolver.
            ssl_context: Whom to trust; by default the authorities of the package certifi, or those that
                the environment variables SSL_CERT_FILE or SSL_CERT_DIR name.
            port: The one port that a URL may name.
        """
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._redirects = redirects
        self._port = port
        self._network = CheckedNetwork(allow, resolve)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=self._network,
        )

    async def fetch(self, url: str, deadline_seconds: float | None = None) -> bytes:
        """Return the photo's bytes; whether they are a photo at all is for the decoder to say.

        Args:
            url: The caller's URL.
            deadline_seconds: What is left of the request's own time.

        Raises:
            FetchError: If the URL isn't allowed, or its server doesn't give a photo within the limits.
            DeadlineError: If the request's own time runs out first.
        """
        seconds = self._timeout if deadline_seconds is None else min(self._timeout, deadline_seconds)
        try:
            async with asyncio.timeout(max(seconds, 0)) as limit:
                return await self._follow(self._checked(url), seconds)
        except TimeoutError as error:
            if limit.expired() and seconds < self._timeout:
                raise DeadlineError("The request's time ran out while its photo was fetched.") from error
            raise FetchError(f"The photo's server did not send it within {self._timeout:g} s.") from error

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.aclose()
        await self._network.close()

    def _checked(self, url: str) -> httpx.URL:
        """Return the URL if its form is allowed; where it leads is checked when it is connected to."""
        rules = f"https://NAME/PATH on port {self._port}, without user or password"
        if len(url) > _MAX_URL:
            raise FetchError(f"The photo's address is longer than {_MAX_URL} characters.")
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL as error:
            raise FetchError(f"The photo's address can't be read: write {rules}.") from error
        port = HTTPS_PORT if parsed.port is None else parsed.port
        host = parsed.raw_host.decode("ascii").lower()
        if parsed.scheme != "https" or port != self._port or parsed.userinfo or not _HOST.fullmatch(host):
            raise FetchError(f"The photo's address can't be used: it must be {rules}.")
        return parsed

    async def _follow(self, url: httpx.URL, seconds: float) -> bytes:
        for _ in range(self._redirects + 1):
            try:
                found = await self._get(url, seconds)
            except _FAILURES as error:
                if isinstance(error.__context__, ssl.SSLCertVerificationError):
                    message = "The photo's server has no trusted certificate for its name."
                else:
                    message = "The photo's server could not be reached, or broke off."
                raise FetchError(message) from error
            if isinstance(found, bytes):
                return found
            url = found
        raise FetchError(f"The photo's address leads to more than {self._redirects} redirects.")

    async def _get(self, url: httpx.URL, seconds: float) -> bytes | httpx.URL:
        """Send one request; return the body, or where it redirects to."""
        host = url.raw_host.lower()
        shown = b"[%b]" % host if b":" in host else host
        target = httpcore.URL(scheme=b"https", host=host, port=self._port, target=url.raw_path)
        headers = [
            (b"Host", shown if self._port == HTTPS_PORT else b"%b:%d" % (shown, self._port)),
            (b"User-Agent", f"inversefacenet/{__version__}".encode()),
            (b"Accept", b"image/*"),
            (b"Accept-Encoding", b"identity"),
            (b"Connection", b"close"),
        ]
        limits = {"timeout": {"connect": seconds}}  # shared out between addresses; all else ends with `fetch`
        request = self._pool.stream("GET", target, headers=headers, extensions=limits)
        async with request as response:
            if response.status in _REDIRECTS:
                return self._redirected(url, response)
            if response.status != 200:
                raise FetchError(f"The photo's server answered with status {response.status} instead of 200.")
            return await self._read(response)

    def _redirected(self, url: httpx.URL, response: httpcore.Response) -> httpx.URL:
        try:
            joined = str(url.join(_header(response, b"location").decode("utf-8")))
        except (httpx.InvalidURL, UnicodeDecodeError) as error:
            raise FetchError("The photo's server redirects to an address that can't be read.") from error
        return self._checked(joined)

    async def _read(self, response: httpcore.Response) -> bytes:
        too_large = FetchError(f"The photo at the address is larger than {self._max_bytes} bytes.")
        if _header(response, b"content-encoding").lower() not in (b"", b"identity"):
            raise FetchError("The photo's server sends it compressed: it must send the file as it is.")
        declared = _header(response, b"content-length")
        if declared.isdigit() and int(declared) > self._max_bytes:
            raise too_large
        stream = response.extensions["network_stream"]
        if isinstance(stream, MeteredStream):
            stream.allow(self._max_bytes + self._max_bytes // 4)
        body = bytearray()
        pieces = 0
        async for piece in response.aiter_stream():
            body += piece
            pieces += 1
            if len(body) > self._max_bytes:
                raise too_large
            # Each piece costs the event loop the same, however small it is.
            if pieces > _FREE_PIECES + len(body) // _PIECE_BYTES:
                raise FetchError("The photo's server sends it in too many small pieces.")
        return bytes(body)


def _header(response: httpcore.Response, name: bytes) -> bytes:
    """Return a header's value; empty if there is none, all values if there are several."""
    return b", ".join(value for key, value in response.headers if key.lower() == name).strip()
